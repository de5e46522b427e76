//! `--detach`, and what the copies of this program that it starts are asked to do.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;

use super::failure::Failure;
use super::later::Later;
use super::{Cli, Format, Request, plain_watch};
use crate::id::{RunId, TaskId};
use crate::ops::Context;
use crate::ops::detach::{Detached, outcome_of, sweep};
use crate::render::printer;
use crate::render::start::Finished;
use crate::sys::daemon::{self, Side};

#[derive(Debug, clap::Args)]
pub struct SuperviseArgs {
    /// The request that makes the run
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    request: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
pub struct SweepArgs {
    #[arg(long)]
    task: TaskId,
    run: RunId,
}

/// Lets a copy of this process carry the request out, and answers as soon as its run is there. Returns
/// nothing in the copy.
pub fn detach(word: &str, format: Format) -> Result<Option<ExitCode>, Failure> {
    // SAFETY: It is the first that `dispatch` does. Nothing but the command line was read before, so there
    // is one thread, and no file is open.
    let side = unsafe { daemon::split() }.context("cannot start a process for the run")?;
    let Side::Caller(launched) = side else { return Ok(None) };
    match outcome_of(launched)? {
        Detached::Owned(manifest) => {
            printer::answer(&Finished { manifest: &manifest, word }, format.into())?;
            Ok(Some(ExitCode::SUCCESS))
        }
        Detached::Refused(status) => Ok(Some(code(status))),
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
        Ok(Request::Start(Later(args))) => super::start::supervised(ctx, args),
        Ok(Request::Resume(Later(args))) => super::resume::supervised(ctx, args),
        Ok(Request::Stream(Later(args))) => super::stream::supervised(ctx, args),
        _ => Err(anyhow::anyhow!("only `start`, `resume` and `stream run` can be detached").into()),
    }
}

/// Ends what the killed owner of a detached run left.
pub fn swept(ctx: &Context, args: &SweepArgs) -> Result<ExitCode, Failure> {
    sweep(ctx, &args.task, &args.run, &plain_watch())?;
    Ok(ExitCode::SUCCESS)
}
