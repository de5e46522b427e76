//! Guardrails as stages: their verdicts become a part of the run.

use serde_json::json;

use crate::fixture::{Fixture, lines_of};
use crate::witness::metrics;

/// A command line for a stage that calls this program.
fn guard(words: &str) -> String {
    // Stages say `git orchestrate`; git finds it in `PATH`.
    format!("git orchestrate guard {words}")
}

fn start(repo: &Fixture, variables: &[(&str, &str)]) -> crate::fixture::Seen {
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_git-orchestrate")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    repo.see(repo.program().env("PATH", path).envs(variables.iter().copied()).arg("start"))
}

#[test]
fn a_guard_stage_hands_its_verdict_to_the_run() {
    let repo =
        Fixture::with_commands(&[&guard("diff-budget --base HEAD --max-files 0"), &guard("spec --dry-run")]);
    repo.write("new", "1\n2\n");
    let reason = "token=hunter2secret reviewed by two";
    let seen = start(&repo, &[("DIFF_BUDGET_OVERRIDE_REASON", reason), ("MY_TOKEN", "hunter2secret")]);
    assert_eq!(seen.code, 0, "{seen}");
    let manifest = repo.only_manifest("0101");
    let verdicts = manifest["guardrails"].as_array().unwrap();
    assert_eq!(verdicts.len(), 2, "{verdicts:#?}");
    let budget = &verdicts[0];
    assert_eq!((&budget["stage"], &budget["index"]), (&json!("s1"), &json!(1)));
    assert_eq!((&budget["rule"], &budget["outcome"]), (&json!("diff-budget"), &json!("overridden")));
    assert_eq!(budget["override"]["reason"], "token=[REDACTED] reviewed by two");
    assert_eq!(budget["counts"]["lines"], 2);
    assert_eq!((&verdicts[1]["rule"], &verdicts[1]["outcome"]), (&json!("spec-guard"), &json!("passed")));
    let summary = manifest["summary"].as_str().unwrap();
    assert!(summary.contains("overridden: token=[REDACTED] reviewed by two"), "{summary}");
    assert!(summary.contains("Guardrails: spec-guard succeeded (1 passed)."), "{summary}");
    let line = &metrics(&repo, "0101")[0];
    assert_eq!(line["guardrails"][0]["override_reason"], "token=[REDACTED] reviewed by two");
    assert_eq!(line["guardrails_present"], true);
    let run = &repo.runs("0101")[0];
    let summary = repo.json(run.join("run-summary.json"));
    assert_eq!(summary["guardrails"].as_array().unwrap().len(), 2);
    assert!(lines_of(&run.join("runner.ndjson")).iter().any(|line| line["type"] == "stage:judged"));
    assert!(!run.join("verdicts").exists(), "what was handed over is gone");
    let left = repo.tree(".runs");
    for file in left {
        let text = std::fs::read(repo.path(".runs").join(&file)).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains("hunter2"), "{file}");
    }
}

#[test]
fn a_guard_that_says_no_fails_its_stage_and_is_kept() {
    let repo = Fixture::with_commands(&[&guard("diff-budget --max-files 0")]);
    repo.write("new", "1\n");
    assert_eq!(start(&repo, &[]).code, 1);
    let manifest = repo.only_manifest("0101");
    assert_eq!(manifest["guardrails"][0]["outcome"], "failed");
    assert_eq!(manifest["guardrails"][0]["findings"][0]["rule"], "too-many-files");
}

#[test]
fn a_verdict_about_another_repository_is_no_matter_of_the_run() {
    let other = Fixture::new("passing");
    let command = format!("cd '{}' && {}", other.root().display(), guard("diff-budget"));
    let repo = Fixture::with_commands(&[&command]);
    assert_eq!(start(&repo, &[]).code, 0);
    assert!(repo.only_manifest("0101").get("guardrails").is_none());
}

#[test]
fn a_text_alone_is_no_verdict() {
    let repo = Fixture::with_commands(&["true git orchestrate guard spec"]);
    assert_eq!(start(&repo, &[]).code, 0);
    let manifest = repo.only_manifest("0101");
    assert_eq!(manifest["guardrail_status"]["present"], false);
}
