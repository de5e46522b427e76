//! What a snapshot of the work tree holds, and the commit that keeps it: the index, `HEAD`, the stash and
//! the branches stay as they are.

use std::collections::BTreeMap;
use std::io::{Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use gix::bstr::{BStr, BString, ByteSlice};
use gix::index::State;
use gix::index::entry::{Flags, Mode};
use rustix::fs::{AtFlags, CWD, Stat};

use super::error::At;
use super::program::Git;
use super::tree::stat::StatRule;
use super::tree::walk::{self, Seen};
use super::tree::{self, Fail, by_git};
use super::{GitError, HeadState, Repo};
use crate::sys::digest::Hasher;

/// Where the commits of snapshots are kept.
pub const SNAPSHOTS: &str = "refs/orchestrate/snapshots/";

/// So often git is asked to read files that somebody else writes to.
const ATTEMPTS: usize = 10;

/// What is in a work tree, as far as git would add it.
#[derive(Debug, Default)]
pub struct Listing {
    /// Sorted by the bytes of their paths.
    pub files: Vec<Listed>,
    /// Repositories inside the work tree, sorted.
    pub nested: Vec<NestedRepo>,
    /// What could not be looked at, or what git refuses to name.
    pub unreadable: Vec<Vec<u8>>,
    /// Tracked files that are not there.
    pub gone: Vec<Vec<u8>>,
    /// The SHA-256 of all that the index says, as `git ls-files --stage -v -z` prints it: a snapshot has from there
    /// what it does not read.
    pub index: String,
    /// What tells whether a file is as the index says.
    entries: Option<(State, StatRule)>,
}

/// A file or a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub path: Vec<u8>,
    /// Whether the index knows the path.
    pub tracked: bool,
    /// Whether the index holds another content, as far as names tell.
    changed: bool,
    /// Its entry in the index, if that may hold its content.
    entry: Option<usize>,
    /// Whether git believes of it, without a look, that it is as the index says.
    pub believed: bool,
}

/// A repository inside the work tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NestedRepo {
    pub path: Vec<u8>,
    /// The commit that it has checked out; nothing if there is none yet.
    pub head: Option<String>,
    /// Whether it is a submodule.
    pub tracked: bool,
}

/// What differs between the index and what a snapshot took.
#[derive(Clone, Debug, Default)]
pub struct Content<'a> {
    /// Paths whose content may be another one.
    pub changed: Vec<&'a [u8]>,
    /// Those of them of which git believes, without a look, that they are as the index says.
    pub believed: Vec<&'a [u8]>,
    /// Paths that the index knows and the snapshot does not have.
    pub without: Vec<&'a [u8]>,
}

/// A commit that keeps a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub tree: String,
    pub commit: String,
}

impl Listing {
    /// Whether the index may hold another content than a file of the listing, whose stat data is known by now.
    pub fn is_changed(&self, listed: &Listed, stat: Option<&Stat>) -> bool {
        match (&self.entries, listed.entry, stat) {
            (Some((index, rule)), Some(entry), Some(stat)) => !rule.proves(&index.entries()[entry], stat),
            (_, Some(_), _) => true,
            (_, None, _) => listed.changed,
        }
    }
}

impl Repo {
    /// Returns what is in the work tree: what git tracks and what it does not ignore.
    pub fn listing(&self) -> Result<Listing, GitError> {
        let in_process = match self.in_process() {
            Some(repo) => self.listing_in_process(&repo),
            None => Err(Fail::NeedsGit),
        };
        let mut listing = match in_process {
            Ok(listing) => listing,
            Err(Fail::NeedsGit) => self.listing_by_git()?,
            Err(Fail::Error(error)) => return Err(error),
        };
        listing.files.sort_by(|a, b| a.path.cmp(&b.path));
        listing.files.dedup_by(|later, first| later.path == first.path);
        listing.nested.sort_by(|a, b| a.path.cmp(&b.path));
        listing.nested.dedup_by(|later, first| later.path == first.path);
        listing.unreadable.sort();
        listing.gone.sort();
        Ok(listing)
    }

