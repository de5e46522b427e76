//! The tree by the git program, into a temporary index and object database: slower, and right
//! where gix cannot read the repository.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use gix::bstr::{BString, ByteSlice};

use super::super::error::At;
use super::super::program::Git;
use super::super::{GitError, Repo};
use super::Found;
use super::content::on_disk;

/// Asks git for the tree of the work tree.
pub(super) fn tree(repo: &Repo, inputs: &[Vec<String>]) -> Result<Found, GitError> {
    let scratch = Scratch::new(repo)?;
    let git = || scratch.git(repo);
    let code = scratch.add_all(repo)?;
    let mut found = Found::default();
    if code != 0 {
        left_out(repo, git(), &mut found)?;
    }
    found.tree = git().args(["write-tree", "--missing-ok"]).line()?;
    let listed = git().args(["ls-files", "--stage", "-z"]).run()?;
    found.inputs = super::super::inputs::of_lines(&listed, inputs)?;
    for line in listed.split(|byte| *byte == 0) {
        let Some((head, path)) = line.split_once_str("\t") else { continue };
        let path = BString::from(path);
        let is_there = on_disk(&repo.work_tree, path.as_bstr()).join(".git").exists();
        if head.starts_with(b"160000 ") && is_there {
            found.nested.push((path, false));
        }
    }
    // Whoever was in the index before is registered: its filters may run.
    let known = repo.git().args(["ls-files", "--stage", "-v", "-z"]).run()?;
    for (path, registered) in &mut found.nested {
        *registered = known.split(|byte| *byte == 0).any(|line| {
            // A letter and a blank come before the mode.
            line.split_once_str("\t").is_some_and(|(head, known)| {
                head.get(2..).is_some_and(|head| head.starts_with(b"160000 ")) && known == path.as_slice()
            })
        });
    }
    found.hidden = hidden(repo, &known)?;
    Ok(found)
}

/// Returns the files that git was told to take for unchanged or for not checked out, and that are not what the index
/// says; `known` is how `git ls-files --stage -v -z` prints that.
fn hidden(repo: &Repo, known: &[u8]) -> Result<Vec<BString>, GitError> {
    let mut marked = BTreeSet::new();
    for line in known.split(|byte| *byte == 0) {
        let Some((head, path)) = line.split_once_str("\t") else { continue };
        if head.first().is_some_and(|tag| tag.is_ascii_lowercase() || *tag == b'S') {
            let skipped = head.first().is_some_and(|tag| tag.eq_ignore_ascii_case(&b'S'));
            marked.insert((BString::from(path), skipped));
        }
    }
    if marked.iter().any(|(_, skipped)| *skipped) && repo.is_sparse()? {
        let is_there = |path: &BString| on_disk(&repo.work_tree, path.as_bstr()).symlink_metadata().is_ok();
        marked.retain(|(path, skipped)| !skipped || is_there(path));
    }
    if marked.is_empty() {
        return Ok(Vec::new());
    }
    let scratch = Scratch::new(repo)?;
    let mut names = Vec::new();
    for (path, _) in &marked {
        names.extend_from_slice(path);
        names.push(0);
    }
    for word in ["--no-assume-unchanged", "--no-skip-worktree"] {
        scratch.git(repo).args(["update-index", word, "-z", "--stdin"]).given(&names)?.run()?;
    }
    scratch.git(repo).args(["update-index", "-q", "--refresh"]).run_expecting(&[0, 1])?;
    let listed = scratch.git(repo).args(["diff-files", "--name-only", "--no-renames", "-z"]).run()?;
    let changed: BTreeSet<&[u8]> = listed.split(|byte| *byte == 0).collect();
    Ok(marked.into_iter().map(|(path, _)| path).filter(|path| changed.contains(path.as_slice())).collect())
}

/// Lets git read a sparse index as a whole one: there are versions of git that crash when they have to expand it while
/// they add a file in a folder that it names by its tree.
pub(in crate::git) const EXPANDED: [&str; 2] = ["-c", "index.sparse=false"];

/// An index of our own, and a place for new objects, which go away with it.
pub(in crate::git) struct Scratch {
    _temp: tempfile::TempDir,
    index: PathBuf,
    objects: PathBuf,
}

