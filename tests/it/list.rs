//! `list`: the runs of all worktrees, newest first.

use serde_json::json;

use crate::fixture::{Fixture, Seen, keys};
use crate::witness::{Gate, ended, kill, spawn, wait_for};

fn ids(seen: &Seen) -> Vec<String> {
    let runs = seen.json()["runs"].as_array().expect("runs").clone();
    runs.iter().map(|run| run["run_id"].as_str().expect("an id").to_owned()).collect()
}

fn start(repo: &Fixture, words: &str) -> String {
    repo.orchestrate(&format!("start --format json {words}")).json()["run_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_repository_without_runs_has_an_empty_list() {
    let repo = Fixture::new("passing");

    assert_seen!(repo.orchestrate("list"), @"
    No runs.
    [exit: 0]
    ");
    assert_eq!(repo.orchestrate("list --format json").json(), json!({"runs": []}));
}

#[test]
fn runs_are_listed_newest_first_and_filtered() {
    let repo = Fixture::with_commands(&["test -e good"]);
    let before = repo.git(&["rev-parse", "HEAD"]);
    let failed = start(&repo, "--task one");
    repo.write("good", "");
    repo.git(&["add", "good"]);
    repo.git(&["commit", "--quiet", "--message", "good"]);
    let good = start(&repo, "--task two");
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", "--detach", linked.to_str().unwrap(), &before]);
    let elsewhere = repo.orchestrate_in(&linked, "start --format json --task two").json();
    let elsewhere = elsewhere["run_id"].as_str().unwrap().to_owned();

    let cases: [(&str, Vec<&str>); 13] = [
        ("", vec![&elsewhere, &good, &failed]),
        ("--limit 1", vec![&elsewhere]),
        ("-n 0", vec![&elsewhere, &good, &failed]),
        ("--task one", vec![&failed]),
        ("--task none", vec![]),
        ("--status failed", vec![&elsewhere, &failed]),
        ("--status succeeded --status cancelled", vec![&good]),
        ("--status in_progress", vec![]),
        ("--commit HEAD", vec![&good]),
        ("--commit HEAD~1", vec![&elsewhere, &failed]),
        ("--worktree linked", vec![&elsewhere]),
        ("--worktree .", vec![&good, &failed]),
        ("--status failed --worktree linked --task two", vec![&elsewhere]),
    ];
    for (words, expected) in cases {
        let seen = repo.orchestrate(&format!("list --format json {words}"));
        assert_eq!(ids(&seen), expected, "{words}");
    }
    assert_eq!(ids(&repo.orchestrate_in(&linked, "list --format json")), [elsewhere, good, failed]);
}

#[test]
fn a_list_is_a_table() {
    let repo = Fixture::new("failing-lint");
    repo.orchestrate("start");
    repo.write("new", "");
    repo.orchestrate("start --task other --target build");

    assert_seen!(repo.orchestrate("list"), @"
    RUN                                TASK   PIPELINE     STATUS              COMMIT       WORKTREE  STARTED
    [RUN]  other  diagnostics  succeeded, partial  52a21f7c2e+  a repo    [SPAN] ago
    [RUN]  0101   diagnostics  failed              52a21f7c2e   a repo    [SPAN] ago
    [exit: 0]
    ");
}

#[test]
fn a_run_that_died_is_listed_with_how_it_goes_on() {
    // Only the first time it waits, and nobody lets it go on.
    let waits = "test -e \"$HOME/up\" && exit; echo $PPID > \"$HOME/up\"; read _ < \"$HOME/gate\"";
    let repo = Fixture::with_commands(&["true", waits]);
    let _gate = Gate::new(&repo, "gate");
    let running = spawn(repo.program().args(["start", "--task", "0042"]));
    let owner = wait_for(&repo.beside("up"));
    assert!(!repo.orchestrate("list").stdout.contains("dead"));
    kill("-KILL", owner.parse().expect("a pid"));
    assert_eq!(ended(running).code, -9);

    assert_seen!(repo.orchestrate("list"), @"
    RUN                                TASK  PIPELINE     STATUS  COMMIT      WORKTREE  STARTED
    [RUN]  0042  diagnostics  dead    da34697e4d  a repo    [SPAN] ago
    dead; go on with: git orchestrate resume [RUN]
    [exit: 0]
    ");

    let listed = repo.orchestrate("list --format json").json()["runs"][0].clone();
    assert_eq!((&listed["dead"], &listed["status"]), (&json!(true), &json!("in_progress")));
    // What it says to type is what helps.
    let next = listed["next"].as_str().expect("a command");
    let words = next.strip_prefix("git orchestrate ").expect("ours");
    let seen = repo.orchestrate(words);
    assert_eq!(seen.code, 0, "{seen}");
    assert!(!repo.orchestrate("list").stdout.contains("dead"));
}

#[test]
fn an_item_tells_what_a_script_needs() {
    let repo = Fixture::new("passing");
    repo.orchestrate("start --parent-run=outer");

    let run = repo.orchestrate("list --format json").json()["runs"][0].clone();

    let manifest = repo.only_manifest("0101");
    for key in ["run_id", "task_id", "pipeline_id", "parent_run_id", "status", "started_at", "completed_at"] {
        assert_eq!(run[key], manifest[key], "{key}");
    }
    for key in ["commit", "tree", "branch", "dirty"] {
        assert_eq!(run[key], manifest["git"][key], "{key}");
    }
    assert!(keys(&run).contains(&"root"));
    assert_eq!(repo.json(run["manifest"].as_str().unwrap()), manifest);
}

#[test]
fn a_damaged_run_is_listed_as_such() {
    let repo = Fixture::new("passing");
    let good = start(&repo, "");
    repo.write(".runs/0101/cli/2099-01-01T00-00-00-000Z-00000000/manifest.json", "{");

    let runs = repo.orchestrate("list --format json").json()["runs"].clone();

    assert_eq!(keys(&runs[0]), ["run_id", "task_id", "root", "error"]);
    assert_eq!(runs[1]["run_id"], good);
    assert_eq!(
        repo.orchestrate("list --status succeeded --format json").json()["runs"].as_array().unwrap().len(),
        1
    );
    let text = repo.orchestrate("list");
    assert!(text.stdout.lines().nth(1).unwrap().contains("unreadable"), "{text}");
    // What a crash left before a run had begun is no run.
    std::fs::create_dir_all(repo.path(".runs/0101/cli/2099-01-02T00-00-00-000Z-00000000")).unwrap();
    assert_eq!(repo.orchestrate("list --format json").json()["runs"].as_array().unwrap().len(), 2);
}

#[test]
fn wrong_filters_are_errors() {
    let repo = Fixture::new("passing");

    assert_seen!(repo.orchestrate("list --commit nothing"), @"
    error: `nothing` names no commit
    hint: name one, such as `HEAD` or a branch; `git log` shows them
    [exit: 2]
    ");
    assert_seen!(repo.orchestrate("list --worktree nowhere"), @"
    error: `nowhere` is no worktree of this repository
    hint: `git worktree list` shows them
    [exit: 2]
    ");
    for words in ["list --status done", "list --limit -1", "list --task a/b", "list extra"] {
        let seen = repo.orchestrate(words);
        assert_eq!((seen.code, seen.stdout.as_str()), (2, ""), "{words}: {seen}");
    }
}

#[test]
fn worktrees_that_share_a_folder_of_runs_keep_them_apart() {
    let repo = Fixture::with_commands(&["true", "test -e \"$FLAG\""]);
    let (linked, shared, flag) = (repo.beside("linked"), repo.beside("runs"), repo.beside("flag"));
    repo.git(&["worktree", "add", "--quiet", linked.to_str().unwrap()]);
    let orchestrate = |dir: &std::path::Path, words: &str| {
        let mut program = repo.program();
        program.env("CODEX_ORCHESTRATOR_RUNS_DIR", &shared).env("FLAG", &flag).current_dir(dir);
        repo.see(program.args(words.split_whitespace()))
    };
    let here = orchestrate(repo.root(), "start --format json").json()["run_id"].as_str().unwrap().to_owned();
    std::fs::write(&flag, "").unwrap();

    // A stage must not run in one worktree on the evidence of another.
    let seen = orchestrate(&linked, &format!("resume {here}"));
    assert_eq!(seen.code, 2, "{seen}");
    assert!(seen.stderr.contains("belongs to the worktree"), "{seen}");
    assert_eq!(ids(&orchestrate(&linked, "list --format json --worktree linked")), [""; 0]);
    let there = orchestrate(&linked, "start --format json").json()["run_id"].as_str().unwrap().to_owned();
    assert_eq!(ids(&orchestrate(&linked, "list --format json --worktree linked")), [there.as_str()]);
    assert_eq!(ids(&orchestrate(&linked, "list --format json")), [there.clone(), here.clone()]);
    let roots = orchestrate(&linked, "list --format json").json()["runs"].clone();
    assert_eq!(
        [&roots[0]["root"], &roots[1]["root"]],
        [linked.to_str().unwrap(), repo.root().to_str().unwrap()]
    );
    for (dir, run) in [(repo.root(), &here), (&linked, &there)] {
        assert_eq!(orchestrate(dir, "status latest --format json").json()["run_id"], *run);
    }
    let seen = orchestrate(repo.root(), "resume latest");
    assert_eq!(seen.code, 0, "{seen}");
}
