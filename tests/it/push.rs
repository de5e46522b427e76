//! `push`: first what is missing, then the connection, then the evidence.

use std::fs;

use serde_json::json;

use crate::hook::{Project, config};
use crate::witness::{Gate, wait_until};

#[test]
fn what_is_missing_runs_once_and_then_git_pushes() {
    let project = Project::new(json!({"require": ["build", "test"], "inlineSeconds": 0}));
    let commit = project.commit("second");
    project.repo.write("note", "dirty\n");
    let seen = project.repo.orchestrate("push origin main");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(project.there("refs/heads/main"), Some(commit));
    assert_eq!(fs::read_to_string(project.repo.beside("saw")).unwrap(), "second\n");
    assert_eq!(project.repo.read("note"), "dirty\n");
    // Its own hook asked again, and all was there.
    assert!(seen.stderr.contains("proven  main"), "{seen}");
    // The next time nothing runs.
    project.repo.git(&["commit", "--quiet", "--amend", "--message", "in other words"]);
    let seen = project.repo.orchestrate("push --format json --force origin main");
    assert_eq!(seen.code, 0, "{seen}");
    let document = seen.json();
    assert_eq!((&document["pushed"], &document["runs"]), (&json!(true), &json!([])));
    assert_eq!(document["remotes"][0]["refs"][0]["standing"], "proven");
    assert_eq!(fs::read_to_string(project.repo.beside("ran")).unwrap(), "tested\n");
}

#[test]
fn what_fails_is_not_pushed() {
    let project = Project::new(json!({"require": ["test"], "inlineSeconds": 0}));
    let first = project.repo.git(&["rev-parse", "HEAD"]);
    project.repo.write("fails", "");
    project.commit("fails");
    let seen = project.repo.orchestrate("push origin main");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stderr.contains("FAILED  test") && seen.stderr.contains("Nothing was pushed"), "{seen}");
    assert_eq!(project.there("refs/heads/main"), Some(first));
    let seen = project.repo.orchestrate("push --override flaky origin main");
    assert_eq!(seen.code, 0, "{seen}");
    let kept = project.let_pass();
    assert_eq!((kept.len(), &kept[0]["given_as"]), (1, &json!("--override")));
    // A variable is told as one, whichever command hears it.
    project.repo.write("note", "another\n");
    project.repo.git(&["commit", "--quiet", "--all", "--message", "another"]);
    let mut command = project.repo.program();
    command.args(["push", "origin", "main"]).env("GIT_ORCHESTRATE_OVERRIDE", "still flaky");
    let seen = project.repo.see(&mut command);
    assert_eq!(seen.code, 0, "{seen}");
    let kept = project.let_pass();
    let named: Vec<_> = kept.iter().map(|it| it["given_as"].as_str().unwrap()).collect();
    assert_eq!(named, ["--override", "GIT_ORCHESTRATE_OVERRIDE"]);
}

#[test]
fn git_says_first_what_it_would_not_push() {
    let project = Project::new(json!({"require": ["test"], "inlineSeconds": 0}));
    let second = project.commit("second");
    project.repo.git(&["push", "--quiet", "--no-verify", "origin", "main"]);
    project.repo.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    project.commit("otherwise");
    let seen = project.repo.orchestrate("push origin main");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stderr.contains("non-fast-forward"), "{seen}");
    assert!(!project.repo.beside("ran").exists(), "nothing ran for a push that cannot be");
    assert_eq!(project.there("refs/heads/main"), Some(second));
    let seen = project.repo.orchestrate("push --no-such-option");
    assert_eq!(seen.code, 129, "{seen}");
    let seen = project.repo.orchestrate("push nowhere main");
    assert_eq!(seen.code, 128, "{seen}");
}

#[test]
fn a_ref_that_moved_meanwhile_is_not_pushed() {
    let mut config = config(json!({"require": ["test"]}));
    config["pipelines"][0]["stages"][1]["command"] = json!("git update-ref refs/heads/main HEAD~1");
    let project = Project::with(&config);
    let first = project.repo.git(&["rev-parse", "HEAD"]);
    project.commit("second");
    let seen = project.repo.orchestrate("push origin main");
    assert_eq!(seen.code, 3, "{seen}");
    assert!(seen.stderr.contains("`refs/heads/main` moved while the stages ran"), "{seen}");
    assert_eq!(project.there("refs/heads/main"), Some(first));
}

