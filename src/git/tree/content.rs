//! What has to be read: files through git's filters into ids, in memory only.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice};
use gix::filter::plumbing::pipeline::convert::ToGitOutcome;
use gix::index::State;
use gix::index::entry::{Flags, Mode};
use gix::objs::tree::EntryKind;
use gix::objs::{Kind, compute_hash, compute_stream_hash};
use gix::worktree::stack::state::attributes::Source;
use rustix::fs::{OFlags, fstat};

use super::super::error::At;
use super::super::{GitError, Repo};
use super::build::Known;
use super::walk::{Change, Seen};
use super::{Fail, Filters};
use crate::sys::cores;

/// Fewer files than this are not worth another thread.
const FILES_PER_THREAD: usize = 32;
/// Larger files are hashed as they are read.
const MAX_IN_MEMORY: u64 = 32 << 20;

/// What stands at the paths that differ.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// Sorted, and without what turned out to be as the index says.
    pub known: Vec<Known>,
    /// Untracked files that could not be read.
    pub unreadable: Vec<BString>,
}

/// Returns where a path of the index is on disk. On Unix nothing is lossy about it.
pub(in crate::git) fn on_disk(work_tree: &Path, path: &BStr) -> PathBuf {
    work_tree.join(path.to_path_lossy())
}

/// Reads and hashes what the walk left open.
pub(super) fn resolve(
    ours: &Repo,
    repo: &gix::Repository,
    index: &State,
    changes: Vec<Change>,
    capabilities: gix::fs::Capabilities,
    filters: Filters,
) -> Result<Resolved, Fail> {
    let reads = |change: &Change| matches!(change.seen, Seen::Content { .. });
    let (mut open, rest): (Vec<_>, Vec<_>) = changes.into_iter().partition(reads);
    let mut resolved = Resolved::default();
    for Change { path, seen } in rest {
        let now = match seen {
            Seen::Repository(id) => Some((EntryKind::Commit, id)),
            _ => None,
        };
        resolved.known.push(Known { path, now });
    }
    if !open.is_empty() {
        if filters == Filters::Refuse {
            return Err(Fail::NeedsGit);
        }
        // Neighbours share their attributes.
        open.sort_by(|a, b| a.path.cmp(&b.path));
        let threads = open.len().div_ceil(FILES_PER_THREAD).min(cores::for_files());
        let share = open.len().div_ceil(threads);
        let shared = repo.clone().into_sync();
        let job = |part: &[Change]| {
            let repo = shared.to_thread_local();
            Reader { ours, repo: &repo, index, capabilities }.read_all(part)
        };
        for part in cores::shares(&open, share, job) {
            let part = part?;
            resolved.known.extend(part.known);
            resolved.unreadable.extend(part.unreadable);
        }
    }
    // Of two facts about one path, the one that something is there says more.
    resolved.known.sort_by(|a, b| (&a.path, b.now).cmp(&(&b.path, a.now)));
    resolved.known.dedup_by(|later, first| later.path == first.path);
    Ok(resolved)
}

struct Reader<'a> {
    ours: &'a Repo,
    repo: &'a gix::Repository,
    index: &'a State,
    capabilities: gix::fs::Capabilities,
}

