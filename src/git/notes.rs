//! Notes below `refs/notes/orchestrate`: read in process, written as objects that are on disk before any ref names
//! them, and moved by git itself, which knows how each kind of repository stores its refs.

use std::collections::BTreeSet;
use std::fs::File;
use std::time::Duration;

use gix::ObjectId;
use gix::bstr::{BString, ByteSlice};
use gix::objs::{Commit, Tree, tree};

use super::error::At;
use super::program::Git;
use super::{GitError, Repo};
use crate::sys::fs::foreign_step;

/// So many files are open at a time to be synced: a process may not have many more.
const SYNCS_AT_ONCE: usize = 64;
/// Where the notes of all writers are.
pub const NOTES: &str = "refs/notes/orchestrate/";

/// What git is to have on disk when it says that a ref has moved.
const DURABLE: [&str; 2] = ["-c", "core.fsync=committed,loose-object,reference"];

/// A ref, and the commit that it names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ref {
    /// The full name.
    pub name: String,
    /// In hex.
    pub tip: String,
}

impl Ref {
    /// Returns the last part of the name.
    pub fn writer(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }
}

/// One note.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// What it is about, in hex.
    pub object: String,
    /// The blob with its text, in hex.
    pub blob: String,
}

/// The text of a note, or what is wrong with it.
pub type NoteText = Result<Vec<u8>, GitError>;

/// What a commit of notes changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What notes say now, by what they are about.
    pub notes: Vec<(String, Vec<u8>)>,
    /// The same, with the blob that is there already, in hex.
    pub kept: Vec<(String, String)>,
    /// Files that go along, by their path. Git keeps in a tree of notes whatever is none, wherever it moves notes to.
    pub files: Vec<(String, Vec<u8>)>,
    /// The same, with the blob that is there already, in hex.
    pub blobs: Vec<(String, String)>,
    /// What has no note any more.
    pub without_notes: Vec<String>,
    /// Files that go along no more.
    pub without_files: Vec<String>,
}

/// What an id names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    Tree,
    Commit {
        /// In hex.
        tree: String,
    },
    Other,
    /// It is not in this repository.
    Missing,
}

/// Who makes a commit, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    pub name: String,
    pub email: String,
    /// In seconds since 1970.
    pub at: i64,
}

impl Repo {
    /// Returns the refs below a prefix that ends with a slash, by name.
    pub fn refs_below(&self, prefix: &str) -> Result<Vec<Ref>, GitError> {
        if let Some(repo) = self.in_process().filter(|_| self.refs_in_files) {
            let failed = |error: &dyn std::fmt::Display| GitError::unsupported(&self.common_dir, error);
            let platform = repo.references().map_err(|err| failed(&err))?;
            let mut found = Vec::new();
            for item in platform.prefixed(prefix).map_err(|err| failed(&err))? {
                let item = item.map_err(|err| failed(&err))?;
                if let Some(id) = item.try_id() {
                    found.push(Ref { name: item.name().as_bstr().to_string(), tip: id.to_string() });
                }
            }
            return Ok(found);
        }
        let listed = self.git().args(["for-each-ref", "--format=%(objectname) %(refname)", prefix]).run()?;
        let text = String::from_utf8_lossy(&listed);
        let one = |line: &str| {
            let (tip, name) = line.split_once(' ')?;
            Some(Ref { name: name.to_owned(), tip: tip.to_owned() })
        };
        Ok(text.lines().filter_map(one).collect())
    }

    /// Returns the commit that a ref names, by its full name.
    pub fn tip(&self, name: &str) -> Result<Option<String>, GitError> {
        let folder = name.rfind('/').map_or(name, |at| &name[..=at]);
        Ok(self.refs_below(folder)?.into_iter().find(|found| found.name == name).map(|found| found.tip))
    }

    /// Returns the note about an object; nothing if there is none.
    pub fn note(&self, tip: &str, object: &str, limit: usize) -> Result<Option<Vec<u8>>, GitError> {
        let store = Store::of(self)?;
        match store.find(store.tree_of(tip)?, object)? {
            Some(blob) => store.text(blob, limit).map(Some),
            None => Ok(None),
        }
    }

