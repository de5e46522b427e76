//! `guard`: judges a change, and hands what it says to the run that it is a stage of.

pub mod base;
pub mod diff_budget;
pub mod docs;
pub mod settings;
pub mod spec;

use anyhow::{Context as _, Result};

use super::host::Masking;
use super::{Context, Refusal};
use crate::git::GitError;
use crate::guardrail::Verdict;
use crate::store::verdicts;

pub use settings::ConfigFrom;

/// What every guardrail can be told.
#[derive(Clone, Debug, Default)]
pub struct GuardOptions {
    /// What the change is compared with.
    pub base: Option<String>,
    /// Whether a verdict against the change is only reported.
    pub dry_run: bool,
    /// Whose configuration decides.
    pub config: ConfigFrom,
}

/// Runs every guardrail that the configuration requires.
pub fn all(ctx: &Context, options: &GuardOptions) -> Result<Vec<Verdict>> {
    let required = or_no(ctx, "guard", settings::required(ctx, options))?;
    let mut verdicts = Vec::new();
    if required.diff_budget {
        let budget = diff_budget::BudgetOptions { common: options.clone(), ..Default::default() };
        verdicts.extend(diff_budget::judge(ctx, &budget)?);
    }
    if required.spec {
        verdicts.extend(spec::judge(ctx, options)?);
    }
    if required.docs {
        verdicts.push(docs::judge(ctx, options.dry_run)?);
    }
    if verdicts.is_empty() {
        let hint = "name one: `git orchestrate guard diff-budget`; \
                    or require it: `\"guardrails\": {\"diffBudget\": {}}`";
        let message = "the configuration requires no guardrail, so nothing was judged";
        return Err(Refusal::usage(message).hint(hint).into());
    }
    Ok(verdicts)
}

/// Makes an error of the repository a no of the guardrail `name`: who cannot judge does not let pass.
fn or_no<T>(ctx: &Context, name: &str, judged: Result<T>) -> Result<T> {
    judged.map_err(|err| match err.downcast::<GitError>() {
        // That is about the user's safety, and not about the change.
        Ok(err @ GitError::NotOwned { .. }) => err.into(),
        Ok(err) => {
            let err = ctx.repo.explain(err);
            let hint = match err {
                GitError::MissingObjects { .. } => {
                    Some("`git fetch --refetch --no-filter` gets them; they are not downloaded silently")
                }
                GitError::Conflict { .. } => {
                    Some("settle it and `git add` it; without `--staged` the files on disk are judged")
                }
                _ => None,
            };
            let hint = hint.map(str::to_owned);
            let message = format!("{name} failed: {:#}", anyhow::Error::from(err));
            Refusal { hint, ..base::rejected(message) }.into()
        }
        Err(err) => err,
    })
}

/// Hands verdicts to the run that this process is a stage of, if it is one.
pub fn hand_over(ctx: &Context, verdicts: &[Verdict]) -> Result<()> {
    let Some(folder) = ctx.env.path(verdicts::FOLDER) else { return Ok(()) };
    // A stage may judge another repository, such as one that a test made: no matter of this run.
    let same = |root: std::path::PathBuf| root.canonicalize().ok() == ctx.layout.root.canonicalize().ok();
    if !ctx.env.path("CODEX_ORCHESTRATOR_REPO_ROOT").is_some_and(same) {
        return Ok(());
    }
    let masking = Masking::new(&ctx.env, None);
    for verdict in verdicts {
        let mut verdict = verdict.clone();
        verdict.map_texts(&|text| masking.masked(text));
        verdicts::leave(&folder, &verdict).context("the verdict cannot be handed to the run")?;
    }
    Ok(())
}
