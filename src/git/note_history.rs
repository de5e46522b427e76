//! The history of a ref of notes, and what of a repository is still in use.

use std::collections::BTreeSet;

use super::{GitError, Repo};

/// What some ref, or some reflog, still leads to.
#[derive(Clone, Debug, Default)]
pub struct InUse {
    /// In hex.
    pub commits: BTreeSet<String>,
    /// The trees of these commits, in hex.
    pub trees: BTreeSet<String>,
}

/// So many names go to git at once: a command line has an end.
const NAMES_AT_ONCE: usize = 1000;

impl Repo {
    /// Returns those of some objects about which a ref of notes has, or once had, a note.
    pub fn noted_ever(&self, tip: &str, objects: &BTreeSet<String>) -> Result<BTreeSet<String>, GitError> {
        let mut found = BTreeSet::new();
        for objects in objects.iter().collect::<Vec<_>>().chunks(NAMES_AT_ONCE) {
            let git = self.git().env("GIT_LITERAL_PATHSPECS", "1");
            let words = ["log", "--no-show-signature", "--format=", "--name-only", "--no-renames"];
            let more = ["--full-history", "--diff-merges=separate", tip, "--"];
            // A name is cut into folders or not, as whoever wrote it likes.
            let paths = objects.iter().flat_map(|of| [(*of).clone(), format!("{}/{}", &of[..2], &of[2..])]);
            let listed = git.args(words).args(more).args(paths).run()?;
            let names = String::from_utf8_lossy(&listed);
            found.extend(names.lines().filter(|line| !line.is_empty()).map(|line| line.replace('/', "")));
        }
        Ok(found)
    }

    /// Returns how many commits a commit has that none of others has, itself among them.
    pub fn count_commits(&self, tip: &str, others: &[String]) -> Result<usize, GitError> {
        let git = self.git().args(["rev-list", "--count", tip, "--not"]).args(others);
        let counted = git.line()?;
        counted.parse().map_err(|err| GitError::unsupported(self.common_dir(), err))
    }

    /// Returns those commits that are in the history of none of the others.
    pub fn independent(&self, commits: &[String]) -> Result<Vec<String>, GitError> {
        if commits.len() < 2 {
            return Ok(commits.to_vec());
        }
        let listed = self.git().args(["merge-base", "--independent"]).args(commits).run()?;
        Ok(String::from_utf8_lossy(&listed).lines().map(str::to_owned).collect())
    }

    /// Returns what is in use in any worktree; nothing where the history is cut off, so that nobody can tell.
    pub fn in_use(&self) -> Result<Option<InUse>, GitError> {
        if self.is_shallow() {
            return Ok(None);
        }
        let words = ["rev-list", "--all", "--reflog", "--no-commit-header", "--format=%H %T"];
        let listed = self.git().args(words).run()?;
        let mut used = InUse::default();
        for (commit, tree) in String::from_utf8_lossy(&listed).lines().filter_map(|line| line.split_once(' '))
        {
            used.commits.insert(commit.to_owned());
            used.trees.insert(tree.to_owned());
        }
        Ok(Some(used))
    }
}
