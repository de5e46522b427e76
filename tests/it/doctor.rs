//! `doctor`: what would stop a run.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::{Value, json};

use crate::fixture::{Fixture, Seen};
use crate::witness::{Gate, spawn, wait_until};

fn doctor(repo: &Fixture, vars: &[(&str, &str)]) -> Seen {
    repo.see(repo.program().envs(vars.iter().copied()).args(["doctor", "--format", "json"]))
}

/// Returns the checks of one id that are not fine.
fn said(seen: &Seen, id: &str) -> Vec<Value> {
    let report = seen.json();
    let checks = report["checks"].as_array().unwrap().iter();
    checks.filter(|check| check["id"] == id && check["verdict"] != "ok").cloned().collect()
}

/// Checks that one thing is a problem, that the program exits with 1, and that it says what to do.
fn is_problem(seen: &Seen, id: &str, mend: &str) {
    let found = said(seen, id);
    assert_eq!(found.len(), 1, "{id}: {seen}");
    assert_eq!(found[0]["verdict"], "problem", "{seen}");
    assert!(found[0]["mend"].as_str().unwrap().contains(mend), "{found:?}");
    assert_eq!((seen.code, &seen.json()["ok"]), (1, &json!(false)));
}

/// Checks that one thing is a warning, which stops nothing.
fn is_warning(seen: &Seen, id: &str, mend: &str) {
    let found = said(seen, id);
    assert_eq!(found.len(), 1, "{id}: {seen}");
    assert_eq!(found[0]["verdict"], "warning", "{seen}");
    assert!(found[0]["mend"].as_str().unwrap().contains(mend), "{found:?}");
    assert_eq!((seen.code, &seen.json()["ok"]), (0, &json!(true)), "{seen}");
}

fn everything(repo: &Fixture) -> Vec<String> {
    let entries = walkdir::WalkDir::new(repo.root()).sort_by_file_name();
    entries.into_iter().map(|entry| entry.unwrap().path().display().to_string()).collect()
}

#[test]
fn a_healthy_project_is_told_so_and_nothing_is_written() {
    let repo = Fixture::new("passing");
    let before = everything(&repo);

    let seen = repo.orchestrate("doctor");

    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stdout.ends_with("Nothing would stop a run.\n"), "{seen}");
    assert!(seen.stdout.lines().rev().skip(1).all(|line| line.starts_with("ok ")), "{seen}");
    assert_eq!(everything(&repo), before, "not even in .git");
    let report = doctor(&repo, &[]).json();
    assert_eq!(
        (&report["ok"], &report["problems"], &report["warnings"]),
        (&json!(true), &json!(0), &json!(0))
    );
}

#[test]
fn no_repository_a_bare_one_and_one_of_somebody_else_are_named() {
    let repo = Fixture::new("passing");
    let none = repo.beside("none");
    fs::create_dir(&none).unwrap();
    let at = |dir: &std::path::Path| {
        repo.see(repo.program().current_dir(dir).args(["doctor", "--format", "json"]))
    };
    is_problem(&at(&none), "repository", "git init");

    let bare = repo.beside("bare.git");
    repo.git(&["init", "--quiet", "--bare", bare.to_str().unwrap()]);
    is_problem(&at(&bare), "repository", "git worktree add");

    if rustix::process::geteuid().is_root() {
        for path in [repo.root().to_owned(), repo.path(".git")] {
            std::os::unix::fs::chown(path, Some(12345), Some(12345)).unwrap();
        }
        is_problem(&doctor(&repo, &[]), "repository", "git config --global --add safe.directory");
    } else {
        eprintln!("skipped: only root can give a folder away");
    }
}

#[test]
fn an_old_git_and_none_at_all_are_named() {
    let repo = Fixture::new("passing");
    let bin = repo.beside("bin");
    fs::create_dir(&bin).unwrap();
    let git = bin.join("git");
    let real = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|dir| dir.join("git"))
        .find(|git| git.is_file())
        .expect("a git");
    let path = |rest: &str| format!("{}:{rest}", bin.display());
    let all = std::env::var("PATH").unwrap();
    for (version, verdict) in [("2.20.1", "problem"), ("2.40.0", "warning")] {
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in *--version) echo git version {version} ;; *) exec '{}' \"$@\" ;; esac\n",
            real.display()
        );
        fs::write(&git, script).unwrap();
        fs::set_permissions(&git, fs::Permissions::from_mode(0o755)).unwrap();
        let found = said(&doctor(&repo, &[("PATH", &path(&all))]), "git.version");
        assert_eq!(found[0]["verdict"], verdict, "{found:?}");
    }
    fs::remove_file(&git).unwrap();
    is_problem(&doctor(&repo, &[("PATH", bin.to_str().unwrap())]), "git.version", "install git");
}

