//! The answer of `guard`.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::printer::{Answer, style};
use crate::guardrail::diff_budget::{self, OVERRIDE, origin};
use crate::guardrail::{Counts, File, Outcome, Verdict, docs, spec};
use crate::id::short;
use crate::ops::guard::spec::Accepted;
use crate::output::untrusted::untrusted;

/// So many files are named one by one.
const LISTED: usize = 10;
/// So many files that could not be measured are.
const UNMEASURED: usize = 50;

/// Verdicts to show.
pub struct Verdicts<'a>(pub &'a [Verdict]);

/// The document.
#[derive(Serialize, JsonSchema)]
pub struct Document<'a> {
    /// Whether nothing stops the change.
    passed: bool,
    guardrails: &'a [Verdict],
}

impl<'a> Answer for Verdicts<'a> {
    type Document = Document<'a>;

    fn document(&self) -> Document<'a> {
        Document { passed: !self.0.iter().any(Verdict::stops), guardrails: self.0 }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for verdict in self.0 {
            match verdict.rule.as_str() {
                diff_budget::RULE => budget(verdict, out)?,
                docs::RULE => documents(verdict, out)?,
                _ => findings(verdict, out)?,
            }
        }
        Ok(())
    }
}

/// Returns how a guardrail is called in sentences.
pub fn name(rule: &str) -> &str {
    match rule {
        diff_budget::RULE => "Diff budget",
        spec::RULE => "Spec guard",
        docs::RULE => "Docs check",
        other => other,
    }
}

fn budget(verdict: &Verdict, out: &mut dyn Write) -> io::Result<()> {
    let label = untrusted(&verdict.judged.label).to_string();
    let none = Counts::default();
    let counts = verdict.counts.as_ref().unwrap_or(&none);
    let value =
        |name: &str| verdict.limits.iter().find(|limit| limit.name == name).map_or(0, |limit| limit.value);
    match verdict.outcome {
        Outcome::Passed => {
            let ok = style("ok");
            let Counts { files, lines, added, deleted, .. } = counts;
            let (max_files, max_lines) = (value("files"), value("lines"));
            write!(out, "{ok}✔{ok:#} Diff budget: OK ({label}, files={files}/{max_files}, ")?;
            writeln!(out, "lines={lines}/{max_lines}, +{added}/-{deleted})")?;
        }
        Outcome::Overridden => {
            let color = style("warning");
            writeln!(out, "{color}⚠{color:#} Diff budget exceeded, override applied ({label})")?;
        }
        Outcome::Failed => {
            let color = style("failed");
            writeln!(out, "{color}✖{color:#} Diff budget exceeded ({label})")?;
        }
    }
    for finding in &verdict.findings {
        writeln!(out, " - {}", untrusted(&finding.message))?;
    }
    files(verdict, out)?;
    let limits = verdict.limits.iter();
    let limits: Vec<_> =
        limits.map(|limit| format!("{} {} ({})", limit.value, limit.name, origin(&limit.origin))).collect();
    writeln!(out, "Limits: {}", untrusted(&limits.join(", ")))?;
    compared(verdict, out)?;
    notes(verdict, out)?;
    if let Some(given) = &verdict.overridden {
        let reason = untrusted(&given.reason);
        writeln!(out, "Diff budget override accepted via {}: {}", given.variable, reason.with_lines())?;
    }
    if verdict.outcome == Outcome::Failed {
        writeln!(out, "To let it pass all the same, set {OVERRIDE} to the reason.")?;
    }
    dry_run(verdict, out)
}

fn files(verdict: &Verdict, out: &mut dyn Write) -> io::Result<()> {
    let (counted, excluded): (Vec<&File>, Vec<&File>) =
        verdict.files.iter().partition(|file| file.excluded.is_none());
    if !counted.is_empty() {
        let of = match counted.len() {
            all if all > LISTED => format!("{LISTED} of {all} files"),
            1 => "1 file".to_owned(),
            all => format!("{all} files"),
        };
        writeln!(out, "Largest changes ({of}):")?;
        for file in counted.iter().take(LISTED) {
            writeln!(out, " - {}", changed(file))?;
        }
    }
    let unmeasured: Vec<_> =
        counted.iter().filter_map(|file| Some((file, file.unmeasured.as_ref()?))).collect();
    if !unmeasured.is_empty() {
        writeln!(out, "Not measured ({}):", unmeasured.len())?;
        for (file, why) in unmeasured.iter().take(UNMEASURED) {
            writeln!(out, " - {}: {}", untrusted(&file.path), untrusted(why))?;
        }
        more(unmeasured.len(), UNMEASURED, out)?;
    }
    if !excluded.is_empty() {
        writeln!(out, "Excluded ({}):", excluded.len())?;
        for file in excluded.iter().take(LISTED) {
            let why = file.excluded.as_deref().unwrap_or_default();
            writeln!(out, " - {} ({})", untrusted(&file.path), untrusted(why))?;
        }
        more(excluded.len(), LISTED, out)?;
    }
    Ok(())
}

