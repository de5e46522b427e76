//! `resume`: what is kept, what runs again, and when it is refused.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::fixture::{Fixture, Seen, id, manifest};
use crate::witness::{
    Gate, audit, audit_finished, ended, events, history, metrics, spawn, wait_for, wait_until,
};

/// The first stage counts how often it runs, the second fails as long as `FAIL` is set.
fn repo() -> Fixture {
    Fixture::with_commands(&[
        "echo x >> \"$HOME/one\"",
        "echo x >> \"$HOME/two\"; echo why >&2; exit ${FAIL:-0}",
        "true",
    ])
}

fn failed() -> (Fixture, PathBuf) {
    let repo = repo();
    let seen = repo.see(repo.program().args(["start", "--task", "t"]).env("FAIL", "3"));
    assert_eq!(seen.code, 1, "{seen}");
    let run = repo.runs("t").remove(0);
    (repo, run)
}

fn resume(repo: &Fixture, words: &str) -> Seen {
    repo.orchestrate(&format!("resume latest --task t {words}"))
}

fn count(repo: &Fixture, stage: &str) -> usize {
    fs::read_to_string(repo.beside(stage)).unwrap_or_default().lines().count()
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut document: Value = serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON");
    change(&mut document);
    fs::write(path, serde_json::to_vec_pretty(&document).expect("JSON")).expect("written");
}

#[test]
fn finished_stages_are_kept_and_an_old_failure_does_not_survive_a_success() {
    let (repo, run) = failed();
    let before = manifest(&run);
    assert!(before["commands"][1]["error_file"].is_string());
    let seen = resume(&repo, "--actor me --reason because");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!((count(&repo, "one"), count(&repo, "two")), (1, 2));
    let after = manifest(&run);
    assert_eq!(after["status"], "succeeded");
    assert_eq!(after["commands"][0], before["commands"][0]);
    assert!(after["commands"][1]["error_file"].is_null());
    assert!(!after["summary"].as_str().unwrap_or_default().contains("failed"), "{}", after["summary"]);
    let attempts = after["attempts"].as_array().expect("attempts");
    let stages: Vec<_> = attempts.iter().map(|attempt| attempt["stages"].clone()).collect();
    assert_eq!(stages, [json!([1, 2]), json!([2, 3])]);
    let event = &after["resume_events"][0];
    assert_eq!(
        (&event["actor"], &event["reason"], &event["outcome"]),
        (&json!("me"), &json!("because"), &json!("accepted"))
    );
    // The note of the first attempt is still there, under a name that says so.
    assert!(!run.join("errors/02-s2.json").exists());
    assert!(run.join("errors/02-s2.attempt-1.json").exists());
    assert_eq!(history(&repo, "t").len(), 1);
    audit(&repo, "t");
}

#[test]
fn each_failed_attempt_keeps_its_note() {
    let (repo, run) = failed();
    for _ in 0..2 {
        assert_eq!(repo.see(repo.program().args(["resume", id(&run)]).env("FAIL", "4")).code, 1);
    }
    let notes = ["02-s2.attempt-1.json", "02-s2.attempt-2.json", "02-s2.json"];
    let codes = notes.map(|note| {
        let note: Value =
            serde_json::from_slice(&fs::read(run.join("errors").join(note)).expect(note)).expect("JSON");
        note["details"]["exit_code"].as_i64().expect("a code")
    });
    assert_eq!(codes, [3, 4, 4]);
}

#[test]
fn a_wrong_token_is_refused_and_recorded() {
    let (repo, run) = failed();
    let seen = resume(&repo, "--token 0123");
    assert_eq!(seen.code, 6, "{seen}");
    assert_eq!(manifest(&run)["resume_events"][0]["outcome"], "blocked");
    assert_eq!(manifest(&run)["status"], "failed");
    assert_eq!(count(&repo, "two"), 1);
    audit(&repo, "t");
    let token = fs::read_to_string(run.join(".resume-token")).expect("a token");
    fs::remove_file(run.join(".resume-token")).expect("removed");
    assert_eq!(resume(&repo, "").code, 6);
    // It is the token that counts, not where it stands.
    let seen = resume(&repo, &format!("--token {}", token.trim()));
    assert_eq!(seen.code, 0, "{seen}");
}

