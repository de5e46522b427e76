//! `guard spec` as its users see it.

use serde_json::json;

use crate::fixture::{Fixture, Seen};

fn guard(repo: &Fixture, words: &str) -> Seen {
    repo.orchestrate(&format!("guard spec {words}"))
}

fn rules(seen: &Seen) -> Vec<String> {
    let findings = seen.json()["guardrails"][0]["findings"].clone();
    findings.as_array().unwrap().iter().map(|it| it["rule"].as_str().unwrap().to_owned()).collect()
}

fn commit(repo: &Fixture) {
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "more"]);
}

#[test]
fn code_without_a_spec_is_found_in_every_state_it_can_be_in() {
    let repo = Fixture::new("passing");
    assert_eq!(guard(&repo, "").code, 0);
    repo.write("src/é.ts", "1\n");
    let check = |state: &str| {
        let seen = guard(&repo, "");
        assert_eq!(seen.code, 1, "{state}: {seen}");
        assert!(seen.stdout.contains("Spec guard: issues detected"), "{state}: {seen}");
        assert!(
            seen.stdout.contains("`src/é.ts`") && seen.stdout.contains("no spec updated"),
            "{state}: {seen}"
        );
        assert!(seen.stdout.contains("tasks/specs") && seen.stdout.contains("tasks/index.json"), "{state}");
    };
    check("untracked");
    repo.git(&["add", "--all"]);
    check("staged");
    commit(&repo);
    check("committed");
    let seen = guard(&repo, "--dry-run");
    assert_eq!(seen.code, 0);
    assert!(seen.stdout.contains("Dry run: exits successfully"), "{seen}");
    repo.write("tasks/index.json", "{}\n");
    let seen = guard(&repo, "");
    assert_eq!((seen.code, seen.stdout.contains("Spec guard: OK")), (0, true), "{seen}");
}

#[test]
fn moving_code_away_and_taking_a_spec_away_are_no_way_around() {
    let repo = Fixture::new("passing");
    repo.write("src/a", "1\n2\n3\n");
    repo.write("tasks/specs/s.md", "last_review: 2099-01-01\n");
    commit(&repo);
    let base = repo.git(&["rev-parse", "HEAD"]);
    repo.git(&["mv", "src/a", "a"]);
    repo.git(&["rm", "--quiet", "tasks/specs/s.md"]);
    commit(&repo);
    let seen = guard(&repo, &format!("--base {base} --format json"));
    assert_eq!(rules(&seen), ["spec-not-updated"]);
    let seen = repo.see(repo.program().env("BASE_SHA", &base).args(["guard", "spec", "--format", "json"]));
    assert_eq!(rules(&seen), ["spec-not-updated"]);
    // Nothing has changed since the last commit, so that is not judged again.
    assert_eq!(guard(&repo, "--base HEAD").code, 0);
}

#[test]
fn every_spec_is_read_from_any_folder() {
    let repo = Fixture::new("passing");
    repo.write("tasks/specs/old.md", "last_review: 2020-01-01\n");
    repo.write("tasks/specs/README.md", "no review\n");
    repo.write("tasks/specs/deep/none.md", "no review\n");
    repo.write("tasks/specs/OTHER.MD", "no review\n");
    repo.write("docs/design/specs/none.md", "\n");
    std::os::unix::fs::symlink("old.md", repo.path("tasks/specs/link.md")).unwrap();
    repo.write("src/a", "1\n");
    let seen = repo.orchestrate_in(&repo.path("src"), "guard spec --format json");
    assert_eq!(rules(&seen), ["last-review-missing", "last-review-too-old"]);
    let paths: Vec<_> =
        (0..2).map(|at| seen.json()["guardrails"][0]["findings"][at]["path"].clone()).collect();
    assert_eq!(paths, ["docs/design/specs/none.md", "tasks/specs/old.md"]);
}

