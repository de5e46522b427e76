//! Replaces secrets in a byte stream by `[REDACTED]`, before any sink sees them.
//!
//! The result does not depend on how the stream was cut into pushes. Bytes are held back only
//! while they may be the beginning of a secret, and never more than a few KiB.

use super::rules::{CLASSES, Class, KNOWN_SECRET, LOOK_BACK, Look, TRIGGER_BYTES, TRIGGERS, Until, Verdict, unfinished_head};
use super::secrets::Secrets;

/// What stands in place of a secret.
pub const REPLACEMENT: &str = "[REDACTED]";

/// How many positions a [`Redaction`] remembers.
const POSITIONS: usize = 8;

/// What happens to a secret that was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaskMode {
    /// It is replaced.
    #[default]
    Enforce,
    /// It is only counted; the text stays as it is and is never held back.
    Shadow,
}

/// What one rule found in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    /// The rule, in kebab case, such as `private-key` or `known-secret`.
    pub rule: &'static str,
    /// How often it matched.
    pub count: u64,
    /// Where in the stream the first of these began.
    pub first_at: Vec<u64>,
}

/// Masks one stream.
///
/// Every secret found is an interval of the stream, and what is masked is the sum of all
/// intervals, so it does not matter which rule saw it first.
#[derive(Debug)]
pub struct Masker {
    secrets: Secrets,
    mode: MaskMode,
    /// The bytes at hand: some that are out already, for looking back, and all that are not.
    text: Vec<u8>,
    /// `text` in ASCII lower case.
    folded: Vec<u8>,
    /// Where `text` begins in the stream. All positions below are positions in `text`.
    base: u64,
    emitted: usize,
    next_literal: usize,
    next_trigger: usize,
    /// Up to where the last literal reached, lest its parts be counted again.
    literal_end: usize,
    /// Intervals not yet out.
    masks: Vec<(usize, usize)>,
    /// Secrets that may go on.
    open: Vec<Open>,
    /// Up to where each class has swallowed.
    swallowed: [usize; CLASSES],
    /// Where the last `[REDACTED]` ends.
    masked_to: Option<usize>,
    found: Vec<Redaction>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    class: Class,
    start: usize,
    at: usize,
}

impl Masker {
    /// Returns a masker at the start of a stream.
    pub fn new(secrets: &Secrets, mode: MaskMode) -> Self {
        Self {
            secrets: secrets.clone(),
            mode,
            text: Vec::new(),
            folded: Vec::new(),
            base: 0,
            emitted: 0,
            next_literal: 0,
            next_trigger: 0,
            literal_end: 0,
            masks: Vec::new(),
            open: Vec::new(),
            swallowed: [0; CLASSES],
            masked_to: None,
            found: Vec::new(),
        }
    }

