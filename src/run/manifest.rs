//! The state of a run as `manifest.json` has it, and how events change it.
//!
//! The format is version 1 of the reference (`contract-core.md` §6). What this program adds stands
//! in top-level sections of its own (`git`, `plan`, `attempts`, `guardrails`, `journal`): without them
//! the document is a manifest of the reference, field for field.

use std::fmt;
use std::num::NonZeroU16;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::guardrail::Verdict;
use crate::id::{RunId, TaskId};
use crate::pipeline::evidence::Notes;
use crate::run::approval::{Approval, Waiting};
use crate::run::event::{Happened, RunEvent, StageEnd};
use crate::run::fix::Fix;
use crate::run::git_keys::GitKeys;
use crate::run::key::{Definition, Fingerprint, Key, Subject};
use crate::run::liveness::{HEARTBEAT_SECONDS, STALE_SECONDS};
use crate::run::stamp::Stamp;
use crate::run::status::{BadTransition, RunStatus, StageStatus};

/// The state of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// Always 1.
    #[serde(default = "one")]
    pub version: u32,
    pub task_id: TaskId,
    #[serde(default)]
    pub task_slug: Option<String>,
    pub run_id: RunId,
    #[serde(default)]
    pub parent_run_id: Option<String>,
    #[serde(default)]
    pub pipeline_id: String,
    #[serde(default)]
    pub pipeline_title: String,
    #[serde(default)]
    pub runner: String,
    #[serde(default)]
    pub approval_policy: Option<String>,
    pub status: RunStatus,
    /// Why the run is where it is (`contract-core.md` §6.2), such as `stage:test:failed`.
    #[serde(default)]
    pub status_detail: Option<String>,
    #[serde(default)]
    pub started_at: Option<Stamp>,
    #[serde(default)]
    pub completed_at: Option<Stamp>,
    #[serde(default)]
    pub updated_at: Option<Stamp>,
    #[serde(default)]
    pub heartbeat_at: Option<Stamp>,
    #[serde(default = "heartbeat_seconds")]
    pub heartbeat_interval_seconds: u32,
    #[serde(default = "stale_seconds")]
    pub heartbeat_stale_after_seconds: u32,
    /// The run's folder, relative to the repository's root.
    #[serde(default)]
    pub artifact_root: String,
    #[serde(default)]
    pub compat_path: String,
    #[serde(default)]
    pub log_path: String,
    /// Notes for the reader, one per line.
    #[serde(default)]
    pub summary: Option<String>,
    /// Whether the run's line stands in `metrics.json`.
    #[serde(default)]
    pub metrics_recorded: bool,
    /// The SHA-256 of the resume token, in hex; the token itself in manifests of the reference.
    #[serde(default)]
    pub resume_token: Option<String>,
    #[serde(default)]
    pub resume_events: Vec<ResumeEvent>,
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// The stages, in the pipeline's order.
    #[serde(default)]
    pub commands: Vec<StageEntry>,
    #[serde(default)]
    pub child_runs: Vec<ChildRun>,
    #[serde(default)]
    pub run_summary_path: Option<String>,
    #[serde(default)]
    pub plan_target_id: Option<String>,
    #[serde(default)]
    pub instructions_hash: Option<String>,
    #[serde(default)]
    pub instructions_sources: Vec<String>,
    #[serde(default)]
    pub prompt_packs: Option<Vec<Value>>,
    #[serde(default)]
    pub guardrails_required: Option<bool>,
    #[serde(default)]
    pub learning: Option<Value>,
    #[serde(default)]
    pub tfgrpo: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guardrail_status: Option<GuardrailStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handles: Option<Vec<Handle>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy: Option<Privacy>,

    /// Extension: commit, tree and worktree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitKeys>,
    /// Extension: under which keys the verdicts of the stages can be found again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<ProofKeys>,
    /// Extension: what was planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanRecord>,
    /// Extension: the runs that this one was asked for with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<Series>,
    /// Extension: each start and resume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<Attempt>>,
    /// Extension: what guardrails said that ran as stages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guardrails: Vec<StageVerdict>,
    /// Extension: what stages that mend changed in a side worktree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
    /// Extension: who asked for an end of the newest attempt, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancellation: Option<Cancellation>,
    /// Extension: since when nobody works on the run, because all that is left waits for a decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked_at: Option<Stamp>,
    /// Extension: how far into `runner.ndjson` this document has got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalMark>,

    /// What other programs wrote; kept as it is.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Map<String, Value>,
}

