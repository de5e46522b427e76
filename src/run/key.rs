//! The key of a verdict: what a stage ran on, what it does, and what it ran with.
//!
//! Two runs of a stage are about the same thing if their keys are equal. Commit ids, messages,
//! branches and folders are no part of it.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::StageId;
use crate::pipeline::plan::{Plan, PlannedStage};
use crate::pipeline::{Action, Command};

/// Makes a digest of bytes, as lower-case hex. Values have none of their own.
pub type Hash = fn(&[u8]) -> String;

/// The version of how keys are made. What they mean changes with it, so that no record of another
/// version answers for one of this.
const FORMAT: u32 = 1;

/// What starts every command.
const SHELL: &str = "/bin/sh -c";

/// What a stage does, as far as its verdict depends on it.
///
/// It has no name: a stage that is renamed, or stands in two pipelines, is the same. How long it may
/// take and how often it is run again decide nothing about a pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Definition {
    /// The version of keys.
    pub format: u32,
    /// `command` or `subpipeline`.
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The folder, relative to the repository's root; the root if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// The pathspecs of what the stage looks at; everything if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    /// The stages of a called pipeline, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Inner>,
}

/// One stage of a called pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Inner {
    pub id: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// Whether its failure is no failure of the pipeline.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_fail: bool,
    /// Nothing for an optional pipeline that does not exist.
    pub definition: Option<Definition>,
}

impl Definition {
    /// Returns what a stage does. Nothing for one that no record can speak for, such as one that a
    /// person decides.
    pub fn of(planned: &PlannedStage) -> Option<Self> {
        let nothing = Self {
            format: FORMAT,
            kind: String::new(),
            command: None,
            cwd: None,
            env: BTreeMap::new(),
            shell: None,
            inputs: Vec::new(),
            stages: Vec::new(),
        };
        Some(match &planned.stage.action {
            Action::Command(Command { command, cwd, env, .. }) => Self {
                kind: "command".to_owned(),
                command: Some(command.clone()),
                cwd: cwd.clone(),
                env: env.clone(),
                shell: Some(SHELL.to_owned()),
                inputs: planned.stage.inputs.clone(),
                ..nothing
            },
            Action::Manual { .. } => return None,
            Action::Subpipeline { .. } => Self {
                kind: "subpipeline".to_owned(),
                inputs: planned.stage.inputs.clone(),
                stages: Self::inside(planned.child.as_deref()?)?,
                ..nothing
            },
        })
    }

    fn inside(plan: &Plan) -> Option<Vec<Inner>> {
        let inner = |planned: &PlannedStage| {
            let may_fail = match &planned.stage.action {
                Action::Command(command) => command.allow_failure,
                Action::Subpipeline { optional, .. } => *optional,
                Action::Manual { .. } => false,
            };
            let absent =
                matches!(planned.stage.action, Action::Subpipeline { .. }) && planned.child.is_none();
            let definition = Self::of(planned);
            (absent || definition.is_some()).then(|| Inner {
                id: planned.stage.id.to_string(),
                needs: planned.stage.needs.iter().map(StageId::to_string).collect(),
                may_fail,
                definition,
            })
        };
        plan.stages.iter().map(inner).collect()
    }

    /// Returns the digest of what the stage does.
    pub fn digest(&self, hash: Hash) -> String {
        hash(json(self).as_bytes())
    }

    /// Changes every text, such as to take secrets out. The digest of what comes of it is another.
    pub fn map_texts(&mut self, change: &dyn Fn(&str) -> String) {
        let texts = self.command.iter_mut().chain(self.cwd.iter_mut()).chain(self.env.values_mut());
        for text in texts.chain(self.inputs.iter_mut()) {
            *text = change(text);
        }
        for inner in &mut self.stages {
            inner.id = change(&inner.id);
            for need in &mut inner.needs {
                *need = change(need);
            }
            if let Some(definition) = &mut inner.definition {
                definition.map_texts(change);
            }
        }
    }
}

/// What a stage runs with: the machine's kind, and what the project declares that matters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fingerprint {
    /// Such as `linux`.
    pub os: String,
    /// Such as `x86_64`.
    pub arch: String,
    /// For each declared command what it printed, such as `rustc -V` → `rustc 1.91.0 (…)`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, String>,
    /// For each declared variable the SHA-256 of its value; null if it is not set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Option<String>>,
}

impl Fingerprint {
    /// Returns the digest of it.
    pub fn digest(&self, hash: Hash) -> String {
        hash(json(self).as_bytes())
    }
}

/// What a verdict is about: a whole tree, or the part of it that a stage declares as its inputs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Subject(String);

/// The digest of no files at all.
const OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

impl Subject {
    /// Returns the subject of a whole tree, named in hex. `sparse` is the digest of the patterns of a sparse
    /// checkout, in which not all of the tree was there.
    pub fn tree(tree: &str, sparse: Option<&str>) -> Self {
        Self(match sparse {
            None => format!("tree:{tree}"),
            Some(patterns) => format!("tree:{tree}:{patterns}"),
        })
    }

    /// Returns the subject of the files that pathspecs select, by the digest of their modes, names and contents.
    pub fn inputs(digest: &str) -> Self {
        Self(format!("inputs:{digest}"))
    }

    /// Returns the subject of what pathspecs select of a tree, by the digest of that. Where they select nothing, nobody
    /// can tell what a stage looks at: then it is the tree.
    pub fn selected(digest: &str, tree: &Self) -> Self {
        match digest == OF_NOTHING {
            true => tree.clone(),
            false => Self::inputs(digest),
        }
    }

    /// Whether it is a whole tree.
    pub fn is_tree(&self) -> bool {
        self.0.starts_with("tree:")
    }

    /// Returns it as it stands in records.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The key of a verdict: a digest of its three parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// Returns the key of a stage on a subject. Both digests are those of what it really does and runs with.
    pub fn new(subject: &Subject, definition: &str, fingerprint: &str, hash: Hash) -> Self {
        Self(hash(format!("{FORMAT}\n{subject}\n{definition}\n{fingerprint}\n").as_bytes()))
    }

    /// Returns it in hex.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts, numbers and maps with text keys are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_of_what_a_stage_does_can_be_changed() {
        let texts = serde_json::json!({
            "format": 1, "kind": "subpipeline", "command": "secret", "cwd": "secret", "shell": SHELL,
            "env": {"NAME": "secret"}, "inputs": ["secret"],
        });
        let mut definition: Definition = serde_json::from_value(texts).unwrap();
        let inner = Inner {
            id: "secret".to_owned(),
            needs: vec!["secret".to_owned()],
            may_fail: false,
            definition: Some(definition.clone()),
        };
        definition.stages.push(inner);
        definition.map_texts(&|text| text.replace("secret", "masked"));
        let text = json(&definition);
        assert_eq!((text.matches("secret").count(), text.matches("masked").count()), (0, 10), "{text}");
    }
}
