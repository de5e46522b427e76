//! Which run a request is about, read from disk.

use anyhow::{Context as _, Result};

use super::{Context, Refusal, fleet};
use crate::git::WorktreeInfo;
use crate::id::TaskId;
use crate::run::approval::{Approval, Waiting};
use crate::run::liveness::{self, Liveness};
use crate::run::manifest::{ChildRun, Manifest, StageEntry};
use crate::run::shell;
use crate::store::approvals::Desk;
use crate::store::catalog::{self, Found, State, Wanted};
use crate::store::lease::Lease;
use crate::sys::process;

/// Finds and reads the run that is meant, in any worktree of the repository.
pub fn run(ctx: &Context, task: Option<&TaskId>, wanted: &Wanted) -> Result<(Found, State)> {
    // Runs of other worktrees are looked at only if no run of this one is meant.
    let mut found = match catalog::find(std::slice::from_ref(&ctx.layout), task, wanted) {
        Ok(found) => found,
        Err(_) => catalog::find(&ctx.layouts(), task, wanted)?,
    };
    let state = catalog::read(&found.paths).with_context(|| format!("cannot read run `{}`", found.run))?;
    let worktrees = ctx.repo.worktrees().unwrap_or_default();
    found.layout = ctx.home_of(&found.layout, &state.manifest, &worktrees);
    if *wanted == Wanted::Latest
        && found.layout.runs == ctx.layout.runs
        && found.layout != ctx.layout
        && let Some(ours) = latest_of_ours(ctx, task, &worktrees)
    {
        return Ok(ours);
    }
    Ok((found, state))
}

/// Returns the newest run of this worktree in a folder of runs that several share.
fn latest_of_ours(
    ctx: &Context,
    task: Option<&TaskId>,
    worktrees: &[WorktreeInfo],
) -> Option<(Found, State)> {
    catalog::newest_first(std::slice::from_ref(&ctx.layout), task).find_map(|found| {
        let state = catalog::read(&found.paths).ok()?;
        let is_ours = state.manifest.parent_run_id.is_none()
            && ctx.home_of(&found.layout, &state.manifest, worktrees) == ctx.layout;
        is_ours.then_some((found, state))
    })
}

/// Returns the refusal of a stage that a run does not have.
pub fn no_stage(found: &Found, manifest: &Manifest, stage: &str) -> Refusal {
    let ids: Vec<_> = manifest.commands.iter().map(|entry| entry.id.escape_debug().to_string()).collect();
    Refusal::usage(format!("run `{}` has no stage `{}`", found.run, stage.escape_debug()))
        .hint(format!("stages of the run: {}", ids.join(", ")))
}

/// Whether a run is unfinished and nobody works on it, because it waits for a decision or has died.
pub fn is_left(ctx: &Context, found: &Found, state: &State) -> bool {
    let parked = state.manifest.parked_at.is_some() && !Lease::is_held(&found.paths.lease);
    parked || pulse(ctx, found, state).dead
}

/// What is known about the process behind a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pulse {
    pub liveness: Liveness,
    /// Whether the run is unfinished and nobody works on it.
    pub dead: bool,
}

/// Returns what to type so that a run goes on, if it does not by itself.
pub fn next(ctx: &Context, found: &Found, manifest: &Manifest, pulse: Pulse) -> Option<String> {
    if !pulse.dead {
        return None;
    }
    // A part of a run goes on with the whole, unless it is a run of its own that was only asked for with others.
    let parent = manifest.parent_run_id.as_deref().filter(|parent| {
        let parent = parent.parse().ok().map(|parent| found.sibling(parent).paths);
        parent.and_then(|paths| catalog::read(&paths).ok()).is_some_and(|it| !fleet::is_above(&it.manifest))
    });
    Some(resume(ctx, found, parent.unwrap_or(found.run.as_str())))
}

/// Returns what to type so that a run goes on, if it does not by itself, and what of it waits for a decision. What is
/// decided waits for none: where nobody works on the run, it waits for somebody who does.
pub fn outlook(
    ctx: &Context,
    found: &Found,
    manifest: &Manifest,
    pulse: Pulse,
) -> (Option<String>, Vec<Waiting>) {
    let is_decided = |it: &Question| {
        let desk = Desk::find(&it.found.layout, &it.found.task, &it.found.paths, &it.manifest);
        // One that cannot be read is none: whoever decides again is told.
        matches!(desk.seat(it.index, &it.id).unheard(), Ok(Some(_)))
    };
    let (decided, open): (Vec<_>, Vec<_>) = questions(found, manifest).into_iter().partition(is_decided);
    let is_parked = || manifest.parked_at.is_some() && !Lease::is_held(&found.paths.lease);
    let next = next(ctx, found, manifest, pulse);
    let next =
        next.or_else(|| (!decided.is_empty() && is_parked()).then(|| resume(ctx, found, found.run.as_str())));
    (next, open.into_iter().map(|it| it.waiting).collect())
}

