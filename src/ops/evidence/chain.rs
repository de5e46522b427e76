//! The chain of a writer: each record names the one before it, so that one which was removed is missed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Result;

use super::parallel::in_parallel;
use super::{ours, read};
use crate::git::{Note, Ref, Repo};
use crate::proof::note;
use crate::proof::statement::Envelope;
use crate::sys::digest::sha256_hex;

/// What is wrong with the records of writers, by their ids.
pub type Chains = HashMap<String, Option<String>>;

/// Lines that were read already, and what stands in each.
pub type Known<'a> = HashMap<&'a [u8], &'a Envelope>;

/// Looks at the chains of writers, wherever their records stand.
pub fn of(repo: &Repo, refs: &[Ref], writers: &BTreeSet<&str>, known: &Known<'_>) -> Result<Chains> {
    let mut chains = Chains::new();
    for writer in writers {
        let refs: Vec<_> = refs.iter().filter(|of| read::writer_of(of) == **writer).collect();
        chains.insert((*writer).to_owned(), broken(repo, writer, &refs, known)?);
    }
    Ok(chains)
}

/// What is known of records that are not there any more.
#[derive(Clone, Debug, Default)]
pub struct Removed {
    /// What is wrong with the chain of any writer.
    pub gaps: Vec<String>,
    /// The gaps of those who had a note about an object, by its id in hex.
    pub noted: BTreeMap<String, Vec<String>>,
}

/// Looks for records about objects of which nothing is found: somebody may have removed them all, so that no
/// chain would be looked at. What is known of `chains` is not read again.
pub fn removed(
    repo: &Repo,
    refs: &[Ref],
    objects: &BTreeSet<String>,
    chains: &Chains,
    known: &Known<'_>,
) -> Result<Removed> {
    let mut removed = Removed::default();
    if objects.is_empty() {
        return Ok(removed);
    }
    // A ref that cannot be read is refused for what it is, whatever was asked about.
    let refs: Vec<_> = refs.iter().filter(|of| repo.notes(&of.tip).is_ok()).collect();
    let writers: BTreeSet<_> = refs.iter().map(|of| read::writer_of(of)).collect();
    for writer in writers {
        let refs: Vec<_> = refs.iter().copied().filter(|of| read::writer_of(of) == writer).collect();
        let gap = match chains.get(&writer) {
            Some(gap) => gap.clone(),
            None => broken(repo, &writer, &refs, known)?,
        };
        let Some(gap) = gap else { continue };
        let mut noted = BTreeSet::new();
        for of in refs {
            // Where the history is not all here nobody can tell; that there is a gap is told all the same.
            noted.extend(repo.noted_ever(&of.tip, objects).unwrap_or_default());
        }
        for object in noted {
            let why = format!("`{writer}` had a note here that was removed: {gap}");
            removed.noted.entry(object).or_default().push(why);
        }
        removed.gaps.push(gap);
    }
    Ok(removed)
}

/// Returns what is wrong with the chain of a writer: a record is named that is not there.
fn broken(repo: &Repo, writer: &str, refs: &[&Ref], read: &Known<'_>) -> Result<Option<String>> {
    let mut notes = BTreeSet::new();
    // What a ref says was written last must be there too: nothing comes after it that would miss it.
    let mut last = Vec::new();
    for of in refs {
        notes.extend(repo.notes(&of.tip)?);
        last.extend(ours::last_record(repo, &of.tip)?);
    }
    let notes: Vec<_> = notes.into_iter().collect();
    let links = in_parallel(&notes, |note| links(repo, note, read));
    let (mut known, mut named) = (BTreeSet::new(), BTreeMap::new());
    for links in links {
        for Link { digest, previous, run } in links? {
            known.insert(digest);
            if let Some(previous) = previous {
                named.insert(previous, run);
            }
        }
    }
    let gap = named.into_iter().find(|(digest, _)| !known.contains(digest));
    if let Some((digest, run)) = gap {
        return Ok(Some(format!("`{writer}` had written record {digest} before run {run}, and it is gone")));
    }
    let gap = last.into_iter().find(|digest| !known.contains(digest));
    Ok(gap.map(|digest| format!("`{writer}` had written record {digest} last, and it is gone")))
}

/// A record, and the one before it.
struct Link {
    digest: String,
    previous: Option<String>,
    run: String,
}

fn links(repo: &Repo, note: &Note, known: &Known<'_>) -> Result<Vec<Link>> {
    // What is too large is refused where it stands, and links nothing.
    let Ok(text) = repo.note_text(note, note::LARGEST) else { return Ok(Vec::new()) };
    let link = |envelope: &Envelope| Link {
        digest: envelope.digest(sha256_hex),
        previous: envelope.statement.previous.clone(),
        run: envelope.statement.record.run_id.clone(),
    };
    let of_line = |line: &[u8]| match known.get(line) {
        Some(envelope) => Some(link(envelope)),
        None => Envelope::parse(line, sha256_hex).ok().as_ref().map(link),
    };
    Ok(note::lines(&text).filter_map(of_line).collect())
}
