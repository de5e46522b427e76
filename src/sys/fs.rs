//! Files: replaced as a whole, appended to by the line, locked by the kernel.
//!
//! Everything that this program writes goes through here, so that one place decides what survives
//! a crash, and so that tests can crash or fail it at every single step.
#![expect(clippy::disallowed_methods, reason = "this is its place")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use super::later;

/// Opens no symbolic link.
const NO_LINKS: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
/// Opens no symbolic link, and a pipe without waiting for whoever is at its other end.
const NO_LINKS_NO_WAITING: i32 = NO_LINKS | rustix::fs::OFlags::NONBLOCK.bits() as i32;

/// A failure, and the path it is about.
#[derive(Debug, thiserror::Error)]
#[error("`{}`: {source}", path.display())]
pub struct PathError {
    pub path: PathBuf,
    pub source: io::Error,
}

/// Adds the path to an error of the file system.
pub trait At<T> {
    /// Names the path that the error is about.
    fn at(self, path: &Path) -> Result<T, PathError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, PathError> {
        self.map_err(|source| PathError { path: path.to_owned(), source })
    }
}

/// What must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of this process: a reader sees the old file or the new one, never half of either.
    Process,
    /// A power cut too.
    Power,
}

/// Replaces `path`, so that a reader sees the old file or the new one and never half of either.
pub fn write_atomically(path: &Path, contents: &[u8], durability: Durability) -> Result<(), PathError> {
    replace(path, durability, None, |file| file.write_all(contents))
}

/// Replaces the few bytes of a file of the same length where they are, else the file as a whole. Many file systems
/// write out a file at once that takes the place of another one, which is much work for a sign of life.
pub fn refresh(path: &Path, contents: &[u8]) -> Result<(), PathError> {
    let file = OpenOptions::new().write(true).custom_flags(NO_LINKS_NO_WAITING).open(path);
    let meta = file.as_ref().ok().and_then(|file| file.metadata().ok());
    match (file, meta) {
        (Ok(file), Some(meta)) if meta.is_file() && meta.len() == contents.len() as u64 => {
            fault::step("write").at(path)?;
            file.write_all_at(contents, 0).at(path)
        }
        _ => write_atomically(path, contents, Durability::Process),
    }
}

/// Like [`write_atomically`], with contents that are written piece by piece and a mode of its own.
pub fn replace(
    path: &Path,
    durability: Durability,
    mode: Option<u32>,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), PathError> {
    let temp = beside(path, durability, mode.unwrap_or(0o644), write)?;
    temp.persist(path).map_err(|err| err.error).at(path)?;
    fault::step("renamed").at(path)?;
    if durability == Durability::Power {
        // The rename itself lives in the folder, which needs its own sync.
        sync_dir(folder_of(path))?;
    }
    Ok(())
}

/// Creates the file that is to become `path`, with all of its contents.
fn beside(
    path: &Path,
    durability: Durability,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<tempfile::NamedTempFile, PathError> {
    fault::step("create").at(path)?;
    let mut temp = tempfile::Builder::new()
        .prefix(".tmp-")
        .permissions(fs::Permissions::from_mode(mode))
        // The same folder: a rename is atomic only within one file system.
        .tempfile_in(folder_of(path))
        .at(path)?;
    fault::step("write").at(path)?;
    write(temp.as_file_mut()).at(path)?;
    if durability == Durability::Power && !later::takes(path) {
        fault::step("sync").at(path)?;
        temp.as_file().sync_data().at(path)?;
    }
    fault::step("rename").at(path)?;
    Ok(temp)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// Creates a file that must not exist yet, and makes its contents survive a power cut.
pub fn write_new(path: &Path, contents: &[u8], mode: u32) -> Result<(), PathError> {
    begin_new(path, contents, mode)?.sync()
}

/// Creates a file that must not exist yet. It survives a power cut when it has been synced.
pub fn begin_new(path: &Path, contents: &[u8], mode: u32) -> Result<Unsynced, PathError> {
    fault::step("create").at(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).at(path)?;
    fault::step("write").at(path)?;
    file.write_all(contents).at(path)?;
    Ok(Unsynced { file, path: path.to_owned() })
}

/// A file that is whole, unless the power is cut.
#[derive(Debug)]
#[must_use = "it does not survive a power cut yet"]
pub struct Unsynced {
    file: File,
    path: PathBuf,
}

impl Unsynced {
    /// Makes its contents survive a power cut.
    pub fn sync(self) -> Result<(), PathError> {
        if later::takes(&self.path) {
            return Ok(());
        }
        fault::step("sync").at(&self.path)?;
        self.file.sync_data().at(&self.path)
    }
}

/// Creates a file with all of its contents at once, unless something of that name is there already; then
/// nothing is changed, and the answer is false.
pub fn create_whole(path: &Path, contents: &[u8]) -> Result<bool, PathError> {
    let temp = beside(path, Durability::Power, 0o644, |file| file.write_all(contents))?;
    match temp.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(err) if err.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(err) => Err(err.error).at(path),
    }
}

/// Makes the entries of a folder survive a power cut.
pub fn sync_dir(dir: &Path) -> Result<(), PathError> {
    if later::takes(dir) {
        return Ok(());
    }
    fault::step("sync").at(dir)?;
    File::open(dir).and_then(|dir| dir.sync_all()).at(dir)
}

/// Makes a file or folder survive a power cut; one that is gone is fine.
pub(super) fn sync_path(path: &Path) -> Result<(), PathError> {
    fault::step("sync").at(path)?;
    match File::open(path).and_then(|file| file.sync_all()) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err).at(path),
        _ => Ok(()),
    }
}

