//! Keeping the work tree as it is: an archive of it, and a commit of the same content.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fs::Stat;

use super::known::{Known, fingerprint, settles_in};
use crate::git::{Content, GitError, HeadState, Listed, Listing, Repo, Taken};
use crate::id::{RunId, TaskId};
use crate::ops::host::Masking;
use crate::ops::{Context, Kind as Refused, Refusal};
use crate::output::telltale::Telltales;
use crate::pipeline::learning::{Compression, Learning};
use crate::run::snapshot::{
    LeftOut, Nested, Reason, Snapshot, is_secret_content, is_secret_name, is_secret_setting,
};
use crate::store::snapshots::Snapshots;
use crate::sys::archive::Archive;
use crate::sys::digest::sha256_of_file;
use crate::sys::fs::{self, Durability};
use crate::sys::pack::{self, Packed};
use crate::sys::reading::{Kind, Source, State, Unread, read_whole, state_of};

/// Files up to this size are read at once, and again if they change meanwhile.
const SMALL: u64 = 1 << 20;
/// So often git is asked again to store what somebody else has changed meanwhile.
const TRIES: usize = 5;
/// As much of a file tells whether it holds a secret.
const BEGIN: usize = 16 << 10;
/// As long we wait until a change would show in the times of files.
const PATIENCE: Duration = Duration::from_millis(25);

/// What a snapshot is called, and how much it takes.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    pub id: &'a RunId,
    pub task: &'a TaskId,
    pub learning: &'a Learning,
}

/// A snapshot that was taken.
#[derive(Clone, Debug)]
pub struct Captured {
    pub snapshot: Snapshot,
    pub archive: PathBuf,
    pub document: PathBuf,
}

/// Takes a snapshot of the work tree.
pub fn capture(ctx: &Context, subject: &Subject<'_>) -> Result<Captured> {
    let mut repo = ctx.repo.clone();
    let ours = ctx.exclude_patterns();
    if repo.exclude(&ours).is_err() {
        repo.leave_out(ours);
    }
    let store = Snapshots::of(&ctx.layout, &ctx.env);
    let folder = store.task(subject.task);
    ensure_no_link(&store, subject.task)?;
    fs::create_dir_all_durably(&folder)?;
    let archive = store.archive(subject.task, subject.id, subject.learning.compression);
    if store.document(subject.task, subject.id).symlink_metadata().is_ok() {
        let hint = format!("`git orchestrate snapshot show {}`", subject.id);
        return Err(Refusal::usage(format!("there is a snapshot `{}` already", subject.id))
            .hint(hint)
            .into());
    }
    // Without a document it is what a process left that died while it took the same snapshot.
    for left in Compression::ALL.map(|it| store.archive(subject.task, subject.id, it)) {
        if left != archive {
            fs::remove(&left)?;
        }
    }
    let taking = Taking { ctx, repo: &repo, store: &store, subject, archive: &archive };
    taking.take().inspect_err(|_| {
        // Without its document nobody would ever find it.
        let _ = fs::remove(&archive);
        let _ = fs::remove(&store.document(subject.task, subject.id));
    })
}

/// A snapshot under way.
struct Taking<'a> {
    ctx: &'a Context,
    repo: &'a Repo,
    store: &'a Snapshots,
    subject: &'a Subject<'a>,
    archive: &'a Path,
}

