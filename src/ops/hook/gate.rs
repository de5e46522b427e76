//! The gate that judges a push: that of the commit at which the change began, so that no change weakens its
//! own.

use anyhow::Result;

use super::super::plan::{self, Project};
use super::super::{Context, Refusal};
use super::required::{Wanted, required};
use super::update::Update;
use crate::git::{Commit, Named, Pushed};
use crate::pipeline::config::FILE_NAME;
use crate::pipeline::evidence::Evidence;
use crate::pipeline::hooks::{Event, Gate, OnMissing};
use crate::pipeline::{Action, Config, Source};
use crate::run::key::Definition;
use crate::run::shell;

/// How a push's own gate is called.
pub const OWN: &str = "this push";

/// Where a push goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its name; its URL if it has none.
    pub name: String,
    pub url: String,
}

/// What a pushed commit is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The branch that it goes to, or else the remote's default branch.
    pub target: Named,
    /// The commit at which the change began, in hex.
    pub start: String,
    /// Whether the remote's branch is a part of what is pushed.
    pub follows: bool,
    /// Whether what is pushed takes the place of the target, which is lost there.
    pub replaces: bool,
}

/// A gate, and whose it is.
#[derive(Clone, Debug)]
pub struct Ruling {
    /// Nothing if nobody asks for anything, or once somebody has taken it.
    pub gate: Option<Gate>,
    pub evidence: Evidence,
    /// Whose gate it is.
    pub from: String,
    /// What a reader should know about that.
    pub note: Option<String>,
    /// What the change does to the gate that is to judge it.
    pub changes: Vec<String>,
    /// Whether what it does to it is fine.
    pub allowed: bool,
}

/// Whether a gate surely is not about a ref, although nobody can read what is pushed.
pub fn is_not_about(ctx: &Context, base: Option<&Base>, name: &str) -> bool {
    let there = base.and_then(|base| Project::at(ctx, &base.start).ok());
    let gate = there.and_then(|there| there.config.hooks.get(&Event::PrePush).cloned());
    gate.is_some_and(|gate| !gate.is_about(name))
}

/// Finds what a commit is compared with: what the remote has, or else the branch that its `HEAD` names.
///
/// # Errors
/// Also if the remote has something of which nothing was ever fetched: nobody knows what it asks for.
pub fn base(ctx: &Context, remote: &Remote, update: &Update, commit: &Commit) -> Result<Option<Base>> {
    let unseen = || {
        let to = update.remote.strip_prefix("refs/heads/").unwrap_or(&update.remote);
        let message =
            format!("what `{}` has at `{to}` was never fetched, and its gate is to judge", remote.name);
        Refusal::usage(message).hint(format!("git fetch {} {}", shell::word(&remote.name), shell::word(to)))
    };
    let (target, is_there) = match seen(ctx, remote, update)? {
        Some(seen) => (seen, true),
        None => match default_branch(ctx, remote)? {
            Some(branch) => (branch, false),
            None if update.remote_id.is_some() => return Err(unseen().into()),
            None => return Ok(None),
        },
    };
    let start = ctx.repo.merge_base(&target.commit, &commit.id)?;
    let follows = start.as_ref() == Some(&target.commit);
    // Histories with nothing in common are judged by what the remote has.
    let start = start.unwrap_or_else(|| target.commit.clone());
    let base = Base { start, target, follows, replaces: is_there && !follows };
    let is_unseen = !is_there && update.remote_id.is_some() && update.remote.starts_with("refs/heads/");
    match is_unseen && !is_not_about(ctx, Some(&base), &update.remote) {
        true => Err(unseen().into()),
        false => Ok(Some(base)),
    }
}

/// Returns what the remote has where something is to go, as far as it was ever seen.
fn seen(ctx: &Context, remote: &Remote, update: &Update) -> Result<Option<Named>> {
    let Some(id) = &update.remote_id else { return Ok(None) };
    let branch = update.remote.strip_prefix("refs/heads/");
    if let Pushed::Commit(there) = ctx.repo.pushed(id)? {
        let label = format!("{}/{}", remote.name, branch.unwrap_or(&update.remote));
        return Ok(Some(Named { label, commit: there.id }));
    }
    let before = branch.map(|branch| ctx.repo.branch_of_remote(&remote.name, branch));
    Ok(before.transpose()?.flatten())
}

