//! What a change is compared with: named bases, the branch it goes to, and where both began.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use gix::bstr::ByteSlice;

use super::{GitError, Repo};

/// What a change is compared with when nobody says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsualBase {
    /// Its name, such as `origin/main`; a commit in hex if it is a root.
    pub label: String,
    /// Where it was found: `upstream`, `origin` or `root`.
    pub found: &'static str,
    /// The commit in hex.
    pub commit: String,
}

/// A commit and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// In hex.
    pub id: String,
    pub parents: Vec<String>,
}

impl Repo {
    /// Returns the commit, in hex, that a revision names, through tags; nothing if it names none.
    pub fn commit_named(&self, revision: &str) -> Result<Option<String>, GitError> {
        if let Some(repo) = self.in_process().filter(|_| self.refs_in_files)
            && let Ok(id) = repo.rev_parse_single(format!("{revision}^{{commit}}").as_bytes().as_bstr())
        {
            return Ok(Some(id.to_string()));
        }
        // gix does not know every form of a revision.
        let git = self.git().args(["rev-parse", "--verify", "--quiet", "--end-of-options"]);
        match git.args([format!("{revision}^{{commit}}")]).run_expecting(&[0]) {
            Ok((_, line)) => Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned())),
            Err(GitError::Program { .. }) => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// Returns the commit that the branch's upstream, or else the branch of `origin/HEAD`, or else the
    /// history begins with. Nothing on an unborn branch without any of them.
    pub fn usual_base(&self) -> Result<Option<UsualBase>, GitError> {
        let head = self.head()?;
        if let Some(upstream) = head.branch.as_deref().map(|branch| self.upstream_of(branch)).transpose()?
            && let Some(full) = upstream
            && let Some(commit) = self.commit_named(&full)?
        {
            return Ok(Some(UsualBase { label: short(&full), found: "upstream", commit }));
        }
        if let Some(usual) = self.default_branch()? {
            return Ok(Some(usual));
        }
        let Some(head) = head.commit else { return Ok(None) };
        let commit = self.root_of(&head)?;
        Ok(Some(UsualBase { label: commit.clone(), found: "root", commit }))
    }

    /// Returns the branch that changes go to in the end: that of `origin/HEAD`, or what such a branch is called.
    pub fn default_branch(&self) -> Result<Option<UsualBase>, GitError> {
        let mut candidates =
            vec!["refs/remotes/origin/main".to_owned(), "refs/remotes/origin/master".to_owned()];
        let symbolic = self.git().args(["symbolic-ref", "--quiet", "refs/remotes/origin/HEAD"]);
        let has_origin = self.common_dir.join("refs/remotes/origin").exists()
            || self.common_dir.join("packed-refs").exists()
            || !self.refs_in_files;
        if has_origin && let (0, line) = symbolic.run_expecting(&[0, 1, 128])? {
            candidates.insert(0, String::from_utf8_lossy(&line).trim_end().to_owned());
        }
        for full in candidates.iter().filter(|_| has_origin) {
            if let Some(commit) = self.commit_named(full)? {
                return Ok(Some(UsualBase { label: short(full), found: "origin", commit }));
            }
        }
        Ok(None)
    }

    /// Returns the commit that the history of another begins with.
    pub fn root_of(&self, commit: &str) -> Result<String, GitError> {
        if self.is_shallow() {
            return Err(GitError::Shallow { what: "the history has no beginning here".to_owned() });
        }
        let roots = self.git().args(["rev-list", "--max-parents=0", commit]).line()?;
        Ok(roots.lines().last().unwrap_or(commit).to_owned())
    }

    /// Returns the full name of a branch's upstream.
    fn upstream_of(&self, branch: &str) -> Result<Option<String>, GitError> {
        if let Some(repo) = self.in_process()
            && let Ok(name) = gix::refs::FullName::try_from(branch)
        {
            let found = repo.branch_remote_tracking_ref_name(name.as_ref(), gix::remote::Direction::Fetch);
            match found {
                Some(Ok(full)) => return Ok(Some(full.as_bstr().to_string())),
                // It may follow another branch of the same repository.
                _ => {
                    let key = format!("branch.{}.merge", name.as_ref().shorten());
                    if repo.config_snapshot().string(key.as_str()).is_none() {
                        return Ok(None);
                    }
                }
            }
        }
        let short = branch.strip_prefix("refs/heads/").unwrap_or(branch);
        let words = ["rev-parse", "--verify", "--quiet", "--symbolic-full-name"];
        let asked = self.git().args(words).args([format!("{short}@{{upstream}}")]);
        let (code, line) = asked.run_expecting(&[0, 1, 128])?;
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        Ok((code == 0 && !line.is_empty()).then_some(line))
    }

