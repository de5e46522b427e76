//! `start --commit` and `start --each`: runs on other trees than that of the user.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::fixture::{Fixture, manifest};
use crate::witness::{Gate, ended, spawn, wait_for};

fn config(command: &str) -> Value {
    json!({"pipelines": [{"id": "diagnostics", "title": "D", "guardrailsRequired": false, "stages": [
        {"kind": "command", "id": "test", "title": "test", "command": command},
    ]}]})
}

/// A repository whose stage says which commit it sees, with so many commits after the first; the file
/// `n` holds their number. `*.o` is ignored.
fn with_commits(command: &str, commits: usize) -> Fixture {
    let repo = Fixture::with_config(&config(command));
    repo.write(".gitignore", "*.o\n");
    repo.write("n", "0\n");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "c0"]);
    for n in 1..=commits {
        commit(&repo, n);
    }
    repo
}

fn commit(repo: &Fixture, n: usize) {
    repo.write("n", &format!("{n}\n"));
    repo.git(&["commit", "--quiet", "--all", "--message", &format!("c{n}")]);
}

/// Everything of the user's that a run on another tree must leave as it is.
pub fn of_user(repo: &Fixture) -> Vec<String> {
    let index = fs::read(repo.path(".git/index")).expect("an index");
    let mut all = vec![format!("{index:?}"), repo.read(".git/HEAD")];
    for args in [
        &["status", "--porcelain", "--ignored"][..],
        &["for-each-ref"],
        &["stash", "list"],
        &["worktree", "list"],
        &["worktree", "prune", "--dry-run", "--verbose"],
        &["config", "--list", "--local"],
    ] {
        let ours = |line: &&str| !line.contains(".runs/") && !line.contains("out/");
        all.extend(repo.git(args).lines().filter(ours).map(str::to_owned));
    }
    all.extend(
        repo.tree("").into_iter().filter(|name| !name.starts_with(".runs") && !name.starts_with("out/")),
    );
    all.push(repo.read("n"));
    all
}

/// Makes every part of the user's worktree differ from its commit.
pub fn mess(repo: &Fixture) {
    repo.write("n", "staged\n");
    repo.git(&["add", "n"]);
    repo.git(&["stash", "push", "--quiet"]);
    repo.write("staged", "staged\n");
    repo.git(&["add", "staged"]);
    repo.write("n", "not staged\n");
    repo.write("untracked", "untracked\n");
    repo.write("ignored.o", "ignored\n");
}

pub fn slot(repo: &Fixture, number: usize) -> std::path::PathBuf {
    repo.path(&format!(".git/orchestrate/slots/{number}/tree"))
}

#[test]
fn a_commit_runs_on_a_side_worktree_and_what_is_the_user_s_stays() {
    let repo = with_commits("cat n; git rev-parse HEAD; git status --porcelain --ignored; ls", 3);
    mess(&repo);
    let before = of_user(&repo);

    let seen = repo.orchestrate("start --commit HEAD~2 --format json");

    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(of_user(&repo), before);
    let commit = repo.git(&["rev-parse", "HEAD~2"]);
    let logs = repo.orchestrate("logs latest test").stdout;
    assert_eq!(logs, format!("1\n{commit}\ncodex.orchestrator.json\nn\n"));
    let manifest = repo.only_manifest("0101");
    let git = &manifest["git"];
    assert_eq!(git["commit"], commit);
    assert_eq!(git["tree"], repo.git(&["rev-parse", "HEAD~2^{tree}"]));
    assert_eq!((&git["dirty"], &git["moved"], &git["branch"]), (&json!(false), &json!(false), &Value::Null));
    assert_eq!(
        git["worktree"],
        json!({"path": ".git/orchestrate/slots/1/tree", "name": null, "linked": true, "slot": 1})
    );
    let listed = repo.orchestrate("list --format json").json();
    assert_eq!(listed["runs"][0]["slot"], 1);
    assert_eq!(listed["runs"][0]["root"], repo.root().display().to_string());
    let status = repo.orchestrate("status").stdout;
    assert!(status.contains("(detached), clean, in side worktree 1"), "{status}");
}