/// Returns what to type so that a run goes on.
pub fn resume(ctx: &Context, found: &Found, run: &str) -> String {
    let there = match found.layout == ctx.layout {
        true => String::new(),
        false => format!("-C {} ", shell::word(&found.layout.root.display().to_string())),
    };
    format!("git {there}orchestrate resume {}", shell::word(run))
}

/// A stage that waits for a decision, in a run or in one of its child runs.
#[derive(Clone, Debug)]
pub struct Question {
    /// The run that has the stage.
    pub found: Found,
    pub manifest: Manifest,
    pub index: usize,
    pub id: String,
    pub waiting: Waiting,
}

/// Returns what of a run, and of its child runs that are not over, waits for a decision.
pub fn questions(found: &Found, manifest: &Manifest) -> Vec<Question> {
    if manifest.status.is_terminal() {
        return Vec::new();
    }
    let ask = |entry: &StageEntry| {
        Some(Question {
            found: found.clone(),
            manifest: manifest.clone(),
            index: entry.index,
            id: entry.id.clone(),
            waiting: entry.waiting.clone()?,
        })
    };
    let mut all: Vec<_> = manifest.commands.iter().filter_map(ask).collect();
    for child in manifest.child_runs.iter().filter(|child| !child.status.is_terminal()) {
        if let Some((found, manifest)) = child_of(found, &child.run_id) {
            all.extend(questions(&found, &manifest));
        }
    }
    all
}

/// Returns every decision about the stages of a run and of its child runs.
pub fn approvals(found: &Found, manifest: &Manifest) -> Vec<Approval> {
    let mut all = manifest.approvals.clone();
    for child in &manifest.child_runs {
        if let Some((found, manifest)) = child_of(found, &child.run_id) {
            all.extend(approvals(&found, &manifest));
        }
    }
    all
}

/// A run that another one asked for, as it is now.
#[derive(Debug)]
pub struct Child {
    /// The stage that it is.
    pub index: Option<usize>,
    pub found: Found,
    pub manifest: Manifest,
    pub pulse: Pulse,
}

/// Returns the runs that a run asked for and that are there, wherever they are.
pub fn children(ctx: &Context, manifest: &Manifest) -> Vec<Child> {
    if manifest.child_runs.is_empty() {
        return Vec::new();
    }
    let (layouts, worktrees) = (ctx.layouts(), ctx.repo.worktrees().unwrap_or_default());
    let of = |child: &ChildRun| {
        let id = child.run_id.parse().ok()?;
        // The names of all runs are looked at only for one that is not where runs are.
        let found = catalog::exact(&layouts, None, &id);
        let mut found = found.or_else(|| catalog::find(&layouts, None, &Wanted::Id(id)).ok())?;
        let state = catalog::read(&found.paths).ok()?;
        found.layout = ctx.home_of(&found.layout, &state.manifest, &worktrees);
        let pulse = pulse(ctx, &found, &state);
        let stage = |entry: &&StageEntry| entry.sub_run_id.as_deref() == Some(&child.run_id);
        let index = manifest.commands.iter().find(stage).map(|entry| entry.index);
        Some(Child { index, found, manifest: state.manifest, pulse })
    };
    manifest.child_runs.iter().filter_map(of).collect()
}

fn child_of(parent: &Found, child: &str) -> Option<(Found, Manifest)> {
    let found = parent.sibling(child.parse().ok()?);
    let state = catalog::read(&found.paths).ok()?;
    Some((found, state.manifest))
}

/// Looks whether somebody works on a run.
pub fn pulse(ctx: &Context, found: &Found, state: &State) -> Pulse {
    let liveness = liveness::liveness(&state.manifest, state.heartbeat, ctx.clock.now());
    let dead = !state.manifest.status.is_terminal()
        && state.manifest.parked_at.is_none()
        && match state.manifest.owner() {
            // On this machine the kernel knows, also when a stage has removed the lease.
            Some(owner) if owner.host == process::host() => {
                !Lease::is_held(&found.paths.lease) && !process::is_alive(owner)
            }
            // Elsewhere, and for runs of the reference, only the heartbeat speaks.
            _ => liveness.stale && !Lease::is_held(&found.paths.lease),
        };
    Pulse { liveness, dead }
}
