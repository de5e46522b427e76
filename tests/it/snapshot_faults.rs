//! Snapshots of work trees that resist, on disks that are full, by processes that are killed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::fixture::{Fixture, Seen, json_of, manifest, only_run};

const STORE: &str = ".runs/learning-snapshots/t";

fn create(repo: &Fixture) -> Value {
    let seen = repo.orchestrate("snapshot create --task t --format json");
    assert_eq!(seen.code, 0, "{seen}");
    seen.json()
}

fn reasons(snapshot: &Value) -> Vec<(&str, &str)> {
    let left_out = snapshot["left_out"].as_array().expect("a list").iter();
    left_out.map(|it| (it["path"].as_str().unwrap(), it["reason"].as_str().unwrap())).collect()
}

fn archive(snapshot: &Value) -> PathBuf {
    snapshot["archive_path"].as_str().expect("a path").into()
}

/// What is in an archive, by its name, as GNU tar sees it.
fn names(repo: &Fixture, archive: &Path) -> Vec<String> {
    let listed = repo.command("tar").arg("-tzf").arg(archive).output().expect("tar");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    String::from_utf8(listed.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}

fn refs(repo: &Fixture) -> BTreeSet<String> {
    let refs = repo.git(&["for-each-ref", "--format=%(refname:lstrip=3)", "refs/orchestrate/snapshots"]);
    refs.lines().map(str::to_owned).collect()
}

/// Bytes that no archive makes smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Checks that every snapshot that is listed is whole, and that the repository is.
fn check(repo: &Fixture, what: &str) {
    let listed = repo.orchestrate("snapshot list --format json");
    assert_eq!(listed.code, 0, "{what}: {listed}");
    let refs = refs(repo);
    for snapshot in listed.json()["snapshots"].as_array().expect("a list") {
        let id = snapshot["id"].as_str().expect("an id");
        let shown = repo.orchestrate(&format!("snapshot show {id}"));
        assert_eq!(shown.code, 0, "{what}: {shown}");
        assert!(refs.contains(id), "{what}: {refs:?} has no {id}");
    }
    assert_eq!(repo.git(&["fsck", "--strict", "--no-dangling"]), "", "{what}");
    assert_eq!(repo.git(&["stash", "list"]), "", "{what}");
}

/// Makes everything in the store look two hours old.
fn let_time_pass(repo: &Fixture) {
    for name in repo.tree(STORE) {
        let aged =
            repo.command("touch").args(["-d", "2 hours ago"]).arg(repo.path(STORE).join(name)).status();
        assert!(aged.expect("touch").success());
    }
}

/// Returns the program in a mount namespace of its own, in which a small disk is mounted at a folder; nothing where
/// that is not allowed. What it is given are words for a shell, in which `$PROGRAM` is the program.
fn on_a_small_disk(repo: &Fixture, kib: usize, at: &Path, script: &str) -> Option<Command> {
    let small = |how: &[&str], script: &str| {
        let mut command = repo.command("unshare");
        let mount = format!("mount -t tmpfs -o size={kib}k none \"$DISK\" && {{ {script}\n}}");
        command.args(how).args(["sh", "-c", &mount]);
        command.env("DISK", at).env("PROGRAM", env!("CARGO_BIN_EXE_git-orchestrate"));
        command
    };
    for how in [&["--mount"][..], &["--mount", "--map-root-user"]] {
        if small(how, "true").output().is_ok_and(|output| output.status.success()) {
            return Some(small(how, script));
        }
    }
    eprintln!("skipped: nobody may mount a small disk here");
    None
}

#[test]
fn a_disk_that_is_really_full_fails_the_snapshot_and_not_the_run() {
    let repo = Fixture::with_commands(&["true"]);
    fs::write(repo.path("large"), noise(2 << 20)).unwrap();
    let store = repo.path(".runs/learning-snapshots");
    fs::create_dir_all(&store).unwrap();
    let script = "\"$PROGRAM\" start --task t; echo start $?; find \"$DISK\" -type f; \
                  \"$PROGRAM\" snapshot create --task t; echo create $?; find \"$DISK\" -type f";
    let Some(mut command) = on_a_small_disk(&repo, 512, &store, script) else { return };
    let seen = repo.see(command.env("LEARNING_PIPELINE_ENABLED", "1"));
    let lines: Vec<_> = seen.stdout.lines().filter(|line| !line.starts_with(' ')).collect();
    assert!(lines.contains(&"start 0") && lines.contains(&"create 4"), "{seen}");
    assert!(!seen.stdout.contains("/learning-snapshots/"), "nothing is left: {seen}");
    let manifest = manifest(&only_run(&repo));
    assert_eq!(manifest["status"], "succeeded");
    let learning = &manifest["learning"];
    assert_eq!(learning["snapshot"]["status"], "snapshot_failed");
    assert_eq!(learning["snapshot"]["attempts"], 1, "it is full in a second, too");
    let error = learning["snapshot"]["last_error"].as_str().unwrap();
    assert!(error.contains("No space left on device"), "{error}");
    assert_eq!(learning["validation"]["status"], "snapshot_failed");
    assert!(refs(&repo).is_empty());
    // With room again, nothing is in the way.
    let seen = repo.orchestrate("snapshot requeue latest --task t -- test -s large");
    assert_eq!(seen.code, 0, "{seen}");
    check(&repo, "with room again");
}

#[test]
fn a_disk_that_is_really_full_leaves_no_half_of_what_is_restored() {
    let repo = Fixture::new("passing");
    fs::write(repo.path("large"), noise(2 << 20)).unwrap();
    create(&repo);
    let disk = repo.beside("disk");
    fs::create_dir(&disk).unwrap();
    let script = "\"$PROGRAM\" snapshot restore latest \"$DISK/there\"; echo restore $?; ls -A \"$DISK\"";
    let Some(mut command) = on_a_small_disk(&repo, 512, &disk, script) else { return };
    let seen = repo.see(&mut command);
    assert_eq!(seen.stdout, "restore 4\n", "{seen}");
}

#[test]
fn many_files_are_captured() {
    let repo = Fixture::new("passing");
    let folder = "a-name-that-is-quite-long-so-that-all-names-together-are-more-than-a-megabyte";
    for at in 0..12_000 {
        let path = repo.path(&format!("{folder}/{}", at % 40));
        if at < 40 {
            fs::create_dir_all(&path).unwrap();
        }
        fs::write(path.join(format!("file {at}")), (at % 7).to_string()).unwrap();
    }
    let snapshot = create(&repo);
    assert_eq!(snapshot["left_out"], json!([]));
    let by_git = repo.git(&["ls-files", "-co", "--exclude-standard"]);
    assert!(by_git.len() > 1 << 20);
    let mut by_git: Vec<_> = by_git.lines().map(str::to_owned).collect();
    by_git.sort();
    assert_eq!(snapshot["files"], by_git.len());
    assert!(names(&repo, &archive(&snapshot)) == by_git);
}

#[test]
fn a_file_that_is_mostly_holes_is_too_large_or_as_small_as_what_it_holds() {
    let repo = Fixture::new("passing");
    fs::File::create(repo.path("huge")).unwrap().set_len(20 << 30).unwrap();
    fs::File::create(repo.path("sparse")).unwrap().set_len(90 << 20).unwrap();
    let snapshot = create(&repo);
    assert_eq!(snapshot["left_out"], json!([{"path": "huge", "reason": "too_large", "bytes": 20_u64 << 30}]));
    assert!(snapshot["bytes"].as_u64().unwrap() < 1 << 20, "{snapshot}");
    let into = repo.beside("restored");
    let mut restore = repo.program();
    restore.args(["snapshot", "restore", "latest"]).arg(&into);
    assert_eq!(repo.see(&mut restore).code, 0);
    use std::os::unix::fs::MetadataExt;
    let sparse = into.join("sparse").metadata().unwrap();
    assert_eq!(sparse.len(), 90 << 20);
    assert!(sparse.blocks() < 100, "a hole stays a hole");
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_captured() {
    let repo = Fixture::new("passing");
    repo.write("tracked", "x");
    repo.git(&["add", "tracked"]);
    repo.git(&["commit", "--quiet", "--message", "more"]);
    repo.write("tracked", "changed");
    repo.write("untracked", "x");
    repo.write("closed/inside", "x");
    repo.write("open", "x");
    let close = |name: &str, mode| {
        fs::set_permissions(repo.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    for name in ["tracked", "untracked", "closed"] {
        close(name, 0o000);
    }
    let seen = match repo.unprivileged() {
        Some(mut program) => {
            program.args(["snapshot", "create", "--task", "t", "--format", "json"]);
            Some(repo.see(&mut program))
        }
        None => None,
    };
    close("closed", 0o755);
    let Some(seen) = seen else {
        eprintln!("skipped: nobody can give up the right to read everything here");
        return;
    };
    assert_eq!(seen.code, 0, "{seen}");
    let snapshot = seen.json();
    assert_eq!(
        reasons(&snapshot),
        [("closed/", "unreadable"), ("tracked", "unreadable"), ("untracked", "unreadable")]
    );
    assert!(names(&repo, &archive(&snapshot)).contains(&"open".to_owned()));
    let stored = repo.git(&["ls-tree", "-r", "--name-only", snapshot["commit"].as_str().unwrap()]);
    assert!(!stored.lines().any(|name| name.contains("tracked")), "{stored}");
}

#[test]
fn devices_are_told_and_not_read() {
    let repo = Fixture::new("passing");
    // As `/dev/zero`, and as a disk.
    let nodes = [("zero", "c", ["1", "5"]), ("disk", "b", ["7", "200"])];
    for (name, kind, numbers) in nodes {
        let made = repo.command("mknod").arg(repo.path(name)).arg(kind).args(numbers).output().unwrap();
        if !made.status.success() {
            eprintln!("skipped: no devices can be made here");
            return;
        }
    }
    repo.write("was a file", "x");
    repo.git(&["add", "was a file"]);
    repo.git(&["commit", "--quiet", "--message", "more"]);
    fs::remove_file(repo.path("was a file")).unwrap();
    fs::rename(repo.path("zero"), repo.path("was a file")).unwrap();
    let snapshot = create(&repo);
    // What git does not track and cannot hold it does not list either.
    assert_eq!(reasons(&snapshot), [("was a file", "special")]);
    assert!(!names(&repo, &archive(&snapshot)).iter().any(|name| ["disk", "was a file"].contains(&&**name)));
}

#[test]
fn what_one_user_may_not_read_another_may() {
    let repo = Fixture::new("passing");
    repo.write("untracked", "x");
    fs::set_permissions(repo.path("untracked"), fs::Permissions::from_mode(0o000)).unwrap();
    let unprivileged = repo.unprivileged().filter(|_| rustix::process::geteuid().is_root());
    let Some(mut program) = unprivileged else {
        eprintln!("skipped: there is nobody here who may read more than others");
        return;
    };
    let seen = repo.see(program.args(["snapshot", "create", "--task", "t", "--format", "json"]));
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(reasons(&seen.json()), [("untracked", "unreadable")]);
    assert_eq!(reasons(&create(&repo)), []);
}

#[test]
fn a_linked_worktree_its_subfolder_and_a_hook_in_it_mean_that_worktree() {
    let repo = Fixture::new("passing");
    repo.write("sub/file", "main");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "more"]);
    let linked = repo.beside("linked tree");
    repo.git(&["worktree", "add", "--quiet", "-b", "side", linked.to_str().unwrap()]);
    let of_main = create(&repo);
    let there = |dir: &Path| {
        let seen = repo.orchestrate_in(dir, "snapshot create --task t --format json");
        assert_eq!(seen.code, 0, "{seen}");
        seen.json()
    };
    assert_eq!(there(&linked)["digest"], of_main["digest"]);
    fs::write(linked.join("sub/file"), "linked").unwrap();
    let of_linked = there(&linked.join("sub"));
    assert_ne!(of_linked["digest"], of_main["digest"]);
    assert!(archive(&of_linked).starts_with(&linked), "{of_linked}");
    // git sets GIT_DIR and GIT_INDEX_FILE for a hook, which say where it is and not what is meant.
    let hook = repo.path(".git/hooks/pre-commit");
    let program = env!("CARGO_BIN_EXE_git-orchestrate");
    let said = repo.beside("said");
    let script =
        format!("#!/bin/sh\nexec '{program}' snapshot create --format json > '{}'\n", said.display());
    fs::write(&hook, script).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let mut commit = repo.command("git");
    commit.current_dir(&linked).args(["commit", "--quiet", "--all", "--message", "in a hook"]);
    assert!(commit.status().unwrap().success());
    let in_hook = json_of(&said);
    assert_eq!(in_hook["tree"], of_linked["tree"]);
    assert_eq!(repo.git(&["rev-parse", "side^{tree}"]), in_hook["tree"].as_str().unwrap());
}

#[test]
fn an_embedded_repository_runs_nothing_of_its_own() {
    let repo = Fixture::new("passing");
    let spoiled = repo.beside("spoiled");
    for (words, config) in [
        (&["init", "--quiet", "--bare", "bare.git"][..], "bare.git/config"),
        (&["init", "--quiet", "nested"], "nested/.git/config"),
    ] {
        repo.git(words);
        let text = repo.read(config);
        let monitor = format!("touch '{}'; false", spoiled.display());
        let filter = format!("[filter \"x\"]\n\tclean = {monitor}\n[core]\n\tfsmonitor = \"{monitor}\"\n");
        repo.write(config, &format!("{text}{filter}"));
    }
    repo.write("bare.git/.gitattributes", "* filter=x\n");
    repo.write("nested/.gitattributes", "* filter=x\n");
    repo.write("nested/file", "x");
    let snapshot = create(&repo);
    assert_eq!(snapshot["nested"], json!([{"path": "nested", "head": null}]));
    // A folder that looks like a repository without a work tree is a folder with files, for git too.
    let names = names(&repo, &archive(&snapshot));
    assert!(names.iter().any(|name| name == "bare.git/HEAD"), "{names:?}");
    let inside = repo.orchestrate_in(&repo.path("bare.git"), "snapshot create --task t");
    assert_ne!(inside.code, 101, "{inside}");
    assert!(!spoiled.exists(), "something of it was run: {inside}");
}

/// Ends the thread that looks at it.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn paths_that_become_pipes_links_and_folders_meanwhile_hold_nobody_up() {
    let repo = Fixture::new("passing");
    let outside = repo.beside("outside");
    fs::write(&outside, "of the host").unwrap();
    for at in 0..40 {
        repo.write(&format!("odd/{at}"), "x");
    }
    repo.git(&["add", "--all"]);
    let stop = AtomicBool::new(false);
    let mut taken = Vec::new();
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            for round in 0_usize.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let path = repo.path(&format!("odd/{}", round % 40));
                if fs::remove_file(&path).is_err() {
                    let _ = fs::remove_dir(&path);
                }
                match (round / 40) % 4 {
                    0 => rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap(),
                    1 => symlink(&outside, &path).unwrap(),
                    2 => fs::create_dir(&path).unwrap(),
                    _ => fs::write(&path, "x".repeat(round % 3_000)).unwrap(),
                }
                // As often as others get to work, so that both sides see something of each other.
                std::thread::yield_now();
            }
        });
        for _ in 0..4 {
            taken.push(create(&repo));
        }
    });
    for snapshot in &taken {
        let mut cat = repo.command("tar");
        let content = cat.arg("-xOzf").arg(archive(snapshot)).output().expect("tar");
        assert!(content.status.success());
        assert!(!String::from_utf8_lossy(&content.stdout).contains("of the host"));
        // Whatever it was when somebody looked.
        assert!(reasons(snapshot).iter().all(|(_, why)| *why != "evidence" && *why != "secret"));
    }
    check(&repo, "at rest");
}

