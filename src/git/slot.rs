//! Side worktrees ("slots"), kept warm below the common git directory: taken by one process at a
//! time, and repositioned on a commit without touching what belongs to the user.
//!
//! A slot is a linked worktree that git's own list does not name, so that `git worktree list` and
//! `prune` are about the user's worktrees only. What a run leaves in it stays until somebody takes
//! the slot again: a run that goes on may need it, and a person may want to look at it.

mod inherited;
pub(super) mod pool;
mod position;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gix::bstr::{BString, ByteSlice};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};

use super::error::At;
use super::tree::Filters;
use super::tree::ignores::Rules;
use super::{Commit, GitError, HeadState, Pushed, Repo, open_in_process};
use crate::run::git_keys::Head;
use crate::sys::fs::{Durability, Fingerprint, Lock, PathError, write_atomically};
use inherited::Inherited;

/// More side worktrees than this are a mistake, and would fill the disk.
const MOST: u32 = 64;

/// How long to wait for the clock of the file system to tick.
const TICK: Duration = Duration::from_millis(12);

/// What a repository knows about itself if it is a slot.
#[derive(Debug)]
pub(super) struct Side {
    pub number: u32,
    /// Whether not all of a tree is checked out.
    pub sparse: bool,
    /// The commit that has just been checked out, as long as nothing has run since.
    pub fresh: Mutex<Option<HeadState>>,
    /// What is there and in no commit, ignored or not, as the last walk saw it.
    pub leftovers: Mutex<Option<Vec<BString>>>,
}

/// A side worktree that belongs to this process for as long as it holds this.
pub struct Slot {
    repo: Repo,
    side: std::sync::Arc<Side>,
    folder: PathBuf,
    last: Option<String>,
    at: Option<Position>,
    /// Whether what the last user wrote down about it counts.
    known: bool,
    /// The digest of the rules by which files are converted.
    rules: Option<String>,
    inherited: Inherited,
    upkeep: Upkeep,
    _lock: Lock,
}

/// What becomes of what is in a slot and in no commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upkeep {
    /// All of it goes: each commit begins clean.
    #[default]
    Clean,
    /// What git ignores stays, such as what a build made; the rest goes.
    Warm,
    /// The slot is made anew, as if nobody had ever used it.
    Virgin,
}

/// What was checked out, and the index as we left it.
pub(in crate::git) struct Position {
    commit: Commit,
    index: Fingerprint,
}

impl Repo {
    /// Takes the first slot that is free, or makes one. Slots that nobody uses, and of which there are more than
    /// `idle` besides, are thrown away, and those first that were not used for longest.
    pub fn take_slot(&self, idle: usize) -> Result<Slot, GitError> {
        for number in 1..=MOST {
            if let Some(slot) = self.try_take_slot(number)? {
                pool::evict(&self.slots(), number, idle)?;
                return Ok(slot);
            }
        }
        Err(GitError::NoSlot { path: self.slots() })
    }

    /// Takes a certain slot; nothing if somebody else has it.
    pub fn try_take_slot(&self, number: u32) -> Result<Option<Slot>, GitError> {
        let folder = self.slots().join(number.to_string());
        fs::create_dir_all(&folder).at(&folder)?;
        let Some(lock) = Lock::try_take(&folder.join("lock"))? else { return Ok(None) };
        Ok(Some(Slot::open(self, folder, number, lock)?))
    }

    /// Whether a tree is that of its commit, and not of what is staged besides.
    fn is_tree_of(&self, commit: &Commit) -> Result<bool, GitError> {
        if commit.id.is_empty() {
            return Ok(false);
        }
        Ok(matches!(self.pushed(&commit.id)?, Pushed::Commit(stored) if stored.tree == commit.tree))
    }

    /// Where the slots are.
    fn slots(&self) -> PathBuf {
        self.common_dir.join("orchestrate/slots")
    }

    /// Whether this is a side worktree of ours, and which one.
    pub(super) fn slot(&self) -> Option<u32> {
        self.side.as_ref().map(|side| side.number)
    }
}

