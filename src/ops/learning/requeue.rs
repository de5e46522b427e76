//! Learning from a run once more, because somebody says so: what to replay where nobody knew, or that it is worth
//! another try. The run has its verdict, and keeps it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{Lesson, derive, known, settings};
use crate::id::TaskId;
use crate::ops::host::{Masking, SharedWatch};
use crate::ops::snapshot::{Captured, again};
use crate::ops::start::{cancelled, with_interrupts};
use crate::ops::{Context, Kind, Refusal, resume, verify, which};
use crate::run::event::Happened;
use crate::run::learning::{Approval, Scenario, ScenarioSource, ScenarioState, Section, Validation, Verdict};
use crate::run::manifest::Manifest;
use crate::run::shell;
use crate::run::status::RunStatus;
use crate::runner::interrupt::Interrupts;
use crate::store::catalog::{self, Found, Wanted};
use crate::store::pointers::pretty;
use crate::store::snapshots::Snapshots;
use crate::sys::fs::{self, Durability};
use crate::sys::process;

/// Which run, what to replay, and who says so.
#[derive(Clone, Debug)]
pub struct Requeue {
    pub task: Option<TaskId>,
    pub run: Wanted,
    /// A file that says what to replay.
    pub scenario: Option<PathBuf>,
    /// What to replay, instead.
    pub command: Option<String>,
    pub actor: String,
    pub reason: Option<String>,
}

/// A run that was learned from once more.
#[derive(Debug)]
pub struct Requeued {
    pub manifest: Manifest,
    pub approval: Approval,
    pub section: Section,
}

/// Learns from a run once more.
pub fn requeue(ctx: &Context, options: &Requeue, watch: &SharedWatch) -> Result<Requeued> {
    let (found, _) = which::run(ctx, options.task.as_ref(), &options.run)?;
    if found.layout != ctx.layout {
        return Err(elsewhere(&found).into());
    }
    ctx.layout.check(&found.task)?;
    found.paths.check()?;
    // The lease first: what is read without it may change while we look at it.
    let lease = resume::take_lease(ctx, &found, &process::myself(ctx.clock.now()))?;
    let mut state =
        catalog::read(&found.paths).with_context(|| format!("cannot read run `{}`", found.run))?;
    let foreign = verify::manifest(&found, &mut state.manifest)?;
    if state.manifest.status != RunStatus::Succeeded {
        let message = format!(
            "run `{}` is {}: only a run that succeeded is learned from",
            found.run, state.manifest.status
        );
        return Err(Refusal::usage(message).into());
    }
    let (manifest, settings) = (state.manifest.clone(), settings(ctx)?);
    let lesson =
        Lesson { ctx, learning: &settings, plan: None, manifest: &manifest, paths: &found.paths, watch };
    let mut section = known(&manifest);
    let said = lesson.said(options, &section)?;
    let taken = lesson.taken()?;
    if taken.is_none() {
        lesson.ensure_same_tree()?;
    }
    let mut recorder = resume::adopt(&found, state.manifest, foreign, lease)?;
    let masking = Masking::new(&ctx.env, None);
    let approval = Approval {
        actor: masking.masked(&options.actor),
        timestamp: ctx.clock.now(),
        reason: options.reason.as_deref().map(|reason| masking.masked(reason)),
        state: match (section.validation.status, &said) {
            (Verdict::NeedsManualScenario, Said::Now(_)) => "needs_manual_scenario",
            (Verdict::StalledSnapshot, Said::Before(_)) => "stalled_snapshot",
            _ => "requeue",
        }
        .to_owned(),
    };
    section.approvals.push(approval.clone());
    let cancelled = with_interrupts(async |interrupts| {
        let mut keep = |section: &Section| {
            let learned = Happened::Learned { learning: section.to_value() };
            Ok(recorder.record(learned, ctx.clock.now(), 0)?)
        };
        lesson.once_more(&mut section, said, taken, &approval, interrupts, &mut keep).await?;
        Ok(interrupts.first().map(|_| cancelled(interrupts, "before it was over")))
    })?;
    recorder.save(Durability::Power)?;
    if let Some(cancelled) = cancelled {
        return Err(cancelled.into());
    }
    Ok(Requeued { manifest: recorder.manifest().clone(), approval, section })
}

fn elsewhere(found: &Found) -> Refusal {
    let root = found.layout.root.display().to_string();
    Refusal::new(Kind::Usage, format!("run `{}` belongs to the worktree `{root}`", found.run)).hint(format!(
        "git -C {} orchestrate snapshot requeue {}",
        shell::word(&root),
        shell::word(found.run.as_str())
    ))
}

/// What is replayed.
enum Said {
    /// Somebody says it now.
    Now(Scenario),
    /// It stands in the folder of the run.
    Before(Scenario),
    /// It is still to be found out.
    Nothing,
}