impl Taking<'_> {
    fn take(&self) -> Result<Captured> {
        let Self { ctx, repo, subject, .. } = self;
        let head = repo.head().context("cannot tell what is checked out")?;
        let listing = repo.listing().context("cannot list what is in the work tree")?;
        let source = Source::open(repo.work_tree())?;
        let mut tree = Tree::new(ctx, self.store, &source, &listing, subject.learning);
        let print = fingerprint(&listing, &tree.states, subject.learning, tree.telltales.values());
        let now = ctx.clock.now();
        if let Some(known) = Known::of(repo.git_dir()).filter(|known| known.fingerprint == print)
            && let Some(snapshot) = self.again(&known.archive, known.snapshot, &head)?
        {
            return self.keep(Snapshot { created_at: now, ..snapshot });
        }
        let wait = settles_in(&tree.states, now).map(Duration::from_nanos).filter(|wait| *wait <= PATIENCE);
        std::thread::sleep(wait.unwrap_or_default());
        let packed = tree.pack(self.archive)?;
        let taken = commit(repo, &head, &mut tree)?;
        let masking = Masking::new(&ctx.env, None);
        let text = |path: &[u8]| masking.masked(&String::from_utf8_lossy(path));
        let left_out = tree.left_out.iter();
        let mut left_out: Vec<_> = left_out
            .map(|(path, reason, bytes)| LeftOut { path: text(path), reason: *reason, bytes: *bytes })
            .collect();
        left_out.sort();
        let nested = listing.nested.iter().map(|it| Nested { path: text(&it.path), head: it.head.clone() });
        let captured = self.keep(Snapshot {
            version: 1,
            id: subject.id.clone(),
            task_id: subject.task.clone(),
            created_at: now,
            digest: packed.digest,
            bytes: packed.bytes,
            archive: name_of(self.archive),
            files: tree.files,
            content_bytes: tree.bytes,
            tree: taken.tree,
            commit: taken.commit,
            reference: String::new(),
            head: head.commit.clone(),
            retention_days: subject.learning.retention_days,
            same_as: None,
            nested: nested.collect(),
            left_out,
            changed_while_read: tree.changed.iter().map(|path| text(path)).collect(),
        })?;
        // Somebody else may be let in where we were not.
        let denied = captured.snapshot.left_out.iter().any(|it| it.reason == Reason::Unreadable);
        if wait.is_some() && !tree.moved && !denied {
            let (archive, snapshot) = (self.archive.to_owned(), captured.snapshot.clone());
            Known { fingerprint: print, archive, snapshot }.keep(repo.git_dir());
        }
        Ok(captured)
    }

    /// Gives the archive of an earlier snapshot a second name, if it is still what it was.
    fn again(&self, archive: &Path, old: Snapshot, head: &HeadState) -> Result<Option<Snapshot>> {
        if sha256_of_file(archive).ok().as_ref() != Some(&old.digest) {
            return Ok(None);
        }
        let commit = match old.head == head.commit {
            true => Ok(old.commit.clone()),
            false => self.repo.commit_tree(head, &old.tree),
        };
        // The tree may have been thrown away with the other snapshot.
        let Ok(commit) = commit else { return Ok(None) };
        if self.repo.commit(&commit)?.is_none() {
            return Ok(None);
        }
        link_or_copy(archive, self.archive)?;
        Ok(Some(Snapshot {
            id: self.subject.id.clone(),
            task_id: self.subject.task.clone(),
            archive: name_of(self.archive),
            commit,
            head: head.commit.clone(),
            retention_days: self.subject.learning.retention_days,
            same_as: Some(old.same_as.unwrap_or(old.id)),
            ..old
        }))
    }

    /// Keeps the commit and the document of a snapshot.
    fn keep(&self, snapshot: Snapshot) -> Result<Captured> {
        let reference =
            self.repo.keep_snapshot(snapshot.id.as_str(), &snapshot.commit).map_err(not_stored)?;
        let snapshot = Snapshot { reference, ..snapshot };
        let document = self.store.keep(&snapshot).inspect_err(|_| {
            let _ = self.repo.drop_snapshot(snapshot.id.as_str());
        })?;
        Ok(Captured { snapshot, archive: self.archive.to_owned(), document })
    }
}

/// No folder of snapshots below the root may be a link: a repository could make us write elsewhere.
fn ensure_no_link(store: &Snapshots, task: &TaskId) -> Result<()> {
    match store.link_to(task) {
        None => Ok(()),
        Some(link) => Err(Refusal::new(
            Refused::Unsafe,
            format!(
                "`{}` is a symbolic link, and we write through none that a repository could ship",
                link.display()
            ),
        )
        .hint("to keep snapshots elsewhere, set LEARNING_SNAPSHOT_DIR")
        .into()),
    }
}

/// Says that the repository did not take what the archive holds.
fn not_stored(err: GitError) -> Refusal {
    Refusal::new(Refused::Storage, format!("the repository does not take the snapshot: {}", chain(&err)))
}

