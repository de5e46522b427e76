//! The folder in which the tokens of the budget lie: where it is, whose it is, and the lock under which it changes.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::sys::env::Env;
use crate::sys::fs::{At, PathError};
use crate::sys::process;

/// The variable that names the folder, for tests and for users who keep several budgets.
pub const FOLDER: &str = "GIT_ORCHESTRATE_BUDGET_DIR";

/// Opens no symbolic link.
const NO_LINKS: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;

/// The lock under which tokens change hands; it is held for a moment only.
const CHANGES: &str = "changes.lock";

/// Returns where the tokens of this user on this machine lie.
///
/// The folder of the session is first choice, since it belongs to one machine and goes away with it. It is looked
/// for where it usually is too: a job of `cron` knows no variable that names it, and shares the budget all the same.
pub fn place(env: &Env) -> PathBuf {
    if let Some(named) = env.path(FOLDER) {
        return env.cwd().join(named);
    }
    let uid = rustix::process::geteuid().as_raw();
    let usual = PathBuf::from(format!("/run/user/{uid}"));
    let session = env.path("XDG_RUNTIME_DIR").filter(|path| path.is_absolute());
    for folder in session.into_iter().chain([usual]) {
        if std::fs::metadata(&folder).is_ok_and(|meta| meta.is_dir() && meta.uid() == uid) {
            return folder.join("git-orchestrate/budget");
        }
    }
    lasting(env, "budget")
}

/// Returns where something of this user on this machine lies that the end of the session does not end.
pub fn lasting(env: &Env, what: &str) -> PathBuf {
    let state = env.path("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let state = state.or_else(|| env.path("HOME").map(|home| env.cwd().join(home).join(".local/state")));
    // Anybody can make a folder there; that it is ours is looked at before it is used.
    let uid = rustix::process::geteuid().as_raw();
    let Some(state) = state else { return format!("/tmp/git-orchestrate-{uid}/{what}").into() };
    // A home may be shared by several machines, and a budget is not.
    let host = process::host().replace('/', "-");
    state.join("git-orchestrate").join(format!("{what}@{host}"))
}

/// Makes the folder if it is not there, and sees that it belongs to nobody else.
pub fn prepare(folder: &Path) -> Result<(), PathError> {
    match check(folder) {
        Err(err) if err.source.kind() == io::ErrorKind::NotFound => {}
        checked => return checked,
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder).at(folder)?;
    check(folder)
}

/// Sees that a folder is there and belongs to nobody else.
pub fn check(folder: &Path) -> Result<(), PathError> {
    let meta = std::fs::symlink_metadata(folder).at(folder)?;
    let wrong = |what: &str| Err(io::Error::other(what.to_owned())).at(folder);
    if !meta.is_dir() {
        return wrong("it is no folder");
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return wrong("it belongs to another user");
    }
    if meta.mode() & 0o022 != 0 {
        return wrong("other users can write in it");
    }
    Ok(())
}

/// Opens a file of the folder, which need not be there.
pub fn open(folder: &Path, name: &str) -> Result<File, PathError> {
    let path = folder.join(name);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(NO_LINKS);
    options.open(&path).at(&path)
}

/// Locks a file of the folder, unless somebody holds it.
pub fn lock(folder: &Path, name: &str) -> Result<Option<File>, PathError> {
    let file = open(folder, name)?;
    Ok(hold(&file).at(&folder.join(name))?.then_some(file))
}

/// Locks an open file. Returns whether nobody else holds it.
pub fn hold(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(err)) => Err(err),
    }
}

/// The lock under which tokens change hands. It is open as long as a run draws from the budget.
///
/// Somebody who waits leaves a byte in the file, so that nobody has to look for a queue where there is none. A byte
/// that a killed process has left costs the next one a look.
#[derive(Debug)]
pub struct Changes {
    file: File,
    path: PathBuf,
}

/// As long as this lives, nothing changes hands by others.
#[derive(Debug)]
pub struct Still<'c>(&'c Changes);

impl Changes {
    pub fn open(folder: &Path) -> Result<Self, PathError> {
        Ok(Self { file: open(folder, CHANGES)?, path: folder.join(CHANGES) })
    }

    /// Takes the lock, waiting for at most `patience`; nothing after that.
    ///
    /// Nobody holds it for longer than a look around takes, unless the process was stopped in that moment.
    pub fn take(&self, patience: Duration) -> Result<Option<Still<'_>>, PathError> {
        let begin = Instant::now();
        loop {
            if hold(&self.file).at(&self.path)? {
                return Ok(Some(Still(self)));
            }
            if begin.elapsed() >= patience {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Whether somebody may wait. What it says may be over the moment after, unless somebody keeps still.
    pub fn somebody_may_wait(&self) -> Result<bool, PathError> {
        let stat = rustix::fs::fstat(&self.file).map_err(io::Error::from).at(&self.path)?;
        Ok(stat.st_size > 0)
    }
}

impl Still<'_> {
    /// Takes note of whether somebody waits.
    pub fn somebody_waits(&self, does: bool) -> Result<(), PathError> {
        self.0.file.set_len(u64::from(does)).at(&self.0.path)
    }
}

impl Drop for Still<'_> {
    fn drop(&mut self) {
        // Whoever cannot be told gets it when the file is closed.
        let _ = self.0.file.unlock();
    }
}

/// Returns the names in the folder that begin like that, sorted.
pub fn names(folder: &Path, prefix: &str) -> Result<Vec<String>, PathError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).at(folder)? {
        if let Ok(name) = entry.at(folder)?.file_name().into_string()
            && name.starts_with(prefix)
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn env(vars: &[(&str, &Path)]) -> Env {
        let vars = vars.iter().map(|(name, value)| (OsString::from(name), value.as_os_str().to_owned()));
        Env::new(vars, "/work".into())
    }

    #[test]
    fn the_folder_is_named_or_lies_with_the_session_or_the_state_of_the_user() {
        let session = tempfile::tempdir().unwrap();
        let home = Path::new("/home/ada");
        let named = env(&[(FOLDER, Path::new("mine")), ("XDG_RUNTIME_DIR", session.path())]);
        assert_eq!(place(&named), Path::new("/work/mine"));
        let with_session = env(&[("XDG_RUNTIME_DIR", session.path()), ("HOME", home)]);
        assert_eq!(place(&with_session), session.path().join("git-orchestrate/budget"));
        let uid = rustix::process::geteuid().as_raw();
        if !Path::new(&format!("/run/user/{uid}")).exists() {
            let host = process::host();
            let gone = env(&[("XDG_RUNTIME_DIR", Path::new("/not/there")), ("HOME", home)]);
            let expected = home.join(format!(".local/state/git-orchestrate/budget@{host}"));
            assert_eq!(place(&gone), expected);
            assert_eq!(place(&env(&[])), Path::new(&format!("/tmp/git-orchestrate-{uid}/budget")));
        }
    }

    #[test]
    fn a_folder_that_others_can_write_in_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        prepare(&folder).unwrap();
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        prepare(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(prepare(&folder).unwrap_err().to_string().contains("other users can write in it"));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(prepare(&link).unwrap_err().to_string().contains("it is no folder"));
    }
}
