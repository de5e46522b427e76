//! What a run leaves on disk, field for field as other programs read it.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::fixture::{Fixture, json_of, keys, lines_of, manifest};

/// What may stand in a field.
#[derive(Clone, Copy, Debug)]
enum Is {
    Text,
    Count,
    Number,
    Flag,
    Stamp,
    /// One of these words.
    Word(&'static [&'static str]),
    Texts,
    Null,
    /// An object with exactly these fields.
    Fields(&'static [(&'static str, Is)]),
    /// A list of such objects.
    List(&'static [(&'static str, Is)]),
    OrNull(&'static Is),
}
use Is::*;

const RUN: Is = Word(&["queued", "in_progress", "succeeded", "failed", "cancelled"]);
const TEXT: Is = OrNull(&Text);
const STAMP: Is = OrNull(&Stamp);

const STAGE: &[(&str, Is)] = &[
    ("index", Count),
    ("id", Text),
    ("title", Text),
    ("command", TEXT),
    ("kind", Word(&["command", "subpipeline"])),
    ("status", Word(&["pending", "running", "succeeded", "failed", "skipped"])),
    ("started_at", STAMP),
    ("completed_at", STAMP),
    ("exit_code", OrNull(&Count)),
    ("summary", TEXT),
    ("log_path", TEXT),
    ("error_file", TEXT),
    ("sub_run_id", TEXT),
];
const CHILD: &[(&str, Is)] = &[("run_id", Text), ("pipeline_id", Text), ("status", RUN), ("manifest", Text)];
const GUARDRAILS: &[(&str, Is)] = &[
    ("present", Flag),
    ("recommendation", TEXT),
    ("summary", Text),
    ("computed_at", Stamp),
    (
        "counts",
        Fields(&[
            ("total", Count),
            ("succeeded", Count),
            ("failed", Count),
            ("skipped", Count),
            ("other", Count),
        ]),
    ),
];
const LEARNING: &[(&str, Is)] = &[
    ("validation", Fields(&[("mode", Word(&["per-task", "grouped"])), ("grouping", Null), ("status", Text)])),
    ("alerts", List(&[])),
    ("approvals", List(&[])),
];
const CONTROL_PLANE: &[(&str, Is)] = &[
    ("schema_id", Word(&["codex.control-plane.run-request"])),
    ("schema_version", Word(&["2.0.0"])),
    ("request_id", Text),
    (
        "validation",
        Fields(&[
            ("mode", Word(&["shadow", "enforce"])),
            ("status", Word(&["passed", "failed"])),
            ("timestamp", Stamp),
            ("errors", List(&[])),
        ]),
    ),
    ("enforcement", Fields(&[("enabled", Flag), ("activated_at", STAMP)])),
];
const SCHEDULER: &[(&str, Is)] = &[
    ("mode", Word(&["multi-instance"])),
    ("requested_at", Stamp),
    ("min_instances", Count),
    ("max_instances", Count),
    (
        "recovery",
        Fields(&[
            ("heartbeat_interval_seconds", Count),
            ("missing_heartbeat_timeout_seconds", Count),
            ("max_retries", Count),
        ]),
    ),
    (
        "assignments",
        List(&[
            ("instance_id", Text),
            ("capability", Text),
            ("status", Word(&["assigned", "running", "succeeded", "failed", "recovered"])),
            ("assigned_at", Stamp),
            ("completed_at", STAMP),
            ("metadata", Fields(&[("weight", Number), ("maxConcurrency", Count)])),
            (
                "attempts",
                List(&[
                    ("number", Count),
                    ("assigned_at", Stamp),
                    ("started_at", STAMP),
                    ("completed_at", STAMP),
                    ("status", Word(&["pending", "running", "completed", "failed", "requeued"])),
                    ("recovery_checkpoints", List(&[])),
                ]),
            ),
        ]),
    ),
];
const HANDLE: &[(&str, Is)] = &[
    ("handle_id", Text),
    ("correlation_id", Text),
    ("stage_id", TEXT),
    ("pipeline_id", Text),
    ("status", Word(&["open", "closed"])),
    ("frame_count", Count),
    ("latest_sequence", Count),
    ("created_at", Stamp),
    ("metadata", Fields(&[("run_id", Text)])),
];
const DECISION: &[(&str, Is)] = &[
    ("handle_id", Text),
    ("sequence", Count),
    ("action", Word(&["allow", "redact", "block"])),
    ("rule", TEXT),
    ("reason", TEXT),
    ("timestamp", Stamp),
    ("stage_id", TEXT),
];
const PRIVACY: &[(&str, Is)] = &[
    ("mode", Word(&["shadow", "enforce"])),
    ("decisions", List(DECISION)),
    (
        "totals",
        Fields(&[
            ("total_frames", Count),
            ("redacted_frames", Count),
            ("blocked_frames", Count),
            ("allowed_frames", Count),
        ]),
    ),
    ("log_path", TEXT),
];

