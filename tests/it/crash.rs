//! kill -9 before every step that changes the disk: nothing is half written, and `resume` finishes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::fixture::{Fixture, id};
use crate::witness::{audit, audit_finished, events, files, history, is_complete};

/// More steps than any run here takes.
const MANY: usize = 400;

/// Calls `trial` with 1, 2, … on two threads until a trial says that its run was not killed.
fn until_it_survives(trial: impl Fn(usize) -> bool + Sync) {
    let next = AtomicUsize::new(1);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    assert!(n < 2 * MANY, "no run survived");
                    if n >= MANY || trial(n) {
                        next.fetch_max(MANY, Ordering::Relaxed);
                        return;
                    }
                }
            });
        }
    });
}

/// Each stage leaves a line in a file of its own, beside the repository.
fn count(stage: &str) -> String {
    format!("echo {stage}; echo x >> \"$HOME/$MCP_RUNNER_TASK_ID.{stage}\"")
}

fn times(repo: &Fixture, task: &str, stage: &str) -> usize {
    fs::read_to_string(repo.beside(&format!("{task}.{stage}"))).unwrap_or_default().lines().count()
}

/// Returns how often each stage that is finished, by the journal of the run that was asked for, has
/// run. A child that is interrupted is begun anew, with all its stages.
fn finished(repo: &Fixture, task: &str) -> BTreeMap<String, usize> {
    let mut finished = BTreeMap::new();
    if let Some(run) = asked_for(repo, task) {
        let created = &events(&run, "run:created")[0]["manifest"]["commands"];
        for event in events(&run, "stage:finished") {
            let index = event["index"].as_u64().expect("an index") as usize;
            let id = created[index - 1]["id"].as_str().expect("an id").to_owned();
            let times = times(repo, task, &id);
            finished.insert(id, times);
        }
    }
    finished
}

/// Returns the runs of a task that somebody asked for and that had begun to exist, oldest first.
fn begun(repo: &Fixture, task: &str) -> Vec<PathBuf> {
    let mut runs = repo.runs(task);
    runs.retain(|run| {
        fs::read_to_string(run.join("runner.ndjson")).is_ok_and(|journal| journal.contains('\n'))
    });
    runs
}

fn asked_for(repo: &Fixture, task: &str) -> Option<PathBuf> {
    begun(repo, task)
        .into_iter()
        .find(|run| events(run, "run:created")[0]["manifest"]["parent_run_id"].is_null())
}

/// Checks a task after a crash: files, `list` and `status`. Returns the run, if it had begun.
fn check_after_crash(repo: &Fixture, task: &str) -> Option<PathBuf> {
    audit(repo, task);
    let listed = repo.orchestrate(&format!("list --task {task} --format json"));
    assert_eq!(listed.code, 0, "{task}: {listed}");
    let runs = listed.json()["runs"].as_array().expect("runs").clone();
    assert_eq!(runs.len(), begun(repo, task).len(), "{task}: {listed}");
    assert!(runs.iter().all(|run| run["error"].is_null()), "{task}: {listed}");
    let run = asked_for(repo, task);
    let status = repo.orchestrate(&format!("status latest --task {task} --format json"));
    match &run {
        None => assert_eq!(status.code, 2, "{task}: {status}"),
        Some(_) => assert_eq!(status.code, 0, "{task}: {status}"),
    }
    run
}

/// Resumes the run of a task to its end, and checks everything that must be true then.
fn resume_and_check(repo: &Fixture, task: &str, stages: &[&str]) {
    let before = finished(repo, task);
    // Killed after its last file was in place: then there is nothing left to do.
    let complete = is_complete(&asked_for(repo, task).expect("a run"));
    let resumed = repo.orchestrate(&format!("resume latest --task {task}"));
    assert_eq!(resumed.code, if complete { 2 } else { 0 }, "{task}: {resumed}");
    for (stage, times_before) in before {
        assert_eq!(times(repo, task, &stage), times_before, "{task}: `{stage}` ran again");
    }
    check_end(repo, task, stages);
}

fn check_end(repo: &Fixture, task: &str, stages: &[&str]) {
    audit(repo, task);
    let run = asked_for(repo, task).expect("a run");
    audit_finished(repo, task, &run);
    for stage in stages {
        // Once more at most for each of two crashes that hit before its end was known.
        assert!((1..=3).contains(&times(repo, task, stage)), "{task}: {stage}");
    }
    let runs = repo.orchestrate(&format!("list --task {task} --format json")).json();
    for run in runs["runs"].as_array().expect("runs") {
        assert_eq!(run["dead"], false, "{task}: {run}");
        assert!(run["completed_at"].is_string(), "{task}: {run}");
    }
    let ids: Vec<_> = history(repo, task).iter().map(|run| run["runId"].to_string()).collect();
    let unique: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "{task}: {ids:?}");
}

