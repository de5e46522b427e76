//! `evidence verify`: whether what is required of commits is proven, and which of the conditions fails if not.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context as _, Result};
use jiff::SignedDuration;

use super::chain::{self, Chains, Removed};
use super::expected::Expected;
use super::parallel::in_parallel;
use super::policy::{Asked, Policy};
use super::read::{self, Found, Refused, Signature};
use super::show::commits;
use super::verdict::{Verdict, Verdicts};
use crate::git::{Commit, Ref};
use crate::ops::Context;
use crate::proof::standing::{Entry, Origin, Signer, standing};
use crate::proof::{Reason, Record, StageRecord, Standing};
use crate::run::key::Subject;
use crate::store::ledger::Ledger;

/// What is required.
#[derive(Clone, Debug, Default)]
pub struct Required {
    /// Ids of stages; those of the pipeline that runs by default, if there is one, where nobody named any.
    pub stages: Option<Vec<String>>,
    /// Whether only what an allowed signer signed counts.
    pub signed: bool,
    /// How old a verdict may be; as the base has it if nobody said it.
    pub max_age: Option<SignedDuration>,
}

/// What was found out about commits.
#[derive(Debug)]
pub struct Verified {
    pub commits: Vec<OfCommit>,
    pub policy: Policy,
}

/// What was found out about one commit.
#[derive(Clone, Debug)]
pub struct OfCommit {
    pub commit: Commit,
    pub verdicts: Verdicts,
    /// What was required.
    pub stages: Vec<String>,
    /// The records that prove the stages, in the order in which they are required.
    pub proven_by: Vec<Proof>,
    pub refused: Vec<Refused>,
    /// Every record of the tree that counts, and whose signature is on it; nothing for one of the ledger alone.
    pub records: Vec<(Record, Option<Signature>)>,
}

/// What proves a stage.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The id that was required.
    pub stage: String,
    pub record: Record,
    /// The stage in that record.
    pub found: StageRecord,
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

impl Verified {
    /// Whether everything that was asked holds.
    pub fn is_proven(&self) -> bool {
        self.commits.iter().all(OfCommit::is_proven)
    }

    /// Whether something is not to be believed.
    pub fn is_invalid(&self) -> bool {
        self.commits.iter().any(OfCommit::is_invalid)
    }
}

/// Checks the commits of a revision or range.
pub fn verify(ctx: &Context, revision: &str, required: &Required, asked: &Asked) -> Result<Verified> {
    let commits = commits(ctx, revision)?;
    let policy = Policy::of(ctx, revision, asked)?;
    let commits = check(ctx, commits, required, &policy, &read::refs(&ctx.repo)?)?;
    Ok(Verified { commits, policy })
}

