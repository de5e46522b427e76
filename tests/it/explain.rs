//! Why a stage is proven or not, down to the one thing that differs.

use serde_json::{Value, json};

use crate::fixture::Fixture;

fn config(command: &str, tool: &str) -> Value {
    json!({
        "pipelines": [{"id": "p", "stages": [
            {"kind": "command", "id": "build", "command": command, "env": {"MODE": "fast"}},
            {"kind": "command", "id": "docs", "command": "true", "inputs": ["docs/"]},
            {"kind": "manual", "id": "look"},
        ]}],
        "defaultPipeline": "p", "fingerprint": [tool], "fingerprintEnv": ["FLAVOUR"],
    })
}

fn explained(repo: &Fixture, words: &str) -> Value {
    let seen = repo.orchestrate(&format!("explain --format json {words}"));
    assert_eq!(seen.code, 0, "{seen}");
    seen.json()
}

/// A project in which everything ran once.
fn proven() -> Fixture {
    let repo = Fixture::with_config(&config("true", "echo 1"));
    repo.write("docs/a.md", "one");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "docs"]);
    let seen = repo.orchestrate("start --approval-policy auto");
    assert_eq!(seen.code, 0, "{seen}");
    repo
}

#[test]
fn what_is_proven_names_the_run() {
    let repo = proven();
    let run = repo.only_manifest("0101")["run_id"].clone();
    let answer = explained(&repo, "");
    assert_eq!(
        (&answer["dirty"], &answer["tree"]),
        (&json!(false), &json!(repo.git(&["rev-parse", "HEAD^{tree}"])))
    );
    for at in [0, 1] {
        assert_eq!(
            (&answer["stages"][at]["standing"], &answer["stages"][at]["run"]["run_id"]),
            (&json!("proven"), &run)
        );
    }
    assert_eq!(answer["stages"][2]["standing"], "not-kept");
    // The same of the commit, from wherever it is asked.
    repo.write("docs/a.md", "two");
    assert_eq!(explained(&repo, "build --rev HEAD")["stages"][0]["proven"], true);
    assert_eq!(explained(&repo, "build --rev HEAD~1")["stages"][0]["proven"], false);
}

#[test]
fn the_one_thing_that_differs_is_named() {
    let repo = proven();
    let differing = |words: &str| explained(&repo, words)["stages"][0].clone();

    repo.write("new file", "x");
    let stage = differing("build");
    assert_eq!(stage["standing"], "differs");
    assert_eq!(stage["differences"].as_array().unwrap().len(), 1);
    assert_eq!(stage["files"], json!([{"status": "A", "path": "new file", "from": null}]));
    assert_eq!(differing("docs")["standing"], "proven");
    repo.write("docs/a.md", "two");
    assert_eq!(differing("docs")["files"], json!([{"status": "M", "path": "docs/a.md", "from": null}]));

    repo.write("codex.orchestrator.json", &config("false", "echo 1").to_string());
    let stage = differing("build");
    let parts: Vec<_> =
        stage["differences"].as_array().unwrap().iter().map(|it| it["part"].clone()).collect();
    assert_eq!(parts, ["files", "definition"]);
    assert_eq!(
        stage["differences"][1],
        json!({"part": "definition", "field": "command", "now": "false", "then": "true"})
    );
}

#[test]
fn each_line_of_what_a_stage_does_is_named_alone_and_makes_it_run_again() {
    let stage = |change: &Value| {
        let mut stage = json!({
            "kind": "command", "id": "test", "command": "echo ran >> \"$HOME/ran\"", "cwd": "docs",
            "env": {"MODE": "fast"}, "inputs": ["docs/"],
        });
        stage.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        stage.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        json!({"pipelines": [{"id": "p", "stages": [stage]}], "defaultPipeline": "p"})
    };
    let definition = |field: &str, now: Value, then: Value| json!([{"part": "definition", "field": field, "now": now, "then": then}]);
    let ran = |repo: &Fixture| std::fs::read_to_string(repo.beside("ran")).unwrap().lines().count();
    for (change, expected) in [
        (json!({"cwd": "docs/deep"}), definition("cwd", json!("docs/deep"), json!("docs"))),
        (json!({"cwd": null}), definition("cwd", json!(null), json!("docs"))),
        (json!({"env": {"MODE": "slow"}}), definition("env.MODE", json!("slow"), json!("fast"))),
        (json!({"env": null}), definition("env.MODE", json!(null), json!("fast"))),
    ] {
        let repo = Fixture::with_config(&stage(&json!({})));
        repo.write("docs/deep/a.md", "one");
        assert_eq!(repo.orchestrate("start").code, 0);
        assert_eq!(explained(&repo, "test")["stages"][0]["standing"], "proven");
        repo.write("codex.orchestrator.json", &stage(&change).to_string());
        let found = explained(&repo, "test")["stages"][0].clone();
        assert_eq!((&found["standing"], &found["differences"]), (&json!("differs"), &expected), "{change}");
        assert_eq!(repo.orchestrate("start --reuse").code, 0);
        assert_eq!(ran(&repo), 2, "{change}");
        assert_eq!(repo.orchestrate("start --reuse").code, 0);
        assert_eq!(ran(&repo), 2, "{change}");
    }
}

