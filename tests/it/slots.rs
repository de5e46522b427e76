//! Side worktrees: what makes them ready, what is carried into them, and that nobody is in another's way.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::fixture::{Fixture, id, manifest};
use crate::hook::Project;
use crate::witness::{Gate, ended, spawn, wait_until};

/// A project whose gate before a commit is the command given, with side worktrees as given.
fn project(command: &str, slots: &Value) -> Fixture {
    let stage = json!({"kind": "command", "id": "test", "command": command});
    let repo = Fixture::with_config(&json!({
        "pipelines": [{"id": "gate", "guardrailsRequired": false, "stages": [stage]}],
        "hooks": {"pre-commit": {"require": ["test"]}},
        "slots": slots,
    }));
    repo.write(".gitignore", "deps/\n*.log\n");
    repo.write("lock", "one\n");
    repo.write("note", "first\n");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--amend", "--no-edit"]);
    repo
}

/// Returns the lines that commands left beside the repository since the last time.
fn said(repo: &Fixture, name: &str) -> Vec<String> {
    let path = repo.beside(name);
    let text = fs::read_to_string(&path).unwrap_or_default();
    let _ = fs::remove_file(path);
    text.lines().map(str::to_owned).collect()
}

fn stage(repo: &Fixture, name: &str, text: &str) {
    repo.write(name, text);
    repo.git(&["add", "--all"]);
}

fn slot(repo: &Fixture, name: &str) -> PathBuf {
    repo.path(".git/orchestrate/slots/1/tree").join(name)
}

const INSTALL: &str = r#"echo "installed $(cat lock)" >> "$HOME/said"; mkdir -p deps && cp lock deps/"#;

#[test]
fn set_up_commands_run_when_their_inputs_changed() {
    let repo = project(
        "cmp lock deps/lock",
        &json!({"setup": [
            {"command": INSTALL, "inputs": ["lock"]},
            {"command": r#"echo "all of $(cat note)" >> "$HOME/said""#},
        ]}),
    );
    for (name, text, expected) in [
        ("note", "second", &["installed one", "all of second"][..]),
        ("note", "third", &["all of third"]),
        ("lock", "two", &["installed two", "all of third"]),
        (".gitignore", "deps/", &["installed two", "all of third"]),
        ("lock", "one", &["installed one", "all of third"]),
    ] {
        stage(&repo, name, &format!("{text}\n"));
        let seen = repo.orchestrate("hook pre-commit");
        assert_eq!(seen.code, 0, "{name} {text}: {seen}");
        assert_eq!(said(&repo, "said"), expected, "{name} {text}");
    }
    // What is proven needs no side worktree at all, and a clean one begins from nothing.
    assert_eq!(repo.orchestrate("hook pre-commit").code, 0);
    assert_eq!(said(&repo, "said"), [] as [&str; 0]);
    stage(&repo, "note", "fourth\n");
    assert_eq!(repo.orchestrate("hook pre-commit --clean").code, 0);
    assert_eq!(said(&repo, "said"), ["installed one", "all of fourth"]);
    for _ in 0..2 {
        let seen = repo.orchestrate("start gate --commit HEAD --task t");
        assert_eq!(seen.code, 0, "{seen}");
        assert_eq!(said(&repo, "said"), ["installed one", "all of first"]);
    }
    assert!(!repo.path("deps").exists());
}

#[test]
fn a_set_up_that_fails_is_a_failed_run_and_happens_again() {
    let repo = project(
        "echo tested >> \"$HOME/said\"",
        &json!({"setup": [{"command": "echo one >> \"$HOME/said\"", "inputs": ["lock"]}, {
            "command": "echo trying >> \"$HOME/said\"; echo no network; test -e \"$HOME/network\"", "inputs": ["lock"],
        }]}),
    );
    stage(&repo, "note", "second\n");
    let seen = repo.orchestrate("hook pre-commit");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(
        seen.stderr.contains("the side worktree was not set up: Exited with code 1 — no network"),
        "{seen}"
    );
    let runs = repo.runs("0101");
    let failed = manifest(&runs[0]);
    assert_eq!((&failed["status"], &failed["pipeline_id"]), (&json!("failed"), &json!("slot-setup")));
    assert_eq!(repo.orchestrate(&format!("logs {}", id(&runs[0]))).stdout, "no network\n");
    assert!(failed["proof"].is_null());
    let seen = repo.orchestrate("resume");
    assert_eq!(seen.code, 2, "{seen}");
    assert!(seen.stderr.contains("was to set a side worktree up"), "{seen}");
    fs::write(repo.beside("network"), "").unwrap();
    let seen = repo.orchestrate("hook pre-commit");
    assert_eq!(seen.code, 0, "{seen}");
    // What succeeded the first time did not run again.
    assert_eq!(said(&repo, "said"), ["one", "trying", "trying", "tested"]);
    assert_eq!(repo.orchestrate("flakes").code, 0);
}

#[test]
fn a_set_up_may_not_change_what_is_judged_nor_take_for_ever() {
    let repo = project("true", &json!({"setup": [{"command": "echo more >> note"}]}));
    stage(&repo, "note", "second\n");
    for _ in 0..2 {
        let seen = repo.orchestrate("hook pre-commit");
        assert_eq!(seen.code, 1, "{seen}");
        assert!(seen.stderr.contains("setting the side worktree up changed what"), "{seen}");
    }
    let repo = project("true", &json!({"setup": [{"command": "sleep 1000", "timeout": "50ms"}]}));
    stage(&repo, "note", "second\n");
    let seen = repo.orchestrate("hook pre-commit");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stderr.contains("was not set up: Timed out"), "{seen}");
}

