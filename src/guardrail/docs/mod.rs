//! References that a document makes, and whether what they name exists (`contract-guardrails.md` §3.1).
//!
//! A document is read once: [`Document::parse`] finds what is code, link and text, [`references`]
//! what it refers to. [`judge`] compares that with what the project has. Files are the caller's.

pub mod commands;
pub mod evidence;
pub mod judge;
pub mod known;
pub mod markdown;
pub mod mirror;
pub mod paths;
pub mod slug;

pub use judge::{Finding, Places, Rule, There, judge};
pub use known::Known;
pub use markdown::Document;

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

/// Returns the line and the column of a byte of `text`, both from 1; columns are characters.
pub fn place(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (line, text[start..at].chars().count() + 1)
}
