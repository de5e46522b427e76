//! `git orchestrate explain`.

use std::process::ExitCode;

use super::Format;
use super::failure::Failure;
use crate::id::PipelineId;
use crate::ops::Context;
use crate::ops::explain::{ExplainOptions, explain};
use crate::render::explain::Explanation;
use crate::render::printer;

#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// One stage; all of the pipeline by default
    stage: Option<String>,
    /// A commit, with its own configuration; the work tree by default
    #[arg(long, value_name = "REV")]
    rev: Option<String>,
    /// Pipeline; by default the configuration's `defaultPipeline`, else `diagnostics`
    #[arg(long, value_name = "ID")]
    pipeline: Option<PipelineId>,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(ctx: &Context, args: ExplainArgs) -> Result<ExitCode, Failure> {
    let ExplainArgs { stage, rev, pipeline, format } = args;
    let explained = explain(ctx, &ExplainOptions { pipeline, stage, revision: rev })?;
    printer::answer(&Explanation(&explained), format.into())?;
    Ok(ExitCode::SUCCESS)
}
