//! `hook pre-push`: what leaves the machine is proven, whatever the work tree looks like.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::fixture::{Fixture, Seen, lines_of};

/// A project with a gate, a remote that has its first commit, and the hook.
pub struct Project {
    pub repo: Fixture,
    pub remote: PathBuf,
}

pub fn config(gate: Value) -> Value {
    let stage = |id: &str, command: &str| json!({"kind": "command", "id": id, "command": command});
    json!({
        "pipelines": [{"id": "gate", "guardrailsRequired": false, "stages": [
            stage("build", "cat note >> \"$HOME/saw\""),
            stage("test", "echo tested >> \"$HOME/ran\"; test ! -e fails"),
        ]}],
        "defaultPipeline": "gate",
        "hooks": {"pre-push": gate},
    })
}

impl Project {
    pub fn new(gate: Value) -> Self {
        Self::with(&config(gate))
    }

    pub fn with(config: &Value) -> Self {
        let repo = Fixture::with_config(config);
        repo.write("note", "first\n");
        repo.git(&["add", "--all"]);
        repo.git(&["commit", "--quiet", "--amend", "--no-edit"]);
        let remote = repo.beside("remote.git");
        repo.git(&["init", "--quiet", "--bare", "--initial-branch=main", remote.to_str().unwrap()]);
        repo.git(&["-C", remote.to_str().unwrap(), "config", "receive.advertisePushOptions", "true"]);
        repo.git(&["-C", remote.to_str().unwrap(), "config", "receive.denyDeleteCurrent", "ignore"]);
        repo.git(&["remote", "add", "origin", remote.to_str().unwrap()]);
        repo.git(&["push", "--quiet", "--set-upstream", "origin", "main"]);
        let project = Self { repo, remote };
        project.hook_in(&project.repo.path(".git/hooks"));
        project
    }

    /// Puts a hook into a folder.
    pub fn hook_in(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        let hook = folder.join("pre-push");
        let program = env!("CARGO_BIN_EXE_git-orchestrate");
        fs::write(&hook, format!("#!/bin/sh\nexec '{program}' hook pre-push \"$@\"\n")).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Commits a file with that text, and returns the commit.
    pub fn commit(&self, text: &str) -> String {
        self.repo.write("note", &format!("{text}\n"));
        self.repo.git(&["add", "--all"]);
        self.repo.git(&["commit", "--quiet", "--message", text]);
        self.repo.git(&["rev-parse", "HEAD"])
    }

    pub fn git(&self, words: &str) -> Seen {
        self.repo.see(self.repo.command("git").args(words.split(' ')))
    }

    /// Proves a commit, or has it fail.
    pub fn run(&self, commit: &str) {
        self.repo.orchestrate(&format!("start --commit {commit}"));
    }

    /// Returns what the remote has, if it has it.
    pub fn there(&self, name: &str) -> Option<String> {
        let listed = self.repo.git(&["ls-remote", self.remote.to_str().unwrap(), name]);
        listed.split('\t').next().filter(|id| !id.is_empty()).map(str::to_owned)
    }

    /// Returns what was let pass.
    pub fn let_pass(&self) -> Vec<Value> {
        let folder = self.repo.path(".git/orchestrate/ledger");
        let files = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        let lines = files.filter(|path| path.extension().is_some_and(|it| it == "ndjson"));
        lines.flat_map(|path| lines_of(&path)).filter(|line| line["type"] == "let-pass").collect()
    }

    /// Calls the hook as git would, for one ref.
    pub fn asked(&self, line: &str, words: &str) -> Seen {
        let given = self.repo.beside("given");
        fs::write(&given, format!("{line}\n")).unwrap();
        let mut command = self.repo.program();
        command.args(["hook", "pre-push"]).args(words.split_whitespace());
        self.repo.see(command.arg("origin").arg(&self.remote).stdin(fs::File::open(given).unwrap()))
    }
}

const ZERO: &str = "0000000000000000000000000000000000000000";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Branch,
    NewBranch,
    OtherBranch,
    Older,
    Tag,
    AnnotatedTag,
    Force,
    LikeAnOption,
    Delete,
    Notes,
}

