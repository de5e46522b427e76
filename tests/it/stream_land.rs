//! `stream land`: what a stream brings goes onto a branch once it is proven for the tree that comes of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::fixture::{Fixture, manifest};
use crate::stream::folder;
use crate::witness::{spawn, wait_until};

/// A project with a stage that fails where a file says so, and whose runs are counted.
fn config(gate: &Value) -> Value {
    json!({
        "pipelines": [{"id": "checks", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "lint", "command": "true"},
            {"kind": "command", "id": "test", "command": "ls >> \"$HOME/ran\"; test ! -e fails"},
        ]}],
        "defaultPipeline": "checks",
        "hooks": {"pre-push": gate},
    })
}

fn project() -> Fixture {
    Fixture::with_config(&config(&json!({"require": ["test"]})))
}

fn git_in(repo: &Fixture, dir: &Path, args: &[&str]) -> String {
    repo.git(&[&["-C", dir.to_str().expect("UTF-8")], args].concat())
}

/// Commits a file in a folder, and returns the commit.
fn commit(repo: &Fixture, dir: &Path, file: &str, text: &str) -> String {
    fs::write(dir.join(file), text).expect("a file");
    git_in(repo, dir, &["add", "--all"]);
    git_in(repo, dir, &["commit", "--quiet", "--message", file]);
    git_in(repo, dir, &["rev-parse", "HEAD"])
}

/// Makes a stream with a commit, and returns that.
fn stream(repo: &Fixture, name: &str) -> String {
    assert_eq!(repo.orchestrate(&format!("stream new {name}")).code, 0);
    commit(repo, &folder(repo, name), name, "x\n")
}

fn hook(repo: &Fixture, name: &str, text: &str) {
    let path = format!(".git/hooks/{name}");
    repo.write(&path, &format!("#!/bin/sh\n{text}\n"));
    fs::set_permissions(repo.path(&path), fs::Permissions::from_mode(0o755)).expect("a mode");
}

fn main_is_at(repo: &Fixture) -> String {
    repo.git(&["rev-parse", "main"])
}

/// How often the stage `test` ran.
fn ran(repo: &Fixture) -> usize {
    fs::read_to_string(repo.beside("ran")).map_or(0, |text| text.matches("codex.orchestrator.json").count())
}

fn status(repo: &Fixture) -> String {
    repo.git(&["status", "--porcelain"])
}

#[test]
fn a_stream_lands_once_the_merged_tree_is_proven_and_its_branch_is_checked_out_where_it_was() {
    let repo = project();
    let tip = stream(&repo, "auth");
    let before = commit(&repo, repo.root(), "other", "y\n");
    let seen = repo.orchestrate("stream land auth");
    assert_eq!(seen.code, 0, "{seen}");
    let now = main_is_at(&repo);
    assert_eq!(repo.git(&["rev-parse", "main^1", "main^2"]), format!("{before}\n{tip}"));
    assert_eq!(
        repo.git(&["log", "-1", "--format=%an <%ae>%n%B", "main"]),
        "A U Thor <author@example.com>\nMerge branch 'auth'"
    );
    // The files came along, and nothing looks as if somebody had taken the landing back.
    assert_eq!(
        (status(&repo), repo.read("auth"), repo.read("other")),
        (String::new(), "x\n".into(), "y\n".into())
    );
    assert_eq!(
        repo.git(&["log", "-1", "--format=%gs", "--walk-reflogs", "HEAD"]),
        "merge auth: by git orchestrate stream land"
    );
    assert_eq!(git_in(&repo, &folder(&repo, "auth"), &["status", "--porcelain"]), "");
    // It ran once, on just that commit, and only what is required.
    let run = manifest(&repo.runs("0101-auth")[0]);
    assert_eq!((&run["git"]["commit"], &run["status"]), (&json!(now), &json!("succeeded")));
    assert_eq!(
        fs::read_to_string(repo.beside("ran")).expect("it ran"),
        "auth\ncodex.orchestrator.json\nother\n"
    );
    let shown = seen
        .stdout
        .replace(&now[..12], "[MERGE]")
        .replace(&repo.git(&["rev-parse", "main^{tree}"])[..12], "[TREE]");
    assert!(shown.starts_with("  landed  auth → main  merge [MERGE], tree [TREE]: test by run "), "{seen}");
    // The next time there is nothing to do.
    let seen = repo.orchestrate("stream land auth");
    assert!(seen.code == 0 && seen.stdout.contains("nothing to land: "), "{seen}");
    assert_eq!((main_is_at(&repo), ran(&repo)), (now, 1));
    assert_eq!(repo.orchestrate("stream rm auth").code, 0, "it is merged");
}

