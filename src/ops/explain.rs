//! `explain`: what is proven, by which run, and if it is not, what differs from the nearest record.

use std::collections::BTreeMap;

use anyhow::Result;

use super::host::{Masking, inputs, keyed, rules, stage_env, surroundings, tree_subject};
use super::plan::{self, PlanOptions};
use super::{Context, Kind, Refusal};
use crate::git::{Change, TreeNow};
use crate::id::PipelineId;
use crate::pipeline::plan::{Plan, PlannedStage};
use crate::proof::difference::{Difference, differences, nearest};
use crate::proof::standing::{Entry, Origin, Reason, Rules, Standing, standing};
use crate::proof::{Record, Result as StageResult, StageRecord};
use crate::run::git_keys::Unnamed;
use crate::run::key::{Fingerprint, Subject};
use crate::run::manifest::Keyed;
use crate::run::stamp::Stamp;
use crate::store::ledger::Ledger;

/// What to explain.
#[derive(Clone, Debug, Default)]
pub struct ExplainOptions {
    pub pipeline: Option<PipelineId>,
    /// One stage; all by default.
    pub stage: Option<String>,
    /// A commit; the work tree by default.
    pub revision: Option<String>,
}

/// What is known of the stages of a pipeline on a tree.
#[derive(Debug)]
pub struct Explained {
    pub pipeline: PipelineId,
    /// The commit that was asked about, or that is checked out.
    pub commit: Option<String>,
    pub tree: String,
    /// Whether the work tree differs from that commit.
    pub dirty: bool,
    pub fingerprint: Fingerprint,
    pub stages: Vec<StageExplained>,
    pub now: Stamp,
}

/// What is known of one stage.
#[derive(Debug)]
pub struct StageExplained {
    pub id: String,
    pub keyed: Option<Keyed>,
    pub verdict: Verdict,
}

/// Whether a stage is proven, and why.
#[derive(Debug)]
pub enum Verdict {
    Proven {
        by: By,
    },
    /// The same was run, and that is no proof.
    Unproven {
        reason: Reason,
        by: By,
    },
    /// Something else was run.
    Differs {
        by: By,
        differences: Vec<Difference>,
        files: Files,
    },
    /// Nothing like it was ever run.
    Unknown,
    /// No record can speak for it: somebody has to decide, or a called pipeline does not exist.
    NotKept,
    /// A called pipeline: what is proven is looked up stage by stage.
    Parts(Vec<StageExplained>),
    /// Guardrails judged in it, and judge anew each time.
    Judged,
    /// The tree does not name all that is there.
    Unkeyed {
        why: String,
    },
}

/// Which files differ from those of a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Files {
    Same,
    Changed(Vec<Change>),
    /// The tree of the record was never stored.
    NotKnown,
}

/// The record that a verdict rests on.
#[derive(Debug)]
pub struct By {
    pub run_id: String,
    pub task_id: String,
    pub manifest: String,
    /// The worktree that it ran in, relative to the main one.
    pub worktree: String,
    pub commit: Option<String>,
    pub tree: String,
    pub completed_at: Stamp,
    pub result: StageResult,
    pub origin: Origin,
}

impl By {
    fn of(record: &Record, stage: &StageRecord, origin: &Origin) -> Self {
        Self {
            run_id: record.run_id.clone(),
            task_id: record.task_id.clone(),
            manifest: record.manifest.clone(),
            worktree: record.worktree.path.clone(),
            commit: record.commit.clone(),
            tree: record.tree.clone(),
            completed_at: stage.completed_at,
            result: stage.result,
            origin: origin.clone(),
        }
    }
}

