//! The ref of notes that this writer has: who that is, what stands there last, and how it moves while others move it.

use anyhow::Result;

use super::{Kind, Refusal, TRIES, pause};
use crate::git::{Author, Changes, NOTES, Repo, Signing};
use crate::proof::note;
use crate::run::shell::word;
use crate::run::stamp::Stamp;
use crate::sys::digest::sha256_hex;
use crate::sys::{fs, process};

/// What begins the line of a commit message that names the last record.
const LAST: &str = "Record: ";

/// How many commits of a writer are looked through for the last record.
const FAR_ENOUGH: usize = 1000;

/// Who writes, with which key, and where.
#[derive(Debug)]
pub struct Ours {
    pub author: Author,
    pub signing: Option<Signing>,
    /// Why there is no key, if there should be one.
    pub unsigned: Option<String>,
    /// A person on a machine with a key. It tells nobody who that is.
    pub writer: String,
    /// The full name of the ref.
    pub reference: String,
}

impl Ours {
    /// Returns who we are; `sign` is whether records are signed, as commits are if nothing is said.
    pub fn of(repo: &Repo, sign: Option<bool>, now: Stamp) -> Result<Self> {
        let author = repo.author(now.as_millis() / 1000)?;
        let (signing, unsigned) = match repo.signing(sign) {
            Ok(signing) => (signing, None),
            Err(err) => (None, Some(err.to_string())),
        };
        let writer = writer(&author, signing.as_ref());
        let reference = format!("{NOTES}{writer}");
        Ok(Self { author, signing, unsigned, writer, reference })
    }
}

fn writer(author: &Author, signing: Option<&Signing>) -> String {
    let machine = fs::read_if_there("/etc/machine-id".as_ref()).ok().flatten().unwrap_or_default();
    let key = signing.map(Signing::key).unwrap_or_default();
    let parts =
        format!("{}\n{}\n{}\n{key}\n", author.email, process::host(), String::from_utf8_lossy(&machine));
    sha256_hex(parts.as_bytes())[..16].to_owned()
}

/// Returns the digest of the last record of a writer, whatever others did to the ref since.
pub fn last_record(repo: &Repo, tip: &str) -> Result<Option<String>> {
    let mut at = tip.to_owned();
    for _ in 0..FAR_ENOUGH {
        let (message, parent) = repo.message(&at)?;
        if let Some(digest) = message.lines().find_map(|line| line.strip_prefix(LAST)) {
            return Ok(Some(digest.to_owned()));
        }
        match parent {
            Some(parent) => at = parent,
            None => break,
        }
    }
    Ok(None)
}

/// Returns the message of a commit that says which record of the writer is the last one.
pub fn message(what: &str, last: Option<&str>) -> String {
    let last = last.map(|last| format!("\n{LAST}{last}\n")).unwrap_or_default();
    format!("evidence: {what}\n{last}")
}

/// Returns what the note about an object says once the changes are made; nothing is an empty text.
pub fn note_with(repo: &Repo, tip: Option<&str>, changes: &Changes, object: &str) -> Result<Vec<u8>> {
    if let Some((_, text)) = changes.notes.iter().find(|(known, _)| known == object) {
        return Ok(text.clone());
    }
    let found = tip.map(|tip| repo.note(tip, object, note::LARGEST)).transpose()?;
    Ok(found.flatten().unwrap_or_default())
}

/// What is to become of a ref.
pub enum Step<T> {
    /// It stays, and that is the answer.
    Stay(T),
    /// It is to name that commit; then that is the answer.
    Move(String, T),
}

/// Returns a ref because of which there cannot be one of that name: below it, or above it.
fn in_the_way(repo: &Repo, name: &str) -> Result<Option<String>> {
    let below = format!("{name}/");
    let mut refs = repo.refs_below(NOTES)?.into_iter().map(|of| of.name);
    Ok(refs.find(|other| other.starts_with(&below) || name.starts_with(&format!("{other}/"))))
}

/// Asks what is to become of a ref, by the commit that it names now, until nobody else was faster.
pub fn moved<T>(
    repo: &Repo,
    name: &str,
    author: &Author,
    mut next: impl FnMut(Option<&str>) -> Result<Step<T>>,
) -> Result<T> {
    for attempt in 0..TRIES {
        let tip = repo.tip(name)?;
        match next(tip.as_deref())? {
            Step::Stay(answer) => return Ok(answer),
            Step::Move(new, answer) => {
                if repo.move_ref(name, Some(&new), tip.as_deref(), author)? {
                    return Ok(answer);
                }
            }
        }
        if let Some(other) = in_the_way(repo, name)? {
            let message = format!("`{other}` is in the way of `{name}`");
            let hint = format!("no writer has that name; take it away: git update-ref -d {}", word(&other));
            return Err(Refusal::new(Kind::Invalid, message).hint(hint).into());
        }
        pause(attempt);
    }
    anyhow::bail!("others change `{name}` all the time")
}
