//! Somebody who asks for part of the budget, until they get it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::circle::{Circle, Scene};
use super::folder::Still;
use super::hold::{self, Held, Hold};
use super::record::Record;
use super::turn::{self, Wants};
use super::{Budget, folder, look};
use crate::sys::ancestors;
use crate::sys::fs::{At, PathError};

/// What came of asking.
#[derive(Debug)]
pub enum Turn {
    Granted(Box<Hold>),
    Wait(Why),
    /// It would wait for ever, and it is its turn to give up.
    Never(Circle),
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

/// How many processes there may be between a stage and a run in it.
const FAR: usize = 64;

/// The files of those who wait.
pub(super) const TICKET: &str = "ticket.";

/// Somebody who asks for part of the budget; whoever drops it gives up, and loses their place.
#[derive(Debug)]
pub struct Asking<'b> {
    budget: &'b Budget,
    record: Record,
    /// What the stage holds in which the run was started.
    above: Option<Held>,
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

/// The others who wait, each with what they say; nothing if they do not say for what.
#[derive(Debug, Default)]
struct Line {
    before: Vec<Option<Record>>,
    after: Vec<Option<Record>>,
}

impl Line {
    fn is_empty(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }

    fn all(&self) -> impl Iterator<Item = Option<&Record>> {
        self.before.iter().chain(&self.after).map(Option::as_ref)
    }

    fn wants(&self, sees: impl Fn(&Record) -> bool) -> Vec<Wants> {
        let wants = |before: &Option<Record>| match before {
            Some(record) if !sees(record) => None,
            Some(Record { sees, resources, .. }) => Some(Wants { sees: *sees, resources: resources.clone() }),
            None => Some(Wants { sees: u16::MAX, resources: Vec::new() }),
        };
        self.before.iter().filter_map(wants).collect()
    }
}

/// Files that are ours, with their names. Before we are written down there, each names whoever had it last, so that
/// ours would look like those of somebody else.
pub(super) type Locked = Vec<(String, File)>;

impl<'b> Asking<'b> {
    pub(super) fn new(budget: &'b Budget, record: Record) -> Self {
        Self { budget, record, above: budget.above.clone(), place: None, blocked: None }
    }

    /// Takes everything that was asked for, or a place in the queue.
    ///
    /// # Errors
    /// If there is no budget to be had from this folder.
    pub fn look(&mut self) -> Result<Turn, PathError> {
        let folder = &self.budget.folder;
        let changes = self.budget.changes()?;
        let Some(still) = changes.take(PATIENCE)? else {
            let since = *self.blocked.get_or_insert_with(Instant::now);
            if since.elapsed() >= BLOCKED {
                let why = "somebody has held the lock in it for too long";
                return Err(std::io::Error::other(why)).at(folder);
            }
            return Ok(Turn::Wait(Why { ahead: 0, reason: None }));
        };
        self.blocked = None;
        let noticed = changes.somebody_may_wait()?;
        let own = self.place.as_ref().map(|place| &*place.name);
        let line = if noticed { self.budget.line(own)? } else { Line::default() };
        let above = self.above.as_ref().map(|above| Ok((above, above.is_live()?))).transpose()?;
        let above = above.filter(|(_, live)| *live).map(|(above, _)| above);
        let left = self.left(&line, above)?;
        let reason = match self.resources(above, &left)? {
            Err(name) => {
                if let Some(circle) = self.circle(&line, above)? {
                    return Ok(Turn::Never(circle));
                }
                Some(format!("{name} is in use"))
            }
            Ok(resources) => match self.tokens(above, &left, &line, &resources)? {
                Err(reason) => reason,
                Ok(tokens) => {
                    let files = tokens.into_iter().chain(resources);
                    let hold = Hold::new(folder, self.record.clone(), files.collect(), above)?;
                    if noticed && line.is_empty() {
                        still.somebody_waits(false)?;
                    }
                    self.place = None;
                    return Ok(Turn::Granted(Box::new(hold)));
                }
            },
        };
        if self.place.is_none() {
            // On the way here somebody may have emptied the environment. The stage would wait for us, and we for it.
            if self.above.is_none() && self.find_stage()? {
                drop(still);
                return self.look();
            }
            self.place = Some(self.line_up(&still)?);
        }
        Ok(Turn::Wait(Why { ahead: line.before.len(), reason: reason.or_else(|| self.io()) }))
    }

    /// Looks whether we descend from the process of a stage that holds something. Returns whether there is one.
    fn find_stage(&mut self) -> Result<bool, PathError> {
        let holders = look::holders(&self.budget.folder)?;
        let ancestors = ancestors::pids(FAR);
        let around = |pid: &u32| {
            let own = holders.iter().filter(|holder| holder.record.leader == Some(*pid));
            own.max_by_key(|holder| holder.depth)
        };
        let Some(holder) = ancestors.iter().find_map(around) else { return Ok(false) };
        self.record.within = holder.record.within.iter().chain([&holder.record.id]).cloned().collect();
        self.above = Some(Held::of(&self.budget.folder, holder));
        Ok(true)
    }

