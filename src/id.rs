//! Names that come from outside the program, each a type that is checked once.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Returns the beginning of an object's or a key's id in hex, as people compare them.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// A text that cannot be the id it was meant to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no valid {kind}: {flaw}", text.escape_debug())]
pub struct InvalidId {
    /// What the text was meant to be, such as `task id`.
    pub kind: &'static str,
    /// The text as given.
    pub text: String,
    /// What is wrong with it.
    pub flaw: Flaw,
}

/// What can be wrong with an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("it is empty")]
    Empty,
    #[error("it holds a control character")]
    Control,
    #[error("it holds one of `< > : \" | ? *`")]
    Reserved,
    #[error("it begins with a dot")]
    LeadingDot,
    #[error("it holds a slash or a backslash")]
    Slash,
    #[error("it is longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("the name is taken by the layout of `.runs`")]
    Taken,
    #[error("git takes no branch of that name")]
    NoBranch,
}

/// The longest id, in bytes: what remains of a 255-byte file name after our own suffixes.
pub const MAX_BYTES: usize = 200;

/// The longest name of a stream: a task id and a folder's name hold it, and more.
pub const MAX_STREAM_BYTES: usize = 100;

/// The rule of the reference for task and run ids: a safe name of one folder.
fn flaw_as_folder_name(text: &str) -> Option<Flaw> {
    if text.is_empty() {
        return Some(Flaw::Empty);
    }
    for c in text.chars() {
        if c.is_control() {
            return Some(Flaw::Control);
        }
        if matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*') {
            return Some(Flaw::Reserved);
        }
    }
    if text.starts_with('.') {
        return Some(Flaw::LeadingDot);
    }
    if text.contains(['/', '\\']) {
        return Some(Flaw::Slash);
    }
    (text.len() > MAX_BYTES).then_some(Flaw::TooLong)
}

fn flaw_as_task(text: &str) -> Option<Flaw> {
    // `.runs/local-mcp` holds the pointers of every task.
    if text == "local-mcp" || text == "learning-snapshots" {
        return Some(Flaw::Taken);
    }
    flaw_as_folder_name(text)
}

/// Stage and pipeline ids name no files, so they may hold more than a folder name.
fn flaw_as_label(text: &str) -> Option<Flaw> {
    if text.trim().is_empty() {
        return Some(Flaw::Empty);
    }
    if text.chars().any(char::is_control) {
        return Some(Flaw::Control);
    }
    (text.len() > MAX_BYTES).then_some(Flaw::TooLong)
}

