//! `push`: runs first what is missing, and connects later; then sends the evidence.

use std::ffi::OsString;

use anyhow::{Context as _, Result};

use super::hook::gate::Remote;
use super::hook::let_pass;
use super::hook::pre_push::{self, Judgement, PrePush};
use super::hook::reason::{self, ALLOW_VARIABLE, VARIABLE};
use super::hook::run::{self, RunOptions};
use super::hook::update::{self, Update};
use super::host::SharedWatch;
use super::start::Pace;
use super::{Context, Kind, Refusal};
use crate::git::{self, NOTES, PushCall, Upkeep, WouldPush};
use crate::guardrail::Override;
use crate::id::{TaskId, short};
use crate::run::manifest::Manifest;
use crate::runner::interrupt::Interrupt;
use crate::sys::daemon;

/// What to push, and how.
#[derive(Clone, Debug)]
pub struct PushOptions {
    /// What follows `git push`.
    pub args: Vec<OsString>,
    pub task: TaskId,
    pub pace: Pace,
    /// Whether a push may change the gate that judges it.
    pub allow_gate_change: bool,
    /// Why something may pass that would be refused, and where that was said.
    pub reason: Option<Override>,
    /// What becomes of what earlier runs left in the side worktree.
    pub upkeep: Upkeep,
    /// Whether stdout is kept free for an answer.
    pub free_stdout: bool,
}

/// What became of a push.
#[derive(Debug)]
pub struct PushOutcome {
    /// What was said about each place that it goes to, in the end.
    pub judgements: Vec<Judgement>,
    pub ran: Vec<Manifest>,
    /// The signal that ended it.
    pub interrupt: Option<Interrupt>,
    /// What git exited with; nothing if it was not called.
    pub git: Option<i32>,
    /// What git said when the push was only tried.
    pub tried: Option<String>,
    /// The remotes that evidence is being sent to.
    pub evidence: Vec<String>,
}

/// Returns what git would push, without any hook of the caller's.
///
/// # Errors
/// If git would push nothing, in its own words.
pub fn would_push(ctx: &Context, args: &[OsString]) -> Result<Vec<(Remote, Vec<Update>)>> {
    match tried(ctx, args)? {
        Tried::Would(places) => Ok(places),
        Tried::Not { said, .. } => Err(Refusal::new(Kind::Rejected, "git would not push").hint(said).into()),
    }
}

enum Tried {
    Would(Vec<(Remote, Vec<Update>)>),
    Not { code: i32, said: String },
}

fn tried(ctx: &Context, args: &[OsString]) -> Result<Tried> {
    let call = PushCall { cwd: ctx.env.cwd(), args };
    let places = match ctx.repo.would_push(call).context("cannot find out what would be pushed")? {
        WouldPush::To(places) => places,
        WouldPush::No { code, said } => return Ok(Tried::Not { code, said }),
    };
    let place =
        |(name, url, lines): (String, String, String)| Ok((Remote { name, url }, update::parse(&lines)?));
    Ok(Tried::Would(places.into_iter().map(place).collect::<Result<_>>()?))
}

