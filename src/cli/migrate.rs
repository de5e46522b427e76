//! `git orchestrate migrate`.

use std::process::ExitCode;

use super::Format;
use super::failure::Failure;
use crate::id::{RunId, TaskId};
use crate::ops::Context;
use crate::ops::migrate::{MigrateOptions, migrate};
use crate::render::migrate::Migrated;
use crate::render::printer;

#[derive(Debug, clap::Args)]
pub struct MigrateArgs {
    /// Show what would be moved; only a log of it is written
    #[arg(long)]
    dry_run: bool,
    /// Only this run
    #[arg(long, value_name = "ID")]
    run_id: Option<RunId>,
    /// Task of runs whose manifest names none
    #[arg(long, env = "MCP_RUNNER_TASK_ID", default_value = "0101", value_name = "ID")]
    task: TaskId,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(ctx: &Context, args: MigrateArgs) -> Result<ExitCode, Failure> {
    let MigrateArgs { dry_run, run_id, task, format } = args;
    let migration = migrate(ctx, &MigrateOptions { task, run: run_id, dry_run })?;
    printer::answer(&Migrated(&migration), format.into())?;
    Ok(if migration.failed { ExitCode::from(4) } else { ExitCode::SUCCESS })
}
