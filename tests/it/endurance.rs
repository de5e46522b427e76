//! How long, how often and with how much memory a stage runs: time limits, retries, memory limits.

use std::path::Path;

use serde_json::{Value, json};

use crate::fixture::{Fixture, json_of, keys, manifest, only_run};
use crate::witness::{
    audit, audit_finished, ended, events, is_alive, kill, lines, metrics, spawn, wait_for, wait_until,
};

fn repo(stages: Value) -> Fixture {
    Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "title": "D", "guardrailsRequired": false, "stages": stages},
    ]}))
}

fn entry(run: &Path) -> Value {
    manifest(run)["commands"][0].clone()
}

/// A command that counts its attempts, and passes at the one given.
fn passes_at(attempt: u32, failure: &str) -> String {
    format!(
        "n=$(($(cat \"$HOME/n\" 2> /dev/null || echo 0) + 1)); echo $n > \"$HOME/n\"; echo attempt $n; \
         test $n -ge {attempt} || {{ {failure}; }}"
    )
}

fn attempts(repo: &Fixture) -> u32 {
    std::fs::read_to_string(repo.beside("n")).expect("it ran").trim().parse().expect("a number")
}

#[test]
fn a_stage_that_takes_too_long_is_ended_with_all_it_started_even_if_it_ignores_the_request() {
    // Whoever ignores SIGTERM, and whoever hides in a session of its own, is killed after the grace.
    let command = "trap '' TERM; setsid sh -c 'echo $$ > \"$HOME/hidden\"; sleep 1000' & \
                   echo $$ > \"$HOME/up\"; while :; do sleep 1; done";
    let repo = repo(json!([
        {"kind": "command", "id": "slow", "command": command, "timeout": 0.3},
        {"kind": "command", "id": "next", "command": "echo next"},
    ]));
    let seen = repo.orchestrate("start --task t");
    assert_eq!(seen.code, 1, "{seen}");
    for name in ["up", "hidden"] {
        assert!(!is_alive(&wait_for(&repo.beside(name))), "{name}");
    }
    let run = only_run(&repo);
    let state = manifest(&run);
    assert_eq!(
        (&state["status"], &state["status_detail"]),
        (&json!("failed"), &json!("stage:slow:timed-out"))
    );
    assert_eq!(state["commands"][0]["timed_out"], true);
    assert_eq!(state["commands"][0]["summary"], "Timed out after 300ms");
    assert!(state["summary"].as_str().expect("notes").contains("Stage 'slow' timed out after 300ms."));
    assert_eq!(state["commands"][1]["status"], "pending");
    let note = json_of(&repo.path(state["commands"][0]["error_file"].as_str().expect("a note")));
    assert_eq!(note["details"]["timed_out_after_seconds"], 0.3);
    audit(&repo, "t");
}

#[test]
fn a_stage_that_is_allowed_to_fail_may_take_too_long() {
    let repo = repo(json!([
        {"kind": "command", "id": "slow", "command": "sleep 1000", "timeout": "100ms", "allowFailure": true},
        {"kind": "command", "id": "next", "command": "echo next"},
    ]));
    let seen = repo.orchestrate("start --task t");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(
        (&entry(&only_run(&repo))["status"], &entry(&only_run(&repo))["timed_out"]),
        (&json!("skipped"), &json!(true))
    );
}

#[test]
fn a_pipeline_that_takes_too_long_is_ended_and_can_be_resumed() {
    let repo = Fixture::with_config(&json!({"defaultPipeline": "top", "pipelines": [
        {"id": "top", "title": "Top", "guardrailsRequired": false, "stages": [
            {"kind": "subpipeline", "id": "call", "pipeline": "sub", "timeout": "1h"},
        ]},
        {"id": "sub", "title": "Sub", "guardrailsRequired": false, "timeout": "300ms", "stages": [
            {"kind": "command", "id": "slow", "command": "test -e \"$HOME/again\" || sleep 1000"},
        ]},
    ]}));
    let seen = repo.orchestrate("start --task t");
    assert_eq!(seen.code, 1, "{seen}");
    let runs: Vec<_> = repo.runs("t").iter().map(|run| manifest(run)).collect();
    let of = |id: &str| runs.iter().find(|run| run["pipeline_id"] == id).expect("a run").clone();
    assert_eq!(of("sub")["status_detail"], "pipeline:sub:timed-out");
    assert_eq!(
        of("sub")["commands"][0]["summary"],
        "Cancelled because pipeline 'sub' took longer than 300ms"
    );
    assert_eq!(of("top")["status_detail"], "subpipeline:sub:failed");
    audit(&repo, "t");
    std::fs::write(repo.beside("again"), "").expect("a file");
    let id = of("top")["run_id"].as_str().expect("an id").to_owned();
    let seen = repo.orchestrate(&format!("resume {id}"));
    assert_eq!(seen.code, 0, "{seen}");
}

