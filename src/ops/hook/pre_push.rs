//! `pre-push`: whether what is pushed is proven, asked about each ref's own tree.

use anyhow::Result;

use super::super::host::SharedWatch;
use super::super::plan::Project;
use super::super::{Context, Kind, Refusal};
use super::gate::{self, Base, Remote, Ruling};
use super::let_pass;
use super::proof::{StageState, State, Why, states};
use super::required::{Wanted, required};
use super::run::{self, Ran, RunOptions, Todo, TodoPipeline};
use super::update::Update;
use super::{guards, reason};
use crate::git::{Commit, NOTES, Pushed, Upkeep};
use crate::guardrail::{Override, Verdict};
use crate::pipeline::config::FILE_NAME;
use crate::pipeline::hooks::{Gate, OnMissing};
use crate::run::stamp::Stamp;

/// What is about to be pushed, and what the caller says about it.
#[derive(Clone, Debug)]
pub struct PrePush {
    pub remote: Remote,
    pub updates: Vec<Update>,
    /// Whether a push may change the gate that judges it.
    pub allow_gate_change: bool,
    /// Why something may pass that would be refused.
    pub reason: Option<Override>,
    /// Whether nobody has to have said anything about hooks, as where a hook is there for all repositories.
    pub if_configured: bool,
    /// Whether nothing will be pushed in the end.
    pub only_tried: bool,
    /// What becomes of what earlier runs left in the side worktree.
    pub upkeep: Upkeep,
}

/// What is said about a push.
#[derive(Debug)]
pub struct Judgement {
    pub remote: Remote,
    pub refs: Vec<OfRef>,
    pub ran: Vec<crate::run::manifest::Manifest>,
    pub now: Stamp,
    /// Whether there is no worktree in which anything could run.
    pub is_bare: bool,
}

/// What is said about one ref.
#[derive(Debug)]
pub struct OfRef {
    pub update: Update,
    pub standing: RefStanding,
}

/// How a ref stands.
#[derive(Debug)]
pub enum RefStanding {
    /// It is none of our business.
    Exempt(Exempt),
    Judged(Box<Judged>),
    /// It cannot be judged.
    Problem {
        error: anyhow::Error,
        commit: Option<Commit>,
        reason: Option<Override>,
    },
}

/// Why a ref is not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exempt {
    /// It is to be deleted.
    Deleted,
    /// Our own notes.
    Evidence,
    /// The gate says nothing about refs of this name.
    NotGated,
    /// A tag of something that is no commit.
    NoCommit,
    /// Nobody asks for anything here.
    NoGate,
}

/// What is known about a commit that is to be pushed.
#[derive(Debug)]
pub struct Judged {
    pub commit: Commit,
    pub base: Option<Base>,
    pub gate: Gate,
    pub ruling: Ruling,
    pub verdicts: Vec<Verdict>,
    pub stages: Vec<StageState>,
    pub wanted: Vec<Wanted>,
    /// Why it may pass all the same.
    pub reason: Option<Override>,
    /// How many seconds usually go by for what is missing, if that is known.
    pub usual_seconds: Option<f64>,
}

impl Judged {
    /// Returns the stages that are not proven.
    pub fn missing(&self) -> impl Iterator<Item = &StageState> {
        self.stages.iter().filter(|stage| !stage.state.is_proven())
    }

    /// Returns the first run that proved nothing of a stage, and that stage.
    pub fn unproven(&self) -> Option<(&str, &str)> {
        self.missing().find_map(|state| match &state.state {
            State::Missing(Why::Unproven { run_id, .. }) => Some((run_id.as_str(), state.id.as_str())),
            _ => None,
        })
    }

    /// Whether the change changes its own gate, and nobody allowed it.
    pub fn changes_gate(&self) -> bool {
        !self.ruling.changes.is_empty() && !self.ruling.allowed
    }

    /// Whether a guardrail says no.
    pub fn is_stopped(&self) -> bool {
        self.verdicts.iter().any(Verdict::stops)
    }

    /// Whether something is missing that is not only told about.
    pub fn lacks_proof(&self) -> bool {
        self.gate.on_missing == OnMissing::Refuse && self.missing().next().is_some()
    }

    pub(in crate::ops) fn would_be_refused(&self) -> bool {
        self.changes_gate() || self.is_stopped() || self.lacks_proof()
    }

    /// Takes a reason into account where something would be refused, or already passed for it.
    pub(in crate::ops) fn hear(&mut self, reason: Option<&Override>) {
        if self.would_be_refused() || self.verdicts.iter().any(|it| it.overridden.is_some()) {
            self.reason = reason.cloned();
        }
    }