#[test]
fn what_is_pushed_decides_and_not_what_lies_around() {
    let gate =
        json!({"require": ["build", "test"], "inlineSeconds": 0, "refs": ["refs/heads/*", "refs/tags/*"]});
    let project = Project::new(gate);
    let repo = &project.repo;
    let first = repo.git(&["rev-parse", "HEAD"]);
    let forms = [
        Form::Branch,
        Form::NewBranch,
        Form::OtherBranch,
        Form::Older,
        Form::Tag,
        Form::AnnotatedTag,
        Form::Force,
        Form::LikeAnOption,
        Form::Delete,
        Form::Notes,
    ];
    for ledger in ["nothing", "proven", "failed"] {
        for form in forms {
            let case = format!("{ledger} {form:?}");
            repo.git(&[
                "push",
                "--quiet",
                "--no-verify",
                "--force",
                "origin",
                &format!("{first}:refs/heads/main"),
            ]);
            repo.git(&["push", "--quiet", "--no-verify", "origin", "HEAD:refs/heads/gone", "--force"]);
            repo.git(&["checkout", "--quiet", "-B", "main", &first]);
            if ledger == "failed" {
                repo.write("fails", "");
            }
            let mut target = project.commit(&case);
            let (spec, name, gated) = match form {
                Form::Branch => ("main:refs/heads/main", "refs/heads/main", true),
                Form::NewBranch => ("main:refs/heads/new", "refs/heads/new", true),
                Form::OtherBranch => {
                    repo.git(&["branch", "--force", "other"]);
                    repo.git(&["checkout", "--quiet", "-B", "main", &first]);
                    project.commit("what is checked out is another thing");
                    ("other", "refs/heads/other", true)
                }
                Form::Older => {
                    project.commit(&format!("{case}, later"));
                    ("HEAD~1:refs/heads/older", "refs/heads/older", true)
                }
                Form::Tag => {
                    repo.git(&["tag", "--force", "light"]);
                    ("refs/tags/light", "refs/tags/light", true)
                }
                Form::AnnotatedTag => {
                    repo.git(&["tag", "--force", "--annotate", "--message=x", "heavy"]);
                    ("refs/tags/heavy", "refs/tags/heavy", true)
                }
                Form::Force => {
                    let old = project.commit("what is there");
                    repo.git(&[
                        "push",
                        "--quiet",
                        "--no-verify",
                        "origin",
                        &format!("{old}:refs/heads/main"),
                    ]);
                    repo.git(&["reset", "--quiet", "--hard", &target]);
                    repo.git(&["commit", "--quiet", "--amend", "--message", "in other words"]);
                    target = repo.git(&["rev-parse", "HEAD"]);
                    ("+main:refs/heads/main", "refs/heads/main", true)
                }
                Form::LikeAnOption => ("main:refs/heads/-x", "refs/heads/-x", true),
                Form::Delete => (":refs/heads/gone", "refs/heads/gone", false),
                Form::Notes => {
                    repo.git(&["update-ref", "refs/notes/orchestrate/w", &target]);
                    ("refs/notes/orchestrate/w", "refs/notes/orchestrate/w", false)
                }
            };
            if ledger != "nothing" {
                project.run(&target);
            }
            let passes = !gated || ledger == "proven";
            for state in ["clean", "edited", "staged", "untracked", "another gate"] {
                match state {
                    "edited" => repo.write("note", "edited\n"),
                    "staged" => {
                        repo.write("note", "staged\n");
                        repo.git(&["add", "note"]);
                        repo.write("note", "and edited\n");
                    }
                    "untracked" => repo.write("fails", "untracked\n"),
                    "another gate" => repo.write("codex.orchestrator.json", "{ broken"),
                    _ => {}
                }
                let look = || {
                    let words = [
                        &["status", "--porcelain=v2"][..],
                        &["diff"],
                        &["diff", "--cached"],
                        &["stash", "list"],
                    ];
                    words.map(|words| repo.git(words))
                };
                let before = look();
                let seen =
                    repo.see(repo.command("git").args(["push", "--dry-run", "--force", "origin", spec]));
                assert_eq!(seen.code == 0, passes, "{case} {state}: {seen}");
                assert_eq!(look(), before, "{case} {state}");
                repo.git(&["reset", "--quiet", "--hard"]);
                repo.git(&["clean", "--quiet", "-fd"]);
            }
            let seen = repo.see(repo.command("git").args(["push", "--force", "origin", spec]));
            assert_eq!(seen.code == 0, passes, "{case}: {seen}");
            let tip = repo.git(&["rev-parse", if spec.starts_with("refs/tags") { spec } else { &target }]);
            let there = project.there(name);
            match (passes, form) {
                (true, Form::Delete) => assert_eq!(there, None, "{case}"),
                (true, _) => assert_eq!(there, Some(tip), "{case}"),
                (false, _) => assert_ne!(there, Some(tip), "{case}"),
            }
            if there.is_some() && name != "refs/heads/main" {
                repo.git(&["push", "--quiet", "--no-verify", "origin", &format!(":{name}")]);
            }
        }
    }
}

