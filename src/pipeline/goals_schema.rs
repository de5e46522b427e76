//! The JSON Schema of a file for `spawn`.
//!
//! These types are never filled: `config` reads the file, and a test keeps the two in step.
#![expect(dead_code, reason = "only the schema of these types is used")]

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use schemars::JsonSchema;
use serde_json::Value;

use super::config_schema::{Time, Variable, explain, forbid_null};

/// Returns the schema, for an editor or a file that `$schema` points at.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(GoalsFile).to_value();
    forbid_null(&mut schema);
    explain(&mut schema);
    schema
}

/// Goals that `git orchestrate spawn` starts together.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields, title = "A file for git orchestrate spawn")]
struct GoalsFile {
    /// The schema of this file, for editors.
    #[schemars(rename = "$schema")]
    schema: Option<String>,
    /// What the run above them is called.
    title: Option<String>,
    /// How many run at the same time; as many as there are processors if left out.
    jobs: Option<NonZeroU16>,
    /// How long each may take that does not say it itself.
    timeout: Option<Time>,
    /// Whether the others go on when one fails; true if left out.
    keep_going: Option<bool>,
    /// Sets of commands: the id of one that is known, or what it is.
    adapters: Option<Vec<AdapterOrId>>,
    /// What is to be reached: for each adapter that has a goal of that name, or more about one. Without it all that the
    /// adapters have.
    goals: Option<Vec<GoalOrName>>,
}

/// The id of an adapter that is known (`typescript-default`, `python-pytest`, `go-module`), or what it is.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum AdapterOrId {
    Id(String),
    Adapter(Adapter),
}

/// A set of commands, such as those of a language or of a part of the project.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Adapter {
    /// Its name. One that is known has the commands of that, and those named here.
    #[schemars(length(min = 1))]
    id: String,
    /// The stream in which its goals are reached.
    #[schemars(length(min = 1))]
    stream: Option<String>,
    /// The folder in which its commands run, relative to the root of the worktree.
    #[schemars(length(min = 1))]
    cwd: Option<String>,
    /// Variables added to the environment of its commands. `$` in a value stays as it is.
    env: Option<BTreeMap<String, Variable>>,
    /// Each goal, and how it is reached: a text for `/bin/sh -c`, or more about it.
    commands: Option<BTreeMap<String, WorkOrCommand>>,
}

/// A text for `/bin/sh -c`, or more about how a goal is reached.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum WorkOrCommand {
    Command(String),
    Work(Work),
}

/// The name of a goal, for each adapter that has it, or more about one.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(clippy::large_enum_variant, reason = "never filled")]
enum GoalOrName {
    Name(String),
    Goal(Goal),
}

/// How a goal is reached.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Work {
    /// The name to show.
    title: Option<String>,
    /// A text for `/bin/sh -c`; with `args`, the name of a program.
    #[schemars(length(min = 1))]
    command: Option<String>,
    /// The words that the program is given.
    args: Option<Vec<String>>,
    /// The pipeline that runs, instead of a command.
    #[schemars(length(min = 1))]
    pipeline: Option<String>,
    /// The folder to run in, relative to the root of the worktree.
    #[schemars(length(min = 1))]
    cwd: Option<String>,
    /// Variables added to the environment. `$` in a value stays as it is.
    env: Option<BTreeMap<String, Variable>>,
    /// How long it may take.
    timeout: Option<Time>,
    /// Whether other goals may run beside it; true if left out.
    parallel: Option<bool>,
}

/// Something to be reached. What it does not say is as its adapter has it.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Goal {
    /// Its name, which differs from the others; what it is about if left out: stream, adapter and goal or pipeline.
    #[schemars(length(min = 1))]
    id: Option<String>,
    /// The adapter that it is about.
    #[schemars(length(min = 1))]
    adapter: Option<String>,
    /// What is to be reached, such as `build`.
    #[schemars(length(min = 1))]
    goal: Option<String>,
    /// The stream that it runs in; this worktree if left out.
    #[schemars(length(min = 1))]
    stream: Option<String>,
    /// The ids of goals that have to be reached before.
    needs: Option<Vec<String>>,
    /// The name to show.
    title: Option<String>,
    /// A text for `/bin/sh -c`; with `args`, the name of a program.
    #[schemars(length(min = 1))]
    command: Option<String>,
    /// The words that the program is given.
    args: Option<Vec<String>>,
    /// The pipeline that runs, instead of a command.
    #[schemars(length(min = 1))]
    pipeline: Option<String>,
    /// The folder to run in, relative to the root of the worktree.
    #[schemars(length(min = 1))]
    cwd: Option<String>,
    /// Variables added to the environment. `$` in a value stays as it is.
    env: Option<BTreeMap<String, Variable>>,
    /// How long it may take.
    timeout: Option<Time>,
    /// Whether other goals may run beside it; true if left out.
    parallel: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::super::config::{ADAPTER_KEYS, GOAL_KEYS, GOALS_KEYS, WORK_KEYS};
    use super::*;

    #[test]
    fn the_schema_has_the_keys_that_are_read_each_with_an_example() {
        let schema = schema();
        let keys = |place: &str| -> Vec<String> {
            let properties = schema.pointer(&format!("{place}/properties")).and_then(Value::as_object);
            let properties = properties.expect(place);
            for (key, property) in properties {
                assert!(property["description"].is_string() && property["examples"].is_array(), "{key}");
                assert_ne!(property["examples"].as_array().map(Vec::len), Some(0), "{key}");
            }
            let mut keys: Vec<_> = properties.keys().cloned().collect();
            keys.sort();
            keys
        };
        let sorted = |lists: &[&[&str]]| {
            let mut keys: Vec<_> = lists.concat().into_iter().map(str::to_owned).collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(""), sorted(&[GOALS_KEYS]));
        assert_eq!(keys("/$defs/Adapter"), sorted(&[ADAPTER_KEYS]));
        assert_eq!(keys("/$defs/Work"), sorted(&[WORK_KEYS]));
        assert_eq!(keys("/$defs/Goal"), sorted(&[GOAL_KEYS, WORK_KEYS]));
    }
}