#[test]
fn a_bad_base_is_an_error() {
    let repo = Fixture::new("passing");
    let seen = repo.see(repo.program().env("BASE_SHA", "typo").args(["guard", "spec"]));
    assert_eq!(seen.code, 1);
    assert!(seen.stderr.contains("Spec guard failed: the base `typo` of BASE_SHA"), "{seen}");
    assert_eq!(guard(&repo, "--surprise").code, 2);
    // Histories without a common commit.
    repo.git(&["checkout", "--quiet", "--orphan", "alien"]);
    commit(&repo);
    let seen = guard(&repo, "--base main");
    assert_eq!((seen.code, seen.stderr.contains("no commit in common")), (1, true), "{seen}");
}

#[test]
fn accepting_a_spec_makes_it_fresh() {
    let repo = Fixture::new("passing");
    repo.write("tasks/specs/s.md", "# A spec\n");
    assert_eq!(guard(&repo, "").code, 1);
    let seen = repo.orchestrate_in(&repo.path("tasks"), "guard spec accept specs/s.md --format json");
    assert_eq!(seen.code, 0, "{seen}");
    let head = repo.git(&["rev-parse", "HEAD"]);
    assert_eq!(seen.json()["reviewed_commit"], json!(head));
    let text = repo.read("tasks/specs/s.md");
    assert!(text.starts_with("---\nlast_review: 20") && text.ends_with("---\n# A spec\n"), "{text}");
    assert!(text.contains(&format!("reviewed_commit: {head}\n")), "{text}");
    assert_eq!(guard(&repo, "").code, 0);
    repo.write("other.md", "x\n");
    for (path, said) in [
        ("other.md", "is no spec"),
        ("tasks/specs/none.md", "is no regular file"),
        ("tasks/specs", "is no regular file"),
    ] {
        let seen = guard(&repo, &format!("accept {path}"));
        assert_eq!((seen.code, seen.stderr.contains(said)), (2, true), "{seen}");
    }
}

#[test]
fn a_dry_run_of_accept_writes_nothing() {
    let repo = Fixture::new("passing");
    repo.write("tasks/specs/s.md", "# A spec\n");
    let seen = guard(&repo, "accept tasks/specs/s.md --dry-run");
    assert_eq!((seen.code, repo.read("tasks/specs/s.md").as_str()), (0, "# A spec\n"), "{seen}");
    assert!(seen.stdout.ends_with("Dry run: nothing was written.\n"), "{seen}");
    let seen = guard(&repo, "accept tasks/specs/s.md --dry-run --format json");
    assert_eq!(seen.json()["dry_run"], true);
    assert_eq!(guard(&repo, "accept tasks/specs/s.md --base HEAD").code, 2, "it compares nothing");
    assert_eq!(repo.read("tasks/specs/s.md"), "# A spec\n");
}

#[test]
fn specs_behind_a_link_are_neither_read_nor_written() {
    for (link, below) in [("tasks/specs", "s.md"), ("tasks", "specs/s.md")] {
        let repo = Fixture::new("passing");
        let outside = repo.beside("outside");
        let spec = outside.join(below);
        std::fs::create_dir_all(spec.parent().unwrap()).unwrap();
        std::fs::write(&spec, "last_review: 2020-01-01\n").unwrap();
        std::fs::create_dir_all(repo.path(link).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&outside, repo.path(link)).unwrap();
        let seen = guard(&repo, "--format json");
        assert_eq!((seen.code, rules(&seen)), (1, vec!["spec-unreadable".to_owned()]), "{link}: {seen}");
        let said = seen.json()["guardrails"][0]["findings"][0]["message"].to_string();
        assert!(said.contains("a symbolic link leads there, and none is followed"), "{said}");
        let seen = guard(&repo, "accept tasks/specs/s.md");
        assert_eq!((seen.code, seen.stderr.contains("is a symbolic link")), (3, true), "{link}: {seen}");
        assert_eq!(std::fs::read_to_string(&spec).unwrap(), "last_review: 2020-01-01\n");
    }
}

