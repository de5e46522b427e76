//! Stages that somebody has to decide about: ask, wait for next to nothing, and say who said what.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::Notify;

use super::crew::Crew;
use super::stages::stage_end;
use super::stop::{self, Orders};
use super::{Question, World};
use crate::pipeline::Action;
use crate::pipeline::plan::PlannedStage;
use crate::run::approval::{Decision, Ruling};
use crate::run::event::Happened;
use crate::run::status::StageStatus;

/// Who decides wakes us. Only where that cannot be, such as from another machine, do we look ourselves.
const LOOK: Duration = Duration::from_secs(2);

/// What came of asking.
pub(super) enum Asked {
    Approved,
    /// The whole stage was to ask, and it has ended well.
    Done,
    Rejected {
        detail: String,
    },
    /// The stage was told not to begin.
    Stopped,
}

/// How many stages of a pipeline, and of the pipelines that it calls, wait for a decision.
pub(super) struct Waits {
    own: Cell<usize>,
    all: Cell<usize>,
    /// How many of all wait for their part of the machine's budget.
    queued: Cell<usize>,
    changed: Notify,
    above: Option<Rc<Waits>>,
}

impl Waits {
    pub(super) fn new(above: Option<Rc<Waits>>) -> Rc<Self> {
        Rc::new(Self {
            own: Cell::new(0),
            all: Cell::new(0),
            queued: Cell::new(0),
            changed: Notify::new(),
            above,
        })
    }

    /// Returns how many stages of the pipeline itself wait.
    pub(super) fn own(&self) -> usize {
        self.own.get()
    }

    /// Waits until another stage waits, or one less.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes note of a stage that waits for the machine, for as long as what is returned lives.
    pub(super) fn queue(&self) -> Queueing<'_> {
        self.change_queue(|count| count + 1);
        Queueing(self)
    }

    fn change_queue(&self, by: impl Fn(usize) -> usize) {
        let mut one = Some(self);
        while let Some(waits) = one {
            waits.queued.set(by(waits.queued.get()));
            waits.changed.notify_one();
            one = waits.above.as_deref();
        }
    }

    fn change(&self, by: impl Fn(usize) -> usize) {
        self.own.set(by(self.own.get()));
        let mut one = Some(self);
        while let Some(waits) = one {
            waits.all.set(by(waits.all.get()));
            waits.changed.notify_one();
            one = waits.above.as_deref();
        }
    }
}

/// A stage that waits, for as long as this lives.
struct Waiting<'w>(&'w Waits);

impl<'w> Waiting<'w> {
    fn begin(waits: &'w Waits) -> Self {
        waits.change(|count| count + 1);
        Self(waits)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.change(|count| count - 1);
    }
}

/// A stage that waits for the machine, for as long as this lives.
pub(super) struct Queueing<'w>(&'w Waits);

impl Drop for Queueing<'_> {
    fn drop(&mut self) {
        self.0.change_queue(|count| count - 1);
    }
}

/// A time-out of a pipeline, which stands still while somebody is asked, and while a stage waits for the machine.
pub(super) struct Allowance {
    left: Option<Duration>,
    since: Option<Instant>,
}

impl Allowance {
    pub(super) fn new(timeout: Option<Duration>) -> Self {
        Self { left: timeout, since: None }
    }

    /// Returns when the time is over, if it runs.
    pub(super) fn end(&mut self, waits: &Waits) -> Option<Instant> {
        let left = self.left?;
        if waits.all.get() + waits.queued.get() > 0 {
            if let Some(since) = self.since.take() {
                self.left = Some(left.saturating_sub(since.elapsed()));
            }
            return None;
        }
        Some(*self.since.get_or_insert_with(Instant::now) + left)
    }
}

