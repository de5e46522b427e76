//! What git tells a `pre-push` hook: a line for each ref that is to change.

use anyhow::Result;

use super::super::Refusal;
use crate::sys::env::Env;

/// One ref that is to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// What is pushed, as it was typed or as git completed it.
    pub local: String,
    /// The object in hex; nothing if the ref is to be deleted.
    pub local_id: Option<String>,
    /// The full name of the ref at the remote.
    pub remote: String,
    /// What the remote has there, in hex; nothing if the ref is new.
    pub remote_id: Option<String>,
}

/// Reads what git writes to the hook.
pub fn parse(text: &str) -> Result<Vec<Update>> {
    text.lines().filter(|line| !line.trim().is_empty()).map(update).collect()
}

/// Returns what the program `pre-commit` says of a push: it keeps what git writes for itself, and tells its own hooks
/// by variables.
pub fn of_pre_commit(env: &Env) -> Vec<Update> {
    let said = |name: &str| env.get(name).filter(|value| !value.is_empty()).map(str::to_owned);
    let (Some(local_id), Some(remote)) = (said("PRE_COMMIT_TO_REF"), said("PRE_COMMIT_REMOTE_BRANCH")) else {
        return Vec::new();
    };
    let local = said("PRE_COMMIT_LOCAL_BRANCH").unwrap_or_else(|| local_id.clone());
    // Where the branch is new, that is where it began and not what the remote has; it is an ancestor of both.
    let remote_id = said("PRE_COMMIT_FROM_REF");
    vec![Update { local, local_id: Some(local_id), remote, remote_id }]
}

fn update(line: &str) -> Result<Update> {
    // From the right: what was typed may hold blanks, as `HEAD@{1 day ago}` does.
    let mut words = line.rsplitn(4, ' ');
    let (remote_id, remote, local_id, local) = (words.next(), words.next(), words.next(), words.next());
    let (Some(remote_id), Some(remote), Some(local_id), Some(local)) = (remote_id, remote, local_id, local)
    else {
        return Err(not_git(line));
    };
    let is_id =
        |word: &str| matches!(word.len(), 40 | 64) && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id(remote_id) || !is_id(local_id) {
        return Err(not_git(line));
    }
    let id = |word: &str| (!word.bytes().all(|byte| byte == b'0')).then(|| word.to_owned());
    Ok(Update {
        local: local.to_owned(),
        local_id: id(local_id),
        remote: remote.to_owned(),
        remote_id: id(remote_id),
    })
}

fn not_git(line: &str) -> anyhow::Error {
    Refusal::usage(format!("`{}` is no line that git gives to a pre-push hook", line.escape_debug()))
        .hint(
            "each line is `LOCAL-REF LOCAL-ID REMOTE-REF REMOTE-ID`; to push by hand: `git orchestrate push`",
        )
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "1111111111111111111111111111111111111111";
    const ZERO: &str = "0000000000000000000000000000000000000000";

    #[test]
    fn lines_of_git_are_understood() {
        let text = format!(
            "refs/heads/main {A} refs/heads/main {ZERO}\n(delete) {ZERO} refs/heads/old {A}\n\
             HEAD@{{1 day ago}} {A} refs/heads/-x {A}\n"
        );
        let read = parse(&text).unwrap();
        let update = |local: &str, local_id: Option<&str>, remote: &str, remote_id: Option<&str>| Update {
            local: local.to_owned(),
            local_id: local_id.map(str::to_owned),
            remote: remote.to_owned(),
            remote_id: remote_id.map(str::to_owned),
        };
        assert_eq!(
            read,
            [
                update("refs/heads/main", Some(A), "refs/heads/main", None),
                update("(delete)", None, "refs/heads/old", Some(A)),
                update("HEAD@{1 day ago}", Some(A), "refs/heads/-x", Some(A)),
            ]
        );
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn other_lines_are_refused() {
        for line in ["x", "a b c d", &format!("a {A} b 12"), &format!("{A} b {A}")] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