    /// Returns the notes about any of some objects, with their texts or what is wrong with them.
    pub fn notes_about(
        &self,
        tip: &str,
        objects: &BTreeSet<String>,
        limit: usize,
    ) -> Result<Vec<(String, NoteText)>, GitError> {
        /// With more questions than this it pays to read all names once.
        const FEW: usize = 16;
        let store = Store::of(self)?;
        let root = store.tree_of(tip)?;
        let mut found = Vec::new();
        if objects.len() <= FEW {
            for object in objects {
                if let Some(blob) = store.find(root, object)? {
                    found.push((object.clone(), store.text(blob, limit)));
                }
            }
            return Ok(found);
        }
        let mut all = Vec::new();
        store.each(root, &mut String::new(), &mut all)?;
        for note in all.into_iter().filter(|note| objects.contains(&note.object)) {
            let text = store.text(store.id(&note.blob)?, limit);
            found.push((note.object, text));
        }
        Ok(found)
    }

    /// Returns the text of a note that is no larger than `limit`.
    pub fn note_text(&self, note: &Note, limit: usize) -> Result<Vec<u8>, GitError> {
        let store = Store::of(self)?;
        store.text(store.id(&note.blob)?, limit)
    }

    /// Returns all notes of a ref, by what they are about.
    pub fn notes(&self, tip: &str) -> Result<Vec<Note>, GitError> {
        let store = Store::of(self)?;
        let mut notes = Vec::new();
        store.each(store.tree_of(tip)?, &mut String::new(), &mut notes)?;
        notes.sort();
        Ok(notes)
    }

    /// Returns what an id in hex names.
    pub fn object(&self, id: &str) -> Result<Object, GitError> {
        let store = Store::of(self)?;
        let Ok(id) = store.id(id) else { return Ok(Object::Other) };
        let header = store.repo.try_find_header(id).map_err(|err| store.failed(&err))?;
        Ok(match header.map(|header| header.kind()) {
            None => Object::Missing,
            Some(gix::objs::Kind::Tree) => Object::Tree,
            Some(gix::objs::Kind::Commit) => {
                Object::Commit { tree: store.tree_of(&id.to_string())?.to_string() }
            }
            Some(_) => Object::Other,
        })
    }

    /// Returns the message of a commit, and its first parent.
    pub fn message(&self, commit: &str) -> Result<(String, Option<String>), GitError> {
        let store = Store::of(self)?;
        let found = store.repo.find_commit(store.id(commit)?).map_err(|err| store.failed(&err))?;
        let parent = found.parent_ids().next().map(|id| id.to_string());
        Ok((found.message_raw_sloppy().to_str_lossy().into_owned(), parent))
    }

    /// Makes a commit of notes out of `parents`, whose first one has what stays, and makes it survive a power
    /// cut. No ref names it yet.
    pub fn commit_notes(
        &self,
        parents: &[&str],
        changes: &Changes,
        author: &Author,
        message: &str,
    ) -> Result<String, GitError> {
        self.commit_notes_of(parents.first().copied(), parents, changes, author, message)
    }

    /// Like [`Repo::commit_notes`], with what stays of a commit that need not be a parent.
    pub fn commit_notes_of(
        &self,
        base: Option<&str>,
        parents: &[&str],
        changes: &Changes,
        author: &Author,
        message: &str,
    ) -> Result<String, GitError> {
        let mut store = Store::of(self)?;
        let mut root = base.map(|tip| store.tree_of(tip)).transpose()?;
        for (object, text) in &changes.notes {
            let blob = store.blob(text)?;
            root = Some(store.put(root, object, blob, 0)?);
        }
        for (object, blob) in &changes.kept {
            let blob = store.id(blob)?;
            root = Some(store.put(root, object, blob, 0)?);
        }
        for (path, bytes) in &changes.files {
            let blob = store.blob(bytes)?;
            root = store.put_file(root, path, Some(blob))?;
        }
        for (path, blob) in &changes.blobs {
            let blob = store.id(blob)?;
            root = store.put_file(root, path, Some(blob))?;
        }
        for object in &changes.without_notes {
            if let Some(path) = root.map(|root| store.place(root, object)).transpose()?.flatten() {
                root = store.put_file(root, &path, None)?;
            }
        }
        for path in &changes.without_files {
            root = store.put_file(root, path, None)?;
        }
        let tree = match root {
            Some(tree) => tree,
            None => store.write(Tree::empty())?,
        };
        let signature = gix::actor::Signature {
            name: author.name.as_str().into(),
            email: author.email.as_str().into(),
            time: gix::date::Time::new(author.at, 0),
        };
        let parents = parents.iter().map(|id| store.id(id)).collect::<Result<_, _>>()?;
        let commit = Commit {
            tree,
            parents,
            author: signature.clone(),
            committer: signature,
            encoding: None,
            message: message.into(),
            extra_headers: Vec::new(),
        };
        let id = store.write(&commit)?;
        store.sync()?;
        Ok(id.to_string())
    }

