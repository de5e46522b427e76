//! Begins a task: its entry in the index, its checklist, its spec, and the mirrors, from our templates.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::super::{Context, Kind, Refusal};
use super::sync::{Change, LIMIT, Synced, SyncedFile, lock, same_worktree};
use crate::guardrail::docs::mirror::{Checklist, DOCS, INDEX, MirrorError, TaskKey, TaskName};
use crate::sys::beneath::{Beneath, Content};

const TASK: &str = include_str!("../../../templates/documents/task.md");
const SPEC: &str = include_str!("../../../templates/documents/spec.md");
const TASKS: &str = include_str!("../../../templates/documents/TASKS.md");

/// What was asked for.
#[derive(Clone, Debug)]
pub struct NewOptions {
    pub task: TaskName,
    pub title: String,
    /// Whether nothing is written.
    pub dry_run: bool,
}

/// Writes the documents, all or none. What is there already stays.
pub fn new(ctx: &Context, options: &NewOptions) -> Result<Synced> {
    same_worktree(ctx)?;
    let Some(slug) = options.task.slug.clone() else {
        return Err(Refusal::new(Kind::Usage, format!("task `{}` has no slug", options.task))
            .hint(format!("give it one, such as `--task {}-search`", options.task))
            .into());
    };
    let title = options.title.trim();
    if title.is_empty() || title.contains(char::is_control) {
        return Err(Refusal::new(Kind::Usage, "the title is no line of text")
            .hint("such as `--title Search`")
            .into());
    }
    let key = TaskKey { id: options.task.id.clone(), slug };
    let _lock = match options.dry_run {
        true => None,
        false => Some(lock(ctx)?),
    };
    let root = Beneath::open(&ctx.layout.root)?;
    let old = |path: &str| root.read(Path::new(path), LIMIT);
    let spec_path = format!("tasks/specs/{key}.md");
    for path in [key.source(), key.agent(), spec_path.clone()] {
        if old(&path)?.is_some() {
            return Err(Refusal::new(Kind::Usage, format!("`{path}` is there already"))
                .hint(format!("`git orchestrate docs sync --task {key}` mirrors it"))
                .into());
        }
    }
    let (index, docs) = (old(INDEX)?, old(DOCS)?);
    let text = |content: &Content, path: &str| -> Result<String> {
        let text = String::from_utf8(content.bytes.clone());
        Ok(text.map_err(|_| {
            Refusal::new(Kind::Usage, format!("`{path}` is no UTF-8")).hint("save it as UTF-8")
        })?)
    };
    let index_text = match &index {
        Some(content) => text(content, INDEX)?,
        None => r#"{"items": []}"#.to_owned(),
    };
    let docs_text = match &docs {
        Some(content) => text(content, DOCS)?,
        None => TASKS.to_owned(),
    };
    let filled = |template: &str| {
        let date = ctx.clock.now().to_string();
        template
            .replace("<id>", &key.id)
            .replace("<key>", &key.to_string())
            .replace("<date>", date.get(..10).unwrap_or(&date))
            .replace("<title>", title)
    };
    let source = filled(TASK);
    let list = Checklist::parse(&source, &key)?;
    let planned = [
        (INDEX.to_owned(), with_task(&index_text, &key, title)?, index.as_ref()),
        (key.source(), source, None),
        (spec_path, filled(SPEC), None),
        (key.agent(), list.for_agents(&key), None),
        (DOCS.to_owned(), list.in_docs(&key, &docs_text)?, docs.as_ref()),
    ];
    if !options.dry_run {
        let files: Vec<_> = planned
            .iter()
            .map(|(path, text, old)| (Path::new(path.as_str()), text.as_bytes(), *old))
            .collect();
        root.replace_all(&files)?;
    }
    let changes = planned.iter().map(|(path, _, old)| SyncedFile {
        path: path.clone(),
        change: if old.is_some() { Change::Updated } else { Change::Created },
    });
    Ok(Synced {
        request: "docs:new",
        task: key.to_string(),
        dry_run: options.dry_run,
        files: changes.collect(),
        source: key.source(),
        filled: Vec::new(),
        unproven: Vec::new(),
    })
}

/// Returns the index with one more task.
fn with_task(index: &str, key: &TaskKey, title: &str) -> Result<String> {
    let name = TaskName { id: key.id.clone(), slug: None };
    match name.find(index) {
        Ok(there) => {
            return Err(Refusal::new(
                Kind::Usage,
                format!("`{INDEX}` has a task `{}` already: `{there}`", key.id),
            )
            .hint("take another number")
            .into());
        }
        Err(MirrorError::Unknown(_)) => {}
        Err(err) => return Err(err.into()),
    }
    let mut index: Value = serde_json::from_str(index.strip_prefix('\u{feff}').unwrap_or(index))?;
    if let Some(items) = index["items"].as_array_mut() {
        items.push(json!({"id": key.id, "slug": key.slug, "title": title}));
    }
    Ok(serde_json::to_string_pretty(&index)? + "\n")
}
