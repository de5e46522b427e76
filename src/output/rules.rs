//! The shapes by which a secret is known that no environment variable holds.
//!
//! A rule begins at a *trigger*: three letters that are rare in ordinary output and that every
//! match must hold. [`Triggers::judge`] looks at what stands around them and says no, yes, or that it
//! needs more bytes; what then belongs to the secret is swallowed by its [`Class`] of bytes, so a
//! secret of any length needs only as much of it at hand as tells it from ordinary text.
//!
//! `sensitive-token` masks what the word `token`, `secret`, `password` or `api key` is set to.
//! It spares what is plainly code or a placeholder: `token: String,`, `secret = load(…)`,
//! `unexpected token: ident`, `${TOKEN}`. Right after a lone `=`, as in `password=…`, it spares
//! placeholders only.

use std::sync::LazyLock;

use aho_corasick::packed;

use super::class::{Class, Pem, is_base64, is_blank, is_quote, is_value, is_word};

/// A value that the environment says is secret.
pub const KNOWN_SECRET: &str = "known-secret";
/// A PEM private key.
pub const PRIVATE_KEY: &str = "private-key";
/// The value of a word such as `password`, or an AWS key id.
pub const SENSITIVE_TOKEN: &str = "sensitive-token";
/// The credentials of an `Authorization` header.
pub const AUTHORIZATION: &str = "authorization";
/// The user's part of a URL.
pub const URL_CREDENTIALS: &str = "url-credentials";
/// A JSON web token.
pub const JWT: &str = "jwt";
const GITHUB: &str = "github-token";
const GITLAB: &str = "gitlab-token";
const SLACK: &str = "slack-token";
const MODEL_API: &str = "model-api-key";
const NPM: &str = "npm-token";
const STRIPE: &str = "stripe-key";
const GOOGLE: &str = "google-api-key";

/// How many bytes a rule may look back from its trigger.
pub const LOOK_BACK: usize = 32;

/// The length of every trigger.
pub const TRIGGER_BYTES: usize = 3;

/// The longest header of a JSON web token, and the longest password in a URL.
const LONGEST: usize = 2_048;

/// The bytes at hand.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    pub text: &'a [u8],
    /// `text` in ASCII lower case.
    pub folded: &'a [u8],
    /// Whether nothing comes after `text`.
    pub eof: bool,
}

/// The bytes at hand do not suffice.
struct More;

impl Look<'_> {
    fn byte(&self, at: usize) -> Result<u8, More> {
        match self.text.get(at) {
            Some(byte) => Ok(*byte),
            // Whatever was expected, the end of the stream is none of it.
            None if self.eof => Ok(b'\n'),
            None => Err(More),
        }
    }

    /// Returns how many bytes from `at` on are `of` a kind, counting no further than `max`.
    fn run(&self, at: usize, max: usize, of: impl Fn(u8) -> bool) -> Result<usize, More> {
        for n in 0..max {
            if !of(self.byte(at + n)?) {
                return Ok(n);
            }
        }
        Ok(max)
    }

    /// Whether `word`, in lower case, stands at `at` in any case.
    fn has(&self, at: usize, word: &[u8]) -> Result<bool, More> {
        begins(&self.folded[at.min(self.folded.len())..], word, self.eof)
    }
}

fn begins(rest: &[u8], word: &[u8], eof: bool) -> Result<bool, More> {
    if rest.len() < word.len() && !eof && word.starts_with(rest) {
        return Err(More);
    }
    Ok(rest.starts_with(word))
}

/// What a rule says about one trigger.
pub enum Verdict {
    No,
    /// Undecided; bytes from here on may turn out to be a secret.
    Wait(usize),
    Found {
        rule: &'static str,
        start: usize,
        until: Until,
    },
}

/// Where a secret ends.
pub enum Until {
    Byte(usize),
    /// Where the class of its bytes ends.
    End(Class),
}

/// A token that is known by how it begins.
struct Head {
    text: &'static str,
    /// Where in `text` the trigger stands.
    back: usize,
    rule: &'static str,
    /// How many bytes of a kind must follow.
    min: usize,
    of: fn(u8) -> bool,
    /// Whether it ends after these.
    exact: bool,
    /// Whether the head is too common to count in the middle of a word, or before a plain word.
    weak: bool,
}

const fn head(text: &'static str, back: usize, rule: &'static str, min: usize, of: fn(u8) -> bool) -> Head {
    Head { text, back, rule, min, of, exact: false, weak: false }
}

