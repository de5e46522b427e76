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
