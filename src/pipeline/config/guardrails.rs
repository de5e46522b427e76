//! The section `guardrails` of the configuration.

use super::{ConfigError, Fields, Problem, Reader, Value, of_section, span};
use crate::pipeline::guardrails::{
    DiffBudget, Docs, ExceededWhen, Guardrails, LONGEST_WORD, Spec, SpecFallback, SpecGroup, pathspec_flaw,
};
use crate::pipeline::{listing, nearest, shown};

pub(in crate::pipeline) const GUARDRAIL_KEYS: &[&str] = &["diffBudget", "spec", "docs"];
pub(in crate::pipeline) const DIFF_BUDGET_KEYS: &[&str] =
    &["required", "maxFiles", "maxLines", "exceededWhen", "ignore", "ignoreAttributes", "renames"];
pub(in crate::pipeline) const DOCS_KEYS: &[&str] = &["required", "include"];
pub(in crate::pipeline) const SPEC_KEYS: &[&str] =
    &["required", "code", "specs", "maxAgeDays", "groups", "fallback"];
pub(in crate::pipeline) const FALLBACK_KEYS: &[&str] = &["words", "tables"];
pub(in crate::pipeline) const GROUP_KEYS: &[&str] = &["id", "owner", "expires", "max", "specs"];

/// Reads only the section `guardrails` of a configuration, as a guardrail does that judges by the
/// configuration of another commit.
pub fn parse_guardrails(file_name: &str, text: &str) -> Result<Guardrails, ConfigError> {
    of_section(file_name, text, |reader, top| reader.guardrails(top))
}

