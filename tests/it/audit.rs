//! What a change may not say of itself: commits are held against their base, by people and by a server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::evidence::{Two, allow, forge, only_ref, project_with, start, verdicts, with_key};
use crate::fixture::{Fixture, Seen, manifest};

fn commit(repo: &Fixture, message: &str) {
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", message]);
}

/// Changes the configuration.
fn configure(repo: &Fixture, change: impl FnOnce(&mut Value)) {
    let mut config: Value = serde_json::from_str(&repo.read("codex.orchestrator.json")).unwrap();
    change(&mut config);
    repo.write("codex.orchestrator.json", &config.to_string());
}

/// A project whose `main` is on a server, with a branch of its own checked out.
fn branched() -> Two {
    let two = Two::new(project_with(json!({"notes": true})));
    two.ours.git(&["fetch", "--quiet", "origin"]);
    two.ours.git(&["remote", "set-head", "origin", "main"]);
    two.ours.git(&["switch", "--quiet", "--create", "topic"]);
    two
}

fn verify(repo: &Fixture, words: &str) -> Seen {
    repo.orchestrate(&format!("evidence verify --format json --require test {words}"))
}

#[test]
fn a_change_that_redefines_a_stage_proves_nothing_of_it() {
    let two = branched();
    let repo = &two.ours;
    repo.write("file", "good");
    commit(repo, "good");
    start(repo, "");
    let seen = verify(repo, "");
    assert_eq!((seen.code, &seen.json()["stages_of"]), (0, &json!("base")), "{seen}");
    assert_eq!(seen.json()["base"]["label"], "origin/main", "{seen}");
    configure(repo, |config| config["pipelines"][0]["stages"][0]["command"] = json!("true"));
    commit(repo, "let it pass");
    start(repo, "");
    for words in ["", "main..topic", "HEAD --base main", "HEAD~1..HEAD"] {
        let seen = verify(repo, words);
        assert_eq!(seen.code, 1, "{words}: {seen}");
        let last = seen.json()["commits"].as_array().unwrap().len() - 1;
        let (_, fail) = verdicts(&seen, last);
        assert_eq!(fail.len(), 1, "{words}: {seen}");
        assert_eq!(fail[0].0, "defined");
        assert!(fail[0].1.starts_with("`test` ran as `true`, and by "), "{seen}");
    }
    // A branch that was pushed follows itself, and is no base for what it says.
    repo.git(&["push", "--quiet", "--set-upstream", "origin", "topic"]);
    assert_eq!(verify(repo, "").code, 1);
    // A stage of another name that does the same is the same; a name alone is nothing.
    configure(repo, |config| {
        let stages = config["pipelines"][0]["stages"].as_array_mut().unwrap();
        stages[0]["id"] = json!("check");
        stages.push(json!({"kind": "command", "id": "test", "command": "true"}));
    });
    commit(repo, "another name");
    start(repo, "");
    assert_eq!(verdicts(&verify(repo, ""), 0).1[0].0, "defined");
    // Who has looked at the change says so.
    assert_eq!(verify(repo, "--allow-gate-change").code, 0);
    assert_eq!(verify(repo, "--base HEAD").code, 0);
    let seen = repo.orchestrate("evidence verify --require lint");
    assert_eq!(seen.code, 1);
    assert!(
        seen.stdout.contains("not defined: origin/main at ") && seen.stdout.contains("has no stage `lint`"),
        "{seen}"
    );
    let seen = verify(repo, "--base nonsense");
    assert_eq!((seen.code, seen.stdout.as_str()), (2, ""), "{seen}");
}

#[test]
fn a_branch_that_was_pushed_does_not_allow_its_own_signer() {
    let two = branched();
    let repo = &two.ours;
    let key = with_key(repo, "mallory");
    repo.write(".signers", &format!("mallory {key}\n"));
    configure(repo, |config| config["evidence"]["signers"] = json!(".signers"));
    commit(repo, "let me in");
    start(repo, "");
    repo.git(&["push", "--quiet", "--set-upstream", "origin", "topic"]);
    let seen = repo.orchestrate("evidence show --format json");
    assert_eq!(seen.json()["commits"][0]["records"][0]["note"]["signature"], "stranger", "{seen}");
    assert_eq!(verify(repo, "--signed").code, 1);
    repo.git(&["push", "--quiet", "origin", "topic:main"]);
    let seen = repo.orchestrate("evidence show --format json");
    assert_eq!(seen.json()["commits"][0]["records"][0]["note"]["principal"], "mallory", "{seen}");
}

