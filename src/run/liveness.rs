//! The age of a heartbeat, and what it says about a run.

use crate::run::manifest::Manifest;
use crate::run::stamp::Stamp;

/// How often a run beats, in seconds.
pub const HEARTBEAT_SECONDS: u32 = 5;
/// The age in seconds from which a heartbeat is stale.
pub const STALE_SECONDS: u32 = 30;

/// What a heartbeat says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Liveness {
    /// Seconds since the last heartbeat; none if there was none.
    pub heartbeat_age: Option<f64>,
    /// Whether an unfinished run has gone without a heartbeat for too long.
    pub stale: bool,
}

/// Returns what the newest heartbeat says at `now`. `heartbeat_file` is what `.heartbeat` holds.
pub fn liveness(manifest: &Manifest, heartbeat_file: Option<Stamp>, now: Stamp) -> Liveness {
    let last = manifest.heartbeat_at.max(heartbeat_file);
    let age = last.map(|last| now.seconds_since(last));
    let quiet = match age {
        Some(age) => age >= f64::from(manifest.heartbeat_stale_after_seconds),
        // A run that died before its first beat counts from its beginning.
        None => manifest
            .started_at
            .is_none_or(|at| now.seconds_since(at) >= f64::from(manifest.heartbeat_stale_after_seconds)),
    };
    // A run that waits for a decision has nobody whose heart could beat.
    let should_beat = !manifest.status.is_terminal() && manifest.parked_at.is_none();
    Liveness { heartbeat_age: age, stale: quiet && should_beat }
}
