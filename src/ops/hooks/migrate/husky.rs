//! husky: a script per event in `.husky`.

use super::proposal::{Found, MESSAGE, Proposed, event};
use crate::pipeline::hooks::Event;

/// Reads the script of one event.
pub(super) fn read(source: &str, name: &str, text: &str) -> Found {
    let mut found = Found::default();
    let event = match event(name) {
        Ok(event) => event,
        Err(why) => {
            found.leave(source, name, why);
            return found;
        }
    };
    let is_told = |line: &&str| {
        let line = line.trim();
        let sources_husky =
            line.contains("husky.sh") && (line.starts_with(". ") || line.starts_with("source "));
        !line.is_empty() && !line.starts_with('#') && !sources_husky && !line.contains("orchestrate hook ")
    };
    let lines: Vec<&str> = text.lines().filter(is_told).collect();
    if lines.is_empty() {
        return found;
    }
    let mut script = lines.join("\n");
    if lines.iter().any(|line| line.contains("lint-staged")) {
        found.leave(
            source,
            name,
            "lint-staged stashes and stages by itself: write its commands as stages with `fixes`",
        );
        return found;
    }
    if event == Event::CommitMsg {
        for given in ["\"$1\"", "'$1'", "\"${1}\"", "${1}", "$1"] {
            script = script.replace(given, MESSAGE);
        }
    }
    let reads = ["$1", "$2", "$3", "$@", "$*", "${1}", "${2}", "read "];
    if reads.iter().any(|word| script.contains(word)) {
        found.leave(source, name, "it reads what git tells the hook, and stages are not told");
        return found;
    }
    // As husky runs it: the first command that fails ends it.
    let command = if lines.len() > 1 { format!("set -e\n{script}") } else { script };
    let id = match lines.as_slice() {
        [line] => super::lefthook::first_words(line),
        _ => event.to_string(),
    };
    found.stages.push(Proposed {
        source: source.to_owned(),
        event,
        id,
        command,
        cwd: None,
        env: Default::default(),
        fixes: false,
        notes: Vec::new(),
    });
    found
}
