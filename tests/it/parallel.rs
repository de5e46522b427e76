//! Stages that run at the same time: what they wait for, and what the failure of one means for others.

use std::path::PathBuf;
use std::process::Child;

use serde_json::{Value, json};

use crate::fixture::{Fixture, manifest, only_run};
use crate::witness::{
    Gate, audit, audit_finished, ended, events, is_alive, kill, lines, spawn, wait_for, wait_until,
};

/// A stage whose command says on a file that it is up, and ends when the test lets it.
fn gated(id: &str, needs: &[&str]) -> Value {
    json!({"kind": "command", "id": id, "needs": needs,
           "command": format!("echo $$ > \"$HOME/{id}.up\"; read _ < \"$HOME/{id}\"; echo {id}")})
}

fn stage(id: &str, needs: &[&str], command: &str) -> Value {
    json!({"kind": "command", "id": id, "needs": needs, "command": command})
}

fn repo(stages: &[Value]) -> Fixture {
    Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "title": "D", "guardrailsRequired": false, "stages": stages},
    ]}))
}

fn start(repo: &Fixture, flags: &str) -> Child {
    spawn(repo.program().args(["start", "--task", "t"]).args(flags.split_whitespace()))
}

fn up(repo: &Fixture, id: &str) -> String {
    wait_for(&repo.beside(&format!("{id}.up")))
}

/// Returns the ids of the stages in the order in which they began.
fn began(run: &std::path::Path) -> Vec<String> {
    let commands = manifest(run)["commands"].clone();
    let id = |event: &Value| commands[event["index"].as_u64().expect("an index") as usize - 1]["id"].clone();
    events(run, "stage:started").iter().map(|event| id(event).as_str().expect("text").to_owned()).collect()
}

fn states(run: &std::path::Path) -> Vec<String> {
    let entry = |entry: &Value| format!("{} {}", entry["id"], entry["status"]).replace('"', "");
    manifest(run)["commands"].as_array().expect("stages").iter().map(entry).collect()
}

#[test]
fn independent_stages_run_at_the_same_time_and_needs_are_waited_for() {
    let repo = repo(&[gated("late", &["a", "b"]), gated("a", &[]), gated("b", &[])]);
    let (mut a, mut b, mut late) = (Gate::new(&repo, "a"), Gate::new(&repo, "b"), Gate::new(&repo, "late"));
    let running = start(&repo, "--jobs 8");
    // Both are up before either may end: they run at the same time.
    up(&repo, "a");
    up(&repo, "b");
    b.open();
    let run = only_run(&repo);
    wait_until("`b` has ended", || events(&run, "stage:finished").len() == 1);
    assert!(!repo.beside("late.up").exists(), "it needs `a` too");
    a.open();
    up(&repo, "late");
    late.open();
    let seen = ended(running);
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(states(&run), ["late succeeded", "a succeeded", "b succeeded"], "in the pipeline's order");
    assert_eq!(manifest(&run)["plan"]["jobs"], 8);
    audit(&repo, "t");
    audit_finished(&repo, "t", &run);
    // Each log holds the lines of its own stage, and each line says whose it is.
    for (index, id) in [(1, "late"), (2, "a"), (3, "b")] {
        let log = lines(&run.join(format!("commands/0{index}-{id}.ndjson")));
        assert!(log.iter().all(|line| line["index"] == index), "{id}");
        let printed: Vec<_> = log.iter().filter_map(|line| line["data"].as_str()).collect();
        assert_eq!(printed, [format!("{id}\n")]);
    }
}

#[test]
fn without_jobs_stages_run_in_order_but_for_needs_that_point_forward() {
    let repo = repo(&[
        stage("first", &["third"], "echo first"),
        stage("second", &[], "echo second"),
        stage("third", &[], "echo third"),
    ]);
    let seen = repo.orchestrate("start --task t");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(began(&only_run(&repo)), ["second", "third", "first"]);
    assert_eq!(states(&only_run(&repo)), ["first succeeded", "second succeeded", "third succeeded"]);
}

