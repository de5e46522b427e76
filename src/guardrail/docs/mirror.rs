//! A task's checklist and its two mirrors (`contract-guardrails.md` §3.2): text in, text out.

use std::fmt;
use std::str::FromStr;

use super::evidence::FORM;
use super::markdown::Document;

/// A task as it was asked for: four digits, and perhaps the slug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskName {
    pub id: String,
    pub slug: Option<String>,
}

/// A task of `tasks/index.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskKey {
    pub id: String,
    pub slug: String,
}

/// Why a checklist cannot be mirrored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MirrorError {
    #[error("`{}` is no task: four digits, or four digits, a dash and a slug", .0.escape_debug())]
    NoTask(String),
    #[error("`{INDEX}` is no index of tasks: {0}")]
    BadIndex(String),
    #[error("`{INDEX}` has no task `{0}`")]
    Unknown(String),
    #[error("`{INDEX}` has two tasks `{0}`")]
    Twice(String),
    #[error("`{INDEX}` calls task `{id}` `{slug}`, and not `{asked}`")]
    OtherSlug { id: String, slug: String, asked: String },
    #[error("`{path}` has no line `## Checklist`")]
    NoChecklist { path: String },
    #[error("the checklist in `{path}` holds a `docs-sync` marker itself")]
    MarkerInside { path: String },
    #[error("`{DOCS}` has {problem} of task `{key}`")]
    Markers { key: String, problem: &'static str },
    #[error("`{DOCS}` mentions `({id})`, and has no `docs-sync` markers for it")]
    Unmarked { id: String, key: String },
}

impl MirrorError {
    /// Returns what to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NoTask(_) => "such as `--task 0101` or `--task 0101-search`".to_owned(),
            Self::BadIndex(_) => {
                "it looks like `{ \"items\": [{ \"id\": \"0101\", \"slug\": \"search\", \"title\": \"Search\" }] }`".to_owned()
            }
            Self::Unknown(id) => format!(
                "add `{{ \"id\": \"{}\", \"slug\": \"…\", \"title\": \"…\" }}` to its `items`",
                id.get(..4).unwrap_or(id)
            ),
            Self::Twice(_) => "remove one of them from its `items`".to_owned(),
            Self::OtherSlug { id, slug, .. } => format!("ask for `--task {id}-{slug}`"),
            Self::NoChecklist { .. } => "add the line, and the items below it".to_owned(),
            Self::MarkerInside { .. } => "take the marker out: only mirrors have one".to_owned(),
            Self::Markers { key, .. } => {
                format!("leave exactly one `{}` and, below it, one `{}`", begin(key), end(key))
            }
            Self::Unmarked { key, .. } => {
                format!("put `{}` and `{}` around the old checklist", begin(key), end(key))
            }
        }
    }
}

/// Where tasks are listed.
pub const INDEX: &str = "tasks/index.json";
/// The mirror that all tasks share.
pub const DOCS: &str = "docs/TASKS.md";

/// Whether a text can be a part of the names of files.
pub(in crate::guardrail) fn is_slug(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.len() <= 150
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

impl FromStr for TaskName {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, MirrorError> {
        let (id, slug) = match text.split_once('-') {
            Some((id, slug)) => (id, Some(slug.to_owned())),
            None => (text, None),
        };
        let is_id = id.len() == 4 && id.bytes().all(|byte| byte.is_ascii_digit());
        if !is_id || !slug.as_deref().is_none_or(is_slug) {
            return Err(MirrorError::NoTask(text.to_owned()));
        }
        Ok(Self { id: id.to_owned(), slug })
    }
}

impl TaskName {
    /// Finds the task in the text of `tasks/index.json`.
    pub fn find(&self, index: &str) -> Result<TaskKey, MirrorError> {
        let index: serde_json::Value = serde_json::from_str(index.strip_prefix('\u{feff}').unwrap_or(index))
            .map_err(|err| MirrorError::BadIndex(err.to_string()))?;
        let items = index["items"].as_array();
        let items = items.ok_or_else(|| MirrorError::BadIndex("it has no list `items`".to_owned()))?;
        let mut found: Option<TaskKey> = None;
        for item in items {
            let Some(name) = item["id"].as_str().and_then(|id| id.parse::<Self>().ok()) else { continue };
            if name.id != self.id {
                continue;
            }
            let slug = match item["slug"].as_str() {
                // Some indexes repeat the id in front.
                Some(slug) => Some(slug.strip_prefix(&format!("{}-", self.id)).unwrap_or(slug).to_owned()),
                None => name.slug,
            };
            let slug = slug.filter(|slug| is_slug(slug)).ok_or_else(|| {
                MirrorError::BadIndex(format!("task `{}` has no slug that can be a file name", self.id))
            })?;
            if found.replace(TaskKey { id: self.id.clone(), slug }).is_some() {
                return Err(MirrorError::Twice(self.id.clone()));
            }
        }
        let found = found.ok_or_else(|| MirrorError::Unknown(self.to_string()))?;
        match &self.slug {
            Some(asked) if *asked != found.slug => {
                Err(MirrorError::OtherSlug { id: found.id, slug: found.slug, asked: asked.clone() })
            }
            _ => Ok(found),
        }
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.slug {
            Some(slug) => write!(f, "{}-{slug}", self.id),
            None => f.write_str(&self.id),
        }
    }
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.id, self.slug)
    }
}

