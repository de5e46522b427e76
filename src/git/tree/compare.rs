//! One folder against the index: by name, by kind and by stat data.

use std::fs;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use gix::bstr::{BStr, BString, ByteSlice};
use gix::index::entry::{Flags, Mode};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::super::nested;
use super::Fail;
use super::content::on_disk;
use super::ignores::Ignores;
use super::walk::{Change, Folder, Listing, Name, Seen, Walk, Walked};

impl Walk<'_> {
    /// Holds the names of a folder against the index: notes what differs, and adds the folders to
    /// look into next.
    pub(super) fn compare(
        &self,
        folder: &Folder,
        dir: Option<&OwnedFd>,
        mut listing: Listing<'_>,
        seen: &mut Walked,
        below: &mut Vec<Folder>,
    ) -> Result<(), Fail> {
        let depth = folder.path.len();
        let nothing_tracked = folder.range.is_empty() && depth > 0;
        if nothing_tracked && listing.find(b".git").is_some() {
            let top = on_disk(&self.ours.work_tree, folder.path.as_bstr());
            if nested::is_repository(&top, &self.ours.git_dir) {
                self.repository(&folder.path[..depth - 1], &top, seen);
                return Ok(());
            }
        }
        let ignores = match self.ignores_in(folder, &listing)? {
            Some(ignores) if !folder.ignored => Arc::new(ignores),
            _ => folder.ignores.clone(),
        };
        let mut entries = self.index.entries();
        entries = &entries[..folder.range.end];
        let (mut at, mut near) = (folder.range.start, 0);
        while at < entries.len() {
            let path = entries[at].path(self.index);
            let rest = &path[depth..];
            if let Some(slash) = rest.find_byte(b'/') {
                let inside = &path[..depth + slash + 1];
                let count = entries[at..].partition_point(|it| it.path(self.index).starts_with(inside));
                let range = at..at + count;
                at += count;
                let found = listing.find_next(&rest[..slash], &mut near);
                let is_folder = found.is_some_and(|it| listing.names[it].kind == FileType::Directory);
                if entries[range.start].mode.is_sparse() {
                    if found.is_some() {
                        // The index has to be expanded to say what should be in it.
                        return Err(Fail::NeedsGit);
                    }
                } else if is_folder {
                    let it = found.expect("it is a folder, so it was found");
                    listing.names[it].tracked = true;
                    let ignored =
                        folder.ignored || ignores.exclude(inside[..inside.len() - 1].as_bstr(), true);
                    let path = inside.into();
                    below.push(Folder { path, range, ignores: ignores.clone(), ignored });
                } else {
                    for entry in range {
                        self.gone(entry, seen);
                    }
                }
                continue;
            }
            let count = entries[at..].iter().take_while(|it| it.path(self.index) == path).count();
            let found = listing.find_next(rest, &mut near);
            if let Some(it) = found {
                listing.names[it].tracked = true;
            }
            let kind = found.map(|it| listing.names[it].kind);
            let walk_into = self.tracked(at..at + count, kind, dir, seen)?;
            if walk_into && !folder.ignored {
                // Where a file was is a folder now.
                if !ignores.exclude(path, true) {
                    below.push(self.untracked_folder(path, &ignores));
                }
            }
            at += count;
        }
        if self.ours.side.is_some() && !nothing_tracked {
            let foreign = |it: &&Name| !it.tracked || (depth > 0 && listing.name(it) == ".git");
            for it in listing.names.iter().filter(foreign) {
                seen.leftovers.push([folder.path.as_bytes(), listing.name(it)].concat().into());
            }
        }
        if folder.ignored {
            return Ok(());
        }
        for it in listing.names.iter().filter(|it| !it.tracked) {
            let name = listing.name(it);
            let is_folder = it.kind == FileType::Directory;
            let link = it.kind == FileType::Symlink;
            if !is_folder && !link && it.kind != FileType::RegularFile {
                continue;
            }
            let mut path = folder.path.clone();
            path.extend_from_slice(name);
            if ignores.exclude(path.as_bstr(), is_folder) {
                continue;
            }
            let mode = link.then_some(gix::validate::path::component::Mode::Symlink);
            if gix::validate::path::component(name, mode, self.names).is_err() {
                // git refuses such a name: checked out elsewhere, it could do harm.
                seen.unreadable.push(path);
            } else if is_folder {
                below.push(self.untracked_folder(path.as_bstr(), &ignores));
            } else {
                seen.changes.push(Change { path, seen: Seen::Content { tracked: None, link } });
            }
        }
        Ok(())
    }

    fn untracked_folder(&self, path: &BStr, ignores: &Arc<Ignores>) -> Folder {
        let mut path = path.to_owned();
        path.push(b'/');
        Folder { path, range: 0..0, ignores: ignores.clone(), ignored: false }
    }

    /// Returns the ignores of a folder with a `.gitignore` of its own.
    fn ignores_in(&self, folder: &Folder, listing: &Listing<'_>) -> Result<Option<Ignores>, Fail> {
        let mut path = folder.path.clone();
        path.extend_from_slice(b".gitignore");
        let found = listing.find(b".gitignore").map(|it| listing.names[it].kind);
        let content = match found {
            Some(FileType::RegularFile) => fs::read(on_disk(&self.ours.work_tree, path.as_bstr())).ok(),
            // git follows no link here.
            Some(_) => None,
            None if folder.range.is_empty() => None,
            // A file that a sparse checkout leaves out counts all the same.
            None => match self.index.entry_by_path(path.as_bstr()) {
                Some(entry) if entry.flags.contains(Flags::SKIP_WORKTREE) => {
                    let repo = self.repo.to_thread_local();
                    let blob = repo.find_object(entry.id).map_err(|_| Fail::NeedsGit)?;
                    Some(blob.detach().data)
                }
                _ => None,
            },
        };
        let Some(content) = content else { return Ok(None) };
        Ok(Some(Ignores::below(&folder.ignores, folder.path.as_bstr(), &content)?))
    }

    fn gone(&self, entry: usize, seen: &mut Walked) {
        let entry = &self.index.entries()[entry];
        if self.sparse && entry.flags.contains(Flags::SKIP_WORKTREE) {
            return;
        }
        let marked = entry.flags.intersects(Flags::SKIP_WORKTREE | Flags::ASSUME_VALID);
        let list = if marked { &mut seen.marked } else { &mut seen.changes };
        let path = entry.path(self.index).to_owned();
        // The stages of a conflict share one path.
        if list.last().is_none_or(|last| last.path != path) {
            list.push(Change { path, seen: Seen::Gone });
        }
    }

    /// Notes what became of a path that the index knows, `stages` being its entries, and returns
    /// whether there is a folder now to look into.
    fn tracked(
        &self,
        stages: Range<usize>,
        kind: Option<FileType>,
        dir: Option<&OwnedFd>,
        seen: &mut Walked,
    ) -> Result<bool, Fail> {
        let entry = &self.index.entries()[stages.start];
        let path = entry.path(self.index);
        let Some(kind) = kind else {
            self.gone(stages.start, seen);
            return Ok(false);
        };
        let is_folder = kind == FileType::Directory;
        let skipped = entry.flags.contains(Flags::SKIP_WORKTREE) && !self.present_counts;
        // Of these git does not look at what is there.
        let marked = skipped || (entry.flags.contains(Flags::ASSUME_VALID) && !is_folder);
        if marked && self.names_only {
            return Ok(false);
        }
        if marked && is_folder {
            let top = on_disk(&self.ours.work_tree, path);
            let found = (entry.mode == Mode::COMMIT).then(|| nested::head(&top, entry.id.kind()));
            let seen_now = match found {
                None => Seen::Gone,
                Some(Some(id)) if id != entry.id => Seen::Repository(id),
                Some(Some(_)) => {
                    seen.nested.push((path.to_owned(), true));
                    return Ok(false);
                }
                Some(None) => return Ok(false),
            };
            seen.marked.push(Change { path: path.to_owned(), seen: seen_now });
            return Ok(false);
        }
        if is_folder {
            let top = on_disk(&self.ours.work_tree, path);
            if entry.mode == Mode::COMMIT {
                if self.ours.side.is_some()
                    && fs::read_dir(&top).is_ok_and(|mut inside| inside.next().is_some())
                {
                    seen.leftovers.push([path.as_bytes(), b"/"].concat().into());
                }
                match nested::head(&top, entry.id.kind()) {
                    Some(id) => {
                        seen.nested.push((path.to_owned(), true));
                        if id != entry.id || entry.stage_raw() != 0 {
                            let seen_now = Seen::Repository(id);
                            seen.changes.push(Change { path: path.to_owned(), seen: seen_now });
                        }
                    }
                    // Not checked out: what the index says stays.
                    None if entry.stage_raw() == 0 => {}
                    None => seen.unreadable.push(path.to_owned()),
                }
                return Ok(false);
            }
            if nested::is_repository(&top, &self.ours.git_dir) {
                self.repository(path, &top, seen);
                return Ok(false);
            }
            seen.changes.push(Change { path: path.to_owned(), seen: Seen::Gone });
            return Ok(true);
        }
        let link = kind == FileType::Symlink;
        if !link && kind != FileType::RegularFile {
            // A pipe, a socket or a device: no content that git could store.
            let change = Change { path: path.to_owned(), seen: Seen::Gone };
            if marked {
                seen.marked.push(change);
            } else {
                seen.changes.push(change);
                seen.unreadable.push(path.to_owned());
            }
            return Ok(false);
        }
        let plain = entry.stage_raw() == 0 && !entry.flags.contains(Flags::INTENT_TO_ADD);
        if plain && self.names_only {
            return Ok(false);
        }
        if plain {
            let name = path.rfind_byte(b'/').map_or(0, |slash| slash + 1);
            let stat =
                dir.map(|dir| rustix::fs::statat(dir, path[name..].as_bytes(), AtFlags::SYMLINK_NOFOLLOW));
            match stat {
                Some(Ok(stat)) if self.stat.proves(entry, &stat) => return Ok(false),
                Some(Err(Errno::ACCESS)) => {
                    // Its folder may be listed but not entered.
                    seen.unreadable.push(path.to_owned());
                    return Ok(false);
                }
                _ => {}
            }
        }
        // For mode bits that the file system cannot keep, git prefers our side of a conflict.
        let ours = stages.clone().find(|it| self.index.entries()[*it].stage_raw() == 2);
        let tracked = Some(ours.unwrap_or(stages.start));
        let change = Change { path: path.to_owned(), seen: Seen::Content { tracked, link } };
        if marked { &mut seen.marked } else { &mut seen.changes }.push(change);
        Ok(false)
    }

    /// Notes a repository that the index knows nothing of.
    fn repository(&self, path: &[u8], top: &Path, seen: &mut Walked) {
        let path = BString::from(path);
        match nested::head(top, self.index.object_hash()) {
            Some(id) => {
                seen.nested.push((path.clone(), false));
                seen.changes.push(Change { path, seen: Seen::Repository(id) });
            }
            // Nothing in it was committed yet, so there is nothing to name.
            None => {
                if self.index.entry_by_path(path.as_bstr()).is_some() {
                    seen.changes.push(Change { path: path.clone(), seen: Seen::Gone });
                }
                seen.unreadable.push(path);
            }
        }
    }
}
