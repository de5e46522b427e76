//! `logs`: what the stages of a run printed.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde::Deserialize;

use super::which;
use super::{Context, Kind, Refusal};
use crate::id::{RunId, TaskId};
use crate::run::event::{Happened, RunEvent};
use crate::run::manifest::{Manifest, StageEntry};
use crate::run::status::StageStatus;
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
    /// Whether the text is wanted, with that of child runs, and not the lines as they are.
    pub text: bool,
}

/// How long to wait for more.
const PAUSE: Duration = Duration::from_millis(100);

/// One line of a log.
#[derive(Debug)]
pub struct Line<'a> {
    /// The line as it stands in the file.
    pub raw: &'a [u8],
    /// What it says to a reader of the text, if anything.
    pub said: Option<Said>,
    /// The number of the log among those that are read, which tells runs apart.
    pub log: usize,
    /// The stages of the log's run.
    pub stages: &'a Stages,
    /// Whether the run may have several stages that print at the same time.
    pub mixed: bool,
}

/// What a line says about the command of a stage.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub enum Said {
    #[serde(rename = "exec:begin")]
    Began { index: usize, attempt: u32 },
    #[serde(rename = "exec:chunk")]
    Printed(Printed),
    #[serde(rename = "exec:end")]
    Ended { index: usize },
}

/// A piece of output.
#[derive(Debug, Deserialize)]
pub struct Printed {
    pub index: usize,
    pub stream: String,
    pub data: String,
    /// The bytes as they came, where they are no text.
    pub data_base64: Option<String>,
}

impl Said {
    /// Reads a line; most are about something else, which costs no parsing.
    fn read(line: &[u8]) -> Option<Self> {
        match line.starts_with(b"{\"type\":\"exec:") {
            true => serde_json::from_slice(line).ok(),
            false => None,
        }
    }
}

/// What the stages of a run are called.
#[derive(Debug)]
pub struct Stages {
    /// The names of the stages above a child run.
    above: Vec<String>,
    /// Name, and whether it was retried by the time when the log was opened.
    stages: Vec<(String, bool)>,
}

impl Stages {
    fn new(above: Vec<String>, entries: &[StageEntry]) -> Self {
        let stage = |entry: &StageEntry| (entry.id.clone(), !entry.failed_attempts.is_empty());
        Self { above, stages: entries.iter().map(stage).collect() }
    }

    #[cfg(test)]
    pub(crate) fn of(names: &[&str]) -> Self {
        Self { above: Vec::new(), stages: names.iter().map(|name| ((*name).to_owned(), false)).collect() }
    }

    /// Returns the name of a stage, after those of the stages that it is a part of.
    pub fn name(&self, index: usize) -> String {
        let own = self.stages.get(index.wrapping_sub(1)).map(|(name, _)| name.clone());
        let own = own.unwrap_or_else(|| index.to_string());
        self.above.iter().chain([&own]).map(String::as_str).collect::<Vec<_>>().join("/")
    }

    /// Whether a stage is known to have been run again.
    pub fn retried(&self, index: usize) -> bool {
        self.stages.get(index.wrapping_sub(1)).is_some_and(|(_, retried)| *retried)
    }
}

