//! The part of a long output that is worth keeping: its end, its two ends, or a few lines of it.

use std::collections::VecDeque;

use super::untrusted::{after_carriage_returns, strip_escapes};

/// How many bytes of a stream are kept for summaries and error files.
pub const TAIL_BYTES: usize = 65_536;

/// How many bytes of text an error file holds of a stream.
pub const ERROR_BYTES: usize = 8_192;

/// How many UTF-16 units a stage's summary quotes.
pub const SUMMARY_UNITS: usize = 240;

/// Room for the line that says what was left out.
const MARKER_BYTES: usize = 64;

/// The last bytes of a stream.
#[derive(Clone, Debug)]
pub struct Tail {
    kept: VecDeque<u8>,
    limit: usize,
    total: u64,
}

impl Default for Tail {
    fn default() -> Self {
        Self::new(TAIL_BYTES)
    }
}

impl Tail {
    /// Returns an empty tail that keeps the last `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { kept: VecDeque::new(), limit, total: 0 }
    }

    /// Takes the next bytes of the stream; copies at most the limit.
    pub fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let bytes = &bytes[bytes.len().saturating_sub(self.limit)..];
        let excess = (self.kept.len() + bytes.len()).saturating_sub(self.limit);
        self.kept.drain(..excess);
        self.kept.extend(bytes);
    }

    /// Returns how long the stream is by now.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether the stream is longer than what is kept.
    pub fn truncated(&self) -> bool {
        self.total > self.kept.len() as u64
    }

    /// Returns the kept bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let (front, back) = self.kept.as_slices();
        [front, back].concat()
    }

    /// Returns the kept bytes as text, from the first whole character on.
    pub fn text(&self) -> String {
        let bytes = self.bytes();
        let start = if self.truncated() { continuation_bytes(&bytes) } else { 0 };
        String::from_utf8_lossy(&bytes[start..]).into_owned()
    }
}

/// The first and the last bytes of a stream, within one budget.
///
/// A quarter is for the head, since the cause of a failure mostly stands at the end.
#[derive(Clone, Debug)]
pub struct HeadTail {
    head: Vec<u8>,
    head_limit: usize,
    tail: Tail,
    budget: usize,
}

impl Default for HeadTail {
    fn default() -> Self {
        Self::new(ERROR_BYTES)
    }
}

impl HeadTail {
    /// Returns an empty one whose text will have at most `budget` bytes (at least 256).
    pub fn new(budget: usize) -> Self {
        let budget = budget.max(256);
        let head_limit = budget / 4;
        Self { head: Vec::new(), head_limit, tail: Tail::new(budget - head_limit), budget }
    }

