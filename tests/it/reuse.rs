//! Stages that are proven already are not run again, and nothing else is taken over.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::fixture::{Fixture, Seen, manifest};
use crate::witness::{Gate, ended, metrics, spawn, wait_for};

/// Every run of the stage leaves a mark outside of the repository.
const MARKS: &str = "echo ran >> \"$HOME/ran\"; test ! -e \"$HOME/fails\"";

fn project(stage: Value) -> Fixture {
    let mut first = json!({"kind": "command", "id": "test", "command": MARKS});
    first.as_object_mut().unwrap().extend(stage.as_object().unwrap().clone());
    Fixture::with_config(&json!({"pipelines": [{"id": "p", "stages": [first]}], "defaultPipeline": "p"}))
}

/// How often the stage has run.
fn ran(repo: &Fixture) -> usize {
    fs::read_to_string(repo.beside("ran")).map_or(0, |text| text.lines().count())
}

fn start(repo: &Fixture, words: &str) -> (Seen, Value) {
    let seen = repo.orchestrate(&format!("start --format json {words}"));
    let answer = seen.json();
    let path = repo.path(answer["manifest"].as_str().unwrap());
    (seen, manifest(path.parent().unwrap()))
}

#[test]
fn a_proven_stage_is_taken_over_with_the_run_that_proved_it() {
    let repo = project(json!({}));
    let (_, first) = start(&repo, "");
    let (seen, second) = start(&repo, "--reuse");
    assert_eq!((seen.code, ran(&repo)), (0, 1), "{seen}");
    let stage = &second["commands"][0];
    assert_eq!((&stage["status"], &second["status"]), (&json!("succeeded"), &json!("succeeded")));
    assert_eq!(stage["reused"]["run_id"], first["run_id"]);
    assert_eq!(
        stage["reused"]["manifest"],
        format!("{}/manifest.json", first["artifact_root"].as_str().unwrap())
    );
    assert_eq!(stage["reused"]["key"], first["proof"]["stages"][0]["key"]);
    assert_eq!(second["git"]["moved"], false);
    // What was taken over is no proof of its own: the third points at the first too.
    let (_, third) = start(&repo, "--reuse");
    assert_eq!(third["commands"][0]["reused"]["run_id"], first["run_id"]);
    // Without the flag everything runs.
    start(&repo, "");
    assert_eq!(ran(&repo), 2);
}

#[test]
fn a_run_in_which_nothing_ran_is_summed_up_with_the_next_one() {
    let repo = project(json!({}));
    start(&repo, "");
    let (_, run) = start(&repo, "--reuse");
    let folder = repo.path(".runs/0101/cli").join(run["run_id"].as_str().expect("an id"));
    assert!(!folder.join("commands").exists() && !folder.join("errors").exists(), "nothing to keep there");
    let sums = || repo.json(".runs/0101/metrics/post-rollout.json")["total_runs"].clone();
    assert_eq!((sums(), metrics(&repo, "0101").len()), (json!(1), 2), "its line is there");
    repo.write("another.txt", "another tree");
    start(&repo, "--reuse");
    assert_eq!((ran(&repo), sums(), metrics(&repo, "0101").len()), (2, json!(3), 3));
    // A line of somebody else may be about a run that was counted.
    let file = repo.path(".runs/0101/metrics.json");
    let mut line = metrics(&repo, "0101").remove(0);
    line.as_object_mut().expect("an object").remove("stages");
    let text = format!("{}{line}\n", repo.read(".runs/0101/metrics.json"));
    fs::write(file, text).expect("written");
    repo.write("another.txt", "a third tree");
    start(&repo, "--reuse");
    assert_eq!(sums(), json!(4));
}

#[test]
fn the_same_tree_is_the_same_whatever_became_of_the_commit() {
    let repo = project(json!({}));
    repo.write("file", "one\n");
    start(&repo, "");
    // What was dirty is committed, reworded, squashed, and looked at from another worktree.
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "later"]);
    start(&repo, "--reuse");
    repo.git(&["commit", "--quiet", "--amend", "--message", "in other words"]);
    start(&repo, "--reuse");
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", "--detach", linked.to_str().unwrap()]);
    let seen = repo.orchestrate_in(&linked, "start --reuse --format json");
    assert_eq!((seen.code, ran(&repo)), (0, 1), "{seen}");
    repo.write("file", "two\n");
    start(&repo, "--reuse");
    assert_eq!(ran(&repo), 2);
}

