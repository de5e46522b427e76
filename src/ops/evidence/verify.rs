//! `evidence verify`: whether what is required of commits is proven, and which of the conditions fails if not.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context as _, Result};
use jiff::SignedDuration;

use super::read::{self, Found, Refused, Signature};
use super::show::commits;
use super::signers::{self, Signers};
use crate::git::{Commit, Ref, Repo};
use crate::ops::Context;
use crate::proof::standing::{Entry, Origin, Rules, Signer, standing};
use crate::proof::statement::Envelope;
use crate::proof::{Key, Reason, Record, StageRecord, Standing, note};
use crate::run::key::Subject;
use crate::store::ledger::Ledger;
use crate::sys::digest::sha256_hex;

/// What is required.
#[derive(Clone, Debug)]
pub struct Required {
    /// Ids of stages.
    pub stages: Vec<String>,
    /// Whether only what an allowed signer signed counts.
    pub signed: bool,
    /// How old a verdict may be.
    pub max_age: Option<SignedDuration>,
    pub signers: Option<Signers>,
}

/// What was found out about commits.
#[derive(Clone, Debug)]
pub struct Verified {
    pub commits: Vec<OfCommit>,
    pub signers: Signers,
}

/// What was found out about one commit.
#[derive(Clone, Debug)]
pub struct OfCommit {
    pub commit: Commit,
    pub verdicts: Verdicts,
    /// The runs that prove the stages, in the order in which they are required.
    pub proven_by: Vec<(String, String)>,
    pub refused: Vec<Refused>,
}

/// One condition each. Nothing where it was not asked, or where nothing is there to ask about.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    pub present: Verdict,
    pub bound: Verdict,
    pub complete: Verdict,
    pub signature: Verdict,
    pub allowed: Verdict,
    pub fresh: Verdict,
    pub consistent: Verdict,
    pub chain: Verdict,
}

/// Whether a condition holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    #[default]
    NotAsked,
    Holds,
    Fails(String),
}

impl Verdict {
    fn of(problems: Vec<String>) -> Self {
        match problems.is_empty() {
            true => Self::Holds,
            false => Self::Fails(problems.join("; ")),
        }
    }
}

impl Verdicts {
    /// Returns each with its name.
    pub fn all(&self) -> [(&'static str, &Verdict); 8] {
        [
            ("present", &self.present),
            ("bound", &self.bound),
            ("complete", &self.complete),
            ("signature", &self.signature),
            ("allowed", &self.allowed),
            ("fresh", &self.fresh),
            ("consistent", &self.consistent),
            ("chain", &self.chain),
        ]
    }
}

impl OfCommit {
    /// Whether everything that was asked holds.
    pub fn is_proven(&self) -> bool {
        let fails = |(_, verdict): &(_, &Verdict)| matches!(verdict, Verdict::Fails(_));
        self.refused.is_empty() && !self.verdicts.all().iter().any(fails)
    }

    /// Whether something is not to be believed.
    pub fn is_invalid(&self) -> bool {
        !self.refused.is_empty() || matches!(self.verdicts.chain, Verdict::Fails(_))
    }
}

/// Checks the commits of a revision or range.
pub fn verify(ctx: &Context, revision: &str, required: &Required) -> Result<Verified> {
    let commits = commits(ctx, revision)?;
    let signers = required.signers.clone().map_or_else(|| signers::allowed(ctx), Ok)?;
    let refs = read::refs(&ctx.repo)?;
    let reading = read::about(&ctx.repo, &refs, &commits, &signers)?;
    let mut by_tree: HashMap<&str, Vec<&Found>> = HashMap::new();
    for found in &reading.found {
        by_tree.entry(&found.envelope.statement.record.tree).or_default().push(found);
    }
    let mut judge = Judge {
        ctx,
        required,
        ledger: Ledger::of(ctx.repo.common_dir()),
        rules: Rules { now: ctx.clock.now(), max_age: required.max_age, signed_by_others: true },
        refs: &refs,
        chains: BTreeMap::new(),
    };
    let mut of_commits = Vec::new();
    for commit in commits {
        let found = by_tree.get(commit.tree.as_str()).cloned().unwrap_or_default();
        let is_about = |refused: &&Refused| refused.object == commit.id || refused.object == commit.tree;
        let refused = reading.refused.iter().filter(is_about).cloned().collect();
        of_commits.push(judge.commit(commit, &found, refused)?);
    }
    Ok(Verified { commits: of_commits, signers })
}

struct Judge<'a> {
    ctx: &'a Context,
    required: &'a Required,
    ledger: Ledger,
    rules: Rules,
    refs: &'a [Ref],
    /// What is wrong with the records of a writer, as far as somebody asked.
    chains: BTreeMap<String, Option<String>>,
}

