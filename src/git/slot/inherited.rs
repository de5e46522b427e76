//! What a slot takes over from the work tree that it stands in for, as `git worktree add` does: which part of a tree is
//! checked out, and the configuration of that work tree alone.

use std::fs;
use std::path::Path;

use super::super::error::At;
use super::super::{GitError, Repo};
use super::{remove, write_if_other};

/// What is taken over.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    config: Option<Vec<u8>>,
    patterns: Option<Vec<u8>>,
}

impl Repo {
    /// Returns the patterns of what is checked out, if this is a sparse checkout.
    pub fn sparse_patterns(&self) -> Option<Vec<u8>> {
        let is_sparse = !self.bare && self.is_set("core.sparseCheckout");
        is_sparse.then(|| fs::read(self.git_dir.join("info/sparse-checkout")).ok()).flatten()
    }

    fn is_set(&self, key: &str) -> bool {
        match self.in_process() {
            Some(repo) => repo.config_snapshot().boolean(key) == Some(true),
            None => {
                let said = self.git().args(["config", "--type=bool", "--get", key]).run_expecting(&[0, 1]);
                said.is_ok_and(|(_, said)| said.starts_with(b"true"))
            }
        }
    }
}

impl Inherited {
    /// Returns what there is to take over.
    pub fn of(repo: &Repo) -> Self {
        let own = repo.is_set("extensions.worktreeConfig");
        let config = own.then(|| fs::read(repo.git_dir.join("config.worktree")).ok()).flatten();
        Self { config: config.map(|text| without_places(&text)), patterns: repo.sparse_patterns() }
    }

    /// Whether not all of a tree is checked out.
    pub fn is_sparse(&self) -> bool {
        self.patterns.is_some()
    }

    /// Writes it where git looks for it.
    pub fn write(&self, git_dir: &Path) -> Result<(), GitError> {
        let info = git_dir.join("info");
        let files = [("config.worktree", &self.config), ("info/sparse-checkout", &self.patterns)];
        for (name, content) in files {
            let path = git_dir.join(name);
            match content {
                None => remove(&path).at(&path)?,
                Some(content) => {
                    if name.starts_with("info") && !info.is_dir() {
                        remove(&info).at(&info)?;
                        fs::create_dir_all(&info).at(&info)?;
                    }
                    write_if_other(&path, content)?;
                }
            }
        }
        Ok(())
    }
}

/// Leaves out where the other work tree is, and that it has none.
fn without_places(text: &[u8]) -> Vec<u8> {
    let mut in_core = false;
    let mut kept = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let word = String::from_utf8_lossy(line).trim().to_ascii_lowercase();
        if word.starts_with('[') {
            in_core = word.starts_with("[core]");
        }
        let key = word.split(['=', ' ', '\t']).next().unwrap_or_default();
        if !(in_core && matches!(key, "bare" | "worktree")) {
            kept.extend_from_slice(line);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_other_one_is_stays_there() {
        let text = b"[core]\n\tbare = true\n\tWorkTree=/a\n\tsparseCheckout = true\n[extra]\n\tbare = 1\n";
        let kept = without_places(text);
        assert_eq!(kept, b"[core]\n\tsparseCheckout = true\n[extra]\n\tbare = 1\n");
    }
}