const fn aws(text: &'static str) -> Head {
    let of = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    Head { exact: true, ..head(text, 1, SENSITIVE_TOKEN, 16, of) }
}

const fn alnum(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

static HEADS: [Head; 22] = [
    aws("AKIA"),
    aws("ASIA"),
    head("ghp_", 0, GITHUB, 20, alnum),
    head("gho_", 0, GITHUB, 20, alnum),
    head("ghs_", 0, GITHUB, 20, alnum),
    head("ghr_", 0, GITHUB, 20, alnum),
    head("ghu_", 0, GITHUB, 20, alnum),
    head("github_pat_", 5, GITHUB, 20, is_word),
    head("glpat-", 0, GITLAB, 16, is_word),
    head("xoxa-", 0, SLACK, 10, is_word),
    head("xoxb-", 0, SLACK, 10, is_word),
    head("xoxe-", 0, SLACK, 10, is_word),
    head("xoxp-", 0, SLACK, 10, is_word),
    head("xoxr-", 0, SLACK, 10, is_word),
    head("xoxs-", 0, SLACK, 10, is_word),
    Head { weak: true, ..head("sk-", 0, MODEL_API, 20, is_word) },
    head("hf_", 0, MODEL_API, 30, alnum),
    head("npm_", 1, NPM, 20, alnum),
    head("sk_live_", 2, STRIPE, 12, alnum),
    head("rk_live_", 2, STRIPE, 12, alnum),
    head("AIza", 0, GOOGLE, 30, is_word),
    // A JSON web token has a judge of its own and is here for `unfinished_head` only.
    head("eyJ", 0, JWT, 10, is_word),
];

const PEM_HEAD: &[u8] = b"-----begin";

const WORDS: [(&str, usize, &[&str]); 13] = [
    ("oke", 1, &["token"]),
    (
        "ecr",
        1,
        &[
            "secret_access_key",
            "secret-access-key",
            "secretaccesskey",
            "secret_key_base",
            "secret_key",
            "secret-key",
            "secretkey",
            "secret",
        ],
    ),
    ("ssw", 2, &["password", "passwd"]),
    ("ssp", 2, &["passphrase"]),
    ("pik", 1, &["apikey"]),
    ("i_k", 2, &["api_key"]),
    ("i-k", 2, &["api-key"]),
    ("e_k", 6, &["private_key"]),
    ("e-k", 6, &["private-key"]),
    ("eke", 6, &["privatekey"]),
    ("s_k", 5, &["access_key"]),
    ("s-k", 5, &["access-key"]),
    ("ssk", 4, &["accesskey"]),
];

enum Judge {
    Heads(Vec<&'static Head>),
    Word { back: usize, words: &'static [&'static str] },
    Pem,
    Jwt,
    Url,
    Authorization,
    Bearer,
}

/// Finds triggers, and knows whose they are.
pub struct Triggers {
    searcher: Option<packed::Searcher>,
    /// For processors without vector instructions.
    fallback: aho_corasick::AhoCorasick,
    judges: Vec<(Vec<u8>, Judge)>,
}

/// All triggers, in lower case.
pub static TRIGGERS: LazyLock<Triggers> = LazyLock::new(|| {
    let mut judges: Vec<(Vec<u8>, Judge)> =
        WORDS.iter().map(|&(trigger, back, words)| (trigger.into(), Judge::Word { back, words })).collect();
    for (trigger, judge) in [
        ("-be", Judge::Pem),
        ("eyj", Judge::Jwt),
        ("://", Judge::Url),
        ("riz", Judge::Authorization),
        ("bea", Judge::Bearer),
    ] {
        judges.push((trigger.into(), judge));
    }
    for head in HEADS.iter().filter(|head| head.rule != JWT) {
        let trigger = head.text.as_bytes()[head.back..][..TRIGGER_BYTES].to_ascii_lowercase();
        let known = judges.iter_mut().find(|(known, _)| *known == trigger);
        match known {
            Some((_, Judge::Heads(heads))) => heads.push(head),
            _ => judges.push((trigger, Judge::Heads(vec![head]))),
        }
    }
    let patterns = || judges.iter().map(|(trigger, _)| trigger);
    Triggers {
        searcher: packed::Searcher::new(patterns()),
        fallback: aho_corasick::AhoCorasick::new(patterns()).expect("a few short patterns"),
        judges,
    }
});

impl Triggers {
    /// Returns the first trigger in `folded` at or after `from`: where it stands and which it is.
    pub fn find(&self, folded: &[u8], from: usize) -> Option<(usize, usize)> {
        let found = match &self.searcher {
            Some(searcher) => searcher.find_in(folded, (from..folded.len()).into()),
            None => self.fallback.find(aho_corasick::Input::new(folded).range(from..)),
        };
        found.map(|found| (found.start(), found.pattern().as_usize()))
    }

    /// Says whether the trigger number `which`, found at `at`, belongs to a secret.
    pub fn judge(&self, which: usize, look: Look<'_>, at: usize) -> Verdict {
        match &self.judges[which].1 {
            Judge::Heads(heads) => {
                for head in heads {
                    match judge_head(head, look, at) {
                        Verdict::No => {}
                        verdict => return verdict,
                    }
                }
                Verdict::No
            }
            Judge::Word { back, words } => judge_word(look, at, *back, words),
            Judge::Pem => judge_pem(look, at),
            Judge::Jwt => judge_jwt(look, at),
            Judge::Url => judge_url(look, at),
            Judge::Authorization => judge_authorization(look, at),
            Judge::Bearer => judge_bearer(look, at),
        }
    }
}

/// Returns where the end of the text may be the beginning of a [`Head`], or its length.
pub fn unfinished_head(look: Look<'_>) -> usize {
    let len = look.text.len();
    for at in len.saturating_sub(LOOK_BACK / 2)..len {
        let rest = &look.text[at..];
        let begins = |head: &Head| head.text.len() > rest.len() && head.text.as_bytes().starts_with(rest);
        if (begins_token(look.text, at) && HEADS.iter().any(begins))
            || PEM_HEAD.len() > rest.len() && PEM_HEAD.starts_with(&look.folded[at..])
        {
            return at;
        }
    }
    len
}

/// Whether a token can begin here: not in the middle of a word, unless that word is the end of
/// an escape, as in `\n`, `%3D` or the colour `ESC [ 3 2 m`.
fn begins_token(text: &[u8], at: usize) -> bool {
    let Some(&last) = text[..at].last() else { return true };
    if !last.is_ascii_alphanumeric() {
        return true;
    }
    let before = &text[at.saturating_sub(12)..at - 1];
    before.ends_with(b"\\")
        || (last.is_ascii_hexdigit() && before.len() >= 2 && before[before.len() - 2] == b'%')
        || (last == b'm' && before.contains(&0x1b))
}

fn decided(wait: usize, verdict: Result<Verdict, More>) -> Verdict {
    verdict.unwrap_or(Verdict::Wait(wait))
}

fn judge_head(head: &Head, look: Look<'_>, at: usize) -> Verdict {
    let Some(start) = at.checked_sub(head.back) else { return Verdict::No };
    let boundary = begins_token(look.text, start);
    if head.weak && !boundary {
        return Verdict::No;
    }
    let body = start + head.text.len();
    // In the middle of a word the head itself may be out already, and is no secret anyway.
    let start_of_mask = if boundary { start } else { body };
    decided(
        start_of_mask,
        (|| {
            if !begins(&look.text[start..], head.text.as_bytes(), look.eof)?
                || look.run(body, head.min, head.of)? < head.min
                || (head.weak && !looks_random(look, body)?)
            {
                return Ok(Verdict::No);
            }
            let until = if head.exact { Until::Byte(body + head.min) } else { Until::End(Class::Word) };
            Ok(Verdict::Found { rule: head.rule, start: start_of_mask, until })
        })(),
    )
}

/// Whether the first letters hold enough digits and capitals to be no name.
fn looks_random(look: Look<'_>, at: usize) -> Result<bool, More> {
    let len = look.run(at, 24, is_value)?;
    let random = |b: &&u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    Ok(look.text[at..at + len].iter().filter(random).count() >= 3)
}

fn judge_jwt(look: Look<'_>, at: usize) -> Verdict {
    if !begins_token(look.text, at)
        || !look.text[at..].starts_with(b"eyJ")
        || at > 0 && matches!(look.text[at - 1], b'-' | b'_')
    {
        return Verdict::No;
    }
    decided(
        at,
        (|| {
            let header = look.run(at, LONGEST, is_word)?;
            if header < 12 || look.byte(at + header)? != b'.' || look.run(at + header + 1, 10, is_word)? < 10
            {
                return Ok(Verdict::No);
            }
            Ok(Verdict::Found { rule: JWT, start: at, until: Until::End(Class::Dotted) })
        })(),
    )
}

fn judge_pem(look: Look<'_>, at: usize) -> Verdict {
    let Some(start) = at.checked_sub(4) else { return Verdict::No };
    decided(
        start,
        (|| {
            let label = start + PEM_HEAD.len();
            if !look.has(start, PEM_HEAD)? {
                return Ok(Verdict::No);
            }
            let len = look.run(label, 48, |b| b != b'-' && b != b'\n')?;
            let label = &look.folded[label..label + len];
            let private = label.windows(7).position(|part| part == b"private");
            let is_key = private.is_some_and(|at| label[at..].windows(3).any(|part| part == b"key"));
            if !is_key || look.byte(start + PEM_HEAD.len() + len)? != b'-' {
                return Ok(Verdict::No);
            }
            let class = Class::Pem(Pem::default());
            Ok(Verdict::Found { rule: PRIVATE_KEY, start, until: Until::End(class) })
        })(),
    )
}

fn judge_url(look: Look<'_>, at: usize) -> Verdict {
    let user = at + TRIGGER_BYTES;
    let inside = |b: u8| is_value(b) && !matches!(b, b'/' | b'?' | b'#' | b'<' | b'>' | b'\\');
    let Ok(len) = look.run(user, 256, |b| inside(b) && b != b':' && b != b'@') else {
        return Verdict::Wait(user);
    };
    let password = user + len + 1;
    let rule = URL_CREDENTIALS;
    match look.byte(user + len) {
        // Held from the user on: it may be a token, and its own rule comes after this one.
        Ok(b':') => decided(
            user,
            (|| {
                let len = look.run(password, LONGEST, inside)?;
                let host = look.text[password..password + len].iter().rposition(|b| *b == b'@');
                Ok(match host {
                    Some(end) if end > 0 => {
                        Verdict::Found { rule, start: password, until: Until::Byte(password + end) }
                    }
                    _ => Verdict::No,
                })
            })(),
        ),
        // A token in place of a user: `https://TOKEN@host/`.
        Ok(b'@') if len >= 20 && look.text[user..user + len].iter().any(u8::is_ascii_digit) => {
            Verdict::Found { rule, start: user, until: Until::Byte(user + len) }
        }
        Ok(_) => Verdict::No,
        Err(More) => Verdict::Wait(user),
    }
}

fn judge_authorization(look: Look<'_>, at: usize) -> Verdict {
    let Some(start) = at.checked_sub(5) else { return Verdict::No };
    let nothing = look.text.len();
    let value = match (|| {
        if !look.has(start, b"authorization")? {
            return Ok(None);
        }
        separator(look, start + b"authorization".len())
    })() {
        Ok(Some((value, _))) => value,
        Ok(None) => return Verdict::No,
        Err(More) => return Verdict::Wait(nothing),
    };
    let scheme = (|| {
        let slashes = look.run(value, 8, |b| b == b'\\')?;
        let opening = slashes + usize::from(is_quote(look.byte(value + slashes)?));
        let scheme = value + opening;
        for name in ["bearer", "basic", "token", "apikey", "negotiate"] {
            if look.has(scheme, name.as_bytes())? {
                let end = scheme + name.len();
                let blanks = look.run(end, 8, is_blank)?;
                return Ok((blanks > 0).then_some(end + blanks));
            }
        }
        Ok(None)
    })();
    match scheme {
        Ok(Some(start)) => judge_unquoted(look, start, AUTHORIZATION, true),
        Ok(None) => judge_value(look, value, AUTHORIZATION, false),
        Err(More) => Verdict::Wait(nothing.min(value)),
    }
}

fn judge_bearer(look: Look<'_>, at: usize) -> Verdict {
    let nothing = look.text.len();
    let blanks = match look.has(at, b"bearer") {
        Ok(true) => look.run(at + 6, 4, is_blank),
        Ok(false) => return Verdict::No,
        Err(More) => Err(More),
    };
    let start = match blanks {
        Ok(0) => return Verdict::No,
        Ok(blanks) => at + 6 + blanks,
        Err(More) => return Verdict::Wait(nothing),
    };
    decided(
        start,
        (|| {
            let long = look.run(start, 20, |b| is_word(b) || is_base64(b) || matches!(b, b'.' | b'~'))?;
            if long < 20 || !looks_random(look, start)? {
                return Ok(Verdict::No);
            }
            Ok(Verdict::Found { rule: AUTHORIZATION, start, until: Until::End(Class::Value) })
        })(),
    )
}

fn judge_word(look: Look<'_>, at: usize, back: usize, words: &[&str]) -> Verdict {
    let Some(start) = at.checked_sub(back) else { return Verdict::No };
    let found = (|| {
        for word in words {
            if look.has(start, word.as_bytes())? {
                return separator(look, start + word.len());
            }
        }
        Ok(None)
    })();
    match found {
        // What a parser says: `unexpected token: …`.
        Ok(Some(_)) if look.folded[..start].ends_with(b"expected ") => Verdict::No,
        Ok(Some((value, tight))) => judge_value(look, value, SENSITIVE_TOKEN, tight),
        Ok(None) => Verdict::No,
        // Up to the separator there is nothing to hide.
        Err(More) => Verdict::Wait(look.text.len()),
    }
}

/// Skips `=` or `:` and what may stand around it. Returns where the value begins, and whether
/// the separator is a lone `=` without blanks.
fn separator(look: Look<'_>, word_end: usize) -> Result<Option<(usize, bool)>, More> {
    let at = gap(look, word_end, |b| is_blank(b) || is_quote(b) || matches!(b, b'\\' | b']'))?;
    let first = look.byte(at)?;
    let end = match (first, look.byte(at + 1)) {
        (b':', Ok(b':')) => return Ok(None),
        (b':', Ok(b'=')) => at + 2,
        (b':', Ok(_)) => at + 1,
        (b'=', Ok(b'=' | b'>')) => at + 1 + look.run(at + 1, 2, |b| matches!(b, b'=' | b'>'))?,
        (b'=', Ok(_)) => at + 1,
        (b':' | b'=', Err(More)) => return Err(More),
        _ => return Ok(None),
    };
    let value = gap(look, end, is_blank)?;
    Ok(Some((value, first == b'=' && at == word_end && value == at + 1)))
}

/// Skips some bytes `of` a kind, and colours.
fn gap(look: Look<'_>, mut at: usize, of: impl Fn(u8) -> bool) -> Result<usize, More> {
    let start = at;
    while at < start + 48 {
        if of(look.byte(at)?) {
            at += 1;
        } else if look.byte(at)? == 0x1b && look.byte(at + 1)? == b'[' {
            let len = look.run(at + 2, 16, |b| b.is_ascii_digit() || b == b';')?;
            if look.byte(at + 2 + len)? != b'm' {
                break;
            }
            at += len + 3;
        } else {
            break;
        }
    }
    Ok(at)
}

fn judge_value(look: Look<'_>, value: usize, rule: &'static str, tight: bool) -> Verdict {
    let quoted = (|| {
        let literal = usize::from(matches!(look.byte(value)?, b'b' | b'r' | b'u' | b'f'));
        for prefix in 0..=literal {
            let at = value + prefix;
            let slashes = look.run(at, 8, |b| b == b'\\')?;
            let quote = look.byte(at + slashes)?;
            if is_quote(quote) {
                return Ok(Some((at + slashes + 1, quote, slashes > 0)));
            }
        }
        Ok(None)
    })();
    match quoted {
        Err(More) => Verdict::Wait(value.min(look.text.len())),
        Ok(None) => judge_unquoted(look, value, rule, tight),
        Ok(Some((start, quote, escaped))) => decided(
            start.min(look.text.len()),
            (|| {
                let inside = |b: u8| b != quote && !matches!(b, b'\n' | b'\r') && !(escaped && b == b'\\');
                let len = look.run(start, 64, inside)?;
                let content = &look.text[start..start + len];
                // The reference counts six bytes with the quotes.
                let spared = len < 4
                    || len < 64 && is_placeholder(content)
                    || len < 64 && quote == b'`' && !tight && !content.iter().any(u8::is_ascii_digit);
                if spared {
                    return Ok(Verdict::No);
                }
                let until = Until::End(Class::Quoted { quote, escaped });
                Ok(Verdict::Found { rule, start, until })
            })(),
        ),
    }
}

fn judge_unquoted(look: Look<'_>, start: usize, rule: &'static str, tight: bool) -> Verdict {
    decided(
        start.min(look.text.len()),
        (|| {
            let len = look.run(start, 64, is_value)?;
            let value = &look.text[start..start + len];
            let spared = len < 6 || len < 64 && (is_placeholder(value) || !tight && is_code(value));
            if spared {
                return Ok(Verdict::No);
            }
            Ok(Verdict::Found { rule, start, until: Until::End(Class::Value) })
        })(),
    )
}

/// Whether a value only stands for one: `${TOKEN}`, `<token>`, `******`.
fn is_placeholder(value: &[u8]) -> bool {
    let closed = |open: &[u8], close: &[u8]| {
        value.starts_with(open) && value.windows(close.len()).any(|part| part == close)
    };
    value.iter().all(|b| *b == value[0] && !b.is_ascii_digit())
        || closed(b"${", b"}")
        || closed(b"$(", b")")
        || closed(b"{{", b"}}")
        || closed(b"<", b">")
        || value.starts_with(b"[REDACTED]")
}

/// Words that follow a colon in code and in sentences.
const PLAIN_WORDS: [&str; 30] = [
    "string",
    "number",
    "boolean",
    "integer",
    "object",
    "undefined",
    "nullptr",
    "default",
    "optional",
    "required",
    "missing",
    "expected",
    "invalid",
    "expired",
    "unknown",
    "function",
    "private",
    "public",
    "static",
    "readonly",
    "symbol",
    "buffer",
    "option",
    "identifier",
    "present",
    "absent",
    "accepted",
    "rejected",
    "disabled",
    "enabled",
];

/// First words of a path into a program's own values.
const ROOTS: [&str; 16] = [
    "self", "this", "process", "os", "env", "secrets", "config", "args", "opts", "options", "params", "req",
    "request", "ctx", "settings", "std",
];

/// Whether a value is plainly a type, a call or a path of a program.
fn is_code(value: &[u8]) -> bool {
    let core = value.iter().rposition(|b| !matches!(b, b',' | b';' | b')' | b'}' | b']' | b'.'));
    let core = &value[..core.map_or(0, |last| last + 1)];
    let letters = |text: &[u8]| text.iter().all(|b| b.is_ascii_alphabetic() || *b == b'_');
    if PLAIN_WORDS.iter().any(|word| core.eq_ignore_ascii_case(word.as_bytes())) {
        return true;
    }
    let name = value.iter().take_while(|b| b.is_ascii_alphabetic() || **b == b'_').count();
    let (name, rest) = value.split_at(name);
    match rest.first() {
        Some(b'(' | b'<' | b'[' | b'{') if !name.is_empty() => true,
        Some(b':') if !name.is_empty() => rest.starts_with(b"::"),
        Some(b'!') if !name.is_empty() => matches!(rest.get(1), Some(b'(' | b'[' | b'{')),
        Some(b'.') => {
            ROOTS.iter().any(|root| name == root.as_bytes())
                && core.iter().all(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'.' | b'('))
        }
        // `&str,` and `$TOKEN`
        Some(b'&' | b'$') if name.is_empty() => {
            core.len() > 1
                && letters(&core[1..])
                && (rest[0] == b'&' || !core[1..].iter().any(u8::is_ascii_lowercase))
        }
        // `TokenKind,` but not at the end of a line, where it may be a pass phrase.
        Some(b',' | b';' | b')' | b'}') => {
            name == core
                && name.first().is_some_and(u8::is_ascii_uppercase)
                && name.iter().any(u8::is_ascii_lowercase)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::output::{MaskMode, Masker, Secrets};

    /// Returns what is left of a text, and the rule that saw it first.
    fn masked(text: &str) -> (String, &'static str) {
        let mut masker = Masker::new(&Secrets::default(), MaskMode::Enforce);
        let mut out = Vec::new();
        masker.push(text.as_bytes(), &mut out);
        masker.finish(&mut out);
        (String::from_utf8(out).unwrap(), masker.redactions().first().map_or("", |found| found.rule))
    }

    #[test]
    fn secrets_are_known_by_their_shape() {
        // `§` marks what is masked.
        let table = [
            ("sensitive-token", "password=§hunter2secret§"),
            ("sensitive-token", "PassWord = §hunter2secret§ next"),
            ("sensitive-token", "tOkEn: §abcdef§"),
            ("sensitive-token", "api-key:§a1b2c3§\n"),
            ("sensitive-token", "AWS_SECRET_ACCESS_KEY=§wJalrXUtnFEMI/K7MDENG§"),
            ("sensitive-token", "{\"password\":\"§a b\\\"c§\",\"x\":1}"),
            ("sensitive-token", "{\"msg\":\"{\\\"token\\\":\\\"§abcdef§\\\"}\"}"),
            ("sensitive-token", "{ password: \x1b[32m'§hunter2§'\x1b[39m }"),
            ("sensitive-token", "let token = \"§abc def§\";"),
            ("sensitive-token", "const SECRET: &str = x; secret = b\"§1234§\""),
            ("sensitive-token", "id §AKIAIOSFODNN7EXAMPLE§."),
            ("sensitive-token", "idAKIA§IOSFODNN7EXAMPLE§."),
            ("github-token", "a §ghp_0123456789abcdefghij0123456789§ b"),
            ("github-token", "\\n§ghp_0123456789abcdefghij0123456789§\\n"),
            ("github-token", "\x1b[1m§github_pat_0123456789abcdefghij_0123456789§\x1b[0m"),
            ("gitlab-token", "§glpat-0123456789abcdefghij§"),
            ("slack-token", "§xoxb-0123456789-abcdef§"),
            ("model-api-key", "§sk-ant-api03-AbCdEfGh0123456789§"),
            ("npm-token", "§npm_0123456789abcdefghij0123456789abcdef§"),
            ("stripe-key", "§sk_live_0123456789abcdef§"),
            ("google-api-key", "§AIzaSyA0123456789abcdefghijklmnopqrstuv§"),
            ("jwt", "§eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.c2lnbmF0dXJl§"),
            ("authorization", "Authorization: Bearer §abcdef0123§"),
            ("authorization", "> authorization: Basic §dXNlcjpwYXNz§\r\n"),
            ("authorization", "{'Authorization': 'Bearer §abcdef0123§'}"),
            ("authorization", "sent bearer §0123456789ABCDEFabcdef§"),
            ("url-credentials", "https://me:§p@ss§@host/path"),
            ("url-credentials", "https://§0123456789abcdef0123456789§@host/path"),
            ("private-key", "a\n§-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----§\nb"),
            (
                "private-key",
                "§-----begin OPENSSH private key-----\nb3Blb\n-----END OPENSSH PRIVATE KEY-----§",
            ),
            (
                "private-key",
                "§-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\n§\nb",
            ),
            (
                "private-key",
                "k=\"§-----BEGIN EC PRIVATE KEY-----\\nMIIE\\n-----END EC PRIVATE KEY-----§\\n\"",
            ),
        ];
        for (rule, marked) in table {
            let text = marked.replace('§', "");
            let parts: Vec<&str> = marked.split('§').collect();
            let left = format!("{}[REDACTED]{}", parts[0], parts[2]);
            assert_eq!(masked(&text), (left, rule), "{text}");
        }
    }

    #[test]
    fn a_key_without_an_end_is_masked_as_far_as_it_goes() {
        let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n";
        let text = format!("-----BEGIN PRIVATE KEY-----\n{}one\ntwo\nthree\nfour\nfive", line.repeat(9));
        assert_eq!(masked(&text).0, "[REDACTED]\nthree\nfour\nfive");
        let text = format!("-----BEGIN PRIVATE KEY-----\n{}", line.repeat(2_000));
        assert!(masked(&text).0.len() < text.len() - 32_000);
    }

    #[test]
    fn ordinary_output_stays() {
        let table = [
            "    token: String,",
            "    pub token: Option<Token>,",
            "secret = None,",
            "token: TokenStream)",
            "let password = prompt_password(\"Password: \")?;",
            "const token = process.env.API_TOKEN;",
            "token: &str, password: &'static str",
            "error: unexpected token: `identifier`",
            "Unexpected token: punctuation",
            "token::TokenKind::Ident",
            "password: ******",
            "token=${GITHUB_TOKEN} secret: <your-secret-here>",
            "secret: required",
            "tokens: 123456789 tokenizer: abcdefgh",
            "Listening on http://localhost:3000/ and http://[::1]:80/",
            "git@github.com:owner/repo.git ssh://git@github.com/owner/repo",
            "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
            "----------------------------------------",
            "sk-fading-circle-container-wide task-2024-01-02-03-04-05",
            "npm_config_registry=https://registry.npmjs.org/",
            "the bearer of bad news",
            "test output::mask::tests::token ... ok",
        ];
        for text in table {
            assert_eq!(masked(text), (text.to_owned(), ""));
        }
    }
}
