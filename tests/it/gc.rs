//! `gc`: old runs go, and nothing that anybody may need.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::fixture::{Fixture, json_of};
use crate::witness::{Gate, ended, history, metrics, spawn, wait_until};

/// Makes a run that ended long ago of a real one: the id, the times and all paths are others. Returns its folder.
fn aged(repo: &Fixture, task: &str, id: &str) -> PathBuf {
    let template = repo.beside("template");
    if !template.exists() {
        assert_eq!(repo.orchestrate("start --task template").code, 0);
        fs::create_dir(&template).unwrap();
        fs::rename(&repo.runs("template")[0], template.join("run")).unwrap();
        fs::remove_dir_all(repo.path(".runs")).unwrap();
        fs::remove_dir_all(repo.path("out")).unwrap();
    }
    let from = template.join("run");
    let old_id = json_of(&from.join("manifest.json"))["run_id"].as_str().unwrap().to_owned();
    let to = repo.path(".runs").join(task).join("cli").join(id);
    let at = format!("{}T00:00:00.000Z", &id[..10]);
    for entry in walkdir::WalkDir::new(&from).min_depth(1) {
        let entry = entry.unwrap();
        let place = to.join(entry.path().strip_prefix(&from).unwrap());
        if entry.file_type().is_dir() {
            fs::create_dir_all(place).unwrap();
            continue;
        }
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        let text = fs::read_to_string(entry.path()).unwrap().replace(&old_id, id).replace("template", task);
        fs::write(place, text).unwrap();
    }
    edit(&to, |manifest| {
        manifest["started_at"] = json!(at);
        manifest["completed_at"] = json!(at);
        manifest.as_object_mut().unwrap().remove("journal");
    });
    for pointer in
        [format!(".runs/{task}/{id}"), format!(".runs/{task}/mcp/{id}"), format!(".runs/local-mcp/{id}")]
    {
        fs::create_dir_all(repo.path(&pointer)).unwrap();
    }
    repo.write(&format!(".runs/{task}/{id}/manifest.json"), "{}");
    repo.write(
        &format!(".runs/{task}/mcp/{id}/manifest.json"),
        &json!({"redirect_to": format!(".runs/{task}/cli/{id}")}).to_string(),
    );
    // Of two runs of the same name, the first one has the link.
    let _ = symlink(
        format!("../../{task}/cli/{id}/manifest.json"),
        repo.path(&format!(".runs/local-mcp/{id}/manifest.json")),
    );
    to
}

fn edit(run: &Path, change: impl FnOnce(&mut Value)) {
    let path = run.join("manifest.json");
    let mut manifest = json_of(&path);
    change(&mut manifest);
    fs::write(path, manifest.to_string()).unwrap();
}

fn id(number: usize) -> String {
    format!("2025-01-{number:02}T00-00-00-000Z-{number:08x}")
}

/// Returns what became of each run, and why.
fn fates(answer: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let runs = answer["runs"].as_array().unwrap().iter();
    runs.map(|run| (text(&run["run_id"]), text(&run["action"]), text(&run["reason"]))).collect()
}

fn fate(answer: &Value, run: &str) -> (String, String) {
    let fates = fates(answer);
    let (_, action, reason) =
        fates.into_iter().find(|(id, ..)| id == run).unwrap_or_else(|| panic!("{run}: {answer}"));
    (action, reason)
}

fn is_gone(repo: &Fixture, task: &str, run: &str) -> bool {
    let names = repo.tree(".runs").join("\n");
    assert_eq!(
        names.contains(run),
        repo.path(&format!(".runs/{task}/cli/{run}")).exists(),
        "all of it or nothing: {names}"
    );
    !names.contains(run)
}

