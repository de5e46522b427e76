//! Unpacking tar archives that nobody vouches for: whatever one says, nothing is written but new files and
//! links below a folder that is new itself.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tar::EntryType;

use super::fs::{PathError, fault};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Zeros of this length become a hole.
const HOLE: usize = 64 << 10;

/// So many bytes may come before what an entry holds: its names, and what else is said about it.
const PREAMBLE: u64 = 1 << 20;

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("the archive is not to be trusted: its entry `{}` {why}", path.escape_ascii())]
    Unsafe { path: Vec<u8>, why: &'static str },
    #[error("the archive is not to be trusted: it says more about one entry than any path is long")]
    Swollen,
    #[error("the archive is damaged: {0}")]
    Damaged(io::Error),
    #[error(transparent)]
    Path(#[from] PathError),
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    pub files: u64,
    pub links: u64,
    pub bytes: u64,
}

/// Unpacks an archive into a folder that must be empty, but for `.git`.
pub fn unpack(archive: impl Read, folder: &Path) -> Result<Unpacked, UnpackError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(folder, flags, Mode::empty());
    let top = top.map_err(|err| PathError { path: folder.to_owned(), source: err.into() })?;
    let mut target = Target { top, path: folder.to_owned(), parent: None, buffer: vec![0; HOLE] };
    let mut unpacked = Unpacked::default();
    let left = Cell::new(PREAMBLE);
    let mut archive = tar::Archive::new(Metered { from: archive, left: &left });
    let mut entries = archive.entries().map_err(UnpackError::Damaged)?;
    loop {
        // What precedes an entry is read into memory as a whole.
        left.set(PREAMBLE);
        let mut entry = match entries.next() {
            None => break,
            Some(Err(_)) if left.get() == 0 => return Err(UnpackError::Swollen),
            Some(entry) => entry.map_err(UnpackError::Damaged)?,
        };
        left.set(u64::MAX);
        let path = entry.path_bytes().into_owned();
        let refuse = |why| UnpackError::Unsafe { path: path.clone(), why };
        match entry.header().entry_type() {
            // What it says is about all entries, and nothing that we would do.
            EntryType::XGlobalHeader => {}
            EntryType::Directory => {
                let path = path.strip_suffix(b"/").unwrap_or(&path);
                let inside = [path, b"/x"].concat();
                if !matches!(path, b"" | b".") {
                    target.parent(&inside)?;
                }
            }
            EntryType::Regular | EntryType::Continuous => {
                let executable = entry.header().mode().map_err(UnpackError::Damaged)? & 0o100 != 0;
                unpacked.bytes += target.file(&path, executable, &mut entry)?;
                unpacked.files += 1;
            }
            EntryType::Symlink => {
                let to = entry.link_name_bytes().ok_or_else(|| refuse("is a link to nowhere"))?;
                target.link(&path, &to)?;
                unpacked.links += 1;
            }
            _ => return Err(refuse("is neither a file, a folder nor a symbolic link")),
        }
    }
    Ok(unpacked)
}

/// Reads no more than somebody lets it.
struct Metered<'a, R> {
    from: R,
    left: &'a Cell<u64>,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            return Err(io::Error::other("too much is said about an entry"));
        }
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self.from.read(&mut buffer[..most])?;
        self.left.set(left - read as u64);
        Ok(read)
    }
}

/// The folder, and the one below it that was used last.
struct Target {
    top: OwnedFd,
    path: PathBuf,
    parent: Option<(Vec<u8>, OwnedFd)>,
    buffer: Vec<u8>,
}

