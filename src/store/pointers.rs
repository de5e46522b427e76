//! Compatibility pointers: where tools of the older layout look for a run (`contract-core.md` §7.2).

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::id::{RunId, TaskId};
use crate::run::stamp::Stamp;
use crate::store::layout::{Layout, RunPaths};
use crate::sys::fs::{self, Durability, PathError};

/// Writes the pointers of a run. A run whose pointers cannot be written does not start.
pub fn write(
    layout: &Layout,
    task: &TaskId,
    run: &RunId,
    paths: &RunPaths,
    at: Stamp,
) -> Result<(), PathError> {
    let mcp = layout.task(task).join("mcp").join(run.as_str());
    fs::create_dir_all(&mcp)?;
    let pointer = json!({
        "redirect_to": layout.relative(&paths.dir),
        "manifest": layout.relative(&paths.manifest),
        "created_at": at,
        "note": "The run lives in the folder named above.",
    });
    fs::write_atomically(&mcp.join("manifest.json"), &pretty(&pointer), Durability::Process)?;
    local(layout, task, run, paths)
}

/// Writes the pointer of a run in `local-mcp`; leaves one that is there alone.
pub fn local(layout: &Layout, task: &TaskId, run: &RunId, paths: &RunPaths) -> Result<(), PathError> {
    let local = layout.runs.join("local-mcp").join(run.as_str());
    fs::create_dir_all(&local)?;
    let target: PathBuf = ["..", "..", task.as_str(), "cli", run.as_str(), "manifest.json"].iter().collect();
    let link = local.join("manifest.json");
    if fs::symlink(&target, &link).is_err() {
        // A file system without links gets a small document.
        let pointer = json!({
            "redirect_to": layout.relative(&paths.dir),
            "manifest": layout.relative(&paths.manifest),
        });
        fs::write_atomically(&link, &pretty(&pointer), Durability::Process)?;
    }
    Ok(())
}

/// Follows a pointer of any of the shapes that were ever written: the document of `mcp/`, its
/// fallback `compat.json`, the migrator's `compat.json`, or a manifest itself. Returns the run's
/// folder if one is there.
pub fn follow(layout: &Layout, pointer: &Path) -> Option<PathBuf> {
    if pointer.is_symlink() {
        let target = pointer.canonicalize().ok()?;
        return Some(target.parent()?.to_owned());
    }
    let bytes = std::fs::read(pointer).ok()?;
    let document: Value = serde_json::from_slice(&bytes).ok()?;
    if document.get("run_id").is_some() {
        return Some(pointer.parent()?.to_owned());
    }
    let target = ["redirect_to", "artifact_root"].iter().find_map(|key| document.get(key)?.as_str())?;
    let dir = layout.root.join(target);
    dir.join("manifest.json").exists().then_some(dir)
}

/// Returns a document as our files have it: two spaces, and a newline at the end.
pub fn pretty(document: &impl serde::Serialize) -> Vec<u8> {
    let mut json =
        serde_json::to_vec_pretty(document).expect("our documents have string keys and finite numbers");
    json.push(b'\n');
    json
}
