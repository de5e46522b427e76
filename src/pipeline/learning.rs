//! What a project says about learning from its runs.

use std::time::Duration;

/// The section `learning` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learning {
    /// Whether each run that succeeds is learned from; the environment may say otherwise.
    pub enabled: bool,
    /// Files larger than this are left out of a snapshot.
    pub max_file_bytes: u64,
    /// Files that would make all of them together larger than this are left out.
    pub max_total_bytes: u64,
    /// For how many days a snapshot is kept.
    pub retention_days: u64,
    /// How long the replay of a scenario may take.
    pub timeout: Duration,
    /// Variables that a replay is given, beside the usual ones.
    pub environment: Vec<String>,
    pub crystalizer: Crystalizer,
}

/// Who makes a pattern of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crystalizer {
    /// The program; nobody if it is not said.
    pub command: Option<String>,
    /// The model that it is asked to use.
    pub model: Option<String>,
    /// What it may cost, in millionths of a dollar.
    pub budget: u64,
    /// How long it may take.
    pub timeout: Duration,
}

impl Default for Learning {
    fn default() -> Self {
        Self {
            enabled: false,
            max_file_bytes: 100 << 20,
            max_total_bytes: 2 << 30,
            retention_days: 30,
            timeout: Duration::from_secs(600),
            environment: Vec::new(),
            crystalizer: Crystalizer::default(),
        }
    }
}

impl Default for Crystalizer {
    fn default() -> Self {
        Self { command: None, model: None, budget: 500_000, timeout: Duration::from_secs(300) }
    }
}
