//! `git orchestrate list`.

use std::process::ExitCode;

use clap::ValueEnum;

use super::Format;
use super::failure::Failure;
use crate::id::TaskId;
use crate::ops::Context;
use crate::ops::list::{ListOptions, list};
use crate::render::list::Runs;
use crate::render::printer;
use crate::run::status::RunStatus;

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only runs of this task
    #[arg(long, value_name = "ID")]
    task: Option<TaskId>,
    /// Only runs with this status; may be given more than once
    #[arg(long, value_enum)]
    status: Vec<Status>,
    /// Only runs that began at this commit
    #[arg(long, value_name = "REV")]
    commit: Option<String>,
    /// Only runs of this worktree: a path, or git's name of it
    #[arg(long, value_name = "WORKTREE")]
    worktree: Option<String>,
    /// At most so many runs; 0 for all
    #[arg(long, short = 'n', default_value_t = 50, value_name = "N")]
    limit: usize,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// The words of the manifest
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Status {
    Queued,
    #[value(alias = "in-progress")]
    InProgress,
    Succeeded,
    Failed,
    Cancelled,
}

impl From<Status> for RunStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Queued => Self::Queued,
            Status::InProgress => Self::InProgress,
            Status::Succeeded => Self::Succeeded,
            Status::Failed => Self::Failed,
            Status::Cancelled => Self::Cancelled,
        }
    }
}

pub fn run(ctx: &Context, args: ListArgs) -> Result<ExitCode, Failure> {
    let ListArgs { task, status, commit, worktree, limit, format } = args;
    let status = status.into_iter().map(RunStatus::from).collect();
    let options = ListOptions { task, status, commit, worktree, limit: (limit > 0).then_some(limit) };
    let runs = list(ctx, &options)?;
    printer::answer(&Runs { runs: &runs, now: ctx.clock.now() }, format.into())?;
    Ok(ExitCode::SUCCESS)
}