impl Scratch {
    /// Begins with a copy of the index.
    fn new(repo: &Repo) -> Result<Self, GitError> {
        Self::of(copy_of_index(repo)?)
    }

    /// Begins with an index in a folder that goes away.
    pub fn of((temp, index): (tempfile::TempDir, PathBuf)) -> Result<Self, GitError> {
        let objects = temp.path().join("objects");
        fs::create_dir(&objects).at(&objects)?;
        Ok(Self { _temp: temp, index, objects })
    }

    /// Returns git, working on the index.
    pub fn git(&self, repo: &Repo) -> Git {
        self.lend(repo, repo.git())
    }

    /// Lets a call of git work on the index.
    pub fn lend(&self, repo: &Repo, git: Git) -> Git {
        // A split index would leave its shared part in the repository.
        git.env("GIT_INDEX_FILE", &self.index)
            .env("GIT_OBJECT_DIRECTORY", &self.objects)
            .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", quoted(&repo.objects()))
            .args(["-c", "core.splitIndex=false", "-c", "advice.addEmbeddedRepo=false"])
            .args(EXPANDED)
    }

    /// Adds what is in the work tree. Returns git's exit code: 1 if it could not take all of it.
    fn add_all(&self, repo: &Repo) -> Result<i32, GitError> {
        // Files that a sparse checkout should not have are there all the same, and count.
        let added = self.git(repo).args(["add", "--all", "--sparse", "--ignore-errors"]);
        Ok(added.run_expecting(&[0, 1])?.0)
    }
}

/// Returns what differs between a stored tree and the work tree, as `--name-status -z` has it.
pub(in crate::git) fn compare(repo: &Repo, tree: &str, specs: &[String]) -> Result<Vec<u8>, GitError> {
    let scratch = Scratch::new(repo)?;
    scratch.add_all(repo)?;
    let words = ["diff-index", "--cached", "-r", "-M", "--name-status", "-z", tree, "--"];
    scratch.git(repo).args(words).args(specs).run()
}

/// Copies the index into a folder that goes away with the first of what is returned.
pub(in crate::git) fn copy_of_index(repo: &Repo) -> Result<(tempfile::TempDir, PathBuf), GitError> {
    copy_of(&repo.git_dir.join("index"))
}

/// Copies an index into a folder that goes away with the first of what is returned.
pub(in crate::git) fn copy_of(own: &Path) -> Result<(tempfile::TempDir, PathBuf), GitError> {
    let temp = tempfile::tempdir().at(&std::env::temp_dir())?;
    let index = temp.path().join("index");
    match fs::copy(own, &index) {
        Ok(_) => keep_age(own, &index)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).at(own),
    }
    Ok((temp, index))
}

/// Gives the copy the age of the index, which decides what git takes for racy.
fn keep_age(own: &Path, copy: &Path) -> Result<(), GitError> {
    let modified = fs::metadata(own).and_then(|metadata| metadata.modified()).at(own)?;
    let file = fs::File::options().write(true).open(copy).at(copy)?;
    file.set_modified(modified).at(copy)
}

/// Notes what `git add` could not take: untracked things are listed, a tracked file is an error.
fn left_out(repo: &Repo, git: Git, found: &mut Found) -> Result<(), GitError> {
    let words = ["ls-files", "-z", "-t", "--modified", "--others", "--exclude-standard"];
    for line in git.args(words).run()?.split(|byte| *byte == 0) {
        let Some((tag, path)) = line.split_once_str(" ") else { continue };
        let path = path.strip_suffix(b"/").unwrap_or(path);
        if tag == b"?" {
            found.unreadable.push(path.into());
        } else {
            let path = on_disk(&repo.work_tree, path.as_bstr());
            let source = io::Error::other("git could not add it");
            return Err(GitError::UnreadableFile { path, source });
        }
    }
    Ok(())
}

/// Quotes a path as git reads them in a list separated by colons.
pub(in crate::git) fn quoted(path: &Path) -> std::ffi::OsString {
    let mut bytes = vec![b'"'];
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'"' | b'\\' => bytes.extend([b'\\', *byte]),
            b'\n' => bytes.extend(b"\\n"),
            _ => bytes.push(*byte),
        }
    }
    bytes.push(b'"');
    std::ffi::OsString::from_vec(bytes)
}