impl TaskKey {
    /// The file that is edited.
    pub fn source(&self) -> String {
        format!("tasks/tasks-{self}.md")
    }

    /// The mirror for agents.
    pub fn agent(&self) -> String {
        format!(".agent/task/{self}.md")
    }
}

/// The checklist of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checklist {
    pub title: String,
    /// With plain line breaks, without blank lines at its ends.
    pub body: String,
}

impl Checklist {
    /// Takes the checklist out of its source.
    pub fn parse(source: &str, key: &TaskKey) -> Result<Self, MirrorError> {
        let start = body_at(source).ok_or_else(|| MirrorError::NoChecklist { path: key.source() })?;
        let body = source[start..].replace("\r\n", "\n");
        let body = body.trim_end();
        let blank = body.split_inclusive('\n').take_while(|line| line.trim().is_empty());
        let blank: usize = blank.map(str::len).sum();
        let body = body[blank..].to_owned();
        if body.contains("docs-sync:begin ") || body.contains("docs-sync:end ") {
            return Err(MirrorError::MarkerInside { path: key.source() });
        }
        let first = source.strip_prefix('\u{feff}').unwrap_or(source).lines().next().unwrap_or("");
        let title = first.strip_prefix(&format!("# Task {} — ", key.id)).map(str::trim);
        let title = title.filter(|title| !title.is_empty()).map_or_else(|| key.to_string(), str::to_owned);
        Ok(Self { title, body })
    }

    /// Returns the mirror for agents.
    pub fn for_agents(&self, key: &TaskKey) -> String {
        let mut text = format!(
            "# Task Checklist — {} ({})\n\n\
             > Set `MCP_RUNNER_TASK_ID={key}` for every run of this task. The same list stands in `{}`, which is \
             the one to edit, and in `{DOCS}`. An item gets its `[x]` with the manifest that proves it: \
             `{}`.\n",
            self.title,
            key.id,
            key.source(),
            FORM.replace("<task-id>", &key.to_string()),
        );
        if !self.body.is_empty() {
            text.push('\n');
            text.push_str(&raised(&self.body));
            text.push('\n');
        }
        text
    }

