//! Repositories inside the work tree: submodules, and those that nobody registered.

use std::path::Path;

use gix::ObjectId;

use super::program::{Facts, Git};
use super::tree::Filters;
use super::{Repo, open_in_process};

/// Whether git takes the folder for a repository of its own: it holds a `.git` that leads to one,
/// which is not `own`, the one that we are in.
pub(super) fn is_repository(folder: &Path, own: &Path) -> bool {
    let dot_git = folder.join(".git");
    // A folder or a file that cannot be looked into is a repository as well: better to leave it
    // alone than to take its insides for ours.
    let denied = |error: std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    let found = match dot_git.metadata() {
        Ok(found) if found.is_file() => match std::fs::read(&dot_git) {
            Ok(_) => gix::discover::is_git(&dot_git).is_ok(),
            Err(error) => denied(error),
        },
        Ok(_) => gix::discover::is_git(&dot_git).is_ok(),
        Err(error) => denied(error),
    };
    found && dot_git.canonicalize().map_or(true, |dot_git| dot_git != own)
}

/// Returns the commit that the repository in `folder` has checked out.
pub(super) fn head(folder: &Path, kind: gix::hash::Kind) -> Option<ObjectId> {
    let dot_git = folder.join(".git");
    let metadata = dot_git.symlink_metadata().ok()?;
    let git_dir = match metadata.is_file() {
        true => gix::discover::path::from_gitdir_file(&dot_git).ok()?,
        false => dot_git,
    };
    let id = match open_in_process(&git_dir, &Facts::default()) {
        Ok(repo) if repo.config_snapshot().string("extensions.refStorage").is_none() => {
            repo.head_id().ok()?.detach()
        }
        _ => {
            let words = ["rev-parse", "--quiet", "--verify", "--end-of-options", "HEAD"];
            let line = Git::new(folder).repository(&git_dir, folder).args(words).line().ok()?;
            ObjectId::from_hex(line.as_bytes()).ok()?
        }
    };
    (id.kind() == kind).then_some(id)
}

/// Whether the work tree in `folder` is not what its own commit says; so is one that cannot be
/// looked into. Only a registered submodule's filters are run: nobody vouched for the others.
pub(super) fn is_dirty(folder: &Path, registered: bool, program: &Facts) -> bool {
    let filters = if registered { Filters::Run } else { Filters::Refuse };
    let state = Repo::at(folder, program).and_then(|repo| {
        let head = repo.head()?;
        repo.tree_state_with(&head, filters, &[])
    });
    state.map_or(true, |state| state.is_changed() || !state.dirty_submodules.is_empty())
}
