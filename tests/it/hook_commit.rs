//! `hook pre-commit` and the others around a commit: what git would commit is judged, and nothing of it is touched.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::fixture::{Fixture, Seen};
use crate::witness::{Gate, ended, spawn, wait_for, wait_until};

fn config(hooks: &Value) -> Value {
    let stage = |id: &str, command: &str| json!({"kind": "command", "id": id, "command": command});
    json!({
        "pipelines": [{"id": "gate", "guardrailsRequired": false, "stages": [
            stage("build", "cat note >> \"$HOME/saw\"; cat made; echo made > made; git rev-parse HEAD > \"$HOME/head\""),
            stage("test", "echo tested >> \"$HOME/ran\"; test ! -e fails"),
            stage("message", "cat \"$GIT_ORCHESTRATE_MESSAGE_FILE\" >> \"$HOME/said\"; grep -q good \"$GIT_ORCHESTRATE_MESSAGE_FILE\""),
            stage("slow", "echo on > \"$HOME/on\"; read _ < \"$HOME/gate\"; cat note >> \"$HOME/saw\""),
        ]}],
        "defaultPipeline": "gate",
        "hooks": hooks,
    })
}

/// A project with such a configuration, committed, and one hook per event that it names.
fn project(hooks: &Value) -> Fixture {
    let repo = Fixture::with_config(&config(hooks));
    repo.write("note", "first\n");
    repo.write("other", "first\n");
    repo.write(".gitignore", "made\n");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--amend", "--no-edit"]);
    for event in hooks.as_object().unwrap().keys() {
        hook(&repo.path(".git/hooks"), event);
    }
    repo
}

