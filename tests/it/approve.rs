//! Stages that wait for a person: `approve`, `reject`, and the policies that need nobody.

use std::path::{Path, PathBuf};
use std::process::Child;

use serde_json::{Value, json};

use crate::fixture::{Fixture, Seen, id, manifest, only_run};
use crate::witness::{
    Gate, audit, audit_finished, ended, events, is_alive, kill, lines, metrics, spawn, wait_for, wait_until,
};

/// The program as a shell reads it: it may lie in a folder with a blank in its name.
const PROGRAM_IN_A_SHELL: &str = concat!("'", env!("CARGO_BIN_EXE_git-orchestrate"), "'");

/// A stage that waits to be let on.
const WAITS: &str = "echo $$ > \"$HOME/up\"; read _ < \"$HOME/gate\"";

fn with_stages(stages: Value) -> Fixture {
    Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "title": "Diagnostics", "guardrailsRequired": false, "stages": stages},
    ]}))
}

/// Three stages, the second of which asks.
fn asking() -> Fixture {
    with_stages(json!([
        {"kind": "command", "id": "build", "command": "echo built >> \"$HOME/built\""},
        {"kind": "manual", "id": "look", "instructions": "Look at the pages."},
        {"kind": "command", "id": "ship", "command": "echo shipped >> \"$HOME/shipped\""},
    ]))
}

fn start(repo: &Fixture, words: &str) -> Child {
    spawn(repo.program().args(["start", "--task", "t"]).args(words.split_whitespace()))
}

/// Waits until a run has asked so many times, and returns it.
fn asked(repo: &Fixture, times: usize) -> PathBuf {
    let asks = |run: &PathBuf| match run.join("runner.ndjson").exists() {
        true => whole_lines(run).iter().filter(|line| line["type"] == "stage:waiting").count(),
        false => 0,
    };
    wait_until("somebody is asked", || repo.runs("t").iter().map(asks).sum::<usize>() == times);
    repo.runs("t").into_iter().find(|run| asks(run) > 0).expect("it asked")
}

/// Returns the lines of a journal that somebody writes to.
fn whole_lines(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("runner.ndjson")).expect("a journal");
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn parked(repo: &Fixture) -> PathBuf {
    let run = only_run(repo);
    wait_until("the run is left alone", || {
        let state = state(repo, &run);
        state["parked"] == true && std::fs::read_to_string(run.join(".lease")).is_ok()
    });
    let owner = manifest(&run)["attempts"][0]["owner"]["pid"].as_u64().expect("a pid");
    wait_until("nobody works on it", || !is_alive(&owner.to_string()));
    run
}

fn state(repo: &Fixture, run: &Path) -> Value {
    repo.orchestrate(&format!("status {} --format json", id(run))).json()
}

fn finished(repo: &Fixture, run: &Path) -> Value {
    wait_until("the run is over", || {
        manifest(run)["metrics_recorded"] == true && state(repo, run)["status"] != "in_progress"
    });
    audit(repo, "t");
    manifest(run)
}

fn count(repo: &Fixture, name: &str) -> usize {
    std::fs::read_to_string(repo.beside(name)).unwrap_or_default().lines().count()
}

