//! The spec guard: code does not change without its spec, and specs are read again in time
//! (`contract-guardrails.md` §2).

use jiff::civil::Date;

use super::{File, Finding, Judged, Limit, Status, Verdict};

/// The name of the guardrail.
pub const RULE: &str = "spec-guard";

/// Where code is, where nobody says anything else. The last four are those of the reference itself,
/// which did not guard its own code without them.
pub const CODE: [&str; 10] = [
    "src/",
    "app/",
    "server/",
    "migrations/",
    "db/migrations/",
    "prisma/migrations/",
    "orchestrator/",
    "packages/",
    "adapters/",
    "evaluation/",
];

/// The folders of specs, where nobody says anything else.
pub const SPECS: [&str; 2] = ["tasks/specs", "docs/design/specs"];

/// The list of tasks speaks for specs too.
pub const INDEX: &str = "tasks/index.json";

/// For how many days a review is good, where nobody says anything else.
pub const MAX_AGE_DAYS: u64 = 30;

/// So many days before a review is too old, a note says so.
const WARNING_DAYS: i64 = 5;

/// What the front matter of a spec says that needs no review any more.
const FINISHED: [&str; 8] =
    ["completed", "complete", "done", "archived", "superseded", "deprecated", "cancelled", "canceled"];

/// What is code, and what is a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Beginnings of paths, or `*.go` for one kind of file anywhere.
    pub code: Vec<String>,
    /// Folders.
    pub specs: Vec<String>,
}

impl Places {
    /// Whether a path is code.
    pub fn is_code(&self, path: &str) -> bool {
        !self.is_spec(path)
            && self.code.iter().any(|place| match place.strip_prefix('*') {
                Some(suffix) => path.ends_with(suffix),
                None => path.starts_with(place.as_str()),
            })
    }

