//! The record of a run: what it says about each stage, keyed so that it can be found again by
//! whoever has the same tree.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::guardrail::Outcome;
use crate::run::git_keys::{GitKeys, Unnamed, Worktree};
use crate::run::key::{Definition, Fingerprint, Key, Subject};
use crate::run::manifest::{Keyed, Manifest, ProofKeys, StageEntry};
use crate::run::stamp::Stamp;
use crate::run::status::{RunStatus, StageStatus};

/// What one run found out. It is written once, when the run is over, and never changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// The version of this format.
    pub version: u32,
    pub run_id: String,
    pub task_id: String,
    pub pipeline: String,
    /// `sha256:` and the digest of everything that decided what ran.
    pub pipeline_digest: String,
    pub status: RunStatus,
    /// Whether only some of the stages were asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// Why the run proves nothing, whatever its stages say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void: Option<String>,
    /// The commit that was checked out, in hex.
    pub commit: Option<String>,
    /// The tree of what was really executed, in hex.
    pub tree: String,
    /// Whether the tree differs from the commit's own.
    pub dirty: bool,
    pub object_format: String,
    pub worktree: Worktree,
    /// The manifest of the run, relative to the root of that worktree.
    pub manifest: String,
    pub started_at: Stamp,
    pub completed_at: Stamp,
    /// The version of this program.
    pub tool: String,
    pub fingerprint: Fingerprint,
    /// The stages that ran to an end of their own, in the pipeline's order.
    pub stages: Vec<StageRecord>,
    /// What guardrails said, in one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guardrails: Vec<GuardrailRecord>,
    /// A random number, so that no two records are equal.
    pub nonce: String,
}

/// What a run says about one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageRecord {
    pub id: String,
    pub key: Key,
    pub subject: Subject,
    /// The digest of what the stage does, in hex.
    pub definition_digest: String,
    /// What the stage does, without its secrets.
    pub definition: Definition,
    pub result: Result,
    pub exit_code: Option<i64>,
    pub started_at: Stamp,
    pub completed_at: Stamp,
    /// The SHA-256 of the stage's log, in hex; null if there is none.
    #[serde(default)]
    pub log_sha256: Option<String>,
    /// The run that proved it, for a stage that was not run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused_from: Option<String>,
    /// The reasons that somebody gave to let a guardrail pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<String>,
}

/// How a stage ended, as far as it proves anything. Only the first proves that the stage passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Result {
    Passed,
    Failed,
    /// Failed, and the pipeline goes on without it.
    AllowedFailure,
    /// Passed because somebody overrode a guardrail.
    Overridden,
    /// Passed, but not at once.
    Flaky,
    /// Proven by another run, and not run again.
    Reused,
}

impl Result {
    /// Returns the word that stands in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::AllowedFailure => "allowed-failure",
            Self::Overridden => "overridden",
            Self::Flaky => "flaky",
            Self::Reused => "reused",
        }
    }

    /// Whether the stage ran and did what it should.
    pub fn is_pass(self) -> bool {
        matches!(self, Self::Passed | Self::Flaky | Self::Overridden)
    }

    /// Whether the stage ran and did not do what it should. One that passed on a retry did both.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::AllowedFailure)
    }
}

/// What a guardrail said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuardrailRecord {
    pub stage: String,
    pub rule: String,
    pub outcome: Outcome,
    pub line: String,
    /// The reason that somebody gave to let it pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The version of records that this program writes.
pub const VERSION: u32 = 1;

