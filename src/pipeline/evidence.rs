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
    /// Whether a finished run leaves a git note.
    pub notes: bool,
    /// Whether records are signed; as the person's commits are, if nothing is said.
    pub sign: Option<bool>,
    /// For how many days a record counts; for ever if nothing is said.
    pub max_age_days: Option<u64>,
    /// Whether records of others count if an allowed signer signed them.
    pub accept_signed: bool,
    /// The file of allowed signers, relative to the root of the repository.
    pub signers: Option<String>,
}
