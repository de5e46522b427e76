//! Which texts of a kind the files and the notes of a repository hold.

use std::path::Path;

use super::program::Git;
use super::{GitError, NOTES, Repo};

/// A text, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    pub text: String,
    /// A path, or the name of a ref and a path.
    pub place: String,
}

impl Repo {
    /// Returns every text that fits one of `patterns` (extended regular expressions) in the files of
    /// a work tree that git does not ignore, but for those below the folders `but`.
    pub fn mentions_in_files(
        &self,
        top: &Path,
        patterns: &[String],
        but: &[String],
    ) -> Result<Vec<Mention>, GitError> {
        let mut words = vec!["--untracked".to_owned()];
        words.extend(patterns_as_words(patterns));
        words.extend(["--".to_owned(), ".".to_owned()]);
        words.extend(but.iter().map(|path| format!(":(exclude,literal){path}")));
        // Another work tree, which may lie in ours, knows its own git directory.
        let mut between = top.ancestors().take_while(|folder| *folder != self.work_tree);
        let is_ours = top.starts_with(&self.work_tree) && !between.any(|it| it.join(".git").exists());
        let git = match is_ours {
            true => Git::new(top).repository(&self.git_dir, &self.work_tree),
            false => Git::new(top),
        };
        grep(git, words)
    }

    /// Returns every text that fits one of `patterns` in the notes of all writers.
    pub fn mentions_in_notes(&self, patterns: &[String]) -> Result<Vec<Mention>, GitError> {
        let refs = self.refs_below(NOTES)?;
        if refs.is_empty() {
            return Ok(Vec::new());
        }
        let mut words: Vec<_> = patterns_as_words(patterns).collect();
        words.extend(refs.into_iter().map(|of| of.name));
        words.push("--".to_owned());
        grep(self.git(), words)
    }
}

fn patterns_as_words(patterns: &[String]) -> impl Iterator<Item = String> {
    patterns.iter().flat_map(|pattern| ["-e".to_owned(), pattern.clone()])
}

fn grep(git: Git, words: Vec<String>) -> Result<Vec<Mention>, GitError> {
    let git = git.args(["grep", "-a", "-z", "-o", "-E", "--full-name", "--no-color"]).args(words);
    // 1 says that there is none.
    let (_, stdout) = git.run_expecting(&[0, 1])?;
    let lines = stdout.split(|byte| *byte == b'\n').filter_map(|line| {
        let end = line.iter().position(|byte| *byte == 0)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(Mention { place: text(&line[..end]), text: text(&line[end + 1..]) })
    });
    Ok(lines.collect())
}
