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

use crate::guardrail::Verdict;
use crate::run::approval::Approval;
use crate::run::fix::Fix;
use crate::run::manifest::{
    Cancellation, GuardrailStatus, Handle, Manifest, MemoryLimit, Owner, PrivacyDecision, PrivacyTotals,
    ResumeEvent, Reused,
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
    Resumed {
        resume: ResumeEvent,
        owner: Owner,
        /// Whether the tree is another one than the run began with.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        moved: bool,
        /// Whether tools that the verdicts depend on say something else than they did.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        tools_changed: bool,
    },
    #[serde(rename = "run:resume-refused")]
    ResumeRefused { resume: ResumeEvent },
    #[serde(rename = "stage:started")]
    StageStarted {
        log_path: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        memory_limit: Option<MemoryLimit>,
    },
    /// The stage waits for its part of the machine's budget.
    #[serde(rename = "stage:queued")]
    StageQueued {
        /// How many came before.
        ahead: usize,
        /// What else there is to say, such as `io 41 %`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The stage has waited for that, and begins.
    #[serde(rename = "stage:admitted")]
    StageAdmitted { waited_seconds: f64 },
    /// The stage's process group exists.
    #[serde(rename = "stage:spawned")]
    StageSpawned { pid: u32, process_started: u64 },
    /// A child run exists and is about to start.
    #[serde(rename = "child:linked")]
    ChildLinked { run_id: String, pipeline_id: String, manifest: String },
    #[serde(rename = "child:finished")]
    ChildFinished {
        run_id: String,
        status: RunStatus,
        /// Whether the tree moved while the child ran, even if it moved back later.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        moved: bool,
    },
    /// A guardrail that ran in a stage said something.
    #[serde(rename = "stage:judged")]
    Judged { verdict: Box<Verdict> },
    #[serde(rename = "stage:finished")]
    StageFinished(Box<StageEnd>),
    /// An attempt failed, and the stage is run again.
    #[serde(rename = "stage:retried")]
    StageRetried {
        /// The attempt that failed, from 1.
        attempt: u32,
        /// How long to wait before the next.
        pause_ms: u64,
        end: Box<StageEnd>,
    },
    /// Somebody is asked whether the stage may begin.
    #[serde(rename = "stage:waiting")]
    StageWaiting {
        /// The run to name in the answer: the outermost one.
        run: String,
        /// The stage to name, with the stages above it.
        stage: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instructions: Option<String>,
    },
    /// Somebody, or the approval policy, has decided about the stage.
    #[serde(rename = "stage:decided")]
    StageDecided { approval: Approval },
    /// Another run ran the same on the same tree, and that counts here.
    #[serde(rename = "stage:reused")]
    StageReused { status: StageStatus, reused: Box<Reused> },
    /// The stage could not begin, and stays as it is.
    #[serde(rename = "stage:held")]
    StageHeld { reason: String },
    #[serde(rename = "run:heartbeat")]
    Heartbeat,
    #[serde(rename = "run:interrupted")]
    Interrupted { signal: String },
    /// Somebody asked for the end of the run.
    #[serde(rename = "run:cancel-requested")]
    CancelRequested { cancellation: Cancellation },
    /// All that is left waits for decisions: nobody works on the run until there is one.
    #[serde(rename = "run:parked")]
    Parked,
    /// Another program added sections to the manifest.
    #[serde(rename = "run:sections")]
    Sections { sections: Map<String, Value> },
    /// Stages that mend changed something in a side worktree.
    #[serde(rename = "run:fixed")]
    Fixed { fix: Box<Fix> },
    /// What the tools of the run came to, where it counts them.
    #[serde(rename = "run:measured")]
    Measured {
        tfgrpo: Value,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tool_runs: Vec<Value>,
    },
    /// What was learned from the run so far.
    #[serde(rename = "run:learned")]
    Learned { learning: Value },
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
    /// Whether the stage took too long, and was ended for that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timed_out: bool,
    /// Whether the stage was told to end before it had its say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// Whether the kernel ended the stage because of its memory limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub out_of_memory: bool,
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
                | Self::StageRetried { .. }
                | Self::StageDecided { .. }
                | Self::Parked
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

    /// Returns the state so far.
    pub fn current(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// Returns the manifest, or nothing if no event created one.
    pub fn manifest(self) -> Option<Manifest> {
        self.manifest
    }
}

/// Whether a line says that the run is over.
pub fn is_end(line: &[u8]) -> bool {
    line.starts_with(b"{\"type\":\"run:finished\"")
}

/// Tells events from lines of commands without parsing either: output can be huge.
pub fn is_journal_line(line: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 3] = [b"{\"type\":\"run:", b"{\"type\":\"stage:", b"{\"type\":\"child:"];
    PREFIXES.iter().any(|prefix| line.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::run::approval::{Decision, DecisionSource, Ruling};
    use crate::run::fix::{FileChange, FixedFile, Patch};
    use crate::run::manifest::{JournalMark, ResumeOutcome};

    fn at(second: usize) -> Stamp {
        Stamp::new(format!("2026-01-01T00:{:02}:{:02}Z", second / 60 % 60, second % 60).parse().unwrap())
    }

    fn manifest(stages: usize) -> Manifest {
        let commands: Vec<_> = (1..=stages)
            .map(|index| json!({"index": index, "id": format!("s{index}"), "status": "pending"}))
            .collect();
        serde_json::from_value(json!({
            "version": 1, "task_id": "t", "run_id": "r", "pipeline_id": "p", "status": "queued",
            "commands": commands, "privacy": {"mode": "enforce", "decisions": [], "totals": PrivacyTotals::default()},
        }))
        .unwrap()
    }

    fn owner(pid: u32) -> Owner {
        Owner { host: "here".into(), pid, boot_id: "b".into(), process_started: 7, at: at(0) }
    }

    fn resume(outcome: ResumeOutcome, reason: String) -> ResumeEvent {
        ResumeEvent { timestamp: at(1), actor: "cli".into(), reason, outcome, detail: None }
    }

    fn status() -> impl Strategy<Value = RunStatus> {
        proptest::sample::select(RunStatus::ALL.to_vec())
    }

    fn text() -> impl Strategy<Value = String> {
        "\\PC{0,12}|(?s).{0,12}"
    }

    fn stage_end() -> impl Strategy<Value = Happened> {
        let status =
            proptest::sample::select(vec![StageStatus::Succeeded, StageStatus::Failed, StageStatus::Skipped]);
        let note = || proptest::option::of(text());
        (status, proptest::option::of(-1..256_i64), note(), note(), any::<bool>()).prop_map(
            |(status, exit_code, summary, note, leaked)| {
                Happened::StageFinished(Box::new(StageEnd {
                    status,
                    exit_code,
                    signal: None,
                    summary,
                    error_file: None,
                    note,
                    handle: None,
                    decisions: Vec::new(),
                    frames: PrivacyTotals { total_frames: 3, ..PrivacyTotals::default() },
                    output_bytes: 9,
                    leaked,
                    timed_out: leaked,
                    out_of_memory: false,
                    stopped: false,
                }))
            },
        )
    }

    fn happened() -> impl Strategy<Value = Happened> {
        prop_oneof![
            (0..9_u32).prop_map(|pid| Happened::Started { owner: owner(pid) }),
            (0..9_u32, text()).prop_map(|(pid, reason)| Happened::Resumed {
                resume: resume(ResumeOutcome::Accepted, reason),
                owner: owner(pid),
                moved: pid % 2 == 0,
                tools_changed: false,
            }),
            text().prop_map(|reason| Happened::ResumeRefused {
                resume: resume(ResumeOutcome::Blocked, reason)
            }),
            proptest::option::of(text())
                .prop_map(|log_path| Happened::StageStarted { log_path, memory_limit: None }),
            Just(Happened::StageSpawned { pid: 1, process_started: 2 }),
            (0..9_usize, proptest::option::of(text()))
                .prop_map(|(ahead, reason)| Happened::StageQueued { ahead, reason }),
            (0..9_u32).prop_map(|halves| Happened::StageAdmitted { waited_seconds: f64::from(halves) / 2.0 }),
            "[ab]".prop_map(|id| Happened::ChildLinked {
                run_id: id,
                pipeline_id: "p".into(),
                manifest: "m".into(),
            }),
            ("[ab]", status(), any::<bool>()).prop_map(|(run_id, status, moved)| Happened::ChildFinished {
                run_id,
                status,
                moved
            }),
            stage_end(),
            (stage_end(), 1..4_u32).prop_map(|(end, attempt)| match end {
                Happened::StageFinished(end) => Happened::StageRetried { attempt, pause_ms: 5, end },
                other => other,
            }),
            text().prop_map(|reason| Happened::StageHeld { reason }),
            text().prop_map(|stage| Happened::StageWaiting { run: "r".into(), stage, instructions: None }),
            (text(), any::<bool>()).prop_map(|(actor, approved)| Happened::StageDecided {
                approval: Approval::new(
                    &Ruling {
                        decision: if approved { Decision::Approved } else { Decision::Rejected },
                        actor,
                        timestamp: at(3),
                        reason: approved.then(|| "fine".to_owned()),
                        source: DecisionSource::Command,
                    },
                    "s1",
                    1,
                    "m#approvals[0]".to_owned(),
                ),
            }),
            Just(Happened::Parked),
            Just(Happened::Heartbeat),
            Just(Happened::Interrupted { signal: "SIGINT".into() }),
            text().prop_map(|actor| Happened::CancelRequested {
                cancellation: Cancellation { actor, reason: None, requested_at: at(2) },
            }),
            ("[xyz]", text()).prop_map(|(key, value)| Happened::Sections {
                sections: [(key, json!({"text": value}))].into_iter().collect(),
            }),
            text().prop_map(|path| Happened::Fixed {
                fix: Box::new(Fix {
                    from: "a".into(),
                    to: "b".into(),
                    stages: vec!["s1".into()],
                    files: vec![FixedFile { path, change: FileChange::Changed }],
                    count: 1,
                    patch: Patch { path: "p".into(), sha256: "c".into(), bytes: 3 },
                }),
            }),
            (0..9_u32).prop_map(|size| Happened::Measured {
                tfgrpo: json!({"group_size": size}),
                tool_runs: (0..size % 2).map(|id| json!({"id": id})).collect(),
            }),
            (status(), proptest::collection::vec(text(), 0..3), proptest::option::of(any::<bool>()))
                .prop_map(|(status, notes, moved)| {
                    Happened::Finished(Box::new(RunEnd {
                        status,
                        status_detail: None,
                        notes,
                        guardrail_status: None,
                        tree_at_end: None,
                        moved,
                    }))
                }),
            any::<bool>()
                .prop_map(|metrics_recorded| Happened::Recorded { run_summary_path: None, metrics_recorded }),
        ]
    }

    proptest! {
        /// Whatever happens, in whatever order, the journal adds up to the manifest, and so does a
        /// manifest of any moment with the lines that follow it.
        #[test]
        fn the_journal_adds_up_to_the_manifest(
            happened in proptest::collection::vec((happened(), 0..4_usize), 0..40),
            cut in any::<proptest::sample::Index>(),
        ) {
            let first = manifest(3);
            let created = Happened::Created { manifest: Box::new(first.clone()) };
            let mut events = vec![RunEvent { event: created, timestamp: at(0), index: 0 }];
            let mut direct = Manifest { updated_at: Some(at(0)), ..first };
            for (second, (event, index)) in happened.into_iter().enumerate() {
                let event = RunEvent { event, timestamp: at(second), index };
                let before = direct.clone();
                match direct.apply(&event) {
                    // Only what was applied gets into a journal.
                    Ok(()) => events.push(event),
                    Err(_) => prop_assert_eq!(&direct, &before, "an event that does not fit changes nothing"),
                }
            }
            let lines: Vec<_> = events.iter().map(|event| serde_json::to_vec(event).unwrap()).collect();
            let mut whole = Replay::from_nothing();
            for line in &lines {
                prop_assert!(is_journal_line(line));
                whole.line(line).unwrap();
                // Half a line is what a crash leaves.
                whole.line(&line[..line.len() - 1]).unwrap();
            }
            let whole = whole.manifest().unwrap();
            prop_assert_eq!(&whole, &direct);

            let cut = cut.index(lines.len()) + 1;
            let mut part = Replay::from_nothing();
            lines[..cut].iter().for_each(|line| part.line(line).unwrap());
            let marked = Manifest { journal: Some(JournalMark { bytes: 1 }), ..part.manifest().unwrap() };
            let on_disk: Manifest = serde_json::from_slice(&marked.to_json()).unwrap();
            prop_assert_eq!(&on_disk, &marked);
            let mut rest = Replay::onto(on_disk);
            lines[cut..].iter().for_each(|line| rest.line(line).unwrap());
            prop_assert_eq!(Manifest { journal: None, ..rest.manifest().unwrap() }, direct);
        }
    }
}
