//! The tree id of the work tree: what `git add -A && git write-tree` would name it, found without
//! touching the index, the files or the object database.
//!
//! In three steps: [`walk`] lists folders, and [`compare`] finds what differs from the index;
//! [`content`] hashes it as git would store it; [`build`] hashes the folders on the way to it. What gix cannot read goes to
//! [`by_git`].

mod build;
pub(super) mod by_git;
mod compare;
pub(super) mod content;
pub(super) mod ignores;
mod kept;
pub(super) mod stat;
mod step;
pub(super) mod walk;

use std::path::Path;

use gix::ObjectId;
use gix::index::State;

pub(super) use build::{of_index, stored};

pub(super) use kept::Keeping;
pub(super) use step::step;

use super::keys::HeadState;
use super::{GitError, Repo, inputs, nested};
use crate::sys::heap;

/// What is in a work tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeState {
    /// The id of the tree in hex: tracked and untracked files, without the ignored ones.
    pub tree: String,
    /// Whether it differs from the commit's tree; on an unborn branch, whether there is any file.
    pub dirty: bool,
    /// Submodules and nested repositories whose own work tree differs from their commit, which
    /// `tree` cannot tell.
    pub dirty_submodules: Vec<String>,
    /// Untracked files and folders that are not in `tree` because they could not be read or are
    /// nothing that git can store.
    pub unreadable: Vec<String>,
    /// Tracked files that git was told to take for unchanged or for not checked out, and that are not what `tree` says.
    pub hidden: Vec<String>,
    /// For each list of pathspecs that was asked about, the digest of what it selects.
    pub inputs: Vec<String>,
}

impl TreeState {
    /// Whether something is there that the commit does not have, besides what is in repositories of their own.
    pub fn is_changed(&self) -> bool {
        self.dirty || !self.unreadable.is_empty() || !self.hidden.is_empty()
    }
}

/// Whether programs that the repository's configuration names may convert files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filters {
    /// As git does.
    Run,
    /// Nobody vouches for this repository.
    Refuse,
}

/// Why there is no answer in process.
#[derive(Debug)]
pub(super) enum Fail {
    /// Only the git program can tell.
    NeedsGit,
    /// Nobody can tell.
    Error(GitError),
}

impl From<GitError> for Fail {
    fn from(error: GitError) -> Self {
        Self::Error(error)
    }
}

/// A tree before it is compared with the commit.
#[derive(Debug, Default)]
pub(super) struct Found {
    tree: String,
    /// Nested repositories, and whether the index knows each.
    nested: Vec<(gix::bstr::BString, bool)>,
    unreadable: Vec<gix::bstr::BString>,
    hidden: Vec<gix::bstr::BString>,
    inputs: Vec<String>,
}

impl Repo {
    /// Returns what is in the work tree, next to `head`.
    pub(super) fn tree_state(&self, head: &HeadState) -> Result<TreeState, GitError> {
        self.tree_state_with(head, Filters::Run, &[])
    }

    /// Returns what is in the work tree, and what lists of pathspecs select of it.
    pub(super) fn tree_state_and_inputs(
        &self,
        head: &HeadState,
        inputs: &[Vec<String>],
    ) -> Result<TreeState, GitError> {
        self.tree_state_with(head, Filters::Run, inputs)
    }

    pub(super) fn tree_state_with(
        &self,
        head: &HeadState,
        filters: Filters,
        inputs: &[Vec<String>],
    ) -> Result<TreeState, GitError> {
        let in_process = match self.in_process() {
            Some(repo) => self.tree_in_process(&repo, filters, inputs),
            None => Err(Fail::NeedsGit),
        };
        let found = match in_process {
            Ok(found) => found,
            Err(Fail::NeedsGit) if filters == Filters::Run => by_git::tree(self, inputs)?,
            Err(Fail::NeedsGit) => {
                return Err(GitError::unsupported(&self.git_dir, "it is not trusted"));
            }
            Err(Fail::Error(error)) => return Err(error),
        };
        let mut dirty_submodules = Vec::new();
        for (path, registered) in found.nested {
            if nested::is_dirty(&content::on_disk(&self.work_tree, path.as_ref()), registered, &self.program)
            {
                dirty_submodules.push(path.to_string());
            }
        }
        let mut unreadable: Vec<_> = found.unreadable.iter().map(ToString::to_string).collect();
        let mut hidden: Vec<_> = found.hidden.iter().map(ToString::to_string).collect();
        dirty_submodules.sort();
        unreadable.sort();
        hidden.sort();
        let dirty = match &head.tree {
            Some(tree) => *tree != found.tree,
            None => !is_empty_tree(&found.tree),
        };
        Ok(TreeState { tree: found.tree, dirty, dirty_submodules, unreadable, hidden, inputs: found.inputs })
    }

