//! Which snapshots there are, and which one is meant.

use std::collections::HashSet;

use anyhow::{Context as _, Result};

use crate::git::SNAPSHOTS;
use crate::id::TaskId;
use crate::ops::{Context, Refusal};
use crate::run::snapshot::Snapshot;
use crate::store::snapshots::{Snapshots, Stored};

/// The snapshots of this repository. Several repositories may share the folder, and a document is only a file.
pub struct Own(HashSet<(String, String)>);

impl Own {
    /// Returns which snapshots the refs of this repository name.
    pub fn of(ctx: &Context) -> Result<Self> {
        let refs = ctx.repo.refs_below(SNAPSHOTS).context("cannot tell which snapshots are ours")?;
        Ok(Self(refs.into_iter().map(|it| (it.name, it.tip)).collect()))
    }

    /// Whether its ref names its commit here.
    pub fn has(&self, it: &Snapshot) -> bool {
        it.reference.strip_prefix(SNAPSHOTS) == Some(it.id.as_str())
            && self.0.contains(&(it.reference.clone(), it.commit.clone()))
    }
}

/// Returns the snapshots of this repository, of a task or of all, newest first.
pub fn list(ctx: &Context, task: Option<&TaskId>) -> Result<Vec<Stored>> {
    let own = Own::of(ctx)?;
    let mut all = Snapshots::of(&ctx.layout, &ctx.env).all(task);
    all.retain(|it| own.has(&it.snapshot));
    all.reverse();
    Ok(all)
}

/// Returns the snapshot that a digest or an id names, or the beginning of either; of several with one archive the
/// newest. One of another repository is found where none of ours is meant, but it is never the latest.
pub fn find(ctx: &Context, wanted: &str) -> Result<Stored> {
    let own = Own::of(ctx)?;
    let mut found = Snapshots::of(&ctx.layout, &ctx.env).all(None);
    found.reverse();
    if wanted == "latest" {
        found.retain(|it| own.has(&it.snapshot));
        found.truncate(1);
    } else {
        found.retain(|it| {
            !wanted.is_empty()
                && (it.snapshot.digest.starts_with(wanted) || it.snapshot.id.as_str().starts_with(wanted))
        });
        if found.iter().any(|it| own.has(&it.snapshot)) {
            found.retain(|it| own.has(&it.snapshot));
        }
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
