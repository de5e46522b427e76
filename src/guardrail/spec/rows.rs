//! Tasks that are over: the rows of `tasks/index.json`, and which spec belongs to which of them.
//!
//! A spec belongs to a row that names it (`spec`, or one of `specs`), and to one whose id or key (`0101`,
//! `0101-search`) is the name of its file, or its beginning up to a dash.

use serde_json::Value;

use super::review::ends;
use super::{INDEX, Read};
use crate::guardrail::docs::mirror::is_slug;
use crate::guardrail::docs::{Document, Lines};

/// The rows of the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows(Vec<Row>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    id: String,
    /// The id with the slug.
    key: String,
    is_over: bool,
    /// The specs that it names.
    specs: Vec<String>,
}

/// What the rows say about a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Somebody works on it, as far as anybody knows.
    Active,
    /// All tasks that it belongs to are over; this is the first.
    Over(String),
    /// They are over, but something was left open, as this text says.
    LeftOpen(String),
}

impl Rows {
    /// Reads the index; no index has no rows. A row that cannot be understood spoils all: it could be
    /// about any spec.
    pub fn read(read: Read<'_>) -> Result<Self, String> {
        let Some(text) = read(INDEX)? else { return Ok(Self::default()) };
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let index: Value = serde_json::from_str(text).map_err(|err| err.to_string())?;
        let items = index["items"].as_array().ok_or("it has no list `items`")?;
        let row = |(at, item)| Row::read(item).map_err(|why| format!("item {}: {why}", at + 1));
        items.iter().enumerate().map(row).collect::<Result<_, _>>().map(Self)
    }

    /// Returns what the rows say about the spec of that path and text.
    pub fn standing(&self, path: &str, text: &str, read: Read<'_>) -> Standing {
        let rows: Vec<_> = self.0.iter().filter(|row| row.has(path)).collect();
        let Some(first) = rows.first().filter(|_| rows.iter().all(|row| row.is_over)) else {
            return Standing::Active;
        };
        let left_open =
            |what: String| Standing::LeftOpen(format!("task `{}` is over, but {what}", first.key));
        if let Some(line) = open_box(text) {
            return left_open(format!("line {line} is an open checkbox"));
        }
        let mut names: Vec<_> = rows.iter().flat_map(|row| [&row.key, &row.id]).collect();
        names.dedup();
        for checklist in names.into_iter().map(|name| format!("tasks/tasks-{name}.md")) {
            match read(&checklist) {
                Err(why) => return left_open(format!("its checklist `{checklist}` cannot be read: {why}")),
                Ok(Some(text)) => {
                    if let Some(line) = open_box(&text) {
                        return left_open(format!("line {line} of `{checklist}` is an open checkbox"));
                    }
                }
                Ok(None) => {}
            }
        }
        Standing::Over(first.key.clone())
    }
}

impl Row {
    fn read(item: &Value) -> Result<Self, String> {
        let fields = item.as_object().ok_or("it is no object")?;
        let text = |name: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(format!("its `{name}` is no text")),
        };
        let id = text("id")?.filter(|id| is_slug(id)).ok_or("it has no `id` that can be a file name")?;
        let slug = text("slug")?;
        if slug.is_some_and(|slug| !is_slug(slug)) {
            return Err("its `slug` can be no file name".to_owned());
        }
        let key = match slug {
            Some(slug) if slug == id || slug.starts_with(&format!("{id}-")) => slug.to_owned(),
            Some(slug) if !id.ends_with(&format!("-{slug}")) => format!("{id}-{slug}"),
            _ => id.to_owned(),
        };
        // Where a row has no status, the gate that it went through may have one.
        let gate = fields.get("gate").and_then(|gate| gate.get("status")).and_then(Value::as_str);
        let status = text("status")?.or(gate);
        let mut specs: Vec<_> = text("spec")?.map(str::to_owned).into_iter().collect();
        for named in fields
            .get("specs")
            .map(|list| list.as_array().ok_or("its `specs` is no list"))
            .transpose()?
            .into_iter()
            .flatten()
        {
            specs.push(named.as_str().ok_or("its `specs` are no texts")?.to_owned());
        }
        Ok(Self { id: id.to_owned(), key, is_over: status.is_some_and(ends), specs })
    }

    fn has(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        let name = name.strip_suffix(".md").unwrap_or(name);
        let begins = |id: &String| {
            name.strip_prefix(id.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        begins(&self.id) || begins(&self.key) || self.specs.iter().any(|spec| spec == path)
    }
}

/// Returns the line of the first checkbox that nobody has ticked, outside of blocks of code.
fn open_box(text: &str) -> Option<usize> {
    if !text.contains("[ ]") {
        return None;
    }
    let document = Document::parse(text);
    let is_code =
        |at: usize| document.pieces.iter().any(|piece| piece.block != 0 && piece.range.contains(&at));
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let item = line.trim_start_matches(|c: char| c.is_whitespace() || c == '>');
        if is_box(item) && !is_code(at + line.len() - item.len()) {
            return Some(Lines::new(text).place(at).0);
        }
        at += line.len();
    }
    None
}