impl Lesson<'_> {
    /// Returns what is to be replayed, or says that somebody has to say it.
    fn said(&self, options: &Requeue, section: &Section) -> Result<Said> {
        let masking = Masking::new(&self.ctx.env, None);
        let folder = self.folder();
        let filled_in = || {
            let scenario =
                again::read_scenario(self.ctx, &folder.join("manual-scenario-template.json")).ok()?;
            scenario.commands.iter().any(|it| !it.trim().is_empty()).then_some(scenario)
        };
        let now = match (&options.scenario, &options.command) {
            (Some(path), _) => Some(again::read_scenario(self.ctx, path)?),
            (None, Some(command)) => Some(Scenario {
                entrypoint: command.clone(),
                commands: vec![command.clone()],
                ..derive::template(self)
            }),
            (None, None) if section.validation.status == Verdict::NeedsManualScenario => filled_in(),
            (None, None) => None,
        };
        let before = || again::read_scenario(self.ctx, &folder.join("scenario.json")).ok().map(Said::Before);
        if let Some(said) = now.map(Said::Now).or_else(before) {
            let (Said::Now(scenario) | Said::Before(scenario)) = &said else { return Ok(said) };
            if derive::holds_secret(scenario, &masking) {
                return Err(Refusal::usage("the scenario holds a secret, so it cannot be written down")
                    .hint("let its command read the secret from a variable, and name that in `learning.environment`")
                    .into());
            }
            return Ok(said);
        }
        if derive::scenario(self, self.ctx.clock.now()).is_ok() {
            return Ok(Said::Nothing);
        }
        let run = shell::word(self.manifest.run_id.as_str());
        Err(Refusal::usage(format!("nobody has said what to replay of run `{}`", self.manifest.run_id))
            .hint(format!(
                "say it: `git orchestrate snapshot requeue {run} -- COMMAND`, or with `--scenario FILE`"
            ))
            .into())
    }

    /// Returns the snapshot of the run, if there is one.
    fn taken(&self) -> Result<Option<Captured>> {
        let Manifest { run_id, task_id, .. } = self.manifest;
        let all = Snapshots::of(&self.ctx.layout, &self.ctx.env).all(Some(task_id));
        let found = all.into_iter().find(|it| it.snapshot.id == *run_id);
        Ok(found.map(|it| Captured { snapshot: it.snapshot, archive: it.archive, document: it.document }))
    }

    /// A snapshot that is taken later must still be one of what ran.
    fn ensure_same_tree(&self) -> Result<()> {
        let git = self.manifest.git.as_ref();
        let before = git.filter(|git| git.worktree.slot.is_none()).and_then(|git| git.tree.as_deref());
        let (now, _) = self.ctx.repo.keys(&[]).context("cannot tell which tree this is")?;
        if before.is_some() && before == now.tree.as_deref() {
            return Ok(());
        }
        let run = &self.manifest.run_id;
        let message = format!("run `{run}` has no snapshot, and the work tree is not what it ran on");
        Err(Refusal::new(Kind::Unsafe, message)
            .hint("with LEARNING_PIPELINE_ENABLED=1 `git orchestrate start` makes a new run, and learns from it")
            .into())
    }

    async fn once_more(
        &self,
        section: &mut Section,
        said: Said,
        taken: Option<Captured>,
        approval: &Approval,
        interrupts: &mut Interrupts,
        keep: &mut dyn FnMut(&Section) -> Result<()>,
    ) -> Result<()> {
        fs::create_dir_all(&self.folder())?;
        let captured = match taken {
            Some(captured) => captured,
            None => match self.snapshot(section, keep)? {
                Some(captured) => captured,
                None => return keep(section),
            },
        };
        section.validation = Validation::default();
        let scenario = match said {
            Said::Now(scenario) => Some(self.written_down(section, scenario, approval)?),
            Said::Before(scenario) => Some(scenario),
            Said::Nothing => self.scenario(section),
        };
        self.prove(section, &captured, scenario, None, interrupts, keep).await
    }

    /// Writes down what somebody said.
    fn written_down(&self, section: &mut Section, said: Scenario, approval: &Approval) -> Result<Scenario> {
        let at = approval.timestamp;
        let scenario = Scenario { generated_at: Some(at), ..said };
        let path: &Path = &self.folder().join("scenario.json");
        fs::write_atomically(path, &pretty(&scenario), Durability::Process)?;
        let before = section.scenario.take();
        section.scenario = Some(ScenarioState {
            path: Some(self.relative(path)),
            generated_at: Some(at),
            source: ScenarioSource::Manual,
            status: "synthesized".to_owned(),
            attempts: before.as_ref().map_or(0, |before| before.attempts) + 1,
            partial_path: before.as_ref().and_then(|before| before.partial_path.clone()),
            manual_template: before.and_then(|before| before.manual_template),
            approver: Some(approval.actor.clone()),
            reason: approval.reason.clone(),
        });
        Ok(scenario)
    }
}

impl Requeued {
    /// Returns the scenario that was replayed, as the manifest names it.
    pub fn scenario(&self) -> Option<&str> {
        self.section.scenario.as_ref()?.path.as_deref()
    }
}