#[test]
fn a_run_in_the_foreground_waits_and_says_what_to_type() {
    let repo = asking();
    let running = start(&repo, "");
    let run = asked(&repo, 1);
    let standing = state(&repo, &run);
    assert_eq!(
        (&standing["status"], &standing["status_detail"]),
        (&json!("in_progress"), &json!("stage:look:waiting"))
    );
    let (approve, reject) = (
        format!("git orchestrate approve {} look", id(&run)),
        format!("git orchestrate reject {} look", id(&run)),
    );
    assert_eq!(standing["waiting"][0]["approve"], approve);
    assert_eq!(standing["waiting"][0]["reject"], reject);
    assert_eq!(standing["waiting"][0]["instructions"], "Look at the pages.");
    for answer in ["list", "status"] {
        let seen = repo.orchestrate(answer);
        assert!(seen.stdout.contains("waiting") && seen.stdout.contains(&approve), "{seen}");
        assert!(seen.stdout.contains(&reject) && !seen.stdout.contains("dead"), "{seen}");
    }
    assert_eq!(count(&repo, "shipped"), 0);

    let seen = repo.see(repo.program().env("USER", "ada").args([
        "approve",
        id(&run),
        "look",
        "--reason",
        "looks good",
        "--format",
        "json",
    ]));
    assert_eq!(seen.code, 0, "{seen}");
    let answer = seen.json();
    assert_eq!(
        (&answer["stage"], &answer["decision"], &answer["first"]),
        (&json!("look"), &json!("approved"), &json!(true))
    );
    assert!(answer["actor"].as_str().expect("somebody").starts_with("ada@"));
    let told = ended(running);
    assert_eq!(told.code, 0, "{told}");
    assert!(told.stderr.contains("Look at the pages.") && told.stderr.contains(&approve), "{told}");
    let done = manifest(&run);
    assert_eq!(done["commands"][1]["status"], "succeeded");
    assert!(done["commands"][1]["waiting"].is_null());
    let approval = &done["approvals"][0];
    assert_eq!((&approval["reason"], &approval["stage"]), (&json!("looks good"), &json!("look")));
    assert_eq!((&approval["decision"], &approval["source"]), (&json!("approved"), &json!("command")));
    let reference = format!(".runs/t/cli/{}/manifest.json#approvals[0]", id(&run));
    assert_eq!((&approval["reference"], &answer["reference"]), (&json!(reference), &json!(reference)));
    assert_eq!((events(&run, "stage:waiting").len(), events(&run, "stage:decided").len()), (1, 1));
    assert_eq!((count(&repo, "built"), count(&repo, "shipped")), (1, 1));
    audit_finished(&repo, "t", &run);
    let seen = repo.orchestrate("status");
    assert!(seen.stdout.contains("Stage look approved by ada@"), "{seen}");
}

