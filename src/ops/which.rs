//! Which run a request is about, read from disk.

use anyhow::{Context as _, Result};

use super::Context;
use crate::git::WorktreeInfo;
use crate::id::TaskId;
use crate::run::liveness::{self, Liveness};
use crate::run::manifest::Manifest;
use crate::store::catalog::{self, Found, State, Wanted};
use crate::store::lease::Lease;
use crate::sys::process;

/// Finds and reads the run that is meant, in any worktree of the repository.
pub fn run(ctx: &Context, task: Option<&TaskId>, wanted: &Wanted) -> Result<(Found, State)> {
    // Asking git for its worktrees is only needed when this one does not answer.
    let here = catalog::find(std::slice::from_ref(&ctx.layout), task, wanted);
    let found = match here {
        Ok(found) => found,
        Err(_) => catalog::find(&ctx.layouts(), task, wanted)?,
    };
    let mut found = found;
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
    // A part of a run goes on with the whole.
    let run = manifest.parent_run_id.as_deref().unwrap_or(found.run.as_str());
    let there = match found.layout == ctx.layout {
        true => String::new(),
        false => format!("-C '{}' ", found.layout.root.display()),
    };
    Some(format!("git {there}orchestrate resume {run}"))
}

/// Looks whether somebody works on a run.
pub fn pulse(ctx: &Context, found: &Found, state: &State) -> Pulse {
    let liveness = liveness::liveness(&state.manifest, state.heartbeat, ctx.clock.now());
    let dead = !state.manifest.status.is_terminal()
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