/// Version 1 of the manifest, in the reference's order.
const MANIFEST: &[(&str, Is)] = &[
    ("version", Count),
    ("task_id", Text),
    ("task_slug", TEXT),
    ("run_id", Text),
    ("parent_run_id", TEXT),
    ("pipeline_id", Text),
    ("pipeline_title", Text),
    ("runner", Word(&["codex-cli"])),
    ("approval_policy", TEXT),
    ("status", RUN),
    ("status_detail", TEXT),
    ("started_at", Stamp),
    ("completed_at", STAMP),
    ("updated_at", Stamp),
    ("heartbeat_at", STAMP),
    ("heartbeat_interval_seconds", Count),
    ("heartbeat_stale_after_seconds", Count),
    ("artifact_root", Text),
    ("compat_path", Text),
    ("log_path", Text),
    ("summary", TEXT),
    ("metrics_recorded", Flag),
    ("resume_token", Text),
    ("resume_events", List(&[])),
    ("approvals", List(&[])),
    ("commands", List(STAGE)),
    ("child_runs", List(CHILD)),
    ("run_summary_path", TEXT),
    ("plan_target_id", TEXT),
    ("instructions_hash", TEXT),
    ("instructions_sources", Texts),
    ("prompt_packs", List(&[])),
    ("guardrails_required", Flag),
    ("learning", Fields(LEARNING)),
    ("tfgrpo", Null),
    ("control_plane", Fields(CONTROL_PLANE)),
    ("scheduler", Fields(SCHEDULER)),
    ("guardrail_status", Fields(GUARDRAILS)),
    ("handles", List(HANDLE)),
    ("privacy", Fields(PRIVACY)),
];

/// Checks a value, and that an object has exactly the fields of its table, in order.
fn check(value: &Value, is: Is, at: &str) {
    let fine = match is {
        Text => value.is_string(),
        Count => value.is_u64(),
        Number => value.is_number(),
        Flag => value.is_boolean(),
        Stamp => value.as_str().is_some_and(|text| {
            let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            shape == "0000-00-00T00:00:00.000Z"
        }),
        Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
        Texts => value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
        Null => value.is_null(),
        OrNull(is) => {
            if !value.is_null() {
                check(value, *is, at);
            }
            true
        }
        Fields(fields) => {
            let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
            assert_eq!(keys(value), names, "{at}");
            for (name, is) in fields {
                check(&value[*name], *is, &format!("{at}.{name}"));
            }
            true
        }
        List(fields) => {
            let items = value.as_array().unwrap_or_else(|| panic!("{at} is no list: {value}"));
            for (index, item) in items.iter().enumerate() {
                check(item, Fields(fields), &format!("{at}[{index}]"));
            }
            true
        }
    };
    assert!(fine, "{at} is not {is:?}: {value}");
}

fn only_run(repo: &Fixture) -> PathBuf {
    let runs = repo.runs("0101");
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs[0].clone()
}

#[test]
fn without_our_sections_a_manifest_is_one_of_version_1() {
    for name in ["passing", "failing-lint"] {
        let repo = Fixture::new(name);
        repo.orchestrate("start");
        let mut manifest = repo.only_manifest("0101");
        for ours in ["git", "proof", "plan", "attempts", "journal"] {
            manifest.as_object_mut().unwrap().shift_remove(ours).unwrap_or_else(|| panic!("no `{ours}`"));
        }
        check(&manifest, Fields(MANIFEST), name);
        assert_eq!(manifest["version"], 1);
        assert_eq!(manifest["commands"][0].as_object().unwrap().len(), 13);
        assert_eq!(
            (&manifest["heartbeat_interval_seconds"], &manifest["heartbeat_stale_after_seconds"]),
            (&json!(5), &json!(30))
        );
    }
}

