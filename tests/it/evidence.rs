//! Runs in git notes: what stands there, who signed it, how it travels, and what is not believed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use git_orchestrate::proof::statement::Envelope;
use git_orchestrate::sys::digest::sha256_hex;
use serde_json::{Value, json};

use crate::fixture::{Fixture, Seen};
use crate::signatures::{stop_agents, with_openpgp_key};

const NOTES: &str = "refs/notes/orchestrate";

/// A project whose runs leave notes.
pub fn project() -> Fixture {
    project_with(json!({"notes": true}))
}

pub fn project_with(evidence: Value) -> Fixture {
    let stage = json!({"kind": "command", "id": "test", "command": "echo ran >> \"$HOME/ran\"; test ! -e \"$HOME/fails\""});
    Fixture::with_config(&json!({
        "pipelines": [{"id": "gate", "stages": [stage]}], "defaultPipeline": "gate", "evidence": evidence,
    }))
}

/// Lets commits, and so records, be signed with a key of that name.
pub fn with_key(repo: &Fixture, name: &str) -> String {
    let key = repo.beside(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(&key)
        .status()
        .expect("ssh-keygen");
    assert!(made.success());
    repo.git(&["config", "gpg.format", "ssh"]);
    repo.git(&["config", "user.signingkey", key.to_str().unwrap()]);
    fs::read_to_string(key.with_extension("pub")).unwrap().trim().to_owned()
}

/// Allows a key, in the user's own configuration.
pub fn allow(repo: &Fixture, principal: &str, key: &str) {
    let path = repo.beside("allowed");
    fs::write(&path, format!("{principal} namespaces=\"git-orchestrate\" {key}\n")).unwrap();
    repo.git(&["config", "gpg.ssh.allowedSignersFile", path.to_str().unwrap()]);
}

/// Returns the refs that have notes.
pub fn refs(repo: &Fixture) -> Vec<String> {
    let listed = repo.git(&["for-each-ref", "--format=%(refname)", NOTES]);
    listed.lines().map(str::to_owned).collect()
}

pub fn only_ref(repo: &Fixture) -> String {
    let refs = refs(repo);
    assert_eq!(refs.len(), 1, "{refs:?}");
    refs[0].clone()
}

pub fn note(repo: &Fixture, object: &str) -> String {
    repo.git(&["notes", "--ref", &only_ref(repo), "show", object])
}

pub fn start(repo: &Fixture, words: &str) -> Seen {
    let seen = repo.orchestrate(&format!("start {words}"));
    assert_eq!(seen.code, 0, "{seen}");
    seen
}

fn show(repo: &Fixture, words: &str) -> Value {
    let seen = repo.orchestrate(&format!("evidence show --format json {words}"));
    assert!(seen.code == 0 || seen.code == 6, "{seen}");
    seen.json()
}

fn ran(repo: &Fixture) -> usize {
    fs::read_to_string(repo.beside("ran")).map_or(0, |text| text.lines().count())
}

/// Returns the payload of an envelope.
pub fn payload(line: &str) -> Value {
    let envelope: Value = serde_json::from_str(line).unwrap();
    serde_json::from_slice(&BASE64.decode(envelope["payload"].as_str().unwrap()).unwrap()).unwrap()
}

#[test]
fn a_run_is_found_with_plain_git_on_its_commit_and_on_its_tree() {
    let repo = project();
    let seen = start(&repo, "");
    let on_commit = note(&repo, "HEAD");
    let (text, lines) = on_commit.split_once("\n\n").expect("a text, an empty line, and records");
    let id = repo.runs("0101")[0].file_name().unwrap().to_str().unwrap().to_owned();
    assert!(text.starts_with(&format!("gate succeeded: run {id}, 20")), "{text}");
    assert!(text.contains(" by C O Mitter <committer@example.com>\n  stages: test passed\n"), "{text}");
    assert!(text.ends_with("\n  unsigned"), "{text}");
    assert_eq!(note(&repo, "HEAD^{tree}"), lines);
    let statement = payload(lines);
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://in-toto.io/attestation/test-result/v0.1");
    let tree = repo.git(&["rev-parse", "HEAD^{tree}"]);
    let head = repo.git(&["rev-parse", "HEAD"]);
    assert_eq!(statement["subject"][0]["digest"]["gitTree"], tree);
    assert_eq!(statement["subject"][1]["digest"]["gitCommit"], head);
    assert_eq!(statement["predicate"]["result"], "PASSED");
    assert_eq!(statement["predicate"]["passedTests"], json!(["test"]));
    assert_eq!(statement["predicate"]["git-orchestrate"]["record"]["run_id"], id);
    assert!(!seen.stderr.contains("warning"), "{seen}");
    // A log shows it, if somebody asks git to.
    let log = repo.git(&["-c", &format!("notes.displayRef={NOTES}/*"), "log", "-1"]);
    assert!(log.contains("stages: test passed"), "{log}");
}

#[test]
fn a_note_says_what_guardrails_said_and_why_one_was_let_pass() {
    let program = env!("CARGO_BIN_EXE_git-orchestrate");
    let stage = |id: &str, command: String| json!({"kind": "command", "id": id, "command": command});
    let repo = Fixture::with_config(&json!({
        "pipelines": [{"id": "gate", "stages": [
            stage("test", "echo tested".to_owned()),
            stage("specs", format!("'{program}' guard spec --base HEAD~1 --dry-run")),
            stage("size", format!("'{program}' guard diff-budget --max-files 1 --base HEAD~1")),
        ]}],
        "defaultPipeline": "gate", "evidence": {"notes": true},
        "fingerprint": ["echo tool 7"], "fingerprintEnv": ["FLAVOUR"],
    }));
    for name in ["a", "b"] {
        repo.write(name, name);
    }
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "two files"]);
    let mut start = repo.program();
    start.arg("start").env("FLAVOUR", "sweet").env("DIFF_BUDGET_OVERRIDE_REASON", "it is a\nmove");
    let seen = repo.see(&mut start);
    assert_eq!(seen.code, 0, "{seen}");
    let on_commit = note(&repo, "HEAD");
    let (text, line) = on_commit.split_once("\n\n").expect("a text, an empty line, and a record");
    let text: Vec<_> = text.lines().skip(1).collect();
    assert_eq!(
        text,
        [
            "  stages: test passed, specs passed, size overridden",
            "  guardrail: Guardrail spec-guard (base=HEAD~1): passed",
            "  guardrail: Guardrail diff-budget (base=HEAD~1): overridden: it is a move",
            "  overridden: it is a move",
            "  unsigned",
        ]
    );
    // The same for machines, and what it all ran with.
    let record = payload(line)["predicate"]["git-orchestrate"]["record"].clone();
    assert_eq!(record["tool"], concat!("git-orchestrate ", env!("CARGO_PKG_VERSION")));
    let flavour = sha256_hex(b"sweet");
    assert_eq!(
        record["fingerprint"],
        json!({
            "os": std::env::consts::OS, "arch": std::env::consts::ARCH,
            "tools": {"echo tool 7": "tool 7"}, "env": {"FLAVOUR": flavour},
        })
    );
    let run = &repo.runs("0101")[0];
    let manifest = crate::fixture::manifest(run);
    for (stage, entry) in
        record["stages"].as_array().unwrap().iter().zip(manifest["commands"].as_array().unwrap())
    {
        let log = fs::read(repo.path(entry["log_path"].as_str().unwrap())).unwrap();
        assert_eq!(stage["log_sha256"], sha256_hex(&log), "{stage}");
    }
    assert_eq!(record["pipeline_digest"], manifest["plan"]["digest"]);
    assert_eq!(record["guardrails"][1]["outcome"], "overridden");
    assert_eq!(record["guardrails"][1]["reason"], "it is a\nmove");
    assert_eq!(record["stages"][2]["overrides"], json!(["it is a\nmove"]));
}

