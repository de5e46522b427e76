//! Stages that are runs of their own: a copy of this program makes each, in this worktree or in another.

use std::ffi::OsString;

use anyhow::Result;

use super::RunHost;
use crate::id::{PipelineId, RunId, TaskId};
use crate::ops::{Context, cancel};
use crate::run::event::Happened;
use crate::run::status::RunStatus;
use crate::runner::Host as _;
use crate::store::catalog::Found;

/// The variable that tells a copy of this program what its run is called. It is for that run alone.
pub const AS_RUN: &str = "GIT_ORCHESTRATE_AS_RUN";

/// Where a stage makes a run of its own.
pub struct Outpost {
    /// The worktree of that run.
    pub there: Context,
    pub task: TaskId,
    pub pipeline: PipelineId,
    run: Option<RunId>,
}

impl Outpost {
    /// Returns the place of a run that is to be made.
    pub fn new(there: Context, task: TaskId, pipeline: PipelineId) -> Self {
        Self { there, task, pipeline, run: None }
    }

    fn found(&self, run: RunId) -> Found {
        let (layout, task) = (self.there.layout.clone(), self.task.clone());
        let paths = layout.run(&task, &run);
        Found { layout, task, run, paths }
    }
}

impl RunHost {
    /// Says which stages are runs of their own.
    pub fn keep_outposts(&mut self, outposts: impl IntoIterator<Item = (usize, Outpost)>) {
        self.outposts.extend(outposts);
    }

    /// Names the run that a stage is about to make. Returns what tells it so.
    pub(super) fn name_outpost(&mut self, index: usize) -> Result<Option<(OsString, OsString)>> {
        let Some(outpost) = self.outposts.get_mut(&index) else { return Ok(None) };
        let run = self.shared.new_run()?;
        let variable = (AS_RUN.into(), run.as_str().into());
        outpost.run = Some(run);
        Ok(Some(variable))
    }

    /// Links the run of a stage that has begun: a crash then leaves a link without a run, and never a run that nobody
    /// knows of.
    pub(super) fn link_outpost(&mut self, index: usize) -> Result<()> {
        let Some((outpost, run)) = self.outposts.get(&index).and_then(|it| Some((it, it.run.clone()?)))
        else {
            return Ok(());
        };
        let manifest = self.shared.layout.relative(&outpost.found(run.clone()).paths.manifest);
        let pipeline_id = outpost.pipeline.to_string();
        self.tell(Happened::ChildLinked { run_id: run.to_string(), pipeline_id, manifest }, index)
    }

    /// Takes note of how the run of a stage ended, and ends one whose owner was killed.
    pub(super) fn close_outpost(&mut self, index: usize) -> Result<()> {
        let Some((outpost, run)) = self.outposts.get(&index).and_then(|it| Some((it, it.run.clone()?)))
        else {
            return Ok(());
        };
        let status = match cancel::close(&outpost.there, &outpost.found(run.clone()), &self.shared.watch) {
            Ok(Some(status)) => status,
            // Somebody else goes on with it.
            Ok(None) => return Ok(()),
            Err(err) => {
                self.shared.warn(&format!("run `{run}` cannot be closed"), err);
                RunStatus::Cancelled
            }
        };
        self.tell(Happened::ChildFinished { run_id: run.to_string(), status, moved: false }, index)
    }
}
