//! How streams stand.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::printer::{Answer, Table, span, style};
use super::probe::{ProbeDocument, probed, tell};
use crate::ops::stream::list::{List, Status};
use crate::ops::stream::look::{Newest, Row};
use crate::output::untrusted::untrusted;
use crate::run::stamp::Stamp;
use crate::run::status::RunStatus;
use crate::store::streams::Ports;

/// All streams.
pub struct Streams<'a> {
    pub list: &'a List,
    pub now: Stamp,
}

/// One stream.
pub struct OneStream<'a> {
    pub status: &'a Status,
    pub now: Stamp,
}

/// The document of `stream list`.
#[derive(Serialize, JsonSchema)]
pub struct ListDocument {
    streams: Vec<StreamDocument>,
    warnings: Vec<String>,
    /// What `--probe` found.
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<ProbeDocument>,
}

/// The document of `stream status`.
#[derive(Serialize, JsonSchema)]
pub struct StatusDocument {
    stream: StreamDocument,
    /// Its runs, newest first, some of them.
    runs: Vec<Run>,
}

#[derive(Serialize, JsonSchema)]
struct StreamDocument {
    /// The stream's name, or git's name of a worktree that somebody else made.
    name: String,
    /// Whether it is a stream, and not a worktree that somebody else made.
    managed: bool,
    /// Its folder, absolute.
    path: String,
    /// `ready`, `making`, `set-up interrupted`, `set-up failed`, `unfinished` or `gone`.
    state: &'static str,
    /// What is checked out there; null if it is detached or gone.
    branch: Option<String>,
    commit: Option<String>,
    /// The branch that it began on.
    base: Option<String>,
    /// Whether something is not committed; null if nobody can tell.
    dirty: Option<bool>,
    /// Commits that it has and its base has not.
    ahead: Option<usize>,
    /// Commits that its base has and it has not.
    behind: Option<usize>,
    /// The task that its runs belong to.
    task: Option<String>,
    created_at: Option<Stamp>,
    /// Its newest run.
    run: Option<Run>,
    /// How the newest whole run on the tree as it is now ended.
    verdict: Option<Verdict>,
    /// The ports that it has for itself.
    ports: Option<Ports>,
    /// The database that it has for itself.
    database: Option<String>,
    disk: Option<Disk>,
    problem: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Run {
    run_id: String,
    task_id: String,
    pipeline_id: String,
    status: RunStatus,
    /// Whether it is unfinished and nobody works on it.
    dead: bool,
    started_at: Option<Stamp>,
}

#[derive(Serialize, JsonSchema)]
struct Verdict {
    status: RunStatus,
    run_id: String,
}

/// What the files of its folder take.
#[derive(Serialize, JsonSchema)]
struct Disk {
    bytes: u64,
    /// When somebody looked last.
    measured_at: Stamp,
}

fn row(row: &Row) -> StreamDocument {
    let (seen, stream) = (row.seen.as_ref(), row.stream.as_ref());
    let ahead = seen.and_then(|seen| seen.ahead);
    StreamDocument {
        name: row.name.clone(),
        managed: stream.is_some(),
        path: row.path.display().to_string(),
        state: row.state.as_str(),
        branch: seen.and_then(|seen| seen.branch.clone()),
        commit: seen.and_then(|seen| seen.commit.clone()),
        base: stream.and_then(|stream| stream.base.clone()),
        dirty: seen.map(|seen| seen.dirty),
        ahead: ahead.map(|(ahead, _)| ahead),
        behind: ahead.map(|(_, behind)| behind),
        task: stream.map(|stream| stream.task.to_string()),
        created_at: stream.map(|stream| stream.created_at),
        run: row.run.as_ref().map(run),
        verdict: row
            .verdict
            .as_ref()
            .map(|verdict| Verdict { status: verdict.status, run_id: verdict.run.clone() }),
        ports: stream.and_then(|stream| stream.ports),
        database: stream.and_then(|stream| stream.database.clone()),
        disk: seen.and_then(|seen| seen.disk).map(|disk| Disk { bytes: disk.bytes, measured_at: disk.at }),
        problem: row.problem.clone(),
    }
}

fn run(newest: &Newest) -> Run {
    let manifest = &newest.manifest;
    Run {
        run_id: manifest.run_id.to_string(),
        task_id: manifest.task_id.to_string(),
        pipeline_id: manifest.pipeline_id.clone(),
        status: manifest.status,
        dead: newest.pulse.dead,
        started_at: manifest.started_at,
    }
}

/// Returns the word for how a run stands.
fn standing(newest: &Newest) -> &'static str {
    match newest.manifest.status {
        _ if newest.pulse.dead => "dead",
        RunStatus::InProgress if newest.manifest.parked_at.is_some() => "waiting",
        status => status.as_str(),
    }
}

impl Streams<'_> {
    /// Returns what is shown but for what changes by itself.
    pub fn steady(&self) -> Vec<u8> {
        let mut document = self.document();
        document.streams.iter_mut().for_each(|stream| stream.disk = None);
        serde_json::to_vec(&document).expect("answers have string keys")
    }
}

