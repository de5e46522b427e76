//! Repositories that are only looked at: a bare one too, and in a hook of a server with the objects that a push
//! brings, which no ref names yet.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::At;
use super::{GitError, Repo, open_in_process};

/// The parts of a git directory that a view has in common with it. `HEAD` must be a file of its own: git takes a
/// link for the old form of a branch.
const SHARED: [&str; 7] = ["config", "config.worktree", "refs", "packed-refs", "reftable", "shallow", "info"];

impl Repo {
    /// Like [`Repo::discover`], also in a bare repository, where the git directory stands in for the work tree, and
    /// with the objects of a push that is being received.
    pub fn discover_any(from: &Path) -> Result<Self, GitError> {
        let repo = match Self::discover(from) {
            Err(GitError::Bare { path }) => Self::bare(&path)?,
            other => other?,
        };
        match incoming(from, &repo) {
            Some(objects) => repo.with_objects(&objects),
            None => Ok(repo),
        }
    }

    fn bare(git_dir: &Path) -> Result<Self, GitError> {
        let program = super::program::Facts::of_program(
            &super::common_dir_of(git_dir).join("orchestrate/git-program"),
            true,
        );
        let opened = open_in_process(git_dir, &program).ok();
        let mut repo = Self::assemble(opened, git_dir.to_owned(), git_dir.to_owned(), program)?;
        repo.bare = true;
        Ok(repo)
    }

    /// Whether there is no work tree.
    pub fn is_bare(&self) -> bool {
        self.bare
    }

    /// Returns the folder of the objects that are seen here.
    pub(super) fn objects(&self) -> PathBuf {
        match self.view {
            Some(_) => self.git_dir.join("objects"),
            None => self.common_dir.join("objects"),
        }
    }

    /// Returns the repository as it is with more objects, which stay where they are.
    fn with_objects(self, objects: &Path) -> Result<Self, GitError> {
        let place = std::env::temp_dir();
        let view = tempfile::Builder::new().prefix("git-orchestrate-").tempdir().at(&place)?;
        let path = view.path().canonicalize().at(view.path())?;
        for name in SHARED {
            let (there, here) = (self.common_dir.join(name), path.join(name));
            if there.symlink_metadata().is_ok() {
                symlink(&there, &here).at(&here)?;
            }
        }
        let head = self.git_dir.join("HEAD");
        std::fs::copy(&head, path.join("HEAD")).at(&head)?;
        let info = path.join("objects/info");
        std::fs::create_dir_all(&info).at(&info)?;
        let mut lines = Vec::new();
        for objects in [objects, &self.common_dir.join("objects")] {
            let name = std::os::unix::ffi::OsStrExt::as_bytes(objects.as_os_str());
            if name.contains(&b'\n') || name.starts_with(b"\"") || name.starts_with(b"#") {
                return Err(GitError::unsupported(objects, "a file of alternates cannot name it"));
            }
            lines.extend_from_slice(name);
            lines.push(b'\n');
        }
        let file = info.join("alternates");
        std::fs::write(&file, lines).at(&file)?;
        let opened = open_in_process(&path, &self.program).ok();
        let mut repo = Self::assemble(opened, path, self.work_tree.clone(), self.program.clone())?;
        repo.common_dir = self.common_dir.clone();
        repo.bare = self.bare;
        repo.view = Some(Arc::new(view));
        Ok(repo)
    }
}

/// Returns where the objects of a push are that this repository is receiving.
fn incoming(from: &Path, repo: &Repo) -> Option<PathBuf> {
    let named = std::env::var_os("GIT_QUARANTINE_PATH").filter(|path| !path.is_empty())?;
    let objects = from.join(named).canonicalize().ok()?;
    // The push may be to another repository.
    objects.starts_with(repo.common_dir.join("objects")).then_some(objects)
}
