//! Reading notes: which records stand there, whose signature is on each, and which lines are not to be believed.

use std::collections::{BTreeSet, HashMap, HashSet};

use anyhow::Result;

use super::display::FETCHED;
use super::parallel::in_parallel;
use super::signers::Signers;
use crate::git::{Checked, Checker, Commit, GitError, NOTES, Object, Ref, Repo};
use crate::proof::note;
use crate::proof::statement::{Envelope, Flaw, to_sign};
use crate::run::key::Subject;
use crate::sys::digest::sha256_hex;

/// A line of a note, and where it stands.
#[derive(Clone, Debug)]
pub struct Line {
    /// The writer by the name of the ref.
    pub writer: String,
    /// The object that the note is about, in hex.
    pub object: String,
    pub bytes: Vec<u8>,
}

/// A record of a note that is whole, about what it is said to be about, and not changed since it was signed.
#[derive(Clone, Debug)]
pub struct Found {
    pub line: Line,
    pub envelope: Envelope,
    pub signature: Signature,
}

/// Whose signature is on a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    Unsigned,
    Allowed {
        principal: String,
        key: String,
    },
    /// It is good, and nobody says that this signer is allowed.
    Stranger {
        key: String,
    },
}

/// A line that is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub writer: String,
    pub object: String,
    pub why: String,
    /// Whether it is a record of something else, put where it does not belong.
    pub copied: bool,
}

impl Refused {
    /// A note that cannot be read, or is larger than any of ours.
    pub fn unreadable(writer: &str, object: &str, err: &GitError) -> Self {
        Self { writer: writer.to_owned(), object: object.to_owned(), why: err.to_string(), copied: false }
    }

    fn new(Line { writer, object, .. }: Line, why: String) -> Self {
        Self { writer, object, why, copied: false }
    }
}

/// What notes say.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub found: Vec<Found>,
    pub refused: Vec<Refused>,
}

/// Reads and judges what the notes of all writers say about commits and their trees.
pub fn about(repo: &Repo, refs: &[Ref], commits: &[Commit], signers: &Signers) -> Result<Reading> {
    let objects = commits.iter().flat_map(|commit| [commit.id.clone(), commit.tree.clone()]).collect();
    let (lines, refused) = lines(repo, refs, &objects);
    let mut reading = judge(repo, lines, signers)?;
    reading.refused.extend(refused);
    Ok(reading)
}

/// Returns the lines of the notes about objects, of all writers, and what cannot be read.
pub fn lines(repo: &Repo, refs: &[Ref], objects: &BTreeSet<String>) -> (Vec<Line>, Vec<Refused>) {
    let (mut lines, mut refused) = (Vec::new(), Vec::new());
    let refuse = |writer: &str, object: &String, err: &GitError| Refused {
        writer: writer.to_owned(),
        object: object.clone(),
        why: err.to_string(),
        copied: false,
    };
    for of in refs {
        let writer = writer_of(of);
        match repo.notes_about(&of.tip, objects, note::LARGEST) {
            Ok(notes) => {
                for (object, text) in notes {
                    match text {
                        Ok(text) => lines.extend(note::lines(&text).map(|bytes| Line {
                            writer: writer.clone(),
                            object: object.clone(),
                            bytes: bytes.to_owned(),
                        })),
                        Err(err) => refused.push(refuse(&writer, &object, &err)),
                    }
                }
            }
            // What a ref would say about any of them nobody knows.
            Err(err) => refused.extend(objects.iter().map(|object| refuse(&writer, object, &err))),
        }
    }
    (lines, refused)
}

/// Returns what the notes of all writers say about subjects that several trees may have in common, as far as it is to
/// be believed.
pub fn about_subjects(
    repo: &Repo,
    refs: &[Ref],
    subjects: &BTreeSet<&Subject>,
    signers: &Signers,
) -> Result<Vec<Found>> {
    if subjects.is_empty() {
        return Ok(Vec::new());
    }
    let mut notes = Vec::new();
    for of in refs {
        // What cannot be read is refused where it is about one of the commits.
        notes.extend(repo.notes(&of.tip).unwrap_or_default().into_iter().map(|note| (writer_of(of), note)));
    }
    let lines = in_parallel(&notes, |(writer, note)| {
        let text = repo.note_text(note, note::LARGEST).unwrap_or_default();
        let about = |bytes: &[u8]| {
            let envelope = Envelope::parse(bytes, sha256_hex).ok()?;
            let is_about = envelope.statement.record.subjects().iter().any(|it| subjects.contains(it));
            let (writer, object) = (writer.clone(), note.object.clone());
            is_about.then(|| (Line { writer, object, bytes: bytes.to_owned() }, Ok(envelope)))
        };
        note::lines(&text).filter_map(about).collect::<Vec<_>>()
    });
    Ok(judge_parsed(repo, lines.into_iter().flatten().collect(), signers)?.found)
}

/// Returns every ref with notes of ours or of others, however it came here.
pub fn refs(repo: &Repo) -> Result<Vec<Ref>> {
    let mut refs = repo.refs_below(NOTES)?;
    let fetched = repo.refs_below(FETCHED)?;
    refs.extend(fetched.into_iter().filter(|of| of.name[FETCHED.len()..].contains(BELOW)));
    Ok(refs)
}

/// What stands between the name of a remote and that of a writer.
const BELOW: &str = "/orchestrate/";