#[test]
fn what_a_person_sees_who_waits_and_who_decides() {
    let repo = asking();
    let running = start(&repo, "");
    let run = asked(&repo, 1);
    let seen = repo.orchestrate(&format!("approve {} look --actor ada --reason fine", id(&run)));
    let approved = ended(running);
    assert_eq!(approved.code, 0, "{approved}");
    // How far the run has got by then is not ours to say.
    let seen = Seen { stdout: seen.stdout.replace("Status: succeeded", "Status: in_progress"), ..seen };
    assert_seen!(seen, @"
    Approved: look of run [RUN]
    By: ada: fine at [TIME]
    Status: in_progress
    Record: .runs/t/cli/[RUN]/manifest.json#approvals[0]
    [exit: 0]
    ");
    assert_seen!(approved, @"
    Diagnostics · [RUN] · [COMMIT] on main, clean
          ok  build  [SPAN]
       waits  look  Look at the pages.
              git orchestrate approve [RUN] look
              git orchestrate reject [RUN] look
    approved  look  by ada: fine
          ok  look  [SPAN]
          ok  ship  [SPAN]
    Run finished: [RUN]
    Status: succeeded
    Manifest: .runs/t/cli/[RUN]/manifest.json
    Log: .runs/t/cli/[RUN]/runner.ndjson
    [exit: 0]
    ");
}

#[test]
fn a_plan_shows_who_will_be_asked() {
    let repo = with_stages(json!([
        {"kind": "manual", "id": "look", "instructions": "Look at the pages."},
        {"kind": "command", "id": "ship", "approval": "required", "command": "true"},
    ]));
    assert_seen!(repo.orchestrate("plan"), @"
    Pipeline: diagnostics — Diagnostics [user]
    Stages:
    1. [manual] look (look)
       instructions: Look at the pages.
    2. [command] ship (ship)
       approval: required
       command: true
    [exit: 0]
    ");
    let stages = repo.orchestrate("plan --format json").json()["stages"].clone();
    assert_eq!((&stages[0]["kind"], &stages[1]["approval"]), (&json!("manual"), &json!("required")));
}

#[test]
fn a_rejection_fails_the_stage_and_the_run() {
    let repo = asking();
    let running = start(&repo, "");
    let run = asked(&repo, 1);
    let seen = repo.orchestrate(&format!("reject {} look --actor ada --reason blurry", id(&run)));
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(ended(running).code, 1);
    let done = manifest(&run);
    assert_eq!((&done["status"], &done["status_detail"]), (&json!("failed"), &json!("stage:look:rejected")));
    assert_eq!(
        (&done["commands"][1]["status"], &done["commands"][2]["status"]),
        (&json!("failed"), &json!("pending"))
    );
    assert_eq!(done["commands"][1]["summary"], "Rejected by ada: blurry");
    assert!(done["summary"].as_str().expect("notes").contains("Stage 'look' was rejected by ada: blurry"));
    assert_eq!(done["approvals"][0]["decision"], "rejected");
    assert_eq!(metrics(&repo, "t").len(), 1);
    audit(&repo, "t");
    // Whoever goes on is asked anew, and what was said stays.
    let resumed = spawn(repo.program().args(["resume", id(&run)]));
    asked(&repo, 2);
    assert_eq!(repo.orchestrate(&format!("approve {} look", id(&run))).code, 0);
    assert_eq!(ended(resumed).code, 0);
    let done = manifest(&run);
    let decisions: Vec<_> =
        done["approvals"].as_array().expect("a list").iter().map(|it| &it["decision"]).collect();
    assert_eq!(decisions, ["rejected", "approved"]);
    assert_eq!(count(&repo, "built"), 1);
    audit(&repo, "t");
}

#[test]
fn of_two_who_decide_at_once_the_first_counts_and_the_other_hears_of_it() {
    for verbs in [["approve", "approve"], ["approve", "reject"], ["reject", "reject"]] {
        let repo = asking();
        let running = start(&repo, "");
        let run = asked(&repo, 1);
        let people: Vec<_> = verbs
            .iter()
            .zip(["ada", "bob"])
            .map(|(verb, actor)| spawn(repo.program().args([verb, id(&run), "look", "--actor", actor])))
            .collect();
        let answers: Vec<_> = people.into_iter().map(ended).collect();
        ended(running);
        let done = manifest(&run);
        let approvals = done["approvals"].as_array().expect("a list");
        assert_eq!(approvals.len(), 1, "{approvals:?}");
        let winner = approvals[0]["actor"].as_str().expect("somebody");
        let loser = &answers[usize::from(winner == "ada")];
        assert_eq!(answers[usize::from(winner == "bob")].code, 0);
        if verbs[0] == verbs[1] {
            assert_eq!(loser.code, 0, "{loser}");
            assert!(loser.stdout.contains(" before: look") && loser.stdout.contains(winner), "{loser}");
        } else {
            assert_eq!(loser.code, 5, "{loser}");
            assert!(loser.stderr.contains(&format!("before, by {winner}")), "{loser}");
        }
        let status = if approvals[0]["decision"] == "approved" { "succeeded" } else { "failed" };
        assert_eq!(done["status"], status);
        // And so does everybody who comes later.
        let (same, other) = if status == "succeeded" { ("approve", "reject") } else { ("reject", "approve") };
        assert_eq!(repo.orchestrate(&format!("{same} latest look")).code, 0);
        let late = repo.orchestrate(&format!("{other} latest look"));
        assert_eq!(late.code, 5, "{late}");
        assert_eq!(manifest(&run)["approvals"].as_array().expect("a list").len(), 1);
        audit(&repo, "t");
    }
}

#[test]
fn a_rejection_while_the_stage_runs_is_too_late() {
    let repo =
        with_stages(json!([{"kind": "command", "id": "ship", "approval": "required", "command": WAITS}]));
    let mut gate = Gate::new(&repo, "gate");
    let running = start(&repo, "");
    let run = asked(&repo, 1);
    assert_eq!(repo.orchestrate(&format!("approve {} ship --actor ada", id(&run))).code, 0);
    wait_for(&repo.beside("up"));
    let late = repo.orchestrate(&format!("reject {} ship --actor bob", id(&run)));
    assert_eq!(late.code, 5, "{late}");
    assert!(late.stderr.contains("was approved before, by ada"), "{late}");
    gate.open();
    assert_eq!(ended(running).code, 0);
    assert_eq!(manifest(&run)["approvals"].as_array().expect("a list").len(), 1);
}

#[test]
fn a_rejection_ends_what_runs_beside_and_waiting_stands_in_nobody_s_way() {
    let repo = with_stages(json!([
        {"kind": "manual", "id": "look"},
        {"kind": "command", "id": "ship", "command": "true", "needs": ["look"]},
        {"kind": "manual", "id": "sign"},
        {"kind": "command", "id": "one", "command": "echo one > \"$HOME/one\""},
        {"kind": "command", "id": "two", "command": WAITS},
    ]));
    let _gate = Gate::new(&repo, "gate");
    let running = start(&repo, "--jobs 2");
    wait_for(&repo.beside("one"));
    wait_for(&repo.beside("up"));
    let run = asked(&repo, 2);
    let seen = repo.orchestrate(&format!("reject {} sign", id(&run)));
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(ended(running).code, 1);
    let done = manifest(&run);
    let stages: Vec<_> =
        done["commands"].as_array().expect("a list").iter().map(|it| it["status"].as_str()).collect();
    assert_eq!(stages, [Some("pending"), Some("pending"), Some("failed"), Some("succeeded"), Some("failed")]);
    assert_eq!(done["commands"][4]["summary"], "Cancelled because stage 'sign' failed");
    assert_eq!(
        done["commands"][0]["summary"],
        "Cancelled because stage 'sign' failed while it waited for a decision"
    );
    assert_eq!(done["status_detail"], "stage:sign:rejected");
    audit(&repo, "t");
}

#[test]
fn a_detached_run_that_waits_costs_nothing_until_somebody_decides() {
    let repo = asking();
    let seen = repo.orchestrate("start --task t --detach --format json");
    assert_eq!((seen.code, &seen.json()["status"]), (0, &json!("in_progress")), "{seen}");
    let run = parked(&repo);
    let standing = state(&repo, &run);
    assert_eq!((&standing["dead"], &standing["stale"]), (&json!(false), &json!(false)));
    assert_eq!(standing["waiting"][0]["stage"], "look");
    let listed = repo.orchestrate("list");
    assert!(listed.stdout.contains("waiting") && !listed.stdout.contains("dead"), "{listed}");
    let doctor = repo.orchestrate("doctor --format json");
    assert!(!doctor.stdout.contains("runs.dead"), "{doctor}");
    audit(&repo, "t");
    // From another worktree, and from a hook.
    let other = repo.beside("other tree");
    repo.git(&["worktree", "add", "--quiet", "--detach", other.to_str().expect("text")]);
    let seen = repo.see(
        repo.program()
            .current_dir(&other)
            .env("GIT_DIR", repo.path(".git/worktrees/other-tree"))
            .env("GIT_WORK_TREE", &other)
            .args(["approve", id(&run), "look", "--actor", "ada", "--format", "json"]),
    );
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.json()["reference"].is_string(), "{seen}");
    let done = finished(&repo, &run);
    assert_eq!((&done["status"], &done["git"]["moved"]), (&json!("succeeded"), &json!(false)));
    assert_eq!((count(&repo, "built"), count(&repo, "shipped")), (1, 1));
    assert_eq!(done["resume_events"][0]["actor"], "ada");
    assert!(done["parked_at"].is_null());
    audit_finished(&repo, "t", &run);
}

#[test]
fn two_who_decide_at_once_about_a_parked_run_make_it_go_on_once() {
    let repo = asking();
    assert_eq!(repo.orchestrate("start --task t --detach").code, 0);
    let run = parked(&repo);
    let people: Vec<_> = (0..2).map(|_| spawn(repo.program().args(["approve", id(&run), "look"]))).collect();
    for seen in people.into_iter().map(ended) {
        assert!(seen.code == 0 && !seen.stderr.contains("error"), "{seen}");
    }
    let done = finished(&repo, &run);
    assert_eq!((&done["status"], count(&repo, "shipped")), (&json!("succeeded"), 1));
    assert_eq!(done["attempts"].as_array().expect("a list").len(), 2);
}

#[test]
fn a_decision_without_resume_waits_for_whoever_goes_on() {
    let repo = asking();
    assert_eq!(repo.orchestrate("start --task t --detach").code, 0);
    let run = parked(&repo);
    let seen = repo.orchestrate(&format!("approve {} look --no-resume --format json", id(&run)));
    let next = format!("git orchestrate resume {}", id(&run));
    assert_eq!((seen.code, &seen.json()["next"]), (0, &json!(next)), "{seen}");
    assert_eq!((&seen.json()["reference"], count(&repo, "shipped")), (&Value::Null, 0));
    // Nobody is asked any more: somebody has to go on.
    for document in [
        repo.orchestrate("status --format json").json(),
        repo.orchestrate("list --format json").json()["runs"][0].clone(),
    ] {
        assert_eq!((&document["waiting"], &document["next"]), (&json!([]), &json!(next)), "{document}");
    }
    for words in ["status", "list"] {
        let seen = repo.orchestrate(words);
        assert!(seen.stdout.contains(&next) && !seen.stdout.contains("approve"), "{seen}");
    }
    let seen = repo.orchestrate(&format!("resume {}", id(&run)));
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(events(&run, "stage:waiting").len(), 1, "nobody was asked again");
    audit_finished(&repo, "t", &run);
}

#[test]
fn a_parked_run_whose_tree_has_moved_does_not_go_on_and_says_why() {
    let repo = asking();
    assert_eq!(repo.orchestrate("start --task t --detach").code, 0);
    let run = parked(&repo);
    repo.write("new.txt", "another tree\n");
    let seen = repo.orchestrate(&format!("approve {} look", id(&run)));
    assert_eq!(seen.code, 3, "{seen}");
    assert!(seen.stderr.contains("the tree has changed"), "{seen}");
    assert!(seen.stdout.contains("It goes on with: git orchestrate resume"), "{seen}");
    // What was approved was another tree, so somebody is asked about this one.
    let resumed = spawn(repo.program().args(["resume", id(&run), "--moved-tree"]));
    asked(&repo, 2);
    assert_eq!(count(&repo, "shipped"), 0);
    assert_eq!(repo.orchestrate(&format!("approve {} look", id(&run))).code, 0);
    assert_eq!(ended(resumed).code, 0);
    audit(&repo, "t");
}

#[test]
fn a_run_that_waits_survives_the_death_of_its_process() {
    let repo = asking();
    let mut running = start(&repo, "");
    let run = asked(&repo, 1);
    running.kill().expect("it lives");
    running.wait().expect("it is dead");
    let standing = state(&repo, &run);
    assert_eq!((&standing["dead"], &standing["waiting"][0]["stage"]), (&json!(true), &json!("look")));
    let seen = repo.orchestrate(&format!("approve {} look", id(&run)));
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(finished(&repo, &run)["status"], "succeeded");
    assert_eq!((count(&repo, "built"), count(&repo, "shipped")), (1, 1));
    audit_finished(&repo, "t", &run);
}

#[test]
fn an_approval_that_a_dead_run_had_heard_of_is_not_asked_for_again() {
    let repo =
        with_stages(json!([{"kind": "command", "id": "ship", "approval": "required", "command": WAITS}]));
    let mut gate = Gate::new(&repo, "gate");
    let mut running = start(&repo, "");
    let run = asked(&repo, 1);
    assert_eq!(repo.orchestrate(&format!("approve {} ship --actor ada", id(&run))).code, 0);
    let stage = wait_for(&repo.beside("up"));
    running.kill().expect("it lives");
    running.wait().expect("it is dead");
    std::fs::remove_file(repo.beside("up")).expect("a file");
    let resumed = spawn(repo.program().args(["resume", id(&run)]));
    assert_ne!(wait_for(&repo.beside("up")), stage);
    gate.open();
    assert_eq!(ended(resumed).code, 0);
    let done = manifest(&run);
    assert_eq!(done["approvals"].as_array().expect("a list").len(), 1);
    audit_finished(&repo, "t", &run);
}

#[test]
fn a_run_that_waits_can_be_cancelled_in_every_state() {
    // In the foreground, parked, and killed.
    for state_of in ["foreground", "parked", "killed"] {
        let repo = asking();
        let running = match state_of {
            "parked" => {
                assert_eq!(repo.orchestrate("start --task t --detach").code, 0);
                parked(&repo);
                None
            }
            _ => Some(start(&repo, "")),
        };
        let run = asked(&repo, 1);
        let running = running.map(|mut running| {
            if state_of == "killed" {
                running.kill().expect("it lives");
                running.wait().expect("it is dead");
            }
            running
        });
        let seen = repo.orchestrate(&format!("cancel {} --reason enough --actor me", id(&run)));
        assert_eq!(seen.code, 0, "{state_of}: {seen}");
        if let Some(running) = running.filter(|_| state_of == "foreground") {
            assert_eq!(ended(running).code, 143);
        }
        let done = manifest(&run);
        assert_eq!(
            (&done["status"], &done["status_detail"]),
            (&json!("cancelled"), &json!("cancelled:request"))
        );
        assert_eq!(done["cancellation"]["reason"], "enough");
        assert_eq!(done["commands"][1]["status"], "pending");
        let summary = done["commands"][1]["summary"].as_str().expect("a summary");
        assert!(summary.ends_with("while it waited for a decision"), "{summary}");
        assert!(done["commands"][1]["waiting"].is_null() && done["parked_at"].is_null());
        let late = repo.orchestrate(&format!("approve {} look", id(&run)));
        assert_eq!(late.code, 2, "{late}");
        assert!(late.stderr.contains("is over: it has ended as cancelled"), "{late}");
        audit(&repo, "t");
        assert_eq!(metrics(&repo, "t").len(), 1);
    }
}

#[test]
fn policies_decide_without_asking_and_children_inherit_them() {
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "one", "approval": "required", "command": "true"},
            {"kind": "subpipeline", "id": "sub", "pipeline": "inner"},
        ]},
        {"id": "inner", "guardrailsRequired": false, "stages": [{"kind": "manual", "id": "ok"}]},
    ]}));
    let seen = repo.orchestrate("start --task auto --approval-policy auto");
    assert_eq!(seen.code, 0, "{seen}");
    for run in repo.runs("auto") {
        let done = manifest(&run);
        assert_eq!((&done["status"], &done["approval_policy"]), (&json!("succeeded"), &json!("auto")));
        let approval = &done["approvals"][0];
        assert_eq!((&approval["actor"], &approval["source"]), (&json!("policy:auto"), &json!("policy")));
        assert!(events(&run, "stage:waiting").is_empty());
    }
    assert_eq!(repo.runs("auto").len(), 2);
    let seen = repo.orchestrate("start --task never --approval-policy never");
    assert_eq!(seen.code, 1, "{seen}");
    let done = repo.only_manifest("never");
    assert_eq!(done["status_detail"], "stage:one:rejected");
    let approval = &done["approvals"][0];
    assert_eq!((&approval["actor"], &approval["decision"]), (&json!("policy:never"), &json!("rejected")));
    assert!(done["commands"][0]["started_at"].is_null(), "it never began");
    let seen = repo.orchestrate("start inner --task never2 --approval-policy never");
    assert_eq!((seen.code, &repo.only_manifest("never2")["status"]), (1, &json!("failed")), "{seen}");
    let late = repo.orchestrate("approve latest ok --task never2");
    assert_eq!(late.code, 5, "{late}");
    assert!(late.stderr.contains("by policy:never"), "{late}");
    // Any other word asks.
    let running = start(&repo, "--approval-policy two-managers");
    let run = asked(&repo, 1);
    assert_eq!(repo.orchestrate(&format!("approve {} one", id(&run))).code, 0);
    asked(&repo, 2);
    let seen = repo.orchestrate(&format!("approve {} sub/ok", id(&run)));
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(ended(running).code, 0);
}