fn one() -> u32 {
    1
}
fn heartbeat_seconds() -> u32 {
    HEARTBEAT_SECONDS
}
fn stale_seconds() -> u32 {
    STALE_SECONDS
}

/// One request to resume, granted or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResumeEvent {
    pub timestamp: Stamp,
    pub actor: String,
    pub reason: String,
    pub outcome: ResumeOutcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What became of a request to resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ResumeOutcome {
    Accepted,
    Blocked,
}

/// One stage of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StageEntry {
    /// 1-based.
    pub index: usize,
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub title: String,
    /// The shell text; null for a subpipeline.
    #[serde(default)]
    pub command: Option<String>,
    #[serde(default)]
    pub kind: String,
    pub status: StageStatus,
    #[serde(default)]
    pub started_at: Option<Stamp>,
    #[serde(default)]
    pub completed_at: Option<Stamp>,
    #[serde(default)]
    pub exit_code: Option<i64>,
    #[serde(default)]
    pub summary: Option<String>,
    #[serde(default)]
    pub log_path: Option<String>,
    #[serde(default)]
    pub error_file: Option<String>,
    /// The run of a subpipeline.
    #[serde(default)]
    pub sub_run_id: Option<String>,
    /// Extension: whether the stage took too long, and was ended for that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timed_out: bool,
    /// Extension: whether the stage passed, but not at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flaky: bool,
    /// Extension: whether the stage was told to end before it had its say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// Extension: the run that proved the stage, which was not run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused: Option<Reused>,
    /// Extension: the attempts after which the stage was run again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_attempts: Vec<FailedAttempt>,
    /// Extension: how much memory the stage could have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<MemoryLimit>,
    /// Extension: what somebody is asked before the stage can begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// Extension: why the stage waits for its part of the machine's budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<Queued>,
    /// Extension: how long the stage waited for that before it began, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<u64>,
    /// Extension: how long it waited for that before it was run again. Like the wait before, it is no part of what
    /// the stage took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_again_ms: Option<u64>,
}

/// A stage that waits for its part of the machine's budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Queued {
    pub since: Stamp,
    /// How many came before.
    pub ahead: usize,
    /// What else there is to say, such as `io 41 %`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// As in `queued: 2 ahead, io 41 %`.
impl fmt::Display for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "queued: {} ahead", self.ahead)?;
        match &self.reason {
            Some(reason) => write!(f, ", {reason}"),
            None => Ok(()),
        }
    }
}

/// What proved a stage that was not run again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reused {
    pub run_id: String,
    /// The run's manifest, relative to the root of the worktree that it ran in.
    pub manifest: String,
    /// That worktree, relative to the main one.
    pub worktree: String,
    /// When the stage ended there.
    pub completed_at: Stamp,
    /// The key of the verdict, in hex.
    pub key: String,
    /// Who signed the record, if it came from others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// Whether that run was going on when this one asked for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub joined: bool,
}

/// An attempt to run a stage that failed, and was not the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailedAttempt {
    /// From 1; `attempt` in the lines of the stage's log.
    pub attempt: u32,
    pub completed_at: Stamp,
    pub exit_code: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    pub summary: Option<String>,
    pub error_file: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timed_out: bool,
}

/// A limit of memory, and who sees to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryLimit {
    pub bytes: u64,
    pub by: LimitedBy,
}

/// What the kernel limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LimitedBy {
    /// The memory of all processes of the stage together.
    Cgroup,
    /// The address space of each process of the stage by itself.
    AddressSpace,
}

impl StageEntry {
    /// Returns a stage that has not begun.
    pub fn pending(index: usize, id: String, title: String, kind: &str, command: Option<String>) -> Self {
        Self {
            index,
            id,
            title,
            command,
            kind: kind.to_owned(),
            status: StageStatus::Pending,
            started_at: None,
            completed_at: None,
            exit_code: None,
            summary: None,
            log_path: None,
            error_file: None,
            sub_run_id: None,
            timed_out: false,
            stopped: false,
            reused: None,
            flaky: false,
            failed_attempts: Vec::new(),
            memory_limit: None,
            waiting: None,
            queued: None,
            waited_ms: None,
            waited_again_ms: None,
        }
    }

