//! What an index would commit, found without writing into it.

use std::path::{Path, PathBuf};

use super::tree::{self, by_git};
use super::{GitError, Repo};

impl Repo {
    /// Where the index of this work tree is.
    pub fn index_file(&self) -> PathBuf {
        self.git_dir.join("index")
    }

    /// Returns the tree in hex that a commit of an index would have. It is stored: a commit that is about to be made
    /// has stored it already, and else git stores it now.
    ///
    /// # Errors
    /// If the index cannot be committed, in git's own words.
    pub fn staged_tree(&self, index: &Path) -> Result<String, GitError> {
        if let Some(tree) = self.staged_in_process(index) {
            return Ok(tree);
        }
        // git would write what it finds out into the index itself.
        let (_temp, copy) = by_git::copy_of(index)?;
        let git = self.git().env("GIT_INDEX_FILE", &copy).args(["-c", "core.splitIndex=false"]);
        git.args(["write-tree"]).line()
    }

    fn staged_in_process(&self, index: &Path) -> Option<String> {
        let repo = self.in_process()?;
        let state = self.index_at(&repo, index).ok()?;
        let is_plain = !state.is_sparse() && state.link().is_none();
        if !is_plain || state.entries().iter().any(|entry| entry.stage_raw() != 0) {
            return None;
        }
        let tree = tree::of_index(&state).ok()?;
        (!tree.is_empty_tree() && repo.has_object(tree)).then(|| tree.to_string())
    }

    /// Returns the commits that a merge under way merges besides `HEAD`, in hex.
    pub fn being_merged(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.git_dir.join("MERGE_HEAD")).unwrap_or_default();
        let is_id = |line: &&str| !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit());
        text.lines().filter(is_id).map(str::to_owned).collect()
    }
}
