//! `--detach`: runs that need nobody to stay.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::fixture::{Fixture, manifest, only_run};
use crate::witness::{Gate, audit, audit_finished, ended, events, is_alive, spawn, wait_for, wait_until};

/// A stage that waits to be let on.
const WAITS: &str = "echo begun; echo $$ > \"$HOME/up\"; read _ < \"$HOME/gate\"; echo over";

fn owner(run: &Path) -> u32 {
    let attempts = manifest(run)["attempts"].clone();
    let last = attempts.as_array().and_then(|attempts| attempts.last()).expect("an attempt").clone();
    last["owner"]["pid"].as_u64().expect("a pid") as u32
}

fn kill(signal: &str, pid: &str) {
    assert!(Command::new("kill").args([signal, pid]).status().expect("kill").success());
}

fn wait_for_end(repo: &Fixture, run: &Path) -> Value {
    let id = run.file_name().and_then(|name| name.to_str()).expect("text").to_owned();
    wait_until("the run is over", || {
        let state = repo.orchestrate(&format!("status {id} --format json")).json();
        ["succeeded", "failed", "cancelled"].contains(&state["status"].as_str().expect("a status"))
            && state["metrics_recorded"] == true
            // The file may lag behind the journal for a moment.
            && manifest(run)["metrics_recorded"] == true
    });
    manifest(run)
}

#[test]
fn a_detached_start_answers_at_once_and_the_run_goes_on() {
    let repo = Fixture::with_commands(&[WAITS]);
    let mut gate = Gate::new(&repo, "gate");
    // The answer comes although the stage waits, and whoever reads our streams sees their end.
    let seen = repo.orchestrate("start --task t --detach --format json");
    assert_eq!(seen.code, 0, "{seen}");
    let answer = seen.json();
    assert_eq!(answer["status"], "in_progress", "{seen}");
    let run = only_run(&repo);
    assert_eq!(answer["run_id"], run.file_name().expect("a name").to_str().expect("text"));
    let state = repo.orchestrate("status --format json").json();
    assert_eq!((&state["status"], &state["dead"]), (&json!("in_progress"), &json!(false)));
    let pid = owner(&run).to_string();
    assert!(is_alive(&pid));
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let fields: Vec<_> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    assert_eq!((fields[2], fields[3], fields[4]), (pid.as_str(), pid.as_str(), "0"), "a session of its own");
    let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("a process");
    assert!(words.ends_with("\0start\0--task\0t\0--detach\0--format\0json\0"), "it began once: {words:?}");
    wait_for(&repo.beside("up"));
    // From another worktree, too.
    let other = repo.beside("other tree");
    repo.git(&["worktree", "add", "--quiet", "--detach", other.to_str().expect("text")]);
    let id = answer["run_id"].as_str().expect("an id");
    let watching = spawn(repo.program().current_dir(&other).args([
        "status",
        id,
        "--watch",
        "--interval",
        "0.1",
        "--format",
        "json",
    ]));
    let following = spawn(repo.program().current_dir(&other).args(["logs", id, "-f"]));
    gate.open();
    let watched = ended(watching);
    assert_eq!(watched.json()["status"], "succeeded", "{watched}");
    assert_eq!(ended(following).stdout, "begun\nover\n");
    wait_for_end(&repo, &run);
    audit_finished(&repo, "t", &run);
}

#[test]
fn what_keeps_a_run_from_starting_comes_back_to_the_caller() {
    let repo = Fixture::with_commands(&["true"]);
    let seen = repo.orchestrate("start nothing --task t --detach");
    assert_eq!(seen.code, 2, "{seen}");
    assert!(seen.stderr.contains("no pipeline named `nothing`") && seen.stdout.is_empty(), "{seen}");
    let seen = repo.orchestrate("resume latest --task t --detach");
    assert_eq!(seen.code, 2, "{seen}");
    assert!(seen.stderr.contains("there is no run yet"), "{seen}");
    assert!(repo.runs("t").is_empty());
    fs::create_dir_all(repo.path(".runs")).expect("a folder");
    repo.write(".runs/t", "in the way");
    let seen = repo.orchestrate("start --task t --detach");
    assert_eq!(seen.code, 4, "{seen}");
}

#[test]
fn a_hangup_and_a_closed_descriptor_do_not_reach_a_detached_run() {
    let repo = Fixture::with_commands(&[WAITS]);
    let mut gate = Gate::new(&repo, "gate");
    // The shell holds a lock while it starts the run, as scripts do, and is hung up afterwards.
    let script = "exec 9>\"$HOME/lock\"; flock 9; \"$0\" start --task t --detach >/dev/null; \
         echo > \"$HOME/answered\"; read _ < \"$HOME/shell\"";
    let _shell_gate = Gate::new(&repo, "shell");
    let mut shell = repo.command("setsid");
    // The tests themselves may run under `nohup`, and what is ignored is inherited.
    let mut shell = spawn(shell.args([
        "env",
        "--default-signal=HUP",
        "sh",
        "-c",
        script,
        env!("CARGO_BIN_EXE_git-orchestrate"),
    ]));
    wait_for(&repo.beside("answered"));
    wait_for(&repo.beside("up"));
    git_orchestrate::sys::process::signal_group(shell.id(), rustix::process::Signal::HUP);
    shell.wait().expect("it ends");
    let lock = fs::File::open(repo.beside("lock")).expect("a lock");
    lock.try_lock().expect("nobody holds it any more");
    gate.open();
    let run = only_run(&repo);
    assert_eq!(wait_for_end(&repo, &run)["status"], "succeeded");
}

