//! Evidence that travels: `cargo bench --bench evidence [-- SCENARIO…]`.
//!
//! `push` is a `git push` with a hook that sends the notes to somebody who never answers, beside one whose hook does
//! nothing. `verify` checks `BENCH_COMMITS` commits (1,000 by default), each with a signed note. The floor that stands beside it
//! is what git itself takes to show the same notes.
#![allow(clippy::disallowed_methods, reason = "a program of its own")]

mod support;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use git_orchestrate::proof::Record;
use git_orchestrate::proof::statement::{Envelope, Signature, Statement, to_sign};
use git_orchestrate::run::key::{Definition, Fingerprint, Key, Subject};
use git_orchestrate::sys::digest::sha256_hex;
use support::{Side, pair, peak_memory};

const PROGRAM: &str = env!("CARGO_BIN_EXE_git-orchestrate");

/// The writer of all notes.
const WRITER: &str = "0123456789abcdef";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let scenarios: [(&str, fn()); 2] = [("verify", signed_commits), ("push", nobody_answers)];
    for (name, scenario) in scenarios {
        if args.is_empty() || args.iter().any(|arg| arg == name) {
            scenario();
        }
    }
}

/// Every commit of a history is checked with all its conditions.
fn signed_commits() {
    let count = std::env::var("BENCH_COMMITS").ok().and_then(|text| text.parse().ok()).unwrap_or(1000);
    for kind in ["ed25519", "rsa"] {
        let repo = Repo::new(count, kind);
        let words = ["evidence", "verify", "base..main", "--require", "test,lint", "--signed"];
        let verify = Call {
            name: format!("verify {count} commits, {kind}"),
            repo: &repo,
            program: PROGRAM,
            words: &words,
        };
        let words = ["log", "--format=%N", "--show-notes=orchestrate/0123456789abcdef", "base..main"];
        let log = Call {
            name: "git log with the same notes".to_owned(),
            repo: &repo,
            program: "git",
            words: &words,
        };
        pair(7, &verify, &log, "1,000 commits under 3,000 ms");
        let peak = peak_memory(repo.command(PROGRAM).args(verify.words).stdout(Stdio::null()));
        println!("peak memory: {peak} KiB");
    }
}

/// What a push costs whose notes nobody takes.
fn nobody_answers() {
    let repo = Repo::new(20, "ed25519");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("git://{}/nowhere.git", silent.local_addr().expect("an address"));
    repo.run("git", &["init", "--quiet", "--bare", "../bare.git"]);
    let program = format!("#!/bin/sh\nexec '{PROGRAM}' evidence push --detach --timeout 5s {url}\n");
    for (folder, hook) in [("sends", program.as_str()), ("nothing", "#!/bin/sh\ntrue\n")] {
        let path = repo.beside(folder).join("pre-push");
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, hook).expect("a hook");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("it is ours");
    }
    // The ref goes back and forth, so that there is something to push each time.
    let push = |name: &'static str| {
        let mut at = 0;
        let hooks = format!("core.hooksPath={}", repo.beside(name).display());
        let repo = &repo;
        move || {
            at += 1;
            let what = format!("+main~{}:refs/heads/{name}", at % 2);
            let mut git = repo.command("git");
            git.args(["-c", &hooks, "push", "--quiet", "../bare.git", &what]);
            let begin = Instant::now();
            let output = git.output().expect("git");
            let spent = begin.elapsed().as_secs_f64() * 1000.0;
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            spent
        }
    };
    let sending = Timed { name: "git push, notes to nobody", time: push("sends").into() };
    let alone = Timed { name: "git push, a hook that does nothing", time: push("nothing").into() };
    pair(15, &sending, &alone, "no wait for any time-out");
}

/// Something that times itself.
struct Timed<F> {
    name: &'static str,
    time: std::cell::RefCell<F>,
}

impl<F: FnMut() -> f64> Side for Timed<F> {
    fn name(&self) -> &str {
        self.name
    }

    fn time(&self) -> f64 {
        (self.time.borrow_mut())()
    }
}

/// One program in a repository.
struct Call<'a> {
    name: String,
    repo: &'a Repo,
    program: &'a str,
    words: &'a [&'a str],
}

impl Side for Call<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn time(&self) -> f64 {
        let mut command = self.repo.command(self.program);
        let begin = Instant::now();
        let output = command.args(self.words).stdout(Stdio::null()).output().expect("the program starts");
        let spent = begin.elapsed().as_secs_f64() * 1000.0;
        assert!(output.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&output.stderr));
        spent
    }
}

/// A history in which each commit has a signed note.
struct Repo {
    dir: tempfile::TempDir,
}

impl Repo {
    fn new(count: usize, kind: &str) -> Self {
        let repo = Self { dir: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder") };
        let stages = r#"{"id": "gate", "stages": [{"kind": "command", "id": "test", "command": "true"},
            {"kind": "command", "id": "lint", "command": "true #"}]}"#;
        let config = format!(r#"{{"pipelines": [{stages}], "defaultPipeline": "gate"}}"#);
        repo.run("git", &["init", "--quiet", "--initial-branch=main", "."]);
        repo.run("ssh-keygen", &["-q", "-t", kind, "-N", "", "-f", "../key"]);
        let public = fs::read_to_string(repo.beside("key.pub")).expect("a key");
        fs::write(repo.beside("signers"), format!("ada@example.com {public}")).expect("a file");
        let signers = repo.beside("signers");
        repo.run("git", &["config", "gpg.ssh.allowedSignersFile", signers.to_str().expect("UTF-8")]);
        let commits = repo.history(count, &config);
        repo.notes(&commits);
        repo
    }

