//! One pass over the folders of the work tree, on several threads.

use std::borrow::Cow;
use std::ffi::CStr;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice};
use gix::index::State;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::super::Repo;
use super::super::error::At;
use super::Fail;
use super::content::on_disk;
use super::ignores::Ignores;
use super::kept::{self, Identity, Kept, Page};
use super::stat::StatRule;
use crate::sys::beneath::open_at;
use crate::sys::clock::Clock;
use crate::sys::cores;

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
    /// The same of files that git was told to take for unchanged or for not checked out, so that it does not look.
    pub marked: Vec<Change>,
    /// Repositories inside the work tree, and whether the index knows each.
    pub nested: Vec<(BString, bool)>,
    /// What could not be read or stored.
    pub unreadable: Vec<BString>,
    /// In a side worktree: what the index does not know, ignored or not. With a slash at the end it
    /// is what is in a folder, and not the folder.
    pub leftovers: Vec<BString>,
    /// Whether there is a `.gitattributes` in any of the folders.
    pub attributes: bool,
    /// Folders that were read and can be kept.
    pages: Vec<Page<'static>>,
    /// The numbers of the kept folders that did not have to be read.
    pub(super) used: Vec<usize>,
    /// Room for what comes from the kernel.
    room: Vec<u8>,
}

/// Walks the work tree.
pub(in crate::git) fn walk(
    ours: &Repo,
    repo: &gix::Repository,
    index: &State,
    capabilities: gix::fs::Capabilities,
) -> Result<Walked, Fail> {
    Ok(walk_for(ours, repo, index, capabilities, false)?.0)
}

/// Like [`walk`], but looks at the names only: whether a file that the index knows is as the index says, the rule
/// tells that comes with it, from stat data.
pub(in crate::git) fn names(
    ours: &Repo,
    repo: &gix::Repository,
    index: &State,
    capabilities: gix::fs::Capabilities,
) -> Result<(Walked, StatRule), Fail> {
    walk_for(ours, repo, index, capabilities, true)
}

