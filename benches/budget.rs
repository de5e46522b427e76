//! Eight streams on one machine under its budget: `cargo bench --bench budget [-- SCENARIO…]`.
//!
//! `cpu`: each stream starts a run of its own with a stage that computes for two seconds, all at once. The ideal is as
//! many of these commands at a time as there are cores, without us; both sides take turns, and the figure to quote is the
//! median of the rounds' ratios.
//! `memory`: the same with a stage that declares 40 % of the machine's memory and uses most of that. Nothing may be killed
//! for want of memory, and the ideal is as many at a time as fit.
//! `one`: what the budget adds to a run of one `true` stage, which `--no-budget` leaves out.
//!
//! `BENCH_SECONDS` (2), `BENCH_ROUNDS` (3) and `BENCH_STREAMS` (8) make it smaller.
#![allow(clippy::disallowed_methods, reason = "a program of its own")]

#[expect(dead_code, reason = "the peak of memory of one process is of no interest here")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::{Side, pair};

const PROGRAM: &str = env!("CARGO_BIN_EXE_git-orchestrate");

/// How much of the memory a stage declares, and how much of it it uses, in percent.
const DECLARED: u64 = 40;
const USED: u64 = 35;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["spin", rounds] => spin(rounds.parse().expect("a number")),
        ["fill", bytes, rounds] => {
            let filled = fill(bytes.parse().expect("a number"));
            spin(rounds.parse().expect("a number"));
            assert!(filled.iter().step_by(4096).all(|byte| *byte == 1));
        }
        wanted => {
            let scenarios: [(&str, fn()); 3] = [("one", one), ("cpu", cpu), ("memory", memory)];
            for (name, scenario) in scenarios {
                if wanted.is_empty() || wanted.contains(&name) {
                    scenario();
                }
            }
        }
    }
}

// ── scenarios ────────────────────────────────────────────────────────────────────────────────

fn one() {
    let streams = Streams::new(1, "true", None);
    let side =
        |name: &str, args: &'static [&'static str]| One { name: name.to_owned(), streams: &streams, args };
    let with = side("start, one `true` stage", &["start"]);
    let without = side("start --no-budget", &["start", "--no-budget"]);
    pair(40 * number("BENCH_ROUNDS", 3), &with, &without, "next to nothing");
}

fn cpu() {
    let command = format!("exec {} spin {}", this(), calibrated());
    let streams = Streams::new(number("BENCH_STREAMS", 8), &command, None);
    let ideal = Ideal { name: "as many at a time as cores".to_owned(), streams: &streams, at_once: cores() };
    let ours = Together { name: "streams under the budget".to_owned(), streams: &streams };
    pair(number("BENCH_ROUNDS", 3), &ours, &ideal, "at most 1.15");
}

fn memory() {
    let total = total_memory();
    let bytes = |percent: u64| total / 100 * percent;
    let command = format!("exec {} fill {} {}", this(), bytes(USED), calibrated());
    let streams = Streams::new(number("BENCH_STREAMS", 8), &command, Some(bytes(DECLARED)));
    let fit = usize::try_from(100 / DECLARED).expect("a small number").min(cores());
    let ideal = Ideal { name: format!("{fit} at a time"), streams: &streams, at_once: fit };
    let ours = Together { name: format!("streams with {DECLARED} % of memory each"), streams: &streams };
    // A run that was killed for want of memory has failed, and that ends the bench.
    pair(number("BENCH_ROUNDS", 3), &ours, &ideal, "at most 1.15, and nothing is killed");
}

// ── sides ────────────────────────────────────────────────────────────────────────────────────

/// A run in the first stream.
struct One<'s> {
    name: String,
    streams: &'s Streams,
    args: &'static [&'static str],
}

/// A run in each stream, all at once.
struct Together<'s> {
    name: String,
    streams: &'s Streams,
}

/// The commands of the streams without us, so many at a time.
struct Ideal<'s> {
    name: String,
    streams: &'s Streams,
    at_once: usize,
}

impl Side for One<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn time(&self) -> f64 {
        let begin = Instant::now();
        ended(self.streams.start(&self.streams.folders[0], self.args));
        begin.elapsed().as_secs_f64() * 1000.0
    }
}

