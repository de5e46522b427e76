//! The secrets a run knows by name: values of environment variables, in every form in which they
//! tend to be printed.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, Input, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::mask::{MaskMode, Masker};

/// The shortest value that counts as a secret.
pub const SHORTEST: usize = 6;

/// The shortest line of a value of several lines that is a secret of its own.
const SHORTEST_LINE: usize = 8;

/// A longer text is matched in pieces of this size, so that a stream is never held back further.
const PIECE: usize = 1_024;

/// What counts as a secret, built once per run and cheap to clone.
#[derive(Clone)]
pub struct Secrets(Arc<Inner>);

struct Inner {
    names: Vec<String>,
    /// All forms of all values, sorted.
    literals: Vec<Vec<u8>>,
    longest: usize,
    /// Whether a byte can be the first, or any but the last, of a literal.
    first: [bool; 256],
    inner: [bool; 256],
    searcher: Option<AhoCorasick>,
}

/// Shows the names only: a secret has no business in a debug print.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("names", &self.0.names).finish_non_exhaustive()
    }
}

impl Default for Secrets {
    fn default() -> Self {
        Self::new([] as [(&str, &str); 0])
    }
}

impl Secrets {
    /// Chooses the secrets among the variables of an environment.
    ///
    /// A variable is secret by its name (`…TOKEN…`, `…_KEY`), unless its value is too short, a
    /// plain word or a path; and by its value if that is a URL with a password.
    pub fn new<N: AsRef<str>, V: AsRef<[u8]>>(environment: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut names = Vec::new();
        let mut literals = Vec::new();
        for (name, value) in environment {
            let name = name.as_ref();
            if let Some(secret) = secret_of(name, value.as_ref()) {
                names.push(name.to_owned());
                add_forms(secret, &mut literals);
            }
        }
        names.sort();
        names.dedup();
        literals.sort();
        literals.dedup();
        Self(Arc::new(Inner::new(names, literals)))
    }

    /// Returns the names of the masked variables, sorted.
    pub fn names(&self) -> &[String] {
        &self.0.names
    }

    /// Masks a whole text: a title, a command, a summary.
    pub fn mask_text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut masker = Masker::new(self, MaskMode::Enforce);
        let mut masked = Vec::with_capacity(text.len());
        masker.push(text.as_bytes(), &mut masked);
        masker.finish(&mut masked);
        if masker.redactions().is_empty() {
            return Cow::Borrowed(text);
        }
        // A secret that is no text itself may end within a character.
        Cow::Owned(String::from_utf8_lossy(&masked).into_owned())
    }

    /// Returns the first, and there the longest, literal in `text` at or after `from`.
    pub(super) fn find(&self, text: &[u8], from: usize) -> Option<(usize, usize)> {
        let found = self.0.searcher.as_ref()?.find(Input::new(text).range(from..))?;
        Some((found.start(), found.end()))
    }

    /// Returns where, at or after `from`, the end of `text` may be the beginning of a literal,
    /// or its length.
    pub(super) fn unfinished(&self, text: &[u8], from: usize) -> usize {
        let (inner, len) = (&self.0, text.len());
        if !text.last().is_some_and(|last| inner.inner[usize::from(*last)]) {
            return len;
        }
        let from = from.max(len.saturating_sub(inner.longest.saturating_sub(1)));
        (from..len)
            .find(|&at| {
                let rest = &text[at..];
                let next = || inner.literals.partition_point(|literal| literal.as_slice() <= rest);
                inner.first[usize::from(rest[0])]
                    && inner.literals.get(next()).is_some_and(|literal| literal.starts_with(rest))
            })
            .unwrap_or(len)
    }
}

impl Inner {
    fn new(names: Vec<String>, literals: Vec<Vec<u8>>) -> Self {
        let (mut first, mut inner) = ([false; 256], [false; 256]);
        for literal in &literals {
            first[usize::from(literal[0])] = true;
            for byte in &literal[..literal.len() - 1] {
                inner[usize::from(*byte)] = true;
            }
        }
        let longest = literals.iter().map(Vec::len).max().unwrap_or(0);
        let searcher = (!literals.is_empty()).then(|| {
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(&literals)
                .expect("an environment is far smaller than what an automaton can hold")
        });
        Self { names, literals, longest, first, inner, searcher }
    }
}

/// Returns what of a variable is a secret, if anything is.
pub(super) fn secret_of<'a>(name: &str, value: &'a [u8]) -> Option<&'a [u8]> {
    let value = value.trim_ascii();
    match is_secret_name(name) && is_secret_value(name, value) {
        true => Some(value),
        false => password_of_url(value),
    }
}

