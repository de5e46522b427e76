//! What it takes to bring a merge onto a branch without a checkout: the commit, the move of the branch, and the
//! worktrees that have it checked out.
//!
//! git's own order holds: first the files, then the branch. While the files change the branch is locked by git itself,
//! so nobody moves it in between, and whoever is killed then leaves a lock that dies with us and a note, by which the next
//! one takes the files back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gix::bstr::{BString, ByteSlice};

use super::error::At;
use super::program::{Git, Talk};
use super::tree::by_git;
use super::tree::content::on_disk;
use super::{GitError, Repo};
use crate::sys::fs::{self, Durability, foreign_step};

/// In git's part of a worktree: from which tree to which its files are being brought.
const NOTE: &str = "orchestrate-landing";

/// What `merge.ff` says about a merge that needs no commit of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FastForward {
    /// The branch moves on to what is merged, where that is all.
    #[default]
    Where,
    /// There is always a commit.
    Never,
    /// There is never one.
    Only,
}

/// What became of the move of a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    Yes,
    /// It is not where it was any more, or somebody else is just moving it.
    Elsewhere,
    /// git, or a hook, would not do it.
    Refused(String),
}

impl Repo {
    /// Returns what the configuration says about merges that need no commit.
    pub fn fast_forward(&self) -> Result<FastForward, GitError> {
        let (_, said) = self.git().args(["config", "--get", "merge.ff"]).run_expecting(&[0, 1])?;
        Ok(match String::from_utf8_lossy(&said).trim().to_ascii_lowercase().as_str() {
            "only" => FastForward::Only,
            "false" | "no" | "off" | "0" => FastForward::Never,
            _ => FastForward::Where,
        })
    }

    /// Makes the commit of a merge as `git merge` would: its message, with what a `commit-msg` hook makes of it, the
    /// caller's name, and signed if commits are. Returns what the hook said if that refused.
    pub fn merge_commit(
        &self,
        tree: &str,
        (branch, theirs): (&str, &str),
        (onto, ours): (&str, &str),
    ) -> Result<Result<String, String>, GitError> {
        let folder = self.aside("merge-")?;
        let heads = format!("{theirs}\t\tbranch '{branch}' of .\n");
        let words = ["fmt-merge-msg", "--into-name", onto];
        let message = self.git().args(words).given(heads.as_bytes())?.run()?;
        let file = folder.path().join("MERGE_MSG");
        std::fs::write(&file, message).at(&file)?;
        if let Some(said) = self.check_message(&file, tree, &folder.path().join("index"))? {
            return Ok(Err(said));
        }
        let (_, signs) =
            self.git().args(["config", "--type=bool", "--get", "commit.gpgSign"]).run_expecting(&[0, 1])?;
        let sign = signs.starts_with(b"true").then_some("-S");
        let git = self.git().args(["commit-tree", "-p", ours, "-p", theirs, "-F"]).args([&file]);
        Ok(Ok(git.args(sign).args([tree]).line()?))
    }

    /// Runs the hook `commit-msg`, to which the index of what is merged is shown. Returns what it said if it refused.
    fn check_message(&self, file: &Path, tree: &str, index: &Path) -> Result<Option<String>, GitError> {
        self.git().env("GIT_INDEX_FILE", index).args(["read-tree", tree]).run()?;
        let hook = Git::about_hooks(&self.work_tree).env("GIT_INDEX_FILE", index);
        let words = ["hook", "run", "--ignore-missing", "commit-msg", "--"];
        let (code, said) = hook.env("GIT_EDITOR", ":").args(words).args([file]).said()?;
        Ok((code != Some(0)).then(|| said.trim_end().to_owned()))
    }

    /// Returns what this worktree has changed of the files of a commit, staged or not. What is untracked is no change.
    pub fn changed_since(&self, commit: &str) -> Result<Vec<String>, GitError> {
        let mut changed = Vec::new();
        // Which commit a submodule is at is git's business only where it is staged.
        for how in ["--ignore-submodules=all", "--cached"] {
            let words = ["diff", "--name-only", "-z", "--no-ext-diff", "--no-textconv", "--no-renames", how];
            let listed = self.git().args(words).args([commit, "--"]).run()?;
            let paths = listed.split(|byte| *byte == 0).filter(|path| !path.is_empty());
            changed.extend(paths.map(|path| String::from_utf8_lossy(path).into_owned()));
        }
        changed.sort();
        changed.dedup();
        Ok(changed)
    }

