//! `status`: where a run stands.

use anyhow::Result;

use super::Context;
use super::which::{self, Pulse};
use crate::id::TaskId;
use crate::run::manifest::Manifest;
use crate::store::catalog::{Found, Wanted};

/// Where a run stands.
#[derive(Debug)]
pub struct RunState {
    pub found: Found,
    pub manifest: Manifest,
    pub pulse: Pulse,
    /// Why the manifest file could not be used, if the journal stood in for it.
    pub rebuilt: Option<String>,
}

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
    Ok(RunState { found, pulse, manifest: state.manifest, rebuilt: state.rebuilt })
}
