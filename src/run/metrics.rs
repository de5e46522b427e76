//! One line of metrics per finished run, and the totals over many lines (`contract-core.md` §7.7, §7.8).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::guardrail::Outcome;
use crate::run::manifest::{Manifest, PrivacyDecision, StageVerdict};
use crate::run::stamp::Stamp;
use crate::run::status::{RunStatus, StageStatus};

/// One line of `metrics.json`, keys in the reference's order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricsLine {
    pub run_id: String,
    pub task_id: String,
    pub pipeline_id: String,
    pub status: RunStatus,
    pub started_at: Option<Stamp>,
    pub completed_at: Option<Stamp>,
    pub duration_seconds: Option<f64>,
    pub commands_passed: usize,
    pub commands_failed: usize,
    pub guardrails_present: bool,
    pub recorded_at: Stamp,
    pub artifact_path: String,
    pub child_runs: usize,
    pub control_plane_status: String,
    pub scheduler_mode: Option<String>,
    pub instance_stats: Vec<InstanceStats>,
    pub privacy_mode: Option<String>,
    pub privacy_events: Vec<PrivacyDecision>,
    pub handle_count: usize,
    pub tfgrpo_epoch: Option<i64>,
    pub tfgrpo_group_id: Option<String>,
    pub tfgrpo_group_size: Option<i64>,
    pub tool_calls: u64,
    pub token_total: u64,
    pub cost_usd: f64,
    pub latency_ms: f64,
    pub tool_stats: Vec<Value>,
    pub learning_validation_status: Option<String>,
    pub learning_snapshot_status: Option<String>,
    pub learning_scenario_status: Option<String>,
    pub learning_crystalizer_status: Option<String>,
    pub learning_alerts: usize,
    pub learning_group_id: Option<String>,
    pub learning_review_rejections: u64,
    pub learning_review_latency_ms: Option<f64>,
    pub learning_regressions_detected: u64,
    pub learning_pattern_promoted: u64,
    pub learning_pattern_deprecated: u64,
    pub learning_throughput_candidates: u64,
    /// Extension: the tree that was executed; null if it moved meanwhile.
    #[serde(default)]
    pub tree: Option<String>,
    /// Extension: the stages that have an end.
    #[serde(default)]
    pub stages: Vec<StageFacts>,
    /// What guardrails said that ran as stages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guardrails: Vec<GuardrailLine>,
}

/// How one stage of the run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageFacts {
    pub id: String,
    pub status: StageStatus,
    pub duration_seconds: Option<f64>,
    /// How often the run began it, resumes included.
    pub attempts: usize,
    /// Whether it passed on a retry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flaky: bool,
}

/// What one guardrail said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GuardrailLine {
    pub stage: String,
    pub rule: String,
    pub outcome: Outcome,
    pub dry_run: bool,
    pub findings: usize,
    /// The reason that somebody gave to let it pass.
    pub override_reason: Option<String>,
}

/// One instance that worked on the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceStats {
    pub instance_id: String,
    pub capability: String,
    pub status: String,
    pub attempts: usize,
    pub recovery_events: usize,
}

/// The decisions that a line repeats at most: a line must not grow with what stages print.
const MAX_EVENTS: usize = 100;

