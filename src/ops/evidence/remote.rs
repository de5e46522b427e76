//! `evidence push` and `evidence fetch`: notes on their way between repositories, never over what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::ours::{Step, moved};
use super::read::{self, Line, Refused, Signature};
use super::{TRIES, lock, manifests, pause, signers};
use crate::git::{Author, Changes, GitError, NOTES, Note, Object, Ref, Repo};
use crate::ops::{Context, Kind, Refusal};
use crate::proof::standing::{Entry, Origin, Signer};
use crate::proof::{Record, note};
use crate::run::shell::word;
use crate::store::ledger::Ledger;
use crate::sys::digest::sha256_hex;

/// How long to wait for another fetch or push of the same repository.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long one exchange with a remote may take, if nobody says otherwise.
pub const LIMIT: Duration = Duration::from_secs(120);

/// How long to wait for somebody who writes notes.
const OF_WRITERS: Duration = Duration::from_secs(30);

/// Where notes are while nobody has looked at them.
const INCOMING: &str = "refs/orchestrate/incoming/";

/// What a remote had the last time, for each remote.
pub(super) const SEEN: &str = "refs/orchestrate/remotes/";

/// Whoever talks with a remote holds it.
pub(super) const LOCK: &str = "remote.lock";

/// What was fetched.
#[derive(Clone, Debug, Default)]
pub struct Fetched {
    pub remote: String,
    /// Writers with something new.
    pub writers: Vec<String>,
    /// How many records are new in the ledger.
    pub records: usize,
    /// How many of them an allowed signer signed.
    pub signed: usize,
    pub refused: Vec<Refused>,
    pub alarms: Vec<Alarm>,
    /// Refs of the remote that hold no notes of anybody, and keep their names from those that would.
    pub foreign: Vec<String>,
}

/// A remote that has not what it had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    pub writer: String,
    pub why: &'static str,
    /// What it had, in hex.
    pub had: String,
    /// What it has now.
    pub has: Option<String>,
}

/// What was sent.
#[derive(Clone, Debug, Default)]
pub struct Pushed {
    pub remote: String,
    /// The writers whose notes the remote has now.
    pub writers: Vec<String>,
    /// How often the remote had to be asked.
    pub tries: u32,
    pub alarms: Vec<Alarm>,
}

/// Returns the remote that is meant: one that was named, `origin`, or the only one.
pub(super) fn named(ctx: &Context, named: Option<&str>) -> Result<String> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let remotes = ctx.repo.remotes()?;
    match remotes.as_slice() {
        [only] => Ok(only.clone()),
        some if some.iter().any(|name| name == "origin") => Ok("origin".to_owned()),
        [] => Err(Refusal::usage("there is no remote")
            .hint("name one, or add one with `git remote add`")
            .into()),
        some => Err(Refusal::usage("it is not clear which remote is meant")
            .hint(format!("one of: {}", some.join(", ")))
            .into()),
    }
}

/// Returns where we keep what a remote had. A URL is no name of a ref.
fn seen_of(remote: &str) -> String {
    let plain = remote.len() < 100 && remote.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match plain {
        true => format!("{SEEN}{remote}/"),
        false => format!("{SEEN}{}/", &sha256_hex(remote.as_bytes())[..16]),
    }
}

fn lost(remote: &str, err: GitError) -> anyhow::Error {
    match err {
        GitError::Program { stderr, .. } => {
            Refusal::new(Kind::Remote, format!("`{remote}` was not reached, or broke off: {stderr}"))
                .hint("nothing is lost here; try again later")
                .into()
        }
        err => err.into(),
    }
}

/// Gets notes from a remote. No exchange with it takes longer than `limit`.
pub fn fetch(ctx: &Context, named: Option<&str>, limit: Duration) -> Result<Fetched> {
    let remote = self::named(ctx, named)?;
    let _one = lock(&ctx.repo, LOCK, PATIENCE)?;
    take_in(ctx, &remote, limit)
}

/// Sends all notes to a remote, and first takes in what it has that we have not.
pub fn push(ctx: &Context, named: Option<&str>) -> Result<Pushed> {
    push_within(ctx, named, LIMIT)
}

