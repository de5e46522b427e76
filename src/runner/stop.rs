//! The order to end, on its way from whoever gives it to every stage that runs.

use std::fmt;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::watch;

use super::interrupt::Interrupt;
use crate::pipeline::endurance::shown_duration;

/// Where the stages of one pipeline hear that they are to end.
pub(super) type Orders = watch::Receiver<Option<Stop>>;

/// An order to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) cause: Cause,
    /// Whether there is no more patience.
    pub(super) at_once: bool,
}

/// Why stages are to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Somebody sent a signal.
    Interrupt(Interrupt),
    /// A stage failed, and the others are not to go on.
    Failure { stage: String },
    /// The pipeline took too long.
    Timeout { pipeline: String, after: Duration },
    /// The stage itself took too long.
    Overdue { after: Duration },
}

impl Stop {
    pub(super) fn interrupt(interrupt: Interrupt) -> Self {
        Self { cause: Cause::Interrupt(interrupt), at_once: false }
    }

    pub(super) fn failure(stage: &str) -> Self {
        Self { cause: Cause::Failure { stage: stage.to_owned() }, at_once: false }
    }

    pub(super) fn timeout(pipeline: &str, after: Duration) -> Self {
        Self { cause: Cause::Timeout { pipeline: pipeline.to_owned(), after }, at_once: false }
    }

    pub(super) fn overdue(after: Duration) -> Self {
        Self { cause: Cause::Overdue { after }, at_once: false }
    }

    /// Returns the order of somebody who asked before.
    pub(super) fn once_more(&self) -> Self {
        Self { at_once: true, ..self.clone() }
    }

    /// Returns the signal that stages are sent.
    pub(super) fn signal(&self) -> Signal {
        match &self.cause {
            Cause::Interrupt(interrupt) => interrupt.signal(),
            _ => Signal::TERM,
        }
    }

    /// Returns the name of the signal that somebody sent, if it was that.
    pub(super) fn interrupted_by(&self) -> Option<&'static str> {
        match &self.cause {
            Cause::Interrupt(interrupt) => Some(interrupt.name()),
            _ => None,
        }
    }

    /// Returns what `status_detail` says of a run that was cancelled.
    pub(super) fn detail(&self) -> String {
        match &self.cause {
            Cause::Interrupt(interrupt) => format!("cancelled:{}", interrupt.name()),
            Cause::Failure { stage } => format!("cancelled:stage:{stage}:failed"),
            Cause::Timeout { pipeline, .. } => format!("cancelled:pipeline:{pipeline}:timed-out"),
            Cause::Overdue { .. } => "cancelled:timed-out".to_owned(),
        }
    }
}

/// What follows "cancelled" in a sentence.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupt(interrupt) => write!(f, "by {}", interrupt.name()),
            Self::Failure { stage } => write!(f, "because stage '{stage}' failed"),
            Self::Timeout { pipeline, after } => {
                write!(f, "because pipeline '{pipeline}' took longer than {}", shown_duration(*after))
            }
            Self::Overdue { after } => write!(f, "after {}", shown_duration(*after)),
        }
    }
}

/// Waits for the next order.
pub(super) async fn next(orders: &mut Orders) -> Stop {
    loop {
        // Without a sender there is nobody left to give one.
        if orders.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        if let Some(stop) = orders.borrow_and_update().clone() {
            return stop;
        }
    }
}
