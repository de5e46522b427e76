//! Drives a plan. All that it learns comes out as events, told to a [`Host`]: this module knows
//! neither disk nor git.

mod command;
pub mod interrupt;
pub mod log;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use crate::output::mask::{MaskMode, Masker};
use crate::pipeline::plan::{Plan, PlannedStage};
use crate::pipeline::{Action, Stage};
use crate::run::event::{Happened, StageEnd};
use crate::run::liveness::HEARTBEAT_SECONDS;
use crate::run::stamp::Stamp;
use crate::run::status::{RunStatus, StageStatus};
use interrupt::Interrupts;

/// Which of its two streams a command printed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// How to run the command of a stage.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The whole environment of the command.
    pub env: Vec<(OsString, OsString)>,
    /// The folder to run in.
    pub cwd: PathBuf,
    /// The stage's log, as the manifest names it.
    pub log_path: String,
    /// Whether `command:stdout` and `command:stderr` lines are wanted too.
    pub emit_streams: bool,
}

/// The world of one run, as far as a runner may touch it. Every error ends the run at once.
pub trait Host {
    /// Returns the present moment.
    fn now(&self) -> Stamp;
    /// Returns the id of the run.
    fn run_id(&self) -> &str;
    /// Returns the pipeline that runs.
    fn pipeline_id(&self) -> &str;
    /// Keeps an event about the run (index 0) or about a stage.
    fn tell(&mut self, event: Happened, index: usize) -> Result<()>;
    /// Whether an earlier attempt finished the stage, so that it is kept.
    fn is_finished(&self, index: usize) -> bool;
    /// Makes ready to run a stage's command.
    fn begin_command(&mut self, stage: &PlannedStage) -> Result<Setup>;
    /// Returns what masks one stream of output.
    fn masker(&self) -> Masker;
    /// Returns what happens to secrets.
    fn mask_mode(&self) -> MaskMode;
    /// Replaces secrets in a text that is no output, such as a command.
    fn masked(&self, text: &str) -> String;
    /// Keeps lines of the running command in its log and in the journal.
    fn log(&mut self, lines: &[u8]) -> Result<()>;
    /// Shows what the running command printed to whoever watches.
    fn printed(&mut self, index: usize, stream: Stream, text: &str);
    /// Keeps the note on a stage's failure. Returns its path as the manifest names it.
    fn keep_error(&mut self, index: usize, note: &Value) -> Result<String>;
    /// Says that the run is alive.
    fn beat(&mut self) -> Result<()>;
    /// Returns when [`Host::save`] wants to be called, if it does.
    fn save_due(&self) -> Option<Instant>;
    /// Brings the manifest file up to date.
    fn save(&mut self) -> Result<()>;
    /// Makes a child run and links it to the stage, before anything of it starts.
    fn begin_child(&mut self, index: usize, plan: &Plan) -> Result<Box<dyn Host>>;
    /// Ends a run and keeps what follows from it.
    fn finish(self: Box<Self>, outcome: Outcome) -> Result<ChildEnd>;
}

/// How a plan ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: RunStatus,
    /// Why, in the words of `contract-core.md` §6.2.
    pub detail: Option<String>,
}

/// What a parent run keeps of its child.
#[derive(Clone, Debug)]
pub struct ChildEnd {
    pub run_id: String,
    pub status: RunStatus,
    /// Whether the tree moved while it ran.
    pub moved: bool,
    pub summary: String,
}

/// How long background processes may keep a stage's output open without printing anything.
pub const LEAK_IDLE: Duration = Duration::from_secs(2);
/// How long they may in all.
pub const LEAK_LIMIT: Duration = Duration::from_secs(10);
/// How long a stage has to end after a signal.
pub const GRACE: Duration = Duration::from_secs(10);

