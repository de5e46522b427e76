//! `spawn`: goals that a file declares, each as a run of its own under one.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::fixture::{Fixture, manifest, statuses};
use crate::stream::folder;
use crate::witness::{Gate, audit, ended, is_alive, spawn, wait_for, wait_until};

fn goals(repo: &Fixture, file: &Value) {
    let text = serde_json::to_string_pretty(file).expect("JSON");
    std::fs::write(repo.beside("goals.json"), text).expect("a file");
}

fn program(repo: &Fixture, words: &str) -> std::process::Command {
    let mut program = repo.program();
    program.arg("spawn").arg(repo.beside("goals.json")).args(["--task", "t"]).args(words.split_whitespace());
    program
}

/// Returns the manifest of the run above.
fn above(repo: &Fixture) -> Value {
    let all: Vec<_> = repo.runs("t").iter().map(|run| manifest(run)).collect();
    let mut above = all.into_iter().filter(|it| it["pipeline_id"] == "goals");
    let found = above.next().expect("a run above");
    assert!(above.next().is_none(), "there are two");
    found
}

#[test]
fn each_goal_is_a_run_of_its_own_here_or_in_a_stream() {
    let repo = Fixture::with_commands(&["test ! -e broken"]);
    repo.orchestrate("stream new ui --task t");
    std::fs::write(folder(&repo, "ui").join("broken"), "").expect("a file");
    std::fs::create_dir(repo.path("web")).expect("a folder");
    goals(
        &repo,
        &json!({
            "title": "All at once",
            "adapters": [{"id": "web", "cwd": "web", "env": {"WHO": "it's $HOME"}, "commands": {
                "build": "pwd; echo \"$WHO\"",
                "test": {"command": "printf", "args": ["%s|", "a b", "$c"]},
            }}],
            "goals": [
                "build",
                "test",
                {"goal": "look", "command": "exit 7", "timeout": "1m"},
                {"pipeline": "diagnostics"},
                {"pipeline": "diagnostics", "stream": "ui"},
                {"id": "after", "command": "true", "needs": ["look"]},
            ],
        }),
    );
    let seen = repo.see(&mut program(&repo, "--format json --jobs 3"));
    assert_eq!(seen.code, 1, "{seen}");
    let answer = seen.json();
    let told: Vec<_> = answer["goals"]
        .as_array()
        .expect("goals")
        .iter()
        .map(|it| format!("{} {} {}", it["id"], it["status"], it["run_status"]).replace('"', ""))
        .collect();
    assert_eq!(
        told,
        [
            "web:build succeeded succeeded",
            "web:test succeeded succeeded",
            "look failed failed",
            "diagnostics succeeded succeeded",
            "ui:diagnostics failed failed",
            "after pending null",
        ]
    );
    assert_eq!(answer["goals"][2]["exit_code"], 7);
    let above = above(&repo);
    assert_eq!((&above["status"], &above["run_id"]), (&"failed".into(), &answer["run_id"]));
    assert_eq!(above["pipeline_title"], "All at once");
    audit(&repo, "t");
    for (at, stage) in above["commands"].as_array().expect("stages").iter().enumerate() {
        let goal = &answer["goals"][at];
        assert_eq!(goal["run_id"], stage["sub_run_id"]);
        let Some(path) = goal["manifest"].as_str() else { continue };
        let child = repo.json(path);
        assert_eq!((&child["parent_run_id"], &child["run_id"]), (&above["run_id"], &goal["run_id"]));
    }
    let run = above["run_id"].as_str().expect("a run");
    let seen = repo.orchestrate(&format!("logs {run} web:build"));
    assert_eq!(seen.stdout, format!("{}\nit's $HOME\n", repo.path("web").display()));
    assert_eq!(repo.orchestrate(&format!("logs {run} web:test")).stdout, "a b|$c|");
    // Some of them, as a person sees them.
    let seen = repo.see(&mut program(&repo, "--adapters web --goals build,test --jobs 1"));
    assert_seen!(seen, @"
    All at once · [RUN] · [COMMIT] on main, clean
          ok  web:build  [SPAN]
          ok  web:test  [SPAN]
    ADAPTER  GOAL   STREAM  STATUS     TIME   RUN
    web      build  -       succeeded  [SPAN]  [RUN]
    web      test   -       succeeded  [SPAN]  [RUN]
    Run finished: [RUN]
    Status: succeeded
    Manifest: .runs/t/cli/[RUN]/manifest.json
    Log: .runs/t/cli/[RUN]/runner.ndjson
    [exit: 0]
    ");
}

#[test]
fn what_would_start_is_shown_and_nothing_is_written() {
    let repo = Fixture::new("passing");
    repo.orchestrate("stream new ui");
    goals(
        &repo,
        &json!({"jobs": 2, "adapters": ["go-module", "python-pytest"], "goals": ["test",
            {"pipeline": "diagnostics", "stream": "ui", "timeout": 90, "needs": ["go-module:test"]}]}),
    );
    let seen = repo.see(&mut program(&repo, "--dry-run"));
    assert_seen!(seen, @"
    GOAL                WHERE  LIMITS                        WHAT
    go-module:test      here   -                             go test ./...
    python-pytest:test  here   alone                         python3 -m pytest -q
    ui:diagnostics      ui     1m 30s, after go-module:test  pipeline diagnostics
    At most 2 at the same time. Nothing was started.
    [exit: 0]
    ");
    let answer = repo.see(&mut program(&repo, "--dry-run --format json --goals test")).json();
    assert_eq!((&answer["jobs"], answer["goals"].as_array().map(Vec::len)), (&json!(2), Some(2)));
    assert_eq!(answer["goals"][1]["parallel"], false);
    assert_eq!(repo.runs("t").len(), 0);
}

#[test]
fn goals_that_could_not_begin_are_refused_and_nothing_is_written() {
    let repo = Fixture::new("passing");
    for (file, words, said) in [
        (json!({"goals": [{"pipeline": "nothing"}]}), "", "no pipeline named `nothing`"),
        (json!({"goals": [{"pipeline": "diagnostics", "stream": "x"}]}), "", "there is no stream `x`"),
        (json!({"goals": [{"goal": "a", "command": "true", "cwd": "none"}]}), "", "there is no folder"),
        (json!({"goals": [{"goal": "a", "comand": "true"}]}), "", "did you mean `command`?"),
        (json!({"adapters": ["go-module"]}), "--goals deploy", "the file has no goal `deploy`"),
        (json!({"adapters": ["go-module"]}), "--adapters go", "the file has no adapter `go`"),
        (json!({}), "", "`goals` is empty"),
    ] {
        goals(&repo, &file);
        for more in ["", " --detach", " --dry-run"] {
            let seen = repo.see(&mut program(&repo, &format!("{words}{more}")));
            assert!(seen.code == 2 && seen.stderr.contains(said), "{file}{more}: {seen}");
            assert_eq!(seen.stdout, "");
        }
    }
    std::fs::write(repo.beside("goals.json"), [0xff, 0xfe]).expect("a file");
    let seen = repo.see(&mut program(&repo, ""));
    assert!(seen.code == 2 && seen.stderr.contains("no UTF-8"), "{seen}");
    std::fs::remove_file(repo.beside("goals.json")).expect("a file");
    for words in ["", "--detach"] {
        let seen = repo.see(&mut program(&repo, words));
        assert!(seen.code == 2 && seen.stderr.contains("cannot read the goals"), "{seen}");
    }
    let seen = repo.orchestrate("spawn - --detach");
    assert!(seen.code == 2 && seen.stderr.contains("stdin"), "{seen}");
    assert!(!repo.path(".runs").exists());
}

#[test]
fn goals_are_read_from_stdin_too() {
    let repo = Fixture::new("passing");
    let mut program = repo.program();
    program.args(["spawn", "-", "--task", "t", "--format", "json"]).stdin(Stdio::piped());
    let mut child = spawn(&mut program);
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(br#"{"goals": [{"goal": "a", "command": "read x || echo nothing"}]}"#).expect("it reads");
    drop(stdin);
    let seen = ended(child);
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(seen.json()["goals"][0]["summary"], "nothing");
    let mut program = repo.program();
    program.args(["spawn", "-", "--task", "t"]);
    let seen = repo.see(&mut program);
    assert!(seen.code == 2 && seen.stderr.contains("--> stdin:1:1"), "{seen}");
}

#[test]
fn limits_hold_a_time_for_each_and_some_alone() {
    let repo = Fixture::new("passing");
    let step = |name: &str| {
        json!({"goal": name, "parallel": name != "alone", "command": format!(
            "echo begin {name} >> \"$HOME/order\"; sleep 0.05; echo end {name} >> \"$HOME/order\"")})
    };
    goals(
        &repo,
        &json!({"jobs": 4, "timeout": "20s", "goals": [step("a"), step("b"), step("alone"), step("c"),
            {"goal": "slow", "command": "sleep 30; echo not reached", "timeout": 3}]}),
    );
    let seen = repo.see(&mut program(&repo, "--format json"));
    assert_eq!(seen.code, 1, "{seen}");
    let answer = seen.json();
    let slow = &answer["goals"][4];
    assert_eq!((&slow["status"], &slow["timed_out"]), (&"failed".into(), &true.into()));
    assert_eq!(slow["run_status"], "cancelled", "its own run has its end on disk");
    let order = std::fs::read_to_string(repo.beside("order")).expect("an order");
    let lines: Vec<_> = order.lines().collect();
    let at = lines.iter().position(|line| *line == "begin alone").expect("it ran");
    assert_eq!(lines[at + 1], "end alone", "{order}");
    let before = |line: &str| lines.iter().position(|it| *it == line).expect("a line") < at;
    assert!(before("end a") && before("end b") && !before("begin c"), "{order}");
}

#[test]
fn where_one_failure_ends_all_the_others_are_ended() {
    let repo = Fixture::new("passing");
    let _gate = Gate::new(&repo, "gate");
    goals(
        &repo,
        &json!({"jobs": 2, "keepGoing": false, "goals": [
            {"goal": "waits", "command": "echo $$ > \"$HOME/pid\"; read _ < \"$HOME/gate\""},
            {"goal": "fails", "command": "while ! test -s \"$HOME/pid\"; do sleep 0.01; done; exit 1"},
            {"goal": "never", "command": "true"}]}),
    );
    let seen = repo.see(&mut program(&repo, ""));
    assert_eq!(seen.code, 1, "{seen}");
    assert!(!is_alive(&wait_for(&repo.beside("pid"))));
    let above = above(&repo);
    assert_eq!(statuses(&above), ["failed", "failed", "pending"]);
    let ends: Vec<_> =
        above["child_runs"].as_array().expect("children").iter().map(|it| &it["status"]).collect();
    assert_eq!(ends.len(), 2);
    assert!(ends.contains(&&json!("cancelled")) && ends.contains(&&json!("failed")), "{above}");
}

#[test]
fn two_sets_at_once_and_one_that_is_detached_do_not_meet() {
    let repo = Fixture::new("passing");
    let mut gate = Gate::new(&repo, "gate");
    goals(
        &repo,
        &json!({"jobs": 2, "goals": [
            {"goal": "a", "command": "echo $$ >> \"$HOME/pids\"; read _ < \"$HOME/gate\""},
            {"goal": "b", "command": "echo b"}]}),
    );
    let seen = repo.see(&mut program(&repo, "--detach --format json"));
    assert_eq!(seen.code, 0, "{seen}");
    let run = seen.json()["run_id"].as_str().expect("a run").to_owned();
    let others: Vec<_> = (0..2).map(|_| spawn(&mut program(&repo, "--format json"))).collect();
    let all = || std::fs::read_to_string(repo.beside("pids")).unwrap_or_default().lines().count();
    wait_until("all three have begun", || all() == 3);
    let status = repo.orchestrate(&format!("status {run} --format json")).json();
    assert_eq!(status["status"], "in_progress");
    (0..3).for_each(|_| gate.open());
    for other in others {
        let seen = ended(other);
        assert_eq!(seen.code, 0, "{seen}");
        assert!(
            seen.json()["goals"].as_array().expect("goals").iter().all(|it| it["run_status"] == "succeeded")
        );
    }
    let seen = repo.orchestrate(&format!("status {run} --watch --interval 0.1 --format json"));
    assert_eq!(seen.json()["status"], "succeeded");
    let parents: Vec<_> = repo.runs("t").iter().map(|run| manifest(run)).collect();
    assert_eq!(parents.len(), 9);
    audit(&repo, "t");
}
