//! What a project says about its hooks: the section `hooks` of the configuration, with one gate per event.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The section. An event that it does not name has no gate.
pub type Hooks = BTreeMap<Event, Gate>;

/// An event of git that a hook can answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    PreCommit,
    CommitMsg,
    PostCommit,
    PostMerge,
    PostCheckout,
    PostRewrite,
    PreRebase,
    PrePush,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::PreCommit,
        Self::CommitMsg,
        Self::PostCommit,
        Self::PostMerge,
        Self::PostCheckout,
        Self::PostRewrite,
        Self::PreRebase,
        Self::PrePush,
    ];

    /// Returns git's name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreCommit => "pre-commit",
            Self::CommitMsg => "commit-msg",
            Self::PostCommit => "post-commit",
            Self::PostMerge => "post-merge",
            Self::PostCheckout => "post-checkout",
            Self::PostRewrite => "post-rewrite",
            Self::PreRebase => "pre-rebase",
            Self::PrePush => "pre-push",
        }
    }

    /// Whether it comes when all is done, so that nothing can be refused any more.
    pub fn is_after(self) -> bool {
        self.as_str().starts_with("post-")
    }

    /// Whether git writes something to the stdin of its hooks.
    pub fn has_input(self) -> bool {
        matches!(self, Self::PrePush | Self::PostRewrite)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that git gives to no hook that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("git has no such hook, or we do not know it")]
pub struct UnknownEvent;

impl FromStr for Event {
    type Err = UnknownEvent;

    fn from_str(text: &str) -> Result<Self, UnknownEvent> {
        Self::ALL.into_iter().find(|event| event.as_str() == text).ok_or(UnknownEvent)
    }
}

/// What one event asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Stages or pipelines, by name; `pipeline:stage` where a name alone could mean several.
    pub require: Vec<String>,
    pub guardrails: Vec<Guardrail>,
    /// What is missing is run at once if it usually takes no longer than this in all.
    pub inline_seconds: u64,
    /// The refs that it is about, as the remote calls them; a `*` stands for anything.
    pub refs: Vec<String>,
    pub on_missing: OnMissing,
    pub on_fix: OnFix,
    /// Whether nobody waits for it.
    pub background: bool,
}

impl Gate {
    /// How long what is missing may usually take to be run at once, where nobody says anything else.
    pub const INLINE_SECONDS: u64 = 20;

    /// Whether it is about a ref.
    pub fn is_about(&self, name: &str) -> bool {
        self.refs.iter().any(|pattern| fits(pattern, name))
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            require: Vec::new(),
            guardrails: Vec::new(),
            inline_seconds: Self::INLINE_SECONDS,
            refs: vec!["refs/heads/*".to_owned()],
            on_missing: OnMissing::Refuse,
            on_fix: OnFix::Commit,
            background: false,
        }
    }
}

/// A guardrail that an event can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guardrail {
    DiffBudget,
    Spec,
}

impl Guardrail {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::DiffBudget, Self::Spec];

    /// Returns its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DiffBudget => "diff-budget",
            Self::Spec => "spec",
        }
    }
}

/// What becomes of a push of something that is not proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissing {
    Refuse,
    /// It passes, with a word about it.
    Warn,
}

/// What becomes of a commit in which a stage fixed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFix {
    /// It goes on, with what was fixed.
    Commit,
    /// It is refused, so that somebody looks at what was fixed; the next one goes on.
    Refuse,
}

/// Whether a pattern with `*` for anything fits a name as a whole.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, expected) in [
            ("refs/heads/*", "refs/heads/main", true),
            ("refs/heads/*", "refs/heads/a/b", true),
            ("refs/heads/*", "refs/tags/v1", false),
            ("refs/heads/main", "refs/heads/main", true),
            ("refs/heads/main", "refs/heads/main2", false),
            ("refs/heads/release/*-rc*", "refs/heads/release/1-rc2", true),
            ("refs/heads/release/*-rc*", "refs/heads/release/1", false),
            ("refs/*/x", "refs/heads/x", true),
            ("refs/*/x", "refs/x", false),
            ("*", "refs/anything", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn events_have_the_names_of_git() {
        for event in Event::ALL {
            assert_eq!(event.as_str().parse(), Ok(event));
        }
        assert!("pre-receive".parse::<Event>().is_err());
    }
}
