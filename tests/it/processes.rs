//! Stages as processes: signals, orphans, pipes that stay open, and the ways in which they end.

use std::fs;
use std::path::Path;
use std::process::Child;

use crate::fixture::{Fixture, manifest, only_run};
use crate::witness::{
    Gate, audit, audit_finished, ended, events, is_alive, kill, metrics, spawn, wait_for, wait_until,
};

fn start(repo: &Fixture) -> Child {
    // The tests themselves may run under `nohup`, and what is ignored is inherited.
    let program = repo.program().get_program().to_owned();
    spawn(repo.command("env").arg("--default-signal=HUP").arg(program).args(["start", "--task", "t"]))
}

/// Returns what the stages of the only run printed.
fn printed(run: &Path) -> String {
    let chunks = events(run, "exec:chunk");
    chunks.iter().map(|chunk| chunk["data"].as_str().expect("text")).collect()
}

#[test]
fn a_signal_reaches_the_stage_and_the_run_is_cancelled_with_complete_evidence() {
    for (signal, name, code) in [("-INT", "SIGINT", 130), ("-TERM", "SIGTERM", 143), ("-HUP", "SIGHUP", 129)]
    {
        let trap = format!(
            "trap 'echo got it; exit 7' {}; echo up > \"$HOME/up\"; ",
            name.trim_start_matches("SIG")
        );
        let repo =
            Fixture::with_commands(&[&format!("{trap} read _ < \"$HOME/gate\"; echo done"), "echo next"]);
        let mut gate = Gate::new(&repo, "gate");
        let child = start(&repo);
        wait_for(&repo.beside("up"));
        kill(signal, child.id());
        let seen = ended(child);
        assert_eq!(seen.code, code, "{seen}");
        let run = only_run(&repo);
        audit(&repo, "t");
        let cancelled = manifest(&run);
        assert_eq!(cancelled["status"], "cancelled");
        assert_eq!(cancelled["status_detail"], format!("cancelled:{name}"));
        assert_eq!(cancelled["commands"][0]["status"], "failed");
        assert_eq!(cancelled["commands"][1]["status"], "pending");
        assert_eq!(cancelled["metrics_recorded"], true);
        assert_eq!(metrics(&repo, "t").len(), 1);
        assert!(printed(&run).contains("got it"), "{}", printed(&run));
        gate.open();
        let resumed = repo.orchestrate("resume latest --task t");
        assert_eq!(resumed.code, 0, "{resumed}");
        assert_eq!(manifest(&run)["status"], "succeeded");
    }
}

#[test]
fn a_second_signal_kills_a_stubborn_stage_and_all_that_hides_from_it() {
    let hide = |how: &str, name: &str| {
        format!("{how} sh -c 'trap \"\" TERM INT HUP; echo $$ > \"$0\"; exec sleep 1000' \"$HOME/{name}\" & ")
    };
    let stage = [
        "trap '' TERM; ",
        &hide("", "near"),
        &hide("setsid", "far"),
        &hide("env -i setsid", "hidden"),
        "echo $$ > \"$HOME/leader\"; while :; do sleep 1000; done",
    ]
    .concat();
    let repo = Fixture::with_commands(&[&stage]);
    let child = start(&repo);
    let pids: Vec<_> = ["near", "far", "hidden", "leader"].map(|name| wait_for(&repo.beside(name))).into();
    kill("-TERM", child.id());
    let run = only_run(&repo);
    wait_until("the first signal is known", || !events(&run, "run:interrupted").is_empty());
    kill("-TERM", child.id());
    let seen = ended(child);
    assert_eq!(seen.code, 143, "{seen}");
    for pid in &pids {
        assert!(!is_alive(pid), "{pid} of {pids:?} survived");
    }
    assert_eq!(manifest(&run)["status"], "cancelled");
    audit(&repo, "t");
}

#[test]
fn what_a_cooperative_stage_left_behind_is_ended_too() {
    let stage =
        "setsid sh -c 'echo $$ > \"$0\"; exec sleep 1000' \"$HOME/far\" & echo up > \"$HOME/up\"; wait";
    let repo = Fixture::with_commands(&[stage]);
    let child = start(&repo);
    wait_for(&repo.beside("up"));
    let far = wait_for(&repo.beside("far"));
    kill("-TERM", child.id());
    let seen = ended(child);
    assert_eq!(seen.code, 143, "{seen}");
    assert!(!is_alive(&far));
}