#[test]
fn no_connection_is_open_while_something_runs() {
    let mut config = config(json!({"require": ["test"]}));
    config["pipelines"][0]["stages"][1]["command"] = json!("test ! -e \"$HOME/connected\"");
    let project = Project::with(&config);
    // The other side notes for how long somebody is there.
    let receive = project.repo.beside("receive");
    let text = "#!/bin/sh\necho x >> \"$HOME/connections\"; : > \"$HOME/connected\"\n\
                git-receive-pack \"$@\"; code=$?; rm \"$HOME/connected\"; exit $code\n";
    fs::write(&receive, text).unwrap();
    project.repo.git(&["config", "remote.origin.receivepack", &format!("sh '{}'", receive.display())]);
    let commit = project.commit("second");
    let seen = project.repo.orchestrate("push origin main");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(project.there("refs/heads/main"), Some(commit));
    assert_eq!(fs::read_to_string(project.repo.beside("connections")).unwrap(), "x\nx\n");
}

#[test]
fn it_works_without_any_hook() {
    let project = Project::new(json!({"require": ["test"], "inlineSeconds": 0}));
    fs::remove_file(project.repo.path(".git/hooks/pre-push")).unwrap();
    project.repo.write("fails", "");
    project.commit("fails");
    assert_eq!(project.repo.orchestrate("push origin main").code, 1);
    project.repo.git(&["rm", "--quiet", "fails"]);
    let commit = project.commit("mended");
    assert_eq!(project.repo.orchestrate("push origin main").code, 0);
    assert_eq!(project.there("refs/heads/main"), Some(commit));
}

#[test]
fn a_branch_is_pushed_from_beside_it_as_jj_does() {
    let project = Project::new(json!({"require": ["test"], "inlineSeconds": 0}));
    let repo = &project.repo;
    fs::remove_file(repo.path(".git/hooks/pre-push")).unwrap();
    // jj leaves `HEAD` at the parent, the branch elsewhere, and calls no hook.
    let commit = project.commit("second");
    repo.git(&["checkout", "--quiet", "--detach", "HEAD~1"]);
    repo.write("note", "what is edited now\n");
    let seen = repo.orchestrate("push origin main");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(project.there("refs/heads/main"), Some(commit));
    assert_eq!(fs::read_to_string(repo.beside("ran")).unwrap(), "tested\n");
    assert_eq!(repo.read("note"), "what is edited now\n");
}

#[test]
fn another_hook_runs_once_and_only_when_it_is_time() {
    let project = Project::new(json!({"require": ["test"], "inlineSeconds": 0}));
    let hook = project.repo.path(".git/hooks/pre-push");
    let text = fs::read_to_string(&hook).unwrap();
    fs::write(&hook, text.replace("exec", "echo called >> \"$HOME/called\"\nexec")).unwrap();
    project.commit("second");
    let seen = project.repo.orchestrate("push origin main");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(fs::read_to_string(project.repo.beside("called")).unwrap(), "called\n");
    assert!(!project.repo.beside("saw").exists(), "only what is required runs");
}

#[test]
fn evidence_follows_a_push() {
    let mut config = config(json!({"require": ["test"]}));
    config["evidence"] = json!({"notes": true});
    let project = Project::with(&config);
    project.commit("second");
    let seen = project.repo.orchestrate("push --format json origin main");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(seen.json()["evidence"], json!(["origin"]));
    let name = project.repo.git(&["for-each-ref", "--format=%(refname)", "refs/notes/orchestrate"]);
    wait_until("the notes are there", || project.there(&name).is_some());
}

#[test]
fn a_detached_push_goes_on_and_cancel_ends_it() {
    for ends_well in [true, false] {
        let mut config = config(json!({"require": ["test"]}));
        config["pipelines"][0]["stages"][1]["command"] =
            json!("echo begun > \"$HOME/begun\"; read _ < \"$HOME/gate\"");
        let project = Project::with(&config);
        let mut gate = Gate::new(&project.repo, "gate");
        let first = project.repo.git(&["rev-parse", "HEAD"]);
        let commit = project.commit("second");
        let seen = project.repo.orchestrate("push --when-green --detach origin main");
        assert_eq!(seen.code, 0, "{seen}");
        assert!(seen.stdout.contains("Run started: "), "{seen}");
        wait_until("it has begun", || project.repo.beside("begun").exists());
        assert_eq!(project.there("refs/heads/main").as_ref(), Some(&first));
        if ends_well {
            gate.open();
            wait_until("it is pushed", || project.there("refs/heads/main").as_ref() == Some(&commit));
        } else {
            let seen = project.repo.orchestrate("cancel");
            assert_eq!(seen.code, 0, "{seen}");
            let log = project.repo.runs("0101")[0].join("supervisor.log");
            wait_until("it has said so", || {
                fs::read_to_string(&log).is_ok_and(|text| text.contains("Nothing was pushed"))
            });
            assert_eq!(project.there("refs/heads/main"), Some(first));
        }
    }
}
