//! References that a document makes, and whether what they name exists (`contract-guardrails.md` §3.1).
//!
//! A document is read once: [`Document::parse`] finds what is code, link and text, [`references`]
//! what it refers to. [`judge()`] compares that with what the project has. Files are the caller's.

pub mod commands;
pub mod evidence;
pub mod judge;
pub mod known;
pub mod markdown;
pub mod mirror;
pub mod paths;
pub mod policy;
pub mod slug;
pub mod tables;

pub use judge::{Finding, Places, Rule, There, judge};
pub use known::Known;
pub use markdown::Document;

/// How the guardrail is called in verdicts.
pub const RULE: &str = "docs-check";

use commands::Mention;
use paths::Link;

/// Something that a document refers to, and where in its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The byte at which it begins.
    pub at: usize,
    pub to: Target,
}

/// What a reference is to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A script, pipeline, target, recipe or alias.
    Command(Mention),
    /// A path of the repository between backticks.
    Path(String),
    /// A relative link.
    Link(Link),
}

/// Returns every reference of a document, in the order in which they stand there.
pub fn references(document: &Document<'_>) -> Vec<Reference> {
    let mut found: Vec<_> = commands::mentions(document)
        .into_iter()
        .map(|(at, mention)| Reference { at, to: Target::Command(mention) })
        .collect();
    for code in &document.codes {
        if let Some(path) = paths::backticked(&document.text[code.clone()]) {
            found.push(Reference { at: code.start, to: Target::Path(path) });
        }
    }
    for link in &document.links {
        if let Some(to) = Link::parse(&link.destination) {
            found.push(Reference { at: link.at, to: Target::Link(to) });
        }
    }
    found.sort_by_key(|reference| reference.at);
    found
}

/// Finds lines and columns of bytes that are asked for in their order.
#[derive(Clone, Debug)]
pub struct Lines<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    column: usize,
}

impl<'t> Lines<'t> {
    /// Begins at the beginning of a text.
    pub fn new(text: &'t str) -> Self {
        Self { text, at: 0, line: 1, column: 1 }
    }

    /// Returns the line and the column of a byte, both from 1; columns are characters.
    pub fn place(&mut self, at: usize) -> (usize, usize) {
        if at < self.at {
            *self = Self::new(self.text);
        }
        let passed = &self.text[self.at..at];
        self.line += memchr::memchr_iter(b'\n', passed.as_bytes()).count();
        self.column = match passed.rfind('\n') {
            Some(last) => passed[last + 1..].chars().count() + 1,
            None => self.column + passed.chars().count(),
        };
        self.at = at;
        (self.line, self.column)
    }
}
