//! `guard docs`: whether documents refer to what exists, as a verdict.
//!
//! Documents, and what they may name, are those of the work tree, and so is the configuration.

use anyhow::Result;

use super::super::Context;
use super::super::docs::check::{Located, check};
use super::settings;
use crate::guardrail::docs::RULE;
use crate::guardrail::{Finding, Judged, Verdict};

/// Judges the documents of the work tree.
pub fn judge(ctx: &Context, dry_run: bool) -> Result<Verdict> {
    let more = settings::of_work_tree(ctx)?.docs.map(|docs| docs.include).unwrap_or_default();
    let checked = check(ctx, &more)?;
    let label = format!("documents={}", checked.documents.len());
    let mut verdict = Verdict::new(RULE, Judged { what: "files".to_owned(), label, ..Judged::default() });
    verdict.findings = checked.findings.into_iter().map(finding).collect();
    verdict.decide(None, dry_run);
    Ok(verdict)
}

fn finding(located: Located) -> Finding {
    let Located { file, line, column, finding } = located;
    Finding {
        rule: finding.rule.id().to_owned(),
        message: finding.rule.said_of(&finding.text),
        path: Some(file),
        line: Some(line as u64),
        column: Some(column as u64),
        text: Some(finding.text),
        suggestion: finding.suggestion,
    }
}
