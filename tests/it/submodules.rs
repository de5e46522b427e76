//! Submodules in side worktrees and streams: they come from what is here, and nobody is asked for more.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::fixture::{Fixture, Seen, manifest};
use crate::stream::folder;

/// Where the submodule is in the outer repository; its name has a slash, as git gives it one.
const SUB: &str = "libs/a sub";

fn git_in(repo: &Fixture, dir: &Path, args: &[&str]) -> String {
    let local = ["-c", "protocol.file.allow=always", "-C", dir.to_str().expect("UTF-8")];
    repo.git(&[&local, args].concat())
}

/// Makes a repository with a file of its own name, and returns its folder.
fn made(repo: &Fixture, name: &str) -> PathBuf {
    let dir = repo.beside(name);
    repo.git(&["init", "--quiet", "--initial-branch=main", dir.to_str().expect("UTF-8")]);
    commit(repo, &dir, name, "one\n");
    dir
}

fn commit(repo: &Fixture, dir: &Path, file: &str, text: &str) -> String {
    fs::write(dir.join(file), text).expect("a file");
    git_in(repo, dir, &["add", "--all"]);
    git_in(repo, dir, &["commit", "--quiet", "--message", text.trim()]);
    git_in(repo, dir, &["rev-parse", "HEAD"])
}

/// Makes a repository whose submodule has one itself. Where they came from is gone.
fn project(command: &str) -> Fixture {
    let repo = Fixture::with_config(&json!({
        "pipelines": [{"id": "checks", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "test", "command": command},
        ]}],
        "defaultPipeline": "checks",
    }));
    let (deep, sub) = (made(&repo, "deep"), made(&repo, "sub"));
    git_in(&repo, &sub, &["submodule", "--quiet", "add", deep.to_str().expect("UTF-8"), "nest"]);
    git_in(&repo, &sub, &["commit", "--quiet", "--message", "nest"]);
    git_in(&repo, repo.root(), &["submodule", "--quiet", "add", sub.to_str().expect("UTF-8"), SUB]);
    git_in(&repo, repo.root(), &["submodule", "--quiet", "update", "--init", "--recursive"]);
    repo.git(&["commit", "--quiet", "--all", "--message", "with submodules"]);
    for gone in [deep, sub] {
        fs::rename(&gone, gone.with_extension("gone")).expect("it moves");
    }
    repo
}

const LOOK: &str = "cat 'libs/a sub/sub' 'libs/a sub/nest/deep'; git submodule status --recursive | cut -c1; git status --porcelain";

fn printed(repo: &Fixture) -> String {
    repo.orchestrate("logs latest test").stdout
}

fn is_proof(repo: &Fixture, seen: &Seen) {
    assert_eq!(seen.code, 0, "{seen}");
    let run = manifest(repo.runs("0101").last().expect("a run"));
    assert_eq!((&run["git"]["dirty"], &run["git"]["moved"]), (&json!(false), &json!(false)), "{run}");
    assert_eq!(run["git"]["tree"], json!(repo.git(&["rev-parse", "HEAD^{tree}"])));
}

#[test]
fn a_side_worktree_has_what_is_here_of_submodules_and_begins_clean_each_time() {
    // The stage leaves something behind, ignored and not, and would find it the next time.
    let repo = project(&format!(
        "{LOOK}; ls 'libs/a sub' 'libs/a sub/nest' | grep left; \
         echo left > 'libs/a sub/nest/.git-ignored-left'; git -C 'libs/a sub' config some.left 1; \
         git -C 'libs/a sub' config --get-all some.left"
    ));
    is_proof_but_dirty(&repo);
    is_proof_but_dirty(&repo);
    fn is_proof_but_dirty(repo: &Fixture) {
        let seen = repo.orchestrate("start --commit HEAD");
        assert_eq!(seen.code, 0, "{seen}");
        assert_eq!(printed(repo), "one\none\n \n \n1\n");
    }
    assert_eq!(repo.git(&["status", "--porcelain"]), "");
    // The one that is here was not touched.
    assert_eq!(git_in(&repo, &repo.path(SUB), &["status", "--porcelain"]), "");
    assert!(repo.orchestrate("start --commit HEAD").stderr.contains("in side worktree 1"));
}

