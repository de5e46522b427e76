//! Fallbacks: a change that adds one says what becomes of it, in a table.
//!
//! A [`Scan`] looks at the lines that a change adds to the code; `judge` compares what it finds with the
//! tables of the change. A row is about a file if it names the file's path, or a folder above it with a
//! slash at its end.

mod scan;

pub use scan::{Found, Hits, Scan, join};

use jiff::civil::Date;

use super::review::date;
use super::{Case, Places};
use crate::guardrail::docs::Lines;
use crate::guardrail::docs::tables::tables;
use crate::guardrail::{Finding, Status, Verdict};

/// The words, where nobody says anything else.
pub const WORDS: [&str; 8] =
    ["fallback", "fallbacks", "compat", "compatibility", "legacy", "shim", "shims", "polyfill"];

/// The columns of a table of decisions.
const COLUMNS: [&str; 5] = ["what", "decision", "until", "cap", "reason"];

/// What is looked for, and where it is explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub words: Vec<String>,
    /// Beginnings of paths of the documents that may have the table; specs and the files of tasks
    /// if nobody says so.
    pub tables: Option<Vec<String>>,
}

/// What becomes of a fallback.
#[derive(Clone, Debug)]
struct Decision {
    /// Where it stands.
    path: String,
    line: u64,
    what: String,
    cap: Option<u64>,
    /// What is wrong with it.
    flaw: Option<String>,
}

/// Judges whether everything that was found is decided by a table of the change.
pub(super) fn judge(rule: &Rule, found: &Result<Found, String>, case: &Case<'_>, verdict: &mut Verdict) {
    let Case { changed, places, read, today, .. } = *case;
    let found = match found {
        Ok(found) if found.is_empty() => return,
        Ok(found) => found,
        Err(why) => {
            verdict.findings.push(Finding {
                rule: "fallback-unscannable".to_owned(),
                message: format!("nobody can say whether the change adds a fallback: {why}"),
                ..Finding::default()
            });
            return;
        }
    };
    let mut decisions = Vec::new();
    let documents =
        changed.iter().filter(|file| file.status != Status::Deleted && rule.may_have(&file.path, places));
    for file in documents {
        match read(&file.path) {
            Ok(text) => of_document(&file.path, &text.unwrap_or_default(), today, &mut decisions, verdict),
            Err(why) => verdict.findings.push(Finding {
                rule: "fallback-unscannable".to_owned(),
                message: format!("`{}` may decide about a fallback, and cannot be read: {why}", file.path),
                path: Some(file.path.clone()),
                ..Finding::default()
            }),
        }
    }
    for (path, hits) in found {
        if !decisions.iter().any(|decision| decision.is_about(path)) {
            verdict.findings.push(rule.undecided(path, hits));
        }
    }
    for decision in &decisions {
        let about: Vec<_> = found.iter().filter(|(path, _)| decision.is_about(path)).collect();
        let Some((path, hits)) = about.first() else { continue };
        let count: u64 = about.iter().map(|(_, hits)| hits.count).sum();
        let flaw = match (&decision.flaw, decision.cap) {
            (Some(flaw), _) => flaw.clone(),
            (None, Some(cap)) if count > cap => {
                format!(
                    "its cap is {cap}, and the change adds {count} lines: add fewer, or agree on another cap"
                )
            }
            _ => continue,
        };
        let first = hits.first.first().map_or(0, |(line, _)| *line);
        verdict.findings.push(Finding {
            rule: "fallback-decision-invalid".to_owned(),
            message: format!("the decision about the fallback of `{path}:{first}`: {flaw}"),
            path: Some(decision.path.clone()),
            line: Some(decision.line),
            ..Finding::default()
        });
    }
}

impl Rule {
    /// Whether a document may have the table.
    fn may_have(&self, path: &str, places: &Places) -> bool {
        if !path.ends_with(".md") {
            return false;
        }
        match &self.tables {
            Some(tables) => tables.iter().any(|place| path.starts_with(place.as_str())),
            None => places.is_spec(path) || path.starts_with("tasks/") || path.starts_with(".agent/task/"),
        }
    }

    fn undecided(&self, path: &str, hits: &Hits) -> Finding {
        let mut said: Vec<_> =
            hits.first.iter().map(|(line, word)| format!("`{path}:{line}` adds `{word}`")).collect();
        if hits.count > said.len() as u64 {
            said.push(format!("{} more lines", hits.count - said.len() as u64));
        }
        let tables = match &self.tables {
            Some(tables) => tables.iter().map(|place| format!("`{place}`")).collect::<Vec<_>>().join(" or "),
            None => "the spec or the task's file".to_owned(),
        };
        Finding {
            rule: "fallback-undecided".to_owned(),
            message: format!(
                "{}, and no table of the change says what becomes of it: in {tables}, below `| {} |`, add a row \
                 whose `what` names `{path}` and whose `decision` is `remove`, `expire` (with a day and a cap) or \
                 `keep` (with a reason)",
                said.join(", "),
                COLUMNS.join(" | "),
            ),
            path: Some(path.to_owned()),
            line: hits.first.first().map(|(line, _)| *line),
            suggestion: Some(format!("| `{path}` | expire | YYYY-MM-DD | {} | … |", hits.count)),
            ..Finding::default()
        }
    }
}

