//! `gc`: remove old runs of this worktree.
//!
//! A run stays unless everything says that it may go: when in doubt, it stays, and the answer says
//! why. Its entry in the history and its line of metrics stay too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::migrate::housekeeping;
use super::{Context, Place};
use crate::git::Mention;
use crate::id::{RunId, TaskId};
use crate::run::retention::{Candidate, Fate, Limits, SHAPE, decide, has_shape, ids_in};
use crate::run::stamp::Stamp;
use crate::store::catalog::{self, Found};
use crate::store::lease::{Asked, Lease};
use crate::store::trash;
use crate::sys::{fs, process};

/// What to remove.
#[derive(Clone, Debug)]
pub struct GcOptions {
    /// Only runs of this task.
    pub task: Option<TaskId>,
    pub limits: Limits,
    pub dry_run: bool,
}

/// What became of the runs.
#[derive(Debug)]
pub struct Collection {
    pub at: Stamp,
    pub place: Place,
    pub dry_run: bool,
    /// Oldest first.
    pub runs: Vec<Collected>,
    /// What crashed processes had left, relative to the root.
    pub leftovers: Vec<String>,
}

/// One run.
#[derive(Debug)]
pub struct Collected {
    pub run: RunId,
    pub task: TaskId,
    pub bytes: u64,
    pub age_seconds: Option<f64>,
    pub action: Action,
    /// Why.
    pub reason: String,
}

/// What was done with a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Kept,
    WouldRemove,
    Removed,
    /// It could not be removed.
    Failed,
}

/// Folders with more runs than this whose ids have no shape of ours are left alone.
const ODD_IDS: usize = 200;

/// Removes the runs that are beyond a limit and that nothing keeps.
pub fn gc(ctx: &Context, options: &GcOptions) -> Result<Collection> {
    let at = ctx.clock.now();
    let (place, dry_run) = (ctx.place(), options.dry_run);
    let mut collection = Collection { at, place, dry_run, runs: Vec::new(), leftovers: Vec::new() };
    // A link such as `.runs/latest` is no task; if nothing else is there, it is the reason to tell.
    let (sound, unsafe_ones): (Vec<_>, Vec<_>) =
        catalog::tasks(&ctx.layout, None).into_iter().partition(|task| ctx.layout.check(task).is_ok());
    if let Some(task) = options.task.as_ref().or(unsafe_ones.first().filter(|_| sound.is_empty())) {
        ctx.layout.check(task)?;
    }
    let tasks: Vec<_> = match &options.task {
        Some(only) => vec![only.clone()],
        None => sound.clone(),
    };
    if !ctx.layout.runs.is_dir() {
        return Ok(collection);
    }
    let _lock = match options.dry_run {
        true => None,
        false => Some(housekeeping(ctx)?),
    };
    if !options.dry_run {
        trash::finish(&ctx.layout)?;
    }
    let mut begun = Vec::new();
    let all = catalog::newest_first(std::slice::from_ref(&ctx.layout), None);
    for found in all.filter(|found| sound.contains(&found.task)) {
        if catalog::has_begun(&found.paths) {
            begun.push(found);
        } else if tasks.contains(&found.task) && is_leftover(&found, at) {
            if !options.dry_run {
                trash::discard(&ctx.layout, &found.task, &found.run)?;
            }
            collection.leftovers.push(ctx.layout.relative(&found.paths.dir));
        }
    }
    begun.reverse();
    let links = links(ctx);
    let mut candidates: Vec<_> = begun.iter().map(|found| candidate(ctx, found, options, &links)).collect();
    let mut fates = decide(&candidates, &options.limits, at);
    if fates.iter().any(|fate| matches!(fate, Fate::Goes(_))) {
        // To look everywhere costs more than to look at the runs: only if something would go.
        let cited = citations(ctx, &begun)?;
        for candidate in candidates.iter_mut().filter(|candidate| candidate.keep.is_none()) {
            candidate.keep = cited.get(&candidate.run).map(|place| format!("{place} names it"));
        }
        fates = decide(&candidates, &options.limits, at);
    }
    for ((found, candidate), fate) in begun.iter().zip(&candidates).zip(fates) {
        if options.task.as_ref().is_some_and(|only| *only != found.task) {
            continue;
        }
        let (action, reason) = match fate {
            Fate::Stays(reason) => (Action::Kept, reason),
            Fate::Goes(reason) if options.dry_run => (Action::WouldRemove, reason),
            Fate::Goes(reason) => match remove(ctx, found, at) {
                Ok(None) => (Action::Removed, reason),
                Ok(Some(doubt)) => (Action::Kept, doubt),
                Err(err) => (Action::Failed, format!("{err:#}")),
            },
        };
        collection.runs.push(Collected {
            run: found.run.clone(),
            task: found.task.clone(),
            bytes: candidate.bytes,
            age_seconds: candidate.at.map(|then| at.seconds_since(then)),
            action,
            reason,
        });
    }
    let swept = trash::sweep(&ctx.layout, &tasks, at, options.dry_run)?;
    collection.leftovers.extend(swept.iter().map(|path| ctx.layout.relative(path)));
    Ok(collection)
}

/// Whether a folder is what a process left that died before its run began.
fn is_leftover(found: &Found, at: Stamp) -> bool {
    let is_dir = found.paths.dir.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    is_dir && trash::is_old(&found.paths.dir, at) && !Lease::is_held(&found.paths.lease)
}

