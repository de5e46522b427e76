//! Runs in every layout that a repository can have, and the git keys that they record.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::fixture::Fixture;

impl Fixture {
    /// Runs git in a folder.
    fn git_in(&self, dir: &Path, words: &str) -> String {
        self.git(&[&["-C", dir.to_str().expect("UTF-8")], &words.split(' ').collect::<Vec<_>>()[..]].concat())
    }
}

/// A repository without files that `git init` made with these words, filled and committed.
fn made_by(init: &str) -> Fixture {
    let repo = Fixture::new("passing");
    let config = repo.read("codex.orchestrator.json");
    fs::remove_dir_all(repo.root()).unwrap();
    fs::create_dir(repo.root()).unwrap();
    repo.git_in(repo.root(), &format!("init --quiet --initial-branch=main {init}"));
    repo.write("codex.orchestrator.json", &config);
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "one"]);
    repo
}

/// Starts a run in a folder, looks at it from there, and returns what it recorded of git.
fn keys_of_a_run(repo: &Fixture, dir: &Path) -> Value {
    let seen = repo.orchestrate_in(dir, "start --format json");
    assert_eq!(seen.code, 0, "{}: {seen}", dir.display());
    let status = repo.orchestrate_in(dir, "status --format json").json();
    assert_eq!(status["run_id"], seen.json()["run_id"]);
    assert_eq!((&status["status"], &status["void"]), (&json!("succeeded"), &json!(false)));
    let keys = status["git"].clone();
    assert_eq!(keys["moved"], false, "{keys}");
    assert_eq!(keys["tree_at_end"], keys["tree"]);
    assert_eq!(keys["object_format"], repo.git_in(dir, "rev-parse --show-object-format"));
    let version = repo.git_in(dir, "--version");
    assert!(version.contains(keys["git_version"].as_str().unwrap()), "{keys}");
    if keys["head"] != "unborn" {
        assert_eq!(keys["commit"], repo.git_in(dir, "rev-parse HEAD"));
    }
    if keys["head"] != "detached" {
        assert_eq!(keys["branch"], repo.git_in(dir, "symbolic-ref HEAD"));
    }
    if keys["dirty"] == false {
        assert_eq!(keys["tree"], repo.git_in(dir, "rev-parse HEAD^{tree}"));
    }
    assert_eq!(repo.git_in(dir, "status --porcelain"), if keys["dirty"] == true { "?? new" } else { "" });
    keys
}

fn linked_to(keys: &Value, path: &str, name: &str) {
    assert_eq!(keys["worktree"], json!({"path": path, "name": name, "linked": true}));
}

fn is_main(keys: &Value) {
    assert_eq!(keys["worktree"], json!({"path": ".", "name": null, "linked": false}));
}

#[test]
fn the_main_worktree_and_its_subfolders() {
    let repo = Fixture::new("passing");
    fs::create_dir(repo.path("sub")).unwrap();

    for dir in [repo.root().to_owned(), repo.path("sub")] {
        let keys = keys_of_a_run(&repo, &dir);
        is_main(&keys);
        assert_eq!((&keys["head"], &keys["dirty"]), (&json!("branch"), &json!(false)));
        assert_eq!((&keys["shallow"], &keys["sparse"]), (&json!(false), &json!(false)));
    }
    assert_eq!(repo.runs("0101").len(), 2);
}

#[test]
fn a_linked_worktree_has_its_own_runs() {
    let repo = Fixture::new("passing");
    let linked = repo.beside("feature");
    repo.git(&["worktree", "add", "--quiet", "-b", "topic", linked.to_str().unwrap()]);

    let keys = keys_of_a_run(&repo, &linked);

    linked_to(&keys, "../home/feature", "feature");
    assert_eq!(keys["branch"], "refs/heads/topic");
    assert!(linked.join(".runs").is_dir() && !repo.path(".runs").exists());
}

