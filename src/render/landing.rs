//! What became of a stream that was to land.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::hook::{Stage, findings, line, missing, stage};
use super::printer::{Answer, style};
use super::stream_gone::word;
use crate::git::Merged;
use crate::guardrail::Verdict;
use crate::id::short;
use crate::ops::hook::pre_push::{Exempt, Judged, RefStanding};
use crate::ops::stream::land::{Fate, Landing};
use crate::output::untrusted::untrusted;
use crate::run::shell;
use crate::run::status::RunStatus;

/// What `stream land` did.
pub struct Landed<'a>(pub &'a Landing);

/// The document.
#[derive(Serialize, JsonSchema)]
pub struct Document {
    stream: String,
    /// The branch of the stream.
    branch: String,
    /// The branch that it goes to.
    onto: String,
    /// The commit that the branch of the stream names.
    tip: String,
    /// `landed`, `already` (it was there before), `nothing` (nothing was ever committed on it), `conflicts`, `refused` or
    /// `interrupted`.
    outcome: &'static str,
    /// How it was there before: `ancestor`, `tree` or `patch`.
    merged: Option<&'static str>,
    /// The commit that the branch names now, if it landed.
    commit: Option<String>,
    /// Where the branch was before that.
    from: Option<String>,
    /// The tree that was judged.
    tree: Option<String>,
    /// Whether the branch just moved on to what was merged, without a commit for the merge.
    fast_forward: Option<bool>,
    /// Files that cannot be merged.
    conflicts: Vec<String>,
    /// Whose gate it is.
    gate: Option<String>,
    /// What there is to know about that.
    note: Option<String>,
    /// What the stream does to that gate.
    gate_changes: Vec<String>,
    stages: Vec<Stage>,
    guardrails: Vec<Verdict>,
    /// The reason for which it landed all the same.
    overridden: Option<String>,
    runs: Vec<Run>,
    /// Worktrees that have the branch checked out, and whose files were brought along.
    worktrees: Vec<String>,
    /// How often the branch moved meanwhile, so that all began again.
    moved: u32,
    warnings: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Run {
    run_id: String,
    pipeline: String,
    status: RunStatus,
}

fn outcome(fate: &Fate) -> &'static str {
    match fate {
        Fate::Landed(_) => "landed",
        Fate::Already(_) => "already",
        Fate::Nothing => "nothing",
        Fate::Conflicts(_) => "conflicts",
        Fate::Refused => "refused",
        Fate::Interrupted(_) => "interrupted",
    }
}

