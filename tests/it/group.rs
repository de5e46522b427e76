//! Groups: the stages of a pipeline as subtasks, the target first, until one fails.

use serde_json::{Value, json};

use crate::fixture::{Fixture, Seen, json_of};
use crate::witness::{audit, history, metrics};

fn stage(id: &str, command: &str) -> Value {
    json!({"kind": "command", "id": id, "command": format!("echo {id} >> \"$HOME/ran\"; {command}")})
}

fn fixture(tags: &[&str], stages: &[Value]) -> Fixture {
    Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "guardrailsRequired": false, "tags": tags, "stages": stages},
        {"id": "inner", "guardrailsRequired": false, "stages": [stage("deep", "true"), stage("deeper", "true")]},
    ]}))
}

fn start(repo: &Fixture, args: &[&str], variables: &[(&str, &str)]) -> Seen {
    let mut command = repo.program();
    command.args(["start", "--task", "t"]).args(args).env("FEATURE_TFGRPO_GROUP", "on");
    repo.see(command.envs(variables.iter().copied()))
}

/// Returns what ran, in order.
fn ran(repo: &Fixture) -> String {
    std::fs::read_to_string(repo.beside("ran")).unwrap_or_default().replace('\n', " ").trim_end().to_owned()
}

fn summary(repo: &Fixture) -> Value {
    let runs = repo.runs("t");
    let summaries = runs.iter().map(|run| json_of(&run.join("run-summary.json")));
    summaries.into_iter().find(|summary| summary["group"].is_object()).expect("a group")
}

#[test]
fn each_subtask_is_built_tested_and_reviewed_by_itself_the_target_first() {
    let mut third = stage("third", "true");
    third["plan"] = json!({"default": true, "requiresCloud": true});
    let child = json!({"kind": "subpipeline", "id": "child", "pipeline": "inner"});
    let mut setup = stage("setup", "true");
    setup["plan"] = json!({"runnable": false});
    let mut soft = stage("soft", "exit 1");
    soft["allowFailure"] = json!(true);
    let repo = fixture(&["a", "b", "c"], &[setup, stage("first", "echo said"), child, third, soft]);
    let variables = [("TFGRPO_GROUP_SIZE", "3"), ("TFGRPO_EPOCH", "7"), ("TFGRPO_GROUP_ID", " g1 ")];
    let seen = start(&repo, &["--no-interactive"], &variables);
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(ran(&repo), "third setup first deep deeper soft");
    assert!(
        seen.stderr.contains("note  Group: third, first, child, soft, one after the other until one fails."),
        "{seen}"
    );
    audit(&repo, "t");

    let summary = summary(&repo);
    let group = &summary["group"];
    assert_eq!(
        (&group["enabled"], &group["size"], &group["processed"]),
        (&json!(true), &json!(4), &json!(4))
    );
    let ids = ["third", "first", "child", "soft"].map(|id| format!("diagnostics:{id}"));
    let entry = |at: usize, mode: &str| {
        json!({"index": at + 1, "subtaskId": ids[at], "mode": mode, "buildSuccess": true, "testSuccess": true,
            "reviewApproved": true, "status": "succeeded"})
    };
    assert_eq!(
        group["entries"],
        json!([entry(0, "cloud"), entry(1, "mcp"), entry(2, "mcp"), entry(3, "mcp")])
    );
    for list in ["builds", "tests", "reviews"] {
        assert_eq!(summary[list].as_array().map(Vec::len), Some(4), "{list}");
    }
    assert_eq!(summary["builds"][1]["notes"], "first: said");
    assert_eq!(summary["builds"][2]["artifacts"][0]["description"], "Run manifest");
    assert_eq!(
        summary["tests"][3]["reports"][0]["status"], "failed",
        "a failure that is tolerated is still one"
    );
    assert_eq!(
        (&summary["mode"], &summary["build"]["subtaskId"]),
        (&json!("cloud"), &json!("diagnostics:soft"))
    );
    assert_eq!(summary["review"]["decision"]["approved"], true);
    assert!(history(&repo, "t").contains(&summary));

    let made = repo.orchestrate("status --task t --format json").json();
    let made = repo.json(made["manifest"].as_str().unwrap());
    let names =
        json!({"epoch": 7, "group_id": "g1", "group_size": 3, "tool_metrics": null, "experiences": null});
    assert_eq!((&made["tfgrpo"], &made["plan"]["group"]), (&names, &json!(true)));
    // One instance did it all, and no more are invented.
    assert_eq!(made["scheduler"]["assignments"].as_array().map(Vec::len), Some(1));
    let line = metrics(&repo, "t").into_iter().find(|line| line["pipeline_id"] == "diagnostics").unwrap();
    let named = ["tfgrpo_epoch", "tfgrpo_group_id", "tfgrpo_group_size"].map(|key| line[key].clone());
    assert_eq!(json!(named), json!([7, "g1", 3]));
    // A run within the group is no group.
    let child = metrics(&repo, "t").into_iter().find(|line| line["pipeline_id"] == "inner").unwrap();
    assert_eq!(child["tfgrpo_group_size"], Value::Null);
}