#[test]
fn a_run_within_a_stage_ends_in_its_own_time() {
    let inner = "trap 'echo bye; exit 0' TERM; echo up > \"$HOME/up\"; read _ < \"$HOME/gate\"";
    let repo = Fixture::with_config(&serde_json::json!({"pipelines": [
        {"id": "diagnostics", "title": "Outer", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "outer", "title": "Outer",
             "command": format!("'{}' start inner --task inner; echo ended $?", env!("CARGO_BIN_EXE_git-orchestrate"))},
        ]},
        {"id": "inner", "title": "Inner", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "inner", "title": "Inner", "command": inner},
        ]},
    ]}));
    let _gate = Gate::new(&repo, "gate");
    let child = start(&repo);
    wait_for(&repo.beside("up"));
    kill("-TERM", child.id());
    assert_eq!(ended(child).code, 143);
    let inner = &repo.runs("inner")[0];
    assert!(printed(inner).contains("bye"));
    assert_eq!(manifest(inner)["status"], "cancelled");
    assert_eq!(metrics(&repo, "inner").len(), 1);
}

/// A stage that refuses to run beside another one of its kind.
const ALONE: &str = "mkdir \"$HOME/alone\" || { echo twice >> \"$HOME/twice\"; exit 9; }; \
     trap 'rmdir \"$HOME/alone\"; exit 1' TERM; echo $$ >> \"$HOME/up\"; read _ < \"$HOME/gate\"; \
     rmdir \"$HOME/alone\"";

#[test]
fn resume_ends_the_orphan_of_a_killed_program_first() {
    // The second one has emptied its environment.
    for stage in [
        ALONE.to_owned(),
        format!("exec env -i HOME=\"$HOME\" /bin/sh -c '{}'", ALONE.replace('\'', "'\\''")),
    ] {
        let repo = Fixture::with_commands(&[&stage]);
        let mut gate = Gate::new(&repo, "gate");
        let mut child = start(&repo);
        let orphan = wait_for(&repo.beside("up"));
        let run = only_run(&repo);
        wait_until("the stage is known", || !events(&run, "stage:spawned").is_empty());
        child.kill().expect("the program can be killed");
        child.wait().expect("it is dead");
        assert!(is_alive(&orphan));
        let resumed = spawn(repo.program().args(["resume", "latest", "--task", "t"]));
        wait_until("the stage runs again", || {
            fs::read_to_string(repo.beside("up")).unwrap_or_default().lines().count() == 2
        });
        assert!(!is_alive(&orphan));
        gate.open();
        let seen = ended(resumed);
        assert_eq!(seen.code, 0, "{seen}");
        assert!(!repo.beside("twice").exists());
        audit_finished(&repo, "t", &run);
    }
}

#[test]
fn resume_ends_the_orphan_of_a_child_run_too() {
    let repo = Fixture::with_config(&serde_json::json!({"pipelines": [
        {"id": "diagnostics", "title": "Outer", "guardrailsRequired": false, "stages": [
            {"kind": "subpipeline", "id": "part", "title": "Part", "pipeline": "part"},
        ]},
        {"id": "part", "title": "Part", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "alone", "title": "Alone", "command": ALONE},
        ]},
    ]}));
    let mut gate = Gate::new(&repo, "gate");
    let mut child = start(&repo);
    let orphan = wait_for(&repo.beside("up"));
    child.kill().expect("the program can be killed");
    child.wait().expect("it is dead");
    let parent = repo.runs("t")[0].file_name().expect("a name").to_str().expect("text").to_owned();
    let resumed = spawn(repo.program().args(["resume", &parent]));
    wait_until("the stage runs again", || {
        fs::read_to_string(repo.beside("up")).unwrap_or_default().lines().count() == 2
    });
    assert!(!is_alive(&orphan));
    gate.open();
    let seen = ended(resumed);
    assert_eq!(seen.code, 0, "{seen}");
    assert!(!repo.beside("twice").exists());
    audit(&repo, "t");
}

