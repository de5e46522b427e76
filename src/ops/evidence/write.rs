//! Writing notes: a record of a run on the tree that was executed, and on the commit if that tree is its own.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::lock;
use super::manifests::{self, OnDisk};
use super::ours::{self, Ours, Step, last_record, moved, note_with};
use crate::git::{Changes, Commit, Repo};
use crate::ops::Context;
use crate::proof::standing::{Entry, Origin};
use crate::proof::statement::{Envelope, Signature, Statement, commit_of, to_sign};
use crate::proof::{Record, note};
use crate::run::key::Subject;
use crate::run::stamp::Stamp;
use crate::run::status::RunStatus;
use crate::store::ledger::Ledger;
use crate::sys::digest::sha256_hex;
use crate::sys::fs::{self, Durability};
use crate::sys::gzip;

/// How long to wait for others who write notes: one of them may be asked for a passphrase.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A record, and the commits that have exactly its tree.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub record: Record,
    pub commits: Vec<String>,
}

/// How notes are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner<'a> {
    /// Whether they are signed; as commits are, if nothing is said.
    pub sign: Option<bool>,
    /// Where the manifests are that are to go along; none do if nothing is said.
    pub manifests: Option<&'a OnDisk>,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The ref that has the notes.
    pub reference: String,
    /// The runs that have a note now and had none before.
    pub runs: Vec<String>,
    /// Which key signed them; nothing if they are unsigned.
    pub key: Option<String>,
    /// Why they are unsigned, if they should have been signed.
    pub unsigned: Option<String>,
    /// Runs whose manifests should have gone along and did not, and why.
    pub without_manifest: Vec<(String, String)>,
}

/// Whether a record says enough to be shown to others.
pub fn is_worth_a_note(record: &Record) -> bool {
    record.void.is_none() && matches!(record.status, RunStatus::Succeeded | RunStatus::Failed)
}

/// Writes notes about records, as one commit of the writer's ref. A run that has its note already gets none.
pub fn write(repo: &Repo, wanted: &[Wanted], manner: Manner<'_>, now: Stamp) -> Result<Written> {
    let ours = Ours::of(repo, manner.sign, now)?;
    let mut unsigned = ours.unsigned.clone();
    let _lock = lock(repo, "lock", PATIENCE)?;
    moved(repo, &ours.reference, &ours.author, |tip| {
        let reference = ours.reference.clone();
        let mut written = Written { reference, unsigned: unsigned.clone(), ..Written::default() };
        let mut work = Work { repo, ours: &ours, tip, changes: Changes::default() };
        let mut previous = match tip {
            Some(tip) => last_record(repo, tip)?,
            None => None,
        };
        for Wanted { record, commits } in wanted {
            if work.has(record)? {
                continue;
            }
            let manifest = manner.manifests.and_then(|on_disk| work.packs(record, on_disk, &mut written));
            let (record, writer) = (record.clone(), ours.writer.clone());
            let statement = Statement { record, writer, previous: previous.take(), manifest };
            let envelope = work.sealed(statement, &mut written)?;
            previous = Some(envelope.digest(sha256_hex));
            work.add(&envelope, commits)?;
            written.runs.push(envelope.statement.record.run_id);
        }
        if written.runs.is_empty() {
            return Ok(Step::Stay(written));
        }
        // What could not sign is not asked again.
        unsigned.clone_from(&written.unsigned);
        let message = ours::message(&written.runs.join(", "), previous.as_deref());
        let parents: Vec<_> = tip.into_iter().collect();
        let new = repo.commit_notes(&parents, &work.changes, &ours.author, &message)?;
        Ok(Step::Move(new, written))
    })
}

struct Work<'a> {
    repo: &'a Repo,
    ours: &'a Ours,
    tip: Option<&'a str>,
    changes: Changes,
}

