//! Which text is a path of the repository, and which path it is.

use percent_encoding::percent_decode_str;

/// What is made and not kept: no reference into it says anything about the repository.
const MADE: [&str; 5] = [".runs", "out", "archives", "node_modules", "dist"];

/// Returns the path that a text between backticks names, relative to the root, if it is one to check.
pub fn backticked(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text.strip_prefix(['"', '\'']).unwrap_or(text);
    let text = text.strip_suffix(['"', '\'']).unwrap_or(text);
    let text = text.strip_prefix("./").unwrap_or(text);
    if !text.contains('/')
        || text.starts_with(['/', '~'])
        || text.starts_with("../")
        || text.contains("://")
        || text.contains("...")
        || text.contains(char::is_whitespace)
        // A variable or a byte that was no text stands for something we cannot know.
        || text.contains(['<', '>', '…', '*', '?', '[', ']', '{', '}', '$', '\u{fffd}'])
    {
        return None;
    }
    let text = text.split('#').next().unwrap_or(text);
    let path = without_line(text);
    let path = normal(path)?;
    (!is_made(&path)).then_some(path)
}

/// Takes `:line`, `:line:column` and ranges of them from the end.
fn without_line(text: &str) -> &str {
    /// Takes one `:line` or `:line:column` off, or returns nothing.
    fn without_place(text: &str) -> Option<&str> {
        let once = |text| -> Option<&str> {
            let (before, number) = str::rsplit_once(text, ':')?;
            is_number(number).then_some(before)
        };
        let shorter = once(text)?;
        Some(once(shorter).unwrap_or(shorter))
    }
    fn is_number(text: &str) -> bool {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
    }
    let whole = without_place(text);
    let range = text.rsplit_once('-').and_then(|(before, end)| {
        let mut parts = end.splitn(2, ':');
        parts.all(is_number).then_some(())?;
        without_place(before)
    });
    range.or(whole).unwrap_or(text)
}

/// Resolves `.` and `..` by their names; returns nothing for what is not below the root.
pub fn normal(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Whether a path leads into a folder whose contents are made by tools.
pub fn is_made(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or(path);
    MADE.contains(&first) && path.len() > first.len()
}

/// Whether a folder is never looked into for documents, at any depth.
pub fn is_skipped_folder(name: &str) -> bool {
    MADE.contains(&name)
}

/// A relative link, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// As it stands in the document.
    pub text: String,
    /// Without `?…` and `#…`, decoded; empty for a link within the document.
    pub path: String,
    /// What follows `#`, decoded.
    pub anchor: Option<String>,
}

