//! A repository made by `fixtures/repos/<name>/make.sh`, and the program run in it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// A repository of its own in a temporary folder.
pub struct Fixture {
    _dir: tempfile::TempDir,
    home: PathBuf,
    root: PathBuf,
}

/// What a person saw.
pub struct Seen {
    pub stdout: String,
    pub stderr: String,
    pub code: i32,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}[exit: {}]", self.stderr, self.stdout, self.code)
    }
}

impl Seen {
    /// Returns the one JSON document on stdout.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|err| panic!("{err}: {self}"))
    }
}

impl Fixture {
    /// Makes the repository called `name`. Its path holds a blank.
    pub fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let base = dir.path().canonicalize().expect("the folder was just made");
        let (home, root) = (base.join("home"), base.join("a repo"));
        fs::create_dir(&home).expect("a home");
        fs::create_dir(&root).expect("a root");
        let fixture = Self { _dir: dir, home, root };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/repos").join(name).join("make.sh");
        let made = fixture.command("/bin/sh").arg(script).output().expect("a shell");
        assert!(made.status.success(), "{name}: {}", String::from_utf8_lossy(&made.stderr));
        fixture
    }

    /// Makes a repository with the configuration given, committed.
    pub fn with_config(config: &Value) -> Self {
        let fixture = Self::new("passing");
        fixture.write("codex.orchestrator.json", &serde_json::to_string_pretty(config).expect("JSON"));
        fixture.git(&["commit", "--quiet", "--all", "--message", "another pipeline"]);
        fixture
    }

    /// Makes a repository whose `diagnostics` runs these commands; their ids are `s1`, `s2`, ….
    pub fn with_commands(commands: &[&str]) -> Self {
        let stages: Vec<_> = commands
            .iter()
            .enumerate()
            .map(|(at, command)| {
                let id = format!("s{}", at + 1);
                serde_json::json!({"kind": "command", "id": id, "title": id, "command": command})
            })
            .collect();
        Self::with_config(&serde_json::json!({"pipelines": [
            {"id": "diagnostics", "title": "Diagnostics", "guardrailsRequired": false, "stages": stages},
        ]}))
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns a folder beside the repository.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder");
        fs::write(&path, text).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    }

    pub fn read(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
    }

    /// Returns a child that knows nothing of the machine it runs on.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.root)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("a PATH"))
            .env("HOME", &self.home)
            // What else runs on the machine must not make a test wait.
            .env("GIT_ORCHESTRATE_BUDGET_DIR", self.home.join("budget"))
            // Nor must how many cores it has.
            .env("GIT_ORCHESTRATE_BUDGET_JOBS", "64")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_AUTHOR_NAME", "A U Thor")
            .env("GIT_AUTHOR_EMAIL", "author@example.com")
            .env("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z")
            .env("GIT_COMMITTER_NAME", "C O Mitter")
            .env("GIT_COMMITTER_EMAIL", "committer@example.com")
            .env("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")
            .stdin(Stdio::null());
        command
    }

    /// Returns the program, ready to be called with more arguments.
    pub fn program(&self) -> Command {
        self.command(env!("CARGO_BIN_EXE_git-orchestrate"))
    }

    /// Returns the program as somebody whom the modes of files keep out; nothing if whoever runs the tests is not, and
    /// cannot become one.
    pub fn unprivileged(&self) -> Option<Command> {
        if !rustix::process::geteuid().is_root() {
            return Some(self.program());
        }
        let without = |command: &mut Command| {
            command.args(["--bounding-set=-all", "--inh-caps=-all"]);
        };
        let mut probe = self.command("setpriv");
        without(&mut probe);
        if !probe.arg("true").output().is_ok_and(|output| output.status.success()) {
            return None;
        }
        let mut command = self.command("setpriv");
        without(&mut command);
        command.arg(env!("CARGO_BIN_EXE_git-orchestrate"));
        Some(command)
    }

    /// Runs git and returns what it printed, without the last newline.
    pub fn git(&self, args: &[&str]) -> String {
        let output = self.command("git").args(args).output().expect("git");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned()
    }

    /// Runs the program with words that need no quoting.
    pub fn orchestrate(&self, words: &str) -> Seen {
        self.see(self.program().args(words.split_whitespace()))
    }

    /// Runs a command to its end.
    pub fn see(&self, command: &mut Command) -> Seen {
        use std::os::unix::process::ExitStatusExt;
        let output = command.output().expect("the program starts");
        Seen {
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
            code: output.status.code().unwrap_or_else(|| -output.status.signal().unwrap_or(0)),
        }
    }

    /// Runs the program in a folder, with words that need no quoting.
    pub fn orchestrate_in(&self, dir: &Path, words: &str) -> Seen {
        self.see(self.program().current_dir(dir).args(words.split_whitespace()))
    }

    /// Returns the JSON document in a file of the repository.
    pub fn json(&self, name: impl AsRef<Path>) -> Value {
        json_of(&self.root.join(name))
    }

    /// Returns the names of everything below a folder of the repository, but for `.git`, sorted.
    pub fn tree(&self, name: &str) -> Vec<String> {
        let base = self.path(name);
        let entries = walkdir::WalkDir::new(&base).min_depth(1).sort_by_file_name().into_iter();
        let entries = entries.filter_entry(|entry| entry.file_name() != ".git");
        let files = entries.filter_map(|entry| entry.ok().filter(|entry| !entry.file_type().is_dir()));
        files.map(|entry| entry.path().strip_prefix(&base).expect("below").display().to_string()).collect()
    }

    /// Returns the folders of all runs of a task, oldest first.
    pub fn runs(&self, task: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path(".runs").join(task).join("cli")) else { return Vec::new() };
        let mut runs: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        runs.sort();
        runs
    }

    /// Returns the manifest of the only run of a task.
    pub fn only_manifest(&self, task: &str) -> Value {
        let runs = self.runs(task);
        assert_eq!(runs.len(), 1, "{runs:?}");
        manifest(&runs[0])
    }
}