    /// Forgets an attempt that did not finish.
    fn reset(&mut self) {
        let Self { index, id, title, command, kind, .. } = self;
        let (id, title, command) = (std::mem::take(id), std::mem::take(title), command.take());
        *self = Self::pending(*index, id, title, &std::mem::take(kind), command);
    }

    /// Forgets an attempt that did not finish, but not how often the stage has failed on this tree.
    fn begin_again(&mut self) {
        let failed_attempts = std::mem::take(&mut self.failed_attempts);
        self.reset();
        self.failed_attempts = failed_attempts;
    }
}

/// A run that a stage of this run started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChildRun {
    pub run_id: String,
    pub pipeline_id: String,
    pub status: RunStatus,
    pub manifest: String,
}

/// The coverage by guard stages (`contract-core.md` §6.7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuardrailStatus {
    /// Whether at least one guard stage succeeded.
    pub present: bool,
    pub recommendation: Option<String>,
    pub summary: String,
    pub computed_at: Stamp,
    pub counts: GuardrailCounts,
}

/// How the guard stages ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuardrailCounts {
    pub total: usize,
    pub succeeded: usize,
    pub failed: usize,
    pub skipped: usize,
    pub other: usize,
}

/// One command that was executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Handle {
    pub handle_id: String,
    pub correlation_id: String,
    pub stage_id: Option<String>,
    pub pipeline_id: String,
    pub status: String,
    pub frame_count: u64,
    pub latest_sequence: u64,
    pub created_at: Stamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
}

/// What masking did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Privacy {
    /// `enforce`: masked before anything was stored. `shadow`: only recorded.
    pub mode: String,
    /// One decision per stage, and one per rule that matched in it.
    pub decisions: Vec<PrivacyDecision>,
    pub totals: PrivacyTotals,
    #[serde(default)]
    pub log_path: Option<String>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Map<String, Value>,
}

/// One decision of the masking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrivacyDecision {
    pub handle_id: String,
    pub sequence: u64,
    pub action: String,
    pub rule: Option<String>,
    pub reason: Option<String>,
    pub timestamp: Stamp,
    pub stage_id: Option<String>,
}

/// Counts of frames: a frame is the beginning, a piece of output, or the end of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrivacyTotals {
    pub total_frames: u64,
    pub redacted_frames: u64,
    pub blocked_frames: u64,
    pub allowed_frames: u64,
}

/// Who executed the run (`contract-core.md` §6.5). We record the one instance that did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scheduler {
    pub mode: String,
    pub requested_at: Stamp,
    pub min_instances: u32,
    pub max_instances: u32,
    pub recovery: Value,
    pub assignments: Vec<Assignment>,
}

/// One instance of the scheduler section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Assignment {
    pub instance_id: String,
    pub capability: String,
    pub status: String,
    pub assigned_at: Stamp,
    pub completed_at: Option<Stamp>,
    #[serde(default)]
    pub metadata: Value,
    #[serde(default)]
    pub attempts: Vec<Value>,
}

/// What was planned. An extension section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanRecord {
    /// `sha256:` and the digest of everything that decides what runs.
    pub digest: String,
    /// Whether only some of the stages were asked for, so that the run proves only those.
    pub partial: bool,
    /// The stage that was asked for alone.
    pub only: Option<String>,
    /// How many commands could run at the same time when the run began; one if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<NonZeroU16>,
    /// Whether what does not depend on a stage that failed went on all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_going: bool,
    /// Whether stages that are proven were not to be run, if somebody said it when the run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reuse: Option<bool>,
    /// Whether to wait for runs that run the same, if somebody said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<bool>,
    /// Whether somebody said that the run leaves a git note, or none, or one with the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaves_note: Option<Notes>,
    /// Whether the stages are the subtasks of a group: the target first, until one fails.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub group: bool,
    /// The digest of each stage's own definition, in the order of the stages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<String>,
    /// Names of the variables whose values are masked.
    #[serde(default)]
    pub masked: Vec<String>,
    /// Notes of the start, such as about an unstamped instruction file.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What verdicts of the run are about. An extension section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProofKeys {
    pub fingerprint: Fingerprint,
    /// The stages that records can speak for.
    pub stages: Vec<Keyed>,
    /// A random number, so that no two records are equal.
    pub nonce: String,
    /// Whether an attempt ran with other tools than the first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tools_changed: bool,
}