#[test]
fn what_says_nothing_new_is_no_update_of_a_spec() {
    let repo = Fixture::new("passing");
    let today = "last_review: 2020-01-01\nstatus: done\n";
    configure(&repo, json!({"maxAgeDays": 100_000}));
    repo.write("tasks/specs/s.md", today);
    repo.write("tasks/specs/README.md", "Specs.\n");
    repo.write("tasks/index.json", "{\"items\": []}\n");
    repo.write("src/a", "1\n");
    commit(&repo);
    repo.write("src/a", "2\n");
    let judge = |base: &str| rules(&guard(&repo, &format!("--base {base} --format json")));
    let clean = || {
        repo.git(&["reset", "--quiet", "--hard"]);
        repo.git(&["clean", "--quiet", "--force", "-d"]);
        repo.write("src/a", "2\n");
    };
    let changes: [(&str, &dyn Fn()); 6] = [
        ("its mode", &|| {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(repo.path("tasks/specs/s.md"), mode).unwrap();
        }),
        ("an empty file", &|| repo.write("tasks/specs/x.txt", "")),
        ("a README", &|| repo.write("tasks/specs/README.md", "Specs, and how to write them.\n")),
        ("white space", &|| repo.write("tasks/specs/s.md", &today.replace('\n', "\n\n"))),
        ("white space in JSON", &|| repo.write("tasks/index.json", "{ \"items\": [\n] }\n")),
        ("another name", &|| drop(repo.git(&["mv", "tasks/specs/s.md", "tasks/specs/t.md"]))),
    ];
    for (what, change) in changes {
        clean();
        change();
        assert_eq!(judge("HEAD"), ["spec-not-updated"], "{what}");
        repo.git(&["add", "--all"]);
        assert_eq!(judge("HEAD"), ["spec-not-updated"], "{what}, staged");
        commit(&repo);
        assert_eq!(judge("HEAD~1"), ["spec-not-updated"], "{what}, committed");
        repo.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    }
    clean();
    repo.write("tasks/specs/s.md", &today.replace('\n', "\n\n"));
    let said = guard(&repo, "--base HEAD").stdout;
    assert!(said.contains("what changed in `tasks/specs/s.md` says nothing new"), "{said}");
    for (path, text) in [
        ("tasks/specs/s.md", "last_review: 2020-01-01\nstatus: active\n"),
        ("tasks/specs/new.md", "last_review: 2020-01-01\n"),
        ("tasks/index.json", "{\"items\": [{\"id\": \"0101\"}]}\n"),
    ] {
        clean();
        repo.write(path, text);
        assert_eq!(judge("HEAD"), [""; 0], "{path}");
    }
}

#[test]
fn places_and_age_come_from_the_base() {
    let repo = Fixture::new("passing");
    let spec = json!({"code": ["lib/"], "specs": ["specs"], "maxAgeDays": 100_000});
    let config = json!({"pipelines": [], "guardrails": {"spec": spec}});
    repo.write("codex.orchestrator.json", &config.to_string());
    repo.write("specs/s.md", "last_review: 2020-01-01\n");
    commit(&repo);
    repo.write("codex.orchestrator.json", "{\"guardrails\": {\"spec\": {\"required\": false}}}");
    repo.write("src/a", "1\n");
    assert_eq!(rules(&guard(&repo, "--base HEAD --format json")), [""; 0]);
    repo.write("lib/a", "1\n");
    assert_eq!(rules(&guard(&repo, "--base HEAD --format json")), ["spec-not-updated"]);
    let seen = repo.orchestrate("guard --base HEAD --format json");
    assert_eq!(seen.code, 1, "the base requires it");
}

#[test]
fn a_go_project_has_code_everywhere() {
    let repo = Fixture::new("passing");
    repo.write("go.mod", "module x\n");
    repo.write("cmd/main.go", "package main\n");
    assert_eq!(rules(&guard(&repo, "--format json")), ["spec-not-updated"]);
}

