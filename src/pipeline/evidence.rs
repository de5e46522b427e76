//! What a project says about its evidence: which tools and variables a verdict depends on, how long it
//! counts, and who is believed.

use std::collections::BTreeSet;

use serde::Serialize;

/// The keys `fingerprint`, `fingerprintEnv`, `reuse` and `evidence` at the top of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Commands that print what a verdict depends on, such as `rustc -V`.
    pub tools: BTreeSet<String>,
    /// Names of variables on which a verdict depends.
    pub variables: BTreeSet<String>,
    pub notes: Notes,
    /// For how many days a record counts; for ever if nothing is said.
    pub max_age_days: Option<u64>,
    /// Whether records of others count if an allowed signer signed them.
    pub accept_signed: bool,
    /// The file of allowed signers, relative to the root of the repository.
    pub signers: Option<String>,
}

/// What a finished run leaves in git notes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Notes {
    #[default]
    No,
    /// The record.
    Yes,
    /// The record, and the manifest beside it.
    Full,
}
