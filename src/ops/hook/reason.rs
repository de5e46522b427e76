//! Why something may pass that would be refused: told by a variable, or by an option of the push.

use std::ffi::OsString;

use crate::guardrail::Override;
use crate::sys::ancestors;
use crate::sys::env::{Env, is_true};

/// The variable that holds a reason.
pub const VARIABLE: &str = "GIT_ORCHESTRATE_OVERRIDE";
/// The variable that lets a push change the gate that judges it.
pub const ALLOW_VARIABLE: &str = "GIT_ORCHESTRATE_ALLOW_GATE_CHANGE";

/// The option of a push that holds a reason.
const OPTION: &str = "orchestrate.override";
/// The option of a push that lets it change the gate that judges it.
const ALLOW_OPTION: &str = "orchestrate.allow-gate-change";

/// What the caller of git said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub reason: Option<Override>,
    pub allow_gate_change: bool,
    /// Whether the push is only tried.
    pub only_tried: bool,
}

/// Finds what the caller of git said: in our environment, and on the command line of the `git push` that this is
/// a hook of, which hands its options to the other side only.
pub fn said(env: &Env) -> Said {
    let mut said = of_arguments(&ancestors::words_of_git("push").unwrap_or_default());
    for number in 0..env.get("GIT_PUSH_OPTION_COUNT").and_then(|count| count.parse().ok()).unwrap_or(0_u16) {
        said.hear(env.get(&format!("GIT_PUSH_OPTION_{number}")).unwrap_or_default());
    }
    if let Some(reason) = of_variable(env) {
        said.reason = Some(reason);
    }
    said.allow_gate_change |= env.get(ALLOW_VARIABLE).is_some_and(is_true);
    said
}

/// Returns the reason that the environment holds.
pub fn of_variable(env: &Env) -> Option<Override> {
    let reason = env.get(VARIABLE).map(str::trim).filter(|reason| !reason.is_empty())?;
    Some(Override { variable: VARIABLE.to_owned(), reason: reason.to_owned() })
}

/// Returns what the words behind `git push` say about hooks.
pub(in crate::ops) fn of_arguments(words: &[OsString]) -> Said {
    let mut said = Said::default();
    let mut words = words.iter().map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        match word.as_ref() {
            "--" => break,
            "--dry-run" => said.only_tried = true,
            "--push-option" => said.hear(words.next().as_deref().unwrap_or_default()),
            // Short flags may stand together; only that of an option of the push takes a value.
            word if word.starts_with('-') && !word.starts_with("--") => {
                let (flags, option) = match word.split_once('o') {
                    Some((flags, option)) => (flags, Some(option)),
                    None => (word, None),
                };
                said.only_tried |= flags.contains('n');
                match option {
                    Some("") => said.hear(words.next().as_deref().unwrap_or_default()),
                    Some(option) => said.hear(option),
                    None => {}
                }
            }
            word => {
                if let Some(option) = word.strip_prefix("--push-option=") {
                    said.hear(option);
                }
            }
        }
    }
    said
}

impl Said {
    fn hear(&mut self, option: &str) {
        match option.split_once('=') {
            Some((OPTION, reason)) if !reason.trim().is_empty() => {
                let variable = format!("push option {OPTION}");
                self.reason = Some(Override { variable, reason: reason.trim().to_owned() });
            }
            None if option == ALLOW_OPTION => self.allow_gate_change = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Said {
        of_arguments(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn options_of_a_push_are_understood_as_git_does() {
        for line in [
            "-o orchestrate.override=because origin",
            "origin --push-option=orchestrate.override=because main",
            "--push-option orchestrate.override=because",
            "-oorchestrate.override=because",
        ] {
            let said = of(line);
            assert_eq!(said.reason.map(|reason| reason.reason).as_deref(), Some("because"), "{line}");
        }
        assert!(of("-o orchestrate.allow-gate-change origin main").allow_gate_change);
        let said = of("-fqoorchestrate.override=because origin");
        assert_eq!(said.reason.map(|reason| reason.reason).as_deref(), Some("because"));
        for tried in ["-n", "--dry-run origin", "-qn origin", "-nfu origin main", "-no topic origin"] {
            assert!(of(tried).only_tried, "{tried}");
        }
        for real in ["-qf origin", "-o -n origin", "-on origin", "--no-verify origin", "-- -n", "origin main"]
        {
            assert!(!of(real).only_tried, "{real}");
        }
        assert!(of("-n origin").only_tried && of("--dry-run").only_tried);
        assert_eq!(of("origin -- -o orchestrate.override=because"), Said::default());
        assert_eq!(of("-o orchestrate.override= -o ci.skip"), Said::default());
    }
}
