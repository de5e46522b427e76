//! One pass over index and folders: what differs from the index, by name and by stat data.

use std::ffi::CString;
use std::fs;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice};
use gix::index::entry::{Flags, Mode};
use gix::index::{Entry, State};
use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat};
use rustix::io::Errno;

use super::super::error::At;
use super::super::{Repo, nested};
use super::content::on_disk;
use super::ignores::Ignores;
use super::Fail;

/// After so many folders the work is worth more threads.
const FOLDERS_ALONE: usize = 24;

/// What stands at a path, as far as names and stat data tell.
#[derive(Debug)]
pub(super) struct Change {
    pub path: BString,
    pub seen: Seen,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Seen {
    /// Nothing.
    Gone,
    /// A repository at that commit.
    Repository(ObjectId),
    /// A file or a link whose content has to be read; `tracked` is its entry in the index.
    Content { tracked: Option<usize>, link: bool },
}

/// What the walk saw.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub changes: Vec<Change>,
    /// Repositories inside the work tree, and whether the index knows each.
    pub nested: Vec<(BString, bool)>,
    /// What could not be read or stored.
    pub unreadable: Vec<BString>,
}

/// Walks the work tree.
pub(super) fn walk(
    ours: &Repo,
    repo: &gix::Repository,
    index: &State,
    capabilities: gix::fs::Capabilities,
) -> Result<Walked, Fail> {
    let config = repo.config_snapshot();
    let is_true = |key: &str| config.boolean(key) == Some(true);
    let stat = repo.stat_options().map_err(|_| Fail::NeedsGit)?;
    let made = index.timestamp();
    let walk = Walk {
        ours,
        repo: repo.clone().into_sync(),
        index,
        made: (made.unix_seconds(), made.nanoseconds()),
        capabilities,
        check_stat: stat.check_stat,
        trust_ctime: stat.trust_ctime,
        // git takes a file that is there for checked out, whatever the index says.
        present_counts: is_true("core.sparseCheckout")
            && !is_true("sparse.expectFilesOutsideOfPatterns"),
        names: gix::validate::path::component::Options {
            protect_windows: cfg!(windows),
            protect_hfs: config.boolean("core.protectHFS").unwrap_or(cfg!(target_vendor = "apple")),
            protect_ntfs: config.boolean("core.protectNTFS").unwrap_or(true),
        },
        queue: Mutex::default(),
        more: Condvar::new(),
        stop: AtomicBool::new(false),
    };
    let root = Folder {
        path: BString::default(),
        range: 0..index.entries().len(),
        ignores: Arc::new(Ignores::of_repository(repo, &ours.common_dir)?),
        ignored: false,
    };
    walk.run(root)
}

struct Walk<'a> {
    ours: &'a Repo,
    repo: gix::ThreadSafeRepository,
    index: &'a State,
    /// When the index was written.
    made: (i64, u32),
    capabilities: gix::fs::Capabilities,
    check_stat: bool,
    trust_ctime: bool,
    present_counts: bool,
    names: gix::validate::path::component::Options,
    queue: Mutex<Queue>,
    more: Condvar,
    stop: AtomicBool,
}

#[derive(Default)]
struct Queue {
    folders: Vec<Folder>,
    busy: usize,
}

/// A folder to look into.
struct Folder {
    /// With a slash at its end, except for the top level.
    path: BString,
    /// The entries of the index below it.
    range: Range<usize>,
    ignores: Arc<Ignores>,
    /// Whether everything in it that is not tracked is ignored.
    ignored: bool,
}

/// The names in a folder, sorted.
#[derive(Default)]
struct Listing {
    bytes: Vec<u8>,
    names: Vec<Name>,
}

struct Name {
    range: Range<usize>,
    kind: FileType,
    tracked: bool,
}