#[test]
fn a_rebase_and_a_squash_to_the_same_tree_are_the_same() {
    let repo = project(json!({}));
    let commit = |message: &str| {
        repo.git(&["add", "--all"]);
        repo.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
    };
    repo.git(&["switch", "--quiet", "--create", "topic"]);
    for name in ["a", "b"] {
        repo.write(name, name);
        commit(name);
    }
    let (_, first) = start(&repo, "");
    let tip = repo.git(&["rev-parse", "HEAD"]);
    let is_taken_over = |what: &str| {
        assert_ne!(repo.git(&["rev-parse", "HEAD"]), tip, "{what}: it is another commit");
        let (seen, run) = start(&repo, "--reuse");
        assert_eq!((seen.code, ran(&repo)), (0, 1), "{what}: {seen}");
        assert_eq!(run["commands"][0]["reused"]["run_id"], first["run_id"], "{what}");
    };
    // What the branch is put upon brings nothing of its own.
    repo.git(&["switch", "--quiet", "main"]);
    commit("empty");
    repo.git(&["switch", "--quiet", "topic"]);
    repo.git(&["rebase", "--quiet", "main"]);
    is_taken_over("rebase");
    repo.git(&["reset", "--quiet", "--soft", "main"]);
    commit("both at once");
    is_taken_over("squash");
    // And now it does.
    repo.git(&["switch", "--quiet", "main"]);
    repo.write("c", "c");
    commit("more");
    repo.git(&["switch", "--quiet", "topic"]);
    repo.git(&["rebase", "--quiet", "main"]);
    let (_, run) = start(&repo, "--reuse");
    assert_eq!((ran(&repo), run["commands"][0].get("reused")), (2, None));
}

#[test]
fn a_worktree_that_was_removed_since_has_proven_what_it_proved() {
    let repo = project(json!({}));
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", "--detach", linked.to_str().unwrap()]);
    let first = repo.orchestrate_in(&linked, "start --format json").json();
    repo.git(&["worktree", "remove", "--force", linked.to_str().unwrap()]);
    assert!(!linked.exists() && repo.git(&["worktree", "list"]).lines().count() == 1);
    let stage = repo.orchestrate("explain test --format json").json()["stages"][0].clone();
    assert_eq!((&stage["proven"], &stage["run"]["run_id"]), (&json!(true), &first["run_id"]));
    let (seen, run) = start(&repo, "--reuse");
    assert_eq!((seen.code, ran(&repo)), (0, 1), "{seen}");
    let reused = &run["commands"][0]["reused"];
    assert_eq!((&reused["run_id"], &reused["worktree"]), (&first["run_id"], &stage["run"]["worktree"]));
    // Its manifest went with it, and nobody claims that it is here.
    assert!(!repo.path(reused["manifest"].as_str().unwrap()).exists());
}

