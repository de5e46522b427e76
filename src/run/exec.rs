//! An ad hoc command in the words of its answer: the lines of `exec --jsonl`, and the summary that ends
//! them and is the run's `run-summary.json` (`contract-core.md` §15.3). camelCase, as the reference has it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::run::stamp::Stamp;
use crate::run::status::RunStatus;

/// What the one tool of these runs is called.
pub const TOOL: &str = "cli:command";

/// The word for a command that ran outside of a sandbox.
pub const SANDBOX: &str = "escalated";

/// One line: something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Line<T> {
    #[serde(rename = "type")]
    pub kind: String,
    pub timestamp: Stamp,
    pub payload: T,
}

/// The line `run:summary`.
pub type SummaryLine = Line<ExecSummary>;

/// What ran, how it ended, and who was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecSummary {
    /// The status of the run, as its manifest has it.
    pub status: RunStatus,
    pub run: Run,
    pub result: CommandResult,
    pub command: Command,
    pub outputs: Outputs,
    pub logs: Logs,
    pub tool_run: Option<ToolRun>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    pub notifications: Notifications,
}

/// The run of the command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    pub id: String,
    pub task_id: String,
    pub pipeline_id: String,
    pub manifest: String,
    pub artifact_root: String,
    pub summary: Option<String>,
    /// Whether the tree moved while the command ran. An extension.
    #[serde(default)]
    pub void: bool,
}

/// How the command ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommandResult {
    /// 128 if a signal ended it; null if it could not be started.
    pub exit_code: Option<i64>,
    pub signal: Option<String>,
    pub duration_ms: u64,
    /// `succeeded` or `failed`.
    pub status: String,
    pub sandbox_state: String,
    pub correlation_id: String,
    pub attempts: u32,
}

/// What was executed. Secrets are masked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    pub argv: Vec<String>,
    /// The words as one text for `/bin/sh -c`.
    pub shell: String,
    pub cwd: Option<String>,
    pub session_id: String,
    pub persisted: bool,
}

/// The last 64 KiB of each stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outputs {
    pub stdout: String,
    pub stderr: String,
}

/// Where everything that was printed stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Logs {
    pub runner: String,
    pub command: Option<String>,
}

/// One use of a tool (`contract-core.md` §6.11).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolRun {
    pub id: String,
    pub tool: String,
    pub approval_source: String,
    pub retry_count: u32,
    pub sandbox_state: String,
    pub status: String,
    pub started_at: Stamp,
    pub completed_at: Stamp,
    pub attempt_count: u32,
    /// The beginning, the first pieces of output, and the end; everything stands in the logs.
    pub events: Vec<Value>,
    pub metadata: Value,
}

/// What the use of tools came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    pub tool_calls: u64,
    pub token_total: u64,
    pub cost_usd: f64,
    pub latency_ms: u64,
    pub per_tool: Vec<ToolMetrics>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tfgrpo: Option<GroupNames>,
}

/// What the use of one tool came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolMetrics {
    pub tool: String,
    pub tokens: u64,
    pub cost_usd: f64,
    pub latency_ms: u64,
    pub attempts: u32,
    pub status: String,
    pub sandbox_state: String,
}

/// The group that the run belongs to, as the environment names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupNames {
    pub epoch: Option<u64>,
    pub group_size: Option<u64>,
    pub group_id: Option<String>,
}

/// Who was told. Secrets in URLs are masked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notifications {
    pub targets: Vec<String>,
    pub delivered: Vec<String>,
    pub failures: Vec<Undelivered>,
}

/// A target that could not be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Undelivered {
    pub target: String,
    pub error: String,
}

impl GroupNames {
    /// Returns the section `tfgrpo` of a run that counts no tools (`contract-core.md` §6.9).
    pub fn section(&self) -> Value {
        serde_json::json!({
            "epoch": self.epoch,
            "group_id": self.group_id,
            "group_size": self.group_size,
            "tool_metrics": null,
            "experiences": null,
        })
    }
}

impl Metrics {
    /// Returns what one command came to. `stdout` is the end of what it printed.
    pub fn of_command(stdout: &str, latency_ms: u64, status: &str, names: GroupNames) -> Self {
        let tokens = stdout.split_whitespace().count() as u64;
        // Millionths, so that the sum has no more digits than it should.
        let cost_usd = (tokens * 2) as f64 / 1e6;
        Self {
            tool_calls: 1,
            token_total: tokens,
            cost_usd,
            latency_ms,
            per_tool: vec![ToolMetrics {
                tool: TOOL.to_owned(),
                tokens,
                cost_usd,
                latency_ms,
                attempts: 1,
                status: status.to_owned(),
                sandbox_state: SANDBOX.to_owned(),
            }],
            tfgrpo: (names != GroupNames::default()).then_some(names),
        }
    }

    /// Returns the section `tfgrpo` of the manifest (`contract-core.md` §6.9).
    pub fn section(&self) -> Value {
        let mut section = self.tfgrpo.clone().unwrap_or_default().section();
        section["tool_metrics"] = serde_json::json!({
            "tool_calls": self.tool_calls,
            "token_total": self.token_total,
            "cost_usd": self.cost_usd,
            "latency_ms": self.latency_ms,
            "per_tool": self.per_tool.iter().map(|tool| serde_json::json!({
                "tool": tool.tool,
                "tokens": tool.tokens,
                "cost_usd": tool.cost_usd,
                "latency_ms": tool.latency_ms,
                "attempts": tool.attempts,
                "status": tool.status,
                "sandbox_state": tool.sandbox_state,
            })).collect::<Vec<_>>(),
        });
        section
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_words_and_cost_what_the_reference_says() {
        let names = GroupNames { epoch: Some(2), ..GroupNames::default() };
        let metrics = Metrics::of_command(" one\ttwo\nthree ", 7, "succeeded", names);
        assert_eq!((metrics.token_total, metrics.cost_usd), (3, 0.000_006));
        assert_eq!(metrics.section()["epoch"], 2);
        assert_eq!(metrics.section()["tool_metrics"]["per_tool"][0]["tool"], TOOL);
        assert_eq!(Metrics::of_command("", 0, "failed", GroupNames::default()).tfgrpo, None);
    }
}
