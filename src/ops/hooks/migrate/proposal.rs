//! What other hook managers are told to do, in our own words.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::id::{PipelineId, slug};
use crate::pipeline::hooks::Event;

/// The variable with the message of a commit, as a word of a shell.
pub(super) const MESSAGE: &str = "\"$GIT_ORCHESTRATE_MESSAGE_FILE\"";

/// A stage that stands for what another tool would run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// The file that says it, relative to the root.
    pub source: String,
    pub event: Event,
    pub id: String,
    pub command: String,
    pub cwd: Option<String>,
    pub env: BTreeMap<String, String>,
    pub fixes: bool,
    /// What is not quite the same.
    pub notes: Vec<String>,
}

/// Something that has no equivalent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    pub source: String,
    /// What it is called there.
    pub name: String,
    pub why: String,
}

/// What was found in one file.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub stages: Vec<Proposed>,
    pub left_out: Vec<LeftOut>,
}

impl Found {
    /// Notes something that has no equivalent.
    pub(super) fn leave(&mut self, source: &str, name: impl Into<String>, why: impl Into<String>) {
        self.left_out.push(LeftOut { source: source.to_owned(), name: name.into(), why: why.into() });
    }

    /// Takes in what another file says.
    pub(super) fn extend(&mut self, other: Self) {
        self.stages.extend(other.stages);
        self.left_out.extend(other.left_out);
    }

    /// Notes at each stage that asks for the branch that it will be told of none.
    pub(super) fn note_the_branch(&mut self) {
        const WORDS: &[&str] = &["--abbrev-ref", "symbolic-ref", "--show-current", "name-rev"];
        for stage in &mut self.stages {
            if WORDS.iter().any(|words| stage.command.contains(words)) {
                stage.notes.push("asks which branch is checked out, and where it runs none is".to_owned());
            }
        }
    }

    /// Gives every stage an id of its own.
    pub(super) fn name_apart(&mut self) {
        let mut known: Vec<String> = Vec::new();
        for stage in &mut self.stages {
            let plain = slug(&stage.id);
            let mut id = if plain.is_empty() { stage.event.to_string() } else { plain };
            if known.contains(&id) {
                id = format!("{id}-{}", stage.event);
            }
            let first = id.clone();
            let mut number = 2;
            while known.contains(&id) {
                id = format!("{first}-{number}");
                number += 1;
            }
            known.push(id.clone());
            stage.id = id;
        }
    }

    /// Returns the pipeline that holds the stages.
    pub(super) fn pipeline(&self, id: &PipelineId) -> Value {
        let stages: Vec<_> = self.stages.iter().map(Proposed::document).collect();
        json!({"id": id, "title": "Hooks", "guardrailsRequired": false, "stages": stages})
    }

    /// Returns what each event requires.
    pub(super) fn hooks(&self, pipeline: &PipelineId) -> BTreeMap<Event, Value> {
        let mut hooks: BTreeMap<Event, Vec<String>> = BTreeMap::new();
        for stage in &self.stages {
            hooks.entry(stage.event).or_default().push(format!("{pipeline}:{}", stage.id));
        }
        hooks.into_iter().map(|(event, require)| (event, json!({"require": require}))).collect()
    }
}

impl Proposed {
    fn document(&self) -> Value {
        let mut stage = json!({"kind": "command", "id": self.id, "command": self.command});
        let fields = stage.as_object_mut().expect("it was just made");
        if let Some(cwd) = &self.cwd {
            fields.insert("cwd".to_owned(), json!(cwd));
        }
        if !self.env.is_empty() {
            fields.insert("env".to_owned(), json!(self.env));
        }
        if self.fixes {
            fields.insert("fixes".to_owned(), json!(true));
        }
        stage
    }
}

/// Returns the event of a name, or says that we answer none of it.
pub(super) fn event(name: &str) -> Result<Event, String> {
    name.parse().map_err(|_| format!("git orchestrate has no hook `{}`", name.escape_debug()))
}