#[test]
fn a_process_that_is_killed_while_it_takes_a_snapshot_leaves_none_or_a_whole_one() {
    let repo = Fixture::new("passing");
    let mut killed = 0;
    for step in 1.. {
        repo.write("file", &format!("content {step}"));
        let mut create = repo.program();
        create.args(["snapshot", "create", "--task", "t"]);
        let seen = repo.see(create.env("GIT_ORCHESTRATE_CRASH_AT", step.to_string()));
        check(&repo, &format!("step {step}"));
        if seen.code == 0 {
            break;
        }
        killed += 1;
        assert!(seen.stderr.contains("crash at step"), "{seen}");
    }
    assert!(killed > 8, "{killed}");
    // What is left goes, and the refs with it.
    create(&repo);
    let gc = || repo.orchestrate("snapshot gc --format json");
    assert_eq!(gc().json()["leftovers"], json!([]), "it may be somebody else's work");
    let_time_pass(&repo);
    let gone = gc().json()["leftovers"].as_array().unwrap().len();
    assert!(gone > 1, "{gone}");
    assert_eq!(gc().json()["leftovers"], json!([]));
    let ids: BTreeSet<_> =
        repo.tree(STORE).iter().map(|name| name.split('.').next().unwrap().to_owned()).collect();
    assert_eq!(refs(&repo), ids);
    check(&repo, "after gc");
}