#[test]
fn what_is_proven_for_the_tree_is_not_run_again_and_a_branch_that_can_moves_on() {
    let repo = project();
    let tip = stream(&repo, "auth");
    assert_eq!(repo.orchestrate_in(&folder(&repo, "auth"), "start").code, 0);
    let answer = repo.orchestrate("stream land auth --format json").json();
    assert_eq!(
        (&answer["outcome"], &answer["fast_forward"], &answer["runs"]),
        (&json!("landed"), &json!(true), &json!([]))
    );
    assert_eq!((&answer["commit"], &answer["stages"][0]["proven"]), (&json!(tip), &json!(true)));
    assert_eq!((main_is_at(&repo), ran(&repo), status(&repo)), (tip, 1, String::new()));
    assert_eq!(answer["worktrees"], json!([repo.root()]));
}

#[test]
fn it_says_what_merge_ff_wants() {
    let repo = project();
    let before = main_is_at(&repo);
    let tip = stream(&repo, "auth");
    repo.git(&["config", "merge.ff", "false"]);
    assert_eq!(repo.orchestrate("stream land auth").code, 0);
    assert_eq!(repo.git(&["rev-parse", "main^1", "main^2"]), format!("{before}\n{tip}"));
    repo.git(&["config", "merge.ff", "only"]);
    let now = main_is_at(&repo);
    commit(&repo, &folder(&repo, "auth"), "more", "z\n");
    let seen = repo.orchestrate("stream land auth");
    assert!(seen.code == 1 && seen.stderr.contains("`merge.ff` is `only`"), "{seen}");
    assert_eq!(main_is_at(&repo), now);
    git_in(&repo, &folder(&repo, "auth"), &["rebase", "--quiet", "main"]);
    assert_eq!(repo.orchestrate("stream land auth").code, 0);
    assert_eq!(main_is_at(&repo), git_in(&repo, &folder(&repo, "auth"), &["rev-parse", "HEAD"]));
}

#[test]
fn files_that_both_changed_are_named_and_nothing_moves() {
    let repo = project();
    stream(&repo, "auth");
    commit(&repo, &folder(&repo, "auth"), "a note", "theirs\n");
    let before = commit(&repo, repo.root(), "a note", "ours\n");
    let seen = repo.orchestrate("stream land auth");
    assert_seen!(seen, @r#"
     REFUSED  auth → main  both changed:
              a note
              → cd "$(git orchestrate stream cd auth)" && git merge main
    [exit: 1]
    "#);
    let answer = repo.orchestrate("stream land auth --format json");
    assert_eq!((answer.code, &answer.json()["conflicts"]), (1, &json!(["a note"])));
    assert_eq!((main_is_at(&repo), ran(&repo), status(&repo)), (before, 0, String::new()));
}

#[test]
fn a_stage_that_fails_on_the_merge_keeps_it_away_and_its_evidence_stays() {
    let repo = project();
    stream(&repo, "auth");
    commit(&repo, &folder(&repo, "auth"), "fails", "");
    let before = commit(&repo, repo.root(), "other", "y\n");
    let seen = repo.orchestrate("stream land auth");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stdout.contains("REFUSED  auth → main") && seen.stdout.contains("nothing moved"), "{seen}");
    let run = &repo.runs("0101-auth")[0];
    assert!(
        seen.stdout.contains(&format!("→ git orchestrate logs {} test", crate::fixture::id(run))),
        "{seen}"
    );
    assert_eq!(manifest(run)["status"], "failed");
    assert_eq!((main_is_at(&repo), status(&repo)), (before.clone(), String::new()));
    // It is known to fail: it does not run once more, and a reason is kept.
    assert_eq!(repo.orchestrate("stream land auth").code, 1);
    let seen = repo.orchestrate("stream land auth --override tonight");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stdout.contains("let pass by --override: tonight"), "{seen}");
    assert_ne!(main_is_at(&repo), before);
}