#[test]
fn a_record_that_is_too_old_is_not_taken_over_and_explained_by_its_age() {
    let repo = Fixture::with_config(&json!({
        "pipelines": [{"id": "p", "stages": [
            {"kind": "command", "id": "test", "command": MARKS, "inputs": ["src/"]},
        ]}], "defaultPipeline": "p",
    }));
    repo.write("src/code", "x");
    start(&repo, "");
    // The same record, of two and a half days ago.
    let now = jiff::Timestamp::now();
    let then = now - jiff::SignedDuration::from_hours(60);
    change_ledger(&repo, |record| {
        record["completed_at"] = json!(then);
        record["stages"][0]["completed_at"] = json!(then);
    });
    let limit = |days: u64| {
        let mut config = repo.json("codex.orchestrator.json");
        config["evidence"] = json!({"maxAgeDays": days});
        repo.write("codex.orchestrator.json", &config.to_string());
    };
    let explained = || repo.orchestrate("explain test --format json").json()["stages"][0].clone();
    limit(3);
    assert_eq!((&explained()["standing"], &explained()["proven"]), (&json!("proven"), &json!(true)));
    start(&repo, "--reuse");
    assert_eq!(ran(&repo), 1);
    limit(2);
    let stage = explained();
    assert_eq!((&stage["standing"], &stage["proven"]), (&json!("unproven"), &json!(false)));
    assert_eq!(stage["reason"]["rule"], "expired");
    let at: jiff::Timestamp = stage["reason"]["completed_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(at.as_millisecond(), then.as_millisecond());
    let text = repo.orchestrate("explain test").stdout;
    assert!(text.contains("not proven  test") && text.contains(", which is too long ago"), "{text}");
    let (seen, run) = start(&repo, "--reuse");
    assert_eq!((seen.code, ran(&repo), run["commands"][0].get("reused")), (0, 2, None), "{seen}");
    // The run of now is young enough.
    assert_eq!(explained()["standing"], "proven");
    start(&repo, "--reuse");
    assert_eq!(ran(&repo), 2);
}

/// Changes every record of the ledger.
pub fn change_ledger(repo: &Fixture, change: impl Fn(&mut Value)) {
    let mut changed = 0;
    for path in crate::witness::files(&repo.path(".git/orchestrate/ledger")) {
        if path.extension().is_some_and(|it| it == "ndjson") {
            let mut text = String::new();
            for mut entry in crate::fixture::lines_of(&path) {
                change(&mut entry["record"]);
                text.push_str(&format!("{entry}\n"));
                changed += 1;
            }
            fs::write(&path, text).unwrap();
        }
    }
    assert!(changed > 0, "there is a record to change");
}

#[test]
fn what_decides_the_verdict_is_in_the_key() {
    let config = |command: &str, env: &str, tool: &str| {
        json!({
            "pipelines": [{"id": "p", "reuse": true, "stages": [
                {"kind": "command", "id": "test", "command": command, "env": {"A": env}, "inputs": ["src/"]},
            ]}],
            "defaultPipeline": "p", "fingerprint": [tool], "fingerprintEnv": ["FLAVOUR"],
        })
    };
    let repo = Fixture::with_config(&config(MARKS, "1", "echo 1"));
    repo.write("src/code", "x");
    let go = |config: Value, flavour: &str| {
        repo.write("codex.orchestrator.json", &config.to_string());
        let mut program = repo.program();
        let seen = repo.see(program.args(["start"]).env("FLAVOUR", flavour));
        assert_eq!(seen.code, 0, "{seen}");
        ran(&repo)
    };
    assert_eq!(go(config(MARKS, "1", "echo 1"), "sweet"), 1);
    assert_eq!(go(config(MARKS, "1", "echo 1"), "sweet"), 1);
    // The configuration itself is none of the inputs.
    assert_eq!(go(config(&format!("{MARKS}; :"), "1", "echo 1"), "sweet"), 2);
    assert_eq!(go(config(MARKS, "2", "echo 1"), "sweet"), 3);
    assert_eq!(go(config(MARKS, "1", "echo 2"), "sweet"), 4);
    assert_eq!(go(config(MARKS, "1", "echo 1"), "sour"), 5);
    repo.write("README.md", "not an input");
    assert_eq!(go(config(MARKS, "1", "echo 1"), "sweet"), 5);
    repo.write("src/code", "y");
    assert_eq!(go(config(MARKS, "1", "echo 1"), "sweet"), 6);
    repo.write("src/code", "x");
    assert_eq!(go(config(MARKS, "1", "echo 1"), "sweet"), 6);
}

#[test]
fn inputs_that_select_nothing_stand_for_the_whole_tree() {
    let stage = json!({"kind": "command", "id": "test", "command": MARKS, "inputs": ["scr/"]});
    let repo = Fixture::with_config(&json!({
        "pipelines": [{"id": "p", "stages": [stage]}], "defaultPipeline": "p", "evidence": {"notes": true},
    }));
    let commit = |text: &str| {
        repo.write("src/a", text);
        repo.git(&["add", "--all"]);
        repo.git(&["commit", "--quiet", "--message", text]);
    };
    commit("good");
    let seen = repo.orchestrate("start --reuse");
    let said = "`inputs` of stage `test` select no file, so its verdict is about the whole tree";
    assert!(seen.code == 0 && seen.stderr.contains(said), "{seen}");
    let verify = || repo.orchestrate("evidence verify HEAD --require test").code;
    assert_eq!(verify(), 0);
    start(&repo, "--reuse");
    assert_eq!(ran(&repo), 1);
    commit("bad");
    assert_eq!(verify(), 1);
    let seen = repo.orchestrate("explain test");
    assert!(seen.stdout.starts_with("p on tree") && seen.stdout.contains("not proven  test"), "{seen}");
    assert!(seen.stdout.contains("its `inputs` select no file") && seen.stdout.contains("src/a"), "{seen}");
    start(&repo, "--reuse");
    assert_eq!(ran(&repo), 2);
    // As soon as there is a file, it is about that.
    repo.write("scr/a", "");
    start(&repo, "--reuse");
    repo.write("src/a", "another");
    let seen = repo.orchestrate("start --reuse");
    assert!(!seen.stderr.contains(said), "{seen}");
    assert_eq!(ran(&repo), 3);
}

#[test]
fn a_failure_a_flake_and_a_moved_tree_prove_nothing() {
    let repo = project(json!({}));
    let fails = repo.beside("fails");
    fs::File::create(&fails).unwrap();
    start(&repo, "--reuse");
    fs::remove_file(&fails).unwrap();
    start(&repo, "--reuse");
    // It passed and failed on one tree now: that is no proof.
    start(&repo, "--reuse");
    assert_eq!(ran(&repo), 3);

    let flaky = "echo ran >> \"$HOME/ran\"; test $(wc -l < \"$HOME/ran\") != 1";
    let repo = project(json!({"command": flaky, "retries": {"max": 1, "delay": 0}}));
    let (seen, first) = start(&repo, "--reuse");
    assert_eq!((seen.code, &first["commands"][0]["flaky"]), (0, &json!(true)));
    start(&repo, "--reuse");
    assert_eq!(ran(&repo), 3);

    let repo = project(json!({"command": "echo ran >> \"$HOME/ran\"; echo > new"}));
    start(&repo, "--reuse");
    fs::remove_file(repo.path("new")).unwrap();
    start(&repo, "--reuse");
    assert_eq!(ran(&repo), 2);
}

#[test]
fn what_the_configuration_says_is_done_and_a_flag_goes_before_it() {
    let repo = project(json!({"reuse": true}));
    start(&repo, "");
    start(&repo, "");
    assert_eq!(ran(&repo), 1);
    start(&repo, "--no-reuse");
    assert_eq!(ran(&repo), 2);
    let repo = project(json!({"reuse": false}));
    start(&repo, "");
    start(&repo, "--reuse");
    assert_eq!(ran(&repo), 2);
}

#[test]
fn a_second_caller_waits_for_the_first_and_has_its_verdict() {
    for (fails, in_two) in [(false, false), (true, false), (false, true), (true, true)] {
        let command =
            format!("{MARKS} && echo > \"$HOME/up\" && read _ < \"$HOME/gate\"; exit {}", i32::from(fails));
        // What the first runs after that counts for the second too.
        let first = json!({"kind": "command", "id": "first", "command": format!("{MARKS} && echo > \"$HOME/up\" && read _ < \"$HOME/gate\"")});
        let second = json!({"kind": "command", "id": "second", "command": format!("{MARKS}; exit {}", i32::from(fails))});
        let alone = json!({"kind": "command", "id": "test", "command": command});
        let stages = if in_two { json!([first, second]) } else { json!([alone]) };
        let repo = Fixture::with_config(&json!({
            "pipelines": [{"id": "p", "stages": stages}], "defaultPipeline": "p",
        }));
        for pipe in ["up", "gate"] {
            assert!(std::process::Command::new("mkfifo").arg(repo.beside(pipe)).status().unwrap().success());
        }
        let mut first = repo.program().args(["start", "--task", "one"]).spawn().unwrap();
        fs::read(repo.beside("up")).unwrap();
        let mut second = repo.program();
        second.args(["start", "--task", "two", "--reuse"]).stderr(std::process::Stdio::piped());
        let mut second = second.spawn().unwrap();
        // It says that it waits; then the first may go on.
        let mut said = std::io::BufReader::new(second.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("Waits for run") {
            line.clear();
            assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0, "it does not wait");
        }
        fs::OpenOptions::new().write(true).open(repo.beside("gate")).unwrap().write_all(b"go\n").unwrap();
        let (first, second) = (first.wait().unwrap(), second.wait().unwrap());
        assert_eq!((first.code(), second.code()), (Some(i32::from(fails)), Some(i32::from(fails))));
        assert_eq!(ran(&repo), 1 + usize::from(in_two));
        let joined = repo.only_manifest("two");
        for stage in joined["commands"].as_array().unwrap() {
            assert_eq!(stage["reused"]["run_id"], repo.only_manifest("one")["run_id"]);
            assert_eq!(stage["reused"]["joined"], true);
        }
    }
}

#[test]
fn who_does_not_want_to_wait_runs_and_who_only_wants_to_wait_takes_nothing_else_over() {
    // The first waits at the gate, and whoever comes later does not.
    let command =
        format!("{MARKS}; test -e \"$HOME/up\" && exit; echo > \"$HOME/up\"; read _ < \"$HOME/gate\"");
    let repo = project(json!({"command": command}));
    let mut gate = Gate::new(&repo, "gate");
    let first = spawn(repo.program().args(["start", "--task", "one"]));
    wait_for(&repo.beside("up"));
    for words in ["--reuse --no-join", "--reuse --join --no-join"] {
        let (seen, run) = start(&repo, words);
        assert_eq!((seen.code, run["commands"][0].get("reused")), (0, None), "{words}: {seen}");
        assert!(!seen.stderr.contains("Waits for run"), "{words}: {seen}");
        // What it found out is not known to the next one.
        for path in crate::witness::files(&repo.path(".git/orchestrate/ledger")) {
            if path.extension().is_some_and(|it| it == "ndjson") {
                fs::remove_file(path).unwrap();
            }
        }
    }
    assert_eq!(ran(&repo), 3);
    gate.open();
    assert_eq!(ended(first).code, 0);
    for words in [&["--join"][..], &["--no-join", "--join"], &["--no-reuse", "--join"]] {
        fs::remove_file(repo.beside("up")).unwrap();
        let before = ran(&repo);
        let first = spawn(repo.program().args(["start", "--task", "first"]));
        wait_for(&repo.beside("up"));
        let mut second = repo.program();
        second.args(["start", "--format", "json"]).args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut second = second.spawn().unwrap();
        let mut said = BufReader::new(second.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("Waits for run") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "{words:?}: it does not wait");
        }
        gate.open();
        let first = ended(first);
        assert_eq!(first.code, 0, "{first}");
        let output = second.wait_with_output().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let run = repo.json(answer["manifest"].as_str().unwrap());
        assert_eq!(run["commands"][0]["reused"]["joined"], true, "{words:?}");
        assert_eq!(ran(&repo), before + 1, "{words:?}");
        // Once nobody is at it, it runs: what is over was not asked for.
        let (_, run) = start(&repo, words[words.len() - 1]);
        assert_eq!((ran(&repo), run["commands"][0].get("reused")), (before + 2, None), "{words:?}");
    }
}

