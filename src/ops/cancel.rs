//! `cancel`: end a run that somebody else works on, or that nobody works on any more.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use super::host::{Masking, RunHost, Shared, SharedWatch};
use super::plan::{self, PlanOptions};
use super::resume;
use super::side::Side;
use super::start::Pace;
use super::{Context, Kind, Refusal, fleet, which};
use crate::git::Repo;
use crate::id::TaskId;
use crate::pipeline::Source;
use crate::pipeline::plan::Plan;
use crate::run::event::Happened;
use crate::run::manifest::{Cancellation, Manifest, Owner};
use crate::run::status::RunStatus;
use crate::runner::{GRACE, Host, Outcome};
use crate::store::catalog::{self, Found, State, Wanted};
use crate::store::lease::{self, Lease};
use crate::sys::{fs, process};

/// Which run to end, and who asks.
#[derive(Clone, Debug)]
pub struct CancelOptions {
    pub task: Option<TaskId>,
    pub run: Wanted,
    pub actor: String,
    pub reason: Option<String>,
}

/// The detail of a run that ended because somebody asked for it.
pub const DETAIL: &str = "cancelled:request";
/// The detail of a run that was closed because its owner was gone, and whoever began it goes on without it.
pub const ABANDONED: &str = "abandoned";

/// How long a run has to end: its stage gets some grace, and then there is the evidence to write.
const PATIENCE: Duration = GRACE.saturating_add(Duration::from_secs(20));
/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Ends a run. Returns its final state.
pub fn cancel(ctx: &Context, options: &CancelOptions, watch: &SharedWatch) -> Result<Manifest> {
    let (found, state) = which::run(ctx, options.task.as_ref(), &options.run)?;
    if state.manifest.status.is_terminal() {
        return Err(over(&found, &state.manifest).into());
    }
    refuse_a_part(ctx, &found, &state.manifest)?;
    found.paths.check()?;
    let masking = Masking::new(&ctx.env, None);
    let cancellation = Cancellation {
        actor: masking.masked(&options.actor),
        reason: options.reason.as_deref().map(|reason| masking.masked(reason)),
        requested_at: ctx.clock.now(),
    };
    let begin = Instant::now();
    let mut asked = false;
    loop {
        let state =
            catalog::read(&found.paths).with_context(|| format!("cannot read run `{}`", found.run))?;
        let held = Lease::is_held(&found.paths.lease);
        if state.manifest.status.is_terminal() && !held {
            return match state.manifest.status {
                RunStatus::Cancelled => Ok(state.manifest),
                _ => Err(over(&found, &state.manifest).into()),
            };
        }
        if which::is_left(ctx, &found, &state) {
            return bury(ctx, &found, Some(cancellation), watch);
        }
        if !asked {
            ask(&found, &state, held, &cancellation)?;
            asked = true;
        }
        if begin.elapsed() > PATIENCE {
            let message = format!("run `{}` was asked to end, and has not ended yet", found.run);
            return Err(Refusal::new(Kind::Busy, message)
                .hint(format!("follow it with `git orchestrate status {} --watch`", found.run))
                .into());
        }
        std::thread::sleep(PAUSE);
    }
}

pub(super) fn over(found: &Found, manifest: &Manifest) -> Refusal {
    let (run, status) = (&found.run, manifest.status);
    let refusal = Refusal::new(Kind::Usage, format!("run `{run}` is over: it has ended as {status}"));
    let is_busy = status == RunStatus::Succeeded && Lease::is_held(&found.paths.lease);
    match lease::holder(&found.paths.lease).filter(|owner| is_busy && owner.host == process::host()) {
        // What follows from a run does not change how it ended.
        Some(Owner { pid, .. }) => refusal.hint(format!(
            "process {pid} is at what follows, such as learning from it: `kill -TERM {pid}` ends that"
        )),
        None => refusal.hint(format!("`git orchestrate status {run}` shows how")),
    }
}