#[test]
fn what_a_background_process_prints_in_the_grace_is_kept() {
    let repo = Fixture::with_commands(&[
        "(read _ < \"$HOME/gate\"; echo late) & echo early; echo up > \"$HOME/up\"",
    ]);
    let mut gate = Gate::new(&repo, "gate");
    let child = start(&repo);
    wait_for(&repo.beside("up"));
    gate.open();
    assert_eq!(ended(child).code, 0);
    let run = only_run(&repo);
    assert!(printed(&run).contains("early\n") && printed(&run).contains("late\n"));
    assert!(events(&run, "stage:finished")[0]["leaked"].is_null());
}

#[test]
fn a_background_process_that_keeps_the_pipe_is_reported_and_does_not_hold_the_run() {
    let repo = Fixture::with_commands(&["setsid sleep 1000 & echo $! > \"$HOME/pid\"; echo x", "echo next"]);
    let seen = repo.orchestrate("start --task t");
    let pid = wait_for(&repo.beside("pid"));
    kill("-KILL", pid.parse().expect("a pid"));
    assert_eq!(seen.code, 0, "{seen}");
    let run = only_run(&repo);
    let ends = events(&run, "stage:finished");
    assert_eq!(ends[0]["leaked"], true);
    assert!(ends[1]["leaked"].is_null());
    assert!(manifest(&run)["summary"].as_str().expect("notes").contains("background processes"));
}

#[test]
fn every_way_to_end_is_told_as_it_was() {
    for (stage, code, signal) in [
        ("exec 1>&- 2>&-; exit 3", 3, None),
        ("exit 127", 127, None),
        ("no-such-program-here", 127, None),
        ("exit 255", 255, None),
        ("kill -KILL $$", 128, Some("SIGKILL")),
        ("kill -SEGV $$", 128, Some("SIGSEGV")),
    ] {
        let repo = Fixture::with_commands(&[stage]);
        let seen = repo.orchestrate("start --task t");
        assert_eq!(seen.code, 1, "{stage}: {seen}");
        let entry = &repo.only_manifest("t")["commands"][0];
        assert_eq!(entry["status"], "failed", "{stage}");
        assert_eq!(entry["exit_code"], code, "{stage}");
        let note: serde_json::Value =
            serde_json::from_str(&repo.read(entry["error_file"].as_str().expect("an error file")))
                .expect("JSON");
        assert_eq!(note["details"]["exit_code"], code, "{stage}");
        assert_eq!(note["details"]["signal"].as_str(), signal, "{stage}");
        assert_eq!(metrics(&repo, "t").len(), 1, "{stage}");
    }
}

#[test]
fn a_stage_has_an_empty_stdin_and_pipes_that_can_be_opened() {
    let repo = Fixture::with_commands(&["cat; echo out > /dev/stdout; echo err > /dev/stderr"]);
    let mut command = repo.program();
    command.args(["start", "--task", "t"]).stdin(std::process::Stdio::piped());
    // The test's end of the pipe stays open for as long as the run goes on.
    let mut child = spawn(&mut command);
    let stdin = child.stdin.take();
    assert_eq!(ended(child).code, 0);
    drop(stdin);
    let text = printed(&only_run(&repo));
    assert!(text.contains("out\n") && text.contains("err\n"), "{text}");
}

