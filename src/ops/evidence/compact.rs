//! `evidence compact`: the ref of this writer, made small again.
//!
//! No record goes: they name each other, and a gap would look like one that somebody removed. What goes is the history
//! of the ref as far as no remote is known to have it, so that what is left can still be sent without force; notes on
//! commits that nothing leads to any more, whose records stand with their tree; and manifests about trees that no commit
//! in use has.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::display::FETCHED;
use super::ours::{self, Ours, Step, last_record, moved};
use super::remote::{self, SEEN};
use super::write::PATIENCE;
use super::{lock, manifests};
use crate::git::{Author, Changes, InUse, Repo};
use crate::ops::Context;
use crate::proof::note;
use crate::proof::statement::Envelope;
use crate::sys::digest::sha256_hex;

/// What became of a ref.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    pub reference: String,
    pub dry_run: bool,
    /// How many commits the ref had, and how many it has now, or would have.
    pub before: usize,
    pub after: usize,
    /// How many of them a remote is known to have.
    pub delivered: usize,
    /// Commits that have no note any more.
    pub notes: Vec<String>,
    /// Manifests that went.
    pub manifests: Vec<String>,
}

impl Compacted {
    /// Whether there was something to do.
    pub fn is_change(&self) -> bool {
        self.before != self.after || !self.notes.is_empty() || !self.manifests.is_empty()
    }
}

/// Makes the ref of this writer small.
pub fn compact(ctx: &Context, sign: Option<bool>, dry_run: bool) -> Result<Compacted> {
    let repo = &ctx.repo;
    let Ours { author, writer, reference, .. } = Ours::of(repo, sign, ctx.clock.now())?;
    // What is on its way to a remote must not be taken for what no remote has.
    let _locks = match dry_run {
        true => None,
        false => Some((lock(repo, remote::LOCK, PATIENCE)?, lock(repo, "lock", PATIENCE)?)),
    };
    moved(repo, &reference, &author, |tip| {
        let mut compacted = Compacted { reference: reference.clone(), dry_run, ..Compacted::default() };
        let Some(tip) = tip else { return Ok(Step::Stay(compacted)) };
        let bases = bases(repo, &writer, tip)?;
        compacted.before = repo.count_commits(tip, &[])?;
        let undelivered = repo.count_commits(tip, &bases)?;
        compacted.delivered = compacted.before - undelivered;
        let changes = match repo.in_use()? {
            Some(used) => unused(repo, tip, &used)?,
            None => Changes::default(),
        };
        compacted.notes.clone_from(&changes.without_notes);
        compacted.manifests.clone_from(&changes.without_files);
        compacted.after = compacted.delivered + undelivered.min(1);
        if changes != Changes::default() {
            compacted.after = compacted.delivered + 1;
        }
        if dry_run || !compacted.is_change() {
            return Ok(Step::Stay(compacted));
        }
        Ok(Step::Move(commit(repo, tip, &bases, &changes, &author)?, compacted))
    })
}

/// Returns the newest commits of the history that a remote is known to have: what is built on them can be sent there.
fn bases(repo: &Repo, writer: &str, tip: &str) -> Result<Vec<String>> {
    let mut bases = Vec::new();
    for prefix in [SEEN, FETCHED] {
        for of in repo.refs_below(prefix)? {
            if of.writer() == writer && !bases.contains(&of.tip) && repo.is_ancestor(&of.tip, tip)? {
                bases.push(of.tip);
            }
        }
    }
    Ok(repo.independent(&bases)?)
}

fn commit(repo: &Repo, tip: &str, bases: &[String], changes: &Changes, author: &Author) -> Result<String> {
    let message = ours::message("compacted", last_record(repo, tip)?.as_deref());
    let parents: Vec<_> = bases.iter().map(String::as_str).collect();
    Ok(repo.commit_notes_of(Some(tip), &parents, changes, author, &message)?)
}

/// Returns what nothing that is in use needs.
fn unused(repo: &Repo, tip: &str, used: &InUse) -> Result<Changes> {
    let mut changes = Changes::default();
    let mut trees: BTreeMap<String, String> = BTreeMap::new();
    let (mut with_trees, mut on_commits) = (BTreeSet::new(), Vec::new());
    for found in repo.notes(tip)? {
        // What cannot be read stays.
        let Ok(text) = repo.note_text(&found, note::LARGEST) else { continue };
        let lines: Vec<_> = note::lines(&text).collect();
        let records: Vec<_> = lines
            .iter()
            .filter_map(|line| Some(Envelope::parse(line, sha256_hex).ok()?.statement.record))
            .collect();
        for record in &records {
            trees.insert(record.run_id.clone(), record.tree.clone());
        }
        let is_about_tree = records.iter().any(|record| record.tree == found.object);
        if is_about_tree {
            with_trees.extend(lines.iter().map(|line| sha256_hex(line)));
        } else if records.len() == lines.len() && !used.commits.contains(&found.object) {
            let runs: Vec<_> = records.iter().map(|record| record.run_id.as_str()).collect();
            if !runs.is_empty() && note::is_only_about(&text, &runs) {
                let lines: Vec<_> = lines.iter().map(|line| sha256_hex(line)).collect();
                on_commits.push((found.object, lines));
            }
        }
    }
    let stand_elsewhere = |lines: &[String]| lines.iter().all(|line| with_trees.contains(line));
    let gone = on_commits.into_iter().filter(|(_, lines)| stand_elsewhere(lines));
    changes.without_notes = gone.map(|(object, _)| object).collect();
    let is_unused = |run: &String| trees.get(run).is_some_and(|tree| !used.trees.contains(tree));
    let paths = trees.keys().filter(|run| is_unused(run)).filter_map(|run| manifests::path(run));
    let unused: BTreeSet<_> = paths.collect();
    let files = repo.files_of_notes(tip, manifests::FOLDER)?.into_iter().map(|(path, _)| path);
    changes.without_files = files.filter(|path| unused.contains(path)).collect();
    Ok(changes)
}
