//! Running a scenario on what a snapshot holds: in a clean side worktree, never in the work tree of the user.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::again::leads_out;
use super::restore::unpack_into;
use crate::git::{Commit, Content};
use crate::id::TaskId;
use crate::ops::Context;
use crate::ops::host::{Masking, SharedWatch};
use crate::ops::side::{Side, slots_of};
use crate::output::mask::Masker;
use crate::run::learning::{Scenario, USUAL, Verdict};
use crate::run::snapshot::Snapshot;
use crate::runner::interrupt::Interrupts;
use crate::sys::fs::Appender;
use crate::sys::process::LINEAGE;
use crate::sys::shell::{self, Ended};

/// More than this of what a command prints is not kept.
const MOST_OUTPUT: u64 = 10 << 20;

/// What is replayed.
pub struct Replay<'a> {
    /// The archive, whose digest was checked.
    pub archive: File,
    /// What is known of it; nothing of an archive from elsewhere.
    pub snapshot: Option<&'a Snapshot>,
    /// To whom runs belong that make the side worktree ready.
    pub task: &'a TaskId,
    pub scenario: &'a Scenario,
    /// How long it may take, unless the scenario says less.
    pub limit: Duration,
    /// More variables that it is given.
    pub environment: &'a [String],
    /// Where what happens is told; nowhere if nobody wants to know.
    pub log: Option<&'a Path>,
}

/// What a replay came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    pub verdict: Verdict,
    /// Why, unless it is validated.
    pub reason: Option<String>,
    pub seconds: u64,
    /// The run that made the side worktree ready, if there was one.
    pub setup_run: Option<String>,
    /// The last that the commands printed, masked.
    pub output: String,
}