#[test]
fn a_stage_of_a_child_run_waits_under_the_name_of_the_whole_and_survives_a_kill() {
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "guardrailsRequired": false, "stages": [
            {"kind": "subpipeline", "id": "sub", "pipeline": "inner"},
        ]},
        {"id": "inner", "guardrailsRequired": false, "stages": [{"kind": "manual", "id": "ok"}]},
    ]}));
    let started = repo.orchestrate("start --task t --detach --format json");
    let outer = repo.runs("t").into_iter().find(|run| id(run) == started.json()["run_id"]).expect("a run");
    asked(&repo, 1);
    let standing = state(&repo, &outer);
    assert_eq!(standing["waiting"][0]["approve"], format!("git orchestrate approve {} sub/ok", id(&outer)));
    let owner = manifest(&outer)["attempts"][0]["owner"]["pid"].as_u64().expect("a pid");
    kill("-KILL", owner as u32);
    wait_until("the owner is gone", || !is_alive(&owner.to_string()));
    // By its own name, in the run that was asked for.
    let seen = repo.orchestrate(&format!("approve {} ok --actor ada", id(&outer)));
    assert_eq!(seen.code, 0, "{seen}");
    let done = finished(&repo, &outer);
    assert_eq!(done["status"], "succeeded", "{done}");
    let inner = manifest(repo.runs("t").last().expect("a child"));
    let approval = &inner["approvals"][0];
    assert_eq!((&approval["actor"], &approval["stage"]), (&json!("ada"), &json!("sub/ok")));
    assert_eq!(
        approval["reference"],
        format!("{}/manifest.json#approvals[0]", inner["artifact_root"].as_str().expect("a path"))
    );
}

