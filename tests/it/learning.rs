//! `LEARNING_PIPELINE_ENABLED`: what is kept of a run that succeeded, and the replay of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::fixture::{Fixture, Seen, id, json_of, manifest, only_run};
use crate::witness::{ended, is_alive, kill, spawn, wait_for};

/// Runs the program where somebody wants to learn, with some more variables.
fn learn(repo: &Fixture, words: &str, vars: &[(&str, &str)]) -> Seen {
    let mut program = repo.program();
    program.args(words.split_whitespace()).env("LEARNING_PIPELINE_ENABLED", "1");
    repo.see(program.envs(vars.iter().copied()))
}

fn learned(repo: &Fixture, words: &str) -> (Seen, Value) {
    let seen = learn(repo, words, &[]);
    let learning = manifest(&only_run(repo))["learning"].clone();
    (seen, learning)
}

#[test]
fn a_run_that_succeeds_is_captured_and_its_newest_command_holds_in_a_clean_copy() {
    let repo = Fixture::with_commands(&["true", "test \"$(cat input)\" = here && echo built > made"]);
    repo.write("input", "here");
    let (seen, learning) = learned(&repo, "start --task t --format json");
    assert_eq!(seen.code, 0, "{seen}");
    let run = only_run(&repo);
    let base = format!(".runs/t/cli/{}/learning", id(&run));
    let snapshot = &learning["snapshot"];
    assert_eq!(snapshot["status"], "captured");
    assert_eq!(snapshot["tarball_path"], format!("{base}/{}.tar.gz", id(&run)));
    assert_eq!(snapshot["storage_path"], format!(".runs/learning-snapshots/t/{}.tar.gz", id(&run)));
    assert_eq!(snapshot["attempts"], 1);
    assert_eq!(snapshot["retention_days"], 30);
    let bytes = |name: &str| fs::read(repo.path(snapshot[name].as_str().unwrap())).unwrap();
    assert_eq!(bytes("tarball_path"), bytes("storage_path"));
    let digest = repo
        .command("sha256sum")
        .arg(repo.path(snapshot["tarball_path"].as_str().unwrap()))
        .output()
        .unwrap();
    assert!(digest.stdout.starts_with(snapshot["tarball_digest"].as_str().unwrap().as_bytes()));
    assert_eq!(
        repo.git(&["rev-parse", snapshot["tag"].as_str().unwrap()]),
        snapshot["commit_sha"].as_str().unwrap()
    );
    assert_eq!(repo.git(&["tag", "--list"]), "");

    assert_eq!(learning["scenario"]["source"], "execution_history");
    assert_eq!(learning["scenario"]["status"], "synthesized");
    let scenario = repo.json(format!("{base}/scenario.json"));
    let command = "test \"$(cat input)\" = here && echo built > made";
    assert_eq!(scenario["id"], format!("learning-{}", id(&run)));
    assert_eq!(scenario["commands"], json!([command]));
    assert_eq!(scenario["validation"], json!({"requiresCleanFixture": true}));
    assert_eq!(scenario["context"]["execution_history"][0]["exitCode"], 0);

    assert_eq!(learning["validation"]["status"], "validated", "{learning}");
    let log = repo.read(&format!("{base}/scenario-validation.log"));
    assert!(log.contains(&format!("$ {command}")) && log.contains("validated"), "{log}");
    assert_eq!(learning["crystalizer"]["status"], "skipped");
    assert_eq!(learning["queue"]["status"], "queued");
    let payload = repo.json(format!("{base}/queue-payload.json"));
    assert_eq!(payload["snapshot_commit"], snapshot["commit_sha"]);
    assert_eq!(payload["manifest_path"], run.join("manifest.json").display().to_string());
    // The metrics know how it went, and the journal all of it.
    let line: Value =
        serde_json::from_str(repo.read(".runs/t/metrics.json").lines().next().unwrap()).unwrap();
    assert_eq!(line["learning_validation_status"], "validated");
    assert_eq!(line["learning_snapshot_status"], "captured");
    assert_eq!(repo.json("out/t/state.json")["safety"]["validation"]["passed"], 1);
    fs::remove_file(run.join("manifest.json")).unwrap();
    let status = repo.orchestrate("status --format json");
    assert_eq!(status.json()["status"], "succeeded", "{status}");
}

#[test]
fn the_configuration_says_how_a_snapshot_is_packed() {
    let repo = Fixture::with_config(&json!({"learning": {"compression": "zstd"},
        "pipelines": [{"id": "diagnostics", "guardrailsRequired": false,
            "stages": [{"kind": "command", "id": "s1", "command": "true"}]}]}));
    let (seen, learning) = learned(&repo, "start --task t");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(learning["validation"]["status"], "validated", "{learning}");
    for name in ["tarball_path", "storage_path"] {
        let path = learning["snapshot"][name].as_str().unwrap();
        assert!(path.ends_with(&format!("{}.tar.zst", id(&only_run(&repo)))), "{path}");
        assert!(repo.path(path).exists(), "{path}");
    }
    let scenario = format!(".runs/learning-snapshots/t/{}.scenario.json", id(&only_run(&repo)));
    assert!(repo.path(&scenario).exists());
    assert_eq!(repo.orchestrate("snapshot replay latest").code, 0);
}

#[test]
fn exec_is_learned_from_where_it_ran_and_never_in_the_work_tree() {
    let repo = Fixture::new("passing");
    repo.write("sub/file", "x");
    let mut program = repo.program();
    program.current_dir(repo.path("sub")).env("LEARNING_PIPELINE_ENABLED", "1");
    program.args(["exec", "--task", "t", "--", "sh", "-c", "test -f file && echo x >> side-effect"]);
    let seen = repo.see(&mut program);
    assert_eq!(seen.code, 0, "{seen}");
    let learning = &manifest(&only_run(&repo))["learning"];
    assert_eq!(learning["validation"]["status"], "validated", "{learning}");
    assert_eq!(repo.read("sub/side-effect"), "x\n", "it ran once here");
}

