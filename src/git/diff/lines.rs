//! Reading and counting: what stands at both sides of a path, as git would store it.

use std::fs::File as DiskFile;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use gix::attrs::StateRef;
use gix::bstr::{BStr, ByteSlice};
use gix::diff::blob::sources::byte_lines;
use gix::diff::blob::{Algorithm, Diff, InternedInput};
use gix::filter::plumbing::pipeline::convert::ToGitOutcome;
use gix::index::State;
use gix::objs::tree::EntryKind;
use gix::objs::{Kind, compute_hash};
use gix::worktree::stack::state::attributes::Source;
use rustix::fs::{Mode, OFlags, fstat};
use rustix::io::Errno;

use super::super::Repo;
use super::super::error::At;
use super::super::tree::Fail;
use super::super::tree::content::on_disk;
use super::{AsText, DiffRule, Now, Pair, Side};
use crate::guardrail::File;
use crate::sys::beneath::open_at;
use crate::sys::cores;

/// Fewer files than this are not worth another thread.
const FILES_PER_THREAD: usize = 16;
/// Files on disk beyond this size are read piece by piece where that is possible.
const MAX_IN_MEMORY: u64 = 1 << 20;
/// So many bytes are a piece.
const PIECE: usize = 64 << 10;
/// git looks at so many bytes to tell text from binary.
const FIRST_BYTES: usize = 8000;
/// So much of a file that is converted from another encoding is held in memory.
const MAX_RECODED: u64 = 64 << 20;
/// What is said of a file that is none any more.
const SWAPPED: &str = "it changed into something else while it was read";
/// What git takes for binary without a look, unless it is configured otherwise.
const BIG_FILE: u64 = 512 << 20;

/// Counts the lines of all pairs and drops those that do not differ after all. `attributes` is whether
/// a folder on disk may have some.
pub(super) fn count(
    ours: &Repo,
    repo: &gix::Repository,
    index: &State,
    attributes: bool,
    mut pairs: Vec<Pair>,
    rule: &DiffRule,
) -> Result<Vec<File>, Fail> {
    // Neighbours share their attributes.
    pairs.sort_by(|a, b| a.path.cmp(&b.path));
    let threads = pairs.len().div_ceil(FILES_PER_THREAD).clamp(1, cores::for_files());
    let share = pairs.len().div_ceil(threads).max(1);
    let big =
        repo.config_snapshot().integer("core.bigFileThreshold").map_or(BIG_FILE, |size| size.max(0) as u64);
    // Then nobody has to look for them in each folder.
    let is_attributes = |entry: &gix::index::Entry| entry.path(index).ends_with(b".gitattributes");
    let attributes = attributes || index.entries().iter().any(is_attributes);
    let capabilities = repo.filesystem_options().unwrap_or_default();
    let shared = repo.clone().into_sync();
    let job = |part: &[Pair]| -> Result<Vec<File>, Fail> {
        let mut repo = shared.to_thread_local();
        repo.object_cache_size(None);
        let reader = Reader {
            ours,
            repo: &repo,
            index,
            attributes,
            big,
            capabilities,
            pipeline: None,
            attributes_of: None,
            top: None,
            buffer: Vec::new(),
        };
        reader.count_all(part, rule)
    };
    let mut files = Vec::new();
    for part in cores::shares(&pairs, share, job) {
        files.extend(part?);
    }
    Ok(files)
}

/// One side of a file, read.
enum Content {
    Nothing,
    Bytes(Vec<u8>),
    /// Too large for git to look at; so many bytes.
    TooLarge(u64),
    /// Lines that were counted while the file was read, with nothing to compare them with.
    Lines(u64),
    Binary,
}

/// Why a side could not be read.
enum Trouble {
    Fail(Fail),
    Unmeasured(String),
}

impl<T: Into<Fail>> From<T> for Trouble {
    fn from(fail: T) -> Self {
        Self::Fail(fail.into())
    }
}

/// What was counted.
#[derive(Default)]
struct Counted {
    added: u64,
    deleted: u64,
    differs: bool,
    kind: Option<String>,
}

