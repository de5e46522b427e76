//! What a project says about its streams: the section `streams` of the configuration.

use std::num::NonZeroU16;
use std::time::Duration;

/// The section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streams {
    /// Where the folder of a stream is, as seen from the main worktree; see [`Streams::path_of`].
    pub path: String,
    /// Commands that make a new stream ready to work in.
    pub setup: Vec<String>,
    /// Commands that take back what those did, before a stream is removed.
    pub teardown: Vec<String>,
    /// How long either may take in all.
    pub setup_timeout: Duration,
    /// The ports of which each stream has some for itself.
    pub ports: Option<PortRange>,
    /// What the database of a stream is called; see [`Streams::database_of`].
    pub database: Option<String>,
    /// Whether the files of Git LFS stay what the repository has of them until somebody asks for more.
    pub lfs_later: bool,
}

/// Ports that streams share out among each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    pub from: u16,
    /// The last one.
    pub to: u16,
    /// How many each stream has.
    pub each: NonZeroU16,
}

/// The longest name that every usual database takes.
const DATABASE_BYTES: usize = 63;

impl Default for Streams {
    fn default() -> Self {
        Self {
            path: "../{repo}.{name}".to_owned(),
            setup: Vec::new(),
            teardown: Vec::new(),
            ports: None,
            database: None,
            setup_timeout: Duration::from_secs(600),
            lfs_later: false,
        }
    }
}

impl Streams {
    /// What a template must hold.
    pub const NAME: &str = "{name}";

    /// Returns where the folder of a stream is, for a repository whose main worktree has that name.
    pub fn path_of(&self, repository: &str, stream: &str) -> String {
        filled(&self.path, repository, stream)
    }

    /// Returns what the database of a stream is called, in letters, digits and `_` only; `again` tells it from others
    /// that would be called the same.
    pub fn database_of(&self, repository: &str, stream: &str, again: usize) -> Option<String> {
        let text = filled(self.database.as_deref()?, repository, stream).to_lowercase();
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let begin = if text.starts_with(|c: char| c.is_ascii_digit()) { "_" } else { "" };
        let end = if again > 0 { format!("_{}", again + 1) } else { String::new() };
        let name: String = begin.chars().chain(text.chars().map(plain)).collect();
        Some(name[..name.len().min(DATABASE_BYTES - end.len())].to_owned() + &end)
    }

    /// Returns what is in a template between braces and means nothing.
    pub fn unknown_word(template: &str) -> Option<&str> {
        let mut rest = template;
        while let Some(at) = rest.find('{') {
            let end = rest[at..].find('}').map_or(rest.len(), |end| at + end + 1);
            let word = &rest[at..end];
            if !matches!(word, "{repo}" | Self::NAME) {
                return Some(word);
            }
            rest = &rest[end..];
        }
        None
    }
}

/// Fills a template.
fn filled(template: &str, repository: &str, stream: &str) -> String {
    // Not one after the other: a repository may be called `{name}`.
    let parts = template.split("{repo}").map(|part| part.replace(Streams::NAME, stream));
    parts.collect::<Vec<_>>().join(repository)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_has_a_plain_name_of_its_own() {
        let of = |template: &str, stream: &str, again| {
            let streams = Streams { database: Some(template.to_owned()), ..Streams::default() };
            streams.database_of("My Shop", stream, again).unwrap()
        };
        assert_eq!(of("{repo}_{name}", "fix/login", 0), "my_shop_fix_login");
        assert_eq!(of("{repo}_{name}", "fix/login", 1), "my_shop_fix_login_2");
        assert_eq!(of("{name}", "1", 0), "_1");
        assert_eq!(of("{name}", &"x".repeat(90), 2), format!("{}_3", "x".repeat(61)));
        assert_eq!(Streams::default().database_of("a", "b", 0), None);
    }

    #[test]
    fn a_template_names_the_repository_and_the_stream() {
        let of = |path: &str| Streams { path: path.to_owned(), ..Streams::default() };
        assert_eq!(Streams::default().path_of("shop", "auth"), "../shop.auth");
        assert_eq!(of("/tmp/{name}/{repo}").path_of("{name}", "a"), "/tmp/a/{name}");
        for (template, unknown) in
            [("../{repo}.{name}", None), ("{branch}/{name}", Some("{branch}")), ("{name}{", Some("{"))]
        {
            assert_eq!(Streams::unknown_word(template), unknown);
        }
    }
}
