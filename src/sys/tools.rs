//! What declared tools say of themselves, such as `rustc -V`, remembered for as long as the program
//! that says it stays the same file.
#![expect(clippy::disallowed_methods, reason = "tools are asked in one place")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::fs::{Durability, read_if_there, write_atomically};
use super::room::is_program;

/// How long a tool may take to say its version.
const PATIENCE: Duration = Duration::from_secs(20);

/// With these a program says its version, which is in the file that it is.
const OF_ITSELF: [&str; 7] = ["-V", "-v", "-vV", "-version", "--version", "--verbose", "version"];

/// How much of an answer counts.
const MOST: u64 = 16 * 1024;

/// What is remembered of one command.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    /// The file that answered, and all else that its answer depends on.
    identity: String,
    answer: String,
}

/// Asks tools, in the folder and environment that stages get.
pub struct Tools<'a> {
    pub root: &'a Path,
    pub env: &'a [(OsString, OsString)],
    /// Where answers are remembered.
    pub cache: &'a Path,
}

impl Tools<'_> {
    /// Returns what each of `commands` prints. One that fails or is not there answers with that.
    pub fn ask(&self, commands: &BTreeSet<String>) -> BTreeMap<String, String> {
        if commands.is_empty() {
            return BTreeMap::new();
        }
        let mut known = self.remembered();
        let (mut answers, mut unknown) = (BTreeMap::new(), Vec::new());
        for command in commands {
            let identity = self.identity(command);
            match known.get(command) {
                Some(known) if identity.as_ref() == Some(&known.identity) => {
                    answers.insert(command.clone(), known.answer.clone());
                }
                _ => unknown.push((command, identity)),
            }
        }
        let mut learned = false;
        for (command, identity, answer) in self.run_all(unknown) {
            if let Some(identity) = identity {
                known.insert(command.clone(), Remembered { identity, answer: answer.clone() });
                learned = true;
            }
            answers.insert(command.clone(), answer);
        }
        if learned {
            // A cache that cannot be kept costs time and nothing else.
            let _ = self.remember(&known);
        }
        answers
    }

    /// Asks all of them at the same time: mostly one waits for a process that starts slowly. Returns the answers,
    /// with the identity of those that can be remembered.
    fn run_all<'a>(
        &self,
        commands: Vec<(&'a String, Option<String>)>,
    ) -> Vec<(&'a String, Option<String>, String)> {
        std::thread::scope(|scope| {
            let asked: Vec<_> = commands
                .into_iter()
                .map(|(command, identity)| {
                    scope.spawn(move || {
                        let answer = self.run(command);
                        // Looked at again: it could have been replaced while it answered.
                        (command, identity.filter(|it| self.identity(command).as_ref() == Some(it)), answer)
                    })
                })
                .collect();
            asked.into_iter().map(|asked| asked.join().expect("asking does not panic")).collect()
        })
    }

    fn remembered(&self) -> BTreeMap<String, Remembered> {
        let bytes = read_if_there(self.cache).ok().flatten().unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    fn remember(&self, known: &BTreeMap<String, Remembered>) -> Result<(), super::fs::PathError> {
        if let Some(folder) = self.cache.parent() {
            super::fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_vec(known).expect("texts are JSON");
        write_atomically(self.cache, &text, Durability::Process)
    }

    fn variable(&self, name: &str) -> Option<&OsStr> {
        self.env.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str())
    }

    /// Returns what the answer of a command depends on; nothing if that cannot be told, such as for a
    /// script or a program that only decides which other one is called.
    fn identity(&self, command: &str) -> Option<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || " -_./=+:,@".contains(c);
        if !command.chars().all(plain) {
            return None;
        }
        let mut words = command.split_whitespace();
        let program = words.next().filter(|word| !word.contains('='))?;
        // Asked for anything else, a program may look elsewhere.
        let mut words = words.peekable();
        words.peek()?;
        if !words.all(|word| OF_ITSELF.contains(&word)) {
            return None;
        }
        let found = self.find(program)?;
        let real = fs::canonicalize(&found).ok()?;
        let decides = [&found, &real].into_iter().any(|path| path.iter().any(|part| part == "shims"));
        if decides || is_script(&real) {
            return None;
        }
        // What was remembered before stderr counted is not believed.
        let mut parts = vec!["2".to_owned(), found.display().to_string(), state(&real)?];
        if real.file_name().is_some_and(|name| name == "rustup") {
            // It picks the toolchain by these.
            for name in ["RUSTUP_TOOLCHAIN", "RUSTUP_HOME", "HOME"] {
                parts.push(format!("{:?}", self.variable(name)));
            }
            let home = match (self.variable("RUSTUP_HOME"), self.variable("HOME")) {
                (Some(home), _) => PathBuf::from(home),
                (None, Some(home)) => Path::new(home).join(".rustup"),
                (None, None) => return None,
            };
            parts.push(state(&home.join("settings.toml")).unwrap_or_default());
            // A toolchain that is updated in place gets a new folder of components.
            parts.push(state(&home.join("toolchains")).unwrap_or_default());
            for folder in self.root.ancestors() {
                for name in ["rust-toolchain.toml", "rust-toolchain"] {
                    parts.push(fs::read_to_string(folder.join(name)).unwrap_or_default());
                }
            }
            parts.push(toolchains(&home));
        }
        Some(parts.join("\n"))
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        if program.contains('/') {
            return Some(self.root.join(program)).filter(|path| is_program(path));
        }
        let path = self.variable("PATH")?;
        let mut paths = std::env::split_paths(path).map(|folder| self.root.join(folder).join(program));
        paths.find(|path| is_program(path))
    }

    fn run(&self, command: &str) -> String {
        let child = Command::new("/bin/sh")
            .args(["-c", command])
            .current_dir(self.root)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(err) => return format!("cannot be asked: {err}"),
        };
        let stdout = reader(child.stdout.take().expect("it is piped"));
        let stderr = reader(child.stderr.take().expect("it is piped"));
        let begin = Instant::now();
        let mut pause = Duration::from_micros(200);
        let ended = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if begin.elapsed() < PATIENCE => std::thread::sleep(pause),
                _ => break None,
            }
            pause = (pause * 2).min(Duration::from_millis(5));
        };
        let group = rustix::process::Pid::from_child(&child);
        // Whatever it left behind would keep the pipe open.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let Some(status) = ended else {
            let _ = child.wait();
            return format!("no answer within {} s", PATIENCE.as_secs());
        };
        let text = |reader: JoinHandle<Vec<u8>>| {
            String::from_utf8_lossy(&reader.join().unwrap_or_default()).trim().to_owned()
        };
        let (text, said) = (text(stdout), text(stderr));
        match status.code() {
            // Some say their version there, such as `java -version`; beside an answer it is something else.
            Some(0) if text.is_empty() => said,
            Some(0) => text,
            Some(code) => format!("exit code {code} {text}").trim_end().to_owned(),
            None => "ended by a signal".to_owned(),
        }
    }
}

