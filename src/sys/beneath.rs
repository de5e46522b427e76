//! Files below a folder that nobody trusts: no link is followed on the way to them, so whatever a
//! repository ships, and whoever swaps a folder for a link meanwhile, nothing outside is read or written.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::fs::{At, PathError, fault};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Why a file below the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BeneathError {
    #[error("`{}` is a symbolic link, and none is followed here", .0.display())]
    Link(PathBuf),
    #[error("`{}` is no {what}", path.display())]
    NotA { path: PathBuf, what: &'static str },
    #[error("`{}` is larger than {limit} bytes", path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    #[error(transparent)]
    Path(#[from] PathError),
}

impl BeneathError {
    fn not(path: PathBuf, what: &'static str) -> Self {
        Self::NotA { path, what }
    }
}

fn failed(path: &Path, err: Errno) -> PathError {
    PathError { path: path.to_owned(), source: err.into() }
}

/// Opens what is at `path` below the folder `top`. A link on the way, or at its end, is
/// [`Errno::LOOP`] or [`Errno::NOTDIR`]; where the machine cannot promise that, only one at its end is.
pub fn open_at(top: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    // With a slash at its end a link would be a folder.
    let path = match path.strip_suffix(b"/").unwrap_or(path) {
        b"" => b".",
        path => path,
    };
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    #[cfg(target_os = "linux")]
    match rustix::fs::openat2(&top, path, flags, Mode::empty(), rustix::fs::ResolveFlags::NO_SYMLINKS) {
        // Before Linux 5.6, or in a sandbox that has not heard of it.
        Err(Errno::NOSYS | Errno::PERM) => {}
        opened => return opened,
    }
    rustix::fs::openat(&top, path, flags, Mode::empty())
}

/// A folder and what is below it.
#[derive(Debug)]
pub struct Beneath {
    dir: OwnedFd,
    path: PathBuf,
}

/// A file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub bytes: Vec<u8>,
    pub mode: u32,
}

