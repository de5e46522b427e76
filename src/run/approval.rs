//! What somebody has to decide before a stage goes on, and what they said.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::run::shell;
use crate::run::stamp::Stamp;

/// What somebody said about a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    Approved,
    Rejected,
}

impl Decision {
    /// Returns the word that stands in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }
}

/// Where a decision comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DecisionSource {
    /// Somebody answered on the terminal of the run.
    Prompt,
    /// `approve` or `reject`
    Command,
    /// Nobody was asked: the approval policy of the run says it.
    Policy,
}

/// One decision: what is left in a file for the process that works on the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ruling {
    pub decision: Decision,
    /// Who decided, as in `ada@workstation`.
    pub actor: String,
    pub timestamp: Stamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub source: DecisionSource,
}

impl Ruling {
    /// Returns who decided and why, as in `ada@workstation: looks good`.
    pub fn by(&self) -> String {
        let reason = self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("{}{reason}", self.actor)
    }
}

/// One decision, as the manifest keeps it. Programs of others keep less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Approval {
    pub actor: String,
    pub timestamp: Stamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Extension: the stage, with the stages above it if it is one of a child run: `deploy/check`.
    #[serde(default, deserialize_with = "if_ours", skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Extension: the stage's number, 1-based.
    #[serde(default, deserialize_with = "if_ours", skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// Extension: what was decided.
    #[serde(default, deserialize_with = "if_ours", skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Extension: where the decision comes from.
    #[serde(default, deserialize_with = "if_ours", skip_serializing_if = "Option::is_none")]
    pub source: Option<DecisionSource>,
    /// Extension: what an audit names this entry by: `<manifest>#approvals[0]`.
    #[serde(default, deserialize_with = "if_ours", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Map<String, Value>,
}

/// Others may use the same key for something else, which must not make the manifest unreadable.
fn if_ours<'de, D: Deserializer<'de>, T: serde::de::DeserializeOwned>(
    from: D,
) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(from)?).ok())
}

impl Approval {
    /// Returns the entry for a decision about a stage.
    pub fn new(ruling: &Ruling, stage: &str, index: usize, reference: String) -> Self {
        Self {
            actor: ruling.actor.clone(),
            timestamp: ruling.timestamp,
            reason: ruling.reason.clone(),
            stage: Some(stage.to_owned()),
            index: Some(index),
            decision: Some(ruling.decision),
            source: Some(ruling.source),
            reference: Some(reference),
            other: Map::new(),
        }
    }

    /// Whether this entry is about a decision.
    pub fn is_of(&self, ruling: &Ruling, index: usize) -> bool {
        (self.index, self.decision, self.source) == (Some(index), Some(ruling.decision), Some(ruling.source))
            && self.actor == ruling.actor
            && self.timestamp == ruling.timestamp
    }

    /// Returns the decision that this entry is about, if it is one of ours.
    pub fn ruling(&self) -> Option<Ruling> {
        Some(Ruling {
            decision: self.decision?,
            actor: self.actor.clone(),
            timestamp: self.timestamp,
            reason: self.reason.clone(),
            source: self.source?,
        })
    }
}

/// A question that nobody has answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    pub since: Stamp,
    /// The run to name in the answer: the outermost one.
    pub run: String,
    /// The stage to name, with the stages above it if it is one of a child run: `deploy/check`.
    pub stage: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
}

impl Waiting {
    /// Returns what to type: `verb` is `approve` or `reject`.
    pub fn command(&self, verb: &str) -> String {
        command(verb, &self.run, &self.stage)
    }
}

/// Returns what to type to answer a question: `verb` is `approve` or `reject`.
pub fn command(verb: &str, run: &str, stage: &str) -> String {
    format!("git orchestrate {verb} {} {}", shell::word(run), shell::word(stage))
}

/// What the approval policy of a run says about asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Somebody is asked: `on-request`, no policy, and words that only people understand.
    Ask,
    /// `auto`: nobody is asked, and everything is approved.
    Approve,
    /// `never`: nobody is ever asked, so nothing is approved.
    Refuse,
}

impl Policy {
    /// Returns what a policy says.
    pub fn of(policy: Option<&str>) -> Self {
        match policy {
            Some("auto") => Self::Approve,
            Some("never") => Self::Refuse,
            _ => Self::Ask,
        }
    }

    /// Returns what is decided without asking anybody.
    pub fn decision(self) -> Option<Decision> {
        match self {
            Self::Ask => None,
            Self::Approve => Some(Decision::Approved),
            Self::Refuse => Some(Decision::Rejected),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_two_policies_do_without_a_person() {
        for word in [None, Some("on-request"), Some("two managers"), Some("AUTO"), Some("")] {
            assert_eq!(Policy::of(word), Policy::Ask, "{word:?}");
        }
        assert_eq!(Policy::of(Some("auto")).decision(), Some(Decision::Approved));
        assert_eq!(Policy::of(Some("never")).decision(), Some(Decision::Rejected));
    }

    #[test]
    fn what_is_to_be_typed_is_one_word_per_name() {
        let since = "2026-01-01T00:00:00Z".parse().map(Stamp::new).unwrap();
        let command = |stage: &str| {
            let waiting = Waiting { since, run: "r".into(), stage: stage.into(), instructions: None };
            waiting.command("approve")
        };
        assert_eq!(command("deploy/check"), "git orchestrate approve r deploy/check");
        assert_eq!(command("it's $HOME"), r"git orchestrate approve r 'it'\''s $HOME'");
    }

    #[test]
    fn an_entry_of_others_stays_readable() {
        let entry =
            json!({"actor": "a", "timestamp": "2026-01-01T00:00:00.000Z", "decision": {"odd": 1}, "id": 7});
        let approval: Approval = serde_json::from_value(entry).unwrap();
        assert_eq!((approval.decision, &approval.other["id"]), (None, &json!(7)));
    }
}
