//! `logs`: what the stages of a run printed.

use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::witness::{Gate, ended, spawn, wait_for, wait_until};

fn events(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("one object per line")).collect()
}

#[test]
fn logs_are_what_was_printed() {
    let repo =
        Fixture::with_commands(&["echo one", "printf 'no newline'", "printf '\\377\\000\\376'; exit 1"]);
    repo.orchestrate("start");

    assert_eq!(repo.orchestrate("logs latest s1").stdout, "one\n");
    assert_eq!(repo.orchestrate("logs latest 2").stdout, "no newline");
    let raw = repo.program().args(["logs", "latest", "s3"]).output().unwrap();
    assert_eq!(raw.stdout, b"\xff\x00\xfe", "bytes come back as they were");
    let all = repo.program().arg("logs").output().unwrap();
    assert_eq!(all.stdout, b"one\nno newline\xff\x00\xfe");
}

#[test]
fn both_streams_are_shown() {
    let repo = Fixture::with_commands(&["echo err >&2"]);
    repo.orchestrate("start");

    let seen = repo.orchestrate("logs");

    assert_eq!((seen.stdout.as_str(), seen.stderr.as_str(), seen.code), ("err\n", "", 0));
}

#[test]
fn logs_in_json_are_the_events() {
    let repo = Fixture::with_commands(&["echo one", "echo two"]);
    repo.orchestrate("start");
    let run = &repo.runs("0101")[0];

    let all = repo.orchestrate("logs --json").stdout;
    assert_eq!(all, std::fs::read_to_string(run.join("runner.ndjson")).unwrap());
    assert_eq!(events(&all)[0]["type"], "run:created");
    let second = repo.orchestrate("logs latest s2 --json").stdout;
    assert!(events(&second).iter().all(|event| event["index"] == 2));
    assert_eq!(events(&second)[0]["command"], "echo two");
}

#[test]
fn to_follow_a_run_that_is_over_is_to_read_it() {
    let repo = Fixture::with_commands(&["echo one"]);
    repo.orchestrate("start");

    let seen = repo.orchestrate("logs --follow");

    assert_eq!((seen.stdout.as_str(), seen.code), ("one\n", 0));
}

#[test]
fn an_unknown_stage_is_an_error_that_names_the_others() {
    let repo = Fixture::with_commands(&["true", "true"]);
    repo.orchestrate("start");

    assert_seen!(repo.orchestrate("logs latest s3"), @"
    error: run `[RUN]` has no stage `s3`
    hint: stages of the run: s1, s2
    [exit: 2]
    ");
}

#[test]
fn a_stage_that_never_began_has_an_empty_log() {
    let repo = Fixture::with_commands(&["false", "true"]);
    repo.orchestrate("start");

    assert_seen!(repo.orchestrate("logs latest s2"), @"[exit: 0]");
}

#[test]
fn logs_are_found_from_another_worktree() {
    let repo = Fixture::with_commands(&["echo here"]);
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", linked.to_str().unwrap()]);
    let id = repo.orchestrate("start --format json").json()["run_id"].as_str().unwrap().to_owned();

    assert_eq!(repo.orchestrate_in(&linked, &format!("logs {}", &id[..24])).stdout, "here\n");
}

#[test]
fn a_subpipeline_s_log_is_that_of_its_run() {
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "title": "D", "guardrailsRequired": false,
         "stages": [{"kind": "subpipeline", "id": "sub", "title": "Sub", "pipeline": "inner"}]},
        {"id": "inner", "title": "I", "guardrailsRequired": false,
         "stages": [{"kind": "command", "id": "s", "title": "S", "command": "echo inner"}]},
    ]}));
    repo.orchestrate("start");

    let seen = repo.orchestrate("logs latest sub");
    assert_seen!(seen, @"
    error: stage `sub` is a run of its own: [RUN]
    hint: git orchestrate logs [RUN]
    [exit: 2]
    ");
    let hint = seen.stderr.lines().last().unwrap().strip_prefix("hint: git orchestrate ").unwrap();
    assert_eq!(repo.orchestrate(hint).stdout, "inner\n");
}

