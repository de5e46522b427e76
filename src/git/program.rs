//! The git program: the one place that builds its command line and environment.
#![expect(clippy::disallowed_methods, reason = "the one place that builds git children")]

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use super::GitError;
use super::bounded::output_within;
use super::error::At;

/// What `git rev-parse --local-env-vars` lists, and what a quarantined push adds: a hook's
/// environment points at another repository or index than the one we ask about.
const LOCAL_VARIABLES: [&str; 17] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// Returns whether a variable ties git to one repository, so that a child that works elsewhere
/// must not inherit it.
pub fn is_local_variable(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    LOCAL_VARIABLES.contains(&name)
        || name.starts_with("GIT_CONFIG_KEY_")
        || name.starts_with("GIT_CONFIG_VALUE_")
}

/// Prepares a call of git just as the caller would make it: in its environment and on its terminal.
pub(super) fn of_caller(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(dir);
    command
}

/// Prepares a call of a program that git's configuration names, such as one that signs.
pub(super) fn tool(program: &OsStr, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).stdin(Stdio::null());
    forget_repository(&mut command);
    command
}

fn forget_repository(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_local_variable(name)) {
        command.env_remove(name);
    }
}

/// One call of the git program that reads, asks nobody, and runs no hook and no monitor.
#[derive(Debug)]
pub(super) struct Git {
    command: Command,
    dir: PathBuf,
    words: Vec<OsString>,
    limit: Option<Duration>,
}

impl Git {
    /// Prepares a call in `dir`.
    pub fn new(dir: &Path) -> Self {
        let mut git = Self::about_hooks(dir);
        git.command.args(["-c", "core.hooksPath=/dev/null"]);
        git
    }

    /// Prepares a call in `dir` that still sees what `git -c` and `GIT_CONFIG_COUNT` set. Only the
    /// question whether a folder is safe needs that.
    pub fn with_configuration_of_caller(dir: &Path) -> Self {
        let mut git = Self::prepared(dir);
        for name in LOCAL_VARIABLES {
            if !name.starts_with("GIT_CONFIG") {
                git.command.env_remove(name);
            }
        }
        git.command.args(["-c", "core.hooksPath=/dev/null"]);
        git
    }

    /// Prepares a call in `dir` that is about hooks, so that what the configuration says of them counts.
    pub fn about_hooks(dir: &Path) -> Self {
        let mut git = Self::prepared(dir);
        forget_repository(&mut git.command);
        git
    }

    fn prepared(dir: &Path) -> Self {
        let mut command = Command::new("git");
        command.current_dir(dir).stdin(Stdio::null());
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_NO_LAZY_FETCH", "1").env("LC_ALL", "C");
        // A monitor and hooks are programs that a repository's configuration names. And what a ref says should be
        // shown in the place of an object is not what was committed.
        command.args(["--no-optional-locks", "--no-replace-objects", "-c", "core.fsmonitor=false"]);
        Self { command, dir: dir.to_owned(), words: Vec::new(), limit: None }
    }

    /// Leaves nothing of the environment but what `keeps` takes, and sets the search path.
    pub fn in_environment(mut self, path: &str, keeps: &dyn Fn(&OsStr) -> bool) -> Self {
        if let Some(program) = program() {
            // The search path that follows may not have it.
            let mut command = Command::new(program);
            command.args(self.command.get_args()).current_dir(&self.dir).stdin(Stdio::null());
            self.command = command;
        }
        self.command.env_clear().env("PATH", path).env("LC_ALL", "C");
        for (name, value) in std::env::vars_os().filter(|(name, _)| keeps(name)) {
            self.command.env(name, value);
        }
        self
    }

