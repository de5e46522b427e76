//! Running a scenario on what a snapshot holds: in a clean side worktree, never in the work tree of the user.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use super::restore::unpack_into;
use crate::git::Commit;
use crate::ops::host::Masking;
use crate::ops::{Context, Kind, Refusal};
use crate::output::mask::Masker;
use crate::run::learning::{Scenario, USUAL, Verdict};
use crate::sys::fs::{self, Appender};
use crate::sys::process;
use crate::sys::shell::{self, Ended};

/// So many side worktrees are kept that nobody uses.
const IDLE: usize = 8;
/// More than this of what a command prints is not kept.
const MOST_OUTPUT: u64 = 10 << 20;

/// What is replayed.
pub struct Replay<'a> {
    /// The archive, whose digest was checked.
    pub archive: File,
    /// The commit that was checked out when it was taken, which may not be known here.
    pub head: Option<&'a str>,
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
    /// The last that the commands printed, masked.
    pub output: String,
}

/// Replays a scenario. An error means that it could not even begin.
pub fn replay(ctx: &Context, replay: Replay<'_>) -> Result<Replayed> {
    let Replay { archive, head, scenario, limit, environment, log } = replay;
    let masking = Masking::new(&ctx.env, None);
    let mut log = Log::open(ctx, log, &masking)?;
    if scenario.commands.iter().all(|command| command.trim().is_empty()) {
        let reason = Some("the scenario has no command".to_owned());
        return Ok(Replayed {
            verdict: Verdict::NeedsManualScenario,
            reason,
            seconds: 0,
            output: String::new(),
        });
    }
    let inside = ctx.root.strip_prefix(ctx.repo.work_tree()).map(Path::to_owned).map_err(|_| {
        Refusal::new(Kind::Usage, format!("`{}` is in no worktree of the repository", ctx.root.display()))
    })?;
    let mut slot = ctx.repo.take_slot(IDLE).context("there is no side worktree to replay in")?;
    if let Some(run) = slot.last_run() {
        // Its process was killed, and what it had started would go on in our folder.
        process::members(run).into_iter().for_each(|pid| process::signal(pid, Signal::KILL));
    }
    let commit = match head.map(|head| ctx.repo.commit(head)).transpose()?.flatten() {
        Some(commit) => commit,
        None => Commit { id: String::new(), tree: ctx.repo.empty_tree()?, subject: String::new() },
    };
    let there = slot.reposition(&commit).context("the side worktree cannot be made clean")?;
    slot.distrust();
    clear(there.work_tree())?;
    let unpacked = unpack_into(archive, there.work_tree())?;
    log.line(&format!(
        "Side worktree {}: {} files, {} links",
        slot.number(),
        unpacked.files,
        unpacked.links
    ))?;
    let root = join(there.work_tree(), &inside);
    let folder = join(&root, Path::new(scenario.cwd.as_deref().unwrap_or("")));
    let env = environment_of(ctx, scenario, environment, &root);
    let limit = scenario.timeout_seconds.map_or(limit, |seconds| limit.min(Duration::from_secs(seconds)));
    let begin = Instant::now();
    let mut verdict = (Verdict::Validated, None);
    for command in scenario.commands.iter().filter(|command| !command.trim().is_empty()) {
        log.line(&format!("$ {command}"))?;
        let words = ["/bin/sh", "-c", command].map(OsString::from);
        let left = limit.saturating_sub(begin.elapsed());
        let ended = shell::run(&words, &folder, &env, left, &mut |bytes| log.printed(bytes))
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
    Ok(Replayed { verdict, reason, seconds: begin.elapsed().as_secs(), output: log.tail() })
}

/// Joins paths so that an empty one leaves no slash at the end.
fn join(base: &Path, more: &Path) -> PathBuf {
    more.iter().fold(base.to_owned(), |path, part| path.join(part))
}

/// Removes everything from a work tree but what links it to its repository.
fn clear(top: &Path) -> Result<()> {
    let entries = std::fs::read_dir(top).with_context(|| format!("cannot look into `{}`", top.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_name() != ".git" {
            match entry.file_type()?.is_dir() {
                true => fs::remove_tree(&entry.path())?,
                false => fs::remove(&entry.path())?,
            }
        }
    }
    Ok(())
}

/// What the commands are given: what the scenario names, and what the stage declared.
fn environment_of(
    ctx: &Context,
    scenario: &Scenario,
    more: &[String],
    root: &Path,
) -> Vec<(OsString, OsString)> {
    let named = |name: &str| {
        USUAL.contains(&name) || more.iter().chain(&scenario.environment.allow).any(|known| known == name)
    };
    let own = |name: &str| name == "LEARNING_PIPELINE_ENABLED" || name.starts_with("GIT_");
    let handed =
        ctx.env.vars().filter(|(name, _)| name.to_str().is_some_and(|name| named(name) && !own(name)));
    let handed = handed.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let set = scenario.environment.set.iter().map(|(name, value)| (name.into(), value.into()));
    let root = (OsString::from("CODEX_ORCHESTRATOR_REPO_ROOT"), root.as_os_str().to_owned());
    handed.chain([root]).chain(set).collect()
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
