//! A change that was made elsewhere, brought back to the index and the work tree of whoever asked for it: as a whole, or
//! not at all, and never over what somebody wrote meanwhile.

mod content;
mod staging;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::At;
use super::fixed::TreeChange;
use super::{GitError, Repo};
use crate::sys::exchange::{ExchangeError, Place, Seen};

/// Why a change did not come back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    #[error("has other changes in the same lines that are not staged")]
    Overlaps(PathBuf),
    #[error("is there already, and git does not know it")]
    Exists(PathBuf),
    #[error("is deleted by the fix, and has changes that are not staged")]
    Edited(PathBuf),
    #[error("is something else than it was in the index")]
    OtherKind(PathBuf),
    #[error("was written meanwhile")]
    Written(PathBuf),
    #[error("was written twice meanwhile: what it was in between is in `{}`", kept.display())]
    Kept { path: PathBuf, kept: PathBuf },
    #[error("is a submodule, which has a repository of its own")]
    Submodule(PathBuf),
    #[error("has something else staged by now")]
    Staged(PathBuf),
    #[error("is there: somebody else is at the index")]
    Busy(PathBuf),
}

impl Obstacle {
    /// Returns the file that it is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Overlaps(path)
            | Self::Exists(path)
            | Self::Edited(path)
            | Self::OtherKind(path)
            | Self::Written(path)
            | Self::Kept { path, .. }
            | Self::Submodule(path)
            | Self::Staged(path)
            | Self::Busy(path) => path,
        }
    }

    /// Whether the same may go well when it is tried again.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Written(_) | Self::Kept { .. } | Self::Staged(_) | Self::Busy(_))
    }
}

/// A change that is to come back.
#[derive(Clone, Copy, Debug)]
pub struct BringBack<'a> {
    /// The tree that the index holds, in hex.
    pub from: &'a str,
    /// The tree that it is to hold.
    pub to: &'a str,
    /// How they differ.
    pub changes: &'a [TreeChange],
    /// The index that is about to be committed.
    pub index: &'a Path,
}

/// One file of the work tree, as it was seen and as it is to be.
struct Step {
    path: PathBuf,
    seen: Seen,
    new: Seen,
}

impl Repo {
    /// Brings a change back. Returns what is in the way; if there is anything, nothing is changed.
    ///
    /// The files come first, each in one step, then the index: whoever is killed in between has the rest of the change
    /// in the work tree, where it can be staged as any other.
    pub fn bring_back(&self, asked: &BringBack<'_>) -> Result<Vec<Obstacle>, GitError> {
        let scratch = self.scratch()?;
        let shown = self.shown(asked, scratch.path())?;
        let waiting = scratch.path().join("waiting");
        fs::create_dir(&waiting).at(&waiting)?;
        let place = Place::open(&self.work_tree, &waiting)?;
        let mut steps: Vec<Step> = Vec::new();
        let mut obstacles = Vec::new();
        for change in asked.changes {
            match self.step(&place, change, &shown)? {
                Ok(step) => steps.extend(step),
                Err(obstacle) => obstacles.push(obstacle),
            }
        }
        // A file may take the place of a folder, and a folder that of a file.
        steps.sort_by_key(|step| step.new != Seen::Nothing);
        let indexes = self.indexes(asked.index);
        for index in &indexes {
            if let Err(obstacle) = self.stage(asked, index, scratch.path())? {
                obstacles.push(obstacle);
            }
        }
        if !obstacles.is_empty() {
            return Ok(obstacles);
        }
        for (at, step) in steps.iter().enumerate() {
            let obstacle = match place.put(&step.path, &step.seen, &step.new) {
                Ok(()) => continue,
                Err(ExchangeError::Changed(_)) => Obstacle::Written(step.path.clone()),
                Err(ExchangeError::Kept { kept, .. }) => {
                    // It is all that is left of somebody's work.
                    let folder = scratch.keep();
                    tracing::warn!(folder = %folder.display(), "kept");
                    take_back(&place, &steps[..at]);
                    return Ok(vec![Obstacle::Kept { path: step.path.clone(), kept }]);
                }
                Err(ExchangeError::Path(err)) => {
                    take_back(&place, &steps[..at]);
                    return Err(err.into());
                }
            };
            take_back(&place, &steps[..at]);
            return Ok(vec![obstacle]);
        }
        for index in &indexes {
            match self.stage_and_publish(asked, index, scratch.path()) {
                Ok(Ok(())) => {}
                Ok(Err(obstacle)) => {
                    take_back(&place, &steps);
                    return Ok(vec![obstacle]);
                }
                Err(err) => {
                    take_back(&place, &steps);
                    return Err(err);
                }
            }
        }
        Ok(Vec::new())
    }