impl Slot {
    fn open(of: &Repo, folder: PathBuf, number: u32, lock: Lock) -> Result<Self, GitError> {
        let (top, git_dir) = (folder.join("tree"), folder.join("git"));
        let inherited = Inherited::of(of);
        link(of, &inherited, &top, &git_dir)?;
        let opened = open_in_process(&git_dir, &of.program).ok().filter(|_| of.gix.is_some());
        let mut repo = Repo::assemble(opened, git_dir, top, of.program.clone())?;
        let side = std::sync::Arc::new(Side {
            number,
            sparse: inherited.is_sparse(),
            fresh: Mutex::default(),
            leftovers: Mutex::default(),
        });
        repo.side = Some(side.clone());
        let last = fs::read_to_string(folder.join("run")).ok().map(|run| run.trim().to_owned());
        let last = last.filter(|run| !run.is_empty());
        let rules = Self::rules_of(&repo);
        Ok(Self {
            repo,
            side,
            folder,
            last,
            at: None,
            known: true,
            rules,
            inherited,
            upkeep: Upkeep::Clean,
            _lock: lock,
        })
    }

    /// Says what becomes of what is in it and in no commit.
    pub fn keep(&mut self, upkeep: Upkeep) {
        self.upkeep = upkeep;
    }

    /// Where notes about the slot itself are kept, beside its work tree.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder for notes about what is in its work tree: they go when that is thrown away.
    pub fn notes(&self) -> PathBuf {
        self.folder.join("notes")
    }

    /// Which slot it is.
    pub fn number(&self) -> u32 {
        self.side.number
    }