fn walk_for(
    ours: &Repo,
    repo: &gix::Repository,
    index: &State,
    capabilities: gix::fs::Capabilities,
    names_only: bool,
) -> Result<(Walked, StatRule), Fail> {
    let config = repo.config_snapshot();
    let is_true = |key: &str| config.boolean(key) == Some(true);
    let sparse = is_true("core.sparseCheckout");
    let top = rustix::fs::open(&ours.work_tree, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let top = top.map_err(Into::into).at(&ours.work_tree)?;
    // A side worktree is held against what was checked out there, and it is ours to be careful with.
    let may_keep = ours.side.is_none() && config.boolean("core.untrackedCache") != Some(false);
    let bytes = may_keep.then(|| kept::read(ours));
    let walk = Walk {
        ours,
        repo: repo.clone().into_sync(),
        kept: bytes.as_ref().and_then(|bytes| Kept::new(bytes, &top, ours.keeping, Clock::System.now())),
        top,
        index,
        stat: StatRule::new(repo, index, capabilities)?,
        names_only,
        sparse,
        // git takes a file that is there for checked out, whatever the index says.
        present_counts: sparse && !is_true("sparse.expectFilesOutsideOfPatterns"),
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
    let mut walked = walk.run(root)?;
    if let Some(kept) = &walk.kept {
        kept.renew(ours, std::mem::take(&mut walked.pages), &walked.used);
    }
    Ok((walked, walk.stat))
}

/// A walk under way.
pub(in crate::git) struct Walk<'a> {
    pub ours: &'a Repo,
    pub repo: gix::ThreadSafeRepository,
    /// The top level, from which the others are opened.
    top: OwnedFd,
    /// What was in the folders when they were last read.
    kept: Option<Kept<'a>>,
    pub index: &'a State,
    pub stat: StatRule,
    /// Whether nobody asks if a file is as the index says.
    pub names_only: bool,
    /// Whether a sparse checkout leaves files out.
    pub sparse: bool,
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
pub(super) struct Listing<'a> {
    /// The names and what is between them.
    pub bytes: Cow<'a, [u8]>,
    pub names: Vec<Name>,
}

/// A name in a folder.
pub(super) struct Name {
    range: Range<usize>,
    pub kind: FileType,
    /// Whether the index knows it, or it is not for the index.
    pub tracked: bool,
}

impl Name {
    /// A name, by where it stands in the bytes of the listing.
    pub fn new(range: Range<usize>, kind: FileType, bytes: &[u8]) -> Self {
        let tracked = &bytes[range.clone()] == b".git";
        Self { range, kind, tracked }
    }
}

impl Listing<'_> {
    pub fn name(&self, name: &Name) -> &BStr {
        self.bytes[name.range.clone()].as_bstr()
    }

    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.names.binary_search_by(|it| self.bytes[it.range.clone()].cmp(name)).ok()
    }

    /// Like [`Listing::find`], for names that come in order: most are right behind the last one, `near`.
    pub fn find_next(&self, name: &[u8], near: &mut usize) -> Option<usize> {
        let found = match self.names.get(*near) {
            Some(it) if &self.bytes[it.range.clone()] == name => Some(*near),
            _ => self.find(name),
        };
        *near = found.map_or(*near, |at| at + 1);
        found
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
        let threads = cores::for_files();
        *self.lock() = Queue { folders, active: threads };
        thread::scope(|scope| {
            let helpers: Vec<_> = (1..threads).map(|_| cores::spawn(scope, || self.work())).collect();
            let mut parts = vec![self.work()];
            parts.extend(helpers.into_iter().map(|it| it.join().expect("a walker does not panic")));
            for part in parts {
                let part = part?;
                seen.changes.extend(part.changes);
                seen.marked.extend(part.marked);
                seen.nested.extend(part.nested);
                seen.unreadable.extend(part.unreadable);
                seen.leftovers.extend(part.leftovers);
                seen.pages.extend(part.pages);
                seen.used.extend(part.used);
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
        let known = self.kept.as_ref().and_then(|kept| kept.page(&folder.path));
        let flags = if known.is_some() { OFlags::PATH } else { OFlags::RDONLY };
        let opened = open_at(&self.top, &folder.path, OFlags::DIRECTORY | flags).and_then(|dir| {
            // Before the names are read: what changes them meanwhile changes the times too.
            let identity = self.kept.as_ref().map(|_| rustix::fs::fstat(&dir)).transpose()?;
            let identity = identity.as_ref().map(Identity::from);
            let Some((at, page)) = known else { return Ok((dir, identity, None)) };
            match identity.and_then(|identity| page.listing(&identity)) {
                Some(listing) => Ok((dir, identity, Some((at, listing)))),
                // To be read, it has to be opened again: the same folder, whatever its path leads to by now.
                None => Ok((open_at(&dir, b"", OFlags::DIRECTORY)?, identity, None)),
            }
        });
        let (dir, identity, known) = match opened {
            Ok(opened) => opened,
            // git passes over a path that the machine does not take.
            Err(Errno::ACCESS | Errno::PERM | Errno::NAMETOOLONG) => {
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
        let listing = match known {
            Some((at, listing)) => {
                seen.used.push(at);
                listing
            }
            None => {
                let listing = read(&dir, &mut seen.room).map_err(Into::into).at(&disk())?;
                if let Some((kept, identity)) = self.kept.as_ref().zip(identity) {
                    seen.pages.extend(kept.new_page(&folder.path, identity, &listing));
                }
                listing
            }
        };
        seen.attributes |= listing.find(b".gitattributes").is_some();
        self.compare(&folder, Some(&dir), listing, seen, below)
    }
}

/// Reads the names in a folder. `room` is for what comes from the kernel.
fn read(dir: &OwnedFd, room: &mut Vec<u8>) -> Result<Listing<'static>, Errno> {
    // Room for most folders, so that threads do not wait for each other's memory.
    let (mut bytes, mut names) = (Vec::with_capacity(2048), Vec::with_capacity(64));
    let mut add = |name: &CStr, mut kind: FileType| {
        if matches!(name.to_bytes(), b"." | b"..") {
            return;
        }
        if kind == FileType::Unknown {
            let Ok(stat) = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else { return };
            kind = FileType::from_raw_mode(stat.st_mode);
        }
        let start = bytes.len();
        bytes.extend_from_slice(name.to_bytes());
        names.push(Name::new(start..bytes.len(), kind, &bytes));
    };
    #[cfg(target_os = "linux")]
    {
        room.reserve(32 << 10);
        let mut entries = rustix::fs::RawDir::new(dir, room.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            add(entry.file_name(), entry.file_type());
        }
    }
    #[cfg(not(target_os = "linux"))]
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        add(entry.file_name(), entry.file_type());
    }
    names.sort_unstable_by(|a, b| bytes[a.range.clone()].cmp(&bytes[b.range.clone()]));
    Ok(Listing { bytes: Cow::Owned(bytes), names })
}
