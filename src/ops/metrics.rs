//! `metrics`: what the runs of this worktree's tasks add up to.

use std::path::PathBuf;

use anyhow::Result;
use jiff::SignedDuration;

use super::host::Masking;
use super::{Context, Kind, Place, Refusal};
use crate::id::TaskId;
use crate::pipeline::{listing, nearest};
use crate::run::look_back::{LookBack, StageReport};
use crate::run::metrics::stages;
use crate::run::stamp::Stamp;
use crate::run::tally::{Tally, Unreadable};
use crate::store::layout::Layout;
use crate::store::{catalog, metrics, metrics_lines};
use crate::sys::fs::{self, Durability};

/// What to look at.
#[derive(Clone, Debug, Default)]
pub struct MetricsOptions {
    /// All tasks if none.
    pub task: Option<TaskId>,
    /// Only runs that ended so long ago or less; all if none.
    pub since: Option<SignedDuration>,
}

/// What was found.
#[derive(Debug)]
pub struct Metrics {
    pub at: Stamp,
    pub place: Place,
    pub since: Option<Stamp>,
    pub tasks: Vec<TaskMetrics>,
    /// All tasks together.
    pub all: LookBack,
}

/// What was found about one task.
#[derive(Debug)]
pub struct TaskMetrics {
    pub task: TaskId,
    /// `metrics.json`, relative to the root.
    pub file: String,
    /// Where the summary belongs.
    pub summary: PathBuf,
    pub report: LookBack,
    /// What all lines say, whenever they were written: the content of the summary.
    pub ever: Option<LookBack>,
    pub unreadable: u64,
    pub examples: Vec<Unreadable>,
}

impl TaskMetrics {
    /// Returns what the summary file tells: a part of the time is nothing to leave behind.
    pub fn whole(&self) -> &LookBack {
        self.ever.as_ref().unwrap_or(&self.report)
    }
}

/// Looks back at the runs of one task, or of all.
pub fn metrics(ctx: &Context, options: &MetricsOptions) -> Result<Metrics> {
    let at = ctx.clock.now();
    let since = match options.since {
        Some(since) => Some(at.earlier_by(since).ok_or_else(too_long_ago)?),
        None => None,
    };
    let known: Vec<_> = catalog::tasks(&ctx.layout, None);
    let chosen = match &options.task {
        Some(task) if known.contains(task) => vec![task.clone()],
        Some(task) => return Err(unknown(task, &known).into()),
        None => known.into_iter().filter(|task| has_metrics(&ctx.layout, task)).collect(),
    };
    let (mut tasks, mut together) = (Vec::new(), Tally::default());
    for task in chosen {
        ctx.layout.check(&task)?;
        let mut tally = metrics_lines::read(&ctx.layout, &task)?;
        tally.complete(|run| {
            let manifest = catalog::read(&ctx.layout.run(&task, &run.parse().ok()?)).ok()?;
            let manifest = manifest.manifest;
            let tree = manifest.git.as_ref().filter(|git| git.moved != Some(true));
            let tree = tree.and_then(|git| git.tree.clone());
            Some((manifest.pipeline_id.clone(), tree, stages(&manifest)))
        });
        let mut examples = std::mem::take(&mut tally.examples);
        if !examples.is_empty() {
            let masking = Masking::new(&ctx.env, None);
            examples.iter_mut().for_each(|example| example.raw = masking.masked(&example.raw));
        }
        tasks.push(TaskMetrics {
            file: ctx.layout.relative(&metrics::file(&ctx.layout, &task)),
            summary: ctx.layout.task(&task).join("metrics-summary.json"),
            report: LookBack::of(&tally, since),
            ever: since.map(|_| LookBack::of(&tally, None)),
            unreadable: tally.unreadable,
            examples,
            task,
        });
        together.absorb(tally);
    }
    let all = match tasks.as_slice() {
        [only] => only.report.clone(),
        _ => LookBack::of(&together, since),
    };
    Ok(Metrics { at, place: ctx.place(), since, tasks, all })
}

/// Returns how many seconds stages of pipelines usually take in all, as the worktrees of the repository measured
/// them; nothing if one of them was never measured.
pub fn usual(ctx: &Context, stages: &[(&str, &str)]) -> Result<Option<f64>> {
    let mut together = Tally::default();
    for layout in ctx.layouts() {
        for task in catalog::tasks(&layout, None) {
            if has_metrics(&layout, &task) {
                together.absorb(metrics_lines::read(&layout, &task)?);
            }
        }
    }
    let report = LookBack::of(&together, None);
    let of_stage = |(pipeline, stage): &(&str, &str)| {
        let is_it = |it: &&StageReport| (&*it.name.pipeline, &*it.name.stage) == (*pipeline, *stage);
        let found = report.stages.iter().find(is_it)?;
        (found.durations.count > 0).then_some(found.durations.p50)
    };
    Ok(stages.iter().map(of_stage).sum())
}

/// Replaces the summary of a task.
pub fn keep(task: &TaskMetrics, summary: &[u8]) -> Result<()> {
    Ok(fs::write_atomically(&task.summary, summary, Durability::Process)?)
}

fn has_metrics(layout: &Layout, task: &TaskId) -> bool {
    metrics::file(layout, task).exists() || !metrics::queued_files(layout, task).is_empty()
}

fn too_long_ago() -> Refusal {
    Refusal::new(Kind::Usage, "`--since` reaches back before all time").hint("such as `--since 30d`")
}

fn unknown(task: &TaskId, known: &[TaskId]) -> Refusal {
    let names = || known.iter().map(TaskId::as_str);
    let hint = match nearest(task.as_str(), names()) {
        Some(near) => format!("did you mean `git orchestrate metrics --task {near}`?"),
        None if known.is_empty() => "`git orchestrate start` makes a run".to_owned(),
        None => format!("tasks here: {}", listing(names())),
    };
    Refusal::new(Kind::Usage, format!("no run of task `{task}` was ever here")).hint(hint)
}