/// Whether a line begins with the sign of a list and an empty box.
fn is_box(line: &str) -> bool {
    let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = match number.len() < line.len() {
        true => number.strip_prefix(['.', ')']),
        false => line.strip_prefix(['-', '*', '+']),
    };
    rest.is_some_and(|rest| rest.starts_with([' ', '\t']) && rest.trim_start().starts_with("[ ]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = "tasks/specs/0101-search.md";

    fn standing(index: &str, path: &str, text: &str, checklist: Option<&str>) -> Standing {
        let read = |asked: &str| match asked {
            INDEX => Ok(Some(index.to_owned())),
            "tasks/tasks-0101-search.md" => Ok(checklist.map(str::to_owned)),
            _ => Ok(None),
        };
        Rows::read(&read).map_or(Standing::Active, |rows| rows.standing(path, text, &read))
    }

    #[test]
    fn specs_of_tasks_that_are_over_are_found_by_name() {
        let over = |key: &str| Standing::Over(key.to_owned());
        for (item, path, expected) in [
            (r#"{"id": "0101", "slug": "search", "status": "done"}"#, SPEC, over("0101-search")),
            (r#"{"id": "0101", "slug": "search", "status": " Succeeded"}"#, SPEC, over("0101-search")),
            (r#"{"id": "0101", "slug": "0101-search", "status": "done"}"#, SPEC, over("0101-search")),
            (r#"{"id": "0101-search", "slug": "search", "status": "done"}"#, SPEC, over("0101-search")),
            (r#"{"id": "0101", "gate": {"status": "succeeded"}}"#, SPEC, over("0101")),
            (r#"{"id": "0101", "status": "done"}"#, "tasks/specs/0101.md", over("0101")),
            (r#"{"id": "0101", "status": "done"}"#, "docs/design/specs/0101-api-v2.md", over("0101")),
            (r#"{"id": "7", "status": "done", "spec": "tasks/specs/0101-search.md"}"#, SPEC, over("7")),
            (r#"{"id": "7", "status": "done", "specs": ["tasks/specs/0101-search.md"]}"#, SPEC, over("7")),
            (r#"{"id": "0101", "status": "done"}"#, "tasks/specs/01012.md", Standing::Active),
            (r#"{"id": "0101", "status": "done"}"#, "tasks/specs/x-0101.md", Standing::Active),
            (r#"{"id": "0101", "status": "failed"}"#, SPEC, Standing::Active),
            (r#"{"id": "0101", "status": "active", "gate": {"status": "done"}}"#, SPEC, Standing::Active),
            (r#"{"id": "0101"}"#, SPEC, Standing::Active),
            (r#"{"id": "0101", "status": "done"}, {"id": "0101-search"}"#, SPEC, Standing::Active),
        ] {
            let index = format!(r#"{{"items": [{item}]}}"#);
            assert_eq!(standing(&index, path, "# S", None), expected, "{item}");
        }
    }

    #[test]
    fn an_open_box_keeps_a_spec_alive() {
        let index = r#"{"items": [{"id": "0101", "slug": "search", "status": "done"}]}"#;
        for text in ["- [ ] a", "x\n* [ ] a", "+ [ ]", "1. [ ] a", "2) [ ] a", "> - [ ] a", "- a\n  - [ ] b"]
        {
            for (spec, checklist) in [(text, None), ("# S", Some(text))] {
                let found = standing(index, SPEC, spec, checklist);
                assert!(matches!(found, Standing::LeftOpen(_)), "{text:?}: {found:?}");
            }
        }
        for text in
            ["- [x] a", "[ ] a", "-[ ] a", "a - [ ] b", "```\n- [ ] a\n```", "# A\n\n    - [ ] code\n"]
        {
            let found = standing(index, SPEC, text, Some(text));
            assert_eq!(found, Standing::Over("0101-search".to_owned()), "{text:?}");
        }
        let Standing::LeftOpen(said) = standing(index, SPEC, "# S", Some("# T\n\n- [ ] a\n")) else {
            panic!()
        };
        assert_eq!(
            said,
            "task `0101-search` is over, but line 3 of `tasks/tasks-0101-search.md` is an open checkbox"
        );
    }

    #[test]
    fn an_index_that_nobody_understands_has_no_rows() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"items": {}}"#,
            r#"{"items": [3]}"#,
            r#"{"items": [{"id": 3}]}"#,
            r#"{"items": [{"slug": "a"}]}"#,
            r#"{"items": [{"id": "../x"}]}"#,
            r#"{"items": [{"id": "1", "status": 3}]}"#,
            r#"{"items": [{"id": "1", "specs": "a"}]}"#,
            r#"{"items": [{"id": "0101", "status": "done"}, {"id": "a/b"}]}"#,
        ] {
            assert!(Rows::read(&|_| Ok(Some(text.to_owned()))).is_err(), "{text}");
        }
        assert_eq!(Rows::read(&|_| Err("no".to_owned())), Err("no".to_owned()));
        assert_eq!(Rows::read(&|_| Ok(None)), Ok(Rows::default()));
    }
}
