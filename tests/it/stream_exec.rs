//! `stream new --exec` and `stream exec`: a command in several streams, as runs of their own under one.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::fixture::{Fixture, manifest, statuses};
use crate::stream::folder;
use crate::witness::{Gate, audit, files, is_alive, kill, wait_for, wait_until};

/// Returns the folders of the runs of a stream's task, oldest first.
fn runs_in(repo: &Fixture, name: &str) -> Vec<PathBuf> {
    let task = format!("t-{}", name.replace('/', "-"));
    let entries = fs::read_dir(folder(repo, name).join(".runs").join(task).join("cli")).into_iter().flatten();
    let mut runs: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    runs.sort();
    runs
}

/// Makes streams in which a command waits behind a gate, having told its pid. Returns the run above, and the pids.
fn waiting(repo: &Fixture, names: &[&str]) -> (String, Vec<String>) {
    let command = "echo $$ > \"$HOME/pid-$CODEX_ORCHESTRATOR_STREAM\"; echo began; read _ < \"$HOME/gate\"";
    let mut program = repo.program();
    program.args(["stream", "new", "--task", "t", "--format", "json", "--exec", command]).args(names);
    let seen = repo.see(&mut program);
    assert_eq!(seen.code, 0, "{seen}");
    let run = seen.json()["run_id"].as_str().expect("a run").to_owned();
    let pids = names.iter().map(|name| wait_for(&repo.beside(&format!("pid-{name}")))).collect();
    (run, pids)
}

fn status(repo: &Fixture, run: &str) -> Value {
    repo.orchestrate(&format!("status {run} --format json")).json()
}

fn owner(run: &std::path::Path) -> u32 {
    let manifest = manifest(run);
    let attempts = manifest["attempts"].as_array().expect("attempts");
    let pid = attempts.last().expect("an attempt")["owner"]["pid"].as_u64().expect("a pid");
    u32::try_from(pid).expect("a pid")
}

#[test]
fn a_command_runs_in_each_stream_and_the_pipeline_follows_where_it_succeeded() {
    let repo = Fixture::with_config(&json!({
        "streams": {"setup": ["echo set > set-up"]},
        "pipelines": [{"id": "checks", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "look", "command": "test -e written"}]}],
    }));
    let command = "test -e set-up; echo \"I am $CODEX_ORCHESTRATOR_STREAM\"; \
        test \"$CODEX_ORCHESTRATOR_STREAM\" != b || exit 3; echo x > written";
    let mut program = repo.program();
    program.args(["stream", "new", "a", "b", "--task", "t", "--run", "checks", "--exec", command]);
    let seen = repo.see(program.args(["--format", "json"]));
    assert_eq!(seen.code, 0, "{seen}");
    let run = seen.json()["run_id"].as_str().expect("a run").to_owned();
    let seen = repo.orchestrate(&format!("status {run} --watch --interval 0.1 --format json"));
    let above = seen.json();
    assert_eq!(above["status"], "failed");
    let stages: Vec<_> =
        above["commands"].as_array().expect("stages").iter().map(|it| it["id"].clone()).collect();
    assert_eq!(stages, ["a", "a: checks", "b", "b: checks"]);
    assert_eq!(statuses(&above), ["succeeded", "succeeded", "failed", "pending"]);
    assert_eq!(above["commands"][2]["exit_code"], 3);
    let children: Vec<_> = above["children"].as_array().expect("children").iter().collect();
    let told: Vec<_> = children
        .iter()
        .map(|it| (it["stage"].as_str().expect("a stage"), it["pipeline_id"].as_str().expect("text")))
        .collect();
    assert_eq!(told.len(), 3, "{children:?}");
    for (stage, pipeline, status) in
        [("a", "exec", "succeeded"), ("a: checks", "checks", "succeeded"), ("b", "exec", "failed")]
    {
        let at = told.iter().position(|it| *it == (stage, pipeline)).expect(stage);
        assert_eq!(
            (&children[at]["status"], &above["child_runs"][at]["status"]),
            (&status.into(), &status.into())
        );
    }
    audit(&repo, "t");
    // The output is that of a stage, in the run of the stream and in the one above.
    for words in [format!("logs {run} a"), "stream logs a exec".to_owned()] {
        let seen = repo.orchestrate(&words);
        let is_exec = words.starts_with("logs");
        assert!(!is_exec || seen.stdout == "I am a\n", "{words}: {seen}");
    }
    let exec = manifest(&runs_in(&repo, "b").pop().expect("a run"));
    assert_eq!((&exec["status"], &exec["parent_run_id"]), (&"failed".into(), &run.as_str().into()));
    assert_eq!(exec["commands"][0]["command"], command);
    let stream = repo.orchestrate("stream status b --format json").json();
    assert_eq!(stream["runs"][0]["pipeline_id"], "exec");
    let seen = repo.orchestrate("stream logs b");
    assert_eq!(seen.stdout, "I am b\n", "{seen}");
    // Another command in the same streams, while somebody waits for it.
    let mut program = repo.program();
    let seen = repo.see(program.args(["stream", "exec", "cat written", "a", "b", "--task", "t"]));
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stdout.contains("Status: failed"), "{seen}");
}

