//! The spans of a run: which span its stages are part of, and sending them when it is over.

use super::{RunHost, Shared};
use crate::net::trace::RunTree;
use crate::run::manifest::Manifest;
use crate::store::catalog;

impl RunHost {
    /// Returns the span that a stage's own are part of, if anybody wants spans.
    pub(super) fn traceparent(&self, index: usize, attempt: u32) -> Option<String> {
        let tracing = self.shared.tracing.as_ref()?;
        let run = self.manifest().run_id.as_str();
        let root = match self.depth {
            0 => run,
            // The lineage ends with the stages of the runs above this one, the nearest last.
            depth => self.lineage.rsplit(':').nth(depth - 1)?.split('#').next()?,
        };
        Some(tracing.for_stage(root, run, index, attempt))
    }
}

/// Sends the spans of a run that was asked for. A failure is a warning.
pub(super) fn send(shared: &Shared, manifest: &Manifest) {
    let Some(tracing) = &shared.tracing else { return };
    if let Err(why) = tracing.send(&tree(shared, manifest.clone())) {
        shared
            .watch
            .borrow_mut()
            .warn(&format!("the spans of the run were not sent to {}", shared.masked(&why)));
    }
}

fn tree(shared: &Shared, manifest: Manifest) -> RunTree {
    let runs = manifest.commands.iter().filter_map(|entry| entry.sub_run_id.as_ref()?.parse().ok());
    let children = runs
        .filter_map(|run| catalog::read(&shared.layout.run(&shared.task, &run)).ok())
        .map(|state| tree(shared, state.manifest))
        .collect();
    RunTree { manifest, children }
}