    /// Says why the files of this worktree could not go from one commit to another; changes nothing.
    pub fn cannot_step(&self, old: &str, new: &str) -> Result<Option<String>, GitError> {
        // On a copy: git takes its lock even to try, and one that a killed git leaves keeps everybody out.
        let (_temp, index) = by_git::copy_of_index(self)?;
        let git = || self.git().env("GIT_INDEX_FILE", &index).args(["-c", "core.splitIndex=false"]);
        let tried = || git().args(["read-tree", "-n", "-m", "-u", old, new]).run();
        match tried() {
            Err(GitError::Program { .. }) => {}
            tried => return tried.map(|_| None),
        }
        // git takes a file for changed whose times are others than the index says.
        let refresh = |git: Git| git.args(["update-index", "-q", "--refresh"]).run_expecting(&[0, 1, 128]);
        refresh(git())?;
        match tried() {
            Ok(_) => refresh(self.git()).map(|_| None),
            Err(GitError::Program { stderr, .. }) => Ok(Some(stderr)),
            Err(err) => Err(err),
        }
    }

    /// Returns the lock on the index of this worktree, if somebody has it.
    pub fn index_lock(&self) -> Option<PathBuf> {
        let lock = self.git_dir.join("index.lock");
        lock.symlink_metadata().is_ok().then_some(lock)
    }

    /// Takes back what somebody who was killed had brought to this worktree, if that is all that is in it. One caller
    /// at a time. Returns whether anything was.
    pub fn take_back_landing(&self, branch: &str) -> Result<bool, GitError> {
        let note = self.git_dir.join(NOTE);
        let Some(text) = fs::read_if_there(&note)? else { return Ok(false) };
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut words = text.trim_end().split(' ');
        let (Some(old), Some(new)) = (words.next(), words.next()) else {
            fs::remove(&note)?;
            return Ok(false);
        };
        let is_there = self.branch(branch)?.as_deref() == Some(old) && self.commit_named(new)?.is_some();
        if is_there {
            let added = self.paths(&["diff", "--diff-filter=A"], &[old, new, "--"])?;
            if !self.is_on_the_way(old, new, &added)? {
                return Ok(false);
            }
            self.git().env("GIT_NO_LAZY_FETCH", "0").args(["read-tree", "--reset", "-u", old]).run()?;
            // The index may not have known them yet.
            for path in added {
                fs::remove(&on_disk(&self.work_tree, path.as_bstr()))?;
            }
        }
        fs::remove(&note)?;
        Ok(is_there)
    }

    /// Whether all that is tracked is as in one of two commits, or missing where they differ, and what is where only the
    /// new one has something is from there: then nobody but us has been there.
    fn is_on_the_way(&self, old: &str, new: &str, added: &[BString]) -> Result<bool, GitError> {
        let is_staged = |commit: &str| -> Result<bool, GitError> {
            let git = self.git().args(["diff-index", "--cached", "--quiet", commit, "--"]);
            Ok(git.run_expecting(&[0, 1])?.0 == 0)
        };
        if !is_staged(old)? && !is_staged(new)? {
            return Ok(false);
        }
        let place = tempfile::Builder::new().prefix("landing-").tempdir_in(&self.git_dir).at(&self.git_dir)?;
        // An index of its own for each commit: the one that is there may be that of neither.
        let differs = |commit: &str, name: &str| -> Result<BTreeSet<BString>, GitError> {
            let index = place.path().join(name);
            self.git().env("GIT_INDEX_FILE", &index).args(["read-tree", commit]).run()?;
            let git = self.git().env("GIT_INDEX_FILE", &index).args(["diff", "--name-only", "-z"]);
            let listed = git.args(["--no-ext-diff", "--ignore-submodules=all", "--"]).run()?;
            Ok(split(&listed).collect())
        };
        let (from_old, from_new) = (differs(old, "old")?, differs(new, "new")?);
        let between: BTreeSet<_> = self.paths(&["diff"], &[old, new, "--"])?.into_iter().collect();
        let missing = |path: &BString| {
            let found = on_disk(&self.work_tree, path.as_bstr()).symlink_metadata();
            found.is_err_and(|err| err.kind() == std::io::ErrorKind::NotFound)
        };
        let ours = |path: &BString| between.contains(path) && (!from_new.contains(path) || missing(path));
        // git lists none of these while the index is the old one.
        let foreign = |path: &BString| from_new.contains(path) && !missing(path) && !self.is_empty_file(path);
        Ok(from_old.iter().all(ours) && !added.iter().any(foreign))
    }

    /// Whether a path is a file of this worktree with nothing in it, as git leaves one that it had only just begun.
    fn is_empty_file(&self, path: &BString) -> bool {
        let file = on_disk(&self.work_tree, path.as_bstr());
        let folders = file.ancestors().skip(1).take_while(|folder| *folder != self.work_tree);
        // A link on the way leads to what is somebody else's.
        file.symlink_metadata().is_ok_and(|found| found.is_file() && found.len() == 0)
            && folders.into_iter().all(|folder| !folder.is_symlink())
    }