/// Returns the writer whose ref that is.
pub fn writer_of(of: &Ref) -> String {
    let fetched = || of.name.strip_prefix(FETCHED)?.split_once(BELOW).map(|(_, writer)| writer);
    of.name.strip_prefix(NOTES).or_else(fetched).unwrap_or(of.writer()).to_owned()
}

/// Judges lines.
pub fn judge(repo: &Repo, lines: Vec<Line>, signers: &Signers) -> Result<Reading> {
    // The commit's note and the tree's have the same lines, and to read one takes a while.
    let (mut places, mut distinct) = (HashMap::new(), Vec::new());
    let mut place = |line: &Line| {
        *places.entry(sha256_hex(&line.bytes)).or_insert_with(|| {
            distinct.push(line.bytes.clone());
            distinct.len() - 1
        })
    };
    let at: Vec<_> = lines.iter().map(&mut place).collect();
    let parsed = in_parallel(&distinct, |bytes| Envelope::parse(bytes, sha256_hex));
    let lines = lines.into_iter().zip(at).map(|(line, at)| (line, parsed[at].clone()));
    judge_parsed(repo, lines.collect(), signers)
}

/// Judges lines and what stands in each.
fn judge_parsed(
    repo: &Repo,
    lines: Vec<(Line, std::result::Result<Envelope, Flaw>)>,
    signers: &Signers,
) -> Result<Reading> {
    let mut reading = Reading::default();
    let mut whole: Vec<(Line, Envelope)> = Vec::new();
    let mut objects: HashMap<String, Object> = HashMap::new();
    let mut known: HashSet<Vec<u8>> = HashSet::new();
    for (line, parsed) in lines {
        if !objects.contains_key(&line.object) {
            objects.insert(line.object.clone(), repo.object(&line.object)?);
        }
        let object = &objects[&line.object];
        match parsed {
            Err(flaw) => reading.refused.push(Refused::new(line, flaw.to_string())),
            Ok(envelope) => match misplaced(&line, &envelope, object) {
                Some(refused) => reading.refused.push(refused),
                // The commit's note and the tree's say the same.
                None if known.contains(&line.bytes) => {}
                // What that is nobody can say here; the note about the tree says it too.
                None if *object == Object::Missing && envelope.statement.record.tree != line.object => {}
                None => {
                    known.insert(line.bytes.clone());
                    whole.push((line, envelope));
                }
            },
        }
    }
    let checker = repo.checker(&signers.text)?;
    let checked = in_parallel(&whole, |(_, envelope)| check(&checker, envelope));
    for ((line, envelope), checked) in whole.into_iter().zip(checked) {
        match checked {
            Ok(signature) => reading.found.push(Found { line, envelope, signature }),
            Err(why) => reading.refused.push(Refused::new(line, why)),
        }
    }
    reading.drop_copies();
    Ok(reading)
}

impl Reading {
    /// A nonce belongs to one record. Of several with the same the one with the best signature is it.
    fn drop_copies(&mut self) {
        let worth = |found: &Found| match found.signature {
            Signature::Allowed { .. } => 0,
            Signature::Stranger { .. } => 1,
            Signature::Unsigned => 2,
        };
        let mut order: Vec<_> = (0..self.found.len()).collect();
        order.sort_by_key(|at| worth(&self.found[*at]));
        let mut first: HashMap<String, Vec<u8>> = HashMap::new();
        let mut copies = Vec::new();
        for at in order {
            let Envelope { statement, payload, .. } = &self.found[at].envelope;
            match first.get(&statement.record.nonce) {
                Some(known) if known != payload => copies.push(at),
                Some(_) => {}
                None => drop(first.insert(statement.record.nonce.clone(), payload.clone())),
            }
        }
        copies.sort_unstable();
        for at in copies.into_iter().rev() {
            let Found { line, envelope, .. } = self.found.remove(at);
            let run = &envelope.statement.record.run_id;
            let why = format!("the record of run `{run}` has the nonce of another one: it was made of it");
            self.refused.push(Refused::new(line, why));
        }
    }
}

/// Says why a record does not belong where it stands.
fn misplaced(line: &Line, envelope: &Envelope, object: &Object) -> Option<Refused> {
    let statement = &envelope.statement;
    if statement.writer != line.writer {
        let why = format!(
            "the record was written by `{}` and stands in the notes of `{}`",
            statement.writer, line.writer
        );
        return Some(Refused::new(line.clone(), why));
    }
    let record = &statement.record;
    let belongs = match object {
        Object::Commit { tree } => *tree == record.tree,
        Object::Missing => true,
        Object::Tree | Object::Other => record.tree == line.object,
    };
    if !belongs {
        let why = format!("the record is about tree {} and was copied from there", record.tree);
        return Some(Refused { copied: true, ..Refused::new(line.clone(), why) });
    }
    None
}

fn check(checker: &Checker<'_>, envelope: &Envelope) -> std::result::Result<Signature, String> {
    let message = to_sign(&envelope.payload);
    let mut stranger = None;
    for signature in &envelope.signatures {
        let bytes = signature.bytes().ok_or("the signature cannot be read")?;
        match checker.check(&message, &bytes) {
            Checked::Allowed { principal, key } => return Ok(Signature::Allowed { principal, key }),
            Checked::Stranger { key } => stranger = Some(Signature::Stranger { key }),
            Checked::Bad { why } => return Err(why),
        }
    }
    Ok(stranger.unwrap_or(Signature::Unsigned))
}
