//! The section `hooks` of the configuration.

use super::{ConfigError, Fields, Problem, Reader, Value, name_span, shown, span};
use crate::pipeline::hooks::{Event, Gate, Guardrail, Hooks, OnFix, OnMissing};
use crate::pipeline::{listing, nearest};

/// Every key of an entry; not each event has all of them.
#[cfg(test)]
pub(in crate::pipeline) const HOOK_KEYS: &[&str] =
    &["require", "guardrails", "inlineSeconds", "refs", "onMissing", "onFix", "background"];

const BEFORE_COMMIT: &[&str] = &["require", "guardrails", "onMissing", "onFix"];
const BEFORE: &[&str] = &["require", "guardrails", "onMissing"];
const BEFORE_PUSH: &[&str] = &["require", "guardrails", "inlineSeconds", "onMissing", "refs"];
const AFTER: &[&str] = &["require", "background"];

impl Reader<'_> {
    pub(super) fn hooks(&self, top: &Fields<'_, '_>) -> Result<Hooks, ConfigError> {
        let mut hooks = Hooks::new();
        let Some(value) = top.get("hooks") else { return Ok(hooks) };
        let section = self.object(value, "`hooks`", "`hooks`")?;
        for property in &section.node.properties {
            let name = property.name.as_str();
            let event: Event = name.parse().map_err(|_| {
                let events = || Event::ALL.iter().map(|event| event.as_str());
                let hint = match nearest(name, events()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known hooks: {}", listing(events())),
                };
                let problem = Problem::UnknownKey { key: name.to_owned(), within: "`hooks`" };
                self.error(name_span(property), problem).with_hint(hint)
            })?;
            hooks.insert(event, self.gate(event, &property.value)?);
        }
        Ok(hooks)
    }

    fn gate(&self, event: Event, value: &Value<'_>) -> Result<Gate, ConfigError> {
        let (keys, within) = match event {
            Event::PrePush => (BEFORE_PUSH, "the hook `pre-push`"),
            Event::PreCommit => (BEFORE_COMMIT, "a hook that comes before a commit"),
            event if event.is_after() => (AFTER, "a hook that comes after"),
            _ => (BEFORE, "a hook that comes before a commit"),
        };
        let fields = self.object(value, &format!("`{event}`"), within)?;
        fields.only(keys, |key| match key {
            "onFix" => Some("`onFix` belongs to `pre-commit`: nowhere else can anything be fixed".to_owned()),
            "refs" => Some("`refs` belongs to `pre-push`".to_owned()),
            "background" => {
                Some("only what comes after, such as `post-commit`, can be left alone".to_owned())
            }
            "inlineSeconds" if !event.is_after() => {
                Some("`inlineSeconds` belongs to `pre-push`: here what is missing always runs".to_owned())
            }
            "guardrails" | "inlineSeconds" | "onMissing" => {
                Some(format!("`{key}` belongs to hooks that can still refuse, such as `pre-push`"))
            }
            _ => None,
        })?;
        let usual = Gate::default();
        let mut require = Vec::new();
        for value in fields.list("require")? {
            let name = self.text(value, "an entry of `require`")?;
            if name.trim().is_empty() || name.contains(['\0', '\n']) {
                let what = "an entry of `require`".to_owned();
                let problem = Problem::WrongWord { what, word: shown(name) };
                let hint = "write the name of a stage or a pipeline, such as `test`";
                return Err(self.error(span(value), problem).with_hint(hint));
            }
            require.push(name.to_owned());
        }
        let mut guardrails = Vec::new();
        for value in fields.list("guardrails")? {
            let words = Guardrail::ALL.map(Guardrail::as_str);
            let at = self.word(value, "an entry of `guardrails`", &words)?;
            guardrails.push(Guardrail::ALL[at]);
        }
        let mut refs = Vec::new();
        for value in fields.list("refs")? {
            let pattern = self.text(value, "an entry of `refs`")?;
            if !pattern.starts_with("refs/") && pattern != "*" {
                let what = "an entry of `refs`".to_owned();
                let problem = Problem::WrongWord { what, word: shown(pattern) };
                let hint = "write a whole name with `*` for any part of it, such as `refs/heads/*`";
                return Err(self.error(span(value), problem).with_hint(hint));
            }
            refs.push(pattern.to_owned());
        }
        let on_missing = match fields.get("onMissing") {
            None => usual.on_missing,
            Some(value) => match self.word(value, "`onMissing`", &["refuse", "warn"])? {
                0 => OnMissing::Refuse,
                _ => OnMissing::Warn,
            },
        };
        let on_fix = match fields.get("onFix") {
            None => usual.on_fix,
            Some(value) => match self.word(value, "`onFix`", &["commit", "refuse"])? {
                0 => OnFix::Commit,
                _ => OnFix::Refuse,
            },
        };
        Ok(Gate {
            require,
            guardrails,
            inline_seconds: fields.whole_number("inlineSeconds")?.unwrap_or(usual.inline_seconds),
            refs: if fields.get("refs").is_some() { refs } else { usual.refs },
            on_missing,
            on_fix,
            background: fields.flag("background")?.unwrap_or(usual.background),
        })
    }

    /// Returns which of some words a value is.
    pub(super) fn word(&self, value: &Value<'_>, what: &str, words: &[&str]) -> Result<usize, ConfigError> {
        let word = self.text(value, what)?;
        words.iter().position(|known| *known == word).ok_or_else(|| {
            let problem = Problem::WrongWord { what: what.to_owned(), word: word.to_owned() };
            let hint = match nearest(word, words.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known words: {}", listing(words.iter().copied())),
            };
            self.error(span(value), problem).with_hint(hint)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn read(text: &str) -> Result<Hooks, String> {
        parse("c.json", &format!("{{\"hooks\": {text}}}"))
            .map(|config| config.hooks)
            .map_err(|err| err.to_string())
    }

    #[test]
    fn what_is_left_out_is_as_usual() {
        assert_eq!(read("{}"), Ok(Hooks::new()));
        let hooks = read(r#"{"pre-push": {}}"#).unwrap();
        assert_eq!(hooks, [(Event::PrePush, Gate::default())].into());
        assert_eq!(hooks[&Event::PrePush].refs, ["refs/heads/*"]);
        assert_eq!(hooks[&Event::PrePush].inline_seconds, 20);
    }

    #[test]
    fn what_is_written_is_read() {
        let hooks = read(
            r#"{"pre-push": {"require": ["build", "gate:test"], "guardrails": ["spec", "diff-budget"],
                "inlineSeconds": 0, "refs": ["refs/tags/*"], "onMissing": "warn"},
               "pre-commit": {"onFix": "refuse"},
               "post-commit": {"require": ["diagnostics"], "background": true}}"#,
        );
        let hooks = hooks.unwrap();
        let push = Gate {
            require: vec!["build".to_owned(), "gate:test".to_owned()],
            guardrails: vec![Guardrail::Spec, Guardrail::DiffBudget],
            inline_seconds: 0,
            refs: vec!["refs/tags/*".to_owned()],
            on_missing: OnMissing::Warn,
            on_fix: OnFix::Commit,
            background: false,
        };
        let after = Gate { require: vec!["diagnostics".to_owned()], background: true, ..Gate::default() };
        let commit = Gate { on_fix: OnFix::Refuse, ..Gate::default() };
        let all = [(Event::PrePush, push), (Event::PreCommit, commit), (Event::PostCommit, after)];
        assert_eq!(hooks, all.into());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            ("[]", "`hooks` must be an object"),
            (r#"{"prepush": {}}"#, "unknown key `prepush` in `hooks`"),
            (r#"{"pre-push": []}"#, "`pre-push` must be an object"),
            (r#"{"pre-push": {"requires": []}}"#, "unknown key `requires` in the hook `pre-push`"),
            (r#"{"pre-push": {"require": "test"}}"#, "`require` must be a list"),
            (r#"{"pre-push": {"require": [""]}}"#, "an entry of `require` cannot be ``"),
            (r#"{"pre-push": {"guardrails": ["docs"]}}"#, "an entry of `guardrails` cannot be `docs`"),
            (r#"{"pre-push": {"inlineSeconds": "20"}}"#, "`inlineSeconds` must be a whole number"),
            (r#"{"pre-push": {"refs": ["main"]}}"#, "an entry of `refs` cannot be `main`"),
            (r#"{"pre-push": {"onMissing": "ask"}}"#, "`onMissing` cannot be `ask`"),
            (r#"{"pre-push": {"background": true}}"#, "unknown key `background`"),
            (r#"{"pre-push": {"onFix": "commit"}}"#, "unknown key `onFix`"),
            (r#"{"pre-commit": {"onFix": "warn"}}"#, "`onFix` cannot be `warn`"),
            (r#"{"pre-commit": {"refs": []}}"#, "unknown key `refs`"),
            (r#"{"pre-commit": {"inlineSeconds": 1}}"#, "unknown key `inlineSeconds`"),
            (r#"{"post-commit": {"onMissing": "warn"}}"#, "unknown key `onMissing`"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