#[test]
fn secrets_are_masked_wherever_a_run_leaves_something() {
    let repo = Fixture::with_commands(&[
        "echo \"it is $MY_TOKEN\"; printf hunter2-; sleep 0; printf 'very-secret\\n'; exit 1",
    ]);

    let seen = repo.see(repo.program().env("MY_TOKEN", "hunter2-very-secret").args(["start"]));

    assert_eq!(seen.code, 1, "{seen}");
    let secret = "hunter2-very-secret";
    assert!(!seen.to_string().contains(secret), "{seen}");
    for name in repo.tree(".") {
        let text = String::from_utf8_lossy(&std::fs::read(repo.path(&name)).unwrap()).into_owned();
        assert!(!text.contains(secret), "{name} holds the secret");
    }
    assert!(repo.orchestrate("logs").stdout.starts_with("it is "));
    assert_eq!(repo.only_manifest("0101")["plan"]["masked"], json!(["MY_TOKEN"]));
}

#[test]
fn secrets_in_what_is_said_about_a_run_are_masked_too() {
    let secret = "hunter2-very-secret";
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "title": "D", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "s1", "command": "exit 1", "cwd": secret},
        ]},
    ]}));
    repo.write("tasks/index.json", &json!({"items": [{"id": "0101", "slug": secret}]}).to_string());
    repo.write(&format!("{secret}/file"), "");
    repo.git(&["checkout", "--quiet", "-b", secret]);
    let program = |words: &[&str]| repo.see(repo.program().env("MY_TOKEN", secret).args(words));

    let parent = format!("after-{secret}");
    let seen = program(&["start", "--approval-policy", secret, "--parent-run", &parent]);
    assert_eq!(seen.code, 1, "{seen}");
    let run = repo.runs("0101")[0].file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(program(&["resume", &run, "--actor", secret, "--reason", secret]).code, 1);
    let seen = program(&["resume", &run, "--actor", secret, "--reason", secret, "--token", secret]);
    assert_eq!(seen.code, 6, "{seen}");

    for folder in [".runs", "out"] {
        for name in repo.tree(folder) {
            let text =
                String::from_utf8_lossy(&std::fs::read(repo.path(folder).join(&name)).unwrap()).into_owned();
            assert!(!text.contains(secret), "{name} holds the secret: {text}");
        }
    }
}

#[test]
fn a_guard_in_its_shadow_lets_everything_through_and_says_so() {
    let repo = Fixture::with_commands(&["echo \"it is $MY_TOKEN\""]);

    let seen = repo.see(
        repo.program()
            .env("MY_TOKEN", "hunter2-very-secret")
            .env("CODEX_PRIVACY_GUARD_MODE", "shadow")
            .args(["start"]),
    );

    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(repo.orchestrate("logs").stdout, "it is hunter2-very-secret\n");
    let privacy = repo.only_manifest("0101")["privacy"].clone();
    assert_eq!(privacy["mode"], "shadow");
    assert_eq!(privacy["decisions"][1]["reason"], "shadow-mode");
    assert_eq!(privacy["totals"]["redacted_frames"], 0);
}

#[test]
fn the_log_of_a_child_stands_where_the_child_began() {
    let repo = Fixture::with_config(&serde_json::json!({"pipelines": [
        {"id": "diagnostics", "title": "Outer", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "before", "command": "echo before"},
            {"kind": "subpipeline", "id": "inner", "pipeline": "inner"},
            {"kind": "command", "id": "after", "command": "echo after"},
        ]},
        {"id": "inner", "title": "Inner", "guardrailsRequired": false,
         "stages": [{"kind": "command", "id": "s", "command": "echo within"}]},
    ]}));
    assert_eq!(repo.orchestrate("start").code, 0);
    assert_eq!(repo.orchestrate("logs").stdout, "before\nwithin\nafter\n");
    assert_eq!(repo.orchestrate("logs -f").stdout, "before\nwithin\nafter\n");
}