impl Beneath {
    /// Opens the folder, which may itself be reached through links.
    pub fn open(path: &Path) -> Result<Self, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from).at(path)?;
        Ok(Self { dir, path: path.to_owned() })
    }

    /// Returns a regular file, or nothing if there is none.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Option<Content>, BeneathError> {
        let whole = self.path.join(path);
        let Some((dir, name)) = self.parent(path, false)? else { return Ok(None) };
        // A pipe that nobody writes to would make us wait.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&dir, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(Errno::LOOP) => return Err(BeneathError::Link(whole)),
            // A socket cannot be opened.
            Err(Errno::NXIO) => return Err(BeneathError::not(whole, "regular file")),
            Err(err) => return Err(failed(&whole, err).into()),
        };
        let found = file.metadata().at(&whole)?;
        if !found.is_file() {
            return Err(BeneathError::not(whole, "regular file"));
        }
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).at(&whole)?;
        if bytes.len() as u64 > limit {
            return Err(BeneathError::TooLarge { path: whole, limit });
        }
        use std::os::unix::fs::PermissionsExt;
        Ok(Some(Content { bytes, mode: found.permissions().mode() & 0o7777 }))
    }

    /// Returns the names of the regular files that are directly in a folder; none if there is no folder.
    pub fn files_in(&self, folder: &Path) -> Result<Vec<OsString>, BeneathError> {
        let whole = self.path.join(folder);
        let Some((dir, _)) = self.parent(&folder.join("any"), false)? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&dir).map_err(|err| failed(&whole, err))? {
            let entry = entry.map_err(|err| failed(&whole, err))?;
            let is_file = match entry.file_type() {
                // Not every file system says it along with the name.
                FileType::Unknown => rustix::fs::statat(&dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                    .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::RegularFile),
                kind => kind == FileType::RegularFile,
            };
            if is_file {
                names.push(OsStr::from_bytes(entry.file_name().to_bytes()).to_owned());
            }
        }
        Ok(names)
    }

    /// Replaces or creates files, all or none: each is written beside its place first, then they are
    /// put there one after the other. If that fails half way, the first ones are put back.
    ///
    /// `old` is what each file held when it was read; nothing for a new one.
    pub fn replace_all(&self, files: &[(&Path, &[u8], Option<&Content>)]) -> Result<(), BeneathError> {
        let mut ready = Vec::new();
        let mut made = Vec::new();
        let result = self.prepare(files, &mut ready, &mut made).and_then(|()| {
            for (at, temp) in ready.iter().enumerate() {
                if let Err(err) = temp.put() {
                    for (temp, (path, _, old)) in ready[..at].iter().zip(files) {
                        self.put_back(temp, path, *old);
                    }
                    return Err(err.into());
                }
            }
            Ok(())
        });
        if result.is_err() {
            for temp in &ready {
                let _ = rustix::fs::unlinkat(&temp.dir, &*temp.temp, AtFlags::empty());
            }
            for folder in made.iter().rev() {
                let _ = self.remove_folder(folder);
            }
        }
        result
    }

    fn prepare(
        &self,
        files: &[(&Path, &[u8], Option<&Content>)],
        ready: &mut Vec<Ready>,
        made: &mut Vec<PathBuf>,
    ) -> Result<(), BeneathError> {
        for (path, bytes, old) in files {
            let whole = self.path.join(path);
            let folder = path.parent().unwrap_or(Path::new(""));
            let missing: Vec<_> = folder
                .ancestors()
                .take_while(|folder| !self.path.join(folder).exists())
                .map(Path::to_owned)
                .collect();
            made.extend(missing.into_iter().rev());
            let (dir, name) = self
                .parent(path, true)?
                .ok_or_else(|| BeneathError::not(self.path.join(folder), "folder"))?;
            match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) => match FileType::from_raw_mode(found.st_mode) {
                    FileType::RegularFile => {}
                    FileType::Symlink => return Err(BeneathError::Link(whole)),
                    _ => return Err(BeneathError::not(whole, "regular file")),
                },
                Err(Errno::NOENT) => {}
                Err(err) => return Err(failed(&whole, err).into()),
            }
            let mode = old.map_or(0o644, |old| old.mode);
            ready.push(Ready::write(dir, name, &whole, bytes, mode)?);
        }
        Ok(())
    }

    fn put_back(&self, put: &Ready, path: &Path, old: Option<&Content>) {
        let result = match old {
            None => {
                rustix::fs::unlinkat(&put.dir, &*put.name, AtFlags::empty()).map_err(|err| err.to_string())
            }
            Some(old) => put
                .dir
                .try_clone()
                .at(&put.path)
                .and_then(|dir| Ready::write(dir, &put.name, &put.path, &old.bytes, old.mode)?.put())
                .map_err(|err| err.to_string()),
        };
        if let Err(err) = result {
            tracing::warn!("`{}` could not be put back: {err}", path.display());
        }
    }

    fn remove_folder(&self, folder: &Path) -> Result<(), BeneathError> {
        if let Some((dir, name)) = self.parent(folder, false)? {
            // One with something in it stays.
            let _ = rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR);
        }
        Ok(())
    }

    /// Opens the folder that a path is in, and returns the last part of the path with it.
    fn parent<'p>(&self, path: &'p Path, create: bool) -> Result<Option<(OwnedFd, &'p OsStr)>, BeneathError> {
        let whole = self.path.join(path);
        let mut parts = Vec::new();
        for part in path.components() {
            match part {
                Component::Normal(part) => parts.push(part),
                _ => return Err(BeneathError::not(whole, "path below the folder")),
            }
        }
        let Some(name) = parts.pop() else { return Err(BeneathError::not(whole, "file")) };
        let mut dir = self.dir.try_clone().at(&self.path)?;
        let mut at = self.path.clone();
        for part in parts {
            at.push(part);
            let mut opened = rustix::fs::openat(&dir, part, FOLDER, Mode::empty());
            if create && matches!(opened, Err(Errno::NOENT)) {
                fault::step("mkdir").at(&at)?;
                match rustix::fs::mkdirat(&dir, part, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(err) => return Err(failed(&at, err).into()),
                }
                opened = rustix::fs::openat(&dir, part, FOLDER, Mode::empty());
            }
            dir = match opened {
                Ok(opened) => opened,
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    let found = rustix::fs::statat(&dir, part, AtFlags::SYMLINK_NOFOLLOW);
                    let link = found.is_ok_and(|it| FileType::from_raw_mode(it.st_mode) == FileType::Symlink);
                    return match link {
                        true => Err(BeneathError::Link(at)),
                        false if create => Err(BeneathError::not(at, "folder")),
                        false => Ok(None),
                    };
                }
                Err(err) => return Err(failed(&at, err).into()),
            };
        }
        Ok(Some((dir, name)))
    }
}

/// A file that is written and waits to be put in its place.
struct Ready {
    dir: OwnedFd,
    temp: String,
    name: OsString,
    path: PathBuf,
}

