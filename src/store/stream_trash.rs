//! Streams that were removed, kept for a day: their folder, git's entry of it, and what is known of both.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::run::stamp::Stamp;
use crate::store::pointers::pretty;
use crate::store::streams::Stream;
use crate::sys::fs::{self, At, Durability, PathError};
use crate::sys::room;

/// How long a removed stream can be had back.
pub const KEPT_SECONDS: f64 = 86_400.0;

/// A stream that was removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Removed {
    pub version: u32,
    pub stream: Stream,
    /// Where its folder is now.
    pub tree: PathBuf,
    /// git's name of its worktree, if git knew it.
    pub worktree: Option<String>,
    /// The commit that its branch named, if that was removed too.
    pub branch_at: Option<String>,
    /// What git's configuration said about the branch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branch_settings: Vec<(String, String)>,
    pub removed_at: Stamp,
}

/// One place in the trash.
#[derive(Clone, Debug)]
pub struct Bin {
    folder: PathBuf,
    pub removed: Removed,
}

impl Bin {
    /// Returns every removed stream, newest first. `common_dir` is that of the repository.
    pub fn all(common_dir: &Path) -> Vec<Self> {
        let entries = std::fs::read_dir(trash(common_dir)).into_iter().flatten().flatten();
        let read = |folder: PathBuf| {
            let bytes = fs::read_if_there(&folder.join("entry.json")).ok()??;
            let removed = serde_json::from_slice(&bytes).ok()?;
            Some(Self { folder, removed })
        };
        let mut all: Vec<_> = entries.filter_map(|entry| read(entry.path())).collect();
        all.sort_by_key(|bin| std::cmp::Reverse(bin.removed.removed_at));
        all
    }

    /// Makes a place for a stream, and notes what goes there before anything does. `entry` is where git knows its
    /// worktree; `branch` is the commit that its branch names, if that goes too, and its settings. If somebody was
    /// killed who removed it before, that place is used again.
    pub fn new(
        common_dir: &Path,
        stream: &Stream,
        entry: Option<&Path>,
        branch: (Option<String>, Vec<(String, String)>),
        at: Stamp,
    ) -> Result<Self, PathError> {
        let same = |bin: &Self| {
            let known = &bin.removed.stream;
            (&known.name, known.created_at) == (&stream.name, stream.created_at) && !bin.holds_entry()
        };
        let (branch_at, mut branch_settings) = branch;
        let begun = Self::all(common_dir).into_iter().find(|bin| same(bin) && bin.holds_tree());
        let bin = match begun {
            Some(Self { folder, removed }) => {
                let branch_at = branch_at.or_else(|| removed.branch_at.clone());
                if branch_settings.is_empty() {
                    branch_settings.clone_from(&removed.branch_settings);
                }
                Self { folder, removed: Removed { branch_at, branch_settings, removed_at: at, ..removed } }
            }
            None => {
                let id = uuid::Uuid::new_v4().to_string();
                let folder = trash(common_dir).join(&id);
                fs::create_dir_all(&folder)?;
                let near = format!(".{}.removed-{}", stream.name.as_folder(), &id[..8]);
                // A folder on another disk can only be renamed there.
                let tree = match room::is_same_disk(&stream.path, &folder) {
                    true => folder.join("tree"),
                    false => stream.path.with_file_name(near),
                };
                let worktree =
                    entry.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
                let stream = stream.clone();
                let removed = Removed {
                    version: 1,
                    stream,
                    tree,
                    worktree,
                    branch_at,
                    branch_settings,
                    removed_at: at,
                };
                Self { folder, removed }
            }
        };
        bin.note()?;
        Ok(bin)
    }

    /// Whether the folder of the stream is in it.
    pub fn holds_tree(&self) -> bool {
        self.removed.tree.symlink_metadata().is_ok()
    }

    /// Whether git's part of the stream is in it.
    pub fn holds_entry(&self) -> bool {
        self.entry().exists()
    }

    fn note(&self) -> Result<(), PathError> {
        fs::write_atomically(&self.folder.join("entry.json"), &pretty(&self.removed), Durability::Process)
    }

    /// Notes that the branch stayed.
    pub fn kept_branch(&mut self) -> Result<(), PathError> {
        self.removed.branch_at = None;
        self.removed.branch_settings.clear();
        self.note()
    }

    /// Takes the folder of the stream, and git's entry of it, as far as they are there.
    pub fn take(&self, entry: Option<&Path>) -> Result<(), PathError> {
        let path = &self.removed.stream.path;
        if path.symlink_metadata().is_ok() {
            fs::rename_new(path, &self.removed.tree)?;
        }
        self.take_entry(entry)
    }

    /// Takes git's entry alone: its folder is gone, or is somebody else's by now.
    pub fn take_entry(&self, entry: Option<&Path>) -> Result<(), PathError> {
        entry.map_or(Ok(()), |entry| fs::rename_new(entry, &self.entry()))
    }

    /// Returns the name of this place.
    pub fn place(&self) -> String {
        self.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Whether there is a place of a name.
    pub fn is_there(common_dir: &Path, place: &str) -> bool {
        trash(common_dir).join(place).is_dir()
    }

    /// Where git's entry is kept.
    pub fn entry(&self) -> PathBuf {
        self.folder.join("git")
    }

    /// Whether it was kept for long enough.
    pub fn is_over(&self, now: Stamp) -> bool {
        now.seconds_since(self.removed.removed_at) >= KEPT_SECONDS
    }

    /// Forgets it when all that was in it is back.
    pub fn forget(&self) -> Result<(), PathError> {
        fs::remove_tree(&self.folder)
    }

    /// Removes it from the disk. Nothing is touched if something is mounted in it.
    pub fn empty(&self) -> Result<(), PathError> {
        if let Some(mount) = room::mounted_in(&self.removed.tree).or_else(|| room::mounted_in(&self.folder)) {
            return Err(io::Error::other("something is mounted here")).at(&mount);
        }
        fs::remove_tree(&self.removed.tree)?;
        fs::remove_tree(&self.folder)
    }
}

fn trash(common_dir: &Path) -> PathBuf {
    common_dir.join("orchestrate/streams/trash")
}
