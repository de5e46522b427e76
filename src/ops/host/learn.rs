//! What is learned from a run that succeeded, on its way into the journal.

use anyhow::Result;

use super::RunHost;
use crate::ops::Context;
use crate::ops::learning::Lesson;
use crate::run::event::Happened;
use crate::run::status::RunStatus;
use crate::runner::Host as _;
use crate::sys::env::Env;
use crate::sys::later;

impl RunHost {
    /// Learns from the run, if that is wanted. The run has its verdict already, and keeps it.
    pub(super) fn learn(&mut self) -> Result<()> {
        let Some(learning) = self.plan.learning.clone().filter(|_| self.depth == 0) else { return Ok(()) };
        if self.manifest().status != RunStatus::Succeeded {
            return Ok(());
        }
        later::settle()?;
        let (shared, plan) = (self.shared.clone(), self.plan.clone());
        let (manifest, paths) = (self.manifest().clone(), self.recorder.paths().clone());
        let env = Env::new(shared.env.iter().cloned(), shared.root.clone());
        let (repo, layout) = (shared.repo.clone(), shared.layout.clone());
        let ctx = Context { repo, layout, root: shared.root.clone(), env, clock: shared.clock };
        let lesson = Lesson {
            ctx: &ctx,
            learning: &learning,
            plan: &plan,
            manifest: &manifest,
            paths: &paths,
            watch: &shared.watch,
        };
        lesson.learn(&mut |section| self.tell(Happened::Learned { learning: section.to_value() }, 0))
    }
}
