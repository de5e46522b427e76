//! From one commit's files to another's in process: a git process would look at every file again.
//!
//! Only what is plain goes this way; whatever needs git's own rules is left to git before anything
//! is touched.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice};
use gix::filter::plumbing::pipeline::convert::{ToWorktreeOutcome, to_worktree};
use gix::index::State;
use gix::index::entry::{Flags, Mode, Stat};
use gix::objs::tree::EntryKind;
use gix::worktree::stack::state::attributes::Source;
use gix::{filter, index};

use super::super::error::At;
use super::super::{Commit, GitError, Repo};
use super::Fail;
use super::content::on_disk;
use super::stat::StatRule;
use crate::sys::fs::{Durability, write_atomically};

/// More files than this are git's business.
const MOST_FILES: usize = 2000;
/// More bytes than this are git's business: they are held in memory.
const MOST_BYTES: u64 = 32 << 20;

/// A file at one commit.
type File = (EntryKind, ObjectId);

/// A path at which two commits differ.
struct Difference {
    path: BString,
    old: Option<File>,
    new: Option<File>,
}

/// What it takes to write a file.
struct Ready {
    path: BString,
    file: File,
    content: Vec<u8>,
}

/// Goes from `from`, which is what the index and the work tree hold, to `to`. Returns whether it did: if
/// not, nothing has been touched.
pub(in crate::git) fn step(ours: &Repo, from: &Commit, to: &Commit) -> Result<bool, GitError> {
    let Some(repo) = ours.in_process() else { return Ok(false) };
    match prepare(ours, &repo, from, to) {
        Ok(plan) => plan.carry_out(ours).map(|()| true),
        Err(Fail::NeedsGit) => Ok(false),
        Err(Fail::Error(error)) => Err(error),
    }
}

/// All that is to be done.
struct Plan {
    index: State,
    gone: Vec<BString>,
    written: Vec<Ready>,
}

/// Reads what it takes, and makes sure that there is nothing unusual about it.
fn prepare(ours: &Repo, repo: &gix::Repository, from: &Commit, to: &Commit) -> Result<Plan, Fail> {
    let capabilities = repo.filesystem_options().map_err(|_| Fail::NeedsGit)?;
    if capabilities.ignore_case || !capabilities.symlink || !capabilities.executable_bit {
        return Err(Fail::NeedsGit);
    }
    if ours.common_dir.join("info/attributes").exists() {
        return Err(Fail::NeedsGit);
    }
    let id = |hex: &str| ObjectId::from_hex(hex.as_bytes()).map_err(|_| Fail::NeedsGit);
    let mut differences = Vec::new();
    compare(repo, &BString::default(), Some(id(&from.tree)?), Some(id(&to.tree)?), &mut differences)?;
    let index = ours.index(repo)?;
    if index.is_sparse() || index.link().is_some() {
        return Err(Fail::NeedsGit);
    }
    let stat = StatRule::new(repo, &index, capabilities)?;
    let attributes = repo.attributes_only(&index, Source::IdMapping).map_err(|_| Fail::NeedsGit)?;
    let mut pipeline = filter::Pipeline::new(repo, attributes.detach()).map_err(|_| Fail::NeedsGit)?;
    let (mut gone, mut written, mut left) = (Vec::new(), Vec::new(), MOST_BYTES);
    for Difference { path, old, new } in differences {
        match old {
            Some(old) => as_indexed(ours, &index, &stat, path.as_bstr(), old)?,
            None => nothing_there(ours, path.as_bstr())?,
        }
        match new {
            Some(file) => written.push(read(repo, &mut pipeline, path, file, &mut left)?),
            None => gone.push(path),
        }
    }
    // Where a file goes and a folder comes, or the other way round, the order counts.
    let is_gone = |path: &BStr| gone.iter().any(|it: &BString| it.as_bstr() == path);
    let clashes = |it: &Ready| it.path.find_iter("/").any(|at| is_gone(it.path[..at].as_bstr()));
    if written.iter().any(clashes) {
        return Err(Fail::NeedsGit);
    }
    Ok(Plan { index, gone, written })
}

