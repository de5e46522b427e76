//! The stamp of somebody who has read a spec: text in, text out.

use jiff::civil::Date;

use super::review::{field, trimmed};

/// Returns the text of a spec with a review of that day, and the commit that it was read against.
pub fn stamped(text: &str, day: Date, commit: Option<&str>) -> String {
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    let has_field = field(text, "last_review").is_some();
    // Something will follow it.
    let is_of =
        |name: &str, line: &str| trimmed(line).strip_prefix(name).is_some_and(|rest| rest.starts_with(':'));
    if let Some(last) = lines.last_mut().filter(|last| is_of("last_review", last) && !last.ends_with('\n')) {
        last.push_str(end);
    }
    let has_front = text.lines().next().map(trimmed) == Some("---")
        && text.lines().skip(1).any(|line| trimmed(line) == "---");
    let other_field = lines.iter().position(|line| is_of("reviewed_commit", line)).filter(|_| !has_front);
    let mut set = |name: &str, value: Option<String>, after: usize| -> usize {
        let at = lines.iter().position(|line| is_of(name, line));
        match (at, value) {
            (Some(at), Some(value)) => {
                let line = &lines[at];
                let before = &line[..line.find(name).unwrap_or(0)];
                let tail = &line[line.trim_end_matches(['\r', '\n']).len()..];
                lines[at] = format!("{before}{name}: {value}{tail}");
                at + 1
            }
            (Some(at), None) => {
                lines.remove(at);
                at
            }
            (None, Some(value)) => {
                lines.insert(after.min(lines.len()), format!("{name}: {value}{end}"));
                after + 1
            }
            (None, None) => after,
        }
    };
    let place = other_field.unwrap_or(usize::from(has_front));
    let next = set("last_review", Some(day.to_string()), place);
    set("reviewed_commit", commit.map(str::to_owned), next);
    let body = lines.concat();
    if has_front || has_field || other_field.is_some() {
        return body;
    }
    // The fields stand at the top by now, and become front matter of their own.
    let fields = 1 + usize::from(commit.is_some());
    let (front, rest) = lines.split_at(fields.min(lines.len()));
    let (mark, rest) = match rest.concat().strip_prefix('\u{feff}') {
        Some(rest) => ("\u{feff}", rest.to_owned()),
        None => ("", rest.concat()),
    };
    format!("{mark}---{end}{}---{end}{rest}", front.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_goes_where_the_fields_are() {
        let day = "2026-11-21".parse().unwrap();
        for (text, expected) in [
            ("", "---\nlast_review: 2026-11-21\nreviewed_commit: abc\n---\n"),
            ("# S\n", "---\nlast_review: 2026-11-21\nreviewed_commit: abc\n---\n# S\n"),
            ("---\nt: x\n---\n# S", "---\nlast_review: 2026-11-21\nreviewed_commit: abc\nt: x\n---\n# S"),
            (
                "---\r\nt: x\r\nlast_review: 2020-01-01\r\n---\r\n",
                "---\r\nt: x\r\nlast_review: 2026-11-21\r\nreviewed_commit: abc\r\n---\r\n",
            ),
            ("last_review: old", "last_review: 2026-11-21\nreviewed_commit: abc\n"),
            (
                "a\nlast_review: x\nb\nreviewed_commit: y\n",
                "a\nlast_review: 2026-11-21\nb\nreviewed_commit: abc\n",
            ),
            // One field is there: the other stands with it, and nothing else becomes front matter.
            ("# T\nreviewed_commit: old\nbody", "# T\nlast_review: 2026-11-21\nreviewed_commit: abc\nbody"),
            ("# T\r\nreviewed_commit: old", "# T\r\nlast_review: 2026-11-21\r\nreviewed_commit: abc"),
        ] {
            let new = stamped(text, day, Some("abc"));
            assert_eq!(new, expected, "{text:?}");
            assert_eq!(stamped(&new, day, Some("abc")), new, "twice is as once");
        }
        // Before the first commit there is nothing to name.
        let new = stamped("# T\nreviewed_commit: old\nbody", day, None);
        assert_eq!(new, "# T\nlast_review: 2026-11-21\nbody");
    }
}