    /// Returns what those who came before leave to us.
    fn left(&self, line: &Line, above: Option<&Held>) -> Result<turn::Left, PathError> {
        let mut left = self.budget.left(line.wants(|_| true))?;
        if above.is_some() && self.record.resources.iter().any(|name| left.claimed.contains(name)) {
            // The stage around us does not end before we do. Whoever waits for that waits for us too.
            let holders = look::holders(&self.budget.folder)?;
            let scene = self.scene(line, &holders);
            let others = line.wants(|record| !scene.waits_for(record, &self.record.within));
            left.claimed = self.budget.left(others)?.claimed;
        }
        Ok(left)
    }

    fn scene<'s>(&'s self, line: &'s Line, holders: &'s [look::Holder]) -> Scene<'s> {
        Scene { waiting: line.all().flatten().chain([&self.record]).collect(), holders }
    }

    /// Returns the circle of those who wait for each other for ever, if we are the one of them who came last.
    fn circle(&self, line: &Line, above: Option<&Held>) -> Result<Option<Circle>, PathError> {
        // Before we stand in line, the others do not know us.
        if above.is_none() || self.place.is_none() {
            return Ok(None);
        }
        let holders = look::holders(&self.budget.folder)?;
        let found = self.scene(line, &holders).circle(&self.record);
        let is_after = |record: &Record| line.after.iter().flatten().any(|after| after.id == record.id);
        Ok(found
            .filter(|(_, waiting)| !waiting.iter().any(|record| is_after(record)))
            .map(|(circle, _)| circle))
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
    /// if there is more to say than that they are in use. The resources are ours already.
    fn tokens(
        &self,
        above: Option<&Held>,
        left: &turn::Left,
        line: &Line,
        resources: &Locked,
    ) -> Result<Result<Locked, Option<String>>, PathError> {
        let Budget { folder, sees, alone, .. } = self.budget;
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
        if let Some(reason) = self.budget.brake(&self.record, resources)? {
            return Ok(Err(Some(reason)));
        }
        // From the end: those who see fewer tokens see the first ones.
        let shared = (left.kept.saturating_add(1)..=*sees).rev().map(hold::token);
        let mut taken = take(folder, shared, wanted)?;
        let is_kin = |other: Option<&Record>| other.is_some_and(|other| other.is_kin(&self.record));
        if taken.len() < wanted
            && alone > sees
            && line.all().all(is_kin)
            && look::is_alone(folder, &self.record, &taken)?
        {
            taken.extend(take(folder, (sees + 1..=*alone).map(hold::token), wanted - taken.len())?);
        }
        Ok(if taken.len() < wanted { Err(None) } else { Ok(taken) })
    }

    /// Takes the last place in the queue.
    fn line_up(&self, still: &Still<'_>) -> Result<Place, PathError> {
        let folder = &self.budget.folder;
        let last = folder::names(folder, TICKET)?.pop();
        let last = last.and_then(|name| name.strip_prefix(TICKET)?.parse::<u64>().ok()).unwrap_or(0);
        let name = format!("{TICKET}{:016}", last.saturating_add(1));
        let path = folder.join(&name);
        still.somebody_waits(true)?;
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

impl Budget {
    /// Whether somebody who waits could use tokens.
    pub(super) fn somebody_wants(&self, still: &Still<'_>) -> Result<bool, PathError> {
        let line = self.line(None)?;
        if line.is_empty() {
            still.somebody_waits(false)?;
        }
        Ok(self.left(line.wants(|_| true))?.kept > 0)
    }

    /// Returns what those who wait leave to others.
    fn left(&self, wants: Vec<Wants>) -> Result<turn::Left, PathError> {
        let mut problem = None;
        let is_held = |name: &str| match folder::lock(&self.folder, &hold::resource(name)) {
            Ok(free) => free.is_none(),
            Err(err) => {
                problem = Some(err);
                false
            }
        };
        let left = turn::left(&wants, is_held);
        problem.map_or(Ok(left), Err)
    }

    /// Returns the others who wait, where `own` is our own place. Takes away what those have left who do not any more.
    fn line(&self, own: Option<&str>) -> Result<Line, PathError> {
        let mut line = Line::default();
        for name in folder::names(&self.folder, TICKET)? {
            if own == Some(&*name) {
                continue;
            }
            let path = self.folder.join(&name);
            let Ok(file) = File::options().read(true).write(true).open(&path) else { continue };
            if folder::hold(&file).at(&path)? {
                let _ = rustix::fs::unlink(&path);
                continue;
            }
            let is_after = own.is_some_and(|own| *own < *name);
            let side = if is_after { &mut line.after } else { &mut line.before };
            side.push(Record::read(&file));
        }
        Ok(line)
    }
}

/// Locks so many of these files, or at least as many as are free.
pub(super) fn take(
    folder: &Path,
    names: impl Iterator<Item = String>,
    wanted: usize,
) -> Result<Locked, PathError> {
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