impl Reader<'_> {
    pub(super) fn guardrails(&self, top: &Fields<'_, '_>) -> Result<Guardrails, ConfigError> {
        let mut read = Guardrails::default();
        let Some(value) = top.get("guardrails") else { return Ok(read) };
        let section = self.object(value, "`guardrails`", "`guardrails`")?;
        section.only(GUARDRAIL_KEYS, |_| None)?;
        if let Some(value) = section.get("diffBudget") {
            let fields = self.object(value, "`diffBudget`", "`diffBudget`")?;
            fields.only(DIFF_BUDGET_KEYS, |_| None)?;
            let usual = DiffBudget::default();
            read.diff_budget = Some(DiffBudget {
                required: fields.flag("required")?.unwrap_or(usual.required),
                max_files: fields.whole_number("maxFiles")?,
                max_lines: fields.whole_number("maxLines")?,
                exceeded_when: self.exceeded_when(&fields)?.unwrap_or(usual.exceeded_when),
                ignore: self.pathspecs(&fields, "ignore")?,
                ignore_attributes: match fields.get("ignoreAttributes") {
                    Some(_) => self.attributes(&fields)?,
                    None => usual.ignore_attributes,
                },
                renames: fields.flag("renames")?.unwrap_or(usual.renames),
            });
        }
        if let Some(value) = section.get("spec") {
            let fields = self.object(value, "`spec`", "`spec`")?;
            fields.only(SPEC_KEYS, |_| None)?;
            read.spec = Some(Spec {
                required: fields.flag("required")?.unwrap_or(true),
                code: self.places(&fields, "code")?,
                specs: self.places(&fields, "specs")?,
                max_age_days: fields.whole_number("maxAgeDays")?,
                groups: fields.list("groups")?.iter().map(|it| self.group(it)).collect::<Result<_, _>>()?,
                fallback: fields.get("fallback").map(|value| self.fallback(value)).transpose()?,
            });
        }
        if let Some(value) = section.get("docs") {
            let fields = self.object(value, "`docs`", "`docs`")?;
            fields.only(DOCS_KEYS, |_| None)?;
            read.docs = Some(Docs {
                required: fields.flag("required")?.unwrap_or(true),
                include: self.pathspecs(&fields, "include")?,
            });
        }
        Ok(read)
    }

    fn group(&self, value: &Value<'_>) -> Result<SpecGroup, ConfigError> {
        let fields = self.object(value, "an entry of `groups`", "`groups`")?;
        fields.only(GROUP_KEYS, |_| None)?;
        let text = |key| Ok(self.text(fields.required(key)?, &format!("`{key}`"))?.to_owned());
        fields.required("specs")?;
        Ok(SpecGroup {
            id: text("id")?,
            owner: text("owner")?,
            expires: text("expires")?,
            max: fields.whole_number("max")?.ok_or_else(|| fields.missing("max"))?,
            specs: fields.texts("specs")?,
        })
    }

    fn fallback(&self, value: &Value<'_>) -> Result<SpecFallback, ConfigError> {
        let fields = self.object(value, "`fallback`", "`fallback`")?;
        fields.only(FALLBACK_KEYS, |_| None)?;
        for value in fields.list("words")? {
            let what = "an entry of `words`".to_owned();
            let word = self.text(value, &what)?;
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if word.is_empty() || word.len() > LONGEST_WORD || !word.chars().all(is_plain) {
                let hint = "write one word of letters and digits, such as `fallback`";
                let problem = Problem::WrongWord { what, word: shown(word) };
                return Err(self.error(span(value), problem).with_hint(hint));
            }
        }
        let words = fields.get("words").map(|_| fields.texts("words")).transpose()?;
        Ok(SpecFallback { words, tables: self.places(&fields, "tables")? })
    }

    fn exceeded_when(&self, fields: &Fields<'_, '_>) -> Result<Option<ExceededWhen>, ConfigError> {
        let Some(value) = fields.get("exceededWhen") else { return Ok(None) };
        match self.text(value, "`exceededWhen`")? {
            "either" => Ok(Some(ExceededWhen::Either)),
            "both" => Ok(Some(ExceededWhen::Both)),
            other => {
                let what = "`exceededWhen`".to_owned();
                let problem = Problem::WrongWord { what, word: other.to_owned() };
                let words = ["either", "both"];
                let hint = match nearest(other, words) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known words: {}", listing(words)),
                };
                Err(self.error(span(value), problem).with_hint(hint))
            }
        }
    }

    pub(super) fn pathspecs(
        &self,
        fields: &Fields<'_, '_>,
        key: &'static str,
    ) -> Result<Vec<String>, ConfigError> {
        let mut specs = Vec::new();
        for value in fields.list(key)? {
            let spec = self.text(value, &format!("an entry of `{key}`"))?;
            if let Some(flaw) = pathspec_flaw(spec) {
                let problem = Problem::Pathspec { key, text: spec.to_owned(), flaw };
                return Err(self.error(span(value), problem));
            }
            specs.push(spec.to_owned());
        }
        Ok(specs)
    }

    fn attributes(&self, fields: &Fields<'_, '_>) -> Result<Vec<String>, ConfigError> {
        let mut names = Vec::new();
        for value in fields.list("ignoreAttributes")? {
            let text = self.text(value, "an entry of `ignoreAttributes`")?;
            let name = text.strip_prefix('-').unwrap_or(text);
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.is_empty() || name.starts_with('-') || !name.chars().all(plain) {
                let what = "an entry of `ignoreAttributes`".to_owned();
                let problem = Problem::WrongWord { what, word: text.to_owned() };
                let hint = "write the name of an attribute, such as `linguist-generated` or `-diff`";
                return Err(self.error(span(value), problem).with_hint(hint));
            }
            names.push(text.to_owned());
        }
        Ok(names)
    }

    /// Reads beginnings of paths, which are relative to the root of the repository.
    fn places(&self, fields: &Fields<'_, '_>, key: &'static str) -> Result<Option<Vec<String>>, ConfigError> {
        if fields.get(key).is_none() {
            return Ok(None);
        }
        let mut places = Vec::new();
        for value in fields.list(key)? {
            let what = format!("an entry of `{key}`");
            let text = self.text(value, &what)?;
            if text.starts_with('/') || text.split('/').any(|part| matches!(part, "." | "..")) {
                let problem = Problem::WrongWord { what, word: shown(text) };
                let hint = "write a path relative to the root of the repository, such as `src/`";
                return Err(self.error(span(value), problem).with_hint(hint));
            }
            places.push(text.to_owned());
        }
        Ok(Some(places))
    }
}

