//! The world of one run: the runner's events on their way to `.runs/`, and what follows from them.

mod adhoc;
mod asked;
mod budgeted;
mod fix;
mod learn;
mod outpost;
mod proof;
mod queued;
mod reuse;
mod shared;
mod traced;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Kind, Refusal, cancel};
use crate::id::RunId;
use crate::net::trace::TRACEPARENT;
use crate::output::mask::{MaskMode, Masker};
use crate::pipeline::plan::{Plan, PlannedStage};
use crate::pipeline::{Action, Command, Stage};
use crate::proof::Record;
use crate::run::approval::{Decision, Ruling};
use crate::run::event::{Happened, RunEnd};
use crate::run::manifest::{Cancellation, Manifest, Owner, StageEntry};
use crate::run::stamp::Stamp;
use crate::run::status::{RunStatus, StageStatus};
use crate::run::summary::Subtask;
use crate::run::{coverage, metrics, summary};
use crate::runner::interrupt::Interrupts;
use crate::runner::{self, ChildEnd, Host, Known, Limits, Outcome, Question, Setup, Stream};
use crate::store::approvals::Desk;
use crate::store::lease::{Asked, Lease};
use crate::store::pointers::pretty;
use crate::store::recorder::{RecordError, Recorder};
use crate::store::{self, history, verdicts};
use crate::sys::budget::{Budget, Wish};
use crate::sys::digest::random_hex;
use crate::sys::fs::{self, Appender, Durability, Lock, PathError};
use crate::sys::{later, process};

pub use outpost::{AS_RUN, Outpost};
pub use proof::{TOOL, inputs, keyed, record_of, surroundings, tree_subject};
pub use reuse::{ReuseOptions, max_age, rules};
pub(in crate::ops) use shared::stage_env;
pub use shared::{Masking, Shared, SharedWatch, Watch};

/// How long a run that ended waits for the files that all runs of its task share.
const PATIENCE: Duration = Duration::from_secs(10);

/// One run, from its creation to its last file.
pub struct RunHost {
    shared: Rc<Shared>,
    plan: Plan,
    recorder: Recorder,
    /// The logs of the commands that run, by stage.
    logs: HashMap<usize, Appender>,
    depth: usize,
    limits: Limits,
    approval_policy: Option<String>,
    /// Where somebody asks for the end of this attempt, or of that of the outermost run.
    cancel_request: PathBuf,
    lookup: reuse::Lookup,
    /// What [`RunHost::record_proof`] returned, where that came before the rest of what follows from the verdict.
    proven: Option<Option<Record>>,
    /// What marks the processes that began this run: the stages of other runs that it is a part of.
    lineage: String,
    /// Where decisions about its stages are left.
    desk: Desk,
    /// The stages about which something was left that is no decision.
    doubted: HashSet<usize>,
    /// Whether somebody else uses the worktree of the run by now.
    displaced: bool,
    /// The stages that are runs of their own.
    outposts: HashMap<usize, Outpost>,
}

/// What a new run is called, and whose child it is.
pub struct Origin<'a> {
    pub run: RunId,
    pub parent: Option<&'a str>,
    depth: usize,
    lineage: &'a str,
    /// Where the end of the parent is asked for.
    cancel_request: Option<&'a Path>,
    /// Where decisions are left, if it is a part of another run.
    desk: Option<Desk>,
    reuse: ReuseOptions,
}

impl<'a> Origin<'a> {
    /// Returns the origin of a run that somebody asked for.
    pub fn asked(shared: &'a Shared, parent: Option<&'a str>, reuse: ReuseOptions) -> Result<Self> {
        let lineage = &shared.lineage;
        // Whoever made the stage that we are has named its run.
        let named = shared
            .as_run
            .clone()
            .filter(|run| parent.is_some() && !shared.layout.run(&shared.task, run).dir.exists());
        let run = named.map_or_else(|| shared.new_run(), Ok)?;
        Ok(Self { run, parent, depth: 0, lineage, cancel_request: None, desk: None, reuse })
    }
}

