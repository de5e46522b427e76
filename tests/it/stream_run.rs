//! `stream run` and `stream new --run`: a pipeline in several streams, and one run above them.

use std::fs;

use crate::fixture::{Fixture, manifest, statuses};
use crate::stream::folder;
use crate::witness::{Gate, audit, is_alive, wait_for, wait_until};

/// Returns the manifests of the runs of a stream's task.
fn runs_in(repo: &Fixture, name: &str) -> Vec<serde_json::Value> {
    let cli = folder(repo, name).join(format!(".runs/t-{name}/cli"));
    let entries = fs::read_dir(cli).into_iter().flatten();
    entries.map(|entry| manifest(&entry.expect("an entry").path())).collect()
}

#[test]
fn a_pipeline_runs_in_each_stream_and_the_run_above_ends_as_they_do() {
    let repo = Fixture::with_commands(&["test ! -e broken"]);
    repo.orchestrate("stream new a b c --task t");
    fs::write(folder(&repo, "b").join("broken"), "").expect("a file");
    let seen = repo.orchestrate("stream run diagnostics a b c --task t --format json");
    assert_eq!(seen.code, 1, "{seen}");
    let above = repo.only_manifest("t");
    assert_eq!(above["status"], "failed");
    assert_eq!(statuses(&above), ["succeeded", "failed", "succeeded"]);
    audit(&repo, "t");
    let children = above["child_runs"].as_array().expect("children");
    assert_eq!(children.len(), 3);
    for (name, status) in [("a", "succeeded"), ("b", "failed"), ("c", "succeeded")] {
        let runs = runs_in(&repo, name);
        assert_eq!(runs.len(), 1, "{name}");
        assert_eq!((&runs[0]["status"], &runs[0]["parent_run_id"]), (&status.into(), &above["run_id"]));
        let child = children.iter().find(|child| child["run_id"] == runs[0]["run_id"]).expect("it is linked");
        assert_eq!(child["status"], status);
        assert!(repo.path(child["manifest"].as_str().expect("a path")).exists());
    }
    fs::remove_file(folder(&repo, "b").join("broken")).expect("a file");
    assert_eq!(repo.orchestrate("stream run diagnostics --all --task t").code, 0);
    let answer = repo.orchestrate("stream list --format json").json();
    assert!(
        answer["streams"]
            .as_array()
            .expect("streams")
            .iter()
            .all(|it| it["verdict"]["status"] == "succeeded")
    );
}

#[test]
fn what_cannot_run_is_refused_before_anything_does() {
    let repo = Fixture::new("passing");
    let seen = repo.orchestrate("stream run diagnostics --all");
    assert!(seen.code == 2 && seen.stderr.contains("no stream is ready"), "{seen}");
    repo.orchestrate("stream new a");
    let seen = repo.orchestrate("stream run diagnostics a b");
    assert!(seen.code == 2 && seen.stderr.contains("there is no stream `b`"), "{seen}");
    let seen = repo.orchestrate("stream run diagnostics");
    assert_eq!(seen.code, 2, "{seen}");
    for words in
        ["stream run diagnostic a", "stream exec true a --run diagnostic", "stream new b --run diagnostic"]
    {
        let seen = repo.orchestrate(words);
        assert!(seen.code == 2 && seen.stderr.contains("did you mean `diagnostics`"), "{words}: {seen}");
    }
    assert!(!folder(&repo, "b").exists());
    assert_eq!(repo.runs("0101").len(), 0);
}

#[test]
fn streams_that_are_made_with_a_run_share_a_parent_that_shows_them_live_and_ends_them() {
    let repo = Fixture::with_commands(&[
        "echo $$ > \"$HOME/pid-$CODEX_ORCHESTRATOR_STREAM\"; read _ < \"$HOME/gate\"",
    ]);
    let mut gate = Gate::new(&repo, "gate");
    let seen = repo.orchestrate("stream new a b --task t --run diagnostics --format json");
    assert_eq!(seen.code, 0, "{seen}");
    let run = seen.json()["run_id"].as_str().expect("a run").to_owned();
    let pids = ["a", "b"].map(|name| wait_for(&repo.beside(&format!("pid-{name}"))));
    let status = repo.orchestrate(&format!("status {run} --format json")).json();
    assert_eq!(
        (&status["status"], &status["commands"][1]["status"]),
        (&"in_progress".into(), &"running".into())
    );
    for name in ["a", "b"] {
        assert_eq!(runs_in(&repo, name)[0]["parent_run_id"], run.as_str());
    }
    gate.open();
    wait_until("one of them ends", || {
        let status = repo.orchestrate(&format!("status {run} --format json")).json();
        let ended =
            status["commands"].as_array().expect("stages").iter().filter(|it| it["status"] == "succeeded");
        ended.count() == 1
    });
    assert_eq!(repo.orchestrate(&format!("cancel {run}")).code, 0);
    assert!(pids.iter().all(|pid| !is_alive(pid)));
    let mut ends: Vec<_> =
        ["a", "b"].iter().map(|name| runs_in(&repo, name)[0]["status"].to_string()).collect();
    ends.sort();
    assert_eq!(ends, ["\"cancelled\"", "\"succeeded\""]);
}
