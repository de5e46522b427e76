//! The processes that led to this one.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Returns the command lines of up to `far` processes that this one was started by, the nearest first.
pub fn command_lines(far: usize) -> Vec<Vec<OsString>> {
    let mut lines = Vec::new();
    let mut pid = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    while let Some(at) = pid.filter(|_| lines.len() < far) {
        let Ok(words) = std::fs::read(format!("/proc/{at}/cmdline")) else { break };
        let words = words.strip_suffix(b"\0").unwrap_or(&words);
        lines.push(words.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect());
        pid = parent_of(at).filter(|parent| *parent > 1);
    }
    lines
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program stands in brackets, and may hold anything.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn somebody_started_us() {
        let lines = super::command_lines(2);
        assert!(!lines.is_empty() && !lines[0].is_empty(), "{lines:?}");
    }
}