/// Runs what is missing and pushes.
pub fn push(ctx: &Context, options: &PushOptions, watch: &SharedWatch) -> Result<PushOutcome> {
    let mut outcome = PushOutcome {
        judgements: Vec::new(),
        ran: Vec::new(),
        interrupt: None,
        git: None,
        tried: None,
        evidence: Vec::new(),
    };
    let places = match tried(ctx, &options.args)? {
        Tried::Would(places) => places,
        Tried::Not { code, said } => {
            outcome.git = Some(code);
            outcome.tried = Some(said);
            return Ok(outcome);
        }
    };
    let only_tried = reason::of_arguments(&options.args).only_tried;
    let asked: Vec<_> = places.into_iter().map(|place| asked(options, place, only_tried)).collect();
    outcome.judgements = judge(ctx, &asked)?;
    let mut todos = Vec::new();
    let mut can_be_mended = true;
    for judgement in &outcome.judgements {
        match judgement.todos() {
            Some(more) => todos.extend(more),
            None => can_be_mended = false,
        }
    }
    if can_be_mended && !todos.is_empty() && !only_tried {
        if ctx.repo.is_bare() {
            return Err(Refusal::usage("a bare repository has no worktree to run in")
                .hint("push from one of its worktrees; `git worktree add` makes one")
                .into());
        }
        let how = RunOptions {
            task: options.task.clone(),
            pace: options.pace,
            join: true,
            upkeep: options.upkeep,
            variables: Vec::new(),
            configuration: None,
        };
        let ran = run::run(ctx, &todos, &how, watch)?;
        let is_good = ran.is_good();
        outcome.ran = ran.manifests;
        outcome.interrupt = ran.interrupt;
        outcome.judgements = judge(ctx, &asked)?;
        if !is_good {
            return Ok(outcome);
        }
        for (remote, update) in
            asked.iter().flat_map(|it| it.updates.iter().map(|update| (&it.remote, update)))
        {
            ensure_still_there(ctx, remote, update)?;
        }
    }
    if outcome.judgements.iter().any(Judgement::is_refused) {
        return Ok(outcome);
    }
    if !only_tried {
        for judgement in &outcome.judgements {
            let_pass::keep(ctx, judgement)?;
        }
    }
    let call = PushCall { cwd: ctx.env.cwd(), args: &options.args };
    let code = git::push(call, &variables(options), options.free_stdout)?;
    outcome.git = Some(code);
    if code == 0 && !only_tried {
        outcome.evidence = send_evidence(ctx, &asked);
    }
    Ok(outcome)
}

fn judge(ctx: &Context, asked: &[PrePush]) -> Result<Vec<Judgement>> {
    asked.iter().map(|asked| pre_push::judge(ctx, asked)).collect()
}

fn asked(options: &PushOptions, (remote, updates): (Remote, Vec<Update>), only_tried: bool) -> PrePush {
    PrePush {
        remote,
        updates,
        allow_gate_change: options.allow_gate_change,
        reason: options.reason.clone(),
        if_configured: false,
        only_tried,
        upkeep: options.upkeep,
    }
}

/// Returns what the hook of this push, which asks again, is told.
fn variables(options: &PushOptions) -> Vec<(&'static str, OsString)> {
    let allow = options.allow_gate_change.then(|| (ALLOW_VARIABLE, OsString::from("1")));
    let reason = options.reason.as_ref().map(|given| (VARIABLE, OsString::from(&given.reason)));
    allow.into_iter().chain(reason).collect()
}

/// What was judged must be what is pushed.
fn ensure_still_there(ctx: &Context, remote: &Remote, update: &Update) -> Result<()> {
    let Some(id) = &update.local_id else { return Ok(()) };
    let now = ctx.repo.object_named(&update.local)?;
    if now.as_ref() == Some(id) {
        return Ok(());
    }
    let now = now.as_deref().map_or("nothing", short);
    let message = format!(
        "`{}` moved while the stages ran: it was {} and is {now}; nothing was pushed to `{}`",
        update.local.escape_debug(),
        short(id),
        remote.name.escape_debug()
    );
    Err(Refusal::new(Kind::Unsafe, message).hint("push again: only what is new has to run").into())
}

/// Has the notes sent to where the push went. Nobody waits for that, and nothing depends on it.
fn send_evidence(ctx: &Context, asked: &[PrePush]) -> Vec<String> {
    if ctx.repo.refs_below(NOTES).map_or(true, |refs| refs.is_empty()) {
        return Vec::new();
    }
    let mut remotes: Vec<_> = asked.iter().map(|asked| asked.remote.name.clone()).collect();
    remotes.dedup();
    let log = ctx.repo.common_dir().join("orchestrate/notes/sent.log");
    remotes.retain(|remote| {
        let words = ["send-evidence", remote.as_str()].map(OsString::from);
        daemon::leave_behind(words, &log).is_ok()
    });
    remotes
}
