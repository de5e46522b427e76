//! `git orchestrate resume`.

use std::process::ExitCode;

use super::failure::Failure;
use super::start::exit_code;
use super::{Format, PaceArgs, ProgressArgs, RunArg, detach, plain_watch};
use crate::id::TaskId;
use crate::ops::Context;
use crate::ops::detach::supervise;
use crate::ops::resume::{ResumeOptions, resume};
use crate::render::printer;
use crate::render::start::Finished;

#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    #[command(flatten)]
    run: RunArg,
    /// Task the run belongs to
    #[arg(long, value_name = "ID")]
    task: Option<TaskId>,
    /// Resume token; by default the one in the run's folder
    #[arg(long)]
    token: Option<String>,
    /// Who resumes, for the record
    #[arg(long, default_value = "cli")]
    actor: String,
    /// Why, for the record
    #[arg(long, default_value = "manual-resume")]
    reason: String,
    /// Run this stage alone
    #[arg(long, visible_alias = "target-stage", value_name = "STAGE")]
    target: Option<String>,
    /// Go on although the tree has changed since the run began; its evidence is void
    #[arg(long)]
    moved_tree: bool,
    #[command(flatten)]
    pace: PaceArgs,
    /// Answer as soon as the run goes on; it needs this terminal no longer
    #[arg(long)]
    pub detach: bool,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    progress: ProgressArgs,
}

pub fn run(ctx: &Context, args: ResumeArgs) -> Result<ExitCode, Failure> {
    if args.detach {
        return supervised(ctx, args);
    }
    let (format, progress) = (args.format, args.progress);
    let outcome = resume(ctx, args.options()?, progress.watch(&ctx.env, format))?;
    printer::answer(&Finished { manifest: &outcome.manifest, word: "resumed" }, format.into())?;
    Ok(exit_code(&outcome))
}

/// Goes on with the run as the owner of a detached one.
pub fn supervised(ctx: &Context, args: ResumeArgs) -> Result<ExitCode, Failure> {
    let options = args.options()?;
    let outcome = supervise(plain_watch(), |watch| resume(ctx, options, watch))?;
    Ok(exit_code(&outcome))
}

impl ResumeArgs {
    /// Hands the request over to a process that outlives this one. Returns nothing in that one.
    pub fn hand_over(&self) -> Result<Option<ExitCode>, Failure> {
        detach::detach("resumed", self.format)
    }

    fn options(self) -> Result<ResumeOptions, Failure> {
        let Self { run, task, token, actor, reason, target, moved_tree, pace, .. } = self;
        let (run, pace) = (run.wanted()?, pace.into());
        Ok(ResumeOptions { task, run, token, actor, reason, target, moved_tree, pace })
    }
}