    fn paths(&self, how: &[&str], words: &[&str]) -> Result<Vec<BString>, GitError> {
        let git = self.git().args(how).args(["--name-only", "-z", "--no-ext-diff", "--no-renames"]);
        Ok(split(&git.args(["--ignore-submodules=all"]).args(words).run()?).collect())
    }

    fn step_files(&self, from: &str, to: &str) -> Result<(), GitError> {
        foreign_step("bring the files of a worktree along").at(&self.work_tree)?;
        let git = self.git().env("GIT_NO_LAZY_FETCH", "0").args(["-c", "checkout.workers=0"]);
        git.args(["read-tree", "-m", "-u", from, to]).run().map(drop)
    }

    /// Moves a branch from one commit to another, and the files of the worktrees that have it checked out. One caller
    /// at a time.
    pub fn move_branch(
        &self,
        branch: &str,
        (old, new): (&str, &str),
        holders: &[Self],
        why: &str,
    ) -> Result<Moved, GitError> {
        foreign_step("move a branch").at(&self.common_dir)?;
        // Where it is checked out the log of `HEAD` tells of it too.
        let at = holders.first().unwrap_or(self);
        let git = Git::about_hooks(&at.work_tree).repository(&at.git_dir, &at.work_tree);
        let mut talk = git.args(["update-ref", "--stdin", "-m", why]).talk()?;
        let request = format!("update refs/heads/{branch} {new} {old}");
        let prepared = talk.ask("start").is_some()
            && talk.tell(&request).is_some()
            && talk.ask("prepare").as_deref() == Some("prepare: ok");
        if !prepared {
            return self.refused(talk, branch, old);
        }
        let mut brought: Vec<&Self> = Vec::new();
        for holder in holders {
            let note = holder.git_dir.join(NOTE);
            fs::write_atomically(&note, format!("{old} {new}\n").as_bytes(), Durability::Process)?;
            if let Err(err) = holder.step_files(old, new) {
                // git may have come half of the way. Where that cannot be put back, the note stays for the next one.
                let _ = holder.take_back_landing(branch);
                let back = step_back(&brought, old, new);
                // Nothing was asked of it yet but to wait.
                let _ = talk.end();
                back?;
                return match err {
                    GitError::Program { stderr, .. } => Ok(Moved::Refused(stderr)),
                    err => Err(err),
                };
            }
            brought.push(holder);
        }
        foreign_step("let a branch that is locked move").at(&self.common_dir)?;
        if talk.ask("commit").as_deref() != Some("commit: ok") {
            step_back(&brought, old, new)?;
            return self.refused(talk, branch, old);
        }
        for holder in brought {
            fs::remove(&holder.git_dir.join(NOTE))?;
        }
        talk.end()?;
        Ok(Moved::Yes)
    }

    /// Tells a branch that has moved from one that git does not let move.
    fn refused(&self, talk: Talk, branch: &str, old: &str) -> Result<Moved, GitError> {
        let said = match talk.end() {
            Err(GitError::Program { stderr, .. }) => stderr,
            Err(err) => return Err(err),
            Ok(()) => "git gave no reason".to_owned(),
        };
        let is_locked = said.contains("File exists") || said.contains("Unable to create");
        match is_locked || self.branch(branch)?.as_deref() != Some(old) {
            true => Ok(Moved::Elsewhere),
            false => Ok(Moved::Refused(said)),
        }
    }

    /// Runs the hook that git runs after a merge, in this worktree. Returns what it said if it failed.
    pub fn after_merge(&self) -> Result<Option<String>, GitError> {
        let words = ["hook", "run", "--ignore-missing", "post-merge", "--", "0"];
        let (code, said) = Git::about_hooks(&self.work_tree).args(words).said()?;
        Ok((code != Some(0)).then(|| said.trim_end().to_owned()))
    }
}

/// Takes back the files of worktrees that were brought along, of as many as can be.
fn step_back(brought: &[&Repo], old: &str, new: &str) -> Result<(), GitError> {
    let mut done = Ok(());
    for holder in brought {
        let back = holder.step_files(new, old);
        done = done.and(back.and_then(|()| Ok(fs::remove(&holder.git_dir.join(NOTE))?)));
    }
    done
}

fn split(listed: &[u8]) -> impl Iterator<Item = BString> {
    listed.split(|byte| *byte == 0).filter(|path| !path.is_empty()).map(BString::from)
}
