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

#[test]
fn a_folder_of_snapshots_in_the_work_tree_is_no_change_and_no_citation() {
    for folder in ["snaps", "a [b] c/d"] {
        let repo = Fixture::new("passing");
        let taken = create(&repo, Path::new(folder));
        assert_eq!(repo.git(&["status", "--porcelain"]), "", "{folder}");
        age(&taken);
        let answer = snapshot(&repo, Path::new(folder), "gc --format json").json();
        let id = taken["id"].as_str().expect("an id");
        assert_eq!(fates(&answer)[id], ("removed", "its time is over"), "{folder}");
    }
}

#[test]
fn the_snapshots_of_all_worktrees_are_found_and_those_of_none_let_go() {
    let repo = Fixture::new("passing");
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", linked.to_str().expect("text")]);
    let seen = repo.orchestrate_in(&linked, "snapshot create --task t --format json");
    assert_eq!(seen.code, 0, "{seen}");
    let taken = seen.json();
    let id = taken["id"].as_str().expect("an id");
    let listed = repo.orchestrate("snapshot list --format json").json();
    assert_eq!(listed["snapshots"][0]["id"], id);
    for name in [id, &taken["digest"].as_str().expect("text").to_uppercase()] {
        assert_eq!(repo.orchestrate(&format!("snapshot show {name}")).code, 0, "{name}");
    }
    assert_eq!(repo.orchestrate("snapshot show latest").code, 2, "there is none of this worktree");
    let own = repo.orchestrate("snapshot create --task t --format json").json();
    let newer = repo.orchestrate_in(&linked, "snapshot create --task t --format json").json();
    let latest = repo.orchestrate("snapshot show latest --format json").json();
    assert_eq!(latest["id"], own["id"], "whatever others do meanwhile");

    // Of two that nobody has any more, one is named by a file.
    let commit = taken["commit"].as_str().expect("a commit");
    let of = |id: &str| format!("refs/orchestrate/snapshots/{id}");
    let (lost, cited) = ("2020-01-01T00-00-00-000Z-deadbeef", "2020-01-01T00-00-00-000Z-0badcafe");
    let other = repo.git(&["rev-parse", "HEAD"]);
    repo.git(&["update-ref", &of(lost), &other]);
    repo.git(&["update-ref", &of(cited), &other]);
    repo.write("notes.md", &format!("See {cited}.\n"));
    // One whose document is there goes with it, and not before.
    let document = Path::new(newer["document_path"].as_str().expect("a path"));
    let aged = document.with_file_name("2020-01-01T00-00-00-000Z-00000001.json");
    fs::copy(document, &aged).expect("a copy");
    repo.git(&["update-ref", &of("2020-01-01T00-00-00-000Z-00000001"), commit]);
    let refs = || {
        let all = repo.git(&["for-each-ref", "--format=%(refname:lstrip=3)", "refs/orchestrate/snapshots"]);
        all.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
    };
    let before = refs();
    let dry = repo.orchestrate("snapshot gc --dry-run --format json").json();
    assert_eq!((&dry["leftovers"], refs()), (&json!([of(lost)]), before.clone()));
    let gc = repo.orchestrate("snapshot gc --format json");
    assert_eq!((gc.code, &gc.json()["leftovers"]), (0, &json!([of(lost)])), "{gc}");
    assert_eq!(before.difference(&refs()).collect::<Vec<_>>(), [lost]);

    // While a worktree is away, nobody knows what it holds.
    repo.git(&["update-ref", &of(lost), &other]);
    fs::rename(&linked, repo.beside("away")).expect("moved");
    assert_eq!(repo.orchestrate("snapshot gc --format json").json()["leftovers"], json!([]));
    repo.git(&["worktree", "prune"]);
    let gc = repo.orchestrate("snapshot gc --format json").json();
    assert_eq!(gc["leftovers"].as_array().map(Vec::len), Some(2), "{gc}");
    assert!(refs().contains(id), "it is too young to go");
}
