//! `snapshot create`, `list`, `show` and `restore`: what goes in comes back, and nothing else does.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use serde_json::Value;

use crate::fixture::{Fixture, Seen, json_of};

fn create(repo: &Fixture) -> Value {
    let seen = repo.orchestrate("snapshot create --task t --format json");
    assert_eq!(seen.code, 0, "{seen}");
    seen.json()
}

fn archive(snapshot: &Value) -> PathBuf {
    snapshot["archive_path"].as_str().expect("a path").into()
}

fn reasons(snapshot: &Value) -> BTreeMap<String, String> {
    let left_out = snapshot["left_out"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    left_out.iter().map(|it| (text(&it["path"]), text(&it["reason"]))).collect()
}

/// Runs GNU tar on an archive, and returns what it prints.
fn tar(repo: &Fixture, how: &str, archive: &Path) -> String {
    let output = repo
        .command("tar")
        .env("TZ", "UTC")
        .args(["--quoting-style=literal", how])
        .arg(archive)
        .output()
        .expect("tar");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns what is in a folder: for each path its content, or where it leads to, and whether it can be executed.
fn contents(root: &Path) -> BTreeMap<Vec<u8>, (Vec<u8>, bool)> {
    let entries = walkdir::WalkDir::new(root).min_depth(1).into_iter();
    let entries = entries.filter_entry(|entry| entry.file_name() != ".git" && entry.file_name() != ".runs");
    let mut found = BTreeMap::new();
    for entry in entries.map(|entry| entry.expect("an entry")) {
        let content = if entry.path_is_symlink() {
            fs::read_link(entry.path()).expect("a link").into_os_string().into_vec()
        } else if entry.file_type().is_file() {
            fs::read(entry.path()).expect("a file")
        } else {
            continue;
        };
        let executable = !entry.path_is_symlink() && entry.metadata().expect("metadata").mode() & 0o100 != 0;
        let path = entry.path().strip_prefix(root).expect("below").as_os_str().as_bytes().to_owned();
        found.insert(path, (content, executable));
    }
    found
}

/// A work tree with everything that git can store.
fn odd() -> Fixture {
    let repo = Fixture::new("passing");
    repo.write("sub/tracked", "tracked");
    repo.write("deleted", "soon gone");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "more"]);
    fs::remove_file(repo.path("deleted")).unwrap();
    repo.write("sub/tracked", "changed");
    for name in ["-rf", "--add-file=/etc/passwd", "new\nline", "*", "a \"quote\\", " blank ", "-C.."] {
        repo.write(name, name);
    }
    fs::write(repo.root().join(OsStr::from_bytes(b"not \xff utf-8")), "bytes").unwrap();
    let deep = vec!["a-folder-with-a-long-name"; 30].join("/");
    repo.write(&format!("{deep}/{}\nlong", "x".repeat(200)), "deep");
    repo.write("empty", "");
    repo.write("script", "#!/bin/sh\n");
    fs::set_permissions(repo.path("script"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(repo.path("script"), repo.path("same script")).unwrap();
    fs::set_permissions(repo.path("empty"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("/etc/passwd", repo.path("to the host")).unwrap();
    symlink(".", repo.path("self")).unwrap();
    symlink(format!("nowhere//./{}", "y".repeat(150)), repo.path("dangling")).unwrap();
    fs::File::create(repo.path("sparse")).unwrap().set_len(5_000_000).unwrap();
    repo.write("Case", "1");
    repo.write("case", "2");
    repo
}

#[test]
fn all_that_git_would_add_comes_back_bit_for_bit() {
    let repo = odd();
    let before = contents(repo.root());
    let snapshot = create(&repo);
    assert_eq!(snapshot["left_out"], serde_json::json!([]));
    let into = repo.beside("restored");
    let mut restore = repo.program();
    restore.args(["snapshot", "restore", snapshot["digest"].as_str().unwrap()]).arg(&into);
    let seen = repo.see(&mut restore);
    assert_eq!(seen.code, 0, "{seen}");
    assert!(contents(&into) == before);
    assert!(into.join("sparse").metadata().unwrap().blocks() < 100, "a hole stays a hole");
    assert_eq!(into.join("script").metadata().unwrap().mode() & 0o7000, 0, "no setuid");
}

#[test]
fn other_readers_see_the_same() {
    let repo = odd();
    let snapshot = create(&repo);
    let by_tar = repo.beside("by tar");
    fs::create_dir(&by_tar).unwrap();
    let unpacked =
        repo.command("tar").arg("-C").arg(&by_tar).arg("-xzf").arg(archive(&snapshot)).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&unpacked.stderr), "");
    assert!(contents(&by_tar) == contents(repo.root()));
    let listed = tar(&repo, "-tvzf", &archive(&snapshot));
    assert!(listed.contains("-rwxr-xr-x 0/0"), "{listed}");
    assert!(listed.contains(" 0 1970-01-01 00:00 empty"), "{listed}");
    let by_git = repo.beside("by git");
    fs::create_dir(&by_git).unwrap();
    let commit = snapshot["commit"].as_str().unwrap();
    let packed = repo.beside("by git.tar");
    repo.git(&["archive", "--output", packed.to_str().unwrap(), commit]);
    assert!(repo.command("tar").arg("-C").arg(&by_git).arg("-xf").arg(&packed).status().unwrap().success());
    assert!(contents(&by_git) == contents(repo.root()));
    let whole = repo.command("gzip").arg("-t").arg(archive(&snapshot)).status().unwrap();
    assert!(whole.success());
    let digest = repo.command("sha256sum").arg(archive(&snapshot)).output().unwrap();
    assert!(digest.stdout.starts_with(snapshot["digest"].as_str().unwrap().as_bytes()));
}

#[test]
fn nothing_of_the_repository_changes_but_one_ref() {
    let repo = odd();
    repo.write("stashed", "x");
    repo.git(&["add", "stashed"]);
    repo.git(&["stash", "push", "--quiet", "--", "stashed"]);
    repo.git(&["add", "sub/tracked"]);
    // What hides our folders from git is written by every command that makes some.
    create(&repo);
    let state = || {
        let refs = repo.git(&["for-each-ref", "--format=%(refname) %(objectname)"]);
        let refs: Vec<_> =
            refs.lines().filter(|it| !it.starts_with("refs/orchestrate/")).map(str::to_owned).collect();
        let files = ["index", "HEAD", "logs/HEAD", "info/exclude"];
        (
            refs,
            files.map(|name| fs::read(repo.path(".git").join(name)).ok()),
            repo.git(&["status", "--porcelain"]),
        )
    };
    let before = state();
    let snapshot = create(&repo);
    assert_eq!(state(), before);
    let reference = snapshot["reference"].as_str().unwrap();
    assert_eq!(reference, format!("refs/orchestrate/snapshots/{}", snapshot["id"].as_str().unwrap()));
    assert_eq!(repo.git(&["rev-parse", reference]), snapshot["commit"].as_str().unwrap());
    assert_eq!(repo.git(&["rev-parse", &format!("{reference}^")]), repo.git(&["rev-parse", "HEAD"]));
    // What the commit holds is what `git add --all` would store.
    repo.git(&["add", "--all"]);
    assert_eq!(repo.git(&["write-tree"]), snapshot["tree"].as_str().unwrap());
    repo.git(&["fsck", "--strict"]);
    repo.git(&["gc", "--quiet", "--prune=now"]);
    repo.git(&["cat-file", "-e", &format!("{reference}:script")]);
}

#[test]
fn what_should_not_be_in_it_is_left_out_and_told() {
    let repo = Fixture::new("passing");
    repo.write(".gitignore", "ignored\n");
    repo.write("sub/.gitignore", "*.log\n!keep.log\n");
    repo.write("sub/a.log", "");
    repo.write("sub/keep.log", "kept");
    repo.write("ignored", "");
    repo.write(".git/info/exclude", "excluded\n");
    repo.write("excluded", "");
    repo.write(".env", "TOKEN=1");
    repo.write("key", "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n");
    repo.write("out/t/state.json", "{}");
    repo.write("out/of/the/project", "x");
    repo.git(&["add", "--force", "out/of"]);
    rustix::fs::mkfifoat(rustix::fs::CWD, repo.path("pipe"), rustix::fs::Mode::RUSR).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(repo.path("socket")).unwrap();
    repo.write("was a file", "x");
    repo.git(&["add", "was a file"]);
    repo.git(&["commit", "--quiet", "--message", "more"]);
    fs::remove_file(repo.path("was a file")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, repo.path("was a file"), rustix::fs::Mode::RUSR).unwrap();
    repo.git(&["init", "--quiet", "vendor/dep"]);
    repo.write("vendor/dep/.git/credentials", "secret");
    repo.git(&["-C", "vendor/dep", "commit", "--quiet", "--allow-empty", "--message", "x"]);
    repo.git(&["init", "--quiet", "vendor/unborn"]);
    repo.write("vendor/unborn/file", "x");
    repo.git(&["init", "--quiet", "--bare", "mirror.git"]);

    let snapshot = create(&repo);
    let expected = [(".env", "secret"), ("key", "secret"), ("out/", "evidence"), ("was a file", "special")];
    let expected: BTreeMap<_, _> =
        expected.iter().map(|(path, why)| (path.to_string(), why.to_string())).collect();
    assert_eq!(reasons(&snapshot), expected);
    let head = repo.git(&["-C", "vendor/dep", "rev-parse", "HEAD"]);
    assert_eq!(
        snapshot["nested"],
        serde_json::json!([{"path": "vendor/dep", "head": head}, {"path": "vendor/unborn", "head": null}])
    );
    let names = tar(&repo, "-tzf", &archive(&snapshot));
    let mut names: Vec<_> = names.lines().filter(|name| !name.starts_with("mirror.git/")).collect();
    names.retain(|name| !["codex.orchestrator.json", "lint.sh", "README.md"].contains(name));
    assert_eq!(names, [".gitignore", "sub/.gitignore", "sub/keep.log"]);
    let stored = repo.git(&["ls-tree", "-r", "--name-only", snapshot["commit"].as_str().unwrap()]);
    for absent in [".env", "key", "out/", "was a file"] {
        assert!(!stored.lines().any(|name| name.starts_with(absent)), "{absent}: {stored}");
    }
    assert!(stored.contains("vendor/dep") && !stored.contains("unborn"));
}

#[test]
fn files_that_hold_a_secret_are_refused_and_ordinary_ones_are_not() {
    let repo = Fixture::new("passing");
    let body = "16C7e42F292c6912E7710c838347Ae178B4a";
    let value = "tok-1234-abcdef-5678";
    for (name, text) in [
        (".npmrc", "fund=false\n//registry.npmjs.org/:_authToken=npm_abc\n".to_owned()),
        ("ci.yml", format!("env:\n  TOKEN: ghp_{body}\n")),
        ("prod.env", "aws_secret_access_key=".to_owned()),
        ("large.txt", format!("ghp_{body}\n{}", "x".repeat(2 << 20))),
        (
            "server.pem",
            "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nMII\n"
                .to_owned(),
        ),
        ("holds the value", format!("url = https://{value}@host/\n")),
        // None of these holds one.
        ("web/.npmrc", "//registry.npmjs.org/:_authToken=${NPM_TOKEN}\n".to_owned()),
        ("example.env", "TOKEN=\n".to_owned()),
        ("mask.rs", "const HEAD: &str = \"ghp_\"; // -----BEGIN PRIVATE KEY-----\n".to_owned()),
        ("postgres.yml", "password: postgres\n".to_owned()),
    ] {
        repo.write(name, &text);
    }
    let take = |more: &[(&str, &str)]| {
        let mut program = repo.program();
        program.args(["snapshot", "create", "--task", "t", "--format", "json"]).envs(more.iter().copied());
        let seen = repo.see(program.env("DB_PASSWORD", "postgres"));
        assert_eq!(seen.code, 0, "{seen}");
        seen.json()
    };
    let always = [".npmrc", "ci.yml", "large.txt", "prod.env", "server.pem"];
    let refused = |snapshot: &Value| reasons(snapshot).into_keys().collect::<Vec<_>>();
    assert_eq!(refused(&take(&[])), always);
    // What is a secret is said by the environment of today, also where nothing has changed.
    let snapshot = take(&[("API_TOKEN", value)]);
    let mut with_value = always.to_vec();
    with_value.insert(2, "holds the value");
    assert_eq!(refused(&snapshot), with_value);
    assert!(reasons(&snapshot).values().all(|why| why == "secret"));
    let stored = repo.git(&["ls-tree", "-r", "--name-only", snapshot["commit"].as_str().unwrap()]);
    assert!(with_value.iter().all(|name| !stored.lines().any(|it| it == *name)), "{stored}");
}

#[test]
fn paths_that_are_too_long_for_the_machine_stop_nothing() {
    let repo = Fixture::with_commands(&["true"]);
    let name = "x".repeat(200);
    // By steps: no call takes such a path as a whole.
    let script =
        format!("n={name}; for i in $(seq 25); do mkdir $n && cd -P ./$n && echo $i > file || exit 1; done");
    let made = repo.command("bash").args(["-c", &script]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let seen = repo.orchestrate("start --task t");
    assert_eq!(seen.code, 0, "{seen}");
    let snapshot = create(&repo);
    assert!(reasons(&snapshot).values().all(|why| why == "unreadable"), "{snapshot}");
    assert!(!reasons(&snapshot).is_empty());
    assert!(snapshot["files"].as_u64().unwrap() > 10, "{snapshot}");
    check_commit_has(&repo, &snapshot);
    // As deep as the machine can name it is nothing special.
    let repo = Fixture::new("passing");
    let deep = vec!["d".repeat(199); 14].join("/");
    repo.write(&format!("{deep}/file"), "deep");
    let snapshot = create(&repo);
    assert_eq!(snapshot["left_out"], serde_json::json!([]));
    check_commit(&repo, &snapshot, "deep");
}

/// Checks that the commit has as many files as the archive.
fn check_commit_has(repo: &Fixture, snapshot: &Value) {
    let stored = repo.git(&["ls-tree", "-r", "--name-only", snapshot["commit"].as_str().unwrap()]);
    assert_eq!(Some(stored.lines().count() as u64), snapshot["files"].as_u64());
}

#[test]
fn the_same_content_is_the_same_archive_in_another_clone() {
    let repo = odd();
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "all of it"]);
    let first = create(&repo);
    let clone = repo.beside("clone");
    repo.git(&["clone", "--quiet", ".", clone.to_str().unwrap()]);
    let seen = repo.orchestrate_in(&clone, "snapshot create --format json");
    let second = seen.json();
    for fact in ["digest", "bytes", "tree", "commit"] {
        assert_eq!(first[fact], second[fact], "{fact}");
    }
    assert_eq!(fs::read(archive(&first)).unwrap(), fs::read(archive(&second)).unwrap());
}

#[test]
fn zstd_on_request_is_the_same_tree_in_another_archive() {
    let repo = odd();
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "all of it"]);
    let by_gzip = create(&repo);
    let seen = repo.orchestrate("snapshot create --task t --compression zstd --format json");
    let by_zstd = seen.json();
    assert_eq!((&by_zstd["tree"], &by_zstd["same_as"]), (&by_gzip["tree"], &Value::Null), "{seen}");
    assert_eq!(by_zstd["archive"], format!("{}.tar.zst", by_zstd["id"].as_str().unwrap()));
    assert!(fs::read(archive(&by_zstd)).unwrap().starts_with(b"\x28\xb5\x2f\xfd"));

    // The same content is the same archive, here and in another clone.
    let clone = repo.beside("clone");
    repo.git(&["clone", "--quiet", ".", clone.to_str().unwrap()]);
    let here = repo.orchestrate("snapshot create --task t --compression zstd --format json").json();
    assert_eq!((&here["digest"], &here["same_as"]), (&by_zstd["digest"], &by_zstd["id"]));
    let there = repo.orchestrate_in(&clone, "snapshot create --compression zstd --format json").json();
    assert_eq!(there["digest"], by_zstd["digest"]);
    assert_eq!(fs::read(archive(&there)).unwrap(), fs::read(archive(&by_zstd)).unwrap());

    match repo.command("zstd").arg("--version").output() {
        Ok(_) => assert!(repo.command("zstd").arg("-tq").arg(archive(&by_zstd)).status().unwrap().success()),
        Err(_) => eprintln!("there is no program `zstd` here, so no other reader looks at the archive"),
    }
    let (before, into) = (contents(repo.root()), repo.beside("restored"));
    let restore = |into: &Path| {
        let mut restore = repo.program();
        restore.args(["snapshot", "restore", by_zstd["digest"].as_str().unwrap()]).arg(into);
        repo.see(&mut restore)
    };
    assert_eq!(restore(&into).code, 0);
    assert!(contents(&into) == before);
    let digest = &by_zstd["digest"].as_str().unwrap()[..12];
    assert_eq!(repo.orchestrate(&format!("snapshot replay {digest} -- test -f script")).code, 0);
    let mut bytes = fs::read(archive(&by_zstd)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(archive(&by_zstd), bytes).unwrap();
    for seen in [
        restore(&repo.beside("again")),
        repo.orchestrate(&format!("snapshot replay {digest} -- true")),
        repo.orchestrate(&format!("snapshot show {digest}")),
    ] {
        assert_eq!(seen.code, 6, "{seen}");
    }

    // What is too old goes, whatever its name.
    for snapshot in [&by_zstd, &here] {
        let document = Path::new(snapshot["document_path"].as_str().unwrap());
        let text = fs::read_to_string(document).unwrap();
        let created = snapshot["created_at"].as_str().unwrap();
        fs::write(document, text.replace(created, "2020-01-01T00:00:00.000Z")).unwrap();
    }
    let gc = repo.orchestrate("snapshot gc");
    assert_eq!(gc.code, 0, "{gc}");
    let left = repo.tree(".runs/learning-snapshots/t");
    assert!(left.iter().all(|name| !name.ends_with(".zst")), "{left:?}");
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn an_unchanged_tree_is_recognised_and_not_packed_again() {
    let repo = odd();
    let first = create(&repo);
    let second = create(&repo);
    assert_eq!(second["same_as"], first["id"]);
    assert_eq!(second["digest"], first["digest"]);
    let inode = |snapshot: &Value| archive(snapshot).metadata().unwrap().ino();
    assert_eq!(inode(&first), inode(&second));
    // The times of a file say that it is another one, whatever its size.
    repo.write("case", "3");
    let third = create(&repo);
    assert_eq!(third["same_as"], Value::Null);
    assert_ne!(third["digest"], first["digest"]);
    // And what was recognised has to be what it was.
    fs::write(archive(&third), "edited").unwrap();
    let fourth = create(&repo);
    assert_eq!(fourth["same_as"], Value::Null);
    assert_eq!(fourth["digest"], third["digest"]);
}

#[test]
fn what_only_the_index_says_is_not_taken_for_the_same() {
    let repo = Fixture::new("passing");
    repo.git(&["config", "core.fileMode", "false"]);
    fs::create_dir(repo.path("module")).unwrap();
    let check_out = |commit: &str| {
        repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},module")]);
    };
    check_out(&"1".repeat(40));
    let first = create(&repo);
    assert_eq!(create(&repo)["same_as"], first["id"]);
    check_out(&"2".repeat(40));
    let second = create(&repo);
    assert_eq!((&second["same_as"], &second["digest"]), (&Value::Null, &first["digest"]));
    repo.git(&["update-index", "--chmod=+x", "codex.orchestrator.json"]);
    let third = create(&repo);
    assert_eq!(third["same_as"], Value::Null);
    let stored = repo.git(&["ls-tree", "-r", third["commit"].as_str().unwrap()]);
    assert!(stored.contains(&format!("160000 commit {}\tmodule", "2".repeat(40))), "{stored}");
    let script = stored.lines().find(|line| line.ends_with("codex.orchestrator.json")).unwrap();
    assert!(script.starts_with("100755 "), "{stored}");
}

