//! What the hooks around a commit say: a line if all is fine, and what is wrong if it is not.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::hook::{Stage, findings, line, problem, stage, variable, why};
use super::mended;
use super::printer::{Answer, style};
use crate::guardrail::Verdict;
use crate::id::short;
use crate::ops::hook::commit::Said;
use crate::ops::hook::mend::Outcome;
use crate::ops::hook::pre_push::{Judged, OfRef, RefStanding};
use crate::ops::hook::proof::{State, Why};
use crate::output::untrusted::untrusted;
use crate::pipeline::hooks::Event;
use crate::run::shell;

/// The document.
#[derive(Serialize, JsonSchema)]
pub struct Document {
    /// Whether git may go on.
    pub ok: bool,
    /// The name of the hook.
    event: String,
    /// `not-asked`, `proven`, `refused`, `missing`, `warned`, `overridden`, `broken` or `in-background`.
    standing: &'static str,
    /// The tree that it is about.
    tree: Option<String>,
    /// The commit that it is about, or that the next one follows.
    commit: Option<String>,
    /// Why it cannot be judged.
    why: Option<String>,
    /// Whose gate it is.
    gate: Option<String>,
    /// What there is to know about that.
    note: Option<String>,
    stages: Vec<Stage>,
    guardrails: Vec<Verdict>,
    /// The reason for which it may pass all the same.
    overridden: Option<String>,
    /// What stages that mend changed, if they changed anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    mended: Option<mended::Document>,
    /// The runs that were made to find out.
    runs: Vec<String>,
    /// Where that is said which nobody waits for.
    log: Option<String>,
}

impl Said {
    fn of(&self) -> Option<&OfRef> {
        self.judgement.refs.first()
    }

    fn word(&self) -> &'static str {
        match self.of().map(|of| (of, &of.standing)) {
            None | Some((_, RefStanding::Exempt(_))) => "not-asked",
            Some((_, RefStanding::Problem { reason: Some(_), .. })) => "overridden",
            Some((_, RefStanding::Problem { .. })) => "broken",
            Some(_) if self.left_to.is_some() => "in-background",
            Some((_, RefStanding::Judged(_))) if self.waits => "refused",
            Some((of, RefStanding::Judged(_))) if of.is_refused() => {
                if self.event.is_after() {
                    "missing"
                } else {
                    "refused"
                }
            }
            Some((_, RefStanding::Judged(judged))) if judged.reason.is_some() => "overridden",
            Some((_, RefStanding::Judged(judged))) if judged.missing().next().is_some() => "warned",
            Some((_, RefStanding::Judged(_))) => "proven",
        }
    }

    /// What a user types again.
    fn command(&self) -> &'static str {
        match self.event {
            Event::PreRebase => "git rebase",
            _ => "git commit",
        }
    }

    fn rest(&self, out: &mut dyn Write, judged: &Judged) -> io::Result<()> {
        if let Some(note) = &judged.ruling.note {
            line(out, note)?;
        }
        let mut failed = None;
        for state in judged.missing() {
            if let State::Missing(missing) = &state.state {
                line(out, &format!("stage {}: {}", state.id, why(missing)))?;
                if let Why::Unproven { run_id, .. } = missing {
                    failed.get_or_insert((run_id, &state.id));
                }
            }
        }
        findings(out, judged)?;
        let hindered =
            self.mended.as_ref().is_some_and(|mended| matches!(mended.outcome, Outcome::Hindered(_)));
        if let Some((run, id)) = failed.filter(|_| !hindered) {
            line(out, &format!("→ git orchestrate logs {run} {}", shell::word(id)))?;
        }
        match &judged.reason {
            Some(reason) => line(out, &format!("let pass by {}: {}", reason.variable, reason.reason)),
            None if self.waits => {
                line(
                    out,
                    "`onFix` is `refuse`: what was mended is staged, and waits for somebody to look at it",
                )?;
                line(out, "→ git diff --cached, and then git commit again")
            }
            None if self.is_refused() => self.way_out(out),
            None => Ok(()),
        }
    }

    fn way_out(&self, out: &mut dyn Write) -> io::Result<()> {
        line(out, &format!("→ mend it; or, with a reason: {}='why' {} …", variable(), self.command()))
    }
}

impl Answer for Said {
    type Document = Document;

    fn document(&self) -> Document {
        let of = self.of();
        let judged = of.and_then(|of| match &of.standing {
            RefStanding::Judged(judged) => Some(&**judged),
            _ => None,
        });
        let (commit, why, reason) = match of.map(|of| &of.standing) {
            Some(RefStanding::Problem { commit, error, reason }) => {
                (commit.as_ref(), Some(format!("{error:#}")), reason.as_ref())
            }
            Some(RefStanding::Judged(judged)) => (Some(&judged.commit), None, judged.reason.as_ref()),
            _ => (None, None, None),
        };
        Document {
            ok: !self.is_refused(),
            event: self.event.to_string(),
            standing: self.word(),
            tree: commit.map(|commit| commit.tree.clone()),
            commit: commit.map(|commit| commit.id.clone()).filter(|id| !id.is_empty()),
            why,
            gate: judged.map(|judged| judged.ruling.from.clone()),
            note: judged.and_then(|judged| judged.ruling.note.clone()),
            stages: judged.map(|it| it.stages.iter().map(stage).collect()).unwrap_or_default(),
            guardrails: judged.map(|judged| judged.verdicts.clone()).unwrap_or_default(),
            overridden: reason.map(|reason| reason.reason.clone()),
            mended: self.mended.as_ref().map(mended::document),
            runs: self.ran().iter().map(|manifest| manifest.run_id.to_string()).collect(),
            log: self.left_to.as_ref().map(|path| path.display().to_string()),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(of) = self.of() else { return Ok(()) };
        let word = self.word();
        let nothing = |it: &Judged| it.stages.is_empty() && it.gate.guardrails.is_empty();
        if matches!(&of.standing, RefStanding::Judged(judged) if nothing(judged)) {
            return Ok(());
        }
        let (shown, color) = match word {
            "not-asked" => return Ok(()),
            "proven" => ("proven", style("proven")),
            "refused" | "broken" if self.is_refused() => ("REFUSED", style("FAILED")),
            "overridden" => ("let pass", style("warning")),
            "in-background" => ("goes on", style("ok")),
            _ => ("warning", style("warning")),
        };
        if let Some(mended) = &self.mended {
            mended::text(out, mended)?;
        }
        write!(out, "{color}{shown:>8}{color:#}  {}", untrusted(&of.update.local))?;
        match &of.standing {
            RefStanding::Exempt(_) => writeln!(out),
            RefStanding::Judged(judged) => {
                write!(out, "  tree {}", short(&judged.commit.tree))?;
                if let Some(log) = &self.left_to {
                    let log = log.display().to_string();
                    return writeln!(out, " in the background; see {}", untrusted(&log));
                }
                match judged.stages.is_empty() {
                    true => writeln!(out, ": no stage is required")?,
                    false => self.judgement.proven(out, judged)?,
                }
                self.rest(out, judged)
            }
            RefStanding::Problem { error, reason, .. } => {
                writeln!(out)?;
                problem(out, error)?;
                match reason {
                    Some(reason) => line(out, &format!("let pass: {}", reason.reason)),
                    None if self.is_refused() => self.way_out(out),
                    None => Ok(()),
                }
            }
        }
    }
}