#[test]
fn the_same_work_under_another_name_is_proven() {
    let two = branched();
    let repo = &two.ours;
    configure(repo, |config| config["pipelines"][0]["stages"][0]["id"] = json!("check"));
    commit(repo, "another name");
    start(repo, "");
    let seen = verify(repo, "");
    assert_eq!(seen.code, 0, "{seen}");
}

#[test]
fn the_base_says_how_long_evidence_counts_unless_somebody_asks_for_more() {
    let two = Two::new(project_with(json!({"notes": true, "maxAgeDays": 0})));
    let repo = &two.ours;
    repo.git(&["fetch", "--quiet", "origin"]);
    repo.git(&["switch", "--quiet", "--create", "topic"]);
    configure(repo, |config| config["evidence"]["maxAgeDays"] = json!(1000));
    commit(repo, "for ever");
    start(repo, "");
    let seen = verify(repo, "");
    assert_eq!((seen.code, verdicts(&seen, 0).1[0].0.as_str()), (1, "fresh"), "{seen}");
    assert_eq!(verify(repo, "--max-age 1d").code, 0);
}

#[test]
fn where_nobody_else_says_what_a_stage_is_the_answer_says_so() {
    // No base at all.
    let repo = project_with(json!({"notes": true}));
    start(&repo, "");
    let seen = verify(&repo, "");
    let defined = &seen.json()["commits"][0]["verdicts"][2];
    assert_eq!(
        (seen.code, &defined["name"], &defined["holds"]),
        (0, &json!("defined"), &json!(null)),
        "{seen}"
    );
    assert_eq!(defined["why"], "there is no base, so stages are as the commit itself has them");
    assert!(
        repo.orchestrate("evidence verify --require test")
            .stdout
            .ends_with("By: stages as each commit itself has them: there is no base\n")
    );
    // A base that cannot be read decides nothing in anybody's favour.
    let two = branched();
    let repo = &two.ours;
    start(repo, "");
    let good = repo.read("codex.orchestrator.json");
    repo.write("codex.orchestrator.json", "{");
    commit(repo, "broken");
    repo.git(&["branch", "--quiet", "broken"]);
    repo.write("codex.orchestrator.json", &good);
    commit(repo, "whole again");
    let seen = verify(repo, "broken..HEAD");
    let (_, fail) = verdicts(&seen, 0);
    assert!(
        seen.code == 1 && fail[0].1.contains("what broken at ") && fail[0].1.contains("cannot be read"),
        "{seen}"
    );
    // Nor does one that is not here.
    let shallow = two.ours.beside("shallow");
    let url = format!("file://{}", two.bare.display());
    two.ours.git(&["clone", "--quiet", "--depth=1", &url, shallow.to_str().unwrap()]);
    two.git_there(&shallow, &["update-ref", "-d", "refs/remotes/origin/HEAD"]);
    two.git_there(&shallow, &["update-ref", "-d", "refs/remotes/origin/main"]);
    let seen = two.ours.orchestrate_in(&shallow, "evidence verify --require test --format json");
    let (_, fail) = verdicts(&seen, 0);
    assert!(
        seen.code == 1
            && fail.iter().any(|(name, why)| name == "defined" && why.contains("history is cut off")),
        "{seen}"
    );
}

#[test]
fn what_another_tree_with_the_same_inputs_proved_counts_and_nothing_else_of_it() {
    let stages = json!([
        {"kind": "command", "id": "docs", "command": "true", "inputs": ["docs/"]},
        {"kind": "command", "id": "test", "command": "true # all"},
    ]);
    let two = Two::new(Fixture::with_config(&json!({
        "pipelines": [{"id": "gate", "stages": stages}], "defaultPipeline": "gate", "evidence": {"notes": true},
    })));
    let repo = &two.ours;
    let key = with_key(repo, "ada");
    allow(repo, "ada", &key);
    repo.write("docs/a", "one");
    commit(repo, "docs");
    start(repo, "");
    // Nothing is run here, so that no note says anything of it.
    repo.write("code", "two");
    commit(repo, "code");
    let everywhere = |words: &str| {
        assert_eq!(repo.orchestrate("evidence push").code, 0);
        repo.git(&["push", "--quiet", "origin", "HEAD"]);
        let words = format!("evidence verify main --format json {words}");
        // A server has the notes and no ledger.
        [repo.orchestrate(&words), repo.orchestrate_in(&two.bare, &format!("{words} --base main~1"))]
    };
    two.git_there(
        &two.bare,
        &["config", "gpg.ssh.allowedSignersFile", repo.beside("allowed").to_str().unwrap()],
    );
    for words in ["--require docs", "--require docs --signed"] {
        for seen in everywhere(words) {
            assert_eq!(seen.code, 0, "{words}: {seen}");
        }
    }
    for seen in everywhere("--require docs,test") {
        let (_, fail) = verdicts(&seen, 0);
        assert_eq!(
            (seen.code, fail),
            (1, vec![("complete".into(), "`test` has no record".into())]),
            "{seen}"
        );
    }
    start(repo, "--reuse");
    for seen in everywhere("--require docs,test --signed") {
        assert_eq!(seen.code, 0, "{seen}");
    }
    repo.write("docs/a", "other");
    commit(repo, "other docs");
    for seen in everywhere("--require docs") {
        assert_eq!((seen.code, verdicts(&seen, 0).1[0].0.as_str()), (1, "present"), "{seen}");
    }
}

