//! `start`: what runs, what is seen, what stays on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::fixture::{Fixture, keys, lines_of, manifest, only_run, statuses};

/// Returns a repository whose `diagnostics` holds one command stage per object.
fn with_stages(stages: Value) -> Fixture {
    let mut stages = stages;
    for stage in stages.as_array_mut().expect("stages") {
        for (key, value) in [("kind", json!("command")), ("title", stage["id"].clone())] {
            stage.as_object_mut().expect("a stage").entry(key).or_insert(value);
        }
    }
    Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "title": "Diagnostics", "guardrailsRequired": false, "stages": stages},
    ]}))
}

#[test]
fn a_failing_stage_ends_the_run_and_is_recorded() {
    let repo = Fixture::new("failing-lint");

    let seen = repo.orchestrate("start diagnostics --task 0101");

    assert_seen!(seen, @"
    Diagnostics · [RUN] · [COMMIT] on main, clean
          ok  build  [SPAN]
      FAILED  lint  [SPAN]  Exited with code 3 — line 7: too long
              git orchestrate logs [RUN] lint
    Run finished: [RUN]
    Status: failed
    Manifest: .runs/0101/cli/[RUN]/manifest.json
    Log: .runs/0101/cli/[RUN]/runner.ndjson
    [exit: 1]
    ");
    let manifest = repo.only_manifest("0101");
    assert_eq!(manifest["status"], "failed");
    assert_eq!(manifest["status_detail"], "stage:lint:failed");
    assert_eq!(
        manifest["summary"].as_str().unwrap().lines().next(),
        Some("Stage 'Lint' failed with exit code 3.")
    );
    assert_eq!(statuses(&manifest), ["succeeded", "failed", "pending"]);
    assert!(manifest["commands"][2]["started_at"].is_null());
}

#[test]
fn a_failure_note_says_what_failed_and_why() {
    let repo = Fixture::new("failing-lint");

    repo.orchestrate("start");

    let manifest = repo.only_manifest("0101");
    let path = manifest["commands"][1]["error_file"].as_str().expect("a failure note");
    assert!(path.ends_with("errors/02-lint.json"), "{path}");
    let note = repo.json(path);
    let expected =
        ["run_id", "task_id", "command_index", "command_id", "command", "reason", "details", "created_at"];
    assert_eq!(keys(&note), expected);
    assert_eq!(note["reason"], "command-failed");
    assert_eq!(note["command_index"], 2);
    assert_eq!(note["details"]["exit_code"], 3);
    assert_eq!(note["details"]["stderr"], "line 7: too long");
}

#[test]
fn json_is_one_document_with_the_contract_s_keys_first() {
    let repo = Fixture::new("passing");

    let seen = repo.orchestrate("start --format=json --task=t");

    let answer = seen.json();
    assert_eq!(seen.code, 0);
    assert_eq!(&keys(&answer)[..5], ["run_id", "status", "artifact_root", "manifest", "log_path"]);
    assert_eq!(answer["status"], "succeeded");
    let run = answer["run_id"].as_str().unwrap();
    assert_eq!(answer["artifact_root"], format!(".runs/t/cli/{run}"));
    assert_eq!(answer["manifest"], format!(".runs/t/cli/{run}/manifest.json"));
    assert_eq!(answer["log_path"], format!(".runs/t/cli/{run}/runner.ndjson"));
}

#[test]
fn a_failed_run_answers_in_json_too() {
    let seen = Fixture::new("failing-lint").orchestrate("start --format json");

    assert_eq!((seen.code, &seen.json()["status"]), (1, &json!("failed")));
}

#[test]
fn a_tolerated_failure_is_skipped_and_the_run_goes_on() {
    let repo = with_stages(json!([
        {"id": "soft", "command": "echo soft >&2; exit 4", "allowFailure": true},
        {"id": "hard", "command": "true"},
    ]));

    let seen = repo.orchestrate("start");

    assert_eq!(seen.code, 0, "{seen}");
    let manifest = repo.only_manifest("0101");
    assert_eq!(statuses(&manifest), ["skipped", "succeeded"]);
    assert_eq!(manifest["commands"][0]["exit_code"], 4);
    assert_eq!(manifest["commands"][0]["summary"], "Exited with code 4 — soft");
    assert!(manifest["commands"][0]["error_file"].is_null());
    assert!(!repo.runs("0101")[0].join("errors").exists());
}

#[test]
fn a_hint_is_the_summary_also_of_a_failure() {
    let repo = with_stages(json!([
        {"id": "one", "command": "echo printed", "summaryHint": "Everything is fine"},
        {"id": "two", "command": "exit 1", "summaryHint": "Look at the manual"},
    ]));

    repo.orchestrate("start");

    let manifest = repo.only_manifest("0101");
    assert_eq!(manifest["commands"][0]["summary"], "Everything is fine");
    assert_eq!(manifest["commands"][1]["summary"], "Look at the manual");
}

#[test]
fn a_summary_is_what_was_printed() {
    let repo = Fixture::with_commands(&["echo '  out '; echo err >&2", "echo err >&2", "true", "kill -9 $$"]);

    repo.orchestrate("start");

    let manifest = repo.only_manifest("0101");
    let summaries: Vec<_> = (0..4).map(|at| manifest["commands"][at]["summary"].as_str().unwrap()).collect();
    assert_eq!(summaries, ["out", "err", "Command completed with code 0", "Terminated with signal SIGKILL"]);
    assert_eq!(manifest["commands"][3]["exit_code"], 128);
}

#[test]
fn a_folder_is_relative_to_the_root_also_from_a_subfolder() {
    let repo = with_stages(json!([
        {"id": "here", "command": "pwd"},
        {"id": "there", "command": "pwd", "cwd": "sub/deep"},
    ]));
    fs::create_dir_all(repo.path("sub/deep")).unwrap();

    let seen = repo.orchestrate_in(&repo.path("sub"), "start");

    assert_eq!(seen.code, 0, "{seen}");
    let manifest = repo.only_manifest("0101");
    assert_eq!(manifest["commands"][0]["summary"], repo.root().to_str().unwrap());
    assert_eq!(manifest["commands"][1]["summary"], repo.path("sub/deep").to_str().unwrap());
    let begins: Vec<_> = lines_of(&repo.runs("0101")[0].join("runner.ndjson"))
        .into_iter()
        .filter(|line| line["type"] == "exec:begin")
        .map(|line| line["cwd"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(begins, [repo.root().to_str().unwrap(), repo.path("sub/deep").to_str().unwrap()]);
}

#[test]
fn a_folder_that_is_missing_fails_its_stage_and_says_so() {
    let repo = with_stages(json!([{"id": "lost", "command": "true", "cwd": "no/where"}]));

    let seen = repo.orchestrate("start");

    assert_seen!(seen, @"
    Diagnostics · [RUN] · [COMMIT] on main, clean
      FAILED  lost  [SPAN]  cannot run the command in `[ROOT]/no/where`: the folder to run in does not exist
              git orchestrate logs [RUN] lost
    Run finished: [RUN]
    Status: failed
    Manifest: .runs/0101/cli/[RUN]/manifest.json
    Log: .runs/0101/cli/[RUN]/runner.ndjson
    [exit: 1]
    ");
    let manifest = repo.only_manifest("0101");
    assert_eq!(manifest["status_detail"], "stage:lost:error");
    assert!(manifest["commands"][0]["exit_code"].is_null());
    let note = repo.json(manifest["commands"][0]["error_file"].as_str().expect("a failure note"));
    assert_eq!(note["reason"], "command-execution-error");
    assert!(note["details"]["message"].as_str().unwrap().contains("does not exist"));
}

#[test]
fn a_missing_folder_can_be_tolerated_too() {
    let repo = with_stages(json!([
        {"id": "lost", "command": "true", "cwd": "no/where", "allowFailure": true},
        {"id": "next", "command": "true"},
    ]));

    let seen = repo.orchestrate("start");

    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(statuses(&repo.only_manifest("0101")), ["skipped", "succeeded"]);
}

#[test]
fn a_stage_gets_our_variables_and_its_own() {
    let repo = with_stages(json!([{
        "id": "env", "command": "env", "env": {"PLAIN": "$HOME", "NUMBER": "3", "CODEX_ORCHESTRATOR_RUN_ID": "mine"},
    }, {"id": "plain", "command": "env"}]));
    fs::create_dir_all(repo.path("sub")).unwrap();

    let seen = repo.see(
        repo.program().current_dir(repo.path("sub")).env("OUTER", "kept").args(["start", "--task", "t"]),
    );

    assert_eq!(seen.code, 0, "{seen}");
    let log = repo.orchestrate("logs latest env").stdout;
    let has =
        |text: &str, line: &str| assert!(text.lines().any(|it| it == line), "`{line}` is missing in\n{text}");
    for line in ["PLAIN=$HOME", "NUMBER=3", "OUTER=kept", "CODEX_ORCHESTRATOR_RUN_ID=mine"] {
        has(&log, line);
    }
    let log = repo.orchestrate("logs latest plain").stdout;
    let (root, run) = (repo.root().display(), repo.runs("t")[0].clone());
    for line in [
        "CODEX_ORCHESTRATOR_TASK_ID=t".to_owned(),
        "MCP_RUNNER_TASK_ID=t".to_owned(),
        format!("CODEX_ORCHESTRATOR_RUN_ID={}", run.file_name().unwrap().display()),
        "CODEX_ORCHESTRATOR_PIPELINE_ID=diagnostics".to_owned(),
        format!("CODEX_ORCHESTRATOR_MANIFEST_PATH={}/manifest.json", run.display()),
        format!("CODEX_ORCHESTRATOR_RUN_DIR={}", run.display()),
        format!("CODEX_ORCHESTRATOR_RUNS_DIR={root}/.runs"),
        format!("CODEX_ORCHESTRATOR_OUT_DIR={root}/out"),
        format!("CODEX_ORCHESTRATOR_REPO_ROOT={root}"),
        format!("DESIGN_CONFIG_PATH={root}/design.config.yaml"),
    ] {
        has(&log, &line);
    }
}

#[test]
fn stdin_is_empty_and_the_streams_can_be_opened() {
    let repo = Fixture::with_commands(&["cat; echo a > /dev/stdout; echo b > /dev/stderr"]);

    let seen = repo.orchestrate("start");

    assert_eq!(seen.code, 0, "{seen}");
    let chunks: Vec<_> = lines_of(&repo.runs("0101")[0].join("runner.ndjson"))
        .into_iter()
        .filter(|line| line["type"] == "exec:chunk")
        .map(|line| format!("{} {}", line["stream"].as_str().unwrap(), line["data"].as_str().unwrap().trim()))
        .collect();
    assert!(chunks.contains(&"stdout a".to_owned()) && chunks.contains(&"stderr b".to_owned()), "{chunks:?}");
}

#[test]
fn a_target_runs_alone_and_the_run_is_partial() {
    let repo = Fixture::new("failing-lint");

    let seen = repo.orchestrate("start --target TEST");

    assert_seen!(seen, @"
    Diagnostics · [RUN] · [COMMIT] on main, clean
          ok  test  [SPAN]
        note  Partial run: only stage 'test' was asked for, and only it is proven.
    Run finished: [RUN]
    Status: succeeded (partial: one stage was asked for)
    Manifest: .runs/0101/cli/[RUN]/manifest.json
    Log: .runs/0101/cli/[RUN]/runner.ndjson
    [exit: 0]
    ");
    let manifest = repo.only_manifest("0101");
    assert_eq!(statuses(&manifest), ["pending", "pending", "succeeded"]);
    assert_eq!(manifest["plan_target_id"], "diagnostics:test");
    assert_eq!((&manifest["plan"]["partial"], &manifest["plan"]["only"]), (&json!(true), &json!("test")));
    let said = manifest["summary"].as_str().unwrap();
    assert!(said.contains("Partial run: only stage 'test' was asked for"), "{said}");
}

#[test]
fn a_target_is_named_in_every_way_of_the_contract() {
    let repo = with_stages(json!([
        {"id": "build", "command": "true"},
        {"id": "test", "command": "true", "plan": {"aliases": ["check"]}},
    ]));
    for words in [
        "--target test",
        "--target=diagnostics:test",
        "--target-stage Test",
        "--target check",
        "--target x:CHECK",
    ] {
        let seen = repo.orchestrate(&format!("start --format json --task t {words}"));
        assert_eq!(seen.code, 0, "{words}: {seen}");
        let manifest = repo.json(seen.json()["manifest"].as_str().unwrap());
        assert_eq!(statuses(&manifest), ["pending", "succeeded"], "{words}");
    }
    let seen = repo
        .see(repo.program().env("CODEX_ORCHESTRATOR_TARGET_STAGE", "test").args(["start", "--task", "v"]));
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(statuses(&repo.only_manifest("v")), ["pending", "succeeded"]);
}

#[test]
fn an_unknown_target_is_an_error_and_nothing_is_written() {
    let repo = Fixture::new("failing-lint");
    let before = repo.tree(".");

    let seen = repo.orchestrate("start --target lnt");

    assert_seen!(seen, @"
    error: no stage named `lnt` in pipeline `diagnostics`
    hint: did you mean `lint`? stages here: build, lint, test
    [exit: 2]
    ");
    assert_eq!(repo.tree("."), before);
}

#[test]
fn an_unknown_pipeline_is_an_error_and_nothing_is_written() {
    let repo = Fixture::new("passing");
    let before = repo.tree(".");

    let seen = repo.orchestrate("start diagnostic");

    assert_seen!(seen, @"
    error: no pipeline named `diagnostic`
    hint: did you mean `diagnostics`? pipelines here: diagnostics
    [exit: 2]
    ");
    assert_eq!(repo.tree("."), before);
}

#[test]
fn what_cannot_be_understood_never_runs_anything() {
    let repo = Fixture::new("passing");
    let before = repo.tree(".");
    let cases = [
        ("start --help", 0),
        ("start -h", 0),
        ("--help", 0),
        ("--version", 0),
        ("start --unknown", 2),
        ("start --taks=x", 2),
        ("start diagnostics another", 2),
        ("start --format yaml", 2),
        ("start --task", 2),
        ("start --task a/b", 2),
        ("start --task ..", 2),
        ("start --task local-mcp", 2),
        ("start --parent-run ../x", 2),
        ("start --interactive=yes", 2),
        ("strat", 2),
        ("", 2),
    ];
    for (words, code) in cases {
        let seen = repo.orchestrate(words);
        assert_eq!(seen.code, code, "{words}: {seen}");
        assert_eq!(seen.stdout.is_empty(), code != 0, "{words}: {seen}");
        assert_eq!(repo.tree("."), before, "{words}");
    }
}

#[test]
fn the_task_of_the_environment_is_checked_like_any_other() {
    let repo = Fixture::new("passing");
    let before = repo.tree(".");
    let with = |task: &str| repo.see(repo.program().env("MCP_RUNNER_TASK_ID", task).args(["start"]));

    assert_seen!(with("../up"), @"
    error: invalid value '../up' for '--task <ID>': `../up` is no valid task id: it begins with a dot

    For more information, try '--help'.
    [exit: 2]
    ");
    assert_seen!(with(""), @"
    error: invalid value '' for '--task <ID>': `` is no valid task id: it is empty

    For more information, try '--help'.
    [exit: 2]
    ");
    assert_eq!(repo.tree("."), before);
    assert_eq!(with("from-env").code, 0);
    repo.only_manifest("from-env");
    let seen = repo.see(repo.program().env("MCP_RUNNER_TASK_ID", "loses").args(["start", "--task", "wins"]));
    assert_eq!(seen.code, 0);
    repo.only_manifest("wins");
}

#[test]
fn values_may_stand_behind_an_equals_sign() {
    let repo = Fixture::new("passing");

    let seen = repo.orchestrate("start --task=a=b --approval-policy=never --parent-run=outer --target=test");

    assert_eq!(seen.code, 0, "{seen}");
    let manifest = repo.only_manifest("a=b");
    assert_eq!(manifest["approval_policy"], "never");
    assert_eq!(manifest["parent_run_id"], "outer");
}

#[test]
fn a_wish_for_a_live_display_that_cannot_be_is_answered() {
    let repo = Fixture::new("passing");

    let seen = repo.orchestrate("start diagnostics --ui");

    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stderr.starts_with("[HUD disabled] stderr is no terminal\n"), "{seen}");
    assert_eq!(repo.orchestrate("start --ui diagnostics").code, 0, "a flag eats no name");
}

#[test]
fn every_end_has_one_verdict() {
    let soft = with_stages(json!([{"id": "soft", "command": "exit 1", "allowFailure": true}]));
    let cases = [(Fixture::new("passing"), true), (Fixture::new("failing-lint"), false), (soft, true)];
    for (repo, good) in cases {
        let seen = repo.orchestrate("start");

        assert_eq!(seen.code, i32::from(!good), "{seen}");
        let manifest = repo.only_manifest("0101");
        let summary = repo.json(manifest["run_summary_path"].as_str().expect("a summary"));
        assert_eq!(manifest["status"], if good { "succeeded" } else { "failed" });
        assert_eq!(summary["build"]["success"], good);
        assert_eq!(summary["test"]["success"], good);
        assert_eq!(summary["review"]["decision"]["approved"], good);
        let failed = |report: &Value| report["status"] == "failed";
        assert_eq!(summary["test"]["reports"].as_array().unwrap().iter().any(failed), !good);
    }
}

#[test]
fn guard_stages_are_counted_and_a_missing_one_is_named() {
    let guarded = |required: bool, commands: &[&str]| {
        let stages: Vec<_> = commands
            .iter()
            .enumerate()
            .map(|(at, command)| json!({"kind": "command", "id": format!("s{at}"), "title": "S", "command": command}))
            .collect();
        let repo = Fixture::with_config(&json!({"pipelines": [
            {"id": "diagnostics", "title": "D", "guardrailsRequired": required, "stages": stages},
        ]}));
        repo.orchestrate("start");
        let status = repo.only_manifest("0101")["guardrail_status"].clone();
        (
            status["summary"].as_str().unwrap().to_owned(),
            status["present"] == true,
            !status["recommendation"].is_null(),
        )
    };
    let cases = [
        (true, vec!["true"], "command not found.", false, true),
        (false, vec!["true"], "command not found.", false, false),
        (true, vec!["true spec-guard"], "succeeded (1 passed).", true, false),
        (true, vec!["false spec-guard"], "failed (1/1 failed).", false, true),
        (true, vec!["false", "true spec-guard"], "partial (1 pending of 1).", false, false),
    ];
    for (required, commands, sentence, present, advice) in cases {
        let expected = (format!("Guardrails: spec-guard {sentence}"), present, advice);
        assert_eq!(guarded(required, &commands), expected, "{commands:?}");
    }
}

#[test]
fn an_unstamped_instruction_file_is_a_note() {
    let repo = Fixture::new("passing");
    repo.write("AGENTS.md", "# Agents\n");
    repo.git(&["add", "AGENTS.md"]);
    repo.git(&["commit", "--quiet", "--message", "agents"]);

    let seen = repo.orchestrate("start");

    assert_seen!(seen, @"
    Diagnostics · [RUN] · [COMMIT] on main, clean
        note  AGENTS.md carries no instruction stamp.
          ok  build  [SPAN]
          ok  test  [SPAN]
    Run finished: [RUN]
    Status: succeeded
    Manifest: .runs/0101/cli/[RUN]/manifest.json
    Log: .runs/0101/cli/[RUN]/runner.ndjson
    [exit: 0]
    ");
    let manifest = repo.only_manifest("0101");
    assert_eq!(manifest["instructions_sources"], json!(["AGENTS.md"]));
    assert_eq!(
        manifest["instructions_hash"],
        "cbaf20e23005cfcc9fc96a5b30fed3af329f5ba2a7ba46fafd5d25639a4da139"
    );
}

#[test]
fn the_index_of_tasks_gives_the_slug() {
    let repo = Fixture::new("passing");
    repo.write(
        "tasks/index.json",
        r#"{"items": [{"id": "0101", "slug": "first-things", "title": "First"}]}"#,
    );

    repo.orchestrate("start");
    repo.orchestrate("start --task 0102");

    assert_eq!(repo.only_manifest("0101")["task_slug"], "first-things");
    assert_eq!(repo.only_manifest("0102")["task_slug"], "0102");
    for broken in ["{", "[]", r#"{"items": 3}"#] {
        repo.write("tasks/index.json", broken);
        let seen = repo.orchestrate("start --task broken");
        assert_eq!(seen.code, 0, "{broken}: {seen}");
    }
}

#[test]
fn the_token_is_private_and_the_manifest_holds_its_digest() {
    let repo = Fixture::new("passing");

    repo.orchestrate("start");

    let run = repo.runs("0101")[0].clone();
    let path = run.join(".resume-token");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let token = fs::read_to_string(&path).unwrap();
    let token = token.strip_suffix('\n').expect("one line");
    assert!(token.len() == 64 && token.bytes().all(|b| b.is_ascii_hexdigit()), "{token}");
    let digest = git_orchestrate::sys::digest::sha256_hex(token.as_bytes());
    assert_eq!(manifest(&run)["resume_token"], digest);
    for file in repo.tree(".runs").iter().filter(|file| !file.ends_with(".resume-token")) {
        let bytes = fs::read(repo.path(".runs").join(file)).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(token), "{file} holds the token");
    }
}

#[test]
fn git_sees_nothing_of_a_run() {
    let repo = Fixture::new("passing");
    repo.write(".gitignore", "*.o\n");
    repo.write("out/0101/report.txt", "the project's own\n");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "own files"]);

    for _ in 0..2 {
        assert_eq!(repo.orchestrate("start").code, 0);
    }

    assert_eq!(repo.git(&["status", "--porcelain", "--untracked-files=all"]), "");
    assert_eq!(repo.read(".gitignore"), "*.o\n");
    let ours = |text: &str| text.matches("/.runs/\n").count();
    assert_eq!(ours(&repo.read(".git/info/exclude")), 1);
    // What the project keeps in `out` stays its own.
    repo.write("out/0101/report.txt", "changed\n");
    repo.write("out/0101/new.txt", "new\n");
    repo.write("out/runs.json", "{}\n");
    let status = repo.git(&["status", "--porcelain", "--untracked-files=all"]);
    assert_eq!(status, " M out/0101/report.txt\n?? out/0101/new.txt\n?? out/runs.json");
}

#[test]
fn roots_can_be_redirected_together() {
    let repo = Fixture::with_commands(&["pwd; test -d \"$CODEX_ORCHESTRATOR_RUNS_DIR\""]);
    let runs = repo.beside("runs");

    let seen = repo.see(
        repo.program()
            .env("CODEX_ORCHESTRATOR_ROOT", repo.root())
            .env("CODEX_ORCHESTRATOR_RUNS_DIR", &runs)
            .env("CODEX_ORCHESTRATOR_OUT_DIR", "../home/out")
            .current_dir("/")
            .args(["start", "--format", "json"]),
    );

    assert_eq!(seen.code, 0, "{seen}");
    let answer = seen.json();
    let manifest = repo.json(answer["manifest"].as_str().unwrap());
    assert!(manifest["artifact_root"].as_str().unwrap().starts_with("../home/runs/0101/cli/"));
    assert_eq!(manifest["commands"][0]["summary"], repo.root().to_str().unwrap());
    assert!(runs.join("0101/metrics.json").exists() && runs.join("local-mcp").is_dir());
    assert!(
        repo.beside("out/0101/runs.json").exists()
            && repo.beside("out/0101/control-plane/drift.json").exists()
    );
    assert_eq!(repo.tree("."), ["codex.orchestrator.json"]);
}

#[test]
fn a_link_in_place_of_our_folders_is_refused() {
    for (link, at) in
        [(".runs", ".runs"), ("out", "out"), (".runs/0101", ".runs/0101"), ("out/0101", "out/0101")]
    {
        let repo = Fixture::new("passing");
        let elsewhere = repo.beside("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::create_dir_all(repo.path(link).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&elsewhere, repo.path(link)).unwrap();

        let seen = repo.orchestrate("start");

        assert_eq!(seen.code, 3, "{link}: {seen}");
        assert!(seen.stderr.contains(&format!("{at}` is a symbolic link")), "{seen}");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    }
}

#[test]
fn an_answer_that_nobody_reads_is_no_error_and_one_that_is_lost_is() {
    let repo = Fixture::new("passing");
    let into = |words: &str, to: fs::File| {
        let mut program = repo.program();
        program.args(words.split(' ')).stdout(to).stderr(std::process::Stdio::piped());
        let output = program.spawn().unwrap().wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let Ok(full) = fs::File::options().write(true).open("/dev/full") else { return };

    let (code, said) = into("start --format json", full.try_clone().unwrap());
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("error: cannot write to stdout: No space left on device"), "{said}");
    assert_eq!(repo.only_manifest("0101")["status"], "succeeded", "the run is on disk all the same");
    assert_eq!(into("status", full).0, Some(4));
    let gone = || repo.command("true").stdin(std::process::Stdio::piped()).spawn().unwrap();
    for words in ["status", "list", "logs", "plan"] {
        let mut child = gone();
        let pipe = child.stdin.take().unwrap();
        child.wait().unwrap();
        let (code, said) = into(words, std::os::fd::OwnedFd::from(pipe).into());
        assert_eq!((code, said.as_str()), (Some(0), ""), "{words}");
    }
}

#[test]
fn a_runs_folder_elsewhere_in_the_worktree_is_hidden_too() {
    let repo = Fixture::new("passing");
    for dir in ["build/runs", "odd [name]*", "$HOME"] {
        let seen =
            repo.see(repo.program().env("CODEX_ORCHESTRATOR_RUNS_DIR", dir).args(["start", "--format=json"]));
        assert_eq!((seen.code, &seen.json()["void"]), (0, &json!(false)), "{dir}: {seen}");
        assert_eq!(repo.git(&["status", "--porcelain"]), "", "{dir}");
        assert!(repo.path(dir).join("0101/metrics.json").exists(), "{dir}");
    }
}

#[test]
fn runs_beside_the_files_of_the_project_are_refused() {
    for variable in ["CODEX_ORCHESTRATOR_RUNS_DIR", "CODEX_ORCHESTRATOR_OUT_DIR"] {
        for dir in [".", "..", "/"] {
            let repo = Fixture::new("passing");
            let seen = repo.see(repo.program().arg("start").env(variable, dir));
            assert_eq!(seen.code, 2, "{variable}={dir}: {seen}");
            assert!(seen.stderr.contains("hint: "), "{seen}");
            assert_eq!(repo.git(&["status", "--short"]), "");
        }
    }
}

#[test]
fn a_standard_stream_that_is_closed_is_no_file_of_the_run() {
    let repo = Fixture::with_commands(&["echo printed"]);
    let mut command = repo.command("/bin/sh");
    command.args(["-c", "exec \"$0\" start --task t <&- >&- 2>&-", env!("CARGO_BIN_EXE_git-orchestrate")]);
    assert_eq!(repo.see(&mut command).code, 0);
    let run = only_run(&repo);
    assert_eq!(statuses(&manifest(&run)), ["succeeded"]);
    assert_eq!(lines_of(&run.join("runner.ndjson"))[0]["type"], "run:created");
}
