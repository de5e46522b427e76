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

/// Leaves out where the other work tree is, and that it has none. Nothing is left of what nobody can read.
fn without_places(text: &[u8]) -> Vec<u8> {
    let meta = gix::config::file::Metadata::api();
    let Ok(mut config) = gix::config::File::from_bytes_no_includes(text, meta, Default::default()) else {
        return Vec::new();
    };
    let core = config.sections_and_ids_by_name("core").into_iter().flatten();
    let core: Vec<_> =
        core.filter(|(it, _)| it.header().subsection_name().is_none()).map(|(_, id)| id).collect();
    for id in core {
        let Some(mut section) = config.section_mut_by_id(id) else { continue };
        for key in ["bare", "worktree"] {
            while section.remove(key).is_some() {}
        }
    }
    config.to_bstring().into()
}

#[cfg(test)]
mod tests {
    use super::super::super::program::Git;
    use super::*;

    #[test]
    fn where_the_other_one_is_stays_there() {
        let text = b"[core]\n\tbare = true\n\tWorkTree=/a\n\tsparseCheckout = true\n[extra]\n\tbare = 1\n";
        let kept = without_places(text);
        assert_eq!(kept, b"[core]\n\tsparseCheckout = true\n[extra]\n\tbare = 1\n");
    }

    #[test]
    fn git_finds_none_of_it_however_it_is_written() {
        for text in [
            "[core] worktree = /a\n",
            "[core] worktree = /a\nbare = true\n",
            "[CORE]bare\n\tsparseCheckout = true\n",
            "[extra] [core] worktree = /a ; where it is\n",
            "\u{feff}[core]\n\tworktree = /a\n\tworktree = \"/b\"\n",
            "[core]\n\tworktree = /a\\\n/b\n",
            "[core]\n\tx = 1\n[core] worktree = /a\n",
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), without_places(text.as_bytes())).unwrap();
            let asked = Git::new(Path::new("/")).args(["config", "--list", "--file"]).args([file.path()]);
            let said = String::from_utf8(asked.run().unwrap()).unwrap();
            assert!(!said.contains("core.worktree") && !said.contains("core.bare"), "{text}: {said}");
            assert_eq!(said.contains("core.sparsecheckout=true"), text.contains("sparse"), "{text}: {said}");
            assert_eq!(said.contains("core.x=1"), text.contains("x = 1"), "{text}: {said}");
        }
    }
}
