//! Files of somebody else, who may be writing them: replaced only if they are still what was seen.
//!
//! What was there comes out in one step with what goes in, and only then is it compared: no write that ended before
//! is lost, whoever made it. What is not in its place yet, or not any more, waits in a folder of ours.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::fs::{At, PathError, fault};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Nothing,
    File {
        bytes: Vec<u8>,
        /// The bits that say who may do what.
        mode: u32,
    },
    /// A symbolic link, with what it says.
    Link(Vec<u8>),
    /// A folder, a pipe, or something behind a link: nothing that we would replace.
    Other,
}

/// Why something was not put in its place.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// Somebody has written there since; nothing is changed.
    #[error("`{}` changed meanwhile", .0.display())]
    Changed(PathBuf),
    /// Somebody wrote there twice while we looked: the older of the two is kept.
    #[error("`{}` changed twice meanwhile: what it was in between is in `{}`", path.display(), kept.display())]
    Kept { path: PathBuf, kept: PathBuf },
    #[error(transparent)]
    Path(#[from] PathError),
}

/// A folder, and where things wait on the same file system.
#[derive(Debug)]
pub struct Place {
    top: OwnedFd,
    path: PathBuf,
    waiting: PathBuf,
}

impl Place {
    /// Opens a folder. `waiting` is another one, which is there and of which nobody else knows.
    pub fn open(path: &Path, waiting: &Path) -> Result<Self, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from).at(path)?;
        Ok(Self { top, path: path.to_owned(), waiting: waiting.to_owned() })
    }

    /// Returns what stands at a path below the folder. No link is followed on the way to it.
    pub fn look(&self, path: &Path) -> Result<Seen, PathError> {
        let whole = self.path.join(path);
        match self.folder(path, false).at(&whole)? {
            Way::Missing => Ok(Seen::Nothing),
            Way::Blocked => Ok(Seen::Other),
            Way::Open(dir, name) => look_at(&dir, name).at(&whole),
        }
    }

    /// Puts `new` where `seen` stood, or nothing at all if something else stands there by now.
    pub fn put(&self, path: &Path, seen: &Seen, new: &Seen) -> Result<(), ExchangeError> {
        let whole = self.path.join(path);
        let changed = || ExchangeError::Changed(whole.clone());
        let (dir, name) = match self.folder(path, *new != Seen::Nothing).at(&whole)? {
            Way::Open(dir, name) => (dir, name),
            Way::Missing if *seen == Seen::Nothing => return Ok(()),
            Way::Missing | Way::Blocked => return Err(changed()),
        };
        let group = match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Some(found.st_gid),
            Err(_) => None,
        };
        let temp = self.waiting.join(format!("{}", uuid::Uuid::new_v4().simple()));
        match new {
            Seen::Nothing => {
                if *seen == Seen::Nothing {
                    return Ok(());
                }
            }
            Seen::File { bytes, mode } => write(&temp, bytes, *mode, group).at(&temp)?,
            Seen::Link(to) => {
                fault::step("symlink").at(&temp)?;
                rustix::fs::symlink(OsStr::from_bytes(to), &temp).map_err(io::Error::from).at(&temp)?;
            }
            Seen::Other => return Err(changed()),
        }
        let done = self.swap(&dir, name, &temp, seen, new, &whole);
        let is_ours = match &done {
            // What came out is what was seen, or what went in came back.
            Ok(()) | Err(ExchangeError::Changed(_)) => true,
            Err(ExchangeError::Kept { .. }) => false,
            Err(ExchangeError::Path(_)) => look_at(CWD, temp.as_os_str()).is_ok_and(|there| there == *new),
        };
        if is_ours && temp.symlink_metadata().is_ok() {
            let _ = super::fs::remove(&temp);
        }
        if done.is_ok() && *new == Seen::Nothing {
            self.remove_empty(path);
        }
        done
    }

    fn swap(
        &self,
        dir: &OwnedFd,
        name: &OsStr,
        temp: &Path,
        seen: &Seen,
        new: &Seen,
        whole: &Path,
    ) -> Result<(), ExchangeError> {
        let changed = || ExchangeError::Changed(whole.to_owned());
        let failed =
            |err: Errno| ExchangeError::from(PathError { path: whole.to_owned(), source: err.into() });
        fault::step("exchange").at(whole)?;
        let into = |flags| rename(CWD, temp.as_os_str(), dir, name, flags);
        let out = |flags| rename(dir, name, CWD, temp.as_os_str(), flags);
        if *seen == Seen::Nothing {
            return match into(RenameFlags::NOREPLACE) {
                Err(Errno::EXIST | Errno::NOTDIR | Errno::ISDIR) => Err(changed()),
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match look_at(dir, name).at(whole)? {
                    Seen::Nothing => rustix::fs::renameat(CWD, temp, dir, name).map_err(failed),
                    _ => Err(changed()),
                },
                done => done.map_err(failed),
            };
        }
        let taken = match new {
            Seen::Nothing => out(RenameFlags::NOREPLACE),
            _ => into(RenameFlags::EXCHANGE),
        };
        match taken {
            Ok(()) => {}
            Err(Errno::NOENT) => return Err(changed()),
            // Not every file system can do it in one step.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                if look_at(dir, name).at(whole)? != *seen {
                    return Err(changed());
                }
                return match new {
                    Seen::Nothing => rustix::fs::unlinkat(dir, name, AtFlags::empty()).map_err(failed),
                    _ => rustix::fs::renameat(CWD, temp, dir, name).map_err(failed),
                };
            }
            Err(err) => return Err(failed(err)),
        }
        // What cannot be looked at is something else than what was.
        let holds = |wanted: &Seen| look_at(CWD, temp.as_os_str()).is_ok_and(|there| there == *wanted);
        if holds(seen) {
            return Ok(());
        }
        fault::step("exchange").at(whole)?;
        let kept = || ExchangeError::Kept { path: whole.to_owned(), kept: temp.to_owned() };
        match new {
            Seen::Nothing => match out_again(temp, dir, name) {
                Ok(()) => Err(changed()),
                Err(_) => Err(kept()),
            },
            _ => {
                into(RenameFlags::EXCHANGE).map_err(|_| kept())?;
                if holds(new) {
                    return Err(changed());
                }
                // That was written after we had put ours there, so it is the newest.
                let _ = into(RenameFlags::EXCHANGE);
                Err(kept())
            }
        }
    }

    /// Takes away what stands at a path, if anything does, to where nobody waits for it. No link is followed on the
    /// way to it, and nothing behind one is taken.
    pub fn take_away(&self, path: &Path) -> Result<(), PathError> {
        let full = self.path.join(path);
        let Way::Open(dir, name) = self.folder(path, false).at(&full)? else { return Ok(()) };
        let away = self.waiting.join(format!("{}", uuid::Uuid::new_v4().simple()));
        fault::step("rename").at(&full)?;
        match rustix::fs::renameat(&dir, name, CWD, &away) {
            Err(Errno::NOENT) => Ok(()),
            done => done.map_err(io::Error::from).at(&full),
        }
    }

    /// Puts what is `whole` on the same disk to a path. Returns false, and changes nothing, if something stands there
    /// already, or if a file or a link stands on the way.
    pub fn put_whole(&self, path: &Path, whole: &Path) -> Result<bool, PathError> {
        let full = self.path.join(path);
        let Way::Open(dir, name) = self.folder(path, true).at(&full)? else { return Ok(false) };
        let failed = |err: Errno| io::Error::from(err);
        fault::step("rename").at(&full)?;
        match rename(CWD, whole.as_os_str(), &dir, name, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => Ok(false),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                if look_at(&dir, name).at(&full)? != Seen::Nothing {
                    return Ok(false);
                }
                rustix::fs::renameat(CWD, whole, &dir, name).map_err(failed).at(&full)?;
                Ok(true)
            }
            done => done.map_err(failed).at(&full).map(|()| true),
        }
    }

    /// Removes the folders on the way to a path that are empty by now, as git does.
    fn remove_empty(&self, path: &Path) {
        for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            let Ok(Way::Open(dir, name)) = self.folder(folder, false) else { return };
            if fault::step("remove").is_err() || rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR).is_err()
            {
                return;
            }
        }
    }

    /// Opens the folder that a path is in.
    fn folder<'p>(&self, path: &'p Path, create: bool) -> io::Result<Way<'p>> {
        let mut parts: Vec<_> = path.components().collect();
        let Some(Component::Normal(name)) = parts.pop() else { return Ok(Way::Blocked) };
        let mut dir = self.top.try_clone()?;
        for part in parts {
            let Component::Normal(part) = part else { return Ok(Way::Blocked) };
            let mut opened = rustix::fs::openat(&dir, part, FOLDER, Mode::empty());
            if create && matches!(opened, Err(Errno::NOENT)) {
                fault::step("mkdir")?;
                match rustix::fs::mkdirat(&dir, part, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(err) => return Err(err.into()),
                }
                opened = rustix::fs::openat(&dir, part, FOLDER, Mode::empty());
            }
            dir = match opened {
                Ok(opened) => opened,
                Err(Errno::NOENT) => return Ok(Way::Missing),
                Err(Errno::LOOP | Errno::NOTDIR) => return Ok(Way::Blocked),
                Err(err) => return Err(err.into()),
            };
        }
        Ok(Way::Open(dir, name))
    }
}

