//! What stat data proves about a file.

use gix::index::entry::Mode;
use gix::index::{Entry, State};
use rustix::fs::{FileType, Stat};

use super::Fail;

/// How far stat data can be believed here.
#[derive(Debug)]
pub(in crate::git) struct StatRule {
    /// When the index was written: seconds and nanoseconds.
    made: (i64, u32),
    pub capabilities: gix::fs::Capabilities,
    check_stat: bool,
    trust_ctime: bool,
}

impl StatRule {
    /// Reads the configuration.
    pub fn new(
        repo: &gix::Repository,
        index: &State,
        capabilities: gix::fs::Capabilities,
    ) -> Result<Self, Fail> {
        let options = repo.stat_options().map_err(|_| Fail::NeedsGit)?;
        let made = index.timestamp();
        Ok(Self {
            made: (made.unix_seconds(), made.nanoseconds()),
            capabilities,
            check_stat: options.check_stat,
            trust_ctime: options.trust_ctime,
        })
    }

    /// Whether the stat data proves that the file is what the index says.
    pub fn proves(&self, entry: &Entry, stat: &Stat) -> bool {
        let same_mode = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => entry.mode == Mode::SYMLINK,
            FileType::RegularFile if entry.mode == Mode::SYMLINK => !self.capabilities.symlink,
            FileType::RegularFile => {
                let executable = stat.st_mode & 0o100 != 0;
                matches!(entry.mode, Mode::FILE | Mode::FILE_EXECUTABLE)
                    && (!self.capabilities.executable_bit
                        || executable == (entry.mode == Mode::FILE_EXECUTABLE))
            }
            _ => false,
        };
        let old = &entry.stat;
        // Writers without nanoseconds leave them 0; then, and only then, seconds must do.
        let precise = self.check_stat && old.mtime.nsecs != 0;
        let same_mtime = old.mtime.secs == stat.st_mtime as u32
            && (!precise || old.mtime.nsecs == stat.st_mtime_nsec as u32);
        let same_ctime = !self.check_stat
            || !self.trust_ctime
            || (old.ctime.secs == stat.st_ctime as u32
                && (old.ctime.nsecs == 0 || old.ctime.nsecs == stat.st_ctime_nsec as u32));
        let same_file = !self.check_stat
            || (old.ino == stat.st_ino as u32 && old.uid == stat.st_uid && old.gid == stat.st_gid);
        // git writes size 0 for an entry that it could not tell from a newer file.
        let same_size = old.size == stat.st_size as u32 && (old.size != 0 || entry.id.is_empty_blob());
        // Written in the same moment as the index or later, the file may have changed since
        // without a trace in its stat data.
        let (seconds, nanoseconds) = self.made;
        let racy = match precise {
            true => (i64::from(old.mtime.secs), old.mtime.nsecs) >= (seconds, nanoseconds),
            false => i64::from(old.mtime.secs) >= seconds,
        };
        same_mode && same_mtime && same_ctime && same_file && same_size && !racy
    }
}
