//! What is checked out in a slot, as its last user wrote it down: whoever comes next need not find out with git.

use std::fs;
use std::path::PathBuf;

use gix::bstr::ByteSlice;

use super::super::tree::Filters;
use super::super::{Commit, GitError};
use super::{Position, Slot, head_at, lock};
use crate::sys::digest::sha256_hex;
use crate::sys::fs::{Durability, Fingerprint, write_atomically};

impl Slot {
    /// Forgets what is checked out, here and for whoever comes next.
    pub(super) fn forget_position(&self) -> Result<(), GitError> {
        Ok(crate::sys::fs::remove(&self.note())?)
    }

    /// Notes what is checked out, for whoever comes next.
    pub(super) fn note_position(&self, at: &Position) -> Result<(), GitError> {
        let Some(rules) = &self.rules else { return Ok(()) };
        let Position { commit: Commit { id, tree, .. }, index } = at;
        let line = format!("{id} {tree} {index} {rules}\n");
        Ok(write_atomically(&self.note(), line.as_bytes(), Durability::Process)?)
    }

    /// Returns what is checked out, if that is known and all of it is still there. What is there besides is known then
    /// too.
    pub(in crate::git) fn recognise(&self) -> Option<Position> {
        let text = fs::read_to_string(self.note()).ok()?;
        let mut words = text.trim_end().split(' ');
        let (id, tree, index, rules) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let commit = Commit { id: id.to_owned(), tree: tree.to_owned(), subject: String::new() };
        let now = Fingerprint::of(&self.repo.git_dir.join("index"))?;
        if now.to_string() != index || self.rules.as_deref() != Some(rules) || !self.head_is(&commit) {
            return None;
        }
        lock(&self.side.leftovers).take();
        let state = self.repo.tree_state_with(&head_at(&commit), Filters::Refuse, &[]).ok()?;
        let whole = !state.is_changed();
        tracing::debug!(slot = %self.folder.display(), whole, "recognised");
        whole.then_some(Position { commit, index: now })
    }

    fn note(&self) -> PathBuf {
        self.folder.join("at")
    }

    /// Whether the rules by which files are checked out are other ones than when the slot was last used: then files that
    /// nobody touched may look different.
    pub(super) fn is_converted_otherwise(&self) -> bool {
        let known = fs::read_to_string(self.folder.join("rules")).ok();
        known.is_some_and(|known| self.rules.as_deref() != Some(known.trim_end()))
    }

    /// Notes by which rules files are converted.
    pub(super) fn note_rules(&self) -> Result<(), GitError> {
        let path = self.folder.join("rules");
        match &self.rules {
            Some(rules) => super::write_if_other(&path, format!("{rules}\n").as_bytes()),
            None => Ok(crate::sys::fs::remove(&path)?),
        }
    }

    /// Returns the digest of the rules by which files are checked out, and which are in no commit.
    pub(super) fn rules_of(repo: &super::Repo) -> Option<String> {
        let gix = repo.in_process()?;
        let config = gix.config_snapshot();
        let mut text = Vec::new();
        for section in config.plumbing().sections() {
            let name = section.header().name();
            if !name.eq_ignore_ascii_case(b"core") && !name.eq_ignore_ascii_case(b"filter") {
                continue;
            }
            for key in section.value_names() {
                let key = key.to_string();
                for value in section.values(&key) {
                    let subsection = section.header().subsection_name().unwrap_or_default();
                    for part in [name, subsection, key.as_bytes().as_bstr(), value.as_bstr()] {
                        text.extend_from_slice(part);
                        text.push(0);
                    }
                }
            }
        }
        text.extend_from_slice(&repo.sparse_patterns().unwrap_or_default());
        let users = config.trusted_path("core.attributesFile").ok()?;
        for path in users.into_iter().chain([repo.common_dir.join("info/attributes")]) {
            text.extend_from_slice(&fs::read(path).unwrap_or_default());
            text.push(0);
        }
        Some(sha256_hex(&text))
    }
}
