//! The closing words on a run: `run-summary.json` and the items of `runs.json` (`contract-core.md` §7.6).
//!
//! Planner, builder, tester and reviewer all speak from the same manifest, so there is one verdict:
//! each of them says yes exactly if the run succeeded.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::run::manifest::{Manifest, StageEntry, StageVerdict};
use crate::run::stamp::Stamp;
use crate::run::status::{RunStatus, StageStatus};

/// The summary of a run. camelCase, as the reference has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunSummary {
    pub task_id: String,
    pub run_id: String,
    pub mode: String,
    /// What the planner chose (`contract-core.md` §10.1).
    pub plan: Value,
    pub build: Build,
    pub test: Test,
    pub review: Review,
    /// What the builder did for each subtask of a group, in the order in which they ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builds: Option<Vec<Build>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<Vec<Test>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviews: Option<Vec<Review>>,
    pub timestamp: Stamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handles: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<Value>,
    /// What guardrails said that ran as stages, each as in the manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guardrails: Vec<StageVerdict>,
}

/// A group of subtasks (`contract-core.md` §10.9).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    pub enabled: bool,
    /// How many subtasks there are.
    pub size: usize,
    /// How many of them ran.
    pub processed: usize,
    pub entries: Vec<GroupEntry>,
}

/// One subtask that ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupEntry {
    /// The place in the order in which they ran, from 1.
    pub index: usize,
    pub subtask_id: String,
    pub mode: String,
    pub build_success: bool,
    pub test_success: bool,
    pub review_approved: bool,
    /// `succeeded` or `failed`.
    pub status: String,
}

/// A subtask of a group, as it was planned.
#[derive(Clone, Debug)]
pub struct Subtask {
    pub id: String,
    /// The stage, from 1.
    pub index: usize,
    pub mode: &'static str,
}

/// What the builder did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Build {
    pub subtask_id: String,
    pub artifacts: Vec<Artifact>,
    pub mode: String,
    pub run_id: String,
    pub success: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
}

/// A file that the run left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Artifact {
    pub path: String,
    pub description: String,
}

/// What the tester found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Test {
    pub subtask_id: String,
    pub success: bool,
    pub reports: Vec<Report>,
    pub run_id: String,
}

/// One report of the tester.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    pub name: String,
    pub status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// Whether the stage passed, but not at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flaky: bool,
}

/// What the reviewer says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Review {
    pub summary: String,
    pub decision: Decision,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Decision {
    pub approved: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<String>,
}

/// Returns the summary of a run that ended. `plan` is the planner's result, `mode` what it recorded, and
/// `subtasks` are those of a group, in the order in which they run.
///
/// The summary of a group is that of the last subtask that ran; whether it is good says the whole run.
pub fn summarize(
    manifest: &Manifest,
    plan: Value,
    mode: &str,
    subtasks: Option<&[Subtask]>,
    at: Stamp,
) -> RunSummary {
    let success = manifest.status == RunStatus::Succeeded;
    let processed = subtasks.map(|subtasks| processed(manifest, subtasks));
    let last = processed.as_ref().and_then(|processed| Some(processed.last()?.0));
    let subtask_id = match last {
        Some(last) => last.id.clone(),
        None => manifest.plan_target_id.clone().unwrap_or_default(),
    };
    let is_cloud =
        |processed: &Vec<(&Subtask, &StageEntry)>| processed.iter().any(|(of, _)| of.mode == "cloud");
    let mode = match &processed {
        Some(processed) if is_cloud(processed) => "cloud",
        Some(_) => "mcp",
        None => mode,
    };
    let run_id = manifest.run_id.to_string();
    let executed = || manifest.commands.iter().filter(|entry| entry.started_at.is_some());
    let notes: Vec<_> = executed()
        .map(|entry| {
            format!("{}: {}", entry.title, entry.summary.as_deref().unwrap_or(entry.status.as_str()))
        })
        .collect();
    let mut reports: Vec<_> = executed()
        .filter(|entry| entry.status != StageStatus::Skipped)
        .map(|entry| Report {
            name: entry.id.clone(),
            status: passed(entry.status == StageStatus::Succeeded),
            details: entry.summary.clone(),
            flaky: entry.flaky,
        })
        .collect();
    if let Some(guardrails) = manifest.guardrail_status.as_ref().filter(|status| status.counts.total > 0) {
        reports.push(Report {
            name: "guardrails".to_owned(),
            status: passed(guardrails.counts.failed == 0),
            details: Some(guardrails.summary.clone()),
            flaky: false,
        });
    }
    RunSummary {
        task_id: manifest.task_id.to_string(),
        run_id: run_id.clone(),
        mode: mode.to_owned(),
        plan,
        build: Build {
            subtask_id: subtask_id.clone(),
            artifacts: vec![
                artifact(manifest.path(), "Run manifest"),
                artifact(manifest.log_path.clone(), "Journal (ndjson)"),
            ],
            mode: mode.to_owned(),
            run_id: run_id.clone(),
            success,
            notes: (!notes.is_empty()).then(|| notes.join("\n")),
        },
        test: Test { subtask_id, success, reports, run_id },
        review: Review {
            summary: format!(
                "{} {}.\nManifest: {}/manifest.json\nRunner log: {}",
                manifest.pipeline_title, manifest.status, manifest.artifact_root, manifest.log_path
            ),
            decision: Decision { approved: success, feedback: manifest.summary.clone() },
        },
        builds: processed
            .as_ref()
            .map(|all| all.iter().map(|(of, entry)| build(manifest, of, entry)).collect()),
        tests: processed
            .as_ref()
            .map(|all| all.iter().map(|(of, entry)| test(manifest, of, entry)).collect()),
        reviews: processed.as_ref().map(|all| all.iter().map(|(_, entry)| review(entry)).collect()),
        timestamp: at,
        group: processed.as_ref().zip(subtasks).map(|(processed, subtasks)| Group {
            enabled: true,
            size: subtasks.len(),
            processed: processed.len(),
            entries: (1..).zip(processed).map(|(index, (of, entry))| group_entry(index, of, entry)).collect(),
        }),
        scheduler: manifest.scheduler.as_ref().map(|scheduler| {
            serde_json::json!({
                "mode": scheduler.mode,
                "recovery": camel_case(&scheduler.recovery),
                "assignments": scheduler.assignments.iter().map(|assignment| serde_json::json!({
                    "instanceId": assignment.instance_id,
                    "capability": assignment.capability,
                    "status": assignment.status,
                    "attempts": assignment.attempts.len(),
                    "lastCompletedAt": assignment.completed_at,
                })).collect::<Vec<_>>(),
            })
        }),
        handles: manifest.handles.as_ref().map(|handles| {
            handles
                .iter()
                .map(|handle| {
                    serde_json::json!({
                        "handleId": handle.handle_id,
                        "correlationId": handle.correlation_id,
                        "stageId": handle.stage_id,
                        "status": handle.status,
                        "frameCount": handle.frame_count,
                        "latestSequence": handle.latest_sequence,
                    })
                })
                .collect()
        }),
        privacy: manifest.privacy.as_ref().map(|privacy| {
            serde_json::json!({
                "mode": privacy.mode,
                "totalFrames": privacy.totals.total_frames,
                "redactedFrames": privacy.totals.redacted_frames,
                "blockedFrames": privacy.totals.blocked_frames,
                "allowedFrames": privacy.totals.allowed_frames,
            })
        }),
        control_plane: manifest.control_plane.as_ref().map(camel_case),
        guardrails: manifest.guardrails.clone(),
    }
}