impl Answer for Streams<'_> {
    type Document = ListDocument;

    fn document(&self) -> ListDocument {
        ListDocument {
            streams: self.list.rows.iter().map(row).collect(),
            warnings: self.list.warnings.clone(),
            probe: self.list.probe.as_ref().map(probed),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for warning in &self.list.warnings {
            let color = style("warning");
            writeln!(out, "{color}warning:{color:#} {}", untrusted(warning))?;
        }
        if self.list.rows.is_empty() {
            return writeln!(out, "There is no stream. `git orchestrate stream new NAME` makes one.");
        }
        let mut table =
            Table::new("STREAM\tBRANCH\tSTATE\tTREE\tAHEAD\tBEHIND\tRUN\tTREE RAN\tAGE\tDISK\tPORT")?;
        for row in &self.list.rows {
            let seen = row.seen.as_ref();
            let branch = seen.and_then(|seen| seen.branch.as_deref()).unwrap_or("-");
            let (tree, color) = match seen.map(|seen| seen.dirty) {
                Some(true) => ("dirty", style("warning")),
                Some(false) => ("clean", style("")),
                None => ("?", style("")),
            };
            let ahead = seen.and_then(|seen| seen.ahead);
            let count = |count: Option<usize>| count.map_or("-".to_owned(), |count| count.to_string());
            let run = row
                .run
                .as_ref()
                .map_or("-".to_owned(), |it| format!("{} {}", it.manifest.pipeline_id, standing(it)));
            let run_color = style(row.run.as_ref().map_or("", standing));
            let verdict = row.verdict.as_ref().map_or("-", |verdict| verdict.status.as_str());
            let age = row.stream.as_ref().map(|stream| span(self.now.seconds_since(stream.created_at)));
            let disk = seen.and_then(|seen| seen.disk).map(|disk| bytes(disk.bytes));
            let port =
                row.stream.as_ref().and_then(|stream| stream.ports).map(|ports| ports.first.to_string());
            let state_color = style(if row.state.as_str() == "ready" { "" } else { "warning" });
            let verdict_color = style(verdict);
            writeln!(
                table.0,
                "{}\t{}\t{state_color}{}{state_color:#}\t{color}{tree}{color:#}\t{}\t{}\t{run_color}{}{run_color:#}\t{verdict_color}{verdict}{verdict_color:#}\t{}\t{}\t{}",
                untrusted(&row.name),
                untrusted(branch),
                row.state.as_str(),
                count(ahead.map(|(ahead, _)| ahead)),
                count(ahead.map(|(_, behind)| behind)),
                untrusted(&run),
                age.as_deref().unwrap_or("-"),
                disk.as_deref().unwrap_or("-"),
                port.as_deref().unwrap_or("-"),
            )?;
        }
        table.print(out)?;
        for row in self.list.rows.iter().filter(|row| row.problem.is_some()) {
            let problem = row.problem.as_deref().unwrap_or_default();
            writeln!(out, "{}: {}", untrusted(&row.name), untrusted(problem))?;
        }
        match &self.list.probe {
            Some(probe) => tell(out, probe),
            None => Ok(()),
        }
    }
}

impl Answer for OneStream<'_> {
    type Document = StatusDocument;

    fn document(&self) -> StatusDocument {
        StatusDocument { stream: row(&self.status.row), runs: self.status.runs.iter().map(run).collect() }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Status { row, runs } = self.status;
        writeln!(out, "{}: {}", untrusted(&row.name), row.state.as_str())?;
        writeln!(out, "Folder: {}", untrusted(&row.path.display().to_string()))?;
        if let Some(seen) = &row.seen {
            let branch = seen.branch.as_deref().unwrap_or("no branch");
            let commit = seen.commit.as_deref().map_or("no commit", crate::id::short);
            let tree = if seen.dirty { "with changes that are not committed" } else { "clean" };
            writeln!(out, "Tree: {commit} on {}, {tree}", untrusted(branch))?;
            if let Some((ahead, behind)) = seen.ahead {
                let base = row.stream.as_ref().and_then(|stream| stream.base.as_deref());
                let base = base.unwrap_or("where it began");
                writeln!(out, "Base: {}, {ahead} ahead and {behind} behind", untrusted(base))?;
            }
            if let Some(disk) = seen.disk {
                writeln!(out, "Disk: {}", bytes(disk.bytes))?;
            }
        }
        if let Some(stream) = &row.stream {
            let age = span(self.now.seconds_since(stream.created_at));
            writeln!(out, "Task: {}, made {age} ago", untrusted(stream.task.as_str()))?;
        }
        if let Some(problem) = &row.problem {
            writeln!(out, "{}", untrusted(problem))?;
        }
        match &row.verdict {
            Some(verdict) => {
                let color = style(verdict.status.as_str());
                let run = untrusted(&verdict.run);
                writeln!(out, "This tree: {color}{}{color:#} in run {run}", verdict.status.as_str())?;
            }
            None => writeln!(out, "This tree: no whole run yet")?,
        }
        for run in runs {
            let word = standing(run);
            let color = style(word);
            let (id, pipeline) =
                (untrusted(run.manifest.run_id.as_str()), untrusted(&run.manifest.pipeline_id));
            writeln!(out, "  {color}{word:>11}{color:#}  {pipeline}  {id}")?;
        }
        Ok(())
    }
}

/// A number of bytes as people say it.
fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes / 1_024),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes / 1_048_576),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}
