//! What one file of the work tree becomes: as it is to be where nobody changed it, else merged with what somebody did.

use std::fs;
use std::path::Path;

use super::super::error::At;
use super::super::fixed::{TreeChange, TreeFile};
use super::super::{GitError, Repo};
use super::{Obstacle, Shown, Step};
use crate::sys::exchange::{Place, Seen};

impl Repo {
    /// Decides about one file; nothing if it stays as it is.
    pub(super) fn step(
        &self,
        place: &Place,
        change: &TreeChange,
        shown: &Shown,
    ) -> Result<Result<Option<Step>, Obstacle>, GitError> {
        let path = change.path();
        let is_submodule = |file: &Option<TreeFile>| file.as_ref().is_some_and(TreeFile::is_submodule);
        if is_submodule(&change.old) || is_submodule(&change.new) {
            return Ok(Err(Obstacle::Submodule(path)));
        }
        let seen = match place.look(&path)? {
            Seen::Other if change.old.is_none() && shown.makes_room_for(&path) => Seen::Nothing,
            seen => seen,
        };
        let nothing = Seen::Nothing;
        let old_shown = shown.old.get(&path).unwrap_or(&nothing);
        let new_shown = shown.new.get(&path).unwrap_or(&nothing);
        let to =
            |new: Seen| Ok(Ok((new != seen).then(|| Step { path: path.clone(), seen: seen.clone(), new })));
        match (&change.old, &change.new, &seen) {
            (None, None, _) => Ok(Ok(None)),
            // Whoever deleted it does not want it back, and it is not what the commit is about.
            (Some(_), _, Seen::Nothing) => Ok(Ok(None)),
            (None, Some(_), Seen::Nothing) => to(new_shown.clone()),
            (None, Some(new), _) => match self.holds(&path, &seen, new, new_shown)? {
                true => to(with_mode(seen.clone(), None, new)),
                false => Ok(Err(Obstacle::Exists(path))),
            },
            (Some(old), None, _) => match self.holds(&path, &seen, old, old_shown)? {
                true => to(Seen::Nothing),
                false => Ok(Err(Obstacle::Edited(path))),
            },
            (Some(old), Some(new), _) => {
                if old.id == new.id && same_kind(old, &seen) && same_kind(new, &seen) {
                    return to(with_mode(seen.clone(), Some(old), new));
                }
                if same_content(&seen, old_shown) {
                    return to(in_place_of(&seen, new_shown, old, new));
                }
                let (Seen::File { bytes, .. }, Seen::File { .. }) = (&seen, old_shown) else {
                    return match same_content(&seen, new_shown) {
                        true => Ok(Ok(None)),
                        false => Ok(Err(Obstacle::OtherKind(path))),
                    };
                };
                let Seen::File { bytes: new_bytes, .. } = new_shown else {
                    return Ok(Err(Obstacle::OtherKind(path)));
                };
                let ours = self.cleaned(&path, bytes)?;
                let merged = if ours == old.id {
                    new_bytes.clone()
                } else if ours == new.id {
                    bytes.clone()
                } else {
                    match self.merged_blob(&ours, &old.id, &new.id)? {
                        Some(id) => self.smudged(&path, &id)?,
                        None => return Ok(Err(Obstacle::Overlaps(path))),
                    }
                };
                let merged = with_ends_of(bytes, merged);
                let mode = match &seen {
                    Seen::File { mode, .. } => *mode,
                    _ => 0o644,
                };
                to(with_mode(Seen::File { bytes: merged, mode }, Some(old), new))
            }
        }
    }

    /// Whether a file of the work tree is one of a tree.
    fn holds(&self, path: &Path, seen: &Seen, file: &TreeFile, shown: &Seen) -> Result<bool, GitError> {
        if same_content(seen, shown) {
            return Ok(true);
        }
        match (seen, shown) {
            (Seen::File { bytes, .. }, Seen::File { .. }) => Ok(self.cleaned(path, bytes)? == file.id),
            _ => Ok(false),
        }
    }

