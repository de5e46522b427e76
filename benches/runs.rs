//! The program as a whole against its peers: `cargo bench --bench runs [-- SCENARIO…]`.
//!
//! Every comparison is paired: each round runs both commands, in alternating order, and the figure
//! to quote is the median of the rounds' ratios, so that a machine which slows down slows both.
//! Peers that are not on the `PATH` are left out, with a word. `floor` is this same program doing
//! only what cannot be avoided: start a shell per stage, log it, replace a manifest, sync.
#![allow(clippy::disallowed_methods, reason = "a program of its own")]

mod support;

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use support::{Side, median, pair, peak_memory};

const PROGRAM: &str = env!("CARGO_BIN_EXE_git-orchestrate");

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["floor", "spawn", stages] => floor::spawn(stages.parse().expect("a number")),
        ["floor", "ndjson", command] => floor::ndjson(command),
        ["print", bytes] => print(bytes.parse().expect("a number")),
        ["tree"] => tree(),
        ["reposition", work_tree, words] => reposition(work_tree, words),
        wanted => {
            let scenarios: [(&str, fn()); 15] = [
                ("detach", detached),
                ("parallel", parallel_stages),
                ("version", version),
                ("one", one_stage),
                ("fifty", fifty_stages),
                ("thousand", thousand_stages),
                ("flood", flood),
                ("lines", short_lines),
                ("key", tree_key),
                ("each", each_commit),
                ("reuse", nothing_to_run),
                ("ledger", many_records),
                ("note", one_note),
                ("list", many_runs),
                ("metrics", many_metrics),
            ];
            for (name, scenario) in scenarios {
                if wanted.is_empty() || wanted.contains(&name) {
                    scenario();
                }
            }
        }
    }
}

// ── scenarios ────────────────────────────────────────────────────────────────────────────────

fn version() {
    let dir = tempfile::tempdir().expect("a folder");
    let program = Run::new("git-orchestrate --version", dir.path(), PROGRAM, &["--version"]);
    pair(60, &program, &Run::new("true", dir.path(), "true", &[]), "within 3 ms of it");
}

fn one_stage() {
    let repo = Repo::new(200, 1);
    let start = Run::new("start, one `true` stage", &repo.root, PROGRAM, &["start"]);
    for (name, program, args) in [
        ("prek run, one `true` hook", "prek", &["run"][..]),
        ("lefthook run, one `true` command", "lefthook", &["run", "pre-commit", "--force"]),
    ] {
        match find(program) {
            Some(path) => pair(40, &start, &Run::new(name, &repo.root, &path, args), "below 1"),
            None => println!("({program} is not on the PATH: left out)"),
        }
    }
    pair(40, &start, &floor_spawn(&repo, 1), "");
}

fn fifty_stages() {
    let repo = Repo::new(200, 50);
    let start = Run::new("start, 50 stages", &repo.root, PROGRAM, &["start"]);
    pair(15, &start, &floor_spawn(&repo, 50), "at most 2");
}

/// Stages that only wait, in twos: the ideal is two waits one after the other, which the peer does.
fn parallel_stages() {
    let repo = Repo::make(200, &["sleep 0.2"; 16]);
    let start = Run::new("start --jobs 8, 16 × `sleep 0.2`", &repo.root, PROGRAM, &["start", "--jobs", "8"]);
    let ideal = Run::new("sleep 0.4", &repo.root, "sleep", &["0.4"]);
    pair(20, &start, &ideal, "at most 1.15");
}

fn thousand_stages() {
    let small = Repo::new(200, 100);
    let large = Repo::new(200, 1000);
    let thousand = Run::new("start, 1,000 stages", &large.root, PROGRAM, &["start"]);
    let hundred = Run::new("start, 100 stages", &small.root, PROGRAM, &["start"]);
    pair(5, &thousand, &hundred, "about 10: linear");
    pair(5, &thousand, &floor_spawn(&large, 1000), "");
}

