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

mod folder;
mod hold;
mod look;
mod machine;
mod record;
mod turn;

use std::fs::File;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::pipeline::budget::Budget as Settings;
use crate::pipeline::endurance::shown_bytes;
use crate::run::stamp::Stamp;
use crate::sys::digest::random_hex;
use crate::sys::env::Env;
use crate::sys::fs::{At, PathError};

pub use folder::{FOLDER, check, place};
pub use hold::{Held, Hold, VARIABLE};
pub use look::{Holder, View, look};
pub use machine::{KINDS, Machine};
pub use record::Record;
use turn::Wants;

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

    /// Returns how many tokens there are for a run of a project, unless it is asked for with more `--jobs`.
    pub fn tokens(&self, project: &Settings) -> NonZeroU16 {
        tokens(self.jobs, project.jobs, NonZeroU16::MIN)
    }
}

/// Returns how many tokens a run sees: as many as the user says, else the project, else as there are cores, or as
/// the run was asked for.
pub fn tokens(user: Option<NonZeroU16>, project: Option<NonZeroU16>, asked: NonZeroU16) -> NonZeroU16 {
    user.or(project).unwrap_or_else(|| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        asked.max(u16::try_from(cores).ok().and_then(NonZeroU16::new).unwrap_or(NonZeroU16::MIN))
    })
}

/// The budget, as one run sees it.
#[derive(Debug)]
pub struct Budget {
    folder: PathBuf,
    sees: u16,
    settings: Settings,
    machine: Machine,
    /// What the stage holds in which the run was started.
    above: Option<Held>,
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

/// What came of asking.
#[derive(Debug)]
pub enum Turn {
    Granted(Box<Hold>),
    Wait(Why),
}

/// Why somebody waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// How many came before.
    pub ahead: usize,
    /// What else there is to say, such as `io 41 %`.
    pub reason: Option<String>,
}

/// How long to wait for somebody who looks around.
const PATIENCE: Duration = Duration::from_millis(20);
/// How long the folder may be blocked before nobody relies on it any more.
const BLOCKED: Duration = Duration::from_secs(10);

impl Budget {
    /// Returns the budget for a run that may run `asked` commands at the same time.
    pub fn open(source: &Source, settings: Settings, asked: NonZeroU16) -> Result<Self, PathError> {
        let folder = source.folder().to_owned();
        let above = source.held.clone().filter(|held| held.folder == folder);
        folder::prepare(&folder)?;
        let sees = tokens(source.jobs, settings.jobs, asked).get();
        Ok(Self { folder, sees, settings, machine: Machine::here(), above })
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
        Asking { budget: self, record, place: None, blocked: None }
    }

    /// Why a stage waits although there are tokens: only while others run, so that somebody always does.
    fn brake(&self, record: &Record) -> Result<Option<String>, PathError> {
        let limits = [self.settings.pressure.cpu, self.settings.pressure.io, self.settings.pressure.memory];
        let needs_memory = record.memory.is_some() || self.settings.memory_floor.is_some();
        if !needs_memory && limits == [None; 3] {
            return Ok(None);
        }
        let mut others = look::holders(&self.folder)?;
        others.retain(|holder| holder.depth == 0 && !record.within.contains(&holder.record.id));
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
        let mut promised = 0_u64;
        let mut unused = 0_u64;
        for Record { memory, leader, .. } in others.iter().map(|holder| &holder.record) {
            let memory = memory.unwrap_or(0);
            promised = promised.saturating_add(memory);
            if memory > 0 {
                let used = leader.map_or(0, |leader| self.machine.used_by(leader));
                unused = unused.saturating_add(memory.saturating_sub(used));
            }
        }
        let free = available.saturating_sub(unused).min(total.saturating_sub(promised));
        (free < wanted).then(|| format!("memory: {} free", shown_bytes(free >> 20 << 20)))
    }
}

/// Somebody who asks for part of the budget; whoever drops it gives up, and loses their place.
#[derive(Debug)]
pub struct Asking<'b> {
    budget: &'b Budget,
    record: Record,
    place: Option<Place>,
    /// Since when the folder cannot be looked at.
    blocked: Option<Instant>,
}

/// A place in the queue.
#[derive(Debug)]
struct Place {
    name: String,
    path: PathBuf,
    /// The place is worth something as long as this is locked.
    _file: File,
}

impl Drop for Place {
    fn drop(&mut self) {
        // Before the lock goes, so that nobody else can have taken the name.
        let _ = rustix::fs::unlink(&self.path);
    }
}

const TICKET: &str = "ticket.";