#[test]
fn old_runs_go_with_their_pointers_and_their_record_stays() {
    let repo = Fixture::new("passing");
    aged(&repo, "0101", &id(1));
    aged(&repo, "0101", &id(2));
    assert_eq!(repo.orchestrate("start").code, 0);
    let young = json_of(&repo.runs("0101")[2].join("manifest.json"))["run_id"].as_str().unwrap().to_owned();
    let before = repo.tree(".runs");

    let dry = repo.orchestrate("gc --dry-run --format json");

    assert_eq!((dry.code, dry.stderr.as_str()), (0, ""), "{dry}");
    assert_eq!(fate(&dry.json(), &id(1)), ("would_remove".to_owned(), "it is too old".to_owned()));
    assert_eq!(fate(&dry.json(), &young), ("kept".to_owned(), "it is younger than an hour".to_owned()));
    assert_eq!((&dry.json()["removed"], &dry.json()["kept"]), (&json!(2), &json!(1)));
    assert!(dry.json()["freed_bytes"].as_u64().unwrap() > 1000);
    assert_eq!(repo.tree(".runs"), before, "a dry run changes nothing");

    let seen = repo.orchestrate("gc");

    assert_eq!((seen.code, seen.stderr.as_str()), (0, ""), "{seen}");
    assert!(seen.stdout.contains("Removed 2 runs ("), "{seen}");
    assert!(
        is_gone(&repo, "0101", &id(1)) && is_gone(&repo, "0101", &id(2)) && !is_gone(&repo, "0101", &young)
    );
    assert_eq!((metrics(&repo, "0101").len(), history(&repo, "0101").len()), (1, 1));
    assert_eq!(
        repo.orchestrate("gc --keep 0 --max-size 0 --older-than 0s").stdout,
        "Removed 0 runs (0 B), kept 1.\n"
    );
    assert_eq!(repo.orchestrate("status").code, 0);
}

#[test]
fn number_and_size_take_the_oldest() {
    let repo = Fixture::new("passing");
    (1..=4).for_each(|number| drop(aged(&repo, "0101", &id(number))));
    aged(&repo, "other", &id(9));
    let answer = repo.orchestrate("gc --keep 2 --task 0101 --dry-run --format json").json();
    let going: Vec<_> =
        fates(&answer).into_iter().filter(|(_, action, _)| action == "would_remove").collect();
    let ids: Vec<_> = going.iter().map(|(run, ..)| run.as_str()).collect();
    assert_eq!(ids, [id(1), id(2)]);
    let bytes = answer["runs"][0]["bytes"].as_u64().unwrap();

    let seen = repo.orchestrate(&format!("gc --max-size {}", bytes * 3 + 500));

    assert_eq!(seen.code, 0, "{seen}");
    assert!(
        is_gone(&repo, "0101", &id(1)) && is_gone(&repo, "0101", &id(2)) && !is_gone(&repo, "0101", &id(3)),
        "{seen}"
    );
    assert!(!is_gone(&repo, "other", &id(9)), "it is newer");
    for words in ["gc --max-size much", "gc --older-than yesterday", "gc --keep -1", "gc --task ../x"] {
        assert_eq!(repo.orchestrate(words).code, 2, "{words}");
    }
}

