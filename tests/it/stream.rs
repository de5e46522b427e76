//! `stream new`: branches, worktrees and their set-up, on real repositories.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::fixture::{Fixture, json_of};
use crate::witness::{ended, spawn};

/// Returns the folder of a stream.
pub fn folder(repo: &Fixture, name: &str) -> PathBuf {
    repo.root().with_file_name(format!("a repo.{}", name.replace('/', "-")))
}

/// Returns all that git and the disk know of streams: worktrees, branches, folders, files of ours.
pub fn traces(repo: &Fixture) -> Vec<String> {
    let mut found: Vec<_> =
        repo.git(&["worktree", "list", "--porcelain"]).lines().map(str::to_owned).collect();
    found.extend(repo.git(&["for-each-ref", "refs/heads"]).lines().map(str::to_owned));
    for folder in [repo.root().parent().expect("a folder").to_owned(), repo.path(".git/orchestrate/streams")]
    {
        let entries = fs::read_dir(&folder).into_iter().flatten();
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        found.extend(names.filter(|name| !["home", "lock", "locks", "sizes"].contains(&name.as_str())));
    }
    found.extend(repo.git(&["status", "--porcelain"]).lines().map(str::to_owned));
    found.sort();
    found
}

fn git_in(repo: &Fixture, dir: &Path, args: &[&str]) -> String {
    repo.git(&[&["-C", dir.to_str().expect("UTF-8")], args].concat())
}

