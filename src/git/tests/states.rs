//! Our tree id next to git's, state by state, and after random edits.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::scene::{Scene, command, git_in, try_git_in};
use crate::git::tree::{Keeping, folders_not_read, hidden_by_git, is_found_in_process};

type State = (&'static str, fn(&Scene));

/// What can happen to a work tree. Each begins with one commit.
const STATES: &[State] = &[
    ("clean", |_| {}),
    ("touched", |it| {
        for path in ["a", "dir/b.txt", "run.sh"] {
            let content = fs::read(it.path(path)).expect("a file");
            it.write(path, content);
        }
    }),
    ("modified", |it| it.write("dir/deep/er/c.txt", "changed\n")),
    ("modified in the same moment and size", |it| {
        it.git("update-index --refresh");
        let index = fs::metadata(it.path(".git/index")).expect("an index");
        let before = fs::metadata(it.path("a")).expect("a file").modified().expect("a time");
        it.write("a", "b\n");
        let file = fs::File::options().write(true).open(it.path("a")).expect("a file");
        file.set_modified(before).expect("it is ours");
        let index_file = fs::File::options().write(true).open(it.path(".git/index"));
        index_file.expect("an index").set_modified(before).expect("it is ours");
        assert!(index.len() > 0);
    }),
    ("staged", |it| {
        it.write("a", "staged\n");
        it.git("add a");
    }),
    ("staged and changed again", |it| {
        it.write("a", "staged\n");
        it.git("add a");
        it.write("a", "again\n");
        it.write("new", "new\n");
        it.git("add new");
        it.remove("new");
    }),
    ("deleted file", |it| it.remove("dir/b.txt")),
    ("deleted folder", |it| it.remove("dir")),
    ("everything deleted", |it| {
        for path in ["a", "a-b", "dir", "dir.txt", "empty", "other", ".gitignore", "run.sh", "link"] {
            it.remove(path);
        }
    }),
    ("removed from the index only", |it| {
        it.git("rm --quiet --cached a other/f.log");
    }),
    ("untracked", |it| {
        it.write("new", "new\n");
        it.write("new.d/x/y/z", "z\n");
        it.write("dir/deep/new", "new\n");
        it.write("a.txt", "sorts near a\n");
        it.write("a0", "sorts after a/\n");
        it.write("dir0", "sorts after dir/\n");
        it.write("dir-x", "sorts before dir/\n");
    }),
    ("ignored", |it| {
        it.write("x.log", "");
        it.write("build/out", "");
        it.write("dir/local", "");
        it.write("dir/deep/x.tmp", "");
        it.write("dir/deep/er/x.tmp", "not ignored\n");
        it.write("other/skip/x", "");
        it.write("keep.log", "not ignored\n");
        it.write("new.d/build/out", "not ignored\n");
        it.write("new.d/keep.log", "not ignored\n");
        it.write("new.d/.gitignore", "y\n!*.log\n");
        it.write("new.d/y", "");
        it.write("new.d/z.log", "not ignored\n");
    }),
    ("ignored folder with tracked files", |it| {
        it.write("build/tracked", "1\n");
        it.git("add --force build/tracked");
        it.write("build/tracked", "2\n");
        it.write("build/x", "ignored\n");
        it.write("build/sub/x", "ignored\n");
        it.write("build/.gitignore", "!x\n");
    }),
    ("tracked although ignored, changed", |it| it.write("other/f.log", "changed\n")),
    ("excluded by info/exclude", |it| {
        it.write(".git/info/exclude", "secret\n");
        it.write("dir/secret", "");
        it.write("secret.d/x", "");
    }),
    ("excluded by configuration", |it| {
        it.write(".git/mine", "secret\n");
        it.git(&format!("config core.excludesFile {}", it.path(".git/mine").display()));
        it.write("dir/secret", "");
    }),
    ("a gitignore that is a link", |it| {
        it.write("patterns", "hidden\n");
        fs::create_dir(it.path("new.d")).expect("a folder");
        it.link("../patterns", "new.d/.gitignore");
        it.write("new.d/hidden", "not hidden\n");
    }),
    ("executable", |it| {
        it.chmod("a", 0o755);
        it.chmod("run.sh", 0o644);
    }),
    ("modes do not count", |it| {
        it.git("config core.fileMode false");
        it.chmod("a", 0o755);
        it.chmod("run.sh", 0o644);
        it.write("run.sh", "changed\n");
        it.write("new.sh", "new\n");
        it.chmod("new.sh", 0o755);
    }),
    ("links are files", |it| {
        it.git("config core.symlinks false");
        it.remove("link");
        it.write("link", "a-b");
        it.chmod("a", 0o755);
        it.write("new.sh", "new\n");
        it.chmod("new.sh", 0o755);
    }),
    ("links", |it| {
        it.remove("link");
        it.link("nowhere", "link");
        it.link("dir", "dir-link");
        it.remove("a");
        it.link("a-b", "a");
    }),
    ("a link becomes a file", |it| {
        it.remove("link");
        it.write("link", "file\n");
    }),
    ("a folder becomes a link", |it| {
        fs::rename(it.path("dir"), it.path("moved")).expect("a rename");
        it.link("moved", "dir");
    }),
    ("a folder becomes a file", |it| {
        it.remove("dir");
        it.write("dir", "file\n");
    }),
    ("a file becomes a folder", |it| {
        it.remove("a");
        it.write("a/b/c", "c\n");
    }),
    ("a file becomes an empty folder", |it| {
        it.remove("a");
        fs::create_dir(it.path("a")).expect("a folder");
    }),
    ("a file becomes an ignored folder", |it| {
        it.write("x.log", "x\n");
        it.git("add --force x.log");
        it.remove("x.log");
        it.write("x.log/y", "y\n");
    }),
    ("empty folders", |it| fs::create_dir_all(it.path("no/thing")).expect("folders")),
    ("strange names", |it| {
        it.write("new\nline", "1\n");
        it.write("tab\tand \"quotes\" \\", "2\n");
        it.write(OsStr::from_bytes(b"latin-\xe9/\xff"), "3\n");
        it.write(" lead", "4\n");
        it.write("--option", "5\n");
    }),
    ("pipes and sockets", |it| {
        let path = it.path("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
        std::os::unix::net::UnixListener::bind(it.path("socket")).expect("a socket");
    }),
    ("intent to add", |it| {
        it.write("later", "later\n");
        it.write("dir/deep/later", "later\n");
        it.write("gone", "");
        it.git("add --intent-to-add later dir/deep/later gone");
        it.remove("gone");
    }),
    ("assumed unchanged", |it| {
        it.git("update-index --assume-unchanged a dir/b.txt");
        it.write("a", "changed all the same\n");
        it.remove("dir/b.txt");
    }),
    ("marked skip-worktree without a sparse checkout", |it| {
        it.git("update-index --skip-worktree a dir/b.txt");
        it.write("a", "changed all the same\n");
        it.remove("dir/b.txt");
    }),
    ("conflict", |it| {
        it.git("checkout --quiet -b theirs");
        it.write("a", "theirs\n");
        it.write("dir/b.txt", "theirs\n");
        it.remove("dir.txt");
        it.git("commit --quiet --all -m theirs");
        it.git("checkout --quiet main");
        it.write("a", "ours\n");
        it.write("dir.txt", "ours\n");
        it.remove("dir/b.txt");
        it.git("commit --quiet --all -m ours");
        assert!(!try_git_in(&it.top, "merge theirs").status.success());
    }),
    ("conflict, then deleted", |it| {
        it.git("checkout --quiet -b theirs");
        it.write("a", "theirs\n");
        it.git("commit --quiet --all -m theirs");
        it.git("checkout --quiet main");
        it.write("a", "ours\n");
        it.git("commit --quiet --all -m ours");
        assert!(!try_git_in(&it.top, "merge theirs").status.success());
        it.remove("a");
    }),
    ("line endings by configuration", |it| {
        it.git("config core.autocrlf input");
        it.write("crlf.txt", "one\r\ntwo\r\n");
        it.write("dir/b.txt", "b\r\nc\r\n");
        it.write("binary", b"one\r\n\0two\r\n");
    }),
    ("line endings that are in the index already", |it| {
        it.write("crlf.txt", "one\r\ntwo\r\n");
        it.git("add crlf.txt");
        it.git("commit --quiet -m crlf");
        it.git("config core.autocrlf true");
        it.write("crlf.txt", "one\r\ntwo\r\nthree\r\n");
        it.write("new.txt", "one\r\n");
    }),
    ("attributes", |it| {
        it.write(".gitattributes", "*.txt text\n*.id ident\n*.u16 text working-tree-encoding=UTF-16LE\n");
        it.write("dir/.gitattributes", "*.txt -text\n");
        it.write("x.txt", "one\r\n");
        it.write("dir/x.txt", "one\r\n");
        it.write("x.id", "$Id: 1234$\n");
        it.write("x.u16", b"h\0i\0\n\0");
        it.write("other/e.txt", "e\r\n");
    }),
    ("clean filter", |it| {
        it.git("config filter.upper.smudge cat");
        command(&it.top).args(["config", "filter.upper.clean", "tr a-z A-Z"]).status().expect("git starts");
        it.write(".gitattributes", "*.up filter=upper\n*.no filter=unknown\n");
        it.write("x.up", "loud\n");
        it.write("x.no", "plain\n");
    }),
    ("clean filter that fails but is not required", |it| {
        it.git("config filter.bad.clean false");
        it.write(".gitattributes", "*.bad filter=bad\n");
        it.write("x.bad", "as it is\n");
    }),
    ("nested repository", |it| {
        git_in(&it.top, "init --quiet nested");
        fs::write(it.path("nested/file"), "x\n").expect("a file");
        git_in(&it.path("nested"), "add --all");
        git_in(&it.path("nested"), "commit --quiet -m nested");
        it.write("deep/er/x", "x\n");
        git_in(&it.top, "clone --quiet nested deep/er/clone");
    }),
    ("ignored nested repository", |it| {
        git_in(&it.top, "init --quiet build");
    }),
    ("a file becomes a repository", |it| {
        it.remove("a");
        git_in(&it.top, "init --quiet a");
        git_in(&it.path("a"), "commit --quiet --allow-empty -m nested");
    }),
    ("a folder with tracked files becomes a repository", |it| {
        git_in(&it.top, "init --quiet other");
        git_in(&it.path("other"), "commit --quiet --allow-empty -m nested");
        it.write("other/new", "new\n");
    }),
    ("a broken repository", |it| {
        it.write("broken/.git", "gitdir: nowhere\n");
        it.write("broken/x", "x\n");
        it.write("half/.git/config", "");
        it.write("half/x", "x\n");
    }),
    ("no index", |it| it.remove(".git/index")),
    ("an index without known trees", |it| {
        it.git("update-index --index-version 4");
        it.remove(".git/index");
        it.git("read-tree --empty");
        it.git("add a dir");
        it.write("dir/deep/d.txt", "changed\n");
    }),
    ("an index of version 4", |it| {
        it.git("update-index --index-version 4");
        it.write("dir/deep/d.txt", "changed\n");
    }),
    ("a split index", |it| {
        it.git("update-index --split-index");
        it.write("new", "new\n");
        it.git("add new");
        it.write("dir/deep/d.txt", "changed\n");
    }),
    ("a monitor and a cache of untracked files", |it| {
        it.git("config core.fsmonitor /nowhere/monitor");
        it.git("config core.untrackedCache true");
        it.git("-c core.fsmonitor=false status");
        it.write("new", "new\n");
    }),
    ("many files", |it| {
        for n in 0..400 {
            it.write(format!("many/{}/{n}", n % 40), format!("{n}\n"));
        }
        it.git("add --all");
        for n in (0..400).step_by(3) {
            it.write(format!("many/{}/{n}", n % 40), "changed\n");
            it.write(format!("more/{}/{n}", n % 40), format!("{n}\n"));
        }
    }),
    ("a file larger than memory should hold", |it| {
        it.write("large", vec![7; (32 << 20) + 1]);
    }),
];

#[test]
fn every_state_has_the_tree_that_git_would_write() {
    for (name, change) in STATES {
        let scene = Scene::new();
        change(&scene);
        let _ = scene.repo();
        let before = scene.contents();
        let ours = scene.state();
        assert!(before == scene.contents(), "{name}: something was touched");
        assert_eq!(ours.tree, scene.oracle(), "{name}");
        assert_eq!(ours.dirty, ours.tree != scene.git("rev-parse HEAD^{tree}"), "{name}");
        assert_eq!(ours.unreadable, [""; 0], "{name}");
        assert!(crate::git::tree::is_found_in_process(&scene.repo()), "{name}: gix gave up");
        // The way around gix leads to the same place.
        let by_git = crate::git::tree::tree_by_git(&scene.repo()).expect("a tree");
        assert_eq!(by_git, ours.tree, "{name}, by git");
    }
}

#[test]
fn libgit2_names_the_same_tree() {
    for name in ["clean", "modified", "deleted folder", "untracked", "ignored", "executable", "links"] {
        let scene = Scene::new();
        let (_, change) = STATES.iter().find(|(it, _)| *it == name).expect("it is in the table");
        change(&scene);
        let ours = scene.state().tree;
        let repo = git2::Repository::open(&scene.top).expect("libgit2 opens it");
        let mut index = repo.index().expect("an index");
        index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).expect("all are added");
        index.update_all(["*"], None).expect("all are updated");
        assert_eq!(index.write_tree().expect("a tree").to_string(), ours, "{name}");
    }
}

#[test]
fn a_changed_file_that_git_was_told_not_to_look_at_is_listed() {
    for mark in ["--assume-unchanged", "--skip-worktree"] {
        let scene = Scene::new();
        scene.git(&format!("update-index {mark} a dir/b.txt run.sh link other/e.txt empty"));
        let hidden = || {
            let repo = scene.repo();
            let state = repo.tree_now().expect("a tree").state;
            assert!(is_found_in_process(&repo), "{mark}: gix gave up");
            assert_eq!(hidden_by_git(&repo).expect("a tree"), state.hidden, "{mark}, by git");
            assert_eq!(state.tree, scene.git("rev-parse HEAD^{tree}"), "{mark}");
            assert_eq!(state.is_changed(), !state.hidden.is_empty(), "{mark}");
            state.hidden
        };
        assert_eq!(hidden(), [""; 0], "{mark}");
        scene.write("other/e.txt", "e\n");
        assert_eq!(hidden(), [""; 0], "{mark}: written again as it was");
        scene.write("a", "changed\n");
        scene.remove("dir/b.txt");
        scene.chmod("run.sh", 0o644);
        scene.remove("link");
        scene.link("b", "link");
        assert_eq!(hidden(), ["a", "dir/b.txt", "link", "run.sh"], "{mark}");
        scene.remove("dir");
        assert!(hidden_by_git(&scene.repo()).expect("a tree").contains(&"dir/b.txt".to_owned()), "{mark}");
        assert!(scene.state().hidden.contains(&"dir/b.txt".to_owned()), "{mark}");
    }
    let scene = Scene::new();
    scene.git("update-index --skip-worktree a");
    scene.remove("a");
    scene.write("a/b", "");
    assert_eq!(scene.state().hidden, ["a"]);
}

#[test]
fn what_cannot_be_stored_is_listed() {
    let scene = Scene::new();
    git_in(&scene.top, "init --quiet unborn");
    scene.write(".GIT/x", "x\n");
    let state = scene.state();
    assert_eq!(state.unreadable, [".GIT", "unborn"]);
    assert!(!state.dirty);
    assert_eq!(state.tree, scene.oracle_with("add --all --ignore-errors"));
}

#[test]
fn a_tracked_file_that_became_a_pipe_is_listed() {
    let scene = Scene::new();
    scene.remove("a");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, scene.path("a"), kind, mode, 0).expect("a pipe");
    let state = scene.state();
    assert_eq!(state.unreadable, ["a"]);
    assert!(state.dirty);
}

