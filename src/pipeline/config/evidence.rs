//! The keys of the configuration that are about evidence.

use super::{ConfigError, Fields, Problem, Reader, Value, shown, span};
use crate::pipeline::evidence::{Evidence, FULL, Notes};

pub(in crate::pipeline) const EVIDENCE_KEYS: &[&str] =
    &["notes", "sign", "maxAgeDays", "acceptSigned", "signers"];

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
            None => Notes::Nothing,
            Some(Value::BooleanLit(flag)) if flag.value => Notes::Records,
            Some(Value::BooleanLit(_)) => Notes::Nothing,
            Some(Value::StringLit(word)) if word.value == FULL => Notes::Full,
            Some(value) => {
                return Err(self.wrong_type(value, "`notes`".to_owned(), "`true`, `false` or `\"full\"`"));
            }
        };
        read.sign = section.flag("sign")?;
        read.max_age_days = section.whole_number("maxAgeDays")?;
        read.accept_signed = section.flag("acceptSigned")?.unwrap_or(false);
        if let Some(value) = section.get("signers") {
            let path = self.text(value, "`signers`")?;
            let inside = !path.contains('\0') && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
            if !inside {
                let problem = Problem::WrongWord { what: "`signers`".to_owned(), word: shown(path) };
                let hint = "write a path relative to the root of the repository, such as `.git-signers`";
                return Err(self.error(span(value), problem).with_hint(hint));
            }
            read.signers = Some(path.to_owned());
        }
        Ok(read)
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
            "evidence": {"notes": true, "sign": false, "maxAgeDays": 30, "acceptSigned": true,
                "signers": "keys/signers"}}"#;
        let expected = Evidence {
            tools: ["rustc -V".to_owned()].into(),
            variables: ["CC".to_owned()].into(),
            notes: Notes::Records,
            sign: Some(false),
            max_age_days: Some(30),
            accept_signed: true,
            signers: Some("keys/signers".to_owned()),
        };
        assert_eq!(read(text), Ok(expected));
        assert_eq!(read("{}"), Ok(Evidence::default()));
        for (word, notes) in [("false", Notes::Nothing), ("\"full\"", Notes::Full)] {
            let text = format!(r#"{{"evidence": {{"notes": {word}}}}}"#);
            assert_eq!(read(&text).unwrap().notes, notes);
            assert_eq!(serde_json::to_string(&notes).unwrap(), word);
            assert_eq!(serde_json::from_str::<Notes>(word).unwrap(), notes);
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            (r#"{"fingerprint": [" "]}"#, "an entry of `fingerprint` cannot be"),
            (r#"{"fingerprint": "rustc -V"}"#, "`fingerprint` must be a list"),
            (r#"{"fingerprintEnv": ["A=B"]}"#, "A=B"),
            (r#"{"evidence": {"note": true}}"#, "unknown key `note` in `evidence`"),
            (r#"{"evidence": {"notes": "yes"}}"#, "`notes` must be `true`, `false` or `\"full\"`"),
            (r#"{"evidence": {"signers": "../x"}}"#, "`signers` cannot be `../x`"),
            (r#"{"evidence": {"signers": "/x"}}"#, "`signers` cannot be `/x`"),
            (r#"{"evidence": {"maxAgeDays": "3"}}"#, "`maxAgeDays` must be a whole number"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