#[test]
fn a_proven_ref_takes_one_line_and_no_other_program() {
    let project = Project::new(json!({"require": ["build", "test"], "guardrails": ["diff-budget", "spec"]}));
    let commit = project.commit("second");
    project.run(&commit);
    let first = project.repo.git(&["rev-parse", "HEAD~1"]);
    let given = project.repo.beside("given");
    fs::write(&given, format!("refs/heads/main {commit} refs/heads/main {first}\n")).unwrap();
    let mut command = project.repo.program();
    // Neither git nor a shell can be found.
    command.args(["hook", "pre-push", "origin"]).arg(&project.remote).env("PATH", "/nonexistent");
    let seen = project.repo.see(command.stdin(fs::File::open(given).unwrap()));
    let tree = project.repo.git(&["rev-parse", "--short=12", "HEAD^{tree}"]);
    let said = seen.stderr.trim().replace(&tree, "[TREE]");
    let run = project.repo.runs("0101")[0].file_name().unwrap().to_str().unwrap().to_owned();
    assert!(said.starts_with(&format!("proven  main  tree [TREE]: build, test by run {run}, ")), "{seen}");
    assert!(said.ends_with(" ago, of this repository") && said.lines().count() == 1, "{seen}");
    assert_eq!((seen.code, seen.stdout.as_str()), (0, ""));
}

#[test]
fn what_is_missing_is_refused_with_the_command_that_mends_it() {
    let project = Project::new(json!({"require": ["test"], "inlineSeconds": 0}));
    project.commit("second");
    project.repo.git(&["branch", "topic"]);
    let seen = project.git("push origin HEAD~1:refs/heads/old topic HEAD:refs/heads/it's");
    assert_eq!(seen.code, 1, "{seen}");
    for line in [
        "stage test: never ran on this tree",
        "→ git orchestrate push origin 'HEAD~1:refs/heads/old'",
        "→ git orchestrate push origin topic",
        "→ git orchestrate push origin 'HEAD:refs/heads/it'\\''s'",
    ] {
        assert!(seen.stderr.contains(line), "{line}: {seen}");
    }
    assert_eq!(project.there("refs/heads/topic"), None);
    // And it does.
    let seen = project.repo.orchestrate("push origin topic");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(project.there("refs/heads/topic").is_some());
    // What failed has to be mended, and running it again would mend nothing.
    project.repo.write("fails", "");
    let commit = project.commit("fails");
    project.run(&commit);
    let seen = project.git("push origin main");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stderr.contains("failed it") && seen.stderr.contains("git orchestrate logs "), "{seen}");
    assert!(!seen.stderr.contains("git orchestrate push"), "{seen}");
}

#[test]
fn what_usually_takes_no_time_runs_at_the_pushed_tree() {
    let project = Project::new(json!({"require": ["build", "test"]}));
    let repo = &project.repo;
    // Nobody knows yet how long it takes.
    project.commit("unknown");
    assert_eq!(project.git("push origin main").code, 1);
    project.run("HEAD");
    fs::remove_file(repo.beside("saw")).unwrap();
    project.commit("known");
    repo.write("note", "dirty\n");
    let seen = project.git("push origin main");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(fs::read_to_string(repo.beside("saw")).unwrap(), "known\n");
    assert_eq!(repo.read("note"), "dirty\n");
    assert!(seen.stderr.contains("proven  main"), "{seen}");
    // Once is enough.
    assert_eq!(project.git("push --dry-run origin main:refs/heads/again").code, 0);
    assert_eq!(fs::read_to_string(repo.beside("saw")).unwrap(), "known\n");
    // A failure is told, and refuses.
    repo.git(&["checkout", "--quiet", "."]);
    repo.write("fails", "");
    project.commit("fails");
    let seen = project.git("push origin main");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stderr.contains("FAILED  test"), "{seen}");
}

#[test]
fn only_what_a_missing_stage_needs_runs_with_it() {
    let log = |id: &str, needs: &[&str]| json!({"kind": "command", "id": id, "needs": needs, "command": format!("echo {id} >> \"$HOME/ran\"")});
    let project = Project::with(&json!({
        "pipelines": [{"id": "gate", "stages": [log("a", &[]), log("b", &["a"]), log("c", &[]), log("d", &["b"])]}],
        "defaultPipeline": "gate", "hooks": {"pre-push": {"require": ["b"]}},
    }));
    project.commit("second");
    let seen = project.repo.orchestrate("push origin main");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(fs::read_to_string(project.repo.beside("ran")).unwrap(), "a\nb\n");
}