#[test]
fn every_commit_of_a_range_runs_clean_and_in_order() {
    let leave =
        "cat n; ls -a; mkdir -p d/e; touch d/e/f.o junk.o; chmod 500 d/e; echo x > .git-state; rm .git-state";
    let repo = with_commits(leave, 4);
    mess(&repo);
    let before = of_user(&repo);

    let seen = repo.orchestrate("start --each HEAD~3..HEAD --task t");

    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(of_user(&repo), before);
    let runs = repo.runs("t");
    let commits = repo.git(&["rev-list", "--reverse", "HEAD~3..HEAD"]);
    for (at, (run, commit)) in runs.iter().zip(commits.lines()).enumerate() {
        let manifest = manifest(run);
        assert_eq!(manifest["git"]["commit"], commit);
        assert_eq!(manifest["git"]["moved"], false, "ignored files move nothing");
        let series = json!({"kind": "each", "range": "HEAD~3..HEAD", "number": at + 1, "commits": 3});
        assert_eq!(manifest["series"], series);
        let id = manifest["run_id"].as_str().expect("an id");
        let logs = repo.orchestrate(&format!("logs {id} test")).stdout;
        let clean = "\n.\n..\n.git\n.gitignore\ncodex.orchestrator.json\nn\n";
        assert_eq!(logs, format!("{}{clean}", at + 2));
    }
    assert_eq!(runs.len(), 3);
    let listed = repo.orchestrate("list").stdout;
    assert!(listed.contains("a repo, slot 1, 3 of 3 in HEAD~3..HEAD"), "{listed}");
}

#[test]
fn a_stage_that_changes_its_tree_voids_its_own_run_only() {
    let spoil = "test \"$(git status --porcelain)\" = '' && cat n && if [ $(cat n) = 1 ]; then \
                 echo spoilt > codex.orchestrator.json; echo new > new; rm n; git add --all; \
                 git update-index --assume-unchanged codex.orchestrator.json; touch \"$(git rev-parse --git-dir)/index.lock\"; fi";
    let repo = with_commits(spoil, 3);

    let seen = repo.orchestrate("start --each HEAD~3..HEAD --format json");

    let commits = &seen.json()["commits"];
    assert_eq!(seen.code, 0, "{seen}");
    let void: Vec<_> = (0..3).map(|at| &commits[at]["void"]).collect();
    assert_eq!(void, [true, false, false]);
}

