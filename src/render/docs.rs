//! The answers of `docs sync` and `docs new`.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::printer::{Answer, style};
use crate::ops::docs::sync::{Change, Synced};
use crate::output::untrusted::untrusted;

/// The document.
#[derive(Serialize, JsonSchema)]
pub struct Document {
    task: String,
    dry_run: bool,
    files: Vec<File>,
    /// The manifests that were filled in.
    evidence: Vec<Evidence>,
    /// Lines of the source: ticked items that ask for a manifest, and no run proves them.
    unproven: Vec<usize>,
}

#[derive(Serialize, JsonSchema)]
struct File {
    path: String,
    change: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct Evidence {
    path: String,
    line: usize,
    manifest: String,
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Unchanged => "unchanged",
        Change::Updated => "updated",
        Change::Created => "created",
    }
}

impl Answer for Synced {
    type Document = Document;

    fn document(&self) -> Document {
        Document {
            task: self.task.clone(),
            dry_run: self.dry_run,
            files: self
                .files
                .iter()
                .map(|file| File { path: file.path.clone(), change: word(file.change) })
                .collect(),
            evidence: self
                .filled
                .iter()
                .map(|filled| Evidence {
                    path: self.source.clone(),
                    line: filled.line,
                    manifest: filled.manifest.clone(),
                })
                .collect(),
            unproven: self.unproven.clone(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for file in &self.files {
            writeln!(out, "{:>9}  {}", word(file.change), untrusted(&file.path))?;
        }
        for filled in &self.filled {
            let manifest = untrusted(&filled.manifest);
            writeln!(out, " evidence  {}:{}  {manifest}", untrusted(&self.source), filled.line)?;
        }
        let warning = style("warning");
        for line in &self.unproven {
            writeln!(
                out,
                " {warning}unproven{warning:#}  {}:{line}  ticked, and no run of the task that passed proves it",
                untrusted(&self.source)
            )?;
        }
        let end = if self.dry_run { "nothing was written (dry run)" } else { "OK" };
        writeln!(out, "{}: {} — {end}", self.request, untrusted(&self.task))
    }
}
