//! `git orchestrate bisect`.

use std::process::ExitCode;

use super::failure::Failure;
use super::start::interrupted;
use super::{Format, ProgressArgs};
use crate::id::{PipelineId, TaskId};
use crate::ops::Context;
use crate::ops::bisect::{BisectOptions, Found, bisect};
use crate::ops::start::{Pace, StartOptions};
use crate::pipeline::evidence::Notes;
use crate::render::bisect::Bisected;
use crate::render::printer;

#[derive(Debug, clap::Args)]
pub struct BisectArgs {
    /// `A..B`: the stage succeeds on `A` and fails on `B`
    #[arg(value_name = "A..B")]
    range: String,
    /// Pipeline that the stage belongs to; by default the one that `start` runs
    pipeline: Option<PipelineId>,
    /// Stage that decides, run alone; it skips a commit with exit code 125, and ends the search with
    /// 127 or more
    #[arg(long, value_name = "STAGE")]
    stage: String,
    /// Task the runs belong to
    #[arg(long, env = "MCP_RUNNER_TASK_ID", default_value = "0101", value_name = "ID")]
    task: TaskId,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    progress: ProgressArgs,
}

pub fn run(ctx: &Context, args: BisectArgs) -> Result<ExitCode, Failure> {
    let BisectArgs { range, pipeline, stage, task, format, progress } = args;
    let start = StartOptions {
        task,
        pipeline,
        target: Some(stage),
        parent_run: None,
        approval_policy: None,
        pace: Pace::default(),
        reuse: Default::default(),
        notes: Some(Notes::Nothing),
    };
    let outcome = bisect(ctx, BisectOptions { range, start }, progress.watch(&ctx.env, format))?;
    printer::answer(&Bisected(&outcome), format.into())?;
    Ok(match (&outcome.result, outcome.interrupt) {
        (_, Some(interrupt)) => interrupted(interrupt),
        (Found::First(_), None) => ExitCode::SUCCESS,
        _ => ExitCode::from(1),
    })
}
