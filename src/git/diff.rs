//! What changed, file by file, with the lines that `git diff --numstat` would count.
//!
//! In three steps: [`sides`] finds the paths that differ, [`renames`] has git pair those that moved,
//! and [`lines`] reads and counts. What gix cannot read goes to [`by_git`].

mod attributes;
mod by_git;
mod exclude;
mod lines;
mod renames;
mod sides;

use gix::ObjectId;
use gix::bstr::BString;
use gix::objs::tree::EntryKind;

use super::tree::Fail;
use super::{GitError, Repo};
use crate::guardrail::{File, Status};

/// What a change leads to.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// The files on disk, and what is staged besides.
    WorkTree,
    /// What the next commit would hold.
    Staged,
    /// A commit or a tree, in hex.
    Commit(&'a str),
}

/// What to leave out, and how far to look.
#[derive(Clone, Debug, Default)]
pub struct DiffRule {
    /// Pathspecs of git, from the root, for files that are listed and not counted.
    pub ignore: Vec<String>,
    /// Attributes for the same. The base decides which files have them.
    pub ignore_attributes: Vec<String>,
    /// Whether renames are found, as git finds them.
    pub renames: bool,
    /// Whether lines are counted.
    pub lines: bool,
}

/// One of the two states of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Side {
    kind: EntryKind,
    id: ObjectId,
}

/// The later state of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Now {
    Gone,
    /// An object.
    Object(Side),
    /// What is on disk; `tracked` is its entry in the index.
    Disk {
        tracked: Option<usize>,
        link: bool,
    },
}

/// Whether lines of a file can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AsText {
    ByContent,
    Always,
    Never,
}

/// A path that may differ.
#[derive(Clone, Debug)]
struct Pair {
    path: BString,
    /// The name before a rename.
    from: Option<BString>,
    old: Option<Side>,
    now: Now,
    /// What is staged, if that is something else than what is on disk.
    staged: Option<Now>,
    untracked: bool,
    excluded: Option<String>,
    /// What is special about it, for whoever reads the answer.
    special: Option<&'static str>,
    /// What the attribute `diff` says.
    as_text: AsText,
    unmeasured: Option<String>,
}

impl Pair {
    fn new(path: BString, old: Option<Side>, now: Now) -> Self {
        Self {
            path,
            from: None,
            old,
            now,
            staged: None,
            untracked: false,
            excluded: None,
            special: None,
            as_text: AsText::ByContent,
            unmeasured: None,
        }
    }

    fn status(&self) -> Status {
        match (&self.from, &self.old, self.now) {
            (Some(_), _, _) => Status::Renamed,
            (_, None, _) => Status::Added,
            (_, Some(_), Now::Gone) => Status::Deleted,
            _ => Status::Modified,
        }
    }

    fn file(self) -> File {
        let status = self.status();
        File {
            from: self.from.as_ref().map(|path| shown(path)),
            kind: self.special.map(str::to_owned),
            untracked: self.untracked,
            excluded: self.excluded,
            unmeasured: self.unmeasured,
            ..File::new(shown(&self.path), status)
        }
    }
}

/// Returns a path as text; bytes that are none are shown as `\xFF`, so that two paths stay two.
pub(super) fn shown(path: &[u8]) -> String {
    path.utf8_chunks().fold(String::new(), |mut text, chunk| {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02X}")));
        text
    })
}

impl Repo {
    /// Returns the files that differ between the commit `base`, or nothing at all, and `target`.
    pub fn diff(
        &self,
        base: Option<&str>,
        target: Target<'_>,
        rule: &DiffRule,
    ) -> Result<Vec<File>, GitError> {
        let in_process = match self.in_process() {
            Some(repo) => self.diff_in_process(&repo, base, target, rule),
            None => Err(Fail::NeedsGit),
        };
        let mut files = match in_process {
            Ok(files) => files,
            Err(Fail::NeedsGit) => by_git::diff(self, base, target, rule)?,
            Err(Fail::Error(error)) => return Err(error),
        };
        files.sort_by(|a, b| (&a.path, a.untracked).cmp(&(&b.path, b.untracked)));
        Ok(files)
    }

    fn diff_in_process(
        &self,
        repo: &gix::Repository,
        base: Option<&str>,
        target: Target<'_>,
        rule: &DiffRule,
    ) -> Result<Vec<File>, Fail> {
        let tree_of = |commit: &str| -> Result<ObjectId, Fail> {
            let id = ObjectId::from_hex(commit.as_bytes()).map_err(|_| Fail::NeedsGit)?;
            let object = repo.find_object(id).map_err(|_| Fail::NeedsGit)?;
            // What is about to be committed is a tree.
            Ok(object.peel_to_tree().map_err(|_| Fail::NeedsGit)?.id)
        };
        let old = base.map(tree_of).transpose()?;
        let index = match target {
            Target::Commit(_) => gix::index::State::new(repo.object_hash()),
            _ => self.index(repo)?,
        };
        if let Target::Staged = target {
            let conflicts = index.entries().iter().filter(|entry| entry.stage_raw() != 0);
            let conflicts = GitError::of_conflicts(conflicts.map(|entry| entry.path(&index).as_ref()));
            conflicts.map_or(Ok(()), |error| Err(Fail::Error(error)))?;
        }
        let (mut pairs, attributes) = match target {
            Target::WorkTree => sides::work_tree(self, repo, old, &index)?,
            Target::Staged => (sides::staged(repo, old, &index)?, true),
            Target::Commit(commit) => (sides::trees(repo, old, Some(tree_of(commit)?))?, true),
        };
        exclude::mark(repo, old, &index, target, rule, &mut pairs)?;
        if rule.renames {
            renames::pair(self, base, target, &mut pairs)?;
        }
        lines::count(self, repo, &index, attributes, pairs, rule)
    }

    /// Says about a partial clone what git's own words hide.
    pub fn explain(&self, error: GitError) -> GitError {
        let GitError::Program { stderr, .. } = &error else { return error };
        let missing = [
            "missing",
            "unable to read",
            "could not fetch",
            "lazy fetching disabled",
            "bad object",
            "not a tree object",
        ];
        let partial =
            self.git().args(["config", "--get-regexp", r"^(remote\..*\.promisor|extensions\.partialclone)$"]);
        match partial.run_expecting(&[0, 1]) {
            Ok((0, _)) if missing.iter().any(|word| stderr.contains(word)) => {
                // A warning that nothing is fetched may come first.
                let lines = || stderr.lines().filter(|line| !line.is_empty());
                let told = lines().find(|line| !line.starts_with("warning:")).or(lines().next());
                GitError::MissingObjects { said: told.unwrap_or_default().to_owned() }
            }
            _ => error,
        }
    }
}

/// What git alone says, for tests that hold the two ways together.
#[cfg(test)]
pub(super) fn by_git_for_tests(
    repo: &Repo,
    base: Option<&str>,
    target: Target<'_>,
    rule: &DiffRule,
) -> Result<Vec<File>, GitError> {
    let mut files = by_git::diff(repo, base, target, rule)?;
    files.sort_by(|a, b| (&a.path, a.untracked).cmp(&(&b.path, b.untracked)));
    Ok(files)
}