    /// Returns the commit that both have in common and that is nearest to them.
    pub fn merge_base(&self, one: &str, other: &str) -> Result<Option<String>, GitError> {
        if one == other {
            return Ok(Some(one.to_owned()));
        }
        if !self.is_shallow()
            && let Some(repo) = self.in_process()
            && let (Ok(a), Ok(b)) =
                (gix::ObjectId::from_hex(one.as_bytes()), gix::ObjectId::from_hex(other.as_bytes()))
            && let Ok(base) = repo.merge_base(a, b)
        {
            return Ok(base.map(|base| base.to_string()));
        }
        let (code, line) = self.git().args(["merge-base", one, other]).run_expecting(&[0, 1])?;
        Ok((code == 0).then(|| String::from_utf8_lossy(&line).trim_end().to_owned()))
    }

    /// Whether history is cut off (`git clone --depth`).
    pub fn is_shallow(&self) -> bool {
        self.common_dir.join("shallow").metadata().is_ok_and(|file| file.len() > 0)
    }

    /// Returns the parents of a commit; an error if history is cut off there.
    pub fn parents(&self, commit: &str) -> Result<Vec<String>, GitError> {
        if self.is_shallow() {
            let boundary = std::fs::read_to_string(self.common_dir.join("shallow")).unwrap_or_default();
            if boundary.lines().any(|line| line == commit) {
                return Err(GitError::Shallow { what: format!("commit {commit} has no parent here") });
            }
        }
        if let Some(repo) = self.in_process()
            && let Ok(id) = gix::ObjectId::from_hex(commit.as_bytes())
            && let Ok(found) = repo.find_commit(id)
        {
            return Ok(found.parent_ids().map(|id| id.to_string()).collect());
        }
        let line = self.git().args(["rev-list", "--parents", "--max-count=1", commit]).line()?;
        Ok(line.split(' ').skip(1).map(str::to_owned).collect())
    }

    /// Returns the commits that `to` has and `from` has not, oldest first.
    pub fn commits_between(&self, from: &str, to: &str) -> Result<Vec<CommitInfo>, GitError> {
        if let Some(commits) = self.line_between(from, to) {
            return Ok(commits);
        }
        let words = ["rev-list", "--parents", "--topo-order", "--reverse"];
        let lines = self.git().args(words).args([format!("{from}..{to}")]).line()?;
        let commit = |line: &str| {
            let mut ids = line.split(' ').map(str::to_owned);
            Some(CommitInfo { id: ids.next()?, parents: ids.collect() })
        };
        Ok(lines.lines().filter_map(commit).collect())
    }

    /// Returns the commits between two, if one follows the other without a merge, as most that are pushed do.
    fn line_between(&self, from: &str, to: &str) -> Option<Vec<CommitInfo>> {
        /// More than this are for git, which is as fast then.
        const MOST: usize = 256;
        let repo = self.in_process().filter(|_| !self.is_shallow())?;
        let mut at = to.to_owned();
        let mut commits = Vec::new();
        while at != from {
            let commit = repo.find_commit(gix::ObjectId::from_hex(at.as_bytes()).ok()?).ok()?;
            let parents: Vec<_> = commit.parent_ids().map(|id| id.to_string()).collect();
            let [parent] = parents.as_slice() else { return None };
            let parent = parent.clone();
            commits.push(CommitInfo { id: at, parents });
            at = parent;
            if commits.len() > MOST {
                return None;
            }
        }
        commits.reverse();
        Some(commits)
    }

    /// Returns the content of a file in a commit or tree, which is named in hex; nothing if there is no such
    /// file.
    pub fn file_at(&self, of: &str, path: impl AsRef<Path>) -> Result<Option<Vec<u8>>, GitError> {
        let path = path.as_ref();
        if let Some(repo) = self.in_process()
            && let Ok(id) = gix::ObjectId::from_hex(of.as_bytes())
            && let Ok(object) = repo.find_object(id)
            && let Ok(tree) = object.peel_to_tree()
        {
            match tree.lookup_entry_by_path(path) {
                Ok(None) => return Ok(None),
                Ok(Some(entry)) if entry.mode().is_blob() => {
                    if let Ok(blob) = entry.object() {
                        return Ok(Some(blob.detach().data));
                    }
                }
                Ok(Some(_)) => return Ok(None),
                Err(_) => {}
            }
        }
        let bytes = path.as_os_str().as_bytes();
        let listed = self.git().args(["ls-tree", "-z", of, "--"]).args([path]).run()?;
        // Folders, submodules and links have other modes; with a slash behind it git lists what is in a folder.
        let entry = listed.strip_suffix(b"\0").filter(|entry| entry.starts_with(b"100"));
        if !entry.is_some_and(|entry| entry.ends_with(&[b"\t", bytes].concat())) {
            return Ok(None);
        }
        let name = OsString::from_vec([of.as_bytes(), b":", bytes].concat());
        self.git().args(["cat-file", "blob"]).args([name]).run().map(Some)
    }
}

/// The name as people type it.
fn short(full: &str) -> String {
    let name = full.strip_prefix("refs/remotes/").or_else(|| full.strip_prefix("refs/heads/"));
    name.unwrap_or(full).to_owned()
}
