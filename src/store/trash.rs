//! Runs that go: first out of sight in one step, then off the disk.
//!
//! A run is renamed into `.runs/.trash`, and its pointers follow. A process that dies in between leaves
//! a folder there that says which run it was, and [`finish`] does the rest.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::id::{RunId, TaskId};
use crate::run::retention::YOUNG_SECONDS;
use crate::run::stamp::Stamp;
use crate::store::layout::Layout;
use crate::store::legacy::{self, Kind};
use crate::store::pointers::pretty;
use crate::sys::fs::{self, At, Durability, PathError};

/// Which run a folder of the trash holds.
#[derive(Serialize, Deserialize)]
struct Entry {
    task_id: TaskId,
    run_id: RunId,
}

fn root(layout: &Layout) -> PathBuf {
    layout.runs.join(".trash")
}

/// Removes a run with everything that points at it. The caller holds its lease.
pub fn discard(layout: &Layout, task: &TaskId, run: &RunId) -> Result<(), PathError> {
    let root = root(layout);
    if root.is_symlink() {
        return Err(io::Error::other("it is a symbolic link")).at(&root);
    }
    let bin = root.join(uuid::Uuid::new_v4().to_string());
    fs::create_dir_all(&bin)?;
    let entry = Entry { task_id: task.clone(), run_id: run.clone() };
    fs::write_atomically(&bin.join("entry.json"), &pretty(&entry), Durability::Process)?;
    // From here on nobody sees the run any more.
    fs::rename_new(&layout.run(task, run).dir, &bin.join("run"))?;
    empty(layout, &bin, task, run)
}

/// Ends what processes that died had begun.
pub fn finish(layout: &Layout) -> Result<usize, PathError> {
    let root = root(layout);
    if root.is_symlink() {
        return Ok(0);
    }
    let mut finished = 0;
    for entry in std::fs::read_dir(&root).into_iter().flatten() {
        let bin = entry.at(&root)?.path();
        let entry = fs::read_if_there(&bin.join("entry.json"))?;
        match entry.and_then(|bytes| serde_json::from_slice::<Entry>(&bytes).ok()) {
            // If the run is still in its place, its pointers are right.
            Some(Entry { task_id, run_id }) if !layout.run(&task_id, &run_id).dir.exists() => {
                empty(layout, &bin, &task_id, &run_id)?;
            }
            _ => fs::remove_tree(&bin)?,
        }
        finished += 1;
    }
    Ok(finished)
}

/// Removes the pointers of a run that is in the trash, and then the rest of it.
fn empty(layout: &Layout, bin: &Path, task: &TaskId, run: &RunId) -> Result<(), PathError> {
    for (name, pointer) in pointers(layout, task, run) {
        // In one step too: no reader sees half a pointer.
        fs::rename_new(&pointer, &bin.join(name))?;
    }
    fs::remove_tree(bin)
}

/// Returns the folders that exist only because of a run.
fn pointers(layout: &Layout, task: &TaskId, run: &RunId) -> Vec<(&'static str, PathBuf)> {
    let folder = layout.task(task);
    let is_dir = |(_, path): &(&str, PathBuf)| path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    let mut found = Vec::new();
    // A run may be called like a folder of the layout.
    if !["cli", "mcp", "metrics", "metrics.pending", "migrations"].contains(&run.as_str()) {
        found.push(("copy", folder.join(run.as_str())));
    }
    found.push(("mcp", folder.join("mcp").join(run.as_str())));
    let local = legacy::root(layout).join(run.as_str());
    if leads_to(layout, &local, task, run) {
        found.push(("local", local));
    }
    found.retain(is_dir);
    found
}

/// Whether a folder of `local-mcp` points at this run and not at one of another task.
fn leads_to(layout: &Layout, local: &Path, task: &TaskId, run: &RunId) -> bool {
    let pointer = local.join("manifest.json");
    if !matches!(legacy::look(local), Kind::Pointer) {
        return false;
    }
    match std::fs::read_link(&pointer) {
        Ok(target) => {
            target.ends_with(Path::new(task.as_str()).join("cli").join(run.as_str()).join("manifest.json"))
        }
        Err(_) => std::fs::read(&pointer)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok())
            .is_some_and(|document| document["redirect_to"] == layout.relative(&layout.run(task, run).dir)),
    }
}

/// Removes the files that processes which died had half written, and returns them. Only those older
/// than an hour: no process takes so long over one.
pub fn sweep(layout: &Layout, tasks: &[TaskId], at: Stamp, dry_run: bool) -> Result<Vec<PathBuf>, PathError> {
    let mut folders = vec![layout.runs.clone()];
    for task in tasks {
        let (runs, out) = (layout.task(task), layout.task_out(task));
        folders.extend(["", "metrics", "metrics.pending", "migrations"].map(|name| runs.join(name)));
        folders.extend(["", "metrics", "control-plane"].map(|name| out.join(name)));
        for kind in ["cli", "mcp"] {
            for entry in std::fs::read_dir(runs.join(kind)).into_iter().flatten().flatten() {
                folders.extend([entry.path(), entry.path().join("errors")]);
            }
        }
    }
    let mut swept = Vec::new();
    for folder in folders {
        // Nothing of ours is behind a link.
        if !folder.starts_with(&layout.runs) && !folder.starts_with(&layout.out) || folder.is_symlink() {
            continue;
        }
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_temporary = entry.file_name().to_str().is_some_and(|name| name.starts_with(".tmp-"));
            if !is_temporary
                || !is_old(&path, at)
                || !path.symlink_metadata().is_ok_and(|meta| meta.is_file())
            {
                continue;
            }
            if !dry_run {
                fs::remove(&path)?;
            }
            swept.push(path);
        }
    }
    Ok(swept)
}

/// Whether nobody has changed a file or folder for an hour.
pub fn is_old(path: &Path, at: Stamp) -> bool {
    let Ok(modified) = path.symlink_metadata().and_then(|meta| meta.modified()) else { return false };
    let since_1970 = modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    at.as_millis() as f64 / 1000.0 - since_1970.as_secs_f64() >= YOUNG_SECONDS
}