fn flood() {
    let bytes = 1_000_000_000u64;
    let print = format!("exec '{}' print {bytes}", std::env::current_exe().expect("this program").display());
    let repo = Repo::with_command(&print);
    let quiet = Repo::new(200, 1);
    let start =
        Run::new("start, a stage that prints 1 GB", &repo.root, PROGRAM, &["start"]).after(&repo.runs());
    let floor = Run::this("floor: one NDJSON file", &repo.root, &["floor", "ndjson", &print]);
    pair(3, &start, &floor, "the reference takes 6.75, so at most 3.4");
    let idle = Run::new("start, a stage that prints nothing", &quiet.root, PROGRAM, &["start"]);
    let (loud, still) = (start.peak_memory(), idle.peak_memory());
    println!(
        "peak memory: {loud} KiB printing 1 GB, {still} KiB idle: {} KiB more (at most 16384)",
        loud - still
    );
}

fn short_lines() {
    let repo = Repo::with_command("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done");
    let quiet = Repo::new(200, 1);
    let size = |repo: &Repo| {
        Run::new("", &repo.root, PROGRAM, &["start"]).time();
        let cli = repo.root.join(".runs/0101/cli");
        let run = fs::read_dir(cli).expect("runs").next().expect("a run").expect("an entry").path();
        fs::metadata(run.join("manifest.json")).expect("a manifest").len()
    };
    println!("manifest after 20,000 short lines: {} bytes; after none: {} bytes", size(&repo), size(&quiet));
}

fn tree_key() {
    let repo = Repo::new(10_000, 1);
    let key = Run::this("tree key, 10,000 files", &repo.root, &["tree"]);
    let status = Run::new("git status --porcelain", &repo.root, "git", &["status", "--porcelain"]);
    pair(30, &key, &status, "at most 1.5");
    fs::write(repo.root.join("new file"), "untracked").expect("a file");
    fs::write(repo.root.join("d1/f1"), "changed").expect("a file");
    pair(30, &key, &status, "at most 1.5, with a changed and a new file");
}

/// A start in which everything is proven, against a look at the work tree. `BENCH_REPO` names a repository
/// with a pipeline of its own to do it in.
fn nothing_to_run() {
    let repos = match std::env::var_os("BENCH_REPO") {
        Some(root) => vec![Repo { _dir: tempfile::tempdir().expect("a folder"), root: root.into() }],
        None => vec![Repo::new(200, 3), Repo::new(10_000, 3)],
    };
    for repo in repos {
        Run::new("", &repo.root, PROGRAM, &["start", "--task", "reuse"]).time();
        let start = Run::new(
            "start --reuse, nothing runs",
            &repo.root,
            PROGRAM,
            &["start", "--reuse", "--task", "reuse"],
        );
        let status = Run::new("git status --porcelain", &repo.root, "git", &["status", "--porcelain"]);
        pair(40, &start, &status, "at most 1.5");
    }
}

