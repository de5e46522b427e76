//! Processes: who we are, who still lives, and how to end a stage with everything it started.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal};

use crate::run::manifest::Owner;
use crate::run::stamp::Stamp;
use crate::sys::env::Env;

/// The variable that marks a process as part of runs: the [`mark`]s of the stages that it belongs to,
/// the outermost first, joined by `:`.
pub const LINEAGE: &str = "GIT_ORCHESTRATE_LINEAGE";

/// Returns who this process is.
pub fn myself(at: Stamp) -> Owner {
    let pid = std::process::id();
    Owner { host: host(), pid, boot_id: boot_id(), process_started: started(pid).unwrap_or(0), at }
}

/// Returns the name of this machine.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// Returns who uses this program, as in `ada@workstation`.
pub fn whoami(env: &Env) -> String {
    let named = ["USER", "LOGNAME"].iter().find_map(|name| env.get(name).filter(|name| !name.is_empty()));
    let user = named.map_or_else(|| format!("uid-{}", rustix::process::getuid().as_raw()), str::to_owned);
    format!("{user}@{}", host())
}

/// Whether this process may read from a terminal that is its stdin: one in the background would be stopped.
pub fn owns_terminal() -> bool {
    let stdin = rustix::stdio::stdin();
    rustix::termios::tcgetpgrp(stdin).is_ok_and(|group| Some(group) == own_group())
}

/// Returns the group that this process belongs to; nothing if that lies outside what this process sees, as in a
/// sandbox that gives the process its own table of processes but no group of its own.
fn own_group() -> Option<rustix::process::Pid> {
    // `rustix` takes it for granted that there is one, and panics where there is none.
    // SAFETY: It takes nothing and changes nothing.
    rustix::process::Pid::from_raw(unsafe { libc::getpgrp() })
}

/// Returns when a process began, in clock ticks since boot; nothing if there is no such process.
pub fn started(pid: u32) -> Option<u64> {
    stat_field(pid, 19)?.parse().ok()
}

/// Whether the process that `owner` describes still lives on this machine: the same pid in the
/// same boot, begun at the same tick.
pub fn is_alive(owner: &Owner) -> bool {
    owner.boot_id == boot_id()
        && started(owner.pid) == Some(owner.process_started)
        // Whoever should have waited for it may never do that.
        && !has_ended(owner.pid)
}

/// Sends a signal to the process that `owner` describes, and to no other one that has its pid now.
/// Returns whether it was there.
///
/// # Errors
/// If we may not signal it, as that of another user.
pub fn signal_owner(owner: &Owner, signal: Signal) -> std::io::Result<bool> {
    let Some(pid) = Pid::from_raw(owner.pid as i32) else { return Ok(false) };
    let gone = |err| match err {
        rustix::io::Errno::SRCH => Ok(false),
        err => Err(std::io::Error::from(err)),
    };
    // The handle first: it stays with the process that we look at next.
    match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        Err(err) => gone(err),
        Ok(_) if !is_alive(owner) => Ok(false),
        Ok(handle) => rustix::process::pidfd_send_signal(handle, signal).map(|()| true).or_else(gone),
    }
}

/// Whether `owner` lived on this machine since it was booted.
pub fn was_here(owner: &Owner) -> bool {
    owner.host == host() && owner.boot_id == boot_id()
}

/// Makes orphans of our descendants our children, so that none escapes by forking twice.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// Calls `work` in a moment in which orphans are not made our children: what it leaves behind is
/// nobody's.
pub fn disowning<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(None);
    let result = work();
    adopt_orphans();
    result
}

/// Sends a signal to a process group.
pub fn signal_group(leader: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(leader as i32) {
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}

/// Sends a signal to the processes of a stage that are not in the group of its leader: those that
/// made groups of their own.
///
/// The processes of runs within the run are left to the program that runs them: it forwards the
/// signal, and twice would mean "no more patience".
pub fn signal_strays(stage: &StageProcesses, signal: Signal) {
    for pid in marked(|ids| ids.last() == Some(&stage.mark.as_bytes())) {
        if group_of(pid) != Some(stage.leader) {
            self::signal(pid, signal);
        }
    }
}

/// What tells the processes of one stage from all others: the mark in their environment, and the
/// session that its first process leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageProcesses {
    /// As [`mark`] makes it.
    pub mark: String,
    pub leader: u32,
}

/// Returns the mark of a stage's processes in [`LINEAGE`].
pub fn mark(run: &str, index: usize) -> String {
    format!("{run}#{index}")
}

impl StageProcesses {
    /// Whether a process says so by itself.
    pub fn owns(&self, pid: u32) -> bool {
        session_of(pid) == Some(self.leader) || is_marked(pid, |ids| ids.contains(&self.mark.as_bytes()))
    }

