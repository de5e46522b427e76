//! One pass over the folders of the work tree, on several threads.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice};
use gix::index::State;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::super::Repo;
use super::super::error::At;
use super::Fail;
use super::content::on_disk;
use super::ignores::Ignores;
use super::stat::StatRule;
use crate::sys::beneath::open_at;

/// After so many folders the work is worth more threads.
const FOLDERS_ALONE: usize = 8;

/// What stands at a path, as far as names and stat data tell.
#[derive(Debug)]
pub(in crate::git) struct Change {
    pub path: BString,
    pub seen: Seen,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::git) enum Seen {
    /// Nothing.
    Gone,
    /// A repository at that commit.
    Repository(ObjectId),
    /// A file or a link whose content has to be read; `tracked` is its entry in the index.
    Content { tracked: Option<usize>, link: bool },
}

/// What the walk saw.
#[derive(Debug, Default)]
pub(in crate::git) struct Walked {
    pub changes: Vec<Change>,
    /// Repositories inside the work tree, and whether the index knows each.
    pub nested: Vec<(BString, bool)>,
    /// What could not be read or stored.
    pub unreadable: Vec<BString>,
    /// In a side worktree: what the index does not know, ignored or not. With a slash at the end it
    /// is what is in a folder, and not the folder.
    pub leftovers: Vec<BString>,
    /// Whether there is a `.gitattributes` in any of the folders.
    pub attributes: bool,
}

/// Walks the work tree.
pub(in crate::git) fn walk(
    ours: &Repo,
    repo: &gix::Repository,
    index: &State,
    capabilities: gix::fs::Capabilities,
) -> Result<Walked, Fail> {
    let config = repo.config_snapshot();
    let is_true = |key: &str| config.boolean(key) == Some(true);
    let top = rustix::fs::open(&ours.work_tree, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let walk = Walk {
        ours,
        repo: repo.clone().into_sync(),
        top: top.map_err(Into::into).at(&ours.work_tree)?,
        index,
        stat: StatRule::new(repo, index, capabilities)?,
        // git takes a file that is there for checked out, whatever the index says.
        present_counts: is_true("core.sparseCheckout") && !is_true("sparse.expectFilesOutsideOfPatterns"),
        names: gix::validate::path::component::Options {
            protect_windows: cfg!(windows),
            protect_hfs: config.boolean("core.protectHFS").unwrap_or(cfg!(target_vendor = "apple")),
            protect_ntfs: config.boolean("core.protectNTFS").unwrap_or(true),
        },
        queue: Mutex::default(),
        more: Condvar::new(),
        idle: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
    };
    let root = Folder {
        path: BString::default(),
        range: 0..index.entries().len(),
        ignores: Arc::new(Ignores::of_repository(repo, &ours.common_dir, &ours.left_out)?),
        ignored: false,
    };
    walk.run(root)
}

/// A walk under way.
pub(in crate::git) struct Walk<'a> {
    pub ours: &'a Repo,
    pub repo: gix::ThreadSafeRepository,
    /// The top level, from which the others are opened.
    top: OwnedFd,
    pub index: &'a State,
    pub stat: StatRule,
    /// Whether a file counts that a sparse checkout should have left out.
    pub present_counts: bool,
    /// Which names git refuses.
    pub names: gix::validate::path::component::Options,
    queue: Mutex<Queue>,
    more: Condvar,
    /// How many threads wait for work.
    idle: AtomicUsize,
    stop: AtomicBool,
}

#[derive(Default)]
struct Queue {
    folders: Vec<Folder>,
    /// How many threads have work of their own.
    active: usize,
}

/// A folder to look into.
pub(super) struct Folder {
    /// With a slash at its end, except for the top level.
    pub path: BString,
    /// The entries of the index below it.
    pub range: Range<usize>,
    pub ignores: Arc<Ignores>,
    /// Whether everything in it that is not tracked is ignored.
    pub ignored: bool,
}

/// The names in a folder, sorted.
#[derive(Default)]
pub(super) struct Listing {
    bytes: Vec<u8>,
    pub names: Vec<Name>,
}

/// A name in a folder.
pub(super) struct Name {
    range: Range<usize>,
    pub kind: FileType,
    /// Whether the index knows it, or it is not for the index.
    pub tracked: bool,
}

impl Listing {
    pub fn name(&self, name: &Name) -> &BStr {
        self.bytes[name.range.clone()].as_bstr()
    }

    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.names.binary_search_by(|it| self.bytes[it.range.clone()].cmp(name)).ok()
    }
}