/// One question to a ledger of 50,000 records.
fn many_records() {
    use git_orchestrate::proof::Rules;
    use git_orchestrate::proof::standing::{Entry, Origin, standing};
    use git_orchestrate::run::key::Subject;
    use git_orchestrate::store::ledger::Ledger;
    use records::{key, record, tree};

    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let ledger = Ledger::of(dir.path());
    let origin = |at: usize| match at % 10 {
        0 => Origin::Here,
        writer => Origin::Note { writer: writer.to_string(), signer: None },
    };
    for chunk in 0..50 {
        let entries: Vec<_> = (chunk * 1_000..(chunk + 1) * 1_000)
            .map(|at| (Entry::Run { record: Box::new(record(at)), origin: origin(at) }, tree(at)))
            .collect();
        let subjects: Vec<_> = entries.iter().map(|(_, subject)| [subject]).collect();
        let pairs: Vec<(&Entry, &[&Subject])> =
            entries.iter().zip(&subjects).map(|((entry, _), subject)| (entry, &subject[..])).collect();
        ledger.add_all(&pairs).expect("room on the disk");
    }
    let now = record(0).completed_at;
    let rules = Rules { now, max_age: None, signed_by_others: false };
    let mut times: Vec<_> = (0..200)
        .map(|at| {
            // Of each of the writers in turn.
            let (at, begin) = (at * 251 % 50_000, Instant::now());
            let entries = ledger.about(&[&tree(at)]).expect("a ledger");
            let key = key(at, 3);
            let found = standing(&entries, &key, &rules);
            assert!(!matches!(found, git_orchestrate::proof::Standing::Unknown));
            begin.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    let worst = times.iter().copied().fold(0.0, f64::max);
    println!(
        "one question, 50,000 records of ten writers {:>9.2} ms, at worst {worst:.2} ms  (goal: under 5)",
        median(&mut times)
    );
}

/// One note about a commit and its tree, on disk when it is said to be there: in a new ref, in one with 10,000 notes,
/// and with a manifest.
fn one_note() {
    use git_orchestrate::git::{Author, Changes, Repo as Git};
    use git_orchestrate::ops::evidence::manifests::OnDisk;
    use git_orchestrate::ops::evidence::write::{Manner, Wanted, write};
    use git_orchestrate::store::layout::Layout;

    let author = Author { name: "bench".to_owned(), email: "bench@example.com".to_owned(), at: 0 };
    for (before, full) in [(0, false), (10_000, false), (0, true)] {
        let repo = Repo::new(100, 1);
        Run::new("", &repo.root, PROGRAM, &["start", "--task", "t"]).time();
        let git = Git::discover(&repo.root).expect("a repository");
        let layouts = vec![Layout {
            root: repo.root.clone(),
            runs: repo.root.join(".runs"),
            out: repo.root.join("out"),
        }];
        let on_disk = OnDisk { layouts };
        let manner = Manner { sign: Some(false), manifests: full.then_some(&on_disk) };
        let now = records::record(0).completed_at;
        let note = |at: usize| {
            let mut record = records::record(at);
            if full {
                records::as_if_of(&mut record, &repo.root);
            }
            let commit = record.commit.take().into_iter().collect();
            let begin = Instant::now();
            let written = write(&git, &[Wanted { record, commits: commit }], manner, now).expect("a note");
            assert!(written.runs.len() == 1 && written.without_manifest.is_empty());
            (begin.elapsed().as_secs_f64() * 1e3, written.reference)
        };
        let (_, reference) = note(0);
        if before > 0 {
            let notes = (0..before).map(|at| (records::record(at + 1_000).tree, vec![b'x'; 1_500])).collect();
            let tip = git.tip(&reference).expect("refs").expect("a ref");
            let changes = Changes { notes, ..Changes::default() };
            let new = git.commit_notes(&[&tip], &changes, &author, "before").expect("a commit");
            assert!(git.move_ref(&reference, Some(&new), Some(&tip), &author).expect("a ref"));
        }
        let mut times: Vec<_> = (1..=40).map(|at| note(at).0).collect();
        let worst = times.iter().copied().fold(0.0, f64::max);
        let with = if full { ", with its manifest" } else { "" };
        println!(
            "a note, synced, beside {before:>6} others{with:<20} {:>9.2} ms, at worst {worst:.2} ms  (goal: under 30)",
            median(&mut times)
        );
    }
}

/// Takes the repository at `BENCH_REPO`, whose branch `main` has a linear history, or makes one.
fn each_commit() {
    let repo = match std::env::var_os("BENCH_REPO") {
        Some(root) => Repo { _dir: tempfile::tempdir().expect("a folder"), root: root.into() },
        None => Repo::new(10_000, 1).with_changes(50),
    };
    let beside = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let work_tree = beside.path().join("work tree").display().to_string();
    let add = ["worktree", "add", "--quiet", "--detach", &work_tree, "HEAD"];
    Run::new("", &repo.root, "git", &add).time();
    let name = "start --each, 50 commits";
    let each = Run::new(name, &repo.root, PROGRAM, &["start", "--each", "HEAD~50..HEAD"]);
    for words in ["checkout --quiet --detach", "read-tree -m -u"] {
        let name = format!("50 times git {words}");
        pair(9, &each, &Run::this(&name, &repo.root, &["reposition", &work_tree, words]), "at most 1.5");
    }
    let remove = ["worktree", "remove", "--force", &work_tree];
    Run::new("", &repo.root, "git", &remove).time();
}

/// Repositions a worktree as somebody would in a loop of a shell.
fn reposition(work_tree: &str, words: &str) {
    let git = |words: &str, last: &str| {
        let mut git = Command::new("git");
        git.args(words.split(' ')).arg(last).current_dir(work_tree);
        git
    };
    let listed = git("rev-list --reverse", "refs/heads/main~50..refs/heads/main").output().expect("git");
    let listed = String::from_utf8(listed.stdout).expect("ids");
    assert_eq!(listed.lines().count(), 50);
    for commit in listed.lines() {
        assert!(git(words, commit).status().expect("git").success());
    }
}

fn many_runs() {
    let repo = Repo::new(20, 4);
    Run::new("", &repo.root, PROGRAM, &["start", "--task", "task-0"]).time();
    let cli = repo.root.join(".runs/task-0/cli");
    let run = fs::read_dir(&cli).expect("runs").next().expect("a run").expect("an entry");
    let id = run.file_name().into_string().expect("ASCII");
    let manifest = fs::read_to_string(run.path().join("manifest.json")).expect("a manifest");
    for at in 0..10_000 {
        let task = format!("task-{}", at % 50);
        let other = format!(
            "2026-01-{:02}T{:02}-{:02}-{:02}-000Z-{at:08x}",
            1 + at / 3600,
            at / 150 % 24,
            at % 60,
            at % 59
        );
        let dir = repo.root.join(".runs").join(&task).join("cli").join(&other);
        fs::create_dir_all(&dir).expect("a folder");
        let text = manifest.replace(&id, &other).replace("task-0", &task);
        fs::write(dir.join("manifest.json"), text).expect("a manifest");
        fs::copy(run.path().join("runner.ndjson"), dir.join("runner.ndjson")).expect("a journal");
    }
    let nothing = Run::new("true", &repo.root, "true", &[]);
    let list = Run::new("list --limit 20, 10,000 runs", &repo.root, PROGRAM, &["list", "--limit", "20"]);
    pair(20, &list, &nothing, "under 50 ms");
    let status = Run::new("status latest, 10,000 runs", &repo.root, PROGRAM, &["status", "latest"]);
    pair(20, &status, &nothing, "under 50 ms");
}

fn many_metrics() {
    let repo = Repo::new(20, 4);
    Run::new("", &repo.root, PROGRAM, &["start", "--task", "many"]).time();
    let path = repo.root.join(".runs/many/metrics.json");
    let line = fs::read_to_string(&path).expect("a line");
    let begin = line.find("\"run_id\":\"").expect("a run") + "\"run_id\":\"".len();
    let end = begin + line[begin..].find('"').expect("its end");
    let lines: String = (0..100_000)
        .map(|at| format!("{}2026-01-01T00-00-00-000Z-{at:08x}{}", &line[..begin], &line[end..]))
        .collect();
    fs::write(&path, &lines).expect("many lines");
    println!("({} bytes)", lines.len());
    let metrics = Run::new("metrics, 100,000 lines", &repo.root, PROGRAM, &["metrics", "--task", "many"]);
    pair(15, &metrics, &Run::new("true", &repo.root, "true", &[]), "under 300 ms");
    // What stays of a line does not depend on how long it is.
    let short = peak_memory(&mut metrics.command());
    let padded = lines.replace("\"run_id\":", &format!("\"pad\":\"{}\",\"run_id\":", "x".repeat(1000)));
    fs::write(&path, &padded).expect("longer lines");
    let long = peak_memory(&mut metrics.command());
    println!(
        "peak memory: {short} KiB of {} bytes, {long} KiB of {} bytes  (goal: bounded)",
        lines.len(),
        padded.len()
    );
}

/// A detached start against `--version` and one sync, and what its supervisor costs while it waits.
fn detached() {
    let quick = Repo::new(200, 1);
    let version = Run::new("", &quick.root, PROGRAM, &["--version"]);
    let start = Run::new("", &quick.root, PROGRAM, &["start", "--detach"]);
    let file = quick.root.join(".git/bench-sync");
    let sync = || {
        let begin = Instant::now();
        let mut new = File::create(&file).expect("a file");
        new.write_all(&[b'x'; 2000]).and_then(|()| new.sync_data()).expect("a sync");
        fs::remove_file(&file).expect("removed");
        begin.elapsed().as_secs_f64() * 1e3
    };
    let (mut versions, mut syncs, mut starts, mut ratios) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    start.time();
    for _ in 0..20 {
        let (one, two) = (version.time(), sync());
        let three = start.time();
        // The rest of the run must not slow down the next round.
        Run::new("", &quick.root, PROGRAM, &["status", "--watch", "--interval", "0.1"]).time();
        versions.push(one);
        syncs.push(two);
        starts.push(three);
        ratios.push((three - two) / one);
    }
    println!(
        "start --detach {:.2} ms | --version {:.2} ms | a sync {:.2} ms | without the sync, ratio {:.2}  (goal: at most 1.5)",
        median(&mut starts),
        median(&mut versions),
        median(&mut syncs),
        median(&mut ratios),
    );

    let waiting = Repo::with_command("sleep 600");
    Run::new("", &waiting.root, PROGRAM, &["start", "--detach"]).time();
    let cli = waiting.root.join(".runs/0101/cli");
    let run = fs::read_dir(cli).expect("runs").next().expect("a run").expect("an entry").path();
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(run.join("manifest.json")).expect("a manifest")).expect("JSON");
    let pid = manifest["attempts"][0]["owner"]["pid"].as_u64().expect("a pid");
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a supervisor");
        let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace();
        fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>()
    };
    let seconds = 30;
    std::thread::sleep(std::time::Duration::from_secs(2));
    let before = ticks();
    std::thread::sleep(std::time::Duration::from_secs(seconds));
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a supervisor");
    let of = |key: &str| {
        status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim().to_owned()
    };
    println!(
        "idle supervisor: {} ticks of 10 ms in {seconds} s (goal: at most 3), RSS {}, of it anonymous {} (goal: 8192 kB)",
        ticks() - before,
        of("VmRSS:"),
        of("RssAnon:"),
    );
    Run::new("", &waiting.root, PROGRAM, &["cancel"]).time();
}

