//! `bisect`: the first commit of a range on which a stage fails, with as few runs as possible.

use std::collections::{HashMap, HashSet};

use anyhow::Result;

use super::each::commits;
use super::host::{Shared, SharedWatch};
use super::plan::{self, PlanOptions};
use super::side::{Side, There, inside};
use super::start::{Asked, StartOptions, plan_of, with_interrupts};
use super::{Context, Kind, Refusal, verify};
use crate::git::Commit;
use crate::pipeline::plan::Plan;
use crate::run::manifest::{Manifest, Series, SeriesKind, StageEntry};
use crate::run::status::{RunStatus, StageStatus};
use crate::runner::interrupt::Interrupt;
use crate::store::catalog;

/// Where to look, and for what.
#[derive(Clone, Debug)]
pub struct BisectOptions {
    /// `A..B`: `A` is good and `B` is bad.
    pub range: String,
    /// Its target is the stage that decides.
    pub start: StartOptions,
}

/// What was found.
#[derive(Debug)]
pub struct BisectOutcome {
    pub range: String,
    /// How many commits were in question.
    pub total: usize,
    /// What was learnt about commits, in the order in which it was needed.
    pub steps: Vec<Step>,
    pub result: Found,
    pub interrupt: Option<Interrupt>,
}

/// The answer.
#[derive(Debug)]
pub enum Found {
    First(Commit),
    /// It is one of these: the others could not be tested.
    AnyOf(Vec<Commit>),
    /// The last commit of the range is good.
    NoneBad(Commit),
    /// A stage said that it makes no sense to go on.
    Aborted(Commit, i64),
    Interrupted,
}

/// One commit whose verdict was needed.
#[derive(Debug)]
pub struct Step {
    pub commit: Commit,
    pub verdict: Verdict,
    /// The run that says so; none if there could be no run.
    pub run: Option<String>,
    /// Whether the run had been there before.
    pub known: bool,
    /// Why there is no verdict.
    pub reason: Option<String>,
}

/// What a stage says about a commit, in the words of `git bisect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    Bad,
    Skip,
    /// With this exit code nothing can be said about any commit.
    Abort(i64),
}

impl Verdict {
    /// Returns what a stage says by the way it ended; nothing if it did not.
    fn of(stage: &StageEntry) -> Option<Self> {
        match (stage.status, stage.exit_code) {
            // The signal was ours.
            (StageStatus::Failed | StageStatus::Skipped, _) if stage.timed_out => Some(Self::Bad),
            (StageStatus::Succeeded, _) => Some(Self::Good),
            (StageStatus::Failed | StageStatus::Skipped, Some(125)) => Some(Self::Skip),
            (StageStatus::Failed | StageStatus::Skipped, Some(1..=124 | 126)) => Some(Self::Bad),
            (StageStatus::Failed | StageStatus::Skipped, Some(code)) => Some(Self::Abort(code)),
            // A subpipeline has no code; a command without one could not even be started.
            (StageStatus::Failed, None) if stage.command.is_none() => Some(Self::Bad),
            (StageStatus::Failed | StageStatus::Skipped, None) => Some(Self::Skip),
            _ => None,
        }
    }
}

/// What earlier runs say: by tree and definition of the stage, each verdict with its run.
type Records = HashMap<String, Vec<(String, Verdict, String)>>;

/// What they say about commits, by their ids.
type Known<'a> = HashMap<&'a str, (Verdict, String)>;

