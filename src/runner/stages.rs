//! The stages of one pipeline: each begins when it can, and what one of them does is heard by all.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;

use super::crew::Crew;
use super::manual::{self, Allowance, Asked, Waits};
use super::schedule::{Answer, Schedule};
use super::stop::{self, Orders, Stop};
use super::{Host, Known, Outcome, WAITS_FOR_RUN, World, command, sleep_until};
use crate::pipeline::endurance::shown_duration;
use crate::pipeline::plan::{Plan, PlannedStage};
use crate::pipeline::{Action, Stage};
use crate::run::event::{Happened, StageEnd};
use crate::run::liveness::HEARTBEAT_SECONDS;
use crate::run::status::{RunStatus, StageStatus};

/// How a stage ended, as far as the others are concerned.
pub(super) enum Ended {
    Fine,
    Failed {
        detail: String,
    },
    /// It was told to end, or not to begin at all.
    Stopped,
}

/// What a stage came to.
enum Did {
    /// What somebody said about it, before it began.
    Asked(Asked),
    Ended(Ended),
}

/// Runs the stages of a plan that are wanted and not finished yet, for no longer than `timeout`. `orders` is
/// where others say that they are to end. Returns nothing if the run is to be parked.
pub(super) async fn run(
    plan: &Plan,
    timeout: Option<Duration>,
    host: World<'_, '_>,
    mut orders: Orders,
    crew: &Crew,
    waits: Rc<Waits>,
) -> Result<Option<Outcome>> {
    let wanted: Vec<_> = plan.running().collect();
    let jobs = plan.jobs.map_or(crew.limits.jobs, |own| own.min(crew.limits.jobs));
    let is_finished = |index| host.borrow().is_finished(index);
    let mut schedule = Schedule::new(wanted.iter().copied(), is_finished, usize::from(jobs.get()));
    let (tell, told) = watch::channel(orders.borrow_and_update().clone());
    let mut running = FuturesUnordered::new();
    // The stages that run, in the order in which they began.
    let mut open: Vec<usize> = Vec::new();
    let mut failed = None::<String>;
    let mut timed_out = None::<Duration>;
    let mut allowance = Allowance::new(timeout);
    // About which stages somebody has said yes.
    let mut approved = vec![false; wanted.len()];
    let mut upkeep = pin!(upkeep(host));
    loop {
        while told.borrow().is_none()
            && let Some(at) = schedule.begin()
        {
            let planned = wanted[at];
            // It builds on how others ended, which must not be forgotten then.
            if jobs.get() == 1 || !planned.stage.needs.is_empty() {
                host.borrow_mut().settle()?;
            }
            let orders = told.clone();
            let asks = planned.stage.asks() && !approved[at];
            if asks {
                schedule.ask(at);
            } else {
                open.push(at);
            }
            let waits = Rc::clone(&waits);
            running.push(async move {
                let did = match asks {
                    true => manual::ask(planned, host, orders, crew, &waits).await.map(Did::Asked),
                    false => stage(planned, host, orders, crew, &waits).await.map(Did::Ended),
                };
                (at, did)
            });
        }
        if running.is_empty() {
            break;
        }
        let nothing_else = waits.own() == running.len() && timed_out.is_none() && told.borrow().is_none();
        if nothing_else && host.borrow().can_park() {
            return Ok(None);
        }
        let deadline = allowance.end(&waits);
        let unsettled = !host.borrow().is_settled();
        tokio::select! {
            biased;
            Some((at, did)) = running.next() => {
                // A signal that came before the stage ended is heard before anything follows from that.
                tokio::task::yield_now().await;
                let heard = orders.has_changed().unwrap_or(false);
                if heard && let Some(stop) = orders.borrow_and_update().clone() {
                    pass_on(stop, &tell, &wanted, &open, host)?;
                }
                open.retain(|other| *other != at);
                let ended = match did? {
                    Did::Asked(asked) => {
                        let answer = match asked {
                            Asked::Approved => Answer::CanBegin,
                            Asked::Done => Answer::Passed,
                            Asked::Rejected { .. } | Asked::Stopped => Answer::Failed,
                        };
                        schedule.answer(at, answer);
                        approved[at] = true;
                        match asked {
                            Asked::Rejected { detail } => Ended::Failed { detail },
                            _ => continue,
                        }
                    }
                    Did::Ended(ended) => {
                        schedule.end(at, matches!(ended, Ended::Fine));
                        ended
                    }
                };
                if let Ended::Failed { detail } = ended {
                    failed.get_or_insert(detail);
                    if !crew.limits.keep_going {
                        give(&tell, Stop::failure(wanted[at].stage.id.as_str()));
                    }
                }
            }
            stop = stop::next(&mut orders) => pass_on(stop, &tell, &wanted, &open, host)?,
            () = sleep_until(deadline), if timed_out.is_none() => {
                let after = timeout.unwrap_or_default();
                timed_out = Some(after);
                give(&tell, Stop::timeout(plan.pipeline.as_str(), after));
            }
            () = waits.changed() => {}
            result = &mut upkeep => result?,
            // There is nothing else to do at this moment: what can follow has begun, and stages that ended at
            // the same time are settled together.
            () = std::future::ready(()), if unsettled => host.borrow_mut().settle()?,
        }
    }
    if let Some(stop) = orders.borrow().as_ref() {
        return Ok(Some(Outcome::new(RunStatus::Cancelled, Some(stop.detail()))));
    }
    if let Some(after) = timed_out.filter(|_| failed.is_none()) {
        let mut outcome =
            Outcome::new(RunStatus::Failed, Some(format!("pipeline:{}:timed-out", plan.pipeline)));
        outcome.notes.push(format!("Pipeline '{}' timed out after {}.", plan.title, shown_duration(after)));
        return Ok(Some(outcome));
    }
    if failed.is_some() {
        for (at, need) in schedule.held() {
            let reason = format!("Waits for stage '{}', which did not end well.", wanted[need].stage.id);
            host.borrow_mut().tell(Happened::StageHeld { reason }, wanted[at].index)?;
        }
    }
    Ok(Some(match failed {
        Some(detail) => Outcome::new(RunStatus::Failed, Some(detail)),
        None => Outcome::new(RunStatus::Succeeded, None),
    }))
}

