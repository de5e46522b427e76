//! This program, called by itself.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Calls this program in a folder, without the variables that `ties` takes, and waits for its end.
///
/// # Errors
/// If the program cannot be started.
#[expect(clippy::disallowed_methods, reason = "a process of ours, and no stage")]
pub fn attend<S: AsRef<OsStr>>(
    folder: &Path,
    ties: &dyn Fn(&OsStr) -> bool,
    args: impl IntoIterator<Item = S>,
) -> io::Result<Output> {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    for (name, _) in std::env::vars_os().filter(|(name, _)| ties(name)) {
        command.env_remove(name);
    }
    command.current_dir(folder).args(args).stdin(Stdio::null()).output()
}
