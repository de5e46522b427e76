//! `git orchestrate evidence`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::SignedDuration;

use super::Format;
use super::failure::Failure;
use super::span::span;
use crate::id::StageId;
use crate::ops::Context;
use crate::ops::evidence::verify::{Required, verify};
use crate::ops::evidence::{remote, show, signers, write};
use crate::ops::plan;
use crate::render::printer;

/// Show and exchange what git notes say about commits
#[derive(Debug, Args)]
pub struct EvidenceArgs {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Show what the notes and the ledger say about commits, and whose signature is on it
    ///
    /// Exits with 6 if a note holds what is not to be believed.
    Show {
        /// A commit, or a range such as `main..HEAD`
        #[arg(default_value = "HEAD", value_name = "REV|RANGE")]
        revision: String,
        /// The file of allowed signers; by default that of the base commit and of git's configuration
        #[arg(long, value_name = "FILE")]
        signers: Option<PathBuf>,
        #[command(flatten)]
        look: Look,
    },
    /// Check that what is required of commits is proven, and say which condition fails if not
    ///
    /// Exits with 1 if something is not proven, and with 6 if a note holds what is not to be believed.
    Verify {
        /// A commit, or a range such as `main..HEAD`
        #[arg(default_value = "HEAD", value_name = "REV|RANGE")]
        revision: String,
        /// The stages that must have passed
        #[arg(long, required = true, value_name = "STAGE,…", value_delimiter = ',')]
        require: Vec<StageId>,
        /// Count only what an allowed signer signed
        #[arg(long)]
        signed: bool,
        /// How long ago they may have passed, such as `30d`
        #[arg(long, value_name = "SPAN", value_parser = span)]
        max_age: Option<SignedDuration>,
        /// The file of allowed signers; by default that of the base commit and of git's configuration
        #[arg(long, value_name = "FILE")]
        signers: Option<PathBuf>,
        #[command(flatten)]
        look: Look,
    },
    /// Write notes about runs that have none yet, such as those on a tree that was committed later
    Write {
        /// A commit, or a range such as `main..HEAD`
        #[arg(default_value = "HEAD", value_name = "REV|RANGE")]
        revision: String,
        #[command(flatten)]
        look: Look,
    },
    /// Send the notes to a remote, never over what it has
    Push {
        /// By default `origin`, or the only remote
        #[arg(value_name = "REMOTE", value_parser = remote_name)]
        remote: Option<String>,
        #[command(flatten)]
        look: Look,
    },
    /// Get the notes of a remote, and enter what is to be believed into the ledger
    ///
    /// Exits with 6 if something is not to be believed, or if the remote has rewritten its notes.
    Fetch {
        /// By default `origin`, or the only remote
        #[arg(value_name = "REMOTE", value_parser = remote_name)]
        remote: Option<String>,
        #[command(flatten)]
        look: Look,
    },
}

#[derive(Clone, Copy, Debug, Args)]
struct Look {
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn remote_name(text: &str) -> Result<String, String> {
    match text.is_empty() || text.starts_with('-') || text.contains(['\n', '\0']) {
        true => Err("it is no name or URL of a remote".to_owned()),
        false => Ok(text.to_owned()),
    }
}

pub fn run(ctx: &Context, args: EvidenceArgs) -> Result<ExitCode, Failure> {
    let doubtful = match args.act {
        Act::Show { revision, signers: file, look } => {
            let signers = file.map(|file| signers::of_file(&ctx.env.cwd().join(file))).transpose()?;
            let shown = show::show(ctx, &revision, signers)?;
            printer::answer(&shown, look.format.into())?;
            shown.is_doubtful()
        }
        Act::Verify { revision, require, signed, max_age, signers: file, look } => {
            let signers = file.map(|file| signers::of_file(&ctx.env.cwd().join(file))).transpose()?;
            let stages = require.iter().map(StageId::to_string).collect();
            let verified = verify(ctx, &revision, &Required { stages, signed, max_age, signers })?;
            printer::answer(&verified, look.format.into())?;
            if verified.commits.iter().any(|of| of.is_invalid()) {
                return Ok(ExitCode::from(6));
            }
            return Ok(ExitCode::from(u8::from(!verified.commits.iter().all(|of| of.is_proven()))));
        }
        Act::Write { revision, look } => {
            let commits = show::commits(ctx, &revision)?;
            let wrote = write::write_commits(ctx, commits, plan::load(ctx)?.evidence.sign)?;
            printer::answer(&wrote, look.format.into())?;
            false
        }
        Act::Push { remote, look } => {
            let pushed = remote::push(ctx, remote.as_deref())?;
            printer::answer(&pushed, look.format.into())?;
            !pushed.alarms.is_empty()
        }
        Act::Fetch { remote, look } => {
            let fetched = remote::fetch(ctx, remote.as_deref())?;
            printer::answer(&fetched, look.format.into())?;
            !fetched.alarms.is_empty() || !fetched.refused.is_empty()
        }
    };
    Ok(ExitCode::from(if doubtful { 6 } else { 0 }))
}
