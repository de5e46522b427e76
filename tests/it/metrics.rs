//! `metrics`: what runs add up to.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::fixture::{Fixture, keys, manifest};

fn line(run: &str, status: &str, seconds: f64) -> Value {
    json!({
        "run_id": run, "task_id": "0101", "pipeline_id": "diagnostics", "status": status,
        "duration_seconds": seconds, "recorded_at": "2026-01-01T00:00:00Z", "guardrails_present": true,
        "tree": "1", "stages": [{"id": "test", "status": status, "duration_seconds": seconds, "attempts": 1}],
    })
}

fn write(repo: &Fixture, file: &str, lines: &[Value]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    repo.write(file, &text);
}

#[test]
fn real_runs_add_up() {
    let repo = Fixture::with_commands(&["true", "test -e \"$HOME/good\""]);
    assert_eq!(repo.orchestrate("start --task CaseTask").code, 1);
    fs::write(repo.beside("good"), "").unwrap();
    assert_eq!(repo.orchestrate("start --task CaseTask").code, 0);

    let seen = repo.orchestrate("metrics --task CaseTask");

    assert_eq!((seen.code, seen.stderr.as_str()), (0, ""), "{seen}");
    let said: Vec<_> = seen.stdout.lines().collect();
    assert_eq!(said[0], "Runs of task CaseTask: 2 (1 succeeded, 1 failed, 0 cancelled)");
    assert_eq!(
        said[1..4],
        ["Success rate: 50.0 %", "Guardrail coverage: 0.0 %", "Ready for review: no (it takes 95 % of both)"]
    );
    assert!(said.iter().any(|line| line.starts_with("s2") && line.ends_with("1 (100.0 %)")), "{seen}");
    assert!(!seen.stdout.contains(['█', '▁', '\u{1b}']), "no charts in a pipe: {seen}");

    let summary = repo.json(".runs/CaseTask/metrics-summary.json");
    assert_eq!(
        keys(&summary)[..10],
        [
            "generated_at",
            "task_id",
            "metrics_file",
            "entries_total",
            "entries_succeeded",
            "entries_failed",
            "success_rate",
            "guardrail_coverage",
            "average_duration_seconds",
            "parse_errors",
        ]
    );
    assert_eq!(summary["task_id"], "CaseTask");
    assert_eq!(summary["metrics_file"], ".runs/CaseTask/metrics.json");
    assert_eq!(summary["entries_total"], 2);
    assert_eq!(summary["success_rate"], 0.5);
    assert_eq!(summary["flakiest_stages"], json!([{"pipeline_id": "diagnostics", "stage_id": "s2"}]));
    assert!(!repo.path(".runs/casetask").exists());
    assert_eq!(repo.git(&["status", "--porcelain"]), "");
}

