//! `bisect`: the first bad commit, with as few runs as possible.

use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::trees::{mess, of_user};
use crate::witness::{Gate, ended, spawn, wait_for};

/// A repository whose stage `test` gets the number of its commit as `$n`, with commits 1 to `last`.
fn with_commits(command: &str, last: usize) -> Fixture {
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "build", "command": "true"},
            {"kind": "command", "id": "test", "command": format!("n=$(cat n); {command}")},
        ]},
    ]}));
    for n in 0..=last {
        repo.write("n", &format!("{n}\n"));
        repo.git(&["add", "--all"]);
        repo.git(&["commit", "--quiet", "--message", &format!("c{n}")]);
    }
    repo
}

fn words<'a>(answer: &'a Value, key: &str) -> Vec<&'a str> {
    answer["steps"].as_array().expect("steps").iter().map(|step| step[key].as_str().expect("text")).collect()
}

#[test]
fn the_first_bad_commit_is_found_in_as_many_runs_as_git_needs() {
    let repo = with_commits("test $n -lt 11", 16);

    let seen = repo.orchestrate("bisect HEAD~16..HEAD --stage test --format json");

    let answer = seen.json();
    assert_eq!((seen.code, &answer["outcome"], &answer["total"]), (0, &json!("found"), &json!(16)));
    assert_eq!(answer["first_bad"]["subject"], "c11");
    assert_eq!(answer["runs"], 4);
    assert_eq!(repo.runs("0101").len(), 4);
}

#[test]
fn what_is_known_is_not_run_again() {
    let repo = with_commits("test $n -lt 3", 6);
    repo.orchestrate("start --each HEAD~6..HEAD --keep-going --task each");

    let seen = repo.orchestrate("bisect HEAD~6..HEAD --stage test");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stdout.contains("(known)\nFirst bad commit: "), "{seen}");
    assert!(seen.stdout.ends_with("  c3\n"), "{seen}");
    assert_eq!(repo.runs("0101").len(), 0);

    // What is known about the other stage is another thing.
    let seen = repo.orchestrate("bisect HEAD~6..HEAD --stage build --format json");
    assert_eq!((seen.code, &seen.json()["outcome"]), (1, &json!("none_bad")), "{seen}");
    assert_eq!(seen.json()["runs"], 0);
}

#[test]
fn a_void_run_is_not_what_is_known() {
    let repo = with_commits("touch new; test $n -lt 2", 2);
    repo.orchestrate("start --each HEAD~2..HEAD --keep-going --task each");

    let seen = repo.orchestrate("bisect HEAD~2..HEAD --stage test --format json");

    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(words(&seen.json(), "verdict"), ["good", "bad"]);
    assert_eq!(seen.json()["runs"], 2);
}

#[test]
fn a_skipped_commit_leaves_a_doubt() {
    let repo = with_commits("if [ $n = 3 ]; then exit 125; fi; test $n -lt 4", 6);

    let seen = repo.orchestrate("bisect HEAD~6..HEAD --stage test");

    assert_eq!(seen.code, 1, "{seen}");
    let tail: Vec<_> = seen.stdout.lines().rev().take(3).collect();
    assert!(tail[2] == "The first bad commit could be any of:", "{seen}");
    assert!(tail[1].ends_with("c3") && tail[0].ends_with("c4"), "{seen}");
}

#[test]
fn exit_code_127_and_signals_end_the_search() {
    for command in ["exit 127", "exit 200", "kill -9 $$"] {
        let repo = with_commits(command, 4);
        let seen = repo.orchestrate("bisect HEAD~4..HEAD --stage test --format json");
        assert_eq!((seen.code, &seen.json()["outcome"]), (1, &json!("aborted")), "{command}: {seen}");
        assert_eq!(seen.json()["runs"], 1, "{command}");
    }
}

#[test]
fn an_end_that_is_good_after_all_is_told() {
    let repo = with_commits("true", 4);

    let seen = repo.orchestrate("bisect HEAD~4..HEAD --stage test --format json");

    assert_eq!((seen.code, &seen.json()["outcome"]), (1, &json!("none_bad")), "{seen}");
}

