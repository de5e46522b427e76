//! What was learned from a run: the section `learning` of its manifest, and the scenario that made it succeed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::pipeline::learning::{Alerts, Channel};
use crate::run::stamp::Stamp;

/// The section `learning` of a manifest (`contract-core.md` §6.10).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Section {
    pub validation: Validation,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotState>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<ScenarioState>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crystalizer: Option<Crystalized>,
    #[serde(default)]
    pub alerts: Vec<Alert>,
    #[serde(default)]
    pub approvals: Vec<Approval>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput: Option<Throughput>,
    /// What other programs wrote; kept as it is.
    #[serde(flatten)]
    pub other: serde_json::Map<String, Value>,
}

/// Whether the scenario holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    pub mode: String,
    #[serde(default)]
    pub grouping: Option<Value>,
    pub status: Verdict,
    #[serde(default)]
    pub reason: Option<String>,
    #[serde(default)]
    pub log_path: Option<String>,
    #[serde(default)]
    pub last_error: Option<String>,
    #[serde(default)]
    pub git_status_path: Option<String>,
    #[serde(default)]
    pub git_log_path: Option<String>,
    /// Extension: the run that made the side worktree ready, where `slots.setup` asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup_run: Option<String>,
}

impl Default for Validation {
    fn default() -> Self {
        Self {
            mode: "per-task".to_owned(),
            grouping: None,
            status: Verdict::Pending,
            reason: None,
            log_path: None,
            last_error: None,
            git_status_path: None,
            git_log_path: None,
            setup_run: None,
        }
    }
}

/// What a replay came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Pending,
    /// The scenario succeeded in a clean work tree.
    Validated,
    /// There is no snapshot, or the scenario failed on it.
    SnapshotFailed,
    /// The scenario could not be brought to its end, so nobody knows.
    StalledSnapshot,
    /// Nobody knows what to run.
    NeedsManualScenario,
}

impl Verdict {
    /// Returns the word that files have.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Validated => "validated",
            Self::SnapshotFailed => "snapshot_failed",
            Self::StalledSnapshot => "stalled_snapshot",
            Self::NeedsManualScenario => "needs_manual_scenario",
        }
    }
}

/// The snapshot of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotState {
    /// The ref that keeps its commit.
    pub tag: String,
    pub commit_sha: String,
    pub tarball_path: String,
    pub tarball_digest: String,
    pub storage_path: String,
    pub retention_days: u64,
    /// `captured` or `snapshot_failed`.
    pub status: String,
    pub attempts: u32,
    pub created_at: Stamp,
    #[serde(default)]
    pub last_error: Option<String>,
    /// How many files were left out; the document beside the archive names them.
    #[serde(default)]
    pub left_out: usize,
}

/// Where a learner finds everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    pub snapshot_id: String,
    pub diff_path: Option<String>,
    pub prompt_path: Option<String>,
    pub execution_history_path: Option<String>,
    pub manifest_path: String,
    pub enqueued_at: Stamp,
    pub payload_path: String,
    pub status: String,
}

/// How the scenario was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScenarioState {
    pub path: Option<String>,
    pub generated_at: Option<Stamp>,
    pub source: ScenarioSource,
    pub status: String,
    pub attempts: u32,
    pub partial_path: Option<String>,
    pub manual_template: Option<String>,
    pub approver: Option<String>,
    pub reason: Option<String>,
}

/// What a scenario was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScenarioSource {
    ExecutionHistory,
    Prompt,
    Diff,
    /// Nothing was found, so somebody has to fill in a template.
    Template,
    Manual,
}

/// What became of the pattern.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Crystalized {
    pub candidate_path: Option<String>,
    pub model: String,
    pub prompt_pack: String,
    pub prompt_pack_stamp: Option<String>,
    pub budget_usd: f64,
    pub cost_usd: Option<f64>,
    /// `succeeded`, `skipped` or `failed`.
    pub status: String,
    pub created_at: Stamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Something that a person should look at. It is kept, and sent to nobody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    #[serde(rename = "type")]
    pub kind: String,
    pub channel: String,
    pub target: String,
    pub message: String,
    pub created_at: Stamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
}

/// What a person decided about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    pub actor: String,
    pub timestamp: Stamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it was about: `stalled_snapshot`, `needs_manual_scenario` or `requeue`.
    pub state: String,
}

/// How many patterns there are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    pub candidates: u64,
    pub active: u64,
    pub deprecated: u64,
    pub updated_at: Stamp,
}

impl Section {
    /// Adds an alert for each of the channels.
    pub fn alert(&mut self, kind: &str, channels: &[Channel], to: &Alerts, message: &str, at: Stamp) {
        self.alerts.extend(channels.iter().map(|channel| Alert {
            kind: kind.to_owned(),
            channel: channel.word().to_owned(),
            target: to.target(*channel).to_owned(),
            message: message.to_owned(),
            created_at: at,
            severity: to.severity.clone(),
        }));
    }

    /// Returns the section as the manifest has it.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("a section has string keys and finite numbers")
    }
}

/// `scenario.json`: what made a run succeed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    pub id: String,
    pub entrypoint: String,
    pub commands: Vec<String>,
    #[serde(default)]
    pub validation: Demands,
    #[serde(default)]
    pub context: Clues,
    #[serde(default)]
    pub generated_at: Option<Stamp>,
    /// The folder to run in, relative to the root; the root if it is not said.
    #[serde(default)]
    pub cwd: Option<String>,
    #[serde(default)]
    pub environment: Environment,
    /// How long all commands together may take.
    #[serde(default)]
    pub timeout_seconds: Option<u64>,
}