#[test]
fn of_starts_at_the_same_moment_one_runs_and_all_have_its_verdict() {
    for fails in [false, true] {
        let stage = |id: &str| json!({"kind": "command", "id": id, "command": MARKS});
        let always = json!({"kind": "command", "id": "always", "command": "true", "reuse": false});
        let repo = Fixture::with_config(&json!({
            "pipelines": [{"id": "p", "stages": [always, stage("build"), stage("test")]}], "defaultPipeline": "p",
        }));
        if fails {
            fs::File::create(repo.beside("fails")).unwrap();
        }
        let tasks = ["one", "two", "three", "four"];
        let begin = |task: &&str| {
            repo.program().args(["start", "--reuse", "--task", task]).spawn().expect("it starts")
        };
        let running: Vec<_> = tasks.iter().map(begin).collect();
        for mut child in running {
            assert_eq!(child.wait().unwrap().code(), Some(i32::from(fails)));
        }
        if !fails {
            assert_eq!(ran(&repo), 2, "one of them ran both stages");
        }
        let manifests: Vec<_> = tasks.iter().map(|task| repo.only_manifest(task)).collect();
        let own: Vec<_> =
            manifests.iter().filter(|manifest| manifest["commands"][1].get("reused").is_none()).collect();
        for manifest in &manifests {
            assert_eq!(manifest["status"], if fails { "failed" } else { "succeeded" });
        }
        // What failed does not count for one that comes later; so there may be more than one then.
        assert!(fails || own.len() == 1, "{own:#?}");
    }
}

