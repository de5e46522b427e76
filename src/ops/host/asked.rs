//! What somebody has to decide about the stages of a run, and what became of it.

use anyhow::Result;

use super::RunHost;
use crate::pipeline::Action;
use crate::pipeline::plan::PlannedStage;
use crate::run::approval::{Approval, Decision, DecisionSource, Policy, Ruling};
use crate::run::event::Happened;
use crate::runner::{Host as _, Question};
use crate::store::approvals::{Left, RulingError, Seat};

impl RunHost {
    /// Returns what is decided about a stage already, or says that it waits.
    pub(super) fn ask_about(&mut self, planned: &PlannedStage) -> Result<Option<Ruling>> {
        let index = planned.index;
        let policy = self.approval_policy.as_deref();
        if let Some(decision) = Policy::of(policy).decision() {
            let ruling = Ruling {
                decision,
                actor: format!("policy:{}", policy.unwrap_or_default()),
                timestamp: self.now(),
                reason: None,
                source: DecisionSource::Policy,
            };
            return self.heard(index, ruling, None).map(Some);
        }
        let seat = self.seat(index);
        let known = |ruling: &Ruling| self.manifest().approvals.iter().any(|it| it.is_of(ruling, index));
        if let Some(ruling) = seat.standing(known)? {
            return self.heard(index, ruling, Some(&seat)).map(Some);
        }
        let instructions = match &planned.stage.action {
            Action::Manual { instructions } => instructions.as_deref().map(|text| self.shared.masked(text)),
            _ => None,
        };
        let Seat { run, stage, .. } = seat;
        self.tell(Happened::StageWaiting { run, stage, instructions }, index)?;
        Ok(None)
    }

    /// Returns what somebody has said about a stage that waits.
    pub(super) fn answer(&mut self, index: usize) -> Result<Option<Ruling>> {
        let seat = self.seat(index);
        match seat.read() {
            Ok(Some(ruling)) => self.heard(index, ruling, Some(&seat)).map(Some),
            Ok(None) => Ok(None),
            Err(err) => {
                // Said once, and not at every look.
                if self.doubted.insert(index) {
                    self.shared.warn("a decision was not heard", err);
                }
                Ok(None)
            }
        }
    }

    /// Keeps what somebody typed. If somebody else was first, that counts.
    pub(super) fn typed(&mut self, index: usize, decision: Decision, reason: Option<String>) -> Result<()> {
        let ruling = Ruling {
            decision,
            actor: self.shared.user.clone(),
            timestamp: self.now(),
            reason: reason.map(|reason| self.shared.masked(&reason)),
            source: DecisionSource::Prompt,
        };
        match self.seat(index).leave(&ruling) {
            Ok(Left::First | Left::Before(_)) => Ok(()),
            Err(RulingError::Path(err)) => Err(err.into()),
            // It is told where it is read.
            Err(RulingError::Corrupt { .. }) => Ok(()),
        }
    }

    /// Shows a question to whoever sits at our terminal.
    pub(super) fn show_question(&mut self, index: usize, question: Question) {
        self.shared.watch.borrow_mut().question(self.recorder.manifest(), index, question);
    }

    /// Takes note of a decision, in the journal first.
    fn heard(&mut self, index: usize, ruling: Ruling, seat: Option<&Seat>) -> Result<Ruling> {
        let manifest = self.manifest();
        let before = manifest.approvals.iter().any(|approval| match ruling.source {
            // What a policy says does not change from one attempt to the next.
            DecisionSource::Policy => {
                (approval.index, approval.decision, approval.source)
                    == (Some(index), Some(ruling.decision), Some(ruling.source))
            }
            _ => approval.is_of(&ruling, index),
        });
        if !before {
            let reference =
                format!("{}/manifest.json#approvals[{}]", manifest.artifact_root, manifest.approvals.len());
            let stage = self.seat(index).stage;
            let approval = Approval::new(&ruling, &stage, index, reference);
            self.tell(Happened::StageDecided { approval }, index)?;
        }
        if let Some(seat) = seat {
            seat.take()?;
        }
        Ok(ruling)
    }

    fn seat(&self, index: usize) -> Seat {
        let id = self.manifest().entry(index).map_or("", |entry| entry.id.as_str());
        self.desk.seat(index, id)
    }
}