#[test]
fn a_cargo_project_has_code_in_its_crates_too() {
    let repo = Fixture::new("passing");
    repo.write("crates/core/src/lib.rs", "\n");
    assert_eq!(rules(&guard(&repo, "--format json")), [""; 0], "that is no code where nothing says so");
    repo.write("Cargo.toml", "[workspace]\nmembers = [\"crates/*\"]\n");
    let seen = guard(&repo, "--format json");
    assert_eq!(rules(&seen), ["spec-not-updated"]);
    let named = seen.json()["guardrails"][0]["findings"][0]["message"].to_string();
    assert!(named.contains("`crates/core/src/lib.rs`") && !named.contains("Cargo.toml"), "{named}");
    commit(&repo);
    // A commit is judged by what it has itself.
    assert_eq!(rules(&guard(&repo, "--base HEAD~1 --format json")), ["spec-not-updated"]);
    // What `init` writes for such a project leaves that as it is.
    std::fs::remove_file(repo.path("codex.orchestrator.json")).unwrap();
    assert_eq!(repo.orchestrate("init").code, 0);
    commit(&repo);
    repo.write("crates/core/src/lib.rs", "// more\n");
    assert_eq!(rules(&guard(&repo, "--base HEAD --format json")), ["spec-not-updated"]);
    // Whoever says where code is has said it all.
    let spec = json!({"code": ["lib/"]});
    let config = json!({"pipelines": [], "guardrails": {"spec": spec}}).to_string();
    repo.write("codex.orchestrator.json", &config);
    commit(&repo);
    repo.write("crates/core/src/lib.rs", "// still more\n");
    assert_eq!(rules(&guard(&repo, "--base HEAD --format json")), [""; 0]);
}

/// Returns the notes of the verdict.
fn notes(seen: &Seen) -> Vec<String> {
    let notes = seen.json()["guardrails"][0]["notes"].clone();
    notes.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
}

fn configure(repo: &Fixture, spec: serde_json::Value) {
    let config = json!({"pipelines": [], "guardrails": {"spec": spec}});
    repo.write("codex.orchestrator.json", &config.to_string());
}

#[test]
fn overdue_specs_of_a_group_are_planned_debt_as_the_base_has_it() {
    let repo = Fixture::new("passing");
    let group = |owner: &str, expires: &str, max: u64| {
        let specs = ["tasks/specs/a.md", "tasks/specs/b.md"];
        json!({"groups": [{"id": "autumn", "owner": owner, "expires": expires, "max": max, "specs": specs}]})
    };
    repo.write("tasks/specs/a.md", "last_review: 2020-01-01\n");
    repo.write("tasks/specs/b.md", "last_review: 2020-01-01\n");
    commit(&repo);
    // A change cannot excuse itself.
    configure(&repo, group("ann", "9999-12-31", 2));
    let old = ["last-review-too-old", "last-review-too-old"];
    assert_eq!(rules(&guard(&repo, "--base HEAD --format json")), old);
    assert_eq!(guard(&repo, "--base HEAD --config working-tree").code, 0);
    commit(&repo);
    let seen = guard(&repo, "--base HEAD --format json");
    assert_eq!((seen.code, rules(&seen)), (0, vec![]), "{seen}");
    let notes = notes(&seen);
    assert!(
        notes.iter().all(|note| note.ends_with("group `autumn`: ann sees to it until 9999-12-31")),
        "{notes:?}"
    );
    assert_eq!(notes.len(), 2);
    // A mistake is found as soon as somebody makes it, in whatever state.
    configure(&repo, group("tbd", "9999-12-31", 2));
    assert_eq!(rules(&guard(&repo, "--base HEAD --format json")), ["spec-group-unowned"]);
    for (config, rule) in [
        (group("ann", "2020-02-01", 2), "spec-group-expired"),
        (group("ann", "9999-12-31", 1), "spec-group-over-full"),
        (group("ann", "2026-02-30", 2), "spec-group-date-invalid"),
    ] {
        configure(&repo, config);
        commit(&repo);
        let seen = guard(&repo, "--base HEAD --format json");
        assert_eq!(rules(&seen), [rule, old[0], old[1]], "{seen}");
    }
    // Whoever reads the specs is done with it.
    for spec in ["a", "b"] {
        assert_eq!(guard(&repo, &format!("accept tasks/specs/{spec}.md")).code, 0);
    }
    configure(&repo, group("ann", "9999-12-31", 2));
    assert_eq!(rules(&guard(&repo, "--base HEAD --format json")), [""; 0]);
    repo.git(&["rm", "--quiet", "--force", "tasks/specs/b.md"]);
    assert_eq!(rules(&guard(&repo, "--base HEAD --format json")), ["spec-group-unknown-spec"]);
}