/// Checks that the commit of a snapshot holds exactly what its archive holds.
fn check_commit(repo: &Fixture, snapshot: &Value, what: &str) {
    let (packed, into) = (repo.beside("commit.tar"), repo.beside("of the commit"));
    repo.git(&["archive", "--output", packed.to_str().unwrap(), snapshot["commit"].as_str().unwrap()]);
    let listed = |how: &str, archive: &Path| {
        let names = tar(repo, how, archive);
        let mut names: Vec<_> = names.lines().filter(|it| !it.ends_with('/')).map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(listed("-tf", &packed), listed("-tzf", &archive(snapshot)), "{what}");
    for (from, name) in [(&packed, "of the commit"), (&archive(snapshot), "of the archive")] {
        let into = repo.beside(name);
        let _ = fs::remove_dir_all(&into);
        fs::create_dir(&into).unwrap();
        assert!(repo.command("tar").arg("-C").arg(&into).arg("-xf").arg(from).status().unwrap().success());
    }
    assert!(contents(&into) == contents(&repo.beside("of the archive")), "{what}");
}

#[test]
fn the_commit_holds_what_the_archive_holds_whatever_git_believes_of_a_file() {
    for ignore_case in ["false", "true"] {
        let repo = Fixture::new("passing");
        repo.git(&["config", "core.ignoreCase", ignore_case]);
        for name in ["assumed", "skipped", "both", "as it was", "assumed and gone"] {
            repo.write(name, "as it was");
        }
        repo.git(&["add", "--all"]);
        repo.git(&["commit", "--quiet", "--message", "files"]);
        repo.git(&["update-index", "--assume-unchanged", "assumed", "both", "as it was", "assumed and gone"]);
        repo.git(&["update-index", "--skip-worktree", "skipped", "both"]);
        for name in ["assumed", "skipped", "both"] {
            repo.write(name, "edited");
        }
        fs::remove_file(repo.path("assumed and gone")).unwrap();
        let flags = repo.git(&["ls-files", "-v"]);
        let snapshot = create(&repo);
        check_commit(&repo, &snapshot, ignore_case);
        let commit = snapshot["commit"].as_str().unwrap();
        for name in ["assumed", "skipped", "both"] {
            assert_eq!(repo.git(&["show", &format!("{commit}:{name}")]), "edited", "{ignore_case}: {name}");
        }
        assert_eq!(repo.git(&["ls-files", "-v"]), flags);
    }
}

#[test]
fn the_commit_of_a_sparse_checkout_keeps_what_is_not_checked_out() {
    for ignore_case in ["false", "true"] {
        for set in ["set in", "set --sparse-index in"] {
            let repo = Fixture::new("passing");
            repo.git(&["config", "core.ignoreCase", ignore_case]);
            repo.write("in/file", "in");
            repo.write("out of it/file", "out");
            repo.git(&["add", "--all"]);
            repo.git(&["commit", "--quiet", "--message", "files"]);
            repo.git(&[&["sparse-checkout"][..], &set.split(' ').collect::<Vec<_>>()].concat());
            assert!(!repo.path("out of it").exists());
            repo.write("in/file", "edited");
            let commit = create(&repo)["commit"].as_str().unwrap().to_owned();
            let changed = repo.git(&["diff", "--name-status", "HEAD", &commit]);
            assert_eq!(changed, "M\tin/file", "{ignore_case}: {set}");
        }
    }
}

#[test]
fn a_repository_in_place_of_a_file_is_in_the_commit_as_git_would_have_it() {
    for ignore_case in ["false", "true"] {
        let repo = Fixture::new("passing");
        repo.git(&["config", "core.ignoreCase", ignore_case]);
        repo.write("dep", "a file");
        repo.git(&["add", "--all"]);
        repo.git(&["commit", "--quiet", "--message", "a file"]);
        fs::remove_file(repo.path("dep")).unwrap();
        repo.git(&["init", "--quiet", "dep"]);
        repo.git(&["-C", "dep", "commit", "--quiet", "--allow-empty", "--message", "x"]);
        let head = repo.git(&["-C", "dep", "rev-parse", "HEAD"]);
        let snapshot = create(&repo);
        assert_eq!(snapshot["nested"], serde_json::json!([{"path": "dep", "head": head}]), "{ignore_case}");
        let stored = repo.git(&["ls-tree", snapshot["commit"].as_str().unwrap(), "dep"]);
        assert_eq!(stored, format!("160000 commit {head}\tdep"), "{ignore_case}");
        repo.git(&["add", "--all"]);
        assert_eq!(repo.git(&["write-tree"]), snapshot["tree"].as_str().unwrap(), "{ignore_case}");
    }
}

#[test]
fn an_archive_that_was_edited_is_refused() {
    let repo = Fixture::new("passing");
    let snapshot = create(&repo);
    let mut bytes = fs::read(archive(&snapshot)).unwrap();
    let last = bytes.len() - 20;
    bytes[last] ^= 1;
    fs::write(archive(&snapshot), bytes).unwrap();
    let into = repo.beside("restored");
    let restore = |what: &str, more: &[&str]| {
        let mut restore = repo.program();
        restore.args(["snapshot", "restore", what]).arg(&into).args(more);
        repo.see(&mut restore)
    };
    for seen in [restore("latest", &[]), repo.orchestrate("snapshot show")] {
        assert_eq!(seen.code, 6, "{seen}");
    }
    assert!(!into.exists());
    let named = archive(&snapshot).display().to_string();
    let digest = snapshot["digest"].as_str().unwrap();
    assert_eq!(restore(digest, &["--archive", &named]).code, 6);
    assert_eq!(restore("abc", &["--archive", &named]).code, 2);
    fs::remove_file(archive(&snapshot)).unwrap();
    assert_eq!(restore("latest", &[]).code, 6);
    assert_eq!(restore("nothing", &[]).code, 2);
}

#[test]
fn nothing_is_written_over() {
    let repo = Fixture::new("passing");
    create(&repo);
    let restore = |into: &Path| {
        let mut restore = repo.program();
        restore.args(["snapshot", "restore", "latest"]).arg(into);
        repo.see(&mut restore)
    };
    let (full, file, empty) = (repo.beside("full"), repo.beside("file"), repo.beside("empty"));
    fs::create_dir_all(full.join("inside")).unwrap();
    fs::write(&file, "x").unwrap();
    fs::create_dir(&empty).unwrap();
    let link = repo.beside("link");
    symlink(&empty, &link).unwrap();
    for taken in [&full, &file, &link] {
        let seen: Seen = restore(taken);
        assert_eq!(seen.code, 3, "{seen}");
    }
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(&file).unwrap(), "x");
    assert_eq!(restore(&empty).code, 0);
    assert!(empty.join("codex.orchestrator.json").exists());
    // Whoever stands in an empty folder still stands in it.
    let here = repo.path("here");
    fs::create_dir(&here).unwrap();
    let folder = here.metadata().unwrap().ino();
    let seen = repo.orchestrate_in(&here, "snapshot restore latest .");
    assert_eq!(seen.code, 0, "{seen}");
    assert!(here.join("codex.orchestrator.json").exists());
    assert_eq!(here.metadata().unwrap().ino(), folder);
    assert_eq!(repo.orchestrate_in(&here, "snapshot restore latest .").code, 3);
}

