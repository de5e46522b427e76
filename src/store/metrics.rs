//! `metrics.json`, one line per finished run, and the aggregates beside it.

use std::io::{BufRead, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::id::TaskId;
use crate::run::metrics::{CountedLine, MetricsLine, Totals};
use crate::run::stamp::Stamp;
use crate::store::layout::Layout;
use crate::store::pointers::pretty;
use crate::sys::fs::{self, Appender, At, Durability, PathError};

/// Sums that spare us reading `metrics.json` again, and how much of it they cover.
#[derive(Serialize, Deserialize)]
struct Cache {
    bytes: u64,
    totals: Totals,
}

/// Returns where the lines of a task stand.
pub fn file(layout: &Layout, task: &TaskId) -> PathBuf {
    layout.task(task).join("metrics.json")
}

fn pending(layout: &Layout, task: &TaskId) -> PathBuf {
    layout.task(task).join("metrics.pending")
}

/// Appends the line of a run and rewrites the aggregates. The caller holds the task's lock. Returns
/// the aggregates that could not be written: the line is there without them.
///
/// `maybe_there` is whether an interrupted process may have appended the line already.
pub fn record(
    layout: &Layout,
    task: &TaskId,
    line: &MetricsLine,
    maybe_there: bool,
    at: Stamp,
) -> Result<Vec<PathError>, PathError> {
    let path = file(layout, task);
    let folder = layout.task(task).join("metrics");
    fs::create_dir_all(&folder)?;
    let mut lines = Appender::open(&path)?;
    let cache_path = folder.join(".totals.json");
    let cache =
        fs::read_if_there(&cache_path)?.and_then(|bytes| serde_json::from_slice::<Cache>(&bytes).ok());
    let mut totals = match cache {
        Some(cache) if cache.bytes == lines.len() => cache.totals,
        Some(cache) if cache.bytes < lines.len() => count_on(&path, cache)?,
        _ => count(&path)?,
    };
    for queued in queued(layout, task) {
        for line in queued.lines {
            // A crash may have come between the line and the end of its queue.
            if !serde_json::from_slice(&line).is_ok_and(|key| stands_in(&path, &key).unwrap_or(false)) {
                add(&mut lines, &mut totals, &[&line, &b"\n"[..]].concat())?;
            }
        }
        fs::remove(&queued.path)?;
    }
    if let Some(json) = to_append(&path, line, maybe_there)? {
        add(&mut lines, &mut totals, &json)?;
    }
    let cache = Cache { bytes: lines.len(), totals };
    let out = layout.task_out(task);
    let totals = &cache.totals;
    let baseline = folder.join("baseline.json");
    let aggregates = [
        (cache_path, Some(serde_json::to_value(&cache))),
        (baseline.clone(), totals.baseline.as_ref().filter(|_| !baseline.exists()).map(serde_json::to_value)),
        (folder.join("post-rollout.json"), Some(Ok(totals.post_rollout(at)))),
        (folder.join("completeness.json"), Some(Ok(totals.completeness(at)))),
        (out.join("metrics").join("mttr-delta.json"), totals.mttr_delta(at).map(Ok)),
        (out.join("state.json"), Some(Ok(totals.state(at)))),
    ];
    let mut failures = Vec::new();
    for (path, document) in aggregates {
        let Some(document) = document else { continue };
        let document = document.expect("aggregates have string keys and finite numbers");
        let folder = path.parent().expect("an aggregate has a folder");
        let written = fs::create_dir_all(folder)
            .and_then(|()| fs::write_atomically(&path, &pretty(&document), Durability::Process));
        failures.extend(written.err());
    }
    Ok(failures)
}

/// Appends the line of a run, and leaves the aggregates to the next one. The caller holds the task's lock.
pub fn append(
    layout: &Layout,
    task: &TaskId,
    line: &MetricsLine,
    maybe_there: bool,
) -> Result<(), PathError> {
    let path = file(layout, task);
    match to_append(&path, line, maybe_there)? {
        Some(json) => Appender::open(&path)?.append(&json),
        None => Ok(()),
    }
}

/// Returns the line of a run with its end, unless it is there already.
fn to_append(path: &Path, line: &MetricsLine, maybe_there: bool) -> Result<Option<Vec<u8>>, PathError> {
    let key = Key { run_id: line.run_id.clone(), completed_at: line.completed_at };
    if maybe_there && stands_in(path, &key)? {
        return Ok(None);
    }
    let mut json = serde_json::to_vec(line).expect("a line has string keys and finite numbers");
    json.push(b'\n');
    Ok(Some(json))
}

fn add(lines: &mut Appender, totals: &mut Totals, json: &[u8]) -> Result<(), PathError> {
    lines.append(json)?;
    if let Ok(counted) = serde_json::from_slice::<CountedLine>(json) {
        totals.add(&counted);
    }
    Ok(())
}

/// Queues the line of a run when the task's lock cannot be had: the next run appends it.
pub fn queue(layout: &Layout, task: &TaskId, line: &MetricsLine, at: Stamp) -> Result<(), PathError> {
    let folder = pending(layout, task);
    fs::create_dir_all(&folder)?;
    let name = format!("{}-{}-{}.jsonl", line.run_id, at.as_millis(), uuid::Uuid::new_v4());
    let mut json = serde_json::to_vec(line).expect("a line has string keys and finite numbers");
    json.push(b'\n');
    fs::write_atomically(&folder.join(name), &json, Durability::Process)
}

struct Queued {
    path: PathBuf,
    lines: Vec<Vec<u8>>,
}

/// Returns the files with queued lines, oldest run first.
pub fn queued_files(layout: &Layout, task: &TaskId) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(pending(layout, task)) else { return Vec::new() };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "jsonl"));
    paths.sort();
    paths
}

fn queued(layout: &Layout, task: &TaskId) -> Vec<Queued> {
    queued_files(layout, task)
        .into_iter()
        .filter_map(|path| {
            let text = std::fs::read(&path).ok()?;
            let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec);
            Some(Queued { lines: lines.collect(), path })
        })
        .collect()
}

/// Counts every line of the file; a line that is torn or not ours counts for nothing.
fn count(path: &Path) -> Result<Totals, PathError> {
    Ok(Totals::of(counted(path, 0)?))
}

/// Adds the lines that came after those that were counted.
fn count_on(path: &Path, Cache { bytes, mut totals }: Cache) -> Result<Totals, PathError> {
    let lines = counted(path, bytes)?;
    if !lines.iter().all(CountedLine::is_ours) {
        return count(path);
    }
    lines.iter().for_each(|line| totals.add(line));
    Ok(totals)
}

fn counted(path: &Path, from: u64) -> Result<Vec<CountedLine>, PathError> {
    let mut lines = Vec::new();
    each_line(path, from, |line| lines.extend(serde_json::from_slice::<CountedLine>(line)))?;
    Ok(lines)
}

/// What tells lines apart.
#[derive(Deserialize, PartialEq)]
struct Key {
    run_id: String,
    completed_at: Option<Stamp>,
}

fn stands_in(path: &Path, wanted: &Key) -> Result<bool, PathError> {
    let mut found = false;
    each_line(path, 0, |line| {
        found |= serde_json::from_slice::<Key>(line).is_ok_and(|key| key == *wanted);
    })?;
    Ok(found)
}

fn each_line(path: &Path, from: u64, mut tell: impl FnMut(&[u8])) -> Result<(), PathError> {
    let mut reader = BufReader::new(std::fs::File::open(path).at(path)?);
    reader.seek(SeekFrom::Start(from)).at(path)?;
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).at(path)? == 0 {
            return Ok(());
        }
        tell(&line);
    }
}
