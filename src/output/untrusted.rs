//! Text from a stage, a repository or a remote, made harmless for a terminal.
//!
//! Whatever such a text holds, it cannot move the cursor, set a title, hide or reorder letters.

use std::borrow::Cow;
use std::fmt::{self, Write};

use unicode_width::UnicodeWidthChar;

const RESET: &str = "\x1b[0m";

/// The longest colour sequence that is passed on.
const LONGEST_SGR: usize = 32;

/// A text that is safe to display. Made by [`untrusted`].
#[derive(Clone, Copy, Debug)]
pub struct Untrusted<'a> {
    text: &'a str,
    lines: bool,
    color: bool,
    width: Option<usize>,
}

/// Returns `text` for display on one line: a newline shows as `␊`, a tab as a space, controls
/// as `^[`, and what is invisible or turns the direction of writing as `\u{202e}`.
pub fn untrusted(text: &str) -> Untrusted<'_> {
    Untrusted { text, lines: false, color: false, width: None }
}

impl Untrusted<'_> {
    /// Keeps newlines and tabs as they are.
    pub fn with_lines(self) -> Self {
        Self { lines: true, ..self }
    }

    /// Passes colours on, and closes them at the end of each line.
    pub fn with_color(self) -> Self {
        Self { color: true, ..self }
    }

    /// Cuts each line to `columns`, with `…` at the cut.
    pub fn with_width(self, columns: usize) -> Self {
        Self { width: Some(columns), ..self }
    }

    fn write_line(&self, line: &str, f: &mut impl Write) -> fmt::Result {
        let columns = self.width.unwrap_or(usize::MAX);
        let cut = self.width.is_some() && self.columns_of(line) > columns;
        let room = if cut { columns.saturating_sub(1) } else { columns };
        let (mut used, mut open) = (0_usize, false);
        for piece in self.pieces(line) {
            match piece {
                Piece::Color(sgr) => {
                    f.write_str(sgr)?;
                    open = true;
                }
                Piece::Char(c) => {
                    let shown = Shown(c);
                    used = used.saturating_add(shown.columns());
                    if used > room {
                        break;
                    }
                    write!(f, "{shown}")?;
                }
            }
        }
        if open {
            f.write_str(RESET)?;
        }
        if cut && columns > 0 {
            f.write_char('…')?;
        }
        Ok(())
    }

    fn columns_of(&self, line: &str) -> usize {
        let widths = self.pieces(line).map(|piece| match piece {
            Piece::Color(_) => 0,
            Piece::Char(c) => Shown(c).columns(),
        });
        widths.sum()
    }

    fn pieces<'t>(&self, line: &'t str) -> impl Iterator<Item = Piece<'t>> {
        let (lines, color) = (self.lines, self.color);
        let mut rest = line;
        std::iter::from_fn(move || {
            if color && let Some(sgr) = sgr_at(rest) {
                rest = &rest[sgr.len()..];
                return Some(Piece::Color(sgr));
            }
            let c = rest.chars().next()?;
            rest = &rest[c.len_utf8()..];
            Some(Piece::Char(match c {
                '\n' => '␊',
                '\t' if !lines => ' ',
                c => c,
            }))
        })
    }
}

impl fmt::Display for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.lines {
            return self.write_line(self.text, f);
        }
        for (n, line) in self.text.split('\n').enumerate() {
            if n > 0 {
                f.write_char('\n')?;
            }
            self.write_line(line.strip_suffix('\r').unwrap_or(line), f)?;
        }
        Ok(())
    }
}

enum Piece<'a> {
    Color(&'a str),
    Char(char),
}

/// One character as it is shown.
struct Shown(char);

impl Shown {
    fn columns(&self) -> usize {
        match self.0 {
            '\t' => 8,
            c if c.is_ascii_control() => 2,
            c if is_hidden(c) => 4 + format!("{:x}", c as u32).len(),
            c => c.width().unwrap_or(0),
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            '\t' => f.write_char('\t'),
            c if c.is_ascii_control() => write!(f, "^{}", (c as u8 ^ 0x40) as char),
            c if is_hidden(c) => write!(f, "{}", c.escape_unicode()),
            c => f.write_char(c),
        }
    }
}

/// Whether a character would be invisible, break the line or reorder what stands around it.
pub(super) fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}'
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Returns the colour sequence at the start of `text`, unless it would hide what follows.
fn sgr_at(text: &str) -> Option<&str> {
    let body = text.strip_prefix("\x1b[")?;
    let len = body.bytes().take(LONGEST_SGR).position(|b| !matches!(b, b'0'..=b'9' | b';' | b':'))?;
    let conceals = conceals(&body[..len]);
    (body.as_bytes()[len] == b'm' && !conceals).then(|| &text[..len + 3])
}

/// Whether one of the parameters is 8, "conceal", and not part of a colour such as `38;5;8`.
fn conceals(parameters: &str) -> bool {
    let mut parameters = parameters.split(';');
    while let Some(parameter) = parameters.next() {
        match parameter.trim_start_matches('0') {
            "8" => return true,
            "38" | "48" | "58" => match parameters.next() {
                Some("5") => drop(parameters.next()),
                Some("2") => drop(parameters.nth(2)),
                _ => return true,
            },
            _ => {}
        }
    }
    false
}

