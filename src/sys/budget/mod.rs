//! The budget of this machine: tokens that all runs of a user draw from one folder, so that eight of them at once do
//! not bring it down.
//!
//! A token is a file, and whoever holds the kernel's lock on it has the token: the lock dies with its holder, so
//! there is nothing to clean up and nobody who has to be there. The queue is made of files too, in the order of
//! their names, and a place in it is worth something only while its file is locked. All tokens and resources that
//! a stage needs are taken at once or not at all, so that nobody waits with something in hand.
//!
//! A stage may start runs of its own. They use what the stage holds, one at a time: a file beside each token says
//! which of them has it now. Else all tokens could be held by stages that wait for one.
//!
//! All runs draw from it unless they are told not to, so that it has to be cheap where nobody else is there: to take a
//! token is to lock two files and to write a line.

mod asking;
mod circle;
mod folder;
mod hold;
pub mod jobserver;
mod look;
mod machine;
mod record;
mod turn;

use std::cell::OnceCell;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use crate::pipeline::budget::Budget as Settings;
use crate::pipeline::endurance::shown_bytes;
use crate::run::stamp::Stamp;
use crate::sys::cores;
use crate::sys::digest::random_hex;
use crate::sys::env::Env;
use crate::sys::fs::PathError;

use asking::Locked;
pub use asking::{Asking, Turn, Why};
pub use circle::Circle;
use folder::Changes;
pub use folder::{FOLDER, check, lasting, place, prepare};
pub use hold::{Held, Hold, VARIABLE};
pub use look::{Holder, View, look};
pub use machine::{KINDS, Machine};
pub use record::Record;

/// The variable by which a user says how many tokens there are, whatever projects say.
pub const JOBS: &str = "GIT_ORCHESTRATE_BUDGET_JOBS";
/// The variable that makes all runs ignore the budget, as `--no-budget` does for one.
pub const IGNORE: &str = "GIT_ORCHESTRATE_NO_BUDGET";

/// What the environment says about the budget.
#[derive(Clone, Debug)]
pub struct Source {
    place: PathBuf,
    jobs: Option<NonZeroU16>,
    held: Option<Held>,
}

impl Source {
    /// Reads it; nothing if the budget is to be ignored.
    pub fn of(env: &Env) -> Option<Self> {
        (!env.flag(IGNORE)).then(|| Self::anyway(env))
    }

    /// Reads it, whether the budget is to be ignored or not.
    pub fn anyway(env: &Env) -> Self {
        let held: Option<Held> = env.get(VARIABLE).and_then(|text| serde_json::from_str(text).ok());
        let jobs = env.get(JOBS).and_then(|text| text.trim().parse().ok());
        Self { place: place(env), jobs, held }
    }

    /// Whether the user says how many tokens there are, or a stage around us draws from them.
    pub fn is_asked_for(&self) -> bool {
        self.jobs.is_some() || self.held.is_some()
    }

    /// Returns the folder of the tokens.
    pub fn folder(&self) -> &Path {
        match &self.held {
            // The stage around us may have changed what leads to the folder.
            Some(held) if check(&held.folder).is_ok() => &held.folder,
            _ => &self.place,
        }
    }

    /// Returns how many tokens the runs of a project see.
    pub fn tokens(&self, project: &Settings) -> NonZeroU16 {
        tokens(self.jobs.or(project.jobs), NonZeroU16::MIN).0
    }
}

/// Returns how many tokens a run shares with others, and how many it may have while it is alone: as many as the user or
/// else the project says; else as there are cores, and then as many as the run was asked for.
fn tokens(said: Option<NonZeroU16>, asked: NonZeroU16) -> (NonZeroU16, NonZeroU16) {
    if let Some(said) = said {
        return (said, said);
    }
    let cores = cores::at_most(usize::MAX);
    (cores, asked.max(cores))
}

/// The budget, as one run sees it.
#[derive(Debug)]
pub struct Budget {
    folder: PathBuf,
    /// How many tokens it shares with others.
    sees: u16,
    /// How many it may have while nobody else is there.
    alone: u16,
    settings: Settings,
    machine: Machine,
    /// What the stage holds in which the run was started.
    above: Option<Held>,
    /// Nothing before somebody asks.
    changes: OnceCell<Changes>,
}

/// What a stage wants to take of the budget.
#[derive(Clone, Debug)]
pub struct Wish {
    pub run: String,
    pub repository: String,
    pub stage: String,
    pub since: Stamp,
    pub weight: NonZeroU16,
    pub resources: Vec<String>,
    pub memory: Option<u64>,
}