fn chain(err: &dyn std::error::Error) -> String {
    match err.source() {
        Some(source) => format!("{err}: {}", chain(source)),
        None => err.to_string(),
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Gives a file a second name, or copies it where that cannot be.
pub fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    if fs::second_name(from, to).is_ok() {
        return Ok(());
    }
    let mut file = std::fs::File::open(from).with_context(|| format!("cannot read `{}`", from.display()))?;
    fs::replace(to, Durability::Power, Some(0o600), |out| io::copy(&mut file, out).map(drop))?;
    Ok(())
}

/// Stores what the archive holds as a commit.
fn commit(repo: &Repo, head: &HeadState, tree: &mut Tree<'_>) -> Result<Taken> {
    let listing = tree.listing;
    let left_out: BTreeSet<&[u8]> = tree.left_out.iter().map(|(path, ..)| path.as_slice()).collect();
    let mut content = Content::default();
    for (listed, changed) in listing.files.iter().zip(&tree.differs) {
        if tree.is_ours(&listed.path) || left_out.contains(listed.path.as_slice()) {
            content.without.extend(listed.tracked.then_some(listed.path.as_slice()));
        } else if *changed {
            content.changed.push(&listed.path);
            content.believed.extend(listed.believed.then_some(listed.path.as_slice()));
        }
    }
    content.without.extend(listing.gone.iter().chain(&listing.unreadable).map(Vec::as_slice));
    // git puts no repository in the place of a file that it tracks.
    let new = listing.nested.iter().filter(|it| !it.tracked);
    content.without.extend(new.map(|it| it.path.as_slice()));
    content.changed.extend(
        listing
            .nested
            .iter()
            .filter(|it| it.head.is_some() && !tree.is_ours(&it.path))
            .map(|it| it.path.as_slice()),
    );
    let mut tries = 0;
    let taken = loop {
        match repo.take(head, &content) {
            Ok(taken) => break taken,
            Err(err) => {
                // git stops at what has become no file meanwhile, or one that it may not read.
                let odd = tree.no_files_any_more(&content.changed);
                tries += 1;
                if odd.is_empty() || tries > TRIES {
                    return Err(not_stored(err).into());
                }
                content.changed.retain(|path| !odd.contains(path));
                content.believed.retain(|path| !odd.contains(path));
                content.without.extend(&odd);
                tree.moved = true;
                tree.changed.extend(odd.iter().map(|path| path.to_vec()));
            }
        }
    };
    // git has read them once more.
    let read = listing.files.iter().zip(&tree.states).zip(&tree.differs).filter(|(_, differs)| **differs);
    for ((listed, state), _) in read {
        if !left_out.contains(listed.path.as_slice()) && tree.source.state(&listed.path).ok() != *state {
            tree.moved = true;
            tree.changed.insert(listed.path.clone());
        }
    }
    Ok(taken)
}

/// A work tree on its way into an archive.
struct Tree<'a> {
    source: &'a Source,
    listing: &'a Listing,
    /// The state of each file when it was listed.
    states: Vec<Option<State>>,
    /// For each file whether the index may hold another content.
    differs: Vec<bool>,
    /// Folders of ours, with a slash at their ends.
    ours: Vec<Vec<u8>>,
    learning: &'a Learning,
    telltales: Telltales,
    files: u64,
    bytes: u64,
    left_out: Vec<(Vec<u8>, Reason, Option<u64>)>,
    changed: BTreeSet<Vec<u8>>,
    /// Whether anything is not as it was listed.
    moved: bool,
}