#[test]
fn a_failure_that_was_seen_here_counts_also_where_only_signatures_do() {
    let repo = project_with(json!({"notes": true}));
    let key = with_key(&repo, "ada");
    allow(&repo, "ada", &key);
    start(&repo, "");
    assert_eq!(verify(&repo, "--signed").code, 0);
    fs::write(repo.beside("fails"), "").unwrap();
    assert_eq!(repo.orchestrate("start --no-notes").code, 1);
    let seen = verify(&repo, "--signed");
    assert_eq!((seen.code, verdicts(&seen, 0).1[0].0.as_str()), (1, "consistent"), "{seen}");
}

fn audit(repo: &Fixture, words: &str) -> Seen {
    repo.orchestrate(&format!("evidence audit --since 3000w --format json {words}"))
}

/// Returns what is amiss with each commit.
fn amiss(seen: &Seen) -> Vec<Vec<String>> {
    let of = |commit: &Value| {
        commit["amiss"].as_array().unwrap().iter().map(|it| it["what"].as_str().unwrap().to_owned()).collect()
    };
    seen.json()["commits"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn an_audit_names_what_arrived_without_evidence_that_holds() {
    let repo = project_with(json!({"notes": true}));
    let key = with_key(&repo, "ada");
    allow(&repo, "ada", &key);
    start(&repo, "");
    repo.write("file", "nobody looked");
    commit(&repo, "past every hook");
    repo.write("file", "broken");
    commit(&repo, "broken");
    fs::write(repo.beside("fails"), "").unwrap();
    assert_eq!(repo.orchestrate("start").code, 1);
    fs::remove_file(repo.beside("fails")).unwrap();
    repo.write("file", "unsigned");
    commit(&repo, "unsigned");
    repo.git(&["config", "commit.gpgSign", "false"]);
    start(&repo, "");
    repo.git(&["config", "commit.gpgSign", "true"]);
    configure(&repo, |config| config["pipelines"][0]["stages"][0]["command"] = json!("true"));
    commit(&repo, "weaker");
    start(&repo, "");
    let seen = audit(&repo, "");
    assert_eq!(seen.code, 1, "{seen}");
    let expected: [&[&str]; 6] =
        [&["none"], &["redefined", "incomplete"], &["none"], &["failed"], &["unsigned"], &["redefined"]];
    assert_eq!(amiss(&seen), expected, "{seen}");
    assert_eq!(seen.json()["arrived_by"], "dates");
    let text = repo.orchestrate("evidence audit --since 3000w").stdout;
    assert!(text.contains("past every hook\n    none: there is no record of this tree\n"), "{text}");
    assert!(text.contains("6 commits arrived on HEAD since "), "{text}");
    assert_eq!(amiss(&audit(&repo, "--allow-unsigned"))[4], [] as [&str; 0]);
    assert_eq!(amiss(&audit(&repo, "--signed"))[4], ["incomplete", "unsigned"]);
    // Forged, it is worse than missing.
    forge(&repo, "refs/notes/orchestrate/somebody", "HEAD~1", b"{broken\n");
    let seen = audit(&repo, "");
    assert_eq!((seen.code, amiss(&seen)[4][0].as_str()), (6, "refused"), "{seen}");
    assert_eq!(repo.orchestrate("evidence audit nonsense --since 1w").code, 2);
    assert_eq!(repo.orchestrate("evidence audit").code, 2);
}

#[test]
fn an_override_is_named_with_its_reason() {
    let repo = Fixture::with_config(&json!({
        "pipelines": [{"id": "gate", "stages": [
            {"kind": "command", "id": "test", "command": "true"},
            {"kind": "command", "id": "size", "command": format!("'{}' guard diff-budget --max-files 1 --base HEAD~1", env!("CARGO_BIN_EXE_git-orchestrate"))},
        ]}], "defaultPipeline": "gate", "evidence": {"notes": true},
    }));
    for name in ["a", "b", "c"] {
        repo.write(name, name);
    }
    commit(&repo, "large");
    let mut program = repo.program();
    let seen = repo.see(program.arg("start").env("DIFF_BUDGET_OVERRIDE_REASON", "it is a move"));
    assert_eq!(seen.code, 0, "{seen}");
    let seen = audit(&repo, "--allow-unsigned");
    let last = seen.json()["commits"].as_array().unwrap().last().unwrap()["amiss"].clone();
    assert_eq!((seen.code, &last[0]["what"]), (1, &json!("overridden")), "{seen}");
    assert!(seen.stdout.contains("it is a move"), "{seen}");
}

#[test]
fn an_audit_begins_where_the_branch_was_and_not_at_a_date_that_somebody_chose() {
    let two = Two::new(project_with(json!({"notes": true})));
    let log = two.clone.join(".git/logs/refs/heads/main");
    two.ours.write("file", "new");
    two.ours.git(&["add", "--all"]);
    two.ours.see(
        two.ours
            .command("git")
            .args(["commit", "--quiet", "-m", "old?"])
            .env("GIT_COMMITTER_DATE", "2001-01-01T00:00:00Z"),
    );
    two.ours.git(&["push", "--quiet", "origin", "HEAD"]);
    // The clone was made long ago, and pulls now.
    let made = fs::read_to_string(&log).unwrap();
    two.git_there(&two.clone, &["pull", "--quiet"]);
    let pulled = fs::read_to_string(&log).unwrap()[made.len()..].to_owned();
    let dated = |line: &str, at: &str| {
        let (who, what) = line.split_once('\t').unwrap();
        let (who, _) = who.rsplit_once("> ").unwrap();
        format!("{who}> {at} +0000\t{what}")
    };
    fs::write(&log, dated(&made, "1000000000") + &dated(&pulled, "1700000000")).unwrap();
    let seen = two.there("evidence audit main --since 1000w --format json");
    assert_eq!((&seen.json()["arrived_by"], amiss(&seen).len()), (&json!("reflog"), 1), "{seen}");
    assert_eq!(amiss(&seen)[0], ["none"], "{seen}");
}

#[test]
fn a_sample_is_run_again_and_contradicts_what_does_not_hold() {
    let repo = project_with(json!({"notes": true}));
    for at in 0..4 {
        repo.write("file", &at.to_string());
        commit(&repo, &at.to_string());
        start(&repo, "");
    }
    let words = "--allow-unsigned --first-parent --rerun 50%";
    let seen = audit(&repo, words);
    let reruns = seen.json()["rerun"].clone();
    assert_eq!(
        (&reruns["eligible"], &reruns["commits"].as_array().unwrap().len()),
        (&json!(4), &2),
        "{seen}"
    );
    for rerun in reruns["commits"].as_array().unwrap() {
        assert_eq!(
            (&rerun["agrees"], &rerun["stages"][0]["again"]),
            (&json!(true), &json!("agrees")),
            "{seen}"
        );
        let run = repo.path(".runs/audit/cli").join(rerun["runs"][0].as_str().unwrap());
        assert_eq!(crate::fixture::manifest(&run)["series"]["kind"], "audit");
    }
    // The same is chosen again, and something else with another seed.
    let chosen = |seen: &Seen| -> Vec<Value> {
        let reruns = seen.json()["rerun"]["commits"].clone();
        reruns.as_array().unwrap().iter().map(|it| it["commit"].clone()).collect()
    };
    let first = chosen(&seen);
    assert_eq!(chosen(&audit(&repo, words)), first);
    let others =
        (0..20).map(|seed| chosen(&audit(&repo, &format!("--allow-unsigned --rerun 50% --seed {seed}"))));
    assert!(others.take_while(|chosen| *chosen == first).count() < 20);
    // What does not pass again is contradicted, here and by whoever asks later.
    fs::write(repo.beside("fails"), "").unwrap();
    let seen = audit(&repo, "--allow-unsigned --rerun 0.01%");
    let rerun = seen.json()["rerun"]["commits"][0].clone();
    assert_eq!((seen.code, &rerun["stages"][0]["again"]), (1, &json!("disagrees")), "{seen}");
    let commit = rerun["commit"].as_str().unwrap();
    let seen = verify(&repo, commit);
    assert_eq!((seen.code, verdicts(&seen, 0).1[0].0.as_str()), (1, "consistent"), "{seen}");
    for wrong in ["3", "-1%", "101%", "NaN%"] {
        assert_eq!(audit(&repo, &format!("--rerun={wrong}")).code, 2, "{wrong}");
    }
    assert_eq!(repo.git(&["status", "--short"]), "");
}

/// A bare repository with our hook, as `hooks/README.md` says to install it.
fn served(two: &Two) {
    let hook = two.bare.join("hooks/pre-receive");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("hooks/pre-receive"), &hook).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_git-orchestrate"));
    set(two, "orchestrate.program", program.to_str().unwrap());
}

/// Configures the server.
fn set(two: &Two, key: &str, value: &str) {
    two.git_there(&two.bare, &["config", key, value]);
}

fn push(two: &Two, words: &str) -> Seen {
    let mut git = two.ours.command("git");
    two.ours.see(git.arg("push").args(words.split_whitespace()))
}

#[test]
fn a_server_takes_what_is_proven_and_says_what_mends_the_rest() {
    let two = branched();
    served(&two);
    let repo = &two.ours;
    repo.write("file", "new");
    commit(repo, "new");
    let short = &repo.git(&["rev-parse", "HEAD"])[..12];
    let seen = push(&two, "origin topic");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(
        seen.stderr.contains(&format!("remote: refused  refs/heads/topic: commit {short} (new)")),
        "{seen}"
    );
    assert!(seen.stderr.contains("not present: there is no record of this tree"), "{seen}");
    let mend =
        format!("mend it: git orchestrate start --commit {short} --notes && git orchestrate evidence push");
    assert!(seen.stderr.contains(&mend), "{seen}");
    assert_eq!(two.git_there(&two.bare, &["branch", "--list"]), "* main");
    // It is mended by what it says.
    assert_eq!(repo.orchestrate(&format!("start --commit {short} --notes")).code, 0);
    assert_eq!(repo.orchestrate("evidence push").code, 0);
    let seen = push(&two, "origin topic");
    assert_eq!(seen.code, 0, "{seen}");
    // Evidence may come with what it is about, in one push.
    repo.write("file", "newer");
    commit(repo, "newer");
    start(repo, "");
    let seen = push(&two, "origin topic refs/notes/orchestrate/*:refs/notes/orchestrate/*");
    assert_eq!(seen.code, 0, "{seen}");
    // A commit on the way counts too, unless only the ends are looked at.
    for name in ["one", "two"] {
        repo.write("file", name);
        commit(repo, name);
    }
    start(repo, "");
    assert_eq!(repo.orchestrate("evidence push").code, 0);
    let seen = push(&two, "origin topic");
    assert!(seen.code == 1 && seen.stderr.contains("(one)") && !seen.stderr.contains("(two)"), "{seen}");
    set(&two, "orchestrate.tips", "true");
    assert_eq!(push(&two, "origin topic").code, 0);
    // What is there already can have any name, and goes as it likes.
    assert_eq!(push(&two, "origin topic:another HEAD~2:refs/tags/v1").code, 0);
    assert_eq!(push(&two, "origin :another :refs/tags/v1").code, 0);
}

#[test]
fn a_ref_that_replaces_a_commit_replaces_nothing_that_is_judged() {
    let two = branched();
    served(&two);
    let repo = &two.ours;
    repo.write("file", "good\n");
    commit(repo, "good");
    start(repo, "");
    assert_eq!(repo.orchestrate("evidence push").code, 0);
    assert_eq!(push(&two, "origin topic").code, 0);
    repo.write("file", "bad\nworse\n");
    commit(repo, "bad");
    let bad = repo.git(&["rev-parse", "HEAD"]);
    assert_eq!(push(&two, "origin topic").code, 1);
    // It makes git show the tree of a commit that is proven.
    let other = repo.git(&["commit-tree", "HEAD~1^{tree}", "-p", "HEAD~1", "-m", "bad"]);
    repo.git(&["replace", &bad, &other]);
    assert_eq!(repo.git(&["rev-parse", "HEAD^{tree}"]), repo.git(&["rev-parse", "HEAD~1^{tree}"]));
    push(&two, "origin refs/replace/*:refs/replace/*");
    let seen = push(&two, "origin topic");
    assert!(seen.code == 1 && seen.stderr.contains("there is no record of this tree"), "{seen}");
    assert_eq!(
        two.git_there(&two.bare, &["--no-replace-objects", "log", "-1", "--format=%s", "topic"]),
        "good"
    );
    // Nor here.
    let seen = verify(repo, "HEAD");
    let (_, fail) = verdicts(&seen, 0);
    assert_eq!((seen.code, fail[0].0.as_str()), (1, "present"), "{seen}");
    let seen = repo.orchestrate("guard diff-budget --commit HEAD --format json");
    assert_eq!(seen.json()["guardrails"][0]["counts"]["files"], 1, "{seen}");
}

#[test]
fn a_server_takes_no_notes_that_are_none_and_lets_them_go() {
    let two = branched();
    let repo = &two.ours;
    repo.write("file", "good");
    commit(repo, "good");
    start(repo, "");
    repo.git(&["tag", "--annotate", "--message", "t", "t"]);
    let junk = ["HEAD:file:refs/notes/orchestrate/blob", "t:refs/notes/orchestrate/tag"];
    let below = format!("{}:{}/x", only_ref(repo), only_ref(repo));
    let names: Vec<_> =
        junk.iter().copied().chain([below.as_str()]).map(|it| it.rsplit_once(':').unwrap()).collect();
    let pushed = |what: &str, name: &str| {
        let id = if what.is_empty() { String::new() } else { repo.git(&["rev-parse", what]) };
        push(&two, &format!("origin {id}:{name}"))
    };
    // What was there before the hook was does not stay for ever.
    for (what, name) in &names {
        assert_eq!(pushed(what, name).code, 0, "{name}");
    }
    served(&two);
    let seen = push(&two, "origin topic");
    assert!(seen.code == 1 && seen.stderr.contains("note of blob"), "{seen}");
    for (_, name) in &names {
        let seen = pushed("", name);
        assert_eq!(seen.code, 0, "{name}: {seen}");
    }
    for (what, name) in &names {
        let seen = pushed(what, name);
        assert_eq!(seen.code, 1, "{name}: {seen}");
        let said = seen.stderr.contains("no notes in it") || seen.stderr.contains("name with a slash");
        assert!(said, "{name}: {seen}");
    }
    assert_eq!(repo.orchestrate("evidence push").code, 0);
    let seen = push(&two, "origin topic");
    assert_eq!(seen.code, 0, "{seen}");
}

#[test]
fn a_file_that_git_was_told_not_to_look_at_proves_nothing() {
    let stage = json!({"kind": "command", "id": "test", "command": "grep -qx yes file"});
    let repo = Fixture::with_config(&json!({
        "pipelines": [{"id": "gate", "stages": [stage]}], "defaultPipeline": "gate", "evidence": {"notes": true},
    }));
    repo.write("file", "no\n");
    commit(&repo, "no");
    for mark in ["assume-unchanged", "skip-worktree"] {
        repo.git(&["update-index", &format!("--{mark}"), "file"]);
        repo.write("file", "yes\n");
        start(&repo, "--task t");
        let seen = verify(&repo, "HEAD");
        assert_eq!(seen.code, 1, "{mark}: {seen}");
        let explained = repo.orchestrate("explain test");
        assert!(
            explained.stdout.contains("`file` is changed, and marked as `assume-unchanged`"),
            "{explained}"
        );
        repo.git(&["update-index", &format!("--no-{mark}"), "file"]);
        repo.git(&["checkout", "--quiet", "file"]);
    }
    let runs = repo.runs("t");
    assert!(runs.iter().all(|run| manifest(run)["git"]["hidden"] == json!(["file"])), "{runs:?}");
    // As long as nothing is hidden, nobody minds.
    repo.write("file", "yes\n");
    commit(&repo, "yes");
    repo.git(&["update-index", "--assume-unchanged", "file"]);
    start(&repo, "");
    let seen = verify(&repo, "HEAD");
    assert_eq!(seen.code, 0, "{seen}");
}

#[test]
fn a_configuration_behind_a_link_is_that_of_the_base() {
    let repo = project_with(json!({"notes": true}));
    configure(&repo, |config| {
        config["pipelines"][0]["stages"][0]["command"] = json!("false");
        config["guardrails"] = json!({"diffBudget": {"maxLines": 5}});
    });
    let strict = repo.read("codex.orchestrator.json");
    fs::create_dir(repo.path("conf")).unwrap();
    repo.write("conf/o.json", &strict);
    let link = |target: &str| {
        fs::remove_file(repo.path("codex.orchestrator.json")).unwrap();
        std::os::unix::fs::symlink(target, repo.path("codex.orchestrator.json")).unwrap();
    };
    link("conf/o.json");
    commit(&repo, "strict");
    repo.git(&["switch", "--quiet", "--create", "topic"]);
    repo.write("conf/o.json", &strict.replace("\"false\"", "\"true\"").replace("5", "500"));
    repo.write("file", &"line\n".repeat(20));
    commit(&repo, "weak");
    start(&repo, "");
    let seen = verify(&repo, "main..HEAD");
    let (_, fail) = verdicts(&seen, 0);
    assert_eq!((seen.code, fail[0].0.as_str()), (1, "defined"), "{seen}");
    let seen = repo.orchestrate("guard diff-budget --base main");
    assert!(seen.code == 1 && seen.stdout.contains("5"), "{seen}");
    // One that leads to no file of its commit leaves nothing to the change.
    repo.git(&["switch", "--quiet", "main"]);
    link("../o.json");
    commit(&repo, "out");
    repo.git(&["switch", "--quiet", "--force-create", "topic"]);
    link("conf/o.json");
    repo.write("conf/o.json", &strict.replace("\"false\"", "\"true\""));
    commit(&repo, "weak again");
    start(&repo, "");
    let seen = verify(&repo, "main..HEAD");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stdout.contains("leads out of the repository, to `../o.json`"), "{seen}");
    let seen = repo.orchestrate("guard diff-budget --base main");
    assert!(seen.code == 1 && seen.stderr.contains("leads out of the repository"), "{seen}");
}

