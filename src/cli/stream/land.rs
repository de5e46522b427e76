//! `git orchestrate stream land`.

use std::process::ExitCode;

use clap::Args;

use super::super::failure::Failure;
use super::super::start::interrupted;
use super::super::{Format, PaceArgs, ProgressArgs, override_of};
use crate::git::Upkeep;
use crate::id::{StreamName, TaskId};
use crate::ops::Context;
use crate::ops::hook::reason;
use crate::ops::stream::land::{Fate, LandOptions, land};
use crate::render::landing::Landed;
use crate::render::printer;

#[derive(Debug, Args)]
pub struct LandArgs {
    /// The stream
    #[arg(value_name = "STREAM")]
    name: StreamName,
    /// Branch that it goes to; by default the one that it began on
    #[arg(long, value_name = "BRANCH")]
    onto: Option<String>,
    /// Land what is committed, also if something in the stream is not
    #[arg(long)]
    committed: bool,
    /// Let the stream change the gate that judges it
    #[arg(long)]
    allow_gate_change: bool,
    /// Let land what would be refused, for this reason, which is kept
    #[arg(long = "override", value_name = "REASON")]
    reason: Option<String>,
    /// Make the side worktree anew that missing stages run in, instead of keeping what is ignored there
    #[arg(long)]
    clean: bool,
    /// Task that the runs belong to; by default that of the stream
    #[arg(long, env = "MCP_RUNNER_TASK_ID", value_name = "ID")]
    task: Option<TaskId>,
    #[command(flatten)]
    pace: PaceArgs,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    progress: ProgressArgs,
}

pub fn run(ctx: &Context, args: LandArgs) -> Result<ExitCode, Failure> {
    let format = args.format;
    let watch = args.progress.watch(&ctx.env, format);
    let said = reason::said(&ctx.env);
    let options = LandOptions {
        name: args.name,
        onto: args.onto,
        committed: args.committed,
        task: args.task,
        pace: args.pace.into(),
        allow_gate_change: args.allow_gate_change || said.allow_gate_change,
        reason: override_of(args.reason, said.reason)?,
        upkeep: if args.clean { Upkeep::Virgin } else { Upkeep::Warm },
    };
    let landing = land(ctx, &options, &watch)?;
    printer::answer(&Landed(&landing), format.into())?;
    Ok(match landing.fate {
        Fate::Interrupted(interrupt) => interrupted(interrupt),
        _ => ExitCode::from(u8::from(!landing.is_good())),
    })
}
