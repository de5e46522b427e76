//! What is known about streams beside what git knows: one small file each, below the common git directory.
//!
//! A stream is whatever git says that it is: the file only tells what git does not, and may be left over from a folder
//! that somebody deleted. Whoever makes, changes or removes a stream holds its lock, so a file that says that its
//! stream is being made tells a crash if nobody holds that.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::git::{is_top_of, top_of_entry};
use crate::id::{RunId, StageId, StreamName, TaskId};
use crate::run::stamp::Stamp;
use crate::run::status::RunStatus;
use crate::store::pointers::pretty;
use crate::sys::fs::{self, Durability, Lock, PathError};

/// The version of the files that we write; we read none that is newer.
const VERSION: u32 = 1;

/// The file in git's part of a worktree that names its stream.
const NOTE: &str = "orchestrate-stream";

/// How long to wait for somebody who changes git's list of worktrees, which takes a moment only.
const PATIENCE: Duration = Duration::from_secs(60);

/// One stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    pub version: u32,
    pub name: StreamName,
    pub phase: Phase,
    /// Its branch, without `refs/heads/`.
    pub branch: String,
    /// The commit at which the branch was made; nothing if it was there before.
    #[serde(default)]
    pub made_branch_at: Option<String>,
    /// The commit that the branch named when the stream began; older versions did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_at: Option<String>,
    /// The top level of its worktree, absolute.
    pub path: PathBuf,
    /// git's name of the worktree, once it has one.
    #[serde(default)]
    pub worktree: Option<String>,
    /// The branch that it began on, without `refs/heads/`, if it began on one.
    #[serde(default)]
    pub base: Option<String>,
    /// The commit that it began at.
    pub base_commit: String,
    /// The task that its runs belong to.
    pub task: TaskId,
    pub created_at: Stamp,
    /// How its set-up went, if there is any.
    #[serde(default)]
    pub setup: Option<SetUp>,
    /// The ports that it has for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Ports>,
    /// The database that it has for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The newest run that stands above runs in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<Above>,
    /// What other versions wrote; kept as it is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How far a stream has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It is being made; if nobody holds its lock, whoever made it was killed.
    Creating,
    /// It is there, and its set-up runs or was interrupted.
    SettingUp,
    Ready,
    /// It is there, and its set-up failed.
    SetUpFailed,
}

/// Some ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ports {
    pub first: u16,
    pub count: u16,
}

/// What a stream has for itself.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Leases {
    pub name: Option<StreamName>,
    pub ports: Option<Ports>,
    pub database: Option<String>,
}

/// The run that set a stream up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetUp {
    pub run: RunId,
    pub status: RunStatus,
}

/// A run that stands above others, and those of its stages that are runs in one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Above {
    pub task: TaskId,
    pub run: RunId,
    pub stages: Vec<StageId>,
}

/// The streams of a repository.
#[derive(Clone, Debug)]
pub struct Streams {
    folder: PathBuf,
}

/// Why a stream's file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("`{}` is not about a stream: {reason}", path.display())]
    Corrupt { path: PathBuf, reason: String },
    #[error("`{}` was written by a newer version", .0.display())]
    Newer(PathBuf),
    #[error("somebody has held the lock `{}` for too long", .0.display())]
    Busy(PathBuf),
}

impl StreamError {
    /// Returns what to type next.
    pub fn hint(&self) -> Option<String> {
        let Self::Corrupt { path, .. } = self else { return None };
        let name = path.file_stem()?.to_str()?;
        Some(format!("git orchestrate stream rm --force {name}; its folder can be had back for a day"))
    }
}

impl Stream {
    /// Returns a stream that is about to be made.
    pub fn begun(name: StreamName, path: PathBuf, base_commit: String, task: TaskId, at: Stamp) -> Self {
        Self {
            version: VERSION,
            branch: name.as_str().to_owned(),
            name,
            phase: Phase::Creating,
            made_branch_at: None,
            began_at: None,
            path,
            worktree: None,
            base: None,
            base_commit,
            task,
            created_at: at,
            setup: None,
            ports: None,
            database: None,
            above: None,
            other: Map::new(),
        }
    }

    /// Whether its branch names what it named when the stream began.
    pub fn has_not_begun(&self, tip: &str) -> bool {
        tip == self.began_at.as_deref().or(self.made_branch_at.as_deref()).unwrap_or(&self.base_commit)
    }
}

impl Ports {
    /// Whether a port is in both. A file may say anything, so none is counted up to a port that cannot be.
    pub fn overlaps(self, other: Self) -> bool {
        let end = |of: Self| u32::from(of.first) + u32::from(of.count);
        let is_some = self.count > 0 && other.count > 0;
        is_some && u32::from(self.first) < end(other) && u32::from(other.first) < end(self)
    }
}

