//! A sample of what was proven, run again in a clean side worktree. The run is evidence like any other: one that fails
//! contradicts what was recorded before.

use anyhow::Result;

use super::audit::Audited;
use super::verify::Proof;
use crate::git::Commit;
use crate::id::{PipelineId, TaskId};
use crate::ops::Context;
use crate::ops::host::{ReuseOptions, SharedWatch};
use crate::ops::side::{Side, There};
use crate::ops::start::{Asked, Pace, StartOptions, plan_of, with_interrupts};
use crate::proof::{Record, Result as StageResult, record};
use crate::run::manifest::{Series, SeriesKind};
use crate::runner::interrupt::Interrupts;
use crate::sys::digest::sha256_hex;

/// The task that the runs belong to.
const TASK: &str = "audit";

/// A commit that was chosen.
#[derive(Debug)]
pub struct RerunOf {
    pub commit: Commit,
    /// The number by which it was chosen: the smallest are.
    pub number: String,
    pub outcome: Outcome,
}

/// What became of it.
#[derive(Debug)]
pub enum Outcome {
    Ran {
        runs: Vec<String>,
        stages: Vec<StageRerun>,
    },
    /// It could not be run.
    Refused(anyhow::Error),
    /// It was not its turn any more.
    NotRun,
}

/// How a stage ended that had passed before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageRerun {
    pub stage: String,
    /// The run that had proven it.
    pub before: String,
    pub again: Again,
}

/// How it ended this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It passed again.
    Agrees,
    /// It did not: what was recorded is contradicted now.
    Disagrees,
    /// It passed, with other tools than then.
    PassedOtherwise,
    /// It did not pass, with other tools than then: that contradicts nothing.
    FailedOtherwise,
    /// It was not run, or the run proves nothing.
    Unknown,
}

impl Again {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agrees => "agrees",
            Self::Disagrees => "disagrees",
            Self::PassedOtherwise => "passed-otherwise",
            Self::FailedOtherwise => "failed-otherwise",
            Self::Unknown => "unknown",
        }
    }
}

impl RerunOf {
    /// Whether it passed again.
    pub fn agrees(&self) -> bool {
        let passed = |stage: &StageRerun| matches!(stage.again, Again::Agrees | Again::PassedOtherwise);
        matches!(&self.outcome, Outcome::Ran { stages, .. } if stages.iter().all(passed))
    }
}

/// Runs a share of the commits again that are proven, and keeps what comes of it. The share is in hundredths of a
/// percent; of any commits at all, one is chosen at least.
pub fn rerun(ctx: &Context, audited: &mut Audited, share: u32, watch: SharedWatch) -> Result<()> {
    let proven =
        audited.commits.iter().filter(|commit| !commit.of.proven_by.is_empty() && commit.of.is_proven());
    let number = |commit: &Commit| sha256_hex(format!("{}\n{}\n", audited.seed, commit.id).as_bytes());
    let mut chosen: Vec<_> = proven
        .map(|commit| (number(&commit.of.commit), commit.of.commit.clone(), commit.of.proven_by.clone()))
        .collect();
    audited.eligible = chosen.len();
    if share == 0 || chosen.is_empty() {
        return Ok(());
    }
    chosen.sort_by(|a, b| a.0.cmp(&b.0));
    let count = (chosen.len() as u64 * u64::from(share)).div_ceil(10_000).max(1);
    chosen.truncate(count as usize);
    let range = audited.reference.clone();
    let of = chosen.len();
    let not_run = |(number, commit, _): &(String, Commit, Vec<Proof>)| RerunOf {
        commit: commit.clone(),
        number: number.clone(),
        outcome: Outcome::NotRun,
    };
    audited.reruns = chosen.iter().map(not_run).collect();
    audited.interrupt = with_interrupts(async |interrupts| {
        let mut side = Side::take(ctx, &watch)?;
        for (at, (_, commit, proofs)) in chosen.iter().enumerate() {
            interrupts.catch_up().await;
            if interrupts.first().is_some() {
                break;
            }
            let series =
                Series { kind: SeriesKind::Audit, range: range.clone(), number: at + 1, commits: of };
            let again = one(ctx, &mut side, commit, proofs, series, &watch, interrupts);
            audited.reruns[at].outcome = match again.await {
                Ok(Some(outcome)) => outcome,
                Ok(None) => break,
                Err(err) => Outcome::Refused(err),
            };
        }
        Ok(interrupts.first())
    })?;
    Ok(())
}

/// Runs what had proven a commit; nothing if a signal came in the meantime.
async fn one(
    ctx: &Context,
    side: &mut Side,
    commit: &Commit,
    proofs: &[Proof],
    series: Series,
    watch: &SharedWatch,
    interrupts: &mut Interrupts,
) -> Result<Option<Outcome>> {
    let mut pipelines: Vec<_> = proofs.iter().map(|proof| proof.record.pipeline.clone()).collect();
    pipelines.sort();
    pipelines.dedup();
    let (mut runs, mut records) = (Vec::new(), Vec::new());
    for pipeline in pipelines {
        let options = StartOptions {
            task: TASK.parse::<TaskId>()?,
            pipeline: Some(pipeline.parse::<PipelineId>()?),
            target: None,
            parent_run: None,
            approval_policy: None,
            // Every stage is asked, also those after one that fails.
            pace: Pace { keep_going: true, ..Pace::default() },
            reuse: ReuseOptions { reuse: Some(false), join: Some(false) },
            notes: None,
        };
        ctx.layout.check(&options.task)?;
        let there = match side.ready_at(ctx, commit, &options.task, watch, interrupts).await? {
            There::Ready(there) => there,
            There::Interrupted => return Ok(None),
            There::Failed(_) if interrupts.first().is_some() => return Ok(None),
            There::Failed(manifest) => {
                return Err(anyhow::anyhow!("the side worktree was not set up by run `{}`", manifest.run_id));
            }
        };
        let asked =
            Asked { plan: plan_of(&there, &options)?, options: &options, series: Some(series.clone()) };
        let run = asked.execute(&there, watch.clone(), interrupts, |run| side.used_by(run));
        let manifest = run.await?.manifest;
        side.used(&manifest, watch)?;
        runs.push(manifest.run_id.to_string());
        records.extend(record::of_run(&manifest, crate::ops::host::TOOL, &|_| None));
        if interrupts.first().is_some() {
            return Ok(None);
        }
    }
    let stages = proofs.iter().map(|proof| compare(proof, &records)).collect();
    Ok(Some(Outcome::Ran { runs, stages }))
}

/// Holds what ran again against what had proven a stage.
fn compare(proof: &Proof, records: &[Record]) -> StageRerun {
    let stages = records.iter().filter(|record| record.void.is_none()).flat_map(|record| &record.stages);
    let same_key = stages.clone().find(|stage| stage.key == proof.found.key);
    let same_work = || {
        stages.clone().find(|stage| {
            stage.definition_digest == proof.found.definition_digest && stage.subject == proof.found.subject
        })
    };
    let passed = |result: StageResult| result == StageResult::Passed;
    let again = match (same_key, same_work()) {
        (Some(stage), _) if passed(stage.result) => Again::Agrees,
        (Some(_), _) => Again::Disagrees,
        (None, Some(stage)) if passed(stage.result) => Again::PassedOtherwise,
        (None, Some(_)) => Again::FailedOtherwise,
        (None, None) => Again::Unknown,
    };
    StageRerun { stage: proof.stage.clone(), before: proof.record.run_id.clone(), again }
}
