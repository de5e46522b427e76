//! Replaying a snapshot that was kept, or one from another machine.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::replay::{Replay, Replayed, replay};
use super::{list, restore};
use crate::id::TaskId;
use crate::ops::host::SharedWatch;
use crate::ops::start::{cancelled, with_interrupts};
use crate::ops::{Context, Refusal, learning};
use crate::run::learning::{Scenario, Verdict};
use crate::run::stamp::Stamp;
use crate::store::snapshots::beside;
use crate::sys::fs::{self, Appender};
use crate::sys::process;

/// No scenario is longer than this.
const LARGEST: u64 = 4 << 20;

/// What is replayed.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// A digest or an id; with an archive of its own a whole digest.
    pub snapshot: String,
    pub archive: Option<PathBuf>,
    /// The file that says what to run; by default the one beside the archive.
    pub scenario: Option<PathBuf>,
    /// What to run, instead of a scenario.
    pub command: Option<String>,
    pub limit: Option<std::time::Duration>,
    /// To whom runs belong that make the side worktree ready, where the archive is from elsewhere.
    pub task: TaskId,
}

/// A replay that came to an end.
#[derive(Debug)]
pub struct Repeated {
    pub digest: String,
    pub scenario: Scenario,
    pub replayed: Replayed,
}

/// One line about a replay, beside the archive.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: Stamp,
    actor: String,
    status: Verdict,
    reason: Option<&'a str>,
    seconds: u64,
}

/// Replays a snapshot once more.
pub fn again(ctx: &Context, wanted: &Wanted, watch: &SharedWatch) -> Result<Repeated> {
    let (archive, digest, snapshot) = match &wanted.archive {
        None => {
            let found = list::find(ctx, &wanted.snapshot)?;
            let digest = found.snapshot.digest.clone();
            // One of another repository is to prove itself, as an archive from elsewhere is.
            let own = list::Own::of(ctx)?.has(&found.snapshot);
            (found.archive, digest, own.then_some(found.snapshot))
        }
        Some(archive) => (archive.clone(), wanted.snapshot.clone(), None),
    };
    let file = restore::open(&archive, &digest)?;
    let scenario = scenario(ctx, wanted, &archive)?;
    let settings = learning::settings(ctx)?;
    let (replayed, cancelled) = with_interrupts(async |interrupts| {
        let asked = Replay {
            archive: file,
            snapshot: snapshot.as_ref(),
            task: snapshot.as_ref().map_or(&wanted.task, |it| &it.task_id),
            scenario: &scenario,
            limit: wanted.limit.unwrap_or(settings.timeout),
            environment: &settings.environment,
            log: None,
        };
        let replayed = replay(ctx, asked, watch, interrupts).await?;
        let cancelled = interrupts.first().map(|_| cancelled(interrupts, "before the replay was over"));
        Ok((replayed, cancelled))
    })?;
    if wanted.archive.is_none() {
        let line = Line {
            timestamp: ctx.clock.now(),
            actor: process::whoami(&ctx.env),
            status: replayed.verdict,
            reason: replayed.reason.as_deref(),
            seconds: replayed.seconds,
        };
        let mut line = serde_json::to_vec(&line).expect("a line has string keys");
        line.push(b'\n');
        Appender::open(&beside(&archive, "replays.ndjson"))?.append(&line)?;
    }
    match cancelled {
        Some(cancelled) => Err(cancelled.into()),
        None => Ok(Repeated { digest, scenario, replayed }),
    }
}

fn scenario(ctx: &Context, wanted: &Wanted, archive: &Path) -> Result<Scenario> {
    if let Some(command) = &wanted.command {
        return Ok(Scenario {
            id: "command-line".to_owned(),
            entrypoint: command.clone(),
            commands: vec![command.clone()],
            validation: Default::default(),
            context: Default::default(),
            generated_at: None,
            cwd: None,
            environment: Default::default(),
            timeout_seconds: None,
        });
    }
    let path = wanted.scenario.clone().unwrap_or_else(|| beside(archive, "scenario.json"));
    if wanted.scenario.is_none() && !path.exists() {
        return Err(Refusal::usage("nobody has said what to run on this snapshot")
            .hint("say it: `git orchestrate snapshot replay SNAPSHOT -- COMMAND`, or with `--scenario FILE`")
            .into());
    }
    read_scenario(ctx, &path)
}

/// Reads what a file says is to be run.
pub fn read_scenario(ctx: &Context, path: &Path) -> Result<Scenario> {
    let such_as =
        "a scenario looks like `{\"id\": \"x\", \"entrypoint\": \"make\", \"commands\": [\"make\"]}`";
    let bytes = fs::read_regular(path, LARGEST).map_err(|err| {
        let message = format!("the scenario `{}` cannot be read: {}", path.display(), err.source);
        Refusal::usage(message).hint("name a file that is there, or say the command itself: `-- COMMAND`")
    })?;
    let scenario: Scenario = serde_json::from_slice(&bytes)
        .map_err(|err| Refusal::usage(format!("`{}` is no scenario: {err}", path.display())).hint(such_as))?;
    if scenario.timeout_seconds == Some(0) {
        let message = format!("`{}`: `timeout_seconds` leaves no time at all", path.display());
        return Err(Refusal::usage(message).hint("say 1 or more, or leave it out").into());
    }
    let folder = scenario.cwd.as_deref().unwrap_or("");
    if leads_out(ctx, Path::new(folder)) {
        return Err(Refusal::usage(format!("`{}` leads out of the work tree", folder.escape_debug())))
            .context("the scenario cannot be replayed");
    }
    Ok(scenario)
}

/// Whether a path, relative to the root of the project, leads out of the work tree that this is in.
pub fn leads_out(ctx: &Context, path: &Path) -> bool {
    let root = ctx.root.strip_prefix(ctx.repo.work_tree()).unwrap_or(Path::new(""));
    let mut depth = root.components().count();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
}
