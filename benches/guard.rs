//! The diff budget against git itself: `cargo bench --bench guard [-- SCENARIO…]`.
//!
//! The repositories are made by a script, `GUARD_BENCH_MKREPO=path/to/mkrepo.sh`, which is called with
//! a folder and `medium` or `large`; or they are there already, as `medium` and `large` in
//! `GUARD_BENCH_REPOS=folder`. Each has `origin/main` at HEAD. A repository that is there is changed and
//! put back.
//!
//! Every comparison is paired: each round runs both sides, in alternating order, and the figure to
//! quote is the median of the rounds' ratios, so that a machine which slows down slows both.
#![allow(clippy::disallowed_methods, reason = "a program of its own")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use support::{pair, peak_memory};

const PROGRAM: &str = env!("CARGO_BIN_EXE_git-orchestrate");

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let scenarios: [(&str, fn()); 4] =
        [("medium", medium), ("large", large), ("range", range), ("memory", memory)];
    for (name, scenario) in scenarios {
        if args.is_empty() || args.iter().any(|arg| arg == name) {
            scenario();
        }
    }
}

// ── scenarios ────────────────────────────────────────────────────────────────────────────────

fn medium() {
    work_trees("medium");
}

fn large() {
    work_trees("large");
}

fn work_trees(name: &str) {
    let Some(repo) = Repo::named(name) else { return };
    for (changed, rounds, goal) in
        [(10, 30, "at most 0.5"), (1_000, 15, "at most 1"), (10_000, 7, "at most 1")]
    {
        let change = repo.change(changed);
        let guard = repo.guard(&format!("{name}, {changed} changed files"), &["--base", "origin/main"]);
        let git = Side::new(
            "git diff --numstat; git ls-files --others",
            vec![
                repo.command("git", &["diff", "--numstat", "origin/main"]),
                repo.command("git", &["ls-files", "--others", "--exclude-standard"]),
            ],
        );
        pair(rounds, &guard, &git, goal);
        drop(change);
    }
}

/// Three files in one commit, as a hook sees them when they are pushed.
fn range() {
    let Some(repo) = Repo::named("large") else { return };
    let tree = repo.tree_with_three_edits();
    let commit = repo.git(&["commit-tree", "-p", "HEAD", "-m", "three files", &tree]);
    let words = format!("origin/main..{commit}");
    let guard = repo.guard("large, a pushed range of 3 files", &["--range", &words]);
    let peer = repo.command("git", &["diff-tree", "--numstat", "-r", "origin/main", &commit]);
    pair(60, &guard, &Side::new("git diff-tree --numstat", vec![peer]), "at most 1");
}

/// The peak of memory does not follow the size of what changed.
fn memory() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let repo = Repo { root: dir.path().to_owned() };
    repo.git(&["init", "--quiet", "."]);
    let line = "one line of a file that is far too large for a review\n";
    let text = |lines: usize| line.repeat(lines);
    fs::write(repo.root.join("text"), text(5_500_000)).expect("a file");
    repo.git(&["add", "--all"]);
    repo.git(&[
        "-c",
        "user.name=b",
        "-c",
        "user.email=b@example.com",
        "commit",
        "--quiet",
        "--message",
        "a file",
    ]);
    let still = repo.guard("", &["--base", "HEAD"]).peak_memory();
    fs::write(repo.root.join("text"), format!("{}changed\n{}", text(2_750_000), text(2_750_000)))
        .expect("a file");
    let compared = repo.guard("", &["--base", "HEAD"]).peak_memory();
    println!("peak memory, 300 MB of text with one line more: {} KiB above {still} KiB", compared - still);
    let git = Side::new("", vec![repo.command("git", &["diff", "--numstat", "HEAD"])]).peak_memory();
    println!("peak memory, `git diff --numstat` of the same: {git} KiB");
    // Of its own, so that nothing has to be compared by content.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let repo = Repo { root: dir.path().to_owned() };
    repo.git(&["init", "--quiet", "."]);
    let still = repo.guard("", &[]).peak_memory();
    fs::write(repo.root.join("text"), text(5_500_000)).expect("a file");
    let untracked = repo.guard("", &[]).peak_memory();
    println!(
        "peak memory, 300 MB of untracked text: {} KiB above {still} KiB (goal: does not grow with it)",
        untracked - still
    );
    let sparse = fs::File::create(repo.root.join("sparse")).expect("a file");
    sparse.set_len(2 << 30).expect("a long file");
    let untracked = repo.guard("", &[]).peak_memory();
    println!(
        "peak memory, an untracked file of 2 GiB: {} KiB above {still} KiB (goal: does not grow with it)",
        untracked - still
    );
}

// ── repositories ─────────────────────────────────────────────────────────────────────────────

struct Repo {
    root: PathBuf,
}