#[test]
fn every_line_of_a_fast_stage_is_logged() {
    let repo = Fixture::with_commands(&["seq 1 30000", "seq 1 30000 >&2"]);
    assert_eq!(repo.orchestrate("start --task t").code, 0);
    let expected: String = (1..=30_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(printed(&only_run(&repo)), expected.repeat(2));
}

#[test]
fn no_descriptor_and_no_variable_of_git_leaks_into_a_stage() {
    let list =
        "ls /proc/self/fd | sort -n | tr '\\n' ' '; env | grep -c '^GIT_DIR=\\|^GIT_INDEX_FILE='; true";
    // A jobserver is meant to be inherited.
    let stage = serde_json::json!({"kind": "command", "id": "s1", "command": list, "jobserver": false});
    let pipeline = serde_json::json!({"id": "diagnostics", "guardrailsRequired": false, "stages": [stage]});
    let repo = Fixture::with_config(&serde_json::json!({"pipelines": [pipeline]}));
    let git_dir = repo.path(".git");
    let index = git_dir.join("index");
    // What this test itself has inherited is none of our doing.
    let mut bare = repo.command("/bin/sh");
    let before = repo.see(bare.args(["-c", list]));
    let seen = repo.see(
        repo.program().args(["start", "--task", "t"]).env("GIT_DIR", &git_dir).env("GIT_INDEX_FILE", index),
    );
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(printed(&only_run(&repo)), before.stdout);
}

#[test]
fn a_huge_environment_is_passed_on_and_one_that_is_too_large_fails_the_stage() {
    let repo = Fixture::with_commands(&["echo ${#BIG7}"]);
    let mut command = repo.program();
    for n in 0..8 {
        command.env(format!("BIG{n}"), "x".repeat(100_000));
    }
    assert_eq!(repo.see(command.args(["start", "--task", "t"])).code, 0);
    assert_eq!(printed(&only_run(&repo)), "100000\n");

    let repo = Fixture::with_config(&serde_json::json!({"pipelines": [
        {"id": "diagnostics", "title": "D", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "s1", "title": "s1", "command": "true", "env": {"BIG": "x".repeat(200_000)}},
        ]},
    ]}));
    let seen = repo.orchestrate("start --task t");
    assert_eq!(seen.code, 1, "{seen}");
    let manifest = repo.only_manifest("t");
    assert_eq!(manifest["status_detail"], "stage:s1:error");
    assert!(repo.path(manifest["commands"][0]["error_file"].as_str().expect("a note")).exists());
    assert_eq!(metrics(&repo, "t").len(), 1);
}

#[test]
fn a_run_under_nohup_survives_its_terminal() {
    let repo = Fixture::with_commands(&["echo > \"$HOME/going\"; read _ < \"$HOME/gate\""]);
    let mut gate = Gate::new(&repo, "gate");
    let program = env!("CARGO_BIN_EXE_git-orchestrate");
    let running = spawn(repo.command("sh").args(["-c", "trap '' HUP; exec \"$0\" start", program]));
    wait_for(&repo.beside("going"));
    // What is ignored is gone as soon as it was sent: nothing of it could come later.
    let status = fs::read_to_string(format!("/proc/{}/status", running.id())).expect("it runs");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).expect("a mask");
    assert_eq!(u64::from_str_radix(ignored, 16).expect("hex") & 1, 1, "it leaves SIGHUP ignored: {ignored}");
    kill("-HUP", running.id());
    gate.open();
    let seen = ended(running);
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(repo.only_manifest("0101")["status"], "succeeded");
}

#[test]
fn a_background_process_that_is_quiet_is_reported_too() {
    let repo = Fixture::with_commands(&["sleep 1000 > /dev/null 2>&1 & echo $! > \"$HOME/pid\""]);
    let seen = repo.orchestrate("start --task t");
    let pid = wait_for(&repo.beside("pid"));
    kill("-KILL", pid.parse().expect("a pid"));
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(events(&only_run(&repo), "stage:finished")[0]["leaked"], true);
}

#[test]
fn a_signal_that_comes_with_the_end_of_the_last_stage_is_heard() {
    for _ in 0..5 {
        let repo = Fixture::with_commands(&["kill -INT $PPID"]);
        let seen = repo.orchestrate("start --task t");
        assert_eq!(seen.code, 130, "{seen}");
    }
}

#[test]
fn a_stage_that_asks_the_terminal_gets_an_error_and_does_not_hang() {
    let repo = Fixture::with_commands(&["if read x < /dev/tty; then exit 1; else echo no terminal; fi"]);
    let mut script = repo.command("script");
    script.args([
        "-qec",
        &format!("'{}' start --task t", env!("CARGO_BIN_EXE_git-orchestrate")),
        "/dev/null",
    ]);
    // The program `script` gives a terminal; without it there is none to ask.
    if script.output().is_err() {
        return;
    }
    assert!(printed(&only_run(&repo)).contains("no terminal"));
    assert_eq!(manifest(&only_run(&repo))["status"], "succeeded");
}