#[test]
fn a_signal_that_the_caller_has_blocked_reaches_a_detached_run() {
    let repo = Fixture::with_commands(&[WAITS]);
    let _gate = Gate::new(&repo, "gate");
    let mut env = repo.command("env");
    env.args(["--block-signal=TERM", env!("CARGO_BIN_EXE_git-orchestrate")]);
    assert_eq!(ended(spawn(env.args(["start", "--task", "t", "--detach"]))).code, 0);
    wait_for(&repo.beside("up"));
    let run = only_run(&repo);
    kill("-TERM", &owner(&run).to_string());
    assert_eq!(wait_for_end(&repo, &run)["status"], "cancelled");
}

#[test]
fn the_stage_of_a_killed_supervisor_is_ended_and_the_run_can_go_on() {
    // The second one hides in a session of its own and has emptied its environment.
    for stage in [
        WAITS.to_owned(),
        format!("setsid sh -c '{}' & wait", WAITS.replace('\'', "'\\''")),
        format!("exec env -i HOME=\"$HOME\" /bin/sh -c '{}'", WAITS.replace('\'', "'\\''")),
    ] {
        let repo = Fixture::with_commands(&["echo one >> \"$HOME/one\"", &stage]);
        let mut gate = Gate::new(&repo, "gate");
        assert_eq!(repo.orchestrate("start --task t --detach").code, 0);
        let pid = wait_for(&repo.beside("up"));
        let run = only_run(&repo);
        wait_until("the stage is known", || events(&run, "stage:spawned").len() == 2);
        kill("-KILL", &owner(&run).to_string());
        wait_until("the stage is gone", || !is_alive(&pid));
        let id = run.file_name().expect("a name").to_str().expect("text");
        wait_until("the run is known to be dead", || {
            let state = repo.orchestrate(&format!("status {id} --format json")).json();
            assert_eq!(state["status"], "in_progress");
            state["dead"] == true
        });
        let listed = repo.orchestrate("list --format json").json();
        assert_eq!(listed["runs"][0]["next"], format!("git orchestrate resume {id}"));
        assert!(repo.orchestrate("list").stdout.contains(&format!("git orchestrate resume {id}")));
        // Whoever follows sees the end.
        assert_eq!(repo.orchestrate(&format!("status {id} --watch")).code, 0);
        assert_eq!(repo.orchestrate(&format!("logs {id} -f")).code, 0);
        fs::remove_file(repo.beside("up")).expect("a file");
        let resumed = repo.orchestrate(&format!("resume {id} --detach --format json"));
        assert_eq!((resumed.code, &resumed.json()["status"]), (0, &json!("in_progress")), "{resumed}");
        wait_for(&repo.beside("up"));
        gate.open();
        assert_eq!(wait_for_end(&repo, &run)["status"], "succeeded");
        assert_eq!(fs::read_to_string(repo.beside("one")).expect("a file").lines().count(), 1);
        audit(&repo, "t");
    }
}

#[test]
fn a_supervisor_that_waits_lets_go_of_the_code_of_its_start() {
    let repo = Fixture::with_commands(&[WAITS]);
    let mut gate = Gate::new(&repo, "gate");
    let resident = |pid: u32| {
        let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).expect("a process");
        let mut code = smaps.lines().skip_while(|line| !line.contains(" r-xp ")).skip(1);
        let size = code.find_map(|line| line.strip_prefix("Rss:")).expect("a size");
        size.trim_end_matches("kB").trim().parse::<u64>().expect("a number")
    };
    let here = spawn(repo.program().args(["start", "--task", "here"]));
    wait_for(&repo.beside("up"));
    let at_once = resident(here.id());
    gate.open();
    assert_eq!(ended(here).code, 0);

    std::fs::remove_file(repo.beside("up")).expect("removed");
    assert_eq!(repo.orchestrate("start --task t --detach").code, 0);
    wait_for(&repo.beside("up"));
    let run = only_run(&repo);
    let supervisor = owner(&run);
    wait_until("the code is let go", || resident(supervisor) * 3 < at_once * 2);
    gate.open();
    wait_for_end(&repo, &run);
}

#[test]
fn a_supervisor_tells_its_story_in_the_run_s_folder() {
    let repo = Fixture::with_commands(&["exit 3"]);
    assert_eq!(repo.orchestrate("start --task t --detach").code, 0);
    let run = only_run(&repo);
    let ended = wait_for_end(&repo, &run);
    assert_eq!((&ended["status"], &ended["status_detail"]), (&json!("failed"), &json!("stage:s1:failed")));
    assert!(ended["commands"][0]["exit_code"] == 3);
    let told = fs::read_to_string(run.join("supervisor.log")).expect("a log");
    assert!(told.contains("FAILED  s1"), "{told}");
}
