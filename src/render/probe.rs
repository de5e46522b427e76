//! Merges that were tried: which streams conflict, and in what.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::printer::style;
use crate::ops::stream::probe::{Conflict, Probe, Problem, With};
use crate::output::untrusted::untrusted;

/// Merges that were tried in memory.
#[derive(Serialize, JsonSchema)]
pub struct ProbeDocument {
    /// How many.
    merges: usize,
    conflicts: Vec<ConflictDocument>,
    /// Merges that git would not try.
    problems: Vec<ProblemDocument>,
}

/// Two that cannot be merged: a stream, and another one or the branch that it goes to.
#[derive(Serialize, JsonSchema)]
struct ConflictDocument {
    stream: String,
    other: Option<String>,
    target: Option<String>,
    /// The files that both changed.
    paths: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct ProblemDocument {
    stream: String,
    other: Option<String>,
    target: Option<String>,
    why: String,
}

/// Returns what a document says about it.
pub(super) fn probed(probe: &Probe) -> ProbeDocument {
    let named = |with: &With| match with {
        With::Stream(name) => (Some(name.clone()), None),
        With::Target(name) => (None, Some(name.clone())),
    };
    let conflict = |it: &Conflict| {
        let (other, target) = named(&it.with);
        ConflictDocument { stream: it.stream.clone(), other, target, paths: it.paths.clone() }
    };
    let problem = |it: &Problem| {
        let (other, target) = named(&it.with);
        ProblemDocument { stream: it.stream.clone(), other, target, why: it.why.clone() }
    };
    ProbeDocument {
        merges: probe.merges,
        conflicts: probe.conflicts.iter().map(conflict).collect(),
        problems: probe.problems.iter().map(problem).collect(),
    }
}

/// Writes what trying all merges found.
pub(super) fn tell(out: &mut dyn Write, probe: &Probe) -> io::Result<()> {
    /// More files than these are a wall of text.
    const MOST: usize = 8;
    let whom = |with: &With| match with {
        With::Stream(name) => untrusted(name).to_string(),
        With::Target(name) => format!("{}, where it goes", untrusted(name)),
    };
    for Conflict { stream, with, paths } in &probe.conflicts {
        let color = style("FAILED");
        writeln!(out, "{color}conflict{color:#}  {} and {}", untrusted(stream), whom(with))?;
        for path in paths.iter().take(MOST) {
            writeln!(out, "          {}", untrusted(path))?;
        }
        if paths.len() > MOST {
            writeln!(out, "          and {} more", paths.len() - MOST)?;
        }
    }
    for Problem { stream, with, why } in &probe.problems {
        let color = style("warning");
        writeln!(
            out,
            "{color} unknown{color:#}  {} and {}: {}",
            untrusted(stream),
            whom(with),
            untrusted(why)
        )?;
    }
    match (probe.conflicts.is_empty() && probe.problems.is_empty(), probe.streams.len()) {
        (true, 1) => writeln!(out, "1 stream: it can be merged to where it goes"),
        (true, streams) => {
            writeln!(out, "{streams} streams: all can be merged with each other, and to where they go")
        }
        _ => Ok(()),
    }
}
