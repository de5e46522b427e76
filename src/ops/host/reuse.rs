//! Stages that need not run: proven by another run already, or being run by one right now.

use std::collections::HashMap;
use std::rc::Rc;

use anyhow::Result;
use jiff::SignedDuration;

use super::RunHost;
use crate::pipeline::Action;
use crate::pipeline::evidence::Evidence;
use crate::pipeline::plan::{Plan, PlannedStage};
use crate::proof::standing::{Entry, Origin, Rules, Standing, standing};
use crate::proof::{Record, StageRecord};
use crate::run::key::Subject;
use crate::run::manifest::{Keyed, Reused};
use crate::run::stamp::Stamp;
use crate::run::status::StageStatus;
use crate::runner::{Host as _, Known};
use crate::store::ledger::{Announcement, Ledger};

/// What a run takes over from others, as far as somebody said it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReuseOptions {
    /// Whether stages that are proven are not run; what the configuration says by default, else not.
    pub reuse: Option<bool>,
    /// Whether to wait for a run that runs the same; by default where stages are reused.
    pub join: Option<bool>,
}

/// Looks up what is known of stages.
pub(super) struct Lookup {
    options: ReuseOptions,
    ledger: Ledger,
    /// What the ledger says of a subject, read once.
    entries: HashMap<Subject, Rc<Vec<Entry>>>,
    /// That we run stages, for others who want the same.
    running: Option<Announcement>,
    /// The runs that we waited for: what they found out meanwhile is what we would have found out.
    waited: Vec<String>,
}

/// Returns what counts by the configuration, at that moment.
pub fn rules(evidence: &Evidence, now: Stamp) -> Rules {
    Rules { now, max_age: max_age(evidence), signed_by_others: evidence.accept_signed }
}

/// Returns how old a verdict may be by the configuration.
pub fn max_age(evidence: &Evidence) -> Option<SignedDuration> {
    SignedDuration::from_hours(24).checked_mul(i32::try_from(evidence.max_age_days?).ok()?)
}

/// Whether any stage of a plan may be taken over.
pub(super) fn is_wanted(plan: &Plan, options: ReuseOptions) -> bool {
    let own = plan.stages.iter().any(|planned| planned.stage.reuse == Some(true));
    options.reuse.unwrap_or(own || plan.reuse == Some(true)) || options.join == Some(true)
}

impl Lookup {
    pub(super) fn new(options: ReuseOptions, ledger: Ledger) -> Self {
        Self { options, ledger, entries: HashMap::new(), running: None, waited: Vec::new() }
    }

    pub(super) fn options(&self) -> ReuseOptions {
        self.options
    }

    fn about(&mut self, subject: &Subject) -> Result<Rc<Vec<Entry>>> {
        if let Some(known) = self.entries.get(subject) {
            return Ok(Rc::clone(known));
        }
        let entries = Rc::new(self.ledger.about(&[subject])?);
        self.entries.insert(subject.clone(), Rc::clone(&entries));
        Ok(entries)
    }
}

impl RunHost {
    /// Returns what is known of a stage before it runs, if it may be taken over at all. If it has to run, others who
    /// want the same know it from then on.
    pub(super) fn look_up(&mut self, planned: &PlannedStage) -> Result<Known> {
        let known = self.look(planned)?;
        let may_join = self.takes_over(planned).1 && matches!(planned.stage.action, Action::Command(_));
        if !may_join || !matches!(known, Known::Nothing) {
            return Ok(known);
        }
        // Of two that begin at once one looks again when the other has said that it runs.
        let _door = self.lookup.ledger.door().ok().flatten();
        self.lookup.entries.clear();
        let known = self.look(planned)?;
        if matches!(known, Known::Nothing) {
            self.announce(planned);
        }
        Ok(known)
    }

    /// Returns whether a stage may be taken over from a run that is over, and from one that is running it.
    fn takes_over(&self, planned: &PlannedStage) -> (bool, bool) {
        let ReuseOptions { reuse, join } = self.lookup.options;
        // A stage that says it is never taken over has a reason.
        if planned.stage.reuse == Some(false) {
            return (false, false);
        }
        let reuse = reuse.or(planned.stage.reuse).or(self.plan.reuse).unwrap_or(false);
        (reuse, join.unwrap_or(reuse))
    }

