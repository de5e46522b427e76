//! `init`: a configuration that fits the project.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::fixture::{Fixture, Seen};
use crate::witness::{ended, spawn};

const CONFIG: &str = "codex.orchestrator.json";
const SCHEMA: &str = "codex.orchestrator.schema.json";

/// Returns the stages of `plan`, as `id: command`.
fn planned(repo: &Fixture) -> Vec<String> {
    let seen = repo.orchestrate("plan --format json");
    assert_eq!(seen.code, 0, "{seen}");
    let plan = seen.json();
    assert_eq!(plan["pipeline"]["source"], "user", "{plan}");
    let line =
        |stage: &Value| format!("{}: {}", stage["id"].as_str().unwrap(), stage["command"].as_str().unwrap());
    plan["stages"].as_array().unwrap().iter().map(line).collect()
}

fn without_config(name: &str) -> Fixture {
    let repo = Fixture::new(name);
    if repo.path(CONFIG).exists() {
        repo.git(&["rm", "--quiet", CONFIG]);
        repo.git(&["commit", "--quiet", "--message", "no configuration"]);
    }
    repo
}

#[test]
fn each_kind_of_project_gets_stages_that_it_has() {
    let cases: [(&str, &[&str]); 4] = [
        ("npm", &["build: pnpm run build", "test: pnpm run test"]),
        ("go", &["build: go build ./...", "lint: go vet ./...", "test: go test ./..."]),
        ("python", &["lint: uv run python3 -m ruff check .", "test: uv run python3 -m pytest"]),
        ("make", &["build: make all", "test: make check"]),
    ];
    for (name, expected) in cases {
        let repo = Fixture::new(name);
        let before = repo.orchestrate("plan --format json").json()["stages"].clone();

        let seen = repo.orchestrate("init --format json");

        assert_eq!(seen.code, 0, "{name}: {seen}");
        assert_eq!(seen.json()["written"], json!([CONFIG, SCHEMA]));
        assert_eq!(seen.json()["found"], json!([{"kind": name, "folder": ""}]));
        let mut stages = planned(&repo);
        stages.retain(|stage| !stage.contains("ast.parse"));
        assert_eq!(stages, expected, "{name}");
        // What the program would have run without the file, it says in the file.
        let after = repo.orchestrate("plan --format json").json()["stages"].clone();
        let commands = |stages: &Value| -> Vec<Value> {
            stages.as_array().unwrap().iter().map(|stage| stage["command"].clone()).collect()
        };
        assert_eq!(commands(&before), commands(&after), "{name}");
        assert_eq!(repo.json(CONFIG)["$schema"], format!("./{SCHEMA}"));
    }
}

