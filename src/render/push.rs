//! What is said about a push.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::hook;
use super::printer::{Answer, style};
use crate::ops::push::PushOutcome;
use crate::output::untrusted::untrusted;
use crate::run::status::RunStatus;

/// The document.
#[derive(Serialize, JsonSchema)]
pub struct Document {
    /// Whether git pushed, and said that all went well.
    pushed: bool,
    /// What git exited with; null if it was not called.
    exit_code: Option<i32>,
    /// What git said when the push was only tried, and would not do.
    said: Option<String>,
    /// What was said about each place that it goes to.
    remotes: Vec<hook::Document>,
    runs: Vec<Run>,
    /// The remotes that evidence is being sent to.
    evidence: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Run {
    run_id: String,
    pipeline: String,
    status: RunStatus,
}

impl Answer for PushOutcome {
    type Document = Document;

    fn document(&self) -> Document {
        let runs = self.ran.iter().map(|manifest| Run {
            run_id: manifest.run_id.to_string(),
            pipeline: manifest.pipeline_id.clone(),
            status: manifest.status,
        });
        Document {
            pushed: self.git == Some(0),
            exit_code: self.git,
            said: self.tried.clone(),
            remotes: self.judgements.iter().map(Answer::document).collect(),
            runs: runs.collect(),
            evidence: self.evidence.clone(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(said) = &self.tried {
            writeln!(out, "{}", untrusted(said).with_lines())?;
            return Ok(());
        }
        let is_over = self.git.is_some();
        // What may be pushed is told by git, and by its hook.
        for judgement in self.judgements.iter().filter(|it| !is_over || it.is_remarkable()) {
            judgement.text(out)?;
        }
        if !is_over {
            let color = style("FAILED");
            writeln!(out, "{color}Nothing was pushed{color:#}")?;
        }
        Ok(())
    }
}