#[test]
fn stubs_and_finished_tasks_need_no_review() {
    let repo = Fixture::new("passing");
    repo.write("tasks/specs/old.md", "# Old\n\nArchived: archive:tasks/specs/old.md\n");
    repo.write("tasks/specs/0101-search.md", "last_review: 2020-01-01\n");
    let row =
        |status: &str| json!({"items": [{"id": "0101", "slug": "search", "status": status}]}).to_string();
    repo.write("tasks/index.json", &row("active"));
    assert_eq!(rules(&guard(&repo, "--format json")), ["last-review-too-old"]);
    repo.write("tasks/index.json", &row("done"));
    let seen = guard(&repo, "--format json");
    assert_eq!((seen.code, rules(&seen)), (0, vec![]), "{seen}");
    repo.write("tasks/tasks-0101-search.md", "## Checklist\n\n- [ ] open\n");
    let seen = guard(&repo, "");
    assert_eq!(seen.code, 1);
    assert!(seen.stdout.contains("line 3 of `tasks/tasks-0101-search.md` is an open checkbox"), "{seen}");
    // What is no file cannot say that nothing is open.
    std::fs::remove_file(repo.path("tasks/tasks-0101-search.md")).unwrap();
    std::os::unix::fs::symlink("/dev/null", repo.path("tasks/tasks-0101-search.md")).unwrap();
    assert_eq!(rules(&guard(&repo, "--format json")), ["last-review-too-old"]);
    std::fs::remove_file(repo.path("tasks/tasks-0101-search.md")).unwrap();
    repo.write("tasks/index.json", "{\"items\": [3]}");
    let seen = guard(&repo, "--format json");
    assert_eq!(rules(&seen), ["last-review-too-old"]);
    assert!(notes(&seen).iter().any(|note| note.contains("item 1: it is no object")), "{seen}");
    repo.write("tasks/specs/old.md", "# Old\n\nArchived: archive:tasks/specs/old.md\n\nAnd more.\n");
    assert_eq!(rules(&guard(&repo, "--format json")), ["last-review-too-old", "last-review-missing"]);
}

const DECISIONS: &str =
    "last_review: 2020-01-01\n\n| what | decision | until | cap | reason |\n|-|-|-|-|-|\n";

#[test]
fn a_fallback_is_decided_in_a_table_wherever_it_stands() {
    let repo = Fixture::new("passing");
    configure(&repo, json!({"fallback": {}, "maxAgeDays": 100_000}));
    repo.write("tasks/specs/s.md", "last_review: 2020-01-01\n");
    repo.write("src/a b", "1\nlegacy was here before\n");
    repo.write("src/é", "1\n");
    commit(&repo);
    repo.write("tasks/specs/s.md", DECISIONS);
    assert_eq!(rules(&guard(&repo, "--base HEAD --format json")), [""; 0], "nothing is added");
    let line = "2\nlet useLegacy = true;\n";
    repo.write("src/new", &format!("{line}{line}"));
    repo.write("src/a b", &format!("legacy was here before\n{line}"));
    repo.write("src/é", line);
    repo.write("docs/x", "legacy\n");
    let places = |seen: &Seen| -> Vec<String> {
        let findings = seen.json()["guardrails"][0]["findings"].clone();
        let place = |it: &serde_json::Value| {
            assert_eq!(it["rule"], "fallback-undecided", "{seen}");
            format!("{}:{}", it["path"].as_str().unwrap(), it["line"])
        };
        findings.as_array().unwrap().iter().map(place).collect()
    };
    let all = ["src/a b:3", "src/new:2", "src/é:2"];
    assert_eq!(places(&guard(&repo, "--base HEAD --format json")), all, "not staged");
    repo.git(&["add", "--all"]);
    assert_eq!(places(&guard(&repo, "--base HEAD --format json")), all, "staged");
    // What is staged does not go away with the file on disk.
    repo.write("src/é", "1\n");
    std::fs::remove_file(repo.path("src/new")).unwrap();
    assert_eq!(places(&guard(&repo, "--base HEAD --format json")), all, "staged only");
    repo.git(&["checkout", "--", "src"]);
    commit(&repo);
    assert_eq!(places(&guard(&repo, "--base HEAD~ --format json")), all, "committed");
    let rows = "| `src/a b` | keep | | | old files |\n| `src/é` | remove | | | |\n| `src/new` | expire | 9999-12-31 | 1 | |\n";
    repo.write("tasks/specs/s.md", &format!("{DECISIONS}{rows}"));
    let seen = guard(&repo, "--base HEAD~");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stdout.contains("its cap is 1, and the change adds 2 lines"), "{seen}");
    repo.write("tasks/specs/s.md", &format!("{DECISIONS}{}", rows.replace("| 1 |", "| 2 |")));
    let seen = guard(&repo, "--base HEAD~");
    assert_eq!(seen.code, 0, "{seen}");
    repo.write("tasks/specs/s.md", &format!("{DECISIONS}{}", rows.replace("9999", "2020")));
    assert_eq!(rules(&guard(&repo, "--base HEAD~ --format json")), ["fallback-decision-invalid"]);
}

