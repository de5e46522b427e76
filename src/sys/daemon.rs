//! Processes that outlive the terminal, the tool call or the session that started them.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use rustix::process::{Pid, WaitOptions, waitpid};

use crate::sys::process;

/// A copy of this program on its way to become the owner of a run.
#[derive(Debug)]
pub enum Launched {
    /// It began as any program does.
    Anew(Child),
    /// It was split off.
    Split { pid: Pid, words: PipeReader },
}

/// The two sides of a process that was split.
#[derive(Debug)]
pub enum Side {
    /// This is the process that was there before.
    Caller(Launched),
    /// This is the copy.
    Copy,
}

/// Splits this process: a copy of it goes on from here, in a session of its own, with nothing of the
/// caller's open but stderr. That spares the copy a second beginning.
///
/// # Errors
/// If there is no copy, or, in the copy, if it cannot say anything to the caller.
///
/// # Safety
/// This process has one thread and, beside the three standard streams, no file that it goes on to use.
pub unsafe fn split() -> io::Result<Side> {
    let (words, mouth) = io::pipe()?;
    // SAFETY: There is no other thread that could hold a lock at this moment, so the copy can do all that
    // this process could.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            leave_session();
            unblock_signals();
            let nothing = File::open("/dev/null")?;
            rustix::stdio::dup2_stdin(&nothing)?;
            rustix::stdio::dup2_stdout(&mouth)?;
            drop((words, mouth, nothing));
            // What the caller had open, such as a lock, must not stay open for as long as the run takes.
            // SAFETY: No part of this program has anything open but the standard streams.
            unsafe { close_fds::close_open_fds(3, &[]) };
            Ok(Side::Copy)
        }
        pid => {
            let pid = Pid::from_raw(pid).expect("the copy has a pid");
            Ok(Side::Caller(Launched::Split { pid, words }))
        }
    }
}

/// What a copy said before it let go of us.
#[derive(Debug)]
pub enum Said {
    /// It goes on by itself, and these are its words.
    Answer(Vec<u8>),
    /// It ended without an answer. It has told on stderr why.
    Ended(ExitStatus),
}

/// Starts this program anew with other arguments, in the same folder and environment; in another folder
/// without the variables that `ties` takes.
///
/// # Errors
/// If the program cannot be started.
#[expect(clippy::disallowed_methods, reason = "a process of ours, and no stage")]
pub fn launch(
    folder: Option<&Path>,
    ties: &dyn Fn(&OsStr) -> bool,
    args: impl IntoIterator<Item = OsString>,
) -> io::Result<Launched> {
    use std::os::unix::process::CommandExt;
    // What the caller had open, such as a lock, must not stay open for as long as the run takes.
    close_fds::set_fds_cloexec_threadsafe(3, &[]);
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    if let Some(folder) = folder {
        command.current_dir(folder);
        std::env::vars_os().filter(|(name, _)| ties(name)).for_each(|(name, _)| {
            command.env_remove(name);
        });
    }
    Ok(Launched::Anew(command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?))
}

/// Starts this program anew for something that nobody waits for. What it says goes to the file `log`.
///
/// # Errors
/// If the program cannot be started, or the file cannot be written.
#[expect(clippy::disallowed_methods, reason = "a process of ours, and no stage")]
pub fn leave_behind(args: impl IntoIterator<Item = OsString>, log: &Path) -> io::Result<()> {
    use std::os::unix::process::CommandExt;
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let said = File::create(log)?;
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    command.args(args).stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
    command.spawn().map(drop)
}

/// Lets every signal through: a caller that had blocked some did not think of a process that outlives it.
fn unblock_signals() {
    // SAFETY: The set is filled before it is used, and nothing else is touched.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

impl Launched {
    /// Waits until the copy has let go of us, or has ended.
    pub fn listen(mut self) -> io::Result<Said> {
        let mut answer = Vec::new();
        match &mut self {
            Self::Anew(child) => child.stdout.as_mut().map(|words| words.read_to_end(&mut answer)),
            Self::Split { words, .. } => Some(words.read_to_end(&mut answer)),
        }
        .transpose()?;
        match answer.is_empty() {
            true => Ok(Said::Ended(self.wait()?)),
            false => Ok(Said::Answer(answer)),
        }
    }

    fn wait(self) -> io::Result<ExitStatus> {
        match self {
            Self::Anew(mut child) => child.wait(),
            Self::Split { pid, .. } => loop {
                match waitpid(Some(pid), WaitOptions::empty()) {
                    Err(rustix::io::Errno::INTR) | Ok(None) => {}
                    Ok(Some((_, status))) => return Ok(ExitStatus::from_raw(status.as_raw())),
                    Err(err) => return Err(err.into()),
                }
            },
        }
    }
}

/// Leaves the terminal and the session of whoever started us: no signal of theirs reaches us then.
pub fn leave_session() {
    // It fails for a leader of a group, which nobody can hang up with its terminal either way.
    let _ = rustix::process::setsid();
}

/// Says the last words to whoever launched us, and lets go: from here on, what is printed goes to
/// `log`.
///
/// # Errors
/// If there is nothing to put in the place of the caller's streams.
pub fn let_go(words: &[u8], log: &File) -> io::Result<()> {
    // Nobody may listen any more; the run is there all the same.
    let mut stdout = io::stdout();
    let _ = stdout.write_all(words).and_then(|()| stdout.flush());
    let nothing = File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(log)?;
    rustix::stdio::dup2_stderr(log)?;
    Ok(())
}

/// Waits beside a process, and calls this program when that process dies without a farewell.
#[derive(Debug)]
pub struct Guardian {
    farewell: ChildStdin,
}

/// A shell, because it is small. It reads a line that comes with the farewell, or the end of the
/// pipe with the death of this process.
const WATCH: &str = "exec 3<&0 </dev/null; { read -r _ <&3 || exec \"$0\" \"$@\"; } >/dev/null 2>&1 &";

impl Guardian {
    /// Starts a guardian that would call this program with `args`. It is no child of ours, so that
    /// what ends our descendants spares it.
    ///
    /// # Errors
    /// If it cannot be started.
    #[expect(clippy::disallowed_methods, reason = "a process of ours, and no stage")]
    pub fn start(args: impl IntoIterator<Item = OsString>) -> io::Result<Self> {
        let program: PathBuf = std::env::current_exe()?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", WATCH]).arg(program).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let spawned = process::disowning(|| {
            let mut shell = command.spawn()?;
            let farewell = shell.stdin.take();
            shell.wait()?;
            io::Result::Ok(farewell)
        })?;
        spawned.map(|farewell| Self { farewell }).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    /// Sends the guardian away.
    pub fn dismiss(mut self) {
        let _ = self.farewell.write_all(b"over\n");
    }
}