impl RunHost {
    /// Makes a run that is queued: everything is on disk that must be before it starts.
    pub fn create(
        shared: Rc<Shared>,
        plan: Plan,
        origin: Origin<'_>,
        limits: Limits,
        approval_policy: Option<String>,
    ) -> Result<Self> {
        let Origin { run, parent, depth, lineage, cancel_request, desk, reuse } = origin;
        let lineage = lineage.to_owned();
        // Whoever asked for a detached run waits for its journal, and for nothing else.
        let answers_early = depth == 0 && shared.watch.borrow().is_detached();
        if answers_early || (depth == 0 && reuse::is_wanted(&plan, reuse)) {
            later::begin();
        }
        let (git, inputs) = shared.keys(&proof::inputs(&plan))?;
        let proof = shared.proof_keys(&plan, &git, &inputs);
        let stages = proof.iter().flat_map(|proof| &proof.stages);
        for keyed in stages.filter(|keyed| keyed.selects_nothing()) {
            shared.watch.borrow_mut().warn(&format!(
                "`inputs` of stage `{}` select no file, so its verdict is about the whole tree",
                keyed.id
            ));
        }
        let at = shared.clock.now();
        let token = random_hex::<32>().context("no randomness")?;
        let paths = shared.layout.run(&shared.task, &run);
        let manifest = queued::manifest(
            &shared,
            &plan,
            &run,
            &paths,
            git,
            proof,
            parent,
            depth,
            limits,
            reuse,
            approval_policy.clone(),
            &token,
            at,
        );
        let stored = || -> Result<Recorder> {
            let cli = paths.dir.parent().expect("a run has a folder above it");
            // The first sync takes most of what is there by then with it, so all syncs come last.
            let mut folders = vec![paths.dir.clone(), cli.to_owned()];
            folders.extend(fs::begin_dir_all(cli)?);
            fs::create_private_dir(&paths.dir)?;
            let me = process::myself(at);
            let Asked::Granted(lease) = Lease::ask(&paths.lease, &me)? else {
                return Err(Refusal::new(Kind::Busy, format!("somebody else made run `{run}`")).into());
            };
            let recorder = Recorder::create(paths.clone(), &folders, manifest, &token, lease, at)?;
            if !answers_early {
                recorder.point(&shared.layout, at)?;
            }
            Ok(recorder)
        };
        let recorder = stored().context("the run cannot be stored, so it does not start")?;
        let desk = desk.unwrap_or_else(|| Desk::of(&paths, run.as_str()));
        let mut host = Self::of(shared, plan, recorder, limits, reuse, desk);
        (host.depth, host.lineage) = (depth, lineage);
        host.approval_policy = approval_policy;
        if let Some(request) = cancel_request {
            host.cancel_request = request.to_owned();
        }
        Ok(host)
    }

    /// Returns the host of the next attempt of a run that nobody else is a part of.
    fn of(
        shared: Rc<Shared>,
        plan: Plan,
        recorder: Recorder,
        limits: Limits,
        reuse: ReuseOptions,
        desk: Desk,
    ) -> Self {
        Self {
            approval_policy: recorder.manifest().approval_policy.clone(),
            cancel_request: recorder.paths().cancel_request(recorder.manifest().next_attempt()),
            lineage: shared.lineage.clone(),
            lookup: shared.lookup(reuse),
            proven: None,
            shared,
            plan,
            recorder,
            logs: HashMap::new(),
            depth: 0,
            limits,
            desk,
            doubted: HashSet::new(),
            displaced: false,
            outposts: HashMap::new(),
        }
    }

    /// Goes on with a run that was interrupted.
    pub fn reopen(shared: Rc<Shared>, plan: Plan, recorder: Recorder, limits: Limits) -> Self {
        let desk = Desk::find(&shared.layout, &shared.task, recorder.paths(), recorder.manifest());
        let recorded = recorder.manifest().plan.as_ref();
        let reuse = recorded.map(|plan| ReuseOptions { reuse: plan.reuse, join: plan.join });
        Self::of(shared, plan, recorder, limits, reuse.unwrap_or_default(), desk)
    }

    /// Says that somebody else uses the worktree of the run by now, or nobody: what is there tells nothing
    /// about the run.
    pub fn displaced(self) -> Self {
        Self { displaced: true, ..self }
    }