/// Finds the first bad commit.
pub fn bisect(ctx: &Context, options: BisectOptions, watch: SharedWatch) -> Result<BisectOutcome> {
    let BisectOptions { range, start } = options;
    if !range.contains("..") {
        let message = format!("`{}` is no range of commits", range.escape_debug());
        return Err(Refusal::new(Kind::Usage, message)
            .hint("a range is `A..B`: `A` is good and `B` is bad")
            .into());
    }
    let all = commits(ctx, &range)?;
    let end = |text: &str| ctx.repo.commit_named(if text.is_empty() { "HEAD" } else { text });
    let (from, to) = range.split_once("..").unwrap_or((&range, ""));
    let (good, bad) = (end(from)?, end(to)?);
    let Some(last) = bad.and_then(|bad| all.iter().find(|it| it.id == bad)) else {
        let message = format!("`{}` holds no commit, so none of them is bad", range.escape_debug());
        return Err(Refusal::new(Kind::Usage, message).into());
    };
    ctx.layout.check(&start.task)?;
    let records = records(ctx, &all);
    let mut search = Search {
        by_id: all.iter().map(|commit| (commit.id.as_str(), commit)).collect(),
        order: all.iter().enumerate().map(|(at, commit)| (commit.id.as_str(), at)).collect(),
        bad: last,
        good: good.into_iter().collect(),
        skipped: HashSet::new(),
        steps: Vec::new(),
    };
    let known = known(ctx, &all, &records, &start);
    with_interrupts(async |interrupts| {
        let mut side = None;
        let result = loop {
            let left: Vec<_> = ctx.repo.candidates(&search.bad.id, &search.good)?;
            let left: Vec<&Commit> =
                left.iter().filter_map(|id| search.by_id.get(id.as_str()).copied()).collect();
            if search.learn_end(&left, &known) {
                break Found::NoneBad(search.bad.clone());
            }
            // What is known costs nothing: the earliest bad one first, then all that is good before it.
            if search.learn(&left, &known) {
                continue;
            }
            let open = left.iter().find(|it| it.id != search.bad.id && !search.skipped.contains(&it.id));
            let sure = search.steps.iter().any(|step| step.verdict == Verdict::Bad);
            let commit = match open {
                Some(commit) => *commit,
                None if left.len() > 1 => break Found::AnyOf(search.sorted(&left)),
                None if sure => break Found::First(search.bad.clone()),
                // Nobody has seen it fail yet.
                None => search.bad,
            };
            interrupts.catch_up().await;
            if interrupts.first().is_some() {
                break Found::Interrupted;
            }
            let side = match &mut side {
                Some(side) => side,
                none => {
                    let side = none.insert(Side::take(ctx, &watch)?);
                    // Without a plan at the bad end nothing can have failed there, and the others
                    // would all be skipped.
                    let Some(there) = side.at_unless_interrupted(ctx, last, interrupts).await? else {
                        break Found::Interrupted;
                    };
                    plan_of(&there, &start)?;
                    side
                }
            };
            let ready = side.ready_at(ctx, commit, &start.task, &watch, interrupts).await?;
            let step =
                |verdict, run, reason| Step { commit: commit.clone(), verdict, run, known: false, reason };
            let planned = match ready {
                There::Interrupted => break Found::Interrupted,
                There::Failed(manifest) if manifest.status == RunStatus::Cancelled => {
                    break Found::Interrupted;
                }
                There::Failed(manifest) => Err((Some(manifest.run_id.to_string()), manifest.status_detail)),
                There::Ready(there) => match plan_of(&there, &start) {
                    Ok(plan) => Ok((plan, there)),
                    Err(err) => Err((None, Some(format!("{err:#}")))),
                },
            };
            let end = match planned {
                Err((run, reason)) => step(Verdict::Skip, run, reason),
                Ok((plan, there)) => {
                    let number = 1 + search.steps.iter().filter(|step| !step.known).count();
                    let range = range.clone();
                    let series = Series { kind: SeriesKind::Bisect, range, number, commits: all.len() };
                    let at = plan.target.unwrap_or_default();
                    let run = Asked { plan, options: &start, series: Some(series) };
                    let run = run.execute(&there, watch.clone(), interrupts, |run| side.used_by(run));
                    let manifest = run.await?.manifest;
                    side.used(&manifest, &watch)?;
                    if manifest.status == RunStatus::Cancelled {
                        break Found::Interrupted;
                    }
                    let verdict = manifest.commands.get(at).and_then(Verdict::of).unwrap_or(Verdict::Skip);
                    step(verdict, Some(manifest.run_id.to_string()), manifest.status_detail.clone())
                }
            };
            let (verdict, is_last) = (end.verdict, commit.id == search.bad.id);
            search.steps.push(end);
            match verdict {
                Verdict::Good if is_last => break Found::NoneBad(commit.clone()),
                Verdict::Skip if is_last => break Found::AnyOf(vec![commit.clone()]),
                Verdict::Good => search.good.push(commit.id.clone()),
                Verdict::Bad => search.bad = commit,
                Verdict::Skip => drop(search.skipped.insert(commit.id.clone())),
                Verdict::Abort(code) => break Found::Aborted(commit.clone(), code),
            }
        };
        let steps = search.steps;
        Ok(BisectOutcome { range, total: all.len(), steps, result, interrupt: interrupts.first() })
    })
}

/// A search under way.
struct Search<'a> {
    by_id: HashMap<&'a str, &'a Commit>,
    order: HashMap<&'a str, usize>,
    bad: &'a Commit,
    good: Vec<String>,
    skipped: HashSet<String>,
    steps: Vec<Step>,
}

impl<'a> Search<'a> {
    /// Takes over what earlier runs say about the commits in question. Returns whether that left
    /// fewer of them.
    fn learn(&mut self, left: &[&'a Commit], known: &Known) -> bool {
        let told =
            |search: &Self, commit: &Commit| search.steps.iter().any(|step| step.commit.id == commit.id);
        let of = |commit: &&&'a Commit, wanted| {
            known.get(commit.id.as_str()).is_some_and(|(verdict, _)| *verdict == wanted)
        };
        let earliest =
            left.iter().filter(|it| of(it, Verdict::Bad)).min_by_key(|it| self.order[it.id.as_str()]);
        if let Some(earliest) = earliest.filter(|it| !told(self, it)) {
            self.note(earliest, known);
            let shrinks = earliest.id != self.bad.id;
            self.bad = earliest;
            if shrinks {
                return true;
            }
        }
        // Of what is good, the latest says most; what it says about the others is not needed.
        let latest = left
            .iter()
            .filter(|it| it.id != self.bad.id && of(it, Verdict::Good))
            .max_by_key(|it| self.order[it.id.as_str()]);
        if let Some(latest) = latest {
            self.note(latest, known);
            self.good.push(latest.id.clone());
            return true;
        }
        for commit in left.iter().filter(|it| it.id != self.bad.id && of(it, Verdict::Skip)) {
            if self.skipped.insert(commit.id.clone()) {
                self.note(commit, known);
            }
        }
        false
    }