impl Decision {
    /// Whether its row names a file, or a folder above it.
    fn is_about(&self, path: &str) -> bool {
        let is_end = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '(' | ')' | '`');
        self.what
            .split(is_end)
            .map(|word| word.trim_end_matches([':', '.']))
            .any(|word| word == path || (word.len() > 1 && word.ends_with('/') && path.starts_with(word)))
            || self.what == path
    }
}

/// Collects the decisions of a document.
fn of_document(path: &str, text: &str, today: Date, decisions: &mut Vec<Decision>, verdict: &mut Verdict) {
    let mut lines = Lines::new(text);
    for table in tables(text) {
        let column = |name: &str| table.columns.iter().position(|it| it.eq_ignore_ascii_case(name));
        if column("what").is_none() || column("decision").is_none() {
            continue;
        }
        let missing: Vec<_> = COLUMNS
            .into_iter()
            .filter(|name| column(name).is_none())
            .map(|name| format!("`{name}`"))
            .collect();
        if !missing.is_empty() {
            verdict.findings.push(Finding {
                rule: "fallback-table-invalid".to_owned(),
                message: format!("the table of decisions in `{path}` has no column {}", missing.join(", ")),
                path: Some(path.to_owned()),
                line: Some(lines.place(table.at).0 as u64),
                ..Finding::default()
            });
            continue;
        }
        for at in 0..table.rows.len() {
            let cell = |name: &str| {
                let cells = &table.rows[at].cells;
                column(name).and_then(|column| cells.get(column)).map_or("", String::as_str)
            };
            let line = lines.place(table.rows[at].at).0 as u64;
            decisions.push(decision(path, line, &cell, today));
        }
    }
}

fn decision<'t>(path: &str, line: u64, cell: &dyn Fn(&str) -> &'t str, today: Date) -> Decision {
    let said = |name: &str| {
        let text = cell(name);
        let is_nothing = matches!(
            text.to_lowercase().as_str(),
            "" | "-" | "–" | "—" | "…" | "..." | "?" | "tbd" | "todo" | "n/a" | "none"
        );
        (!is_nothing).then_some(text)
    };
    let mut cap = None;
    let flaw = match cell("decision").to_lowercase().as_str() {
        "remove" => None,
        "keep" => said("reason").is_none().then(|| "what is kept needs a `reason`".to_owned()),
        "expire" => {
            let number = said("cap").and_then(|text| text.parse().ok()).filter(|cap| *cap > 0);
            cap = number;
            match (said("until").map(|text| (text, date(text))), number) {
                (None, _) => Some("what expires needs a day in `until`, as `YYYY-MM-DD`".to_owned()),
                (Some((text, None)), _) => Some(format!("`{text}` is no day: write `YYYY-MM-DD`")),
                (Some((text, Some(day))), _) if day <= today => {
                    Some(format!("`{text}` is not in the future: take it out, or agree on another day"))
                }
                (_, None) => Some("what expires needs a `cap`: how many such lines may be added".to_owned()),
                _ => None,
            }
        }
        "" => Some("it has no `decision`: write `remove`, `expire` or `keep`".to_owned()),
        other => Some(format!("`{other}` is no decision: write `remove`, `expire` or `keep`")),
    };
    Decision { path: path.to_owned(), line, what: cell("what").to_owned(), cap, flaw }
}

#[cfg(test)]
mod tests {
    use super::super::Read;
    use super::*;
    use crate::guardrail::{File, Judged, Limit, Origin};

    fn places() -> Places {
        Places { code: vec!["src/".into()], specs: vec!["tasks/specs".into()] }
    }

    fn rule() -> Rule {
        Rule { words: WORDS.map(str::to_owned).to_vec(), tables: None }
    }

    fn judge(changed: &[File], found: &Result<Found, String>, read: Read<'_>) -> Verdict {
        let mut verdict = Verdict::new("spec-guard", Judged::default());
        let max_age = Limit { name: "days".into(), value: 30, origin: Origin::Default };
        let case = Case {
            changed,
            specs: &[],
            places: &places(),
            max_age: &max_age,
            today: "2026-11-21".parse().unwrap(),
            groups: &[],
            proposed: &[],
            read,
            now: &|_| None,
            was: &|_| None,
            fallback: None,
        };
        super::judge(&rule(), found, &case, &mut verdict);
        verdict
    }

