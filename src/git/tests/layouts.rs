//! Every kind of repository: found from anywhere in it, and named by the same tree as git names it.

use std::fs;
use std::path::PathBuf;

use super::scene::{Scene, git_in};
use crate::git::tree::hidden_by_git;
use crate::git::{GitError, Overrides, Repo};
use crate::run::git_keys::Head;

type Layout = (&'static str, fn() -> Scene);

fn bare_with_worktree() -> Scene {
    let scene = Scene::new();
    let root = scene.top.parent().expect("it is in a folder").to_owned();
    git_in(&root, "clone --quiet --bare repo bare.git");
    git_in(&root.join("bare.git"), "worktree add --quiet ../side main");
    scene.at(root.join("side"))
}

fn linked() -> Scene {
    let scene = Scene::new();
    scene.git("worktree add --quiet -b side ../side");
    let top = scene.top.with_file_name("side");
    scene.at(top)
}

fn submodule() -> Scene {
    let scene = Scene::new();
    let root = scene.top.parent().expect("it is in a folder").to_owned();
    git_in(&root, "init --quiet super");
    git_in(&root.join("super"), "submodule --quiet add ../repo sub");
    git_in(&root.join("super"), "commit --quiet -m sub");
    scene.at(root.join("super/sub"))
}

const LAYOUTS: &[Layout] = &[
    ("plain", Scene::new),
    ("linked", linked),
    ("bare with a worktree", bare_with_worktree),
    ("submodule", submodule),
    ("detached", || {
        let scene = Scene::new();
        scene.git("checkout --quiet --detach");
        scene
    }),
    ("unborn", || {
        let scene = Scene::empty();
        scene.git("init --quiet");
        scene.fill();
        scene
    }),
    ("shallow", || {
        let scene = Scene::new();
        scene.git("commit --quiet --allow-empty -m two");
        let root = scene.top.parent().expect("it is in a folder").to_owned();
        let url = format!("file://{}", scene.top.display());
        git_in(&root, &format!("clone --quiet --depth 1 {url} shallow"));
        scene.at(root.join("shallow"))
    }),
    ("sparse", || {
        let scene = Scene::new();
        scene.git("sparse-checkout set dir");
        scene
    }),
    ("sparse by pattern", || {
        let scene = Scene::new();
        scene.git("sparse-checkout set --no-cone /a /dir/");
        scene
    }),
    ("sparse index", || {
        let scene = Scene::new();
        scene.git("sparse-checkout set --sparse-index dir");
        scene
    }),
    ("sha256", || Scene::made_by("init --quiet --object-format=sha256")),
    ("reftable", || Scene::made_by("init --quiet --ref-format=reftable")),
    ("reftable, linked", || {
        let scene = Scene::made_by("init --quiet --ref-format=reftable");
        scene.git("worktree add --quiet -b side ../side");
        let top = scene.top.with_file_name("side");
        scene.at(top)
    }),
    ("configuration per worktree", || {
        let scene = linked();
        scene.git("config extensions.worktreeConfig true");
        scene.git("config --worktree core.fileMode false");
        scene
    }),
    ("bare with configuration per worktree", || {
        let scene = bare_with_worktree();
        scene.git("config extensions.worktreeConfig true");
        let bare = scene.top.with_file_name("bare.git");
        git_in(&bare, "config --unset core.bare");
        fs::write(bare.join("config.worktree"), "[core]\n\tbare = true\n").expect("a file");
        scene
    }),
    ("relative worktree", || {
        let scene = linked();
        let private = scene.top.with_file_name("repo/.git/worktrees/side");
        fs::write(private.join("gitdir"), "../../../../side/.git\n").expect("a file");
        fs::write(scene.path(".git"), "gitdir: ../repo/.git/worktrees/side\n").expect("a file");
        scene
    }),
    ("separate git directory", || {
        let scene = Scene::empty();
        scene.git("init --quiet --separate-git-dir ../elsewhere.git");
        scene.fill();
        scene.git("add --all");
        scene.git("commit --quiet -m one");
        scene
    }),
];

#[test]
fn every_layout_has_the_tree_that_git_would_write() {
    for (name, make) in LAYOUTS {
        let scene = make();
        let clean = scene.state();
        assert_eq!(clean.tree, scene.oracle(), "{name}");
        assert_eq!(clean.dirty, *name == "unborn", "{name}");
        scene.write("dir/deep/d.txt", "changed\n");
        scene.write("dir/new", "new\n");
        scene.write("dir/x.log", "ignored\n");
        scene.remove("dir/b.txt");
        let before = scene.contents();
        let messy = scene.state();
        let after = scene.contents();
        assert!(before == after, "{name}: something was touched");
        assert_eq!(messy.tree, scene.oracle(), "{name}");
        assert!(messy.dirty, "{name}");
        assert!(crate::git::tree::is_found_in_process(&scene.repo()), "{name}: gix gave up");
    }
}

#[test]
fn every_layout_is_found_from_a_subfolder() {
    for (name, make) in LAYOUTS {
        let scene = make();
        let found = Repo::discover_with(&scene.path("dir/deep"), &Overrides::default());
        let repo = found.expect(name);
        assert_eq!(repo.work_tree(), scene.top, "{name}");
        let said = |words| PathBuf::from(scene.git(&format!("rev-parse --path-format=absolute {words}")));
        assert_eq!(repo.git_dir(), said("--git-dir"), "{name}");
        assert_eq!(repo.common_dir(), said("--git-common-dir"), "{name}");
        let (keys, _) = repo.keys(&[]).expect(name);
        assert_eq!(keys.object_format, scene.git("rev-parse --show-object-format"), "{name}");
        assert_eq!(keys.shallow, *name == "shallow", "{name}");
        assert_eq!(keys.sparse, name.starts_with("sparse"), "{name}");
        assert_eq!(keys.hidden, [""; 0], "{name}: what is left out is not there");
        assert_eq!(hidden_by_git(&repo).expect(name), [""; 0], "{name}, by git");
        assert_eq!(
            keys.git_version.map(|version| format!("git version {version}")),
            Some(scene.git("--version"))
        );
        match keys.head {
            Head::Branch => assert_eq!(keys.branch, Some(scene.git("symbolic-ref HEAD")), "{name}"),
            Head::Detached => assert_eq!((keys.branch, *name), (None, "detached")),
            Head::Unborn => assert_eq!((keys.commit.as_ref(), *name), (None, "unborn")),
        }
        if let Some(commit) = keys.commit {
            assert_eq!(commit, scene.git("rev-parse HEAD"), "{name}");
        }
        // git says where its worktrees are; a submodule's main one it gets wrong.
        // So it does with relative paths, before 2.48.
        if !["submodule", "separate git directory", "relative worktree"].contains(name) {
            let said = scene.git("worktree list --porcelain");
            let mut said: Vec<_> = said
                .split("\n\n")
                .filter(|block| !block.contains("\nbare"))
                .filter_map(|block| block.lines().next()?.strip_prefix("worktree "))
                // A linked worktree does not always see that the main one is bare.
                .filter(|path| !path.ends_with("/bare.git"))
                .map(PathBuf::from)
                .collect();
            said.sort();
            let listed = repo.worktrees().expect(name);
            let mut ours: Vec<_> = listed.iter().map(|it| it.path.clone()).collect();
            ours.sort();
            assert_eq!(ours, said, "{name}");
            assert!(listed.iter().all(|it| it.present), "{name}");
        }
    }
}

#[test]
fn a_worktree_is_named_as_seen_from_the_main_one() {
    for (make, path, name, linked) in [
        (Scene::new as fn() -> Scene, ".", None, false),
        (linked, "../side", Some("side"), true),
        (bare_with_worktree, "../side", Some("side"), true),
        (submodule, ".", None, false),
    ] {
        let keys = make().repo().keys(&[]).expect("keys").0;
        assert_eq!(keys.worktree.path, path);
        assert_eq!(keys.worktree.name.as_deref(), name);
        assert_eq!(keys.worktree.linked, linked);
    }
}

#[test]
fn a_worktree_that_was_moved_by_hand_is_where_it_is() {
    let scene = linked();
    let moved = scene.top.with_file_name("moved");
    fs::rename(&scene.top, &moved).expect("a rename");
    let scene = scene.at(moved);
    assert_eq!(scene.repo().work_tree(), scene.top);
    assert!(!scene.state().dirty);
}

#[test]
fn a_lost_worktree_is_still_listed() {
    let scene = linked();
    let lost = scene.top.clone();
    let scene = scene.at(lost.with_file_name("repo"));
    fs::remove_dir_all(&lost).expect("it was there");
    let listed = scene.repo().worktrees().expect("a list");
    assert_eq!(listed.len(), 2);
    assert_eq!((&listed[1].path, listed[1].present), (&lost, false));
}

#[test]
fn the_environment_of_a_hook_comes_first() {
    let scene = linked();
    let git_dir = scene.repo().git_dir().to_owned();
    let overrides = |git_dir: &str, work_tree: Option<&str>| Overrides {
        git_dir: Some(git_dir.into()),
        work_tree: work_tree.map(Into::into),
    };
    let hook = overrides(&git_dir.to_string_lossy(), None);
    for from in [scene.top.clone(), scene.path("dir")] {
        let repo = Repo::discover_with(&from, &hook).expect("a repository");
        assert_eq!(repo.work_tree(), scene.top);
        assert_eq!(repo.keys(&[]).expect("keys").0.worktree.name.as_deref(), Some("side"));
    }
    // Elsewhere the current folder is the work tree.
    let other = tempfile::tempdir().expect("a temporary folder");
    let other = other.path().canonicalize().expect("it is there");
    let main = scene.top.with_file_name("repo");
    let main_git = main.join(".git").to_string_lossy().into_owned();
    let repo = Repo::discover_with(&other, &overrides(&main_git, None)).expect("a repository");
    assert_eq!(repo.work_tree(), other);
    let named = overrides(&main_git, Some(&main.to_string_lossy()));
    let repo = Repo::discover_with(&other, &named).expect("a repository");
    assert_eq!(repo.work_tree(), main);
    let relative = overrides(".git", Some("dir"));
    let repo = Repo::discover_with(&main, &relative).expect("a repository");
    assert_eq!(repo.work_tree(), main.join("dir"));
}

#[test]
fn what_is_no_repository_is_told_apart() {
    let none = tempfile::tempdir().expect("a temporary folder");
    let found = Repo::discover_with(none.path(), &Overrides::default());
    assert!(matches!(found, Err(GitError::NotARepository { .. })), "{found:?}");

    let scene = bare_with_worktree();
    let bare = scene.top.with_file_name("bare.git");
    let found = Repo::discover_with(&bare, &Overrides::default());
    assert!(matches!(found, Err(GitError::Bare { .. })), "{found:?}");

    let scene = Scene::new();
    scene.git("config extensions.fromTheFuture true");
    scene.git_version_one();
    let found = Repo::discover_with(&scene.top, &Overrides::default());
    assert!(matches!(found, Err(GitError::Program { .. })), "{found:?}");
}

#[test]
fn files_outside_a_sparse_checkout_count_when_they_are_there() {
    for (name, make) in LAYOUTS.iter().filter(|(name, _)| name.starts_with("sparse")) {
        let scene = make();
        scene.write("other/e.txt", "present\n");
        scene.write("other/new", "new\n");
        assert_eq!(scene.state().tree, scene.oracle_with("add --all --sparse"), "{name}");
        // Something new alone: there are versions of git that crash then, unless they read the index as a whole.
        let scene = make();
        scene.write("other/new", "new\n");
        let expected = scene.oracle_with("-c index.sparse=false add --all --sparse");
        assert_eq!(scene.state().tree, expected, "{name}");
    }
}

#[test]
fn submodules_count_by_their_commit_and_are_told_when_dirty() {
    let sub = submodule();
    let inner = sub.top.clone();
    let outer = sub.at(inner.parent().expect("it is in the super project").to_owned());
    assert!(!outer.state().dirty);
    assert_eq!(outer.state().dirty_submodules, [""; 0]);

    fs::write(inner.join("a"), "dirt\n").expect("a file");
    let state = outer.state();
    assert_eq!((state.dirty, state.dirty_submodules.as_slice()), (false, &["sub".to_owned()][..]));
    assert_eq!(state.tree, outer.oracle());

    git_in(&inner, "commit --quiet --all -m more");
    let state = outer.state();
    assert_eq!((state.dirty, state.dirty_submodules.len()), (true, 0));
    assert_eq!(state.tree, outer.oracle());

    git_in(&outer.top, "submodule --quiet deinit --force sub");
    outer.write("sub/left", "over\n");
    assert_eq!(outer.state().tree, outer.oracle());
    outer.remove("sub");
    assert_eq!(outer.state().tree, outer.oracle());
    outer.write("sub", "a file now\n");
    assert_eq!(outer.state().tree, outer.oracle());
}

#[test]
fn a_nested_repository_runs_no_filter() {
    let scene = Scene::new();
    git_in(&scene.top, "init --quiet nested");
    let nested = scene.path("nested");
    fs::write(nested.join("x"), "x\n").expect("a file");
    git_in(&nested, "add --all");
    git_in(&nested, "commit --quiet -m nested");
    let trap = scene.temp.path().join("ran");
    super::scene::command(&nested)
        .args(["config", "filter.trap.clean", &format!("touch {}; cat", trap.display())])
        .status()
        .expect("git starts");
    fs::write(nested.join(".gitattributes"), "* filter=trap\n").expect("a file");
    fs::write(nested.join("x"), "changed\n").expect("a file");
    assert_eq!(scene.state().dirty_submodules, ["nested"]);
    assert!(!trap.exists());
}

impl Scene {
    /// Makes git heed the extensions of the format.
    fn git_version_one(&self) {
        let path = self.path(".git/config");
        let text = fs::read_to_string(&path).expect("a configuration");
        let text = text.replace("repositoryformatversion = 0", "repositoryformatversion = 1");
        fs::write(path, text).expect("a configuration");
    }
}