/// Explains the stages of a pipeline. Runs nothing but the commands that `fingerprint` declares.
pub fn explain(ctx: &Context, options: &ExplainOptions) -> Result<Explained> {
    let ExplainOptions { pipeline, stage, revision } = options;
    let asked = PlanOptions { pipeline: pipeline.clone(), target: None, target_of_environment: false };
    let commit = match revision {
        None => None,
        Some(revision) => Some(ctx.repo.commit(revision)?.ok_or_else(|| Refusal::no_commit(revision))?),
    };
    let plan = match &commit {
        None => plan::plan(ctx, &asked)?,
        Some(commit) => plan::plan_of_tree(ctx, &commit.tree, &asked)?,
    };
    let wanted = wanted(&plan, stage.as_deref())?;
    let masking = Masking::new(&ctx.env, Some(&plan));
    let task = "0101".parse().expect("digits are a task id");
    let env = stage_env(ctx, &task);
    let fingerprint = surroundings(&ctx.repo, &ctx.root, &env, &plan, &|text| masking.masked(text));
    let mut lists = Vec::new();
    all_inputs(&plan, &mut lists);
    let now = ctx.clock.now();
    let (subject, selected, tree, head, dirty, unkeyed) = match &commit {
        Some(commit) => {
            let selected = ctx.repo.inputs_of_tree(&commit.tree, &lists)?;
            let subject = Subject::tree(&commit.tree, None);
            (subject, selected, commit.tree.clone(), Some(commit.id.clone()), false, None)
        }
        None => {
            let mut repo = ctx.repo.clone();
            repo.leave_out(ctx.exclude_patterns());
            let (git, selected) = repo.keys(&lists)?;
            let subject = tree_subject(&ctx.repo, &git)
                .ok_or_else(|| Refusal::new(Kind::Usage, "there is no tree here".to_owned()))?;
            let unkeyed = git.unnamed().map(|unnamed| match unnamed {
                Unnamed::Repository(path) => {
                    format!("`{path}` is a repository of its own with changes in it")
                }
                Unnamed::Path(path) => format!("`{path}` is there and in no tree"),
                Unnamed::Hidden(path) => {
                    format!("`{path}` is changed, and marked as `assume-unchanged` or `skip-worktree`")
                }
            });
            (subject, selected, git.tree.clone().unwrap_or_default(), git.commit.clone(), git.dirty, unkeyed)
        }
    };
    let mut looking = Looking {
        ctx,
        ledger: Ledger::of(ctx.repo.common_dir()),
        rules: rules(&plan.evidence, now),
        masking: &masking,
        fingerprint: &fingerprint,
        subject,
        selected: lists.into_iter().zip(selected).collect(),
        unkeyed,
        commit_tree: commit.as_ref().map(|commit| commit.tree.as_str()),
        everything: None,
    };
    let stages = looking.stages(&plan, &wanted)?;
    Ok(Explained { pipeline: plan.pipeline, commit: head, tree, dirty, fingerprint, stages, now })
}

/// Adds what stages look at, those of called pipelines included: each list of pathspecs once.
fn all_inputs(plan: &Plan, lists: &mut Vec<Vec<String>>) {
    for list in inputs(plan) {
        if !lists.contains(&list) {
            lists.push(list);
        }
    }
    plan.stages
        .iter()
        .filter_map(|planned| planned.child.as_deref())
        .for_each(|plan| all_inputs(plan, lists));
}

/// What it takes to look stages up.
struct Looking<'a> {
    ctx: &'a Context,
    ledger: Ledger,
    rules: Rules,
    masking: &'a Masking,
    fingerprint: &'a Fingerprint,
    subject: Subject,
    /// What each list of pathspecs selects.
    selected: BTreeMap<Vec<String>, String>,
    unkeyed: Option<String>,
    commit_tree: Option<&'a str>,
    /// All that the ledger has, once somebody wanted it.
    everything: Option<Vec<Entry>>,
}