#[test]
fn without_the_variable_or_after_a_failure_nothing_is_learned() {
    let repo = Fixture::with_commands(&["true"]);
    assert_eq!(repo.orchestrate("start --task t").code, 0);
    assert_eq!(manifest(&only_run(&repo))["learning"]["snapshot"], Value::Null);
    let repo = Fixture::with_commands(&["false"]);
    let (seen, learning) = learned(&repo, "start --task t");
    assert_eq!((seen.code, &learning["snapshot"]), (1, &Value::Null));
    assert!(!repo.path(".runs/learning-snapshots").exists());
}

#[test]
fn the_configuration_turns_it_on_and_the_environment_off() {
    let repo =
        Fixture::with_config(&json!({"learning": {"enabled": true, "retentionDays": 7, "maxFileBytes": 5},
        "pipelines": [{"id": "diagnostics", "guardrailsRequired": false,
            "stages": [{"kind": "command", "id": "s1", "command": "true"}]}]}));
    let mut off = repo.program();
    off.args(["start", "--task", "off"]).env("LEARNING_PIPELINE_ENABLED", "0");
    assert_eq!(repo.see(&mut off).code, 0);
    assert!(!repo.path(".runs/learning-snapshots").exists());
    repo.write("small", "1234");
    assert_eq!(repo.orchestrate("start --task t").code, 0);
    let snapshot = repo.orchestrate("snapshot show --format json").json();
    assert_eq!(snapshot["retention_days"], 7);
    assert_eq!(snapshot["files"], 1);
    assert!(snapshot["left_out"].as_array().unwrap().iter().any(|it| it["reason"] == "too_large"));
}

#[test]
fn a_scenario_that_fails_in_a_clean_copy_says_so_and_the_run_stays_succeeded() {
    let repo = Fixture::with_commands(&["echo ignored >> .git/info/exclude; touch ignored; test -e ignored"]);
    repo.write(".gitignore", "needed\n");
    repo.write("needed", "");
    fs::write(
        repo.path("codex.orchestrator.json"),
        serde_json::to_vec(&json!({"pipelines": [
        {"id": "diagnostics", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "s1", "command": "echo looking; test -e needed"}]}]}))
        .unwrap(),
    )
    .unwrap();
    let (seen, learning) = learned(&repo, "start --task t");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(learning["validation"]["status"], "snapshot_failed");
    assert_eq!(learning["validation"]["last_error"], "looking");
    assert_eq!(learning["crystalizer"], Value::Null);
    assert_eq!(manifest(&only_run(&repo))["status"], "succeeded");
}

#[test]
fn a_tree_that_is_not_what_the_run_began_with_is_no_proof_of_what_ran() {
    for (command, verdict) in [
        ("echo edited > a", "stalled_snapshot"),
        ("echo edited > b", "stalled_snapshot"),
        ("rm b", "stalled_snapshot"),
        // What the run has made was not there before, and what is left out of a snapshot is no change.
        ("echo made > c; mkdir d; echo made > 'd/a [b]'", "validated"),
        ("true", "validated"),
    ] {
        let repo = Fixture::with_commands(&[command]);
        repo.write("a", "a");
        repo.git(&["add", "a"]);
        repo.git(&["commit", "--quiet", "--message", "a"]);
        repo.write("b", "b");
        repo.write(".env", "TOKEN=1");
        let (seen, learning) = learned(&repo, "start --task t");
        assert_eq!(seen.code, 0, "{command}: {seen}");
        assert_eq!(learning["snapshot"]["status"], "captured", "{command}");
        assert_eq!(learning["validation"]["status"], verdict, "{command}: {learning}");
        if verdict != "validated" {
            assert!(seen.stderr.contains("not what the run began with"), "{command}: {seen}");
            assert_eq!(learning["alerts"][0]["type"], "stalled_snapshot", "{command}");
            assert_eq!(learning["crystalizer"], Value::Null, "{command}");
        }
    }
}

#[test]
fn a_scenario_that_does_not_end_is_stalled() {
    let repo = Fixture::with_config(&json!({"learning": {"timeout": 1}, "pipelines": [
        {"id": "diagnostics", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "s1", "command": "test -z \"$PATIENT\" && exec sleep 600; echo $HIDDEN",
             "env": {"X": "1"}}]}]}));
    let mut program = repo.program();
    program.args(["start", "--task", "t"]).env("LEARNING_PIPELINE_ENABLED", "1").env("PATIENT", "1");
    let seen = repo.see(&mut program);
    assert_eq!(seen.code, 0, "{seen}");
    let learning = &manifest(&only_run(&repo))["learning"];
    assert_eq!(
        learning["validation"]["status"], "stalled_snapshot",
        "the variable is not on the list: {learning}"
    );
    assert!(repo.path(learning["validation"]["git_status_path"].as_str().unwrap()).exists());
    assert_eq!(learning["alerts"][0]["type"], "stalled_snapshot");
    assert_eq!(learning["alerts"][0]["channel"], "slack");
}

#[test]
fn a_command_with_a_secret_is_not_written_down() {
    let repo = Fixture::with_commands(&["echo hunter2hunter2 > made"]);
    let seen = learn(&repo, "start --task t", &[("API_TOKEN", "hunter2hunter2")]);
    assert_eq!(seen.code, 0, "{seen}");
    let run = only_run(&repo);
    let learning = &manifest(&run)["learning"];
    assert_eq!(learning["validation"]["status"], "needs_manual_scenario");
    assert_eq!(learning["scenario"]["source"], "template");
    let partial = json_of(&run.join("learning/scenario.partial.json"));
    assert!(!partial.to_string().contains("hunter2"), "{partial}");
    assert!(repo.path(learning["scenario"]["manual_template"].as_str().unwrap()).exists());
    assert_eq!(learning["alerts"][0]["type"], "needs_manual_scenario");
}

#[test]
fn where_no_command_can_be_written_down_the_prompt_says_what_to_replay() {
    let repo = Fixture::with_commands(&[
        "echo hunter2hunter2 > made; for run in .runs/t/cli/*; do mkdir -p \"$run/learning\"; \
         printf 'Make it, and then run `test -s made`.' > \"$run/learning/prompt.md\"; done",
    ]);
    let mut program = repo.program();
    program.args(["start", "--task", "t"]).env("LEARNING_PIPELINE_ENABLED", "1");
    let seen = repo.see(program.env("API_TOKEN", "hunter2hunter2"));
    assert_eq!(seen.code, 0, "{seen}");
    let run = only_run(&repo);
    let learning = &manifest(&run)["learning"];
    assert_eq!(
        (&learning["scenario"]["source"], &learning["validation"]["status"]),
        (&json!("prompt"), &json!("validated")),
        "{learning}"
    );
    let scenario = json_of(&run.join("learning/scenario.json"));
    assert_eq!(scenario["commands"], json!(["test -s made"]));
    let payload = json_of(&run.join("learning/queue-payload.json"));
    assert_eq!(payload["prompt_path"], run.join("learning/prompt.md").display().to_string());
}