/// Creates a folder and those above it, and makes them survive a power cut.
pub fn create_dir_all_durably(dir: &Path) -> Result<(), PathError> {
    begin_dir_all(dir)?.iter().try_for_each(|dir| sync_dir(dir))
}

/// Creates a folder and those above it. Returns the folders that have to be synced, in this order, before
/// they survive a power cut.
pub fn begin_dir_all(dir: &Path) -> Result<Vec<PathBuf>, PathError> {
    let missing: Vec<_> = dir.ancestors().take_while(|dir| !dir.is_dir()).collect();
    create_dir_all(dir)?;
    Ok(missing.iter().filter_map(|dir| dir.parent()).map(Path::to_owned).collect())
}

/// Creates a folder and those above it.
pub fn create_dir_all(dir: &Path) -> Result<(), PathError> {
    if dir.is_dir() {
        return Ok(());
    }
    fault::step("mkdir").at(dir)?;
    fs::create_dir_all(dir).at(dir)
}

/// Creates a folder that must not exist yet, readable by its owner only.
pub fn create_private_dir(dir: &Path) -> Result<(), PathError> {
    fault::step("mkdir").at(dir)?;
    fs::DirBuilder::new().mode(0o700).create(dir).at(dir)
}

/// Creates a folder readable by its owner only, unless it is there already, which a link to one is not. Returns
/// whether it is new.
pub fn ensure_private_dir(dir: &Path) -> Result<bool, PathError> {
    match create_private_dir(dir) {
        Err(err) if err.source.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(dir).at(dir)?.is_dir() { Ok(false) } else { Err(err) }
        }
        made => made.map(|()| true),
    }
}

/// Makes `link` a symbolic link to `target`; leaves an existing entry alone.
pub fn symlink(target: &Path, link: &Path) -> Result<(), PathError> {
    fault::step("symlink").at(link)?;
    match std::os::unix::fs::symlink(target, link) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => Err(err).at(link),
        _ => Ok(()),
    }
}

/// Returns a path without links, `.` and `..`; its last parts need not be there, not even those that `..` leaves again.
pub fn resolved(path: &Path) -> Result<PathBuf, PathError> {
    match fs::canonicalize(path) {
        Ok(path) => Ok(path),
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            match (path.parent(), path.components().next_back()) {
                (Some(parent), Some(Component::Normal(last))) => Ok(resolved(parent)?.join(last)),
                (Some(parent), Some(Component::ParentDir)) => {
                    let mut path = resolved(parent)?;
                    path.pop();
                    Ok(path)
                }
                _ => Err(err).at(path),
            }
        }
        Err(err) => Err(err).at(path),
    }
}

/// Renames a file out of the way; a missing one is fine.
pub fn rename(from: &Path, to: &Path) -> Result<(), PathError> {
    fault::step("rename").at(from)?;
    match fs::rename(from, to) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err).at(from),
        _ => Ok(()),
    }
}

/// Renames a file or folder to a name that must not be taken yet.
pub fn rename_new(from: &Path, to: &Path) -> Result<(), PathError> {
    fault::step("rename").at(from)?;
    let taken = || io::Error::from_raw_os_error(rustix::io::Errno::EXIST.raw_os_error());
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            // Not every file system can do this.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
            Err(rustix::io::Errno::EXIST) => return Err(taken()).at(to),
            Err(err) => return Err(err.into()).at(from),
        }
    }
    if fs::symlink_metadata(to).is_ok() {
        return Err(taken()).at(to);
    }
    fs::rename(from, to).at(from)
}