    /// Returns who works on the run: this process.
    pub fn owner(&self) -> Owner {
        process::myself(self.shared.clock.now())
    }

    /// Returns the state of the run.
    pub fn manifest(&self) -> &Manifest {
        self.recorder.manifest()
    }

    /// Says to whoever watches that the run is on disk and ours.
    pub fn owned(&mut self) -> Result<()> {
        let Shared { watch, layout, .. } = &*self.shared;
        let is_detached = watch.borrow().is_detached();
        // As long as nothing runs there is but the journal to look at.
        if is_detached || !later::is_waiting() {
            self.recorder.save(Durability::Process)?;
        }
        if !is_detached {
            watch.borrow_mut().owned(self.recorder.manifest(), self.recorder.paths());
            if self.manifest().attempt() > 1 {
                // The owner of a detached run may have died before it had any.
                self.recorder.point(layout, self.now())?;
            }
            return Ok(());
        }
        // Whoever asked for the run is told that it exists, which is what its journal says.
        later::settle_one(&self.recorder.paths().journal)?;
        watch.borrow_mut().owned(self.recorder.manifest(), self.recorder.paths());
        later::settle()?;
        Ok(self.recorder.point(layout, self.now())?)
    }

    /// Leaves the run alone: all that is left of it waits for decisions. Returns its state.
    pub fn park(mut self) -> Result<Manifest> {
        self.tell(Happened::Parked, 0)?;
        self.recorder.save(Durability::Power)?;
        Ok(self.recorder.manifest().clone())
    }

    /// Goes on with the run from its plan, to its end or until it waits for decisions only.
    pub async fn drive(mut self, interrupts: &mut Interrupts) -> Result<Manifest> {
        let (plan, limits) = (self.plan.clone(), self.limits);
        match runner::execute(&plan, &mut self, interrupts, limits).await? {
            Some(outcome) => {
                self.decide(outcome)?;
                self.learn(interrupts).await?;
                self.conclude()
            }
            None => self.park(),
        }
    }

    /// Ends the run: the verdict, then everything that follows from it, but nothing is learned from it. Returns the
    /// final state.
    pub fn end(mut self, outcome: Outcome) -> Result<Manifest> {
        self.decide(outcome)?;
        self.conclude()
    }

    /// Gives the run its verdict.
    fn decide(&mut self, mut outcome: Outcome) -> Result<()> {
        if outcome.status == RunStatus::Cancelled {
            if let Some(cancellation) = cancel::requested(&self.cancel_request) {
                outcome.detail = Some(cancel::DETAIL.to_owned());
                self.tell(Happened::CancelRequested { cancellation }, 0)?;
            }
            self.end_open_stages()?;
        }
        self.keep_fix()?;
        let end = self.run_end(outcome);
        self.tell(Happened::Finished(Box::new(end)), 0)
    }

    /// Writes what follows from a verdict. Returns the final state.
    fn conclude(self) -> Result<Manifest> {
        let (shared, depth) = (Rc::clone(&self.shared), self.depth);
        let manifest = self.record_end(false)?;
        if depth == 0 {
            later::forget();
            // The run is over and nobody holds it any more: what follows may take its time.
            traced::send(&shared, &manifest);
        }
        Ok(manifest)
    }