impl<'a> Tree<'a> {
    fn new(
        ctx: &Context,
        store: &Snapshots,
        source: &'a Source,
        listing: &'a Listing,
        learning: &'a Learning,
    ) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let top = ctx.repo.work_tree();
        let real = fs::resolved(top).unwrap_or_else(|_| top.to_owned());
        let inside = |path: &Path| {
            let inside = path.strip_prefix(top).or_else(|_| path.strip_prefix(&real)).ok()?;
            let inside = inside.as_os_str().as_bytes();
            (!inside.is_empty()).then(|| [inside, b"/"].concat())
        };
        let ours = [ctx.layout.runs.as_path(), &ctx.layout.out, store.root()].into_iter().filter_map(inside);
        let look =
            |listed: &Listed, stat: Option<&Stat>| (stat.map(State::from), listing.is_changed(listed, stat));
        let looked = source.look_at_all(&listing.files, |listed| &listed.path, look);
        let (states, differs) = looked.into_iter().unzip();
        Self {
            states,
            differs,
            source,
            listing,
            ours: ours.collect(),
            learning,
            telltales: Telltales::new(
                ctx.env.vars().filter_map(|(name, value)| Some((name.to_str()?, value.as_encoded_bytes()))),
            ),
            files: 0,
            bytes: 0,
            left_out: Vec::new(),
            changed: BTreeSet::new(),
            moved: false,
        }
    }

    fn is_secret(&self, path: &[u8], begin: &[u8]) -> bool {
        is_secret_content(begin) || is_secret_setting(path, begin) || self.telltales.are_in(begin)
    }

    fn is_ours(&self, path: &[u8]) -> bool {
        self.ours.iter().any(|folder| path.starts_with(folder))
    }

    /// Writes the archive. It is there as a whole, or not at all.
    fn pack(&mut self, archive: &Path) -> Result<Packed> {
        let mut packed = None;
        fs::replace(archive, Durability::Power, Some(0o600), |file| {
            packed = Some(pack::pack(&mut *file, self.learning.compression, None, |out| self.write(out))?);
            Ok(())
        })?;
        Ok(packed.expect("it was written"))
    }

    fn write(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let mut archive = Archive::new(out);
        let mut room = Vec::new();
        let listing = self.listing;
        let mut folders_of_ours = BTreeSet::new();
        for (at, listed) in listing.files.iter().enumerate() {
            if let Some(folder) = self.ours.iter().find(|folder| listed.path.starts_with(folder)) {
                folders_of_ours.insert(folder.clone());
                continue;
            }
            let moved = std::mem::take(&mut self.moved);
            if let Some((reason, bytes)) = self.add(&mut archive, &listed.path, self.states[at], &mut room)? {
                self.moved |= reason == Reason::Vanished;
                self.left_out.push((listed.path.clone(), reason, bytes));
            }
            // What the archive has of it is not what was looked at.
            self.differs[at] |= self.moved;
            self.moved |= moved;
        }
        self.left_out.extend(folders_of_ours.into_iter().map(|folder| (folder, Reason::Evidence, None)));
        let unreadable = listing.unreadable.iter().filter(|path| !self.is_ours(path));
        let unreadable: Vec<_> = unreadable
            .map(|path| {
                let special = self.source.state(path).is_ok_and(|state| state.kind == Kind::Special);
                (path.clone(), if special { Reason::Special } else { Reason::Unreadable }, None)
            })
            .collect();
        self.left_out.extend(unreadable);
        archive.finish()
    }

    /// Adds one file, or says why not.
    fn add(
        &mut self,
        archive: &mut Archive<'_>,
        path: &[u8],
        state: Option<State>,
        room: &mut Vec<u8>,
    ) -> io::Result<Option<(Reason, Option<u64>)>> {
        let Some(state) = state else {
            let why = self.source.state(path).err().unwrap_or(Unread::Gone);
            return Ok(Some((reason_of(why), None)));
        };
        match state.kind {
            Kind::Special => return Ok(Some((Reason::Special, None))),
            Kind::Folder => return Ok(Some((Reason::Vanished, None))),
            _ if is_secret_name(path) => return Ok(Some((Reason::Secret, None))),
            Kind::Link => {
                let target = match self.source.link(path) {
                    Ok(target) => target,
                    Err(why) => return Ok(Some((reason_of(why), None))),
                };
                archive.link(path, &target)?;
                self.moved |= self.source.state(path).ok() != Some(state);
                self.files += 1;
                return Ok(None);
            }
            Kind::File => {}
        }
        let (mut file, opened) = match self.source.file(path) {
            Ok(opened) => opened,
            Err(Unread::Gone) if self.source.state(path).is_ok_and(|now| now.kind == Kind::Special) => {
                return Ok(Some((Reason::Special, None)));
            }
            Err(why) => return Ok(Some((reason_of(why), None))),
        };
        self.moved |= opened != state;
        let size = opened.size;
        if size > self.learning.max_file_bytes {
            return Ok(Some((Reason::TooLarge, Some(size))));
        }
        if self.bytes + size > self.learning.max_total_bytes {
            return Ok(Some((Reason::NoRoom, Some(size))));
        }
        if size <= SMALL {
            // It may grow meanwhile; as much of it as there was is taken then.
            let whole = match read_whole(&mut file, size.max(SMALL), room) {
                Ok(whole) => whole,
                Err(_) => return Ok(Some((Reason::Unreadable, None))),
            };
            if self.is_secret(path, &room[..room.len().min(BEGIN)]) {
                return Ok(Some((Reason::Secret, None)));
            }
            self.note_change(path, !whole);
            self.moved |= state_of(&file).ok() != Some(state);
            archive.bytes(path, opened.executable, room)?;
            self.bytes += room.len() as u64;
        } else {
            use std::os::unix::fs::FileExt;
            let mut begin = [0; BEGIN];
            let read = file.read_at(&mut begin, 0).unwrap_or(0);
            if self.is_secret(path, &begin[..read]) {
                return Ok(Some((Reason::Secret, None)));
            }
            let whole = archive.file(path, opened.executable, size, &file)?;
            let now = state_of(&file).ok();
            self.note_change(path, !whole || now != Some(opened));
            self.moved |= now != Some(state);
            self.bytes += size;
        }
        self.files += 1;
        Ok(None)
    }

    /// Returns those of some paths at which there is something else by now.
    fn no_files_any_more<'p>(&self, paths: &[&'p [u8]]) -> BTreeSet<&'p [u8]> {
        let is_file = |path: &[u8]| match self.source.state(path).map(|state| state.kind) {
            Ok(Kind::File) => self.source.file(path).is_ok(),
            Ok(Kind::Link) => true,
            // git takes a repository, and knows that what is gone is gone.
            Ok(Kind::Folder) => self.listing.nested.iter().any(|it| it.path == path),
            Err(Unread::Gone) => true,
            _ => false,
        };
        paths.iter().copied().filter(|path| !is_file(path)).collect()
    }

    fn note_change(&mut self, path: &[u8], changed: bool) {
        if changed {
            self.moved = true;
            self.changed.insert(path.to_owned());
        }
    }
}

fn reason_of(why: Unread) -> Reason {
    match why {
        Unread::Gone => Reason::Vanished,
        Unread::Denied => Reason::Unreadable,
    }
}