    /// Returns the processes of the stage that live: what it owns and what descends from that.
    ///
    /// `others` are the stages that run beside it. If `strangers` are wanted too, everything else is
    /// among them that belongs to this process and to none of the others: who empties its
    /// environment and forks twice into a session of its own can be told from them in no other way.
    pub fn living(&self, others: &[Self], strangers: bool) -> Vec<u32> {
        let table = table();
        let mut own = self.family(&table);
        if strangers {
            let run = self.mark.rsplit_once('#').map_or(&*self.mark, |(run, _)| run);
            own.extend(family(&table, vec![std::process::id()]).split_off(1));
            own.extend(members(run));
            own.sort_unstable();
            own.dedup();
            for other in others {
                let theirs = other.family(&table);
                own.retain(|pid| !theirs.contains(pid));
            }
        }
        own
    }

    fn family(&self, table: &[(u32, u32)]) -> Vec<u32> {
        family(table, table.iter().map(|(pid, _)| *pid).filter(|pid| self.owns(*pid)).collect())
    }

    /// Kills the stage with everything that [`Self::living`] finds.
    pub fn kill(&self, others: &[Self], strangers: bool) {
        signal_group(self.leader, Signal::KILL);
        for pid in self.living(others, strangers) {
            signal(pid, Signal::KILL);
        }
    }
}

/// Returns every process but this one and those that have ended, each with its parent.
fn table() -> Vec<(u32, u32)> {
    let me = std::process::id();
    pids()
        .filter(|pid| *pid != me && !has_ended(*pid))
        .filter_map(|pid| Some((pid, stat_field(pid, 1)?.parse().ok()?)))
        .collect()
}

/// Adds what descends from `found` to it.
fn family(table: &[(u32, u32)], mut found: Vec<u32>) -> Vec<u32> {
    let mut seen: std::collections::HashSet<u32> = found.iter().copied().collect();
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        let children = table.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid);
        found.extend(children.filter(|pid| seen.insert(*pid)));
        at += 1;
    }
    found
}

/// Lets the program that this process is about to become inherit an open file.
///
/// # Errors
/// If there is no such file.
pub fn let_inherit(number: std::os::fd::RawFd) -> std::io::Result<()> {
    // SAFETY: Whatever the number stands for is not closed, and only a flag of it changes.
    match unsafe { libc::fcntl(number, libc::F_SETFD, 0) } {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Whether a number stands for a pipe that whoever started this process let it inherit.
pub fn is_inherited_pipe(number: std::os::fd::RawFd) -> bool {
    use std::os::unix::fs::FileTypeExt;
    // SAFETY: Nothing is changed, whatever the number stands for.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    flags >= 0
        && flags & libc::FD_CLOEXEC == 0
        && std::fs::metadata(format!("/proc/self/fd/{number}")).is_ok_and(|meta| meta.file_type().is_fifo())
}

/// Sends a signal to one process.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Sends a signal to a process and to all that it has started. Whoever started something gets it first: a script whose
/// command ends goes on with its next one.
pub fn signal_all(pid: u32, with: Signal) {
    let below = below(pid);
    signal(pid, with);
    below.into_iter().for_each(|pid| signal(pid, with));
}

/// Returns the processes that a process has started, and those that they have, nearest first.
fn below(pid: u32) -> Vec<u32> {
    let parents: Vec<_> =
        pids().filter_map(|pid| Some((pid, stat_field(pid, 1)?.parse::<u32>().ok()?))).collect();
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found.remove(0);
    found
}

/// Returns the processes, other than this one, that have their folder at a path or below it.
pub fn inside(folder: &Path) -> Vec<u32> {
    let me = std::process::id();
    let there =
        |pid: &u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
    pids().filter(|pid| *pid != me && there(pid) && !has_ended(*pid)).collect()
}

/// Returns the name of a process, as the kernel knows it.
pub fn name(pid: u32) -> String {
    fs::read(format!("/proc/{pid}/comm"))
        .map(|name| String::from_utf8_lossy(name.trim_ascii_end()).into_owned())
        .unwrap_or_default()
}

/// Returns the processes of a group, without those that have ended.
pub fn group(leader: u32) -> Vec<u32> {
    pids().filter(|pid| group_of(*pid) == Some(leader) && !has_ended(*pid)).collect()
}

/// Whether a process is over, even if nobody has asked how it ended.
pub fn has_ended(pid: u32) -> bool {
    stat_field(pid, 0).is_none_or(|state| state == "Z")
}

fn group_of(pid: u32) -> Option<u32> {
    stat_field(pid, 2)?.parse().ok()
}

fn session_of(pid: u32) -> Option<u32> {
    stat_field(pid, 3)?.parse().ok()
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Returns a field of what the kernel says about a process, counted from its state.
fn stat_field(pid: u32, field: usize) -> Option<String> {
    // The name in parentheses may itself hold blanks and parentheses.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(field)?.to_owned())
}

/// Returns the processes, other than this one, whose environment says that they belong to `run`.
pub fn members(run: &str) -> Vec<u32> {
    marked(|ids| ids.iter().any(|id| run_of(id) == run.as_bytes()))
}

/// Returns the run that an entry of [`LINEAGE`] is about, without the stage.
fn run_of(entry: &[u8]) -> &[u8] {
    entry.rsplitn(2, |byte| *byte == b'#').last().unwrap_or(entry)
}

/// Returns the processes, other than this one, that are marked as part of runs which `wanted` takes.
fn marked(wanted: impl Fn(&[&[u8]]) -> bool) -> Vec<u32> {
    let me = std::process::id();
    pids().filter(|pid| *pid != me && is_marked(*pid, &wanted)).collect()
}

fn is_marked(pid: u32, wanted: impl Fn(&[&[u8]]) -> bool) -> bool {
    // Unreadable for processes of other users, and empty for zombies.
    let Ok(environ) = fs::read(Path::new("/proc").join(pid.to_string()).join("environ")) else {
        return false;
    };
    let prefix = format!("{LINEAGE}=");
    environ
        .split(|byte| *byte == 0)
        .filter_map(|entry| entry.strip_prefix(prefix.as_bytes()))
        .any(|value| wanted(&value.split(|byte| *byte == b':').collect::<Vec<_>>()))
}

/// Reaps adopted children that have ended, and returns those that live. Leaves `known` alone, such as the leaders of
/// stages, for whom somebody waits.
pub fn adopted(known: &[u32]) -> Vec<u32> {
    let Ok(children) = fs::read_to_string("/proc/thread-self/children") else { return Vec::new() };
    let children = children.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok());
    children
        .filter(|pid| !known.contains(pid))
        .filter(|pid| {
            let pid = Pid::from_raw(*pid as i32);
            let waited = rustix::process::waitpid(pid, rustix::process::WaitOptions::NOHANG);
            matches!(waited, Ok(None))
        })
        .collect()
}

/// Whether this process ignores a signal, as `nohup` makes it do.
pub fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal.as_raw() - 1)) != 0
}

