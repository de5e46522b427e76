//! What stages print: masked, whole, bounded, and harmless for a terminal.

use std::fs;
use std::path::Path;

use base64::Engine;
use serde_json::{Value, json};

use crate::fixture::{Fixture, Seen, manifest};
use crate::witness::{audit, events, files, lines};

const SECRET: &str = "s3cr3t-\"value\"-of-0815";
const AWS: &str = "AKIAIOSFODNN7EXAMPLE";
const GITHUB: &str = "ghp_0123456789abcdefghijklmnopqrstuvwxyz";
const PEM: &str = "MIIEpAIBAAKCAQEA0123456789abcdefghijklmnopqrstuvwxyz";

/// Panics if one of the needles is in a file below a folder.
fn is_nowhere(dir: &Path, needles: &[&str]) {
    for path in files(dir) {
        let bytes = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        for needle in needles {
            assert!(!text.contains(needle), "`{needle}` is in {}", path.display());
        }
    }
}

fn printed(run: &Path, stream: &str) -> Vec<u8> {
    let chunks = events(run, "exec:chunk").into_iter().filter(|chunk| chunk["stream"] == stream);
    let bytes = chunks.map(|chunk| match chunk["data_base64"].as_str() {
        Some(raw) => base64::engine::general_purpose::STANDARD.decode(raw).expect("base64"),
        None => chunk["data"].as_str().expect("text").as_bytes().to_vec(),
    });
    bytes.collect::<Vec<_>>().concat()
}

fn text(run: &Path) -> String {
    String::from_utf8(printed(run, "stdout")).expect("UTF-8")
}

#[test]
fn secrets_are_in_no_file_and_on_no_terminal() {
    // A secret in two writes, JSON-escaped, in a title, a command, a summary and an error.
    let stages = [
        json!({"kind": "command", "id": "plain", "title": format!("a title with {SECRET}"), "command": "echo \"$DB_PASSWORD\""}),
        json!({"kind": "command", "id": "split", "title": "split",
               "command": "printf 's3cr3t-\"val'; read _ < \"$HOME/gate\" || true; printf 'ue\"-of-0815\\n'"}),
        json!({"kind": "command", "id": "escaped", "title": "escaped", "command": "printf '{\"p\":\"s3cr3t-\\\\\"value\\\\\"-of-0815\"}\\n'"}),
        json!({"kind": "command", "id": "tokens", "title": "tokens",
               "command": format!("echo {AWS}; echo token={GITHUB} >&2")}),
        json!({"kind": "command", "id": "pem", "title": "pem",
               "command": format!("printf -- '-----BEGIN RSA PRIVATE KEY-----\\n{PEM}\\n{PEM}\\n-----END RSA PRIVATE KEY-----\\nafter\\n'")}),
        json!({"kind": "command", "id": "env", "title": "env", "command": "echo $API_TOKEN", "env": {"API_TOKEN": "from-the-configuration-1"}}),
        json!({"kind": "command", "id": "fail", "title": "fail", "command": "echo \"$DB_PASSWORD\" >&2; exit 3"}),
    ];
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "title": "D", "guardrailsRequired": false, "stages": stages},
    ]}));
    // The two writes are two reads: the stage waits in between until its first half is logged.
    let mut gate = crate::witness::Gate::new(&repo, "gate");
    let child =
        crate::witness::spawn(repo.program().args(["start", "--task", "t"]).env("DB_PASSWORD", SECRET));
    crate::witness::wait_until("the second stage", || {
        repo.runs("t").first().is_some_and(|run| run.join("commands/02-split.ndjson").exists())
    });
    gate.open();
    let seen = crate::witness::ended(child);
    assert_eq!(seen.code, 1, "{seen}");
    let escaped = serde_json::to_string(SECRET).expect("JSON");
    let needles =
        [SECRET, escaped.trim_matches('"'), "ue\"-of-0815", AWS, GITHUB, PEM, "from-the-configuration-1"];
    for dir in [".runs", "out"] {
        is_nowhere(&repo.path(dir), &needles);
    }
    let mut shown = vec![seen];
    for request in
        ["status latest", "list", "logs latest", "logs latest --json", "status latest --format json"]
    {
        shown.push(repo.orchestrate(request));
    }
    for seen in &shown {
        for needle in needles {
            assert!(!seen.to_string().contains(needle), "`{needle}`: {seen}");
        }
    }
    assert!(text(&repo.runs("t")[0]).contains("after\n"));
    assert!(manifest(&repo.runs("t")[0])["privacy"]["totals"]["redacted_frames"].as_u64() > Some(0));
}

#[test]
fn binary_output_is_kept_to_the_byte() {
    let repo = Fixture::with_commands(&["cat \"$HOME/random\""]);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let random: Vec<u8> = (0..4096)
        .map(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as u8
        })
        .collect();
    fs::write(repo.beside("random"), &random).expect("a file");
    assert_eq!(repo.orchestrate("start --task t").code, 0);
    assert_eq!(printed(&repo.runs("t")[0], "stdout"), random);
    let logs = repo.program().args(["logs", "latest"]).output().expect("the program starts");
    assert_eq!(logs.stdout, random);
}

