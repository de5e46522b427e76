//! Excludes under contention, and what a child of ours inherits.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::thread;

use super::scene::Scene;
use crate::git::{GitError, inputs, is_local_variable};

fn patterns(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn excluded_folders_vanish_from_status() {
    let scene = Scene::new();
    scene.write(".runs/x", "x\n");
    scene.repo().exclude(&patterns("/.runs/ /out/")).expect("a line");
    assert_eq!(scene.git("status --porcelain"), "");
    assert!(!scene.state().dirty);
    let path = scene.path(".git/info/exclude");
    let before = fs::metadata(&path).expect("it is there").modified().expect("a time");
    scene.repo().exclude(&patterns("/out/ /.runs/")).expect("nothing to do");
    assert_eq!(fs::metadata(&path).expect("it is there").modified().expect("a time"), before);
    assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o700, 0o600);
}

#[test]
fn a_file_behind_links_of_a_commit_is_found_or_its_link_is_named() {
    let scene = Scene::new();
    scene.write("conf/o.json", "{}\n");
    scene.link("conf/o.json", "one");
    scene.link("one", "two");
    scene.link("conf", "folder");
    scene.link("../elsewhere", "out");
    scene.link("nothing", "dangling");
    scene.link("loop", "loop");
    scene.link("conf", "to-folder");
    scene.git("add --all");
    scene.git("commit --quiet -m links");
    let commit = scene.git("rev-parse HEAD");
    let repo = scene.repo();
    for path in ["conf/o.json", "one", "two", "folder/o.json"] {
        assert_eq!(repo.file_behind(&commit, path).expect(path).as_deref(), Some(&b"{}\n"[..]), "{path}");
    }
    for path in ["none", "conf", "conf/none", "none/o.json", "a/o.json"] {
        assert_eq!(repo.file_behind(&commit, path).expect(path), None, "{path}");
    }
    let cases = [
        ("out", "leads out of the repository, to `../elsewhere`"),
        ("dangling", "leads to no file of the same commit"),
        ("loop", "leads to itself"),
        ("to-folder", "leads to no file of the same commit"),
        ("folder/none", "leads to no file of the same commit"),
    ];
    for (path, why) in cases {
        let error = repo.file_behind(&commit, path).expect_err(path).to_string();
        assert_eq!(error, format!("`{path}` of {} is behind a link that {why}", &commit[..12]));
    }
}

#[test]
fn excludes_of_a_linked_worktree_go_to_the_repository() {
    let scene = Scene::new();
    scene.git("worktree add --quiet -b side ../side");
    let side = scene.top.with_file_name("side");
    scene.remove(".git/info");
    let scene = scene.at(side);
    scene.repo().exclude(&patterns("/.runs/")).expect("a line");
    scene.write(".runs/x", "x\n");
    assert_eq!(scene.git("status --porcelain"), "");
}

#[test]
fn concurrent_excludes_lose_and_repeat_nothing() {
    let scene = Scene::new();
    let path = scene.path(".git/info/exclude");
    let before = fs::read_to_string(&path).expect("git makes one");
    let repo = scene.repo();
    thread::scope(|scope| {
        for n in 0..32 {
            let repo = repo.clone();
            scope.spawn(move || {
                let own = format!("/own-{n}/");
                repo.exclude(&[own, "/shared/".to_owned()]).expect("a line");
            });
        }
    });
    let after = fs::read_to_string(&path).expect("it is there");
    let added = after.strip_prefix(&before).expect("what stood there stays");
    let mut lines: Vec<_> = added.lines().filter(|line| line.starts_with('/')).collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 33);
    assert_eq!(added.lines().filter(|line| line.starts_with('/')).count(), 33);
}

#[test]
fn a_linked_exclude_file_stays_a_link_and_a_read_only_one_as_it_is() {
    let scene = Scene::new();
    let path = scene.path(".git/info/exclude");
    fs::remove_file(&path).expect("git makes one");
    let target = scene.temp.path().join("shared-exclude");
    symlink(&target, &path).expect("a link");
    scene.repo().exclude(&patterns("/.runs/")).expect("a line");
    assert!(path.is_symlink());
    assert!(fs::read_to_string(&target).expect("it was made").ends_with("/.runs/\n"));

    fs::set_permissions(&target, fs::Permissions::from_mode(0o444)).expect("it is ours");
    scene.repo().exclude(&patterns("/.runs/")).expect("nothing to do");
    let refused = scene.repo().exclude(&patterns("/out/"));
    assert!(matches!(refused, Err(GitError::ExcludeReadOnly { .. })), "{refused:?}");
}

