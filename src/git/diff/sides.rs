//! Which paths differ: two trees, a tree and the index, or a tree, the index and the disk.

use std::collections::BTreeMap;

use gix::ObjectId;
use gix::bstr::{BString, ByteSlice};
use gix::index::{Entry, State, extension};
use gix::objs::TreeRefIter;

use super::super::tree::walk::{self, Seen};
use super::super::tree::{Fail, content, stored};
use super::super::{Repo, nested};
use super::{Now, Pair, Side};

/// Returns what differs between two trees.
pub(super) fn trees(
    repo: &gix::Repository,
    old: Option<ObjectId>,
    new: Option<ObjectId>,
) -> Result<Vec<Pair>, Fail> {
    let mut trees = Trees { repo, found: Vec::new() };
    trees.compare(&mut BString::default(), old, new)?;
    Ok(trees.found)
}

/// An entry of a tree: its name, with a slash if it is a folder, and what it names.
type Item = (BString, Side);

fn items(repo: &gix::Repository, tree: Option<ObjectId>) -> Result<Vec<Item>, Fail> {
    let Some(id) = tree else { return Ok(Vec::new()) };
    if id.is_empty_tree() {
        return Ok(Vec::new());
    }
    let object = repo.find_object(id).map_err(|_| Fail::NeedsGit)?;
    let mut items = Vec::new();
    for entry in TreeRefIter::from_bytes(&object.data, repo.object_hash()) {
        let entry = entry.map_err(|_| Fail::NeedsGit)?;
        let mut name = entry.filename.to_owned();
        if entry.mode.is_tree() {
            name.push(b'/');
        }
        items.push((name, Side { kind: entry.mode.kind(), id: entry.oid.to_owned() }));
    }
    // Trees are sorted this way already, unless somebody made one by hand.
    items.sort();
    Ok(items)
}

struct Trees<'a> {
    repo: &'a gix::Repository,
    found: Vec<Pair>,
}

impl Trees<'_> {
    fn compare(
        &mut self,
        folder: &mut BString,
        old: Option<ObjectId>,
        new: Option<ObjectId>,
    ) -> Result<(), Fail> {
        if old == new {
            return Ok(());
        }
        let (old, new) = (items(self.repo, old)?, items(self.repo, new)?);
        let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
        loop {
            let (before, after) = match (old.peek(), new.peek()) {
                (None, None) => return Ok(()),
                (Some(a), Some(b)) if a.0 == b.0 => (old.next(), new.next()),
                (Some(a), Some(b)) if a.0 < b.0 => (old.next(), None),
                (Some(_), None) => (old.next(), None),
                _ => (None, new.next()),
            };
            let (name, _) = before.or(after).expect("one of them is there");
            let (before, after) = (before.map(|item| item.1), after.map(|item| item.1));
            if before == after {
                continue;
            }
            let depth = folder.len();
            folder.extend_from_slice(name);
            if name.ends_with(b"/") {
                self.compare(folder, before.map(|side| side.id), after.map(|side| side.id))?;
            } else {
                let now = after.map_or(Now::Gone, Now::Object);
                self.found.push(Pair::new(folder.clone(), before, now));
            }
            folder.truncate(depth);
        }
    }
}

/// Returns what differs between a tree and the index. A path in conflict has no state there.
pub(super) fn staged(
    repo: &gix::Repository,
    old: Option<ObjectId>,
    index: &State,
) -> Result<Vec<Pair>, Fail> {
    let mut staged = Staged { repo, index, found: Vec::new() };
    staged.compare(&mut BString::default(), old, index.entries(), index.tree())?;
    Ok(staged.found)
}

struct Staged<'a> {
    repo: &'a gix::Repository,
    index: &'a State,
    found: Vec<Pair>,
}

