//! `resume`: go on with a run that did not finish.

use std::collections::HashMap;
use std::rc::Rc;

use anyhow::{Context as _, Result};

use super::host::{Masking, RunHost, Shared, SharedWatch};
use super::plan::{self, PlanOptions};
use super::side::{self, Side};
use super::start::{Pace, RunOutcome, with_interrupts};
use super::verify::{self, Sections, adopted};
use super::which;
use super::{Context, Kind, Refusal, fleet, group, learning};
use crate::git::Commit;
use crate::id::{TaskId, short};
use crate::pipeline::plan::Plan;
use crate::pipeline::slots::SET_UP;
use crate::run::event::{Happened, RunEvent};
use crate::run::manifest::{Manifest, Owner, ResumeEvent, ResumeOutcome};
use crate::run::status::RunStatus;
use crate::runner::{Host, Outcome};
use crate::store::catalog::{self, Found, State, Wanted};
use crate::store::journal;
use crate::store::layout::RunPaths;
use crate::store::lease::{self, Asked, Lease};
use crate::store::recorder::Recorder;
use crate::sys::digest::{equal_in_constant_time, sha256_hex};
use crate::sys::{fs, process};

/// Which run to resume, and who asks.
#[derive(Clone, Debug)]
pub struct ResumeOptions {
    pub task: Option<TaskId>,
    pub run: Wanted,
    /// The resume token; that of the run's folder by default.
    pub token: Option<String>,
    pub actor: String,
    pub reason: String,
    pub target: Option<String>,
    /// Whether to go on although the tree has changed since the run began.
    pub moved_tree: bool,
    /// That of the start by default.
    pub pace: Pace,
}