impl Looking<'_> {
    /// Explains some stages of a plan.
    fn stages(&mut self, plan: &Plan, wanted: &[&PlannedStage]) -> Result<Vec<StageExplained>> {
        let selected: Vec<_> = inputs(plan).iter().map(|list| self.selected[list].clone()).collect();
        let masked = |text: &str| self.masking.masked(text);
        let all = keyed(plan, &self.subject, &selected, self.fingerprint, &masked);
        let mut stages = Vec::new();
        for planned in wanted {
            let found = all.iter().find(|keyed| keyed.index == planned.index);
            let found = found.filter(|_| !planned.stage.asks()).cloned();
            let id = self.masking.masked(planned.stage.id.as_str());
            let verdict = match (&found, planned.child.as_deref()) {
                (Some(_), Some(child)) => {
                    Verdict::Parts(self.stages(child, &child.stages.iter().collect::<Vec<_>>())?)
                }
                (Some(found), None) => self.verdict(found)?,
                (None, _) => Verdict::NotKept,
            };
            stages.push(StageExplained { id, keyed: found, verdict });
        }
        Ok(stages)
    }

    fn verdict(&mut self, found: &Keyed) -> Result<Verdict> {
        if let Some(why) = &self.unkeyed {
            return Ok(Verdict::Unkeyed { why: why.clone() });
        }
        let entries = self.ledger.about(&[&found.subject])?;
        Ok(match standing(&entries, &found.key, &self.rules) {
            Standing::Proven { record, stage, .. } if record.was_judged(stage) => Verdict::Judged,
            Standing::Proven { record, stage, origin } => {
                Verdict::Proven { by: By::of(record, stage, origin) }
            }
            Standing::Unproven { reason, record, stage } => {
                Verdict::Unproven { reason, by: By::of(record, stage, origin_of(&entries, record)) }
            }
            Standing::Unknown => {
                if self.everything.is_none() {
                    let mut read = Vec::new();
                    self.ledger.each(|entry| read.push(entry))?;
                    self.everything = Some(read);
                }
                let records = self.everything.as_deref().unwrap_or_default();
                differs(self.ctx, found, self.fingerprint, records, self.commit_tree)?
            }
        })
    }
}

impl Verdict {
    /// Whether `start --reuse` would run nothing of it.
    pub fn is_proven(&self) -> bool {
        match self {
            Self::Proven { .. } => true,
            Self::Parts(stages) => stages.iter().all(|stage| stage.verdict.is_proven()),
            _ => false,
        }
    }
}

fn wanted<'a>(plan: &'a Plan, stage: Option<&str>) -> Result<Vec<&'a PlannedStage>> {
    let Some(name) = stage else { return Ok(plan.stages.iter().collect()) };
    let found: Vec<_> = plan.stages.iter().filter(|planned| planned.stage.id.as_str() == name).collect();
    if found.is_empty() {
        let ids: Vec<_> = plan.stages.iter().map(|planned| planned.stage.id.to_string()).collect();
        let message = format!("no stage named `{}` in pipeline `{}`", name.escape_debug(), plan.pipeline);
        return Err(Refusal::new(Kind::Usage, message)
            .hint(format!("stages here: {}", ids.join(", ")))
            .into());
    }
    Ok(found)
}

fn origin_of<'a>(entries: &'a [Entry], wanted: &Record) -> &'a Origin {
    const HERE: &Origin = &Origin::Here;
    let of = |entry: &'a Entry| match entry {
        Entry::Run { record, origin } if **record == *wanted => Some(origin),
        _ => None,
    };
    entries.iter().find_map(of).unwrap_or(HERE)
}

fn differs(
    ctx: &Context,
    keyed: &Keyed,
    fingerprint: &Fingerprint,
    entries: &[Entry],
    commit_tree: Option<&str>,
) -> Result<Verdict> {
    let records = entries.iter().filter_map(|entry| match entry {
        Entry::Run { record, .. } if record.void.is_none() => Some(&**record),
        _ => None,
    });
    let Some((record, stage)) = nearest(keyed, fingerprint, records) else { return Ok(Verdict::Unknown) };
    let differences = differences(keyed, fingerprint, record, stage);
    let is_about_files = differences.iter().any(|it| matches!(it, Difference::Files { .. }));
    let files = match is_about_files {
        false => Files::Same,
        true => {
            let now = commit_tree.map_or(TreeNow::WorkTree, TreeNow::Tree);
            let specs = if keyed.selects_nothing() { &[] } else { keyed.definition.inputs.as_slice() };
            match ctx.repo.changes_since(&record.tree, now, specs)? {
                Some(changes) => Files::Changed(changes),
                None => Files::NotKnown,
            }
        }
    };
    let by = By::of(record, stage, origin_of(entries, record));
    Ok(Verdict::Differs { by, differences, files })
}