impl ProofKeys {
    /// Returns the key of the stage of that number; nothing if no record can speak for it.
    pub fn of_stage(&self, index: usize) -> Option<&Keyed> {
        self.stages.iter().find(|keyed| keyed.index == index)
    }
}

/// The key of a stage and what it is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Keyed {
    /// The stage's number in the pipeline, from 1.
    pub index: usize,
    pub id: String,
    pub key: Key,
    pub subject: Subject,
    /// What the stage does, without its secrets.
    pub definition: Definition,
    /// The digest of what it really does, in hex.
    pub definition_digest: String,
}

impl Keyed {
    /// Whether the stage says what it looks at, and nothing is there of it.
    pub fn selects_nothing(&self) -> bool {
        !self.definition.inputs.is_empty() && self.subject.is_tree()
    }
}

/// The runs that one request made: one per commit. An extension section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Series {
    pub kind: SeriesKind,
    /// The range of commits, as it was asked for.
    pub range: String,
    /// Which of the runs this is, from 1.
    pub number: usize,
    /// How many commits the range holds.
    pub commits: usize,
}

/// What asked for a series of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SeriesKind {
    /// `start --each`
    Each,
    Bisect,
    /// `evidence audit --rerun`
    Audit,
}

impl SeriesKind {
    /// Returns the word that stands in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Each => "each",
            Self::Bisect => "bisect",
            Self::Audit => "audit",
        }
    }
}

/// One start or resume. An extension section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// 1 for the start, 2 for the first resume.
    pub number: u32,
    pub started_at: Stamp,
    pub completed_at: Option<Stamp>,
    /// How the attempt ended; null while it goes on, and for ever if it was killed, or if the run was
    /// parked to wait for a decision.
    pub status: Option<RunStatus>,
    /// The stages that began in this attempt, 1-based.
    pub stages: Vec<usize>,
    pub owner: Owner,
}

/// A request to end a run. An extension section, and the file in which it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cancellation {
    /// Who asked, as in `ada@workstation`.
    pub actor: String,
    #[serde(default)]
    pub reason: Option<String>,
    pub requested_at: Stamp,
}

/// The process that works on a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Owner {
    pub host: String,
    pub pid: u32,
    /// The kernel's id of this boot; empty where there is none.
    pub boot_id: String,
    /// When the process began, in the kernel's clock ticks since boot: tells a reused pid apart.
    pub process_started: u64,
    pub at: Stamp,
}

/// The verdict of a guardrail that ran in a stage. An extension section holds them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StageVerdict {
    /// The stage's id.
    pub stage: String,
    /// The stage's number, 1-based.
    pub index: usize,
    pub at: Stamp,
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// How far into the journal a manifest has got. An extension section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JournalMark {
    /// The length of `runner.ndjson` in bytes up to which this document is the sum of its events.
    pub bytes: u64,
}

/// An event that does not fit the manifest it is applied to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfOrder {
    #[error(transparent)]
    Transition(#[from] BadTransition),
    #[error("the event is about stage {index}, and the run has {stages}")]
    NoSuchStage { index: usize, stages: usize },
    #[error("the event is about the child run `{0}`, which no event linked")]
    NoSuchChild(String),
    #[error("the journal does not begin with the creation of the run")]
    NotCreated,
}

impl Manifest {
    fn stage(&mut self, index: usize) -> Result<&mut StageEntry, OutOfOrder> {
        let stages = self.commands.len();
        index
            .checked_sub(1)
            .and_then(|at| self.commands.get_mut(at))
            .ok_or(OutOfOrder::NoSuchStage { index, stages })
    }