/// Goes on with a run: keeps the stages that finished, and runs the others.
pub fn resume(ctx: &Context, options: ResumeOptions, watch: SharedWatch) -> Result<RunOutcome> {
    let (found, _) = which::run(ctx, options.task.as_ref(), &options.run)?;
    if found.layout != ctx.layout {
        return Err(elsewhere(ctx, &found).into());
    }
    // Before the first byte is written: a repository could ship links in place of our folders.
    ctx.layout.check(&found.task)?;
    found.paths.check()?;
    // The lease first: what is read without it may change while we look at it.
    let me = process::myself(ctx.clock.now());
    let lease = take_lease(ctx, &found, &me)?;
    let mut state =
        catalog::read(&found.paths).with_context(|| format!("cannot read run `{}`", found.run))?;
    refuse_if_alive_elsewhere(ctx, &found, &state, lease.before.as_ref())?;
    let foreign = verify::manifest(&found, &mut state.manifest)?;
    let masking = Masking::new(&ctx.env, None);
    let mut resume = ResumeEvent {
        timestamp: ctx.clock.now(),
        actor: masking.masked(&options.actor),
        reason: masking.masked(&options.reason),
        outcome: ResumeOutcome::Blocked,
        detail: None,
    };
    let manifest = &state.manifest;
    let only = manifest.plan.as_ref().and_then(|plan| plan.only.clone());
    if let Some(target) = options.target.as_ref().filter(|_| only.is_none() && manifest.plan.is_some()) {
        let message = format!("run `{}` is about its whole pipeline, not about `{target}` alone", found.run);
        return Err(Refusal::new(Kind::Usage, message)
            .hint(format!("`git orchestrate start --target {target}` makes a run of that stage"))
            .into());
    }
    let target = options.target.clone().or(only);
    let pipeline = manifest.pipeline_id.parse().ok();
    if pipeline.as_ref().is_some_and(|id: &crate::id::PipelineId| id.as_str() == "exec") || pipeline.is_none()
    {
        return Err(Refusal::new(
            Kind::Usage,
            format!("run `{}` executed no pipeline that could go on", found.run),
        )
        .hint("`git orchestrate exec -- COMMAND` makes a new run of a command")
        .into());
    }
    if fleet::is_above(manifest) {
        let message = format!("run `{}` stands above others that go on by themselves", found.run);
        return Err(Refusal::usage(message)
            .hint(format!(
                "`git orchestrate status {}` names them; each can be resumed where it ran",
                found.run
            ))
            .into());
    }
    if let Err(refusal) = check_token(&found, manifest, options.token.as_deref()) {
        resume.detail = Some(refusal.message.clone());
        let mut recorder = adopt(&found, state.manifest, foreign, lease)?;
        recorder.record(Happened::ResumeRefused { resume }, ctx.clock.now(), 0)?;
        recorder.save(fs::Durability::Power)?;
        return Err(refusal.into());
    }
    let is_set_up = pipeline.as_ref().is_some_and(|id: &crate::id::PipelineId| id.as_str() == SET_UP);
    if is_set_up && manifest.git.as_ref().is_some_and(|git| git.worktree.slot.is_some()) {
        let message = format!("run `{}` was to set a side worktree up", found.run);
        return Err(Refusal::new(Kind::Usage, message)
            .hint("whatever needs the side worktree sets it up again")
            .into());
    }
    // A verdict that was reached, but not followed up: the process died in between, or the disk
    // was full.
    let unrecorded = manifest.journal.is_some() && (!manifest.metrics_recorded || is_behind(&found.paths)?);
    let only_record = manifest.status == RunStatus::Succeeded && unrecorded;
    if manifest.status == RunStatus::Succeeded && !only_record {
        return Err(Refusal::new(
            Kind::Usage,
            format!("run `{}` succeeded: there is nothing left to do", found.run),
        )
        .hint("`git orchestrate start` makes a new run")
        .into());
    }
    let mut side = side_of(ctx, &found, manifest, &watch)?;
    if let Some((side, there, Some(commit))) = &mut side {
        let ready = with_interrupts(async |interrupts| {
            let ready = side.make_ready(ctx, there, commit, &found.task, &watch, interrupts).await?;
            Ok(ready.map(|manifest| RunOutcome { manifest, interrupt: interrupts.first() }))
        })?;
        if let Some(failed) = ready {
            return Ok(failed);
        }
    }
    let there = side.as_ref().map_or(ctx, |(_, there, _)| there);
    let mut plan = plan::plan(there, &PlanOptions { pipeline, target, target_of_environment: false })
        .context("cannot plan what is left of the run")?;
    verify_plan(&found, manifest, &plan)?;
    plan.learning = learning::wanted(there)?;
    // What began as a group goes on as one.
    plan.group = manifest.plan.as_ref().is_some_and(|recorded| recorded.group);
    group::check_pace(&plan, options.pace)?;
    let limits = pace(options.pace, manifest).limits(&plan);
    let shared = Rc::new(Shared::new(there, found.task.clone(), &plan, watch.clone())?);
    if only_record {
        let recorder = adopt(&found, state.manifest, foreign, lease)?;
        let manifest = RunHost::reopen(shared, plan, recorder, limits).record_end(true)?;
        return Ok(RunOutcome { manifest, interrupt: None });
    }
    let moved = moved_tree(&shared, &found, manifest)?;
    let moved = match moved {
        Some(refusal) if !options.moved_tree => return Err(refusal.into()),
        moved => moved.is_some(),
    };
    refuse_if_a_child_is_alive(ctx, &found, manifest)?;
    end_orphans(&found, manifest, &watch)?;
    if let Some((side, ..)) = &mut side {
        side.used_by(found.run.as_str())?;
    }
    with_interrupts(async |interrupts| {
        let recorder = adopt(&found, state.manifest, foreign, lease)?;
        if moved {
            // Whoever approved had the other tree before them.
            let next = recorder.manifest().next_attempt();
            fs::rename(&found.paths.approvals(), &found.paths.approvals_before(next))?;
        }
        let began_with = recorder.manifest().proof.as_ref().map(|proof| &proof.fingerprint);
        let tools_changed = began_with.is_some_and(|began| *began != shared.fingerprint(&plan));
        let mut host = RunHost::reopen(shared, plan, recorder, limits);
        resume.outcome = ResumeOutcome::Accepted;
        let abandoned = abandoned_children(host.manifest());
        let owner = host.owner();
        host.tell(Happened::Resumed { resume, owner, moved, tools_changed }, 0)?;
        host.owned()?;
        for child in abandoned {
            let status = close_child(ctx, &found, &child, &host)?;
            host.tell(Happened::ChildFinished { run_id: child, status, moved: false }, 0)?;
        }
        let manifest = host.drive(interrupts).await?;
        Ok(RunOutcome { manifest, interrupt: interrupts.first() })
    })
}

