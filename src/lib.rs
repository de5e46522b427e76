//! `git orchestrate` runs a project's declared pipelines in a git worktree and keeps evidence of
//! what ran on which tree.
//!
//! ```text
//! argv ─► request ─► plan ─► events ─► manifest ─► answer
//! ```
//!
//! The modules stand here in the order in which they use each other: each uses only those above
//! it, and a test (`tests/it/architecture.rs`) holds the code to that.
//!
//! **What things are** (values only: no disk, no clock, no process):
//! - [`id`]: names from outside, checked once
//! - [`pipeline`]: what could run, and the [`pipeline::plan::Plan`] of what will
//! - [`guardrail`]: what guardrails judge, and their verdicts
//! - [`run`]: one execution: its events, and the manifest that is their sum
//! - [`proof`]: what may be believed about a tree, and why
//! - [`output`]: what stages print: masked, kept as text, made harmless for a terminal
//!
//! **The outside world**, one folder per neighbour:
//! - [`sys`]: the machine: clock, environment, files, processes
//! - [`runner`]: drives a plan; all it learns comes out as events
//! - [`git`]: the repository
//! - [`store`]: `.runs/` and `out/`
//! - [`net`]: whoever is told about a run
//!
//! **What a user asks for, and what they see**:
//! - [`ops`]: one file per request
//! - [`render`]: the look of each answer, as text and as JSON
//! - [`cli`]: flags, dispatch, failures and exit codes

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests set their own stage"))]

pub mod id;
pub mod pipeline;
pub mod guardrail;
pub mod run;
pub mod proof;
pub mod output;
pub mod sys;
pub mod runner;
pub mod git;
pub mod store;
pub mod net;
pub mod ops;
pub mod render;
pub mod cli;
