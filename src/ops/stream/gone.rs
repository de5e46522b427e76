//! What git knows of a stream whose folder is gone: somebody may have staged or committed something there.

use anyhow::Result;

use super::Context;
use super::rm::{self, OfBranch};
use crate::store::streams::{Stream, Streams};

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
