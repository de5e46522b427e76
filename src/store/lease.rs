//! Who works on a run: one process, as long as the kernel says that it lives.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::run::manifest::Owner;
use crate::sys::fs::{Lock, PathError};
use crate::sys::process;

/// How long to wait for somebody who only looks.
const PATIENCE: Duration = Duration::from_millis(200);

/// The right to write to a run. Given back when dropped, or when the process dies.
#[derive(Debug)]
pub struct Lease {
    _lock: Lock,
    /// Who held it before.
    pub before: Option<Owner>,
}

/// What came of asking for the lease.
#[derive(Debug)]
pub enum Asked {
    Granted(Lease),
    /// Somebody else holds it: who, if the file says so.
    Held(Option<Owner>),
}

impl Lease {
    /// Takes the lease of a run, or says who holds it. Waits a moment only: whoever looks whether
    /// the lease is held (`status`) holds it for an instant.
    pub fn ask(path: &Path, me: &Owner) -> Result<Asked, PathError> {
        let Some(mut lock) = Lock::take(path, PATIENCE)? else {
            // A holder that has only just taken it has not signed yet, and what stands there is
            // the name of the one before.
            let signed = |owner: &Owner| owner.host != process::host() || process::is_alive(owner);
            let begin = Instant::now();
            loop {
                let holder = holder(path).filter(signed);
                if holder.is_some() || begin.elapsed() >= PATIENCE {
                    return Ok(Asked::Held(holder));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        let before = holder(path);
        // Only for people: the kernel's lock is what counts.
        let _ = lock.describe(&serde_json::to_vec(me).expect("an owner has string keys"));
        Ok(Asked::Granted(Self { _lock: lock, before }))
    }

    /// Whether somebody works on the run now.
    pub fn is_held(path: &Path) -> bool {
        Lock::is_held(path)
    }
}

/// Returns who the lease says took it last.
pub fn holder(path: &Path) -> Option<Owner> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}