    fn tree_in_process(
        &self,
        repo: &gix::Repository,
        filters: Filters,
        inputs: &[Vec<String>],
    ) -> Result<Found, Fail> {
        let capabilities = repo.filesystem_options().map_err(|_| Fail::NeedsGit)?;
        if capabilities.ignore_case || (capabilities.precompose_unicode && cfg!(target_vendor = "apple")) {
            return Err(Fail::NeedsGit);
        }
        let index = self.index(repo)?;
        let mut walked = walk::walk(self, repo, &index, capabilities)?;
        if let Some(side) = &self.side {
            side.saw(std::mem::take(&mut walked.leftovers));
        }
        let changes = content::resolve(self, repo, &index, walked.changes, capabilities, filters)?;
        let mut unreadable = walked.unreadable;
        unreadable.extend(changes.unreadable);
        let marked = content::resolve(self, repo, &index, walked.marked, capabilities, filters)?;
        let hidden = marked.known.into_iter().map(|known| known.path).chain(marked.unreadable).collect();
        let tree = build::tree(&index, &changes.known)
            .map_err(|error| Fail::Error(GitError::unsupported(&self.git_dir, error)))?;
        let known = changes.known.iter().map(|known| (&known.path, known.now));
        let inputs = inputs::of_index(&index, known, inputs)?;
        Ok(Found { tree: tree.to_string(), nested: walked.nested, unreadable, hidden, inputs })
    }

    /// Reads this work tree's own index, whatever the environment names.
    pub(super) fn index(&self, repo: &gix::Repository) -> Result<State, Fail> {
        self.index_at(repo, &self.git_dir.join("index"))
    }

    /// Reads an index.
    pub(super) fn index_at(&self, repo: &gix::Repository, path: &Path) -> Result<State, Fail> {
        Ok(self.index_with_checksum(repo, path)?.0)
    }

    /// Like [`Repo::index_at`], with the hash of all that is in the file, if the file has it.
    pub(super) fn index_with_checksum(
        &self,
        repo: &gix::Repository,
        path: &Path,
    ) -> Result<(State, Option<ObjectId>), Fail> {
        let options = gix::index::decode::Options {
            // A thread costs more than to read a short extension.
            min_extension_block_in_bytes_for_threading: 1 << 20,
            ..Default::default()
        };
        let Ok(meta) = path.metadata() else {
            return Ok((State::new(repo.object_hash()), None));
        };
        // An entry is larger in memory than in the file.
        heap::make_room(usize::try_from(meta.len()).unwrap_or(usize::MAX).saturating_mul(2));
        // git does not verify the checksum either when it reads.
        let file =
            gix::index::File::at(path, repo.object_hash(), true, options).map_err(|_| Fail::NeedsGit)?;
        let checksum = file.checksum();
        Ok((file.into_parts().0, checksum))
    }
}

fn is_empty_tree(id: &str) -> bool {
    gix::ObjectId::from_hex(id.as_bytes()).is_ok_and(|id| id.is_empty_tree())
}

/// The tree as the git program has it, for tests that hold the two ways together.
#[cfg(test)]
pub(super) fn tree_by_git(repo: &Repo) -> Result<String, GitError> {
    by_git::tree(repo, &[]).map(|found| found.tree)
}

/// What git was told not to look at and is another, as the git program has it, for tests that hold the two ways together.
#[cfg(test)]
pub(super) fn hidden_by_git(repo: &Repo) -> Result<Vec<String>, GitError> {
    by_git::tree(repo, &[]).map(|found| found.hidden.iter().map(ToString::to_string).collect())
}

/// Whether the tree was found in process, for tests that would not notice otherwise.
#[cfg(test)]
pub(super) fn is_found_in_process(repo: &Repo) -> bool {
    let Some(gix) = repo.in_process() else { return false };
    repo.tree_in_process(&gix, Filters::Run, &[]).is_ok()
}

/// How many folders did not have to be read, for tests that would not notice otherwise.
#[cfg(test)]
pub(super) fn folders_not_read(repo: &Repo) -> usize {
    let gix = repo.in_process().expect("it is read in process");
    let capabilities = gix.filesystem_options().expect("it has some");
    let index = repo.index(&gix).expect("an index");
    walk::walk(repo, &gix, &index, capabilities).expect("it can be walked").used.len()
}