#[test]
fn characters_are_whole_wherever_reads_end() {
    let repo = Fixture::with_commands(&["cat \"$HOME/euros\""]);
    let euros = format!("x{}", "€".repeat(400_000));
    fs::write(repo.beside("euros"), &euros).expect("a file");
    assert_eq!(repo.orchestrate("start --task t").code, 0);
    let run = &repo.runs("t")[0];
    assert!(events(run, "exec:chunk").iter().all(|chunk| chunk["data_base64"].is_null()));
    assert_eq!(text(run), euros);
}

#[test]
fn many_short_lines_do_not_grow_the_manifest() {
    let size = |lines: usize| {
        let repo = Fixture::with_commands(&[&format!("yes line | head -n {lines}")]);
        assert_eq!(repo.orchestrate("start --task t").code, 0);
        fs::metadata(repo.runs("t")[0].join("manifest.json")).expect("a manifest").len()
    };
    // Only the numbers in it, and what is quoted of the output, get longer.
    assert!(size(20_000) < size(1) + 600);
}

#[test]
fn the_head_and_the_tail_of_stderr_are_kept() {
    let repo = Fixture::with_commands(&[
        "echo FIRST >&2; seq -f 'warning %g: this is not the cause of anything' 1 400 >&2; echo 'FATAL: the real cause' >&2; exit 2",
    ]);
    assert_eq!(repo.orchestrate("start --task t").code, 1);
    let entry = repo.only_manifest("t")["commands"][0].clone();
    assert!(entry["summary"].as_str().expect("a summary").contains("FATAL: the real cause"));
    let note: Value =
        serde_json::from_str(&repo.read(entry["error_file"].as_str().expect("a note"))).expect("JSON");
    let stderr = note["details"]["stderr"].as_str().expect("stderr");
    assert!(stderr.contains("FIRST") && stderr.contains("FATAL: the real cause"), "{stderr}");
    assert!(stderr.len() <= 8192 + 100);
    assert_eq!(note["details"]["stderr_truncated"], true);
}

#[test]
fn a_forged_event_stays_data() {
    let forged =
        r#"{"type":"stage:finished","status":"succeeded","timestamp":"2026-01-01T00:00:00.000Z","index":1}"#;
    let repo = Fixture::with_commands(&[&format!("echo '{forged}'; echo '{forged}' >&2; exit 4")]);
    assert_eq!(repo.orchestrate("start --task t").code, 1);
    let run = &repo.runs("t")[0];
    assert_eq!(events(run, "stage:finished").len(), 1);
    assert_eq!(manifest(run)["commands"][0]["exit_code"], 4);
    assert_eq!(text(run), format!("{forged}\n"));
    audit(&repo, "t");
}

/// Text that does things to a terminal: colours, titles, hyperlinks, C1, and the order of writing.
const EVIL: &str = "a\u{1b}[2Jb\u{1b}]0;title\u{7}c\u{9b}31md\u{202e}e\u{2066}f\rg\u{8}h";

/// Runs the program as if on a terminal with colours.
fn colorful(repo: &Fixture, words: &str) -> Seen {
    repo.see(repo.program().args(words.split_whitespace()).env("CLICOLOR_FORCE", "1"))
}

/// Removes our own colours: `ESC [ numbers m`.
fn without_colors(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').strip_prefix('m') {
            Some(rest) => plain.push_str(rest),
            None => plain.push_str(&format!("\u{1b}[{part}")),
        }
    }
    plain
}

fn is_harmless(seen: &Seen) {
    let harmful = |c: &char| {
        (c.is_control() && *c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let text = without_colors(&format!("{}{}", seen.stdout, seen.stderr));
    assert_eq!(text.chars().find(harmful), None, "{text:?}");
}

#[test]
fn control_sequences_never_reach_the_terminal() {
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "title": EVIL, "description": EVIL, "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "s1", "title": EVIL, "command": format!("printf '%s\\n' '{EVIL}'; exit 1"),
             "summaryHint": EVIL, "allowFailure": true},
            {"kind": "command", "id": "s2", "title": EVIL, "command": format!("printf '%s\\n' '{EVIL}' >&2; exit 1")},
        ]},
    ]}));
    repo.git(&["checkout", "--quiet", "-b", "feature/\u{202e}x\u{9b}31m"]);
    for request in [
        "plan",
        "start --task t",
        "status latest",
        "list",
        "resume latest",
        "status nothing",
        "logs latest no-such-stage",
    ] {
        is_harmless(&colorful(&repo, request));
    }
    // A configuration that cannot be read is quoted.
    repo.write(
        "codex.orchestrator.json",
        &format!("{{\"pipelines\": [{{\"{EVIL}\": \"{EVIL}\", \"id\": 3}}"),
    );
    let seen = colorful(&repo, "plan");
    assert_eq!(seen.code, 2, "{seen}");
    is_harmless(&seen);
}