#[test]
fn a_bare_repository_with_worktrees() {
    let repo = Fixture::new("passing");
    let bare = repo.beside("project/.bare");
    fs::create_dir(repo.beside("project")).unwrap();
    repo.git(&["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
    let top = repo.beside("project/main");
    repo.git_in(&bare, &format!("worktree add --quiet {} main", top.display()));

    linked_to(&keys_of_a_run(&repo, &top), "../main", "main");

    let seen = repo.orchestrate_in(&bare, "start");
    assert_eq!(seen.code, 2, "{seen}");
    assert!(
        seen.stderr.contains("bare repository") && seen.stderr.contains("hint: go to one of its worktrees"),
        "{seen}"
    );
}

#[test]
fn a_submodule_is_a_repository_of_its_own() {
    let repo = Fixture::new("passing");
    let origin = repo.beside("origin");
    repo.git(&["clone", "--quiet", ".", origin.to_str().unwrap()]);
    repo.git(&[
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        origin.to_str().unwrap(),
        "lib",
    ]);
    repo.git(&["commit", "--quiet", "--message", "a library"]);

    is_main(&keys_of_a_run(&repo, &repo.path("lib")));
    assert!(repo.path("lib/.runs").is_dir());
    let keys = keys_of_a_run(&repo, repo.root());
    is_main(&keys);
    assert!(keys.get("dirty_submodules").is_none(), "{keys}");
}

#[test]
fn a_detached_head_and_an_unborn_branch() {
    let repo = Fixture::new("passing");
    repo.git(&["checkout", "--quiet", "--detach"]);
    let keys = keys_of_a_run(&repo, repo.root());
    assert_eq!((&keys["head"], &keys["branch"]), (&json!("detached"), &Value::Null));
    assert!(repo.orchestrate("status").stdout.contains(" (detached), clean\n"));

    let repo = Fixture::new("passing");
    repo.git(&["checkout", "--quiet", "--orphan", "fresh"]);
    let seen = repo.orchestrate("start --format json");
    assert_eq!(seen.code, 0, "{seen}");
    let keys = repo.only_manifest("0101")["git"].clone();
    assert_eq!((&keys["head"], &keys["commit"]), (&json!("unborn"), &Value::Null));
    assert_eq!((&keys["branch"], &keys["dirty"]), (&json!("refs/heads/fresh"), &json!(true)));
    assert_eq!(keys["tree"], repo.git(&["write-tree"]));
    assert!(repo.orchestrate("status").stdout.contains("Commit: no commit yet on fresh, dirty\n"));
}

#[test]
fn a_shallow_clone_and_a_sparse_checkout() {
    let repo = Fixture::new("passing");
    repo.git(&["commit", "--quiet", "--allow-empty", "--message", "two"]);
    let shallow = repo.beside("shallow");
    repo.git(&[
        "clone",
        "--quiet",
        "--depth=1",
        &format!("file://{}", repo.root().display()),
        shallow.to_str().unwrap(),
    ]);
    assert_eq!(keys_of_a_run(&repo, &shallow)["shallow"], true);

    for set in ["set dir", "set --sparse-index dir", "set --no-cone /codex.orchestrator.json /dir/"] {
        let repo = Fixture::new("passing");
        repo.write("dir/in", "");
        repo.write("other/out", "");
        repo.git(&["add", "--all"]);
        repo.git(&["commit", "--quiet", "--message", "two"]);
        repo.git_in(repo.root(), &format!("sparse-checkout {set}"));
        assert!(!repo.path("other").exists());
        let keys = keys_of_a_run(&repo, repo.root());
        assert_eq!((&keys["sparse"], &keys["dirty"]), (&json!(true), &json!(false)), "{set}");
    }
}

#[test]
fn a_repository_with_sha_256() {
    let repo = made_by("--object-format=sha256");

    let keys = keys_of_a_run(&repo, repo.root());

    assert_eq!(keys["object_format"], "sha256");
    assert_eq!(keys["tree"].as_str().unwrap().len(), 64);
}

#[test]
fn a_repository_with_a_reftable() {
    let probe = Fixture::new("passing");
    let init = probe.see(probe.command("git").args(["init", "--ref-format=reftable", "../home/probe"]));
    if init.code != 0 {
        eprintln!("skipped: this git knows no reftable");
        return;
    }
    let repo = made_by("--ref-format=reftable");
    is_main(&keys_of_a_run(&repo, repo.root()));
    repo.write("new", "");
    assert_eq!(keys_of_a_run(&repo, repo.root())["dirty"], true);
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", linked.to_str().unwrap()]);
    linked_to(&keys_of_a_run(&repo, &linked), "../home/linked", "linked");
}

#[test]
fn worktrees_with_configurations_of_their_own() {
    let repo = Fixture::new("passing");
    repo.git(&["config", "extensions.worktreeConfig", "true"]);
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", linked.to_str().unwrap()]);
    repo.git_in(&linked, "config --worktree core.fileMode false");

    is_main(&keys_of_a_run(&repo, repo.root()));
    linked_to(&keys_of_a_run(&repo, &linked), "../home/linked", "linked");
}

#[test]
fn a_git_directory_somewhere_else() {
    let repo = Fixture::new("passing");
    let elsewhere = repo.beside("elsewhere.git");
    repo.git(&["init", "--quiet", "--separate-git-dir", elsewhere.to_str().unwrap()]);

    is_main(&keys_of_a_run(&repo, repo.root()));
}

#[test]
fn outside_of_a_repository_nothing_happens() {
    let repo = Fixture::new("passing");
    let dir = repo.beside("plain");
    fs::create_dir(&dir).unwrap();

    for words in ["start", "plan", "status", "list", "logs", "resume latest"] {
        let seen = repo.orchestrate_in(&dir, words);
        assert_eq!(seen.code, 2, "{words}: {seen}");
        assert!(
            seen.stderr.contains("plain` is not in a git repository\nhint: go to a git repository"),
            "{words}: {seen}"
        );
    }
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn a_repository_of_another_user_is_refused() {
    let repo = Fixture::with_commands(&["touch ran"]);
    let everything =
        || walkdir::WalkDir::new(repo.root()).into_iter().map(|entry| entry.unwrap().into_path());
    let owner = fs::metadata(repo.root()).unwrap().uid();
    if owner != 0 {
        eprintln!("skipped: only root can give a repository away");
        return;
    }
    everything().for_each(|path| std::os::unix::fs::lchown(path, Some(4242), Some(4242)).unwrap());

    let seen = repo.orchestrate("start");

    assert_eq!(seen.code, 3, "{seen}");
    assert!(
        seen.stderr.contains("belongs to another user") && seen.stderr.contains("safe.directory"),
        "{seen}"
    );
    assert!(!repo.path(".runs").exists() && !repo.path("ran").exists());
}

#[test]
fn the_variables_of_a_hook_do_not_reach_the_stages() {
    let repo = Fixture::with_commands(&["env | grep ^GIT_ | sort; git rev-parse --show-toplevel"]);
    let index = repo.path(".git/index");

    let seen = repo.see(
        repo.program()
            .env("GIT_DIR", repo.path(".git"))
            .env("GIT_INDEX_FILE", &index)
            .env("GIT_WORK_TREE", repo.root())
            .env("GIT_PREFIX", "")
            .env("GIT_OBJECT_DIRECTORY", repo.path(".git/objects"))
            .env("GIT_QUARANTINE_PATH", "/nowhere")
            .arg("start"),
    );

    assert_eq!(seen.code, 0, "{seen}");
    let log = repo.orchestrate("logs").stdout;
    for name in ["GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY"] {
        assert!(!log.contains(&format!("{name}=")), "{log}");
    }
    // What is about people and not about a repository stays.
    assert!(
        log.contains("GIT_AUTHOR_NAME=A U Thor\n") && log.ends_with(&format!("{}\n", repo.root().display())),
        "{log}"
    );
}

#[test]
fn a_run_in_another_repository_s_hook_is_about_its_own() {
    let other = Fixture::new("failing-lint");
    let repo = Fixture::new("passing");

    let seen = repo.see(repo.program().env("GIT_INDEX_FILE", other.path(".git/index")).arg("start"));

    assert_eq!(seen.code, 0, "{seen}");
    let keys = repo.only_manifest("0101")["git"].clone();
    assert_eq!(
        (&keys["tree"], &keys["dirty"]),
        (&json!(repo.git(&["rev-parse", "HEAD^{tree}"])), &json!(false))
    );
}

#[test]
fn a_tree_that_moves_makes_the_run_void() {
    let repo = Fixture::with_commands(&["echo new > new", "true"]);

    let seen = repo.orchestrate("start");

    assert_seen!(seen, @"
    Diagnostics · [RUN] · [COMMIT] on main, clean
          ok  s1  [SPAN]
          ok  s2  [SPAN]
        note  The tree moved while the run went on: this run proves nothing.
    Run finished: [RUN]
    Status: succeeded (void: the tree moved while it ran)
    Manifest: .runs/0101/cli/[RUN]/manifest.json
    Log: .runs/0101/cli/[RUN]/runner.ndjson
    [exit: 0]
    ");
    let manifest = repo.only_manifest("0101");
    assert_eq!(manifest["git"]["moved"], true);
    assert_ne!(manifest["git"]["tree_at_end"], manifest["git"]["tree"]);
    assert!(manifest["summary"].as_str().unwrap().contains("The tree moved while the run went on"));
    assert!(repo.orchestrate("status").stdout.contains("Status: succeeded void\n"));
}

#[test]
fn what_is_ignored_or_committed_moves_nothing() {
    let cases = [
        "echo x > ignored.o",
        "git commit --quiet --allow-empty --message empty",
        "touch codex.orchestrator.json",
    ];
    for command in cases {
        let repo = Fixture::with_commands(&[command]);
        repo.write(".git/info/exclude", "*.o\n");

        let seen = repo.orchestrate("start --format json");

        assert_eq!((seen.code, &seen.json()["void"]), (0, &json!(false)), "{command}: {seen}");
    }
}

#[test]
fn what_is_not_committed_is_in_the_tree() {
    let changes = [
        ("untracked", "echo new > new"),
        ("changed", "echo changed > file"),
        ("staged", "echo staged > file; git add file"),
        ("deleted", "rm file"),
    ];
    for (name, change) in changes {
        let repo = Fixture::new("passing");
        repo.write("file", "file\n");
        repo.git(&["add", "file"]);
        repo.git(&["commit", "--quiet", "--message", "a file"]);
        assert_eq!(repo.see(repo.command("/bin/sh").args(["-c", change])).code, 0);
        let index = fs::read(repo.path(".git/index")).unwrap();

        assert_eq!(repo.orchestrate("start").code, 0);

        assert_eq!(fs::read(repo.path(".git/index")).unwrap(), index, "{name}: the index is the user's");
        let keys = repo.only_manifest("0101")["git"].clone();
        assert_eq!(keys["dirty"], true, "{name}");
        repo.git(&["add", "--all"]);
        assert_eq!(keys["tree"], repo.git(&["write-tree"]), "{name}");
    }
}

#[test]
fn a_worktree_that_moved_takes_its_runs_along() {
    let repo = Fixture::new("passing");
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", linked.to_str().unwrap()]);
    let id =
        repo.orchestrate_in(&linked, "start --format json").json()["run_id"].as_str().unwrap().to_owned();
    let moved: PathBuf = repo.beside("moved");
    repo.git(&["worktree", "move", linked.to_str().unwrap(), moved.to_str().unwrap()]);

    let status = repo.orchestrate(&format!("status --format json {id}")).json();

    assert_eq!((&status["run_id"], &status["root"]), (&json!(id), &json!(moved)));
}

#[test]
fn where_git_cannot_be_told_to_hide_our_files_the_tree_is_still_the_user_s() {
    let repo = Fixture::new("passing");
    fs::remove_dir_all(repo.path(".git/info")).unwrap();
    repo.write(".git/info", "in the way");

    for _ in 0..2 {
        let seen = repo.orchestrate("start --format json");

        assert_eq!((seen.code, &seen.json()["void"]), (0, &json!(false)), "{seen}");
        assert!(
            seen.stderr.contains("warning: ") && seen.stderr.contains("git will show `.runs` as untracked"),
            "{seen}"
        );
        let status = repo.orchestrate("status --format json").json();
        assert_eq!(status["git"]["tree"], repo.git(&["rev-parse", "HEAD^{tree}"]));
    }
}

#[test]
fn a_repository_that_only_the_environment_names_has_commits_too() {
    let repo = Fixture::with_commands(&["true"]);
    let git_dir = repo.beside("elsewhere.git");
    std::fs::rename(repo.path(".git"), &git_dir).expect("moved");
    let request = |words: &str| {
        let mut program = repo.program();
        program.args(words.split(' ')).env("GIT_DIR", &git_dir).env("GIT_WORK_TREE", repo.root());
        repo.see(&mut program)
    };
    assert_eq!(request("start").code, 0);
    let seen = request("list --commit HEAD --format json");
    assert_eq!((seen.code, seen.json()["runs"].as_array().map(Vec::len)), (0, Some(1)), "{seen}");
    for words in [
        "explain --rev HEAD",
        "evidence show HEAD",
        "start --commit HEAD",
        "start --each HEAD",
        "gc --dry-run --keep 1",
    ] {
        let seen = request(words);
        assert_eq!(seen.code, 0, "{words}: {seen}");
    }
}
