//! Whether somebody has read a spec lately: its `last_review`, and a `status` that ends the question.

use jiff::civil::Date;

use super::SpecFile;
use crate::guardrail::Finding;

/// So many days before something is over, a note says so.
pub(super) const WARNING_DAYS: i64 = 5;

/// What a spec or a task says of itself that is not worked on any more.
pub(super) const FINISHED: [&str; 9] = [
    "completed",
    "complete",
    "done",
    "succeeded",
    "archived",
    "superseded",
    "deprecated",
    "cancelled",
    "canceled",
];

/// What there is to say about the review of a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Review {
    /// It is good, and perhaps not for long.
    Good {
        note: Option<String>,
    },
    /// Nobody has to read it any more.
    Finished,
    /// It was read, too long ago.
    Stale(Finding),
    /// Nobody can say when it was read.
    Unknown(Finding),
    Unreadable(Finding),
}

/// Looks at the review of a spec.
pub(super) fn review(spec: &SpecFile, max_age: u64, today: Date) -> Review {
    let path = &spec.path;
    let find = |rule: &str, line: Option<u64>, said: String| Finding {
        rule: rule.to_owned(),
        message: format!("`{path}`: {said}"),
        path: Some(path.clone()),
        line,
        ..Finding::default()
    };
    let text = match &spec.text {
        Ok(text) => text,
        Err(why) => {
            return Review::Unreadable(find("spec-unreadable", None, format!("cannot be read: {why}")));
        }
    };
    if is_finished(text) {
        return Review::Finished;
    }
    let Some((line, value)) = field(text, "last_review") else {
        let hint = "git orchestrate guard spec accept";
        let said = format!("`last_review` is missing; after reading it: `{hint} {path}`");
        return Review::Unknown(find("last-review-missing", None, said));
    };
    let Some(date) = date(value) else {
        let said = format!("the `last_review` date is invalid: `{value}`");
        return Review::Unknown(find("last-review-invalid", Some(line), said));
    };
    let age = days(date, today);
    let max_age = i64::try_from(max_age).unwrap_or(i64::MAX);
    if age < 0 {
        let said = format!("the `last_review` date {value} is in the future");
        Review::Unknown(find("last-review-in-future", Some(line), said))
    } else if age > max_age {
        let said = format!("`last_review` {value} is {age} days ago, more than {max_age}");
        Review::Stale(find("last-review-too-old", Some(line), said))
    } else if max_age - age < WARNING_DAYS && max_age > WARNING_DAYS {
        let left = max_age - age + 1;
        let note = format!("`{path}`: the review of {value} is good for {left} more days");
        Review::Good { note: Some(note) }
    } else {
        Review::Good { note: None }
    }
}

/// Returns how many days lie between two days.
pub(super) fn days(from: Date, to: Date) -> i64 {
    to.since(from).map_or(i64::MAX, |span| i64::from(span.get_days()))
}

/// Returns the value of a field and its line: of the first line that begins with the field's name.
pub(super) fn field<'a>(text: &'a str, name: &str) -> Option<(u64, &'a str)> {
    text.lines().enumerate().find_map(|(at, line)| {
        let value = trimmed(line).strip_prefix(name)?.strip_prefix(':')?;
        Some((at as u64 + 1, trimmed(value.split(':').next().unwrap_or_default())))
    })
}

pub(super) fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

/// Whether a status says that nobody works on something any more.
pub(super) fn ends(status: &str) -> bool {
    FINISHED.contains(&status.trim().to_ascii_lowercase().as_str())
}

/// Whether the front matter says that nobody has to read it any more.
fn is_finished(text: &str) -> bool {
    let mut lines = text.lines().map(trimmed);
    if lines.next() != Some("---") {
        return false;
    }
    let front: Vec<_> = lines.take_while(|line| *line != "---").collect();
    // Front matter that does not end is none.
    let is_closed = text.lines().skip(1).any(|line| trimmed(line) == "---");
    is_closed
        && front.iter().any(|line| {
            let value =
                line.strip_prefix("status").map(str::trim_start).and_then(|rest| rest.strip_prefix(':'));
            value.is_some_and(|value| ends(value.trim().trim_matches(['"', '\''])))
        })
}

/// Reads `YYYY-MM-DD`, if there is such a day.
pub(super) fn date(text: &str) -> Option<Date> {
    let shape = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    let right = text.len() == 10 && text.bytes().enumerate().all(shape);
    right.then(|| text.parse().ok()).flatten()
}