#[test]
fn small_charts_are_drawn_on_a_terminal_and_nowhere_else() {
    let repo = Fixture::new("passing");
    let lines: Vec<_> =
        [("a", "succeeded", 4.0), ("b", "failed", 1.0), ("c", "failed", 0.0), ("d", "succeeded", 2.0)]
            .map(|(run, status, seconds)| line(run, status, seconds))
            .into();
    write(&repo, ".runs/0101/metrics.json", &lines);
    let on_a_terminal = |variables: &[(&str, &str)]| {
        let words = format!("'{}' metrics --task 0101", env!("CARGO_BIN_EXE_git-orchestrate"));
        let mut script = repo.command("script");
        script.args(["-qec", &words, "/dev/null"]).env("TERM", "xterm").envs(variables.iter().copied());
        let output = script.output().ok()?;
        Some(String::from_utf8(output.stdout).expect("UTF-8").replace("\r\n", "\n"))
    };
    let Some(seen) = on_a_terminal(&[]) else {
        eprintln!("skipped: there is no `script` that makes a terminal");
        return;
    };
    assert!(seen.contains('\u{1b}'), "in colour: {seen}");
    insta::assert_snapshot!(anstream::adapter::strip_str(&seen).to_string(), @"
    Runs of task 0101: 4 (2 succeeded, 2 failed, 0 cancelled)
    Success rate: 50.0 %  ██████████··········
    Guardrail coverage: 100.0 %  ████████████████████
    Ready for review: no (it takes 95 % of both)
    Duration: average 1.8 s, p50 1.0 s, p90 4.0 s, p95 4.0 s, p99 4.0 s
    Trend: █▃▁▅

    SLOWEST STAGES  PIPELINE     RUNS  P50    P95
    test            diagnostics  4     1.0 s  4.0 s  ████████████████████

    FLAKIEST STAGES  PIPELINE     TREES  BOTH VERDICTS
    test             diagnostics  1      1 (100.0 %)  ████████████████████
    ");
    for variables in [[("NO_COLOR", "1")], [("TERM", "dumb")]] {
        let seen = on_a_terminal(&variables).expect("it was there just now");
        assert!(!seen.contains(['█', '▁', '·', '\u{1b}']), "{variables:?}: {seen}");
        assert!(seen.contains("Success rate: 50.0 %\n"), "{variables:?}: {seen}");
    }
}

#[test]
fn what_metrics_keep_in_memory_does_not_grow_with_the_bytes_of_the_file() {
    let repo = Fixture::new("passing");
    let pad = "x".repeat(2000);
    let mut text = String::new();
    for at in 0..10_000 {
        let mut line = line(&format!("run-{at}"), "succeeded", 1.0);
        line["summary"] = json!(pad);
        text.push_str(&format!("{line}\n"));
    }
    let (lines, rest) = (10_000, 400 << 20);
    repo.write(".runs/0101/metrics.json", &text);
    // One more line, without an end, that is larger than all the memory there is.
    let file = fs::File::options().write(true).open(repo.path(".runs/0101/metrics.json")).unwrap();
    file.set_len(text.len() as u64 + rest).unwrap();
    let limited = |kilobytes: u64, words: &str| {
        let script = format!("ulimit -d {kilobytes} && exec \"$0\" {words}");
        repo.see(repo.command("sh").args(["-c", &script, env!("CARGO_BIN_EXE_git-orchestrate")]))
    };
    let seen = limited(64 << 10, "metrics --task 0101 --format json");
    assert_eq!(seen.code, 0, "{seen}");
    let found = seen.json();
    assert_eq!((&found["entries_total"], &found["parse_errors_total"]), (&json!(lines), &json!(1)));
    let why = found["parse_errors"][0]["error"].as_str().unwrap();
    assert!(why.starts_with("the line is longer than "), "{why}");
    // The limit is one: with less than it takes to begin, nothing begins.
    assert_ne!(limited(64, "metrics --task 0101").code, 0);
}

#[test]
fn a_run_that_was_resumed_counts_once() {
    let repo = Fixture::with_commands(&["test -e \"$HOME/good\""]);
    assert_eq!(repo.orchestrate("start").code, 1);
    fs::write(repo.beside("good"), "").unwrap();
    assert_eq!(repo.orchestrate("resume").code, 0);

    let found = repo.orchestrate("metrics --format json").json();

    assert_eq!((&found["entries_total"], &found["entries_succeeded"]), (&json!(1), &json!(1)));
    assert_eq!(found["entries_superseded"], 1);
    let stage = &found["stages"][0];
    assert_eq!((&stage["flaky_trees"], &stage["repeated"]), (&json!(1), &json!(1)), "{stage}");
}

#[test]
fn torn_and_foreign_lines_are_told_and_queued_ones_count() {
    let repo = Fixture::new("passing");
    write(&repo, ".runs/0101/metrics.json", &[line("a", "succeeded", 1.0), line("b", "failed", 3.0)]);
    write(&repo, ".runs/0101/metrics.pending/c-1-2.jsonl", &[line("c", "succeeded", 2.0)]);
    let whole = repo.read(".runs/0101/metrics.json");
    fs::write(
        repo.path(".runs/0101/metrics.json"),
        [whole.as_bytes(), b"[1]\n\xff\xfe\n\n{\"run_id\":\"torn"].concat(),
    )
    .unwrap();

    let seen = repo.orchestrate("metrics --format json");

    assert_eq!(seen.code, 0, "{seen}");
    assert!(
        seen.stderr.starts_with("warning: `.runs/0101/metrics.json`: 3 lines of it cannot be read"),
        "{seen}"
    );
    let found = seen.json();
    assert_eq!((&found["entries_total"], &found["parse_errors_total"]), (&json!(3), &json!(3)));
    assert_eq!(found["parse_errors"][2]["raw"], "{\"run_id\":\"torn");
    assert_eq!(found["duration_seconds"]["p50"], 2.0);
    assert_eq!(found["average_duration_seconds"], 2.0);
    assert_eq!(found["tasks"][0]["task_id"], "0101");
    assert_eq!(repo.json(".runs/0101/metrics-summary.json")["parse_errors_total"], 3);
}

#[test]
fn a_part_of_the_time_leaves_the_summary_whole() {
    let repo = Fixture::new("passing");
    write(&repo, ".runs/0101/metrics.json", &[line("a", "succeeded", 1.0)]);

    let found = repo.orchestrate("metrics --task 0101 --since 1h --format json").json();

    assert_eq!((&found["entries_total"], &found["success_rate"]), (&json!(0), &Value::Null));
    assert_eq!(repo.json(".runs/0101/metrics-summary.json")["entries_total"], 1);
    assert_eq!(repo.orchestrate("metrics --since soon").code, 2);
}

#[test]
fn an_unknown_task_is_told_with_the_nearest() {
    let repo = Fixture::new("passing");
    assert_eq!(repo.orchestrate("metrics").stdout, "No runs.\n");
    write(&repo, ".runs/0042-login/metrics.json", &[line("a", "succeeded", 1.0)]);

    assert_seen!(repo.orchestrate("metrics --task 0042-logon"), @"
    error: no run of task `0042-logon` was ever here
    hint: did you mean `git orchestrate metrics --task 0042-login`?
    [exit: 2]
    ");
    assert!(!repo.path(".runs/0042-logon").exists());
}

#[test]
fn runs_of_the_reference_tell_their_stages_by_their_manifests() {
    let repo = Fixture::with_commands(&["true"]);
    repo.orchestrate("start");
    let run = repo.runs("0101")[0].clone();
    let id = manifest(&run)["run_id"].clone();
    let mut old = line(id.as_str().unwrap(), "succeeded", 1.0);
    old.as_object_mut().unwrap().retain(|key, _| key != "stages" && key != "tree");
    write(&repo, ".runs/0101/metrics.json", &[old]);

    let found = repo.orchestrate("metrics --format json").json();

    assert_eq!((&found["stages"][0]["stage_id"], &found["stages"][0]["runs"]), (&json!("s1"), &json!(1)));
}

#[test]
fn a_summary_is_not_written_through_a_link() {
    let repo = Fixture::new("passing");
    write(&repo, "elsewhere/metrics.json", &[line("a", "succeeded", 1.0)]);
    fs::create_dir(repo.path(".runs")).unwrap();
    std::os::unix::fs::symlink("../elsewhere", repo.path(".runs/0101")).unwrap();

    assert_eq!(repo.orchestrate("metrics").code, 3);
    assert_eq!(repo.tree("elsewhere"), ["metrics.json"]);
}

/// Reads OpenMetrics text as strictly as the standard has it: returns each family with its type and
/// its samples.
fn parse(text: &str) -> BTreeMap<String, (String, Vec<(String, f64)>)> {
    let body = text.strip_suffix("# EOF\n").expect("the end is marked");
    let mut families = BTreeMap::<String, (String, Vec<(String, f64)>)>::new();
    let mut name = String::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let (what, rest) = rest.split_once(' ').expect("a name");
            let (of, value) = rest.split_once(' ').expect("a value");
            match what {
                "TYPE" => {
                    name = of.to_owned();
                    let earlier = families.insert(name.clone(), (value.to_owned(), Vec::new()));
                    assert!(earlier.is_none(), "a family stands in one place: {line}");
                }
                "UNIT" => assert!(of.ends_with(&format!("_{value}")), "{line}"),
                "HELP" => assert!(!value.is_empty()),
                _ => panic!("{line}"),
            }
            assert_eq!(of, name, "{line}");
            continue;
        }
        let (labelled, value) = line.rsplit_once(' ').expect("a value");
        let (sample, labels) = labelled.split_once('{').expect("labels");
        let mut rest = labels.strip_suffix('}').expect("a closing brace");
        while !rest.is_empty() {
            let (label, after) = rest.split_once("=\"").expect("a label");
            assert!(label.bytes().all(|byte| byte.is_ascii_lowercase()), "{line}");
            let mut end = None;
            let mut escaped = false;
            for (at, c) in after.char_indices() {
                match c {
                    _ if escaped => {
                        assert!(['\\', '"', 'n'].contains(&c), "{line}");
                        escaped = false;
                    }
                    '\\' => escaped = true,
                    '"' => {
                        end = Some(at);
                        break;
                    }
                    _ => {}
                }
            }
            rest = &after[end.expect("a closing quote") + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        let (kind, samples) = families.get_mut(&name).expect("a family");
        let suffix = sample.strip_prefix(name.as_str()).expect("samples follow their family");
        let allowed: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "summary" => &["", "_sum", "_count"],
            other => panic!("{other}"),
        };
        assert!(allowed.contains(&suffix), "{line}");
        assert!(!samples.iter().any(|(earlier, _)| earlier == labelled), "twice: {line}");
        samples.push((labelled.to_owned(), value.parse().expect("a number")));
    }
    families
}

#[test]
fn openmetrics_are_what_the_standard_says() {
    let repo = Fixture::new("passing");
    let mut odd = line("a", "succeeded", 1.5);
    odd["pipeline_id"] = json!("# TYPE a \"b\" \\ c\nd");
    write(&repo, ".runs/0101/metrics.json", &[odd, line("b", "failed", 2.5)]);
    write(&repo, ".runs/two words/metrics.json", &[line("a", "cancelled", 0.0)]);
    fs::create_dir_all(repo.path(".runs/empty")).unwrap();

    let seen = repo.orchestrate("metrics --format openmetrics");

    assert_eq!((seen.code, seen.stderr.as_str()), (0, ""), "{seen}");
    let families = parse(&seen.stdout);
    let sample = |family: &str, sample: &str| {
        let found = families[family].1.iter().find(|(name, _)| name == sample);
        found.unwrap_or_else(|| panic!("{sample}: {seen}")).1
    };
    assert_eq!(
        sample("git_orchestrate_runs", "git_orchestrate_runs_total{task=\"0101\",status=\"failed\"}"),
        1.0
    );
    assert_eq!(sample("git_orchestrate_success_ratio", "git_orchestrate_success_ratio{task=\"0101\"}"), 0.5);
    let durations = "git_orchestrate_run_duration_seconds";
    assert_eq!(sample(durations, &format!("{durations}_sum{{task=\"0101\"}}")), 4.0);
    assert_eq!(sample(durations, &format!("{durations}{{task=\"0101\",quantile=\"0.95\"}}")), 2.5);
    assert!(seen.stdout.contains(r##"pipeline="# TYPE a \"b\" \\ c\nd""##), "{seen}");
    parse(&repo.orchestrate("metrics --task empty --format openmetrics").stdout);
}
