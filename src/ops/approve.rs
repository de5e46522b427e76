//! `approve` and `reject`: decide about a stage that waits, from any terminal or worktree.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::detach::{self, Detached};
use super::host::Masking;
use super::which::{self, Question};
use super::{Context, Kind, Refusal, cancel};
use crate::id::TaskId;
use crate::run::approval::{Decision, DecisionSource, Ruling};
use crate::run::manifest::{Manifest, StageEntry};
use crate::run::status::StageStatus;
use crate::runner::interrupt::WAKE;
use crate::store::approvals::{Desk, Left, RulingError, Seat};
use crate::store::catalog::{self, Found, State, Wanted};
use crate::store::lease::{self, Lease};
use crate::sys::process;

/// What to decide about, and who decides.
#[derive(Clone, Debug)]
pub struct DecideOptions {
    pub task: Option<TaskId>,
    pub run: Wanted,
    /// A stage's id, with those of the stages above it where it is one of a child run.
    pub stage: String,
    pub decision: Decision,
    pub actor: String,
    pub reason: Option<String>,
    /// Whether a run that nobody works on goes on.
    pub resume: bool,
}

/// A stage about which there is a decision.
#[derive(Debug)]
pub struct Decided {
    /// The outermost run, as it stands now.
    pub manifest: Manifest,
    pub stage: String,
    pub ruling: Ruling,
    /// Whether nobody had decided the same before.
    pub first: bool,
    /// What an audit names the decision by, if the run has heard of it.
    pub reference: Option<String>,
    /// What to type so that the run goes on, if it does not by itself.
    pub next: Option<String>,
    /// Why it does not, if that was tried: the words stand on stderr.
    pub refused: Option<ExitStatus>,
}

/// How long the run has to take up the decision.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long whoever was first has to make the run go on.
const HEAD_START: Duration = Duration::from_secs(1);
/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Decides about a stage.
pub fn decide(ctx: &Context, options: &DecideOptions) -> Result<Decided> {
    let (found, state) = which::run(ctx, options.task.as_ref(), &options.run)?;
    let masking = Masking::new(&ctx.env, None);
    let mine = Ruling {
        decision: options.decision,
        actor: masking.masked(&options.actor),
        timestamp: ctx.clock.now(),
        reason: options.reason.as_deref().map(|reason| masking.masked(reason)),
        source: DecisionSource::Command,
    };
    let seat = match wanted(&found, &state.manifest, &options.stage)? {
        Some(Question { found: part, manifest, index, id, .. }) => seat(&part, &manifest, index, &id),
        None => match unheard(&found, &state.manifest, &options.stage)? {
            Some(seat) => seat,
            None => return before(ctx, &found, state, options),
        },
    };
    found.layout.check(&found.task)?;
    found.paths.check()?;
    let whole = found.sibling(seat.run.parse().context("the run has an odd name")?);
    whole.paths.check()?;
    let (ruling, first) = match seat.leave(&mine) {
        Ok(Left::First) => (mine, true),
        Ok(Left::Before(theirs)) if theirs.decision == options.decision => (theirs, false),
        Ok(Left::Before(theirs)) => return Err(contradiction(&whole, &seat.stage, &theirs).into()),
        Err(err @ RulingError::Corrupt { .. }) => {
            return Err(Refusal::new(Kind::Invalid, err.to_string())
                .hint("remove that file, and decide again")
                .into());
        }
        Err(RulingError::Path(err)) => return Err(err).context("the decision cannot be stored"),
    };
    wake(&whole);
    see_it_taken(ctx, &whole, &seat, ruling, first, options.resume)
}

/// Returns the question that is meant, if it is open.
fn wanted(found: &Found, manifest: &Manifest, stage: &str) -> Result<Option<Question>> {
    let mut open = which::questions(found, manifest);
    if let Some(at) = open.iter().position(|it| it.waiting.stage == stage) {
        return Ok(Some(open.swap_remove(at)));
    }
    open.retain(|it| it.id == stage);
    if open.len() > 1 {
        let message = format!("several stages `{}` of run `{}` wait", stage.escape_debug(), found.run);
        let names: Vec<_> = open.iter().map(|it| it.waiting.stage.escape_debug().to_string()).collect();
        return Err(Refusal::usage(message).hint(format!("one of: {}", names.join(", "))).into());
    }
    Ok(open.pop())
}

fn seat(part: &Found, manifest: &Manifest, index: usize, id: &str) -> Seat {
    Desk::find(&part.layout, &part.task, &part.paths, manifest).seat(index, id)
}

/// Returns where a decision lies that a run has not heard of, because it died when it was about to go on.
fn unheard(found: &Found, manifest: &Manifest, stage: &str) -> Result<Option<Seat>> {
    let is_open = |entry: &&StageEntry| entry.id == stage && entry.status == StageStatus::Pending;
    let entry = manifest.commands.iter().find(is_open).filter(|_| !manifest.status.is_terminal());
    let Some(entry) = entry else { return Ok(None) };
    let seat = seat(found, manifest, entry.index, &entry.id);
    Ok(seat.unheard()?.map(|_| seat))
}

