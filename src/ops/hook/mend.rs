//! Stages that mend: they work in a side worktree on what would be committed, and what they change comes back.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::super::host::SharedWatch;
use super::super::{Context, Kind, Refusal};
use super::pre_push::{Judged, Judgement, RefStanding};
use super::proof::{StageState, State};
use super::run::{self, Ran, RunOptions, Todo, TodoPipeline};
use crate::git::{BringBack, Obstacle, TreeChange};
use crate::run::manifest::Manifest;
use crate::sys::fs::{self, Durability};

/// So often stages that mend may run on what they made of it.
const ROUNDS: usize = 4;

/// So many patches are kept.
const KEPT: usize = 20;

/// What stages that mend made of a tree.
#[derive(Clone, Debug)]
pub struct Mended {
    /// The tree that would have been committed, in hex.
    pub from: String,
    /// The tree that they made of it.
    pub to: String,
    /// The stages that changed something.
    pub stages: Vec<String>,
    pub changes: Vec<TreeChange>,
    /// The change as `git apply` takes it.
    pub patch: PathBuf,
    pub outcome: Outcome,
}

/// What became of the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the index and in the work tree.
    CameBack,
    /// It did not come back, because something is in the way.
    Hindered(Vec<Obstacle>),
    /// It did not come back, because the stages do not pass on what they made.
    Fails,
    /// It did not come back, because there is no end to it.
    Endless,
    /// It did not come back, because it is not theirs alone: a stage that mends nothing changed files too.
    NotTheirs,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Mending {
    /// Nothing if nothing was changed.
    pub mended: Option<Mended>,
    pub ran: Vec<Manifest>,
}

/// Runs what is missing of the stages that mend until they change nothing more, and brings back what they changed.
/// `judge` says how a tree stands.
pub fn mend(
    ctx: &Context,
    first: &Judgement,
    index: &Path,
    judge: &dyn Fn(&str) -> Result<Judgement>,
    options: &RunOptions,
    watch: &SharedWatch,
) -> Result<Mending> {
    let mut mending = Mending::default();
    let Some(from) = judged(first).map(|judged| judged.commit.tree.clone()) else { return Ok(mending) };
    let (mut tree, mut stages) = (from.clone(), Vec::<String>::new());
    let mut newer = None;
    let mut outcome = Outcome::Endless;
    for _ in 0..ROUNDS {
        let Some(judged) = judged(newer.as_ref().unwrap_or(first)) else { break };
        let Some(todo) = todo(judged) else {
            let passes = menders(judged).all(|state| state.state.is_proven());
            outcome = if passes { Outcome::CameBack } else { Outcome::Fails };
            break;
        };
        let Ran { manifests, interrupt } = run::run(ctx, &[todo], options, watch)?;
        if let Some(interrupt) = interrupt {
            let message = format!("cancelled by {}", interrupt.name());
            return Err(Refusal::new(Kind::Cancelled(interrupt), message).into());
        }
        let mut theirs = true;
        for fix in manifests.iter().filter_map(|manifest| manifest.fix.as_ref()) {
            theirs &= fix.from == tree;
            tree = fix.to.clone();
            for stage in &fix.stages {
                if !stages.contains(stage) {
                    stages.push(stage.clone());
                }
            }
        }
        let is_unproven = manifests.iter().all(|manifest| manifest.fix.is_none());
        mending.ran.extend(manifests);
        if !theirs {
            outcome = Outcome::NotTheirs;
            break;
        }
        newer = Some(judge(&tree)?);
        if is_unproven {
            // Nothing changed: what they say of it is what there is.
            let now = newer.as_ref().and_then(|newer| self::judged(newer));
            let passes = now.is_some_and(|judged| menders(judged).all(|state| state.state.is_proven()));
            outcome = if passes { Outcome::CameBack } else { Outcome::Fails };
            break;
        }
    }
    if tree == from {
        return Ok(mending);
    }
    let changes = ctx.repo.tree_changes(&from, &tree)?;
    let patch = keep_patch(ctx, &from, &tree)?;
    if outcome == Outcome::CameBack {
        let asked = BringBack { from: &from, to: &tree, changes: &changes, index };
        let obstacles = ctx.repo.bring_back(&asked).context("what was mended could not be brought back")?;
        if !obstacles.is_empty() {
            outcome = Outcome::Hindered(obstacles);
        }
    }
    mending.mended = Some(Mended { from, to: tree, stages, changes, patch, outcome });
    Ok(mending)
}

fn judged(judgement: &Judgement) -> Option<&Judged> {
    match &judgement.refs.first()?.standing {
        RefStanding::Judged(judged) => Some(judged),
        _ => None,
    }
}

/// Returns how the required stages stand that mend.
fn menders(judged: &Judged) -> impl Iterator<Item = &StageState> {
    judged.stages.iter().filter(|state| {
        let wanted = judged.wanted.iter().find(|wanted| wanted.plan.pipeline == state.pipeline);
        wanted.is_some_and(|wanted| wanted.stage(state.at).stage.fixes())
    })
}

/// Returns what is to be run of them.
fn todo(judged: &Judged) -> Option<Todo> {
    if judged.is_stopped() || judged.changes_gate() {
        return None;
    }
    let can_run = |state: &&StageState| matches!(&state.state, State::Missing(why) if why.can_be_run());
    let states: Vec<_> = menders(judged).filter(can_run).cloned().collect();
    let pipelines: Vec<_> =
        judged.wanted.iter().filter_map(|wanted| TodoPipeline::of(wanted, &states)).collect();
    (!pipelines.is_empty()).then(|| Todo { commit: judged.commit.clone(), pipelines })
}

/// Keeps the change where nothing else comes, whatever becomes of it.
fn keep_patch(ctx: &Context, from: &str, to: &str) -> Result<PathBuf> {
    let folder = ctx.repo.fixes_folder();
    fs::create_dir_all(&folder)?;
    let short = |id: &str| id.get(..12).unwrap_or(id).to_owned();
    let path = folder.join(format!("{}-{}.patch", short(from), short(to)));
    fs::write_atomically(&path, &ctx.repo.patch(from, to)?, Durability::Power)?;
    forget_old(&folder, &path);
    Ok(path)
}

/// Removes old patches, and what a crash left of a change that was coming back. What is left of that may be all that
/// there is of somebody's work, so the newest of it stay too.
fn forget_old(folder: &Path, newest: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let age = |entry: &std::fs::DirEntry| entry.metadata().and_then(|found| found.modified()).ok();
    let mut all: Vec<_> = entries.map(|entry| (age(&entry), entry.path())).collect();
    all.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
    for (_, path) in all.into_iter().skip(KEPT).filter(|(_, path)| path != newest) {
        // Nothing depends on it.
        let _ = if path.is_dir() { fs::remove_tree(&path) } else { fs::remove(&path) };
    }
}