/// Whether a variable of this name holds a secret.
fn is_secret_name(name: &str) -> bool {
    const PARTS: [&str; 10] = [
        "TOKEN",
        "SECRET",
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "API_KEY",
        "APIKEY",
        "ACCESS_KEY",
        "PRIVATE_KEY",
        "CREDENTIAL",
    ];
    const ENDS: [&str; 8] = ["_PAT", "_KEY", "_KEYS", "_PWD", "_PASS", "_AUTH", "_PSK", "_PIN"];
    let name = name.to_ascii_uppercase();
    PARTS.iter().any(|part| name.contains(part)) || ENDS.iter().any(|end| name.ends_with(end))
}

/// Whether the value of a secret-looking variable is worth masking, and safe to mask.
fn is_secret_value(name: &str, value: &[u8]) -> bool {
    const WORDS: [&str; 10] = [
        "disabled",
        "enabled",
        "default",
        "undefined",
        "required",
        "optional",
        "unknown",
        "always",
        "never",
        "inherit",
    ];
    let word = WORDS.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()));
    let number = value.len() < 8 && value.iter().all(u8::is_ascii_digit);
    let filler = value.iter().all(|byte| *byte == value[0]);
    value.len() >= SHORTEST && !(word || number || filler || is_path(name, value))
}

/// Whether a value names a file that holds the secret, and is none itself.
///
/// Some keys begin with a slash too, so it takes the name of the variable, or a file name with
/// an extension, or a folder that every machine has.
fn is_path(name: &str, value: &[u8]) -> bool {
    const NAMES: [&str; 6] = ["_FILE", "_PATH", "_DIR", "_SOCK", "_SOCKET", "_HOME"];
    const FOLDERS: [&str; 14] = [
        "/home/",
        "/Users/",
        "/etc/",
        "/var/",
        "/tmp/",
        "/run/",
        "/usr/",
        "/opt/",
        "/root/",
        "/private/",
        "/mnt/",
        "/srv/",
        "/dev/",
        "/workspace/",
    ];
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let rooted = ["/", "~/", "./", "../"].iter().any(|root| text.starts_with(root));
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-~@ ".contains(c);
    if !rooted || !text.chars().all(plain) {
        return false;
    }
    let name = name.to_ascii_uppercase();
    let file = text.rsplit('/').next().unwrap_or_default();
    let extension = file
        .rsplit_once('.')
        .is_some_and(|(stem, extension)| !stem.is_empty() && (1..=5).contains(&extension.len()));
    extension
        || NAMES.iter().any(|end| name.ends_with(end))
        || FOLDERS.iter().any(|folder| text.starts_with(folder))
}

