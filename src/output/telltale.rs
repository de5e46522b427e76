//! By what a file is known to hold a secret: by shapes so plain, and values so odd, that ordinary source holds none.
//!
//! What is masked in the output of stages is far more, since to mask a word too many does no harm there.

use aho_corasick::{AhoCorasick, Input, packed};

use super::class::is_word;
use super::secrets::secret_of;

/// A value of the environment that is shorter may well be a word of the project.
const SHORTEST: usize = 16;
/// So many different bytes, and among them digits, tell a token from a placeholder.
const DIFFERENT: usize = 10;
const DIGITS: usize = 2;

/// What begins a secret, and how it goes on.
#[derive(Clone, Copy)]
struct Head {
    text: &'static str,
    goes_on: GoesOn,
}

#[derive(Clone, Copy)]
enum GoesOn {
    /// With a token of at least so many bytes.
    Token(usize, fn(u8) -> bool),
    /// With `=` or `:`, and then such a token.
    Assigned(usize, fn(u8) -> bool),
    /// As a PEM key does.
    Pem,
}

const fn alnum(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

const fn base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+' | b'=')
}

const fn token(text: &'static str, least: usize, of: fn(u8) -> bool) -> Head {
    Head { text, goes_on: GoesOn::Token(least, of) }
}

const fn assigned(text: &'static str, least: usize, of: fn(u8) -> bool) -> Head {
    Head { text, goes_on: GoesOn::Assigned(least, of) }
}

static HEADS: [Head; 23] = [
    token("ghp_", 36, alnum),
    token("gho_", 36, alnum),
    token("ghs_", 36, alnum),
    token("ghr_", 36, alnum),
    token("ghu_", 36, alnum),
    token("github_pat_", 40, is_word),
    token("glpat-", 20, is_word),
    token("xoxa-", 24, is_word),
    token("xoxb-", 24, is_word),
    token("xoxe-", 24, is_word),
    token("xoxp-", 24, is_word),
    token("xoxr-", 24, is_word),
    token("xoxs-", 24, is_word),
    token("npm_", 36, alnum),
    token("hf_", 34, alnum),
    token("sk-ant-", 40, is_word),
    token("sk-proj-", 40, is_word),
    token("sk_live_", 24, alnum),
    token("rk_live_", 24, alnum),
    token("AIza", 35, is_word),
    assigned("aws_secret_access_key", 40, base64),
    assigned("AWS_SECRET_ACCESS_KEY", 40, base64),
    Head { text: PEM, goes_on: GoesOn::Pem },
];

const PEM: &str = "-----BEGIN ";

/// Tells files with secrets from others.
pub struct Telltales {
    searcher: Option<packed::Searcher>,
    /// For processors without vector instructions.
    fallback: AhoCorasick,
    values: Vec<Vec<u8>>,
}

impl Telltales {
    /// Knows the shapes of secrets, and the values of an environment that are no ordinary words.
    pub fn new<'a>(environment: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let secrets = environment.into_iter().filter_map(|(name, value)| secret_of(name, value));
        let mut values: Vec<_> =
            secrets.filter(|value| value.len() >= SHORTEST && is_odd(value)).map(<[u8]>::to_vec).collect();
        values.sort();
        values.dedup();
        let patterns =
            || HEADS.iter().map(|head| head.text.as_bytes()).chain(values.iter().map(Vec::as_slice));
        Self {
            searcher: packed::Searcher::new(patterns()),
            fallback: AhoCorasick::new(patterns()).expect("a few short patterns"),
            values,
        }
    }

    /// Returns the values that are looked for, sorted.
    pub fn values(&self) -> &[Vec<u8>] {
        &self.values
    }

    /// Whether a text holds a secret.
    pub fn are_in(&self, text: &[u8]) -> bool {
        let mut from = 0;
        while let Some((start, which)) = self.find(text, from) {
            match HEADS.get(which) {
                Some(head) if !head.is_at(text, start) => from = start + 1,
                _ => return true,
            }
        }
        false
    }

    fn find(&self, text: &[u8], from: usize) -> Option<(usize, usize)> {
        let found = match &self.searcher {
            Some(searcher) => searcher.find_in(text, (from..text.len()).into()),
            None => self.fallback.find(Input::new(text).range(from..)),
        };
        found.map(|found| (found.start(), found.pattern().as_usize()))
    }
}

