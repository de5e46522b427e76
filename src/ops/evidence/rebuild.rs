//! `evidence rebuild`: the ledger, as far as the runs on disk can tell what once stood there.
//!
//! Nothing that stands there goes: what came from others is nowhere else, and neither is what somebody cleared.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::read::{self, Line, Refused};
use super::remote;
use crate::git::Object;
use crate::ops::host::record_of;
use crate::ops::{Context, verify};
use crate::proof::standing::{Entry, Origin};
use crate::proof::{Record, Result as StageResult, note};
use crate::run::manifest::{Manifest, StageEntry};
use crate::store::catalog::{self, Found};
use crate::store::journal;
use crate::store::layout::Layout;
use crate::store::ledger::Ledger;

/// What became of the ledger.
#[derive(Clone, Debug, Default)]
pub struct Rebuilt {
    pub dry_run: bool,
    /// How many runs were looked at.
    pub runs: usize,
    /// Runs with records that stand in the ledger now, or would, and did not.
    pub added: Vec<String>,
    /// How many records stood there already.
    pub known: usize,
    /// Runs about which somebody decided since that they count no more.
    pub cleared: Vec<String>,
    /// How many records of others are entered, or would be, from notes that are here.
    pub from_notes: usize,
    /// Runs that are not to be believed, or cannot be read.
    pub broken: Vec<Broken>,
    /// Lines of notes that are not to be believed.
    pub refused: Vec<Refused>,
}

/// A run that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The folder of the run.
    pub path: String,
    pub why: String,
}

/// Enters what the runs of all worktrees found out into the ledger, unless it stands there.
pub fn rebuild(ctx: &Context, dry_run: bool) -> Result<Rebuilt> {
    let mut layouts = ctx.layouts();
    layouts.retain(|layout| layout.runs.is_dir());
    let mut work = Work {
        ledger: Ledger::of(ctx.repo.common_dir()),
        rebuilt: Rebuilt { dry_run, ..Rebuilt::default() },
        entered: BTreeSet::new(),
        shipped: shipped(ctx, &layouts)?,
    };
    let mut runs: Vec<_> = catalog::newest_first(&layouts, None).collect();
    // As they came.
    runs.reverse();
    for found in runs.iter().filter(|found| catalog::has_begun(&found.paths)) {
        work.rebuilt.runs += 1;
        match work.records(found) {
            Ok(records) => work.enter(&records)?,
            Err(why) => {
                let path = found.paths.dir.display().to_string();
                work.rebuilt.broken.push(Broken { path, why: format!("{why:#}") });
            }
        }
    }
    work.enter_notes(ctx)?;
    Ok(work.rebuilt)
}

/// Returns the files below folders of runs that git keeps: whoever wrote them ran nothing here.
fn shipped(ctx: &Context, layouts: &[Layout]) -> Result<BTreeSet<PathBuf>> {
    let mut shipped = BTreeSet::new();
    for layout in layouts {
        let Some(inside) = layout.runs.strip_prefix(&layout.root).ok().and_then(Path::to_str) else {
            continue;
        };
        let tracked = ctx.repo.tracked_below(&layout.root, inside);
        let tracked = tracked.context("cannot tell which runs git tracks")?;
        shipped.extend(tracked.into_iter().map(|path| layout.root.join(path)));
    }
    Ok(shipped)
}

struct Work {
    ledger: Ledger,
    rebuilt: Rebuilt,
    /// The nonces of the records that are entered, or would be.
    entered: BTreeSet<String>,
    shipped: BTreeSet<PathBuf>,
}