#[test]
fn an_unreadable_file_is_listed_or_an_error() {
    if rustix::process::geteuid().is_root() {
        // Root reads everything.
        return;
    }
    let scene = Scene::new();
    let clean = scene.state().tree;
    scene.write("secret", "s\n");
    scene.chmod("secret", 0);
    scene.write("closed/x", "x\n");
    scene.chmod("closed", 0);
    let state = scene.state();
    scene.chmod("closed", 0o755);
    assert_eq!(state.unreadable, ["closed/", "secret"]);
    assert_eq!(state.tree, clean);
    scene.write("a", "changed\n");
    scene.chmod("a", 0);
    let error = scene.repo().tree_now().expect_err("a tracked file");
    assert!(matches!(error, crate::git::GitError::UnreadableFile { .. }), "{error:?}");
}

#[test]
fn a_clean_work_tree_is_answered_from_stat_data() {
    let scene = Scene::new();
    // Older than the index, so nothing is racy.
    let past = SystemTime::now() - Duration::from_secs(60);
    for path in ["a", "dir/b.txt"] {
        let file = fs::File::options().write(true).open(scene.path(path)).expect("a file");
        file.set_modified(past).expect("it is ours");
    }
    scene.git("update-index --refresh");
    let tree = scene.state().tree;
    // Content that only a reader could notice: same size, same times.
    scene.git("config core.trustctime false");
    scene.write("a", "b\n");
    let file = fs::File::options().write(true).open(scene.path("a")).expect("a file");
    file.set_modified(past).expect("it is ours");
    assert_eq!(scene.state().tree, tree);
}

