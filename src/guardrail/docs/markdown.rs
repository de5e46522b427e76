//! What is code, link, heading and text in a document, each with its place.

use std::collections::HashSet;
use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::slug::Slugs;

/// A document as a Markdown parser sees it.
#[derive(Debug)]
pub struct Document<'t> {
    pub text: &'t str,
    /// Every piece of a line that a reader sees as text or code.
    pub pieces: Vec<Piece>,
    /// The insides of inline code.
    pub codes: Vec<Range<usize>>,
    pub links: Vec<LinkAt>,
    /// What `#…` may name: GitHub's anchors of the headings, and the ids of HTML elements.
    pub anchors: HashSet<String>,
    pub headings: Vec<Heading>,
}

/// A piece of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub range: Range<usize>,
    pub kind: Kind,
    /// Which block of code it belongs to; 0 outside of blocks.
    pub block: usize,
}

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Prose.
    Text,
    /// HTML, comments included.
    Html,
    /// Code within a line.
    Code,
    /// A block of code in a shell's language.
    Shell,
    /// A block of code in no language, which may be commands.
    Untagged,
    /// A block that shows commands behind a prompt, and what they print.
    Console,
    /// A block of code in another language.
    Other,
}

/// Where a link is, and what it points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkAt {
    pub at: usize,
    pub destination: String,
}

/// A heading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    /// 1 to 6.
    pub level: u8,
    /// The source of the heading, without the line break.
    pub range: Range<usize>,
    /// What a reader sees.
    pub text: String,
}

impl<'t> Document<'t> {
    /// Reads a document.
    pub fn parse(text: &'t str) -> Self {
        let mut document = Self {
            text,
            pieces: Vec::new(),
            codes: Vec::new(),
            links: Vec::new(),
            anchors: HashSet::new(),
            headings: Vec::new(),
        };
        let options = Options::ENABLE_TABLES
            | Options::ENABLE_FOOTNOTES
            | Options::ENABLE_STRIKETHROUGH
            | Options::ENABLE_TASKLISTS
            | Options::ENABLE_GFM
            | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
        let mut slugs = Slugs::default();
        let mut heading: Option<Heading> = None;
        let mut block = None;
        let mut blocks = 0;
        for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
            match event {
                Event::Start(Tag::CodeBlock(kind)) => {
                    blocks += 1;
                    block = Some(match kind {
                        CodeBlockKind::Indented => Kind::Untagged,
                        CodeBlockKind::Fenced(info) => language(&info),
                    });
                }
                Event::End(TagEnd::CodeBlock) => block = None,
                Event::Start(Tag::Heading { level, .. }) => {
                    heading = Some(Heading {
                        level: level as u8,
                        range: trimmed(text, range),
                        text: String::new(),
                    });
                }
                Event::End(TagEnd::Heading(_)) => {
                    if let Some(heading) = heading.take() {
                        document.anchors.insert(slugs.next(&heading.text));
                        document.headings.push(heading);
                    }
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    // In the link itself, or at its beginning if the destination is elsewhere.
                    let at = text[range.clone()].rfind(&*dest_url).unwrap_or(0);
                    let at = if dest_url.is_empty() { 0 } else { at };
                    document.links.push(LinkAt { at: range.start + at, destination: dest_url.into_string() });
                }
                Event::Text(said) => {
                    if let Some(heading) = &mut heading {
                        heading.text.push_str(&said);
                    }
                    let of = if block.is_some() { blocks } else { 0 };
                    document.add(range, block.unwrap_or(Kind::Text), of);
                }
                Event::Code(said) => {
                    if let Some(heading) = &mut heading {
                        heading.text.push_str(&said);
                    }
                    let inside = inside_backticks(text, range);
                    document.codes.push(inside.clone());
                    document.add(inside, Kind::Code, 0);
                }
                Event::Html(_) | Event::InlineHtml(_) => {
                    document.anchors.extend(ids(&text[range.clone()]));
                    document.add(range, Kind::Html, 0);
                }
                _ => {}
            }
        }
        document
    }

    /// Adds the lines of a range. Text comes in pieces that say nothing about words, so those that
    /// touch are one.
    fn add(&mut self, range: Range<usize>, kind: Kind, block: usize) {
        let mut start = range.start;
        for line in self.text[range].split_inclusive('\n') {
            let end = start + line.len();
            match self.pieces.last_mut() {
                Some(last)
                    if last.range.end == start
                        && (last.kind, last.block) == (kind, block)
                        && kind != Kind::Code
                        && !self.text[last.range.clone()].ends_with('\n') =>
                {
                    last.range.end = end;
                }
                _ => self.pieces.push(Piece { range: start..end, kind, block }),
            }
            start = end;
        }
    }
}

/// An item of a list that can be ticked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub ticked: bool,
    /// What it says, without its box and without the items below it.
    pub range: Range<usize>,
    /// The inline code in it.
    pub codes: Vec<Range<usize>>,
}

/// Returns the items with a box, in the order in which they stand there.
pub fn items(text: &str) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    let mut ends = Vec::new();
    let mut open = false;
    for (event, range) in
        Parser::new_ext(text, Options::ENABLE_TASKLISTS | Options::ENABLE_TABLES).into_offset_iter()
    {
        match event {
            Event::Start(Tag::Item) => {
                if let Some(item) = items.last_mut().filter(|_| open) {
                    item.range.end = item.range.end.min(range.start);
                }
                open = false;
                ends.push(range.end);
            }
            Event::End(TagEnd::Item) => {
                ends.pop();
                open = false;
            }
            Event::TaskListMarker(ticked) => {
                let end = ends.last().copied().unwrap_or(range.end);
                items.push(Item { ticked, range: range.end..end, codes: Vec::new() });
                open = true;
            }
            Event::Code(_) => {
                if let Some(item) = items.last_mut().filter(|_| open) {
                    item.codes.push(inside_backticks(text, range));
                }
            }
            _ => {}
        }
    }
    for item in &mut items {
        item.range = trimmed(text, item.range.clone());
    }
    items
}

