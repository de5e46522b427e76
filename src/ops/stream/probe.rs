//! `stream list --probe`: which streams cannot be merged with each other, or with where they go.

use anyhow::{Context as _, Result};

use super::{Context, is_there, streams};
use crate::ops::evidence::parallel::in_parallel;
use crate::store::streams::{Phase, Stream};

/// What trying all merges found.
#[derive(Debug, Default)]
pub struct Probe {
    /// The streams that were tried with each other.
    pub streams: Vec<String>,
    /// How many merges were tried.
    pub merges: usize,
    pub conflicts: Vec<Conflict>,
    /// Merges that git would not try.
    pub problems: Vec<Problem>,
}

/// Two that cannot be merged.
#[derive(Debug)]
pub struct Conflict {
    pub stream: String,
    pub with: With,
    /// The files that both changed.
    pub paths: Vec<String>,
}

/// A merge that git would not try, and why.
#[derive(Debug)]
pub struct Problem {
    pub stream: String,
    pub with: With,
    pub why: String,
}

/// What a stream was merged with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum With {
    Stream(String),
    /// The branch that it goes to.
    Target(String),
}

/// So many merges are one process.
const AT_ONCE: usize = 64;

/// Tries to merge all streams with each other, and each with the branch that it goes to. What is not committed is not
/// looked at.
pub fn probe(ctx: &Context) -> Result<Probe> {
    let mut live = Vec::new();
    for stream in streams(ctx).all().into_iter().flatten() {
        if stream.phase != Phase::Creating
            && is_there(&stream)
            && let Some(tip) = ctx.repo.branch(&stream.branch)?
        {
            live.push((stream, tip));
        }
    }
    let asked = asked(ctx, &live)?;
    let pairs: Vec<_> = asked.iter().map(|asked| asked.commits.clone()).collect();
    let chunks: Vec<_> = pairs.chunks(AT_ONCE).collect();
    let tried = in_parallel(&chunks, |chunk| ctx.repo.try_merges(chunk));
    let mut probe = Probe {
        streams: live.iter().map(|(stream, _)| stream.name.to_string()).collect(),
        merges: pairs.len(),
        ..Probe::default()
    };
    let mut asked = asked.into_iter();
    for tried in tried {
        for (tried, Asked { stream, with, .. }) in
            tried.context("cannot try merges")?.into_iter().zip(&mut asked)
        {
            match tried {
                Ok(paths) if paths.is_empty() => {}
                Ok(paths) => probe.conflicts.push(Conflict { stream, with, paths }),
                Err(why) => probe.problems.push(Problem { stream, with, why }),
            }
        }
    }
    Ok(probe)
}

/// One merge to try.
struct Asked {
    stream: String,
    with: With,
    commits: (String, String),
}

fn asked(ctx: &Context, live: &[(Stream, String)]) -> Result<Vec<Asked>> {
    let mut asked = Vec::new();
    for (at, (stream, tip)) in live.iter().enumerate() {
        let name = stream.name.to_string();
        let mut ask = |with: With, other: &str| {
            // What is the same needs no merge.
            if other != tip {
                asked.push(Asked { stream: name.clone(), with, commits: (other.to_owned(), tip.clone()) });
            }
        };
        if let Some(base) = &stream.base
            && let Some(goal) = ctx.repo.branch(base)?
        {
            ask(With::Target(base.clone()), &goal);
        }
        for (other, its) in &live[at + 1..] {
            ask(With::Stream(other.name.to_string()), its);
        }
    }
    Ok(asked)
}