impl Work<'_> {
    /// Returns what the note about an object says so far.
    fn note(&self, object: &str) -> Result<Vec<u8>> {
        note_with(self.repo, self.tip, &self.changes, object)
    }

    fn set(&mut self, object: &str, text: Vec<u8>) {
        match self.changes.notes.iter_mut().find(|(known, _)| known == object) {
            Some((_, known)) => *known = text,
            None => self.changes.notes.push((object.to_owned(), text)),
        }
    }

    /// Whether the run has its note.
    fn has(&self, record: &Record) -> Result<bool> {
        let text = self.note(&record.tree)?;
        let same = |line| {
            Envelope::parse(line, sha256_hex).is_ok_and(|it| {
                (it.statement.record.run_id, it.statement.record.nonce)
                    == (record.run_id.clone(), record.nonce.clone())
            })
        };
        Ok(note::lines(&text).any(same))
    }

    /// Lets the manifest of a run go along; returns its digest.
    fn packs(&mut self, record: &Record, on_disk: &OnDisk, written: &mut Written) -> Option<String> {
        match (on_disk.find(record), manifests::path(&record.run_id)) {
            (Ok(manifest), Some(path)) => {
                self.changes.files.push((path, gzip::packed(&manifest)));
                Some(manifests::digest(&manifest))
            }
            (found, _) => {
                let why = found.err().unwrap_or_else(|| "its id is no name of a file".to_owned());
                written.without_manifest.push((record.run_id.clone(), why));
                None
            }
        }
    }

    fn sealed(&self, statement: Statement, written: &mut Written) -> Result<Envelope> {
        let payload = statement.payload();
        let mut signatures = Vec::new();
        if let Some(signing) = self.ours.signing.as_ref().filter(|_| written.unsigned.is_none()) {
            match self.repo.sign(signing, &to_sign(&payload)) {
                Ok(signed) => {
                    written.key = Some(signed.key.clone());
                    signatures.push(Signature::of(signed.key, &signed.bytes));
                }
                // Evidence without a signature is better than none, and says what it is.
                Err(err) => written.unsigned = Some(err.to_string()),
            }
        }
        Ok(Envelope { statement, payload, signatures })
    }

    fn add(&mut self, envelope: &Envelope, commits: &[String]) -> Result<()> {
        let record = &envelope.statement.record;
        let line = envelope.line();
        self.set(&record.tree, note::add(&self.note(&record.tree)?, None, &line));
        let key = envelope.signatures.first().map(|signature| signature.keyid.as_str());
        let mut text =
            note::text(record, &format!("{} <{}>", self.ours.author.name, self.ours.author.email), key);
        if let (Some(_), Some(path)) = (&envelope.statement.manifest, manifests::path(&record.run_id)) {
            text.push_str(&format!("  manifest: {path}\n"));
        }
        for commit in commits {
            self.set(commit, note::add(&self.note(commit)?, Some(&text), &line));
        }
        Ok(())
    }
}

/// Records that wait for a commit with their tree, or for another try.
pub struct Pending {
    folder: PathBuf,
}

impl Pending {
    /// Returns those of a repository.
    pub fn of(repo: &Repo) -> Self {
        Self { folder: repo.common_dir().join("orchestrate/notes/pending") }
    }

    fn place(&self, record: &Record) -> PathBuf {
        self.folder.join(&record.tree).join(format!("{}.json", record.run_id))
    }

    /// Keeps a record.
    pub fn keep(&self, record: &Record) -> Result<()> {
        let path = self.place(record);
        fs::create_dir_all_durably(path.parent().expect("a file has a folder"))?;
        let bytes = serde_json::to_vec(record).expect("a record has text keys");
        Ok(fs::write_atomically(&path, &bytes, Durability::Power)?)
    }

    /// Forgets a record.
    pub fn forget(&self, record: &Record) -> Result<()> {
        let path = self.place(record);
        fs::remove(&path)?;
        // The last one closes the door.
        let _ = std::fs::remove_dir(path.parent().expect("a file has a folder"));
        Ok(())
    }

    /// Whether anything waits for a commit with that tree.
    pub fn is_for(&self, tree: &str) -> bool {
        self.folder.join(tree).is_dir()
    }