fn crash(repo: &Fixture, words: &str, step: usize) -> bool {
    let seen = repo
        .see(repo.program().args(words.split_whitespace()).env("GIT_ORCHESTRATE_CRASH_AT", step.to_string()));
    assert!(matches!(seen.code, 0 | -9), "{step}: {seen}");
    seen.code == -9
}

fn two_stages() -> Fixture {
    Fixture::with_commands(&[&count("s1"), &count("s2")])
}

fn with_a_child() -> Fixture {
    let stage = |id: &str| json!({"kind": "command", "id": id, "title": id, "command": count(id)});
    Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "title": "Parent", "guardrailsRequired": false, "stages": [
            stage("s1"),
            {"kind": "subpipeline", "id": "child", "title": "Child", "pipeline": "part"},
            stage("s2"),
        ]},
        {"id": "part", "title": "Part", "guardrailsRequired": false, "stages": [stage("c1")]},
    ]}))
}

#[test]
fn a_start_that_is_killed_at_any_step_is_resumed() {
    let repo = two_stages();
    until_it_survives(|step| {
        let task = format!("t{step}");
        let killed = crash(&repo, &format!("start --task {task}"), step);
        if check_after_crash(&repo, &task).is_none() {
            assert_eq!(repo.orchestrate(&format!("start --task {task}")).code, 0);
            check_end(&repo, &task, &["s1", "s2"]);
        } else if killed {
            resume_and_check(&repo, &task, &["s1", "s2"]);
        } else {
            check_end(&repo, &task, &["s1", "s2"]);
        }
        !killed
    });
}

/// Returns the records of a run in the ledger. Every line of it is whole, but for one that is being written.
fn in_ledger(repo: &Fixture, run: &Path) -> Vec<Value> {
    let files = files(&repo.path(".git/orchestrate/ledger"));
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|it| it == "ndjson"));
    let mut records = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).expect("a file of the ledger");
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let entry: Value =
                serde_json::from_str(line).unwrap_or_else(|err| panic!("{}: {err}: {line}", path.display()));
            if entry["record"]["run_id"] == id(run) {
                records.push(entry["record"].clone());
            }
        }
    }
    records
}

#[test]
fn the_ledger_is_whole_and_true_after_a_crash_at_any_step() {
    let repo = two_stages();
    // Killed after the verdict, and before or after the ledger had it.
    let (before, after) = (AtomicUsize::new(0), AtomicUsize::new(0));
    until_it_survives(|step| {
        let task = format!("t{step}");
        let killed = crash(&repo, &format!("start --task {task}"), step);
        let Some(run) = asked_for(&repo, &task) else { return !killed };
        let is_over = !events(&run, "run:finished").is_empty();
        let known = in_ledger(&repo, &run);
        assert!(is_over || known.is_empty(), "{task}: a run is recorded that was not over");
        if killed && is_over && !is_complete(&run) {
            let side = if known.is_empty() { &before } else { &after };
            side.fetch_add(1, Ordering::Relaxed);
        }
        if killed {
            resume_and_check(&repo, &task, &["s1", "s2"]);
        }
        // Whatever was killed, the run is recorded now, and no two records of it say two things.
        let records = in_ledger(&repo, &run);
        assert!(!records.is_empty(), "{task}: the ledger has not heard of it");
        for record in &records {
            assert_eq!((record, &record["void"]), (&records[0], &Value::Null), "{task}");
            let results = record["stages"].as_array().expect("stages").iter().map(|it| it["result"].clone());
            assert_eq!(results.collect::<Vec<_>>(), ["passed", "passed"], "{task}");
        }
        // Nobody who is dead holds anything: the next one reads and writes.
        let seen = repo.orchestrate("explain s1 --format json");
        assert_eq!(seen.json()["stages"][0]["standing"], "proven", "{task}: {seen}");
        !killed
    });
    let sides = (before.into_inner(), after.into_inner());
    assert!(sides.0 > 0 && sides.1 > 0, "no kill fell on both sides of the ledger: {sides:?}");
}

#[test]
fn a_resume_that_is_killed_at_any_step_is_resumed_again() {
    let repo = two_stages();
    until_it_survives(|step| {
        let task = format!("t{step}");
        // Between the two stages.
        assert!(crash(&repo, &format!("start --task {task}"), 40));
        let killed = crash(&repo, &format!("resume latest --task {task}"), step);
        check_after_crash(&repo, &task);
        if killed {
            resume_and_check(&repo, &task, &["s1", "s2"]);
        }
        !killed
    });
}

#[test]
fn a_run_with_a_child_is_resumed_after_a_crash_at_any_step() {
    let repo = with_a_child();
    until_it_survives(|step| {
        let task = format!("t{step}");
        let killed = crash(&repo, &format!("start --task {task}"), step);
        if check_after_crash(&repo, &task).is_some() && killed {
            resume_and_check(&repo, &task, &["s1", "c1", "s2"]);
        }
        !killed
    });
}