#[test]
fn a_snapshot_that_fails_leaves_the_run_succeeded_and_says_why() {
    let repo = Fixture::with_commands(&["true"]);
    repo.write("nowhere", "a file in place of a folder");
    let mut program = repo.program();
    program
        .args(["start", "--task", "t"])
        .env("LEARNING_PIPELINE_ENABLED", "1")
        .env("LEARNING_SNAPSHOT_DIR", "nowhere");
    let seen = repo.see(&mut program);
    assert_eq!(seen.code, 0, "{seen}");
    let manifest = manifest(&only_run(&repo));
    assert_eq!(manifest["status"], "succeeded");
    let learning = &manifest["learning"];
    assert_eq!(learning["snapshot"]["status"], "snapshot_failed");
    assert_eq!(learning["snapshot"]["attempts"], 3);
    assert!(learning["snapshot"]["last_error"].as_str().unwrap().contains("nowhere"), "{learning}");
    assert_eq!(learning["validation"]["status"], "snapshot_failed");
    let alerts = learning["alerts"].as_array().unwrap();
    assert_eq!(alerts.len(), 2, "one for each channel, after the last try: {alerts:?}");
}

#[test]
fn a_snapshot_that_was_taken_is_not_taken_again_because_a_copy_fails() {
    let repo = Fixture::with_commands(&[
        "for run in .runs/t/cli/*; do mkdir -p \"$run/learning/snapshot-files.txt/x\"; done",
    ]);
    let (seen, learning) = learned(&repo, "start --task t");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stderr.contains("no list of what is in the snapshot"), "{seen}");
    let snapshot = &learning["snapshot"];
    assert_eq!((&snapshot["status"], &snapshot["attempts"]), (&json!("captured"), &json!(1)), "{seen}");
    assert_eq!(
        learning["alerts"]
            .as_array()
            .map_or(0, |alerts| { alerts.iter().filter(|it| it["type"] == "snapshot_failed").count() }),
        0
    );
}

/// A project whose command needs what no snapshot holds.
fn with_needs(setup: &str) -> Fixture {
    let repo = Fixture::with_config(&json!({
        "slots": {"setup": [{"command": setup}], "carry": ["cache"]},
        "pipelines": [{"id": "diagnostics", "guardrailsRequired": false,
            "stages": [{"kind": "command", "id": "s1", "command": "cat deps/lib cache/x"}]}]}));
    repo.write(".gitignore", "deps\ncache\n");
    repo.write("deps/lib", "made by hand");
    repo.write("cache/x", "carried");
    repo
}

/// The manifest of the run of a pipeline, and its folder.
fn run_of(repo: &Fixture, pipeline: &str) -> (std::path::PathBuf, Value) {
    let mut runs = repo.runs("t").into_iter().map(|run| (manifest(&run), run));
    let (manifest, run) =
        runs.find(|(manifest, _)| manifest["pipeline_id"] == pipeline).expect("a run of the pipeline");
    (run, manifest)
}

#[test]
fn a_side_worktree_is_set_up_before_a_scenario_is_validated_in_it() {
    let repo = with_needs("test ! -e deps && mkdir deps && echo built > deps/lib");
    let mut program = repo.program();
    program.args(["start", "--task", "t", "--format", "json"]).env("LEARNING_PIPELINE_ENABLED", "1");
    let seen = repo.see(&mut program);
    assert_eq!((seen.code, &seen.json()["status"]), (0, &json!("succeeded")), "{seen}");
    let (run, run_manifest) = run_of(&repo, "diagnostics");
    let validation = &run_manifest["learning"]["validation"];
    assert_eq!(validation["status"], "validated", "{validation}");
    let (setup, setup_manifest) = run_of(&repo, "slot-setup");
    assert_eq!(validation["setup_run"], id(&setup));
    assert_eq!(setup_manifest["status"], "succeeded");
    let log = fs::read_to_string(run.join("learning/scenario-validation.log")).unwrap();
    assert!(log.contains(&format!("Set up by run {}", id(&setup))), "{log}");
    assert!(log.contains("built\ncarried"), "{log}");
    assert_eq!(repo.read("deps/lib"), "made by hand");

    // Each replay begins with nothing but the snapshot, so it is set up each time.
    let seen = repo.orchestrate("snapshot replay latest --format json");
    assert_eq!((seen.code, &seen.json()["status"]), (0, &json!("validated")), "{seen}");
    assert_ne!(seen.json()["setup_run"], id(&setup));

    // From the archive alone it is set up too, and nothing is carried.
    let archive = run.join(format!("learning/{}.tar.gz", id(&run)));
    let digest = run_manifest["learning"]["snapshot"]["tarball_digest"].as_str().unwrap();
    let other = Fixture::new("passing");
    other.write("cache/x", "of somebody else");
    other.write(".git/info/exclude", "cache\n");
    let replay = |command: &str| {
        let mut program = other.program();
        program.args(["snapshot", "replay", digest, "--task", "t", "--archive"]).arg(&archive);
        program.args(["--", "sh", "-c", command]);
        other.see(&mut program)
    };
    let seen = replay("cat deps/lib && test ! -e cache");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(run_of(&other, "slot-setup").1["status"], "succeeded");
}

#[test]
fn a_side_worktree_that_cannot_be_set_up_stalls_the_validation() {
    let repo = with_needs("echo no network; exit 7");
    let mut program = repo.program();
    program.args(["exec", "--task", "t", "--json", "--", "true"]).env("LEARNING_PIPELINE_ENABLED", "1");
    let seen = repo.see(&mut program);
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(seen.json()["type"], "run:summary", "{seen}");
    let (setup, setup_manifest) = run_of(&repo, "slot-setup");
    assert_eq!(setup_manifest["status"], "failed");
    let (_, exec) = run_of(&repo, "exec");
    let validation = &exec["learning"]["validation"];
    assert_eq!(validation["status"], "stalled_snapshot", "{validation}");
    assert_eq!(validation["setup_run"], id(&setup));
    assert_eq!(validation["reason"], format!("run `{}` did not set the side worktree up", id(&setup)));
    assert_eq!(exec["status"], "succeeded");
}