#[test]
fn nothing_is_written_unless_somebody_wants_it() {
    let repo = project_with(json!({}));
    start(&repo, "");
    assert_eq!(refs(&repo), [] as [String; 0]);
    start(&repo, "--notes");
    assert_eq!(refs(&repo).len(), 1);
    let repo = project();
    start(&repo, "--no-notes");
    assert_eq!(refs(&repo), [] as [String; 0]);
    // A run whose tree moved says nothing to anybody.
    repo.write(
        "codex.orchestrator.json",
        &repo.read("codex.orchestrator.json").replace("echo ran", "echo > new"),
    );
    repo.git(&["commit", "--quiet", "--all", "--message", "moves"]);
    start(&repo, "");
    assert_eq!(refs(&repo), [] as [String; 0]);
}

#[test]
fn records_of_one_writer_name_each_other() {
    let repo = project();
    start(&repo, "");
    start(&repo, "");
    let lines = note(&repo, "HEAD^{tree}");
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(payload(lines[0])["predicate"]["git-orchestrate"]["previous"], Value::Null);
    let first = Envelope::parse(lines[0].as_bytes(), sha256_hex).unwrap();
    assert_eq!(payload(lines[1])["predicate"]["git-orchestrate"]["previous"], first.digest(sha256_hex));
    let text = note(&repo, "HEAD");
    assert_eq!(text.matches("gate succeeded").count(), 2, "{text}");
    // A failure is told as well.
    fs::write(repo.beside("fails"), "").unwrap();
    assert_eq!(repo.orchestrate("start").code, 1);
    assert!(note(&repo, "HEAD").contains("gate failed: run "));
}

#[test]
fn a_dirty_tree_says_nothing_of_a_commit_until_there_is_one_with_it() {
    for (words, records) in [("start", 2), ("start --reuse", 1), ("evidence write", 1)] {
        let repo = project();
        let head = repo.git(&["rev-parse", "HEAD"]);
        repo.write("file", "new\n");
        start(&repo, "");
        assert_eq!(refs(&repo), [] as [String; 0]);
        // Another tree is not it.
        repo.write("other", "");
        repo.git(&["add", "--all"]);
        repo.git(&["commit", "--quiet", "--message", "too much"]);
        assert!(repo.orchestrate("evidence write").stdout.starts_with("Nothing to write"));
        repo.git(&["rm", "--quiet", "other"]);
        repo.git(&["commit", "--quiet", "--message", "exactly"]);
        let seen = repo.orchestrate(&format!("{words} --format json"));
        assert_eq!(seen.code, 0, "{seen}");
        assert!(words != "evidence write" || seen.json()["runs"].as_array().unwrap().len() == 1, "{seen}");
        let text = note(&repo, "HEAD");
        assert!(text.contains("It ran on this very tree before the commit was made."), "{text}");
        let statement = payload(note(&repo, "HEAD^{tree}").lines().next().unwrap());
        assert_eq!(statement["subject"].as_array().unwrap().len(), 1);
        let shown = repo.command("git").args(["notes", "--ref", &only_ref(&repo), "show", &head]).output();
        assert!(!shown.unwrap().status.success(), "HEAD of that time has none");
        assert_eq!(show(&repo, "")["commits"][0]["records"].as_array().unwrap().len(), records);
        // It is written once.
        let before = repo.git(&["rev-parse", &only_ref(&repo)]);
        repo.orchestrate("evidence write");
        assert_eq!(repo.git(&["rev-parse", &only_ref(&repo)]), before);
    }
}

#[test]
fn a_record_is_signed_with_the_key_of_commits_and_the_signer_is_named() {
    let repo = project();
    let key = with_key(&repo, "ada");
    start(&repo, "");
    let seen = repo.orchestrate("evidence show");
    assert!(
        seen.stdout.contains(", signed with SHA256:") && seen.stdout.contains("which nobody allows"),
        "{seen}"
    );
    allow(&repo, "ada@example.com", &key);
    let shown = show(&repo, "");
    let signed = &shown["commits"][0]["records"][0]["note"];
    assert_eq!((&signed["signature"], &signed["principal"]), (&json!("allowed"), &json!("ada@example.com")));
    // Whoever has ssh-keygen can check it without us.
    let line: Value = serde_json::from_str(&note(&repo, "HEAD^{tree}")).unwrap();
    let payload = BASE64.decode(line["payload"].as_str().unwrap()).unwrap();
    let signature = BASE64.decode(line["signatures"][0]["sig"].as_str().unwrap()).unwrap();
    fs::write(repo.beside("sig"), signature).unwrap();
    let mut message = format!("DSSEv1 28 application/vnd.in-toto+json {} ", payload.len()).into_bytes();
    message.extend(payload);
    fs::write(repo.beside("message"), message).unwrap();
    let script = "ssh-keygen -Y verify -f \"$HOME/allowed\" -I ada@example.com -n git-orchestrate -s \"$HOME/sig\" < \"$HOME/message\"";
    assert!(repo.command("sh").args(["-c", script]).status().unwrap().success());
    // A key for other things signs no evidence.
    fs::write(repo.beside("allowed"), format!("ada@example.com namespaces=\"git\" {key}\n")).unwrap();
    assert_eq!(show(&repo, "")["commits"][0]["records"][0]["note"]["signature"], "stranger");
}

#[test]
fn keys_of_an_agent_and_of_a_command_are_used_as_git_uses_them() {
    let repo = project();
    let key = with_key(&repo, "ada");
    // An agent of our own, that ends with the shell; the private half is in no file any more.
    let script = format!(
        "eval \"$(ssh-agent -s)\" > /dev/null && ssh-add -q \"$HOME/ada\" && rm \"$HOME/ada\" && '{}' start; code=$?; kill $SSH_AGENT_PID; exit $code",
        env!("CARGO_BIN_EXE_git-orchestrate")
    );
    repo.git(&["config", "--unset", "user.signingkey"]);
    repo.git(&["config", "commit.gpgSign", "true"]);
    repo.git(&["config", "gpg.ssh.defaultKeyCommand", &format!("echo 'key::{key}'")]);
    let seen = repo.see(repo.command("sh").args(["-c", &script]));
    assert_eq!(seen.code, 0, "{seen}");
    allow(&repo, "ada", &key);
    assert_eq!(show(&repo, "")["commits"][0]["records"][0]["note"]["principal"], "ada", "{seen}");
}

