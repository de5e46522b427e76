//! The processes that led to this one.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// git, the shell of a hook, and one of another tool.
const FAR: usize = 4;

/// Returns what follows `git … <verb>` on the command line of the nearest process that this one was started by, of
/// those that lie between git and its hook. What another program was called with is not looked at.
pub fn words_of_git(verb: &str) -> Option<Vec<OsString>> {
    chain().take(FAR).filter(|(_, it)| it.name.starts_with("git")).find_map(|(pid, _)| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        of_git(words.strip_suffix(b"\0").unwrap_or(&words), verb)
    })
}

fn of_git(words: &[u8], verb: &str) -> Option<Vec<OsString>> {
    let mut words = words.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()));
    let program = words.next()?;
    let program = Path::new(&program).file_name()?.to_str()?;
    let is_git = program == "git" || program.strip_prefix("git-") == Some(verb);
    (is_git && words.any(|word| word == verb)).then(|| words.collect())
}

/// Returns up to `far` processes that this one was started by, the nearest first.
pub fn pids(far: usize) -> Vec<u32> {
    chain().take(far).map(|(pid, _)| pid).collect()
}

/// What the kernel says of a process.
struct Process {
    name: String,
    parent: Option<u32>,
}

fn chain() -> impl Iterator<Item = (u32, Process)> {
    let parent = Some(std::os::unix::process::parent_id());
    let known = |pid: Option<u32>| {
        let pid = pid.filter(|pid| *pid > 0)?;
        Some((pid, process(pid)?))
    };
    std::iter::successors(known(parent), move |(_, it)| known(it.parent))
}

fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program stands in brackets, and may hold anything.
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
    Some(Process { name: name.to_owned(), parent: rest.split(' ').nth(1)?.parse().ok() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_started_us() {
        // Whoever started the first process of a sandbox has no number there.
        let parent = Some(std::os::unix::process::parent_id()).filter(|pid| *pid > 0);
        assert_eq!(pids(1), Vec::from_iter(parent));
        assert_eq!(words_of_git("no-verb-of-git"), None);
    }

    #[test]
    fn what_follows_the_verb_of_git_is_told() {
        let of = |words: &[u8]| of_git(words, "push");
        assert_eq!(of(b"/usr/bin/git\0-C\0x\0push\0-o\0a b"), Some(vec!["-o".into(), "a b".into()]));
        assert_eq!(of(b"git\0push"), Some(Vec::new()));
        assert_eq!(of(b"git\0fetch\0-o"), None);
        assert_eq!(of(b"sh\0-c\0git\0push"), None);
        assert_eq!(of(b"git-push\0push"), Some(Vec::new()));
        assert_eq!(of(b""), None);
    }
}
