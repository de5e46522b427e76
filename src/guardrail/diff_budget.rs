//! The diff budget: whether a change is small enough to be reviewed (`contract-guardrails.md` §1).

use super::{Counts, File, Finding, Judged, Limit, Origin, Verdict};
use crate::id::short;
use crate::pipeline::config::FILE_NAME;
use crate::pipeline::guardrails::ExceededWhen;

/// The name of the guardrail.
pub const RULE: &str = "diff-budget";

/// The variable whose text lets a change pass.
pub const OVERRIDE: &str = "DIFF_BUDGET_OVERRIDE_REASON";

/// The limits where nobody says anything else.
pub const MAX_FILES: u64 = 25;
pub const MAX_LINES: u64 = 800;

/// What is never counted: pathspecs of git, from the root of the repository.
pub const IGNORED: [&str; 8] = [
    "package-lock.json",
    ".runs/",
    "archives/",
    "dist/",
    "node_modules/",
    "out/",
    ".agent/task/",
    ":(glob)tasks/tasks-*",
];

/// The limits that judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    pub files: Limit,
    pub lines: Limit,
    pub exceeded_when: ExceededWhen,
}

/// Reads a limit as the scripts of the reference do: blanks around it, an exponent and `0x` are
/// fine, and a fraction is cut. What is no number from 0 on is nothing.
pub fn limit(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    if let Some(digits) = digits {
        return u64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'));
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == '+') {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    (number.is_finite() && number < 1e15).then_some(number as u64)
}

/// Judges a change by the files in it.
pub fn judge(judged: Judged, mut files: Vec<File>, budget: &Budget) -> Verdict {
    let mut counts = Counts::default();
    for file in &files {
        if file.excluded.is_some() {
            counts.excluded += 1;
            continue;
        }
        counts.files += 1;
        counts.added = counts.added.saturating_add(file.added);
        counts.deleted = counts.deleted.saturating_add(file.deleted);
        counts.unmeasured += u64::from(file.unmeasured.is_some());
    }
    counts.lines = counts.added.saturating_add(counts.deleted);
    // Those that count first, then by size; ties stay in the order of their paths.
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.sort_by_key(|file| (file.excluded.is_some(), std::cmp::Reverse(file.lines())));

    let finding = |rule: &str, message| Finding { rule: rule.to_owned(), message, ..Finding::default() };
    let mut findings = Vec::new();
    if counts.files > budget.files.value {
        let message = format!("changed files {} > {}", counts.files, budget.files.value);
        findings.push(finding("too-many-files", message));
    }
    if counts.lines > budget.lines.value {
        let message = format!("total lines changed {} > {}", counts.lines, budget.lines.value);
        findings.push(finding("too-many-lines", message));
    }
    let mut verdict = Verdict::new(RULE, judged);
    if budget.exceeded_when == ExceededWhen::Both && findings.len() == 1 {
        let one = findings.remove(0);
        verdict.notes.push(format!("{}, which alone is not too much here", one.message));
    }
    if counts.unmeasured > 0 {
        let tracked = files.iter().any(|file| file.unmeasured.is_some() && !file.untracked);
        let which = if tracked { "files" } else { "untracked files" };
        let message = format!("{which} could not be measured: {}", counts.unmeasured);
        findings.push(finding("not-measured", message));
    }
    verdict.findings = findings;
    verdict.limits = vec![budget.files.clone(), budget.lines.clone()];
    verdict.counts = Some(counts);
    verdict.files = files;
    verdict
}

/// Returns the text for where a limit comes from.
pub fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Default => "default".to_owned(),
        Origin::Flag { name } | Origin::Variable { name } => name.clone(),
        Origin::Configuration { commit: Some(commit) } => {
            format!("{FILE_NAME} of {}", short(commit))
        }
        Origin::Configuration { commit: None } => format!("{FILE_NAME} of the work tree"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_the_reference_reads_them() {
        for (text, value) in [
            ("25", Some(25)),
            ("0", Some(0)),
            (" 25 ", Some(25)),
            ("1e2", Some(100)),
            ("0x10", Some(16)),
            ("12.9", Some(12)),
            (".5", Some(0)),
            ("", None),
            ("1O", None),
            ("-1", None),
            ("-0x1", None),
            ("0x", None),
            ("0x+1", None),
            ("inf", None),
            ("NaN", None),
            ("1e400", None),
            ("ten", None),
        ] {
            assert_eq!(limit(text), value, "{text:?}");
        }
    }

    fn file(path: &str, added: u64, deleted: u64) -> File {
        File { added, deleted, ..File::new(path, super::super::Status::Modified) }
    }

    fn budget(files: u64, lines: u64, exceeded_when: ExceededWhen) -> Budget {
        let limit = |name: &str, value| Limit { name: name.into(), value, origin: Origin::Default };
        Budget { files: limit("files", files), lines: limit("lines", lines), exceeded_when }
    }

    fn said(files: Vec<File>, budget: &Budget) -> Vec<String> {
        let verdict = judge(Judged::default(), files, budget);
        verdict.findings.into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn the_limits_are_inclusive() {
        let files = || vec![file("a", 3, 2), file("b", 5, 0)];
        assert_eq!(said(files(), &budget(2, 10, ExceededWhen::Either)), [""; 0]);
        assert_eq!(said(files(), &budget(1, 10, ExceededWhen::Either)), ["changed files 2 > 1"]);
        assert_eq!(said(files(), &budget(2, 9, ExceededWhen::Either)), ["total lines changed 10 > 9"]);
        assert_eq!(said(files(), &budget(0, 0, ExceededWhen::Either)).len(), 2);
    }

    #[test]
    fn with_both_one_limit_alone_is_only_a_note() {
        let files = || vec![file("a", 3, 2), file("b", 5, 0)];
        let one = judge(Judged::default(), files(), &budget(1, 10, ExceededWhen::Both));
        assert_eq!((one.findings.len(), one.notes.len()), (0, 1));
        assert_eq!(said(files(), &budget(1, 9, ExceededWhen::Both)).len(), 2);
    }

    #[test]
    fn what_is_excluded_does_not_count_and_what_is_not_measured_fails() {
        let excluded = File { excluded: Some("dist/".into()), ..file("dist/x", 999, 0) };
        let unmeasured = File { unmeasured: Some("no".into()), untracked: true, ..file("u", 0, 0) };
        let files = vec![excluded, file("a", 1, 0), file("c", 7, 0), file("b", 1, 0), unmeasured];
        let verdict = judge(Judged::default(), files, &budget(9, 10, ExceededWhen::Both));
        let counts = verdict.counts.clone().unwrap();
        assert_eq!((counts.files, counts.lines, counts.excluded, counts.unmeasured), (4, 9, 1, 1));
        assert_eq!(verdict.findings[0].message, "untracked files could not be measured: 1");
        let paths: Vec<_> = verdict.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["c", "a", "b", "u", "dist/x"]);
    }
}