/// Returns how fast to go on: as was asked for now, else as when the run began.
fn pace(asked: Pace, manifest: &Manifest) -> Pace {
    let Some(recorded) = &manifest.plan else { return asked };
    Pace {
        jobs: asked.jobs.or(recorded.jobs),
        keep_going: asked.keep_going || recorded.keep_going,
        no_budget: asked.no_budget,
    }
}

/// Returns the side worktree of a run that had one: as the run left it, or with its commit checked
/// out anew, and named, if somebody else has used it since.
fn side_of(
    ctx: &Context,
    found: &Found,
    manifest: &Manifest,
    watch: &SharedWatch,
) -> Result<Option<(Side, Context, Option<Commit>)>> {
    let Some(git) = manifest.git.as_ref().filter(|git| git.worktree.slot.is_some()) else { return Ok(None) };
    if let Some(side) = Side::of_run(ctx, manifest, watch)? {
        let there = side.as_left(ctx);
        return Ok(Some((side, there, None)));
    }
    let commit = git.commit.as_deref().map(|commit| ctx.repo.commit(commit)).transpose()?.flatten();
    let Some(commit) = commit else {
        let id = git.commit.as_deref().unwrap_or("?");
        let message = format!("run `{}` was about commit `{id}`, which is not here any more", found.run);
        return Err(Refusal::new(Kind::Unsafe, message).into());
    };
    let mut side = Side::take(ctx, watch)?;
    let there = side.at(ctx, &commit)?;
    Ok(Some((side, there, Some(commit))))
}

fn elsewhere(ctx: &Context, found: &Found) -> Refusal {
    let root = found.layout.root.display();
    Refusal::new(Kind::Usage, format!("run `{}` belongs to the worktree `{root}`", found.run))
        .hint(which::resume(ctx, found, found.run.as_str()))
}

pub(super) fn take_lease(ctx: &Context, found: &Found, me: &Owner) -> Result<Lease> {
    match Lease::ask(&found.paths.lease, me).context("cannot ask who works on the run")? {
        Asked::Granted(lease) => Ok(lease),
        Asked::Held(owner) => Err(busy(ctx, found, owner.as_ref()).into()),
    }
}

fn busy(ctx: &Context, found: &Found, owner: Option<&Owner>) -> Refusal {
    let who = match owner {
        Some(owner) => {
            let age = ctx.clock.now().seconds_since(owner.at);
            format!("process {} on `{}` has worked on it for {age:.0} s", owner.pid, owner.host)
        }
        None => "another process works on it".to_owned(),
    };
    Refusal::new(Kind::Busy, format!("run `{}` is alive: {who}", found.run))
        .hint(format!("follow it with `git orchestrate status --run {} --watch`", found.run))
}

/// A kernel lock says nothing about other machines, nor about a process of the reference.
pub(super) fn refuse_if_alive_elsewhere(
    ctx: &Context,
    found: &Found,
    state: &State,
    before: Option<&Owner>,
) -> Result<()> {
    let manifest = &state.manifest;
    if manifest.status.is_terminal() || manifest.parked_at.is_some() {
        return Ok(());
    }
    // A stage may have removed the file that its owner had locked.
    if let Some(owner) = manifest.owner()
        && owner.host == process::host()
        && owner.pid != std::process::id()
        && process::is_alive(owner)
    {
        return Err(busy(ctx, found, Some(owner)).into());
    }
    // A run that died while it was queued names no owner, but its lease does.
    let here = manifest.owner().or(before).is_some_and(|owner| owner.host == process::host());
    if here || which::pulse(ctx, found, state).liveness.stale {
        return Ok(());
    }
    Err(busy(ctx, found, manifest.owner()).into())
}

fn check_token(found: &Found, manifest: &Manifest, given: Option<&str>) -> Result<(), Refusal> {
    let invalid = |message: String| Refusal::new(Kind::Invalid, message);
    let token = match given {
        Some(token) => token.to_owned(),
        None => std::fs::read_to_string(&found.paths.token)
            .map_err(|err| {
                invalid(format!("the resume token `{}` cannot be read: {err}", found.paths.token.display()))
                    .hint("hand it over with `--token`")
            })?
            .trim()
            .to_owned(),
    };
    let Some(expected) = manifest.resume_token.as_deref() else {
        return Err(invalid(format!("run `{}` has no resume token, so it cannot be resumed", found.run)));
    };
    // Manifests of the reference hold the token itself.
    let matches = equal_in_constant_time(&sha256_hex(token.as_bytes()), expected)
        || (manifest.journal.is_none() && equal_in_constant_time(&token, expected));
    if matches {
        return Ok(());
    }
    Err(invalid(format!("that is not the resume token of run `{}`; nothing was resumed", found.run)))
}

