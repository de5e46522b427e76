//! `migrate`: move runs of the older layout to where runs live now.
//!
//! The log says first what is planned, and last what was done. A migration that was killed leaves a
//! log with plans in it, and the next one finishes them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Map, Value};

use super::{Context, Kind as Refused, Place, Refusal};
use crate::id::{RunId, TaskId};
use crate::run::liveness::liveness;
use crate::run::stamp::Stamp;
use crate::store::catalog;
use crate::store::layout::UnsafePath;
use crate::store::legacy::{self, Kind, Log, Logged, Status};
use crate::sys::fs::{Lock, PathError};

/// What to move.
#[derive(Clone, Debug)]
pub struct MigrateOptions {
    /// Where a run goes whose manifest names no task.
    pub task: TaskId,
    /// Only this run.
    pub run: Option<RunId>,
    pub dry_run: bool,
}

/// What became of the runs.
#[derive(Debug)]
pub struct Migration {
    pub at: Stamp,
    pub place: Place,
    pub dry_run: bool,
    pub legacy_root: String,
    pub runs: Vec<Moved>,
    /// The logs, relative to the root.
    pub logs: Vec<String>,
    /// Folders that only point at a run, and stay.
    pub pointers: usize,
    /// Whether something could not be written.
    pub failed: bool,
}

/// One run, and what became of it.
#[derive(Clone, Debug)]
pub struct Moved {
    pub task: TaskId,
    pub entry: Logged,
}

struct Planned {
    moved: Moved,
    source: PathBuf,
    manifest: Option<(RunId, Map<String, Value>)>,
}

/// A run to move, its manifest as it will be and what to say about it; or why it stays.
type Decision = Result<(RunId, Map<String, Value>, String), (Status, String)>;

/// How long to wait for another migration or collection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes the lock that those who move or remove whole runs share.
pub(super) fn housekeeping(ctx: &Context) -> Result<Lock> {
    let lock = Lock::take(&ctx.layout.runs.join(".housekeeping.lock"), PATIENCE)?;
    let busy = || {
        Refusal::new(Refused::Busy, "another `migrate` or `gc` is at work in this worktree")
            .hint("wait until it is done, then say the same again")
    };
    Ok(lock.ok_or_else(busy)?)
}

/// Moves the runs that can be moved, and says of every other why it stays.
pub fn migrate(ctx: &Context, options: &MigrateOptions) -> Result<Migration> {
    let at = ctx.clock.now();
    let mut migration = Migration {
        at,
        place: ctx.place(),
        dry_run: options.dry_run,
        legacy_root: ctx.layout.relative(&legacy::root(&ctx.layout)),
        runs: Vec::new(),
        logs: Vec::new(),
        pointers: 0,
        failed: false,
    };
    ctx.layout.check(&options.task)?;
    if !legacy::root(&ctx.layout).is_dir() {
        return Ok(migration);
    }
    let _lock = match options.dry_run {
        true => None,
        false => Some(housekeeping(ctx)?),
    };
    for task in catalog::tasks(&ctx.layout, None) {
        for (path, log) in legacy::unfinished(&ctx.layout, &task) {
            finish(ctx, &mut migration, &task, &path, log, options)?;
        }
    }
    let mut planned = Vec::new();
    for source in legacy::entries(&ctx.layout)? {
        let name = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if options.run.as_ref().is_some_and(|only| only.as_str() != name) {
            continue;
        }
        match legacy::look(&source) {
            Kind::Pointer if options.run.is_none() => migration.pointers += 1,
            Kind::Pointer if migration.runs.iter().any(|run| run.entry.run_id == name) => {}
            kind => planned.push(plan(ctx, options, at, source, &name, kind)),
        }
    }
    let mut by_task: BTreeMap<TaskId, Vec<Planned>> = BTreeMap::new();
    for run in planned {
        by_task.entry(run.moved.task.clone()).or_default().push(run);
    }
    for (task, runs) in by_task {
        carry_out(ctx, &mut migration, &task, runs)?;
    }
    Ok(migration)
}

/// Decides about one folder.
fn plan(
    ctx: &Context,
    options: &MigrateOptions,
    at: Stamp,
    source: PathBuf,
    name: &str,
    kind: Kind,
) -> Planned {
    let fallback = || options.task.clone();
    let decide = || -> (TaskId, Decision) {
        let error = |message: String| Err((Status::Error, message));
        let skipped = |message: String| Err((Status::Skipped, message));
        let fields = match kind {
            Kind::Run(fields) => fields,
            Kind::Pointer => return (fallback(), skipped("it only points at a run, and stays".to_owned())),
            Kind::Broken(why) => return (fallback(), error(why)),
        };
        let Some(name) = source.file_name().and_then(|name| name.to_str()) else {
            return (fallback(), error("its name is no text".to_owned()));
        };
        let run: RunId = match name.parse::<RunId>() {
            Ok(run) => run,
            Err(err) => return (fallback(), error(err.to_string())),
        };
        let (task, note) = match fields.get("task_id") {
            None | Some(Value::Null) => {
                (fallback(), format!("; its manifest names no task, so it is one of `{}`", options.task))
            }
            Some(Value::String(text)) => match text.parse::<TaskId>() {
                Ok(task) => (task, String::new()),
                Err(err) => return (fallback(), error(err.to_string())),
            },
            Some(other) => return (fallback(), error(format!("its task is no text: {other}"))),
        };
        if let Err(err) = ctx.layout.check(&task) {
            return (task, error(err.to_string()));
        }
        let destination = ctx.layout.run(&task, &run).dir;
        if destination.symlink_metadata().is_ok() {
            let to = ctx.layout.relative(&destination);
            return (task, skipped(format!("`{to}` is there already, so nothing was touched")));
        }
        match legacy::adopted(&ctx.layout, (&task, &run), &source, fields, at) {
            Err(why) => (task, error(why)),
            Ok((fields, manifest)) => {
                let paths = crate::store::layout::RunPaths::new(source.clone());
                let beat = catalog::heartbeat(&paths);
                let pulse = liveness(&manifest, beat, at);
                if !manifest.status.is_terminal() && !pulse.stale {
                    return (task, skipped("somebody may still work on it".to_owned()));
                }
                (task, Ok((run, fields, note)))
            }
        }
    };
    let (task, decided) = decide();
    let (status, message, manifest) = match decided {
        Ok((run, fields, note)) => {
            let message = format!("would be moved{note}");
            (Status::Planned, message, Some((run, fields)))
        }
        Err((status, message)) => (status, message, None),
    };
    let destination = ctx.layout.task(&task).join("cli").join(name);
    let entry = Logged {
        run_id: name.to_owned(),
        source: ctx.layout.relative(&source),
        destination: ctx.layout.relative(&destination),
        status,
        message,
    };
    Planned { moved: Moved { task, entry }, source, manifest }
}