    /// Applies one event. A manifest changes in no other way, so `manifest.json` can always be
    /// rebuilt from `runner.ndjson`. One that does not fit changes nothing.
    pub fn apply(&mut self, RunEvent { event, timestamp, index }: &RunEvent) -> Result<(), OutOfOrder> {
        let at = *timestamp;
        match event {
            Happened::Created { manifest } => *self = (**manifest).clone(),
            Happened::Started { owner } => {
                self.status = self.status.to(RunStatus::InProgress)?;
                self.status_detail = None;
                self.heartbeat_at = Some(at);
                self.begin_attempt(at, owner);
            }
            Happened::Resumed { resume, owner, moved, tools_changed } => {
                if let Some(proof) = self.proof.as_mut().filter(|_| *tools_changed) {
                    proof.tools_changed = true;
                }
                self.status = self.status.to(RunStatus::InProgress)?;
                self.status_detail = Some("resuming".to_owned());
                self.resume_events.push(resume.clone());
                self.completed_at = None;
                self.metrics_recorded = false;
                self.guardrail_status = None;
                self.run_summary_path = None;
                self.cancellation = None;
                self.fix = None;
                self.parked_at = None;
                // What an earlier attempt said about its failure is not true of this one.
                self.summary = None;
                for entry in self.commands.iter_mut().filter(|entry| !entry.status.is_finished()) {
                    match moved {
                        true => entry.reset(),
                        false => entry.begin_again(),
                    }
                }
                if let Some(git) = &mut self.git {
                    git.tree_at_end = None;
                    // A stage that finished on another tree stays finished, so this stays true.
                    git.moved = (*moved || git.moved == Some(true)).then_some(true);
                }
                self.heartbeat_at = Some(at);
                self.begin_attempt(at, owner);
            }
            Happened::ResumeRefused { resume } => self.resume_events.push(resume.clone()),
            Happened::StageStarted { log_path, memory_limit } => {
                let entry = self.stage(*index)?;
                let waited_ms = entry.waited_ms;
                entry.begin_again();
                entry.waited_ms = waited_ms;
                entry.status = StageStatus::Running;
                entry.started_at = Some(at);
                entry.log_path = log_path.clone();
                entry.memory_limit = memory_limit.clone();
                self.say_what_waits();
                // Those of an earlier attempt are about what it saw.
                self.guardrails.retain(|verdict| verdict.index != *index);
                if let Some(attempt) = self.attempts.as_mut().and_then(|attempts| attempts.last_mut()) {
                    attempt.stages.push(*index);
                }
            }
            Happened::ChildLinked { run_id, pipeline_id, manifest } => {
                self.stage(*index)?.sub_run_id = Some(run_id.clone());
                self.child_runs.push(ChildRun {
                    run_id: run_id.clone(),
                    pipeline_id: pipeline_id.clone(),
                    // It starts next; how it ends is told when it has.
                    status: RunStatus::InProgress,
                    manifest: manifest.clone(),
                });
            }
            Happened::ChildFinished { run_id, status, moved } => {
                let child = self.child_runs.iter_mut().rev().find(|child| child.run_id == *run_id);
                child.ok_or_else(|| OutOfOrder::NoSuchChild(run_id.clone()))?.status = *status;
                // What proves nothing for the child proves nothing for the run that it is a part of.
                if *moved && let Some(git) = &mut self.git {
                    git.moved = Some(true);
                }
            }
            Happened::StageWaiting { run, stage, instructions } => {
                let entry = self.stage(*index)?;
                entry.waiting = Some(Waiting {
                    since: at,
                    run: run.clone(),
                    stage: stage.clone(),
                    instructions: instructions.clone(),
                });
                self.say_what_waits();
            }
            Happened::StageQueued { ahead, reason } => {
                let entry = self.stage(*index)?;
                let since = entry.queued.as_ref().map_or(at, |queued| queued.since);
                entry.queued = Some(Queued { since, ahead: *ahead, reason: reason.clone() });
            }
            Happened::StageAdmitted { waited_seconds } => {
                let entry = self.stage(*index)?;
                entry.queued = None;
                let waited = match entry.status {
                    StageStatus::Running => &mut entry.waited_again_ms,
                    _ => &mut entry.waited_ms,
                };
                let more = (waited_seconds.max(0.0) * 1000.0).round() as u64;
                *waited = Some(waited.unwrap_or(0).saturating_add(more));
            }
            Happened::StageDecided { approval } => {
                self.stage(*index)?.waiting = None;
                self.approvals.push(approval.clone());
                self.say_what_waits();
            }
            Happened::Parked => {
                self.parked_at = Some(at);
                self.heartbeat_at = Some(at);
                if let Some(attempt) = self.attempts.as_mut().and_then(|attempts| attempts.last_mut()) {
                    attempt.completed_at = Some(at);
                }
            }
            Happened::StageFinished(end) => {
                let entry = self.stage(*index)?;
                entry.waiting = None;
                entry.queued = None;
                entry.status = end.status;
                entry.completed_at = Some(at);
                entry.exit_code = end.exit_code;
                entry.summary = end.summary.clone();
                entry.error_file = end.error_file.clone();
                entry.timed_out = end.timed_out;
                entry.stopped = end.stopped;
                entry.flaky = end.status == StageStatus::Succeeded && !entry.failed_attempts.is_empty();
                self.keep_output(end);
            }
            Happened::StageRetried { attempt, end, .. } => {
                let StageEnd { exit_code, signal, summary, error_file, timed_out, .. } = &**end;
                self.stage(*index)?.failed_attempts.push(FailedAttempt {
                    attempt: *attempt,
                    completed_at: at,
                    exit_code: *exit_code,
                    signal: signal.clone(),
                    summary: summary.clone(),
                    error_file: error_file.clone(),
                    timed_out: *timed_out,
                });
                self.keep_output(end);
            }
            Happened::StageHeld { reason } => {
                let entry = self.stage(*index)?;
                entry.waiting = None;
                entry.queued = None;
                entry.summary = Some(reason.clone());
            }
            Happened::StageReused { status, reused } => {
                let entry = self.stage(*index)?;
                entry.reset();
                entry.status = *status;
                entry.started_at = Some(at);
                entry.completed_at = Some(at);
                let verb = if *status == StageStatus::Succeeded { "proved" } else { "failed" };
                entry.summary = Some(format!("Run {} {verb} it, {}", reused.run_id, reused.completed_at));
                entry.reused = Some((**reused).clone());
                self.guardrails.retain(|verdict| verdict.index != *index);
            }
            Happened::Judged { verdict } => {
                let stage = self.stage(*index)?.id.clone();
                let verdict = StageVerdict { stage, index: *index, at, verdict: (**verdict).clone() };
                self.guardrails.push(verdict);
            }
            Happened::CancelRequested { cancellation } => self.cancellation = Some(cancellation.clone()),
            Happened::Heartbeat => self.heartbeat_at = Some(at),
            // Kept in the journal only.
            Happened::Interrupted { .. } | Happened::StageSpawned { .. } | Happened::Other => return Ok(()),
            Happened::Sections { sections } => {
                for (key, value) in sections {
                    self.other.insert(key.clone(), value.clone());
                }
            }
            Happened::Fixed { fix } => self.fix = Some((**fix).clone()),
            Happened::Measured { tfgrpo, tool_runs } => {
                self.tfgrpo = Some(tfgrpo.clone());
                if !tool_runs.is_empty() {
                    self.other.insert("toolRuns".to_owned(), Value::Array(tool_runs.clone()));
                }
            }
            Happened::Learned { learning } => self.learning = Some(learning.clone()),
            Happened::Finished(end) => {
                self.status = self.status.to(end.status)?;
                self.status_detail = end.status_detail.clone();
                self.parked_at = None;
                for entry in &mut self.commands {
                    entry.waiting = None;
                    entry.queued = None;
                }
                self.completed_at = Some(at);
                self.heartbeat_at = Some(at);
                for note in &end.notes {
                    self.note(note);
                }
                self.guardrail_status = end.guardrail_status.clone();
                if let Some(git) = &mut self.git {
                    git.tree_at_end = end.tree_at_end.clone();
                    git.moved = end.moved;
                }
                if let Some(scheduler) = &mut self.scheduler {
                    scheduler.finish(end.status, at);
                }
                if let Some(attempt) = self.attempts.as_mut().and_then(|attempts| attempts.last_mut()) {
                    attempt.completed_at = Some(at);
                    attempt.status = Some(end.status);
                }
            }
            Happened::Recorded { run_summary_path, metrics_recorded } => {
                self.run_summary_path = run_summary_path.clone();
                self.metrics_recorded = *metrics_recorded;
            }
        }
        self.updated_at = Some(at);
        Ok(())
    }

