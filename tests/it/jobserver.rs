//! The jobserver that stages are handed: what make does at the same time in them counts.

use std::process::Command;

use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::witness::{Gate, ended, spawn, wait_for, wait_until};

/// A makefile of two targets that are done only if both of them run at the same time.
const TOGETHER: &str = "all: a b\n\
    a:\n\t@echo > $(HOME)/a; until test -e $(HOME)/b; do :; done; read _ < $(HOME)/gate\n\
    b:\n\t@echo > $(HOME)/b; until test -e $(HOME)/a; do :; done; read _ < $(HOME)/gate\n";

/// A makefile of targets that each say how many of them are there.
const COUNTED: &str = "all: 1 2 3 4 5 6\n1 2 3 4 5 6:\n\t@mkdir -p $(HOME)/there/$@; ls $(HOME)/there | wc -l; rmdir $(HOME)/there/$@\n";

fn with_stage(stage: Value) -> Fixture {
    Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "guardrailsRequired": false, "stages": [stage]}]}))
}

fn with_make(makefile: &str) -> Fixture {
    let repo = with_stage(json!({"kind": "command", "id": "make", "command": "make"}));
    repo.write("Makefile", makefile);
    repo
}

/// Whether there is a make to test with.
fn is_there() -> bool {
    let there = Command::new("make").arg("--version").output().is_ok();
    if !there {
        eprintln!("make is not on the PATH: nothing is tested");
    }
    there
}

fn start(repo: &Fixture, tokens: u16) -> Command {
    let mut program = repo.program();
    program.env("GIT_ORCHESTRATE_BUDGET_JOBS", tokens.to_string());
    program.args(["start", "--task", "t"]);
    program
}

fn held(repo: &Fixture) -> Value {
    repo.orchestrate("budget --format json").json()["held"].clone()
}

fn printed(repo: &Fixture) -> String {
    repo.orchestrate("logs latest").stdout
}

#[test]
fn each_job_of_make_beside_the_first_holds_a_token() {
    if !is_there() {
        return;
    }
    let repo = with_make(TOGETHER);
    let mut gate = Gate::new(&repo, "gate");
    let run = spawn(&mut start(&repo, 2));
    for target in ["a", "b"] {
        wait_for(&repo.beside(target));
    }
    assert_eq!(held(&repo), 2);
    let holders = repo.orchestrate("budget --format json").json()["holders"].clone();
    assert_eq!(holders.as_array().map(Vec::len), Some(1), "{holders}");
    assert_eq!((&holders[0]["stage"], &holders[0]["tokens"]), (&json!("make"), &json!([1, 2])));
    gate.open();
    gate.open();
    let seen = ended(run);
    assert_eq!(seen.code, 0, "{seen}{}", printed(&repo));
    assert_eq!(held(&repo), 0);
}

#[test]
fn with_one_token_make_runs_one_job_after_the_other() {
    if !is_there() {
        return;
    }
    let repo = with_make(COUNTED);
    let seen = ended(spawn(&mut start(&repo, 1)));
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(printed(&repo).split_whitespace().collect::<Vec<_>>(), ["1"; 6], "{}", printed(&repo));
}

#[test]
fn jobs_of_make_that_are_killed_give_their_tokens_back() {
    if !is_there() {
        return;
    }
    let repo =
        with_stage(json!({"kind": "command", "id": "make", "command": "echo $$ > \"$HOME/pid\"; exec make"}));
    repo.write("Makefile", TOGETHER);
    let _gate = Gate::new(&repo, "gate");
    let run = spawn(&mut start(&repo, 2));
    for target in ["a", "b"] {
        wait_for(&repo.beside(target));
    }
    let other = Fixture::with_commands(&["true"]);
    let mut program = other.program();
    program.env("GIT_ORCHESTRATE_BUDGET_DIR", repo.beside("budget"));
    let other = spawn(program.env("GIT_ORCHESTRATE_BUDGET_JOBS", "2").args(["start", "--task", "t"]));
    wait_until("somebody waits", || {
        repo.orchestrate("budget --format json").json()["waiting"]
            .as_array()
            .is_some_and(|all| all.len() == 1)
    });
    let make = wait_for(&repo.beside("pid"));
    // The whole group: what make has started would keep the stage's output open.
    assert!(
        Command::new("kill").args(["-KILL", "--", &format!("-{make}")]).status().expect("kill").success()
    );
    assert_eq!(ended(run).code, 1);
    assert_eq!(ended(other).code, 0);
    assert_eq!(held(&repo), 0);
}

