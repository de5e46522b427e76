//! Additions to the text of a configuration, of which nothing changes that is there.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstRootNode};
use serde_json::{Map, Value};

/// Adds a pipeline, and entries of `hooks`. Returns nothing if the text is no configuration.
pub fn add(text: &str, pipeline: &Value, hooks: &Map<String, Value>) -> Option<String> {
    let root = CstRootNode::parse(text, &ParseOptions::default()).ok()?;
    let top = root.object_value()?;
    let list = top.array_value("pipelines").or_else(|| {
        top.append("pipelines", CstInputValue::Array(Vec::new()));
        top.array_value("pipelines")
    })?;
    list.append(input(pipeline));
    let section = top.object_value("hooks").or_else(|| {
        top.append("hooks", CstInputValue::Object(Vec::new()));
        top.object_value("hooks")
    })?;
    for (event, gate) in hooks {
        section.append(event, input(gate));
    }
    Some(root.to_string())
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(flag) => CstInputValue::Bool(*flag),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(list) => CstInputValue::Array(list.iter().map(input).collect()),
        Value::Object(map) => {
            CstInputValue::Object(map.iter().map(|(key, value)| (key.clone(), input(value))).collect())
        }
    }
}