#[test]
fn the_token_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (_repo, run) = failed();
    let path = run.join(".resume-token");
    assert_eq!(fs::metadata(&path).expect("a token").permissions().mode() & 0o777, 0o600);
    let token = fs::read_to_string(path).expect("a token");
    for file in crate::witness::files(&run).iter().filter(|file| !file.ends_with(".resume-token")) {
        let bytes = fs::read(file).expect("a file");
        assert!(!String::from_utf8_lossy(&bytes).contains(token.trim()), "{}", file.display());
    }
}

#[test]
fn an_edited_manifest_is_found_out_by_field() {
    type Edit = fn(&mut Value);
    let edits: [(&str, Edit); 5] = [
        ("commands[1].status", |doc| doc["commands"][1]["status"] = json!("succeeded")),
        ("status", |doc| doc["status"] = json!("cancelled")),
        ("git.tree", |doc| doc["git"]["tree"] = json!("0".repeat(40))),
        ("plan.digest", |doc| doc["plan"]["digest"] = json!("sha256:0")),
        ("journal", |doc| drop(doc.as_object_mut().expect("an object").remove("journal"))),
    ];
    for (field, change) in edits {
        let (repo, run) = failed();
        let path = run.join("manifest.json");
        edit(&path, change);
        let bytes = fs::read(&path).expect("a manifest");
        let seen = resume(&repo, "");
        assert_eq!(seen.code, 6, "{field}: {seen}");
        assert!(seen.stderr.contains(&format!("`{field}`")), "{field}: {seen}");
        assert!(seen.stderr.contains("manifest.json`"), "{field}: {seen}");
        assert_eq!(fs::read(&path).expect("a manifest"), bytes, "{field}");
        assert_eq!(count(&repo, "two"), 1, "{field}");
    }
}

#[test]
fn an_edited_or_shortened_journal_is_found_out() {
    let (repo, run) = failed();
    let journal = run.join("runner.ndjson");
    let whole = fs::read_to_string(&journal).expect("a journal");
    let edited = whole.replacen("\"exit_code\":3", "\"exit_code\":0", 3);
    let shortened = &whole[..whole.len() / 2];
    let reordered: String = whole.lines().rev().map(|line| format!("{line}\n")).collect();
    for text in [edited.as_str(), shortened, reordered.as_str(), ""] {
        fs::write(&journal, text).expect("edited");
        let seen = resume(&repo, "");
        assert_eq!(seen.code, 6, "{seen}");
        assert_eq!(fs::read_to_string(&journal).expect("a journal"), text);
    }
    assert_eq!(count(&repo, "two"), 1);
}

#[test]
fn another_pipeline_is_refused() {
    let (repo, run) = failed();
    let config = repo.read("codex.orchestrator.json").replace("echo why", "echo because");
    repo.write("codex.orchestrator.json", &config);
    let seen = resume(&repo, "--moved-tree");
    assert_eq!(seen.code, 3, "{seen}");
    assert!(seen.stderr.contains("hint:"), "{seen}");
    assert_eq!(manifest(&run)["status"], "failed");
}

#[test]
fn another_tree_is_refused_unless_it_is_meant() {
    let (repo, run) = failed();
    repo.write("new.txt", "new\n");
    let seen = resume(&repo, "");
    assert_eq!(seen.code, 3, "{seen}");
    assert!(seen.stderr.contains("--moved-tree"), "{seen}");
    assert_eq!(count(&repo, "two"), 1);
    let seen = resume(&repo, "--moved-tree");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stdout.contains("void"), "{seen}");
    assert_eq!(manifest(&run)["git"]["moved"], true);
}

#[test]
fn what_ran_on_another_tree_stays_void_when_the_files_are_put_back() {
    let repo = Fixture::with_commands(&["test -e ../home/go", "rm -f new.txt"]);
    assert_eq!(repo.orchestrate("start --task t").code, 1);
    fs::write(repo.beside("go"), "").expect("a file");
    repo.write("new.txt", "new\n");

    let seen = repo.orchestrate("resume --task t --moved-tree");

    assert_eq!(seen.code, 0, "{seen}");
    assert!(!repo.path("new.txt").exists(), "the tree is the first one again");
    let manifest = repo.only_manifest("t");
    assert_eq!(manifest["git"]["tree_at_end"], manifest["git"]["tree"]);
    assert_eq!(manifest["git"]["moved"], true);
}

