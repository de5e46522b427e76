//! What was let pass although something spoke against it, kept in the ledger.

use anyhow::{Context as _, Result};

use super::super::Context;
use super::super::host::Masking;
use super::pre_push::{Judged, Judgement, OfRef, RefStanding};
use crate::guardrail::Override;
use crate::proof::standing::{Entry, LetPass};
use crate::run::key::Subject;
use crate::store::ledger::Ledger;
use crate::sys::process;

/// Keeps what a judgement lets pass. What stands there already in the same words is not written again: a push
/// may be asked about twice.
pub fn keep(ctx: &Context, judgement: &Judgement) -> Result<()> {
    let ledger = Ledger::of(ctx.repo.common_dir());
    for entry in judgement.refs.iter().filter_map(|of| entry(ctx, judgement, of)) {
        // Our own push hands its reason to the hook in a variable.
        let same = |known: &LetPass| {
            LetPass { at: entry.at, given_as: entry.given_as.clone(), ..known.clone() } == entry
        };
        let known = ledger.about(&[&entry.subject])?;
        let is_known = known.iter().any(|known| matches!(known, Entry::LetPass(known) if same(known)));
        if !is_known {
            let subject = entry.subject.clone();
            ledger
                .add(&Entry::LetPass(Box::new(entry)), &[&subject])
                .context("the reason cannot be kept, so it does not count")?;
        }
    }
    Ok(())
}

fn entry(ctx: &Context, judgement: &Judgement, of: &OfRef) -> Option<LetPass> {
    let (commit, reason, said) = match &of.standing {
        RefStanding::Exempt(_) => return None,
        RefStanding::Judged(judged) => {
            let overridden = judged.verdicts.iter().find_map(|verdict| verdict.overridden.clone());
            let allowed = (judged.ruling.allowed && !judged.ruling.changes.is_empty()).then(|| Override {
                variable: "gate change".to_owned(),
                reason: judged.ruling.note.clone().unwrap_or_default(),
            });
            let reason = judged.reason.clone().or(overridden).or(allowed)?;
            (&judged.commit, reason, against(judged))
        }
        RefStanding::Problem { error, commit, reason } => {
            (commit.as_ref()?, reason.clone()?, vec![format!("{error:#}")])
        }
    };
    let masking = Masking::new(&ctx.env, None);
    Some(LetPass {
        subject: Subject::tree(&commit.tree, None),
        commit: commit.id.clone(),
        reference: masking.masked(&of.update.remote),
        remote: masking.masked(&judgement.remote.name),
        by: masking.masked(&process::whoami(&ctx.env)),
        given_as: reason.variable,
        reason: masking.masked(&reason.reason),
        said: said.iter().map(|line| masking.masked(line)).collect(),
        at: judgement.now,
    })
}

/// Returns what spoke against it.
fn against(judged: &Judged) -> Vec<String> {
    let changes = judged.ruling.changes.iter().map(|change| format!("the gate: {change}"));
    let verdicts = judged.verdicts.iter().filter(|it| !it.findings.is_empty()).map(|it| it.line());
    let missing =
        judged.missing().map(|stage| format!("stage {}:{} is not proven", stage.pipeline, stage.id));
    changes.chain(verdicts).chain(missing).collect()
}