#[test]
fn the_first_failure_cancels_what_runs_and_resume_runs_it_again() {
    let repo = repo(&[
        stage("other", &[], "echo $$ > \"$HOME/other.up\"; test -e \"$HOME/again\" || sleep 1000 & wait"),
        stage("bad", &[], "read _ < \"$HOME/bad\"; test -e \"$HOME/again\" || exit 3"),
        stage("after", &["bad"], "echo after"),
        stage("never", &["after"], "echo never"),
    ]);
    let mut bad = Gate::new(&repo, "bad");
    let running = start(&repo, "--jobs 2");
    let other = up(&repo, "other");
    bad.open();
    let seen = ended(running);
    assert_eq!(seen.code, 1, "{seen}");
    assert!(!is_alive(&other));
    let run = only_run(&repo);
    let state = manifest(&run);
    assert_eq!(state["status_detail"], "stage:bad:failed");
    assert_eq!(states(&run), ["other failed", "bad failed", "after pending", "never pending"]);
    let summary = |index: usize| state["commands"][index]["summary"].as_str().expect("a reason").to_owned();
    assert_eq!(summary(0), "Cancelled because stage 'bad' failed");
    assert_eq!(summary(2), "Waits for stage 'bad', which did not end well.");
    assert_eq!(summary(3), "Waits for stage 'after', which did not end well.");
    audit(&repo, "t");

    std::fs::write(repo.beside("again"), "").expect("a file");
    bad.open();
    let seen = repo.orchestrate("resume --task t");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(states(&run).iter().all(|state| state.ends_with("succeeded")), "{:?}", states(&run));
    assert_eq!(manifest(&run)["attempts"][1]["stages"], json!([1, 2, 3, 4]), "as fast as the start");
    audit(&repo, "t");
}

#[test]
fn keep_going_runs_everything_that_does_not_need_what_failed() {
    for jobs in ["1", "4"] {
        let repo = repo(&[
            stage("bad", &[], "exit 1"),
            stage("needy", &["bad"], "echo needy"),
            json!({"kind": "command", "id": "soft", "command": "exit 1", "allowFailure": true}),
            stage("after soft", &["soft"], "echo fine"),
            stage("free", &[], "echo free"),
        ]);
        let seen = repo.orchestrate(&format!("start --task t -k -j {jobs}"));
        assert_eq!(seen.code, 1, "{seen}");
        let expected =
            ["bad failed", "needy pending", "soft skipped", "after soft succeeded", "free succeeded"];
        assert_eq!(states(&only_run(&repo)), expected);
        assert_eq!(manifest(&only_run(&repo))["status_detail"], "stage:bad:failed");
        audit(&repo, "t");
    }
}

#[test]
fn called_pipelines_share_the_room_and_nothing_waits_for_ever() {
    let count = "n=$(ls \"$HOME/room\" | wc -l); test $n -le 2 || touch \"$HOME/too many\"";
    let command = format!("touch \"$HOME/room/$$\"; {count}; rm \"$HOME/room/$$\"");
    let leaf: Vec<_> = (0..4).map(|n| stage(&format!("leaf {n}"), &[], &command)).collect();
    let call = |id: &str, pipeline: &str| json!({"kind": "subpipeline", "id": id, "pipeline": pipeline});
    let of = |id: &str, stages: Value| json!({"id": id, "guardrailsRequired": false, "stages": stages});
    let repo = Fixture::with_config(&json!({"jobs": 2, "defaultPipeline": "top", "pipelines": [
        of("top", json!([call("a", "middle"), call("b", "middle"), call("c", "leaf"), stage("d", &[], &command)])),
        of("middle", json!([call("x", "leaf"), call("y", "leaf")])),
        of("leaf", json!(leaf)),
    ]}));
    std::fs::create_dir(repo.beside("room")).expect("a folder");
    let seen = repo.orchestrate("start --task t");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(!repo.beside("too many").exists(), "a command ran beside two others");
    assert_eq!(repo.runs("t").len(), 1 + 2 + 4 + 1);
    audit(&repo, "t");
}

#[test]
fn a_signal_ends_every_running_stage() {
    let repo = repo(&[gated("a", &[]), gated("b", &[]), gated("c", &[])]);
    let _gates = [Gate::new(&repo, "a"), Gate::new(&repo, "b"), Gate::new(&repo, "c")];
    let running = start(&repo, "--jobs 2");
    let pids = [up(&repo, "a"), up(&repo, "b")];
    kill("-TERM", running.id());
    let seen = ended(running);
    assert_eq!(seen.code, 143, "{seen}");
    assert!(!pids.iter().any(|pid| is_alive(pid)));
    let run = only_run(&repo);
    assert_eq!(states(&run), ["a failed", "b failed", "c pending"]);
    assert_eq!(manifest(&run)["status_detail"], "cancelled:SIGTERM");
    assert_eq!(manifest(&run)["commands"][1]["summary"], "Cancelled by SIGTERM");
    assert_eq!(events(&run, "run:interrupted").len(), 1);
    audit(&repo, "t");
}

