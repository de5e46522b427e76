//! `git orchestrate init`.

use std::process::ExitCode;

use clap::builder::PossibleValuesParser;

use super::Format;
use super::failure::Failure;
use crate::ops::Context;
use crate::ops::init::{InitOptions, init};
use crate::pipeline::builtin;
use crate::render::printer;

#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// What the project is built with; may be given more than once. By default everything that is found in the root
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(builtin::KINDS), value_delimiter = ',')]
    kind: Vec<String>,
    /// Print what would be written, and write nothing
    #[arg(long, visible_alias = "dry-run")]
    print: bool,
    /// Only bring the copy of the schema beside the configuration up to date
    #[arg(long, conflicts_with_all = ["kind", "print"])]
    update_schema: bool,
    /// Only configure git: `git log` shows notes about runs then, and `git fetch` gets those of others
    #[arg(long, conflicts_with_all = ["kind", "print", "update_schema"])]
    notes: bool,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(ctx: &Context, args: InitArgs) -> Result<ExitCode, Failure> {
    let InitArgs { kind, print, update_schema, notes, format } = args;
    let options = InitOptions { kinds: kind, print, schema_only: update_schema, notes_only: notes };
    let made = init(ctx, &options)?;
    printer::answer(&made, format.into())?;
    Ok(ExitCode::SUCCESS)
}