#[test]
fn folders_are_read_once() {
    let scene = Scene::new();
    let mut repo = scene.repo();
    repo.keeping = Keeping { worth: 1, settles: -10 };
    folders_not_read(&repo);
    let folders = folders_not_read(&repo);
    if !scene.path(".git/orchestrate/folders").exists() {
        // Nothing is kept on this file system.
        return;
    }
    assert_eq!(folders, 5, "the top, dir, dir/deep, dir/deep/er and other");
    scene.wait_for_a_later_moment();
    scene.write("other/new", "");
    assert_eq!(folders_not_read(&repo), 4);
    scene.git("config core.untrackedCache false");
    let mut told = scene.repo();
    told.keeping = repo.keeping;
    assert_eq!(folders_not_read(&told), 0, "git was told not to trust the times of folders");
    assert_eq!(folders_not_read(&scene.repo()), 0, "what is this small is read");
}

#[test]
fn what_stands_where_folders_are_kept_and_is_no_file_is_left_alone() {
    let scene = Scene::new();
    fs::create_dir_all(scene.path(".git/orchestrate")).expect("a folder");
    let path = scene.path(".git/orchestrate/folders");
    // Nobody writes to the pipe, so whoever reads from it waits for ever.
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
    assert_eq!(scene.state().tree, scene.oracle());
    fs::remove_file(&path).expect("it is ours");
    scene.link("/dev/zero", ".git/orchestrate/folders");
    assert_eq!(scene.state().tree, scene.oracle());
}