#[test]
fn what_somebody_may_need_stays() {
    let repo = Fixture::new("passing");
    let run = |number| aged(&repo, "0101", &id(number));
    edit(&run(1), |manifest| manifest["status"] = json!("in_progress"));
    fs::write(run(2).join("manifest.json"), "{").unwrap();
    fs::remove_file(repo.path(".runs/0101/cli").join(id(2)).join("runner.ndjson")).unwrap();
    run(3);
    repo.write("docs/evidence.md", &format!("Proof: .runs/0101/cli/{}/manifest.json\n", id(3)));
    run(4);
    repo.git(&["notes", "--ref", "orchestrate/evidence", "add", "-m", &format!("run {}", id(4))]);
    run(5);
    symlink(format!("0101/cli/{}", id(5)), repo.path(".runs/latest")).unwrap();
    // One that stays builds on the next, and that on another.
    edit(&run(6), |manifest| manifest["reuse"] = json!({"from": id(7)}));
    repo.write("tasks/list.md", &id(6));
    edit(&run(7), |manifest| manifest["reuse"] = json!({"from": id(8)}));
    run(8);
    edit(&run(10), |manifest| manifest["parent_run_id"] = json!(id(1)));
    run(11);
    fs::create_dir_all(repo.beside("far")).unwrap();
    fs::rename(run(12), repo.beside("far/run")).unwrap();
    symlink(repo.beside("far/run"), repo.path(".runs/0101/cli").join(id(12))).unwrap();
    run(13);

    let answer = repo.orchestrate("gc --format json").json();

    let stays = [
        (1, "it is not finished (in_progress"),
        (2, "it cannot be read"),
        (3, "the file `docs/evidence.md` names it"),
        (4, "the note `refs/notes/orchestrate/evidence:"),
        (5, "the link `.runs/latest` leads to it"),
        (6, "the file `tasks/list.md` names it"),
        (7, &format!("run `{}` names it", id(6))),
        (8, &format!("run `{}` names it", id(7))),
        (10, "it belongs to"),
        (12, "it is behind a symbolic link"),
    ];
    for (number, reason) in stays {
        let (action, why) = fate(&answer, &id(number));
        assert!(action == "kept" && why.starts_with(reason), "{number}: {action}, {why}");
        assert!(repo.path(".runs/0101/cli").join(id(number)).exists(), "{number}");
    }
    assert!(is_gone(&repo, "0101", &id(11)) && is_gone(&repo, "0101", &id(13)), "{answer}");
    assert!(repo.beside("far/run/manifest.json").exists());
}

#[test]
fn a_run_that_somebody_works_on_stays() {
    let repo = Fixture::with_commands(&[
        "test -e \"$HOME/good\" || exit 1; echo here > \"$HOME/here\"; read _ < \"$HOME/gate\"",
    ]);
    let mut gate = Gate::new(&repo, "gate");
    assert_eq!(repo.orchestrate("start").code, 1);
    fs::write(repo.beside("good"), "").unwrap();
    let resumed = spawn(repo.program().arg("resume"));
    wait_until("the stage", || repo.beside("here").exists());

    let answer = repo.orchestrate("gc --keep 0 --format json").json();

    assert_eq!(fates(&answer)[0].1, "kept", "{answer}");
    gate.open();
    assert_eq!(ended(resumed).code, 0);
}

#[test]
fn runs_whose_name_means_something_else_take_nothing_with_them() {
    let repo = Fixture::new("passing");
    aged(&repo, "0101", &id(1));
    let other = repo.path(".runs/0101/cli").join(id(1));
    for name in ["cli", "mcp", "metrics"] {
        fs::create_dir_all(repo.path(".runs/0101").join(name)).unwrap();
        let place = repo.path(".runs/0101/cli").join(name);
        fs::create_dir(&place).unwrap();
        let manifest = json!({
            "run_id": name, "task_id": "0101", "status": "failed", "completed_at": "2024-01-01T00:00:00Z",
        });
        fs::write(place.join("manifest.json"), manifest.to_string()).unwrap();
    }
    // A pointer of the same name belongs to a run of another task.
    aged(&repo, "beta", &id(1));

    let answer = repo.orchestrate("gc --keep 1 --task 0101 --format json").json();

    assert_eq!(answer["removed"], 3, "{answer}");
    assert!(other.join("manifest.json").exists());
    assert_eq!(repo.tree(".runs/0101/cli").iter().filter(|name| !name.starts_with("2025")).count(), 0);
    let seen = repo.orchestrate("gc --keep 0 --task 0101");
    assert!(!other.exists(), "{seen}");
    assert!(repo.path(&format!(".runs/beta/cli/{}/manifest.json", id(1))).exists());
}