#[test]
fn a_set_up_that_is_killed_happens_again() {
    let repo = project(
        "echo tested >> \"$HOME/said\"",
        &json!({"setup": [{"command": "echo begun >> \"$HOME/said\"; mkdir deps || exit 9; read _ < \"$HOME/gate\"; rmdir deps",
            "inputs": ["lock"]}]}),
    );
    stage(&repo, "note", "second\n");
    let mut gate = Gate::new(&repo, "gate");
    let mut child = spawn(repo.program().args(["hook", "pre-commit"]));
    wait_until("it is begun", || slot(&repo, "deps").exists());
    child.kill().unwrap();
    ended(child);
    fs::remove_dir(slot(&repo, "deps")).unwrap();
    // It ends what the other one left, which would take the line otherwise.
    let child = spawn(repo.program().args(["hook", "pre-commit"]));
    wait_until("it is begun again", || slot(&repo, "deps").exists());
    gate.open();
    let seen = ended(child);
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(said(&repo, "said"), ["begun", "begun", "tested"]);
}

#[test]
fn ignored_dependencies_are_copied_and_nothing_is_linked_or_written() {
    let repo = project(
        "cat deps/a/lib && readlink deps/up && echo mine >> deps/a/lib",
        &json!({"carry": ["deps", "*.log", "!big.log", "note"]}),
    );
    repo.write("deps/a/lib", "library\n");
    repo.write("web/deps/lib", "library\n");
    repo.write("small.log", "log\n");
    repo.write("big.log", "log\n");
    symlink("../lock", repo.path("deps/up")).unwrap();
    let before = repo.tree("deps");
    stage(&repo, "note", "second\n");
    stage(&repo, "web/page", "page\n");
    let seen = repo.orchestrate("hook pre-commit");
    assert_eq!(seen.code, 0, "{seen}");
    let of = |path: PathBuf| fs::metadata(path).unwrap().ino();
    assert_ne!(of(slot(&repo, "deps/a/lib")), of(repo.path("deps/a/lib")));
    assert_eq!(fs::read_to_string(slot(&repo, "deps/a/lib")).unwrap(), "library\nmine\n");
    assert_eq!((repo.read("deps/a/lib"), repo.tree("deps")), ("library\n".to_owned(), before));
    assert!(slot(&repo, "web/deps/lib").exists() && slot(&repo, "small.log").exists());
    assert!(!slot(&repo, "big.log").exists());
    assert_eq!(fs::read_to_string(slot(&repo, "note")).unwrap(), "second\n");
    assert!(!slot(&repo, "../carrying").exists());

    // What is there stays the side worktree's own, until the worktree has another one.
    stage(&repo, "note", "third\n");
    repo.write("deps/a/lib", "changed within\n");
    assert_eq!(repo.orchestrate("hook pre-commit").code, 0);
    assert_eq!(fs::read_to_string(slot(&repo, "deps/a/lib")).unwrap(), "library\nmine\nmine\n");
    stage(&repo, "note", "fourth\n");
    repo.write("deps/b", "a new one\n");
    assert_eq!(repo.orchestrate("hook pre-commit").code, 0);
    assert_eq!(fs::read_to_string(slot(&repo, "deps/a/lib")).unwrap(), "changed within\nmine\n");
    assert!(slot(&repo, "deps/b").exists());
}

