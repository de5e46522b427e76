//! Files below a folder in which everything may change at any time: looked at by their stat data, and
//! opened so that nothing makes us wait or leads us elsewhere.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::beneath::open_at;
use super::cores;
use super::fs::PathError;

/// For fewer files a thread costs more than it brings.
const WORTH_A_THREAD: usize = 500;
/// How often a file is read again that changes meanwhile.
const TRIES: usize = 5;

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Link,
    Folder,
    /// A pipe, a socket or a device.
    Special,
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub kind: Kind,
    pub executable: bool,
    pub size: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<&Stat> for State {
    #[allow(clippy::unnecessary_cast, clippy::cast_lossless, reason = "the types differ between systems")]
    fn from(stat: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Link,
            FileType::Directory => Kind::Folder,
            _ => Kind::Special,
        };
        Self {
            kind,
            executable: stat.st_mode & 0o100 != 0,
            size: stat.st_size as u64,
            inode: stat.st_ino as u64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }
}

impl State {
    /// Returns all of it as bytes.
    pub fn bytes(&self) -> [u8; 50] {
        let mut bytes = [0; 50];
        bytes[0] = self.kind as u8;
        bytes[1] = u8::from(self.executable);
        let (modified, changed) = (self.modified, self.changed);
        let numbers = [self.size, self.inode].map(u64::to_le_bytes);
        let times = [modified.0, modified.1, changed.0, changed.1].map(i64::to_le_bytes);
        for (at, number) in numbers.iter().chain(&times).enumerate() {
            bytes[2 + at * 8..10 + at * 8].copy_from_slice(number);
        }
        bytes
    }

    /// Returns when it changed last: seconds and nanoseconds since 1970.
    pub fn newest(&self) -> (i64, i64) {
        self.modified.max(self.changed)
    }
}

/// A folder that is read from.
#[derive(Debug)]
pub struct Source {
    top: OwnedFd,
}

/// Why something cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is not there, or something else is.
    Gone,
    /// The machine does not let us.
    Denied,
}

impl From<Errno> for Unread {
    fn from(err: Errno) -> Self {
        match err {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::INVAL => Self::Gone,
            _ => Self::Denied,
        }
    }
}

impl Source {
    /// Opens the folder.
    pub fn open(path: &Path) -> Result<Self, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::open(path, flags, Mode::empty());
        Ok(Self { top: top.map_err(|err| PathError { path: path.to_owned(), source: err.into() })? })
    }

    /// Returns the present state of a path.
    pub fn state(&self, path: &[u8]) -> Result<State, Unread> {
        Ok(State::from(&self.stat(path)?))
    }

    fn stat(&self, path: &[u8]) -> Result<Stat, Unread> {
        Ok(rustix::fs::statat(&self.top, path, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Looks at the stat data of many paths, on several threads. What `look` makes of each is returned in their order.
    pub fn look_at_all<P: Sync, T: Send>(
        &self,
        paths: &[P],
        path: impl Fn(&P) -> &[u8] + Sync,
        look: impl Fn(&P, Option<&Stat>) -> T + Sync,
    ) -> Vec<T> {
        let each = |some: &[P]| -> Vec<T> {
            some.iter().map(|it| look(it, self.stat(path(it)).ok().as_ref())).collect()
        };
        if paths.len() < WORTH_A_THREAD {
            return each(paths);
        }
        let mut parts = cores::shares(paths, paths.len().div_ceil(cores::for_files()), each).into_iter();
        let mut all = parts.next().unwrap_or_default();
        all.extend(parts.flatten());
        all
    }

    /// Returns where a link leads.
    pub fn link(&self, path: &[u8]) -> Result<Vec<u8>, Unread> {
        let link = open_at(&self.top, path, OFlags::PATH)?;
        let target = rustix::fs::readlinkat(&link, "", Vec::new())
            // Where a link itself cannot be opened, its path has to do.
            .or_else(|_| rustix::fs::readlinkat(&self.top, path, Vec::new()))?;
        Ok(target.into_bytes())
    }

    /// Opens a regular file.
    pub fn file(&self, path: &[u8]) -> Result<(File, State), Unread> {
        // A pipe that nobody writes to would make us wait.
        let file = File::from(open_at(&self.top, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?);
        let state = state_of(&file)?;
        if state.kind == Kind::File { Ok((file, state)) } else { Err(Unread::Gone) }
    }
}

/// Returns the present state of a file that is open.
pub fn state_of(file: &File) -> Result<State, Unread> {
    Ok(State::from(&rustix::fs::fstat(file)?))
}

/// Reads a file that is not larger than `limit` into `content`, again if it changes meanwhile. Returns whether it is
/// now as it was at some moment; one that has grown beyond the limit is cut.
pub fn read_whole(file: &mut File, limit: u64, content: &mut Vec<u8>) -> io::Result<bool> {
    for _ in 0..TRIES {
        let before = state_of(file).ok();
        content.clear();
        file.seek(SeekFrom::Start(0))?;
        Read::take(&mut *file, limit).read_to_end(content)?;
        let as_long = before.is_some_and(|before| before.size == content.len() as u64);
        if as_long && state_of(file).ok() == before {
            return Ok(true);
        }
    }
    Ok(false)
}
