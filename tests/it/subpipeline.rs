//! Subpipelines: a run inside a run, linked from the beginning.

use std::path::Path;

use serde_json::{Value, json};

use crate::fixture::{Fixture, lines_of, manifest, statuses};

/// A repository whose `diagnostics` calls `inner`, which runs one command.
fn calling(command: &str, optional: bool) -> Fixture {
    Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "title": "Outer", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "first", "title": "First", "command": "true"},
            {"kind": "subpipeline", "id": "sub", "title": "Sub", "pipeline": "inner", "optional": optional},
            {"kind": "command", "id": "last", "title": "Last", "command": "true"},
        ]},
        {"id": "inner", "title": "Inner", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "only", "title": "Only", "command": command},
        ]},
    ]}))
}

/// Returns the manifests of the outer run and of its children, by age.
fn family(repo: &Fixture) -> (Value, Vec<Value>) {
    let all: Vec<_> = repo.runs("0101").iter().map(|run| manifest(run)).collect();
    let (mut outer, children): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|run| run["parent_run_id"].is_null());
    assert_eq!(outer.len(), 1);
    (outer.remove(0), children)
}

#[test]
fn a_child_is_a_run_of_its_own() {
    let repo = calling("echo inside", false);

    let seen = repo.orchestrate("start --approval-policy never");

    assert_seen!(seen, @"
    Outer · [RUN] · [COMMIT] on main, clean
          ok  first  [SPAN]
      Inner · [RUN]
            ok  only  [SPAN]
          ok  sub  [SPAN]
          ok  last  [SPAN]
    Run finished: [RUN]
    Status: succeeded
    Manifest: .runs/0101/cli/[RUN]/manifest.json
    Log: .runs/0101/cli/[RUN]/runner.ndjson
    [exit: 0]
    ");
    let (outer, children) = family(&repo);
    let [child] = &children[..] else { panic!("{children:?}") };
    assert_eq!(child["parent_run_id"], outer["run_id"]);
    assert_eq!((&child["pipeline_id"], &child["status"]), (&json!("inner"), &json!("succeeded")));
    assert_eq!(child["approval_policy"], "never", "the policy is inherited");
    let entry = &outer["commands"][1];
    assert_eq!((&entry["kind"], &entry["sub_run_id"]), (&json!("subpipeline"), &child["run_id"]));
    for key in ["command", "exit_code", "log_path", "error_file"] {
        assert!(entry[key].is_null(), "{key}: {entry}");
    }
    let id = child["run_id"].as_str().unwrap();
    assert_eq!(
        outer["child_runs"],
        json!([{"run_id": id, "pipeline_id": "inner", "status": "succeeded",
                "manifest": format!(".runs/0101/cli/{id}/manifest.json")}])
    );
    assert_eq!(child["git"]["tree"], outer["git"]["tree"]);
    let lines = lines_of(&repo.path(".runs/0101/metrics.json"));
    let counts: Vec<_> =
        lines.iter().map(|line| (line["pipeline_id"].clone(), line["child_runs"].clone())).collect();
    assert_eq!(counts, [(json!("inner"), json!(0)), (json!("diagnostics"), json!(1))]);
    assert_eq!(repo.json("out/0101/runs.json")["runs"].as_array().unwrap().len(), 2);
}

#[test]
fn a_child_is_linked_before_it_starts() {
    let look = r#"cd "$CODEX_ORCHESTRATOR_RUN_DIR/.." &&
        grep -l "^{.type.:.child:linked.*$CODEX_ORCHESTRATOR_RUN_ID" */runner.ndjson"#;
    let repo = calling(look, false);

    let seen = repo.orchestrate("start");

    assert_eq!(seen.code, 0, "{seen}");
    let (outer, children) = family(&repo);
    let expected = format!("{}/runner.ndjson", outer["run_id"].as_str().unwrap());
    assert_eq!(children[0]["commands"][0]["summary"], expected);
    // The link comes before anything that the child does.
    let journal = lines_of(&repo.runs("0101")[0].join("runner.ndjson"));
    let linked = journal.iter().find(|line| line["type"] == "child:linked").unwrap();
    assert!(linked["timestamp"].as_str() <= children[0]["commands"][0]["started_at"].as_str());
}

#[test]
fn a_status_of_the_parent_shows_the_child_that_runs() {
    let program = env!("CARGO_BIN_EXE_git-orchestrate");
    let repo = calling(&format!("'{program}' status latest --format json > seen.json"), false);
    repo.write(".git/info/exclude", "seen.json\n");

    let seen = repo.orchestrate("start");

    assert_eq!(seen.code, 0, "{seen}");
    let (outer, children) = family(&repo);
    let during = repo.json("seen.json");
    assert_eq!(during["run_id"], outer["run_id"], "the latest is no child");
    assert_eq!((&during["status"], &during["dead"]), (&json!("in_progress"), &json!(false)));
    assert_eq!(during["commands"][1]["status"], "running");
    assert_eq!(during["commands"][1]["sub_run_id"], children[0]["run_id"]);
    assert_eq!(during["child_runs"][0]["run_id"], children[0]["run_id"]);
    assert_eq!(during["child_runs"][0]["status"], "in_progress");
}

#[test]
fn the_stages_of_a_child_know_their_own_run() {
    let repo = calling("env", false);

    repo.orchestrate("start --task t");

    let child = repo.runs("t").into_iter().find(|run| !manifest(run)["parent_run_id"].is_null()).unwrap();
    let id = child.file_name().unwrap().to_str().unwrap();
    let log = repo.orchestrate(&format!("logs {id}")).stdout;
    for line in [
        format!("CODEX_ORCHESTRATOR_RUN_ID={id}"),
        "CODEX_ORCHESTRATOR_PIPELINE_ID=inner".to_owned(),
        "CODEX_ORCHESTRATOR_TASK_ID=t".to_owned(),
        format!("CODEX_ORCHESTRATOR_RUN_DIR={}", child.display()),
        format!("CODEX_ORCHESTRATOR_MANIFEST_PATH={}", child.join("manifest.json").display()),
    ] {
        assert!(log.lines().any(|it| it == line), "`{line}` is missing in\n{log}");
    }
}

#[test]
fn a_failing_child_fails_its_parent() {
    let repo = calling("exit 7", false);

    let seen = repo.orchestrate("start");

    assert_eq!(seen.code, 1, "{seen}");
    let (outer, children) = family(&repo);
    assert_eq!(statuses(&outer), ["succeeded", "failed", "pending"]);
    assert_eq!(outer["status_detail"], "subpipeline:inner:failed");
    assert_eq!(outer["child_runs"][0]["status"], "failed");
    assert_eq!(children[0]["status_detail"], "stage:only:failed");
    let id = children[0]["run_id"].as_str().unwrap();
    let note = format!("Sub-pipeline 'Sub' failed: run {id}.");
    assert_eq!(outer["summary"].as_str().unwrap().lines().next(), Some(note.as_str()));
    let summary = repo.json(outer["run_summary_path"].as_str().unwrap());
    assert_eq!(summary["review"]["decision"]["approved"], false);
}

#[test]
fn an_optional_child_may_fail() {
    let repo = calling("exit 7", true);

    let seen = repo.orchestrate("start");

    assert_eq!(seen.code, 0, "{seen}");
    let (outer, children) = family(&repo);
    assert_eq!(statuses(&outer), ["succeeded", "skipped", "succeeded"]);
    assert_eq!(
        (&outer["child_runs"][0]["status"], &children[0]["status"]),
        (&json!("failed"), &json!("failed"))
    );
}

#[test]
fn an_optional_child_may_be_missing_and_no_other() {
    let missing = |optional: bool| {
        Fixture::with_config(&json!({"pipelines": [{
            "id": "diagnostics", "title": "D", "guardrailsRequired": false, "stages": [
                {"kind": "subpipeline", "id": "sub", "title": "Sub", "pipeline": "gone", "optional": optional},
                {"kind": "command", "id": "last", "title": "Last", "command": "true"},
            ],
        }]}))
    };
    let repo = missing(true);
    let seen = repo.orchestrate("start");
    assert_eq!(seen.code, 0, "{seen}");
    let (outer, children) = family(&repo);
    assert_eq!(statuses(&outer), ["skipped", "succeeded"]);
    assert!(children.is_empty() && outer["commands"][0]["sub_run_id"].is_null());

    let repo = missing(false);
    let seen = repo.orchestrate("start");
    assert_eq!(seen.code, 2, "{seen}");
    assert!(seen.stderr.contains("gone"), "{seen}");
    assert!(!repo.path(".runs").exists());
}

#[test]
fn children_have_children_and_the_narration_shows_the_depth() {
    let stage = |id: &str, pipeline: &str| json!({"kind": "subpipeline", "id": id, "title": id, "pipeline": pipeline});
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "title": "A", "guardrailsRequired": false, "stages": [stage("to-b", "b"), stage("to-c", "c")]},
        {"id": "b", "title": "B", "guardrailsRequired": false, "stages": [stage("to-c", "c")]},
        {"id": "c", "title": "C", "guardrailsRequired": false,
         "stages": [{"kind": "command", "id": "echo", "title": "Echo", "command": "echo hi"}]},
    ]}));

    let seen = repo.orchestrate("start");

    assert_seen!(seen, @"
    A · [RUN] · [COMMIT] on main, clean
      B · [RUN]
        C · [RUN]
              ok  echo  [SPAN]
            ok  to-c  [SPAN]
          ok  to-b  [SPAN]
      C · [RUN]
            ok  echo  [SPAN]
          ok  to-c  [SPAN]
    Run finished: [RUN]
    Status: succeeded
    Manifest: .runs/0101/cli/[RUN]/manifest.json
    Log: .runs/0101/cli/[RUN]/runner.ndjson
    [exit: 0]
    ");
    let runs = repo.runs("0101");
    assert_eq!(runs.len(), 4);
    let parents = |run: &Path| {
        let mut depth = 0;
        let mut at = manifest(run);
        while let Some(parent) = at["parent_run_id"].as_str() {
            at = manifest(&run.with_file_name(parent));
            depth += 1;
        }
        depth
    };
    let mut depths: Vec<_> = runs.iter().map(|run| parents(run)).collect();
    depths.sort_unstable();
    assert_eq!(depths, [0, 1, 1, 2]);
}

