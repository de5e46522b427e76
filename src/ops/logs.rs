//! `logs`: what the stages of a run printed.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use serde::Deserialize;

use super::which;
use super::{Context, Kind, Refusal};
use crate::id::{RunId, TaskId};
use crate::run::event::{Happened, RunEvent};
use crate::store::catalog::{self, Found, Wanted};
use crate::sys::fs::At;

/// What to show.
#[derive(Clone, Debug)]
pub struct LogsOptions {
    pub task: Option<TaskId>,
    pub run: Wanted,
    /// A stage's id, or its index from 1.
    pub stage: Option<String>,
    /// Whether to go on until the run is over.
    pub follow: bool,
    /// Whether the logs of child runs are wanted too.
    pub children: bool,
}

/// How long to wait for more.
const PAUSE: Duration = Duration::from_millis(100);

/// One line of a log.
#[derive(Debug)]
pub struct Line<'a> {
    /// The line as it stands in the file.
    pub raw: &'a [u8],
    /// What was printed, if the line says that.
    pub printed: Option<Printed>,
}

/// A piece of output.
#[derive(Debug, Deserialize)]
pub struct Printed {
    pub index: usize,
    pub data: String,
    /// The bytes as they came, where they are no text.
    pub data_base64: Option<String>,
}

/// Calls `tell` with every line of the log that is wanted, until it says that nobody listens. The log of
/// a child run stands where the child began.
pub fn logs(
    ctx: &Context,
    options: &LogsOptions,
    mut tell: impl FnMut(Line<'_>) -> Result<bool>,
) -> Result<()> {
    let (found, state) = which::run(ctx, options.task.as_ref(), &options.run)?;
    let path = match &options.stage {
        None => found.paths.journal.clone(),
        Some(stage) => stage_log(&found, &state.manifest, stage)?,
    };
    read(ctx, &found, &path, options, &mut tell).map(drop)
}

/// Reads one log. Returns whether somebody still listens.
fn read(
    ctx: &Context,
    found: &Found,
    path: &Path,
    options: &LogsOptions,
    tell: &mut dyn FnMut(Line<'_>) -> Result<bool>,
) -> Result<bool> {
    let mut reader: Option<BufReader<File>> = None;
    let mut line = Vec::new();
    loop {
        // Asked before the file is read to its end: what is printed in between is read next time.
        let over = !options.follow || is_over(ctx, found)?;
        if reader.is_none() && path.exists() {
            reader = Some(BufReader::with_capacity(256 * 1024, File::open(path).at(path)?));
        }
        while let Some(reader) = &mut reader {
            let read = reader.read_until(b'\n', &mut line).at(path)?;
            if read == 0 || !line.ends_with(b"\n") {
                // The rest of the line is not written yet.
                break;
            }
            let raw = line.strip_suffix(b"\n").unwrap_or(&line);
            let printed = match raw.starts_with(b"{\"type\":\"exec:chunk\"") {
                true => serde_json::from_slice(raw).ok(),
                false => None,
            };
            if !tell(Line { raw, printed })? {
                return Ok(false);
            }
            if let Some(child) = linked(raw).filter(|_| options.children)
                && !child_log(ctx, found, &child, options, tell)?
            {
                return Ok(false);
            }
            line.clear();
        }
        if over {
            return Ok(true);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Returns the child that a line links to the run.
fn linked(line: &[u8]) -> Option<RunId> {
    if !line.starts_with(b"{\"type\":\"child:linked\"") {
        return None;
    }
    match serde_json::from_slice::<RunEvent>(line).ok()?.event {
        Happened::ChildLinked { run_id, .. } => run_id.parse().ok(),
        _ => None,
    }
}

fn child_log(
    ctx: &Context,
    parent: &Found,
    run: &RunId,
    options: &LogsOptions,
    tell: &mut dyn FnMut(Line<'_>) -> Result<bool>,
) -> Result<bool> {
    let paths = parent.layout.run(&parent.task, run);
    let child = Found { run: run.clone(), paths, ..parent.clone() };
    // The link comes first, and the child is made after it.
    while options.follow && !catalog::has_begun(&child.paths) && !is_over(ctx, parent)? {
        std::thread::sleep(PAUSE);
    }
    match catalog::has_begun(&child.paths) {
        true => read(ctx, &child, &child.paths.journal, options, tell),
        false => Ok(true),
    }
}

/// Whether nothing more will be printed.
fn is_over(ctx: &Context, found: &Found) -> Result<bool> {
    let state = catalog::read(&found.paths)?;
    Ok(state.manifest.status.is_terminal() || which::pulse(ctx, found, &state).dead)
}

fn stage_log(found: &Found, manifest: &crate::run::manifest::Manifest, stage: &str) -> Result<PathBuf> {
    let entries = &manifest.commands;
    let entry = entries
        .iter()
        .find(|entry| entry.id == stage)
        .or_else(|| entries.iter().find(|entry| Some(entry.index) == stage.parse().ok()))
        .ok_or_else(|| {
            let ids: Vec<_> = entries.iter().map(|entry| entry.id.escape_debug().to_string()).collect();
            Refusal::new(Kind::Usage, format!("run `{}` has no stage `{}`", found.run, stage.escape_debug()))
                .hint(format!("stages of the run: {}", ids.join(", ")))
        })?;
    if entry.kind == "subpipeline" {
        let child = entry.sub_run_id.as_deref().unwrap_or("that has not begun");
        return Err(Refusal::new(
            Kind::Usage,
            format!("stage `{}` is a run of its own: {child}", entry.id.escape_debug()),
        )
        .hint(format!("git orchestrate logs {child}"))
        .into());
    }
    Ok(found.paths.stage_log(entry.index, &entry.id))
}