impl Staged<'_> {
    fn compare(
        &mut self,
        folder: &mut BString,
        old: Option<ObjectId>,
        mut entries: &[Entry],
        cached: Option<&extension::Tree>,
    ) -> Result<(), Fail> {
        if let (Some(old), Some(cached)) = (old, cached)
            && cached.id == old
            && cached.num_entries.is_some_and(|count| count as usize == entries.len())
        {
            return Ok(());
        }
        let depth = folder.len();
        let old = items(self.repo, old)?;
        let mut old = old.iter().peekable();
        loop {
            // The next name in the index, with its slash if it is a folder.
            let next = entries.first().map(|entry| {
                let rest = &entry.path(self.index)[depth..];
                &rest[..rest.find_byte(b'/').map_or(rest.len(), |slash| slash + 1)]
            });
            let before = match (old.peek(), next) {
                (None, None) => return Ok(()),
                (Some(a), Some(b)) if a.0.as_slice() <= b => old.next(),
                (Some(_), None) => old.next(),
                _ => None,
            };
            let name: BString = match (before, next) {
                (Some((name, _)), _) => name.clone(),
                (None, next) => next.unwrap_or_default().into(),
            };
            let side = before.map(|item| item.1);
            let here = next == Some(name.as_bstr());
            folder.extend_from_slice(&name);
            let count = match here {
                true if name.ends_with(b"/") => {
                    entries.partition_point(|entry| entry.path(self.index).starts_with(folder))
                }
                true => entries.iter().take_while(|entry| entry.path(self.index) == *folder).count(),
                false => 0,
            };
            let (inside, others) = entries.split_at(count);
            entries = others;
            if name.ends_with(b"/") {
                let whole = inside.first().filter(|entry| entry.mode.is_sparse());
                match whole {
                    Some(entry) if side.map(|side| side.id) == Some(entry.id) => {}
                    // The index does not say what is in the folder.
                    Some(_) => return Err(Fail::NeedsGit),
                    None => {
                        let cached = cached.and_then(|cached| {
                            let name = &name[..name.len() - 1];
                            cached.children.iter().find(|child| child.name.as_slice() == name)
                        });
                        self.compare(folder, side.map(|side| side.id), inside, cached)?;
                    }
                }
            } else {
                self.file(folder, side, inside);
            }
            folder.truncate(depth);
        }
    }

    fn file(&mut self, path: &BString, old: Option<Side>, entries: &[Entry]) {
        let now = entries.first().and_then(state).map_or(Now::Gone, Now::Object);
        let same = match now {
            Now::Object(side) => Some(side) == old,
            _ => old.is_none(),
        };
        let conflict = entries.iter().any(|entry| entry.stage_raw() != 0);
        if !same || conflict {
            let mut pair = Pair::new(path.clone(), old, now);
            if conflict {
                pair.special = Some(CONFLICT);
            }
            self.found.push(pair);
        }
    }
}

pub(super) const CONFLICT: &str = "conflict";
pub(super) const SUBMODULE: &str = "submodule";

/// What the index says about a path: nothing where it only means to add it, or does not know.
fn state(entry: &Entry) -> Option<Side> {
    stored(entry).map(|(kind, id)| Side { kind, id })
}

