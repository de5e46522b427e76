//! The budget of the machine: what runs of several repositories draw from one place.

use std::fs;
use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::fixture::{Fixture, id, manifest, only_run, statuses};
use crate::witness::{Gate, audit, ended, events, kill, spawn, wait_for, wait_until};

const WAITS: &str = "echo $$ > \"$HOME/up\"; read _ < \"$HOME/gate\"";

/// Returns the program for a machine with so many tokens, which lie with those of `keeper`.
fn program(repo: &Fixture, keeper: &Fixture, tokens: u16) -> Command {
    let mut program = repo.program();
    program.env("GIT_ORCHESTRATE_BUDGET_DIR", keeper.beside("budget"));
    program.env("GIT_ORCHESTRATE_BUDGET_JOBS", tokens.to_string());
    program
}

fn start(repo: &Fixture, keeper: &Fixture, tokens: u16) -> Child {
    spawn(program(repo, keeper, tokens).args(["start", "--task", "t"]))
}

/// Returns what `budget` says about the tokens of a repository.
fn budget(repo: &Fixture) -> Value {
    repo.orchestrate("budget --format json").json()
}

fn waits_in(repo: &Fixture, count: usize) {
    wait_until("somebody waits", || budget(repo)["waiting"].as_array().expect("a list").len() == count);
}

/// Waits until the only run of a repository has told that it waits.
fn has_told(repo: &Fixture) {
    wait_until("a run waits", || {
        repo.runs("t")
            .first()
            .is_some_and(|run| run.join("runner.ndjson").exists() && !events(run, "stage:queued").is_empty())
    });
}

#[test]
fn a_stage_waits_for_its_token_and_that_is_seen_everywhere_and_is_no_part_of_what_it_takes() {
    let holder = Fixture::with_commands(&[WAITS]);
    let mut gate = Gate::new(&holder, "gate");
    let stage = json!({"kind": "command", "id": "quick", "command": "true", "timeout": "200ms"});
    let pipeline =
        json!({"id": "diagnostics", "guardrailsRequired": false, "timeout": "200ms", "stages": [stage]});
    let other = Fixture::with_config(&json!({"pipelines": [pipeline]}));
    let first = start(&holder, &holder, 1);
    wait_for(&holder.beside("up"));
    let second = start(&other, &holder, 1);
    has_told(&other);

    let seen = holder.see(program(&holder, &holder, 1).args(["budget", "--format", "json"])).json();
    assert_eq!((&seen["tokens"], &seen["held"]), (&json!(1), &json!(1)));
    let holds = &seen["holders"][0];
    assert_eq!(holds["run"], id(&only_run(&holder)));
    assert_eq!(holds["repository"], holder.root().to_str().expect("text"));
    assert_eq!((&holds["stage"], &holds["tokens"], &holds["depth"]), (&json!("s1"), &json!([1]), &json!(0)));
    assert_eq!(holds["pid"], first.id());
    assert_eq!(holds["stage_pid"].to_string(), wait_for(&holder.beside("up")));
    let waits = &seen["waiting"][0];
    assert_eq!(waits["run"], id(&only_run(&other)));
    assert_eq!(
        (&waits["stage"], &waits["ahead"], &waits["pid"]),
        (&json!("quick"), &json!(0), &json!(second.id()))
    );
    let text = holder.see(program(&holder, &holder, 1).arg("budget")).stdout;
    assert!(text.starts_with("Tokens: 1 of 1 in use\n"), "{text}");
    for (word, stage) in [("holds", "s1"), ("waits", "quick")] {
        let line = text.lines().find(|line| line.starts_with(word)).unwrap_or_else(|| panic!("{text}"));
        assert!(line.contains("1 token") && line.contains(stage), "{line}");
    }
    let status = other.orchestrate("status");
    assert!(status.stdout.contains("[pending] quick — queued: 0 ahead"), "{status}");
    let status = other.orchestrate("status --format json").json();
    assert_eq!(status["commands"][0]["queued"]["ahead"], 0);

    gate.open();
    let (first, second) = (ended(first), ended(second));
    assert_eq!((first.code, second.code), (0, 0), "{first}{second}");
    assert!(!first.stderr.contains("waits"), "{first}");
    assert!(second.stderr.contains("   waits  quick  queued: 0 ahead"), "{second}");
    let run = only_run(&other);
    let told = events(&run, "stage:admitted");
    let waited = told[0]["waited_seconds"].as_f64().expect("seconds");
    assert!(waited >= 0.25, "{waited}");
    let entry = &manifest(&run)["commands"][0];
    assert_eq!(entry["waited_ms"].as_f64(), Some((waited * 1000.0).round()));
    assert_eq!(entry.get("queued"), None);
    let at = |event: &str| events(&run, event)[0]["timestamp"].as_str().expect("a time").to_owned();
    assert!(at("stage:admitted") <= at("stage:started"));
    assert_eq!(entry["started_at"], at("stage:started"));
    audit(&other, "t");
    assert_eq!(budget(&holder)["held"], 0);
}

