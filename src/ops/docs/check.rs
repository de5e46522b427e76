//! Reads the project's documents and finds references to what does not exist.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use anyhow::Result;

use super::super::{Context, plan};
use crate::guardrail::docs::known::PACKAGE;
use crate::guardrail::docs::{self, Document, Finding, Known, Places, Rule, There, paths, policy};
use crate::guardrail::spec;
use crate::pipeline::builtin;
use crate::sys::beneath::{Beneath, BeneathError};

/// Documents in the root, and the folders that hold documents.
const FILES: [&str; 2] = ["README.md", "AGENTS.md"];
const FOLDERS: [&str; 6] = [".agent", ".ai-dev-tasks", "docs", "tasks", "skills", "templates"];
/// A larger document is not read.
const LARGEST: u64 = 16 << 20;
/// A larger `package.json` or makefile is not read.
const LARGEST_KNOWN: u64 = 4 << 20;

/// What was checked.
#[derive(Debug, Default)]
pub struct Checked {
    /// The documents that were read, by the bytes of their names.
    pub documents: Vec<String>,
    pub findings: Vec<Located>,
}

/// A finding and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    pub file: String,
    /// From 1; the column counts characters.
    pub line: usize,
    pub column: usize,
    pub finding: Finding,
}

/// Checks the usual documents, and those that the pathspecs `more` name.
pub fn check(ctx: &Context, more: &[String]) -> Result<Checked> {
    let root = &ctx.layout.root;
    let tree = Tree::open(root)?;
    let read = |path: &str| {
        let content = tree.beneath.read(Path::new(path), LARGEST_KNOWN).ok().flatten()?;
        Some(String::from_utf8_lossy(&content.bytes).into_owned())
    };
    let config = plan::load(ctx)?;
    let declared = config.pipelines.iter().map(|pipeline| pipeline.id.to_string());
    let known = Known::read(&read, declared.chain(builtin::IDS.iter().map(|id| (*id).to_owned())));
    let mut checked = Checked::default();
    if let Some((line, column, reason)) = &known.bad_package {
        let suggestion = Some("mend it: without it nobody knows the scripts".to_owned());
        checked.findings.push(Located {
            file: PACKAGE.to_owned(),
            line: *line,
            column: *column,
            finding: Finding { at: 0, rule: Rule::Package, text: reason.clone(), suggestion, path: None },
        });
    }
    if let Some(finding) = policy::judge(&read) {
        checked.findings.push(Located {
            file: finding.path.clone().unwrap_or_default(),
            line: 1,
            column: 1,
            finding,
        });
    }
    if let Some(text) = spec::bad_index(&|path| Ok(read(path))) {
        let like = r#"it looks like `{ "items": [{ "id": "0101", "slug": "search", "title": "Search" }] }`"#;
        let suggestion = Some(like.to_owned());
        let finding = Finding { at: 0, rule: Rule::TasksIndex, text, suggestion, path: None };
        checked.findings.push(Located { file: spec::INDEX.to_owned(), line: 1, column: 1, finding });
    }
    for path in documents(ctx, more)? {
        // What names cannot show is shown as a replacement character.
        let file = path.to_string_lossy().into_owned();
        let bytes = match tree.beneath.read(&path, LARGEST) {
            Ok(Some(content)) => content.bytes,
            // It is gone, or no regular file: nothing that a reader of the repository would see.
            Ok(None) | Err(BeneathError::Link(_) | BeneathError::NotA { .. }) => continue,
            Err(err) => {
                let text = match err {
                    BeneathError::Path(err) => err.source.to_string(),
                    BeneathError::TooLarge { limit, .. } => format!("it is larger than {limit} bytes"),
                    err => err.to_string(),
                };
                let finding = Finding { at: 0, rule: Rule::Unreadable, text, suggestion: None, path: None };
                checked.findings.push(Located { file: file.clone(), line: 1, column: 1, finding });
                checked.documents.push(file);
                continue;
            }
        };
        let text = String::from_utf8_lossy(&bytes);
        let document = Document::parse(&text);
        let mut seen = HashSet::new();
        let mut lines = docs::Lines::new(&text);
        for reference in docs::references(&document) {
            let Some(finding) = docs::judge(&file, &document, reference, &known, &tree) else { continue };
            // The same reference is reported once.
            if seen.insert((finding.rule, finding.text.clone())) {
                let (line, column) = lines.place(finding.at);
                checked.findings.push(Located { file: file.clone(), line, column, finding });
            }
        }
        checked.documents.push(file);
    }
    let missing = |located: &Located| match located.finding.rule {
        Rule::Path | Rule::Link => located.finding.path.clone(),
        _ => None,
    };
    let paths: Vec<_> = checked
        .findings
        .iter()
        .filter_map(missing)
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    if !paths.is_empty() {
        let expected = ctx.repo.expected_missing(root, &paths)?;
        checked.findings.retain(|located| missing(located).is_none_or(|path| !expected.contains(&path)));
    }
    checked
        .findings
        .sort_by(|a, b| (a.file.as_bytes(), a.line, a.column).cmp(&(b.file.as_bytes(), b.line, b.column)));
    Ok(checked)
}

