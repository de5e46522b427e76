//! The change in an index: made in a copy, and put in its place under git's own lock if nobody changed it meanwhile.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gix::bstr::ByteSlice;

use super::super::error::At;
use super::super::fixed::TreeFile;
use super::super::program::Git;
use super::super::{GitError, Repo};
use super::{BringBack, Obstacle};
use crate::sys::fs::{remove, rename, second_name};

/// How long somebody else may be at the index.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often to begin again because git looked at files meanwhile, and kept what it saw in the index.
const TRIES: usize = 5;

/// An index that is to be changed.
#[derive(Clone, Debug)]
pub(super) struct Index {
    path: PathBuf,
    /// Whether it is the one that is about to be committed; else the one that is kept when that is done.
    is_committed: bool,
}

/// An index as it is to be.
pub(super) struct Staged {
    /// What the index held before.
    before: Vec<u8>,
    copy: PathBuf,
}

impl Repo {
    /// Returns the indexes that a change goes into. For a commit of some paths git makes one that it throws away, beside
    /// the one that it keeps.
    pub(super) fn indexes(&self, index: &Path) -> Vec<Index> {
        let mut all = vec![Index { path: index.to_owned(), is_committed: true }];
        let name = index.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kept = self.git_dir.join("index.lock");
        if name.starts_with("next-index-") && kept.is_file() {
            all.push(Index { path: kept, is_committed: false });
        }
        all
    }

    /// Makes the change in a copy of an index.
    pub(super) fn stage(
        &self,
        asked: &BringBack<'_>,
        index: &Index,
        scratch: &Path,
    ) -> Result<Result<Staged, Obstacle>, GitError> {
        let before = fs::read(&index.path).at(&index.path)?;
        let modified = fs::metadata(&index.path).and_then(|found| found.modified()).at(&index.path)?;
        let copy = scratch.join("index");
        let written = fs::File::create(&copy).and_then(|mut file| {
            std::io::Write::write_all(&mut file, &before)?;
            // Its age decides what git takes for racy.
            file.set_modified(modified)
        });
        written.at(&copy)?;
        let known = self.entries(&copy, asked)?;
        let (mut gone, mut put, mut hidden) = (Vec::new(), Vec::new(), Vec::new());
        for change in asked.changes {
            let path = change.raw_path();
            let found = known.get(path);
            let there = found.map(|entry| &entry.file);
            let new = match (there == change.old.as_ref(), index.is_committed) {
                (true, _) => change.new.clone(),
                (false, true) => return Ok(Err(Obstacle::Staged(change.path()))),
                // What is staged besides is not a part of this commit: it gets the change too if it can.
                (false, false) => match (there, &change.old, &change.new) {
                    (Some(there), Some(old), Some(new))
                        if !there.is_submodule() && there.mode == old.mode =>
                    {
                        let id = self.merged_blob(&there.id, &old.id, &new.id)?;
                        Some(TreeFile { mode: new.mode.clone(), id: id.unwrap_or_else(|| there.id.clone()) })
                    }
                    _ => continue,
                },
            };
            match &new {
                None => gone.push(info("0", &"0".repeat(asked.to.len()), path)),
                Some(file) => put.push(info(&file.mode, &file.id, path)),
            }
            if new.is_some() && found.is_some_and(|entry| entry.is_hidden) {
                hidden.extend([path, &[0]].concat());
            }
        }
        // A folder may take the place of a file.
        let lines = [gone.concat(), put.concat()].concat();
        self.on_index(&copy).args(["update-index", "-z", "--index-info"]).given(&lines)?.run()?;
        if !hidden.is_empty() {
            let git = self.on_index(&copy).args(["update-index", "-z", "--skip-worktree", "--stdin"]);
            git.given(&hidden)?.run()?;
        }
        if index.is_committed {
            let tree = self.on_index(&copy).args(["write-tree", "--missing-ok"]).line()?;
            if tree != asked.to {
                return Ok(Err(Obstacle::Staged(index.path.clone())));
            }
        }
        Ok(Ok(Staged { before, copy }))
    }

