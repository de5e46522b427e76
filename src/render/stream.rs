//! Streams that were made.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::printer::{Answer, style};
use crate::ops::Refusal;
use crate::ops::stream::new::{Made, NewOutcome};
use crate::output::untrusted::untrusted;
use crate::run::status::RunStatus;
use crate::store::streams::{Phase, Ports};

/// What `stream new` made.
pub struct Created<'a>(pub &'a NewOutcome);

/// The document of `stream new`.
#[derive(Serialize, JsonSchema)]
pub struct CreatedDocument {
    streams: Vec<Stream>,
    /// Names of which nothing was made.
    refused: Vec<Refused>,
    warnings: Vec<String>,
    /// The run that was started above those of the streams; each of them has it as its `parent_run_id`.
    run_id: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Stream {
    name: String,
    /// Its folder, absolute.
    path: String,
    branch: String,
    /// The commit that its branch names.
    commit: String,
    /// The branch that it began on.
    base: Option<String>,
    /// The task that its runs belong to.
    task: String,
    phase: Phase,
    /// The run of its set-up.
    setup: Option<SetUp>,
    /// The ports that it has for itself.
    ports: Option<Ports>,
    /// The database that it has for itself.
    database: Option<String>,
    /// Whether what was not committed went along.
    carried: bool,
    warnings: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct SetUp {
    run_id: String,
    status: RunStatus,
}

/// A name that was refused, and why.
#[derive(Serialize, JsonSchema)]
pub struct Refused {
    name: String,
    error: String,
    hint: Option<String>,
}

impl Refused {
    /// Returns why a name was refused.
    pub fn new(name: &str, err: &anyhow::Error) -> Self {
        let hint = err.chain().find_map(|cause| cause.downcast_ref::<Refusal>()?.hint.clone());
        Self { name: name.to_owned(), error: format!("{err:#}"), hint }
    }
}

impl Answer for Created<'_> {
    type Document = CreatedDocument;

    fn document(&self) -> CreatedDocument {
        let stream = |Made { stream, commit, carried, warnings }: &Made| Stream {
            name: stream.name.to_string(),
            path: stream.path.display().to_string(),
            branch: stream.branch.clone(),
            commit: commit.clone(),
            base: stream.base.clone(),
            task: stream.task.to_string(),
            phase: stream.phase,
            setup: stream
                .setup
                .as_ref()
                .map(|setup| SetUp { run_id: setup.run.to_string(), status: setup.status }),
            ports: stream.ports,
            database: stream.database.clone(),
            carried: *carried,
            warnings: warnings.clone(),
        };
        let all = &self.0.streams;
        let refused = |(name, made): &(_, anyhow::Result<Made>)| {
            let name: &crate::id::StreamName = name;
            Some(Refused::new(name.as_str(), made.as_ref().err()?))
        };
        CreatedDocument {
            streams: all.iter().filter_map(|(_, made)| made.as_ref().ok().map(stream)).collect(),
            refused: all.iter().filter_map(refused).collect(),
            warnings: self.0.warnings.clone(),
            run_id: self.0.run.as_ref().map(ToString::to_string),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let color = style("warning");
        for warning in &self.0.warnings {
            writeln!(out, "{color}warning:{color:#} {}", untrusted(warning))?;
        }
        for Made { stream, carried, warnings, .. } in
            self.0.streams.iter().filter_map(|(_, made)| made.as_ref().ok())
        {
            let (word, color) = match stream.phase {
                Phase::SetUpFailed => ("set-up FAILED", style("FAILED")),
                _ => ("ready", style("ok")),
            };
            let path = stream.path.display().to_string();
            let (name, path) = (untrusted(stream.name.as_str()), untrusted(&path));
            let carried = if *carried { ", with your changes" } else { "" };
            writeln!(out, "{color}{word:>13}{color:#}  {name}  {path}{carried}")?;
            if let Some(setup) = stream.setup.as_ref().filter(|_| stream.phase == Phase::SetUpFailed) {
                writeln!(out, "               git orchestrate logs {}", untrusted(setup.run.as_str()))?;
            }
            for warning in warnings {
                writeln!(out, "               {}", untrusted(warning).with_lines())?;
            }
        }
        if let Some(run) = &self.0.run {
            writeln!(out, "Running: git orchestrate status --watch {}", untrusted(run.as_str()))?;
        }
        Ok(())
    }
}
