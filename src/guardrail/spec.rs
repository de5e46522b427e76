//! The spec guard: code does not change without its spec, and specs are read again in time
//! (`contract-guardrails.md` §2).
//!
//! `review` says how old the last review is. Nobody has to read a spec again that is an `archive`
//! stub or whose tasks are over (`rows`), and `groups` plan for reviews that are overdue. A change that
//! adds a `fallback` says what becomes of it.

mod archive;
pub mod fallback;
mod groups;
mod review;
mod rows;
mod stamp;

pub use stamp::stamped;

use jiff::civil::Date;

use super::{File, Finding, Judged, Limit, Status, Verdict};
use crate::pipeline::guardrails::SpecGroup;
use groups::Declared;
use review::Review;
use rows::{Rows, Standing};

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

/// Returns the bytes of a file; nothing if there is none that can be read.
pub type Bytes<'a> = &'a dyn Fn(&str) -> Option<Vec<u8>>;

/// Reads a file of what is judged: nothing if there is none, or why it cannot be read.
pub type Read<'a> = &'a dyn Fn(&str) -> Result<Option<String>, String>;

/// What is judged, and by what.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    pub changed: &'a [File],
    /// Every spec there is.
    pub specs: &'a [SpecFile],
    pub places: &'a Places,
    pub max_age: &'a Limit,
    pub today: Date,
    /// The groups that excuse overdue reviews.
    pub groups: &'a [SpecGroup],
    /// The groups that the change leads to.
    pub proposed: &'a [SpecGroup],
    pub read: Read<'a>,
    /// The files of what is judged, and those of the base.
    pub now: Bytes<'a>,
    pub was: Bytes<'a>,
    /// The fallbacks that the change adds, or why nobody knows; nothing if nobody asks.
    pub fallback: Option<(&'a fallback::Rule, &'a Result<fallback::Found, String>)>,
}

/// Returns why nobody can tell the tasks from [`INDEX`]; nothing if they can, or if there is none.
pub fn bad_index(read: Read<'_>) -> Option<String> {
    Rows::read(read).err()
}

/// Judges the files that changed, and every spec there is.
pub fn judge(judged: Judged, case: &Case<'_>) -> Verdict {
    let mut verdict = Verdict::new(RULE, judged);
    let mut specs: Vec<_> = case.specs.iter().collect();
    specs.sort_by(|a, b| a.path.cmp(&b.path));
    let is_stub = |spec: &&SpecFile| spec.text.as_ref().is_ok_and(|text| archive::is_stub(&spec.path, text));
    let (stubs, specs): (Vec<_>, Vec<_>) = specs.into_iter().partition(is_stub);
    coupling(case, &stubs, &mut verdict);
    for stub in stubs {
        verdict.notes.push(format!("`{}` is archived elsewhere, so it needs no review", stub.path));
    }
    reviews(case, &specs, &mut verdict);
    if let Some((rule, found)) = case.fallback {
        fallback::judge(rule, found, case, &mut verdict);
    }
    verdict.limits.push(case.max_age.clone());
    verdict
}

/// Judges whether a spec has changed with the code.
fn coupling(case: &Case<'_>, stubs: &[&SpecFile], verdict: &mut Verdict) {
    let Case { changed, places, .. } = case;
    let mut code: Vec<_> = changed.iter().filter(|file| is_code(file, places)).collect();
    code.sort_by(|a, b| (&a.path, a.untracked).cmp(&(&b.path, b.untracked)));
    code.dedup_by(|later, first| later.path == first.path);
    // A spec that was taken away says nothing about the code.
    let touched: Vec<_> = changed
        .iter()
        .filter(|file| file.status != Status::Deleted && places.is_spec(&file.path))
        .filter(|file| !stubs.iter().any(|stub| stub.path == file.path))
        .collect();
    if !code.is_empty() && !touched.iter().any(|file| says_something_new(file, case)) {
        let mut names: Vec<_> = code.iter().take(5).map(|file| format!("`{}`", file.path)).collect();
        if code.len() > names.len() {
            names.push(format!("{} more", code.len() - names.len()));
        }
        let specs: Vec<_> = places.specs.iter().map(|folder| format!("`{folder}`")).collect();
        let touched = touched
            .first()
            .map_or(String::new(), |file| format!("; what changed in `{}` says nothing new", file.path));
        verdict.findings.push(Finding {
            rule: "spec-not-updated".to_owned(),
            message: format!(
                "code or migrations changed ({}) and no spec updated: none in {} and not `{INDEX}`{touched}",
                names.join(", "),
                specs.join(", ")
            ),
            path: code.first().map(|file| file.path.clone()),
            ..Finding::default()
        });
    }
    verdict.files = code.into_iter().cloned().collect();
}

