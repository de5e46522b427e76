//! README says what the program says.

use std::collections::BTreeMap;

use crate::fixture::Fixture;

const README: &str = include_str!("../../README.md");

/// Returns the rows of the first table below a heading, as its first two cells without backticks.
fn table(heading: &str) -> BTreeMap<String, String> {
    let section =
        README.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no `{heading}`")).1;
    let rows = section.lines().skip_while(|line| !line.starts_with("|--")).skip(1);
    rows.take_while(|line| line.starts_with('|'))
        .map(|row| {
            let cells: Vec<_> =
                row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
            (cells[0].clone(), cells[1].clone())
        })
        .collect()
}

/// Returns what `--help` lists below a heading: a word, and what it means.
fn help(heading: &str) -> BTreeMap<String, String> {
    let help = Fixture::new("passing").orchestrate("--help").stdout;
    let section =
        help.split_once(&format!("{heading}:\n")).unwrap_or_else(|| panic!("no `{heading}`: {help}")).1;
    let lines = section.lines().take_while(|line| !line.is_empty());
    lines
        .map(|line| line.trim().split_once(' ').expect("a word and its meaning"))
        .map(|(word, meaning)| (word.to_owned(), meaning.trim().to_owned()))
        .collect()
}

#[test]
fn readme_has_the_exit_codes_of_the_help() {
    assert_eq!(table("Exit codes"), help("Exit codes"));
}

#[test]
fn readme_has_the_commands_of_the_help() {
    let mut commands = help("Commands");
    commands.remove("help");
    assert_eq!(table("Commands"), commands);
}

#[test]
fn readme_names_every_key_of_the_configuration() {
    fn keys(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(map) => {
                if let Some(properties) = map.get("properties").and_then(|properties| properties.as_object())
                {
                    found.extend(properties.keys().cloned());
                }
                map.values().for_each(|value| keys(value, found));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
            _ => {}
        }
    }
    let section = README.split_once("\n## Configuration\n").expect("a section").1;
    let section = section.split("\n## ").next().expect("its text");
    let mut found = Vec::new();
    keys(&git_orchestrate::pipeline::config::schema(), &mut found);
    assert!(found.len() > 20, "{found:?}");
    let missing: Vec<_> = found.iter().filter(|key| !section.contains(&format!("`{key}`"))).collect();
    assert_eq!(missing, Vec::<&String>::new());
}