#[test]
fn a_run_that_succeeded_stays_as_it_is() {
    let repo = repo();
    assert_eq!(repo.orchestrate("start --task t").code, 0);
    let run = repo.runs("t").remove(0);
    let bytes = fs::read(run.join("manifest.json")).expect("a manifest");
    let seen = resume(&repo, "");
    assert_eq!(seen.code, 2, "{seen}");
    assert_eq!(fs::read(run.join("manifest.json")).expect("a manifest"), bytes);
    assert_eq!(metrics(&repo, "t").len(), 1);
}

#[test]
fn a_partial_run_stays_partial() {
    let repo = repo();
    let seen = repo.see(repo.program().args(["start", "--task", "t", "--target", "s2"]).env("FAIL", "3"));
    assert_eq!(seen.code, 1, "{seen}");
    let run = repo.runs("t").remove(0);
    let seen = resume(&repo, "--format json");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(seen.json()["partial"], true);
    let statuses: Vec<_> = manifest(&run)["commands"]
        .as_array()
        .expect("stages")
        .iter()
        .map(|stage| stage["status"].clone())
        .collect();
    assert_eq!(statuses, ["pending", "succeeded", "pending"]);
    assert_eq!(count(&repo, "one"), 0);
}

#[test]
fn a_run_of_another_worktree_says_where_it_belongs() {
    let (repo, run) = failed();
    let other = repo.beside("other tree");
    repo.git(&["worktree", "add", "--quiet", "--detach", other.to_str().expect("text")]);
    let seen = repo.see(repo.program().args(["resume", id(&run)]).current_dir(&other));
    assert_eq!(seen.code, 2, "{seen}");
    assert!(seen.stderr.contains(&format!("git -C '{}'", repo.root().display())), "{seen}");
    assert_eq!(count(&repo, "two"), 1);
    // What is shown can be typed, whatever the name.
    let odd = repo.beside("it's");
    repo.git(&["worktree", "add", "--quiet", "--detach", odd.to_str().expect("text")]);
    let made = repo.orchestrate_in(&odd, "start --format json").json();
    let seen = repo.orchestrate(&format!("resume {}", made["run_id"].as_str().expect("an id")));
    assert!(seen.stderr.contains(r"/it'\''s' orchestrate resume "), "{seen}");
}

/// Makes the failed run one that a process of `host` was working on at `at`.
fn owned_by(run: &Path, host: &str, pid: u32, at: &str) {
    let journal = run.join("runner.ndjson");
    let kept: String = fs::read_to_string(&journal)
        .expect("a journal")
        .lines()
        .filter(|line| {
            !line.starts_with("{\"type\":\"run:finished\"") && !line.starts_with("{\"type\":\"run:recorded\"")
        })
        .map(|line| {
            let mut event: Value = serde_json::from_str(line).expect("JSON");
            if event["type"] == "run:started" {
                event["owner"]["host"] = json!(host);
                event["owner"]["pid"] = json!(pid);
                event["timestamp"] = json!(at);
            }
            if event["type"] == "run:created" {
                event["manifest"]["heartbeat_at"] = json!(at);
            }
            format!("{event}\n")
        })
        .collect();
    fs::write(&journal, kept).expect("written");
    fs::write(run.join(".heartbeat"), format!("{at}\n")).expect("written");
    fs::remove_file(run.join("manifest.json")).expect("removed");
}

#[test]
fn a_run_of_another_machine_is_taken_over_only_if_its_heart_stopped() {
    let (repo, run) = failed();
    let now = metrics(&repo, "t")[0]["recorded_at"].as_str().expect("a time").to_owned();
    owned_by(&run, "elsewhere", 4711, &now);
    let seen = resume(&repo, "");
    assert_eq!(seen.code, 5, "{seen}");
    assert!(seen.stderr.contains("4711") && seen.stderr.contains("elsewhere"), "{seen}");
    assert_eq!(count(&repo, "two"), 1);
    // Asking twice does not make it ours.
    assert_eq!(resume(&repo, "").code, 5);
    let (repo, run) = failed();
    owned_by(&run, "elsewhere", 4711, "2026-01-01T00:00:00.000Z");
    let seen = resume(&repo, "");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(manifest(&run)["status"], "succeeded");
}