#[test]
fn a_run_that_was_killed_is_not_waited_for() {
    let repo = project(
        json!({"command": format!("{MARKS}; test -e \"$HOME/died\" || {{ : > \"$HOME/died\"; kill -9 $PPID; }}")}),
    );
    let seen = repo.orchestrate("start --task one");
    assert_ne!(seen.code, 0);
    let seen = repo.orchestrate("start --task two --reuse");
    assert_eq!((seen.code, ran(&repo)), (0, 2), "{seen}");
}

#[test]
fn a_flake_is_listed_and_counts_again_once_it_is_cleared() {
    let repo = project(json!({}));
    let fails = repo.beside("fails");
    fs::File::create(&fails).unwrap();
    start(&repo, "");
    fs::remove_file(&fails).unwrap();
    start(&repo, "");
    let listed = repo.orchestrate("flakes --format json").json();
    let flake = &listed["flakes"][0];
    assert_eq!(listed["flakes"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&flake["stage"], &flake["passes"], &flake["failures"]),
        (&json!("test"), &json!(1), &json!(1))
    );
    let seen = repo.orchestrate("flakes clear nothing-of-the-kind");
    assert_eq!((seen.code, seen.stdout.as_str()), (2, ""), "{seen}");
    let mut program = repo.program();
    let cleared = repo.see(program.args(["flakes", "clear", "test", "--reason", "the disk was full"]));
    assert_eq!(cleared.code, 0, "{cleared}");
    assert_eq!(repo.orchestrate("flakes --format json").json()["flakes"], json!([]));
    // What was recorded before proves nothing, and what follows does.
    let explained = repo.orchestrate("explain test");
    assert!(explained.stdout.contains("(the disk was full), and it has not run since"), "{explained}");
    let verified = repo.orchestrate("evidence verify HEAD --require test");
    assert_eq!(verified.code, 1, "{verified}");
    assert!(verified.stdout.contains("not complete: `test` has not run since"), "{verified}");
    start(&repo, "--reuse");
    assert_eq!(ran(&repo), 3);
    start(&repo, "--reuse");
    assert_eq!(ran(&repo), 3);
}

