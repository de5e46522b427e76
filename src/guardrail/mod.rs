//! What guardrails judge and how they say it: one verdict type for all, one file per guardrail.
//!
//! Values only: what changed and what stands in files is found by [`crate::git`] and [`crate::ops`].

pub mod diff_budget;
pub mod docs;
pub mod spec;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one guardrail says about one thing that it judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// The guardrail: `diff-budget`, `spec-guard` or `docs-check`.
    pub rule: String,
    pub outcome: Outcome,
    /// Whether a verdict against the change was only reported.
    #[serde(default)]
    pub dry_run: bool,
    pub judged: Judged,
    #[serde(default)]
    pub limits: Vec<Limit>,
    /// Why the verdict is against the change; empty if it passed.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// What a reader should know that decides nothing.
    #[serde(default)]
    pub notes: Vec<String>,
    #[serde(default, rename = "override")]
    pub overridden: Option<Override>,
    #[serde(default)]
    pub counts: Option<Counts>,
    /// The files that were looked at, the largest change first.
    #[serde(default)]
    pub files: Vec<File>,
    /// How many more files there are than `files` names.
    #[serde(default)]
    pub more_files: u64,
}

/// How a guardrail decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Passed,
    Failed,
    /// Somebody gave a reason to let it pass.
    Overridden,
}

/// What was judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Judged {
    /// `work-tree`, `staged`, `commit`, `range` or `files`.
    pub what: String,
    /// The name of it in one word, such as `base=origin/main`.
    pub label: String,
    /// What it was compared with, as it was named.
    #[serde(default)]
    pub base: Option<String>,
    /// Who named the base: a flag, a variable, or where it was found.
    #[serde(default)]
    pub base_from: Option<String>,
    /// The commit that the comparison began at, in hex.
    #[serde(default)]
    pub base_commit: Option<String>,
    /// The commit that was judged, in hex; null for a work tree.
    #[serde(default)]
    pub commit: Option<String>,
}

/// One limit, and who set it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    /// `files`, `lines` or `days`.
    pub name: String,
    pub value: u64,
    pub origin: Origin,
}

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Origin {
    /// It comes with the program.
    Default,
    Flag {
        name: String,
    },
    Variable {
        name: String,
    },
    /// `codex.orchestrator.json` of that commit; of the work tree if there is none.
    Configuration {
        commit: Option<String>,
    },
}

/// One reason for a verdict against a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The rule within the guardrail, such as `too-many-files`.
    pub rule: String,
    pub message: String,
    #[serde(default)]
    pub path: Option<String>,
    #[serde(default)]
    pub line: Option<u64>,
    /// In characters, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// The words in the file that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What could stand there instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// The reason that somebody gave to let a change pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Override {
    /// The variable that held it.
    pub variable: String,
    pub reason: String,
}

/// How much changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    pub files: u64,
    pub lines: u64,
    pub added: u64,
    pub deleted: u64,
    /// Files that changed and were not counted.
    pub excluded: u64,
    /// Files that should count and could not be measured.
    pub unmeasured: u64,
}

/// One file that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct File {
    pub path: String,
    /// The name before a rename.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    pub status: Status,
    pub added: u64,
    pub deleted: u64,
    /// What is special about it, such as `binary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untracked: bool,
    /// Why it was not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<String>,
    /// Why it could not be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmeasured: Option<String>,
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Added,
    Deleted,
    Modified,
    Renamed,
}

impl File {
    /// Returns a file of which only the name and what happened to it are known.
    pub fn new(path: impl Into<String>, status: Status) -> Self {
        Self {
            path: path.into(),
            from: None,
            status,
            added: 0,
            deleted: 0,
            kind: None,
            untracked: false,
            excluded: None,
            unmeasured: None,
        }
    }

    /// Returns the lines that count.
    pub fn lines(&self) -> u64 {
        self.added.saturating_add(self.deleted)
    }
}

impl Verdict {
    /// Returns a verdict without findings.
    pub fn new(rule: &str, judged: Judged) -> Self {
        Self {
            rule: rule.to_owned(),
            outcome: Outcome::Passed,
            dry_run: false,
            judged,
            limits: Vec::new(),
            findings: Vec::new(),
            notes: Vec::new(),
            overridden: None,
            counts: None,
            files: Vec::new(),
            more_files: 0,
        }
    }