#[test]
fn what_is_carried_is_set_up_after_that() {
    let repo = project(
        "true",
        &json!({"carry": ["deps"], "setup": [{"command": "cat deps/lib >> \"$HOME/said\"", "inputs": ["lock"]}]}),
    );
    for (text, lib, expected) in
        [("second", None, &["one"][..]), ("third", None, &[]), ("fourth", Some("two"), &["two"])]
    {
        repo.write("deps/lib", lib.unwrap_or("one"));
        if lib.is_some() {
            repo.write("deps/other", "");
        }
        stage(&repo, "note", &format!("{text}\n"));
        let seen = repo.orchestrate("hook pre-commit");
        assert_eq!(seen.code, 0, "{seen}");
        assert_eq!(said(&repo, "said"), expected, "{text}");
    }
}

#[test]
fn a_file_that_changed_is_carried_again_and_nothing_goes_through_a_link_of_the_commit() {
    let repo = project("true", &json!({"carry": ["small.log", "deps"]}));
    repo.write("small.log", "one\n");
    repo.write("web/deps/lib", "library\n");
    for text in ["one\n", "another\n"] {
        repo.write("small.log", text);
        stage(&repo, "note", text);
        let seen = repo.orchestrate("hook pre-commit");
        assert_eq!(seen.code, 0, "{seen}");
        assert_eq!(fs::read_to_string(slot(&repo, "small.log")).unwrap(), text);
    }
    let outside = repo.beside("outside");
    fs::create_dir_all(outside.join("deps")).unwrap();
    fs::write(outside.join("deps/mine"), "precious").unwrap();
    fs::write(repo.beside("target"), outside.to_str().unwrap()).unwrap();
    let blob = repo.git(&["hash-object", "-w", repo.beside("target").to_str().unwrap()]);
    repo.git(&["update-index", "--add", "--cacheinfo", &format!("120000,{blob},web")]);
    repo.write("web/deps/other", "library\n");
    let seen = repo.orchestrate("hook pre-commit");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(slot(&repo, "web").is_symlink());
    let left: Vec<_> =
        fs::read_dir(outside.join("deps")).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["mine"]);
}