#[test]
fn the_branch_and_not_the_stream_says_what_is_required() {
    let repo = project();
    let before = main_is_at(&repo);
    stream(&repo, "auth");
    let there = folder(&repo, "auth");
    let mut weaker = config(&json!({"require": ["test"]}));
    weaker["pipelines"][0]["stages"][1]["command"] = json!("true");
    commit(&repo, &there, "codex.orchestrator.json", &weaker.to_string());
    let seen = repo.orchestrate("stream land auth");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stdout.contains("stage `test` of `checks` does something else"), "{seen}");
    assert_eq!((main_is_at(&repo), ran(&repo)), (before, 0));
    let seen = repo.orchestrate("stream land auth --allow-gate-change");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(ran(&repo), 0, "what was allowed counts");
    // One that is broken would break the branch.
    stream(&repo, "later");
    commit(&repo, &folder(&repo, "later"), "codex.orchestrator.json", "{");
    let seen = repo.orchestrate("stream land later");
    assert!(seen.code == 1 && seen.stdout.contains("`codex.orchestrator.json` is broken"), "{seen}");
}

#[test]
fn without_a_gate_all_that_the_branch_runs_by_default_is_required() {
    let mut config = config(&json!({}));
    config.as_object_mut().expect("an object").remove("hooks");
    let repo = Fixture::with_config(&config);
    stream(&repo, "auth");
    let answer = repo.orchestrate("stream land auth --format json").json();
    assert_eq!(
        (&answer["outcome"], answer["stages"].as_array().map(Vec::len)),
        (&json!("landed"), Some(2)),
        "{answer}"
    );
    assert_eq!(ran(&repo), 1);
    let repo = Fixture::with_config(&json!({"pipelines": []}));
    stream(&repo, "auth");
    let seen = repo.orchestrate("stream land auth");
    assert!(seen.code == 0 && seen.stdout.contains("nothing says what `main` requires"), "{seen}");
}

#[test]
fn what_is_not_committed_does_not_land_unseen() {
    let repo = project();
    let before = main_is_at(&repo);
    let tip = stream(&repo, "auth");
    let there = folder(&repo, "auth");
    fs::write(there.join("auth"), "more\n").expect("a file");
    let seen = repo.orchestrate("stream land auth");
    assert!(seen.code == 3 && seen.stderr.contains("`auth` is not committed"), "{seen}");
    assert!(seen.stderr.contains("stream land --committed auth"), "{seen}");
    git_in(&repo, &there, &["checkout", "--quiet", "auth", "--", "."]);
    fs::write(there.join("new"), "").expect("a file");
    let seen = repo.orchestrate("stream land auth");
    assert!(seen.code == 3 && seen.stderr.contains("files in it are not added"), "{seen}");
    assert_eq!(main_is_at(&repo), before);
    let seen = repo.orchestrate("stream land --committed auth");
    assert!(seen.code == 0 && seen.stdout.contains("only what is committed is landed"), "{seen}");
    assert_eq!(main_is_at(&repo), tip);
    assert!(there.join("new").exists());
    // Another branch that somebody checked out there is not what they mean.
    git_in(&repo, &there, &["checkout", "--quiet", "-b", "else"]);
    fs::remove_file(there.join("new")).expect("a file");
    let seen = repo.orchestrate("stream land auth");
    assert!(seen.code == 3 && seen.stderr.contains("`else` is checked out in it and not `auth`"), "{seen}");
}

