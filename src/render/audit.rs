//! The answers of `evidence audit` and `evidence receive`.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::evidence::{
    BaseDocument, RefusedDocument, VerdictDocument, base_document, refused_document, verdict_documents,
};
use super::printer::{Answer, style};
use crate::id::short;
use crate::ops::evidence::audit::{Audited, OfArrived};
use crate::ops::evidence::receive::{OfRef, Received, is_good};
use crate::ops::evidence::rerun::{Again, Outcome, RerunOf};
use crate::ops::evidence::verdict::Verdict;
use crate::ops::evidence::verify::OfCommit;
use crate::output::untrusted::untrusted;
use crate::run::shell;
use crate::run::stamp::Stamp;

/// The document of `evidence audit`.
#[derive(Serialize, JsonSchema)]
pub struct AuditDocument {
    /// Whether nothing is amiss.
    good: bool,
    reference: String,
    /// The commit at its end.
    tip: String,
    since: Stamp,
    /// `reflog` where it is known when commits came here, else `dates` of the commits.
    arrived_by: &'static str,
    base: Option<BaseDocument>,
    /// Whose word counts about what a stage does: `base`, `parent` of each commit, or `own` of the commits themselves.
    stages_of: &'static str,
    /// Oldest first.
    commits: Vec<ArrivedDocument>,
    rerun: RerunsDocument,
    /// Where the allowed signers were found.
    signers: Vec<String>,
}

/// What was found out about one commit.
#[derive(Serialize, JsonSchema)]
struct ArrivedDocument {
    commit: String,
    tree: String,
    subject: String,
    /// What is amiss; empty if all is well.
    amiss: Vec<AmissDocument>,
    /// The stages that were required.
    stages: Vec<String>,
    /// The runs that say something about its tree.
    runs: Vec<String>,
}

/// What is amiss with the evidence of a commit.
#[derive(Serialize, JsonSchema)]
struct AmissDocument {
    /// `none`, `failed`, `incomplete`, `overridden`, `unsigned`, `stranger`, `contradicted`, `old`, `redefined` or
    /// `refused`.
    what: &'static str,
    why: String,
}

/// What was run again.
#[derive(Serialize, JsonSchema)]
struct RerunsDocument {
    /// How many commits are proven, and could be run again.
    eligible: usize,
    /// What chose them: those with the smallest SHA-256 of the seed, a line feed, the commit and a line feed.
    seed: String,
    commits: Vec<RerunDocument>,
}

#[derive(Serialize, JsonSchema)]
struct RerunDocument {
    commit: String,
    /// The SHA-256 by which it was chosen.
    number: String,
    agrees: bool,
    runs: Vec<String>,
    stages: Vec<StageRerunDocument>,
    /// Why it could not be run.
    why: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct StageRerunDocument {
    stage: String,
    /// The run that had proven it.
    before: String,
    /// `agrees`, `disagrees`, `passed-otherwise` and `failed-otherwise` (with other tools), or `unknown`.
    again: &'static str,
}

fn rerun_document(of: &RerunOf) -> RerunDocument {
    let (runs, stages, why) = match &of.outcome {
        Outcome::Ran { runs, stages } => {
            let stage = stages.iter().map(|stage| StageRerunDocument {
                stage: stage.stage.clone(),
                before: stage.before.clone(),
                again: stage.again.as_str(),
            });
            (runs.clone(), stage.collect(), None)
        }
        Outcome::Refused(err) => (Vec::new(), Vec::new(), Some(format!("{err:#}"))),
        Outcome::NotRun => (Vec::new(), Vec::new(), Some("it was not its turn any more".to_owned())),
    };
    let (commit, number) = (of.commit.id.clone(), of.number.clone());
    RerunDocument { commit, number, agrees: of.agrees(), runs, stages, why }
}

impl Answer for Audited {
    type Document = AuditDocument;