impl Walk<'_> {
    fn run(&self, root: Folder) -> Result<Walked, Fail> {
        let mut seen = Walked::default();
        let mut folders = vec![root];
        for _ in 0..FOLDERS_ALONE {
            let Some(folder) = folders.pop() else { return Ok(seen) };
            self.visit(folder, &mut seen, &mut folders)?;
        }
        if folders.is_empty() {
            return Ok(seen);
        }
        let threads = thread::available_parallelism().map_or(1, |count| count.get().min(8));
        *self.lock() = Queue { folders, active: threads };
        thread::scope(|scope| {
            let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(|| self.work())).collect();
            let mut parts = vec![self.work()];
            parts.extend(helpers.into_iter().map(|it| it.join().expect("a walker does not panic")));
            for part in parts {
                let part = part?;
                seen.changes.extend(part.changes);
                seen.nested.extend(part.nested);
                seen.unreadable.extend(part.unreadable);
                seen.leftovers.extend(part.leftovers);
                seen.attributes |= part.attributes;
            }
            Ok(seen)
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Visits folders until all are done. What it finds it keeps to itself, unless somebody has nothing to
    /// do: to meet for every folder costs more than the folder.
    fn work(&self) -> Result<Walked, Fail> {
        let mut seen = Walked::default();
        let mut mine = Vec::new();
        while let Some(folder) = self.next(&mut mine) {
            if let Err(err) = self.visit(folder, &mut seen, &mut mine) {
                let _queue = self.lock();
                self.stop.store(true, Ordering::Relaxed);
                self.more.notify_all();
                return Err(err);
            }
            if mine.len() > 1 && self.idle.load(Ordering::Relaxed) > 0 {
                let half = mine.len() / 2;
                self.lock().folders.extend(mine.drain(..half));
                self.more.notify_one();
            }
        }
        Ok(seen)
    }

    /// Returns a folder of `mine`, which gets half of what others gave away if it is empty; nothing if all
    /// are done.
    fn next(&self, mine: &mut Vec<Folder>) -> Option<Folder> {
        if self.stop.load(Ordering::Relaxed) {
            return None;
        }
        if let Some(folder) = mine.pop() {
            return Some(folder);
        }
        let mut queue = self.lock();
        queue.active -= 1;
        self.idle.fetch_add(1, Ordering::Relaxed);
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(folder) = queue.folders.pop() {
                let half = queue.folders.len() / 2;
                mine.extend(queue.folders.drain(half..));
                queue.active += 1;
                self.idle.fetch_sub(1, Ordering::Relaxed);
                return Some(folder);
            }
            if queue.active == 0 {
                self.more.notify_all();
                return None;
            }
            queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn visit(&self, folder: Folder, seen: &mut Walked, below: &mut Vec<Folder>) -> Result<(), Fail> {
        let disk = || on_disk(&self.ours.work_tree, folder.path.as_bstr());
        let opened = open_at(&self.top, &folder.path, OFlags::DIRECTORY | OFlags::RDONLY);
        let mut dir = match opened.and_then(Dir::new) {
            Ok(dir) => dir,
            Err(Errno::ACCESS | Errno::PERM) => {
                // What is tracked in it keeps the content of the index, as git has it.
                seen.unreadable.push(folder.path);
                return Ok(());
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                // It went away between its name and us.
                let empty = Listing::default();
                return self.compare(&folder, None, empty, seen, below);
            }
            Err(errno) => return Err(errno.into()).at(&disk()).map_err(Fail::Error),
        };
        // Room for most folders, so that threads do not wait for each other's memory.
        let mut listing = Listing { bytes: Vec::with_capacity(2048), names: Vec::with_capacity(64) };
        while let Some(entry) = dir.read() {
            let entry = entry.map_err(Into::into).at(&disk())?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let mut kind = entry.file_type();
            if kind == FileType::Unknown {
                let fd = dir.fd().map_err(Into::into).at(&disk())?;
                let Ok(stat) = rustix::fs::statat(fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else {
                    continue;
                };
                kind = FileType::from_raw_mode(stat.st_mode);
            }
            seen.attributes |= name == b".gitattributes";
            let start = listing.bytes.len();
            listing.bytes.extend_from_slice(name);
            let range = start..listing.bytes.len();
            listing.names.push(Name { range, kind, tracked: name == b".git" });
        }
        let bytes = &listing.bytes;
        listing.names.sort_unstable_by(|a, b| bytes[a.range.clone()].cmp(&bytes[b.range.clone()]));
        self.compare(&folder, Some(&dir), listing, seen, below)
    }
}