#[test]
fn a_run_that_died_with_several_stages_is_resumed_after_all_of_them_were_ended() {
    // One of them hides its environment, so only its group tells whose it is.
    let hidden = "echo $$ > \"$HOME/b.up\"; test -e \"$HOME/again\" || exec env -i sleep 1000";
    let repo = repo(&[
        stage("a", &[], "echo $$ > \"$HOME/a.up\"; test -e \"$HOME/again\" || sleep 1000"),
        stage("b", &[], hidden),
    ]);
    let mut running = start(&repo, "--jobs 2");
    let pids = [up(&repo, "a"), up(&repo, "b")];
    let run = only_run(&repo);
    wait_until("both are known", || events(&run, "stage:spawned").len() == 2);
    kill("-KILL", running.id());
    running.wait().expect("a child ends");
    assert!(pids.iter().all(|pid| is_alive(pid)));
    std::fs::write(repo.beside("again"), "").expect("a file");
    let seen = repo.orchestrate("resume --task t");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(!pids.iter().any(|pid| is_alive(pid)));
    assert_eq!(states(&run), ["a succeeded", "b succeeded"]);
    audit_finished(&repo, "t", &run);
}

#[test]
fn what_a_stage_leaves_behind_is_not_blamed_on_the_other() {
    let leak = "sleep 1000 > /dev/null 2>&1 & echo $! > \"$HOME/leaked\"; echo > \"$HOME/leaky.up\"";
    let repo = repo(&[gated("good", &[]), stage("leaky", &[], leak)]);
    let mut good = Gate::new(&repo, "good");
    let running = start(&repo, "--jobs 2");
    up(&repo, "good");
    let run = only_run(&repo);
    wait_until("the leaky stage has ended", || events(&run, "stage:finished").len() == 1);
    good.open();
    let seen = ended(running);
    kill("-KILL", wait_for(&repo.beside("leaked")).parse().expect("a pid"));
    assert_eq!(seen.code, 0, "{seen}");
    let leaked: Vec<_> = events(&run, "stage:finished").iter().map(|end| end["leaked"].clone()).collect();
    assert_eq!(leaked, [json!(true), Value::Null]);
    assert_eq!(events(&run, "stage:finished")[0]["index"], 2);
}

#[test]
fn a_target_runs_alone_whatever_it_needs() {
    let repo = repo(&[stage("a", &[], "echo a"), stage("b", &["a"], "echo b")]);
    let seen = repo.orchestrate("start --task t --target b --jobs 2");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(states(&only_run(&repo)), ["a pending", "b succeeded"]);
}

#[test]
fn jobs_are_a_number_from_one_on() {
    let repo = repo(&[stage("a", &[], "echo a")]);
    assert_eq!(repo.orchestrate("start --jobs 0").code, 2);
    assert_eq!(repo.orchestrate("start --jobs many").code, 2);
    assert_eq!(repo.runs("0101"), [] as [PathBuf; 0]);
}

#[test]
fn the_plan_shows_needs_and_jobs() {
    let repo = Fixture::with_config(&json!({"jobs": 3, "defaultPipeline": "all", "pipelines": [
        {"id": "all", "title": "All", "stages": [
            stage("a", &[], "echo a"),
            stage("b", &["a"], "echo b"),
            {"kind": "subpipeline", "id": "c", "pipeline": "sub", "needs": ["a", "b"]},
        ]},
        {"id": "sub", "jobs": 2, "stages": [stage("d", &[], "echo d")]},
    ]}));
    assert_seen!(repo.orchestrate("plan"), @"
    Pipeline: all — All [user]
    Jobs: 3
    Stages:
    1. [command] a (a)
       command: echo a
    2. [command] b (b)
       needs: a
       command: echo b
    3. [subpipeline] c (c)
       needs: a, b
       pipeline: sub
       jobs: 2
       1. [command] d (d)
          command: echo d
    [exit: 0]
    ");
    let plan = repo.orchestrate("plan --format json").json();
    assert_eq!(plan["jobs"], 3);
    assert_eq!(plan["stages"][2]["needs"], json!(["a", "b"]));
    assert_eq!(plan["stages"][2]["jobs"], 2);
}