#[test]
fn a_holder_that_is_killed_gives_its_token_back_and_one_that_waits_its_place() {
    let repo = Fixture::with_commands(&[WAITS]);
    let _gate = Gate::new(&repo, "gate");
    let others = [0, 1, 2].map(|_| Fixture::with_commands(&["true"]));
    let mut first = start(&repo, &repo, 1);
    wait_for(&repo.beside("up"));
    let mut waiting = Vec::new();
    for (at, other) in others.iter().enumerate() {
        waiting.push(start(other, &repo, 1));
        waits_in(&repo, at + 1);
    }
    kill("-KILL", waiting[0].id());
    first.kill().expect("it runs");
    first.wait().expect("it ends");
    waiting.remove(0).wait().expect("it ends");
    for other in waiting {
        let seen = ended(other);
        assert_eq!(seen.code, 0, "{seen}");
    }
    let began = |repo: &Fixture| events(&only_run(repo), "stage:started")[0]["timestamp"].to_string();
    assert!(began(&others[1]) <= began(&others[2]), "they begin in their order");
    assert_eq!(budget(&repo)["waiting"], json!([]));
    // The stage of the one that was killed lives on; it has no token any more.
    kill("-KILL", wait_for(&repo.beside("up")).parse().expect("a pid"));
}

#[test]
fn who_waits_is_cancelled_at_once_and_has_begun_nothing() {
    let holder = Fixture::with_commands(&[WAITS]);
    let mut gate = Gate::new(&holder, "gate");
    let [other, third] = [0, 1].map(|_| Fixture::with_commands(&["touch began"]));
    let first = start(&holder, &holder, 1);
    wait_for(&holder.beside("up"));
    let (second, cancelled) = (start(&other, &holder, 1), start(&third, &holder, 1));
    has_told(&other);
    has_told(&third);
    kill("-INT", second.id());
    let seen = ended(second);
    assert_eq!(seen.code, 130, "{seen}");
    let run = id(&only_run(&third)).to_owned();
    assert_eq!(third.see(program(&third, &holder, 1).args(["cancel", &run])).code, 0);
    assert_eq!(ended(cancelled).code, 143);
    for repo in [&other, &third] {
        let state = manifest(&only_run(repo));
        assert_eq!((&state["status"], statuses(&state)), (&json!("cancelled"), vec!["pending"]));
        assert_eq!(state["commands"][0].get("queued"), None);
        assert!(!repo.path("began").exists());
        audit(repo, "t");
    }
    assert_eq!(budget(&holder)["waiting"], json!([]));
    gate.open();
    assert_eq!(ended(first).code, 0);
}

#[test]
fn a_run_in_a_stage_uses_the_token_of_its_stage() {
    let inner = |name: &str| {
        json!({"id": name, "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "a", "command": "true", "resources": ["db"]},
            {"kind": "command", "id": "b", "command": "true", "weight": 9}]})
    };
    let nested = |pipeline: &str, task: &str| {
        format!("'{}' start {pipeline} --task {task} --jobs 2", env!("CARGO_BIN_EXE_git-orchestrate"))
    };
    let twice = format!("{} & {} & wait", nested("inner", "in-1"), nested("inner", "in-2"));
    let deep = json!({"kind": "command", "id": "deep", "command": nested("inner", "in-3")});
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "twice", "command": twice, "resources": ["db"]},
            {"kind": "command", "id": "deeper", "command": nested("middle", "mid")}]},
        {"id": "middle", "guardrailsRequired": false, "stages": [deep]},
        inner("inner")]}));
    let seen = repo.see(program(&repo, &repo, 1).args(["start", "--task", "t"]));
    assert_eq!(seen.code, 0, "{seen}");
    for task in ["in-1", "in-2", "in-3", "mid"] {
        let state = repo.only_manifest(task);
        assert_eq!(state["status"], "succeeded", "{task}");
    }
    assert_eq!(budget(&repo)["held"], 0);
}