#[test]
fn a_hook_s_environment_leads_nowhere_else() {
    let repo = odd();
    let plain = create(&repo);
    let mut in_hook = repo.program();
    in_hook.args(["snapshot", "create", "--task", "t", "--format", "json"]);
    in_hook
        .env("GIT_DIR", repo.path(".git"))
        .env("GIT_INDEX_FILE", repo.beside("no index"))
        .env("GIT_PREFIX", "x/");
    let seen = repo.see(&mut in_hook);
    assert_eq!(seen.json()["tree"], plain["tree"], "{seen}");
    let below = repo.orchestrate_in(&repo.path("sub"), "snapshot create --task t --format json");
    assert_eq!(below.json()["digest"], plain["digest"], "{below}");
}

/// Ends the threads that look at it.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_busy_tree_is_captured_all_the_same() {
    let repo = Fixture::new("passing");
    for at in 0..60 {
        repo.write(&format!("busy/{at}"), &"line\n".repeat(at * 100));
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Whatever becomes of us, the scope waits for the writer.
        let _stop = Stop(&stop);
        scope.spawn(|| {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                let path = repo.path(&format!("busy/{}", round % 60));
                match round % 3 {
                    0 => fs::write(&path, "x".repeat(round % 5_000)).unwrap(),
                    1 => drop(fs::remove_file(&path)),
                    _ => fs::File::options()
                        .append(true)
                        .create(true)
                        .open(&path)
                        .unwrap()
                        .set_len(70_000)
                        .unwrap(),
                }
                round += 1;
            }
        });
        for _ in 0..3 {
            let snapshot = create(&repo);
            tar(&repo, "-tzf", &archive(&snapshot));
            assert_eq!(repo.orchestrate("snapshot show").code, 0);
        }
    });
}