    fn listing_in_process(&self, repo: &gix::Repository) -> Result<Listing, Fail> {
        let capabilities = repo.filesystem_options().map_err(|_| Fail::NeedsGit)?;
        if capabilities.ignore_case || (capabilities.precompose_unicode && cfg!(target_vendor = "apple")) {
            return Err(Fail::NeedsGit);
        }
        let index = self.index(repo)?;
        let (walked, rule) = walk::names(self, repo, &index, capabilities)?;
        let mut listing = Listing { index: digest_of(&index), ..Listing::default() };
        let mut heads: BTreeMap<BString, Option<String>> = BTreeMap::new();
        let mut differs: BTreeMap<&BStr, bool> = BTreeMap::new();
        for change in &walked.changes {
            let path = change.path.as_bstr();
            let tracked = index.entry_by_path(path).is_some();
            match change.seen {
                Seen::Gone => listing.gone.push(path.to_vec()),
                Seen::Repository(id) => drop(heads.insert(path.to_owned(), Some(id.to_string()))),
                Seen::Content { tracked: known, .. } => {
                    let tracked = tracked || known.is_some();
                    let path = path.to_vec();
                    listing.files.push(Listed { path, tracked, changed: true, entry: None, believed: false });
                }
            }
            differs.insert(path, true);
        }
        for path in &walked.unreadable {
            differs.insert(path.as_bstr(), true);
            listing.unreadable.push(path.to_vec());
        }
        let unreadable: Vec<_> = walked.unreadable.iter().filter(|path| path.ends_with(b"/")).collect();
        let mut last: Option<&BStr> = None;
        for (at, entry) in index.entries().iter().enumerate() {
            let path = entry.path(&index);
            if last.replace(path) == Some(path) || entry.mode.is_sparse() || differs.contains_key(path) {
                continue;
            }
            if entry.mode == Mode::COMMIT {
                heads.entry(path.to_owned()).or_insert_with(|| Some(entry.id.to_string()));
            } else if unreadable.iter().any(|folder| path.starts_with(folder)) {
                listing.unreadable.push(path.to_vec());
            } else if self.may_be_there(entry.flags, path) {
                // Of these git believes that they are as the index says.
                let believed = entry.flags.intersects(Flags::SKIP_WORKTREE | Flags::ASSUME_VALID);
                let (path, entry) = (path.to_vec(), (!believed).then_some(at));
                listing.files.push(Listed { path, tracked: true, changed: believed, entry, believed });
            } else if !entry.flags.contains(Flags::SKIP_WORKTREE) {
                listing.gone.push(path.to_vec());
            }
        }
        // A submodule that is not checked out is an empty folder.
        let there = walked.nested.iter().map(|(path, _)| path.as_bstr());
        let checked_out: std::collections::BTreeSet<_> = there.collect();
        let nested = heads.into_iter().filter(|(path, _)| checked_out.contains(path.as_bstr()));
        listing.nested = nested
            .map(|(path, head)| NestedRepo {
                tracked: is_submodule(&index, path.as_bstr()),
                path: path.into(),
                head,
            })
            .collect();
        for path in std::mem::take(&mut listing.unreadable) {
            // A repository without a commit cannot be named by git, and is no file of ours.
            match self.work_tree.join(path.as_bstr().to_path_lossy()).join(".git").exists() {
                true => listing.nested.push(NestedRepo { path, head: None, tracked: false }),
                false => listing.unreadable.push(path),
            }
        }
        drop(differs);
        listing.entries = Some((index, rule));
        Ok(listing)
    }