fn default_branch(ctx: &Context, remote: &Remote) -> Result<Option<Named>> {
    match ctx.repo.default_branch_of(&remote.name)? {
        Some(branch) => Ok(Some(branch)),
        None => Ok(ctx.repo.default_branch_of("origin")?),
    }
}

/// Decides which gate judges a commit.
pub fn rule(
    ctx: &Context,
    remote: &Remote,
    base: Option<&Base>,
    project: &Project<'_>,
    commit: &Commit,
    allow: bool,
) -> Result<Ruling> {
    let Some(base) = base else { return first(ctx, project) };
    let label = &base.target.label;
    let judges = judges(base, commit);
    let mut gates = Vec::new();
    for at in &judges {
        match Project::at(ctx, at) {
            Ok(there) if there.config.hooks.contains_key(&Event::PrePush) => gates.push(there),
            Ok(_) => {}
            // What is broken there can only be mended by a change of it.
            Err(err) if allow => {
                let note = format!("the configuration of `{label}` is broken, and counts no more: {err:#}");
                return Ok(Ruling { note: Some(note), ..of(&project.config, OWN) });
            }
            Err(err) => return Err(err.context(format!("the gate of `{label}` cannot be read"))),
        }
    }
    let Some(there) = gates.first() else {
        let since = match judges.contains(&&base.target.commit) {
            true => "has no gate yet",
            false => "had no gate yet where this change began",
        };
        let has_own = project.config.hooks.contains_key(&Event::PrePush);
        let note = has_own.then(|| format!("`{label}` {since}, so that of this push counts"));
        return Ok(Ruling { note, ..of(&project.config, OWN) });
    };
    let mut ruling = of(&there.config, label);
    let mut changes = Vec::new();
    // Where nothing is new and nothing is lost, no change can have weakened anything.
    if base.start != commit.id || base.replaces {
        for change in gates.iter().flat_map(|there| self::changes(there, project)) {
            if !changes.contains(&change) {
                changes.push(change);
            }
        }
    }
    if changes.is_empty() {
        return Ok(ruling);
    }
    let owner = ctx.repo.default_branch_of(&remote.name)?.filter(|owner| !judges.contains(&&owner.commit));
    let merged = match &owner {
        Some(owner) => {
            let theirs = Project::at(ctx, &owner.commit);
            theirs.is_ok_and(|theirs| self::changes(&theirs, project).is_empty())
        }
        None => false,
    };
    if merged || allow {
        ruling = of(&project.config, OWN);
        ruling.allowed = true;
        let owner = owner.filter(|_| merged).map(|owner| format!("`{}` has it already", owner.label));
        ruling.note = Some(match owner {
            Some(has) => format!("the gate changes, and {has}"),
            None => "the gate changes, and that was allowed".to_owned(),
        });
    }
    ruling.changes = changes;
    Ok(ruling)
}

/// Returns the commits whose gates judge, the first one first: that at which the change began. Before it what is lost by
/// the push, else a change would weaken its gate by beginning before there was one. Where nothing is new, what the remote
/// has by now.
fn judges<'b>(base: &'b Base, commit: &Commit) -> Vec<&'b String> {
    let is_new = base.start != commit.id;
    let lost = (base.replaces || !is_new).then_some(&base.target.commit);
    lost.into_iter().chain(is_new.then_some(&base.start)).collect()
}

/// Returns the gate of a push to a place of which nothing is known yet.
fn first(ctx: &Context, project: &Project<'_>) -> Result<Ruling> {
    if ctx.repo.is_bare() {
        return Ok(of(&project.config, OWN));
    }
    let here = plan::load(ctx)?;
    let from = "the working copy";
    let note = "nothing was pushed there yet, so the gate is that of the working copy";
    Ok(match here.hooks.contains_key(&Event::PrePush) {
        true => Ruling { note: Some(note.to_owned()), ..of(&here, from) },
        false => of(&project.config, OWN),
    })
}

fn of(config: &Config, from: &str) -> Ruling {
    Ruling {
        gate: config.hooks.get(&Event::PrePush).cloned(),
        evidence: config.evidence.clone(),
        from: from.to_owned(),
        note: None,
        changes: Vec::new(),
        allowed: false,
    }
}

