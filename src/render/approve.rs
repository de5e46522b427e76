//! The answer of `approve` and `reject`.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::printer::{Answer, style};
use crate::ops::approve::Decided;
use crate::output::untrusted::untrusted;
use crate::run::approval::{Decision, DecisionSource};
use crate::run::stamp::Stamp;
use crate::run::status::RunStatus;

/// A decision to show.
pub struct Answered<'a>(pub &'a Decided);

/// The document.
#[derive(Serialize, JsonSchema)]
pub struct Document {
    run_id: String,
    /// The stage, with the stages above it if it is one of a child run.
    stage: String,
    decision: Decision,
    /// Who decided: somebody else, if `first` is false.
    actor: String,
    timestamp: Stamp,
    reason: Option<String>,
    source: DecisionSource,
    /// Whether nobody had decided the same before.
    first: bool,
    /// What an audit names the decision by; null if the run has not heard of it yet.
    reference: Option<String>,
    /// How the run stands.
    status: RunStatus,
    manifest: String,
    /// What to type so that the run goes on, if it does not by itself.
    next: Option<String>,
}

impl Answer for Answered<'_> {
    type Document = Document;

    fn document(&self) -> Document {
        let Decided { manifest, stage, ruling, first, reference, next, .. } = self.0;
        Document {
            run_id: manifest.run_id.to_string(),
            stage: stage.clone(),
            decision: ruling.decision,
            actor: ruling.actor.clone(),
            timestamp: ruling.timestamp,
            reason: ruling.reason.clone(),
            source: ruling.source,
            first: *first,
            reference: reference.clone(),
            status: manifest.status,
            manifest: manifest.path(),
            next: next.clone(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Decided { manifest, stage, ruling, first, reference, next, .. } = self.0;
        let word = match ruling.decision {
            Decision::Approved => "Approved",
            Decision::Rejected => "Rejected",
        };
        let before = if *first { "" } else { " before" };
        let run = untrusted(manifest.run_id.as_str());
        writeln!(out, "{word}{before}: {} of run {run}", untrusted(stage))?;
        writeln!(out, "By: {} at {}", untrusted(&ruling.by()), ruling.timestamp)?;
        let color = style(manifest.status.as_str());
        writeln!(out, "Status: {color}{}{color:#}", manifest.status)?;
        if let Some(reference) = reference {
            writeln!(out, "Record: {}", untrusted(reference))?;
        }
        if reference.is_none() && next.is_none() && !manifest.status.is_terminal() {
            writeln!(out, "The run has not heard of it yet; it will.")?;
        }
        if let Some(next) = next {
            writeln!(out, "Nobody works on the run. It goes on with: {}", untrusted(next))?;
        }
        Ok(())
    }
}