impl Listing {
    fn name(&self, name: &Name) -> &BStr {
        self.bytes[name.range.clone()].as_bstr()
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
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
        self.lock().folders = folders;
        let threads = thread::available_parallelism().map_or(1, |count| count.get().min(8));
        thread::scope(|scope| {
            let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(|| self.work())).collect();
            let mut parts = vec![self.work()];
            parts.extend(helpers.into_iter().map(|it| it.join().expect("a walker does not panic")));
            for part in parts {
                let part = part?;
                seen.changes.extend(part.changes);
                seen.nested.extend(part.nested);
                seen.unreadable.extend(part.unreadable);
            }
            Ok(seen)
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes folders from the queue until all are done.
    fn work(&self) -> Result<Walked, Fail> {
        let mut seen = Walked::default();
        let mut below = Vec::new();
        loop {
            let mut queue = self.lock();
            let folder = loop {
                if self.stop.load(Ordering::Relaxed) {
                    return Ok(seen);
                }
                if let Some(folder) = queue.folders.pop() {
                    break folder;
                }
                if queue.busy == 0 {
                    return Ok(seen);
                }
                queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
            };
            queue.busy += 1;
            drop(queue);
            let visited = self.visit(folder, &mut seen, &mut below);
            let mut queue = self.lock();
            queue.busy -= 1;
            queue.folders.append(&mut below);
            if visited.is_err() {
                self.stop.store(true, Ordering::Relaxed);
            }
            // A folder without folders changes nothing for those who wait, unless it was the last.
            if !queue.folders.is_empty() || queue.busy == 0 || visited.is_err() {
                self.more.notify_all();
            }
            drop(queue);
            visited?;
        }
    }

    fn visit(
        &self,
        folder: Folder,
        seen: &mut Walked,
        below: &mut Vec<Folder>,
    ) -> Result<(), Fail> {
        let path = on_disk(&self.ours.work_tree, folder.path.as_bstr());
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let opened = rustix::fs::open(&path, flags, rustix::fs::Mode::empty());
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
            Err(errno) => return Err(errno.into()).at(&path).map_err(Fail::Error),
        };
        let mut listing = Listing::default();
        while let Some(entry) = dir.read() {
            let entry = entry.map_err(Into::into).at(&path)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let mut kind = entry.file_type();
            if kind == FileType::Unknown {
                let fd = dir.fd().map_err(Into::into).at(&path)?;
                let Ok(stat) =
                    rustix::fs::statat(fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                else {
                    continue;
                };
                kind = FileType::from_raw_mode(stat.st_mode);
            }
            let start = listing.bytes.len();
            listing.bytes.extend_from_slice(name);
            let range = start..listing.bytes.len();
            listing.names.push(Name { range, kind, tracked: name == b".git" });
        }
        let bytes = &listing.bytes;
        listing.names.sort_unstable_by(|a, b| bytes[a.range.clone()].cmp(&bytes[b.range.clone()]));
        self.compare(&folder, Some(&dir), listing, seen, below)
    }

    fn compare(
        &self,
        folder: &Folder,
        dir: Option<&Dir>,
        mut listing: Listing,
        seen: &mut Walked,
        below: &mut Vec<Folder>,
    ) -> Result<(), Fail> {
        let depth = folder.path.len();
        let nothing_tracked = folder.range.is_empty() && depth > 0;
        if nothing_tracked && listing.find(b".git").is_some() {
            let top = on_disk(&self.ours.work_tree, folder.path.as_bstr());
            if nested::is_repository(&top, &self.ours.git_dir) {
                self.repository(&folder.path[..depth - 1], &top, seen);
                return Ok(());
            }
        }
        let ignores = match self.ignores_in(folder, &listing)? {
            Some(ignores) if !folder.ignored => Arc::new(ignores),
            _ => folder.ignores.clone(),
        };
        let mut entries = self.index.entries();
        entries = &entries[..folder.range.end];
        let mut at = folder.range.start;
        while at < entries.len() {
            let path = entries[at].path(self.index);
            let rest = &path[depth..];
            if let Some(slash) = rest.find_byte(b'/') {
                let inside = &path[..depth + slash + 1];
                let count =
                    entries[at..].partition_point(|it| it.path(self.index).starts_with(inside));
                let range = at..at + count;
                at += count;
                let found = listing.find(&rest[..slash]);
                let is_folder = found.is_some_and(|it| listing.names[it].kind == FileType::Directory);
                if entries[range.start].mode.is_sparse() {
                    if found.is_some() {
                        // The index has to be expanded to say what should be in it.
                        return Err(Fail::NeedsGit);
                    }
                } else if is_folder {
                    let it = found.expect("it is a folder, so it was found");
                    listing.names[it].tracked = true;
                    let ignored = folder.ignored || ignores.exclude(inside[..inside.len() - 1].as_bstr(), true);
                    let path = inside.into();
                    below.push(Folder { path, range, ignores: ignores.clone(), ignored });
                } else {
                    for entry in range {
                        self.gone(entry, seen);
                    }
                }
                continue;
            }
            let count = entries[at..].iter().take_while(|it| it.path(self.index) == path).count();
            let found = listing.find(rest);
            if let Some(it) = found {
                listing.names[it].tracked = true;
            }
            let kind = found.map(|it| listing.names[it].kind);
            let walk_into = self.tracked(at..at + count, kind, dir, seen)?;
            if walk_into && !folder.ignored {
                // Where a file was is a folder now.
                if !ignores.exclude(path, true) {
                    below.push(self.untracked_folder(path, &ignores));
                }
            }
            at += count;
        }
        if folder.ignored {
            return Ok(());
        }
        for it in listing.names.iter().filter(|it| !it.tracked) {
            let name = listing.name(it);
            let is_folder = it.kind == FileType::Directory;
            let link = it.kind == FileType::Symlink;
            if !is_folder && !link && it.kind != FileType::RegularFile {
                continue;
            }
            let mut path = folder.path.clone();
            path.extend_from_slice(name);
            if ignores.exclude(path.as_bstr(), is_folder) {
                continue;
            }
            let mode = link.then_some(gix::validate::path::component::Mode::Symlink);
            if gix::validate::path::component(name, mode, self.names).is_err() {
                // git refuses such a name: checked out elsewhere, it could do harm.
                seen.unreadable.push(path);
            } else if is_folder {
                below.push(self.untracked_folder(path.as_bstr(), &ignores));
            } else {
                seen.changes.push(Change { path, seen: Seen::Content { tracked: None, link } });
            }
        }
        Ok(())
    }

    fn untracked_folder(&self, path: &BStr, ignores: &Arc<Ignores>) -> Folder {
        let mut path = path.to_owned();
        path.push(b'/');
        Folder { path, range: 0..0, ignores: ignores.clone(), ignored: false }
    }

    /// Returns the ignores of a folder with a `.gitignore` of its own.
    fn ignores_in(&self, folder: &Folder, listing: &Listing) -> Result<Option<Ignores>, Fail> {
        let mut path = folder.path.clone();
        path.extend_from_slice(b".gitignore");
        let found = listing.find(b".gitignore").map(|it| listing.names[it].kind);
        let content = match found {
            Some(FileType::RegularFile) => {
                fs::read(on_disk(&self.ours.work_tree, path.as_bstr())).ok()
            }
            // git follows no link here.
            Some(_) => None,
            None if folder.range.is_empty() => None,
            // A file that a sparse checkout leaves out counts all the same.
            None => match self.index.entry_by_path(path.as_bstr()) {
                Some(entry) if entry.flags.contains(Flags::SKIP_WORKTREE) => {
                    let repo = self.repo.to_thread_local();
                    let blob = repo.find_object(entry.id).map_err(|_| Fail::NeedsGit)?;
                    Some(blob.detach().data)
                }
                _ => None,
            },
        };
        let Some(content) = content else { return Ok(None) };
        Ok(Some(Ignores::below(&folder.ignores, folder.path.as_bstr(), &content)?))
    }

    fn gone(&self, entry: usize, seen: &mut Walked) {
        let entry = &self.index.entries()[entry];
        if !entry.flags.intersects(Flags::SKIP_WORKTREE | Flags::ASSUME_VALID) {
            let path = entry.path(self.index).to_owned();
            // The stages of a conflict share one path.
            if seen.changes.last().is_none_or(|last| last.path != path) {
                seen.changes.push(Change { path, seen: Seen::Gone });
            }
        }
    }

    /// Notes what became of a path that the index knows, `stages` being its entries, and returns
    /// whether there is a folder now to look into.
    fn tracked(
        &self,
        stages: Range<usize>,
        kind: Option<FileType>,
        dir: Option<&Dir>,
        seen: &mut Walked,
    ) -> Result<bool, Fail> {
        let entry = &self.index.entries()[stages.start];
        let path = entry.path(self.index);
        let Some(kind) = kind else {
            self.gone(stages.start, seen);
            return Ok(false);
        };
        let is_folder = kind == FileType::Directory;
        let skipped = entry.flags.contains(Flags::SKIP_WORKTREE) && !self.present_counts;
        if skipped || (entry.flags.contains(Flags::ASSUME_VALID) && !is_folder) {
            return Ok(false);
        }
        if is_folder {
            let top = on_disk(&self.ours.work_tree, path);
            if entry.mode == Mode::COMMIT {
                match nested::head(&top, entry.id.kind()) {
                    Some(id) => {
                        seen.nested.push((path.to_owned(), true));
                        if id != entry.id || entry.stage_raw() != 0 {
                            let seen_now = Seen::Repository(id);
                            seen.changes.push(Change { path: path.to_owned(), seen: seen_now });
                        }
                    }
                    // Not checked out: what the index says stays.
                    None if entry.stage_raw() == 0 => {}
                    None => seen.unreadable.push(path.to_owned()),
                }
                return Ok(false);
            }
            if nested::is_repository(&top, &self.ours.git_dir) {
                self.repository(path, &top, seen);
                return Ok(false);
            }
            seen.changes.push(Change { path: path.to_owned(), seen: Seen::Gone });
            return Ok(true);
        }
        let link = kind == FileType::Symlink;
        if !link && kind != FileType::RegularFile {
            // A pipe, a socket or a device: no content that git could store.
            seen.changes.push(Change { path: path.to_owned(), seen: Seen::Gone });
            seen.unreadable.push(path.to_owned());
            return Ok(false);
        }
        let plain = entry.stage_raw() == 0 && !entry.flags.contains(Flags::INTENT_TO_ADD);
        if plain {
            let name = path.rfind_byte(b'/').map_or(0, |slash| slash + 1);
            let name = CString::new(path[name..].as_bytes()).map_err(|_| Fail::NeedsGit)?;
            let stat = dir.map(|dir| {
                let fd = dir.fd()?;
                rustix::fs::statat(fd, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)
            });
            match stat {
                Some(Ok(stat)) if self.is_unchanged(entry, &stat) => return Ok(false),
                Some(Err(Errno::ACCESS)) => {
                    // Its folder may be listed but not entered.
                    seen.unreadable.push(path.to_owned());
                    return Ok(false);
                }
                _ => {}
            }
        }
        // For mode bits that the file system cannot keep, git prefers our side of a conflict.
        let ours = stages.clone().find(|it| self.index.entries()[*it].stage_raw() == 2);
        let tracked = Some(ours.unwrap_or(stages.start));
        let seen_now = Seen::Content { tracked, link };
        seen.changes.push(Change { path: path.to_owned(), seen: seen_now });
        Ok(false)
    }

    /// Notes a repository that the index knows nothing of.
    fn repository(&self, path: &[u8], top: &std::path::Path, seen: &mut Walked) {
        let path = BString::from(path);
        match nested::head(top, self.index.object_hash()) {
            Some(id) => {
                seen.nested.push((path.clone(), false));
                seen.changes.push(Change { path, seen: Seen::Repository(id) });
            }
            // Nothing in it was committed yet, so there is nothing to name.
            None => {
                if self.index.entry_by_path(path.as_bstr()).is_some() {
                    seen.changes.push(Change { path: path.clone(), seen: Seen::Gone });
                }
                seen.unreadable.push(path);
            }
        }
    }

    /// Whether the stat data proves that the file is what the index says.
    fn is_unchanged(&self, entry: &Entry, stat: &Stat) -> bool {
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
            || (old.ino == stat.st_ino as u32
                && old.uid == stat.st_uid as u32
                && old.gid == stat.st_gid as u32);
        // git writes size 0 for an entry that it could not tell from a newer file.
        let same_size = old.size == stat.st_size as u32
            && (old.size != 0 || entry.id.is_empty_blob());
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