impl Streams {
    /// Returns the streams of the repository with that common directory.
    pub fn of(common_dir: &Path) -> Self {
        Self { folder: common_dir.join("orchestrate/streams") }
    }

    /// Returns git's part of a stream's worktree, if git still has it and has it for that stream.
    pub fn entry_of(&self, stream: &Stream) -> Option<PathBuf> {
        let entry = self.worktrees().join(stream.worktree.as_ref()?);
        (noted(&entry).as_ref() == Some(&stream.name)).then_some(entry)
    }

    /// Returns a stream with the path at which its folder is now: somebody may have moved it. git knows where it moved
    /// it itself. By hand most are only renamed, so it is looked for beside where it was.
    fn found(&self, mut stream: Stream) -> Stream {
        let Some(worktree) = stream.worktree.as_ref().filter(|_| stream.phase != Phase::Creating) else {
            return stream;
        };
        let entry = self.worktrees().join(worktree);
        if is_top_of(&stream.path, &entry) || self.entry_of(&stream).is_none() {
            return stream;
        }
        let told = top_of_entry(&entry);
        let folders: Vec<_> = [told.as_deref(), Some(&stream.path)].into_iter().flatten().collect();
        let beside = folders.iter().filter_map(|folder| std::fs::read_dir(folder.parent()?).ok());
        let beside = beside.flatten().flatten().map(|entry| entry.path());
        let there = told.iter().cloned().chain(beside).find(|folder| is_top_of(folder, &entry));
        stream.path = there.unwrap_or(stream.path);
        stream
    }

    /// Where git keeps its parts of worktrees.
    fn worktrees(&self) -> PathBuf {
        let mut folder = self.folder.clone();
        // `orchestrate/streams`
        folder.pop();
        folder.pop();
        folder.join("worktrees")
    }

    fn file(&self, folder: &str) -> PathBuf {
        self.folder.join(format!("{folder}.json"))
    }

    /// Returns what is known about a stream; nothing if there is none that has a folder of that name.
    pub fn find(&self, name: &StreamName) -> Result<Option<Stream>, StreamError> {
        Ok(read(&self.file(&name.as_folder()))?.map(|stream| self.found(stream)))
    }

    /// Returns every stream, by name; one whose file is of no use is an error of its own.
    pub fn all(&self) -> Vec<Result<Stream, StreamError>> {
        let read = |file| read(file).map(|stream| stream.map(|stream| self.found(stream)));
        self.files().iter().filter_map(|file| read(file).transpose()).collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let is_file = |path: &PathBuf| path.extension().is_some_and(|it| it == "json");
        let mut files: Vec<_> = entries.map(|entry| entry.path()).filter(is_file).collect();
        files.sort();
        files
    }

    /// Returns what each stream has for itself, also one that a newer version wrote.
    pub fn leases(&self) -> Vec<Result<Leases, StreamError>> {
        let leases = |file: &PathBuf| {
            let bytes = fs::read_if_there(file).map_err(StreamError::from).transpose()?;
            let read = |bytes: Vec<u8>| serde_json::from_slice(&bytes).map_err(|err| corrupt(file, &err));
            Some(bytes.and_then(read))
        };
        self.files().iter().filter_map(leases).collect()
    }

    /// Keeps what is known about a stream.
    pub fn save(&self, stream: &Stream) -> Result<(), StreamError> {
        fs::create_dir_all(&self.folder)?;
        let file = self.file(&stream.name.as_folder());
        Ok(fs::write_atomically(&file, &pretty(stream), Durability::Process)?)
    }

    /// Forgets a stream.
    pub fn forget(&self, name: &StreamName) -> Result<(), StreamError> {
        fs::remove(&self.disk_file(name))?;
        Ok(fs::remove(&self.file(&name.as_folder()))?)
    }

    /// Takes the lock of a stream, whether it exists or not; nothing if somebody holds it.
    pub fn try_lock(&self, name: &StreamName) -> Result<Option<Lock>, StreamError> {
        Ok(Lock::try_take(&self.lock_file(name)?)?)
    }

    /// Whether somebody holds the lock of a stream.
    pub fn is_locked(&self, name: &StreamName) -> bool {
        self.lock_file(name).is_ok_and(|path| Lock::is_held(&path))
    }

    /// Returns where the size of a stream's folder is kept: apart from the locks, which have the names of streams.
    pub fn disk_file(&self, name: &StreamName) -> PathBuf {
        self.folder.join("sizes").join(name.as_folder())
    }

    fn lock_file(&self, name: &StreamName) -> Result<PathBuf, StreamError> {
        let locks = self.folder.join("locks");
        fs::create_dir_all(&locks)?;
        Ok(locks.join(name.as_folder()))
    }