/// Replays a scenario. An error means that it could not even begin.
///
/// The side worktree gets what `slots` in the configuration of the snapshot says: what `carry` names, from the worktree of
/// `ctx`, unless the archive is from elsewhere, which is to prove itself; and the commands of `setup` run, as a run.
pub async fn replay(
    ctx: &Context,
    replay: Replay<'_>,
    watch: &SharedWatch,
    interrupts: &mut Interrupts,
) -> Result<Replayed> {
    let Replay { archive, snapshot, task, scenario, limit, environment, log } = replay;
    let masking = Masking::new(&ctx.env, None);
    let mut log = Log::open(ctx, log, &masking)?;
    let inside = Path::new(scenario.cwd.as_deref().unwrap_or(""));
    let unclear = |reason: &str, setup_run| {
        let (verdict, output) = (Verdict::NeedsManualScenario, String::new());
        Ok(Replayed { verdict, reason: Some(masking.masked(reason)), seconds: 0, setup_run, output })
    };
    if scenario.commands.iter().all(|command| command.trim().is_empty()) {
        return unclear("the scenario has no command", None);
    }
    let astray = format!("the folder `{}` leads out of the work tree", inside.display());
    if leads_out(ctx, inside) {
        return unclear(&astray, None);
    }
    let mut side = Side::take_below(ctx, watch)?;
    let head = snapshot.and_then(|it| it.head.as_deref());
    let head = match head.map(|head| ctx.repo.commit(head)).transpose()?.flatten() {
        Some(head) => head,
        None => Commit { id: String::new(), tree: ctx.repo.empty_tree()?, subject: String::new() },
    };
    let there = side.emptied_at(ctx, &head)?;
    let unpacked = unpack_into(archive, there.repo.work_tree())?;
    log.line(&format!(
        "Side worktree {}: {} files, {} links",
        side.number(),
        unpacked.files,
        unpacked.links
    ))?;
    let slots = slots_of(&there);
    if snapshot.is_some() {
        side.carry(ctx, &slots)?;
    }
    let mut setup_run = None;
    if !slots.setup.is_empty() {
        let tree = tree_of(&there, snapshot)?;
        let content = Commit { tree, ..head };
        let failed = side.set_up(&there, &slots, &content, task, watch, interrupts).await?;
        setup_run = side.last_run().map(str::to_owned);
        log.line(&format!("Set up by run {}", setup_run.as_deref().unwrap_or("-")))?;
        if let Some(failed) = failed {
            let reason = format!("run `{}` did not set the side worktree up", failed.run_id);
            let verdict = Verdict::StalledSnapshot;
            log.line(&format!("{}: {reason}", verdict.word()))?;
            let output = String::new();
            return Ok(Replayed { verdict, reason: Some(reason), seconds: 0, setup_run, output });
        }
    }
    let folder = join(&there.root, inside);
    // A link in the archive may lead anywhere.
    let top = there.repo.work_tree().canonicalize();
    if folder.canonicalize().is_ok_and(|folder| top.is_ok_and(|top| !folder.starts_with(top))) {
        return unclear(&astray, setup_run);
    }
    if !folder.is_dir() {
        let reason = format!("the snapshot has no folder `{}`", inside.display());
        let reason = masking.masked(&reason);
        let (verdict, output) = (Verdict::SnapshotFailed, String::new());
        log.line(&format!("{}: {reason}", verdict.word()))?;
        return Ok(Replayed { verdict, reason: Some(reason), seconds: 0, setup_run, output });
    }
    // Should we be killed, whoever takes the side worktree next ends what goes on in it.
    let mark = format!("replay-{}", uuid::Uuid::new_v4().simple());
    side.used_by(&mark)?;
    let env = environment_of(ctx, scenario, environment, &there.root, task, &mark);
    let limit = scenario.timeout_seconds.map_or(limit, |seconds| limit.min(Duration::from_secs(seconds)));
    let begin = Instant::now();
    let mut verdict = (Verdict::Validated, None);
    for command in scenario.commands.iter().filter(|command| !command.trim().is_empty()) {
        log.line(&format!("$ {command}"))?;
        let words = ["/bin/sh", "-c", command].map(OsString::from);
        let left = limit.saturating_sub(begin.elapsed());
        let mut printed = |bytes: &[u8]| log.printed(bytes);
        let ended =
            shell::run(&words, &folder, &env, left, &mut printed, async || interrupts.is_over().await)
                .await
                .with_context(|| format!("`{command}` cannot be started in `{}`", folder.display()))?;
        log.end_of_output()?;
        verdict = match ended {
            Ended::Code(0) => continue,
            Ended::Code(code) => {
                (Verdict::SnapshotFailed, Some(format!("`{command}` failed with exit code {code}")))
            }
            Ended::Signal(signal) => {
                (Verdict::StalledSnapshot, Some(format!("`{command}` was ended by {signal}")))
            }
            Ended::TooLong => {
                (Verdict::StalledSnapshot, Some(format!("it took longer than {} s", limit.as_secs())))
            }
            Ended::Stopped => {
                (Verdict::StalledSnapshot, interrupts.seen().map(|it| format!("ended by {it}")))
            }
        };
        break;
    }
    let (verdict, reason) = verdict;
    let reason = reason.map(|reason| masking.masked(&reason));
    log.line(&format!(
        "{}{}",
        verdict.word(),
        reason.as_ref().map(|it| format!(": {it}")).unwrap_or_default()
    ))?;
    Ok(Replayed { verdict, reason, seconds: begin.elapsed().as_secs(), setup_run, output: log.tail() })
}

/// Returns the tree of what was unpacked, which the repository holds from then on.
fn tree_of(there: &Context, snapshot: Option<&Snapshot>) -> Result<String> {
    if let Some(snapshot) = snapshot
        && let Some(known) = there.repo.commit(&snapshot.commit)?
    {
        return Ok(known.tree);
    }
    let listing = there.repo.listing().context("cannot list what was unpacked")?;
    let content = Content {
        changed: listing.files.iter().map(|it| it.path.as_slice()).collect(),
        without: listing.gone.iter().map(Vec::as_slice).collect(),
        ..Content::default()
    };
    Ok(there.repo.take(&there.repo.head()?, &content)?.tree)
}