    /// Writes what follows from a verdict that is already in the journal. Failures here are
    /// warnings: the evidence is complete without them. `maybe_recorded` is whether an earlier
    /// process may have got through with some of it.
    pub fn record_end(mut self, maybe_recorded: bool) -> Result<Manifest> {
        let at = self.now();
        let mode = |planned: &PlannedStage| if planned.stage.hints.requires_cloud { "cloud" } else { "mcp" };
        let subtask = |planned: &PlannedStage| Subtask {
            id: self.plan.item_id(&planned.stage),
            index: planned.index,
            mode: mode(planned),
        };
        let subtasks = self.plan.group.then(|| self.plan.subtasks().map(subtask).collect::<Vec<_>>());
        let mode = self.plan.target.and_then(|at| self.plan.stages.get(at)).map_or("mcp", mode);
        let mut plan = serde_json::to_value(self.plan.items()).expect("a plan has string keys");
        mask_strings(&mut plan, &self.shared);
        let summary = summary::summarize(self.manifest(), plan, mode, subtasks.as_deref(), at);
        let paths = self.recorder.paths().clone();
        let summary_path = match fs::write_atomically(&paths.summary, &pretty(&summary), Durability::Process)
        {
            Ok(()) => Some(self.shared.layout.relative(&paths.summary)),
            Err(err) => {
                self.shared.warn("the run summary was not written", err);
                None
            }
        };
        let recorded = self.record_in_task(Some(&summary), maybe_recorded, at);
        let nothing_ran = later::is_waiting();
        let to_note = match self.proven.take() {
            Some(to_note) => to_note,
            None if nothing_ran => None,
            None => self.record_proof(),
        };
        let event = Happened::Recorded { run_summary_path: summary_path, metrics_recorded: recorded };
        self.tell(event, 0)?;
        self.recorder.beat(at)?;
        self.recorder.save(Durability::Power)?;
        match to_note {
            Some(record) => self.leave_full_note(&record),
            None if nothing_ran => self.leave_notes_of_others(),
            None => {}
        }
        Ok(self.recorder.manifest().clone())
    }

    /// Ends a child of this run whose process died. If it had its verdict, only what follows from
    /// that is missing.
    pub fn close_abandoned(&self, recorder: Recorder, outcome: Outcome) -> Result<()> {
        // What a child planned is not known any more; only its summary names it.
        let plan =
            Plan { stages: Vec::new(), target: None, only_target: false, group: false, ..self.plan.clone() };
        let (shared, desk) = (Rc::clone(&self.shared), self.desk.clone());
        let child = Self {
            depth: self.depth + 1,
            approval_policy: None,
            cancel_request: self.cancel_request.clone(),
            lineage: String::new(),
            displaced: self.displaced,
            ..Self::of(shared, plan, recorder, self.limits, ReuseOptions::default(), desk)
        };
        match child.manifest().status.is_terminal() {
            true => child.record_end(true),
            false => child.end(outcome),
        }
        .map(drop)
    }

    /// A stage that nobody runs any more is not running.
    fn end_open_stages(&mut self) -> Result<()> {
        let running = |entry: &&StageEntry| entry.status == StageStatus::Running;
        let open: Vec<_> = self.manifest().commands.iter().filter(running).cloned().collect();
        for StageEntry { index, title, .. } in open {
            let summary = "Cancelled: the process that ran it was gone".to_owned();
            let note = format!("Stage '{title}' was running when the owner of the run died.");
            self.tell(runner::stage_end(StageStatus::Failed, summary, Some(note), true), index)?;
        }
        let waiting = self.manifest().commands.iter().filter(|entry| entry.waiting.is_some());
        for index in waiting.map(|entry| entry.index).collect::<Vec<_>>() {
            let reason = "Cancelled while it waited for a decision".to_owned();
            self.tell(Happened::StageHeld { reason }, index)?;
        }
        Ok(())
    }

