//! What the ledger says of required stages on the tree of a commit.

use std::cell::OnceCell;

use anyhow::Result;
use jiff::SignedDuration;

use super::super::Context;
use super::super::host::{Masking, inputs, keyed, rules, stage_env, surroundings};
use super::required::{Wanted, WantedStage};
use crate::git::Commit;
use crate::id::{PipelineId, TaskId};
use crate::pipeline::Action;
use crate::pipeline::evidence::Evidence;
use crate::proof::standing::{Entry, Origin, Reason, Standing, standing};
use crate::run::key::Subject;
use crate::run::manifest::Keyed;
use crate::run::stamp::Stamp;
use crate::store::ledger::Ledger;
use crate::sys::digest::sha256_hex;

/// For how long a stage counts in which a guardrail judged: what it says depends on the base and the day.
const JUDGED: SignedDuration = SignedDuration::from_hours(1);

/// What is known of one stage.
#[derive(Clone, Debug, PartialEq)]
pub struct StageState {
    pub pipeline: PipelineId,
    pub id: String,
    /// Its position in the plan, from 0.
    pub at: usize,
    pub state: State,
}

/// Whether a stage is proven.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    Proven(Proof),
    Missing(Why),
}

/// The run that proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub run_id: String,
    pub completed_at: Stamp,
    /// Who wrote it, if it was fetched.
    pub writer: Option<String>,
    /// Who signed it, if it was fetched.
    pub signer: Option<String>,
}

/// Why a stage is not proven.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// It was never run on this.
    NeverRan,
    /// It was run, and that proves nothing.
    Unproven { reason: Reason, run_id: String },
    /// A guardrail judged in it, and that was too long ago.
    JudgedLongAgo { run_id: String },
    /// No record can speak for it: somebody does it, or it calls a pipeline that is not there.
    NotKept,
}

impl State {
    /// Whether it passes.
    pub fn is_proven(&self) -> bool {
        matches!(self, Self::Proven(_))
    }
}

impl Why {
    /// Whether to run it could prove it. A failure stays a contradiction whatever comes after.
    pub fn can_be_run(&self) -> bool {
        match self {
            Self::NeverRan | Self::JudgedLongAgo { .. } => true,
            Self::NotKept => false,
            Self::Unproven { reason, .. } => !matches!(
                reason,
                Reason::Contradicted { .. } | Reason::Failed | Reason::AllowedFailure | Reason::Flaky
            ),
        }
    }
}

/// Looks up required stages of one pipeline. Runs nothing but the commands that `fingerprint` declares, and
/// those only if the answer is not remembered.
pub fn states(
    ctx: &Context,
    wanted: &Wanted,
    commit: &Commit,
    evidence: &Evidence,
) -> Result<Vec<StageState>> {
    let plan = &wanted.plan;
    // What the secrets are takes longer to find out than all the rest, and mostly nobody needs to know.
    let masking = OnceCell::new();
    let masked = |text: &str| masking.get_or_init(|| Masking::new(&ctx.env, Some(plan))).masked(text);
    let task: TaskId = "0101".parse().expect("digits are a task id");
    let env = stage_env(ctx, &task);
    let fingerprint = surroundings(&ctx.repo, &ctx.root, &env, plan, &masked);
    let selected = ctx.repo.inputs_of_tree(&commit.tree, &inputs(plan))?;
    // The texts of these keys go nowhere.
    let keys_of = |subject: &Subject| keyed(plan, subject, &selected, &fingerprint, &str::to_owned);
    let all = keys_of(&Subject::tree(&commit.tree, None));
    // In a sparse checkout stages see a part of the tree, and so they do in a side worktree of it.
    let part = ctx.repo.sparse_patterns().map(|patterns| sha256_hex(&patterns));
    let part = part.map(|part| keys_of(&Subject::tree(&commit.tree, Some(&part)))).unwrap_or_default();
    let now = ctx.clock.now();
    let rules = rules(evidence, now);
    let ledger = Ledger::of(ctx.repo.common_dir());
    let mut known: Vec<(Subject, Vec<Entry>)> = Vec::new();
    let mut states = Vec::new();
    for stage in &wanted.stages {
        let planned = wanted.stage(stage.at);
        let is_kept = !matches!(planned.stage.action, Action::Manual { .. });
        let mut state = State::Missing(Why::NotKept);
        for keys in [&all, &part] {
            let found = keys.iter().find(|keyed| keyed.index == planned.index).filter(|_| is_kept);
            // What was seen on all of the tree goes before what was seen on a part of it.
            let Some(found) = found.filter(|_| matches!(state, State::Missing(Why::NotKept | Why::NeverRan)))
            else {
                continue;
            };
            if !known.iter().any(|(subject, _)| *subject == found.subject) {
                known.push((found.subject.clone(), ledger.about(&[&found.subject])?));
            }
            let entries = known.iter().find(|(subject, _)| *subject == found.subject);
            let entries = entries.map(|(_, entries)| entries.as_slice()).unwrap_or_default();
            state = of_stage(entries, found, *stage, &rules);
        }
        let id = planned.stage.id.to_string();
        states.push(StageState { pipeline: plan.pipeline.clone(), id, at: stage.at, state });
    }
    Ok(states)
}

fn of_stage(
    entries: &[Entry],
    keyed: &Keyed,
    stage: WantedStage,
    rules: &crate::proof::standing::Rules,
) -> State {
    let proof = |run_id: &str, completed_at: Stamp, origin: &Origin| {
        let (writer, signer) = match origin {
            Origin::Here => (None, None),
            Origin::Note { writer, signer } => {
                (Some(writer.clone()), signer.as_ref().map(|signer| signer.principal.clone()))
            }
        };
        State::Proven(Proof { run_id: run_id.to_owned(), completed_at, writer, signer })
    };
    match standing(entries, &keyed.key, rules) {
        Standing::Proven { record, stage, .. }
            if record.was_judged(stage)
                && rules.now.earlier_by(JUDGED).is_some_and(|oldest| stage.completed_at < oldest) =>
        {
            State::Missing(Why::JudgedLongAgo { run_id: record.run_id.clone() })
        }
        Standing::Proven { record, stage, origin } => proof(&record.run_id, stage.completed_at, origin),
        // The pipeline passes all the same.
        Standing::Unproven { reason: Reason::AllowedFailure, record, stage: ran } if stage.may_fail => {
            proof(&record.run_id, ran.completed_at, &Origin::Here)
        }
        Standing::Unproven { reason, record, .. } => {
            State::Missing(Why::Unproven { reason, run_id: record.run_id.clone() })
        }
        Standing::Unknown => State::Missing(Why::NeverRan),
    }
}