/// Returns the line of a run that ended.
pub fn line(manifest: &Manifest, at: Stamp) -> MetricsLine {
    let duration =
        manifest.completed_at.zip(manifest.started_at).map(|(end, start)| end.seconds_since(start));
    let count = |status| manifest.commands.iter().filter(|entry| entry.status == status).count();
    let group = |key: &str| manifest.tfgrpo.as_ref()?.get(key);
    let tools = |key: &str| manifest.tfgrpo.as_ref()?.get("tool_metrics")?.get(key);
    let learned = |pointer: &str| manifest.learning.as_ref()?.pointer(pointer);
    let learning = |pointer: &str| Some(learned(pointer)?.as_str()?.to_owned());
    let count_of = |pointer: &str| learned(pointer).and_then(Value::as_u64).unwrap_or(0);
    MetricsLine {
        run_id: manifest.run_id.to_string(),
        task_id: manifest.task_id.to_string(),
        pipeline_id: manifest.pipeline_id.clone(),
        status: manifest.status,
        started_at: manifest.started_at,
        completed_at: manifest.completed_at,
        duration_seconds: duration,
        commands_passed: count(StageStatus::Succeeded),
        commands_failed: count(StageStatus::Failed),
        guardrails_present: manifest.guardrail_status.as_ref().is_some_and(|status| status.present),
        recorded_at: at,
        artifact_path: manifest.artifact_root.clone(),
        child_runs: manifest.child_runs.len(),
        control_plane_status: manifest
            .control_plane
            .as_ref()
            .and_then(|section| section.pointer("/validation/status")?.as_str())
            .unwrap_or("unknown")
            .to_owned(),
        scheduler_mode: manifest.scheduler.as_ref().map(|scheduler| scheduler.mode.clone()),
        instance_stats: manifest
            .scheduler
            .iter()
            .flat_map(|scheduler| &scheduler.assignments)
            .map(|assignment| InstanceStats {
                instance_id: assignment.instance_id.clone(),
                capability: assignment.capability.clone(),
                status: assignment.status.clone(),
                attempts: assignment.attempts.len(),
                recovery_events: 0,
            })
            .collect(),
        privacy_mode: manifest.privacy.as_ref().map(|privacy| privacy.mode.clone()),
        privacy_events: manifest
            .privacy
            .iter()
            .flat_map(|privacy| &privacy.decisions)
            .take(MAX_EVENTS)
            .cloned()
            .collect(),
        handle_count: manifest.handles.as_ref().map_or(0, Vec::len),
        tfgrpo_epoch: group("epoch").and_then(Value::as_i64),
        tfgrpo_group_id: group("group_id").and_then(Value::as_str).map(str::to_owned),
        tfgrpo_group_size: group("group_size").and_then(Value::as_i64),
        tool_calls: tools("tool_calls").and_then(Value::as_u64).unwrap_or(0),
        token_total: tools("token_total").and_then(Value::as_u64).unwrap_or(0),
        cost_usd: tools("cost_usd").and_then(Value::as_f64).unwrap_or(0.0),
        latency_ms: tools("latency_ms").and_then(Value::as_f64).unwrap_or(0.0),
        tool_stats: tools("per_tool").and_then(Value::as_array).cloned().unwrap_or_default(),
        learning_validation_status: learning("/validation/status"),
        learning_snapshot_status: learning("/snapshot/status"),
        learning_scenario_status: learning("/scenario/status"),
        learning_crystalizer_status: learning("/crystalizer/status"),
        learning_alerts: learned("/alerts").and_then(Value::as_array).map_or(0, Vec::len),
        learning_group_id: learning("/validation/grouping/id"),
        learning_review_rejections: count_of("/review/rejections"),
        learning_review_latency_ms: learned("/review/latency_ms").and_then(Value::as_f64),
        learning_regressions_detected: count_of("/regressions/detected"),
        learning_pattern_promoted: count_of("/pattern_hygiene/promoted"),
        learning_pattern_deprecated: count_of("/pattern_hygiene/deprecated"),
        learning_throughput_candidates: count_of("/throughput/candidates"),
        tree: manifest.git.as_ref().filter(|git| git.moved != Some(true)).and_then(|git| git.tree.clone()),
        stages: stages(manifest),
        guardrails: manifest
            .guardrails
            .iter()
            .take(MAX_EVENTS)
            .map(|StageVerdict { stage, verdict, .. }| GuardrailLine {
                stage: stage.clone(),
                rule: verdict.rule.clone(),
                outcome: verdict.outcome,
                dry_run: verdict.dry_run,
                findings: verdict.findings.len(),
                override_reason: verdict.overridden.as_ref().map(|given| given.reason.clone()),
            })
            .collect(),
    }
}

/// Returns what is known about the stages of a run that have an end.
pub fn stages(manifest: &Manifest) -> Vec<StageFacts> {
    let attempts = |index| {
        let attempts = manifest.attempts.iter().flatten();
        attempts.filter(|attempt| attempt.stages.contains(&index)).count().max(1)
    };
    let ended = manifest.commands.iter().filter(|entry| {
        entry.started_at.is_some() && !matches!(entry.status, StageStatus::Pending | StageStatus::Running)
    });
    ended
        .map(|entry| StageFacts {
            id: entry.id.clone(),
            status: entry.status,
            duration_seconds: entry
                .completed_at
                .zip(entry.started_at)
                .map(|(end, start)| end.seconds_since(start))
                .map(|took| (took - entry.waited_again_ms.unwrap_or(0) as f64 / 1000.0).max(0.0)),
            attempts: attempts(entry.index),
            flaky: entry.flaky,
        })
        .collect()
}

/// Sums over the lines of one task, enough to write every aggregate without reading the lines again.
///
/// A run that was resumed has several lines; only its last one counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// The first line ever.
    pub baseline: Option<Baseline>,
    pub runs: u64,
    pub succeeded: u64,
    pub durations: u64,
    pub duration_sum: f64,
    pub missing_instance_stats: u64,
    pub missing_privacy_events: u64,
    pub missing_control_plane_status: u64,
    /// What was learned from runs that succeeded, which have one line only.
    #[serde(default)]
    pub learning: Learned,
    /// The runs whose last line did not succeed: only they can have another one.
    pub unfinished: BTreeMap<String, Counted>,
}

