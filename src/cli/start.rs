//! `git orchestrate start`.

use std::process::ExitCode;

use super::failure::Failure;
use super::{Format, PaceArgs, ProgressArgs};
use crate::id::{PipelineId, RunId, TaskId};
use crate::ops::Context;
use crate::ops::start::{RunOutcome, StartOptions, start};
use crate::render::printer;
use crate::render::start::Finished;
use crate::run::status::RunStatus;

/// Run a pipeline and record its evidence
#[derive(Debug, clap::Args)]
pub struct StartArgs {
    /// Pipeline to run; by default the configuration's `defaultPipeline`, else `diagnostics`
    pipeline: Option<PipelineId>,
    /// Task the run belongs to
    #[arg(long, env = "MCP_RUNNER_TASK_ID", default_value = "0101", value_name = "ID")]
    task: TaskId,
    /// Run this stage alone; the run is then partial
    #[arg(long, visible_alias = "target-stage", value_name = "STAGE")]
    target: Option<String>,
    /// Run that this run is a part of
    #[arg(long, value_name = "RUN")]
    parent_run: Option<RunId>,
    /// Recorded as the run's approval policy
    #[arg(long, value_name = "POLICY")]
    approval_policy: Option<String>,
    #[command(flatten)]
    pace: PaceArgs,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    progress: ProgressArgs,
}

pub fn run(ctx: &Context, args: StartArgs) -> Result<ExitCode, Failure> {
    let StartArgs { pipeline, task, target, parent_run, approval_policy, pace, format, progress } = args;
    let options = StartOptions { task, pipeline, target, parent_run, approval_policy, pace: pace.into() };
    let outcome = start(ctx, options, progress.watch(&ctx.env, format))?;
    printer::answer(&Finished { manifest: &outcome.manifest, word: "finished" }, format.into())?;
    Ok(exit_code(&outcome))
}

/// Returns the code of a run that ended.
pub fn exit_code(outcome: &RunOutcome) -> ExitCode {
    match outcome.manifest.status {
        RunStatus::Succeeded => ExitCode::SUCCESS,
        RunStatus::Cancelled => {
            let signal = outcome.interrupt.map_or(2, |interrupt| interrupt.signal().as_raw());
            ExitCode::from(128 + signal as u8)
        }
        _ => ExitCode::from(1),
    }
}
