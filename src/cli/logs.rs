//! `git orchestrate logs`.

use std::io::Write;
use std::process::ExitCode;

use super::failure::Failure;
use crate::id::TaskId;
use crate::ops::Context;
use crate::ops::logs::{LogsOptions, logs};
use crate::output::json::harmless;
use crate::render::logs::Text;
use crate::render::printer;

#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    /// Run id, a prefix that is unique, or `latest`
    #[arg(default_value = "latest")]
    run: String,
    /// Only this stage: its id, or its number
    #[arg(value_name = "STAGE")]
    stage: Option<String>,
    /// The same, of the run that is `latest` if none is named
    #[arg(long = "stage", value_name = "STAGE", conflicts_with = "stage")]
    only: Option<String>,
    /// Task the run belongs to
    #[arg(long, value_name = "ID")]
    task: Option<TaskId>,
    /// Go on until the run is over
    #[arg(long, short)]
    follow: bool,
    /// Print the events, one JSON object per line
    #[arg(long)]
    json: bool,
}

pub fn run(ctx: &Context, args: LogsArgs) -> Result<ExitCode, Failure> {
    let LogsArgs { run, stage, only, task, follow, json } = args;
    let run = super::wanted(Some(&run))?;
    show(ctx, &LogsOptions { task, run, stage: stage.or(only), follow, text: !json })
}

/// Prints logs.
pub fn show(ctx: &Context, options: &LogsOptions) -> Result<ExitCode, Failure> {
    let (json, follow) = (!options.text, options.follow);
    let terminal = printer::stdout_is_terminal();
    let mut text = Text::new(terminal);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    logs(ctx, options, |line| {
        let written = match json {
            true if terminal => writeln!(out, "{}", harmless(&String::from_utf8_lossy(line.raw))),
            true => out.write_all(line.raw).and_then(|()| out.write_all(b"\n")),
            false => text.line(&mut out, line),
        };
        let written = match follow {
            true => written.and_then(|()| out.flush()),
            false => written,
        };
        match written {
            Err(err) if err.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            written => written.map(|()| true).map_err(anyhow::Error::from),
        }
    })?;
    printer::tolerate_closed(text.end(&mut out).and_then(|()| out.flush()))?;
    Ok(ExitCode::SUCCESS)
}
