//! The program as its users see it, on real repositories.
#![allow(clippy::disallowed_methods, reason = "tests set their own stage")]

#[macro_use]
mod fixture;
mod listener;
mod witness;

mod approve;
mod architecture;
mod audit;
mod bisect;
mod cancel;
mod completions;
mod concurrency;
mod config;
mod crash;
mod detach;
mod docs;
mod docs_sync;
mod exec;
mod explain;
mod doctor;
mod endurance;
mod evidence;
mod evidence_upkeep;
mod faults;
mod files;
mod group;
mod init;
mod guard_budget;
mod guard_docs;
mod guard_runs;
mod guard_spec;
mod hook;
mod hooks;
mod layouts;
mod gc;
mod list;
mod logs;
mod man;
mod metrics;
mod migrate;
mod output;
mod parallel;
mod plan;
mod processes;
mod push;
mod resume;
mod reuse;
mod samples;
mod schemas;
mod signatures;
mod start;
mod status;
mod subpipeline;
mod telling;
mod trees;
