//! `git orchestrate snapshot`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand, ValueEnum};
use jiff::SignedDuration;

use super::failure::Failure;
use super::span::{limit, span};
use super::{Format, plain_watch, wanted};
use crate::id::TaskId;
use crate::ops::gc::Action;
use crate::ops::learning::requeue::{self, Requeue};
use crate::ops::snapshot::{again, create, gc, list, restore};
use crate::ops::{Context, Place, Refusal};
use crate::pipeline::learning::Compression;
use crate::render::printer;
use crate::render::snapshot::{Collected, Listed, Replayed, Requeued, Restored, Shown};
use crate::run::learning::Verdict;
use crate::run::shell;

#[derive(Debug, Args)]
pub struct SnapshotArgs {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Take a snapshot of the work tree
    ///
    /// The same content gives the same archive, byte for byte, on any machine. Left out, and told, are files that look
    /// like secrets, that are too large, or that cannot be read.
    Create {
        /// The task that it belongs to
        #[arg(long, value_name = "ID", env = "MCP_RUNNER_TASK_ID", default_value = "0101")]
        task: TaskId,
        /// How to pack it: `zstd` is faster and smaller; by default what the configuration says, else `gzip`
        #[arg(long, value_enum, value_name = "HOW")]
        compression: Option<Packing>,
        #[command(flatten)]
        look: Look,
    },
    /// List the snapshots of this repository, newest first
    List {
        /// Only those of this task
        #[arg(long, value_name = "ID")]
        task: Option<TaskId>,
        #[command(flatten)]
        look: Look,
    },
    /// Show what is known of a snapshot, and whether its archive is as it was
    ///
    /// Exits with 6 if the archive was changed or is gone.
    Show {
        /// A digest, the id of its run, the beginning of either, or `latest`
        #[arg(value_name = "SNAPSHOT", default_value = "latest")]
        snapshot: String,
        #[command(flatten)]
        look: Look,
    },
    /// Unpack a snapshot into a new folder
    ///
    /// The digest of the archive is checked first, and nothing is ever written outside of the folder.
    Restore {
        /// A digest, the id of its run, the beginning of either, or `latest`; with `--archive` a whole digest
        #[arg(value_name = "SNAPSHOT")]
        snapshot: String,
        /// A folder that is not there yet, or empty
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
        /// Take this archive, such as one from another machine
        #[arg(long, value_name = "FILE")]
        archive: Option<PathBuf>,
        #[command(flatten)]
        look: Look,
    },
    /// Run the scenario of a snapshot on it, in a clean side worktree
    ///
    /// Exits with 0 if it holds, and with 1 if it fails or does not come to its end. The environment of the commands is
    /// a short list of variables; the work tree is not touched.
    Replay(ReplayArgs),
    /// Learn from a run once more, and say who wants that
    ///
    /// Says what to replay where nobody knew (`needs_manual_scenario`), or that another try is worth it
    /// (`stalled_snapshot`, or any other end). It stands in the run's manifest, under `learning.approvals`; the run keeps
    /// its verdict. Exits with 0 if the scenario holds, and with 1 if not.
    Requeue(RequeueArgs),
    /// Remove snapshots whose time is over
    ///
    /// A snapshot stays for 30 days, or as long as the configuration said when it was taken. It stays longer if a file of
    /// the repository, a note or another run names it, and none goes that is younger than an hour,
    /// or that another repository has put into the same `LEARNING_SNAPSHOT_DIR`.
    Gc {
        /// Remove those that are older than this, such as `7d`
        #[arg(long, value_name = "SPAN", value_parser = span)]
        older_than: Option<SignedDuration>,
        /// Only those of this task
        #[arg(long, value_name = "ID")]
        task: Option<TaskId>,
        /// Show what would become of each, and change nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        look: Look,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Packing {
    Gzip,
    Zstd,
}

impl From<Packing> for Compression {
    fn from(packing: Packing) -> Self {
        match packing {
            Packing::Gzip => Self::Gzip,
            Packing::Zstd => Self::Zstd,
        }
    }
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// A digest, the id of its run, the beginning of either, or `latest`; with `--archive` a whole digest
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// Take this archive, such as one from another machine
    #[arg(long, value_name = "FILE")]
    archive: Option<PathBuf>,
    /// Run what this file says; by default the scenario beside the archive
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    scenario: Option<PathBuf>,
    /// End it when it takes longer than this, such as `5m`; by default what the configuration says
    #[arg(long, value_name = "SPAN", value_parser = limit)]
    timeout: Option<SignedDuration>,
    /// The task of a run that sets the side worktree up, where the archive is from elsewhere
    #[arg(long, value_name = "ID", env = "MCP_RUNNER_TASK_ID", default_value = "0101")]
    task: TaskId,
    /// Run this command instead of a scenario
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, Args)]
struct RequeueArgs {
    /// Run id, a prefix that is unique, or `latest`
    #[arg(value_name = "RUN")]
    run: String,
    /// Task the run belongs to
    #[arg(long, value_name = "ID")]
    task: Option<TaskId>,
    /// Replay what this file says; by default the run's own scenario, or its template if that is filled in
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    scenario: Option<PathBuf>,
    /// Who says so, for the record; by default the user and the machine
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    actor: Option<String>,
    /// Why, for the record
    #[arg(long)]
    reason: Option<String>,
    /// Replay this command instead of a scenario
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, Args)]
struct Look {
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(ctx: &Context, args: SnapshotArgs) -> Result<ExitCode, Failure> {
    match args.act {
        Act::Create { task, compression, look } => {
            let shown = Shown::taken(create::create(ctx, &task, compression.map(Into::into))?);
            printer::answer(&shown, look.format.into())?;
        }
        Act::List { task, look } => {
            let snapshots = list::list(ctx, task.as_ref())?;
            printer::answer(
                // Those of all worktrees.
                &Listed { at: ctx.clock.now(), place: Place { others: false, ..ctx.place() }, snapshots },
                look.format.into(),
            )?;
        }
        Act::Show { snapshot, look } => {
            let found = list::find(ctx, &snapshot)?;
            let shown = Shown::kept(found);
            printer::answer(&shown, look.format.into())?;
            if !shown.is_intact() {
                return Ok(ExitCode::from(6));
            }
        }
        Act::Restore { snapshot, folder, archive, look } => {
            let (archive, digest) = which(ctx, &snapshot, archive)?;
            let target = ctx.env.cwd().join(folder);
            let unpacked = restore::restore(&archive, &digest, &target)?;
            printer::answer(&Restored { digest, target, unpacked }, look.format.into())?;
        }
        Act::Replay(args) => return replay(ctx, args),
        Act::Requeue(args) => return requeue(ctx, args),
        Act::Gc { older_than, task, dry_run, look } => {
            let cleared = gc::gc(ctx, &gc::SnapshotGc { task, older_than, dry_run })?;
            printer::answer(&Collected(&cleared), look.format.into())?;
            if cleared.snapshots.iter().any(|fate| fate.action == Action::Failed) {
                return Ok(ExitCode::from(4));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn replay(ctx: &Context, args: ReplayArgs) -> Result<ExitCode, Failure> {
    let ReplayArgs { snapshot, archive, scenario, timeout, task, command, look } = args;
    let (archive, snapshot) = match archive {
        Some(archive) => {
            let (archive, digest) = which(ctx, &snapshot, Some(archive))?;
            (Some(archive), digest)
        }
        None => (None, snapshot),
    };
    let wanted = again::Wanted {
        snapshot,
        archive,
        scenario: scenario.map(|path| ctx.env.cwd().join(path)),
        command: said(&command),
        limit: timeout.and_then(|span| span.try_into().ok()),
        task,
    };
    let repeated = again::again(ctx, &wanted, &plain_watch())?;
    printer::answer(&Replayed(&repeated), look.format.into())?;
    Ok(code_of(repeated.replayed.verdict))
}

fn requeue(ctx: &Context, args: RequeueArgs) -> Result<ExitCode, Failure> {
    let RequeueArgs { run, task, scenario, actor, reason, command, look } = args;
    let asked = Requeue {
        task,
        run: wanted(Some(&run))?,
        scenario: scenario.map(|path| ctx.env.cwd().join(path)),
        command: said(&command),
        actor: actor.unwrap_or_else(|| crate::sys::process::whoami(&ctx.env)),
        reason,
    };
    let requeued = requeue::requeue(ctx, &asked, &plain_watch())?;
    let status = requeued.section.validation.status;
    printer::answer(&Requeued(&requeued), look.format.into())?;
    Ok(code_of(status))
}

/// Returns the words of a command as one line for the shell; nothing if there are none.
fn said(command: &[String]) -> Option<String> {
    (!command.is_empty()).then(|| shell::words(command.iter().map(String::as_str)))
}

fn code_of(verdict: Verdict) -> ExitCode {
    match verdict {
        Verdict::Validated => ExitCode::SUCCESS,
        Verdict::NeedsManualScenario => ExitCode::from(2),
        _ => ExitCode::from(1),
    }
}

/// Returns an archive, and the digest that it must have.
fn which(ctx: &Context, wanted: &str, archive: Option<PathBuf>) -> Result<(PathBuf, String), Failure> {
    let Some(archive) = archive else {
        let found = list::find(ctx, wanted)?;
        return Ok((found.archive, found.snapshot.digest));
    };
    if wanted.len() != 64 || !wanted.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let message = format!("`{}` is no whole digest", wanted.escape_debug());
        let hint = "with `--archive` write all 64 digits, which `sha256sum FILE` prints too";
        return Err(Refusal::usage(message).hint(hint).into());
    }
    Ok((ctx.env.cwd().join(archive), wanted.to_ascii_lowercase()))
}