/// Whether a spec, or the list of tasks, says what it did not say at the base: neither its mode nor white
/// space says anything, nor does a file that only moved, and what stands in a README is no spec.
fn says_something_new(file: &File, case: &Case<'_>) -> bool {
    let path = file.path.as_str();
    if path.rsplit('/').next().is_some_and(|name| name.eq_ignore_ascii_case("readme.md")) {
        return false;
    }
    // What is staged counts although the disk has something else, and it is not looked into.
    if file.kind.as_deref() == Some("staged") {
        return true;
    }
    let Some(now) = (case.now)(path) else { return false };
    let gone = case.changed.iter().filter(|file| file.status == Status::Deleted);
    let gone = gone.map(|file| file.path.as_str()).filter(|path| case.places.is_spec(path));
    let known = [file.from.as_deref().unwrap_or(path)].into_iter().chain(gone);
    !says(&now, b"") && !known.filter_map(case.was).any(|was| says(&now, &was))
}

/// Whether two texts say the same. Of two JSON documents that is what they hold.
fn says(one: &[u8], other: &[u8]) -> bool {
    let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
    let words = |bytes: &[u8]| -> Vec<Vec<u8>> {
        let words = bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.map(<[u8]>::to_vec).collect()
    };
    match (json(one), json(other)) {
        (Some(one), Some(other)) => one == other,
        _ => words(one) == words(other),
    }
}

fn is_code(file: &File, places: &Places) -> bool {
    let names = [Some(&file.path), file.from.as_ref()];
    names.into_iter().flatten().any(|path| places.is_code(path))
}