#[test]
fn time_limits_stand_still_while_somebody_is_asked() {
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "guardrailsRequired": false, "timeout": "2s", "stages": [
            {"kind": "command", "id": "ship", "approval": "required", "timeout": "2s", "command": "true"},
            {"kind": "command", "id": "side", "command": "sleep 3; echo over > \"$HOME/over\""},
        ]},
    ]}));
    // What another stage takes while somebody is asked is more than the limit. That time passes is what is tested here:
    // no event says that a limit would have been over.
    let running = start(&repo, "--jobs 2");
    let run = asked(&repo, 1);
    wait_for(&repo.beside("over"));
    assert_eq!(repo.orchestrate(&format!("approve {} ship", id(&run))).code, 0);
    let seen = ended(running);
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(manifest(&run)["commands"][0]["timed_out"], Value::Null);
}

#[test]
fn what_cannot_be_decided_is_said_as_it_is() {
    let repo = asking();
    let seen = repo.orchestrate("approve nothing look");
    assert_eq!(seen.code, 2, "{seen}");
    assert!(seen.stderr.contains("no run is called `nothing`"), "{seen}");
    let running = start(&repo, "");
    let run = asked(&repo, 1);
    for (words, said) in [
        (format!("approve {} ship", id(&run)), "waits for no decision: it is pending"),
        (format!("reject {} build", id(&run)), "waits for no decision: it is succeeded"),
        (format!("approve {} nowhere", id(&run)), "has no stage `nowhere`"),
        (format!("approve {}", id(&run)), "STAGE"),
        (format!("approve {} look --actor=", id(&run)), "--actor"),
    ] {
        let seen = repo.orchestrate(&words);
        assert_eq!(seen.code, 2, "{words}: {seen}");
        assert!(seen.stderr.contains(said), "{words}: {seen}");
    }
    assert!(!run.join("approvals").exists(), "nothing was decided");
    assert_eq!(repo.orchestrate("approve latest look").code, 0);
    assert_eq!(ended(running).code, 0);
    let seen = repo.orchestrate("approve latest ship");
    assert_eq!(seen.code, 2, "{seen}");
    assert!(seen.stderr.contains("is over: it has ended as succeeded"), "{seen}");
    let text = lines(&run.join("runner.ndjson"));
    assert!(text.iter().any(|line| line["type"] == "run:finished"));
}

