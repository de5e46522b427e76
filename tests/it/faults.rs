//! Disks that are full, files that are damaged, and stages that touch what is ours: a named file, a
//! clear error, and never a success that is not on disk.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::fixture::{Fixture, Seen, manifest};
use crate::witness::{audit, audit_finished, files, history, is_complete, metrics};

fn two_stages() -> Fixture {
    Fixture::with_commands(&["echo one", "echo two; exit ${FAIL:-0}"])
}

/// A run whose second stage failed, and that may be resumed.
fn failed_run() -> (Fixture, PathBuf) {
    let repo = two_stages();
    let seen = repo.see(repo.program().args(["start", "--task", "t"]).env("FAIL", "3"));
    assert_eq!(seen.code, 1, "{seen}");
    let run = repo.runs("t").remove(0);
    (repo, run)
}

/// Whether a message names a file: with its whole path, in backticks.
fn names_a_file(seen: &Seen) -> bool {
    seen.stderr.contains("`/")
}

/// Lets each step that changes the disk fail, on two threads.
fn at_every_step(fault: &str) {
    let repo = two_stages();
    let next = AtomicUsize::new(1);
    let trial = |step: usize| {
        let task = format!("t{step}");
        let seen = repo.see(repo.program().args(["start", "--task", &task]).env(fault, step.to_string()));
        assert!(matches!(seen.code, 0 | 4), "{step}: {seen}");
        audit_unless_torn(&repo, &task);
        if seen.code == 4 {
            assert!(names_a_file(&seen), "{step}: {seen}");
        }
        let warned = seen.stderr.contains("warning:");
        let resumable = repo.runs(&task).iter().any(|run| has_line(&run.join("runner.ndjson")));
        if !resumable {
            assert_eq!(seen.code, 4, "{step}: {seen}");
            assert_eq!(repo.orchestrate(&format!("start --task {task}")).code, 0, "{step}");
        } else if seen.code == 4 {
            // What failed may have been the very last step, such as a sync.
            let complete = is_complete(&repo.runs(&task)[0]);
            let resumed = repo.orchestrate(&format!("resume latest --task {task}"));
            assert_eq!(resumed.code, if complete { 2 } else { 0 }, "{step}: {seen} / {resumed}");
            audit_finished(&repo, &task, &repo.runs(&task)[0]);
        } else if warned {
            assert!(names_a_file(&seen), "{step}: {seen}");
            let run = &repo.runs(&task)[0];
            assert_eq!(manifest(run)["status"], "succeeded");
            if manifest(run)["metrics_recorded"] == false {
                // What is missing is made up for.
                assert_eq!(
                    repo.orchestrate(&format!("resume latest --task {task}")).code,
                    0,
                    "{step}: {seen}"
                );
            }
            assert_eq!(metrics(&repo, &task).len(), 1, "{step}: {seen}");
        } else {
            audit_finished(&repo, &task, &repo.runs(&task)[0]);
        }
        // A run that had nothing to complain about was not hit.
        seen.code == 0 && !warned
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let step @ ..400 = next.fetch_add(1, Ordering::Relaxed) {
                    if trial(step) {
                        next.fetch_max(400, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

fn has_line(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.contains('\n'))
}

fn audit_unless_torn(repo: &Fixture, task: &str) {
    if repo.path(".runs").join(task).exists() {
        audit(repo, task);
    }
}

#[test]
fn a_disk_that_is_full_once_is_no_success_that_is_not_on_disk() {
    at_every_step("GIT_ORCHESTRATE_FAIL_AT");
}

#[test]
fn a_disk_that_stays_full_is_no_success_either() {
    at_every_step("GIT_ORCHESTRATE_FAIL_FROM");
}

#[test]
fn a_file_that_may_not_grow_is_an_error_and_no_death() {
    let repo = Fixture::with_commands(&[
        "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done",
    ]);
    let mut limited = repo.command("/bin/sh");
    limited.args(["-c", "ulimit -f 64; exec \"$0\" start --task t", env!("CARGO_BIN_EXE_git-orchestrate")]);
    let seen = repo.see(&mut limited);
    assert_eq!(seen.code, 4, "{seen}");
    assert!(seen.stderr.contains("runner.ndjson"), "{seen}");
    let run = &repo.runs("t")[0];
    assert_ne!(manifest(run)["status"], "succeeded");
    let resumed = repo.orchestrate("resume latest --task t");
    assert_eq!(resumed.code, 0, "{resumed}");
    assert_eq!(manifest(run)["status"], "succeeded");
}

#[test]
fn what_stands_in_place_of_our_folders_is_named() {
    for in_the_way in [".runs", ".runs/t", ".runs/t/cli", ".runs/t/mcp", ".runs/local-mcp"] {
        let repo = Fixture::with_commands(&["echo ran >> \"$HOME/ran\""]);
        repo.write(in_the_way, "a file\n");
        let seen = repo.orchestrate("start --task t");
        assert_eq!(seen.code, 4, "{in_the_way}: {seen}");
        assert!(seen.stderr.contains(&format!("{in_the_way}` is no folder")), "{in_the_way}: {seen}");
        assert!(!repo.beside("ran").exists(), "{in_the_way}: a stage ran");
        assert_eq!(repo.read(in_the_way), "a file\n");
    }
}

#[test]
fn a_read_only_folder_of_runs_is_exit_4() {
    use std::os::unix::fs::PermissionsExt;
    let repo = two_stages();
    let runs = repo.path(".runs");
    fs::create_dir(&runs).expect("a folder");
    fs::set_permissions(&runs, fs::Permissions::from_mode(0o555)).expect("its mode");
    let is_read_only = fs::create_dir(runs.join("probe")).is_err();
    if is_read_only {
        let seen = repo.orchestrate("start --task t");
        assert_eq!(seen.code, 4, "{seen}");
        assert!(names_a_file(&seen), "{seen}");
    }
    fs::set_permissions(&runs, fs::Permissions::from_mode(0o755)).expect("its mode");
}

#[test]
fn nothing_is_written_through_a_link_that_a_repository_ships() {
    for link in [
        ".runs",
        ".runs/t",
        ".runs/t/cli",
        ".runs/t/mcp",
        ".runs/t/metrics",
        ".runs/t/metrics.pending",
        ".runs/local-mcp",
        "out",
        "out/t",
        "out/t/metrics",
        "out/t/control-plane",
    ] {
        let repo = Fixture::with_commands(&["echo ran >> \"$HOME/ran\""]);
        let outside = repo.beside("outside");
        fs::create_dir(&outside).expect("a folder");
        let path = repo.path(link);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        symlink(&outside, &path).expect("a link");
        let seen = repo.orchestrate("start --task t");
        assert_eq!(seen.code, 3, "{link}: {seen}");
        assert_eq!(files(&outside), [] as [PathBuf; 0], "{link}");
        assert!(!repo.beside("ran").exists(), "{link}: a stage ran");
    }
}

#[test]
fn no_file_is_written_through_a_link_either() {
    for link in [
        ".runs/t/metrics.json",
        ".runs/t/.lock",
        ".runs/t/metrics/post-rollout.json",
        "out/t/runs.json",
        "out/t/state.json",
        "out/t/control-plane/drift.json",
    ] {
        for is_there in [true, false] {
            let repo = two_stages();
            let outside = repo.beside("outside");
            if is_there {
                fs::write(&outside, "mine\n").expect("a file");
            }
            let path = repo.path(link);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            symlink(&outside, &path).expect("a link");
            let seen = repo.orchestrate("start --task t");
            assert_eq!(seen.code, 0, "{link}: {seen}");
            let text = fs::read_to_string(&outside).unwrap_or_default();
            assert_eq!(text, if is_there { "mine\n" } else { "" }, "{link}");
            assert_eq!(outside.exists(), is_there, "{link}");
        }
    }
}

#[test]
fn resume_writes_through_no_link() {
    for link in ["", "commands", "errors", ".lease", "runner.ndjson"] {
        let (repo, run) = failed_run();
        let (path, outside) = (run.join(link), repo.beside("outside"));
        fs::rename(&path, &outside).expect("moved");
        symlink(&outside, if link.is_empty() { &run } else { &path }).expect("a link");
        let state = |path: &Path| -> Vec<_> {
            let all = if path.is_dir() { files(path) } else { vec![path.to_owned()] };
            all.into_iter().map(|path| (fs::read(&path).expect("a file"), path)).collect()
        };
        let before = state(&outside);
        let seen = repo.orchestrate("resume latest --task t");
        assert!(matches!(seen.code, 3 | 4), "{link}: {seen}");
        assert_eq!(state(&outside), before, "{link}");
    }
}

#[test]
fn a_stage_that_removes_or_edits_the_evidence_is_no_success() {
    for stage in [
        "rm -rf \"$CODEX_ORCHESTRATOR_RUN_DIR\"",
        "rm \"$CODEX_ORCHESTRATOR_RUN_DIR/runner.ndjson\"",
        ": > \"$CODEX_ORCHESTRATOR_RUN_DIR/runner.ndjson\"",
        "echo '{\"type\":\"stage:finished\",\"status\":\"succeeded\",\"timestamp\":\"2026-01-01T00:00:00.000Z\",\"index\":2}' \
         >> \"$CODEX_ORCHESTRATOR_RUN_DIR/runner.ndjson\"",
        "cp \"$CODEX_ORCHESTRATOR_RUN_DIR/runner.ndjson\" x && mv x \"$CODEX_ORCHESTRATOR_RUN_DIR/runner.ndjson\"",
    ] {
        let repo = Fixture::with_commands(&[stage, "echo ran >> \"$HOME/ran\""]);
        let seen = repo.orchestrate("start --task t");
        assert_eq!(seen.code, 4, "{stage}: {seen}");
        assert!(names_a_file(&seen), "{stage}: {seen}");
        assert!(!repo.beside("ran").exists(), "{stage}: the next stage ran");
    }
}

#[test]
fn a_stage_cannot_change_its_verdict_in_the_manifest() {
    let forge = "sed 's/\"failed\"/\"succeeded\"/; s/\"in_progress\"/\"succeeded\"/' \"$CODEX_ORCHESTRATOR_MANIFEST_PATH\" > x \
        && mv x \"$CODEX_ORCHESTRATOR_MANIFEST_PATH\"; exit 9";
    for stage in [
        forge,
        "echo '{}' > \"$CODEX_ORCHESTRATOR_MANIFEST_PATH\"; exit 9",
        "rm \"$CODEX_ORCHESTRATOR_MANIFEST_PATH\"; exit 9",
    ] {
        let repo = Fixture::with_commands(&[stage]);
        let seen = repo.orchestrate("start --task t");
        assert_eq!(seen.code, 1, "{seen}");
        let manifest = repo.only_manifest("t");
        assert_eq!(manifest["status"], "failed");
        assert_eq!(manifest["commands"][0]["exit_code"], 9);
        audit(&repo, "t");
    }
}

/// A stage that adds a section of its own to the manifest, as design stages do.
const ADD: &str = "sed 's/^  \"version\": 1,/  \"version\": 1, \"design_config_snapshot\": {\"a\": [1, null]},/' \
     \"$CODEX_ORCHESTRATOR_MANIFEST_PATH\" > \"$HOME/x\" && mv \"$HOME/x\" \"$CODEX_ORCHESTRATOR_MANIFEST_PATH\"";

#[test]
fn a_section_that_a_stage_adds_is_kept() {
    let repo = Fixture::with_commands(&[ADD, "echo next"]);
    assert_eq!(repo.orchestrate("start --task t").code, 0);
    let manifest = repo.only_manifest("t");
    assert_eq!(manifest["design_config_snapshot"], json!({"a": [1, null]}));
    assert_eq!(manifest["status"], "succeeded");
    audit(&repo, "t");
}

#[test]
fn a_section_that_a_stage_added_survives_a_crash_and_a_resume() {
    let repo = Fixture::with_commands(&[&format!("{ADD}; kill -9 $PPID"), "echo next"]);
    let seen = repo.orchestrate("start --task t");
    assert_eq!(seen.code, -9, "{seen}");
    // The stage would kill us again, so another program takes its place.
    let run = &repo.runs("t")[0];
    assert!(manifest(run)["design_config_snapshot"].is_object());
    let resumed = repo.orchestrate("resume latest --task t --token wrong");
    assert_eq!(resumed.code, 6, "{resumed}");
    assert!(manifest(run)["design_config_snapshot"].is_object());
    audit(&repo, "t");
}

/// Ways to damage a manifest.
fn damaged(whole: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("empty", Vec::new()),
        ("half", whole[..whole.len() / 2].to_vec()),
        ("NULs", vec![0; whole.len()]),
        ("null", b"null".to_vec()),
        ("list", b"[]".to_vec()),
        ("object", b"{}".to_vec()),
        ("string", b"\"manifest\"".to_vec()),
        ("deep", b"[".repeat(100_000)),
    ]
}

#[test]
fn a_damaged_manifest_is_rebuilt_from_the_journal() {
    let (repo, run) = failed_run();
    let whole = fs::read(run.join("manifest.json")).expect("a manifest");
    for (how, bytes) in damaged(&whole) {
        fs::write(run.join("manifest.json"), &bytes).expect("damaged");
        let status = repo.orchestrate("status latest --task t --format json");
        assert_eq!(status.code, 0, "{how}: {status}");
        assert_eq!(status.json()["status"], "failed", "{how}");
        assert_eq!(fs::read(run.join("manifest.json")).expect("a manifest"), bytes, "{how}");
    }
    let resumed = repo.orchestrate("resume latest --task t");
    assert_eq!(resumed.code, 0, "{resumed}");
    assert_eq!(manifest(&run)["status"], "succeeded");
    audit(&repo, "t");
}

#[test]
fn a_damaged_manifest_without_a_journal_is_named_and_left_alone() {
    let (repo, run) = failed_run();
    let path = run.join("manifest.json");
    let whole = fs::read(&path).expect("a manifest");
    fs::remove_file(run.join("runner.ndjson")).expect("removed");
    for (how, bytes) in damaged(&whole) {
        fs::write(&path, &bytes).expect("damaged");
        for request in ["status latest --task t", "resume latest --task t", "logs latest --task t"] {
            let seen = repo.orchestrate(request);
            assert_eq!(seen.code, 6, "{how}: {request}: {seen}");
            assert!(seen.stderr.contains("manifest.json`"), "{how}: {request}: {seen}");
            assert_eq!(fs::read(&path).expect("a manifest"), bytes, "{how}: {request}");
        }
        assert_eq!(repo.orchestrate("list").code, 0, "{how}");
        // The next run does not care.
        assert_eq!(repo.orchestrate("start --task other").code, 0, "{how}");
    }
}

#[test]
fn a_torn_last_line_is_isolated() {
    let (repo, run) = failed_run();
    let journal = run.join("runner.ndjson");
    let mut bytes = fs::read(&journal).expect("a journal");
    bytes.extend_from_slice(b"{\"type\":\"stage:finished\",\"status\":\"succ");
    fs::write(&journal, bytes).expect("torn");
    let resumed = repo.orchestrate("resume latest --task t");
    assert_eq!(resumed.code, 0, "{resumed}");
    let text = fs::read_to_string(&journal).expect("text");
    assert_eq!(text.lines().filter(|line| serde_json::from_str::<Value>(line).is_err()).count(), 1);
    assert_eq!(manifest(&run)["status"], "succeeded");
    let status = repo.orchestrate("status latest --task t --format json");
    assert_eq!(status.json()["status"], "succeeded");
}

#[test]
fn a_last_event_that_lacks_its_newline_counts_once() {
    let (repo, run) = failed_run();
    let journal = run.join("runner.ndjson");
    let text = fs::read_to_string(&journal).expect("text");
    // The manifest of a crash before the last event was in it.
    let mut before: git_orchestrate::run::manifest::Manifest =
        serde_json::from_slice(&fs::read(run.join("manifest.json")).expect("bytes")).expect("a manifest");
    let end = text.trim_end().rfind('\n').expect("lines") + 1;
    before = git_orchestrate::store::journal::rebuild(&journal, Some(end as u64))
        .expect("a journal")
        .map(|rebuilt| git_orchestrate::run::manifest::Manifest {
            journal: Some(git_orchestrate::run::manifest::JournalMark { bytes: end as u64 }),
            ..rebuilt
        })
        .unwrap_or(before);
    fs::write(run.join("manifest.json"), before.to_json()).expect("older");
    fs::write(&journal, text.trim_end()).expect("without its newline");
    let resumed = repo.orchestrate("resume latest --task t");
    assert_eq!(resumed.code, 0, "{resumed}");
    audit(&repo, "t");
    audit_finished_but_for_metrics(&run);
}

fn audit_finished_but_for_metrics(run: &Path) {
    let length = fs::metadata(run.join("runner.ndjson")).expect("a journal").len();
    assert_eq!(manifest(run)["status"], "succeeded");
    assert_eq!(manifest(run)["journal"]["bytes"], length);
}

#[test]
fn locks_of_dead_processes_do_not_block() {
    let repo = two_stages();
    for lock in [".runs/t.lock", ".runs/t/metrics.lock", ".runs/t/.lock", ".runs/t/experiences.lock"] {
        repo.write(lock, "{\"pid\": 1, \"host\": \"elsewhere\"}");
    }
    let begin = std::time::Instant::now();
    let seen = repo.orchestrate("start --task t");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(begin.elapsed().as_secs() < 3);
    audit_finished(&repo, "t", &repo.runs("t")[0]);
}

#[test]
fn a_damaged_side_file_stops_no_later_run() {
    let side_files = [
        ".runs/t/metrics.json",
        ".runs/t/metrics/.totals.json",
        ".runs/t/metrics/baseline.json",
        ".runs/t/metrics/post-rollout.json",
        "out/t/runs.json",
        "out/t/state.json",
        "out/t/control-plane/drift.json",
        "out/t/metrics/mttr-delta.json",
    ];
    let repo = two_stages();
    assert_eq!(repo.orchestrate("start --task t").code, 0);
    for file in side_files {
        for half in [false, true] {
            let path = repo.path(file);
            let bytes = fs::read(&path).unwrap_or_else(|err| panic!("{file}: {err}"));
            fs::write(&path, if half { &bytes[..bytes.len() / 2] } else { &[] }).expect("damaged");
            let seen = repo.orchestrate("start --task t");
            assert_eq!(seen.code, 0, "{file}: {seen}");
            let run = repo.runs("t").pop().expect("a run");
            let id = run.file_name().expect("a name").to_str().expect("text").to_owned();
            assert!(history(&repo, "t").iter().any(|item| item["runId"] == *id), "{file}");
            assert!(
                repo.read(".runs/t/metrics.json").lines().any(|line| {
                    serde_json::from_str::<Value>(line).is_ok_and(|line| line["run_id"] == *id)
                }),
                "{file}"
            );
        }
    }
}

#[test]
fn what_cannot_be_written_beside_the_evidence_is_a_warning() {
    for in_the_way in [
        "out/t/state.json",
        "out/t/runs.json",
        "out/t/control-plane/drift.json",
        ".runs/t/metrics/post-rollout.json",
    ] {
        let repo = two_stages();
        fs::create_dir_all(repo.path(in_the_way)).expect("a folder");
        let seen = repo.orchestrate("start --task t");
        assert_eq!(seen.code, 0, "{in_the_way}: {seen}");
        assert!(seen.stderr.contains("warning:") && seen.stderr.contains(in_the_way), "{in_the_way}: {seen}");
        assert_eq!(repo.only_manifest("t")["metrics_recorded"], true, "{in_the_way}");
    }
}