#[test]
fn a_subpipeline_can_be_the_target() {
    let repo = calling("true", false);

    let seen = repo.orchestrate("start --target sub");

    assert_eq!(seen.code, 0, "{seen}");
    let (outer, children) = family(&repo);
    assert_eq!(statuses(&outer), ["pending", "succeeded", "pending"]);
    assert_eq!(statuses(&children[0]), ["succeeded"], "a target is no matter of the child");
    assert_eq!(children[0]["plan"]["partial"], false);
}

#[test]
fn a_run_that_a_stage_starts_lands_in_the_same_task() {
    let program = env!("CARGO_BIN_EXE_codex-orchestrator");
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "title": "A", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "s", "title": "S",
             "command": format!("'{program}' start inner --parent-run \"$CODEX_ORCHESTRATOR_RUN_ID\"")},
        ]},
        {"id": "inner", "title": "I", "guardrailsRequired": false,
         "stages": [{"kind": "command", "id": "s", "title": "S", "command": "true"}]},
    ]}));

    let seen = repo.orchestrate("start --task t");

    assert_eq!(seen.code, 0, "{seen}");
    let runs: Vec<_> = repo.runs("t").iter().map(|run| manifest(run)).collect();
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[1]["parent_run_id"], runs[0]["run_id"]);
}

#[test]
fn a_tree_that_moved_during_a_child_voids_the_parent_too() {
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "title": "Outer", "guardrailsRequired": false, "stages": [
            {"kind": "subpipeline", "id": "sub", "title": "Sub", "pipeline": "inner"},
            {"kind": "command", "id": "back", "title": "Back", "command": "rm moved"},
        ]},
        {"id": "inner", "title": "Inner", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "only", "title": "Only", "command": "touch moved"},
        ]},
    ]}));

    let seen = repo.orchestrate("start --format json");

    assert_eq!(seen.json()["void"], true, "{seen}");
    let (outer, children) = family(&repo);
    assert_eq!(children[0]["git"]["moved"], true);
    assert_eq!(outer["git"]["moved"], true);
    assert!(outer["summary"].as_str().unwrap().contains("The tree moved"), "{outer}");
}
