//! Whether what a document refers to exists.

use std::collections::HashSet;

use super::commands::{Mention, What};
use super::known::{Known, Names, is_cargo_command};
use super::paths::{Link, is_made, is_markdown};
use super::{Document, Reference, Target};
use crate::pipeline::{listing, nearest};

/// What can be wrong with a document. The first three have the names of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    Script,
    Pipeline,
    Path,
    MakeTarget,
    JustRecipe,
    CargoAlias,
    Link,
    Anchor,
    Unreadable,
    Package,
    TasksFile,
    TasksPolicy,
    TasksIndex,
}

impl Rule {
    /// Returns the name of the rule in answers.
    pub fn id(self) -> &'static str {
        match self {
            Self::Script => "npm-script-missing",
            Self::Pipeline => "pipeline-id-missing",
            Self::Path => "backticked-path-missing",
            Self::MakeTarget => "make-target-missing",
            Self::JustRecipe => "just-recipe-missing",
            Self::CargoAlias => "cargo-alias-missing",
            Self::Link => "link-missing",
            Self::Anchor => "anchor-missing",
            Self::Unreadable => "document-unreadable",
            Self::Package => "package-json-invalid",
            Self::TasksFile => "tasks-file-too-large",
            Self::TasksPolicy => "tasks-policy-invalid",
            Self::TasksIndex => "tasks-index-invalid",
        }
    }

    /// Returns what is wrong, in a sentence about what a document says.
    pub fn said_of(self, text: &str) -> String {
        match self {
            Self::Script => format!("`{text}`: package.json has no such script"),
            Self::Pipeline => format!("`{text}`: there is no such pipeline"),
            Self::Path => format!("`{text}` does not exist"),
            Self::MakeTarget => format!("`{text}`: the makefile has no such target"),
            Self::JustRecipe => format!("`{text}`: the justfile has no such recipe"),
            Self::CargoAlias => format!("`{text}`: cargo has no such command, and the project no such alias"),
            Self::Link => format!("the link `{text}` leads nowhere"),
            Self::Anchor => format!("the link `{text}` names no heading"),
            Self::Unreadable => format!("the document cannot be read: {text}"),
            Self::Package => format!("package.json is no JSON: {text}"),
            Self::TasksFile => format!("docs/TASKS.md is too long: {text}"),
            Self::TasksPolicy => format!("the archive policy is not valid: {text}"),
            Self::TasksIndex => format!("tasks/index.json is no list of tasks: {text}"),
        }
    }
}

/// A reference to something that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The byte of the document at which it begins.
    pub at: usize,
    pub rule: Rule,
    /// What the document says.
    pub text: String,
    /// What to say instead, or what there is.
    pub suggestion: Option<String>,
    /// The path that is missing, for rules about paths: it may be one that nobody expects to find.
    pub path: Option<String>,
}

/// What stands at a path of the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum There {
    File,
    Folder,
    Nothing,
    /// It cannot be seen, or leads out of the repository.
    Unknown,
}

/// The files of a repository. Paths are relative to its root, with slashes.
pub trait Places {
    /// Returns what stands at a path; `.` is the root.
    fn at(&self, path: &str) -> There;
    /// Returns the names in a folder.
    fn names(&self, folder: &str) -> Vec<String>;
    /// Returns the anchors of another document, or nothing if it cannot be read.
    fn anchors(&self, path: &str) -> Option<std::rc::Rc<HashSet<String>>>;
}

/// Returns what is wrong with a reference of the document `file`, if anything is.
pub fn judge(
    file: &str,
    document: &Document<'_>,
    reference: Reference,
    known: &Known,
    places: &dyn Places,
) -> Option<Finding> {
    let Reference { at, to } = reference;
    match to {
        Target::Command(mention) => command(at, mention, known, places),
        Target::Path(path) => backticked(at, path, places),
        Target::Link(to) => link(at, file, document, to, places),
    }
}

