//! `git orchestrate metrics`.

use std::process::ExitCode;

use clap::ValueEnum;
use jiff::SignedDuration;

use super::failure::Failure;
use super::span::span;
use crate::id::TaskId;
use crate::ops::Context;
use crate::ops::metrics::{MetricsOptions, keep, metrics};
use crate::render::metrics::{Summed, summary, warnings};
use crate::render::{openmetrics, printer};

#[derive(Debug, clap::Args)]
pub struct MetricsArgs {
    /// Only runs of this task
    #[arg(long, value_name = "ID")]
    task: Option<TaskId>,
    /// Only runs that ended so long ago or less, such as `30d`
    #[arg(long, value_name = "SPAN", value_parser = span)]
    since: Option<SignedDuration>,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How the answer looks
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    #[default]
    Text,
    /// Exactly one JSON document on stdout
    Json,
    /// OpenMetrics 1.0, for Prometheus and its kin
    #[value(name = "openmetrics")]
    OpenMetrics,
}

pub fn run(ctx: &Context, args: MetricsArgs) -> Result<ExitCode, Failure> {
    let MetricsArgs { task, since, format } = args;
    let one = task.is_some();
    let found = metrics(ctx, &MetricsOptions { task, since })?;
    for task in &found.tasks {
        keep(task, &summary(task, found.at))?;
    }
    for warning in warnings(&found) {
        eprintln!("warning: {warning}");
    }
    let answer = Summed { found: &found, one, charts: printer::charts() };
    match format {
        Format::Text => printer::answer(&answer, printer::Format::Text)?,
        Format::Json => printer::answer(&answer, printer::Format::Json)?,
        Format::OpenMetrics => printer::document(openmetrics::text(&found))?,
    }
    Ok(ExitCode::SUCCESS)
}
