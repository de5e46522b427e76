//! `git orchestrate docs`.

use std::process::ExitCode;

use super::Format;
use super::failure::Failure;
use crate::guardrail::docs::mirror::TaskName;
use crate::ops::Context;
use crate::ops::docs::new::{NewOptions, new};
use crate::ops::docs::sync::{SyncOptions, sync};
use crate::render::printer;

#[derive(Debug, clap::Args)]
pub struct DocsArgs {
    #[command(subcommand)]
    request: DocsRequest,
}

#[derive(Debug, clap::Subcommand)]
enum DocsRequest {
    Sync(SyncArgs),
    New(NewArgs),
}

/// Begin a task: its entry in `tasks/index.json`, its checklist, spec and mirrors
#[derive(Debug, clap::Args)]
struct NewArgs {
    /// The new task: four digits, a dash and the slug
    #[arg(long, env = "MCP_RUNNER_TASK_ID", value_name = "ID")]
    task: TaskName,
    /// What it is called
    #[arg(long, value_name = "TEXT")]
    title: String,
    /// Check everything and say what would be written, without writing
    #[arg(long)]
    dry_run: bool,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Mirror a task's checklist from `tasks/` to `.agent/task/` and `docs/TASKS.md`
#[derive(Debug, clap::Args)]
struct SyncArgs {
    /// Task of `tasks/index.json`: four digits, or four digits, a dash and the slug
    #[arg(long, env = "MCP_RUNNER_TASK_ID", value_name = "ID")]
    task: TaskName,
    /// Check everything and say what would change, without writing
    #[arg(long)]
    dry_run: bool,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(ctx: &Context, args: DocsArgs) -> Result<ExitCode, Failure> {
    let (synced, format) = match args.request {
        DocsRequest::Sync(SyncArgs { task, dry_run, format }) => {
            (sync(ctx, &SyncOptions { task, dry_run })?, format)
        }
        DocsRequest::New(NewArgs { task, title, dry_run, format }) => {
            (new(ctx, &NewOptions { task, title, dry_run })?, format)
        }
    };
    printer::answer(&synced, format.into())?;
    Ok(ExitCode::SUCCESS)
}
