//! `evidence verify`: whether what is required of commits is proven, and which of the conditions fails if not.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context as _, Result};
use jiff::SignedDuration;

use super::chain::{self, Chains};
use super::parallel::in_parallel;
use super::policy::{Asked, Declared, Policy, Whose};
use super::read::{self, Found, Refused, Signature};
use super::show::commits;
use crate::git::{Commit, Ref};
use crate::ops::Context;
use crate::proof::standing::{Entry, Origin, Rules, Signer, standing};
use crate::proof::{Key, Reason, Record, StageRecord, Standing};
use crate::run::key::{Definition, Subject};
use crate::run::stamp::Stamp;
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

/// One condition each. Nothing where it was not asked, or where nothing is there to ask about.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    pub present: Verdict,
    pub bound: Verdict,
    pub defined: Verdict,
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
    /// Nobody can say, and nothing rests on it.
    Open(String),
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
    pub fn all(&self) -> [(&'static str, &Verdict); 9] {
        [
            ("present", &self.present),
            ("bound", &self.bound),
            ("defined", &self.defined),
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
    let reading = read::about(&ctx.repo, refs, &commits, &policy.signers)?;
    let mut by_tree: HashMap<&str, Vec<&Found>> = HashMap::new();
    for found in &reading.found {
        by_tree.entry(&found.envelope.statement.record.tree).or_default().push(found);
    }
    let mut refused: HashMap<&str, Vec<&Refused>> = HashMap::new();
    for of in &reading.refused {
        refused.entry(&of.object).or_default().push(of);
    }
    let writers: BTreeSet<_> = reading.found.iter().map(|found| found.line.writer.as_str()).collect();
    let chains = chain::of(&ctx.repo, refs, &writers)?;
    let judge = Judge {
        ctx,
        required,
        policy,
        ledger: Ledger::of(ctx.repo.common_dir()),
        now: ctx.clock.now(),
        chains,
    };
    let judged = in_parallel(&commits, |commit| {
        let found = by_tree.get(commit.tree.as_str()).map_or(&[][..], Vec::as_slice);
        let of = |object: &String| refused.get(object.as_str()).into_iter().flatten();
        let refused = of(&commit.id).chain(of(&commit.tree)).map(|refused| (*refused).clone()).collect();
        judge.commit(commit, found, refused)
    });
    judged.into_iter().collect()
}

struct Judge<'a> {
    ctx: &'a Context,
    required: &'a Required,
    policy: &'a Policy,
    ledger: Ledger,
    now: Stamp,
    chains: Chains,
}

/// What a commit is held against.
struct Expected {
    stages: Vec<String>,
    /// What the stages do, by their ids; nothing where nobody says it.
    declared: Option<Declared>,
    /// What the commit itself says they do, if that counts too.
    own: Option<Declared>,
    /// Who says so.
    by: String,
    rules: Rules,
    defined: Verdict,
}

impl Expected {
    /// Returns the digests of what a stage may do; nothing where that is open.
    fn digests(&self, id: &str) -> Option<BTreeSet<String>> {
        let declared = self.declared.as_ref()?;
        let digests: BTreeSet<_> =
            declared.digests(id).chain(self.own.iter().flat_map(|own| own.digests(id))).collect();
        // Nobody but the commit itself could say what that stage is.
        let is_open = digests.is_empty() && matches!(self.defined, Verdict::Open(_));
        (!is_open).then_some(digests)
    }

    fn definition(&self, id: &str) -> Option<&Definition> {
        self.declared.as_ref()?.stages.get(id)?.first()
    }
}

impl Judge<'_> {
    fn expected(&self, commit: &Commit) -> Expected {
        let (known, by) = self.policy.expected(self.ctx, commit);
        let (declared, mut defined) = match known {
            Ok(Some(declared)) => (Some(declared), Verdict::Holds),
            Ok(None) => {
                (None, Verdict::Open(format!("{by} declares no pipeline, so stages are known by id only")))
            }
            Err(why) => (None, Verdict::Fails(format!("what {by} declares cannot be read: {why}"))),
        };
        if let (Whose::Own, Some(why), Verdict::Holds) = (self.policy.whose, &self.policy.why, &defined) {
            defined = Verdict::Open(format!("{why}, so stages are as the commit itself has them"));
        }
        let own = match self.policy.own_too {
            true => self.policy.read(self.ctx, &commit.id).ok().flatten(),
            false => None,
        };
        let usual = || declared.as_ref().map(|declared| declared.usual.clone()).filter(|ids| !ids.is_empty());
        let stages = self.required.stages.clone().or_else(usual).unwrap_or_default();
        let max_age = self.required.max_age.or(declared.as_ref().and_then(|declared| declared.max_age));
        let rules = Rules { now: self.now, max_age, signed_by_others: true };
        Expected { stages, declared, own, by, rules, defined }
    }

    fn commit(&self, commit: &Commit, found: &[&Found], refused: Vec<Refused>) -> Result<OfCommit> {
        let expected = self.expected(commit);
        let mut verdicts = Verdicts { defined: expected.defined.clone(), ..Verdicts::default() };
        let mut entries = self.entries(&Subject::tree(&commit.tree, None))?;
        entries.retain(|entry| record_of(entry).is_none_or(|record| record.tree == commit.tree));
        for subject in self.inputs(commit, &expected)? {
            // Another tree may have the same inputs.
            let known = |entry: &Entry| entries.contains(entry);
            let more = self.entries(&subject)?;
            let more: Vec<_> = more.into_iter().filter(|entry| !known(entry)).collect();
            entries.extend(more);
        }
        let noted = found.iter().filter(|found| !self.required.signed || is_allowed(found));
        entries.extend(noted.map(|found| entry_of(found)));
        let records = || entries.iter().filter_map(record_of);
        verdicts.present = match found.is_empty() && records().next().is_none() {
            true => Verdict::Fails("there is no record of this tree".to_owned()),
            false => Verdict::Holds,
        };
        let mut unbound: Vec<_> =
            refused.iter().filter(|refused| refused.copied).map(|refused| refused.why.clone()).collect();
        let (mut incomplete, mut old, mut contradicted) = (Vec::new(), Vec::new(), Vec::new());
        let (mut proven_by, mut other) = (Vec::new(), Vec::new());
        for id in &expected.stages {
            match self.stage(id, commit, &entries, &expected)? {
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
        }
        let records = records_of(found, &entries);
        Ok(OfCommit {
            commit: commit.clone(),
            verdicts,
            stages: expected.stages,
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
    fn stage(&self, id: &str, commit: &Commit, entries: &[Entry], expected: &Expected) -> Result<Ruling> {
        let digests = expected.digests(id);
        let named = || {
            entries.iter().filter_map(record_of).flat_map(|record| &record.stages).filter(|it| it.id == id)
        };
        if digests.as_ref().is_some_and(BTreeSet::is_empty) {
            return Ok(Ruling::Other(format!("{} has no stage `{id}`", expected.by)));
        }
        // A stage is what it does, whatever it is called.
        let is_meant = |stage: &StageRecord| match &digests {
            Some(digests) => digests.contains(&stage.definition_digest),
            None => stage.id == id,
        };
        let all = entries.iter().filter_map(record_of).flat_map(|record| &record.stages);
        let mut subjects: BTreeMap<&Key, &Subject> = BTreeMap::new();
        let mut unbound = None;
        for stage in all.filter(|stage| is_meant(stage)) {
            match self.is_of(&stage.subject, stage, commit)? {
                true => drop(subjects.insert(&stage.key, &stage.subject)),
                false => unbound = Some(stage),
            }
        }
        let mut proven = None;
        let mut worst = None;
        for (key, subject) in subjects {
            let is_about = |entry: &&Entry| match entry {
                Entry::Run { record, .. } => record.about(key).next().is_some(),
                Entry::Cleared { key: of, .. } => of == key,
            };
            let mut entries: Vec<_> = entries.iter().filter(is_about).cloned().collect();
            // What another tree with the same inputs proved, a record of this tree may repeat.
            if expected.declared.is_none() && subject.as_str().starts_with("inputs:") {
                entries.extend(self.entries(subject)?);
            }
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
                        return Ok(ruling);
                    }
                    worst = Some(ruling);
                }
                Standing::Unknown => {}
            }
        }
        let nothing = || match (unbound, named().find(|stage| !is_meant(stage))) {
            (Some(_), _) => Ruling::Unbound(format!("`{id}` ran on other files than this commit has")),
            (None, Some(other)) => Ruling::Other(different(id, other, expected)),
            (None, None) => {
                let by = if self.required.signed { " of an allowed signer" } else { "" };
                Ruling::Missing(format!("`{id}` has no record{by}"))
            }
        };
        Ok(proven.map_or_else(|| worst.unwrap_or_else(nothing), Ruling::Proven))
    }

    /// Returns what the stages look at that do not look at all of a commit.
    fn inputs(&self, commit: &Commit, expected: &Expected) -> Result<BTreeSet<Subject>> {
        let of = |declared: &Declared, id: &String| {
            let definitions = declared.stages.get(id).into_iter().flatten();
            definitions.map(|it| it.inputs.clone()).filter(|inputs| !inputs.is_empty()).collect::<Vec<_>>()
        };
        let declared: Vec<_> = expected.declared.iter().chain(&expected.own).collect();
        let mut lists: Vec<_> = expected
            .stages
            .iter()
            .flat_map(|id| declared.iter().flat_map(|declared| of(declared, id)))
            .collect();
        lists.sort();
        lists.dedup();
        let digests = self.ctx.repo.inputs_of_tree(&commit.tree, &lists)?;
        Ok(digests.iter().map(|digest| Subject::inputs(digest)).collect())
    }

    /// Whether a verdict about a subject is one about all that a stage looks at in a commit.
    fn is_of(&self, subject: &Subject, stage: &StageRecord, commit: &Commit) -> Result<bool> {
        let inputs = &stage.definition.inputs;
        if inputs.is_empty() {
            // In a sparse checkout not all of the tree was there.
            return Ok(*subject == Subject::tree(&commit.tree, None));
        }
        let digests = self.ctx.repo.inputs_of_tree(&commit.tree, std::slice::from_ref(inputs))?;
        Ok(digests.first().is_some_and(|digest| *subject == Subject::inputs(digest)))
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