fn hook(folder: &Path, event: &str) {
    fs::create_dir_all(folder).unwrap();
    let path = folder.join(event);
    let program = env!("CARGO_BIN_EXE_git-orchestrate");
    fs::write(&path, format!("#!/bin/sh\nexec '{program}' hook {event} \"$@\"\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn git(repo: &Fixture, words: &str) -> Seen {
    repo.see(repo.command("git").args(words.split(' ')))
}

/// Returns what the stages saw since the last time.
fn saw(repo: &Fixture) -> String {
    let path = repo.beside("saw");
    let saw = fs::read_to_string(&path).unwrap_or_default();
    let _ = fs::remove_file(path);
    saw
}

/// Returns all that is the user's: the work tree, the index as it is byte for byte, refs and stash.
fn of_user(repo: &Fixture) -> Vec<String> {
    let mut all: Vec<String> = repo
        .tree("")
        .into_iter()
        .filter(|name| !name.starts_with(".runs") && !name.starts_with("out"))
        .map(|name| {
            let content = fs::read(repo.path(&name)).unwrap_or_default();
            format!("{name}: {}", String::from_utf8_lossy(&content))
        })
        .collect();
    all.push(format!("{:?}", fs::read(repo.path(".git/index")).unwrap()));
    for words in ["for-each-ref", "stash list", "reflog", "symbolic-ref HEAD"] {
        all.push(repo.git(&words.split(' ').collect::<Vec<_>>()));
    }
    all
}

#[test]
fn what_git_would_commit_is_judged_whichever_way_it_commits() {
    let repo = project(&json!({"pre-commit": {"require": ["build", "test"]}}));
    let first = repo.git(&["rev-parse", "HEAD"]);
    // A part of a file.
    repo.write("note", "staged\n");
    repo.git(&["add", "note"]);
    repo.write("note", "dirty\n");
    repo.write("untracked", "untracked\n");
    let seen = git(&repo, "commit --quiet --message partial");
    assert_eq!((seen.code, saw(&repo).as_str()), (0, "staged\n"), "{seen}");
    assert!(seen.stderr.contains("  proven  the next commit  tree "), "{seen}");
    assert_eq!(repo.read("note"), "dirty\n");
    assert_eq!(fs::read_to_string(repo.beside("head")).unwrap().trim_end(), first);
    // All of them: git commits another index than its usual one.
    let seen = git(&repo, "commit --quiet --all --message all");
    assert_eq!((seen.code, saw(&repo).as_str()), (0, "dirty\n"), "{seen}");
    // Some paths, without what is staged of others.
    repo.write("note", "staged again\n");
    repo.git(&["add", "note"]);
    repo.write("other", "other\n");
    let seen = git(&repo, "commit --quiet --only other --message only");
    assert_eq!((seen.code, saw(&repo).as_str()), (0, "dirty\n"), "{seen}");
    assert_eq!(repo.git(&["diff", "--cached", "--name-only"]), "note");
    // Another message for the same tree has nothing to be run.
    repo.git(&["reset", "--quiet", "--hard"]);
    let seen = git(&repo, "commit --quiet --amend --message other");
    assert_eq!((seen.code, saw(&repo).as_str()), (0, ""), "{seen}");
    assert!(seen.stderr.contains("  proven  the next commit  tree "), "{seen}");
    // From a subfolder, and from a linked worktree.
    fs::create_dir(repo.path("sub")).unwrap();
    repo.write("sub/file", "new\n");
    repo.write("note", "from below\n");
    repo.git(&["add", "--all"]);
    let seen = repo.see(
        repo.command("git").current_dir(repo.path("sub")).args(["commit", "--quiet", "-m", "x", "--", "."]),
    );
    assert_eq!((seen.code, saw(&repo).as_str()), (0, "dirty\n"), "{seen}");
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", "-b", "linked", linked.to_str().unwrap()]);
    fs::write(linked.join("note"), "linked\n").unwrap();
    let seen = repo.see(repo.command("git").current_dir(&linked).args(["commit", "-qam", "linked"]));
    assert_eq!((seen.code, saw(&repo).as_str()), (0, "linked\n"), "{seen}");
    // A merge.
    repo.git(&["commit", "--quiet", "--no-verify", "--all", "--message", "here"]);
    let seen = git(&repo, "merge --quiet --no-commit linked");
    assert_ne!(seen.code, 0, "it is a conflict: {seen}");
    assert_eq!(repo.orchestrate("hook pre-commit").code, 2, "a conflict cannot be committed");
    repo.write("note", "merged\n");
    repo.git(&["add", "note"]);
    let seen = git(&repo, "commit --quiet --message merge");
    assert_eq!((seen.code, saw(&repo).as_str()), (0, "merged\n"), "{seen}");
    assert_eq!(repo.git(&["stash", "list"]), "");
}

#[test]
fn a_first_commit_is_judged_by_its_own_gate() {
    let repo = Fixture::with_config(&config(&json!({"pre-commit": {"require": ["build"]}})));
    repo.write("note", "orphan\n");
    repo.git(&["checkout", "--quiet", "--orphan", "other"]);
    repo.git(&["add", "--all"]);
    hook(&repo.path(".git/hooks"), "pre-commit");
    let seen = git(&repo, "commit --quiet --message first");
    // Nothing that `HEAD` could name is there, which the stage asks for last.
    assert_eq!((seen.code, saw(&repo).as_str()), (1, "orphan\n"), "{seen}");
    assert!(seen.stderr.contains("HEAD has no such gate yet"), "{seen}");
    assert!(seen.stderr.contains(" REFUSED  the next commit"), "{seen}");
}

#[test]
fn nothing_of_the_user_s_is_touched() {
    let repo = project(&json!({"pre-commit": {"require": ["build", "test"]}}));
    repo.write("other", "stashed\n");
    repo.git(&["stash", "push", "--quiet"]);
    repo.write("note", "staged\n");
    repo.write("fails", "");
    repo.git(&["add", "note", "fails"]);
    repo.write("note", "dirty\n");
    repo.write("made", "ignored\n");
    // A file that git would look at again.
    repo.write("other", "first\n");
    let before = of_user(&repo);
    let seen = repo.orchestrate("hook pre-commit");
    assert_eq!((seen.code, saw(&repo).as_str()), (1, "staged\n"), "{seen}");
    assert_eq!(of_user(&repo), before);
    assert!(seen.stderr.contains("stage test: ") && seen.stderr.contains("git orchestrate logs "), "{seen}");
    // It is known by now.
    let seen = repo.orchestrate("hook pre-commit --format json");
    assert_eq!((seen.code, saw(&repo).as_str()), (1, ""), "{seen}");
    let document = seen.json();
    assert_eq!((&document["ok"], &document["standing"]), (&json!(false), &json!("refused")));
    assert_eq!(document["tree"], json!(repo.git(&["write-tree"])));
    assert_eq!(
        (&document["stages"][0]["proven"], &document["stages"][1]["proven"]),
        (&json!(true), &json!(false))
    );
    // What was ignored there did not come from here, and stays there.
    repo.git(&["rm", "--quiet", "--cached", "fails"]);
    let before = of_user(&repo);
    assert_eq!(repo.orchestrate("hook pre-commit").code, 0);
    assert_eq!(of_user(&repo), before);
    let slot = repo.path(".git/orchestrate/slots/1/tree/made");
    assert_eq!(fs::read_to_string(&slot).unwrap(), "made\n");
    assert_eq!(repo.read("made"), "ignored\n");
    fs::remove_dir_all(repo.path(".git/orchestrate/ledger")).unwrap();
    fs::write(&slot, "marked\n").unwrap();
    repo.write("note", "again\n");
    repo.git(&["add", "note"]);
    assert_eq!(repo.orchestrate("hook pre-commit --clean").code, 0);
    assert_eq!(fs::read_to_string(&slot).unwrap(), "made\n");
}

#[test]
fn what_is_proven_takes_one_line_and_no_other_program() {
    let repo = project(&json!({"pre-commit": {"require": ["build", "test"], "guardrails": ["diff-budget"]}}));
    repo.write("note", "second\n");
    repo.git(&["add", "note"]);
    assert_eq!(repo.orchestrate("hook pre-commit").code, 0);
    // As `git commit` does before it calls the hook.
    let tree = repo.git(&["write-tree"]);
    let mut command = repo.program();
    // Neither git nor a shell can be found.
    let seen = repo.see(command.args(["hook", "pre-commit"]).env("PATH", "/nonexistent"));
    assert_eq!((seen.code, seen.stdout.as_str()), (0, ""), "{seen}");
    assert!(
        seen.stderr.starts_with(&format!("  proven  the next commit  tree {}: build by run ", &tree[..12])),
        "{seen}"
    );
    assert_eq!(seen.stderr.lines().count(), 1, "{seen}");
    // An index that is not written yet, as a part of one, says nothing of another.
    let index = repo.beside("index");
    fs::copy(repo.path(".git/index"), &index).unwrap();
    repo.write("fails", "");
    let add = |words: &[&str]| repo.see(repo.command("git").env("GIT_INDEX_FILE", &index).args(words));
    assert_eq!(add(&["add", "fails"]).code, 0);
    let before = fs::read(&index).unwrap();
    let ask =
        |index: &Path| repo.see(repo.program().env("GIT_INDEX_FILE", index).args(["hook", "pre-commit"]));
    assert_eq!(ask(&index).code, 1);
    assert_eq!(fs::read(&index).unwrap(), before);
    assert_eq!(ask(Path::new(".git/index")).code, 0);
    let bare = repo.beside("bare.git");
    repo.git(&["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
    let seen = repo.orchestrate_in(&bare, "hook pre-commit");
    assert_eq!((seen.code, seen.stderr.as_str()), (0, ""), "{seen}");
}

#[test]
fn a_killed_hook_leaves_everything_as_it_was() {
    let repo = project(&json!({"pre-commit": {"require": ["slow"]}}));
    let mut gate = Gate::new(&repo, "gate");
    repo.write("note", "staged\n");
    repo.git(&["add", "note"]);
    repo.write("note", "dirty\n");
    let before = of_user(&repo);
    let mut killed = spawn(repo.program().args(["hook", "pre-commit"]));
    wait_for(&repo.beside("on"));
    // Somebody goes on writing meanwhile.
    repo.write("other", "written meanwhile\n");
    killed.kill().unwrap();
    killed.wait().unwrap();
    repo.write("other", "first\n");
    assert_eq!(of_user(&repo), before);
    // Whoever comes next is judged as ever, and by what is staged when it is committed.
    fs::remove_file(repo.beside("on")).unwrap();
    let next = spawn(repo.command("git").args(["commit", "--quiet", "--message", "next"]));
    wait_for(&repo.beside("on"));
    gate.open();
    let seen = ended(next);
    assert_eq!((seen.code, saw(&repo).as_str()), (0, "staged\n"), "{seen}");
    assert_eq!(repo.read("note"), "dirty\n");
}

#[test]
fn an_index_that_changes_meanwhile_is_not_committed() {
    let repo = project(&json!({"pre-commit": {"require": ["slow"]}}));
    let mut gate = Gate::new(&repo, "gate");
    let head = repo.git(&["rev-parse", "HEAD"]);
    repo.write("note", "staged\n");
    repo.git(&["add", "note"]);
    let commit = spawn(repo.command("git").args(["commit", "--quiet", "--message", "next"]));
    wait_for(&repo.beside("on"));
    repo.write("note", "added meanwhile\n");
    repo.git(&["add", "note"]);
    gate.open();
    let seen = ended(commit);
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stderr.contains("the index changed while it was judged"), "{seen}");
    assert_eq!(repo.git(&["rev-parse", "HEAD"]), head);
}

#[test]
fn a_gate_that_a_commit_changes_still_judges_it() {
    let repo = project(&json!({"pre-commit": {"require": ["test"]}}));
    let change = |hooks: Value, words: &str| {
        repo.write("codex.orchestrator.json", &config(&hooks).to_string());
        repo.git(&["add", "--all"]);
        git(&repo, words)
    };
    repo.write("fails", "");
    let seen = change(json!({}), "commit --quiet --message weaker");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(
        seen.stderr.contains("changes `hooks.pre-commit`, which counts from the next commit on"),
        "{seen}"
    );
    // There is a way out, and it is kept.
    let mut command = repo.command("git");
    command.args(["commit", "--quiet", "--message", "why"]).env("GIT_ORCHESTRATE_OVERRIDE", "on purpose");
    let seen = repo.see(&mut command);
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stderr.contains("let pass by GIT_ORCHESTRATE_OVERRIDE: on purpose"), "{seen}");
    let shown = repo.orchestrate("evidence show HEAD --format json");
    assert!(shown.stdout.contains("on purpose"), "{shown}");
    // Nobody asks for anything by now.
    let seen = change(json!({}), "commit --quiet --allow-empty --message free");
    assert_eq!((seen.code, seen.stderr.as_str()), (0, ""));
    // A broken configuration says so; one that is mended is taken.
    repo.write("codex.orchestrator.json", "{\"hooks\": 1}");
    let seen = git(&repo, "commit --quiet --all --message broken");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stderr.contains("GIT_ORCHESTRATE_OVERRIDE='why' git commit"), "{seen}");
    assert_eq!(git(&repo, "commit --quiet --no-verify --all --message broken").code, 0);
    fs::remove_file(repo.path("fails")).unwrap();
    let seen = change(json!({"pre-commit": {"require": ["test"]}}), "commit --quiet --message mended");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stderr.contains("the configuration of HEAD is broken"), "{seen}");
}