/// Moves the runs of one task, between two writings of the log.
fn carry_out(ctx: &Context, migration: &mut Migration, task: &TaskId, runs: Vec<Planned>) -> Result<()> {
    let path = legacy::log_path(&ctx.layout, task, migration.at, migration.dry_run);
    let folder = path.parent().unwrap_or(&path);
    if folder.is_symlink() {
        return Err(UnsafePath::Link(folder.to_owned()).into());
    }
    // That everything stays as it is needs no log.
    let something = runs.iter().any(|run| run.moved.entry.status != Status::Skipped);
    let mut log = log(ctx, migration, task, runs.iter().map(|run| run.moved.entry.clone()).collect());
    if something {
        legacy::write_log(&path, &log)?;
        migration.logs.push(ctx.layout.relative(&path));
    }
    for (run, entry) in runs.iter().zip(&mut log.runs) {
        if let Some((id, fields)) = run.manifest.as_ref().filter(|_| !migration.dry_run) {
            let note = entry.message.trim_start_matches("would be moved").to_owned();
            match legacy::move_run(&ctx.layout, (task, id), &run.source, fields, migration.at) {
                Ok(()) => {
                    entry.status = Status::Migrated;
                    entry.message = format!("moved{note}");
                }
                Err(err) => {
                    let there =
                        ctx.layout.run(task, id).dir.exists() && !run.source.join("manifest.json").is_file();
                    migration.failed = true;
                    // What was begun stays a plan, so that the next call ends it.
                    entry.status = if there { Status::Planned } else { Status::Error };
                    entry.message = why(&err);
                }
            }
        }
        migration.runs.push(Moved { task: task.clone(), entry: entry.clone() });
    }
    if something && !migration.dry_run {
        legacy::write_log(&path, &log)?;
    }
    Ok(())
}

fn why(err: &PathError) -> String {
    match err.source.kind() {
        io::ErrorKind::CrossesDevices => {
            format!("{err}: the two folders are on different file systems; move this one by hand")
        }
        io::ErrorKind::AlreadyExists => {
            format!("{err}: somebody else made it meanwhile; nothing was touched")
        }
        _ => err.to_string(),
    }
}

fn log(ctx: &Context, migration: &Migration, task: &TaskId, runs: Vec<Logged>) -> Log {
    Log {
        generated_at: migration.at,
        dry_run: migration.dry_run,
        task_id: task.clone(),
        repo_root: ctx.layout.root.display().to_string(),
        legacy_root: migration.legacy_root.clone(),
        task_runs_root: ctx.layout.relative(&ctx.layout.task(task).join("cli")),
        runs,
    }
}

/// Ends what a migration that was killed had begun.
fn finish(
    ctx: &Context,
    migration: &mut Migration,
    task: &TaskId,
    path: &Path,
    mut log: Log,
    options: &MigrateOptions,
) -> Result<()> {
    ctx.layout.check(task)?;
    let planned = log.runs.iter_mut().filter(|entry| entry.status == Status::Planned);
    for entry in planned {
        let Ok(run) = entry.run_id.parse::<RunId>() else { continue };
        let paths = ctx.layout.run(task, &run);
        let source = legacy::root(&ctx.layout).join(run.as_str());
        if matches!(legacy::look(&source), Kind::Run(_)) {
            // It was not moved, and is looked at like every other.
            entry.status = Status::Skipped;
            entry.message = "the migration was interrupted before its turn".to_owned();
            continue;
        }
        if !paths.dir.is_dir() {
            entry.status = Status::Error;
            entry.message = "the run is neither here nor there any more".to_owned();
            continue;
        }
        if !options.dry_run {
            legacy::point(&ctx.layout, (task, &run), &paths, migration.at)?;
            entry.status = Status::Migrated;
        }
        entry.message = "what an earlier migration had begun is ended".to_owned();
        migration.runs.push(Moved { task: task.clone(), entry: entry.clone() });
    }
    if !options.dry_run {
        legacy::write_log(path, &log)?;
        migration.logs.push(ctx.layout.relative(path));
    }
    Ok(())
}
