//! Files that go along in a tree of notes. Git keeps what is no note when it writes, prunes and spreads notes, and
//! shows it nowhere.

use gix::ObjectId;
use gix::bstr::{BString, ByteSlice};
use gix::objs::{Tree, tree};

use super::notes::Store;
use super::{GitError, Repo};

/// How deep files may lie.
const DEEPEST: usize = 8;

impl Repo {
    /// Returns the paths of the files below a folder of a tree of notes, and the blob of each in hex.
    pub fn files_of_notes(&self, tip: &str, folder: &str) -> Result<Vec<(String, String)>, GitError> {
        let store = Store::of(self)?;
        let mut files = Vec::new();
        if let Some((id, true)) = store.at(store.tree_of(tip)?, folder)? {
            store.files(id, folder, DEEPEST, &mut files)?;
        }
        Ok(files)
    }

    /// Returns a file of a tree of notes that has no more than `limit` bytes; nothing if it is not there.
    pub fn file_of_notes(&self, tip: &str, path: &str, limit: usize) -> Result<Option<Vec<u8>>, GitError> {
        let store = Store::of(self)?;
        match store.at(store.tree_of(tip)?, path)? {
            Some((blob, false)) => store.text(blob, limit).map(Some),
            _ => Ok(None),
        }
    }
}

impl Store<'_> {
    /// Returns what is at a path, and whether that is a folder.
    fn at(&self, root: ObjectId, path: &str) -> Result<Option<(ObjectId, bool)>, GitError> {
        let mut found = Some((root, true));
        for part in path.split('/') {
            let Some((folder, true)) = found else { return Ok(None) };
            let entry = self.entries(folder)?.into_iter().find(|entry| entry.filename == part);
            let usable = entry.filter(|entry| entry.mode.is_tree() || entry.mode.is_blob());
            found = usable.map(|entry| (entry.oid, entry.mode.is_tree()));
        }
        Ok(found)
    }

    fn files(
        &self,
        folder: ObjectId,
        path: &str,
        depth: usize,
        files: &mut Vec<(String, String)>,
    ) -> Result<(), GitError> {
        for entry in self.entries(folder)? {
            let Ok(name) = entry.filename.to_str() else { continue };
            let path = format!("{path}/{name}");
            if entry.mode.is_tree() && depth > 0 {
                self.files(entry.oid, &path, depth - 1, files)?;
            } else if entry.mode.is_blob() {
                files.push((path, entry.oid.to_string()));
            }
        }
        Ok(())
    }

    /// Returns where the note about an object lies, however its name is cut into folders.
    pub(super) fn place(&self, tree: ObjectId, rest: &str) -> Result<Option<String>, GitError> {
        let entries = self.entries(tree)?;
        if entries.iter().any(|entry| entry.mode.is_blob() && entry.filename == rest) {
            return Ok(Some(rest.to_owned()));
        }
        let Some((folder, rest)) = rest.split_at_checked(2).filter(|(_, rest)| !rest.is_empty()) else {
            return Ok(None);
        };
        match entries.into_iter().find(|entry| entry.mode.is_tree() && entry.filename == folder) {
            Some(entry) => Ok(self.place(entry.oid, rest)?.map(|path| format!("{folder}/{path}"))),
            None => Ok(None),
        }
    }

    /// Returns the tree with a file at a path, or without what is there; nothing if that leaves nothing.
    pub(super) fn put_file(
        &mut self,
        tree: Option<ObjectId>,
        path: &str,
        blob: Option<ObjectId>,
    ) -> Result<Option<ObjectId>, GitError> {
        let mut entries = tree.map(|tree| self.entries(tree)).transpose()?.unwrap_or_default();
        let (name, rest) = path.split_once('/').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let at = entries.iter().position(|entry| entry.filename == name);
        let old = at.map(|at| entries.remove(at));
        let new = match rest {
            None => blob.map(|blob| (tree::EntryKind::Blob, blob)),
            Some(rest) => {
                let folder = old.filter(|old| old.mode.is_tree()).map(|old| old.oid);
                self.put_file(folder, rest, blob)?.map(|folder| (tree::EntryKind::Tree, folder))
            }
        };
        if let Some((kind, oid)) = new {
            entries.push(tree::Entry { mode: kind.into(), filename: BString::from(name), oid });
        }
        if entries.is_empty() {
            return Ok(None);
        }
        entries.sort();
        self.write(&Tree { entries }).map(Some)
    }
}
