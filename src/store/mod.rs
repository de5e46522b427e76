//! What runs leave on disk: `.runs/` and `out/`.

pub mod verdicts;
pub mod layout;
pub mod journal;
pub mod recorder;
pub mod snapshots;
pub mod lease;
pub mod pointers;
pub mod lines;
pub mod ledger;
pub mod legacy;
pub mod trash;
pub mod metrics;
pub mod metrics_lines;
pub mod history;
pub mod drift;
pub mod catalog;
pub mod stream_trash;
pub mod streams;
pub mod neighbours;
pub mod approvals;
