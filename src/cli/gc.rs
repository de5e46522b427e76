//! `git orchestrate gc`.

use std::process::ExitCode;

use jiff::SignedDuration;

use super::Format;
use super::failure::Failure;
use super::span::{bytes, span};
use crate::id::TaskId;
use crate::ops::Context;
use crate::ops::gc::{Action, GcOptions, gc};
use crate::render::gc::Swept;
use crate::render::printer;
use crate::run::retention::Limits;

#[derive(Debug, clap::Args)]
pub struct GcArgs {
    /// Remove runs that ended longer ago than this, such as `30d`
    #[arg(long, value_name = "SPAN", value_parser = span)]
    older_than: Option<SignedDuration>,
    /// Remove all but the newest N runs of each task; children go with their run
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
    /// Remove the oldest runs until all together are at most this large, such as `2GiB`
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    max_size: Option<u64>,
    /// Only runs of this task
    #[arg(long, value_name = "ID")]
    task: Option<TaskId>,
    /// Show each run and what would become of it, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How long runs stay where nobody says otherwise.
const DEFAULT: SignedDuration = SignedDuration::from_hours(30 * 24);

pub fn run(ctx: &Context, args: GcArgs) -> Result<ExitCode, Failure> {
    let GcArgs { older_than, keep, max_size, task, dry_run, format } = args;
    let unlimited = older_than.is_none() && keep.is_none() && max_size.is_none();
    let older_than = older_than.or(unlimited.then_some(DEFAULT));
    let options = GcOptions { task, limits: Limits { older_than, keep, max_size }, dry_run };
    let collection = gc(ctx, &options)?;
    printer::answer(&Swept(&collection), format.into())?;
    let failed = collection.runs.iter().any(|run| run.action == Action::Failed);
    Ok(if failed { ExitCode::from(4) } else { ExitCode::SUCCESS })
}