#[test]
fn an_openpgp_key_signs_too() {
    let repo = project();
    let home = with_openpgp_key(&repo);
    let seen = repo.see(repo.program().arg("start").env("GNUPGHOME", &home));
    assert_eq!(seen.code, 0, "{seen}");
    let seen = repo.see(repo.program().args(["evidence", "show"]).env("GNUPGHOME", &home));
    assert!(seen.stdout.contains("signed by ada <ada@example.com> with "), "{seen}");
    stop_agents(&repo, &home);
}

#[test]
fn a_signer_that_fails_costs_the_signature_and_not_the_run() {
    let repo = project();
    with_key(&repo, "ada");
    repo.git(&["config", "gpg.ssh.program", "/bin/false"]);
    let seen = start(&repo, "");
    assert!(seen.stderr.contains("the note is not signed: not signed: `/bin/false`"), "{seen}");
    assert!(note(&repo, "HEAD").contains("\n  unsigned\n"));
    repo.git(&["config", "gpg.ssh.program", "ssh-keygen"]);
    repo.git(&["config", "commit.gpgSign", "false"]);
    let seen = start(&repo, "");
    assert!(!seen.stderr.contains("not signed"), "{seen}");
    let project = project_with(json!({"notes": true, "sign": true}));
    project.git(&["config", "gpg.format", "ssh"]);
    let seen = start(&project, "");
    assert!(
        seen.stderr.contains("neither `user.signingKey` nor `gpg.ssh.defaultKeyCommand` names a key"),
        "{seen}"
    );
}

#[test]
fn many_writers_at_once_lose_nothing() {
    let repo = project_with(json!({"notes": "full"}));
    let mut children: Vec<_> = (0..32)
        .map(|at| {
            let mut program = repo.program();
            program.args(["start", "--task", &format!("t{at}")]);
            program.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
            program.spawn().unwrap()
        })
        .collect();
    assert!(children.iter_mut().all(|child| child.wait().unwrap().success()));
    let lines = note(&repo, "HEAD^{tree}");
    assert_eq!(lines.lines().count(), 32);
    assert_eq!(note(&repo, "HEAD").matches("gate succeeded").count(), 32);
    let shown = show(&repo, "");
    assert_eq!(shown["commits"][0]["records"].as_array().unwrap().len(), 32);
    assert_eq!(repo.git(&["rev-list", "--count", &only_ref(&repo)]), "32");
    let manifests = repo.git(&["ls-tree", "-r", "--name-only", &only_ref(&repo), "manifests/"]);
    assert_eq!(manifests.lines().count(), 32, "{manifests}");
}

#[test]
fn every_kind_of_repository_keeps_its_notes() {
    // A linked worktree, a collected repository, and what git itself makes of the notes.
    let repo = project();
    start(&repo, "");
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", "--detach", linked.to_str().unwrap()]);
    assert_eq!(repo.orchestrate_in(&linked, "start").code, 0);
    repo.git(&["gc", "--quiet", "--prune=now"]);
    assert_eq!(note(&repo, "HEAD^{tree}").lines().count(), 2);
    let reference = only_ref(&repo);
    repo.git(&["notes", "--ref", &reference, "append", "--message", "a remark", "HEAD"]);
    start(&repo, "");
    assert!(note(&repo, "HEAD").contains("a remark"));
    assert_eq!(note(&repo, "HEAD^{tree}").lines().count(), 3);
    repo.git(&["notes", "--ref", &reference, "prune"]);
    assert_eq!(note(&repo, "HEAD^{tree}").lines().count(), 3);
    // The remark stands among the records, and is none.
    let shown = show(&repo, "");
    assert_eq!(shown["commits"][0]["records"].as_array().unwrap().len(), 3);
    assert_eq!(shown["commits"][0]["refused"].as_array().unwrap().len(), 1);
}