    fn run_end(&self, outcome: Outcome) -> RunEnd {
        let manifest = self.manifest();
        let guardrails = coverage::coverage(
            &manifest.commands,
            &manifest.guardrails,
            manifest.guardrails_required.unwrap_or(true),
            self.now(),
        );
        let mut notes: Vec<_> = outcome.notes;
        notes.extend(guardrails.recommendation.clone());
        notes.extend(manifest.guardrails.iter().map(|it| it.verdict.line()));
        notes.push(guardrails.summary.clone());
        if let Some(Cancellation { actor, reason, .. }) =
            manifest.cancellation.as_ref().filter(|_| outcome.status == RunStatus::Cancelled)
        {
            let why = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            notes.push(format!("Cancelled by {actor}{why}"));
        }
        if let Some(only) = manifest.plan.as_ref().and_then(|plan| plan.only.as_ref()) {
            notes.push(format!("Partial run: only stage '{only}' was asked for, and only it is proven."));
        }
        let nothing_ran = later::is_waiting();
        // Runs of their own say themselves what became of their trees, and which those are.
        let only_others_ran = !self.outposts.is_empty();
        let now = (!self.displaced && !nothing_ran && !only_others_ran).then(|| self.shared.repo.tree_now());
        let (tree_at_end, moved) = match now {
            // What was taken over is about the tree that was there when it was asked for.
            None if nothing_ran => (manifest.git.as_ref().and_then(|git| git.tree.clone()), Some(false)),
            None => (None, None),
            Some(Ok(now)) => {
                let moved = manifest.git.as_ref().map(|git| {
                    let another = git.tree.as_ref() != Some(&now.state.tree);
                    git.moved == Some(true) || another || git.hidden.is_empty() != now.state.hidden.is_empty()
                });
                (Some(now.state.tree), moved)
            }
            Some(Err(err)) => {
                self.shared.warn("cannot tell whether the tree moved", err);
                (None, None)
            }
        };
        match moved {
            Some(true) if manifest.fix.is_some() => notes.extend(manifest.fix.as_ref().map(|fix| fix.line())),
            Some(true) => {
                notes.push("The tree moved while the run went on: this run proves nothing.".to_owned())
            }
            None if only_others_ran => {}
            None => notes.push("Whether the tree moved is not known: this run proves nothing.".to_owned()),
            Some(false) => {}
        }
        RunEnd {
            status: outcome.status,
            status_detail: outcome.detail,
            notes,
            guardrail_status: Some(guardrails),
            tree_at_end,
            moved: if only_others_ran { None } else { moved.or(Some(true)) },
        }
    }

    /// Adds the run to the files that all runs of the task share; one without a summary for them only to the
    /// metrics. Returns whether its metrics are in `metrics.json`.
    fn record_in_task(&self, summary: Option<&summary::RunSummary>, maybe_recorded: bool, at: Stamp) -> bool {
        let Shared { layout, task, .. } = &*self.shared;
        let manifest = self.manifest();
        let line = metrics::line(manifest, at);
        let lock = match Lock::take(&layout.task_lock(task), PATIENCE) {
            Ok(lock) => lock,
            Err(err) => {
                self.shared.warn("the task's files cannot be locked", err);
                None
            }
        };
        if lock.is_none() {
            // Somebody has held the lock for too long. The next run appends the line.
            if let Err(err) = store::metrics::queue(layout, task, &line, at) {
                self.shared.warn("the metrics were not queued", err);
            }
            return false;
        }
        if let Some(summary) = summary {
            self.record_summary(summary, maybe_recorded, at);
        }
        let recorded = match later::is_waiting() {
            // Nothing ran: the sums are brought up to date by the next run in which something does.
            true => store::metrics::append(layout, task, &line, maybe_recorded).map(|()| Vec::new()),
            false => store::metrics::record(layout, task, &line, maybe_recorded, at),
        };
        match recorded {
            Ok(warnings) => {
                for err in warnings {
                    self.shared.warn("an aggregate of the metrics was not written", err);
                }
                true
            }
            Err(err) => {
                self.shared.warn("the metrics were not written", err);
                false
            }
        }
    }

    fn record_summary(&self, summary: &summary::RunSummary, maybe_recorded: bool, at: Stamp) {
        let Shared { layout, task, .. } = &*self.shared;
        let manifest = self.manifest();
        match history::add(layout, task, summary, manifest.attempt() > 1 || maybe_recorded) {
            Ok(history::Added::Fine) => {}
            Ok(history::Added::Quarantined(aside)) => {
                let text = format!(
                    "the run history was no JSON of this task; it was moved to `{}`",
                    aside.display()
                );
                self.shared.watch.borrow_mut().warn(&text);
            }
            Err(err) => self.shared.warn("the run history was not written", err),
        }
        let short = layout.task(task).join(manifest.run_id.as_str());
        let written = fs::create_dir_all(&short).and_then(|()| {
            fs::write_atomically(&short.join("manifest.json"), &pretty(summary), Durability::Process)
        });
        if let Err(err) = written {
            self.shared.warn("the short manifest was not written", err);
        }
        if !later::is_waiting()
            && let Err(err) =
                store::drift::record(layout, task, &manifest.run_id, self.shared.control_plane_mode, at)
        {
            self.shared.warn("the drift report was not written", err);
        }
    }
}

