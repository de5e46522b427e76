//! What was in the folders of a large work tree when they were last read: as long as a folder's own stat
//! data stay what they were, nothing was added to it and nothing was taken from it.
//!
//! This is git's untracked cache in a file of our own. As there, a change of the names in a folder
//! shows in its times, so only file systems are trusted that keep this promise, and `core.untrackedCache=false`
//! turns it off. The file is a view: without it, everything is read again.

use std::borrow::Cow;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use gix::bstr::ByteSlice;
use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteBuf, Bytes};

use super::super::Repo;
use super::walk::{Listing, Name};
use crate::run::stamp::Stamp;
use crate::sys::beneath::Beneath;
use crate::sys::fs::{self, Durability};

/// What the file says first: another version of it tells us nothing.
const FORMAT: &[u8] = b"git-orchestrate folders 1\n";
/// Where it is, below the git directory of the work tree.
const FILE: &str = "orchestrate/folders";
/// No work tree that git is used for needs more than this.
const LARGEST: u64 = 256 << 20;
/// One folder in so many that has to be read again does no harm.
const TOLERATED: usize = 8;
/// When it is worth it, and safe, to keep a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::git) struct Keeping {
    /// Fewer new folders than this are read again sooner than kept.
    pub worth: usize,
    /// The times of a folder that changed so many seconds ago may not tell the next change from the last: the
    /// coarsest file system counts in steps of two seconds.
    pub settles: i64,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { worth: 64, settles: 2 }
    }
}

/// Local file systems whose folders change their times with the names in them: ext2 to ext4, XFS, btrfs,
/// tmpfs, f2fs and ZFS.
#[cfg(target_os = "linux")]
const TRUSTED: [u32; 6] = [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0xF2F5_2010, 0x2FC1_2FC1];

/// The stat data of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<&Stat> for Identity {
    #[allow(clippy::unnecessary_cast, clippy::cast_lossless, reason = "the types differ between systems")]
    fn from(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }
}

/// A folder as it was read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Page<'a> {
    #[serde(borrow)]
    path: Cow<'a, Bytes>,
    identity: Identity,
    /// For each name its kind, itself, and a NUL.
    #[serde(borrow)]
    names: Cow<'a, Bytes>,
}

impl Page<'_> {
    /// Returns the listing, unless the folder is another by now.
    pub fn listing(&self, now: &Identity) -> Option<Listing<'_>> {
        if self.identity != *now {
            return None;
        }
        let mut names = Vec::with_capacity(self.names.len() / 12);
        let mut start = 0;
        while let Some(length) = self.names[start..].find_byte(0) {
            let kind = match self.names.get(start)? {
                b'd' => FileType::Directory,
                b'f' => FileType::RegularFile,
                b'l' => FileType::Symlink,
                _ => return None,
            };
            let range = start + 1..start + length;
            if matches!(&self.names[range.clone()], b"" | b"." | b"..")
                || self.names[range.clone()].contains(&b'/')
            {
                return None;
            }
            names.push(Name::new(range, kind, &self.names));
            start += length + 1;
        }
        Some(Listing { bytes: Cow::Borrowed(self.names.as_ref()), names })
    }
}

/// The folders that were kept, if they can be of use.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    /// Sorted by path.
    pages: Vec<Page<'a>>,
    /// The user who could read them.
    user: u32,
    device: u64,
    keeping: Keeping,
    /// When this walk began, in seconds.
    now: i64,
}