    /// Returns the records about a tree, oldest first.
    pub fn about(&self, tree: &str) -> Vec<Record> {
        let Ok(entries) = std::fs::read_dir(self.folder.join(tree)) else { return Vec::new() };
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        let read = |path: &PathBuf| {
            let bytes = fs::read_if_there(path).ok().flatten()?;
            serde_json::from_slice::<Record>(&bytes).ok()
        };
        paths.iter().filter_map(read).filter(|record| record.tree == tree).collect()
    }
}

/// Writes the note of a run that ended, or keeps its record until there is a commit with its tree. What waited
/// for the commit that is checked out now is written too; a run in which nothing ran has no record, and writes that alone.
pub fn write_finished(
    repo: &Repo,
    record: Option<&Record>,
    manner: Manner<'_>,
    now: Stamp,
) -> Result<Option<Written>> {
    let pending = Pending::of(repo);
    let head = repo.head_commit()?;
    let mut wanted = Vec::new();
    if let Some((commit, tree)) = &head {
        let is_other = |waited: &Record| record.is_none_or(|record| waited.run_id != record.run_id);
        let waited = pending.about(tree).into_iter().filter(is_other);
        wanted.extend(waited.map(|record| Wanted { commits: commits_of(&record, commit), record }));
    }
    if let Some(record) = record.filter(|record| is_worth_a_note(record)) {
        match (commit_of(record), &head) {
            (Some(commit), _) => {
                wanted.push(Wanted { record: record.clone(), commits: vec![commit.to_owned()] })
            }
            // It was committed while it ran.
            (None, Some((commit, tree))) if *tree == record.tree => {
                wanted.push(Wanted { record: record.clone(), commits: vec![commit.clone()] });
            }
            _ => pending.keep(record)?,
        }
    }
    if wanted.is_empty() {
        return Ok(None);
    }
    match write(repo, &wanted, manner, now) {
        Ok(written) => {
            for Wanted { record, .. } in &wanted {
                pending.forget(record)?;
            }
            Ok(Some(written))
        }
        Err(err) => {
            // The next run, or `evidence write`, tries again.
            for Wanted { record, .. } in &wanted {
                pending.keep(record)?;
            }
            Err(err.context("no note was written; `git orchestrate evidence write` tries again"))
        }
    }
}

/// Returns the commits that a record is written to when `commit` has its tree.
fn commits_of(record: &Record, commit: &str) -> Vec<String> {
    let own = commit_of(record).filter(|own| *own != commit).map(str::to_owned);
    own.into_iter().chain([commit.to_owned()]).collect()
}

/// What `evidence write` did about one commit.
#[derive(Clone, Debug)]
pub struct Wrote {
    pub commits: Vec<Commit>,
    pub written: Written,
}

/// Writes notes about the commits of a revision or range, from what the ledger knows and what waits for them.
pub fn write_commits(ctx: &Context, commits: Vec<Commit>, manner: Manner<'_>) -> Result<Wrote> {
    let (pending, ledger) = (Pending::of(&ctx.repo), Ledger::of(ctx.repo.common_dir()));
    let mut wanted: Vec<Wanted> = Vec::new();
    for commit in &commits {
        let mut records = pending.about(&commit.tree);
        let entries =
            ledger.about(&[&Subject::tree(&commit.tree, None)]).context("cannot read the ledger")?;
        records.extend(entries.into_iter().filter_map(|entry| match entry {
            Entry::Run { record, origin: Origin::Here } if record.tree == commit.tree => Some(*record),
            _ => None,
        }));
        for record in records.into_iter().filter(is_worth_a_note) {
            match wanted.iter_mut().find(|known| known.record.run_id == record.run_id) {
                Some(known) if known.commits.contains(&commit.id) => {}
                Some(known) => known.commits.push(commit.id.clone()),
                None => wanted.push(Wanted { record, commits: vec![commit.id.clone()] }),
            }
        }
    }
    let written = match wanted.is_empty() {
        true => Written::default(),
        false => write(&ctx.repo, &wanted, manner, ctx.clock.now())?,
    };
    for Wanted { record, .. } in &wanted {
        pending.forget(record)?;
    }
    Ok(Wrote { commits, written })
}