impl Judge<'_> {
    fn commit(&mut self, commit: Commit, found: &[&Found], refused: Vec<Refused>) -> Result<OfCommit> {
        let mut verdicts = Verdicts::default();
        let mut proven_by = Vec::new();
        let tree = Subject::tree(&commit.tree, None);
        let here = self.ledger.about(&[&tree]).context("cannot read the ledger")?;
        let here = here.into_iter().filter(|entry| match entry {
            Entry::Run { record, origin } => record.tree == commit.tree && self.counts(origin),
            Entry::Cleared { .. } => true,
        });
        let mut entries: Vec<_> = here.collect();
        let noted = found.iter().filter(|found| !self.required.signed || is_allowed(found));
        entries.extend(noted.map(|found| entry_of(found)));
        let records = || entries.iter().filter_map(record_of);
        verdicts.present = match found.is_empty() && records().next().is_none() {
            true => Verdict::Fails("there is no record of this tree".to_owned()),
            false => Verdict::Holds,
        };
        let copied = refused.iter().filter(|refused| refused.copied);
        verdicts.bound = Verdict::of(copied.map(|refused| refused.why.clone()).collect());
        let (mut incomplete, mut old, mut contradicted) = (Vec::new(), Vec::new(), Vec::new());
        for id in &self.required.stages {
            let all: Vec<_> = records()
                .flat_map(|record| {
                    record.stages.iter().filter(|stage| stage.id == *id).map(move |stage| (record, stage))
                })
                .collect();
            match self.stage(id, &all, &entries)? {
                Ruling::Proven(run) => proven_by.push((id.clone(), run)),
                Ruling::Old(why) => old.push(why),
                Ruling::Contradicted(why) => contradicted.push(why),
                Ruling::Missing(why) => incomplete.push(why),
            }
        }
        verdicts.complete = Verdict::of(incomplete);
        if self.required.max_age.is_some() || !old.is_empty() {
            verdicts.fresh = Verdict::of(old);
        }
        verdicts.consistent = Verdict::of(contradicted);
        if self.required.signed {
            let unsigned = found.iter().all(|found| found.signature == Signature::Unsigned);
            let allowed = found.iter().any(|found| is_allowed(found));
            let no = |what: &str| Verdict::Fails(what.to_owned());
            verdicts.signature = if unsigned { no("no record is signed") } else { Verdict::Holds };
            verdicts.allowed = match allowed {
                true => Verdict::Holds,
                false if unsigned => Verdict::NotAsked,
                false => no("nobody who signed is allowed to"),
            };
        }
        let writers: BTreeSet<_> = found.iter().map(|found| found.line.writer.clone()).collect();
        if !writers.is_empty() {
            let mut broken = Vec::new();
            for writer in writers {
                broken.extend(self.chain(&writer)?);
            }
            verdicts.chain = Verdict::of(broken);
        }
        Ok(OfCommit { commit, verdicts, proven_by, refused })
    }

    /// Whether what the ledger got from there counts.
    fn counts(&self, origin: &Origin) -> bool {
        match origin {
            Origin::Here => !self.required.signed,
            Origin::Note { signer, .. } => !self.required.signed || signer.is_some(),
        }
    }

    /// Returns what the records of a stage come to, whatever it ran with: one contradiction is enough to doubt it.
    fn stage(&self, id: &str, all: &[(&Record, &StageRecord)], entries: &[Entry]) -> Result<Ruling> {
        let keys: BTreeSet<&Key> = all.iter().map(|(_, stage)| &stage.key).collect();
        let mut proven = None;
        let mut worst = None;
        for key in keys {
            let is_about = |entry: &&Entry| match entry {
                Entry::Run { record, .. } => record.about(key).next().is_some(),
                Entry::Cleared { key: of, .. } => of == key,
            };
            let mut entries: Vec<_> = entries.iter().filter(is_about).cloned().collect();
            let about = all.iter().find(|(_, stage)| stage.key == *key).map(|(_, stage)| &stage.subject);
            // What another tree with the same inputs proved, a record of this tree may repeat.
            if let Some(subject) = about.filter(|subject| subject.as_str().starts_with("inputs:")) {
                let more = self.ledger.about(&[subject]).context("cannot read the ledger")?;
                entries.extend(more.into_iter().filter(|entry| match entry {
                    Entry::Run { origin, .. } => self.counts(origin),
                    Entry::Cleared { .. } => true,
                }));
            }
            entries.sort_by_key(at);
            for entry in &mut entries {
                if let Entry::Run { origin, .. } = entry
                    && !self.required.signed
                {
                    *origin = Origin::Here;
                }
            }
            match standing(&entries, key, &self.rules) {
                Standing::Proven { record, .. } => proven = Some(record.run_id.clone()),
                Standing::Unproven { reason, record, .. } => {
                    let run = &record.run_id;
                    let ruling = match reason {
                        Reason::Contradicted { passed, failed } => Ruling::Contradicted(format!(
                            "`{id}` passed in run {passed} and failed in run {failed}"
                        )),
                        Reason::Expired { completed_at } => {
                            Ruling::Old(format!("`{id}` ran at {completed_at}, in run {run}"))
                        }
                        Reason::Failed => Ruling::Missing(format!("`{id}` failed in run {run}")),
                        Reason::AllowedFailure => {
                            Ruling::Missing(format!("`{id}` failed in run {run}, which went on without it"))
                        }
                        Reason::Overridden => {
                            Ruling::Missing(format!("`{id}` passed under an override in run {run}"))
                        }
                        Reason::Flaky => {
                            Ruling::Missing(format!("`{id}` passed on a retry only, in run {run}"))
                        }
                        Reason::Void { why } => Ruling::Missing(format!("run {run} proves nothing: {why}")),
                        Reason::Reused { run_id } => Ruling::Missing(format!(
                            "`{id}` was taken over from run {run_id}, which is not here"
                        )),
                        Reason::Untrusted { .. } => {
                            Ruling::Missing(format!("`{id}` has no record of an allowed signer"))
                        }
                    };
                    if matches!(ruling, Ruling::Contradicted(_)) {
                        return Ok(ruling);
                    }
                    worst = Some(ruling);
                }
                Standing::Unknown => {}
            }
        }
        let missing = || {
            let by = if self.required.signed { " of an allowed signer" } else { "" };
            Ruling::Missing(format!("`{id}` has no record{by}"))
        };
        Ok(proven.map_or_else(|| worst.unwrap_or_else(missing), Ruling::Proven))
    }

    /// Says what is missing of the records of a writer, each of which names the one before it.
    fn chain(&mut self, writer: &str) -> Result<Option<String>> {
        if let Some(known) = self.chains.get(writer) {
            return Ok(known.clone());
        }
        let refs: Vec<_> = self.refs.iter().filter(|of| read::writer_of(of) == writer).collect();
        let broken = broken(&self.ctx.repo, writer, &refs)?;
        self.chains.insert(writer.to_owned(), broken.clone());
        Ok(broken)
    }
}