#[derive(Clone, Debug)]
enum Edit {
    Write(usize, u8),
    Delete(usize),
    Chmod(usize, bool),
    Link(usize),
    Stage(usize),
    Ignore(usize),
    Commit,
}

const PATHS: [&str; 14] = [
    "a",
    "a-b",
    "a.d/x",
    "a.d/y/z",
    "a.d/y/z.log",
    "dir/b.txt",
    "dir/deep/d.txt",
    "dir/deep/er/c.txt",
    "dir/new",
    "dir.txt",
    "other/e.txt",
    "new/x",
    "new/y/z",
    "x.log",
];

fn edit() -> impl Strategy<Value = Edit> {
    let path = 0..PATHS.len();
    prop_oneof![
        4 => (path.clone(), any::<u8>()).prop_map(|(path, byte)| Edit::Write(path, byte % 3)),
        2 => path.clone().prop_map(Edit::Delete),
        1 => (path.clone(), any::<bool>()).prop_map(|(path, on)| Edit::Chmod(path, on)),
        1 => path.clone().prop_map(Edit::Link),
        2 => path.clone().prop_map(Edit::Stage),
        1 => path.prop_map(Edit::Ignore),
        1 => Just(Edit::Commit),
    ]
}

/// Makes an edit where it is possible at all.
fn make(scene: &Scene, edit: &Edit) {
    let clear = |path: &str| {
        let path = scene.path(path);
        if path.is_dir() && !path.is_symlink() {
            let _ = fs::remove_dir_all(path);
        } else {
            let _ = fs::remove_file(path);
        }
    };
    match *edit {
        Edit::Write(path, byte) => {
            let path = scene.path(PATHS[path]);
            let _ = fs::create_dir_all(path.parent().expect("it is in the work tree"));
            let _ = fs::write(path, [b'0' + byte, b'\n']);
        }
        Edit::Delete(path) => clear(PATHS[path]),
        Edit::Chmod(path, on) => {
            use std::os::unix::fs::PermissionsExt;
            let path = scene.path(PATHS[path]);
            if path.is_file() {
                let mode = if on { 0o755 } else { 0o644 };
                let _ = fs::set_permissions(path, fs::Permissions::from_mode(mode));
            }
        }
        Edit::Link(path) => {
            clear(PATHS[path]);
            let _ = std::os::unix::fs::symlink("dir", scene.path(PATHS[path]));
        }
        Edit::Stage(path) => {
            let _ = try_git_in(&scene.top, &format!("add --force -- {}", PATHS[path]));
        }
        Edit::Ignore(path) => {
            scene.write(".gitignore", format!("*.log\n/{}\n!dir/deep\n", PATHS[path]));
        }
        Edit::Commit => {
            scene.git("commit --quiet --allow-empty -m more");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_edits_keep_us_and_git_together(edits in prop::collection::vec(edit(), 1..20)) {
        let scene = Scene::new();
        for edit in &edits {
            make(&scene, edit);
        }
        prop_assert_eq!(scene.state().tree, scene.oracle());
    }

    #[test]
    fn folders_that_are_kept_keep_us_and_git_together(edits in prop::collection::vec(edit(), 1..12)) {
        let scene = Scene::new();
        let mut repo = scene.repo();
        // As if every folder had long settled: what the next edit does, a later moment shows.
        repo.keeping = Keeping { worth: 1, settles: -10 };
        let head = repo.head().expect("it has one");
        let tree = || repo.tree_state(&head).expect("a tree").tree;
        tree();
        for edit in &edits {
            scene.wait_for_a_later_moment();
            make(&scene, edit);
            prop_assert_eq!(tree(), scene.oracle());
        }
    }
}
