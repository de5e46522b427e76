//! `git orchestrate guard docs`.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use git_orchestrate::ops::Context;
use git_orchestrate::ops::docs::check::check;
use git_orchestrate::sys::clock::Clock;
use git_orchestrate::sys::env::Env;
use serde_json::json;

use crate::fixture::{Fixture, Seen};

/// A repository of documents; `start diagnostics` and `start gate` exist.
fn project(files: &[(&str, &str)]) -> Fixture {
    let repo = Fixture::with_config(&json!({
        "guardrails": {"docs": {"include": ["guide/*.md"]}},
        "pipelines": [{"id": "gate", "stages": [{"kind": "command", "id": "s", "command": "true"}]}],
    }));
    repo.write("package.json", r#"{"scripts": {"build": "x"}}"#);
    repo.write("src/main.ts", "");
    for (path, text) in files {
        repo.write(path, text);
    }
    repo
}

fn guard(repo: &Fixture) -> Seen {
    repo.orchestrate("guard docs")
}

#[test]
fn what_does_not_exist_is_found_with_its_place() {
    let repo = project(&[
        (
            "README.md",
            "# Read me\n\nRun `npm run build`, then `npm run tset`.\nSee [b](docs/b.md#No) ü `src/mian.ts`.\n",
        ),
        ("docs/deep/b.MD", "```sh\ncodex-orchestrator start gaet\ngit orchestrate start diagnostics\n```\n"),
        ("docs/b.md", "npm run gone\nnpm run gone\n"),
        ("other/c.md", "npm run unseen\n"),
    ]);
    assert_seen!(guard(&repo), @"
    README.md: npm-script-missing: npm run tset
      at README.md:3:28 — the package.json has: build
    README.md: anchor-missing: docs/b.md#No
      at README.md:4:9
    README.md: backticked-path-missing: src/mian.ts
      at README.md:4:26 — did you mean `src/main.ts`?
    docs/b.md: npm-script-missing: npm run gone
      at docs/b.md:1:1 — the package.json has: build
    docs/deep/b.MD: pipeline-id-missing: codex-orchestrator start gaet
      at docs/deep/b.MD:2:1 — did you mean `codex-orchestrator start gate`?
    ✖ docs:check: 5 error(s) (documents=3)
    [exit: 1]
    ");
    let json = repo.orchestrate("guard docs --format json").json();
    assert_eq!(json["passed"], false);
    let verdict = &json["guardrails"][0];
    assert_eq!((&verdict["rule"], &verdict["outcome"]), (&json!("docs-check"), &json!("failed")));
    assert_eq!(
        verdict["findings"][2],
        json!({
            "rule": "backticked-path-missing",
            "message": "`src/mian.ts` does not exist",
            "path": "README.md",
            "line": 4,
            "column": 26,
            "text": "src/mian.ts",
            "suggestion": "did you mean `src/main.ts`?",
        })
    );
    let sarif = repo.orchestrate("guard docs --format sarif");
    let result = &sarif.json()["runs"][0]["results"][0];
    assert_eq!((&result["ruleId"], &result["level"]), (&json!("npm-script-missing"), &json!("error")));
    assert_eq!(
        result["locations"][0]["physicalLocation"],
        json!({
            "artifactLocation": {"uri": "README.md", "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": 3, "startColumn": 28},
        })
    );
    assert_eq!(sarif.code, 1);
    let dry = repo.orchestrate("guard docs --dry-run");
    assert!(dry.code == 0 && dry.stdout.contains("5 error(s)"), "{dry}");
    assert_eq!(repo.orchestrate("guard docs --base HEAD").code, 2);
}

#[test]
fn documents_that_refer_to_what_exists_pass() {
    let repo = project(&[
        ("README.md", "`npm run build` `src/main.ts:3` [c](CONTRIBUTING.md)\n"),
        ("CONTRIBUTING.md", "npm run gone\n"),
    ]);
    assert_seen!(guard(&repo), @"
    ✔ docs:check: OK (documents=1)
    [exit: 0]
    ");
}

#[test]
fn the_documents_are_those_of_the_usual_places() {
    const BAD: &str = "npm run gone\n";
    let checked = [
        "README.md",
        "AGENTS.md",
        ".agent/a.md",
        ".ai-dev-tasks/a.md",
        "docs/a.md",
        "docs/x/y/A.Md",
        "tasks/a.md",
        "skills/a.md",
        "templates/a.md",
        "guide/a.md",
    ];
    let not = [
        "CHANGELOG.md",
        "src/README.md",
        "docs/a.txt",
        "docs/out/a.md",
        "tasks/x/dist/a.md",
        "docs/.runs/a.md",
        "docs/archives/a.md",
        "docs/node_modules/p/README.md",
        "readme.md",
        "docs/ignored.md",
        "docsmore/a.md",
    ];
    let files: Vec<_> = checked.iter().chain(&not).map(|path| (*path, BAD)).collect();
    let repo = project(&files);
    repo.write(".gitignore", "docs/ignored.md\n");
    repo.write("elsewhere.md", BAD);
    symlink("../elsewhere.md", repo.path("docs/link.md")).unwrap();
    fs::create_dir(repo.path("docs/folder.md")).unwrap();
    let mut expected: Vec<_> = checked.map(str::to_owned).to_vec();
    expected.sort_unstable();
    for staged in [false, true] {
        if staged {
            repo.git(&["add", "--all"]);
        }
        let json = repo.orchestrate("guard docs --format json").json();
        let findings = json["guardrails"][0]["findings"].as_array().unwrap();
        let seen: Vec<_> = findings.iter().map(|it| it["path"].as_str().unwrap().to_owned()).collect();
        assert_eq!(seen, expected);
    }
    // What is tracked and gone is no document any more.
    fs::remove_file(repo.path("docs/a.md")).unwrap();
    assert!(!guard(&repo).stdout.contains("docs/a.md"));
}

#[test]
fn what_a_fresh_clone_would_not_have_is_no_finding() {
    let repo = project(&[
        (
            "README.md",
            "`src/gen/x.ts` `target/debug/x` [g](src/gen/y.ts) `src/gone.ts` `sub/file` `src/main.ts`\n",
        ),
        (".gitignore", "/target/\nsrc/gen/\n"),
        ("target/x", ""),
        ("sparse/file", ""),
    ]);
    repo.git(&["add", "--all"]);
    let commit = repo.git(&["rev-parse", "HEAD"]);
    repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},sub")]);
    fs::create_dir(repo.path("sub")).unwrap();
    repo.git(&["update-index", "--skip-worktree", "src/main.ts"]);
    fs::remove_file(repo.path("src/main.ts")).unwrap();
    assert_seen!(guard(&repo), @"
    README.md: backticked-path-missing: src/gone.ts
      at README.md:1:52
    ✖ docs:check: 1 error(s) (documents=1)
    [exit: 1]
    ");
}

#[test]
fn no_link_leads_out_of_the_repository() {
    let repo = project(&[(
        "README.md",
        "`link/x` `inner/main.ts` `inner/gone.ts` `dangling/x` [a](link/secret.md#no)\n",
    )]);
    let outside = repo.beside("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret.md"), "# Secret\n").unwrap();
    symlink(&outside, repo.path("link")).unwrap();
    symlink("src", repo.path("inner")).unwrap();
    symlink("nowhere", repo.path("dangling")).unwrap();
    fs::create_dir(repo.path("docs")).unwrap();
    symlink(&outside, repo.path("docs/link")).unwrap();
    assert_seen!(guard(&repo), @"
    README.md: backticked-path-missing: inner/gone.ts
      at README.md:1:27
    ✖ docs:check: 1 error(s) (documents=1)
    [exit: 1]
    ");
}

#[test]
fn odd_files_are_named_and_do_no_harm() {
    let repo = project(&[
        ("README.md", "fine\n"),
        ("docs/a\nb <x>.md", "npm run gone\n"),
        ("docs/-dash.md", "npm run gone\n"),
    ]);
    let odd = Path::new(std::ffi::OsStr::from_bytes(b"docs/\xff.md")).to_owned();
    fs::write(repo.root().join(&odd), b"\xff\xfe npm run gone `src/\xff` \x1b[31m\n").unwrap();
    assert!(repo.command("mkfifo").arg("docs/pipe.md").status().unwrap().success());
    let seen = guard(&repo);
    assert_eq!(seen.code, 1, "{seen}");
    assert!(!seen.stdout.contains('\x1b'), "{seen}");
    assert_eq!(seen.stdout.lines().count(), 2 * 3 + 1, "{seen}");
    let json = repo.orchestrate("guard docs --format json").json();
    let findings = json["guardrails"][0]["findings"].as_array().unwrap();
    let paths: Vec<_> = findings.iter().map(|it| it["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["docs/-dash.md", "docs/a\nb <x>.md", "docs/\u{fffd}.md"]);
    // A sparse file: nothing that large is read.
    fs::File::create(repo.path("docs/huge.md")).unwrap().set_len(3 << 30).unwrap();
    let seen = guard(&repo);
    assert!(seen.stdout.contains("docs/huge.md: document-unreadable: it is larger than"), "{seen}");
}

#[test]
fn what_the_project_says_about_itself_must_be_readable() {
    let repo = project(&[("README.md", "npm run build\n")]);
    repo.write("package.json", "{\n  \"scripts\": [}\n");
    let seen = guard(&repo);
    assert!(seen.code == 1 && seen.stdout.starts_with("package.json: package-json-invalid: "), "{seen}");
    assert!(seen.stdout.contains("\n  at package.json:2:15 — "), "{seen}");
    repo.write("codex.orchestrator.json", "{");
    assert_eq!(guard(&repo).code, 2);
    let empty = Fixture::new("passing");
    fs::remove_file(empty.path("codex.orchestrator.json")).unwrap();
    empty.write("README.md", "`npm run build`, `git orchestrate start diagnostics`\n");
    let seen = guard(&empty);
    assert!(
        seen.stdout.contains(
            "npm run build\n  at README.md:1:2 — there is no package.json\n✖ docs:check: 1 error(s)"
        ),
        "{seen}"
    );
}

#[test]
fn the_list_of_tasks_has_to_be_one() {
    let repo = project(&[("tasks/index.json", r#"{"items": [{"id": "0101", "slug": "search"}]}"#)]);
    assert_eq!(guard(&repo).code, 0);
    for (index, said) in [
        (r#"{"items": [3], "zzz": 1}"#, "item 1: it is no object"),
        (r#"{"items": [{"slug": "search"}]}"#, "item 1: it has no `id` that can be a file name"),
        (r#"{"tasks": []}"#, "it has no list `items`"),
        ("[", "EOF while parsing a list"),
    ] {
        repo.write("tasks/index.json", index);
        let seen = guard(&repo);
        assert_eq!(seen.code, 1, "{index}: {seen}");
        let told = format!("tasks/index.json: tasks-index-invalid: {said}");
        assert!(seen.stdout.contains(&told) && seen.stdout.contains("it looks like"), "{index}: {seen}");
    }
}

#[test]
fn a_subfolder_a_linked_worktree_and_a_hook_see_the_same() {
    let repo = project(&[("README.md", "npm run gone\n"), ("docs/a.md", "npm run gone\n")]);
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "documents"]);
    let here = guard(&repo).to_string();
    assert!(here.contains("2 error(s)"), "{here}");
    assert_eq!(repo.orchestrate_in(&repo.path("docs"), "guard docs").to_string(), here);
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", "--detach", linked.to_str().unwrap()]);
    assert_eq!(repo.orchestrate_in(&linked, "guard docs").to_string(), here);
    let hook = repo.see(
        repo.program()
            .current_dir(&linked)
            .args(["guard", "docs"])
            .env("GIT_INDEX_FILE", "nowhere")
            .env("GIT_LITERAL_PATHSPECS", "1"),
    );
    assert_eq!(hook.to_string(), here);
}

#[test]
fn a_configuration_that_requires_it_is_obeyed() {
    let repo = project(&[("README.md", "npm run gone\n")]);
    let seen = repo.orchestrate("guard");
    assert!(seen.code == 1 && seen.stdout.contains("docs:check: 1 error(s)"), "{seen}");
}

#[test]
fn our_own_documents_refer_to_what_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ctx = Context::open(Env::new([], root.to_owned()), Clock::System).expect("a repository");
    let checked = check(&ctx, &["*.md".to_owned()]).expect("readable documents");
    assert!(checked.documents.len() > 4, "{:?}", checked.documents);
    let said: Vec<_> = checked
        .findings
        .iter()
        .map(|it| {
            format!("{}:{}:{} {} {}", it.file, it.line, it.column, it.finding.rule.id(), it.finding.text)
        })
        .collect();
    assert_eq!(said, [] as [String; 0]);
}