/// A stage that begins lines on both streams, and ends them when the test lets it.
fn in_pieces(id: &str) -> Value {
    let up = format!("echo up > \"$HOME/{id}.up\"");
    let command =
        format!("printf '{id} '; printf 'to ' >&2; {up}; read _ < \"$HOME/{id}\"; echo out; echo err >&2");
    json!({"kind": "command", "id": id, "command": command})
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn stages_that_run_at_the_same_time_share_no_line() {
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "title": "D", "guardrailsRequired": false, "stages": [in_pieces("a"), in_pieces("b")]},
    ]}));
    let mut gates = [Gate::new(&repo, "a"), Gate::new(&repo, "b")];
    let running = spawn(repo.program().args(["start", "--jobs", "2"]));
    wait_for(&repo.beside("a.up"));
    wait_for(&repo.beside("b.up"));
    let following = spawn(repo.program().args(["logs", "-f"]));
    gates.iter_mut().for_each(Gate::open);
    assert_eq!(ended(running).code, 0);

    let whole = ["a | a out", "a | to err", "b | b out", "b | to err"];
    assert_eq!(sorted(&repo.orchestrate("logs").stdout), whole);
    assert_eq!(sorted(&ended(following).stdout), whole);
    // A reader of one stage knows whose lines they are.
    assert_eq!(repo.orchestrate("logs --stage b").stdout, repo.orchestrate("logs latest b").stdout);
    assert!(!repo.orchestrate("logs --stage b").stdout.contains('|'));
    assert_eq!(repo.orchestrate("logs latest a --stage b").code, 2);
}

#[test]
fn what_a_child_prints_and_what_runs_beside_it_are_followed_at_once() {
    let waits = |id: &str| {
        let command = format!("echo {id} says; read _ < \"$HOME/{id}\"; echo {id} ends");
        json!({"kind": "command", "id": id, "command": command})
    };
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "title": "Outer", "guardrailsRequired": false, "stages": [
            {"kind": "subpipeline", "id": "sub", "pipeline": "inner"},
            waits("beside"),
        ]},
        {"id": "inner", "title": "Inner", "guardrailsRequired": false, "stages": [waits("within")]},
    ]}));
    let mut gates = [Gate::new(&repo, "beside"), Gate::new(&repo, "within")];
    let running = spawn(repo.program().args(["start", "--jobs", "2"]));
    wait_until("the run is there", || repo.orchestrate("logs").code == 0);
    let seen = repo.beside("seen");
    let mut following =
        repo.program().args(["logs", "-f"]).stdout(std::fs::File::create(&seen).unwrap()).spawn().unwrap();
    let text = || std::fs::read_to_string(&seen).unwrap();
    wait_until("both are followed while neither has ended", || {
        sorted(&text()) == ["beside | beside says", "sub/within | within says"]
    });
    gates.iter_mut().for_each(Gate::open);
    assert_eq!(ended(running).code, 0);
    assert!(following.wait().unwrap().success(), "it ends with the run");

    let whole = [
        "beside | beside ends",
        "beside | beside says",
        "sub/within | within ends",
        "sub/within | within says",
    ];
    assert_eq!(sorted(&text()), whole);
    assert_eq!(sorted(&repo.orchestrate("logs").stdout), whole);
    let events = repo.orchestrate("logs --json").stdout;
    assert!(!events.contains("within says\\n"), "the events of a run are its own");
    assert!(events.contains("beside says\\n"));
}

#[test]
fn every_attempt_of_a_stage_has_its_heading() {
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "title": "D", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "once", "command": "echo once"},
            {"kind": "command", "id": "shaky", "retries": {"max": 2, "delay": 0},
             "command": "printf try; test -e \"$HOME/again\" || { touch \"$HOME/again\"; exit 1; }"},
        ]},
    ]}));
    assert_eq!(repo.orchestrate("start").code, 0);
    let attempts = "── shaky, attempt 1\ntry\n── shaky, attempt 2\ntry";
    assert_eq!(repo.orchestrate("logs").stdout, format!("once\n{attempts}"));
    assert_eq!(repo.orchestrate("logs --stage shaky").stdout, attempts);
    assert_eq!(repo.orchestrate("logs --stage once").stdout, "once\n");
}