/// Returns the documents to check, sorted by the bytes of their names.
fn documents(ctx: &Context, more: &[String]) -> Result<Vec<PathBuf>> {
    let root = &ctx.layout.root;
    let usual: Vec<&str> = FILES.iter().chain(&FOLDERS).copied().collect();
    let mut found: Vec<_> =
        ctx.repo.files_below(root, &usual)?.into_iter().filter(|path| is_usual(path)).collect();
    if !more.is_empty() {
        let is_markdown = |path: &PathBuf| paths::is_markdown(&path.to_string_lossy());
        found.extend(ctx.repo.files_below(root, more)?.into_iter().filter(is_markdown));
        found.sort_unstable_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
        found.dedup();
    }
    Ok(found)
}

fn is_usual(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    if FILES.iter().any(|file| file.as_bytes() == bytes) {
        return true;
    }
    let mut parts = path.iter();
    let first = parts.next();
    let in_folder = FOLDERS.iter().any(|folder| first == Some(std::ffi::OsStr::new(folder)));
    let is_markdown = bytes.len() > 3 && bytes[bytes.len() - 3..].eq_ignore_ascii_case(b".md");
    let is_skipped = |part: &std::ffi::OsStr| part.to_str().is_some_and(paths::is_skipped_folder);
    in_folder
        && is_markdown
        && parts.clone().count() > 0
        && !path.parent().is_some_and(|it| it.iter().any(is_skipped))
}

/// The files of the work tree, looked at once each.
struct Tree {
    beneath: Beneath,
    root: PathBuf,
    seen: RefCell<HashMap<String, There>>,
    /// How many more folders are listed for the sake of a suggestion.
    listings: Cell<u32>,
    anchors: RefCell<BTreeMap<String, Option<Rc<HashSet<String>>>>>,
}

impl Tree {
    fn open(root: &Path) -> Result<Self> {
        Ok(Self {
            beneath: Beneath::open(root)?,
            root: root.to_owned(),
            seen: RefCell::default(),
            listings: Cell::new(500),
            anchors: RefCell::default(),
        })
    }

    /// Looks at a path, through links as long as they stay below the root.
    fn look(&self, path: &Path) -> There {
        let mut rest: Vec<_> = path.components().rev().map(|part| part.as_os_str().to_owned()).collect();
        let mut at = PathBuf::new();
        let mut hops = 0;
        while let Some(part) = rest.pop() {
            match Path::new(&part).components().next() {
                Some(Component::Normal(_)) => {}
                Some(Component::CurDir) => continue,
                Some(Component::ParentDir) if at.pop() => continue,
                _ => return There::Unknown,
            }
            let next = at.join(&part);
            let found = match self.root.join(&next).symlink_metadata() {
                Ok(found) => found,
                Err(err) => {
                    use std::io::ErrorKind::{InvalidInput, NotADirectory, NotFound};
                    return match err.kind() {
                        // A name with a NUL, and one that is too long, cannot be there either.
                        NotFound | NotADirectory | InvalidInput | std::io::ErrorKind::InvalidFilename => {
                            There::Nothing
                        }
                        _ => There::Unknown,
                    };
                }
            };
            if !found.is_symlink() {
                at = next;
                continue;
            }
            hops += 1;
            let Ok(target) = std::fs::read_link(self.root.join(&next)) else { return There::Unknown };
            let inside = match target.is_absolute() {
                true => match target.strip_prefix(&self.root) {
                    Ok(inside) => {
                        at = PathBuf::new();
                        inside.to_owned()
                    }
                    Err(_) => return There::Unknown,
                },
                false => target,
            };
            if hops > 40 {
                return There::Nothing;
            }
            rest.extend(inside.components().rev().map(|part| part.as_os_str().to_owned()));
        }
        match self.root.join(&at).symlink_metadata() {
            Ok(found) if found.is_dir() => There::Folder,
            Ok(_) => There::File,
            Err(_) => There::Nothing,
        }
    }
}

impl Places for Tree {
    fn at(&self, path: &str) -> There {
        if let Some(there) = self.seen.borrow().get(path) {
            return *there;
        }
        let there = self.look(Path::new(path));
        self.seen.borrow_mut().insert(path.to_owned(), there);
        there
    }

    fn names(&self, folder: &str) -> Vec<String> {
        // A suggestion only, never one from outside, and no reason to wait for long.
        let left = self.listings.get();
        self.listings.set(left.saturating_sub(1));
        if left == 0 || self.at(folder) != There::Folder || self.root.join(folder).is_symlink() {
            return Vec::new();
        }
        let entries = std::fs::read_dir(self.root.join(folder)).into_iter().flatten();
        let mut names: Vec<_> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).take(2_000).collect();
        names.sort_unstable();
        names
    }

    fn anchors(&self, path: &str) -> Option<Rc<HashSet<String>>> {
        if let Some(known) = self.anchors.borrow().get(path) {
            return known.clone();
        }
        let content = self.beneath.read(Path::new(path), LARGEST).ok().flatten();
        let anchors =
            content.map(|content| Rc::new(Document::parse(&String::from_utf8_lossy(&content.bytes)).anchors));
        self.anchors.borrow_mut().insert(path.to_owned(), anchors.clone());
        anchors
    }
}