/// Checks commits against a policy, by the notes of some refs and the ledger.
pub fn check(
    ctx: &Context,
    commits: Vec<Commit>,
    required: &Required,
    policy: &Policy,
    refs: &[Ref],
) -> Result<Vec<OfCommit>> {
    let expected = in_parallel(&commits, |commit| Expected::of(ctx, policy, required, commit));
    let expected = expected.into_iter().collect::<Result<Vec<_>>>()?;
    let reading = read::about(&ctx.repo, refs, &commits, &policy.signers)?;
    let inputs: BTreeSet<_> = expected.iter().flat_map(Expected::inputs).collect();
    let elsewhere = read::about_subjects(&ctx.repo, refs, &inputs, &policy.signers)?;
    let mut by_subject: HashMap<String, Vec<&Found>> = HashMap::new();
    for found in &reading.found {
        let tree = Subject::tree(&found.envelope.statement.record.tree, None);
        by_subject.entry(tree.to_string()).or_default().push(found);
    }
    for found in &elsewhere {
        for subject in found.envelope.statement.record.subjects() {
            by_subject.entry(subject.to_string()).or_default().push(found);
        }
    }
    let mut refused: HashMap<&str, Vec<&Refused>> = HashMap::new();
    for of in &reading.refused {
        refused.entry(&of.object).or_default().push(of);
    }
    let writers = reading.found.iter().chain(&elsewhere).map(|found| found.line.writer.as_str());
    let found = reading.found.iter().chain(&elsewhere);
    let known = found.map(|found| (found.line.bytes.as_slice(), &found.envelope)).collect();
    let chains = chain::of(&ctx.repo, refs, &writers.collect(), &known)?;
    let is_bare = |commit: &&Commit| {
        let tree = Subject::tree(&commit.tree, None);
        let named = |object: &String| refused.contains_key(object.as_str());
        !by_subject.contains_key(tree.as_str()) && !named(&commit.id) && !named(&commit.tree)
    };
    let bare = commits.iter().filter(is_bare).flat_map(|commit| [commit.id.clone(), commit.tree.clone()]);
    let removed = chain::removed(&ctx.repo, refs, &bare.collect(), &chains, &known)?;
    let judge = Judge { required, ledger: Ledger::of(ctx.repo.common_dir()), chains, removed };
    let work: Vec<_> = commits.into_iter().zip(expected).collect();
    let judged = in_parallel(&work, |(commit, expected)| {
        let tree = Subject::tree(&commit.tree, None);
        let mut found: Vec<&Found> = Vec::new();
        for subject in [&tree].into_iter().chain(expected.inputs()) {
            for of in by_subject.get(subject.as_str()).into_iter().flatten() {
                // The same record may stand in several places.
                if !found.iter().any(|known| known.envelope.payload == of.envelope.payload) {
                    found.push(of);
                }
            }
        }
        let of = |object: &String| refused.get(object.as_str()).into_iter().flatten();
        let refused = of(&commit.id).chain(of(&commit.tree)).map(|refused| (*refused).clone()).collect();
        judge.commit(commit, expected, &found, refused)
    });
    judged.into_iter().collect()
}

struct Judge<'a> {
    required: &'a Required,
    ledger: Ledger,
    chains: Chains,
    removed: Removed,
}