#[test]
fn the_first_commit_that_fails_ends_it() {
    let repo = with_commits("test $(cat n) -ne 2", 4);

    let seen = repo.orchestrate("start --each HEAD~4..HEAD");

    assert_seen!(seen, @"
    D · [RUN] · 508508be1680 (detached), clean, in side worktree 1
          ok  test  [SPAN]
    D · [RUN] · aa9a14c9ca2c (detached), clean, in side worktree 1
      FAILED  test  [SPAN]  Exited with code 1
              git orchestrate logs [RUN] test
    succeeded  508508be1680  [RUN]  c1
       failed  aa9a14c9ca2c  [RUN]  c2
               stage:test:failed
      not run  e793581bc99b  -                                  c3
      not run  013984ffa253  -                                  c4
    4 commits in HEAD~4..HEAD: 1 succeeded, 1 failed, 2 not run
    [exit: 1]
    ");
}

#[test]
fn each_commit_is_run_as_its_own_configuration_says() {
    let repo = with_commits("echo first", 0);
    repo.write("codex.orchestrator.json", &config("echo second").to_string());
    repo.git(&["commit", "--quiet", "--all", "--message", "another"]);
    repo.write("codex.orchestrator.json", "{\"pipelines\": 7}");
    repo.git(&["commit", "--quiet", "--all", "--message", "broken"]);
    repo.git(&["rm", "--quiet", "codex.orchestrator.json"]);
    repo.git(&["commit", "--quiet", "--message", "none"]);

    let seen = repo.orchestrate("start --each HEAD~3..HEAD --format json");

    let answer = seen.json();
    assert_eq!((seen.code, &answer["status"]), (1, &json!("failed")));
    let commit = |at: usize| &answer["commits"][at];
    assert_eq!(commit(0)["status"], "succeeded");
    assert_eq!(repo.orchestrate("logs latest test").stdout, "second\n");
    assert_eq!((&commit(1)["status"], &commit(1)["run_id"]), (&json!("failed"), &Value::Null));
    assert!(commit(1)["reason"].as_str().expect("a reason").contains("pipelines"), "{answer}");
    assert_eq!(commit(2)["status"], "not_run");
    let seen = repo.orchestrate("start --commit HEAD~1");
    assert_eq!(seen.code, 2, "{seen}");
    assert!(seen.stderr.contains("codex.orchestrator.json:1:"), "{seen}");
}

#[test]
fn merges_and_roots_are_commits_like_others() {
    let repo = with_commits("cat n other || true", 1);
    repo.git(&["checkout", "--quiet", "--orphan", "island"]);
    repo.git(&["mv", "n", "other"]);
    repo.git(&["commit", "--quiet", "--all", "--message", "a root"]);
    repo.git(&["checkout", "--quiet", "main"]);
    repo.git(&["merge", "--quiet", "--allow-unrelated-histories", "--message", "a merge", "island"]);

    let seen = repo.orchestrate("start --each HEAD~1..HEAD --format json");

    assert_eq!(seen.code, 0, "{seen}");
    let answer = seen.json();
    let commits = answer["commits"].as_array().expect("commits").iter();
    let commits: Vec<_> = commits.map(|commit| commit["commit"].as_str().expect("an id")).collect();
    assert_eq!(commits.join("\n"), repo.git(&["rev-list", "--reverse", "HEAD~1..HEAD"]));
    assert_eq!(commits.len(), 2);
    let seen = repo.orchestrate("start --each HEAD --format json");
    assert_eq!(seen.json()["total"], 6, "one revision alone stands for all of its history: {seen}");
}

#[test]
fn a_range_that_holds_nothing_is_told_from_one_that_makes_no_sense() {
    let repo = with_commits("true", 2);

    for (range, code, said) in [
        ("HEAD..HEAD", 0, "No commit in HEAD..HEAD: nothing was run.\n[exit: 0]"),
        ("HEAD..HEAD~2", 2, "hint: the older end comes first: `HEAD~2..HEAD`\n[exit: 2]"),
        ("HEAD~1...HEAD", 2, "is two ranges and not one\nhint: `HEAD~1..HEAD`"),
        ("nowhere..HEAD", 2, "error: `nowhere` names no commit\nhint: name one, such as `HEAD`"),
        ("HEAD..nowhere", 2, "error: `nowhere` names no commit\nhint: name one, such as `HEAD`"),
        ("--all", 2, ""),
    ] {
        let seen = repo.see(repo.program().args(["start".to_owned(), format!("--each={range}")].iter()));
        assert_eq!(seen.code, code, "{range}: {seen}");
        assert!(seen.to_string().contains(said), "{range}: {seen}");
    }
    let seen = repo.orchestrate("start --commit nowhere");
    assert_eq!(seen.code, 2, "{seen}");
    assert!(seen.stderr.starts_with("error: `nowhere` names no commit\nhint: "), "{seen}");
    assert!(!repo.path(".runs").exists());
}

#[test]
fn no_hook_of_the_repository_runs() {
    let repo = with_commits("true", 2);
    for hook in ["post-checkout", "post-index-change", "reference-transaction"] {
        let path = repo.path(&format!(".git/hooks/{hook}"));
        fs::create_dir_all(path.parent().expect("hooks")).expect("a folder");
        fs::write(&path, "#!/bin/sh\ntouch \"$HOME/hook\"\n").expect("a hook");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    assert_eq!(repo.orchestrate("start --each HEAD~2..HEAD").code, 0);

    assert!(!repo.beside("hook").exists());
}

#[test]
fn the_environment_of_a_hook_leads_nowhere_else() {
    let repo =
        with_commits("test -z \"$GIT_DIR$GIT_INDEX_FILE\" && pwd && echo $CODEX_ORCHESTRATOR_REPO_ROOT", 1);
    let index = fs::read(repo.path(".git/index")).expect("an index");

    let seen = repo.see(
        repo.program()
            .args(["start", "--commit", "HEAD~1"])
            .env("GIT_DIR", repo.path(".git"))
            .env("GIT_INDEX_FILE", repo.path(".git/index")),
    );

    assert_eq!(seen.code, 0, "{seen}");
    let top = slot(&repo, 1).display().to_string();
    assert_eq!(repo.orchestrate("logs latest test").stdout, format!("{top}\n{top}\n"));
    assert_eq!(fs::read(repo.path(".git/index")).expect("an index"), index);
}

#[test]
fn two_at_once_use_two_side_worktrees() {
    let repo = with_commits("cat n > \"$HOME/n$(cat n)\"; read _ < \"$HOME/gate\"", 2);
    let mut gate = Gate::new(&repo, "gate");

    let one = spawn(repo.program().args(["start", "--commit", "HEAD~1"]));
    wait_for(&repo.beside("n1"));
    let two = spawn(repo.program().args(["start", "--commit", "HEAD"]));
    wait_for(&repo.beside("n2"));
    gate.open();
    gate.open();

    assert_eq!((ended(one).code, ended(two).code), (0, 0));
    let slots = repo.runs("0101");
    let slots: Vec<_> = slots.iter().map(|run| manifest(run)["git"]["worktree"]["slot"].clone()).collect();
    assert_eq!(slots, [1, 2]);
}

#[test]
fn an_interrupt_ends_the_commit_and_leaves_the_rest() {
    let repo = with_commits("cat n > \"$HOME/n$(cat n)\"; test $(cat n) != 2 || read _ < \"$HOME/gate\"", 3);
    let _gate = Gate::new(&repo, "gate");

    let each = spawn(repo.program().args(["start", "--each", "HEAD~3..HEAD", "--format", "json"]));
    wait_for(&repo.beside("n2"));
    let pid = rustix::process::Pid::from_child(&each);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it lives");
    let seen = ended(each);

    let answer = seen.json();
    assert_eq!((seen.code, &answer["status"]), (130, &json!("cancelled")), "{seen}");
    let commits = answer["commits"].as_array().expect("commits").iter();
    let statuses: Vec<_> = commits.map(|commit| commit["status"].as_str().expect("a status")).collect();
    assert_eq!(statuses, ["succeeded", "cancelled", "not_run"]);
}

#[test]
fn an_interrupt_while_a_commit_is_checked_out_leaves_nothing() {
    let repo = with_commits("true", 2);
    repo.write(".gitattributes", "n filter=slow\n");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "slow"]);
    repo.git(&["config", "filter.slow.smudge", "echo on > \"$HOME/on\"; read _ < \"$HOME/gate\"; cat"]);
    let before = of_user(&repo);
    let mut gate = Gate::new(&repo, "gate");

    // Ctrl-C reaches git too. A signal from somewhere else reaches us alone, and the checkout is finished.
    for (words, to_all) in [("--commit HEAD", true), ("--each HEAD~1..HEAD", true), ("--commit HEAD", false)]
    {
        let mut program = repo.program();
        program.arg("start").args(words.split(' ')).process_group(0);
        let start = spawn(&mut program);
        wait_for(&repo.beside("on"));
        fs::remove_file(repo.beside("on")).expect("a file");
        let pid = rustix::process::Pid::from_child(&start);
        if to_all {
            rustix::process::kill_process_group(pid, rustix::process::Signal::INT).expect("it lives");
        } else {
            rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it lives");
            gate.open();
        }
        let seen = ended(start);

        assert_eq!(seen.code, 130, "{words}: {seen}");
        assert_eq!(repo.runs("0101").len(), 0, "{words}: {seen}");
        assert!(!repo.beside("on").exists(), "nobody tries again: {seen}");
        assert_eq!(of_user(&repo), before);
    }
    repo.git(&["config", "--unset", "filter.slow.smudge"]);
    assert_eq!(repo.orchestrate("start --commit HEAD").code, 0);
}

