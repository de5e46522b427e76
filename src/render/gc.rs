//! The answer of `gc`.

use std::io::{self, Write};

use anstyle::Style;
use schemars::JsonSchema;
use serde::Serialize;

use super::printer::{Answer, Table, about, span, style};
use crate::ops::gc::{Action, Collected, Collection};
use crate::output::untrusted::untrusted;
use crate::run::stamp::Stamp;

/// What became of the runs.
pub struct Swept<'a>(pub &'a Collection);

/// The document.
#[derive(Serialize, JsonSchema)]
pub struct Document {
    generated_at: Stamp,
    /// The worktree that was looked at; others are left alone.
    root: String,
    dry_run: bool,
    /// Oldest first.
    runs: Vec<Run>,
    /// Runs that were removed, or would be.
    removed: usize,
    kept: usize,
    /// The bytes of those that were removed, or would be.
    freed_bytes: u64,
    /// What crashed processes had left, relative to the root.
    leftovers: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Run {
    run_id: String,
    task_id: String,
    bytes: u64,
    age_seconds: Option<f64>,
    action: Action,
    reason: String,
}

impl Collection {
    fn going(&self) -> impl Iterator<Item = &Collected> {
        self.runs.iter().filter(|run| matches!(run.action, Action::Removed | Action::WouldRemove))
    }
}

impl Answer for Swept<'_> {
    type Document = Document;

    fn document(&self) -> Document {
        let Collection { at, place, dry_run, runs, leftovers } = self.0;
        let run = |run: &Collected| Run {
            run_id: run.run.to_string(),
            task_id: run.task.to_string(),
            bytes: run.bytes,
            age_seconds: run.age_seconds,
            action: run.action,
            reason: run.reason.clone(),
        };
        Document {
            generated_at: *at,
            root: place.root.display().to_string(),
            dry_run: *dry_run,
            runs: runs.iter().map(run).collect(),
            removed: self.0.going().count(),
            kept: runs.len() - self.0.going().count(),
            freed_bytes: self.0.going().map(|run| run.bytes).sum(),
            leftovers: leftovers.clone(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Collection { place, dry_run, runs, leftovers, .. } = self.0;
        about(out, place)?;
        // What stays is of interest to those who ask what would happen.
        let shown = || runs.iter().filter(|run| *dry_run || run.action != Action::Kept);
        if shown().next().is_some() {
            let mut table = Table::new("RUN\tTASK\tSIZE\tAGE\tWHAT\tWHY")?;
            for run in shown() {
                let (word, color) = fate(run.action);
                writeln!(
                    table.0,
                    "{}\t{}\t{}\t{}\t{color}{word}{color:#}\t{}",
                    untrusted(run.run.as_str()),
                    untrusted(run.task.as_str()),
                    size(run.bytes),
                    run.age_seconds.map_or_else(|| "?".to_owned(), span),
                    untrusted(&run.reason)
                )?;
            }
            table.print(out)?;
        }
        for leftover in leftovers {
            writeln!(out, "Leftover of a crash: {}", untrusted(leftover))?;
        }
        let (count, bytes) = (self.0.going().count(), self.0.going().map(|run| run.bytes).sum());
        let word = if *dry_run { "Would remove" } else { "Removed" };
        let noun = if count == 1 { "run" } else { "runs" };
        writeln!(out, "{word} {count} {noun} ({}), kept {}.", size(bytes), runs.len() - count)
    }
}

/// Says what became of a thing that was looked at, and in which colour.
pub(super) fn fate(action: Action) -> (&'static str, Style) {
    match action {
        Action::Kept => ("kept", style("ok")),
        Action::WouldRemove => ("would go", style("warning")),
        Action::Removed => ("removed", style("warning")),
        Action::Failed => ("failed", style("failed")),
    }
}

/// An amount of bytes as people say it: `17 B`, `1.5 KiB`, `2.0 GiB`.
pub(super) fn size(bytes: u64) -> String {
    let (mut amount, mut unit) = (bytes as f64, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if amount < 1024.0 {
            break;
        }
        (amount, unit) = (amount / 1024.0, next);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{amount:.1} {unit}") }
}
