//! What the machine would let us do with a path: asked, not tried.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{Access, StatVfsMountFlags};

/// What is left on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that an ordinary user may still write; `None` if the file system counts none.
    pub bytes: Option<u64>,
    /// Files that may still be made; `None` if the file system counts none.
    pub files: Option<u64>,
    pub read_only: bool,
}

/// Returns what is left on the file system of a path that exists.
pub fn of(path: &Path) -> Option<Room> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(Room {
        bytes: (found.f_blocks > 0).then(|| found.f_bavail.saturating_mul(found.f_frsize)),
        files: (found.f_files > 0).then_some(found.f_favail),
        read_only: found.f_flag.contains(StatVfsMountFlags::RDONLY),
    })
}

/// Whether this process may make files in a folder that exists.
pub fn may_write_in(folder: &Path) -> std::io::Result<()> {
    Ok(rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Whether a path is a file that this process may run.
pub fn is_program(path: &Path) -> bool {
    let runnable = |meta: std::fs::Metadata| meta.is_file() && meta.permissions().mode() & 0o111 != 0;
    path.metadata().is_ok_and(runnable) && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

/// Whether two paths that exist are on one file system, so that one can be renamed to below the other.
pub fn is_same_disk(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| path.symlink_metadata().map(|found| found.dev()).ok();
    device(one).is_some() && device(one) == device(other)
}

/// Returns something that is mounted at a path or below it, be it a part of the same disk.
pub fn mounted_in(folder: &Path) -> Option<std::path::PathBuf> {
    let folder = folder.canonicalize().ok()?;
    let table = std::fs::read("/proc/self/mountinfo").ok()?;
    let points =
        table.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    points.map(unescaped).find(|point| point.starts_with(&folder))
}

/// Returns a path of the kernel's table: blanks and the like stand there in octal.
fn unescaped(text: &[u8]) -> std::path::PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_kernel_s_table_is_read_with_its_blanks() {
        assert_eq!(unescaped(br"/mnt/a\040b\134c"), Path::new(r"/mnt/a b\c"));
        assert_eq!(unescaped(br"/x\9"), Path::new(r"/x\9"));
        assert!(mounted_in(Path::new("/")).is_some());
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(mounted_in(dir.path()), None);
        assert!(is_same_disk(dir.path(), dir.path()) && !is_same_disk(dir.path(), &dir.path().join("none")));
    }
}
