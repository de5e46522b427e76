//! Folders into trees: only those on the way to a change are hashed again.

use gix::ObjectId;
use gix::bstr::{BString, ByteSlice};
use gix::index::{Entry, State, entry, extension};
use gix::objs::{Kind, Tree, WriteTo, compute_hash, tree};

/// What stands at a path now, instead of what the index says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Known {
    pub path: BString,
    /// `None` if nothing does.
    pub now: Option<(tree::EntryKind, ObjectId)>,
}

/// Returns the tree that the index would have with `changes`, sorted by path, made to it.
pub(super) fn tree(index: &State, changes: &[Known]) -> Result<ObjectId, gix::Error> {
    let id = Builder { index }.folder(0, index.entries(), changes, index.tree())?;
    Ok(id.unwrap_or_else(|| ObjectId::empty_tree(index.object_hash())))
}

/// Returns the tree that a commit of the index has.
pub(in crate::git) fn of_index(index: &State) -> Result<ObjectId, gix::Error> {
    tree(index, &[])
}

struct Builder<'a> {
    index: &'a State,
}

impl Builder<'_> {
    /// Returns the tree of the folder whose path, with its slash, has `depth` bytes; `None` if
    /// there is nothing in it.
    fn folder(
        &self,
        depth: usize,
        mut entries: &[Entry],
        mut changes: &[Known],
        cached: Option<&extension::Tree>,
    ) -> Result<Option<ObjectId>, gix::Error> {
        if changes.is_empty()
            && let Some(cached) = cached
            && cached.num_entries.is_some_and(|count| count as usize == entries.len())
            && !entries.is_empty()
        {
            return Ok(Some(cached.id));
        }
        let mut items = Vec::new();
        loop {
            let indexed = entries.first().map(|entry| entry.path(self.index));
            let changed = changes.first().map(|change| change.path.as_bstr());
            let next = match (indexed, changed) {
                (None, None) => break,
                (Some(path), None) | (None, Some(path)) => path,
                (Some(a), Some(b)) => a.min(b),
            };
            let rest = &next[depth..];
            let Some(slash) = rest.find_byte(b'/') else {
                let count = entries.iter().take_while(|it| it.path(self.index) == next).count();
                let (here, others) = entries.split_at(count);
                entries = others;
                let item = match changes.split_first() {
                    Some((change, others)) if change.path == next => {
                        changes = others;
                        change.now
                    }
                    _ => here.iter().find_map(stored),
                };
                items.extend(item.map(|(kind, oid)| tree::Entry {
                    mode: kind.into(),
                    filename: rest.into(),
                    oid,
                }));
                continue;
            };
            let (name, folder) = (&rest[..slash], &next[..depth + slash + 1]);
            let below = entries.partition_point(|entry| entry.path(self.index).starts_with(folder));
            let (inside, others) = entries.split_at(below);
            entries = others;
            let below = changes.partition_point(|change| change.path.starts_with(folder));
            let (changed, others) = changes.split_at(below);
            changes = others;
            // A sparse index names a whole folder by its tree.
            let whole = inside.first().filter(|entry| entry.path(self.index) == folder);
            let id = match whole {
                Some(entry) => Some(entry.id),
                None => {
                    let cached = cached.and_then(|cached| {
                        cached.children.iter().find(|child| child.name.as_slice() == name)
                    });
                    self.folder(depth + slash + 1, inside, changed, cached)?
                }
            };
            items.extend(id.map(|oid| tree::Entry {
                mode: tree::EntryKind::Tree.into(),
                filename: name.into(),
                oid,
            }));
        }
        if items.is_empty() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let tree = Tree { entries: items };
        tree.write_to(&mut bytes).map_err(gix::Error::from_error)?;
        compute_hash(self.index.object_hash(), Kind::Tree, &bytes).map(Some)
    }
}

/// What a commit of the index would store for an entry.
pub(in crate::git) fn stored(entry: &Entry) -> Option<(tree::EntryKind, ObjectId)> {
    let real = entry.stage_raw() == 0 && !entry.flags.contains(entry::Flags::INTENT_TO_ADD);
    let mode = entry.mode.to_tree_entry_mode().filter(|_| real)?;
    Some((mode.kind(), entry.id))
}
