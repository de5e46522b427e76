//! What differs between a stage as it would run now and a record of it, part by part.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use super::record::{Record, StageRecord};
use crate::run::key::{Definition, Fingerprint, Subject};
use crate::run::manifest::Keyed;

/// One part of a key that differs. `now` is what the stage would run with, `then` what the record has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "part")]
pub enum Difference {
    /// The files. Which ones, a diff of the two trees tells.
    Files { now: Subject, then: Subject },
    /// A field of what the stage does, such as `command` or `env.CC`.
    Definition { field: String, now: Option<String>, then: Option<String> },
    /// What a declared tool says of itself.
    Tool { command: String, now: Option<String>, then: Option<String> },
    /// A declared variable; its values are nobody's business.
    Variable { name: String, now: Presence, then: Presence },
    /// `os` or `arch`.
    Machine { what: String, now: String, then: String },
}

/// What can be told of the value of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    Set,
    Unset,
    /// The project does not declare it.
    Undeclared,
}

/// Returns what differs; nothing if the keys are equal.
pub fn differences(
    now: &Keyed,
    fingerprint: &Fingerprint,
    record: &Record,
    then: &StageRecord,
) -> Vec<Difference> {
    let mut found = Vec::new();
    if now.subject != then.subject {
        found.push(Difference::Files { now: now.subject.clone(), then: then.subject.clone() });
    }
    if now.definition_digest != then.definition_digest {
        let before = found.len();
        definition("", &now.definition, &then.definition, &mut found);
        if found.len() == before {
            // Both are shown without their secrets, and there they differ.
            let masked = Some("a value that is masked".to_owned());
            let field = "command or env".to_owned();
            found.push(Difference::Definition { field, now: masked.clone(), then: masked });
        }
    }
    machine(fingerprint, &record.fingerprint, &mut found);
    found
}

fn definition(prefix: &str, now: &Definition, then: &Definition, found: &mut Vec<Difference>) {
    let mut field = |name: &str, now: Option<String>, then: Option<String>| {
        if now != then {
            found.push(Difference::Definition { field: format!("{prefix}{name}"), now, then });
        }
    };
    let text = |text: &str| Some(text.to_owned());
    field("format", Some(now.format.to_string()), Some(then.format.to_string()));
    field("kind", text(&now.kind), text(&then.kind));
    field("command", now.command.clone(), then.command.clone());
    field("cwd", now.cwd.clone(), then.cwd.clone());
    field("shell", now.shell.clone(), then.shell.clone());
    let names: BTreeSet<_> = now.env.keys().chain(then.env.keys()).collect();
    for name in names {
        field(&format!("env.{name}"), now.env.get(name).cloned(), then.env.get(name).cloned());
    }
    let list = |list: &[String]| (!list.is_empty()).then(|| list.join(" "));
    field("inputs", list(&now.inputs), list(&then.inputs));
    let ids = |of: &Definition| of.stages.iter().map(|inner| inner.id.clone()).collect::<Vec<_>>();
    let (now_ids, then_ids) = (ids(now), ids(then));
    field("stages", list(&now_ids), list(&then_ids));
    if now_ids != then_ids {
        return;
    }
    for (now, then) in now.stages.iter().zip(&then.stages) {
        let prefix = format!("{prefix}{}.", now.id);
        let mut field = |name: &str, now: Option<String>, then: Option<String>| {
            if now != then {
                found.push(Difference::Definition { field: format!("{prefix}{name}"), now, then });
            }
        };
        field("needs", list(&now.needs), list(&then.needs));
        field("may_fail", text(&now.may_fail.to_string()), text(&then.may_fail.to_string()));
        match (&now.definition, &then.definition) {
            (Some(now), Some(then)) => definition(&prefix, now, then, found),
            (now, then) => {
                let exists = |it: &Option<Definition>| Some(it.is_some().to_string());
                field("exists", exists(now), exists(then));
            }
        }
    }
}

fn machine(now: &Fingerprint, then: &Fingerprint, found: &mut Vec<Difference>) {
    for (what, now, then) in [("os", &now.os, &then.os), ("arch", &now.arch, &then.arch)] {
        if now != then {
            found.push(Difference::Machine { what: what.to_owned(), now: now.clone(), then: then.clone() });
        }
    }
    let commands: BTreeSet<_> = now.tools.keys().chain(then.tools.keys()).collect();
    for command in commands {
        let (now, then) = (now.tools.get(command).cloned(), then.tools.get(command).cloned());
        if now != then {
            found.push(Difference::Tool { command: command.clone(), now, then });
        }
    }
    let names: BTreeSet<_> = now.env.keys().chain(then.env.keys()).collect();
    for name in names {
        let (now, then) = (now.env.get(name), then.env.get(name));
        if now != then {
            found.push(Difference::Variable { name: name.clone(), now: presence(now), then: presence(then) });
        }
    }
}

fn presence(value: Option<&Option<String>>) -> Presence {
    match value {
        Some(Some(_)) => Presence::Set,
        Some(None) => Presence::Unset,
        None => Presence::Undeclared,
    }
}

/// Returns the record that comes nearest to a stage as it would run now: of the same name or doing the
/// same, with the fewest parts that differ, and the newest of those.
pub fn nearest<'a>(
    now: &Keyed,
    fingerprint: &Fingerprint,
    records: impl Iterator<Item = &'a Record>,
) -> Option<(&'a Record, &'a StageRecord)> {
    let candidates = records.flat_map(|record| {
        let alike =
            |stage: &&StageRecord| stage.id == now.id || stage.definition_digest == now.definition_digest;
        record.stages.iter().filter(alike).map(move |stage| (record, stage))
    });
    candidates.min_by_key(|(record, stage)| {
        let parts = [
            now.subject != stage.subject,
            now.definition_digest != stage.definition_digest,
            *fingerprint != record.fingerprint,
        ];
        let differ = parts.into_iter().filter(|differs| *differs).count();
        // One that passed tells more than one that did not.
        (differ, !stage.result.is_pass(), std::cmp::Reverse(record.completed_at))
    })
}
