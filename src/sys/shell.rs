//! A command that is run to its end, but no longer than it may take.
#![expect(clippy::disallowed_methods, reason = "what is replayed is started in one place")]

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
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
    /// Somebody did not want it any more.
    Stopped,
}

/// Runs a program with nothing but the environment given. `printed` is told what it prints on either stream; `stop` is
/// asked time and again whether the program is to be ended. What it leaves running is ended.
pub async fn run(
    words: &[OsString],
    folder: &Path,
    env: &[(OsString, OsString)],
    limit: Duration,
    printed: &mut dyn FnMut(&[u8]),
    mut stop: impl AsyncFnMut() -> bool,
) -> std::io::Result<Ended> {
    let begin = Instant::now();
    if stop().await {
        return Ok(Ended::Stopped);
    }
    // Who was there already is somebody else's: what a stage was allowed to leave, or a program that became us.
    let before = process::adopted(&[]);
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
    // Whoever prints faster than we take it in has to wait.
    let (send, pieces) = sync_channel::<Vec<u8>>(16);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = reader.read(&mut buffer) {
            if send.send(buffer[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    let (mut status, mut ended_at, mut broken_off) = (None, None, None);
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
        if status.is_none() {
            broken_off = match begin.elapsed() > limit {
                true => Some(Ended::TooLong),
                false => stop().await.then_some(Ended::Stopped),
            };
        }
        if status.is_none() && broken_off.is_some() {
            process::signal_all(child.id(), Signal::KILL);
            status = Some(child.wait()?);
            ended_at = Some(Instant::now());
        }
        if ended_at.is_some_and(|at| at.elapsed() > GRACE) {
            break;
        }
    }
    // Who is killed leaves us its children, and they are reaped in the next round.
    let begin = Instant::now();
    loop {
        let left = process::adopted(&before);
        if left.is_empty() || begin.elapsed() > GRACE {
            break;
        }
        left.into_iter().for_each(|pid| process::signal_all(pid, Signal::KILL));
        std::thread::sleep(Duration::from_millis(1));
    }
    let status = status.expect("it ended");
    Ok(match (broken_off, status.code(), status.signal()) {
        (Some(ended), ..) => ended,
        (None, Some(code), _) => Ended::Code(code),
        (None, None, signal) => Ended::Signal(process::signal_name(signal.unwrap_or(0))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> (Ended, String) {
        let mut text = Vec::new();
        let words = ["/bin/sh", "-c", script].map(OsString::from);
        let env = [("A".into(), "b".into())];
        let mut printed = |bytes: &[u8]| text.extend_from_slice(bytes);
        let ended = alone(run(&words, Path::new("/"), &env, limit, &mut printed, async || false));
        (ended.unwrap(), String::from_utf8(text).unwrap())
    }

    fn alone<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    #[test]
    fn what_nobody_wants_any_more_is_ended_with_all_that_it_started() {
        let words = ["/bin/sh", "-c", "setsid sleep 600 & echo $$; sleep 600"].map(OsString::from);
        let seen = std::cell::RefCell::new(Vec::new());
        let mut printed = |bytes: &[u8]| seen.borrow_mut().extend_from_slice(bytes);
        let minute = Duration::from_secs(60);
        let stop = async || !seen.borrow().is_empty();
        let ended = alone(run(&words, Path::new("/"), &[], minute, &mut printed, stop)).unwrap();
        assert_eq!(ended, Ended::Stopped);
        let shell = String::from_utf8(seen.into_inner()).unwrap().trim().parse().unwrap();
        assert!(process::has_ended(shell));
    }

    #[test]
    fn what_was_there_before_is_left_alone() {
        let mut before = Command::new("/bin/sleep").arg("600").spawn().unwrap();
        assert_eq!(sh("exit 0", Duration::from_secs(60)).0, Ended::Code(0));
        assert_eq!(before.try_wait().unwrap(), None);
        before.kill().unwrap();
        before.wait().unwrap();
    }

    #[test]
    fn a_script_that_is_ended_does_not_go_on_with_its_next_command() {
        for _ in 0..20 {
            let seen = std::cell::RefCell::new(Vec::new());
            let mut printed = |bytes: &[u8]| seen.borrow_mut().extend_from_slice(bytes);
            let words = ["/bin/sh", "-c", "echo 1; sleep 600; echo 2"].map(OsString::from);
            let stop = async || !seen.borrow().is_empty();
            alone(run(&words, Path::new("/"), &[], Duration::from_secs(60), &mut printed, stop)).unwrap();
            assert_eq!(seen.into_inner(), b"1\n");
        }
    }

    #[test]
    fn what_prints_faster_than_anybody_reads_has_to_wait() {
        let dir = tempfile::tempdir().unwrap();
        let words = ["/bin/sh", "-c", "head -c 8000000 /dev/zero; : > done"].map(OsString::from);
        let (mut taken, mut early) = (0, false);
        let mut printed = |bytes: &[u8]| {
            taken += bytes.len();
            if taken < 4_000_000 {
                // Somebody who is slow.
                std::thread::sleep(Duration::from_millis(1));
                early |= dir.path().join("done").exists();
            }
        };
        let minute = Duration::from_secs(60);
        let ended = alone(run(&words, dir.path(), &[], minute, &mut printed, async || false)).unwrap();
        assert_eq!((ended, taken, early), (Ended::Code(0), 8_000_000, false));
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