#[test]
fn what_is_not_proven_may_be_told_only() {
    let repo = project(&json!({"pre-commit": {"require": ["test"], "onMissing": "warn"}}));
    repo.write("fails", "");
    repo.git(&["add", "fails"]);
    let seen = git(&repo, "commit --quiet --message fails");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stderr.contains(" warning  the next commit"), "{seen}");
}

#[test]
fn the_size_of_what_is_staged_is_judged() {
    let mut config = config(&json!({"pre-commit": {"guardrails": ["diff-budget"]}}));
    config["guardrails"] = json!({"diffBudget": {"maxFiles": 2}});
    let repo = Fixture::with_config(&config);
    hook(&repo.path(".git/hooks"), "pre-commit");
    for name in ["a", "b", "c"] {
        repo.write(name, "new\n");
    }
    repo.git(&["add", "a", "b"]);
    let seen = git(&repo, "commit --quiet --message two");
    assert_eq!(seen.code, 0, "{seen}");
    // Together with those of the commit that it takes the place of they are too many.
    repo.git(&["add", "c"]);
    let seen = git(&repo, "commit --quiet --amend --message three");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stderr.contains("diff-budget (staged): "), "{seen}");
    assert_eq!(git(&repo, "commit --quiet --message one").code, 0);
    // A merge brings what somebody else has answered for.
    repo.git(&["checkout", "--quiet", "-b", "side", "HEAD~1"]);
    repo.git(&["commit", "--quiet", "--allow-empty", "--message", "side"]);
    repo.write("d", "new\n");
    repo.write("e", "new\n");
    repo.write("f", "new\n");
    repo.git(&["add", "d", "e", "f"]);
    let mut command = repo.command("git");
    command.args(["commit", "--quiet", "--message", "many"]).env("DIFF_BUDGET_OVERRIDE_REASON", "generated");
    let seen = repo.see(&mut command);
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stderr.contains("let pass by DIFF_BUDGET_OVERRIDE_REASON: generated"), "{seen}");
    repo.git(&["checkout", "--quiet", "main"]);
    repo.git(&["merge", "--quiet", "--no-commit", "--no-ff", "side"]);
    let seen = git(&repo, "commit --quiet --message merged");
    assert_eq!(seen.code, 0, "{seen}");
}