#[test]
fn a_run_in_a_stage_that_has_lost_the_environment_finds_its_stage_all_the_same() {
    let inner = json!({"id": "inner", "guardrailsRequired": false, "stages": [
        {"kind": "command", "id": "a", "command": "true", "resources": ["db"]}]});
    let nested = format!(
        "exec env -i PATH=\"$PATH\" HOME=\"$HOME\" GIT_ORCHESTRATE_BUDGET_JOBS=1 \
         GIT_ORCHESTRATE_BUDGET_DIR=\"$GIT_ORCHESTRATE_BUDGET_DIR\" sh -c \"'{}' start inner --task in; exit \\$?\"",
        env!("CARGO_BIN_EXE_git-orchestrate")
    );
    let stage = json!({"kind": "command", "id": "outer", "command": nested, "resources": ["db"]});
    let outer = json!({"id": "diagnostics", "guardrailsRequired": false, "stages": [stage]});
    let repo = Fixture::with_config(&json!({"pipelines": [outer, inner]}));
    let seen = repo.see(program(&repo, &repo, 1).args(["start", "--task", "t"]));
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(repo.only_manifest("in")["status"], "succeeded");
}

#[test]
fn commands_in_streams_hold_nothing_and_the_runs_in_them_draw_for_themselves() {
    let repo = Fixture::with_commands(&["test -n \"$GIT_ORCHESTRATE_BUDGET_HELD\""]);
    assert_eq!(repo.orchestrate("stream new a b").code, 0);
    // Each goes on only when the other one is there as well.
    let command = format!(
        "test -z \"$GIT_ORCHESTRATE_BUDGET_HELD\" && echo > \"$HOME/$CODEX_ORCHESTRATOR_STREAM\"; \
         until test -e \"$HOME/a\" && test -e \"$HOME/b\"; do :; done; '{}' start --task in",
        env!("CARGO_BIN_EXE_git-orchestrate")
    );
    let seen = repo.see(program(&repo, &repo, 1).args(["stream", "exec", &command, "a", "b", "--task", "t"]));
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(budget(&repo)["held"], 0);
}

#[test]
fn whoever_ignores_the_budget_waits_for_nobody() {
    let holder = Fixture::with_commands(&[WAITS]);
    let mut gate = Gate::new(&holder, "gate");
    let other = Fixture::with_commands(&["test -z \"$GIT_ORCHESTRATE_BUDGET_HELD\""]);
    let first = start(&holder, &holder, 1);
    wait_for(&holder.beside("up"));
    let seen = other.see(program(&other, &holder, 1).args(["start", "--no-budget"]));
    assert_eq!(seen.code, 0, "{seen}");
    let mut by_variable = program(&other, &holder, 1);
    let seen = other.see(by_variable.env("GIT_ORCHESTRATE_NO_BUDGET", "1").arg("start"));
    assert_eq!(seen.code, 0, "{seen}");
    gate.open();
    assert_eq!(ended(first).code, 0);
}

#[test]
fn without_a_folder_for_tokens_the_run_goes_on_and_says_so_once() {
    let repo = Fixture::with_commands(&["true", "true"]);
    fs::write(repo.beside("file"), "").expect("a file");
    let place = repo.beside("file").join("below");
    let mut program = program(&repo, &repo, 1);
    let seen = repo.see(program.env("GIT_ORCHESTRATE_BUDGET_DIR", &place).args(["start", "--task", "t"]));
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(seen.stderr.matches("goes on without the budget of this machine").count(), 1, "{seen}");
    let doctor = repo
        .see(repo.program().env("GIT_ORCHESTRATE_BUDGET_DIR", &place).args(["doctor", "--format", "json"]));
    let checks = doctor.json()["checks"].clone();
    let check =
        checks.as_array().expect("checks").iter().find(|check| check["id"] == "budget").expect("a check");
    assert_eq!(check["verdict"], "warning", "{check}");
    assert_eq!(repo.orchestrate("budget").code, 0);
}

#[test]
fn stages_of_one_resource_do_not_meet_whoever_runs_them() {
    let stage = |id: &str| {
        let command = "mkdir \"$HOME/busy\" && ls . > /dev/null && rmdir \"$HOME/busy\"";
        json!({"kind": "command", "id": id, "command": command, "resources": ["db"]})
    };
    let stages: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(stage).into();
    let pipeline = json!({"id": "diagnostics", "guardrailsRequired": false, "stages": stages});
    let repo = Fixture::with_config(&json!({"pipelines": [pipeline]}));
    let runs: Vec<_> = (0..3)
        .map(|task| {
            spawn(program(&repo, &repo, 4).args(["start", "--jobs", "3", "--task", &format!("t{task}")]))
        })
        .collect();
    for run in runs {
        let seen = ended(run);
        assert_eq!(seen.code, 0, "{seen}");
    }
}