/// Returns the subtasks that ran.
fn processed<'a>(manifest: &'a Manifest, subtasks: &'a [Subtask]) -> Vec<(&'a Subtask, &'a StageEntry)> {
    let entry = |of: &Subtask| manifest.entry(of.index);
    let ran = subtasks.iter().filter_map(|of| Some((of, entry(of)?)));
    ran.filter(|(_, entry)| entry.started_at.is_some()).collect()
}

/// Whether a subtask ended so that the next one may begin: a failure that is tolerated is none.
fn is_fine(entry: &StageEntry) -> bool {
    entry.status.is_finished()
}

fn artifact(path: String, description: &str) -> Artifact {
    Artifact { path, description: description.to_owned() }
}

fn build(manifest: &Manifest, of: &Subtask, entry: &StageEntry) -> Build {
    let said = entry.summary.as_deref().unwrap_or(entry.status.as_str());
    let log = entry.log_path.clone().map(|log| artifact(log, "Log (ndjson)"));
    let child = entry.sub_run_id.as_ref().and_then(|id| {
        let child = manifest.child_runs.iter().find(|child| child.run_id == *id)?;
        Some(artifact(child.manifest.clone(), "Run manifest"))
    });
    Build {
        subtask_id: of.id.clone(),
        artifacts: log.into_iter().chain(child).collect(),
        mode: of.mode.to_owned(),
        run_id: manifest.run_id.to_string(),
        success: is_fine(entry),
        notes: Some(format!("{}: {said}", entry.title)),
    }
}

fn test(manifest: &Manifest, of: &Subtask, entry: &StageEntry) -> Test {
    Test {
        subtask_id: of.id.clone(),
        success: is_fine(entry),
        reports: vec![Report {
            name: entry.id.clone(),
            status: passed(entry.status == StageStatus::Succeeded),
            details: entry.summary.clone(),
            flaky: entry.flaky,
        }],
        run_id: manifest.run_id.to_string(),
    }
}

fn review(entry: &StageEntry) -> Review {
    Review {
        summary: format!("{} {}.", entry.title, entry.status),
        decision: Decision { approved: is_fine(entry), feedback: entry.summary.clone() },
    }
}

fn group_entry(index: usize, of: &Subtask, entry: &StageEntry) -> GroupEntry {
    let fine = is_fine(entry);
    GroupEntry {
        index,
        subtask_id: of.id.clone(),
        mode: of.mode.to_owned(),
        build_success: fine,
        test_success: fine,
        review_approved: fine,
        status: if fine { "succeeded" } else { "failed" }.to_owned(),
    }
}

fn passed(passed: bool) -> String {
    if passed { "passed" } else { "failed" }.to_owned()
}

/// The summary repeats sections of the manifest with camelCase keys.
fn camel_case(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (camel_case_key(key), camel_case(value))).collect()
        }
        Value::Array(items) => items.iter().map(camel_case).collect(),
        other => other.clone(),
    }
}

fn camel_case_key(key: &str) -> String {
    let mut words = key.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut chars = word.chars();
        camel.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        camel.push_str(chars.as_str());
    }
    camel
}