#[test]
fn what_a_commit_does_not_ignore_is_not_carried_and_links_out_are_refused() {
    let repo = project("true", &json!({"carry": ["deps", "keep.txt"]}));
    repo.write("deps/lib", "library\n");
    repo.write("keep.txt", "tracked by nobody\n");
    stage(&repo, ".gitignore", "*.log\n");
    repo.git(&["rm", "-r", "--quiet", "--cached", "deps", "keep.txt"]);
    // The worktree ignores them by a rule that the side worktree has too, but for `deps`.
    fs::write(repo.path(".git/info/exclude"), "/keep.txt\n").unwrap();
    let seen = repo.orchestrate("hook pre-commit");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(!slot(&repo, "deps").exists() && slot(&repo, "keep.txt").exists());

    let repo = project("true", &json!({"carry": ["deps"]}));
    fs::create_dir(repo.path("deps")).unwrap();
    symlink("../../elsewhere", repo.path("deps/out")).unwrap();
    stage(&repo, "note", "second\n");
    let seen = repo.orchestrate("hook pre-commit");
    assert_eq!(seen.code, 3, "{seen}");
    assert!(seen.stderr.contains("the link `deps/out` leads outside, to `../../elsewhere`"), "{seen}");
    assert!(!slot(&repo, "deps").exists());
    assert_eq!(repo.orchestrate("start gate --commit HEAD --task t").code, 3);
}

#[test]
fn two_pushes_at_once_do_not_wait_for_each_other() {
    let stage = json!({"kind": "command", "id": "test",
        "command": "echo on > \"$HOME/on-$(cat note)\"; read _ < \"$HOME/gate-$(cat note)\""});
    let project = Project::with(&json!({
        "pipelines": [{"id": "gate", "guardrailsRequired": false, "stages": [stage]}],
        "hooks": {"pre-push": {"require": ["test"]}},
    }));
    let names = ["one", "two"];
    for name in names {
        project.repo.git(&["checkout", "--quiet", "-b", name, "main"]);
        project.commit(name);
    }
    let mut gates = names.map(|name| Gate::new(&project.repo, &format!("gate-{name}")));

    let pushes = names.map(|name| spawn(project.repo.program().args(["push", "origin", name])));

    // Each is at it while the other is.
    for name in names {
        wait_until(name, || project.repo.beside(&format!("on-{name}")).exists());
    }
    gates.iter_mut().for_each(Gate::open);
    for (push, name) in pushes.into_iter().zip(names) {
        let seen = ended(push);
        assert_eq!(seen.code, 0, "{seen}");
        assert!(project.there(&format!("refs/heads/{name}")).is_some());
    }
    let slots = project.repo.path(".git/orchestrate/slots");
    assert_eq!(fs::read_dir(slots).unwrap().count(), 2);
}

#[test]
fn whoever_is_killed_on_the_way_to_a_commit_leaves_nothing_wrong() {
    let repo = project(
        "git diff-files --quiet && test -z \"$(git ls-files --others --exclude-standard)\" && cat note >> \"$HOME/said\"",
        &json!({"carry": ["deps"], "setup": [{"command": "test -e deps/lib && echo ready > deps/ready", "inputs": ["lock"]}]}),
    );
    repo.write("deps/lib", "library\n");
    assert_eq!(repo.orchestrate("hook pre-commit").code, 0);
    let mut begun = repo.runs("0101").len();
    for step in 1.. {
        // Each time to another tree, with other dependencies and another set-up.
        stage(&repo, "note", &format!("{step}\n"));
        stage(&repo, &format!("added/{step}"), "new\n");
        stage(&repo, "lock", &format!("{step}\n"));
        repo.write(&format!("deps/{step}"), "");
        let mut command = repo.program();
        let seen =
            repo.see(command.args(["hook", "pre-commit"]).env("GIT_ORCHESTRATE_CRASH_AT", step.to_string()));
        let is_on_the_way = repo.runs("0101").len() == begun;
        said(&repo, "said");
        let again = repo.orchestrate("hook pre-commit");
        assert_eq!(again.code, 0, "step {step}: {seen}, then {again}");
        assert_eq!(said(&repo, "said"), [step.to_string()], "step {step}");
        assert!(
            slot(&repo, &format!("deps/{step}")).exists() && slot(&repo, "deps/ready").exists(),
            "step {step}"
        );
        begun = repo.runs("0101").len();
        if !is_on_the_way {
            assert!(step > 5, "{seen}");
            break;
        }
    }
}