#[test]
fn a_change_cannot_weaken_its_own_gate() {
    let project = Project::new(json!({"require": ["build", "test"], "inlineSeconds": 0}));
    let repo = &project.repo;
    let first = repo.git(&["rev-parse", "HEAD"]);
    let weaker = config(json!({"require": []}));
    let mut emptier = config(json!({"require": ["build", "test"]}));
    emptier["pipelines"][0]["stages"][1]["command"] = json!("true");
    let gone = json!({"pipelines": config(json!({}))["pipelines"]});
    for (text, said) in [
        (weaker.to_string(), "`require` was build, test, and is nothing"),
        (emptier.to_string(), "stage `test` of `gate` does something else"),
        (gone.to_string(), "`hooks.pre-push` is taken away"),
    ] {
        repo.git(&["reset", "--quiet", "--hard", &first]);
        repo.write("codex.orchestrator.json", &text);
        repo.git(&["commit", "--quiet", "--all", "--message", "an easier gate"]);
        project.run("HEAD");
        let seen = project.git("push origin main");
        assert_eq!(seen.code, 1, "{seen}");
        assert!(seen.stderr.contains(said) && seen.stderr.contains("--allow-gate-change"), "{said}: {seen}");
        assert_eq!(project.there("refs/heads/main").as_ref(), Some(&first));
        // Also on a branch of its own, for which the default branch decides.
        assert_eq!(project.git("push origin HEAD:refs/heads/sly").code, 1);
        let mut push = repo.command("git");
        push.args(["push", "--dry-run", "origin", "main"]).env("GIT_ORCHESTRATE_ALLOW_GATE_CHANGE", "1");
        let seen = repo.see(&mut push);
        assert_eq!(seen.code, 0, "{seen}");
    }
    assert_eq!(project.let_pass(), [] as [Value; 0]);
    repo.git(&["reset", "--quiet", "--hard", &first]);
    repo.write("codex.orchestrator.json", &weaker.to_string());
    repo.git(&["commit", "--quiet", "--all", "--message", "an easier gate"]);
    let seen = project.git("push --push-option=orchestrate.allow-gate-change origin main:refs/heads/allowed");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(project.let_pass().len(), 1, "{:?}", project.let_pass());
    let seen = project.repo.orchestrate("push --allow-gate-change origin main");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(project.let_pass().len(), 2, "{:?}", project.let_pass());
    // What the owner of the base has taken in counts for all who follow.
    repo.git(&["checkout", "--quiet", "-b", "topic", &first]);
    project.commit("on a topic");
    project.run("HEAD");
    assert_eq!(project.git("push origin topic").code, 0);
    repo.git(&["merge", "--quiet", "--message", "taken in", "origin/main"]);
    let seen = project.git("push origin topic");
    assert_eq!(seen.code, 0, "{seen}");
}

#[test]
fn what_the_remote_has_and_nobody_fetched_is_no_first_push() {
    let project = Project::new(json!({"require": ["test"], "inlineSeconds": 0, "refs": ["refs/heads/main"]}));
    let repo = &project.repo;
    let first = repo.git(&["rev-parse", "HEAD"]);
    let theirs = repo.beside("theirs");
    repo.git(&["clone", "--quiet", project.remote.to_str().unwrap(), theirs.to_str().unwrap()]);
    repo.git(&["-C", theirs.to_str().unwrap(), "commit", "--quiet", "--allow-empty", "--message", "theirs"]);
    repo.git(&["-C", theirs.to_str().unwrap(), "push", "--quiet", "origin", "main", "main:refs/heads/wip"]);
    let there = project.there("refs/heads/main");
    let mut weaker = config(json!({"require": ["test"], "inlineSeconds": 0}));
    weaker["pipelines"][0]["stages"][1]["command"] = json!("true");
    repo.write("codex.orchestrator.json", &weaker.to_string());
    repo.git(&["commit", "--quiet", "--all", "--message", "an easier gate"]);
    project.run("HEAD");
    repo.git(&["config", "remote.origin.fetch", ""]);
    repo.git(&["update-ref", "-d", "refs/remotes/origin/main"]);
    for words in ["push --force origin main", "push --force origin HEAD:refs/heads/wip"] {
        let seen = project.git(words);
        assert_eq!(seen.code, 1, "{seen}");
        let name = words.rsplit(['/', ' ']).next().unwrap();
        let mend = format!("→ git fetch origin {name}\n");
        assert!(seen.stderr.contains("was never fetched") && seen.stderr.contains(&mend), "{seen}");
    }
    // A gate that is known by another branch, and is not about this one.
    repo.git(&["update-ref", "refs/remotes/origin/main", &first]);
    let seen = project.git("push --dry-run --force origin HEAD:refs/heads/wip");
    assert_eq!(seen.code, 0, "{seen}");
    // What is said to be typed helps.
    repo.git(&["update-ref", "-d", "refs/remotes/origin/main"]);
    repo.git(&["fetch", "--quiet", "origin", "main"]);
    let seen = project.git("push --force origin main");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stderr.contains("changes the gate of origin/main: stage `test` of `gate`"), "{seen}");
    assert_eq!(project.there("refs/heads/main"), there);
}

