//! Which runs there are, and which one is meant by an id, a prefix or `latest`.
//!
//! Run ids begin with their time, so the names of folders alone give the order: a run that nobody
//! asked about is not read.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::id::{RunId, TaskId};
use crate::run::manifest::Manifest;
use crate::run::stamp::Stamp;
use crate::store::journal::{self, JournalError};
use crate::store::layout::{Layout, RunPaths};
use crate::store::pointers;
use crate::sys::fs::{self, PathError};

/// A run that is somewhere on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The roots of the worktree that ran.
    pub layout: Layout,
    pub task: TaskId,
    pub run: RunId,
    pub paths: RunPaths,
}

impl Found {
    /// Returns another run of the same task in the same place, such as a part of this one.
    pub fn sibling(&self, run: RunId) -> Self {
        let paths = self.layout.run(&self.task, &run);
        Self { run, paths, ..self.clone() }
    }
}

/// Why a run cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("`{path}` is no manifest: {reason}")]
    Corrupt { path: String, reason: String },
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// A run as it is on disk.
#[derive(Debug)]
pub struct State {
    /// Up to date with the journal.
    pub manifest: Manifest,
    /// What `.heartbeat` says.
    pub heartbeat: Option<Stamp>,
    /// Why `manifest.json` could not be used, if it was rebuilt from the journal.
    pub rebuilt: Option<String>,
}

/// Returns every run below the layouts, newest first: by the time that begins its id, and a run whose
/// id begins with none after all others. Reads no run; what is not asked for costs its name.
pub fn newest_first(layouts: &[Layout], task: Option<&TaskId>) -> impl Iterator<Item = Found> {
    struct Name<'a> {
        layout: &'a Layout,
        task: Rc<TaskId>,
        run: String,
    }
    let mut all = Vec::new();
    for layout in layouts {
        for task in tasks(layout, task).into_iter().map(Rc::new) {
            let cli = layout.task(&task).join("cli");
            all.extend(names(&cli).map(|run| Name { layout, task: Rc::clone(&task), run }));
        }
    }
    let tells_time = |run: &str| run.as_bytes().first().is_some_and(u8::is_ascii_digit);
    all.sort_unstable_by(|a, b| (tells_time(&b.run), &b.run).cmp(&(tells_time(&a.run), &a.run)));
    all.into_iter().filter_map(|Name { layout, task, run }| {
        let run: RunId = run.parse().ok()?;
        let paths = layout.run(&task, &run);
        Some(Found { layout: layout.clone(), task: TaskId::clone(&task), run, paths })
    })
}

/// Returns the tasks that have a folder, or the one that is asked about.
pub fn tasks(layout: &Layout, only: Option<&TaskId>) -> Vec<TaskId> {
    match only {
        Some(task) => vec![task.clone()],
        None => {
            let named = names(&layout.runs).filter_map(|name| name.parse().ok());
            let mut tasks: Vec<TaskId> = named.filter(|task| layout.task(task).is_dir()).collect();
            tasks.sort();
            tasks
        }
    }
}

fn names(dir: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok())
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The newest run of this worktree that somebody asked for, so no child; of all worktrees if this
    /// one has none.
    Latest,
    /// An id, or the beginning of exactly one.
    Id(RunId),
}

/// Why no single run is meant.
#[derive(Debug, thiserror::Error)]
pub enum NotFound {
    #[error("there is no run yet{}", of_task(task))]
    NoRuns { task: Option<TaskId> },
    #[error("no run is called `{wanted}`{}", of_task(task))]
    NoSuchRun { wanted: RunId, task: Option<TaskId> },
    #[error("`{wanted}` is the beginning of {} runs", candidates.len())]
    Ambiguous { wanted: RunId, candidates: Vec<RunId> },
}

fn of_task(task: &Option<TaskId>) -> String {
    task.as_ref().map(|task| format!(" of task `{task}`")).unwrap_or_default()
}

/// Finds the run that is meant. The first layout is that of the worktree we stand in.
pub fn find(layouts: &[Layout], task: Option<&TaskId>, wanted: &Wanted) -> Result<Found, NotFound> {
    let id = match wanted {
        Wanted::Latest => {
            let newest =
                |layouts: &[Layout]| newest_first(layouts, task).find(|run| is_asked_for(&run.paths));
            let (here, elsewhere) = layouts.split_at(layouts.len().min(1));
            let found = newest(here).or_else(|| newest(elsewhere));
            return found.ok_or_else(|| NotFound::NoRuns { task: task.cloned() });
        }
        Wanted::Id(id) => id,
    };
    if let Some(found) = exact(layouts, task, id) {
        return Ok(found);
    }
    let mut found: Vec<_> =
        newest_first(layouts, task).filter(|run| run.run.as_str().starts_with(id.as_str())).collect();
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => layouts
            .iter()
            .find_map(|layout| legacy(layout, task, id))
            .ok_or_else(|| NotFound::NoSuchRun { wanted: id.clone(), task: task.cloned() }),
        _ => {
            let candidates = found.into_iter().map(|run| run.run).collect();
            Err(NotFound::Ambiguous { wanted: id.clone(), candidates })
        }
    }
}

