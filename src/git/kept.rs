//! What git has in its part of a worktree, and refs that keep it there while the worktree is in our trash: git collects
//! what no ref and no worktree names.

use std::path::Path;

use super::error::At;
use super::program::Git;
use super::tree::by_git;
use super::{GitError, Repo};
use crate::sys::fs::foreign_step;

/// Where the refs are, each below the name of a place in the trash.
const TRASH: &str = "refs/orchestrate/trash/";

/// What git has in its part of a worktree.
#[derive(Clone, Debug, Default)]
pub struct KeptIn {
    /// The commit that is checked out.
    pub head: Option<String>,
    /// The same, if it is at no branch.
    pub detached: Option<String>,
    /// Whether something is staged that the commit has not.
    pub is_staged: bool,
    /// All that it names: commits, and a tree of what is staged.
    pub objects: Vec<String>,
}

/// Returns the branch, without `refs/heads/`, that git's part of a worktree names, wherever that is now.
pub fn branch_in(entry: &Path) -> Option<String> {
    let said = std::fs::read_to_string(entry.join("HEAD")).ok()?;
    said.trim_end().strip_prefix("ref: refs/heads/").map(str::to_owned)
}

impl Repo {
    /// Returns what git has in its part of a worktree, whose folder need not be there.
    pub fn kept_in(&self, entry: &Path) -> Result<KeptIn, GitError> {
        /// What else may name commits that nothing else does.
        const NAMES: [&str; 4] = ["ORIG_HEAD", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD"];
        let git = || Git::new(&self.common_dir).repository(entry, &self.work_tree);
        let named = |name: &str| {
            let words = ["rev-parse", "--verify", "--quiet", "--end-of-options", name];
            let (code, line) = git().args(words).run_expecting(&[0, 1, 128])?;
            Ok::<_, GitError>((code == 0).then(|| String::from_utf8_lossy(&line).trim_end().to_owned()))
        };
        let head = named("HEAD^{commit}")?;
        let mut objects: Vec<_> = head.iter().cloned().collect();
        for name in NAMES.into_iter().filter(|name| entry.join(name).exists()) {
            objects.extend(named(name)?);
        }
        let mut is_staged = false;
        if entry.join("index").exists() {
            let tree = staged(&git, entry)?;
            is_staged = named("HEAD^{tree}")?.as_ref() != Some(&tree);
            objects.push(tree);
        }
        let detached = head.clone().filter(|_| branch_in(entry).is_none());
        Ok(KeptIn { head, detached, is_staged, objects })
    }

    /// Sees that git keeps objects for a place in the trash.
    pub fn keep_for(&self, place: &str, objects: &[String]) -> Result<(), GitError> {
        foreign_step("keep objects").at(&self.common_dir)?;
        let line = |(at, object): (usize, &String)| format!("update {TRASH}{place}/{at} {object}\n");
        self.update_refs(objects.iter().enumerate().map(line).collect())
    }

    /// Lets git collect again what it kept for places in the trash that `is_over` takes.
    pub fn keep_no_longer(&self, is_over: impl Fn(&str) -> bool) -> Result<(), GitError> {
        let listed = self.git().args(["for-each-ref", "--format=%(refname)", TRASH]).line()?;
        let place =
            |name: &&str| name.strip_prefix(TRASH).and_then(|rest| Some(rest.split_once('/')?.0.to_owned()));
        let over = listed.lines().filter(|name| place(name).is_some_and(|place| is_over(&place)));
        self.update_refs(over.map(|name| format!("delete {name}\n")).collect())
    }

    fn update_refs(&self, lines: String) -> Result<(), GitError> {
        if lines.is_empty() {
            return Ok(());
        }
        self.git().args(["update-ref", "--stdin"]).given(lines.as_bytes())?.run().map(drop)
    }
}

/// Returns a tree of what is staged. During a merge that is no tree of a commit: then all of it is in one folder.
fn staged(git: &dyn Fn() -> Git, entry: &Path) -> Result<String, GitError> {
    let (_temp, index) = by_git::copy_of(&entry.join("index"))?;
    let git = || git().env("GIT_INDEX_FILE", &index);
    match git().args(["write-tree", "--missing-ok"]).line() {
        Err(GitError::Program { .. }) => {}
        tree => return tree,
    }
    let listed = git().args(["ls-files", "--stage", "-z"]).run()?;
    let mut tree = Vec::new();
    for (at, line) in listed.split(|byte| *byte == 0).filter(|line| !line.is_empty()).enumerate() {
        let line = String::from_utf8_lossy(line);
        let mut words = line.split(' ');
        // The commit of a submodule is not ours to keep.
        if let (Some(mode), Some(object)) = (words.next().filter(|mode| *mode != "160000"), words.next()) {
            tree.extend_from_slice(format!("{mode} blob {object}\t{at}\n").as_bytes());
        }
    }
    git().args(["mktree", "--missing"]).given(&tree)?.line()
}
