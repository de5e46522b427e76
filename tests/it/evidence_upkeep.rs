//! What keeps evidence in order: manifests that go along, rewritten commits, compaction, and a ledger that is rebuilt.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::evidence::{Two, note, only_ref, project, project_with, refs, start, verdicts, verify};
use crate::fixture::{Fixture, Seen, lines_of, manifest};
use crate::witness::wait_until;

/// Returns the paths of the manifests in the only ref of notes.
fn manifests(repo: &Fixture) -> Vec<String> {
    let listed = repo.git(&["ls-tree", "-r", "--name-only", &only_ref(repo), "manifests/"]);
    listed.lines().map(str::to_owned).collect()
}

/// Unpacks one as the README says.
fn unpacked(repo: &Fixture, dir: &Path, reference: &str, path: &str) -> String {
    let script = format!("git cat-file blob '{reference}:{path}' | gunzip");
    let seen = repo.see(repo.command("sh").current_dir(dir).args(["-c", &script]));
    assert_eq!(seen.code, 0, "{seen}");
    seen.stdout
}

fn on_disk(repo: &Fixture) -> String {
    fs::read_to_string(repo.runs("0101")[0].join("manifest.json")).unwrap()
}

#[test]
fn the_manifest_goes_along_and_plain_git_prints_it() {
    let repo = project();
    let seen = start(&repo, "--notes=full");
    assert!(!seen.stderr.contains("warning"), "{seen}");
    let paths = manifests(&repo);
    let run = repo.runs("0101")[0].file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(paths, [format!("manifests/{}/{run}.json.gz", &run[..10])]);
    let reference = only_ref(&repo);
    assert_eq!(unpacked(&repo, repo.root(), &reference, &paths[0]), on_disk(&repo));
    let text = note(&repo, "HEAD");
    assert!(text.contains(&format!("\n  manifest: {}\n", paths[0])), "{text}");
    // For git they are no notes, and whatever it does with notes leaves them alone.
    assert_eq!(repo.git(&["notes", "--ref", &reference, "list"]).lines().count(), 2);
    assert!(!repo.git(&["-c", &format!("notes.displayRef={reference}"), "log"]).contains('\u{1f}'));
    repo.git(&["notes", "--ref", &reference, "append", "--message", "a remark", "HEAD"]);
    let other = repo.git(&["commit-tree", "HEAD^{tree}", "-m", "unreachable"]);
    repo.git(&["notes", "--ref", &reference, "add", "--message", "about nothing", &other]);
    fs::remove_file(repo.path(&format!(".git/objects/{}/{}", &other[..2], &other[2..]))).unwrap();
    repo.git(&["notes", "--ref", &reference, "prune"]);
    // So many that git spreads them over folders of its own.
    let blob = repo.git(&["rev-parse", "HEAD:codex.orchestrator.json"]);
    for at in 0..40 {
        let object = repo.git(&["commit-tree", "HEAD^{tree}", "-m", &at.to_string()]);
        repo.git(&["notes", "--ref", &reference, "add", "-C", &blob, &object]);
    }
    repo.git(&["gc", "--quiet", "--prune=now"]);
    assert_eq!(unpacked(&repo, repo.root(), &reference, &paths[0]), on_disk(&repo));
    // The next run adds its own.
    start(&repo, "--notes=full");
    assert_eq!(manifests(&repo).len(), 2);
    start(&repo, "--notes");
    start(&repo, "--notes=full --no-notes");
    assert_eq!(manifests(&repo).len(), 2);
    assert_eq!(repo.orchestrate("start --notes=everything").code, 2);
    let seen = repo.orchestrate("evidence verify --require test");
    // The remark is no record.
    assert_eq!(seen.code, 6, "{seen}");
}

#[test]
fn a_reviewer_who_only_fetched_gets_the_manifest_that_was_signed() {
    let two = Two::new(project_with(json!({"notes": "full"})));
    start(&two.ours, "");
    assert_eq!(two.ours.orchestrate("evidence push").code, 0);
    assert_eq!(two.there("evidence fetch").code, 0);
    let seen = two.there("evidence show --manifest");
    assert_eq!((seen.code, &seen.stdout), (0, &on_disk(&two.ours)), "{seen}");
    let path = &manifests(&two.ours)[0];
    let reference = only_ref(&two.ours);
    assert_eq!(unpacked(&two.ours, &two.clone, &reference, path), seen.stdout);
    let seen = two.there("evidence show --manifest --format json");
    let noted = &seen.json()["commits"][0]["records"][0]["note"];
    assert_eq!(noted["manifest"]["status"], "succeeded", "{seen}");
    assert!(noted["manifest_digest"].as_str().unwrap().starts_with("sha256:"), "{seen}");
    assert_eq!(
        two.there("evidence show --format json").json()["commits"][0]["records"][0]["note"]["manifest"],
        Value::Null
    );
    assert!(two.there("evidence show").stdout.contains("; with its manifest"));
    // Both sides go on; what each has goes along.
    assert_eq!(two.there("start").code, 0);
    start(&two.ours, "");
    assert_eq!(two.ours.orchestrate("evidence push").code, 0);
    assert_eq!(two.there("evidence push").code, 0);
    assert_eq!(two.ours.orchestrate("evidence fetch").code, 0);
    assert_eq!(manifests(&two.ours).len(), 3);
    // A shallow and a partial clone have them too.
    two.allow_filters();
    for flag in ["--depth=1", "--filter=blob:none"] {
        let there = two.ours.beside(&flag[2..7]);
        let url = format!("file://{}", two.bare.display());
        two.ours.git(&["clone", "--quiet", flag, &url, there.to_str().unwrap()]);
        assert_eq!(two.ours.orchestrate_in(&there, "evidence fetch").code, 0);
        let seen = two.ours.orchestrate_in(&there, "evidence show --manifest");
        assert_eq!((seen.code, seen.stdout.matches("\"run_id\": \"2").count() >= 3), (0, true), "{seen}");
    }
    let seen = project().orchestrate("evidence show --manifest");
    assert!(seen.code == 1 && seen.stderr.contains("hint: `git orchestrate start --notes=full`"), "{seen}");
}