impl Link {
    /// Takes a destination apart; returns nothing if it is no relative link.
    pub fn parse(destination: &str) -> Option<Self> {
        let has_scheme = destination.split_once(':').is_some_and(|(scheme, _)| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte))
        });
        if destination.is_empty() || has_scheme || destination.starts_with("//") {
            return None;
        }
        let (rest, anchor) = match destination.split_once('#') {
            Some((rest, anchor)) => (rest, Some(decoded(anchor))),
            None => (destination, None),
        };
        let path = rest.split('?').next().unwrap_or(rest);
        Some(Self { text: destination.to_owned(), path: decoded(path), anchor })
    }

    /// Whether something in the path or the anchor stands for something else.
    pub fn is_placeholder(&self) -> bool {
        let holds = |text: &str| {
            text.contains(['<', '>', '*', '{', '}', '$', '…', '\u{fffd}']) || text.contains("...")
        };
        holds(&self.path) || self.anchor.as_deref().is_some_and(holds)
    }

    /// Returns the path that is meant in `file`, relative to the root; the root itself is `.`, and what
    /// lies outside of it is nothing.
    pub fn resolve(&self, file: &str) -> Option<String> {
        let folder = match self.path.starts_with('/') {
            true => "",
            false => file.rsplit_once('/').map_or("", |(folder, _)| folder),
        };
        let mut parts: Vec<_> = folder.split('/').filter(|part| !part.is_empty()).collect();
        for part in self.path.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop()?;
                }
                part => parts.push(part),
            }
        }
        Some(if parts.is_empty() { ".".to_owned() } else { parts.join("/") })
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Whether a file is Markdown, by its name.
pub fn is_markdown(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.')
        .is_some_and(|(_, end)| ["md", "markdown"].iter().any(|it| end.eq_ignore_ascii_case(it)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_backticked_path_is_normalised() {
        let cases = [
            ("src/a.ts", "src/a.ts"),
            (" src/a.ts ", "src/a.ts"),
            ("\"src/a.ts\"", "src/a.ts"),
            ("'src/a.ts'", "src/a.ts"),
            ("./src/a.ts", "src/a.ts"),
            ("src/a.ts#L10-L20", "src/a.ts"),
            ("src/a.ts:10", "src/a.ts"),
            ("src/a.ts:10:5", "src/a.ts"),
            ("src/a.ts:10-20", "src/a.ts"),
            ("src/a.ts:10:5-20:7", "src/a.ts"),
            ("src/a.ts:10:5-20", "src/a.ts"),
            ("src/a-1", "src/a-1"),
            ("src/a:b", "src/a:b"),
            ("docs/", "docs"),
            ("docs/../src/x", "src/x"),
            ("docs/ünï.md", "docs/ünï.md"),
            ("outer/x", "outer/x"),
            ("src/out/x", "src/out/x"),
        ];
        for (text, path) in cases {
            assert_eq!(backticked(text).as_deref(), Some(path), "{text}");
        }
    }

    #[test]
    fn what_is_no_path_of_the_repository_is_left_alone() {
        for text in [
            "README.md",
            "./README.md",
            "/etc/passwd",
            "~/x/y",
            "../x/y",
            "https://x/y",
            "src/<name>.ts",
            "src/a>b",
            "src/...",
            "src/…/x",
            "src/*.ts",
            "src/a?",
            "src/[id].ts",
            "src/{a,b}",
            "a b/c",
            "npm run x/y z",
            ".runs/0101/x",
            "out/x",
            "archives/x",
            "node_modules/x",
            "dist/x",
            "docs/../../x",
            "src/$NAME/x",
            "",
            "/",
            "docs/..",
        ] {
            assert_eq!(backticked(text), None, "{text}");
        }
    }

    #[test]
    fn a_link_is_taken_apart_and_resolved() {
        let cases = [
            ("a.md", "docs/x.md", Some("docs/a.md"), None),
            ("../a.md#b", "docs/x.md", Some("a.md"), Some("b")),
            ("#b%20c", "x.md", Some("."), Some("b c")),
            ("a%20b.md?plain=1#L1", "x.md", Some("a b.md"), Some("L1")),
            ("/docs/a.md", "tasks/x.md", Some("docs/a.md"), None),
            ("../../a", "docs/x.md", None, None),
            ("..", "docs/x.md", Some("."), None),
            ("./", "docs/x.md", Some("docs"), None),
        ];
        for (text, file, path, anchor) in cases {
            let link = Link::parse(text).unwrap();
            assert_eq!((link.resolve(file).as_deref(), link.anchor.as_deref()), (path, anchor), "{text}");
        }
        for text in ["https://x", "mailto:a@b", "//host/x", "", "vscode-x+y.z:foo"] {
            assert_eq!(Link::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_checked_path_never_leaves_the_root(text in "([a-c./:#~'\" -]|\\.\\./|[0-9]){0,20}", file in "([ab]/){0,3}x") {
            let inside = |path: &str| path == "." || path.split('/').all(|part| !matches!(part, "" | "." | ".."));
            if let Some(path) = backticked(&text) {
                prop_assert!(inside(&path), "{path}");
            }
            if let Some(path) = Link::parse(&text).and_then(|link| link.resolve(&file)) {
                prop_assert!(inside(&path), "{path}");
            }
        }
    }
}