#[test]
fn a_disk_that_is_full_leaves_nothing_half_done() {
    let repo = odd();
    create(&repo);
    let refs = || repo.git(&["for-each-ref", "refs/orchestrate/snapshots"]).lines().count();
    let mut failed = 0;
    for step in 1.. {
        repo.write("case", &format!("again {step}"));
        let before = refs();
        let mut create = repo.program();
        create.args(["snapshot", "create", "--task", "t"]).env("GIT_ORCHESTRATE_FAIL_AT", step.to_string());
        let seen = repo.see(&mut create);
        if seen.code == 0 && refs() == before + 1 && failed > 0 {
            break;
        }
        // Some steps only make the next snapshot faster.
        if seen.code != 0 {
            failed += 1;
            assert_eq!(seen.code, 4, "step {step}: {seen}");
        }
        for name in repo.tree(".runs/learning-snapshots/t") {
            let document = name.replace(".tar.gz", ".json");
            assert!(
                repo.path(&format!(".runs/learning-snapshots/t/{document}")).exists(),
                "step {step}: {name}"
            );
        }
    }
    assert!(failed > 4, "{failed}");
    assert_eq!(repo.git(&["fsck", "--strict", "--no-dangling"]), "");
}

#[test]
fn links_in_place_of_our_folders_are_not_followed() {
    let repo = Fixture::new("passing");
    let outside = repo.beside("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir(repo.path(".runs")).unwrap();
    symlink(&outside, repo.path(".runs/learning-snapshots")).unwrap();
    let seen = repo.orchestrate("snapshot create");
    assert_eq!(seen.code, 3, "{seen}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    let mut create = repo.program();
    create.args(["snapshot", "create", "--task", "t"]).env("LEARNING_SNAPSHOT_DIR", &outside);
    assert_eq!(repo.see(&mut create).code, 0);
    assert_eq!(fs::read_dir(outside.join("t")).unwrap().count(), 2);
}

#[test]
fn what_a_person_sees() {
    let repo = Fixture::new("passing");
    assert_seen!(repo.orchestrate("snapshot list"), @"
    No snapshots yet: `git orchestrate snapshot create` takes one.
    [exit: 0]
    ");
    repo.write(".env", "TOKEN=1");
    let seen = repo.orchestrate("snapshot create --task t");
    insta::with_settings!({filters => vec![
        (r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d{3}Z-[0-9a-f]{8}", "[RUN]"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "[TIME]"),
        (r"/\S*/a repo", "[ROOT]"),
        (r"\b[0-9a-f]{64}\b", "[DIGEST]"),
        (r"\b[0-9a-f]{12}\b", "[SHORT]"),
    ]}, {
        insta::assert_snapshot!(seen.to_string(), @"
        Snapshot [RUN] of task t
          taken    [TIME]: 1 file, 319 B
          archive  [ROOT]/.runs/learning-snapshots/t/[RUN].tar.gz (257 B)
          sha256   [DIGEST]
          commit   [SHORT] as refs/orchestrate/snapshots/[RUN]
        Left out, because it looks like a secret: `.env`
        [exit: 0]
        ");
        insta::assert_snapshot!(repo.orchestrate("snapshot list").to_string(), @"
        SNAPSHOT                           TASK  DIGEST        FILES  SIZE   LEFT OUT
        [RUN]  t     [SHORT]  1      257 B  1
        [exit: 0]
        ");
    });
}

/// What happens to a work tree.
#[derive(Clone, Debug)]
enum Step {
    Write(String, Vec<u8>, bool),
    Link(String, String),
    Remove(String),
    Stage,
    Commit,
    Ignore(String),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let part = || {
        prop_oneof!["[a-c]", "[ -][x-z\n\\\\*?]{1,3}", "\\PC{1,4}"]
            .prop_map(|part: String| part.replace('/', "_"))
    };
    let path = move || {
        proptest::collection::vec(part(), 1..4).prop_map(|parts| parts.join("/")).prop_filter(
            "git takes the name",
            |path| {
                path.split('/')
                    .all(|part| !matches!(part, "" | "." | "..") && !part.to_lowercase().contains("git"))
                    && !path.contains('\0')
                    && !path.ends_with(' ')
            },
        )
    };
    let content = || {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            (0..3_usize, any::<u8>()).prop_map(|(size, byte)| vec![byte; size * 700_000]),
        ]
    };
    let step = prop_oneof![
        6 => (path(), content(), any::<bool>()).prop_map(|(path, content, executable)| Step::Write(path, content, executable)),
        2 => (path(), "[a-z./]{1,20}").prop_map(|(path, to)| Step::Link(path, to)),
        2 => path().prop_map(Step::Remove),
        1 => Just(Step::Stage),
        1 => Just(Step::Commit),
        1 => "[a-cx-z*]{1,2}".prop_map(Step::Ignore),
    ];
    proptest::collection::vec(step, 1..25)
}

fn walk(repo: &Fixture, steps: Vec<Step>) {
    for step in steps {
        let free = |path: &str| {
            let at = repo.path(path);
            let folders = Path::new(path).ancestors().skip(1).all(|it| {
                let found = repo.root().join(it).symlink_metadata();
                found.is_err() || found.is_ok_and(|it| it.is_dir())
            });
            folders && !at.symlink_metadata().is_ok_and(|it| it.is_dir())
        };
        match step {
            Step::Write(path, content, executable) if free(&path) => {
                let at = repo.path(&path);
                fs::create_dir_all(at.parent().unwrap()).unwrap();
                let _ = fs::remove_file(&at);
                fs::write(&at, content).unwrap();
                fs::set_permissions(&at, fs::Permissions::from_mode(if executable { 0o755 } else { 0o640 }))
                    .unwrap();
            }
            Step::Link(path, to) if free(&path) => {
                let at = repo.path(&path);
                fs::create_dir_all(at.parent().unwrap()).unwrap();
                let _ = fs::remove_file(&at);
                symlink(to, at).unwrap();
            }
            Step::Remove(path) if free(&path) => drop(fs::remove_file(repo.path(&path))),
            Step::Stage => drop(repo.git(&["add", "--all"])),
            Step::Commit => {
                drop(repo.git(&["commit", "--quiet", "--allow-empty", "--all", "--message", "x"]))
            }
            Step::Ignore(pattern) => repo.write(".gitignore", &format!("{pattern}\n")),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_restored_snapshot_has_the_same_status_and_the_same_tree(steps in steps()) {
        let repo = Fixture::new("passing");
        walk(&repo, steps);
        let snapshot = create(&repo);
        let into = repo.beside("restored");
        let mut restore = repo.program();
        restore.args(["snapshot", "restore", "latest"]).arg(&into);
        prop_assert_eq!(repo.see(&mut restore).code, 0);
        let index = repo.beside("index");
        fs::copy(repo.path(".git/index"), &index).unwrap();
        let in_restored = |words: &[&str]| {
            let mut git = repo.command("git");
            git.current_dir(&into).env("GIT_DIR", repo.path(".git")).env("GIT_WORK_TREE", &into).env("GIT_INDEX_FILE", &index);
            let output = git.args(words).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
        };
        prop_assert_eq!(in_restored(&["status", "--porcelain", "-z"]), repo.git(&["status", "--porcelain", "-z"]));
        in_restored(&["add", "--all"]);
        prop_assert_eq!(in_restored(&["write-tree"]), snapshot["tree"].as_str().unwrap());
        let kept = json_of(Path::new(snapshot["document_path"].as_str().unwrap()));
        prop_assert_eq!(&kept["digest"], &snapshot["digest"]);
    }
}