    /// Returns `docs`, the text of the mirror that tasks share, with this checklist in its place.
    pub fn in_docs(&self, key: &TaskKey, docs: &str) -> Result<String, MirrorError> {
        let name = key.to_string();
        let (begin, end) = (begin(&name), end(&name));
        let mut block = format!(
            "{begin}\n## Checklist Mirror\n\nThe same list stands in `{}`, which is the one to edit, and in `{}`.\n",
            key.source(),
            key.agent(),
        );
        if !self.body.is_empty() {
            block.push_str(&format!("\n{}\n", self.body));
        }
        block.push_str(&end);
        if docs.contains("\r\n") {
            block = block.replace('\n', "\r\n");
        }
        let line_break = if docs.contains("\r\n") { "\r\n" } else { "\n" };
        let markers = |problem| MirrorError::Markers { key: name.clone(), problem };
        let begins: Vec<_> = docs.match_indices(&begin).map(|(at, _)| at).collect();
        let ends: Vec<_> = docs.match_indices(&end).map(|(at, _)| at).collect();
        match (&begins[..], &ends[..]) {
            (&[from], &[to]) if from < to => {
                Ok(format!("{}{block}{}", &docs[..from], &docs[to + end.len()..]))
            }
            ([_], [_]) => Err(markers("its end marker before the begin marker")),
            ([], [_]) => Err(markers("no begin marker")),
            ([_], []) => Err(markers("no end marker")),
            ([], []) if !outside_of_blocks(docs).contains(&format!("({})", key.id)) => {
                let before = docs.trim_end();
                let gap = if before.is_empty() { "" } else { line_break };
                let gap = format!("{gap}{gap}");
                Ok(format!("{before}{gap}{block}{line_break}"))
            }
            ([], []) => {
                let old = old_mirror(docs, &key.id);
                let old =
                    old.ok_or_else(|| MirrorError::Unmarked { id: key.id.clone(), key: name.clone() })?;
                let after = &docs[old.end..];
                let gap = if after.is_empty() { line_break.to_owned() } else { line_break.repeat(2) };
                Ok(format!("{}{block}{gap}{after}", &docs[..old.start]))
            }
            _ => Err(markers("more than one pair of markers")),
        }
    }
}

fn begin(key: &str) -> String {
    format!("<!-- docs-sync:begin {key} -->")
}

fn end(key: &str) -> String {
    format!("<!-- docs-sync:end {key} -->")
}

/// Returns where the checklist begins in its source: behind the line `## Checklist`.
pub fn body_at(source: &str) -> Option<usize> {
    let document = Document::parse(source);
    let heading =
        document.headings.iter().find(|heading| &source[heading.range.clone()] == "## Checklist")?;
    let rest = &source[heading.range.end..];
    Some(heading.range.end + rest.find('\n').map_or(rest.len(), |at| at + 1))
}

/// Raises headings of level 3 to level 2.
fn raised(body: &str) -> String {
    let mut raised = String::with_capacity(body.len());
    let mut from = 0;
    for heading in Document::parse(body).headings {
        let start = heading.range.start;
        // Below a heading of a list or a quotation there may be something else at the beginning.
        if heading.level == 3 && body[start..].starts_with("###") {
            raised.push_str(&body[from..start]);
            from = start + 1;
        }
    }
    raised.push_str(&body[from..]);
    raised
}

/// Returns the text that belongs to no task's block.
fn outside_of_blocks(docs: &str) -> String {
    let mut outside = String::new();
    let mut rest = docs;
    while let Some((before, after)) = rest.split_once("<!-- docs-sync:begin ") {
        outside.push_str(before);
        let end = after.find("<!-- docs-sync:end ");
        rest = end.map_or("", |end| &after[end + 1..]);
    }
    outside.push_str(rest);
    outside
}