#[test]
fn other_hashes_and_other_ref_stores_are_no_obstacle() {
    let config = project().read("codex.orchestrator.json");
    for words in [["--object-format=sha256"], ["--ref-format=reftable"]] {
        let repo = Fixture::new("passing");
        let other = repo.beside("other");
        let made = repo.command("git").args(["init", "--quiet"]).args(words).arg(&other).status().unwrap();
        assert!(made.success());
        fs::write(other.join("codex.orchestrator.json"), &config).unwrap();
        let git = |args: &[&str]| {
            let output = repo.command("git").current_dir(&other).args(args).output().unwrap();
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        git(&["add", "."]);
        git(&["commit", "--quiet", "--message", "one"]);
        for _ in 0..2 {
            let seen = repo.orchestrate_in(&other, "start");
            assert_eq!(seen.code, 0, "{seen}");
            assert!(!seen.stderr.contains("warning"), "{seen}");
        }
        let reference = git(&["for-each-ref", "--format=%(refname)", NOTES]);
        let text = git(&["notes", "--ref", reference.trim(), "show", "HEAD"]);
        assert_eq!(text.matches("gate succeeded").count(), 2, "{words:?}: {text}");
        let seen = repo.orchestrate_in(&other, "evidence show --format json");
        assert_eq!(seen.json()["commits"][0]["records"].as_array().unwrap().len(), 2, "{seen}");
    }
}

/// A bare repository beside a project, and another clone of it.
pub struct Two {
    pub ours: Fixture,
    pub bare: PathBuf,
    pub clone: PathBuf,
}

impl Two {
    pub fn new(ours: Fixture) -> Self {
        let (bare, clone) = (ours.beside("bare.git"), ours.beside("clone"));
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        ours.git(&["clone", "--quiet", "--bare", ".", &path(&bare)]);
        ours.git(&["remote", "add", "origin", &path(&bare)]);
        ours.git(&["clone", "--quiet", &path(&bare), &path(&clone)]);
        Self { ours, bare, clone }
    }

    /// Lets partial clones be made of the bare repository.
    pub fn allow_filters(&self) {
        self.git_there(&self.bare, &["config", "uploadpack.allowFilter", "true"]);
    }

    pub fn there(&self, words: &str) -> Seen {
        self.ours.orchestrate_in(&self.clone, words)
    }

    pub fn git_there(&self, dir: &Path, args: &[&str]) -> String {
        let output = self.ours.command("git").current_dir(dir).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

#[test]
fn notes_travel_and_count_where_the_policy_allows_their_signer() {
    let two = Two::new(project());
    let key = with_key(&two.ours, "ada");
    start(&two.ours, "");
    let seen = two.ours.orchestrate("evidence push");
    assert_eq!((seen.code, seen.stdout.contains("the notes of one writer")), (0, true), "{seen}");
    let seen = two.there("evidence fetch --format json");
    assert_eq!(
        (seen.code, &seen.json()["records"], &seen.json()["signed"]),
        (0, &json!(1), &json!(0)),
        "{seen}"
    );
    let seen = two.there("evidence show");
    assert!(seen.stdout.contains("which nobody allows"), "{seen}");
    // Nobody whom we know signed it: it runs.
    assert_eq!(two.there("start --reuse --no-notes").code, 0);
    assert_eq!(ran(&two.ours), 2);

    // Somebody else has the policy in the base commit, and fetches it with the key.
    let config: Value = serde_json::from_str(&two.ours.read("codex.orchestrator.json")).unwrap();
    let mut config = config.clone();
    config["evidence"] = json!({"notes": true, "acceptSigned": true, "signers": ".signers"});
    two.ours.write("codex.orchestrator.json", &config.to_string());
    two.ours.write(".signers", &format!("ada@example.com {key}\n"));
    two.ours.git(&["add", "--all"]);
    two.ours.git(&["commit", "--quiet", "--message", "a policy"]);
    start(&two.ours, "");
    two.ours.git(&["push", "--quiet", "origin", "HEAD"]);
    assert_eq!(two.ours.orchestrate("evidence push").code, 0);
    let third = two.ours.beside("third");
    two.ours.git(&["clone", "--quiet", two.bare.to_str().unwrap(), third.to_str().unwrap()]);
    let seen = two.ours.orchestrate_in(&third, "evidence fetch --format json");
    assert_eq!((seen.code, &seen.json()["signed"]), (0, &json!(2)), "{seen}");
    let before = ran(&two.ours);
    let seen = two.ours.orchestrate_in(&third, "start --reuse");
    assert_eq!((seen.code, ran(&two.ours)), (0, before), "{seen}");
    // What was fetched once is not entered twice.
    assert_eq!(two.ours.orchestrate_in(&third, "evidence fetch --format json").json()["records"], 0);
}

#[test]
fn two_places_of_one_writer_come_together_without_force() {
    let two = Two::new(project());
    start(&two.ours, "");
    assert_eq!(two.there("start").code, 0);
    assert_eq!(two.ours.orchestrate("evidence push").code, 0);
    // The other has the same writer's notes, and others: they are joined.
    let seen = two.there("evidence push --format json");
    assert_eq!((seen.code, &seen.json()["tries"]), (0, &json!(2)), "{seen}");
    assert_eq!(two.ours.orchestrate("evidence fetch").code, 0);
    assert_eq!(show(&two.ours, "")["commits"][0]["records"].as_array().unwrap().len(), 2);
    let reference = only_ref(&two.ours);
    let of = |dir: &Path| two.git_there(dir, &["rev-parse", &reference]);
    assert_eq!(of(two.ours.root()), of(&two.bare));
    // All at once.
    for _ in 0..2 {
        assert_eq!(two.there("start").code, 0);
        start(&two.ours, "");
        let push = |dir: &Path| {
            let mut program = two.ours.program();
            program.current_dir(dir).args(["evidence", "push"]).stdout(std::process::Stdio::null());
            program.spawn().unwrap()
        };
        let children = [push(two.ours.root()), push(&two.clone)];
        assert!(children.into_iter().all(|mut child| child.wait().unwrap().success()));
    }
    assert_eq!(
        two.git_there(&two.bare, &["notes", "--ref", &reference, "show", "HEAD^{tree}"]).lines().count(),
        6
    );
}

#[test]
fn a_note_that_is_too_large_to_read_keeps_no_two_places_apart() {
    let two = Two::new(project());
    start(&two.ours, "");
    assert_eq!(two.ours.orchestrate("evidence push").code, 0);
    assert_eq!(two.there("evidence fetch").code, 0);
    let reference = only_ref(&two.ours);
    // One about something that only the other has a note about, and one in place of what both have.
    let large = two.ours.beside("large");
    fs::write(&large, vec![b'\n'; (64 << 20) + 1]).unwrap();
    let blob = two.git_there(&two.clone, &["hash-object", "-w", large.to_str().unwrap()]);
    for object in ["HEAD:codex.orchestrator.json", "HEAD^{tree}"] {
        two.git_there(&two.clone, &["notes", "--ref", &reference, "add", "--force", "-C", &blob, object]);
    }
    two.git_there(&two.clone, &["push", "--quiet", "origin", &reference]);
    start(&two.ours, "");
    let before = note(&two.ours, "HEAD^{tree}");
    let seen = two.ours.orchestrate("evidence fetch");
    assert_eq!((seen.code, seen.stdout.matches("has 67108865 bytes").count()), (6, 2), "{seen}");
    // What can be read stays what it is, and what cannot be read comes along as it is.
    assert_eq!(note(&two.ours, "HEAD^{tree}"), before);
    let listed = two.ours.git(&["notes", "--ref", &reference, "list", "HEAD:codex.orchestrator.json"]);
    assert_eq!(listed, blob);
    let seen = two.ours.orchestrate("evidence push");
    assert_eq!(seen.code, 0, "{seen}");
    let of = |dir: &Path| two.git_there(dir, &["rev-parse", &reference]);
    assert_eq!(of(two.ours.root()), of(&two.bare));
}

#[test]
fn a_remote_that_rewrote_its_notes_raises_an_alarm() {
    let two = Two::new(project());
    start(&two.ours, "");
    start(&two.ours, "");
    assert_eq!(two.ours.orchestrate("evidence push").code, 0);
    assert_eq!(two.there("evidence fetch").code, 0);
    let reference = only_ref(&two.ours);
    two.git_there(&two.bare, &["update-ref", &reference, &format!("{reference}~1")]);
    let seen = two.there("evidence fetch");
    assert_eq!(seen.code, 6, "{seen}");
    assert!(seen.stdout.starts_with("ALARM  the remote has rewritten the history of this writer"), "{seen}");
    assert_eq!(
        two.git_there(&two.clone, &["notes", "--ref", &reference, "show", "HEAD^{tree}"]).lines().count(),
        2
    );
    two.git_there(&two.bare, &["update-ref", "-d", &reference]);
    let seen = two.there("evidence fetch");
    assert_eq!(seen.code, 6, "{seen}");
    assert!(seen.stdout.contains("the remote has nothing of this writer any more"), "{seen}");
    // Whoever has it can give it back.
    assert_eq!(two.ours.orchestrate("evidence push").code, 0);
    assert_eq!(two.there("evidence fetch").code, 0);
}

#[test]
fn a_ref_that_holds_no_notes_stops_no_other_writer() {
    let two = Two::new(project());
    start(&two.ours, "");
    assert_eq!(two.ours.orchestrate("evidence push").code, 0);
    let honest = only_ref(&two.ours);
    let at = |what: &str| two.git_there(&two.bare, &["rev-parse", what]);
    two.git_there(&two.bare, &["tag", "--annotate", "--message", "t", "t", &honest]);
    let junk = [("blob", "HEAD:codex.orchestrator.json"), ("tag", "t"), ("0/b", &honest)];
    for (name, what) in junk {
        two.git_there(&two.bare, &["update-ref", &format!("{NOTES}/{name}"), &at(what)]);
    }
    let seen = two.there("evidence fetch --format json");
    let document = seen.json();
    assert_eq!((seen.code, &document["records"]), (6, &json!(1)), "{seen}");
    let refused = document["refused"].as_array().unwrap().iter();
    let refused: Vec<_> =
        refused.map(|it| (it["writer"].as_str().unwrap(), it["why"].as_str().unwrap())).collect();
    let no_commit = "the ref names no commit, so there are no notes in it";
    let slash = "no writer has a name with a slash in it";
    assert_eq!(refused, [("0/b", slash), ("blob", no_commit), ("tag", no_commit)], "{seen}");
    let listed = two.git_there(&two.clone, &["for-each-ref", "--format=%(refname)", NOTES]);
    assert_eq!(listed, honest);
    // Nor does it stop two places from coming together.
    start(&two.ours, "");
    assert_eq!(two.ours.orchestrate("evidence push").code, 0);
    assert_eq!(two.there("start").code, 0);
    let seen = two.there("evidence push --format json");
    assert_eq!((seen.code, &seen.json()["tries"]), (0, &json!(2)), "{seen}");
}

#[test]
fn a_ref_in_the_way_of_a_writer_is_named() {
    let two = Two::new(project());
    start(&two.ours, "");
    let ours = only_ref(&two.ours);
    let blob = two.git_there(&two.bare, &["rev-parse", "HEAD:codex.orchestrator.json"]);
    for name in [format!("{ours}/x"), ours.clone()] {
        two.git_there(&two.bare, &["update-ref", &name, &blob]);
        let seen = two.ours.orchestrate("evidence push");
        assert_eq!(seen.code, 7, "{seen}");
        let said = format!("`origin` did not take `{ours}`: `{name}` is in its way there");
        assert!(seen.stderr.contains(&said), "{seen}");
        let mend = format!("git push origin --delete {name}");
        assert!(seen.stderr.contains(&mend), "{seen}");
        assert_eq!(two.ours.orchestrate("evidence fetch").code, 6);
        two.ours.git(&mend.split(' ').skip(1).collect::<Vec<_>>());
    }
    let seen = two.ours.orchestrate("evidence push");
    assert_eq!(seen.code, 0, "{seen}");
    // Here as well.
    two.git_there(&two.clone, &["update-ref", &format!("{ours}/x"), "HEAD"]);
    let seen = two.there("evidence fetch");
    assert_eq!(seen.code, 6, "{seen}");
    assert!(seen.stdout.contains(&format!("`{ours}/x` is in the way of `{ours}`")), "{seen}");
    let seen = two.there("evidence push");
    assert_eq!(seen.code, 0, "{seen}");
    two.git_there(&two.clone, &["update-ref", "-d", &format!("{ours}/x")]);
    assert_eq!(two.there("evidence fetch").code, 0);
}

#[test]
fn a_remote_that_is_lost_loses_nothing_here() {
    let two = Two::new(project());
    start(&two.ours, "");
    let hook = two.bare.join("hooks/pre-receive");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\nkill -9 $PPID\n").unwrap();
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let seen = two.ours.orchestrate("evidence push");
    assert_eq!(seen.code, 7, "{seen}");
    assert!(seen.stderr.contains("hint: nothing is lost here"), "{seen}");
    fs::write(&hook, "#!/bin/sh\necho no >&2; exit 1\n").unwrap();
    let seen = two.ours.orchestrate("evidence push");
    assert_eq!(seen.code, 7, "{seen}");
    assert!(seen.stderr.contains("pre-receive hook declined"), "{seen}");
    fs::remove_file(&hook).unwrap();
    assert_eq!(two.ours.orchestrate("evidence push").code, 0);
    assert_eq!(two.git_there(&two.bare, &["rev-list", "--count", &only_ref(&two.ours)]), "1");
    let seen = two.ours.orchestrate("evidence fetch /nowhere/at/all");
    assert_eq!(seen.code, 7, "{seen}");
    let seen = two.ours.orchestrate("evidence push --force");
    assert_eq!(seen.code, 2, "{seen}");
}

#[test]
fn what_the_ledger_could_not_take_is_fetched_again() {
    let two = Two::new(project());
    start(&two.ours, "");
    assert_eq!(two.ours.orchestrate("evidence push").code, 0);
    let ledger = two.clone.join(".git/orchestrate/ledger");
    fs::create_dir_all(ledger.parent().unwrap()).unwrap();
    fs::write(&ledger, "no folder").unwrap();
    let seen = two.there("evidence fetch");
    assert!(seen.code != 0 && seen.stderr.contains("ledger"), "{seen}");
    // Nor does a push take them for known.
    assert_eq!(two.there("evidence push").code, 0);
    fs::remove_file(&ledger).unwrap();
    let seen = two.there("evidence fetch --format json");
    assert_eq!((seen.code, &seen.json()["records"]), (0, &json!(1)), "{seen}");
}

#[test]
fn shallow_and_partial_clones_have_the_notes() {
    let two = Two::new(project());
    start(&two.ours, "");
    two.allow_filters();
    assert_eq!(two.ours.orchestrate("evidence push").code, 0);
    let url = format!("file://{}", two.bare.display());
    for (name, flag) in [("shallow", "--depth=1"), ("partial", "--filter=blob:none")] {
        let there = two.ours.beside(name);
        two.ours.git(&["clone", "--quiet", flag, &url, there.to_str().unwrap()]);
        let seen = two.ours.orchestrate_in(&there, "evidence fetch --format json");
        assert_eq!((seen.code, &seen.json()["records"]), (0, &json!(1)), "{name}: {seen}");
        let seen = two.ours.orchestrate_in(&there, "evidence show");
        assert!(seen.stdout.contains("test passed"), "{name}: {seen}");
        assert_eq!(two.ours.orchestrate_in(&there, "start --reuse").code, 0);
    }
}

/// Puts a note where a forger would.
pub fn forge(repo: &Fixture, reference: &str, object: &str, note: &[u8]) {
    let path = repo.beside("note");
    fs::write(&path, note).unwrap();
    let blob = repo.git(&["hash-object", "-w", path.to_str().unwrap()]);
    repo.git(&["notes", "--ref", reference, "add", "--force", "-C", &blob, object]);
}

#[test]
fn each_forgery_is_refused_in_words_of_its_own() {
    let repo = project();
    let key = with_key(&repo, "ada");
    allow(&repo, "ada@example.com", &key);
    start(&repo, "");
    let reference = only_ref(&repo);
    let honest = note(&repo, "HEAD^{tree}");
    let edited = |change: &dyn Fn(&mut Value)| {
        let mut envelope: Value = serde_json::from_str(&honest).unwrap();
        let mut statement = payload(&honest);
        change(&mut statement);
        envelope["payload"] = json!(BASE64.encode(statement.to_string()));
        envelope.to_string().into_bytes()
    };
    let ours = "/predicate/git-orchestrate";
    let set = |at: &str, value: Value| {
        let at = at.to_owned();
        move |statement: &mut Value| *statement.pointer_mut(&at).expect("a place") = value.clone()
    };
    let run = set(&format!("{ours}/record/run_id"), json!("2026-01-01T00-00-00-000Z-00000000"));
    let unsigned = |line: &[u8]| {
        let mut envelope: Value = serde_json::from_slice(line).unwrap();
        envelope["signatures"] = json!([]);
        envelope.to_string().into_bytes()
    };
    let with = |key: &str, value: Value| {
        let mut envelope: Value = serde_json::from_str(&honest).unwrap();
        envelope[key] = value;
        envelope.to_string().into_bytes()
    };
    let signed_by = |sig: &str| with("signatures", json!([{"keyid": "k", "sig": sig}]));
    let with_payload = |text: &str| with("payload", json!(BASE64.encode(text)));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (edited(&run), "the signature is not one of this record"),
        (
            edited(&set(&format!("{ours}/writer"), json!("me"))),
            "was written by `me` and stands in the notes of",
        ),
        (
            edited(&set(&format!("{ours}/version"), json!(7))),
            "of version 7, which is newer than this program",
        ),
        (honest.as_bytes()[..honest.len() / 2].into(), "the line is cut off or no JSON"),
        (b"{\xff\xfe}".into(), "the line is no UTF-8 text"),
        (honest.replacen('{', r#"{"payload":"","#, 1).into(), "the key `payload` stands twice"),
        (format!("{{{}", " ".repeat(5 << 20)).into(), "and no record is larger than"),
        // Without its signature it is a record like any other, but for what only one can have.
        (unsigned(&edited(&run)), "has the nonce of another one: it was made of it"),
        (signed_by("%%%"), "the signature cannot be read"),
        (signed_by(&BASE64.encode("x")), "the signature is of no kind that git knows"),
        (
            honest.replace("vnd.in-toto", "vnd.other").into(),
            "the envelope holds `application/vnd.other+json`",
        ),
        (
            edited(&set("/_type", json!("v9"))),
            "the statement is of the kind `v9`, which this version does not know",
        ),
        (edited(&set("/predicateType", json!("x"))), "about something else than test results: `x`"),
        (edited(&set("/subject/0/digest/gitTree", json!("0000"))), "the subjects of the statement are not"),
        (
            edited(&set("/predicate/result", json!("FAILED"))),
            "the result of the statement is not that of its record",
        ),
        (
            edited(&|it| it["predicate"]["git-orchestrate"]["record"]["more"] = json!(1)),
            "the record says more than this version understands",
        ),
        (
            edited(&set(&format!("{ours}/record/stages/0/definition_digest"), json!("0"))),
            "the key of stage `test` does not follow from what the record says about it",
        ),
        (
            with_payload(&payload(&honest).to_string().replacen('{', r#"{"_type":"","#, 1)),
            "the key `_type` stands twice",
        ),
        (with_payload("{\"_type\": "), "the line is cut off or no JSON"),
    ];
    for (line, said) in &cases {
        let mut whole = line.clone();
        whole.push(b'\n');
        whole.extend(honest.as_bytes());
        forge(&repo, &reference, "HEAD^{tree}", &whole);
        repo.git(&["notes", "--ref", &reference, "remove", "--ignore-missing", "HEAD"]);
        let seen = repo.orchestrate("evidence show");
        assert_eq!(seen.code, 6, "{said}: {seen}");
        assert!(seen.stdout.contains(said), "{said}: {seen}");
        // What is honest beside it is believed, and what we do not understand is kept.
        assert!(seen.stdout.contains("signed by ada@example.com"), "{said}: {seen}");
        let seen = verify(&repo, "--require test --signed");
        assert_eq!((seen.code, &seen.json()["proven"]), (6, &json!(false)), "{said}: {seen}");
        start(&repo, "");
        let kept =
            repo.command("git").args(["notes", "--ref", &reference, "show", "HEAD^{tree}"]).output().unwrap();
        assert!(kept.stdout.starts_with(line), "{said}");
    }
    // A record that is honest, about another tree.
    repo.write("file", "worse\n");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "worse"]);
    for object in ["HEAD", "HEAD^{tree}"] {
        forge(&repo, &reference, object, honest.as_bytes());
        let seen = repo.orchestrate("evidence show");
        assert_eq!(seen.code, 6, "{seen}");
        assert!(seen.stdout.contains("was copied from there") && !seen.stdout.contains("passed"), "{seen}");
        repo.git(&["notes", "--ref", &reference, "remove", object]);
    }
    // One that was rewritten to the same tree is about the same thing.
    repo.git(&["commit", "--quiet", "--amend", "--message", "in other words"]);
    repo.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    repo.git(&["commit", "--quiet", "--allow-empty", "--amend", "--message", "in other words"]);
    forge(&repo, &reference, "HEAD", honest.as_bytes());
    let seen = repo.orchestrate("evidence show");
    assert!(seen.stdout.contains("test passed") && !seen.stdout.contains("copied"), "{seen}");
}

#[test]
fn what_is_replayed_gigantic_or_no_note_at_all_is_refused_too() {
    let repo = project();
    start(&repo, "");
    let reference = only_ref(&repo);
    let honest = note(&repo, "HEAD^{tree}");
    let refused = |said: &str| {
        for words in ["show", "verify --require test"] {
            let seen = repo.orchestrate(&format!("evidence {words}"));
            assert_eq!(seen.code, 6, "{words}: {seen}");
            assert!(seen.stdout.contains(said), "{words}: {seen}");
        }
    };
    // What one had written, in the name of another.
    let other = format!("{NOTES}/0000000000000000");
    forge(&repo, &other, "HEAD", honest.as_bytes());
    refused("and stands in the notes of `0000000000000000`");
    repo.git(&["update-ref", "-d", &other]);
    // A ref that has no notes.
    let blob = repo.git(&["hash-object", "-w", "codex.orchestrator.json"]);
    repo.git(&["update-ref", &other, &blob]);
    refused("refused  note of 0000000000000000 about ");
    repo.git(&["update-ref", "-d", &other]);
    assert_eq!(verify(&repo, "--require test").code, 0);
    // More than anybody wants to read.
    let mut large = honest.clone().into_bytes();
    large.resize((64 << 20) + 1, b'\n');
    forge(&repo, &reference, "HEAD^{tree}", &large);
    repo.git(&["notes", "--ref", &reference, "remove", "HEAD"]);
    refused("has 67108865 bytes, and none is read that is larger than 67108864");
    // The last record of a writer is missed, though nothing comes after it.
    forge(&repo, &reference, "HEAD^{tree}", honest.as_bytes());
    start(&repo, "");
    forge(&repo, &reference, "HEAD^{tree}", honest.as_bytes());
    repo.git(&["notes", "--ref", &reference, "remove", "HEAD"]);
    let seen = verify(&repo, "--require test");
    let (_, fail) = verdicts(&seen, 0);
    assert_eq!((seen.code, fail[0].0.as_str()), (6, "chain"), "{seen}");
    assert!(fail[0].1.ends_with(" last, and it is gone"), "{seen}");
}

#[test]
fn a_forgery_of_somebody_else_does_not_reach_the_ledger() {
    let two = Two::new(project_with(json!({"notes": true, "acceptSigned": true})));
    start(&two.ours, "");
    let reference = only_ref(&two.ours);
    let honest = note(&two.ours, "HEAD^{tree}");
    forge(&two.ours, &reference, "HEAD^{tree}", honest.replace("vnd.in-toto", "x").as_bytes());
    two.ours.git(&["notes", "--ref", &reference, "remove", "HEAD"]);
    assert_eq!(two.ours.orchestrate("evidence push").code, 0);
    let seen = two.there("evidence fetch");
    assert_eq!(seen.code, 6, "{seen}");
    assert!(seen.stdout.contains("refused") && seen.stdout.contains("0 new"), "{seen}");
}

#[test]
fn signers_of_the_change_that_is_judged_are_not_asked() {
    let repo = project();
    let key = with_key(&repo, "mallory");
    repo.git(&["branch", "--quiet", "base"]);
    repo.git(&["switch", "--quiet", "--create", "feature"]);
    repo.git(&["branch", "--quiet", "--set-upstream-to=base"]);
    repo.git(&["config", "gpg.ssh.allowedSignersFile", ".signers"]);
    repo.write(".signers", &format!("mallory {key}\n"));
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "let me in"]);
    start(&repo, "");
    let shown = show(&repo, "");
    assert_eq!(shown["commits"][0]["records"][0]["note"]["signature"], "stranger", "{shown}");
    assert_eq!(shown["signers"], json!([]));
    // Once it is in the base, it counts.
    repo.git(&["branch", "--quiet", "--force", "base"]);
    assert_eq!(show(&repo, "")["commits"][0]["records"][0]["note"]["principal"], "mallory");
    let seen = repo.orchestrate("evidence show --signers .signers --format json");
    assert_eq!(seen.json()["commits"][0]["records"][0]["note"]["principal"], "mallory", "{seen}");
    let seen = repo.orchestrate("evidence show --signers no-such-file");
    assert_eq!((seen.code, seen.stdout.as_str()), (2, ""), "{seen}");
}

#[test]
fn signers_behind_a_link_are_those_of_the_place_where_it_leads() {
    let repo = project();
    repo.git(&["branch", "--quiet", "base"]);
    let key = with_key(&repo, "key");
    repo.git(&["switch", "--quiet", "--create", "feature"]);
    repo.git(&["branch", "--quiet", "--set-upstream-to=base"]);
    repo.write(".signers", &format!("mallory {key}\n"));
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "let me in"]);
    start(&repo, "");
    let signature = || show(&repo, "")["commits"][0]["records"][0]["note"]["signature"].clone();
    let link = repo.beside("link");
    repo.git(&["config", "gpg.ssh.allowedSignersFile", link.to_str().unwrap()]);
    // From elsewhere into the change that is judged: that one is not asked.
    std::os::unix::fs::symlink(repo.path(".signers"), &link).unwrap();
    assert_eq!(signature(), "stranger");
    // As people keep their settings.
    let own = repo.beside("own");
    fs::write(&own, format!("ada {key}\n")).unwrap();
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&own, &link).unwrap();
    assert_eq!(signature(), "allowed");
    // And out of the change that is judged.
    fs::remove_file(repo.path(".signers")).unwrap();
    std::os::unix::fs::symlink(&own, repo.path(".signers")).unwrap();
    repo.git(&["config", "gpg.ssh.allowedSignersFile", ".signers"]);
    assert_eq!(signature(), "stranger");
}

