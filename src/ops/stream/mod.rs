//! Streams: a branch and a worktree each, with runs of their own.

pub mod cd;
pub mod fleet;
pub mod land;
pub mod list;
pub mod look;
pub mod new;
pub mod probe;
pub mod prune;
pub mod rm;
pub mod setup;
pub mod undo;

pub(in crate::ops) mod above;
mod carry;
mod gone;
mod lease;
mod leftover;
pub(in crate::ops) mod variables;

use std::path::PathBuf;

use anyhow::Result;

use super::{Context, Kind, Refusal};
use crate::git::Repo;
use crate::id::{StreamName, TaskId};
use crate::store::streams::{Phase, Stream, Streams};
use crate::sys::fs::Lock;

/// Returns the streams of the repository.
fn streams(ctx: &Context) -> Streams {
    Streams::of(ctx.repo.common_dir())
}

/// Returns the task of a stream of a task.
fn task_of(task: &TaskId, name: &StreamName) -> Result<TaskId> {
    let text = format!("{task}-{}", name.as_folder());
    text.parse().map_err(|_| {
        let message = format!("`{text}` cannot be a task: it is too long");
        Refusal::usage(message).hint("choose a shorter name, or another task with `--task`").into()
    })
}

/// Takes the lock of a stream, or says that somebody has it.
fn lock(streams: &Streams, name: &StreamName) -> Result<Lock> {
    let held =
        || Refusal::new(Kind::Busy, format!("somebody is making, changing or removing the stream `{name}`"));
    Ok(streams.try_lock(name)?.ok_or_else(held)?)
}

/// Returns what `ctx` is in a worktree: its root is where ours is in this one.
pub(in crate::ops) fn there(ctx: &Context, repo: Repo) -> Context {
    let layout = ctx.layout.of_worktree(repo.work_tree());
    let root = match ctx.layout.root.strip_prefix(ctx.repo.work_tree()) {
        // Joined by its parts: an empty path would leave a slash at the end.
        Ok(inside) => inside.iter().fold(repo.work_tree().to_owned(), |root, part| root.join(part)),
        Err(_) => layout.root.clone(),
    };
    let layout = crate::store::layout::Layout { root: root.clone(), ..layout };
    Context { repo, layout, root, env: ctx.env.clone(), clock: ctx.clock }
}

/// Whether the folder of a stream is where it was made, and is still that.
fn is_there(stream: &Stream) -> bool {
    stream.path.join(".git").is_file()
}

/// Returns the folder of a stream's worktree, or says that it is gone.
fn folder_of(stream: &Stream) -> Result<PathBuf> {
    if is_there(stream) && stream.phase != Phase::Creating {
        return Ok(stream.path.clone());
    }
    let message = format!("the folder `{}` of stream `{}` is gone", stream.path.display(), stream.name);
    let name = &stream.name;
    let hint = format!(
        "if it was moved, git finds it again: git worktree repair FOLDER; if not, git orchestrate stream new {name}"
    );
    Err(Refusal::usage(message).hint(hint).into())
}
