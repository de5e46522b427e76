//! What a project says about the machine's budget, and what a stage takes of it.

use std::num::NonZeroU16;

use serde::Serialize;

use crate::id::ResourceId;

/// The key `budget` at the top of the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// How many commands of all runs may run at the same time; as many as there are cores if nothing is said.
    pub jobs: Option<NonZeroU16>,
    /// How many bytes of memory stay free: a stage that would leave less waits for others.
    pub memory_floor: Option<u64>,
    pub pressure: Pressure,
}

/// In how many percent of the last ten seconds something may have waited for the machine before a stage waits
/// for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pressure {
    pub cpu: Option<u8>,
    pub io: Option<u8>,
    pub memory: Option<u8>,
}

/// What a command takes of the budget for as long as it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// How many tokens; one if nothing is said.
    pub weight: Option<NonZeroU16>,
    /// What nobody else may use meanwhile.
    pub resources: Vec<ResourceId>,
}
