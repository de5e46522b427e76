//! Hooks against the cheapest hook there is: `cargo bench --bench hooks [-- SCENARIO…]`.
//!
//! Each side is a whole `git push --dry-run` to a bare repository beside; only `core.hooksPath` differs. `hook pre-commit`
//! is held against `git write-tree`, and a side worktree that goes to another commit against `git read-tree -m -u` in a
//! linked one. The repositories are made here, or are clones of `small`, `medium` and `large` in `HOOKS_BENCH_REPOS=folder`, or of the one
//! that `BENCH_REPO` names.
//!
//! Every comparison is paired: each round runs both sides, in alternating order, and the figure to
//! quote is the median of the rounds' ratios, so that a machine which slows down slows both.
#![allow(clippy::disallowed_methods, reason = "a program of its own")]

#[expect(dead_code, reason = "the peak of memory is of no interest here")]
mod support;

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use support::pair;

const PROGRAM: &str = env!("CARGO_BIN_EXE_git-orchestrate");

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    for (name, files) in [("small", 200), ("medium", 5_000), ("large", 50_000)] {
        if args.is_empty() || args.iter().any(|arg| arg == name) {
            let repo = Repo::make(name, files);
            repo.pushes(name);
            repo.commits(name);
            repo.repositions(name);
        }
    }
}

struct Repo {
    dir: tempfile::TempDir,
}

