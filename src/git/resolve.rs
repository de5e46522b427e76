//! What a revision names.

use super::{GitError, Repo};
use crate::git::program::Git;

impl Repo {
    /// Returns the commit, in hex, that a revision such as `HEAD~1` names; nothing if it names none.
    pub fn resolve(&self, revision: &str) -> Result<Option<String>, GitError> {
        let words = ["rev-parse", "--verify", "--quiet", "--end-of-options"];
        let commit = format!("{revision}^{{commit}}");
        let git = Git::new(self.work_tree()).args(words).args([commit]);
        match git.line() {
            Ok(line) => Ok(Some(line)),
            Err(GitError::Program { .. }) => Ok(None),
            Err(err) => Err(err),
        }
    }
}
