//! What a user asks for: one file per request. Nothing here prints.

pub mod approve;
pub mod candidates;
pub mod bisect;
pub mod budget;
pub mod docs;
pub mod doctor;
pub mod each;
pub mod evidence;
pub mod exec;
pub mod explain;
pub mod flakes;
pub mod fleet;
pub mod group;
pub mod guard;
pub mod hook;
pub mod hooks;
pub mod cancel;
pub mod detach;
pub mod host;
pub mod init;
pub mod instructions;
pub mod gc;
pub mod learning;
pub mod list;
pub mod logs;
pub mod metrics;
pub mod migrate;
pub mod plan;
pub mod push;
pub mod resume;
pub mod side;
pub mod snapshot;
pub mod spawn;
pub mod start;
pub mod status;
pub mod stream;
pub mod verify;
pub mod which;

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;

use crate::git::{GitError, Repo, WorktreeInfo};
use crate::run::manifest::Manifest;
use crate::runner::interrupt::Interrupt;
use crate::store::layout::{Layout, pattern_below};
use crate::store::snapshots::{FOLDER_VARIABLE, Snapshots};
use crate::sys::clock::Clock;
use crate::sys::env::Env;
use crate::sys::fs;

/// The outside of one request, read once.
#[derive(Clone)]
pub struct Context {
    pub repo: Repo,
    pub layout: Layout,
    /// Where what runs is: the root of the layout, unless a side worktree stands in for it.
    pub root: PathBuf,
    pub env: Env,
    pub clock: Clock,
}

/// Which worktree an answer is about.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its root.
    pub root: PathBuf,
    /// Whether there are other worktrees, with runs of their own.
    pub others: bool,
}

impl Context {
    /// Finds the repository that the current folder, or `CODEX_ORCHESTRATOR_ROOT`, belongs to.
    pub fn open(env: Env, clock: Clock) -> Result<Self> {
        let repo = Repo::discover(&Self::from(&env))?;
        Ok(Self::of(repo, env, clock))
    }

    /// Like [`Context::open`], and leaves no trace.
    pub fn look(env: Env, clock: Clock) -> Result<Self, GitError> {
        let repo = Repo::look(&Self::from(&env))?;
        Ok(Self::of(repo, env, clock))
    }

    /// Like [`Context::open`], also for a bare repository, and with what a push brings that is being received.
    pub fn open_any(env: Env, clock: Clock) -> Result<Self> {
        let repo = Repo::discover_any(&Self::from(&env))?;
        Ok(Self::of(repo, env, clock))
    }

    /// Like [`Context::open`], as a hook has to; see [`Repo::discover_in_hook`].
    pub fn open_in_hook(env: Env, clock: Clock) -> Result<Self> {
        let repo = Repo::discover_in_hook(&Self::from(&env))?;
        Ok(Self::of(repo, env, clock))
    }

    fn from(env: &Env) -> PathBuf {
        env.path("CODEX_ORCHESTRATOR_ROOT").map_or_else(|| env.cwd().to_owned(), |root| env.cwd().join(root))
    }

    fn of(repo: Repo, env: Env, clock: Clock) -> Self {
        let layout = Layout::resolve(repo.work_tree(), &env);
        Self { repo, root: layout.root.clone(), layout, env, clock }
    }

    /// Returns the lines of git's exclude file that hide what we write in the work tree.
    pub fn exclude_patterns(&self) -> Vec<String> {
        let top = &self.top_of_layout();
        let mut patterns = self.layout.exclude_patterns(top);
        if self.env.path(FOLDER_VARIABLE).is_some() {
            let snapshots = Snapshots::of(&self.layout, &self.env);
            patterns.extend(pattern_below(top, snapshots.root()).map(|folder| format!("{folder}/")));
        }
        patterns
    }

    /// Returns the top of the work tree that the layout is of, which a side worktree may stand in for.
    fn top_of_layout(&self) -> PathBuf {
        let (top, root) = (self.repo.work_tree(), &self.layout.root);
        if root.starts_with(top) || fs::resolved(root).is_ok_and(|root| root.starts_with(top)) {
            return top.to_owned();
        }
        // The root is in the one where it is in the other.
        let inside = self.root.strip_prefix(top).map_or(0, |inside| inside.components().count());
        root.ancestors().nth(inside).unwrap_or(root).to_owned()
    }

    /// Returns the roots of every worktree of the repository, ours first.
    pub fn layouts(&self) -> Vec<Layout> {
        let mut layouts = vec![self.layout.clone()];
        for worktree in self.repo.worktrees().unwrap_or_default() {
            let layout = self.layout.of_worktree(&worktree.path);
            if !layouts.iter().any(|known| known.runs == layout.runs) {
                layouts.push(layout);
            }
        }
        layouts
    }

    /// Returns which worktree an answer is about that looks at this one alone.
    pub fn place(&self) -> Place {
        Place { root: self.layout.root.clone(), others: self.layouts().len() > 1 }
    }

    /// Returns the layout of the worktree that ran: worktrees may share one folder of runs. `found` is
    /// where the run lies, and `worktrees` are those of the repository.
    pub fn home_of(&self, found: &Layout, manifest: &Manifest, worktrees: &[WorktreeInfo]) -> Layout {
        let Some(ran) = manifest.git.as_ref().map(|git| &git.worktree) else { return found.clone() };
        if ran.slot.is_some() {
            // It ran in a side worktree of ours, for the worktree that keeps the run.
            return found.clone();
        }
        // By git's name of it: a worktree may have been moved since.
        let home = worktrees
            .iter()
            .find(|there| there.present && (there.linked, &there.name) == (ran.linked, &ran.name));
        match home {
            Some(home) if worktrees.iter().any(|there| there.path == found.root) => {
                Layout { root: home.path.clone(), ..found.clone() }
            }
            _ => found.clone(),
        }
    }
}

/// Why a request was not carried out: which exit code says so, in what words, and what to type next.
#[derive(Debug)]
pub struct Refusal {
    pub kind: Kind,
    pub message: String,
    pub hint: Option<String>,
}

/// The kinds of refusal, one per exit code or, for signals, a row of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 1: a guardrail cannot judge, so it says no.
    Rejected,
    /// 2: what was asked for makes no sense.
    Usage,
    /// 3: it would not be safe.
    Unsafe,
    /// 4: the evidence could not be stored.
    Storage,
    /// 5: somebody else is at it.
    Busy,
    /// 6: the evidence is not to be believed.
    Invalid,
    /// 7: the remote was not reached, or did not take what it was given.
    Remote,
    /// 128 and the signal: somebody ended it before there was a run that could say so.
    Cancelled(Interrupt),
}

impl Refusal {
    /// Returns a refusal without a hint.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// Returns a refusal of something that makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Returns a refusal of a revision that names nothing.
    pub fn no_commit(revision: &str) -> Self {
        let message = format!("`{}` names no commit", revision.escape_debug());
        Self::usage(message).hint("name one, such as `HEAD` or a branch; `git log` shows them")
    }

    /// Adds what to type next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}