/// Like [`push`], and no exchange with the remote takes longer than `limit`.
pub fn push_within(ctx: &Context, named: Option<&str>, limit: Duration) -> Result<Pushed> {
    let remote = self::named(ctx, named)?;
    let _one = lock(&ctx.repo, LOCK, PATIENCE)?;
    let mut pushed = Pushed { remote: remote.clone(), ..Pushed::default() };
    let author = ctx.repo.author(ctx.clock.now().as_millis() / 1000)?;
    let (mut left_out, mut blocked) = (BTreeSet::new(), None);
    for attempt in 0..TRIES {
        let mut refs = ctx.repo.refs_below(NOTES)?;
        refs.retain(|of| is_writer(&of.name[NOTES.len()..]) && !left_out.contains(&of.name));
        if refs.is_empty() {
            return blocked.map_or(Ok(pushed), Err);
        }
        pushed.tries = attempt + 1;
        let names: Vec<_> = refs.iter().map(|of| of.name.clone()).collect();
        let refused = ctx.repo.push_notes(&remote, &names, limit).map_err(|err| lost(&remote, err))?;
        let taken = refs.iter().filter(|of| !refused.iter().any(|(name, _)| *name == of.name));
        for of in taken {
            let seen = format!("{}{}", seen_of(&remote), read::writer_of(of));
            let before = ctx.repo.tip(&seen)?;
            ctx.repo.move_ref(&seen, Some(&of.tip), before.as_deref(), &author)?;
            let writer = read::writer_of(of);
            if !pushed.writers.contains(&writer) {
                pushed.writers.push(writer);
            }
        }
        if refused.is_empty() {
            return blocked.map_or(Ok(pushed), Err);
        }
        // Whatever the reason is, it is a passing one only if somebody else was faster.
        let passing = |words: &str| {
            [
                "fetch first",
                "non-fast-forward",
                "needs force",
                "cannot lock ref",
                "failed to update ref",
                "incorrect old value",
            ]
            .iter()
            .any(|known| words.contains(known))
        };
        if let Some((name, words)) = refused.iter().find(|(_, words)| !passing(words)) {
            let message = format!("`{remote}` did not take `{name}`: {words}");
            return Err(Refusal::new(Kind::Remote, message).hint("nothing is lost here").into());
        }
        let fetched = take_in(ctx, &remote, limit)?;
        left_out.extend(fetched.alarms.iter().map(|alarm| format!("{NOTES}{}", alarm.writer)));
        pushed.alarms = fetched.alarms;
        for (name, _) in &refused {
            let below = format!("{name}/");
            let is_in_the_way = |other: &&String| *other == name || other.starts_with(&below);
            if let Some(other) = fetched.foreign.iter().find(is_in_the_way) {
                left_out.insert(name.clone());
                let message = format!("`{remote}` did not take `{name}`: `{other}` is in its way there");
                let hint = format!(
                    "it holds no notes of anybody; take it away: git push {} --delete {}",
                    word(&remote),
                    word(other)
                );
                blocked = Some(Refusal::new(Kind::Remote, message).hint(hint).into());
            }
        }
        pause(attempt);
    }
    let message = format!("others change the notes of `{remote}` all the time");
    Err(Refusal::new(Kind::Remote, message).hint("nothing is lost here; try again later").into())
}