#[test]
fn a_branch_that_somebody_works_on_stays() {
    let repo = project();
    let before = main_is_at(&repo);
    stream(&repo, "auth");
    repo.write("codex.orchestrator.json", "{}\n");
    let seen = repo.orchestrate("stream land auth");
    assert!(
        seen.code == 3 && seen.stderr.contains("`codex.orchestrator.json` is not committed there"),
        "{seen}"
    );
    assert_eq!((main_is_at(&repo), ran(&repo)), (before.clone(), 0));
    repo.git(&["add", "--all"]);
    let seen = repo.orchestrate_in(&folder(&repo, "auth"), "stream land auth");
    assert_eq!(seen.code, 3, "staged is as good: {seen}");
    repo.git(&["reset", "--quiet", "--hard"]);
    repo.write("auth", "in the way\n");
    let seen = repo.orchestrate("stream land auth");
    assert!(seen.code == 3 && seen.stderr.contains("files there are in the way"), "{seen}");
    assert_eq!((main_is_at(&repo), repo.read("auth")), (before, "in the way\n".to_owned()));
    // What is untracked and in nobody's way stays as it is.
    fs::rename(repo.path("auth"), repo.path("mine")).expect("a file");
    assert_eq!(repo.orchestrate("stream land auth").code, 0);
    assert_eq!(status(&repo), "?? mine");
}

#[test]
fn a_branch_that_is_checked_out_nowhere_moves_alone() {
    let repo = project();
    repo.git(&["branch", "release"]);
    let tip = stream(&repo, "auth");
    repo.write("codex.orchestrator.json", "{}\n");
    let main = main_is_at(&repo);
    let seen = repo.orchestrate("stream land auth --onto release");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(repo.git(&["rev-parse", "release", "main"]), format!("{tip}\n{main}"));
    assert_eq!((status(&repo), repo.path("auth").exists()), (" M codex.orchestrator.json".to_owned(), false));
    for (words, said) in [
        ("stream land auth --onto nothing", "there is no branch `nothing` here"),
        ("stream land auth --onto auth", "is the stream's own branch"),
        ("stream land auth --onto=-x", "there is no branch `-x` here"),
        ("stream land other", "there is no stream `other`"),
    ] {
        let seen = repo.orchestrate(words);
        assert!(seen.code == 2 && seen.stderr.contains(said), "{words}: {seen}");
    }
    assert_eq!(repo.orchestrate("stream new fresh").code, 0);
    let seen = repo.orchestrate("stream land fresh --onto release");
    assert!(seen.code == 0 && seen.stdout.contains("nothing is committed on it yet"), "{seen}");
}

#[test]
fn a_branch_that_moves_meanwhile_is_merged_again_and_nothing_runs_twice() {
    let mut config = config(&json!({"require": ["test"]}));
    // Somebody else commits while it runs, the first time.
    config["pipelines"][0]["stages"][1]["command"] = json!(
        "ls >> \"$HOME/ran\"; test -e \"$HOME/moved\" || { : > \"$HOME/moved\"; \
         git update-ref refs/heads/main \"$(git commit-tree -p main -m other main^{tree})\"; }"
    );
    let repo = Fixture::with_config(&config);
    let tip = stream(&repo, "auth");
    let answer = repo.orchestrate("stream land auth --format json").json();
    assert_eq!((&answer["outcome"], &answer["moved"]), (&json!("landed"), &json!(1)), "{answer}");
    assert_eq!(ran(&repo), 1, "the tree is the same");
    assert_eq!(repo.git(&["log", "-1", "--format=%s", "main^1"]), "other");
    assert_eq!((repo.git(&["rev-parse", "main^2"]), status(&repo)), (tip, String::new()));
}

