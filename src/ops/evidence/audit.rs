//! `evidence audit`: which commits arrived without evidence that holds, and whether a sample of what was proven still
//! passes when it is run again.

use anyhow::Result;
use jiff::SignedDuration;

use super::policy::{Asked, Policy};
use super::read::{self, Signature};
use super::verdict::Verdict;
use super::verify::{OfCommit, Required, check};
use crate::git::Commit;
use crate::guardrail::Outcome;
use crate::ops::host::SharedWatch;
use crate::ops::{Context, Kind, Refusal};
use crate::proof::{Record, Result as StageResult};
use crate::run::stamp::Stamp;
use crate::runner::interrupt::Interrupt;

pub use super::rerun::{Outcome as Rerun, RerunOf, StageRerun};

/// What to audit.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    pub reference: String,
    /// How far back.
    pub since: SignedDuration,
    /// Whether only the commits count that the branch itself named.
    pub first_parent: bool,
    pub required: Required,
    pub asked: Asked,
    /// Whether evidence that nobody signed is good enough.
    pub allow_unsigned: bool,
    pub sample: Sample,
}

/// Which of the proven commits are run again.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// In hundredths of a percent.
    pub share: u32,
    /// What chooses them; the commit at the end by default.
    pub seed: Option<String>,
}

/// What was found out.
#[derive(Debug)]
pub struct Audited {
    pub reference: String,
    /// The commit at its end.
    pub tip: Commit,
    pub since: Stamp,
    /// Whether it is known when commits came here; else their dates had to do.
    pub by_log: bool,
    pub commits: Vec<OfArrived>,
    pub policy: Policy,
    pub seed: String,
    /// How many commits could have been run again.
    pub eligible: usize,
    /// Those that were chosen, in the order of their numbers.
    pub reruns: Vec<RerunOf>,
    pub interrupt: Option<Interrupt>,
}

/// What was found out about one commit.
#[derive(Debug)]
pub struct OfArrived {
    pub of: OfCommit,
    /// What is amiss; nothing if all is well.
    pub amiss: Vec<Amiss>,
}

/// What is amiss with the evidence of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amiss {
    pub what: What,
    pub why: String,
}

/// The kinds of what can be amiss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Nothing was recorded about its tree: it came past every hook.
    None,
    /// Something that is required did not pass.
    Failed,
    /// Something that is required has no record.
    Incomplete,
    /// Somebody let a guardrail pass.
    Overridden,
    Unsigned,
    /// Whoever signed is not allowed to.
    Stranger,
    /// Runs disagree.
    Contradicted,
    Old,
    /// A stage does something else than it did before.
    Redefined,
    /// It is not to be believed.
    Refused,
}

impl What {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Failed => "failed",
            Self::Incomplete => "incomplete",
            Self::Overridden => "overridden",
            Self::Unsigned => "unsigned",
            Self::Stranger => "stranger",
            Self::Contradicted => "contradicted",
            Self::Old => "old",
            Self::Redefined => "redefined",
            Self::Refused => "refused",
        }
    }
}

impl Audited {
    /// Whether nothing is amiss.
    pub fn is_good(&self) -> bool {
        self.commits.iter().all(|commit| commit.amiss.is_empty()) && self.reruns.iter().all(RerunOf::agrees)
    }

    /// Whether something is not to be believed.
    pub fn is_invalid(&self) -> bool {
        self.commits.iter().any(|commit| commit.of.is_invalid())
    }
}