/// Judges whether every spec was read lately, or need not be.
fn reviews(case: &Case<'_>, specs: &[&SpecFile], verdict: &mut Verdict) {
    let first = verdict.findings.len();
    let mut rows: Option<Rows> = None;
    let mut overdue = Vec::new();
    for spec in specs {
        let path = &spec.path;
        let (is_stale, mut finding) = match review::review(spec, case.max_age.value, case.today) {
            Review::Good { note } => {
                verdict.notes.extend(note);
                continue;
            }
            Review::Finished => {
                verdict.notes.push(format!("`{path}` is finished, so its review may be old"));
                continue;
            }
            Review::Unreadable(finding) => {
                verdict.findings.push(finding);
                continue;
            }
            Review::Stale(finding) => (true, finding),
            Review::Unknown(finding) => (false, finding),
        };
        let rows = rows.get_or_insert_with(|| {
            Rows::read(case.read).unwrap_or_else(|why| {
                verdict.notes.push(format!("`{INDEX}` cannot be used, so no task is over: {why}"));
                Rows::default()
            })
        });
        match rows.standing(path, spec.text.as_deref().unwrap_or_default(), case.read) {
            Standing::Active => {}
            Standing::Over(task) => {
                verdict
                    .notes
                    .push(format!("`{path}` is of task `{task}`, which is over, so it needs no review"));
                continue;
            }
            Standing::LeftOpen(why) => finding.message.push_str(&format!(" ({why})")),
        }
        match is_stale {
            true => overdue.push(finding),
            false => verdict.findings.push(finding),
        }
    }
    let declared = Declared {
        groups: case.groups,
        proposed: case.proposed,
        exists: &|path| case.specs.iter().any(|spec| spec.path == path),
        was_removed: &|path| {
            case.changed.iter().any(|file| file.status == Status::Deleted && file.path == path)
        },
    };
    groups::settle(&declared, overdue, case.today, verdict);
    verdict.findings[first..].sort_by(|a, b| a.path.cmp(&b.path));
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
        let case = Case {
            changed: &changed,
            specs: &specs,
            places: &places(),
            max_age: &limit,
            today: "2026-11-21".parse().unwrap(),
            groups: &[],
            proposed: &[],
            read: &|path| {
                let index = r#"{"items": [{"id": "0101", "status": "done"}]}"#;
                Ok((path == INDEX).then(|| index.to_owned()))
            },
            now: &|_| Some(b"new".to_vec()),
            was: &|_| None,
            fallback: None,
        };
        judge(Judged::default(), &case)
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
    fn a_spec_has_to_say_something_new() {
        let spec = "tasks/specs/s.md";
        let new = |path: &str, was: Option<&str>, now: Option<&str>| {
            let changed =
                [File::new(path, Status::Modified), File::new("docs/design/specs/x.md", Status::Deleted)];
            let limit = Limit { name: "days".into(), value: 30, origin: Origin::Default };
            let case = Case {
                changed: &changed,
                specs: &[],
                places: &places(),
                max_age: &limit,
                today: "2026-11-21".parse().unwrap(),
                groups: &[],
                proposed: &[],
                read: &|_| Ok(None),
                now: &|asked| now.filter(|_| asked == path).map(|text| text.as_bytes().to_vec()),
                was: &|asked| {
                    let was = if asked == path { was } else { Some("# Moved here\n") };
                    was.map(|text| text.as_bytes().to_vec())
                },
                fallback: None,
            };
            says_something_new(&changed[0], &case)
        };
        for (path, was, now, expected) in [
            (spec, Some("a b\n"), Some("a c\n"), true),
            (spec, Some("a b\n"), Some("a b\n"), false),
            (spec, Some("a b\n"), Some(" a\r\n\nb"), false),
            (spec, Some("a b\n"), Some("ab\n"), true),
            (spec, Some("a\n"), Some(" \n"), false),
            (spec, None, Some("# S\n"), true),
            (spec, None, Some(""), false),
            (spec, None, Some("\n"), false),
            (spec, None, Some("# Moved here"), false),
            (spec, Some("a"), None, false),
            ("tasks/specs/x.txt", None, Some(""), false),
            ("tasks/specs/README.md", Some("a"), Some("b"), false),
            ("tasks/specs/deep/Readme.MD", None, Some("b"), false),
            (INDEX, Some("{\"items\":[]}"), Some("{ \"items\": [ ] }\n"), false),
            (INDEX, Some("{\"items\":[1]}"), Some("{\"items\":[2]}"), true),
            (INDEX, Some("{\"a\":\"b c\"}"), Some("{\"a\":\"b  c\"}"), true),
            (INDEX, None, Some("{}"), true),
        ] {
            assert_eq!(new(path, was, now), expected, "{path}: {was:?} -> {now:?}");
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
    fn a_stub_and_the_spec_of_a_finished_task_need_no_review() {
        let stub = "# S\n\nArchived: archive:tasks/specs/s.md\n";
        let verdict = verdict(&[], &[("tasks/specs/s.md", stub), ("tasks/specs/0101-a.md", "# A\n")]);
        assert_eq!(verdict.findings, []);
        assert_eq!(
            verdict.notes,
            [
                "`tasks/specs/s.md` is archived elsewhere, so it needs no review",
                "`tasks/specs/0101-a.md` is of task `0101`, which is over, so it needs no review",
            ]
        );
        let changed = [("src/a", Status::Modified), ("tasks/specs/s.md", Status::Modified)];
        assert_eq!(said(&changed, &[("tasks/specs/s.md", stub)]), ["spec-not-updated"]);
        let open = "last_review: 2000-01-01\n- [ ] open\n";
        let left = self::verdict(&[], &[("tasks/specs/0101-a.md", open)]).findings.remove(0).message;
        assert!(left.ends_with("(task `0101` is over, but line 2 is an open checkbox)"), "{left}");
    }

    #[test]
    fn a_review_that_ends_soon_is_a_note() {
        let verdict = verdict(&[], &[("tasks/specs/s.md", "last_review: 2026-10-24")]);
        assert_eq!(verdict.notes, ["`tasks/specs/s.md`: the review of 2026-10-24 is good for 3 more days"]);
    }
}