/// Answers about a stage that does not wait: perhaps because somebody has decided.
fn before(ctx: &Context, found: &Found, state: State, options: &DecideOptions) -> Result<Decided> {
    // The process that heard of it may have died since.
    let next = which::pulse(ctx, found, &state).dead.then(|| which::resume(ctx, found, found.run.as_str()));
    let manifest = state.manifest;
    let (run, stage, shown) = (&found.run, options.stage.as_str(), options.stage.escape_debug().to_string());
    let is_meant = |name: &str| name == stage || name.strip_suffix(stage).is_some_and(|it| it.ends_with('/'));
    let decided = which::approvals(found, &manifest).into_iter().filter_map(|approval| {
        let name = approval.stage.clone().filter(|name| is_meant(name))?;
        Some((approval.timestamp, name, approval.ruling()?, approval.reference))
    });
    if let Some((_, stage, ruling, reference)) = decided.max_by_key(|(at, ..)| *at) {
        if ruling.decision != options.decision {
            return Err(contradiction(found, &stage, &ruling).into());
        }
        return Ok(Decided { manifest, stage, ruling, first: false, reference, next, refused: None });
    }
    let Some(entry) = manifest.commands.iter().find(|entry| entry.id == stage) else {
        return Err(which::no_stage(found, &manifest, stage).into());
    };
    if manifest.status.is_terminal() {
        return Err(cancel::over(found, &manifest).into());
    }
    let message = format!("stage `{shown}` of run `{run}` waits for no decision: it is {}", entry.status);
    Err(Refusal::usage(message).hint(format!("`git orchestrate status {run}` shows what waits")).into())
}

fn contradiction(found: &Found, stage: &str, theirs: &Ruling) -> Refusal {
    let (run, decision, by) = (&found.run, theirs.decision.as_str(), theirs.by());
    let message = format!(
        "stage `{}` of run `{run}` was {decision} before, by {by}, at {}",
        stage.escape_debug(),
        theirs.timestamp
    );
    Refusal::new(Kind::Busy, message)
        .hint(format!("the first decision counts; `git orchestrate status {run}` shows what follows from it"))
}

/// Tells the process that works on the run, if it is one of this machine. It looks by itself otherwise.
fn wake(whole: &Found) {
    let signed = lease::holder(&whole.paths.lease).filter(|_| Lease::is_held(&whole.paths.lease));
    let of_manifest = || catalog::read(&whole.paths).ok()?.manifest.owner().cloned();
    if let Some(owner) = signed.or_else(of_manifest).filter(|owner| owner.host == process::host()) {
        // It may be that of another user, or have gone just now.
        let _ = process::signal_owner(&owner, WAKE);
    }
}

/// Waits until the run has heard of the decision, and makes it go on if nobody works on it.
fn see_it_taken(
    ctx: &Context,
    whole: &Found,
    seat: &Seat,
    ruling: Ruling,
    first: bool,
    resume: bool,
) -> Result<Decided> {
    let begin = Instant::now();
    let (mut tried, mut refused) = (false, None);
    loop {
        let state =
            catalog::read(&whole.paths).with_context(|| format!("cannot read run `{}`", whole.run))?;
        let reference = which::approvals(whole, &state.manifest)
            .into_iter()
            .find(|it| {
                it.stage.as_ref() == Some(&seat.stage) && it.index.is_some_and(|at| it.is_of(&ruling, at))
            })
            .and_then(|approval| approval.reference);
        let is_left = which::is_left(ctx, whole, &state);
        let over = state.manifest.status.is_terminal();
        // One that dies again and again is not for us to bring back for ever.
        let given_up = is_left && (!resume || tried);
        if reference.is_some() || over || given_up || begin.elapsed() > PATIENCE {
            // A run that has heard of it may wait for other decisions, or may have died since.
            let is_stuck = is_left && (reference.is_none() || which::pulse(ctx, whole, &state).dead);
            let next = is_stuck.then(|| which::resume(ctx, whole, whole.run.as_str()));
            let (stage, manifest) = (seat.stage.clone(), state.manifest);
            let refused = refused.filter(|_| given_up);
            return Ok(Decided { manifest, stage, ruling, first, reference, next, refused });
        }
        if is_left && (first || begin.elapsed() > HEAD_START) {
            tried = true;
            refused = go_on(ctx, whole, seat, &ruling)?;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Lets a process of its own go on with the run. Returns why it does not.
fn go_on(ctx: &Context, whole: &Found, seat: &Seat, ruling: &Ruling) -> Result<Option<ExitStatus>> {
    let reason = format!("stage '{}' was {}", seat.stage, ruling.decision.as_str());
    let words = ["resume", "--detach", "--task", whole.task.as_str(), "--run", whole.run.as_str()];
    let who = [format!("--actor={}", ruling.actor), format!("--reason={reason}")];
    let args = words.into_iter().map(str::to_owned).chain(who).map(Into::into);
    let elsewhere = (whole.layout != ctx.layout).then_some(whole.layout.root.as_path());
    match detach::hand_over(elsewhere, args)? {
        Detached::Owned(_) => Ok(None),
        Detached::Refused(status) => Ok(Some(status)),
    }
}