#[test]
fn a_broken_configuration_is_shown_with_its_place() {
    let repo = Fixture::new("passing");
    repo.write(
        "codex.orchestrator.json",
        "{\n  \"pipelines\": [\n    { \"id\": \"x\" \"stages\": [] }\n  ]\n}\n",
    );

    let seen = doctor(&repo, &[]);

    let found = said(&seen, "configuration");
    assert_eq!((seen.code, &found[0]["verdict"]), (1, &json!("problem")), "{seen}");
    assert!(found[0]["excerpt"].as_str().unwrap().contains("codex.orchestrator.json:3:"), "{seen}");
    assert!(repo.orchestrate("doctor").stdout.contains("\"id\": \"x\" \"stages\""));
}

#[test]
fn a_pipeline_that_cannot_be_planned_is_a_problem_only_if_it_is_the_default() {
    let config = json!({"pipelines": [
        {"id": "diagnostics", "stages": [{"kind": "command", "id": "a", "command": "true"}]},
        {"id": "other", "stages": [{"kind": "subpipeline", "id": "b", "pipeline": "gone"}]},
    ]});
    let mut repo = Fixture::with_config(&config);
    is_warning(&doctor(&repo, &[]), "configuration.pipeline", "");

    let mut config = config;
    config["defaultPipeline"] = json!("other");
    repo = Fixture::with_config(&config);
    is_problem(&doctor(&repo, &[]), "plan", "");

    // Nothing says what to run.
    repo.git(&["rm", "--quiet", "codex.orchestrator.json"]);
    is_problem(&doctor(&repo, &[]), "plan", "git orchestrate init");
}