impl Answer for Landed<'_> {
    type Document = Document;

    fn document(&self) -> Document {
        let Landing { stream, branch, onto, tip, fate, ran, moved, warnings, .. } = self.0;
        let judged = self.0.judged();
        let landed = match fate {
            Fate::Landed(landed) => Some(landed),
            _ => None,
        };
        let runs = ran.iter().map(|manifest| Run {
            run_id: manifest.run_id.to_string(),
            pipeline: manifest.pipeline_id.clone(),
            status: manifest.status,
        });
        let tree = landed.map(|it| &it.commit.tree).or(judged.map(|it| &it.commit.tree));
        Document {
            stream: stream.to_string(),
            branch: branch.clone(),
            onto: onto.clone(),
            tip: tip.clone(),
            outcome: outcome(fate),
            merged: match fate {
                Fate::Already(how) => Some(word(*how)),
                _ => None,
            },
            commit: landed.map(|it| it.commit.id.clone()),
            from: landed.map(|it| it.from.clone()),
            tree: tree.cloned(),
            fast_forward: landed.map(|it| it.fast_forward),
            conflicts: match fate {
                Fate::Conflicts(paths) => paths.clone(),
                _ => Vec::new(),
            },
            gate: judged.map(|judged| judged.ruling.from.clone()),
            note: judged.and_then(|judged| judged.ruling.note.clone()),
            gate_changes: judged.map(|judged| judged.ruling.changes.clone()).unwrap_or_default(),
            stages: judged.map(|it| it.stages.iter().map(stage).collect()).unwrap_or_default(),
            guardrails: judged.map(|judged| judged.verdicts.clone()).unwrap_or_default(),
            overridden: judged.and_then(|judged| Some(judged.reason.as_ref()?.reason.clone())),
            runs: runs.collect(),
            worktrees: landed
                .map(|it| it.worktrees.as_slice())
                .unwrap_or_default()
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
            moved: *moved,
            warnings: warnings.clone(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Landing { stream, branch, onto, tip, fate, warnings, .. } = self.0;
        let (shown, color) = match fate {
            Fate::Landed(_) => ("landed", style("proven")),
            Fate::Already(_) | Fate::Nothing => ("nothing", style("")),
            Fate::Conflicts(_) | Fate::Refused => ("REFUSED", style("FAILED")),
            Fate::Interrupted(_) => ("stopped", style("warning")),
        };
        let (to, from) = (untrusted(onto).to_string(), untrusted(branch).to_string());
        write!(out, "{color}{shown:>8}{color:#}  {from} → {to}")?;
        match fate {
            Fate::Landed(landed) => {
                let commit = short(&landed.commit.id);
                let how = if landed.fast_forward { "fast-forward to" } else { "merge" };
                write!(out, "  {how} {commit}, tree {}", short(&landed.commit.tree))?;
                self.proof(out)?;
                for path in &landed.worktrees {
                    line(out, &format!("brought along: {}", path.display()))?;
                }
                self.remarks(out)?;
            }
            Fate::Already(how) => {
                let how = match how {
                    Merged::Ancestor => "is a part of it already",
                    Merged::Tree | Merged::Patch => "would change nothing there",
                };
                writeln!(out, "  nothing to land: {} {how}", short(tip))?;
            }
            Fate::Nothing => writeln!(out, "  nothing to land: nothing is committed on it yet")?,
            Fate::Conflicts(paths) => {
                writeln!(out, "  both changed:")?;
                for path in paths {
                    line(out, path)?;
                }
                let (name, onto) = (shell::word(stream.as_str()), shell::word(onto));
                line(out, &format!("→ cd \"$(git orchestrate stream cd {name})\" && git merge {onto}"))?;
            }
            Fate::Refused => self.refused(out)?,
            Fate::Interrupted(interrupt) => {
                writeln!(out, "  cancelled by {}; nothing moved", interrupt.name())?;
            }
        }
        for warning in warnings {
            let color = style("warning");
            writeln!(out, "          {color}warning:{color:#} {}", untrusted(warning))?;
        }
        Ok(())
    }
}

impl Landed<'_> {
    /// Writes which runs prove the tree, on the same line.
    fn proof(&self, out: &mut dyn Write) -> io::Result<()> {
        match (&self.0.judgement, self.0.judged()) {
            (Some(judgement), Some(judged)) => judgement.proven(out, judged),
            _ => writeln!(out),
        }
    }

    fn remarks(&self, out: &mut dyn Write) -> io::Result<()> {
        let onto = &self.0.onto;
        let of = self.0.judgement.as_ref().and_then(|judgement| judgement.refs.first());
        match of.map(|of| &of.standing) {
            Some(RefStanding::Exempt(Exempt::NoGate)) => {
                line(out, &format!("nothing says what `{onto}` requires, so nothing was proven"))
            }
            Some(RefStanding::Exempt(_)) => line(out, &format!("the gate is not about `{onto}`")),
            Some(RefStanding::Judged(judged)) => {
                notes(out, judged)?;
                missing(out, judged)?;
                findings(out, judged)?;
                match &judged.reason {
                    Some(given) => line(out, &format!("let pass by {}: {}", given.variable, given.reason)),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn refused(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(judged) = self.0.judged() else { return writeln!(out) };
        writeln!(out, "  tree {}; nothing moved", short(&judged.commit.tree))?;
        notes(out, judged)?;
        for change in judged.ruling.changes.iter().filter(|_| judged.changes_gate()) {
            line(out, &format!("changes the gate of {}: {change}", judged.ruling.from))?;
        }
        missing(out, judged)?;
        findings(out, judged)?;
        let name = shell::word(self.0.stream.as_str());
        if judged.changes_gate() {
            return line(
                out,
                &format!("→ if that is meant: git orchestrate stream land --allow-gate-change {name}"),
            );
        }
        match judged.unproven() {
            Some((run, id)) => line(out, &format!("→ git orchestrate logs {run} {}", shell::word(id))),
            None => line(
                out,
                &format!("→ mend it; or, with a reason: git orchestrate stream land --override 'why' {name}"),
            ),
        }
    }
}

fn notes(out: &mut dyn Write, judged: &Judged) -> io::Result<()> {
    match &judged.ruling.note {
        Some(note) => line(out, note),
        None => Ok(()),
    }
}
