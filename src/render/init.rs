//! The answer of `init`.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::printer::{Answer, style};
use crate::ops::init::{Here, Made};
use crate::output::untrusted::untrusted;
use crate::pipeline::builtin;

/// The document.
#[derive(Serialize, JsonSchema)]
pub struct Document {
    /// The root of the project.
    root: String,
    /// The configuration.
    config: String,
    /// The files that were written, by their names in the root.
    written: Vec<&'static str>,
    /// What the project is built with.
    found: Vec<Kind>,
    /// What is here too, and got no stages.
    also: Vec<Kind>,
    stages: Vec<Stage>,
    /// The text of the configuration.
    text: String,
    /// What was added to git's configuration.
    configured: Vec<Setting>,
    /// Whether the copy of the schema that was there is of another version.
    schema_differs: bool,
    /// What to type next.
    next: Vec<&'static str>,
}

#[derive(Serialize, JsonSchema)]
struct Kind {
    kind: &'static str,
    /// Relative to the root; empty for the root itself.
    folder: String,
}

#[derive(Serialize, JsonSchema)]
struct Setting {
    key: String,
    value: String,
}

#[derive(Serialize, JsonSchema)]
struct Stage {
    id: String,
    command: String,
}

const NEXT: [(&str, &str); 3] = [
    ("git orchestrate plan", "shows what would run"),
    ("git orchestrate doctor", "looks whether something would stop it"),
    ("git orchestrate start", "runs it"),
];

impl Answer for Made {
    type Document = Document;

    fn document(&self) -> Document {
        let kind = |here: &Here| Kind { kind: here.kind.word(), folder: here.folder.clone() };
        let stage = |(id, command): &(String, String)| Stage { id: id.clone(), command: command.clone() };
        Document {
            root: self.root.display().to_string(),
            config: self.config.display().to_string(),
            written: self.written.clone(),
            found: self.found.iter().map(kind).collect(),
            also: self.also.iter().map(kind).collect(),
            stages: self.stages.iter().map(stage).collect(),
            text: self.text.clone(),
            configured: (self.configured.iter())
                .map(|(key, value)| Setting { key: key.clone(), value: value.clone() })
                .collect(),
            schema_differs: self.schema_differs,
            next: NEXT.iter().map(|(command, _)| *command).collect(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.printed_only {
            return out.write_all(self.text.as_bytes());
        }
        for (key, value) in &self.configured {
            writeln!(out, "Configured {} = {}", untrusted(key), untrusted(value))?;
        }
        if self.notes_only {
            if self.configured.is_empty() {
                writeln!(out, "Nothing to do: git knows of the notes")?;
            }
            return Ok(());
        }
        let wrote_config = self.written.iter().any(|name| self.config.ends_with(name));
        if self.written.is_empty() {
            writeln!(out, "Nothing to do: the schema is the present one")?;
        } else {
            writeln!(out, "Wrote {}", self.written.join(" and "))?;
        }
        if self.schema_differs {
            writeln!(out, "The schema is of another version: git orchestrate init --update-schema")?;
        }
        if !wrote_config {
            return Ok(());
        }
        let words: Vec<_> = self.found.iter().map(|here| here.kind.told_by()).collect();
        if words.is_empty() {
            let color = style("warning");
            writeln!(
                out,
                "{color}Nothing here tells how to build, lint or test this project.{color:#} The pipeline has one stage,\n\
                 which fails until you put your own command in its place."
            )?;
        } else {
            writeln!(out, "The stages come from {}:", words.join(" and "))?;
        }
        let width = self.stages.iter().map(|(id, _)| id.len()).max().unwrap_or(0);
        for (id, command) in &self.stages {
            writeln!(out, "  {id:width$}  {}", untrusted(command))?;
        }
        for Here { folder, kind } in &self.also {
            match folder.as_str() {
                "" => writeln!(
                    out,
                    "Also here: {}, without stages of its own; --kind {} takes it",
                    kind.told_by(),
                    kind.word()
                )?,
                folder => {
                    let (_, command) = builtin::commands(kind).pop().unwrap_or_default();
                    let stage = serde_json::json!({
                        "kind": "command", "id": kind.word(), "command": command, "cwd": folder,
                    });
                    writeln!(
                        out,
                        "Also in {}/: {}, without stages of its own; one would be\n  {}",
                        untrusted(folder),
                        kind.told_by(),
                        untrusted(&stage.to_string())
                    )?;
                }
            }
        }
        writeln!(out, "Next:")?;
        NEXT.iter().try_for_each(|(command, what)| writeln!(out, "  {command:22}  {what}"))?;
        writeln!(out, "  git add {}  keeps it", self.written.join(" "))
    }
}