    fn rules(rows: &str) -> Vec<String> {
        judged(
            "tasks/specs/s.md",
            &format!("| What | Decision | Until | Cap | Reason |\n|-|-|-|-|-|\n{rows}"),
        )
        .into_iter()
        .map(|finding| finding.rule)
        .collect()
    }

    fn judged(path: &str, text: &str) -> Vec<Finding> {
        let hits = |count| Hits { count, first: vec![(3, "legacy".to_owned())] };
        let found = Ok(Found::from([("src/deep/a.rs".to_owned(), hits(2))]));
        let changed = [File::new(path, Status::Modified), File::new("tasks/specs/gone.md", Status::Deleted)];
        let read = |asked: &str| Ok((asked == path).then(|| text.to_owned()));
        judge(&changed, &found, &read).findings
    }

    #[test]
    fn a_good_decision_about_the_file_or_its_folder_is_enough() {
        for row in [
            "| `src/deep/a.rs` | expire | 2026-11-22 | 2 | |",
            "| src/deep/a.rs: the old wire format | Keep | | | old clients |",
            "| all of `src/deep/` | remove | | | |",
            "| (src/deep/a.rs, src/b.rs) | KEEP | - | - | because |",
        ] {
            assert_eq!(rules(row), [""; 0], "{row}");
        }
        for path in ["tasks/specs/deep/s.md", "tasks/tasks-0101-a.md", ".agent/task/0101-a.md"] {
            let text = "| reason | cap | until | decision | what | more |\n|-|-|-|-|-|-|\n\
                        | x | | | keep | src/deep/a.rs | |\n";
            assert_eq!(judged(path, text), [], "{path}");
        }
    }

    #[test]
    fn a_wrong_decision_is_named() {
        for row in [
            "| `src/deep/a.rs` | expire | 2026-11-21 | 2 | x |",
            "| `src/deep/a.rs` | expire | 2026-02-31 | 2 | x |",
            "| `src/deep/a.rs` | expire | | 2 | x |",
            "| `src/deep/a.rs` | expire | 2027-01-01 | | x |",
            "| `src/deep/a.rs` | expire | 2027-01-01 | 0 | x |",
            "| `src/deep/a.rs` | expire | 2027-01-01 | many | x |",
            "| `src/deep/a.rs` | expire | 2027-01-01 | 1 | x |",
            "| `src/deep/a.rs` | keep | 2027-01-01 | 2 | tbd |",
            "| `src/deep/a.rs` | perhaps | 2027-01-01 | 2 | x |",
            "| `src/deep/a.rs` | | 2027-01-01 | 2 | x |",
            "| `src/deep/a.rs` |",
        ] {
            assert_eq!(rules(row), ["fallback-decision-invalid"], "{row}");
        }
        let table = "# S\n\n| what | decision | reason |\n|-|-|-|\n| src/deep/a.rs | keep | x |\n";
        let findings = judged("tasks/specs/s.md", table);
        let rules: Vec<_> = findings.iter().map(|finding| finding.rule.as_str()).collect();
        assert_eq!(rules, ["fallback-table-invalid", "fallback-undecided"]);
        assert!(findings[0].message.ends_with("has no column `until`, `cap`"), "{}", findings[0].message);
        assert_eq!(findings[0].line, Some(3));
    }

    #[test]
    fn no_decision_is_named_with_what_to_add() {
        for row in
            ["", "| src/deep/b.rs | keep | | | x |", "| src/de | keep | | | x |", "| / | keep | | | x |"]
        {
            assert_eq!(rules(row), ["fallback-undecided"], "{row}");
        }
        for path in ["README.md", "docs/x.md", "tasks/specs/s.txt"] {
            let text = "| what | decision | until | cap | reason |\n|-|-|-|-|-|\n| src/ | keep | | | x |\n";
            let finding = judged(path, text).remove(0);
            assert_eq!((&*finding.rule, finding.line), ("fallback-undecided", Some(3)), "{path}");
            for part in [
                "`src/deep/a.rs:3` adds `legacy`, 1 more lines",
                "| what | decision | until | cap | reason |",
            ] {
                assert!(finding.message.contains(part), "{}", finding.message);
            }
        }
    }

    #[test]
    fn what_cannot_be_looked_at_is_no_pass() {
        let mut findings = judge(&[], &Err("git said no".to_owned()), &|_| Ok(None)).findings;
        let found = Ok(Found::from([("src/a".to_owned(), Hits { count: 1, first: vec![] })]));
        let spec = [File::new("tasks/specs/s.md", Status::Added)];
        findings.extend(judge(&spec, &found, &|_| Err("no".to_owned())).findings);
        let rules: Vec<_> = findings.iter().map(|finding| finding.rule.as_str()).collect();
        assert_eq!(rules, ["fallback-unscannable", "fallback-unscannable", "fallback-undecided"]);
    }
}
