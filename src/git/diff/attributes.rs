//! The attributes of the base for the git program, which would ask the files on disk, and so the change itself.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use gix::attrs::StateRef;
use gix::bstr::{BStr, BString, ByteSlice};

use super::super::error::At;
use super::super::program::Git;
use super::super::tree::by_git::Scratch;
use super::super::{GitError, Repo};

/// What attributes say of paths: their names with their states, in git's words.
pub(super) type States = HashMap<BString, Vec<(String, BString)>>;

const INDEX: &str = "index";

/// The files of the base in an index, and a work tree with nothing in it: no file there says something else.
pub(super) struct OfBase<'a> {
    ours: &'a Repo,
    scratch: Scratch,
    folder: PathBuf,
    nowhere: PathBuf,
}

impl<'a> OfBase<'a> {
    /// Reads the base; nothing has no attributes.
    pub fn new(ours: &'a Repo, base: Option<&str>) -> Result<Self, GitError> {
        let temp = tempfile::tempdir().at(&std::env::temp_dir())?;
        let folder = temp.path().to_owned();
        let nowhere = folder.join("nowhere");
        fs::create_dir(&nowhere).at(&nowhere)?;
        let scratch = Scratch::of((temp, folder.join(INDEX)))?;
        let read = ["-c", "core.sparseCheckout=false", "read-tree", base.unwrap_or("--empty")];
        scratch.git(ours).args(read).run()?;
        Ok(Self { ours, scratch, folder, nowhere })
    }

    /// Returns git, which finds the attributes of the base, and the trees of [`Self::tree`].
    pub fn git(&self) -> Git {
        // It looks for attributes where it runs.
        let git = Git::new(&self.nowhere).repository(&self.ours.git_dir, &self.nowhere);
        self.scratch.lend(self.ours, git)
    }

    /// Asks for the attributes of paths.
    pub fn states(&self, names: &[&str], paths: &[BString]) -> Result<States, GitError> {
        states(self.git().args(["check-attr", "--cached"]), names, paths)
    }

    /// Returns the tree of the base, or the empty one, after calls of `update-index` with their words and
    /// what they read.
    pub fn tree(&self, of_base: bool, steps: &[(&[&str], Vec<u8>)]) -> Result<String, GitError> {
        let (base, index) = (self.folder.join(INDEX), self.folder.join("changed"));
        match of_base {
            true => drop(fs::copy(&base, &index).at(&base)?),
            false => drop(fs::remove_file(&index)),
        }
        let git = || self.scratch.git(self.ours).env("GIT_INDEX_FILE", &index);
        for (words, input) in steps.iter().filter(|(_, input)| !input.is_empty()) {
            git().args(["update-index", "-z"]).args(*words).given(input)?.run()?;
        }
        git().args(["write-tree", "--missing-ok"]).line()
    }
}

/// Asks a call of `check-attr` for the attributes of paths.
pub(super) fn states(git: Git, names: &[&str], paths: &[BString]) -> Result<States, GitError> {
    let mut states = States::new();
    if names.is_empty() || paths.is_empty() {
        return Ok(states);
    }
    let listed = git.args(["-z", "--stdin"]).args(names).given(&joined(paths))?.run()?;
    let fields: Vec<_> = listed.split(|byte| *byte == 0).collect();
    for [path, name, state] in fields.as_chunks().0 {
        states.entry((*path).into()).or_default().push((name.as_bstr().to_string(), (*state).into()));
    }
    Ok(states)
}

/// Returns the state of an attribute that git has that word for.
pub(super) fn state(word: &BStr) -> StateRef<'_> {
    match word.as_bytes() {
        b"unspecified" => StateRef::Unspecified,
        b"set" => StateRef::Set,
        b"unset" => StateRef::Unset,
        value => StateRef::from_bytes(value),
    }
}

/// Returns paths as git reads them with `-z`.
pub(super) fn joined<'p>(paths: impl IntoIterator<Item = &'p BString>) -> Vec<u8> {
    paths.into_iter().flat_map(|path| path.iter().copied().chain([0])).collect()
}
