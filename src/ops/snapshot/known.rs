//! The last snapshot of a work tree, by which an unchanged one is recognised: the stat data of all that is in it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::git::Listing;
use crate::pipeline::learning::Learning;
use crate::run::snapshot::Snapshot;
use crate::run::stamp::Stamp;
use crate::store::pointers::pretty;
use crate::sys::digest::Hasher;
use crate::sys::fs::{self, Durability};
use crate::sys::reading::State;

/// Where it is, below the git directory of the work tree.
const FILE: &str = "orchestrate/snapshot.json";
const LARGEST: u64 = 64 << 20;
/// Within so many nanoseconds a file may change twice and look the same.
const TICK: i128 = 20_000_000;
/// The same where a file system counts seconds, the coarsest of them two at a time.
const COARSE: i128 = 2_000_000_000;

/// What is remembered.
#[derive(Debug, Serialize, Deserialize)]
pub struct Known {
    pub fingerprint: String,
    pub archive: PathBuf,
    pub snapshot: Snapshot,
}

impl Known {
    /// Returns what was remembered of a work tree.
    pub fn of(git_dir: &Path) -> Option<Self> {
        let bytes = fs::read_regular(&git_dir.join(FILE), LARGEST).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Remembers it for the next time; without that, everything is packed again.
    pub fn keep(&self, git_dir: &Path) {
        let path = git_dir.join(FILE);
        let kept = fs::create_dir_all(&git_dir.join("orchestrate"))
            .and_then(|()| fs::write_atomically(&path, &pretty(self), Durability::Process));
        if let Err(err) = kept {
            tracing::debug!("the snapshot is not remembered: {err}");
        }
    }
}

/// Returns what tells this state of a work tree, and what is taken of it, from others: files that hold one of `secrets`
/// are not.
pub fn fingerprint(
    listing: &Listing,
    states: &[Option<State>],
    learning: &Learning,
    secrets: &[Vec<u8>],
) -> String {
    let mut hash = Hasher::default();
    hash.update(b"git-orchestrate snapshot 3\0");
    for secret in secrets {
        hash.update(secret);
        hash.update(&[0]);
    }
    hash.update(&[0]);
    hash.update(listing.index.as_bytes());
    hash.update(learning.compression.ending().as_bytes());
    hash.update(&learning.max_file_bytes.to_le_bytes());
    hash.update(&learning.max_total_bytes.to_le_bytes());
    for (listed, state) in listing.files.iter().zip(states) {
        hash.update(&listed.path);
        hash.update(&[0]);
        hash.update(&state.map_or([0xff; 50], |state| state.bytes()));
    }
    for nested in &listing.nested {
        hash.update(b"\0nested\0");
        hash.update(&nested.path);
        hash.update(b"\0");
        hash.update(nested.head.as_deref().unwrap_or("").as_bytes());
    }
    for (word, paths) in [(&b"\0unreadable\0"[..], &listing.unreadable), (b"\0gone\0", &listing.gone)] {
        for path in paths {
            hash.update(word);
            hash.update(path);
        }
    }
    hash.hex()
}

/// How long until a change of any of these files would show in its stat data, in nanoseconds; nothing if their clock
/// is ahead of ours, so that nobody can tell.
pub fn settles_in(states: &[Option<State>], now: Stamp) -> Option<u64> {
    // Stamps are cut to milliseconds.
    let now = i128::from(now.as_millis()) * 1_000_000 + 999_999;
    let mut wait = 0_i128;
    for state in states.iter().flatten() {
        let (seconds, nanoseconds) = state.newest();
        let newest = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        let tick = if nanoseconds == 0 { COARSE } else { TICK };
        if newest > now {
            return None;
        }
        wait = wait.max(newest + tick - now);
    }
    u64::try_from(wait).ok()
}