#[test]
fn a_stage_that_passes_on_a_retry_is_flaky_and_every_attempt_is_kept() {
    let command = passes_at(3, "echo oops >&2; exit 3");
    let repo = repo(json!([
        {"kind": "command", "id": "shaky", "command": command, "retries": {"max": 5, "delay": 0}},
    ]));
    let seen = repo.orchestrate("start --task t");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(attempts(&repo), 3);
    let run = only_run(&repo);
    audit(&repo, "t");
    audit_finished(&repo, "t", &run);
    let shaky = entry(&run);
    assert_eq!((&shaky["status"], &shaky["flaky"]), (&json!("succeeded"), &json!(true)));
    let failed = shaky["failed_attempts"].as_array().expect("attempts");
    assert_eq!(failed.len(), 2);
    for (at, attempt) in failed.iter().enumerate() {
        assert_eq!((&attempt["attempt"], &attempt["exit_code"]), (&json!(at + 1), &json!(3)));
        let note = json_of(&repo.path(attempt["error_file"].as_str().expect("a note")));
        assert_eq!(
            (&note["details"]["attempt"], &note["details"]["stderr"]),
            (&json!(at + 1), &json!("oops"))
        );
    }
    assert!(!keys(&shaky).is_empty() && shaky["error_file"].is_null());
    let said = manifest(&run)["summary"].as_str().expect("notes").to_owned();
    assert!(said.contains("Stage 'shaky' is flaky: it passed on attempt 3."), "{said}");
    let summary = json_of(&run.join("run-summary.json"));
    assert_eq!(summary["test"]["reports"][0]["flaky"], true);
    assert_eq!(metrics(&repo, "t")[0]["stages"][0]["flaky"], true);
    // The log holds all of them, and each line says which it is about.
    let log = lines(&run.join("commands/01-shaky.ndjson"));
    let printed: Vec<_> = log
        .iter()
        .filter(|line| line["type"] == "exec:chunk" && line["stream"] == "stdout")
        .map(|line| (line["attempt"].clone(), line["data"].clone()))
        .collect();
    let expected: Vec<_> = (1..=3).map(|n| (json!(n), json!(format!("attempt {n}\n")))).collect();
    assert_eq!(printed, expected);
}

#[test]
fn a_stage_that_never_passes_fails_after_its_last_attempt() {
    let repo = repo(json!([
        {"kind": "command", "id": "bad", "command": passes_at(9, "exit 1"), "retries": {"max": 2, "delay": 0}},
    ]));
    let seen = repo.orchestrate("start --task t");
    assert_eq!(seen.code, 1, "{seen}");
    assert_eq!(attempts(&repo), 3);
    let bad = entry(&only_run(&repo));
    assert_eq!(
        (&bad["status"], bad["failed_attempts"].as_array().map(Vec::len)),
        (&json!("failed"), Some(2))
    );
    assert!(bad["flaky"].is_null());
    assert!(repo.path(bad["error_file"].as_str().expect("a note")).ends_with("01-bad.json"));
    audit(&repo, "t");
}

#[test]
fn only_failures_that_may_pass_are_retried() {
    let transient = json!({"exitCodes": [75], "patterns": ["connection (reset|refused)"]});
    for (failure, classifier, expected) in [
        ("exit 1", Some(&transient), 1),
        ("exit 75", Some(&transient), 2),
        ("echo 'x: connection reset by peer'; exit 1", Some(&transient), 2),
        ("echo 'connection refused' >&2; exit 1", Some(&transient), 2),
        ("kill -KILL $$", None, 2),
        ("exit 126", None, 1),
        ("exit 127", None, 1),
    ] {
        let mut retries = json!({"max": 1, "delay": 0});
        if let Some(classifier) = classifier {
            retries["transient"] = classifier.clone();
        }
        let command = passes_at(2, failure);
        let repo = repo(json!([{"kind": "command", "id": "s", "command": command, "retries": retries}]));
        let seen = repo.orchestrate("start --task t");
        assert_eq!(
            (attempts(&repo), seen.code),
            (expected, if expected > 1 { 0 } else { 1 }),
            "{failure}: {seen}"
        );
    }
}

#[test]
fn a_timeout_can_be_retried_and_a_success_is_never_hidden() {
    let repo = repo(json!([
        {"kind": "command", "id": "s", "command": passes_at(2, "sleep 1000"), "timeout": 0.5, "retries": {"max": 1, "delay": 0}},
    ]));
    let seen = repo.orchestrate("start --task t");
    assert_eq!(seen.code, 0, "{seen}");
    let stage = entry(&only_run(&repo));
    assert_eq!((&stage["flaky"], &stage["failed_attempts"][0]["timed_out"]), (&json!(true), &json!(true)));
    assert!(stage["timed_out"].is_null());
}

