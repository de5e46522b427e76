//! `exec`: one command with the evidence of a stage.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::fixture::{Fixture, Seen, json_of, keys, manifest, only_run};
use crate::witness::{audit, ended, events, metrics, spawn, wait_for};

fn exec(repo: &Fixture, flags: &[&str], words: &[&str]) -> Seen {
    repo.see(repo.program().args(["exec", "--task", "t"]).args(flags).arg("--").args(words))
}

fn lines(seen: &Seen) -> Vec<Value> {
    seen.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_command_leaves_the_evidence_of_a_stage_and_no_configuration_is_needed() {
    let repo = Fixture::new("passing");
    fs::remove_file(repo.path("codex.orchestrator.json")).unwrap();
    let seen = exec(&repo, &["--json"], &["sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((seen.code, seen.stderr.as_str()), (0, ""), "{seen}");
    let summary = seen.json();
    let run = only_run(&repo);
    audit(&repo, "t");
    assert_eq!(json_of(&run.join("run-summary.json")), summary);
    let made = manifest(&run);
    let facts =
        ["pipeline_id", "pipeline_title", "status", "task_slug", "plan_target_id", "guardrails_required"];
    assert_eq!(
        json!(facts.map(|key| &made[key])),
        json!(["exec", "CLI Exec Command", "succeeded", null, null, false])
    );
    assert_eq!(made["summary"].as_str().unwrap().lines().next(), Some("out"));
    assert!(made.get("control_plane").is_none() && made.get("scheduler").is_none(), "{made:#}");
    let stage = &made["commands"][0];
    assert_eq!((&stage["id"], &stage["exit_code"]), (&json!("exec"), &json!(0)));
    assert_eq!(stage["title"], "Execute sh -c 'echo out; echo err >&2'");
    assert!(made["git"]["commit"].is_string() && made["git"]["tree"].is_string());
    assert_eq!(made["tfgrpo"]["tool_metrics"]["token_total"], 1);
    assert_eq!(made["toolRuns"], json!([summary["payload"]["toolRun"]]));
    assert!(run.join(".heartbeat").exists() && run.join(".resume-token").exists());
    assert_eq!(events(&run, "exec:chunk").len(), 2);
    assert!(repo.path(".runs/t/mcp").join(run.file_name().unwrap()).join("manifest.json").exists());

    let line = &metrics(&repo, "t")[0];
    let counted = ["pipeline_id", "status", "tool_calls", "token_total", "cost_usd", "scheduler_mode"];
    assert_eq!(json!(counted.map(|key| &line[key])), json!(["exec", "succeeded", 1, 1, 0.000_002, null]));
    assert_eq!(line["tool_stats"][0]["tool"], "cli:command");
    // The history is about pipelines.
    assert!(!repo.path("out/t/runs.json").exists());
    assert!(!repo.path(".runs/t").join(run.file_name().unwrap()).exists());
    assert!(repo.orchestrate("list").stdout.contains("exec"));
    let printed = repo.orchestrate("logs latest exec").stdout;
    assert!(["out\nerr\n", "err\nout\n"].contains(&printed.as_str()), "two pipes have no order: {printed}");
}

#[test]
fn a_command_that_fails_names_its_cause_and_its_code_is_ours() {
    let repo = Fixture::new("passing");
    let seen = exec(&repo, &["--json=compact"], &["sh", "-c", "echo why >&2; exit 4"]);
    assert_eq!(seen.code, 4, "{seen}");
    assert_eq!(seen.stdout.lines().count(), 1);
    let payload = &seen.json()["payload"];
    assert_eq!((&payload["status"], &payload["result"]["exitCode"]), (&json!("failed"), &json!(4)));
    assert_eq!(payload["run"]["summary"], "Exited with code 4 — why");
    let run = only_run(&repo);
    let made = manifest(&run);
    assert_eq!(made["status_detail"], "exec-failed");
    assert_eq!(made["summary"].as_str().unwrap().lines().next(), Some("Exited with code 4 — why"));
    let note = json_of(&run.join("errors/01-exec.json"));
    assert_eq!((&note["reason"], &note["details"]["stderr"]), (&json!("command-failed"), &json!("why")));

    for (words, code) in [
        (&["true"][..], 0),
        (&["false"], 1),
        (&["no-such-program"], 127),
        (&["sh", "-c", "exit 255"], 255),
        (&["sh", "-c", "kill -9 $$"], 137),
    ] {
        assert_eq!(exec(&repo, &[], words).code, code, "{words:?}");
    }
    let refused = repo.orchestrate("resume latest --task t");
    assert_eq!(refused.code, 2, "{refused}");
    assert!(refused.stderr.contains("hint: `git orchestrate exec -- COMMAND`"), "{refused}");
}

#[test]
fn lines_come_as_things_happen_and_the_summary_is_the_last() {
    let repo = Fixture::new("passing");
    let seen = exec(&repo, &["--jsonl"], &["sh", "-c", "echo a; exit 3"]);
    let lines = lines(&seen);
    let kinds: Vec<_> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["exec:begin", "exec:chunk", "exec:end", "run:summary"]);
    for line in &lines {
        assert_eq!(keys(line), ["type", "timestamp", "payload"]);
    }
    let sorted = |value: &Value| {
        let mut keys = keys(value);
        keys.sort_unstable();
        keys.join(" ")
    };
    assert_eq!(
        sorted(&lines[0]["payload"]),
        "args attempt command correlationId cwd persisted sandboxState sessionId"
    );
    assert_eq!(sorted(&lines[1]["payload"]), "attempt bytes correlationId data sequence stream");
    assert_eq!(
        sorted(&lines[2]["payload"]),
        "attempt correlationId durationMs exitCode sandboxState sessionId signal status stderr stdout"
    );
    assert_eq!(
        (&lines[2]["payload"]["stdout"], &lines[2]["payload"]["exitCode"]),
        (&json!("a\n"), &json!(3))
    );
    assert_eq!(
        keys(&lines[3]["payload"]),
        ["status", "run", "result", "command", "outputs", "logs", "toolRun", "metrics", "notifications"]
    );
    // Where nobody looks on, lines are what one gets.
    let plain = exec(&repo, &[], &["echo", "a"]);
    assert_eq!(plain.stdout.lines().count(), 4, "{plain}");
}

#[test]
fn on_a_terminal_one_sees_what_the_command_prints() {
    let repo = Fixture::new("passing");
    let program = env!("CARGO_BIN_EXE_git-orchestrate");
    let inner = format!(
        "'{program}' exec --task t -- sh -c 'printf \"\\033[31mred\\033[0m \\033]0;title\\007\\n\"; exit 3'"
    );
    // `script` gives it a terminal.
    let seen = repo.see(repo.command("script").args(["-qec", &inner, "/dev/null"]).env("TERM", "xterm"));
    let shown = seen.stdout.replace('\r', "");
    assert_eq!(seen.code, 3, "{shown}");
    assert!(shown.contains("$ sh -c "), "{shown}");
    assert!(shown.contains("\u{1b}[31mred"), "{shown:?}");
    assert!(!shown.contains("\u{1b}]0;title"), "{shown:?}");
    let id = only_run(&repo).file_name().unwrap().to_str().unwrap().to_owned();
    assert!(shown.contains(&format!("\n\n{id} ")) && shown.contains("FAILED"), "{shown:?}");
    assert!(
        shown.contains(&format!("Manifest: .runs/t/cli/{id}/manifest.json\nLog: .runs/t/cli/{id}/")),
        "{shown}"
    );
}

#[test]
fn words_reach_the_command_as_they_were_given() {
    let repo = Fixture::new("passing");
    let words = ["a b", "it's", "", "-n", "--json", "$HOME", "new\nline", "\\", "é*", "--"];
    let seen = exec(&repo, &["--json"], &[&["printf", "<%s>"][..], &words].concat());
    let printed: String = words.iter().map(|word| format!("<{word}>")).collect();
    assert_eq!(seen.json()["payload"]["outputs"]["stdout"], printed);
    assert_eq!(seen.json()["payload"]["command"]["argv"], json!([&["printf", "<%s>"][..], &words].concat()));
    // Flags are known behind the command too, up to `--`; then a value of `--json` may stand by itself.
    for flags in [
        "exec --task t echo hi --json",
        "exec --json compact --task t echo hi",
        "exec --json echo hi --task t",
    ] {
        let seen = repo.orchestrate(flags);
        assert_eq!(seen.json()["payload"]["outputs"]["stdout"], "hi\n", "{flags}: {seen}");
    }
    assert_eq!(
        repo.orchestrate("exec --json -- echo --json compact").json()["payload"]["outputs"]["stdout"],
        "--json compact\n"
    );
}

#[test]
fn it_runs_where_it_was_called_or_where_a_flag_says() {
    let repo = Fixture::new("passing");
    fs::create_dir_all(repo.path("deep/down")).unwrap();
    let pwd = |dir: &str, flags: &str| {
        let seen = repo.orchestrate_in(&repo.path(dir), &format!("exec --json {flags} -- pwd"));
        seen.json()["payload"]["outputs"]["stdout"].as_str().unwrap().trim_end().to_owned()
    };
    assert_eq!(pwd("deep", ""), repo.path("deep").to_str().unwrap());
    assert_eq!(pwd("deep", "--cwd down"), repo.path("deep/down").to_str().unwrap());
    assert_eq!(pwd("deep", "--cwd ../.."), repo.root().parent().unwrap().to_str().unwrap());
    assert!(!repo.path("deep/.runs").exists());
}

#[test]
fn what_makes_no_sense_runs_nothing_and_writes_nothing() {
    let repo = Fixture::new("passing");
    for words in [
        "exec",
        "exec --json",
        "exec --wat -- touch ran",
        "exec --json --jsonl -- touch ran",
        "exec --json=loud -- touch ran",
        "exec --cwd no/such -- touch ran",
        "exec --notify ftp://h/ -- touch ran",
        "exec --notify file:///x -- touch ran",
        "exec --notify http:// -- touch ran",
        "exec --otel-endpoint gopher://h -- touch ran",
        "exec --task a/b -- touch ran",
    ] {
        let seen = repo.orchestrate(words);
        assert_eq!((seen.code, seen.stdout.as_str()), (2, ""), "{words}: {seen}");
    }
    use std::os::unix::ffi::OsStrExt;
    let odd = std::ffi::OsStr::from_bytes(b"\xff");
    let seen = repo.see(repo.program().args(["exec", "--", "touch", "ran"]).arg(odd));
    assert_eq!(seen.code, 2, "{seen}");
    let seen =
        repo.see(repo.program().args(["exec", "touch", "ran"]).env("CODEX_ORCHESTRATOR_NOTIFY", "mailto:me"));
    assert_seen!(seen, @r"
    error: `CODEX_ORCHESTRATOR_NOTIFY` names nobody who can be told: it has no scheme: write http:// or https:// in front
    hint: it is a list of http or https URLs, separated by commas
    [exit: 2]
    ");
    assert!(!repo.path("ran").exists() && !repo.path(".runs").exists());
}

#[test]
fn a_flood_of_output_does_not_make_the_records_grow() {
    let repo = Fixture::new("passing");
    let flood = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; head -c 3000000 /dev/zero";
    let seen = exec(&repo, &["--json"], &["sh", "-c", flood]);
    assert_eq!(seen.code, 0);
    let run = only_run(&repo);
    let size = |name: &str| fs::metadata(run.join(name)).unwrap().len();
    assert!(size("runner.ndjson") > 3_000_000);
    assert!(size("manifest.json") < 200_000, "{}", size("manifest.json"));
    // 64 KiB of zeroes are six times as many bytes of JSON.
    assert!(size("run-summary.json") < 700_000, "{}", size("run-summary.json"));
    let tool_run = &seen.json()["payload"]["toolRun"];
    let told = tool_run["events"].as_array().unwrap().len() as u64 - 2;
    let omitted = tool_run["metadata"]["eventsOmitted"].as_u64().unwrap();
    assert_eq!(told + omitted, events(&run, "exec:chunk").len() as u64);
    assert!(told <= 32 && omitted > 0);
    audit(&repo, "t");
}

#[test]
fn secrets_stay_out_of_every_record_and_every_line() {
    let repo = Fixture::new("passing");
    let mut command = repo.program();
    command.env("MY_TOKEN", "hunter2-very-secret").args(["exec", "--task", "t", "--jsonl", "--notify"]);
    command.arg(format!("{}/hook?token=hunter3-very-secret", crate::listener::nobody()));
    let seen =
        repo.see(command.args(["--", "sh", "-c", "echo $MY_TOKEN; echo $0; exit 1", "hunter2-very-secret"]));
    assert_eq!(seen.code, 1, "{seen}");
    assert!(!seen.to_string().contains("hunter"), "{seen}");
    for file in crate::witness::files(&repo.path(".runs")) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains("hunter"), "{}: {text}", file.display());
    }
    let lines = lines(&seen);
    // What is printed comes in one piece or two.
    let targets = &lines.last().unwrap()["payload"]["notifications"]["targets"];
    assert!(targets[0].as_str().unwrap().ends_with("/hook?token=[REDACTED]"), "{targets}");
}

#[test]
fn a_signal_cancels_the_command_with_complete_evidence() {
    let repo = Fixture::new("passing");
    let script = "trap 'exit 0' TERM; echo up > \"$HOME/up\"; while :; do sleep 1000 & wait; done";
    let child = spawn(repo.program().args(["exec", "--task", "t", "--json", "--", "sh", "-c", script]));
    wait_for(&repo.beside("up"));
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let seen = ended(child);
    assert_eq!(seen.code, 143, "{seen}");
    assert_eq!(seen.json()["payload"]["status"], "cancelled");
    let made = manifest(&only_run(&repo));
    assert_eq!((&made["status"], &made["status_detail"]), (&json!("cancelled"), &json!("cancelled:SIGTERM")));
    assert_eq!((&made["metrics_recorded"], metrics(&repo, "t").len()), (&json!(true), 1));
    audit(&repo, "t");
}

#[test]
fn a_command_that_changes_the_tree_proves_nothing() {
    let repo = Fixture::new("passing");
    let seen = exec(&repo, &["--json"], &["touch", "new"]);
    assert_eq!((seen.code, &seen.json()["payload"]["run"]["void"]), (0, &json!(true)), "{seen}");
    let environment = repo.see(
        repo.program()
            .args(["exec", "--json", "echo"])
            .env("TFGRPO_EPOCH", "3")
            .env("TFGRPO_GROUP_SIZE", "x"),
    );
    assert_eq!(
        environment.json()["payload"]["metrics"]["tfgrpo"],
        json!({"epoch": 3, "groupSize": null, "groupId": null})
    );
}
