//! The signals that end or pause a run.

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::sys::process;

/// Listens for signals from its creation on. None of them ends this process any more.
#[derive(Debug)]
pub struct Interrupts {
    /// None under `nohup`: whoever asked for that wants the run to survive its terminal.
    hangup: Option<Stream>,
    interrupt: Stream,
    terminate: Stream,
    suspend: Stream,
    /// What it means by itself is nothing, so it harms nobody who does not listen yet.
    wake: Stream,
    /// A file that grew too large is an error of a write, and no reason to die.
    _too_large: Stream,
    seen: Option<Interrupt>,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    Hangup,
    Interrupt,
    Terminate,
    /// Ctrl-Z.
    Suspend,
    /// Somebody has left word for us.
    Wake,
}

/// The signal by which a run is told that somebody has left word for it.
pub const WAKE: rustix::process::Signal = rustix::process::Signal::URG;

impl Interrupt {
    /// Returns the signal to forward.
    pub fn signal(self) -> rustix::process::Signal {
        match self {
            Self::Hangup => rustix::process::Signal::HUP,
            Self::Interrupt => rustix::process::Signal::INT,
            Self::Terminate => rustix::process::Signal::TERM,
            Self::Suspend => rustix::process::Signal::TSTP,
            Self::Wake => WAKE,
        }
    }

    /// Returns the exit code of a process that it ended, as a shell has it.
    pub fn exit_code(self) -> u8 {
        128 + self.signal().as_raw() as u8
    }

    /// Returns the signal's usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hangup => "SIGHUP",
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Suspend => "SIGTSTP",
            Self::Wake => "SIGURG",
        }
    }
}

impl Interrupts {
    /// Begins to listen.
    ///
    /// # Errors
    /// If the kernel gives no handler. Must be called within a tokio runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: match process::is_ignored(rustix::process::Signal::HUP) {
                true => None,
                false => Some(signal(SignalKind::hangup())?),
            },
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            suspend: signal(SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()))?,
            wake: signal(SignalKind::from_raw(WAKE.as_raw()))?,
            _too_large: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
            seen: None,
        })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> Interrupt {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        let next = tokio::select! {
            _ = hangup => Interrupt::Hangup,
            _ = self.interrupt.recv() => Interrupt::Interrupt,
            _ = self.terminate.recv() => Interrupt::Terminate,
            _ = self.suspend.recv() => Interrupt::Suspend,
            _ = self.wake.recv() => Interrupt::Wake,
        };
        if !matches!(next, Interrupt::Suspend | Interrupt::Wake) {
            self.seen.get_or_insert(next);
        }
        next
    }

    /// Takes note of signals that have come while nobody waited for one.
    pub async fn catch_up(&mut self) {
        // The handlers tell the runtime, and the runtime tells us when it is given the turn.
        tokio::task::yield_now().await;
        loop {
            tokio::select! {
                biased;
                _ = self.next() => {}
                () = std::future::ready(()) => return,
            }
        }
    }

    /// Whether a signal has asked for an end by now.
    pub async fn is_over(&mut self) -> bool {
        self.catch_up().await;
        self.seen.is_some()
    }

    /// Returns the first signal that asked for an end.
    pub fn first(&self) -> Option<Interrupt> {
        self.seen
    }

    /// Returns the name of the first signal that asked for an end.
    pub fn seen(&self) -> Option<String> {
        self.seen.map(|seen| seen.name().to_owned())
    }
}
