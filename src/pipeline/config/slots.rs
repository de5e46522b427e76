//! The section `slots` of the configuration.

use super::{ConfigError, Fields, Problem, Reader, Value, shown, span};
use crate::pipeline::slots::{SetUp, Slots};

pub(in crate::pipeline) const SLOTS_KEYS: &[&str] = &["setup", "carry"];
pub(in crate::pipeline) const SETUP_KEYS: &[&str] = &["command", "cwd", "env", "inputs", "timeout"];

impl Reader<'_> {
    pub(super) fn slots(&self, top: &Fields<'_, '_>) -> Result<Slots, ConfigError> {
        let Some(value) = top.get("slots") else { return Ok(Slots::default()) };
        let section = self.object(value, "`slots`", "`slots`")?;
        section.only(SLOTS_KEYS, |_| None)?;
        let setup =
            section.list("setup")?.iter().map(|value| self.set_up(value)).collect::<Result<_, _>>()?;
        let carry = section.texts("carry")?;
        for (pattern, value) in carry.iter().zip(section.list("carry")?) {
            let bare = pattern.trim().trim_start_matches('!');
            let leads_out = bare.split('/').any(|part| part == "..");
            if bare.trim_matches('/').is_empty() || bare.contains(['\0', '\n']) || leads_out {
                let what = "an entry of `carry`".to_owned();
                let problem = Problem::WrongWord { what, word: shown(pattern) };
                let hint = "write a pattern as in a `.gitignore`, such as `node_modules`";
                return Err(self.error(span(value), problem).with_hint(hint));
            }
        }
        Ok(Slots { setup, carry })
    }

    fn set_up(&self, value: &Value<'_>) -> Result<SetUp, ConfigError> {
        let fields = self.object(value, "an entry of `setup`", "an entry of `setup`")?;
        fields.only(SETUP_KEYS, |_| None)?;
        fields.required("command")?;
        Ok(SetUp {
            command: fields.process_text("command")?.unwrap_or_default().to_owned(),
            cwd: fields.process_text("cwd")?.map(str::to_owned),
            env: self.variables(&fields)?,
            inputs: self.pathspecs(&fields, "inputs")?,
            timeout: fields.timeout()?.unwrap_or(SetUp::TIMEOUT),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::parse;
    use super::*;

    fn read(text: &str) -> Result<Slots, String> {
        parse("c.json", &format!("{{\"slots\": {text}}}"))
            .map(|config| config.slots)
            .map_err(|err| err.to_string())
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read("{}"), Ok(Slots::default()));
        let slots = read(
            r#"{"setup": [{"command": "npm ci", "cwd": "web", "env": {"CI": true},
                "inputs": ["web/package-lock.json"], "timeout": "5m"}, {"command": "make deps"}],
               "carry": ["node_modules", "/target", "!/web/node_modules"]}"#,
        );
        let slots = slots.unwrap();
        let first = SetUp {
            command: "npm ci".to_owned(),
            cwd: Some("web".to_owned()),
            env: [("CI".to_owned(), "true".to_owned())].into(),
            inputs: vec!["web/package-lock.json".to_owned()],
            timeout: Duration::from_secs(300),
        };
        let second = SetUp {
            command: "make deps".to_owned(),
            cwd: None,
            env: Default::default(),
            inputs: Vec::new(),
            timeout: SetUp::TIMEOUT,
        };
        assert_eq!(slots.setup, [first, second]);
        assert_eq!(slots.carry, ["node_modules", "/target", "!/web/node_modules"]);
        let plan = slots.plan(&[1]);
        assert_eq!((plan.stages[0].index, plan.stages[0].stage.id.as_str()), (1, "setup-2"));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            ("[]", "`slots` must be an object"),
            (r#"{"set-up": []}"#, "unknown key `set-up` in `slots`"),
            (r#"{"setup": {}}"#, "`setup` must be a list"),
            (r#"{"setup": ["npm ci"]}"#, "an entry of `setup` must be an object"),
            (r#"{"setup": [{}]}"#, "an entry of `setup` has no `command`"),
            (r#"{"setup": [{"command": " "}]}"#, "`command`"),
            (r#"{"setup": [{"command": "a", "timeout": 0}]}"#, "`0` is no length of time"),
            (r#"{"setup": [{"command": "a", "input": []}]}"#, "unknown key `input`"),
            (r#"{"carry": "target"}"#, "`carry` must be a list"),
            (r#"{"carry": [""]}"#, "an entry of `carry` cannot be ``"),
            (r#"{"carry": ["/"]}"#, "an entry of `carry` cannot be `/`"),
            (r#"{"carry": ["a/../../b"]}"#, "an entry of `carry` cannot be"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
