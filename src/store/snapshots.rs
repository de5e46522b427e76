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
    root: PathBuf,
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

impl Snapshots {
    /// Returns the folder: `.runs/learning-snapshots`, unless `LEARNING_SNAPSHOT_DIR` says otherwise.
    pub fn of(layout: &Layout, env: &Env) -> Self {
        let root = match env.path(FOLDER_VARIABLE) {
            Some(named) => layout.root.join(named),
            None => layout.runs.join("learning-snapshots"),
        };
        Self { root }
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

    /// Returns all snapshots, of one task if it is named, oldest first. A document that says nothing is passed over.
    pub fn all(&self, only: Option<&TaskId>) -> Vec<Stored> {
        let mut found = Vec::new();
        for folder in std::fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let task = folder.file_name().to_str().and_then(|name| name.parse::<TaskId>().ok());
            let Some(task) = task.filter(|task| only.is_none_or(|only| only == task)) else { continue };
            let names = std::fs::read_dir(folder.path()).into_iter().flatten().flatten();
            found.extend(names.filter_map(|entry| self.read(&task, &entry.path())));
        }
        found.sort_by_key(|it| (it.snapshot.created_at, it.snapshot.id.clone()));
        found
    }

    fn read(&self, task: &TaskId, document: &Path) -> Option<Stored> {
        if document.extension().is_none_or(|extension| extension != "json") {
            return None;
        }
        let bytes = fs::read_regular(document, LARGEST).ok()?;
        let snapshot: Snapshot = serde_json::from_slice(&bytes).ok()?;
        let is_its_own = document == self.document(task, &snapshot.id) && snapshot.task_id == *task;
        let plain = !snapshot.archive.contains('/') && snapshot.archive != "..";
        if !is_its_own || !plain {
            return None;
        }
        let archive = self.task(task).join(&snapshot.archive);
        Some(Stored { snapshot, archive, document: document.to_owned() })
    }
}