#[test]
fn the_manifest_is_the_sum_of_the_journal() {
    let repo = Fixture::new("failing-lint");
    repo.orchestrate("start");
    let run = only_run(&repo);

    let rebuilt =
        git_orchestrate::store::journal::rebuild(&run.join("runner.ndjson"), None).unwrap().unwrap();

    let mut on_disk = manifest(&run);
    let mark = on_disk.as_object_mut().unwrap().shift_remove("journal").unwrap();
    assert_eq!(serde_json::to_value(rebuilt).unwrap(), on_disk);
    assert_eq!(mark["bytes"], fs::metadata(run.join("runner.ndjson")).unwrap().len());
}

/// The lines of a command, and what stands in them.
const LINES: &[(&str, &[(&str, Is)])] = &[
    ("command:start", &[("type", Text), ("command", Text), ("timestamp", Stamp), ("index", Count)]),
    (
        "exec:begin",
        &[
            ("type", Text),
            ("correlation_id", Text),
            ("attempt", Count),
            ("command", Text),
            ("args", Texts),
            ("cwd", Text),
            ("session_id", Text),
            ("sandbox_state", Word(&["sandboxed", "escalated", "failed"])),
            ("persisted", Flag),
            ("timestamp", Stamp),
            ("index", Count),
        ],
    ),
    (
        "exec:chunk",
        &[
            ("type", Text),
            ("correlation_id", Text),
            ("attempt", Count),
            ("stream", Word(&["stdout", "stderr"])),
            ("sequence", Count),
            ("bytes", Count),
            ("data", Text),
            ("timestamp", Stamp),
            ("index", Count),
        ],
    ),
    ("command:stdout", &[("type", Text), ("data", Text), ("timestamp", Stamp), ("index", Count)]),
    ("command:stderr", &[("type", Text), ("data", Text), ("timestamp", Stamp), ("index", Count)]),
    (
        "exec:end",
        &[
            ("type", Text),
            ("correlation_id", Text),
            ("attempt", Count),
            ("exit_code", OrNull(&Count)),
            ("signal", TEXT),
            ("duration_ms", Count),
            ("status", Word(&["succeeded", "failed"])),
            ("timestamp", Stamp),
            ("index", Count),
        ],
    ),
    (
        "command:end",
        &[
            ("type", Text),
            ("exit_code", OrNull(&Count)),
            ("signal", TEXT),
            ("duration_ms", Count),
            ("timestamp", Stamp),
            ("index", Count),
        ],
    ),
];

#[test]
fn the_lines_of_a_command_have_the_shapes_of_the_contract() {
    let repo = Fixture::with_commands(&["echo out; echo err >&2", "kill $$"]);
    repo.see(repo.program().env("CODEX_ORCHESTRATOR_EMIT_COMMAND_STREAMS", "1").arg("start"));

    let lines = lines_of(&only_run(&repo).join("runner.ndjson"));

    for line in &lines {
        let names = keys(line);
        assert_eq!(names[0], "type");
        assert_eq!(names[names.len() - 2..], ["timestamp", "index"], "{line}");
        let kind = line["type"].as_str().unwrap();
        if let Some((_, fields)) = LINES.iter().find(|(name, _)| *name == kind) {
            check(line, Fields(fields), kind);
        } else {
            let ours = ["run:", "stage:", "child:"].iter().any(|prefix| kind.starts_with(prefix));
            assert!(ours, "{line}");
        }
    }
    let of = |index: usize| {
        let is_command = |line: &&Value| LINES.iter().any(|(name, _)| line["type"] == *name);
        let mut kinds: Vec<_> = lines
            .iter()
            .filter(is_command)
            .filter(|line| line["index"] == index)
            .map(|line| line["type"].as_str().unwrap())
            .collect();
        // Which of the two streams is read first is up to the machine.
        kinds.retain(|kind| !kind.starts_with("command:std"));
        kinds
    };
    assert_eq!(of(1), ["command:start", "exec:begin", "exec:chunk", "exec:chunk", "exec:end", "command:end"]);
    assert_eq!(of(2), ["command:start", "exec:begin", "exec:end", "command:end"]);
    let ends: Vec<_> = lines.iter().filter(|line| line["type"] == "exec:end").collect();
    assert_eq!((&ends[1]["exit_code"], &ends[1]["signal"]), (&json!(128), &json!("SIGTERM")));
    for name in ["command:stdout", "command:stderr"] {
        assert_eq!(lines.iter().filter(|line| line["type"] == name).count(), 1, "{name}");
    }
}