#[test]
fn what_makes_no_sense_is_refused_and_nothing_is_made() {
    let repo = Fixture::new("passing");
    let before = crate::stream::traces(&repo);
    for (words, said) in [
        (&["stream", "new", "a", "--exec", " "][..], "it is empty"),
        (&["stream", "new", "a", "--jobs", "2"], "--exec"),
        (&["stream", "exec", "true"], "STREAM"),
        (&["stream", "exec", "true", "a"], "there is no stream `a`"),
        (&["stream", "exec", "true", "--all"], "no stream is ready"),
    ] {
        let seen = repo.see(repo.program().args(words));
        assert!(seen.code == 2 && seen.stderr.contains(said), "{words:?}: {seen}");
    }
    assert_eq!(crate::stream::traces(&repo), before);
    assert_eq!(repo.runs("0101").len(), 0);
}

#[test]
fn streams_with_odd_names_run_odd_commands_also_out_of_a_hook() {
    let repo = Fixture::new("passing");
    let names = ["fix/it's", "ünï$HOME", "a&b;c"];
    let command = "printf '%s\\n' \"$CODEX_ORCHESTRATOR_STREAM\" 'a \"b\" $c'; git rev-parse --show-toplevel; \
        test -z \"$GIT_DIR$GIT_INDEX_FILE$GIT_ORCHESTRATE_AS_RUN\" # not all";
    let mut program = repo.program();
    program.env("GIT_DIR", repo.path(".git")).env("GIT_INDEX_FILE", repo.path(".git/index"));
    program.args(["stream", "new", "--task", "t", "--format", "json", "--exec", command]).args(names);
    let seen = repo.see(&mut program);
    assert_eq!(seen.code, 0, "{seen}");
    let run = seen.json()["run_id"].as_str().expect("a run").to_owned();
    let seen = repo.orchestrate(&format!("status {run} --watch --interval 0.1 --format json"));
    assert_eq!(seen.json()["status"], "succeeded", "{seen}");
    for name in names {
        let runs = runs_in(&repo, name);
        assert_eq!(runs.len(), 1, "{name}");
        let mut logs = repo.program();
        let seen = repo.see(logs.args(["stream", "logs", name]));
        let expected = format!("{name}\na \"b\" $c\n{}\n", folder(&repo, name).display());
        assert_eq!(seen.stdout, expected, "{seen}");
    }
}

#[test]
fn a_run_whose_owner_is_killed_ends_its_stage_and_what_it_had_started() {
    let repo = Fixture::new("passing");
    let mut gate = Gate::new(&repo, "gate");
    let (run, pids) = waiting(&repo, &["a", "b"]);
    let child = runs_in(&repo, "a").pop().expect("a run");
    let live = status(&repo, &run);
    assert_eq!((&live["status"], statuses(&live)), (&"in_progress".into(), vec!["running", "running"]));
    let children = live["children"].as_array().expect("children");
    assert!(
        children.iter().all(|it| it["status"] == "in_progress" && it["running"] == json!(["exec"])),
        "{live}"
    );
    kill("-KILL", owner(&child));
    wait_until("the stage ends", || statuses(&status(&repo, &run))[0] == "failed");
    wait_until("its run is closed", || status(&repo, &run)["child_runs"][0]["status"] == "cancelled");
    assert!(!is_alive(&pids[0]), "what it had started goes on");
    assert!(is_alive(&pids[1]));
    let closed = manifest(&child);
    assert_eq!((&closed["status"], &closed["status_detail"]), (&"cancelled".into(), &"abandoned".into()));
    gate.open();
    let seen = repo.orchestrate(&format!("status {run} --watch --interval 0.1 --format json"));
    assert_eq!(
        (&seen.json()["status"], statuses(&seen.json())),
        (&"failed".into(), vec!["failed", "succeeded"])
    );
    audit(&repo, "t");
}

#[test]
fn cancelling_the_run_above_cancels_them_all() {
    let repo = Fixture::new("passing");
    let _gate = Gate::new(&repo, "gate");
    let (run, pids) = waiting(&repo, &["a", "b"]);
    let seen = repo.orchestrate(&format!("cancel {run} --reason enough"));
    assert_eq!(seen.code, 0, "{seen}");
    assert!(pids.iter().all(|pid| !is_alive(pid)));
    let above = status(&repo, &run);
    assert_eq!(above["status"], "cancelled");
    assert!(above["child_runs"].as_array().expect("children").iter().all(|it| it["status"] == "cancelled"));
    for name in ["a", "b"] {
        assert_eq!(manifest(&runs_in(&repo, name)[0])["status"], "cancelled");
    }
    let seen = repo.orchestrate(&format!("resume {run}"));
    assert!(seen.code == 2 && seen.stderr.contains("stands above others"), "{seen}");
}

