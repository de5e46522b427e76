//! What could run: pipelines and their stages, as a project declares them.

pub mod builtin;
pub mod config;
pub mod plan;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::id::{PipelineId, StageId};

/// Stages that run in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pipeline {
    pub id: PipelineId,
    pub title: String,
    pub description: Option<String>,
    /// What the pipeline is for; recorded as the capabilities of its run.
    pub tags: Vec<String>,
    /// Whether a run without a passing guard stage gets the advice to add one.
    pub guardrails_required: bool,
    pub stages: Vec<Stage>,
    pub source: Source,
}

/// Who declared a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The project, in `codex.orchestrator.json`.
    User,
    /// This program.
    Default,
}

/// One entry of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stage {
    pub id: StageId,
    pub title: String,
    pub action: Action,
    pub hints: Hints,
}

/// What a stage does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Action {
    Command(Command),
    Subpipeline {
        pipeline: PipelineId,
        /// Whether the parent goes on when the child fails or does not exist.
        optional: bool,
    },
}

/// A text for `/bin/sh -c`, and how to run it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Command {
    pub command: String,
    /// The folder to run in, relative to the repository's root.
    pub cwd: Option<String>,
    /// Variables added last; their values are not expanded.
    pub env: BTreeMap<String, String>,
    /// Whether the run goes on after a failure, with the stage recorded as `skipped`.
    pub allow_failure: bool,
    /// Replaces the summary that would be made of the output.
    pub summary_hint: Option<String>,
    pub session: Option<Session>,
}

/// A label that stages share. Each command is a shell of its own all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Session {
    pub id: Option<String>,
    pub reuse: Option<bool>,
    pub persist: Option<bool>,
}

/// What a stage tells the planner (`contract-core.md` §8.1, `plan`, and §10.8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hints {
    pub runnable: bool,
    pub aliases: Vec<String>,
    pub default_target: bool,
    pub requires_cloud: bool,
    /// Lower case; only recorded.
    pub execution_mode: Option<String>,
}

impl Default for Hints {
    fn default() -> Self {
        Self { runnable: true, aliases: Vec::new(), default_target: false, requires_cloud: false, execution_mode: None }
    }
}

/// What a project declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    pub pipelines: Vec<Pipeline>,
    pub default_pipeline: Option<PipelineId>,
}