    /// Runs it, and returns its exit code and what it said on stderr.
    pub fn said(mut self) -> Result<(Option<i32>, String), GitError> {
        let output =
            self.command.args(&self.words).output().map_err(|source| GitError::NoProgram { source })?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    /// Names the repository instead of letting git search for it.
    pub fn repository(mut self, git_dir: &Path, work_tree: &Path) -> Self {
        self.command.env("GIT_DIR", git_dir).env("GIT_WORK_TREE", work_tree);
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Lets it read what is in a file, from where that file is read next.
    pub fn input(mut self, file: std::fs::File) -> Self {
        self.command.stdin(file);
        self
    }

    /// Gives it something to read.
    pub fn given(self, bytes: &[u8]) -> Result<Self, GitError> {
        // A file takes all of it at once, whatever git does first.
        let mut file = tempfile::tempfile().at(&std::env::temp_dir())?;
        file.write_all(bytes).and_then(|()| file.rewind()).at(&std::env::temp_dir())?;
        Ok(self.input(file))
    }

    /// Appends words.
    pub fn args<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.words.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// Ends it, and what it has started, when it takes longer than that.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Runs it and returns what it printed, or an error unless it exits with 0.
    pub fn run(self) -> Result<Vec<u8>, GitError> {
        self.run_expecting(&[0]).map(|(_, stdout)| stdout)
    }

    /// Runs it and returns its exit code and what it printed, or an error in git's own words if
    /// the exit code is none of `codes`.
    pub fn run_expecting(mut self, codes: &[i32]) -> Result<(i32, Vec<u8>), GitError> {
        let command = self.command.args(&self.words);
        let output = match self.limit {
            None => command.output().map(Some),
            Some(limit) => output_within(command, limit),
        };
        let output = output.map_err(|source| GitError::NoProgram { source })?;
        let Some(output) = output else {
            let stderr = format!("there was no end to it after {:?}", self.limit.unwrap_or_default());
            let command = self.words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
            return Err(GitError::Program { command, dir: self.dir, stderr });
        };
        tracing::debug!(words = ?self.words, dir = %self.dir.display(), status = %output.status, "git");
        let words: Vec<_> = self.words.iter().map(|word| word.to_string_lossy()).collect();
        match (output.status.code(), output.status.signal()) {
            (Some(code), _) if codes.contains(&code) => Ok((code, output.stdout)),
            (None, Some(signal)) => Err(GitError::Signal { command: words.join(" "), dir: self.dir, signal }),
            _ => {
                let stderr = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
                Err(GitError::Program { command: words.join(" "), dir: self.dir, stderr })
            }
        }
    }

    /// Runs it and lets `read` have what it prints as it comes; an error unless it exits with 0.
    pub fn stream<T>(
        self,
        read: impl FnOnce(&mut dyn BufRead) -> Result<T, GitError>,
    ) -> Result<T, GitError> {
        let mut talk = self.talk()?;
        let answer = match talk.stdout.take() {
            Some(mut stdout) => read(&mut stdout),
            None => read(&mut std::io::empty()),
        };
        match (answer, talk.end()) {
            (Ok(answer), ended) => ended.map(|()| answer),
            // What git says of itself says more than that its answer was cut off.
            (Err(_), Err(GitError::Program { command, dir, stderr })) if !stderr.is_empty() => {
                Err(GitError::Program { command, dir, stderr })
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Runs it and returns the one line that it printed.
    pub fn line(self) -> Result<String, GitError> {
        let stdout = self.run()?;
        Ok(String::from_utf8_lossy(&stdout).trim_end_matches('\n').to_owned())
    }
}

impl Git {
    /// Starts it, to go on talking with it: it reads a line and answers with one.
    pub fn talk(mut self) -> Result<Talk, GitError> {
        let place = std::env::temp_dir();
        // What hooks say has room in a file; a pipe that nobody reads would stop them.
        let said = tempfile::tempfile().at(&place)?;
        let stderr = said.try_clone().at(&place)?;
        let command = self.command.args(&self.words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(stderr).spawn().map_err(|source| GitError::NoProgram { source })?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        let words: Vec<_> = self.words.iter().map(|word| word.to_string_lossy()).collect();
        Ok(Talk { child, stdin, stdout, said, command: words.join(" "), dir: self.dir })
    }
}

/// A git program that reads requests for as long as somebody has any. If we end in between, so does it.
pub(super) struct Talk {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
    said: std::fs::File,
    command: String,
    dir: PathBuf,
}

impl Talk {
    /// Says something, and returns the line that it answers; nothing if it gave up.
    pub fn ask(&mut self, text: &str) -> Option<String> {
        self.tell(text)?;
        let mut line = String::new();
        let read = self.stdout.as_mut()?.read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// Says something that has no answer; nothing if it gave up.
    pub fn tell(&mut self, text: &str) -> Option<()> {
        let stdin = self.stdin.as_mut()?;
        writeln!(stdin, "{text}").and_then(|()| stdin.flush()).ok()
    }

    /// Lets it end; an error in git's own words unless it exits with 0.
    pub fn end(mut self) -> Result<(), GitError> {
        drop(self.stdin.take());
        let status = self.child.wait().map_err(|source| GitError::NoProgram { source })?;
        if status.success() {
            return Ok(());
        }
        let mut stderr = Vec::new();
        let place = std::env::temp_dir();
        self.said.rewind().and_then(|()| self.said.read_to_end(&mut stderr)).at(&place)?;
        let stderr = String::from_utf8_lossy(&stderr).trim_end().to_owned();
        Err(GitError::Program { command: self.command, dir: self.dir, stderr })
    }
}

/// Reads what `git config --null --get-regexp` lists. What stands without a value is as good as `true`.
pub(super) fn pairs(listed: &[u8]) -> Vec<(String, String)> {
    let entries = listed.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
    let entries = entries.map(|entry| String::from_utf8_lossy(entry).into_owned());
    let pair = |entry: String| match entry.split_once('\n') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (entry, "true".to_owned()),
    };
    entries.map(pair).collect()
}

/// What there is to know about the git program itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// What `git --version` says, without the words in front.
    pub version: Option<String>,
    /// The configuration file of the system, which depends on how this git was built.
    pub system_config: Option<PathBuf>,
}

impl Facts {
    /// Returns the facts. Processes cost more than all else we ask, so the answers are kept in the
    /// file `cache` for as long as the program stays the same, if we may `remember` them. There may be several: a
    /// hook finds git in another folder than a terminal does.
    pub fn of_program(cache: &Path, remember: bool) -> Self {
        /// So many programs are kept.
        const KEPT: usize = 4;
        let Some([path, stamp]) = identity() else { return Self::default() };
        let text = std::fs::read_to_string(cache).unwrap_or_default();
        let known = blocks(&text);
        let same = |block: &&[&str; 4]| block[..2] == [path.as_str(), stamp.as_str()];
        if let Some([_, _, version, system_config]) = known.iter().find(same) {
            let system_config = Some(system_config).filter(|path| !path.is_empty());
            let version = Some((*version).to_owned());
            return Self { version, system_config: system_config.map(PathBuf::from) };
        }
        let facts = Self::ask();
        if let Some(version) = facts.version.as_ref().filter(|_| remember) {
            let system = facts.system_config.as_ref().and_then(|path| path.to_str()).unwrap_or("");
            let others = known.into_iter().filter(|block| block[0] != path);
            let all = std::iter::once([path.as_str(), stamp.as_str(), version, system]).chain(others);
            let text: String = all.take(KEPT).flatten().flat_map(|line| [line, "\n"]).collect();
            // Without the file we ask again next time.
            let _ = keep(cache, &text);
        }
        facts
    }

    fn ask() -> Self {
        let root = Path::new("/");
        let mut system = Git::new(root).args(["var", "GIT_CONFIG_SYSTEM"]);
        for name in ["GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"] {
            system.command.env_remove(name);
        }
        let line = Git::new(root).args(["--version"]).line().ok();
        let version = line.and_then(|line| Some(line.strip_prefix("git version ")?.to_owned()));
        let path = system.line().ok().filter(|path| !path.is_empty() && !path.contains('\n'));
        Self { version, system_config: path.map(PathBuf::from) }
    }
}

/// Returns where the git program is.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("git")).find(|path| path.is_file())
}

/// Returns what is kept of programs, four lines each; nothing if that is damaged.
fn blocks(text: &str) -> Vec<[&str; 4]> {
    let lines: Vec<_> = text.lines().collect();
    let (blocks, rest) = lines.as_chunks::<4>();
    if rest.is_empty() && text.ends_with('\n') { blocks.to_vec() } else { Vec::new() }
}

/// What tells one git program from another: where it is, and the stat data of the file.
fn identity() -> Option<[String; 2]> {
    let path = program()?;
    let found = path.metadata().ok()?;
    let modified = found.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    let path = path.to_str().filter(|path| !path.contains('\n'))?;
    Some([path.to_owned(), format!("{} {}", found.len(), modified.as_nanos())])
}

fn keep(cache: &Path, text: &str) -> std::io::Result<()> {
    let folder = cache.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut temp = tempfile::NamedTempFile::new_in(folder)?;
    temp.write_all(text.as_bytes())?;
    temp.persist(cache)?;
    Ok(())
}
