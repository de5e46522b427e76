//! `hooks migrate`: what other hook managers are told to do becomes stages and hooks, and nothing of it is run.

use std::fs;

use serde_json::json;

use crate::fixture::Fixture;

const LEFTHOOK: &str = r#"
pre-commit:
  parallel: true
  commands:
    format:
      glob: "*.txt"
      run: sed -i s/ugly/pretty/ {staged_files}
      stage_fixed: true
    secret:
      run: touch "$HOME/was-run"
      interactive: true
pre-push:
  jobs:
    - name: test
      run: test ! -e fails
"#;

#[test]
fn a_proposal_is_printed_and_nothing_is_written_or_run() {
    let repo = Fixture::new("passing");
    fs::remove_file(repo.path("codex.orchestrator.json")).unwrap();
    repo.write("lefthook.yml", LEFTHOOK);
    repo.write(".husky/commit-msg", "npx commitlint --edit \"$1\"\n");
    repo.write(".husky/_/h", "touch \"$HOME/was-run\"\n");
    let before = repo.tree("");
    let seen = repo.orchestrate("hooks migrate");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(repo.tree(""), before);
    assert!(!repo.beside("was-run").exists());
    assert!(seen.stdout.contains("Read: lefthook.yml, .husky/commit-msg\n"), "{seen}");
    assert!(
        seen.stdout.contains(
            "  pre-commit  format (fixes)  git ls-files -z -- '*.txt' | xargs -0 -r sed -i s/ugly/pretty/\n"
        ),
        "{seen}"
    );
    assert!(seen.stdout.contains("  lefthook.yml: pre-commit/secret: it asks somebody"), "{seen}");
    assert!(seen.stdout.contains("Would be written as codex.orchestrator.json:\n{\n"), "{seen}");
    let document = repo.orchestrate("hooks migrate --format json").json();
    assert_eq!((&document["exists"], &document["written"]), (&json!(false), &json!(null)));
    assert_eq!(document["added"]["hooks"]["pre-push"]["require"], json!(["hooks:test"]));
    assert_eq!(document["stages"].as_array().unwrap().len(), 3);
    // What is proposed is what is written, and it works.
    let seen = repo.orchestrate("hooks migrate --write");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stdout.contains("  lefthook uninstall  takes the hooks of lefthook away\n"), "{seen}");
    assert_eq!(repo.read("codex.orchestrator.json"), document["configuration"].as_str().unwrap());
    repo.write("greeting.txt", "ugly\n");
    repo.git(&["add", "--all"]);
    let seen = repo.orchestrate("hook pre-commit");
    assert_eq!((seen.code, repo.read("greeting.txt").as_str()), (0, "pretty\n"), "{seen}");
    // Once is enough.
    let seen = repo.orchestrate("hooks migrate --write --format json");
    assert_eq!(
        (seen.code, &seen.json()["written"], &seen.json()["stages"]),
        (0, &json!(null), &json!([])),
        "{seen}"
    );
}

#[test]
fn a_configuration_that_is_there_is_added_to_and_not_changed() {
    let text = "{\n    \"pipelines\": [\n        {\"id\": \"hooks\", \"stages\": [\n            {\"kind\": \"command\", \"id\": \"own\", \"command\": \"true\"}\n        ]}\n    ],\n    \"hooks\": {\"pre-push\": {\"require\": [\"own\"]}}\n}\n";
    let repo = Fixture::new("passing");
    repo.write("codex.orchestrator.json", text);
    repo.write("lefthook.yml", LEFTHOOK);
    let seen = repo.orchestrate("hooks migrate --write");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stdout.contains("lefthook.yml: pre-push/test: `hooks.pre-push` is in"), "{seen}");
    let written = repo.read("codex.orchestrator.json");
    for piece in [
        "{\n    \"pipelines\": [\n        {\"id\": \"hooks\", \"stages\": [\n            {\"kind\": \"command\", \"id\": \"own\", \"command\": \"true\"}\n        ]}",
        "\"pre-push\": {\"require\": [\"own\"]}",
    ] {
        assert!(written.contains(piece), "{piece}: {written}");
    }
    let document = repo.json("codex.orchestrator.json");
    assert_eq!(document["hooks"]["pre-push"], json!({"require": ["own"]}));
    assert_eq!(document["hooks"]["pre-commit"], json!({"require": ["hooks-2:format"]}));
    assert_eq!(document["pipelines"][1]["stages"][0]["fixes"], json!(true));
    assert_eq!(repo.orchestrate("plan hooks-2").code, 0);
}

#[test]
fn what_cannot_be_read_is_named() {
    let repo = Fixture::new("passing");
    let seen = repo.orchestrate("hooks migrate");
    assert_eq!(seen.code, 2, "{seen}");
    assert!(
        seen.stderr.contains("there is no configuration of lefthook, husky or pre-commit here"),
        "{seen}"
    );
    for (name, text) in [
        (".pre-commit-config.yaml", "repos: [\n"),
        ("lefthook.toml", "[pre-commit\n"),
        ("lefthook.json", "{"),
        // A little text that would become a huge one.
        (
            "lefthook.yml",
            "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g,*g]\n",
        ),
    ] {
        repo.write(name, text);
        let seen = repo.orchestrate("hooks migrate");
        assert_eq!(seen.code, 2, "{name}: {seen}");
        assert!(seen.stderr.contains(&format!("`{name}` cannot be read: ")), "{name}: {seen}");
        fs::remove_file(repo.path(name)).unwrap();
    }
}

#[test]
fn a_glob_that_cannot_be_written_out_leaves_its_job_out() {
    let repo = Fixture::new("passing");
    let job = |glob: &str| format!("      glob: \"{glob}\"\n      run: check {{staged_files}}\n");
    let text = format!(
        "pre-commit:\n  commands:\n    deep:\n{}    nested:\n{}",
        job(&"{a}".repeat(60_000)),
        job("*.{a,{b,c}}")
    );
    repo.write("lefthook.yml", &text);
    let seen = repo.orchestrate("hooks migrate");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stdout.contains("pre-commit/deep: its globs have more in braces"), "{seen}");
    assert!(seen.stdout.contains("-- '*.a' '*.b' '*.c' | xargs"), "{seen}");
}