/// A part of a run ends with the whole: one process works on both.
fn refuse_a_part(ctx: &Context, found: &Found, manifest: &Manifest) -> Result<()> {
    let Some(parent) = manifest.parent_run_id.as_deref().and_then(|parent| parent.parse().ok()) else {
        return Ok(());
    };
    let Ok((parent, state)) = which::run(ctx, Some(&found.task), &Wanted::Id(parent)) else { return Ok(()) };
    let same = state.manifest.owner().map(|owner| owner.pid) == manifest.owner().map(|owner| owner.pid);
    let parked = state.manifest.parked_at.is_some();
    if state.manifest.status.is_terminal() || !same || parked || which::pulse(ctx, &parent, &state).dead {
        return Ok(());
    }
    let message = format!("run `{}` is a part of run `{}`, and ends with it only", found.run, parent.run);
    Err(Refusal::new(Kind::Usage, message).hint(format!("git orchestrate cancel {}", parent.run)).into())
}

/// Leaves word of who asks and why, and then wakes the owner.
fn ask(found: &Found, state: &State, held: bool, cancellation: &Cancellation) -> Result<()> {
    let run = &found.run;
    // The lease names a new owner before the manifest does.
    let signed = lease::holder(&found.paths.lease).filter(|_| held);
    let owner = signed.as_ref().or(state.manifest.owner());
    let Some(owner) = owner else {
        let message = format!("run `{run}` does not say which process works on it");
        return Err(Refusal::new(Kind::Busy, message)
            .hint("try again in 30 s: a run without a heartbeat can be cancelled then")
            .into());
    };
    if owner.host != process::host() {
        let message = format!(
            "run `{run}` is worked on by process {} on `{}`, which cannot be reached from here",
            owner.pid, owner.host
        );
        return Err(Refusal::new(Kind::Busy, message)
            .hint(format!("type `git orchestrate cancel {run}` on `{}`", owner.host))
            .into());
    }
    let request = found.paths.cancel_request(state.manifest.attempt());
    let words = serde_json::to_vec(cancellation).expect("a request has string keys");
    match fs::write_new(&request, &[words.as_slice(), b"\n"].concat(), 0o600) {
        Ok(()) => fs::sync_dir(&found.paths.dir)?,
        Err(err) if err.source.kind() == std::io::ErrorKind::AlreadyExists => {
            // Somebody asked before. A second signal would take the stage's grace away.
            let before = requested(&request);
            let recent = before.is_some_and(|before| {
                cancellation.requested_at.seconds_since(before.requested_at) < GRACE.as_secs_f64()
            });
            if recent {
                return Ok(());
            }
        }
        Err(err) => return Err(err).context("the request cannot be stored"),
    }
    signal(found, owner)
}

fn signal(found: &Found, owner: &Owner) -> Result<()> {
    match process::signal_owner(owner, Signal::TERM) {
        // One that is gone is noticed by the next look.
        Ok(_) => Ok(()),
        Err(err) => {
            let message =
                format!("process {} works on run `{}` and cannot be signalled: {err}", owner.pid, found.run);
            Err(Refusal::new(Kind::Unsafe, message).hint("the user who started it can cancel it").into())
        }
    }
}

/// Returns what a request says, if it is there.
pub fn requested(path: &std::path::Path) -> Option<Cancellation> {
    serde_json::from_slice(&fs::read_if_there(path).ok()??).ok()
}

/// Ends what is left of a run whose stage in another run has ended. Returns how it stands; nothing if somebody goes on
/// with it.
pub(super) fn close(ctx: &Context, found: &Found, watch: &SharedWatch) -> Result<Option<RunStatus>> {
    // It was to be made, and was not: what kept it from that is told by its stage.
    let Ok(state) = catalog::read(&found.paths) else { return Ok(Some(RunStatus::Failed)) };
    match state.manifest.status {
        _ if Lease::is_held(&found.paths.lease) => Ok(None),
        status if status.is_terminal() => Ok(Some(status)),
        _ if which::is_left(ctx, found, &state) => Ok(Some(bury(ctx, found, None, watch)?.status)),
        _ => Ok(None),
    }
}

