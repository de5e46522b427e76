//! `git orchestrate status`.

use std::process::ExitCode;
use std::time::Duration;

use super::failure::Failure;
use super::{Format, RunArg};
use crate::id::TaskId;
use crate::ops::Context;
use crate::ops::status::status;
use crate::render::printer::{self, Answer};
use crate::render::status::Standing;
use crate::store::catalog::Wanted;

#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    run: RunArg,
    /// Task the run belongs to
    #[arg(long, value_name = "ID")]
    task: Option<TaskId>,
    /// Wait until the run is over or dead; text is shown at every change, JSON once, at the end
    #[arg(long)]
    watch: bool,
    /// Seconds between two looks
    #[arg(long, default_value = "10", value_parser = seconds, value_name = "SECONDS")]
    interval: Duration,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Reads a pause between two looks.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if !(0.1..=86_400.0).contains(&seconds) {
        return Err("not between 0.1 and 86400".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

pub fn run(ctx: &Context, args: StatusArgs) -> Result<ExitCode, Failure> {
    let StatusArgs { run, task, watch, interval, format } = args;
    let mut run = run.wanted()?;
    let mut shown = Vec::new();
    loop {
        let state = status(ctx, task.as_ref(), &run)?;
        let over = state.is_over() || !watch;
        let answer = Standing(&state);
        match format {
            Format::Json if over => printer::answer(&answer, format.into())?,
            Format::Json => {}
            Format::Text => {
                let mut text = Vec::new();
                answer.text(&mut text)?;
                // Only the age of a heartbeat changes by itself.
                let steady = steady(&text);
                if steady != shown {
                    printer::answer(&answer, format.into())?;
                    shown = steady;
                }
            }
        }
        if over {
            return Ok(ExitCode::SUCCESS);
        }
        // The run that is watched stays the same one, whatever starts meanwhile.
        run = Wanted::Id(state.found.run.clone());
        std::thread::sleep(interval);
    }
}

fn steady(text: &[u8]) -> Vec<u8> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"Last heartbeat"));
    lines.collect::<Vec<_>>().join(&b'\n')
}
