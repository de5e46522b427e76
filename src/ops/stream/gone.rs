//! What git knows of a stream whose folder is gone, or whose file is damaged.

use anyhow::Result;

use super::rm::{self, OfBranch};
use super::{Context, task_of};
use crate::git::branch_in;
use crate::id::StreamName;
use crate::store::streams::{Phase, Stream, Streams, noted};

/// Returns what is in git's part of a stream, or on a branch that goes with it, and nowhere else.
pub(super) fn work(
    ctx: &Context,
    streams: &Streams,
    stream: &Stream,
    branch: OfBranch,
) -> Result<Vec<String>> {
    let mut reasons = Vec::new();
    if let Some(entry) = rm::entry_of(ctx, streams, stream)?.filter(|_| !stream.path.join(".git").exists()) {
        let kept = ctx.repo.kept_in(&entry)?;
        if let Some(commit) = &kept.detached {
            reasons.extend(rm::only_here(&ctx.repo, stream, commit)?);
        }
        if kept.is_staged {
            reasons.push("something that was staged in it is not committed".to_owned());
        }
    }
    reasons.extend(rm::work_on_branch(ctx, stream, branch)?.filter(|it| !reasons.contains(it)));
    Ok(reasons)
}

/// Makes out what a stream is whose file is damaged, by what git has: enough to remove it. Who made its branch is not
/// known, so that it stays unless somebody says that it is to go.
pub(super) fn made_out(ctx: &Context, streams: &Streams, name: &StreamName) -> Result<Stream> {
    let worktrees = ctx.repo.common_dir().join("worktrees");
    let is_its = |noted: &StreamName| noted.as_folder() == name.as_folder();
    let found = ctx.repo.worktrees()?.into_iter().find_map(|it| {
        let entry = worktrees.join(it.name.as_ref()?);
        Some((noted(&entry).filter(is_its)?, entry, it))
    });
    let task = task_of(&"0101".parse()?, name)?;
    let now = ctx.clock.now();
    let Some((name, entry, worktree)) = found else {
        // Nothing is at the path of something in its file.
        let path = streams.disk_file(name).join("gone");
        return Ok(Stream {
            phase: Phase::Ready,
            ..Stream::begun(name.clone(), path, String::new(), task, now)
        });
    };
    let commit = ctx.repo.kept_in(&entry)?.head.unwrap_or_default();
    let branch = branch_in(&entry).unwrap_or_else(|| name.as_str().to_owned());
    let stream = Stream::begun(name, worktree.path, commit, task, now);
    Ok(Stream { phase: Phase::Ready, branch, worktree: worktree.name, ..stream })
}
