//! `status`: where a run stands.

use anyhow::Result;

use super::which::{self, Child, Pulse};
use super::{Context, verify};
use crate::id::TaskId;
use crate::run::approval::Waiting;
use crate::run::manifest::Manifest;
use crate::store::catalog::{Found, State, Wanted};

/// Where a run stands.
#[derive(Debug)]
pub struct RunState {
    pub found: Found,
    pub manifest: Manifest,
    pub pulse: Pulse,
    /// What to type so that the run goes on, if it does not by itself.
    pub next: Option<String>,
    /// What of the run, and of its child runs, waits for a decision.
    pub waiting: Vec<Waiting>,
    /// The runs that this one asked for, as they are now.
    pub children: Vec<Child>,
    /// Why the manifest file could not be used, if the journal stood in for it.
    pub rebuilt: Option<String>,
    pub integrity: Integrity,
}

/// Whether the manifest is what the journal adds up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Integrity {
    Sound,
    /// It is not: why, as a sentence.
    Broken(String),
    /// The journal is too long to look on the way, or the run is one of the reference.
    Unchecked,
}

/// The longest journal, in bytes, that `status` reads as a whole.
const QUICK: u64 = 16 * 1024 * 1024;

impl RunState {
    /// Whether there is nothing more to wait for.
    pub fn is_over(&self) -> bool {
        self.manifest.status.is_terminal() || self.pulse.dead
    }
}

/// Looks where a run stands.
pub fn status(ctx: &Context, task: Option<&TaskId>, run: &Wanted) -> Result<RunState> {
    let (found, state) = which::run(ctx, task, run)?;
    let pulse = which::pulse(ctx, &found, &state);
    let (next, waiting) = which::outlook(ctx, &found, &state.manifest, pulse);
    let children = which::children(ctx, &state.manifest);
    let integrity = integrity(&found, &state.manifest);
    let State { manifest, rebuilt, .. } = state;
    Ok(RunState { found, pulse, next, waiting, children, manifest, rebuilt, integrity })
}

fn integrity(found: &Found, manifest: &Manifest) -> Integrity {
    let long = std::fs::metadata(&found.paths.journal).is_ok_and(|journal| journal.len() > QUICK);
    if long || manifest.attempts.is_none() {
        return Integrity::Unchecked;
    }
    match verify::manifest(found, &mut manifest.clone()) {
        Ok(_) => Integrity::Sound,
        Err(err) => Integrity::Broken(err.to_string()),
    }
}
