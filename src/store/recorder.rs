//! The one writer of a run: events go to the journal first, then into the manifest.
//!
//! `manifest.json` is a view of the journal and may lag behind it by moments: writing it costs what
//! the number of stages costs, so a view is written at most a tenth of the time. It never runs
//! ahead: what it says is in the journal, and [`crate::store::catalog::read`] adds what it does not
//! say yet.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::run::event::{Happened, RunEvent};
use crate::run::manifest::{JournalMark, Manifest, OutOfOrder};
use crate::run::stamp::Stamp;
use crate::store::layout::{Layout, RunPaths};
use crate::store::lease::Lease;
use crate::store::pointers;
use crate::sys::fs::{self, Appender, Durability, Fingerprint, PathError};

/// Evidence that could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("an event does not fit the run: {0}")]
    OutOfOrder(#[from] OutOfOrder),
    #[error("`{0}` was removed, replaced or edited while the run was using it")]
    Displaced(String),
    #[error("the evidence of this run could not be written before, so nothing is added to it")]
    Broken,
}

/// The shortest time between two views of the journal.
const PAUSE: Duration = Duration::from_millis(25);

/// Writes one run.
#[derive(Debug)]
pub struct Recorder {
    paths: RunPaths,
    journal: Appender,
    manifest: Manifest,
    _lease: Lease,
    /// The manifest file as we left it.
    written: Option<Fingerprint>,
    /// Whether the journal holds what the manifest file does not.
    behind: bool,
    saved: Instant,
    cost: Duration,
    /// Whether an event was kept that is still to be made to survive a power cut.
    unsettled: bool,
    broken: bool,
}

impl Recorder {
    /// Fills the folder of a new run with everything that must be there before it starts but its pointers:
    /// journal, token, heartbeat. `folders` are those that have new entries.
    pub fn create(
        paths: RunPaths,
        folders: &[PathBuf],
        manifest: Manifest,
        token: &str,
        lease: Lease,
        at: Stamp,
    ) -> Result<Self, RecordError> {
        let mut recorder = Self {
            journal: Appender::open(&paths.journal)?,
            manifest: manifest.clone(),
            paths,
            _lease: lease,
            written: None,
            behind: true,
            saved: Instant::now(),
            cost: Duration::ZERO,
            unsettled: false,
            broken: false,
        };
        let token = fs::begin_new(&recorder.paths.token, format!("{token}\n").as_bytes(), 0o600)?;
        recorder.keep(Happened::Created { manifest: Box::new(manifest) }, at, 0)?;
        token.sync()?;
        recorder.sync()?;
        folders.iter().try_for_each(|dir| fs::sync_dir(dir))?;
        // From here on the run exists, whatever happens to the machine.
        recorder.beat(at)?;
        Ok(recorder)
    }

    /// Writes the pointers by which tools of the older layout find the run.
    pub fn point(&self, layout: &Layout, at: Stamp) -> Result<(), RecordError> {
        let Manifest { task_id, run_id, .. } = &self.manifest;
        Ok(pointers::write(layout, task_id, run_id, &self.paths, at)?)
    }

    /// Goes on with a run whose manifest is up to date with its journal.
    pub fn open(paths: RunPaths, manifest: Manifest, lease: Lease) -> Result<Self, RecordError> {
        Ok(Self {
            journal: Appender::open(&paths.journal)?,
            written: Fingerprint::of(&paths.manifest),
            manifest,
            paths,
            _lease: lease,
            behind: true,
            saved: Instant::now(),
            cost: Duration::ZERO,
            unsettled: false,
            broken: false,
        })
    }

    /// Returns the state of the run.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns where the run lives.
    pub fn paths(&self) -> &RunPaths {
        &self.paths
    }

    /// Keeps one event: in the journal, and in the state.
    pub fn record(&mut self, event: Happened, at: Stamp, index: usize) -> Result<(), RecordError> {
        let is_milestone = event.is_milestone();
        self.keep(event, at, index)?;
        if is_milestone {
            self.sync()?;
        }
        self.save_if_due()
    }

    /// Like [`Recorder::record`], but the event survives a power cut only when it is settled, or followed by
    /// one that does.
    pub fn record_for_now(&mut self, event: Happened, at: Stamp, index: usize) -> Result<(), RecordError> {
        self.keep(event, at, index)?;
        self.unsettled = true;
        self.save_if_due()
    }

    /// Whether everything that should survive a power cut does.
    pub fn is_settled(&self) -> bool {
        !self.unsettled
    }

