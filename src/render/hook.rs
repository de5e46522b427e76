//! What a hook says: a line for each ref that is fine, and what is wrong with the others.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::printer::{Answer, span, style};
use crate::git::Commit;
use crate::guardrail::Verdict;
use crate::id::short;
use crate::ops::hook::pre_push::{Exempt, Judged, Judgement, OfRef, RefStanding};
use crate::ops::hook::proof::{Proof, StageState, State, Why};
use crate::ops::hook::update::Update;
use crate::output::untrusted::untrusted;
use crate::pipeline::hooks::OnMissing;
use crate::run::shell;
use crate::run::stamp::Stamp;

/// The document.
#[derive(Serialize, JsonSchema)]
pub struct Document {
    /// Whether everything may be pushed.
    pub ok: bool,
    remote: String,
    refs: Vec<Ref>,
    /// The runs that were made to find out.
    runs: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Ref {
    local: String,
    remote: String,
    commit: Option<String>,
    tree: Option<String>,
    /// `proven`, `exempt`, `refused`, `warned`, `overridden` or `broken`.
    standing: &'static str,
    /// Why nobody asks, or why it cannot be judged.
    why: Option<String>,
    /// What it is compared with.
    base: Option<String>,
    /// Whose gate it is.
    gate: Option<String>,
    /// What the change does to that gate.
    gate_changes: Vec<String>,
    stages: Vec<Stage>,
    guardrails: Vec<Verdict>,
    /// The reason for which it may pass all the same.
    overridden: Option<String>,
    /// What mends it.
    mend: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Stage {
    pipeline: String,
    id: String,
    proven: bool,
    run_id: Option<String>,
    completed_at: Option<Stamp>,
    /// Who signed the record, if it was fetched.
    signer: Option<String>,
    /// Why it is not proven.
    why: Option<String>,
}

fn word(of: &OfRef) -> &'static str {
    match &of.standing {
        RefStanding::Exempt(_) => "exempt",
        RefStanding::Problem { reason: Some(_), .. } => "overridden",
        RefStanding::Problem { .. } => "broken",
        RefStanding::Judged(_) if of.is_refused() => "refused",
        RefStanding::Judged(judged) if judged.reason.is_some() => "overridden",
        RefStanding::Judged(judged) if judged.missing().next().is_some() => "warned",
        RefStanding::Judged(_) => "proven",
    }
}

fn exempt(why: Exempt) -> &'static str {
    match why {
        Exempt::Deleted => "it is to be deleted",
        Exempt::Evidence => "it is evidence",
        Exempt::NotGated => "the gate is not about it",
        Exempt::NoCommit => "it is no commit",
        Exempt::NoGate => "nothing is asked for here",
    }
}

pub(super) fn why(why: &Why) -> String {
    match why {
        Why::NeverRan => "never ran on this tree".to_owned(),
        Why::Unproven { reason, run_id } => super::explain::reason(reason, run_id),
        Why::JudgedLongAgo { run_id } => {
            format!("a guardrail judged in it in run {run_id}, and that counts for an hour")
        }
        Why::NotKept => "nobody can prove what a person decides: require other stages".to_owned(),
    }
}

pub(super) fn stage(state: &StageState) -> Stage {
    let (proof, missing) = match &state.state {
        State::Proven(proof) => (Some(proof), None),
        State::Missing(missing) => (None, Some(missing)),
    };
    Stage {
        pipeline: state.pipeline.to_string(),
        id: state.id.clone(),
        proven: proof.is_some(),
        run_id: proof.map(|proof| proof.run_id.clone()),
        completed_at: proof.map(|proof| proof.completed_at),
        signer: proof.and_then(|proof| proof.signer.clone()),
        why: missing.map(why),
    }
}

/// Returns the command that mends what is missing.
fn mend(of: &OfRef, remote: &str) -> Option<String> {
    let RefStanding::Judged(judged) = &of.standing else { return None };
    let runs = of.is_refused() && judged.needs_only_a_run();
    runs.then(|| command(&of.update, judged, remote))
}

fn command(update: &Update, judged: &Judged, remote: &str) -> String {
    let name = |full: &str| full.strip_prefix("refs/heads/").map(str::to_owned);
    let spec = match (name(&update.local), name(&update.remote)) {
        (Some(local), Some(there)) if local == there && !local.starts_with('-') => local,
        _ => format!("{}:{}", update.local, update.remote),
    };
    let rewrites = update.remote_id.is_some() && judged.base.as_ref().is_some_and(|base| !base.follows);
    let force = if rewrites { " --force-with-lease" } else { "" };
    format!("git orchestrate push{force} {} {}", shell::word(remote), shell::word(&spec))
}