/// A stream is a branch, a part of the name of a folder, and a part of a task id.
fn flaw_as_stream(text: &str) -> Option<Flaw> {
    if text.is_empty() {
        return Some(Flaw::Empty);
    }
    if text.len() > MAX_STREAM_BYTES {
        return Some(Flaw::TooLong);
    }
    // The rules of `git check-ref-format --branch`.
    let flaw = text.split('/').find_map(|part| {
        let no_ref = part.ends_with(".lock") || part.is_empty();
        flaw_as_folder_name(part).filter(|_| !part.is_empty()).or(no_ref.then_some(Flaw::NoBranch))
    });
    let no_branch = text.contains([' ', '~', '^', '[', '\u{7f}'])
        || text.contains("..")
        || text.contains("@{")
        || text.starts_with('-')
        || text.ends_with('.')
        || matches!(text, "@" | "HEAD");
    flaw.or(no_branch.then_some(Flaw::NoBranch))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $flaw:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(with = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                match $flaw(text) {
                    None => Ok(Self(text.to_owned())),
                    Some(flaw) => Err(InvalidId { kind: $kind, text: text.to_owned(), flaw }),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// The task a run belongs to, such as `0901-issue-validation`: one folder of `.runs`.
    TaskId, "task id", flaw_as_task
}
id! {
    /// One run, such as `2026-11-21T07-20-48-705Z-192acc7c`: one folder of a task.
    RunId, "run id", flaw_as_folder_name
}
id! {
    /// One stage of a pipeline, such as `test`.
    StageId, "stage id", flaw_as_label
}
id! {
    /// One pipeline of the configuration, such as `diagnostics`.
    PipelineId, "pipeline id", flaw_as_label
}
id! {
    /// Something on this machine that one command may use at a time, such as `db`: a file of the budget.
    ResourceId, "resource", flaw_as_folder_name
}

id! {
    /// One stream, such as `auth` or `fix/login`: also the name of its branch.
    StreamName, "stream name", flaw_as_stream
}

impl StreamName {
    /// Returns the name as a part of the name of a folder.
    pub fn as_folder(&self) -> String {
        self.0.replace('/', "-")
    }
}

/// Returns the part of a stage's file names that tells what it is, as `contract-core.md` §4.3 has it:
/// every run of characters outside `A–Z a–z 0–9` becomes one `-`, at most 80 characters.
pub fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.trim().chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.strip_prefix('-').unwrap_or(&slug);
    let slug = slug.strip_suffix('-').unwrap_or(slug);
    match slug {
        "" => "command".to_owned(),
        slug => slug[..slug.len().min(80)].to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_reference_accepts_is_accepted() {
        for text in ["0101", "inner space", " ", "CON", "ends.", "ünï", "-x", "~", "$HOME", "%2e%2e"] {
            assert!(text.parse::<TaskId>().is_ok(), "{text}");
        }
    }

    #[test]
    fn what_could_leave_the_folder_is_refused() {
        let cases = [
            ("", Flaw::Empty),
            ("..", Flaw::LeadingDot),
            (".hidden", Flaw::LeadingDot),
            ("a/b", Flaw::Slash),
            ("a\\b", Flaw::Slash),
            ("a\nb", Flaw::Control),
            ("a\u{7f}", Flaw::Control),
            ("a:b", Flaw::Reserved),
            ("local-mcp", Flaw::Taken),
        ];
        for (text, flaw) in cases {
            assert_eq!(text.parse::<TaskId>().unwrap_err().flaw, flaw, "{text:?}");
        }
        assert_eq!("x".repeat(MAX_BYTES + 1).parse::<RunId>().unwrap_err().flaw, Flaw::TooLong);
    }

    #[test]
    fn a_stream_is_called_as_a_branch_may_be() {
        for text in ["auth", "fix/login", "ünï", "a.b", "1", "v1.0-rc"] {
            assert!(text.parse::<StreamName>().is_ok(), "{text}");
        }
        for text in [
            "", "-x", "a b", "a..b", "a/", "/a", "a//b", ".a", "a/.b", "a.lock", "x.lock/y", "a~1", "a^",
            "a:b", "a?", "a*", "a[b", "a\\b", "@", "HEAD", "a@{1}", "a.", "a\nb", "a\u{7f}", "a\"b", "..",
            "a/../b",
        ] {
            assert!(text.parse::<StreamName>().is_err(), "{text:?}");
        }
        assert!("x".repeat(MAX_STREAM_BYTES + 1).parse::<StreamName>().is_err());
        assert_eq!("fix/login".parse::<StreamName>().unwrap().as_folder(), "fix-login");
    }

    #[test]
    fn slugs_are_those_of_the_reference() {
        let cases = [
            ("hello", "hello"),
            ("env check", "env-check"),
            ("../../etc/passwd", "etc-passwd"),
            ("", "command"),
            ("ü", "command"),
            ("--a--", "a"),
        ];
        for (text, expected) in cases {
            assert_eq!(slug(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_task_id_is_one_normal_path_component(text in "\\PC*|[./\\\\a-z\u{0}-\u{1f}]{0,12}") {
            if let Ok(id) = text.parse::<TaskId>() {
                let path = std::path::Path::new(id.as_str());
                prop_assert_eq!(path.components().count(), 1);
                prop_assert!(matches!(path.components().next(), Some(std::path::Component::Normal(_))));
            }
        }

        #[test]
        fn a_slug_is_a_short_plain_name(text in "\\PC*") {
            let slug = slug(&text);
            prop_assert!(!slug.is_empty() && slug.len() <= 80);
            prop_assert!(slug.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        }
    }
}