#[test]
fn when_the_owner_of_the_run_above_is_killed_nothing_goes_on_and_cancel_closes_all() {
    let repo = Fixture::new("passing");
    let _gate = Gate::new(&repo, "gate");
    let (run, pids) = waiting(&repo, &["a", "b"]);
    kill("-KILL", owner(&repo.runs("t")[0]));
    wait_until("what they had started ends", || pids.iter().all(|pid| !is_alive(pid)));
    wait_until("nobody works on it", || status(&repo, &run)["dead"] == true);
    let seen = repo.orchestrate(&format!("cancel {run}"));
    assert_eq!(seen.code, 0, "{seen}");
    let above = status(&repo, &run);
    assert_eq!(above["status"], "cancelled");
    for it in above["child_runs"].as_array().expect("children") {
        assert_eq!(it["status"], "cancelled", "{above}");
    }
    for name in ["a", "b"] {
        assert_eq!(manifest(&runs_in(&repo, name)[0])["status"], "cancelled");
    }
}

#[test]
fn a_stream_whose_command_runs_stays_unless_forced() {
    let repo = Fixture::new("passing");
    let mut gate = Gate::new(&repo, "gate");
    let (run, pids) = waiting(&repo, &["a", "b"]);
    let list = repo.orchestrate("stream list --format json").json();
    let row = &list["streams"][0];
    assert_eq!((&row["run"]["pipeline_id"], &row["run"]["status"]), (&"exec".into(), &"in_progress".into()));
    let seen = repo.orchestrate("stream rm a");
    assert!(seen.code == 3 && seen.stderr.contains("is not over"), "{seen}");
    assert!(is_alive(&pids[0]));
    let seen = repo.orchestrate("stream rm a --force");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(!is_alive(&pids[0]) && is_alive(&pids[1]));
    gate.open();
    let seen = repo.orchestrate(&format!("status {run} --watch --interval 0.1 --format json"));
    assert_eq!(statuses(&seen.json()), ["failed", "succeeded"], "{seen}");
}

#[test]
fn a_stream_in_which_something_is_yet_to_run_stays_unless_forced() {
    let repo = Fixture::new("passing");
    let mut gate = Gate::new(&repo, "gate");
    let command = "echo $$ > \"$HOME/pid-$CODEX_ORCHESTRATOR_STREAM\"; read _ < \"$HOME/gate\"";
    let mut program = repo.program();
    program.args([
        "stream", "new", "a", "b", "--task", "t", "--format", "json", "--jobs", "1", "--exec", command,
    ]);
    let run = repo.see(&mut program).json()["run_id"].as_str().expect("a run").to_owned();
    wait_for(&repo.beside("pid-a"));
    assert_eq!(statuses(&status(&repo, &run)), ["running", "pending"]);
    let seen = repo.orchestrate("stream rm b");
    assert!(seen.code == 3 && seen.stderr.contains("has yet to run"), "{seen}");
    let seen = repo.orchestrate("stream rm b --force");
    assert_eq!(seen.code, 0, "{seen}");
    gate.open();
    let seen = repo.orchestrate(&format!("status {run} --watch --interval 0.1 --format json"));
    assert_eq!(statuses(&seen.json()), ["succeeded", "failed"], "{seen}");
    assert_eq!(seen.json()["child_runs"][1]["status"], "failed");
    assert_eq!(repo.orchestrate("stream rm a").code, 0);
}

#[test]
fn what_happens_in_this_worktree_meanwhile_is_of_no_interest() {
    let repo = Fixture::new("passing");
    let mut gate = Gate::new(&repo, "gate");
    let (run, _) = waiting(&repo, &["a"]);
    repo.write("meanwhile", "x");
    gate.open();
    let seen = repo.orchestrate(&format!("status {run} --watch --interval 0.1 --format json"));
    assert_eq!(
        (&seen.json()["status"], &seen.json()["void"]),
        (&"succeeded".into(), &false.into()),
        "{seen}"
    );
}

#[test]
fn secrets_reach_no_file_of_either_run() {
    let repo = Fixture::new("passing");
    let mut program = repo.program();
    program.env("DEPLOY_TOKEN", "s3cr3t-enough-for-anybody");
    program.args(["stream", "new", "a", "--task", "t", "--format", "json", "--exec"]);
    let seen = repo.see(program.arg("echo $DEPLOY_TOKEN; echo s3cr3t-enough-for-anybody"));
    let run = seen.json()["run_id"].as_str().expect("a run").to_owned();
    let seen = repo.orchestrate(&format!("status {run} --watch --interval 0.1 --format json"));
    assert_eq!(seen.json()["status"], "succeeded", "{seen}");
    for root in [repo.path(".runs"), folder(&repo, "a").join(".runs")] {
        for file in files(&root) {
            let text = String::from_utf8_lossy(&fs::read(&file).expect("a file")).into_owned();
            assert!(!text.contains("s3cr3t-enough"), "{}", file.display());
        }
    }
}