#[test]
fn the_size_of_what_is_amended_is_judged_with_its_message_too() {
    let mut config = config(&json!({"commit-msg": {"guardrails": ["diff-budget"]}}));
    config["guardrails"] = json!({"diffBudget": {"maxFiles": 1}});
    let repo = Fixture::with_config(&config);
    hook(&repo.path(".git/hooks"), "commit-msg");
    for name in ["a", "b"] {
        repo.write(name, "new\n");
    }
    repo.git(&["add", "a"]);
    assert_eq!(git(&repo, "commit --quiet --message one").code, 0);
    repo.git(&["add", "b"]);
    let seen = git(&repo, "commit --quiet --amend --message two");
    assert_eq!(seen.code, 1, "{seen}");
    let mut command = repo.command("git");
    command.args(["commit", "--quiet", "--amend", "--message", "two"]).env("GIT_ORCHESTRATE_OVERRIDE", "why");
    let seen = repo.see(&mut command);
    assert_eq!(seen.code, 0, "{seen}");
    assert!(!seen.stderr.contains("proven"), "it passed for a reason: {seen}");
}

#[test]
fn a_message_is_judged_with_its_commit() {
    let repo = project(&json!({"commit-msg": {"require": ["message"]}}));
    let seen = git(&repo, "commit --quiet --allow-empty --message bad");
    assert_eq!(seen.code, 1, "{seen}");
    // The same tree with another message is another question, and neither answer is a flake.
    for _ in 0..2 {
        let seen = git(&repo, "commit --quiet --allow-empty --message good");
        assert_eq!(seen.code, 0, "{seen}");
    }
    let said = fs::read_to_string(repo.beside("said")).unwrap();
    assert_eq!(said.lines().collect::<Vec<_>>(), ["bad", "good"]);
    let seen = git(&repo, "commit --quiet --allow-empty --message bad");
    assert_eq!(seen.code, 1, "{seen}");
    assert_eq!(repo.orchestrate("hook commit-msg nothing").code, 2);
}

