//! The processes that led to this one.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Looks at the command lines of up to `far` processes that this one was started by, the nearest first, and returns
/// what `wanted` makes of the first that it takes.
pub fn find<T>(far: usize, wanted: impl Fn(&[OsString]) -> Option<T>) -> Option<T> {
    let mut pid = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    for _ in 0..far {
        let at = pid.filter(|pid| *pid > 0)?;
        let words = std::fs::read(format!("/proc/{at}/cmdline")).ok()?;
        let words = words.strip_suffix(b"\0").unwrap_or(&words);
        let words: Vec<_> =
            words.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect();
        if let Some(found) = wanted(&words) {
            return Some(found);
        }
        pid = parent_of(at);
    }
    None
}

/// Returns up to `far` processes that this one was started by, the nearest first.
pub fn pids(far: usize) -> Vec<u32> {
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    let chain = std::iter::successors(parent, |pid| parent_of(*pid)).take_while(|pid| *pid > 0);
    chain.take(far).filter_map(|pid| pid.try_into().ok()).collect()
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
        let first = super::find(1, |words| words.first().cloned());
        assert!(first.is_some_and(|program| !program.is_empty()));
        assert_eq!(super::find(3, |_| None::<()>), None);
        assert_eq!(super::pids(1), [std::os::unix::process::parent_id()]);
    }
}
