//! Failures: what is printed about them, what to type next, and the exit code.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use crate::git::GitError;
use crate::guardrail::docs::mirror::MirrorError;
use crate::id::InvalidId;
use crate::ops::{Kind, Refusal};
use crate::output::untrusted::untrusted;
use crate::pipeline::config::ConfigError;
use crate::pipeline::plan::PlanError;
use crate::render::printer::narration;
use crate::store::catalog::{NotFound, ReadError};
use crate::store::journal::JournalError;
use crate::store::layout::UnsafePath;
use crate::store::recorder::RecordError;
use crate::store::streams::StreamError;
use crate::sys::beneath::BeneathError;
use crate::sys::fs::PathError;

/// A request that was not carried out.
#[derive(Debug)]
pub struct Failure(pub(super) anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(err: E) -> Self {
        Self(err.into())
    }
}

impl Failure {
    /// Prints the failure on stderr and returns the exit code.
    pub fn report(&self) -> ExitCode {
        let mut err = narration();
        // If stderr is gone too, the exit code has to do.
        let _ = self.print(&mut err).and_then(|()| err.flush());
        ExitCode::from(self.code())
    }

    fn print(&self, err: &mut impl Write) -> io::Result<()> {
        if let Some(config) = self.config() {
            let color = io::stderr().is_terminal();
            return writeln!(err, "{}", config.render(color).trim_end());
        }
        let bold = anstyle::Style::new().bold();
        let red = bold.fg_color(Some(anstyle::AnsiColor::Red.into()));
        let mut said = String::new();
        for cause in self.0.chain() {
            let text = cause.to_string();
            // A cause that its effect quotes already is not said twice.
            if said.contains(&text) {
                continue;
            }
            let text_shown = untrusted(&text).with_lines();
            match said.is_empty() {
                true => writeln!(err, "{red}error:{red:#} {text_shown}")?,
                false => writeln!(err, "{bold}caused by:{bold:#} {text_shown}")?,
            }
            said.push_str(&text);
        }
        if let Some(hint) = self.hint() {
            writeln!(err, "{bold}hint:{bold:#} {}", untrusted(&hint).with_lines())?;
        }
        Ok(())
    }

    fn find<T: std::error::Error + 'static>(&self) -> Option<&T> {
        self.0.chain().find_map(|cause| cause.downcast_ref())
    }

    fn config(&self) -> Option<&ConfigError> {
        self.find().or_else(|| match self.find::<PlanError>()? {
            PlanError::Config(config) => Some(config),
            _ => None,
        })
    }

    fn code(&self) -> u8 {
        if let Some(refusal) = self.find::<Refusal>() {
            return match refusal.kind {
                Kind::Rejected => 1,
                Kind::Usage => 2,
                Kind::Unsafe => 3,
                Kind::Storage => 4,
                Kind::Busy => 5,
                Kind::Invalid => 6,
                Kind::Remote => 7,
                Kind::Cancelled(interrupt) => interrupt.exit_code(),
            };
        }
        // A file that cannot be read is no reason not to believe it.
        let unreadable =
            matches!(self.find(), Some(ReadError::Path(_) | ReadError::Journal(JournalError::Path(_))))
                || matches!(self.find(), Some(JournalError::Path(_)));
        if !unreadable && (self.find::<ReadError>().is_some() || self.find::<JournalError>().is_some()) {
            return 6;
        }
        if matches!(self.find(), Some(UnsafePath::Link(_)))
            || matches!(self.find(), Some(GitError::NotOwned { .. }))
            || matches!(self.find(), Some(BeneathError::Link(_)))
        {
            return 3;
        }
        if unreadable
            // The answer could not be written; what ran is on disk all the same.
            || self.0.is::<io::Error>()
            || self.find::<RecordError>().is_some()
            || self.find::<PathError>().is_some()
            || matches!(self.find(), Some(BeneathError::Path(_)))
            || matches!(self.find(), Some(UnsafePath::NoFolder(_)))
        {
            return 4;
        }
        2
    }

    fn hint(&self) -> Option<String> {
        if let Some(Refusal { hint: Some(hint), .. }) = self.find() {
            return Some(hint.clone());
        }
        if let Some(err) = self.find::<PlanError>() {
            return err.hint();
        }
        if let Some(err) = self.find::<StreamError>()
            && let Some(hint) = err.hint()
        {
            return Some(hint);
        }
        if let Some(err) = self.find::<MirrorError>() {
            return Some(err.hint());
        }
        if let Some(BeneathError::Link(_)) = self.find() {
            return Some(
                "put the file itself there: a repository could make a link lead anywhere".to_owned(),
            );
        }
        if self.find::<InvalidId>().is_some() {
            return Some("ids are names of one folder, such as `0901-issue-validation`".to_owned());
        }
        match self.find() {
            Some(NotFound::Ambiguous { candidates, .. }) => {
                let some: Vec<_> = candidates.iter().take(5).map(ToString::to_string).collect();
                return Some(format!("one of: {}", some.join(", ")));
            }
            Some(NotFound::NoSuchRun { .. }) => {
                return Some("`git orchestrate list` shows the runs".to_owned());
            }
            Some(NotFound::NoRuns { .. }) => return Some("`git orchestrate start` makes one".to_owned()),
            None => {}
        }
        match self.find() {
            Some(GitError::NotARepository { .. }) => {
                return Some("go to a git repository, or make one with `git init`".to_owned());
            }
            Some(GitError::MissingObjects { .. }) => {
                return Some(
                    "`git fetch --refetch --no-filter` gets them; they are not downloaded silently"
                        .to_owned(),
                );
            }
            Some(GitError::DeadLink { .. }) => {
                return Some("commit the file itself, or a link to a file that is committed".to_owned());
            }
            Some(GitError::Bare { .. }) => {
                return Some("go to one of its worktrees; `git worktree add` makes one".to_owned());
            }
            _ => {}
        }
        let no_room = |err: &PathError| {
            matches!(
                err.source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
            )
        };
        if self.find::<PathError>().is_some_and(no_room) {
            return Some("make room; a run that had begun goes on with `git orchestrate resume`".to_owned());
        }
        match self.find() {
            Some(UnsafePath::Link(_)) => {
                return Some(
                    "to keep runs elsewhere, set CODEX_ORCHESTRATOR_RUNS_DIR or CODEX_ORCHESTRATOR_OUT_DIR"
                        .to_owned(),
                );
            }
            Some(UnsafePath::Root(_)) => {
                return Some(
                    "set CODEX_ORCHESTRATOR_RUNS_DIR and CODEX_ORCHESTRATOR_OUT_DIR to folders of their own"
                        .to_owned(),
                );
            }
            Some(UnsafePath::NoFolder(path)) => {
                return Some(format!("move `{}` out of the way", path.display()));
            }
            None => {}
        }
        None
    }
}