#[test]
fn a_file_that_is_no_decision_is_told_and_decides_nothing() {
    let repo = asking();
    assert_eq!(repo.orchestrate("start --task t --detach").code, 0);
    let run = parked(&repo);
    std::fs::create_dir(run.join("approvals")).expect("a folder");
    std::fs::write(run.join("approvals/02-look.json"), "yes\n").expect("written");
    let seen = repo.orchestrate(&format!("approve {} look", id(&run)));
    assert_eq!(seen.code, 6, "{seen}");
    assert!(seen.stderr.contains("is no decision") && seen.stderr.contains("remove that file"), "{seen}");
    std::fs::remove_file(run.join("approvals/02-look.json")).expect("removed");
    assert_eq!(repo.orchestrate(&format!("approve {} look", id(&run))).code, 0);
    assert_eq!(finished(&repo, &run)["status"], "succeeded");
}

#[test]
fn names_and_secrets_are_what_they_are() {
    let stage = "-it's \u{1F680} a/b";
    let repo = with_stages(json!([{"kind": "manual", "id": stage}]));
    let running = start(&repo, "");
    let run = asked(&repo, 1);
    let approve = state(&repo, &run)["waiting"][0]["approve"].as_str().expect("a command").to_owned();
    // What is printed can be typed as it is.
    let seen =
        repo.see(repo.command("/bin/sh").env("API_TOKEN", "s3cr3t-value-of-mine").arg("-c").arg(
            approve.replace("git orchestrate", PROGRAM_IN_A_SHELL) + " --reason \"s3cr3t-value-of-mine\"",
        ));
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(ended(running).code, 0);
    assert_eq!(manifest(&run)["approvals"][0]["reason"], "[REDACTED]");
    let left = std::fs::read_to_string(run.join("approvals").join("01-it-s-a-b.json")).expect("a decision");
    assert!(!left.contains("s3cr3t"), "{left}");
}

