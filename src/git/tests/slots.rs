//! What stays in a slot between uses, and how many of them stay.

use std::fs;
use std::path::PathBuf;

use super::scene::{Scene, command};
use crate::git::slot::pool::evict;
use crate::git::{Commit, Repo, Slot, Upkeep};

fn commit(scene: &Scene, message: &str) -> Commit {
    scene.git("add --all");
    scene.git(&format!("commit --quiet --allow-empty --message {message}"));
    scene.repo().commit("HEAD").expect("a repository").expect("a commit")
}

fn slot(scene: &Scene, upkeep: Upkeep) -> Slot {
    let mut slot = scene.repo().take_slot(8).expect("a slot");
    slot.keep(upkeep);
    slot
}

/// Leaves what a build would, and something that nobody ignores.
fn leave(repo: &Repo) {
    let top = repo.work_tree();
    for folder in ["target/deep", "dir/target", "new/target"] {
        fs::create_dir_all(top.join(folder)).expect("folders");
        fs::write(top.join(folder).join("made"), "by a build\n").expect("a file");
    }
    fs::write(top.join("[odd] *.log"), "ignored\n").expect("a file");
    fs::write(top.join("left"), "untracked\n").expect("a file");
    fs::write(top.join("new/file"), "untracked\n").expect("a file");
}

fn ignoring() -> (Scene, Commit, Commit) {
    let scene = Scene::new();
    scene.write(".gitignore", "target\n*.log\n");
    let one = commit(&scene, "one");
    scene.write("a", "two\n");
    let two = commit(&scene, "two");
    (scene, one, two)
}

fn is_there(repo: &Repo, path: &str) -> bool {
    repo.work_tree().join(path).exists()
}

#[test]
fn a_warm_slot_keeps_what_git_ignores_and_nothing_else() {
    for trusted in [true, false] {
        let (scene, one, two) = ignoring();
        let mut slot = slot(&scene, Upkeep::Warm);
        let mut repo = slot.reposition(&one).expect("a checkout");
        for commit in [&two, &one] {
            leave(&repo);
            repo.tree_now().expect("a tree");
            if !trusted {
                slot.distrust();
            }
            repo = slot.reposition(commit).expect("a checkout");
            for (path, stays) in [
                ("target/deep/made", true),
                ("dir/target/made", true),
                ("[odd] *.log", true),
                ("left", false),
                ("new", false),
            ] {
                assert_eq!(is_there(&repo, path), stays, "{path}, trusted: {trusted}");
            }
            let now = repo.tree_now().expect("a tree");
            assert_eq!((now.state.tree, now.state.dirty), (commit.tree.clone(), false));
        }
    }
}

#[test]
fn what_a_commit_no_longer_ignores_goes_with_it() {
    let (scene, one, _) = ignoring();
    scene.write(".gitignore", "*.log\n");
    scene.write("target/deep/made", "by hand\n");
    let other = commit(&scene, "other");
    scene.git("rm -r --quiet target");
    let last = commit(&scene, "last");
    for commits in [[&one, &last], [&one, &other]] {
        for trusted in [true, false] {
            let mut slot = slot(&scene, Upkeep::Warm);
            let mut repo = slot.reposition(commits[0]).expect("a checkout");
            leave(&repo);
            repo.tree_now().expect("a tree");
            if !trusted {
                slot.distrust();
            }
            repo = slot.reposition(commits[1]).expect("a checkout");
            let now = repo.tree_now().expect("a tree");
            assert_eq!(now.state.tree, commits[1].tree, "trusted: {trusted}");
            assert!(!is_there(&repo, "dir/target") && is_there(&repo, "[odd] *.log"));
        }
    }
}

#[test]
fn a_virgin_slot_knows_nothing_of_before() {
    let (scene, one, two) = ignoring();
    let mut warm = slot(&scene, Upkeep::Warm);
    leave(&warm.reposition(&one).expect("a checkout"));
    fs::write(warm.as_left().git_dir().join("config.worktree"), "[a]\n").expect("a file");
    drop(warm);
    for upkeep in [Upkeep::Virgin, Upkeep::Clean] {
        // A child of another test may hold the lock for a moment, until it is another program.
        let again = || scene.repo().try_take_slot(1).expect("a slot");
        let mut slot = std::iter::repeat_with(again).find_map(|slot| slot).expect("it is free");
        slot.keep(upkeep);
        let repo = slot.reposition(&two).expect("a checkout");
        assert!(!is_there(&repo, "target") && !is_there(&repo, "left"));
        assert_eq!(repo.tree_now().expect("a tree").state.tree, two.tree);
        leave(&repo);
    }
}