impl Side for Together<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn time(&self) -> f64 {
        let begin = Instant::now();
        let runs: Vec<_> =
            self.streams.folders.iter().map(|folder| self.streams.start(folder, &["start"])).collect();
        runs.into_iter().for_each(ended);
        begin.elapsed().as_secs_f64() * 1000.0
    }
}

impl Side for Ideal<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn time(&self) -> f64 {
        let begin = Instant::now();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.at_once {
                scope.spawn(|| {
                    while let Some(folder) = self.streams.folders.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let mut shell = Command::new("/bin/sh");
                        shell.args(["-c", &self.streams.command]).current_dir(folder);
                        assert!(shell.status().expect("a shell").success());
                    }
                });
            }
        });
        begin.elapsed().as_secs_f64() * 1000.0
    }
}

fn ended(mut run: Child) {
    assert!(run.wait().expect("a child").success(), "a run failed");
}

// ── streams ──────────────────────────────────────────────────────────────────────────────────

/// A repository with streams, and a pipeline of one stage.
struct Streams {
    dir: tempfile::TempDir,
    folders: Vec<PathBuf>,
    command: String,
}

impl Streams {
    fn new(count: usize, command: &str, memory: Option<u64>) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let mut streams = Self { dir, folders: Vec::new(), command: command.to_owned() };
        let root = streams.dir.path().join("repo");
        fs::create_dir(&root).expect("a folder");
        let mut stage = serde_json::json!({"kind": "command", "id": "work", "command": command});
        if let Some(bytes) = memory {
            stage["memoryLimit"] = bytes.into();
        }
        let config = serde_json::json!({"pipelines": [
            {"id": "diagnostics", "guardrailsRequired": false, "stages": [stage]}]});
        fs::write(root.join("codex.orchestrator.json"), config.to_string()).expect("a file");
        fs::write(root.join(".gitignore"), ".runs\nout\n").expect("a file");
        streams.call("git", &root, &["init", "--quiet", "--initial-branch=main", "."]);
        streams.call("git", &root, &["add", "."]);
        streams.call("git", &root, &["commit", "--quiet", "-m", "begin"]);
        let names: Vec<String> = (0..count).map(|at| format!("s{at}")).collect();
        let words: Vec<&str> =
            ["stream", "new"].into_iter().chain(names.iter().map(String::as_str)).collect();
        streams.call(PROGRAM, &root, &words);
        streams.folders = names.iter().map(|name| streams.dir.path().join(format!("repo.{name}"))).collect();
        streams
    }

    fn command(&self, program: &str, folder: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("a PATH"))
            .env("HOME", self.dir.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ORCHESTRATE_BUDGET_DIR", self.dir.path().join("budget"))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Ada").env(format!("GIT_{who}_EMAIL"), "ada@example.com");
        }
        command
    }

    fn call(&self, program: &str, folder: &Path, args: &[&str]) {
        let mut command = self.command(program, folder, args);
        assert!(command.status().expect("it starts").success(), "{program} {args:?}");
    }

    fn start(&self, folder: &Path, args: &[&str]) -> Child {
        self.command(PROGRAM, folder, args).stderr(Stdio::null()).spawn().expect("the program starts")
    }
}

// ── work ─────────────────────────────────────────────────────────────────────────────────────

/// Computes something that nobody can do in less.
fn spin(rounds: u64) {
    let mut number = 1_u64;
    for _ in 0..rounds {
        number = std::hint::black_box(number).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    }
    std::hint::black_box(number);
}

/// Returns how many rounds take as long as a stage is to take.
fn calibrated() -> u64 {
    const SOME: u64 = 50_000_000;
    let time = || {
        let begin = Instant::now();
        spin(SOME);
        begin.elapsed()
    };
    let fastest = (0..5).map(|_| time()).min().unwrap_or(Duration::MAX);
    let wanted = number("BENCH_SECONDS", 2) as f64;
    (SOME as f64 * wanted / fastest.as_secs_f64()) as u64
}

fn fill(bytes: usize) -> Vec<u8> {
    let mut memory = vec![0_u8; bytes];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    memory
}

fn total_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("Linux tells it");
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).expect("a line");
    line.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).expect("a number") * 1024
}

fn this() -> String {
    format!("'{}'", std::env::current_exe().expect("this program").display())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}
