//! The environment of this process, read once.
#![expect(clippy::disallowed_methods, reason = "this is its place")]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// The variables of this process and its folder, as they were when it began.
#[derive(Clone, Debug)]
pub struct Env {
    vars: BTreeMap<OsString, OsString>,
    cwd: PathBuf,
}

impl Env {
    /// Reads the environment.
    ///
    /// # Errors
    /// If the current folder does not exist any more or cannot be read.
    pub fn read() -> std::io::Result<Self> {
        Ok(Self { vars: std::env::vars_os().collect(), cwd: std::env::current_dir()? })
    }

    /// Makes an environment of its parts.
    pub fn new(vars: impl IntoIterator<Item = (OsString, OsString)>, cwd: PathBuf) -> Self {
        Self { vars: vars.into_iter().collect(), cwd }
    }

    /// Returns the folder that the process began in.
    pub fn cwd(&self) -> &std::path::Path {
        &self.cwd
    }

    /// Returns a variable, also if it is empty; not one that is no text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(OsStr::new(name))?.to_str()
    }

    /// Returns a variable that is set and not empty.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.vars.get(OsStr::new(name)).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// Whether a variable is set to one of `1 true yes on`.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(is_true)
    }

    /// Returns every variable.
    pub fn vars(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.vars.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

/// Whether a text means yes.
pub fn is_true(text: &str) -> bool {
    matches!(text.trim().to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on" | "enforce")
}

/// Whether a text asks for records only, with nothing enforced.
pub fn is_shadow(text: &str) -> bool {
    matches!(text.trim().to_ascii_lowercase().as_str(), "shadow" | "0" | "false" | "no" | "off")
}