    /// The run that used the slot last, if nobody has repositioned it since.
    pub fn last_run(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// Notes which run uses the slot from now on.
    pub fn used_by(&mut self, run: &str) -> Result<(), GitError> {
        write_atomically(&self.folder.join("run"), format!("{run}\n").as_bytes(), Durability::Process)?;
        self.last = Some(run.to_owned());
        Ok(())
    }

    /// Returns the work tree as the last run left it.
    pub fn as_left(&self) -> Repo {
        self.repo.clone()
    }

    /// Forgets what is known about the work tree, so that the next commit is checked out with care:
    /// something we did not watch may have changed it.
    pub fn distrust(&mut self) {
        self.at = None;
        self.known = false;
        lock(&self.side.fresh).take();
        // Whoever comes next has no more reason to trust it. If that fails, they look at every file all the same.
        let _ = self.forget_position();
    }

    /// Checks a commit out and removes everything else, or what is not ignored of it.
    ///
    /// The tree may be another one than that of the commit: then it is as if all of it were staged. Without an id no
    /// commit is there yet.
    pub fn reposition(&mut self, commit: &Commit) -> Result<Repo, GitError> {
        self.last = None;
        crate::sys::fs::remove(&self.folder.join("run"))?;
        lock(&self.side.fresh).take();
        if self.upkeep != Upkeep::Warm {
            self.forget_notes()?;
        }
        if self.upkeep == Upkeep::Virgin {
            self.at = None;
            self.begin_anew()?;
        }
        let at = match self.at.take() {
            None if self.known && self.upkeep != Upkeep::Virgin => self.recognise(),
            at => at.filter(|at| self.is_as_we_left_it(at)),
        };
        self.forget_position()?;
        self.known = true;
        let stepped = match at {
            Some(at) => self.step(&at, commit),
            _ => Err(GitError::unsupported(&self.folder, "nobody knows what is in it")),
        };
        let done = match stepped {
            Err(err) if !is_signal(&err) => self.reset(commit),
            done => done,
        };
        match done {
            // Whatever it is that git cannot cope with, it is not in a new folder.
            Err(err) if !is_signal(&err) => {
                self.begin_anew()?;
                self.reset(commit)?;
            }
            done => done?,
        }
        let at = Position { index: self.settle()?, commit: commit.clone() };
        self.note_rules()?;
        self.note_position(&at)?;
        self.at = Some(at);
        // What is staged besides makes it dirty, and whoever wants to know has to look.
        if self.repo.is_tree_of(commit)? {
            *lock(&self.side.fresh) = Some(head_at(commit));
        }
        Ok(self.repo.clone())
    }

    /// Whether the last run changed nothing that a commit holds, as the walk at its end saw it.
    fn is_as_we_left_it(&self, at: &Position) -> bool {
        let index = Fingerprint::of(&self.repo.git_dir.join("index"));
        index.as_ref() == Some(&at.index) && self.head_is(&at.commit)
    }

    fn head_is(&self, commit: &Commit) -> bool {
        !self.repo.refs_in_files
            || fs::read(self.repo.git_dir.join("HEAD"))
                .is_ok_and(|head| head.trim_ascii_end() == commit.id.as_bytes())
    }

    /// Goes from one commit to another. git refuses if a file on the way is not what it should be.
    fn step(&mut self, from: &Position, commit: &Commit) -> Result<(), GitError> {
        let Some(leftovers) = lock(&self.side.leftovers).take() else {
            return Err(GitError::unsupported(&self.folder, "nobody looked what is in it"));
        };
        self.forget_state()?;
        self.remove_all(&leftovers)?;
        let is_there = from.commit.tree == commit.tree;
        // Which files belong to a sparse checkout git knows.
        let quick = !self.inherited.is_sparse();
        let is_there = is_there || (quick && super::tree::step(&self.repo, &from.commit, commit)?);
        if !is_there {
            if self.attributes_differ(commit)? {
                return Err(GitError::unsupported(&self.folder, "files are to be converted anew"));
            }
            self.read_tree(&["-m", "-u"], commit)?;
        }
        if self.upkeep == Upkeep::Warm {
            // Other rules may have come with the commit.
            let mut kept: Vec<_> = leftovers.into_iter().filter(|path| !path.ends_with(b"/")).collect();
            let still = self.told_ignored(&kept);
            kept.retain(|path| still.get(path) != Some(&true));
            let shown: Vec<_> = self.untracked(&kept, &[])?.into_iter().collect();
            // git shows a folder too in which all is ignored.
            let still = self.untracked(&shown, &["--ignored"])?;
            self.remove_each(shown.iter().filter(|path| !still.contains(*path)))?;
        }
        self.set_head(commit)
    }

    /// Checks a commit out over whatever is there.
    fn reset(&mut self, commit: &Commit) -> Result<(), GitError> {
        let git_dir = self.repo.git_dir.clone();
        self.forget_state()?;
        let index = git_dir.join("index");
        remove(&index).at(&index)?;
        let kept = git_dir.join("index.clean");
        // The index as we left it still tells which files nobody has touched since.
        if kept.exists() {
            fs::copy(&kept, &index).at(&index)?;
            age_of(&kept, &index).at(&index)?;
            if self.is_converted_otherwise() || self.attributes_differ(commit)? {
                self.begin_anew()?;
            }
        }
        self.set_head(commit)?;
        self.read_tree(&["--reset", "-u"], commit)?;
        self.clean(commit)
    }

    /// Throws the work tree away.
    fn begin_anew(&self) -> Result<(), GitError> {
        tracing::debug!(slot = %self.folder.display(), "begun anew");
        self.forget_notes()?;
        for path in [self.repo.work_tree.clone(), self.repo.git_dir.clone()] {
            remove(&path).at(&path)?;
        }
        link(&self.repo, &self.inherited, &self.repo.work_tree, &self.repo.git_dir)
    }

    fn forget_notes(&self) -> Result<(), GitError> {
        let notes = self.notes();
        remove(&notes).at(&notes)
    }

    /// Returns which of some paths git would ignore, where nothing is yet and a folder is there to hold it. Each is
    /// said to be a folder or not.
    pub fn would_ignore(&self, paths: &[(PathBuf, bool)]) -> Result<Vec<PathBuf>, GitError> {
        let top = &self.repo.work_tree;
        let is_folder = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_dir());
        let held = |path: &Path| path.ancestors().skip(1).all(|above| is_folder(&top.join(above)));
        let mut asked = Vec::new();
        for (path, folder) in paths.iter().filter(|(path, _)| held(path)) {
            // A colon at the beginning would be magic, and a slash at the end says what the path would be.
            asked.extend_from_slice(b"./");
            asked.extend_from_slice(path.as_os_str().as_bytes());
            asked.extend_from_slice(if *folder { b"/\0" } else { b"\0" });
        }
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let git = self.repo.git().args(["check-ignore", "-z", "--stdin"]);
        let (_, ignored) = git.given(&asked)?.run_expecting(&[0, 1])?;
        let ignored = ignored.split(|byte| *byte == 0).filter(|path| !path.is_empty());
        let plain = |path: &[u8]| {
            let path = path.strip_prefix(b"./").unwrap_or(path);
            PathBuf::from(path.strip_suffix(b"/").unwrap_or(path).as_bstr().to_path_lossy())
        };
        let ignored: Vec<PathBuf> = ignored.map(plain).collect();
        // What a sparse checkout has left out is missing too, and not to be made by us.
        let mut tracked = HashSet::new();
        for some in ignored.chunks(200) {
            let git = self.repo.git().env("GIT_LITERAL_PATHSPECS", "1").args(["ls-files", "-z", "--"]);
            let listed = git.args(some).run()?;
            for path in listed.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
                tracked.extend(path.as_bstr().to_path_lossy().ancestors().map(Path::to_owned));
            }
        }
        Ok(ignored.into_iter().filter(|path| !tracked.contains(path)).collect())
    }

    /// Whether files that a commit and the index have in common may look different in the work tree: git
    /// converts a file when its content changes, and not when its attributes do.
    fn attributes_differ(&self, commit: &Commit) -> Result<bool, GitError> {
        let words = ["diff-index", "--cached", "--quiet", "--end-of-options", &commit.tree, "--"];
        let git = self.repo.git().env("GIT_NO_LAZY_FETCH", "0").args(words);
        let git = git.args([":(glob)**/.gitattributes"]);
        Ok(git.run_expecting(&[0, 1])?.0 == 1)
    }

    fn read_tree(&self, how: &[&str], commit: &Commit) -> Result<(), GitError> {
        // What a worktree of the user shows is no matter of its neighbour's; submodules stay empty.
        let whole = (!self.inherited.is_sparse()).then_some("core.sparseCheckout=false");
        let settings = [
            "core.splitIndex=false",
            "core.untrackedCache=false",
            "index.sparse=false",
            "submodule.recurse=false",
            "checkout.workers=0",
        ];
        let settings = settings.iter().copied().chain(whole);
        let git = settings.fold(self.repo.git(), |git, setting| git.args(["-c", setting]));
        // A partial clone may have to fetch what the user asked for.
        git.env("GIT_NO_LAZY_FETCH", "0").args(["read-tree"]).args(how).args([&commit.tree]).run().map(drop)
    }

    fn set_head(&self, commit: &Commit) -> Result<(), GitError> {
        if self.repo.refs_in_files {
            let line = match commit.id.as_str() {
                // A ref of this worktree alone: what a stage commits there moves no branch.
                "" => "ref: refs/worktree/unborn\n".to_owned(),
                id => format!("{id}\n"),
            };
            return Ok(write_atomically(
                &self.repo.git_dir.join("HEAD"),
                line.as_bytes(),
                Durability::Process,
            )?);
        }
        if commit.id.is_empty() {
            let git = self.repo.git().args(["symbolic-ref", "HEAD", "refs/heads/orchestrate-unborn"]);
            return git.run().map(drop);
        }
        self.repo.git().args(["update-ref", "--no-deref", "HEAD", &commit.id]).run().map(drop)
    }

    /// Removes what is in the work tree and not in the index.
    fn clean(&self, commit: &Commit) -> Result<(), GitError> {
        let head = head_at(commit);
        lock(&self.side.leftovers).take();
        if self.repo.gix.is_some() {
            // Only the names count here; no filter has to run for them.
            let _ = self.repo.tree_state_with(&head, Filters::Refuse, &[]);
        }
        if let Some(leftovers) = lock(&self.side.leftovers).take() {
            return self.remove_all(&leftovers);
        }
        let how = if self.upkeep == Upkeep::Warm { "-ffdq" } else { "-ffdxq" };
        self.repo.git().args(["clean", how]).run()?;
        let listed = self.repo.git().args(["ls-files", "--stage", "-z"]).run()?;
        let submodules = listed.split(|byte| *byte == 0).filter_map(|line| {
            let (head, path) = line.split_once_str("\t")?;
            head.starts_with(b"160000 ").then(|| BString::from([path, b"/"].concat()))
        });
        self.remove_all(&submodules.collect::<Vec<_>>())
    }

    /// Removes paths below the top, unless they are ignored and may stay; of one with a slash at its end only what is
    /// in it.
    fn remove_all(&self, leftovers: &[BString]) -> Result<(), GitError> {
        let ignored = match self.upkeep {
            // What belongs to a submodule is not ours to ignore.
            Upkeep::Warm => {
                let told = self.told_ignored(leftovers);
                let untold: Vec<_> =
                    leftovers.iter().filter(|path| !told.contains_key(*path)).cloned().collect();
                let mut ignored = self.untracked(&untold, &["--ignored"])?;
                ignored.extend(told.into_iter().filter_map(|(path, ignored)| ignored.then_some(path)));
                ignored
            }
            Upkeep::Clean | Upkeep::Virgin => HashSet::new(),
        };
        self.remove_each(leftovers.iter().filter(|path| !ignored.contains(*path)))
    }

    /// Returns which of some untracked paths are ignored, as far as that can be told without git. Of a folder that is
    /// not, git looks at what is in it.
    fn told_ignored(&self, paths: &[BString]) -> HashMap<BString, bool> {
        let mut told = HashMap::new();
        let Some(mut rules) = Rules::of(&self.repo) else { return told };
        for path in paths {
            let full = self.repo.work_tree.join(path.to_path_lossy());
            let Ok(found) = full.symlink_metadata() else { continue };
            let ignored = match path.ends_with(b"/") {
                // What belongs to a submodule is not ours to ignore.
                true => Some(false),
                false => rules.ignores(path.as_bstr(), found.is_dir()).filter(|it| *it || !found.is_dir()),
            };
            told.extend(ignored.map(|ignored| (path.clone(), ignored)));
        }
        told
    }

    fn remove_each<'a>(&self, paths: impl Iterator<Item = &'a BString>) -> Result<(), GitError> {
        for path in paths {
            let full = self.repo.work_tree.join(path.to_path_lossy());
            remove(&full).at(&full)?;
            if path.ends_with(b"/") {
                fs::create_dir(&full).at(&full)?;
            }
        }
        Ok(())
    }

    /// Returns which of some paths git does not know and does not ignore; with `--ignored`, those that it ignores.
    fn untracked(&self, paths: &[BString], how: &[&str]) -> Result<HashSet<BString>, GitError> {
        let mut found = HashSet::new();
        // So many names fit into one command line.
        for some in paths.chunks(200) {
            let words = ["ls-files", "-z", "--others", "--exclude-standard", "--directory"];
            let git = self.repo.git().env("GIT_LITERAL_PATHSPECS", "1").args(words).args(how).args(["--"]);
            let listed = git.args(some.iter().map(|path| path.to_os_str_lossy())).run()?;
            for path in listed.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
                found.insert(path.strip_suffix(b"/").unwrap_or(path).into());
            }
        }
        Ok(found)
    }

    /// Removes what the last user of the slot left in its git directory: locks, merges under way,
    /// settings, submodules.
    fn forget_state(&self) -> Result<(), GitError> {
        let git_dir = &self.repo.git_dir;
        let refs = ["refs", "reftable"];
        let ours = ["HEAD", "commondir", "gitdir", "index", "index.clean"];
        for entry in fs::read_dir(git_dir).at(git_dir)? {
            let entry = entry.at(git_dir)?;
            let name = entry.file_name();
            let known = |names: &[&str]| names.iter().any(|known| name == *known);
            if !known(&ours) && (self.repo.refs_in_files || !known(&refs)) {
                remove(&entry.path()).at(&entry.path())?;
            }
        }
        link(&self.repo, &self.inherited, &self.repo.work_tree, git_dir)
    }

    /// Keeps a copy of the index, and makes it younger than every file that it names: without that
    /// git and we would have to read the youngest files to be sure of them.
    fn settle(&self) -> Result<Fingerprint, GitError> {
        let (index, kept) = (self.repo.git_dir.join("index"), self.repo.git_dir.join("index.clean"));
        let written = fs::metadata(&index).and_then(|index| index.modified()).at(&index)?;
        let begin = Instant::now();
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        loop {
            let times = Timestamps { last_access: now, last_modification: now };
            utimensat(CWD, &index, &times, AtFlags::empty()).map_err(io::Error::from).at(&index)?;
            let touched = fs::metadata(&index).and_then(|index| index.modified()).at(&index)?;
            if touched > written || begin.elapsed() > TICK {
                break;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        // git replaces its index and never writes into it, so both names may share one file.
        let temp = self.repo.git_dir.join("index.new");
        remove(&temp).at(&temp)?;
        if fs::hard_link(&index, &temp).is_err() {
            fs::copy(&index, &temp).at(&temp)?;
            age_of(&index, &temp).at(&temp)?;
        }
        crate::sys::fs::rename(&temp, &kept)?;
        // Making the second name changed nothing that a fingerprint holds.
        Fingerprint::of(&index)
            .ok_or_else(|| GitError::unsupported(&index, "the index went away while we looked at it"))
    }
}

/// What `HEAD` names once a commit is checked out.
fn head_at(commit: &Commit) -> HeadState {
    HeadState {
        commit: Some(commit.id.clone()),
        branch: None,
        head: Head::Detached,
        tree: Some(commit.tree.clone()),
    }
}

/// Whether git did not fail but was stopped, most likely by Ctrl-C: whoever asked wants no second try.
fn is_signal(err: &GitError) -> bool {
    matches!(err, GitError::Signal { .. })
}

/// Makes `top` a work tree of the repository, with `git_dir` for what is its own. Both may be there
/// already, whole or not: the repository may have been moved, or whoever made them was killed.
fn link(of: &Repo, inherited: &Inherited, top: &Path, git_dir: &Path) -> Result<(), GitError> {
    for folder in [top, git_dir] {
        if folder.symlink_metadata().is_ok_and(|found| !found.is_dir()) {
            remove(folder).at(folder)?;
        }
        fs::create_dir_all(folder).at(folder)?;
    }
    let dot_git = top.join(".git");
    let back = format!("{}\n", dot_git.display());
    write_if_other(&git_dir.join("commondir"), b"../../../..\n")?;
    write_if_other(&git_dir.join("gitdir"), back.as_bytes())?;
    let head = git_dir.join("HEAD");
    // A name that no branch can have: git wants one before it takes the folder for its own.
    if !head.exists() {
        write_if_other(&head, b"ref: refs/heads/.invalid\n")?;
    }
    if of.common_dir.join("reftable").is_dir() {
        for folder in ["refs", "reftable"] {
            fs::create_dir_all(git_dir.join(folder)).at(git_dir)?;
        }
        write_if_other(&git_dir.join("refs/heads"), b"this repository uses the reftable format\n")?;
        let tables = git_dir.join("reftable/tables.list");
        if !tables.exists() {
            write_if_other(&tables, b"")?;
        }
    }
    inherited.write(git_dir)?;
    write_if_other(&dot_git, b"gitdir: ../git\n")
}

fn write_if_other(path: &Path, content: &[u8]) -> Result<(), GitError> {
    let is_file = path.symlink_metadata().is_ok_and(|found| found.is_file());
    if is_file && fs::read(path).is_ok_and(|found| found == content) {
        return Ok(());
    }
    if !is_file {
        remove(path).at(path)?;
    }
    Ok(write_atomically(path, content, Durability::Process)?)
}

/// Gives a copy the age of its original.
fn age_of(original: &Path, copy: &Path) -> io::Result<()> {
    let modified = fs::metadata(original)?.modified()?;
    fs::File::options().write(true).open(copy)?.set_modified(modified)
}

/// Removes whatever stands at a path. Follows no link, and takes read-only folders too, such as
/// those of Go's module cache.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let Ok(found) = path.symlink_metadata() else { return Ok(()) };
    if !found.is_dir() {
        return crate::sys::fs::remove(path).map_err(|err| err.source);
    }
    match fs::remove_dir_all(path) {
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => {
            make_writable(path)?;
            fs::remove_dir_all(path)
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn make_writable(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}

/// Locks what one thread at a time uses.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Side {
    /// Returns the commit that has just been checked out, once.
    pub fn take_fresh(&self) -> Option<HeadState> {
        lock(&self.fresh).take()
    }

    /// Notes what a walk saw.
    pub fn saw(&self, leftovers: Vec<BString>) {
        *lock(&self.leftovers) = Some(leftovers);
    }
}

impl From<PathError> for GitError {
    fn from(PathError { path, source }: PathError) -> Self {
        Self::Io { path, source }
    }
}