/// Returns the mirror from before there were markers: below the one heading that names the task, what
/// stands under the heading `Checklist Mirror`.
fn old_mirror(docs: &str, id: &str) -> Option<std::ops::Range<usize>> {
    let headings = Document::parse(docs).headings;
    let tag = format!("({id})");
    let mut named = headings.iter().enumerate().filter(|(_, heading)| heading.text.contains(&tag));
    let (at, section) = named.next()?;
    if named.next().is_some() {
        return None;
    }
    let below: Vec<_> =
        headings[at + 1..].iter().take_while(|heading| heading.level > section.level).collect();
    let section_end = headings.get(at + 1 + below.len()).map_or(docs.len(), |next| next.range.start);
    let mut mirrors = below.iter().enumerate().filter(|(_, heading)| heading.text == "Checklist Mirror");
    let (at, mirror) = mirrors.next()?;
    let next = below[at + 1..].iter().find(|heading| heading.level <= mirror.level);
    let range = mirror.range.start..next.map_or(section_end, |next| next.range.start);
    (mirrors.next().is_none() && !docs[range.clone()].contains("docs-sync:")).then_some(range)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOURCE: &str = "# Task 0101 — Search\n\nWords.\n\n## Checklist\n\n\n### Part\n- [ ] one\n- [x] two\n\n```\n### no heading\n```\n#### Deep\n\n";

    fn key() -> TaskKey {
        TaskKey { id: "0101".into(), slug: "search".into() }
    }

    fn list() -> Checklist {
        Checklist::parse(SOURCE, &key()).unwrap()
    }

    #[test]
    fn a_task_is_four_digits_and_perhaps_a_slug() {
        for text in ["0101", "0101-search", "9999-a.b_c-d"] {
            assert_eq!(text.parse::<TaskName>().unwrap().to_string(), text);
        }
        for text in
            ["", "101", "01011", "0101-", "0101-../x", "0101-a/b", "abcd", "0101_x", "0101-a b", "٠١٠١"]
        {
            assert_eq!(text.parse::<TaskName>(), Err(MirrorError::NoTask(text.into())), "{text}");
        }
    }

    #[test]
    fn the_index_decides_which_task_is_meant() {
        let find = |task: &str, index: &str| task.parse::<TaskName>().unwrap().find(index);
        let index = r#"{"items": [{"id": "0100", "slug": "a"}, {"id": "0101", "slug": "search"}]}"#;
        assert_eq!(find("0101", index), Ok(key()));
        assert_eq!(find("0101-search", index), Ok(key()));
        assert_eq!(find("0101", r#"{"items": [{"id": "0101", "slug": "0101-search"}]}"#), Ok(key()));
        assert_eq!(find("0101", r#"{"items": [{"id": "0101-search"}]}"#), Ok(key()));
        assert_eq!(find("0102", index), Err(MirrorError::Unknown("0102".into())));
        assert!(matches!(find("0101-other", index), Err(MirrorError::OtherSlug { .. })));
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"items": {}}"#,
            r#"{"items": [{"id": "0101"}]}"#,
            r#"{"items": [{"id": "0101", "slug": "../x"}]}"#,
        ] {
            assert!(matches!(find("0101", bad), Err(MirrorError::BadIndex(_))), "{bad}");
        }
        let twice = r#"{"items": [{"id": "0101", "slug": "a"}, {"id": "0101", "slug": "b"}]}"#;
        assert_eq!(find("0101", twice), Err(MirrorError::Twice("0101".into())));
    }

    #[test]
    fn the_checklist_is_what_follows_its_heading() {
        let list = list();
        assert_eq!(list.title, "Search");
        assert_eq!(list.body, "### Part\n- [ ] one\n- [x] two\n\n```\n### no heading\n```\n#### Deep");
        let crlf = Checklist::parse(&SOURCE.replace('\n', "\r\n"), &key()).unwrap();
        assert_eq!(crlf, list);
        let untitled = Checklist::parse("# Other\n## Checklist  \n\n- [ ] a", &key()).unwrap();
        assert_eq!((&*untitled.title, &*untitled.body), ("0101-search", "- [ ] a"));
        assert_eq!(Checklist::parse("## Checklist\n   \n  - [ ] a\n", &key()).unwrap().body, "  - [ ] a");
        for none in ["", "## Checklists\n", "### Checklist\n", "```\n## Checklist\n```\n", "# Checklist\n"] {
            assert!(
                matches!(Checklist::parse(none, &key()), Err(MirrorError::NoChecklist { .. })),
                "{none:?}"
            );
        }
        let marked = "## Checklist\n- <!-- docs-sync:end x -->\n";
        assert!(matches!(Checklist::parse(marked, &key()), Err(MirrorError::MarkerInside { .. })));
    }

    #[test]
    fn the_mirror_for_agents_names_everything_and_raises_headings() {
        let text = list().for_agents(&key());
        let (head, body) = text.split_once("\n\n## Part\n").expect("raised");
        assert_eq!(head.lines().next(), Some("# Task Checklist — Search (0101)"));
        assert!(head.lines().last().is_some_and(|line| line.starts_with("> ")));
        for word in [
            "MCP_RUNNER_TASK_ID=0101-search",
            "tasks/tasks-0101-search.md",
            "docs/TASKS.md",
            ".runs/0101-search/cli/<run-id>/manifest.json",
        ] {
            assert!(head.contains(word), "{word}: {head}");
        }
        assert_eq!(body, "- [ ] one\n- [x] two\n\n```\n### no heading\n```\n#### Deep\n");
    }

    #[test]
    fn the_shared_mirror_gets_one_block_per_task() {
        let first = list().in_docs(&key(), "# Tasks\n").unwrap();
        assert!(
            first.starts_with("# Tasks\n\n<!-- docs-sync:begin 0101-search -->\n## Checklist Mirror\n"),
            "{first}"
        );
        assert!(first.ends_with("#### Deep\n<!-- docs-sync:end 0101-search -->\n"), "{first}");
        assert!(first.contains("tasks/tasks-0101-search.md") && first.contains(".agent/task/0101-search.md"));
        assert_eq!(list().in_docs(&key(), &first).unwrap(), first);
        let changed = Checklist { body: "- [x] one".into(), ..list() }.in_docs(&key(), &first).unwrap();
        assert_eq!(changed.matches("docs-sync").count(), 2);
        assert!(changed.contains("\n- [x] one\n<!--") && !changed.contains("Deep"));
        let around = first.replace("# Tasks\n", "before (0101)\n") + "after\n";
        let again = Checklist { body: "- [x] one".into(), ..list() }.in_docs(&key(), &around).unwrap();
        assert!(again.starts_with("before (0101)\n\n<!--") && again.ends_with("-->\nafter\n"), "{again}");
        assert_eq!(list().in_docs(&key(), "").unwrap().find("<!--"), Some(0));
        let crlf = list().in_docs(&key(), "# Tasks\r\n").unwrap();
        assert_eq!(crlf.replace("\r\n", "\n"), first);
        assert_eq!(crlf.matches('\n').count(), crlf.matches("\r\n").count());
    }

    #[test]
    fn markers_that_are_not_a_pair_are_an_error() {
        let (b, e) = (begin("0101-search"), end("0101-search"));
        for docs in
            [b.clone(), e.clone(), format!("{e}\n{b}"), format!("{b}\n{e}\n{b}\n{e}"), format!("{b}{b}{e}")]
        {
            assert!(matches!(list().in_docs(&key(), &docs), Err(MirrorError::Markers { .. })), "{docs}");
        }
        // The markers of another task are no markers of this one.
        let other = format!("{}\n(0101)\n{}\n", begin("0101-search-two"), end("0101-search-two"));
        assert!(list().in_docs(&key(), &other).unwrap().starts_with(&other));
    }

    #[test]
    fn a_section_without_markers_is_converted_if_it_has_a_mirror() {
        let unmarked = "# Snapshot — Search (0101)\n\n- [ ] old\n";
        assert!(matches!(list().in_docs(&key(), unmarked), Err(MirrorError::Unmarked { .. })));
        assert!(matches!(list().in_docs(&key(), "see (0101)"), Err(MirrorError::Unmarked { .. })));
        let old = "# A (0100)\n\n## Checklist Mirror\n- x\n\n# B (0101)\nIntro.\n\n## Checklist Mirror\n### P\n- old\n\n## Notes\nkept\n\n# C\n";
        let new = list().in_docs(&key(), old).unwrap();
        assert!(
            new.starts_with(
                "# A (0100)\n\n## Checklist Mirror\n- x\n\n# B (0101)\nIntro.\n\n<!-- docs-sync:begin"
            ),
            "{new}"
        );
        assert!(new.ends_with("-->\n\n## Notes\nkept\n\n# C\n"), "{new}");
        assert!(!new.contains("- old"));
        assert_eq!(list().in_docs(&key(), &new).unwrap(), new);
    }

    proptest! {
        #[test]
        fn mirroring_twice_changes_nothing(
            body in "(- \\[[ x]\\] [a-c]|#{1,4} [a-c]|```|\r?\n|> |<!-- x -->|    | ){0,12}",
            docs in "(# [a-c]|- a|\r?\n|```|\\(0102\\)|<!--|-->){0,12}",
        ) {
            let source = format!("## Checklist\n\n{body}");
            let list = Checklist::parse(&source, &key()).unwrap();
            prop_assert_eq!(list.for_agents(&key()), list.for_agents(&key()));
            let once = list.in_docs(&key(), &docs).unwrap();
            prop_assert_eq!(&list.in_docs(&key(), &once).unwrap(), &once);
            prop_assert!(once.starts_with(docs.trim_end()));
        }
    }
}
