//! The states of a run and of a stage, and the steps between them.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    Queued,
    InProgress,
    Succeeded,
    Failed,
    Cancelled,
}

/// A step that a run cannot take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a run cannot go from `{from}` to `{to}`")]
pub struct BadTransition {
    pub from: RunStatus,
    pub to: RunStatus,
}

impl RunStatus {
    /// Every status, in the order of a run's life.
    pub const ALL: [Self; 5] =
        [Self::Queued, Self::InProgress, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// Whether the run is over.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Returns `next`, or an error if a run cannot go there from here.
    pub fn to(self, next: Self) -> Result<Self, BadTransition> {
        let allowed = match self {
            Self::Queued => matches!(next, Self::InProgress | Self::Failed | Self::Cancelled),
            // `resume` takes over a run whose owner died.
            Self::InProgress => next.is_terminal() || next == Self::InProgress,
            // `resume` reopens a run that did not finish its work.
            Self::Failed | Self::Cancelled => next == Self::InProgress,
            // A succeeded run is evidence. It stays as it is.
            Self::Succeeded => false,
        };
        if !allowed {
            return Err(BadTransition { from: self, to: next });
        }
        Ok(next)
    }

    /// Returns the word that stands in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a stage stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StageStatus {
    Pending,
    Running,
    Succeeded,
    Failed,
    /// Failed and tolerated (`allowFailure`, an optional subpipeline). Never "not run".
    Skipped,
}

impl StageStatus {
    /// Whether a resume keeps the stage as it is.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Skipped)
    }

    /// Returns the word that stands in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl fmt::Display for StageStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_succeeded_run_stays_as_it_is() {
        for next in RunStatus::ALL {
            assert!(RunStatus::Succeeded.to(next).is_err(), "{next}");
        }
    }

    #[test]
    fn every_other_run_can_be_worked_on() {
        for from in RunStatus::ALL.into_iter().filter(|s| *s != RunStatus::Succeeded) {
            assert_eq!(from.to(RunStatus::InProgress), Ok(RunStatus::InProgress), "{from}");
        }
    }
}
