//! What a stage may do at the same time by itself: the jobserver that it is handed, and our looks after that.

use std::ffi::{OsStr, OsString};
use std::time::Instant;

use tokio::process::Command;

use super::Setup;
use crate::pipeline::Command as Action;
use crate::pipeline::budget::Jobserver as Style;
use crate::sys::budget::jobserver::{self, Jobserver};
use crate::sys::budget::{Budget, Hold};
use crate::sys::process;

/// The jobserver of a stage that runs.
pub(super) struct Supply<'s> {
    server: Jobserver,
    budget: &'s Budget,
    hold: &'s Hold,
    /// What the stage is told of flags of make without us.
    flags: String,
    /// When to look after it.
    due: Option<Instant>,
}

impl<'s> Supply<'s> {
    /// Makes one; nothing if the stage does not want it, somebody else hands one down, or the kernel does not let us:
    /// then it does what it does.
    pub(super) fn new(action: &Action, setup: &Setup, budget: &'s Budget, hold: &'s Hold) -> Option<Self> {
        let style = action.share.jobserver.unwrap_or(Style::Pipe);
        if style == Style::Nothing {
            return None;
        }
        let flags = last(&setup.env, "MAKEFLAGS").unwrap_or_default().to_str()?.to_owned();
        let of_cargo = last(&setup.env, "CARGO_MAKEFLAGS").and_then(OsStr::to_str).unwrap_or_default();
        let is_foreign = || [&flags, of_cargo].into_iter().any(jobserver::is_handed_down);
        // One that a stage around us has is ours, and what it hands out is held by that stage.
        if !budget.is_within_a_stage() && is_foreign() {
            return None;
        }
        let server = Jobserver::new(budget, hold, style).ok()?;
        Some(Self { server, budget, hold, flags, due: Some(Instant::now() + jobserver::BEGIN) })
    }

    /// Tells a stage about it, and lets it inherit the pipe.
    pub(super) fn hand_down(&self, command: &mut Command, action: &Action) {
        let told = self.server.variables(&self.flags);
        // What the stage says itself comes last.
        command.envs(told.into_iter().filter(|(name, _)| !action.env.contains_key(*name)));
        if let Some(numbers) = self.server.numbers() {
            // SAFETY: Between the two halves of starting a program nothing happens but system calls.
            unsafe {
                command.pre_exec(move || numbers.into_iter().try_for_each(process::let_inherit));
            }
        }
    }

    /// Returns when to look after it.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Looks after it.
    pub(super) fn look(&mut self) {
        let next = self.server.look(self.budget, self.hold).ok();
        self.due = next.map(|next| Instant::now() + next);
    }
}

/// Returns the value that a list of variables ends up with.
fn last<'a>(variables: &'a [(OsString, OsString)], name: &str) -> Option<&'a OsStr> {
    let found = variables.iter().rev().find(|(variable, _)| variable == name);
    found.map(|(_, value)| value.as_os_str())
}
