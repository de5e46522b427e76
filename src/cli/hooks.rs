//! `git orchestrate hooks`.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use super::Format;
use super::failure::Failure;
use crate::ops::Context;
use crate::ops::hook::READY;
use crate::ops::hooks::install::{HooksOptions, install, uninstall};
use crate::ops::hooks::migrate::migrate;
use crate::ops::hooks::status::status;
use crate::pipeline::hooks::Event;
use crate::render::hooks::Changed;
use crate::render::printer;

#[derive(Debug, Args)]
pub struct HooksArgs {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Install hooks; one that is there stays, and runs first
    ///
    /// From git 2.54 on they stand in git's configuration; before that, a few lines of sh stand in the folder in which git
    /// looks for hooks. Where that is tracked by git or belongs to another tool, nothing is written, and it says what
    /// to type.
    Install(Which),
    /// Take away what was installed, and put back what was there before
    Uninstall(Which),
    /// Propose stages and hooks for what lefthook, husky or pre-commit are told to do here
    ///
    /// Reads `lefthook.yml` (also `.yaml`, `.toml`, `.json`), `.husky/` and `.pre-commit-config.yaml`, and runs nothing of
    /// what they say. What has no equivalent is named, with the reason.
    Migrate {
        /// Write it: where there is no configuration, or as an addition to one, of which nothing changes
        #[arg(long)]
        write: bool,
        /// How the answer looks
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Try in every worktree whether each hook fires, with the search path of a program that was started from a menu
    ///
    /// Exits with 1 if one does not that somebody asked for.
    Status {
        /// How the answer looks
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// For all of your repositories
    #[arg(long)]
    global: bool,
    /// Names of git's hooks; by default `pre-push` and what the configuration asks for, or all that are there
    #[arg(value_name = "EVENT", value_parser = event())]
    events: Vec<Event>,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Reads the name of an event that there is an answer to.
fn event() -> impl TypedValueParser<Value = Event> {
    let names = READY.iter().map(|event| event.as_str());
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Event>())
}

pub fn run(ctx: &Context, args: HooksArgs) -> Result<ExitCode, Failure> {
    let (changed, installed, format) = match args.act {
        Act::Status { format } => {
            let status = status(ctx)?;
            printer::answer(&status, format.into())?;
            return Ok(ExitCode::from(u8::from(!status.is_good())));
        }
        Act::Migrate { write, format } => {
            printer::answer(&migrate(ctx, write)?, format.into())?;
            return Ok(ExitCode::SUCCESS);
        }
        Act::Install(Which { global, events, format }) => {
            let program = std::env::current_exe().context("cannot tell where this program is")?;
            (install(ctx, &HooksOptions { events, global }, &program)?, true, format)
        }
        Act::Uninstall(Which { global, events, format }) => {
            (uninstall(ctx, &HooksOptions { events, global })?, false, format)
        }
    };
    printer::answer(&Changed { changed: &changed, installed }, format.into())?;
    Ok(ExitCode::SUCCESS)
}
