//! The repository: gix in process where speed counts, the git program where only it is right.
#![expect(clippy::disallowed_methods, reason = "git's own variables decide which repository is meant")]

mod added;
mod base;
mod behind;
mod bounded;
mod bring_back;
mod diff;
mod error;
mod exclude;
mod history;
mod ignored;
mod hooks;
mod inputs;
mod files;
mod fixed;
mod kept;
mod keys;
mod landing;
mod linked;
mod look;
mod mentions;
mod merged;
mod name_status;
mod nested;
mod notes;
mod note_files;
mod note_history;
mod probe;
mod program;
mod push;
mod pushed;
mod since;
mod sign;
mod sshsig;
mod slot;
mod snapshot;
mod staged;
mod submodules;
mod tree;
mod view;
mod worktrees;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use gix::bstr::ByteSlice;
use gix::discover::upwards;
use gix::sec::{Permission, Trust};

pub use added::Added;
pub use base::{CommitInfo, UsualBase};
pub use bring_back::{BringBack, Obstacle};
pub use diff::{DiffRule, Target};
pub use error::GitError;
pub use fixed::TreeChange;
pub use history::Commit;
pub use hooks::{HooksFolder, Scope};
pub use kept::{KeptIn, branch_in};
pub use keys::{HeadState, Now};
pub use landing::{FastForward, Moved};
pub use look::program_version;
pub use mentions::Mention;
pub use merged::{MergeTree, Merged};
pub use note_history::InUse;
pub use notes::{Author, Changes, NOTES, Note, Object, Ref};
pub use probe::Tried;
pub use program::is_local_variable;
pub use push::{LISTING_VARIABLE, PushCall, WouldPush, push};
pub use pushed::{Named, Pushed};
pub use sign::{Checked, Checker, Signing};
pub use since::{Change, TreeNow};
pub use slot::{Slot, Upkeep};
pub use snapshot::{Content, Listed, Listing, NestedRepo, SNAPSHOTS, Taken};
pub use submodules::{Lack, Objects, WhyEmpty};
pub use tree::TreeState;
pub use worktrees::{WorktreeInfo, is_top_of, top_of_entry};

use error::At;
use program::{Facts, Git};

/// Extensions of the repository format that we and gix know how to read in process.
const KNOWN_EXTENSIONS: [&str; 8] = [
    "noop",
    "noop-v1",
    "objectformat",
    "partialclone",
    "preciousobjects",
    "relativeworktrees",
    "worktreeconfig",
    "refstorage",
];

/// A repository and one of its work trees.
#[derive(Clone)]
pub struct Repo {
    /// `None` if only the git program can read this repository.
    gix: Option<gix::ThreadSafeRepository>,
    /// Whether refs are where gix finds them.
    refs_in_files: bool,
    program: Facts,
    work_tree: PathBuf,
    git_dir: PathBuf,
    common_dir: PathBuf,
    /// Patterns of untracked files that are in no tree, beside those that git knows.
    left_out: Vec<String>,
    /// The last index whose tree somebody asked for.
    staged: std::sync::Arc<std::sync::Mutex<Option<staged::Staged>>>,
    /// When folders are kept that were read.
    keeping: tree::Keeping,
    /// What there is to know if this is a side worktree of ours.
    side: Option<std::sync::Arc<slot::Side>>,
    /// Whether there is no work tree; the git directory stands in for it.
    bare: bool,
    /// What shows us objects that are not in the repository yet.
    view: Option<std::sync::Arc<tempfile::TempDir>>,
}

impl std::fmt::Debug for Repo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repo")
            .field("work_tree", &self.work_tree)
            .field("git_dir", &self.git_dir)
            .field("in_process", &self.gix.is_some())
            .finish_non_exhaustive()
    }
}

/// The variables that tell git where the repository is.
#[derive(Clone, Debug, Default)]
struct Overrides {
    git_dir: Option<OsString>,
    work_tree: Option<OsString>,
}

impl Overrides {
    fn of_environment() -> Self {
        let named = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self { git_dir: named("GIT_DIR"), work_tree: named("GIT_WORK_TREE") }
    }
}

impl Repo {
    /// Finds the repository that `from` belongs to, as git does: `GIT_DIR` and `GIT_WORK_TREE` of
    /// the environment come first.
    pub fn discover(from: &Path) -> Result<Self, GitError> {
        Self::discover_with(from, &Overrides::of_environment())
    }

    /// Like [`Repo::discover`], without keeping what it learns about the git program for the next time.
    pub fn look(from: &Path) -> Result<Self, GitError> {
        Self::discover_keeping(from, &Overrides::of_environment(), false)
    }

    /// Like [`Repo::discover`], as a hook has to: a repository without a work tree stands for itself, and
    /// `GIT_DIR` alone means the work tree that belongs to it.
    pub fn discover_in_hook(from: &Path) -> Result<Self, GitError> {
        Self::discover_for(from, &Overrides::of_environment(), true, true)
    }