/// Returns the folder of the only run of the task `t`.
pub fn only_run(repo: &Fixture) -> PathBuf {
    let runs = repo.runs("t");
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs[0].clone()
}

/// Returns the id of the run in a folder.
pub fn id(run: &Path) -> &str {
    run.file_name().and_then(|name| name.to_str()).expect("run ids are text")
}

/// Returns how the stages of a manifest stand.
pub fn statuses(manifest: &Value) -> Vec<&str> {
    let stages = manifest["commands"].as_array().expect("stages");
    stages.iter().map(|stage| stage["status"].as_str().expect("a status")).collect()
}

/// Returns the manifest of the run in a folder.
pub fn manifest(run: &Path) -> Value {
    json_of(&run.join("manifest.json"))
}

/// Returns the JSON document in a file.
pub fn json_of(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

/// Returns the JSON documents of a file that holds one per line.
pub fn lines_of(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {line}")))
        .collect()
}

/// Returns the keys of a document in their order.
pub fn keys(document: &Value) -> Vec<&str> {
    document
        .as_object()
        .unwrap_or_else(|| panic!("{document} is no object"))
        .keys()
        .map(String::as_str)
        .collect()
}

/// Compares what a person saw with an inline snapshot. What differs from run to run is filtered.
macro_rules! assert_seen {
    ($seen:expr, @$expected:literal) => {
        insta::with_settings!({filters => vec![
            (r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d{3}Z-[0-9a-f]{8}", "[RUN]"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "[TIME]"),
            (r"\b\d+\.\d s\b", "[SPAN]"),
            (r"\b[0-9a-f]{12} on main", "[COMMIT] on main"),
            (r"/\S*/a repo", "[ROOT]"),
        ]}, {
            insta::assert_snapshot!($seen.to_string(), @$expected);
        });
    };
}