impl Head {
    /// Whether what begins at `start` is a secret.
    fn is_at(&self, text: &[u8], start: usize) -> bool {
        let rest = &text[start + self.text.len()..];
        let has_token = |rest: &[u8], least: usize, of: fn(u8) -> bool| {
            let token = &rest[..rest.iter().position(|byte| !of(*byte)).unwrap_or(rest.len())];
            token.len() >= least && is_odd(token)
        };
        let in_a_word = start.checked_sub(1).is_some_and(|before| is_word(text[before]));
        match self.goes_on {
            GoesOn::Token(least, of) => !in_a_word && has_token(rest, least, of),
            GoesOn::Assigned(least, of) => {
                let sign = |byte: &u8| !matches!(byte, b'=' | b':' | b' ' | b'\t' | b'"' | b'\'');
                let value = rest.iter().position(sign).unwrap_or(rest.len());
                value > 0 && value < 8 && has_token(&rest[value..], least, of)
            }
            GoesOn::Pem => is_pem(text, start),
        }
    }
}

/// Whether a PEM private key begins there: at the beginning of a line or, in a file where everything is further in, with
/// its content in the next line.
fn is_pem(text: &[u8], start: usize) -> bool {
    let line = text[..start].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let further_in = &text[line..start];
    let mut lines = text[start..].split(|byte| *byte == b'\n');
    let head = lines.next().unwrap_or_default().trim_ascii_end();
    if head.len() > 100 || !head.ends_with(b"-----") || !head.windows(11).any(|part| part == b"PRIVATE KEY") {
        return false;
    }
    match further_in {
        [] => true,
        blanks if blanks.trim_ascii().is_empty() => {
            let next = lines.next().unwrap_or_default().trim_ascii();
            next.len() >= SHORTEST && next.iter().all(|byte| base64(*byte))
        }
        _ => false,
    }
}

/// Whether nobody would write this as a word or as a placeholder.
fn is_odd(token: &[u8]) -> bool {
    let mut seen = [false; 256];
    token.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    token.iter().filter(|byte| byte.is_ascii_digit()).count() >= DIGITS
        && seen.into_iter().filter(|seen| *seen).count() >= DIFFERENT
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "16C7e42F292c6912E7710c838347Ae178B4a";

    fn is_told(text: &str) -> bool {
        let environment = [("API_TOKEN", &b"dG9rZW4tMTIzNDU2Nzg5"[..]), ("DB_PASSWORD", b"postgres")];
        Telltales::new(environment).are_in(text.as_bytes())
    }

    #[test]
    fn tokens_keys_and_values_of_the_environment_are_told_wherever_they_stand() {
        for text in [
            format!("ghp_{BODY}"),
            format!("env:\n  TOKEN: \"ghp_{BODY}\"\n"),
            format!("//registry.npmjs.org/:_authToken=npm_{BODY}\n"),
            format!("[default]\naws_secret_access_key = {BODY}/abc\n"),
            format!("ghp_short ghp_{BODY}"),
            "url = https://x:dG9rZW4tMTIzNDU2Nzg5@host/".to_owned(),
            "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nMII\n"
                .to_owned(),
            "key: |\n  -----BEGIN RSA PRIVATE KEY-----\n  MIIEpAIBAAKCAQEA7\n".to_owned(),
            "-----BEGIN PGP PRIVATE KEY BLOCK-----\r\n".to_owned(),
        ] {
            assert!(is_told(&text), "{text}");
        }
    }

    #[test]
    fn source_placeholders_and_what_is_public_are_not() {
        for text in [
            "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx".to_owned(),
            "const PREFIX: &str = \"ghp_\";".to_owned(),
            format!("sha256-ghp_{}", &BODY[..20]),
            format!("my_ghp_{BODY}"),
            "aws_secret_access_key=${AWS_SECRET}".to_owned(),
            "the password of postgres is postgres".to_owned(),
            "-----BEGIN PUBLIC KEY-----\nMII".to_owned(),
            "// -----BEGIN PRIVATE KEY-----".to_owned(),
            "\"-----BEGIN PRIVATE KEY-----\\nMII\"".to_owned(),
            "    -----BEGIN PRIVATE KEY-----\n    ...\n".to_owned(),
            String::new(),
        ] {
            assert!(!is_told(&text), "{text}");
        }
    }
}
