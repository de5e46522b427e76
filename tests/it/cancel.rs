//! `cancel`: from any terminal, of any run.

use std::process::Command;

use serde_json::json;

use crate::fixture::{Fixture, id, manifest, only_run};
use crate::witness::{Gate, audit, ended, events, metrics, spawn, wait_for, wait_until};

const WAITS: &str = "echo $$ > \"$HOME/up\"; read _ < \"$HOME/gate\"";

#[test]
fn a_detached_run_is_cancelled_from_another_worktree_and_says_who_and_why() {
    let repo = Fixture::with_commands(&[WAITS, "true"]);
    let _gate = Gate::new(&repo, "gate");
    assert_eq!(repo.orchestrate("start --task t --detach").code, 0);
    wait_for(&repo.beside("up"));
    let run = only_run(&repo);
    let other = repo.beside("other tree");
    repo.git(&["worktree", "add", "--quiet", "--detach", other.to_str().expect("text")]);
    let seen = repo.see(repo.program().current_dir(&other).env("USER", "ada").args([
        "cancel",
        id(&run),
        "--reason",
        "no longer needed",
        "--format",
        "json",
    ]));
    assert_eq!((seen.code, &seen.json()["status"]), (0, &json!("cancelled")), "{seen}");
    let ended = manifest(&run);
    assert_eq!(ended["status_detail"], "cancelled:request");
    let actor = ended["cancellation"]["actor"].as_str().expect("somebody");
    assert!(actor.starts_with("ada@"), "{actor}");
    assert_eq!(ended["cancellation"]["reason"], "no longer needed");
    assert!(ended["summary"].as_str().expect("notes").contains("Cancelled by ada@"));
    assert_eq!(events(&run, "run:cancel-requested").len(), 1);
    assert_eq!(
        (&ended["commands"][0]["status"], &ended["metrics_recorded"]),
        (&json!("failed"), &json!(true))
    );
    assert_eq!(metrics(&repo, "t").len(), 1);
    audit(&repo, "t");
    // Once more is too late, and changes nothing.
    let again = repo.orchestrate(&format!("cancel {}", id(&run)));
    assert_eq!(again.code, 2, "{again}");
    assert!(again.stderr.contains("is over: it has ended as cancelled"), "{again}");
    assert_eq!(manifest(&run), ended);
}

#[test]
fn a_run_in_the_foreground_of_another_terminal_is_cancelled_by_two_people_at_once() {
    let repo = Fixture::with_commands(&[&format!("trap 'echo bye; exit 0' TERM; {WAITS}")]);
    let _gate = Gate::new(&repo, "gate");
    let running = spawn(repo.program().args(["start", "--task", "t"]));
    wait_for(&repo.beside("up"));
    let run = only_run(&repo);
    let cancels: Vec<_> = (0..2).map(|_| spawn(repo.program().args(["cancel", id(&run)]))).collect();
    let codes: Vec<_> = cancels.into_iter().map(ended).map(|seen| seen.code).collect();
    assert!(codes.contains(&0) && codes.iter().all(|code| [0, 2].contains(code)), "{codes:?}");
    assert_eq!(ended(running).code, 143);
    assert_eq!(events(&run, "run:cancel-requested").len(), 1);
    let printed: String = events(&run, "exec:chunk")
        .iter()
        .map(|chunk| chunk["data"].as_str().expect("text").to_owned())
        .collect();
    assert_eq!(printed, "bye\n", "the stage had its grace");
    audit(&repo, "t");
}