#[test]
fn a_detached_run_is_not_on_another_tree() {
    let repo = with_commits("true", 1);

    for (words, flag) in [("--commit HEAD", "--commit"), ("--each HEAD~1..HEAD", "--each")] {
        let seen = repo.orchestrate(&format!("start --detach {words}"));
        assert_eq!(seen.code, 2, "{seen}");
        let said = format!(
            "error: `--detach` does not go with `{flag}`\n\
             hint: leave `--detach` out: a side worktree is in use as long as this command runs\n"
        );
        assert_eq!(seen.stderr, said);
    }
    assert!(!repo.path(".runs").exists() && !repo.path(".git/orchestrate/slots").exists());
}

#[test]
fn a_killed_run_goes_on_where_it_was() {
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "diagnostics", "guardrailsRequired": false, "stages": [
            {"kind": "command", "id": "build", "command": "echo built > product.o"},
            {"kind": "command", "id": "test", "command": "echo on > \"$HOME/on\"; read _ < \"$HOME/gate\"; cat product.o"},
        ]},
    ]}));
    repo.write(".gitignore", "*.o\n");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "ignores"]);
    repo.git(&["commit", "--quiet", "--allow-empty", "--message", "next"]);
    mess_without_stash(&repo);
    let before = of_user(&repo);
    let mut gate = Gate::new(&repo, "gate");
    let mut killed = spawn(repo.program().args(["start", "--commit", "HEAD~1"]));
    wait_for(&repo.beside("on"));
    killed.kill().expect("it lives");
    killed.wait().expect("it is ours");
    fs::remove_file(repo.beside("on")).expect("a file");
    assert_eq!(of_user(&repo), before);

    let resumed = spawn(repo.program().args(["resume", "latest"]));
    wait_for(&repo.beside("on"));
    gate.open();
    let seen = ended(resumed);

    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(of_user(&repo), before);
    let manifest = repo.only_manifest("0101");
    assert_eq!((&manifest["status"], &manifest["git"]["moved"]), (&json!("succeeded"), &json!(false)));
    assert_eq!(manifest["attempts"].as_array().map(Vec::len), Some(2));
}