/// What a replay needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Demands {
    pub requires_clean_fixture: bool,
}

impl Default for Demands {
    fn default() -> Self {
        Self { requires_clean_fixture: true }
    }
}

/// What a scenario can be taken from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Clues {
    pub prompt: Option<String>,
    pub diff: Option<String>,
    #[serde(default)]
    pub execution_history: Vec<Executed>,
}

/// A command that ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Executed {
    pub command: String,
    pub exit_code: i64,
    pub cwd: Option<String>,
    pub timestamp: Option<Stamp>,
}

/// What the commands are given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Names of variables that are handed on, if they are set where it is replayed.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Variables that the stage declares.
    #[serde(default)]
    pub set: std::collections::BTreeMap<String, String>,
}

/// The variables that every replay is given.
pub const USUAL: [&str; 13] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TERM",
    "TMPDIR",
    "CARGO_HOME",
    "RUSTUP_HOME",
];

impl Clues {
    /// Returns the command to replay, and what says so: the first of what was run, what was asked for, and what was
    /// changed.
    pub fn command(&self) -> Option<(String, ScenarioSource)> {
        let executed = self.execution_history.iter().rev();
        let mut executed = executed.filter(|it| it.exit_code == 0 && !it.command.trim().is_empty());
        if let Some(executed) = executed.next() {
            return Some((executed.command.clone(), ScenarioSource::ExecutionHistory));
        }
        if let Some(command) = self.prompt.as_deref().and_then(from_prompt) {
            return Some((command, ScenarioSource::Prompt));
        }
        Some((self.diff.as_deref().and_then(from_diff)?, ScenarioSource::Diff))
    }
}

/// The first line of a fenced block, else the first inline code, else the first line after a `$`.
fn from_prompt(prompt: &str) -> Option<String> {
    let plain = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let mut lines = prompt.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("```") {
            let block = lines.by_ref().take_while(|line| !line.trim_start().starts_with("```"));
            if let Some(first) = { block }.find_map(plain) {
                return Some(first);
            }
        }
    }
    let inline = prompt.split('`').collect::<Vec<_>>();
    let mut inline =
        inline.chunks_exact(2).filter_map(|pair| plain(pair[1]).filter(|text| !text.contains('\n')));
    inline.next().or_else(|| prompt.lines().find_map(|line| plain(line.trim_start().strip_prefix("$ ")?)))
}

/// The test that belongs to the first file of a diff.
fn from_diff(diff: &str) -> Option<String> {
    let paths = diff.lines().filter_map(|line| {
        let name = line.strip_prefix("--- ").or_else(|| line.strip_prefix("+++ "))?;
        name.strip_prefix("a/").or_else(|| name.strip_prefix("b/"))
    });
    let path = { paths }.next()?.trim_end();
    let quoted = crate::run::shell::words([path]);
    let is_test =
        [".test.", ".spec.", "__tests__"].iter().any(|part| path.contains(part)) || path.ends_with(".snap");
    if is_test {
        return Some(format!("npm test {quoted}"));
    }
    (path.ends_with(".ts") || path.ends_with(".js")).then(|| format!("npm test -- {quoted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clues(history: &[(&str, i64)], prompt: &str, diff: &str) -> Clues {
        let executed = |(command, exit_code): &(&str, i64)| Executed {
            command: (*command).to_owned(),
            exit_code: *exit_code,
            cwd: None,
            timestamp: None,
        };
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Clues {
            prompt: text(prompt),
            diff: text(diff),
            execution_history: history.iter().map(executed).collect(),
        }
    }

    #[test]
    fn the_newest_success_comes_first_then_the_prompt_then_the_diff() {
        let diff = "--- a/src/x.test.ts\n+++ b/src/x.test.ts\n";
        let found = |clues: Clues| clues.command().map(|(command, _)| command);
        assert_eq!(found(clues(&[("a", 0), ("b", 0), ("c", 1)], "`x`", diff)).as_deref(), Some("b"));
        assert_eq!(
            found(clues(&[("c", 1)], "Run:\n```sh\n\n make\n```\nor `x`", diff)).as_deref(),
            Some("make")
        );
        assert_eq!(found(clues(&[], "Run `make it` or\n$ not this", "")).as_deref(), Some("make it"));
        assert_eq!(found(clues(&[], "Type\n  $ make all\n", "")).as_deref(), Some("make all"));
        assert_eq!(found(clues(&[], "Please.", diff)).as_deref(), Some("npm test src/x.test.ts"));
        assert_eq!(found(clues(&[], "", "+++ b/a b.js\n")).as_deref(), Some("npm test -- 'a b.js'"));
        assert_eq!(found(clues(&[("c", 1)], "", "+++ b/main.rs\n")), None);
    }

    #[test]
    fn a_section_of_the_reference_is_read_and_written() {
        let text = serde_json::json!({
            "validation": {"mode": "per-task", "grouping": null, "status": "pending"},
            "alerts": [], "approvals": [], "review": {"rejections": 1},
        });
        let section: Section = serde_json::from_value(text).unwrap();
        assert_eq!(section.validation, Validation::default());
        assert_eq!(section.to_value()["review"]["rejections"], 1);
    }
}