impl Fields<'_, '_> {
    /// Reads a whole number that is not negative.
    pub(in crate::pipeline) fn whole_number(&self, key: &str) -> Result<Option<u64>, ConfigError> {
        const EXPECTED: &str = "a whole number from 0 on";
        match self.get(key) {
            None => Ok(None),
            Some(value @ Value::NumberLit(number)) => match number.value.parse::<u64>() {
                Ok(count) => Ok(Some(count)),
                Err(_) => {
                    let what = format!("`{key}`");
                    let word = number.value.to_owned();
                    let error = self.reader().error(span(value), Problem::WrongWord { what, word });
                    Err(error.with_hint(format!("write {EXPECTED}, without a point or an exponent")))
                }
            },
            Some(value) => Err(self.reader().wrong_type(value, format!("`{key}`"), EXPECTED)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> Result<Guardrails, ConfigError> {
        parse_guardrails("c.json", &format!("{{\"guardrails\": {text}}}"))
    }

    #[test]
    fn what_is_left_out_is_as_usual() {
        assert_eq!(section("{}").unwrap(), Guardrails::default());
        assert_eq!(section(r#"{"diffBudget": {}}"#).unwrap().diff_budget, Some(DiffBudget::default()));
        assert_eq!(section(r#"{"spec": {}}"#).unwrap().spec, Some(Spec::default()));
    }

    #[test]
    fn what_is_written_is_read() {
        let read = section(
            r#"{"diffBudget": {"required": false, "maxFiles": 3, "maxLines": 0, "exceededWhen": "both",
                "ignore": ["*.lock"], "ignoreAttributes": ["-diff"], "renames": false},
               "docs": {"required": false, "include": ["*.md"]},
               "spec": {"code": ["lib/", "*.go"], "specs": ["docs/specs"], "maxAgeDays": 90,
                "groups": [{"id": "g", "owner": "ann", "expires": "soon", "max": 2, "specs": ["a.md"]}],
                "fallback": {"words": ["shim"], "tables": ["docs/"]}}}"#,
        );
        let read = read.unwrap();
        let budget = read.diff_budget.unwrap();
        assert_eq!((budget.max_files, budget.max_lines, budget.required), (Some(3), Some(0), false));
        assert_eq!((budget.exceeded_when, budget.renames), (ExceededWhen::Both, false));
        assert_eq!((budget.ignore, budget.ignore_attributes), (vec!["*.lock".into()], vec!["-diff".into()]));
        assert_eq!(read.docs, Some(Docs { required: false, include: vec!["*.md".into()] }));
        let spec = read.spec.unwrap();
        assert_eq!(spec.code, Some(vec!["lib/".to_owned(), "*.go".to_owned()]));
        assert_eq!((spec.specs, spec.max_age_days), (Some(vec!["docs/specs".to_owned()]), Some(90)));
        let group = SpecGroup {
            id: "g".into(),
            owner: "ann".into(),
            expires: "soon".into(),
            max: 2,
            specs: vec!["a.md".into()],
        };
        let fallback = SpecFallback { words: Some(vec!["shim".into()]), tables: Some(vec!["docs/".into()]) };
        assert_eq!(spec.fallback, Some(fallback));
        assert_eq!(spec.groups, [group], "whether it is right is for the guardrail to say");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            ("[]", "`guardrails` must be an object"),
            (r#"{"difBudget": {}}"#, "unknown key `difBudget` in `guardrails`"),
            (
                r#"{"diffBudget": {"maxFiles": "3"}}"#,
                "`maxFiles` must be a whole number from 0 on, not a text",
            ),
            (r#"{"diffBudget": {"maxFiles": -3}}"#, "`maxFiles` cannot be `-3`"),
            (r#"{"diffBudget": {"maxLines": 1.5}}"#, "`maxLines` cannot be `1.5`"),
            (r#"{"diffBudget": {"exceededWhen": "any"}}"#, "`exceededWhen` cannot be `any`"),
            (
                r#"{"diffBudget": {"ignore": [":!x"]}}"#,
                "an entry of `ignore` cannot be `:!x`: it says what is not meant",
            ),
            (r#"{"docs": {"include": [":x"]}}"#, "an entry of `include` cannot be `:x`: git does not know"),
            (r#"{"diffBudget": {"ignoreAttributes": ["a b"]}}"#, "`ignoreAttributes` cannot be `a b`"),
            (r#"{"spec": {"code": ["../x"]}}"#, "an entry of `code` cannot be `../x`"),
            (r#"{"spec": {"fallback": true}}"#, "`fallback` must be an object"),
            (r#"{"spec": {"fallback": {"words": ["a b"]}}}"#, "an entry of `words` cannot be `a b`"),
            (r#"{"spec": {"fallback": {"words": [""]}}}"#, "an entry of `words` cannot be ``"),
            (r#"{"spec": {"fallback": {"tables": ["/x"]}}}"#, "an entry of `tables` cannot be `/x`"),
            (r#"{"spec": {"groups": {}}}"#, "`groups` must be a list"),
            (r#"{"spec": {"groups": [{"id": "g", "ownr": "a"}]}}"#, "unknown key `ownr` in `groups`"),
            (
                r#"{"spec": {"groups": [{"id": "g", "owner": "a", "expires": "x", "specs": []}]}}"#,
                "`groups` has no `max`",
            ),
            (r#"{"spec": {"maxAgeDays": true}}"#, "`maxAgeDays` must be a whole number"),
        ] {
            let error = section(text).expect_err(text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn what_else_is_wrong_with_the_file_does_not_matter() {
        let text = r#"{"pipelines": 3, "guardrails": {"diffBudget": {"maxFiles": 3}}}"#;
        assert_eq!(parse_guardrails("c.json", text).unwrap().diff_budget.unwrap().max_files, Some(3));
    }
}
