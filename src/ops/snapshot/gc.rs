//! Removing snapshots that are too old, and that nothing cites.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};
use jiff::SignedDuration;
use serde_json::Value;

use super::list::{self, Own};
use crate::git::{Mention, SNAPSHOTS};
use crate::id::{RunId, TaskId};
use crate::ops::gc::Action;
use crate::ops::{Context, Place, learning};
use crate::pipeline::learning::Compression;
use crate::run::retention::YOUNG_SECONDS;
use crate::run::snapshot::Snapshot;
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
            if let Some(place) = names_of(it).iter().find_map(|name| cited.get(*name)) {
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
    let refs = match options.task {
        // A ref says nothing of a task.
        Some(_) => Vec::new(),
        None => orphans(ctx, options, at)?,
    };
    Ok(Cleared {
        at,
        place: ctx.place(),
        dry_run: options.dry_run,
        snapshots: fates,
        damaged: store.damaged(options.task.as_ref()).iter().map(|path| ctx.layout.relative(path)).collect(),
        leftovers: leftovers.iter().map(|path| ctx.layout.relative(path)).chain(refs).collect(),
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
    let would_go = fates.iter().filter(|fate| fate.action == Action::WouldRemove);
    let wanted: Vec<[&str; 5]> = would_go.map(|fate| names_of(&fate.stored.snapshot)).collect();
    let mut cited = mentions(ctx, &wanted.concat())?;
    // Other runs may build on them; what a run says of its own snapshot is no reason.
    for found in catalog::newest_first(&ctx.layouts(), None) {
        let bytes = fs::read_if_there(&found.paths.manifest)?.unwrap_or_default();
        let said = without_its_own(bytes);
        for Fate { stored, .. } in fates {
            let it = &stored.snapshot;
            let named = |name: &&str| memchr::memmem::find(&said, name.as_bytes()).is_some();
            let own = it.id == found.run || it.same_as.as_ref() == Some(&found.run);
            if !own && names_of(it).iter().any(named) {
                cited.insert(it.id.to_string(), format!("run `{}`", found.run));
            }
        }
    }
    Ok(cited)
}

/// Returns which names stand in files of any worktree, or in notes, and where.
fn mentions(ctx: &Context, names: &[&str]) -> Result<BTreeMap<String, String>> {
    let patterns: BTreeSet<&str> = names.iter().copied().collect();
    let escaped: Vec<String> = patterns.iter().map(|name| name.replace('.', "\\.")).collect();
    let mut cited = BTreeMap::new();
    for layout in ctx.layouts().iter().filter(|layout| layout.root.is_dir()) {
        let root = fs::resolved(&layout.root).unwrap_or_else(|_| layout.root.clone());
        let inside = |path: &Path| {
            let inside = path.strip_prefix(&layout.root).or_else(|_| path.strip_prefix(&root)).ok()?;
            Some(inside.display().to_string()).filter(|inside| !inside.is_empty())
        };
        let store = Snapshots::of(layout, &ctx.env);
        let ours = [layout.runs.as_path(), &layout.out, store.root()];
        let but: Vec<_> = ours.into_iter().filter_map(inside).collect();
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
    Ok(cited)
}

/// Returns by what people and runs name a snapshot: the beginning of a digest is what people write down.
fn names_of(it: &Snapshot) -> [&str; 5] {
    let begin = |name: &'_ str| name.get(..12).unwrap_or(name).len();
    let (digest, commit) = (it.digest.as_str(), it.commit.as_str());
    [it.id.as_str(), digest, &digest[..begin(digest)], commit, &commit[..begin(commit)]]
}

/// Returns a manifest without what it says of the snapshot of its run, whose content others may share.
fn without_its_own(manifest: Vec<u8>) -> Vec<u8> {
    let Ok(mut document) = serde_json::from_slice::<Value>(&manifest) else { return manifest };
    if let Some(learning) = document.get_mut("learning").and_then(Value::as_object_mut) {
        learning.remove("snapshot");
        learning.remove("queue");
    }
    document.to_string().into_bytes()
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

/// Lets go of the commits of snapshots whose documents went away with their worktree, when their time is over.
fn orphans(ctx: &Context, options: &SnapshotGc, at: Stamp) -> Result<Vec<String>> {
    let refs = ctx.repo.refs_below(SNAPSHOTS).context("cannot tell which snapshots are ours")?;
    // What is in a worktree that is away, on another disk perhaps, nobody can tell.
    if refs.is_empty() || ctx.repo.worktrees()?.iter().any(|worktree| !worktree.present) {
        return Ok(Vec::new());
    }
    let days = learning::settings(ctx)?.retention_days.min(365_000) as i64;
    let limit = options.older_than.unwrap_or_else(|| SignedDuration::from_hours(days * 24)).as_secs_f64();
    // Wherever the variable led when they were taken.
    let usual = ctx.layouts().iter().map(Snapshots::usual).collect::<Vec<_>>();
    let stores: Vec<_> = list::stores(ctx).into_iter().chain(usual).collect();
    // One that cannot be read, or of which only the archive is left, is for whoever cleans up there.
    let is_known = |id: &RunId| stores.iter().any(|store| store.has_any(id));
    let mut orphans: Vec<_> = refs
        .into_iter()
        .filter_map(|it| {
            let id: RunId = it.name.strip_prefix(SNAPSHOTS)?.parse().ok()?;
            let age = at.seconds_since(Stamp::of_run_id(id.as_str())?);
            (age >= YOUNG_SECONDS && age > limit && !is_known(&id)).then_some((id, it))
        })
        .collect();
    if orphans.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<_> = orphans.iter().map(|(id, it)| vec![id.as_str(), &it.tip, &it.tip[..12]]).collect();
    let cited = mentions(ctx, &names.concat())?;
    let is_cited: Vec<_> = names.iter().map(|names| names.iter().any(|it| cited.contains_key(*it))).collect();
    let mut is_cited = is_cited.into_iter();
    orphans.retain(|_| is_cited.next() == Some(false));
    if !options.dry_run {
        orphans.iter().try_for_each(|(id, _)| ctx.repo.drop_snapshot(id.as_str()))?;
    }
    Ok(orphans.into_iter().map(|(_, it)| it.name).collect())
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