fn mask_strings(value: &mut Value, shared: &Shared) {
    match value {
        Value::String(text) => *text = shared.masked(text),
        Value::Array(items) => items.iter_mut().for_each(|item| mask_strings(item, shared)),
        Value::Object(map) => map.values_mut().for_each(|item| mask_strings(item, shared)),
        _ => {}
    }
}

impl Host for RunHost {
    fn now(&self) -> Stamp {
        self.shared.clock.now()
    }

    fn run_id(&self) -> &str {
        self.manifest().run_id.as_str()
    }

    fn pipeline_id(&self) -> &str {
        self.plan.pipeline.as_str()
    }

    fn tell(&mut self, event: Happened, index: usize) -> Result<()> {
        let changes_nothing = matches!(
            event,
            Happened::Created { .. }
                | Happened::Started { .. }
                | Happened::StageReused { .. }
                | Happened::StageHeld { .. }
                | Happened::Heartbeat
                | Happened::CancelRequested { .. }
                | Happened::Finished(_)
                | Happened::Recorded { .. }
        );
        if !changes_nothing {
            self.commit()?;
        }
        let at = self.now();
        tracing::debug!(run = self.run_id(), index, ?event, "told");
        if let Happened::StageFinished(_) = &event
            && let Some(log) = self.logs.get(&index).filter(|log| !log.is_in_place())
        {
            // The stage has no verdict then, and runs again.
            return Err(RecordError::Displaced(log.path().display().to_string()).into());
        }
        if matches!(event, Happened::StageFinished(_)) && self.logs.contains_key(&index) {
            self.take_verdicts(index, at)?;
        }
        let event = self.in_words_of_a_command(event);
        let (begins, ends) =
            (matches!(event, Happened::StageStarted { .. }), matches!(event, Happened::StageFinished(_)));
        match event {
            // Stages that end at the same time are settled together.
            Happened::StageFinished(_) => self.recorder.record_for_now(event.clone(), at, index)?,
            _ => self.recorder.record(event.clone(), at, index)?,
        }
        if let Happened::StageRetried { end, .. } = &event
            && let Err(err) = self.keep_decisions(end)
        {
            self.shared.warn("the decisions of the masking were not written", err);
        }
        if let Happened::StageFinished(end) = &event {
            self.logs.remove(&index);
            if let Err(err) = self.keep_decisions(end) {
                // The manifest holds the decisions too.
                self.shared.warn("the decisions of the masking were not written", err);
            }
        }
        self.shared.watch.borrow_mut().event(self.depth, self.recorder.manifest(), &event, index);
        match (begins, ends) {
            (true, _) => self.link_outpost(index),
            (_, true) => self.close_outpost(index),
            _ => Ok(()),
        }
    }

    fn is_finished(&self, index: usize) -> bool {
        self.manifest().entry(index).is_some_and(|entry| entry.status.is_finished())
    }

    fn known(&mut self, planned: &PlannedStage) -> Result<Known> {
        self.look_up(planned)
    }

    fn begins(&mut self, planned: &PlannedStage) -> Result<()> {
        // From here on there is something to lose.
        self.commit()?;
        self.announce(planned);
        Ok(())
    }

    fn budget(&mut self) -> Option<Budget> {
        self.open_budget()
    }

    fn wish(&self, planned: &PlannedStage, action: &Command) -> Wish {
        self.wish_of(planned, action)
    }

    fn lost_budget(&mut self, why: &PathError) {
        self.go_on_without(why);
    }

