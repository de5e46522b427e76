//! `stream rm`, `undo` and `prune`: nothing goes that is nowhere else, and all comes back.

use std::fs;
use std::path::Path;

use crate::fixture::Fixture;
use crate::stream::{folder, traces};
use crate::witness::{is_alive, wait_for};

fn commit_in(repo: &Fixture, dir: &Path, name: &str) -> String {
    let dir_text = dir.to_str().expect("UTF-8");
    fs::write(dir.join(name), format!("{name}\n")).expect("a file");
    repo.git(&["-C", dir_text, "add", name]);
    repo.git(&["-C", dir_text, "commit", "--quiet", "--message", name]);
    repo.git(&["-C", dir_text, "rev-parse", "HEAD"])
}

/// Returns all traces but for the trash.
fn traces_but_trash(repo: &Fixture) -> Vec<String> {
    traces(repo).into_iter().filter(|trace| trace != "trash").collect()
}

#[test]
fn a_stream_that_holds_nothing_goes_with_its_branch_and_comes_back() {
    let repo = Fixture::new("passing");
    let before = traces(&repo);
    assert_eq!(repo.orchestrate("stream new a").code, 0);
    let made = traces(&repo);
    fs::write(folder(&repo, "a").join("kept.log"), "").expect("a file");
    repo.write(".git/info/exclude", "*.log\n");
    let seen = repo.orchestrate("stream rm a");
    assert_seen!(seen, @"
    removed  a  its branch was merged and is gone too
    For a day, `git orchestrate stream undo` brings it back.
    [exit: 0]
    ");
    assert_eq!(traces_but_trash(&repo), before);
    let seen = repo.orchestrate("stream undo");
    assert_seen!(seen, @"
    back  a  [ROOT].a
    [exit: 0]
    ");
    assert_eq!(traces_but_trash(&repo), made);
    assert!(folder(&repo, "a").join("kept.log").exists(), "what git ignores comes back too");
    let there = folder(&repo, "a");
    assert_eq!(repo.git(&["-C", there.to_str().expect("UTF-8"), "status", "--porcelain"]), "");
    let seen = repo.orchestrate("stream undo");
    assert!(seen.code == 2 && seen.stderr.contains("no stream was removed within a day"), "{seen}");
}

#[test]
fn work_that_is_nowhere_else_is_refused_and_named_and_force_brings_it_to_the_trash() {
    let repo = Fixture::new("passing");
    repo.orchestrate("stream new dirty ahead rebasing");
    let tip = commit_in(&repo, &folder(&repo, "ahead"), "work");
    fs::write(folder(&repo, "dirty").join("new"), "n\n").expect("a file");
    fs::write(repo.path(".git/worktrees/a repo.rebasing/MERGE_HEAD"), format!("{tip}\n")).ok();
    fs::write(repo.path(".git/worktrees/a-repo.rebasing/MERGE_HEAD"), format!("{tip}\n")).ok();
    let before = traces(&repo);
    for (name, said) in [
        ("dirty", "something in it is not committed"),
        ("ahead", "1 commit is on no other branch and at no remote"),
        ("rebasing", "a merge is under way in it"),
    ] {
        let seen = repo.orchestrate(&format!("stream rm {name}"));
        assert_eq!(seen.code, 3, "{seen}");
        assert!(seen.stderr.contains(said) && seen.stderr.contains("--force"), "{seen}");
    }
    assert_eq!(traces(&repo), before);
    let seen = repo.orchestrate("stream rm --force dirty ahead");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(!folder(&repo, "dirty").exists() && !folder(&repo, "ahead").exists());
    assert_eq!(repo.git(&["rev-parse", "ahead"]), tip, "a branch with work on it stays");
    assert_eq!(repo.orchestrate("stream undo dirty").code, 0);
    assert_eq!(fs::read_to_string(folder(&repo, "dirty").join("new")).expect("it is back"), "n\n");
    // Asked for, the branch goes too, and comes back with the stream.
    assert_eq!(repo.orchestrate("stream undo ahead").code, 0);
    let seen = repo.orchestrate("stream rm --force --delete-branch ahead");
    assert!(seen.code == 0 && repo.git(&["branch", "--list", "ahead"]).is_empty(), "{seen}");
    assert_eq!(repo.orchestrate("stream undo ahead").code, 0);
    assert_eq!(repo.git(&["rev-parse", "ahead"]), tip);
}

#[test]
fn what_was_merged_by_a_squash_or_a_rebase_or_pushed_may_go() {
    let repo = Fixture::new("passing");
    repo.git(&["init", "--quiet", "--bare", "../remote.git"]);
    repo.git(&["remote", "add", "origin", "../remote.git"]);
    repo.orchestrate("stream new squashed picked pushed");
    for name in ["squashed", "picked", "pushed"] {
        commit_in(&repo, &folder(&repo, name), &format!("{name}-1"));
        commit_in(&repo, &folder(&repo, name), &format!("{name}-2"));
    }
    repo.git(&["merge", "--quiet", "--squash", "squashed"]);
    repo.git(&["commit", "--quiet", "--message", "squashed"]);
    repo.git(&["cherry-pick", "picked~1", "picked"]);
    repo.git(&["push", "--quiet", "origin", "pushed"]);
    let answer = repo.orchestrate("stream rm squashed picked pushed --format json").json();
    let of = |name: &str| {
        let removed = answer["removed"].as_array().expect("streams");
        let of = removed.iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("{name}: {answer}"));
        (of["branch_removed"].as_bool().expect("a flag"), of["merged"].as_str().map(str::to_owned))
    };
    assert_eq!(of("squashed"), (true, Some("tree".to_owned())));
    assert_eq!(of("picked"), (true, Some("tree".to_owned())));
    assert_eq!(of("pushed"), (false, None), "what is only pushed keeps its branch");
}

#[test]
fn what_is_no_stream_or_stands_oddly_stays() {
    let repo = Fixture::new("passing");
    repo.git(&["worktree", "add", "--quiet", "../other", "-b", "other"]);
    repo.orchestrate("stream new a linked locked");
    repo.git(&["worktree", "lock", folder(&repo, "locked").to_str().expect("UTF-8")]);
    let moved = repo.beside("moved");
    fs::rename(folder(&repo, "linked"), &moved).expect("it moves");
    std::os::unix::fs::symlink(&moved, folder(&repo, "linked")).expect("a link");
    for (words, dir, code, said) in [
        ("stream rm other", repo.root().to_owned(), 3, "somebody else made"),
        ("stream rm nothing", repo.root().to_owned(), 2, "there is no stream `nothing`"),
        ("stream rm --force a", folder(&repo, "a"), 3, "you are in stream `a`"),
        ("stream rm --force linked", repo.root().to_owned(), 3, "is a symbolic link"),
        ("stream rm --force locked", repo.root().to_owned(), 3, "is locked"),
    ] {
        let seen = repo.orchestrate_in(&dir, words);
        assert_eq!(seen.code, code, "{words}: {seen}");
        assert!(seen.stderr.contains(said), "{words}: {seen}");
    }
    assert!(moved.join("codex.orchestrator.json").exists());
    // A link in a stream goes as a link.
    std::os::unix::fs::symlink(repo.beside("moved"), folder(&repo, "a").join("link")).expect("a link");
    assert_eq!(repo.orchestrate("stream rm --force a").code, 0);
    assert!(moved.join("codex.orchestrator.json").exists());
}

#[test]
fn what_runs_keeps_its_stream_and_force_ends_it() {
    let repo = Fixture::with_commands(&["echo $$ > \"$HOME/pid\"; sleep 600"]);
    repo.orchestrate("stream new a");
    let seen = repo.orchestrate_in(&folder(&repo, "a"), "start --detach");
    assert_eq!(seen.code, 0, "{seen}");
    let pid = wait_for(&repo.beside("pid"));
    let seen = repo.orchestrate("stream rm a");
    assert!(seen.code == 3 && seen.stderr.contains("of pipeline `diagnostics` is not over"), "{seen}");
    assert!(is_alive(&pid));
    let seen = repo.orchestrate("stream rm --force a");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(!is_alive(&pid) && !folder(&repo, "a").exists());
    assert_eq!(repo.orchestrate("stream undo a").code, 0);
    let answer = repo.orchestrate("stream status a --format json").json();
    assert_eq!(answer["runs"][0]["status"], "cancelled");
}

#[test]
fn what_ends_a_stream_may_be_impossible_to_start_and_force_removes_it_all_the_same() {
    let repo = Fixture::with_config(&serde_json::json!({"streams": {"teardown": ["true"]}, "pipelines": []}));
    assert_eq!(repo.orchestrate("stream new a").code, 0);
    // A copy that is no program any more once it asks a git that it does not know: it cannot call itself.
    let make = r#"mkdir "$HOME/bin" && cp "$1" "$HOME/bin/git-orchestrate" &&
        printf '#!/bin/sh\nchmod a-x "$HOME/bin/git-orchestrate"\nexec "%s" "$@"\n' "$(command -v git)" > "$HOME/bin/git" &&
        chmod a+x "$HOME/bin/git""#;
    let program = env!("CARGO_BIN_EXE_git-orchestrate");
    assert!(repo.command("/bin/sh").args(["-c", make, "sh", program]).status().expect("a shell").success());
    let call = r#"chmod a+x "$HOME/bin/git-orchestrate"; echo '# another one' >> "$HOME/bin/git"; PATH="$HOME/bin:$PATH" exec git-orchestrate stream rm "$@""#;
    let rm = |words: &[&str]| repo.see(repo.command("/bin/sh").args(["-c", call, "sh"]).args(words));
    let seen = rm(&["a"]);
    assert!(seen.code == 1 && seen.stderr.contains("what ends it did not run"), "{seen}");
    let seen = rm(&["--force", "a"]);
    assert!(seen.code == 0 && seen.stdout.contains("what ends it did not run: no process"), "{seen}");
    assert!(!folder(&repo, "a").exists());
}

#[test]
fn a_removal_that_is_killed_at_any_step_loses_nothing() {
    for step in 1.. {
        let repo = Fixture::new("passing");
        repo.orchestrate("stream new a");
        let there = folder(&repo, "a");
        let tip = commit_in(&repo, &there, "work");
        fs::write(there.join("dirty"), "d\n").expect("a file");
        let mut rm = repo.program();
        rm.env("GIT_ORCHESTRATE_CRASH_AT", step.to_string());
        rm.args(["stream", "rm", "--force", "--delete-branch", "a"]);
        let is_over = rm.output().expect("the program").status.success();
        if !there.exists() {
            let seen = repo.orchestrate("stream undo a");
            assert_eq!(seen.code, 0, "step {step}: {seen}");
        }
        assert_eq!(fs::read_to_string(there.join("dirty")).expect("it is there"), "d\n", "step {step}");
        assert_eq!(repo.git(&["rev-parse", "a"]), tip, "step {step}");
        let status = repo.git(&["-C", there.to_str().expect("UTF-8"), "status", "--porcelain"]);
        assert_eq!(status, "?? dirty", "step {step}");
        let seen = repo.orchestrate("stream rm --force a");
        assert_eq!(seen.code, 0, "step {step}: {seen}");
        if is_over {
            assert!(step > 5, "{step}");
            break;
        }
    }
}

#[test]
fn prune_offers_what_was_merged_and_mends_what_nobody_finished() {
    let repo = Fixture::new("passing");
    repo.orchestrate("stream new fresh merged gone working");
    commit_in(&repo, &folder(&repo, "merged"), "merged");
    commit_in(&repo, &folder(&repo, "working"), "working");
    repo.git(&["merge", "--quiet", "merged"]);
    fs::remove_dir_all(folder(&repo, "gone")).expect("a folder");
    let crashed =
        repo.program().env("GIT_ORCHESTRATE_CRASH_AT", "9").args(["stream", "new", "half"]).output();
    assert!(!crashed.expect("the program").status.success());
    let seen = repo.orchestrate("stream prune");
    assert_seen!(seen, @"
    could go  gone  its folder is gone
    could go  half  it was never finished
    could go  merged  merged
    They go with: git orchestrate stream prune --yes
    [exit: 0]
    ");
    let seen = repo.orchestrate("stream prune --yes");
    assert_eq!(seen.stdout.matches(" removed  ").count(), 3, "{seen}");
    let seen = repo.orchestrate("stream prune");
    assert_eq!(seen.stdout, "No stream could go.\n", "{seen}");
    let worktrees = repo.git(&["worktree", "list"]);
    assert!(worktrees.contains("a repo.fresh") && worktrees.contains("a repo.working"), "{worktrees}");
    assert_eq!(worktrees.lines().count(), 3, "{worktrees}");
    assert_eq!(repo.git(&["branch", "--list", "half", "merged"]), "");
}

#[test]
fn branches_that_were_there_before_their_streams_stay_and_main_is_never_merged() {
    let repo = Fixture::new("passing");
    repo.git(&["branch", "release"]);
    repo.git(&["checkout", "--quiet", "-b", "dev"]);
    repo.git(&["commit", "--quiet", "--allow-empty", "--message", "ahead"]);
    assert_eq!(repo.orchestrate("stream new main release").code, 0);
    let seen = repo.orchestrate("stream prune");
    assert_eq!(seen.stdout, "No stream could go.\n", "nothing has happened in them: {seen}");
    // What happens on them and is merged later makes their streams go, and the branches stay.
    for name in ["main", "release"] {
        commit_in(&repo, &folder(&repo, name), name);
        repo.git(&["merge", "--quiet", name, "--message", "merged"]);
    }
    let answer = repo.orchestrate("stream prune --yes --format json").json();
    let offered: Vec<_> = answer["streams"].as_array().expect("streams").iter().collect();
    assert!(offered.len() == 1 && offered[0]["name"] == "release", "{answer}");
    assert!(!folder(&repo, "release").exists() && folder(&repo, "main").exists());
    let seen = repo.orchestrate("stream rm main");
    assert!(seen.code == 0 && seen.stdout.contains("removed  main  its branch stays"), "{seen}");
    let branches = repo.git(&["for-each-ref", "--format=%(refname:short)", "refs/heads"]);
    assert_eq!(branches.lines().collect::<Vec<_>>(), ["dev", "main", "release"]);
}

/// Leaves a stream that somebody began who was killed before git made its worktree.
fn begin_and_crash(repo: &Fixture, name: &str) {
    for step in 1.. {
        let mut new = repo.program();
        new.env("GIT_ORCHESTRATE_CRASH_AT", step.to_string()).args(["stream", "new", name]);
        assert!(!new.output().expect("the program").status.success(), "step {step}");
        let is_noted = repo.path(&format!(".git/orchestrate/streams/{name}.json")).exists();
        if is_noted && !repo.git(&["branch", "--list", name]).is_empty() {
            assert!(!folder(repo, name).exists(), "step {step}");
            return;
        }
        repo.orchestrate("stream prune --yes");
    }
}

#[test]
fn a_worktree_that_somebody_made_where_a_stream_was_to_be_is_left_alone() {
    let repo = Fixture::new("passing");
    repo.write(".git/info/exclude", "kept.log\n");
    for (name, words) in [("a", &["-b", "other"][..]), ("b", &["--detach"])] {
        begin_and_crash(&repo, name);
        let there = folder(&repo, name);
        let top = there.to_str().expect("UTF-8");
        repo.git(&[&["worktree", "add", "--quiet"], words, &[top]].concat());
        fs::write(there.join("kept.log"), "k\n").expect("a file");
        let seen = repo.orchestrate("stream prune --yes");
        assert_eq!(seen.code, 0, "{seen}");
        assert_eq!(fs::read_to_string(there.join("kept.log")).expect("it stays"), "k\n");
        assert_eq!(repo.git(&["-C", top, "status", "--porcelain"]), "");
        let seen = repo.orchestrate("stream prune");
        assert_eq!(seen.stdout, "No stream could go.\n", "{seen}");
    }
    assert_eq!(repo.git(&["branch", "--list", "a", "b"]), "", "what we had made is gone");
}

#[test]
fn a_worktree_that_git_was_killed_at_goes_with_its_stream() {
    let repo = Fixture::new("passing");
    for (name, words, has_folder) in
        [("a", "stream prune --yes", true), ("b", "stream new b", true), ("c", "stream prune --yes", false)]
    {
        begin_and_crash(&repo, name);
        // What `git worktree add` has made until it writes which branch is checked out.
        let (there, entry) = (folder(&repo, name), repo.path(&format!(".git/worktrees/half-{name}")));
        fs::create_dir_all(entry.join("refs")).expect("folders");
        for (file, text) in [
            ("gitdir", format!("{}\n", there.join(".git").display())),
            ("commondir", "../..\n".to_owned()),
            ("locked", "initializing".to_owned()),
            ("HEAD.lock", String::new()),
        ] {
            fs::write(entry.join(file), text).expect("a file");
        }
        if has_folder {
            fs::create_dir(&there).expect("a folder");
            fs::write(there.join(".git"), format!("gitdir: {}\n", entry.display())).expect("a file");
        }
        let seen = repo.orchestrate(words);
        assert_eq!(seen.code, 0, "{name}: {seen}");
        assert!(!entry.exists(), "{name}: git's part is gone");
        assert_eq!(there.exists(), name == "b");
        assert_eq!(repo.orchestrate(&format!("stream rm {name}")).code, if name == "b" { 0 } else { 2 });
        assert_eq!(repo.orchestrate(&format!("stream new {name}")).code, 0);
    }
}

#[test]
fn a_worktree_that_may_be_ours_goes_to_the_trash_and_a_branch_in_use_stays() {
    let repo = Fixture::new("passing");
    repo.write(".git/info/exclude", "kept.log\n");
    begin_and_crash(&repo, "a");
    let there = folder(&repo, "a");
    repo.git(&["worktree", "add", "--quiet", there.to_str().expect("UTF-8"), "a"]);
    fs::write(there.join("kept.log"), "k\n").expect("a file");
    assert_eq!(repo.orchestrate("stream prune --yes").code, 0);
    assert!(!there.exists());
    assert_eq!(repo.orchestrate("stream undo a").code, 0);
    assert_eq!(fs::read_to_string(there.join("kept.log")).expect("it is back"), "k\n");
    begin_and_crash(&repo, "b");
    let elsewhere = repo.beside("elsewhere");
    repo.git(&["worktree", "add", "--quiet", elsewhere.to_str().expect("UTF-8"), "b"]);
    assert_eq!(repo.orchestrate("stream prune --yes").code, 0);
    assert_eq!(repo.git(&["-C", elsewhere.to_str().expect("UTF-8"), "status", "--porcelain"]), "");
}

#[test]
fn what_git_was_told_about_a_branch_comes_back_with_it() {
    let repo = Fixture::new("passing");
    assert_eq!(repo.orchestrate("stream new fix/a.b").code, 0);
    repo.git(&["branch", "--quiet", "--set-upstream-to", "main", "fix/a.b"]);
    repo.git(&["config", "branch.fix/a.b.description", "two\nlines"]);
    repo.git(&["config", "branch.fix/a.c.description", "of another one"]);
    let settings = || repo.git(&["config", "--local", "--get-regexp", r"^branch\."]);
    let before = settings();
    let seen = repo.orchestrate("stream rm fix/a.b");
    assert!(seen.stdout.contains("its branch was merged and is gone too"), "{seen}");
    assert_eq!(settings(), "branch.fix/a.c.description of another one");
    assert_eq!(repo.orchestrate("stream undo").code, 0);
    let sorted = |text: &str| text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(sorted(&settings()), sorted(&before));
    assert_eq!(repo.git(&["rev-parse", "--abbrev-ref", "fix/a.b@{upstream}"]), "main");
    // While somebody else writes the configuration the stream comes back all the same.
    assert_eq!(repo.orchestrate("stream rm fix/a.b").code, 0);
    repo.write(".git/config.lock", "");
    let seen = repo.orchestrate("stream undo");
    fs::remove_file(repo.path(".git/config.lock")).expect("a lock");
    assert!(
        seen.code == 0 && seen.stdout.contains("not all settings of branch `fix/a.b` are back"),
        "{seen}"
    );
    assert!(folder(&repo, "fix/a.b").exists());
}

#[test]
fn a_folder_that_something_made_again_after_its_stream_was_deleted_is_not_the_stream() {
    let repo = Fixture::new("passing");
    assert_eq!(repo.orchestrate("stream new a").code, 0);
    let kept = folder(&repo, "a").join(".runs/late");
    fs::remove_dir_all(folder(&repo, "a")).expect("a folder");
    fs::create_dir_all(&kept).expect("a folder");
    let seen = repo.orchestrate("stream prune --yes");
    assert!(seen.stdout.contains("removed  a  its folder is gone"), "{seen}");
    assert!(kept.exists(), "that is somebody's own");
    assert_eq!(repo.orchestrate("stream list --format json").json()["streams"], serde_json::json!([]));
}