fn verify_plan(found: &Found, manifest: &Manifest, plan: &Plan) -> Result<()> {
    let changed = match &manifest.plan {
        Some(recorded) => recorded.digest != Shared::digest(plan),
        // A run of the reference recorded only what each stage is.
        None => {
            manifest.commands.len() != plan.stages.len()
                || manifest.commands.iter().zip(&plan.stages).any(|(entry, planned)| {
                    let command = match &planned.stage.action {
                        crate::pipeline::Action::Command(action) => Some(action.command.as_str()),
                        crate::pipeline::Action::Subpipeline { .. } => None,
                        crate::pipeline::Action::Manual { .. } => None,
                    };
                    entry.id != planned.stage.id.as_str() || entry.command.as_deref() != command
                })
        }
    };
    if !changed {
        return Ok(());
    }
    let message = format!("pipeline `{}` has changed since run `{}` began", manifest.pipeline_id, found.run);
    Err(Refusal::new(Kind::Unsafe, message)
        .hint("stages that finished were other stages: `git orchestrate start` runs the present pipeline")
        .into())
}

/// Returns why a run should not go on, if the tree is not the one that it began with.
fn moved_tree(shared: &Shared, found: &Found, manifest: &Manifest) -> Result<Option<Refusal>> {
    let Some(before) = manifest.git.as_ref().and_then(|git| git.tree.as_deref()) else { return Ok(None) };
    let finished: Vec<_> = manifest
        .commands
        .iter()
        .filter(|entry| entry.status.is_finished())
        .map(|entry| entry.id.as_str())
        .collect();
    let now = shared.keys(&[])?.0.tree;
    if now.as_deref() == Some(before) {
        return Ok(None);
    }
    let message = format!(
        "the tree has changed since run `{}` began ({} → {}), so what finished ({}) was another tree",
        found.run,
        short(before),
        now.as_deref().map_or("", short),
        if finished.is_empty() { "nothing".to_owned() } else { finished.join(", ") },
    );
    Ok(Some(Refusal::new(Kind::Unsafe, message).hint(
        "`git orchestrate start` runs everything on the present tree; `resume --moved-tree` goes on, \
         and the run proves nothing",
    )))
}

/// Whether the manifest file does not hold the whole journal yet.
fn is_behind(paths: &RunPaths) -> Result<bool> {
    let Some(bytes) = fs::read_if_there(&paths.manifest)? else { return Ok(true) };
    let Ok(on_disk) = serde_json::from_slice::<Manifest>(&bytes) else { return Ok(true) };
    let length = std::fs::metadata(&paths.journal).map_or(0, |meta| meta.len());
    Ok(on_disk.journal.is_some_and(|mark| mark.bytes < length))
}

/// Ends the stages that a dead owner left running: nothing may run twice at the same time.
pub(super) fn end_orphans(found: &Found, manifest: &Manifest, watch: &SharedWatch) -> Result<()> {
    let run = found.run.as_str();
    let leaders = leaders_left(found, manifest)?;
    let orphans = || {
        let mut orphans = process::members(run);
        // A stage may have emptied its environment, but it is still in its group.
        orphans.extend(leaders.iter().flat_map(|leader| process::group(*leader)));
        orphans.sort_unstable();
        orphans.dedup();
        orphans
    };
    side::end(run, orphans, watch)
}