/// What a run asks of the library twice: the tree of what would be executed.
fn tree() {
    let repo = git_orchestrate::git::Repo::discover(Path::new(".")).expect("a repository");
    println!("{}", repo.tree_now().expect("a tree").state.tree);
}

fn print(bytes: u64) {
    let line = [b"0123456789".repeat(10)[..99].to_vec(), vec![b'\n']].concat();
    let block = line.repeat(655);
    let mut out = std::io::stdout().lock();
    let mut left = bytes as usize;
    while left > 0 {
        let now = left.min(block.len());
        if out.write_all(&block[..now]).is_err() {
            return;
        }
        left -= now;
    }
}

// ── repositories ─────────────────────────────────────────────────────────────────────────────

struct Repo {
    _dir: tempfile::TempDir,
    root: PathBuf,
}

impl Repo {
    /// Makes a repository of so many files with a pipeline of so many `true` stages.
    fn new(files: usize, stages: usize) -> Self {
        Self::make(files, &vec!["true"; stages])
    }

    fn with_command(command: &str) -> Self {
        Self::make(200, &[command])
    }

    fn make(files: usize, commands: &[&str]) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let root = dir.path().to_owned();
        let stages: Vec<_> = commands
            .iter()
            .enumerate()
            .map(|(at, command)| serde_json::json!({"kind": "command", "id": format!("s{at}"), "command": command}))
            .collect();
        let config = serde_json::json!({"pipelines": [
            {"id": "diagnostics", "title": "Bench", "guardrailsRequired": false, "stages": stages},
        ]});
        fs::write(root.join("codex.orchestrator.json"), config.to_string()).expect("a file");
        let hook = "repos:\n- repo: local\n  hooks:\n  - {id: t, name: t, entry: 'true', language: system, \
                    always_run: true, pass_filenames: false}\n";
        fs::write(root.join(".pre-commit-config.yaml"), hook).expect("a file");
        fs::write(root.join("lefthook.yml"), "pre-commit:\n  commands:\n    t: {run: 'true'}\n")
            .expect("a file");
        for at in 0..files {
            let path = root.join(format!("d{}/f{at}", at / 100));
            fs::create_dir_all(path.parent().expect("a folder above")).expect("a folder");
            fs::write(path, format!("file {at}\n").repeat(40)).expect("a file");
        }
        fs::write(root.join("d0/f1"), "one\n").expect("a file");
        let repo = Self { _dir: dir, root };
        for args in [
            &["init", "--quiet", "--initial-branch=main", "."][..],
            &["add", "--all"],
            &[
                "-c",
                "user.name=b",
                "-c",
                "user.email=b@example.com",
                "commit",
                "--quiet",
                "--message",
                "files",
            ],
            &["status", "--porcelain"],
        ] {
            let status =
                Command::new("git").args(args).current_dir(&repo.root).stdout(Stdio::null()).status();
            assert!(status.expect("git").success(), "git {args:?}");
        }
        repo
    }

    /// Adds commits that change one to three files each.
    fn with_changes(self, commits: usize) -> Self {
        for at in 0..commits {
            for more in 0..=at % 3 {
                let file = at * 173 + more * 17;
                let path = self.root.join(format!("d{}/f{file}", file / 100));
                fs::write(path, format!("changed {at}\n").repeat(40)).expect("a file");
            }
            let mut git = Command::new("git");
            git.args(["-c", "user.name=b", "-c", "user.email=b@example.com"]);
            git.args(["commit", "--quiet", "--all", "--message", "changes"]).current_dir(&self.root);
            assert!(git.status().expect("git").success());
        }
        self
    }

    fn runs(&self) -> PathBuf {
        self.root.join(".runs")
    }
}

