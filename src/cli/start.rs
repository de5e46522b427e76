//! `git orchestrate start`.

use std::process::ExitCode;

use super::failure::Failure;
use super::{Format, PaceArgs, ProgressArgs, detach, plain_watch};
use crate::id::{PipelineId, RunId, TaskId};
use crate::ops::detach::supervise;
use crate::ops::each::{EachOptions, each};
use crate::ops::host::{ReuseOptions, SharedWatch};
use crate::ops::start::{RunOutcome, StartOptions, start, start_at};
use crate::ops::{Context, Kind, Refusal};
use crate::pipeline::evidence::Notes;
use crate::render::each::Each;
use crate::render::printer;
use crate::render::start::Finished;
use crate::run::status::RunStatus;
use crate::runner::interrupt::Interrupt;

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
    /// Who is asked before stages that need an approval: nobody, and they are approved (`auto`) or refused
    /// (`never`); somebody with any other word, such as `on-request`
    #[arg(long, value_name = "POLICY")]
    approval_policy: Option<String>,
    #[command(flatten)]
    pace: PaceArgs,
    #[command(flatten)]
    reuse: ReuseArgs,
    #[command(flatten)]
    notes: NotesArgs,
    /// Run on a clean side worktree at this commit, with its own configuration
    #[arg(long, value_name = "REV", conflicts_with = "each")]
    commit: Option<String>,
    /// Run on a clean side worktree at every commit of this range, oldest first; the first
    /// that fails ends it, unless `--keep-going`
    #[arg(long, value_name = "A..B", conflicts_with = "parent_run")]
    each: Option<String>,
    /// Answer as soon as the run has begun; it goes on without this terminal
    #[arg(long)]
    pub detach: bool,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    progress: ProgressArgs,
}

/// What is taken over from other runs
#[derive(Clone, Copy, Debug, clap::Args)]
struct ReuseArgs {
    /// Do not run stages that are proven for this very tree; wait for a run that is at it
    #[arg(long, overrides_with = "no_reuse")]
    reuse: bool,
    /// Run every stage, whatever the configuration says
    #[arg(long)]
    no_reuse: bool,
    /// Wait for a run that is running the same right now, and take over what it finds (the
    /// default with `--reuse`)
    #[arg(long, overrides_with = "no_join")]
    join: bool,
    /// Wait for no other run
    #[arg(long)]
    no_join: bool,
}

/// What is left in git
#[derive(Clone, Copy, Debug, clap::Args)]
struct NotesArgs {
    /// Leave a git note on the tree and its commit that says what ran, signed as your commits are; with
    /// `--notes=full` the manifest goes along
    #[arg(long, overrides_with = "no_notes", value_name = "WHAT", num_args = 0..=1, require_equals = true,
        default_missing_value = "records")]
    notes: Option<NotesWord>,
    /// Leave no git note, whatever the configuration says
    #[arg(long)]
    no_notes: bool,
}

/// What goes into the note.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum NotesWord {
    /// What ran, and how it ended
    Records,
    /// The manifest too
    Full,
}

impl NotesArgs {
    fn wanted(self) -> Option<Notes> {
        match self.notes {
            _ if self.no_notes => Some(Notes::Nothing),
            Some(NotesWord::Records) => Some(Notes::Records),
            Some(NotesWord::Full) => Some(Notes::Full),
            None => None,
        }
    }
}

impl From<ReuseArgs> for ReuseOptions {
    fn from(ReuseArgs { reuse, no_reuse, join, no_join }: ReuseArgs) -> Self {
        let word = |yes: bool, no: bool| (yes || no).then_some(yes);
        Self { reuse: word(reuse, no_reuse), join: word(join, no_join) }
    }
}

pub fn run(ctx: &Context, args: StartArgs) -> Result<ExitCode, Failure> {
    if args.detach {
        return supervised(ctx, args);
    }
    let (format, progress) = (args.format, args.progress);
    let (commit, each) = (args.commit.clone(), args.each.clone());
    let options = args.options();
    let watch = progress.watch(&ctx.env, format);
    if let Some(range) = each {
        return run_each(ctx, EachOptions { range, start: options }, watch, format);
    }
    let outcome = match commit {
        Some(commit) => start_at(ctx, &commit, options, watch)?,
        None => start(ctx, options, watch)?,
    };
    printer::answer(&Finished { manifest: &outcome.manifest, word: "finished" }, format.into())?;
    Ok(exit_code(&outcome))
}

fn run_each(
    ctx: &Context,
    options: EachOptions,
    watch: SharedWatch,
    format: Format,
) -> Result<ExitCode, Failure> {
    let outcome = each(ctx, options, watch)?;
    printer::answer(&Each(&outcome), format.into())?;
    Ok(match outcome.interrupt {
        Some(interrupt) => interrupted(interrupt),
        None if outcome.commits.iter().all(|commit| commit.end.is_good()) => ExitCode::SUCCESS,
        None => ExitCode::from(1),
    })
}

/// Returns the code of a request that a signal ended.
pub fn interrupted(interrupt: Interrupt) -> ExitCode {
    ExitCode::from(interrupt.exit_code())
}

/// Runs the pipeline as the owner of a detached run.
pub fn supervised(ctx: &Context, args: StartArgs) -> Result<ExitCode, Failure> {
    let outcome = supervise(plain_watch(), |watch| start(ctx, args.options(), watch))?;
    Ok(exit_code(&outcome))
}

impl StartArgs {
    /// Hands the request over to a process that outlives this one. Returns nothing in that one.
    pub fn hand_over(&self) -> Result<Option<ExitCode>, Failure> {
        let elsewhere = [("--commit", self.commit.is_some()), ("--each", self.each.is_some())];
        if let Some((flag, _)) = elsewhere.into_iter().find(|(_, given)| *given) {
            return Err(Refusal::new(Kind::Usage, format!("`--detach` does not go with `{flag}`"))
                .hint("leave `--detach` out: a side worktree is in use as long as this command runs")
                .into());
        }
        detach::detach("started", self.format)
    }

    fn options(self) -> StartOptions {
        let Self { pipeline, task, target, parent_run, approval_policy, pace, reuse, notes, .. } = self;
        StartOptions {
            task,
            pipeline,
            target,
            parent_run,
            approval_policy,
            pace: pace.into(),
            reuse: reuse.into(),
            notes: notes.wanted(),
        }
    }
}

/// Returns the code of a run that ended.
pub fn exit_code(outcome: &RunOutcome) -> ExitCode {
    match outcome.manifest.status {
        RunStatus::Succeeded => ExitCode::SUCCESS,
        // It waits for a decision, and nobody waits for us.
        RunStatus::InProgress => ExitCode::SUCCESS,
        RunStatus::Cancelled => outcome.interrupt.map_or(ExitCode::from(128 + 2), interrupted),
        // It could not begin for others, as somebody who finds the door locked.
        _ if outcome.is_deadlock() => ExitCode::from(5),
        _ => ExitCode::from(1),
    }
}
