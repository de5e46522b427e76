//! `explain`: what is proven, by which run, and if it is not, what differs from the nearest record.

use anyhow::Result;

use super::host::{Masking, inputs, keyed, rules, stage_env, surroundings, tree_subject};
use super::plan::{self, PlanOptions};
use super::{Context, Kind, Refusal};
use crate::git::{Change, TreeNow};
use crate::id::PipelineId;
use crate::pipeline::plan::{Plan, PlannedStage};
use crate::proof::difference::{Difference, differences, nearest};
use crate::proof::standing::{Entry, Origin, Reason, Standing, standing};
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
    let lists = inputs(&plan);
    let now = ctx.clock.now();
    let (subject, selected, tree, head, dirty, unkeyed) = match &commit {
        Some(commit) => {
            let selected = ctx.repo.inputs_of_tree(&commit.tree, &lists)?;
            let subject = Subject::tree(&commit.tree, None);
            (subject, selected, commit.tree.clone(), Some(commit.id.clone()), false, None)
        }
        None => {
            let mut repo = ctx.repo.clone();
            repo.leave_out(ctx.layout.exclude_patterns());
            let (git, selected) = repo.keys(&lists)?;
            let subject = tree_subject(&ctx.repo, &git)
                .ok_or_else(|| Refusal::new(Kind::Usage, "there is no tree here".to_owned()))?;
            let unkeyed = git.unnamed().map(|unnamed| match unnamed {
                Unnamed::Repository(path) => {
                    format!("`{path}` is a repository of its own with changes in it")
                }
                Unnamed::Path(path) => format!("`{path}` is there and in no tree"),
            });
            (subject, selected, git.tree.clone().unwrap_or_default(), git.commit.clone(), git.dirty, unkeyed)
        }
    };
    let all = keyed(&plan, &subject, &selected, &fingerprint, &|text| masking.masked(text));
    let ledger = Ledger::of(ctx.repo.common_dir());
    let rules = rules(&plan.evidence, now);
    let mut everything = None::<Vec<Entry>>;
    let mut stages = Vec::new();
    for planned in wanted {
        let found = all.iter().find(|keyed| keyed.index == planned.index).filter(|_| !planned.stage.asks());
        let id = masking.masked(planned.stage.id.as_str());
        let Some(found) = found else {
            stages.push(StageExplained { id, keyed: None, verdict: Verdict::NotKept });
            continue;
        };
        let keyed = Some(found.clone());
        if let Some(why) = &unkeyed {
            stages.push(StageExplained { id, keyed, verdict: Verdict::Unkeyed { why: why.clone() } });
            continue;
        }
        let entries = ledger.about(&[&found.subject])?;
        let verdict = match standing(&entries, &found.key, &rules) {
            Standing::Proven { record, stage, .. } if record.was_judged(stage) => Verdict::Judged,
            Standing::Proven { record, stage, origin } => {
                Verdict::Proven { by: By::of(record, stage, origin) }
            }
            Standing::Unproven { reason, record, stage } => {
                Verdict::Unproven { reason, by: By::of(record, stage, origin_of(&entries, record)) }
            }
            Standing::Unknown => {
                if everything.is_none() {
                    let mut read = Vec::new();
                    ledger.each(|entry| read.push(entry))?;
                    everything = Some(read);
                }
                let records = everything.as_deref().unwrap_or_default();
                differs(ctx, found, &fingerprint, records, commit.as_ref().map(|it| it.tree.as_str()))?
            }
        };
        stages.push(StageExplained { id, keyed, verdict });
    }
    Ok(Explained { pipeline: plan.pipeline, commit: head, tree, dirty, fingerprint, stages, now })
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
            match ctx.repo.changes_since(&record.tree, now, &keyed.definition.inputs)? {
                Some(changes) => Files::Changed(changes),
                None => Files::NotKnown,
            }
        }
    };
    let by = By::of(record, stage, origin_of(entries, record));
    Ok(Verdict::Differs { by, differences, files })
}
