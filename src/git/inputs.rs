//! What a stage looks at: the part of a tree that pathspecs select, as one digest.

use std::path::Path;

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice};
use gix::index::State;
use gix::objs::tree::EntryKind;
use gix::pathspec::{self, Search};

use super::tree::{Fail, stored};
use super::{GitError, Repo};
use crate::sys::digest::sha256_hex;

/// The pathspecs of one stage.
pub(super) struct Selection {
    search: Search,
    lines: Vec<u8>,
}

impl Selection {
    /// Reads pathspecs; those that ask for attributes were refused before.
    pub fn new(specs: &[String]) -> Result<Self, GitError> {
        let parse = |spec: &String| {
            let pattern = pathspec::parse(spec.as_bytes(), Default::default()).ok()?;
            pattern.attributes.is_empty().then_some(pattern)
        };
        let bad = || GitError::BadPattern { pattern: specs.join(" ") };
        let patterns = specs.iter().map(|spec| parse(spec).ok_or_else(bad)).collect::<Result<Vec<_>, _>>()?;
        let search = Search::from_specs(patterns, None, Path::new("/")).map_err(|_| bad())?;
        Ok(Self { search, lines: Vec::new() })
    }

    /// Takes a file in, if it is selected. Files come in the order of their paths.
    pub fn take(&mut self, path: &BStr, kind: EntryKind, id: ObjectId) {
        let found = self.search.pattern_matching_relative_path(path, Some(false), &mut |_, _, _, _| false);
        if found.is_some() {
            self.lines.extend_from_slice(format!("{:o} {id}\t", kind as u16).as_bytes());
            self.lines.extend_from_slice(path);
            self.lines.push(0);
        }
    }

    /// Returns the digest of the modes, contents and paths of what was selected.
    pub fn digest(self) -> String {
        sha256_hex(&self.lines)
    }
}

/// Returns what pathspecs select of an index with changes made to it, both sorted by path.
pub(super) fn of_index<'a>(
    index: &State,
    changes: impl Iterator<Item = (&'a BString, Option<(EntryKind, ObjectId)>)>,
    specs: &[Vec<String>],
) -> Result<Vec<String>, Fail> {
    let mut selections = selections(specs)?;
    if selections.is_empty() {
        return Ok(Vec::new());
    }
    if index.is_sparse() {
        // It names whole folders, and what is selected may be a part of one.
        return Err(Fail::NeedsGit);
    }
    let mut changes = changes.peekable();
    let mut entries = index.entries().iter().peekable();
    let mut take = |path: &BStr, kind: EntryKind, id: ObjectId| {
        selections.iter_mut().for_each(|selection| selection.take(path, kind, id));
    };
    loop {
        let change = changes.peek().map(|(path, _)| path.as_bstr());
        let entry = entries.peek().map(|entry| entry.path(index));
        match (entry, change) {
            (None, None) => break,
            (Some(path), change) if change.is_none_or(|change| path < change) => {
                let entry = entries.next().expect("it was there");
                if let Some((kind, id)) = stored(entry) {
                    take(path, kind, id);
                }
            }
            (entry, Some(path)) => {
                if entry == Some(path) {
                    while entries.next_if(|entry| entry.path(index) == path).is_some() {}
                }
                if let Some((path, Some((kind, id)))) = changes.next() {
                    take(path.as_bstr(), kind, id);
                }
            }
            (Some(_), None) => unreachable!("taken above"),
        }
    }
    Ok(selections.into_iter().map(Selection::digest).collect())
}

/// Returns what pathspecs select of the lines of `git ls-files --stage -z`, or of `git ls-tree -r -z`.
pub(super) fn of_lines(lines: &[u8], specs: &[Vec<String>]) -> Result<Vec<String>, GitError> {
    let mut selections = selections(specs)?;
    for line in lines.split(|byte| *byte == 0) {
        let Some((facts, path)) = line.split_once_str("\t") else { continue };
        let words: Vec<_> = facts.split_str(" ").collect();
        // With the type of the object between them in a tree.
        let id = words.iter().skip(1).find_map(|word| ObjectId::from_hex(word).ok());
        let kind = match words.first().copied() {
            Some(b"100644") => EntryKind::Blob,
            Some(b"100755") => EntryKind::BlobExecutable,
            Some(b"120000") => EntryKind::Link,
            Some(b"160000") => EntryKind::Commit,
            _ => continue,
        };
        if let Some(id) = id {
            selections.iter_mut().for_each(|selection| selection.take(path.as_bstr(), kind, id));
        }
    }
    Ok(selections.into_iter().map(Selection::digest).collect())
}

fn selections(specs: &[Vec<String>]) -> Result<Vec<Selection>, GitError> {
    specs.iter().map(|specs| Selection::new(specs)).collect()
}

impl Repo {
    /// Returns, for each list of pathspecs, the digest of what it selects of a tree that is stored.
    pub fn inputs_of_tree(&self, tree: &str, specs: &[Vec<String>]) -> Result<Vec<String>, GitError> {
        if specs.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(found) = self.inputs_in_process(tree, specs)? {
            return Ok(found);
        }
        let lines =
            self.git().args(["ls-tree", "-r", "-z", "--full-tree", "--end-of-options", tree]).run()?;
        of_lines(&lines, specs)
    }

    pub(super) fn inputs_in_process(
        &self,
        tree: &str,
        specs: &[Vec<String>],
    ) -> Result<Option<Vec<String>>, GitError> {
        let mut selections = selections(specs)?;
        let Some(repo) = self.in_process() else { return Ok(None) };
        let Ok(id) = ObjectId::from_hex(tree.as_bytes()) else { return Ok(None) };
        let Ok(tree) = repo.find_tree(id) else { return Ok(None) };
        let whole = take_all(&repo, &tree, &mut BString::default(), &mut selections);
        Ok(whole.map(|()| selections.into_iter().map(Selection::digest).collect()))
    }
}

/// Takes in what is selected of a tree, and looks into no folder in which nothing can be. Nothing if an object is
/// missing.
fn take_all(
    repo: &gix::Repository,
    tree: &gix::Tree<'_>,
    path: &mut BString,
    selections: &mut [Selection],
) -> Option<()> {
    for entry in tree.iter() {
        let entry = entry.ok()?;
        let length = path.len();
        path.extend_from_slice(entry.filename());
        match entry.mode().kind() {
            EntryKind::Tree => {
                let wanted = |it: &Selection| it.search.can_match_relative_path(path.as_bstr(), Some(true));
                if selections.iter().any(wanted) {
                    let tree = repo.find_tree(entry.object_id()).ok()?;
                    path.push(b'/');
                    take_all(repo, &tree, path, selections)?;
                }
            }
            kind => selections.iter_mut().for_each(|it| it.take(path.as_bstr(), kind, entry.object_id())),
        }
        path.truncate(length);
    }
    Some(())
}