#[test]
fn a_fallback_cannot_hide_and_what_cannot_be_read_is_no_pass() {
    let repo = Fixture::new("passing");
    configure(&repo, json!({"fallback": {"words": ["shim"], "tables": ["decisions/"]}}));
    repo.write("src/known", "1\n");
    commit(&repo);
    // Settings of git that would change what it prints, and attributes and bytes that make a file binary.
    for (key, value) in [
        ("diff.noprefix", "true"),
        ("diff.interHunkContext", "9"),
        ("diff.external", "false"),
        ("color.ui", "always"),
        ("core.quotePath", "true"),
        ("diff.mnemonicPrefix", "true"),
    ] {
        repo.git(&["config", key, value]);
    }
    repo.write(".gitattributes", "src/* -diff\n");
    repo.write("src/known", "1\n\0\nshim\n");
    repo.write("src/\"odd\"\n", "shim\n");
    repo.git(&["add", "src"]);
    repo.write("src/untracked", "\0shim");
    repo.write("tasks/index.json", "{}\n");
    let seen = guard(&repo, "--base HEAD --format json");
    assert_eq!(rules(&seen), ["fallback-undecided"; 3], "{seen}");
    let table = "| what | decision | until | cap | reason |\n|-|-|-|-|-|\n| src/ | keep | | | tests |\n";
    repo.write("tasks/specs/s.md", table);
    assert!(rules(&guard(&repo, "--base HEAD --format json")).contains(&"fallback-undecided".to_owned()));
    std::fs::remove_file(repo.path("tasks/specs/s.md")).unwrap();
    repo.write("decisions/d.md", table);
    assert_eq!(rules(&guard(&repo, "--base HEAD --format json")), [""; 0]);
    // Who cannot look does not let pass.
    std::os::unix::fs::symlink("d.md", repo.path("decisions/link.md")).unwrap();
    let seen = guard(&repo, "--base HEAD --format json");
    assert_eq!((seen.code, rules(&seen)), (1, vec!["fallback-unscannable".to_owned()]), "{seen}");
    std::fs::remove_file(repo.path("decisions/link.md")).unwrap();
    commit(&repo);
    repo.git(&["checkout", "--quiet", "-b", "other"]);
    repo.write("src/known", "2\n");
    commit(&repo);
    repo.git(&["checkout", "--quiet", "main"]);
    repo.write("src/known", "3\n");
    commit(&repo);
    assert!(!repo.command("git").args(["merge", "--quiet", "other"]).status().unwrap().success());
    assert!(rules(&guard(&repo, "--base HEAD --format json")).contains(&"fallback-unscannable".to_owned()));
}
