//! Streams beside what git does itself: `cargo bench --bench streams [-- new|list]`.
//!
//! `new` makes eight streams at once, and git, or worktrunk if `wt` is on the `PATH`, as many worktrees one after the
//! other. `list` shows 32 of them, and git the status of one. The repository is a clone of `BENCH_REPO`, else of `medium` in
//! `STREAMS_BENCH_REPOS` or `HOOKS_BENCH_REPOS`, or one of 5,000 small files. `BENCH_ROUNDS` says how often both sides run,
//! `BENCH_STREAMS` how many there are instead of 8 and 32.
//!
//! Each round runs both sides, in alternating order, and the figure to quote is the median of the rounds' ratios, so that a
//! machine which slows down slows both. Taking away what a round made is not timed.
#![allow(clippy::disallowed_methods, reason = "a program of its own")]

#[expect(dead_code, reason = "the peak of memory is of no interest here")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use support::{Side, pair};

const PROGRAM: &str = env!("CARGO_BIN_EXE_git-orchestrate");

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let wanted = |name: &str| args.is_empty() || args.iter().any(|arg| arg == name);
    if wanted("new") {
        new(number("BENCH_ROUNDS", 7), number("BENCH_STREAMS", 8));
    }
    if wanted("list") {
        list(number("BENCH_ROUNDS", 40), number("BENCH_STREAMS", 32));
    }
}

fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().expect(variable))
}

fn new(rounds: usize, count: usize) {
    let repo = Repo::make();
    let names: Vec<String> = (1..=count).map(|at| format!("s{at}")).collect();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let ours = Making {
        name: format!("stream new, {count} at once"),
        repo: &repo,
        names: &names,
        commands: vec![(PROGRAM.into(), [words(&["stream", "new"]), names.clone()].concat())],
    };
    let of_git = |name: &String| {
        let path = repo.folder(name).display().to_string();
        ("git".into(), words(&["worktree", "add", "--quiet", "-b", name, &path]))
    };
    let git = Making {
        name: format!("git worktree add, {count} in a row"),
        repo: &repo,
        names: &names,
        commands: names.iter().map(of_git).collect(),
    };
    pair(rounds, &ours, &git, "at most 1.2");
    match find("wt") {
        None => println!("(worktrunk is not on the PATH: left out)"),
        Some(wt) => {
            let commands = names.iter().map(|name| (wt.clone(), words(&["switch", "--create", name])));
            let commands = commands.collect();
            let name = format!("wt switch --create, {count} in a row");
            pair(rounds, &ours, &Making { name, repo: &repo, names: &names, commands }, "below 1");
        }
    }
}

fn list(rounds: usize, count: usize) {
    let repo = Repo::make();
    let mut words = vec!["stream".to_owned(), "new".to_owned()];
    words.extend((1..=count).map(|at| format!("s{at}")));
    repo.run(PROGRAM.as_ref(), &words);
    let asking = |name: String, program: &str, words: &[&str]| Asking {
        name,
        repo: &repo,
        program: program.into(),
        words: words.iter().map(|word| (*word).to_owned()).collect(),
    };
    let ours = asking(format!("stream list, {count} streams"), PROGRAM, &["stream", "list"]);
    pair(rounds, &ours, &asking("git status".to_owned(), "git", &["status"]), "at most 2");
}

struct Repo {
    dir: tempfile::TempDir,
}

impl Repo {
    fn make() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let repo = Self { dir };
        let of = |variable| Some(PathBuf::from(std::env::var_os(variable)?).join("medium"));
        let from = std::env::var_os("BENCH_REPO").map(PathBuf::from);
        match from.or_else(|| of("STREAMS_BENCH_REPOS")).or_else(|| of("HOOKS_BENCH_REPOS")) {
            Some(from) => {
                let words = ["clone", "--quiet", "--shared", "--no-tags"];
                let status = Command::new("git").args(words).arg(&from).arg(repo.root()).status();
                assert!(status.expect("git starts").success(), "{} was not cloned", from.display());
            }
            None => {
                fs::create_dir(repo.root()).expect("a folder");
                repo.git(&["init", "--quiet", "--initial-branch=main", "."]);
                for at in 0..5_000 {
                    let folder = repo.root().join(format!("d{}", at / 100));
                    fs::create_dir_all(&folder).expect("a folder");
                    fs::write(folder.join(format!("f{at}")), format!("{at}\n")).expect("a file");
                }
                repo.git(&["add", "--all"]);
                let who = ["-c", "user.name=b", "-c", "user.email=b@example.com"];
                repo.git(&[&who[..], &["commit", "--quiet", "--message", "files"]].concat());
            }
        }
        repo
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    /// Returns where the worktree of a name is, whoever makes it.
    fn folder(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("repo.{name}"))
    }

    fn run(&self, program: &Path, words: &[String]) {
        let mut command = Command::new(program);
        command.args(words).current_dir(self.root()).stdin(Stdio::null()).stdout(Stdio::null());
        let output = command.stderr(Stdio::piped()).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {words:?}: {said}", program.display());
    }

    fn git(&self, words: &[&str]) {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        self.run("git".as_ref(), &words);
    }

    /// Takes worktrees away, and all that is known of them.
    fn forget(&self, names: &[String]) {
        for name in names {
            fs::remove_dir_all(self.folder(name)).expect("a worktree");
        }
        let known = self.root().join(".git/orchestrate/streams");
        if known.exists() {
            fs::remove_dir_all(known).expect("a folder of ours");
        }
        self.git(&["worktree", "prune", "--expire", "now"]);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.git(&[&["branch", "--quiet", "-D"], &names[..]].concat());
    }
}

/// Makes worktrees by commands that run one after the other.
struct Making<'a> {
    name: String,
    repo: &'a Repo,
    names: &'a [String],
    commands: Vec<(PathBuf, Vec<String>)>,
}

impl Side for Making<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn time(&self) -> f64 {
        // What the last round left to be written is not for this one to wait for.
        rustix::fs::sync();
        let begin = Instant::now();
        self.commands.iter().for_each(|(program, words)| self.repo.run(program, words));
        let took = begin.elapsed().as_secs_f64() * 1000.0;
        self.repo.forget(self.names);
        took
    }
}

/// Asks something that changes nothing.
struct Asking<'a> {
    name: String,
    repo: &'a Repo,
    program: PathBuf,
    words: Vec<String>,
}

impl Side for Asking<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn time(&self) -> f64 {
        let begin = Instant::now();
        self.repo.run(&self.program, &self.words);
        begin.elapsed().as_secs_f64() * 1000.0
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