#[test]
fn a_pid_that_somebody_else_has_now_does_not_keep_a_run() {
    let (repo, run) = failed();
    let host = manifest(&run)["attempts"][0]["owner"]["host"].as_str().expect("a host").to_owned();
    let now = metrics(&repo, "t")[0]["recorded_at"].as_str().expect("a time").to_owned();
    // This test lives, and it is not the process that owned the run.
    owned_by(&run, &host, std::process::id(), &now);
    fs::write(run.join(".lease"), format!("{{\"host\":\"{host}\",\"pid\":{}}}", std::process::id()))
        .expect("written");
    let seen = resume(&repo, "");
    assert_eq!(seen.code, 0, "{seen}");
    audit(&repo, "t");
}

#[test]
fn a_run_of_an_earlier_boot_is_dead_and_goes_on() {
    let (repo, run) = failed();
    let owner = manifest(&run)["attempts"][0]["owner"].clone();
    let (host, boot) = (owner["host"].as_str().expect("a host"), owner["boot_id"].as_str().expect("a boot"));
    let now = metrics(&repo, "t")[0]["recorded_at"].as_str().expect("a time").to_owned();
    // This test: its pid, begun at that very tick, and only the boot says whether it is the owner.
    let stat = fs::read_to_string("/proc/self/stat").expect("we are there");
    let fields: Vec<_> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let begun: u64 = fields[19].parse().expect("a number");
    owned_by(&run, host, std::process::id(), &now);
    let of_boot = |boot: &str| {
        let _ = fs::remove_file(run.join("manifest.json"));
        let path = run.join("runner.ndjson");
        let mut text = String::new();
        for mut event in crate::fixture::lines_of(&path) {
            if event["type"] == "run:started" {
                event["owner"]["boot_id"] = json!(boot);
                event["owner"]["process_started"] = json!(begun);
            }
            text.push_str(&format!("{event}\n"));
        }
        fs::write(&path, text).expect("written");
    };
    let next = format!("dead; go on with: git orchestrate resume {}\n", crate::fixture::id(&run));
    of_boot(boot);
    let seen = repo.orchestrate("list");
    assert!(seen.stdout.contains("in_progress") && !seen.stdout.contains("dead"), "{seen}");
    assert_eq!(resume(&repo, "").code, 5);
    of_boot("0badcafe-0000-0000-0000-000000000000");
    let seen = repo.orchestrate("list");
    assert!(seen.stdout.ends_with(&next), "{seen}");
    assert_eq!(repo.orchestrate("list --format json").json()["runs"][0]["dead"], true);
    let seen = resume(&repo, "");
    assert_eq!((seen.code, count(&repo, "one")), (0, 1), "{seen}");
    assert_eq!(manifest(&run)["status"], "succeeded");
    audit(&repo, "t");
}

#[test]
fn a_child_that_was_abandoned_is_closed() {
    let stage =
        |id: &str, command: &str| json!({"kind": "command", "id": id, "title": id, "command": command});
    let sub = |id: &str| json!({"kind": "subpipeline", "id": id, "title": id, "pipeline": id});
    let pipeline = |id: &str, stages: Vec<Value>| json!({"id": id, "title": id, "guardrailsRequired": false, "stages": stages});
    // Kills the program the first time, whichever process that is.
    let kill = "test -e \"$HOME/killed\" || { : > \"$HOME/killed\"; kill -9 $PPID; }";
    let repo = Fixture::with_config(&json!({"pipelines": [
        pipeline("diagnostics", vec![sub("middle")]),
        pipeline("middle", vec![sub("inner")]),
        pipeline("inner", vec![stage("kill", kill)]),
    ]}));
    let seen = repo.orchestrate("start --task t");
    assert_eq!(seen.code, -9, "{seen}");
    let runs = repo.runs("t");
    let asked_for = runs
        .iter()
        .find(|run| events(run, "run:created")[0]["manifest"]["parent_run_id"].is_null())
        .expect("a run");
    let seen = repo.orchestrate(&format!("resume {}", id(asked_for)));
    assert_eq!(seen.code, 0, "{seen}");
    audit_finished(&repo, "t", asked_for);
    for run in &runs {
        let expected = if run == asked_for { "succeeded" } else { "cancelled" };
        assert_eq!(manifest(run)["status"], expected, "{}", run.display());
    }
    assert_eq!(repo.runs("t").len(), 5);
    assert_eq!((metrics(&repo, "t").len(), history(&repo, "t").len()), (5, 5));
    let children = manifest(asked_for)["child_runs"].clone();
    assert_eq!((&children[0]["status"], &children[1]["status"]), (&json!("cancelled"), &json!("succeeded")));
    audit(&repo, "t");
}