#[test]
fn a_program_that_a_stage_needs_and_is_not_there_is_named() {
    let repo = Fixture::with_commands(&["no-such-program --flag", "echo fine", "X=1 also-none"]);
    is_problem(&doctor(&repo, &[]), "stage.command", "install `no-such-program`");
    assert_eq!(said(&doctor(&repo, &[]), "stage.command")[0]["subject"], "diagnostics:s1");

    let repo = Fixture::with_commands(&["./run.sh"]);
    is_problem(&doctor(&repo, &[]), "stage.command", "make it");
    repo.write("run.sh", "#!/bin/sh\n");
    is_problem(&doctor(&repo, &[]), "stage.command", "chmod +x ./run.sh");
    fs::set_permissions(repo.path("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(doctor(&repo, &[]).code, 0);

    // A stage may make what the next one calls, and one that may fail stops nothing.
    let repo = Fixture::with_commands(&["echo make it", "./made/by-the-first"]);
    is_warning(&doctor(&repo, &[]), "stage.command", "");
    let repo = Fixture::with_config(&json!({"pipelines": [{"id": "diagnostics", "stages": [
        {"kind": "command", "id": "a", "command": "no-such-program", "allowFailure": true},
    ]}]}));
    is_warning(&doctor(&repo, &[]), "stage.command", "install");
    let repo = Fixture::with_config(&json!({"pipelines": [{"id": "diagnostics", "stages": [
        {"kind": "command", "id": "a", "command": "true", "cwd": "gone"},
    ]}]}));
    is_problem(&doctor(&repo, &[]), "stage.folder", "mkdir -p gone");
}

#[test]
fn folders_that_cannot_hold_evidence_are_named() {
    let repo = Fixture::new("passing");
    symlink("/tmp", repo.path(".runs")).unwrap();
    is_problem(&doctor(&repo, &[]), "folders.safe", "rm ");
    fs::remove_file(repo.path(".runs")).unwrap();
    repo.write(".runs", "a file");
    is_problem(&doctor(&repo, &[]), "folders.safe", "mv ");
    fs::remove_file(repo.path(".runs")).unwrap();
    let seen = doctor(&repo, &[("CODEX_ORCHESTRATOR_RUNS_DIR", ".")]);
    is_problem(&seen, "folders.safe", "CODEX_ORCHESTRATOR_RUNS_DIR");
    // Nobody writes there, not even root.
    let seen = doctor(&repo, &[("CODEX_ORCHESTRATOR_RUNS_DIR", "/proc/self/runs")]);
    assert_eq!(seen.code, 1, "{seen}");
    assert!(!said(&seen, "folders.writable").is_empty() || !said(&seen, "disk").is_empty(), "{seen}");
}

#[test]
fn evidence_that_git_tracks_or_sees_is_named() {
    let repo = Fixture::new("passing");
    repo.write(".runs/0101/note", "x");
    repo.write(".gitignore", "!/.runs/\n");
    is_warning(&doctor(&repo, &[]), "folders.excluded", ".gitignore");
    repo.git(&["add", "--force", ".runs/0101/note"]);
    let seen = doctor(&repo, &[]);
    is_warning(&seen, "folders.tracked", "git rm -r --cached --ignore-unmatch -- .runs");
    // The mend mends.
    let mend = said(&seen, "folders.tracked")[0]["mend"].as_str().unwrap().to_owned();
    assert!(repo.command("/bin/sh").args(["-c", &mend]).status().unwrap().success());
    assert_eq!(said(&doctor(&repo, &[]), "folders.tracked"), [] as [Value; 0]);
}

#[test]
fn variables_that_lead_astray_are_named() {
    let repo = Fixture::new("passing");
    is_problem(
        &doctor(&repo, &[("MCP_RUNNER_TASK_ID", "a/b")]),
        "environment.task",
        "unset MCP_RUNNER_TASK_ID",
    );
    let git_dir = repo.path(".git");
    is_warning(&doctor(&repo, &[("GIT_DIR", git_dir.to_str().unwrap())]), "environment.git", "unset GIT_DIR");
    let target = "CODEX_ORCHESTRATOR_TARGET_STAGE";
    is_warning(&doctor(&repo, &[(target, "test")]), "environment.target", target);
    is_problem(&doctor(&repo, &[(target, "none")]), "plan", "stages here");
    is_warning(&doctor(&repo, &[("CODEX_PRIVACY_GUARD_MODE", "shadow")]), "environment.masking", "unset");
}

#[test]
fn a_dead_run_is_named_with_how_to_go_on() {
    let repo = Fixture::with_commands(&["read _ < \"$HOME/gate\""]);
    let mut gate = Gate::new(&repo, "gate");
    let mut child = spawn(repo.program().arg("start"));
    wait_until("the stage begins", || {
        repo.runs("0101").first().is_some_and(|run| run.join("commands/01-s1.ndjson").exists())
    });
    let alive = doctor(&repo, &[]);
    assert_eq!(said(&alive, "runs.dead"), [] as [Value; 0], "{alive}");
    child.kill().unwrap();
    child.wait().unwrap();

    let seen = doctor(&repo, &[]);

    is_warning(&seen, "runs.dead", "git orchestrate resume ");
    gate.open();
    let mend = said(&seen, "runs.dead")[0]["mend"].as_str().unwrap().replace("git orchestrate ", "");
    let mut again = Gate::new(&repo, "again");
    again.open();
    gate.open();
    assert_eq!(repo.orchestrate(&mend).code, 0);
    assert_eq!(said(&doctor(&repo, &[]), "runs.dead"), [] as [Value; 0]);
}

#[test]
fn damaged_side_files_and_held_locks_are_named() {
    let repo = Fixture::new("passing");
    repo.orchestrate("start");
    let metrics = repo.read(".runs/0101/metrics.json");
    repo.write(".runs/0101/metrics.json", &format!("{{\"run_id\": \"to\n{metrics}"));
    repo.write("out/0101/runs.json", "{\"runs\": [");
    let lock = fs::File::create(repo.path(".runs/0101/.lock")).unwrap();
    lock.lock().unwrap();
    repo.write(".git/index.lock", "");

    let seen = doctor(&repo, &[]);

    is_warning(&seen, "files.metrics", "sed -i '1d' .runs/0101/metrics.json");
    is_warning(&seen, "files.history", "mv out/0101/runs.json out/0101/runs.json.aside");
    is_warning(&seen, "locks.task", "fuser");
    is_warning(&seen, "locks.index", "index.lock");
    let mend = said(&seen, "files.metrics")[0]["mend"].as_str().unwrap().to_owned();
    let command = mend.strip_prefix("take them out: ").unwrap();
    assert!(repo.command("/bin/sh").args(["-c", command]).status().unwrap().success());
    assert_eq!(repo.read(".runs/0101/metrics.json"), metrics);
}

#[test]
fn hooks_are_told_as_facts() {
    let repo = Fixture::new("passing");
    repo.write(".git/hooks/pre-push", "#!/bin/sh\n");
    fs::set_permissions(repo.path(".git/hooks/pre-push"), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(repo.orchestrate("doctor").stdout.contains("pre-push in `"));
    repo.git(&["config", "core.hooksPath", "our-hooks"]);
    let seen = repo.orchestrate("doctor");
    assert!(seen.stdout.contains("our-hooks` (core.hooksPath)"), "{seen}");
}