#[test]
fn a_tree_that_is_no_commit_s_is_as_if_it_were_staged() {
    let (scene, one, _) = ignoring();
    scene.write("dir/b.txt", "staged\n");
    scene.git("add --all");
    let staged = Commit { tree: scene.git("write-tree"), ..one.clone() };
    let mut slot = slot(&scene, Upkeep::Warm);
    let repo = slot.reposition(&staged).expect("a checkout");
    let (keys, _) = repo.keys(&[]).expect("keys");
    assert_eq!((keys.commit.as_ref(), keys.tree.as_ref()), (Some(&one.id), Some(&staged.tree)));
    assert!(keys.dirty);
    repo.tree_now().expect("a tree");
    let repo = slot.reposition(&one).expect("a checkout");
    assert!(!repo.keys(&[]).expect("keys").0.dirty);
    // Before the first commit there is nothing that `HEAD` could name.
    let unborn = Commit { id: String::new(), ..staged };
    let repo = slot.reposition(&unborn).expect("a checkout");
    let (keys, _) = repo.keys(&[]).expect("keys");
    assert_eq!((keys.commit, keys.tree.as_ref()), (None, Some(&unborn.tree)));
    let refs = scene.git("for-each-ref");
    let status = command(repo.work_tree()).args(["commit", "--quiet", "--message", "x"]).status();
    assert!(status.expect("git").success());
    assert_eq!(scene.git("for-each-ref"), refs);
    slot.reposition(&unborn).expect("a checkout");
}

#[test]
fn slots_that_nobody_uses_go_by_their_age() {
    let (scene, one, _) = ignoring();
    let repo = scene.repo();
    let mut taken: Vec<Slot> = (0..4).map(|_| repo.take_slot(8).expect("a slot")).collect();
    let hour = std::time::Duration::from_secs(3600);
    let mut folders: Vec<PathBuf> = Vec::new();
    for (at, slot) in taken.iter_mut().enumerate() {
        slot.reposition(&one).expect("a checkout");
        let head = slot.folder().join("git/HEAD");
        // The third one was not used for longest.
        let age = hour * [2, 3, 9, 1][at];
        let file = fs::File::options().append(true).open(head).expect("HEAD");
        file.set_modified(std::time::SystemTime::now() - age).expect("an age");
        folders.push(slot.folder().to_owned());
    }
    let slots = folders[0].parent().expect("a folder").to_owned();
    let there = || folders.iter().map(|folder| folder.join("tree").exists()).collect::<Vec<_>>();
    // A child of another test may hold a lock for a moment, until it is another program.
    let evicted = |taken, idle, expected: [bool; 4]| {
        (0..10_000).any(|_| {
            evict(&slots, taken, idle).expect("they are ours");
            std::thread::yield_now();
            there() == expected
        })
    };
    evict(&slots, 9, 0).expect("they are ours");
    assert_eq!(there(), [true; 4], "somebody uses them");
    let fourth = taken.pop().expect("four");
    drop(taken);
    assert!(evicted(1, 2, [true, true, false, true]), "the oldest one goes: {:?}", there());
    assert!(evicted(1, 0, [true, false, false, true]), "one is in use: {:?}", there());
    assert!(evicted(4, 0, [false, false, false, true]), "{:?}", there());
    drop(fourth);
    assert!(folders.iter().all(|folder| folder.join("lock").exists()));
    let mut again = slot(&scene, Upkeep::Warm);
    assert!(again.reposition(&one).is_ok());
}

#[test]
fn the_tree_of_an_index_is_that_of_its_content_now_however_often_it_was_asked_for() {
    for skip_hash in ["false", "true"] {
        let scene = Scene::new();
        scene.git(&format!("config index.skipHash {skip_hash}"));
        let repo = scene.repo();
        let index = repo.index_file();
        let same = |words: &str| {
            let expected = scene.git("write-tree");
            for _ in 0..2 {
                assert_eq!(repo.staged_tree(&index).unwrap(), expected, "{words}, skipHash {skip_hash}");
            }
            expected
        };
        let first = same("at first");
        scene.write("a", "other\n");
        scene.git("add a");
        assert_ne!(same("changed"), first);
        scene.git("read-tree HEAD");
        assert_eq!(same("as before"), first);
    }
}