    /// Takes over that the last commit is good, if earlier runs say so and none says that another is
    /// bad. Returns whether that is so.
    fn learn_end(&mut self, left: &[&Commit], known: &Known) -> bool {
        let says = |commit: &Commit, wanted| {
            known.get(commit.id.as_str()).is_some_and(|(verdict, _)| *verdict == wanted)
        };
        let good = says(self.bad, Verdict::Good) && !left.iter().any(|it| says(it, Verdict::Bad));
        if good {
            self.note(self.bad, known);
        }
        good
    }

    fn note(&mut self, commit: &Commit, known: &Known) {
        let (verdict, run) = known[commit.id.as_str()].clone();
        let step = Step { commit: commit.clone(), verdict, run: Some(run), known: true, reason: None };
        self.steps.push(step);
    }

    fn sorted(&self, left: &[&Commit]) -> Vec<Commit> {
        let mut left: Vec<Commit> = left.iter().map(|commit| (*commit).clone()).collect();
        left.sort_by_key(|commit| self.order[commit.id.as_str()]);
        left
    }
}

/// Returns what is known about commits, by their ids: the same tree, and the same stage.
fn known<'a>(ctx: &Context, all: &'a [Commit], records: &Records, start: &StartOptions) -> Known<'a> {
    let mut known = HashMap::new();
    if inside(ctx).is_err() {
        return known;
    }
    let StartOptions { pipeline, target, .. } = start.clone();
    let options = PlanOptions { pipeline, target, target_of_environment: false };
    for commit in all {
        let Some(records) = records.get(&commit.tree) else { continue };
        let Ok(plan) = plan::plan_of_tree(ctx, &commit.tree, &options) else { continue };
        let definition = definition(&plan);
        let same: Vec<_> = records.iter().filter(|(of, ..)| Some(of) == definition.as_ref()).collect();
        // Both verdicts about one tree: the stage is flaky, and neither counts.
        if let Some((_, verdict, run)) = same.first()
            && same.iter().all(|(_, other, _)| other == verdict)
        {
            known.insert(commit.id.as_str(), (*verdict, run.clone()));
        }
    }
    known
}

/// Returns what tells the stage of a plan that is asked for alone from any other.
fn definition(plan: &Plan) -> Option<String> {
    let stage = plan.stages.get(plan.target.filter(|_| plan.only_target)?)?;
    Some(Shared::definition(stage))
}

/// Gathers what the runs of all worktrees say about the trees of some commits.
fn records(ctx: &Context, all: &[Commit]) -> Records {
    #[derive(serde::Deserialize)]
    struct Light {
        git: Option<Tree>,
    }
    #[derive(serde::Deserialize)]
    struct Tree {
        tree: Option<String>,
    }
    let trees: HashSet<&str> = all.iter().map(|commit| commit.tree.as_str()).collect();
    let mut records = Records::new();
    for found in catalog::newest_first(&ctx.layouts(), None) {
        // Few runs are about these trees, and only they are read as a whole.
        let bytes = crate::sys::fs::read_if_there(&found.paths.manifest).ok().flatten().unwrap_or_default();
        let light = serde_json::from_slice::<Light>(&bytes).ok();
        let Some(tree) = light.and_then(|light| light.git?.tree).filter(|it| trees.contains(it.as_str()))
        else {
            continue;
        };
        let Ok(state) = catalog::read(&found.paths) else { continue };
        let mut manifest = state.manifest;
        if !is_evidence(&manifest) || verify::manifest(&found, &mut manifest).is_err() {
            continue;
        }
        let Some(plan) = &manifest.plan else { continue };
        for (stage, definition) in manifest.commands.iter().zip(&plan.stages) {
            // What could not be run may be run by now.
            let told = stage.exit_code.is_some() || stage.command.is_none();
            let verdict = Verdict::of(stage).filter(|verdict| told && !matches!(verdict, Verdict::Abort(_)));
            if let Some(verdict) = verdict {
                let record = (definition.clone(), verdict, manifest.run_id.to_string());
                records.entry(tree.clone()).or_default().push(record);
            }
        }
    }
    records
}

/// Whether a run proves anything about its tree.
fn is_evidence(manifest: &Manifest) -> bool {
    manifest.status.is_terminal()
        && manifest.status != RunStatus::Cancelled
        && manifest
            .git
            .as_ref()
            .is_some_and(|git| git.moved == Some(false) && !git.sparse && git.unnamed().is_none())
}