/// Returns what differs between a tree and the files on disk, with what is staged besides; and whether
/// any folder may have attributes.
pub(super) fn work_tree(
    ours: &Repo,
    repo: &gix::Repository,
    old: Option<ObjectId>,
    index: &State,
) -> Result<(Vec<Pair>, bool), Fail> {
    let capabilities = repo.filesystem_options().map_err(|_| Fail::NeedsGit)?;
    if capabilities.ignore_case || (capabilities.precompose_unicode && cfg!(target_vendor = "apple")) {
        return Err(Fail::NeedsGit);
    }
    let walked = walk::walk(ours, repo, index, capabilities)?;
    let mut pairs: BTreeMap<BString, Pair> =
        staged(repo, old, index)?.into_iter().map(|pair| (pair.path.clone(), pair)).collect();
    let mut untracked = Vec::new();
    for change in walked.changes {
        let entry = match change.seen {
            Seen::Content { tracked: Some(at), .. } => Some(at),
            _ => index.entry_index_by_path(change.path.as_bstr()).ok(),
        };
        let now = match change.seen {
            Seen::Gone => Now::Gone,
            Seen::Repository(id) => Now::Object(Side { kind: gix::objs::tree::EntryKind::Commit, id }),
            Seen::Content { tracked, link } => Now::Disk { tracked, link },
        };
        let Some(entry) = entry else {
            let mut pair = Pair::new(change.path, None, now);
            pair.untracked = true;
            untracked.push(pair);
            continue;
        };
        let indexed = state(&index.entries()[entry]);
        let pair = pairs
            .entry(change.path.clone())
            .or_insert_with(|| Pair::new(change.path, indexed, indexed.map_or(Now::Gone, Now::Object)));
        // Of two facts about one path, the one that something is there says more.
        if pair.staged.is_some() && now == Now::Gone {
            continue;
        }
        if pair.staged.is_none() && pair.special != Some(CONFLICT) && indexed.is_some() {
            pair.staged = Some(pair.now);
        }
        pair.now = now;
    }
    let mut dirty = Dirty { ours, asked: None };
    for (path, registered) in &walked.nested {
        if !registered {
            continue;
        }
        let entry = index.entry_by_path(path.as_bstr()).and_then(state);
        if !pairs.contains_key(path) && dirty.contains(path.as_slice(), &walked.nested)? {
            let now = entry.map_or(Now::Gone, Now::Object);
            let mut pair = Pair::new(path.clone(), entry, now);
            pair.special = Some(SUBMODULE);
            pairs.insert(path.clone(), pair);
        }
    }
    let attributes = walked.attributes || !walked.unreadable.is_empty();
    for path in walked.unreadable {
        let why = why_unreadable(ours, index, path.as_slice());
        let known = pairs.get_mut(&path);
        match known {
            Some(pair) => pair.unmeasured = Some(why),
            None => {
                let mut pair = Pair::new(path.clone(), None, Now::Gone);
                pair.untracked = index.entry_by_path(path.as_bstr()).is_none();
                pair.unmeasured = Some(why);
                untracked.push(pair);
            }
        }
    }
    Ok((pairs.into_values().chain(untracked).collect(), attributes))
}

fn why_unreadable(ours: &Repo, index: &State, path: &[u8]) -> String {
    use std::os::unix::fs::FileTypeExt;
    let disk = content::on_disk(&ours.work_tree, path.as_bstr());
    let kind = disk.symlink_metadata().map(|found| found.file_type());
    match kind {
        Ok(kind) if kind.is_fifo() => "a pipe, which git cannot store".to_owned(),
        Ok(kind) if kind.is_socket() => "a socket, which git cannot store".to_owned(),
        Ok(kind) if kind.is_block_device() || kind.is_char_device() => {
            "a device, which git cannot store".to_owned()
        }
        Ok(kind)
            if kind.is_dir() && disk.read_dir().is_ok() && nested::is_repository(&disk, &ours.git_dir) =>
        {
            "a repository without a commit".to_owned()
        }
        Ok(kind) if kind.is_dir() => {
            match index.path_is_directory(path.strip_suffix(b"/").unwrap_or(path).as_bstr()) {
                true => "a folder that cannot be read, with tracked files".to_owned(),
                false => "a folder that cannot be read".to_owned(),
            }
        }
        Ok(_) => "unreadable, or of a name that git refuses".to_owned(),
        Err(err) => format!("unreadable: {err}"),
    }
}

/// Submodules that are dirty inside, asked of git once if there is any submodule at all.
struct Dirty<'a> {
    ours: &'a Repo,
    asked: Option<Vec<BString>>,
}

impl Dirty<'_> {
    fn contains(&mut self, path: &[u8], nested: &[(BString, bool)]) -> Result<bool, Fail> {
        if self.asked.is_none() {
            let mut git = self.ours.git().env("GIT_LITERAL_PATHSPECS", "1");
            git = git.args(["diff-files", "--name-only", "-z", "--ignore-submodules=untracked", "--"]);
            let paths = nested.iter().filter(|(_, registered)| *registered);
            git = git.args(paths.map(|(path, _)| path.to_path_lossy().into_owned()));
            let listed = git.run()?;
            let paths = listed.split(|byte| *byte == 0).filter(|path| !path.is_empty());
            self.asked = Some(paths.map(BString::from).collect());
        }
        Ok(self.asked.iter().flatten().any(|dirty| dirty.as_slice() == path))
    }
}
