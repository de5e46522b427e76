//! `stream list` and `stream status`: how streams stand.

use anyhow::Result;

use super::look::{self, Newest, Row};
use super::probe::Probe;
use super::{Context, Refusal, cd, streams};
use crate::git::WorktreeInfo;
use crate::id::{RunId, StreamName, TaskId};
use crate::ops::evidence::parallel::in_parallel;
use crate::store::streams::Stream;

/// Every stream, and every linked worktree that is none.
#[derive(Debug)]
pub struct List {
    /// Streams by name, then the others.
    pub rows: Vec<Row>,
    /// Files about streams that are of no use.
    pub warnings: Vec<String>,
    /// Which of them cannot be merged, if somebody wanted to know.
    pub probe: Option<Probe>,
}

/// One stream, with what ran in it last.
#[derive(Debug)]
pub struct Status {
    pub row: Row,
    /// Its runs, newest first, some of them.
    pub runs: Vec<Newest>,
}

/// What there is to look at.
enum Known {
    Stream(Box<Stream>),
    Worktree(WorktreeInfo),
}

/// Returns how all streams stand.
pub fn list(ctx: &Context) -> Result<List> {
    let mut warnings = Vec::new();
    let worktrees = ctx.repo.worktrees()?;
    let mut known = Vec::new();
    let mut names = Vec::new();
    for stream in streams(ctx).all() {
        match stream {
            Ok(stream) => {
                // By git's name: where git looks for one that was moved by hand, nothing is.
                names.extend(stream.worktree.clone().or_else(|| worktree_at(&worktrees, &stream)));
                known.push(Known::Stream(Box::new(stream)));
            }
            Err(err) => {
                let hint = err.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
                warnings.push(format!("{err}{hint}"));
            }
        }
    }
    let is_other =
        |it: &WorktreeInfo| it.linked && it.name.as_ref().is_some_and(|name| !names.contains(name));
    let others = worktrees.into_iter().filter(is_other);
    known.extend(others.map(Known::Worktree));
    let rows = in_parallel(&known, |known| match known {
        Known::Stream(stream) => look::of_stream(ctx, Stream::clone(stream)),
        Known::Worktree(worktree) => look::of_worktree(ctx, worktree.clone()),
    });
    Ok(List { rows, warnings, probe: None })
}

/// Returns git's name of the worktree at the path of a stream that was not noted yet.
fn worktree_at(worktrees: &[WorktreeInfo], stream: &Stream) -> Option<String> {
    worktrees.iter().find(|it| it.path == stream.path)?.name.clone()
}

/// Returns how one stream stands.
pub fn status(ctx: &Context, name: &StreamName) -> Result<Status> {
    /// So many of its runs are told.
    const RUNS: usize = 5;
    let known = streams(ctx).find(name)?.filter(|known| known.name == *name);
    let row = match known {
        Some(stream) => look::of_stream(ctx, stream),
        None => {
            let mut worktrees = ctx.repo.worktrees()?.into_iter();
            let found = worktrees.find(|it| it.name.as_deref() == Some(name.as_str()));
            look::of_worktree(ctx, found.ok_or_else(|| cd::unknown(ctx, name))?)
        }
    };
    let runs = look::runs(ctx, &ctx.layout.of_worktree(&row.path)).take(RUNS).collect();
    Ok(Status { row, runs })
}

/// Returns the newest run of a stream.
pub fn newest_run(ctx: &Context, name: &StreamName) -> Result<(TaskId, RunId)> {
    let path = cd::folder(ctx, Some(name))?;
    let newest = look::newest(ctx, &ctx.layout.of_worktree(&path)).ok_or_else(|| {
        let message = format!("nothing has run in stream `{name}` yet");
        Refusal::usage(message).hint(format!("git orchestrate stream status {name}"))
    })?;
    Ok((newest.found.task, newest.found.run))
}