#[test]
fn what_comes_after_may_be_left_alone() {
    let after = json!({"require": ["slow"], "background": true});
    let repo = project(&json!({"post-commit": after, "post-checkout": {"require": ["test"]},
        "post-merge": {"require": ["test"]}}));
    let mut gate = Gate::new(&repo, "gate");
    repo.write("note", "second\n");
    let seen = git(&repo, "commit --quiet --all --message second");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stderr.contains("goes on  HEAD  tree "), "{seen}");
    wait_for(&repo.beside("on"));
    // It is about the commit that was made, whatever comes then.
    repo.git(&["commit", "--quiet", "--allow-empty", "--no-verify", "--message", "third"]);
    gate.open();
    wait_until("what goes on in the background", || repo.beside("saw").exists());
    let log = repo.path(".git/orchestrate/post-commit.log");
    wait_until("what it says", || {
        gate.open();
        fs::read_to_string(&log).unwrap_or_default().contains("  proven  HEAD")
    });
    assert!(saw(&repo).starts_with("second\n"));
    // A failure after the fact is told, and fails nothing.
    repo.write("fails", "");
    repo.git(&["checkout", "--quiet", "-b", "side"]);
    let _ = fs::remove_file(repo.beside("ran"));
    repo.git(&["add", "fails"]);
    let mut command = repo.command("git");
    command.args(["-c", "core.hooksPath=/dev/null", "commit", "--quiet", "--message", "fails"]);
    assert_eq!(repo.see(&mut command).code, 0);
    repo.git(&["checkout", "--quiet", "main"]);
    let seen = git(&repo, "merge --quiet side");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stderr.contains(" warning  HEAD  tree ") && seen.stderr.contains("stage test: "), "{seen}");
    // A checkout of files is none of a commit.
    let _ = fs::remove_file(repo.beside("ran"));
    repo.git(&["checkout", "--quiet", "HEAD", "--", "note"]);
    assert!(!repo.beside("ran").exists());
}

