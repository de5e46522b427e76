//! The answer of `doctor`.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::printer::{Answer, style};
use crate::ops::doctor::{Check, Report, Verdict};
use crate::output::untrusted::untrusted;

/// The document.
#[derive(Serialize, JsonSchema)]
pub struct Document {
    /// Whether nothing would stop a run.
    ok: bool,
    problems: usize,
    warnings: usize,
    checks: Vec<Item>,
}

#[derive(Serialize, JsonSchema)]
struct Item {
    /// What was looked at. These words stay the same from version to version.
    id: &'static str,
    verdict: Word,
    /// Which one, where there are several: a stage, a run, a variable.
    subject: Option<String>,
    message: String,
    /// What to do or to type.
    mend: Option<String>,
    /// The place in a file, as a picture.
    excerpt: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Word {
    Ok,
    Warning,
    Problem,
}

impl Answer for Report {
    type Document = Document;

    fn document(&self) -> Document {
        let item = |check: &Check| Item {
            id: check.id,
            verdict: match check.verdict {
                Verdict::Ok => Word::Ok,
                Verdict::Warning => Word::Warning,
                Verdict::Problem => Word::Problem,
            },
            subject: check.subject.clone(),
            message: check.message.clone(),
            mend: check.mend.clone(),
            excerpt: check.excerpt.clone(),
        };
        Document {
            ok: self.count(Verdict::Problem) == 0,
            problems: self.count(Verdict::Problem),
            warnings: self.count(Verdict::Warning),
            checks: self.checks.iter().map(item).collect(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for check in &self.checks {
            let (word, color) = match check.verdict {
                Verdict::Ok => ("ok", style("ok")),
                Verdict::Warning => ("warning", style("warning")),
                Verdict::Problem => ("problem", style("failed")),
            };
            write!(out, "{color}{word:7}{color:#}  {:20}  ", check.id)?;
            if let Some(subject) = check.subject.as_ref().filter(|subject| !check.message.contains(*subject))
            {
                write!(out, "{}: ", untrusted(subject))?;
            }
            writeln!(out, "{}", untrusted(&check.message))?;
            for line in check.excerpt.iter().flat_map(|text| text.lines()) {
                writeln!(out, "         {}", untrusted(line))?;
            }
            for (at, line) in check.mend.iter().flat_map(|text| text.lines()).enumerate() {
                writeln!(out, "         {} {}", if at == 0 { "→" } else { " " }, untrusted(line))?;
            }
        }
        let count = |number: usize, word: &str| match number {
            1 => format!("1 {word}"),
            _ => format!("{number} {word}s"),
        };
        let warnings = match self.count(Verdict::Warning) {
            0 => String::new(),
            number => format!(", {}", count(number, "warning")),
        };
        match self.count(Verdict::Problem) {
            0 => writeln!(out, "Nothing would stop a run{warnings}."),
            number => writeln!(out, "{} would stop a run{warnings}.", count(number, "problem")),
        }
    }
}
