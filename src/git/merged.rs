//! Whether what a branch brings is somewhere else already, also after a squash or a rebase.

use std::collections::{BTreeMap, BTreeSet};

use super::program::pairs;
use super::{GitError, Repo};

/// How a commit got into another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// It is one of its ancestors.
    Ancestor,
    /// It changes something, and to merge it would change nothing.
    Tree,
    /// Each of its changes is there as another commit, to the byte.
    Patch,
}

/// What a merge of two commits comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeTree {
    /// The tree in hex.
    Clean(String),
    /// The files that both changed.
    Conflicts(Vec<String>),
}

impl Repo {
    /// Returns how a commit got into another one, if it did.
    pub fn merged(&self, commit: &str, into: &str) -> Result<Option<Merged>, GitError> {
        let (code, _) =
            self.git().args(["merge-base", "--is-ancestor", commit, into]).run_expecting(&[0, 1])?;
        if code == 0 {
            return Ok(Some(Merged::Ancestor));
        }
        let Some(there) = self.commit(into)? else { return Ok(None) };
        match self.merge_tree(into, commit) {
            Ok(MergeTree::Clean(tree)) if tree == there.tree && self.changes_something(commit, into)? => {
                return Ok(Some(Merged::Tree));
            }
            // Histories that have nothing in common, or a git before 2.38.
            Ok(_) | Err(GitError::Program { .. }) => {}
            Err(err) => return Err(err),
        }
        Ok(self.is_picked(commit, into)?.then_some(Merged::Patch))
    }

    /// Whether a commit differs from what it has in common with another one. Where one of its commits took back what
    /// another had brought, to merge it changes nothing, and neither of them is anywhere else.
    fn changes_something(&self, commit: &str, other: &str) -> Result<bool, GitError> {
        let Some(base) = self.merge_base(commit, other)? else { return Ok(true) };
        let tree = |commit: &str| Ok::<_, GitError>(self.commit(commit)?.map(|it| it.tree));
        Ok(tree(commit)? != tree(&base)?)
    }

    /// Whether each commit that another one has not is there as one that changes the same bytes.
    fn is_picked(&self, commit: &str, into: &str) -> Result<bool, GitError> {
        let brought = self.git().args(["rev-list", "--parents", commit, "--not", into]).line()?;
        let brought: Vec<Vec<&str>> = brought.lines().map(|line| line.split(' ').collect()).collect();
        // What a merge itself changed is in no patch.
        if brought.iter().any(|words| words.len() > 2) {
            return Ok(false);
        }
        let alike = ["rev-list", "--no-merges", "--left-only", "--cherry-mark"];
        let alike = self.git().args(alike).args([format!("{into}...{commit}")]).line()?;
        let alike: Vec<_> = alike.lines().filter_map(|line| line.strip_prefix('=')).collect();
        if brought.is_empty() || alike.is_empty() {
            return Ok(false);
        }
        // To git they are alike also if white space is not, which is what some languages are made of.
        let ours: Vec<_> = brought.iter().filter_map(|words| words.first().copied()).collect();
        let (ours, theirs) = (self.patches(&ours)?, self.patches(&alike)?);
        let theirs: BTreeSet<_> = theirs.into_values().collect();
        // One that changes nothing has no patch, and its message is nowhere else.
        Ok(ours.len() == brought.len() && ours.values().all(|patch| theirs.contains(patch)))
    }

