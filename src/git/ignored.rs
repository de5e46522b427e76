//! What git ignores of a work tree: the part of it that patterns select.

use std::path::{Path, PathBuf};

use gix::bstr::{BStr, ByteSlice};
use gix::glob::pattern::Case;
use gix::ignore::Search;
use gix::ignore::search::Ignore;

use super::{GitError, Repo};

impl Repo {
    /// Returns the paths below a folder of the work tree that git ignores and that patterns, as in a `.gitignore` of
    /// that folder, select. What is in a folder that is ignored as a whole is only found by its full name.
    pub fn ignored_and_selected(&self, folder: &Path, patterns: &[String]) -> Result<Vec<PathBuf>, GitError> {
        let words = ["ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory"];
        let git = super::Git::new(folder).repository(&self.git_dir, &self.work_tree);
        let listed = git.args(words).run()?;
        let listed: Vec<_> = listed.split(|byte| *byte == 0).filter(|path| !path.is_empty()).collect();
        let search = search(patterns)?;
        let selected = |path: &&&[u8]| is_selected(&search, path.as_bstr());
        let mut found: Vec<_> = listed.iter().filter(selected).map(|path| to_path(path)).collect();
        for named in patterns.iter().filter_map(|pattern| full_name(pattern)) {
            let is_within = |path: &&[u8]| path.ends_with(b"/") && named.starts_with(to_path(path));
            if listed.iter().any(is_within) && folder.join(&named).symlink_metadata().is_ok() {
                found.push(named);
            }
        }
        found.sort();
        // A folder comes before what is in it.
        found.dedup_by(|path, kept| path.starts_with(kept));
        Ok(found)
    }
}

fn search(patterns: &[String]) -> Result<Search, GitError> {
    let root = Path::new("/");
    let mut search = Search::default();
    search
        .add_patterns_buffer(
            patterns.join("\n").as_bytes(),
            root.join(".gitignore"),
            Some(root),
            Ignore::default(),
        )
        .map_err(|_| GitError::BadPattern { pattern: patterns.join(" ") })?;
    Ok(search)
}

/// Whether patterns select a path, or a folder above it. A folder's path ends with a slash.
fn is_selected(search: &Search, path: &BStr) -> bool {
    let is_folder = path.ends_with(b"/");
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let above = path.find_iter("/").map(|at| (&path[..at], true));
    above.chain([(path, is_folder)]).any(|(path, is_folder)| {
        let found = search.pattern_matching_relative_path(path.as_bstr(), Some(is_folder), Case::Sensitive);
        found.is_some_and(|found| !found.pattern.is_negative())
    })
}

/// Returns the path that a pattern is, if it stands for one path alone.
fn full_name(pattern: &str) -> Option<PathBuf> {
    let bare = pattern.trim_end().trim_matches('/');
    let is_anchored = pattern.starts_with('/') || bare.contains('/');
    (is_anchored && !bare.contains(['*', '?', '[', '\\', '!', '#'])).then(|| PathBuf::from(bare))
}

fn to_path(path: &[u8]) -> PathBuf {
    path.strip_suffix(b"/").unwrap_or(path).to_path_lossy().into_owned()
}
