//! The answer of `status`.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::printer::{Answer, span, style};
use crate::id::short;
use crate::ops::status::{Integrity, RunState};
use crate::ops::which;
use crate::output::untrusted::untrusted;
use crate::run::approval::{Approval, Waiting};
use crate::run::git_keys::GitKeys;
use crate::run::manifest::{Attempt, ChildRun, Manifest, Series, SeriesKind, StageEntry};
use crate::run::stamp::Stamp;
use crate::run::status::{RunStatus, StageStatus};

/// A state to show.
pub struct Standing<'a>(pub &'a RunState);

/// The document (`contract-core.md` §2.7), and what this program adds to it.
#[derive(Serialize, JsonSchema)]
pub struct Document<'a> {
    run_id: &'a str,
    status: RunStatus,
    status_detail: Option<&'a str>,
    started_at: Option<Stamp>,
    completed_at: Option<Stamp>,
    manifest: String,
    artifact_root: &'a str,
    log_path: &'a str,
    heartbeat_at: Option<Stamp>,
    commands: &'a [StageEntry],
    child_runs: &'a [ChildRun],
    /// The same runs as they are now, read from their own manifests.
    children: Vec<Child<'a>>,
    heartbeat_age_seconds: Option<f64>,
    stale: bool,
    /// Whether the run is unfinished and nobody works on it.
    dead: bool,
    /// What to type so that a dead run goes on.
    next: Option<&'a str>,
    approvals: &'a [Approval],
    /// What waits for a decision, in the run and in its child runs.
    waiting: Vec<Question<'a>>,
    /// Whether nobody works on the run until there is a decision.
    parked: bool,
    metrics_recorded: bool,
    git: Option<&'a GitKeys>,
    partial: bool,
    void: bool,
    task_id: &'a str,
    pipeline_id: &'a str,
    parent_run_id: Option<&'a str>,
    /// The runs that this one was asked for with.
    series: Option<&'a Series>,
    summary: Option<&'a str>,
    attempts: &'a [Attempt],
    /// The root that the paths are relative to.
    root: String,
    guardrails: Value,
    /// `sound`: the manifest is what the journal adds up to. `broken`: it is not, see
    /// `integrity_detail`. `unchecked`: the journal is too long to look on the way.
    integrity: &'static str,
    integrity_detail: Option<&'a str>,
}

impl<'a> Answer for Standing<'a> {
    type Document = Document<'a>;