#[test]
fn what_a_server_says_to_type_runs_nothing_of_somebody_who_pushed() {
    let two = branched();
    served(&two);
    let repo = &two.ours;
    repo.write("file", "new");
    commit(repo, "new");
    start(repo, "");
    let tree = repo.git(&["rev-parse", "HEAD^{tree}"]);
    forge(repo, "refs/notes/orchestrate/x;$(id)", "HEAD^{tree}", b"{broken\n");
    let seen = push(&two, "origin topic refs/notes/orchestrate/*:refs/notes/orchestrate/*");
    assert_eq!(seen.code, 1, "{seen}");
    let mend = format!("mend it: git notes '--ref=orchestrate/x;$(id)' remove {tree} && ");
    assert!(seen.stderr.contains(&mend), "{seen}");
}

#[test]
fn a_server_asks_what_its_own_branch_says() {
    let two = branched();
    served(&two);
    let repo = &two.ours;
    configure(repo, |config| config["pipelines"][0]["stages"][0]["command"] = json!("true"));
    commit(repo, "weaker");
    start(repo, "");
    assert_eq!(repo.orchestrate("evidence push").code, 0);
    for refs in ["topic", "topic:main", "topic:refs/tags/v2"] {
        let seen = push(&two, &format!("origin {refs}"));
        assert_eq!(seen.code, 1, "{refs}: {seen}");
        assert!(seen.stderr.contains("not defined: `test` ran as `true`, and by main at "), "{refs}: {seen}");
    }
    // What is hidden elsewhere is judged when it comes to a branch.
    assert_eq!(push(&two, "origin topic:refs/hidden/topic").code, 0);
    assert_eq!(push(&two, "origin topic").code, 1);
    set(&two, "orchestrate.allowGateChange", "true");
    assert_eq!(push(&two, "origin topic").code, 0);
}