/// Gives an order of our own, unless there is one already.
fn give(tell: &watch::Sender<Option<Stop>>, order: Stop) {
    tell.send_if_modified(|stop| {
        let first = stop.is_none();
        stop.get_or_insert(order);
        first
    });
}

/// Passes an order of others on to the stages that run.
fn pass_on(
    stop: Stop,
    tell: &watch::Sender<Option<Stop>>,
    wanted: &[&PlannedStage],
    open: &[usize],
    host: World<'_, '_>,
) -> Result<()> {
    // A child run says it for its own stages.
    let is_command = |at: &&usize| matches!(wanted[**at].stage.action, Action::Command(_));
    if let Some(signal) = stop.interrupted_by().filter(|_| !stop.at_once)
        && let Some(at) = open.iter().find(is_command)
    {
        let event = Happened::Interrupted { signal: signal.to_owned() };
        host.borrow_mut().tell(event, wanted[*at].index)?;
    }
    tell.send_replace(Some(stop));
    Ok(())
}

async fn stage(
    planned: &PlannedStage,
    host: World<'_, '_>,
    orders: Orders,
    crew: &Crew,
    waits: &Rc<Waits>,
) -> Result<Ended> {
    if let Some(ended) = known(planned, host, orders.clone()).await? {
        return Ok(ended);
    }
    host.borrow_mut().begins(planned)?;
    match &planned.stage.action {
        Action::Command(action) => command::run(planned, action, host, orders, crew, waits).await,
        Action::Subpipeline { optional, .. } => {
            subpipeline(planned, *optional, host, orders, crew, waits).await
        }
        // Somebody has said that it is done, and it has ended with that.
        Action::Manual { .. } => Ok(Ended::Fine),
    }
}

/// How long to wait before another look at a run that runs the same.
const GLANCE: Duration = Duration::from_millis(10);
/// How long at most.
const LONGEST_GLANCE: Duration = Duration::from_millis(250);

/// Ends a stage by what another run found out, if that counts; waits for one that is at it.
async fn known(planned: &PlannedStage, host: World<'_, '_>, mut orders: Orders) -> Result<Option<Ended>> {
    let mut waits_for = None::<String>;
    let mut pause = GLANCE;
    loop {
        let known = host.borrow_mut().known(planned)?;
        match known {
            Known::Nothing => return Ok(None),
            Known::Running { run } => {
                if waits_for.as_ref() != Some(&run) {
                    let reason = format!("{WAITS_FOR_RUN}{run}, which is running the same.");
                    host.borrow_mut().tell(Happened::StageHeld { reason }, planned.index)?;
                    waits_for = Some(run);
                }
                tokio::select! {
                    biased;
                    _ = stop::next(&mut orders) => return Ok(Some(Ended::Stopped)),
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_GLANCE);
            }
            Known::Ended { status, reused } => {
                let id = planned.stage.id.as_str();
                host.borrow_mut().tell(Happened::StageReused { status, reused }, planned.index)?;
                return Ok(Some(match status {
                    StageStatus::Failed => Ended::Failed { detail: format!("stage:{id}:failed") },
                    _ => Ended::Fine,
                }));
            }
        }
    }
}