/// Returns what a block of code holds, by the word behind its fence.
fn language(info: &str) -> Kind {
    let word = info.split([' ', ',', '{']).next().unwrap_or("").to_ascii_lowercase();
    match &*word {
        "" => Kind::Untagged,
        "sh" | "bash" | "shell" | "zsh" | "ksh" | "dash" | "fish" | "powershell" | "pwsh" => Kind::Shell,
        "console" | "shell-session" | "shellsession" | "sh-session" | "bash-session" | "terminal" => {
            Kind::Console
        }
        _ => Kind::Other,
    }
}

/// Takes white space from the end of a range.
fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    range.start..range.start + text[range].trim_end().len()
}

/// Takes the backticks from both ends of inline code.
fn inside_backticks(text: &str, range: Range<usize>) -> Range<usize> {
    let code = &text[range.clone()];
    let ticks = code.bytes().take_while(|byte| *byte == b'`').count();
    match code.len() >= 2 * ticks {
        true => range.start + ticks..range.end - ticks,
        false => range,
    }
}

/// Returns the values of `id` and `name` in some HTML.
fn ids(html: &str) -> impl Iterator<Item = String> {
    ["id", "name"].into_iter().flat_map(move |key| {
        html.match_indices(key).filter_map(move |(at, _)| {
            html[..at].ends_with(char::is_whitespace).then_some(())?;
            let value = html[at + key.len()..].trim_start().strip_prefix('=')?.trim_start();
            let value = match value.chars().next()? {
                quote @ ('"' | '\'') => value[1..].split(quote).next()?,
                _ => value.split(|c: char| c.is_whitespace() || c == '>').next()?,
            };
            (!value.is_empty()).then(|| value.to_owned())
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(text: &str) -> Vec<(Kind, &str)> {
        let document = Document::parse(text);
        document.pieces.iter().map(|piece| (piece.kind, text[piece.range.clone()].trim_end())).collect()
    }

    #[test]
    fn code_links_and_text_are_told_apart() {
        let cases: &[(&str, &[(Kind, &str)])] = &[
            ("run npm run a_b_c now\nand", &[(Kind::Text, "run npm run a_b_c now"), (Kind::Text, "and")]),
            ("x `code` y", &[(Kind::Text, "x"), (Kind::Code, "code"), (Kind::Text, " y")]),
            ("``a ` b``", &[(Kind::Code, "a ` b")]),
            ("```sh\nmake a\nmake b\n```\n", &[(Kind::Shell, "make a"), (Kind::Shell, "make b")]),
            ("> ```\n> make a\n> ```\n", &[(Kind::Untagged, "make a")]),
            ("~~~console\n$ make a\n~~~", &[(Kind::Console, "$ make a")]),
            ("```rust\nlet x;\n```", &[(Kind::Other, "let x;")]),
            ("para\n\n    indented\n", &[(Kind::Text, "para"), (Kind::Untagged, "indented")]),
            ("<!-- note -->\n", &[(Kind::Html, "<!-- note -->")]),
            ("---\nkey: npm run x\n---\n", &[(Kind::Text, "key: npm run x")]),
            ("```\nnever `closed`", &[(Kind::Untagged, "never `closed`")]),
        ];
        for (text, expected) in cases {
            assert_eq!(pieces(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn anchors_come_from_headings_and_html() {
        let text = "# A `b` [c](d) *e*\n\nSetext\n===\n\n# A b c e\n\n<a id=\"own\"></a> <a name='n'>\n\n```\n# no\n```\n";
        let document = Document::parse(text);
        let mut anchors: Vec<_> = document.anchors.iter().map(String::as_str).collect();
        anchors.sort_unstable();
        assert_eq!(anchors, ["a-b-c-e", "a-b-c-e-1", "n", "own", "setext"]);
        assert_eq!(document.headings[1].level, 1);
        assert_eq!(&text[document.headings[1].range.clone()], "Setext\n===");
    }

    #[test]
    fn a_link_is_where_its_destination_stands() {
        let text = "see [a](x/y.md#z \"t\") and [b]\n\n[b]: <c d.md>\n\n![i](p.png)";
        let links = Document::parse(text).links;
        let seen: Vec<_> = links.iter().map(|link| (link.at, &*link.destination)).collect();
        assert_eq!(seen, [(8, "x/y.md#z"), (26, "c d.md"), (51, "p.png")]);
    }

    proptest! {
        #[test]
        fn every_place_is_in_the_text(text in "([`#\\[\\]()<>!*_~ \n\t|-]|[a-c漢\u{301}]|```|---\n|\\]\\(|<a id=){0,40}") {
            let document = Document::parse(&text);
            for range in document.pieces.iter().map(|piece| &piece.range).chain(&document.codes) {
                prop_assert!(text.get(range.clone()).is_some());
            }
            for link in &document.links {
                prop_assert!(text.is_char_boundary(link.at));
            }
            let mut lines = super::super::Lines::new(&text);
            for reference in super::super::references(&document) {
                let before = &text[..reference.at];
                let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
                prop_assert_eq!(lines.place(reference.at), (before.matches('\n').count() + 1, column));
            }
        }
    }
}