impl Asking<'_> {
    /// Takes everything that was asked for, or a place in the queue.
    ///
    /// # Errors
    /// If there is no budget to be had from this folder.
    pub fn look(&mut self) -> Result<Turn, PathError> {
        let folder = &self.budget.folder;
        let Some(_changes) = folder::changes(folder, PATIENCE)? else {
            let since = *self.blocked.get_or_insert_with(Instant::now);
            if since.elapsed() >= BLOCKED {
                let why = "somebody has held the lock in it for too long";
                return Err(std::io::Error::other(why)).at(folder);
            }
            return Ok(Turn::Wait(Why { ahead: 0, reason: None }));
        };
        self.blocked = None;
        let queue = self.queue()?;
        let wants: Vec<_> = queue
            .iter()
            .map(|before| match before {
                Some(Record { sees, resources, .. }) => Wants { sees: *sees, resources: resources.clone() },
                // It has a place and does not say for what.
                None => Wants { sees: u16::MAX, resources: Vec::new() },
            })
            .collect();
        let mut problem = None;
        let is_held = |name: &str| match folder::lock(folder, &hold::resource(name)) {
            Ok(free) => free.is_none(),
            Err(err) => {
                problem = Some(err);
                false
            }
        };
        let left = turn::left(&wants, is_held);
        if let Some(err) = problem {
            return Err(err);
        }
        let above = self.budget.above.as_ref().map(|above| Ok((above, above.is_live()?))).transpose()?;
        let above = above.filter(|(_, live)| *live).map(|(above, _)| above);
        let reason = match self.resources(above, &left)? {
            Err(name) => Some(format!("{name} is in use")),
            Ok(resources) => match self.tokens(above, &left)? {
                Err(reason) => reason,
                Ok(tokens) => {
                    let files = tokens.into_iter().chain(resources);
                    let hold = Hold::new(folder, self.record.clone(), files.collect(), above)?;
                    self.place = None;
                    return Ok(Turn::Granted(Box::new(hold)));
                }
            },
        };
        if self.place.is_none() {
            self.place = Some(self.line_up()?);
        }
        Ok(Turn::Wait(Why { ahead: queue.len(), reason: reason.or_else(|| self.io()) }))
    }

    /// Takes all resources, or says which one is not to be had.
    fn resources(
        &self,
        above: Option<&Held>,
        left: &turn::Left,
    ) -> Result<Result<Locked, String>, PathError> {
        let mut taken = Vec::new();
        for name in &self.record.resources {
            let lent = above.and_then(|above| above.lent(&hold::resource(name)));
            let file = match lent {
                Some(file) => file,
                None if left.claimed.contains(name) => return Ok(Err(name.clone())),
                None => hold::resource(name),
            };
            match folder::lock(&self.budget.folder, &file)? {
                Some(lock) => taken.push((file, lock)),
                None => return Ok(Err(name.clone())),
            }
        }
        Ok(Ok(taken))
    }

    /// Takes all tokens: those of the stage in which the run was started if they are free, else others. Says why not,
    /// if there is more to say than that they are in use.
    fn tokens(
        &self,
        above: Option<&Held>,
        left: &turn::Left,
    ) -> Result<Result<Locked, Option<String>>, PathError> {
        let Budget { folder, sees, .. } = self.budget;
        let wanted = usize::from(self.record.tokens);
        if let Some(above) = above {
            let lent = above.lent_tokens();
            // No more than that: whoever waits with something in hand may wait for ever.
            let wanted = wanted.min(lent.len());
            let taken = take(folder, lent.into_iter(), wanted)?;
            if taken.len() == wanted && wanted > 0 {
                return Ok(Ok(taken));
            }
        }
        // Before we hold something ourselves, which would be in our own way.
        if let Some(reason) = self.budget.brake(&self.record)? {
            return Ok(Err(Some(reason)));
        }
        // From the end: those who see fewer tokens see the first ones.
        let taken = take(folder, (left.kept.saturating_add(1)..=*sees).rev().map(hold::token), wanted)?;
        Ok(if taken.len() < wanted { Err(None) } else { Ok(taken) })
    }

    /// Returns those who came before us and still wait, each with what they say. Takes away what others left.
    fn queue(&self) -> Result<Vec<Option<Record>>, PathError> {
        let folder = &self.budget.folder;
        let mut queue = Vec::new();
        for name in folder::names(folder, TICKET)? {
            if self.place.as_ref().is_some_and(|place| *place.name <= *name) {
                break;
            }
            let path = folder.join(&name);
            let Ok(file) = File::options().read(true).write(true).open(&path) else { continue };
            if folder::hold(&file).at(&path)? {
                let _ = rustix::fs::unlink(&path);
            } else {
                queue.push(Record::read(&file));
            }
        }
        Ok(queue)
    }

    /// Takes the last place in the queue.
    fn line_up(&self) -> Result<Place, PathError> {
        let folder = &self.budget.folder;
        let last = folder::names(folder, TICKET)?.pop();
        let last = last.and_then(|name| name.strip_prefix(TICKET)?.parse::<u64>().ok()).unwrap_or(0);
        let name = format!("{TICKET}{:016}", last.saturating_add(1));
        let path = folder.join(&name);
        let file = folder::lock(folder, &name)?;
        let file = file.ok_or_else(|| std::io::ErrorKind::AlreadyExists.into()).at(&path)?;
        self.record.write(&file).at(&path)?;
        Ok(Place { name, path, _file: file })
    }

    /// What there is to say of somebody who waits for their turn only.
    fn io(&self) -> Option<String> {
        let io = self.budget.machine.pressure("io").filter(|io| *io >= 1.0)?;
        Some(format!("io {io:.0} %"))
    }
}

/// Files that are ours, with their names.
type Locked = Vec<(String, File)>;

/// Locks so many of these files, or at least as many as are free.
fn take(folder: &Path, names: impl Iterator<Item = String>, wanted: usize) -> Result<Locked, PathError> {
    let mut taken = Vec::new();
    for name in names {
        if taken.len() == wanted {
            break;
        }
        if let Some(lock) = folder::lock(folder, &name)? {
            taken.push((name, lock));
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests;