#[test]
fn a_snapshot_is_replayed_by_its_digest_and_from_the_archive_alone() {
    let repo = Fixture::with_commands(&["grep -q right input"]);
    repo.write("input", "right");
    let (_, learning) = learned(&repo, "start --task t");
    let digest = learning["snapshot"]["tarball_digest"].as_str().unwrap();
    repo.write("input", "wrong");
    let seen = repo.orchestrate(&format!("snapshot replay {}", &digest[..10]));
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stdout.contains("validated on snapshot"), "{seen}");
    assert_eq!(repo.orchestrate(&format!("snapshot replay {digest} -- false")).code, 1);
    assert_eq!(repo.orchestrate(&format!("snapshot replay {digest} --timeout 1s -- sleep 600")).code, 1);
    assert_eq!(repo.read("input"), "wrong");

    // Somewhere else, with nothing but the archive.
    let other = Fixture::new("passing");
    fs::copy(repo.path(learning["snapshot"]["tarball_path"].as_str().unwrap()), other.beside("a.tar.gz"))
        .unwrap();
    let archive = other.beside("a.tar.gz").display().to_string();
    let replay = |more: &[&str]| {
        let mut program = other.program();
        program.args(["snapshot", "replay", digest, "--archive", &archive]).args(more);
        other.see(&mut program)
    };
    assert_eq!(replay(&[]).code, 2, "nobody says what to run");
    let seen = replay(&["--format", "json", "--", "grep", "-c", "right", "input"]);
    assert_eq!((seen.code, &seen.json()["status"]), (0, &json!("validated")), "{seen}");
    assert_eq!(seen.json()["output"], "1\n");
    fs::write(&archive, "edited").unwrap();
    assert_eq!(replay(&["--", "true"]).code, 6);
}

/// Lets a run be learned from once more.
fn requeue(repo: &Fixture, words: &[&str]) -> Seen {
    let mut program = repo.program();
    program.args(["snapshot", "requeue", "latest", "--task", "t", "--actor", "ada", "--format", "json"]);
    program.args(words);
    repo.see(&mut program)
}

#[test]
fn a_scenario_that_somebody_writes_down_is_approved_and_proven() {
    let repo = Fixture::with_commands(&["echo hunter2hunter2 > made"]);
    let seen = learn(&repo, "start --task t", &[("API_TOKEN", "hunter2hunter2")]);
    let run = only_run(&repo);
    let hint = format!("`git orchestrate snapshot requeue {} -- COMMAND`", id(&run));
    assert!(seen.stderr.contains(&hint), "{seen}");
    let before = manifest(&run);
    let seen = requeue(&repo, &[]);
    assert!(seen.code == 2 && seen.stderr.contains("-- COMMAND"), "{seen}");
    let mut secret = repo.program();
    secret.args(["snapshot", "requeue", "latest", "--", "echo", "hunter2hunter2"]);
    let seen = repo.see(secret.env("API_TOKEN", "hunter2hunter2"));
    assert_eq!(seen.code, 2, "{seen}");
    assert_eq!(manifest(&run), before, "nothing was decided");

    let seen = requeue(&repo, &["--reason", "by hand", "--", "test", "-s", "made"]);
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(seen.json()["status"], "validated");
    let after = manifest(&run);
    assert_eq!(after["status"], "succeeded");
    let learning = &after["learning"];
    assert_eq!(learning["approvals"], json!([seen.json()["approval"]]));
    let approval = &learning["approvals"][0];
    assert_eq!(
        (&approval["actor"], &approval["state"], &approval["reason"]),
        (&json!("ada"), &json!("needs_manual_scenario"), &json!("by hand"))
    );
    let scenario = &learning["scenario"];
    assert_eq!(
        (&scenario["source"], &scenario["status"], &scenario["approver"], &scenario["attempts"]),
        (&json!("manual"), &json!("synthesized"), &json!("ada"), &json!(2))
    );
    assert_eq!(json_of(&run.join("learning/scenario.json"))["commands"], json!(["test -s made"]));
    assert_eq!(learning["queue"]["status"], "queued");
    assert_eq!(learning["snapshot"], before["learning"]["snapshot"], "it is the same snapshot");
    assert_eq!(repo.orchestrate("snapshot replay latest").code, 0);
    // The journal has it too.
    fs::remove_file(run.join("manifest.json")).unwrap();
    let seen = requeue(&repo, &[]);
    assert_eq!((seen.code, &seen.json()["approval"]["state"]), (0, &json!("requeue")), "{seen}");
    assert_eq!(manifest(&run)["learning"]["approvals"].as_array().unwrap().len(), 2);
}

