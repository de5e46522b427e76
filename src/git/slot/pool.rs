//! How many slots are kept: those that nobody uses are thrown away by age.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::super::GitError;
use super::super::error::At;
use super::remove;
use crate::sys::fs::Lock;

/// A slot that holds something.
struct Idle {
    folder: PathBuf,
    used: SystemTime,
}

/// Throws slots away that nobody uses, the oldest first, until there are at most `idle` of them besides the one that
/// was just taken. The lock of a slot stays, so that whoever waits for it waits for the right one.
pub(in crate::git) fn evict(slots: &Path, taken: u32, idle: usize) -> Result<(), GitError> {
    let mut others = Vec::new();
    for entry in fs::read_dir(slots).at(slots)? {
        let entry = entry.at(slots)?;
        let number = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        if number.is_none_or(|number| number == taken) {
            continue;
        }
        // Written whenever a commit is checked out.
        let head = entry.path().join("git/HEAD").metadata().and_then(|head| head.modified());
        if let Ok(used) = head {
            others.push(Idle { folder: entry.path(), used });
        }
    }
    if others.len() <= idle {
        return Ok(());
    }
    others.sort_by_key(|it| std::cmp::Reverse(it.used));
    for Idle { folder, .. } in others.drain(idle..) {
        let Some(_lock) = Lock::try_take(&folder.join("lock"))? else { continue };
        for entry in fs::read_dir(&folder).at(&folder)? {
            let entry = entry.at(&folder)?;
            if entry.file_name() != "lock" {
                remove(&entry.path()).at(&entry.path())?;
            }
        }
        tracing::debug!(slot = %folder.display(), "thrown away");
    }
    Ok(())
}