fn take_in(ctx: &Context, remote: &str, limit: Duration) -> Result<Fetched> {
    let repo = &ctx.repo;
    repo.fetch_notes(remote, INCOMING, limit).map_err(|err| lost(remote, err))?;
    let author = repo.author(ctx.clock.now().as_millis() / 1000)?;
    let (incoming, prefix) = (repo.refs_below(INCOMING)?, seen_of(remote));
    let seen: BTreeMap<_, _> = repo
        .refs_below(&prefix)?
        .into_iter()
        .map(|of| (of.name[prefix.len()..].to_owned(), of.tip))
        .collect();
    let mut fetched = Fetched { remote: remote.to_owned(), ..Fetched::default() };
    let (mut lines, mut moves) = (Vec::new(), Vec::new());
    for (writer, had) in &seen {
        if !incoming.iter().any(|of| of.name[INCOMING.len()..] == **writer) {
            let why = "the remote has nothing of this writer any more";
            fetched.alarms.push(Alarm { writer: writer.clone(), why, had: had.clone(), has: None });
        }
    }
    for Ref { name, tip } in incoming {
        let writer = name[INCOMING.len()..].to_owned();
        if let Some(why) = no_notes(repo, &writer, &tip)? {
            fetched.foreign.push(format!("{NOTES}{writer}"));
            fetched.refused.push(Refused { writer, object: tip, why: why.to_owned(), copied: false });
            continue;
        }
        let had = seen.get(&writer);
        if had == Some(&tip) {
            // There is nothing new; but what was here may have been taken away since.
            join(repo, &format!("{NOTES}{writer}"), &tip, &author)?;
            continue;
        }
        if let Some(had) = had
            && !repo.is_ancestor(had, &tip)?
        {
            let why = "the remote has rewritten the history of this writer";
            fetched.alarms.push(Alarm { writer, why, had: had.clone(), has: Some(tip) });
            continue;
        }
        let known = match had {
            Some(had) => repo.notes(had)?,
            None => Vec::new(),
        };
        let before = lines.len();
        let notes = match repo.notes(&tip) {
            Ok(notes) => notes,
            Err(err) => {
                fetched.refused.push(Refused::unreadable(&writer, &tip, &err));
                continue;
            }
        };
        for note in notes.into_iter().filter(|note| known.binary_search(note).is_err()) {
            match repo.note_text(&note, note::LARGEST) {
                Ok(text) => lines.extend(note::lines(&text).map(|bytes| Line {
                    writer: writer.clone(),
                    object: note.object.clone(),
                    bytes: bytes.to_owned(),
                })),
                Err(err) => fetched.refused.push(Refused::unreadable(&writer, &note.object, &err)),
            }
        }
        if lines.len() > before {
            fetched.writers.push(writer.clone());
        }
        moves.push((writer, tip, had));
    }
    // The ledger first: once a ref has moved, nobody looks at these records again, neither a fetch nor a push.
    enter(ctx, lines, &mut fetched)?;
    for (writer, tip, had) in moves {
        match join(repo, &format!("{NOTES}{writer}"), &tip, &author) {
            Ok(()) => {}
            // Something here is in the way of this writer, and of no other.
            Err(err) if err.downcast_ref::<Refusal>().is_some_and(|it| it.kind == Kind::Invalid) => {
                let why = err.to_string();
                fetched.refused.push(Refused { writer, object: tip, why, copied: false });
                continue;
            }
            Err(err) => return Err(err),
        }
        repo.move_ref(&format!("{prefix}{writer}"), Some(&tip), had.map(String::as_str), &author)?;
    }
    Ok(fetched)
}

/// Whether a writer can have that name: with a slash in it, another one could have no ref.
fn is_writer(name: &str) -> bool {
    !name.contains('/')
}

/// Returns why a ref of a remote holds no notes of anybody, if that is so.
fn no_notes(repo: &Repo, writer: &str, tip: &str) -> Result<Option<&'static str>> {
    if !is_writer(writer) {
        return Ok(Some("no writer has a name with a slash in it"));
    }
    let is_commit = matches!(repo.object(tip)?, Object::Commit { .. });
    Ok((!is_commit).then_some("the ref names no commit, so there are no notes in it"))
}

/// Gives our ref of a writer what another has, and keeps what it has itself.
fn join(repo: &Repo, name: &str, theirs: &str, author: &Author) -> Result<()> {
    let _lock = lock(repo, "lock", OF_WRITERS)?;
    moved(repo, name, author, |ours| {
        let new = match ours {
            None => theirs.to_owned(),
            Some(ours) if repo.is_ancestor(theirs, ours)? => return Ok(Step::Stay(())),
            Some(ours) if repo.is_ancestor(ours, theirs)? => theirs.to_owned(),
            Some(ours) => union(repo, ours, theirs, author)?,
        };
        Ok(Step::Move(new, ()))
    })
}