#[test]
fn whoever_decides_can_say_it_again_after_a_crash_at_any_step() {
    // First of what leaves the decision, then of what goes on with the run.
    for step in [2, 5, 7, 8, 9, 10] {
        let repo = asking();
        assert_eq!(repo.orchestrate("start --task t --detach").code, 0);
        let run = parked(&repo);
        let words = ["approve", id(&run), "look"];
        let first = repo.see(repo.program().args(words).env("GIT_ORCHESTRATE_CRASH_AT", step.to_string()));
        wait_until("nobody works on it", || {
            state(&repo, &run)["dead"] == true || state(&repo, &run)["parked"] == true
        });
        let again = repo.see(repo.program().args(words));
        assert_eq!(again.code, 0, "{step}: {first}{again}");
        let seen = match again.stdout.contains("It goes on with: ") {
            true => repo.orchestrate(&format!("resume {}", id(&run))),
            false => again,
        };
        assert_eq!(seen.code, 0, "{step}: {seen}");
        let done = finished(&repo, &run);
        assert_eq!((&done["status"], count(&repo, "shipped")), (&json!("succeeded"), 1), "{step}");
        assert_eq!(done["approvals"].as_array().expect("a list").len(), 1, "{step}");
    }
}

/// Reads what a terminal shows until a text is there.
fn read_until(out: &mut impl std::io::Read, text: &str) -> String {
    let mut shown = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&shown).contains(text) {
        let read = out.read(&mut byte).unwrap_or(0);
        assert_eq!(read, 1, "no `{text}`: {}", String::from_utf8_lossy(&shown));
        shown.push(byte[0]);
    }
    String::from_utf8_lossy(&shown).into_owned()
}