#[test]
fn streams_that_land_at_once_all_land() {
    let repo = project();
    let names = ["a", "b", "c", "d"];
    let tips = names.map(|name| stream(&repo, name));
    let landing = names.map(|name| {
        let mut program = repo.program();
        spawn(program.args(["stream", "land", name, "--format", "json"]))
    });
    for (name, child) in names.iter().zip(landing) {
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for tip in tips {
        repo.git(&["merge-base", "--is-ancestor", &tip, "main"]);
    }
    assert_eq!(status(&repo), "");
    // Each state of the branch was proven before the branch had it.
    let merges = repo.git(&["rev-list", "--first-parent", "main"]);
    let merges: Vec<_> = merges.lines().collect();
    for merge in &merges[..4] {
        let seen = repo.orchestrate(&format!("explain test --rev {merge}"));
        assert_eq!(seen.code, 0, "{merge}: {seen}");
    }
}

#[test]
fn hooks_of_a_merge_are_heard() {
    let repo = project();
    let before = main_is_at(&repo);
    stream(&repo, "auth");
    commit(&repo, repo.root(), "other", "y\n");
    hook(&repo, "commit-msg", "echo 'no ticket' >&2; exit 1");
    let seen = repo.orchestrate("stream land auth");
    assert!(seen.code == 1 && seen.stderr.contains("no ticket"), "{seen}");
    hook(&repo, "commit-msg", "echo 'Ticket: 7' >> \"$1\"");
    hook(
        &repo,
        "reference-transaction",
        "test \"$1\" != prepared || ! grep -q refs/heads/main || { echo frozen >&2; exit 1; }",
    );
    let seen = repo.orchestrate("stream land auth");
    assert!(
        seen.code == 1 && seen.stderr.contains("git did not move `main`") && seen.stderr.contains("frozen"),
        "{seen}"
    );
    assert_eq!((status(&repo), repo.git(&["rev-parse", "main~1"])), (String::new(), before));
    fs::remove_file(repo.path(".git/hooks/reference-transaction")).expect("a hook");
    hook(&repo, "post-merge", "pwd > \"$HOME/merged\"; ls auth >> \"$HOME/merged\"");
    let seen = repo.orchestrate("stream land auth");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(repo.git(&["log", "-1", "--format=%B", "main"]).ends_with("Ticket: 7"));
    let said = fs::read_to_string(repo.beside("merged")).expect("it was called");
    assert_eq!(said, format!("{}\nauth\n", repo.root().display()));
}

#[test]
fn notes_are_on_the_merge() {
    let mut config = config(&json!({"require": ["test"]}));
    config["evidence"] = json!({"notes": true});
    let repo = Fixture::with_config(&config);
    repo.git(&["config", "merge.ff", "false"]);
    stream(&repo, "auth");
    // Once what was run elsewhere, once what runs for it.
    assert_eq!(repo.orchestrate_in(&folder(&repo, "auth"), "start").code, 0);
    for turn in ["carried over", "run for it"] {
        assert_eq!(repo.orchestrate("stream land auth").code, 0);
        let shown = repo.orchestrate("evidence show main --format json").json();
        assert_eq!(shown["commits"][0]["commit"], json!(main_is_at(&repo)), "{turn}: {shown}");
        let notes = repo.git(&["for-each-ref", "--format=%(refname)", "refs/notes/orchestrate"]);
        let note = repo.git(&["notes", "--ref", &notes, "show", "main"]);
        assert!(note.contains("test passed"), "{turn}: {note}");
        commit(&repo, &folder(&repo, "auth"), "more", turn);
    }
}

#[test]
fn a_lock_on_the_index_is_called_by_its_name_and_none_is_taken_before_the_branch_moves() {
    let repo = project();
    stream(&repo, "auth");
    let before = main_is_at(&repo);
    repo.write(".git/index.lock", "");
    let seen = repo.orchestrate("stream land auth");
    assert_eq!((seen.code, main_is_at(&repo), ran(&repo)), (5, before, 0), "{seen}");
    assert!(seen.stderr.contains("git is at work on the index of `"), "{seen}");
    assert!(seen.stderr.contains("try again") && seen.stderr.contains("/.git/index.lock"), "{seen}");
    fs::remove_file(repo.path(".git/index.lock")).expect("it is there");
    // Times that are others than the index says are no change.
    fs::File::open(repo.path("codex.orchestrator.json"))
        .and_then(|file| file.set_modified(std::time::UNIX_EPOCH))
        .expect("a time");
    commit(
        &repo,
        &folder(&repo, "auth"),
        "codex.orchestrator.json",
        &format!("{}\n", repo.read("codex.orchestrator.json")),
    );
    assert_eq!(repo.orchestrate("stream land auth").code, 0);
    assert_eq!(status(&repo), "");
}

#[test]
fn killed_between_the_run_and_the_move_it_goes_on_where_it_was() {
    let repo = project();
    stream(&repo, "auth");
    let before = commit(&repo, repo.root(), "other", "y\n");
    // git asks this hook while it holds the branch, for a program that is its parent.
    let kills = "test \"$1\" != prepared || test -e \"$HOME/killed\" || ! grep -q refs/heads/main || {\n\
                 : > \"$HOME/killed\"; read -r _ _ _ parent _ < \"/proc/$PPID/stat\"; kill -9 \"$parent\"; }";
    hook(&repo, "reference-transaction", kills);
    let seen = repo.orchestrate("stream land auth");
    assert_eq!(seen.code, -9, "{seen}");
    assert_eq!((main_is_at(&repo), status(&repo), ran(&repo)), (before, String::new(), 1));
    assert_eq!(manifest(&repo.runs("0101-auth")[0])["status"], "succeeded");
    let seen = repo.orchestrate("stream land auth");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!((repo.read("auth"), status(&repo), ran(&repo)), ("x\n".to_owned(), String::new(), 1));
}

#[test]
fn killed_at_any_step_it_leaves_the_branch_and_its_files_of_one_mind() {
    // Where nothing has to run, all steps are those of the landing itself.
    let repo = Fixture::with_config(&json!({"pipelines": []}));
    stream(&repo, "auth");
    let mut killed = 0;
    for step in 1..50 {
        let file = format!("s{step}");
        let tip = commit(&repo, &folder(&repo, "auth"), &file, "x\n");
        let mut program = repo.program();
        program.args(["stream", "land", "auth"]).env("GIT_ORCHESTRATE_CRASH_AT", step.to_string());
        let seen = repo.see(&mut program);
        // What looks like the opposite of the landing is never there.
        let now = status(&repo);
        assert!(now.lines().all(|line| line.starts_with("A ")), "{step}: {now}");
        if seen.code == 0 {
            break;
        }
        assert_eq!(seen.code, -9, "{step}: {seen}");
        killed += 1;
        let seen = repo.orchestrate("stream land auth");
        assert_eq!(seen.code, 0, "{step}: {seen}");
        assert_eq!((main_is_at(&repo), status(&repo)), (tip, String::new()), "{step}");
        assert!(repo.path(&file).exists(), "{step}");
    }
    assert!((3..49).contains(&killed), "{killed}");
}

#[test]
fn what_somebody_who_was_killed_left_is_in_no_other_stream_s_way() {
    let repo = Fixture::with_config(&json!({"pipelines": []}));
    stream(&repo, "auth");
    stream(&repo, "search");
    let before = main_is_at(&repo);
    let mut left = 0;
    for step in 1..50 {
        let mut program = repo.program();
        program.args(["stream", "land", "auth"]).env("GIT_ORCHESTRATE_CRASH_AT", step.to_string());
        let seen = repo.see(&mut program);
        if seen.code == 0 {
            break;
        }
        left += usize::from(!status(&repo).is_empty());
        wait_until("git lets the branch go", || !repo.path(".git/refs/heads/main.lock").exists());
        if main_is_at(&repo) == before {
            let seen = repo.orchestrate("stream land search");
            assert_eq!((seen.code, status(&repo)), (0, String::new()), "{step}: {seen}");
        }
        repo.git(&["reset", "--quiet", "--hard", &before]);
    }
    assert!(left > 0, "once the files were there and the branch was not");
}

#[test]
fn files_that_were_half_brought_along_are_taken_back_and_nobody_s_own() {
    let repo = Fixture::with_config(&json!({"pipelines": []}));
    let old = commit(&repo, repo.root(), "both", "old\n");
    stream(&repo, "auth");
    let there = folder(&repo, "auth");
    commit(&repo, &there, "both", "new\n");
    fs::create_dir(there.join("folder")).expect("a folder");
    commit(&repo, &there, "folder/deep", "new\n");
    let new = commit(&repo, &there, "later", "new\n");
    let left = |both: Option<&str>| {
        repo.write(".git/orchestrate-landing", &format!("{old} {new}\n"));
        repo.write("auth", "x\n");
        match both {
            Some(text) => repo.write("both", text),
            None => fs::remove_file(repo.path("both")).expect("it is there"),
        }
    };
    left(Some("somebody's own\n"));
    let seen = repo.orchestrate("stream land auth");
    assert_eq!((seen.code, repo.read("both")), (3, "somebody's own\n".to_owned()), "{seen}");
    // So is what only the new commit has, whichever of the two the index is at.
    for index in [&old, &new] {
        left(Some("old\n"));
        repo.write("later", "somebody's own\n");
        repo.git(&["read-tree", index]);
        let seen = repo.orchestrate("stream land auth");
        assert_eq!((seen.code, repo.read("later")), (3, "somebody's own\n".to_owned()), "{seen}");
        fs::remove_file(repo.path("later")).expect("it is there");
        repo.git(&["reset", "--quiet", "--hard", &old]);
    }
    // In a folder that somebody linked nothing is removed, not even what is empty.
    fs::create_dir(repo.beside("mine")).expect("a folder");
    fs::write(repo.beside("mine").join("deep"), "").expect("a file");
    std::os::unix::fs::symlink(repo.beside("mine"), repo.path("folder")).expect("a link");
    left(Some("old\n"));
    let seen = repo.orchestrate("stream land auth");
    assert!(seen.code == 3 && repo.beside("mine").join("deep").exists(), "{seen}");
    fs::remove_file(repo.path("folder")).expect("a link");
    for both in [None, Some("new\n")] {
        left(both);
        // git had only begun it.
        repo.write("later", "");
        let seen = repo.orchestrate("stream land auth");
        assert_eq!((seen.code, main_is_at(&repo), status(&repo)), (0, new.clone(), String::new()), "{seen}");
        repo.git(&["reset", "--quiet", "--hard", &old]);
    }
}

#[test]
fn files_that_git_cannot_write_are_put_back_at_once() {
    let repo = Fixture::with_config(&json!({"pipelines": []}));
    // It passes on what is old and fails for what is new.
    for (key, value) in [("required", "true"), ("clean", "cat"), ("smudge", "grep -v new")] {
        repo.git(&["config", &format!("filter.picky.{key}"), value]);
    }
    repo.write(".gitattributes", "picky-* filter=picky\n");
    repo.write("picky-1", "old\n");
    let old = commit(&repo, repo.root(), "picky-2", "old\n");
    stream(&repo, "auth");
    let there = folder(&repo, "auth");
    for file in ["picky-1", "picky-2", "picky-3"] {
        commit(&repo, &there, file, "new\n");
    }
    let seen = repo.orchestrate("stream land auth");
    assert!(seen.code == 1 && seen.stderr.contains("git did not move `main`"), "{seen}");
    assert_eq!((main_is_at(&repo), status(&repo)), (old, String::new()));
    assert_eq!((repo.read("picky-1"), repo.path("auth").exists()), ("old\n".to_owned(), false));
    assert!(!repo.path(".git/orchestrate-landing").exists());
}

#[test]
fn a_hook_that_cannot_be_run_any_more_does_not_undo_what_has_landed() {
    let repo = Fixture::with_config(&json!({"pipelines": []}));
    let tip = stream(&repo, "auth");
    repo.git(&["switch", "--quiet", "--create", "elsewhere"]);
    let holder = repo.beside("holder");
    repo.git(&["worktree", "add", "--quiet", holder.to_str().expect("UTF-8"), "main"]);
    let moves = "test \"$1\" != committed || ! grep -q refs/heads/main || mv \"$HOME/holder\" \"$HOME/gone\"";
    hook(&repo, "reference-transaction", moves);
    let seen = repo.orchestrate("stream land auth");
    assert_eq!((seen.code, main_is_at(&repo)), (0, tip), "{seen}");
    assert!(seen.stdout.contains("the hook `post-merge` did not run: cannot start `git`: "), "{seen}");
}

#[test]
fn how_side_worktrees_are_made_ready_is_the_branch_s_to_say_without_a_gate_too() {
    let mut config = config(&json!({}));
    let keys = config.as_object_mut().expect("an object");
    keys.remove("hooks");
    keys.insert("slots".to_owned(), json!({"setup": [{"command": "true"}]}));
    let repo = Fixture::with_config(&config);
    stream(&repo, "auth");
    config["slots"] = json!({"setup": [{"command": "exit 0"}]});
    commit(&repo, &folder(&repo, "auth"), "codex.orchestrator.json", &config.to_string());
    let before = main_is_at(&repo);
    let seen = repo.orchestrate("stream land auth");
    assert_eq!((seen.code, main_is_at(&repo)), (1, before), "{seen}");
    assert!(format!("{seen}").contains("`slots`, which makes side worktrees ready"), "{seen}");
    let seen = repo.orchestrate("stream land auth --allow-gate-change");
    assert_eq!(seen.code, 0, "{seen}");
}

#[test]
fn a_file_in_the_place_of_a_folder_is_called_by_its_own_name() {
    let repo = project();
    stream(&repo, "auth");
    commit(&repo, &folder(&repo, "auth"), "d", "a file\n");
    fs::create_dir(repo.path("d")).expect("a folder");
    commit(&repo, repo.root(), "d/e", "in a folder\n");
    let answer = repo.orchestrate("stream list --probe --format json").json();
    assert_eq!(answer["probe"]["conflicts"][0]["paths"], json!(["d"]), "{answer}");
    let answer = repo.orchestrate("stream land auth --format json");
    assert_eq!((answer.code, &answer.json()["conflicts"]), (1, &json!(["d"])), "{answer}");
}

#[test]
fn streams_that_conflict_are_named_before_anybody_lands() {
    let repo = project();
    for name in ["a", "b", "c"] {
        stream(&repo, name);
    }
    let objects = repo.git(&["count-objects"]);
    let seen = repo.orchestrate("stream list --probe");
    assert!(seen.code == 0 && seen.stdout.contains("3 streams: all can be merged"), "{seen}");
    commit(&repo, &folder(&repo, "a"), "a note", "of a\n");
    commit(&repo, &folder(&repo, "c"), "a note", "of c\n");
    commit(&repo, repo.root(), "b", "of main\n");
    let before = (repo.git(&["for-each-ref"]), status(&repo), repo.git(&["count-objects"]));
    let seen = repo.orchestrate("stream list --probe");
    let told = seen.stdout.lines().skip(4).collect::<Vec<_>>().join("\n");
    assert_eq!(told, "conflict  a and c\n          a note\nconflict  b and main, where it goes\n          b");
    let answer = repo.orchestrate("stream list --probe --format json").json();
    assert_eq!(answer["probe"]["merges"], 6);
    let conflicts = json!([
        {"stream": "a", "other": "c", "target": null, "paths": ["a note"]},
        {"stream": "b", "other": null, "target": "main", "paths": ["b"]},
    ]);
    assert_eq!(answer["probe"]["conflicts"], conflicts);
    // What the merges wrote is gone, and nothing else was touched.
    assert_eq!((repo.git(&["for-each-ref"]), status(&repo), repo.git(&["count-objects"])), before);
    assert_ne!(objects, before.2);
    let left = fs::read_dir(repo.path(".git/orchestrate")).expect("a folder");
    let left: Vec<_> =
        left.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    assert!(left.iter().all(|name| !name.starts_with("probe-") && !name.starts_with("merge-")), "{left:?}");
    // Of histories that have nothing in common git tells nothing, and that spoils no other answer.
    git_in(&repo, &folder(&repo, "b"), &["checkout", "--quiet", "--orphan", "fresh"]);
    git_in(&repo, &folder(&repo, "b"), &["commit", "--quiet", "--message", "fresh"]);
    git_in(&repo, &folder(&repo, "b"), &["branch", "--quiet", "--force", "b"]);
    let answer = repo.orchestrate("stream list --probe --format json").json();
    assert_eq!(answer["probe"]["conflicts"].as_array().map(Vec::len), Some(1), "{answer}");
    assert_eq!(answer["probe"]["problems"].as_array().map(Vec::len), Some(3), "{answer}");
    assert!(repo.orchestrate("stream list --format json").json().get("probe").is_none());
}
