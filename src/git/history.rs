//! Commits: those of a range, and those between a good one and a bad one.

use std::path::Path;

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

    /// Returns the commits that `tip` has and no ref below any of `prefixes` and none of `known`, oldest first.
    pub fn commits_beyond(
        &self,
        tip: &str,
        prefixes: &[String],
        known: &[String],
    ) -> Result<Vec<Commit>, GitError> {
        let globs = prefixes.iter().map(|prefix| format!("--glob={prefix}*"));
        let known = known.iter().map(|id| format!("^{id}"));
        let words: Vec<_> = [tip.to_owned(), "--not".to_owned()].into_iter().chain(globs).collect();
        let words: Vec<_> = words.into_iter().chain(["--not".to_owned()]).chain(known).collect();
        self.list(&["--reverse"], &words)
    }

    /// Whether a file was ever there at a commit or before it.
    pub fn ever_had(&self, commit: &str, path: impl AsRef<Path>) -> Result<bool, GitError> {
        let words = ["rev-list", "--max-count=1", "--full-history", commit, "--"];
        Ok(!self.git().args(words).args([path.as_ref()]).line()?.is_empty())
    }

    /// Returns the commits of a branch, which names `tip`, since a moment (in seconds since 1970), oldest first, and
    /// whether it is known when they came here: else they are told by their dates, which whoever makes a commit chooses.
    pub fn arrived(
        &self,
        reference: &str,
        tip: &str,
        since: i64,
        first_parent: bool,
    ) -> Result<(Vec<Commit>, bool), GitError> {
        let mut options = vec!["--reverse"];
        options.extend(first_parent.then_some("--first-parent"));
        if let Some(before) = self.tip_at(reference, since)? {
            let words = [tip.to_owned(), format!("^{before}")];
            return Ok((self.list(&options, &words)?, true));
        }
        // A commit with an old date must not hide those before it. git takes a smaller number for something else.
        let since = (since >= 100_000_000).then(|| format!("--since-as-filter={since}"));
        options.extend(since.as_deref());
        Ok((self.list(&options, &[tip.to_owned()])?, false))
    }

    /// Returns what a ref named at a moment, if its log goes back that far.
    fn tip_at(&self, reference: &str, at: i64) -> Result<Option<String>, GitError> {
        let words = ["reflog", "show", "--format=%H %gd", "--date=unix", "--end-of-options", reference, "--"];
        let Ok((0, listed)) = self.git().args(words).run_expecting(&[0, 128]) else { return Ok(None) };
        let text = String::from_utf8_lossy(&listed);
        let entry = |line: &str| {
            let (id, name) = line.split_once(' ')?;
            let when: i64 = name.rsplit_once("@{")?.1.strip_suffix('}')?.parse().ok()?;
            (when <= at).then(|| id.to_owned())
        };
        // Newest first.
        Ok(text.lines().find_map(entry))
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
        let options: Vec<_> = options.iter().copied().chain(["--end-of-options"]).collect();
        self.list(&options, &[range.to_owned()])
    }

    fn list(&self, options: &[&str], words: &[String]) -> Result<Vec<Commit>, GitError> {
        let git = self.git().args(["rev-list", "--no-commit-header", "--format=%H %T %s"]).args(options);
        let listed = git.args(words).args(["--"]).run()?;
        let commit = |line: &[u8]| {
            let line = String::from_utf8_lossy(line);
            let mut words = line.splitn(3, ' ');
            let (id, tree) = (words.next()?.to_owned(), words.next()?.to_owned());
            Some(Commit { id, tree, subject: words.next().unwrap_or_default().to_owned() })
        };
        Ok(listed.split(|byte| *byte == b'\n').filter_map(commit).collect())
    }
}