impl Work {
    /// Returns what a run has found out: a record for each time that it was over.
    fn records(&self, found: &Found) -> Result<Vec<Record>> {
        anyhow::ensure!(found.paths.dir.symlink_metadata()?.is_dir(), "it is behind a symbolic link");
        found.layout.check(&found.task)?;
        found.paths.check()?;
        let after = self.shipped.range(found.paths.dir.clone()..).next();
        let is_shipped = after.is_some_and(|path| path.starts_with(&found.paths.dir));
        anyhow::ensure!(!is_shipped, "git tracks it: it came with the repository");
        let mut now = catalog::read(&found.paths)?.manifest;
        anyhow::ensure!(
            now.run_id == found.run && now.task_id == found.task,
            "its manifest is that of another run"
        );
        verify::manifest(found, &mut now)?;
        // A manifest without a journal is one of an older program, which knew no keys.
        if !found.paths.journal.exists() {
            return Ok(Vec::new());
        }
        let ends = journal::ends(&found.paths.journal)?;
        let is_current = |entry: &StageEntry| {
            let now = now.commands.iter().find(|now| now.index == entry.index);
            now.is_some_and(|now| now.completed_at == entry.completed_at)
        };
        let record = |end: &Manifest| {
            // Who asked for a run in which nothing ran left no record: it would repeat what others say.
            let is_child = end.parent_run_id.is_some();
            record_of(end, &found.paths, &is_current).filter(|record| is_child || ran_something(record))
        };
        Ok(ends.iter().filter_map(record).collect())
    }

    fn enter(&mut self, records: &[Record]) -> Result<()> {
        let mut is_new = false;
        for record in records {
            let subjects = record.subjects();
            let entries = self.ledger.about(&subjects).context("cannot read the ledger")?;
            let same = |entry: &Entry| match entry {
                Entry::Run { record: known, origin: Origin::Here } => {
                    (&known.run_id, &known.nonce, known.completed_at)
                        == (&record.run_id, &record.nonce, record.completed_at)
                }
                _ => false,
            };
            if entries.iter().any(same) {
                self.rebuilt.known += 1;
            } else if is_cleared(record, &entries) {
                self.rebuilt.cleared.push(record.run_id.clone());
            } else {
                let entry = Entry::Run { record: Box::new(record.clone()), origin: Origin::Here };
                if !self.rebuilt.dry_run {
                    self.ledger.add(&entry, &subjects).context("the ledger was not written")?;
                }
                self.entered.insert(record.nonce.clone());
                is_new = true;
            }
        }
        if is_new && let Some(record) = records.first() {
            self.rebuilt.added.push(record.run_id.clone());
        }
        Ok(())
    }

    /// Enters what the notes here say and the runs did not.
    fn enter_notes(&mut self, ctx: &Context) -> Result<()> {
        let mut lines = Vec::new();
        for of in read::refs(&ctx.repo)? {
            for note in ctx.repo.notes(&of.tip)? {
                // What stands with a commit stands with its tree too.
                if matches!(ctx.repo.object(&note.object)?, Object::Commit { .. }) {
                    continue;
                }
                let text = match ctx.repo.note_text(&note, note::LARGEST) {
                    Ok(text) => text,
                    Err(err) => {
                        let refused = Refused::unreadable(&read::writer_of(&of), &note.object, &err);
                        self.rebuilt.refused.push(refused);
                        continue;
                    }
                };
                lines.extend(note::lines(&text).map(|bytes| Line {
                    writer: read::writer_of(&of),
                    object: note.object.clone(),
                    bytes: bytes.to_owned(),
                }));
            }
        }
        let unknown = remote::unknown(ctx, lines)?;
        self.rebuilt.refused.extend(unknown.refused);
        for (record, origin) in unknown.records {
            let subjects = record.subjects();
            let entries = self.ledger.about(&subjects).context("cannot read the ledger")?;
            if self.entered.contains(&record.nonce) || is_cleared(&record, &entries) {
                continue;
            }
            let entry = Entry::Run { record: Box::new(record.clone()), origin };
            if !self.rebuilt.dry_run {
                self.ledger.add(&entry, &subjects).context("the ledger was not written")?;
            }
            self.rebuilt.from_notes += 1;
        }
        Ok(())
    }
}

/// Whether somebody cleared what a record says of some stage: entered after that, it would count again.
fn is_cleared(record: &Record, entries: &[Entry]) -> bool {
    entries.iter().any(|entry| match entry {
        Entry::Cleared { key, at, .. } => {
            record.about(key).any(|stage| stage.completed_at.as_millis() <= at.as_millis())
        }
        Entry::Run { .. } | Entry::LetPass(_) => false,
    })
}

fn ran_something(record: &Record) -> bool {
    record.stages.iter().any(|stage| stage.result != StageResult::Reused)
}
