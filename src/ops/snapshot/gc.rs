//! Removing snapshots that are too old, and that nothing cites.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};
use jiff::SignedDuration;

use super::list::Own;
use crate::git::Mention;
use crate::id::{RunId, TaskId};
use crate::ops::gc::Action;
use crate::ops::{Context, Place};
use crate::pipeline::learning::Compression;
use crate::run::retention::YOUNG_SECONDS;
use crate::run::stamp::Stamp;
use crate::store::catalog;
use crate::store::snapshots::{Snapshots, Stored};
use crate::store::trash::is_old;
use crate::sys::fs;

/// What to remove.
#[derive(Clone, Debug)]
pub struct SnapshotGc {
    /// Only snapshots of this task.
    pub task: Option<TaskId>,
    /// Snapshots older than this, whatever they were to be kept for.
    pub older_than: Option<SignedDuration>,
    pub dry_run: bool,
}

/// What became of the snapshots.
#[derive(Debug)]
pub struct Cleared {
    pub at: Stamp,
    pub place: Place,
    pub dry_run: bool,
    /// Oldest first.
    pub snapshots: Vec<Fate>,
    /// Documents that cannot be believed; they are kept, and all that has their name.
    pub damaged: Vec<String>,
    /// What crashed processes had left.
    pub leftovers: Vec<String>,
}

/// One snapshot.
#[derive(Debug)]
pub struct Fate {
    pub stored: Stored,
    pub action: Action,
    pub reason: String,
}

/// Removes snapshots whose time is over.
pub fn gc(ctx: &Context, options: &SnapshotGc) -> Result<Cleared> {
    let at = ctx.clock.now();
    let store = Snapshots::of(&ctx.layout, &ctx.env);
    let all = store.all(options.task.as_ref());
    let own = Own::of(ctx)?;
    let mut fates: Vec<_> = all.into_iter().map(|stored| decide(stored, &own, options, at)).collect();
    if fates.iter().any(|fate| fate.action == Action::WouldRemove) {
        // To look everywhere costs more than to look at the snapshots: only if something would go.
        let cited = citations(ctx, &fates)?;
        for fate in fates.iter_mut().filter(|fate| fate.action == Action::WouldRemove) {
            let it = &fate.stored.snapshot;
            let names = [it.id.as_str(), &it.digest, &it.commit, it.digest.get(..12).unwrap_or(&it.digest)];
            if let Some(place) = names.iter().find_map(|name| cited.get(*name)) {
                (fate.action, fate.reason) = (Action::Kept, format!("{place} names it"));
            }
        }
    }
    if !options.dry_run {
        for fate in fates.iter_mut().filter(|fate| fate.action == Action::WouldRemove) {
            fate.action = match remove(ctx, &fate.stored) {
                Ok(()) => Action::Removed,
                Err(err) => {
                    fate.reason = format!("{err:#}");
                    Action::Failed
                }
            };
        }
    }
    let leftovers = leftovers(ctx, &store, options, at)?;
    Ok(Cleared {
        at,
        place: ctx.place(),
        dry_run: options.dry_run,
        snapshots: fates,
        damaged: store.damaged(options.task.as_ref()).iter().map(|path| ctx.layout.relative(path)).collect(),
        leftovers: leftovers.iter().map(|path| ctx.layout.relative(path)).collect(),
    })
}

fn decide(stored: Stored, own: &Own, options: &SnapshotGc, at: Stamp) -> Fate {
    let it = &stored.snapshot;
    let age = at.seconds_since(it.created_at);
    let days = it.retention_days.min(365_000) as i64;
    let limit = options.older_than.unwrap_or_else(|| SignedDuration::from_hours(days * 24));
    let (action, reason) = if !own.has(it) {
        // What names it, and the ref that keeps it, are where we do not look.
        (Action::Kept, "it is of another repository".to_owned())
    } else if age < YOUNG_SECONDS {
        (Action::Kept, "it is younger than an hour".to_owned())
    } else if age <= limit.as_secs_f64() {
        (Action::Kept, format!("it is kept for {} days", it.retention_days))
    } else {
        (Action::WouldRemove, "its time is over".to_owned())
    };
    Fate { stored, action, reason }
}

