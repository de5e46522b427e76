//! The kinds of bytes that secrets are made of: where a secret ends, once it has begun.

/// The bytes that still belong to a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// No blanks and no quotes.
    Value,
    /// Letters, digits, `-` and `_`.
    Word,
    /// A word with dots.
    Dotted,
    /// Up to the closing quote, which has backslashes before it if the opening one had.
    Quoted { quote: u8, escaped: bool },
    /// Up to the end of a PEM block, or of what looks like one.
    Pem(Pem),
}

/// How many classes there are, see [`Class::slot`].
pub const CLASSES: usize = 10;

impl Class {
    /// Two secrets whose classes share a slot end at the same byte, if one begins in the other.
    pub fn slot(self) -> usize {
        match self {
            Self::Value => 0,
            Self::Word => 1,
            Self::Dotted => 2,
            Self::Pem(_) => 3,
            Self::Quoted { quote, escaped } => {
                4 + usize::from(escaped) + 2 * usize::from(quote == b'"') + 4 * usize::from(quote == b'`')
            }
        }
    }

    /// Swallows from `at` on. Returns how far it came and whether the secret ends there.
    pub fn swallow(&mut self, text: &[u8], at: usize, eof: bool) -> (usize, bool) {
        let plain = |of: fn(u8) -> bool| match text[at..].iter().position(|b| !of(*b)) {
            Some(len) => (at + len, true),
            None => (text.len(), eof),
        };
        match self {
            Self::Word => plain(is_word),
            Self::Dotted => plain(|b| is_word(b) || b == b'.'),
            Self::Value => swallow_to(text, at, eof, true, |b| !is_value(b)),
            Self::Quoted { quote, escaped } => {
                let (quote, escaped) = (*quote, *escaped);
                swallow_to(text, at, eof, escaped, |b| b == quote || matches!(b, b'\n' | b'\r'))
            }
            Self::Pem(pem) => pem.swallow(text, at, eof),
        }
    }
}

/// Swallows up to a byte that `ends` the secret. A backslash before a quote belongs to the quote
/// if quotes are `escaped`; otherwise it means that the byte after it does not end anything.
fn swallow_to(
    text: &[u8],
    mut at: usize,
    eof: bool,
    escaped: bool,
    ends: impl Fn(u8) -> bool,
) -> (usize, bool) {
    while let Some(&byte) = text.get(at) {
        if ends(byte) {
            return (at, true);
        }
        if byte != b'\\' {
            at += 1;
            continue;
        }
        let slashes = text[at..].iter().take(16).take_while(|b| **b == b'\\').count();
        match text.get(at + slashes) {
            None if slashes < 16 && !eof => return (at, false),
            Some(next) if escaped && is_quote(*next) => return (at, true),
            Some(next) if !escaped && slashes % 2 == 1 && is_quote(*next) => at += slashes + 1,
            _ => at += slashes,
        }
    }
    (at, eof)
}

/// How far a PEM block has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pem {
    bytes: usize,
    /// The last eight bytes.
    window: u64,
    in_footer: bool,
    run: usize,
    line_is_body: bool,
    body_seen: bool,
    lines: usize,
    other_lines: usize,
}

impl Pem {
    const LONGEST: usize = 32 * 1024;
    const FOOTER: u64 = u64::from_be_bytes(*b"-----end");
    const DASHES: u64 = u64::from_be_bytes(*b"\0\0\0-----");

    fn swallow(&mut self, text: &[u8], start: usize, eof: bool) -> (usize, bool) {
        for (at, &byte) in text.iter().enumerate().skip(start) {
            if self.bytes >= Self::LONGEST || (byte == b'\n' && self.ends_with_line()) {
                return (at, true);
            }
            self.bytes += 1;
            self.window = self.window << 8 | u64::from(byte.to_ascii_lowercase());
            if self.in_footer {
                if self.window & 0xff_ffff_ffff == Self::DASHES {
                    return (at + 1, true);
                }
            } else if self.window == Self::FOOTER {
                self.in_footer = true;
                self.window = 0;
            }
            self.run = if is_base64(byte) { self.run + 1 } else { 0 };
            self.line_is_body |= self.run >= 32;
        }
        (text.len(), eof)
    }

    /// Judges the line that ends here. Before the key there may be three lines of another kind
    /// (`DEK-Info: …`), after it one (its short last line); with more, the block was cut off.
    fn ends_with_line(&mut self) -> bool {
        self.body_seen |= self.line_is_body;
        if self.line_is_body || self.lines == 0 {
            self.other_lines = 0;
        } else {
            self.other_lines += 1;
        }
        self.lines += 1;
        (self.run, self.line_is_body) = (0, false);
        self.in_footer || self.other_lines > if self.body_seen { 1 } else { 3 }
    }
}

pub fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

pub fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

pub fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

pub fn is_value(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f && !is_quote(byte)
}
