//! `start`: run a pipeline and record its evidence.

use std::num::NonZeroU16;
use std::rc::Rc;

use anyhow::{Context as _, Result};

use super::host::{Origin, ReuseOptions, RunHost, Shared, SharedWatch};
use super::plan::PlanOptions;
use super::side::{Side, There};
use super::{Context, Kind, Refusal, group, learning};
use crate::id::{PipelineId, RunId, TaskId};
use crate::pipeline::evidence::Notes;
use crate::pipeline::plan::Plan;
use crate::run::event::Happened;
use crate::run::manifest::{Manifest, Series};
use crate::runner::interrupt::{Interrupt, Interrupts};
use crate::runner::{DEADLOCK, Host, Limits};

/// What to run, and for what.
#[derive(Clone, Debug)]
pub struct StartOptions {
    pub task: TaskId,
    pub pipeline: Option<PipelineId>,
    pub target: Option<String>,
    pub parent_run: Option<RunId>,
    pub approval_policy: Option<String>,
    pub pace: Pace,
    pub reuse: ReuseOptions,
    /// Whether the run leaves a git note; what the configuration says by default.
    pub notes: Option<Notes>,
}

/// How much may happen at the same time, as far as somebody said it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// How many commands may run at the same time; what the plan says by default, else one.
    pub jobs: Option<NonZeroU16>,
    /// Whether what does not depend on a stage that failed goes on all the same.
    pub keep_going: bool,
    /// Whether the budget of the machine is ignored.
    pub no_budget: bool,
}

impl Pace {
    /// Returns the limits of a run of `plan`.
    pub(super) fn limits(self, plan: &Plan) -> Limits {
        if plan.group {
            return Limits { jobs: NonZeroU16::MIN, keep_going: false, budget: !self.no_budget };
        }
        let jobs = self.jobs.or(plan.jobs).unwrap_or(NonZeroU16::MIN);
        Limits { jobs, keep_going: self.keep_going, budget: !self.no_budget }
    }
}

/// A run that ended, or that nobody works on until somebody decides.
#[derive(Debug)]
pub struct RunOutcome {
    pub manifest: Manifest,
    /// The signal that cancelled the run.
    pub interrupt: Option<Interrupt>,
}

impl RunOutcome {
    /// Whether the run failed since it would have waited for ever for others that wait for it.
    pub fn is_deadlock(&self) -> bool {
        let detail = self.manifest.status_detail.as_deref().unwrap_or_default();
        detail.strip_suffix(DEADLOCK).is_some_and(|stage| stage.ends_with(':'))
    }
}

/// Runs a pipeline. `watch` is told everything as it happens.
pub fn start(ctx: &Context, options: StartOptions, watch: SharedWatch) -> Result<RunOutcome> {
    let plan = to_learn_from(ctx, &options)?;
    ctx.layout.check(&options.task)?;
    with_interrupts(async |interrupts| {
        let run = Asked { plan, options: &options, series: None };
        run.execute(ctx, watch, interrupts, |_| Ok(())).await
    })
}

/// Runs a pipeline on a clean side worktree at a commit.
pub fn start_at(
    ctx: &Context,
    revision: &str,
    options: StartOptions,
    watch: SharedWatch,
) -> Result<RunOutcome> {
    let commit = ctx.repo.commit(revision)?.ok_or_else(|| Refusal::no_commit(revision))?;
    ctx.layout.check(&options.task)?;
    with_interrupts(async |interrupts| {
        let mut side = Side::take(ctx, &watch)?;
        let there = match side.ready_at(ctx, &commit, &options.task, &watch, interrupts).await? {
            There::Ready(there) => there,
            There::Failed(manifest) => {
                return Ok(RunOutcome { manifest: *manifest, interrupt: interrupts.first() });
            }
            There::Interrupted => return Err(cancelled(interrupts, "before anything ran").into()),
        };
        let plan = to_learn_from(&there, &options)?;
        let run = Asked { plan, options: &options, series: None };
        run.execute(&there, watch, interrupts, |run| side.used_by(run)).await
    })
}

/// Says that a signal came, and when.
pub(super) fn cancelled(interrupts: &Interrupts, when: &str) -> Refusal {
    let interrupt = interrupts.first().unwrap_or(Interrupt::Interrupt);
    let message = format!("cancelled by {} {when}", interrupt.name());
    Refusal::new(Kind::Cancelled(interrupt), message)
}

/// Returns what a request would run in a context, and how it is learned from.
pub(super) fn to_learn_from(ctx: &Context, options: &StartOptions) -> Result<Plan> {
    Ok(Plan { learning: learning::wanted(ctx)?, ..plan_of(ctx, options)? })
}

/// Returns what a request would run in a context.
pub(super) fn plan_of(ctx: &Context, options: &StartOptions) -> Result<Plan> {
    let StartOptions { pipeline, target, .. } = options.clone();
    super::plan::plan(ctx, &PlanOptions { pipeline, target, target_of_environment: true })
}

/// A run that was asked for, alone or with others.
pub(super) struct Asked<'a> {
    pub plan: Plan,
    pub options: &'a StartOptions,
    pub series: Option<Series>,
}

impl Asked<'_> {
    /// Runs it to its end. `created` is told its id before anything starts.
    pub async fn execute(
        self,
        ctx: &Context,
        watch: SharedWatch,
        interrupts: &mut Interrupts,
        created: impl FnOnce(&str) -> Result<()>,
    ) -> Result<RunOutcome> {
        let Self { mut plan, options, series } = self;
        let names = group::apply(&ctx.env, &mut plan, options.pace)?;
        let mut shared = Shared::new(ctx, options.task.clone(), &plan, watch)?.in_series(series);
        shared.name_group(names);
        shared.leave_note(options.notes);
        let shared = Rc::new(shared);
        let parent = options.parent_run.as_ref().map(RunId::as_str);
        let origin = Origin::asked(&shared, parent, options.reuse)?;
        let policy = options.approval_policy.clone();
        let limits = options.pace.limits(&plan);
        let mut host = RunHost::create(Rc::clone(&shared), plan, origin, limits, policy)?;
        created(host.manifest().run_id.as_str())?;
        let owner = host.owner();
        host.tell(Happened::Started { owner }, 0)?;
        host.owned()?;
        let manifest = host.drive(interrupts).await?;
        Ok(RunOutcome { manifest, interrupt: interrupts.first() })
    }
}

/// Calls `work` on a runtime of its own, with the signals that may end it.
pub(super) fn with_interrupts<T>(work: impl AsyncFnOnce(&mut Interrupts) -> Result<T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot get what it takes to run processes")?;
    crate::sys::process::adopt_orphans();
    runtime.block_on(async {
        let mut interrupts = Interrupts::listen().context("cannot listen to signals")?;
        work(&mut interrupts).await
    })
}
