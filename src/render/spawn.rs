//! The answer of `spawn`: what would start, and what became of it.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::printer::{Answer, Table, span, style};
use super::start::{self, Finished};
use crate::ops::spawn::{Spawn, shell_text};
use crate::output::untrusted::untrusted;
use crate::pipeline::endurance::shown_duration;
use crate::pipeline::goals::{Goal, Goals, Work};
use crate::run::manifest::{Manifest, StageEntry};
use crate::run::status::{RunStatus, StageStatus};

/// What would start.
pub struct Preview<'a>(pub &'a Spawn);

/// What became of it.
pub struct Spawned<'a> {
    pub goals: &'a Goals,
    pub manifest: &'a Manifest,
}

/// The document of `spawn --dry-run`.
#[derive(Serialize, JsonSchema)]
pub struct PreviewDocument<'a> {
    title: Option<&'a str>,
    /// How many run at the same time.
    jobs: u16,
    /// Whether the others go on when one fails.
    keep_going: bool,
    goals: Vec<Planned<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct Planned<'a> {
    id: &'a str,
    title: Option<&'a str>,
    adapter: Option<&'a str>,
    goal: Option<&'a str>,
    /// The stream that it runs in; null for this worktree.
    stream: Option<&'a str>,
    /// The pipeline that runs, if it is no command.
    pipeline: Option<&'a str>,
    command: Option<String>,
    cwd: Option<&'a str>,
    /// The ids of goals that have to be reached before.
    needs: Vec<&'a str>,
    timeout_seconds: Option<f64>,
    /// Whether others may run beside it.
    parallel: bool,
}

/// The document of `spawn`.
#[derive(Serialize, JsonSchema)]
pub struct Document<'a> {
    /// The run above those of the goals; each of them has it as its `parent_run_id`.
    #[serde(flatten)]
    run: start::Document,
    goals: Vec<Reached<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct Reached<'a> {
    id: &'a str,
    adapter: Option<&'a str>,
    goal: Option<&'a str>,
    /// The stream that it ran in; null for this worktree.
    stream: Option<&'a str>,
    /// `pending` if it did not begin.
    status: StageStatus,
    exit_code: Option<i64>,
    /// Whether it took too long, and was ended for that.
    timed_out: bool,
    duration_ms: Option<u64>,
    summary: Option<&'a str>,
    /// Its run, if it made one.
    run_id: Option<&'a str>,
    run_status: Option<RunStatus>,
    /// The manifest of its run, relative to the root of this worktree.
    manifest: Option<&'a str>,
}

fn planned(goal: &Goal) -> Planned<'_> {
    let (pipeline, command, cwd) = match &goal.work {
        Work::Pipeline(pipeline) => (Some(pipeline.as_str()), None, None),
        Work::Command { command, args, cwd } => {
            (None, Some(shell_text(command, args.as_deref())), cwd.as_deref())
        }
    };
    Planned {
        id: goal.id.as_str(),
        title: goal.title.as_deref(),
        adapter: goal.adapter.as_ref().map(|it| it.as_str()),
        goal: goal.goal.as_ref().map(|it| it.as_str()),
        stream: goal.stream.as_ref().map(|it| it.as_str()),
        pipeline,
        command,
        cwd,
        needs: goal.needs.iter().map(|it| it.as_str()).collect(),
        timeout_seconds: goal.timeout.map(|timeout| timeout.as_secs_f64()),
        parallel: goal.parallel,
    }
}

fn reached<'a>(goal: &'a Goal, entry: &'a StageEntry, manifest: &'a Manifest) -> Reached<'a> {
    let run_id = entry.sub_run_id.as_deref();
    let child = manifest.child_runs.iter().find(|child| Some(child.run_id.as_str()) == run_id);
    let Planned { id, adapter, goal, stream, .. } = planned(goal);
    let times = entry.started_at.zip(entry.completed_at);
    Reached {
        id,
        adapter,
        goal,
        stream,
        status: entry.status,
        exit_code: entry.exit_code,
        timed_out: entry.timed_out,
        duration_ms: times.map(|(began, ended)| (ended.seconds_since(began) * 1000.0).round() as u64),
        summary: entry.summary.as_deref(),
        run_id,
        run_status: child.map(|child| child.status),
        manifest: child.map(|child| child.manifest.as_str()),
    }
}

impl<'a> Answer for Preview<'a> {
    type Document = PreviewDocument<'a>;

    fn document(&self) -> PreviewDocument<'a> {
        let Spawn { goals, jobs, .. } = self.0;
        PreviewDocument {
            title: goals.title.as_deref(),
            jobs: jobs.get(),
            keep_going: goals.keep_going,
            goals: goals.goals.iter().map(planned).collect(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new("GOAL\tWHERE\tLIMITS\tWHAT")?;
        for goal in &self.0.goals.goals {
            let mut limits: Vec<_> = goal.timeout.map(shown_duration).into_iter().collect();
            limits.extend((!goal.parallel).then(|| "alone".to_owned()));
            limits.extend(goal.needs.iter().map(|need| format!("after {need}")));
            let place = goal.stream.as_ref().map_or("here", |stream| stream.as_str());
            let (place, what) = match &goal.work {
                Work::Pipeline(pipeline) => (place.to_owned(), format!("pipeline {pipeline}")),
                Work::Command { command, args, cwd } => {
                    let place = cwd.as_ref().map_or(place.to_owned(), |cwd| format!("{place}: {cwd}"));
                    (place, shell_text(command, args.as_deref()))
                }
            };
            let limits = if limits.is_empty() { "-".to_owned() } else { limits.join(", ") };
            let (id, place) = (untrusted(goal.id.as_str()), untrusted(&place));
            writeln!(table.0, "{id}\t{place}\t{}\t{}", untrusted(&limits), untrusted(&what))?;
        }
        table.print(out)?;
        writeln!(out, "At most {} at the same time. Nothing was started.", self.0.jobs)
    }
}

impl<'a> Answer for Spawned<'a> {
    type Document = Document<'a>;

    fn document(&self) -> Document<'a> {
        let Self { goals, manifest } = *self;
        let goals = goals.goals.iter().zip(&manifest.commands);
        Document {
            run: Finished { manifest, word: "finished" }.document(),
            goals: goals.map(|(goal, entry)| reached(goal, entry, manifest)).collect(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new("ADAPTER\tGOAL\tSTREAM\tSTATUS\tTIME\tRUN")?;
        for (goal, entry) in self.goals.goals.iter().zip(&self.manifest.commands) {
            let it = reached(goal, entry, self.manifest);
            let word = if it.timed_out { "timed out" } else { it.status.as_str() };
            let color = style(it.status.as_str());
            // One without a name for its goal is called by its id.
            let goal = it.goal.unwrap_or(it.id);
            let time = it.duration_ms.map_or("-".to_owned(), |ms| span(ms as f64 / 1000.0));
            writeln!(
                table.0,
                "{}\t{}\t{}\t{color}{word}{color:#}\t{time}\t{}",
                untrusted(it.adapter.unwrap_or("-")),
                untrusted(goal),
                untrusted(it.stream.unwrap_or("-")),
                untrusted(it.run_id.unwrap_or("-")),
            )?;
        }
        table.print(out)?;
        Finished { manifest: self.manifest, word: "finished" }.text(out)
    }
}
