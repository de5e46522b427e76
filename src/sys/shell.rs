//! A command that is run to its end, but no longer than it may take.
#![expect(clippy::disallowed_methods, reason = "what is replayed is started in one place")]

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::process;

/// How long what a command left behind may keep its output open.
const GRACE: Duration = Duration::from_millis(500);
/// How often somebody looks whether the command has ended that prints nothing.
const PAUSE: Duration = Duration::from_millis(10);

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    Code(i32),
    /// A signal ended it.
    Signal(String),
    /// It took longer than it may.
    TooLong,
}

/// Runs a program with nothing but the environment given. `printed` is told what it prints on either stream.
/// What it leaves running is ended.
pub fn run(
    words: &[OsString],
    folder: &Path,
    env: &[(OsString, OsString)],
    limit: Duration,
    printed: &mut dyn FnMut(&[u8]),
) -> std::io::Result<Ended> {
    let begin = Instant::now();
    let (mut reader, writer) = std::io::pipe()?;
    // In our own process group, so that Ctrl-C on the terminal ends it too.
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .current_dir(folder)
        .env_clear()
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()?;
    let (send, pieces) = channel::<Vec<u8>>();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = reader.read(&mut buffer) {
            if send.send(buffer[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    let (mut status, mut ended_at, mut too_long) = (None, None, false);
    loop {
        match pieces.recv_timeout(PAUSE) {
            Ok(bytes) => printed(&bytes),
            Err(RecvTimeoutError::Disconnected) if status.is_some() => break,
            // It closed its output, and goes on.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(PAUSE),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if status.is_none() {
            status = child.try_wait()?;
            ended_at = status.map(|_| Instant::now());
        }
        if status.is_none() && begin.elapsed() > limit {
            too_long = true;
            end(child.id());
            status = Some(child.wait()?);
            ended_at = Some(Instant::now());
        }
        if ended_at.is_some_and(|at| at.elapsed() > GRACE) {
            break;
        }
    }
    for pid in process::adopted(&[]) {
        end(pid);
    }
    process::adopted(&[]);
    let status = status.expect("it ended");
    Ok(match (too_long, status.code(), status.signal()) {
        (true, ..) => Ended::TooLong,
        (false, Some(code), _) => Ended::Code(code),
        (false, None, signal) => Ended::Signal(process::signal_name(signal.unwrap_or(0))),
    })
}

/// Ends a process and all that it has started.
fn end(pid: u32) {
    for pid in process::below(pid).into_iter().chain([pid]) {
        process::signal(pid, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> (Ended, String) {
        let mut text = Vec::new();
        let words = ["/bin/sh", "-c", script].map(OsString::from);
        let env = [("A".into(), "b".into())];
        let ended = run(&words, Path::new("/"), &env, limit, &mut |bytes| text.extend_from_slice(bytes));
        (ended.unwrap(), String::from_utf8(text).unwrap())
    }

    #[test]
    fn it_says_how_it_ended_and_what_it_printed() {
        let minute = Duration::from_secs(60);
        assert_eq!(sh("echo $A$HOME; echo x >&2; exit 3", minute), (Ended::Code(3), "b\nx\n".to_owned()));
        assert_eq!(sh("kill -TERM $$", minute).0, Ended::Signal("SIGTERM".to_owned()));
        assert_eq!(sh("exec 1>&- 2>&-; exit 0", minute).0, Ended::Code(0));
    }

    #[test]
    fn what_takes_too_long_is_ended() {
        let begin = Instant::now();
        assert_eq!(sh("sleep 600 | sleep 600", Duration::from_millis(50)).0, Ended::TooLong);
        assert!(begin.elapsed() < Duration::from_secs(60));
    }
}