#[test]
fn no_part_of_a_scenario_may_hold_a_secret() {
    let repo = Fixture::with_commands(&["true"]);
    assert_eq!(learned(&repo, "start --task t").0.code, 0);
    let before = manifest(&only_run(&repo));
    let plain = json!({"id": "x", "entrypoint": "true", "commands": ["true"]});
    let secret = "hunter2\"hunter2";
    for (place, value) in [
        ("/entrypoint", json!(format!("echo {secret}"))),
        ("/commands", json!(["true", secret])),
        ("/environment", json!({"allow": [], "set": {"A": secret}})),
        ("/context", json!({"prompt": format!("use {secret}"), "execution_history": []})),
        ("/cwd", json!(secret)),
    ] {
        let mut scenario = plain.clone();
        scenario[&place[1..]] = value;
        fs::write(repo.beside("s.json"), scenario.to_string()).unwrap();
        let mut program = repo.program();
        program.args(["snapshot", "requeue", "latest", "--scenario"]).arg(repo.beside("s.json"));
        let seen = repo.see(program.env("API_TOKEN", secret));
        assert!(seen.code == 2 && seen.stderr.contains("holds a secret"), "{place}: {seen}");
        assert_eq!(manifest(&only_run(&repo)), before, "{place}");
    }
    let found = repo.command("grep").args(["-rlF", "hunter2", ".runs", "out"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

#[test]
fn the_template_is_a_scenario_once_somebody_has_filled_it_in() {
    let repo = Fixture::with_commands(&["echo hunter2hunter2 > made"]);
    let mut program = repo.program();
    program.args(["start", "--task", "t"]).env("LEARNING_PIPELINE_ENABLED", "1");
    assert_eq!(repo.see(program.env("API_TOKEN", "hunter2hunter2")).code, 0);
    let template = only_run(&repo).join("learning/manual-scenario-template.json");
    let mut scenario = json_of(&template);
    scenario["commands"] = json!(["grep -q hunter made"]);
    fs::write(&template, scenario.to_string()).unwrap();
    let seen = requeue(&repo, &[]);
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(seen.json()["approval"]["state"], "needs_manual_scenario");
}

#[test]
fn a_validation_that_stalled_is_tried_again_on_the_same_snapshot() {
    let config = |environment: Value| {
        json!({"learning": {"timeout": 1, "environment": environment}, "pipelines": [
            {"id": "diagnostics", "guardrailsRequired": false, "stages": [
                {"kind": "command", "id": "s1", "command": "test -z \"$PATIENT\" && exec sleep 600; true"}]}]})
    };
    let repo = Fixture::with_config(&config(json!([])));
    let mut program = repo.program();
    program.args(["start", "--task", "t"]).env("LEARNING_PIPELINE_ENABLED", "1").env("PATIENT", "1");
    assert_eq!(repo.see(&mut program).code, 0);
    let before = manifest(&only_run(&repo));
    assert_eq!(before["learning"]["validation"]["status"], "stalled_snapshot");
    let seen = requeue(&repo, &[]);
    assert_eq!((seen.code, &seen.json()["status"]), (1, &json!("stalled_snapshot")), "{seen}");
    repo.write("codex.orchestrator.json", &config(json!(["PATIENT"])).to_string());
    let mut patient = repo.program();
    patient.args(["snapshot", "requeue", "latest"]).env("PATIENT", "1");
    let seen = repo.see(&mut patient);
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stdout.contains("(stalled_snapshot)") && seen.stdout.contains("validated"), "{seen}");
    let after = manifest(&only_run(&repo))["learning"].clone();
    assert_eq!(after["snapshot"], before["learning"]["snapshot"]);
    assert_eq!(after["alerts"].as_array().unwrap().len(), 2, "what was wrong stays on record");
    assert_eq!(after["approvals"].as_array().unwrap().len(), 2);
}

#[test]
fn a_snapshot_that_is_missing_is_taken_later_only_of_the_tree_that_ran() {
    let repo = Fixture::with_commands(&["true"]);
    assert_eq!(repo.orchestrate("start --task t").code, 0);
    let seen = requeue(&repo, &["--", "test", "-f", "codex.orchestrator.json"]);
    assert_eq!((seen.code, &seen.json()["approval"]["state"]), (0, &json!("requeue")), "{seen}");
    assert_eq!(repo.orchestrate("start --task t").code, 0);
    repo.write("another", "tree");
    let seen = requeue(&repo, &["--", "true"]);
    assert_eq!(seen.code, 3, "{seen}");

    let repo = Fixture::with_commands(&["false"]);
    assert_eq!(repo.orchestrate("start --task t").code, 1);
    let seen = requeue(&repo, &["--", "true"]);
    assert_eq!(seen.code, 2, "{seen}");
}

#[test]
fn alerts_name_whom_the_configuration_names() {
    let repo = Fixture::with_config(&json!({
        "learning": {"alerts": {"slack": "#ours", "pagerduty": "on-call", "severity": "p2"}},
        "pipelines": [{"id": "diagnostics", "guardrailsRequired": false,
            "stages": [{"kind": "command", "id": "s1", "command": "echo hunter2hunter2"}]}]}));
    let mut program = repo.program();
    program.args(["start", "--task", "t"]).env("LEARNING_PIPELINE_ENABLED", "1");
    assert_eq!(repo.see(program.env("API_TOKEN", "hunter2hunter2")).code, 0);
    let alerts = manifest(&only_run(&repo))["learning"]["alerts"].clone();
    let told: Vec<_> = alerts.as_array().unwrap().iter().collect();
    let facts = |alert: &Value| ["type", "channel", "target", "severity"].map(|key| alert[key].clone());
    let manual = |channel: &str, target: &str| {
        ["needs_manual_scenario", channel, target, "p2"].map(|text| json!(text))
    };
    assert_eq!(
        told.into_iter().map(facts).collect::<Vec<_>>(),
        [manual("slack", "#ours"), manual("pagerduty", "on-call")]
    );
}

#[test]
fn a_pattern_is_made_within_its_budget_or_not_at_all() {
    let script = "#!/bin/sh\nwhile [ $# -gt 0 ]; do case $1 in --output-file) out=$2; shift;; esac; shift; done\n\
                  echo '# Problem' > \"$out\"; echo ${COST:-0.1} > \"$CRYSTALIZER_COST_FILE\"; exit ${CODE:-0}\n";
    for (variables, status, error) in [
        (&[][..], "succeeded", Value::Null),
        (&[("COST", "0.9")][..], "failed", json!("budget_exceeded")),
        (&[("CODE", "3")][..], "failed", json!("the program failed with exit code 3")),
        (&[("COST", "-5")][..], "failed", json!("the program says that it cost `-5`, and that is no amount")),
    ] {
        let repo = Fixture::with_commands(&["true"]);
        let tool = repo.beside("a tool");
        fs::write(&tool, script).unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        let mut program = repo.program();
        program
            .args(["start", "--task", "t"])
            .env("LEARNING_PIPELINE_ENABLED", "1")
            .env("CODEX_CLI_BIN", &tool);
        program.envs(variables.iter().copied());
        let seen = repo.see(&mut program);
        assert_eq!(seen.code, 0, "{seen}");
        let learning = &manifest(&only_run(&repo))["learning"];
        let crystalizer = &learning["crystalizer"];
        assert_eq!(
            (&crystalizer["status"], &crystalizer["error"]),
            (&json!(status), &error),
            "{crystalizer}"
        );
        assert_eq!(learning["validation"]["status"], "validated");
        let exceeded =
            learning["alerts"].as_array().unwrap().iter().any(|alert| alert["type"] == "budget_exceeded");
        assert_eq!(exceeded, error == "budget_exceeded");
        match crystalizer["candidate_path"].as_str() {
            Some(path) => assert_eq!(repo.read(path), "# Problem\n"),
            None => assert!(!repo.path(".agent").exists()),
        }
    }
}

#[test]
fn gc_removes_what_is_too_old_and_nothing_that_is_named() {
    let repo = Fixture::with_commands(&["true"]);
    let (_, learning) = learned(&repo, "start --task t");
    let create = || repo.orchestrate("snapshot create --task t --format json").json();
    let (cited, old, young) = (create(), create(), create());
    let age = |snapshot: &Value| {
        let path = std::path::PathBuf::from(snapshot["document_path"].as_str().unwrap());
        let mut document = json_of(&path);
        document["created_at"] = json!("2020-01-01T00:00:00.000Z");
        fs::write(&path, document.to_string()).unwrap();
    };
    let of_run = repo.orchestrate(&format!("snapshot show {} --format json", id(&only_run(&repo)))).json();
    for snapshot in [&cited, &old, &of_run] {
        age(snapshot);
    }
    repo.write("notes.md", &format!("See snapshot {}.\n", cited["id"].as_str().unwrap()));
    let dry = repo.orchestrate("snapshot gc --dry-run --format json");
    let refs = || repo.git(&["for-each-ref", "--format=%(refname:lstrip=3)", "refs/orchestrate/snapshots"]);
    assert_eq!(refs().lines().count(), 4);
    let gc = repo.orchestrate("snapshot gc --format json");
    assert_eq!(gc.code, 0, "{gc}");
    for (answer, word) in [(dry.json(), "would_remove"), (gc.json(), "removed")] {
        for (snapshot, expected) in [(&cited, "kept"), (&old, word), (&young, "kept"), (&of_run, word)] {
            let items = answer["snapshots"].as_array().unwrap();
            let item = items.iter().find(|item| item["id"] == snapshot["id"]).unwrap();
            assert_eq!(item["action"], expected, "{item}");
        }
    }
    let left: Vec<_> = refs().lines().map(str::to_owned).collect();
    assert_eq!(left, [cited["id"].as_str().unwrap(), young["id"].as_str().unwrap()]);
    assert!(!repo.path(learning["snapshot"]["tarball_path"].as_str().unwrap()).exists());
    assert!(only_run(&repo).join("learning/scenario.json").exists(), "the evidence itself stays");
    assert_eq!(repo.tree(".runs/learning-snapshots/t").len(), 4);
    assert_eq!(repo.orchestrate("snapshot gc").code, 0);
}

#[test]
fn gc_keeps_what_is_cited_by_any_of_its_names_wherever_that_is() {
    let repo = Fixture::with_commands(&["true"]);
    let take = |number: usize| {
        repo.write("file", &format!("content {number}"));
        let snapshot = repo.orchestrate("snapshot create --task t --format json").json();
        let path = std::path::PathBuf::from(snapshot["document_path"].as_str().unwrap());
        let mut document = json_of(&path);
        document["created_at"] = json!("2020-01-01T00:00:00.000Z");
        fs::write(&path, document.to_string()).unwrap();
        snapshot
    };
    let text = |snapshot: &Value, fact: &str| snapshot[fact].as_str().unwrap().to_owned();
    let taken: Vec<_> = (0..6).map(take).collect();
    // A run whose command names one, and another that names the beginning of a commit.
    for name in [text(&taken[0], "digest"), text(&taken[1], "commit")[..12].to_owned()] {
        let seen = repo.see(repo.program().args(["exec", "--task", "t", "--", "true", &name]));
        assert_eq!(seen.code, 0, "{seen}");
    }
    repo.write("notes.md", &format!("See {}.\n", &text(&taken[2], "commit")[..12]));
    repo.write("a.bin", &format!("\0\0{}\0", text(&taken[3], "digest")));
    repo.write("b.bin", &format!("\0\0 {}\n", text(&taken[4], "id")));
    let gc = repo.orchestrate("snapshot gc --format json");
    assert_eq!(gc.code, 0, "{gc}");
    for (at, (snapshot, action)) in taken.iter().zip(["kept"; 5].into_iter().chain(["removed"])).enumerate() {
        let answer = gc.json();
        let all = answer["snapshots"].as_array().unwrap();
        let fate = all.iter().find(|it| it["id"] == snapshot["id"]).unwrap();
        assert_eq!(fate["action"], action, "{at}: {fate}");
    }
}

#[test]
fn what_a_run_says_of_its_own_snapshot_keeps_none_of_the_same_content() {
    let repo = Fixture::with_commands(&["true"]);
    for _ in 0..2 {
        let mut program = repo.program();
        program.args(["start", "--task", "t"]).env("LEARNING_PIPELINE_ENABLED", "1");
        assert_eq!(repo.see(&mut program).code, 0);
    }
    for path in repo.tree(".runs/learning-snapshots/t") {
        let path = repo.path(".runs/learning-snapshots/t").join(path);
        if path.extension().is_some_and(|it| it == "json") && !path.to_string_lossy().contains("scenario") {
            let mut document = json_of(&path);
            document["created_at"] = json!("2020-01-01T00:00:00.000Z");
            fs::write(&path, document.to_string()).unwrap();
        }
    }
    let gc = repo.orchestrate("snapshot gc --format json").json();
    let actions: Vec<_> = gc["snapshots"].as_array().unwrap().iter().map(|it| it["action"].clone()).collect();
    assert_eq!(actions, ["removed", "removed"], "{gc}");
}

#[test]
fn a_series_of_commits_is_learned_from_commit_by_commit() {
    let repo = Fixture::with_commands(&["true"]);
    for number in 0..2 {
        repo.write("n", &number.to_string());
        repo.git(&["add", "--all"]);
        repo.git(&["commit", "--quiet", "--message", "n"]);
    }
    let mut program = repo.program();
    program.args(["start", "--task", "t", "--each", "HEAD~2..HEAD"]).env("LEARNING_PIPELINE_ENABLED", "1");
    let seen = repo.see(&mut program);
    assert_eq!(seen.code, 0, "{seen}");
    let runs = repo.runs("t");
    assert_eq!(runs.len(), 2);
    for run in runs {
        assert_eq!(manifest(&run)["learning"]["validation"]["status"], "validated", "{seen}");
    }
}

#[test]
fn of_stages_at_once_the_last_to_succeed_is_the_scenario() {
    // Until the run has heard of the end of the other; in a side worktree nobody waits.
    let wait = "until grep -qs [s]tage:finished .runs/t/cli/*/runner.ndjson || ! test -d .git; do sleep 0.02; done; echo slow";
    let fast = |id: &str| json!({"kind": "command", "id": id, "command": "echo fast"});
    let slow = json!({"kind": "command", "id": "slow", "command": wait});
    for stages in
        [json!([slow, fast("fast")]), json!([{"kind": "subpipeline", "id": "sub", "pipeline": "both"}])]
    {
        let repo = Fixture::with_config(&json!({"jobs": 4, "pipelines": [
            {"id": "diagnostics", "jobs": 4, "guardrailsRequired": false, "stages": stages},
            {"id": "both", "jobs": 4, "guardrailsRequired": false, "stages": [slow, fast("fast")]}]}));
        let seen = repo.see(
            repo.program()
                .args(["start", "--task", "t", "--jobs", "4"])
                .env("LEARNING_PIPELINE_ENABLED", "1"),
        );
        assert_eq!(seen.code, 0, "{seen}");
        let runs = repo.runs("t");
        let run = runs.iter().find(|run| manifest(run)["parent_run_id"].is_null()).unwrap();
        let scenario = json_of(&run.join("learning/scenario.json"));
        assert_eq!(scenario["entrypoint"], wait, "{stages}");
    }
}

#[test]
fn what_the_verdict_depends_on_reaches_the_replay() {
    let command =
        "test \"$MODE\" = 1 && test \"$MCP_RUNNER_TASK_ID\" = t && test \"$CODEX_ORCHESTRATOR_TASK_ID\" = t";
    let repo = Fixture::with_config(&json!({"fingerprintEnv": ["MODE"], "pipelines": [
        {"id": "diagnostics", "guardrailsRequired": false,
         "stages": [{"kind": "command", "id": "s1", "command": command}]}]}));
    let mut program = repo.program();
    program.args(["start", "--task", "t"]).env("LEARNING_PIPELINE_ENABLED", "1").env("MODE", "1");
    let seen = repo.see(&mut program);
    assert_eq!(seen.code, 0, "{seen}");
    let learning = &manifest(&only_run(&repo))["learning"];
    assert_eq!(learning["validation"]["status"], "validated", "{learning}");
    let scenario = json_of(&only_run(&repo).join("learning/scenario.json"));
    assert_eq!(scenario["environment"]["allow"], json!(["MODE"]));
    let mut again = repo.program();
    again.args(["snapshot", "replay", "latest"]).env("MODE", "1");
    assert_eq!(repo.see(&mut again).code, 0);
}

#[test]
fn mistakes_of_a_user_in_a_replay_are_told_as_such() {
    let repo = Fixture::new("passing");
    assert_eq!(repo.orchestrate("snapshot create --task t").code, 0);
    let scenario = |more: Value| {
        let mut scenario = json!({"id": "x", "entrypoint": "true", "commands": ["true"]});
        scenario.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fs::write(repo.beside("s.json"), scenario.to_string()).unwrap();
        repo.beside("s.json")
    };
    let replay = |file: &std::path::Path| {
        repo.see(repo.program().args(["snapshot", "replay", "latest", "--scenario"]).arg(file))
    };
    for file in [repo.beside("nowhere"), "/dev/null".into(), repo.root().to_owned()] {
        let seen = replay(&file);
        assert!(seen.code == 2 && seen.stderr.contains("hint:"), "{}: {seen}", file.display());
    }
    let seen = replay(&scenario(json!({"timeout_seconds": 0})));
    assert!(seen.code == 2 && seen.stderr.contains("hint:"), "{seen}");
    let seen = replay(&scenario(json!({"cwd": "nowhere"})));
    assert!(seen.code == 1 && seen.stdout.contains("no folder `nowhere`"), "{seen}");
    let seen = repo.orchestrate("snapshot replay latest --timeout 0s -- true");
    assert!(seen.code == 2 && seen.stderr.contains("no time at all"), "{seen}");
    assert_eq!(repo.orchestrate("snapshot replay latest --timeout 5m -- true").code, 0);
}

/// A command that says who it is, and goes on for long.
fn endless(repo: &Fixture) -> String {
    format!("echo $$ > '{}'; setsid sleep 600 & exec sleep 600", repo.beside("pid").display())
}

/// Waits for [`endless`], and returns who it is.
fn begun(repo: &Fixture) -> String {
    let pid = wait_for(&repo.beside("pid")).trim().to_owned();
    fs::remove_file(repo.beside("pid")).unwrap();
    pid
}

#[test]
fn a_signal_ends_a_replay_and_what_it_started() {
    let repo = Fixture::new("passing");
    assert_eq!(repo.orchestrate("snapshot create --task t").code, 0);
    for (signal, code) in [("-TERM", 143), ("-INT", 130)] {
        let mut program = repo.program();
        program.args(["snapshot", "replay", "latest", "--timeout", "10m", "--", "sh", "-c", &endless(&repo)]);
        let child = spawn(&mut program);
        let pid = begun(&repo);
        kill(signal, child.id());
        let seen = ended(child);
        assert!(seen.code == code && seen.stderr.contains("cancelled by"), "{seen}");
        assert!(!is_alive(&pid), "{signal}");
    }
    assert_eq!(repo.orchestrate("snapshot replay latest -- true").code, 0);
}

#[test]
fn a_signal_ends_the_learning_and_leaves_the_evidence_of_the_run() {
    let repo = Fixture::new("passing");
    let command = format!("test -n \"$RUNS\" || {{ {}; }}", endless(&repo));
    let tool = repo.beside("tool");
    let script = format!("#!/bin/sh\n{}\n", endless(&repo));
    fs::write(&tool, script).unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let config = |environment: Value| {
        json!({"learning": {"environment": environment, "crystalizer": {"command": format!("'{}'", tool.display())}}, "pipelines": [
            {"id": "diagnostics", "guardrailsRequired": false, "stages": [
                {"kind": "command", "id": "s1", "command": command}]}]})
    };
    repo.write("codex.orchestrator.json", &config(json!([])).to_string());
    let learn = |words: &[&str]| {
        let mut program = repo.program();
        program.args(words).env("LEARNING_PIPELINE_ENABLED", "1").env("RUNS", "1");
        let child = spawn(&mut program);
        let pid = begun(&repo);
        kill("-TERM", child.id());
        let seen = ended(child);
        assert!(!is_alive(&pid), "{seen}");
        (seen, manifest(&only_run(&repo)))
    };
    let (seen, run) = learn(&["start", "--task", "t"]);
    assert_eq!((seen.code, &run["status"]), (0, &json!("succeeded")), "{seen}");
    assert_eq!(run["learning"]["validation"]["status"], "stalled_snapshot");
    assert_eq!(run["learning"]["validation"]["reason"], "ended by SIGTERM");
    assert_eq!(run["learning"]["crystalizer"], Value::Null);
    assert_eq!(run["metrics_recorded"], true);

    let (seen, run) = learn(&["snapshot", "requeue", "latest"]);
    assert_eq!(seen.code, 143, "{seen}");
    assert_eq!(run["learning"]["validation"]["status"], "stalled_snapshot");
    assert_eq!(run["learning"]["approvals"].as_array().unwrap().len(), 1);

    // It holds, and the program that makes a pattern of it does not end.
    repo.write("codex.orchestrator.json", &config(json!(["RUNS"])).to_string());
    let (seen, run) = learn(&["snapshot", "requeue", "latest"]);
    assert_eq!(seen.code, 143, "{seen}");
    assert_eq!(run["learning"]["validation"]["status"], "validated");
    let crystalizer = &run["learning"]["crystalizer"];
    assert_eq!(
        (&crystalizer["status"], &crystalizer["error"]),
        (&json!("failed"), &json!("the program was ended by SIGTERM"))
    );
}

#[test]
fn what_a_replay_that_was_killed_left_is_ended_before_the_next_begins() {
    let repo = Fixture::new("passing");
    assert_eq!(repo.orchestrate("snapshot create --task t").code, 0);
    let mut program = repo.program();
    program.args(["snapshot", "replay", "latest", "--timeout", "10m", "--", "sh", "-c", &endless(&repo)]);
    let mut child = spawn(&mut program);
    let pid = begun(&repo);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_alive(&pid));
    let seen = repo.orchestrate("snapshot replay latest -- true");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stderr.contains("processes that run `replay-"), "{seen}");
    assert!(!is_alive(&pid));
}