#[test]
fn the_first_five_minutes() {
    let repo = Fixture::new("make");

    assert_seen!(repo.orchestrate("init"), @"
    Wrote codex.orchestrator.json and codex.orchestrator.schema.json
    The stages come from a makefile:
      build  make all
      test   make check
    Next:
      git orchestrate plan    shows what would run
      git orchestrate doctor  looks whether something would stop it
      git orchestrate start   runs it
      git add codex.orchestrator.json codex.orchestrator.schema.json  keeps it
    [exit: 0]
    ");

    assert_eq!(repo.orchestrate("doctor").code, 0, "{}", repo.orchestrate("doctor"));
    assert_eq!(repo.orchestrate("start").code, 0);
    assert_eq!(repo.only_manifest("0101")["status"], "succeeded");
}

#[test]
fn the_schema_beside_the_configuration_is_ours_and_describes_it() {
    let repo = Fixture::new("go");
    repo.orchestrate("init");

    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/templates/schemas/codex.orchestrator.json");
    assert_eq!(repo.read(SCHEMA), fs::read_to_string(ours).unwrap());
    let named = repo.json(CONFIG)["$schema"].as_str().unwrap().to_owned();
    assert!(repo.root().join(named).is_file(), "an editor can follow it");
    let seen = repo.orchestrate("init --update-schema");
    assert_eq!(seen.stdout, "Nothing to do: the schema is the present one\n");

    let older = repo.read(SCHEMA).replace("What can run", "What could run");
    repo.write(SCHEMA, &older);
    assert!(repo.orchestrate("doctor").stdout.contains("git orchestrate init --update-schema"));
    assert_eq!(repo.orchestrate("init --update-schema").stdout, format!("Wrote {SCHEMA}\n"));
    assert_eq!(repo.read(SCHEMA), fs::read_to_string(ours).unwrap());

    repo.write(SCHEMA, "{}");
    for words in ["init --update-schema", "init"] {
        fs::remove_file(repo.path(CONFIG)).ok();
        assert_eq!(repo.orchestrate(words).code, 3);
        assert_eq!(repo.read(SCHEMA), "{}");
        assert!(!repo.path(CONFIG).exists());
    }
}

#[test]
fn an_existing_configuration_is_left_as_it_is() {
    let repo = Fixture::new("passing");
    let before = repo.read(CONFIG);

    let seen = repo.orchestrate("init");

    assert_eq!((seen.code, seen.stdout.as_str()), (3, ""), "{seen}");
    assert!(seen.stderr.contains("exists, and is left as it is"), "{seen}");
    assert!(seen.stderr.contains("hint: `git orchestrate init --print`"), "{seen}");
    assert_eq!(repo.read(CONFIG), before);
    assert!(!repo.path(SCHEMA).exists());
    assert_eq!(repo.orchestrate("init --print").code, 0);
    assert_eq!(repo.git(&["status", "--short"]), "");

    // A link that leads nowhere, and a folder, are something too.
    fs::remove_file(repo.path(CONFIG)).unwrap();
    symlink("elsewhere", repo.path(CONFIG)).unwrap();
    assert_eq!(repo.orchestrate("init").code, 3);
    assert!(!repo.path("elsewhere").exists());
    fs::remove_file(repo.path(CONFIG)).unwrap();
    fs::create_dir(repo.path(CONFIG)).unwrap();
    assert_eq!(repo.orchestrate("init").code, 3);
}

#[test]
fn what_is_printed_is_what_would_be_written() {
    let repo = Fixture::new("python");

    let printed = repo.orchestrate("init --print").stdout;
    assert_eq!(repo.orchestrate("init --dry-run").stdout, printed);
    assert_eq!(repo.git(&["status", "--short"]), "");

    repo.orchestrate("init");
    assert_eq!(repo.read(CONFIG), printed);
}

#[test]
fn of_several_kinds_all_are_told_and_none_is_guessed() {
    let repo = Fixture::new("mixed");

    assert_seen!(repo.orchestrate("init"), @r#"
    Wrote codex.orchestrator.json and codex.orchestrator.schema.json
    The stages come from Cargo.toml:
      build  cargo build --workspace --all-targets
      lint   cargo fmt --all --check
      test   cargo test --workspace
    Also here: a makefile, without stages of its own; --kind make takes it
    Also in web/: package.json, without stages of its own; one would be
      {"kind":"command","id":"npm","command":"npm run test","cwd":"web"}
    Also in services/api/: go.mod, without stages of its own; one would be
      {"kind":"command","id":"go","command":"go test ./...","cwd":"services/api"}
    Next:
      git orchestrate plan    shows what would run
      git orchestrate doctor  looks whether something would stop it
      git orchestrate start   runs it
      git add codex.orchestrator.json codex.orchestrator.schema.json  keeps it
    [exit: 0]
    "#);

    fs::remove_file(repo.path(CONFIG)).unwrap();
    assert_eq!(repo.orchestrate("init --kind make --kind cargo").code, 0);
    assert_eq!(planned(&repo).len(), 4);
    assert_eq!(planned(&repo)[3], "make-test: make test");
}

#[test]
fn a_kind_that_is_not_here_is_an_error() {
    let repo = Fixture::new("go");

    let seen = repo.orchestrate("init --kind cargo");

    assert_eq!(seen.code, 2, "{seen}");
    assert!(seen.stderr.contains("with cargo") && seen.stderr.contains("hint: kinds here: go"), "{seen}");
    assert!(!repo.path(CONFIG).exists());
}

#[test]
fn a_project_that_says_nothing_gets_a_stage_that_fails_until_it_is_replaced() {
    let repo = without_config("passing");

    let seen = repo.orchestrate("init");

    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stdout.contains("fails until you put your own command in its place"), "{seen}");
    let run = repo.orchestrate("start");
    assert_eq!(run.code, 1, "nothing passes that was not checked: {run}");
    assert!(run.stderr.contains("say in codex.orchestrator.json"), "{run}");
}

#[test]
fn it_works_from_a_subfolder_a_linked_worktree_and_before_the_first_commit() {
    let repo = without_config("passing");
    repo.write("deep/down/Makefile", "test:\n\ttrue\n");
    repo.write("go.mod", "module x\n");
    let seen = repo.orchestrate_in(&repo.path("deep/down"), "init");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(repo.path(CONFIG).is_file() && !repo.path("deep/down").join(CONFIG).exists());

    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", linked.to_str().unwrap()]);
    assert_eq!(repo.orchestrate_in(&linked, "init").code, 0);
    assert!(linked.join(CONFIG).is_file());

    let unborn = repo.beside("unborn");
    repo.git(&["init", "--quiet", unborn.to_str().unwrap()]);
    fs::write(unborn.join("go.mod"), "module x\n").unwrap();
    assert_eq!(repo.orchestrate_in(&unborn, "init").code, 0);
    assert_eq!(repo.orchestrate_in(&unborn, "plan").code, 0);
}

#[test]
fn of_two_at_once_one_writes() {
    let repo = Fixture::new("go");

    let both: Vec<_> = (0..2).map(|_| spawn(repo.program().arg("init"))).collect();
    let mut codes: Vec<_> = both.into_iter().map(ended).map(|seen: Seen| seen.code).collect();
    codes.sort_unstable();

    assert_eq!(codes, [0, 3]);
    assert_eq!(planned(&repo).len(), 3);
    assert_eq!(repo.git(&["status", "--short"]), format!("?? {CONFIG}\n?? {SCHEMA}"));
}