#[test]
fn a_stage_s_log_is_its_part_of_the_journal() {
    let repo = Fixture::with_commands(&["seq 3", "echo two; exit 1"]);
    repo.orchestrate("start");
    let run = only_run(&repo);
    let all = fs::read_to_string(run.join("runner.ndjson")).unwrap();

    for index in 1..=2 {
        let of_stage: String = all
            .lines()
            .filter(|line| {
                line.ends_with(&format!("\"index\":{index}}}")) && !line.starts_with("{\"type\":\"stage:")
            })
            .map(|line| format!("{line}\n"))
            .collect();
        let log = fs::read_to_string(run.join(format!("commands/0{index}-s{index}.ndjson"))).unwrap();
        assert_eq!(log, of_stage);
    }
}

#[test]
fn file_names_come_from_the_stage_s_place_and_id() {
    let repo = Fixture::with_config(&json!({"pipelines": [{
        "id": "diagnostics", "title": "D", "guardrailsRequired": false,
        "stages": [
            {"kind": "command", "id": "../../etc/passwd", "title": "A", "command": "true"},
            {"kind": "command", "id": "a b", "title": "B", "command": "true"},
            {"kind": "command", "id": "ü", "title": "C", "command": "false"},
        ],
    }]}));
    repo.orchestrate("start");
    let run = only_run(&repo);

    let mut names: Vec<_> = ["commands", "errors"]
        .iter()
        .flat_map(|folder| fs::read_dir(run.join(folder)).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["01-etc-passwd.ndjson", "02-a-b.ndjson", "03-command.json", "03-command.ndjson"]);
}

#[test]
fn the_run_summary_stands_in_three_places() {
    let repo = Fixture::new("passing");
    repo.orchestrate("start");
    let run = only_run(&repo);

    let summary = json_of(&run.join("run-summary.json"));

    let expected = [
        "taskId",
        "runId",
        "mode",
        "plan",
        "build",
        "test",
        "review",
        "timestamp",
        "scheduler",
        "handles",
        "privacy",
        "controlPlane",
    ];
    assert_eq!(keys(&summary), expected);
    assert_eq!(keys(&summary["build"]), ["subtaskId", "artifacts", "mode", "runId", "success", "notes"]);
    assert_eq!(keys(&summary["test"]), ["subtaskId", "success", "reports", "runId"]);
    assert_eq!(keys(&summary["review"]), ["summary", "decision"]);
    assert_eq!(summary["build"]["notes"], "Build: built\nTest: tested");
    assert_eq!(summary["build"]["subtaskId"], "diagnostics:build");
    let item = &summary["plan"]["items"][1];
    let expected =
        ["id", "description", "requires_cloud", "requiresCloud", "runnable", "metadata", "selected"];
    assert_eq!(keys(item), expected);
    assert_eq!((&item["id"], &item["metadata"]["index"]), (&json!("diagnostics:test"), &json!(1)));
    let id = run.file_name().unwrap().to_str().unwrap();
    assert_eq!(repo.json(format!(".runs/0101/{id}/manifest.json")), summary);
    let history = repo.json("out/0101/runs.json");
    assert_eq!(keys(&history), ["taskId", "lastRunAt", "runs"]);
    assert_eq!(history["runs"], json!([summary]));
    assert_eq!(history["lastRunAt"], summary["timestamp"]);
}

