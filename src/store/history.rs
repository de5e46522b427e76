//! `out/<task>/runs.json`: the summary of every run of a task (`contract-core.md` §7.6).
//!
//! The file is one JSON document, but we write it one run per line: a new run is added by copying
//! the bytes before it, which the kernel does, and not by reading a history that only grows.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::{Value, json};

use crate::id::TaskId;
use crate::run::stamp::Stamp;
use crate::run::summary::RunSummary;
use crate::store::layout::Layout;
use crate::sys::fs::{self, At, Durability, PathError};

const TAIL: &[u8] = b"\n  ]\n}\n";

fn head(task: &TaskId, at: Stamp) -> String {
    format!("{{\n  \"taskId\": {},\n  \"lastRunAt\": \"{at}\",\n  \"runs\": [\n", json!(task))
}

/// What became of the history.
#[derive(Debug, PartialEq, Eq)]
pub enum Added {
    Fine,
    /// The file could not be understood. It was moved here, and a new one begun.
    Quarantined(std::path::PathBuf),
}

/// Adds a run to the history of its task, replacing an earlier summary of the same run. The caller
/// holds the task's lock. `may_replace` is whether there may be one.
pub fn add(
    layout: &Layout,
    task: &TaskId,
    summary: &RunSummary,
    may_replace: bool,
) -> Result<Added, PathError> {
    let folder = layout.task_out(task);
    fs::create_dir_all(&folder)?;
    let path = folder.join("runs.json");
    let item = serde_json::to_vec(summary).expect("a summary has string keys and finite numbers");
    if !may_replace && append(&path, task, summary.timestamp, &item)? {
        return Ok(Added::Fine);
    }
    rewrite(&folder, &path, task, summary, &item)
}

/// Adds a run to a file of our own form. Returns false if it is not.
fn append(path: &Path, task: &TaskId, at: Stamp, item: &[u8]) -> Result<bool, PathError> {
    let Ok(mut old) = File::open(path) else { return Ok(false) };
    let head = head(task, at);
    let len = old.metadata().at(path)?.len();
    if len < (head.len() + TAIL.len()) as u64 {
        return Ok(false);
    }
    let mut begin = vec![0; head.len()];
    let mut end = vec![0; TAIL.len()];
    old.read_exact(&mut begin).at(path)?;
    old.seek(SeekFrom::Start(len - TAIL.len() as u64)).at(path)?;
    old.read_exact(&mut end).at(path)?;
    // All but the time, which has a fixed width.
    let time = head.find(&at.to_string()).expect("the head holds the time");
    let time = time..time + at.to_string().len();
    let differs = |at: usize| !time.contains(&at) && begin[at] != head.as_bytes()[at];
    if end != TAIL || (0..head.len()).any(differs) {
        return Ok(false);
    }
    old.seek(SeekFrom::Start(head.len() as u64)).at(path)?;
    let kept = len - (head.len() + TAIL.len()) as u64;
    fs::replace(path, Durability::Process, None, |new| {
        new.write_all(head.as_bytes())?;
        io::copy(&mut (&mut old).take(kept), new)?;
        new.write_all(if kept == 0 { b"" } else { b",\n" })?;
        new.write_all(item)?;
        new.write_all(TAIL)
    })?;
    Ok(true)
}

fn rewrite(
    folder: &Path,
    path: &Path,
    task: &TaskId,
    summary: &RunSummary,
    item: &[u8],
) -> Result<Added, PathError> {
    let mut added = Added::Fine;
    let mut runs = Vec::new();
    // Before it had a file of its own, the history stood in `state.json`.
    let legacy = folder.join("state.json");
    for (file, is_legacy) in [(path, false), (legacy.as_path(), true)] {
        // A folder or an unreadable file in the way is reported when we write.
        let Some(bytes) = fs::read_if_there(file).unwrap_or_default() else { continue };
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(mut document) if document["taskId"] == task.as_str() && document["runs"].is_array() => {
                let Some(Value::Array(items)) = document.get_mut("runs").map(Value::take) else { continue };
                runs = items;
                break;
            }
            _ if is_legacy => {}
            _ => {
                let aside = folder.join(format!("runs.json.corrupt-{}", summary.timestamp.as_run_prefix()));
                fs::rename(file, &aside)?;
                added = Added::Quarantined(aside);
            }
        }
    }
    runs.retain(|run| run["runId"] != summary.run_id.as_str());
    runs.sort_by(|a, b| a["timestamp"].as_str().cmp(&b["timestamp"].as_str()));
    fs::replace(path, Durability::Process, None, |new| {
        new.write_all(head(task, summary.timestamp).as_bytes())?;
        for run in &runs {
            serde_json::to_writer(&mut *new, run)?;
            new.write_all(b",\n")?;
        }
        new.write_all(item)?;
        new.write_all(TAIL)
    })?;
    Ok(added)
}
