//! `git orchestrate plan`.

use std::process::ExitCode;

use super::Format;
use super::failure::Failure;
use crate::id::{PipelineId, TaskId};
use crate::ops::Context;
use crate::ops::plan::{PlanOptions, plan};
use crate::render::plan::Planned;
use crate::render::printer;

#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// Pipeline to plan; by default the configuration's `defaultPipeline`, else `diagnostics`
    pipeline: Option<PipelineId>,
    /// Task the run would belong to; checked, and otherwise without effect on the plan
    #[arg(long, env = "MCP_RUNNER_TASK_ID", default_value = "0101", value_name = "ID")]
    task: TaskId,
    /// Stage that would run alone
    #[arg(long, visible_alias = "target-stage", value_name = "STAGE")]
    target: Option<String>,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(ctx: &Context, args: PlanArgs) -> Result<ExitCode, Failure> {
    let PlanArgs { pipeline, task: _, target, format } = args;
    let plan = plan(ctx, &PlanOptions { pipeline, target, target_of_environment: true })?;
    printer::answer(&Planned(&plan), format.into())?;
    Ok(ExitCode::SUCCESS)
}