fn more(all: usize, listed: usize, out: &mut dyn Write) -> io::Result<()> {
    match all.saturating_sub(listed) {
        0 => Ok(()),
        more => writeln!(out, " - and {more} more"),
    }
}

fn compared(verdict: &Verdict, out: &mut dyn Write) -> io::Result<()> {
    let judged = &verdict.judged;
    let short = |commit: &str| untrusted(short(commit)).to_string();
    let Some(start) = &judged.base_commit else { return Ok(()) };
    let from = judged.base_from.as_deref().unwrap_or("base");
    write!(out, "Compared with: {} ({})", short(start), untrusted(from))?;
    match &judged.commit {
        Some(commit) => writeln!(out, ", up to {}", short(commit)),
        None => writeln!(out),
    }
}

fn changed(file: &File) -> String {
    let path = match &file.from {
        Some(from) => format!("{} => {}", untrusted(from), untrusted(&file.path)),
        None => untrusted(&file.path).to_string(),
    };
    let untracked = if file.untracked { ", untracked" } else { "" };
    match (&file.unmeasured, &file.kind) {
        (Some(_), _) => format!("{path}: binary/unknown{untracked}"),
        (None, Some(kind)) if kind.starts_with("binary") => {
            let more = kind.strip_prefix("binary").unwrap_or_default();
            format!("{path}: binary/unknown{}{untracked}", untrusted(more))
        }
        (None, kind) => {
            let kind = kind.as_ref().map(|kind| format!(", {}", untrusted(kind))).unwrap_or_default();
            format!("{path}: {} (+{}/-{}{kind}{untracked})", file.lines(), file.added, file.deleted)
        }
    }
}

fn findings(verdict: &Verdict, out: &mut dyn Write) -> io::Result<()> {
    let name = untrusted(name(&verdict.rule));
    let label = untrusted(&verdict.judged.label);
    if verdict.outcome == Outcome::Passed {
        let ok = style("ok");
        writeln!(out, "{ok}✔{ok:#} {name}: OK ({label})")?;
        return notes(verdict, out);
    }
    let color = style("failed");
    writeln!(out, "{color}✖{color:#} {name}: issues detected ({label})")?;
    for finding in &verdict.findings {
        writeln!(out, " - {}", untrusted(&finding.message))?;
    }
    compared(verdict, out)?;
    notes(verdict, out)?;
    dry_run(verdict, out)
}

/// A line per finding as scripts know it from the reference, and one that editors can jump to.
fn documents(verdict: &Verdict, out: &mut dyn Write) -> io::Result<()> {
    for finding in &verdict.findings {
        let path = untrusted(finding.path.as_deref().unwrap_or_default()).to_string();
        let (line, column) = (finding.line.unwrap_or(1), finding.column.unwrap_or(1));
        let text = finding.text.as_deref().unwrap_or(&finding.message);
        writeln!(out, "{path}: {}: {}", untrusted(&finding.rule), untrusted(text))?;
        let suggestion = finding.suggestion.as_deref().map(|it| format!(" — {}", untrusted(it)));
        writeln!(out, "  at {path}:{line}:{column}{}", suggestion.unwrap_or_default())?;
    }
    let label = untrusted(&verdict.judged.label);
    match verdict.findings.len() {
        0 => {
            let ok = style("ok");
            writeln!(out, "{ok}✔{ok:#} docs:check: OK ({label})")?;
        }
        count => {
            let color = style("failed");
            writeln!(out, "{color}✖{color:#} docs:check: {count} error(s) ({label})")?;
        }
    }
    notes(verdict, out)?;
    dry_run(verdict, out)
}

fn notes(verdict: &Verdict, out: &mut dyn Write) -> io::Result<()> {
    verdict.notes.iter().try_for_each(|note| writeln!(out, "Note: {}", untrusted(note)))
}

fn dry_run(verdict: &Verdict, out: &mut dyn Write) -> io::Result<()> {
    match verdict.dry_run {
        true => writeln!(out, "Dry run: exits successfully, whatever was found."),
        false => Ok(()),
    }
}

/// A spec that was accepted.
pub struct AcceptedSpec<'a>(pub &'a Accepted);

/// The document.
#[derive(Serialize, JsonSchema)]
pub struct AcceptedDocument {
    path: String,
    last_review: String,
    reviewed_commit: Option<String>,
    dry_run: bool,
}

impl Answer for AcceptedSpec<'_> {
    type Document = AcceptedDocument;

    fn document(&self) -> AcceptedDocument {
        let Accepted { path, last_review, reviewed_commit, dry_run } = self.0.clone();
        AcceptedDocument { path, last_review, reviewed_commit, dry_run }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Accepted { path, last_review, reviewed_commit, dry_run } = self.0;
        let against = match reviewed_commit {
            Some(commit) => format!(", read against {}", short(commit)),
            None => String::new(),
        };
        writeln!(out, "Reviewed: {} (last_review {last_review}{against})", untrusted(path))?;
        match dry_run {
            true => writeln!(out, "Dry run: nothing was written."),
            false => Ok(()),
        }
    }
}