/// Gathers the paths at which two trees differ.
fn compare(
    repo: &gix::Repository,
    above: &BString,
    old: Option<ObjectId>,
    new: Option<ObjectId>,
    found: &mut Vec<Difference>,
) -> Result<(), Fail> {
    let (mut old, mut new) = (entries(repo, old)?, entries(repo, new)?);
    let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).cloned().collect();
    for name in names {
        let (old, new) = (old.remove(&name), new.remove(&name));
        if old == new {
            continue;
        }
        let path: BString = [above.as_bytes(), name.as_bytes()].concat().into();
        let folder = |file: Option<File>| Some(file.filter(|(kind, _)| *kind == EntryKind::Tree)?.1);
        if folder(old).is_some() || folder(new).is_some() {
            let below: BString = [path.as_bytes(), b"/"].concat().into();
            compare(repo, &below, folder(old), folder(new), found)?;
        }
        let leaf = |file: Option<File>| file.filter(|(kind, _)| *kind != EntryKind::Tree);
        let (old, new) = (leaf(old), leaf(new));
        if old.is_none() && new.is_none() {
            continue;
        }
        let module = |file: Option<File>| file.is_some_and(|(kind, _)| kind == EntryKind::Commit);
        // The attributes of a folder decide about every file in it.
        if module(old) || module(new) || name == ".gitattributes" || found.len() >= MOST_FILES {
            return Err(Fail::NeedsGit);
        }
        found.push(Difference { path, old, new });
    }
    Ok(())
}

fn entries(repo: &gix::Repository, tree: Option<ObjectId>) -> Result<BTreeMap<BString, File>, Fail> {
    let Some(tree) = tree else { return Ok(BTreeMap::new()) };
    // A partial clone may lack it; git can fetch it.
    let tree = repo.find_tree(tree).map_err(|_| Fail::NeedsGit)?;
    let mut entries = BTreeMap::new();
    for entry in tree.iter() {
        let entry = entry.map_err(|_| Fail::NeedsGit)?;
        let names = gix::validate::path::component::Options {
            protect_windows: false,
            protect_hfs: true,
            protect_ntfs: true,
        };
        let mode = entry.mode().is_link().then_some(gix::validate::path::component::Mode::Symlink);
        if gix::validate::path::component(entry.filename(), mode, names).is_err() {
            return Err(Fail::NeedsGit);
        }
        entries.insert(entry.filename().to_owned(), (entry.mode().kind(), entry.object_id()));
    }
    Ok(entries)
}

/// Makes sure that a file is what the index says, and the index what the commit says.
fn as_indexed(ours: &Repo, index: &State, rule: &StatRule, path: &BStr, file: File) -> Result<(), Fail> {
    let at = index.entry_index_by_path(path).map_err(|_| Fail::NeedsGit)?;
    let entry = index.entry(at);
    let odd = Flags::SKIP_WORKTREE | Flags::ASSUME_VALID | Flags::INTENT_TO_ADD;
    let same = entry.mode == mode(file.0)? && entry.id == file.1 && entry.stage_raw() == 0;
    let stat = rustix::fs::lstat(on_disk(&ours.work_tree, path)).map_err(|_| Fail::NeedsGit)?;
    match same && !entry.flags.intersects(odd) && rule.proves(entry, &stat) {
        true => Ok(()),
        false => Err(Fail::NeedsGit),
    }
}

fn nothing_there(ours: &Repo, path: &BStr) -> Result<(), Fail> {
    match on_disk(&ours.work_tree, path).symlink_metadata() {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => Err(Fail::NeedsGit),
    }
}

/// Reads a file that no filter changes on its way to the work tree.
fn read(
    repo: &gix::Repository,
    pipeline: &mut filter::Pipeline<'_>,
    path: BString,
    file: File,
    left: &mut u64,
) -> Result<Ready, Fail> {
    let header = repo.find_header(file.1).map_err(|_| Fail::NeedsGit)?;
    *left = left.checked_sub(header.size()).ok_or(Fail::NeedsGit)?;
    let content = repo.find_blob(file.1).map_err(|_| Fail::NeedsGit)?.take_data();
    if file.0 != EntryKind::Link {
        let options = to_worktree::Options {
            can_delay: filter::plumbing::driver::apply::Delay::Forbid,
            unknown_encoding: to_worktree::UnknownEncoding::Fail,
        };
        let converted = pipeline.convert_to_worktree(&content, path.as_bstr(), options);
        if !matches!(converted, Ok(ToWorktreeOutcome::Unchanged(_))) {
            return Err(Fail::NeedsGit);
        }
    }
    Ok(Ready { path, file, content })
}

