//! `--detach`, and what the copies of this program that it starts are asked to do.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use super::failure::Failure;
use super::{Cli, Format, Request, plain_watch};
use crate::id::{RunId, TaskId};
use crate::ops::Context;
use crate::ops::detach::{Detached, hand_over, sweep};
use crate::render::printer;
use crate::render::start::Finished;

/// Own a detached run
#[derive(Debug, clap::Args)]
pub struct SuperviseArgs {
    /// The request that makes the run
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    request: Vec<OsString>,
}

/// End what a killed owner left
#[derive(Debug, clap::Args)]
pub struct SweepArgs {
    #[arg(long)]
    task: TaskId,
    run: RunId,
}

/// Returns the request to hand over: that of this process.
pub fn own_request() -> impl Iterator<Item = OsString> {
    std::env::args_os().skip(1)
}

/// Hands a request over, and answers as soon as its run is there.
pub fn detach(
    request: impl IntoIterator<Item = OsString>,
    word: &str,
    format: Format,
) -> Result<ExitCode, Failure> {
    match hand_over(request)? {
        Detached::Owned(manifest) => {
            printer::answer(&Finished { manifest: &manifest, word }, format.into())?;
            Ok(ExitCode::SUCCESS)
        }
        Detached::Refused(status) => Ok(code(status)),
    }
}

/// Returns the code of a copy of this program, as its caller's own.
pub fn code(status: std::process::ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.unwrap_or(4) as u8)
}

/// Owns the run that a request makes.
pub fn supervise(ctx: &Context, args: SuperviseArgs) -> Result<ExitCode, Failure> {
    let name = std::env::args_os().next().unwrap_or_default();
    let cli = Cli::try_parse_from(std::iter::once(name).chain(args.request));
    match cli.map(|cli| cli.request) {
        Ok(Request::Start(args)) => super::start::supervised(ctx, args),
        Ok(Request::Resume(args)) => super::resume::supervised(ctx, args),
        _ => Err(anyhow::anyhow!("only `start` and `resume` make runs that can be detached").into()),
    }
}

/// Ends what the killed owner of a detached run left.
pub fn swept(ctx: &Context, args: &SweepArgs) -> Result<ExitCode, Failure> {
    sweep(ctx, &args.task, &args.run, &plain_watch())?;
    Ok(ExitCode::SUCCESS)
}
