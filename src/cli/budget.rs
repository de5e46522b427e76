//! `git orchestrate budget`.

use std::process::ExitCode;

use super::Format;
use super::failure::Failure;
use crate::ops::budget::standing;
use crate::render::printer;
use crate::sys::clock::Clock;
use crate::sys::env::Env;

#[derive(Debug, clap::Args)]
pub struct BudgetArgs {
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(env: Env, args: BudgetArgs) -> Result<ExitCode, Failure> {
    printer::answer(&standing(env, Clock::System)?, args.format.into())?;
    Ok(ExitCode::SUCCESS)
}
