//! What is learned from a run that succeeded, on its way into the journal.

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::Result;

use super::{RunHost, SharedWatch, Watch};
use crate::ops::Context;
use crate::ops::learning::Lesson;
use crate::run::event::Happened;
use crate::run::manifest::Manifest;
use crate::run::status::RunStatus;
use crate::runner::interrupt::Interrupts;
use crate::runner::{Host as _, Stream};
use crate::sys::env::Env;
use crate::sys::later;

impl RunHost {
    /// Learns from the run, if that is wanted. The run has its verdict already, and keeps it.
    pub(super) async fn learn(&mut self, interrupts: &mut Interrupts) -> Result<()> {
        let Some(learning) = self.plan.learning.clone().filter(|_| self.depth == 0) else { return Ok(()) };
        if self.manifest().status != RunStatus::Succeeded {
            return Ok(());
        }
        later::settle()?;
        // Learning may take its time, and others wait for what the run found out.
        self.proven = Some(self.record_proof());
        self.fall_silent();
        let (shared, plan) = (self.shared.clone(), self.plan.clone());
        let (manifest, paths) = (self.manifest().clone(), self.recorder.paths().clone());
        let env = Env::new(shared.env.iter().cloned(), shared.root.clone());
        let (repo, layout) = (shared.repo.clone(), shared.layout.clone());
        let ctx = Context { repo, layout, root: shared.root.clone(), env, clock: shared.clock };
        let watch: SharedWatch = Rc::new(RefCell::new(Quietly(shared.watch.clone())));
        let lesson = Lesson {
            ctx: &ctx,
            learning: &learning,
            plan: Some(&plan),
            manifest: &manifest,
            paths: &paths,
            watch: &watch,
        };
        let mut keep = |section: &crate::run::learning::Section| {
            self.tell(Happened::Learned { learning: section.to_value() }, 0)
        };
        // What makes a side worktree ready is a run itself, from which nothing is learned.
        Box::pin(lesson.learn(interrupts, &mut keep)).await
    }
}

/// Passes on what is wrong. Who follows a run need not hear of the runs that prove what was learned from it.
struct Quietly(SharedWatch);

impl Watch for Quietly {
    fn event(&mut self, _depth: usize, _manifest: &Manifest, _event: &Happened, _index: usize) {}

    fn printed(&mut self, _: usize, _: &Manifest, _: usize, _: Stream, _: &str) {}

    fn warn(&mut self, text: &str) {
        self.0.borrow_mut().warn(text);
    }
}