#[test]
fn a_scenario_runs_in_the_folder_of_its_stage_and_never_outside_of_the_work_tree() {
    let with_cwd = |cwd: &str| {
        let repo = Fixture::with_config(&json!({"pipelines": [
            {"id": "diagnostics", "guardrailsRequired": false, "stages": [
                {"kind": "command", "id": "s1", "command": "true", "cwd": cwd}]}]}));
        repo.write("sub/deep/file", "x");
        let (seen, learning) = learned(&repo, "start --task t");
        assert_eq!(seen.code, 0, "{seen}");
        (repo, learning)
    };
    for (cwd, plain) in [("./sub", json!("sub")), ("sub/./deep/..", json!("sub/deep/..")), (".", Value::Null)]
    {
        let (repo, learning) = with_cwd(cwd);
        assert_eq!(learning["validation"]["status"], "validated", "{cwd}: {learning}");
        assert_eq!(repo.json(learning["scenario"]["path"].as_str().unwrap())["cwd"], plain);
        assert_eq!(repo.orchestrate("snapshot replay latest").code, 0, "{cwd}");
    }
    for cwd in ["../", "sub/../../", "/"] {
        let (repo, learning) = with_cwd(cwd);
        assert_eq!(learning["validation"]["status"], "needs_manual_scenario", "{cwd}: {learning}");
        assert!(repo.path(learning["scenario"]["manual_template"].as_str().unwrap()).exists());
    }

    let (repo, _) = with_cwd("sub");
    std::os::unix::fs::symlink("/", repo.path("away")).unwrap();
    assert_eq!(repo.orchestrate("snapshot create --task t").code, 0);
    let replay = |cwd: &str| {
        let scenario = json!({"id": "x", "entrypoint": "true", "commands": ["true"], "cwd": cwd});
        fs::write(repo.beside("s.json"), scenario.to_string()).unwrap();
        let mut program = repo.program();
        program.args(["snapshot", "replay", "latest", "--scenario"]).arg(repo.beside("s.json"));
        repo.see(&mut program)
    };
    assert_eq!(replay("./sub").code, 0);
    for cwd in ["../..", "/tmp", "away"] {
        let seen = replay(cwd);
        assert_eq!(seen.code, 2, "{cwd}: {seen}");
        assert!(format!("{seen}").contains("leads out of the work tree"), "{cwd}: {seen}");
    }
}

#[test]
fn nobody_waits_for_the_learning_of_another_run() {
    let repo = Fixture::new("passing");
    let command = format!("test -n \"$RUNS\" || {{ {}; }}", endless(&repo));
    repo.write(
        "codex.orchestrator.json",
        &json!({"pipelines": [{"id": "diagnostics", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "s1", "command": command}]}]})
        .to_string(),
    );
    let start = |task: &str, learning: &str| {
        let mut program = repo.program();
        program.args(["start", "--reuse", "--task", task]).env("LEARNING_PIPELINE_ENABLED", learning);
        program.env("RUNS", "1");
        program
    };
    let child = spawn(&mut start("t", "1"));
    let pid = begun(&repo);
    let seen = repo.see(&mut start("u", "0"));
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(repo.only_manifest("u")["commands"][0]["reused"]["run_id"], id(&only_run(&repo)));
    assert!(is_alive(&pid), "the other run is still being learned from");
    let seen = repo.orchestrate(&format!("cancel {} --task t", id(&only_run(&repo))));
    let hint = format!("`kill -TERM {}`", child.id());
    assert!(seen.code == 2 && seen.stderr.contains(&hint), "{seen}");
    kill("-TERM", child.id());
    assert_eq!(ended(child).code, 0);
}