/// Ends a run whose owner is gone: what is still running, then the record.
fn bury(
    ctx: &Context,
    found: &Found,
    cancellation: Option<Cancellation>,
    watch: &SharedWatch,
) -> Result<Manifest> {
    // The run may be one of another worktree.
    let root = &found.layout.root;
    let repo = Repo::discover(root)?;
    let (root, layout) = (root.clone(), found.layout.clone());
    let home = Context { repo, layout, root, env: ctx.env.clone(), clock: ctx.clock };
    home.layout.check(&found.task)?;
    let me = process::myself(home.clock.now());
    let lease = resume::take_lease(&home, found, &me)?;
    let mut state = catalog::read(&found.paths)?;
    if state.manifest.status.is_terminal() {
        return Err(over(found, &state.manifest).into());
    }
    resume::refuse_if_alive_elsewhere(&home, found, &state, lease.before.as_ref())?;
    let foreign = super::verify::manifest(found, &mut state.manifest)?;
    // What a run did to its side worktree is seen there, as long as nobody had it since.
    let in_side = state.manifest.git.as_ref().is_some_and(|git| git.worktree.slot.is_some());
    let mut side = Side::of_run(&home, &state.manifest, watch).unwrap_or_else(|err| {
        watch.borrow_mut().warn(&format!("cannot look at the side worktree of the run: {err:#}"));
        None
    });
    let there = side.as_ref().map(|side| side.as_left(&home));
    let displaced = in_side && side.is_none();
    let there = there.as_ref().unwrap_or(&home);
    let plan = plan_of(there, &state.manifest)?;
    let shared = Rc::new(Shared::new(there, found.task.clone(), &plan, watch.clone())?);
    // Those that are runs of their own end with what their stage left.
    let is_above = fleet::is_above(&state.manifest);
    if !is_above {
        resume::refuse_if_a_child_is_alive(&home, found, &state.manifest)?;
    }
    resume::end_orphans(found, &state.manifest, watch)?;
    let recorder = resume::adopt(found, state.manifest, foreign, lease)?;
    let limits = Pace::default().limits(&plan);
    let mut host = RunHost::reopen(shared, plan, recorder, limits);
    if displaced {
        host = host.displaced();
    }
    for child in resume::abandoned_children(host.manifest()) {
        let status = match is_above {
            true => close_apart(&home, &child, watch)?,
            false => resume::close_child(&home, found, &child, &host)?,
        };
        host.tell(Happened::ChildFinished { run_id: child, status, moved: false }, 0)?;
    }
    let detail = match cancellation {
        Some(cancellation) => {
            host.tell(Happened::CancelRequested { cancellation }, 0)?;
            DETAIL
        }
        None => ABANDONED,
    };
    let manifest = host.end(Outcome::new(RunStatus::Cancelled, Some(detail.to_owned())))?;
    if let Some(side) = &mut side {
        side.used(&manifest, watch)?;
    }
    Ok(manifest)
}

/// Closes a run that is a stage of one whose owner is gone. Returns how it stands.
fn close_apart(ctx: &Context, run: &str, watch: &SharedWatch) -> Result<RunStatus> {
    // It was linked, and the crash came before it was made.
    let Ok(id) = run.parse() else { return Ok(RunStatus::Cancelled) };
    let Ok((found, state)) = which::run(ctx, None, &Wanted::Id(id)) else { return Ok(RunStatus::Cancelled) };
    Ok(close(ctx, &found, watch)?.unwrap_or(state.manifest.status))
}

/// Returns the plan of a run, for its summary. The pipeline may be gone, or no plan any more; the
/// stages that the manifest lists are what counts then.
fn plan_of(ctx: &Context, manifest: &Manifest) -> Result<Plan> {
    let pipeline = manifest.pipeline_id.parse().ok();
    let target = manifest.plan.as_ref().and_then(|plan| plan.only.clone());
    let options = PlanOptions { pipeline, target, target_of_environment: false };
    let planned = plan::plan(ctx, &options).ok();
    let same =
        |plan: &Plan| manifest.plan.as_ref().is_some_and(|recorded| recorded.digest == Shared::digest(plan));
    match planned.filter(same) {
        Some(plan) => Ok(plan),
        None => Ok(Plan {
            guardrails_required: manifest.guardrails_required.unwrap_or(true),
            ..Plan::empty(manifest.pipeline_id.parse()?, manifest.pipeline_title.clone(), Source::User)
        }),
    }
}