impl Judge<'_> {
    fn commit(
        &self,
        commit: &Commit,
        expected: &Expected,
        found: &[&Found],
        refused: Vec<Refused>,
    ) -> Result<OfCommit> {
        let mut verdicts = Verdicts { defined: expected.defined.clone(), ..Verdicts::default() };
        let mut entries = self.entries(&Subject::tree(&commit.tree, None))?;
        entries.retain(|entry| record_of(entry).is_none_or(|record| record.tree == commit.tree));
        for subject in expected.inputs() {
            // Another tree may have the same inputs.
            let more = self.entries(subject)?;
            let more: Vec<_> = more.into_iter().filter(|entry| !entries.contains(entry)).collect();
            entries.extend(more);
        }
        let noted = found.iter().filter(|found| !self.required.signed || is_allowed(found));
        entries.extend(noted.map(|found| entry_of(found)));
        let records = || entries.iter().filter_map(record_of);
        let was_removed: Vec<_> = [&commit.id, &commit.tree]
            .into_iter()
            .filter(|_| found.is_empty())
            .filter_map(|object| self.removed.noted.get(object))
            .flatten()
            .collect();
        verdicts.present = match found.is_empty() && records().next().is_none() {
            true => {
                let gaps = self.removed.gaps.iter().map(|gap| format!("; {gap}"));
                let gaps = if was_removed.is_empty() { gaps.collect() } else { String::new() };
                Verdict::Fails(format!("there is no record of this tree{gaps}"))
            }
            false => Verdict::Holds,
        };
        let mut unbound: Vec<_> =
            refused.iter().filter(|refused| refused.copied).map(|refused| refused.why.clone()).collect();
        let (mut incomplete, mut old, mut contradicted) = (Vec::new(), Vec::new(), Vec::new());
        let (mut proven_by, mut other) = (Vec::new(), Vec::new());
        for id in &expected.stages {
            match self.stage(id, &entries, expected) {
                Ruling::Proven(proof) => proven_by.push(*proof),
                Ruling::Old(why) => old.push(why),
                Ruling::Contradicted(why) => contradicted.push(why),
                Ruling::Missing(why) => incomplete.push(why),
                Ruling::Other(why) => other.push(why),
                Ruling::Unbound(why) => unbound.push(why),
            }
        }
        verdicts.bound = Verdict::of(unbound);
        if !other.is_empty() {
            verdicts.defined = Verdict::of(other);
        }
        verdicts.complete = Verdict::of(incomplete);
        if expected.rules.max_age.is_some() || !old.is_empty() {
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
        let writers: BTreeSet<_> = found.iter().map(|found| found.line.writer.as_str()).collect();
        if !writers.is_empty() {
            let broken = writers.into_iter().filter_map(|writer| self.chains.get(writer)?.clone());
            verdicts.chain = Verdict::of(broken.collect());
        } else if !was_removed.is_empty() {
            let once: BTreeSet<_> = was_removed.into_iter().cloned().collect();
            verdicts.chain = Verdict::of(once.into_iter().collect());
        }
        let records = records_of(found, &entries);
        Ok(OfCommit {
            commit: commit.clone(),
            verdicts,
            stages: expected.stages.clone(),
            proven_by,
            refused,
            records,
        })
    }

    /// Returns what the ledger says about a subject, as far as it counts.
    fn entries(&self, subject: &Subject) -> Result<Vec<Entry>> {
        let entries = self.ledger.about(&[subject]).context("cannot read the ledger")?;
        let counts = |mut entry: Entry| match &mut entry {
            Entry::Run { origin: Origin::Note { signer: None, .. }, .. } if self.required.signed => None,
            // What ran here was signed by nobody: it proves nothing then, and that it failed is reason to doubt.
            Entry::Run { record, origin: Origin::Here } if self.required.signed => {
                record.stages.retain(|stage| stage.result.is_failure());
                (!record.stages.is_empty()).then_some(entry)
            }
            _ => Some(entry),
        };
        Ok(entries.into_iter().filter_map(counts).collect())
    }

    /// Returns what the records of a stage come to, whatever it ran with: one contradiction is enough to doubt it.
    fn stage(&self, id: &str, entries: &[Entry], expected: &Expected) -> Ruling {
        let digests = expected.digests(id);
        if digests.as_ref().is_some_and(BTreeSet::is_empty) {
            return Ruling::Other(format!("{} has no stage `{id}`", expected.by));
        }
        // A stage is what it does, whatever it is called.
        let is_meant = |stage: &StageRecord| match &digests {
            Some(digests) => digests.contains(&stage.definition_digest),
            None => stage.id == id,
        };
        let mut keys = BTreeSet::new();
        let (mut unbound, mut other) = (false, None);
        for record in entries.iter().filter_map(record_of) {
            for stage in &record.stages {
                match is_meant(stage) {
                    true if expected.is_of(stage) => drop(keys.insert(&stage.key)),
                    // Of another tree only what they have in common is of interest.
                    true => unbound |= expected.is_tree(&record.tree),
                    false if stage.id == id && expected.is_tree(&record.tree) => other = Some(stage),
                    false => {}
                }
            }
        }
        let mut proven = None;
        let mut worst = None;
        for key in keys {
            let is_about = |entry: &&Entry| match entry {
                Entry::Run { record, .. } => record.about(key).next().is_some(),
                Entry::Cleared { key: of, .. } => of == key,
                Entry::LetPass(_) => false,
            };
            let mut entries: Vec<_> = entries.iter().filter(is_about).cloned().collect();
            entries.sort_by_key(at);
            for entry in &mut entries {
                if let Entry::Run { origin, .. } = entry
                    && !self.required.signed
                {
                    *origin = Origin::Here;
                }
            }
            match standing(&entries, key, &expected.rules) {
                Standing::Proven { record, stage, .. } => {
                    let (record, found) = (record.clone(), stage.clone());
                    proven = Some(Box::new(Proof { stage: id.to_owned(), record, found }));
                }
                Standing::Unproven { reason, record, .. } => {
                    let ruling = ruling(id, reason, &record.run_id);
                    if matches!(ruling, Ruling::Contradicted(_)) {
                        return ruling;
                    }
                    worst = Some(ruling);
                }
                Standing::Unknown => {}
            }
        }
        let nothing = || match other {
            _ if unbound => Ruling::Unbound(format!("`{id}` ran on a part of what this commit has")),
            Some(other) => Ruling::Other(different(id, other, expected)),
            None => {
                let by = if self.required.signed { " of an allowed signer" } else { "" };
                Ruling::Missing(format!("`{id}` has no record{by}"))
            }
        };
        proven.map_or_else(|| worst.unwrap_or_else(nothing), Ruling::Proven)
    }
}

