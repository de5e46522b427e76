//! Folders of snapshots that are not only ours: shared with other repositories, or edited by somebody.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
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

#[test]
fn nothing_is_removed_through_a_link_or_by_a_name_that_a_document_makes_up() {
    let repo = Fixture::new("passing");
    let store = repo.path(".runs/learning-snapshots");
    let (linked, edited) = (create(&repo, &store), create(&repo, &store));
    age(&linked);
    age(&edited);
    fs::write(store.join("t/victim"), "of somebody else").expect("written");
    edit(&edited, "archive", "victim");
    let gc = || {
        let seen = repo.orchestrate("snapshot gc --format json");
        assert_eq!(seen.code, 0, "{seen}");
        seen.json()
    };

    let outside = repo.beside("outside");
    fs::rename(store.join("t"), &outside).expect("moved");
    symlink(&outside, store.join("t")).expect("a link");
    let before = fs::read_dir(&outside).expect("a folder").count();
    let cleared = gc();
    assert_eq!((&cleared["snapshots"], &cleared["damaged"]), (&json!([]), &json!([])));
    assert_eq!(fs::read_dir(&outside).expect("a folder").count(), before);

    fs::remove_file(store.join("t")).expect("removed");
    fs::rename(&outside, store.join("t")).expect("moved");
    let cleared = gc();
    assert_eq!(fates(&cleared).into_keys().collect::<Vec<_>>(), [linked["id"].as_str().unwrap()]);
    let id = edited["id"].as_str().expect("an id");
    assert_eq!(cleared["damaged"], json!([format!(".runs/learning-snapshots/t/{id}.json")]));
    let mut left = repo.tree(".runs/learning-snapshots/t");
    left.sort();
    assert_eq!(left, [format!("{id}.json"), format!("{id}.tar.gz"), "victim".to_owned()]);
    let seen = repo.orchestrate("snapshot gc");
    assert!(seen.stdout.contains("Kept, but damaged: .runs/"), "{seen}");
}

#[test]
fn a_folder_of_snapshots_in_the_work_tree_is_never_in_a_snapshot_however_it_is_named() {
    let repo = Fixture::new("passing");
    let alias = repo.beside("alias");
    symlink(repo.root(), &alias).expect("a link");
    fs::create_dir(repo.path("there")).expect("a folder");
    for folder in [Path::new("there/../snaps"), Path::new("missing/../snaps"), &alias.join("snaps")] {
        let first = create(&repo, folder);
        repo.write("file", &format!("{}", folder.display()));
        let second = create(&repo, folder);
        let stored =
            repo.git(&["ls-tree", "-r", "--name-only", second["commit"].as_str().expect("a commit")]);
        assert_eq!(stored, "codex.orchestrator.json\nfile", "{first}");
        assert_eq!(second["files"], 2, "{first}");
        fs::remove_dir_all(repo.path("snaps")).expect("removed");
    }
    let outside = repo.beside("outside");
    fs::create_dir(&outside).expect("a folder");
    symlink(&outside, repo.path("link")).expect("a link");
    for folder in [alias.join("link"), alias.join("link/below"), "there/../link".into()] {
        let seen = snapshot(&repo, &folder, "create --task t");
        assert_eq!(seen.code, 3, "{seen}");
    }
    assert_eq!(fs::read_dir(&outside).expect("a folder").count(), 0);
}