/// Says what one configuration asks for otherwise than another, as far as a gate rests on it.
pub(in crate::ops) fn changes(old: &Project<'_>, new: &Project<'_>) -> Vec<String> {
    let (was, is) = (old.config.hooks.get(&Event::PrePush), new.config.hooks.get(&Event::PrePush));
    let mut changes = Vec::new();
    match (was, is) {
        (Some(was), Some(is)) => gate_changes(was, is, &mut changes),
        (Some(_), None) => changes.push("`hooks.pre-push` is taken away".to_owned()),
        (None, Some(_)) => changes.push("`hooks.pre-push` is new".to_owned()),
        (None, None) => return changes,
    }
    surroundings(old, new, &mut changes);
    let names = was.map(|was| was.require.clone()).unwrap_or_default();
    let now = required(new, &names);
    let own = |wanted: &Wanted| wanted.plan.source == Source::User;
    if old.text == new.text && now.as_ref().is_ok_and(|now| now.iter().all(own)) {
        return changes;
    }
    let Ok(was) = required(old, &names) else { return changes };
    match now {
        Ok(is) => stage_changes(&was, &is, &mut changes),
        Err(err) => changes.push(format!("{err:#}")),
    }
    changes
}

/// Says what is different about that on which the verdicts of all required stages rest.
pub(in crate::ops) fn surroundings(old: &Project<'_>, new: &Project<'_>, changes: &mut Vec<String>) {
    if old.config.guardrails != new.config.guardrails {
        changes.push("`guardrails` says something else".to_owned());
    }
    if old.config.slots != new.config.slots {
        changes.push("`slots`, which makes side worktrees ready, says something else".to_owned());
    }
    let trust = |evidence: &Evidence| {
        let Evidence { tools, variables, max_age_days, accept_signed, signers, .. } = evidence.clone();
        (tools, variables, max_age_days, accept_signed, signers)
    };
    if trust(&old.config.evidence) != trust(&new.config.evidence) {
        changes.push("what counts as evidence is something else".to_owned());
    }
}

fn gate_changes(was: &Gate, is: &Gate, changes: &mut Vec<String>) {
    let list = |names: &[String]| match names {
        [] => "nothing".to_owned(),
        names => names.join(", "),
    };
    let mut differs = |what: &str, was: String, is: String| {
        if was != is {
            changes.push(format!("`{what}` was {was}, and is {is}"));
        }
    };
    differs("require", list(&was.require), list(&is.require));
    let guardrails =
        |gate: &Gate| list(&gate.guardrails.iter().map(|it| it.as_str().to_owned()).collect::<Vec<_>>());
    differs("guardrails", guardrails(was), guardrails(is));
    differs("refs", list(&was.refs), list(&is.refs));
    let missing = |gate: &Gate| match gate.on_missing {
        OnMissing::Refuse => "refuse".to_owned(),
        OnMissing::Warn => "warn".to_owned(),
    };
    differs("onMissing", missing(was), missing(is));
}

/// Says which required stages do something else than before.
pub(in crate::ops) fn stage_changes(was: &[Wanted], is: &[Wanted], changes: &mut Vec<String>) {
    let stages = |all: &[Wanted]| -> Vec<(String, String, Option<Definition>, bool)> {
        let of = |wanted: &Wanted| {
            let one = |stage: &super::required::WantedStage| {
                let planned = wanted.stage(stage.at);
                let may_fail = match &planned.stage.action {
                    Action::Command(command) => command.allow_failure,
                    _ => stage.may_fail,
                };
                let pipeline = wanted.plan.pipeline.to_string();
                (pipeline, planned.stage.id.to_string(), Definition::of(planned), may_fail)
            };
            wanted.stages.iter().map(one).collect::<Vec<_>>()
        };
        all.iter().flat_map(of).collect()
    };
    let (was, is) = (stages(was), stages(is));
    for (pipeline, id, definition, may_fail) in &was {
        match is.iter().find(|(other, name, ..)| (other, name) == (pipeline, id)) {
            None => changes.push(format!("stage `{id}` of `{pipeline}` is required no more")),
            Some((.., other, _)) if other != definition => {
                changes.push(format!("stage `{id}` of `{pipeline}` does something else in `{FILE_NAME}`"));
            }
            Some((.., other)) if other != may_fail => {
                changes.push(format!("stage `{id}` of `{pipeline}` may fail, or may do so no more"));
            }
            Some(_) => {}
        }
    }
    for (pipeline, id, ..) in &is {
        if !was.iter().any(|(other, name, ..)| (other, name) == (pipeline, id)) {
            changes.push(format!("stage `{id}` of `{pipeline}` is required, and was not"));
        }
    }
}
