//! `git orchestrate evidence`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::SignedDuration;

use super::failure::Failure;
use super::span::span;
use super::start::interrupted;
use super::{Format, ProgressArgs};
use crate::id::StageId;
use crate::ops::Context;
use crate::ops::evidence::audit::{AuditOptions, Sample, audit};
use crate::ops::evidence::policy::Asked;
use crate::ops::evidence::verify::{Required, verify};
use crate::ops::evidence::{receive, remote, show, signers, write};
use crate::ops::plan;
use crate::render::printer;

/// Show, check, audit and exchange what git notes say about commits
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
        /// How long ago they may have passed, such as `30d`; by default what the base says
        #[arg(long, value_name = "SPAN", value_parser = span)]
        max_age: Option<SignedDuration>,
        #[command(flatten)]
        against: Against,
        #[command(flatten)]
        look: Look,
    },
    /// Name the commits that arrived with no, failed, overridden or unsigned evidence, and run a sample of the others again
    ///
    /// Exits with 0 if nothing is amiss, with 1 if something is, and with 6 if a note holds what is not to be believed.
    Audit {
        /// A branch, such as `main`
        #[arg(default_value = "HEAD", value_name = "REF")]
        reference: String,
        /// How far back to look, such as `2w`
        #[arg(long, value_name = "SPAN", value_parser = span)]
        since: SignedDuration,
        /// Run that share of the proven commits again, such as `3%`; one at least
        #[arg(long, value_name = "SHARE", value_parser = percent)]
        rerun: Option<u32>,
        /// What chooses the commits that are run again; by default the commit at the end. One that nobody could know
        /// beforehand keeps those who push from guessing which
        #[arg(long, value_name = "TEXT", requires = "rerun")]
        seed: Option<String>,
        /// Look only at commits that the branch itself named, and not at those that a merge brought
        #[arg(long)]
        first_parent: bool,
        /// The stages that must have passed; by default those of the pipeline that runs by default
        #[arg(long, value_name = "STAGE,…", value_delimiter = ',')]
        require: Option<Vec<StageId>>,
        /// Count only what an allowed signer signed
        #[arg(long)]
        signed: bool,
        /// Do not name commits whose evidence nobody signed
        #[arg(long, conflicts_with = "signed")]
        allow_unsigned: bool,
        /// How long ago stages may have passed, such as `30d`; by default what the configuration says
        #[arg(long, value_name = "SPAN", value_parser = span)]
        max_age: Option<SignedDuration>,
        #[command(flatten)]
        against: Against,
        #[command(flatten)]
        look: Look,
        #[command(flatten)]
        progress: ProgressArgs,
    },
    /// Judge a push on the server that receives it, as a `pre-receive` hook: stdin holds what git tells such a hook
    ///
    /// What is judged is every commit that no branch or tag has yet, by the configuration of what the branch named until
    /// now. Exits with 1 if something is not proven, and with 6 if a note holds what is not to be believed.
    Receive {
        /// The stages that must have passed; by default those of the pipeline that runs by default
        #[arg(long, value_name = "STAGE,…", value_delimiter = ',')]
        require: Option<Vec<StageId>>,
        /// Count only what an allowed signer signed
        #[arg(long)]
        signed: bool,
        /// How long ago stages may have passed, such as `30d`; by default what the base says
        #[arg(long, value_name = "SPAN", value_parser = span)]
        max_age: Option<SignedDuration>,
        /// Judge only the commit that a ref will name, and not those on the way to it
        #[arg(long)]
        tips: bool,
        /// Judge this ref, or all below it if it ends with a slash; by default `refs/heads/` and `refs/tags/`
        #[arg(long = "ref", value_name = "REF", value_parser = ref_name)]
        refs: Vec<String>,
        #[command(flatten)]
        against: Against,
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

/// What commits are held against.
#[derive(Debug, Args)]
struct Against {
    /// The commit whose configuration says what a stage does; by default where the range begins, or where the branch
    /// left the one that it goes to
    #[arg(long, value_name = "REV")]
    base: Option<String>,
    /// Also take what the commit itself says that a stage does, for a change of the configuration that somebody
    /// has looked at
    #[arg(long)]
    allow_gate_change: bool,
    /// The file of allowed signers; by default that of the base commit and of git's configuration
    #[arg(long, value_name = "FILE")]
    signers: Option<PathBuf>,
}

impl Against {
    fn asked(self, ctx: &Context) -> Result<Asked, Failure> {
        let Self { base, allow_gate_change, signers: file } = self;
        let signers = file.map(|file| signers::of_file(&ctx.env.cwd().join(file))).transpose()?;
        Ok(Asked { base, own_too: allow_gate_change, signers })
    }
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

fn ref_name(text: &str) -> Result<String, String> {
    match text.starts_with("refs/") && !text.contains(['*', '?', '[', '\\', ' ', '\n', '\0']) {
        true => Ok(text.to_owned()),
        false => Err("it is no full name of a ref such as `refs/heads/main` or `refs/heads/`".to_owned()),
    }
}

/// Reads a share such as `3%` or `0.5%`, in hundredths of a percent.
fn percent(text: &str) -> Result<u32, String> {
    let such_as = || "no share such as `3%`, between 0% and 100%".to_owned();
    let number: f64 = text.strip_suffix('%').ok_or_else(such_as)?.trim().parse().map_err(|_| such_as())?;
    match (0.0..=100.0).contains(&number) {
        true => Ok((number * 100.0).ceil() as u32),
        false => Err(such_as()),
    }
}

fn ids(stages: Vec<StageId>) -> Vec<String> {
    stages.iter().map(StageId::to_string).collect()
}

impl EvidenceArgs {
    /// Whether nothing is written, so that a bare repository will do.
    pub fn only_looks(&self) -> bool {
        matches!(self.act, Act::Show { .. } | Act::Verify { .. } | Act::Audit { .. } | Act::Receive { .. })
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
        Act::Verify { revision, require, signed, max_age, against, look } => {
            let required = Required { stages: Some(ids(require)), signed, max_age };
            let verified = verify(ctx, &revision, &required, &against.asked(ctx)?)?;
            printer::answer(&verified, look.format.into())?;
            return Ok(verdict(verified.is_proven(), verified.is_invalid()));
        }
        Act::Audit {
            reference,
            since,
            rerun,
            seed,
            first_parent,
            require,
            signed,
            allow_unsigned,
            max_age,
            against,
            look,
            progress,
        } => {
            let options = AuditOptions {
                reference,
                since,
                first_parent,
                required: Required { stages: require.map(ids), signed, max_age },
                asked: against.asked(ctx)?,
                allow_unsigned,
                sample: Sample { share: rerun.unwrap_or(0), seed },
            };
            let audited = audit(ctx, options, progress.watch(&ctx.env, look.format))?;
            printer::answer(&audited, look.format.into())?;
            return Ok(match audited.interrupt {
                Some(interrupt) => interrupted(interrupt),
                None => verdict(audited.is_good(), audited.is_invalid()),
            });
        }
        Act::Receive { require, signed, max_age, tips, refs, against, look } => {
            let required = Required { stages: require.map(ids), signed, max_age };
            let refs = if refs.is_empty() { receive::JUDGED.map(str::to_owned).to_vec() } else { refs };
            let wanted = receive::Wanted { required, asked: against.asked(ctx)?, refs, tips };
            let text = std::io::read_to_string(std::io::stdin())?;
            let received = receive::receive(ctx, receive::updates(&text)?, &wanted)?;
            printer::answer(&received, look.format.into())?;
            return Ok(verdict(received.is_good(), received.is_invalid()));
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

/// Returns the exit code: what is not to be believed weighs more than what is not proven.
fn verdict(is_good: bool, is_invalid: bool) -> ExitCode {
    ExitCode::from(if is_invalid { 6 } else { u8::from(!is_good) })
}