    /// Imports a history at once; returns its commits and their trees, oldest first.
    fn history(&self, count: usize, config: &str) -> Vec<(String, String)> {
        let mut stream = Vec::new();
        let who = "committer Ada <ada@example.com>";
        for at in 0..=count {
            let branch = if at == 0 { "base" } else { "main" };
            write!(stream, "commit refs/heads/{branch}\n{who} {} +0000\ndata 5\nmore\n", 1_700_000_000 + at)
                .unwrap();
            match at {
                0 => {
                    write!(stream, "M 644 inline codex.orchestrator.json\ndata {}\n{config}\n", config.len())
                        .unwrap()
                }
                1 => stream.extend_from_slice(b"from refs/heads/base\n"),
                _ => {}
            }
            let text = format!("{at}\n");
            write!(stream, "M 644 inline file\ndata {}\n{text}\n", text.len()).unwrap();
        }
        self.feed("git", &["fast-import", "--quiet"], &stream);
        let listed = self.run("git", &["log", "--reverse", "--format=%H %T", "base..main"]);
        listed
            .lines()
            .map(|line| line.split_once(' ').expect("two ids"))
            .map(|(a, b)| (a.into(), b.into()))
            .collect()
    }

    /// Imports the notes of all commits at once.
    fn notes(&self, commits: &[(String, String)]) {
        let mut stream = Vec::new();
        let reference = format!("refs/notes/orchestrate/{WRITER}");
        write!(
            stream,
            "commit {reference}\ncommitter Ada <ada@example.com> 1700000000 +0000\ndata 6\nnotes\n"
        )
        .unwrap();
        let mut previous = None;
        for (at, (commit, tree)) in commits.iter().enumerate() {
            let statement = Statement {
                record: record(at, commit, tree),
                writer: WRITER.to_owned(),
                previous,
                manifest: None,
            };
            let payload = statement.payload();
            let signatures = vec![Signature::of("key".to_owned(), &self.sign(&to_sign(&payload)))];
            let envelope = Envelope { statement, payload, signatures };
            previous = Some(envelope.digest(sha256_hex));
            let line = envelope.line() + "\n";
            for (object, text) in [(tree, line.clone()), (commit, format!("gate succeeded\n\n{line}"))] {
                let path = format!("{}/{}", &object[..2], &object[2..]);
                write!(stream, "M 644 inline {path}\ndata {}\n{text}\n", text.len()).unwrap();
            }
        }
        self.feed("git", &["fast-import", "--quiet"], &stream);
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let file = self.beside("message");
        fs::write(&file, message).expect("a file");
        let _ = fs::remove_file(self.beside("message.sig"));
        self.run("ssh-keygen", &["-q", "-Y", "sign", "-n", "git-orchestrate", "-f", "../key", "../message"]);
        fs::read(self.beside("message.sig")).expect("a signature")
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn root(&self) -> PathBuf {
        let root = self.dir.path().join("repo");
        fs::create_dir_all(&root).expect("a folder");
        root
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.root())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null");
        command.env("HOME", Path::new(self.dir.path()));
        command
    }

    fn run(&self, program: &str, words: &[&str]) -> String {
        let output = self.command(program).args(words).output().expect("the program starts");
        assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn feed(&self, program: &str, words: &[&str], input: &[u8]) {
        let mut child =
            self.command(program).args(words).stdin(Stdio::piped()).spawn().expect("the program starts");
        child.stdin.take().expect("a pipe").write_all(input).expect("it reads");
        assert!(child.wait().expect("a child").success(), "{program} {words:?}");
    }
}

/// Returns what a run of both stages says about a tree.
fn record(at: usize, commit: &str, tree: &str) -> Record {
    let time = "2026-01-01T00:00:00Z";
    let fingerprint = serde_json::json!({"os": "linux", "arch": "x86_64"});
    let print: Fingerprint = serde_json::from_value(fingerprint.clone()).expect("a fingerprint");
    let subject = Subject::tree(tree, None);
    let stage = |id: &str, command: &str| {
        let definition = serde_json::json!({
            "format": 1, "kind": "command", "command": command, "shell": "/bin/sh -c",
        });
        let digest = serde_json::from_value::<Definition>(definition.clone())
            .expect("a definition")
            .digest(sha256_hex);
        serde_json::json!({
            "id": id, "key": Key::new(&subject, &digest, &print.digest(sha256_hex), sha256_hex), "subject": subject,
            "definition_digest": digest, "definition": definition, "result": "passed", "exit_code": 0,
            "started_at": time, "completed_at": time, "log_sha256": sha256_hex(&at.to_le_bytes()),
        })
    };
    serde_json::from_value(serde_json::json!({
        "version": 1, "run_id": format!("2026-01-01T00-00-00-000Z-{at:08x}"), "task_id": "0101", "pipeline": "gate",
        "pipeline_digest": format!("sha256:{}", sha256_hex(b"p")), "status": "succeeded", "commit": commit,
        "tree": tree, "dirty": false, "object_format": "sha1",
        "worktree": {"path": ".", "name": null, "linked": false}, "manifest": ".runs/x/manifest.json",
        "started_at": time, "completed_at": time, "tool": "git-orchestrate", "nonce": at.to_string(),
        "fingerprint": fingerprint, "stages": [stage("test", "true"), stage("lint", "true #")],
    }))
    .expect("a record")
}
