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

/// Returns the folders of snapshots of all worktrees, ours first.
pub fn stores(ctx: &Context) -> Vec<Snapshots> {
    let mut stores: Vec<Snapshots> = Vec::new();
    for layout in ctx.layouts() {
        let store = Snapshots::of(&layout, &ctx.env);
        if !stores.iter().any(|known| known.root() == store.root()) {
            stores.push(store);
        }
    }
    stores
}

/// Returns the snapshots in some folders, of a task or of all, newest first.
fn all(stores: &[Snapshots], task: Option<&TaskId>) -> Vec<Stored> {
    let mut all: Vec<_> = stores.iter().flat_map(|store| store.all(task)).collect();
    all.sort_by(|a, b| {
        let key = |it: &Stored| (it.snapshot.created_at, it.snapshot.id.clone());
        key(b).cmp(&key(a))
    });
    all
}

/// Returns the snapshots of this repository, of a task or of all, newest first.
pub fn list(ctx: &Context, task: Option<&TaskId>) -> Result<Vec<Stored>> {
    let own = Own::of(ctx)?;
    let mut all = all(&stores(ctx), task);
    all.retain(|it| own.has(&it.snapshot));
    Ok(all)
}

/// Returns the snapshot that a digest or an id names, or the beginning of either; of several with one archive the
/// newest. One of another repository is found where none of ours is meant, but it is never the latest.
pub fn find(ctx: &Context, wanted: &str) -> Result<Stored> {
    let own = Own::of(ctx)?;
    let stores = stores(ctx);
    // The latest is one of this worktree, whatever happens in others meanwhile.
    let mut found = all(if wanted == "latest" { &stores[..1] } else { &stores }, None);
    if wanted == "latest" {
        found.retain(|it| own.has(&it.snapshot));
        found.truncate(1);
    } else {
        let digest = wanted.to_ascii_lowercase();
        found.retain(|it| {
            !wanted.is_empty()
                && (it.snapshot.digest.starts_with(&digest) || it.snapshot.id.as_str().starts_with(wanted))
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