/// Gives a file, or a link itself, a second name that must not be taken yet.
pub fn second_name(path: &Path, name: &Path) -> Result<(), PathError> {
    fault::step("link").at(path)?;
    fs::hard_link(path, name).at(name)
}

/// Whether two names are those of one file.
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    id(one).is_some_and(|found| id(other) == Some(found))
}

/// Removes a folder with all that is in it; a missing one is fine. Links are removed and not followed,
/// and nothing is touched if another file system is mounted in it.
pub fn remove_tree(root: &Path) -> Result<(), PathError> {
    walk(root, &mut |path, meta| {
        // A folder that its owner may not write to could not be emptied.
        if meta.is_dir() && meta.mode() & 0o700 != 0o700 {
            fs::set_permissions(path, fs::Permissions::from_mode(meta.mode() | 0o700))?;
        }
        Ok(())
    })?;
    fault::step("remove").at(root)?;
    // Whoever still writes there ends soon.
    for tried in 1.. {
        match fs::remove_dir_all(root) {
            Err(err) if err.kind() == io::ErrorKind::DirectoryNotEmpty && tried < 10 => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err).at(root),
            _ => break,
        }
    }
    Ok(())
}

/// Returns the bytes of all files below a folder. Links are not followed.
pub fn tree_size(root: &Path) -> Result<u64, PathError> {
    let mut bytes = 0;
    walk(root, &mut |_, meta| {
        bytes += if meta.is_dir() { 0 } else { meta.len() };
        Ok(())
    })?;
    Ok(bytes)
}

/// Visits a folder and all that is in it, each folder before what it holds.
fn walk(root: &Path, visit: &mut dyn FnMut(&Path, &fs::Metadata) -> io::Result<()>) -> Result<(), PathError> {
    let mut waiting = vec![root.to_owned()];
    let mut device = None;
    while let Some(path) = waiting.pop() {
        let meta = match fs::symlink_metadata(&path) {
            Ok(meta) => meta,
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            Err(err) => return Err(err).at(&path),
        };
        if *device.get_or_insert(meta.dev()) != meta.dev() {
            return Err(io::Error::other("another file system is mounted here")).at(&path);
        }
        visit(&path, &meta).at(&path)?;
        if meta.is_dir() {
            for entry in fs::read_dir(&path).at(&path)? {
                waiting.push(entry.at(&path)?.path());
            }
        }
    }
    Ok(())
}

/// Removes a file; a missing one is fine.
pub fn remove(path: &Path) -> Result<(), PathError> {
    fault::step("remove").at(path)?;
    match fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err).at(path),
        _ => Ok(()),
    }
}

/// Returns the contents of a file, or nothing if there is none.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, PathError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err).at(path),
    }
}

/// Reads a file that is neither a link nor anything but a regular file, and not larger than `limit`.
pub fn read_regular(path: &Path, limit: u64) -> Result<Vec<u8>, PathError> {
    let file = OpenOptions::new().read(true).custom_flags(NO_LINKS_NO_WAITING).open(path).at(path)?;
    if !file.metadata().at(path)?.is_file() {
        return Err(io::Error::other("it is no regular file")).at(path);
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).at(path)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it is larger than {limit} bytes"))).at(path);
    }
    Ok(bytes)
}

/// Tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Fingerprint {
    /// Returns what tells the present state of `path` apart, or nothing if it cannot be seen.
    pub fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        Some(Self { inode: meta.ino(), size: meta.size(), modified: (meta.mtime(), meta.mtime_nsec()) })
    }
}

/// One word, to be compared with another time's.
impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { inode, size, modified: (seconds, nanos) } = self;
        write!(f, "{inode}:{size}:{seconds}.{nanos}")
    }
}

/// A file that grows by whole lines.
#[derive(Debug)]
pub struct Appender {
    file: File,
    path: PathBuf,
    len: u64,
}

impl Appender {
    /// Opens or creates `path`. A last line that a crash has torn is closed, so that nothing is
    /// ever glued to it.
    pub fn open(path: &Path) -> Result<Self, PathError> {
        fault::step("create").at(path)?;
        // A repository could ship a link in our place.
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .custom_flags(NO_LINKS)
            .open(path)
            .at(path)?;
        let len = file.metadata().at(path)?.len();
        let mut appender = Self { len, path: path.to_owned(), file: file.try_clone().at(path)? };
        if len > 0 {
            let mut last = [0];
            file.seek(SeekFrom::Start(len - 1)).at(path)?;
            file.read_exact(&mut last).at(path)?;
            if last != *b"\n" {
                appender.append(b"\n")?;
            }
        }
        Ok(appender)
    }

