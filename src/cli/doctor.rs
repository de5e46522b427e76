//! `git orchestrate doctor`.

use std::process::ExitCode;

use super::Format;
use super::failure::Failure;
use crate::ops::doctor::{Verdict, examine};
use crate::render::printer;
use crate::sys::clock::Clock;
use crate::sys::env::Env;

#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(env: Env, args: DoctorArgs) -> Result<ExitCode, Failure> {
    let report = examine(env, Clock::System);
    printer::answer(&report, args.format.into())?;
    Ok(ExitCode::from(u8::from(report.count(Verdict::Problem) > 0)))
}