#[test]
fn a_hook_for_all_repositories_asks_nothing_of_one_that_never_had_a_configuration() {
    let project = Project::new(json!({"require": ["test"]}));
    let repo = &project.repo;
    let unknown = "1111111111111111111111111111111111111111";
    repo.git(&["update-ref", "-d", "refs/remotes/origin/main"]);
    repo.git(&["rm", "--quiet", "codex.orchestrator.json"]);
    repo.git(&["commit", "--quiet", "--message", "without"]);
    let asked = |commit: &str| {
        let line = format!("refs/heads/main {commit} refs/heads/main {unknown}");
        project.asked(&line, "--if-configured")
    };
    let seen = asked(&repo.git(&["rev-parse", "HEAD"]));
    assert!(seen.code == 2 && seen.stderr.contains("was never fetched"), "{seen}");
    let tree = repo.git(&["rev-parse", "HEAD^{tree}"]);
    let seen = asked(&repo.git(&["commit-tree", "-m", "never", &tree]));
    assert_eq!(seen.code, 0, "{seen}");
}

#[test]
fn what_takes_the_place_of_a_branch_is_judged_by_that_branch() {
    let project = Project::with(&json!({"pipelines": []}));
    let repo = &project.repo;
    let before = repo.git(&["rev-parse", "HEAD"]);
    let gate = |command: &str| {
        let mut gate = config(json!({"require": ["test"], "inlineSeconds": 0}));
        gate["pipelines"][0]["stages"][1]["command"] = json!(command);
        repo.write("codex.orchestrator.json", &gate.to_string());
        project.commit(command);
        repo.git(&["rev-parse", "HEAD"])
    };
    let weak = gate("true");
    let strong = gate("test ! -e fails");
    repo.git(&["push", "--quiet", "--no-verify", "origin", "main"]);
    repo.git(&["checkout", "--quiet", "-b", "old", &before]);
    let unheard = gate("true # there was no gate here");
    let sly = {
        repo.git(&["checkout", "--quiet", "-B", "old", &weak]);
        project.commit("on the weak one")
    };
    for (commit, what) in [(&unheard, "no gate"), (&sly, "a weak gate"), (&weak, "the way back")] {
        project.run(commit);
        let seen = project.git(&format!("push --force origin {commit}:main"));
        assert_eq!(seen.code, 1, "{what}: {seen}");
        assert!(seen.stderr.contains("changes the gate of origin/main: stage `test`"), "{what}: {seen}");
        let mut push = repo.command("git");
        push.args(["push", "--dry-run", "--force", "origin", &format!("{commit}:main")]);
        let seen = repo.see(push.env("GIT_ORCHESTRATE_ALLOW_GATE_CHANGE", "1"));
        assert_eq!(seen.code, 0, "{what}: {seen}");
    }
    // A branch of its own takes nobody's place. It began where there was no gate, and not because `main` has none.
    let seen = project.git(&format!("push origin {unheard}:refs/heads/old"));
    let said = "`origin/main` had no gate yet where this change began, so that of this push counts";
    assert!(seen.code == 0 && seen.stderr.contains(said), "{seen}");
    assert_eq!(project.there("refs/heads/main"), Some(strong));
}

#[test]
fn a_first_push_is_judged_by_the_working_copy_and_says_so() {
    let project = Project::new(json!({"require": ["test"], "inlineSeconds": 0}));
    let other = project.repo.beside("other.git");
    project.repo.git(&["init", "--quiet", "--bare", other.to_str().unwrap()]);
    project.repo.git(&["remote", "remove", "origin"]);
    project.repo.git(&["remote", "add", "new", other.to_str().unwrap()]);
    let seen = project.git("push new main");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(
        seen.stderr.contains("nothing was pushed there yet, so the gate is that of the working copy"),
        "{seen}"
    );
    project.run("HEAD");
    assert_eq!(project.git("push new main").code, 0);
}