    /// Merges what became of a blob in two ways. Returns the blob that comes of it; nothing if both changed the same lines.
    pub(super) fn merged_blob(
        &self,
        ours: &str,
        base: &str,
        theirs: &str,
    ) -> Result<Option<String>, GitError> {
        let folder = tempfile::tempdir().at(&std::env::temp_dir())?;
        let mut names = Vec::new();
        for (name, id) in [("ours", ours), ("base", base), ("theirs", theirs)] {
            let bytes = self.blob(id)?;
            if memchr::memchr(0, &bytes).is_some() {
                return Ok(None);
            }
            let path = folder.path().join(name);
            fs::File::create(&path)
                .and_then(|mut file| std::io::Write::write_all(&mut file, &bytes))
                .at(&path)?;
            names.push(path);
        }
        // As many conflicts as it found, or 127 if there are more.
        let codes: Vec<i32> = (0..=127).collect();
        let git = self.git().args(["merge-file", "--stdout", "--quiet"]).args(&names);
        let (code, merged) = git.run_expecting(&codes)?;
        if code != 0 {
            return Ok(None);
        }
        self.git().args(["hash-object", "-w", "--stdin"]).given(&merged)?.line().map(Some)
    }
}

/// Whether two files hold the same, whoever may do what with them.
fn same_content(one: &Seen, other: &Seen) -> bool {
    match (one, other) {
        (Seen::File { bytes, .. }, Seen::File { bytes: others, .. }) => bytes == others,
        (one, other) => one == other && *one != Seen::Other,
    }
}

fn same_kind(file: &TreeFile, seen: &Seen) -> bool {
    match seen {
        Seen::File { .. } => file.mode.starts_with("100"),
        Seen::Link(_) => file.mode == "120000",
        Seen::Nothing | Seen::Other => false,
    }
}

/// Returns a file as a checkout writes it, with the permissions of the one that it takes the place of.
fn in_place_of(seen: &Seen, shown: &Seen, old: &TreeFile, new: &TreeFile) -> Seen {
    match (seen, shown) {
        (Seen::File { mode, .. }, Seen::File { bytes, .. }) => {
            with_mode(Seen::File { bytes: bytes.clone(), mode: *mode }, Some(old), new)
        }
        (_, shown) => shown.clone(),
    }
}

/// Returns a file that is a program, or none, if that is what changed.
fn with_mode(seen: Seen, old: Option<&TreeFile>, new: &TreeFile) -> Seen {
    match seen {
        Seen::File { bytes, mode } if old.is_none_or(|old| old.is_program() != new.is_program()) => {
            let mode = match new.is_program() {
                true => mode | ((mode & 0o444) >> 2),
                false => mode & !0o111,
            };
            Seen::File { bytes, mode }
        }
        other => other,
    }
}

/// Returns a text with the line ends that another one has all over, where git converts them anyway.
fn with_ends_of(model: &[u8], text: Vec<u8>) -> Vec<u8> {
    let ends = |bytes: &[u8]| {
        let all = memchr::memchr_iter(b'\n', bytes).count();
        let both = memchr::memmem::find_iter(bytes, b"\r\n").count();
        (all, both)
    };
    let ((all, both), (new_all, new_both)) = (ends(model), ends(&text));
    if all > 0 && both == all && new_both == 0 && new_all > 0 {
        let mut converted = Vec::with_capacity(text.len() + new_all);
        for byte in text {
            if byte == b'\n' {
                converted.push(b'\r');
            }
            converted.push(byte);
        }
        return converted;
    }
    if all > 0 && both == 0 && new_all > 0 && new_both == new_all {
        let mut converted = Vec::with_capacity(text.len());
        for (at, byte) in text.iter().enumerate() {
            if *byte != b'\r' || text.get(at + 1) != Some(&b'\n') {
                converted.push(*byte);
            }
        }
        return converted;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_stay_as_they_are_all_over() {
        let of =
            |model: &str, text: &str| String::from_utf8(with_ends_of(model.as_bytes(), text.into())).unwrap();
        for (model, text, expected) in [
            ("a\r\nb\r\n", "x\ny\n", "x\r\ny\r\n"),
            ("a\nb\n", "x\r\ny\r\n", "x\ny\n"),
            ("a\nb\r\n", "x\ny\n", "x\ny\n"),
            ("a\r\n", "x\r\ny\n", "x\r\ny\n"),
            ("", "x\n", "x\n"),
            ("a\r\n", "x", "x"),
        ] {
            assert_eq!(of(model, text), expected, "{model:?} {text:?}");
        }
    }
}