    fn begin_command(&mut self, planned: &PlannedStage) -> Result<Setup> {
        let as_run = self.name_outpost(planned.index)?;
        let Shared { layout, root, env, emit_streams, .. } = &*self.shared;
        let PlannedStage { index, stage: Stage { id, action, .. }, .. } = planned;
        let Action::Command(action) = action else { unreachable!("only commands are begun") };
        let paths = self.recorder.paths();
        let attempt = self.manifest().attempt() as u32;
        if attempt > 1 {
            // What an earlier attempt says about its failure is kept, under a name that says so.
            let note = paths.stage_error(*index, id.as_str());
            fs::rename(&note, &paths.earlier_stage_error(*index, id.as_str(), attempt - 1))?;
        }
        let log_path = paths.stage_log(*index, id.as_str());
        let mut env = env.clone();
        for (name, value) in [
            ("CODEX_ORCHESTRATOR_RUN_ID", OsString::from(self.run_id())),
            ("CODEX_ORCHESTRATOR_PIPELINE_ID", OsString::from(self.pipeline_id())),
            ("CODEX_ORCHESTRATOR_MANIFEST_PATH", paths.manifest.clone().into()),
            ("CODEX_ORCHESTRATOR_RUN_DIR", paths.dir.clone().into()),
            (process::LINEAGE, OsString::from(self.lineage_of_stage(*index))),
            (verdicts::FOLDER, self.verdicts(*index).into()),
        ] {
            env.push((name.into(), value));
        }
        if let Some(parent) = self.traceparent(*index, attempt) {
            env.push((TRACEPARENT.into(), parent.into()));
        }
        env.extend(as_run);
        env.extend(action.env.iter().map(|(name, value)| (name.into(), value.into())));
        let setup = Setup {
            env,
            cwd: match &action.cwd {
                Some(cwd) => root.join(cwd),
                None => root.clone(),
            },
            log_path: layout.relative(&log_path),
            emit_streams: *emit_streams,
        };
        fs::ensure_private_dir(&paths.commands)?;
        self.logs.insert(*index, Appender::open(&log_path)?);
        Ok(setup)
    }

    fn masker(&self) -> Masker {
        Masker::new(&self.shared.masking.secrets, self.shared.masking.mode)
    }

    fn mask_mode(&self) -> MaskMode {
        self.shared.masking.mode
    }

    fn masked(&self, text: &str) -> String {
        self.shared.masked(text)
    }

    fn log(&mut self, index: usize, lines: &[u8]) -> Result<()> {
        self.shared.watch.borrow_mut().logged(self.depth, lines);
        self.recorder.log(lines)?;
        if let Some(log) = self.logs.get_mut(&index) {
            log.append(lines)?;
        }
        Ok(())
    }

    fn printed(&mut self, index: usize, stream: Stream, text: &str) {
        let manifest = self.recorder.manifest();
        self.shared.watch.borrow_mut().printed(self.depth, manifest, index, stream, text);
    }

    fn keep_error(&mut self, index: usize, note: &Value, again: Option<u32>) -> Result<String> {
        let manifest = self.manifest();
        let id = manifest.commands[index - 1].id.clone();
        let mut document = json!({"run_id": manifest.run_id, "task_id": manifest.task_id});
        if let (Value::Object(document), Value::Object(note)) = (&mut document, note) {
            document.extend(note.clone());
        }
        let paths = self.recorder.paths();
        let path = match again {
            None => paths.stage_error(index, &id),
            Some(attempt) => {
                let of_run = manifest.attempt() as u32;
                paths.failed_attempt_error(index, &id, of_run, attempt)
            }
        };
        if fs::ensure_private_dir(&paths.errors)? {
            fs::sync_dir(&paths.dir)?;
        }
        fs::write_atomically(&path, &pretty(&document), Durability::Power)?;
        Ok(self.shared.layout.relative(&path))
    }

    fn ask(&mut self, stage: &PlannedStage) -> Result<Option<Ruling>> {
        self.ask_about(stage)
    }

    fn decision(&mut self, index: usize) -> Result<Option<Ruling>> {
        self.answer(index)
    }

    fn decide(&mut self, index: usize, decision: Decision, reason: Option<String>) -> Result<()> {
        self.typed(index, decision, reason)
    }

    fn can_prompt(&self) -> bool {
        self.shared.watch.borrow().can_prompt()
    }

    fn question(&mut self, index: usize, question: Question) {
        self.show_question(index, question);
    }

    fn can_park(&self) -> bool {
        self.depth == 0 && self.shared.watch.borrow().is_detached()
    }

    fn beat(&mut self) -> Result<()> {
        let at = self.now();
        self.recorder.beat(at)?;
        self.tell(Happened::Heartbeat, 0)?;
        Ok(self.recorder.save(Durability::Process)?)
    }

