//! What stages changed that mend: the tree that they left, and how it differs from the one before.

use std::path::{Path, PathBuf};

use gix::bstr::{BString, ByteSlice};

use super::tree::by_git;
use super::{GitError, Repo};
use crate::run::fix::FileChange;

/// The mode of a submodule in a tree.
const SUBMODULE: &str = "160000";

/// One file that differs between two trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeChange {
    path: BString,
    pub(super) old: Option<TreeFile>,
    pub(super) new: Option<TreeFile>,
}

/// A file as a tree has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TreeFile {
    /// As git writes it, such as `100644`.
    pub mode: String,
    /// The blob in hex.
    pub id: String,
}

impl TreeFile {
    pub(super) fn is_submodule(&self) -> bool {
        self.mode == SUBMODULE
    }

    pub(super) fn is_program(&self) -> bool {
        self.mode == "100755"
    }
}

impl TreeChange {
    /// Returns the path below the top of the work tree.
    pub fn path(&self) -> PathBuf {
        self.path.to_path_lossy().into_owned()
    }

    pub(super) fn raw_path(&self) -> &[u8] {
        &self.path
    }

    /// What became of the file.
    pub fn kind(&self) -> FileChange {
        match (&self.old, &self.new) {
            (None, _) => FileChange::Added,
            (_, None) => FileChange::Deleted,
            _ => FileChange::Changed,
        }
    }
}

impl Repo {
    /// Stores what is in the work tree, as `git add --all && git write-tree` would, and leaves the index as it is.
    /// Returns the tree in hex.
    pub fn store_work_tree(&self) -> Result<String, GitError> {
        let (_temp, copy) = by_git::copy_of_index(self)?;
        let git = || {
            let git = self.git().env("GIT_INDEX_FILE", &copy);
            // What a fixer made is stored whatever its line ends are.
            git.args(["-c", "core.splitIndex=false", "-c", "core.safecrlf=false"])
                .args(["-c", "advice.addEmbeddedRepo=false"])
        };
        git().args(["add", "--all"]).run()?;
        git().args(["write-tree", "--missing-ok"]).line()
    }

    /// Returns the files that differ between two stored trees.
    pub fn tree_changes(&self, from: &str, to: &str) -> Result<Vec<TreeChange>, GitError> {
        let words = ["diff-tree", "-r", "-z", "--raw", "--no-renames", "--full-index", from, to];
        let listed = self.git().args(words).run()?;
        let mut fields = listed.split(|byte| *byte == 0);
        let mut changes = Vec::new();
        while let (Some(head), Some(path)) = (fields.next(), fields.next()) {
            let head = head.to_str_lossy();
            let words: Vec<_> = head.trim_start_matches(':').split(' ').collect();
            let [old_mode, new_mode, old_id, new_id, _] = words[..] else { continue };
            let file = |mode: &str, id: &str| {
                (mode != "000000").then(|| TreeFile { mode: mode.to_owned(), id: id.to_owned() })
            };
            changes.push(TreeChange {
                path: path.into(),
                old: file(old_mode, old_id),
                new: file(new_mode, new_id),
            });
        }
        Ok(changes)
    }

    /// Returns the difference between two stored trees as `git apply` takes it, whatever the user's taste in diffs is.
    pub fn patch(&self, from: &str, to: &str) -> Result<Vec<u8>, GitError> {
        let plain = ["--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/"];
        let words = ["diff-tree", "-r", "-p", "--binary", "--full-index", "--no-renames"];
        self.git().args(words).args(plain).args([from, to]).run()
    }

    /// Where things are kept about changes that come back.
    pub fn fixes_folder(&self) -> PathBuf {
        self.common_dir.join("orchestrate/fixes")
    }

    /// Returns the contents of a blob.
    pub(super) fn blob(&self, id: &str) -> Result<Vec<u8>, GitError> {
        if let Some(repo) = self.in_process()
            && let Ok(id) = gix::ObjectId::from_hex(id.as_bytes())
            && let Ok(Some(found)) = repo.try_find_object(id)
        {
            return Ok(found.detach().data);
        }
        self.git().args(["cat-file", "blob", id]).run()
    }

    /// Stores what a file holds as `git add` would. Returns the blob in hex.
    pub(super) fn cleaned(&self, path: &Path, bytes: &[u8]) -> Result<String, GitError> {
        let mut option = std::ffi::OsString::from("--path=");
        option.push(path);
        let git = self.git().args(["-c", "core.safecrlf=false", "hash-object", "-w", "--stdin"]);
        git.args([option]).given(bytes)?.line()
    }

    /// Returns a stored blob as a checkout would write it to a path.
    pub(super) fn smudged(&self, path: &Path, id: &str) -> Result<Vec<u8>, GitError> {
        let mut option = std::ffi::OsString::from("--path=");
        option.push(path);
        self.git().args(["cat-file", "--filters"]).args([option]).args([id]).run()
    }
}
