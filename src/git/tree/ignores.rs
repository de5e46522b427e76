//! Which untracked paths are ignored: gix matches, we keep its pattern lists folder by folder.
#![expect(clippy::disallowed_methods, reason = "git's own variables decide where ignore files are")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gix::bstr::{BStr, BString, ByteSlice};
use gix::glob::pattern::Case;
use gix::ignore::Search;
use gix::ignore::search::Ignore;

use super::super::Repo;
use super::Fail;
use super::content::on_disk;

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

/// The patterns of a work tree, read as paths are asked about.
pub(in crate::git) struct Rules<'a> {
    top: &'a Path,
    root: Arc<Ignores>,
    /// For each folder what counts in it; nothing where all of it is ignored.
    folders: HashMap<BString, Option<Arc<Ignores>>>,
}

impl<'a> Rules<'a> {
    /// Returns the patterns of a work tree; nothing if only git can read them.
    pub fn of(ours: &'a Repo) -> Option<Self> {
        let repo = ours.in_process()?;
        if repo.filesystem_options().ok()?.ignore_case {
            return None;
        }
        let root = Ignores::of_repository(&repo, &ours.common_dir, &ours.left_out).ok()?;
        Some(Self { top: &ours.work_tree, root: Arc::new(root), folders: HashMap::new() })
    }

    /// Whether a pattern ignores a path or a folder above it; nothing if only git can tell.
    pub fn ignores(&mut self, path: &BStr, is_folder: bool) -> Option<bool> {
        let above = path.rfind_byte(b'/').map_or(&b""[..], |at| &path[..at]);
        let rules = self.within(above.as_bstr())?;
        Some(rules.is_none_or(|rules| rules.exclude(path, is_folder)))
    }

    fn within(&mut self, folder: &BStr) -> Option<Option<Arc<Ignores>>> {
        if let Some(known) = self.folders.get(folder) {
            return Some(known.clone());
        }
        let above = match folder.rfind_byte(b'/') {
            _ if folder.is_empty() => Some(self.root.clone()),
            Some(at) => self.within(folder[..at].as_bstr())?,
            None => self.within(BStr::new(b""))?,
        };
        let found = match above {
            Some(above) if folder.is_empty() || !above.exclude(folder, true) => {
                let mut path = folder.to_owned();
                path.extend_from_slice(if folder.is_empty() { b"" } else { b"/" });
                let disk = on_disk(self.top, path.as_bstr()).join(".gitignore");
                // git follows no link here.
                match disk.symlink_metadata().is_ok_and(|found| found.is_file()) {
                    true => {
                        let content = fs::read(&disk).ok()?;
                        Some(Arc::new(Ignores::below(&above, path.as_bstr(), &content).ok()?))
                    }
                    false => Some(above),
                }
            }
            _ => None,
        };
        self.folders.insert(folder.to_owned(), found.clone());
        Some(found)
    }
}

/// Where git looks when nothing is configured.
fn users_file() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))?;
    Some(folder.join("git/ignore"))
}
