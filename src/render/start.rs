//! The answer of `start` and `resume`.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::printer::{Answer, style};
use crate::output::untrusted::untrusted;
use crate::run::manifest::Manifest;
use crate::run::status::RunStatus;

/// A run that ended.
pub struct Finished<'a> {
    pub manifest: &'a Manifest,
    /// What to call it: `finished` or `resumed`.
    pub word: &'a str,
}

/// The document (`contract-core.md` §2.4), and what this program adds to it.
#[derive(Serialize, JsonSchema)]
pub struct Document {
    run_id: String,
    status: RunStatus,
    artifact_root: String,
    manifest: String,
    log_path: String,
    status_detail: Option<String>,
    partial: bool,
    void: bool,
}

impl Answer for Finished<'_> {
    type Document = Document;

    fn document(&self) -> Document {
        let Manifest { run_id, status, artifact_root, log_path, status_detail, .. } = self.manifest;
        Document {
            run_id: run_id.to_string(),
            status: *status,
            artifact_root: artifact_root.clone(),
            manifest: self.manifest.path(),
            log_path: log_path.clone(),
            status_detail: status_detail.clone(),
            partial: self.manifest.is_partial(),
            void: self.manifest.is_void(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Manifest { run_id, status, log_path, .. } = self.manifest;
        let style = style(status.as_str());
        writeln!(out, "Run {}: {}", self.word, untrusted(run_id.as_str()))?;
        write!(out, "Status: {style}{status}{style:#}")?;
        if self.manifest.is_partial() {
            write!(out, " (partial: one stage was asked for)")?;
        }
        if self.manifest.is_void() {
            write!(out, " (void: the tree moved while it ran)")?;
        }
        writeln!(out)?;
        writeln!(out, "Manifest: {}", untrusted(&self.manifest.path()))?;
        writeln!(out, "Log: {}", untrusted(log_path))
    }
}