#[test]
fn streams_are_made_with_a_branch_a_worktree_and_a_set_up_each() {
    let repo = Fixture::with_config(&json!({"streams": {"setup": ["echo made > ready"]}, "pipelines": []}));
    let seen = repo.orchestrate("stream new auth fix/login --task 7");
    assert_seen!(seen, @"
            ready  auth  [ROOT].auth
            ready  fix/login  [ROOT].fix-login
    [exit: 0]
    ");
    for (name, task) in [("auth", "7-auth"), ("fix/login", "7-fix-login")] {
        let there = folder(&repo, name);
        assert_eq!(git_in(&repo, &there, &["symbolic-ref", "--short", "HEAD"]), name);
        assert_eq!(git_in(&repo, &there, &["status", "--porcelain"]), "?? ready");
        assert_eq!(fs::read_to_string(there.join("ready")).expect("the set-up ran"), "made\n");
        assert_eq!(fs::read_dir(there.join(".runs").join(task).join("cli")).expect("a run").count(), 1);
        let seen = repo.orchestrate(&format!("stream cd {name}"));
        assert_eq!(seen.stdout, format!("{}\n", there.display()));
    }
    // From one stream another is made just so.
    let seen = repo.orchestrate_in(&folder(&repo, "auth"), "stream new more --format json");
    assert_eq!(seen.json()["streams"][0]["path"], folder(&repo, "more").display().to_string());
    assert_eq!(seen.json()["streams"][0]["base"], "auth");
}

#[test]
fn what_cannot_be_a_stream_is_refused_and_leaves_nothing() {
    let repo = Fixture::new("passing");
    repo.git(&["branch", "there"]);
    fs::create_dir(folder(&repo, "taken")).expect("a folder");
    let before = traces(&repo);
    for (words, code, said) in [
        ("stream new a..b", 2, "is no valid stream name"),
        ("stream new -- -x", 2, "is no valid stream name"),
        ("stream new x.lock", 2, "is no valid stream name"),
        ("stream new ../x", 2, "is no valid stream name"),
        ("stream new main", 2, "branch `main` is checked out in"),
        ("stream new taken", 2, "is in the way"),
        ("stream new there --from HEAD", 2, "there is a branch `there` already"),
        ("stream new x --from nothing", 2, "`nothing` names no commit"),
        ("stream new a/b a-b", 2, "would have the same folder"),
        ("stream new main/sub", 2, "refs/heads/main"),
        ("stream new x --from HEAD --carry-changes", 2, "cannot be used with"),
        ("stream cd x", 2, "there is no stream `x`"),
    ] {
        let seen = repo.orchestrate(words);
        assert_eq!(seen.code, code, "{words}: {seen}");
        assert!(seen.stderr.contains(said), "{words}: {seen}");
        assert_eq!(traces(&repo), before, "{words}");
    }
    // One name that is refused takes no other along.
    let seen = repo.orchestrate("stream new taken good");
    assert_eq!(seen.code, 2, "{seen}");
    assert!(folder(&repo, "good").join("codex.orchestrator.json").exists());
    let unborn = Fixture::new("passing");
    unborn.git(&["checkout", "--quiet", "--orphan", "other"]);
    let seen = unborn.orchestrate("stream new x");
    assert!(seen.code == 2 && seen.stderr.contains("there is no commit yet"), "{seen}");
}

#[test]
fn a_stream_begins_where_it_is_told_to_also_at_no_branch() {
    let repo = Fixture::new("passing");
    let first = repo.git(&["rev-parse", "HEAD"]);
    repo.git(&["commit", "--quiet", "--allow-empty", "--message", "two"]);
    repo.git(&["branch", "kept", "HEAD~1"]);
    repo.git(&["checkout", "--quiet", "--detach"]);
    let answer = repo.orchestrate("stream new a --format json").json();
    assert!(answer["streams"][0]["base"].is_null(), "{answer}");
    let answer = repo.orchestrate("stream new b --from main~1 --format json").json();
    assert_eq!(answer["streams"][0]["commit"], first.as_str());
    let answer = repo.orchestrate("stream new c --from main --format json").json();
    assert_eq!(answer["streams"][0]["base"], "main");
    // A branch that is there is used as it is.
    let answer = repo.orchestrate("stream new kept --format json").json();
    assert_eq!(answer["streams"][0]["commit"], first.as_str());
    assert_eq!(git_in(&repo, &folder(&repo, "kept"), &["status", "--porcelain"]), "");
}

#[test]
fn changes_are_carried_through_a_tree_and_stay_where_they_are() {
    let repo = Fixture::new("passing");
    repo.write("staged", "s\n");
    repo.git(&["add", "staged"]);
    repo.write("codex.orchestrator.json", "{}\n");
    repo.write("new one", "n\n");
    fs::create_dir(repo.path("nested")).expect("a folder");
    repo.git(&["init", "--quiet", "nested"]);
    repo.write("nested/file", "x");
    git_in(&repo, &repo.path("nested"), &["add", "."]);
    git_in(&repo, &repo.path("nested"), &["commit", "--quiet", "--message", "n"]);
    let before =
        (repo.git(&["status", "--porcelain=v2"]), fs::read(repo.path(".git/index")).expect("an index"));
    let seen = repo.orchestrate("stream new a --carry-changes");
    assert_seen!(seen, @"
    warning: `nested` is a repository of its own and is not carried along
            ready  a  [ROOT].a, with your changes
    [exit: 0]
    ");
    let there = folder(&repo, "a");
    assert_eq!(
        git_in(&repo, &there, &["status", "--porcelain"]).lines().map(str::trim).collect::<Vec<_>>(),
        ["M codex.orchestrator.json", "?? \"new one\"", "?? staged"]
    );
    assert_eq!(fs::read_to_string(there.join("new one")).expect("it came along"), "n\n");
    let after =
        (repo.git(&["status", "--porcelain=v2"]), fs::read(repo.path(".git/index")).expect("an index"));
    assert!(before == after, "{after:?}");
    assert_eq!(repo.git(&["stash", "list"]), "");
    let seen = repo.orchestrate("stream new b");
    assert!(seen.stdout.contains("what is not committed here stays here"), "{seen}");
    assert_eq!(git_in(&repo, &folder(&repo, "b"), &["status", "--porcelain"]), "");
}

#[test]
fn files_in_conflict_are_not_carried_with_their_markers() {
    let repo = Fixture::new("passing");
    let commit = |text: &str| {
        repo.write("a note", text);
        repo.git(&["add", "--all"]);
        repo.git(&["commit", "--quiet", "--message", "note"]);
    };
    repo.git(&["checkout", "--quiet", "-b", "other"]);
    commit("other\n");
    repo.git(&["checkout", "--quiet", "main"]);
    commit("main\n");
    assert_eq!(repo.see(repo.command("git").args(["merge", "other"])).code, 1);
    let seen = repo.orchestrate("stream new a --carry-changes");
    assert_seen!(seen, @"
    error: files are in conflict here, and cannot be carried along: a note
    hint: merge them and `git add` them; or leave `--carry-changes` out
    [exit: 3]
    ");
    assert!(!folder(&repo, "a").exists());
    repo.write("a note", "both\n");
    repo.git(&["add", "a note"]);
    assert_eq!(repo.orchestrate("stream new a --carry-changes").code, 0);
    assert_eq!(fs::read_to_string(folder(&repo, "a").join("a note")).expect("a file"), "both\n");
}

#[test]
fn thirty_two_streams_from_eight_processes_at_once_are_all_made() {
    let repo = Fixture::new("passing");
    let children: Vec<_> = (0..8)
        .map(|process| {
            let names = (0..4).map(|name| format!("s{process}-{name}"));
            spawn(repo.program().args(["stream", "new"]).args(names))
        })
        .collect();
    for seen in children.into_iter().map(ended) {
        assert_eq!(seen.code, 0, "{seen}");
    }
    assert_eq!(repo.git(&["worktree", "list"]).lines().count(), 33);
    for process in 0..8 {
        for name in 0..4 {
            let there = folder(&repo, &format!("s{process}-{name}"));
            assert_eq!(git_in(&repo, &there, &["status", "--porcelain"]), "");
        }
    }
    // The same name is made once.
    let children: Vec<_> = (0..4).map(|_| spawn(repo.program().args(["stream", "new", "one"]))).collect();
    let codes: Vec<_> = children.into_iter().map(|child| ended(child).code).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert!(codes.iter().all(|code| matches!(code, 0 | 2 | 5)), "{codes:?}");
}

#[test]
fn without_space_nothing_is_left_behind_at_any_step() {
    let repo = Fixture::new("passing");
    repo.orchestrate("stream new first");
    let before = traces(&repo);
    for step in 1.. {
        let seen = repo.see(
            repo.program().env("GIT_ORCHESTRATE_FAIL_AT", step.to_string()).args(["stream", "new", "a"]),
        );
        if seen.code == 0 {
            assert!(step > 5, "{step}");
            break;
        }
        assert_eq!(traces(&repo), before, "step {step}: {seen}");
    }
}

#[test]
fn a_maker_that_is_killed_at_any_step_is_in_nobody_s_way() {
    for step in 1.. {
        let repo = Fixture::new("passing");
        let crash = repo
            .program()
            .env("GIT_ORCHESTRATE_CRASH_AT", step.to_string())
            .args(["stream", "new", "a"])
            .output();
        if crash.expect("the program").status.success() {
            assert!(step > 5, "{step}");
            break;
        }
        // It may have been killed after all was done.
        let seen = repo.orchestrate("stream new a");
        assert!(
            seen.code == 0 || seen.stderr.contains("there is a stream `a` already"),
            "step {step}: {seen}"
        );
        let there = folder(&repo, "a");
        assert_eq!(git_in(&repo, &there, &["status", "--porcelain"]), "", "step {step}");
        assert_eq!(repo.git(&["worktree", "list"]).lines().count(), 2, "step {step}");
        assert_eq!(repo.git(&["worktree", "prune", "--dry-run", "--verbose"]), "", "step {step}");
    }
}

#[test]
fn a_set_up_that_fails_or_hangs_is_recorded_and_the_stream_stays() {
    for setup in [
        json!({"setup": ["echo no; exit 3", "touch never"]}),
        json!({"setup": ["sleep 600"], "setupTimeout": "0.2s"}),
    ] {
        let repo = Fixture::with_config(&json!({"streams": setup, "pipelines": []}));
        let seen = repo.orchestrate("stream new a --format json");
        assert_eq!(seen.code, 1, "{seen}");
        let answer = seen.json();
        let stream = &answer["streams"][0];
        assert_eq!(
            (stream["phase"].as_str(), &stream["setup"]["status"]),
            (Some("set-up-failed"), &json!("failed"))
        );
        let run = stream["setup"]["run_id"].as_str().expect("a run");
        let manifest = json_of(&folder(&repo, "a").join(".runs/0101-a/cli").join(run).join("manifest.json"));
        assert_eq!(manifest["pipeline_id"], "stream-setup");
        assert_eq!(manifest["status"], "failed");
        assert!(!folder(&repo, "a").join("never").exists());
        let seen = repo.orchestrate("stream new b");
        assert!(
            seen.stdout.contains("set-up FAILED  b") && seen.stdout.contains("git orchestrate logs"),
            "{seen}"
        );
    }
}

#[test]
fn a_sparse_checkout_and_settings_of_the_worktree_alone_are_inherited() {
    let repo = Fixture::new("passing");
    repo.write("in/file", "i\n");
    repo.write("out/file", "o\n");
    repo.git(&["add", "--force", "in", "out"]);
    repo.git(&["commit", "--quiet", "--message", "folders"]);
    repo.git(&["sparse-checkout", "set", "in"]);
    repo.git(&["config", "--worktree", "some.setting", "mine"]);
    assert_eq!(repo.orchestrate("stream new a").code, 0);
    let there = folder(&repo, "a");
    assert!(there.join("in/file").exists() && !there.join("out/file").exists());
    assert_eq!(git_in(&repo, &there, &["config", "some.setting"]), "mine");
    assert_eq!(git_in(&repo, &there, &["status", "--porcelain"]), "");
}

#[test]
fn submodules_come_from_the_local_modules() {
    let other = Fixture::new("passing");
    let repo = Fixture::new("passing");
    let url = other.root().to_str().expect("UTF-8").to_owned();
    repo.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &url, "sub"]);
    repo.git(&["commit", "--quiet", "--all", "--message", "sub"]);
    // Nobody can ask it any more.
    fs::rename(other.root(), other.root().with_file_name("gone")).expect("it moves");
    let seen = repo.orchestrate("stream new a");
    assert_seen!(seen, @"
            ready  a  [ROOT].a
    [exit: 0]
    ");
    let there = folder(&repo, "a");
    assert!(there.join("sub/codex.orchestrator.json").exists());
    assert_eq!(git_in(&repo, &there.join("sub"), &["config", "remote.origin.url"]), url);
    assert_eq!(git_in(&repo, &there, &["status", "--porcelain"]), "");
}

#[test]
fn a_folder_that_was_deleted_by_hand_is_in_nobody_s_way() {
    let repo = Fixture::new("passing");
    repo.git(&["worktree", "add", "--quiet", "../by hand", "-b", "by-hand"]);
    for name in ["a", "b"] {
        assert_eq!(repo.orchestrate(&format!("stream new {name}")).code, 0);
        fs::remove_dir_all(folder(&repo, name)).expect("it was there");
    }
    fs::remove_dir_all(repo.root().with_file_name("by hand")).expect("it was there");
    let seen = repo.orchestrate("stream cd a");
    assert!(seen.code == 2 && seen.stderr.contains("is gone"), "{seen}");
    assert_eq!(repo.orchestrate("stream new a").code, 0);
    let listed = repo.git(&["worktree", "list"]);
    assert!(
        listed.contains("a repo.b") && listed.contains("by hand"),
        "what others deleted is not ours: {listed}"
    );
}

#[test]
fn a_hook_s_environment_and_a_path_in_the_repository_lead_nobody_astray() {
    let repo = Fixture::with_config(&json!({"streams": {"path": ".trees/{name}"}, "pipelines": []}));
    let hook = repo.path(".git/hooks/post-checkout");
    fs::create_dir_all(hook.parent().expect("a folder")).expect("hooks");
    fs::write(&hook, "#!/bin/sh\necho \"$3 $(git rev-parse --show-toplevel)\" >> \"$HOME/fired\"\n")
        .expect("a hook");
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    let dir = repo.path(".git");
    let index = repo.path(".git/index");
    let seen = repo
        .see(repo.program().env("GIT_DIR", &dir).env("GIT_INDEX_FILE", &index).args(["stream", "new", "a"]));
    assert_eq!(seen.code, 0, "{seen}");
    let there = repo.path(".trees/a");
    assert_eq!(git_in(&repo, &there, &["status", "--porcelain"]), "");
    assert_eq!(repo.git(&["status", "--porcelain"]), "", "a stream is no part of the tree around it");
    let fired = fs::read_to_string(repo.beside("fired")).expect("the hook ran");
    assert_eq!(fired, format!("1 {}\n", there.display()));
}

#[test]
fn the_list_shows_how_streams_stand_and_worktrees_of_others_too() {
    let repo = Fixture::with_commands(&["test ! -e broken"]);
    repo.git(&["worktree", "add", "--quiet", "../by hand", "-b", "by-hand"]);
    let seen = repo.orchestrate("stream list");
    assert!(seen.stdout.contains("by-hand"), "{seen}");
    assert_eq!(repo.orchestrate("stream new a b c").code, 0);
    let (a, b) = (folder(&repo, "a"), folder(&repo, "b"));
    assert_eq!(repo.orchestrate_in(&a, "start --task t").code, 0);
    fs::write(b.join("broken"), "").expect("a file");
    git_in(&repo, &b, &["add", "broken"]);
    git_in(&repo, &b, &["commit", "--quiet", "--message", "broken"]);
    repo.git(&["commit", "--quiet", "--allow-empty", "--message", "on main"]);
    assert_eq!(repo.orchestrate_in(&b, "start --task t").code, 1);
    fs::remove_dir_all(folder(&repo, "c")).expect("a folder");
    let answer = repo.orchestrate("stream list --format json").json();
    let of = |name: &str, key: &str| {
        let streams = answer["streams"].as_array().expect("streams");
        streams.iter().find(|stream| stream["name"] == name).unwrap_or_else(|| panic!("{name}"))[key].clone()
    };
    assert_eq!((of("a", "dirty"), of("a", "ahead"), of("a", "behind")), (json!(false), json!(0), json!(1)));
    assert_eq!((of("b", "dirty"), of("b", "ahead"), of("b", "behind")), (json!(false), json!(1), json!(1)));
    assert_eq!(
        (of("a", "verdict")["status"].clone(), of("b", "run")["status"].clone()),
        (json!("succeeded"), json!("failed"))
    );
    assert_eq!((of("c", "state"), of("by-hand", "managed")), (json!("gone"), json!(false)));
    assert!(of("a", "disk")["bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    // Another tree has another verdict: none yet.
    fs::write(a.join("more"), "").expect("a file");
    let answer = repo.orchestrate("stream status a --format json").json();
    assert_eq!((&answer["stream"]["dirty"], &answer["stream"]["verdict"]), (&json!(true), &json!(null)));
    assert_eq!(answer["runs"].as_array().map(Vec::len), Some(1));
    let seen = repo.orchestrate("stream list --watch --interval 0.1");
    assert_eq!(seen.code, 0, "nothing runs: {seen}");
    assert_eq!(seen.stdout.matches("STREAM").count(), 1);
    let seen = repo.orchestrate("stream logs c");
    assert!(seen.code == 2 && seen.stderr.contains("is gone"), "{seen}");
}

#[test]
fn logs_of_a_stream_are_those_of_its_newest_run() {
    let repo = Fixture::with_commands(&["echo hello from; basename \"$PWD\""]);
    repo.orchestrate("stream new a b");
    let seen = repo.orchestrate("stream logs a");
    assert!(seen.code == 2 && seen.stderr.contains("nothing has run in stream `a` yet"), "{seen}");
    repo.orchestrate_in(&folder(&repo, "a"), "start");
    let seen = repo.orchestrate_in(&folder(&repo, "b"), "stream logs a s1");
    assert_eq!(seen.stdout, "hello from\na repo.a\n", "{seen}");
}

#[test]
fn where_somebody_types_it_stream_cd_goes_there() {
    let repo = Fixture::new("passing");
    repo.orchestrate("stream new a");
    let bin = repo.beside("bin");
    fs::create_dir_all(&bin).expect("a folder");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_git-orchestrate"), bin.join("git-orchestrate"))
        .expect("a link");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("a PATH"));
    let shell = "eval \"$(git orchestrate completions bash)\"; git orchestrate stream cd a; pwd; git orchestrate stream cd; pwd; \
                 test \"$(git orchestrate stream cd a)\" && echo printed";
    let script = repo.beside("script.sh");
    fs::write(&script, shell).expect("a script");
    let mut command = repo.command("script");
    command.env("PATH", path).args(["--quiet", "--return", "--command"]);
    command.arg(format!("bash --norc {}", script.display())).arg("/dev/null");
    let Ok(output) = command.output() else {
        eprintln!("skipped: no `script` that could give it a terminal");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    assert_eq!(said, format!("{}\n{}\nprinted\n", folder(&repo, "a").display(), repo.root().display()));
}
