//! Linked worktrees that last: made, filled and taken away, with what git itself has to say about each step.
//!
//! `git worktree add` is not safe beside another one: while it makes a worktree it reads the files of all others, and
//! one that is half made ends it. So whoever calls [`Repo::link_worktree`] holds a lock, and what takes time, which is
//! to fill the worktree, comes after it. Somebody may call plain git all the same, so what that may spoil is tried again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::At;
use super::program::Git;
use super::tree::by_git;
use super::{GitError, Repo};
use crate::sys::fs::foreign_step;

/// How often to try what a process beside us may spoil.
const TRIES: u32 = 20;

impl Repo {
    /// Returns the worktree in a folder, as far as it belongs to this repository.
    pub fn worktree_at(&self, top: &Path) -> Result<Self, GitError> {
        let there = Self::at(top, &self.program)?;
        match there.common_dir == self.common_dir {
            true => Ok(there),
            false => Err(GitError::unsupported(top, "it belongs to another repository")),
        }
    }

    /// Returns the commit that a branch names; nothing if there is no such branch.
    pub fn branch(&self, name: &str) -> Result<Option<String>, GitError> {
        self.object_named(&format!("refs/heads/{name}"))
    }

    /// Makes a branch; an error if there is one of that name already.
    pub fn make_branch(&self, name: &str, commit: &str) -> Result<(), GitError> {
        foreign_step("make a branch").at(&self.common_dir)?;
        let words = ["update-ref", "--create-reflog", "-m", "branch: made by git orchestrate stream new"];
        let name = format!("refs/heads/{name}");
        self.git().args(words).args([&name, commit, &"0".repeat(commit.len())]).run().map(drop)
    }

    /// Removes a branch if it still names a commit. Returns whether it did.
    pub fn remove_branch(&self, name: &str, commit: &str) -> Result<bool, GitError> {
        let full = format!("refs/heads/{name}");
        if self.object_named(&full)?.as_deref() != Some(commit) {
            return Ok(false);
        }
        foreign_step("remove a branch").at(&self.common_dir)?;
        self.git().args(["update-ref", "-d", &full, commit]).run()?;
        Ok(true)
    }

    /// Returns the worktree in which a branch is checked out.
    pub fn holder_of(&self, branch: &str) -> Result<Option<PathBuf>, GitError> {
        Ok(self.holders_of(branch)?.into_iter().next())
    }

    /// Returns all worktrees in which a branch is checked out: with `--force` git lets several have it.
    pub fn holders_of(&self, branch: &str) -> Result<Vec<PathBuf>, GitError> {
        self.with_branch(branch, &["HEAD"], "ref: ")
    }

    /// Returns a worktree in which a branch is being rebased.
    pub fn rebaser_of(&self, branch: &str) -> Result<Option<PathBuf>, GitError> {
        let found = self.with_branch(branch, &["rebase-merge/head-name", "rebase-apply/head-name"], "")?;
        Ok(found.into_iter().next())
    }

    /// Returns the worktrees in whose part of git one of some files names a branch.
    fn with_branch(&self, branch: &str, files: &[&str], prefix: &str) -> Result<Vec<PathBuf>, GitError> {
        let wanted = format!("{prefix}refs/heads/{branch}");
        let names = |git_dir: &Path| {
            let read = |file: &&str| std::fs::read(git_dir.join(file));
            files.iter().filter_map(|file| read(file).ok()).any(|it| it.trim_ascii_end() == wanted.as_bytes())
        };
        let there = self.worktrees()?.into_iter().filter(|worktree| {
            worktree.present
                && match &worktree.name {
                    Some(name) => names(&self.common_dir.join("worktrees").join(name)),
                    None => names(&self.common_dir),
                }
        });
        Ok(there.map(|worktree| worktree.path).collect())
    }

    /// Returns how many commits one has and the other has not, and the other way round.
    pub fn ahead_and_behind(&self, one: &str, other: &str) -> Result<(usize, usize), GitError> {
        if one == other {
            return Ok((0, 0));
        }
        let words = ["rev-list", "--left-right", "--count", "--end-of-options"];
        let line = self.git().args(words).args([format!("{one}...{other}")]).line()?;
        let mut counts = line.split_ascii_whitespace().map(|count| count.parse().unwrap_or(0));
        Ok((counts.next().unwrap_or(0), counts.next().unwrap_or(0)))
    }