/// Makes a commit that has the notes of both sides.
fn union(repo: &Repo, ours: &str, theirs: &str, author: &Author) -> Result<String> {
    let own: BTreeMap<_, _> = repo.notes(ours)?.into_iter().map(|note| (note.object.clone(), note)).collect();
    let mut changes = Changes { blobs: manifests::missing(repo, ours, theirs)?, ..Changes::default() };
    for note in repo.notes(theirs)? {
        match own.get(&note.object) {
            // What is there already goes along as it is, whatever it says.
            None => changes.kept.push((note.object, note.blob)),
            Some(mine) if mine.blob == note.blob => {}
            Some(mine) => match (readable(repo, mine)?, readable(repo, &note)?) {
                (Some(mine), Some(text)) => changes.notes.push((note.object, note::union(&mine, &text))),
                // Of two notes of which one is read by nobody the other stays; the history has both.
                (None, Some(_)) => changes.kept.push((note.object, note.blob)),
                (_, None) => {}
            },
        }
    }
    Ok(repo.commit_notes(&[ours, theirs], &changes, author, "evidence: what two places had written\n")?)
}

/// Returns the text of a note; nothing if it is larger than any that is read.
fn readable(repo: &Repo, note: &Note) -> Result<Option<Vec<u8>>> {
    match repo.note_text(note, note::LARGEST) {
        Ok(text) => Ok(Some(text)),
        Err(GitError::NoteTooLarge { .. }) => Ok(None),
        Err(err) => Err(err.into()),
    }
}

/// Enters records that nobody here has written into the ledger.
fn enter(ctx: &Context, lines: Vec<Line>, fetched: &mut Fetched) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let unknown = unknown(ctx, lines)?;
    fetched.refused.extend(unknown.refused);
    let ledger = Ledger::of(ctx.repo.common_dir());
    let mut entries = Vec::new();
    for (record, origin) in unknown.records {
        fetched.records += 1;
        fetched.signed += usize::from(matches!(origin, Origin::Note { signer: Some(_), .. }));
        entries.push((Entry::Run { record: Box::new(record.clone()), origin }, record));
    }
    if entries.is_empty() {
        return Ok(());
    }
    let subjects: Vec<_> = entries.iter().map(|(_, record)| record.subjects()).collect();
    let all = entries.iter().zip(&subjects).map(|((entry, _), subjects)| (entry, subjects.as_slice()));
    ledger.add_all(&all.collect::<Vec<_>>()).context("the ledger was not written")
}

/// What notes say that the ledger does not.
pub(super) struct Unknown {
    pub records: Vec<(Record, Origin)>,
    /// What is not to be believed.
    pub refused: Vec<Refused>,
}

/// Returns what lines say that is to be believed and that the ledger has not.
pub(super) fn unknown(ctx: &Context, lines: Vec<Line>) -> Result<Unknown> {
    let allowed = signers::allowed(ctx)?;
    let reading = read::judge(&ctx.repo, lines, &allowed)?;
    let ledger = Ledger::of(ctx.repo.common_dir());
    let mut records = Vec::new();
    for found in reading.found {
        let record = found.envelope.statement.record;
        let signer = match found.signature {
            Signature::Allowed { principal, key } => Some(Signer { principal, key }),
            _ => None,
        };
        let is_known = |entry: Entry| match entry {
            Entry::Run { record: known, origin } => {
                let same = (&known.run_id, &known.nonce) == (&record.run_id, &record.nonce);
                same && match origin {
                    Origin::Here => true,
                    Origin::Note { signer: known, .. } => known.is_some() || signer.is_none(),
                }
            }
            Entry::Cleared { .. } | Entry::LetPass(_) => false,
        };
        if ledger.about(&record.subjects()).context("cannot read the ledger")?.into_iter().any(is_known) {
            continue;
        }
        let origin = Origin::Note { writer: found.line.writer, signer };
        records.push((record, origin));
    }
    Ok(Unknown { records, refused: reading.refused })
}