#[test]
fn show_says_what_there_is_and_what_there_is_not() {
    let repo = project();
    repo.git(&["commit", "--quiet", "--allow-empty", "--message", "the same tree"]);
    start(&repo, "");
    repo.write("file", "x");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "something else"]);
    let shown = show(&repo, "HEAD~2..HEAD");
    let counts: Vec<_> = shown["commits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["records"].as_array().unwrap().len())
        .collect();
    assert_eq!(counts, [1, 0]);
    // The tree is the same, so what ran on it counts for the commit before too.
    assert_eq!(show(&repo, "HEAD~2")["commits"][0]["records"].as_array().unwrap().len(), 1);
    assert_eq!(repo.orchestrate("evidence show nonsense").code, 2);
    let seen = repo.orchestrate("evidence show HEAD");
    assert!(seen.stdout.ends_with("something else\n  no evidence\n"), "{seen}");
}

/// Returns the verdicts about one commit: those that hold, and those that do not with their reasons.
pub fn verdicts(seen: &Seen, at: usize) -> (Vec<String>, Vec<(String, String)>) {
    let (mut hold, mut fail) = (Vec::new(), Vec::new());
    for verdict in seen.json()["commits"][at]["verdicts"].as_array().unwrap() {
        let name = verdict["name"].as_str().unwrap().to_owned();
        match verdict["holds"].as_bool() {
            Some(true) => hold.push(name),
            Some(false) => fail.push((name, verdict["why"].as_str().unwrap().to_owned())),
            None => {}
        }
    }
    (hold, fail)
}