impl Reader<'_> {
    fn read_all(&self, changes: &[Change]) -> Result<Resolved, Fail> {
        let attributes = self
            .repo
            .attributes_only(self.index, Source::WorktreeThenIdMapping)
            .map_err(|_| Fail::NeedsGit)?;
        let mut pipeline =
            gix::filter::Pipeline::new(self.repo, attributes.detach()).map_err(|_| Fail::NeedsGit)?;
        let mut resolved = Resolved::default();
        for change in changes {
            let Seen::Content { tracked, link } = change.seen else { continue };
            let entry = tracked.map(|it| &self.index.entries()[it]);
            let path = change.path.as_bstr();
            let read = match link {
                true => self.link(path).map(|id| Some((EntryKind::Link, id))),
                false => self.file(path, entry.map(|entry| entry.mode), &mut pipeline),
            };
            let now = match read {
                Ok(now) => now,
                Err(Fail::Error(GitError::Io { path, source })) if is_denied(&source) => {
                    if entry.is_some() {
                        return Err(GitError::UnreadableFile { path, source }.into());
                    }
                    resolved.unreadable.push(change.path.clone());
                    continue;
                }
                Err(other) => return Err(other),
            };
            let as_indexed = entry.is_some_and(|entry| {
                let plain = entry.stage_raw() == 0 && !entry.flags.contains(Flags::INTENT_TO_ADD);
                plain && now == entry.mode.to_tree_entry_mode().map(|mode| (mode.kind(), entry.id))
            });
            if !as_indexed {
                resolved.known.push(Known { path: change.path.clone(), now });
            }
        }
        Ok(resolved)
    }

    fn hash(&self, bytes: &[u8]) -> Result<ObjectId, Fail> {
        compute_hash(self.index.object_hash(), Kind::Blob, bytes).map_err(|_| Fail::NeedsGit)
    }

    fn link(&self, path: &BStr) -> Result<ObjectId, Fail> {
        let link = on_disk(&self.ours.work_tree, path);
        let target = std::fs::read_link(&link).at(&link)?;
        self.hash(<[u8]>::from_path(&target).ok_or(Fail::NeedsGit)?)
    }

    fn file(
        &self,
        path: &BStr,
        indexed: Option<Mode>,
        pipeline: &mut gix::filter::Pipeline<'_>,
    ) -> Result<Option<(EntryKind, ObjectId)>, Fail> {
        let disk = on_disk(&self.ours.work_tree, path);
        // Should a pipe have taken its place by now, nobody waits for it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::open(&disk, flags, rustix::fs::Mode::empty()) {
            Ok(file) => File::from(file),
            // It went away between its name and us.
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(io::Error::from(errno)).at(&disk).map_err(Fail::Error),
        };
        let stat = fstat(&file).map_err(io::Error::from).at(&disk)?;
        let kind = self.kind(stat.st_mode & 0o100 != 0, indexed);
        let relative = path.to_path_lossy();
        // Whatever gix cannot convert, git may, or it says why not.
        let converted = pipeline.convert_to_git(file, &relative, self.index).map_err(|_| Fail::NeedsGit)?;
        let id = match converted {
            ToGitOutcome::Unchanged(mut file) => {
                let size = stat.st_size as u64;
                if size > MAX_IN_MEMORY {
                    let hash = self.index.object_hash();
                    let go_on = AtomicBool::new(false);
                    let mut silent = gix::progress::Discard;
                    compute_stream_hash(hash, Kind::Blob, &mut file, size, &mut silent, &go_on)
                        .map_err(|_| Fail::NeedsGit)?
                } else {
                    let mut bytes = Vec::with_capacity(size as usize + 1);
                    file.read_to_end(&mut bytes).at(&disk)?;
                    self.hash(&bytes)?
                }
            }
            ToGitOutcome::Buffer(bytes) => self.hash(bytes)?,
            ToGitOutcome::Process(mut read) => {
                let mut bytes = Vec::new();
                read.read_to_end(&mut bytes).map_err(|_| Fail::NeedsGit)?;
                self.hash(&bytes)?
            }
        };
        Ok(Some((kind, id)))
    }

    /// What kind of file git would store, where the file system may not be able to say.
    fn kind(&self, executable: bool, indexed: Option<Mode>) -> EntryKind {
        match indexed {
            Some(Mode::SYMLINK) if !self.capabilities.symlink => EntryKind::Link,
            Some(Mode::FILE_EXECUTABLE) if !self.capabilities.executable_bit => EntryKind::BlobExecutable,
            _ if executable && self.capabilities.executable_bit => EntryKind::BlobExecutable,
            _ => EntryKind::Blob,
        }
    }
}

fn is_denied(error: &io::Error) -> bool {
    // A path that is too long for the machine is none that it lets us read.
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidFilename)
}
