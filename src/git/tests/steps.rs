//! From one commit to another in a side worktree, in process, next to what git would check out.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::scene::{Scene, command};
use crate::git::tree::step;
use crate::git::{Commit, Repo, Slot};

/// A change, and whether it needs no git.
type Change = (&'static str, bool, fn(&Scene));

/// What is done to a side worktree, whose top it is given, or to its repository.
type Unusual = (&'static str, fn(&Scene, &Path));

/// What was done to a slot or its repository, and whether it is still known then.
type Left = (&'static str, bool, fn(&Scene, &Path));

/// A commit after the first, and whether the way to it and back needs no git.
const COMMITS: &[Change] = &[
    ("changed", true, |it| it.write("dir/b.txt", "changed\n")),
    ("as long as before", true, |it| it.write("a", "b\n")),
    ("new files and folders", true, |it| {
        it.write("new", "new\n");
        it.write("x/y/z/new", "new\n");
        it.write("dir/deep/er/and/deeper/new", "");
    }),
    ("gone, and its folders with it", true, |it| {
        it.remove("dir/deep");
        it.remove("other/f.log");
    }),
    ("everything changed at once", true, |it| {
        it.write("a", "again\n");
        it.remove("dir.txt");
        it.write("dir-new/n", "n\n");
        it.chmod("run.sh", 0o644);
        it.write(".gitignore", "*\n");
    }),
    ("executable", true, |it| it.chmod("dir/b.txt", 0o755)),
    ("another target", true, |it| {
        it.remove("link");
        it.link("nowhere/at all", "link");
    }),
    ("a link for a file", true, |it| {
        it.remove("a-b");
        it.link("a", "a-b");
    }),
    ("a file for a link", true, |it| {
        it.remove("link");
        it.write("link", "a");
    }),
    ("an empty one", true, |it| it.write("a", "")),
    ("odd names", true, |it| {
        for name in [&b"two\nlines"[..], b"-rf", b" ", b"*", b"\xff\xfe", b"dir/\\back", b"caf\xc3\xa9"] {
            it.write(std::ffi::OsStr::from_bytes(name), "odd\n");
        }
    }),
    ("bytes", true, |it| it.write("bytes", (0..=255).cycle().take(100_000).collect::<Vec<u8>>())),
    ("a folder for a file", false, |it| {
        it.remove("a");
        it.write("a/in", "in\n");
    }),
    ("a folder for a link", false, |it| {
        it.remove("link");
        it.write("link/in", "in\n");
    }),
    ("attributes", false, |it| it.write(".gitattributes", "*.txt text eol=crlf\n")),
    ("attributes below", false, |it| it.write("dir/.gitattributes", "b.txt ident\n")),
    ("a submodule", false, |it| {
        it.git("init --quiet sub");
        crate::git::tests::scene::git_in(&it.path("sub"), "commit --quiet --allow-empty -m sub");
        it.git("add sub");
    }),
    ("very many", false, |it| (0..2001).for_each(|n| it.write(format!("many/{n}"), ""))),
];

/// What makes a step git's business although the commits differ in little. The second commit changes
/// `a`, `dir/b.txt` and `new`.
const UNUSUAL: &[Unusual] = &[
    ("a configured end of line", |it, _| {
        it.git("config core.autocrlf true");
    }),
    ("a file system without modes", |it, _| {
        it.git("config core.fileMode false");
    }),
    ("a file system without links", |it, _| {
        it.git("config core.symlinks false");
    }),
    ("a file system that knows no case", |it, _| {
        it.git("config core.ignoreCase true");
    }),
    ("attributes of the repository", |it, _| it.write(".git/info/attributes", "* text\n")),
    ("attributes of the user", |it, _| {
        it.write(".git/of-user", "a eol=crlf\n");
        let path = it.path(".git/of-user");
        it.git(&format!("config core.attributesFile {}", path.display()));
    }),
    ("a changed file", |_, top| fs::write(top.join("a"), "mine\n").expect("a file")),
    ("a touched file", |_, top| {
        let text = fs::read(top.join("a")).expect("a file");
        fs::remove_file(top.join("a")).expect("a file");
        fs::write(top.join("a"), text).expect("a file");
    }),
    ("a file that is gone", |_, top| fs::remove_file(top.join("dir/b.txt")).expect("a file")),
    ("something in the way", |_, top| fs::write(top.join("new"), "mine\n").expect("a file")),
    ("a folder in the way", |_, top| fs::create_dir(top.join("new")).expect("a folder")),
    ("a link in the way", |_, top| {
        std::os::unix::fs::symlink("nowhere", top.join("new")).expect("a link");
    }),
    ("a flag in the index", |_, top| in_slot(top, &["update-index", "--assume-unchanged", "a"])),
    ("another index", |_, top| in_slot(top, &["rm", "--quiet", "--cached", "a"])),
    ("a mode in the index", |_, top| in_slot(top, &["update-index", "--chmod=+x", "a"])),
    ("a mode", |_, top| {
        fs::set_permissions(top.join("a"), fs::Permissions::from_mode(0o755)).expect("a mode");
    }),
];

fn in_slot(top: &Path, words: &[&str]) {
    assert!(command(top).args(words).status().expect("git").success(), "{words:?}");
}

fn commit(scene: &Scene, subject: &str) -> Commit {
    scene.git("add --force --all");
    let done = command(&scene.top).args(["commit", "--quiet", "--allow-empty", "-m", subject]).status();
    assert!(done.expect("git").success(), "{subject}");
    head(scene)
}

fn head(scene: &Scene) -> Commit {
    scene.repo().commit("HEAD").expect("git answers").expect("a commit")
}

/// What a checkout is: every path below the top with its mode and content.
fn files(top: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path == top.join(".git") {
                continue;
            }
            let metadata = path.symlink_metadata().expect("it is there");
            let content = match metadata.file_type() {
                kind if kind.is_dir() => {
                    folders.push(path.clone());
                    Vec::new()
                }
                kind if kind.is_symlink() => {
                    fs::read_link(&path).expect("a link").as_os_str().as_bytes().to_vec()
                }
                _ => fs::read(&path).expect("a file"),
            };
            let mode = metadata.permissions().mode();
            found.push((path.strip_prefix(top).expect("it is below").to_owned(), mode, content));
        }
    }
    found.sort();
    found
}

/// Holds a side worktree against what git makes of the same commit in a folder of its own.
fn assert_is(slot: &Repo, scene: &Scene, commit: &Commit, what: &str) {
    let beside = tempfile::tempdir_in(scene.temp.path()).expect("a folder");
    let other = beside.path().join("other").display().to_string();
    scene.git(&format!("worktree add --quiet --detach {other} {}", commit.id));
    let top = slot.work_tree();
    assert_eq!(files(top), files(Path::new(&other)), "{what}");
    scene.git(&format!("worktree remove --force {other}"));
    let git = |words: &[&str]| {
        let output = command(top).args(words).output().expect("git");
        assert!(output.status.success(), "{what}: {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(git(&["diff-files"]), "", "{what}: stat data that git would have written");
    assert_eq!(git(&["ls-files", "--others", "--directory", "--no-empty-directory"]), "", "{what}");
    assert_eq!(git(&["diff-index", "--cached", &commit.id]), "", "{what}");
    // git takes it from what the index has cached.
    assert_eq!(git(&["write-tree"]).trim_end(), commit.tree, "{what}");
    let index = slot.git_dir().join("index");
    let before = fs::read(&index).expect("an index");
    assert_eq!(slot.tree_now().expect("a tree").state.tree, commit.tree, "{what}");
    assert_eq!(fs::read(&index).expect("an index"), before, "{what}");
}

fn slot_at(scene: &Scene, commit: &Commit) -> (Slot, Repo) {
    let mut slot = scene.repo().take_slot(8).expect("a slot");
    let repo = slot.reposition(commit).expect("a checkout");
    (slot, repo)
}

#[test]
fn a_step_leads_to_what_git_would_check_out_and_back() {
    for (what, quick, change) in COMMITS {
        let scene = Scene::new();
        let one = head(&scene);
        change(&scene);
        let two = commit(&scene, what);
        let (_slot, repo) = slot_at(&scene, &one);

        for (from, to) in [(&one, &two), (&two, &one), (&one, &two)] {
            let before = files(repo.work_tree());
            assert_eq!(step(&repo, from, to).expect("a step"), *quick, "{what}");
            if !quick {
                assert_eq!(files(repo.work_tree()), before, "{what}: nothing was touched");
                break;
            }
            assert_is(&repo, &scene, to, what);
        }
    }
}

#[test]
fn a_slot_goes_from_commit_to_commit_whatever_a_run_leaves() {
    let scene = Scene::new();
    let mut commits = vec![head(&scene)];
    for (what, _, change) in COMMITS {
        change(&scene);
        commits.push(commit(&scene, what));
        let parent = scene.git("rev-parse HEAD~1^{tree}");
        let new = scene.git(&format!("commit-tree -p HEAD -m back {parent}"));
        scene.git(&format!("reset --quiet --hard {new}"));
        scene.git("clean -ffdxq");
        commits.push(head(&scene));
    }
    let (mut slot, mut repo) = slot_at(&scene, &commits[0]);

    for commit in &commits[1..] {
        let top = repo.work_tree();
        fs::write(top.join("left.log"), "ignored\n").expect("a file");
        fs::create_dir_all(top.join("dir/empty/folder")).expect("folders");
        // A run looks at its end what became of the tree.
        repo.tree_now().expect("a tree");
        repo = slot.reposition(commit).expect("a checkout");
        assert_is(&repo, &scene, commit, &commit.subject);
        if commit.subject != "back" {
            // Whoever takes the slot next has no idea what is in it.
            slot.distrust();
        }
        let head = command(repo.work_tree()).args(["rev-parse", "HEAD"]).output().expect("git");
        assert_eq!(String::from_utf8_lossy(&head.stdout).trim_end(), commit.id);
    }
}

#[test]
fn what_is_unusual_is_left_to_git() {
    for (what, change) in UNUSUAL {
        let scene = Scene::new();
        let one = head(&scene);
        scene.write("a", "two\n");
        scene.write("dir/b.txt", "two\n");
        scene.write("new", "two\n");
        let two = commit(&scene, "two");
        let (slot, repo) = slot_at(&scene, &one);
        change(&scene, repo.work_tree());
        // The configuration is read when the repository is opened.
        drop(slot);
        // A child of another test may hold the lock for a moment, until it is another program.
        let again = || scene.repo().try_take_slot(1).expect("a slot");
        let repo = std::iter::repeat_with(again).find_map(|slot| slot).expect("it is free").as_left();
        let before = files(repo.work_tree());

        assert!(!step(&repo, &one, &two).expect("no step"), "{what}");

        assert_eq!(files(repo.work_tree()), before, "{what}: nothing was touched");
    }
}

/// Takes the slot that a scene has, as another process would.
fn again(scene: &Scene) -> Slot {
    // A child of another test may hold the lock for a moment, until it is another program.
    let again = || scene.repo().try_take_slot(1).expect("a slot");
    let mut slot = std::iter::repeat_with(again).find_map(|slot| slot).expect("it is free");
    slot.keep(crate::git::Upkeep::Warm);
    slot
}

/// Whether a slot is recognised by whoever takes it next, and what was done to it or its repository before that.
const LEFT: &[Left] = &[
    ("as it was", true, |_, _| {}),
    ("with something new in it", false, |_, top| fs::write(top.join("more.txt"), "more\n").expect("a file")),
    ("with something ignored in it", true, |_, top| fs::write(top.join("x.log"), "more\n").expect("a file")),
    ("with a folder of ignored files", true, |_, top| {
        fs::create_dir(top.join("logs")).expect("a folder");
        fs::write(top.join("logs/x.log"), "more\n").expect("a file");
    }),
    ("with a changed file", false, |_, top| fs::write(top.join("a"), "mine\n").expect("a file")),
    ("without a file", false, |_, top| fs::remove_file(top.join("dir/b.txt")).expect("a file")),
    ("with another mode", false, |_, top| {
        fs::set_permissions(top.join("a"), fs::Permissions::from_mode(0o755)).expect("a mode");
    }),
    ("with another index", false, |_, top| in_slot(top, &["rm", "--quiet", "--cached", "a"])),
    ("with another HEAD", false, |_, top| {
        in_slot(top, &["commit", "--quiet", "--allow-empty", "-m", "mine"]);
    }),
    ("with another end of line", false, |it, _| {
        it.git("config core.autocrlf true");
    }),
    ("with other attributes", false, |it, _| it.write(".git/info/attributes", "* text eol=crlf\n")),
    ("with a filter", false, |it, _| {
        it.write(".git/info/attributes", "*.txt filter=loud\n");
        it.git("config filter.loud.smudge cat");
    }),
];

#[test]
fn a_slot_is_recognised_by_whoever_takes_it_next() {
    for (what, expected, change) in LEFT {
        for back in [false, true] {
            let scene = Scene::new();
            scene.write(".gitignore", "*.log\n");
            let one = commit(&scene, "one");
            scene.write("a", "two\n");
            scene.write("new.txt", "two\n");
            let two = commit(&scene, "two");
            let (slot, repo) = slot_at(&scene, &one);
            change(&scene, repo.work_tree());
            drop(slot);

            let mut slot = again(&scene);

            assert_eq!(slot.recognise().is_some(), *expected, "{what}");
            let to = if back { &one } else { &two };
            let repo = slot.reposition(to).expect("a checkout");
            let logs = repo.work_tree().join("logs");
            assert_eq!(logs.exists(), what.contains("folder"), "{what}");
            let _ = (fs::remove_file(repo.work_tree().join("x.log")), fs::remove_dir_all(logs));
            assert_is(&repo, &scene, to, what);
        }
    }
}

#[test]
fn a_slot_that_was_left_half_way_is_right_the_next_time() {
    for (what, _, change) in COMMITS.iter().filter(|(what, ..)| *what != "very many") {
        let scene = Scene::new();
        let one = head(&scene);
        change(&scene);
        let two = commit(&scene, what);
        let half = files(&scene.top);
        for written in [half.len() / 2, half.len()] {
            let (slot, repo) = slot_at(&scene, &one);
            // As if it had been killed on its way: no index yet, and some of the files.
            fs::remove_file(slot.folder().join("at")).expect("it is noted");
            for (path, mode, content) in half.iter().take(written) {
                let full = repo.work_tree().join(path);
                if path.starts_with(".git") || path.starts_with("sub") || scene.path(path).is_symlink() {
                    continue;
                }
                if scene.path(path).is_dir() {
                    let _ = fs::create_dir(full);
                } else if full.parent().is_some_and(Path::is_dir) && !full.is_dir() && !full.is_symlink() {
                    fs::write(&full, content).expect("a file");
                    fs::set_permissions(&full, fs::Permissions::from_mode(*mode)).expect("a mode");
                }
            }
            fs::write(repo.git_dir().join("index.lock"), "").expect("a lock");
            drop(slot);
            for commit in [&two, &one] {
                let mut slot = again(&scene);
                slot.keep(crate::git::Upkeep::Clean);
                let repo = slot.reposition(commit).expect("a checkout");
                assert_is(&repo, &scene, commit, what);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn any_two_commits_are_one_step_apart(trees in prop::collection::vec(
        prop::collection::vec((0..PATHS.len(), 0..5u8), 1..8), 2..6,
    )) {
        let scene = Scene::empty();
        scene.git("init --quiet");
        let mut commits = Vec::new();
        for tree in &trees {
            for (path, kind) in tree {
                put(&scene, PATHS[*path], *kind);
            }
            commits.push(commit(&scene, &format!("{tree:?}")));
        }
        let (mut slot, mut repo) = slot_at(&scene, &commits[0]);
        for commit in commits.iter().chain(commits.iter().rev()) {
            repo.tree_now().expect("a tree");
            repo = slot.reposition(commit).expect("a checkout");
            assert_is(&repo, &scene, commit, &commit.subject);
        }
    }
}

/// Paths that are in each other's way.
const PATHS: [&str; 8] = ["a", "a/a", "a/b", "a/b/c", "a-b", "b", "b/a/c", "c"];

/// Puts a file, a program or a link at a path, or removes it, with all that is in the way.
fn put(scene: &Scene, path: &str, kind: u8) {
    let full = scene.path(path);
    for above in Path::new(path).ancestors().skip(1).filter(|it| !it.as_os_str().is_empty()) {
        let above = scene.path(above);
        if above.symlink_metadata().is_ok_and(|found| !found.is_dir()) {
            fs::remove_file(above).expect("a file");
        }
    }
    match full.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(&full).expect("a folder"),
        Ok(_) => fs::remove_file(&full).expect("a file"),
        Err(_) => {}
    }
    let name = format!("{path} {kind}\n");
    match kind {
        0 => {}
        1 | 2 => scene.write(path, name),
        3 => {
            scene.write(path, name);
            scene.chmod(path, 0o755);
        }
        _ => {
            fs::create_dir_all(full.parent().expect("a folder above")).expect("folders");
            std::os::unix::fs::symlink("c", full).expect("a link");
        }
    }
}