/// Keeps count of who is there: a folder per process, and the highest count anybody saw.
const COUNTED: &str = "mkdir -p \"$HOME/there/$$\"; ls \"$HOME/there\" | wc -l > \"$HOME/seen/$$\"; \
    rmdir \"$HOME/there/$$\"";

fn most_seen(repo: &Fixture) -> usize {
    let counts = fs::read_dir(repo.beside("seen")).expect("a folder").map(|entry| {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a file");
        text.trim().parse::<usize>().expect("a count")
    });
    counts.max().expect("somebody was there")
}

#[test]
fn many_runs_at_once_never_hold_more_tokens_than_there_are_and_all_of_them_end() {
    let repo = Fixture::with_commands(&[COUNTED, COUNTED]);
    fs::create_dir(repo.beside("seen")).expect("a folder");
    fs::create_dir(repo.beside("there")).expect("a folder");
    let runs: Vec<_> = (0..32)
        .map(|task| {
            spawn(program(&repo, &repo, 3).args(["start", "--jobs", "2", "--task", &format!("t{task}")]))
        })
        .collect();
    for seen in runs.into_iter().map(ended) {
        assert_eq!(seen.code, 0, "{seen}");
    }
    assert!(most_seen(&repo) <= 3, "{}", most_seen(&repo));
    let left = budget(&repo);
    assert_eq!((&left["held"], &left["waiting"]), (&json!(0), &json!([])));
}

#[test]
fn runs_that_are_killed_at_any_moment_leave_the_budget_to_the_others() {
    let repo = Fixture::with_commands(&["true", "true"]);
    let survivors: Vec<_> = (0..6)
        .map(|round| {
            let mut victims: Vec<_> = (0..2)
                .map(|at| {
                    spawn(program(&repo, &repo, 1).args(["start", "--task", &format!("v{round}-{at}")]))
                })
                .collect();
            let survivor = spawn(program(&repo, &repo, 1).args(["start", "--task", &format!("s{round}")]));
            // At whatever they are by now: that differs from round to round, and none of it may matter.
            for victim in &mut victims {
                let _ = victim.kill();
                victim.wait().expect("it ends");
            }
            survivor
        })
        .collect();
    for seen in survivors.into_iter().map(ended) {
        assert_eq!(seen.code, 0, "{seen}");
    }
    let left = budget(&repo);
    assert_eq!((&left["held"], &left["waiting"]), (&json!(0), &json!([])));
    let names: Vec<_> = fs::read_dir(repo.beside("budget")).expect("a folder").collect();
    assert!(names.len() <= 8, "the folder does not grow: {names:?}");
}

/// Returns the program as a user calls it who says nothing about the budget.
fn plain(repo: &Fixture, keeper: &Fixture) -> Command {
    let mut program = program(repo, keeper, 1);
    program.env_remove("GIT_ORCHESTRATE_BUDGET_JOBS");
    program
}

fn cores() -> usize {
    std::thread::available_parallelism().expect("a number").get()
}

/// Returns a repository with stages that say when they are up, and then wait.
fn with_waiting(stages: usize) -> Fixture {
    let stage = |at: usize| {
        let command = format!("echo up > \"$HOME/up-{at}\"; read _ < \"$HOME/gate\"");
        json!({"kind": "command", "id": format!("s{at}"), "command": command})
    };
    let stages: Vec<_> = (0..stages).map(stage).collect();
    Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "guardrailsRequired": false, "stages": stages}]}))
}

#[test]
fn without_a_word_all_runs_share_as_many_tokens_as_there_are_cores() {
    let holder = with_waiting(cores());
    let mut gate = Gate::new(&holder, "gate");
    let others = [0, 1].map(|_| Fixture::with_commands(&["test -n \"$GIT_ORCHESTRATE_BUDGET_HELD\""]));
    let jobs = cores().to_string();
    let first = spawn(plain(&holder, &holder).args(["start", "--task", "t", "--jobs", &jobs]));
    for at in 0..cores() {
        wait_for(&holder.beside(&format!("up-{at}")));
    }
    let second = spawn(plain(&others[0], &holder).args(["start", "--task", "t"]));
    has_told(&others[0]);
    let listed = others[0].orchestrate("list --format json").json();
    assert_eq!(listed["runs"][0]["queued"], json!(["s1"]));
    let text = others[0].orchestrate("list").stdout;
    assert!(text.contains("  queued  ") && !text.contains("in_progress"), "{text}");
    // Whoever comes after that waits behind it, detached as well.
    let third = others[1].see(plain(&others[1], &holder).args(["start", "--task", "t", "--detach"]));
    assert_eq!(third.code, 0, "{third}");
    has_told(&others[1]);
    let status = others[1].orchestrate("status");
    assert!(status.stdout.contains("[pending] s1 — queued: 1 ahead"), "{status}");
    let run = only_run(&others[1]);
    assert_eq!(others[1].see(plain(&others[1], &holder).args(["cancel", id(&run)])).code, 0);
    assert_eq!(manifest(&run)["status"], "cancelled");
    for _ in 0..cores() {
        gate.open();
    }
    assert_eq!((ended(first).code, ended(second).code), (0, 0));
    assert_eq!(others[0].orchestrate("list --format json").json()["runs"][0]["queued"], json!([]));
}

