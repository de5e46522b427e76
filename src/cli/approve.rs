//! `git orchestrate approve` and `git orchestrate reject`.

use std::process::ExitCode;

use clap::builder::NonEmptyStringValueParser;

use super::failure::Failure;
use super::{Format, detach, wanted};
use crate::id::TaskId;
use crate::ops::Context;
use crate::ops::approve::{DecideOptions, decide};
use crate::render::approve::Answered;
use crate::render::printer;
use crate::run::approval::Decision;

#[derive(Debug, clap::Args)]
pub struct ApproveArgs {
    #[command(flatten)]
    decide: DecideArgs,
}

#[derive(Debug, clap::Args)]
pub struct RejectArgs {
    #[command(flatten)]
    decide: DecideArgs,
}

/// What both have in common
#[derive(Debug, clap::Args)]
struct DecideArgs {
    /// Run id, a prefix that is unique, or `latest`
    #[arg(value_name = "RUN")]
    run: String,
    /// The stage that waits; one of a child run as `status` names it, such as `deploy/check`
    #[arg(value_name = "STAGE", allow_hyphen_values = true)]
    stage: String,
    /// Task the run belongs to
    #[arg(long, value_name = "ID")]
    task: Option<TaskId>,
    /// Who decides, for the record; by default the user and the machine
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    actor: Option<String>,
    /// Why, for the record
    #[arg(long)]
    reason: Option<String>,
    /// Leave a run alone that nobody works on; by default it goes on
    #[arg(long)]
    no_resume: bool,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn approve(ctx: &Context, args: ApproveArgs) -> Result<ExitCode, Failure> {
    run(ctx, args.decide, Decision::Approved)
}

pub fn reject(ctx: &Context, args: RejectArgs) -> Result<ExitCode, Failure> {
    run(ctx, args.decide, Decision::Rejected)
}

fn run(ctx: &Context, args: DecideArgs, decision: Decision) -> Result<ExitCode, Failure> {
    let DecideArgs { run, stage, task, actor, reason, no_resume, format } = args;
    let actor = actor.unwrap_or_else(|| crate::sys::process::whoami(&ctx.env));
    let options =
        DecideOptions { task, run: wanted(Some(&run))?, stage, decision, actor, reason, resume: !no_resume };
    let decided = decide(ctx, &options)?;
    printer::answer(&Answered(&decided), format.into())?;
    Ok(decided.refused.map_or(ExitCode::SUCCESS, detach::code))
}
