//! The end of a landing: the branch moves if it is where it was, and worktrees that have it checked out come along.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::super::streams;
use super::{Context, Kind, Refusal, listed};
use crate::git::{Commit, Moved, Repo};
use crate::run::shell;

/// What became of it.
pub(super) enum Arrived {
    There {
        /// Whose files were brought along.
        worktrees: Vec<PathBuf>,
        /// What is worth knowing.
        said: Vec<String>,
    },
    /// The branch moved meanwhile.
    Again,
}

/// Returns the worktrees that have a branch checked out, or says why its files should stay as they are.
fn holders(ctx: &Context, onto: &str, old: &str, new: &str) -> Result<Vec<Repo>> {
    if let Some(place) = ctx.repo.rebaser_of(onto)? {
        let message = format!("`{onto}` is being rebased in `{}`", place.display());
        return Err(Refusal::new(Kind::Unsafe, message).hint("end that first").into());
    }
    let mut holders = Vec::new();
    for path in ctx.repo.holders_of(onto)? {
        let repo = ctx.repo.worktree_at(&path)?;
        let refuse = |why: String, hint: &str| {
            let message = format!("`{onto}` is checked out in `{}`, and {why}", path.display());
            Err(Refusal::new(Kind::Unsafe, message).hint(hint).into())
        };
        let folder = shell::word(&path.display().to_string());
        if let Some(what) = repo.under_way() {
            return refuse(format!("{what} is under way there"), "end that first");
        }
        if let Some(lock) = repo.index_lock() {
            let message = format!(
                "git is at work on the index of `{}`, which has `{onto}` checked out",
                path.display()
            );
            let lock = shell::word(&lock.display().to_string());
            let hint =
                format!("try again; if no git runs there, one that was killed has left its lock: rm {lock}");
            return Err(Refusal::new(Kind::Busy, message).hint(hint).into());
        }
        let changed = repo.changed_since(old)?;
        if !changed.is_empty() {
            let hint = format!("commit it, or put it aside: git -C {folder} stash");
            return refuse(format!("{} not committed there", listed(&changed)), &hint);
        }
        if let Some(said) = repo.cannot_step(old, new)? {
            let hint = format!("move it away; git says: {said}");
            return refuse("files there are in the way".to_owned(), &hint);
        }
        holders.push(repo);
    }
    Ok(holders)
}

/// Takes back what somebody who was killed had brought to worktrees. The caller holds the lock.
fn mend(ctx: &Context, onto: &str) -> Result<()> {
    for path in ctx.repo.holders_of(onto)? {
        ctx.repo.worktree_at(&path)?.take_back_landing(onto)?;
    }
    Ok(())
}

/// Takes back what anybody who was killed had brought to a worktree, whichever branch it has.
pub(in crate::ops::stream) fn mend_all(ctx: &Context) -> Result<()> {
    let _lock = streams(ctx).lock_landing()?;
    for worktree in ctx.repo.worktrees()?.into_iter().filter(|worktree| worktree.present) {
        let Ok(repo) = ctx.repo.worktree_at(&worktree.path) else { continue };
        if let Some(branch) = repo.head()?.branch.as_deref().and_then(|full| full.strip_prefix("refs/heads/"))
        {
            repo.take_back_landing(branch)?;
        }
    }
    Ok(())
}

/// Refuses to move a branch that somebody works on.
pub(super) fn refuse_in_use(ctx: &Context, onto: &str, old: &str, new: &str) -> Result<()> {
    let _lock = streams(ctx).lock_landing()?;
    mend(ctx, onto)?;
    if ctx.repo.branch(onto)?.as_deref() != Some(old) {
        // Whoever looks again finds out.
        return Ok(());
    }
    holders(ctx, onto, old, new).map(drop)
}

/// Moves the branch.
pub(super) fn arrive(ctx: &Context, onto: &str, (old, new): (&str, &Commit), why: &str) -> Result<Arrived> {
    let moved = {
        let _lock = streams(ctx).lock_landing()?;
        mend(ctx, onto)?;
        if ctx.repo.branch(onto)?.as_deref() != Some(old) {
            return Ok(Arrived::Again);
        }
        let holders = holders(ctx, onto, old, &new.id)?;
        let moved = ctx.repo.move_branch(onto, (old, &new.id), &holders, why);
        (moved.with_context(|| format!("cannot move `{onto}`"))?, holders)
    };
    match moved {
        (Moved::Yes, holders) => {
            let mut said = Vec::new();
            for holder in &holders {
                // Whatever it says, the branch has moved.
                said.extend(match holder.after_merge() {
                    Ok(failed) => failed.map(|text| format!("the hook `post-merge` failed: {text}")),
                    Err(err) => {
                        Some(format!("the hook `post-merge` did not run: {:#}", anyhow::Error::from(err)))
                    }
                });
            }
            let worktrees = holders.iter().map(|holder| holder.work_tree().to_owned()).collect();
            Ok(Arrived::There { worktrees, said })
        }
        (Moved::Elsewhere, _) => Ok(Arrived::Again),
        (Moved::Refused(said), _) => {
            Err(Refusal::new(Kind::Rejected, format!("git did not move `{onto}`")).hint(said).into())
        }
    }
}