    /// Whether a file should be looked for: one that a sparse checkout leaves out mostly is not there.
    fn may_be_there(&self, flags: Flags, path: &BStr) -> bool {
        let there = || {
            let path = tree::content::on_disk(&self.work_tree, path);
            rustix::fs::statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW).is_ok()
        };
        !flags.intersects(Flags::SKIP_WORKTREE | Flags::ASSUME_VALID) || there()
    }

    /// As git lists it, where gix cannot read the repository.
    fn listing_by_git(&self) -> Result<Listing, GitError> {
        let staged = self.git().args(["ls-files", "--stage", "-v", "-z"]).run()?;
        let mut hash = Hasher::default();
        hash.update(&staged);
        let mut listing = Listing { index: hash.hex(), ..Listing::default() };
        let mut tracked: BTreeMap<&[u8], (u8, &[u8])> = BTreeMap::new();
        for line in staged.split(|byte| *byte == 0) {
            if let Some((head, path)) = line.split_once_str("\t") {
                // A letter and a blank come before the mode.
                let tag = head.first().copied().unwrap_or_default();
                tracked.insert(path, (tag, head.get(2..).unwrap_or_default()));
            }
        }
        let others = self.git().args(["ls-files", "--others", "--exclude-standard", "-z"]).run()?;
        let others = others.split(|byte| *byte == 0).filter(|path| !path.is_empty()).map(|path| (path, None));
        let known = tracked.iter().map(|(path, head)| (*path, Some(*head)));
        for (path, known) in known.chain(others) {
            let (tag, head) = known.unzip();
            // `S` is for what a sparse checkout leaves out; a small letter for what is believed.
            let tag = tag.unwrap_or(b'?');
            let (sparse, believed) =
                (tag.eq_ignore_ascii_case(&b'S'), tag == b'S' || tag.is_ascii_lowercase());
            let name = path.strip_suffix(b"/").unwrap_or(path);
            let disk = tree::content::on_disk(&self.work_tree, name.as_bstr());
            let kind = disk.symlink_metadata().map(|found| found.file_type());
            let submodule = head.is_some_and(|head| head.starts_with(b"160000 "));
            match kind {
                Err(_) if head.is_some() && !sparse => listing.gone.push(path.to_vec()),
                Err(_) => {}
                // A file that git tracks may have given way to a repository.
                Ok(kind)
                    if kind.is_dir() && (submodule || path.ends_with(b"/") || disk.join(".git").exists()) =>
                {
                    if disk.join(".git").exists() {
                        let words = ["rev-parse", "--quiet", "--verify", "--end-of-options", "HEAD"];
                        let head = Git::new(&disk).args(words).line().ok();
                        listing.nested.push(NestedRepo { path: name.to_vec(), head, tracked: submodule });
                    }
                }
                Ok(kind) if kind.is_dir() => listing.gone.push(path.to_vec()),
                Ok(_) => listing.files.push(Listed {
                    path: path.to_vec(),
                    tracked: head.is_some(),
                    changed: true,
                    entry: None,
                    believed,
                }),
            }
        }
        Ok(listing)
    }

    /// Stores what a snapshot took as a commit on top of `head`. The same content on the same commit is the same
    /// commit again. The work is done in a copy of the index.
    pub fn take(&self, head: &HeadState, content: &Content<'_>) -> Result<Taken, GitError> {
        let (temp, index) = by_git::copy_of_index(self)?;
        let git = || {
            self.git().env("GIT_INDEX_FILE", &index).args([
                "-c",
                "core.splitIndex=false",
                "-c",
                "index.sparse=false",
                "-c",
                "advice.addEmbeddedRepo=false",
            ])
        };
        for (words, paths) in [
            (&["update-index", "--force-remove", "-z", "--stdin"][..], &content.without),
            (&["update-index", "--no-assume-unchanged", "-z", "--stdin"][..], &content.believed),
            (&["update-index", "--no-skip-worktree", "-z", "--stdin"][..], &content.believed),
            (&["update-index", "--add", "--remove", "--replace", "-z", "--stdin"][..], &content.changed),
        ] {
            if paths.is_empty() {
                continue;
            }
            crate::sys::fs::foreign_step("index").at(&index)?;
            let add = || git().args(words).input(list(temp.path(), paths)?).run();
            // git stops at a file that becomes shorter while it reads.
            let again = std::iter::repeat_with(add).take(ATTEMPTS - 1).find(Result::is_ok);
            again.unwrap_or_else(add)?;
        }
        crate::sys::fs::foreign_step("tree").at(&self.common_dir)?;
        let tree = git().args(["write-tree", "--missing-ok"]).line()?;
        Ok(Taken { commit: self.commit_tree(head, &tree)?, tree })
    }

    /// Makes a commit of a tree that is stored, on top of `head`, whose author is nobody and whose date is that of
    /// `head`: so it depends on nothing else.
    pub fn commit_tree(&self, head: &HeadState, tree: &str) -> Result<String, GitError> {
        let parent = head.commit.as_deref();
        let date = match parent {
            Some(commit) => self
                .git()
                .args(["show", "--no-patch", "--format=%ct", "--end-of-options", commit, "--"])
                .line()?,
            None => "0".to_owned(),
        };
        let date = format!("@{date} +0000");
        let mut git = self.git();
        for who in ["AUTHOR", "COMMITTER"] {
            git = git
                .env(&format!("GIT_{who}_NAME"), "git orchestrate")
                .env(&format!("GIT_{who}_EMAIL"), "snapshot@git-orchestrate.invalid")
                .env(&format!("GIT_{who}_DATE"), &date);
        }
        crate::sys::fs::foreign_step("commit").at(&self.common_dir)?;
        let words = ["-c", "commit.gpgSign=false", "-c", "i18n.commitEncoding=UTF-8"];
        git = git.args(words).args(["commit-tree", tree, "-m", "Snapshot of a work tree"]);
        if let Some(parent) = parent {
            git = git.args(["-p", parent]);
        }
        git.line()
    }

    /// Returns the tree that holds nothing, which git knows without having it.
    pub(super) fn no_tree(&self) -> Result<String, GitError> {
        self.git().args(["hash-object", "-t", "tree", "--stdin"]).line()
    }

    /// Returns the tree that holds nothing, and stores it.
    pub fn empty_tree(&self) -> Result<String, GitError> {
        self.git().args(["hash-object", "-t", "tree", "-w", "--stdin"]).line()
    }

    /// Returns the names of all files of a tree, one per line, quoted as git does.
    pub fn names_of(&self, tree: &str) -> Result<Vec<u8>, GitError> {
        self.git().args(["ls-tree", "-r", "--name-only", "--full-tree", tree]).run()
    }

    /// Returns what `git status --short` and the last lines of `git log --oneline` say, as far as git can tell.
    pub fn status_and_history(&self) -> (Vec<u8>, Vec<u8>) {
        let status = self.git().args(["status", "--short"]).run();
        let history = self.git().args(["log", "--oneline", "--max-count=5"]).run();
        (status.unwrap_or_default(), history.unwrap_or_default())
    }

    /// Keeps the commit of a snapshot from being thrown away. Returns the ref.
    pub fn keep_snapshot(&self, id: &str, commit: &str) -> Result<String, GitError> {
        let name = format!("{SNAPSHOTS}{id}");
        crate::sys::fs::foreign_step("ref").at(&self.common_dir)?;
        self.git().args(["update-ref", "--no-deref", &name, commit]).run()?;
        Ok(name)
    }

    /// Lets go of the commit of a snapshot; of one that is not there too.
    pub fn drop_snapshot(&self, id: &str) -> Result<(), GitError> {
        crate::sys::fs::foreign_step("ref").at(&self.common_dir)?;
        self.git().args(["update-ref", "--no-deref", "-d", &format!("{SNAPSHOTS}{id}")]).run().map(drop)
    }
}