    /// While somebody is asked, that is why the run is where it is.
    fn say_what_waits(&mut self) {
        let asked = self.commands.iter().find(|entry| entry.waiting.is_some());
        self.status_detail = asked.map(|entry| format!("stage:{}:waiting", entry.id));
    }

    /// Takes in what is known of a command's output.
    fn keep_output(&mut self, end: &StageEnd) {
        if let Some(note) = &end.note {
            self.note(note);
        }
        if let Some(handle) = &end.handle {
            self.handles.get_or_insert_default().push(handle.clone());
        }
        if let Some(privacy) = &mut self.privacy {
            privacy.decisions.extend(end.decisions.iter().cloned());
            privacy.totals.total_frames += end.frames.total_frames;
            privacy.totals.redacted_frames += end.frames.redacted_frames;
            privacy.totals.blocked_frames += end.frames.blocked_frames;
            privacy.totals.allowed_frames += end.frames.allowed_frames;
        }
    }

    fn begin_attempt(&mut self, at: Stamp, owner: &Owner) {
        let attempts = self.attempts.get_or_insert_default();
        attempts.push(Attempt {
            number: attempts.len() as u32 + 1,
            started_at: at,
            completed_at: None,
            status: None,
            stages: Vec::new(),
            owner: owner.clone(),
        });
    }

