//! `git orchestrate docs sync`.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use serde_json::json;

use crate::fixture::{Fixture, Seen};

const SOURCE: &str =
    "# Task 0101 — Search\n\nWhy.\n\n## Checklist\n\n### Part\n- [ ] one\n- [x] `./lint.sh` passes\n";

/// A repository with a task, and a pipeline that has a stage `./lint.sh`.
fn project() -> Fixture {
    let repo = Fixture::with_commands(&["true", "./lint.sh"]);
    repo.write("lint.sh", "#!/bin/sh\n");
    repo.see(repo.command("chmod").args(["+x", "lint.sh"]));
    repo.write("tasks/index.json", &json!({"items": [{"id": "0101", "slug": "search"}]}).to_string());
    repo.write("tasks/tasks-0101-search.md", SOURCE);
    repo.write("docs/TASKS.md", "# Tasks\n\nOther words.\n");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "a task"]);
    repo
}

fn mirrors(repo: &Fixture) -> [Option<String>; 3] {
    ["tasks/tasks-0101-search.md", ".agent/task/0101-search.md", "docs/TASKS.md"]
        .map(|path| fs::read_to_string(repo.path(path)).ok())
}

fn sync(repo: &Fixture) -> Seen {
    repo.orchestrate("docs sync --task 0101")
}