    fn document(&self) -> Document<'a> {
        let RunState { found, manifest, pulse, integrity, .. } = self.0;
        Document {
            run_id: manifest.run_id.as_str(),
            status: manifest.status,
            status_detail: manifest.status_detail.as_deref(),
            started_at: manifest.started_at,
            completed_at: manifest.completed_at,
            manifest: manifest.path(),
            artifact_root: &manifest.artifact_root,
            log_path: &manifest.log_path,
            heartbeat_at: manifest.heartbeat_at,
            commands: &manifest.commands,
            child_runs: &manifest.child_runs,
            children: self.0.children.iter().map(|child| Child::of(manifest, child)).collect(),
            heartbeat_age_seconds: pulse.liveness.heartbeat_age,
            stale: pulse.liveness.stale,
            dead: pulse.dead,
            next: self.0.next.as_deref(),
            approvals: &manifest.approvals,
            waiting: self.0.waiting.iter().map(Question::from).collect(),
            parked: manifest.parked_at.is_some(),
            metrics_recorded: manifest.metrics_recorded,
            git: manifest.git.as_ref(),
            partial: manifest.is_partial(),
            void: manifest.is_void(),
            task_id: manifest.task_id.as_str(),
            pipeline_id: &manifest.pipeline_id,
            parent_run_id: manifest.parent_run_id.as_deref(),
            series: manifest.series.as_ref(),
            summary: manifest.summary.as_deref(),
            attempts: manifest.attempts.as_deref().unwrap_or_default(),
            root: found.layout.root.display().to_string(),
            guardrails: serde_json::to_value(&manifest.guardrail_status).unwrap_or_default(),
            integrity: match integrity {
                Integrity::Sound => "sound",
                Integrity::Broken(_) => "broken",
                Integrity::Unchecked => "unchecked",
            },
            integrity_detail: match integrity {
                Integrity::Broken(detail) => Some(detail),
                _ => None,
            },
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let RunState { manifest, pulse, rebuilt, integrity, .. } = self.0;
        writeln!(out, "Run: {}", untrusted(manifest.run_id.as_str()))?;
        writeln!(out, "Task: {}", untrusted(manifest.task_id.as_str()))?;
        writeln!(out, "Pipeline: {}", untrusted(&manifest.pipeline_id))?;
        let color = style(manifest.status.as_str());
        write!(out, "Status: {color}{}{color:#}", manifest.status)?;
        if let Some(detail) = &manifest.status_detail {
            write!(out, " ({})", untrusted(detail))?;
        }
        for (is, word) in [
            (!self.0.waiting.is_empty(), "waiting"),
            (manifest.is_partial(), "partial"),
            (manifest.is_void(), "void"),
            (pulse.dead, "dead"),
            (pulse.liveness.stale && !pulse.dead, "stale"),
        ] {
            if is {
                let color = style(word);
                write!(out, " {color}{word}{color:#}")?;
            }
        }
        writeln!(out)?;
        if let Some(git) = &manifest.git {
            writeln!(out, "Commit: {}", commit(git))?;
            writeln!(out, "Tree: {}", untrusted(git.tree.as_deref().unwrap_or("unknown")))?;
        }
        if let Some(series) = &manifest.series {
            writeln!(out, "Series: {}", self::series(series))?;
        }
        if let Some(at) = manifest.started_at {
            writeln!(out, "Started: {at}")?;
        }
        match manifest.completed_at {
            Some(at) => writeln!(out, "Completed: {at}")?,
            None => {
                let age = pulse
                    .liveness
                    .heartbeat_age
                    .map_or("never".to_owned(), |age| format!("{} ago", span(age)));
                writeln!(out, "Last heartbeat: {age}")?;
            }
        }
        writeln!(out, "Manifest: {}", untrusted(&manifest.path()))?;
        if let Some(reason) = rebuilt {
            writeln!(out, "Read from the journal: the manifest cannot be used ({})", untrusted(reason))?;
        }
        if let Integrity::Broken(detail) = integrity {
            let color = style("failed");
            writeln!(out, "{color}Not to be believed:{color:#} {}", untrusted(detail))?;
        }
        for entry in &manifest.commands {
            let color = style(entry.status.as_str());
            write!(out, "  {color}[{}]{color:#} {}", entry.status, untrusted(&entry.title))?;
            // How a success began is enough; of a failure every word counts.
            let whole = entry.status != StageStatus::Succeeded;
            let summary = entry.summary.as_deref().unwrap_or_default();
            let shown = if whole { summary } else { summary.lines().next().unwrap_or_default() };
            if !shown.is_empty() {
                write!(out, " — {}", untrusted(shown))?;
            }
            if let Some(queued) = &entry.queued {
                write!(out, " — {}", untrusted(&queued.to_string()))?;
            }
            writeln!(out)?;
            let of_stage = |child: &&which::Child| child.index == Some(entry.index);
            for child in self.0.children.iter().filter(of_stage) {
                let Child { run_id, status, dead, running, .. } = Child::of(manifest, child);
                if status.is_terminal() {
                    continue;
                }
                let word = if dead { "dead" } else { status.as_str() };
                let at =
                    if running.is_empty() { String::new() } else { format!(" at {}", running.join(", ")) };
                let color = style(word);
                writeln!(
                    out,
                    "      {color}{word}{color:#}{} — git orchestrate status {}",
                    untrusted(&at),
                    untrusted(run_id)
                )?;
            }
        }
        for approval in &manifest.approvals {
            let (Some(ruling), Some(stage)) = (approval.ruling(), &approval.stage) else { continue };
            let (decision, at) = (ruling.decision.as_str(), approval.timestamp);
            writeln!(out, "Stage {} {decision} by {} at {at}", untrusted(stage), untrusted(&ruling.by()))?;
        }
        for waiting in &self.0.waiting {
            write!(out, "Waits for a decision about {}", untrusted(&waiting.stage))?;
            match &waiting.instructions {
                Some(instructions) => writeln!(out, ": {}", untrusted(instructions))?,
                None => writeln!(out)?,
            }
            for verb in ["approve", "reject"] {
                writeln!(out, "  {}", untrusted(&waiting.command(verb)))?;
            }
        }
        if let Some(summary) = &manifest.summary {
            writeln!(out, "{}", untrusted(summary).with_lines())?;
        }
        if let Some(next) = &self.0.next {
            let why = match self.0.pulse.dead {
                true => "The process that worked on this run is gone.",
                false => "It is decided, and nobody works on this run.",
            };
            writeln!(out, "{why} Go on with: {}", untrusted(next))?;
        }
        Ok(())
    }
}