/// What the records of a stage come to.
enum Ruling {
    Proven(String),
    Old(String),
    Contradicted(String),
    Missing(String),
}

fn is_allowed(found: &Found) -> bool {
    matches!(found.signature, Signature::Allowed { .. })
}

fn record_of(entry: &Entry) -> Option<&Record> {
    match entry {
        Entry::Run { record, .. } => Some(record),
        Entry::Cleared { .. } => None,
    }
}

/// When that was: what somebody cleared is what was there before.
fn at(entry: &Entry) -> i64 {
    match entry {
        Entry::Run { record, .. } => record.completed_at.as_millis(),
        Entry::Cleared { at, .. } => at.as_millis(),
    }
}

fn entry_of(found: &Found) -> Entry {
    let signer = match &found.signature {
        Signature::Allowed { principal, key } => {
            Some(Signer { principal: principal.clone(), key: key.clone() })
        }
        _ => None,
    };
    Entry::Run {
        record: Box::new(found.envelope.statement.record.clone()),
        origin: Origin::Note { writer: found.line.writer.clone(), signer },
    }
}

/// Returns what is wrong with the chain of a writer: a record names one before it that is not there.
fn broken(repo: &Repo, writer: &str, refs: &[&Ref]) -> Result<Option<String>> {
    let (mut known, mut named) = (BTreeSet::new(), BTreeMap::new());
    let mut notes = BTreeSet::new();
    for of in refs {
        notes.extend(repo.notes(&of.tip)?);
    }
    for note in notes {
        let text = repo.note_text(&note, note::LARGEST)?;
        for envelope in note::lines(&text).filter_map(|line| Envelope::parse(line, sha256_hex).ok()) {
            known.insert(envelope.digest(sha256_hex));
            if let Some(previous) = envelope.statement.previous {
                named.insert(previous, envelope.statement.record.run_id);
            }
        }
    }
    let gap = named.into_iter().find(|(digest, _)| !known.contains(digest));
    Ok(gap.map(|(digest, run)| {
        format!("`{writer}` had written record {digest} before run {run}, and it is gone")
    }))
}