impl Answer for Judgement {
    type Document = Document;

    fn document(&self) -> Document {
        let one = |of: &OfRef| {
            let judged = match &of.standing {
                RefStanding::Judged(judged) => Some(&**judged),
                _ => None,
            };
            let (commit, problem): (Option<&Commit>, _) = match &of.standing {
                RefStanding::Problem { commit, error, .. } => (commit.as_ref(), Some(format!("{error:#}"))),
                RefStanding::Exempt(why) => (None, Some(exempt(*why).to_owned())),
                RefStanding::Judged(judged) => (Some(&judged.commit), None),
            };
            let reason = match &of.standing {
                RefStanding::Problem { reason, .. } => reason.as_ref(),
                RefStanding::Judged(judged) => judged.reason.as_ref(),
                RefStanding::Exempt(_) => None,
            };
            Ref {
                local: of.update.local.clone(),
                remote: of.update.remote.clone(),
                commit: commit.map(|commit| commit.id.clone()),
                tree: commit.map(|commit| commit.tree.clone()),
                standing: word(of),
                why: problem,
                base: judged.and_then(|judged| Some(judged.base.as_ref()?.target.label.clone())),
                gate: judged.map(|judged| judged.ruling.from.clone()),
                gate_changes: judged.map(|judged| judged.ruling.changes.clone()).unwrap_or_default(),
                stages: judged.map(|it| it.stages.iter().map(stage).collect()).unwrap_or_default(),
                guardrails: judged.map(|judged| judged.verdicts.clone()).unwrap_or_default(),
                overridden: reason.map(|reason| reason.reason.clone()),
                mend: mend(of, &self.remote.name),
            }
        };
        Document {
            ok: !self.is_refused(),
            remote: self.remote.name.clone(),
            refs: self.refs.iter().map(one).collect(),
            runs: self.ran.iter().map(|manifest| manifest.run_id.to_string()).collect(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for of in &self.refs {
            self.one(out, of)?;
        }
        Ok(())
    }
}

impl Judgement {
    fn one(&self, out: &mut dyn Write, of: &OfRef) -> io::Result<()> {
        let word = word(of);
        let (shown, color) = match word {
            "proven" => ("proven", style("proven")),
            "refused" | "broken" => ("REFUSED", style("FAILED")),
            "warned" => ("warning", style("warning")),
            "overridden" => ("let pass", style("warning")),
            other => (other, style(other)),
        };
        let plain = |name: &str| {
            let name = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/"));
            name.map(str::to_owned)
        };
        let Update { local, remote, .. } = &of.update;
        let (from, to) = (plain(local), plain(remote));
        let (from, to) = (from.as_ref().unwrap_or(local), to.as_ref().unwrap_or(remote));
        let name = if from == to { to.clone() } else { format!("{from} → {to}") };
        write!(out, "{color}{shown:>8}{color:#}  {}", untrusted(&name))?;
        match &of.standing {
            RefStanding::Exempt(why) => writeln!(out, "  {}", exempt(*why)),
            RefStanding::Judged(judged) => {
                write!(out, "  tree {}", short(&judged.commit.tree))?;
                match judged.stages.is_empty() && word == "proven" {
                    true => writeln!(out, ": no stage is required")?,
                    false => self.proven(out, judged)?,
                }
                self.rest(out, of, judged)
            }
            RefStanding::Problem { error, reason, .. } => {
                writeln!(out)?;
                let has_hint = problem(out, error)?;
                match reason {
                    Some(reason) => line(out, &format!("let pass: {}", reason.reason)),
                    None if !has_hint => {
                        line(out, &format!("→ mend it; or, this once: {}='why' git push …", variable()))
                    }
                    None => Ok(()),
                }
            }
        }
    }

    /// Writes which runs prove what, on the same line.
    pub(super) fn proven(&self, out: &mut dyn Write, judged: &Judged) -> io::Result<()> {
        let mut runs: Vec<(&Proof, Vec<&str>)> = Vec::new();
        for state in &judged.stages {
            let State::Proven(proof) = &state.state else { continue };
            match runs.iter_mut().find(|(known, _)| known.run_id == proof.run_id) {
                Some((_, names)) => names.push(&state.id),
                None => runs.push((proof, vec![&state.id])),
            }
        }
        for (at, (proof, names)) in runs.iter().enumerate() {
            let seconds = self.now.seconds_since(proof.completed_at);
            let whose = match (&proof.signer, &proof.writer) {
                (Some(signer), _) => format!("signed by {signer}"),
                (None, Some(writer)) => format!("unsigned, of writer {writer}"),
                (None, None) => "of this repository".to_owned(),
            };
            let names = names.join(", ");
            let text = format!("{names} by run {}, {} ago, {whose}", proof.run_id, span(seconds));
            write!(out, "{} {}", if at == 0 { ":" } else { ";" }, untrusted(&text))?;
        }
        writeln!(out)
    }

    fn rest(&self, out: &mut dyn Write, of: &OfRef, judged: &Judged) -> io::Result<()> {
        if let Some(note) = &judged.ruling.note {
            line(out, note)?;
        }
        for change in judged.ruling.changes.iter().filter(|_| judged.changes_gate()) {
            line(out, &format!("changes the gate of {}: {change}", judged.ruling.from))?;
        }
        missing(out, judged)?;
        findings(out, judged)?;
        if let Some(reason) = &judged.reason {
            return line(out, &format!("let pass by {}: {}", reason.variable, reason.reason));
        }
        if !of.is_refused() {
            return match judged.gate.on_missing {
                OnMissing::Warn if judged.missing().next().is_some() => {
                    line(out, &format!("→ {}", command(&of.update, judged, &self.remote.name)))
                }
                _ => Ok(()),
            };
        }
        if let Some(command) = mend(of, &self.remote.name) {
            if self.is_bare {
                line(
                    out,
                    "nothing can run in a bare repository; in a worktree of it (`git worktree add` makes one):",
                )?;
            }
            let usually = match judged.usual_seconds {
                Some(seconds) => format!(
                    "  (usually {}; the hook itself runs up to {})",
                    span(seconds),
                    span(judged.gate.inline_seconds as f64)
                ),
                None => String::new(),
            };
            return line(out, &format!("→ {command}{usually}"));
        }
        if judged.changes_gate() {
            return line(out, "→ if that is meant: git orchestrate push --allow-gate-change …");
        }
        if let Some((run, id)) = judged.unproven() {
            line(out, &format!("→ git orchestrate logs {run} {}", shell::word(id)))?;
            return line(out, "→ mend it and commit; a flake: git orchestrate flakes clear STAGE --reason …");
        }
        line(out, &format!("→ mend it; or, with a reason: {}='why' git push …", variable()))
    }
}

pub(super) fn variable() -> &'static str {
    crate::ops::hook::reason::VARIABLE
}

/// Writes which stages are not proven, and why.
pub(super) fn missing(out: &mut dyn Write, judged: &Judged) -> io::Result<()> {
    for state in judged.missing() {
        if let State::Missing(missing) = &state.state {
            line(out, &format!("stage {}: {}", state.id, why(missing)))?;
        }
    }
    Ok(())
}

/// Writes what guardrails found, and why it may pass.
pub(super) fn findings(out: &mut dyn Write, judged: &Judged) -> io::Result<()> {
    for verdict in judged.verdicts.iter().filter(|verdict| !verdict.findings.is_empty()) {
        for finding in &verdict.findings {
            line(out, &format!("{} ({}): {}", verdict.rule, verdict.judged.label, finding.message))?;
        }
        if let Some(given) = &verdict.overridden {
            line(out, &format!("let pass by {}: {}", given.variable, given.reason))?;
        }
    }
    Ok(())
}

/// Writes why something cannot be judged. Returns whether it says what to do.
pub(super) fn problem(out: &mut dyn Write, error: &anyhow::Error) -> io::Result<bool> {
    line(out, &format!("{error:#}"))?;
    let hint = error.downcast_ref::<crate::ops::Refusal>().and_then(|refusal| refusal.hint.as_deref());
    for hint in hint.iter().flat_map(|hint| hint.lines()) {
        line(out, &format!("→ {hint}"))?;
    }
    Ok(hint.is_some())
}

pub(super) fn line(out: &mut dyn Write, text: &str) -> io::Result<()> {
    writeln!(out, "          {}", untrusted(text))
}