/// How learning from runs went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    pub validated: u64,
    pub failed: u64,
    pub stalled: u64,
    pub manual: u64,
    pub snapshots_failed: u64,
    pub alerts: u64,
    pub candidates: u64,
}

impl Learned {
    fn add(&mut self, line: &CountedLine) {
        match line.learning_validation_status.as_deref() {
            Some("validated") => self.validated += 1,
            Some("snapshot_failed") => self.failed += 1,
            Some("stalled_snapshot") => self.stalled += 1,
            Some("needs_manual_scenario") => self.manual += 1,
            _ => {}
        }
        self.snapshots_failed +=
            u64::from(line.learning_snapshot_status.as_deref() == Some("snapshot_failed"));
        self.alerts += line.learning_alerts;
        self.candidates += line.learning_throughput_candidates;
    }
}

/// `metrics/baseline.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    pub run_id: String,
    pub recorded_at: Stamp,
    pub status: RunStatus,
    pub duration_seconds: Option<f64>,
    pub completion_rate: f64,
}

impl Baseline {
    fn of(line: &CountedLine) -> Self {
        Self {
            run_id: line.run_id.clone(),
            recorded_at: line.recorded_at,
            status: line.status,
            duration_seconds: line.duration_seconds,
            completion_rate: if line.status == RunStatus::Succeeded { 1.0 } else { 0.0 },
        }
    }
}

/// What a line added to the totals, so that a later line of the same run can replace it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    pub duration: Option<f64>,
    pub missing: [bool; 3],
}

/// The part of a line that the totals need. Lines of the reference lack some keys in old versions.
#[derive(Clone, Debug, Deserialize)]
pub struct CountedLine {
    pub run_id: String,
    pub status: RunStatus,
    pub recorded_at: Stamp,
    #[serde(default)]
    pub duration_seconds: Option<f64>,
    #[serde(default)]
    instance_stats: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    privacy_events: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    control_plane_status: Option<String>,
    #[serde(default)]
    learning_validation_status: Option<String>,
    #[serde(default)]
    learning_snapshot_status: Option<String>,
    #[serde(default)]
    learning_alerts: u64,
    #[serde(default)]
    learning_throughput_candidates: u64,
    /// Lines of the reference have no such key.
    #[serde(default)]
    stages: Option<serde::de::IgnoredAny>,
}

impl CountedLine {
    /// Whether this program wrote the line: it gives a run that succeeded no other one.
    pub fn is_ours(&self) -> bool {
        self.stages.is_some()
    }
}

impl From<&MetricsLine> for CountedLine {
    fn from(line: &MetricsLine) -> Self {
        Self {
            run_id: line.run_id.clone(),
            status: line.status,
            recorded_at: line.recorded_at,
            duration_seconds: line.duration_seconds,
            instance_stats: line.instance_stats.iter().map(|_| serde::de::IgnoredAny).collect(),
            privacy_events: line.privacy_events.iter().map(|_| serde::de::IgnoredAny).collect(),
            control_plane_status: Some(line.control_plane_status.clone()),
            learning_validation_status: line.learning_validation_status.clone(),
            learning_snapshot_status: line.learning_snapshot_status.clone(),
            learning_alerts: line.learning_alerts as u64,
            learning_throughput_candidates: line.learning_throughput_candidates,
            stages: Some(serde::de::IgnoredAny),
        }
    }
}

impl Totals {
    /// Counts lines that were written by anybody: the reference gives a run that succeeded another
    /// line when it is resumed.
    pub fn of(lines: impl IntoIterator<Item = CountedLine>) -> Self {
        let mut last: Vec<CountedLine> = Vec::new();
        let mut places = BTreeMap::new();
        let mut totals = Self::default();
        for line in lines {
            totals.baseline.get_or_insert_with(|| Baseline::of(&line));
            match places.get(&line.run_id) {
                Some(place) => last[*place] = line,
                None => {
                    places.insert(line.run_id.clone(), last.len());
                    last.push(line);
                }
            }
        }
        last.iter().for_each(|line| totals.add(line));
        totals
    }

    /// Counts one line; a line of a run that was counted before replaces that.
    pub fn add(&mut self, line: &CountedLine) {
        self.baseline.get_or_insert_with(|| Baseline::of(line));
        if let Some(before) = self.unfinished.remove(&line.run_id) {
            self.runs -= 1;
            self.durations -= u64::from(before.duration.is_some());
            self.duration_sum -= before.duration.unwrap_or(0.0);
            self.miss(before.missing, false);
        }
        let missing = [
            line.instance_stats.is_empty(),
            line.privacy_events.is_empty(),
            line.control_plane_status.as_deref().is_none_or(|status| matches!(status, "" | "unknown")),
        ];
        self.runs += 1;
        self.durations += u64::from(line.duration_seconds.is_some());
        self.duration_sum += line.duration_seconds.unwrap_or(0.0);
        self.miss(missing, true);
        if line.status == RunStatus::Succeeded {
            self.succeeded += 1;
            self.learning.add(line);
        } else {
            self.unfinished.insert(line.run_id.clone(), Counted { duration: line.duration_seconds, missing });
        }
    }

