//! Any text, shown in any way: nothing in it does anything to a terminal.
#![no_main]

use git_orchestrate::output::untrusted::{last_line_of, untrusted};

fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

libfuzzer_sys::fuzz_target!(|input: (&str, u8)| {
    let (text, width) = input;
    assert!(!untrusted(text).to_string().contains(is_harmful));
    assert!(!untrusted(last_line_of(text)).with_width(width.into()).to_string().contains(is_harmful));
    let lines = untrusted(text).with_lines().to_string();
    assert!(!lines.contains(|c| c != '\n' && c != '\t' && is_harmful(c)));
    let _ = untrusted(text).with_lines().with_color().to_string();
});
