//! Children that may take only so long: a remote that is not there can keep one waiting for minutes.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::sys::process;

/// How often to look whether a child has ended.
const BEAT: Duration = Duration::from_millis(5);

/// How long a child may take to clean up, and what it printed to arrive.
const FAREWELL: Duration = Duration::from_secs(2);

/// Runs a command to its end; returns nothing if it had not ended in time, and was ended with all that it
/// had started.
pub(super) fn output_within(command: &mut Command, limit: Duration) -> io::Result<Option<Output>> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let Some(status) = ended_within(&mut child, limit)? else {
        for signal in [Signal::TERM, Signal::KILL] {
            process::signal_all(child.id(), signal);
            if ended_within(&mut child, FAREWELL)?.is_some() {
                break;
            }
        }
        return Ok(None);
    };
    // What the child left behind may hold its streams open for as long as it likes.
    let deadline = Instant::now() + FAREWELL;
    let printed = |from: mpsc::Receiver<Vec<u8>>| {
        let mut all = Vec::new();
        while let Ok(bytes) = from.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            all.extend(bytes);
        }
        all
    };
    Ok(Some(Output { status, stdout: printed(stdout), stderr: printed(stderr) }))
}

fn ended_within(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begin.elapsed() >= limit {
            return Ok(None);
        }
        std::thread::sleep(BEAT.min(limit));
    }
}

/// Sends on what a stream says, until it ends.
fn reader(stream: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (tell, told) = mpsc::channel();
    if let Some(mut stream) = stream {
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                if tell.send(buffer[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Option<Output> {
        let mut command = Command::new("/bin/sh");
        output_within(command.args(["-c", script]).stdin(Stdio::null()), limit).unwrap()
    }

    #[test]
    fn what_ends_in_time_is_told_whole() {
        let output = shell("seq 20000; echo no >&2; exit 3", Duration::from_secs(60)).unwrap();
        assert_eq!((output.status.code(), &*output.stderr), (Some(3), &b"no\n"[..]));
        assert_eq!(output.stdout.split(|byte| *byte == b'\n').count(), 20_001);
    }

    #[test]
    fn what_does_not_end_is_ended_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! > '{}'; wait", pid.display());
        // Until the child has started its own, the limit does not matter.
        while !pid.exists() {
            assert!(shell(&script, Duration::from_millis(300)).is_none());
        }
        let started: u32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        let is_over = || process::has_ended(started);
        let begin = Instant::now();
        while !is_over() && begin.elapsed() < Duration::from_secs(20) {
            std::thread::yield_now();
        }
        assert!(is_over());
    }
}