    fn document(&self) -> AuditDocument {
        let commit = |OfArrived { of, amiss }: &OfArrived| ArrivedDocument {
            commit: of.commit.id.clone(),
            tree: of.commit.tree.clone(),
            subject: of.commit.subject.clone(),
            amiss: amiss
                .iter()
                .map(|it| AmissDocument { what: it.what.as_str(), why: it.why.clone() })
                .collect(),
            stages: of.stages.clone(),
            runs: of.records.iter().map(|(record, _)| record.run_id.clone()).collect(),
        };
        let (base, stages_of) = base_document(&self.policy);
        AuditDocument {
            good: self.is_good(),
            reference: self.reference.clone(),
            tip: self.tip.id.clone(),
            since: self.since,
            arrived_by: if self.by_log { "reflog" } else { "dates" },
            base,
            stages_of,
            commits: self.commits.iter().map(commit).collect(),
            rerun: RerunsDocument {
                eligible: self.eligible,
                seed: self.seed.clone(),
                commits: self.reruns.iter().map(rerun_document).collect(),
            },
            signers: self.policy.signers.from.clone(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let color = style("FAILED");
        for OfArrived { of, amiss } in self.commits.iter().filter(|commit| !commit.amiss.is_empty()) {
            let mut words: Vec<_> = amiss.iter().map(|it| it.what.as_str()).collect();
            words.dedup();
            let words = words.join(", ");
            writeln!(
                out,
                "{color}{words}{color:#}  {}  {}",
                short(&of.commit.id),
                untrusted(&of.commit.subject)
            )?;
            for it in amiss {
                writeln!(out, "    {}: {}", it.what.as_str(), untrusted(&it.why))?;
            }
        }
        let (all, bad) = (self.commits.len(), self.commits.iter().filter(|it| !it.amiss.is_empty()).count());
        let by = if self.by_log { "by the reflog" } else { "by their dates" };
        let reference = untrusted(&self.reference);
        writeln!(out, "{all} commits arrived on {reference} since {}, {by}; {bad} are amiss", self.since)?;
        writeln!(out, "By: {}", untrusted(&self.policy.said()))?;
        if self.reruns.is_empty() {
            return Ok(());
        }
        let (chosen, eligible) = (self.reruns.len(), self.eligible);
        writeln!(
            out,
            "Run again: {chosen} of {eligible} that are proven, with the smallest SHA-256 of seed and commit (--seed {})",
            untrusted(&self.seed)
        )?;
        self.reruns.iter().try_for_each(|of| rerun_text(out, of))
    }
}

fn rerun_text(out: &mut dyn Write, of: &RerunOf) -> io::Result<()> {
    let (word, color) = match (of.agrees(), &of.outcome) {
        (true, _) => ("agrees", style("ok")),
        (false, Outcome::NotRun) => ("not run", style("skipped")),
        (false, _) => ("DISAGREES", style("FAILED")),
    };
    writeln!(out, "{color}{word:>9}{color:#}  {}  {}", short(&of.commit.id), untrusted(&of.commit.subject))?;
    match &of.outcome {
        Outcome::Ran { runs, stages } => {
            for stage in stages.iter().filter(|stage| stage.again != Again::Agrees) {
                let said = match stage.again {
                    Again::Agrees => continue,
                    Again::Disagrees => "and did not now: it is contradicted",
                    Again::PassedOtherwise => "and now with other tools",
                    Again::FailedOtherwise => "and did not now, with other tools",
                    Again::Unknown => "and was not run to a verdict now",
                };
                let (name, before) = (untrusted(&stage.stage), untrusted(&stage.before));
                writeln!(out, "           {name} passed in run {before}, {said}")?;
            }
            runs.iter().try_for_each(|run| writeln!(out, "           run {}", untrusted(run)))
        }
        Outcome::Refused(err) => writeln!(out, "           {}", untrusted(&format!("{err:#}"))),
        Outcome::NotRun => Ok(()),
    }
}

/// The document of `evidence receive`.
#[derive(Serialize, JsonSchema)]
pub struct ReceiveDocument {
    /// Whether the push may be taken.
    good: bool,
    refs: Vec<RefDocument>,
}

/// What was found out about one ref.
#[derive(Serialize, JsonSchema)]
struct RefDocument {
    name: String,
    old: Option<String>,
    new: Option<String>,
    good: bool,
    /// Why it is refused, if not for its commits.
    why: Option<String>,
    base: Option<BaseDocument>,
    /// Whose word counts about what a stage does: `base`, or `own` of the commits themselves; null if nothing was judged.
    stages_of: Option<&'static str>,
    commits: Vec<ReceivedDocument>,
}

/// What was found out about one commit.
#[derive(Serialize, JsonSchema)]
struct ReceivedDocument {
    commit: String,
    subject: String,
    good: bool,
    /// The stages that were required.
    stages: Vec<String>,
    verdicts: Vec<VerdictDocument>,
    refused: Vec<RefusedDocument>,
    /// What to type where the commit was made.
    mend: Option<String>,
}

impl Answer for Received {
    type Document = ReceiveDocument;

    fn document(&self) -> ReceiveDocument {
        let commit = |of: &OfCommit| ReceivedDocument {
            commit: of.commit.id.clone(),
            subject: of.commit.subject.clone(),
            good: is_good(of),
            stages: of.stages.clone(),
            verdicts: verdict_documents(of),
            refused: of.refused.iter().map(refused_document).collect(),
            mend: (!is_good(of)).then(|| mend(of)),
        };
        let of_ref = |of: &OfRef| {
            let (base, whose) = of.policy.as_ref().map(base_document).unzip();
            RefDocument {
                name: of.update.name.clone(),
                old: of.update.old.clone(),
                new: of.update.new.clone(),
                good: of.is_good(),
                why: of.refused.clone(),
                base: base.flatten(),
                stages_of: whose,
                commits: of.commits.iter().map(commit).collect(),
            }
        };
        ReceiveDocument { good: self.is_good(), refs: self.refs.iter().map(of_ref).collect() }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let color = style("FAILED");
        for of in &self.refs {
            let name = untrusted(&of.update.name);
            if let Some(why) = &of.refused {
                writeln!(out, "{color}refused{color:#}  {name}: {}", untrusted(why))?;
            }
            for commit in of.commits.iter().filter(|commit| !is_good(commit)) {
                let (id, subject) = (short(&commit.commit.id), untrusted(&commit.commit.subject));
                writeln!(out, "{color}refused{color:#}  {name}: commit {id} ({subject})")?;
                for why in reasons(commit) {
                    writeln!(out, "    {}", untrusted(&why))?;
                }
                writeln!(out, "    mend it: {}", untrusted(&mend(commit)))?;
            }
            if let Some(policy) = of.policy.as_ref().filter(|_| !of.is_good()) {
                writeln!(out, "  By: {}", untrusted(&policy.said()))?;
            }
        }
        Ok(())
    }
}

/// Returns why a commit is not let in, one sentence each.
fn reasons(of: &OfCommit) -> Vec<String> {
    let fails = |(name, verdict): (&str, &Verdict)| match verdict {
        Verdict::Fails(why) => Some(format!("not {name}: {why}")),
        _ => None,
    };
    let mut reasons: Vec<_> = of.verdicts.all().into_iter().filter_map(fails).collect();
    let refused =
        of.refused.iter().map(|refused| format!("a note of {} is refused: {}", refused.writer, refused.why));
    reasons.extend(refused);
    if of.stages.is_empty() && !matches!(of.verdicts.defined, Verdict::Fails(_)) {
        reasons.push("nothing says which stages it has to pass".to_owned());
    }
    reasons
}

/// Returns what to type so that a commit is let in.
fn mend(of: &OfCommit) -> String {
    let fails = |verdict: &Verdict| matches!(verdict, Verdict::Fails(_));
    let commit = short(&of.commit.id);
    let (verdicts, run) = (
        &of.verdicts,
        format!("git orchestrate start --commit {commit} --notes && git orchestrate evidence push"),
    );
    if let Some(refused) = of.refused.first() {
        // Whoever pushed chose the name, and whoever reads this types it.
        let notes = shell::word(&format!("--ref=orchestrate/{}", refused.writer));
        let object = &refused.object;
        return format!("git notes {notes} remove {object} && git orchestrate evidence push");
    }
    if of.stages.is_empty() {
        return "on the server: git config orchestrate.require STAGE,…".to_owned();
    }
    if fails(&verdicts.chain) {
        return "git orchestrate evidence fetch && git orchestrate evidence push".to_owned();
    }
    if fails(&verdicts.defined) {
        return "whoever keeps the server looks at it, and lets it in: git config orchestrate.allowGateChange true".to_owned();
    }
    if fails(&verdicts.consistent) {
        return format!("git orchestrate flakes, then {run}");
    }
    if fails(&verdicts.signature) {
        return format!("git config user.signingkey KEY, then {run}");
    }
    if fails(&verdicts.allowed) {
        return "somebody who is allowed signs, or whoever keeps the server allows the key".to_owned();
    }
    run
}
