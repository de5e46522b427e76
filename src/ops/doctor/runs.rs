//! What earlier runs left: runs without a process, locks, damaged side files.

use std::io::{BufRead, BufReader};
use std::path::Path;

use super::super::Context;
use super::super::which;
use super::{Check, quoted};
use crate::id::TaskId;
use crate::store::catalog;
use crate::sys::fs::Lock;

/// How many runs are read, the newest: older ones stop nothing.
const MAX_RUNS: usize = 200;

pub fn look(ctx: &Context, checks: &mut Vec<Check>) {
    let before = checks.len();
    unfinished(ctx, checks);
    if checks.len() == before {
        checks.push(Check::ok("runs", "none is unfinished"));
    }
    let before = checks.len();
    locks(ctx, checks);
    if checks.len() == before {
        checks.push(Check::ok("locks", "none is held"));
    }
    let before = checks.len();
    for task in tasks(ctx) {
        metrics(ctx, &task, checks);
        history(ctx, &task, checks);
    }
    if checks.len() == before {
        checks.push(Check::ok("files", "metrics and histories are whole"));
    }
}

/// Returns the tasks that have a folder in this worktree.
pub fn tasks(ctx: &Context) -> Vec<TaskId> {
    let entries = std::fs::read_dir(&ctx.layout.runs).into_iter().flatten().filter_map(Result::ok);
    let mut tasks: Vec<TaskId> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()?.parse().ok()).collect();
    tasks.sort();
    tasks
}

fn unfinished(ctx: &Context, checks: &mut Vec<Check>) {
    for found in catalog::newest_first(std::slice::from_ref(&ctx.layout), None).take(MAX_RUNS) {
        if !catalog::has_begun(&found.paths) {
            continue;
        }
        let run = found.run.as_str().to_owned();
        let state = match catalog::read(&found.paths) {
            Ok(state) => state,
            Err(err) => {
                let mend = format!("look at it, or move it away: mv {0} {0}.aside", quoted(&found.paths.dir));
                checks.push(Check::warning("runs.unreadable", super::chain(&err), mend).about(run));
                continue;
            }
        };
        if state.manifest.status.is_terminal() {
            continue;
        }
        let pulse = which::pulse(ctx, &found, &state);
        // A child goes on with its parent.
        let whole = state.manifest.parent_run_id.clone().unwrap_or_else(|| run.clone());
        if pulse.dead {
            let message = format!("run {run} is unfinished, and no process works on it");
            checks.push(
                Check::warning("runs.dead", message, format!("git orchestrate resume {whole}")).about(run),
            );
        } else if pulse.liveness.stale {
            let message = format!("run {run} has given no sign of life for a while");
            checks.push(
                Check::warning("runs.stale", message, format!("git orchestrate status {whole}")).about(run),
            );
        } else {
            checks.push(Check::ok("runs.alive", format!("run {run} is at work")).about(run));
        }
    }
}

fn locks(ctx: &Context, checks: &mut Vec<Check>) {
    for task in tasks(ctx) {
        let path = ctx.layout.task_lock(&task);
        if Lock::is_held(&path) {
            let message = format!("a process holds the lock of task `{}`", task.as_str());
            let mend = format!("if it lasts, see who it is: fuser {}", quoted(&path));
            checks.push(Check::warning("locks.task", message, mend).about(task.as_str()));
        }
    }
    let index = ctx.repo.git_dir().join("index.lock");
    if index.exists() {
        let message = "git's index is locked: a stage that adds or commits would fail";
        let mend = format!("if no git is at work: rm {}", quoted(&index));
        checks.push(Check::warning("locks.index", message, mend));
    }
}

fn metrics(ctx: &Context, task: &TaskId, checks: &mut Vec<Check>) {
    let path = ctx.layout.task(task).join("metrics.json");
    let Ok(file) = std::fs::File::open(&path) else { return };
    let mut reader = BufReader::new(file);
    let mut damaged = Vec::new();
    let mut line = Vec::new();
    for number in 1_usize.. {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let text = line.trim_ascii();
        let is_object =
            || text.starts_with(b"{") && serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok();
        if !text.is_empty() && !is_object() {
            damaged.push(number);
        }
    }
    if let Some(first) = damaged.first() {
        let name = ctx.layout.relative(&path);
        let message = format!(
            "`{name}` has {} damaged lines, the first is line {first}; they are left out of the sums",
            damaged.len()
        );
        let lines: Vec<_> = damaged.iter().take(20).map(|line| format!("{line}d")).collect();
        let mend = format!("take them out: sed -i '{}' {}", lines.join(";"), quoted(Path::new(&name)));
        checks.push(Check::warning("files.metrics", message, mend).about(task.as_str()));
    }
}

fn history(ctx: &Context, task: &TaskId, checks: &mut Vec<Check>) {
    let path = ctx.layout.task_out(task).join("runs.json");
    let Ok(file) = std::fs::File::open(&path) else { return };
    let read: Result<serde::de::IgnoredAny, _> = serde_json::from_reader(BufReader::new(file));
    if let Err(err) = read {
        let name = ctx.layout.relative(&path);
        let message = format!("`{name}` is damaged: {err}");
        let mend = format!(
            "the next run puts it aside and begins a new one; to do it now: mv {0} {0}.aside",
            quoted(Path::new(&name))
        );
        checks.push(Check::warning("files.history", message, mend).about(task.as_str()));
    }
}
