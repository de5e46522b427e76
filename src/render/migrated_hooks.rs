//! What `hooks migrate` proposes.

use std::collections::BTreeMap;
use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::printer::Answer;
use crate::ops::hooks::migrate::Migration;
use crate::output::untrusted::untrusted;
use crate::pipeline::config::FILE_NAME;

/// The document.
#[derive(Serialize, JsonSchema)]
pub struct Document {
    sources: Vec<Source>,
    stages: Vec<Stage>,
    left_out: Vec<LeftOut>,
    /// What is added to the configuration: a pipeline, and an entry per event.
    added: Value,
    /// The configuration as a whole, as it would be.
    configuration: String,
    /// Whether there was a configuration already.
    exists: bool,
    /// The file, if it was written.
    written: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Source {
    path: String,
    /// `lefthook`, `husky` or `pre-commit`.
    tool: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct Stage {
    /// The file that says it.
    source: String,
    event: &'static str,
    id: String,
    command: String,
    cwd: Option<String>,
    env: BTreeMap<String, String>,
    fixes: bool,
    /// What is not quite the same.
    notes: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct LeftOut {
    source: String,
    name: String,
    why: String,
}

impl Answer for Migration {
    type Document = Document;

    fn document(&self) -> Document {
        Document {
            sources: self
                .sources
                .iter()
                .map(|(path, tool)| Source { path: path.clone(), tool: tool.as_str() })
                .collect(),
            stages: self
                .found
                .stages
                .iter()
                .map(|stage| Stage {
                    source: stage.source.clone(),
                    event: stage.event.as_str(),
                    id: stage.id.clone(),
                    command: stage.command.clone(),
                    cwd: stage.cwd.clone(),
                    env: stage.env.clone(),
                    fixes: stage.fixes,
                    notes: stage.notes.clone(),
                })
                .collect(),
            left_out: self
                .found
                .left_out
                .iter()
                .map(|it| LeftOut { source: it.source.clone(), name: it.name.clone(), why: it.why.clone() })
                .collect(),
            added: self.added.clone(),
            configuration: self.text.clone(),
            exists: self.exists,
            written: self.written.then(|| self.config.display().to_string()),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let sources: Vec<_> = self.sources.iter().map(|(path, _)| path.as_str()).collect();
        writeln!(out, "Read: {}", untrusted(&sources.join(", ")))?;
        for stage in &self.found.stages {
            let fixes = if stage.fixes { " (fixes)" } else { "" };
            let command = stage.command.replace('\n', "; ");
            writeln!(out, "  {}  {}{fixes}  {}", stage.event, untrusted(&stage.id), untrusted(&command))?;
            for note in &stage.notes {
                writeln!(out, "      {}", untrusted(note))?;
            }
        }
        if !self.found.left_out.is_empty() {
            writeln!(out, "Left out:")?;
            for it in &self.found.left_out {
                writeln!(
                    out,
                    "  {}: {}: {}",
                    untrusted(&it.source),
                    untrusted(&it.name),
                    untrusted(&it.why)
                )?;
            }
        }
        if self.found.stages.is_empty() {
            return writeln!(out, "There is nothing to add to {FILE_NAME}.");
        }
        if !self.written {
            let whole = if self.exists { "Would be added to" } else { "Would be written as" };
            writeln!(out, "{whole} {FILE_NAME}:")?;
            let added = serde_json::to_string_pretty(&self.added).map_err(io::Error::other)?;
            for line in added.lines() {
                writeln!(out, "{}", untrusted(line))?;
            }
            writeln!(out, "Next:")?;
            return writeln!(out, "  git orchestrate hooks migrate --write");
        }
        let verb = if self.exists { "Added to" } else { "Wrote" };
        writeln!(out, "{verb} {FILE_NAME}; nothing that was there has changed")?;
        writeln!(out, "Next:")?;
        writeln!(out, "  git orchestrate start {}  runs all of it once", self.pipeline)?;
        let mut tools: Vec<_> = self.sources.iter().map(|(_, tool)| *tool).collect();
        tools.dedup();
        for tool in tools {
            writeln!(out, "  {}  takes the hooks of {} away", tool.farewell(), tool.as_str())?;
        }
        writeln!(out, "  git orchestrate hooks install  puts ours there")
    }
}