/// Puts a file where the only manifest is.
fn replace_manifest(repo: &Fixture, bytes: &[u8]) {
    let (reference, path) = (only_ref(repo), manifests(repo)[0].clone());
    fs::write(repo.beside("bytes"), bytes).unwrap();
    let script = format!(
        "blob=$(git hash-object -w \"$HOME/bytes\") && export GIT_INDEX_FILE=\"$HOME/index\" && git read-tree '{reference}' &&
        git update-index --cacheinfo \"100644,$blob,{path}\" && tree=$(git write-tree) &&
        git update-ref '{reference}' $(git commit-tree $tree -p '{reference}' -m forged)"
    );
    let seen = repo.see(repo.command("sh").args(["-c", &script]));
    assert_eq!(seen.code, 0, "{seen}");
}

#[test]
fn a_manifest_that_is_not_the_one_of_its_record_is_refused() {
    let repo = project_with(json!({"notes": "full"}));
    start(&repo, "");
    let edited = on_disk(&repo).replace("succeeded", "failed");
    fs::write(repo.beside("edited"), edited).unwrap();
    fs::write(repo.beside("zeros"), vec![0; 40 << 20]).unwrap();
    let packed = |name: &str| {
        let script = format!("gzip -c \"$HOME/{name}\"");
        repo.command("sh").args(["-c", &script]).output().unwrap().stdout
    };
    for (bytes, said) in [
        (packed("edited"), "is not the one that its record names"),
        (packed("zeros"), "it unpacks to more than 16777216 bytes"),
        (b"no gzip".to_vec(), "cannot be unpacked"),
    ] {
        replace_manifest(&repo, &bytes);
        let seen = repo.orchestrate("evidence show --manifest --format json");
        assert_eq!(seen.code, 6, "{seen}");
        assert!(seen.json()["commits"][0]["refused"][0]["why"].as_str().unwrap().contains(said), "{seen}");
        let seen = repo.orchestrate("evidence show --manifest");
        assert!(seen.code == 6 && seen.stdout.is_empty() && seen.stderr.contains(said), "{seen}");
        // The record itself is what it was.
        assert_eq!(verify(&repo, "--require test").code, 0);
    }
}

#[test]
fn what_waited_for_a_commit_takes_its_manifest_along() {
    let repo = project_with(json!({"notes": "full"}));
    repo.write("file", "new\n");
    start(&repo, "");
    assert_eq!(refs(&repo), [] as [String; 0]);
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "exactly"]);
    assert_eq!(repo.orchestrate("evidence write").code, 0);
    assert_eq!(unpacked(&repo, repo.root(), &only_ref(&repo), &manifests(&repo)[0]), on_disk(&repo));
    // A run that is gone has a note, and no manifest.
    let repo = project_with(json!({}));
    start(&repo, "");
    fs::remove_dir_all(&repo.runs("0101")[0]).unwrap();
    let seen = repo.orchestrate("evidence write --manifest --format json");
    assert_eq!(seen.json()["without_manifest"][0]["why"], "it is not on disk any more", "{seen}");
    assert!(note(&repo, "HEAD").contains("test passed"));
    assert_eq!(verify(&repo, "--require test").code, 0);
}

#[test]
fn secrets_are_as_absent_from_a_note_as_from_the_disk() {
    let config = json!({
        "pipelines": [{"id": "gate", "stages": [{"kind": "command", "id": "test", "command": "echo $API_TOKEN; false"}]}],
        "defaultPipeline": "gate", "evidence": {"notes": "full"},
    });
    let repo = Fixture::with_config(&config);
    let seen = repo.see(repo.program().arg("start").env("API_TOKEN", "s3cr3t-of-somebody"));
    assert_eq!(seen.code, 1, "{seen}");
    let text = unpacked(&repo, repo.root(), &only_ref(&repo), &manifests(&repo)[0]);
    assert!(text.contains("[REDACTED]") && !text.contains("s3cr3t"), "{text}");
}

fn rewrite(repo: &Fixture, pairs: &str) -> Seen {
    told(repo, "evidence rewrite --format json", pairs.as_bytes())
}

