//! `stream prune`: offers streams that were merged, and mends what nobody finished.

use anyhow::Result;

use super::leftover::{self, Leftover};
use super::rm::{self, OfBranch, RmOptions};
use super::{Context, land, streams, there, undo};
use crate::git::Merged;
use crate::id::StreamName;
use crate::ops::host::SharedWatch;
use crate::store::stream_trash::Bin;
use crate::store::streams::{Phase, Stream};

/// A stream that could go.
#[derive(Debug)]
pub struct Offer {
    pub name: StreamName,
    pub why: Why,
    /// Whether it went.
    pub gone: Option<Result<()>>,
}

/// Why a stream could go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Merged(Merged),
    /// Its folder was deleted.
    NoFolder,
    /// Whoever made it was killed.
    Unfinished,
}

impl Why {
    /// Returns the words for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Merged(Merged::Ancestor) => "merged",
            Self::Merged(Merged::Tree) => "merged: to merge it again would change nothing",
            Self::Merged(Merged::Patch) => "merged: each of its changes is there",
            Self::NoFolder => "its folder is gone",
            Self::Unfinished => "it was never finished",
        }
    }
}

/// Returns the streams that could go; with `really`, they go.
pub fn prune(ctx: &Context, really: bool, watch: &SharedWatch) -> Result<Vec<Offer>> {
    let mut offers = Vec::new();
    if really {
        for bin in Bin::all(ctx.repo.common_dir()) {
            undo::mend(ctx, &bin)?;
        }
        land::arrive::mend_all(ctx)?;
    }
    for stream in streams(ctx).all() {
        let stream = match stream {
            Ok(stream) => stream,
            Err(err) => {
                let hint = err.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
                watch.borrow_mut().warn(&format!("{err}{hint}"));
                continue;
            }
        };
        let Some(why) = why(ctx, &stream)? else { continue };
        let gone = really.then(|| go(ctx, &stream, why, watch));
        offers.push(Offer { name: stream.name, why, gone });
    }
    if really {
        empty_trash(ctx, watch);
    }
    Ok(offers)
}

/// Returns why a stream could go, if it could.
fn why(ctx: &Context, stream: &Stream) -> Result<Option<Why>> {
    if streams(ctx).is_locked(&stream.name) {
        return Ok(None);
    }
    if stream.phase == Phase::Creating {
        return Ok(Some(Why::Unfinished));
    }
    let Ok(repo) = ctx.repo.worktree_at(&stream.path) else {
        // What ran there when it was deleted may have made an empty one again, which is nobody's worktree.
        return Ok((!stream.path.join(".git").exists()).then_some(Why::NoFolder));
    };
    let head = repo.head()?;
    let is_its_branch = head.branch.as_deref() == Some(&format!("refs/heads/{}", stream.branch));
    let Some(commit) = head.commit.filter(|_| is_its_branch) else { return Ok(None) };
    // One in which nothing has happened yet is not merged, it has not begun.
    if stream.has_not_begun(&commit) {
        return Ok(None);
    }
    let how = rm::merged(&repo, stream, &commit)?;
    let is_idle = how.is_some()
        && rm::work(&repo, stream)?.is_empty()
        && rm::running(ctx, &there(ctx, repo)).is_empty()
        && rm::strangers(stream, &[]).is_empty();
    Ok(how.filter(|_| is_idle).map(Why::Merged))
}

fn go(ctx: &Context, stream: &Stream, why: Why, watch: &SharedWatch) -> Result<()> {
    if why == Why::Unfinished {
        let streams = streams(ctx);
        let _lock = super::lock(&streams, &stream.name)?;
        let Some(stream) = streams.find(&stream.name)?.filter(|it| it.phase == Phase::Creating) else {
            return Ok(());
        };
        if leftover::mend(ctx, &streams, &stream)? == Leftover::Kept {
            let text = format!("stream `{}` stays: somebody has worked in it", stream.name);
            watch.borrow_mut().warn(&text);
        }
        return Ok(());
    }
    let options = RmOptions { names: vec![stream.name.clone()], force: false, branch: OfBranch::IfMerged };
    rm::rm(ctx, &options, watch).into_iter().try_for_each(|(_, gone)| {
        let gone = gone?;
        gone.warnings
            .iter()
            .for_each(|warning| watch.borrow_mut().warn(&format!("`{}`: {warning}", stream.name)));
        Ok(())
    })
}

/// Removes from the disk what was in the trash for a day.
pub(super) fn empty_trash(ctx: &Context, watch: &SharedWatch) {
    let now = ctx.clock.now();
    for bin in Bin::all(ctx.repo.common_dir()).into_iter().filter(|bin| bin.is_over(now)) {
        if let Err(err) = bin.empty() {
            watch.borrow_mut().warn(&format!("`{}` stays in the trash: {err}", bin.removed.stream.name));
        }
    }
    let common_dir = ctx.repo.common_dir();
    if let Err(err) = ctx.repo.keep_no_longer(|place| !Bin::is_there(common_dir, place)) {
        watch.borrow_mut().warn(&format!("git keeps what was in the trash: {err}"));
    }
}