/// Joins paths so that an empty one leaves no slash at the end.
fn join(base: &Path, more: &Path) -> PathBuf {
    more.iter().fold(base.to_owned(), |path, part| path.join(part))
}

/// What the commands are given: what the scenario names, and what the stage declared.
fn environment_of(
    ctx: &Context,
    scenario: &Scenario,
    more: &[String],
    root: &Path,
    task: &TaskId,
    mark: &str,
) -> Vec<(OsString, OsString)> {
    let named = |name: &str| {
        USUAL.contains(&name) || more.iter().chain(&scenario.environment.allow).any(|known| known == name)
    };
    let own = |name: &str| name == "LEARNING_PIPELINE_ENABLED" || name.starts_with("GIT_");
    let handed =
        ctx.env.vars().filter(|(name, _)| name.to_str().is_some_and(|name| named(name) && !own(name)));
    let handed = handed.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let set = scenario.environment.set.iter().map(|(name, value)| (name.into(), value.into()));
    // As a stage has them.
    let task = |name: &str| (OsString::from(name), OsString::from(task.as_str()));
    let root = (OsString::from("CODEX_ORCHESTRATOR_REPO_ROOT"), root.as_os_str().to_owned());
    let usual = [root, task("MCP_RUNNER_TASK_ID"), task("CODEX_ORCHESTRATOR_TASK_ID")];
    let lineage = match ctx.env.get(LINEAGE).filter(|lineage| !lineage.is_empty()) {
        Some(outer) => format!("{outer}:{mark}"),
        None => mark.to_owned(),
    };
    handed.chain(usual).chain(set).chain([(LINEAGE.into(), lineage.into())]).collect()
}

/// The log of a replay.
struct Log<'a> {
    ctx: &'a Context,
    file: Option<Appender>,
    masking: &'a Masking,
    masker: Masker,
    kept: u64,
    tail: Vec<u8>,
    ends_line: bool,
}

impl<'a> Log<'a> {
    fn open(ctx: &'a Context, path: Option<&Path>, masking: &'a Masking) -> Result<Self> {
        let masker = masking.masker();
        let file = path.map(Appender::open).transpose()?;
        Ok(Self { ctx, file, masking, masker, kept: 0, tail: Vec::new(), ends_line: true })
    }

    fn line(&mut self, text: &str) -> Result<()> {
        let line = format!("[{}] {}\n", self.ctx.clock.now(), self.masking.masked(text));
        if let Some(file) = &mut self.file {
            file.append(line.as_bytes())?;
        }
        Ok(())
    }

    fn printed(&mut self, bytes: &[u8]) {
        let mut safe = Vec::new();
        self.masker.push(bytes, &mut safe);
        self.keep(&safe);
    }

    fn keep(&mut self, bytes: &[u8]) {
        const TAIL: usize = 4096;
        self.tail.extend_from_slice(bytes);
        if self.tail.len() > 2 * TAIL {
            self.tail.drain(..self.tail.len() - TAIL);
        }
        if self.kept < MOST_OUTPUT && !bytes.is_empty() {
            self.kept += bytes.len() as u64;
            self.ends_line = bytes.ends_with(b"\n");
            // A log that cannot be written is told by the next line of ours.
            let _ = self.file.as_mut().map(|file| file.append(bytes));
        }
    }

    fn end_of_output(&mut self) -> Result<()> {
        let mut rest = Vec::new();
        let fresh = self.masking.masker();
        std::mem::replace(&mut self.masker, fresh).finish(&mut rest);
        self.keep(&rest);
        if !self.ends_line {
            self.keep(b"\n");
        }
        if self.kept >= MOST_OUTPUT {
            self.line("The rest of what it printed is not kept.")?;
        }
        Ok(())
    }

    fn tail(&self) -> String {
        String::from_utf8_lossy(&self.tail).into_owned()
    }
}
