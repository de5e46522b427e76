//! Who works on a run: one process, as long as the kernel says that it lives.

use std::path::Path;

use crate::run::manifest::Owner;
use crate::sys::fs::{Lock, PathError};

/// The right to write to a run. Given back when dropped, or when the process dies.
#[derive(Debug)]
pub struct Lease {
    _lock: Lock,
}

/// What came of asking for the lease.
#[derive(Debug)]
pub enum Asked {
    Granted(Lease),
    /// Somebody else holds it: who, if the file says so.
    Held(Option<Owner>),
}

impl Lease {
    /// Takes the lease of a run at once, or says who holds it.
    pub fn ask(path: &Path, me: &Owner) -> Result<Asked, PathError> {
        let Some(mut lock) = Lock::try_take(path)? else {
            return Ok(Asked::Held(holder(path)));
        };
        // Only for people: the kernel's lock is what counts.
        let _ = lock.describe(&serde_json::to_vec(me).expect("an owner has string keys"));
        Ok(Asked::Granted(Self { _lock: lock }))
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