#[test]
fn a_server_knows_who_may_sign_from_its_own_branch() {
    let two = branched();
    served(&two);
    set(&two, "orchestrate.signed", "true");
    let repo = &two.ours;
    repo.write("file", "new");
    commit(repo, "new");
    start(repo, "");
    assert_eq!(repo.orchestrate("evidence push").code, 0);
    let seen = push(&two, "origin topic");
    assert!(seen.code == 1 && seen.stderr.contains("not signature: no record is signed"), "{seen}");
    assert!(
        seen.stderr.contains("git config user.signingkey KEY, then git orchestrate start --commit "),
        "{seen}"
    );
    // Whoever keeps the server names the file.
    let key = with_key(repo, "ada");
    let signers = repo.beside("signers");
    fs::write(&signers, format!("ada@example.com {key}\n")).unwrap();
    start(repo, "");
    assert_eq!(repo.orchestrate("evidence push").code, 0);
    let seen = push(&two, "origin topic");
    assert!(seen.code == 1 && seen.stderr.contains("not allowed: nobody who signed is allowed to"), "{seen}");
    set(&two, "gpg.ssh.allowedSignersFile", signers.to_str().unwrap());
    let seen = push(&two, "origin topic");
    assert_eq!(seen.code, 0, "{seen}");
}

