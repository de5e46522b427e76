//! What a stage draws from the machine's budget before it begins, and its wait for that.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::World;
use super::crew::Crew;
use super::manual::Waits;
use super::stop::{self, Orders, Stop};
use crate::pipeline::Command;
use crate::pipeline::plan::PlannedStage;
use crate::run::event::Happened;
use crate::sys::budget::{Circle, Hold, Turn, Why};

/// How long somebody waits without a word about it.
const SILENCE: Duration = Duration::from_millis(250);
/// How long at least between two words about the same wait.
const REST: Duration = Duration::from_secs(2);
/// How long until the next look, for whoever is next.
const GLANCE: Duration = Duration::from_millis(10);
/// How long for those far behind.
const LONGEST_GLANCE: Duration = Duration::from_millis(100);

/// What came of it.
pub(super) enum Drawn {
    /// The stage may begin; with nothing in hand where there is no budget.
    Begin(Option<Box<Hold>>),
    /// It was told not to.
    Stopped(Stop),
    /// It would have waited for ever.
    Never(Circle),
}

/// Waits until a stage may begin.
pub(super) async fn draw(
    planned: &PlannedStage,
    action: &Command,
    host: World<'_, '_>,
    orders: &mut Orders,
    crew: &Crew,
    waits: &Waits,
) -> Result<Drawn> {
    let index = planned.index;
    let Some(budget) = crew.budget().filter(|_| !action.share.free) else { return Ok(Drawn::Begin(None)) };
    let wish = host.borrow().wish(planned, action);
    let mut asking = budget.ask(wish);
    let begin = Instant::now();
    let mut told = None::<(Instant, Why)>;
    let mut queued = None;
    let hold = loop {
        let why = match asking.look() {
            Ok(Turn::Granted(hold)) => break Some(hold),
            Ok(Turn::Wait(why)) => why,
            Ok(Turn::Never(circle)) => return Ok(Drawn::Never(circle)),
            Err(err) => {
                // It is there to spare the machine, and no reason to stop anything.
                crew.lose_budget();
                host.borrow_mut().lost_budget(&err);
                break None;
            }
        };
        queued.get_or_insert_with(|| waits.queue());
        let glance = GLANCE.saturating_mul(1 + why.ahead.min(64) as u32).min(LONGEST_GLANCE);
        let is_news = match &told {
            None => begin.elapsed() >= SILENCE,
            Some((at, before)) => *before != why && at.elapsed() >= REST,
        };
        if is_news {
            let event = Happened::StageQueued { ahead: why.ahead, reason: why.reason.clone() };
            host.borrow_mut().tell(event, index)?;
            told = Some((Instant::now(), why));
        }
        tokio::select! {
            biased;
            stop = stop::next(orders) => return Ok(Drawn::Stopped(stop)),
            () = tokio::time::sleep(glance) => {}
        }
    };
    if told.is_some() {
        let waited_seconds = begin.elapsed().as_millis() as f64 / 1000.0;
        host.borrow_mut().tell(Happened::StageAdmitted { waited_seconds }, index)?;
    }
    Ok(Drawn::Begin(hold))
}
