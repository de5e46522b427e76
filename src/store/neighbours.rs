//! The repositories of this user on this machine whose streams have something for themselves: what one of them has, no
//! other one gets.
//!
//! Only the places of the repositories are kept. What their streams have stands in their own files, so that nothing has to
//! be given back here, and a repository that is gone has nothing any more.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::store::streams::{Leases, Streams};
use crate::sys::budget;
use crate::sys::digest::sha256_hex;
use crate::sys::env::Env;
use crate::sys::fs::{self, At, Durability, Lock, PathError};

/// How long to wait for somebody who leases, which takes a moment only.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the places of the repositories are kept. As long as it lives, nobody else leases anything.
#[derive(Debug)]
pub struct Neighbours {
    folder: PathBuf,
    _lock: Lock,
}

impl Neighbours {
    /// Takes the right to lease, for a repository with that common directory.
    pub fn lock(env: &Env, common_dir: &Path) -> Result<Self, PathError> {
        let folder = budget::lasting(env, "streams");
        budget::prepare(&folder)?;
        let path = folder.join("lock");
        let busy = || std::io::Error::other("somebody has held the lock for too long");
        let lock = Lock::take(&path, PATIENCE)?.ok_or_else(busy).at(&path)?;
        let repositories = folder.join("repositories");
        fs::create_dir_all(&repositories)?;
        let place = common_dir.as_os_str().as_bytes();
        let file = repositories.join(sha256_hex(place));
        if !file.exists() {
            fs::write_atomically(&file, place, Durability::Process)?;
        }
        Ok(Self { folder: repositories, _lock: lock })
    }

    /// Returns what streams of other repositories have. What nobody can read there is theirs to mend.
    pub fn leases(&self, common_dir: &Path) -> Vec<Leases> {
        let mut leases = Vec::new();
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let Ok(Some(place)) = fs::read_if_there(&entry.path()) else { continue };
            let place = Path::new(OsStr::from_bytes(&place));
            if place == common_dir {
                continue;
            }
            if !place.is_dir() {
                // The next one looks again.
                let _ = fs::remove(&entry.path());
                continue;
            }
            leases.extend(Streams::of(place).leases().into_iter().flatten());
        }
        leases
    }
}