#[test]
fn the_variables_of_another_repository_are_local() {
    let said = Scene::new().git("rev-parse --local-env-vars");
    for name in said.lines().chain(["GIT_CONFIG_KEY_0", "GIT_CONFIG_VALUE_7"]) {
        assert!(is_local_variable(name.as_ref()), "{name}");
    }
    for name in ["GIT_SSH", "GIT_CONFIG_GLOBAL", "GIT_AUTHOR_NAME", "PATH"] {
        assert!(!is_local_variable(name.as_ref()), "{name}");
    }
}

#[test]
fn the_version_of_git_is_asked_for_once() {
    let scene = Scene::new();
    let asked = scene.repo().keys(&[]).expect("keys").0.git_version.expect("git is here");
    let cache = scene.path(".git/orchestrate/git-program");
    let kept = fs::read_to_string(&cache).expect("it was kept");
    fs::write(&cache, kept.replace(&asked, "0.1")).expect("a file");
    assert_eq!(scene.repo().program.version.as_deref(), Some("0.1"));
    let said = scene.git("var GIT_CONFIG_SYSTEM");
    assert_eq!(said, "/dev/null");
    let lines: Vec<_> = kept.lines().collect();
    assert!(lines[3].ends_with("gitconfig"), "{kept}");
    // Another program answers for itself, beside ours.
    fs::write(&cache, format!("/elsewhere/git\n1 2\n0.1\n/x\n{kept}")).expect("a file");
    assert_eq!(scene.repo().program.version, Some(asked.clone()));
    fs::write(&cache, "/elsewhere/git\n1 2\n0.1\n/x\n").expect("a file");
    assert_eq!(scene.repo().program.version, Some(asked.clone()));
    assert_eq!(
        fs::read_to_string(&cache).expect("it was kept"),
        format!("{kept}/elsewhere/git\n1 2\n0.1\n/x\n")
    );
    // A damaged file counts for nothing.
    for damaged in ["", "/elsewhere/git\n1 2\n0.1\n", "0.1", "\n\n"] {
        fs::write(&cache, damaged).expect("a file");
        assert_eq!(scene.repo().program.version, Some(asked.clone()));
    }
}

#[test]
fn what_is_no_file_of_a_commit_is_nothing_however_it_is_read() {
    let scene = Scene::new();
    let head = scene.git("rev-parse HEAD");
    scene.git(&format!("update-index --add --cacheinfo 160000,{head},sub"));
    scene.git("commit --quiet -m two");
    let head = scene.git("rev-parse HEAD");
    let mut repo = scene.repo();
    for _ in 0..2 {
        for path in ["dir", "dir/", "dir/deep", "sub", "link", "nothing", "a/b"] {
            assert_eq!(repo.file_at(&head, path).expect("an answer"), None, "{path}");
        }
        assert_eq!(repo.file_at(&head, "dir/b.txt").expect("an answer"), Some(b"b\n".to_vec()));
        // From here on only git reads it.
        repo.gix = None;
    }
}

#[test]
fn what_a_tree_has_is_selected_in_process_as_git_lists_it() {
    let scene = Scene::new();
    for name in [
        "src/a.rs",
        "src/deep/b.rs",
        "src/deep/er/c.txt",
        "src.rs",
        "Src/x",
        "lib/a.rs",
        "Cargo.toml",
        "a",
        "a.b/c",
    ] {
        scene.write(name, name);
    }
    scene.git("add --all");
    scene.git("commit --quiet --message files");
    let tree = scene.git("rev-parse HEAD^{tree}");
    let repo = scene.repo();
    let specs = [
        "src",
        "src/",
        "src/*.rs",
        "*.rs",
        "Cargo.*",
        ":(glob)**/*.rs",
        ":(glob)src/**/c.txt",
        ":(icase)SRC",
        "s*",
        "src/deep/er",
        "nothing",
        "a",
        "a/",
        ":(literal)src/deep",
        ":/lib",
        "sr?/deep",
        ":(glob)*/a.rs",
        ".",
    ];
    let mut lists: Vec<_> = specs.iter().map(|spec| vec![(*spec).to_owned()]).collect();
    lists.push(vec!["lib".to_owned(), "src/deep".to_owned()]);
    for list in lists {
        let lines = repo.git().args(["ls-tree", "-r", "-z", "--full-tree", &tree]).run().expect("git");
        let one = std::slice::from_ref(&list);
        let by_git = inputs::of_lines(&lines, one).expect("pathspecs");
        let found = repo.inputs_in_process(&tree, one).expect("pathspecs");
        assert_eq!(found, Some(by_git), "{list:?}");
    }
}