    /// Whether all that is wrong is that something has to be run.
    pub fn needs_only_a_run(&self) -> bool {
        let runnable = |stage: &StageState| match &stage.state {
            State::Proven(_) => true,
            State::Missing(why) => why.can_be_run(),
        };
        self.missing().next().is_some()
            && !self.changes_gate()
            && !self.is_stopped()
            && self.stages.iter().all(runnable)
    }

    pub(super) fn todo(&self) -> Option<Todo> {
        let pipelines = self.wanted.iter().filter_map(|wanted| TodoPipeline::of(wanted, &self.stages));
        let pipelines: Vec<_> = pipelines.collect();
        (!pipelines.is_empty()).then(|| Todo { commit: self.commit.clone(), pipelines })
    }
}

impl OfRef {
    /// Whether it may not be pushed.
    pub fn is_refused(&self) -> bool {
        match &self.standing {
            RefStanding::Exempt(_) => false,
            RefStanding::Judged(judged) => judged.would_be_refused() && judged.reason.is_none(),
            RefStanding::Problem { reason, .. } => reason.is_none(),
        }
    }
}

impl Judgement {
    /// Whether anything may not be pushed.
    pub fn is_refused(&self) -> bool {
        self.refs.iter().any(OfRef::is_refused)
    }

    /// Whether a reader should see more than that it may be pushed.
    pub fn is_remarkable(&self) -> bool {
        let is_plain = |of: &OfRef| match &of.standing {
            RefStanding::Exempt(_) => true,
            RefStanding::Judged(judged) => judged.missing().next().is_none() && judged.reason.is_none(),
            RefStanding::Problem { .. } => false,
        };
        !self.refs.iter().all(is_plain)
    }

    /// Takes in what is said about another place.
    pub fn join(&mut self, other: Self) {
        self.refs.extend(other.refs);
        self.ran.extend(other.ran);
    }

    /// Whether something that is refused is broken, and not only unproven.
    pub fn is_broken(&self) -> bool {
        self.refs.iter().any(|of| matches!(of.standing, RefStanding::Problem { .. }) && of.is_refused())
    }

    /// Returns what is to be run, if that is all that is wrong with what is to be pushed.
    pub fn todos(&self) -> Option<Vec<Todo>> {
        let mut todos: Vec<Todo> = Vec::new();
        for of in &self.refs {
            match &of.standing {
                RefStanding::Exempt(_) => {}
                RefStanding::Problem { reason: Some(_), .. } => {}
                RefStanding::Problem { .. } => return None,
                RefStanding::Judged(judged) if judged.reason.is_some() => {}
                RefStanding::Judged(judged) if judged.needs_only_a_run() => {
                    // Several refs may name one tree.
                    let is_new = |todo: &Todo| !todos.iter().any(|it| it.commit.tree == todo.commit.tree);
                    todos.extend(judged.todo().filter(is_new));
                }
                RefStanding::Judged(_) if of.is_refused() => return None,
                RefStanding::Judged(_) => {}
            }
        }
        Some(todos)
    }
}

/// Judges each ref, and runs nothing.
pub fn judge(ctx: &Context, asked: &PrePush) -> Result<Judgement> {
    let mut refs = Vec::new();
    for update in &asked.updates {
        let mut standing = of_ref(ctx, asked, update).unwrap_or_else(|error| RefStanding::Problem {
            commit: None,
            error,
            reason: asked.reason.clone(),
        });
        if let RefStanding::Problem { commit, .. } = &mut standing
            && let Some(id) = &update.local_id
            && let Ok(Pushed::Commit(named)) = ctx.repo.pushed(id)
        {
            *commit = Some(named);
        }
        refs.push(OfRef { update: update.clone(), standing });
    }
    let (remote, now, is_bare) = (asked.remote.clone(), ctx.clock.now(), ctx.repo.is_bare());
    Ok(Judgement { remote, refs, ran: Vec::new(), now, is_bare })
}

