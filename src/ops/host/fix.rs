//! What stages that mend changed in a side worktree: kept as a patch before the run is over.

use anyhow::Result;

use super::RunHost;
use crate::run::event::Happened;
use crate::run::fix::{Fix, FixedFile, Patch};
use crate::runner::Host;
use crate::sys::digest::sha256_hex;
use crate::sys::fs;

/// So many files are named in the manifest; the patch has all of them.
const NAMED: usize = 200;

impl RunHost {
    /// Keeps what changed, if stages ran that mend. In the user's own worktree it is there anyway.
    pub(super) fn keep_fix(&mut self) -> Result<()> {
        if self.depth > 0 || self.displaced {
            return Ok(());
        }
        match self.fix() {
            Ok(Some(fix)) => self.tell(Happened::Fixed { fix: Box::new(fix) }, 0),
            Ok(None) => Ok(()),
            Err(err) => {
                self.shared.warn("what was mended was not kept", err);
                Ok(())
            }
        }
    }

    fn fix(&self) -> Result<Option<Fix>> {
        let manifest = self.manifest();
        let ran = |index: usize| manifest.entry(index).is_some_and(|entry| entry.started_at.is_some());
        let menders = self.plan.stages.iter().filter(|planned| planned.stage.fixes() && ran(planned.index));
        let stages: Vec<_> = menders.map(|planned| self.shared.masked(planned.stage.id.as_str())).collect();
        let git = manifest.git.as_ref().filter(|git| git.worktree.slot.is_some());
        let Some(from) = git.and_then(|git| git.tree.clone()).filter(|_| !stages.is_empty()) else {
            return Ok(None);
        };
        let repo = &self.shared.repo;
        let to = repo.store_work_tree()?;
        if to == from {
            return Ok(None);
        }
        let changes = repo.tree_changes(&from, &to)?;
        let patch = repo.patch(&from, &to)?;
        // It has to apply as it is, so nothing in it is masked; the objects of git hold the same.
        let path = self.recorder.paths().patch(manifest.attempt());
        fs::write_atomically(&path, &patch, fs::Durability::Power)?;
        let named = changes.iter().take(NAMED).map(|change| FixedFile {
            path: self.shared.masked(&change.path().to_string_lossy()),
            change: change.kind(),
        });
        Ok(Some(Fix {
            from,
            to,
            stages,
            files: named.collect(),
            count: changes.len(),
            patch: Patch {
                path: self.shared.layout.relative(&path),
                sha256: sha256_hex(&patch),
                bytes: patch.len() as u64,
            },
        }))
    }
}