fn mess_without_stash(repo: &Fixture) {
    repo.write("n", "not committed\n");
    repo.git(&["add", "n"]);
    repo.write("untracked", "untracked\n");
}

#[test]
fn what_a_killed_run_leaves_is_cleaned_by_the_next() {
    let command = "touch half.o half; test $(cat n) != 1 || { echo on > \"$HOME/on\"; \
                   exec sleep 600; }; git status --porcelain --ignored";
    let repo = with_commits(command, 2);
    let mut killed = spawn(repo.program().args(["start", "--commit", "HEAD~1"]));
    wait_for(&repo.beside("on"));
    killed.kill().expect("it lives");
    killed.wait().expect("it is ours");
    fs::write(slot(&repo, 1).join("../git/index.lock"), "").expect("a lock");
    fs::remove_file(slot(&repo, 1).join("n")).expect("a file");
    let run = repo.runs("0101")[0].file_name().and_then(|id| id.to_str()).expect("text").to_owned();

    let seen = repo.orchestrate("start --commit HEAD --task other");

    assert_eq!(seen.code, 0, "{seen}");
    assert!(seen.stderr.contains("ending 1 processes that run"), "{seen}");
    assert_eq!(repo.orchestrate("logs --task other").stdout.lines().last(), Some("!! half.o"));
    assert!(repo.orchestrate("list").stdout.contains("dead"));
    // The side worktree has moved on, so the run gets its commit back.
    fs::remove_file(repo.beside("on")).expect("a file");
    let resumed = spawn(repo.program().args(["resume", &run]));
    wait_for(&repo.beside("on"));
    assert_eq!(fs::read_to_string(slot(&repo, 1).join("n")).expect("a file"), "1\n");
    let pid = rustix::process::Pid::from_child(&resumed);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it lives");
    assert_eq!(ended(resumed).code, 143);
}