const METRICS: &[(&str, Is)] = &[
    ("run_id", Text),
    ("task_id", Text),
    ("pipeline_id", Text),
    ("status", RUN),
    ("started_at", Stamp),
    ("completed_at", Stamp),
    ("duration_seconds", Number),
    ("commands_passed", Count),
    ("commands_failed", Count),
    ("guardrails_present", Flag),
    ("recorded_at", Stamp),
    ("artifact_path", Text),
    ("child_runs", Count),
    ("control_plane_status", Word(&["passed", "failed", "unknown"])),
    ("scheduler_mode", TEXT),
    (
        "instance_stats",
        List(&[
            ("instance_id", Text),
            ("capability", Text),
            ("status", Text),
            ("attempts", Count),
            ("recovery_events", Count),
        ]),
    ),
    ("privacy_mode", TEXT),
    ("privacy_events", List(DECISION)),
    ("handle_count", Count),
    ("tfgrpo_epoch", Null),
    ("tfgrpo_group_id", Null),
    ("tfgrpo_group_size", Null),
    ("tool_calls", Count),
    ("token_total", Count),
    ("cost_usd", Number),
    ("latency_ms", Number),
    ("tool_stats", List(&[])),
    ("learning_validation_status", TEXT),
    ("learning_snapshot_status", TEXT),
    ("learning_scenario_status", TEXT),
    ("learning_crystalizer_status", TEXT),
    ("learning_alerts", Count),
    ("learning_group_id", TEXT),
    ("learning_review_rejections", Count),
    ("learning_review_latency_ms", OrNull(&Number)),
    ("learning_regressions_detected", Count),
    ("learning_pattern_promoted", Count),
    ("learning_pattern_deprecated", Count),
    ("learning_throughput_candidates", Count),
];

#[test]
fn each_run_is_a_line_of_metrics_and_the_totals_follow() {
    let repo = Fixture::with_commands(&["test -e good"]);
    repo.orchestrate("start");
    repo.write("good", "");
    repo.orchestrate("start");
    repo.orchestrate("start");

    let lines = lines_of(&repo.path(".runs/0101/metrics.json"));

    assert_eq!(lines.len(), 3);
    for line in &lines {
        // What this program adds comes last.
        let mut of_reference = line.clone();
        let fields = of_reference.as_object_mut().expect("an object");
        assert_eq!(fields.keys().skip(METRICS.len()).collect::<Vec<_>>(), ["tree", "stages"]);
        fields.retain(|key, _| !["tree", "stages"].contains(&key.as_str()));
        check(&of_reference, Fields(METRICS), "metrics");
    }
    let words: Vec<_> = lines.iter().map(|line| line["status"].as_str().unwrap()).collect();
    assert_eq!(words, ["failed", "succeeded", "succeeded"]);
    let baseline = repo.json(".runs/0101/metrics/baseline.json");
    assert_eq!(keys(&baseline), ["run_id", "recorded_at", "status", "duration_seconds", "completion_rate"]);
    assert_eq!((&baseline["run_id"], &baseline["completion_rate"]), (&lines[0]["run_id"], &json!(0.0)));
    let rollout = repo.json(".runs/0101/metrics/post-rollout.json");
    assert_eq!(
        keys(&rollout),
        ["total_runs", "succeeded_runs", "completion_rate", "meets_threshold", "updated_at"]
    );
    assert_eq!((&rollout["total_runs"], &rollout["succeeded_runs"]), (&json!(3), &json!(2)));
    let complete = repo.json(".runs/0101/metrics/completeness.json");
    assert_eq!(
        keys(&complete),
        ["checked_fields", "missing_counts", "missing_field_ratio", "meets_threshold", "updated_at"]
    );
    assert_eq!(complete["meets_threshold"], true);
    let mttr = repo.json("out/0101/metrics/mttr-delta.json");
    let expected = [
        "baseline_mttr_seconds",
        "current_mttr_seconds",
        "reduction_percent",
        "meets_threshold",
        "updated_at",
    ];
    assert_eq!(keys(&mttr), expected);
    assert_eq!(keys(&repo.json("out/0101/state.json")), ["updated_at", "safety", "throughput", "alerts"]);
    let drift = repo.json("out/0101/control-plane/drift.json");
    let expected = [
        "schema_id",
        "schema_version",
        "total_samples",
        "invalid_samples",
        "invalid_rate",
        "last_sampled_at",
        "mode",
        "entries",
    ];
    assert_eq!(keys(&drift), expected);
    assert_eq!((&drift["total_samples"], &drift["invalid_samples"]), (&json!(3), &json!(0)));
}

#[test]
fn the_history_holds_every_run_in_order() {
    let repo = Fixture::new("passing");
    let ids: Vec<_> =
        (0..3).map(|_| repo.orchestrate("start --format json").json()["run_id"].clone()).collect();

    let history = repo.json("out/0101/runs.json");

    let listed: Vec<_> = history["runs"].as_array().unwrap().iter().map(|run| run["runId"].clone()).collect();
    assert_eq!(listed, ids);
}