    /// Makes the change in an index itself.
    pub(super) fn stage_and_publish(
        &self,
        asked: &BringBack<'_>,
        index: &Index,
        scratch: &Path,
    ) -> Result<Result<(), Obstacle>, GitError> {
        for _ in 0..TRIES {
            let staged = match self.stage(asked, index, scratch)? {
                Ok(staged) => staged,
                Err(obstacle) => return Ok(Err(obstacle)),
            };
            // So that git knows which files it need not read.
            let git =
                self.on_index(&staged.copy).args(["update-index", "-q", "--refresh", "--ignore-submodules"]);
            git.run_expecting(&[0, 1])?;
            if index.is_committed {
                self.on_index(&staged.copy).args(["write-tree", "--missing-ok"]).line()?;
            }
            match publish(&staged, &index.path)? {
                Published::Done => return Ok(Ok(())),
                Published::Changed => {}
                Published::Busy(lock) => return Ok(Err(Obstacle::Busy(lock))),
            }
        }
        Ok(Err(Obstacle::Staged(index.path.clone())))
    }

    /// Returns git, working on another index.
    fn on_index(&self, index: &Path) -> Git {
        self.git().env("GIT_INDEX_FILE", index).args(["-c", "core.splitIndex=false"])
    }

    /// Returns what an index says of the files that are to change.
    fn entries(&self, index: &Path, asked: &BringBack<'_>) -> Result<HashMap<Vec<u8>, Entry>, GitError> {
        let mut entries = HashMap::new();
        // So many names fit into one command line.
        for some in asked.changes.chunks(200) {
            let git = self.on_index(index).env("GIT_LITERAL_PATHSPECS", "1");
            let git = git.args(["ls-files", "-z", "-t", "--stage", "--"]);
            let listed = git.args(some.iter().map(|change| change.path())).run()?;
            for line in listed.split(|byte| *byte == 0) {
                let Some((head, path)) = line.split_once_str("\t") else { continue };
                let head = head.to_str_lossy();
                let [tag, mode, id, _] = head.split(' ').collect::<Vec<_>>()[..] else { continue };
                let file = TreeFile { mode: mode.to_owned(), id: id.to_owned() };
                entries.insert(path.to_vec(), Entry { file, is_hidden: tag == "S" });
            }
        }
        Ok(entries)
    }
}

/// A file as an index has it.
struct Entry {
    file: TreeFile,
    /// Whether it is not to be in the work tree, as in a sparse checkout.
    is_hidden: bool,
}

/// What became of an index.
enum Published {
    Done,
    /// It is another one by now.
    Changed,
    /// Somebody holds the lock.
    Busy(PathBuf),
}

/// Puts the copy in the place of the index, as git itself does it: the lock is the new index.
fn publish(staged: &Staged, index: &Path) -> Result<Published, GitError> {
    let folder = index.parent().unwrap_or(Path::new("."));
    let ready = tempfile::Builder::new().prefix(".tmp-index-").tempfile_in(folder).at(folder)?;
    let filled = || {
        let age = fs::metadata(&staged.copy)?.modified()?;
        std::io::Write::write_all(&mut ready.as_file(), &fs::read(&staged.copy)?)?;
        ready.as_file().set_permissions(fs::metadata(index)?.permissions())?;
        ready.as_file().set_modified(age)
    };
    filled().at(ready.path())?;
    let mut lock = index.as_os_str().to_owned();
    lock.push(".lock");
    let lock = PathBuf::from(lock);
    let begin = Instant::now();
    while let Err(err) = second_name(ready.path(), &lock) {
        if err.source.kind() != std::io::ErrorKind::AlreadyExists {
            return Err(err.into());
        }
        if begin.elapsed() > PATIENCE {
            return Ok(Published::Busy(lock));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    if fs::read(index).at(index)? != staged.before {
        remove(&lock)?;
        return Ok(Published::Changed);
    }
    if let Err(err) = rename(&lock, index) {
        remove(&lock)?;
        return Err(err.into());
    }
    Ok(Published::Done)
}

/// Returns a line for `git update-index --index-info`.
fn info(mode: &str, id: &str, path: &[u8]) -> Vec<u8> {
    [mode.as_bytes(), b" ", id.as_bytes(), b"\t", path, b"\0"].concat()
}