impl Repo {
    /// Makes a repository with a gate, a remote that has all but one commit, and the proof of that one.
    fn make(name: &str, files: usize) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let repo = Self { dir };
        let from = std::env::var_os("BENCH_REPO").map(PathBuf::from);
        let from = from.or_else(|| Some(PathBuf::from(std::env::var_os("HOOKS_BENCH_REPOS")?).join(name)));
        match from {
            Some(from) => {
                let words = ["clone", "--quiet", "--shared", "--no-tags"];
                let status = Command::new("git").args(words).arg(from).arg(repo.root()).status();
                assert!(status.expect("git starts").success(), "{name} was not cloned");
                repo.git(&["checkout", "--quiet", "-B", "main"]);
                repo.git(&["remote", "remove", "origin"]);
            }
            None => {
                fs::create_dir(repo.root()).expect("a folder");
                repo.git(&["init", "--quiet", "--initial-branch=main", "."]);
                for at in 0..files {
                    let folder = repo.root().join(format!("d{}", at / 100));
                    fs::create_dir_all(&folder).expect("a folder");
                    fs::write(folder.join(format!("f{at}")), format!("{at}\n")).expect("a file");
                }
            }
        }
        let config = r#"{"pipelines": [{"id": "gate", "stages": [
            {"kind": "command", "id": "build", "command": "true"}, {"kind": "command", "id": "test", "command": "true"}]}],
            "defaultPipeline": "gate",
            "hooks": {"pre-push": {"require": ["build", "test"]}, "pre-commit": {"require": ["build", "test"]}}}"#;
        fs::write(repo.root().join("codex.orchestrator.json"), config).expect("a file");
        repo.git(&["add", "--all"]);
        repo.commit("a gate");
        let remote = repo.dir.path().join("remote.git");
        let words = ["init", "--quiet", "--bare", "--initial-branch=main"];
        assert!(Command::new("git").args(words).arg(&remote).status().expect("git starts").success());
        repo.git(&["remote", "add", "origin", remote.to_str().expect("text")]);
        repo.git(&["push", "--quiet", "origin", "main"]);
        fs::write(repo.root().join("new"), "one file\n").expect("a file");
        repo.git(&["add", "new"]);
        repo.commit("one file");
        let started = repo.command(PROGRAM, &["start"]).status().expect("the program starts");
        assert!(started.success(), "{name} is not proven");
        repo
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    fn pushes(&self, name: &str) {
        let ours = self.hooks("ours", None);
        let exit_0 = self.hooks("exit-0", Some("#!/bin/sh\nexit 0\n"));
        let gate = self.push(&format!("{name}: push --dry-run, one proven ref"), &ours);
        let nothing = self.push("the same with a hook that is `exit 0`", &exit_0);
        pair(60, &gate, &nothing, "at most 2");
    }

    /// What `pre-commit` costs where all is proven, beside what any commit costs.
    fn commits(&self, name: &str) {
        let side =
            |name: &str, command| Push { name: name.to_owned(), command: std::cell::RefCell::new(command) };
        let hook = self.command(PROGRAM, &["hook", "pre-commit"]);
        let hook = side(&format!("{name}: hook pre-commit, all proven"), hook);
        let tree = side("git write-tree", self.command("git", &["write-tree"]));
        pair(60, &hook, &tree, "at most 1.5");
    }

    /// What it takes to bring a side worktree, which another process has left warm, to a commit with ten other files.
    fn repositions(&self, name: &str) {
        let listed =
            self.command("git", &["ls-files", "-z", "-s"]).stdout(Stdio::piped()).output().expect("git");
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let files: Vec<_> = listed
            .split('\0')
            .filter(|line| line.starts_with("100644"))
            .filter_map(|line| line.split('\t').nth(1))
            .collect();
        let mut commits = vec![self.commit_of("HEAD")];
        for file in files.iter().step_by((files.len() / 10).max(1)).take(10) {
            fs::write(self.root().join(file), "another text\n").expect("a file");
        }
        self.git(&["add", "--update"]);
        self.commit("ten files");
        commits.push(self.commit_of("HEAD"));
        let linked = self.dir.path().join("linked");
        self.git(&["worktree", "add", "--quiet", "--detach", linked.to_str().expect("text"), &commits[0].id]);
        let repo = git_orchestrate::git::Repo::discover(&self.root()).expect("a repository");
        let ours = Steps {
            name: format!("{name}: a side worktree, ten files on"),
            commits: &commits,
            at: Cell::new(0),
            go: &|_, to| {
                let mut slot = repo.take_slot(8).expect("a side worktree");
                slot.keep(git_orchestrate::git::Upkeep::Warm);
                slot.reposition(to).expect("a checkout");
            },
        };
        let git = Steps {
            name: "git read-tree -m -u".to_owned(),
            commits: &commits,
            at: Cell::new(0),
            go: &|from, to| {
                let words = ["read-tree", "-m", "-u", &from.tree, &to.tree];
                let status = self.command("git", &words).current_dir(&linked).status().expect("git starts");
                assert!(status.success(), "git {words:?}");
            },
        };
        support::Side::time(&ours);
        ours.at.set(0);
        pair(60, &ours, &git, "at most 2");
    }

    fn commit_of(&self, revision: &str) -> git_orchestrate::git::Commit {
        let repo = git_orchestrate::git::Repo::discover(&self.root()).expect("a repository");
        repo.commit(revision).expect("git answers").expect("a commit")
    }

    /// Makes a folder with a hook: a text, or what `hooks install` puts there.
    fn hooks(&self, name: &str, text: Option<&str>) -> PathBuf {
        let folder = self.dir.path().join(name);
        fs::create_dir(&folder).expect("a folder");
        let path = folder.join("pre-push");
        match text {
            Some(text) => {
                fs::write(&path, text).expect("a hook");
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
            }
            None => {
                self.git(&["config", "core.hooksPath", folder.to_str().expect("text")]);
                let installed = self.command(PROGRAM, &["hooks", "install", "pre-push"]).status();
                assert!(installed.expect("the program starts").success(), "the hook is not installed");
            }
        }
        folder
    }

    fn push(&self, name: &str, hooks: &Path) -> Push {
        let setting = format!("core.hooksPath={}", hooks.display());
        let words = ["-c", &setting, "push", "--quiet", "--dry-run", "origin", "main"];
        Push { name: name.to_owned(), command: self.command("git", &words).into() }
    }

    fn commit(&self, message: &str) {
        let who = ["-c", "user.name=b", "-c", "user.email=b@example.com"];
        self.git(&[&who[..], &["commit", "--quiet", "--message", message]].concat());
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.root());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn git(&self, args: &[&str]) {
        let status = self.command("git", args).status().expect("git starts");
        assert!(status.success(), "git {args:?}");
    }
}

/// Goes to and fro between two commits.
struct Steps<'a> {
    name: String,
    commits: &'a [git_orchestrate::git::Commit],
    at: Cell<usize>,
    go: &'a dyn Fn(&git_orchestrate::git::Commit, &git_orchestrate::git::Commit),
}

impl support::Side for Steps<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn time(&self) -> f64 {
        let at = self.at.replace(1 - self.at.get());
        let begin = Instant::now();
        (self.go)(&self.commits[at], &self.commits[1 - at]);
        begin.elapsed().as_secs_f64() * 1000.0
    }
}

struct Push {
    name: String,
    command: std::cell::RefCell<Command>,
}

impl support::Side for Push {
    fn name(&self) -> &str {
        &self.name
    }

    fn time(&self) -> f64 {
        let begin = Instant::now();
        let status = self.command.borrow_mut().status().expect("git starts");
        let took = begin.elapsed().as_secs_f64() * 1000.0;
        assert!(status.success(), "{}", self.name);
        took
    }
}
