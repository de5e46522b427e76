//! The keys of the configuration that are about the machine's budget.

use super::{ConfigError, Fields, Problem, Reader, Value, span};
use crate::id::ResourceId;
use crate::pipeline::budget::{Budget, FIFO, Jobserver, Pressure, Share};

pub(in crate::pipeline) const BUDGET_KEYS: &[&str] = &["jobs", "memoryFloor", "pressure"];
pub(in crate::pipeline) const PRESSURE_KEYS: &[&str] = &["cpu", "io", "memory"];

impl Reader<'_> {
    pub(super) fn budget(&self, top: &Fields<'_, '_>) -> Result<Budget, ConfigError> {
        let Some(value) = top.get("budget") else { return Ok(Budget::default()) };
        let section = self.object(value, "`budget`", "`budget`")?;
        section.only(BUDGET_KEYS, |_| None)?;
        let memory_floor =
            section.get("memoryFloor").map(|value| self.size(value, "memoryFloor")).transpose()?;
        let mut pressure = Pressure::default();
        if let Some(value) = section.get("pressure") {
            let fields = self.object(value, "`pressure`", "`pressure`")?;
            fields.only(PRESSURE_KEYS, |_| None)?;
            let percent = |key| fields.get(key).map(|value| self.percent(value, key)).transpose();
            pressure = Pressure { cpu: percent("cpu")?, io: percent("io")?, memory: percent("memory")? };
        }
        Ok(Budget { jobs: section.count("jobs")?, memory_floor, pressure })
    }

    /// Reads what a command takes of the budget.
    pub(super) fn share(&self, fields: &Fields<'_, '_>) -> Result<Share, ConfigError> {
        let mut resources: Vec<ResourceId> = Vec::new();
        for value in fields.list("resources")? {
            let name = self.id(value, "resources")?;
            if !resources.contains(&name) {
                resources.push(name);
            }
        }
        let jobserver = match fields.get("jobserver") {
            None => None,
            Some(Value::BooleanLit(flag)) if flag.value => Some(Jobserver::Pipe),
            Some(Value::BooleanLit(_)) => Some(Jobserver::Nothing),
            Some(Value::StringLit(word)) if word.value == FIFO => Some(Jobserver::Fifo),
            Some(value) => {
                let expected = "`true`, `false` or `\"fifo\"`";
                return Err(self.wrong_type(value, "`jobserver`".to_owned(), expected));
            }
        };
        Ok(Share { weight: fields.count("weight")?, resources, free: false, jobserver })
    }

    fn percent(&self, value: &Value<'_>, key: &str) -> Result<u8, ConfigError> {
        let Value::NumberLit(number) = value else {
            return Err(self.wrong_type(value, format!("`{key}`"), "a number"));
        };
        number.value.parse().ok().filter(|percent| (1..=100).contains(percent)).ok_or_else(|| {
            let problem = Problem::Amount { what: number.value.to_owned(), expected: "percentage" };
            self.error(span(value), problem)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::super::parse;
    use super::*;
    use crate::pipeline::Action;

    fn read(text: &str) -> Result<Budget, String> {
        parse("c.json", text).map(|config| config.budget).map_err(|err| err.to_string())
    }

    #[test]
    fn what_is_written_is_read() {
        let text = r#"{"budget": {"jobs": 3, "memoryFloor": "1GiB", "pressure": {"cpu": 90, "io": 40}}}"#;
        let expected = Budget {
            jobs: NonZeroU16::new(3),
            memory_floor: Some(1 << 30),
            pressure: Pressure { cpu: Some(90), io: Some(40), memory: None },
        };
        assert_eq!(read(text), Ok(expected));
        assert_eq!(read("{}"), Ok(Budget::default()));
    }

    #[test]
    fn a_command_says_what_it_takes() {
        let text = r#"{"pipelines": [{"id": "p", "stages": [{"kind": "command", "id": "s", "command": "true",
            "weight": 2, "resources": ["db", "gpu", "db"], "jobserver": false}]}]}"#;
        let config = parse("c.json", text).unwrap();
        let Action::Command(command) = &config.pipelines[0].stages[0].action else { panic!("a command") };
        assert_eq!(command.share.weight, NonZeroU16::new(2));
        let names: Vec<_> = command.share.resources.iter().map(ResourceId::as_str).collect();
        assert_eq!(names, ["db", "gpu"]);
        assert_eq!(command.share.jobserver, Some(Jobserver::Nothing));
        for (word, expected) in [("true", Jobserver::Pipe), ("\"fifo\"", Jobserver::Fifo)] {
            let text = text.replace("\"jobserver\": false", &format!("\"jobserver\": {word}"));
            let Action::Command(command) = &parse("c.json", &text).unwrap().pipelines[0].stages[0].action
            else {
                panic!("a command")
            };
            assert_eq!(command.share.jobserver, Some(expected));
        }
        let wrong = text.replace("\"jobserver\": false", "\"jobserver\": \"pipe\"");
        let err = parse("c.json", &wrong).unwrap_err().to_string();
        assert!(err.contains("`jobserver` must be `true`, `false` or `\"fifo\"`"), "{err}");
    }

    #[test]
    fn mistakes_are_named() {
        let stage = |keys: &str| {
            format!(
                r#"{{"pipelines": [{{"id": "p", "stages": [{{"kind": "command", "id": "s", "command": "x", {keys}}}]}}]}}"#
            )
        };
        for (text, said) in [
            (r#"{"budget": 4}"#.to_owned(), "`budget` must be an object"),
            (r#"{"budget": {"job": 4}}"#.to_owned(), "unknown key `job` in `budget`"),
            (r#"{"budget": {"jobs": 0}}"#.to_owned(), "`jobs` must be a whole number"),
            (r#"{"budget": {"memoryFloor": "much"}}"#.to_owned(), "`much` is no size of memory"),
            (r#"{"budget": {"memoryFloor": true}}"#.to_owned(), "`memoryFloor` must be a text or a number"),
            (r#"{"budget": {"pressure": {"io": 101}}}"#.to_owned(), "101 is no percentage"),
            (r#"{"budget": {"pressure": {"disk": 1}}}"#.to_owned(), "unknown key `disk` in `pressure`"),
            (stage(r#""weight": 0"#), "`weight` must be a whole number"),
            (stage(r#""resources": "db""#), "`resources` must be a list"),
            (stage(r#""resources": ["a/b"]"#), "`a/b` is no valid resource"),
            (stage(r#""resources": [""]"#), "`` is no valid resource"),
        ] {
            let error = read(&text).expect_err(&text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
