//! The work trees of a repository, read from its folders without asking git.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use gix::bstr::ByteSlice;

use super::error::At;
use super::{GitError, Repo};

/// One work tree of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorktreeInfo {
    /// Its top level, absolute.
    pub path: PathBuf,
    /// git's name of a linked one; `None` for the main one.
    pub name: Option<String>,
    /// Whether it was made by `git worktree add`.
    pub linked: bool,
    /// Whether its folder is there and still belongs to the repository.
    pub present: bool,
}

impl Repo {
    /// Returns every work tree of the repository: the main one first, if there is one, then the
    /// linked ones by name.
    pub fn worktrees(&self) -> Result<Vec<WorktreeInfo>, GitError> {
        let mut found = Vec::new();
        if let Some(path) = self.main_work_tree() {
            let present = path.is_dir();
            found.push(WorktreeInfo { path, name: None, linked: false, present });
        }
        let folder = self.common_dir.join("worktrees");
        let listing = match fs::read_dir(&folder) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(error).at(&folder),
        };
        let mut names = Vec::new();
        for entry in listing {
            names.push(entry.at(&folder)?.file_name());
        }
        names.sort();
        for name in names {
            let private = folder.join(&name);
            // Without this file it is no worktree, or one that git is just making.
            let Ok(text) = fs::read(private.join("gitdir")) else { continue };
            let Some(path) = top_of(&private, &text) else { continue };
            let present = path.join(".git").is_file();
            let name = Some(name.to_string_lossy().into_owned());
            found.push(WorktreeInfo { path, name, linked: true, present });
        }
        Ok(found)
    }

    /// Whether this is another work tree than the main one.
    pub(super) fn is_linked(&self) -> bool {
        self.git_dir != self.common_dir
    }

    /// The main work tree, or the git directory of a bare repository.
    pub fn home(&self) -> PathBuf {
        self.main_work_tree().unwrap_or_else(|| self.common_dir.clone())
    }

    /// The main work tree; `None` if the repository is bare.
    pub(super) fn main_work_tree(&self) -> Option<PathBuf> {
        if !self.is_linked() {
            return Some(self.work_tree.clone());
        }
        // A linked worktree does not see the configuration of the main one.
        let mut bare = None;
        let mut work_tree = None;
        for name in ["config", "config.worktree"] {
            let path = self.common_dir.join(name);
            let local = gix::config::Source::Local;
            let Ok(config) = gix::config::File::from_path_no_includes(path, local) else {
                continue;
            };
            bare = config.boolean("core.bare").ok().flatten().or(bare);
            work_tree = config.string("core.worktree").or(work_tree);
        }
        if bare == Some(true) {
            return None;
        }
        if let Some(path) = work_tree {
            let path = self.common_dir.join(path.to_path_lossy());
            return Some(path.canonicalize().unwrap_or(path));
        }
        let named_dot_git = self.common_dir.file_name() == Some(OsStr::new(".git"));
        named_dot_git.then(|| self.common_dir.parent().map(Path::to_owned)).flatten()
    }
}

/// Returns the top level of the worktree that git keeps in one of its folders; nothing if it does not say where that is.
pub fn top_of_entry(entry: &Path) -> Option<PathBuf> {
    top_of(entry, &fs::read(entry.join("gitdir")).ok()?)
}

/// Whether a folder says of itself that it is the worktree which git keeps in one of its folders.
pub fn is_top_of(folder: &Path, entry: &Path) -> bool {
    let dot_git = folder.join(".git");
    if !dot_git.symlink_metadata().is_ok_and(|it| it.is_file()) {
        return false;
    }
    let text = fs::read(&dot_git).unwrap_or_default();
    let said = text.strip_prefix(b"gitdir: ").map(|said| folder.join(said.trim_ascii_end().to_path_lossy()));
    let Some(Ok(said)) = said.map(|said| said.canonicalize()) else { return false };
    entry.canonicalize().is_ok_and(|entry| entry == said)
}

/// Returns the top level that a `gitdir` file points to; it may be relative to its own folder.
fn top_of(private: &Path, text: &[u8]) -> Option<PathBuf> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let dot_git = private.join(text.to_path_lossy());
    let top = dot_git.parent()?;
    Some(match top.canonicalize() {
        Ok(top) => top,
        Err(_) => normalized(top),
    })
}

/// Removes `.` and `..` by name only: the folder is gone, so nothing else can be asked.
fn normalized(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

/// Returns `path` as seen from `base`, both absolute; `.` for `base` itself.
pub(super) fn relative(path: &Path, base: &Path) -> String {
    let shared = path.components().zip(base.components()).take_while(|(a, b)| a == b).count();
    let ups = base.components().skip(shared).map(|_| Path::new(".."));
    let downs = path.components().skip(shared).map(|part| Path::new(part.as_os_str()));
    let joined: PathBuf = ups.chain(downs).collect();
    match joined.as_os_str().is_empty() {
        true => ".".to_owned(),
        false => joined.to_string_lossy().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_named_as_seen_from_another() {
        for (path, base, expected) in [
            ("/a/b", "/a/b", "."),
            ("/a/b/c", "/a/b", "c"),
            ("/a/c", "/a/b", "../c"),
            ("/x", "/a/b", "../../x"),
        ] {
            assert_eq!(relative(Path::new(path), Path::new(base)), expected);
        }
    }

    #[test]
    fn the_folder_of_a_lost_worktree_has_a_plain_name() {
        assert_eq!(normalized(Path::new("/a/./b/../c")), Path::new("/a/c"));
    }
}