impl<'a> Kept<'a> {
    /// Takes up what `bytes` say about the work tree at `top`. Nothing if nothing can be kept there.
    pub fn new(bytes: &'a [u8], top: impl AsFd, keeping: Keeping, now: Stamp) -> Option<Self> {
        let stat = rustix::fs::fstat(&top).ok().filter(|_| is_trusted(&top))?;
        let user = rustix::process::geteuid().as_raw();
        let pages = checked(bytes).and_then(|body| rmp_serde::from_slice::<(u32, Vec<Page<'a>>)>(body).ok());
        let pages = pages.filter(|(reader, _)| *reader == user).map(|(_, pages)| pages).unwrap_or_default();
        let device = Identity::from(&stat).device;
        Some(Self { pages, user, device, keeping, now: now.as_millis() / 1000 })
    }

    /// Returns the page about a folder, and its number.
    pub fn page(&self, path: &[u8]) -> Option<(usize, &Page<'a>)> {
        let at = self.pages.binary_search_by(|page| page.path.as_ref().as_ref().cmp(path)).ok()?;
        Some((at, &self.pages[at]))
    }

    /// Returns a page about a folder whose stat data were `identity` before it was read, if it can be kept.
    pub fn new_page(&self, path: &[u8], identity: Identity, listing: &Listing<'_>) -> Option<Page<'static>> {
        let settled = |time: (i64, i64)| time.0 < self.now - self.keeping.settles;
        if identity.device != self.device || !settled(identity.modified) || !settled(identity.changed) {
            return None;
        }
        let mut names = Vec::with_capacity(listing.bytes.len() + 2 * listing.names.len());
        for it in &listing.names {
            names.push(match it.kind {
                FileType::Directory => b'd',
                FileType::RegularFile => b'f',
                FileType::Symlink => b'l',
                _ => return None,
            });
            names.extend_from_slice(listing.name(it));
            names.push(0);
        }
        Some(Page { path: owned(path.to_vec()), identity, names: owned(names) })
    }

    /// Keeps `new` pages beside the old ones that were `used`, if there are enough of them.
    pub fn renew(&self, ours: &Repo, mut new: Vec<Page<'a>>, used: &[usize]) {
        if new.len() < self.keeping.worth.max(used.len() / TOLERATED) {
            return;
        }
        new.extend(used.iter().map(|at| self.pages[*at].clone()));
        new.sort_by(|a, b| a.path.cmp(&b.path));
        let Some(bytes) = encoded(self.user, &new) else { return };
        let path = file(ours);
        // Whoever cannot write here reads the folders again.
        let folder = path.parent().map(fs::create_dir_all);
        if folder.is_some_and(|made| made.is_ok()) {
            let _ = fs::write_atomically(&path, &bytes, Durability::Process);
        }
    }
}

fn encoded(user: u32, pages: &[Page<'_>]) -> Option<Vec<u8>> {
    let body = rmp_serde::to_vec(&(user, pages)).ok()?;
    let sum = crc32fast::hash(&body).to_le_bytes();
    Some([FORMAT, &sum, &body].concat())
}

fn owned(bytes: Vec<u8>) -> Cow<'static, Bytes> {
    Cow::Owned(ByteBuf::from(bytes))
}

/// Where the folders of a work tree are kept.
fn file(ours: &Repo) -> PathBuf {
    ours.git_dir.join(FILE)
}

/// Reads what was kept; nothing if nothing was, or something else stands there.
pub(super) fn read(ours: &Repo) -> Vec<u8> {
    let found = Beneath::open(&ours.git_dir).ok().and_then(|dir| dir.read(Path::new(FILE), LARGEST).ok());
    found.flatten().map(|content| content.bytes).unwrap_or_default()
}

/// Returns what comes after the head and the checksum, if those are right.
fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (sum, body) = bytes.strip_prefix(FORMAT)?.split_first_chunk()?;
    (crc32fast::hash(body) == u32::from_le_bytes(*sum)).then_some(body)
}

/// Whether the times of folders can be trusted there.
fn is_trusted(top: impl AsFd) -> bool {
    #[cfg(target_os = "linux")]
    return rustix::fs::fstatfs(top).is_ok_and(|found| TRUSTED.contains(&(found.f_type as u32)));
    #[cfg(not(target_os = "linux"))]
    return false;
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &[u8] = b"dir/";

    fn stamp(seconds: i64) -> Stamp {
        Stamp::new(jiff::Timestamp::from_second(seconds).expect("a time of ours"))
    }

    fn identity(device: u64, changed: i64) -> Identity {
        Identity { device, inode: 7, modified: (50, 1), changed: (changed, 2) }
    }

    fn listing() -> Listing<'static> {
        let bytes = b"a.git\nb";
        let names = vec![
            Name::new(0..1, FileType::RegularFile, bytes),
            Name::new(1..5, FileType::Directory, bytes),
            Name::new(5..7, FileType::Symlink, bytes),
        ];
        Listing { bytes: Cow::Borrowed(bytes), names }
    }

    fn kept(pages: Vec<Page<'static>>) -> Kept<'static> {
        Kept { pages, user: 0, device: 1, keeping: Keeping::default(), now: 100 }
    }

    #[test]
    fn a_page_says_what_was_read_as_long_as_the_folder_is_the_same() {
        let page = kept(Vec::new()).new_page(PATH, identity(1, 60), &listing()).expect("it can be kept");
        let kept = kept(vec![page]);
        assert!(kept.page(b"dir/deeper/").is_none());
        let (0, page) = kept.page(PATH).expect("it was kept") else { panic!("the first") };
        let again = page.listing(&identity(1, 60)).expect("nothing changed");
        let told = |listing: &Listing<'_>| {
            let name = |it: &Name| (listing.name(it).to_owned(), it.kind, it.tracked);
            listing.names.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(told(&again), told(&listing()));
        assert!(page.listing(&identity(1, 61)).is_none(), "its names changed since");
        assert!(page.listing(&identity(2, 60)).is_none(), "something else is mounted there");
    }

    #[test]
    fn what_may_change_without_a_trace_is_not_kept() {
        let kept = kept(Vec::new());
        let keeps = |identity, listing: &Listing<'_>| kept.new_page(PATH, identity, listing).is_some();
        assert!(keeps(identity(1, 97), &listing()));
        assert!(!keeps(identity(1, 98), &listing()), "it changed a moment ago");
        assert!(!keeps(identity(1, 200), &listing()), "or is yet to, by another clock");
        assert!(!keeps(identity(2, 60), &listing()), "another file system");
        let pipe = Listing { bytes: Cow::Borrowed(b"p"), names: vec![Name::new(0..1, FileType::Fifo, b"p")] };
        assert!(!keeps(identity(1, 60), &pipe));
    }

    #[test]
    fn a_file_that_is_torn_edited_or_of_somebody_else_tells_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let top = std::fs::File::open(dir.path()).expect("it is there");
        let user = rustix::process::geteuid().as_raw();
        let page = kept(Vec::new()).new_page(PATH, identity(1, 60), &listing()).expect("it can be kept");
        let good = encoded(user, std::slice::from_ref(&page)).expect("it has a form");
        let opened = |bytes: &[u8]| {
            Kept::new(bytes, &top, Keeping::default(), stamp(100)).map(|kept| kept.pages.len())
        };
        let pages = |bytes: &[u8]| opened(bytes).unwrap_or_default();
        if opened(&good).is_none() {
            // Nothing is kept on this file system.
            return;
        }
        assert_eq!(pages(&good), 1);
        for cut in 0..good.len() {
            assert_eq!(pages(&good[..cut]), 0, "cut at {cut}");
            let mut edited = good.clone();
            edited[cut] ^= 1;
            assert_eq!(pages(&edited), 0, "edited at {cut}");
        }
        assert_eq!(pages(&encoded(user + 1, &[page]).expect("it has a form")), 0, "somebody else's");
    }
}
