//! The keys of the configuration that are about evidence.

use super::{ConfigError, Fields, Problem, Reader, Value, listing, nearest, shown, span};
use crate::pipeline::evidence::{Evidence, Notes};

pub(in crate::pipeline) const EVIDENCE_KEYS: &[&str] = &["notes", "maxAgeDays", "acceptSigned", "signers"];

impl Reader<'_> {
    pub(super) fn evidence(&self, top: &Fields<'_, '_>) -> Result<Evidence, ConfigError> {
        let mut read = Evidence::default();
        for value in top.list("fingerprint")? {
            let text = self.text(value, "an entry of `fingerprint`")?;
            if text.trim().is_empty() || text.contains('\0') || text.contains('\n') {
                let problem =
                    Problem::WrongWord { what: "an entry of `fingerprint`".to_owned(), word: shown(text) };
                let hint = "write a command of one line, such as `rustc -V`";
                return Err(self.error(span(value), problem).with_hint(hint));
            }
            read.tools.insert(text.to_owned());
        }
        for value in top.list("fingerprintEnv")? {
            let name = self.text(value, "an entry of `fingerprintEnv`")?;
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(self.error(span(value), Problem::VariableName { name: name.to_owned() }));
            }
            read.variables.insert(name.to_owned());
        }
        let Some(value) = top.get("evidence") else { return Ok(read) };
        let section = self.object(value, "`evidence`", "`evidence`")?;
        section.only(EVIDENCE_KEYS, |_| None)?;
        read.notes = match section.get("notes") {
            None => Notes::No,
            Some(Value::BooleanLit(flag)) => {
                if flag.value {
                    Notes::Yes
                } else {
                    Notes::No
                }
            }
            Some(Value::StringLit(text)) if text.value == "full" => Notes::Full,
            Some(value) => return Err(self.wrong_notes(value)),
        };
        read.max_age_days = section.whole_number("maxAgeDays")?;
        read.accept_signed = section.flag("acceptSigned")?.unwrap_or(false);
        if let Some(value) = section.get("signers") {
            let path = self.text(value, "`signers`")?;
            let inside = !path.is_empty()
                && !path.starts_with('/')
                && !path.contains('\0')
                && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
            if !inside {
                let problem = Problem::WrongWord { what: "`signers`".to_owned(), word: shown(path) };
                let hint = "write a path relative to the root of the repository, such as `.git-signers`";
                return Err(self.error(span(value), problem).with_hint(hint));
            }
            read.signers = Some(path.to_owned());
        }
        Ok(read)
    }

    fn wrong_notes(&self, value: &Value<'_>) -> ConfigError {
        let Value::StringLit(text) = value else {
            return self.wrong_type(value, "`notes`".to_owned(), "`true`, `false` or `\"full\"`");
        };
        let problem = Problem::WrongWord { what: "`notes`".to_owned(), word: shown(&text.value) };
        let hint = match nearest(&text.value, ["full"]) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known words: {}", listing(["true", "false", "full"])),
        };
        self.error(span(value), problem).with_hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn read(text: &str) -> Result<Evidence, String> {
        parse("c.json", text).map(|config| config.evidence).map_err(|err| err.to_string())
    }

    #[test]
    fn what_is_written_is_read() {
        let text = r#"{"fingerprint": ["rustc -V"], "fingerprintEnv": ["CC"],
            "evidence": {"notes": "full", "maxAgeDays": 30, "acceptSigned": true, "signers": "keys/signers"}}"#;
        let expected = Evidence {
            tools: ["rustc -V".to_owned()].into(),
            variables: ["CC".to_owned()].into(),
            notes: Notes::Full,
            max_age_days: Some(30),
            accept_signed: true,
            signers: Some("keys/signers".to_owned()),
        };
        assert_eq!(read(text), Ok(expected));
        assert_eq!(read(r#"{"evidence": {"notes": true}}"#).unwrap().notes, Notes::Yes);
        assert_eq!(read("{}"), Ok(Evidence::default()));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            (r#"{"fingerprint": [" "]}"#, "an entry of `fingerprint` cannot be"),
            (r#"{"fingerprint": "rustc -V"}"#, "`fingerprint` must be a list"),
            (r#"{"fingerprintEnv": ["A=B"]}"#, "A=B"),
            (r#"{"evidence": {"note": true}}"#, "unknown key `note` in `evidence`"),
            (r#"{"evidence": {"notes": "ful"}}"#, "`notes` cannot be `ful`"),
            (r#"{"evidence": {"notes": 1}}"#, "`notes` must be `true`, `false` or"),
            (r#"{"evidence": {"signers": "../x"}}"#, "`signers` cannot be `../x`"),
            (r#"{"evidence": {"maxAgeDays": "3"}}"#, "`maxAgeDays` must be a whole number"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
