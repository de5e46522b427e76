//! Folders of snapshots that are not only ours: shared with other repositories, or edited by somebody.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::fixture::{Fixture, Seen, json_of};

/// Runs `snapshot` with a folder of snapshots.
fn snapshot(repo: &Fixture, folder: &Path, words: &str) -> Seen {
    let mut program = repo.program();
    program.arg("snapshot").args(words.split_whitespace());
    repo.see(program.env("LEARNING_SNAPSHOT_DIR", folder))
}

fn create(repo: &Fixture, folder: &Path) -> Value {
    let seen = snapshot(repo, folder, "create --task t --format json");
    assert_eq!(seen.code, 0, "{seen}");
    seen.json()
}

/// Makes a snapshot older than any retention.
fn age(snapshot: &Value) {
    edit(snapshot, "created_at", "2020-01-01T00:00:00.000Z");
}

fn edit(snapshot: &Value, field: &str, value: &str) {
    let document = Path::new(snapshot["document_path"].as_str().expect("a path"));
    let mut edited = json_of(document);
    edited[field] = value.into();
    fs::write(document, edited.to_string()).expect("written");
}

/// What `snapshot gc` did, and why, by the id of a snapshot.
fn fates(cleared: &Value) -> BTreeMap<&str, (&str, &str)> {
    fn text(value: &Value) -> &str {
        value.as_str().expect("a text")
    }
    let all = cleared["snapshots"].as_array().expect("a list").iter();
    all.map(|it| (text(&it["id"]), (text(&it["action"]), text(&it["reason"])))).collect()
}

#[test]
fn repositories_that_share_a_folder_leave_each_other_s_snapshots_alone() {
    let with_carry = || {
        let repo = Fixture::with_config(&json!({"slots": {"carry": ["carried"]}, "pipelines": []}));
        repo.write(".gitignore", "carried\n");
        repo.write("carried", "a secret");
        repo
    };
    let (one, other) = (with_carry(), with_carry());
    other.write("of the other", "x");
    let shared = one.beside("shared");
    let (ours, theirs) = (create(&one, &shared), create(&other, &shared));
    let id = |snapshot: &Value| snapshot["id"].as_str().expect("an id").to_owned();

    let listed = snapshot(&one, &shared, "list --format json").json();
    let listed: Vec<_> = listed["snapshots"].as_array().unwrap().iter().map(id).collect();
    assert_eq!(listed, [id(&ours)]);
    assert_eq!(id(&snapshot(&one, &shared, "show latest --format json").json()), id(&ours));
    // Whoever asks for it finds it, and it gets nothing of this worktree.
    assert_eq!(snapshot(&one, &shared, &format!("show {}", id(&theirs))).code, 0);
    let replay = |repo: &Fixture, command: &str| {
        snapshot(repo, &shared, &format!("replay {} -- {command}", id(&theirs)))
    };
    let (carried, bare) = (replay(&other, "test -e carried"), replay(&one, "test ! -e carried"));
    assert_eq!((carried.code, bare.code), (0, 0), "{carried}{bare}");

    age(&ours);
    age(&theirs);
    let cleared = snapshot(&one, &shared, "gc --format json").json();
    let expected = [
        (&*id(&ours), ("removed", "its time is over")),
        (&*id(&theirs), ("kept", "it is of another repository")),
    ];
    assert_eq!(fates(&cleared), BTreeMap::from(expected));
    let again = snapshot(&other, &shared, &format!("show {}", id(&theirs)));
    assert_eq!(again.code, 0, "{again}");
    let cleared = snapshot(&other, &shared, "gc --format json").json();
    assert_eq!(fates(&cleared), BTreeMap::from([(&*id(&theirs), ("removed", "its time is over"))]));
}