    /// Takes the next bytes and appends to `out` what is safe by now. Returns how many secrets
    /// were found.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> u64 {
        self.text.extend_from_slice(bytes);
        let folded = self.folded.len();
        self.folded.extend_from_slice(bytes);
        self.folded[folded..].make_ascii_lowercase();
        if self.mode == MaskMode::Shadow {
            out.extend_from_slice(bytes);
        }
        self.advance(out, false)
    }

    /// Ends the stream: appends what was held back. Returns how many secrets were found in it.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> u64 {
        self.advance(out, true)
    }

    /// Returns what was found so far, one item per rule.
    pub fn redactions(&self) -> &[Redaction] {
        &self.found
    }

    /// Returns how many bytes are held back.
    pub fn held_back(&self) -> usize {
        self.text.len() - self.emitted
    }

    fn advance(&mut self, out: &mut Vec<u8>, eof: bool) -> u64 {
        let before = self.total();
        let mut safe = self.swallow(eof);
        safe = safe.min(self.find_literals(eof));
        safe = safe.min(self.find_triggers(eof));
        self.emit(safe, out);
        self.forget();
        self.total() - before
    }

    fn total(&self) -> u64 {
        self.found.iter().map(|redaction| redaction.count).sum()
    }

    /// Lets the open secrets go on. Returns where it is not yet clear whether they do.
    fn swallow(&mut self, eof: bool) -> usize {
        let mut safe = self.text.len();
        let open = std::mem::take(&mut self.open);
        for secret in open {
            safe = safe.min(self.open(secret, eof));
        }
        safe
    }

    fn open(&mut self, mut secret: Open, eof: bool) -> usize {
        let (at, over) = secret.class.swallow(&self.text, secret.at, eof);
        secret.at = at;
        if over {
            self.swallowed[secret.class.slot()] = at;
            self.masks.push((secret.start, at));
            return self.text.len();
        }
        self.swallowed[secret.class.slot()] = usize::MAX;
        self.open.push(secret);
        at
    }

    /// Finds the values of variables. Returns where one may be beginning.
    fn find_literals(&mut self, eof: bool) -> usize {
        let unfinished = match eof {
            true => self.text.len(),
            false => self.secrets.unfinished(&self.text, self.next_literal),
        };
        while let Some((start, end)) = self.secrets.find(&self.text, self.next_literal) {
            if start >= unfinished {
                break;
            }
            if start >= self.literal_end {
                self.count(KNOWN_SECRET, start);
            }
            self.literal_end = self.literal_end.max(end);
            self.masks.push((start, end));
            // Another may begin in this one and end after it.
            self.next_literal = start + 1;
        }
        self.next_literal = self.next_literal.max(unfinished);
        unfinished
    }

    /// Finds what looks like a secret. Returns where one may be beginning.
    fn find_triggers(&mut self, eof: bool) -> usize {
        let mut safe = self.text.len();
        while let Some((at, which)) = TRIGGERS.find(&self.folded, self.next_trigger) {
            let look = Look { text: &self.text, folded: &self.folded, eof };
            match TRIGGERS.judge(which, look, at) {
                Verdict::No => {}
                Verdict::Wait(hold) => {
                    self.next_trigger = at;
                    return safe.min(hold).min(unfinished_head(look));
                }
                Verdict::Found { rule, start, until: Until::Byte(end) } => {
                    self.count(rule, start);
                    self.masks.push((start, end));
                }
                Verdict::Found { rule, start, until: Until::End(class) } => {
                    // A secret of this class goes on here, and ends where this one would.
                    if start >= self.swallowed[class.slot()] {
                        self.count(rule, start);
                        safe = safe.min(self.open(Open { class, start, at: start }, eof));
                    }
                }
            }
            self.next_trigger = at + 1;
        }
        self.next_trigger = self.next_trigger.max((self.text.len() + 1).saturating_sub(TRIGGER_BYTES));
        if eof {
            return safe;
        }
        safe.min(unfinished_head(Look { text: &self.text, folded: &self.folded, eof }))
    }

    fn count(&mut self, rule: &'static str, start: usize) {
        let at = self.base + start as u64;
        let known = self.found.iter().position(|redaction| redaction.rule == rule);
        let known = known.unwrap_or_else(|| {
            self.found.push(Redaction { rule, count: 0, first_at: Vec::new() });
            self.found.len() - 1
        });
        let redaction = &mut self.found[known];
        redaction.count += 1;
        if redaction.first_at.len() < POSITIONS {
            redaction.first_at.push(at);
        }
    }

    /// Writes everything before `safe`, with one replacement per run of intervals that touch.
    fn emit(&mut self, safe: usize, out: &mut Vec<u8>) {
        let safe = safe.max(self.emitted);
        let mut masks = std::mem::take(&mut self.masks);
        let closed = masks.len();
        masks.extend(self.open.iter().map(|secret| (secret.start, secret.at)));
        let still_open = masks.split_off(closed);
        let mut all: Vec<(usize, usize)> = masks.iter().chain(&still_open).copied().collect();
        all.sort_unstable();
        let write = |out: &mut Vec<u8>, bytes: &[u8]| {
            if self.mode == MaskMode::Enforce {
                out.extend_from_slice(bytes);
            }
        };
        let mut cursor = self.emitted.max(self.masked_to.unwrap_or(0).min(safe));
        for (start, end) in all {
            if start >= safe {
                break;
            }
            if self.masked_to.is_none_or(|masked_to| start > masked_to) {
                write(out, &self.text[cursor..start.max(cursor)]);
                write(out, REPLACEMENT.as_bytes());
            }
            self.masked_to = self.masked_to.max(Some(end));
            cursor = cursor.max(end.min(safe));
        }
        write(out, &self.text[cursor..safe]);
        self.emitted = safe;
        masks.retain(|(_, end)| *end > safe);
        self.masks = masks;
    }

    /// Drops the bytes that no rule will look at again.
    fn forget(&mut self) {
        let needed = self.emitted.min(self.next_trigger).min(self.next_literal);
        let cut = needed.saturating_sub(LOOK_BACK);
        self.text.drain(..cut);
        self.folded.drain(..cut);
        self.base += cut as u64;
        for position in [&mut self.emitted, &mut self.next_trigger, &mut self.next_literal] {
            *position -= cut;
        }
        self.literal_end = self.literal_end.saturating_sub(cut);
        self.masked_to = self.masked_to.and_then(|masked_to| masked_to.checked_sub(cut));
        for (start, end) in &mut self.masks {
            (*start, *end) = (start.saturating_sub(cut), *end - cut);
        }
        for secret in &mut self.open {
            (secret.start, secret.at) = (secret.start.saturating_sub(cut), secret.at - cut);
        }
        for swallowed in &mut self.swallowed {
            if *swallowed != usize::MAX {
                *swallowed = swallowed.saturating_sub(cut);
            }
        }
    }
}