/// Returns the usual name of a signal's number, such as `SIGKILL`.
pub fn signal_name(number: i32) -> String {
    const NAMES: [(Signal, &str); 16] = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::TERM, "SIGTERM"),
        (Signal::XFSZ, "SIGXFSZ"),
    ];
    NAMES
        .iter()
        .find(|(signal, _)| signal.as_raw() == number)
        .map_or_else(|| format!("signal {number}"), |(_, name)| (*name).to_owned())
}

/// Returns the number of a signal that [`signal_name`] named.
pub fn signal_number(name: &str) -> Option<i32> {
    (1..=64).find(|number| signal_name(*number) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_lies_outside_is_none() {
        let seen = group_of(std::process::id()).filter(|group| *group > 0);
        assert_eq!(own_group().map(|group| group.as_raw_nonzero().get().cast_unsigned()), seen);
    }

    #[test]
    fn this_process_is_alive_and_a_later_one_of_its_pid_is_another() {
        let me = myself("2026-01-01T00:00:00Z".parse().map(Stamp::new).unwrap());
        assert!(is_alive(&me));
        assert!(!is_alive(&Owner { process_started: me.process_started + 1, ..me.clone() }));
        assert!(!is_alive(&Owner { boot_id: "another boot".into(), ..me }));
    }

    #[test]
    fn a_member_of_a_run_is_found_by_its_environment() {
        let run = format!("run-of-{}", std::process::id());
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .env(LINEAGE, format!("outer-{run}#2:{run}#1"))
            .spawn()
            .unwrap();
        // The kernel shows the environment a moment after the program has begun.
        while members(&run).is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(members(&run), [child.id()]);
        let outer = format!("outer-{run}");
        assert_eq!(members(&outer), [child.id()]);
        let stage = |run: &str, index| StageProcesses { mark: mark(run, index), leader: u32::MAX };
        assert!(stage(&outer, 2).owns(child.id()));
        assert!(!stage(&outer, 1).owns(child.id()));
        assert_eq!(stage(&run, 1).living(&[], false), [child.id()]);
        assert_eq!(stage(&run, 11).living(&[], false), [] as [u32; 0]);
        signal_strays(&stage(&outer, 2), Signal::KILL);
        assert!(!members(&run).is_empty(), "the inner run forwards signals to its own");
        signal_strays(&stage(&run, 1), Signal::KILL);
        child.wait().unwrap();
        assert_eq!(members(&run), [] as [u32; 0]);
    }

    #[test]
    fn a_process_is_a_stranger_unless_it_belongs_to_another_stage() {
        let mut child = std::process::Command::new("sleep").arg("60").env_clear().spawn().unwrap();
        let here = StageProcesses { mark: mark("here", 1), leader: u32::MAX };
        let other = StageProcesses { mark: mark("here", 2), leader: session_of(child.id()).unwrap() };
        assert!(!here.living(&[], false).contains(&child.id()));
        assert!(here.living(&[], true).contains(&child.id()));
        assert!(!here.living(&[other], true).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