#[test]
fn every_kind_of_repository_has_side_worktrees() {
    let versions = repo_kinds();
    for (kind, init) in versions {
        let repo = with_commits("cat n; git rev-parse HEAD", 2);
        let other = repo.beside("other");
        for line in init {
            let line = line.replace("SOURCE", &format!("file://{}", repo.root().display()));
            let line = line.replace("OTHER", &other.display().to_string());
            let done = repo.command("/bin/sh").args(["-c", &line]).output().expect("a shell");
            assert!(done.status.success(), "{kind}: {line}: {}", String::from_utf8_lossy(&done.stderr));
        }

        let seen = repo.orchestrate_in(&other, "start --each HEAD~1..HEAD");

        assert_eq!(seen.code, 0, "{kind}: {seen}");
        let git = |args: &[&str]| {
            let output = repo.command("git").current_dir(&other).args(args).output().expect("git");
            String::from_utf8(output.stdout).expect("UTF-8")
        };
        let head = git(&["rev-parse", "HEAD"]);
        let logs = repo.orchestrate_in(&other, "logs latest test").stdout;
        assert_eq!(logs, format!("2\n{head}"), "{kind}");
        assert!(git(&["status", "--porcelain"]).is_empty(), "{kind}");
        assert!(!git(&["worktree", "list"]).contains("slots"), "{kind}");
        assert_eq!(repo.orchestrate_in(&other, "start --commit HEAD~1").code, 0, "{kind}: again");
    }
}

fn repo_kinds() -> Vec<(&'static str, Vec<&'static str>)> {
    let fill = "cd 'OTHER' && git pull --quiet 'SOURCE' main 2>/dev/null || { cp \"$OLDPWD\"/codex.orchestrator.json . && \
                for n in 0 1 2; do echo $n > n; git add --all; git commit --quiet --message c$n; done; }";
    vec![
        ("a linked worktree", vec!["git worktree add --quiet --detach 'OTHER'"]),
        (
            "a bare repository",
            vec![
                "git clone --quiet --bare 'SOURCE' 'OTHER.git' && git -C 'OTHER.git' worktree add --quiet 'OTHER'",
            ],
        ),
        ("a shallow clone", vec!["git clone --quiet --depth 2 'SOURCE' 'OTHER'"]),
        ("SHA-256", vec!["git init --quiet --object-format=sha256 'OTHER'", fill]),
        ("reftable", vec!["git init --quiet --ref-format=reftable 'OTHER'", fill]),
        ("a separate git directory", vec!["git init --quiet --separate-git-dir='OTHER.git' 'OTHER'", fill]),
        (
            "a sparse checkout",
            vec![
                "git clone --quiet 'SOURCE' 'OTHER'",
                "cd 'OTHER' && git sparse-checkout set --no-cone codex.orchestrator.json /n",
            ],
        ),
    ]
}

#[test]
fn a_moved_repository_keeps_its_side_worktrees() {
    let repo = with_commits("cat n", 1);
    assert_eq!(repo.orchestrate("start --commit HEAD~1").code, 0);
    let moved = repo.beside("moved");
    fs::rename(repo.root(), &moved).expect("a rename");

    let seen = repo.orchestrate_in(&moved, "start --commit HEAD");

    fs::rename(&moved, repo.root()).expect("a rename");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(repo.orchestrate("logs latest test").stdout, "1\n");
}