fn is_submodule(index: &State, path: &BStr) -> bool {
    index.entry_by_path(path).is_some_and(|entry| entry.mode == Mode::COMMIT)
}

/// Returns the digest of an index, as git itself would print it.
fn digest_of(index: &State) -> String {
    let mut hash = Hasher::default();
    for entry in index.entries() {
        let tag = match entry.stage_raw() {
            0 if entry.flags.contains(Flags::SKIP_WORKTREE) => 'S',
            0 => 'H',
            _ => 'M',
        };
        let tag = if entry.flags.contains(Flags::ASSUME_VALID) { tag.to_ascii_lowercase() } else { tag };
        let head = format!("{tag} {:06o} {} {}\t", entry.mode.bits(), entry.id, entry.stage_raw());
        hash.update(head.as_bytes());
        hash.update(entry.path(index));
        hash.update(&[0]);
    }
    hash.hex()
}

/// Returns a file that lists paths, read from its beginning.
fn list(folder: &Path, paths: &[&[u8]]) -> Result<std::fs::File, GitError> {
    let mut file = tempfile::tempfile_in(folder).at(folder)?;
    let write = || {
        let mut out = std::io::BufWriter::new(&file);
        for path in paths {
            out.write_all(std::ffi::OsStr::from_bytes(path).as_bytes())?;
            out.write_all(&[0])?;
        }
        out.flush()
    };
    write().at(folder)?;
    file.rewind().at(folder)?;
    Ok(file)
}
