//! `stream undo`: a removed stream comes back as it was.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::{Context, Refusal, lease, streams};
use crate::git::branch_in;
use crate::id::StreamName;
use crate::store::stream_trash::Bin;
use crate::store::streams::Stream;
use crate::sys::fs;

/// A stream that is back.
#[derive(Debug)]
pub struct Back {
    pub stream: Stream,
    pub warnings: Vec<String>,
}

/// Brings back the stream of a name that was removed last, or the last of all.
pub fn undo(ctx: &Context, name: Option<&StreamName>) -> Result<Back> {
    let now = ctx.clock.now();
    let bins = Bin::all(ctx.repo.common_dir());
    let mut wanted = bins.into_iter().filter(|bin| name.is_none_or(|name| bin.removed.stream.name == *name));
    let Some(bin) = wanted.find(|bin| !bin.is_over(now) && (bin.holds_tree() || bin.holds_entry())) else {
        let message = match name {
            Some(name) => format!("no stream `{name}` was removed within a day"),
            None => "no stream was removed within a day".to_owned(),
        };
        return Err(Refusal::usage(message)
            .hint("`git orchestrate stream list` shows those that are there")
            .into());
    };
    let _lock = super::lock(&streams(ctx), &bin.removed.stream.name)?;
    restore(ctx, &bin)
}

/// Puts what is in a place of the trash back. The caller holds the stream's lock.
fn restore(ctx: &Context, bin: &Bin) -> Result<Back> {
    let (mut stream, streams) = (bin.removed.stream.clone(), streams(ctx));
    let taken = |what: String| {
        Refusal::usage(format!("stream `{}` cannot come back: {what}", stream.name))
            .hint("move that away first")
    };
    // What is left of the old one, whose removal was interrupted, is in nobody's way.
    if streams.find(&stream.name)?.is_some_and(|known| known.path.join(".git").exists()) {
        return Err(taken("there is another one of that name".to_owned()).into());
    }
    if bin.holds_tree() && stream.path.symlink_metadata().is_ok() {
        return Err(taken(format!("`{}` is in the way", stream.path.display())).into());
    }
    let mut warnings = Vec::new();
    {
        let _list = streams.lock_list()?;
        if bin.holds_entry()
            && let Some(branch) = branch_in(&bin.entry())
            && let Some(holder) = ctx.repo.holder_of(&branch)?
        {
            let (holder, shown) = (crate::run::shell::word(&holder.display().to_string()), holder.display());
            let message = format!(
                "stream `{}` cannot come back: its branch `{branch}` is checked out in `{shown}` by now",
                stream.name
            );
            return Err(Refusal::usage(message).hint(format!("git -C {holder} switch --detach")).into());
        }
        if let Some(commit) = &bin.removed.branch_at {
            let now = ctx.repo.branch(&stream.branch)?;
            if now.is_none() {
                ctx.repo.make_branch(&stream.branch, commit)?;
            }
            match now {
                Some(now) if now != *commit => warnings.push(format!(
                    "there is a branch `{}` again, which is another one; the old one named {commit}",
                    stream.branch
                )),
                // Somebody else may be writing the configuration; the stream comes back all the same.
                _ => warnings.extend(
                    (ctx.repo.restore_branch(&stream.branch, &bin.removed.branch_settings).err())
                        .map(|err| format!("not all settings of branch `{}` are back: {err}", stream.branch)),
                ),
            }
        }
        let entry = entry_of(ctx, bin);
        if bin.holds_entry() && entry.exists() {
            return Err(taken(format!("`{}` is in the way", entry.display())).into());
        }
        fs::create_dir_all(entry.parent().unwrap_or(ctx.repo.common_dir()))?;
        // git's entry last: until then nobody misses the folder.
        if bin.holds_tree() {
            fs::rename_new(&bin.removed.tree, &stream.path).context("the folder cannot be moved back")?;
        }
        if bin.holds_entry() {
            fs::rename_new(&bin.entry(), &entry).context("git's own part cannot be moved back")?;
        }
        // While nobody else can lease the same.
        let (said, _held) = lease::renew(ctx, &streams, &mut stream)?;
        warnings.extend(said);
        streams.save(&stream)?;
    }
    if !stream.path.join(".git").exists() {
        let was = stream.path.display();
        warnings.push(format!(
            "its folder `{was}` was gone before it was removed; if it was moved, git finds it again: git worktree repair FOLDER"
        ));
    }
    bin.forget()?;
    let place = bin.place();
    // What stays is let go of with the next removal.
    let _ = ctx.repo.keep_no_longer(|over| over == place);
    Ok(Back { stream, warnings })
}

/// Returns where git looks for its part of a stream: the stream's own folder says so.
fn entry_of(ctx: &Context, bin: &Bin) -> PathBuf {
    let known = bin.removed.worktree.as_deref().or(bin.removed.stream.worktree.as_deref());
    let name = known.map_or_else(|| bin.removed.stream.name.as_folder(), str::to_owned);
    ctx.repo.common_dir().join("worktrees").join(name)
}

/// Ends what somebody had begun who was killed: a stream that is half back comes back, and a place in the trash that
/// holds nothing goes.
pub(super) fn mend(ctx: &Context, bin: &Bin) -> Result<()> {
    let stream = &bin.removed.stream;
    let streams = streams(ctx);
    let Some(_lock) = streams.try_lock(&stream.name)? else { return Ok(()) };
    if bin.holds_tree() {
        return Ok(());
    }
    let is_half_back = streams.find(&stream.name)?.is_none() && stream.path.join(".git").exists();
    let is_its_entry = || {
        let there = ctx.repo.worktree_at(&stream.path);
        there.is_ok_and(|there| there.git_dir() == entry_of(ctx, bin))
    };
    if is_half_back && (bin.holds_entry() || is_its_entry()) {
        restore(ctx, bin)?;
    } else if !bin.holds_entry() {
        bin.forget()?;
    }
    Ok(())
}
