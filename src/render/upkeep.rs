//! The answers of `evidence compact`, `evidence rebuild`, `evidence rewrite` and `evidence push --detach`.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::evidence::{RefusedDocument, refused_document, refused_text};
use super::printer::{Answer, style};
use crate::id::short;
use crate::ops::evidence::compact::Compacted;
use crate::ops::evidence::rebuild::Rebuilt;
use crate::ops::evidence::rewrite::Rewritten;
use crate::ops::evidence::sending::Sending;
use crate::output::untrusted::untrusted;

/// The document of `evidence compact`.
#[derive(Serialize, JsonSchema)]
pub struct CompactDocument {
    r#ref: String,
    dry_run: bool,
    /// How many commits the ref had, and how many it has now, or would have.
    commits_before: usize,
    commits_after: usize,
    /// How many of them a remote is known to have: those stay as they are.
    delivered: usize,
    /// Commits that have no note any more; their records stand with their tree.
    notes_removed: Vec<String>,
    /// Manifests that went: paths in the tree of the ref.
    manifests_removed: Vec<String>,
}

impl Answer for Compacted {
    type Document = CompactDocument;

    fn document(&self) -> CompactDocument {
        let Self { reference, dry_run, before, after, delivered, notes, manifests } = self.clone();
        CompactDocument {
            r#ref: reference,
            dry_run,
            commits_before: before,
            commits_after: after,
            delivered,
            notes_removed: notes,
            manifests_removed: manifests,
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { reference, before, after, delivered, .. } = self;
        if !self.is_change() {
            return writeln!(out, "Nothing to do: {reference}, commits: {before}, delivered: {delivered}");
        }
        let word = if self.dry_run { "Would compact" } else { "Compacted" };
        writeln!(out, "{word}: {reference}")?;
        writeln!(out, "Commits: {before} before, {after} after; delivered: {delivered}")?;
        if !self.notes.is_empty() {
            writeln!(out, "Notes on commits that nothing leads to: {}", self.notes.len())?;
        }
        if !self.manifests.is_empty() {
            writeln!(out, "Manifests about trees that no commit has: {}", self.manifests.len())?;
        }
        Ok(())
    }
}

/// The document of `evidence rebuild`.
#[derive(Serialize, JsonSchema)]
pub struct RebuildDocument {
    dry_run: bool,
    /// How many runs were looked at.
    runs: usize,
    /// Runs whose records stand in the ledger now, or would, and did not.
    added: Vec<String>,
    /// How many records stood there already.
    known: usize,
    /// Runs about which somebody decided with `flakes clear` that they count no more.
    cleared: Vec<String>,
    /// How many records of others are entered, or would be, from notes that are here.
    from_notes: usize,
    /// Runs that are not to be believed, or cannot be read.
    broken: Vec<BrokenDocument>,
    /// Lines of notes that are not to be believed.
    refused: Vec<RefusedDocument>,
}

/// A run that was left out.
#[derive(Serialize, JsonSchema)]
struct BrokenDocument {
    /// The folder of the run.
    path: String,
    why: String,
}

impl Answer for Rebuilt {
    type Document = RebuildDocument;

    fn document(&self) -> RebuildDocument {
        let broken = self.broken.iter().cloned();
        RebuildDocument {
            dry_run: self.dry_run,
            runs: self.runs,
            added: self.added.clone(),
            known: self.known,
            cleared: self.cleared.clone(),
            from_notes: self.from_notes,
            refused: self.refused.iter().map(refused_document).collect(),
            broken: broken.map(|it| BrokenDocument { path: it.path, why: it.why }).collect(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let word = if self.dry_run { "Would enter" } else { "Entered" };
        for run in &self.added {
            writeln!(out, "{word}: {}", untrusted(run))?;
        }
        for run in &self.cleared {
            writeln!(out, "Cleared since: {}", untrusted(run))?;
        }
        for broken in &self.broken {
            let color = style("FAILED");
            writeln!(
                out,
                "{color}left out{color:#}  {}: {}",
                untrusted(&broken.path),
                untrusted(&broken.why)
            )?;
        }
        for refused in &self.refused {
            refused_text(out, "", refused)?;
        }
        if self.from_notes > 0 {
            writeln!(out, "{word} from notes: {}", self.from_notes)?;
        }
        let (added, known) = (self.added.len(), self.known);
        writeln!(
            out,
            "Runs looked at: {}; new: {added}, records known: {known}, left out: {}",
            self.runs,
            self.broken.len()
        )
    }
}

/// The document of `evidence push --detach`.
#[derive(Serialize, JsonSchema)]
pub struct SendingDocument {
    remote: String,
    /// The file that tells what came of it.
    log: String,
}

impl Answer for Sending {
    type Document = SendingDocument;

    fn document(&self) -> SendingDocument {
        SendingDocument { remote: self.remote.clone(), log: self.log.display().to_string() }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let log = self.log.display().to_string();
        writeln!(
            out,
            "On the way to {}: what comes of it will be in {}",
            untrusted(&self.remote),
            untrusted(&log)
        )
    }
}

/// The document of `evidence rewrite`.
#[derive(Serialize, JsonSchema)]
pub struct RewriteDocument {
    /// The ref that has the notes; null if none was written.
    r#ref: Option<String>,
    carried: Vec<CarriedDocument>,
    /// Commits with notes that the new commit does not get.
    left: Vec<LeftDocument>,
}

/// A commit whose notes the new one has now.
#[derive(Serialize, JsonSchema)]
struct CarriedDocument {
    old: String,
    new: String,
    runs: Vec<String>,
}

/// A commit whose notes the new one has not.
#[derive(Serialize, JsonSchema)]
struct LeftDocument {
    old: String,
    new: String,
    why: &'static str,
}

impl Answer for Rewritten {
    type Document = RewriteDocument;

    fn document(&self) -> RewriteDocument {
        let Self { reference, carried, left } = self.clone();
        RewriteDocument {
            r#ref: reference,
            carried: (carried.into_iter())
                .map(|it| CarriedDocument { old: it.pair.old, new: it.pair.new, runs: it.runs })
                .collect(),
            left: left
                .into_iter()
                .map(|it| LeftDocument { old: it.pair.old, new: it.pair.new, why: it.why })
                .collect(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for carried in &self.carried {
            let (old, new) = (short(&carried.pair.old), short(&carried.pair.new));
            writeln!(out, "Carried over: {old} → {new}, {}", untrusted(&carried.runs.join(", ")))?;
        }
        for left in &self.left {
            let (old, new) = (short(&left.pair.old), short(&left.pair.new));
            writeln!(out, "Left: {old} → {new}, {}", left.why)?;
        }
        if self.carried.is_empty() && self.left.is_empty() {
            writeln!(out, "Nothing to carry over")?;
        }
        Ok(())
    }
}
