//! Facts about a repository for those who only look: nothing here writes, not even what we keep to be faster.

use std::path::{Path, PathBuf};

use super::program::Git;
use super::{GitError, Repo};

/// Returns what `git --version` says, without the words in front.
pub fn program_version() -> Result<String, GitError> {
    let line = Git::new(Path::new("/")).args(["--version"]).line()?;
    Ok(line.strip_prefix("git version ").unwrap_or(&line).to_owned())
}

impl Repo {
    /// Returns tracked files below the paths given, some of them if there are many.
    pub fn tracked(&self, paths: &[&Path]) -> Result<Vec<String>, GitError> {
        let git = self.git().env("GIT_LITERAL_PATHSPECS", "1").args(["ls-files", "-z", "--"]).args(paths);
        let listed = git.run()?;
        let names = listed.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.take(1_000).map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }

    /// Whether git would ignore an untracked file of this name.
    pub fn ignores(&self, path: &Path) -> Result<bool, GitError> {
        let git = self.git().args(["check-ignore", "--quiet", "--no-index", "--"]).args([path]);
        Ok(git.run_expecting(&[0, 1])?.0 == 0)
    }

    /// Returns the folder of git's hooks, whether the configuration names it, and the hooks in it that git
    /// would run.
    pub fn hooks(&self) -> (PathBuf, bool, Vec<String>) {
        let named = self.in_process().and_then(|repo| {
            let value = repo.config_snapshot().string("core.hooksPath")?;
            Some(value.to_string()).filter(|value| !value.is_empty())
        });
        let folder = match &named {
            Some(path) => self.work_tree.join(path),
            None => self.common_dir.join("hooks"),
        };
        let entries = std::fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok);
        let mut hooks: Vec<_> = entries
            .filter(|entry| crate::sys::room::is_program(&entry.path()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.contains('.'))
            .collect();
        hooks.sort();
        (folder, named.is_some(), hooks)
    }
}