fn told(repo: &Fixture, words: &str, stdin: &[u8]) -> Seen {
    let mut program = repo.program();
    program.args(words.split(' ')).stdin(Stdio::piped());
    program.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), stdin).unwrap();
    let output = child.wait_with_output().unwrap();
    Seen {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap(),
    }
}

#[test]
fn what_is_no_text_is_a_wrong_question_with_a_hint() {
    let repo = project();
    for words in ["evidence rewrite", "evidence receive"] {
        let seen = told(&repo, words, b"\xff\n");
        let said = "error: stdin is no UTF-8 text\nhint: ";
        assert!(seen.code == 2 && seen.stderr.starts_with(said), "{words}: {seen}");
    }
    let seen = repo.orchestrate("explain --rev nope");
    assert!(seen.code == 2 && seen.stderr.contains("\nhint: "), "{seen}");
    fs::write(repo.path("codex.orchestrator.json"), b"{\"\xff\": 1}").unwrap();
    let seen = repo.orchestrate("plan");
    assert!(seen.code == 2 && seen.stderr.contains("\nhint: save it as UTF-8"), "{seen}");
}

/// Returns what the notes of all writers say about an object.
fn said(repo: &Fixture, object: &str) -> String {
    let log = ["-c", "notes.displayRef=refs/notes/orchestrate/*", "log", "-1", "--format=%N", object];
    repo.git(&log)
}