#[test]
fn rewritten_commits_keep_their_evidence() {
    let repo = project(&json!({"post-rewrite": {}}));
    repo.git(&["commit", "--quiet", "--allow-empty", "--message", "second"]);
    let started = repo.orchestrate("start --target test --notes");
    assert_eq!(started.code, 0, "{started}");
    let seen = git(&repo, "commit --quiet --amend --allow-empty --message other");
    assert_eq!((seen.code, seen.stderr.as_str()), (0, ""));
    let listed = repo.git(&["for-each-ref", "--format=%(refname)", "refs/notes/"]);
    let shown = repo.git(&["notes", "--ref", listed.lines().next().unwrap(), "show", "HEAD"]);
    assert!(shown.contains("carried over from "), "{shown}");
}

#[test]
fn only_what_is_proven_is_rebased() {
    let repo = project(&json!({"pre-rebase": {"require": ["test"]}}));
    repo.git(&["checkout", "--quiet", "-b", "side"]);
    repo.write("fails", "");
    repo.git(&["add", "fails"]);
    repo.git(&["commit", "--quiet", "--message", "fails"]);
    repo.git(&["checkout", "--quiet", "main"]);
    repo.git(&["commit", "--quiet", "--allow-empty", "--message", "second"]);
    let seen = git(&repo, "rebase --quiet main side");
    assert_ne!(seen.code, 0, "{seen}");
    assert!(seen.stderr.contains("stage test: "), "{seen}");
    let seen = git(&repo, "rebase --quiet HEAD~1");
    assert_eq!(seen.code, 0, "{seen}");
}

#[test]
fn an_event_that_nobody_configured_does_nothing() {
    let repo = project(&json!({}));
    let all = [
        "pre-commit",
        "commit-msg",
        "post-commit",
        "post-merge",
        "post-checkout",
        "pre-rebase",
        "post-rewrite",
    ];
    for event in all {
        hook(&repo.path(".git/hooks"), event);
    }
    repo.write("note", "second\n");
    for words in [
        "commit --quiet --all --message second",
        "checkout --quiet -b side",
        "rebase --quiet main",
        "commit --quiet --amend --no-edit",
        "merge --quiet main~1",
    ] {
        let seen = git(&repo, words);
        assert_eq!((seen.code, seen.stderr.as_str()), (0, ""), "{words}");
    }
    assert!(!repo.path(".git/orchestrate/slots").exists() && !repo.path(".runs").exists());
}

#[test]
fn hooks_that_are_asked_for_are_installed() {
    let repo =
        Fixture::with_config(&config(&json!({"pre-commit": {"require": ["test"]}, "post-rewrite": {}})));
    let count = || fs::read_dir(repo.path(".git/hooks")).into_iter().flatten().count();
    let before = count();
    let seen = repo.orchestrate("hooks install");
    assert_eq!(seen.code, 0, "{seen}");
    for event in ["pre-push", "pre-commit", "post-rewrite"] {
        assert!(seen.stdout.contains(event), "{event}: {seen}");
    }
    let seen = repo.orchestrate("hooks status");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stdout.contains("pre-commit") && !seen.stdout.contains("post-merge"), "{seen}");
    repo.write("fails", "");
    repo.git(&["add", "fails"]);
    assert_eq!(git(&repo, "commit --quiet --message fails").code, 1);
    assert_eq!(repo.orchestrate("hooks uninstall").code, 0);
    assert_eq!(count(), before);
    assert_eq!(git(&repo, "commit --quiet --message fails").code, 0);
}