    /// Takes the right to change git's list of worktrees.
    pub fn lock_list(&self) -> Result<Lock, StreamError> {
        self.lock_all("lock")
    }

    /// Takes the right to move a branch together with the files of those who have it checked out.
    pub fn lock_landing(&self) -> Result<Lock, StreamError> {
        self.lock_all("landing")
    }

    fn lock_all(&self, name: &str) -> Result<Lock, StreamError> {
        fs::create_dir_all(&self.folder)?;
        let path = self.folder.join(name);
        Lock::take(&path, PATIENCE)?.ok_or(StreamError::Busy(path))
    }
}

/// Notes in git's part of a worktree which stream it is.
pub fn note(entry: &Path, name: &StreamName) -> Result<(), PathError> {
    fs::write_atomically(&entry.join(NOTE), format!("{name}\n").as_bytes(), Durability::Process)
}

/// Returns the stream that is noted in git's part of a worktree.
pub fn noted(entry: &Path) -> Option<StreamName> {
    let text = fs::read_if_there(&entry.join(NOTE)).ok().flatten()?;
    String::from_utf8(text).ok()?.trim_end().parse().ok()
}

fn read(path: &Path) -> Result<Option<Stream>, StreamError> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Some(bytes) = fs::read_if_there(path)? else { return Ok(None) };
    let corrupt = |err: serde_json::Error| corrupt(path, &err);
    let Version { version } = serde_json::from_slice(&bytes).map_err(corrupt)?;
    if version > VERSION {
        return Err(StreamError::Newer(path.to_owned()));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(corrupt)
}

fn corrupt(path: &Path, err: &serde_json::Error) -> StreamError {
    StreamError::Corrupt { path: path.to_owned(), reason: err.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str) -> Stream {
        let at = Stamp::new("2026-01-01T00:00:00Z".parse().unwrap());
        Stream::begun(
            name.parse().unwrap(),
            "/a/repo.x".into(),
            "c".repeat(40),
            "0101-x".parse().unwrap(),
            at,
        )
    }

    #[test]
    fn a_stream_is_read_as_it_was_kept_with_what_others_added() {
        let dir = tempfile::tempdir().unwrap();
        let streams = Streams::of(dir.path());
        let mut kept = stream("fix/login");
        kept.other.insert("later".to_owned(), Value::from(1));
        streams.save(&kept).unwrap();
        assert_eq!(streams.find(&kept.name).unwrap(), Some(kept.clone()));
        assert_eq!(streams.all().into_iter().map(Result::unwrap).collect::<Vec<_>>(), [kept.clone()]);
        streams.forget(&kept.name).unwrap();
        assert_eq!(streams.find(&kept.name).unwrap(), None);
    }

    #[test]
    fn a_file_of_a_newer_version_and_a_damaged_one_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let streams = Streams::of(dir.path());
        streams.save(&stream("a")).unwrap();
        std::fs::write(streams.file("b"), "{\"version\": 2}").unwrap();
        std::fs::write(streams.file("c"), "{").unwrap();
        let all = streams.all();
        assert!(
            matches!(all[..], [Ok(_), Err(StreamError::Newer(_)), Err(StreamError::Corrupt { .. })]),
            "{all:?}"
        );
    }

    #[test]
    fn ports_overlap_whatever_a_file_says_of_them() {
        let of = |first, count| Ports { first, count };
        assert!(of(10, 2).overlaps(of(11, 1)) && of(11, 1).overlaps(of(10, 2)));
        assert!(!of(10, 2).overlaps(of(12, 1)) && !of(12, 1).overlaps(of(10, 2)));
        assert!(!of(11, 0).overlaps(of(10, 4)) && !of(10, 4).overlaps(of(11, 0)));
        assert!(of(65_535, u16::MAX).overlaps(of(65_535, 1)));
    }

    #[test]
    fn the_size_of_a_stream_is_no_lock_of_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let streams = Streams::of(dir.path());
        let (x, other): (StreamName, StreamName) = ("x".parse().unwrap(), "x.disk".parse().unwrap());
        assert_ne!(streams.disk_file(&x), streams.lock_file(&other).unwrap());
        let held = streams.try_lock(&other).unwrap();
        streams.forget(&x).unwrap();
        assert!(held.is_some() && streams.try_lock(&other).unwrap().is_none(), "it is still held");
    }

    #[test]
    fn one_at_a_time_holds_a_stream() {
        let dir = tempfile::tempdir().unwrap();
        let streams = Streams::of(dir.path());
        let name = "a".parse().unwrap();
        let held = streams.try_lock(&name).unwrap();
        assert!(held.is_some() && streams.try_lock(&name).unwrap().is_none());
        drop(held);
        assert!(streams.try_lock(&name).unwrap().is_some());
    }
}