pub fn verify(repo: &Fixture, words: &str) -> Seen {
    repo.orchestrate(&format!("evidence verify --format json {words}"))
}

#[test]
fn what_is_required_is_proven_or_the_condition_is_named() {
    let repo = project();
    let key = with_key(&repo, "ada");
    let seen = verify(&repo, "--require test");
    assert_eq!(seen.code, 1, "{seen}");
    assert_eq!(verdicts(&seen, 0).1[0], ("present".into(), "there is no record of this tree".into()));
    start(&repo, "");
    let run = repo.runs("0101")[0].file_name().unwrap().to_str().unwrap().to_owned();
    let seen = verify(&repo, "--require test --max-age 1h");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(verdicts(&seen, 0).0, ["present", "bound", "complete", "fresh", "consistent", "chain"]);
    assert_eq!(seen.json()["commits"][0]["stages"], json!([{"stage": "test", "run_id": run}]));
    let seen = verify(&repo, "--require test,lint");
    assert_eq!(
        (seen.code, verdicts(&seen, 0).1),
        (1, vec![("complete".into(), "`lint` has no record".into())])
    );
    // Signed, but by nobody who is known.
    let seen = verify(&repo, "--require test --signed");
    let (hold, fail) = verdicts(&seen, 0);
    assert_eq!(
        (seen.code, fail[1].clone()),
        (1, ("allowed".into(), "nobody who signed is allowed to".into()))
    );
    assert!(hold.contains(&"signature".to_owned()));
    repo.write("signers", &format!("ada@example.com {key}\n"));
    assert_eq!(verify(&repo, "--require test --signed --signers signers").code, 0);
    fs::remove_file(repo.path("signers")).unwrap();
    allow(&repo, "ada@example.com", &key);
    assert_eq!(verify(&repo, "--require test --signed").code, 0);
    // The message is another one, the tree is not.
    repo.git(&["commit", "--quiet", "--amend", "--message", "in other words"]);
    assert_eq!(verify(&repo, "--require test --signed").code, 0);
    let seen = repo.orchestrate("evidence verify --require test");
    assert!(
        seen.stdout.starts_with("proven  ") && seen.stdout.contains("present, bound, complete"),
        "{seen}"
    );
    // A commit of a range that is not.
    repo.write("file", "x");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "more"]);
    let seen = verify(&repo, "--require test HEAD~1..HEAD");
    assert_eq!((seen.code, &seen.json()["proven"]), (1, &json!(false)), "{seen}");
    assert_eq!(verify(&repo, "").code, 2);
}