/// Returns the record of a run that is over; nothing if it says nothing about any stage.
///
/// `tool` is the version of this program; `log` returns the digest of a stage's log.
pub fn of_run(
    manifest: &Manifest,
    tool: &str,
    log: &dyn Fn(&StageEntry) -> Option<String>,
) -> Option<Record> {
    let git = manifest.git.as_ref()?;
    let plan = manifest.plan.as_ref()?;
    let proof = manifest.proof.as_ref()?;
    let stages: Vec<_> = proof
        .stages
        .iter()
        .filter_map(|keyed| {
            let entry = manifest.entry(keyed.index)?;
            stage(manifest, entry, keyed, log)
        })
        .collect();
    if stages.is_empty() {
        return None;
    }
    let guardrails = manifest.guardrails.iter().map(|it| GuardrailRecord {
        stage: it.stage.clone(),
        rule: it.verdict.rule.clone(),
        outcome: it.verdict.outcome,
        line: it.verdict.line(),
        reason: it.verdict.overridden.as_ref().map(|it| it.reason.clone()),
    });
    Some(Record {
        version: VERSION,
        run_id: manifest.run_id.to_string(),
        task_id: manifest.task_id.to_string(),
        pipeline: manifest.pipeline_id.clone(),
        pipeline_digest: plan.digest.clone(),
        status: manifest.status,
        partial: plan.partial,
        void: why_void(git, proof),
        commit: git.commit.clone(),
        tree: git.tree.clone()?,
        dirty: git.dirty,
        object_format: git.object_format.clone(),
        worktree: git.worktree.clone(),
        manifest: manifest.path(),
        started_at: manifest.started_at?,
        completed_at: manifest.completed_at?,
        tool: tool.to_owned(),
        fingerprint: proof.fingerprint.clone(),
        stages,
        guardrails: guardrails.collect(),
        nonce: proof.nonce.clone(),
    })
}

/// Returns why a run proves nothing about its tree, if that is so.
fn why_void(git: &GitKeys, proof: &ProofKeys) -> Option<String> {
    if git.moved != Some(false) {
        return Some("the tree moved while it ran".to_owned());
    }
    if proof.tools_changed {
        return Some("it was resumed with other tools than it began with".to_owned());
    }
    git.unnamed().map(|unnamed| match unnamed {
        Unnamed::Repository(path) => {
            format!("`{path}` is a repository of its own with changes that the tree does not name")
        }
        Unnamed::Path(path) => format!("`{path}` was there and is not in the tree"),
        Unnamed::Hidden(path) => {
            format!("`{path}` was changed, and marked as `assume-unchanged` or `skip-worktree`")
        }
    })
}

fn stage(
    manifest: &Manifest,
    entry: &StageEntry,
    keyed: &Keyed,
    log: &dyn Fn(&StageEntry) -> Option<String>,
) -> Option<StageRecord> {
    let verdicts = || manifest.guardrails.iter().filter(|it| it.index == entry.index);
    let overrides: Vec<_> =
        verdicts().filter_map(|it| it.verdict.overridden.as_ref()).map(|it| it.reason.clone()).collect();
    let result = match entry.status {
        // It was told to end: that is no verdict of its own.
        _ if entry.stopped => return None,
        StageStatus::Succeeded if entry.reused.is_some() => Result::Reused,
        StageStatus::Succeeded if entry.flaky => Result::Flaky,
        StageStatus::Succeeded if verdicts().any(|it| it.verdict.outcome == Outcome::Overridden) => {
            Result::Overridden
        }
        StageStatus::Succeeded => Result::Passed,
        // What another run found out is that run's to say.
        StageStatus::Failed | StageStatus::Skipped if entry.reused.is_some() => return None,
        StageStatus::Failed => Result::Failed,
        // An optional pipeline that does not exist has nothing to say.
        StageStatus::Skipped if entry.exit_code.is_none() && entry.sub_run_id.is_none() => return None,
        StageStatus::Skipped => Result::AllowedFailure,
        StageStatus::Pending | StageStatus::Running => return None,
    };
    Some(StageRecord {
        id: entry.id.clone(),
        key: keyed.key.clone(),
        subject: keyed.subject.clone(),
        definition_digest: keyed.definition_digest.clone(),
        definition: keyed.definition.clone(),
        result,
        exit_code: entry.exit_code,
        started_at: entry.started_at.or(entry.completed_at)?,
        completed_at: entry.completed_at?,
        log_sha256: log(entry),
        reused_from: entry.reused.as_ref().map(|reused| reused.run_id.clone()),
        overrides,
    })
}

impl Record {
    /// Returns what the record says about stages of a key.
    pub fn about<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = &'a StageRecord> {
        self.stages.iter().filter(move |stage| stage.key == *key)
    }

    /// Whether guardrails judged in a stage: what they say depends on what a change is compared with and on the
    /// day, of which the key knows nothing.
    pub fn was_judged(&self, stage: &StageRecord) -> bool {
        self.guardrails.iter().any(|guardrail| guardrail.stage == stage.id)
    }

    /// Returns every subject that the record is about, once each.
    pub fn subjects(&self) -> Vec<&Subject> {
        let mut subjects: Vec<_> = self.stages.iter().map(|stage| &stage.subject).collect();
        subjects.sort();
        subjects.dedup();
        subjects
    }
}
