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
    let (staged, lines): (Vec<&str>, Vec<&str>) =
        text.lines().filter(is_told).partition(|line| line.contains("lint-staged"));
    if !staged.is_empty() {
        let why = "lint-staged stashes and stages by itself: write its commands as stages with `fixes`";
        if !staged.iter().chain(&lines).all(|line| stands_alone(line)) {
            found.leave(source, name, format!("{why}, and the rest of the script as others"));
            return found;
        }
        found.leave(source, name, why);
    }
    if lines.is_empty() {
        return found;
    }
    let mut script = lines.join("\n");
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
    let mut command = if lines.len() > 1 { format!("set -e\n{script}") } else { script };
    // One that does not name its own library is for a husky that lets the programs of the project be found.
    if !text.contains("husky.sh") && !lines.iter().all(|line| is_found_anyway(line)) {
        command = format!("PATH=\"node_modules/.bin:$PATH\"\n{command}");
    }
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

/// Whether a line is a command of its own, which others can do without.
fn stands_alone(line: &str) -> bool {
    const CONTROL: &[&str] =
        &["if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "set"];
    // What is done where it fails goes with it.
    let line = line.split(" || ").next().unwrap_or(line);
    let first = line.split_whitespace().next().unwrap_or_default();
    !CONTROL.contains(&first)
        && !["&&", "|", ";", "{", "}", "(", ")", "\\", "<<"].iter().any(|it| line.contains(it))
}

/// Whether a line calls a program that no project brings along.
fn is_found_anyway(line: &str) -> bool {
    const ANYWHERE: &[&str] = &[
        "bun", "bunx", "cargo", "deno", "echo", "exit", "git", "go", "make", "node", "npm", "npx", "pnpm",
        "pnpx", "python", "python3", "sh", "yarn",
    ];
    ANYWHERE.contains(&line.split_whitespace().next().unwrap_or_default())
}