/// Starts a run on a terminal of its own, whose keyboard and screen are ours.
fn on_a_terminal(repo: &Fixture) -> Child {
    let start = format!("{PROGRAM_IN_A_SHELL} start --task t");
    let mut script = repo.command("script");
    script.env("TERM", "xterm").env("USER", "ada").args([
        "--quiet",
        "--return",
        "--command",
        &start,
        "/dev/null",
    ]);
    spawn(script.stdin(std::process::Stdio::piped()))
}

#[test]
fn on_a_terminal_the_run_asks() {
    use std::io::Write;
    for (typed, decision, code) in [("y\n", "approved", 0), ("No\n", "rejected", 1)] {
        let repo = asking();
        let mut terminal = on_a_terminal(&repo);
        let (mut keyboard, mut screen) =
            (terminal.stdin.take().expect("a pipe"), terminal.stdout.take().expect("a pipe"));
        let shown = read_until(&mut screen, "[y/n] ");
        assert!(shown.contains("Look at the pages.") && shown.contains("Approve look?"), "{shown}");
        // What is no answer is asked again.
        keyboard.write_all(b"perhaps\n").expect("a terminal takes it");
        read_until(&mut screen, "[y/n] ");
        keyboard.write_all(typed.as_bytes()).expect("a terminal takes it");
        read_until(&mut screen, "Why");
        keyboard.write_all(b"fine on a phone too\n").expect("a terminal takes it");
        read_until(&mut screen, "Run finished");
        std::io::copy(&mut screen, &mut std::io::sink()).expect("the rest");
        assert_eq!(terminal.wait().expect("it ends").code(), Some(code));
        let approval = &manifest(&only_run(&repo))["approvals"][0];
        assert_eq!((&approval["decision"], &approval["source"]), (&json!(decision), &json!("prompt")));
        assert_eq!(approval["reason"], "fine on a phone too");
        assert!(approval["actor"].as_str().expect("somebody").starts_with("ada@"));
    }
}

#[test]
fn who_sits_at_the_terminal_need_not_answer_if_somebody_else_has() {
    let repo = asking();
    let mut terminal = on_a_terminal(&repo);
    let keyboard = terminal.stdin.take().expect("a pipe");
    let mut screen = terminal.stdout.take().expect("a pipe");
    read_until(&mut screen, "[y/n] ");
    assert_eq!(repo.orchestrate("approve latest look --task t --actor bob").code, 0);
    let rest = read_until(&mut screen, "Run finished");
    assert!(rest.contains("approved  look  by bob"), "{rest}");
    std::io::copy(&mut screen, &mut std::io::sink()).expect("the rest");
    drop(keyboard);
    assert_eq!(terminal.wait().expect("it ends").code(), Some(0));
}