    /// Makes what was recorded for now survive a power cut.
    pub fn settle(&mut self) -> Result<(), RecordError> {
        if self.unsettled { self.sync() } else { Ok(()) }
    }

    fn save_if_due(&mut self) -> Result<(), RecordError> {
        if self.save_due().is_some_and(|due| due <= Instant::now()) {
            self.save(Durability::Process)?;
        }
        Ok(())
    }

    /// Keeps one event as long as the power is not cut.
    fn keep(&mut self, event: Happened, at: Stamp, index: usize) -> Result<(), RecordError> {
        let event = RunEvent { event, timestamp: at, index };
        let mut line = serde_json::to_vec(&event).expect("an event has string keys and finite numbers");
        line.push(b'\n');
        // In memory first: an event that does not fit the run must not get into its journal. On
        // disk it is the fact first, then the view of it: whatever happens in between, the journal
        // is never behind the manifest.
        self.manifest.apply(&event)?;
        self.log(&line)?;
        self.behind = true;
        Ok(())
    }

    /// Appends lines of a command to the journal.
    pub fn log(&mut self, lines: &[u8]) -> Result<(), RecordError> {
        if self.broken {
            return Err(RecordError::Broken);
        }
        self.journal.append(lines).map_err(|err| self.broke(err))
    }

    fn sync(&mut self) -> Result<(), RecordError> {
        if !self.journal.is_in_place() {
            self.broken = true;
            return Err(RecordError::Displaced(self.paths.journal.display().to_string()));
        }
        self.journal.sync().map_err(|err| self.broke(err))?;
        self.unsettled = false;
        Ok(())
    }

    /// After a failed write nobody knows what is on disk: nothing may be built on it.
    fn broke(&mut self, err: PathError) -> RecordError {
        self.broken = true;
        err.into()
    }

    /// Returns when the manifest file should be brought up to date, if it is behind.
    pub fn save_due(&self) -> Option<Instant> {
        self.behind.then(|| self.saved + PAUSE.max(self.cost * 9))
    }

    /// Whether there is a manifest file.
    pub fn is_shown(&self) -> bool {
        self.written.is_some()
    }

    /// Brings the manifest file up to date.
    pub fn save(&mut self, durability: Durability) -> Result<(), RecordError> {
        if self.broken {
            return Err(RecordError::Broken);
        }
        let begin = Instant::now();
        self.take_foreign_sections()?;
        self.manifest.journal = Some(JournalMark { bytes: self.journal.len() });
        let json = self.manifest.to_json();
        fs::write_atomically(&self.paths.manifest, &json, durability).map_err(|err| self.broke(err))?;
        self.written = Fingerprint::of(&self.paths.manifest);
        self.behind = false;
        self.saved = Instant::now();
        self.cost = self.saved - begin;
        Ok(())
    }

    /// Keeps sections that a stage added to the manifest file, such as those of the design tools.
    /// What is ours cannot be changed that way.
    fn take_foreign_sections(&mut self) -> Result<(), RecordError> {
        let now = Fingerprint::of(&self.paths.manifest);
        if self.written.is_none() || now == self.written || now.is_none() {
            return Ok(());
        }
        let Ok(Some(bytes)) = fs::read_if_there(&self.paths.manifest) else { return Ok(()) };
        let Ok(edited) = serde_json::from_slice::<Manifest>(&bytes) else { return Ok(()) };
        let is_new = |key: &String, value: &Value| self.manifest.other.get(key) != Some(value);
        let sections: serde_json::Map<_, _> =
            edited.other.into_iter().filter(|(key, value)| is_new(key, value)).collect();
        self.written = now;
        if sections.is_empty() {
            return Ok(());
        }
        let at = self.manifest.updated_at.unwrap_or_else(|| Stamp::new(jiff::Timestamp::UNIX_EPOCH));
        let event = RunEvent { event: Happened::Sections { sections }, timestamp: at, index: 0 };
        let mut line = serde_json::to_vec(&event).expect("an event has string keys and finite numbers");
        line.push(b'\n');
        self.log(&line)?;
        self.manifest.apply(&event)?;
        Ok(())
    }

    /// Writes `.heartbeat`.
    pub fn beat(&mut self, at: Stamp) -> Result<(), RecordError> {
        fs::refresh(&self.paths.heartbeat, format!("{at}\n").as_bytes()).map_err(|err| self.broke(err))
    }
}