/// Says that a stage ran that does something else than the one that is meant.
fn different(id: &str, ran: &StageRecord, expected: &Expected) -> String {
    let by = &expected.by;
    match expected.definition(id).map(|meant| (&meant.command, &ran.definition.command)) {
        Some((Some(meant), Some(ran))) if meant != ran => {
            format!("`{id}` ran as `{ran}`, and by {by} it is `{meant}`")
        }
        _ => format!("`{id}` ran with another folder, environment, inputs or parts than {by} has"),
    }
}

fn ruling(id: &str, reason: Reason, run: &str) -> Ruling {
    match reason {
        Reason::Contradicted { passed, failed } => {
            Ruling::Contradicted(format!("`{id}` passed in run {passed} and failed in run {failed}"))
        }
        Reason::Expired { completed_at } => {
            Ruling::Old(format!("`{id}` ran at {completed_at}, in run {run}"))
        }
        Reason::Ahead { completed_at } => {
            Ruling::Old(format!("`{id}` ran at {completed_at}, which is yet to come, in run {run}"))
        }
        Reason::Failed => Ruling::Missing(format!("`{id}` failed in run {run}")),
        Reason::AllowedFailure => {
            Ruling::Missing(format!("`{id}` failed in run {run}, which went on without it"))
        }
        Reason::Overridden => Ruling::Missing(format!("`{id}` passed under an override in run {run}")),
        Reason::Flaky => Ruling::Missing(format!("`{id}` passed on a retry only, in run {run}")),
        Reason::Void { why } => Ruling::Missing(format!("run {run} proves nothing: {why}")),
        Reason::Reused { run_id } => {
            Ruling::Missing(format!("`{id}` was taken over from run {run_id}, which is not here"))
        }
        Reason::Cleared { by, .. } => {
            Ruling::Missing(format!("`{id}` has not run since {by} cleared what run {run} had found"))
        }
        Reason::Untrusted { .. } => Ruling::Missing(format!("`{id}` has no record of an allowed signer")),
    }
}

/// Returns the records that were found, those of notes with what is known of their signatures.
fn records_of(found: &[&Found], entries: &[Entry]) -> Vec<(Record, Option<Signature>)> {
    let noted =
        found.iter().map(|found| (found.envelope.statement.record.clone(), Some(found.signature.clone())));
    let mut records: Vec<_> = noted.collect();
    for record in entries.iter().filter_map(record_of) {
        let is_same =
            |known: &&(Record, _)| (&known.0.run_id, &known.0.nonce) == (&record.run_id, &record.nonce);
        if records.iter().find(is_same).is_none() {
            records.push((record.clone(), None));
        }
    }
    records.sort_by_key(|(record, _)| record.completed_at.as_millis());
    records
}

/// What the records of a stage come to.
enum Ruling {
    Proven(Box<Proof>),
    Old(String),
    Contradicted(String),
    Missing(String),
    /// It did something else.
    Other(String),
    /// It ran on something else.
    Unbound(String),
}

fn is_allowed(found: &Found) -> bool {
    matches!(found.signature, Signature::Allowed { .. })
}

fn record_of(entry: &Entry) -> Option<&Record> {
    match entry {
        Entry::Run { record, .. } => Some(record),
        Entry::Cleared { .. } | Entry::LetPass(_) => None,
    }
}

/// When that was: what somebody cleared is what was there before.
fn at(entry: &Entry) -> i64 {
    match entry {
        Entry::Run { record, .. } => record.completed_at.as_millis(),
        Entry::Cleared { at, .. } => at.as_millis(),
        Entry::LetPass(passed) => passed.at.as_millis(),
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
