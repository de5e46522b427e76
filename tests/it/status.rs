//! `status`: where a run stands, and which run is meant.

use std::fs;

use serde_json::{Value, json};

use crate::fixture::{Fixture, keys};

#[test]
fn status_tells_where_a_run_stands() {
    let repo = Fixture::new("failing-lint");
    repo.orchestrate("start");

    let seen = repo.orchestrate("status");

    assert_seen!(seen, @"
    Run: [RUN]
    Task: 0101
    Pipeline: diagnostics
    Status: failed (stage:lint:failed)
    Commit: [COMMIT] on main, clean
    Tree: 5d6081fcc1afd085c6d0babc3f2b06ffcb6986f9
    Started: [TIME]
    Completed: [TIME]
    Manifest: .runs/0101/cli/[RUN]/manifest.json
      [succeeded] Build — built
      [failed] Lint — Exited with code 3 — line 7: too long
      [pending] Test
    Stage 'Lint' failed with exit code 3.
    Guardrails: spec-guard command not found.
    [exit: 0]
    ");
}

#[test]
fn status_in_json_begins_with_the_contract_s_keys() {
    let repo = Fixture::new("passing");
    repo.orchestrate("start");
    let manifest = repo.only_manifest("0101");

    let status = repo.orchestrate("status --format json").json();

    let expected = [
        "run_id",
        "status",
        "status_detail",
        "started_at",
        "completed_at",
        "manifest",
        "artifact_root",
        "log_path",
        "heartbeat_at",
        "commands",
        "child_runs",
    ];
    assert_eq!(keys(&status)[..expected.len()], expected);
    for key in
        ["run_id", "status", "started_at", "completed_at", "artifact_root", "log_path", "commands", "git"]
    {
        assert_eq!(status[key], manifest[key], "{key}");
    }
    assert!(status["heartbeat_age_seconds"].is_f64());
    assert_eq!((&status["stale"], &status["dead"]), (&json!(false), &json!(false)));
    assert_eq!((&status["approvals"], &status["metrics_recorded"]), (&json!([]), &json!(true)));
    assert_eq!(status["root"], repo.root().to_str().unwrap());
}

/// Makes a run of the reference that began then, by hand.
fn old_run(repo: &Fixture, task: &str, run: &str, more: Value) {
    let mut manifest = json!({
        "version": 1, "task_id": task, "run_id": run, "parent_run_id": null, "pipeline_id": "diagnostics",
        "pipeline_title": "Diagnostics", "runner": "codex-cli", "status": "succeeded",
        "artifact_root": format!(".runs/{task}/cli/{run}"), "log_path": format!(".runs/{task}/cli/{run}/runner.ndjson"),
        "started_at": "2025-01-01T00:00:00.000Z", "updated_at": "2025-01-01T00:00:00.000Z",
    });
    for (key, value) in more.as_object().unwrap() {
        manifest[key] = value.clone();
    }
    repo.write(&format!(".runs/{task}/cli/{run}/manifest.json"), &manifest.to_string());
}

fn found(repo: &Fixture, words: &str) -> String {
    let seen = repo.orchestrate(&format!("status --format json {words}"));
    assert_eq!(seen.code, 0, "{words}: {seen}");
    seen.json()["run_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_run_is_found_by_id_by_prefix_and_as_the_latest() {
    let repo = Fixture::new("passing");
    let (first, second) = ("2025-01-01T00-00-00-000Z-aaaaaaaa", "2025-01-01T00-00-01-000Z-bbbbbbbb");
    old_run(&repo, "one", first, json!({}));
    old_run(&repo, "two", second, json!({}));
    old_run(&repo, "two", "2025-01-01T00-00-02-000Z-cccccccc", json!({"parent_run_id": second}));

    assert_eq!(found(&repo, ""), second, "the latest is no child");
    assert_eq!(found(&repo, "latest"), second);
    assert_eq!(found(&repo, "--run latest --task one"), first);
    assert_eq!(found(&repo, first), first);
    assert_eq!(found(&repo, &format!("--run={first}")), first);
    assert_eq!(found(&repo, "2025-01-01T00-00-00"), first);
    assert_eq!(found(&repo, "2025-01-01T00-00-02"), "2025-01-01T00-00-02-000Z-cccccccc");

    assert_seen!(repo.orchestrate("status 2025-01-01T00-00-0"), @"
    error: `2025-01-01T00-00-0` is the beginning of 3 runs
    hint: one of: [RUN], [RUN], [RUN]
    [exit: 2]
    ");
    assert_seen!(repo.orchestrate("status nothing"), @"
    error: no run is called `nothing`
    hint: `git orchestrate list` shows the runs
    [exit: 2]
    ");
    assert_seen!(repo.orchestrate("status --task three"), @"
    error: there is no run yet of task `three`
    hint: `git orchestrate start` makes one
    [exit: 2]
    ");
    assert_eq!(repo.orchestrate("status ../../etc").code, 2);
    assert_eq!(repo.orchestrate("status a --run b").code, 2);
}

#[test]
fn a_run_is_found_from_a_subfolder_and_from_every_worktree() {
    let repo = Fixture::new("passing");
    fs::create_dir(repo.path("sub")).unwrap();
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", linked.to_str().unwrap()]);
    let run = |dir: &std::path::Path| {
        repo.orchestrate_in(dir, "start --format json").json()["run_id"].as_str().unwrap().to_owned()
    };
    let (here, there) = (run(repo.root()), run(&linked));

    let status = |dir: &std::path::Path, words: &str| {
        repo.orchestrate_in(dir, &format!("status --format json {words}")).json()
    };
    for dir in [repo.root(), &repo.path("sub"), &linked] {
        for id in [&here, &there] {
            assert_eq!(status(dir, id)["run_id"], **id, "{id} in {}", dir.display());
        }
    }
    assert_eq!(status(&repo.path("sub"), "latest")["run_id"], here, "the latest of this worktree");
    assert_eq!(status(&linked, "latest")["run_id"], there);
    assert_eq!(status(repo.root(), &there)["root"], linked.to_str().unwrap());
    // A worktree without runs answers with those of the others.
    let fresh = repo.beside("fresh");
    repo.git(&["worktree", "add", "--quiet", fresh.to_str().unwrap()]);
    assert_eq!(status(&fresh, "latest")["run_id"], there);
}

#[test]
fn an_unfinished_run_without_a_process_is_dead() {
    let repo = Fixture::new("passing");
    old_run(&repo, "t", "r", json!({"status": "in_progress", "heartbeat_at": "2025-01-01T00:00:05.000Z"}));

    let status = repo.orchestrate("status --format json r").json();
    assert_eq!((&status["stale"], &status["dead"]), (&json!(true), &json!(true)));
    // To watch it ends at once.
    let seen = repo.orchestrate("status r --watch --interval 3600");
    assert_eq!(seen.code, 0);
    assert!(
        seen.stdout.contains("Status: in_progress stale dead") || seen.stdout.contains("in_progress dead"),
        "{seen}"
    );
    assert!(seen.stdout.contains("Go on with: git orchestrate resume r"), "{seen}");
    let seen = repo.orchestrate("status r --watch --format json");
    assert_eq!(seen.json()["dead"], true);
}

#[test]
fn to_watch_a_run_that_is_over_is_to_look_once() {
    let repo = Fixture::new("passing");
    repo.orchestrate("start");

    assert_eq!(repo.orchestrate("status --watch").stdout, repo.orchestrate("status").stdout);
    for interval in ["0", "-1", "x", "NaN", ""] {
        let seen = repo.see(repo.program().args(["status", "--watch", &format!("--interval={interval}")]));
        assert_eq!(seen.code, 2, "{interval}: {seen}");
    }
}

#[test]
fn what_a_repository_says_never_reaches_the_terminal_raw() {
    let repo = Fixture::with_config(&json!({"pipelines": [{
        "id": "diagnostics", "title": "T\u{1b}[31m", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "s", "title": "S\u{1b}]0;x\u{7}", "command": "printf '\\033[2Jpwned'; exit 1"},
        ],
    }]}));
    repo.git(&["checkout", "--quiet", "-b", "b\u{202e}x"]);

    for words in ["plan", "start", "status", "list"] {
        let seen = repo.orchestrate(words);
        let raw: Vec<_> =
            seen.to_string().chars().filter(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}').collect();
        assert_eq!(raw, [] as [char; 0], "{words}: {seen}");
    }
}

#[test]
fn a_manifest_that_was_edited_by_hand_is_not_believed() {
    let repo = Fixture::new("failing-lint");
    assert_eq!(repo.orchestrate("start").code, 1);
    assert_eq!(repo.orchestrate("status --format json").json()["integrity"], "sound");
    let path = repo.runs("0101").remove(0).join("manifest.json");
    let text = std::fs::read_to_string(&path).expect("a manifest");
    std::fs::write(&path, text.replace("\"status\": \"failed\"", "\"status\": \"succeeded\""))
        .expect("edited");

    let seen = repo.orchestrate("status");
    assert!(seen.stdout.contains("Not to be believed: "), "{seen}");
    let json = repo.orchestrate("status --format json").json();
    assert_eq!(json["integrity"], "broken");
    assert!(json["integrity_detail"].as_str().is_some_and(|detail| detail.contains("`status`")), "{json}");
}