    /// Returns by commits what tells their patches from others, to the byte. A git before 2.39 cannot tell.
    fn patches(&self, commits: &[&str]) -> Result<BTreeMap<String, String>, GitError> {
        let words = ["diff-tree", "--stdin", "--root", "-r", "-p", "--full-index", "--no-renames"];
        let plain = ["--no-ext-diff", "--no-textconv", "--ignore-submodules=none"];
        let listed = commits.iter().flat_map(|commit| [commit, "\n"]).collect::<String>();
        let text = self.git().args(words).args(plain).given(listed.as_bytes())?.run()?;
        let said = match self.git().args(["patch-id", "--verbatim"]).given(&text)?.line() {
            Err(GitError::Program { .. }) => return Ok(BTreeMap::new()),
            said => said?,
        };
        let pairs = said.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs.map(|(patch, commit)| (commit.to_owned(), patch.to_owned())).collect())
    }

    /// Merges two commits without a work tree.
    pub fn merge_tree(&self, ours: &str, theirs: &str) -> Result<MergeTree, GitError> {
        let words = ["merge-tree", "--write-tree", "--name-only", "--no-messages", "-z"];
        // How files are merged is said where the merge goes, and not in the worktree that we happen to be in.
        let git = self.git().env("GIT_NO_LAZY_FETCH", "0").args(["-c", &format!("attr.tree={ours}")]);
        let (code, said) = git.args(words).args([ours, theirs]).run_expecting(&[0, 1])?;
        let mut parts = said.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
        let tree = parts.next().unwrap_or_default();
        Ok(match code {
            0 => MergeTree::Clean(tree),
            _ => MergeTree::Conflicts(own_names(parts.filter(|part| !part.is_empty()), [ours, theirs])),
        })
    }

    /// Returns how many commits a commit brings that neither any remote nor any branch but `branch` has.
    pub fn commits_only_here(&self, commit: &str, branch: &str) -> Result<usize, GitError> {
        let words = ["rev-list", "--count", commit, "--not"];
        let exclude = format!("--exclude=refs/heads/{branch}");
        let line = self.git().args(words).args([&exclude, "--glob=refs/heads/*", "--remotes"]).line()?;
        Ok(line.trim().parse().unwrap_or(usize::MAX))
    }

    /// Returns what somebody has begun in this worktree and not ended, such as a rebase.
    pub fn under_way(&self) -> Option<&'static str> {
        [
            ("rebase-merge", "a rebase"),
            ("rebase-apply", "a rebase or `git am`"),
            ("MERGE_HEAD", "a merge"),
            ("CHERRY_PICK_HEAD", "a cherry-pick"),
            ("REVERT_HEAD", "a revert"),
            ("BISECT_LOG", "a bisection"),
        ]
        .into_iter()
        .find_map(|(name, what)| self.git_dir.join(name).exists().then_some(what))
    }

    /// Returns what the configuration of this repository says about a branch, such as its upstream: keys and values.
    pub fn settings_of_branch(&self, name: &str) -> Result<Vec<(String, String)>, GitError> {
        let words = ["config", "--local", "--null", "--get-regexp", r"^branch\."];
        let (_, listed) = self.git().args(words).run_expecting(&[0, 1])?;
        let prefix = format!("branch.{name}.");
        let is_its = |key: &str| key.strip_prefix(&prefix).is_some_and(|last| !last.contains('.'));
        Ok(pairs(&listed).into_iter().filter(|(key, _)| is_its(key)).collect())
    }

    /// Writes back what the configuration said about a branch, but for keys that say something by now.
    pub fn restore_branch(&self, name: &str, settings: &[(String, String)]) -> Result<(), GitError> {
        let known = self.settings_of_branch(name)?;
        for (key, value) in settings.iter().filter(|(key, _)| known.iter().all(|(there, _)| there != key)) {
            self.git().args(["config", "--local", "--add", key, value]).run()?;
        }
        Ok(())
    }

    /// Removes what the configuration says about a branch that is gone.
    pub fn forget_branch(&self, name: &str) -> Result<(), GitError> {
        let section = format!("branch.{name}");
        self.git()
            .args(["config", "--local", "--remove-section", &section])
            .run_expecting(&[0, 1, 128])
            .map(drop)
    }
}

/// Returns the names of files that are in conflict. Where a folder has the name of a file by now, git gives that file another
/// one, with the commit that it comes from; people know it by its own.
pub(super) fn own_names(paths: impl Iterator<Item = String>, sides: [&str; 2]) -> Vec<String> {
    let own_name = |path: String| {
        let mut own = sides.iter().filter_map(|side| {
            let (own, end) = path.rsplit_once(&format!("~{side}"))?;
            let counted = |end: &str| end.strip_prefix('_').is_some_and(|it| it.parse::<u32>().is_ok());
            (end.is_empty() || counted(end)).then(|| own.to_owned())
        });
        own.next().unwrap_or(path)
    };
    let mut names: Vec<String> = Vec::new();
    for name in paths.map(own_name) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_had_to_make_room_for_a_folder_keeps_its_name() {
        let paths = ["a", "d~11", "d~22", "d~11_0", "e~11x", "f~11_x", "g~33", "d"].map(str::to_owned);
        let names = own_names(paths.into_iter(), ["11", "22"]);
        assert_eq!(names, ["a", "d", "e~11x", "f~11_x", "g~33"]);
    }
}
