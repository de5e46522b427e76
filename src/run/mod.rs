//! One execution of a plan: its events, and the manifest that is their sum.

pub mod stamp;
pub mod shell;
pub mod snapshot;
pub mod status;
pub mod git_keys;
pub mod approval;
pub mod key;
pub mod fix;
pub mod manifest;
pub mod event;
pub mod exec;
pub mod learning;
pub mod liveness;
pub mod summary;
pub mod metrics;
pub mod tally;
pub mod look_back;
pub mod retention;
pub mod coverage;