    /// Moves a ref from one commit to another, if it still names the first; says whether it did.
    pub fn move_ref(
        &self,
        name: &str,
        new: Option<&str>,
        old: Option<&str>,
        author: &Author,
    ) -> Result<bool, GitError> {
        foreign_step("ref").at(&self.common_dir)?;
        let zero = self.in_process().map_or(40, |repo| repo.object_hash().len_in_hex());
        let zero = "0".repeat(zero);
        let git = self
            .git()
            .env("GIT_COMMITTER_NAME", &author.name)
            .env("GIT_COMMITTER_EMAIL", &author.email)
            .args(DURABLE)
            .args(["update-ref", "--no-deref"]);
        let git = match new {
            Some(new) => git.args([name, new, old.unwrap_or(&zero)]),
            None => git.args(["-d", name, old.unwrap_or(&zero)]),
        };
        match git.run() {
            Ok(_) => Ok(true),
            // Somebody else was there first, or is at it; or what nobody named yet was collected as garbage.
            Err(GitError::Program { stderr, .. })
                if stderr.contains("cannot lock ref") || stderr.contains("nonexistent object") =>
            {
                tracing::debug!(name, stderr, "a ref was not moved");
                Ok(false)
            }
            Err(err) => Err(err),
        }
    }

    /// Whether a commit is in the history of another.
    pub fn is_ancestor(&self, older: &str, newer: &str) -> Result<bool, GitError> {
        if older == newer {
            return Ok(true);
        }
        let words = ["merge-base", "--is-ancestor", older, newer];
        Ok(self.git().args(words).run_expecting(&[0, 1])?.0 == 0)
    }

    /// Returns the names of the remotes.
    pub fn remotes(&self) -> Result<Vec<String>, GitError> {
        let listed = self.git().args(["remote"]).run()?;
        Ok(String::from_utf8_lossy(&listed).lines().map(str::to_owned).collect())
    }

    /// Gets all notes of a remote into refs below `into`, which then has those of this remote and no others.
    pub fn fetch_notes(&self, remote: &str, into: &str, limit: Duration) -> Result<(), GitError> {
        let words = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--prune", "--no-filter"];
        // Without `--refmap` git would move refs of the configuration too.
        let more =
            ["--refmap=", "--no-recurse-submodules", "--no-auto-maintenance", "--end-of-options", remote];
        let spec = format!("+{NOTES}*:{into}*");
        let git = self.git_of_caller().args(DURABLE).args(words).args(more).args([spec]);
        git.within(limit).run().map(drop)
    }

    /// Sends refs of notes to a remote, never over what it has. Returns what it refused, with its words.
    pub fn push_notes(
        &self,
        remote: &str,
        names: &[String],
        limit: Duration,
    ) -> Result<Vec<(String, String)>, GitError> {
        let words = ["push", "--quiet", "--porcelain", "--no-verify", "--no-follow-tags"];
        let more = ["--recurse-submodules=no", "--end-of-options", remote];
        let specs = names.iter().map(|name| format!("{name}:{name}"));
        let git = self.git_of_caller().args(words).args(more).args(specs);
        let (code, stdout) = git.within(limit).run_expecting(&[0, 1])?;
        let text = String::from_utf8_lossy(&stdout);
        let refused = text.lines().filter_map(|line| {
            let mut fields = line.strip_prefix("!\t")?.split('\t');
            let (_, name) = fields.next()?.split_once(':')?;
            Some((name.to_owned(), fields.next().unwrap_or_default().to_owned()))
        });
        let refused: Vec<_> = refused.collect();
        if code != 0 && refused.is_empty() {
            let stderr = "the remote did not say what became of the notes".to_owned();
            return Err(GitError::Program {
                command: "push".to_owned(),
                dir: self.work_tree.clone(),
                stderr,
            });
        }
        Ok(refused)
    }