#[test]
fn a_collection_that_is_killed_anywhere_is_ended_by_the_next() {
    let repo = Fixture::new("passing");
    for step in 1.. {
        fs::remove_dir_all(repo.path(".runs")).unwrap_or_default();
        aged(&repo, "0101", &id(1));
        aged(&repo, "0101", &id(2));
        let mut killed = repo.program();
        let killed = repo.see(killed.arg("gc").env("GIT_ORCHESTRATE_CRASH_AT", step.to_string()));
        assert!(killed.code == 0 || killed.code == -9, "{step}: {killed}");
        for item in repo.orchestrate("list --format json").json()["runs"].as_array().unwrap() {
            assert!(item["error"].is_null(), "{step}: {item}");
        }

        let seen = repo.orchestrate("gc");

        assert_eq!(seen.code, 0, "{step}: {seen}");
        assert!(is_gone(&repo, "0101", &id(1)) && is_gone(&repo, "0101", &id(2)), "{step}");
        assert_eq!(repo.tree(".runs/.trash"), [] as [&str; 0], "{step}");
        if killed.code == 0 {
            assert!(step > 10, "the crashes came");
            return;
        }
    }
}

#[test]
fn two_collections_at_once_remove_everything_once() {
    let repo = Fixture::new("passing");
    (1..=9).for_each(|number| drop(aged(&repo, "0101", &id(number))));
    let both = [1, 2].map(|_| spawn(repo.program().args(["gc", "--format", "json"])));
    let removed: u64 = both.map(ended).iter().map(|seen| seen.json()["removed"].as_u64().unwrap()).sum();
    assert_eq!(removed, 9);
}

#[test]
fn leftovers_of_crashes_go_after_an_hour() {
    let repo = Fixture::new("passing");
    aged(&repo, "0101", &id(1));
    let files = [".runs/0101/.tmp-a", "out/0101/metrics/.tmp-b", "out/0101/theirs.tmp"];
    files.iter().for_each(|file| repo.write(file, "half"));
    repo.write(".runs/0101/.tmp-young", "half");
    let nothing = repo.path(".runs/0101/cli/2025-02-02T00-00-00-000Z-00000000");
    fs::create_dir(&nothing).unwrap();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    for path in files.map(|file| repo.path(file)).iter().chain([&nothing]) {
        fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
    }

    let answer = repo.orchestrate("gc --keep 5 --format json").json();

    let mut swept: Vec<_> =
        answer["leftovers"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
    swept.sort_unstable();
    assert_eq!(
        swept,
        [".runs/0101/.tmp-a", ".runs/0101/cli/2025-02-02T00-00-00-000Z-00000000", "out/0101/metrics/.tmp-b"]
    );
    assert!(!nothing.exists() && !repo.path(files[0]).exists() && repo.path(files[2]).exists());
    assert!(repo.path(".runs/0101/.tmp-young").exists());
}

#[test]
fn an_answer_about_one_of_several_worktrees_says_which() {
    let repo = Fixture::with_commands(&["true"]);
    repo.write("part/file", "");
    let run = aged(&repo, "0101", "2020-01-01T00-00-00-000Z-00000001");
    let requests = ["gc --older-than 30d", "metrics", "migrate"];
    for request in requests {
        let seen = repo.orchestrate_in(&repo.path("part"), &format!("{request} --format json"));
        assert_eq!(seen.json()["root"], repo.root().display().to_string(), "{seen}");
        assert!(!repo.orchestrate(request).stdout.contains("Worktree:"), "there is only one");
    }
    assert!(!run.exists());

    let run = aged(&repo, "0101", "2020-01-01T00-00-00-000Z-00000001");
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", "--detach", linked.to_str().unwrap()]);
    fs::create_dir(linked.join("sub")).unwrap();
    for request in requests {
        let seen = repo.orchestrate_in(&linked.join("sub"), request);
        let said = format!("Worktree: {}; others have runs of their own\n", linked.display());
        assert!(seen.stdout.starts_with(&said), "{request}: {seen}");
        let seen = repo.orchestrate_in(&linked, &format!("{request} --format json"));
        assert_eq!(seen.json()["root"], linked.display().to_string(), "{seen}");
    }
    assert!(run.exists(), "it is of another worktree");
}