/// Looks at what arrived, and runs a sample of it again.
pub fn audit(ctx: &Context, options: AuditOptions, watch: SharedWatch) -> Result<Audited> {
    let AuditOptions { reference, since, first_parent, required, asked, allow_unsigned, sample } = options;
    let no_commit = || Refusal::no_commit(&reference).hint("name a branch, such as `main`");
    let tip = ctx.repo.commit(&reference)?.ok_or_else(no_commit)?;
    let now = ctx.clock.now();
    let too_far = || Refusal::usage("that is longer ago than there is time");
    let since = now.earlier_by(since).ok_or_else(too_far)?;
    let (commits, by_log) = ctx.repo.arrived(&reference, &tip.id, since.as_millis() / 1000, first_parent)?;
    if sample.share > 0 && ctx.repo.is_bare() {
        return Err(Refusal::new(Kind::Usage, "a bare repository has no place for the evidence of a run")
            .hint("audit with `--rerun` in a clone of it, after `git orchestrate evidence fetch`")
            .into());
    }
    let policy = Policy::of_parents(ctx, &reference, &asked)?;
    let refs = read::refs(&ctx.repo)?;
    let checked = check(ctx, commits, &required, &policy, &refs)?;
    let amiss = |of: OfCommit| OfArrived { amiss: amiss(&of, allow_unsigned), of };
    let mut audited = Audited {
        seed: sample.seed.unwrap_or_else(|| tip.id.clone()),
        reference,
        tip,
        since,
        by_log,
        commits: checked.into_iter().map(amiss).collect(),
        policy,
        eligible: 0,
        reruns: Vec::new(),
        interrupt: None,
    };
    super::rerun::rerun(ctx, &mut audited, sample.share, watch)?;
    Ok(audited)
}

/// Returns what is amiss with the evidence of a commit.
fn amiss(of: &OfCommit, allow_unsigned: bool) -> Vec<Amiss> {
    let mut found = Vec::new();
    let mut add = |what, why: String| found.push(Amiss { what, why });
    for refused in &of.refused {
        add(What::Refused, refused.why.clone());
    }
    for (name, verdict) in of.verdicts.all() {
        let Verdict::Fails(why) = verdict else { continue };
        let what = match name {
            "present" => What::None,
            "bound" | "chain" => What::Refused,
            "defined" => What::Redefined,
            "fresh" => What::Old,
            "consistent" => What::Contradicted,
            "signature" => What::Unsigned,
            "allowed" => What::Stranger,
            _ => of_stages(of),
        };
        // What was refused says so itself, and where there is nothing, nothing else can be wrong.
        let is_said = name == "bound" && !of.refused.is_empty();
        if !is_said && (what != What::Incomplete || !of.records.is_empty()) {
            add(what, why.clone());
        }
    }
    for (record, reason) in of.records.iter().flat_map(|(record, _)| overrides(record)) {
        add(What::Overridden, format!("in run {}: {reason}", record.run_id));
    }
    let signatures: Vec<_> = of.records.iter().map(|(_, signature)| signature).collect();
    let is_allowed = |signature: &&Option<Signature>| matches!(signature, Some(Signature::Allowed { .. }));
    let is_said = of.verdicts.signature != Verdict::NotAsked;
    if !signatures.is_empty() && !allow_unsigned && !is_said && !signatures.iter().any(is_allowed) {
        let stranger = signatures.iter().find_map(|signature| match signature {
            Some(Signature::Stranger { key }) => Some(key),
            _ => None,
        });
        match stranger {
            Some(key) => add(What::Stranger, format!("{key} signed, which nobody allows")),
            None => add(What::Unsigned, "nobody signed any record of it".to_owned()),
        }
    }
    found.dedup();
    found
}

/// Tells a stage that did not pass from one that nobody ran.
fn of_stages(of: &OfCommit) -> What {
    let stages = of.records.iter().flat_map(|(record, _)| &record.stages);
    let mut required = stages.filter(|stage| of.stages.contains(&stage.id));
    let results: Vec<_> = required.by_ref().map(|stage| stage.result).collect();
    match () {
        () if results.iter().any(|result| result.is_failure() || *result == StageResult::Flaky) => {
            What::Failed
        }
        () if results.contains(&StageResult::Overridden) => What::Overridden,
        () => What::Incomplete,
    }
}

/// Returns the reasons that somebody gave to let a guardrail pass.
fn overrides(record: &Record) -> impl Iterator<Item = (&Record, String)> {
    let overridden = record.guardrails.iter().filter(|it| it.outcome == Outcome::Overridden);
    overridden.map(move |it| {
        let reason = it.reason.clone().unwrap_or_else(|| "no reason was given".to_owned());
        (record, format!("{} was overridden: {reason}", it.rule))
    })
}
