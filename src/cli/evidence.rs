//! `git orchestrate evidence`.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::SignedDuration;

use super::failure::Failure;
use super::span::span;
use super::start::interrupted;
use super::{Format, ProgressArgs};
use crate::id::StageId;
use crate::ops::evidence::audit::{AuditOptions, Sample, audit};
use crate::ops::evidence::compact::compact;
use crate::ops::evidence::manifests::OnDisk;
use crate::ops::evidence::policy::Asked;
use crate::ops::evidence::rebuild::rebuild;
use crate::ops::evidence::show::Shown;
use crate::ops::evidence::verify::{Required, verify};
use crate::ops::evidence::write::Manner;
use crate::ops::evidence::{receive, remote, rewrite, sending, show, signers, write};
use crate::ops::plan;
use crate::ops::{Context, Kind, Refusal};
use crate::output::untrusted::untrusted;
use crate::pipeline::evidence::Notes;
use crate::render::evidence::Manifests;
use crate::render::printer;

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
        /// Print the manifests that went along with the notes, as they were on disk
        #[arg(long)]
        manifest: bool,
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
        /// Let the manifests go along, as `start --notes=full` does
        #[arg(long)]
        manifest: bool,
        #[command(flatten)]
        look: Look,
    },
    /// Send the notes to a remote, never over what it has
    Push {
        /// By default `origin`, or the only remote
        #[arg(value_name = "REMOTE", value_parser = remote_name)]
        remote: Option<String>,
        #[command(flatten)]
        patience: Patience,
        /// Answer at once, and send in the background; what came of it is in `.git/orchestrate/notes/push.log`
        #[arg(long)]
        detach: bool,
        #[arg(long, hide = true, conflicts_with = "detach")]
        detached: bool,
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
        patience: Patience,
        #[command(flatten)]
        look: Look,
    },
    /// Carry notes over to commits that were rewritten to the same tree; a hook gives them as `post-rewrite` gets them
    ///
    /// Each line of stdin is an old commit, a blank and the new one.
    Rewrite {
        #[command(flatten)]
        look: Look,
    },
    /// Make your own notes small: the history that no remote has yet, and what nothing in use needs
    ///
    /// No record goes. What a remote has stays as it is, so that the rest can be sent without force.
    Compact {
        /// Say what would go, and change nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        look: Look,
    },
    /// Enter into the ledger what the runs on disk found out, and notes that are here, unless it stands there
    ///
    /// Exits with 6 if something is left out because it is not to be believed.
    Rebuild {
        /// Say what would be entered, and change nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        look: Look,
    },
}

#[derive(Clone, Copy, Debug, Args)]
struct Patience {
    /// How long one exchange with the remote may take
    #[arg(long, value_name = "SPAN", default_value = "2min", value_parser = span)]
    timeout: SignedDuration,
}

impl Patience {
    fn limit(self) -> Duration {
        self.timeout.try_into().unwrap_or_default()
    }
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
        Act::Show { revision, signers: file, manifest, look } => {
            let signers = file.map(|file| signers::of_file(&ctx.env.cwd().join(file))).transpose()?;
            let mut shown = show::show(ctx, &revision, signers)?;
            if manifest {
                show::read_manifests(ctx, &mut shown)?;
            }
            match look.format {
                Format::Text if manifest => manifests(&shown)?,
                format => printer::answer(&shown, format.into())?,
            }
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
            let text = read_text(std::io::stdin().lock())?;
            let received = receive::receive(ctx, receive::updates(&text)?, &wanted)?;
            printer::answer(&received, look.format.into())?;
            return Ok(verdict(received.is_good(), received.is_invalid()));
        }
        Act::Write { revision, manifest, look } => {
            let commits = show::commits(ctx, &revision)?;
            let evidence = plan::load(ctx)?.evidence;
            let on_disk = OnDisk { layouts: ctx.layouts() };
            let full = manifest || evidence.notes == Notes::Full;
            let manner = Manner { sign: evidence.sign, manifests: full.then_some(&on_disk) };
            let wrote = write::write_commits(ctx, commits, manner)?;
            printer::answer(&wrote, look.format.into())?;
            false
        }
        Act::Push { remote, patience, detach: true, look, .. } => {
            let sending = sending::send_later(ctx, remote.as_deref(), patience.limit())?;
            printer::answer(&sending, look.format.into())?;
            false
        }
        Act::Push { remote, patience, detached, look, .. } => {
            if detached {
                sending::let_go(ctx)?;
            }
            let pushed = remote::push_within(ctx, remote.as_deref(), patience.limit())?;
            printer::answer(&pushed, look.format.into())?;
            !pushed.alarms.is_empty()
        }
        Act::Fetch { remote, patience, look } => {
            let fetched = remote::fetch(ctx, remote.as_deref(), patience.limit())?;
            printer::answer(&fetched, look.format.into())?;
            !fetched.alarms.is_empty() || !fetched.refused.is_empty()
        }
        Act::Rewrite { look } => {
            let pairs = rewrite::pairs(&stdin()?)?;
            // In the middle of a rebase the configuration may be anything; the notes are there all the same.
            let sign = plan::load(ctx).ok().and_then(|config| config.evidence.sign);
            let rewritten = rewrite::rewrite(&ctx.repo, &pairs, sign, ctx.clock.now())?;
            printer::answer(&rewritten, look.format.into())?;
            false
        }
        Act::Compact { dry_run, look } => {
            let sign = plan::load(ctx)?.evidence.sign;
            printer::answer(&compact(ctx, sign, dry_run)?, look.format.into())?;
            false
        }
        Act::Rebuild { dry_run, look } => {
            let rebuilt = rebuild(ctx, dry_run)?;
            printer::answer(&rebuilt, look.format.into())?;
            !rebuilt.broken.is_empty() || !rebuilt.refused.is_empty()
        }
    };
    Ok(ExitCode::from(if doubtful { 6 } else { 0 }))
}

/// Returns the exit code: what is not to be believed weighs more than what is not proven.
fn verdict(is_good: bool, is_invalid: bool) -> ExitCode {
    ExitCode::from(if is_invalid { 6 } else { u8::from(!is_good) })
}

/// Prints manifests as they were on disk. Others wrote them, so that on a terminal they are made harmless.
fn manifests(shown: &Shown) -> Result<(), Failure> {
    let bytes = Manifests(shown).text();
    if bytes.is_empty() && !shown.is_doubtful() {
        let message = "no manifest went along with these notes, or none that is still here";
        return Err(Refusal::new(Kind::Rejected, message)
            .hint("`git orchestrate start --notes=full` sends it along")
            .into());
    }
    match printer::stdout_is_terminal() {
        true => printer::document(untrusted(&String::from_utf8_lossy(&bytes)).with_lines().to_string())?,
        false => printer::document(&bytes)?,
    }
    for refused in shown.commits.iter().flat_map(|of| &of.refused) {
        eprintln!("warning: {}", untrusted(&refused.why));
    }
    Ok(())
}

/// Reads all of stdin, up to more than any rebase has to say.
fn stdin() -> Result<String, Failure> {
    const MOST: u64 = 64 << 20;
    if std::io::stdin().is_terminal() {
        return Err(Refusal::usage("no commits are named on stdin")
            .hint("`echo OLD NEW | git orchestrate evidence rewrite`")
            .into());
    }
    read_text(std::io::stdin().take(MOST))
}

fn read_text(mut from: impl Read) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).context("cannot read stdin")?;
    let no_text = |_| Refusal::usage("stdin is no UTF-8 text").hint("each line names commits by their ids");
    Ok(String::from_utf8(bytes).map_err(no_text)?)
}