#[test]
fn a_commit_that_was_rewritten_to_the_same_tree_keeps_its_note_and_no_other_does() {
    let repo = project();
    start(&repo, "");
    let hook =
        format!("#!/bin/sh\nexec '{}' evidence rewrite >/dev/null\n", env!("CARGO_BIN_EXE_git-orchestrate"));
    fs::create_dir_all(repo.path(".git/hooks")).unwrap();
    fs::write(repo.path(".git/hooks/post-rewrite"), hook).unwrap();
    fs::set_permissions(
        repo.path(".git/hooks/post-rewrite"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let old = repo.git(&["rev-parse", "HEAD"]);
    repo.git(&["commit", "--quiet", "--amend", "--message", "in other words"]);
    let text = said(&repo, "HEAD");
    assert!(text.contains("stages: test passed"), "{text}");
    assert!(
        text.contains(&format!("  carried over from {}, which has this very tree\n", &old[..12])),
        "{text}"
    );
    assert_eq!(
        note(&repo, "HEAD").lines().last(),
        note(&repo, &old).lines().last(),
        "the record is what it was"
    );
    let seen = verify(&repo, "--require test");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(verdicts(&seen, 0).0, ["present", "bound", "complete", "consistent", "chain"]);
    // Once more: twice carried, once told.
    let amended = repo.git(&["rev-parse", "HEAD"]);
    repo.git(&["commit", "--quiet", "--amend", "--message", "in yet other words"]);
    let head = repo.git(&["rev-parse", "HEAD"]);
    assert_eq!(note(&repo, "HEAD").matches("gate succeeded").count(), 1);
    let before = repo.git(&["rev-parse", &only_ref(&repo)]);
    let seen = rewrite(&repo, &format!("{amended} {head} extra\n"));
    assert_eq!((seen.code, &seen.json()["carried"]), (0, &json!([])), "{seen}");
    assert_eq!(repo.git(&["rev-parse", &only_ref(&repo)]), before);
    // Another tree is something else.
    repo.write("file", "new\n");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--amend", "--message", "more"]);
    assert_eq!(said(&repo, "HEAD"), "");
    let seen = rewrite(&repo, &format!("{head} {}\n", repo.git(&["rev-parse", "HEAD"])));
    assert_eq!(seen.json()["left"][0]["why"], "the new commit has another tree", "{seen}");
    assert_eq!(repo.git(&["rev-parse", &only_ref(&repo)]), before);
    // The next record goes on where the last one was.
    start(&repo, "");
    let seen = verify(&repo, "--require test");
    assert_eq!((seen.code, verdicts(&seen, 0).0.contains(&"chain".to_owned())), (0, true), "{seen}");
    for (pairs, code) in [("", 0), ("HEAD HEAD~1\n", 2), (&*format!("{head} {}\n", "0".repeat(40)), 0)] {
        assert_eq!(rewrite(&repo, pairs).code, code, "{pairs:?}");
    }
}

#[test]
fn a_rebase_and_a_squash_keep_notes_where_the_tree_is_the_same() {
    let repo = project();
    let base = repo.git(&["rev-parse", "HEAD"]);
    for name in ["one", "two"] {
        repo.write(name, name);
        repo.git(&["add", "--all"]);
        repo.git(&["commit", "--quiet", "--message", name]);
        start(&repo, "");
    }
    let olds = [repo.git(&["rev-parse", "HEAD~1"]), repo.git(&["rev-parse", "HEAD"])];
    // Onto a base in other words: every tree is what it was.
    let other = repo.git(&["commit-tree", "HEAD~2^{tree}", "-m", "the base in other words"]);
    repo.git(&["rebase", "--quiet", "--onto", &other, &base]);
    let news = [repo.git(&["rev-parse", "HEAD~1"]), repo.git(&["rev-parse", "HEAD"])];
    let seen = rewrite(&repo, &format!("{} {}\n{} {}\n", olds[0], news[0], olds[1], news[1]));
    assert_eq!(seen.json()["carried"].as_array().unwrap().len(), 2, "{seen}");
    assert!(news.iter().all(|new| said(&repo, new).contains("test passed")));
    // Both become one: what was said of the last is true of it, what was said of the first is not.
    let squashed = repo.git(&["commit-tree", "HEAD^{tree}", "-p", &other, "-m", "both"]);
    let seen = rewrite(&repo, &format!("{} {squashed}\n{} {squashed}\n", news[0], news[1]));
    assert_eq!(seen.json()["carried"].as_array().unwrap().len(), 1, "{seen}");
    assert_eq!(seen.json()["left"][0]["old"], news[0], "{seen}");
    assert_eq!(said(&repo, &squashed).matches("gate succeeded").count(), 1);
}

#[test]
fn what_others_wrote_is_told_with_the_new_commit_and_stays_theirs() {
    let repo = project();
    let other = "other@example.com";
    let seen = repo.see(repo.program().arg("start").env("GIT_COMMITTER_EMAIL", other));
    assert_eq!(seen.code, 0, "{seen}");
    let theirs = only_ref(&repo);
    let (before, old) = (repo.git(&["rev-parse", &theirs]), repo.git(&["rev-parse", "HEAD"]));
    repo.git(&["commit", "--quiet", "--amend", "--message", "in other words"]);
    let new = repo.git(&["rev-parse", "HEAD"]);
    assert_eq!(rewrite(&repo, &format!("{old} {new}\n")).code, 0);
    assert_eq!(repo.git(&["rev-parse", &theirs]), before, "two writers never touch one ref");
    let text = said(&repo, "HEAD");
    let writer = theirs.rsplit('/').next().unwrap();
    assert!(
        text.ends_with(&format!("  its record stands in the notes of {writer}, about the tree")),
        "{text}"
    );
    assert!(!text.contains('{') && !text.contains("signed"), "{text}");
    let seen = verify(&repo, "--require test");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(rewrite(&repo, &format!("{old} {new}\n")).json()["carried"], json!([]), "told once");
}

fn compact(repo: &Fixture, words: &str) -> Value {
    let seen = repo.orchestrate(&format!("evidence compact --format json {words}"));
    assert_eq!(seen.code, 0, "{seen}");
    seen.json()
}

fn commits(repo: &Fixture, dir: &Path, reference: &str) -> usize {
    let output =
        repo.command("git").current_dir(dir).args(["rev-list", "--count", reference]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

#[test]
fn a_compacted_ref_has_every_record_and_is_sent_without_force() {
    let two = Two::new(project());
    for _ in 0..3 {
        start(&two.ours, "");
    }
    let reference = only_ref(&two.ours);
    let before = two.ours.git(&["rev-parse", &reference]);
    let tree = two.ours.git(&["rev-parse", &format!("{reference}^{{tree}}")]);
    assert_eq!(compact(&two.ours, "--dry-run")["commits_after"], 1);
    assert_eq!(two.ours.git(&["rev-parse", &reference]), before);
    let compacted = compact(&two.ours, "");
    assert_eq!((&compacted["commits_before"], &compacted["commits_after"]), (&json!(3), &json!(1)));
    assert_eq!(two.ours.git(&["rev-parse", &format!("{reference}^{{tree}}")]), tree);
    assert_eq!(commits(&two.ours, two.ours.root(), &reference), 1);
    assert_eq!(two.ours.orchestrate("evidence push").code, 0);
    assert_eq!(two.there("evidence fetch").code, 0);
    // What was delivered stays, what was not becomes one.
    for _ in 0..3 {
        start(&two.ours, "");
    }
    assert_eq!(compact(&two.ours, "")["delivered"], 1);
    assert_eq!(commits(&two.ours, two.ours.root(), &reference), 2);
    assert!(two.ours.orchestrate("evidence compact").stdout.starts_with("Nothing to do: "));
    let seen = two.ours.orchestrate("evidence push --format json");
    assert_eq!((seen.code, &seen.json()["tries"]), (0, &json!(1)), "{seen}");
    let seen = two.there("evidence fetch --format json");
    assert_eq!((seen.code, &seen.json()["records"]), (0, &json!(3)), "{seen}");
    start(&two.ours, "");
    for seen in
        [verify(&two.ours, "--require test"), { two.there("evidence verify --require test --format json") }]
    {
        assert_eq!((seen.code, verdicts(&seen, 0).0.contains(&"chain".to_owned())), (0, true), "{seen}");
    }
    assert_eq!(note(&two.ours, "HEAD^{tree}").lines().count(), 7);
}

#[test]
fn what_git_itself_has_sent_is_joined_again() {
    let two = Two::new(project());
    start(&two.ours, "");
    start(&two.ours, "");
    let reference = only_ref(&two.ours);
    // Nobody here knows that the remote has it.
    two.ours.git(&["push", "--quiet", "origin", &format!("{reference}:{reference}")]);
    compact(&two.ours, "");
    start(&two.ours, "");
    assert_eq!(two.ours.orchestrate("evidence push").code, 0);
    assert_eq!(two.there("evidence fetch").code, 0);
    assert_eq!(
        two.git_there(&two.clone, &["notes", "--ref", &reference, "show", "HEAD^{tree}"]).lines().count(),
        3
    );
    assert_eq!(two.there("evidence verify --require test").code, 0);
    // Neither does it know when somebody took the ref away.
    two.ours.git(&["update-ref", "-d", &reference]);
    start(&two.ours, "");
    assert_eq!(two.ours.orchestrate("evidence push").code, 0);
    assert_eq!(note(&two.ours, "HEAD^{tree}").lines().count(), 4);
}

#[test]
fn compaction_lets_go_of_what_nothing_leads_to_and_of_no_record() {
    let repo = project_with(json!({"notes": "full"}));
    start(&repo, "");
    repo.write("file", "another tree\n");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "soon gone"]);
    start(&repo, "");
    let gone = repo.git(&["rev-parse", "HEAD"]);
    repo.git(&["notes", "--ref", &only_ref(&repo), "append", "--message", "a remark", "HEAD~1"]);
    // A branch, or a reflog, still leads to it.
    repo.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    assert_eq!(compact(&repo, "--dry-run")["notes_removed"], json!([]));
    repo.git(&["reflog", "expire", "--expire=now", "--all"]);
    let compacted = compact(&repo, "");
    assert_eq!(compacted["notes_removed"], json!([gone]));
    assert_eq!(compacted["manifests_removed"].as_array().unwrap().len(), 1);
    assert_eq!(manifests(&repo).len(), 1);
    assert!(note(&repo, "HEAD").contains("a remark"));
    // Its record is where its tree is, and the next one goes on from there.
    let tree = repo.git(&["rev-parse", &format!("{gone}^{{tree}}")]);
    assert_eq!(note(&repo, &tree).lines().count(), 1);
    repo.git(&["notes", "--ref", &only_ref(&repo), "remove", "HEAD"]);
    start(&repo, "");
    let seen = verify(&repo, "--require test");
    assert_eq!((seen.code, verdicts(&seen, 0).0.contains(&"chain".to_owned())), (0, true), "{seen}");
    // Where the history is cut off nobody can tell what leads where.
    let there = repo.beside("shallow");
    repo.git(&[
        "clone",
        "--quiet",
        "--depth=1",
        &format!("file://{}", repo.root().display()),
        there.to_str().unwrap(),
    ]);
    assert_eq!(repo.orchestrate_in(&there, "start").code, 0);
    let amend = ["commit", "--quiet", "--amend", "--message", "x"];
    assert!(repo.command("git").current_dir(&there).args(amend).status().unwrap().success());
    let expire = ["reflog", "expire", "--expire=now", "--all"];
    assert!(repo.command("git").current_dir(&there).args(expire).status().unwrap().success());
    let seen = repo.orchestrate_in(&there, "evidence compact --format json");
    assert_eq!(seen.json()["notes_removed"], json!([]), "{seen}");
}

#[test]
fn compaction_among_writers_and_kills_loses_nothing() {
    let repo = project();
    start(&repo, "");
    let run = |words: &[&str]| {
        let mut program = repo.program();
        program.args(words).stdout(Stdio::null()).stderr(Stdio::null());
        program
    };
    let mut children: Vec<_> = (0..8)
        .flat_map(|at| {
            let task = format!("t{at}");
            let writer = run(&["start", "--task", &task]).spawn().unwrap();
            [writer, run(&["evidence", "compact"]).spawn().unwrap()]
        })
        .collect();
    assert!(children.iter_mut().all(|child| child.wait().unwrap().success()));
    assert_eq!(note(&repo, "HEAD^{tree}").lines().count(), 9);
    let mut at = 1;
    loop {
        start(&repo, "");
        let code =
            run(&["evidence", "compact"]).env("GIT_ORCHESTRATE_CRASH_AT", at.to_string()).status().unwrap();
        assert_eq!(note(&repo, "HEAD^{tree}").lines().count(), 9 + at);
        let seen = verify(&repo, "--require test");
        assert_eq!((seen.code, verdicts(&seen, 0).0.contains(&"chain".to_owned())), (0, true), "{seen}");
        if code.success() {
            break;
        }
        at += 1;
    }
    assert!(at > 2, "it was killed {} times", at - 1);
    assert_eq!(commits(&repo, repo.root(), &only_ref(&repo)), 1);
    repo.git(&["fsck", "--strict"]);
}

/// Returns every entry of the ledger once.
fn ledger(repo: &Fixture) -> BTreeSet<String> {
    let mut entries = BTreeSet::new();
    let Ok(files) = fs::read_dir(repo.path(".git/orchestrate/ledger")) else { return entries };
    for file in files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some()) {
        entries.extend(lines_of(&file).iter().map(Value::to_string));
    }
    entries
}

fn rebuild(repo: &Fixture, words: &str) -> Seen {
    repo.orchestrate(&format!("evidence rebuild --format json {words}"))
}

fn forget(repo: &Fixture) {
    fs::remove_dir_all(repo.path(".git/orchestrate/ledger")).unwrap();
}

/// A project in which stages pass, fail, are flaky, wait for others and have inputs.
fn many_kinds() -> Fixture {
    let flaky = "test -e \"$HOME/$MCP_RUNNER_TASK_ID.once\" || { touch \"$HOME/$MCP_RUNNER_TASK_ID.once\"; echo timeout; false; }";
    Fixture::with_config(&json!({
        "pipelines": [
            {"id": "gate", "stages": [
                {"kind": "command", "id": "build", "command": "echo built"},
                {"kind": "command", "id": "lint", "command": "false", "allowFailure": true},
                {"kind": "command", "id": "docs", "command": "true", "inputs": ["*.json"]},
                {"kind": "command", "id": "flaky", "command": flaky, "retries": 2},
                {"kind": "subpipeline", "id": "inner", "pipeline": "inner"},
                {"kind": "command", "id": "test", "command": "test ! -e \"$HOME/fails\""},
            ]},
            {"id": "inner", "stages": [{"kind": "command", "id": "deep", "command": "true"}]},
            {"id": "moves", "stages": [{"kind": "command", "id": "moves", "command": "echo > moved"}]},
        ],
        "defaultPipeline": "gate",
    }))
}

#[test]
fn a_ledger_that_is_rebuilt_is_the_one_that_was_there() {
    let repo = many_kinds();
    assert_eq!(repo.orchestrate("start --task a").code, 0);
    assert_eq!(repo.orchestrate("start --task b --target build").code, 0);
    assert_eq!(repo.orchestrate("start --task c moves").code, 0);
    repo.git(&["clean", "--quiet", "--force"]);
    fs::write(repo.beside("fails"), "").unwrap();
    assert_eq!(repo.orchestrate("start --task d").code, 1);
    fs::remove_file(repo.beside("fails")).unwrap();
    assert_eq!(repo.orchestrate("start --task e --reuse").code, 0);
    assert_eq!(repo.orchestrate("exec --task f -- true").code, 0);
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", "--detach", linked.to_str().unwrap()]);
    assert_eq!(repo.orchestrate_in(&linked, "start --task g").code, 0);
    let there = ledger(&repo);
    assert!(there.len() >= 8, "{there:#?}");
    forget(&repo);
    let seen = rebuild(&repo, "--dry-run");
    assert_eq!((seen.code, ledger(&repo).len()), (0, 0), "{seen}");
    let would = seen.json()["added"].clone();
    let seen = rebuild(&repo, "");
    assert_eq!((seen.code, &seen.json()["added"]), (0, &would), "{seen}");
    let again = ledger(&repo);
    assert!(again == there, "{:#?}", again.symmetric_difference(&there).collect::<Vec<_>>());
    // Once is enough, and a part that is missing is all that is added.
    let seen = rebuild(&repo, "");
    assert_eq!((&seen.json()["added"], &seen.json()["known"]), (&json!([]), &json!(there.len())), "{seen}");
    assert_eq!(ledger(&repo), there);
    assert!(repo.orchestrate("evidence rebuild").stdout.contains("; new: 0, "));
}

#[test]
fn a_note_that_nobody_can_read_keeps_no_other_from_being_entered() {
    let two = Two::new(project());
    start(&two.ours, "");
    assert_eq!(two.ours.orchestrate("evidence push").code, 0);
    assert_eq!(two.there("evidence fetch").code, 0);
    let gigantic = two.ours.beside("gigantic");
    fs::write(&gigantic, vec![b'x'; (64 << 20) + 1]).unwrap();
    let blob = two.git_there(&two.clone, &["hash-object", "-w", gigantic.to_str().unwrap()]);
    let words = ["notes", "--ref", "refs/notes/orchestrate/0123456789abcdef", "add", "-C", &blob];
    two.git_there(&two.clone, &words);
    let tree = two.git_there(&two.clone, &["rev-parse", "HEAD^{tree}"]);
    two.git_there(&two.clone, &[&words[..], &[&tree]].concat());
    fs::remove_dir_all(two.clone.join(".git/orchestrate/ledger")).unwrap();
    let seen = two.there("evidence rebuild --format json");
    assert_eq!((seen.code, &seen.json()["from_notes"]), (6, &json!(1)), "{seen}");
}

#[test]
fn a_run_that_ended_twice_is_entered_twice() {
    let repo = many_kinds();
    fs::write(repo.beside("fails"), "").unwrap();
    assert_eq!(repo.orchestrate("start --task a").code, 1);
    fs::remove_file(repo.beside("fails")).unwrap();
    assert_eq!(repo.orchestrate("resume latest").code, 0);
    let there = ledger(&repo);
    forget(&repo);
    assert_eq!(rebuild(&repo, "").code, 0);
    // The log of a stage that ran again is not what it was when it failed.
    let plain = |entries: &BTreeSet<String>| -> BTreeSet<String> {
        let strip = |entry: &String| {
            let mut entry: Value = serde_json::from_str(entry).unwrap();
            for stage in entry["record"]["stages"].as_array_mut().unwrap() {
                if stage["result"] == "failed" {
                    stage["log_sha256"] = Value::Null;
                }
            }
            entry.to_string()
        };
        entries.iter().map(strip).collect()
    };
    assert_eq!(plain(&ledger(&repo)), plain(&there));
    let seen = repo.orchestrate("flakes --format json");
    assert!(seen.stdout.contains("\"test\""), "a pass and a failure contradict each other: {seen}");
}

#[test]
fn what_came_from_others_stays_and_what_is_not_to_be_believed_stays_out() {
    let two = Two::new(project());
    start(&two.ours, "");
    assert_eq!(two.ours.orchestrate("evidence push").code, 0);
    assert_eq!(two.there("evidence fetch").code, 0);
    for task in ["good", "edited", "cut", "torn", "shipped"] {
        assert_eq!(two.there(&format!("start --no-notes --task {task}")).code, 0);
    }
    let run = |task: &str| {
        let folder = two.clone.join(".runs").join(task).join("cli");
        fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
    };
    let change = |path: &Path, change: &dyn Fn(String) -> String| {
        fs::write(path, change(fs::read_to_string(path).unwrap())).unwrap();
    };
    change(&run("edited").join("manifest.json"), &|text| {
        text.replacen("\"exit_code\": 0", "\"exit_code\": 1", 1)
    });
    change(&run("cut").join("runner.ndjson"), &|text| text.lines().next().unwrap().to_owned() + "\n");
    change(&run("torn").join("manifest.json"), &|text| text[..40].to_owned());
    fs::remove_file(run("torn").join("runner.ndjson")).unwrap();
    two.git_there(&two.clone, &["add", "--force", ".runs/shipped"]);
    let folder = two.clone.join(".git/orchestrate/ledger");
    let of = |from: &str| {
        let files = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
        let lines = files.filter(|path| path.extension().is_some()).flat_map(|path| lines_of(&path));
        let mut kept: Vec<_> = lines.filter(|line| line["origin"]["from"] == from).collect();
        kept.sort_by_key(Value::to_string);
        kept
    };
    let theirs = of("note");
    assert_eq!(theirs.len(), 1);
    assert_eq!(two.there("evidence rebuild --dry-run --format json").json()["from_notes"], 0);
    // All of ours is lost.
    for file in fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some() {
            let lines = lines_of(&file).into_iter().filter(|line| line["origin"]["from"] == "note");
            let kept: String = lines.map(|line| format!("{line}\n")).collect();
            fs::write(&file, kept).unwrap();
        }
    }
    let seen = two.there("evidence rebuild --format json");
    assert_eq!(seen.code, 6, "{seen}");
    let broken = seen.json()["broken"].clone();
    for (task, why) in [
        ("edited", "was changed by hand"),
        ("cut", "evidence is missing"),
        ("torn", "is no manifest"),
        ("shipped", "it came with the repository"),
    ] {
        let of = |it: &&Value| it["path"].as_str().unwrap().contains(&format!("/{task}/"));
        let found = broken.as_array().unwrap().iter().find(of).unwrap_or_else(|| panic!("{task}: {seen}"));
        assert!(found["why"].as_str().unwrap().contains(why), "{task}: {seen}");
    }
    assert_eq!(of("note"), theirs);
    let ours = of("here");
    assert_eq!(ours.len(), 1);
    // What came from others is in their notes still, when all of it is lost.
    fs::remove_dir_all(&folder).unwrap();
    let seen = two.there("evidence rebuild --format json");
    assert_eq!((&seen.json()["from_notes"], of("note")), (&json!(1), theirs), "{seen}");
    assert_eq!(of("here"), ours);
    assert_eq!(ours[0]["record"]["run_id"], manifest(&run("good"))["run_id"]);
}