fn mode(kind: EntryKind) -> Result<Mode, Fail> {
    match kind {
        EntryKind::Blob => Ok(Mode::FILE),
        EntryKind::BlobExecutable => Ok(Mode::FILE_EXECUTABLE),
        EntryKind::Link => Ok(Mode::SYMLINK),
        EntryKind::Tree | EntryKind::Commit => Err(Fail::NeedsGit),
    }
}

impl Plan {
    /// Writes the files, then the index. Whoever is killed in between leaves files that differ from
    /// the index, which the next user of the work tree finds.
    fn carry_out(self, ours: &Repo) -> Result<(), GitError> {
        let Self { mut index, gone, written } = self;
        for path in &gone {
            let full = on_disk(&ours.work_tree, path.as_bstr());
            fs::remove_file(&full).at(&full)?;
            let mut folder = full.parent();
            while let Some(empty) = folder.filter(|it| *it != ours.work_tree)
                && fs::remove_dir(empty).is_ok()
            {
                folder = empty.parent();
            }
        }
        if !gone.is_empty() {
            let gone: std::collections::HashSet<&BStr> = gone.iter().map(|path| path.as_bstr()).collect();
            index.remove_entries(|_, path, _| gone.contains(path));
        }
        let mut pushed = false;
        for Ready { path, file, content } in &written {
            let full = on_disk(&ours.work_tree, path.as_bstr());
            let stat = write(&full, file.0, content).at(&full)?;
            let Ok(mode) = mode(file.0) else { continue };
            match index.entry_index_by_path(path.as_bstr()) {
                Ok(at) if !pushed => {
                    let entry = &mut index.entries_mut()[at];
                    (entry.id, entry.mode, entry.stat) = (file.1, mode, stat);
                }
                _ => {
                    let known = index.entries().iter().position(|it| it.path(&index) == path.as_bstr());
                    if let Some(at) = known {
                        index.remove_entry_at_index(at);
                    }
                    index.dangerously_push_entry(stat, file.1, Flags::empty(), mode, path.as_bstr());
                    pushed = true;
                }
            }
        }
        index.sort_entries();
        for path in gone.iter().chain(written.iter().map(|it| &it.path)) {
            invalidate(&mut index, path.as_bstr());
        }
        let path = ours.git_dir.join("index");
        let mut bytes = Vec::new();
        let failed = |error| GitError::unsupported(&path, error);
        index::File::from_state(index, path.clone())
            .write_to(&mut bytes, index::write::Options::default())
            .map_err(failed)?;
        Ok(write_atomically(&path, &bytes, Durability::Process)?)
    }
}

/// Puts a file in the place of another or of nothing, with the mode that git gives it.
fn write(full: &Path, kind: EntryKind, content: &[u8]) -> io::Result<Stat> {
    match fs::remove_file(full) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(full.parent().unwrap_or(Path::new("/")))?;
        }
        removed => removed?,
    }
    if kind == EntryKind::Link {
        symlink(content.as_bstr().to_path_lossy(), full)?;
    } else {
        let mode = if kind == EntryKind::BlobExecutable { 0o777 } else { 0o666 };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(full)?;
        file.write_all(content)?;
    }
    let stat = index::fs::Metadata::from_path_no_follow(full)?;
    Stat::from_fs(&stat).map_err(io::Error::other)
}

/// Notes that the ids of the folders above a path are not known any more.
fn invalidate(index: &mut State, path: &BStr) {
    let mut tree = index.tree_mut();
    let mut names = path.split_str("/");
    while let Some(now) = tree {
        now.num_entries = None;
        let Some(name) = names.next() else { return };
        tree = now.children.iter_mut().find(|child| child.name.as_slice() == name);
    }
}
