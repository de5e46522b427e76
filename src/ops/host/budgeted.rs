//! What a run draws from the budget of the machine.

use std::num::NonZeroU16;

use super::RunHost;
use crate::pipeline::budget::{Budget as Settings, Share};
use crate::pipeline::plan::PlannedStage;
use crate::pipeline::{Action, Command};
use crate::runner::Host as _;
use crate::sys::budget::{Budget, Source, Wish};
use crate::sys::fs::PathError;

impl RunHost {
    /// Returns the budget, unless it is to be ignored.
    pub(super) fn open_budget(&self) -> Option<Budget> {
        let source = self.shared.budget.as_ref().filter(|_| self.limits.budget)?;
        Some(Budget::new(source, self.plan.budget, self.limits.jobs))
    }

    /// Whether the user, the project or a stage around this run said something about the budget.
    fn is_asked_for(&self) -> bool {
        let takes_more = |planned: &PlannedStage| match &planned.stage.action {
            Action::Command(action) => action.share != Share::default(),
            _ => false,
        };
        self.shared.budget.as_ref().is_some_and(Source::is_asked_for)
            || self.plan.budget != Settings::default()
            || self.plan.stages.iter().any(takes_more)
    }

    /// Says that the run goes on without the budget, to those who count on it.
    pub(super) fn go_on_without(&mut self, why: &PathError) {
        let text = format!("the run goes on without the budget of this machine: {why}");
        match self.is_asked_for() {
            true => self.shared.watch.borrow_mut().warn(&text),
            false => tracing::debug!("{text}"),
        }
    }

    pub(super) fn wish_of(&self, planned: &PlannedStage, action: &Command) -> Wish {
        let masked = |text: &str| self.shared.masked(text);
        Wish {
            run: masked(self.run_id()),
            repository: masked(&self.shared.root.display().to_string()),
            stage: masked(planned.stage.id.as_str()),
            since: self.now(),
            weight: action.share.weight.unwrap_or(NonZeroU16::MIN),
            resources: action.share.resources.iter().map(ToString::to_string).collect(),
            memory: action.memory_limit,
        }
    }
}
