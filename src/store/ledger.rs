//! The ledger: what all runs of a repository found out, shared by its worktrees and kept when they
//! and their `.runs/` are gone.
//!
//! A line is an [`Entry`]. Lines about one subject (a tree, or the inputs of a stage) stand in one of 256
//! files, so that a question reads one small part of it, whatever the number of records. Files only grow; a crash can
//! tear the last line, which then is no entry.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::proof::standing::Entry;
use crate::proof::{Key, Subject};
use crate::store::lines;
use crate::sys::digest::sha256_hex;
use crate::sys::fs::{self, Appender, At, Lock, PathError};

/// How long to wait for somebody else who writes.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait for somebody else who only looks what runs: at worst the same runs twice.
const AT_THE_DOOR: Duration = Duration::from_secs(2);

/// The ledger of one repository.
#[derive(Clone, Debug)]
pub struct Ledger {
    folder: PathBuf,
}

/// Why an entry was not kept.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("somebody has held the lock `{}` for too long", .0.display())]
    Busy(PathBuf),
}

/// That a run is running stages.
#[derive(Debug)]
pub struct Announcement {
    lock: Lock,
    path: PathBuf,
    keys: String,
}

impl Announcement {
    /// Adds a stage, unless it is said already.
    pub fn add(&mut self, key: &Key) -> Result<(), PathError> {
        if self.keys.lines().any(|known| known == key.as_str()) {
            return Ok(());
        }
        self.keys.push_str(key.as_str());
        self.keys.push('\n');
        self.lock.describe(self.keys.as_bytes()).at(&self.path)
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        // While we hold the lock: nobody takes it for that of a dead run.
        let _ = fs::remove(&self.path);
    }
}

impl Ledger {
    /// Returns the ledger of the repository with that common directory.
    pub fn of(common_dir: &Path) -> Self {
        Self { folder: common_dir.join("orchestrate/ledger") }
    }

    /// Keeps an entry, durably, with the lines about each of `subjects`.
    pub fn add(&self, entry: &Entry, subjects: &[&Subject]) -> Result<(), LedgerError> {
        self.add_all(std::slice::from_ref(&(entry, subjects)))
    }