#[test]
fn the_first_failure_ends_the_group_and_a_resume_goes_on_as_one() {
    let mut last = stage("last", "true");
    last["plan"] = json!({"default": true});
    let repo = fixture(&[], &[stage("one", "test -e \"$HOME/mended\""), stage("two", "true"), last]);
    let seen = start(&repo, &[], &[]);
    assert_eq!((seen.code, ran(&repo).as_str()), (1, "last one"), "{seen}");
    let failed = summary(&repo);
    let group = &failed["group"];
    assert_eq!((&group["size"], &group["processed"]), (&json!(3), &json!(2)));
    assert_eq!(group["entries"][0]["status"], "succeeded");
    let verdict =
        ["buildSuccess", "testSuccess", "reviewApproved", "status"].map(|key| &group["entries"][1][key]);
    assert_eq!(json!(verdict), json!([false, false, false, "failed"]));
    assert_eq!(
        (&failed["build"]["success"], &failed["review"]["decision"]["approved"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(repo.only_manifest("t")["commands"][1]["status"], "pending");
    assert_eq!(repo.only_manifest("t")["tfgrpo"]["group_size"], 2);

    std::fs::write(repo.beside("mended"), "").unwrap();
    assert_eq!(repo.orchestrate("resume latest --keep-going").code, 2);
    // The environment does not have to say it again.
    let resumed = repo.orchestrate("resume latest");
    assert_eq!((resumed.code, ran(&repo).as_str()), (0, "last one one two"), "{resumed}");
    let whole = summary(&repo);
    assert_eq!((&whole["group"]["processed"], &whole["build"]["success"]), (&json!(3), &json!(true)));
    assert_eq!(whole["build"]["subtaskId"], "diagnostics:two");
    audit(&repo, "t");
}

#[test]
fn a_group_that_cannot_be_is_refused_before_anything_is_written() {
    let stages = || [stage("one", "true"), stage("two", "true")];
    let (untagged, single) = (fixture(&[], &stages()), fixture(&["a"], &stages()));
    let size = "TFGRPO_GROUP_SIZE";
    for (repo, variables, why) in [
        (&untagged, vec![(size, "1")], "a group of 1 is none"),
        (&untagged, vec![(size, "0")], "a group of 0 is none"),
        (&untagged, vec![(size, "-3")], "a group of -3 is none"),
        (&untagged, vec![(size, "3")], "has room for 2, which is less than a group of 3"),
        (&untagged, vec![(size, "some")], "`TFGRPO_GROUP_SIZE` is no number"),
        (&single, vec![], "has room for 1, which is less than a group of 2"),
        // The size alone is checked too.
        (&single, vec![("FEATURE_TFGRPO_GROUP", "off"), (size, "2")], "has room for 1"),
    ] {
        let seen = start(repo, &[], &variables);
        assert_eq!((seen.code, seen.stdout.as_str()), (2, ""), "{variables:?}: {seen}");
        assert!(seen.stderr.contains(why) && seen.stderr.contains("hint: "), "{variables:?}: {seen}");
    }
    let seen = start(&untagged, &["--jobs", "2"], &[]);
    assert_seen!(seen, @r"
    error: a group runs one subtask after the other, until one fails
    hint: leave out `--jobs` and `--keep-going`
    [exit: 2]
    ");
    for repo in [&untagged, &single] {
        assert!(!repo.path(".runs").exists() && ran(repo).is_empty());
    }
}

#[test]
fn one_subtask_is_no_group() {
    let mut other = stage("other", "true");
    other["plan"] = json!({"runnable": false});
    let repo = fixture(&[], &[stage("one", "true"), other]);
    assert_eq!(start(&repo, &[], &[]).code, 0);
    assert_eq!(ran(&repo), "one other");
    let repo = fixture(&[], &[stage("one", "true"), stage("two", "true")]);
    assert_eq!(start(&repo, &["--target", "two"], &[]).code, 0);
    assert_eq!(ran(&repo), "two");
    let only = json_of(&repo.runs("t")[0].join("run-summary.json"));
    assert!(only.get("group").is_none() && only.get("builds").is_none(), "{only}");
    assert_eq!(repo.only_manifest("t")["plan"]["partial"], true);
}