#[test]
fn a_server_keeps_the_evidence_that_it_has() {
    let two = branched();
    served(&two);
    let repo = &two.ours;
    start(repo, "");
    start(repo, "");
    assert_eq!(repo.orchestrate("evidence push").code, 0);
    let reference = only_ref(repo);
    for words in [format!("--force origin {reference}~1:{reference}"), format!("origin :{reference}")] {
        let seen = push(&two, &words);
        assert!(
            seen.code == 1 && seen.stderr.contains("it takes evidence away that is here"),
            "{words}: {seen}"
        );
    }
    // A program that is not there lets nothing in.
    set(&two, "orchestrate.program", "/nowhere/git-orchestrate");
    repo.write("file", "new");
    commit(repo, "new");
    assert_eq!(push(&two, "origin topic").code, 1);
}

#[test]
fn a_first_push_and_a_project_that_declares_nothing_are_told_apart() {
    let two = branched();
    let repo = &two.ours;
    let empty = repo.beside("empty.git");
    repo.git(&["init", "--quiet", "--bare", empty.to_str().unwrap()]);
    let two = Two { ours: two.ours, bare: empty.clone(), clone: two.clone };
    served(&two);
    let repo = &two.ours;
    start(repo, "");
    set(&two, "orchestrate.tips", "true");
    let seen = push(
        &two,
        &format!(
            "{} HEAD:refs/heads/main {NOTES}:{NOTES}",
            empty.display(),
            NOTES = "refs/notes/orchestrate/*"
        ),
    );
    assert_eq!(seen.code, 0, "{seen}");
    // Now there is a branch, but it is not the one that the server thinks it has.
    two.git_there(&empty, &["symbolic-ref", "HEAD", "refs/heads/trunk"]);
    let seen = push(&two, &format!("{} HEAD:refs/heads/other", empty.display()));
    assert!(seen.code == 1 && seen.stderr.contains("`git symbolic-ref HEAD refs/heads/main`"), "{seen}");
    two.git_there(&empty, &["symbolic-ref", "HEAD", "refs/heads/main"]);
    assert_eq!(push(&two, &format!("{} HEAD:refs/heads/other", empty.display())).code, 0);
    // Nothing declares a pipeline there, so nothing is required, and nothing gets in unless somebody says what is.
    repo.git(&["switch", "--quiet", "--orphan", "bare"]);
    repo.write("file", "text");
    commit(repo, "no pipelines");
    let other = repo.beside("other.git");
    repo.git(&["init", "--quiet", "--bare", other.to_str().unwrap()]);
    let two = Two { ours: two.ours, bare: other.clone(), clone: two.clone };
    served(&two);
    let seen = push(&two, &format!("{} HEAD:refs/heads/main", other.display()));
    assert!(seen.code == 1 && seen.stderr.contains("nothing says which stages it has to pass"), "{seen}");
}