    /// Keeps entries, durably and in order.
    pub fn add_all(&self, entries: &[(&Entry, &[&Subject])]) -> Result<(), LedgerError> {
        fs::create_dir_all_durably(&self.folder)?;
        let lock = self.folder.join("lock");
        let _lock = Lock::take(&lock, PATIENCE)?.ok_or(LedgerError::Busy(lock))?;
        let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
        for (entry, subjects) in entries {
            let mut line = serde_json::to_vec(entry).expect("an entry has text keys");
            line.push(b'\n');
            let names: BTreeSet<_> = subjects.iter().map(|subject| self.file(subject)).collect();
            for name in names {
                match files.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, lines)) => lines.extend_from_slice(&line),
                    None => files.push((name, line.clone())),
                }
            }
        }
        for (path, lines) in files {
            let is_new = !path.exists();
            let mut file = Appender::open(&path)?;
            file.append(&lines)?;
            file.sync()?;
            if is_new {
                fs::sync_dir(&self.folder)?;
            }
        }
        Ok(())
    }

    /// Returns what was written about any of `subjects`, in the order in which it was written.
    pub fn about(&self, subjects: &[&Subject]) -> Result<Vec<Entry>, PathError> {
        let paths: BTreeSet<_> = subjects.iter().map(|subject| self.file(subject)).collect();
        let needles: Vec<_> =
            subjects.iter().map(|subject| memchr::memmem::Finder::new(subject.as_str())).collect();
        let mut entries: Vec<Entry> = Vec::new();
        // An entry about two subjects may stand in two files.
        let one = paths.len() == 1;
        for path in paths {
            let Some(bytes) = fs::read_if_there(&path)? else { continue };
            for line in bytes.split(|byte| *byte == b'\n') {
                // Most lines are about others; looking is much cheaper than parsing.
                let wanted = needles.iter().any(|needle| needle.find(line).is_some());
                if let Some(entry) = wanted.then(|| serde_json::from_slice(line).ok()).flatten()
                    && (one || !entries.contains(&entry))
                {
                    entries.push(entry);
                }
            }
        }
        Ok(entries)
    }

    /// Calls `tell` with every entry, once for each file that it stands in.
    pub fn each(&self, mut tell: impl FnMut(Entry)) -> Result<(), PathError> {
        for path in self.files()? {
            let mut reader = BufReader::with_capacity(128 * 1024, File::open(&path).at(&path)?);
            let mut entry = |line: &[u8], long: bool| {
                if !long && let Ok(entry) = serde_json::from_slice(line) {
                    tell(entry);
                }
            };
            while lines::next(&mut reader, &mut entry).at(&path)? > 0 {}
        }
        Ok(())
    }

    /// Says that a run is about to run a stage of that key. It is said until the result is dropped, or the
    /// process ends in whatever way.
    pub fn announce(&self, run: &str, key: &Key) -> Result<Announcement, PathError> {
        let folder = self.folder.join("running");
        fs::create_dir_all(&folder)?;
        let path = folder.join(run);
        let lock = Lock::try_take(&path)?
            .ok_or_else(|| std::io::Error::other("another process has it"))
            .at(&path)?;
        let mut announcement = Announcement { lock, path, keys: String::new() };
        announcement.add(key)?;
        Ok(announcement)
    }

    /// Lets one run at a time look whether another runs the same, and say that it does. It lasts until the result is
    /// dropped; nothing if others are at it for too long.
    pub fn door(&self) -> Result<Option<Lock>, PathError> {
        fs::create_dir_all(&self.folder)?;
        Lock::take(&self.folder.join("door"), AT_THE_DOOR)
    }

    /// Returns a run that is running a stage of that key now.
    pub fn running(&self, key: &Key) -> Result<Option<String>, PathError> {
        let folder = self.folder.join("running");
        let Ok(entries) = std::fs::read_dir(&folder) else { return Ok(None) };
        for entry in entries {
            let path = entry.at(&folder)?.path();
            let Some(keys) = fs::read_if_there(&path)? else { continue };
            if memchr::memmem::find(&keys, key.as_str().as_bytes()).is_none() {
                continue;
            }
            if Lock::is_held(&path) {
                return Ok(path.file_name().and_then(|name| name.to_str()).map(str::to_owned));
            }
            // Whoever said it is dead.
            fs::remove(&path)?;
        }
        Ok(None)
    }

    fn files(&self) -> Result<Vec<PathBuf>, PathError> {
        let folder = match std::fs::read_dir(&self.folder) {
            Ok(folder) => folder,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(err) => return Err(err).at(&self.folder),
        };
        let mut files = Vec::new();
        for entry in folder {
            let path = entry.at(&self.folder)?.path();
            if path.extension().is_some_and(|extension| extension == "ndjson") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    fn file(&self, subject: &Subject) -> PathBuf {
        // A subject can come from others, so that it names no file itself.
        let digest = sha256_hex(subject.as_str().as_bytes());
        self.folder.join(format!("{}.ndjson", &digest[..2]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleared(text: &str) -> (Entry, Subject) {
        let subject = Subject::tree(text, None);
        let key = Key::new(&subject, "d", "f", sha256_hex);
        let at = serde_json::from_str("\"2026-01-01T00:00:00Z\"").unwrap();
        let cleared = Entry::Cleared {
            key,
            subject: subject.clone(),
            stage: "test".into(),
            by: "ada".into(),
            reason: None,
            at,
        };
        (cleared, subject)
    }

    #[test]
    fn what_was_written_about_a_subject_is_found_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::of(dir.path());
        assert_eq!(ledger.about(&[&Subject::tree("1", None)]).unwrap(), []);
        // More subjects than files, so that some share one.
        for number in 0..600 {
            let (entry, subject) = cleared(&number.to_string());
            ledger.add(&entry, &[&subject, &subject]).unwrap();
        }
        for number in [0, 77, 599] {
            let (entry, subject) = cleared(&number.to_string());
            assert!(ledger.about(&[&subject]).unwrap().contains(&entry));
        }
        let mut all = 0;
        ledger.each(|_| all += 1).unwrap();
        assert_eq!(all, 600);
    }

    #[test]
    fn a_torn_line_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::of(dir.path());
        let (entry, subject) = cleared("1");
        ledger.add(&entry, &[&subject]).unwrap();
        let path = ledger.file(&subject);
        let whole = std::fs::read(&path).unwrap();
        fs::write_atomically(&path, &[&whole[..], &whole[..40]].concat(), fs::Durability::Process).unwrap();
        assert_eq!(ledger.about(&[&subject]).unwrap().len(), 1);
        let later = Entry::Cleared {
            key: Key::new(&subject, "d2", "f", sha256_hex),
            subject: subject.clone(),
            stage: "test".into(),
            by: "bob".into(),
            reason: None,
            at: serde_json::from_str("\"2026-01-02T00:00:00Z\"").unwrap(),
        };
        ledger.add(&later, &[&subject]).unwrap();
        assert_eq!(ledger.about(&[&subject]).unwrap(), [entry, later]);
    }

    #[test]
    fn two_writers_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let ledger = Ledger::of(dir.path());
                scope.spawn(move || {
                    for number in 0..25 {
                        let (entry, subject) = cleared(&format!("{writer}.{number}"));
                        ledger.add(&entry, &[&subject]).unwrap();
                    }
                });
            }
        });
        let mut all = 0;
        Ledger::of(dir.path()).each(|_| all += 1).unwrap();
        assert_eq!(all, 100);
    }
}
