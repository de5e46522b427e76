//! `git push`, called as the caller would call it.
#![expect(clippy::disallowed_methods, reason = "a listing is read back where it was written")]

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;

use super::error::At;
use super::program::{self, Git};
use super::{GitError, Repo};

/// What a hook of ours sees of a push that is only tried: it stands in for the caller's own.
const LISTING: &str =
    "#!/bin/sh\n{ printf 'to\\n%s\\n%s\\n' \"$1\" \"$2\"; cat; } >> \"$GIT_ORCHESTRATE_LISTING\"\n";

/// The variable that names the file in which a tried push is written down.
pub const LISTING_VARIABLE: &str = "GIT_ORCHESTRATE_LISTING";

/// How to call git.
#[derive(Clone, Copy, Debug)]
pub struct PushCall<'a> {
    pub cwd: &'a Path,
    /// What follows `git push`.
    pub args: &'a [OsString],
}

/// What a push would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WouldPush {
    /// For each place, its name, its URL and the lines that git gives to a hook.
    To(Vec<(String, String, String)>),
    /// git itself would not do it; it said why.
    No { code: i32, said: String },
}

impl Repo {
    /// Tries a push and returns what git would give to a hook. Nothing is changed anywhere, and no hook but
    /// one of ours is run.
    pub fn would_push(&self, call: PushCall<'_>) -> Result<WouldPush, GitError> {
        // Where hooks may be run; a folder for temporary files may be mounted without that right.
        let folder = self.aside("push-")?;
        let (hook, listing) = (folder.path().join("pre-push"), folder.path().join("listing"));
        std::fs::write(&hook, LISTING).at(&hook)?;
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o700)).at(&hook)?;
        let mut command = program::of_caller(call.cwd);
        command.arg("-c").arg(setting("core.hooksPath", folder.path().as_os_str()));
        for name in self.configured_hooks()? {
            command.arg("-c").arg(format!("hook.{name}.enabled=false"));
        }
        // A push that is tried prints what it would do, and that is no answer yet.
        command.args(["push", "--dry-run"]).args(call.args.iter().filter(|word| *word != "--no-verify"));
        command.env(LISTING_VARIABLE, &listing).stdout(Stdio::null()).stderr(Stdio::piped());
        let output = command.output().map_err(|source| GitError::NoProgram { source })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
            return Ok(WouldPush::No { code: code(output.status), said });
        }
        let text = match std::fs::read(&listing) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(err) => return Err(err).at(&listing),
        };
        let mut places: Vec<(String, String, String)> = Vec::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            match places.last_mut() {
                _ if line == "to" => {
                    let (name, url) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
                    places.push((name.to_owned(), url.to_owned(), String::new()));
                }
                Some((.., given)) => {
                    given.push_str(line);
                    given.push('\n');
                }
                None => {}
            }
        }
        Ok(WouldPush::To(places))
    }

    /// Returns the names of hooks that stand in git's configuration.
    pub fn configured_hooks(&self) -> Result<Vec<String>, GitError> {
        let git = Git::about_hooks(&self.work_tree).args(["config", "--null", "--name-only"]);
        let (_, listed) =
            git.args(["--get-regexp", r"^hook\..*\.(command|event)$"]).run_expecting(&[0, 1])?;
        let text = String::from_utf8_lossy(&listed);
        let mut names: Vec<String> = text
            .split('\0')
            .filter_map(|key| Some(key.strip_prefix("hook.")?.rsplit_once('.')?.0.to_owned()))
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }
}

/// Pushes. What git prints goes where it always goes, but for its stdout if that is kept free for an answer.
pub fn push(call: PushCall<'_>, variables: &[(&str, OsString)], free_stdout: bool) -> Result<i32, GitError> {
    let mut command = program::of_caller(call.cwd);
    command.arg("push").args(call.args).envs(variables.iter().map(|(name, value)| (name, value)));
    if free_stdout {
        command.stdout(std::io::stderr());
    }
    let status = command.status().map_err(|source| GitError::NoProgram { source })?;
    Ok(code(status))
}

fn code(status: std::process::ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}

fn setting(key: &str, value: &OsStr) -> OsString {
    let mut setting = OsString::from(format!("{key}="));
    setting.push(value);
    setting
}
