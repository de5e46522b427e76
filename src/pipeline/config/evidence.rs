//! The keys of the configuration that are about evidence.

use super::{ConfigError, Fields, Problem, Reader, shown, span};
use crate::pipeline::evidence::Evidence;

pub(in crate::pipeline) const EVIDENCE_KEYS: &[&str] = &["maxAgeDays"];

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
        read.max_age_days = section.whole_number("maxAgeDays")?;
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
            "evidence": {"maxAgeDays": 30}}"#;
        let expected = Evidence {
            tools: ["rustc -V".to_owned()].into(),
            variables: ["CC".to_owned()].into(),
            max_age_days: Some(30),
        };
        assert_eq!(read(text), Ok(expected));
        assert_eq!(read("{}"), Ok(Evidence::default()));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            (r#"{"fingerprint": [" "]}"#, "an entry of `fingerprint` cannot be"),
            (r#"{"fingerprint": "rustc -V"}"#, "`fingerprint` must be a list"),
            (r#"{"fingerprintEnv": ["A=B"]}"#, "A=B"),
            (r#"{"evidence": {"note": true}}"#, "unknown key `note` in `evidence`"),
            (r#"{"evidence": {"maxAgeDays": "3"}}"#, "`maxAgeDays` must be a whole number"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
