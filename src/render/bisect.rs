//! The answer of `bisect`.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::printer::{Answer, style};
use crate::git::Commit;
use crate::id::short;
use crate::ops::bisect::{BisectOutcome, Found, Step, Verdict};
use crate::output::untrusted::untrusted;

/// What was found.
pub struct Bisected<'a>(pub &'a BisectOutcome);

/// The document.
#[derive(Serialize, JsonSchema)]
pub struct Document {
    range: String,
    /// `found`, `ambiguous`, `none_bad`, `aborted` or `cancelled`.
    outcome: &'static str,
    /// The first bad commit, if it was found.
    first_bad: Option<CommitItem>,
    /// The first bad commit is one of these; the others could not be tested.
    candidates: Vec<CommitItem>,
    /// How many commits were in question.
    total: usize,
    /// How many runs it took; what was known already took none.
    runs: usize,
    steps: Vec<Item>,
}

#[derive(Serialize, JsonSchema)]
struct CommitItem {
    commit: String,
    tree: String,
    subject: String,
}

#[derive(Serialize, JsonSchema)]
struct Item {
    commit: String,
    subject: String,
    /// `good`, `bad`, `skip` or `abort`.
    verdict: &'static str,
    run_id: Option<String>,
    /// Whether the run had been there before.
    known: bool,
    reason: Option<String>,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Skip => "skip",
            Self::Abort(_) => "abort",
        }
    }
}

fn item(commit: &Commit) -> CommitItem {
    let Commit { id, tree, subject } = commit.clone();
    CommitItem { commit: id, tree, subject }
}

impl Answer for Bisected<'_> {
    type Document = Document;

    fn document(&self) -> Document {
        let BisectOutcome { range, total, steps, result, .. } = self.0;
        let step = |Step { commit, verdict, run, known, reason }: &Step| Item {
            commit: commit.id.clone(),
            subject: commit.subject.clone(),
            verdict: verdict.word(),
            run_id: run.clone(),
            known: *known,
            reason: reason.clone(),
        };
        Document {
            range: range.clone(),
            outcome: match result {
                Found::First(_) => "found",
                Found::AnyOf(_) => "ambiguous",
                Found::NoneBad(_) => "none_bad",
                Found::Aborted(..) => "aborted",
                Found::Interrupted => "cancelled",
            },
            first_bad: match result {
                Found::First(commit) => Some(item(commit)),
                _ => None,
            },
            candidates: match result {
                Found::AnyOf(commits) => commits.iter().map(item).collect(),
                _ => Vec::new(),
            },
            total: *total,
            runs: steps.iter().filter(|step| !step.known && step.run.is_some()).count(),
            steps: steps.iter().map(step).collect(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let BisectOutcome { range, steps, result, .. } = self.0;
        for Step { commit, verdict, run, known, reason } in steps {
            let color = style(match verdict {
                Verdict::Good => "ok",
                Verdict::Bad => "failed",
                _ => "skipped",
            });
            let run = untrusted(run.as_deref().unwrap_or("-")).to_string();
            let known = if *known { "  (known)" } else { "" };
            let subject = untrusted(&commit.subject).with_width(60).to_string();
            writeln!(
                out,
                "{color}{:>5}{color:#}  {}  {run:33}  {subject}{known}",
                verdict.word(),
                short(&commit.id)
            )?;
            if let Some(reason) = reason.as_ref().filter(|_| *verdict == Verdict::Skip) {
                writeln!(out, "{:5}  {}", "", untrusted(reason))?;
            }
        }
        match result {
            Found::First(commit) => {
                writeln!(out, "First bad commit: {}  {}", short(&commit.id), untrusted(&commit.subject))
            }
            Found::AnyOf(commits) => {
                writeln!(out, "The first bad commit could be any of:")?;
                commits
                    .iter()
                    .try_for_each(|it| writeln!(out, "  {}  {}", short(&it.id), untrusted(&it.subject)))
            }
            Found::NoneBad(commit) => {
                writeln!(
                    out,
                    "{} is good: nothing in {} is known to be bad.",
                    short(&commit.id),
                    untrusted(range)
                )
            }
            Found::Aborted(commit, code) => {
                writeln!(out, "The stage ended the search with exit code {code} on {}.", short(&commit.id))
            }
            Found::Interrupted => writeln!(out, "Cancelled before the first bad commit was found."),
        }
    }
}
