//! What an index would commit, found without writing into it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use gix::ObjectId;
use gix::bstr::ByteSlice;

use super::tree::{self, by_git};
use super::{GitError, Repo};

/// An index that was read, by what it says about its own content.
#[derive(Debug)]
pub(super) struct Staged {
    index: PathBuf,
    /// The hash of all that is in it, with which it ends.
    checksum: ObjectId,
    tree: String,
}

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
        if let Some(tree) = self.staged_as_before(index).or_else(|| self.staged_in_process(index)) {
            return Ok(tree);
        }
        // git would write what it finds out into the index itself.
        let (_temp, copy) = by_git::copy_of(index)?;
        let git = self.git().env("GIT_INDEX_FILE", &copy).args(["-c", "core.splitIndex=false"]);
        git.args(["write-tree"]).line()
    }

    /// Returns the tree of an index whose content is still what was read the last time.
    fn staged_as_before(&self, index: &Path) -> Option<String> {
        let last = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.as_ref().filter(|last| last.index == index)?;
        let now = ends_with(index, last.checksum.as_slice().len()).ok()?;
        (now == last.checksum.as_slice()).then(|| last.tree.clone())
    }

    fn staged_in_process(&self, index: &Path) -> Option<String> {
        let repo = self.in_process()?;
        let (state, checksum) = self.index_with_checksum(&repo, index).ok()?;
        let is_plain = !state.is_sparse() && state.link().is_none();
        if !is_plain || state.entries().iter().any(|entry| entry.stage_raw() != 0) {
            return None;
        }
        let tree = tree::of_index(&state).ok()?;
        if tree.is_empty_tree() || !repo.has_object(tree) {
            return None;
        }
        let tree = tree.to_string();
        // With `index.skipHash` it is not there.
        *self.staged.lock().unwrap_or_else(PoisonError::into_inner) =
            checksum.map(|checksum| Staged { index: index.to_owned(), checksum, tree: tree.clone() });
        Some(tree)
    }

    /// Returns the files of this work tree that are in conflict, and of which nobody has said yet what they are to be.
    pub fn unmerged(&self) -> Result<Vec<String>, GitError> {
        let listed = self.git().args(["ls-files", "--unmerged", "-z"]).run()?;
        let path = |entry: &[u8]| Some(String::from_utf8_lossy(entry.split_once_str("\t")?.1).into_owned());
        let mut paths: Vec<_> = listed.split(|byte| *byte == 0).filter_map(path).collect();
        paths.dedup();
        Ok(paths)
    }

    /// Returns the commits that a merge under way merges besides `HEAD`, in hex.
    pub fn being_merged(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.git_dir.join("MERGE_HEAD")).unwrap_or_default();
        let is_id = |line: &&str| !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit());
        text.lines().filter(is_id).map(str::to_owned).collect()
    }
}

/// Returns the last bytes of a file.
fn ends_with(path: &Path, count: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let before = file.metadata()?.len().saturating_sub(count as u64);
    let mut bytes = vec![0; count];
    file.read_exact_at(&mut bytes, before)?;
    Ok(bytes)
}
