//! `out/<task>/control-plane/drift.json`: how many run requests were valid (`contract-core.md` §7.9).

use serde_json::{Value, json};

use crate::id::{RunId, TaskId};
use crate::run::stamp::Stamp;
use crate::store::layout::Layout;
use crate::store::pointers::pretty;
use crate::sys::fs::{self, Durability, PathError};

/// The entries that are kept.
const KEPT: usize = 50;

/// Counts one valid request. The caller holds the task's lock. A file that cannot be understood is
/// begun again: it must never stop a run.
pub fn record(layout: &Layout, task: &TaskId, run: &RunId, mode: &str, at: Stamp) -> Result<(), PathError> {
    let folder = layout.task_out(task).join("control-plane");
    fs::create_dir_all(&folder)?;
    let path = folder.join("drift.json");
    let before = fs::read_if_there(&path)?.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let before = before.unwrap_or(Value::Null);
    let total = before["total_samples"].as_u64().unwrap_or(0) + 1;
    let invalid = before["invalid_samples"].as_u64().unwrap_or(0);
    let mut entries = before["entries"].as_array().cloned().unwrap_or_default();
    if entries.is_empty() {
        entries.push(json!({"request_id": run, "timestamp": at, "status": "passed", "mode": mode}));
    }
    let surplus = entries.len().saturating_sub(KEPT);
    entries.drain(..surplus);
    let document = json!({
        "schema_id": "codex.control-plane.run-request",
        "schema_version": "2.0.0",
        "total_samples": total,
        "invalid_samples": invalid,
        "invalid_rate": invalid as f64 / total as f64,
        "last_sampled_at": at,
        "mode": mode,
        "entries": entries,
    });
    fs::write_atomically(&path, &pretty(&document), Durability::Process)
}