#[test]
fn what_is_old_unsigned_contradicted_or_partly_gone_is_not_proven() {
    let repo = project();
    start(&repo, "");
    let seen = verify(&repo, "--require test --signed");
    let (_, fail) = verdicts(&seen, 0);
    let expected = ("signature".to_owned(), "no record is signed".to_owned());
    assert!(seen.code == 1 && fail.contains(&expected), "{seen}");
    let seen = verify(&repo, "--require test --max-age 0s");
    assert_eq!((seen.code, verdicts(&seen, 0).1[0].0.as_str()), (1, "fresh"), "{seen}");
    fs::write(repo.beside("fails"), "").unwrap();
    assert_eq!(repo.orchestrate("start").code, 1);
    let seen = verify(&repo, "--require test");
    assert_eq!((seen.code, verdicts(&seen, 0).1[0].0.as_str()), (1, "consistent"), "{seen}");
    // Whoever removes the failure is found out by the record that came after it.
    fs::remove_file(repo.beside("fails")).unwrap();
    start(&repo, "");
    let reference = only_ref(&repo);
    let lines = note(&repo, "HEAD^{tree}");
    let kept: Vec<_> = lines.lines().enumerate().filter(|(at, _)| *at != 1).map(|(_, line)| line).collect();
    forge(&repo, &reference, "HEAD^{tree}", kept.join("\n").as_bytes());
    repo.git(&["notes", "--ref", &reference, "remove", "HEAD"]);
    let seen = verify(&repo, "--require test");
    assert_eq!(seen.code, 6, "{seen}");
    let (_, fail) = verdicts(&seen, 0);
    assert!(fail.iter().any(|(name, why)| name == "chain" && why.ends_with("and it is gone")), "{seen}");
}

