//! Writing tar archives that say nothing of the machine they were made on: owners, times and modes are
//! always the same, and names may hold any byte.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use tar::{EntryType, Header};

/// What tar counts in.
const RECORD: usize = 512;
/// Names up to this length stand in the header itself.
const SHORT: usize = 100;
/// The time of everything: the first second that no reader takes for a mistake.
const TIME: u64 = 1;
/// Holes are written from here.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Writes an archive.
pub struct Archive<'a> {
    out: &'a mut dyn Write,
    buffer: Vec<u8>,
}

impl<'a> Archive<'a> {
    /// Begins an archive.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, buffer: vec![0; 256 << 10] }
    }

    /// Adds a file whose content is at hand.
    pub fn bytes(&mut self, path: &[u8], executable: bool, content: &[u8]) -> io::Result<()> {
        self.header(path, executable, content.len() as u64)?;
        self.out.write_all(content)?;
        self.pad(content.len() as u64)
    }

    /// Adds the first `size` bytes of a file, read from its beginning; holes are not read. What is missing at its end
    /// is written as zeros, and the answer is whether nothing was.
    pub fn file(&mut self, path: &[u8], executable: bool, size: u64, file: &File) -> io::Result<bool> {
        self.header(path, executable, size)?;
        let (mut at, mut whole) = (0, true);
        while at < size {
            let (begin, end) = next_data(file, at, size);
            self.zeros(begin - at)?;
            at = begin;
            let mut data = file;
            rustix::fs::seek(file, SeekFrom::Start(begin))?;
            while at < end {
                let wanted = (end - at).min(self.buffer.len() as u64) as usize;
                let read = match data.read(&mut self.buffer[..wanted]) {
                    Ok(read) => read,
                    Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                    Err(err) => return Err(err),
                };
                if read == 0 {
                    whole = false;
                    self.zeros(size - at)?;
                    at = size;
                    break;
                }
                self.out.write_all(&self.buffer[..read])?;
                at += read as u64;
            }
        }
        self.pad(size)?;
        Ok(whole)
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
        self.long(target, b'K')?;
        let mut header = header(path, EntryType::Symlink, 0o777, 0);
        let fields = header.as_gnu_mut().expect("it is of that kind");
        let short = &target[..target.len().min(SHORT)];
        fields.linkname[..short.len()].copy_from_slice(short);
        self.name_and(path, header)
    }

    /// Ends the archive.
    pub fn finish(self) -> io::Result<()> {
        self.out.write_all(&ZEROS[..2 * RECORD])
    }

    fn header(&mut self, path: &[u8], executable: bool, size: u64) -> io::Result<()> {
        let mode = if executable { 0o755 } else { 0o644 };
        self.name_and(path, header(path, EntryType::Regular, mode, size))
    }

    fn name_and(&mut self, path: &[u8], mut header: Header) -> io::Result<()> {
        self.long(path, b'L')?;
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    /// Writes a name that does not fit into the header of its entry as an entry before it.
    fn long(&mut self, name: &[u8], kind: u8) -> io::Result<()> {
        if name.len() <= SHORT {
            return Ok(());
        }
        let mut header = header(b"././@LongLink", EntryType::new(kind), 0o644, name.len() as u64 + 1);
        header.set_mtime(0);
        header.set_cksum();
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(name)?;
        self.out.write_all(&[0])?;
        self.pad(name.len() as u64 + 1)
    }

    fn pad(&mut self, written: u64) -> io::Result<()> {
        self.zeros(written.next_multiple_of(RECORD as u64) - written)
    }

    fn zeros(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let some = count.min(ZEROS.len() as u64);
            self.out.write_all(&ZEROS[..some as usize])?;
            count -= some;
        }
        Ok(())
    }
}

fn header(path: &[u8], kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    let fields = header.as_gnu_mut().expect("it is of that kind");
    let short = &path[..path.len().min(SHORT)];
    fields.name[..short.len()].copy_from_slice(short);
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(TIME);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Returns where there is data next at or after `at`, and up to where. What cannot be told is data.
fn next_data(file: &File, at: u64, size: u64) -> (u64, u64) {
    #[cfg(target_os = "linux")]
    {
        let file = file.as_fd();
        match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(begin) if begin < size => {
                let end = rustix::fs::seek(file, SeekFrom::Hole(begin)).map_or(size, |end| end.min(size));
                return (begin, end.max(begin + 1).min(size));
            }
            // There is a hole up to the end.
            Ok(_) | Err(Errno::NXIO) => {
                let length = file.try_clone_to_owned().and_then(|file| File::from(file).metadata());
                // It may have shrunk meanwhile, which only reading tells.
                if length.is_ok_and(|found| found.len() >= size) {
                    return (size, size);
                }
            }
            Err(_) => {}
        }
    }
    (at, size)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn archive(write: impl FnOnce(&mut Archive<'_>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes);
        write(&mut archive);
        archive.finish().unwrap();
        bytes
    }

    #[test]
    fn holes_are_zeros_wherever_the_file_system_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let size = 3_000_000;
        let sparse = File::create_new(dir.path().join("sparse")).unwrap();
        sparse.set_len(size).unwrap();
        sparse.write_all_at(b"data", 1_500_000).unwrap();
        let mut content = vec![0; size as usize];
        content[1_500_000..1_500_004].copy_from_slice(b"data");
        let sparse = File::open(dir.path().join("sparse")).unwrap();
        let from_file = archive(|it| assert!(it.file(b"x", false, size, &sparse).unwrap()));
        assert!(from_file == archive(|it| it.bytes(b"x", false, &content).unwrap()));
    }

    #[test]
    fn a_file_that_shrinks_is_filled_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        super::super::fs::write_atomically(&path, b"12345", super::super::fs::Durability::Process).unwrap();
        let file = File::open(&path).unwrap();
        let bytes = archive(|it| assert!(!it.file(b"x", true, 9, &file).unwrap()));
        assert_eq!(&bytes[512..1024][..10], b"12345\0\0\0\0\0");
        assert_eq!(bytes.len(), 512 * 4);
    }
}