fn command(at: usize, mention: Mention, known: &Known, places: &dyn Places) -> Option<Finding> {
    // Whoever went to a folder of the repository means the project in there. A folder that does not
    // exist is the clone that the reader has just made.
    let elsewhere = mention.folder.as_deref().is_some_and(|folder| places.at(folder) == There::Folder);
    if elsewhere && mention.what != What::Pipeline {
        return None;
    }
    let nothing = Names::default();
    let (rule, names, file) = match mention.what {
        What::Script if known.bad_package.is_some() => return None,
        What::Script => (Rule::Script, known.scripts.as_ref(), "package.json"),
        What::Pipeline => (Rule::Pipeline, Some(&known.pipelines), ""),
        What::MakeTarget => (Rule::MakeTarget, known.targets.as_ref(), "makefile"),
        What::JustRecipe => (Rule::JustRecipe, known.recipes.as_ref(), "justfile"),
        What::CargoAlias if is_cargo_command(&mention.name) => return None,
        What::CargoAlias => (Rule::CargoAlias, Some(&known.aliases), ""),
    };
    let there = names.unwrap_or(&nothing);
    if there.may_have(&mention.name) || there.may_have(&mention.long) {
        return None;
    }
    // `npm run env` is npm's own, and bun runs files by the same word.
    if mention.what == What::Script
        && ((mention.name == "env" && mention.words.starts_with("npm"))
            || (mention.words == "bun run" && mention.long.contains(['/', '.'])))
    {
        return None;
    }
    // make takes a file that exists for a target.
    if mention.what == What::MakeTarget && places.at(&mention.name) == There::File {
        return None;
    }
    let all = || there.names.iter().map(String::as_str).filter(|name| !name.starts_with('.'));
    let suggestion = match (names, nearest(&mention.name, all())) {
        (None, _) => format!("there is no {file}"),
        (_, Some(near)) => format!("did you mean `{} {near}`?", mention.words),
        _ if rule == Rule::CargoAlias => {
            format!("cargo has no such command; aliases of `.cargo/config.toml`: {}", listing(all()))
        }
        _ if rule == Rule::Pipeline => format!("pipelines here: {}", listing(all())),
        _ => format!("the {file} has: {}", listing(all())),
    };
    let text = format!("{} {}", mention.words, mention.name);
    Some(Finding { at, rule, text, suggestion: Some(suggestion), path: None })
}

fn backticked(at: usize, path: String, places: &dyn Places) -> Option<Finding> {
    if !is_of_this_repository(&path, places) || places.at(&path) != There::Nothing {
        return None;
    }
    let suggestion = similar(&path, places);
    Some(Finding { at, rule: Rule::Path, text: path.clone(), suggestion, path: Some(path) })
}

/// Whether the first part of a path is in the root. `.git` is git's and no part of the project.
fn is_of_this_repository(path: &str, places: &dyn Places) -> bool {
    let first = path.split('/').next().unwrap_or(path);
    first != ".git" && places.at(first) != There::Nothing
}

fn link(at: usize, file: &str, document: &Document<'_>, link: Link, places: &dyn Places) -> Option<Finding> {
    let finding =
        |rule, suggestion, path| Some(Finding { at, rule, text: link.text.clone(), suggestion, path });
    if link.path.is_empty() {
        let anchor = link.anchor.as_deref()?;
        if has_anchor(&document.anchors, anchor) || link.is_placeholder() {
            return None;
        }
        return finding(Rule::Anchor, near_anchor(&document.anchors, "", anchor), None);
    }
    let path = link.resolve(file)?;
    if is_made(&path) || path == ".git" || path.starts_with(".git/") {
        return None;
    }
    // A path from the top may be one of a web site.
    if link.path.starts_with('/') && !is_of_this_repository(&path, places) {
        return None;
    }
    let target = match places.at(&path) {
        There::Unknown => return None,
        There::Nothing if link.is_placeholder() => return None,
        There::Nothing => {
            let suggestion = similar(&path, places);
            return finding(Rule::Link, suggestion, Some(path));
        }
        There::File => path,
        // What a code host shows below a folder.
        There::Folder if path == "." => "README.md".to_owned(),
        There::Folder => format!("{path}/README.md"),
    };
    let anchor = link.anchor.as_deref()?;
    if !is_markdown(&target) || link.is_placeholder() {
        return None;
    }
    let anchors = places.anchors(&target)?;
    if has_anchor(&anchors, anchor) {
        return None;
    }
    let before = link.text.split('#').next().unwrap_or("");
    finding(Rule::Anchor, near_anchor(&anchors, before, anchor), None)
}