struct Reader<'a> {
    ours: &'a Repo,
    repo: &'a gix::Repository,
    index: &'a State,
    attributes: bool,
    big: u64,
    capabilities: gix::fs::Capabilities,
    pipeline: Option<gix::filter::Pipeline<'a>>,
    /// Tells how git would convert a file.
    attributes_of: Option<gix::AttributeStack<'a>>,
    /// The top level of the work tree.
    top: Option<OwnedFd>,
    /// For files that are read piece by piece.
    buffer: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn count_all(mut self, pairs: &[Pair], rule: &DiffRule) -> Result<Vec<File>, Fail> {
        let mut files = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let mut file = pair.clone().file();
            if pair.unmeasured.is_some() {
                files.push(file);
                continue;
            }
            let whole = rule.lines && pair.excluded.is_none();
            match self.pair(pair, whole) {
                Ok(None) => continue,
                Ok(Some(counted)) => {
                    (file.added, file.deleted) = (counted.added, counted.deleted);
                    file.kind = file.kind.or(counted.kind);
                }
                Err(Trouble::Unmeasured(why)) => file.unmeasured = Some(why),
                Err(Trouble::Fail(fail)) => return Err(fail),
            }
            files.push(file);
        }
        Ok(files)
    }

    /// Returns what is counted for a path; nothing if nothing has changed.
    fn pair(&mut self, pair: &Pair, whole: bool) -> Result<Option<Counted>, Trouble> {
        let mut counted = self.sides(pair, pair.now, whole)?;
        // What is staged goes into the next commit, even if the disk has something smaller now.
        if let Some(staged) = pair.staged.filter(|_| pair.from.is_none()) {
            let staged = self.sides(pair, staged, whole)?;
            let larger = staged.added + staged.deleted > counted.added + counted.deleted;
            if larger || (staged.differs && !counted.differs) {
                counted = Counted { kind: Some("staged".to_owned()), ..staged };
            }
        }
        let listed = counted.differs || pair.from.is_some() || pair.special.is_some();
        Ok(listed.then_some(counted))
    }

    fn sides(&mut self, pair: &Pair, now: Now, whole: bool) -> Result<Counted, Trouble> {
        let old = pair.old;
        if let (Some(old), Now::Object(new)) = (old, now)
            && old.id == new.id
        {
            return Ok(Counted { differs: old.kind != new.kind, ..Counted::default() });
        }
        if old.is_none() && now == Now::Gone {
            return Ok(Counted::default());
        }
        if !whole && !matches!((old, now), (Some(_), Now::Disk { .. })) {
            return Ok(Counted { differs: true, ..Counted::default() });
        }
        let alone = old.is_none();
        let (new, kind_now) = match now {
            Now::Gone => (Content::Nothing, None),
            Now::Object(side) => (self.object(side)?, Some(side.kind)),
            Now::Disk { tracked, link: true } => {
                (self.link(pair.path.as_bstr(), tracked)?, Some(EntryKind::Link))
            }
            Now::Disk { tracked, link: false } => {
                match self.file(pair.path.as_bstr(), tracked, alone, pair.as_text)? {
                    Some((content, kind)) => (content, Some(kind)),
                    None => (Content::Nothing, None),
                }
            }
        };
        // To git the attribute says something of files, and nothing of links and submodules.
        let told = |kind: Option<EntryKind>| match kind {
            Some(EntryKind::Blob | EntryKind::BlobExecutable) => pair.as_text,
            _ => AsText::ByContent,
        };
        let mut counted = match (old, &new) {
            // For a yes or no the old content need not be there.
            (Some(old), Content::Bytes(bytes)) if !whole => {
                let id = compute_hash(old.id.kind(), Kind::Blob, bytes).map_err(|_| Fail::NeedsGit)?;
                Counted { differs: id != old.id, ..Counted::default() }
            }
            _ if !whole => Counted { differs: true, ..Counted::default() },
            (Some(old), _) => counts(&self.object(old)?, &new, [told(Some(old.kind)), told(kind_now)]),
            (None, _) => counts(&Content::Nothing, &new, [told(None), told(kind_now)]),
        };
        counted.differs |= old.map(|side| side.kind) != kind_now;
        Ok(counted)
    }

    fn object(&self, side: Side) -> Result<Content, Trouble> {
        if side.kind == EntryKind::Commit {
            return Ok(Content::Bytes(format!("Subproject commit {}\n", side.id).into_bytes()));
        }
        // Missing objects of a partial clone are for git to speak about.
        let header = self.repo.find_header(side.id).map_err(|_| Fail::NeedsGit)?;
        if header.size() > self.big {
            return Ok(Content::TooLarge(header.size()));
        }
        let object = self.repo.find_object(side.id).map_err(|_| Fail::NeedsGit)?;
        Ok(Content::Bytes(object.detach().data))
    }

    fn link(&self, path: &BStr, tracked: Option<usize>) -> Result<Content, Trouble> {
        let link = on_disk(&self.ours.work_tree, path);
        match std::fs::read_link(&link) {
            Ok(target) => {
                let target = gix::path::into_bstr(target).map_err(|_| Fail::NeedsGit)?;
                Ok(Content::Bytes(target.into_owned().into()))
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound && tracked.is_some() => Ok(Content::Nothing),
            Err(err) => Err(Trouble::Unmeasured(unreadable(&err))),
        }
    }

    /// Reads a file as git would store it. `alone` is whether there is nothing to compare it with, so
    /// that counting will do.
    fn file(
        &mut self,
        path: &BStr,
        tracked: Option<usize>,
        alone: bool,
        as_text: AsText,
    ) -> Result<Option<(Content, EntryKind)>, Trouble> {
        let disk = || on_disk(&self.ours.work_tree, path);
        // Should a pipe have taken its place by now, nobody waits for it; and no link leads elsewhere.
        let file = match open_at(self.top()?, path, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => DiskFile::from(file),
            Err(Errno::NOENT) if tracked.is_some() => return Ok(None),
            Err(Errno::LOOP) => return Err(Trouble::Unmeasured(SWAPPED.to_owned())),
            Err(errno) => return Err(Trouble::Unmeasured(unreadable(&io::Error::from(errno)))),
        };
        let stat = fstat(&file).map_err(io::Error::from).at(&disk())?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(Trouble::Unmeasured(SWAPPED.to_owned()));
        }
        let indexed = tracked.map(|at| self.index.entries()[at].mode);
        let kind = self.kind(stat.st_mode & 0o100 != 0, indexed);
        let size = stat.st_size as u64;
        if size > self.big {
            return Ok(Some((Content::TooLarge(size), kind)));
        }
        let (index, big) = (self.index, self.big);
        let conversion = match alone && size > MAX_IN_MEMORY {
            true => self.conversion(path)?,
            false => Conversion::Unknown,
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        match conversion {
            Conversion::OfLineEnds { always } => {
                let mut file = file;
                let lines = lines_of(&mut file, size, as_text, always, &mut buffer);
                self.buffer = buffer;
                let lines = lines.map_err(|err| Trouble::Unmeasured(unreadable(&err)))?;
                return Ok(Some((lines, kind)));
            }
            Conversion::OfEncoding if size > MAX_RECODED => {
                let why = format!("{size} bytes in another encoding, too many to convert in memory");
                return Err(Trouble::Unmeasured(why));
            }
            Conversion::OfEncoding | Conversion::Unknown => {}
        }
        let converted = self.pipeline()?.convert_to_git(file, &path.to_path_lossy(), index);
        let content = match converted.map_err(|_| Fail::NeedsGit)? {
            ToGitOutcome::Unchanged(mut file) if alone => {
                lines_of(&mut file, size, as_text, false, &mut buffer)
            }
            ToGitOutcome::Unchanged(mut file) => {
                let mut bytes = Vec::with_capacity(size.min(MAX_IN_MEMORY) as usize + 1);
                let read = (&mut file).take(big + 1).read_to_end(&mut bytes);
                read.map(|_| Content::Bytes(bytes))
            }
            ToGitOutcome::Buffer(bytes) => Ok(Content::Bytes(bytes.to_vec())),
            ToGitOutcome::Process(read) if alone => {
                let mut read = read.take(big + 1);
                let lines = lines_of(&mut read, u64::MAX, as_text, false, &mut buffer);
                // What a filter says has to be heard to its end.
                io::copy(&mut read, &mut io::sink()).map_err(|_| Fail::NeedsGit)?;
                match read.limit() {
                    0 => Ok(Content::TooLarge(big + 1)),
                    _ => Ok(lines.map_err(|_| Fail::NeedsGit)?),
                }
            }
            ToGitOutcome::Process(mut read) => {
                let mut bytes = Vec::new();
                (&mut read).take(big + 1).read_to_end(&mut bytes).map_err(|_| Fail::NeedsGit)?;
                Ok(Content::Bytes(bytes))
            }
        };
        self.buffer = buffer;
        match content {
            Ok(Content::Bytes(bytes)) if bytes.len() as u64 > big => {
                Ok(Some((Content::TooLarge(bytes.len() as u64), kind)))
            }
            Ok(content) => Ok(Some((content, kind))),
            Err(err) => Err(Trouble::Unmeasured(unreadable(&err))),
        }
    }

    fn top(&mut self) -> Result<&OwnedFd, Fail> {
        let top = match self.top.take() {
            Some(top) => top,
            None => {
                let path = &self.ours.work_tree;
                let top = rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
                top.map_err(io::Error::from).at(path)?
            }
        };
        Ok(self.top.insert(top))
    }

    fn pipeline(&mut self) -> Result<&mut gix::filter::Pipeline<'a>, Fail> {
        if self.pipeline.is_none() {
            let attributes = self.stack()?.detach();
            let made = gix::filter::Pipeline::new(self.repo, attributes).map_err(|_| Fail::NeedsGit)?;
            self.pipeline = Some(made);
        }
        Ok(self.pipeline.as_mut().expect("it was just made"))
    }

    fn stack(&self) -> Result<gix::AttributeStack<'a>, Fail> {
        let stack = match self.attributes {
            true => self.repo.attributes_only(self.index, Source::WorktreeThenIdMapping),
            false => self.repo.attributes_only(&State::new(self.repo.object_hash()), Source::IdMapping),
        };
        stack.map_err(|_| Fail::NeedsGit)
    }

    /// Returns how git would convert a file, as far as its lines are concerned.
    fn conversion(&mut self, path: &BStr) -> Result<Conversion, Fail> {
        let stack = match self.attributes_of.take() {
            Some(stack) => stack,
            None => self.stack()?,
        };
        let stack = self.attributes_of.insert(stack);
        let mut outcome =
            stack.selected_attribute_matches(["filter", "working-tree-encoding", "crlf", "text", "eol"]);
        stack.at_entry(path, None).map_err(|_| Fail::NeedsGit)?.matching_attributes(&mut outcome);
        let mut conversion = Conversion::OfLineEnds { always: false };
        for found in outcome.iter_selected() {
            let name = found.assignment.name.as_str();
            match (name, found.assignment.state) {
                ("filter", StateRef::Value(_)) => return Ok(Conversion::Unknown),
                ("working-tree-encoding", StateRef::Unspecified) => {}
                ("working-tree-encoding", _) => return Ok(Conversion::OfEncoding),
                // `text=auto` leaves a file as it is that has a zero byte.
                ("crlf" | "text", StateRef::Value(value)) if value.as_bstr() != "input" => {}
                ("crlf" | "text", StateRef::Set | StateRef::Value(_)) | ("eol", StateRef::Value(_)) => {
                    conversion = Conversion::OfLineEnds { always: true };
                }
                _ => {}
            }
        }
        Ok(conversion)
    }

    /// What kind of file git would store, where the file system may not be able to say.
    fn kind(&self, executable: bool, indexed: Option<gix::index::entry::Mode>) -> EntryKind {
        use gix::index::entry::Mode;
        let gix::fs::Capabilities { symlink, executable_bit, .. } = self.capabilities;
        match indexed {
            Some(Mode::SYMLINK) if !symlink => EntryKind::Link,
            Some(Mode::FILE_EXECUTABLE) if !executable_bit => EntryKind::BlobExecutable,
            _ if executable && executable_bit => EntryKind::BlobExecutable,
            _ => EntryKind::Blob,
        }
    }
}