/// Returns what decides about a run.
fn candidate(ctx: &Context, found: &Found, options: &GcOptions, links: &[(PathBuf, PathBuf)]) -> Candidate {
    let mut candidate =
        Candidate { run: found.run.to_string(), task: found.task.to_string(), ..Candidate::default() };
    let of_another = options.task.as_ref().is_some_and(|only| *only != found.task);
    if !found.paths.dir.symlink_metadata().is_ok_and(|meta| meta.is_dir()) || found.paths.check().is_err() {
        candidate.keep = Some("it is behind a symbolic link".to_owned());
        return candidate;
    }
    if !of_another {
        match fs::tree_size(&found.paths.dir) {
            Ok(bytes) => candidate.bytes = bytes,
            Err(err) => candidate.keep = Some(format!("it cannot be measured: {err}")),
        }
    }
    let manifest = match catalog::read(&found.paths) {
        Ok(state) => state.manifest,
        Err(err) => {
            candidate.keep = Some(format!("it cannot be read: {err}"));
            return candidate;
        }
    };
    let document = manifest.to_json();
    candidate.mentions = ids_in(&document);
    candidate.mentions.extend(manifest.child_runs.iter().map(|child| child.run_id.clone()));
    candidate.mentions.extend(manifest.parent_run_id.clone());
    candidate.mentions.remove(found.run.as_str());
    let ended = manifest.completed_at.or(manifest.started_at);
    candidate.at = ended.or_else(|| Stamp::of_run_id(found.run.as_str()));
    let keep = if of_another {
        Some("it belongs to another task".to_owned())
    } else if !manifest.status.is_terminal() {
        let detail = manifest.status_detail.as_ref().map(|detail| format!(", {detail}")).unwrap_or_default();
        Some(format!("it is not finished ({}{detail})", manifest.status))
    } else if manifest.run_id != found.run || manifest.task_id != found.task {
        Some("its manifest is that of another run".to_owned())
    } else if Lease::is_held(&found.paths.lease) {
        Some("somebody works on it".to_owned())
    } else {
        let here = found.paths.dir.canonicalize().ok();
        let mut leading =
            links.iter().filter(|(_, to)| here.as_ref().is_some_and(|here| to.starts_with(here)));
        leading.next().map(|(link, _)| format!("the link `{}` leads to it", ctx.layout.relative(link)))
    };
    candidate.keep = candidate.keep.or(keep);
    candidate.parent = manifest.parent_run_id;
    candidate
}

/// Returns the links that somebody made, such as `.runs/latest`, and where each leads.
fn links(ctx: &Context) -> Vec<(PathBuf, PathBuf)> {
    let mut folders = vec![ctx.layout.runs.clone()];
    for task in catalog::tasks(&ctx.layout, None) {
        folders.extend([ctx.layout.task(&task), ctx.layout.task(&task).join("cli")]);
    }
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()))
        .filter_map(|entry| Some((entry.path(), entry.path().canonicalize().ok()?)))
        .collect()
}

/// Returns the runs that something outside of this worktree's runs names, and what does.
fn citations(ctx: &Context, begun: &[Found]) -> Result<BTreeMap<String, String>> {
    let mut cited = BTreeMap::new();
    let odd: BTreeSet<_> = begun.iter().map(|found| found.run.as_str()).filter(|id| !has_shape(id)).collect();
    let mut patterns = vec![SHAPE.to_owned()];
    if odd.len() <= ODD_IDS {
        patterns.extend(odd.iter().map(|id| escaped(id)));
    } else {
        let doubt = || "perhaps something that cannot be looked for".to_owned();
        cited.extend(odd.iter().map(|id| ((*id).to_owned(), doubt())));
    }
    let mut layouts = ctx.layouts();
    layouts.retain(|layout| layout.root.is_dir());
    for layout in &layouts {
        let inside =
            |path: &Path| path.strip_prefix(&layout.root).ok().map(|path| path.display().to_string());
        let but: Vec<_> = [&layout.runs, &layout.out].into_iter().filter_map(|path| inside(path)).collect();
        let found = ctx.repo.mentions_in_files(&layout.root, &patterns, &but);
        let found =
            found.with_context(|| format!("cannot look for runs that `{}` names", layout.root.display()))?;
        cited.extend(found.into_iter().map(|Mention { text, place }| (text, format!("the file `{place}`"))));
    }
    let notes = ctx.repo.mentions_in_notes(&patterns).context("cannot look into git's notes")?;
    cited.extend(notes.into_iter().map(|Mention { text, place }| (text, format!("the note `{place}`"))));
    // Runs of other worktrees may build on ours.
    for found in catalog::newest_first(layouts.get(1..).unwrap_or_default(), None) {
        let bytes = fs::read_if_there(&found.paths.manifest)?.unwrap_or_default();
        let named = ids_in(&bytes).into_iter().filter(|id| *id != found.run.as_str());
        cited.extend(named.map(|id| (id, format!("run `{}` of another worktree", found.run))));
    }
    Ok(cited)
}

/// Returns an id as an extended regular expression.
fn escaped(id: &str) -> String {
    let mut pattern = String::new();
    for c in id.chars() {
        if "\\^$.[]|()*+?{}".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// Removes a run, or says what has come in between.
fn remove(ctx: &Context, found: &Found, at: Stamp) -> Result<Option<String>> {
    let lease = match Lease::ask(&found.paths.lease, &process::myself(at))? {
        Asked::Granted(lease) => lease,
        Asked::Held(_) => return Ok(Some("somebody works on it".to_owned())),
    };
    if !catalog::read(&found.paths)?.manifest.status.is_terminal() {
        return Ok(Some("it has been resumed meanwhile".to_owned()));
    }
    trash::discard(&ctx.layout, &found.task, &found.run)?;
    drop(lease);
    Ok(None)
}