#[test]
fn what_runs_after_what_was_taken_over_is_kept_like_everything_else() {
    let config = |second: &str| {
        json!({"pipelines": [{"id": "p", "stages": [
            {"kind": "command", "id": "test", "command": MARKS, "inputs": ["src/"]},
            {"kind": "command", "id": "late", "command": second},
        ]}], "defaultPipeline": "p"})
    };
    let repo = Fixture::with_config(&config("true"));
    repo.write("src/code", "x");
    start(&repo, "");
    // The second stage moves the tree: what was taken over before does not hide that.
    repo.write("codex.orchestrator.json", &config("echo > moved").to_string());
    let (seen, run) = start(&repo, "--reuse");
    assert_eq!((seen.code, ran(&repo)), (0, 1), "{seen}");
    assert!(run["commands"][0]["reused"].is_object() && run["commands"][1].get("reused").is_none());
    assert_eq!((&run["git"]["moved"], &run["status"]), (&json!(true), &json!("succeeded")));
}

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What is true of trees, kept in the simplest way there is.
#[derive(Default)]
struct Model {
    passed: BTreeSet<String>,
    failed: BTreeSet<String>,
}

impl Model {
    fn is_proven(&self, tree: &str) -> bool {
        self.passed.contains(tree) && !self.failed.contains(tree)
    }
}