async fn subpipeline(
    planned: &PlannedStage,
    optional: bool,
    host: World<'_, '_>,
    orders: Orders,
    crew: &Crew,
    waits: &Rc<Waits>,
) -> Result<Ended> {
    let PlannedStage { index, stage, child } = planned;
    host.borrow_mut().tell(Happened::StageStarted { log_path: None, memory_limit: None }, *index)?;
    let Some(plan) = child else {
        // The plan allows a missing child only where it is optional.
        let summary = "The pipeline does not exist; the stage is optional.".to_owned();
        host.borrow_mut().tell(stage_end(StageStatus::Skipped, summary, None, false), *index)?;
        return Ok(Ended::Fine);
    };
    let mut child = host.borrow_mut().begin_child(*index, plan)?;
    let outcome = {
        let own: &mut dyn Host = &mut *child;
        let world = RefCell::new(own);
        let timeout = stage.timeout.into_iter().chain(plan.timeout).min();
        let waits = Waits::new(Some(Rc::clone(waits)));
        Box::pin(run(plan, timeout, &world, orders.clone(), crew, waits)).await?
    };
    // Only whole runs are parked.
    let outcome = outcome.context("a child run was left alone")?;
    let end = child.finish(outcome)?;
    let finished =
        Happened::ChildFinished { run_id: end.run_id.clone(), status: end.status, moved: end.moved };
    host.borrow_mut().tell(finished, *index)?;
    let cancelled = orders.borrow().clone().filter(|_| end.status == RunStatus::Cancelled);
    let (status, note) = match (end.status, &cancelled) {
        (RunStatus::Succeeded, _) => (StageStatus::Succeeded, None),
        (RunStatus::Failed, _) if optional => (StageStatus::Skipped, None),
        (_, Some(Stop { cause, .. })) if orders_of_failure(&cancelled) => (
            StageStatus::Failed,
            Some(format!("Sub-pipeline '{}' was cancelled {cause}: run {}.", stage.title, end.run_id)),
        ),
        _ => (
            StageStatus::Failed,
            Some(format!("Sub-pipeline '{}' {}: run {}.", stage.title, end.status, end.run_id)),
        ),
    };
    let stopped = status == StageStatus::Failed && cancelled.is_some();
    host.borrow_mut().tell(stage_end(status, end.summary, note, stopped), *index)?;
    Ok(match (status, cancelled) {
        (StageStatus::Failed, Some(_)) => Ended::Stopped,
        (StageStatus::Failed, None) => {
            Ended::Failed { detail: format!("subpipeline:{}:failed", pipeline_of(stage)) }
        }
        _ => Ended::Fine,
    })
}

fn orders_of_failure(stop: &Option<Stop>) -> bool {
    stop.as_ref().is_some_and(|stop| stop.interrupted_by().is_none())
}

fn pipeline_of(stage: &Stage) -> &str {
    match &stage.action {
        Action::Subpipeline { pipeline, .. } => pipeline.as_str(),
        Action::Command(_) | Action::Manual { .. } => stage.id.as_str(),
    }
}

/// Returns the end of a stage that no command came to. `stopped` is whether that says nothing about the stage
/// itself: it was told to end, or nobody ran it any more.
pub fn stage_end(status: StageStatus, summary: String, note: Option<String>, stopped: bool) -> Happened {
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
        timed_out: false,
        out_of_memory: false,
        stopped,
    }))
}

/// Says every few seconds that the run is alive, and keeps its manifest file from falling behind.
async fn upkeep(host: World<'_, '_>) -> Result<()> {
    let period = Duration::from_secs(u64::from(HEARTBEAT_SECONDS));
    // The first beat came with the start.
    let mut heartbeat = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = heartbeat.tick() => host.borrow_mut().beat()?,
            () = save_is_due(host) => host.borrow_mut().save()?,
        }
    }
}

/// Waits until the host wants to save. When that is changes with every event that any stage tells, so
/// it is asked anew each time that something happens.
async fn save_is_due(host: World<'_, '_>) {
    let mut timer = None::<(Instant, Pin<Box<tokio::time::Sleep>>)>;
    poll_fn(|context| {
        let Some(due) = host.borrow().save_due() else {
            timer = None;
            return Poll::Pending;
        };
        if timer.as_ref().is_none_or(|(at, _)| *at != due) {
            timer = Some((due, Box::pin(tokio::time::sleep_until(due.into()))));
        }
        match &mut timer {
            Some((_, sleep)) => sleep.as_mut().poll(context),
            None => Poll::Pending,
        }
    })
    .await;
}
