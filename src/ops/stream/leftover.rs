//! What is left of streams that were never finished: their maker failed, or was killed.

use anyhow::Result;

use super::Context;
use crate::git::Repo;
use crate::store::streams::{Phase, Stream, Streams};
use crate::sys::fs;

/// What became of a stream that was never finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// It is as if nobody had ever begun it.
    Removed,
    /// There may be somebody's work in it, so it stays.
    Kept,
}

/// Takes back all that was done for a stream that was never finished. The caller holds its lock.
pub fn take_back(ctx: &Context, streams: &Streams, stream: &Stream) -> Result<()> {
    {
        let _list = streams.lock_list()?;
        let entry = ctx.repo.entry_of(&stream.path)?;
        let is_ours = ctx.repo.worktree_at(&stream.path).is_ok();
        if is_ours || is_empty(stream) {
            fs::remove_tree(&stream.path)?;
        }
        // Whatever is at the path now is somebody else's.
        if let Some(entry) = entry.filter(|_| !stream.path.join(".git").exists()) {
            fs::remove_tree(&entry)?;
        }
    }
    if let Some(commit) = &stream.made_branch_at {
        ctx.repo.remove_branch(&stream.branch, commit)?;
    }
    Ok(streams.forget(&stream.name)?)
}

fn is_empty(stream: &Stream) -> bool {
    std::fs::read_dir(&stream.path).is_ok_and(|mut entries| entries.next().is_none())
}

/// Mends what a maker that was killed left. The caller holds the stream's lock.
pub fn mend(ctx: &Context, streams: &Streams, stream: &Stream) -> Result<Leftover> {
    let there = ctx.repo.worktree_at(&stream.path).ok();
    if there.is_some_and(|there| may_hold_work(&there)) {
        streams.save(&Stream { phase: Phase::Ready, ..stream.clone() })?;
        return Ok(Leftover::Kept);
    }
    take_back(ctx, streams, stream)?;
    Ok(Leftover::Removed)
}

/// Whether somebody may have worked in a worktree. One without an index was never filled to its end, so all that is in
/// it came from git.
fn may_hold_work(there: &Repo) -> bool {
    let filled = there.index_file().exists();
    filled && there.tree_now().map_or(true, |now| now.state.dirty || !now.state.unreadable.is_empty())
}
