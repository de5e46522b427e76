//! Eight processes make, use, run, land, remove and bring back the same few streams, and are killed at that. In the end
//! git agrees with what is kept of them, no commit is lost, and the branch that they land on was proven at each step.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use serde_json::Value;

use crate::fixture::{Fixture, json_of};
use crate::stream::folder;

/// A generator of numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Commits something in a stream, as far as it is there at this moment. Returns the commit.
fn work(repo: &Fixture, dir: &Path, name: &str) -> Option<String> {
    let git = |words: &[&str]| {
        let output = repo.command("git").arg("-C").arg(dir).args(words).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    // Each its own file, so that all of them can land.
    fs::write(dir.join(name), name).ok()?;
    git(&["add", "--", name])?;
    // Only that file: of a stream that is just being made the rest is not there yet.
    git(&["commit", "--quiet", "--message", name, "--", name])?;
    git(&["rev-parse", "--verify", "HEAD"])
}

#[test]
fn eight_processes_with_kills_leave_streams_and_git_of_one_mind() {
    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
    let repo = Fixture::new("passing");
    let commits = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for process in 0..8_u64 {
            let (repo, commits) = (&repo, &commits);
            scope.spawn(move || {
                let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (process + 1));
                for turn in 0..20 {
                    let name = NAMES[dice.below(5) as usize];
                    let words: &[&str] = match dice.below(11) {
                        0 | 1 => &["new"],
                        2 => &["rm"],
                        3 => &["rm", "--force"],
                        4 => &["undo"],
                        5 | 10 => {
                            let text = format!("{process}-{turn}");
                            commits.lock().expect("no panic").extend(work(repo, &folder(repo, name), &text));
                            continue;
                        }
                        6 => &["status"],
                        7 => &["run", "diagnostics"],
                        _ => &["land"],
                    };
                    let mut program = repo.program();
                    if dice.below(3) == 0 {
                        program.env("GIT_ORCHESTRATE_CRASH_AT", (1 + dice.below(20)).to_string());
                    }
                    let seen = repo.see(program.arg("stream").args(words).arg(name));
                    // Its folder may go while something runs in it.
                    let may_fail = matches!(words[0], "run" | "land") && matches!(seen.code, 1 | 4);
                    assert!(may_fail || matches!(seen.code, 0 | 2 | 3 | 5 | -9), "{words:?} {name}: {seen}");
                }
            });
        }
    });
    // What was killed is mended by whoever comes next.
    repo.orchestrate("stream prune --yes");
    let listed = repo.git(&["worktree", "list", "--porcelain"]);
    let answer = repo.orchestrate("stream list --format json").json();
    assert_eq!(answer["warnings"], Value::Array(Vec::new()));
    for stream in answer["streams"].as_array().expect("streams") {
        assert_eq!(stream["managed"], true, "git knows of nothing that we do not: {stream}");
        assert_eq!(stream["state"], "ready", "{stream}");
        assert!(listed.contains(stream["path"].as_str().expect("a path")), "{stream}: {listed}");
        assert!(stream["problem"].is_null(), "{stream}");
    }
    let worktrees = listed.lines().filter(|line| line.starts_with("worktree ")).count();
    assert_eq!(worktrees, answer["streams"].as_array().map_or(0, Vec::len) + 1, "{listed}");
    // All that is left can land, whatever became of those who tried before.
    for stream in answer["streams"].as_array().expect("streams") {
        let name = stream["name"].as_str().expect("a name");
        let seen = repo.orchestrate(&format!("stream land --committed {name}"));
        assert_eq!(seen.code, 0, "{name}: {seen}");
    }
    // The files of the branch that they land on came along with it, and nothing got there unproven.
    assert_eq!(repo.git(&["status", "--porcelain"]), "");
    let was_at = repo.git(&["reflog", "--format=%H", "main"]);
    for merge in was_at.lines().rev().skip(1) {
        let seen = repo.orchestrate(&format!("explain test --rev {merge}"));
        assert_eq!(seen.code, 0, "{merge}: {seen}");
    }
    assert_eq!(repo.git(&["worktree", "prune", "--dry-run", "--verbose"]), "");
    repo.git(&["fsck", "--connectivity-only"]);
    // Every commit is on a branch, or on one that the trash still knows.
    let mut tips: Vec<_> =
        repo.git(&["for-each-ref", "--format=%(objectname)"]).lines().map(str::to_owned).collect();
    for bin in fs::read_dir(repo.path(".git/orchestrate/streams/trash")).into_iter().flatten() {
        let removed = json_of(&bin.expect("an entry").path().join("entry.json"));
        tips.extend(removed["branch_at"].as_str().map(str::to_owned));
    }
    for commit in commits.into_inner().expect("no panic") {
        let reached = tips.iter().any(|tip| {
            let git = repo.command("git").args(["merge-base", "--is-ancestor", &commit, tip]).status();
            git.expect("git").success()
        });
        assert!(reached, "{commit} is lost");
    }
}