    /// Decides by the findings and by a reason that was given; a reason decides before a dry run does.
    pub fn decide(&mut self, reason: Option<Override>, dry_run: bool) {
        self.outcome = match (self.findings.is_empty(), reason) {
            (true, _) => Outcome::Passed,
            (false, Some(reason)) => {
                self.overridden = Some(reason);
                Outcome::Overridden
            }
            (false, None) => Outcome::Failed,
        };
        self.dry_run = dry_run && self.outcome == Outcome::Failed;
    }

    /// Whether the change may not pass.
    pub fn stops(&self) -> bool {
        self.outcome == Outcome::Failed && !self.dry_run
    }

    /// Returns the verdict with at most `limit` files and findings, for places that keep many verdicts.
    pub fn shortened(mut self, limit: usize) -> Self {
        let left = self.files.len().saturating_sub(limit);
        self.files.truncate(limit);
        self.more_files += left as u64;
        let left = self.findings.len().saturating_sub(limit);
        self.findings.truncate(limit);
        if left > 0 {
            self.notes.push(format!("{left} more findings are not listed here"));
        }
        self
    }

    /// Changes every text that a user, a file or a variable had a part in.
    pub fn map_texts(&mut self, map: &dyn Fn(&str) -> String) {
        let each = |text: &mut String| *text = map(text);
        let Judged { what, label, base, base_from, base_commit: _, commit: _ } = &mut self.judged;
        [&mut self.rule, what, label].into_iter().for_each(each);
        [base, base_from].into_iter().flatten().for_each(each);
        self.notes.iter_mut().for_each(each);
        for Finding { rule, message, path, line: _, column: _, text, suggestion } in &mut self.findings {
            [rule, message].into_iter().chain(path).chain(text).chain(suggestion).for_each(each);
        }
        for file in &mut self.files {
            each(&mut file.path);
            let more = [&mut file.from, &mut file.kind, &mut file.excluded, &mut file.unmeasured];
            more.into_iter().flatten().for_each(each);
        }
        if let Some(given) = &mut self.overridden {
            each(&mut given.reason);
        }
    }

    /// Returns one line about it for the notes of a run.
    pub fn line(&self) -> String {
        let Self { rule, judged, findings, .. } = self;
        let said = match (self.outcome, &self.overridden) {
            (Outcome::Passed, _) => "passed".to_owned(),
            (Outcome::Overridden, Some(given)) => format!("overridden: {}", given.reason),
            (_, _) if self.dry_run => format!("{} (dry run)", findings_in_words(findings.len())),
            (_, _) => findings_in_words(findings.len()),
        };
        format!("Guardrail {rule} ({}): {said}", judged.label)
    }
}

fn findings_in_words(count: usize) -> String {
    match count {
        1 => "1 finding".to_owned(),
        count => format!("{count} findings"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(findings: usize) -> Verdict {
        let mut verdict = Verdict::new("diff-budget", Judged::default());
        let finding =
            Finding { rule: "too-many-files".into(), message: "too many".into(), ..Finding::default() };
        verdict.findings = vec![finding; findings];
        verdict
    }

    #[test]
    fn a_reason_decides_before_a_dry_run_and_only_where_there_is_something_to_decide() {
        let reason = || Some(Override { variable: "V".into(), reason: "because".into() });
        for (findings, given, dry_run, outcome, stops) in [
            (0, None, false, Outcome::Passed, false),
            (0, reason(), false, Outcome::Passed, false),
            (1, None, false, Outcome::Failed, true),
            (1, None, true, Outcome::Failed, false),
            (1, reason(), true, Outcome::Overridden, false),
        ] {
            let mut verdict = verdict(findings);
            let is_given = given.is_some();
            verdict.decide(given, dry_run);
            assert_eq!((verdict.outcome, verdict.stops()), (outcome, stops));
            assert_eq!(verdict.overridden.is_some(), is_given && findings > 0);
        }
    }

    #[test]
    fn a_shortened_verdict_says_what_it_leaves_out() {
        let file = File::new("a", Status::Added);
        let mut long = verdict(5);
        long.files = vec![file; 7];
        let short = long.shortened(3);
        assert_eq!((short.files.len(), short.more_files, short.findings.len()), (3, 4, 3));
        assert_eq!(short.notes, ["2 more findings are not listed here"]);
    }

    #[test]
    fn older_and_newer_verdicts_can_be_read() {
        let text =
            r#"{"rule": "later", "outcome": "passed", "judged": {"what": "x", "label": "y"}, "new": 1}"#;
        let read: Verdict = serde_json::from_str(text).unwrap();
        assert_eq!(read.line(), "Guardrail later (y): passed");
    }
}