fn unreadable(err: &io::Error) -> String {
    format!("unreadable: {err}")
}

/// What becomes of a file on its way to git.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conversion {
    /// Where lines end, which does not change how many there are; `always` is whether also where the file
    /// has a zero byte.
    OfLineEnds {
        always: bool,
    },
    OfEncoding,
    /// It has to be converted to know.
    Unknown,
}

/// Looks for a zero byte among the first bytes, as git has them.
struct First {
    left: usize,
    /// Whether of CR LF only LF is stored.
    folds: bool,
    /// Whether the last byte was a CR that may not be stored.
    cr: bool,
}

impl First {
    fn zero_in(&mut self, bytes: &[u8]) -> bool {
        if !self.folds {
            let first = &bytes[..bytes.len().min(self.left)];
            self.left -= first.len();
            return memchr::memchr(0, first).is_some();
        }
        for byte in bytes {
            if self.cr && *byte != b'\n' {
                self.left = self.left.saturating_sub(1);
            }
            if self.left == 0 {
                break;
            }
            self.cr = *byte == b'\r';
            if !self.cr {
                self.left -= 1;
            }
            if *byte == 0 {
                return true;
            }
        }
        false
    }
}

/// Counts the lines of a file of `size` bytes piece by piece. What is added meanwhile does not count, as with git.
/// `folds` is whether git stores LF for CR LF.
fn lines_of(
    file: &mut impl Read,
    size: u64,
    as_text: AsText,
    folds: bool,
    buffer: &mut Vec<u8>,
) -> io::Result<Content> {
    buffer.resize(PIECE, 0);
    let (mut lines, mut last) = (0, b'\n');
    let mut first = First { left: FIRST_BYTES, folds, cr: false };
    let mut file = file.take(size);
    if as_text == AsText::Never {
        return Ok(Content::Binary);
    }
    // At the end nobody has to be asked whether it is the end.
    while file.limit() > 0 {
        let count = match file.read(buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(err) => return Err(err),
        };
        let bytes = &buffer[..count];
        if first.left > 0 && as_text == AsText::ByContent && first.zero_in(bytes) {
            return Ok(Content::Binary);
        }
        lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        last = bytes[count - 1];
    }
    Ok(Content::Lines(lines + u64::from(last != b'\n')))
}