/// Returns the snapshots that something besides their own run names, and what does.
fn citations(ctx: &Context, fates: &[Fate]) -> Result<BTreeMap<String, String>> {
    let mut patterns = BTreeSet::new();
    for Fate { stored, .. } in fates.iter().filter(|fate| fate.action == Action::WouldRemove) {
        let it = &stored.snapshot;
        // The beginning of a digest is what people write down.
        patterns.extend([
            it.id.to_string(),
            it.digest.get(..12).unwrap_or(&it.digest).to_owned(),
            it.commit.clone(),
        ]);
    }
    let escaped: Vec<String> = patterns.iter().map(|name| name.replace('.', "\\.")).collect();
    let mut cited = BTreeMap::new();
    for layout in ctx.layouts().iter().filter(|layout| layout.root.is_dir()) {
        let inside =
            |path: &Path| path.strip_prefix(&layout.root).ok().map(|path| path.display().to_string());
        let but: Vec<_> = [&layout.runs, &layout.out].into_iter().filter_map(|path| inside(path)).collect();
        for some in escaped.chunks(100) {
            let found = ctx.repo.mentions_in_files(&layout.root, some, &but);
            let found =
                found.with_context(|| format!("cannot look for what `{}` names", layout.root.display()))?;
            cited.extend(
                found.into_iter().map(|Mention { text, place }| (text, format!("the file `{place}`"))),
            );
        }
    }
    for some in escaped.chunks(100) {
        let notes = ctx.repo.mentions_in_notes(some).context("cannot look into git's notes")?;
        cited.extend(notes.into_iter().map(|Mention { text, place }| (text, format!("the note `{place}`"))));
    }
    // Other runs may build on them; what a run says of its own snapshot is no reason.
    for found in catalog::newest_first(&ctx.layouts(), None) {
        let bytes = fs::read_if_there(&found.paths.manifest)?.unwrap_or_default();
        for Fate { stored, .. } in fates {
            let it = &stored.snapshot;
            let named = |name: &str| memchr::memmem::find(&bytes, name.as_bytes()).is_some();
            let own = it.id == found.run || it.same_as.as_ref() == Some(&found.run);
            if !own && named(it.id.as_str()) {
                cited.insert(it.id.to_string(), format!("run `{}`", found.run));
            }
        }
    }
    Ok(cited)
}

/// Removes a snapshot: what names it first, so that nobody finds half of one.
fn remove(ctx: &Context, stored: &Stored) -> Result<()> {
    let it = &stored.snapshot;
    fs::remove(&stored.document)?;
    ctx.repo.drop_snapshot(it.id.as_str())?;
    let of_run = ctx.layout.run(&it.task_id, &it.id).dir.join("learning").join(&it.archive);
    for path in stored.files().into_iter().chain([of_run]) {
        fs::remove(&path)?;
    }
    Ok(())
}

/// Removes what a process left that died while it took a snapshot.
fn leftovers(
    ctx: &Context,
    store: &Snapshots,
    options: &SnapshotGc,
    at: Stamp,
) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for (_, folder) in store.folders(options.task.as_ref()) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let Some(name) = name.to_str() else { continue };
            let orphan = Compression::of_name(name.as_ref())
                .and_then(|(_, id)| id.parse::<RunId>().ok())
                .filter(|id| !path.with_file_name(format!("{id}.json")).exists());
            if (orphan.is_some() || name.starts_with(".tmp-")) && is_old(&path, at) {
                if !options.dry_run {
                    // The archive comes first and goes last, so that it tells of a ref which nothing else names.
                    orphan.iter().try_for_each(|id| ctx.repo.drop_snapshot(id.as_str()))?;
                    fs::remove(&path)?;
                }
                found.push(path);
            }
        }
    }
    Ok(found)
}