/// Returns the tree of the work tree, as git alone names it.
fn tree_by_git(repo: &Fixture) -> String {
    let index = repo.beside("index of the model");
    let _ = fs::remove_file(&index);
    let git = |words: &[&str]| {
        let mut git = repo.command("git");
        let output = git.args(words).env("GIT_INDEX_FILE", &index).output().unwrap();
        assert!(output.status.success(), "{words:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["add", "--all"]);
    git(&["write-tree"])
}

#[test]
fn no_sequence_of_changes_makes_anything_proven_that_was_not_run() {
    let mut kinds = BTreeSet::new();
    for seed in 1..=4 {
        let repo = project(json!({}));
        let (mut dice, mut model, mut steps) = (Dice(seed), Model::default(), Vec::new());
        let fails = repo.beside("fails");
        let commit_all = |message: &str| {
            repo.git(&["add", "--all"]);
            repo.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        };
        for _ in 0..36 {
            let step = match dice.roll(12) {
                0..=2 => {
                    repo.write(&format!("file{}", dice.roll(2)), &dice.roll(3).to_string());
                    "edit"
                }
                3 => {
                    commit_all("more");
                    "commit"
                }
                4 => {
                    repo.git(&[
                        "commit",
                        "--quiet",
                        "--all",
                        "--amend",
                        "--allow-empty",
                        "--message",
                        "other words",
                    ]);
                    "amend"
                }
                5 => {
                    let branch = format!("branch{}", dice.roll(2));
                    commit_all("before the change");
                    let known = repo.git(&["branch", "--list", &branch]);
                    let make: &[&str] = if known.is_empty() { &["-c"] } else { &[] };
                    repo.git(&[&["switch", "--quiet"], make, &[&branch]].concat());
                    "switch"
                }
                6 => {
                    commit_all("before the merge");
                    repo.git(&["merge", "--quiet", "--strategy-option=theirs", "--no-edit", "main"]);
                    "merge"
                }
                7 => {
                    match fails.exists() {
                        true => fs::remove_file(&fails).unwrap(),
                        false => drop(fs::File::create(&fails).unwrap()),
                    }
                    "weather"
                }
                8 => {
                    commit_all("before the rebase");
                    let words = ["rebase", "--quiet", "--strategy-option=theirs", "main"];
                    let rebased = repo.command("git").args(words).output().unwrap();
                    match rebased.status.success() {
                        true => "rebase",
                        false => {
                            repo.git(&["rebase", "--abort"]);
                            "rebase that was given up"
                        }
                    }
                }
                9 => {
                    commit_all("before the squash");
                    let fork = repo.git(&["merge-base", "main", "HEAD"]);
                    repo.git(&["reset", "--quiet", "--soft", &fork]);
                    commit_all("all at once");
                    "squash"
                }
                reuse => {
                    let tree = tree_by_git(&repo);
                    let before = ran(&repo);
                    let seen = repo.orchestrate(if reuse == 10 { "start" } else { "start --reuse" });
                    let has_run = ran(&repo) > before;
                    assert_eq!(has_run, reuse == 10 || !model.is_proven(&tree), "{seed}: {steps:?}: {seen}");
                    if has_run {
                        let (said, set) = match fails.exists() {
                            true => (1, &mut model.failed),
                            false => (0, &mut model.passed),
                        };
                        set.insert(tree);
                        assert_eq!(seen.code, said, "{seed}: {steps:?}: {seen}");
                    }
                    "start"
                }
            };
            steps.push(step);
            kinds.insert(step);
            let tree = tree_by_git(&repo);
            let explained = repo.orchestrate("explain test --format json").json();
            assert_eq!(explained["tree"], tree, "{seed}: {steps:?}");
            assert_eq!(explained["stages"][0]["proven"], model.is_proven(&tree), "{seed}: {steps:?}");
        }
    }
    for kind in ["edit", "commit", "amend", "switch", "merge", "weather", "rebase", "squash", "start"] {
        assert!(kinds.contains(kind), "no step was of this kind: {kind}");
    }
}

#[test]
fn a_guardrail_judges_anew_each_time() {
    let program = env!("CARGO_BIN_EXE_git-orchestrate");
    let repo = project(
        json!({"command": format!("echo ran >> \"$HOME/ran\"; '{program}' guard diff-budget --base HEAD")}),
    );
    for times in 1..=2 {
        let (seen, run) = start(&repo, "--reuse");
        assert_eq!((seen.code, ran(&repo)), (0, times), "{seen}");
        assert_eq!(run["guardrails"].as_array().unwrap().len(), 1);
    }
    assert_eq!(repo.orchestrate("explain test --format json").json()["stages"][0]["standing"], "not-kept");
}

#[test]
fn a_called_pipeline_is_looked_up_stage_by_stage() {
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "p", "stages": [{"kind": "subpipeline", "id": "sub", "pipeline": "inner"}]},
        {"id": "inner", "stages": [{"kind": "command", "id": "test", "command": MARKS}]},
    ], "defaultPipeline": "p"}));
    start(&repo, "");
    let (seen, run) = start(&repo, "--reuse");
    assert_eq!((seen.code, ran(&repo)), (0, 1), "{seen}");
    let child = repo.path(run["child_runs"][0]["manifest"].as_str().unwrap());
    assert!(manifest(child.parent().unwrap())["commands"][0]["reused"].is_object());
}