/// Returns `text` without escape sequences: colours, cursor movements, titles, links.
pub fn strip_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains(['\x1b', '\u{9b}', '\u{9d}']) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let kind = match c {
            '\x1b' => chars.next_if(|c| ('\x20'..='\x7e').contains(c)).unwrap_or(' '),
            '\u{9b}' => '[',
            '\u{9d}' => ']',
            _ => {
                kept.push(c);
                continue;
            }
        };
        match kind {
            '[' => {
                while chars.next_if(|c| ('\x20'..='\x3f').contains(c)).is_some() {}
                chars.next_if(|c| ('\x40'..='\x7e').contains(c));
            }
            // Strings for the terminal. One without an end must not swallow the next line.
            ']' | 'P' | 'X' | '^' | '_' => {
                while let Some(c) = chars.next_if(|c| *c != '\n') {
                    match c {
                        '\x07' | '\u{9c}' => break,
                        '\x1b' => {
                            chars.next_if_eq(&'\\');
                            break;
                        }
                        _ => {}
                    }
                }
            }
            // Charset choices have one more byte; all others are over.
            '(' | ')' | '*' | '+' | '#' | '%' => drop(chars.next_if(|c| *c != '\n')),
            _ => {}
        }
    }
    Cow::Owned(kept)
}

/// Returns what a terminal would show of one line with carriage returns: what came last.
pub fn after_carriage_returns(line: &str) -> &str {
    line.rsplit('\r').find(|part| !part.trim().is_empty()).unwrap_or("")
}

/// Returns the last line with content, as a terminal would show it.
pub fn last_line_of(text: &str) -> &str {
    text.rsplit('\n').map(after_carriage_returns).find(|line| !line.is_empty()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_letters() {
        let table = [
            ("plain ü 漢", "plain ü 漢"),
            ("\x1b]0;title\x07x", "^[]0;title^Gx"),
            ("a\tb\r\nc\u{7f}", "a b^M␊c^?"),
            ("\u{9b}31m\u{202e}evil\u{200b}", "\\u{9b}31m\\u{202e}evil\\u{200b}"),
            ("\x1b[31mred", "^[[31mred"),
        ];
        for (text, shown) in table {
            assert_eq!(untrusted(text).to_string(), shown);
        }
        assert_eq!(untrusted("a\tb\r\nc\rd").with_lines().to_string(), "a\tb\nc^Md");
    }

    #[test]
    fn colours_pass_only_when_closed_and_visible() {
        let shown = |text| untrusted(text).with_lines().with_color().to_string();
        assert_eq!(shown("\x1b[1;31mred\nnext"), "\x1b[1;31mred\x1b[0m\nnext");
        assert_eq!(shown("\x1b[38;5;8mgrey"), "\x1b[38;5;8mgrey\x1b[0m");
        assert_eq!(shown("\x1b[8mhidden"), "^[[8mhidden");
        assert_eq!(shown("\x1b[2Jwiped\x1b["), "^[[2Jwiped^[[");
    }

    #[test]
    fn a_line_is_cut_to_its_columns() {
        let shown = |text, width| untrusted(text).with_width(width).to_string();
        assert_eq!(shown("abcdef", 6), "abcdef");
        assert_eq!(shown("abcdefg", 6), "abcde…");
        assert_eq!(shown("漢漢漢漢", 6), "漢漢…");
        assert_eq!(shown("\x1b\x1b\x1b", 4), "^[…");
        assert_eq!(shown("ab", 0), "");
    }

    #[test]
    fn escapes_are_stripped_whole() {
        let table = [
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x07!", "link!"),
            ("\x1b(Bok\x1b[", "ok"),
            ("\x1b]0;no end\nnext", "\nnext"),
            ("\u{9b}31mred", "red"),
        ];
        for (text, kept) in table {
            assert_eq!(strip_escapes(text), kept);
        }
    }

    #[test]
    fn a_progress_bar_shows_its_last_state() {
        assert_eq!(last_line_of("start\n 10%\r 50%\r100%\r\n\n"), "100%");
        assert_eq!(last_line_of("\r\n"), "");
    }

    proptest! {
        #[test]
        fn no_control_survives(
            text in "(?s)(.|\\x1b\\[[0-9;]{0,5}[mJ]|[\\x00-\\x1f\u{80}-\u{9f}]){0,60}",
            width in proptest::option::of(0_usize..30),
        ) {
            let with_width = |shown: Untrusted<'_>| {
                width.map_or(shown, |width| shown.with_width(width)).to_string()
            };
            let shown = with_width(untrusted(&text));
            prop_assert!(!shown.contains(char::is_control), "{shown:?}");
            if let Some(width) = width {
                prop_assert!(unicode_width::UnicodeWidthStr::width(&*shown) <= width, "{shown:?}");
            }
            let shown = with_width(untrusted(&text).with_lines());
            prop_assert!(!shown.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
            let shown = with_width(untrusted(&text).with_lines().with_color());
            for line in shown.lines() {
                prop_assert!(!line.contains("\x1b") || line.contains(RESET));
            }
            let bare = strip_escapes(&shown);
            prop_assert!(!bare.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
        }
    }
}