fn has_anchor(anchors: &HashSet<String>, anchor: &str) -> bool {
    let own = anchor.strip_prefix("user-content-").unwrap_or(anchor);
    // The top of the page, and a line of the source.
    let is_line = anchor.strip_prefix('L').is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_digit())
            && rest.bytes().all(|byte| byte.is_ascii_digit() || b"-LC".contains(&byte))
    });
    anchor.is_empty() || anchor == "top" || is_line || anchors.contains(own)
}

fn near_anchor(anchors: &HashSet<String>, before: &str, anchor: &str) -> Option<String> {
    let mut sorted: Vec<_> = anchors.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let lower = anchor.to_lowercase();
    let near =
        sorted.iter().copied().find(|it| *it == lower).or_else(|| nearest(anchor, sorted.iter().copied()));
    near.map(|near| format!("did you mean `{before}#{near}`?"))
}

/// Returns a hint at a path that is there and looks like `path`: the part that is missing, by the
/// names beside it.
fn similar(path: &str, places: &dyn Places) -> Option<String> {
    let mut there = String::new();
    let mut parts = path.split('/');
    for part in parts.by_ref() {
        let next = if there.is_empty() { part.to_owned() } else { format!("{there}/{part}") };
        if places.at(&next) != There::Nothing {
            there = next;
            continue;
        }
        let names = places.names(if there.is_empty() { "." } else { &there });
        let near = nearest(part, names.iter().map(String::as_str))?;
        let near = if there.is_empty() { near.to_owned() } else { format!("{there}/{near}") };
        let rest: Vec<_> = parts.collect();
        let whole = std::iter::once(near.as_str()).chain(rest).collect::<Vec<_>>().join("/");
        return (places.at(&whole) != There::Nothing).then(|| format!("did you mean `{whole}`?"));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use super::super::references;
    use super::*;

    /// A repository as a list of its files.
    struct Files(BTreeMap<&'static str, &'static str>);

    impl Places for Files {
        fn at(&self, path: &str) -> There {
            let below = format!("{path}/");
            match path {
                "." => There::Folder,
                _ if self.0.contains_key(path) => There::File,
                _ if self.0.keys().any(|file| file.starts_with(&below)) => There::Folder,
                _ => There::Nothing,
            }
        }

        fn names(&self, folder: &str) -> Vec<String> {
            let below = if folder == "." { String::new() } else { format!("{folder}/") };
            let inside = self.0.keys().filter_map(|file| file.strip_prefix(below.as_str()));
            inside.map(|name| name.split('/').next().unwrap_or(name).to_owned()).collect()
        }

        fn anchors(&self, path: &str) -> Option<Rc<HashSet<String>>> {
            Some(Rc::new(Document::parse(self.0.get(path)?).anchors))
        }
    }

    fn findings(text: &str) -> Vec<String> {
        let places = Files(BTreeMap::from([
            ("package.json", r#"{"scripts": {"build": "x", "build.prod": "x", "test:unit": "x"}}"#),
            ("Makefile", "all: x\n"),
            (".cargo/config.toml", "[alias]\nxtask = 'run'\n"),
            ("src/main.ts", ""),
            ("docs/a.md", "# One heading\n"),
            ("docs/README.md", "# Docs\n"),
            ("docs/img 1.png", ""),
        ]));
        let read = |path: &str| places.0.get(path).map(|text| (*text).to_owned());
        let known = Known::read(&read, ["gate".to_owned(), "diagnostics".to_owned()]);
        let document = Document::parse(text);
        let found = references(&document).into_iter();
        found
            .filter_map(|reference| judge("docs/x.md", &document, reference, &known, &places))
            .map(|found| format!("{}: {}", found.rule.id(), found.text))
            .collect()
    }

    #[test]
    fn what_does_not_exist_is_found() {
        let cases: &[(&str, &[&str])] = &[
            ("`npm run build` npm run test:unit npm run build.prod.", &[]),
            ("npm run missing", &["npm-script-missing: npm run missing"]),
            ("```\npnpm run missing\n```", &["npm-script-missing: pnpm run missing"]),
            ("`npm run env` `bun run src/main.ts`", &[]),
            ("codex-orchestrator start gate, git orchestrate start diagnostics", &[]),
            ("`codex-orchestrator start x`", &["pipeline-id-missing: codex-orchestrator start x"]),
            ("`git orchestrate start x`", &["pipeline-id-missing: git orchestrate start x"]),
            ("`make all` `make docs/a.md`", &[]),
            ("`make lint`", &["make-target-missing: make lint"]),
            ("`just lint`", &["just-recipe-missing: just lint"]),
            ("`cargo test` `cargo xtask` `cargo nextest run`", &[]),
            ("`cargo lints`", &["cargo-alias-missing: cargo lints"]),
            ("`src/main.ts` `src/` `./src/main.ts:3` `\"src/main.ts\"`", &[]),
            ("`src/gone.ts`", &["backticked-path-missing: src/gone.ts"]),
            ("`./src/gone.ts:3:1-4#x`", &["backticked-path-missing: src/gone.ts"]),
            ("`src/gone.ts:3`", &["backticked-path-missing: src/gone.ts"]),
            ("`elsewhere/gone.ts` src/gone.ts `.git/hooks/x`", &[]),
            ("```\n`src/gone.ts`\n```", &[]),
            ("[a](a.md) [b](../src/main.ts) [c](img%201.png) [d](.) [e](https://x/gone)", &[]),
            ("[a](gone.md)", &["link-missing: gone.md"]),
            ("![a](gone.png)", &["link-missing: gone.png"]),
            ("[a][b]\n\n[b]: gone.md", &["link-missing: gone.md"]),
            ("[a](a.md#one-heading) [b](../docs#docs) [c](#) [d](#top) [e](a.md#L3)", &[]),
            ("[a](a.md#two)", &["anchor-missing: a.md#two"]),
            ("[a](a.md#One-heading)", &["anchor-missing: a.md#One-heading"]),
            ("# Here\n[a](#here) [b](#there)", &["anchor-missing: #there"]),
            ("[a](../../outside.md) [b](/about) [c](../out/x/y) [d](<slug>.md)", &[]),
            ("[a](/docs/gone.md)", &["link-missing: /docs/gone.md"]),
            ("`[a](gone.md)`", &[]),
            ("```sh\ncd docs\nnpm run gone\n```", &[]),
            ("```sh\ncd clone\nnpm run gone\n```", &["npm-script-missing: npm run gone"]),
        ];
        for (text, expected) in cases {
            assert_eq!(findings(text), *expected, "{text}");
        }
    }

    #[test]
    fn a_finding_says_what_to_write_instead() {
        let places = Files(BTreeMap::from([("src/main.ts", ""), ("docs/a.md", "# One heading\n")]));
        let known = Known { pipelines: ["gate"].into_iter().collect(), ..Known::default() };
        let cases = [
            ("npm run x", "there is no package.json"),
            ("`codex-orchestrator start gaet`", "did you mean `codex-orchestrator start gate`?"),
            ("`codex-orchestrator start other`", "pipelines here: gate"),
            ("`src/mian.ts`", "did you mean `src/main.ts`?"),
            ("`docs/../scr/main.ts` [x](../scr/main.ts)", "did you mean `src/main.ts`?"),
            ("[x](a.md#one-headin)", "did you mean `a.md#one-heading`?"),
            ("[x](a.md#One-Heading)", "did you mean `a.md#one-heading`?"),
        ];
        for (text, expected) in cases {
            let document = Document::parse(text);
            let found = references(&document);
            let found: Vec<_> = found
                .into_iter()
                .filter_map(|it| judge("docs/x.md", &document, it, &known, &places))
                .collect();
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert_eq!(found[0].suggestion.as_deref(), Some(expected), "{text}");
        }
    }
}
