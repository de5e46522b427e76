//! What is left of streams that were never finished: their maker failed, or was killed.

use std::path::Path;

use anyhow::Result;

use super::Context;
use super::rm::{self, OfBranch};
use crate::git::Repo;
use crate::store::streams::{Phase, Stream, Streams, noted};
use crate::sys::fs;

/// What became of a stream that was never finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// It is as if nobody had ever begun it; what may be somebody else's is in the trash.
    Removed,
    /// There may be somebody's work in it, so it stays.
    Kept,
}

/// Who made the worktree that stands where a stream was to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    /// We did.
    Us,
    /// It looks like ours, and somebody else may have made it just so.
    Unclear,
    Other,
}

/// Returns who made a worktree, by git's part of it. Ours is noted there right after git made it, so without the note
/// it has no file yet.
fn maker(git_dir: &Path, stream: &Stream) -> Maker {
    match noted(git_dir) {
        Some(name) if name == stream.name => return Maker::Us,
        Some(_) => return Maker::Other,
        None => {}
    }
    let head = std::fs::read_to_string(git_dir.join("HEAD")).unwrap_or_default();
    let is_filled = git_dir.join("index").exists();
    match head.trim_end().strip_prefix("ref: refs/heads/") {
        Some(branch) if branch != stream.branch => Maker::Other,
        Some(_) if !is_filled => Maker::Us,
        // git names a commit there until it names the branch.
        None if is_filled => Maker::Other,
        _ => Maker::Unclear,
    }
}

/// Returns the worktree of this repository where a stream was to be, and who made it.
fn found(ctx: &Context, stream: &Stream) -> Option<(Repo, Maker)> {
    let repo = ctx.repo.worktree_at(&stream.path).ok()?;
    let is_link = stream.path.is_symlink();
    let maker = if is_link { Maker::Other } else { maker(repo.git_dir(), stream) };
    Some((repo, maker))
}

/// Takes back all that was done for a stream that was never finished. The caller holds its lock.
pub fn take_back(ctx: &Context, streams: &Streams, stream: &Stream) -> Result<()> {
    if let Some((repo, Maker::Unclear)) = found(ctx, stream) {
        // Whoever misses it can have it back.
        let stream = Stream { phase: Phase::Ready, ..stream.clone() };
        return rm::put_away(ctx, streams, stream, Some(&repo), OfBranch::Keep).map(drop);
    }
    {
        let _list = streams.lock_list()?;
        let entry = ctx.repo.entry_of(&stream.path)?;
        let is_half_made = entry.as_ref().is_some_and(|entry| is_half_made(entry, stream));
        let is_ours = is_half_made || matches!(found(ctx, stream), Some((_, Maker::Us)));
        if is_ours || is_empty(stream) {
            fs::remove_tree(&stream.path)?;
        }
        // Whatever is at the path now is somebody else's.
        if let Some(entry) = entry.filter(|_| !stream.path.join(".git").exists())
            && (is_half_made || maker(&entry, stream) == Maker::Us)
        {
            fs::remove_tree(&entry)?;
        }
    }
    // Somebody may have checked it out elsewhere since.
    if let Some(commit) = &stream.made_branch_at
        && ctx.repo.holder_of(&stream.branch)?.is_none()
    {
        ctx.repo.remove_branch(&stream.branch, commit)?;
    }
    Ok(streams.forget(&stream.name)?)
}

/// Whether git was killed while it made a stream's worktree. Then its part has no `HEAD` yet, is locked for ever, and
/// counts as no worktree; and all that is in the folder is the file that names that part.
fn is_half_made(entry: &Path, stream: &Stream) -> bool {
    let has = |name: &str| entry.join(name).exists();
    let held = match std::fs::read_dir(&stream.path) {
        Ok(mut entries) => entries.any(|it| it.map_or(true, |it| it.file_name() != ".git")),
        Err(err) => err.kind() != std::io::ErrorKind::NotFound,
    };
    let is_git_at_it = has("HEAD") || has("index") || noted(entry).is_some();
    !is_git_at_it && !held && !stream.path.is_symlink() && !stream.path.join(".git").is_dir()
}

fn is_empty(stream: &Stream) -> bool {
    std::fs::read_dir(&stream.path).is_ok_and(|mut entries| entries.next().is_none())
}

/// Mends what a maker that was killed left. The caller holds the stream's lock.
pub fn mend(ctx: &Context, streams: &Streams, stream: &Stream) -> Result<Leftover> {
    let there = found(ctx, stream).filter(|(_, maker)| *maker != Maker::Other);
    if there.is_some_and(|(there, _)| may_hold_work(&there)) {
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
    filled && there.tree_now().map_or(true, |now| now.state.is_changed())
}
