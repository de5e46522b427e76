//! Runs of the older layout: `.runs/local-mcp/<run>`, and how one moves to where runs live now.
//!
//! A folder there is a run, or a pointer to one that lives elsewhere; a pointer is never moved.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::id::{RunId, TaskId};
use crate::run::manifest::Manifest;
use crate::run::stamp::Stamp;
use crate::store::layout::{Layout, RunPaths};
use crate::store::pointers::{self, pretty};
use crate::sys::fs::{self, At, Durability, PathError};

/// The migration log (`contract-core.md` §7.13).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Log {
    pub generated_at: Stamp,
    pub dry_run: bool,
    pub task_id: TaskId,
    pub repo_root: String,
    pub legacy_root: String,
    pub task_runs_root: String,
    pub runs: Vec<Logged>,
}

/// One run of the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Logged {
    pub run_id: String,
    pub source: String,
    pub destination: String,
    pub status: Status,
    pub message: String,
}

/// What becomes of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It will be moved; in the log of a migration also: it was begun, and perhaps not finished.
    Planned,
    Migrated,
    Skipped,
    Error,
}

/// What lies below `local-mcp`.
#[derive(Debug)]
pub enum Kind {
    /// A run, and its manifest.
    Run(Map<String, Value>),
    /// It only points at a run.
    Pointer,
    /// Neither, and why.
    Broken(String),
}

/// Returns the folder of the older layout.
pub fn root(layout: &Layout) -> PathBuf {
    layout.runs.join("local-mcp")
}