/// Runs the stages of a plan that are wanted and not finished yet, in order, until one fails.
pub async fn execute(plan: &Plan, host: &mut dyn Host, interrupts: &mut Interrupts) -> Result<Outcome> {
    for planned in plan.running() {
        if host.is_finished(planned.index) {
            continue;
        }
        if let Some(signal) = interrupts.seen() {
            return Ok(cancelled(&signal));
        }
        let end = match &planned.stage.action {
            Action::Command(action) => command::run(planned, action, host, interrupts).await?,
            Action::Subpipeline { optional, .. } => subpipeline(planned, *optional, host, interrupts).await?,
        };
        interrupts.catch_up().await;
        if let Some(signal) = interrupts.seen() {
            return Ok(cancelled(&signal));
        }
        if let Ended::Failed { detail } = end {
            return Ok(Outcome { status: RunStatus::Failed, detail: Some(detail) });
        }
    }
    Ok(Outcome { status: RunStatus::Succeeded, detail: None })
}

fn cancelled(signal: &str) -> Outcome {
    Outcome { status: RunStatus::Cancelled, detail: Some(format!("cancelled:{signal}")) }
}

/// How a stage ended, as far as the next one is concerned.
enum Ended {
    Fine,
    Failed { detail: String },
}

async fn subpipeline(
    planned: &PlannedStage,
    optional: bool,
    host: &mut dyn Host,
    interrupts: &mut Interrupts,
) -> Result<Ended> {
    let PlannedStage { index, stage, child } = planned;
    host.tell(Happened::StageStarted { log_path: None }, *index)?;
    let Some(plan) = child else {
        // The plan allows a missing child only where it is optional.
        let summary = "The pipeline does not exist; the stage is optional.".to_owned();
        host.tell(stage_end(StageStatus::Skipped, summary, None), *index)?;
        return Ok(Ended::Fine);
    };
    let mut child = host.begin_child(*index, plan)?;
    let outcome = {
        let mut run = Box::pin(execute(plan, &mut *child, interrupts));
        let mut heartbeat = heartbeat();
        loop {
            let save_due = host.save_due();
            tokio::select! {
                outcome = &mut run => break outcome?,
                _ = heartbeat.tick() => host.beat()?,
                () = sleep_until(save_due) => host.save()?,
            }
        }
    };
    let end = child.finish(outcome)?;
    let finished =
        Happened::ChildFinished { run_id: end.run_id.clone(), status: end.status, moved: end.moved };
    host.tell(finished, *index)?;
    let (status, note) = match end.status {
        RunStatus::Succeeded => (StageStatus::Succeeded, None),
        RunStatus::Failed if optional => (StageStatus::Skipped, None),
        _ => (
            StageStatus::Failed,
            Some(format!("Sub-pipeline '{}' {}: run {}.", stage.title, end.status, end.run_id)),
        ),
    };
    host.tell(stage_end(status, end.summary, note), *index)?;
    Ok(match status {
        StageStatus::Failed => Ended::Failed { detail: format!("subpipeline:{}:failed", pipeline_of(stage)) },
        _ => Ended::Fine,
    })
}

fn pipeline_of(stage: &Stage) -> &str {
    match &stage.action {
        Action::Subpipeline { pipeline, .. } => pipeline.as_str(),
        Action::Command(_) => stage.id.as_str(),
    }
}

fn stage_end(status: StageStatus, summary: String, note: Option<String>) -> Happened {
    Happened::StageFinished(Box::new(StageEnd {
        status,
        exit_code: None,
        signal: None,
        summary: Some(summary),
        error_file: None,
        note,
        handle: None,
        decisions: Vec::new(),
        frames: Default::default(),
        output_bytes: 0,
        leaked: false,
    }))
}

/// Ticks as often as a run beats. The first beat came with the start.
fn heartbeat() -> tokio::time::Interval {
    let period = Duration::from_secs(u64::from(HEARTBEAT_SECONDS));
    let mut interval = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}

/// Sleeps until a moment, or for ever.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