#[test]
fn a_submodule_holds_what_its_commit_says_and_what_a_stage_puts_there_goes() {
    let repo = with_commits(
        "ls -a sub | wc -l; git -C sub config --get some.left; git -C sub config some.left 1",
        0,
    );
    repo.git(&["init", "--quiet", "../home/sub"]);
    let sub = repo.beside("sub");
    let git = |args: &[&str]| {
        assert!(
            repo.command("git").current_dir(&sub).args(args).status().expect("git").success(),
            "{args:?}"
        );
    };
    fs::write(sub.join("inside"), "inside\n").expect("a file");
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "--message", "inside"]);
    let sub = sub.display().to_string();
    repo.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &sub, "sub"]);
    repo.git(&["commit", "--quiet", "--message", "with a submodule"]);
    commit(&repo, 1);
    commit(&repo, 2);

    let seen = repo.orchestrate("start --each HEAD~2..HEAD --format json");

    assert_eq!(seen.code, 0, "{seen}");
    for commit in seen.json()["commits"].as_array().expect("commits") {
        let run = commit["run_id"].as_str().expect("an id");
        assert_eq!(repo.orchestrate(&format!("logs {run} test")).stdout.trim(), "4");
        assert_eq!(commit["void"], false);
    }
}

#[test]
fn a_subfolder_as_root_hides_its_runs_from_git() {
    let repo = with_commits("true", 0);
    repo.write("part/codex.orchestrator.json", &config("true").to_string());
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "a part"]);
    let start = |root: &str, folder: &Path| {
        let mut program = repo.program();
        program.current_dir(folder).env("CODEX_ORCHESTRATOR_ROOT", root).args(["start", "--format", "json"]);
        let seen = repo.see(&mut program);
        assert_eq!(seen.code, 0, "{seen}");
        assert_eq!(seen.json()["void"], false, "{root}: {seen}");
        assert_eq!(repo.git(&["status", "--porcelain"]), "", "{root}");
    };
    std::os::unix::fs::symlink(repo.path("part"), repo.beside("link")).expect("a link");
    let link = repo.beside("link").display().to_string();
    for (root, folder) in [("part", "."), ("part", "."), (".", "part"), (&link, ".")] {
        start(root, &repo.path(folder));
    }
    fs::remove_file(repo.path(".git/info/exclude")).expect("it was there");
    let mut program = repo.program();
    let seen = repo.see(program.env("CODEX_ORCHESTRATOR_ROOT", "part").args(["start", "--commit", "HEAD"]));
    assert_eq!((seen.code, repo.git(&["status", "--porcelain"])), (0, String::new()), "{seen}");
    assert!(repo.path("part/.runs/0101").exists());
    let excluded = repo.read(".git/info/exclude");
    let ours: Vec<_> = excluded.lines().filter(|line| line.contains(".runs")).collect();
    assert_eq!(ours, ["/part/.runs/"]);
}

#[test]
fn a_subfolder_as_root_is_the_same_subfolder_there() {
    let repo = with_commits("true", 0);
    repo.write(
        "part/codex.orchestrator.json",
        &config("cat ../n; echo $CODEX_ORCHESTRATOR_ROOT").to_string(),
    );
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "a part"]);
    repo.write("n", "changed\n");

    let program = || {
        let mut program = repo.program();
        program.env("CODEX_ORCHESTRATOR_ROOT", repo.path("part"));
        program
    };
    let seen = repo.see(program().args(["start", "--commit", "HEAD"]));

    assert_eq!(seen.code, 0, "{seen}");
    let logs = repo.see(program().args(["logs", "latest", "test"])).stdout;
    assert_eq!(logs, format!("0\n{}\n", slot(&repo, 1).join("part").display()));
    assert!(Path::new(&repo.path("part/.runs/0101")).exists());
}