/// Finds the run of exactly that id. No run is looked at.
pub fn exact(layouts: &[Layout], task: Option<&TaskId>, id: &RunId) -> Option<Found> {
    let all =
        layouts.iter().flat_map(|layout| tasks(layout, task).into_iter().map(move |task| (layout, task)));
    { all }.find_map(|(layout, task)| {
        let paths = layout.run(&task, id);
        paths.dir.is_dir().then(|| Found { layout: layout.clone(), task, run: id.clone(), paths })
    })
}

/// Whether a folder holds a run. One without is what a crash left before anything began: the first
/// line of the journal is where a run begins.
pub fn has_begun(paths: &RunPaths) -> bool {
    let has_line = || {
        let mut begin = Vec::new();
        let file = std::fs::File::open(&paths.journal);
        file.and_then(|file| BufReader::new(file).read_until(b'\n', &mut begin)).is_ok()
            && begin.ends_with(b"\n")
    };
    paths.manifest.exists() || has_line()
}

/// Whether somebody asked for the run. A child is a part of the run that began it.
fn is_asked_for(paths: &RunPaths) -> bool {
    #[derive(serde::Deserialize)]
    struct Parent {
        #[serde(default)]
        parent_run_id: Option<String>,
    }
    match fs::read_if_there(&paths.manifest) {
        // The newest run that cannot be read is the one to complain about.
        Ok(Some(bytes)) => {
            serde_json::from_slice::<Parent>(&bytes).map_or(true, |parent| parent.parent_run_id.is_none())
        }
        Ok(None) => {
            has_begun(paths)
                && journal::rebuild(&paths.journal, None)
                    .ok()
                    .flatten()
                    .is_none_or(|manifest| manifest.parent_run_id.is_none())
        }
        Err(_) => true,
    }
}

/// Follows the pointers of the older layout.
fn legacy(layout: &Layout, task: Option<&TaskId>, id: &RunId) -> Option<Found> {
    let local = layout.runs.join("local-mcp").join(id.as_str());
    let mcp = tasks(layout, task).into_iter().map(|task| layout.task(&task).join("mcp").join(id.as_str()));
    let candidates: Vec<PathBuf> = std::iter::once(local)
        .chain(mcp)
        .flat_map(|dir| [dir.join("manifest.json"), dir.join("compat.json")])
        .collect();
    let dir = candidates.iter().find_map(|pointer| pointers::follow(layout, pointer))?;
    let paths = RunPaths::new(dir);
    let manifest = read(&paths).ok()?.manifest;
    if task.is_some_and(|task| *task != manifest.task_id) {
        return None;
    }
    Some(Found { layout: layout.clone(), task: manifest.task_id, run: manifest.run_id, paths })
}

/// Returns what `.heartbeat` says.
pub fn heartbeat(paths: &RunPaths) -> Option<Stamp> {
    let text = std::fs::read_to_string(&paths.heartbeat).ok()?;
    text.trim().parse::<jiff::Timestamp>().ok().map(Stamp::new)
}

/// Reads a run: the manifest, and what the journal adds to it. A manifest that cannot be read is
/// rebuilt from the journal where that is possible.
pub fn read(paths: &RunPaths) -> Result<State, ReadError> {
    let heartbeat = heartbeat(paths);
    let bytes = fs::read_if_there(&paths.manifest)?;
    let manifest = match &bytes {
        Some(bytes) => serde_json::from_slice::<Manifest>(bytes).map_err(|err| err.to_string()),
        None => Err("there is none".to_owned()),
    };
    match manifest {
        // The mark tells a manifest of ours. One of the reference says all that there is to say.
        Ok(manifest) if manifest.journal.is_some() && paths.journal.exists() => {
            let (manifest, _) = journal::catch_up(&paths.journal, manifest)?;
            Ok(State { manifest, heartbeat, rebuilt: None })
        }
        Ok(manifest) => Ok(State { manifest, heartbeat, rebuilt: None }),
        Err(reason) => {
            let rebuilt = match paths.journal.exists() {
                true => journal::rebuild(&paths.journal, None).ok().flatten(),
                false => None,
            };
            match rebuilt {
                Some(manifest) => Ok(State { manifest, heartbeat, rebuilt: Some(reason) }),
                None => Err(ReadError::Corrupt { path: paths.manifest.display().to_string(), reason }),
            }
        }
    }
}
