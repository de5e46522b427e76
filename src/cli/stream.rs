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
use crate::ops::stream::{cd, probe, setup};
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
        /// Merge the streams with each other, and each with the branch that it goes to, and name those that conflict
        ///
        /// That happens in memory, on what is committed: no work tree, index or branch is touched.
        #[arg(long, conflicts_with = "watch")]
        probe: bool,
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
    /// Run a command in several streams at once, such as an agent
    ///
    /// Each has a run of its own in its stream, with its output, its state and its exit; one run above them has a stage
    /// for each, and ends as they do.
    Exec(ExecArgs),
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
#[command(group = clap::ArgGroup::new("started").args(["exec", "run"]).multiple(true))]
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
    /// Start a command in the streams that are ready then, such as an agent, and leave it to run: one text for a shell
    #[arg(long, value_name = "COMMAND", value_parser = command)]
    exec: Option<String>,
    /// Start a pipeline in the streams that are ready then, and leave it to run; with `--exec`, in each where the
    /// command has succeeded
    #[arg(long, value_name = "PIPELINE")]
    run: Option<PipelineId>,
    /// How many of them run at the same time; by default all commands, and as many pipelines as there are processors
    #[arg(long, short, value_name = "N", requires = "started")]
    jobs: Option<NonZeroU16>,
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
    #[command(flatten)]
    fleet: FleetArgs,
}

#[derive(Debug, Args)]
struct ExecArgs {
    /// One text for a shell
    #[arg(value_name = "COMMAND", value_parser = command)]
    command: String,
    /// Then run this pipeline in each where the command has succeeded
    #[arg(long, value_name = "PIPELINE")]
    run: Option<PipelineId>,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// Where things run, and how
#[derive(Debug, Args)]
struct FleetArgs {
    /// The streams
    #[arg(required_unless_present = "all", value_name = "STREAM")]
    names: Vec<StreamName>,
    /// All that are ready
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Task of the run above them
    #[arg(long, env = "MCP_RUNNER_TASK_ID", default_value = "0101", value_name = "ID")]
    task: TaskId,
    /// How many run at the same time; by default all commands, and as many pipelines as there are processors
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
            Act::Run(RunArgs { fleet, .. }) | Act::Exec(ExecArgs { fleet, .. }) if fleet.detach => {
                detach::detach("started", fleet.format)
            }
            _ => Ok(None),
        }
    }
}

/// Owns the run above several streams.
pub fn supervised(ctx: &Context, args: StreamArgs) -> Result<ExitCode, Failure> {
    let Some(fleet) = args.act.fleet() else {
        return Err(anyhow::anyhow!("only `stream run` and `stream exec` can be detached").into());
    };
    let outcome = supervise(plain_watch(), |watch| fleet.run(ctx, watch))?;
    Ok(exit_code(&outcome))
}

/// What runs in several streams.
struct Fleet {
    command: Option<String>,
    pipeline: Option<PipelineId>,
    args: FleetArgs,
}

impl Act {
    fn fleet(self) -> Option<Fleet> {
        match self {
            Self::Run(RunArgs { pipeline, fleet }) => {
                Some(Fleet { command: None, pipeline: Some(pipeline), args: fleet })
            }
            Self::Exec(ExecArgs { command, run, fleet }) => {
                Some(Fleet { command: Some(command), pipeline: run, args: fleet })
            }
            _ => None,
        }
    }
}

impl Fleet {
    fn run(self, ctx: &Context, watch: SharedWatch) -> anyhow::Result<RunOutcome> {
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        let Self { command, pipeline, args: FleetArgs { names, task, jobs, .. } } = self;
        fleet::run(ctx, &FleetOptions { command, pipeline, names, task, jobs }, &program, watch)
    }
}

/// Reads a text for a shell.
fn command(text: &str) -> Result<String, String> {
    match text.trim().is_empty() {
        true => Err("it is empty".to_owned()),
        false => Ok(text.to_owned()),
    }
}

pub fn run(ctx: &Context, args: StreamArgs) -> Result<ExitCode, Failure> {
    match args.act {
        Act::New(args) => make(ctx, args),
        Act::List { probe, watch, interval, format } => {
            show_all(ctx, watch.then_some(interval), probe, format)
        }
        act @ (Act::Run(_) | Act::Exec(_)) => {
            let fleet = act.fleet().context("there is nothing to run")?;
            if fleet.args.detach {
                let outcome = supervise(plain_watch(), |watch| fleet.run(ctx, watch))?;
                return Ok(exit_code(&outcome));
            }
            let format = fleet.args.format;
            let watch = fleet.args.progress.watch(&ctx.env, format);
            let outcome = fleet.run(ctx, watch)?;
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

fn show_all(
    ctx: &Context,
    watch: Option<Duration>,
    probe: bool,
    format: Format,
) -> Result<ExitCode, Failure> {
    let mut shown = Vec::new();
    loop {
        let mut found = list(ctx)?;
        found.probe = probe.then(|| probe::probe(ctx)).transpose()?;
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
    let NewArgs { names, from, carry_changes, exec, run, jobs, task, format } = args;
    let mut outcome =
        new(ctx, &NewOptions { names, from, task: task.clone(), carry_changes, run: run.clone() })?;
    let mut code = None;
    if exec.is_some() || run.is_some() {
        let ready = outcome.ready();
        if !ready.is_empty() {
            let (request, first, then) = match (&exec, &run) {
                (Some(command), run) => ("exec", command.as_str(), run.as_ref()),
                (None, Some(pipeline)) => ("run", pipeline.as_str(), None),
                (None, None) => unreachable!("one of them is there"),
            };
            let task = format!("--task={task}");
            let jobs = jobs.map(|jobs| format!("--jobs={jobs}"));
            let then = then.map(|pipeline| format!("--run={pipeline}"));
            let words = ["stream", request, "--detach", task.as_str()].into_iter();
            let words = words.chain(jobs.as_deref()).chain(then.as_deref()).chain(["--", first]);
            let words = words.chain(ready.iter().map(StreamName::as_str)).map(OsString::from);
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