fn floor_spawn(repo: &Repo, stages: usize) -> Run {
    Run::this(&format!("floor, {stages} stages"), &repo.root, &["floor", "spawn", &stages.to_string()])
}

// ── timing ───────────────────────────────────────────────────────────────────────────────────

struct Run {
    name: String,
    dir: PathBuf,
    program: PathBuf,
    args: Vec<String>,
    /// Removed after each run, or a disk would fill.
    remove: Option<PathBuf>,
}

impl Run {
    fn new(name: &str, dir: &Path, program: impl AsRef<Path>, args: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            dir: dir.to_owned(),
            program: program.as_ref().to_owned(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            remove: None,
        }
    }

    fn this(name: &str, dir: &Path, args: &[&str]) -> Self {
        Self::new(name, dir, std::env::current_exe().expect("this program"), args)
    }

    fn after(mut self, remove: &Path) -> Self {
        self.remove = Some(remove.to_owned());
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Returns the peak of resident memory in KiB.
    fn peak_memory(&self) -> i64 {
        let peak = peak_memory(&mut self.command());
        self.clean();
        peak
    }

    fn clean(&self) {
        if let Some(remove) = &self.remove {
            let _ = fs::remove_dir_all(remove);
        }
    }
}

impl Side for Run {
    fn name(&self) -> &str {
        &self.name
    }

