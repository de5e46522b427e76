//! The few lines of sh that git calls, and the words in its configuration that stand in for them.

use std::path::{Path, PathBuf};

use crate::pipeline::hooks::Event;

const WITH_INPUT: &str = include_str!("../../../hooks/with-input.sh");
const PLAIN: &str = include_str!("../../../hooks/plain.sh");

/// What begins the second line of a hook of ours.
const MARK: &str = "# git-orchestrate: hook ";

const CHAIN: &str = include_str!("../../../hooks/chain.sh");

/// Where the hook is that runs first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Beside ours, under another name.
    Beside,
    /// In the repository itself, where git does not look for it.
    InRepository,
}

/// Returns the text of the hook that calls `program`. One `for_all` repositories is silent where nobody
/// configured a gate.
pub fn text(event: Event, program: &Path, for_all: bool, first: First) -> String {
    let template = if event.has_input() { WITH_INPUT } else { PLAIN };
    let before = match first {
        First::Beside => "${0%/*}/@EVENT@.before-orchestrate".to_owned(),
        First::InRepository => format!("{OWN}\n{ALONE}"),
    };
    template
        .replace("@BEFORE@", &before)
        .replace("@EVENT@", event.as_str())
        .replace("@FLAGS@", if for_all { " --if-configured" } else { "" })
        .replace("@PROGRAM@", &quoted(program))
}

/// Lets a hook of ours in the repository itself answer alone.
const ALONE: &str = "if [ -x \"$before\" ] && [ -z \"${GIT_ORCHESTRATE_PROBE-}\" ] && \
                     grep -q '^# git-orchestrate: hook' \"$before\"; then\n\texec \"$before\" \"$@\"\nfi";

/// Where a repository keeps its own hooks.
const OWN: &str = "$(git rev-parse --git-common-dir)/hooks/@EVENT@";

/// Returns the text of a hook that calls the one of the repository itself, and no more.
pub fn chain(name: &str) -> String {
    CHAIN.replace("@BEFORE@", OWN).replace("@EVENT@", name)
}

/// Whether that is the text of a hook of ours, whichever.
pub fn is_any_of_ours(text: &[u8]) -> bool {
    let begins = |line: &[u8]| line.starts_with(b"# git-orchestrate: ");
    text.split(|byte| *byte == b'\n').nth(1).is_some_and(begins)
}

/// Whether that is the text of a hook of ours for an event.
pub fn is_ours(text: &[u8], event: Event) -> bool {
    let mark = format!("{MARK}{event},");
    text.split(|byte| *byte == b'\n').nth(1).is_some_and(|line| line.starts_with(mark.as_bytes()))
}

/// Returns the keys of git's configuration, with their values, that make it call `program`.
pub fn settings(event: Event, program: &Path, for_all: bool) -> [(String, String); 2] {
    let flags = if for_all { " --if-configured" } else { "" };
    let command =
        format!("p={}; [ -x \"$p\" ] || p=git-orchestrate; \"$p\" hook {event}{flags}", quoted(program));
    let section = section(event);
    [(format!("{section}.command"), command), (format!("{section}.event"), event.to_string())]
}

/// Returns the section of git's configuration that is ours.
pub fn section(event: Event) -> String {
    format!("hook.orchestrate-{event}")
}

/// Returns the name under which a hook is kept that was there before.
pub fn before(hook: &Path) -> PathBuf {
    let mut name = hook.as_os_str().to_owned();
    name.push(".before-orchestrate");
    PathBuf::from(name)
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_known_by_its_second_line() {
        for event in Event::ALL {
            let text = text(event, Path::new("/it's here/git-orchestrate"), false, First::Beside);
            assert!(is_ours(text.as_bytes(), event) && !text.replace("$@", "").contains('@'), "{text}");
            assert!(text.contains(r"program='/it'\''s here/git-orchestrate'"), "{text}");
        }
        let push = text(Event::PrePush, Path::new("/x"), true, First::InRepository);
        assert!(push.ends_with("exec \"$program\" hook pre-push --if-configured \"$@\"\n"), "{push}");
        assert!(!is_ours(push.as_bytes(), Event::PreCommit));
        assert!(!is_ours(b"#!/bin/sh\ngit orchestrate hook pre-push\n", Event::PrePush));
        assert!(!is_ours(b"", Event::PrePush));
    }

    #[test]
    fn git_is_told_in_two_keys() {
        let [command, event] = settings(Event::PrePush, Path::new("/bin/x"), false);
        assert_eq!(command.0, "hook.orchestrate-pre-push.command");
        assert_eq!(command.1, r#"p='/bin/x'; [ -x "$p" ] || p=git-orchestrate; "$p" hook pre-push"#);
        assert_eq!(event, ("hook.orchestrate-pre-push.event".to_owned(), "pre-push".to_owned()));
    }
}
