//! `stream cd`: where a stream is.

use std::path::PathBuf;

use anyhow::Result;

use super::{Context, Refusal, folder_of, streams};
use crate::id::StreamName;
use crate::pipeline::nearest;

/// Returns the folder of a stream, or of the main worktree; a linked worktree that somebody else made is found by git's
/// name of it.
pub fn folder(ctx: &Context, name: Option<&StreamName>) -> Result<PathBuf> {
    let Some(name) = name else { return Ok(ctx.repo.home()) };
    let known = streams(ctx).find(name)?.filter(|known| known.name == *name);
    if let Some(known) = known {
        return folder_of(&known);
    }
    let worktrees = ctx.repo.worktrees()?;
    let found = worktrees.iter().find(|it| it.present && it.name.as_deref() == Some(name.as_str()));
    match found {
        Some(found) => Ok(found.path.clone()),
        None => Err(unknown(ctx, name).into()),
    }
}

/// Returns the refusal of a name that no stream has.
pub(super) fn unknown(ctx: &Context, name: &StreamName) -> Refusal {
    let known: Vec<_> = streams(ctx).all().into_iter().flatten().map(|known| known.name).collect();
    let refusal = Refusal::usage(format!("there is no stream `{name}`"));
    match nearest(name.as_str(), known.iter().map(StreamName::as_str)) {
        Some(near) => refusal.hint(format!("did you mean `{near}`?")),
        None => refusal.hint("`git orchestrate stream list` shows all"),
    }
}
