//! `templates/schemas`: JSON Schemas of what we write, generated from the types.
//!
//! `UPDATE_SCHEMAS=1 cargo test --test it schemas` writes them anew.

use std::fs;
use std::path::{Path, PathBuf};

use git_orchestrate::pipeline::{config_schema, goals_schema};
use git_orchestrate::render;
use git_orchestrate::run::{event::RunEvent, manifest::Manifest, metrics::MetricsLine, summary::RunSummary};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use crate::fixture::{Fixture, json_of, lines_of};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/schemas")
}

fn of<T: JsonSchema>() -> Value {
    // The schema of what is written: what is always there is required.
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>().to_value()
}

/// Returns each schema with its file name and its title.
fn schemas() -> Vec<(&'static str, Value)> {
    [
        ("codex.orchestrator", "codex.orchestrator.json", config_schema::schema()),
        ("goals", "A file for spawn", goals_schema::schema()),
        ("spawn", "The answer of spawn --format json", of::<render::spawn::Document<'static>>()),
        (
            "spawn-dry-run",
            "The answer of spawn --dry-run --format json",
            of::<render::spawn::PreviewDocument<'static>>(),
        ),
        ("manifest", "manifest.json of a run", of::<Manifest>()),
        ("run-event", "One line of runner.ndjson that changes a run", of::<RunEvent>()),
        ("run-summary", "run-summary.json, and one item of runs.json", of::<RunSummary>()),
        ("metrics-line", "One line of metrics.json", of::<MetricsLine>()),
        ("start", "The answer of start and resume --format json", of::<render::start::Document>()),
        ("approve", "The answer of approve and reject --format json", of::<render::approve::Document>()),
        ("exec", "The answer of exec --json, and its run-summary.json", of::<render::exec::Document>()),
        ("bisect", "The answer of bisect --format json", of::<render::bisect::Document>()),
        ("each", "The answer of start --each --format json", of::<render::each::Document>()),
        ("plan", "The answer of plan --format json", of::<render::plan::Document>()),
        ("status", "The answer of status --format json", of::<render::status::Document<'static>>()),
        ("stream-new", "The answer of stream new --format json", of::<render::stream::CreatedDocument>()),
        ("stream-list", "The answer of stream list --format json", of::<render::streams::ListDocument>()),
        (
            "stream-status",
            "The answer of stream status --format json",
            of::<render::streams::StatusDocument>(),
        ),
        ("stream-land", "The answer of stream land --format json", of::<render::landing::Document>()),
        ("stream-rm", "The answer of stream rm --format json", of::<render::stream_gone::RemovedDocument>()),
        (
            "stream-undo",
            "The answer of stream undo --format json",
            of::<render::stream_gone::RestoredDocument>(),
        ),
        (
            "stream-prune",
            "The answer of stream prune --format json",
            of::<render::stream_gone::OffersDocument>(),
        ),
        ("guard", "The answer of guard --format json", of::<render::guard::Document<'static>>()),
        (
            "hook",
            "The answer of hook pre-commit and the like --format json",
            of::<render::around::Document>(),
        ),
        ("hook-pre-push", "The answer of hook pre-push --format json", of::<render::hook::Document>()),
        (
            "hooks",
            "The answer of hooks install and uninstall --format json",
            of::<render::hooks::ChangedDocument>(),
        ),
        (
            "hooks-migrate",
            "The answer of hooks migrate --format json",
            of::<render::migrated_hooks::Document>(),
        ),
        ("hooks-status", "The answer of hooks status --format json", of::<render::hooks::StatusDocument>()),
        ("push", "The answer of push --format json", of::<render::push::Document>()),
        ("budget", "The answer of budget --format json", of::<render::budget::Document>()),
        ("explain", "The answer of explain --format json", of::<render::explain::Document>()),
        ("flakes", "The answer of flakes --format json", of::<render::flakes::Document>()),
        ("list", "The answer of list --format json", of::<render::list::Document>()),
        ("docs-sync", "The answer of docs sync --format json", of::<render::docs::Document>()),
        ("init", "The answer of init --format json", of::<render::init::Document>()),
        ("doctor", "The answer of doctor --format json", of::<render::doctor::Document>()),
        (
            "evidence-show",
            "The answer of evidence show --format json",
            of::<render::evidence::ShowDocument>(),
        ),
        (
            "evidence-verify",
            "The answer of evidence verify --format json",
            of::<render::evidence::VerifyDocument>(),
        ),
        (
            "evidence-audit",
            "The answer of evidence audit --format json",
            of::<render::audit::AuditDocument>(),
        ),
        (
            "evidence-receive",
            "The answer of evidence receive --format json",
            of::<render::audit::ReceiveDocument>(),
        ),
        (
            "evidence-write",
            "The answer of evidence write --format json",
            of::<render::evidence::WriteDocument>(),
        ),
        (
            "evidence-push",
            "The answer of evidence push --format json",
            of::<render::evidence::PushDocument>(),
        ),
        (
            "evidence-fetch",
            "The answer of evidence fetch --format json",
            of::<render::evidence::FetchDocument>(),
        ),
        (
            "evidence-compact",
            "The answer of evidence compact --format json",
            of::<render::upkeep::CompactDocument>(),
        ),
        (
            "evidence-rebuild",
            "The answer of evidence rebuild --format json",
            of::<render::upkeep::RebuildDocument>(),
        ),
        (
            "evidence-push-detach",
            "The answer of evidence push --detach --format json",
            of::<render::upkeep::SendingDocument>(),
        ),
        (
            "evidence-rewrite",
            "The answer of evidence rewrite --format json",
            of::<render::upkeep::RewriteDocument>(),
        ),
        ("gc", "The answer of gc --format json", of::<render::gc::Document>()),
        (
            "snapshot",
            "The answer of snapshot create and show --format json",
            of::<render::snapshot::Document>(),
        ),
        (
            "snapshot-list",
            "The answer of snapshot list --format json",
            of::<render::snapshot::ListDocument>(),
        ),
        (
            "snapshot-replay",
            "The answer of snapshot replay --format json",
            of::<render::snapshot::ReplayDocument>(),
        ),
        (
            "snapshot-requeue",
            "The answer of snapshot requeue --format json",
            of::<render::snapshot::RequeueDocument>(),
        ),
        ("snapshot-gc", "The answer of snapshot gc --format json", of::<render::snapshot::GcDocument>()),
        (
            "snapshot-restore",
            "The answer of snapshot restore --format json",
            of::<render::snapshot::RestoreDocument>(),
        ),
        ("metrics", "The answer of metrics --format json", of::<render::metrics::Document>()),
        ("migrate", "The answer of migrate --format json", of::<render::migrate::Document>()),
        ("metrics-summary", "metrics-summary.json of a task", of::<render::metrics::Summary>()),
    ]
    .into_iter()
    .map(|(name, title, schema)| {
        let mut document = json!({
            "$schema": schema["$schema"],
            "$id": format!("urn:git-orchestrate:schema:{name}"),
            "title": title,
        });
        for (key, value) in schema.as_object().expect("a schema").clone() {
            document.as_object_mut().expect("a schema").entry(key).or_insert(value);
        }
        plain(&mut document);
        (name, document)
    })
    .collect()
}

/// Removes from descriptions what only readers of the source can follow: links, and sections.
fn plain(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(plain),
        Value::Object(fields) => {
            if let Some(Value::String(text)) = fields.get_mut("description") {
                while let Some(begin) = text.find(" (`contract-core.md`") {
                    let end = begin + text[begin..].find(')').expect("a closing bracket") + 1;
                    text.replace_range(begin..end, "");
                }
                *text = text.replace("[`", "`").replace("`]", "`");
            }
            fields.values_mut().for_each(plain);
        }
        _ => {}
    }
}

#[test]
fn the_schemas_are_those_of_the_types() {
    let update = std::env::var_os("UPDATE_SCHEMAS").is_some();
    let mut names = Vec::new();
    for (name, schema) in schemas() {
        let path = folder().join(format!("{name}.json"));
        names.push(path.clone());
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if update {
            fs::create_dir_all(folder()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let on_disk = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            on_disk == text,
            "{name}.json is not what the types say: set UPDATE_SCHEMAS=1 to write it anew"
        );
    }
    names.sort();
    let mut there: Vec<_> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    there.sort();
    assert_eq!(there, names, "no schema is left over");
}

/// Checks a document against the part of JSON Schema that our types use.
fn check(value: &Value, schema: &Value, root: &Value, at: &str) -> Result<(), String> {
    let no = |why: String| Err(format!("{at}: {why}"));
    if let Some(target) = schema["$ref"].as_str() {
        let target =
            root.pointer(target.strip_prefix('#').expect("a local reference")).expect("a definition");
        check(value, target, root, at)?;
    }
    for list in ["anyOf", "oneOf"] {
        let Some(choices) = schema[list].as_array() else { continue };
        let fits: Vec<_> = choices.iter().map(|choice| check(value, choice, root, at)).collect();
        if !fits.iter().any(Result::is_ok) {
            return no(format!("none of {list} fits {value}: {fits:?}"));
        }
    }
    if schema.get("const").is_some_and(|only| only != value) {
        return no(format!("{value} is not {}", schema["const"]));
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return no(format!("{value} is none of {}", schema["enum"]));
    }
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        _ => value.is_object(),
    };
    match &schema["type"] {
        Value::String(name) if !is(name) => return no(format!("{value} is no {name}")),
        Value::Array(names) if !names.iter().any(|name| is(name.as_str().unwrap())) => {
            return no(format!("{value} is none of {names:?}"));
        }
        _ => {}
    }
    if let Value::Object(fields) = value {
        for name in schema["required"].as_array().into_iter().flatten() {
            if !fields.contains_key(name.as_str().unwrap()) {
                return no(format!("{name} is missing"));
            }
        }
        for (name, value) in fields {
            match &schema["properties"][name] {
                Value::Null if schema["additionalProperties"] == false => {
                    return no(format!("`{name}` is unknown"));
                }
                Value::Null => {}
                part => check(value, part, root, &format!("{at}.{name}"))?,
            }
        }
    }
    let items = value.as_array().into_iter().flatten().enumerate();
    items
        .filter(|_| !schema["items"].is_null())
        .try_for_each(|(n, item)| check(item, &schema["items"], root, &format!("{at}[{n}]")))
}

fn fits(value: &Value, name: &str) {
    let schema = json_of(&folder().join(format!("{name}.json")));
    check(value, &schema, &schema, name).unwrap();
}

#[test]
fn what_a_run_leaves_fits_the_schemas() {
    let sub =
        json!({"kind": "subpipeline", "id": "sub", "title": "Sub", "pipeline": "inner", "optional": true});
    let config = json!({"pipelines": [
        {"id": "diagnostics", "title": "D", "description": "All", "stages": [
            {"kind": "command", "id": "a", "title": "A", "command": "echo $MY_TOKEN", "env": {"A": "1"}}, sub,
            {"kind": "command", "id": "guard", "title": "Guard", "command": "true spec-guard; exit 1"},
        ]},
        {"id": "inner", "title": "I", "stages": [
            {"kind": "command", "id": "b", "title": "B", "command": "exit 2"},
        ]},
    ]});
    fits(&config, "codex.orchestrator");
    let repo = Fixture::with_config(&config);
    let seen =
        repo.see(repo.program().env("MY_TOKEN", "hunter2-very-secret").args(["start", "--format", "json"]));
    fits(&seen.json(), "start");
    fits(&repo.orchestrate("resume latest --format json").json(), "start");
    fits(&repo.orchestrate("start --each HEAD~1..HEAD --format json").json(), "each");
    repo.orchestrate("resume latest --token wrong");
    fits(&repo.orchestrate("plan --format json").json(), "plan");
    fits(&repo.orchestrate("exec --json -- echo hi").json(), "exec");
    fits(&repo.orchestrate("init --print --format json").json(), "init");
    fits(&repo.orchestrate("doctor --format json").json(), "doctor");
    fits(&repo.orchestrate("status --format json").json(), "status");
    repo.write(".runs/0101/cli/damaged/manifest.json", "{");
    fits(&repo.orchestrate("list --format json").json(), "list");
    fs::remove_dir_all(repo.path(".runs/0101/cli/damaged")).unwrap();
    for run in repo.runs("0101") {
        fits(&json_of(&run.join("manifest.json")), "manifest");
        let summary = json_of(&run.join("run-summary.json"));
        fits(&summary, if summary["type"] == "run:summary" { "exec" } else { "run-summary" });
        for line in lines_of(&run.join("runner.ndjson")) {
            let kind = line["type"].as_str().unwrap();
            if ["run:", "stage:", "child:"].iter().any(|prefix| kind.starts_with(prefix)) {
                fits(&line, "run-event");
            }
        }
    }
    repo.write(".runs/local-mcp/odd/manifest.json", "{\"status\": \"failed\"}");
    fits(&repo.orchestrate("migrate --format json").json(), "migrate");
    fits(&repo.orchestrate("gc --dry-run --format json").json(), "gc");
    fits(&repo.orchestrate("metrics --format json").json(), "metrics");
    fits(&repo.json(".runs/0101/metrics-summary.json"), "metrics-summary");
    for line in lines_of(&repo.path(".runs/0101/metrics.json")) {
        fits(&line, "metrics-line");
    }
    fits(
        &json_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("codex.orchestrator.json")),
        "codex.orchestrator",
    );
}

#[test]
fn what_streams_answer_fits_the_schemas() {
    let config = json!({"streams": {"path": "../{repo}.{name}", "setup": ["true"], "setupTimeout": "1m", "lfs": "now"}});
    fits(&config, "codex.orchestrator");
    let repo = Fixture::with_config(&config);
    fits(&repo.orchestrate("stream new a main --format json").json(), "stream-new");
    repo.orchestrate_in(&repo.root().with_file_name("a repo.a"), "start");
    fits(&repo.orchestrate("stream list --format json").json(), "stream-list");
    fits(&repo.orchestrate("stream list --probe --format json").json(), "stream-list");
    fits(&repo.orchestrate("stream status a --format json").json(), "stream-status");
    fits(&repo.orchestrate("stream land a --format json").json(), "stream-land");
    fits(&repo.orchestrate("stream rm a nothing --format json").json(), "stream-rm");
    fits(&repo.orchestrate("stream undo a --format json").json(), "stream-undo");
    std::fs::remove_dir_all(repo.root().with_file_name("a repo.a")).unwrap();
    fits(&repo.orchestrate("stream prune --format json").json(), "stream-prune");
    fits(&repo.orchestrate("stream prune --yes --format json").json(), "stream-prune");
}

#[test]
fn goals_and_what_became_of_them_fit_the_schemas() {
    let repo = Fixture::new("passing");
    let file = json!({"$schema": "x", "title": "All", "jobs": 2, "timeout": "1m", "keepGoing": true,
        "adapters": ["go-module", {"id": "web", "cwd": ".", "env": {"A": 1}, "commands": {
            "build": "true", "test": {"command": "true", "args": ["x"], "timeout": 9, "parallel": false, "title": "T"}}}],
        "goals": ["build", {"id": "x", "adapter": "web", "goal": "test", "needs": ["web:build"], "cwd": "."},
            {"pipeline": "diagnostics"}]});
    fits(&file, "goals");
    repo.write("goals.json", &file.to_string());
    fits(&repo.orchestrate("spawn goals.json --dry-run --format json").json(), "spawn-dry-run");
    fits(&repo.orchestrate("spawn goals.json --adapters web --format json").json(), "spawn");
    fits(&repo.orchestrate("status --format json").json(), "status");
    for run in repo.runs("0101") {
        fits(&json_of(&run.join("manifest.json")), "manifest");
    }
}

#[test]
fn what_hooks_and_pushes_answer_fits_the_schemas() {
    use crate::hook::Project;
    let gate =
        json!({"require": ["build", "test"], "guardrails": ["diff-budget", "spec"], "inlineSeconds": 0});
    let project = Project::new(gate);
    let first = project.repo.git(&["rev-parse", "HEAD"]);
    let commit = project.commit("second");
    let line = format!(
        "refs/heads/main {commit} refs/heads/main {first}\n(delete) {} refs/heads/x {first}",
        "0".repeat(40)
    );
    let answer = |words: &str| project.repo.orchestrate(&format!("{words} --format json")).json();
    fits(&project.asked(&line, "--format json").json(), "hook-pre-push");
    fits(&answer("hooks status"), "hooks-status");
    project.repo.write("lefthook.yml", "post-merge: {commands: {x: {run: x}, y: {run: y, skip: true}}}\n");
    fits(&answer("hooks migrate"), "hooks-migrate");
    fs::remove_file(project.repo.path("lefthook.yml")).unwrap();
    fits(&answer("push origin main"), "push");
    fits(&project.asked(&line, "--format json").json(), "hook-pre-push");
    fits(&answer("hooks install"), "hooks");
    fits(&answer("hooks status"), "hooks-status");
    fits(&answer("hooks uninstall"), "hooks");
    let line = format!("refs/heads/x {first} refs/heads/x {}", "0".repeat(40));
    let document = project.asked(&line, "--format json").json();
    fits(&document, "hook-pre-push");
    fits(&answer("evidence show"), "evidence-show");
}