#[test]
fn a_gate_that_is_missing_or_broken_refuses_and_names_a_way_out() {
    let project = Project::new(json!({"require": ["test"]}));
    let repo = &project.repo;
    repo.write("codex.orchestrator.json", "{ broken");
    repo.git(&["commit", "--quiet", "--all", "--message", "broken"]);
    let seen = project.git("push origin main");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(
        seen.stderr.contains("codex.orchestrator.json of ") && seen.stderr.contains("invalid JSON"),
        "{seen}"
    );
    assert!(seen.stderr.contains("GIT_ORCHESTRATE_OVERRIDE="), "{seen}");
    let mut push = repo.command("git");
    push.args(["push", "origin", "main"]).env("GIT_ORCHESTRATE_OVERRIDE", "it burns");
    assert_eq!(repo.see(&mut push).code, 0);
    let kept = project.let_pass();
    assert_eq!((kept.len(), &kept[0]["reason"]), (1, &json!("it burns")), "{kept:?}");
    // What is broken there already can be mended.
    repo.write("codex.orchestrator.json", &config(json!({"require": []})).to_string());
    repo.git(&["commit", "--quiet", "--all", "--message", "mended"]);
    assert_eq!(project.git("push origin main").code, 1);
    let seen = project.repo.orchestrate("push --allow-gate-change origin main");
    assert_eq!(seen.code, 0, "{seen}");

    let project = Project::with(&json!({"pipelines": []}));
    project.commit("second");
    let seen = project.git("push origin main");
    assert_eq!(seen.code, 1, "{seen}");
    for line in
        ["has no `hooks.pre-push`", "git orchestrate hooks uninstall pre-push", "GIT_ORCHESTRATE_OVERRIDE="]
    {
        assert!(seen.stderr.contains(line), "{line}: {seen}");
    }
    // A stage that the change takes away.
    let project = Project::new(json!({"require": ["test"]}));
    project.repo.write("codex.orchestrator.json", &json!({"hooks": {"pre-push": {}}}).to_string());
    project.commit("no stages");
    let seen = project.git("push origin main");
    assert_eq!(seen.code, 1, "{seen}");
    for line in [
        "the gate of `origin/main`: `require` names `test`, which is no stage and no pipeline",
        "→ `codex.orchestrator.json` declares no stage there",
        "→ put it back, and commit that",
        "→ or, if that is meant: git orchestrate push --allow-gate-change …",
        "→ or, this once: GIT_ORCHESTRATE_OVERRIDE='why' git push …",
    ] {
        assert!(seen.stderr.contains(line), "{line}: {seen}");
    }
    let seen = project.repo.orchestrate("push --allow-gate-change origin main");
    assert_eq!(seen.code, 0, "{seen}");
    let seen = Project::new(json!({"require": ["tset"]}));
    seen.commit("second");
    let seen = seen.git("push origin main");
    assert!(
        seen.stderr.contains("`require` names `tset`") && seen.stderr.contains("did you mean `test`?"),
        "{seen}"
    );
}

#[test]
fn reasons_are_kept_where_something_was_let_pass() {
    let project = Project::new(json!({"require": ["test"], "inlineSeconds": 0}));
    let commit = project.commit("second");
    let seen = project.git("push --push-option=orchestrate.override=because origin main");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stderr.contains("let pass by push option orchestrate.override: because"), "{seen}");
    let kept = project.let_pass();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!((&kept[0]["commit"], &kept[0]["reference"]), (&json!(commit), &json!("refs/heads/main")));
    assert_eq!(kept[0]["said"], json!(["stage gate:test is not proven"]));
    let seen = project.repo.orchestrate("evidence show HEAD");
    assert!(
        seen.stdout.contains("let pass  to refs/heads/main, ") && seen.stdout.contains(": because\n"),
        "{seen}"
    );
    let seen = project.repo.orchestrate("evidence show --format json HEAD");
    assert_eq!(seen.json()["commits"][0]["let_pass"][0]["reason"], "because");
    // A reason where none is needed is none.
    project.run("HEAD");
    project.repo.git(&["commit", "--quiet", "--amend", "--message", "in other words"]);
    let seen = project.git("push --force -o orchestrate.override=because origin main");
    assert_eq!((seen.code, project.let_pass().len()), (0, 1), "{seen}");
}

#[test]
fn a_missing_proof_may_be_told_only() {
    let project = Project::new(json!({"require": ["test"], "inlineSeconds": 0, "onMissing": "warn"}));
    project.commit("second");
    let seen = project.git("push origin main");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stderr.contains("warning  main") && seen.stderr.contains("stage test: never ran"), "{seen}");
}

