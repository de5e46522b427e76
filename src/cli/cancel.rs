//! `git orchestrate cancel`.

use std::process::ExitCode;

use super::failure::Failure;
use super::{Format, RunArg, plain_watch};
use crate::id::TaskId;
use crate::ops::Context;
use crate::ops::cancel::{CancelOptions, cancel};
use crate::render::printer;
use crate::render::start::Finished;

#[derive(Debug, clap::Args)]
pub struct CancelArgs {
    #[command(flatten)]
    run: RunArg,
    /// Task the run belongs to
    #[arg(long, value_name = "ID")]
    task: Option<TaskId>,
    /// Who cancels, for the record; by default the user and the machine
    #[arg(long)]
    actor: Option<String>,
    /// Why, for the record
    #[arg(long)]
    reason: Option<String>,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(ctx: &Context, args: CancelArgs) -> Result<ExitCode, Failure> {
    let CancelArgs { run, task, actor, reason, format } = args;
    let actor = actor.unwrap_or_else(|| crate::sys::process::whoami(&ctx.env));
    let options = CancelOptions { task, run: run.wanted()?, actor, reason };
    let manifest = cancel(ctx, &options, &plain_watch())?;
    printer::answer(&Finished { manifest: &manifest, word: "cancelled" }, format.into())?;
    Ok(ExitCode::SUCCESS)
}