    fn miss(&mut self, missing: [bool; 3], add: bool) {
        let counters = [
            &mut self.missing_instance_stats,
            &mut self.missing_privacy_events,
            &mut self.missing_control_plane_status,
        ];
        for (counter, missing) in counters.into_iter().zip(missing) {
            if missing {
                *counter = if add { *counter + 1 } else { counter.saturating_sub(1) };
            }
        }
    }

    /// Returns `metrics/post-rollout.json`.
    pub fn post_rollout(&self, at: Stamp) -> Value {
        let rate = ratio(self.succeeded, self.runs);
        serde_json::json!({
            "total_runs": self.runs,
            "succeeded_runs": self.succeeded,
            "completion_rate": rate,
            "meets_threshold": rate >= 0.95,
            "updated_at": at,
        })
    }

    /// Returns `metrics/completeness.json`.
    pub fn completeness(&self, at: Stamp) -> Value {
        let missing =
            self.missing_instance_stats + self.missing_privacy_events + self.missing_control_plane_status;
        let share = ratio(missing, self.runs * 3);
        serde_json::json!({
            "checked_fields": ["instance_stats", "privacy_events", "control_plane_status"],
            "missing_counts": {
                "instance_stats": self.missing_instance_stats,
                "privacy_events": self.missing_privacy_events,
                "control_plane_status": self.missing_control_plane_status,
            },
            "missing_field_ratio": share,
            "meets_threshold": share < 0.05,
            "updated_at": at,
        })
    }

    /// Returns `metrics/mttr-delta.json` of `out/`; nothing before a run with a duration.
    pub fn mttr_delta(&self, at: Stamp) -> Option<Value> {
        let baseline = self.baseline.as_ref()?.duration_seconds?;
        if self.durations == 0 {
            return None;
        }
        let current = self.duration_sum / self.durations as f64;
        let reduction = if baseline > 0.0 { (baseline - current) / baseline } else { 0.0 };
        Some(serde_json::json!({
            "baseline_mttr_seconds": baseline,
            "current_mttr_seconds": current,
            "reduction_percent": reduction,
            "meets_threshold": baseline <= 0.0 || current <= 0.6 * baseline,
            "updated_at": at,
        }))
    }

    /// Returns `out/<task>/state.json`. Its counters belong to the learning pipeline.
    pub fn state(&self, at: Stamp) -> Value {
        let Learned { validated, failed, stalled, manual, snapshots_failed, alerts, candidates } =
            &self.learning;
        serde_json::json!({
            "updated_at": at,
            "safety": {
                "validation": {"passed": validated, "failed": failed, "stalled": stalled, "manual": manual},
                "reviewer": {"rejections": 0, "average_latency_ms": null},
                "regression_detection": {"detected": 0},
                "pattern_hygiene": {"promoted": 0, "deprecated": 0},
            },
            "throughput": {"candidates": candidates},
            "alerts": {
                "total": alerts,
                "snapshot_failed": snapshots_failed,
                "stalled_snapshot": stalled,
                "needs_manual_scenario": manual,
            },
        })
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(run: &str, status: &str, seconds: f64) -> CountedLine {
        serde_json::from_value(serde_json::json!({
            "run_id": run, "status": status, "recorded_at": "2026-01-01T00:00:00Z", "duration_seconds": seconds,
            "instance_stats": [{}], "privacy_events": [], "control_plane_status": "passed",
        }))
        .unwrap()
    }

    #[test]
    fn only_the_last_line_of_a_run_counts() {
        let mut totals = Totals::default();
        for line in [counted("a", "failed", 3.0), counted("a", "failed", 5.0), counted("a", "succeeded", 1.0)]
        {
            totals.add(&line);
        }
        totals.add(&counted("b", "failed", 2.0));
        assert_eq!((totals.runs, totals.succeeded, totals.durations), (2, 1, 2));
        assert_eq!(totals.duration_sum, 3.0);
        assert_eq!(totals.missing_privacy_events, 2);
    }

    #[test]
    fn lines_of_the_reference_may_repeat_a_run_that_succeeded() {
        let lines =
            [("a", "failed", 3.0), ("b", "failed", 2.0), ("a", "succeeded", 1.0), ("a", "succeeded", 4.0)];
        let totals = Totals::of(lines.map(|(run, status, seconds)| counted(run, status, seconds)));
        assert_eq!((totals.runs, totals.succeeded, totals.duration_sum), (2, 1, 6.0));
        assert_eq!(totals.baseline.map(|line| line.duration_seconds), Some(Some(3.0)));
    }
}
