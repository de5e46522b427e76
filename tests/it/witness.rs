//! What tests ask of the files of a run, and how they wait for other processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use git_orchestrate::run::manifest::Manifest;
use git_orchestrate::store::journal;
use serde_json::Value;

use crate::fixture::{Fixture, Seen};

/// Waits for something that another process does; fails after 20 seconds.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(20), "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process runs: one that ended and that nobody has waited for does not.
pub fn is_alive(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')))
}

/// Sends a signal to a process.
pub fn kill(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().expect("kill").success());
}

/// Waits for a file and returns what it holds.
pub fn wait_for(path: &Path) -> String {
    let mut text = String::new();
    wait_until(&path.display().to_string(), || {
        text = fs::read_to_string(path).unwrap_or_default();
        text.ends_with('\n')
    });
    text.trim_end().to_owned()
}

/// A stage waits here until the test lets it go on: `read _ < "$HOME/name"`.
pub struct Gate(fs::File);

impl Gate {
    pub fn new(repo: &Fixture, name: &str) -> Self {
        let path = repo.beside(name);
        assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
        // Open for both, so that neither side ever waits for the other to open it.
        Self(fs::File::options().read(true).write(true).open(path).expect("a FIFO"))
    }

    pub fn open(&mut self) {
        use std::io::Write;
        self.0.write_all(b"go\n").expect("a FIFO takes a line");
    }
}

/// Starts a program whose end is awaited later.
pub fn spawn(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

/// Waits for a program that [`spawn`] started.
pub fn ended(child: Child) -> Seen {
    use std::os::unix::process::ExitStatusExt;
    let output = child.wait_with_output().expect("a child ends");
    Seen {
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        code: output.status.code().unwrap_or_else(|| -output.status.signal().unwrap_or(0)),
    }
}

/// Returns every file below a folder. Symbolic links are not followed.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let entry = entry.expect("an entry");
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => found.extend(files(&entry.path())),
            _ => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

/// Returns the lines of a file, each as JSON.
pub fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    text.lines()
        .map(|line| {
            serde_json::from_str(line).unwrap_or_else(|err| panic!("{}: {err}: {line}", path.display()))
        })
        .collect()
}

/// Returns the lines of a task's `metrics.json`.
pub fn metrics(repo: &Fixture, task: &str) -> Vec<Value> {
    lines(&repo.path(".runs").join(task).join("metrics.json"))
}

/// Returns the entries of a task's `runs.json`.
pub fn history(repo: &Fixture, task: &str) -> Vec<Value> {
    let document: Value = serde_json::from_str(&repo.read(&format!("out/{task}/runs.json"))).expect("JSON");
    document["runs"].as_array().expect("runs").clone()
}

/// Returns the events of a run of one type.
pub fn events(run: &Path, kind: &str) -> Vec<Value> {
    lines(&run.join("runner.ndjson")).into_iter().filter(|line| line["type"] == kind).collect()
}

/// Checks what must be true of a task's files at any instant: each is whole, and no manifest says
/// what its journal does not.
pub fn audit(repo: &Fixture, task: &str) {
    for root in [repo.path(".runs").join(task), repo.path("out").join(task)] {
        for path in files(&root) {
            let name = path.file_name().and_then(|name| name.to_str()).expect("our names are text");
            if name.starts_with(".tmp-") {
                continue;
            }
            if name.ends_with(".ndjson") || name == "metrics.json" || name.ends_with(".jsonl") {
                lines(&path);
            } else if name.ends_with(".json") {
                let bytes = fs::read(&path).expect("a file");
                serde_json::from_slice::<Value>(&bytes)
                    .unwrap_or_else(|err| panic!("{}: {err}", path.display()));
            }
        }
    }
    for run in repo.runs(task) {
        audit_run(&run);
    }
}

fn audit_run(run: &Path) {
    let Ok(bytes) = fs::read(run.join("manifest.json")) else { return };
    let on_disk: Manifest = serde_json::from_slice(&bytes).expect("a manifest");
    let journal = run.join("runner.ndjson");
    let mark = on_disk.journal.clone().expect("a mark");
    let length = fs::metadata(&journal).expect("a journal").len();
    assert!(mark.bytes <= length, "{}: the journal is behind the manifest", run.display());
    let mut rebuilt = journal::rebuild(&journal, Some(mark.bytes)).expect("a journal").expect("a run");
    rebuilt.journal = Some(mark);
    assert!(rebuilt == on_disk, "{}: {rebuilt:#?}\nis not {on_disk:#?}", run.display());
}

/// Whether the manifest file says that the run succeeded, and that all of it is on disk.
pub fn is_complete(run: &Path) -> bool {
    run.join("manifest.json").exists() && {
        let manifest = crate::fixture::manifest(run);
        let length = fs::metadata(run.join("runner.ndjson")).expect("a journal").len();
        manifest["status"] == "succeeded"
            && manifest["metrics_recorded"] == true
            && manifest["journal"]["bytes"] == length
    }
}

/// Checks what must be true of a run that ended well, and of nothing less.
pub fn audit_finished(repo: &Fixture, task: &str, run: &Path) {
    let id = run.file_name().and_then(|name| name.to_str()).expect("run ids are text");
    let manifest = crate::fixture::manifest(run);
    assert_eq!(manifest["status"], "succeeded", "{id}");
    assert_eq!(manifest["metrics_recorded"], true, "{id}");
    let length = fs::metadata(run.join("runner.ndjson")).expect("a journal").len();
    assert_eq!(manifest["journal"]["bytes"], length, "{id}: the manifest holds the whole journal");
    let of_run = |lines: Vec<Value>, key: &str| lines.into_iter().filter(|line| line[key] == id).count();
    assert_eq!(of_run(metrics(repo, task), "run_id"), 1, "{id}: lines of metrics");
    assert_eq!(of_run(history(repo, task), "runId"), 1, "{id}: entries of the history");
    assert!(run.join("run-summary.json").exists(), "{id}");
    for entry in manifest["commands"].as_array().expect("stages") {
        if let Some(log) = entry["log_path"].as_str() {
            assert!(repo.path(log).exists(), "{log}");
        }
    }
}
