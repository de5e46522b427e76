//! `guard diff-budget`: a work tree, what is staged, a commit or a range against the limits.

use std::collections::HashSet;

use anyhow::Result;

use super::super::{Context, Refusal};
use super::base::{self, Base, rejected};
use super::settings::{self, Settings};
use super::{GuardOptions, or_no};
use crate::git::{CommitInfo, DiffRule, Target};
use crate::guardrail::diff_budget::{self, Budget, IGNORED, MAX_FILES, MAX_LINES, OVERRIDE};
use crate::guardrail::{File, Judged, Limit, Origin, Override, Verdict};
use crate::id::short;

/// How the guardrail calls itself in errors.
const NAME: &str = "Diff budget";

/// What to judge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The files on disk against the base.
    #[default]
    WorkTree,
    /// What the next commit would hold.
    Staged,
    /// One commit against its first parent.
    Commit(String),
    /// Each commit of `A..B`, and all of them together.
    Range(String),
}

/// What to judge, and by which limits.
#[derive(Clone, Debug, Default)]
pub struct BudgetOptions {
    pub common: GuardOptions,
    pub scope: Scope,
    pub max_files: Option<u64>,
    pub max_lines: Option<u64>,
}

/// Judges the size of a change: one verdict, or one for each commit of a range and one for the whole.
pub fn judge(ctx: &Context, options: &BudgetOptions) -> Result<Vec<Verdict>> {
    let judged = match &options.scope {
        Scope::WorkTree => work_tree(ctx, options).map(|verdict| vec![verdict]),
        Scope::Staged => staged(ctx, options).map(|verdict| vec![verdict]),
        Scope::Commit(revision) => commit(ctx, options, revision).map(|verdict| vec![verdict]),
        Scope::Range(range) => self::range(ctx, options, range),
    };
    let mut verdicts = or_no(ctx, NAME, judged)?;
    let reason = reason(ctx);
    for verdict in &mut verdicts {
        verdict.decide(reason.clone(), options.common.dry_run);
    }
    Ok(verdicts)
}

/// Judges the size of a tree that is about to be committed on top of `parents`. A merge changes what is like none
/// of them.
pub fn judge_tree(ctx: &Context, parents: &[String], tree: &str, judged: Judged) -> Result<Verdict> {
    let options = BudgetOptions::default();
    let verdict = || -> Result<Vec<Verdict>> {
        let first = parents.first().map(String::as_str);
        let judge = Judge::new(ctx, &options, first)?;
        let mut files = ctx.repo.diff(first, Target::Commit(tree), &judge.rule)?;
        for parent in parents.iter().skip(1) {
            retain_other(ctx, parent, tree, &judge.rule, &mut files)?;
        }
        Ok(vec![judge.verdict(judged.clone(), files)])
    };
    let mut verdicts = or_no(ctx, NAME, verdict())?;
    let mut verdict = verdicts.swap_remove(0);
    verdict.decide(reason(ctx), false);
    Ok(verdict)
}

/// Leaves only files that another parent has otherwise too.
fn retain_other(
    ctx: &Context,
    parent: &str,
    commit: &str,
    rule: &DiffRule,
    files: &mut Vec<File>,
) -> Result<()> {
    let names = DiffRule { lines: false, renames: false, ..rule.clone() };
    let other = ctx.repo.diff(Some(parent), Target::Commit(commit), &names)?;
    let other: HashSet<_> = other.into_iter().map(|file| file.path).collect();
    files.retain(|file| other.contains(&file.path));
    Ok(())
}

/// Returns the reason that somebody gave.
fn reason(ctx: &Context) -> Option<Override> {
    let reason = ctx.env.path(OVERRIDE).map(|reason| reason.to_string_lossy().trim().to_owned());
    let reason = reason.filter(|reason| !reason.is_empty())?;
    Some(Override { variable: OVERRIDE.to_owned(), reason })
}

fn work_tree(ctx: &Context, options: &BudgetOptions) -> Result<Verdict> {
    let variables = ["BASE_SHA", "DIFF_BUDGET_BASE"];
    let base = base::find(ctx, NAME, options.common.base.as_deref(), &variables)?;
    let judge = Judge::new(ctx, options, base.start.as_deref())?;
    let files = ctx.repo.diff(base.start.as_deref(), Target::WorkTree, &judge.rule)?;
    Ok(judge.verdict(base.judged("work-tree"), files))
}

fn staged(ctx: &Context, options: &BudgetOptions) -> Result<Verdict> {
    let base = match &options.common.base {
        Some(_) => base::find(ctx, NAME, options.common.base.as_deref(), &[])?,
        // The variables are about a branch, and this is about the next commit.
        None => {
            let start = ctx.repo.head()?.commit;
            Base { label: "HEAD".to_owned(), from: "the next commit".to_owned(), start }
        }
    };
    let judge = Judge::new(ctx, options, base.start.as_deref())?;
    let files = ctx.repo.diff(base.start.as_deref(), Target::Staged, &judge.rule)?;
    Ok(judge.verdict(base.judged("staged"), files))
}

fn commit(ctx: &Context, options: &BudgetOptions, revision: &str) -> Result<Verdict> {
    let commit = named(ctx, revision)?;
    let parents = ctx.repo.parents(&commit).map_err(|err| base::cut_off(NAME, err))?;
    let parent = parents.first().map(String::as_str);
    let judge = Judge::new(ctx, options, parent)?;
    let files = ctx.repo.diff(parent, Target::Commit(&commit), &judge.rule)?;
    let judged = of_parent(format!("commit={revision}"), parent, &commit);
    Ok(judge.verdict(judged, files))
}