/// Asks whether a stage may begin, unless that is known already, and waits for the answer.
pub(super) async fn ask(
    planned: &PlannedStage,
    host: World<'_, '_>,
    mut orders: Orders,
    crew: &Crew,
    waits: &Waits,
) -> Result<Asked> {
    let index = planned.index;
    let known = host.borrow_mut().ask(planned)?;
    let ruling = match known {
        Some(ruling) => ruling,
        None => {
            let _waiting = Waiting::begin(waits);
            let Some(ruling) = wait(planned, host, &mut orders, crew).await? else {
                return Ok(Asked::Stopped);
            };
            ruling
        }
    };
    let title = host.borrow().masked(&planned.stage.title);
    let by = ruling.by();
    let tell = |event| host.borrow_mut().tell(event, index);
    match ruling.decision {
        Decision::Rejected => {
            let note = format!("Stage '{title}' was rejected by {by}");
            tell(stage_end(StageStatus::Failed, format!("Rejected by {by}"), Some(note), false))?;
            Ok(Asked::Rejected { detail: format!("stage:{}:rejected", planned.stage.id) })
        }
        Decision::Approved if matches!(planned.stage.action, Action::Manual { .. }) => {
            tell(Happened::StageStarted { log_path: None, memory_limit: None })?;
            tell(stage_end(StageStatus::Succeeded, format!("Approved by {by}"), None, false))?;
            Ok(Asked::Done)
        }
        Decision::Approved => Ok(Asked::Approved),
    }
}

async fn wait(
    planned: &PlannedStage,
    host: World<'_, '_>,
    orders: &mut Orders,
    crew: &Crew,
) -> Result<Option<Ruling>> {
    let index = planned.index;
    let mut talk = std::pin::pin!(talk(index, host, crew));
    let mut answered = false;
    loop {
        // Before the look: who decides after it wakes us.
        let woken = crew.woken.notified();
        let decided = host.borrow_mut().decision(index)?;
        if let Some(ruling) = decided {
            return Ok(Some(ruling));
        }
        tokio::select! {
            biased;
            stop = stop::next(orders) => {
                let reason = format!("Cancelled {} while it waited for a decision", stop.cause);
                host.borrow_mut().tell(Happened::StageHeld { reason }, index)?;
                return Ok(None);
            }
            () = woken => {}
            (decision, reason) = &mut talk, if !answered => {
                answered = true;
                host.borrow_mut().decide(index, decision, reason)?;
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Asks on the terminal, if there is somebody, one question after the other.
async fn talk(index: usize, host: World<'_, '_>, crew: &Crew) -> (Decision, Option<String>) {
    let Some(typed) = &crew.typed else { return std::future::pending().await };
    let mut lines = typed.lines().await;
    let decision = loop {
        host.borrow_mut().question(index, Question::Decision);
        // Nobody types any more: the answer has to come from elsewhere.
        let Some(line) = lines.recv().await else { return std::future::pending().await };
        match line.trim().to_lowercase().as_str() {
            "y" | "yes" => break Decision::Approved,
            "n" | "no" => break Decision::Rejected,
            _ => {}
        }
    };
    host.borrow_mut().question(index, Question::Reason);
    let reason = lines.recv().await.map(|line| line.trim().to_owned()).filter(|line| !line.is_empty());
    (decision, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_somebody_is_asked_does_not_count() {
        let outer = Waits::new(None);
        let inner = Waits::new(Some(Rc::clone(&outer)));
        let mut allowance = Allowance::new(Some(Duration::from_secs(60)));
        let first = allowance.end(&outer).expect("it runs");
        assert_eq!(allowance.end(&outer), Some(first));
        let waiting = Waiting::begin(&inner);
        assert_eq!((outer.own(), inner.own()), (0, 1));
        assert_eq!(allowance.end(&outer), None, "a part of it waits");
        drop(waiting);
        assert!(allowance.end(&outer).expect("it runs again") >= first);
        let queueing = inner.queue();
        assert_eq!(
            (outer.own(), allowance.end(&outer)),
            (0, None),
            "the machine has no room for a part of it"
        );
        drop(queueing);
        assert!(allowance.end(&outer).is_some());
        assert_eq!(Allowance::new(None).end(&outer), None);
    }
}
