//! Where git looks for hooks, and what its configuration says of them.

use std::path::{Path, PathBuf};

use super::program::Git;
use super::{GitError, Repo};

/// From this version on hooks can stand in git's configuration.
const CONFIGURED: (u32, u32) = (2, 54);

/// The folder in which git looks for the hooks of one worktree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HooksFolder {
    /// Absolute.
    pub path: PathBuf,
    /// What `core.hooksPath` says, and in which scope, if it decides.
    pub named: Option<(String, String)>,
    /// Whether there are files in it that git tracks.
    pub tracked: bool,
}

/// Whose configuration is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// That of the repository, for all of its worktrees.
    Repository,
    /// That of the user, for all repositories.
    User,
}

impl Scope {
    fn flag(self) -> &'static str {
        match self {
            Self::Repository => "--local",
            Self::User => "--global",
        }
    }
}

impl Repo {
    /// Whether this git reads hooks from its configuration.
    pub fn reads_configured_hooks(&self) -> bool {
        self.program.version.as_deref().and_then(numbers).is_some_and(|version| version >= CONFIGURED)
    }

    /// Returns what git calls its own version.
    pub fn git_version(&self) -> &str {
        self.program.version.as_deref().unwrap_or("unknown")
    }

    /// Returns where git looks for the hooks of a worktree.
    pub fn hooks_folder(&self, worktree: &Path) -> Result<HooksFolder, GitError> {
        let git = || Git::about_hooks(worktree);
        let path = PathBuf::from(git().args(["rev-parse", "--git-path", "hooks"]).line()?);
        // It may not exist, which `--path-format=absolute` does not like.
        let path = worktree.join(path);
        let words = ["config", "--null", "--show-scope", "--get", "core.hooksPath"];
        let (code, named) = git().args(words).run_expecting(&[0, 1])?;
        let named = String::from_utf8_lossy(&named).into_owned();
        let mut parts = named.split('\0');
        let (scope, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let named = (code == 0).then(|| (value.to_owned(), scope.to_owned()));
        // Where the folder really is: it may be a link into the work tree.
        let real = path.canonicalize().ok();
        let inside = |real: &PathBuf| real.starts_with(worktree) && !real.starts_with(&self.common_dir);
        let tracked = match real.filter(inside) {
            Some(real) => {
                let listed = git().env("GIT_LITERAL_PATHSPECS", "1").args(["ls-files", "-z", "--"]);
                let (code, listed) = listed.args([&real]).run_expecting(&[0, 128])?;
                code == 0 && !listed.is_empty()
            }
            None => false,
        };
        Ok(HooksFolder { path, named, tracked })
    }

    /// Returns the values of a key, the strongest last, each with the scope that it stands in.
    pub fn settings_of(&self, key: &str) -> Result<Vec<(String, String)>, GitError> {
        let words = ["config", "--null", "--show-scope", "--get-all", key];
        let (_, listed) = Git::about_hooks(&self.work_tree).args(words).run_expecting(&[0, 1])?;
        let text = String::from_utf8_lossy(&listed).into_owned();
        let words: Vec<_> = text.split('\0').collect();
        let pairs = words.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned()));
        Ok(pairs.collect())
    }

    /// Gives a key one value.
    pub fn set(&self, scope: Scope, key: &str, value: &str) -> Result<(), GitError> {
        let words = ["config", scope.flag(), "--replace-all", key, value];
        Git::about_hooks(&self.work_tree).args(words).run().map(drop)
    }

    /// Removes a section, with all of its keys; one that is not there is fine.
    pub fn remove_section(&self, scope: Scope, section: &str) -> Result<(), GitError> {
        let words = ["config", scope.flag(), "--remove-section", section];
        Git::about_hooks(&self.work_tree).args(words).run_expecting(&[0, 128]).map(drop)
    }

    /// Removes a key; one that is not there is fine.
    pub fn unset(&self, scope: Scope, key: &str) -> Result<(), GitError> {
        let words = ["config", scope.flag(), "--unset-all", key];
        Git::about_hooks(&self.work_tree).args(words).run_expecting(&[0, 5]).map(drop)
    }

    /// Lets git run a hook in a worktree, in the environment of a program without a terminal, and returns
    /// what was said. `settings` are given to git on its command line.
    pub fn try_hook(
        &self,
        worktree: &Path,
        event: &str,
        variable: &str,
        settings: &[String],
    ) -> Result<(Option<i32>, String), GitError> {
        /// What a program has that was started from a menu.
        const PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";
        let keeps = |name: &std::ffi::OsStr| {
            let name = name.to_str().unwrap_or_default();
            let configuration = ["GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"];
            name == "HOME" || name == "XDG_CONFIG_HOME" || configuration.contains(&name)
        };
        let git = Git::about_hooks(worktree).in_environment(PATH, &keeps).env(variable, "1");
        let git = settings.iter().fold(git, |git, setting| git.args(["-c", setting]));
        let arguments: &[&str] = match event {
            "pre-push" => &["origin", "."],
            "commit-msg" => &["message"],
            _ => &[],
        };
        git.args(["hook", "run", "--ignore-missing", event, "--"]).args(arguments).said()
    }
}

/// Returns the first two numbers of a version.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
