//! The gate that judges what lands: that of the branch which it lands on, so that no stream weakens its own.

use anyhow::Result;

use super::{Context, LandOptions};
use crate::git::{Commit, Named};
use crate::ops::evidence::rewrite::{Pair, rewrite};
use crate::ops::evidence::write::{Manner, write_commits};
use crate::ops::hook::gate::{Base, Remote, Ruling, changes, stage_changes, surroundings};
use crate::ops::hook::guards;
use crate::ops::hook::pre_push::{Exempt, Judged, Judgement, OfRef, RefStanding};
use crate::ops::hook::proof::states;
use crate::ops::hook::required::{Wanted, required};
use crate::ops::hook::update::Update;
use crate::ops::plan::{PlanOptions, Project};
use crate::pipeline::config::FILE_NAME;
use crate::pipeline::evidence::Notes;
use crate::pipeline::hooks::{Event, Gate};
use crate::pipeline::plan::PlanError;

/// The branch that something lands on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    /// Without `refs/heads/`.
    pub name: &'a str,
    /// The commit that it names.
    pub commit: &'a str,
}

/// Judges a merge, and runs nothing.
pub(super) fn judge(
    ctx: &Context,
    to: &Target<'_>,
    branch: &str,
    commit: &Commit,
    options: &LandOptions,
) -> Result<Judgement> {
    let standing = standing(ctx, to, commit, options)?;
    let full = |name: &str| format!("refs/heads/{name}");
    let update = Update {
        local: full(branch),
        local_id: Some(commit.id.clone()),
        remote: full(to.name),
        remote_id: Some(to.commit.to_owned()),
    };
    let remote = Remote { name: String::new(), url: String::new() };
    let refs = vec![OfRef { update, standing }];
    Ok(Judgement { remote, refs, ran: Vec::new(), now: ctx.clock.now(), is_bare: ctx.repo.is_bare() })
}

fn standing(ctx: &Context, to: &Target<'_>, commit: &Commit, options: &LandOptions) -> Result<RefStanding> {
    let Asks { gate, wanted, ruling } = asks(ctx, to, commit, options.allow_gate_change)?;
    if !gate.is_about(&format!("refs/heads/{}", to.name)) {
        return Ok(RefStanding::Exempt(Exempt::NotGated));
    }
    if wanted.is_empty() && gate.guardrails.is_empty() && ruling.changes.is_empty() {
        return Ok(RefStanding::Exempt(Exempt::NoGate));
    }
    let mut stages = Vec::new();
    for wanted in &wanted {
        stages.extend(states(ctx, wanted, commit, &ruling.evidence)?);
    }
    let target = Named { label: to.name.to_owned(), commit: to.commit.to_owned() };
    let base = Base { target, start: to.commit.to_owned(), follows: true, replaces: false };
    let verdicts = guards::judge(ctx, &gate.guardrails, Some(&base), commit, options.reason.as_ref())?;
    let mut judged = Judged {
        commit: commit.clone(),
        base: Some(base),
        gate,
        ruling,
        verdicts,
        stages,
        wanted,
        reason: None,
        usual_seconds: None,
    };
    judged.hear(options.reason.as_ref());
    Ok(RefStanding::Judged(Box::new(judged)))
}

/// What a branch asks for.
struct Asks {
    gate: Gate,
    wanted: Vec<Wanted>,
    ruling: Ruling,
}