#[test]
fn guardrails_judge_each_new_commit_and_never_the_work_tree() {
    let mut config = config(json!({"guardrails": ["diff-budget", "spec"]}));
    config["guardrails"] = json!({"diffBudget": {"maxLines": 5}, "spec": {"code": ["lib/"]}});
    let project = Project::with(&config);
    let repo = &project.repo;
    let first = repo.git(&["rev-parse", "HEAD"]);
    // Too much in between, and nothing in the end.
    repo.write("big", &"line\n".repeat(50));
    project.commit("large");
    repo.git(&["rm", "--quiet", "big"]);
    project.commit("small again");
    let seen = project.git("push origin main");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stderr.contains("diff-budget (commit="), "{seen}");
    let mut push = repo.command("git");
    push.args(["push", "--quiet", "origin", "main:refs/heads/large"])
        .env("DIFF_BUDGET_OVERRIDE_REASON", "generated");
    let seen = repo.see(&mut push);
    assert_eq!(seen.code, 0, "{seen}");
    let kept = project.let_pass();
    assert_eq!((kept.len(), &kept[0]["given_as"]), (1, &json!("DIFF_BUDGET_OVERRIDE_REASON")), "{kept:?}");
    // Code without its spec, and with it; the work tree has both.
    repo.git(&["reset", "--quiet", "--hard", &first]);
    repo.write("lib/x", "code\n");
    project.commit("code");
    let today = repo.command("date").args(["-u", "+%F"]).output().unwrap().stdout;
    let spec = format!("last_review: {}\n", String::from_utf8(today).unwrap().trim());
    repo.write("tasks/specs/x.md", &spec);
    repo.write("huge", &"line\n".repeat(500));
    let seen = project.git("push origin main");
    assert_eq!(seen.code, 1, "{seen}");
    assert!(seen.stderr.contains("no spec updated") && !seen.stderr.contains("diff-budget"), "{seen}");
    repo.git(&["add", "tasks"]);
    repo.git(&["commit", "--quiet", "--message", "spec"]);
    let seen = project.git("push origin main");
    assert_eq!(seen.code, 0, "{seen}");
}

#[test]
fn every_place_that_git_calls_a_hook_from_is_understood() {
    let project = Project::new(json!({"require": ["test"], "inlineSeconds": 0}));
    let repo = &project.repo;
    let commit = project.commit("second");
    let dry = |command: &mut Command| repo.see(command.args(["push", "--dry-run", "origin"]));
    let check = |expected: i32| {
        let (linked, bare, sub) = (repo.beside("linked"), repo.beside("bare.git"), repo.path("sub"));
        fs::create_dir_all(&sub).unwrap();
        let git = || repo.command("git");
        let seen = dry(git().current_dir(&linked).env("GIT_PREFIX", "x/").arg("-c").arg("a.b=c"));
        assert_eq!(seen.code, expected, "linked: {seen}");
        let seen = repo.see(git().current_dir(&sub).args(["push", "--dry-run", "origin", "main"]));
        assert_eq!(seen.code, expected, "subfolder: {seen}");
        let seen = repo.see(git().current_dir("/").arg("-C").arg(repo.root()).args([
            "push",
            "--dry-run",
            "origin",
            "main",
        ]));
        assert_eq!(seen.code, expected, "-C: {seen}");
        let dir = format!("--git-dir={}", repo.path(".git").display());
        let seen = repo.see(git().current_dir("/").arg(dir).args(["push", "--dry-run", "origin", "main"]));
        assert_eq!(seen.code, expected, "--git-dir: {seen}");
        let seen =
            repo.see(git().arg("-C").arg(&bare).args(["push", "--dry-run"]).arg(&project.remote).arg("main"));
        // It has no ledger of its own, and so nothing is proven in it.
        assert_eq!(seen.code, 1, "bare: {seen}");
        assert!(seen.stderr.contains("never ran on this tree"), "bare: {seen}");
        assert!(seen.stderr.contains("nothing can run in a bare repository; in a worktree of it"), "{seen}");
    };
    repo.git(&["worktree", "add", "--quiet", "--detach", repo.beside("linked").to_str().unwrap()]);
    repo.git(&["config", "push.default", "current"]);
    repo.git(&["-C", repo.beside("linked").to_str().unwrap(), "checkout", "--quiet", "-b", "linked"]);
    repo.git(&[
        "clone",
        "--quiet",
        "--bare",
        repo.root().to_str().unwrap(),
        repo.beside("bare.git").to_str().unwrap(),
    ]);
    project.hook_in(&repo.beside("bare.git/hooks"));
    check(1);
    project.run(&commit);
    check(0);
}