/// What is on the way to a path.
enum Way<'p> {
    /// The folder that it is in, and its name there.
    Open(OwnedFd, &'p OsStr),
    Missing,
    /// A file or a link stands in the way.
    Blocked,
}

/// Puts back what came out by mistake; whoever has put something there meanwhile keeps it.
fn out_again(temp: &Path, dir: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    rename(CWD, temp.as_os_str(), dir, name, RenameFlags::NOREPLACE)
}

#[cfg(target_os = "linux")]
fn rename(from: impl AsFd, old: &OsStr, to: impl AsFd, new: &OsStr, flags: RenameFlags) -> Result<(), Errno> {
    rustix::fs::renameat_with(from, old, to, new, flags)
}

#[cfg(not(target_os = "linux"))]
fn rename(_: impl AsFd, _: &OsStr, _: impl AsFd, _: &OsStr, _: RenameFlags) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

fn look_at(dir: impl AsFd, name: &OsStr) -> io::Result<Seen> {
    let found = match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(Seen::Nothing),
        Err(err) => return Err(err.into()),
    };
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Symlink => {
            let to = rustix::fs::readlinkat(&dir, name, Vec::new())?;
            Ok(Seen::Link(to.into_bytes()))
        }
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let mut file = match rustix::fs::openat(&dir, name, flags, Mode::empty()) {
                Ok(file) => File::from(file),
                Err(Errno::NOENT) => return Ok(Seen::Nothing),
                Err(Errno::LOOP) => return Ok(Seen::Other),
                Err(err) => return Err(err.into()),
            };
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let found = rustix::fs::fstat(&file)?;
            Ok(Seen::File { bytes, mode: found.st_mode & 0o7777 })
        }
        _ => Ok(Seen::Other),
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32, group: Option<u32>) -> io::Result<()> {
    fault::step("create")?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))?);
    fault::step("write")?;
    file.write_all(bytes)?;
    if let Some(group) = group {
        // Who may not give it away keeps the group that new files get.
        let _ = rustix::fs::fchown(&file, None, Some(Gid::from_raw(group)));
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    fault::step("sync")?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    struct Scene {
        _dir: tempfile::TempDir,
        top: PathBuf,
        place: Place,
    }

    fn scene() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let (top, waiting) = (dir.path().join("top"), dir.path().join("waiting"));
        fs::create_dir(&top).unwrap();
        fs::create_dir(&waiting).unwrap();
        let place = Place::open(&top, &waiting).unwrap();
        Scene { _dir: dir, top, place }
    }

    fn file(text: &str, mode: u32) -> Seen {
        Seen::File { bytes: text.into(), mode }
    }

    impl Scene {
        fn put(&self, path: &str, seen: &Seen, new: &Seen) -> Result<(), ExchangeError> {
            let done = self.place.put(Path::new(path), seen, new);
            assert_eq!(fs::read_dir(&self.place.waiting).unwrap().count(), 0, "nothing is left waiting");
            done
        }
    }

    #[test]
    fn what_is_still_what_was_seen_is_replaced() {
        let scene = scene();
        let path = scene.top.join("file");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let seen = scene.place.look(Path::new("file")).unwrap();
        assert_eq!(seen, file("old", 0o640));
        scene.put("file", &seen, &file("new", 0o750)).unwrap();
        assert_eq!(scene.place.look(Path::new("file")).unwrap(), file("new", 0o750));
        scene.put("file", &file("new", 0o750), &Seen::Link(b"elsewhere".to_vec())).unwrap();
        scene.put("file", &Seen::Link(b"elsewhere".to_vec()), &Seen::Nothing).unwrap();
        assert!(!path.exists());
        scene.put("a/b/new", &Seen::Nothing, &file("text", 0o644)).unwrap();
        assert_eq!(fs::read_to_string(scene.top.join("a/b/new")).unwrap(), "text");
        scene.put("a/b/new", &file("text", 0o644), &Seen::Nothing).unwrap();
        assert!(!scene.top.join("a").exists(), "as git removes folders");
    }

    #[test]
    fn what_somebody_wrote_since_stays() {
        let scene = scene();
        let path = scene.top.join("file");
        fs::write(&path, "newer").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let changed = |seen: &Seen, new: &Seen| {
            let done = scene.put("file", seen, new);
            assert!(matches!(done, Err(ExchangeError::Changed(_))), "{done:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), "newer");
        };
        let ours = file("ours", 0o644);
        changed(&file("older", 0o644), &ours);
        changed(&file("newer", 0o755), &ours);
        changed(&Seen::Link(b"newer".to_vec()), &ours);
        changed(&Seen::Nothing, &ours);
        changed(&file("older", 0o644), &Seen::Nothing);
        fs::remove_file(&path).unwrap();
        assert!(matches!(scene.put("file", &ours, &ours), Err(ExchangeError::Changed(_))));
        assert!(matches!(scene.put("file", &ours, &Seen::Nothing), Err(ExchangeError::Changed(_))));
        fs::create_dir_all(path.join("inner")).unwrap();
        assert_eq!(scene.place.look(Path::new("file")).unwrap(), Seen::Other);
        assert!(matches!(scene.put("file", &ours, &ours), Err(ExchangeError::Changed(_))));
        assert!(matches!(scene.put("file", &Seen::Nothing, &ours), Err(ExchangeError::Changed(_))));
        assert!(path.join("inner").is_dir());
    }

    #[test]
    fn no_link_is_followed() {
        let scene = scene();
        let outside = scene.top.parent().unwrap().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "theirs").unwrap();
        symlink(&outside, scene.top.join("folder")).unwrap();
        assert_eq!(scene.place.look(Path::new("folder/file")).unwrap(), Seen::Other);
        let done = scene.put("folder/file", &file("theirs", 0o644), &file("ours", 0o644));
        assert!(matches!(done, Err(ExchangeError::Changed(_))), "{done:?}");
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "theirs");
        assert_eq!(scene.place.look(Path::new("../outside/file")).unwrap(), Seen::Other);
    }
}