    fn look(&mut self, planned: &PlannedStage) -> Result<Known> {
        let (reuse, join) = self.takes_over(planned);
        // What somebody has to decide is decided anew for each run, and a called pipeline is looked up stage by
        // stage: one of them may have to run each time.
        let in_parts = matches!(planned.stage.action, Action::Subpipeline { .. });
        if (!reuse && !join) || planned.stage.asks() || in_parts {
            return Ok(Known::Nothing);
        }
        let Some(keyed) = self.keyed(planned).cloned() else { return Ok(Known::Nothing) };
        let git = self.manifest().git.as_ref();
        if git.is_none_or(|git| git.moved == Some(true) || git.unnamed().is_some()) {
            // The key does not name all that is there.
            return Ok(Known::Nothing);
        }
        // Who holds what others wait for must not wait itself, or two runs could wait for each other.
        let may_wait = join && self.shared.announced.get() == 0;
        if may_wait && let Some(run) = self.lookup.ledger.running(&keyed.key)? {
            let is_ours = run == self.run_id() || self.lineage.contains(&run);
            if !is_ours {
                if !self.lookup.waited.contains(&run) {
                    self.lookup.waited.push(run.clone());
                }
                self.lookup.entries.clear();
                return Ok(Known::Running { run });
            }
        }
        let now = self.shared.clock.now();
        let entries = self.lookup.about(&keyed.subject)?;
        let waited = &self.lookup.waited;
        if let Some((record, stage)) = newest_of(&entries, waited, &keyed)
            && stage.result.is_failure()
            && record.void.is_none()
        {
            let status = match &planned.stage.action {
                Action::Command(command) if command.allow_failure => StageStatus::Skipped,
                _ => StageStatus::Failed,
            };
            let reused = reused(record, stage, &Origin::Here, true);
            return Ok(Known::Ended { status, reused: Box::new(reused) });
        }
        let rules = rules(&self.plan.evidence, now);
        Ok(match standing(&entries, &keyed.key, &rules) {
            Standing::Proven { record, stage, .. } if record.was_judged(stage) => Known::Nothing,
            Standing::Proven { record, stage, origin } if reuse || waited.contains(&record.run_id) => {
                let joined = waited.contains(&record.run_id);
                let reused = reused(record, stage, origin, joined);
                Known::Ended { status: StageStatus::Succeeded, reused: Box::new(reused) }
            }
            _ => Known::Nothing,
        })
    }

    fn keyed(&self, planned: &PlannedStage) -> Option<&Keyed> {
        self.manifest().proof.as_ref()?.of_stage(planned.index)
    }

    /// Says no more that commands run: what they came to is in the ledger.
    pub(super) fn fall_silent(&mut self) {
        if self.lookup.running.take().is_some() {
            self.shared.announced.set(self.shared.announced.get() - 1);
        }
    }

    /// Says to others that a command is about to run.
    pub(super) fn announce(&mut self, planned: &PlannedStage) {
        let key = self.keyed(planned).map(|keyed| keyed.key.clone());
        let (Some(key), Action::Command(_)) = (key, &planned.stage.action) else { return };
        // For what is never taken over nobody waits.
        if planned.stage.reuse == Some(false) {
            return;
        }
        let run = self.run_id().to_owned();
        let announced = match &mut self.lookup.running {
            Some(running) => running.add(&key),
            slot @ None => self.lookup.ledger.announce(&run, &key).map(|running| {
                self.shared.announced.set(self.shared.announced.get() + 1);
                *slot = Some(running);
            }),
        };
        if let Err(err) = announced {
            self.shared.warn("other runs cannot see that this one runs", err);
        }
    }
}

/// Returns what the newest of some runs that ran a stage says of it.
fn newest_of<'a>(
    entries: &'a [Entry],
    runs: &[String],
    keyed: &'a Keyed,
) -> Option<(&'a Record, &'a StageRecord)> {
    entries.iter().rev().find_map(|entry| match entry {
        Entry::Run { record, .. } if runs.contains(&record.run_id) => {
            record.about(&keyed.key).next().map(|stage| (&**record, stage))
        }
        _ => None,
    })
}

fn reused(record: &Record, stage: &StageRecord, origin: &Origin, joined: bool) -> Reused {
    Reused {
        run_id: record.run_id.clone(),
        manifest: record.manifest.clone(),
        worktree: record.worktree.path.clone(),
        completed_at: stage.completed_at,
        key: stage.key.to_string(),
        signer: match origin {
            Origin::Note { signer, .. } => signer.as_ref().map(|signer| signer.principal.clone()),
            Origin::Here => None,
        },
        joined,
    }
}
