//! `list`: the runs of all worktrees.

use std::path::PathBuf;

use anyhow::Result;

use super::which::{self, Pulse};
use super::{Context, Kind, Refusal};
use crate::id::TaskId;
use crate::run::approval::Waiting;
use crate::run::manifest::Manifest;
use crate::run::status::RunStatus;
use crate::store::catalog::{self, Found, ReadError};
use crate::store::layout::Layout;

/// Which runs to list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    pub task: Option<TaskId>,
    pub status: Vec<RunStatus>,
    /// A revision: runs that began at that commit.
    pub commit: Option<String>,
    /// A path, or git's name of a linked worktree.
    pub worktree: Option<String>,
    /// At most so many; all if none.
    pub limit: Option<usize>,
}

/// One run of the list.
#[derive(Debug)]
pub struct Listed {
    pub found: Found,
    pub run: Result<(Manifest, Pulse), ReadError>,
    /// What to type so that the run goes on, if it does not by itself.
    pub next: Option<String>,
    /// What of the run, and of its child runs, waits for a decision.
    pub waiting: Vec<Waiting>,
}

/// Returns runs, newest first. Reads no more of them than the answer needs.
pub fn list(ctx: &Context, options: &ListOptions) -> Result<Vec<Listed>> {
    let layouts = match &options.worktree {
        Some(wanted) => vec![worktree(ctx, wanted)?],
        None => ctx.layouts(),
    };
    let commit = options.commit.as_deref().map(|rev| resolve(ctx, rev)).transpose()?;
    let limit = options.limit.unwrap_or(usize::MAX);
    let mut listed = Vec::new();
    let worktrees = ctx.repo.worktrees().unwrap_or_default();
    for mut found in catalog::newest_first(&layouts, options.task.as_ref()) {
        if listed.len() >= limit {
            break;
        }
        if !catalog::has_begun(&found.paths) {
            continue;
        }
        let run = catalog::read(&found.paths).map(|state| {
            let pulse = which::pulse(ctx, &found, &state);
            (state.manifest, pulse)
        });
        if let Ok((manifest, _)) = &run {
            found.layout = ctx.home_of(&found.layout, manifest, &worktrees);
        }
        let is_there = |layout: &Layout| layout.root == found.layout.root;
        if options.worktree.is_some() && !layouts.iter().any(is_there) {
            continue;
        }
        let wanted = match &run {
            Ok((manifest, _)) => {
                let at = manifest.git.as_ref().and_then(|git| git.commit.as_deref());
                (options.status.is_empty() || options.status.contains(&manifest.status))
                    && commit.as_deref().is_none_or(|commit| at == Some(commit))
            }
            Err(_) => options.status.is_empty() && commit.is_none(),
        };
        if wanted {
            let (next, waiting) = match &run {
                Ok((manifest, pulse)) => which::outlook(ctx, &found, manifest, *pulse),
                Err(_) => (None, Vec::new()),
            };
            listed.push(Listed { found, run, next, waiting });
        }
    }
    Ok(listed)
}

fn resolve(ctx: &Context, rev: &str) -> Result<String> {
    Ok(ctx.repo.commit_named(rev)?.ok_or_else(|| Refusal::no_commit(rev))?)
}

fn worktree(ctx: &Context, wanted: &str) -> Result<Layout> {
    let path: PathBuf = ctx.env.cwd().join(wanted);
    let path = path.canonicalize().unwrap_or(path);
    let worktrees = ctx.repo.worktrees()?;
    let found = worktrees
        .iter()
        .find(|worktree| worktree.name.as_deref() == Some(wanted))
        .or_else(|| worktrees.iter().find(|worktree| worktree.path == path));
    match found {
        Some(worktree) if worktree.path == ctx.repo.work_tree() => Ok(ctx.layout.clone()),
        Some(worktree) => Ok(ctx.layout.of_worktree(&worktree.path)),
        None => Err(Refusal::new(
            Kind::Usage,
            format!("`{}` is no worktree of this repository", wanted.escape_debug()),
        )
        .hint("`git worktree list` shows them")
        .into()),
    }
}