#[test]
fn a_sparse_checkout_is_inherited_and_what_is_proven_there_counts_there() {
    let repo = project(
        "ls >> \"$HOME/said\"; test -z \"$(git status --porcelain --untracked-files=no | grep -v ^M)\"",
        &json!({}),
    );
    for name in ["lib/in", "web/in", "docs/in"] {
        stage(&repo, name, "in\n");
    }
    repo.git(&["commit", "--quiet", "--message", "folders"]);
    let top = [".gitignore", "codex.orchestrator.json", "lock", "note"];
    for (set, seen_there, gone) in [
        ("set lib", &["lib"][..], "web/in"),
        ("set lib docs", &["docs", "lib"], "web/in"),
        ("set --no-cone /* !/lib/", &["docs", "web"], "lib/in"),
        ("disable", &["docs", "lib", "web"], "lib/nothing"),
    ] {
        repo.git(&[&["sparse-checkout"][..], &set.split(' ').collect::<Vec<_>>()].concat());
        for text in ["one", "two"] {
            repo.write("note", &format!("{set} {text}\n"));
            repo.git(&["add", "note"]);
            for times in [1, 0] {
                let seen = repo.orchestrate("hook pre-commit");
                assert_eq!(seen.code, 0, "{set}: {seen}");
                let expected: Vec<_> = top.iter().skip(1).chain(seen_there).copied().collect();
                let mut listed = said(&repo, "said");
                listed.retain(|name| !name.starts_with("greet") && !name.starts_with("README"));
                let mut expected = if times == 0 { Vec::new() } else { expected };
                expected.sort_unstable();
                listed.sort_unstable();
                assert_eq!(listed, expected, "{set} {text}, {times}");
            }
        }
        assert!(!slot(&repo, gone).exists(), "{set}");
    }
    // Another worktree is whole, whatever its neighbour shows.
    repo.git(&["sparse-checkout", "set", "lib"]);
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", "--detach", linked.to_str().unwrap()]);
    repo.see(repo.command("git").current_dir(&linked).args(["sparse-checkout", "disable"]));
    let seen = repo.orchestrate_in(&linked, "start gate --commit HEAD --task t");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(slot(&repo, "web/in").exists());
}

#[test]
fn filters_do_what_they_do_on_a_checkout() {
    let repo = project("cat word.up text.crlf | od -c | head -1 >> \"$HOME/said\"", &json!({}));
    repo.write(".gitattributes", "*.up filter=up\n*.crlf text eol=crlf\n");
    repo.git(&["config", "filter.up.clean", "tr A-Z a-z"]);
    repo.git(&["config", "filter.up.smudge", "tr a-z A-Z"]);
    repo.git(&["config", "filter.up.required", "true"]);
    repo.write("word.up", "A");
    stage(&repo, "text.crlf", "b\n");
    let shown = |first: &str| vec![format!("0000000   {first}   b  \\r  \\n")];
    assert_eq!(repo.orchestrate("hook pre-commit").code, 0);
    assert_eq!(said(&repo, "said"), shown("A"));
    stage(&repo, "word.up", "C");
    assert_eq!(repo.orchestrate("hook pre-commit").code, 0);
    assert_eq!(said(&repo, "said"), shown("C"));
    stage(&repo, "word.up", "D");
    repo.git(&["config", "filter.up.smudge", "echo no such program >&2; false"]);
    let seen = repo.orchestrate("hook pre-commit");
    assert_ne!(seen.code, 0, "{seen}");
    assert!(
        seen.stderr.contains("cannot check out") && seen.stderr.contains("smudge filter up failed"),
        "{seen}"
    );
    repo.git(&["config", "filter.up.smudge", "tr a-z A-Z"]);
    assert_eq!(repo.orchestrate("hook pre-commit").code, 0);
    assert_eq!(said(&repo, "said"), shown("D"));
}
