//! Everything that can happen to a run: the lines of `runner.ndjson` that change its manifest.
//!
//! `runner.ndjson` holds two kinds of lines. The lines of a command (`command:start`,
//! `exec:begin`, `exec:chunk`, `exec:end`, `command:end`: `contract-core.md` §7.3) are written for
//! readers of the logs, and stand in `commands/NN-slug.ndjson` too; see
//! [`crate::runner::log`]. The lines here are the journal proper. Every line ends with `timestamp`
//! and `index`, the 1-based stage that it is about, or 0 for the run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::run::manifest::{
    GuardrailStatus, Handle, Manifest, Owner, PrivacyDecision, PrivacyTotals, ResumeEvent,
};
use crate::run::stamp::Stamp;
use crate::run::status::{RunStatus, StageStatus};

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunEvent {
    #[serde(flatten)]
    pub event: Happened,
    pub timestamp: Stamp,
    /// The 1-based stage, or 0 for the run.
    pub index: usize,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum Happened {
    /// The run exists. Holds the manifest that all later events change.
    #[serde(rename = "run:created")]
    Created { manifest: Box<Manifest> },
    #[serde(rename = "run:started")]
    Started { owner: Owner },
    #[serde(rename = "run:resumed")]
    Resumed { resume: ResumeEvent, owner: Owner },
    #[serde(rename = "run:resume-refused")]
    ResumeRefused { resume: ResumeEvent },
    #[serde(rename = "stage:started")]
    StageStarted { log_path: Option<String> },
    /// The stage's process group exists.
    #[serde(rename = "stage:spawned")]
    StageSpawned { pid: u32, process_started: u64 },
    /// A child run exists and is about to start.
    #[serde(rename = "child:linked")]
    ChildLinked { run_id: String, pipeline_id: String, manifest: String },
    #[serde(rename = "child:finished")]
    ChildFinished { run_id: String, status: RunStatus },
    #[serde(rename = "stage:finished")]
    StageFinished(Box<StageEnd>),
    #[serde(rename = "run:heartbeat")]
    Heartbeat,
    #[serde(rename = "run:interrupted")]
    Interrupted { signal: String },
    /// Another program added sections to the manifest.
    #[serde(rename = "run:sections")]
    Sections { sections: Map<String, Value> },
    #[serde(rename = "run:finished")]
    Finished(Box<RunEnd>),
    /// What follows a run is on disk: its summary and its metrics.
    #[serde(rename = "run:recorded")]
    Recorded { run_summary_path: Option<String>, metrics_recorded: bool },
    /// A line of a command, or of a later version.
    #[serde(other)]
    #[schemars(skip)]
    Other,
}

/// How a stage ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageEnd {
    pub status: StageStatus,
    pub exit_code: Option<i64>,
    /// The signal that ended the command, such as `SIGKILL`.
    pub signal: Option<String>,
    pub summary: Option<String>,
    pub error_file: Option<String>,
    /// A line for the run's summary.
    pub note: Option<String>,
    pub handle: Option<Handle>,
    #[serde(default)]
    pub decisions: Vec<PrivacyDecision>,
    #[serde(default)]
    pub frames: PrivacyTotals,
    /// Bytes that the command printed on either stream.
    #[serde(default)]
    pub output_bytes: u64,
    /// Whether background processes kept the output open past the grace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaked: bool,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunEnd {
    pub status: RunStatus,
    pub status_detail: Option<String>,
    pub notes: Vec<String>,
    pub guardrail_status: Option<GuardrailStatus>,
    pub tree_at_end: Option<String>,
    pub moved: Option<bool>,
}

impl Happened {
    /// Whether the event must be on disk before anything else happens.
    pub fn is_milestone(&self) -> bool {
        matches!(
            self,
            Self::Created { .. }
                | Self::Resumed { .. }
                | Self::ResumeRefused { .. }
                | Self::ChildLinked { .. }
                | Self::StageFinished(_)
                | Self::Finished(_)
        )
    }
}

/// Rebuilds a manifest from the lines of a journal: what `manifest.json` is the sum of.
///
/// Lines that are no event (torn by a crash, or of a command) change nothing.
pub struct Replay {
    manifest: Option<Manifest>,
}

impl Replay {
    /// Begins with nothing: the first event must create the run.
    pub fn from_nothing() -> Self {
        Self { manifest: None }
    }

    /// Begins with a manifest that holds all events up to some point.
    pub fn onto(manifest: Manifest) -> Self {
        Self { manifest: Some(manifest) }
    }

    /// Applies one line.
    pub fn line(&mut self, line: &[u8]) -> Result<(), crate::run::manifest::OutOfOrder> {
        if !is_journal_line(line) {
            return Ok(());
        }
        let Ok(event) = serde_json::from_slice::<RunEvent>(line) else { return Ok(()) };
        match (&mut self.manifest, &event.event) {
            (_, Happened::Other) => Ok(()),
            (slot @ None, Happened::Created { manifest }) => {
                let mut manifest = (**manifest).clone();
                manifest.updated_at = Some(event.timestamp);
                *slot = Some(manifest);
                Ok(())
            }
            (None, _) => Err(crate::run::manifest::OutOfOrder::NotCreated),
            (Some(manifest), _) => manifest.apply(&event),
        }
    }

    /// Returns the manifest, or nothing if no event created one.
    pub fn manifest(self) -> Option<Manifest> {
        self.manifest
    }
}

/// Tells events from lines of commands without parsing either: output can be huge.
pub fn is_journal_line(line: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 3] = [b"{\"type\":\"run:", b"{\"type\":\"stage:", b"{\"type\":\"child:"];
    PREFIXES.iter().any(|prefix| line.starts_with(prefix))
}
