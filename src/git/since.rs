//! What changed from one tree to another, as git prints a diff of trees.

use super::name_status::{self, Listed};
use super::tree::by_git;
use super::{GitError, Repo};

/// The tree to compare with.
#[derive(Clone, Copy, Debug)]
pub enum TreeNow<'a> {
    /// What is in the work tree: tracked and untracked files, without the ignored ones.
    WorkTree,
    /// A tree that is stored, in hex.
    Tree(&'a str),
}

/// A file that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// git's letter: `A`, `M`, `D`, `R`, `T`.
    pub status: char,
    pub path: String,
    /// The name before a rename.
    pub from: Option<String>,
}

impl Repo {
    /// Returns the files that changed since `tree`, as far as pathspecs select them; nothing if that tree is
    /// not stored here.
    pub fn changes_since(
        &self,
        tree: &str,
        now: TreeNow<'_>,
        specs: &[String],
    ) -> Result<Option<Vec<Change>>, GitError> {
        let object = format!("{tree}^{{tree}}");
        let there = self.git().env("GIT_NO_LAZY_FETCH", "1").args(["cat-file", "-e", "--", &object]);
        let hex = !tree.is_empty() && tree.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !hex || there.run_expecting(&[0, 1, 128])?.0 != 0 {
            return Ok(None);
        }
        let listed = match now {
            TreeNow::Tree(now) => self
                .git()
                .args(["diff-tree", "-r", "-M", "--name-status", "-z", tree, now, "--"])
                .args(specs)
                .run()?,
            TreeNow::WorkTree => by_git::compare(self, tree, specs)?,
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let change = |listed: Listed| Change {
            status: char::from(listed.letter),
            path: text(&listed.path),
            from: listed.from.map(|from| text(&from)),
        };
        Ok(Some(name_status::read(&listed).into_iter().map(change).collect()))
    }
}