fn asks(ctx: &Context, to: &Target<'_>, commit: &Commit, allow: bool) -> Result<Asks> {
    let mut note = None;
    let there = match Project::at(ctx, to.commit) {
        Ok(there) => there,
        // It can only be mended by a change of it.
        Err(err) if allow => {
            note = Some(format!("the configuration of `{}` is broken, and counts no more: {err:#}", to.name));
            Project::at(ctx, &commit.id)?
        }
        Err(err) => return Err(err.context(format!("the gate of `{}` cannot be read", to.name))),
    };
    let (here, changes) = match Project::at(ctx, &commit.id) {
        Ok(here) => {
            let changes = changed(&there, &here)?;
            (Some(here), changes)
        }
        Err(err) => (None, vec![format!("`{FILE_NAME}` is broken: {err:#}")]),
    };
    let allowed = allow && !changes.is_empty();
    let (project, from) = match here {
        Some(here) if allowed => {
            note = Some("the gate changes, and that was allowed".to_owned());
            (here, "this merge".to_owned())
        }
        _ => (there, to.name.to_owned()),
    };
    let gate = project.config.hooks.get(&Event::PrePush).cloned();
    let wanted = wanted(&project, gate.as_ref())?;
    if gate.is_none() && note.is_none() && !wanted.is_empty() {
        let default = &wanted[0].plan.pipeline;
        note = Some(format!("`{from}` has no `hooks.pre-push`, so all of `{default}` is required"));
    }
    let evidence = project.config.evidence.clone();
    let ruling = Ruling { gate: None, evidence, from, note, changes, allowed };
    Ok(Asks { gate: gate.unwrap_or_default(), wanted, ruling })
}

/// Returns the stages that a project requires: those of its gate, or else all that it runs by default.
fn wanted(project: &Project<'_>, gate: Option<&Gate>) -> Result<Vec<Wanted>> {
    if let Some(gate) = gate {
        return required(project, &gate.require);
    }
    match project.plan(&PlanOptions::default()) {
        Ok(plan) => Ok(vec![Wanted::whole(plan)]),
        Err(err) => match err.downcast_ref::<PlanError>() {
            // It declares none, and ours fit no project.
            Some(PlanError::UnknownPipeline { .. } | PlanError::Builtin(_)) => Ok(Vec::new()),
            _ => Err(err),
        },
    }
}

/// Says what a merge does to the gate that is to judge it.
fn changed(old: &Project<'_>, new: &Project<'_>) -> Result<Vec<String>> {
    let gate = |project: &Project<'_>| project.config.hooks.contains_key(&Event::PrePush);
    if gate(old) {
        return Ok(changes(old, new));
    }
    // A gate that is new counts from the next time on, and weakens nothing.
    let mut changes = Vec::new();
    surroundings(old, new, &mut changes);
    let was = wanted(old, None)?;
    match wanted(new, None) {
        Ok(is) => stage_changes(&was, &is, &mut changes),
        Err(err) => changes.push(format!("{err:#}")),
    }
    Ok(changes)
}

/// Returns the commit whose configuration says what required stages do.
pub(super) fn configuration(judgement: &Judgement) -> Option<String> {
    match &judgement.refs.first()?.standing {
        // Where the change of the gate was allowed, that of the merge itself counts, which is checked out.
        RefStanding::Judged(judged) if judged.ruling.allowed => None,
        RefStanding::Judged(judged) => Some(judged.base.as_ref()?.start.clone()),
        _ => None,
    }
}

/// Leaves evidence on the merge where the branch wants notes: what proved its tree may have run on another commit.
/// Returns what went wrong.
pub(super) fn leave_evidence(ctx: &Context, to: &Target<'_>, tip: &str, commit: &Commit) -> Vec<String> {
    let leave = || -> Result<()> {
        let evidence = Project::at(ctx, to.commit)?.config.evidence;
        if evidence.notes == Notes::Nothing {
            return Ok(());
        }
        let manner = Manner { sign: evidence.sign, ..Manner::default() };
        write_commits(ctx, vec![commit.clone()], manner)?;
        let is_same = ctx.repo.commit(tip)?.is_some_and(|tip| tip.tree == commit.tree);
        if is_same && tip != commit.id {
            let pair = Pair { old: tip.to_owned(), new: commit.id.clone() };
            rewrite(&ctx.repo, &[pair], evidence.sign, ctx.clock.now())?;
        }
        Ok(())
    };
    leave().err().map(|err| format!("the merge has no note: {err:#}")).into_iter().collect()
}