impl Target {
    /// Splits the path of an entry, and makes the folders that lead to it. No link is followed.
    fn parent<'p>(&mut self, path: &'p [u8]) -> Result<&'p [u8], UnpackError> {
        let refuse = |why| UnpackError::Unsafe { path: path.to_owned(), why };
        if path.starts_with(b"/") {
            return Err(refuse("has an absolute path"));
        }
        for part in path.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => return Err(refuse("has a path that is not a plain one")),
                b".." => return Err(refuse("leads out of the folder")),
                part if is_git(part) => return Err(refuse("is in a git directory")),
                part if part.contains(&0) => return Err(refuse("has a path that is not a plain one")),
                _ => {}
            }
        }
        let cut = path.iter().rposition(|byte| *byte == b'/');
        let (folder, name) = cut.map_or((&path[..0], path), |cut| (&path[..cut], &path[cut + 1..]));
        if self.parent.as_ref().is_none_or(|(known, _)| known != folder) {
            let mut dir = self.top.try_clone().map_err(|source| self.failed(folder, source))?;
            for part in folder.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
                let mut opened = rustix::fs::openat(&dir, part, FOLDER, Mode::empty());
                if matches!(opened, Err(Errno::NOENT)) {
                    fault::step("mkdir").map_err(|err| self.failed(folder, err))?;
                    rustix::fs::mkdirat(&dir, part, Mode::from_raw_mode(0o777))
                        .map_err(|err| self.failed(folder, err.into()))?;
                    opened = rustix::fs::openat(&dir, part, FOLDER, Mode::empty());
                }
                dir = match opened {
                    Ok(dir) => dir,
                    Err(Errno::LOOP | Errno::NOTDIR) => {
                        return Err(refuse("is below something that is no folder"));
                    }
                    Err(err) => return Err(self.failed(folder, err.into()).into()),
                };
            }
            self.parent = Some((folder.to_owned(), dir));
        }
        Ok(name)
    }

    fn dir(&self) -> &OwnedFd {
        self.parent.as_ref().map_or(&self.top, |(_, dir)| dir)
    }

    fn file(&mut self, path: &[u8], executable: bool, from: &mut impl Read) -> Result<u64, UnpackError> {
        let name = self.parent(path)?;
        fault::step("create").map_err(|err| self.failed(path, err))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(if executable { 0o777 } else { 0o666 });
        let mut file = match rustix::fs::openat(self.dir(), name, flags, mode) {
            Ok(file) => File::from(file),
            Err(Errno::EXIST) => return Err(self.twice(path)),
            Err(err) => return Err(self.failed(path, err.into()).into()),
        };
        let mut size = 0;
        loop {
            let mut filled = 0;
            while filled < HOLE {
                match from.read(&mut self.buffer[filled..]) {
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                    Err(err) => return Err(UnpackError::Damaged(err)),
                }
            }
            let part = &self.buffer[..filled];
            let hole = filled == HOLE && part.iter().fold(0, |sum, byte| sum | byte) == 0;
            let written = match hole {
                true => file.seek(SeekFrom::Current(filled as i64)).map(drop),
                false => fault::step("write").and_then(|()| file.write_all(part)),
            };
            written.map_err(|err| self.failed(path, err))?;
            size += filled as u64;
            if filled < HOLE {
                break;
            }
        }
        file.set_len(size).map_err(|err| self.failed(path, err))?;
        Ok(size)
    }

    fn link(&mut self, path: &[u8], to: &[u8]) -> Result<(), UnpackError> {
        let name = self.parent(path)?;
        fault::step("symlink").map_err(|err| self.failed(path, err))?;
        match rustix::fs::symlinkat(to, self.dir(), name) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(self.twice(path)),
            Err(err) => Err(self.failed(path, err.into()).into()),
        }
    }

    fn twice(&self, path: &[u8]) -> UnpackError {
        UnpackError::Unsafe { path: path.to_owned(), why: "stands where something is already" }
    }

    fn failed(&self, path: &[u8], source: io::Error) -> PathError {
        use std::os::unix::ffi::OsStrExt;
        PathError { path: self.path.join(std::ffi::OsStr::from_bytes(path)), source }
    }
}

/// Whether some file system takes a name for that of a git directory.
fn is_git(part: &[u8]) -> bool {
    part.eq_ignore_ascii_case(b".git") || part.eq_ignore_ascii_case(b"git~1")
}

#[cfg(test)]
mod tests {
    use tar::Header;

    use super::*;