    /// Adds values to a key of the repository's configuration that has them not; says which were added.
    pub fn add_settings(&self, key: &str, values: &[String]) -> Result<Vec<String>, GitError> {
        let (_, listed) = self.git().args(["config", "--null", "--get-all", key]).run_expecting(&[0, 1])?;
        let listed = String::from_utf8_lossy(&listed).into_owned();
        let known: Vec<_> = listed.split('\0').collect();
        let mut added = Vec::new();
        for value in values.iter().filter(|value| !known.contains(&value.as_str())) {
            self.git().args(["config", "--local", "--add", key, value]).run()?;
            added.push(value.clone());
        }
        Ok(added)
    }

    /// Prepares a call of git that may use what the caller's environment says of the configuration.
    pub(super) fn git_of_caller(&self) -> Git {
        Git::with_configuration_of_caller(&self.work_tree).repository(&self.git_dir, &self.work_tree)
    }
}

impl Repo {
    /// Returns who writes, as git would name them in a commit.
    pub fn author(&self, at: i64) -> Result<Author, GitError> {
        let of = |variable: &str, keys: [&str; 2]| -> Result<Option<String>, GitError> {
            let named = std::env::var(variable).ok();
            let named = named.map_or_else(|| self.setting(keys[0]), |named| Ok(Some(named)))?;
            let named = named.map_or_else(|| self.setting(keys[1]), |named| Ok(Some(named)))?;
            // These would end the field of a commit.
            let plain = named.map(|text| text.replace(['<', '>', '\n', '\0'], "").trim().to_owned());
            Ok(plain.filter(|text| !text.is_empty()))
        };
        let name = of("GIT_COMMITTER_NAME", ["committer.name", "user.name"])?;
        let email = of("GIT_COMMITTER_EMAIL", ["committer.email", "user.email"])?;
        let email =
            email.or_else(|| std::env::var("EMAIL").ok().filter(|text| !text.contains(['<', '>', '\n'])));
        let user =
            || std::env::var("USER").unwrap_or_else(|_| "somebody".to_owned()).replace(['<', '>', '\n'], "");
        Ok(Author { name: name.unwrap_or_else(user), email: email.unwrap_or_else(user), at })
    }
}

/// The objects of a repository, and those that were written through this.
pub(super) struct Store<'a> {
    pub(super) repo: gix::Repository,
    owner: &'a Repo,
    written: Vec<ObjectId>,
}

impl<'a> Store<'a> {
    pub(super) fn of(owner: &'a Repo) -> Result<Self, GitError> {
        let unreadable =
            || GitError::unsupported(&owner.common_dir, "notes need a repository that we can read");
        let repo = owner.in_process().ok_or_else(unreadable)?;
        Ok(Self { repo, owner, written: Vec::new() })
    }

    pub(super) fn failed(&self, error: &dyn std::fmt::Display) -> GitError {
        GitError::unsupported(&self.owner.common_dir, error)
    }

    fn id(&self, hex: &str) -> Result<ObjectId, GitError> {
        ObjectId::from_hex(hex.as_bytes()).map_err(|err| self.failed(&err))
    }

    pub(super) fn tree_of(&self, commit: &str) -> Result<ObjectId, GitError> {
        let commit = self.repo.find_commit(self.id(commit)?).map_err(|err| self.failed(&err))?;
        Ok(commit.tree_id().map_err(|err| self.failed(&err))?.detach())
    }

    pub(super) fn entries(&self, tree: ObjectId) -> Result<Vec<tree::Entry>, GitError> {
        let tree = self.repo.find_tree(tree).map_err(|err| self.failed(&err))?;
        let tree = tree.decode().map_err(|err| self.failed(&err))?;
        let owned = tree.entries.iter().map(|entry| tree::Entry {
            mode: entry.mode,
            filename: entry.filename.to_owned(),
            oid: entry.oid.to_owned(),
        });
        Ok(owned.collect())
    }

    /// Finds a note however its name is cut into folders: each program has its own idea of that.
    fn find(&self, tree: ObjectId, rest: &str) -> Result<Option<ObjectId>, GitError> {
        let (mut whole, mut below) = (None, None);
        {
            let tree = self.repo.find_tree(tree).map_err(|err| self.failed(&err))?;
            let tree = tree.decode().map_err(|err| self.failed(&err))?;
            for entry in &tree.entries {
                if entry.mode.is_blob() && entry.filename == rest {
                    whole = Some(entry.oid.to_owned());
                } else if rest.len() > 2 && entry.mode.is_tree() && *entry.filename == rest[..2] {
                    below = Some(entry.oid.to_owned());
                }
            }
        }
        match (whole, below) {
            (Some(whole), _) => Ok(Some(whole)),
            (None, Some(below)) => self.find(below, &rest[2..]),
            (None, None) => Ok(None),
        }
    }

