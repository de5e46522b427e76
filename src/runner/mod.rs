//! Drives a plan. All that it learns comes out as events, told to a [`Host`]: this module knows
//! neither disk nor git.

mod command;
mod crew;
mod draw;
pub mod interrupt;
pub mod log;
mod manual;
mod memory;
mod schedule;
mod stages;
mod stop;
mod supply;
mod typed;

use std::cell::RefCell;
use std::ffi::OsString;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;
use tokio::sync::watch;

use crate::output::mask::{MaskMode, Masker};
use crate::pipeline::Command as Action;
use crate::pipeline::plan::{Plan, PlannedStage};
use crate::run::approval::{Decision, Ruling};
use crate::run::event::Happened;
use crate::run::manifest::Reused;
use crate::run::stamp::Stamp;
use crate::run::status::{RunStatus, StageStatus};
use crate::sys::budget::{Budget, Wish};
use crate::sys::fs::PathError;
use crew::Crew;
use interrupt::{Interrupt, Interrupts};
use manual::Waits;
pub use stages::stage_end;
use stop::Stop;

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
    /// Returns what is known of a stage that has not begun.
    fn known(&mut self, stage: &PlannedStage) -> Result<Known>;
    /// Takes note that a stage is about to run.
    fn begins(&mut self, stage: &PlannedStage) -> Result<()>;
    /// Returns the budget of the machine; nothing if there is none, or it is to be ignored.
    fn budget(&mut self) -> Option<Budget>;
    /// Returns what a stage wants of it.
    fn wish(&self, stage: &PlannedStage, action: &Action) -> Wish;
    /// Says that the run goes on without it.
    fn lost_budget(&mut self, why: &PathError);
    /// Makes ready to run a stage's command.
    fn begin_command(&mut self, stage: &PlannedStage) -> Result<Setup>;
    /// Returns what masks one stream of output.
    fn masker(&self) -> Masker;
    /// Returns what happens to secrets.
    fn mask_mode(&self) -> MaskMode;
    /// Replaces secrets in a text that is no output, such as a command.
    fn masked(&self, text: &str) -> String;
    /// Keeps lines of a stage's command in its log and in the journal.
    fn log(&mut self, index: usize, lines: &[u8]) -> Result<()>;
    /// Shows what a stage's command printed to whoever watches.
    fn printed(&mut self, index: usize, stream: Stream, text: &str);
    /// Keeps the note on a stage's failure. Returns its path as the manifest names it. `again` is the
    /// attempt that failed, if the stage is run again.
    fn keep_error(&mut self, index: usize, note: &Value, again: Option<u32>) -> Result<String>;
    /// Asks somebody whether a stage may begin, or returns what is decided already.
    fn ask(&mut self, stage: &PlannedStage) -> Result<Option<Ruling>>;
    /// Returns what somebody has decided about a stage that waits.
    fn decision(&mut self, index: usize) -> Result<Option<Ruling>>;
    /// Keeps what somebody typed, unless it was decided elsewhere before.
    fn decide(&mut self, index: usize, decision: Decision, reason: Option<String>) -> Result<()>;
    /// Whether somebody can be asked on the terminal.
    fn can_prompt(&self) -> bool;
    /// Shows a question on the terminal.
    fn question(&mut self, index: usize, question: Question);
    /// Whether the run is left alone while all that is left of it waits for decisions.
    fn can_park(&self) -> bool;
    /// Whether all that was told survives a power cut: the end of a stage does so only when it is settled.
    fn is_settled(&self) -> bool;
    /// Makes all that was told survive a power cut.
    fn settle(&mut self) -> Result<()>;
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

/// What somebody is asked on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Decision,
    Reason,
}

/// How the reason ends of a run that failed since it would have waited for ever for others that wait for it.
pub const DEADLOCK: &str = "deadlock";

/// How the reason begins for which a stage waits for another run.
pub const WAITS_FOR_RUN: &str = "Waits for run ";

/// What is known of a stage before it runs.
#[derive(Clone, Debug)]
pub enum Known {
    /// It has to run.
    Nothing,
    /// Another run is running the same.
    Running { run: String },
    /// Another run ran the same, and that counts.
    Ended { status: StageStatus, reused: Box<Reused> },
}

/// How a plan ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: RunStatus,
    /// Why, in the words of `contract-core.md` §6.2.
    pub detail: Option<String>,
    /// More lines for the run's summary.
    pub notes: Vec<String>,
}

impl Outcome {
    /// Returns an end without notes.
    pub fn new(status: RunStatus, detail: Option<String>) -> Self {
        Self { status, detail, notes: Vec::new() }
    }
}

/// How much may happen at the same time, and what a failure means for the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many commands may run at the same time, those of child runs included.
    pub jobs: NonZeroU16,
    /// Whether what does not depend on a stage that failed goes on all the same.
    pub keep_going: bool,
    /// Whether commands draw from the budget of the machine.
    pub budget: bool,
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

/// The host of a run, for its stages. It is borrowed for single calls and never while one waits, so
/// that a run has one writer however many of its stages run.
type World<'w, 'h> = &'w RefCell<&'h mut (dyn Host + 'h)>;

/// Runs the stages of a plan that are wanted and not finished yet. Returns nothing if all that is left
/// waits for decisions, and the host would rather park than wait.
pub async fn execute(
    plan: &Plan,
    host: &mut dyn Host,
    interrupts: &mut Interrupts,
    limits: Limits,
) -> Result<Option<Outcome>> {
    let crew = Crew::new(limits, host.can_prompt(), host.budget());
    // A signal may have come while the run was made ready.
    let (orders, received) = watch::channel(interrupts.first().map(Stop::interrupt));
    let world = RefCell::new(host);
    let outcome = {
        let mut run = pin!(stages::run(plan, plan.timeout, &world, received, &crew, Waits::new(None)));
        loop {
            tokio::select! {
                // A stage that has ended waits a moment, so that a signal before its end comes first.
                biased;
                interrupt = interrupts.next() => match interrupt {
                    Interrupt::Suspend => crew.suspend(),
                    Interrupt::Wake => crew.woken.notify_waiters(),
                    interrupt => orders.send_modify(|stop| *stop = Some(match stop {
                        Some(stop) => stop.once_more(),
                        None => Stop::interrupt(interrupt),
                    })),
                },
                outcome = &mut run => break outcome,
            }
        }
    };
    match outcome {
        Ok(mut outcome) => {
            if let Some(outcome) = &mut outcome {
                outcome.notes.extend(crew.unclaimed());
            }
            Ok(outcome)
        }
        // The evidence cannot be kept: nothing may go on unseen.
        Err(err) => {
            crew.kill_all();
            Err(err)
        }
    }
}

/// Sleeps until a moment, or for ever.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
