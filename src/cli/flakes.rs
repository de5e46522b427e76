//! `git orchestrate flakes`.

use std::process::ExitCode;

use super::Format;
use super::failure::Failure;
use crate::ops::Context;
use crate::ops::flakes::{ClearOptions, clear, flakes};
use crate::render::flakes::Flakes;
use crate::render::printer;
use crate::sys::process::whoami;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct FlakesArgs {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Let what was recorded of a flake count no more: from now on it can be proven again
    Clear {
        /// A stage, or at least 7 digits of a key
        #[arg(value_name = "STAGE|KEY")]
        which: String,
        /// What was found out; it is kept
        #[arg(long)]
        reason: Option<String>,
        /// Who looked into it; by default you
        #[arg(long, value_name = "NAME")]
        actor: Option<String>,
        /// How the answer looks
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

pub fn run(ctx: &Context, args: FlakesArgs) -> Result<ExitCode, Failure> {
    let now = ctx.clock.now();
    let (found, cleared, format) = match args.verb {
        None => (flakes(ctx)?, false, args.format),
        Some(Verb::Clear { which, reason, actor, format }) => {
            let by = actor.unwrap_or_else(|| whoami(&ctx.env));
            (clear(ctx, &ClearOptions { which, by, reason })?, true, format)
        }
    };
    printer::answer(&Flakes { flakes: &found, cleared, now }, format.into())?;
    Ok(ExitCode::SUCCESS)
}
