//! Runs that the reference wrote, as this program reads them and goes on with them.
//!
//! `fixtures/samples/<name>` holds some of its trees: `runs` is what `.runs` was.

use std::fs;
use std::path::{Path, PathBuf};

use git_orchestrate::run::manifest::Manifest;
use serde_json::{Value, json};

use crate::fixture::{Fixture, json_of, manifest};

/// A configuration of our own.
const ECHO: &str = r#"{"pipelines": [{"id": "echo", "title": "Echo", "guardrailsRequired": false, "stages": [
    {"kind": "command", "id": "echo", "title": "Echo", "command": "echo hi"}
]}]}"#;

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/samples")
}

/// Makes a repository around a sample.
fn sample(name: &str) -> Fixture {
    let repo = Fixture::new("passing");
    for entry in walkdir::WalkDir::new(samples().join(name)).min_depth(1) {
        let entry = entry.expect("a sample");
        let inside = entry.path().strip_prefix(samples().join(name)).expect("below");
        let to = match inside.strip_prefix("runs") {
            Ok(rest) => repo.path(".runs").join(rest),
            Err(_) => repo.root().join(inside),
        };
        if entry.file_type().is_dir() {
            fs::create_dir_all(&to).expect("a folder");
        } else if entry.file_type().is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path()).expect("a link"), &to).expect("a link");
        } else {
            fs::copy(entry.path(), &to).expect("a file");
        }
    }
    repo.write(".gitignore", ".runs/\nout/\n");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", name]);
    repo
}

/// Returns the manifest files of every run of the samples, with the name of their sample.
fn runs() -> Vec<(String, PathBuf)> {
    let mut runs = Vec::new();
    for entry in walkdir::WalkDir::new(samples()).sort_by_file_name() {
        let path = entry.expect("a sample").into_path();
        if path.ends_with("manifest.json") && path.ancestors().nth(2).is_some_and(|cli| cli.ends_with("cli"))
        {
            let name = path.strip_prefix(samples()).unwrap().iter().next().unwrap();
            runs.push((name.to_str().unwrap().to_owned(), path));
        }
    }
    assert!(runs.len() >= 15, "{runs:?}");
    runs
}

/// Returns whether `small` says nothing that `big` does not say too. Null and absent are the same.
fn is_within(small: &Value, big: &Value, at: &str) -> Result<(), String> {
    match (small, big) {
        (Value::Object(small), _) if big.is_object() => small
            .iter()
            .filter(|(_, value)| !value.is_null())
            .try_for_each(|(key, value)| is_within(value, &big[key], &format!("{at}.{key}"))),
        (Value::Array(small), Value::Array(big)) if small.len() == big.len() => small
            .iter()
            .zip(big)
            .enumerate()
            .try_for_each(|(n, (a, b))| is_within(a, b, &format!("{at}[{n}]"))),
        _ if small == big || small.as_f64().is_some_and(|number| big.as_f64() == Some(number)) => Ok(()),
        _ => Err(format!("{at}: {small} became {big}")),
    }
}

#[test]
fn nothing_of_a_manifest_is_lost_when_it_is_read() {
    for (name, path) in runs() {
        let text = json_of(&path);
        let read: Manifest =
            serde_json::from_value(text.clone()).unwrap_or_else(|err| panic!("{name}: {err}"));
        is_within(&text, &serde_json::to_value(read).unwrap(), &name).unwrap();
    }
}

#[test]
fn every_run_can_be_looked_at() {
    let mut names: Vec<_> = runs().into_iter().map(|(name, _)| name).collect();
    names.dedup();
    for name in names {
        let repo = sample(&name);
        let listed = repo.orchestrate("list --format json --limit 0").json();
        let expected = runs().iter().filter(|(of, _)| *of == name).count();
        assert_eq!(listed["runs"].as_array().unwrap().len(), expected, "{name}");
        for item in listed["runs"].as_array().unwrap() {
            let id = item["run_id"].as_str().unwrap();
            assert!(item.get("error").is_none(), "{name}: {item}");
            let status = repo.orchestrate(&format!("status --format json {id}"));
            assert_eq!((status.code, status.stderr.as_str()), (0, ""), "{name}: {status}");
            let on_disk = repo.json(item["manifest"].as_str().unwrap());
            let status = status.json();
            assert_eq!(status["status"], on_disk["status"], "{name}");
            let finished = ["succeeded", "failed"].contains(&on_disk["status"].as_str().unwrap());
            assert_eq!(status["dead"], !finished, "{name}: {id}");
            for words in ["status", "logs", "logs --json"] {
                let seen = repo.orchestrate(&format!("{words} {id}"));
                assert_eq!((seen.code, seen.stderr.as_str()), (0, ""), "{name} {words}: {seen}");
            }
        }
        assert_eq!(repo.git(&["status", "--porcelain"]), "", "{name}: to look changes nothing");
    }
}