impl Budget {
    /// Returns the budget for a run that may run `asked` commands at the same time. Looks at nothing: whether it can be
    /// had is seen when somebody asks.
    pub fn new(source: &Source, settings: Settings, asked: NonZeroU16) -> Self {
        let folder = source.folder().to_owned();
        let above = source.held.clone().filter(|held| held.folder == folder);
        let (sees, alone) = tokens(source.jobs.or(settings.jobs), asked);
        let (sees, alone, machine) = (sees.get(), alone.get(), Machine::here());
        Self { folder, sees, alone, settings, machine, above, changes: OnceCell::new() }
    }

    /// Returns the lock under which tokens change hands; makes the folder if it is not there.
    fn changes(&self) -> Result<&Changes, PathError> {
        if self.changes.get().is_none() {
            folder::prepare(&self.folder)?;
            let _ = self.changes.set(Changes::open(&self.folder)?);
        }
        Ok(self.changes.get().expect("it is there by now"))
    }

    /// Begins to ask for part of the budget.
    pub fn ask(&self, wish: Wish) -> Asking<'_> {
        let Wish { run, repository, stage, since, weight, mut resources, memory } = wish;
        resources.sort_unstable();
        let within = self.above.iter().flat_map(|above| above.within.iter().chain([&above.id]));
        let record = Record {
            // Without randomness, two of one process could not be told apart; nothing but the looks depends on it.
            id: random_hex::<8>().unwrap_or_else(|_| format!("{}-{stage}", std::process::id())),
            run,
            repository,
            stage,
            pid: std::process::id(),
            since,
            // More than there are could never be had.
            tokens: weight.get().min(self.sees),
            sees: self.sees,
            resources,
            memory,
            within: within.cloned().collect(),
            leader: None,
        };
        Asking::new(self, record)
    }

    /// Whether there is a stage around the run that holds part of the budget.
    pub fn is_within_a_stage(&self) -> bool {
        self.above.is_some()
    }

    /// Why a stage waits although there are tokens: only while others run, so that somebody always does. `own` is what
    /// was just locked for it.
    fn brake(&self, record: &Record, own: &Locked) -> Result<Option<String>, PathError> {
        let limits = [self.settings.pressure.cpu, self.settings.pressure.io, self.settings.pressure.memory];
        let needs_memory = record.memory.is_some() || self.settings.memory_floor.is_some();
        if !needs_memory && limits == [None; 3] {
            return Ok(None);
        }
        let mut others = look::holders_beside(&self.folder, own)?;
        let is_own = |id: &String| *id == record.id || record.within.contains(id);
        others.retain(|holder| holder.depth == 0 && !is_own(&holder.record.id));
        if others.is_empty() {
            return Ok(None);
        }
        for (kind, limit) in KINDS.into_iter().zip(limits) {
            if let Some(limit) = limit
                && let Some(now) = self.machine.pressure(kind)
                && now >= f32::from(limit)
            {
                return Ok(Some(format!("{kind} {now:.0} %")));
            }
        }
        let memory = || self.machine.memory().filter(|_| needs_memory);
        Ok(memory().and_then(|memory| self.memory_brake(record, &others, memory)))
    }

    /// What others may need counts as theirs, used or not.
    fn memory_brake(
        &self,
        record: &Record,
        others: &[Holder],
        (total, available): (u64, u64),
    ) -> Option<String> {
        let wanted = record.memory.unwrap_or(0).saturating_add(self.settings.memory_floor.unwrap_or(0));
        let promises =
            || others.iter().filter_map(|Holder { record, .. }| Some((record.memory?, record.leader)));
        let leaders: Vec<_> = promises().filter_map(|(_, leader)| leader).collect();
        let used = self.machine.used_by(&leaders);
        let mut promised = 0_u64;
        let mut unused = 0_u64;
        for (memory, leader) in promises() {
            promised = promised.saturating_add(memory);
            let used = leader.and_then(|leader| used.get(&leader)).copied().unwrap_or(0);
            unused = unused.saturating_add(memory.saturating_sub(used));
        }
        let free = available.saturating_sub(unused).min(total.saturating_sub(promised));
        (free < wanted).then(|| format!("memory: {} free", shown_bytes(free >> 20 << 20)))
    }
}

#[cfg(test)]
mod tests;
