//! Commits: those of a range, and those between a good one and a bad one.

use super::{GitError, Repo};

/// A commit, as far as a run is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its id in hex.
    pub id: String,
    /// Its tree in hex.
    pub tree: String,
    /// The first line of its message.
    pub subject: String,
}

impl Repo {
    /// Returns the commits of a range, oldest first, as `git rev-list --reverse` has them.
    pub fn commits(&self, range: &str) -> Result<Vec<Commit>, GitError> {
        self.rev_list(&["--reverse"], range)
    }

    /// Returns the commit that a revision names; nothing if it names none.
    pub fn commit(&self, revision: &str) -> Result<Option<Commit>, GitError> {
        match self.commit_named(revision)? {
            Some(id) => Ok(self.rev_list(&["--max-count=1"], &id)?.pop()),
            None => Ok(None),
        }
    }

    /// Returns the commits that `bad` has and none of `good`, in the order in which it pays to test
    /// them, as `git bisect` picks them.
    pub fn candidates(&self, bad: &str, good: &[String]) -> Result<Vec<String>, GitError> {
        let git = self.git().args(["rev-list", "--bisect-all", "--end-of-options", bad]);
        let listed = git.args(good.iter().map(|good| format!("^{good}"))).args(["--"]).run()?;
        let text = String::from_utf8_lossy(&listed);
        Ok(text.lines().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect())
    }

    fn rev_list(&self, options: &[&str], range: &str) -> Result<Vec<Commit>, GitError> {
        let words = ["rev-list", "--no-commit-header", "--format=%H %T %s"];
        let git = self.git().args(words).args(options);
        let listed = git.args(["--end-of-options", range, "--"]).run()?;
        let commit = |line: &[u8]| {
            let line = String::from_utf8_lossy(line);
            let mut words = line.splitn(3, ' ');
            let (id, tree) = (words.next()?.to_owned(), words.next()?.to_owned());
            Some(Commit { id, tree, subject: words.next().unwrap_or_default().to_owned() })
        };
        Ok(listed.split(|byte| *byte == b'\n').filter_map(commit).collect())
    }
}
