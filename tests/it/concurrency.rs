//! Many processes at once: no run is lost, no reader sees half a file, and one owner per run.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::fixture::Fixture;
use crate::witness::{Gate, audit, audit_finished, ended, history, metrics, spawn, wait_for};

#[test]
fn of_32_starts_at_once_none_is_lost() {
    let repo = Fixture::with_commands(&["echo hello"]);
    let children: Vec<_> = (0..32).map(|_| spawn(repo.program().args(["start", "--task", "t"]))).collect();
    for child in children {
        let seen = ended(child);
        assert_eq!(seen.code, 0, "{seen}");
        assert!(!seen.stderr.contains("warning:"), "{seen}");
    }
    let runs = repo.runs("t");
    assert_eq!(runs.len(), 32);
    audit(&repo, "t");
    let ids = |lines: Vec<Value>, key: &str| -> BTreeSet<String> {
        lines.iter().map(|line| line[key].as_str().expect("an id").to_owned()).collect()
    };
    assert_eq!((metrics(&repo, "t").len(), ids(metrics(&repo, "t"), "run_id").len()), (32, 32));
    assert_eq!((history(&repo, "t").len(), ids(history(&repo, "t"), "runId").len()), (32, 32));
    for run in &runs {
        audit_finished(&repo, "t", run);
    }
    let totals: Value = serde_json::from_str(&repo.read(".runs/t/metrics/post-rollout.json")).expect("JSON");
    assert_eq!((&totals["total_runs"], &totals["succeeded_runs"]), (&32.into(), &32.into()));
    let drift: Value = serde_json::from_str(&repo.read("out/t/control-plane/drift.json")).expect("JSON");
    assert_eq!(drift["total_samples"], 32);
}

#[test]
fn a_reader_never_sees_half_a_file() {
    let commands = ["echo a; echo b >&2"; 40];
    let repo = Fixture::with_commands(&commands);
    // One run before, so that there is a history to replace.
    assert_eq!(repo.orchestrate("start --task t").code, 0);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !over.load(Ordering::Relaxed) {
                let shared = repo.path("out/t/runs.json");
                let mut files = vec![shared, repo.path(".runs/t/metrics/post-rollout.json")];
                files.extend(repo.runs("t").into_iter().map(|run| run.join("manifest.json")));
                for path in files {
                    let Ok(bytes) = fs::read(&path) else { continue };
                    let read = serde_json::from_slice::<Value>(&bytes);
                    assert!(read.is_ok(), "{}: {read:?}", path.display());
                    reads += 1;
                }
                for run in repo.runs("t") {
                    let Ok(beat) = fs::read_to_string(run.join(".heartbeat")) else { continue };
                    assert!(beat.ends_with("Z\n"), "{beat:?}");
                }
            }
            reads
        });
        for _ in 0..3 {
            assert_eq!(repo.orchestrate("start --task t").code, 0);
        }
        over.store(true, Ordering::Relaxed);
        assert!(reader.join().expect("no file was torn") > 100);
    });
}

#[test]
fn of_four_resumes_one_works_and_the_others_say_who() {
    let stage = "echo x >> \"$HOME/ran\"; test -e \"$HOME/died\" || { : > \"$HOME/died\"; kill -9 $PPID; exit 1; }; \
        echo up > \"$HOME/up\"; read _ < \"$HOME/gate\"";
    let repo = Fixture::with_commands(&[stage]);
    let mut gate = Gate::new(&repo, "gate");
    assert_eq!(repo.orchestrate("start --task t").code, -9);
    let children: Vec<_> =
        (0..4).map(|_| spawn(repo.program().args(["resume", "latest", "--task", "t"]))).collect();
    wait_for(&repo.beside("up"));
    let pids: BTreeSet<_> = children.iter().map(|child| child.id().to_string()).collect();
    // Those that were refused end by themselves; the one that works waits for the gate.
    let (mut worker, mut refused) = (None, Vec::new());
    for mut child in children {
        let mut state = None;
        crate::witness::wait_until("a refusal, or the stage", || {
            state = child.try_wait().expect("a state");
            state.is_some() || owner(&repo) == child.id().to_string()
        });
        match state {
            Some(_) => refused.push(ended(child)),
            None => worker = Some(child),
        }
    }
    let worker = worker.expect("one of them works");
    let pid = worker.id().to_string();
    assert!(pids.contains(&pid));
    assert_eq!(refused.len(), 3);
    for seen in refused {
        assert_eq!(seen.code, 5, "{seen}");
        assert!(seen.stderr.contains(&format!("process {pid} on `")), "{seen}");
        assert!(seen.stderr.contains(" s\n"), "{seen}");
    }
    gate.open();
    let seen = ended(worker);
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(fs::read_to_string(repo.beside("ran")).expect("a count").lines().count(), 2);
    audit_finished(&repo, "t", &repo.runs("t")[0]);
}

/// Returns the pid of the process that took the only run last.
fn owner(repo: &Fixture) -> String {
    let lease = fs::read(repo.runs("t")[0].join(".lease")).expect("a lease");
    // It is written in place, for people only.
    let lease: Value = serde_json::from_slice(&lease).unwrap_or_default();
    lease["pid"].to_string()
}

#[test]
fn a_run_that_is_alive_is_not_resumed() {
    let repo =
        Fixture::with_commands(&["echo x >> \"$HOME/ran\"; echo up > \"$HOME/up\"; read _ < \"$HOME/gate\""]);
    let mut gate = Gate::new(&repo, "gate");
    let child = spawn(repo.program().args(["start", "--task", "t"]));
    wait_for(&repo.beside("up"));
    let seen = repo.orchestrate("resume latest --task t");
    assert_eq!(seen.code, 5, "{seen}");
    assert!(seen.stderr.contains(&format!("process {} on `", child.id())), "{seen}");
    let status = repo.orchestrate("status latest --task t --format json").json();
    assert_eq!((&status["dead"], &status["stale"]), (&false.into(), &false.into()));
    gate.open();
    assert_eq!(ended(child).code, 0);
    assert_eq!(fs::read_to_string(repo.beside("ran")).expect("a count").lines().count(), 1);
}