#[test]
fn a_commit_whose_configuration_is_broken_is_skipped() {
    let repo = with_commits("test $n -lt 5", 2);
    let config = repo.read("codex.orchestrator.json");
    repo.write("codex.orchestrator.json", "{");
    repo.git(&["commit", "--quiet", "--all", "--message", "broken"]);
    repo.write("codex.orchestrator.json", &config);
    for n in 4..=6 {
        repo.write("n", &format!("{n}\n"));
        repo.git(&["commit", "--quiet", "--all", "--message", &format!("c{n}")]);
    }

    let seen = repo.orchestrate("bisect HEAD~5..HEAD --stage test --format json");

    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(seen.json()["first_bad"]["subject"], "c5");
}

#[test]
fn a_merge_is_followed_to_the_side_that_brought_it() {
    let repo = with_commits("test ! -e bad", 1);
    repo.git(&["checkout", "--quiet", "-b", "side", "HEAD~1"]);
    for name in ["one", "bad", "two"] {
        repo.write(name, name);
        repo.git(&["add", name]);
        repo.git(&["commit", "--quiet", "--message", name]);
    }
    repo.git(&["checkout", "--quiet", "main"]);
    repo.git(&["merge", "--quiet", "--no-edit", "side"]);

    let seen = repo.orchestrate("bisect HEAD~2..HEAD --stage test --format json");

    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(seen.json()["first_bad"]["subject"], "bad");
}

#[test]
fn a_root_can_be_the_first_bad_commit() {
    let repo = with_commits("test ! -e bad", 1);
    repo.git(&["checkout", "--quiet", "--orphan", "island"]);
    repo.write("bad", "bad");
    repo.git(&["add", "bad"]);
    repo.git(&["commit", "--quiet", "--message", "a root"]);
    repo.git(&["commit", "--quiet", "--allow-empty", "--message", "after it"]);
    repo.git(&["checkout", "--quiet", "main"]);
    repo.git(&["merge", "--quiet", "--no-edit", "--allow-unrelated-histories", "island"]);

    let seen = repo.orchestrate("bisect HEAD^1..HEAD --stage test --format json");

    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(seen.json()["first_bad"]["subject"], "a root");
}

#[test]
fn a_stage_that_the_bad_end_does_not_have_is_an_error() {
    let repo = with_commits("false", 2);
    let seen = repo.orchestrate("bisect HEAD~2..HEAD --stage tset");
    assert_eq!(seen.code, 2, "{seen}");
    assert!(seen.stderr.contains("`tset`"), "{seen}");

    repo.write("codex.orchestrator.json", "{");
    repo.git(&["commit", "--quiet", "--all", "--message", "broken"]);
    let seen = repo.orchestrate("bisect HEAD~2..HEAD --stage test");
    assert_eq!(seen.code, 2, "{seen}");
    assert!(seen.stderr.contains("codex.orchestrator.json:1:"), "{seen}");
    assert_eq!(repo.runs("0101").len(), 0);
}

#[test]
fn a_stage_that_takes_too_long_is_bad() {
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "test", "command": "test ! -e slow || sleep 600", "timeout": "50ms"},
        ]},
    ]}));
    repo.git(&["commit", "--quiet", "--allow-empty", "--message", "quick"]);
    repo.write("slow", "");
    repo.git(&["add", "slow"]);
    repo.git(&["commit", "--quiet", "--message", "slow"]);

    let seen = repo.orchestrate("bisect HEAD~2..HEAD --stage test --format json");

    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(seen.json()["first_bad"]["subject"], "slow");
}

