//! What a project says about its streams: the section `streams` of the configuration.

use std::time::Duration;

/// The section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streams {
    /// Where the folder of a stream is, as seen from the main worktree; see [`Streams::path_of`].
    pub path: String,
    /// Commands that make a new stream ready to work in.
    pub setup: Vec<String>,
    /// How long they may take in all.
    pub setup_timeout: Duration,
    /// Whether the files of Git LFS stay what the repository has of them until somebody asks for more.
    pub lfs_later: bool,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            path: "../{repo}.{name}".to_owned(),
            setup: Vec::new(),
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
        // Not one after the other: a repository may be called `{name}`.
        let parts = self.path.split("{repo}").map(|part| part.replace(Self::NAME, stream));
        parts.collect::<Vec<_>>().join(repository)
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

#[cfg(test)]
mod tests {
    use super::*;

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