#[test]
fn a_stage_is_handed_a_pipe_or_a_path_or_nothing_as_it_says() {
    let tell = "echo \"<$MAKEFLAGS><$CARGO_MAKEFLAGS>\"";
    let told = |more: Value| {
        let mut stage = json!({"kind": "command", "id": "tell", "command": tell});
        stage.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let repo = with_stage(stage);
        let seen = repo.see(start(&repo, 4).env("MAKEFLAGS", "k -j9"));
        assert_eq!(seen.code, 0, "{seen}");
        printed(&repo)
    };
    let pipe = told(json!({}));
    assert!(
        pipe.starts_with("<k -j4 --jobserver-auth=") && pipe.contains("<-j4 --jobserver-auth="),
        "{pipe}"
    );
    assert!(!pipe.contains("fifo"), "{pipe}");
    assert!(told(json!({"jobserver": "fifo"})).starts_with("<k -j4 --jobserver-auth=fifo:/proc/"));
    assert_eq!(told(json!({"jobserver": false})), "<k -j9><>\n");
    let own = told(json!({"env": {"MAKEFLAGS": "-j3"}}));
    assert!(own.starts_with("<-j3><-j4 "), "{own}");
}

#[test]
fn a_stage_of_weight_finds_a_byte_for_each_token_beside_the_first() {
    let read =
        "auth=${MAKEFLAGS##*auth=}; from=${auth%,*}; dd bs=1 count=2 2> /dev/null <&\"$from\" | tr + x";
    let by_path = "auth=${MAKEFLAGS##*fifo:}; dd bs=1 count=2 2> /dev/null < \"$auth\" | tr + x";
    for (command, jobserver) in [(read, json!(true)), (by_path, json!("fifo"))] {
        let stage = json!({"kind": "command", "id": "read", "weight": 3, "jobserver": jobserver,
            "command": format!("bash -c '{}'", command.replace("<&\"$from\"", "<&$from"))});
        let repo = with_stage(stage);
        let seen = ended(spawn(&mut start(&repo, 3)));
        assert_eq!((seen.code, &*printed(&repo)), (0, "xx"), "{seen}");
    }
}

#[test]
fn under_a_make_that_hands_down_its_own_jobserver_that_one_is_used() {
    if !is_there() {
        return;
    }
    let repo = with_stage(json!({"kind": "command", "id": "tell", "command": "echo \"<$MAKEFLAGS>\""}));
    let program = env!("CARGO_BIN_EXE_git-orchestrate");
    repo.write(
        "Makefile",
        &format!("all:\n\t+'{program}' start --task t\nother:\n\t'{program}' start --task t\n"),
    );
    let seen = repo.see(repo.command("make").args(["-j3", "all"]));
    assert_eq!(seen.code, 0, "{seen}");
    let (inherited, number) = (printed(&repo), "--jobserver-auth=");
    let numbers = inherited.split_once(number).expect("a jobserver").1;
    assert!(!numbers.starts_with("14"), "it is that of make: {inherited}");
    // Make keeps its pipe from what is no recursive make, and tells of it all the same.
    let seen = repo.see(repo.command("make").args(["-j3", "other"]));
    assert_eq!(seen.code, 0, "{seen}");
    let own = printed(&repo);
    assert!(own.split_once(number).is_some_and(|(_, numbers)| numbers.starts_with("14")), "{own}");
}