impl Ready {
    fn write(dir: OwnedFd, name: &OsStr, path: &Path, bytes: &[u8], mode: u32) -> Result<Self, PathError> {
        fault::step("create").at(path)?;
        let temp = format!(".tmp-{}", uuid::Uuid::new_v4().simple());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir, &*temp, flags, Mode::from_raw_mode(0o600));
        let mut file = file.map(File::from).map_err(io::Error::from).at(path)?;
        let ready = Self { dir, temp, name: name.to_owned(), path: path.to_owned() };
        let written = fault::step("write")
            .and_then(|()| file.write_all(bytes))
            .and_then(|()| fault::step("sync"))
            .and_then(|()| file.sync_data())
            .and_then(|()| Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?));
        if let Err(err) = written {
            let _ = rustix::fs::unlinkat(&ready.dir, &*ready.temp, AtFlags::empty());
            return Err(err).at(path);
        }
        Ok(ready)
    }

    fn put(&self) -> Result<(), PathError> {
        fault::step("rename").at(&self.path)?;
        rustix::fs::renameat(&self.dir, &*self.temp, &self.dir, &*self.name)
            .map_err(io::Error::from)
            .at(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("real")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "secret").unwrap();
        symlink(&outside, root.join("folder")).unwrap();
        symlink(outside.join("file"), root.join("real/link")).unwrap();
        let beneath = Beneath::open(&root).unwrap();
        assert!(matches!(beneath.files_in(Path::new("folder")), Err(BeneathError::Link(_))));
        assert!(beneath.files_in(Path::new("real")).unwrap().is_empty(), "a link is no file");
        for path in ["folder/file", "real/link"] {
            assert!(matches!(beneath.read(Path::new(path), 10), Err(BeneathError::Link(_))), "{path}");
            let written = beneath.replace_all(&[(Path::new(path), b"mine", None)]);
            assert!(matches!(written, Err(BeneathError::Link(_))), "{path}");
        }
        assert!(matches!(beneath.read(Path::new("../outside/file"), 10), Err(BeneathError::NotA { .. })));
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "secret");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }

    #[test]
    fn what_is_opened_is_where_its_name_says() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("real/inner")).unwrap();
        fs::create_dir_all(outside.join("inner")).unwrap();
        fs::write(root.join("real/file"), "").unwrap();
        fs::write(outside.join("file"), "secret").unwrap();
        symlink(&outside, root.join("swapped")).unwrap();
        let top = fs::File::open(&root).unwrap();
        for path in ["", "real/", "real", "real/inner/"] {
            assert!(open_at(&top, path.as_bytes(), OFlags::DIRECTORY).is_ok(), "{path}");
        }
        assert!(open_at(&top, b"real/file", OFlags::RDONLY).is_ok());
        for path in ["swapped/", "swapped", "swapped/inner/"] {
            let opened = open_at(&top, path.as_bytes(), OFlags::DIRECTORY);
            assert!(matches!(opened, Err(Errno::LOOP | Errno::NOTDIR)), "{path}: {opened:?}");
        }
        assert!(matches!(open_at(&top, b"swapped/file", OFlags::RDONLY), Err(Errno::LOOP)));
    }

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "12345").unwrap();
        let beneath = Beneath::open(dir.path()).unwrap();
        let read = |path: &str, limit| beneath.read(Path::new(path), limit);
        assert_eq!(read("file", 5).unwrap().unwrap().bytes, b"12345");
        assert!(matches!(read("file", 4), Err(BeneathError::TooLarge { .. })));
        assert!(read("gone", 5).unwrap().is_none());
        assert!(read("file/below", 5).unwrap().is_none());
        assert!(matches!(read(".", 5), Err(BeneathError::NotA { .. })));
        fs::create_dir(dir.path().join("folder")).unwrap();
        assert_eq!(beneath.files_in(Path::new("")).unwrap(), ["file"]);
        for folder in ["folder", "gone", "file"] {
            assert!(beneath.files_in(Path::new(folder)).unwrap().is_empty(), "{folder}");
        }
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("pipe"),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(matches!(read("pipe", 5), Err(BeneathError::NotA { .. })));
    }

    #[test]
    fn all_files_are_replaced_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("old");
        fs::write(&old, "before").unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o640)).unwrap();
        fs::create_dir(dir.path().join("blocked")).unwrap();
        let beneath = Beneath::open(dir.path()).unwrap();
        let content = beneath.read(Path::new("old"), 10).unwrap();
        let (a, b, c) = (Path::new("old"), Path::new("new/deep/file"), Path::new("blocked"));
        let failed = beneath.replace_all(&[(a, b"x", content.as_ref()), (b, b"y", None), (c, b"z", None)]);
        assert!(matches!(failed, Err(BeneathError::NotA { .. })));
        assert_eq!(fs::read_to_string(&old).unwrap(), "before");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left behind");
        beneath.replace_all(&[(a, b"x", content.as_ref()), (b, b"y", None)]).unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "x");
        assert_eq!(fs::metadata(&old).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_to_string(dir.path().join(b)).unwrap(), "y");
    }
}
