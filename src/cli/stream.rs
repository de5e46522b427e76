//! `git orchestrate stream`.

mod land;

use std::ffi::OsString;
use std::num::NonZeroU16;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::failure::Failure;
use super::start::exit_code;
use super::status::seconds;
use super::{Format, ProgressArgs, detach, logs, plain_watch};
use crate::id::{PipelineId, StreamName, TaskId};
use crate::ops::Context;
use crate::ops::detach::{Detached, hand_over, supervise};
use crate::ops::host::SharedWatch;
use crate::ops::logs::LogsOptions;
use crate::ops::start::RunOutcome;
use crate::ops::stream::fleet::{self, FleetOptions};
use crate::ops::stream::list::{list, newest_run, status};
use crate::ops::stream::look::Row;
use crate::ops::stream::new::{NewOptions, new};
use crate::ops::stream::prune::prune;
use crate::ops::stream::rm::{OfBranch, RmOptions, rm};
use crate::ops::stream::undo::undo;
use crate::ops::stream::{cd, setup};
use crate::render::printer;
use crate::render::start::Finished;
use crate::render::stream::Created;
use crate::render::stream_gone::{Offers, Removed, Restored};
use crate::render::streams::{OneStream, Streams};
use crate::store::catalog::Wanted;

#[derive(Debug, Args)]
pub struct StreamArgs {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Make streams: a branch and a linked worktree each, and what the configuration says of their set-up
    ///
    /// Each name is made as a whole or not at all. A branch of that name that is there already and checked out nowhere is
    /// used. Exits with 1 if a set-up failed: the stream is there all the same, and says so.
    New(NewArgs),
    /// Show how all streams stand, and linked worktrees that are none
    List {
        /// Show every change until nothing runs in any of them; JSON once, then
        #[arg(long)]
        watch: bool,
        /// Seconds between two looks
        #[arg(long, default_value = "2", value_parser = seconds, value_name = "SECONDS")]
        interval: Duration,
        /// How the answer looks
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Run a pipeline in several streams at once
    ///
    /// Each has a run of its own in its stream; one run above them has a stage for each, and ends as they do.
    Run(RunArgs),
    /// Bring what is committed on a stream onto the branch that it began on, once that is proven for what comes of it
    ///
    /// Nothing is checked out for it. What the branch requires and is not proven for the merged tree runs in a side
    /// worktree, under the configuration of the branch, and the branch moves if it is still where it was. A worktree that
    /// has it checked out comes along, and is left alone, as the branch is, if something there is not committed. Exits
    /// with 1 if it did not land.
    Land(land::LandArgs),
    /// Remove streams: their folder goes into a trash, their branch goes if it was merged
    ///
    /// Refused is what is nowhere else: what is not committed, commits on no other branch and at no remote, and runs
    /// that are not over. `stream undo` brings a stream back for a day.
    Rm {
        /// The streams
        #[arg(required = true, value_name = "STREAM")]
        names: Vec<StreamName>,
        /// Remove work that is nowhere else too, and end what runs
        #[arg(long, short)]
        force: bool,
        /// Keep the branch, also if it was merged
        #[arg(long)]
        keep_branch: bool,
        /// Remove the branch, whatever is on it
        #[arg(long, conflicts_with = "keep_branch")]
        delete_branch: bool,
        /// How the answer looks
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Bring back the stream that was removed last, or the last one of a name
    Undo {
        /// The stream
        #[arg(value_name = "NAME")]
        name: Option<StreamName>,
        /// How the answer looks
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show streams that were merged, whose folder is gone, or that were never finished
    ///
    /// What was in the trash for a day is removed from the disk.
    Prune {
        /// Remove them
        #[arg(long)]
        yes: bool,
        /// How the answer looks
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show how one stream stands, and its newest runs
    Status {
        /// The stream, or git's name of a worktree that is none
        #[arg(value_name = "STREAM")]
        name: StreamName,
        /// How the answer looks
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Print what the stages of a stream's newest run printed
    Logs {
        /// The stream, or git's name of a worktree that is none
        #[arg(value_name = "STREAM")]
        name: StreamName,
        /// Only this stage: its id, or its number
        #[arg(value_name = "STAGE")]
        stage: Option<String>,
        /// Go on until the run is over
        #[arg(long, short)]
        follow: bool,
        /// Print the events, one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Print the folder of a stream
    ///
    /// In a shell that has read the script of `git orchestrate completions`, it goes there.
    Cd {
        /// The stream; the main worktree if none is named
        #[arg(value_name = "STREAM")]
        name: Option<StreamName>,
    },
    #[command(name = setup::SET_UP, hide = true)]
    SetUp {
        /// The stream's task
        #[arg(long)]
        task: TaskId,
        /// Run what ends a stream
        #[arg(long)]
        teardown: bool,
    },
}

#[derive(Debug, Args)]
struct NewArgs {
    /// What the streams are called, and their branches
    #[arg(required = true, value_name = "NAME")]
    names: Vec<StreamName>,
    /// Begin at this commit instead of where this worktree is
    #[arg(long, value_name = "REV")]
    from: Option<String>,
    /// Take what is not committed in this worktree along, untracked files too; here it stays as it is
    #[arg(long, conflicts_with = "from")]
    carry_changes: bool,
    /// Start a pipeline in the streams that are ready then, and leave it to run
    #[arg(long, value_name = "PIPELINE")]
    run: Option<PipelineId>,
    /// Task that the streams belong to; the runs of each have `<task>-<name>`
    #[arg(long, env = "MCP_RUNNER_TASK_ID", default_value = "0101", value_name = "ID")]
    task: TaskId,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Pipeline to run
    pipeline: PipelineId,
    /// The streams
    #[arg(required_unless_present = "all", value_name = "STREAM")]
    names: Vec<StreamName>,
    /// All that are ready
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Task of the run above them
    #[arg(long, env = "MCP_RUNNER_TASK_ID", default_value = "0101", value_name = "ID")]
    task: TaskId,
    /// How many run at the same time; by default as many as there are processors
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZeroU16>,
    /// Answer as soon as the run has begun; it goes on without this terminal
    #[arg(long)]
    detach: bool,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    progress: ProgressArgs,
}

impl StreamArgs {
    /// Hands a request over to a process that outlives this one, if that is wanted. Returns nothing in that one.
    pub fn hand_over(&self) -> Result<Option<ExitCode>, Failure> {
        match &self.act {
            Act::Run(args) if args.detach => detach::detach("started", args.format),
            _ => Ok(None),
        }
    }
}

/// Owns the run above several streams.
pub fn supervised(ctx: &Context, args: StreamArgs) -> Result<ExitCode, Failure> {
    let Act::Run(args) = args.act else {
        return Err(anyhow::anyhow!("only `stream run` can be detached").into());
    };
    let outcome = supervise(plain_watch(), |watch| args.fleet(ctx, watch))?;
    Ok(exit_code(&outcome))
}

impl RunArgs {
    fn fleet(self, ctx: &Context, watch: SharedWatch) -> anyhow::Result<RunOutcome> {
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        let Self { pipeline, names, task, jobs, .. } = self;
        fleet::run(ctx, &FleetOptions { pipeline, names, task, jobs }, &program, watch)
    }
}

pub fn run(ctx: &Context, args: StreamArgs) -> Result<ExitCode, Failure> {
    match args.act {
        Act::New(args) => make(ctx, args),
        Act::List { watch, interval, format } => show_all(ctx, watch.then_some(interval), format),
        Act::Run(args) if args.detach => supervised(ctx, StreamArgs { act: Act::Run(args) }),
        Act::Run(args) => {
            let format = args.format;
            let watch = args.progress.watch(&ctx.env, format);
            let outcome = args.fleet(ctx, watch)?;
            printer::answer(&Finished { manifest: &outcome.manifest, word: "finished" }, format.into())?;
            Ok(exit_code(&outcome))
        }
        Act::Land(args) => land::run(ctx, args),
        Act::Rm { names, force, keep_branch, delete_branch, format } => {
            let branch = match (keep_branch, delete_branch) {
                (true, _) => OfBranch::Keep,
                (_, true) => OfBranch::Remove,
                _ => OfBranch::IfMerged,
            };
            let gone = rm(ctx, &RmOptions { names, force, branch }, &plain_watch());
            printer::answer(&Removed(&gone), format.into())?;
            Ok(code_of(gone.into_iter().filter_map(|(_, gone)| gone.err())))
        }
        Act::Undo { name, format } => {
            printer::answer(&Restored(&undo(ctx, name.as_ref())?), format.into())?;
            Ok(ExitCode::SUCCESS)
        }
        Act::Prune { yes, format } => {
            let offers = prune(ctx, yes, &plain_watch())?;
            printer::answer(&Offers(&offers), format.into())?;
            Ok(code_of(offers.into_iter().filter_map(|offer| offer.gone?.err())))
        }
        Act::Status { name, format } => {
            let found = status(ctx, &name)?;
            printer::answer(&OneStream { status: &found, now: ctx.clock.now() }, format.into())?;
            Ok(ExitCode::SUCCESS)
        }
        Act::Logs { name, stage, follow, json } => {
            let (task, run) = newest_run(ctx, &name)?;
            let run = Wanted::Id(run);
            logs::show(ctx, &LogsOptions { task: Some(task), run, stage, follow, text: !json })
        }
        Act::Cd { name } => {
            let folder = cd::folder(ctx, name.as_ref())?;
            printer::document([folder.as_os_str().as_encoded_bytes(), b"\n"].concat())?;
            Ok(ExitCode::SUCCESS)
        }
        Act::SetUp { task, teardown } => {
            let which = if teardown { setup::Which::TearDown } else { setup::Which::SetUp };
            let manifest = setup::run(ctx, task, which, plain_watch())?;
            printer::document(serde_json::to_vec(&setup::said(&manifest)).map_err(anyhow::Error::from)?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn show_all(ctx: &Context, watch: Option<Duration>, format: Format) -> Result<ExitCode, Failure> {
    let mut shown = Vec::new();
    loop {
        let found = list(ctx)?;
        let answer = Streams { list: &found, now: ctx.clock.now() };
        let over = watch.is_none() || !found.rows.iter().any(Row::is_busy);
        match format {
            Format::Json if !over => {}
            Format::Json => printer::answer(&answer, format.into())?,
            Format::Text => {
                let steady = answer.steady();
                if steady != shown {
                    if !shown.is_empty() {
                        printer::document("\n")?;
                    }
                    printer::answer(&answer, format.into())?;
                    shown = steady;
                }
            }
        }
        match watch {
            Some(interval) if !over => std::thread::sleep(interval),
            _ => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn make(ctx: &Context, args: NewArgs) -> Result<ExitCode, Failure> {
    let NewArgs { names, from, carry_changes, run, task, format } = args;
    let mut outcome = new(ctx, &NewOptions { names, from, task: task.clone(), carry_changes })?;
    let mut code = None;
    if let Some(pipeline) = run {
        let ready = outcome.ready();
        if !ready.is_empty() {
            let words = ["stream", "run", "--detach", "--task", task.as_str(), "--", pipeline.as_str()];
            let words = words.into_iter().chain(ready.iter().map(StreamName::as_str)).map(OsString::from);
            match hand_over(None, words)? {
                Detached::Owned(manifest) => outcome.run = Some(manifest.run_id.clone()),
                // It has said why on stderr.
                Detached::Refused(status) => code = Some(detach::code(status)),
            }
        }
    }
    printer::answer(&Created(&outcome), format.into())?;
    let is_ready = outcome.is_ready();
    let refused: Vec<_> = outcome.streams.into_iter().filter_map(|(_, made)| made.err()).collect();
    match refused.is_empty() {
        true => Ok(code.unwrap_or(ExitCode::from(u8::from(!is_ready)))),
        false => Ok(code_of(refused)),
    }
}

/// Tells why names were refused, and returns the code of the first.
fn code_of(refused: impl IntoIterator<Item = anyhow::Error>) -> ExitCode {
    let codes: Vec<_> = refused.into_iter().map(|err| Failure::from(err).report()).collect();
    codes.into_iter().next().unwrap_or(ExitCode::SUCCESS)
}