    fn note(&mut self, note: &str) {
        match &mut self.summary {
            Some(summary) if summary.contains(note) => {}
            Some(summary) => {
                summary.push('\n');
                summary.push_str(note);
            }
            None => self.summary = Some(note.to_owned()),
        }
    }

    /// Returns the process that began the newest attempt.
    pub fn owner(&self) -> Option<&Owner> {
        Some(&self.attempts.as_ref()?.last()?.owner)
    }

    /// Whether the run was asked for some of its stages only.
    pub fn is_partial(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.partial)
    }

    /// Returns the stages that wait for their part of the machine's budget.
    pub fn queued(&self) -> impl Iterator<Item = &StageEntry> {
        self.commands.iter().filter(|entry| entry.queued.is_some())
    }

    /// Whether the run does nothing but wait for that.
    pub fn is_queued(&self) -> bool {
        let runs = |entry: &StageEntry| entry.status == StageStatus::Running && entry.queued.is_none();
        self.status == RunStatus::InProgress
            && self.queued().next().is_some()
            && !self.commands.iter().any(runs)
    }

    /// Whether the tree moved under the run, so that it proves nothing.
    pub fn is_void(&self) -> bool {
        self.git.as_ref().is_some_and(|git| git.moved == Some(true))
    }

    /// Returns the document as it stands on disk.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json =
            serde_json::to_vec_pretty(self).expect("a manifest has string keys and finite numbers only");
        json.push(b'\n');
        json
    }

    /// Returns where the document stands, relative to the root.
    pub fn path(&self) -> String {
        format!("{}/manifest.json", self.artifact_root)
    }

    /// Returns a stage by its number, which begins with 1.
    pub fn entry(&self, index: usize) -> Option<&StageEntry> {
        self.commands.get(index.checked_sub(1)?)
    }

    /// Returns the number of the present attempt, which begins with 1.
    pub fn attempt(&self) -> usize {
        self.attempts.as_ref().map_or(1, |attempts| attempts.len().max(1))
    }

    /// Returns the number that the attempt will have that begins next.
    pub fn next_attempt(&self) -> usize {
        self.attempts.as_ref().map_or(0, Vec::len) + 1
    }
}

impl Scheduler {
    /// Returns the section of a run that one instance executes.
    pub fn single(task: &TaskId, capability: &str, at: Stamp) -> Self {
        Self {
            mode: "multi-instance".to_owned(),
            requested_at: at,
            min_instances: 1,
            max_instances: 1,
            recovery: serde_json::json!({
                "heartbeat_interval_seconds": HEARTBEAT_SECONDS,
                "missing_heartbeat_timeout_seconds": STALE_SECONDS,
                "max_retries": 0,
            }),
            assignments: vec![Assignment {
                instance_id: format!("{task}-{capability}-01"),
                capability: capability.to_owned(),
                status: "assigned".to_owned(),
                assigned_at: at,
                completed_at: None,
                metadata: serde_json::json!({"weight": 1, "maxConcurrency": 1}),
                attempts: vec![serde_json::json!({
                    "number": 1, "assigned_at": at, "started_at": at, "completed_at": null,
                    "status": "running", "recovery_checkpoints": [],
                })],
            }],
        }
    }

    fn finish(&mut self, status: RunStatus, at: Stamp) {
        let (instance, attempt) = match status {
            RunStatus::Succeeded => ("succeeded", "completed"),
            _ => ("failed", "failed"),
        };
        for assignment in &mut self.assignments {
            assignment.status = instance.to_owned();
            assignment.completed_at = Some(at);
            if let Some(Value::Object(last)) = assignment.attempts.last_mut() {
                last.insert("completed_at".to_owned(), Value::String(at.to_string()));
                last.insert("status".to_owned(), Value::String(attempt.to_owned()));
            }
        }
    }
}