#[test]
fn logs_of_the_reference_are_shown() {
    let repo = sample("04-nested");

    assert_eq!(repo.orchestrate("logs latest pre").stdout, "pre\n");
    assert!(repo.orchestrate("logs 2026-11-21T07-22-09-035Z").stdout.starts_with("hello"));
}

#[test]
fn old_layouts_are_found_through_their_pointers() {
    let repo = sample("52-migrate");
    let status = repo.orchestrate("status --format json 2025-10-16T01-00-00Z").json();
    assert_eq!((&status["status"], &status["task_id"]), (&json!("succeeded"), &json!("demo")));
    // Only a pointer is left where the run is looked for.
    let (run, moved) = ("2026-11-21T07-42-09-268Z-50d7007c", "elsewhere");
    fs::rename(repo.path(&format!(".runs/demo/cli/{run}")), repo.path(&format!(".runs/demo/{moved}")))
        .unwrap();
    for (name, text) in [
        ("manifest.json", format!(r#"{{"redirect_to": ".runs/demo/{moved}", "manifest": "x"}}"#)),
        ("compat.json", format!(r#"{{"artifact_root": ".runs/demo/{moved}"}}"#)),
    ] {
        fs::remove_dir_all(repo.path(&format!(".runs/demo/mcp/{run}"))).unwrap();
        repo.write(&format!(".runs/demo/mcp/{run}/{name}"), &text);
        let status = repo.orchestrate(&format!("status --format json {run}"));
        assert_eq!(status.code, 0, "{name}: {status}");
        assert_eq!(status.json()["run_id"], run);
    }
}

#[test]
fn a_failed_run_is_gone_on_with_as_often_as_it_takes() {
    let repo = sample("02-fail");
    let run = repo.runs("demo")[0].clone();
    let token = fs::read_to_string(run.join(".resume-token")).unwrap();
    assert_eq!(manifest(&run)["resume_token"], token.trim());

    for attempt in 1..=2 {
        let seen = repo.orchestrate("resume latest");
        assert_eq!(seen.code, 1, "attempt {attempt}: {seen}");
        let manifest = manifest(&run);
        assert_eq!(manifest["attempts"].as_array().unwrap().len(), attempt);
        assert_eq!(manifest["resume_events"].as_array().unwrap().len(), attempt);
        // What succeeded is kept, and from now on the token is safe.
        assert_eq!(manifest["commands"][0]["status"], "succeeded");
        assert!(!manifest.to_string().contains(token.trim()), "attempt {attempt}");
    }
    let journal = fs::read_to_string(run.join("runner.ndjson")).unwrap();
    assert!(!journal.contains(token.trim()));
    assert_eq!(
        repo.json(".runs/demo/metrics/post-rollout.json")["total_runs"],
        1,
        "one run, whatever its attempts"
    );
}

#[test]
fn a_wrong_token_is_refused_and_recorded() {
    let repo = sample("02-fail");
    let run = repo.runs("demo")[0].clone();

    let seen = repo.orchestrate("resume latest --token wrong");

    assert_eq!(seen.code, 6, "{seen}");
    assert_eq!(manifest(&run)["resume_events"][0]["outcome"], "blocked");
    assert_eq!(manifest(&run)["status"], "failed");
    assert_eq!(repo.orchestrate("resume latest").code, 1, "the right one still works");
}

#[test]
fn an_unfinished_run_is_finished() {
    let repo = sample("39-corrupt");
    let id = "2026-11-21T07-35-35-310Z-087d348c";
    assert_eq!(repo.orchestrate(&format!("status --format json {id}")).json()["status"], "queued");

    let seen = repo.orchestrate(&format!("resume {id}"));

    assert_eq!(seen.code, 0, "{seen}");
    let status = repo.orchestrate(&format!("status --format json {id}")).json();
    assert_eq!((&status["status"], &status["metrics_recorded"]), (&json!("succeeded"), &json!(true)));
    let history = repo.json("out/demo/runs.json");
    assert_eq!(history["runs"].as_array().unwrap().len(), 1, "the damaged history was put aside");
    assert!(repo.tree("out/demo").iter().any(|name| name.starts_with("runs.json.corrupt-")));
    assert_eq!(repo.json("out/demo/control-plane/drift.json")["total_samples"], 1);
}

#[test]
fn what_cannot_go_on_is_refused_with_a_reason() {
    let cases = [
        ("02-fail", "", "", 1, "Exited with code 3"),
        ("14-resume-failed", "", "", 2, "succeeded: there is nothing left to do"),
        ("20-misc", "--task recur", "", 2, "pipelines call each other in a circle: recur → recur"),
        ("20-misc", "--task badcwd-allow", "", 0, "the folder to run in does not exist"),
        ("30-exec", "", "2026-11-21T07-32-34-676Z", 2, "executed no pipeline that could go on"),
        ("52-migrate", "", "2025-10-16T01-00-00Z", 2, "executed no pipeline that could go on"),
        ("63-schema-full", "", "", 2, "succeeded: there is nothing left to do"),
    ];
    for (name, words, run, code, said) in cases {
        let repo = sample(name);
        let run = if run.is_empty() { "latest" } else { run };
        let seen = repo.orchestrate(&format!("resume {run} {words}"));
        assert_eq!(seen.code, code, "{name}: {seen}");
        assert!(seen.stderr.contains(said), "{name}: {seen}");
    }
}

#[test]
fn a_pipeline_that_changed_is_not_gone_on_with() {
    let repo = sample("02-fail");
    let config = repo.read("codex.orchestrator.json").replace("exit 3", "exit 0");
    repo.write("codex.orchestrator.json", &config);
    let before = repo.read(repo.runs("demo")[0].join("manifest.json").to_str().unwrap());

    let seen = repo.orchestrate("resume latest");

    assert_seen!(seen, @"
    error: pipeline `fail` has changed since run `[RUN]` began
    hint: stages that finished were other stages: `git orchestrate start` runs the present pipeline
    [exit: 3]
    ");
    assert_eq!(repo.read(repo.runs("demo")[0].join("manifest.json").to_str().unwrap()), before);
}

#[test]
fn metrics_of_the_reference_are_added_to() {
    // One of these runs was resumed and has a line for each time; one line is damaged.
    for (name, before) in [("14-resume-failed", 2), ("39-corrupt", 4)] {
        let repo = sample(name);
        repo.write("codex.orchestrator.json", ECHO);
        let old = repo.read(".runs/demo/metrics.json");

        assert_eq!(repo.orchestrate("start echo --task demo").code, 0);

        let new = repo.read(".runs/demo/metrics.json");
        assert!(new.starts_with(&old), "{name}");
        assert_eq!(new.lines().count(), old.lines().count() + 1, "{name}");
        assert_eq!(repo.json(".runs/demo/metrics/post-rollout.json")["total_runs"], before + 1, "{name}");
    }
}

#[test]
fn a_torn_line_of_metrics_is_left_alone_and_nothing_is_glued_to_it() {
    let repo = sample("14-resume-failed");
    repo.write("codex.orchestrator.json", ECHO);
    let old = repo.read(".runs/demo/metrics.json") + "{\"run_id\":\"trunc";
    repo.write(".runs/demo/metrics.json", &old);

    assert_eq!(repo.orchestrate("start echo --task demo").code, 0);

    let new = repo.read(".runs/demo/metrics.json");
    let lines: Vec<_> = new.lines().collect();
    assert_eq!(lines[lines.len() - 2], "{\"run_id\":\"trunc");
    assert!(serde_json::from_str::<Value>(lines[lines.len() - 1]).is_ok());
}

#[test]
fn a_damaged_manifest_is_refused_and_left_as_it_is() {
    let name = "02-fail";
    let whole = fs::read(runs().iter().find(|(of, _)| of == name).unwrap().1.clone()).unwrap();
    let cases: [(&str, Vec<u8>); 12] = [
        ("empty", Vec::new()),
        ("half", whole[..whole.len() / 2].to_vec()),
        ("zeroes", vec![0; 4096]),
        ("null", b"null".to_vec()),
        ("list", b"[]".to_vec()),
        ("object", b"{}".to_vec()),
        ("text", b"\"text\"".to_vec()),
        ("deep", b"[".repeat(100_000)),
        ("not UTF-8", b"{\"run_id\": \"\xff\"}".to_vec()),
        ("bad id", br#"{"run_id": "../x", "task_id": "demo", "status": "failed"}"#.to_vec()),
        ("bad status", br#"{"run_id": "x", "task_id": "demo", "status": "done"}"#.to_vec()),
        ("bad stages", br#"{"run_id": "x", "task_id": "demo", "status": "failed", "commands": {}}"#.to_vec()),
    ];
    for (what, bytes) in cases {
        let repo = sample(name);
        let path = repo.runs("demo")[0].join("manifest.json");
        fs::write(&path, &bytes).unwrap();
        for words in ["status", "resume latest", "logs"] {
            let seen = repo.orchestrate(words);
            assert_eq!((seen.code, seen.stdout.as_str()), (6, ""), "{what}, {words}: {seen}");
            assert!(seen.stderr.starts_with("error: cannot read run `"), "{what}, {words}: {seen}");
            assert!(seen.stderr.contains("manifest.json` is no manifest: "), "{what}, {words}: {seen}");
            assert!(!seen.stderr.contains("panicked"), "{what}, {words}: {seen}");
        }
        assert_eq!(fs::read(&path).unwrap(), bytes, "{what}");
        assert_eq!(repo.orchestrate("list").code, 0, "{what}");
        assert_eq!(
            repo.orchestrate("start diagnostics --task demo").code,
            2,
            "{what}: it has npm stages only"
        );
    }
}

#[test]
fn a_manifest_that_cannot_be_read_is_a_matter_of_storage() {
    let repo = sample("02-fail");
    let path = repo.runs("demo")[0].join("manifest.json");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();

    for words in ["status", "resume latest"] {
        let seen = repo.orchestrate(words);
        assert_eq!(seen.code, 4, "{words}: {seen}");
        assert!(seen.stderr.contains("manifest.json`: "), "{words}: {seen}");
    }
    assert!(repo.orchestrate("list").stdout.contains("unreadable"));
}

/// All of the reference's trees, where they are at hand: `SAMPLES=/folder cargo test --test it samples`.
#[test]
fn every_tree_at_hand_can_be_looked_at() {
    let Some(folder) = std::env::var_os("SAMPLES") else { return };
    for entry in walkdir::WalkDir::new(folder) {
        let path = entry.expect("a sample").into_path();
        if path.ends_with("manifest.json") && path.ancestors().nth(2).is_some_and(|cli| cli.ends_with("cli"))
        {
            let text = json_of(&path);
            let read: Manifest = serde_json::from_value(text.clone())
                .unwrap_or_else(|err| panic!("{}: {err}", path.display()));
            is_within(&text, &serde_json::to_value(read).unwrap(), &path.display().to_string()).unwrap();
        }
    }
}

#[test]
fn a_crash_between_the_new_journal_and_the_manifest_is_survived() {
    let repo = sample("02-fail");
    let run = repo.runs("demo")[0].clone();
    let before = fs::read(run.join("manifest.json")).unwrap();
    assert_eq!(repo.orchestrate("resume latest --token wrong").code, 6);
    let journal = fs::read_to_string(run.join("runner.ndjson")).unwrap();
    let end = journal.find("{\"type\":\"run:resume-refused\"").unwrap();

    fs::write(run.join("runner.ndjson"), &journal[..end]).unwrap();
    fs::write(run.join("manifest.json"), before).unwrap();

    let seen = repo.orchestrate("resume latest");
    assert_eq!(seen.code, 1, "{seen}");
    let manifest = manifest(&run);
    assert_eq!(manifest["attempts"].as_array().unwrap().len(), 1);
    let token = fs::read_to_string(run.join(".resume-token")).unwrap();
    assert!(!manifest.to_string().contains(token.trim()));
}