    /// Makes a linked worktree without any file. What is said of sparse checkouts and in the configuration of this
    /// worktree alone holds there too. One caller at a time.
    pub fn link_worktree(&self, top: &Path, branch: &str) -> Result<Self, GitError> {
        foreign_step("make a worktree").at(top)?;
        let words = ["worktree", "add", "--no-checkout", "--quiet"];
        for tried in 1.. {
            let done = self.git().args(words).args([top]).args([branch]).run();
            match done {
                Err(GitError::Program { stderr, .. }) if tried < TRIES && is_passing(&stderr) => {
                    std::thread::sleep(Duration::from_millis(5 * u64::from(tried)));
                }
                Err(err) => return Err(err),
                Ok(_) => break,
            }
        }
        self.worktree_at(top)
    }

    /// Fills a worktree that has no file yet with those of its commit, or with those of another tree, which then look
    /// like changes that nobody has staged.
    pub fn fill(&self, tree: Option<&str>, later: bool) -> Result<(), GitError> {
        foreign_step("fill a worktree").at(&self.work_tree)?;
        // Two for each: more of them get in each other's way on most disks.
        let git = || {
            let git = self.git().env("GIT_NO_LAZY_FETCH", "0");
            let git = if later { git.env("GIT_LFS_SKIP_SMUDGE", "1") } else { git };
            git.args(["-c", "checkout.workers=2", "-c", "submodule.recurse=false"])
        };
        match tree {
            None => git().args(["reset", "--hard", "--quiet", "--no-recurse-submodules"]).run()?,
            Some(tree) => {
                git().args(["read-tree", "--reset", "-u", tree]).run()?;
                git().args(["reset", "--quiet"]).run()?
            }
        };
        Ok(())
    }

    /// Stores what is in the work tree, whether staged, not staged or untracked, and returns the tree. Repositories in
    /// it that are no submodules are left out, and returned.
    pub fn carried_tree(&self) -> Result<(String, Vec<String>), GitError> {
        let (_temp, index) = by_git::copy_of_index(self)?;
        let git = || {
            let git = self.git().env("GIT_INDEX_FILE", &index);
            git.args(["-c", "core.splitIndex=false", "-c", "advice.addEmbeddedRepo=false"])
        };
        let links = |listed: &[u8]| -> Vec<String> {
            let lines = listed.split(|byte| *byte == 0).map(String::from_utf8_lossy);
            lines
                .filter_map(|line| Some(line.strip_prefix("160000 ")?.split_once('\t')?.1.to_owned()))
                .collect()
        };
        let known = links(&git().args(["ls-files", "--stage", "-z"]).run()?);
        git().args(["add", "--all", "--sparse"]).run()?;
        let now = links(&git().args(["ls-files", "--stage", "-z"]).run()?);
        let nested: Vec<_> = now.into_iter().filter(|path| !known.contains(path)).collect();
        if !nested.is_empty() {
            git().args(["update-index", "--force-remove", "--"]).args(&nested).run()?;
        }
        Ok((git().args(["write-tree"]).line()?, nested))
    }

    /// Runs the hook that git runs after a checkout. Returns what it said if it failed.
    pub fn after_checkout(&self, commit: &str) -> Result<Option<String>, GitError> {
        let zero = "0".repeat(commit.len());
        let git =
            Git::about_hooks(&self.work_tree).args(["hook", "run", "--ignore-missing", "post-checkout"]);
        let (code, said) = git.args(["--", &zero, commit, "1"]).said()?;
        // Before git 2.36 nobody could ask it to run one.
        let failed = code != Some(0) && !said.contains("is not a git command");
        Ok(failed.then(|| said.trim_end().to_owned()))
    }

    /// Returns git's folder of a linked worktree that is, or was, at a path.
    pub fn entry_of(&self, top: &Path) -> Result<Option<PathBuf>, GitError> {
        let found = self.worktrees()?.into_iter().find(|worktree| worktree.path == top);
        Ok(found.and_then(|worktree| Some(self.common_dir.join("worktrees").join(worktree.name?))))
    }
}

/// Whether git failed because of what another process was just doing.
fn is_passing(stderr: &str) -> bool {
    ["commondir", "failed to read", "could not lock", "Unable to create", "cannot lock ref", "File exists"]
        .iter()
        .any(|words| stderr.contains(words))
        // That of somebody who is in our way stays there.
        && !stderr.contains("already exists")
}