#[test]
fn a_run_that_is_alone_runs_as_many_commands_as_it_was_asked_to() {
    let jobs = cores() + 3;
    let repo = with_waiting(jobs);
    let mut gate = Gate::new(&repo, "gate");
    let run = spawn(plain(&repo, &repo).args(["start", "--task", "t", "--jobs", &jobs.to_string()]));
    for at in 0..jobs {
        wait_for(&repo.beside(&format!("up-{at}")));
    }
    let seen = repo.see(plain(&repo, &repo).args(["budget", "--format", "json"])).json();
    assert_eq!((&seen["tokens"], &seen["held"]), (&json!(cores()), &json!(jobs)));
    let text = repo.see(plain(&repo, &repo).arg("budget")).stdout;
    assert!(text.starts_with(&format!("Tokens: {jobs} in use, more than the {}", cores())), "{text}");
    for _ in 0..jobs {
        gate.open();
    }
    assert_eq!(ended(run).code, 0);
}

#[test]
fn a_folder_that_cannot_be_had_is_no_news_to_somebody_who_asked_for_nothing() {
    let repo = Fixture::with_commands(&["true"]);
    fs::write(repo.beside("file"), "").expect("a file");
    let mut program = plain(&repo, &repo);
    let seen = repo.see(program.env("GIT_ORCHESTRATE_BUDGET_DIR", repo.beside("file")).arg("start"));
    assert_eq!(seen.code, 0, "{seen}");
    assert!(!seen.stderr.contains("budget"), "{seen}");
}

#[test]
fn runs_in_two_stages_that_want_what_the_other_stage_holds_end_with_a_word_and_not_never() {
    let outer = |own: &str, other: &str| {
        let inner = format!(
            "echo > \"$HOME/up-{own}\"; until test -e \"$HOME/up-{other}\"; do :; done; '{}' start inner-{own} --task \
             in-{own}; echo $? > \"$HOME/code-{own}\"",
            env!("CARGO_BIN_EXE_git-orchestrate")
        );
        let stage = |id: String, command: &str, resource: &str| json!({"kind": "command", "id": id, "command": command, "resources": [resource]});
        [
            json!({"id": format!("outer-{own}"), "guardrailsRequired": false,
                "stages": [stage(format!("holds-{own}"), &inner, own)]}),
            json!({"id": format!("inner-{own}"), "guardrailsRequired": false,
                "stages": [stage(format!("wants-{other}"), "true", other)]}),
        ]
    };
    let pipelines = [outer("db", "gpu"), outer("gpu", "db")].concat();
    let repo = Fixture::with_config(&json!({"pipelines": pipelines}));
    let runs = ["db", "gpu"]
        .map(|own| spawn(program(&repo, &repo, 4).args(["start", &format!("outer-{own}"), "--task", own])));
    for run in runs {
        assert_eq!(ended(run).code, 0);
    }
    let code = |own: &str| wait_for(&repo.beside(&format!("code-{own}")));
    let (victim, other) = match (&*code("db"), &*code("gpu")) {
        ("5", "0") => ("db", "gpu"),
        ("0", "5") => ("gpu", "db"),
        codes => panic!("{codes:?}"),
    };
    assert_eq!(repo.only_manifest(&format!("in-{other}"))["status"], "succeeded");
    let state = repo.only_manifest(&format!("in-{victim}"));
    assert_eq!(state["status_detail"], format!("stage:wants-{other}:deadlock"));
    let summary = state["commands"][0]["summary"].as_str().expect("a summary");
    for (resource, holder) in [(other, other), (victim, victim)] {
        let said = format!("`{resource}`, which stage `holds-{holder}` of run `");
        assert!(summary.contains(&said), "{summary}");
    }
    let told = state["summary"].as_str().expect("a summary");
    assert!(told.contains("take everything at once: \"resources\": [\"db\", \"gpu\"]"), "{told}");
    audit(&repo, &format!("in-{victim}"));
    assert_eq!(budget(&repo)["held"], 0);
}
