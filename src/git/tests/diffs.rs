//! What has changed, against `git diff --numstat` and `git ls-files --others`.

use std::fs;

use proptest::prelude::*;

use super::scene::{Scene, command, try_git_in};
use crate::git::diff::by_git_for_tests as by_git;
use crate::git::{DiffRule, Target};
use crate::guardrail::{File, Status};

fn rule(renames: bool) -> DiffRule {
    DiffRule { renames, lines: true, ..DiffRule::default() }
}

fn ours(scene: &Scene, target: Target<'_>, renames: bool) -> Vec<File> {
    let head = scene.git("rev-parse HEAD");
    scene.repo().diff(Some(&head), target, &rule(renames)).expect("a diff")
}

/// The rows of `git diff --numstat`, in its own words but for `-`.
fn numstat(scene: &Scene, words: &str) -> Vec<(String, u64, u64)> {
    let words = format!("diff {words} --numstat -z");
    let output = command(&scene.top).args(words.split(' ')).output().expect("git starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("our names are text");
    let mut fields = text.split('\0');
    let mut rows = Vec::new();
    while let Some(field) = fields.next().filter(|field| !field.is_empty()) {
        let parts: Vec<_> = field.splitn(3, '\t').collect();
        let path = match parts[2] {
            "" => fields.nth(1).expect("the new name"),
            path => path,
        };
        rows.push((path.to_owned(), parts[0].parse().unwrap_or(0), parts[1].parse().unwrap_or(0)));
    }
    rows.sort();
    rows.dedup_by(|later, first| later.0 == first.0);
    rows
}

fn tracked(files: &[File]) -> Vec<(String, u64, u64)> {
    let tracked = files.iter().filter(|file| !file.untracked);
    tracked.map(|file| (file.path.clone(), file.added, file.deleted)).collect()
}

fn untracked(files: &[File]) -> Vec<(String, u64)> {
    let untracked = files.iter().filter(|file| file.untracked);
    untracked.map(|file| (file.path.clone(), file.added)).collect()
}

#[test]
fn every_kind_of_change_counts_as_git_counts_it() {
    let scene = Scene::new();
    scene.write("text", "one\ntwo\nthree\n");
    scene.write("moved", "1\n2\n3\n4\n5\n6\n");
    scene.write("crlf", "a\r\nb\r\n");
    scene.write("binary", b"\0\x01\x02");
    scene.write("hidden", "x\ny\n");
    scene.write(".gitattributes", "hidden -diff\nforced diff\n");
    scene.write("forced", b"\0\n\0\n");
    scene.write("gone", "1\n2\n");
    scene.git("add --all");
    scene.git("commit --quiet -m two");
    scene.write("text", "one\n2\nthree\nfour");
    scene.git("mv moved elsewhere");
    scene.write("elsewhere", "1\n2\n3\n4\n5\n6\n7\n");
    scene.write("crlf", "a\r\nb\nc\r\n");
    scene.write("binary", b"\0\x01\x03");
    scene.write("hidden", "x\nz\n");
    scene.write("forced", b"\0\n\0\n\0\n");
    scene.remove("gone");
    scene.chmod("run.sh", 0o644);
    scene.remove("link");
    scene.link("dir", "link");
    scene.remove("dir/b.txt");
    scene.link("nowhere", "dir/b.txt");
    scene.write("meant", "a\nb");
    scene.git("add --intent-to-add meant");
    scene.write("staged", "a\nb\n");
    scene.git("add staged");
    let files = ours(&scene, Target::WorkTree, true);
    assert_eq!(tracked(&files), numstat(&scene, "-M HEAD"));
    assert_eq!(files.iter().find(|file| file.path == "elsewhere").unwrap().from.as_deref(), Some("moved"));
    let files = ours(&scene, Target::WorkTree, false);
    assert_eq!(tracked(&files), numstat(&scene, "--no-renames HEAD"));
    let files = ours(&scene, Target::Staged, true);
    assert_eq!(tracked(&files), numstat(&scene, "-M --cached HEAD"));
    scene.git("add --all");
    scene.git("commit --quiet -m three");
    let head = scene.git("rev-parse HEAD");
    let base = scene.git("rev-parse HEAD~1");
    let files = scene.repo().diff(Some(&base), Target::Commit(&head), &rule(true)).unwrap();
    assert_eq!(tracked(&files), numstat(&scene, "-M HEAD~1 HEAD"));
}

#[test]
fn a_file_that_moved_to_where_nothing_counts_is_deleted() {
    let scene = Scene::new();
    scene.write("gone", "1\n2\n3\n4\n5\n6\n");
    scene.git("add --all");
    scene.git("commit --quiet -m two");
    scene.git("mv gone moved.lock");
    // So many names that git cannot be told which of them count.
    for at in 0..420 {
        scene.write(format!("new/{at}{}", "x".repeat(240)), format!("{at}\n"));
    }
    scene.git("add --all");
    let head = scene.git("rev-parse HEAD");
    let rule = DiffRule { ignore: vec!["*.lock".to_owned()], ..rule(true) };
    let files = scene.repo().diff(Some(&head), Target::WorkTree, &rule).unwrap();
    let of = |path: &str| files.iter().find(|file| file.path == path).expect("it is counted");
    assert_eq!((of("gone").status, of("gone").deleted), (Status::Deleted, 6));
    assert_eq!((of("moved.lock").from.as_deref(), of("moved.lock").excluded.is_some()), (None, true));
}

#[test]
fn untracked_files_count_as_if_they_were_added() {
    let scene = Scene::new();
    let top = scene.path("");
    use std::os::unix::ffi::OsStrExt;
    let odd = |name: &[u8]| top.join(std::ffi::OsStr::from_bytes(name));
    scene.write("z", "z\n");
    scene.write("open", "a\nb");
    scene.write("nothing", "");
    scene.write("zero", b"a\n\0\n");
    scene.write(" lead and tail ", "1\n");
    scene.write("-dash", "1\n");
    scene.write("*", "1\n");
    scene.write("é", "1\n");
    fs::write(odd(b"new\nline\t\"x"), "1\n").unwrap();
    fs::write(odd(b"bad\xff"), "1\n").unwrap();
    scene.write("x.log", "ignored\n");
    scene.link("nowhere", "dangling");
    scene.link("/", "root");
    let found = untracked(&ours(&scene, Target::WorkTree, true));
    let expected = [
        (" lead and tail ", 1),
        ("*", 1),
        ("-dash", 1),
        ("bad\\xFF", 1),
        ("dangling", 1),
        ("new\nline\t\"x", 1),
        ("nothing", 0),
        ("open", 2),
        ("root", 1),
        ("z", 1),
        ("zero", 0),
        ("é", 1),
    ];
    assert_eq!(found, expected.map(|(path, lines)| (path.to_owned(), lines)));
}

#[test]
fn what_is_staged_counts_where_the_disk_has_less() {
    let scene = Scene::new();
    scene.write("a", "1\n2\n3\n4\n5\n");
    scene.git("add a");
    scene.write("a", "a\n");
    let files = ours(&scene, Target::WorkTree, true);
    assert_eq!(tracked(&files), [("a".to_owned(), 5, 1)]);
    // Staged and edited further: once, by what it comes to.
    scene.write("a", "1\n2\n3\n4\n5\n6\n");
    assert_eq!(tracked(&ours(&scene, Target::WorkTree, true)), [("a".to_owned(), 6, 1)]);
}

#[test]
fn a_path_that_is_deleted_and_untracked_counts_as_both() {
    let scene = Scene::new();
    scene.git("rm --cached --quiet dir/b.txt");
    let files = ours(&scene, Target::WorkTree, true);
    assert_eq!(tracked(&files), [("dir/b.txt".to_owned(), 0, 1)]);
    assert_eq!(untracked(&files), [("dir/b.txt".to_owned(), 1)]);
}

#[test]
fn a_conflict_counts_by_what_is_on_disk() {
    let scene = Scene::new();
    scene.git("checkout --quiet -b other");
    scene.write("a", "other\n");
    scene.git("commit --quiet --all -m other");
    scene.git("checkout --quiet main");
    scene.write("a", "main\nmore\n");
    scene.git("commit --quiet --all -m main");
    assert!(!try_git_in(&scene.top, "merge other").status.success());
    let files = ours(&scene, Target::WorkTree, true);
    let lines = fs::read_to_string(scene.path("a")).unwrap().lines().count() as u64;
    assert_eq!(tracked(&files), [("a".to_owned(), lines - 2, 0)]);
    assert_eq!(files[0].kind.as_deref(), Some("conflict"));
    // There is no next commit that could be counted.
    let (head, repo) = (scene.git("rev-parse HEAD"), scene.repo());
    let staged = repo.diff(Some(&head), Target::Staged, &rule(true));
    for refused in [staged, by_git(&repo, Some(&head), Target::Staged, &rule(true))] {
        let said = refused.unwrap_err().to_string();
        assert_eq!(said, "`a` is in conflict, so there is no next commit yet");
    }
}

#[test]
fn what_cannot_be_read_or_stored_is_named() {
    let scene = Scene::new();
    scene.remove("a");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        scene.path("a"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    scene.git("init --quiet empty-repo");
    let files = ours(&scene, Target::WorkTree, true);
    let named: Vec<_> =
        files.iter().filter_map(|file| Some((file.path.as_str(), file.unmeasured.as_deref()?))).collect();
    let expected = [("a", "a pipe, which git cannot store"), ("empty-repo", "a repository without a commit")];
    assert_eq!(named, expected);
}

#[test]
fn what_nobody_may_read_is_named_and_not_zero() {
    if rustix::process::geteuid().is_root() {
        // Root reads everything.
        return;
    }
    let scene = Scene::new();
    scene.write("secret", "s\n");
    scene.write("closed/x", "x\n");
    scene.write("a", "changed\n");
    for path in ["secret", "a", "closed"] {
        scene.chmod(path, 0);
    }
    let files = ours(&scene, Target::WorkTree, true);
    scene.chmod("closed", 0o755);
    let named: Vec<_> = files.iter().filter(|file| file.unmeasured.is_some()).map(|it| &it.path).collect();
    assert_eq!(named, ["a", "closed/", "secret"]);
}

#[test]
fn a_folder_that_became_a_link_is_files_that_went_and_one_line() {
    let outside = Scene::new();
    outside.write("dir/b.txt", "1\n2\n3\n");
    let scene = Scene::new();
    fs::remove_dir_all(scene.path("dir")).unwrap();
    std::os::unix::fs::symlink(outside.path("dir"), scene.path("dir")).unwrap();
    let files = ours(&scene, Target::WorkTree, false);
    assert_eq!(tracked(&files), numstat(&scene, "--no-renames HEAD"));
    assert_eq!(untracked(&files), [("dir".to_owned(), 1)]);
}

#[test]
fn attributes_of_any_folder_on_disk_or_in_the_index_decide_what_is_stored() {
    for tracked_attributes in [false, true] {
        let scene = Scene::new();
        scene.write("dir/text", "1\n2\n");
        if tracked_attributes {
            scene.write("dir/.gitattributes", "text text\n");
        }
        scene.git("add --all");
        scene.git("commit --quiet -m two");
        scene.write("dir/text", "1\r\n2\r\n3\r\n");
        let files = || tracked(&ours(&scene, Target::WorkTree, true));
        let of_text =
            |rows: Vec<(String, u64, u64)>| rows.into_iter().find(|row| row.0 == "dir/text").unwrap();
        let added_and_deleted = if tracked_attributes { (1, 0) } else { (3, 2) };
        let expected = ("dir/text".to_owned(), added_and_deleted.0, added_and_deleted.1);
        assert_eq!(of_text(files()), expected);
        assert_eq!(files(), numstat(&scene, "HEAD"));
        if tracked_attributes {
            // What is missing on disk is taken from the index.
            scene.remove("dir/.gitattributes");
            assert_eq!(of_text(files()), expected);
        } else {
            scene.write("dir/.gitattributes", "text text\n");
            assert_eq!(of_text(files()), ("dir/text".to_owned(), 1, 0));
        }
        assert_eq!(files(), numstat(&scene, "HEAD"));
    }
}

#[test]
fn nested_repositories_and_submodules_are_one_line_each() {
    let scene = Scene::new();
    let inner = Scene::new();
    let url = inner.top.to_str().unwrap().to_owned();
    scene.git(&format!("submodule --quiet add {url} sub"));
    scene.git("commit --quiet -m sub");
    scene.git(&format!("clone --quiet {url} nested"));
    assert_eq!(untracked(&ours(&scene, Target::WorkTree, true)), [("nested".to_owned(), 1)]);
    scene.write("sub/a", "dirty\n");
    let files = ours(&scene, Target::WorkTree, true);
    assert_eq!(tracked(&files), [("sub".to_owned(), 0, 0)]);
    assert_eq!(tracked(&files), numstat(&scene, "HEAD"));
    super::scene::git_in(&scene.path("sub"), "commit --quiet --all -m moved");
    assert_eq!(tracked(&ours(&scene, Target::WorkTree, true)), [("sub".to_owned(), 1, 1)]);
}

#[test]
fn a_large_file_is_not_read() {
    let scene = Scene::new();
    let file = fs::File::create(scene.path("large")).unwrap();
    file.set_len(2 << 30).unwrap();
    let files = ours(&scene, Target::WorkTree, true);
    let kind = files[0].kind.as_deref().unwrap();
    assert_eq!(kind, "binary: 2147483648 bytes, too large for git to look at");
}

#[test]
fn a_file_too_large_to_convert_in_memory_counts_as_git_counts_it() {
    let scene = Scene::new();
    let text = "some text\r\n".repeat(120_000);
    let zero = format!("{}\0{text}", "a\r\n".repeat(3999));
    for (name, content) in [
        ("auto", text.as_str()),
        ("auto-zero", &zero),
        ("text", &text),
        ("text-zero", &zero),
        ("crlf", &text),
        ("id", &text),
        ("none-zero", &zero),
        ("cat", &text),
    ] {
        scene.write(name, content);
    }
    scene.write(
        ".gitattributes",
        "auto* text=auto\ntext* text\ncrlf eol=crlf\nid ident\nnone* -text\ncat filter=cat\n",
    );
    scene.git("config core.autocrlf input");
    scene.git("config filter.cat.clean cat");
    let found = untracked(&ours(&scene, Target::WorkTree, true));
    scene.git("add --intent-to-add .");
    let told = numstat(&scene, "HEAD").into_iter().map(|(path, added, _)| (path, added));
    assert_eq!(found, told.collect::<Vec<_>>());
    let binary: Vec<_> = found.iter().filter(|(_, lines)| *lines == 0).map(|(path, _)| path).collect();
    assert_eq!(binary, ["text-zero"], "the one that git has a zero byte of where it looks");
}

#[test]
fn attributes_of_the_change_itself_hide_nothing() {
    let scene = Scene::new();
    scene.write("generated", "1\n");
    scene.write(".gitattributes", "generated linguist-generated\n");
    scene.git("add --all");
    scene.git("commit --quiet -m two");
    scene.write("generated", "1\n2\n");
    scene.write("hidden", "1\n2\n");
    scene.write(".gitattributes", "generated linguist-generated\nhidden -diff linguist-generated\n");
    let head = scene.git("rev-parse HEAD");
    let rule = DiffRule {
        ignore_attributes: vec!["linguist-generated".into()],
        ignore: vec!["dir/".into(), ":(glob)other/*.txt".into()],
        ..rule(true)
    };
    scene.write("dir/deep/d.txt", "x\n");
    scene.write("other/e.txt", "x\n");
    scene.git("add hidden");
    for committed in [false, true] {
        let files = match committed {
            false => scene.repo().diff(Some(&head), Target::WorkTree, &rule).unwrap(),
            true => {
                scene.git("add --all");
                scene.git("commit --quiet -m three");
                let new = scene.git("rev-parse HEAD");
                scene.repo().diff(Some(&head), Target::Commit(&new), &rule).unwrap()
            }
        };
        let seen: Vec<_> =
            files.iter().map(|file| (file.path.as_str(), file.excluded.as_deref(), file.added)).collect();
        let expected = [
            (".gitattributes", None, 1),
            ("dir/deep/d.txt", Some("dir/"), 0),
            ("generated", Some("linguist-generated"), 0),
            ("hidden", None, 2),
            ("other/e.txt", Some(":(glob)other/*.txt"), 0),
        ];
        assert_eq!(seen, expected, "committed: {committed}");
    }
}

#[test]
fn what_an_attribute_says_of_text_is_about_files_and_not_about_links() {
    let scene = Scene::new();
    scene.write(".gitattributes", "* -diff\n");
    scene.git("add --all");
    scene.git("commit --quiet -m two");
    scene.link("elsewhere", "new");
    scene.remove("link");
    scene.link("dir", "link");
    scene.remove("a");
    scene.link("dir", "a");
    scene.git("add --all");
    let files = tracked(&ours(&scene, Target::WorkTree, false));
    let expected = [("a", 0, 0), ("link", 1, 1), ("new", 1, 0)];
    assert_eq!(files, expected.map(|(path, added, deleted)| (path.to_owned(), added, deleted)));
    assert_eq!(files, numstat(&scene, "--no-renames HEAD"));
}

#[test]
fn an_attribute_that_says_no_or_false_is_no_attribute() {
    let scene = Scene::new();
    let rules = [
        "yes linguist-generated",
        "true linguist-generated=true",
        "false linguist-generated=false",
        "no -linguist-generated",
    ];
    scene.write(".gitattributes", rules.join("\n") + "\n");
    scene.git("add --all");
    scene.git("commit --quiet -m two");
    for name in ["yes", "true", "false", "no"] {
        scene.write(name, "1\n");
    }
    scene.git("add --all");
    let (head, repo) = (scene.git("rev-parse HEAD"), scene.repo());
    for (attribute, expected) in
        [("linguist-generated", ["true", "yes"]), ("-linguist-generated", ["false", "no"])]
    {
        let rule = DiffRule { ignore_attributes: vec![attribute.to_owned()], ..rule(true) };
        let ours = repo.diff(Some(&head), Target::WorkTree, &rule).unwrap();
        for files in [ours, by_git(&repo, Some(&head), Target::WorkTree, &rule).unwrap()] {
            let excluded: Vec<_> =
                files.iter().filter(|file| file.excluded.is_some()).map(|file| &file.path).collect();
            assert_eq!(excluded, expected, "{attribute}");
        }
    }
}

/// What git compares with the last commit.
fn words_of(target: Target<'_>) -> &'static str {
    match target {
        Target::Staged => "-M --cached HEAD",
        _ => "-M HEAD",
    }
}

/// Ways to check out a part of the tree.
const SPARSE: [&str; 3] = ["set dir", "set --no-cone /a /dir/", "set --sparse-index dir"];

#[test]
fn what_a_sparse_checkout_leaves_out_counts_as_git_counts_it() {
    for words in SPARSE {
        let scene = Scene::new();
        scene.git(&format!("sparse-checkout {words}"));
        assert!(!scene.path("other").exists(), "{words}");
        let agree = |target: Target<'_>, expected: &[(&str, u64, u64)]| {
            let files = ours(&scene, target, true);
            let expected: Vec<_> = expected
                .iter()
                .map(|(path, added, deleted)| ((*path).to_owned(), *added, *deleted))
                .collect();
            assert_eq!(tracked(&files), expected, "{words}");
            assert_eq!(expected, numstat(&scene, words_of(target)), "{words}");
            assert_eq!(untracked(&files), [], "{words}");
        };
        // What is not there was never asked for, so nothing of it is deleted.
        agree(Target::WorkTree, &[]);
        agree(Target::Staged, &[]);
        scene.write("dir/b.txt", "b\nmore\n");
        agree(Target::WorkTree, &[("dir/b.txt", 1, 0)]);
        // One that is there all the same counts by what is on disk.
        scene.write("other/e.txt", "e\nhere\n");
        agree(Target::WorkTree, &[("dir/b.txt", 1, 0), ("other/e.txt", 1, 0)]);
        // One that is not there counts by what is staged.
        scene.git("add --sparse dir/b.txt other/e.txt");
        scene.git("sparse-checkout reapply");
        scene.git("update-index --skip-worktree other/e.txt");
        let _ = fs::remove_dir_all(scene.path("other"));
        agree(Target::WorkTree, &[("dir/b.txt", 1, 0), ("other/e.txt", 1, 0)]);
        agree(Target::Staged, &[("dir/b.txt", 1, 0), ("other/e.txt", 1, 0)]);
        // One that is staged as deleted is deleted.
        scene.git("rm --quiet --cached --sparse other/f.log");
        let three = [("dir/b.txt", 1, 0), ("other/e.txt", 1, 0), ("other/f.log", 0, 1)];
        agree(Target::WorkTree, &three);
        agree(Target::Staged, &three);
        scene.git("commit --quiet -m two");
        agree(Target::WorkTree, &[]);
        let (head, base) = (scene.git("rev-parse HEAD"), scene.git("rev-parse HEAD~1"));
        let files = scene.repo().diff(Some(&base), Target::Commit(&head), &rule(true)).unwrap();
        assert_eq!(tracked(&files), three.map(|(path, added, deleted)| (path.to_owned(), added, deleted)));
    }
}

#[test]
fn a_folder_that_a_sparse_checkout_leaves_out_may_hold_something_else() {
    for words in SPARSE {
        let scene = Scene::new();
        scene.git(&format!("sparse-checkout {words}"));
        scene.write("other/new", "1\n2\n");
        let files = ours(&scene, Target::WorkTree, true);
        assert_eq!(tracked(&files), [], "{words}");
        assert_eq!(untracked(&files), [("other/new".to_owned(), 2)], "{words}");
        scene.remove("other");
        scene.write("other", "a file now\n");
        let files = ours(&scene, Target::WorkTree, true);
        assert_eq!(tracked(&files), numstat(&scene, "-M HEAD"), "{words}");
        let listed = scene.git("ls-files --others --exclude-standard");
        let names: Vec<_> = untracked(&files).into_iter().map(|file| file.0).collect();
        assert_eq!(names, listed.lines().collect::<Vec<_>>(), "{words}");
    }
}

#[test]
fn a_file_outside_the_patterns_is_not_looked_at_where_git_was_told_so() {
    let scene = Scene::new();
    scene.git("sparse-checkout set dir");
    scene.git("config sparse.expectFilesOutsideOfPatterns true");
    scene.write("other/e.txt", "e\nhere\n");
    let files = ours(&scene, Target::WorkTree, true);
    assert_eq!((tracked(&files), numstat(&scene, "-M HEAD")), (vec![], vec![]));
}

#[test]
fn a_file_that_git_was_told_not_to_look_at_counts_by_what_is_staged() {
    for mark in ["--skip-worktree", "--assume-unchanged"] {
        let scene = Scene::new();
        scene.write("dir/deep/d.txt", "d\nstaged\n");
        scene.git("add dir/deep/d.txt");
        scene.git(&format!("update-index {mark} a dir/b.txt dir/deep/d.txt dir/deep/er/c.txt other/e.txt"));
        // Gone, changed, changed further than what is staged, in a folder that went, and a link now.
        scene.remove("a");
        scene.write("dir/b.txt", "x\ny\nz\n");
        scene.write("dir/deep/d.txt", "1\n2\n3\n4\n");
        scene.remove("dir/deep/er");
        scene.remove("other/e.txt");
        scene.link("nowhere", "other/e.txt");
        let files = ours(&scene, Target::WorkTree, true);
        assert_eq!(tracked(&files), [("dir/deep/d.txt".to_owned(), 1, 0)], "{mark}");
        assert_eq!(tracked(&files), numstat(&scene, "-M HEAD"), "{mark}");
        assert_eq!(untracked(&files), [], "{mark}");
        assert_eq!(tracked(&ours(&scene, Target::Staged, true)), numstat(&scene, "-M --cached HEAD"));
    }
}

const PATHS: [&str; 8] =
    ["a", "dir/b.txt", "dir/deep/d.txt", "new", "dir/new", "other/e.txt", "p/q/r", "x.log"];

#[derive(Clone, Debug)]
enum Edit {
    /// Lines out of few, so that they repeat.
    Write(usize, Vec<u8>, bool),
    Delete(usize),
    Chmod(usize),
    Link(usize),
    Move(usize, usize),
    Ignore(usize),
    Binary(usize),
    /// A rule of attributes, for a path.
    Attribute(usize, usize),
}

const ATTRIBUTES: [&str; 8] = [
    "-diff",
    "diff",
    "!diff",
    "diff=false",
    "linguist-generated",
    "linguist-generated=false",
    "linguist-generated=true",
    "-linguist-generated",
];

fn edit() -> impl Strategy<Value = Edit> {
    let path = 0..PATHS.len();
    prop_oneof![
        6 => (path.clone(), prop::collection::vec(0..6_u8, 0..60), any::<bool>())
            .prop_map(|(path, lines, open)| Edit::Write(path, lines, open)),
        2 => path.clone().prop_map(Edit::Delete),
        1 => path.clone().prop_map(Edit::Chmod),
        1 => path.clone().prop_map(Edit::Link),
        3 => (path.clone(), path.clone()).prop_map(|(from, to)| Edit::Move(from, to)),
        1 => path.clone().prop_map(Edit::Ignore),
        1 => path.prop_map(Edit::Binary),
    ]
}

/// The same, and attributes as often as all else.
fn edit_of_attributes() -> impl Strategy<Value = Edit> {
    prop_oneof![
        edit(),
        (0..PATHS.len(), 0..ATTRIBUTES.len()).prop_map(|(path, attribute)| Edit::Attribute(path, attribute)),
    ]
}

fn make(scene: &Scene, edit: &Edit) {
    let place = |path: &str| {
        let path = scene.path(path);
        let _ = fs::create_dir_all(path.parent().expect("it is in the work tree"));
        let _ = fs::remove_file(&path);
        path
    };
    match edit {
        Edit::Write(path, lines, open) => {
            let mut text: String = lines.iter().map(|line| format!("line {line}\n")).collect();
            if *open {
                text.push_str("open");
            }
            let _ = fs::write(place(PATHS[*path]), text);
        }
        Edit::Delete(path) => drop(fs::remove_file(scene.path(PATHS[*path]))),
        Edit::Chmod(path) => {
            use std::os::unix::fs::PermissionsExt;
            let path = scene.path(PATHS[*path]);
            if path.is_file() && !path.is_symlink() {
                let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o755));
            }
        }
        Edit::Link(path) => drop(std::os::unix::fs::symlink("dir", place(PATHS[*path]))),
        Edit::Move(from, to) if from != to && scene.path(PATHS[*from]).exists() => {
            let to = place(PATHS[*to]);
            let _ = fs::rename(scene.path(PATHS[*from]), to);
        }
        Edit::Move(..) => {}
        Edit::Ignore(path) => scene.write(".gitignore", format!("*.log\n/{}\n", PATHS[*path])),
        Edit::Binary(path) => drop(fs::write(place(PATHS[*path]), b"\0\n\n")),
        Edit::Attribute(path, attribute) => {
            let rules = fs::read_to_string(scene.path(".gitattributes")).unwrap_or_default();
            scene.write(".gitattributes", format!("{rules}/{} {}\n", PATHS[*path], ATTRIBUTES[*attribute]));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_changes_count_as_git_counts_them(
        first in prop::collection::vec(edit(), 1..12),
        then in prop::collection::vec(edit(), 1..12),
        stage in any::<bool>(),
    ) {
        let scene = Scene::new();
        first.iter().for_each(|edit| make(&scene, edit));
        scene.git("add --all");
        scene.git("commit --quiet --allow-empty -m first");
        then.iter().for_each(|edit| make(&scene, edit));
        if stage {
            scene.git("add --all");
        }
        let files = ours(&scene, Target::WorkTree, true);
        prop_assert_eq!(tracked(&files), numstat(&scene, "-M HEAD"));
        let listed = scene.git("ls-files --others --exclude-standard");
        let names: Vec<_> = untracked(&files).into_iter().map(|file| file.0).collect();
        prop_assert_eq!(names, listed.lines().map(str::to_owned).collect::<Vec<_>>());
        // The other way to the same answer.
        let head = scene.git("rev-parse HEAD");
        let repo = scene.repo();
        let by_git = by_git(&repo, Some(&head), Target::WorkTree, &rule(true)).unwrap();
        let lines = |files: &[File]| -> Vec<_> {
            files.iter().map(|it| (it.path.clone(), it.added, it.deleted, it.untracked)).collect()
        };
        prop_assert_eq!(lines(&files), lines(&by_git));
        scene.git("add --all");
        scene.git("commit --quiet --allow-empty -m then");
        let new = scene.git("rev-parse HEAD");
        let files = repo.diff(Some(&head), Target::Commit(&new), &rule(true)).unwrap();
        prop_assert_eq!(tracked(&files), numstat(&scene, &format!("-M {head} {new}")));
    }

    #[test]
    fn texts_differ_by_as_many_lines_as_git_says(
        old in prop::collection::vec(0..12_u8, 0..200), new in prop::collection::vec(0..12_u8, 0..200),
    ) {
        let scene = Scene::new();
        let text = |lines: &[u8]| -> String { lines.iter().map(|line| format!("{line}\n")).collect() };
        scene.write("t", text(&old));
        scene.git("add t");
        scene.git("commit --quiet -m t");
        scene.write("t", text(&new));
        prop_assert_eq!(tracked(&ours(&scene, Target::WorkTree, true)), numstat(&scene, "HEAD"));
    }
}

proptest! {
    // The same cases each time.
    #![proptest_config(ProptestConfig {
        cases: 16,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(4),
        ..Default::default()
    })]

    /// git itself would ask the files on disk, so it is no witness here.
    #[test]
    fn random_attributes_count_alike_both_ways(
        first in prop::collection::vec(edit_of_attributes(), 1..12),
        then in prop::collection::vec(edit_of_attributes(), 1..12),
        stage in any::<bool>(),
        later in prop::collection::vec(edit_of_attributes(), 0..4),
        renames in any::<bool>(),
    ) {
        let scene = Scene::new();
        first.iter().for_each(|edit| make(&scene, edit));
        scene.git("add --all");
        scene.git("commit --quiet --allow-empty -m first");
        then.iter().for_each(|edit| make(&scene, edit));
        if stage {
            scene.git("add --all");
        }
        later.iter().for_each(|edit| make(&scene, edit));
        let (head, repo) = (scene.git("rev-parse HEAD"), scene.repo());
        let ignore_attributes = ["linguist-generated", "-diff"].map(str::to_owned).to_vec();
        for (ignore_attributes, renames) in [(ignore_attributes, false), (vec![], renames)] {
            let rule = DiffRule { ignore_attributes, ..rule(renames) };
            let told = |files: &[File]| -> Vec<_> {
                let counts = |it: &File| if it.excluded.is_some() { (0, 0) } else { (it.added, it.deleted) };
                files.iter().map(|it| (it.path.clone(), counts(it), it.untracked, it.excluded.clone())).collect()
            };
            for target in [Target::WorkTree, Target::Staged] {
                let ours = repo.diff(Some(&head), target, &rule).unwrap();
                prop_assert_eq!(told(&ours), told(&by_git(&repo, Some(&head), target, &rule).unwrap()), "{:?}", target);
            }
            let tree = scene.git("write-tree");
            let target = Target::Commit(&tree);
            let ours = repo.diff(Some(&head), target, &rule).unwrap();
            prop_assert_eq!(told(&ours), told(&by_git(&repo, Some(&head), target, &rule).unwrap()), "a commit");
        }
    }
}