#[test]
fn a_checklist_is_mirrored_once() {
    let repo = project();
    assert_seen!(repo.orchestrate("docs sync --task 0101-search --dry-run"), @"
    unchanged  tasks/tasks-0101-search.md
      created  .agent/task/0101-search.md
      updated  docs/TASKS.md
    docs:sync: 0101-search — nothing was written (dry run)
    [exit: 0]
    ");
    assert_eq!(repo.git(&["status", "--short"]), "");
    assert_seen!(sync(&repo), @"
    unchanged  tasks/tasks-0101-search.md
      created  .agent/task/0101-search.md
      updated  docs/TASKS.md
    docs:sync: 0101-search — OK
    [exit: 0]
    ");
    let after = mirrors(&repo);
    assert_eq!(after[0].as_deref(), Some(SOURCE));
    assert!(after[1].as_ref().unwrap().ends_with("\n## Part\n- [ ] one\n- [x] `./lint.sh` passes\n"));
    assert!(
        after[2]
            .as_ref()
            .unwrap()
            .starts_with("# Tasks\n\nOther words.\n\n<!-- docs-sync:begin 0101-search -->\n")
    );
    let again =
        repo.see(repo.program().args(["docs", "sync", "--format", "json"]).env("MCP_RUNNER_TASK_ID", "0101"));
    assert_eq!(
        again.json(),
        json!({
            "task": "0101-search",
            "dry_run": false,
            "files": [
                {"path": "tasks/tasks-0101-search.md", "change": "unchanged"},
                {"path": ".agent/task/0101-search.md", "change": "unchanged"},
                {"path": "docs/TASKS.md", "change": "unchanged"},
            ],
            "evidence": [],
            "unproven": [],
        })
    );
    assert_eq!(mirrors(&repo), after);
}

#[test]
fn an_item_gets_the_manifest_that_proves_it() {
    let repo = project();
    repo.write(
        "tasks/tasks-0101-search.md",
        &format!("{SOURCE}- [x] all (`.runs/0101-search/cli/<run-id>/manifest.json`)\n"),
    );
    repo.git(&["commit", "--quiet", "--all", "--message", "another item"]);
    let before = sync(&repo);
    assert!(before.stdout.contains("unproven  tasks/tasks-0101-search.md:10"), "{before}");
    assert_eq!(repo.orchestrate("start --task 0101-search").code, 0);
    // A run that was asked for one stage, and one that failed, prove nothing about the whole.
    assert_eq!(repo.orchestrate("start --task 0101-search --target s1").code, 0);
    repo.write("lint.sh", "#!/bin/sh\nexit 1\n");
    assert_eq!(repo.orchestrate("start --task 0101-search").code, 1);
    let run = repo.runs("0101-search").remove(0);
    let manifest =
        format!(".runs/0101-search/cli/{}/manifest.json", run.file_name().unwrap().to_str().unwrap());
    let seen = sync(&repo);
    assert!(seen.stdout.contains(&format!("evidence  tasks/tasks-0101-search.md:9  {manifest}")), "{seen}");
    let after = mirrors(&repo);
    for text in after.iter().flatten() {
        assert!(text.contains(&format!("- [x] `./lint.sh` passes — evidence: `{manifest}`\n")), "{text}");
        assert!(text.contains(&format!("- [x] all (`{manifest}`)\n")), "{text}");
    }
    assert_eq!(sync(&repo).code, 0);
    assert_eq!(mirrors(&repo), after);
}

#[test]
fn whatever_is_wrong_nothing_is_written() {
    let breaks: &[(&str, &str, Option<&str>, &str)] = &[
        ("no task of that number", "tasks/index.json", Some(r#"{"items": []}"#), "has no task"),
        ("no JSON", "tasks/index.json", Some("{"), "no index of tasks"),
        ("no index", "tasks/index.json", None, "there is no `tasks/index.json`"),
        ("no source", "tasks/tasks-0101-search.md", None, "there is no `tasks/tasks-0101-search.md`"),
        ("no checklist", "tasks/tasks-0101-search.md", Some("# T\n"), "no line `## Checklist`"),
        ("no shared mirror", "docs/TASKS.md", None, "there is no `docs/TASKS.md`"),
        ("one marker", "docs/TASKS.md", Some("<!-- docs-sync:begin 0101-search -->\n"), "no end marker"),
        (
            "markers the wrong way round",
            "docs/TASKS.md",
            Some("<!-- docs-sync:end 0101-search -->\n<!-- docs-sync:begin 0101-search -->\n"),
            "before the begin marker",
        ),
        ("a section without markers", "docs/TASKS.md", Some("# Search (0101)\n"), "no `docs-sync` markers"),
    ];
    for (what, path, text, said) in breaks {
        let repo = project();
        match text {
            Some(text) => repo.write(path, text),
            None => fs::remove_file(repo.path(path)).unwrap(),
        }
        let before = repo.tree(".");
        let seen = sync(&repo);
        assert_eq!((seen.code, seen.stdout.as_str()), (2, ""), "{what}: {seen}");
        assert!(seen.stderr.contains(said) && seen.stderr.contains("hint: "), "{what}: {seen}");
        assert_eq!(repo.tree("."), before, "{what}");
        assert_eq!(mirrors(&repo)[1], None, "{what}");
    }
    let repo = project();
    fs::write(repo.path("docs/TASKS.md"), b"# Tasks\n\xff\n").unwrap();
    let seen = sync(&repo);
    assert!(seen.code == 2 && seen.stderr.contains("no UTF-8 in line 2"), "{seen}");
    for words in
        ["docs sync", "docs sync --task 101", "docs sync --task 0101-../x", "docs sync --task 0101-other"]
    {
        let seen = repo.orchestrate(words);
        assert_eq!(seen.code, 2, "{words}: {seen}");
    }
}

#[test]
fn no_link_is_written_through() {
    for (path, is_folder) in [
        (".agent", true),
        (".agent/task", true),
        (".agent/task/0101-search.md", false),
        ("docs", true),
        ("docs/TASKS.md", false),
    ] {
        let repo = project();
        let outside = repo.beside("outside");
        let target = outside.join("target");
        fs::create_dir_all(if is_folder { &target } else { &outside }).unwrap();
        match is_folder {
            true => fs::create_dir_all(target.join("task")).unwrap(),
            false => fs::write(&target, "# Tasks\n").unwrap(),
        }
        fs::write(outside.join("target-TASKS"), "# Tasks\n").unwrap();
        if path == "docs" {
            fs::remove_dir_all(repo.path("docs")).unwrap();
            fs::write(target.join("TASKS.md"), "# Tasks\n").unwrap();
        }
        let _ = fs::remove_file(repo.path(path));
        fs::create_dir_all(repo.path(path).parent().unwrap()).unwrap();
        symlink(&target, repo.path(path)).unwrap();
        let seen = sync(&repo);
        assert_eq!(seen.code, 3, "{path}: {seen}");
        assert!(seen.stderr.contains("is a symbolic link"), "{path}: {seen}");
        let text = fs::read_to_string(if is_folder { target.join("TASKS.md") } else { target.clone() });
        assert!(text.is_err() || text.unwrap() == "# Tasks\n", "{path}");
        assert!(
            !target.join("0101-search.md").exists() && !target.join("task/0101-search.md").exists(),
            "{path}"
        );
    }
}

#[test]
fn a_full_disk_leaves_all_files_or_none() {
    let mut failed = 0;
    for step in 1.. {
        let repo = project();
        sync(&repo);
        repo.write("tasks/tasks-0101-search.md", &SOURCE.replace("[ ] one", "[x] one"));
        let before = mirrors(&repo);
        let seen = repo.see(
            repo.program()
                .args(["docs", "sync", "--task", "0101"])
                .env("GIT_ORCHESTRATE_FAIL_AT", step.to_string()),
        );
        let left = repo.tree(".").into_iter().filter(|name| name.contains(".tmp-")).count();
        assert_eq!(left, 0, "step {step}");
        if seen.code == 0 {
            assert_ne!(mirrors(&repo), before);
            break;
        }
        failed += 1;
        assert_eq!(seen.code, 4, "step {step}: {seen}");
        assert_eq!(mirrors(&repo), before, "step {step}");
    }
    // Two files, each created, written, synced and renamed.
    assert_eq!(failed, 8);
}

#[test]
fn a_crash_tears_no_file_and_the_next_sync_ends_the_work() {
    for step in 1..=8 {
        let repo = project();
        sync(&repo);
        let source = SOURCE.replace("[ ] one", "[x] one");
        repo.write("tasks/tasks-0101-search.md", &source);
        let before = mirrors(&repo);
        let seen = repo.see(
            repo.program()
                .args(["docs", "sync", "--task", "0101"])
                .env("GIT_ORCHESTRATE_CRASH_AT", step.to_string()),
        );
        assert_eq!(seen.code, -9, "{seen}");
        let crashed = mirrors(&repo);
        assert_eq!(sync(&repo).code, 0);
        let after = mirrors(&repo);
        for at in 0..3 {
            assert!(crashed[at] == before[at] || crashed[at] == after[at], "step {step}");
        }
        assert!(
            after[1].as_ref().unwrap().contains("[x] one") && after[2].as_ref().unwrap().contains("[x] one")
        );
    }
}

#[test]
fn tasks_that_are_mirrored_at_once_do_not_lose_each_other() {
    let repo = project();
    let ids: Vec<_> = (0..8).map(|n| format!("02{n:02}")).collect();
    let items: Vec<_> = ids.iter().map(|id| json!({"id": id, "slug": "x"})).collect();
    repo.write("tasks/index.json", &json!({"items": items}).to_string());
    for id in &ids {
        repo.write(&format!("tasks/tasks-{id}-x.md"), &format!("## Checklist\n- [ ] {id}\n"));
    }
    let children: Vec<_> = ids
        .iter()
        .map(|id| repo.program().args(["docs", "sync", "--task", id]).stdout(Stdio::null()).spawn().unwrap())
        .collect();
    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    let docs = repo.read("docs/TASKS.md");
    for id in &ids {
        assert!(docs.contains(&format!("\n- [ ] {id}\n<!-- docs-sync:end {id}-x -->")), "{id}: {docs}");
    }
}

#[test]
fn a_subfolder_and_a_hook_change_nothing() {
    let repo = project();
    fs::create_dir(repo.path("deep")).unwrap();
    let seen = repo.see(
        repo.program()
            .current_dir(repo.path("deep"))
            .args(["docs", "sync", "--task", "0101"])
            .env("GIT_DIR", repo.path(".git"))
            .env("GIT_INDEX_FILE", "nowhere"),
    );
    assert_eq!(seen.code, 0, "{seen}");
    assert!(mirrors(&repo)[1].is_some());
}

#[test]
fn a_new_task_begins_with_documents_that_fit_together() {
    let repo = Fixture::new("passing");
    assert_seen!(repo.orchestrate("docs new --task 0102-export --title Export"), @"
      created  tasks/index.json
      created  tasks/tasks-0102-export.md
      created  tasks/specs/0102-export.md
      created  .agent/task/0102-export.md
      created  docs/TASKS.md
    docs:new: 0102-export — OK
    [exit: 0]
    ");
    let made = repo.tree(".");
    let spec = repo.read("tasks/specs/0102-export.md");
    assert!(spec.starts_with("---\nid: 0102-export\n") && spec.contains("\n# Export\n"), "{spec}");
    let synced = repo.orchestrate("docs sync --task 0102");
    assert!(!synced.stdout.contains("updated") && synced.code == 0, "{synced}");
    let checked = repo.orchestrate("guard docs");
    assert_eq!(checked.code, 0, "{checked}");
    // What is there already stays as it is.
    for (words, said) in [
        ("docs new --task 0102-export --title Other", "is there already"),
        ("docs new --task 0102-other --title Other", "has a task `0102` already"),
        ("docs new --task 0103 --title Other", "has no slug"),
    ] {
        let seen = repo.orchestrate(words);
        assert!(seen.code == 2 && seen.stderr.contains(said), "{words}: {seen}");
    }
    assert_eq!(repo.orchestrate("docs new --task 0103-more --title More --dry-run").code, 0);
    assert_eq!(repo.tree("."), made);
    assert_eq!(repo.orchestrate("docs new --task 0103-more --title More").code, 0);
    let index = repo.json("tasks/index.json");
    assert_eq!(index["items"][1], json!({"id": "0103", "slug": "more", "title": "More"}));
    assert_eq!(repo.read("docs/TASKS.md").matches("docs-sync:begin").count(), 2);
}