#[test]
fn a_bare_repository_pushes_what_a_worktree_of_it_has_proven() {
    let project = Project::new(json!({"require": ["test"], "inlineSeconds": 0}));
    let repo = &project.repo;
    project.commit("second");
    let (bare, top) = (repo.beside("bare.git"), repo.beside("top"));
    repo.git(&["clone", "--quiet", "--bare", repo.root().to_str().unwrap(), bare.to_str().unwrap()]);
    repo.git(&[
        "-C",
        bare.to_str().unwrap(),
        "remote",
        "set-url",
        "origin",
        project.remote.to_str().unwrap(),
    ]);
    project.hook_in(&bare.join("hooks"));
    // What cannot be done there is said, with what to do.
    for (words, said) in [
        ("start --commit main", "is a bare repository without a work tree"),
        ("push origin main", "a bare repository has no worktree to run in"),
    ] {
        let seen = repo.orchestrate_in(&bare, words);
        assert_eq!(seen.code, 2, "{words}: {seen}");
        assert!(seen.stderr.contains(said) && seen.stderr.contains("`git worktree add` makes one"), "{seen}");
    }
    let push =
        || repo.see(repo.command("git").arg("-C").arg(&bare).args(["push", "--dry-run", "origin", "main"]));
    assert_eq!(push().code, 1);
    repo.git(&["-C", bare.to_str().unwrap(), "worktree", "add", "--quiet", top.to_str().unwrap(), "main"]);
    let seen = repo.orchestrate_in(&top, "start --commit main");
    assert_eq!(seen.code, 0, "{seen}");
    let seen = push();
    assert!(seen.code == 0 && seen.stderr.contains("  proven  main"), "{seen}");
    let seen = repo.orchestrate_in(&bare, "push --dry-run origin main");
    assert_eq!(seen.code, 0, "{seen}");
}

#[test]
fn a_submodule_has_a_gate_of_its_own() {
    let inner = Project::new(json!({"require": ["test"], "inlineSeconds": 0}));
    let outer = Fixture::new("passing");
    let from = inner.remote.to_str().unwrap().to_owned();
    outer.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &from, "inner"]);
    inner.hook_in(&outer.path(".git/modules/inner/hooks"));
    let here = outer.path("inner");
    let git = |words: &str| outer.see(outer.command("git").current_dir(&here).args(words.split(' ')));
    outer.write("inner/note", "in a submodule\n");
    assert_eq!(git("commit --quiet --all --message second").code, 0);
    let seen = git("push --dry-run origin main");
    assert_eq!(seen.code, 1, "{seen}");
    assert_eq!(outer.orchestrate_in(&here, "start").code, 0);
    let seen = git("push --dry-run origin main");
    assert_eq!(seen.code, 0, "{seen}");
}

#[test]
fn what_pre_commit_keeps_for_itself_is_found_in_its_variables() {
    let project = Project::new(json!({"require": ["test"], "inlineSeconds": 0}));
    let first = project.repo.git(&["rev-parse", "HEAD"]);
    let commit = project.commit("second");
    let ask = || {
        let mut command = project.repo.program();
        command
            .args(["hook", "pre-push"])
            .env("PRE_COMMIT_FROM_REF", &first)
            .env("PRE_COMMIT_TO_REF", &commit);
        command.env("PRE_COMMIT_REMOTE_NAME", "origin").env("PRE_COMMIT_REMOTE_BRANCH", "refs/heads/main");
        project.repo.see(command.env("PRE_COMMIT_LOCAL_BRANCH", "refs/heads/main"))
    };
    let seen = ask();
    assert!(seen.code == 1 && seen.stderr.contains("git orchestrate push origin main"), "{seen}");
    project.run("HEAD");
    assert_eq!(ask().code, 0);
}

#[test]
fn by_hand_it_answers_as_json() {
    let project = Project::new(json!({"require": ["test"], "inlineSeconds": 0}));
    let first = project.repo.git(&["rev-parse", "HEAD"]);
    let commit = project.commit("second");
    let line = format!("refs/heads/main {commit} refs/heads/main {first}");
    let seen = project.asked(&line, "--format json");
    assert_eq!(seen.code, 1, "{seen}");
    let document = seen.json();
    assert_eq!(document["ok"], false);
    assert_eq!(document["refs"][0]["standing"], "refused");
    assert_eq!(document["refs"][0]["mend"], "git orchestrate push origin main");
    assert_eq!(document["refs"][0]["stages"][0]["why"], "never ran on this tree");
    let delete = format!("(delete) {ZERO} refs/heads/x {first}");
    assert_eq!(project.asked(&delete, "").code, 0);
    let seen = project.asked("nonsense", "");
    assert_eq!(seen.code, 2, "{seen}");
}
