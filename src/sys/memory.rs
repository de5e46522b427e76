//! A limit for the memory of a stage: a control group of its own where the kernel lets us make one.

use std::fs;
use std::path::{Path, PathBuf};

/// A control group (version 2) with a limit. It goes away with this value, unless processes are left in it.
#[derive(Debug)]
pub struct MemoryGroup {
    dir: PathBuf,
}

impl MemoryGroup {
    /// Makes a group below the one that this process is in; nothing where that is not possible.
    pub fn create(name: &str, bytes: u64) -> Option<Self> {
        Self::below(&own_group()?, name, bytes)
    }

    fn below(parent: &Path, name: &str, bytes: u64) -> Option<Self> {
        let dir = parent.join(format!("git-orchestrate-{}", name.replace(['/', '#'], "-")));
        // One of the same name is what a process that died has left.
        let _ = fs::remove_dir(&dir);
        fs::create_dir(&dir).ok()?;
        let group = Self { dir };
        // The kernel makes these files. Where it did not, it does not limit memory here.
        let limit = group.dir.join("memory.max");
        if !limit.exists() || !group.dir.join("memory.events").exists() {
            return None;
        }
        set(&limit, &bytes.to_string()).ok()?;
        // A limit that only moved pages to the disk would be none.
        let _ = set(&group.dir.join("memory.swap.max"), "0");
        let _ = set(&group.dir.join("memory.oom.group"), "1");
        Some(group)
    }

    /// Returns the file to which a process writes `0` to become a member.
    pub fn entrance(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }

    /// Whether the kernel killed a member because of the limit.
    pub fn has_killed(&self) -> bool {
        let events = fs::read_to_string(self.dir.join("memory.events")).unwrap_or_default();
        events.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count.trim() != "0")
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.dir);
    }
}

fn set(file: &Path, value: &str) -> std::io::Result<()> {
    use std::io::Write;
    fs::File::options().write(true).open(file)?.write_all(value.as_bytes())
}

/// Returns the folder of the group that this process is in.
fn own_group() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
    let root = roots.into_iter().find(|root| root.join("cgroup.controllers").exists())?;
    Some(root.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_kernel_s_files_there_is_no_group_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        assert!(MemoryGroup::below(dir.path(), "run#1", 1 << 20).is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_member_that_was_killed_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let group = MemoryGroup { dir: dir.path().to_owned() };
        assert!(!group.has_killed(), "there is nothing to read");
        fs::write(dir.path().join("memory.events"), "low 0\noom 0\noom_kill 0\noom_group_kill 0\n").unwrap();
        assert!(!group.has_killed());
        fs::write(dir.path().join("memory.events"), "low 0\noom 2\noom_kill 3\noom_group_kill 1\n").unwrap();
        assert!(group.has_killed());
    }
}
