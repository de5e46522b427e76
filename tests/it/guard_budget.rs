//! `guard diff-budget` as its users see it.

use serde_json::{Value, json};

use crate::fixture::{Fixture, Seen};

const REASON: &str = "DIFF_BUDGET_OVERRIDE_REASON";

/// A repository with a remote whose branch `main` is where this one began.
fn with_origin() -> Fixture {
    let repo = Fixture::new("passing");
    let remote = repo.beside("origin.git");
    repo.git(&["clone", "--quiet", "--bare", ".", remote.to_str().unwrap()]);
    repo.git(&["remote", "add", "origin", remote.to_str().unwrap()]);
    repo.git(&["fetch", "--quiet", "origin"]);
    repo
}

fn commit(repo: &Fixture, name: &str, lines: usize) -> String {
    repo.write(name, &"line\n".repeat(lines));
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", name]);
    repo.git(&["rev-parse", "HEAD"])
}

fn budget(repo: &Fixture, words: &str) -> Seen {
    repo.orchestrate(&format!("guard diff-budget {words}"))
}

fn with(repo: &Fixture, variables: &[(&str, &str)], words: &str) -> Seen {
    let words = format!("guard diff-budget {words}");
    repo.see(repo.program().envs(variables.iter().copied()).args(words.split_whitespace()))
}

fn verdict(seen: &Seen) -> Value {
    seen.json()["guardrails"][0].clone()
}

#[test]
fn a_change_within_the_limits_passes() {
    let repo = with_origin();
    repo.write("new", "a\nb");
    let seen = budget(&repo, "");
    assert_eq!(seen.code, 0);
    let first = seen.stdout.lines().next().unwrap();
    assert_eq!(first, "✔ Diff budget: OK (base=origin/main, files=1/25, lines=2/800, +2/-0)");
}