#[test]
fn what_no_hook_was_told_is_refused() {
    let repo = project_with(json!({}));
    let receive = |text: &str| {
        fs::write(repo.beside("updates"), text).unwrap();
        let mut program = repo.program();
        program.args(["evidence", "receive", "--format", "json"]);
        repo.see(program.stdin(fs::File::open(repo.beside("updates")).unwrap()))
    };
    for text in ["nonsense\n", "0 1 refs/heads/x\n", &format!("{0} {0} HEAD\n", "a".repeat(40))] {
        let seen = receive(text);
        assert_eq!((seen.code, seen.stdout.as_str()), (2, ""), "{seen}");
    }
    let seen = receive("");
    assert_eq!((seen.code, &seen.json()["good"]), (0, &json!(true)), "{seen}");
    let blob = repo.git(&["hash-object", "-w", "codex.orchestrator.json"]);
    let seen = receive(&format!("{} {blob} refs/tags/blob\n", "0".repeat(40)));
    assert_eq!(seen.code, 1, "{seen}");
    assert_eq!(seen.json()["refs"][0]["why"], "it names no commit, so nothing can be proven of it");
    let name = "refs/heads/a b".to_owned();
    let seen = receive(&format!("{} {} {name}\n", "0".repeat(40), repo.git(&["rev-parse", "HEAD"])));
    assert_eq!((seen.code, &seen.json()["refs"][0]["name"]), (1, &json!(name)), "{seen}");
}