#[test]
fn a_history_of_the_reference_is_taken_over() {
    let old = json!({"taskId": "0101", "lastRunAt": "2025-01-02T00:00:00.000Z", "runs": [
        {"taskId": "0101", "runId": "old-b", "timestamp": "2025-01-02T00:00:00.000Z", "extra": {"kept": [1, 2]}},
        {"taskId": "0101", "runId": "old-a", "timestamp": "2025-01-01T00:00:00.000Z"},
    ]});
    for name in ["runs.json", "state.json"] {
        let repo = Fixture::new("passing");
        // The reference writes no newline at the end.
        repo.write(&format!("out/0101/{name}"), &serde_json::to_string_pretty(&old).unwrap());

        let seen = repo.orchestrate("start --format json");
        repo.orchestrate("start");

        let history = repo.json("out/0101/runs.json");
        let runs = history["runs"].as_array().unwrap();
        let ids: Vec<_> = runs.iter().map(|run| run["runId"].as_str().unwrap()).collect();
        assert_eq!(ids[..3], ["old-a", "old-b", seen.json()["run_id"].as_str().unwrap()], "{name}");
        assert_eq!(ids.len(), 4);
        assert_eq!(runs[1], old["runs"][0]);
    }
}

#[test]
fn a_history_that_is_none_is_put_aside() {
    let foreign = r#"{"taskId": "another", "lastRunAt": null, "runs": []}"#;
    for text in ["", "{", "null", "[]", foreign, "\0\0\0", r#"{"taskId":"0101","runs":3}"#] {
        let repo = Fixture::new("passing");
        repo.write("out/0101/runs.json", text);

        let seen = repo.orchestrate("start");

        assert_eq!(seen.code, 0, "{text:?}: {seen}");
        assert!(
            seen.stderr.contains("warning: the run history was no JSON of this task; it was moved to `"),
            "{seen}"
        );
        assert_eq!(repo.json("out/0101/runs.json")["runs"].as_array().unwrap().len(), 1);
        let aside =
            repo.tree("out/0101").into_iter().find(|name| name.starts_with("runs.json.corrupt-")).unwrap();
        assert_eq!(repo.read(&format!("out/0101/{aside}")), text);
        assert_eq!(repo.git(&["status", "--porcelain"]), "", "what was put aside is hidden too");
    }
}

#[test]
fn side_files_that_cannot_be_written_are_warnings() {
    for name in [
        "out/0101/state.json",
        "out/0101/runs.json",
        "out/0101/control-plane/drift.json",
        ".runs/0101/metrics/baseline.json",
    ] {
        let repo = Fixture::new("passing");
        fs::create_dir_all(repo.path(name)).unwrap();

        let seen = repo.orchestrate("start");

        assert_eq!(seen.code, 0, "{name}: {seen}");
        let manifest = repo.only_manifest("0101");
        assert_eq!(
            (&manifest["status"], &manifest["metrics_recorded"]),
            (&json!("succeeded"), &json!(true)),
            "{name}"
        );
        // A folder where the baseline would be counts as one that is there.
        assert_eq!(seen.stderr.contains("warning: "), !name.ends_with("baseline.json"), "{name}: {seen}");
    }
}

#[test]
fn damaged_side_files_never_stop_a_later_run() {
    let repo = Fixture::new("passing");
    repo.orchestrate("start");
    let shared: Vec<_> = repo
        .tree(".")
        .into_iter()
        .filter(|name| name.starts_with("out/") || name.starts_with(".runs/0101/metrics"))
        .collect();
    assert!(shared.len() >= 8, "{shared:?}");
    for name in &shared {
        let whole = fs::read(repo.path(name)).unwrap();
        for keep in [0, whole.len() / 2] {
            fs::write(repo.path(name), &whole[..keep]).unwrap();
            let seen = repo.orchestrate("start --format json");
            assert_eq!(seen.code, 0, "{name} cut to {keep}: {seen}");
            let id = seen.json()["run_id"].as_str().unwrap().to_owned();
            let metrics = repo.read(".runs/0101/metrics.json");
            let line = metrics.lines().last().unwrap();
            assert!(
                line.contains(&id) && serde_json::from_str::<Value>(line).is_ok(),
                "{name} cut to {keep}: {line}"
            );
            let history = repo.json("out/0101/runs.json");
            assert_eq!(
                history["runs"].as_array().unwrap().last().unwrap()["runId"],
                id,
                "{name} cut to {keep}"
            );
        }
    }
}

