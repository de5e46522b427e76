//! The section `streams` of the configuration.

use std::time::Duration;

use super::{ConfigError, Fields, Problem, Reader, shown, span};
use crate::pipeline::streams::Streams;

pub(in crate::pipeline) const STREAM_KEYS: &[&str] = &["path", "setup", "setupTimeout", "lfs"];

impl Reader<'_> {
    pub(super) fn streams(&self, top: &Fields<'_, '_>) -> Result<Streams, ConfigError> {
        let mut read = Streams::default();
        let Some(value) = top.get("streams") else { return Ok(read) };
        let section = self.object(value, "`streams`", "`streams`")?;
        section.only(STREAM_KEYS, |_| None)?;
        if let Some(path) = section.process_text("path")? {
            let wrong = |hint: String| {
                let at = section.get("path").map_or(0..0, span);
                let problem = Problem::WrongWord { what: "`path`".to_owned(), word: shown(path) };
                self.error(at, problem).with_hint(hint)
            };
            if let Some(word) = Streams::unknown_word(path) {
                return Err(wrong(format!(
                    "`{}` means nothing here: write `{{repo}}` or `{{name}}`",
                    shown(word)
                )));
            }
            if !path.contains(Streams::NAME) {
                return Err(wrong("two streams would have one folder: add `{name}`".to_owned()));
            }
            read.path = path.to_owned();
        }
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
        let text = r#"{"path": ".trees/{name}", "setup": ["npm ci", "make db"], "setupTimeout": "2m", "lfs": "later"}"#;
        let expected = Streams {
            path: ".trees/{name}".to_owned(),
            setup: vec!["npm ci".to_owned(), "make db".to_owned()],
            setup_timeout: Duration::from_secs(120),
            lfs_later: true,
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
            (r#"{"lfs": true}"#, "`lfs` must be a text"),
            (r#"{"lfs": "never"}"#, "`lfs` cannot be `never`"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
