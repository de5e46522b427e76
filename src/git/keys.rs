//! What a run is keyed to: commit, tree, branch and worktree.

use crate::run::git_keys::{GitKeys, Head, Worktree};

use super::worktrees::relative;
use super::{GitError, Repo, TreeState};

/// What `HEAD` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadState {
    /// The commit in hex; `None` on an unborn branch.
    pub commit: Option<String>,
    /// The full name of the branch; `None` when detached.
    pub branch: Option<String>,
    /// Which of the two `HEAD` is.
    pub head: Head,
    /// The commit's tree in hex.
    pub(super) tree: Option<String>,
}

/// The commit and the tree of the work tree at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// The commit in hex; `None` on an unborn branch.
    pub commit: Option<String>,
    /// What is in the work tree.
    pub state: TreeState,
}

impl Repo {
    /// Returns all that a run is keyed to at its start.
    ///
    /// `inputs` are lists of pathspecs; for each there is the digest of what it selects of the same tree.
    pub fn keys(&self, inputs: &[Vec<String>]) -> Result<(GitKeys, Vec<String>), GitError> {
        let fresh = self.side.as_ref().and_then(|side| side.take_fresh());
        let (head, state) = match fresh {
            // It has just been checked out, so nobody needs to look what it is.
            Some(head) => {
                let tree = head.tree.clone().unwrap_or_default();
                let state = TreeState {
                    inputs: self.inputs_of_tree(&tree, inputs)?,
                    tree,
                    dirty: false,
                    dirty_submodules: Vec::new(),
                    unreadable: Vec::new(),
                    hidden: Vec::new(),
                };
                (head, state)
            }
            None => {
                let head = self.head()?;
                let state = self.tree_state_and_inputs(&head, inputs)?;
                (head, state)
            }
        };
        let (object_format, shallow, sparse) = self.format()?;
        let keys = GitKeys {
            commit: head.commit,
            tree: Some(state.tree),
            branch: head.branch,
            head: head.head,
            worktree: self.worktree(),
            dirty: state.dirty,
            object_format,
            git_version: self.program.version.clone(),
            shallow,
            // A side worktree may stand in for a worktree that is whole, beside others that are not.
            sparse: sparse && self.side.as_ref().is_none_or(|side| side.sparse),
            dirty_submodules: state.dirty_submodules,
            unreadable: state.unreadable,
            hidden: state.hidden,
            tree_at_end: None,
            moved: None,
        };
        Ok((keys, state.inputs))
    }

    /// Returns the commit and the tree as they are now.
    pub fn tree_now(&self) -> Result<Now, GitError> {
        let head = self.head()?;
        let state = self.tree_state(&head)?;
        Ok(Now { commit: head.commit, state })
    }

    /// Returns the commit that `HEAD` names, and its tree; nothing on an unborn branch.
    pub fn head_commit(&self) -> Result<Option<(String, String)>, GitError> {
        let head = self.head()?;
        Ok(head.commit.zip(head.tree))
    }

    /// Returns what `HEAD` names.
    pub fn head(&self) -> Result<HeadState, GitError> {
        match self.in_process() {
            // gix takes the placeholder that a reftable repository keeps in `HEAD` for a branch.
            Some(repo) if self.refs_in_files => self.head_in_process(&repo),
            _ => self.head_by_git(),
        }
    }

    fn head_in_process(&self, repo: &gix::Repository) -> Result<HeadState, GitError> {
        let failed = |error| GitError::unsupported(&self.git_dir, error);
        let head = repo.head().map_err(failed)?;
        let branch = head.referent_name().map(|name| name.as_bstr().to_string());
        // A branch may be a symbolic name of another one.
        let id =
            head.id().map_or_else(|| head.clone().try_into_peeled_id().map_err(failed), |id| Ok(Some(id)))?;
        let commit =
            id.map(|id| id.object().map_err(failed)?.peel_to_commit().map_err(failed)).transpose()?;
        let tree = commit.as_ref().map(|commit| commit.tree_id().map_err(failed)).transpose()?;
        Ok(HeadState {
            head: kind(commit.is_some(), branch.is_some()),
            commit: commit.map(|commit| commit.id.to_string()),
            tree: tree.map(|tree| tree.to_string()),
            branch,
        })
    }

    fn head_by_git(&self) -> Result<HeadState, GitError> {
        let line = |(code, stdout): (i32, Vec<u8>)| {
            (code == 0).then(|| String::from_utf8_lossy(&stdout).trim_end().to_owned())
        };
        let symbolic = self.git().args(["symbolic-ref", "--quiet", "HEAD"]);
        let branch = line(symbolic.run_expecting(&[0, 1])?);
        let words = ["rev-parse", "--quiet", "--verify", "--end-of-options", "HEAD^{commit}"];
        let commit = line(self.git().args(words).run_expecting(&[0, 1])?);
        let tree = match &commit {
            Some(commit) => Some(
                self.git()
                    .args(["rev-parse", "--verify", "--end-of-options"])
                    .args([format!("{commit}^{{tree}}")])
                    .line()?,
            ),
            None => None,
        };
        Ok(HeadState { head: kind(commit.is_some(), branch.is_some()), commit, branch, tree })
    }

    /// Returns the object format, and whether history and work tree are cut off.
    fn format(&self) -> Result<(String, bool, bool), GitError> {
        let format = match self.in_process() {
            Some(repo) => repo.object_hash().to_string(),
            None => self.git().args(["rev-parse", "--show-object-format"]).line()?,
        };
        Ok((format, self.is_shallow(), self.is_sparse()?))
    }

    /// Whether only a part of the tree is checked out.
    pub(super) fn is_sparse(&self) -> Result<bool, GitError> {
        if let Some(repo) = self.in_process() {
            return Ok(repo.config_snapshot().boolean("core.sparseCheckout") == Some(true));
        }
        let words = ["config", "--type=bool", "--get", "core.sparseCheckout"];
        Ok(self.git().args(words).run_expecting(&[0, 1])?.1.starts_with(b"true"))
    }

    fn worktree(&self) -> Worktree {
        let linked = self.is_linked();
        let base = self.main_work_tree().unwrap_or_else(|| self.common_dir.clone());
        let slot = self.slot();
        let name = (linked && slot.is_none()).then(|| self.git_dir.file_name()).flatten();
        Worktree {
            path: relative(&self.work_tree, &base),
            name: name.map(|name| name.to_string_lossy().into_owned()),
            linked,
            slot,
        }
    }
}

fn kind(born: bool, on_a_branch: bool) -> Head {
    match (born, on_a_branch) {
        (false, _) => Head::Unborn,
        (true, true) => Head::Branch,
        (true, false) => Head::Detached,
    }
}