#[test]
fn a_run_whose_owner_died_is_cancelled_with_all_that_it_left() {
    let repo = Fixture::with_commands(&[WAITS, "true"]);
    let _gate = Gate::new(&repo, "gate");
    let mut child = spawn(repo.program().args(["start", "--task", "t"]));
    let stage = wait_for(&repo.beside("up"));
    let run = only_run(&repo);
    wait_until("the stage is known", || !events(&run, "stage:spawned").is_empty());
    child.kill().expect("the program can be killed");
    child.wait().expect("it is dead");
    let seen = repo.orchestrate(&format!("cancel {} --reason enough", id(&run)));
    assert_eq!(seen.code, 0, "{seen}");
    let stat = std::fs::read_to_string(format!("/proc/{stage}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    let ended = manifest(&run);
    assert_eq!((&ended["status"], &ended["cancellation"]["reason"]), (&json!("cancelled"), &json!("enough")));
    assert_eq!(ended["commands"][0]["status"], "failed", "nothing runs any more");
    assert_eq!(
        (&ended["commands"][1]["status"], &ended["metrics_recorded"]),
        (&json!("pending"), &json!(true))
    );
    audit(&repo, "t");
    assert_eq!(repo.orchestrate("list --format json").json()["runs"][0]["dead"], false);
}

#[test]
fn a_dead_run_of_a_commit_is_judged_by_its_own_worktree() {
    let repo = Fixture::with_commands(&["true"]);
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--allow-empty", "--message", "quick"]);
    let quick = repo.read("codex.orchestrator.json");
    repo.write("codex.orchestrator.json", &quick.replace("\"true\"", &json!(WAITS).to_string()));
    repo.git(&["commit", "--quiet", "--all", "--message", "waits"]);
    repo.write("new", "the user goes on meanwhile");
    let _gate = Gate::new(&repo, "gate");
    let dead = |task: &str| {
        let mut child = spawn(repo.program().args(["start", "--commit", "HEAD", "--task", task]));
        wait_for(&repo.beside("up"));
        std::fs::remove_file(repo.beside("up")).expect("removed");
        child.kill().expect("the program can be killed");
        child.wait().expect("it is dead");
    };
    let cancelled = |task: &str| {
        let seen = repo.orchestrate(&format!("cancel --task {task}"));
        assert_eq!(seen.code, 0, "{seen}");
        let ended = repo.only_manifest(task);
        assert_eq!(ended["status"], "cancelled");
        ended["git"].clone()
    };

    dead("t");
    let git = cancelled("t");
    assert_eq!((&git["moved"], &git["tree_at_end"]), (&json!(false), &git["tree"]), "{git}");

    // What another run left in the same place is not what this one saw.
    dead("u");
    assert_eq!(repo.orchestrate("start --commit HEAD~1 --task other").code, 0);
    assert_eq!(repo.only_manifest("other")["git"]["worktree"]["slot"], 1);
    let git = cancelled("u");
    assert_eq!(
        (&git["moved"], git.get("tree_at_end").filter(|it| !it.is_null())),
        (&json!(true), None),
        "{git}"
    );
}

#[test]
fn a_child_ends_with_its_parent_and_not_alone() {
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "stages": [{"kind": "subpipeline", "id": "sub", "pipeline": "inner"}]},
        {"id": "inner", "stages": [{"kind": "command", "id": "one", "command": WAITS}]},
    ]}));
    let _gate = Gate::new(&repo, "gate");
    let started = repo.orchestrate("start --task t --detach --format json").json();
    let outer = started["run_id"].as_str().expect("an id");
    wait_for(&repo.beside("up"));
    let inner = repo.runs("t").into_iter().find(|run| id(run) != outer).expect("a child");
    let seen = repo.orchestrate(&format!("cancel {}", id(&inner)));
    assert_eq!(seen.code, 2, "{seen}");
    assert!(seen.stderr.contains(&format!("git orchestrate cancel {outer}")), "{seen}");
    let seen = repo.orchestrate(&format!("cancel {outer} --actor me"));
    assert_eq!(seen.code, 0, "{seen}");
    for run in repo.runs("t") {
        let ended = manifest(&run);
        assert_eq!((&ended["status"], &ended["cancellation"]["actor"]), (&json!("cancelled"), &json!("me")));
    }
    audit(&repo, "t");
}

#[test]
fn what_cannot_be_cancelled_is_said_as_it_is() {
    let repo = Fixture::with_commands(&["true"]);
    let seen = repo.orchestrate("cancel nothing");
    assert_eq!(seen.code, 2, "{seen}");
    assert!(seen.stderr.contains("no run is called `nothing`"), "{seen}");
    assert_eq!(repo.orchestrate("start --task t").code, 0);
    let run = only_run(&repo);
    let before = manifest(&run);
    let seen = repo.orchestrate("cancel latest");
    assert_eq!(seen.code, 2, "{seen}");
    assert!(seen.stderr.contains("is over: it has ended as succeeded"), "{seen}");
    assert_eq!(manifest(&run), before);
}

#[test]
fn a_run_of_another_machine_is_cancelled_there() {
    let repo = Fixture::with_commands(&[WAITS]);
    let _gate = Gate::new(&repo, "gate");
    let mut child = spawn(repo.program().args(["start", "--task", "t"]));
    let stage = wait_for(&repo.beside("up"));
    let run = only_run(&repo);
    child.kill().expect("the program can be killed");
    child.wait().expect("it is dead");
    assert!(Command::new("kill").args(["-KILL", &stage]).status().expect("kill").success());
    let journal = run.join("runner.ndjson");
    let text = std::fs::read_to_string(&journal).expect("a journal");
    let here = manifest(&run)["attempts"][0]["owner"]["host"].as_str().expect("a host").to_owned();
    std::fs::write(&journal, text.replace(&format!("\"host\":\"{here}\""), "\"host\":\"elsewhere\""))
        .expect("written");
    std::fs::remove_file(run.join("manifest.json")).expect("removed");
    let seen = repo.orchestrate(&format!("cancel {}", id(&run)));
    assert_eq!(seen.code, 5, "{seen}");
    assert!(seen.stderr.contains("on `elsewhere`"), "{seen}");
    assert!(!run.join("cancel-request.1.json").exists());
    // Until its heart has stopped for long enough.
    let old = "2026-01-01T00:00:00.000Z";
    let text: String = std::fs::read_to_string(&journal)
        .expect("a journal")
        .lines()
        .map(|line| {
            let mut event: serde_json::Value = serde_json::from_str(line).expect("JSON");
            event["timestamp"] = json!(old);
            if event["type"] == "run:created" {
                event["manifest"]["heartbeat_at"] = json!(old);
            }
            format!("{event}\n")
        })
        .collect();
    std::fs::write(&journal, text).expect("written");
    std::fs::write(run.join(".heartbeat"), format!("{old}\n")).expect("written");
    let seen = repo.orchestrate(&format!("cancel {}", id(&run)));
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(manifest(&run)["status"], "cancelled");
}