    /// Makes a folder on the file system of the work tree that goes away with what is returned.
    fn scratch(&self) -> Result<tempfile::TempDir, GitError> {
        let folder = self.fixes_folder();
        crate::sys::fs::create_dir_all(&folder)?;
        let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).at(path);
        let mut builder = tempfile::Builder::new();
        if device(&folder)? == device(&self.work_tree)? {
            return builder.prefix("tmp-").tempdir_in(&folder).at(&folder);
        }
        builder.prefix(".tmp-").tempdir_in(&self.work_tree).at(&self.work_tree)
    }

    /// Has git write the files as they were and as they are to be, with all that it does to files: line ends, filters.
    fn shown(&self, asked: &BringBack<'_>, scratch: &Path) -> Result<Shown, GitError> {
        let side = |name: &str, tree: &str, has: &dyn Fn(&TreeChange) -> bool| -> Result<PathBuf, GitError> {
            let folder = scratch.join(name);
            fs::create_dir(&folder).at(&folder)?;
            let index = scratch.join(format!("{name}.index"));
            let git = || {
                let git = self.git().env("GIT_INDEX_FILE", &index).env("GIT_NO_LAZY_FETCH", "0");
                git.args(["-c", "core.splitIndex=false", "-c", "core.sparseCheckout=false"])
            };
            git().args(["read-tree", tree]).run()?;
            let mut listed = Vec::new();
            for change in asked.changes.iter().filter(|change| has(change)) {
                listed.extend_from_slice(change.raw_path());
                listed.push(0);
            }
            if !listed.is_empty() {
                let mut prefix = std::ffi::OsString::from("--prefix=");
                prefix.push(&folder);
                prefix.push("/");
                let git = git().args(["checkout-index", "--force", "-z", "--stdin"]).args([prefix]);
                git.given(&listed)?.run()?;
            }
            Ok(folder)
        };
        let plain =
            |file: &Option<super::fixed::TreeFile>| file.as_ref().is_some_and(|it| !it.is_submodule());
        let old = side("old", asked.from, &|change| plain(&change.old))?;
        let new = side("new", asked.to, &|change| plain(&change.new))?;
        let nowhere = scratch;
        let look = |folder: &Path| -> Result<HashMap<PathBuf, Seen>, GitError> {
            let place = Place::open(folder, nowhere)?;
            let mut all = HashMap::new();
            for change in asked.changes {
                let path = change.path();
                let seen = place.look(&path)?;
                all.insert(path, seen);
            }
            Ok(all)
        };
        let gone = asked.changes.iter().filter(|change| change.new.is_none()).map(TreeChange::path);
        Ok(Shown { old: look(&old)?, new: look(&new)?, gone: gone.collect() })
    }
}

/// Files as a checkout would write them.
struct Shown {
    old: HashMap<PathBuf, Seen>,
    new: HashMap<PathBuf, Seen>,
    /// Those that are to be deleted.
    gone: BTreeSet<PathBuf>,
}

impl Shown {
    /// Whether a path is free when all is deleted that is to be: a file stands where its folder is to be, or it stands
    /// where a folder is.
    fn makes_room_for(&self, path: &Path) -> bool {
        let above = path.ancestors().skip(1).any(|folder| self.gone.contains(folder));
        above
            || self
                .gone
                .range(path.to_owned()..)
                .find(|gone| *gone != path)
                .is_some_and(|gone| gone.starts_with(path))
    }
}

/// Puts back what was seen, where nobody has written since.
fn take_back(place: &Place, steps: &[Step]) {
    for step in steps.iter().rev() {
        if let Err(err) = place.put(&step.path, &step.new, &step.seen) {
            tracing::warn!("`{}` was not put back: {err}", step.path.display());
        }
    }
}