#[test]
fn a_process_that_is_killed_while_it_removes_snapshots_is_finished_by_the_next() {
    let repo = Fixture::new("passing");
    let mut killed = 0;
    for step in 1.. {
        repo.write("file", &format!("content {step}"));
        let old = create(&repo);
        let document = PathBuf::from(old["document_path"].as_str().unwrap());
        let mut aged = json_of(&document);
        aged["created_at"] = json!("2020-01-01T00:00:00.000Z");
        fs::write(&document, aged.to_string()).unwrap();
        let mut gc = repo.program();
        gc.args(["snapshot", "gc"]).env("GIT_ORCHESTRATE_CRASH_AT", step.to_string());
        let seen = repo.see(&mut gc);
        check(&repo, &format!("step {step}"));
        let_time_pass(&repo);
        let again = repo.orchestrate("snapshot gc");
        assert_eq!(again.code, 0, "step {step}: {again}");
        assert_eq!(repo.tree(STORE), [] as [String; 0], "step {step}");
        assert_eq!(refs(&repo), BTreeSet::new(), "step {step}");
        if seen.code == 0 {
            break;
        }
        killed += 1;
    }
    assert!(killed > 2, "{killed}");
}

#[test]
fn a_process_that_is_killed_while_it_restores_leaves_all_or_nothing_under_that_name() {
    let repo = Fixture::new("passing");
    repo.write("a/b/file", "content");
    symlink("a", repo.path("link")).unwrap();
    create(&repo);
    let mine = repo.beside(".tmp-restore-of-mine");
    fs::create_dir(&mine).unwrap();
    fs::write(mine.join("file"), "mine").unwrap();
    let mut killed = 0;
    for step in 1.. {
        let into = repo.beside(&format!("restored {step}"));
        let restore = |at: Option<usize>| -> Seen {
            let mut restore = repo.program();
            restore.args(["snapshot", "restore", "latest"]).arg(&into);
            if let Some(at) = at {
                restore.env("GIT_ORCHESTRATE_CRASH_AT", at.to_string());
            }
            repo.see(&mut restore)
        };
        let seen = restore(Some(step));
        if seen.code == 0 {
            break;
        }
        killed += 1;
        let again = restore(None);
        match into.join("a/b/file").exists() && again.code == 3 {
            // It was killed after its last step.
            true => {}
            false => assert_eq!(again.code, 0, "step {step}: {again}"),
        }
        assert_eq!(fs::read_to_string(into.join("a/b/file")).unwrap(), "content");
        assert!(into.join("link").is_symlink());
        // What the other had begun is cleared up; what is not ours, and what is empty, may be somebody's.
        let halves = fs::read_dir(repo.beside("")).unwrap().map(|entry| entry.unwrap());
        let halves = halves.filter(|it| it.file_name().to_string_lossy().starts_with(".tmp-restore-"));
        let full: Vec<_> =
            halves.map(|it| it.path()).filter(|it| fs::read_dir(it).unwrap().next().is_some()).collect();
        assert_eq!(full, std::slice::from_ref(&mine), "step {step}");
    }
    assert!(killed > 4, "{killed}");
}

#[test]
fn one_core_and_all_of_them_make_the_same_archive() {
    let repo = Fixture::new("passing");
    fs::write(repo.path("large"), [noise(3 << 20), vec![b'x'; 5 << 20]].concat()).unwrap();
    let words = ["--compression", "gzip", "--format", "json"];
    let on_all = create(&repo);
    fs::remove_file(repo.path(".git/orchestrate/snapshot.json")).unwrap();
    let mut alone = repo.command("taskset");
    alone.args(["--cpu-list", "0", env!("CARGO_BIN_EXE_git-orchestrate"), "snapshot", "create"]).args(words);
    let Ok(output) = alone.output() else { return eprintln!("skipped: there is no program `taskset` here") };
    let on_one: Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert_eq!((&on_one["same_as"], &on_one["digest"]), (&Value::Null, &on_all["digest"]));
    assert_eq!(fs::read(archive(&on_one)).unwrap(), fs::read(archive(&on_all)).unwrap());
}