#[test]
fn pointers_lead_older_tools_to_the_run() {
    let repo = Fixture::new("passing");
    repo.orchestrate("start");
    let run = only_run(&repo);
    let id = run.file_name().unwrap().to_str().unwrap();

    let mcp = repo.json(format!(".runs/0101/mcp/{id}/manifest.json"));
    assert_eq!(keys(&mcp), ["redirect_to", "manifest", "created_at", "note"]);
    assert_eq!(mcp["redirect_to"], format!(".runs/0101/cli/{id}"));
    assert_eq!(mcp["manifest"], format!(".runs/0101/cli/{id}/manifest.json"));
    let link = fs::read_link(repo.path(&format!(".runs/local-mcp/{id}/manifest.json"))).unwrap();
    assert_eq!(link.to_str().unwrap(), format!("../../0101/cli/{id}/manifest.json"));
    assert_eq!(repo.json(format!(".runs/local-mcp/{id}/manifest.json")), manifest(&run));
    assert_eq!(manifest(&run)["compat_path"], format!(".runs/0101/mcp/{id}"));
}

#[test]
fn pointers_that_cannot_be_written_stop_the_run_before_it_starts() {
    for name in [".runs/0101/mcp", ".runs/local-mcp"] {
        let repo = Fixture::with_commands(&["touch ran"]);
        repo.write(name, "in the way");

        let seen = repo.orchestrate("start");

        assert_eq!(seen.code, 4, "{name}: {seen}");
        assert!(!repo.path("ran").exists(), "{name}");
        assert_eq!(repo.runs("0101"), [] as [PathBuf; 0], "{name}");
    }
}

#[test]
fn the_heartbeat_is_one_line_and_the_privacy_log_one_per_decision() {
    let repo = Fixture::new("passing");
    repo.orchestrate("start");
    let run = only_run(&repo);

    let beat = fs::read_to_string(run.join(".heartbeat")).unwrap();
    check(&json!(beat.strip_suffix('\n').unwrap()), Stamp, "heartbeat");
    let decisions = lines_of(&run.join("privacy-decisions.ndjson"));
    assert_eq!(json!(decisions), manifest(&run)["privacy"]["decisions"]);
}

#[test]
fn sections_that_a_stage_adds_to_the_manifest_stay() {
    let add = r#"python3 -c "
import json, os
path = os.environ['CODEX_ORCHESTRATOR_MANIFEST_PATH']
text = json.load(open(path))
text['design_metrics'] = {'originality_score': 0.5}
text['status'] = 'failed'
json.dump(text, open(path, 'w'))" || sed -i 's/^{$/{ \"design_metrics\": {\"originality_score\": 0.5},/' "$CODEX_ORCHESTRATOR_MANIFEST_PATH""#;
    let repo =
        Fixture::with_commands(&[add, "grep -q originality_score \"$CODEX_ORCHESTRATOR_MANIFEST_PATH\""]);

    let seen = repo.orchestrate("start");

    assert_eq!(seen.code, 0, "{seen}");
    let manifest = repo.only_manifest("0101");
    assert_eq!(manifest["design_metrics"], json!({"originality_score": 0.5}));
    assert_eq!(manifest["status"], "succeeded");
}

#[test]
fn a_stage_whose_log_was_cut_or_removed_does_not_succeed() {
    for damage in ["rm -f", "truncate -s 0", "sed -i d"] {
        let log = "\"$CODEX_ORCHESTRATOR_RUN_DIR\"/commands/*";
        // What is damaged has to be there.
        let command = format!("echo before; until grep -qs before {log}; do :; done; {damage} {log}");
        let repo = Fixture::with_commands(&[&command]);
        let seen = repo.orchestrate("start");
        assert_eq!(seen.code, 4, "{damage}: {seen}");
        assert!(seen.stderr.contains("01-s1.ndjson"), "{damage}: {seen}");
        assert_ne!(repo.only_manifest("0101")["status"], "succeeded", "{damage}");
    }
}
