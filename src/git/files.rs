//! Which files there are, as git sees them, and why one might not be.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::program::Git;
use super::{GitError, Repo};

/// So many names fit into one command line.
const AT_ONCE: usize = 200;

impl Repo {
    /// Returns the files below a folder of `root` that git tracks, relative to `root`.
    pub fn tracked_below(&self, root: &Path, folder: &str) -> Result<Vec<PathBuf>, GitError> {
        let words = ["ls-files", "-z", "--cached", "--", &format!(":(literal){folder}")];
        // Another worktree has an index of its own.
        let git = if root == self.work_tree() { self.git_in(root) } else { Git::new(root) };
        let names = git.args(words).run()?;
        let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| PathBuf::from(OsString::from_vec(name.to_vec()))).collect())
    }

    /// Returns the files below `root`, relative to it, that git tracks or that `git add` would add, as
    /// far as a pathspec names them. Sorted by bytes; one that is tracked may be gone.
    pub fn files_below<S: AsRef<OsStr>>(&self, root: &Path, specs: &[S]) -> Result<Vec<PathBuf>, GitError> {
        let words = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"];
        let names = self.git_in(root).args(words).args(specs).run()?;
        let mut files: Vec<Vec<u8>> = names
            .split(|byte| *byte == 0)
            // A repository in the repository has a slash behind it.
            .filter(|name| !name.is_empty() && !name.ends_with(b"/"))
            .map(<[u8]>::to_vec)
            .collect();
        files.sort_unstable();
        files.dedup();
        Ok(files.into_iter().map(|name| PathBuf::from(OsString::from_vec(name))).collect())
    }

    /// Returns those of `paths`, all of which are missing, that nobody would expect to find: what git
    /// ignores, what a sparse checkout leaves out, and what belongs to a submodule.
    pub fn expected_missing(&self, root: &Path, paths: &[String]) -> Result<HashSet<String>, GitError> {
        let mut expected = HashSet::new();
        for some in paths.chunks(AT_ONCE) {
            self.ignored(root, some, &mut expected)?;
        }
        if expected.len() == paths.len() {
            return Ok(expected);
        }
        let mut elsewhere = BTreeSet::new();
        for entry in self.git_in(root).args(["ls-files", "-z", "-t", "-s"]).run()?.split(|byte| *byte == 0) {
            let Some(tab) = entry.iter().position(|byte| *byte == b'\t') else { continue };
            let (facts, name) = (&entry[..tab], &entry[tab + 1..]);
            if facts.starts_with(b"S ") || facts.get(2..8) == Some(b"160000") {
                elsewhere.insert(name.to_vec());
            }
        }
        for path in paths {
            let bytes = path.as_bytes();
            let slashes = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
            let is_in = slashes.chain([bytes.len()]).any(|end| elsewhere.contains(&bytes[..end]));
            let below = [bytes, b"/"].concat();
            let next = elsewhere.range(below.clone()..).next();
            if is_in || next.is_some_and(|next| next.starts_with(&below)) {
                expected.insert(path.clone());
            }
        }
        Ok(expected)
    }

    /// Adds those of `paths` that git ignores. git answers for all of them with one exit code, so halves
    /// are asked until each one is clear; mostly none is ignored, and one question is enough.
    fn ignored(&self, root: &Path, paths: &[String], found: &mut HashSet<String>) -> Result<(), GitError> {
        if paths.is_empty() {
            return Ok(());
        }
        let git = self.git_in(root).args(["check-ignore", "--"]).args(paths);
        // 128: one of them is something that git does not want to look at.
        match (git.run_expecting(&[0, 1, 128])?, paths) {
            ((1, _), _) | ((128, _), [_]) => {}
            ((_, _), [path]) => drop(found.insert(path.clone())),
            ((_, _), _) => {
                let (left, right) = paths.split_at(paths.len() / 2);
                self.ignored(root, left, found)?;
                self.ignored(root, right, found)?;
            }
        }
        Ok(())
    }

    fn git_in(&self, root: &Path) -> Git {
        Git::new(root).repository(self.git_dir(), self.work_tree())
    }
}
