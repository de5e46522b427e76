//! The section `learning` of the configuration.

use super::{ConfigError, Fields, Problem, Reader, Value, of_section, shown, span};
use crate::pipeline::learning::{Alerts, Compression, Crystalizer, Learning};

pub(in crate::pipeline) const LEARNING_KEYS: &[&str] = &[
    "enabled",
    "maxFileBytes",
    "maxTotalBytes",
    "compression",
    "retentionDays",
    "timeout",
    "environment",
    "alerts",
    "crystalizer",
];
pub(in crate::pipeline) const ALERT_KEYS: &[&str] = &["slack", "pagerduty", "severity"];
const SEVERITIES: [&str; 2] = ["p1", "p2"];
pub(in crate::pipeline) const CRYSTALIZER_KEYS: &[&str] = &["command", "model", "budgetUsd", "timeout"];

/// Reads only the section `learning` of a configuration, for what runs without a pipeline.
pub fn parse_learning(file_name: &str, text: &str) -> Result<Learning, ConfigError> {
    of_section(file_name, text, |reader, top| reader.learning(top))
}

impl Reader<'_> {
    pub(super) fn learning(&self, top: &Fields<'_, '_>) -> Result<Learning, ConfigError> {
        let usual = Learning::default();
        let Some(value) = top.get("learning") else { return Ok(usual) };
        let section = self.object(value, "`learning`", "`learning`")?;
        section.only(LEARNING_KEYS, |_| None)?;
        let mut environment = Vec::new();
        for value in section.list("environment")? {
            let name = self.text(value, "an entry of `environment`")?;
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(self.error(span(value), Problem::VariableName { name: name.to_owned() }));
            }
            environment.push(name.to_owned());
        }
        Ok(Learning {
            enabled: section.flag("enabled")?.unwrap_or(usual.enabled),
            max_file_bytes: section.whole_number("maxFileBytes")?.unwrap_or(usual.max_file_bytes),
            max_total_bytes: section.whole_number("maxTotalBytes")?.unwrap_or(usual.max_total_bytes),
            compression: match section.get("compression") {
                None => usual.compression,
                Some(value) => Compression::ALL[self.word(value, "`compression`", &Compression::WORDS)?],
            },
            retention_days: section.whole_number("retentionDays")?.unwrap_or(usual.retention_days).max(1),
            timeout: section.timeout()?.unwrap_or(usual.timeout),
            environment,
            alerts: self.alerts(&section)?,
            crystalizer: self.crystalizer(&section)?,
        })
    }

    fn alerts(&self, section: &Fields<'_, '_>) -> Result<Alerts, ConfigError> {
        let usual = Alerts::default();
        let Some(value) = section.get("alerts") else { return Ok(usual) };
        let fields = self.object(value, "`alerts`", "`alerts`")?;
        fields.only(ALERT_KEYS, |_| None)?;
        let target = |key| Ok(fields.process_text(key)?.map(str::to_owned));
        let severity = match fields.get("severity") {
            None => usual.severity,
            Some(value) => Some(SEVERITIES[self.word(value, "`severity`", &SEVERITIES)?].to_owned()),
        };
        Ok(Alerts {
            slack: target("slack")?.unwrap_or(usual.slack),
            pagerduty: target("pagerduty")?.unwrap_or(usual.pagerduty),
            severity,
        })
    }

    fn crystalizer(&self, section: &Fields<'_, '_>) -> Result<Crystalizer, ConfigError> {
        let usual = Crystalizer::default();
        let Some(value) = section.get("crystalizer") else { return Ok(usual) };
        let fields = self.object(value, "`crystalizer`", "`crystalizer`")?;
        fields.only(CRYSTALIZER_KEYS, |_| None)?;
        let budget = match fields.get("budgetUsd") {
            None => usual.budget,
            Some(value) => {
                let Value::NumberLit(number) = value else {
                    return Err(self.wrong_type(value, "`budgetUsd`".to_owned(), "a number of dollars"));
                };
                let amount = number.value.parse::<f64>().ok().filter(|amount| (0.0..1e6).contains(amount));
                let wrong = || {
                    let (what, word) = ("`budgetUsd`".to_owned(), shown(number.value));
                    let error = self.error(span(value), Problem::WrongWord { what, word });
                    error.with_hint("say how many dollars: 0 or more, and less than a million")
                };
                (amount.ok_or_else(wrong)? * 1e6) as u64
            }
        };
        Ok(Crystalizer {
            command: fields.process_text("command")?.map(str::to_owned),
            model: fields.process_text("model")?.map(str::to_owned),
            budget,
            timeout: fields.timeout()?.unwrap_or(usual.timeout),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(text: &str) -> Result<Learning, String> {
        parse_learning("c.json", text).map_err(|err| err.to_string())
    }

    #[test]
    fn what_is_written_is_read() {
        let text = r##"{"learning": {"enabled": true, "maxFileBytes": 10, "maxTotalBytes": 20, "retentionDays": 7,
            "compression": "zstd", "timeout": "2m", "environment": ["CC"],
            "alerts": {"slack": "#ours", "severity": "p1"},
            "crystalizer": {"command": "learn", "model": "m", "budgetUsd": 0.25, "timeout": 9}}}"##;
        let expected = Learning {
            enabled: true,
            max_file_bytes: 10,
            max_total_bytes: 20,
            compression: Compression::Zstd,
            retention_days: 7,
            timeout: Duration::from_secs(120),
            environment: vec!["CC".to_owned()],
            alerts: Alerts {
                slack: "#ours".to_owned(),
                pagerduty: "learning-pipeline".to_owned(),
                severity: Some("p1".to_owned()),
            },
            crystalizer: Crystalizer {
                command: Some("learn".to_owned()),
                model: Some("m".to_owned()),
                budget: 250_000,
                timeout: Duration::from_secs(9),
            },
        };
        assert_eq!(read(text), Ok(expected));
        assert_eq!(read("{}"), Ok(Learning::default()));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            (r#"{"learning": {"on": true}}"#, "unknown key `on` in `learning`"),
            (r#"{"learning": {"enabled": 1}}"#, "`enabled` must be `true` or `false`"),
            (r#"{"learning": {"maxFileBytes": "1"}}"#, "`maxFileBytes` must be a whole number"),
            (r#"{"learning": {"environment": ["A=B"]}}"#, "A=B"),
            (r#"{"learning": {"alerts": {"severity": "p9"}}}"#, "`severity` cannot be `p9`"),
            (r#"{"learning": {"compression": "xz"}}"#, "`compression` cannot be `xz`"),
            (r#"{"learning": {"crystalizer": {"budgetUsd": -1}}}"#, "`budgetUsd` cannot be `-1`"),
            (
                r#"{"learning": {"crystalizer": {"budgetUsd": "1"}}}"#,
                "`budgetUsd` must be a number of dollars",
            ),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