fn of_ref(ctx: &Context, asked: &PrePush, update: &Update) -> Result<RefStanding> {
    let exempt = |why| Ok(RefStanding::Exempt(why));
    let Some(id) = &update.local_id else { return exempt(Exempt::Deleted) };
    if update.remote.starts_with(NOTES) {
        return exempt(Exempt::Evidence);
    }
    let commit = match ctx.repo.pushed(id)? {
        Pushed::Commit(commit) => commit,
        Pushed::Other => return exempt(Exempt::NoCommit),
        Pushed::Missing => {
            return Err(Refusal::usage(format!("`{id}` is not in this repository")).into());
        }
    };
    let base = match gate::base(ctx, &asked.remote, update, &commit) {
        Err(_) if asked.if_configured && !Project::was_ever_at(ctx, &commit.id)? => {
            return exempt(Exempt::NoGate);
        }
        base => base?,
    };
    let project = match Project::at(ctx, &commit.id) {
        Err(_) if gate::is_not_about(ctx, base.as_ref(), &update.remote) => return exempt(Exempt::NotGated),
        project => project?,
    };
    let mut ruling =
        gate::rule(ctx, &asked.remote, base.as_ref(), &project, &commit, asked.allow_gate_change)?;
    let Some(gate) = ruling.gate.take() else {
        let is_fine = asked.if_configured || ruling.allowed;
        return if is_fine { exempt(Exempt::NoGate) } else { Err(no_gate(project.text.is_some()).into()) };
    };
    if !gate.is_about(&update.remote) {
        return exempt(Exempt::NotGated);
    }
    let wanted = required(&project, &gate.require).map_err(|err| cannot_ask(err, &ruling))?;
    let mut stages = Vec::new();
    for wanted in &wanted {
        stages.extend(states(ctx, wanted, &commit, &ruling.evidence)?);
    }
    let verdicts = guards::judge(ctx, &gate.guardrails, base.as_ref(), &commit, asked.reason.as_ref())?;
    let mut judged =
        Judged { commit, base, gate, ruling, verdicts, stages, wanted, reason: None, usual_seconds: None };
    judged.hear(asked.reason.as_ref());
    Ok(RefStanding::Judged(Box::new(judged)))
}

/// Says whose gate it is that asks for what is not there, and what to do about it.
fn cannot_ask(err: anyhow::Error, ruling: &Ruling) -> anyhow::Error {
    let refusal = match err.downcast::<Refusal>() {
        Ok(refusal) => refusal,
        Err(err) => return err,
    };
    let is_own = ruling.from == gate::OWN;
    let mut hint = refusal.hint.unwrap_or_default();
    hint += if is_own { "\nmend `require`, and commit that" } else { "\nput it back, and commit that" };
    if !ruling.changes.is_empty() && !ruling.allowed {
        hint += "\nor, if that is meant: git orchestrate push --allow-gate-change …";
    }
    hint += &format!("\nor, this once: {}='why' git push …", reason::VARIABLE);
    let whose = if is_own { "the gate".to_owned() } else { format!("the gate of `{}`", ruling.from) };
    Refusal { message: format!("{whose}: {}", refusal.message), hint: Some(hint), ..refusal }.into()
}

/// Says that nobody asks for anything, which is most likely not what was meant where a hook is.
fn no_gate(is_there: bool) -> Refusal {
    let message = match is_there {
        true => format!("`{FILE_NAME}` has no `hooks.pre-push`, so nothing says what a push needs"),
        false => format!("there is no `{FILE_NAME}` in what is pushed, so nothing says what a push needs"),
    };
    let hint = format!(
        "commit such a line: \"hooks\": {{\"pre-push\": {{\"require\": [\"test\"]}}}}\n\
         or take the hook away: git orchestrate hooks uninstall pre-push\n\
         or, this once: {}='why' git push …",
        reason::VARIABLE
    );
    Refusal::new(Kind::Usage, message).hint(hint)
}

/// Answers git: judges, runs what is missing if that usually takes no longer than the gate lets it, and keeps
/// what was let pass.
pub fn answer(ctx: &Context, asked: &PrePush, watch: &SharedWatch) -> Result<Judgement> {
    let mut judgement = judge(ctx, asked)?;
    if let Some(todos) = judgement.todos().filter(|todos| !todos.is_empty() && !ctx.repo.is_bare()) {
        let usual = run::usual_seconds(ctx, &todos)?;
        let mut limit = f64::INFINITY;
        for of in &mut judgement.refs {
            if let RefStanding::Judged(judged) = &mut of.standing
                && judged.missing().next().is_some()
            {
                judged.usual_seconds = usual;
                limit = limit.min(judged.gate.inline_seconds as f64);
            }
        }
        if usual.is_some_and(|usual| usual <= limit) {
            let options = RunOptions {
                task: run::task(ctx)?,
                pace: Default::default(),
                join: false,
                upkeep: asked.upkeep,
                variables: Vec::new(),
                configuration: None,
            };
            let Ran { manifests, interrupt } = run::run(ctx, &todos, &options, watch)?;
            if let Some(interrupt) = interrupt {
                let message = format!("cancelled by {}; nothing was pushed", interrupt.name());
                return Err(Refusal::new(Kind::Cancelled(interrupt), message).into());
            }
            judgement = judge(ctx, asked)?;
            judgement.ran = manifests;
        }
    }
    if !judgement.is_refused() && !asked.only_tried {
        let_pass::keep(ctx, &judgement)?;
    }
    Ok(judgement)
}
