//! What could run: pipelines and their stages, as a project declares them.

pub mod budget;
pub mod builtin;
pub mod config;
pub mod config_error;
pub mod config_merge;
pub mod config_schema;
pub mod endurance;
pub mod evidence;
pub mod goals;
pub mod goals_schema;
pub mod guardrails;
pub mod hooks;
pub mod learning;
pub mod plan;
pub mod slots;
pub mod streams;

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::id::{PipelineId, StageId};

use config_error::ConfigError;
use endurance::Retries;

/// Stages that run in order, or at the same time where `jobs` lets them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pipeline {
    pub id: PipelineId,
    pub title: String,
    pub description: Option<String>,
    /// What the pipeline is for; recorded as the capabilities of its run.
    pub tags: Vec<String>,
    /// Whether a run without a passing guard stage gets the advice to add one.
    pub guardrails_required: bool,
    /// How many commands may run at the same time, if the pipeline says so.
    pub jobs: Option<NonZeroU16>,
    /// How long its stages may take in all.
    pub timeout: Option<Duration>,
    /// Whether a stage that is proven already is not run again, if the pipeline says so.
    pub reuse: Option<bool>,
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
    /// Whoever called `exec`, with words of a command line.
    #[schemars(skip)]
    CommandLine,
    /// The project, for what makes a side worktree ready.
    #[schemars(skip)]
    SetUp,
}

/// One entry of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stage {
    pub id: StageId,
    pub title: String,
    /// The stages of the same pipeline that must end well before this one begins.
    pub needs: Vec<StageId>,
    /// How long it may take; each time, if it is run again.
    pub timeout: Option<Duration>,
    /// Whether somebody has to approve it before it begins, as its own keys say.
    pub needs_approval: bool,
    /// Pathspecs of git for what it looks at; everything if there are none.
    pub inputs: Vec<String>,
    /// Whether it is not run again if it is proven already, if the stage itself says so.
    pub reuse: Option<bool>,
    /// Whether no other stage of its pipeline runs beside it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
    pub action: Action,
    pub hints: Hints,
}

/// What a stage does.
#[expect(clippy::large_enum_variant, reason = "most stages are commands, and there are few of either")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Action {
    Command(Command),
    Subpipeline {
        pipeline: PipelineId,
        /// Whether the parent goes on when the child fails or does not exist.
        optional: bool,
    },
    /// Somebody does something, and says that it is done.
    Manual {
        instructions: Option<String>,
    },
}

impl Stage {
    /// Returns a stage that says nothing beyond what it does.
    pub fn plain(id: StageId, title: String, action: Action) -> Self {
        Self {
            id,
            title,
            needs: Vec::new(),
            timeout: None,
            needs_approval: false,
            inputs: Vec::new(),
            reuse: None,
            alone: false,
            action,
            hints: Hints::default(),
        }
    }

    /// Whether what the stage changes is meant to come back.
    pub fn fixes(&self) -> bool {
        matches!(&self.action, Action::Command(command) if command.fixes)
    }

    /// Whether somebody has to decide before the stage begins.
    pub fn asks(&self) -> bool {
        self.needs_approval || matches!(self.action, Action::Manual { .. })
    }
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
    /// How often it is run again after a failure.
    pub retries: Option<Retries>,
    /// How many bytes of memory its processes may have.
    pub memory_limit: Option<u64>,
    /// Whether it mends what it finds: what it changes is no accident.
    pub fixes: bool,
    /// What it takes of the machine's budget.
    pub share: budget::Share,
}

impl Command {
    /// Returns a command that says nothing beyond its text.
    pub fn plain(command: String) -> Self {
        Self {
            command,
            cwd: None,
            env: BTreeMap::new(),
            allow_failure: false,
            summary_hint: None,
            session: None,
            retries: None,
            memory_limit: None,
            fixes: false,
            share: budget::Share::default(),
        }
    }
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
        Self {
            runnable: true,
            aliases: Vec::new(),
            default_target: false,
            requires_cloud: false,
            execution_mode: None,
        }
    }
}

/// What a project declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    pub pipelines: Vec<Pipeline>,
    pub default_pipeline: Option<PipelineId>,
    /// How many commands may run at the same time where a pipeline does not say it.
    pub jobs: Option<NonZeroU16>,
    pub budget: budget::Budget,
    pub guardrails: guardrails::Guardrails,
    pub evidence: evidence::Evidence,
    pub hooks: hooks::Hooks,
    pub slots: slots::Slots,
    pub streams: streams::Streams,
    /// What keeps single pipelines from running, in file order; the others are not affected.
    pub flaws: Vec<Flaw>,
}

impl Config {
    /// Returns the pipeline of that name, if the project declares it.
    pub fn pipeline(&self, id: &PipelineId) -> Option<&Pipeline> {
        self.pipelines.iter().find(|pipeline| pipeline.id == *id)
    }
}

/// A pipeline that is well formed and cannot run all the same, such as one without stages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    pub pipeline: PipelineId,
    pub error: ConfigError,
}

/// How many candidates [`nearest`] looks at, so that a hint never costs more than the work.
const NEAREST_AMONG: usize = 200;

/// Returns the candidate that `word` was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| -> String {
        text.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
    };
    if word.len() > 64 {
        return None;
    }
    let word = plain(word);
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .take(NEAREST_AMONG)
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= 8)
        .map(|candidate| (strsim::osa_distance(&word, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Returns `names` as one line, shortened if there are many.
pub(crate) fn listing<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let shown = names.iter().take(20).map(|name| shown(name)).collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "none".to_owned(),
        1..=20 => shown,
        more => format!("{shown} and {} more", more - 20),
    }
}

/// Returns `text` short and on one line, with nothing a terminal would act on.
fn shown(text: &str) -> String {
    const LIMIT: usize = 160;
    let mut shown = String::new();
    for c in text.chars().take(LIMIT) {
        if is_unprintable(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    if text.chars().nth(LIMIT).is_some() {
        shown.push('…');
    }
    shown
}

/// Whether `c` acts on a terminal, or hides what is written: controls, text direction, no width.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_one_that_was_probably_meant() {
        let known = ["command", "allowFailure", "requires_cloud", "id"];
        let cases = [
            ("comand", Some("command")),
            ("allow-failure", Some("allowFailure")),
            ("requiresCloud", Some("requires_cloud")),
            ("ids", Some("id")),
            ("banana", None),
            ("", None),
        ];
        for (word, expected) in cases {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
    }

    #[test]
    fn shown_text_is_short_and_harmless() {
        assert_eq!(shown("it's \"fine\" ü"), "it's \"fine\" ü");
        assert_eq!(shown("\u{1b}[31m\u{9b}\u{202e}\n"), "\\u{1b}[31m\\u{9b}\\u{202e}\\n");
        assert_eq!(shown(&"x".repeat(1000)).chars().count(), 161);
    }
}
