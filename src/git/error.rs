//! What can go wrong between us and a repository.

use std::io;
use std::path::{Path, PathBuf};

use crate::id::short;

/// A repository that could not be found, opened, read or changed.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// Neither the folder nor any above it belongs to a repository.
    #[error("`{}` is not in a git repository", path.display())]
    NotARepository {
        /// Where the search began.
        path: PathBuf,
    },
    /// The repository has no files checked out.
    #[error("`{}` is a bare repository without a work tree", path.display())]
    Bare {
        /// The git directory.
        path: PathBuf,
    },
    /// git refuses the repository because another user owns it.
    #[error(
        "`{}` belongs to another user; if it can be trusted: `git config --global --add safe.directory {}`",
        path.display(), path.display()
    )]
    NotOwned {
        /// The folder that git refuses.
        path: PathBuf,
    },
    /// A tracked file has changed and cannot be read, so the tree has no name.
    #[error("cannot read the tracked file `{}`", path.display())]
    UnreadableFile {
        /// The file, absolute.
        path: PathBuf,
        source: io::Error,
    },
    /// The machine said no.
    #[error("cannot use `{}`", path.display())]
    Io {
        /// What was read or written.
        path: PathBuf,
        source: io::Error,
    },
    /// `info/exclude` may not be changed.
    #[error("`{}` is read-only and lacks the line `{line}`", path.display())]
    ExcludeReadOnly {
        /// The exclude file.
        path: PathBuf,
        /// The first line that is missing.
        line: String,
    },
    /// A pattern that would be more or less than one line of an exclude file.
    #[error("`{}` is no exclude pattern", pattern.escape_debug())]
    BadPattern {
        /// The pattern as given.
        pattern: String,
    },
    /// What the next commit would hold is not settled yet.
    #[error("`{path}`{} in conflict, so there is no next commit yet", are(*more))]
    Conflict {
        /// The first path, as it is shown.
        path: String,
        /// How many more there are.
        more: usize,
    },
    /// Every side worktree is taken.
    #[error("all side worktrees in `{}` are in use", path.display())]
    NoSlot {
        /// The folder that holds them.
        path: PathBuf,
    },
    /// The git program failed.
    #[error("`git {command}` failed in `{}`: {stderr}", dir.display())]
    Program {
        /// The words after `git`, without our own settings.
        command: String,
        /// Where it ran.
        dir: PathBuf,
        /// What git said.
        stderr: String,
    },
    /// A signal ended the git program.
    #[error("signal {signal} ended `git {command}` in `{}`", dir.display())]
    Signal {
        /// The words after `git`, without our own settings.
        command: String,
        /// Where it ran.
        dir: PathBuf,
        signal: i32,
    },
    /// The git program answered something that we do not know.
    #[error("`git {command}` answered in words that we do not know: {said}")]
    Unexpected { command: String, said: String },
    /// Nothing was signed, though it should have been.
    #[error("not signed: {said}")]
    NotSigned {
        /// What the signing program said.
        said: String,
    },
    /// History is cut off where it would be needed.
    #[error("history is cut off (a shallow clone): {what}")]
    Shallow {
        /// What that means here.
        what: String,
    },
    /// A partial clone lacks objects, and nothing is downloaded behind the user's back.
    #[error("objects are missing here (a partial clone): {said}")]
    MissingObjects {
        /// What git said.
        said: String,
    },
    /// A link of a commit that leads to no file of it.
    #[error("`{}` of {} is behind a link that {why}", path.display(), short(of))]
    DeadLink {
        /// The commit or tree, in hex.
        of: String,
        path: PathBuf,
        why: String,
    },
    /// A note that would fill the memory.
    #[error("the note {note} has {size} bytes, and none is read that is larger than {limit}")]
    NoteTooLarge {
        /// The blob, in hex.
        note: String,
        size: u64,
        limit: usize,
    },
    /// The git program could not be started.
    #[error("cannot start `git`")]
    NoProgram { source: io::Error },
    /// The repository could not be read in process.
    #[error("cannot read the repository `{}`: {message}", path.display())]
    Unsupported {
        /// The git directory or the file in it.
        path: PathBuf,
        /// The reason as the library tells it.
        message: String,
    },
}

fn are(count: usize) -> String {
    match count {
        0 => " is".to_owned(),
        count => format!(" and {count} more are"),
    }
}

impl GitError {
    /// Returns the error about paths in conflict; nothing if there is none.
    pub(super) fn of_conflicts<'p>(paths: impl IntoIterator<Item = &'p [u8]>) -> Option<Self> {
        let mut paths: Vec<_> = paths.into_iter().collect();
        // Each has up to three entries, one after the other.
        paths.dedup();
        let (first, others) = paths.split_first()?;
        Some(Self::Conflict { path: super::diff::shown(first), more: others.len() })
    }

    /// Returns the error of the library under our own name.
    pub(super) fn unsupported(path: &Path, error: impl std::fmt::Display) -> Self {
        Self::Unsupported { path: path.to_owned(), message: error.to_string() }
    }
}

/// Names the path that an [`io::Error`] is about.
pub(super) trait At<T> {
    /// Returns the value, or the error with its path.
    fn at(self, path: &Path) -> Result<T, GitError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, GitError> {
        self.map_err(|source| GitError::Io { path: path.to_owned(), source })
    }
}
