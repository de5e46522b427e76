//! The look of each answer, as text and as JSON, and of the narration while something runs.

pub mod approve;
pub mod audit;
pub mod bisect;
pub mod docs;
pub mod each;
pub mod evidence;
pub mod exec;
pub mod explain;
pub mod flakes;
pub mod doctor;
pub mod init;
pub mod gc;
pub mod guard;
pub mod list;
pub mod logs;
pub mod metrics;
pub mod migrate;
pub mod openmetrics;
pub mod plan;
pub mod printer;
pub mod progress;
pub mod sarif;
pub mod start;
pub mod status;
pub mod upkeep;