/// Returns the leaders of the groups of stages that had not ended, if they still are the processes
/// that we started.
fn leaders_left(found: &Found, manifest: &Manifest) -> Result<Vec<u32>> {
    if !manifest.owner().is_some_and(process::was_here) || !found.paths.journal.exists() {
        return Ok(Vec::new());
    }
    let mut spawned = HashMap::new();
    journal::events(&found.paths.journal, 0, None, |line, _| {
        if line.starts_with(b"{\"type\":\"stage:spawned\"")
            && let Ok(RunEvent { event: Happened::StageSpawned { pid, process_started }, index, .. }) =
                serde_json::from_slice(line)
        {
            spawned.insert(index, (pid, process_started));
        }
        Ok(())
    })?;
    let ended = |index: &usize| manifest.entry(*index).is_some_and(|e| e.completed_at.is_some());
    spawned.retain(|index, _| *index > 0 && !ended(index));
    let leaders = spawned.into_values().filter(|(pid, began)| process::started(*pid) == Some(*began));
    Ok(leaders.map(|(pid, _)| pid).collect())
}

/// Gives a manifest of the reference a journal of ours to stand on, and says so in its file at
/// once: a journal of ours beside a manifest without a mark would look like an edited one. `foreign`
/// is what the manifest holds and the journal does not.
pub(super) fn adopt(found: &Found, manifest: Manifest, foreign: Sections, lease: Lease) -> Result<Recorder> {
    let known = match found.paths.journal.exists() {
        true => journal::rebuild(&found.paths.journal, None).ok().flatten(),
        false => None,
    };
    if let Some(known) = known {
        // Without a mark the file is older than the journal: the process died in between.
        let manifest = if manifest.journal.is_some() { manifest } else { known };
        let at = manifest.updated_at.context("the manifest tells no time")?;
        let mut recorder = Recorder::open(found.paths.clone(), manifest, lease)?;
        if !foreign.is_empty() {
            recorder.record(Happened::Sections { sections: foreign }, at, 0)?;
        }
        return Ok(recorder);
    }
    let manifest = adopted(manifest).context("the manifest tells no time")?;
    let at = manifest.updated_at.context("the manifest tells no time")?;
    let created = Happened::Created { manifest: Box::new(manifest.clone()) };
    let mut recorder = Recorder::open(found.paths.clone(), manifest, lease)?;
    recorder.record(created, at, 0)?;
    recorder.save(fs::Durability::Power)?;
    Ok(recorder)
}

/// Returns the children that were still running when the owner died.
pub(super) fn abandoned_children(manifest: &Manifest) -> Vec<String> {
    let open = manifest.child_runs.iter().filter(|child| !child.status.is_terminal());
    open.map(|child| child.run_id.clone()).collect()
}

/// Somebody may have resumed a child by itself: the stage that began it must not begin another one
/// beside it.
pub(super) fn refuse_if_a_child_is_alive(ctx: &Context, parent: &Found, manifest: &Manifest) -> Result<()> {
    for child in abandoned_children(manifest).iter().filter_map(|child| child.parse().ok()) {
        let child = parent.sibling(child);
        if Lease::is_held(&child.paths.lease) {
            return Err(busy(ctx, &child, lease::holder(&child.paths.lease).as_ref()).into());
        }
    }
    Ok(())
}

/// Closes a child that nobody will go on with, and its own children: the stage that began it begins
/// a new one. Returns how the child stands then.
pub(super) fn close_child(ctx: &Context, parent: &Found, child: &str, host: &RunHost) -> Result<RunStatus> {
    let Ok(id) = child.parse() else { return Ok(RunStatus::Cancelled) };
    let found = parent.sibling(id);
    let paths = found.paths.clone();
    // It was linked, and the crash came before it was made.
    let Ok(State { manifest, .. }) = catalog::read(&paths) else { return Ok(RunStatus::Cancelled) };
    let status = if manifest.status.is_terminal() { manifest.status } else { RunStatus::Cancelled };
    if manifest.status.is_terminal() && manifest.metrics_recorded && !is_behind(&paths)? {
        return Ok(status);
    }
    let me = process::myself(ctx.clock.now());
    let lease = take_lease(ctx, &found, &me)?;
    let grandchildren = abandoned_children(&manifest);
    let mut recorder = Recorder::open(paths, manifest, lease)?;
    for grandchild in grandchildren {
        let status = close_child(ctx, parent, &grandchild, host)?;
        let event = Happened::ChildFinished { run_id: grandchild, status, moved: false };
        recorder.record(event, ctx.clock.now(), 0)?;
    }
    let outcome = Outcome::new(RunStatus::Cancelled, Some(super::cancel::ABANDONED.to_owned()));
    host.close_abandoned(recorder, outcome)?;
    Ok(status)
}