    fn discover_with(from: &Path, overrides: &Overrides) -> Result<Self, GitError> {
        Self::discover_keeping(from, overrides, true)
    }

    fn discover_keeping(from: &Path, overrides: &Overrides, keep: bool) -> Result<Self, GitError> {
        Self::discover_for(from, overrides, keep, false)
    }

    fn discover_for(from: &Path, overrides: &Overrides, keep: bool, hook: bool) -> Result<Self, GitError> {
        let from = from.canonicalize().at(from)?;
        let not_here = || GitError::NotARepository { path: from.clone() };
        let (git_dir, found) = match &overrides.git_dir {
            Some(git_dir) => (from.join(git_dir).canonicalize().map_err(|_| not_here())?, None),
            None => {
                let options = upwards::Options {
                    match_ceiling_dir_or_error: false,
                    cross_fs: std::env::var_os("GIT_DISCOVERY_ACROSS_FILESYSTEM")
                        .is_some_and(|value| value == "1" || value == "true"),
                    ..upwards::Options::default().apply_environment()
                };
                let (path, trust) = gix::discover::upwards_opts(&from, options).map_err(|_| not_here())?;
                let (git_dir, work_tree) = path.into_repository_and_work_tree_directories();
                if trust != Trust::Full {
                    ensure_git_trusts(&from, work_tree.as_deref().unwrap_or(&git_dir))?;
                }
                (git_dir.canonicalize().at(&git_dir)?, work_tree)
            }
        };
        let program = Facts::of_program(&common_dir_of(&git_dir).join("orchestrate/git-program"), keep);
        let opened = open_in_process(&git_dir, &program);
        let work_tree = match (&overrides.work_tree, &opened) {
            (Some(work_tree), _) => from.join(work_tree),
            (None, Ok(repo)) if hook && overrides.git_dir.is_some() => {
                let bare = repo.config_snapshot().boolean("core.bare") == Some(true);
                let is_linked = git_dir.join("commondir").exists();
                let own = repo.workdir().filter(|own| (is_linked || !bare) && own.is_dir());
                own.map_or_else(|| git_dir.clone(), Path::to_owned)
            }
            (None, Ok(repo)) => match work_tree_of(repo, found, &from, overrides) {
                None if hook => git_dir.clone(),
                Some(work_tree) => work_tree,
                None => return Err(GitError::Bare { path: git_dir }),
            },
            (None, Err(_)) => {
                let git = match overrides.git_dir {
                    Some(_) => Git::new(&from).env("GIT_DIR", &git_dir),
                    None => Git::new(&from),
                };
                PathBuf::from(git.args(["rev-parse", "--show-toplevel"]).line()?)
            }
        };
        let work_tree = work_tree.canonicalize().at(&work_tree)?;
        let bare = work_tree == git_dir;
        Ok(Self { bare, ..Self::assemble(opened.ok(), git_dir, work_tree, program)? })
    }

    /// Opens the repository whose top level is `work_tree`, which somebody else found.
    fn at(work_tree: &Path, program: &Facts) -> Result<Self, GitError> {
        let dot_git = work_tree.join(".git");
        let options = upwards::Options { dot_git_only: true, ..Default::default() };
        let (path, trust) = gix::discover::upwards_opts(work_tree, options)
            .map_err(|error| GitError::unsupported(&dot_git, error))?;
        let (git_dir, found) = path.into_repository_and_work_tree_directories();
        if found.as_deref() != Some(work_tree) || trust != Trust::Full {
            return Err(GitError::NotOwned { path: work_tree.to_owned() });
        }
        let git_dir = git_dir.canonicalize().at(&git_dir)?;
        let opened = open_in_process(&git_dir, program).ok();
        Self::assemble(opened, git_dir, work_tree.to_owned(), program.clone())
    }

    fn assemble(
        mut gix: Option<gix::Repository>,
        git_dir: PathBuf,
        work_tree: PathBuf,
        program: Facts,
    ) -> Result<Self, GitError> {
        let (common_dir, refs_in_files) = match &mut gix {
            Some(repo) => {
                repo.set_workdir(work_tree.clone())
                    .map_err(|error| GitError::unsupported(&git_dir, error))?;
                let storage = repo.config_snapshot().string("extensions.refStorage");
                let in_files = storage.is_none_or(|kind| kind.eq_ignore_ascii_case(b"files"));
                (repo.common_dir().canonicalize().at(repo.common_dir())?, in_files)
            }
            None => {
                let words = ["rev-parse", "--path-format=absolute", "--git-common-dir"];
                let git = Git::new(&work_tree).repository(&git_dir, &work_tree);
                (PathBuf::from(git.args(words).line()?), false)
            }
        };
        Ok(Self {
            gix: gix.map(gix::Repository::into_sync),
            refs_in_files,
            program,
            work_tree,
            git_dir,
            common_dir,
            left_out: Vec::new(),
            staged: std::sync::Arc::default(),
            keeping: tree::Keeping::default(),
            side: None,
            bare: false,
            view: None,
        })
    }

