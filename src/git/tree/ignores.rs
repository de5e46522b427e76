//! Which untracked paths are ignored: gix matches, we keep its pattern lists folder by folder.
#![expect(clippy::disallowed_methods, reason = "git's own variables decide where ignore files are")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gix::bstr::{BStr, ByteSlice};
use gix::glob::pattern::Case;
use gix::ignore::Search;
use gix::ignore::search::Ignore;

use super::Fail;

/// The patterns of one source, and those that count where it says nothing.
pub(super) struct Ignores {
    search: Search,
    above: Option<Arc<Ignores>>,
}

impl Ignores {
    /// Reads `info/exclude` and the user's own file; the lines of `more` come before both.
    pub fn of_repository(repo: &gix::Repository, common_dir: &Path, more: &[String]) -> Result<Self, Fail> {
        let configured = repo.config_snapshot().trusted_path("core.excludesFile");
        let users = configured.map_err(|_| Fail::NeedsGit)?.or_else(users_file);
        let mut search = Search::from_git_dir(common_dir, users, &mut Vec::new(), Ignore::default())
            .map_err(|_| Fail::NeedsGit)?;
        if !more.is_empty() {
            let source = common_dir.join("info/exclude");
            search
                .add_patterns_buffer(more.join("\n").as_bytes(), source, None, Ignore::default())
                .map_err(|_| Fail::NeedsGit)?;
        }
        Ok(Self { search, above: None })
    }

    /// Parses the `.gitignore` of `folder`, whose path ends with a slash unless it is the top.
    pub fn below(above: &Arc<Self>, folder: &BStr, content: &[u8]) -> Result<Self, Fail> {
        let mut search = Search::default();
        let root = Path::new("/");
        let source = root.join(folder.to_path_lossy());
        search
            .add_patterns_buffer(content, source.join(".gitignore"), Some(root), Ignore::default())
            .map_err(|_| Fail::NeedsGit)?;
        Ok(Self { search, above: Some(above.clone()) })
    }

    /// Whether the patterns exclude `path`; the folders above it are the caller's matter.
    pub fn exclude(&self, path: &BStr, is_folder: bool) -> bool {
        let mut next = Some(self);
        while let Some(ignores) = next {
            let found = ignores.search.pattern_matching_relative_path(
                path.as_bstr(),
                Some(is_folder),
                Case::Sensitive,
            );
            if let Some(found) = found {
                return !found.pattern.is_negative();
            }
            next = ignores.above.as_deref();
        }
        false
    }
}

/// Where git looks when nothing is configured.
fn users_file() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))?;
    Some(folder.join("git/ignore"))
}
