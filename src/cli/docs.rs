//! `git orchestrate docs`.

use std::process::ExitCode;

use super::Format;
use super::failure::Failure;
use crate::guardrail::docs::mirror::TaskName;
use crate::ops::Context;
use crate::ops::docs::sync::{SyncOptions, sync};
use crate::render::printer;

/// Keep a task's documents in step
#[derive(Debug, clap::Args)]
pub struct DocsArgs {
    #[command(subcommand)]
    request: DocsRequest,
}

#[derive(Debug, clap::Subcommand)]
enum DocsRequest {
    Sync(SyncArgs),
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
    let DocsRequest::Sync(SyncArgs { task, dry_run, format }) = args.request;
    let synced = sync(ctx, &SyncOptions { task, dry_run })?;
    printer::answer(&synced, format.into())?;
    Ok(ExitCode::SUCCESS)
}
