//! Guardrails on what is pushed: each new commit and all of them together, and never the work tree.

use anyhow::Result;

use super::super::Context;
use super::super::guard::diff_budget::{self, BudgetOptions, Scope};
use super::super::guard::{ConfigFrom, GuardOptions, spec};
use super::gate::Base;
use crate::git::Commit;
use crate::guardrail::{Judged, Override, Verdict};
use crate::id::short;
use crate::pipeline::hooks::Guardrail;

/// Judges what a commit adds to its base. A reason that somebody gave decides where something was found.
pub fn judge(
    ctx: &Context,
    asked: &[Guardrail],
    base: Option<&Base>,
    commit: &Commit,
    reason: Option<&Override>,
) -> Result<Vec<Verdict>> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let (start, label, from) = match base {
        Some(base) => (base.start.clone(), base.target.label.clone(), "the remote"),
        // As for every change of which nobody says what it is compared with.
        None => (ctx.repo.root_of(&commit.id)?, "the first commit".to_owned(), "root"),
    };
    let config = match base {
        Some(_) => ConfigFrom::Base,
        None if ctx.repo.is_bare() => ConfigFrom::Base,
        None => ConfigFrom::WorkTree,
    };
    let shown = format!("{label}..{}", short(&commit.id));
    let mut verdicts = Vec::new();
    for guardrail in asked {
        match guardrail {
            Guardrail::DiffBudget => {
                let common = GuardOptions { config, ..GuardOptions::default() };
                let scope = Scope::Range(format!("{start}..{}", commit.id));
                let options = BudgetOptions { common, scope, ..BudgetOptions::default() };
                let mut judged = diff_budget::judge(ctx, &options)?;
                if let Some(whole) = judged.last_mut() {
                    whole.judged.label = format!("range={shown}");
                    whole.judged.base = Some(label.clone());
                    whole.judged.base_from = Some(from.to_owned());
                }
                verdicts.extend(judged);
            }
            Guardrail::Spec => {
                let judged = Judged {
                    what: "range".to_owned(),
                    label: format!("range={shown}"),
                    base: Some(label.clone()),
                    base_from: Some(from.to_owned()),
                    base_commit: Some(start.clone()),
                    commit: Some(commit.id.clone()),
                };
                verdicts.push(spec::judge_commit(ctx, &start, &commit.id, judged, config)?);
            }
        }
    }
    for verdict in verdicts.iter_mut().filter(|verdict| verdict.stops()) {
        verdict.decide(reason.cloned(), false);
    }
    Ok(verdicts)
}

/// What is about to be committed.
#[derive(Clone, Debug)]
pub struct Staged<'a> {
    /// Its tree in hex.
    pub tree: &'a str,
    /// The commits that it will follow, in hex: none if it is the first one, several for a merge.
    pub parents: &'a [String],
}

/// Judges what is about to be committed. A reason that somebody gave decides where something was found.
pub fn judge_staged(
    ctx: &Context,
    asked: &[Guardrail],
    staged: &Staged<'_>,
    reason: Option<&Override>,
) -> Result<Vec<Verdict>> {
    let start = staged.parents.first();
    let judged = || Judged {
        what: "staged".to_owned(),
        label: "staged".to_owned(),
        base: start.cloned(),
        base_from: start.map(|_| "the next commit".to_owned()),
        base_commit: start.cloned(),
        commit: None,
    };
    let mut verdicts = Vec::new();
    for guardrail in asked {
        match (guardrail, start) {
            (Guardrail::DiffBudget, _) => {
                verdicts.push(diff_budget::judge_tree(ctx, staged.parents, staged.tree, judged())?);
            }
            (Guardrail::Spec, Some(start)) => {
                verdicts.push(spec::judge_commit(ctx, start, staged.tree, judged(), ConfigFrom::Base)?);
            }
            // What the first commit brings has no spec that it could leave behind.
            (Guardrail::Spec, None) => {}
        }
    }
    for verdict in verdicts.iter_mut().filter(|verdict| verdict.stops()) {
        verdict.decide(reason.cloned(), false);
    }
    Ok(verdicts)
}
