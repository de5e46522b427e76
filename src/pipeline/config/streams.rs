//! The section `streams` of the configuration.

use std::num::NonZeroU16;
use std::time::Duration;

use super::{ConfigError, Fields, Problem, Reader, Value, shown, span};
use crate::pipeline::streams::{PortRange, Streams};

pub(in crate::pipeline) const STREAM_KEYS: &[&str] =
    &["path", "setup", "teardown", "setupTimeout", "ports", "database", "lfs"];
pub(in crate::pipeline) const PORT_KEYS: &[&str] = &["from", "to", "count"];

impl Reader<'_> {
    pub(super) fn streams(&self, top: &Fields<'_, '_>) -> Result<Streams, ConfigError> {
        let mut read = Streams::default();
        let Some(value) = top.get("streams") else { return Ok(read) };
        let section = self.object(value, "`streams`", "`streams`")?;
        section.only(STREAM_KEYS, |_| None)?;
        if let Some(path) = self.template(&section, "path")? {
            read.path = path;
        }
        read.database = self.template(&section, "database")?;
        read.ports = section.get("ports").map(|value| self.ports(value)).transpose()?;
        read.teardown = self.shell_texts(&section, "teardown")?;
        read.setup = self.shell_texts(&section, "setup")?;
        if let Some(time) = section.time("setupTimeout")? {
            if time == Duration::ZERO {
                let problem =
                    Problem::Amount { what: "`0`".to_owned(), expected: "length of time to run in" };
                return Err(self.error(section.get("setupTimeout").map_or(0..0, span), problem));
            }
            read.setup_timeout = time;
        }
        if let Some(value) = section.get("lfs") {
            read.lfs_later = match self.text(value, "`lfs`")? {
                "now" => false,
                "later" => true,
                word => {
                    let problem = Problem::WrongWord { what: "`lfs`".to_owned(), word: shown(word) };
                    let hint = "write `\"now\"` or `\"later\"`";
                    return Err(self.error(span(value), problem).with_hint(hint));
                }
            };
        }
        Ok(read)
    }

    /// Reads a text that names each stream apart, if the key is there.
    fn template(&self, section: &Fields<'_, '_>, key: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(text) = section.process_text(key)? else { return Ok(None) };
        let wrong = |hint: String| {
            let at = section.get(key).map_or(0..0, span);
            let problem = Problem::WrongWord { what: format!("`{key}`"), word: shown(text) };
            self.error(at, problem).with_hint(hint)
        };
        if let Some(word) = Streams::unknown_word(text) {
            let word = shown(word);
            return Err(wrong(format!("`{word}` means nothing here: write `{{repo}}` or `{{name}}`")));
        }
        match text.contains(Streams::NAME) {
            true => Ok(Some(text.to_owned())),
            false => Err(wrong("two streams would have the same: add `{name}`".to_owned())),
        }
    }

    fn ports(&self, value: &Value<'_>) -> Result<PortRange, ConfigError> {
        let fields = self.object(value, "`ports`", "`ports`")?;
        fields.only(PORT_KEYS, |_| None)?;
        fields.required("from")?;
        fields.required("to")?;
        let number = |key| Ok(fields.count(key)?.unwrap_or(NonZeroU16::MIN));
        let (from, to, each): (_, _, NonZeroU16) = (number("from")?, number("to")?, number("count")?);
        if u32::from(to.get()) + 1 < u32::from(from.get()) + u32::from(each.get()) {
            let problem = Problem::WrongWord { what: "`ports`".to_owned(), word: format!("{from} to {to}") };
            let hint = "the range has to hold the ports of one stream at least";
            return Err(self.error(span(value), problem).with_hint(hint));
        }
        Ok(PortRange { from: from.get(), to: to.get(), each })
    }

    /// Reads a list of texts for a shell.
    fn shell_texts(&self, section: &Fields<'_, '_>, key: &'static str) -> Result<Vec<String>, ConfigError> {
        let mut texts = Vec::new();
        for value in section.list(key)? {
            let text = self.text(value, &format!("an entry of `{key}`"))?;
            if text.trim().is_empty() {
                return Err(self.error(span(value), Problem::Blank { key }));
            }
            if text.contains('\0') {
                return Err(self.error(span(value), Problem::Nul { what: format!("an entry of `{key}`") }));
            }
            texts.push(text.to_owned());
        }
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn read(text: &str) -> Result<Streams, String> {
        let text = format!(r#"{{"streams": {text}}}"#);
        parse("c.json", &text).map(|config| config.streams).map_err(|err| err.to_string())
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read("{}"), Ok(Streams::default()));
        let text = r#"{"path": ".trees/{name}", "setup": ["npm ci", "make db"], "setupTimeout": "2m", "lfs": "later",
            "teardown": ["make no-db"], "ports": {"from": 20000, "to": 20099, "count": 10}, "database": "{repo}_{name}"}"#;
        let expected = Streams {
            path: ".trees/{name}".to_owned(),
            setup: vec!["npm ci".to_owned(), "make db".to_owned()],
            setup_timeout: Duration::from_secs(120),
            lfs_later: true,
            teardown: vec!["make no-db".to_owned()],
            ports: Some(PortRange { from: 20_000, to: 20_099, each: NonZeroU16::new(10).unwrap() }),
            database: Some("{repo}_{name}".to_owned()),
        };
        assert_eq!(read(text), Ok(expected));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            ("[]", "`streams` must be an object"),
            (r#"{"paths": ""}"#, "unknown key `paths` in `streams`"),
            (r#"{"path": "../x"}"#, "`path` cannot be `../x`"),
            (r#"{"path": "../{branch}{name}"}"#, "`path` cannot be"),
            (r#"{"setup": "make"}"#, "`setup` must be a list"),
            (r#"{"setup": [" "]}"#, "`setup`"),
            (r#"{"setupTimeout": 0}"#, "`0`"),
            (r#"{"database": "x"}"#, "`database` cannot be `x`"),
            (r#"{"ports": {"from": 2}}"#, "`to`"),
            (r#"{"ports": {"from": 2, "to": 3, "count": 3}}"#, "`ports` cannot be `2 to 3`"),
            (r#"{"ports": {"from": 0, "to": 3}}"#, "`from` must be a whole number"),
            (r#"{"lfs": true}"#, "`lfs` must be a text"),
            (r#"{"lfs": "never"}"#, "`lfs` cannot be `never`"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
