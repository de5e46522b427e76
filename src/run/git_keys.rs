//! What of git a run is keyed to: the manifest's `git` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The commit, tree and worktree of a run. An extension section of the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GitKeys {
    /// The commit that `HEAD` named when the run began, in hex; null on an unborn branch.
    pub commit: Option<String>,
    /// The tree of what was really executed, in hex: tracked and untracked files, without the
    /// ignored ones, as `git add -A && git write-tree` would name it.
    pub tree: Option<String>,
    /// The full name of the checked-out branch, such as `refs/heads/main`; null when detached.
    pub branch: Option<String>,
    pub head: Head,
    pub worktree: Worktree,
    /// Whether `tree` differs from the commit's own tree.
    pub dirty: bool,
    /// `sha1` or `sha256`.
    pub object_format: String,
    /// What `git --version` says, such as `2.47.3`; null when git could not be asked.
    pub git_version: Option<String>,
    /// Whether history is cut off (`git clone --depth`).
    pub shallow: bool,
    /// Whether only a part of the tree is checked out (`git sparse-checkout`).
    pub sparse: bool,
    /// Submodules and nested repositories whose own work tree differs from the recorded commit:
    /// `tree` cannot speak for what is in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dirty_submodules: Vec<String>,
    /// Untracked files that could not be read and so are not in `tree`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
    /// Tracked files that git was told to take for unchanged or for not checked out (`assume-unchanged`,
    /// `skip-worktree`), and that are not what `tree` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<String>,
    /// The tree when the run ended.
    #[serde(default)]
    pub tree_at_end: Option<String>,
    /// Whether the tree moved while the run went on, which voids its evidence; null while the run goes
    /// on. A commit that was made of the same tree moves nothing.
    #[serde(default)]
    pub moved: Option<bool>,
}

/// Something that is there, and that the tree's name says nothing about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unnamed<'a> {
    /// A submodule or nested repository with changes of its own.
    Repository(&'a str),
    /// A file that could not be read, or is nothing that git can store.
    Path(&'a str),
    /// A tracked file that differs, and that git was told not to look at.
    Hidden(&'a str),
}

impl GitKeys {
    /// Returns the first thing that the tree does not name; nothing if it speaks for all that is there.
    pub fn unnamed(&self) -> Option<Unnamed<'_>> {
        let repository = self.dirty_submodules.first().map(|path| Unnamed::Repository(path));
        repository
            .or_else(|| self.unreadable.first().map(|path| Unnamed::Path(path)))
            .or_else(|| self.hidden.first().map(|path| Unnamed::Hidden(path)))
    }
}

/// What `HEAD` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    Branch,
    Detached,
    Unborn,
}

/// The worktree that a run belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Worktree {
    /// The path relative to the main worktree (or to the bare repository): `.` for the main one.
    pub path: String,
    /// git's name of a linked worktree (its folder under `.git/worktrees`); null for the main one.
    pub name: Option<String>,
    /// Whether it is another one than the main worktree.
    pub linked: bool,
    /// The number of a side worktree of ours, in which a commit was checked out for this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
}
