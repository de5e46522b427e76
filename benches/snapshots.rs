//! Snapshots against tar and gzip: `cargo bench --bench snapshots [-- SCENARIO…]`.
//!
//! The repositories are those of the bench `guard`: `medium` and `large` in `GUARD_BENCH_REPOS=folder`. Without them one
//! of some 40 MB is made of the sources of this project. A repository that is there is left with one more untracked
//! file and with snapshots below a temporary folder.
//!
//! Every comparison is paired: each round runs both sides, in alternating order, and the figure to quote is the
//! median of the rounds' ratios. Each round changes a file first, so that no snapshot is taken over from the one before.
#![allow(clippy::disallowed_methods, reason = "a program of its own")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use support::{pair, peak_memory};

const PROGRAM: &str = env!("CARGO_BIN_EXE_git-orchestrate");
const PIPE: &str = "git ls-files -co --exclude-standard -z | tar --null -T - -cz >";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let scenarios: [(&str, fn()); 3] = [("medium", medium), ("large", large), ("memory", memory)];
    for (name, scenario) in scenarios {
        if args.is_empty() || args.iter().any(|arg| arg == name) {
            scenario();
        }
    }
}

fn medium() {
    compare("medium", 11);
}

fn large() {
    compare("large", 5);
}

fn compare(name: &str, rounds: usize) {
    let made;
    let root = match std::env::var_os("GUARD_BENCH_REPOS") {
        Some(folder) => Path::new(&folder).join(name),
        None if name == "medium" => {
            made = make();
            made.path().to_owned()
        }
        None => return println!("{name}: GUARD_BENCH_REPOS names no repositories"),
    };
    let store = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let shell = |name: &str, script: String, root: &Path| Side {
        name: name.to_owned(),
        script,
        root: root.to_owned(),
        store: store.path().to_owned(),
    };
    let change = "date +%s%N > changed-in-each-round;";
    let create = format!("'{PROGRAM}' snapshot create > /dev/null");
    let tar = store.path().join("peer.tar.gz");
    let peer = format!("{change} {PIPE} '{}'", tar.display());
    pair(
        rounds,
        &shell(&format!("{name}: snapshot create"), format!("{change} {create}"), &root),
        &shell("ls-files, tar, gzip", peer, &root),
        "at most 0.35",
    );
    let newest = fs::read_dir(store.path().join("0101")).expect("snapshots").flatten();
    let newest = newest
        .filter(|entry| entry.path().extension().is_some_and(|it| it == "gz"))
        .max_by_key(|it| it.file_name());
    let ours = newest.expect("a snapshot").metadata().expect("metadata").len();
    let theirs = tar.metadata().expect("metadata").len();
    println!(
        "{name}: size {ours} of {theirs} bytes, ratio {:.3} (goal: at most 1.05)",
        ours as f64 / theirs as f64
    );
    let zstd = format!("'{PROGRAM}' snapshot create --compression zstd > /dev/null");
    pair(
        rounds,
        &shell(&format!("{name}: snapshot create --compression zstd"), format!("{change} {zstd}"), &root),
        &shell("with gzip", format!("{change} {create}"), &root),
        "below 1",
    );
    pair(
        rounds,
        &shell(&format!("{name}: the same again"), create.clone(), &root),
        &shell("a snapshot that is packed", format!("{change} {create}"), &root),
        "well below 1",
    );
    let repo = git_orchestrate::git::Repo::discover(&root).expect("a repository");
    pair(
        rounds * 3,
        &Listing { repo },
        &shell("git ls-files -co", "git ls-files -co --exclude-standard -z > /dev/null".to_owned(), &root),
        "at most 1; ours without the start of a process",
    );
    let _ = fs::remove_file(root.join("changed-in-each-round"));
}

/// The peak of memory does not follow the size of a file.
fn memory() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let git = |words: &[&str]| Command::new("git").args(words).current_dir(dir.path()).status().expect("git");
    git(&["init", "--quiet", "."]);
    let configuration = r#"{"learning": {"maxFileBytes": 40000000000, "maxTotalBytes": 80000000000}}"#;
    fs::write(dir.path().join("codex.orchestrator.json"), configuration).expect("a file");
    let text: String = (0..6_000_000).map(|line| format!("line {line} of a file that is large\n")).collect();
    fs::write(dir.path().join("text"), text).expect("a file");
    let sparse = fs::File::create(dir.path().join("sparse")).expect("a file");
    // git reads it too, to store it, so it is not as large as it could be.
    sparse.set_len(2 << 30).expect("a long file");
    let mut create = Command::new(PROGRAM);
    create.args(["snapshot", "create"]).current_dir(dir.path()).stdout(Stdio::null());
    println!(
        "peak memory, 200 MB of text and 2 GiB of nothing: {} KiB (goal: below 65536)",
        peak_memory(&mut create)
    );
}

/// Makes a repository of some 40 MB.
fn make() -> tempfile::TempDir {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let script = "git init --quiet . && for i in 1 2 3 4 5 6 7 8 9 10 11 12; do mkdir $i && cp -r \"$1/src\" \"$1/tests\" \
                  \"$1/templates\" $i; done && git add --all && git -c user.name=b -c user.email=b@example.com commit \
                  --quiet --message all";
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", script, "sh", env!("CARGO_MANIFEST_DIR")]).current_dir(dir.path());
    assert!(shell.status().expect("a shell").success());
    dir
}

struct Side {
    name: String,
    script: String,
    root: PathBuf,
    store: PathBuf,
}

impl support::Side for Side {
    fn name(&self) -> &str {
        &self.name
    }

    fn time(&self) -> f64 {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &self.script]).current_dir(&self.root).env("LEARNING_SNAPSHOT_DIR", &self.store);
        let begin = Instant::now();
        assert!(shell.status().expect("a shell").success(), "{}", self.script);
        begin.elapsed().as_secs_f64() * 1000.0
    }
}

struct Listing {
    repo: git_orchestrate::git::Repo,
}

impl support::Side for Listing {
    fn name(&self) -> &str {
        "what goes in"
    }

    fn time(&self) -> f64 {
        let begin = Instant::now();
        self.repo.listing().expect("a listing");
        begin.elapsed().as_secs_f64() * 1000.0
    }
}
