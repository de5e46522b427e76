//! Merges that are only tried: many at once, and what comes of them is thrown away.

use std::path::Path;

use super::merged::own_names;
use super::tree::by_git::quoted;
use super::{GitError, Repo};

/// The files in which two commits cannot be merged; why nobody can tell, if git would not try.
pub type Tried = Result<Vec<String>, String>;

impl Repo {
    /// Tries to merge pairs of commits. What git writes for that goes into a folder of its own, and with it.
    pub fn try_merges(&self, pairs: &[(String, String)]) -> Result<Vec<Tried>, GitError> {
        let objects = self.aside("probe-")?;
        if let Ok(all) = self.try_together(pairs, objects.path()) {
            return Ok(all);
        }
        // One that git does not even try ends it for all that are behind it.
        let one =
            |pair: &(String, String)| match self.try_together(std::slice::from_ref(pair), objects.path()) {
                Ok(mut tried) => Ok(tried.pop().unwrap_or_else(|| Err("git said nothing".to_owned()))),
                Err(GitError::Program { stderr, .. }) => Ok(Err(stderr)),
                Err(err) => Err(err),
            };
        pairs.iter().map(one).collect()
    }

    fn try_together(&self, pairs: &[(String, String)], objects: &Path) -> Result<Vec<Tried>, GitError> {
        let lines: String = pairs.iter().map(|(one, other)| format!("{one} {other}\n")).collect();
        let words = ["merge-tree", "--write-tree", "--stdin", "-z", "--name-only", "--no-messages"];
        let git = self.git().env("GIT_OBJECT_DIRECTORY", objects);
        let git = git.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", quoted(&self.common_dir.join("objects")));
        let said = git.args(words).given(lines.as_bytes())?.run()?;
        let mut parts = said.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
        let mut tried = Vec::new();
        while let Some(status) = parts.next().filter(|status| !status.is_empty()) {
            let _tree = parts.next();
            let paths = parts.by_ref().take_while(|path| !path.is_empty());
            let paths = match pairs.get(tried.len()) {
                Some((one, other)) => own_names(paths, [one, other]),
                None => paths.collect(),
            };
            tried.push(match status.as_str() {
                "0" | "1" => Ok(paths),
                _ => Err("git could not merge them".to_owned()),
            });
        }
        match tried.len() == pairs.len() {
            true => Ok(tried),
            false => {
                Err(GitError::unsupported(&self.git_dir, "git tried other merges than it was asked for"))
            }
        }
    }
}