#[test]
fn a_change_beyond_the_limits_fails_and_says_why() {
    let repo = with_origin();
    repo.write("dist/x", &"x\n".repeat(2000));
    repo.write("x/dist/f", "1\n");
    repo.write("yarn.lock", &"1\n".repeat(5));
    repo.write("odd\u{1b}[31m", "1\n");
    let seen = budget(&repo, "--max-files 2 --max-lines=6 --base HEAD").stdout;
    let base = repo.git(&["rev-parse", "--short=12", "HEAD"]);
    assert_seen!(seen.replace(&base, "[BASE]"), @"
    ✖ Diff budget exceeded (base=HEAD)
     - changed files 3 > 2
     - total lines changed 7 > 6
    Largest changes (3 files):
     - yarn.lock: 5 (+5/-0, untracked)
     - odd^[[31m: 1 (+1/-0, untracked)
     - x/dist/f: 1 (+1/-0, untracked)
    Excluded (1):
     - dist/x (dist/)
    Limits: 2 files (--max-files), 6 lines (--max-lines)
    Compared with: [BASE] (--base)
    To let it pass all the same, set DIFF_BUDGET_OVERRIDE_REASON to the reason.
    ");
    assert_eq!(budget(&repo, "--max-files 2").code, 1);
}

#[test]
fn a_reason_lets_it_pass_also_a_dry_run_and_what_could_not_be_measured() {
    let repo = with_origin();
    repo.git(&["init", "--quiet", "inner"]);
    assert_eq!(budget(&repo, "").code, 1);
    assert!(budget(&repo, "").stdout.contains("- untracked files could not be measured: 1"));
    for words in ["", "--dry-run", "--max-files 0"] {
        let seen = with(&repo, &[(REASON, "  it is \n")], words);
        assert_eq!(seen.code, 0, "{seen}");
        assert!(seen.stdout.contains("override accepted via DIFF_BUDGET_OVERRIDE_REASON: it is\n"), "{seen}");
        assert!(!seen.stdout.contains("Dry run"), "{seen}");
    }
    assert_eq!(with(&repo, &[(REASON, " ")], "").code, 1);
    let seen = budget(&repo, "--dry-run");
    assert_eq!(seen.code, 0);
    assert!(seen.stdout.contains("Dry run: exits successfully"), "{seen}");
    std::fs::remove_dir_all(repo.path("inner")).unwrap();
    assert!(!with(&repo, &[(REASON, "why")], "").stdout.contains("override"), "not when it passes anyway");
    let seen = with(&repo, &[(REASON, "why")], "--commit HEAD --max-files 0 --format json");
    assert_eq!(seen.code, 0);
    assert_eq!(verdict(&seen)["override"], json!({"variable": REASON, "reason": "why"}));
}

#[test]
fn limits_come_from_flags_then_variables_then_defaults() {
    let repo = with_origin();
    repo.write("new", "1\n2\n3\n");
    let (files, lines) = ("DIFF_BUDGET_MAX_FILES", "DIFF_BUDGET_MAX_LINES");
    for (variables, words, code) in [
        (vec![], "", 0),
        (vec![(files, "0")], "", 1),
        (vec![(files, "0")], "--max-files 1", 0),
        (vec![(lines, " 0x2 ")], "", 1),
        (vec![(lines, "1e2")], "", 0),
        (vec![(lines, "")], "", 0),
        (vec![(lines, "1O")], "", 2),
        (vec![(files, "-1")], "", 2),
        (vec![], "--max-lines 3", 0),
        (vec![], "--max-lines=2", 1),
        (vec![], "--max-lines=", 2),
        (vec![], "--max-lines ten", 2),
        (vec![], "--max-lines", 2),
        (vec![], "--base --max-lines 1", 2),
        (vec![], "--surprise", 2),
        (vec![], "word", 2),
        (vec![], "--help", 0),
    ] {
        let seen = with(&repo, &variables, words);
        assert_eq!(seen.code, code, "{variables:?} {words}: {seen}");
    }
}

#[test]
fn a_base_that_was_named_is_the_base_or_an_error() {
    let repo = with_origin();
    let first = repo.git(&["rev-parse", "HEAD"]);
    commit(&repo, "two", 2);
    commit(&repo, "three", 3);
    let label = |seen: &Seen| verdict(seen)["judged"]["label"].as_str().unwrap_or_default().to_owned();
    for (variables, words, expected) in [
        (vec![("BASE_SHA", "HEAD~1")], "", "base=HEAD~1"),
        (vec![("DIFF_BUDGET_BASE", "HEAD~1")], "", "base=HEAD~1"),
        (vec![("BASE_SHA", "HEAD"), ("DIFF_BUDGET_BASE", "HEAD~1")], "", "base=HEAD"),
        (vec![("BASE_SHA", ""), ("DIFF_BUDGET_BASE", "HEAD~1")], "", "base=HEAD~1"),
        (vec![("BASE_SHA", "typo")], "--base HEAD", "base=HEAD"),
        (vec![("BASE_SHA", "HEAD~1")], "--base=", "base=HEAD~1"),
        (vec![], "--base=", "base=origin/main"),
        (vec![], "--staged --base=", "base=HEAD"),
        (vec![], "", "base=origin/main"),
        (vec![], &format!("--base {first}"), &format!("base={first}")),
    ] {
        let seen = with(&repo, &variables, &format!("{words} --format json"));
        assert_eq!(label(&seen), expected, "{variables:?} {words}");
    }
    for (variables, words, named) in [
        (vec![], "--base typo", "`typo` of --base"),
        (vec![("BASE_SHA", "typo")], "", "`typo` of BASE_SHA"),
        (vec![("DIFF_BUDGET_BASE", "typo")], "", "`typo` of DIFF_BUDGET_BASE"),
        (vec![], "--commit typo", "Invalid commit ref `typo`"),
        (vec![], "--commit HEAD:two", "Invalid commit ref `HEAD:two`"),
        (vec![], "--commit HEAD^{tree}", "Invalid commit ref `HEAD^{tree}`"),
    ] {
        let seen = with(&repo, &variables, words);
        assert_eq!(seen.code, 1, "{seen}");
        assert!(seen.stderr.contains("Diff budget failed:") && seen.stderr.contains(named), "{seen}");
        assert!(seen.stderr.contains("hint: "), "{seen}");
    }
    // A branch that is called like a file.
    repo.git(&["branch", "two", "HEAD~1"]);
    assert_eq!(verdict(&budget(&repo, "--base two --format json"))["counts"]["lines"], 3);
}

#[test]
fn the_base_is_found_in_a_fork_a_worktree_and_on_a_detached_head() {
    let repo = with_origin();
    let found = |dir: &std::path::Path| {
        let seen = repo.orchestrate_in(dir, "guard diff-budget --format json");
        let judged = verdict(&seen)["judged"].clone();
        (judged["base"].as_str().unwrap().to_owned(), judged["base_from"].as_str().unwrap().to_owned())
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(found(repo.root()), pair("origin/main", "origin"));
    // A fork: the branch follows another remote.
    let remote = repo.beside("origin.git");
    repo.git(&["remote", "add", "upstream", remote.to_str().unwrap()]);
    repo.git(&["fetch", "--quiet", "upstream"]);
    repo.git(&["branch", "--quiet", "--set-upstream-to", "upstream/main"]);
    assert_eq!(found(repo.root()), pair("upstream/main", "upstream"));
    // A branch of this repository can be followed too.
    repo.git(&["checkout", "--quiet", "--track", "-b", "topic", "main"]);
    assert_eq!(found(repo.root()), pair("main", "upstream"));
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", "-b", "other", linked.to_str().unwrap()]);
    assert_eq!(found(&linked), pair("origin/main", "origin"));
    repo.git(&["checkout", "--quiet", "--detach"]);
    assert_eq!(found(repo.root()), pair("origin/main", "origin"));
    // The branch of `origin/HEAD`, whatever it is called.
    repo.git(&["update-ref", "refs/remotes/origin/trunk", "HEAD"]);
    repo.git(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk"]);
    assert_eq!(found(repo.root()), pair("origin/trunk", "origin"));
}

#[test]
fn without_a_remote_it_is_the_root_commit() {
    let repo = Fixture::new("passing");
    let root = repo.git(&["rev-list", "--max-parents=0", "HEAD"]);
    commit(&repo, "two", 2);
    let seen = budget(&repo, "");
    assert!(seen.stdout.contains(&format!("base={root}")), "{seen}");
}

#[test]
fn before_the_first_commit_everything_counts() {
    let repo = Fixture::new("passing");
    repo.git(&["checkout", "--quiet", "--orphan", "new"]);
    let seen = budget(&repo, "--format json");
    assert_eq!(seen.code, 0, "{seen}");
    let files = repo.git(&["ls-files"]).lines().count();
    assert_eq!(verdict(&seen)["counts"]["files"], files);
}

#[test]
fn others_are_not_charged_for_what_went_on_in_the_base() {
    let repo = with_origin();
    repo.git(&["checkout", "--quiet", "-b", "topic"]);
    commit(&repo, "mine", 1);
    repo.git(&["checkout", "--quiet", "main"]);
    commit(&repo, "theirs", 900);
    repo.git(&["push", "--quiet", "origin", "main"]);
    repo.git(&["checkout", "--quiet", "topic"]);
    let seen = budget(&repo, "--base origin/main --format json");
    assert_eq!(verdict(&seen)["counts"]["lines"], 1, "{seen}");
    repo.git(&["rebase", "--quiet", "main"]);
    assert_eq!(verdict(&budget(&repo, "--base origin/main --format json"))["counts"]["lines"], 1);
}

#[test]
fn a_commit_is_judged_alone() {
    let repo = with_origin();
    commit(&repo, "two", 2);
    repo.git(&["tag", "--annotate", "v1", "--message", "one\ntwo"]);
    repo.write("untracked", &"x\n".repeat(2000));
    for revision in ["HEAD", "v1"] {
        let seen = budget(&repo, &format!("--commit={revision} --base typo"));
        assert_eq!(seen.code, 0, "{seen}");
        let said = format!("(commit={revision}, files=1/25, lines=2/800, +2/-0)");
        assert!(seen.stdout.contains(&said), "{seen}");
    }
    // The root, against nothing.
    let root = repo.git(&["rev-list", "--max-parents=0", "HEAD"]);
    let lines = verdict(&budget(&repo, &format!("--commit {root} --format json")))["counts"]["lines"].clone();
    assert!(lines.as_u64().unwrap() > 0);
}

#[test]
fn a_merge_costs_what_it_brings_and_a_range_charges_each_commit_once() {
    let repo = with_origin();
    repo.git(&["checkout", "--quiet", "-b", "topic"]);
    commit(&repo, "mine", 30);
    repo.git(&["checkout", "--quiet", "main"]);
    commit(&repo, "theirs", 2000);
    repo.git(&["checkout", "--quiet", "topic"]);
    repo.git(&["merge", "--quiet", "--no-edit", "main"]);
    assert_eq!(verdict(&budget(&repo, "--commit HEAD --format json"))["counts"]["lines"], 2000);
    let seen = budget(&repo, "--range main..topic --format json");
    assert_eq!(seen.code, 0, "{seen}");
    let verdicts = seen.json()["guardrails"].clone();
    let lines: Vec<_> =
        verdicts.as_array().unwrap().iter().map(|it| it["counts"]["lines"].as_u64().unwrap()).collect();
    assert_eq!(lines, [30, 0, 30], "the commit, the merge and the whole");
    for bad in ["topic", "..topic", "main...topic"] {
        assert_eq!(budget(&repo, &format!("--range {bad}")).code, 2, "{bad}");
    }
    assert_eq!(budget(&repo, "--range typo..topic").code, 1);
}

#[test]
fn each_commit_of_a_range_has_to_be_small_and_so_has_the_whole() {
    let repo = with_origin();
    commit(&repo, "a", 30);
    commit(&repo, "b", 40);
    for (limit, stopped) in [(70, vec![]), (60, vec!["range"]), (35, vec!["commit", "range"])] {
        let seen = budget(&repo, &format!("--range origin/main.. --max-lines {limit} --format json"));
        let verdicts = seen.json()["guardrails"].clone();
        let failed: Vec<_> = verdicts
            .as_array()
            .unwrap()
            .iter()
            .filter(|verdict| verdict["outcome"] == "failed")
            .map(|verdict| verdict["judged"]["what"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(failed, stopped);
        assert_eq!(seen.code, i32::from(!stopped.is_empty()));
    }
}

#[test]
fn what_is_staged_is_judged_as_the_next_commit() {
    let repo = with_origin();
    commit(&repo, "before", 50);
    repo.write("staged", "1\n2\n");
    repo.git(&["add", "staged"]);
    repo.write("staged", "1\n");
    repo.write("not", "1\n");
    let counts = verdict(&budget(&repo, "--staged --format json"))["counts"].clone();
    assert_eq!((&counts["files"], &counts["lines"]), (&json!(1), &json!(2)));
}

#[test]
fn there_is_no_next_commit_while_something_is_in_conflict() {
    let repo = with_origin();
    commit(&repo, "a", 11);
    repo.git(&["checkout", "--quiet", "-b", "other"]);
    repo.write("b", "theirs\n");
    commit(&repo, "a", 12);
    repo.git(&["checkout", "--quiet", "main"]);
    repo.write("b", "ours\n");
    commit(&repo, "a", 13);
    assert!(!repo.command("git").args(["merge", "--quiet", "other"]).status().unwrap().success());
    for words in ["--staged", "--staged --dry-run", "--staged --base HEAD~1"] {
        let seen = budget(&repo, words);
        assert_eq!((seen.code, seen.stdout.as_str()), (1, ""), "{words}: {seen}");
        assert!(seen.stderr.contains("`a` and 1 more are in conflict"), "{words}: {seen}");
        assert!(seen.stderr.contains("hint: settle it and `git add` it"), "{seen}");
    }
    // The files on disk can be judged all the same.
    assert_eq!(budget(&repo, "--base HEAD").code, 0);
    repo.write("a", "settled\n");
    repo.git(&["add", "a", "b"]);
    assert_eq!(budget(&repo, "--staged").code, 0);
}

#[test]
fn from_a_subfolder_all_is_judged() {
    let repo = with_origin();
    repo.write("s/in", "1\n");
    repo.write("top", "1\n");
    let seen = repo.orchestrate_in(&repo.path("s"), "guard diff-budget --base HEAD");
    assert!(seen.stdout.contains("files=2/25"), "{seen}");
}

#[test]
fn a_change_cannot_raise_its_own_limit() {
    let config = |max: u64| {
        let budget = json!({"maxFiles": max, "ignore": ["skip/"]});
        json!({"pipelines": [], "guardrails": {"diffBudget": budget}}).to_string()
    };
    let repo = with_origin();
    repo.write("codex.orchestrator.json", &config(1));
    repo.git(&["commit", "--quiet", "--all", "--message", "limits"]);
    let base = repo.git(&["rev-parse", "HEAD"]);
    repo.git(&["push", "--quiet", "origin", "main"]);
    repo.write("codex.orchestrator.json", &config(9));
    repo.write("new", "1\n");
    repo.write("skip/new", "1\n");
    let seen = budget(&repo, "--format json");
    assert_eq!(seen.code, 1);
    let origin = json!({"kind": "configuration", "commit": base});
    assert_eq!(verdict(&seen)["limits"][0], json!({"name": "files", "value": 1, "origin": origin}));
    assert_eq!(verdict(&seen)["counts"]["excluded"], 1);
    assert_eq!(repo.orchestrate("guard").code, 1, "the base requires it");
    let seen = budget(&repo, "--config working-tree");
    assert_eq!(seen.code, 0);
    assert!(seen.stdout.contains("9 files (codex.orchestrator.json of the work tree)"), "{seen}");
    assert!(seen.stdout.contains("for trying out"), "{seen}");
    // A flag of the caller still says more.
    assert_eq!(budget(&repo, "--max-files 9").code, 0);
}

#[test]
fn no_change_hides_its_lines_by_attributes_whoever_reads_the_work_tree() {
    let count = |repo: &Fixture, words: &str| -> Vec<Value> {
        let counts = verdict(&budget(repo, &format!("{words} --base HEAD --format json")))["counts"].clone();
        ["files", "lines", "excluded"].map(|name| counts[name].clone()).to_vec()
    };
    // Where names differ by their case only to git, it reads the work tree itself.
    for by_git in ["false", "true"] {
        let repo = with_origin();
        repo.git(&["config", "core.ignorecase", by_git]);
        repo.write(".gitattributes", "known -diff\n");
        repo.write("known", "1\n");
        repo.write("small", "1\n");
        repo.git(&["add", "--all"]);
        repo.git(&["commit", "--quiet", "--message", "attributes"]);
        repo.write(".gitattributes", "big -diff\nsmall -diff\nmoved -diff linguist-generated\n");
        repo.write("known", &"1\n".repeat(100));
        repo.write("small", &"1\n".repeat(11));
        repo.write("big", &"1\n".repeat(5000));
        // 3 and 1 of the attributes, 10 of `small`, and nothing of what the base takes for binary.
        assert_eq!(count(&repo, ""), [4, 5014, 0], "{by_git}");
        repo.git(&["add", "--all"]);
        repo.write("big", "less\n");
        repo.git(&["mv", "small", "moved"]);
        repo.write("moved", &"1\n".repeat(11));
        for words in ["", "--staged"] {
            assert_eq!(count(&repo, words), [5, 5016, 0], "{by_git} {words}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_large_file_is_counted_in_less_memory_than_it_has_bytes() {
    let repo = with_origin();
    // Line ends that git would convert are the same lines afterwards.
    repo.git(&["config", "core.autocrlf", "input"]);
    repo.write("large", &"some text of a line\r\n".repeat(48 << 20 >> 4));
    let program = env!("CARGO_BIN_EXE_git-orchestrate");
    let script = "ulimit -d 24576 && exec \"$0\" guard diff-budget --format json";
    let seen = repo.see(repo.command("sh").args(["-c", script, program]));
    assert_eq!((seen.code, &verdict(&seen)["counts"]["lines"]), (1, &json!(48 << 20 >> 4)), "{seen}");
}

#[test]
fn a_shallow_clone_says_what_it_cannot_know() {
    let origin = with_origin();
    commit(&origin, "two", 2);
    commit(&origin, "three", 3);
    let url = format!("file://{}", origin.root().display());
    let shallow = origin.beside("shallow");
    origin.git(&["clone", "--quiet", "--depth", "1", &url, shallow.to_str().unwrap()]);
    let judge = |words: &str| origin.orchestrate_in(&shallow, &format!("guard diff-budget {words}"));
    // The upstream is there, and nothing has changed since.
    for words in ["", "--range HEAD..HEAD"] {
        assert_eq!(judge(words).code, 0, "{words}");
    }
    for (words, said) in [
        ("--commit HEAD", "history is cut off"),
        ("--range HEAD~1..HEAD", "`HEAD~1`"),
        ("--range HEAD~1..", "`HEAD~1`"),
    ] {
        let seen = judge(words);
        assert_eq!((seen.code, seen.stdout.as_str()), (1, ""), "{words}: {seen}");
        assert!(seen.stderr.contains(said) && seen.stderr.contains("hint: "), "{words}: {seen}");
    }
    let git = |args: &[&str]| {
        let done = origin.command("git").current_dir(&shallow).args(args).output().unwrap();
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    // Two branches, of which neither has where they meet.
    origin.git(&["checkout", "--quiet", "-b", "other", "HEAD~1"]);
    commit(&origin, "four", 4);
    git(&["fetch", "--quiet", "--depth", "1", "origin", "other:refs/remotes/origin/other"]);
    for (range, ends) in
        [("HEAD..origin/other", "`HEAD` and `origin/other`"), ("origin/other..", "`origin/other` and `HEAD`")]
    {
        let seen = judge(&format!("--range {range}"));
        assert_eq!((seen.code, seen.stdout.as_str()), (1, ""), "{range}: {seen}");
        let said = format!("Diff budget failed: history is cut off (a shallow clone) before {ends} meet");
        assert!(seen.stderr.contains(&said) && seen.stderr.contains("--unshallow"), "{range}: {seen}");
    }
    // What is here of a range is enough for it.
    git(&["fetch", "--quiet", "--depth", "2", "origin", "other:refs/remotes/origin/other"]);
    let seen = judge("--range origin/other~1..origin/other --format json");
    assert_eq!((seen.code, &verdict(&seen)["counts"]["lines"]), (0, &json!(4)), "{seen}");
    git(&["checkout", "--quiet", "--detach"]);
    git(&["remote", "remove", "origin"]);
    let seen = judge("");
    assert_eq!(seen.code, 1);
    assert!(seen.stderr.contains("history is cut off") && seen.stderr.contains("--base REV"), "{seen}");
}

#[test]
fn missing_objects_are_named_and_not_downloaded() {
    let origin = with_origin();
    commit(&origin, "two", 2);
    origin.write("two", "changed\n");
    origin.git(&["commit", "--quiet", "--all", "--message", "three"]);
    origin.git(&["config", "uploadpack.allowFilter", "true"]);
    let url = format!("file://{}", origin.root().display());
    for filter in ["blob:none", "tree:0"] {
        let partial = origin.beside(&filter.replace(':', "-"));
        let partial_path = partial.to_str().unwrap();
        origin.git(&["clone", "--quiet", &format!("--filter={filter}"), &url, partial_path]);
        let objects = || origin.git(&["-C", partial_path, "count-objects", "--verbose"]);
        let before = objects();
        for words in ["--base HEAD~1", "--commit HEAD", "--range HEAD~1..HEAD", "--base HEAD~1 --dry-run"] {
            let seen = origin.orchestrate_in(&partial, &format!("guard diff-budget {words}"));
            assert_eq!((seen.code, seen.stdout.as_str()), (1, ""), "{filter} {words}: {seen}");
            assert!(seen.stderr.starts_with("error: Diff budget failed: objects are missing"), "{seen}");
            assert!(seen.stderr.contains("partial clone"), "{seen}");
        }
        // Names are all that the spec guard wants, and they are in the trees.
        let seen = origin.orchestrate_in(&partial, "guard spec --base HEAD~1");
        assert_eq!(seen.code == 0, filter == "blob:none", "{seen}");
        assert_eq!(objects(), before, "nothing was downloaded");
        // The hint is true.
        origin.git(&["-C", partial_path, "fetch", "--quiet", "--refetch", "--no-filter"]);
        let seen = origin.orchestrate_in(&partial, "guard diff-budget --base HEAD~1");
        assert_eq!(seen.code, 0, "{seen}");
    }
}

#[test]
fn a_repository_that_lacks_objects_is_an_error_and_no_zero() {
    let repo = with_origin();
    commit(&repo, "two", 2);
    repo.write("two", "changed\n");
    repo.git(&["commit", "--quiet", "--all", "--message", "three"]);
    for lost in ["HEAD~1:two", "HEAD~1^{tree}"] {
        let id = repo.git(&["rev-parse", lost]);
        std::fs::remove_file(repo.path(".git/objects").join(&id[..2]).join(&id[2..])).unwrap();
        for words in ["--base HEAD~1", "--commit HEAD", "--range HEAD~1..HEAD"] {
            let seen = budget(&repo, words);
            assert_eq!((seen.code, seen.stdout.as_str()), (1, ""), "{lost} {words}: {seen}");
            assert!(seen.stderr.starts_with("error: Diff budget failed: "), "{seen}");
            assert!(!seen.stderr.contains("panicked"), "{seen}");
        }
    }
    let seen = repo.orchestrate("guard spec --base HEAD~1");
    assert!(seen.code == 1 && seen.stderr.starts_with("error: Spec guard failed: "), "{seen}");
}

#[test]
fn the_ten_largest_files_are_named_and_the_document_has_all() {
    let repo = with_origin();
    // The order of the names is another than that of the sizes.
    for lines in 1..=12 {
        repo.write(&format!("{}-{lines}", (lines * 7) % 12), &"line\n".repeat(lines));
    }
    let text = budget(&repo, "").stdout;
    let (_, listed) = text.split_once("Largest changes (10 of 12 files):\n").expect("a headline");
    let listed: Vec<_> = listed.lines().take_while(|line| line.starts_with(" - ")).collect();
    let expected: Vec<_> = (3..=12)
        .rev()
        .map(|lines| format!(" - {}-{lines}: {lines} (+{lines}/-0, untracked)", (lines * 7) % 12))
        .collect();
    assert_eq!(listed, expected);
    let files = verdict(&budget(&repo, "--format json"))["files"].clone();
    let added: Vec<_> =
        files.as_array().unwrap().iter().map(|file| file["added"].as_u64().unwrap()).collect();
    assert_eq!(added, (1..=12).rev().collect::<Vec<u64>>());
    // With no more than ten nothing is cut.
    for name in ["7-1", "2-2"] {
        std::fs::remove_file(repo.path(name)).unwrap();
    }
    let text = budget(&repo, "").stdout;
    assert!(text.contains("Largest changes (10 files):\n") && text.contains(" - 9-3: 3 "), "{text}");
}

#[test]
fn what_cannot_be_read_is_named_and_no_zero() {
    let repo = with_origin();
    let Some(mut program) = repo.unprivileged() else {
        eprintln!("skipped: root reads everything here, and there is no `setpriv` to take that away");
        return;
    };
    repo.write("tracked", "1\n2\n");
    commit(&repo, "tracked", 2);
    repo.git(&["push", "--quiet", "origin", "main"]);
    repo.write("tracked", "1\n2\n3\n");
    repo.write("new", "1\n");
    repo.write("closed/file", "1\n");
    let mode = |name: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(repo.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let closed = ["tracked", "new", "closed"];
    closed.iter().for_each(|name| mode(name, 0));
    let text = repo.see(program.args(["guard", "diff-budget"]));
    let mut program = repo.unprivileged().expect("it was there just now");
    let document = repo.see(program.args(["guard", "diff-budget", "--format", "json"]));
    closed.iter().for_each(|name| mode(name, 0o755));
    assert_eq!((text.code, document.code), (1, 1), "{text}");
    for line in [
        " - tracked: unreadable: Permission denied (os error 13)",
        " - new: unreadable: Permission denied (os error 13)",
        " - closed/: a folder that cannot be read",
    ] {
        assert!(text.stdout.lines().any(|it| it == line), "{line}: {text}");
    }
    let files = verdict(&document)["files"].clone();
    let unmeasured = files.as_array().unwrap().iter().filter(|file| file["unmeasured"].is_string());
    assert_eq!(unmeasured.count(), 3, "{files}");
}

#[test]
fn a_folder_that_becomes_a_link_while_it_is_read_leads_nowhere() {
    let repo = with_origin();
    let outside = repo.beside("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "1\n2\n3\n4\n5\n").unwrap();
    std::fs::write(outside.join("known"), "1\n2\n3\n4\n5\n").unwrap();
    repo.write(".gitattributes", "a filter=swap\n");
    repo.write("a", "1\n");
    commit(&repo, "dir/known", 1);
    repo.git(&["push", "--quiet", "origin", "main"]);
    // The names are all read before the first file is; the filter that git runs for it swaps the folder.
    let swap = repo.beside("swap");
    let script = "#!/bin/sh\nmv dir \"$HOME/moved\" && ln -s \"$HOME/outside\" dir\nexec cat\n";
    std::fs::write(&swap, script).unwrap();
    repo.git(&["config", "filter.swap.clean", &format!("sh '{}'", swap.display())]);
    repo.write("a", "1\n2\n");
    repo.write("dir/known", "line\nline\n");
    repo.write("dir/secret", "1\n");
    let seen = budget(&repo, "--format json");
    assert!(repo.beside("moved").is_dir(), "it was swapped: {seen}");
    assert_eq!(seen.code, 1, "{seen}");
    let files = verdict(&seen)["files"].clone();
    for file in files.as_array().unwrap() {
        let told = match file["path"].as_str().unwrap() {
            "a" => file["added"] == 1 && file["unmeasured"].is_null(),
            "dir/known" | "dir/secret" => {
                file["unmeasured"] == "it changed into something else while it was read"
            }
            _ => false,
        };
        assert!(told, "{file}");
    }
    assert_eq!(files.as_array().unwrap().len(), 3, "{files}");
    // Now it is a link, and counts as one.
    let seen = budget(&repo, "--format json");
    let files = verdict(&seen)["files"].clone();
    let named = |path: &str| files.as_array().unwrap().iter().find(|file| file["path"] == path).cloned();
    assert_eq!(named("dir").map(|file| file["added"].clone()), Some(json!(1)), "{seen}");
    assert_eq!(named("dir/known").map(|file| file["deleted"].clone()), Some(json!(1)), "{seen}");
    assert_eq!(named("dir/secret"), None, "{seen}");
}

#[test]
fn sarif_has_the_findings() {
    let repo = with_origin();
    repo.write("new", "1\n");
    let seen = budget(&repo, "--max-files 0 --format sarif");
    assert_eq!(seen.code, 1);
    let document = seen.json();
    assert_eq!(document["version"], "2.1.0");
    let result = &document["runs"][0]["results"][0];
    assert_eq!((&result["ruleId"], &result["level"]), (&json!("too-many-files"), &json!("error")));
    let none = budget(&repo, "--format sarif").json();
    assert_eq!(none["runs"][0]["results"], json!([]));
}

#[test]
fn nothing_required_is_nothing_judged_and_says_so() {
    let repo = with_origin();
    let seen = repo.orchestrate("guard");
    assert_eq!(seen.code, 2);
    assert!(seen.stderr.contains("nothing was judged"), "{seen}");
}

/// Runs the step of the workflow that looks for a reason, with the text of a request.
fn override_step(repo: &Fixture, body: &str) -> (i32, String) {
    let workflow = include_str!("../../templates/ci/diff-budget.yml");
    let step = workflow.split_once("- name: Override").expect("the step").1;
    let script =
        step.split_once("run: |\n").expect("its script").1.split_once("\n\n      - name:").expect("more").0;
    let script: Vec<_> = script.lines().map(|line| line.trim_start_matches("          ")).collect();
    let (variables, summary) = (repo.beside("env"), repo.beside("summary"));
    std::fs::write(&variables, "").unwrap();
    let seen = repo.see(
        repo.command("bash")
            .args(["-e", "-c", &script.join("\n")])
            .env("BODY", body)
            .env("GITHUB_ENV", &variables)
            .env("GITHUB_STEP_SUMMARY", &summary),
    );
    let text = std::fs::read_to_string(&variables).unwrap();
    (seen.code, text.lines().nth(1).unwrap_or_default().to_owned())
}

#[test]
fn the_workflow_wants_a_reason_with_its_label() {
    let repo = Fixture::new("passing");
    for (body, reason) in [
        ("What it does.\r\n\r\n  Diff budget override: generated code \r\nmore", Some("generated code")),
        ("Diff budget override: one\nDiff budget override: two", Some("one")),
        ("Diff budget override: $(touch x) `y` \"z\"", Some("$(touch x) `y` \"z\"")),
        ("Diff budget override:   \nDiff budget override: late", None),
        ("diff budget override: small letters", Some("small letters")),
        ("a\n> DIFF Budget Override:Quoted", Some("Quoted")),
        ("> > Diff budget override: twice quoted", Some("twice quoted")),
        ("see Diff budget override: not at the beginning", None),
        ("", None),
    ] {
        let (code, found) = override_step(&repo, body);
        assert_eq!(code, i32::from(reason.is_none()), "{body:?}");
        assert_eq!(found, reason.unwrap_or_default(), "{body:?}");
    }
}