    fn time(&self) -> f64 {
        let begin = Instant::now();
        let status = self.command().status().expect("the command starts");
        let took = begin.elapsed().as_secs_f64() * 1e3;
        assert!(status.success(), "{}: {status}", self.name);
        self.clean();
        took
    }
}

fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}

// ── the least that could do the job ──────────────────────────────────────────────────────────

mod floor {
    use super::*;

    /// A shell per stage, two logs, a manifest replaced at each step and synced at each end.
    pub fn spawn(stages: usize) {
        let dir = PathBuf::from(format!(".git/floor-{}", std::process::id()));
        fs::create_dir_all(dir.join("commands")).expect("a folder");
        let manifest = vec![b'x'; 2000 + 900 * stages];
        let mut journal =
            OpenOptions::new().create(true).append(true).open(dir.join("journal")).expect("a file");
        replace(&dir, &manifest, false);
        for at in 0..stages {
            let path = dir.join(format!("commands/{at}"));
            let mut log = OpenOptions::new().create(true).append(true).open(path).expect("a file");
            replace(&dir, &manifest, false);
            let mut child = Command::new("/bin/sh")
                .args(["-c", "true"])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("a shell");
            for line in ["begin", "end"] {
                let line = format!("{{\"type\":\"{line}\",\"index\":{at}}}\n");
                log.write_all(line.as_bytes()).expect("a write");
                journal.write_all(line.as_bytes()).expect("a write");
            }
            let mut output = Vec::new();
            child.stdout.take().expect("a pipe").read_to_end(&mut output).expect("a read");
            child.stderr.take().expect("a pipe").read_to_end(&mut output).expect("a read");
            child.wait().expect("a child");
            replace(&dir, &manifest, true);
        }
        let _ = fs::remove_dir_all(dir);
    }