#[test]
fn a_child_that_was_resumed_by_itself_has_no_twin() {
    // Killed the first time; waits the second time; ends at once the third time.
    let command = "echo x >> \"$HOME/begun\"; case $(wc -l < \"$HOME/begun\") in \
        *1) kill -9 $PPID ;; *2) : > \"$HOME/going\"; echo > \"$HOME/going\"; read _ < \"$HOME/gate\" ;; esac";
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "title": "D", "stages": [{"kind": "subpipeline", "id": "sub", "pipeline": "inner"}]},
        {"id": "inner", "title": "I", "stages": [{"kind": "command", "id": "one", "command": command}]},
    ]}));
    let mut gate = Gate::new(&repo, "gate");
    assert_eq!(repo.orchestrate("start --task t").code, -9);
    let runs = repo.runs("t");
    let (outer, inner) = match events(&runs[0], "run:created")[0]["manifest"]["parent_run_id"].is_null() {
        true => (&runs[0], &runs[1]),
        false => (&runs[1], &runs[0]),
    };

    let child = spawn(repo.program().args(["resume", id(inner)]));
    wait_for(&repo.beside("going"));
    let seen = repo.orchestrate(&format!("resume {}", id(outer)));

    assert_eq!(seen.code, 5, "{seen}");
    assert!(seen.stderr.contains(id(inner)), "{seen}");
    assert_eq!(count(&repo, "begun"), 2);
    gate.open();
    let seen = ended(child);
    assert_eq!(seen.code, 0, "{seen}");
    let seen = repo.orchestrate(&format!("resume {}", id(outer)));
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(manifest(outer)["child_runs"][0]["status"], "succeeded");
    audit(&repo, "t");
}

#[test]
fn a_live_run_whose_lease_was_removed_is_still_alive() {
    let repo =
        Fixture::with_commands(&["rm \"$CODEX_ORCHESTRATOR_RUN_DIR\"/.lease", "read _ < \"$HOME/gate\""]);
    let mut gate = Gate::new(&repo, "gate");
    let running = spawn(repo.program().args(["start", "--task", "t"]));
    wait_until("the second stage", || {
        repo.runs("t").first().is_some_and(|run| run.join("commands/02-s2.ndjson").exists())
    });
    let status = repo.orchestrate("status latest --task t --format json").json();
    assert_eq!(status["dead"], false, "{status}");
    let seen = resume(&repo, "");
    assert_eq!(seen.code, 5, "{seen}");
    gate.open();
    let seen = ended(running);
    assert_eq!(seen.code, 0, "{seen}");
    audit(&repo, "t");
}

#[test]
fn a_run_without_pointers_has_them_once_it_goes_on() {
    let (repo, run) = failed();
    let id = run.file_name().unwrap().to_str().unwrap();
    let pointers = [".runs/t/mcp", ".runs/local-mcp"].map(|folder| repo.path(folder).join(id));
    for pointer in &pointers {
        fs::remove_dir_all(pointer).unwrap();
    }
    assert_eq!(resume(&repo, "").code, 0);
    for pointer in &pointers {
        assert!(pointer.join("manifest.json").exists(), "{}", pointer.display());
    }
}

#[test]
fn a_resume_is_about_what_the_run_was_about() {
    let (repo, run) = failed();
    let seen = repo.see(repo.program().args(["resume", "--task", "t", "--target", "two"]).env("FAIL", "0"));
    assert_eq!(seen.code, 2, "{seen}");
    assert!(seen.stderr.contains("whole pipeline"), "{seen}");
    assert_eq!(manifest(&run)["status"], "failed");
    let seen =
        repo.see(repo.program().args(["resume", "--task", "t"]).env("CODEX_ORCHESTRATOR_TARGET_STAGE", "s1"));
    assert_eq!(seen.code, 0, "{seen}");
}