/// Returns everything below the folder of the older layout, by name.
pub fn entries(layout: &Layout) -> Result<Vec<PathBuf>, PathError> {
    let root = root(layout);
    let listing = match std::fs::read_dir(&root) {
        Ok(listing) => listing,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(err).at(&root),
    };
    let mut paths = Vec::new();
    for entry in listing {
        paths.push(entry.at(&root)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Tells a run from a pointer. No link is followed.
pub fn look(dir: &Path) -> Kind {
    let is_dir = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    if !is_dir(dir) {
        return Kind::Pointer;
    }
    let path = dir.join("manifest.json");
    let meta = match std::fs::symlink_metadata(&path) {
        Ok(meta) => meta,
        Err(_) if dir.join("compat.json").is_file() => return Kind::Pointer,
        Err(err) => return Kind::Broken(format!("there is no `manifest.json`: {err}")),
    };
    if meta.is_symlink() {
        return Kind::Pointer;
    }
    if !meta.is_file() {
        return Kind::Broken("`manifest.json` is no file".to_owned());
    }
    let document = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice::<Value>(&bytes).map_err(|err| err.to_string()),
        Err(err) => Err(err.to_string()),
    };
    match document {
        Ok(Value::Object(fields)) => {
            let points = ["redirect_to", "artifact_root"].iter().any(|key| fields.contains_key(*key));
            match points && !fields.contains_key("run_id") && !fields.contains_key("status") {
                true => Kind::Pointer,
                false => Kind::Run(fields),
            }
        }
        Ok(_) => Kind::Broken("`manifest.json` is no JSON object".to_owned()),
        Err(err) => Kind::Broken(format!("`manifest.json` cannot be read: {err}")),
    }
}

/// Returns the manifest as it will stand in its new place, or why none can be made of it.
pub fn adopted(
    layout: &Layout,
    (task, run): (&TaskId, &RunId),
    source: &Path,
    mut fields: Map<String, Value>,
    at: Stamp,
) -> Result<(Map<String, Value>, Manifest), String> {
    let paths = layout.run(task, run);
    let (from, to) = (layout.relative(source), layout.relative(&paths.dir));
    let compat = layout.relative(&layout.task(task).join("mcp").join(run.as_str()));
    if let Some(other) = fields.get("run_id").filter(|id| !id.is_null() && **id != run.as_str()) {
        return Err(format!("its manifest is that of another run: {other}"));
    }
    let mut default = |key: &str, value: Value| {
        if fields.get(key).is_none_or(Value::is_null) {
            fields.insert(key.to_owned(), value);
        }
    };
    default("run_id", json!(run));
    default("task_id", json!(task));
    default("metrics_recorded", json!(true));
    default("resume_token", Value::Null);
    default("resume_events", json!([]));
    // The oldest recordings keep their end in a file of its own.
    if let Some(code) = exit_code(source) {
        default("status", json!(if code == 0 { "succeeded" } else { "failed" }));
    }
    fields.values_mut().for_each(|value| relocate(value, &from, &to));
    fields.insert("artifact_root".to_owned(), json!(to));
    fields.insert("compat_path".to_owned(), json!(compat));
    fields.insert("updated_at".to_owned(), json!(at));
    let manifest = serde_json::from_value(Value::Object(fields.clone()))
        .map_err(|err| format!("its manifest is none that can be read afterwards: {err}"))?;
    Ok((fields, manifest))
}

fn exit_code(source: &Path) -> Option<i64> {
    let bytes = std::fs::read(source.join("result.json")).ok()?;
    serde_json::from_slice::<Value>(&bytes).ok()?.get("exit_code")?.as_i64()
}

/// Corrects paths that name the old place.
fn relocate(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::String(text) => {
            if let Some(rest) = text.strip_prefix(from).filter(|rest| rest.starts_with('/')) {
                *text = format!("{to}{rest}");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| relocate(item, from, to)),
        Value::Object(fields) => fields.values_mut().for_each(|value| relocate(value, from, to)),
        _ => {}
    }
}

/// Moves a run to its new place. Whatever step is the last one, [`point`] or another call finishes it.
pub fn move_run(
    layout: &Layout,
    (task, run): (&TaskId, &RunId),
    source: &Path,
    manifest: &Map<String, Value>,
    at: Stamp,
) -> Result<(), PathError> {
    let paths = layout.run(task, run);
    fs::create_dir_all(&layout.task(task).join("cli"))?;
    fs::write_atomically(&source.join("manifest.json"), &pretty(manifest), Durability::Power)?;
    fs::rename_new(source, &paths.dir)?;
    point(layout, (task, run), &paths, at)
}

/// Leaves pointers to a run that was moved, where none are.
pub fn point(
    layout: &Layout,
    (task, run): (&TaskId, &RunId),
    paths: &RunPaths,
    at: Stamp,
) -> Result<(), PathError> {
    let mcp = layout.task(task).join("mcp").join(run.as_str());
    fs::create_dir_all(&mcp)?;
    let target: PathBuf = ["..", "..", "cli", run.as_str(), "manifest.json"].iter().collect();
    fs::symlink(&target, &mcp.join("manifest.json"))?;
    let compat = mcp.join("compat.json");
    if !compat.exists() {
        let document = json!({
            "artifact_root": layout.relative(&paths.dir),
            "manifest": layout.relative(&paths.manifest),
            "created_at": at,
        });
        fs::write_atomically(&compat, &pretty(&document), Durability::Process)?;
    }
    pointers::local(layout, task, run, paths)
}

fn folder(layout: &Layout, task: &TaskId) -> PathBuf {
    layout.task(task).join("migrations")
}

/// Returns where the log of a migration that begins now belongs.
pub fn log_path(layout: &Layout, task: &TaskId, at: Stamp, dry_run: bool) -> PathBuf {
    let kind = if dry_run { "dry-run" } else { "migration" };
    folder(layout, task).join(format!("{}-{kind}.log", at.as_run_prefix()))
}

/// Replaces a log.
pub fn write_log(path: &Path, log: &Log) -> Result<(), PathError> {
    fs::create_dir_all(path.parent().expect("a log has a folder"))?;
    fs::write_atomically(path, &pretty(log), Durability::Power)
}

/// Returns the logs of migrations of a task that did not get to their end.
pub fn unfinished(layout: &Layout, task: &TaskId) -> Vec<(PathBuf, Log)> {
    let entries = std::fs::read_dir(folder(layout, task)).into_iter().flatten();
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.to_string_lossy().ends_with("-migration.log") && !path.is_symlink());
    paths.sort();
    let logs = paths.into_iter().filter_map(|path| {
        let log: Log = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        Some((path, log))
    });
    logs.filter(|(_, log)| log.runs.iter().any(|run| run.status == Status::Planned)).collect()
}