    /// The absolute top level of the work tree.
    pub fn work_tree(&self) -> &Path {
        &self.work_tree
    }

    /// The git directory of this work tree, such as `.git` or `.git/worktrees/<name>`, absolute.
    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// The git directory that all work trees of the repository share, absolute.
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }

    /// Returns a handle for this thread, unless only the git program can read the repository.
    fn in_process(&self) -> Option<gix::Repository> {
        self.gix.as_ref().map(gix::ThreadSafeRepository::to_thread_local)
    }

    /// Prepares a call of the git program on this repository.
    fn git(&self) -> Git {
        Git::new(&self.work_tree).repository(&self.git_dir, &self.work_tree)
    }

    /// Makes a folder for what is of no use any more in a moment, on the disk of the repository.
    fn aside(&self, prefix: &str) -> Result<tempfile::TempDir, GitError> {
        let place = self.common_dir.join("orchestrate");
        std::fs::create_dir_all(&place).at(&place)?;
        tempfile::Builder::new().prefix(prefix).tempdir_in(&place).at(&place)
    }
}

/// Returns the directory that the work trees share, which is `git_dir` itself for the main one.
fn common_dir_of(git_dir: &Path) -> PathBuf {
    match std::fs::read(git_dir.join("commondir")) {
        Ok(text) => git_dir.join(text.trim_ascii_end().to_path_lossy()),
        Err(_) => git_dir.to_owned(),
    }
}

/// Opens a git directory that is trusted, or says why gix should not read it.
fn open_in_process(git_dir: &Path, program: &Facts) -> Result<gix::Repository, GitError> {
    let mut permissions = gix::open::Permissions::all();
    // What a hook's environment says is about another index and another object database.
    permissions.env.objects = Permission::Deny;
    permissions.config.env = false;
    let mut options =
        gix::open::Options::default().permissions(permissions).with(Trust::Full).open_path_as_is(true);
    // Nor may any ref put another object in the place of one that is judged.
    options = options.config_overrides(["core.useReplaceRefs=false"]);
    // gix would look in `/etc`, which is not where every git looks.
    if let Some(path) = &program.system_config
        && std::env::var_os("GIT_CONFIG_SYSTEM").is_none()
    {
        options = options.system_config_path(path);
    }
    let repo = gix::open_opts(git_dir, options).map_err(|error| GitError::unsupported(git_dir, error))?;
    for section in repo.config_snapshot().plumbing().sections_by_name("extensions").into_iter().flatten() {
        for name in section.value_names() {
            let name = name.to_string().to_ascii_lowercase();
            if !KNOWN_EXTENSIONS.contains(&name.as_str()) {
                return Err(GitError::unsupported(git_dir, format!("extension `{name}`")));
            }
        }
    }
    Ok(repo)
}

/// Returns the top level that belongs to `repo`; `found` is the folder in which its `.git` was.
fn work_tree_of(
    repo: &gix::Repository,
    found: Option<PathBuf>,
    from: &Path,
    overrides: &Overrides,
) -> Option<PathBuf> {
    let own = repo.workdir().map(Path::to_owned);
    // What the shared configuration says about bareness is not about a linked worktree.
    let linked = repo.git_dir().join("commondir").exists();
    let config = repo.config_snapshot();
    if !linked && config.string("core.worktree").is_some() {
        return own;
    }
    let bare = !linked && config.boolean("core.bare") == Some(true);
    if overrides.git_dir.is_none() {
        return found.or(own).filter(|_| !bare);
    }
    // With `GIT_DIR` alone git takes the current folder for the top level. In a subfolder of the
    // real work tree that would make every other file look deleted, so there we know better.
    match own.and_then(|own| own.canonicalize().ok()) {
        Some(own) if from.starts_with(&own) => Some(own),
        _ if bare => None,
        _ => Some(from.to_owned()),
    }
}

/// Lets git itself decide about a repository that another user owns, by its `safe.directory` rule
/// and before we read any of its configuration.
fn ensure_git_trusts(from: &Path, repository: &Path) -> Result<(), GitError> {
    let git = Git::with_configuration_of_caller(from).args(["rev-parse", "--git-dir"]);
    match git.run() {
        Ok(_) => Ok(()),
        Err(GitError::Program { stderr, .. }) if stderr.contains("dubious ownership") => {
            Err(GitError::NotOwned { path: repository.to_owned() })
        }
        Err(error) => Err(error),
    }
}
