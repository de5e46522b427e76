//! What a removal must not lose: what runs there, what is only on its branch or staged, and what git would collect.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use crate::fixture::Fixture;
use crate::stream::folder;
use crate::witness::is_alive;

fn git_in(repo: &Fixture, dir: &Path, args: &[&str]) -> String {
    repo.git(&[&["-C", dir.to_str().expect("UTF-8")], args].concat())
}

fn commit_in(repo: &Fixture, dir: &Path, name: &str) -> String {
    fs::write(dir.join(name), format!("{name}\n")).expect("a file");
    git_in(repo, dir, &["add", name]);
    git_in(repo, dir, &["commit", "--quiet", "--message", name]);
    git_in(repo, dir, &["rev-parse", "HEAD"])
}

/// Starts a process that stays in a folder until its stdin is closed or somebody ends it.
fn stay_in(repo: &Fixture, dir: &Path) -> Child {
    repo.command("cat").current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("cat")
}

#[test]
fn a_process_that_nobody_knows_keeps_its_stream_and_force_ends_it() {
    let repo = Fixture::new("passing");
    assert_eq!(repo.orchestrate("stream new a").code, 0);
    let there = folder(&repo, "a");
    commit_in(&repo, &there, "work");
    repo.git(&["merge", "--quiet", "a"]);
    let mut child = stay_in(&repo, &there);
    let seen = repo.orchestrate("stream prune");
    assert_eq!(seen.stdout, "No stream could go.\n", "{seen}");
    let seen = repo.orchestrate("stream rm a");
    let said = format!("process {} (`cat`) has its folder there", child.id());
    assert!(seen.code == 3 && seen.stderr.contains(&said) && seen.stderr.contains("--force"), "{seen}");
    assert!(is_alive(&child.id().to_string()) && there.exists());
    let seen = repo.orchestrate("stream rm --force a");
    assert!(seen.code == 0 && !there.exists(), "{seen}");
    assert!(!is_alive(&child.id().to_string()));
    child.wait().expect("it has ended");
}

#[test]
fn whoever_calls_from_a_stream_for_another_folder_is_not_ended() {
    let repo = Fixture::new("passing");
    assert_eq!(repo.orchestrate("stream new a").code, 0);
    let program = repo.program().get_program().to_owned();
    let mut shell = repo.command("/bin/sh");
    shell.current_dir(folder(&repo, "a"));
    shell.args(["-c", "(cd \"$1\" && \"$2\" stream rm --force a); echo \"still here\""]);
    let seen = repo.see(shell.arg("sh").arg(repo.root()).arg(program));
    assert!(seen.stdout.contains("still here") && seen.stderr.contains("you are in stream `a`"), "{seen}");
    assert!(folder(&repo, "a").exists());
}

#[test]
fn what_ends_a_stream_may_end_what_its_set_up_left_running() {
    let repo = Fixture::with_config(&serde_json::json!({
        "streams": {
            "setup": ["setsid sh -c 'echo $$ > \"$HOME/pid\"; exec sleep 600' < /dev/null > /dev/null 2>&1 & while ! test -s \"$HOME/pid\"; do :; done"],
            "teardown": ["kill \"$(cat \"$HOME/pid\")\"; while readlink \"/proc/$(cat \"$HOME/pid\")/cwd\"; do :; done"],
        },
        "pipelines": [],
    }));
    assert_eq!(repo.orchestrate("stream new a").code, 0);
    let pid = fs::read_to_string(repo.beside("pid")).expect("a pid");
    assert!(is_alive(pid.trim()), "it was left running");
    let seen = repo.orchestrate("stream rm a");
    assert!(seen.code == 0 && !is_alive(pid.trim()), "{seen}");
}

#[test]
fn what_was_removed_comes_back_also_after_git_has_collected() {
    let repo = Fixture::new("passing");
    assert_eq!(repo.orchestrate("stream new merged detached staged").code, 0);
    commit_in(&repo, &folder(&repo, "merged"), "one");
    let tip = commit_in(&repo, &folder(&repo, "merged"), "two");
    repo.git(&["merge", "--quiet", "--squash", "merged"]);
    repo.git(&["commit", "--quiet", "--message", "squashed"]);
    let detached = folder(&repo, "detached");
    git_in(&repo, &detached, &["checkout", "--quiet", "--detach"]);
    let lost = commit_in(&repo, &detached, "lost");
    let staged = folder(&repo, "staged");
    fs::write(staged.join("new"), "only staged\n").expect("a file");
    git_in(&repo, &staged, &["add", "new"]);
    fs::write(staged.join("new"), "changed since\n").expect("a file");
    assert_eq!(repo.orchestrate("stream rm merged").code, 0);
    assert_eq!(repo.orchestrate("stream rm --force detached staged").code, 0);
    repo.git(&["reflog", "expire", "--expire=now", "--all"]);
    repo.git(&["gc", "--quiet", "--prune=now"]);
    for name in ["merged", "detached", "staged"] {
        let seen = repo.orchestrate(&format!("stream undo {name}"));
        assert_eq!(seen.code, 0, "{seen}");
    }
    assert_eq!(repo.git(&["rev-parse", "merged"]), tip);
    assert_eq!(git_in(&repo, &folder(&repo, "merged"), &["status", "--porcelain"]), "");
    assert_eq!(git_in(&repo, &detached, &["rev-parse", "HEAD"]), lost);
    assert_eq!(git_in(&repo, &detached, &["status", "--porcelain"]), "");
    assert_eq!(git_in(&repo, &staged, &["show", ":new"]), "only staged");
    repo.git(&["fsck", "--strict", "--no-dangling"]);
    // What is back keeps itself.
    assert_eq!(repo.git(&["for-each-ref", "refs/orchestrate/trash"]), "");
}

