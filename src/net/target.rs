//! The URL of somebody to tell, checked once, and how it may be shown.

use std::fmt;
use std::str::FromStr;

use ureq::http::Uri;

use crate::output::mask::REPLACEMENT;

/// An `http` or `https` URL.
#[derive(Clone, PartialEq, Eq)]
pub struct Target(String);

/// A text that is no such URL. It does not quote the text, which may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    #[error("it is no URL")]
    NoUrl,
    #[error("its scheme is `{0}`, and only http and https are spoken here")]
    Scheme(String),
    #[error("it has no scheme: write http:// or https:// in front")]
    NoScheme,
    #[error("it names no host")]
    NoHost,
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let text = text.trim();
        if let Some((scheme, _)) = text.split_once(':')
            && !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https")
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
            && text[scheme.len()..].starts_with("://")
        {
            return Err(InvalidTarget::Scheme(scheme.to_owned()));
        }
        let uri: Uri = text.parse().map_err(|_| InvalidTarget::NoUrl)?;
        if uri.scheme_str().is_none() {
            return Err(InvalidTarget::NoScheme);
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(InvalidTarget::NoHost);
        }
        // What stands behind `#` is for readers of a page, and is not sent.
        Ok(Self(text.split('#').next().unwrap_or(text).to_owned()))
    }
}

impl Target {
    /// Returns the URL as it is called, with all that is secret in it.
    pub fn url(&self) -> &str {
        &self.0
    }

    /// Returns the URL with `path` behind its own.
    pub fn join(&self, path: &str) -> Self {
        let (base, query) = self.0.split_at(self.0.find('?').unwrap_or(self.0.len()));
        Self(format!("{}{path}{query}", base.trim_end_matches('/')))
    }

    /// Returns the URL as it may be recorded: without a user, a password, or the value of a parameter
    /// that sounds like a secret.
    pub fn shown(&self) -> String {
        let (base, query) = self.0.split_at(self.0.find('?').unwrap_or(self.0.len()));
        let mut shown = match base.split_once("://") {
            Some((scheme, rest)) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                match authority.rsplit_once('@') {
                    Some((_, host)) => format!("{scheme}://{REPLACEMENT}@{host}{path}"),
                    None => base.to_owned(),
                }
            }
            None => base.to_owned(),
        };
        for (at, parameter) in query.split(['?', '&']).skip(1).enumerate() {
            shown.push(if at == 0 { '?' } else { '&' });
            match parameter.split_once('=') {
                Some((name, _)) if is_secret_parameter(name) => {
                    shown.push_str(name);
                    shown.push('=');
                    shown.push_str(REPLACEMENT);
                }
                // A parameter without a name is most likely nothing but a key.
                None if parameter.len() >= 16 => shown.push_str(REPLACEMENT),
                _ => shown.push_str(parameter),
            }
        }
        shown
    }
}

fn is_secret_parameter(name: &str) -> bool {
    const PARTS: [&str; 12] = [
        "token",
        "secret",
        "pass",
        "pwd",
        "key",
        "sig",
        "auth",
        "credential",
        "session",
        "jwt",
        "hmac",
        "cert",
    ];
    let name = name.to_ascii_lowercase();
    // A name that is written in percent signs is one that somebody hides.
    name.contains('%') || name == "code" || PARTS.iter().any(|part| name.contains(part))
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.shown()).finish()
    }
}

/// Some targets, separated by commas; the empty text is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets(pub Vec<Target>);

impl FromStr for Targets {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Targets {
    /// Joins lists; each target is kept where it is named first.
    pub fn joined(lists: impl IntoIterator<Item = Self>) -> Self {
        let mut all: Vec<Target> = Vec::new();
        for target in lists.into_iter().flat_map(|list| list.0) {
            if !all.contains(&target) {
                all.push(target);
            }
        }
        Self(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_the_web_are_targets() {
        let cases = [
            ("http://h/x?a=b=c", Ok("http://h/x?a=b=c")),
            ("  HTTPS://h:8443#top ", Ok("HTTPS://h:8443")),
            ("http://[::1]:80/", Ok("http://[::1]:80/")),
            ("ftp://h/", Err(InvalidTarget::Scheme("ftp".into()))),
            ("file:///etc/passwd", Err(InvalidTarget::Scheme("file".into()))),
            ("h.example", Err(InvalidTarget::NoScheme)),
            ("localhost:80", Err(InvalidTarget::NoScheme)),
            ("http://", Err(InvalidTarget::NoUrl)),
            ("http:///x", Err(InvalidTarget::NoUrl)),
            ("http://h/a b", Err(InvalidTarget::NoUrl)),
            ("http://h/\n", Ok("http://h/")),
            ("", Err(InvalidTarget::NoUrl)),
        ];
        for (text, expected) in cases {
            let target: Result<Target, _> = text.parse();
            assert_eq!(target.as_ref().map(Target::url), expected.as_ref().copied(), "{text:?}");
        }
    }

    #[test]
    fn what_is_secret_in_a_url_is_not_shown() {
        let cases = [
            ("https://me:hunter2@h:1/p?q=1", "https://[REDACTED]@h:1/p?q=1"),
            ("https://token@h", "https://[REDACTED]@h"),
            (
                "http://h/p?a=b&access_token=xyz&Key=k",
                "http://h/p?a=b&access_token=[REDACTED]&Key=[REDACTED]",
            ),
            ("http://h?0123456789abcdef", "http://h?[REDACTED]"),
            ("http://h/p?a@b", "http://h/p?a@b"),
            ("http://h/@x", "http://h/@x"),
        ];
        for (url, shown) in cases {
            let target: Target = url.parse().unwrap();
            assert_eq!(target.shown(), shown);
            assert!(!format!("{target:?}").contains("hunter2"));
        }
    }

    #[test]
    fn lists_are_trimmed_and_each_target_stands_once() {
        let lists = ["http://a, ,http://b", "http://b,http://c", ""].map(|text| text.parse().unwrap());
        let urls: Vec<_> = Targets::joined(lists).0.iter().map(|target| target.url().to_owned()).collect();
        assert_eq!(urls, ["http://a", "http://b", "http://c"]);
    }

    #[test]
    fn a_path_is_added_before_the_query() {
        let join = |url: &str| url.parse::<Target>().unwrap().join("/v1/traces").url().to_owned();
        assert_eq!(join("http://h/"), "http://h/v1/traces");
        assert_eq!(join("http://h/otlp?key=1"), "http://h/otlp/v1/traces?key=1");
    }
}
