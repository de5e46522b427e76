//! Bringing a snapshot back, into a folder of its own.

use std::fs::File;
use std::io::Seek;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::ops::{Kind, Refusal};
use crate::sys::digest::sha256_of_reader;
use crate::sys::fs::{self, At};
use crate::sys::pack;
use crate::sys::unpack::{UnpackError, Unpacked, unpack};

/// What folders are called in which an archive is half unpacked.
const HALF: &str = ".tmp-restore-";

/// Opens an archive, if it is the one that a digest names: neither edited nor cut.
pub fn open(archive: &Path, digest: &str) -> Result<File> {
    let mut file = File::open(archive).map_err(|err| {
        Refusal::new(Kind::Invalid, format!("the archive `{}` cannot be read: {err}", archive.display()))
    })?;
    let found =
        sha256_of_reader(&mut file).with_context(|| format!("cannot read `{}`", archive.display()))?;
    if found != digest {
        let message = format!(
            "`{}` is not the archive that was taken: its digest is {found}, and not {digest}",
            archive.display()
        );
        return Err(Refusal::new(Kind::Invalid, message)
            .hint("it was changed since; nothing of it was unpacked")
            .into());
    }
    file.rewind()?;
    Ok(file)
}

/// Unpacks an archive into a folder that is not there yet, or empty. It is there as a whole, or not at all;
/// in the folder where we are, one file comes after the other, and all go again if one cannot.
pub fn restore(archive: &Path, digest: &str, target: &Path) -> Result<Unpacked> {
    ensure_empty(target)?;
    let target = &fs::resolved(target)?;
    let file = open(archive, digest)?;
    let above = match target.parent() {
        Some(above) if !above.as_os_str().is_empty() => above.to_owned(),
        _ => PathBuf::from("."),
    };
    fs::create_dir_all(&above)?;
    clear_up(&above);
    let made = above.join(format!("{HALF}{}", uuid::Uuid::new_v4().simple()));
    fs::create_private_dir(&made)?;
    // For as long as we are at it; one that nobody has locked is left by a process that was killed.
    let _lock = File::open(&made).and_then(|folder| folder.lock().map(|()| folder));
    let done = unpack_into(file, &made).and_then(|unpacked| {
        // An empty folder gives way to it.
        if target.is_dir() && !target.is_symlink() {
            use std::os::unix::fs::PermissionsExt;
            let mode = target.metadata()?.permissions().mode();
            std::fs::set_permissions(&made, std::fs::Permissions::from_mode(mode))?;
        } else {
            std::fs::set_permissions(&made, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        }
        // Whoever stands in a folder stays in it, and would not see another in its place.
        match fs::resolved(Path::new(".")).is_ok_and(|here| here == *target) {
            true => move_into(&made, target),
            false => fs::rename(&made, target),
        }
        .with_context(|| format!("`{}` cannot be put in its place", target.display()))?;
        Ok(unpacked)
    });
    if done.is_err() {
        let _ = fs::remove_tree(&made);
    }
    done
}

/// Removes what others left that were killed while they unpacked; not what somebody is just about to unpack into.
fn clear_up(above: &Path) {
    for entry in std::fs::read_dir(above).into_iter().flatten().flatten() {
        let is_half = entry.file_name().to_str().is_some_and(|name| {
            name.strip_prefix(HALF).is_some_and(|rest| uuid::Uuid::try_parse(rest).is_ok())
        });
        if !is_half || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        let has_begun = || std::fs::read_dir(&path).is_ok_and(|mut inside| inside.next().is_some());
        let is_left = File::open(&path).is_ok_and(|folder| folder.try_lock().is_ok() && has_begun());
        if is_left && let Err(err) = fs::remove_tree(&path) {
            tracing::debug!("what another restore left stays: {err}");
        }
    }
}

/// Moves all that is in a folder into an empty one, or nothing of it.
fn move_into(made: &Path, target: &Path) -> Result<(), fs::PathError> {
    let mut moved = Vec::new();
    let mut all = std::fs::read_dir(made).at(made)?;
    let done = all.try_for_each(|entry| {
        let entry = entry.at(made)?;
        let there = target.join(entry.file_name());
        fs::rename_new(&entry.path(), &there)?;
        moved.push((entry.path(), there));
        Ok(())
    });
    match done {
        Ok(()) => fs::remove_tree(made),
        Err(err) => {
            for (from, there) in moved {
                let _ = fs::rename_new(&there, &from);
            }
            Err(err)
        }
    }
}

/// Unpacks an archive that is open into a folder in which nothing is but a link to a repository.
pub fn unpack_into(archive: File, folder: &Path) -> Result<Unpacked> {
    let unpacked = pack::reader(archive).map_err(UnpackError::Damaged).and_then(|it| unpack(it, folder));
    unpacked.map_err(|err| match err {
        UnpackError::Unsafe { .. } | UnpackError::Swollen => {
            Refusal::new(Kind::Unsafe, err.to_string()).into()
        }
        UnpackError::Damaged(_) => Refusal::new(Kind::Invalid, err.to_string()).into(),
        UnpackError::Path(err) => err.into(),
    })
}

fn ensure_empty(target: &Path) -> Result<()> {
    let refuse = |message: String| {
        Refusal::new(Kind::Unsafe, message)
            .hint("name a folder that is not there yet: nothing is ever written over")
    };
    let found = match target.symlink_metadata() {
        Err(_) => return Ok(()),
        Ok(found) => found,
    };
    if !found.is_dir() {
        return Err(refuse(format!("`{}` is there already, and is no folder", target.display())).into());
    }
    let mut inside =
        std::fs::read_dir(target).with_context(|| format!("cannot look into `{}`", target.display()))?;
    match inside.next() {
        None => Ok(()),
        Some(_) => Err(refuse(format!("the folder `{}` is not empty", target.display())).into()),
    }
}
