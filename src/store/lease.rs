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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::run::stamp::Stamp;

    #[test]
    fn whoever_only_looks_does_not_keep_the_lease_from_anybody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lease");
        let me = process::myself("2026-01-01T00:00:00Z".parse().map(Stamp::new).unwrap());
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    Lease::is_held(&path);
                }
            });
            for _ in 0..200 {
                assert!(matches!(Lease::ask(&path, &me), Ok(Asked::Granted(_))));
            }
            over.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn who_holds_the_lease_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lease");
        let me = process::myself("2026-01-01T00:00:00Z".parse().map(Stamp::new).unwrap());
        let Ok(Asked::Granted(held)) = Lease::ask(&path, &me) else { panic!("nobody held it") };
        assert!(held.before.is_none());
        let Ok(Asked::Held(Some(holder))) = Lease::ask(&path, &me) else { panic!("it is held") };
        assert_eq!(holder, me);
        drop(held);
        let Ok(Asked::Granted(held)) = Lease::ask(&path, &me) else { panic!("it was given back") };
        assert_eq!(held.before, Some(me));
    }
}