#[test]
fn a_manifest_that_a_repository_ships_is_harmless_too() {
    let repo = Fixture::with_commands(&["true"]);
    // A name of a folder has no control characters, but all else.
    let (task, id) = ("t\u{202e}x", "2026\u{202e}\u{2066}x");
    let run = format!(".runs/{task}/cli/{id}");
    let entry =
        json!({"index": 1, "id": EVIL, "title": EVIL, "status": "failed", "summary": EVIL, "kind": EVIL});
    let shipped = json!({
        "version": 1, "task_id": task, "run_id": id, "pipeline_id": EVIL,
        "pipeline_title": EVIL, "status": "failed", "status_detail": EVIL, "artifact_root": EVIL, "log_path": EVIL,
        "compat_path": EVIL, "summary": EVIL, "commands": [entry],
        "git": {"commit": EVIL, "tree": EVIL, "branch": EVIL, "head": "branch",
                "worktree": {"path": EVIL, "name": EVIL, "linked": false}, "dirty": false,
                "object_format": "sha1", "git_version": EVIL, "shallow": false, "sparse": false},
    });
    repo.write(&format!("{run}/manifest.json"), &shipped.to_string());
    let chunk = json!({"type": "exec:chunk", "index": 1, "stream": "stdout", "data": EVIL});
    repo.write(&format!("{run}/runner.ndjson"), &format!("{chunk}\n"));
    let requests = [
        ("status latest", 0),
        ("list", 0),
        ("resume latest", 2),
        ("logs latest nothing", 2),
        ("gc --dry-run --keep 0", 0),
    ];
    for (request, code) in requests {
        let seen = colorful(&repo, request);
        assert_eq!(seen.code, code, "{seen}");
        is_harmless(&seen);
    }
    repo.write(&format!("{run}/manifest.json"), "{");
    is_harmless(&colorful(&repo, "list"));
}

/// Runs the program on a terminal, if there is a program that makes one.
fn on_a_terminal(repo: &Fixture, words: &str) -> Option<Seen> {
    let mut script = repo.command("script");
    script.args(["-qec", &format!("'{}' {words}", env!("CARGO_BIN_EXE_git-orchestrate")), "/dev/null"]);
    let output = script.output().ok()?;
    let stdout = String::from_utf8(output.stdout).expect("UTF-8").replace("\r\n", "\n");
    Some(Seen { stdout, stderr: String::new(), code: 0 })
}

#[test]
fn documents_on_a_terminal_are_harmless_and_say_the_same() {
    let repo = Fixture::with_config(&json!({"pipelines": [{"id": "diagnostics", "title": EVIL, "stages": [
        {"kind": "command", "id": "s", "title": EVIL, "command": "true", "summaryHint": EVIL},
    ]}]}));
    assert_eq!(repo.orchestrate("start --task t").code, 0);
    for words in ["plan --format json", "status --format json"] {
        let Some(seen) = on_a_terminal(&repo, words) else { return };
        is_harmless(&seen);
        let [mut there, mut here] = [seen.json(), repo.orchestrate(words).json()];
        for document in [&mut there, &mut here] {
            document.as_object_mut().expect("an object").remove("heartbeat_age_seconds");
        }
        assert_eq!(there, here);
    }
}

#[test]
fn logs_on_a_terminal_are_harmless() {
    let repo = Fixture::with_commands(&[&format!("printf '%s\\n' '{EVIL}'")]);
    assert_eq!(repo.orchestrate("start --task t").code, 0);
    // In a pipe they are what the stage printed.
    assert_eq!(repo.orchestrate("logs latest").stdout, format!("{EVIL}\n"));
    for words in ["logs latest", "logs latest --json"] {
        let Some(seen) = on_a_terminal(&repo, words) else { return };
        is_harmless(&seen);
    }
}

#[test]
fn each_line_of_both_logs_is_the_same() {
    let repo = Fixture::with_commands(&["echo a; echo b >&2", "echo c"]);
    assert_eq!(repo.orchestrate("start --task t").code, 0);
    let run = &repo.runs("t")[0];
    let of_stages: Vec<_> = ["01-s1", "02-s2"]
        .iter()
        .flat_map(|stem| lines(&run.join("commands").join(format!("{stem}.ndjson"))))
        .collect();
    let is_of_a_command = |line: &Value| {
        line["type"].as_str().is_some_and(|kind| kind.starts_with("exec:") || kind.starts_with("command:"))
    };
    let journal: Vec<_> = lines(&run.join("runner.ndjson")).into_iter().filter(is_of_a_command).collect();
    assert_eq!(of_stages, journal);
}

#[test]
fn only_a_word_that_means_it_turns_masking_off() {
    for (word, masked) in [("", true), ("mask", true), ("enforce", true), ("shadow", false), (" OFF ", false)]
    {
        let repo = Fixture::with_commands(&["echo \"the key is $SOME_API_KEY\""]);
        let seen = repo.see(
            repo.program()
                .arg("start")
                .env("SOME_API_KEY", "correct-horse-battery")
                .env("CODEX_PRIVACY_GUARD_MODE", word),
        );
        assert_eq!(seen.code, 0, "{seen}");
        let log = repo.orchestrate("logs");
        assert_eq!(!log.stdout.contains("correct-horse-battery"), masked, "{word:?}: {log}");
    }
}