fn is_binary(content: &Content, as_text: AsText) -> bool {
    match (content, as_text) {
        (Content::Nothing | Content::Lines(_), AsText::ByContent | AsText::Always) => false,
        (Content::Binary | Content::TooLarge(_), _) | (_, AsText::Never) => true,
        (_, AsText::Always) => false,
        (Content::Bytes(bytes), AsText::ByContent) => {
            memchr::memchr(0, &bytes[..bytes.len().min(FIRST_BYTES)]).is_some()
        }
    }
}

fn length(content: &Content) -> u64 {
    match content {
        Content::Bytes(bytes) => byte_lines_count(bytes),
        Content::Lines(lines) => *lines,
        Content::Nothing | Content::TooLarge(_) | Content::Binary => 0,
    }
}

fn byte_lines_count(bytes: &[u8]) -> u64 {
    let open = bytes.last().is_some_and(|last| *last != b'\n');
    memchr::memchr_iter(b'\n', bytes).count() as u64 + u64::from(open)
}

fn differs(old: &Content, new: &Content) -> bool {
    match (old, new) {
        (Content::Bytes(old), Content::Bytes(new)) => old != new,
        (Content::Nothing, Content::Nothing) => false,
        _ => true,
    }
}

/// Counts what differs; `as_text` is what the attribute says of each side.
fn counts(old: &Content, new: &Content, as_text: [AsText; 2]) -> Counted {
    let differs = differs(old, new);
    if !differs {
        return Counted::default();
    }
    if is_binary(old, as_text[0]) || is_binary(new, as_text[1]) {
        let kind = match (old, new) {
            (Content::TooLarge(size), _) | (_, Content::TooLarge(size)) => {
                format!("binary: {size} bytes, too large for git to look at")
            }
            _ => "binary".to_owned(),
        };
        return Counted { differs, kind: Some(kind), ..Counted::default() };
    }
    let (added, deleted) = match (old, new) {
        (Content::Bytes(old), Content::Bytes(new)) => changed_lines(old, new),
        (old, new) => (length(new), length(old)),
    };
    Counted { added, deleted, differs, kind: None }
}