fn of_parent(label: String, parent: Option<&str>, commit: &str) -> Judged {
    Judged {
        what: "commit".to_owned(),
        label,
        base: parent.map(str::to_owned),
        base_from: parent.map(|_| "first parent".to_owned()),
        base_commit: parent.map(str::to_owned),
        commit: Some(commit.to_owned()),
    }
}

fn named(ctx: &Context, revision: &str) -> Result<String> {
    let shown = revision.escape_debug();
    Ok(ctx.repo.commit_named(revision)?.ok_or_else(|| {
        rejected(format!("{NAME} failed: Invalid commit ref `{shown}`"))
            .hint("name a commit, such as `HEAD` or `v1.0`; `git log --oneline` shows some")
    })?)
}

fn range(ctx: &Context, options: &BudgetOptions, range: &str) -> Result<Vec<Verdict>> {
    let parts = range.split_once("..").filter(|(from, to)| !from.is_empty() && !to.starts_with('.'));
    let Some((from, to)) = parts else {
        return Err(Refusal::usage(format!("`{}` is no range", range.escape_debug()))
            .hint("write `A..B`: what B has and A has not; a missing B is HEAD")
            .into());
    };
    let to = if to.is_empty() { "HEAD" } else { to };
    let (from_id, to_id) = (named(ctx, from)?, named(ctx, to)?);
    let start = ctx.repo.merge_base(&from_id, &to_id)?;
    let start = start.ok_or_else(|| base::nothing_in_common(ctx, NAME, from, to))?;
    let judge = Judge::new(ctx, options, Some(&start))?;
    let commits = ctx.repo.commits_between(&from_id, &to_id)?;
    let mut verdicts = Vec::new();
    // One commit alone is the whole.
    for commit in commits.iter().filter(|_| commits.len() > 1) {
        let files = of_commit(ctx, commit, &judge.rule)?;
        let label = format!("commit={}", short(&commit.id));
        let parent = commit.parents.first().map(String::as_str);
        verdicts.push(judge.verdict(of_parent(label, parent, &commit.id), files));
    }
    let files = ctx.repo.diff(Some(&start), Target::Commit(&to_id), &judge.rule)?;
    let judged = Judged {
        what: "range".to_owned(),
        label: format!("range={range}"),
        base: Some(from.to_owned()),
        base_from: Some("--range".to_owned()),
        base_commit: Some(start),
        commit: Some(to_id),
    };
    verdicts.push(judge.verdict(judged, files));
    Ok(verdicts)
}

/// Returns what a commit of a range changed. A merge changed what is like none of its parents: the
/// rest was changed by commits that are judged themselves, or by nobody in this range.
fn of_commit(ctx: &Context, commit: &CommitInfo, rule: &DiffRule) -> Result<Vec<File>> {
    if commit.parents.is_empty() {
        // Without a parent it may be a root, or history is cut off there.
        ctx.repo.parents(&commit.id).map_err(|err| base::cut_off(NAME, err))?;
    }
    let mut parents = commit.parents.iter();
    let first = parents.next().map(String::as_str);
    let mut files = ctx.repo.diff(first, Target::Commit(&commit.id), rule)?;
    for parent in parents {
        retain_other(ctx, parent, &commit.id, rule, &mut files)?;
    }
    Ok(files)
}

/// The limits and rules that judge.
struct Judge {
    rule: DiffRule,
    budget: Budget,
    notes: Vec<String>,
}

impl Judge {
    fn new(ctx: &Context, options: &BudgetOptions, base: Option<&str>) -> Result<Self> {
        let Settings { guardrails, origin, note } = settings::read(ctx, base, options.common.config)?;
        let configured = guardrails.diff_budget.unwrap_or_default();
        let limit = |name: &str, flag: Option<u64>, set: Option<u64>, usual: u64| -> Result<Limit> {
            let variable = format!("DIFF_BUDGET_MAX_{}", name.to_uppercase());
            let (value, origin) = if let Some(value) = flag {
                (value, Origin::Flag { name: format!("--max-{name}") })
            } else if let Some(value) = of_variable(ctx, &variable)? {
                (value, Origin::Variable { name: variable })
            } else if let Some(value) = set {
                (value, origin.clone())
            } else {
                (usual, Origin::Default)
            };
            Ok(Limit { name: name.to_owned(), value, origin })
        };
        let budget = Budget {
            files: limit("files", options.max_files, configured.max_files, MAX_FILES)?,
            lines: limit("lines", options.max_lines, configured.max_lines, MAX_LINES)?,
            exceeded_when: configured.exceeded_when,
        };
        let rule = DiffRule {
            ignore: IGNORED.iter().map(|spec| (*spec).to_owned()).chain(configured.ignore).collect(),
            ignore_attributes: configured.ignore_attributes,
            renames: configured.renames,
            lines: true,
        };
        Ok(Self { rule, budget, notes: note.into_iter().collect() })
    }

    fn verdict(&self, judged: Judged, files: Vec<File>) -> Verdict {
        let mut verdict = diff_budget::judge(judged, files, &self.budget);
        verdict.notes.extend(self.notes.iter().cloned());
        verdict
    }
}

/// Reads a limit from the environment; blank is as if it were not set.
fn of_variable(ctx: &Context, name: &str) -> Result<Option<u64>> {
    let Some(value) = ctx.env.path(name) else { return Ok(None) };
    let text = value.to_string_lossy();
    if text.trim().is_empty() {
        return Ok(None);
    }
    match diff_budget::limit(&text) {
        Some(limit) => Ok(Some(limit)),
        None => Err(Refusal::usage(format!("{name} is `{}`, which is no limit", text.escape_debug()))
            .hint(format!("set {name} to a whole number from 0 on, or unset it"))
            .into()),
    }
}
