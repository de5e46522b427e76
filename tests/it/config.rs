//! `codex.orchestrator.json`: what is wrong with it is shown where it is, and nothing runs.

use crate::fixture::Fixture;

/// Starts in a repository with this configuration and checks that nothing was written.
fn start(config: &str) -> crate::fixture::Seen {
    let repo = Fixture::new("passing");
    repo.write("codex.orchestrator.json", config);
    let before = repo.tree(".");
    let seen = repo.orchestrate("start");
    assert_eq!(repo.tree("."), before);
    assert_eq!(repo.orchestrate("plan").stderr, seen.stderr, "a plan complains alike");
    seen
}

#[test]
fn an_unknown_key_is_shown_with_the_one_that_was_meant() {
    let seen = start(
        r#"{
  "pipelines": [
    {
      "id": "diagnostics", "title": "Diagnostics",
      "stages": [
        { "kind": "command", "id": "build", "title": "Build", "comand": "make" }
      ]
    }
  ]
}
"#,
    );

    assert_seen!(seen, @r#"
    error: unknown key `comand` in a stage
     --> codex.orchestrator.json:6:63
      |
    6 |         { "kind": "command", "id": "build", "title": "Build", "comand": "make" }
      |                                                               ^^^^^^^^
      |
      = hint: did you mean `command`?
    [exit: 2]
    "#);
}

#[test]
fn a_wrong_type_is_shown_where_it_stands() {
    let seen = start(
        r#"{"pipelines": [{"id": "diagnostics", "title": "D", "stages": [
  {"kind": "command", "id": "a", "title": "A", "command": "true", "allowFailure": "yes"}
]}]}
"#,
    );

    assert_seen!(seen, @r#"
    error: `allowFailure` must be `true` or `false`, not a text
     --> codex.orchestrator.json:2:83
      |
    2 |   {"kind": "command", "id": "a", "title": "A", "command": "true", "allowFailure": "yes"}
      |                                                                                   ^^^^^
      |
      = hint: write `true` or `false`
    [exit: 2]
    "#);
}

#[test]
fn a_missing_id_is_shown() {
    let seen = start(
        r#"{"pipelines": [{"id": "diagnostics", "title": "D", "stages": [
  {"kind": "command", "title": "A", "command": "true"}
]}]}
"#,
    );

    assert_seen!(seen, @r#"
    error: a stage of kind `command` has no `id`
     --> codex.orchestrator.json:2:3
      |
    2 |   {"kind": "command", "title": "A", "command": "true"}
      |   ^
      |
      = hint: add `"id": "build"`
    [exit: 2]
    "#);
}

#[test]
fn a_cycle_is_shown() {
    let seen = start(
        r#"{"pipelines": [
  {"id": "diagnostics", "title": "D", "stages": [{"kind": "subpipeline", "id": "a", "title": "A", "pipeline": "other"}]},
  {"id": "other", "title": "O", "stages": [{"kind": "subpipeline", "id": "b", "title": "B", "pipeline": "diagnostics"}]}
]}
"#,
    );

    assert_seen!(seen, @r#"
    error: pipelines call each other in a circle: diagnostics → other → diagnostics
     --> codex.orchestrator.json:2:111
      |
    2 |   {"id": "diagnostics", "title": "D", "stages": [{"kind": "subpipeline", "id": "a", "title": "A", "pipeline": "other"}]},
      |                                                                                                               ^^^^^^^
      |
     ::: codex.orchestrator.json:3:105
      |
    3 |   {"id": "other", "title": "O", "stages": [{"kind": "subpipeline", "id": "b", "title": "B", "pipeline": "diagnostics"}]}
      |                                                                                                         -------------
      |
      = hint: remove one of these calls
    [exit: 2]
    "#);
}

#[test]
fn an_approval_is_required_or_left_out() {
    let seen = start(
        r#"{"pipelines": [{"id": "diagnostics", "title": "D", "stages": [
  {"kind": "manual", "id": "ask", "approval": "maybe"}
]}]}
"#,
    );

    assert_seen!(seen, @r#"
    error: `approval` cannot be `maybe`
     --> codex.orchestrator.json:2:47
      |
    2 |   {"kind": "manual", "id": "ask", "approval": "maybe"}
      |                                               ^^^^^^^
      |
      = hint: write `"required"`, or leave it out
    [exit: 2]
    "#);
}

#[test]
fn what_is_no_json_is_shown() {
    let seen = start("{\"pipelines\": [\n");

    assert_seen!(seen, @r#"
    error: invalid JSON: unterminated array
     --> codex.orchestrator.json:1:15
      |
    1 | {"pipelines": [
      |               ^
      |
      = hint: the file is strict JSON: no comments, no trailing commas, names and texts in double quotes
    [exit: 2]
    "#);
}

#[test]
fn other_odd_files_are_errors_too() {
    for config in [
        "",
        "null",
        "[]",
        "3",
        "{\"pipelines\": {}}",
        "{\"pipelines\": [{\"id\": \"diagnostics\", \"title\": \"D\", \"stages\": []}]}",
        "\0",
    ] {
        let seen = start(config);
        assert_eq!(seen.code, 2, "{config:?}: {seen}");
        assert!(seen.stderr.starts_with("error"), "{config:?}: {seen}");
        assert_eq!(seen.stdout, "");
    }
}

#[test]
fn a_flaw_of_one_pipeline_leaves_the_others_alone() {
    let repo = Fixture::new("passing");
    repo.write(
        "codex.orchestrator.json",
        r#"{"pipelines": [
  {"id": "diagnostics", "title": "D", "stages": [{"kind": "command", "id": "a", "title": "A", "command": "true"}]},
  {"id": "empty", "title": "E", "stages": []}
]}"#,
    );

    assert_eq!(repo.orchestrate("start").code, 0);
    assert_eq!(repo.orchestrate("start empty").code, 2);
}