/// Returns the lines that git's default algorithm calls added and deleted.
fn changed_lines(old: &[u8], new: &[u8]) -> (u64, u64) {
    if old.is_empty() || new.is_empty() {
        return (byte_lines_count(new), byte_lines_count(old));
    }
    let input = InternedInput::new(byte_lines(old), byte_lines(new));
    let diff = Diff::compute(Algorithm::Myers, &input);
    (u64::from(diff.count_additions()), u64::from(diff.count_removals()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_as_git_counts_them() {
        for (text, lines) in [("", 0), ("a", 1), ("a\n", 1), ("a\nb", 2), ("\n\n", 2), ("a\r\nb\r\n", 2)] {
            assert_eq!(byte_lines_count(text.as_bytes()), lines, "{text:?}");
            let counted =
                lines_of(&mut text.as_bytes(), text.len() as u64, AsText::ByContent, false, &mut Vec::new())
                    .unwrap();
            assert_eq!(length(&counted), lines, "{text:?}");
        }
    }

    #[test]
    fn a_zero_byte_makes_a_file_binary_if_git_sees_it() {
        let with_zero_at = |at: usize| {
            let mut bytes = vec![b'\n'; 9000];
            bytes[at] = 0;
            bytes
        };
        for (at, lines) in [(0, None), (7999, None), (8000, Some(8999 + 1))] {
            let bytes = with_zero_at(at);
            let piecewise =
                lines_of(&mut bytes.as_slice(), 9000, AsText::ByContent, false, &mut Vec::new()).unwrap();
            assert_eq!(matches!(piecewise, Content::Binary), lines.is_none());
            let counted = counts(&Content::Nothing, &Content::Bytes(bytes), [AsText::ByContent; 2]);
            assert_eq!(counted.added, lines.map_or(0, |_| 8999));
            assert_eq!(counted.kind.is_some(), lines.is_none());
        }
    }

    #[test]
    fn a_zero_byte_is_where_git_stores_it() {
        for (lines, lone, at) in [(3990, 0, 9), (3990, 0, 10), (3990, 9, 0), (3990, 10, 0), (3999, 2, 0)] {
            let raw = "a\r\n".repeat(lines) + &"\r".repeat(lone) + &"b".repeat(at) + "\0 and so on\n";
            let stored = raw.replace("\r\n", "\n");
            let is_binary = stored.bytes().take(FIRST_BYTES).any(|byte| byte == 0);
            for piece in [1, 2, 7, 8000, 20_000] {
                let mut first = First { left: FIRST_BYTES, folds: true, cr: false };
                let found = raw.as_bytes().chunks(piece).any(|bytes| first.zero_in(bytes));
                assert_eq!(found, is_binary, "{lines} {lone} {at} {piece}");
            }
        }
    }

    #[test]
    fn an_attribute_says_more_than_the_content() {
        let text = Content::Bytes(b"a\n".to_vec());
        assert_eq!(counts(&Content::Nothing, &text, [AsText::Never; 2]).added, 0);
        let zero = Content::Bytes(b"\0\n".to_vec());
        assert_eq!(counts(&Content::Nothing, &zero, [AsText::Always; 2]).added, 1);
    }
}