    fn replace(dir: &Path, contents: &[u8], sync: bool) {
        let temp = dir.join("manifest.tmp");
        let mut file = File::create(&temp).expect("a file");
        file.write_all(contents).expect("a write");
        if sync {
            file.sync_data().expect("a sync");
        }
        fs::rename(&temp, dir.join("manifest")).expect("a rename");
    }

    /// The output of one command as one file of NDJSON, an event per read.
    pub fn ndjson(command: &str) {
        let path = PathBuf::from(format!(".git/floor-{}", std::process::id()));
        let mut file = File::create(&path).expect("a file");
        let mut child =
            Command::new("/bin/sh").args(["-c", command]).stdout(Stdio::piped()).spawn().expect("a shell");
        let mut pipe = child.stdout.take().expect("a pipe");
        let mut buffer = vec![0; 65_536];
        let mut line = Vec::new();
        loop {
            let read = pipe.read(&mut buffer).expect("a read");
            if read == 0 {
                break;
            }
            line.clear();
            line.extend_from_slice(b"{\"type\":\"exec:chunk\",\"data\":");
            serde_json::to_writer(&mut line, &String::from_utf8_lossy(&buffer[..read])).expect("JSON");
            line.extend_from_slice(b"}\n");
            file.write_all(&line).expect("a write");
        }
        child.wait().expect("a child");
        let _ = fs::remove_file(path);
    }
}

// ── records of runs that never were ──────────────────────────────────────────────────────────

mod records {
    use std::fs;
    use std::path::Path;

    use git_orchestrate::proof::{Key, Record, Subject};
    use git_orchestrate::sys::digest::sha256_hex;
    use serde_json::Value;

    pub fn tree(at: usize) -> Subject {
        Subject::tree(&sha256_hex(&at.to_le_bytes())[..40], None)
    }

    pub fn key(at: usize, stage: usize) -> Key {
        Key::new(&tree(at), &stage.to_string(), "f", sha256_hex)
    }

    pub fn record(at: usize) -> Record {
        let time = "2026-01-01T00:00:00Z";
        let stages: Vec<_> = (0..5)
            .map(|stage| {
                serde_json::json!({
                    "id": format!("stage-{stage}"), "key": key(at, stage), "subject": tree(at),
                    "definition_digest": sha256_hex(&stage.to_le_bytes()),
                    "definition": {"format": 1, "kind": "command", "command": "cargo test --workspace", "shell": "/bin/sh -c"},
                    "result": "passed", "exit_code": 0, "started_at": time, "completed_at": time,
                    "log_sha256": sha256_hex(&at.to_le_bytes()),
                })
            })
            .collect();
        serde_json::from_value(serde_json::json!({
            "version": 1, "run_id": format!("2026-01-01T00-00-00-000Z-{at:08x}"), "task_id": "0101", "pipeline": "p",
            "pipeline_digest": format!("sha256:{}", sha256_hex(b"p")), "status": "succeeded",
            "commit": sha256_hex(&(at + 1_000_000).to_le_bytes())[..40],
            "tree": &tree(at).as_str()[5..], "dirty": false, "object_format": "sha1",
            "worktree": {"path": ".", "name": null, "linked": false}, "manifest": ".runs/x/manifest.json",
            "started_at": time, "completed_at": time, "tool": "git-orchestrate", "nonce": "n",
            "fingerprint": {"os": "linux", "arch": "x86_64"}, "stages": stages,
        }))
        .expect("a record")
    }

    /// Gives a record the manifest of the only run of task `t`, under an id of its own.
    pub fn as_if_of(record: &mut Record, root: &Path) {
        let runs = root.join(".runs/t/cli");
        let ours = runs.join(&record.run_id);
        let run = fs::read_dir(&runs).expect("runs").next().expect("a run").expect("an entry").path();
        let text = fs::read(run.join("manifest.json")).expect("a manifest");
        let manifest: Value = serde_json::from_slice(&text).expect("JSON");
        fs::create_dir_all(&ours).expect("a folder");
        fs::write(ours.join("manifest.json"), text).expect("a manifest");
        record.task_id = "t".to_owned();
        record.nonce = manifest["proof"]["nonce"].as_str().expect("a nonce").to_owned();
        record.completed_at = serde_json::from_value(manifest["completed_at"].clone()).expect("a time");
    }
}
