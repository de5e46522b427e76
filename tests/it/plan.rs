//! `plan`: what would run, without running anything.

use serde_json::{Value, json};

use crate::fixture::{Fixture, keys};

fn nested() -> Fixture {
    Fixture::with_config(&json!({"defaultPipeline": "all", "pipelines": [
        {"id": "all", "title": "All of it", "description": "Builds, then checks.", "tags": ["ci"], "stages": [
            {"kind": "command", "id": "build", "title": "Build", "command": "make", "cwd": "src",
             "env": {"B": "2", "A": "1"}, "allowFailure": true, "summaryHint": "built",
             "plan": {"aliases": ["compile"], "defaultTarget": true}},
            {"kind": "subpipeline", "id": "checks", "title": "Checks", "pipeline": "checks"},
            {"kind": "subpipeline", "id": "extra", "title": "Extra", "pipeline": "gone", "optional": true},
        ]},
        {"id": "checks", "title": "Checks", "stages": [
            {"kind": "command", "id": "lint", "title": "Lint", "command": "touch ran; exit 1"},
        ]},
    ]}))
}

#[test]
fn a_plan_shows_everything_that_would_run() {
    let repo = nested();
    let before = repo.tree(".");

    let seen = repo.orchestrate("plan");

    assert_seen!(seen, @"
    Pipeline: all — All of it [user]
    Builds, then checks.
    Stages:
    1. [command] Build (build)
       command: make
       cwd: src
       env: A=1, B=2
       allowFailure: true
       summaryHint: built
    2. [subpipeline] Checks (checks)
       pipeline: checks
       1. [command] Lint (lint)
          command: touch ran; exit 1
    3. [subpipeline] Extra (extra)
       pipeline: gone
       optional: true
       (there is no such pipeline)
    [exit: 0]
    ");
    assert_eq!(repo.tree("."), before, "a plan writes nothing");
}

#[test]
fn a_plan_in_json_is_the_contract_s_document() {
    let seen = nested().orchestrate("plan --format json --task t");

    let plan = seen.json();
    assert_eq!(keys(&plan)[..4], ["pipeline", "stages", "plan", "targetId"]);
    assert_eq!(
        plan["pipeline"],
        json!({"id": "all", "title": "All of it", "description": "Builds, then checks.", "source": "user"})
    );
    assert_eq!(
        plan["stages"][0],
        json!({"index": 1, "id": "build", "title": "Build", "kind": "command", "command": "make", "cwd": "src",
               "env": {"A": "1", "B": "2"}, "allowFailure": true, "summaryHint": "built"})
    );
    let child = &plan["stages"][1];
    assert_eq!(keys(child)[..6], ["index", "id", "title", "kind", "pipeline", "optional"]);
    assert_eq!(child["stages"][0]["env"], Value::Null);
    assert_eq!(plan["targetId"], "all:build");
    assert_eq!(
        plan["plan"]["items"][0],
        json!({
            "id": "all:build", "description": "Build", "requires_cloud": false, "requiresCloud": false,
            "runnable": true, "selected": true,
            "metadata": {"pipelineId": "all", "stageId": "build", "stageKind": "command", "index": 0,
                         "aliases": ["compile"], "defaultTarget": true, "requiresCloud": false},
        })
    );
    assert_eq!(plan["plan"]["notes"], "Builds, then checks.");
    assert_eq!(plan["plan"]["targetId"], "all:build");
}

#[test]
fn a_plan_with_a_target_says_what_is_left_out() {
    let repo = nested();

    let seen = repo.orchestrate("plan checks --target lint");
    assert_seen!(seen, @"
    Pipeline: checks — Checks [user]
    Stages:
    1. [command] Lint (lint)
       command: touch ran; exit 1
    [exit: 0]
    ");
    let seen = repo.orchestrate("plan --target=checks --format=json");
    assert_eq!((&seen.json()["targetId"], &seen.json()["partial"]), (&json!("all:checks"), &json!(true)));
    let text = repo.orchestrate("plan --target checks").stdout;
    let left_out: Vec<_> = text.lines().filter_map(|line| line.strip_suffix(" — left out")).collect();
    assert_eq!(left_out, ["1. [command] Build (build)", "3. [subpipeline] Extra (extra)"]);
}

#[test]
fn what_runs_is_the_plan_even_if_a_stage_edits_the_file() {
    let repo =
        Fixture::with_commands(&["echo '{\"pipelines\": []}' > codex.orchestrator.json", "echo still here"]);

    let seen = repo.orchestrate("start --format json");

    assert_eq!(seen.json()["status"], "succeeded");
    let manifest = repo.only_manifest("0101");
    assert_eq!(manifest["commands"][1]["summary"], "still here");
    // The tree has changed all the same.
    assert_eq!(seen.json()["void"], true);
}

#[test]
fn a_project_without_configuration_gets_diagnostics_that_fit_it() {
    let cases = [
        ("Cargo.toml", "[package]\nname = \"x\"\nversion = \"0.1.0\"\n", "cargo"),
        ("go.mod", "module x\n", "go "),
        ("package.json", r#"{"scripts": {"build": "tsc", "test": "vitest run"}}"#, "npm"),
        ("Makefile", "test:\n\ttrue\n", "make"),
        ("pyproject.toml", "[project]\nname = \"x\"\n", "python"),
    ];
    for (file, text, program) in cases {
        let repo = Fixture::new("passing");
        repo.git(&["rm", "--quiet", "codex.orchestrator.json"]);
        repo.write(file, text);

        let seen = repo.orchestrate("plan --format json");

        let plan = seen.json();
        assert_eq!(
            (&plan["pipeline"]["id"], &plan["pipeline"]["source"]),
            (&json!("diagnostics"), &json!("default"))
        );
        let stages = plan["stages"].as_array().unwrap();
        assert!(!stages.is_empty(), "{file}: {seen}");
        let fits = |stage: &Value| stage["command"].as_str().unwrap().contains(program);
        assert!(stages.iter().any(fits), "{file}: {seen}");
    }
}

#[test]
fn a_project_of_no_known_kind_is_told_what_to_do() {
    let repo = Fixture::new("passing");
    repo.git(&["rm", "--quiet", "codex.orchestrator.json"]);

    let seen = repo.orchestrate("plan");

    assert_eq!(seen.code, 2, "{seen}");
    assert!(seen.stderr.starts_with("error: ") && seen.stderr.contains("hint: "), "{seen}");
}