#[test]
fn a_stage_that_cannot_be_started_says_nothing_about_its_commit() {
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "test", "command": "test ! -e bad", "cwd": "sub"},
        ]},
    ]}));
    repo.write("sub/n", "0");
    repo.git(&["add", "sub"]);
    repo.git(&["commit", "--quiet", "--message", "c0"]);
    repo.git(&["mv", "sub", "gone"]);
    repo.git(&["commit", "--quiet", "--message", "nowhere to run"]);
    repo.git(&["mv", "gone", "sub"]);
    repo.git(&["commit", "--quiet", "--message", "back"]);
    repo.write("sub/bad", "bad");
    repo.git(&["add", "sub"]);
    repo.git(&["commit", "--quiet", "--message", "bad"]);

    for runs in [2, 0] {
        let seen = repo.orchestrate("bisect HEAD~3..HEAD --stage test --format json");

        assert_eq!((seen.code, &seen.json()["outcome"]), (0, &json!("found")), "{seen}");
        assert_eq!(seen.json()["first_bad"]["subject"], "bad");
        assert_eq!(seen.json()["runs"], runs, "{seen}");
    }
}

#[test]
fn a_range_without_commits_is_refused() {
    let repo = with_commits("true", 2);

    for (range, said) in [
        ("HEAD..HEAD", "holds no commit, so none of them is bad"),
        ("HEAD..HEAD~1", "the older end comes first"),
        ("HEAD", "is no range of commits"),
        ("nowhere..HEAD", "`nowhere` names no commit"),
    ] {
        let seen = repo.orchestrate(&format!("bisect {range} --stage test"));
        assert_eq!(seen.code, 2, "{range}: {seen}");
        assert!(seen.stderr.contains(said), "{range}: {seen}");
    }
}

#[test]
fn what_is_the_user_s_stays_also_when_the_search_is_killed() {
    let wait = "test -e \"$HOME/again\" || { echo on > \"$HOME/on\"; read _ < \"$HOME/gate\"; }";
    let repo = with_commits(&format!("touch half; git add half; {wait}; git rm -qf half; test $n -lt 3"), 4);
    mess(&repo);
    let before = of_user(&repo);
    let _gate = Gate::new(&repo, "gate");
    let mut killed = spawn(repo.program().args(["bisect", "HEAD~4..HEAD", "--stage", "test"]));
    wait_for(&repo.beside("on"));

    killed.kill().expect("it lives");
    killed.wait().expect("it is ours");
    assert_eq!(of_user(&repo), before);
    std::fs::write(repo.beside("again"), "").expect("a file");
    let seen = repo.orchestrate("bisect HEAD~4..HEAD --stage test --format json");

    // What it was at says nothing, so that commit is run again, where the killed one left its files.
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stderr.contains("ending 1 processes that run"), "{seen}");
    assert_eq!(seen.json()["first_bad"]["subject"], "c3");
    assert_eq!(seen.json()["steps"][0]["known"], false);
    assert_eq!(of_user(&repo), before);
    assert!(!repo.path(".git/orchestrate/slots/2").exists());
    assert!(!repo.path(".git/BISECT_LOG").exists());
}

#[test]
fn an_interrupt_ends_the_search() {
    let repo = with_commits("echo on > \"$HOME/on\"; read _ < \"$HOME/gate\"", 4);
    let _gate = Gate::new(&repo, "gate");
    let search =
        spawn(repo.program().args(["bisect", "HEAD~4..HEAD", "--stage", "test", "--format", "json"]));
    wait_for(&repo.beside("on"));

    let pid = rustix::process::Pid::from_child(&search);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it lives");
    let seen = ended(search);

    assert_eq!((seen.code, &seen.json()["outcome"]), (130, &json!("cancelled")), "{seen}");
    assert_eq!(seen.json()["first_bad"], Value::Null);
}

#[test]
fn a_linked_worktree_and_a_subfolder_know_what_the_others_know() {
    let repo = with_commits("test $n -lt 3", 6);
    repo.write("part/file", "");
    repo.git(&["worktree", "add", "--quiet", "--detach", "../home/linked"]);
    repo.orchestrate("start --each HEAD~6..HEAD --keep-going");

    for place in [repo.path("part"), repo.beside("linked")] {
        let seen = repo.orchestrate_in(&place, "bisect HEAD~6..HEAD --stage test --format json");
        assert_eq!((seen.code, &seen.json()["runs"]), (0, &json!(0)), "{seen}");
        assert_eq!(seen.json()["first_bad"]["subject"], "c3");
    }
}