#[test]
fn what_leaves_the_trash_is_no_longer_kept() {
    let repo = Fixture::new("passing");
    assert_eq!(repo.orchestrate("stream new a b").code, 0);
    assert_eq!(repo.orchestrate("stream rm a").code, 0);
    assert_ne!(repo.git(&["for-each-ref", "refs/orchestrate/trash"]), "");
    fs::remove_dir_all(repo.path(".git/orchestrate/streams/trash")).expect("a trash");
    assert_eq!(repo.orchestrate("stream prune --yes").code, 0);
    assert_eq!(repo.git(&["for-each-ref", "refs/orchestrate/trash"]), "");
}

#[test]
fn a_conflict_that_is_not_solved_comes_back_after_git_has_collected() {
    let repo = Fixture::new("passing");
    assert_eq!(repo.orchestrate("stream new a").code, 0);
    let there = folder(&repo, "a");
    fs::write(there.join("file"), "ours\n").expect("a file");
    git_in(&repo, &there, &["add", "file"]);
    git_in(&repo, &there, &["commit", "--quiet", "--message", "ours"]);
    repo.write("file", "theirs\n");
    repo.git(&["add", "file"]);
    repo.git(&["commit", "--quiet", "--message", "theirs"]);
    let merge = repo.command("git").current_dir(&there).args(["merge", "main"]).output().expect("git");
    assert!(!merge.status.success(), "it is a conflict");
    assert_eq!(repo.orchestrate("stream rm --force a").code, 0);
    repo.git(&["gc", "--quiet", "--prune=now"]);
    assert_eq!(repo.orchestrate("stream undo a").code, 0);
    assert_eq!(git_in(&repo, &there, &["status", "--porcelain"]), "AA file");
    assert_eq!(git_in(&repo, &there, &["show", ":3:file"]), "theirs");
}

#[test]
fn a_branch_that_somebody_checked_out_meanwhile_stays_with_them() {
    let repo = Fixture::new("passing");
    assert_eq!(repo.orchestrate("stream new a").code, 0);
    assert_eq!(repo.orchestrate("stream rm a --keep-branch").code, 0);
    let elsewhere = repo.beside("else where");
    repo.git(&["worktree", "add", "--quiet", elsewhere.to_str().expect("UTF-8"), "a"]);
    let seen = repo.orchestrate("stream undo");
    assert!(seen.code == 2 && seen.stderr.contains("its branch `a` is checked out in"), "{seen}");
    assert!(seen.stderr.contains("switch --detach"), "{seen}");
    git_in(&repo, &elsewhere, &["switch", "--quiet", "--detach"]);
    let seen = repo.orchestrate("stream undo");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(git_in(&repo, &folder(&repo, "a"), &["status", "--porcelain"]), "");
}

#[test]
fn commits_that_are_only_on_a_branch_that_is_to_go_are_refused_whatever_is_checked_out() {
    let repo = Fixture::new("passing");
    assert_eq!(repo.orchestrate("stream new detached gone staged").code, 0);
    for name in ["detached", "gone"] {
        commit_in(&repo, &folder(&repo, name), name);
    }
    git_in(&repo, &folder(&repo, "detached"), &["checkout", "--quiet", "--detach", "main"]);
    fs::write(folder(&repo, "staged").join("new"), "n\n").expect("a file");
    git_in(&repo, &folder(&repo, "staged"), &["add", "new"]);
    for name in ["gone", "staged"] {
        fs::remove_dir_all(folder(&repo, name)).expect("a folder");
    }
    for name in ["detached", "gone"] {
        let seen = repo.orchestrate(&format!("stream rm {name} --delete-branch"));
        assert!(seen.code == 3 && seen.stderr.contains("1 commit is on no other branch"), "{seen}");
        assert_ne!(repo.git(&["branch", "--list", name]), "");
    }
    let seen = repo.orchestrate("stream rm staged");
    assert!(seen.code == 3 && seen.stderr.contains("something that was staged in it"), "{seen}");
    // With its branch kept, nothing of them is lost.
    let seen = repo.orchestrate("stream rm detached gone");
    assert_eq!(seen.code, 0, "{seen}");
    assert_ne!(repo.git(&["branch", "--list", "gone"]), "");
}
