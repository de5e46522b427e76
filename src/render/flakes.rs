//! The answer of `flakes`.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::printer::{Answer, span, style};
use crate::id::short;
use crate::ops::flakes::Flake;
use crate::output::untrusted::untrusted;
use crate::run::key::{Key, Subject};
use crate::run::stamp::Stamp;

/// Flakes to show.
pub struct Flakes<'a> {
    pub flakes: &'a [Flake],
    /// Whether they have just been cleared.
    pub cleared: bool,
    pub now: Stamp,
}

/// The document.
#[derive(Serialize, JsonSchema)]
pub struct Document {
    /// Whether they have just been cleared.
    cleared: bool,
    flakes: Vec<Item>,
}

#[derive(Serialize, JsonSchema)]
struct Item {
    stage: String,
    pipeline: String,
    key: Key,
    subject: Subject,
    tree: String,
    command: Option<String>,
    /// The newest run that passed.
    passed: Option<String>,
    /// The newest run that failed.
    failed: Option<String>,
    passes: usize,
    failures: usize,
    /// How often it passed on a retry.
    retried: usize,
    last_at: Stamp,
}

impl Answer for Flakes<'_> {
    type Document = Document;

    fn document(&self) -> Document {
        let item = |flake: &Flake| Item {
            stage: flake.stage.clone(),
            pipeline: flake.pipeline.clone(),
            key: flake.key.clone(),
            subject: flake.subject.clone(),
            tree: flake.tree.clone(),
            command: flake.command.clone(),
            passed: flake.passed.clone(),
            failed: flake.failed.clone(),
            passes: flake.passes,
            failures: flake.failures,
            retried: flake.retried,
            last_at: flake.last_at,
        };
        Document { cleared: self.cleared, flakes: self.flakes.iter().map(item).collect() }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.flakes.is_empty() {
            return writeln!(out, "No stage passed and failed on the same tree.");
        }
        for flake in self.flakes {
            let word = if self.cleared { "cleared" } else { "flaky" };
            let color = style(if self.cleared { "ok" } else { "warning" });
            let key = short(flake.key.as_str());
            writeln!(out, "{color}{word:>8}{color:#}  {}  {}", untrusted(&flake.stage), untrusted(key))?;
            let tree = short(&flake.tree);
            writeln!(
                out,
                "          passed {}, failed {}, passed on a retry {}; on tree {}, last {} ago",
                flake.passes,
                flake.failures,
                flake.retried,
                untrusted(tree),
                span(self.now.seconds_since(flake.last_at)),
            )?;
            for (word, run) in [("passed", &flake.passed), ("failed", &flake.failed)] {
                if let Some(run) = run {
                    writeln!(out, "          {word} in run {}", untrusted(run))?;
                }
            }
        }
        if !self.cleared {
            writeln!(
                out,
                "\nThey prove nothing. Once you know why: git orchestrate flakes clear STAGE --reason …"
            )?;
        }
        Ok(())
    }
}