    fn each(&self, tree: ObjectId, name: &mut String, notes: &mut Vec<Note>) -> Result<(), GitError> {
        let whole = self.repo.object_hash().len_in_hex();
        for entry in self.entries(tree)? {
            let Ok(part) = entry.filename.to_str() else { continue };
            if !part.bytes().all(|byte| byte.is_ascii_hexdigit()) || name.len() + part.len() > whole {
                // Something of somebody else.
                continue;
            }
            let before = name.len();
            name.push_str(part);
            if entry.mode.is_tree() && part.len() == 2 {
                self.each(entry.oid, name, notes)?;
            } else if entry.mode.is_blob() && name.len() == whole {
                notes.push(Note { object: name.clone(), blob: entry.oid.to_string() });
            }
            name.truncate(before);
        }
        Ok(())
    }

    pub(super) fn text(&self, blob: ObjectId, limit: usize) -> Result<Vec<u8>, GitError> {
        let header = self.repo.find_header(blob).map_err(|err| self.failed(&err))?;
        if header.size() > limit as u64 {
            return Err(GitError::NoteTooLarge { note: blob.to_string(), size: header.size(), limit });
        }
        Ok(self.repo.find_blob(blob).map_err(|err| self.failed(&err))?.detach().data)
    }

    /// Returns the tree with a note in it, and without another one about the same object.
    fn put(
        &mut self,
        tree: Option<ObjectId>,
        rest: &str,
        blob: ObjectId,
        depth: usize,
    ) -> Result<ObjectId, GitError> {
        let mut entries = tree.map(|tree| self.entries(tree)).transpose()?.unwrap_or_default();
        entries.retain(|entry| entry.filename != rest);
        let folder = rest.get(..2).filter(|folder| folder.len() < rest.len());
        let at = entries
            .iter()
            .position(|entry| entry.mode.is_tree() && folder.is_some_and(|folder| entry.filename == folder));
        let kind = tree::EntryKind::Tree;
        match (folder, at) {
            (Some(_), Some(at)) => {
                entries[at].oid = self.put(Some(entries[at].oid), &rest[2..], blob, depth + 1)?;
            }
            // One level of folders: more would pay with millions of notes only.
            (Some(folder), None) if depth == 0 => {
                let oid = self.put(None, &rest[2..], blob, depth + 1)?;
                entries.push(tree::Entry { mode: kind.into(), filename: folder.into(), oid });
            }
            _ => {
                let filename = BString::from(rest);
                entries.push(tree::Entry { mode: tree::EntryKind::Blob.into(), filename, oid: blob });
            }
        }
        entries.sort();
        self.write(&Tree { entries })
    }

    fn blob(&mut self, bytes: &[u8]) -> Result<ObjectId, GitError> {
        self.step("object")?;
        let id = self.repo.write_blob(bytes).map_err(|err| self.failed(&err))?.detach();
        self.written.push(id);
        Ok(id)
    }

    fn step(&self, what: &str) -> Result<(), GitError> {
        foreign_step(what).at(&self.owner.common_dir)
    }

    pub(super) fn write(&mut self, object: impl gix::objs::WriteTo) -> Result<ObjectId, GitError> {
        self.step("object")?;
        let id = self.repo.write_object(object).map_err(|err| self.failed(&err))?.detach();
        self.written.push(id);
        Ok(id)
    }

    /// Makes what was written survive a power cut: each file, and with it the entry of its folder.
    fn sync(&self) -> Result<(), GitError> {
        let objects = self.owner.common_dir.join("objects");
        let paths: Vec<_> = self
            .written
            .iter()
            .map(|id| {
                let hex = id.to_string();
                objects.join(&hex[..2]).join(&hex[2..])
            })
            .collect();
        // Many at once: the file system then writes its journal once for several.
        paths.chunks(SYNCS_AT_ONCE).try_for_each(|paths| {
            std::thread::scope(|scope| {
                let syncs: Vec<_> = paths
                    .iter()
                    .map(|path| {
                        scope.spawn(move || match File::open(path) {
                            Ok(file) => file.sync_all().at(path),
                            // It was there before, in a pack.
                            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(()),
                            Err(err) => Err(err).at(path),
                        })
                    })
                    .collect();
                syncs.into_iter().try_for_each(|sync| sync.join().expect("syncing does not panic"))
            })
        })
    }
}