#[test]
fn each_commit_gets_the_commit_of_the_submodule_that_it_names() {
    let repo = project(LOOK);
    let sub = repo.path(SUB);
    commit(&repo, &sub, "sub", "two\n");
    repo.git(&["commit", "--quiet", "--all", "--message", "two"]);
    repo.git(&["rm", "--quiet", SUB]);
    repo.git(&["commit", "--quiet", "--message", "gone"]);
    repo.git(&["revert", "--no-edit", "HEAD"]);
    for (rev, said) in
        [("HEAD", "two\none\n \n \n"), ("HEAD~2", "two\none\n \n \n"), ("HEAD~3", "one\none\n \n \n")]
    {
        let seen = repo.orchestrate(&format!("start --commit {rev}"));
        assert_eq!(seen.code, 0, "{rev}: {seen}");
        assert_eq!(printed(&repo), said, "{rev}");
    }
    let seen = repo.orchestrate("start --commit HEAD~1");
    assert!(seen.code == 0 && printed(&repo).contains("No such file"), "there is none: {seen}");
    is_proof(&repo, &repo.orchestrate("start --commit HEAD"));
    // What is proven there is proven for the worktree too, where submodules are as git left them.
    git_in(&repo, repo.root(), &["submodule", "--quiet", "update", "--init", "--recursive"]);
    let seen = repo.orchestrate("start --reuse");
    assert!(seen.stderr.contains("reused  test"), "{seen}");
}

