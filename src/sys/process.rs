//! Processes: who we are, who still lives, and how to end a stage with everything it started.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal};

use crate::run::manifest::Owner;
use crate::run::stamp::Stamp;

/// The variable that marks a process as part of runs: their ids, the outermost first, joined by `:`.
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

/// Returns when a process began, in clock ticks since boot; nothing if there is no such process.
pub fn started(pid: u32) -> Option<u64> {
    // The name in parentheses may itself hold blanks and parentheses.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Whether the process that `owner` describes still lives on this machine: the same pid in the
/// same boot, begun at the same tick.
pub fn is_alive(owner: &Owner) -> bool {
    owner.boot_id == boot_id() && started(owner.pid) == Some(owner.process_started)
}

/// Makes orphans of our descendants our children, so that none escapes by forking twice.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// Sends a signal to a process group.
pub fn signal_group(leader: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(leader as i32) {
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}

/// Sends a signal to every process that belongs to `run`, wherever it hides: in the group of
/// `leader`, or marked by the environment that we gave it. Returns how many there were.
///
/// Only `SIGKILL` goes to the processes of runs within the run too. Any other signal reaches those
/// through the program that runs them, and twice would mean "no more patience" to it.
pub fn signal_run(run: &str, leader: Option<u32>, signal: Signal) -> usize {
    if let Some(leader) = leader {
        signal_group(leader, signal);
    }
    let pids = match signal {
        Signal::KILL => members(run),
        _ => marked(|ids| ids.last() == Some(&run.as_bytes())),
    };
    let in_group = |pid: Pid| {
        leader.is_some()
            && rustix::process::getpgid(Some(pid)).ok().map(|group| group.as_raw_pid() as u32) == leader
    };
    for pid in pids.iter().filter_map(|pid| Pid::from_raw(*pid as i32)) {
        if signal == Signal::KILL || !in_group(pid) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
    pids.len()
}

/// Returns the processes, other than this one, whose environment says that they belong to `run`.
pub fn members(run: &str) -> Vec<u32> {
    marked(|ids| ids.contains(&run.as_bytes()))
}

/// Returns the processes, other than this one, that are marked as part of runs which `wanted` takes.
fn marked(wanted: impl Fn(&[&[u8]]) -> bool) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let me = std::process::id();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != me && lineage_of(*pid, &wanted)).collect()
}

fn lineage_of(pid: u32, wanted: impl Fn(&[&[u8]]) -> bool) -> bool {
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

/// Reaps adopted children that have ended. Leaves `except` to whoever waits for it.
pub fn reap_adopted(except: Option<u32>) {
    let Ok(children) = fs::read_to_string("/proc/thread-self/children") else { return };
    for pid in children.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()) {
        if Some(pid) != except
            && let Some(pid) = Pid::from_raw(pid as i32)
        {
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
            .env(LINEAGE, format!("outer-{run}:{run}"))
            .spawn()
            .unwrap();
        assert_eq!(members(&run), [child.id()]);
        assert_eq!(signal_run(&format!("outer-{run}"), None, Signal::TERM), 0, "the inner run forwards it");
        assert_eq!(signal_run(&run, None, Signal::KILL), 1);
        child.wait().unwrap();
        assert_eq!(members(&run), [] as [u32; 0]);
    }
}
