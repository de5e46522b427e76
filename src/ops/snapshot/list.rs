//! Which snapshots there are, and which one is meant.

use anyhow::Result;

use crate::id::TaskId;
use crate::ops::{Context, Refusal};
use crate::store::snapshots::{Snapshots, Stored};

/// Returns the snapshots of a task, or of all, newest first.
pub fn list(ctx: &Context, task: Option<&TaskId>) -> Vec<Stored> {
    let mut all = Snapshots::of(&ctx.layout, &ctx.env).all(task);
    all.reverse();
    all
}

/// Returns the snapshot that a digest or an id names, or the beginning of either; of several with one archive the
/// newest.
pub fn find(ctx: &Context, wanted: &str) -> Result<Stored> {
    let mut found = list(ctx, None);
    if wanted == "latest" {
        found.truncate(1);
    } else {
        found.retain(|it| {
            !wanted.is_empty()
                && (it.snapshot.digest.starts_with(wanted) || it.snapshot.id.as_str().starts_with(wanted))
        });
        if let Some(exact) = found.iter().position(|it| it.snapshot.id.as_str() == wanted) {
            found = vec![found.swap_remove(exact)];
        }
    }
    let shown = wanted.escape_debug();
    let first = found.first().cloned().ok_or_else(|| {
        Refusal::usage(format!("no snapshot is called `{shown}`"))
            .hint("`git orchestrate snapshot list` shows them; a digest or the id of a run names one")
    })?;
    if let Some(other) = found.iter().find(|it| it.snapshot.digest != first.snapshot.digest) {
        let (one, other) = (&first.snapshot.id, &other.snapshot.id);
        return Err(Refusal::usage(format!("`{shown}` is the beginning of several snapshots"))
            .hint(format!("one of: {one}, {other}"))
            .into());
    }
    Ok(first)
}