/// A run that another one asked for.
#[derive(Serialize, JsonSchema)]
pub struct Child<'a> {
    run_id: &'a str,
    task_id: &'a str,
    pipeline_id: &'a str,
    /// The id of the stage that it is.
    stage: Option<&'a str>,
    status: RunStatus,
    /// Whether it is unfinished and nobody works on it.
    dead: bool,
    /// The stages of it that run.
    running: Vec<&'a str>,
    started_at: Option<Stamp>,
    completed_at: Option<Stamp>,
    /// The root that its paths are relative to.
    root: String,
    manifest: String,
}

impl<'a> Child<'a> {
    fn of(parent: &'a Manifest, child: &'a which::Child) -> Self {
        let manifest = &child.manifest;
        let running = manifest.commands.iter().filter(|entry| entry.status == StageStatus::Running);
        Self {
            run_id: manifest.run_id.as_str(),
            task_id: manifest.task_id.as_str(),
            pipeline_id: &manifest.pipeline_id,
            stage: child.index.and_then(|index| Some(parent.entry(index)?.id.as_str())),
            status: manifest.status,
            dead: child.pulse.dead,
            running: running.map(|entry| entry.id.as_str()).collect(),
            started_at: manifest.started_at,
            completed_at: manifest.completed_at,
            root: child.found.layout.root.display().to_string(),
            manifest: manifest.path(),
        }
    }
}

/// What waits for a decision.
#[derive(Serialize, JsonSchema)]
pub struct Question<'a> {
    #[serde(flatten)]
    waiting: &'a Waiting,
    /// What to type to approve it.
    approve: String,
    /// What to type to reject it.
    reject: String,
}

impl<'a> From<&'a Waiting> for Question<'a> {
    fn from(waiting: &'a Waiting) -> Self {
        Self { waiting, approve: waiting.command("approve"), reject: waiting.command("reject") }
    }
}

/// Returns what a run was asked for with, as one line: `3 of 12 in main..topic`.
pub fn series(series: &Series) -> String {
    let Series { kind, range, number, commits } = series;
    match kind {
        SeriesKind::Each => format!("{number} of {commits} in {}", untrusted(range)),
        SeriesKind::Bisect => format!("step {number} in {}", untrusted(range)),
        SeriesKind::Audit => format!("{number} of {commits} that were run again of {}", untrusted(range)),
    }
}

/// Returns the commit of a run as one line: `9596dc9 on main, dirty`.
pub fn commit(git: &GitKeys) -> String {
    let commit = git.commit.as_deref().map_or("no commit yet", short);
    let branch = match &git.branch {
        Some(branch) => {
            let branch = branch.strip_prefix("refs/heads/").unwrap_or(branch);
            format!(" on {}", untrusted(branch))
        }
        None => " (detached)".to_owned(),
    };
    let state = if git.dirty { ", dirty" } else { ", clean" };
    let slot = git.worktree.slot.map(|slot| format!(", in side worktree {slot}")).unwrap_or_default();
    format!("{}{branch}{state}{slot}", untrusted(commit))
}