#[test]
fn what_another_shell_or_another_version_of_keys_ran_is_no_answer() {
    use git_orchestrate::run::key::{Definition, Fingerprint, Key, Subject};
    use git_orchestrate::sys::digest::sha256_hex;
    for (field, was, is) in [("shell", json!("/bin/bash -c"), "/bin/sh -c"), ("format", json!(0), "1")] {
        let repo = Fixture::with_commands(&["echo ran >> \"$HOME/ran\""]);
        assert_eq!(repo.orchestrate("start").code, 0);
        // The record of a program that starts its commands with another shell, or makes keys in another way.
        crate::reuse::change_ledger(&repo, |record| {
            let fingerprint: Fingerprint = serde_json::from_value(record["fingerprint"].clone()).unwrap();
            let stage = &mut record["stages"][0];
            stage["definition"][field] = was.clone();
            let definition: Definition = serde_json::from_value(stage["definition"].clone()).unwrap();
            let subject: Subject = serde_json::from_value(stage["subject"].clone()).unwrap();
            let digest = definition.digest(sha256_hex);
            let key = Key::new(&subject, &digest, &fingerprint.digest(sha256_hex), sha256_hex);
            assert_ne!(stage["key"], json!(key), "{field} is in the key");
            (stage["definition_digest"], stage["key"]) = (json!(digest), json!(key));
        });
        let stage = explained(&repo, "s1")["stages"][0].clone();
        let then = was.as_str().map_or(was.to_string(), str::to_owned);
        let expected = json!([{"part": "definition", "field": field, "now": is, "then": then}]);
        assert_eq!((&stage["standing"], &stage["differences"]), (&json!("differs"), &expected));
        assert_eq!(repo.orchestrate("start --reuse").code, 0);
        let ran = std::fs::read_to_string(repo.beside("ran")).unwrap();
        assert_eq!(ran.lines().count(), 2, "{field}");
    }
}

#[test]
fn tools_and_variables_are_named_too() {
    let repo = proven();
    repo.write("codex.orchestrator.json", &config("true", "echo 2").to_string());
    let mut program = repo.program();
    let seen = repo.see(program.args(["explain", "docs", "--format", "json"]).env("FLAVOUR", "sweet"));
    let stage = seen.json()["stages"][0].clone();
    assert_eq!(
        stage["differences"],
        json!([
            {"part": "tool", "command": "echo 1", "now": null, "then": "1"},
            {"part": "tool", "command": "echo 2", "now": "2", "then": null},
            {"part": "variable", "name": "FLAVOUR", "now": "set", "then": "unset"},
        ])
    );
    let why = stage["why"].as_str().unwrap();
    assert!(why.ends_with(" ran it with other tools and with other variables"), "{why}");
    let text = repo.orchestrate("explain docs").stdout;
    assert!(text.contains("not proven  docs") && text.contains("`echo 2` now   2"), "{text}");
}

#[test]
fn what_was_run_and_proves_nothing_says_by_which_rule() {
    let repo = Fixture::with_commands(&["exit 3"]);
    repo.orchestrate("start");
    let stage = explained(&repo, "")["stages"][0].clone();
    assert_eq!((&stage["standing"], &stage["reason"]["rule"]), (&json!("unproven"), &json!("failed")));
    let repo = Fixture::with_commands(&["true"]);
    assert_eq!(explained(&repo, "")["stages"][0]["standing"], "unknown");
    let seen = repo.orchestrate("explain no-such-stage");
    assert_eq!((seen.code, seen.stdout.as_str()), (2, ""), "{seen}");
    let seen = repo.orchestrate("explain --rev no-such-commit");
    assert_eq!((seen.code, seen.stdout.as_str()), (2, ""), "{seen}");
}

#[test]
fn a_called_pipeline_is_explained_stage_by_stage_as_it_is_looked_up() {
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "p", "stages": [{"kind": "subpipeline", "id": "sub", "pipeline": "inner"}]},
        {"id": "inner", "stages": [
            {"kind": "command", "id": "all", "command": "true"},
            {"kind": "command", "id": "docs", "command": "true", "inputs": ["docs/"]},
        ]},
    ], "defaultPipeline": "p"}));
    repo.write("docs/a", "one");
    let part = |answer: &Value, at: usize| answer["stages"][0]["stages"][at]["standing"].clone();
    let answer = explained(&repo, "");
    assert_eq!(
        (&answer["stages"][0]["standing"], &answer["stages"][0]["proven"], part(&answer, 0)),
        (&json!("in-parts"), &json!(false), json!("unknown"))
    );
    assert_eq!(repo.orchestrate("start").code, 0);
    assert_eq!(explained(&repo, "")["stages"][0]["proven"], true);
    let text = repo.orchestrate("explain").stdout;
    assert!(text.contains("    proven  sub  all of its stages\n    proven    all  by run "), "{text}");
    repo.write("code", "new");
    let answer = explained(&repo, "sub");
    assert_eq!((part(&answer, 0), part(&answer, 1)), (json!("differs"), json!("proven")));
    assert_eq!(answer["stages"][0]["proven"], false);
    // That is what a run does.
    let seen = repo.orchestrate("start --reuse");
    assert!(seen.stderr.contains("ok  all") && seen.stderr.contains("reused  docs"), "{seen}");
}
