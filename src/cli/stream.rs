//! `git orchestrate stream`.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::status::seconds;
use super::{Format, logs, plain_watch};
use crate::id::{StreamName, TaskId};
use crate::ops::Context;
use crate::ops::logs::LogsOptions;
use crate::ops::stream::list::{list, newest_run, status};
use crate::ops::stream::look::Row;
use crate::ops::stream::new::{NewOptions, new};
use crate::ops::stream::{cd, setup};
use crate::render::printer;
use crate::render::stream::Created;
use crate::render::streams::{OneStream, Streams};
use crate::store::catalog::Wanted;

/// Work on several things at once: a branch and a worktree each, with runs of their own
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
    /// Task that the streams belong to; the runs of each have `<task>-<name>`
    #[arg(long, env = "MCP_RUNNER_TASK_ID", default_value = "0101", value_name = "ID")]
    task: TaskId,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(ctx: &Context, args: StreamArgs) -> Result<ExitCode, Failure> {
    match args.act {
        Act::New(args) => make(ctx, args),
        Act::List { watch, interval, format } => show_all(ctx, watch.then_some(interval), format),
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
        Act::SetUp { task } => {
            let manifest = setup::run(ctx, task, plain_watch())?;
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
    let NewArgs { names, from, carry_changes, task, format } = args;
    let outcome = new(ctx, &NewOptions { names, from, task, carry_changes })?;
    printer::answer(&Created(&outcome), format.into())?;
    let is_ready = outcome.is_ready();
    let refused = outcome.streams.into_iter().filter_map(|(name, made)| Some((name, made.err()?)));
    let codes: Vec<_> = refused.map(|(_, err)| Failure::from(err).report()).collect();
    Ok(match codes.into_iter().next() {
        Some(code) => code,
        None => ExitCode::from(u8::from(!is_ready)),
    })
}