    /// Appends bytes that end with a newline.
    pub fn append(&mut self, lines: &[u8]) -> Result<(), PathError> {
        fault::step("append").at(&self.path)?;
        self.file.write_all(lines).at(&self.path)?;
        self.len += lines.len() as u64;
        Ok(())
    }

    /// Makes all that was appended survive a power cut.
    pub fn sync(&self) -> Result<(), PathError> {
        if later::takes(&self.path) {
            return Ok(());
        }
        fault::step("sync").at(&self.path)?;
        self.file.sync_data().at(&self.path)
    }

    /// Returns where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was appended yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the path still names this file, and it holds what we wrote and no more: a stage may
    /// have removed, replaced, cut or continued it.
    pub fn is_in_place(&self) -> bool {
        match (self.file.metadata(), fs::symlink_metadata(&self.path)) {
            (Ok(ours), Ok(there)) => {
                (ours.dev(), ours.ino()) == (there.dev(), there.ino()) && ours.len() == self.len
            }
            _ => false,
        }
    }
}

/// A lock that the kernel gives back when its holder dies.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock, or returns nothing if somebody holds it.
    pub fn try_take(path: &Path) -> Result<Option<Self>, PathError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(NO_LINKS)
            .open(path)
            .at(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(err)) => Err(err).at(path),
        }
    }

    /// Takes the lock, waiting for at most `patience`; returns nothing after that.
    pub fn take(path: &Path, patience: Duration) -> Result<Option<Self>, PathError> {
        let begin = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(lock) = Self::try_take(path)? {
                return Ok(Some(lock));
            }
            if begin.elapsed() >= patience {
                return Ok(None);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Whether somebody holds the lock at `path` now.
    pub fn is_held(path: &Path) -> bool {
        match OpenOptions::new().read(true).open(path) {
            Ok(file) => matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)),
            Err(_) => false,
        }
    }

    /// Replaces what the locked file says about its holder.
    pub fn describe(&mut self, text: &[u8]) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(text)
    }
}

/// Counts a step that changes the disk and that somebody else takes for us, such as the git program: tests crash or fail
/// before it as before our own.
pub fn foreign_step(what: &str) -> io::Result<()> {
    fault::step(what)
}

/// Crashes and errors on demand, in debug builds only.
pub(super) mod fault {
    /// Counts one step that changes the disk. `GIT_ORCHESTRATE_CRASH_AT=7` kills the process before
    /// its seventh step, `GIT_ORCHESTRATE_FAIL_AT=7` makes the step fail as on a full disk, and
    /// `GIT_ORCHESTRATE_FAIL_FROM=7` all steps from there.
    #[cfg(debug_assertions)]
    pub fn step(what: &str) -> std::io::Result<()> {
        use std::sync::OnceLock;
        use std::sync::atomic::{AtomicU64, Ordering};
        static STEPS: AtomicU64 = AtomicU64::new(0);
        static PLAN: OnceLock<[Option<u64>; 3]> = OnceLock::new();
        let [crash, fail, from] = *PLAN.get_or_init(|| {
            ["GIT_ORCHESTRATE_CRASH_AT", "GIT_ORCHESTRATE_FAIL_AT", "GIT_ORCHESTRATE_FAIL_FROM"]
                .map(|name| std::env::var(name).ok()?.parse().ok())
        });
        let step = STEPS.fetch_add(1, Ordering::Relaxed) + 1;
        if crash == Some(step) {
            eprintln!("crash at step {step}: {what}");
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
        if fail == Some(step) || from.is_some_and(|from| step >= from) {
            return Err(std::io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()));
        }
        Ok(())
    }

    #[cfg(not(debug_assertions))]
    #[inline(always)]
    pub fn step(_what: &str) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_is_closed_before_anything_follows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "whole\ntor").unwrap();
        let mut appender = Appender::open(&path).unwrap();
        appender.append(b"next\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\ntor\nnext\n");
        assert_eq!(appender.len(), 15);
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        refresh(&path, b"now").unwrap();
        assert_eq!(read_regular(&path, 10).unwrap(), b"now");
    }

    #[test]
    fn a_lock_is_free_again_when_its_holder_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::try_take(&path).unwrap().unwrap();
        assert!(Lock::try_take(&path).unwrap().is_none());
        assert!(Lock::is_held(&path));
        drop(held);
        assert!(!Lock::is_held(&path));
        assert!(Lock::try_take(&path).unwrap().is_some());
    }

    #[test]
    fn a_replaced_file_has_the_mode_asked_for_and_leaves_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        replace(&path, Durability::Power, Some(0o600), |file| file.write_all(b"x")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
