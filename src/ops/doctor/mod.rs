//! `doctor`: what would stop a run, and what to do about it. It only looks: nothing is written, nothing of the
//! project is run.

mod folders;
mod hooks;
mod machine;
mod project;
mod runs;

use super::Context;
use crate::git::GitError;
use crate::run::shell;
use crate::sys::clock::Clock;
use crate::sys::env::Env;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Ok,
    /// Worth knowing; a run would start all the same.
    Warning,
    /// A run would not start, or could not pass.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at. These words stay the same from version to version.
    pub id: &'static str,
    pub verdict: Verdict,
    /// Which one, where there are several: a stage, a run, a variable.
    pub subject: Option<String>,
    pub message: String,
    /// What to do or to type.
    pub mend: Option<String>,
    /// The place in a file, as a picture.
    pub excerpt: Option<String>,
}

impl Check {
    fn ok(id: &'static str, message: impl Into<String>) -> Self {
        Self { id, verdict: Verdict::Ok, subject: None, message: message.into(), mend: None, excerpt: None }
    }

    fn warning(id: &'static str, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, mend: Some(mend.into()), ..Self::ok(id, message) }
    }

    fn problem(id: &'static str, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { verdict: Verdict::Problem, mend: Some(mend.into()), ..Self::ok(id, message) }
    }

    fn about(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }
}

/// All that was looked at.
#[derive(Clone, Debug)]
pub struct Report {
    pub checks: Vec<Check>,
}

impl Report {
    /// Returns how many checks came out like that.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.checks.iter().filter(|check| check.verdict == verdict).count()
    }
}

/// Looks at everything that a run needs.
pub fn examine(env: Env, clock: Clock) -> Report {
    let mut checks = Vec::new();
    machine::look(&env, &mut checks);
    machine::budget(&env, &mut checks);
    match Context::look(env, clock) {
        Ok(ctx) => {
            checks.push(Check::ok("repository", ctx.repo.work_tree().display().to_string()));
            project::look(&ctx, &mut checks);
            folders::look(&ctx, &mut checks);
            runs::look(&ctx, &mut checks);
            machine::hooks(&ctx, &mut checks);
            hooks::look(&ctx, &mut checks);
        }
        Err(err) => checks.push(no_repository(&err)),
    }
    Report { checks }
}

fn no_repository(err: &GitError) -> Check {
    let mend = match err {
        GitError::NotARepository { .. } => "go to a git repository, or make one: git init".to_owned(),
        GitError::Bare { .. } => "go to one of its worktrees; `git worktree add PATH` makes one".to_owned(),
        GitError::NotOwned { path } => {
            format!("if you trust its owner: git config --global --add safe.directory {}", quoted(path))
        }
        GitError::NoProgram { .. } => "install git, and see that it is in PATH".to_owned(),
        _ => "see what git says about it: git status".to_owned(),
    };
    let message = match err {
        GitError::NotOwned { path } => format!("`{}` belongs to another user", path.display()),
        err => chain(err),
    };
    Check::problem("repository", message, mend)
}

/// Returns an error with its causes in one line.
fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        let said = err.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = err.source();
    }
    text
}

/// Returns a path as a shell would take it.
fn quoted(path: &std::path::Path) -> String {
    shell::word(&path.display().to_string())
}