    /// Makes an archive of entries: their kind, path, and what they hold or lead to. No path is too bad.
    fn archive(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, path, text) in entries {
            let mut header = Header::new_gnu();
            let fields = header.as_gnu_mut().unwrap();
            fields.name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            let content = if *kind == EntryType::Regular { *text } else { "" };
            if content.is_empty() {
                header.as_gnu_mut().unwrap().linkname[..text.len()].copy_from_slice(text.as_bytes());
            }
            header.set_size(content.len() as u64);
            header.set_cksum();
            bytes.extend_from_slice(header.as_bytes());
            bytes.extend_from_slice(content.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.extend_from_slice(&[0; 1024]);
        bytes
    }

    #[test]
    fn nothing_is_written_outside_whatever_the_archive_says() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        let absolute = outside.join("file").display().to_string();
        let to_outside = outside.display().to_string();
        let (file, link) = (EntryType::Regular, EntryType::Symlink);
        let cases: &[&[(EntryType, &str, &str)]] = &[
            &[(file, &absolute, "x")],
            &[(file, "../outside/file", "x")],
            &[(file, "a/../../outside/file", "x")],
            &[(link, "l", &to_outside), (file, "l/file", "x")],
            &[(link, "a/l", "../../outside"), (file, "a/l/deep/file", "x")],
            &[(link, "l", &absolute), (file, "l", "x")],
            &[(EntryType::Link, "hard", &absolute)],
            &[(EntryType::Fifo, "pipe", "")],
            &[(EntryType::Char, "device", "")],
            &[(file, ".git/hooks/post-checkout", "x")],
            &[(file, "a/.GIT/config", "x")],
            &[(file, "a//b", "x")],
            &[(file, "./a", "x")],
            &[(file, "a", "x"), (file, "a", "y")],
            &[(file, "a", "x"), (file, "a/b", "y")],
            &[(EntryType::Directory, "../outside/folder/", "")],
        ];
        for (at, entries) in cases.iter().enumerate() {
            let into = dir.path().join(at.to_string());
            std::fs::create_dir(&into).unwrap();
            let error = unpack(&archive(entries)[..], &into).unwrap_err();
            assert!(matches!(error, UnpackError::Unsafe { .. }), "{entries:?}: {error}");
            assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{entries:?}");
        }
    }

    #[test]
    fn what_is_said_about_an_entry_has_an_end() {
        let dir = tempfile::tempdir().unwrap();
        for (kind, name) in [(EntryType::GNULongName, "././@LongLink"), (EntryType::XHeader, "x")] {
            let mut header = Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(kind);
            header.set_size(6 << 30);
            header.set_cksum();
            let (much, not_read) = (64 << 20, Cell::new(64 << 20));
            let rest = Metered { from: io::repeat(b'a'), left: &not_read };
            let error = unpack(header.as_bytes().chain(rest), dir.path()).unwrap_err();
            assert!(matches!(error, UnpackError::Swollen), "{error}");
            assert!(much - not_read.get() <= PREAMBLE, "{} left", not_read.get());
        }
        // A path as long as git can hold is fine, and what follows it is as long as it likes.
        let long = vec!["d".repeat(200); 19].join("/");
        let mut bytes = Vec::new();
        let mut builder = tar::Builder::new(&mut bytes);
        for name in [long.as_str(), "a"] {
            let mut header = Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(2 << 20);
            builder.append_data(&mut header, name, io::repeat(b'a').take(2 << 20)).unwrap();
        }
        builder.finish().unwrap();
        drop(builder);
        assert_eq!(unpack(&bytes[..], dir.path()).unwrap().files, 2);
    }

    #[test]
    fn links_are_made_as_they_are_and_holes_stay_holes() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = Vec::new();
        let mut writer = super::super::archive::Archive::new(&mut bytes);
        let content = [vec![0; 2 * HOLE], b"end".to_vec()].concat();
        writer.bytes(b"sparse", false, &content).unwrap();
        writer.link(b"l", b"/nowhere//./else").unwrap();
        writer.finish().unwrap();
        let unpacked = unpack(&bytes[..], dir.path()).unwrap();
        assert_eq!(unpacked, Unpacked { files: 1, links: 1, bytes: content.len() as u64 });
        let there = dir.path().join("sparse");
        assert!(std::fs::read(&there).unwrap() == content);
        assert!(there.metadata().unwrap().blocks() * 512 < 2 * HOLE as u64);
        assert_eq!(std::fs::read_link(dir.path().join("l")).unwrap(), Path::new("/nowhere//./else"));
    }

    #[test]
    fn a_torn_archive_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = archive(&[(EntryType::Regular, "a", "content")]);
        let error = unpack(&bytes[..515], dir.path()).unwrap_err();
        assert!(matches!(error, UnpackError::Damaged(_)), "{error}");
    }
}