/// Returns the password of a URL such as `postgres://user:password@host/`.
fn password_of_url(value: &[u8]) -> Option<&[u8]> {
    let text = std::str::from_utf8(value).ok()?;
    let (_, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (userinfo, _) = authority.rsplit_once('@')?;
    let (_, password) = userinfo.split_once(':')?;
    (password.len() >= SHORTEST).then_some(password.as_bytes())
}

/// Adds every form in which a value may be printed.
fn add_forms(value: &[u8], literals: &mut Vec<Vec<u8>>) {
    let mut add = |form: Vec<u8>| {
        if form.len() >= SHORTEST {
            let last = form.len().saturating_sub(PIECE).div_ceil(PIECE).max(1);
            for piece in 0..last {
                let end = if piece + 1 == last { form.len() } else { (piece + 1) * PIECE };
                literals.push(form[piece * PIECE..end].to_vec());
            }
        }
    };
    let lines = value.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
    let lines: Vec<&[u8]> = lines.filter(|line| line.len() >= SHORTEST_LINE && *line != value).collect();
    for text in std::iter::once(value).chain(lines) {
        add(text.to_vec());
        if let Ok(text) = std::str::from_utf8(text) {
            json_forms(text).into_iter().for_each(&mut add);
        }
        percent_forms(text).into_iter().for_each(&mut add);
    }
    base64_forms(value).into_iter().for_each(&mut add);
}

/// Returns the insides of the JSON strings for a text: as most write it, as ASCII (Python), and
/// with `<`, `>` and `&` escaped (Go).
fn json_forms(text: &str) -> [Vec<u8>; 3] {
    let json = serde_json::to_string(text).expect("a string is always valid JSON");
    let plain = &json[1..json.len() - 1];
    let mut ascii = String::new();
    for c in plain.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    let html = plain.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    [plain.into(), ascii.into(), html.into()]
}

/// Returns the text percent-encoded, as for a path or a query, with either case of digits.
fn percent_forms(text: &[u8]) -> Vec<Vec<u8>> {
    let encode = |kept: &[u8], lower: bool| {
        let mut form = String::new();
        for &byte in text {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || kept.contains(&byte) {
                form.push(byte as char);
            } else if lower {
                form.push_str(&format!("%{byte:02x}"));
            } else {
                form.push_str(&format!("%{byte:02X}"));
            }
        }
        form.into_bytes()
    };
    let mut forms = vec![encode(b"", false), encode(b"", true), encode(b"!*'()", false)];
    forms.push(encode(b"!$&'()*+,;=:@/?", false));
    let plus = String::from_utf8_lossy(&forms[0]).replace("%20", "+");
    forms.push(plus.into_bytes());
    forms
}

/// Returns what base64 makes of the value wherever it stands within other bytes, such as
/// `user:value`: the part that depends on the value only, for each of three positions.
fn base64_forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for before in 0..3 {
        let mut padded = vec![0; before];
        padded.extend_from_slice(value);
        // The first letters mix in what stands before, the last one what comes after.
        let start = [0, 2, 3][before];
        for encoded in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            let end = encoded.len() - usize::from(padded.len() % 3 != 0);
            if end >= start + SHORTEST {
                forms.push(encoded.as_bytes()[start..end].to_vec());
            }
        }
    }
    // On its own, the value has a last letter too.
    forms.push(STANDARD_NO_PAD.encode(value).into_bytes());
    forms.push(URL_SAFE_NO_PAD.encode(value).into_bytes());
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(environment: &[(&str, &str)]) -> Vec<String> {
        Secrets::new(environment.iter().copied()).names().to_vec()
    }

    #[test]
    fn names_and_values_tell_a_secret() {
        let secret = [
            ("GITHUB_TOKEN", "abcdef"),
            ("db_password", "hunter22"),
            ("MY_PAT", "0123456789"),
            ("AWS_SECRET_ACCESS_KEY", "/abc+def/ghijklmnopqrstuv"),
            ("SIGNING_KEY", "/abcdefghijklmnopqrstuv"),
            ("DATABASE_URL", "postgres://me:pa55word@host/db"),
        ];
        for variable in secret {
            assert_eq!(names(&[variable]), [variable.0]);
        }
        let plain = [
            ("HOME", "/home/someone"),
            ("SSH_AUTH_SOCK", "/tmp/ssh-x/agent.1"),
            ("GOOGLE_APPLICATION_CREDENTIALS", "/home/me/key.json"),
            ("TLS_KEY", "/etc/ssl/key"),
            ("TOKEN_FILE", "~/token"),
            ("MAX_TOKENS", "100000"),
            ("TOKENIZERS_PARALLELISM", "false"),
            ("API_KEY", "short"),
            ("SECRET", "default"),
            ("PATH", "/bin"),
            ("OLDPWD", "some folder"),
        ];
        for variable in plain {
            assert_eq!(names(&[variable]), [""; 0], "{variable:?}");
        }
    }

    #[test]
    fn every_form_of_a_value_is_masked() {
        let value = "p\"ä s\\s<w>ö/rd";
        let secrets = Secrets::new([("A_TOKEN", value)]);
        let around = STANDARD_NO_PAD.encode(format!("user:{value}, and more"));
        assert!(secrets.mask_text(&around).contains("[REDACTED]"));
        let forms = [
            value.to_owned(),
            serde_json::to_string(value).unwrap(),
            STANDARD_NO_PAD.encode(value),
            URL_SAFE_NO_PAD.encode(value),
            "p%22%C3%A4%20s%5Cs%3Cw%3E%C3%B6%2Frd".to_owned(),
            "p%22%C3%A4+s%5Cs%3Cw%3E%C3%B6%2Frd".to_owned(),
            "p\\\"\\u00e4 s\\\\s<w>\\u00f6/rd".to_owned(),
        ];
        for form in forms {
            let masked = secrets.mask_text(&form).replace('"', "");
            assert_eq!(masked, "[REDACTED]", "{form}");
        }
    }

    #[test]
    fn each_line_is_a_secret_but_not_its_braces() {
        let secrets = Secrets::new([("KEY_SECRET", "{\n  \"id\": \"0123456789\"\n}")]);
        assert_eq!(secrets.mask_text("{ x }"), "{ x }");
        assert_eq!(secrets.mask_text("> \"id\": \"0123456789\" <"), "> [REDACTED] <");
    }

    #[test]
    fn a_long_value_is_masked_in_pieces() {
        let value: String = (0..5_000).map(|n| char::from(b'a' + (n * n % 23) as u8)).collect();
        let secrets = Secrets::new([("BIG_SECRET", &value)]);
        assert!(secrets.0.longest < 2 * PIECE * 3);
        assert_eq!(secrets.mask_text(&format!("<{value}>")), "<[REDACTED]>");
    }
}
