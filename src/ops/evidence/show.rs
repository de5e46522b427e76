//! `evidence show`: what the notes and the ledger say of commits.

use anyhow::{Context as _, Result};

use super::manifests::{self, Along};
use super::read::{self, Found, Refused, Signature};
use super::signers::{self, Signers};
use crate::git::Commit;
use crate::ops::{Context, Refusal};
use crate::proof::Record;
use crate::proof::standing::{Entry, LetPass, Origin};
use crate::run::key::Subject;
use crate::store::ledger::Ledger;

/// What is known of commits.
#[derive(Clone, Debug)]
pub struct Shown {
    pub commits: Vec<OfCommit>,
    pub signers: Signers,
}

/// What is known of one commit.
#[derive(Clone, Debug)]
pub struct OfCommit {
    pub commit: Commit,
    /// Oldest first.
    pub records: Vec<Known>,
    pub refused: Vec<Refused>,
    /// What a push or the commit itself let pass of it, oldest first.
    pub let_pass: Vec<LetPass>,
}

/// A record, and where it was found.
#[derive(Clone, Debug)]
pub struct Known {
    pub record: Record,
    /// The note, if there is one.
    pub note: Option<OfNote>,
    /// Whether a run of this repository wrote it into the ledger.
    pub here: bool,
}

/// What a note adds to a record.
#[derive(Clone, Debug)]
pub struct OfNote {
    pub writer: String,
    pub signature: Signature,
    /// The digest of the record, and of the one that the writer had written before.
    pub digest: String,
    pub previous: Option<String>,
    /// The manifest that went along, if one did.
    pub manifest: Option<Attached>,
}

/// A manifest that a record names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    pub digest: String,
    /// As it was on disk, if somebody asked for it and it is here.
    pub whole: Option<Vec<u8>>,
}

impl Shown {
    /// Whether something was found that is not to be believed.
    pub fn is_doubtful(&self) -> bool {
        self.commits.iter().any(|commit| !commit.refused.is_empty())
    }
}

/// Returns the commits that a revision or a range names, oldest first.
pub fn commits(ctx: &Context, revision: &str) -> Result<Vec<Commit>> {
    let no_commit = || Refusal::no_commit(revision).hint("name a commit, or a range such as `main..HEAD`");
    if revision.contains("..") {
        return ctx.repo.commits(revision).map_err(|err| anyhow::Error::from(err).context(no_commit()));
    }
    Ok(vec![ctx.repo.commit(revision)?.ok_or_else(no_commit)?])
}

/// Looks up what is known of the commits of a revision or range.
pub fn show(ctx: &Context, revision: &str, signers: Option<Signers>) -> Result<Shown> {
    let commits = commits(ctx, revision)?;
    let signers = signers.map_or_else(|| signers::allowed(ctx), Ok)?;
    let reading = read::about(&ctx.repo, &read::refs(&ctx.repo)?, &commits, &signers)?;
    let ledger = Ledger::of(ctx.repo.common_dir());
    let of_commit = |commit: Commit| -> Result<OfCommit> {
        let is_about = |object: &str| object == commit.id || object == commit.tree;
        let found = reading.found.iter().filter(|found| found.envelope.statement.record.tree == commit.tree);
        let mut records: Vec<_> = found.map(of_note).collect();
        let mut let_pass = Vec::new();
        for entry in ledger.about(&[&Subject::tree(&commit.tree, None)]).context("cannot read the ledger")? {
            let record = match entry {
                Entry::Run { record, origin: Origin::Here } => record,
                // What was let pass before there was a commit is about the tree.
                Entry::LetPass(passed) if passed.commit == commit.id || passed.remote.is_empty() => {
                    let_pass.push(*passed);
                    continue;
                }
                _ => continue,
            };
            let same = |known: &&mut Known| {
                (&known.record.run_id, &known.record.nonce) == (&record.run_id, &record.nonce)
            };
            match records.iter_mut().find(same) {
                Some(known) => known.here = true,
                None if record.tree == commit.tree => {
                    records.push(Known { record: *record, note: None, here: true });
                }
                None => {}
            }
        }
        records.sort_by_key(|known| known.record.completed_at.as_millis());
        let refused = reading.refused.iter().filter(|refused| is_about(&refused.object)).cloned().collect();
        Ok(OfCommit { commit, records, refused, let_pass })
    };
    let commits = commits.into_iter().map(of_commit).collect::<Result<_>>()?;
    Ok(Shown { commits, signers })
}

fn of_note(found: &Found) -> Known {
    let statement = &found.envelope.statement;
    Known {
        record: statement.record.clone(),
        note: Some(OfNote {
            writer: statement.writer.clone(),
            signature: found.signature.clone(),
            digest: found.envelope.digest(crate::sys::digest::sha256_hex),
            previous: statement.previous.clone(),
            manifest: statement.manifest.clone().map(|digest| Attached { digest, whole: None }),
        }),
        here: false,
    }
}

/// Reads the manifests that went along with what is shown. One that is not what its record names is refused.
pub fn read_manifests(ctx: &Context, shown: &mut Shown) -> Result<()> {
    let refs = read::refs(&ctx.repo)?;
    for of in &mut shown.commits {
        for Known { record, note, .. } in &mut of.records {
            let Some(OfNote { writer, manifest: Some(attached), .. }) = note else { continue };
            match manifests::read(&ctx.repo, &refs, writer, &record.run_id, &attached.digest)? {
                Along::Whole(whole) => attached.whole = Some(whole),
                Along::Absent => {}
                Along::Other(why) => {
                    let (writer, object) = (writer.clone(), record.tree.clone());
                    of.refused.push(Refused { writer, object, why, copied: false });
                }
            }
        }
    }
    Ok(())
}