#[test]
fn a_run_that_ends_between_two_attempts_tells_the_truth_and_can_be_resumed() {
    for signal in ["-TERM", "-KILL"] {
        let repo = repo(json!([
            {"kind": "command", "id": "s", "command": passes_at(2, "exit 1"),
             "retries": {"max": 1, "delay": "300h", "maxDelay": "300h"}},
        ]));
        let mut running = spawn(repo.program().args(["start", "--task", "t"]));
        wait_until("a run", || !repo.runs("t").is_empty());
        let run = only_run(&repo);
        let journal = run.join("runner.ndjson");
        wait_until("the first attempt has failed", || {
            std::fs::read_to_string(&journal).is_ok_and(|text| text.contains("stage:retried"))
        });
        kill(signal, running.id());
        if signal == "-TERM" {
            let seen = ended(running);
            assert_eq!(seen.code, 143, "{seen}");
            let stage = entry(&run);
            assert_eq!(manifest(&run)["status"], "cancelled");
            assert_eq!(
                (&stage["status"], &stage["summary"]),
                (&json!("failed"), &json!("Cancelled by SIGTERM, before attempt 2"))
            );
            assert_eq!(stage["failed_attempts"][0]["exit_code"], 1);
            // What somebody stopped says nothing about the tree.
            assert_eq!(stage["stopped"], true);
        } else {
            running.wait().expect("a child ends");
        }
        audit(&repo, "t");
        assert_eq!(repo.orchestrate("resume --task t").code, 0, "{signal}");
        assert_eq!(entry(&run)["status"], "succeeded");
        assert_eq!(events(&run, "stage:retried").len(), 1, "what came before is still known");
        let stage = entry(&run);
        assert_eq!(
            (&stage["flaky"], &stage["failed_attempts"][0]["exit_code"]),
            (&json!(true), &json!(1)),
            "{signal}: {stage}"
        );
        let again = repo.orchestrate("start --task t --reuse");
        assert_eq!(again.code, 0, "{again}");
        let next = repo.runs("t").into_iter().find(|it| *it != run).expect("another run");
        assert_eq!(entry(&next).get("reused"), None, "{signal}: it is no proof");
        assert!(run.join("errors/01-s.attempt-1.1.json").exists());
    }
}

#[test]
fn a_stage_gets_no_more_memory_than_its_limit() {
    let hungry = "head -c 400000000 /dev/zero | tail -c 300000000 > /dev/null";
    let repo = repo(json!([
        {"kind": "command", "id": "modest", "command": "echo fine; exit 0", "memoryLimit": "128MiB"},
        {"kind": "command", "id": "hungry", "command": hungry, "memoryLimit": "128MiB"},
    ]));
    let seen = repo.orchestrate("start --task t");
    assert_eq!(seen.code, 1, "{seen}");
    let commands = manifest(&only_run(&repo))["commands"].clone();
    assert_eq!((&commands[0]["status"], &commands[1]["status"]), (&json!("succeeded"), &json!("failed")));
    assert_eq!(commands[0]["memory_limit"]["bytes"], 128 << 20);
    let by = commands[0]["memory_limit"]["by"].as_str().expect("who limits it");
    assert!(["cgroup", "address-space"].contains(&by), "{by}");
    assert_eq!(repo.orchestrate("logs latest modest").stdout, "fine\n");
    audit(&repo, "t");
}

#[test]
fn the_plan_shows_limits_and_retries_and_a_mistake_in_them_is_shown() {
    let repo = Fixture::with_config(&json!({"defaultPipeline": "p", "pipelines": [
        {"id": "p", "title": "P", "timeout": "1h 30m", "stages": [
            {"kind": "command", "id": "a", "command": "a", "timeout": 90, "memoryLimit": "2GiB", "retries": 1},
            {"kind": "command", "id": "b", "command": "b", "retries": {"max": 3, "delay": "5s", "maxDelay": "1m",
             "transient": {"exitCodes": [75], "patterns": ["reset"]}}},
        ]},
    ]}));
    assert_seen!(repo.orchestrate("plan"), @"
    Pipeline: p — P [user]
    Timeout: 1h 30m
    Stages:
    1. [command] a (a)
       command: a
       timeout: 1m 30s
       retries: 1 (delay 1s, at most 30s)
       memoryLimit: 2GiB
    2. [command] b (b)
       command: b
       retries: 3 (delay 5s, at most 1m) after code 75, /reset/
    [exit: 0]
    ");
    let plan = repo.orchestrate("plan --format json").json();
    assert_eq!((&plan["timeout"], &plan["stages"][0]["timeout"]), (&json!(5400.0), &json!(90.0)));
    assert_eq!(plan["stages"][1]["retries"]["transient"]["patterns"], json!(["reset"]));
    for (key, value, message) in [
        ("timeout", json!("soon"), "`soon` is no length of time"),
        ("timeout", json!(0), "`0` is no length of time to run in"),
        ("retries", json!(1000), "1000 is no number of retries"),
        ("retries", json!({"max": 1, "transient": {"patterns": ["("]}}), "`(` is no regular expression"),
        ("retries", json!({"max": 1, "transient": {"exitCodes": [0]}}), "0 is no exit code of a failure"),
        ("memoryLimit", json!("lots"), "`lots` is no size of memory"),
    ] {
        let mut stage = json!({"kind": "command", "id": "a", "command": "a"});
        stage[key] = value;
        let config = json!({"pipelines": [{"id": "diagnostics", "stages": [stage]}]});
        repo.write("codex.orchestrator.json", &config.to_string());
        let seen = repo.orchestrate("plan");
        assert_eq!(seen.code, 2, "{seen}");
        assert!(seen.stderr.contains(message) && seen.stderr.contains("hint:"), "{seen}");
    }
}