    /// Returns the two ends of a whole text.
    pub fn of(text: &str, budget: usize) -> Self {
        let mut ends = Self::new(budget);
        ends.push(text.as_bytes());
        ends
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = self.head_limit - self.head.len();
        let (head, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(head);
        self.tail.push(rest);
    }

    /// Whether [`HeadTail::text`] leaves something out.
    pub fn truncated(&self) -> bool {
        self.tail.truncated() || self.whole().len() > self.budget
    }

    fn whole(&self) -> String {
        let mut bytes = self.head.clone();
        bytes.extend(&self.tail.kept);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the text, with a line in between that says how much was left out.
    pub fn text(&self) -> String {
        if !self.truncated() {
            return self.whole();
        }
        // An unfinished character at the cut is left out, not shown as damage.
        let head_end = self.head.len() - unfinished_bytes(&self.head);
        let head = String::from_utf8_lossy(&self.head[..head_end]);
        let head = &head[..boundary_before(&head, self.head_limit)];
        let tail = self.tail.bytes();
        let tail_start = if self.tail.truncated() { continuation_bytes(&tail) } else { 0 };
        let tail = String::from_utf8_lossy(&tail[tail_start..]);
        let room = self.budget - self.head_limit - MARKER_BYTES;
        let tail = &tail[boundary_after(&tail, tail.len().saturating_sub(room))..];
        let total = self.head.len() as u64 + self.tail.total();
        let left_out = total.saturating_sub((head.len() + tail.len()) as u64);
        let newline = if head.ends_with('\n') { "" } else { "\n" };
        format!("{head}{newline}… {left_out} bytes left out …\n{tail}")
    }
}

/// Which end of an output a summary quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quote {
    /// The first lines: what a success has to say.
    First,
    /// The last lines: where a failure names its cause.
    Last,
}

/// Returns the lines of `text` that a person wants to see, in at most `max_units` UTF-16 units.
///
/// Escape sequences, blank lines and overwritten progress are left out; `…` marks a cut.
pub fn summary_excerpt(text: &str, max_units: usize, quote: Quote) -> String {
    let lines = text.lines().map(|line| {
        strip_escapes(after_carriage_returns(line))
            .chars()
            .filter(|c| *c == '\t' || !c.is_control())
            .collect::<String>()
    });
    let lines = lines.map(|line| line.trim_end().to_owned()).filter(|line| !line.trim().is_empty());
    match quote {
        Quote::First => {
            let mut found = String::new();
            for line in lines {
                if !found.is_empty() {
                    found.push('\n');
                }
                found.push_str(&line);
                if units(&found) > max_units {
                    break;
                }
            }
            first_units(found.trim(), max_units)
        }
        Quote::Last => {
            let lines: Vec<String> = lines.collect();
            let Some((last, before)) = lines.split_last() else { return String::new() };
            // A line too long for the summary says what it is at its beginning.
            let mut found = first_units(last.trim(), max_units);
            for line in before.iter().rev() {
                let longer = format!("{line}\n{found}");
                if units(&longer) > max_units {
                    break;
                }
                found = longer;
            }
            found.trim().to_owned()
        }
    }
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

fn first_units(text: &str, max_units: usize) -> String {
    if units(text) <= max_units {
        return text.to_owned();
    }
    let mut left = max_units.saturating_sub(1);
    let kept = text.chars().take_while(|c| {
        let fits = c.len_utf16() <= left;
        left = left.saturating_sub(if fits { c.len_utf16() } else { left });
        fits
    });
    let mut kept: String = kept.collect();
    kept.truncate(kept.trim_end().len());
    if max_units > 0 {
        kept.push('…');
    }
    kept
}

fn boundary_before(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn boundary_after(text: &str, at: usize) -> usize {
    (at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

/// Returns how many bytes at the start continue a character that began earlier.
fn continuation_bytes(bytes: &[u8]) -> usize {
    bytes.iter().take(3).take_while(|b| **b & 0xc0 == 0x80).count()
}

/// Returns how many bytes at the end begin a character without finishing it.
fn unfinished_bytes(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(err) if err.error_len().is_none() => bytes.len() - err.valid_up_to(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_end_is_kept_however_it_came() {
        let mut tail = Tail::new(8);
        for part in ["abc", "", "defgh"] {
            tail.push(part.as_bytes());
        }
        assert_eq!((tail.text(), tail.truncated()), ("abcdefgh".to_owned(), false));
        tail.push(b"ij");
        assert_eq!((tail.text(), tail.truncated(), tail.total()), ("cdefghij".to_owned(), true, 10));
        tail.push("0123456789é".as_bytes());
        assert_eq!(tail.text(), "456789é");
    }

    #[test]
    fn both_ends_survive_a_flood() {
        let mut ends = HeadTail::default();
        ends.push(b"first line\n");
        for n in 0..4_000 {
            ends.push(format!("warning {n} ü\n").as_bytes());
        }
        ends.push(b"FATAL: the real cause\n");
        let text = ends.text();
        assert!(ends.truncated());
        assert!(text.starts_with("first line\n"), "{text}");
        assert!(text.ends_with("FATAL: the real cause\n"), "{text}");
        assert!(text.contains(" bytes left out …\n"), "{text}");
        assert!(text.len() <= ERROR_BYTES && !text.contains('\u{fffd}'));
    }

    #[test]
    fn a_short_stream_is_kept_whole() {
        let text = "x".repeat(ERROR_BYTES);
        let ends = HeadTail::of(&text, ERROR_BYTES);
        assert!(!ends.truncated());
        assert_eq!(ends.text(), text);
    }

    #[test]
    fn a_summary_quotes_the_end_that_matters() {
        let mut text = "warning\n".repeat(400);
        text.push_str("\x1b[31merror: the real cause\x1b[0m\n\n");
        let last = summary_excerpt(&text, 24, Quote::Last);
        assert_eq!(last, "error: the real cause");
        let first = summary_excerpt("\n 10%\r 99%\rbuilt\n\nmore\n", 240, Quote::First);
        assert_eq!(first, "built\nmore");
        assert_eq!(summary_excerpt(&"𝄞".repeat(9), 6, Quote::Last), "𝄞𝄞…");
        assert_eq!(summary_excerpt(" \n\x1b[0m", 240, Quote::Last), "");
    }

    proptest! {
        #[test]
        fn every_cut_keeps_its_budget(
            bytes in proptest::collection::vec(any::<u8>(), 0..2_000),
            units_left in 0_usize..100,
        ) {
            let mut ends = HeadTail::new(256);
            let mut tail = Tail::new(100);
            for part in bytes.chunks(37) {
                ends.push(part);
                tail.push(part);
            }
            prop_assert!(ends.text().len() <= 256);
            prop_assert_eq!(tail.bytes(), &bytes[bytes.len().saturating_sub(100)..]);
            let text = String::from_utf8_lossy(&bytes);
            for quote in [Quote::First, Quote::Last] {
                prop_assert!(units(&summary_excerpt(&text, units_left, quote)) <= units_left);
            }
        }
    }
}
