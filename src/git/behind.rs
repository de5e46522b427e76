//! What is behind the symbolic links of a commit, without checking it out.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use gix::bstr::ByteSlice;

use super::{GitError, Repo};

impl Repo {
    /// Returns the content of a file in a commit or tree, which is named in hex, also where links of that tree lead to
    /// it; nothing if there is no such file, and an error where a link leads to none.
    pub fn file_behind(&self, of: &str, path: impl AsRef<Path>) -> Result<Option<Vec<u8>>, GitError> {
        let path = path.as_ref();
        match self.file_at(of, path)? {
            Some(content) => Ok(Some(content)),
            None if self.meets_link(of, path)? => self.follow(of, path).map(Some),
            None => Ok(None),
        }
    }

    /// Whether the path, or a folder on the way to it, is a link.
    fn meets_link(&self, of: &str, path: &Path) -> Result<bool, GitError> {
        let parts = || path.ancestors().filter(|part| !part.as_os_str().is_empty());
        if let Some(repo) = self.in_process()
            && let Ok(id) = gix::ObjectId::from_hex(of.as_bytes())
            && let Ok(object) = repo.find_object(id)
            && let Ok(tree) = object.peel_to_tree()
            && let Ok(entries) =
                parts().map(|part| tree.lookup_entry_by_path(part)).collect::<Result<Vec<_>, _>>()
        {
            return Ok(entries.into_iter().flatten().any(|entry| entry.mode().is_link()));
        }
        let git = self.git().env("GIT_LITERAL_PATHSPECS", "1").args(["ls-tree", "-z", of, "--"]);
        Ok(git.args(parts()).run()?.split(|byte| *byte == 0).any(|line| line.starts_with(b"120000 ")))
    }

    /// Lets git follow the links, which ends where they lead out of the tree.
    fn follow(&self, of: &str, path: &Path) -> Result<Vec<u8>, GitError> {
        let bytes = path.as_os_str().as_bytes();
        let git = self.git().args(["cat-file", "--batch", "--follow-symlinks"]);
        // Older versions of git do not know that, and few names need it.
        let (git, end) = if bytes.contains(&b'\n') { (git.args(["-z"]), b"\0") } else { (git, b"\n") };
        let answer = git.given(&[of.as_bytes(), b":", bytes, end].concat())?.run()?;
        let (head, rest) = answer.split_once_str("\n").unwrap_or((&answer, b""));
        let words: Vec<_> = head.split_str(" ").collect();
        let why = match words.as_slice() {
            [_, b"blob", size] => {
                let size = size.to_str().ok().and_then(|size| size.parse().ok());
                match size.and_then(|size: usize| rest.get(..size)) {
                    Some(content) => return Ok(content.to_vec()),
                    None => "leads to a file that cannot be read".to_owned(),
                }
            }
            [b"symlink", _] => {
                format!("leads out of the repository, to `{}`", rest.trim_end().escape_ascii())
            }
            [b"loop", _] => "leads to itself".to_owned(),
            _ => "leads to no file of the same commit".to_owned(),
        };
        Err(GitError::DeadLink { of: of.to_owned(), path: path.to_owned(), why })
    }
}
