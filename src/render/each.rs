//! The answer of `start --each`.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::printer::{Answer, style};
use crate::id::short;
use crate::ops::each::{CommitEnd, EachOutcome, End};
use crate::output::untrusted::untrusted;
use crate::run::manifest::Manifest;
use crate::run::status::RunStatus;

/// What became of the commits of a range.
pub struct Each<'a>(pub &'a EachOutcome);

/// The document.
#[derive(Serialize, JsonSchema)]
pub struct Document {
    range: String,
    status: RunStatus,
    /// How many commits the range holds.
    total: usize,
    succeeded: usize,
    failed: usize,
    cancelled: usize,
    not_run: usize,
    /// All of them, oldest first.
    commits: Vec<Item>,
}

#[derive(Serialize, JsonSchema)]
struct Item {
    commit: String,
    tree: String,
    subject: String,
    /// `succeeded`, `failed`, `cancelled` or `not_run`.
    status: &'static str,
    /// Why nothing ran, or the run's own detail.
    reason: Option<String>,
    run_id: Option<String>,
    manifest: Option<String>,
    log_path: Option<String>,
    partial: bool,
    void: bool,
}

impl End {
    fn word(&self) -> &'static str {
        match self {
            Self::Ran(manifest) => manifest.status.as_str(),
            Self::Refused(_) => "failed",
            Self::NotRun => "not_run",
        }
    }

    fn manifest(&self) -> Option<&Manifest> {
        match self {
            Self::Ran(manifest) => Some(manifest),
            _ => None,
        }
    }

    fn reason(&self) -> Option<String> {
        match self {
            Self::Ran(manifest) => manifest.status_detail.clone(),
            Self::Refused(err) => Some(format!("{err:#}")),
            Self::NotRun => None,
        }
    }
}

impl Each<'_> {
    fn count(&self, word: &str) -> usize {
        self.0.commits.iter().filter(|commit| commit.end.word() == word).count()
    }
}

impl Answer for Each<'_> {
    type Document = Document;

    fn document(&self) -> Document {
        let EachOutcome { range, commits, interrupt } = self.0;
        let item = |CommitEnd { commit, end }: &CommitEnd| {
            let run = end.manifest();
            Item {
                commit: commit.id.clone(),
                tree: commit.tree.clone(),
                subject: commit.subject.clone(),
                status: end.word(),
                reason: end.reason(),
                run_id: run.map(|run| run.run_id.to_string()),
                manifest: run.map(Manifest::path),
                log_path: run.map(|run| run.log_path.clone()),
                partial: run.is_some_and(Manifest::is_partial),
                void: run.is_some_and(Manifest::is_void),
            }
        };
        let failed = self.count("failed");
        Document {
            range: range.clone(),
            status: match (interrupt, failed) {
                (Some(_), _) => RunStatus::Cancelled,
                (None, 0) => RunStatus::Succeeded,
                (None, _) => RunStatus::Failed,
            },
            total: commits.len(),
            succeeded: self.count("succeeded"),
            failed,
            cancelled: self.count("cancelled"),
            not_run: self.count("not_run"),
            commits: commits.iter().map(item).collect(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let EachOutcome { range, commits, .. } = self.0;
        if commits.is_empty() {
            return writeln!(out, "No commit in {}: nothing was run.", untrusted(range));
        }
        for CommitEnd { commit, end } in commits {
            let word = match end.word() {
                "not_run" => "not run",
                word => word,
            };
            let style = style(word);
            let short = short(&commit.id);
            write!(out, "{style}{word:>9}{style:#}  {short}  ")?;
            match end.manifest() {
                Some(run) => write!(out, "{}", untrusted(run.run_id.as_str()))?,
                None => write!(out, "{:33}", "-")?,
            }
            let void = if end.manifest().is_some_and(Manifest::is_void) { "  (void)" } else { "" };
            writeln!(out, "  {}{void}", untrusted(&commit.subject).with_width(60))?;
            if let Some(reason) = end.reason() {
                writeln!(out, "{:9}  {}", "", untrusted(&reason))?;
            }
        }
        let parts = [("succeeded", "succeeded"), ("failed", "failed"), ("cancelled", "cancelled")];
        let mut words: Vec<_> = parts
            .iter()
            .map(|(word, name)| (self.count(word), name))
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!("{count} {name}"))
            .collect();
        let left = self.count("not_run");
        if left > 0 {
            words.push(format!("{left} not run"));
        }
        let noun = if commits.len() == 1 { "commit" } else { "commits" };
        writeln!(out, "{} {noun} in {}: {}", commits.len(), untrusted(range), words.join(", "))
    }
}
