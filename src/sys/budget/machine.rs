//! How busy the machine is: what waits for it, and how much memory is left.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel tells about the machine.
#[derive(Clone, Debug)]
pub struct Machine {
    proc: PathBuf,
}

/// What processes wait for.
pub const KINDS: [&str; 3] = ["cpu", "io", "memory"];

impl Machine {
    /// Returns the machine that this process runs on.
    pub fn here() -> Self {
        Self { proc: "/proc".into() }
    }

    /// Returns in how many percent of the last ten seconds something waited; nothing where the kernel does not say.
    pub fn pressure(&self, kind: &str) -> Option<f32> {
        let text = fs::read_to_string(self.proc.join("pressure").join(kind)).ok()?;
        let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
        some.split_ascii_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
    }

    /// Returns how many bytes of memory there are, and how many can be had without swapping.
    pub fn memory(&self) -> Option<(u64, u64)> {
        let text = fs::read_to_string(self.proc.join("meminfo")).ok()?;
        Some((kilobytes(&text, "MemTotal")?, kilobytes(&text, "MemAvailable")?))
    }

    /// Returns how many bytes the processes of each session use: those that a stage has not moved to another one.
    pub fn used_by(&self, sessions: &[u32]) -> BTreeMap<u32, u64> {
        let mut used = BTreeMap::new();
        if sessions.is_empty() {
            return used;
        }
        let entries = fs::read_dir(&self.proc).into_iter().flatten().flatten();
        let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        for (session, bytes) in processes.filter_map(|pid| used_by_one(&self.proc, pid, sessions)) {
            *used.entry(session).or_default() += bytes;
        }
        used
    }
}

/// Returns the bytes of a line such as `VmRSS: 12 kB`.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Returns how many bytes of memory a process uses, if it belongs to one of the sessions, and to which.
fn used_by_one(proc: &Path, pid: u32, sessions: &[u32]) -> Option<(u32, u64)> {
    let process = proc.join(pid.to_string());
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // The name in parentheses may itself hold blanks and parentheses.
    let of = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(3)?.parse::<u32>().ok()?;
    if !sessions.contains(&of) {
        return None;
    }
    Some((of, kilobytes(&fs::read_to_string(process.join("status")).ok()?, "VmRSS")?))
}

#[cfg(test)]
impl Machine {
    /// Returns a machine of which the files of a folder tell.
    pub fn told_by(proc: &Path) -> Self {
        Self { proc: proc.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_words_are_understood() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::told_by(dir.path());
        assert_eq!((machine.pressure("io"), machine.memory()), (None, None), "an old kernel says nothing");
        fs::create_dir_all(dir.path().join("pressure")).unwrap();
        fs::create_dir_all(dir.path().join("7")).unwrap();
        let text = "some avg10=41.27 avg60=3.10 avg300=0.80 total=123\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=7\n";
        fs::write(dir.path().join("pressure/io"), text).unwrap();
        fs::write(dir.path().join("pressure/cpu"), "nonsense").unwrap();
        fs::write(dir.path().join("meminfo"), "MemTotal:  2048 kB\nMemFree: 1 kB\nMemAvailable: 1024 kB\n")
            .unwrap();
        fs::write(dir.path().join("7/stat"), "7 (a) b) S 1 5 5 0 -1 0 0").unwrap();
        fs::write(dir.path().join("7/status"), "Name: a) b\nVmRSS:\t   12 kB\n").unwrap();
        assert_eq!((machine.pressure("io"), machine.pressure("cpu")), (Some(41.27), None));
        assert_eq!(machine.memory(), Some((2048 << 10, 1024 << 10)));
        assert_eq!(machine.used_by(&[5, 6]), [(5, 12 << 10)].into());
    }

    #[test]
    fn this_machine_tells_about_its_memory() {
        let (total, available) = Machine::here().memory().expect("Linux says it");
        assert!(total >= available && available > 0);
        let own = fs::read_to_string("/proc/self/stat").expect("Linux says it");
        let (_, own) = own.rsplit_once(')').expect("a name in parentheses");
        let session = own.split_ascii_whitespace().nth(3).and_then(|word| word.parse().ok());
        let session = session.expect("a number, if only 0 for one outside");
        assert!(Machine::here().used_by(&[session])[&session] > 0);
    }
}
