//! Looks for words in the lines that a change adds, of which no more than a piece is in memory.

use std::collections::BTreeMap;

use super::super::Places;
use crate::pipeline::guardrails::LONGEST_WORD;

/// So many places of a file are named.
const NAMED: usize = 3;

/// The lines of one file that hold such a word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    pub count: u64,
    /// The first ones: their lines, and the word.
    pub(super) first: Vec<(u64, String)>,
}

/// What was found, by path.
pub type Found = BTreeMap<String, Hits>;

/// Looks for words in lines that come in pieces.
#[derive(Debug)]
pub struct Scan<'a> {
    words: &'a [String],
    places: &'a Places,
    found: Found,
    /// The end of the last piece and the present one.
    window: Vec<u8>,
    /// Whether the window lacks the beginning of the line.
    is_cut: bool,
    /// Whether the present line has a word already.
    is_hit: bool,
}

impl<'a> Scan<'a> {
    /// Begins to look for these words in code.
    pub fn new(words: &'a [String], places: &'a Places) -> Self {
        Self { words, places, found: Found::new(), window: Vec::new(), is_cut: false, is_hit: false }
    }

    /// Looks at a line, or a piece of one.
    pub fn look(&mut self, path: &str, line: u64, piece: &[u8], begins: bool, ends: bool) {
        if begins {
            self.window.clear();
            (self.is_cut, self.is_hit) = (false, false);
        }
        if self.is_hit || !self.places.is_code(path) {
            return;
        }
        self.window.extend_from_slice(piece);
        // A word at an edge is for the next piece, which brings what is around it.
        let from = usize::from(self.is_cut);
        let to = self.window.len() - usize::from(!ends && !self.window.is_empty());
        if let Some(word) = self.words.iter().find(|word| has(&self.window, word.as_bytes(), from, to)) {
            self.is_hit = true;
            let hits = self.found.entry(path.to_owned()).or_default();
            hits.count += 1;
            if hits.first.len() < NAMED {
                hits.first.push((line, word.clone()));
            }
        }
        let kept = self.window.len().saturating_sub(LONGEST_WORD + 2);
        self.is_cut |= kept > 0;
        self.window.drain(..kept);
    }

    /// Returns what was found.
    pub fn found(self) -> Found {
        self.found
    }
}

/// Adds what was found in another state of the same files: of two answers about a file the larger counts.
pub fn join(found: &mut Found, other: Found) {
    for (path, hits) in other {
        let known = found.entry(path).or_default();
        if known.count < hits.count {
            *known = hits;
        }
    }
}

/// Whether a text has a word between two places; `legacy_mode` and `useLegacy` have `legacy`.
fn has(text: &[u8], word: &[u8], from: usize, to: usize) -> bool {
    let is_same = |at: usize| text[at..at + word.len()].eq_ignore_ascii_case(word);
    let is_free = |at: usize| {
        let end = at + word.len();
        let before = at.checked_sub(1).map(|at| text[at]);
        let after = text.get(end).copied();
        let is_letter =
            |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte >= 0x80);
        let begins = !is_letter(before)
            || (text[at].is_ascii_uppercase()
                && before.is_some_and(|byte| !byte.is_ascii_uppercase() && byte < 0x80));
        let ends = !is_letter(after)
            || (!text[end - 1].is_ascii_uppercase() && after.is_some_and(|byte| byte.is_ascii_uppercase()));
        begins && ends
    };
    let last = to.min(text.len()).checked_sub(word.len());
    !word.is_empty() && last.is_some_and(|last| (from..=last).any(|at| is_same(at) && is_free(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole_also_within_names() {
        let hit = |text: &str| has(text.as_bytes(), b"legacy", 0, text.len());
        for text in [
            "legacy",
            "a Legacy.",
            "LEGACY_MODE",
            "is_legacy_",
            "useLegacy",
            "useLegacyMode",
            "legacyMode",
            "LegacyMode",
            "x2Legacy",
        ] {
            assert!(hit(text), "{text}");
        }
        for text in ["", "legac", "legacyx", "xlegacy", "LEGACYMODE", "legacy1", "élegacy", "LEGACYé"] {
            assert!(!hit(text), "{text}");
        }
        assert!(!has(b"compatible", b"compat", 0, 10));
    }

    #[test]
    fn a_word_is_found_wherever_a_line_is_cut() {
        let words = ["legacy".to_owned()];
        let places = Places { code: vec!["src/".into()], specs: Vec::new() };
        let line = format!("{}a legacy b{}", "x".repeat(100), " y".repeat(100));
        for cut in 0..line.len() {
            for second in [cut + 1, line.len()] {
                let mut scan = Scan::new(&words, &places);
                let (a, rest) = line.as_bytes().split_at(cut);
                let (b, c) = rest.split_at((second - cut).min(rest.len()));
                scan.look("src/a", 7, a, true, false);
                scan.look("src/a", 7, b, false, false);
                scan.look("src/a", 7, c, false, true);
                let hits = Hits { count: 1, first: vec![(7, "legacy".to_owned())] };
                assert_eq!(scan.found().get("src/a"), Some(&hits), "{cut} {second}");
            }
        }
        for (pieces, is_found) in [
            ([&b"xlegac"[..], b"y", b""], false),
            ([b"legac", b"yx", b""], false),
            ([b"x", b"legacy", b""], false),
            ([b"legacy", b"", b"x"], false),
            ([b"legacy", b"", b""], true),
        ] {
            let mut scan = Scan::new(&words, &places);
            for (at, piece) in pieces.iter().enumerate() {
                scan.look("src/a", 1, piece, at == 0, at == 2);
            }
            assert_eq!(!scan.found().is_empty(), is_found, "{pieces:?}");
        }
        let mut scan = Scan::new(&words, &places);
        scan.look("docs/a", 1, b"legacy", true, true);
        scan.look("src/a", 1, b"nothing", true, true);
        assert!(scan.found().is_empty());
    }
}