impl Repo {
    /// Finds or makes the repository of that name; nothing, with a word, if nobody says how.
    fn named(name: &str) -> Option<Self> {
        if let Some(folder) = std::env::var_os("GUARD_BENCH_REPOS") {
            let root = PathBuf::from(folder).join(name);
            assert!(root.join(".git").exists(), "{} is no repository", root.display());
            return Some(Self { root });
        }
        let Some(script) = std::env::var_os("GUARD_BENCH_MKREPO") else {
            println!("(neither GUARD_BENCH_REPOS nor GUARD_BENCH_MKREPO is set: {name} is left out)");
            return None;
        };
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("guard-{name}"));
        if !root.join(".git").exists() {
            let status = Command::new(script).arg(&root).arg(name).stdout(Stdio::null()).status();
            assert!(status.expect("the script starts").success(), "{name} was not made");
        }
        Some(Self { root })
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(&self.root);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn git(&self, args: &[&str]) -> String {
        let output = self.command("git", args).stdout(Stdio::piped()).output().expect("git starts");
        assert!(output.status.success(), "git {args:?}");
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    }

    /// Returns the diff budget with limits that let everything pass.
    fn guard(&self, name: &str, args: &[&str]) -> Side {
        let mut command = self.command(PROGRAM, &["guard", "diff-budget"]);
        command.args(["--max-files", "1e9", "--max-lines", "1e12"]).args(args);
        Side::new(name, vec![command])
    }

    /// Edits four of five of so many files, which are spread over the repository, and adds the fifth.
    fn change(&self, count: usize) -> Change<'_> {
        let (edited, new) = (count - count / 5, count / 5);
        let listed = self.git(&["ls-files", "--stage", "-z"]);
        let texts = listed.split('\0').filter(|line| {
            line.starts_with("100644") && !line.ends_with(".gitignore") && !line.ends_with(".json")
        });
        let files: Vec<&str> = texts.filter_map(|line| Some(line.split_once('\t')?.1)).collect();
        let step = (files.len() / edited).max(1);
        let files = files.into_iter().step_by(step).take(edited);
        let files: Vec<String> = files.map(str::to_owned).collect();
        for (at, file) in files.iter().enumerate() {
            let path = self.root.join(file);
            let mut bytes = fs::read(&path).expect("a file");
            for _ in 0..1 + at % 5 {
                let middle = bytes.len() / 2;
                let line = bytes[middle..].iter().position(|byte| *byte == b'\n');
                let line = line.map_or(bytes.len(), |found| middle + found + 1);
                bytes.splice(line..line, *b"\t/* an edit */\n");
            }
            fs::write(path, bytes).expect("a file");
        }
        for at in 0..new {
            let folder = self.root.join(NEW).join(format!("d{}", at / 100));
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(folder.join(format!("n{at}.txt")), "a line of a new file\n".repeat(1 + at % 90))
                .expect("a file");
        }
        Change { repo: self, files }
    }

    fn tree_with_three_edits(&self) -> String {
        let listed = self.git(&["ls-tree", "-r", "HEAD"]);
        let texts: Vec<_> = listed.lines().filter(|line| line.starts_with("100644")).collect();
        let index = self.root.join(".git/bench-index");
        let with_index = |args: &[&str]| {
            let mut git = self.command("git", args);
            let output = git.env("GIT_INDEX_FILE", &index).stdout(Stdio::piped()).output();
            String::from_utf8(output.expect("git starts").stdout).expect("text").trim_end().to_owned()
        };
        with_index(&["read-tree", "HEAD"]);
        for line in texts.iter().step_by(texts.len() / 3).take(3) {
            let (about, path) = line.split_once('\t').expect("a path");
            let blob = about.split(' ').nth(2).expect("an id");
            let edited = self.root.join(".git/bench-edited");
            fs::write(&edited, format!("an edit\n{}\n", self.git(&["cat-file", "blob", blob])))
                .expect("a file");
            let id = self.git(&["hash-object", "-w", &edited.display().to_string()]);
            with_index(&["update-index", "--cacheinfo", &format!("100644,{id},{path}")]);
        }
        with_index(&["write-tree"])
    }
}

const NEW: &str = "bench-new";

/// A changed work tree, put back at the end.
struct Change<'a> {
    repo: &'a Repo,
    files: Vec<String>,
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.repo.root.join(NEW));
        for files in self.files.chunks(500) {
            let mut git = self.repo.command("git", &["checkout-index", "--force", "--"]);
            let _ = git.args(files).status();
        }
        let _ = self.repo.command("git", &["update-index", "-q", "--refresh"]).status();
    }
}

// ── timing ───────────────────────────────────────────────────────────────────────────────────

/// One side of a comparison: commands, one after the other.
struct Side {
    name: String,
    commands: std::cell::RefCell<Vec<Command>>,
}

impl Side {
    fn new(name: &str, commands: Vec<Command>) -> Self {
        Self { name: name.to_owned(), commands: commands.into() }
    }

    /// Returns the peak of resident memory in KiB.
    fn peak_memory(&self) -> i64 {
        self.commands.borrow_mut().iter_mut().map(peak_memory).max().unwrap_or(0)
    }
}

impl support::Side for Side {
    fn name(&self) -> &str {
        &self.name
    }

    fn time(&self) -> f64 {
        let begin = Instant::now();
        for command in self.commands.borrow_mut().iter_mut() {
            let status = command.status().expect("the command starts");
            assert!(status.success(), "{}: {status}", self.name);
        }
        begin.elapsed().as_secs_f64() * 1e3
    }
}
