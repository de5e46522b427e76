//! Replaces secrets in a byte stream by `[REDACTED]`, before any sink sees them.
//!
//! The result does not depend on how the stream was cut into pushes. Bytes are held back only
//! while they may be the beginning of a secret, and never more than a few KiB.

use std::fmt;

use super::class::{CLASSES, Class};
use super::rules::{KNOWN_SECRET, LOOK_BACK, Look, TRIGGER_BYTES, TRIGGERS, Until, Verdict, unfinished_head};
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

/// Without the bytes at hand, which may be a secret.
impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Masker");
        shown.field("mode", &self.mode).field("found", &self.found).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
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
        let still_open = self.open.iter().map(|secret| (secret.start, secret.at));
        let mut masks: Vec<(usize, usize)> = self.masks.iter().copied().chain(still_open).collect();
        masks.sort_unstable();
        let write = |out: &mut Vec<u8>, bytes: &[u8]| {
            if self.mode == MaskMode::Enforce {
                out.extend_from_slice(bytes);
            }
        };
        let mut cursor = self.emitted.max(self.masked_to.unwrap_or(0).min(safe));
        for (start, end) in masks {
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
        self.masks.retain(|(_, end)| *end > safe);
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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Masks a stream in parts and returns what came out, and what was found.
    fn mask(secrets: &Secrets, parts: &[&[u8]]) -> (Vec<u8>, Vec<Redaction>) {
        let mut masker = Masker::new(secrets, MaskMode::Enforce);
        let mut out = Vec::new();
        for part in parts {
            masker.push(part, &mut out);
        }
        masker.finish(&mut out);
        assert_eq!(masker.held_back(), 0);
        let mut found = masker.redactions().to_vec();
        found.sort_by_key(|redaction| redaction.rule);
        (out, found)
    }

    fn split<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect()
    }

    fn holds(text: &[u8], part: &[u8]) -> bool {
        memchr::memmem::find(text, part).is_some()
    }

    #[test]
    fn a_secret_split_over_pushes_is_masked() {
        let secrets = Secrets::new([("A_TOKEN", "hunter2secret"), ("B_TOKEN", "secretive")]);
        let (out, found) = mask(&secrets, &[b"a hunter", b"2sec", b"ret", b"ive b"]);
        assert_eq!(out, b"a [REDACTED] b");
        let known = Redaction { rule: KNOWN_SECRET, count: 1, first_at: vec![2] };
        assert_eq!(found, [known]);
    }

    #[test]
    fn ordinary_text_is_not_held_back() {
        let secrets = Secrets::new([("A_TOKEN", "hunter2secret")]);
        let mut masker = Masker::new(&secrets, MaskMode::Enforce);
        for text in ["building\n", "Enter token: ", "\n10%\r", "é", "done; password=", "\n"] {
            let mut out = Vec::new();
            assert_eq!(masker.push(text.as_bytes(), &mut out), 0);
            assert_eq!(out, text.as_bytes());
        }
        let mut out = Vec::new();
        masker.push(b"see hun", &mut out);
        assert_eq!(out, b"see ");
        masker.push(b"gary\n", &mut out);
        assert_eq!(out, b"see hungary\n");
    }

    #[test]
    fn a_secret_without_end_takes_no_memory() {
        let mut masker = Masker::new(&Secrets::default(), MaskMode::Enforce);
        let mut out = Vec::new();
        masker.push(b"token=", &mut out);
        for _ in 0..1_000 {
            masker.push(&[b'x', b'y', b'"' ^ 0x40, b'\\'].repeat(1_000), &mut out);
            assert!(masker.held_back() < 4_096 && masker.text.len() < 16_384);
        }
        masker.push(b" end", &mut out);
        masker.finish(&mut out);
        assert_eq!(out, b"token=[REDACTED] end");
    }

    #[test]
    fn shadow_counts_and_leaves_the_text() {
        let secrets = Secrets::new([("A_TOKEN", "hunter2secret")]);
        let mut masker = Masker::new(&secrets, MaskMode::Shadow);
        let mut out = Vec::new();
        masker.push(b"hunter2", &mut out);
        assert_eq!(out, b"hunter2");
        assert_eq!(masker.push(b"secret AKIA", &mut out), 1);
        assert_eq!(masker.finish(&mut out), 0);
        assert_eq!(out, b"hunter2secret AKIA");
    }

    #[test]
    fn masking_twice_changes_nothing() {
        let secrets = Secrets::new([("A_TOKEN", "hunter2secret")]);
        let once = secrets.mask_text("password=hunter2secret --token: abcdef1 https://u:p1@h/").into_owned();
        assert_eq!(once, "password=[REDACTED] --token: [REDACTED] https://u:[REDACTED]@h/");
        assert_eq!(secrets.mask_text(&once), once);
    }

    #[test]
    fn adversarial_output_takes_linear_time() {
        let secrets = Secrets::new([("A_TOKEN", "aaaaaaab".repeat(100))]);
        for line in ["token=", "eyJ", "://a:", "-----BEGIN PRIVATE KEY-----", "a", "\"token\":\"", "secret:'"]
        {
            let text = line.repeat(65_536 / line.len());
            let start = std::time::Instant::now();
            mask(&secrets, &[text.as_bytes()]);
            assert!(start.elapsed().as_secs() < 5, "{line}");
        }
    }

    /// Pieces of which a stream is made: half of them parts of secrets.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        const PARTS: [&str; 44] = [
            "token",
            "secret",
            "password",
            "=",
            ": ",
            " ",
            "\n",
            "\"",
            "'",
            "\\",
            "\\\"",
            "hunter2x",
            "hunter",
            "2x",
            "r2xhun",
            "-----",
            "-----BEGIN ",
            "RSA PRIVATE KEY",
            "-----END",
            "KEY-----",
            "ghp_",
            "0123456789abcdefABCDEF0123456789",
            "eyJ",
            "eyJhbGciOiJIUzI1NiJ9",
            ".",
            "://",
            "me",
            ":",
            "@",
            "Authorization",
            "Bearer ",
            "sk-",
            "AKIA",
            "IOSFODNN7EXAMPLE",
            "\x1b[31m",
            "${",
            "}",
            "(",
            ",",
            "String",
            "xoxb-",
            "/",
            "https://ghp_0123456789abcdefghij:",
            "unexpected token",
        ];
        prop_oneof![
            4 => proptest::sample::select(&PARTS[..]).prop_map(|part| part.as_bytes().to_vec()),
            1 => vec(any::<u8>(), 0..4),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_result_does_not_depend_on_chunks(
            pieces in vec(piece(), 0..30),
            cuts in vec(any::<usize>(), 0..40),
        ) {
            let secrets = Secrets::new([("A_TOKEN", "hunter2x"), ("B_TOKEN", "r2xhunterhunt"), ("C_TOKEN", "xx\nyy\\zz")]);
            let stream = pieces.concat();
            let whole = mask(&secrets, &[&stream]);
            prop_assert_eq!(&mask(&secrets, &split(&stream, &cuts)), &whole);
            let bytes: Vec<&[u8]> = stream.chunks(1).collect();
            prop_assert_eq!(mask(&secrets, &bytes), whole);
        }

        #[test]
        fn no_known_secret_survives(
            value in vec(prop_oneof![any::<u8>(), proptest::sample::select(&b"ab\"\\'/ \n="[..])], 8..60),
            before in vec(piece(), 0..5),
            after in vec(piece(), 0..5),
            cuts in vec(any::<usize>(), 0..20),
        ) {
            let value = value.trim_ascii();
            prop_assume!(value.len() >= 8);
            let secrets = Secrets::new([("A_TOKEN", value)]);
            prop_assume!(!secrets.names().is_empty());
            let stream = [before.concat(), value.to_vec(), after.concat()].concat();
            let (out, _) = mask(&secrets, &split(&stream, &cuts));
            prop_assert!(!holds(&out, value));
            if let Ok(text) = std::str::from_utf8(value) {
                let json = serde_json::to_string(text).unwrap();
                let stream = [&before.concat(), json.as_bytes(), &after.concat()].concat();
                let (out, _) = mask(&secrets, &split(&stream, &cuts));
                prop_assert!(!holds(&out, &json.as_bytes()[1..json.len() - 1]));
            }
        }

        #[test]
        fn no_token_survives(
            body in "[A-Za-z0-9]{30,60}",
            before in vec(piece(), 0..5),
            after in vec(piece(), 0..5),
            cuts in vec(any::<usize>(), 0..20),
        ) {
            for head in ["ghp_", " password=", "\nnpm_", "\ntoken: \"1"] {
                let token = [head.as_bytes(), body.as_bytes()].concat();
                let stream = [before.concat(), token, after.concat()].concat();
                let (out, _) = mask(&Secrets::default(), &split(&stream, &cuts));
                prop_assert!(!holds(&out, body.as_bytes()), "{}", head);
            }
        }

        #[test]
        fn ordinary_lines_pass_at_once(
            lines in vec("[a-d0-9 .,;()äé€\\t]{0,80}\n", 1..5),
        ) {
            let secrets = Secrets::new([("A_TOKEN", "hunter2secret")]);
            let mut masker = Masker::new(&secrets, MaskMode::Enforce);
            for line in lines {
                let mut out = Vec::new();
                masker.push(line.as_bytes(), &mut out);
                prop_assert_eq!(out, line.as_bytes());
            }
        }
    }
}