#[test]
fn whoever_removes_every_record_of_a_commit_is_found_out() {
    let two = Two::new(project());
    let repo = &two.ours;
    let commit = |name: &str| {
        repo.write(name, name);
        repo.git(&["add", "--all"]);
        repo.git(&["commit", "--quiet", "--message", name]);
    };
    start(repo, "");
    commit("second");
    start(repo, "");
    commit("third, that nobody ran");
    repo.git(&["push", "--quiet", "origin", "HEAD"]);
    let reference = only_ref(repo);
    for object in ["HEAD~2", "HEAD~2^{tree}"] {
        repo.git(&["notes", "--ref", &reference, "remove", object]);
    }
    assert_eq!(repo.orchestrate("evidence push").code, 0);
    two.git_there(&two.clone, &["pull", "--quiet"]);
    assert_eq!(two.there("evidence fetch").code, 0);
    let chain = |seen: &Seen| {
        let (_, fail) = verdicts(seen, 0);
        fail.into_iter().find(|(name, _)| name == "chain").map(|(_, why)| why)
    };
    let there =
        |revision: &str| two.there(&format!("evidence verify --format json --require test {revision}"));
    let seen = there("HEAD~2");
    assert_eq!((seen.code, verdicts(&seen, 0).1[0].0.as_str()), (6, "present"), "{seen}");
    let why = chain(&seen).expect("it is noticed");
    assert!(why.contains("had a note here that was removed") && why.ends_with(", and it is gone"), "{why}");
    // Also where the ledger still knows that it ran.
    let seen = repo.orchestrate("evidence verify --format json --require test HEAD~2");
    assert_eq!((seen.code, chain(&seen)), (6, Some(why)), "{seen}");
    // Of a commit about which nobody had written anything nothing is removed; but a gap is a gap.
    let seen = there("HEAD");
    let (_, fail) = verdicts(&seen, 0);
    assert_eq!((seen.code, chain(&seen), fail[0].0.as_str()), (1, None, "present"), "{seen}");
    assert!(
        fail[0].1.contains("there is no record of this tree; ") && fail[0].1.ends_with(" is gone"),
        "{seen}"
    );
    // Where nothing was removed nobody says so.
    let repo = project();
    start(&repo, "");
    repo.write("file", "x");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "more"]);
    let seen = verify(&repo, "--require test");
    assert_eq!(
        (seen.code, verdicts(&seen, 0).1[0].1.as_str()),
        (1, "there is no record of this tree"),
        "{seen}"
    );
}

#[test]
fn a_forgery_is_not_verified() {
    let repo = project();
    start(&repo, "");
    let honest = note(&repo, "HEAD^{tree}");
    repo.write("file", "x");
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--message", "worse"]);
    forge(&repo, &only_ref(&repo), "HEAD", honest.as_bytes());
    let seen = verify(&repo, "--require test");
    assert_eq!(seen.code, 6, "{seen}");
    let (_, fail) = verdicts(&seen, 0);
    assert_eq!(
        fail.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["present", "bound", "complete"]
    );
}

#[test]
fn no_word_of_a_forger_decides_which_condition_fails() {
    let repo = project();
    start(&repo, "");
    let honest = note(&repo, "HEAD^{tree}");
    let mut statement = payload(&honest);
    statement["predicate"]["git-orchestrate"]["writer"] = json!("me, and was copied from there");
    let mut forged: Value = serde_json::from_str(&honest).unwrap();
    forged["payload"] = json!(BASE64.encode(statement.to_string()));
    forge(&repo, &only_ref(&repo), "HEAD^{tree}", format!("{honest}\n{forged}\n").as_bytes());
    let seen = verify(&repo, "--require test");
    assert_eq!(seen.code, 6, "{seen}");
    assert!(seen.stdout.contains("and was copied from there` and stands in the notes of"), "{seen}");
    assert!(verdicts(&seen, 0).0.contains(&"bound".to_owned()), "{seen}");
}

#[test]
fn git_shows_and_fetches_notes_once_it_was_told_to() {
    let two = Two::new(project());
    let seen = two.there("init --notes --format json");
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(seen.json()["configured"].as_array().unwrap().len(), 3);
    assert!(two.there("init --notes").stdout.starts_with("Nothing to do"));
    // What is of another writer comes with a fetch, and what is ours is not lost.
    let mut program = two.ours.program();
    let seen = two.ours.see(program.arg("start").env("GIT_COMMITTER_EMAIL", "other@example.com"));
    assert_eq!(seen.code, 0, "{seen}");
    assert_eq!(two.ours.orchestrate("evidence push").code, 0);
    assert_eq!(two.there("start").code, 0);
    two.git_there(&two.clone, &["fetch", "--quiet", "--prune"]);
    let log = two.git_there(&two.clone, &["log", "-1"]);
    assert_eq!(log.matches("gate succeeded").count(), 2, "{log}");
    let shown = two.there("evidence show --format json").json();
    assert_eq!(shown["commits"][0]["records"].as_array().unwrap().len(), 2);
    let seen = two.there("evidence verify --require test");
    assert_eq!(seen.code, 0, "{seen}");
    // Without a remote there is nothing to fetch.
    let seen = project().orchestrate("init --notes");
    assert_eq!(seen.stdout, "Configured notes.displayRef = refs/notes/orchestrate/*\n");
}
