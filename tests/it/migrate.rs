//! `migrate`: runs of the older layout move to where runs live now.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use crate::fixture::{Fixture, json_of, lines_of};

const OLD: &str = "2025-10-16T01-00-00Z";

/// Puts a run of the older layout into place.
fn legacy(repo: &Fixture, name: &str, manifest: &Value) {
    repo.write(&format!(".runs/local-mcp/{name}/manifest.json"), &manifest.to_string());
    repo.write(&format!(".runs/local-mcp/{name}/runner.ndjson"), "{\"type\":\"command:start\"}\n");
}

fn old() -> Value {
    json!({"run_id": OLD, "status": "succeeded", "odd": [1], "log_path": format!(".runs/local-mcp/{OLD}/runner.ndjson")})
}

fn statuses(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    answer["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| (text(&run["run_id"]), text(&run["status"])))
        .collect()
}

/// Returns every entry of `.runs` with what it holds or points at.
fn picture(repo: &Fixture) -> Vec<(String, Vec<u8>)> {
    let names = repo.tree(".runs").into_iter().filter(|name| !name.contains("/migrations/"));
    names
        .map(|name| {
            let path = repo.path(".runs").join(&name);
            let holds = match fs::read_link(&path) {
                Ok(target) => target.into_os_string().into_encoded_bytes(),
                Err(_) => fs::read(&path).unwrap(),
            };
            (name, holds)
        })
        .collect()
}

#[test]
fn an_old_run_is_found_where_runs_live_now() {
    let repo = Fixture::new("passing");
    legacy(&repo, OLD, &old());
    let before = picture(&repo);

    let seen = repo.orchestrate("migrate --dry-run --task CaseTask");

    assert_eq!((seen.code, seen.stderr.as_str()), (0, ""), "{seen}");
    assert!(seen.stdout.starts_with(&format!("{OLD}: planned — would be moved")), "{seen}");
    assert!(seen.stdout.contains(&format!("  .runs/local-mcp/{OLD} → .runs/CaseTask/cli/{OLD}\n")), "{seen}");
    assert_eq!(picture(&repo), before, "nothing but the log");

    let seen = repo.orchestrate("migrate --task CaseTask --format json");

    assert_eq!((seen.code, seen.stderr.as_str()), (0, ""), "{seen}");
    assert_eq!(statuses(&seen.json()), [(OLD.to_owned(), "migrated".to_owned())]);
    let manifest = repo.json(format!(".runs/CaseTask/cli/{OLD}/manifest.json"));
    let place = format!(".runs/CaseTask/cli/{OLD}");
    for (key, value) in [
        ("task_id", json!("CaseTask")),
        ("artifact_root", json!(place)),
        ("compat_path", json!(format!(".runs/CaseTask/mcp/{OLD}"))),
        ("metrics_recorded", json!(true)),
        ("resume_token", Value::Null),
        ("resume_events", json!([])),
        ("log_path", json!(format!("{place}/runner.ndjson"))),
        ("odd", json!([1])),
    ] {
        assert_eq!(manifest[key], value, "{key}");
    }
    let there = fs::canonicalize(repo.path(&place).join("manifest.json")).unwrap();
    for pointer in [format!(".runs/CaseTask/mcp/{OLD}"), format!(".runs/local-mcp/{OLD}")] {
        assert_eq!(fs::canonicalize(repo.path(&pointer).join("manifest.json")).unwrap(), there, "{pointer}");
    }
    assert_eq!(repo.json(format!(".runs/CaseTask/mcp/{OLD}/compat.json"))["artifact_root"], place);
    assert!(!repo.path(".runs/casetask").exists());
    let log = repo.json(seen.json()["logs"][0].as_str().unwrap());
    assert_eq!((&log["dry_run"], &log["task_id"]), (&json!(false), &json!("CaseTask")));
    assert_eq!(log["runs"][0]["status"], "migrated");
    let status = repo.orchestrate(&format!("status {OLD} --format json"));
    assert_eq!((status.code, &status.json()["status"]), (0, &json!("succeeded")), "{status}");
    assert!(repo.orchestrate("list").stdout.contains(OLD));

    let after = picture(&repo);
    assert_eq!(repo.orchestrate("migrate --task CaseTask").stdout, "No run to migrate in .runs/local-mcp.\n");
    assert_eq!(picture(&repo), after, "twice is once");
}

#[test]
fn pointers_of_runs_stay_whoever_asks() {
    let repo = Fixture::new("passing");
    repo.orchestrate("start --task alpha");
    // The other shapes that a pointer may have.
    repo.write(
        ".runs/local-mcp/by-json/manifest.json",
        r#"{"redirect_to": ".runs/alpha/cli/x", "manifest": "y"}"#,
    );
    repo.write(".runs/local-mcp/by-compat/compat.json", r#"{"artifact_root": ".runs/alpha/cli/x"}"#);
    legacy(&repo, "elsewhere", &old());
    fs::rename(repo.path(".runs/local-mcp/elsewhere"), repo.beside("elsewhere")).unwrap();
    symlink(repo.beside("elsewhere"), repo.path(".runs/local-mcp/by-link")).unwrap();
    let before = picture(&repo);

    let seen = repo.orchestrate("migrate --task beta --format json");

    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!((&seen.json()["runs"], &seen.json()["pointers"]), (&json!([]), &json!(4)));
    let mut after = picture(&repo);
    after.retain(|(name, _)| name != ".housekeeping.lock");
    assert_eq!(after, before);
    assert!(!repo.path(".runs/beta").exists());
    let seen = repo.orchestrate("migrate --run-id by-link");
    assert_eq!(seen.stdout, "by-link: skipped — it only points at a run, and stays\n");
}

#[test]
fn what_cannot_be_moved_is_named_and_stays() {
    let repo = Fixture::new("passing");
    legacy(&repo, "taken", &json!({"run_id": "taken", "task_id": "t", "status": "failed"}));
    repo.write(".runs/t/cli/taken/manifest.json", "{\"mine\": true}");
    legacy(&repo, "of-another", &json!({"run_id": "x", "status": "failed"}));
    legacy(&repo, "bad-task", &json!({"status": "failed", "task_id": "../up"}));
    legacy(&repo, "no-status", &json!({"mode": "old"}));
    legacy(&repo, "with-end", &json!({"mode": "old"}));
    repo.write(".runs/local-mcp/with-end/result.json", r#"{"exit_code": 3}"#);
    repo.write(".runs/local-mcp/torn/manifest.json", "{");
    fs::create_dir(repo.path(".runs/local-mcp/empty")).unwrap();
    let living = json!({"run_id": "living", "status": "in_progress", "heartbeat_at": "2999-01-01T00:00:00Z"});
    legacy(&repo, "living", &living);

    let seen = repo.orchestrate("migrate --task t --format json");

    assert_eq!(seen.code, 0, "{seen}");
    let found = statuses(&seen.json());
    let expected = [
        ("bad-task", "error"),
        ("empty", "error"),
        ("living", "skipped"),
        ("no-status", "error"),
        ("of-another", "error"),
        ("taken", "skipped"),
        ("torn", "error"),
        ("with-end", "migrated"),
    ];
    assert_eq!(found, expected.map(|(run, status)| (run.to_owned(), status.to_owned())), "{seen}");
    for (run, status) in expected {
        let stays = !repo.path(&format!(".runs/local-mcp/{run}/manifest.json")).is_symlink();
        assert_eq!(stays, status != "migrated", "{run}");
    }
    assert_eq!(repo.read(".runs/t/cli/taken/manifest.json"), "{\"mine\": true}");
    assert_eq!(repo.orchestrate("status with-end --format json").json()["status"], "failed");
}

#[test]
fn nothing_outside_of_the_folder_of_runs_is_touched() {
    let repo = Fixture::new("passing");
    legacy(&repo, OLD, &old());
    fs::rename(repo.path(".runs/local-mcp"), repo.beside("local-mcp")).unwrap();
    symlink(repo.beside("local-mcp"), repo.path(".runs/local-mcp")).unwrap();

    let seen = repo.orchestrate("migrate");

    assert_eq!(seen.code, 3, "{seen}");
    assert!(repo.beside("local-mcp").join(OLD).join("manifest.json").is_file());
}

fn is_whole(repo: &Fixture, run: &str) {
    let place = repo.path(".runs/t/cli").join(run);
    assert_eq!(json_of(&place.join("manifest.json"))["artifact_root"], format!(".runs/t/cli/{run}"));
    assert_eq!(lines_of(&place.join("runner.ndjson")).len(), 1);
    let points = |at: &str| {
        let pointer = repo.path(at).join(run).join("manifest.json");
        match pointer.is_symlink() {
            true => fs::canonicalize(pointer).ok(),
            // Where no link can be made, a document says the same.
            false => fs::canonicalize(repo.path(json_of(&pointer)["manifest"].as_str()?)).ok(),
        }
    };
    let there = fs::canonicalize(place.join("manifest.json")).ok();
    assert!(points(".runs/t/mcp") == there && points(".runs/local-mcp") == there, "{run}");
    assert!(repo.path(".runs/t/mcp").join(run).join("compat.json").is_file(), "{run}");
}

#[test]
fn a_migration_that_is_killed_anywhere_is_ended_by_the_next() {
    for step in 1.. {
        let repo = Fixture::new("passing");
        for run in ["a", "b"] {
            legacy(&repo, run, &json!({"run_id": run, "task_id": "t", "status": "succeeded"}));
        }
        let mut killed = repo.program();
        killed.arg("migrate").env("GIT_ORCHESTRATE_CRASH_AT", step.to_string());
        let killed = repo.see(&mut killed);
        assert!(killed.code == 0 || killed.code == -9, "{step}: {killed}");
        for run in ["a", "b"] {
            let here =
                ["local-mcp", "t/cli"].map(|at| Path::new(".runs").join(at).join(run).join("runner.ndjson"));
            assert_eq!(
                here.iter().filter(|path| repo.root().join(path).is_file()).count(),
                1,
                "{step}: {run}"
            );
        }

        let seen = repo.orchestrate("migrate");

        assert_eq!(seen.code, 0, "{step}: {seen}");
        for run in ["a", "b"] {
            is_whole(&repo, run);
        }
        for log in fs::read_dir(repo.path(".runs/t/migrations")).unwrap() {
            let path = log.unwrap().path();
            if path.extension().is_some_and(|ext| ext == "log") {
                let log = json_of(&path);
                assert!(
                    log["runs"].as_array().unwrap().iter().all(|run| run["status"] != "planned"),
                    "{step}: {log}"
                );
            }
        }
        assert!(repo.orchestrate("migrate").stdout.starts_with("No run to migrate"), "{step}");
        if killed.code == 0 {
            assert!(step > 15, "the crashes came");
            return;
        }
    }
}

#[test]
fn a_full_disk_loses_no_run() {
    for step in 1..30 {
        let repo = Fixture::new("passing");
        legacy(&repo, "a", &json!({"run_id": "a", "task_id": "t", "status": "succeeded"}));
        let mut full = repo.program();
        full.arg("migrate").env("GIT_ORCHESTRATE_FAIL_AT", step.to_string());
        let full = repo.see(&mut full);
        assert!(full.code == 0 || full.code == 4, "{step}: {full}");
        assert_eq!(repo.orchestrate("migrate").code, 0, "{step}");
        is_whole(&repo, "a");
    }
}