#[test]
fn what_somebody_cleared_does_not_come_back() {
    let repo = project_with(json!({}));
    start(&repo, "");
    fs::write(repo.beside("fails"), "").unwrap();
    assert_eq!(repo.orchestrate("start").code, 1);
    assert_eq!(repo.orchestrate("flakes clear test --reason known").code, 0);
    let before = ledger(&repo);
    assert_eq!(rebuild(&repo, "").json()["added"], json!([]));
    // Only what was cleared is lost, and not that it was.
    let folder = repo.path(".git/orchestrate/ledger");
    for file in fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some() {
            let lines = lines_of(&file).into_iter().filter(|line| line["type"] == "cleared");
            fs::write(&file, lines.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        }
    }
    let seen = rebuild(&repo, "");
    assert_eq!(seen.json()["cleared"].as_array().unwrap().len(), 2, "{seen}");
    assert!(ledger(&repo).is_subset(&before) && ledger(&repo).len() == 1);
}

/// Answers nobody: whoever connects waits.
fn silence() -> (std::net::TcpListener, String) {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("git://{}/nowhere.git", socket.local_addr().unwrap());
    (socket, url)
}

#[test]
fn a_remote_that_never_answers_delays_nobody() {
    let repo = project();
    start(&repo, "");
    let (socket, url) = silence();
    for words in ["push", "fetch"] {
        let seen = repo.orchestrate(&format!("evidence {words} --timeout 1s {url}"));
        assert_eq!(seen.code, 7, "{seen}");
        assert!(seen.stderr.contains("there was no end to it after 1s"), "{seen}");
        assert!(seen.stderr.contains("hint: nothing is lost here"), "{seen}");
    }
    while socket.set_nonblocking(true).is_ok() && socket.accept().is_ok() {}
    socket.set_nonblocking(false).unwrap();
    // A push of the user's own, with a hook that sends the notes to where nobody answers.
    let bare = repo.beside("bare.git");
    repo.git(&["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
    repo.git(&["remote", "add", "origin", bare.to_str().unwrap()]);
    let program = env!("CARGO_BIN_EXE_git-orchestrate");
    let hook = format!("#!/bin/sh\nexec '{program}' evidence push --detach --timeout 1h {url}\n");
    fs::create_dir_all(repo.path(".git/hooks")).unwrap();
    let path = repo.path(".git/hooks/pre-push");
    fs::write(&path, hook).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    repo.git(&["commit", "--quiet", "--allow-empty", "--message", "more"]);
    // Its output ends with it, too: nothing in the background holds the pipe.
    let seen = repo.see(repo.command("git").args(["push", "--quiet", "origin", "HEAD"]));
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(repo.git(&["rev-parse", "HEAD"]), repo.git(&["ls-remote", "origin", "HEAD"])[..40]);
    // The push is over, and only now somebody takes the call: whoever sends is alive and waits for an answer.
    let (mut stream, _) = socket.accept().unwrap();
    let mut request = [0; 4];
    std::io::Read::read_exact(&mut stream, &mut request).expect("somebody asks");
    let log = repo.path(".git/orchestrate/notes/push.log");
    let told = || fs::read_to_string(&log).unwrap();
    assert_eq!(told(), "", "nothing has come of it yet");
    // Whoever was called hangs up, and what came of it is told.
    drop((stream, socket));
    wait_until("the end is told", || told().contains("error: "));
    wait_until("nothing is lost", || told().contains("hint: nothing is lost here"));
    fs::remove_file(&path).unwrap();
    // Once there is somebody, they arrive, once.
    let seen = repo.orchestrate("evidence push --detach --format json origin");
    assert_eq!((seen.code, &seen.json()["remote"]), (0, &json!("origin")), "{seen}");
    wait_until("they are sent", || told().contains("Sent to origin: the notes of one writer"));
    assert_eq!(commits(&repo, &bare, &only_ref(&repo)), 1);
    let seen = repo.orchestrate("evidence push --detach --format json");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(
        project().orchestrate("evidence push --detach").code,
        2,
        "without a remote it is told at once"
    );
}

#[test]
fn notes_of_other_hashes_and_ref_stores_travel_and_are_compacted() {
    let config = project_with(json!({"notes": "full"})).read("codex.orchestrator.json");
    for words in [["--object-format=sha256"], ["--ref-format=reftable"]] {
        let home = Fixture::new("passing");
        let (ours, bare, clone) = (home.beside("ours"), home.beside("bare.git"), home.beside("clone"));
        let git = |dir: &Path, args: &[&str]| {
            let output = home.command("git").current_dir(dir).args(args).output().unwrap();
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
        };
        git(home.root(), &["init", "--quiet", words[0], ours.to_str().unwrap()]);
        git(home.root(), &["init", "--quiet", "--bare", words[0], bare.to_str().unwrap()]);
        fs::write(ours.join("codex.orchestrator.json"), &config).unwrap();
        git(&ours, &["add", "."]);
        git(&ours, &["commit", "--quiet", "--message", "one"]);
        git(&ours, &["remote", "add", "origin", bare.to_str().unwrap()]);
        git(&ours, &["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
        let run = |dir: &Path, words: &str| {
            let seen = home.orchestrate_in(dir, words);
            assert_eq!(seen.code, 0, "{words}: {seen}");
            seen
        };
        run(&ours, "start");
        run(&ours, "evidence push");
        run(&ours, "start");
        run(&ours, "start");
        let seen = run(&ours, "evidence compact --format json");
        assert_eq!(
            (&seen.json()["commits_before"], &seen.json()["commits_after"]),
            (&json!(3), &json!(2)),
            "{seen}"
        );
        assert_eq!(run(&ours, "evidence push --format json").json()["tries"], 1);
        git(
            home.root(),
            &["clone", "--quiet", "--branch", "main", bare.to_str().unwrap(), clone.to_str().unwrap()],
        );
        assert_eq!(run(&clone, "evidence fetch --format json").json()["records"], 3);
        let seen = run(&clone, "evidence show --manifest");
        assert!(seen.stdout.matches("\"task_id\"").count() >= 3, "{seen}");
        let old = git(&ours, &["rev-parse", "HEAD"]);
        git(&ours, &["commit", "--quiet", "--amend", "--message", "in other words"]);
        let pair = format!("{old} {}\n", git(&ours, &["rev-parse", "HEAD"]));
        fs::write(home.beside("pairs"), pair).unwrap();
        let mut program = home.program();
        program.current_dir(&ours).args(["evidence", "rewrite"]);
        let seen = home.see(program.stdin(fs::File::open(home.beside("pairs")).unwrap()));
        assert!(seen.code == 0 && seen.stdout.starts_with("Carried over: "), "{seen}");
        run(&ours, "evidence verify --require test --base HEAD");
        // The ledger is gone, and comes back.
        fs::remove_dir_all(ours.join(".git/orchestrate/ledger")).unwrap();
        assert_eq!(run(&ours, "evidence rebuild --format json").json()["added"].as_array().unwrap().len(), 3);
    }
}