fn reader(from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = from.take(MOST).read_to_end(&mut text);
        text
    })
}

fn is_script(path: &Path) -> bool {
    let mut head = [0; 2];
    File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head == *b"#!"
}

/// Returns what tells one state of a file from another without reading it.
fn state(path: &Path) -> Option<String> {
    let meta = fs::metadata(path).ok()?;
    let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
    Some(format!("{}:{}:{}:{times:?}", meta.dev(), meta.ino(), meta.size()))
}

/// Returns the state of what rustup notes about each toolchain when it installs or updates it.
fn toolchains(home: &Path) -> String {
    let hashes = fs::read_dir(home.join("update-hashes")).into_iter().flatten().flatten();
    let mut states: Vec<_> = hashes.filter_map(|entry| state(&entry.path())).collect();
    states.sort();
    states.join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn place_tool(folder: &Path, name: &str, from: &str) {
        let path = folder.join(name);
        let _ = fs::remove_file(&path);
        fs::copy(from, &path).unwrap();
    }

    #[test]
    fn an_answer_is_remembered_until_the_program_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("deep/tools.json");
        place_tool(dir.path(), "tool", "/bin/echo");
        let env = [("PATH".into(), dir.path().as_os_str().to_owned())];
        let tools = Tools { root: dir.path(), env: &env, cache: &cache };
        let commands: BTreeSet<_> = ["tool version".to_owned()].into();
        let ask = || tools.ask(&commands).remove("tool version").unwrap();
        assert_eq!(ask(), "version");
        // Whoever changes the cache changes the answer, so it is what answers.
        let text = fs::read_to_string(&cache).unwrap();
        super::super::fs::write_atomically(
            &cache,
            text.replace("\"answer\":\"version\"", "\"answer\":\"remembered\"").as_bytes(),
            Durability::Process,
        )
        .unwrap();
        assert_eq!(ask(), "remembered");
        place_tool(dir.path(), "tool", "/bin/false");
        assert_eq!(ask(), "exit code 1");
    }

    #[test]
    fn what_may_answer_differently_each_time_is_always_asked() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        super::super::fs::write_atomically(&script, b"#!/bin/sh\necho 7\n", Durability::Process).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let cache = dir.path().join("tools.json");
        let env = [("PATH".into(), OsString::from(format!("{}:/bin:/usr/bin", dir.path().display())))];
        let tools = Tools { root: dir.path(), env: &env, cache: &cache };
        let file = dir.path().join("file");
        super::super::fs::write_atomically(&file, b"1", Durability::Process).unwrap();
        let of_file = format!("cat {}", file.display());
        let more = ["script", "echo $HOME", "no-such-tool -V", "uname -r", "script version"];
        let commands: BTreeSet<_> = more.into_iter().chain([of_file.as_str()]).map(str::to_owned).collect();
        let answers = tools.ask(&commands);
        assert_eq!(answers[&of_file], "1");
        assert_eq!(answers["script"], "7");
        assert_eq!(answers["echo $HOME"], "");
        assert_eq!(answers["no-such-tool -V"], "exit code 127");
        assert!(!cache.exists());
        super::super::fs::write_atomically(&file, b"2", Durability::Process).unwrap();
        assert_eq!(tools.ask(&commands)[&of_file], "2");
    }

    #[test]
    fn what_is_said_on_stderr_is_the_answer_where_there_is_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let env = [("PATH".into(), OsString::from("/bin:/usr/bin"))];
        let tools = Tools { root: dir.path(), env: &env, cache: &dir.path().join("tools.json") };
        let commands = ["echo 17 >&2", "echo 17; echo warning >&2"];
        let answers = tools.ask(&commands.map(str::to_owned).into());
        assert_eq!(commands.map(|command| answers[command].as_str()), ["17", "17"]);
    }
}