    fn is_settled(&self) -> bool {
        self.recorder.is_settled()
    }

    fn settle(&mut self) -> Result<()> {
        Ok(self.recorder.settle()?)
    }

    fn save_due(&self) -> Option<Instant> {
        self.recorder.save_due()
    }

    fn save(&mut self) -> Result<()> {
        Ok(self.recorder.save(Durability::Process)?)
    }

    fn begin_child(&mut self, index: usize, plan: &Plan) -> Result<Box<dyn Host>> {
        let parent = self.run_id().to_owned();
        let policy = self.approval_policy.clone();
        let run = self.shared.new_run()?;
        let paths = self.shared.layout.run(&self.shared.task, &run);
        // The link first: a crash then leaves a link without a child, which `resume` understands,
        // and never a child that nobody knows of.
        let link = Happened::ChildLinked {
            run_id: run.to_string(),
            pipeline_id: plan.pipeline.to_string(),
            manifest: self.shared.layout.relative(&paths.manifest),
        };
        self.tell(link, index)?;
        let lineage = self.lineage_of_stage(index);
        let stage = self.manifest().entry(index).map_or("", |entry| entry.id.as_str());
        let desk = self.desk.below(index, stage);
        let origin = Origin {
            run,
            parent: Some(&parent),
            depth: self.depth + 1,
            lineage: &lineage,
            cancel_request: Some(&self.cancel_request),
            desk: Some(desk),
            reuse: self.lookup.options(),
        };
        let mut child = RunHost::create(Rc::clone(&self.shared), plan.clone(), origin, self.limits, policy)?;
        let owner = child.owner();
        child.tell(Happened::Started { owner }, 0)?;
        child.recorder.save(Durability::Process)?;
        Ok(Box::new(child))
    }

    fn finish(self: Box<Self>, outcome: Outcome) -> Result<ChildEnd> {
        let manifest = (*self).end(outcome)?;
        let reason = match manifest.status {
            RunStatus::Succeeded => None,
            _ => manifest.summary.as_deref().and_then(|notes| notes.lines().next()),
        };
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let summary = format!("{} {}{reason}", manifest.pipeline_title, manifest.status);
        let moved = manifest.git.as_ref().is_some_and(|git| git.moved == Some(true));
        Ok(ChildEnd { run_id: manifest.run_id.to_string(), status: manifest.status, moved, summary })
    }
}

impl RunHost {
    /// Makes all that is there survive a power cut, and shows it.
    fn commit(&mut self) -> Result<()> {
        later::settle()?;
        if !self.recorder.is_shown() {
            self.recorder.save(Durability::Process)?;
        }
        Ok(())
    }

    fn lineage_of_stage(&self, index: usize) -> String {
        let outer = &self.lineage;
        let mark = process::mark(self.run_id(), index);
        if outer.is_empty() { mark } else { format!("{outer}:{mark}") }
    }

    /// Returns where guardrails in a stage leave their verdicts.
    fn verdicts(&self, index: usize) -> std::path::PathBuf {
        let attempt = self.manifest().attempt();
        self.recorder.paths().verdicts(index, attempt)
    }

    /// Keeps the verdicts that guardrails in a stage left.
    fn take_verdicts(&mut self, index: usize, at: Stamp) -> Result<()> {
        let folder = self.verdicts(index);
        let taken = verdicts::take(&folder);
        for mut verdict in taken.verdicts {
            verdict.map_texts(&|text| self.shared.masked(text));
            self.recorder.record(Happened::Judged { verdict: Box::new(verdict) }, at, index)?;
        }
        for problem in taken.problems {
            self.shared.watch.borrow_mut().warn(&format!("a verdict of a guardrail was not kept: {problem}"));
        }
        Ok(())
    }

    fn keep_decisions(&self, end: &crate::run::event::StageEnd) -> Result<()> {
        if end.decisions.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for decision in &end.decisions {
            serde_json::to_writer(&mut lines, decision).expect("a decision has string keys");
            lines.push(b'\n');
        }
        Ok(Appender::open(&self.recorder.paths().privacy)?.append(&lines)?)
    }
}
