//! What a run draws from the budget of the machine.

use std::num::NonZeroU16;

use super::RunHost;
use crate::pipeline::Command;
use crate::pipeline::plan::PlannedStage;
use crate::runner::Host as _;
use crate::sys::budget::{Budget, Wish};
use crate::sys::fs::PathError;

impl RunHost {
    /// Opens the budget, unless it is to be ignored. Without one the run goes on all the same.
    pub(super) fn open_budget(&mut self) -> Option<Budget> {
        let source = self.shared.budget.as_ref().filter(|_| self.limits.budget)?;
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