/// Calls `tell` with every line of the log that is wanted, until it says that nobody listens. The log of
/// a child run stands where the child began, or beside what else happens while one waits for more.
pub fn logs(ctx: &Context, options: &LogsOptions, tell: impl FnMut(Line<'_>) -> Result<bool>) -> Result<()> {
    let (found, state) = which::run(ctx, options.task.as_ref(), &options.run)?;
    let manifest = &state.manifest;
    let path = match &options.stage {
        None => found.paths.journal.clone(),
        Some(stage) => stage_log(&found, manifest, stage)?,
    };
    let mut shown = manifest.commands.iter().filter(|entry| entry.status != StageStatus::Skipped);
    let one = shown.next().is_none_or(|entry| entry.kind != "subpipeline") && shown.next().is_none();
    let parallel = manifest.plan.as_ref().is_some_and(|plan| plan.jobs.is_some());
    let root = Log::new(found.clone(), path, Stages::new(Vec::new(), &manifest.commands));
    let mixed = parallel && !one && options.stage.is_none();
    let mut reading = Reading { follow: options.follow, text: options.text, mixed, logs: vec![root], tell };
    loop {
        // Asked before the files are read to their ends: what is printed in between is read next time.
        let over = !options.follow || is_over(ctx, &found)?;
        // Those of children that begin meanwhile are among them.
        let mut at = 0;
        while at < reading.logs.len() {
            if !reading.read(at)? {
                return Ok(());
            }
            at += 1;
        }
        if over {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}

/// A log that is read.
struct Log {
    found: Found,
    path: PathBuf,
    /// None before the first line: a child run is linked before it is made.
    stages: Option<Stages>,
    above: Vec<String>,
    reader: Option<BufReader<File>>,
    /// The beginning of a line whose rest is not written yet.
    line: Vec<u8>,
}

impl Log {
    fn new(found: Found, path: PathBuf, stages: Stages) -> Self {
        Self { found, path, stages: Some(stages), above: Vec::new(), reader: None, line: Vec::new() }
    }

    /// Reads a whole line, if there is one.
    fn next(&mut self) -> Result<bool> {
        if self.reader.is_none() && self.path.exists() {
            let file = File::open(&self.path).at(&self.path)?;
            self.reader = Some(BufReader::with_capacity(256 * 1024, file));
        }
        let Some(reader) = &mut self.reader else { return Ok(false) };
        if self.line.ends_with(b"\n") {
            self.line.clear();
        }
        reader.read_until(b'\n', &mut self.line).at(&self.path)?;
        Ok(self.line.ends_with(b"\n"))
    }
}

/// The logs of a run and of its children.
struct Reading<T> {
    follow: bool,
    text: bool,
    mixed: bool,
    logs: Vec<Log>,
    tell: T,
}

impl<T: FnMut(Line<'_>) -> Result<bool>> Reading<T> {
    /// Reads a log as far as it is written. Returns whether somebody still listens.
    fn read(&mut self, at: usize) -> Result<bool> {
        while self.logs[at].next()? {
            let log = &mut self.logs[at];
            let stages = log.stages.get_or_insert_with(|| {
                // A manifest that cannot be read keeps no names, which is no reason to show nothing.
                let state = catalog::read(&log.found.paths).ok();
                let entries = state.map(|state| state.manifest.commands).unwrap_or_default();
                Stages::new(std::mem::take(&mut log.above), &entries)
            });
            let raw = log.line.strip_suffix(b"\n").unwrap_or(&log.line);
            let said = self.text.then(|| Said::read(raw)).flatten();
            if !(self.tell)(Line { raw, said, log: at, stages, mixed: self.mixed })? {
                return Ok(false);
            }
            let Some((child, ended)) = self.text.then(|| self.child(at)).flatten() else { continue };
            // What stands behind the end of a child was printed after all that the child printed.
            if (ended || !self.follow) && !self.read(child)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the log of the child that the last line of a log is about, and whether the line tells
    /// its end.
    fn child(&mut self, at: usize) -> Option<(usize, bool)> {
        let log = &self.logs[at];
        if !log.line.starts_with(b"{\"type\":\"child:") {
            return None;
        }
        let line: RunEvent = serde_json::from_slice(&log.line).ok()?;
        let (run, ended) = match line.event {
            Happened::ChildLinked { run_id, .. } => (run_id, false),
            Happened::ChildFinished { run_id, .. } => (run_id, true),
            _ => return None,
        };
        let run: RunId = run.parse().ok()?;
        // A child that goes on with its parent is linked once more.
        if let Some(known) = self.logs.iter().position(|log| log.found.run == run) {
            return Some((known, ended));
        }
        let above = vec![log.stages.as_ref()?.name(line.index)];
        let found = log.found.sibling(run);
        let path = found.paths.journal.clone();
        self.logs.push(Log { found, path, stages: None, above, reader: None, line: Vec::new() });
        Some((self.logs.len() - 1, ended))
    }
}

/// Whether nothing more will be printed.
fn is_over(ctx: &Context, found: &Found) -> Result<bool> {
    let state = catalog::read(&found.paths)?;
    Ok(state.manifest.status.is_terminal() || which::pulse(ctx, found, &state).dead)
}

fn stage_log(found: &Found, manifest: &Manifest, stage: &str) -> Result<PathBuf> {
    let entries = &manifest.commands;
    let entry = entries
        .iter()
        .find(|entry| entry.id == stage)
        .or_else(|| entries.iter().find(|entry| Some(entry.index) == stage.parse().ok()))
        .ok_or_else(|| which::no_stage(found, manifest, stage))?;
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