#[test]
fn nothing_runs_that_nobody_chose_and_what_is_not_wanted_stays_away() {
    let repo = project("ls 'libs/a sub'; test ! -e \"$HOME/ran\"");
    // Neither a command in place of a checkout, nor hooks of the module, nor a template.
    repo.git(&["config", &format!("submodule.{SUB}.update"), "!touch \"$HOME/ran\"; :"]);
    let template = repo.beside("template");
    fs::create_dir_all(template.join("hooks")).expect("a folder");
    for folder in [repo.path(&format!(".git/modules/{SUB}/hooks")), template.join("hooks")] {
        use std::os::unix::fs::PermissionsExt;
        fs::create_dir_all(&folder).expect("a folder");
        let hook = folder.join("post-checkout");
        fs::write(&hook, "#!/bin/sh\ntouch \"$HOME/ran\"\n").expect("a hook");
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    repo.git(&["config", "init.templateDir", template.to_str().expect("UTF-8")]);
    assert_eq!(repo.orchestrate("start --commit HEAD").code, 0);
    assert_eq!(printed(&repo), "nest\nsub\n");
    assert_eq!(repo.orchestrate("stream new a").code, 0);
    assert!(folder(&repo, "a").join(SUB).join("nest/deep").exists());
    for (key, value) in
        [(format!("submodule.{SUB}.active"), "false"), ("submodule.active".to_owned(), ":!libs")]
    {
        repo.git(&["config", &key, value]);
        let seen = repo.orchestrate("start --commit HEAD");
        assert!(seen.code == 0 && !seen.stderr.contains("submodule"), "{key}: {seen}");
        assert_eq!(printed(&repo), "", "{key}");
        repo.git(&["config", "--unset", &key]);
    }
    repo.git(&["config", "submodule.active", "libs/*"]);
    repo.git(&["config", "--unset", &format!("submodule.{SUB}.url")]);
    assert_eq!(repo.orchestrate("start --commit HEAD").code, 0);
    assert_eq!(printed(&repo), "nest\nsub\n");
}

#[test]
fn what_is_not_here_is_told_with_what_to_type() {
    let repo = project("ls 'libs/a sub'");
    let before = repo.git(&["rev-parse", "HEAD"]);
    let nowhere = "1".repeat(40);
    repo.git(&["update-index", "--cacheinfo", &format!("160000,{nowhere},{SUB}")]);
    repo.git(&["commit", "--quiet", "--message", "to nowhere"]);
    let runs = repo.runs("0101").len();
    let seen = repo.orchestrate("start --commit HEAD");
    assert_eq!(seen.code, 2, "{seen}");
    let said = "the submodule `libs/a sub` has no commit 111111111111 here \
                (git submodule update --init --recursive -- 'libs/a sub')";
    assert!(seen.stderr.contains(said), "{seen}");
    assert_eq!(repo.runs("0101").len(), runs, "nothing ran");
    let seen = repo.orchestrate("stream new a");
    assert!(seen.code == 0 && format!("{seen}").contains(said), "a stream is there all the same: {seen}");
    // One that was never fetched is empty here as it is in the worktree.
    repo.git(&["reset", "--quiet", "--hard", &before]);
    git_in(&repo, repo.root(), &["submodule", "--quiet", "deinit", "--force", SUB]);
    repo.git(&["config", &format!("submodule.{SUB}.active"), "true"]);
    fs::remove_dir_all(repo.path(".git/modules")).expect("a folder");
    fs::remove_dir_all(repo.path(".git/worktrees")).expect("a folder");
    let seen = repo.orchestrate("start --commit HEAD");
    assert!(
        seen.code == 0 && seen.stderr.contains("`libs/a sub` is empty: it was never fetched here"),
        "{seen}"
    );
    assert_eq!(printed(&repo), "");
}

#[test]
fn a_stream_has_submodules_of_its_own_which_it_keeps_and_lands() {
    let repo = project(LOOK);
    assert_eq!(repo.orchestrate("stream new a b").code, 0);
    let (there, sub) = (folder(&repo, "a"), folder(&repo, "a").join(SUB));
    assert_eq!(fs::read_to_string(sub.join("nest/deep")).expect("a file"), "one\n");
    assert_eq!(git_in(&repo, &there, &["status", "--porcelain"]), "");
    assert_eq!(git_in(&repo, &there, &["submodule", "status", "--recursive"]).lines().count(), 2);
    assert!(git_in(&repo, &sub, &["config", "remote.origin.url"]).ends_with("/home/sub"));
    assert!(
        git_in(&repo, &sub, &["for-each-ref", "--format=%(refname)"]).starts_with("refs/remotes/origin/")
    );
    // Its objects are its own.
    assert!(!there.join(".git").is_dir());
    let module = git_in(&repo, &sub, &["rev-parse", "--absolute-git-dir"]);
    assert!(!Path::new(&module).join("objects/info/alternates").exists(), "{module}");
    assert_eq!(repo.orchestrate("stream rm b").code, 0, "nothing is lost with it");
    // Work in it is work.
    fs::write(sub.join("sub"), "two\n").expect("a file");
    let seen = repo.orchestrate("stream rm a");
    assert!(seen.code == 3 && seen.stderr.contains("something in `libs/a sub` is not committed"), "{seen}");
    assert_eq!(repo.orchestrate("stream land a").code, 3);
    commit(&repo, &sub, "sub", "two\n");
    git_in(&repo, &there, &["commit", "--quiet", "--all", "--message", "two"]);
    let seen = repo.orchestrate("stream rm a");
    assert!(
        seen.code == 3 && seen.stderr.contains("1 commit of the submodule `libs/a sub` at no remote"),
        "{seen}"
    );
    // What only this stream has is found where it lands.
    let seen = repo.orchestrate("stream land a");
    assert_eq!(seen.code, 0, "{seen}");
    let run = repo.runs("0101-a").pop().expect("a run");
    assert_eq!(manifest(&run)["status"], "succeeded");
    let said = repo.orchestrate(&format!("logs {} test", crate::fixture::id(&run))).stdout;
    assert_eq!(said, "two\none\n \n \n");
    // It is merged, and the submodule is still at no remote.
    let seen = repo.orchestrate("stream rm a");
    assert!(seen.code == 3 && seen.stderr.contains("at no remote"), "{seen}");
    assert_eq!(repo.orchestrate("stream rm --force a").code, 0);
    assert_eq!(repo.orchestrate("stream undo a").code, 0);
    assert_eq!(git_in(&repo, &there, &["status", "--porcelain"]), "");
    assert_eq!(git_in(&repo, &sub, &["log", "-1", "--format=%s"]), "two");
}

#[test]
fn work_in_a_submodule_is_seen_without_a_commit_checked_out_and_where_nobody_can_look() {
    let repo = project(LOOK);
    assert_eq!(repo.orchestrate("stream new a b").code, 0);
    let sub = folder(&repo, "a").join(SUB);
    git_in(&repo, &sub, &["switch", "--quiet", "--create", "mine"]);
    commit(&repo, &sub, "sub", "two\n");
    git_in(&repo, &sub, &["switch", "--quiet", "--orphan", "fresh"]);
    let seen = repo.orchestrate("stream rm a");
    assert!(
        seen.code == 3 && seen.stderr.contains("1 commit of the submodule `libs/a sub` at no remote"),
        "{seen}"
    );
    let sub = folder(&repo, "b").join(SUB);
    let tip = git_in(&repo, &sub, &["rev-parse", "HEAD"]);
    let module = git_in(&repo, &sub, &["rev-parse", "--absolute-git-dir"]);
    fs::write(Path::new(&module).join("refs/heads/torn"), tip.replace(|_| true, "7")).expect("a file");
    let seen = repo.orchestrate("stream rm b");
    assert!(
        seen.code == 3 && seen.stderr.contains("nobody can tell what is in the submodule `libs/a sub`"),
        "{seen}"
    );
    assert_eq!(repo.orchestrate("stream rm --force a b").code, 0);
}
