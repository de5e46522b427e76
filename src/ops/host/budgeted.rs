//! What a run draws from the budget of the machine.

use std::num::NonZeroU16;

use super::RunHost;
use crate::pipeline::budget::{Budget as Settings, Share};
use crate::pipeline::plan::PlannedStage;
use crate::pipeline::{Action, Command};
use crate::runner::Host as _;
use crate::sys::budget::{Budget, Wish};
use crate::sys::fs::PathError;

impl RunHost {
    /// Opens the budget if somebody asked for one: the user, the project, or a stage around this run. Without one
    /// the run goes on all the same.
    pub(super) fn open_budget(&mut self) -> Option<Budget> {
        let source = self.shared.budget.as_ref().filter(|_| self.limits.budget)?;
        let takes_more = |planned: &PlannedStage| match &planned.stage.action {
            Action::Command(action) => action.share != Share::default(),
            _ => false,
        };
        let by_project = self.plan.budget != Settings::default() || self.plan.stages.iter().any(takes_more);
        if !by_project && !source.is_asked_for() {
            return None;
        }
        match Budget::open(source, self.plan.budget, self.limits.jobs) {
            Ok(budget) => Some(budget),
            Err(err) => {
                self.go_on_without(&err);
                None
            }
        }
    }

    pub(super) fn go_on_without(&mut self, why: &PathError) {
        let text = format!("the run goes on without the budget of this machine: {why}");
        self.shared.watch.borrow_mut().warn(&text);
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