    /// Whether a path is a spec, or the list of tasks.
    pub fn is_spec(&self, path: &str) -> bool {
        let below = |folder: &String| {
            let rest = path.strip_prefix(folder.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        path == INDEX || self.specs.iter().any(below)
    }
}

/// One spec as it is on disk.
#[derive(Clone, Debug)]
pub struct SpecFile {
    pub path: String,
    /// Its text, or why there is none.
    pub text: Result<String, String>,
}

/// Judges the files that changed, and every spec there is.
pub fn judge(
    judged: Judged,
    changed: &[File],
    specs: &[SpecFile],
    places: &Places,
    max_age: Limit,
    today: Date,
) -> Verdict {
    let mut verdict = Verdict::new(RULE, judged);
    let mut code: Vec<_> = changed.iter().filter(|file| is_code(file, places)).collect();
    code.sort_by(|a, b| (&a.path, a.untracked).cmp(&(&b.path, b.untracked)));
    code.dedup_by(|later, first| later.path == first.path);
    // A spec that was taken away says nothing about the code.
    let updated = |file: &&File| file.status != Status::Deleted && places.is_spec(&file.path);
    if !code.is_empty() && !changed.iter().any(|file| updated(&file)) {
        let mut names: Vec<_> = code.iter().take(5).map(|file| format!("`{}`", file.path)).collect();
        if code.len() > names.len() {
            names.push(format!("{} more", code.len() - names.len()));
        }
        let specs: Vec<_> = places.specs.iter().map(|folder| format!("`{folder}`")).collect();
        verdict.findings.push(Finding {
            rule: "spec-not-updated".to_owned(),
            message: format!(
                "code or migrations changed ({}) and no spec updated: none in {} and not `{INDEX}`",
                names.join(", "),
                specs.join(", ")
            ),
            path: code.first().map(|file| file.path.clone()),
            ..Finding::default()
        });
    }
    verdict.files = code.into_iter().cloned().collect();
    let mut specs: Vec<_> = specs.iter().collect();
    specs.sort_by(|a, b| a.path.cmp(&b.path));
    for spec in specs {
        freshness(spec, max_age.value, today, &mut verdict);
    }
    verdict.limits.push(max_age);
    verdict
}

fn is_code(file: &File, places: &Places) -> bool {
    let names = [Some(&file.path), file.from.as_ref()];
    names.into_iter().flatten().any(|path| places.is_code(path))
}

fn freshness(spec: &SpecFile, max_age: u64, today: Date, verdict: &mut Verdict) {
    let path = &spec.path;
    let mut find = |rule: &str, line: Option<u64>, said: String| {
        verdict.findings.push(Finding {
            rule: rule.to_owned(),
            message: format!("`{path}`: {said}"),
            path: Some(path.clone()),
            line,
            ..Finding::default()
        });
    };
    let text = match &spec.text {
        Ok(text) => text,
        Err(why) => return find("spec-unreadable", None, format!("cannot be read: {why}")),
    };
    if is_finished(text) {
        verdict.notes.push(format!("`{path}` is finished, so its review may be old"));
        return;
    }
    let Some((line, value)) = field(text, "last_review") else {
        let hint = "git orchestrate guard spec accept";
        return find(
            "last-review-missing",
            None,
            format!("`last_review` is missing; after reading it: `{hint} {path}`"),
        );
    };
    let Some(date) = date(value) else {
        return find(
            "last-review-invalid",
            Some(line),
            format!("the `last_review` date is invalid: `{value}`"),
        );
    };
    let age = today.since(date).map_or(i64::MAX, |span| i64::from(span.get_days()));
    let max_age = i64::try_from(max_age).unwrap_or(i64::MAX);
    if age < 0 {
        find("last-review-in-future", Some(line), format!("the `last_review` date {value} is in the future"));
    } else if age > max_age {
        let said = format!("`last_review` {value} is {age} days ago, more than {max_age}");
        find("last-review-too-old", Some(line), said);
    } else if max_age - age < WARNING_DAYS && max_age > WARNING_DAYS {
        let left = max_age - age + 1;
        verdict.notes.push(format!("`{path}`: the review of {value} is good for {left} more days"));
    }
}

/// Returns the value of a field and its line: of the first line that begins with the field's name.
fn field<'a>(text: &'a str, name: &str) -> Option<(u64, &'a str)> {
    text.lines().enumerate().find_map(|(at, line)| {
        let value = trimmed(line).strip_prefix(name)?.strip_prefix(':')?;
        Some((at as u64 + 1, trimmed(value.split(':').next().unwrap_or_default())))
    })
}

fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

/// Whether the front matter says that nobody has to read it any more.
fn is_finished(text: &str) -> bool {
    let mut lines = text.lines().map(trimmed);
    if lines.next() != Some("---") {
        return false;
    }
    let front: Vec<_> = lines.take_while(|line| *line != "---").collect();
    // Front matter that does not end is none.
    let ends = text.lines().skip(1).any(|line| trimmed(line) == "---");
    ends && front.iter().any(|line| {
        let value = line.strip_prefix("status").map(str::trim_start).and_then(|rest| rest.strip_prefix(':'));
        let value = value.map(|value| value.trim().trim_matches(['"', '\'']).to_ascii_lowercase());
        value.is_some_and(|value| FINISHED.contains(&value.as_str()))
    })
}

/// Reads `YYYY-MM-DD`, if there is such a day.
fn date(text: &str) -> Option<Date> {
    let shape = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    let right = text.len() == 10 && text.bytes().enumerate().all(shape);
    right.then(|| text.parse().ok()).flatten()
}

/// Returns the text of a spec with a review of that day, and the commit that it was read against.
pub fn stamped(text: &str, day: Date, commit: Option<&str>) -> String {
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    let has_field = field(text, "last_review").is_some();
    // Something will follow it.
    let is_field = |line: &str| trimmed(line).starts_with("last_review:");
    if let Some(last) = lines.last_mut().filter(|last| is_field(last) && !last.ends_with('\n')) {
        last.push_str(end);
    }
    let mut set = |name: &str, value: Option<String>, after: usize| -> usize {
        let at = lines
            .iter()
            .position(|line| trimmed(line).strip_prefix(name).is_some_and(|rest| rest.starts_with(':')));
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
    let has_front = text.lines().next().map(trimmed) == Some("---")
        && text.lines().skip(1).any(|line| trimmed(line) == "---");
    let next = set("last_review", Some(day.to_string()), usize::from(has_front));
    set("reviewed_commit", commit.map(str::to_owned), next);
    let body = lines.concat();
    if has_front || has_field {
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
    use super::super::Origin;
    use super::*;

    fn places() -> Places {
        Places { code: CODE.map(str::to_owned).to_vec(), specs: SPECS.map(str::to_owned).to_vec() }
    }

    fn said(changed: &[(&str, Status)], specs: &[(&str, &str)]) -> Vec<String> {
        verdict(changed, specs).findings.into_iter().map(|finding| finding.rule).collect()
    }

    fn verdict(changed: &[(&str, Status)], specs: &[(&str, &str)]) -> Verdict {
        let changed: Vec<_> = changed.iter().map(|(path, status)| File::new(*path, *status)).collect();
        let spec = |(path, text): &(&str, &str)| SpecFile { path: (*path).into(), text: Ok((*text).into()) };
        let specs: Vec<_> = specs.iter().map(spec).collect();
        let limit = Limit { name: "days".into(), value: 30, origin: Origin::Default };
        let today = "2026-11-21".parse().unwrap();
        judge(Judged::default(), &changed, &specs, &places(), limit, today)
    }

    #[test]
    fn code_wants_a_spec() {
        use Status::*;
        let none: [&str; 0] = [];
        assert_eq!(said(&[("README.md", Modified), ("lib/a", Added), ("srcx/a", Added)], &[]), none);
        for code in CODE.map(|place| format!("{place}deep/a")) {
            let code = code.as_str();
            assert_eq!(said(&[(code, Modified)], &[]), ["spec-not-updated"], "{code}");
            assert_eq!(said(&[(code, Deleted)], &[]), ["spec-not-updated"], "{code}");
            for spec in
                ["tasks/specs/s.md", "tasks/specs/deep/s.md", "docs/design/specs/x", "tasks/index.json"]
            {
                assert_eq!(said(&[(code, Modified), (spec, Modified)], &[]), none, "{spec}");
                assert_eq!(said(&[(code, Modified), (spec, Added)], &[]), none, "{spec}");
                assert_eq!(said(&[(code, Modified), (spec, Deleted)], &[]), ["spec-not-updated"], "{spec}");
            }
            for other in ["tasks/specs", "tasks/specsx/s.md", "x/tasks/specs/s.md", "tasks/index.json.bak"] {
                assert_eq!(said(&[(code, Modified), (other, Added)], &[]), ["spec-not-updated"], "{other}");
            }
        }
    }

    #[test]
    fn the_message_names_files_and_places() {
        let message = verdict(&[("src/a", Status::Modified)], &[]).findings.remove(0).message;
        for part in ["`src/a`", "no spec updated", "tasks/specs", "tasks/index.json"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_move_out_of_the_code_is_a_change_of_the_code() {
        let moved = File { from: Some("src/a".into()), ..File::new("lib/a", Status::Renamed) };
        assert!(is_code(&moved, &places()));
    }

    #[test]
    fn code_may_be_one_kind_of_file_anywhere() {
        let go = Places { code: vec!["*.go".into()], specs: vec!["specs/".into()] };
        assert!(go.is_code("cmd/main.go") && !go.is_code("cmd/main.rs") && !go.is_code("specs/x.go"));
    }

    #[test]
    fn reviews_have_real_dates_and_an_age() {
        for (text, rule) in [
            ("last_review: 2026-11-21", None),
            ("last_review: 2026-10-22", None),
            ("last_review: 2026-10-21", Some("last-review-too-old")),
            ("last_review: 2026-11-22", Some("last-review-in-future")),
            ("last_review: 2099-01-01", Some("last-review-in-future")),
            ("last_review: 2026-13-45", Some("last-review-invalid")),
            ("last_review: 2026-02-31", Some("last-review-invalid")),
            ("last_review: 2026-1-1", Some("last-review-invalid")),
            ("last_review: +026-01-01", Some("last-review-invalid")),
            ("last_review: tomorrow", Some("last-review-invalid")),
            ("last_review:", Some("last-review-invalid")),
            ("last_review : 2026-11-21", Some("last-review-missing")),
            ("# A spec", Some("last-review-missing")),
            ("", Some("last-review-missing")),
            ("\u{feff}last_review: 2026-11-21\r\nx", None),
            ("---\r\ntitle: x\r\n  last_review: 2026-11-21: by me\r\n---\r\n", None),
            ("last_review: 2026-11-21\nlast_review: 2000-01-01", None),
            ("---\nstatus: done\n---\nlast_review: 2000-01-01", None),
            ("---\nstatus: active\n---\nlast_review: 2000-01-01", Some("last-review-too-old")),
            ("---\nstatus: done\nlast_review: 2000-01-01", Some("last-review-too-old")),
            ("status: done\nlast_review: 2000-01-01", Some("last-review-too-old")),
        ] {
            let found = said(&[], &[("tasks/specs/s.md", text)]);
            assert_eq!(found, rule.into_iter().collect::<Vec<_>>(), "{text:?}");
        }
    }

    #[test]
    fn a_review_that_ends_soon_is_a_note() {
        let verdict = verdict(&[], &[("tasks/specs/s.md", "last_review: 2026-10-24")]);
        assert_eq!(verdict.notes, ["`tasks/specs/s.md`: the review of 2026-10-24 is good for 3 more days"]);
    }

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
        ] {
            let new = stamped(text, day, Some("abc"));
            assert_eq!(new, expected, "{text:?}");
            assert_eq!(stamped(&new, day, Some("abc")), new, "twice is as once");
        }
    }
}
