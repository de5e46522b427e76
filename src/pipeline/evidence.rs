//! What a project says about its evidence: which tools and variables a verdict depends on, and how
//! long it counts.

use std::collections::BTreeSet;

use serde::Serialize;

/// The keys `fingerprint`, `fingerprintEnv` and `evidence` at the top of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Commands that print what a verdict depends on, such as `rustc -V`.
    pub tools: BTreeSet<String>,
    /// Names of variables on which a verdict depends.
    pub variables: BTreeSet<String>,
    /// For how many days a record counts; for ever if nothing is said.
    pub max_age_days: Option<u64>,
}
