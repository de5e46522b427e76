//! What is about to be pushed, and the branches of remotes that it may be compared with.

use gix::bstr::ByteSlice;

use super::{Commit, GitError, Repo};

/// What an object id names, through tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    Commit(Commit),
    /// A tag of something that is no commit.
    Other,
    /// It is not in this repository.
    Missing,
}

/// A branch of a remote as it was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name, such as `origin/main`.
    pub label: String,
    /// The commit in hex.
    pub commit: String,
}

impl Repo {
    /// Returns the commit that an object id in hex stands for.
    pub fn pushed(&self, id: &str) -> Result<Pushed, GitError> {
        if let Some(repo) = self.in_process()
            && let Ok(id) = gix::ObjectId::from_hex(id.as_bytes())
            && let Ok(Some(object)) = repo.try_find_object(id)
        {
            let Ok(commit) = object.peel_to_commit() else { return Ok(Pushed::Other) };
            let tree = commit.tree_id().map_err(|err| GitError::unsupported(&self.git_dir, err))?;
            let message = commit.message_raw_sloppy();
            let subject = message.lines().next().unwrap_or_default().to_str_lossy().into_owned();
            return Ok(Pushed::Commit(Commit { id: commit.id.to_string(), tree: tree.to_string(), subject }));
        }
        let hex = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !hex || self.git().args(["cat-file", "-e", id]).run_expecting(&[0, 1, 128])?.0 != 0 {
            return Ok(Pushed::Missing);
        }
        match self.commit_named(id)? {
            Some(commit) => Ok(self.commit(&commit)?.map_or(Pushed::Other, Pushed::Commit)),
            None => Ok(Pushed::Other),
        }
    }

    /// Returns the object, in hex, that something names that can be pushed; a tag is an object of its own.
    pub fn object_named(&self, name: &str) -> Result<Option<String>, GitError> {
        let git = self.git().args(["rev-parse", "--verify", "--quiet", "--end-of-options", name]);
        let (code, line) = git.run_expecting(&[0, 1, 128])?;
        Ok((code == 0).then(|| String::from_utf8_lossy(&line).trim_end().to_owned()))
    }

    /// Returns a branch of a remote as it was seen last.
    pub fn branch_of_remote(&self, remote: &str, branch: &str) -> Result<Option<Named>, GitError> {
        self.named(&format!("refs/remotes/{remote}/{branch}"))
    }

    /// Returns the branch that a remote's own `HEAD` names, or else its `main` or `master`.
    pub fn default_branch_of(&self, remote: &str) -> Result<Option<Named>, GitError> {
        for branch in ["HEAD", "main", "master"] {
            if let Some(found) = self.branch_of_remote(remote, branch)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn named(&self, full: &str) -> Result<Option<Named>, GitError> {
        let short = |full: &str| full.strip_prefix("refs/remotes/").unwrap_or(full).to_owned();
        if let Some(repo) = self.in_process().filter(|_| self.refs_in_files) {
            // A name that no ref can have, such as a URL, names none.
            let Ok(Some(found)) = repo.try_find_reference(full) else { return Ok(None) };
            let target = found.target().try_name().map(|name| name.as_bstr().to_string());
            let label = short(target.as_deref().unwrap_or(full));
            let Ok(id) = found.into_fully_peeled_id() else { return Ok(None) };
            return Ok(Some(Named { label, commit: id.to_string() }));
        }
        let (code, line) = self.git().args(["symbolic-ref", "--quiet", full]).run_expecting(&[0, 1, 128])?;
        let target = (code == 0).then(|| String::from_utf8_lossy(&line).trim_end().to_owned());
        let words = ["rev-parse", "--verify", "--quiet", "--end-of-options"];
        let asked = self.git().args(words).args([format!("{full}^{{commit}}")]);
        let (code, line) = asked.run_expecting(&[0, 1, 128])?;
        let commit = String::from_utf8_lossy(&line).trim_end().to_owned();
        let label = short(target.as_deref().unwrap_or(full));
        Ok((code == 0).then_some(Named { label, commit }))
    }

    /// Returns the names of the files directly in a folder of a commit, if there is such a folder.
    pub fn folder_at(&self, commit: &str, folder: &str) -> Result<Vec<String>, GitError> {
        let folder = folder.trim_end_matches('/');
        if let Some(repo) = self.in_process()
            && let Ok(id) = gix::ObjectId::from_hex(commit.as_bytes())
            && let Ok(tree) = repo.find_commit(id).and_then(|commit| commit.tree())
            && let Ok(found) = tree.lookup_entry_by_path(folder)
        {
            let Some(entry) = found.filter(|entry| entry.mode().is_tree()) else { return Ok(Vec::new()) };
            if let Ok(tree) = entry.object().map(gix::Object::into_tree) {
                let files = tree.iter().filter_map(Result::ok).filter(|entry| entry.mode().is_blob());
                return Ok(files.map(|entry| entry.filename().to_string()).collect());
            }
        }
        let place = format!("{folder}/");
        let listed = self.git().args(["ls-tree", "-z", commit, "--", &place]).run()?;
        let name = |line: &[u8]| {
            let (facts, path) = line.split_once_str("\t")?;
            let is_file = facts.starts_with(b"100");
            is_file
                .then(|| path.rsplit_once_str("/").map_or(path, |(_, name)| name).to_str_lossy().into_owned())
        };
        Ok(listed.split(|byte| *byte == 0).filter_map(name).collect())
    }
}
