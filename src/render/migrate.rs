//! The answer of `migrate`.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::printer::{Answer, about};
use crate::ops::migrate::Migration;
use crate::output::untrusted::untrusted;
use crate::run::stamp::Stamp;
use crate::store::legacy::Status;

/// What became of the runs of the older layout.
pub struct Migrated<'a>(pub &'a Migration);

/// The document.
#[derive(Serialize, JsonSchema)]
pub struct Document {
    generated_at: Stamp,
    /// The worktree that was looked at; others are left alone.
    root: String,
    dry_run: bool,
    legacy_root: String,
    runs: Vec<Run>,
    /// The logs, relative to the root.
    logs: Vec<String>,
    /// Folders that only point at a run, and stay.
    pointers: usize,
}

#[derive(Serialize, JsonSchema)]
struct Run {
    run_id: String,
    task_id: String,
    source: String,
    destination: String,
    status: Status,
    message: String,
}

impl Answer for Migrated<'_> {
    type Document = Document;

    fn document(&self) -> Document {
        let Migration { at, place, dry_run, legacy_root, runs, logs, pointers, .. } = self.0;
        let run = |moved: &crate::ops::migrate::Moved| Run {
            run_id: moved.entry.run_id.clone(),
            task_id: moved.task.to_string(),
            source: moved.entry.source.clone(),
            destination: moved.entry.destination.clone(),
            status: moved.entry.status,
            message: moved.entry.message.clone(),
        };
        Document {
            generated_at: *at,
            root: place.root.display().to_string(),
            dry_run: *dry_run,
            legacy_root: legacy_root.clone(),
            runs: runs.iter().map(run).collect(),
            logs: logs.clone(),
            pointers: *pointers,
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Migration { place, runs, logs, legacy_root, .. } = self.0;
        about(out, place)?;
        if runs.is_empty() {
            return writeln!(out, "No run to migrate in {}.", untrusted(legacy_root));
        }
        for moved in runs {
            let entry = &moved.entry;
            let word = match entry.status {
                Status::Planned => "planned",
                Status::Migrated => "migrated",
                Status::Skipped => "skipped",
                Status::Error => "error",
            };
            writeln!(out, "{}: {word} — {}", untrusted(&entry.run_id), untrusted(&entry.message))?;
            if matches!(entry.status, Status::Planned | Status::Migrated) {
                writeln!(out, "  {} → {}", untrusted(&entry.source), untrusted(&entry.destination))?;
            }
        }
        for log in logs {
            writeln!(out, "Migration log: {}", untrusted(log))?;
        }
        Ok(())
    }
}
