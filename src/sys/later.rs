//! Syncs that wait until something depends on them: a run that only takes over what others proved has
//! nothing of its own to lose, and need not wait for the disk.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::fs::{PathError, sync_path};

thread_local! {
    /// What this thread has written and not synced; nothing if it syncs at once.
    static LATER: RefCell<Option<BTreeSet<PathBuf>>> = const { RefCell::new(None) };
}

/// Lets syncs of this thread wait from now on.
pub fn begin() {
    LATER.with_borrow_mut(|later| later.get_or_insert_default().len());
}

/// Whether syncs of this thread wait.
pub fn is_waiting() -> bool {
    LATER.with_borrow(Option::is_some)
}

/// Takes note of a file or folder that would be synced now. Returns whether that waits.
pub(super) fn takes(path: &Path) -> bool {
    LATER.with_borrow_mut(|later| later.as_mut().map(|later| later.insert(path.to_owned())).is_some())
}

/// Makes all that waited survive a power cut; from now on nothing waits.
pub fn settle() -> Result<(), PathError> {
    let waiting = LATER.take().unwrap_or_default();
    waiting.iter().try_for_each(|path| sync_path(path))
}

/// Makes one of those that wait survive a power cut.
pub fn settle_one(path: &Path) -> Result<(), PathError> {
    match LATER.with_borrow_mut(|later| later.as_mut().is_some_and(|later| later.remove(path))) {
        true => sync_path(path),
        false => Ok(()),
    }
}

/// Lets go of what waited: nothing came to depend on it.
pub fn forget() {
    LATER.set(None);
}

#[cfg(test)]
mod tests {
    use super::super::fs::{Appender, Durability, write_atomically};
    use super::*;

    #[test]
    fn what_waits_is_synced_once_when_something_depends_on_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        begin();
        let mut journal = Appender::open(&path).unwrap();
        for _ in 0..3 {
            journal.append(b"line\n").unwrap();
            journal.sync().unwrap();
        }
        write_atomically(&dir.path().join("gone"), b"", Durability::Power).unwrap();
        super::super::fs::remove(&dir.path().join("gone")).unwrap();
        let waiting = LATER.with_borrow(|later| later.as_ref().unwrap().len());
        assert_eq!(waiting, 3, "the journal, the other file, and their folder");
        settle_one(&path).unwrap();
        let waiting = LATER.with_borrow(|later| later.as_ref().unwrap().len());
        assert_eq!(waiting, 2, "not the journal any more");
        settle().unwrap();
        assert!(!is_waiting());
        begin();
        forget();
        assert!(!is_waiting());
    }
}
