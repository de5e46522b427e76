//! Where archives of snapshots are: one folder for each task, and in it an archive and a document of one name
//! for each snapshot.

use std::path::{Path, PathBuf};

use crate::id::{RunId, TaskId};
use crate::pipeline::learning::Compression;
use crate::run::snapshot::Snapshot;
use crate::store::layout::Layout;
use crate::store::pointers::pretty;
use crate::sys::env::Env;
use crate::sys::fs::{self, Durability, PathError};

/// The variable that names another folder for all of them.
pub const FOLDER_VARIABLE: &str = "LEARNING_SNAPSHOT_DIR";
/// No document is larger than this.
const LARGEST: u64 = 64 << 20;

/// The folder of all snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshots {
    /// Without links on the way.
    root: PathBuf,
    /// As it was named.
    named: PathBuf,
    /// The root of the worktree, without links on the way.
    worktree: PathBuf,
}

/// A snapshot, and where it is.
#[derive(Clone, Debug)]
pub struct Stored {
    pub snapshot: Snapshot,
    pub archive: PathBuf,
    pub document: PathBuf,
}

impl Stored {
    /// Returns all files that belong to it, but for its document.
    pub fn files(&self) -> Vec<PathBuf> {
        let more = ["scenario.json", "replays.ndjson"].map(|name| beside(&self.archive, name));
        more.into_iter().chain([self.archive.clone()]).collect()
    }
}

/// Returns the file beside an archive that has its name and another ending.
pub fn beside(archive: &Path, ending: &str) -> PathBuf {
    let name = archive.file_name().unwrap_or_default();
    let whole = name.to_string_lossy();
    let stem = Compression::of_name(name).map_or(&*whole, |(_, stem)| stem);
    archive.with_file_name(format!("{stem}.{ending}"))
}

fn resolved(path: &Path) -> PathBuf {
    fs::resolved(path).unwrap_or_else(|_| path.to_owned())
}

impl Snapshots {
    /// Returns the folder: `.runs/learning-snapshots`, unless `LEARNING_SNAPSHOT_DIR` says otherwise.
    pub fn of(layout: &Layout, env: &Env) -> Self {
        match env.path(FOLDER_VARIABLE).map(|named| layout.root.join(named)) {
            Some(named) => Self { root: resolved(&named), named, worktree: resolved(&layout.root) },
            None => Self::usual(layout),
        }
    }

    /// Returns the folder that it is unless a variable says otherwise.
    pub fn usual(layout: &Layout) -> Self {
        let root = layout.runs.join("learning-snapshots");
        Self { named: root.clone(), root, worktree: resolved(&layout.root) }
    }

    /// Returns a link on the way to the folder of a task that is inside of the worktree: a repository could ship it.
    pub fn link_to(&self, task: &TaskId) -> Option<PathBuf> {
        self.link(&self.named.join(task.as_str()))
    }

    fn link(&self, path: &Path) -> Option<PathBuf> {
        let inside = |part: &Path| {
            let above = part.parent().and_then(|above| fs::resolved(above).ok());
            above.is_some_and(|above| above.starts_with(&self.worktree))
        };
        path.ancestors().find(|part| part.is_symlink() && inside(part)).map(Path::to_owned)
    }

    /// Returns where they are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the folder of a task.
    pub fn task(&self, task: &TaskId) -> PathBuf {
        self.root.join(task.as_str())
    }

    /// Returns where the archive of a snapshot is.
    pub fn archive(&self, task: &TaskId, id: &RunId, compression: Compression) -> PathBuf {
        self.task(task).join(format!("{id}{}", compression.ending()))
    }

    /// Returns where the document of a snapshot is.
    pub fn document(&self, task: &TaskId, id: &RunId) -> PathBuf {
        self.task(task).join(format!("{id}.json"))
    }

    /// Writes the document of a snapshot, whose archive is there already.
    pub fn keep(&self, snapshot: &Snapshot) -> Result<PathBuf, PathError> {
        let document = self.document(&snapshot.task_id, &snapshot.id);
        fs::write_atomically(&document, &pretty(snapshot), Durability::Power)?;
        Ok(document)
    }

    /// Returns all snapshots, of one task if it is named, oldest first. A document that is damaged is passed over.
    pub fn all(&self, only: Option<&TaskId>) -> Vec<Stored> {
        let documents = self.documents(only).into_iter();
        let mut found: Vec<_> = documents.filter_map(|(task, path)| self.read(&task, &path)).collect();
        found.sort_by_key(|it| (it.snapshot.created_at, it.snapshot.id.clone()));
        found
    }

    /// Returns the documents that do not say what the document of a snapshot of their name would.
    pub fn damaged(&self, only: Option<&TaskId>) -> Vec<PathBuf> {
        let documents = self.documents(only).into_iter();
        let damaged = documents.filter(|(task, path)| self.read(task, path).is_none());
        let mut damaged: Vec<_> = damaged.map(|(_, path)| path).collect();
        damaged.sort();
        damaged
    }

    /// Returns the folders of tasks, of one if it is named. A link is none: it could lead anywhere.
    pub fn folders(&self, only: Option<&TaskId>) -> Vec<(TaskId, PathBuf)> {
        if self.link(&self.named).is_some() {
            return Vec::new();
        }
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let named = folders.filter_map(|entry| {
            let task = entry.file_name().to_str()?.parse::<TaskId>().ok()?;
            Some((task, entry.path()))
        });
        named.filter(|(task, _)| only.is_none_or(|only| only == task)).collect()
    }

    /// Whether anything of a snapshot is there, whatever its task.
    pub fn has_any(&self, id: &RunId) -> bool {
        let is_of = |task: &TaskId| {
            let archives = Compression::ALL.map(|it| self.archive(task, id, it));
            archives.into_iter().chain([self.document(task, id)]).any(|path| path.symlink_metadata().is_ok())
        };
        self.folders(None).iter().any(|(task, _)| is_of(task))
    }

    fn documents(&self, only: Option<&TaskId>) -> Vec<(TaskId, PathBuf)> {
        let mut found = Vec::new();
        for (task, folder) in self.folders(only) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
                let id = id.filter(|id| !id.ends_with(".scenario") && !id.starts_with('.'));
                if id.is_some_and(|id| id.parse::<RunId>().is_ok()) {
                    found.push((task.clone(), entry.path()));
                }
            }
        }
        found
    }

    fn read(&self, task: &TaskId, document: &Path) -> Option<Stored> {
        let bytes = fs::read_regular(document, LARGEST).ok()?;
        let snapshot: Snapshot = serde_json::from_slice(&bytes).ok()?;
        let is_its_own = document == self.document(task, &snapshot.id) && snapshot.task_id == *task;
        // What else a document names is not ours to read, nor to remove.
        let mut archives = Compression::ALL.into_iter().map(|it| self.archive(task, &snapshot.id, it));
        let archive = archives.find(|path| path.file_name() == Some(snapshot.archive.as_ref()))?;
        if !is_its_own {
            return None;
        }
        Some(Stored { snapshot, archive, document: document.to_owned() })
    }
}
