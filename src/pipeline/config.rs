//! The text of `codex.orchestrator.json` → pipelines, or the first thing that is wrong with it.
//!
//! The whole file must be well formed: strict JSON, only known keys, each of its type, ids that are
//! ids and differ. What keeps one pipeline from running (no stages, two stages of one id, a pipeline
//! it calls that does not exist, a circle of calls) is recorded as a [`Flaw`] of that pipeline, and
//! is an error for whoever chooses it: others in the same file stay usable.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use jsonc_parser::ast::{self, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

pub use super::config_error::{ConfigError, Problem};
pub use super::config_schema::schema;

use super::config_error::Source as File;
use super::{Action, Command, Config, Flaw, Hints, Pipeline, Session, Source, Stage, builtin, listing, nearest, shown};
use crate::id::{InvalidId, PipelineId, StageId};

/// The name of the file, which lies in the root of a repository.
pub const FILE_NAME: &str = "codex.orchestrator.json";

/// The largest file that is read, in bytes.
pub const MAX_BYTES: usize = 4 << 20;

pub(super) const TOP_KEYS: &[&str] = &["$schema", "pipelines", "defaultPipeline"];
pub(super) const PIPELINE_KEYS: &[&str] = &["id", "title", "description", "tags", "guardrailsRequired", "stages"];
pub(super) const STAGE_KEYS: &[&str] = &[
    "kind",
    "id",
    "title",
    "plan",
    "requiresCloud",
    "requires_cloud",
    "executionMode",
    "execution_mode",
    "mode",
];
pub(super) const COMMAND_KEYS: &[&str] = &["command", "cwd", "env", "allowFailure", "summaryHint", "session"];
pub(super) const SUBPIPELINE_KEYS: &[&str] = &["pipeline", "optional"];
pub(super) const PLAN_KEYS: &[&str] = &[
    "runnable",
    "aliases",
    "defaultTarget",
    "default",
    "primary",
    "requiresCloud",
    "requires_cloud",
    "executionMode",
    "execution_mode",
    "mode",
];
pub(super) const SESSION_KEYS: &[&str] = &["id", "reuse", "persist"];

/// Spellings of one thing, the strongest first.
const REQUIRES_CLOUD: [&str; 2] = ["requiresCloud", "requires_cloud"];
const EXECUTION_MODE: [&str; 3] = ["executionMode", "execution_mode", "mode"];
const DEFAULT_TARGET: [&str; 3] = ["defaultTarget", "default", "primary"];

/// Sections that the design knows and this version does not read.
const LATER_KEYS: &[&str] = &["hooks", "guardrails", "streams", "slots", "learning", "budget", "jobs", "reuse"];

/// Reads the text of a configuration. `file_name` is what errors call it.
///
/// The first problem ends the reading: within an object its keys come before its values, and what
/// concerns the file as a whole comes last.
pub fn parse(file_name: &str, text: &str) -> Result<Config, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_BYTES {
        let file = File { name: file_name.into(), text: Arc::from("") };
        return Err(ConfigError::new(&file, 0..0, Problem::TooLarge { limit: MAX_BYTES }));
    }
    let file = File { name: file_name.into(), text: text.into() };
    let reader = Reader { file: &file };
    reader.config(&reader.json()?)
}

/// A pipeline with the places that errors about it point at.
struct Read {
    pipeline: Pipeline,
    id_at: Range<usize>,
    stages_at: Range<usize>,
    stage_ids_at: Vec<Range<usize>>,
    calls: Vec<Call>,
}

struct Call {
    pipeline: PipelineId,
    at: Range<usize>,
    optional: bool,
}

struct Reader<'f> {
    file: &'f File,
}

impl<'f> Reader<'f> {
    fn error(&self, at: Range<usize>, problem: Problem) -> ConfigError {
        ConfigError::new(self.file, at, problem)
    }

    fn json(&self) -> Result<Value<'f>, ConfigError> {
        let strict = ParseOptions {
            allow_comments: false,
            allow_loose_object_property_names: false,
            allow_trailing_commas: false,
            allow_missing_commas: false,
            allow_single_quoted_strings: false,
            allow_hexadecimal_numbers: false,
            allow_unary_plus_numbers: false,
            allow_bare_decimal_point_numbers: false,
            allow_non_finite_numbers: false,
            allow_extended_string_escapes: false,
        };
        let text: &'f str = &self.file.text;
        let parsed = parse_to_ast(text, &CollectOptions::default(), &strict).map_err(|err| {
            let range = err.range();
            let said = shown(&err.kind().to_string());
            // The parser's sentences begin with a capital letter, ours do not.
            let said = said[..1].to_lowercase() + &said[1..];
            let hint = "the file is strict JSON: no comments, no trailing commas, names and texts in double quotes";
            self.error(range.start..range.end, Problem::Json(said)).with_hint(Some(hint.to_owned()))
        })?;
        // The parser above knows where things are, and takes a little more than JSON, such as raw line
        // breaks in a text. Other programs that read the file would not.
        if let Err(err) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
            let start: usize = text.split_inclusive('\n').take(err.line().saturating_sub(1)).map(str::len).sum();
            let at = start + err.column().saturating_sub(1);
            let said = err.to_string();
            let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
            return Err(self.error(at..at + 1, Problem::Json(shown(said))));
        }
        parsed.value.ok_or_else(|| {
            self.error(0..0, Problem::Json("the file is empty".to_owned()))
                .with_hint(Some("the smallest configuration is `{}`".to_owned()))
        })
    }

    fn config(&self, root: &Value<'_>) -> Result<Config, ConfigError> {
        let top = self.object(root, "the configuration", "the configuration")?;
        top.only(TOP_KEYS, |key| match LATER_KEYS.contains(&key) {
            true => Some(format!("a newer version may know `{key}`; this one reads {}", listing(TOP_KEYS.iter().copied()))),
            false => None,
        })?;
        top.text("$schema")?;
        let mut read = Vec::new();
        let mut by_id: HashMap<PipelineId, usize> = HashMap::new();
        for value in top.list("pipelines")? {
            let pipeline = self.pipeline(value)?;
            let id = pipeline.pipeline.id.clone();
            if let Some(first) = by_id.insert(id.clone(), read.len()) {
                let first: &Read = &read[first];
                return Err(self
                    .error(pipeline.id_at, Problem::DuplicatePipeline { id })
                    .with_label("second")
                    .with_context(first.id_at.clone(), "first")
                    .with_hint(Some("rename one of them, or remove it".to_owned())));
            }
            read.push(pipeline);
        }
        let default_pipeline = match top.get("defaultPipeline") {
            None => None,
            Some(value) => {
                let id: PipelineId = self.id(value, "defaultPipeline")?;
                if !by_id.contains_key(&id) && !builtin::IDS.contains(&id.as_str()) {
                    let hint = pipelines_hint(&id, &read);
                    return Err(self.error(span(value), Problem::UnknownDefault { id }).with_hint(Some(hint)));
                }
                Some(id)
            }
        };
        let flaws = self.flaws(&read, &by_id);
        Ok(Config { pipelines: read.into_iter().map(|read| read.pipeline).collect(), default_pipeline, flaws })
    }

    fn pipeline(&self, value: &Value<'_>) -> Result<Read, ConfigError> {
        let fields = self.object(value, "a pipeline", "a pipeline")?;
        fields.only(PIPELINE_KEYS, |_| None)?;
        let id_value = fields.required("id")?;
        let id: PipelineId = self.id(id_value, "id")?;
        let stages_value = fields.required("stages")?;
        let mut stages = Vec::new();
        let mut stage_ids_at = Vec::new();
        let mut calls = Vec::new();
        let title = fields.text("title")?.unwrap_or(id.as_str()).to_owned();
        let description = fields.text("description")?.map(str::to_owned);
        let tags = fields.texts("tags")?;
        let guardrails_required = fields.flag("guardrailsRequired")?.unwrap_or(true);
        for value in fields.list("stages")? {
            let (stage, id_at, call) = self.stage(value)?;
            stages.push(stage);
            stage_ids_at.push(id_at);
            calls.extend(call);
        }
        Ok(Read {
            id_at: span(id_value),
            stages_at: span(stages_value),
            stage_ids_at,
            calls,
            pipeline: Pipeline { id, title, description, tags, guardrails_required, stages, source: Source::User },
        })
    }

    fn stage(&self, value: &Value<'_>) -> Result<(Stage, Range<usize>, Option<Call>), ConfigError> {
        let fields = self.object(value, "a stage", "a stage")?;
        // First of all, since such a stage has keys of its own.
        if let Some(Value::StringLit(kind)) = fields.get("kind")
            && kind.value == "manual"
        {
            let hint = "remove the stage, or make it a `command` that checks what was done by hand";
            return Err(self
                .error(kind.range.start..kind.range.end, Problem::ManualStage)
                .with_hint(Some(hint.to_owned())));
        }
        fields.only(&[STAGE_KEYS, COMMAND_KEYS, SUBPIPELINE_KEYS].concat(), |_| None)?;
        let Some(kind_value) = fields.get("kind") else {
            let likely = if fields.get("pipeline").is_some() { "subpipeline" } else { "command" };
            return Err(fields.missing("kind").with_hint(Some(format!("add `\"kind\": \"{likely}\"`"))));
        };
        let kind = self.text(kind_value, "`kind`")?;
        let (kind, own, other, other_kind) = match kind {
            "command" => ("a stage of kind `command`", COMMAND_KEYS, SUBPIPELINE_KEYS, "subpipeline"),
            "subpipeline" => ("a stage of kind `subpipeline`", SUBPIPELINE_KEYS, COMMAND_KEYS, "command"),
            _ => {
                let hint = match nearest(kind, ["command", "subpipeline"]) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "kinds: command, subpipeline".to_owned(),
                };
                let problem = Problem::UnknownKind { kind: kind.to_owned() };
                return Err(self.error(span(kind_value), problem).with_hint(Some(hint)));
            }
        };
        let fields = Fields { within: kind, ..fields };
        fields.only(&[STAGE_KEYS, own].concat(), |key| {
            other.contains(&key).then(|| format!("`{key}` belongs to stages of kind `{other_kind}`"))
        })?;

        let id_value = fields.required("id")?;
        let id: StageId = self.id(id_value, "id")?;
        let title = fields.text("title")?.unwrap_or(id.as_str()).to_owned();
        let mut call = None;
        let action = if other_kind == "subpipeline" {
            Action::Command(self.command(&fields)?)
        } else {
            let target = fields.required("pipeline")?;
            let pipeline: PipelineId = self.id(target, "pipeline")?;
            let optional = fields.flag("optional")?.unwrap_or(false);
            call = Some(Call { pipeline: pipeline.clone(), at: span(target), optional });
            Action::Subpipeline { pipeline, optional }
        };
        let hints = self.hints(&fields)?;
        Ok((Stage { id, title, action, hints }, span(id_value), call))
    }

    fn command(&self, fields: &Fields<'_, '_>) -> Result<Command, ConfigError> {
        fields.required("command")?;
        let command = fields.process_text("command")?.unwrap_or_default().to_owned();
        let cwd = fields.process_text("cwd")?.map(str::to_owned);
        let mut env = BTreeMap::new();
        if let Some(value) = fields.get("env") {
            for property in &self.object(value, "`env`", "`env`")?.node.properties {
                let name = property.name.as_str();
                let at = name_span(property);
                if name.is_empty() || name.contains(['=', '\0']) {
                    let hint = "a name is not empty, and holds neither `=` nor NUL".to_owned();
                    let problem = Problem::VariableName { name: name.to_owned() };
                    return Err(self.error(at, problem).with_hint(Some(hint)));
                }
                env.insert(name.to_owned(), self.variable(name, &property.value)?);
            }
        }
        let allow_failure = fields.flag("allowFailure")?.unwrap_or(false);
        let summary_hint = fields.text("summaryHint")?.map(str::to_owned);
        let session = match fields.get("session") {
            None => None,
            Some(value) => {
                let session = self.object(value, "`session`", "`session`")?;
                session.only(SESSION_KEYS, |_| None)?;
                Some(Session {
                    id: session.text("id")?.map(str::to_owned),
                    reuse: session.flag("reuse")?,
                    persist: session.flag("persist")?,
                })
            }
        };
        Ok(Command { command, cwd, env, allow_failure, summary_hint, session })
    }

    /// Returns the value of a variable as text.
    fn variable(&self, name: &str, value: &Value<'_>) -> Result<String, ConfigError> {
        let text = match value {
            Value::StringLit(text) => text.value.clone().into_owned(),
            Value::NumberLit(number) => number_as_text(number.value),
            Value::BooleanLit(flag) => flag.value.to_string(),
            Value::NullKeyword(_) => "null".to_owned(),
            Value::Object(_) | Value::Array(_) => {
                return Err(self.wrong_type(value, format!("variable `{name}`"), "a text, a number, `true`, `false` or `null`"));
            }
        };
        if text.contains('\0') {
            return Err(self.error(span(value), Problem::Nul { what: format!("variable `{name}`") }));
        }
        Ok(text)
    }

    fn hints(&self, stage: &Fields<'_, '_>) -> Result<Hints, ConfigError> {
        let mut hints = Hints::default();
        let mut requires_cloud = None;
        let mut execution_mode = None;
        if let Some(value) = stage.get("plan") {
            let plan = self.object(value, "`plan`", "`plan`")?;
            plan.only(PLAN_KEYS, |_| None)?;
            hints.runnable = plan.flag("runnable")?.unwrap_or(true);
            hints.aliases = plan.texts("aliases")?;
            for key in DEFAULT_TARGET {
                hints.default_target |= plan.flag(key)?.unwrap_or(false);
            }
            requires_cloud = plan.first_flag(REQUIRES_CLOUD)?;
            execution_mode = plan.first_text(EXECUTION_MODE)?;
        }
        // Both are read, so that a wrong type is found even where `plan` decides.
        let (own_cloud, own_mode) = (stage.first_flag(REQUIRES_CLOUD)?, stage.first_text(EXECUTION_MODE)?);
        hints.execution_mode = execution_mode.or(own_mode).map(|mode| mode.trim().to_lowercase()).filter(|m| !m.is_empty());
        hints.requires_cloud =
            requires_cloud.or(own_cloud).unwrap_or(hints.execution_mode.as_deref() == Some("cloud"));
        Ok(hints)
    }

    fn object<'a, 't>(
        &self,
        value: &'a Value<'t>,
        what: &str,
        within: &'static str,
    ) -> Result<Fields<'a, 't>, ConfigError>
    where
        'f: 'a,
    {
        let Value::Object(node) = value else {
            return Err(self.wrong_type(value, what.to_owned(), "an object"));
        };
        let mut seen: HashMap<&str, &ast::ObjectProp<'_>> = HashMap::new();
        for property in &node.properties {
            let key = property.name.as_str();
            if let Some(first) = seen.insert(key, property) {
                return Err(self
                    .error(name_span(property), Problem::DuplicateKey { key: key.to_owned(), within })
                    .with_label("second")
                    .with_context(name_span(first), "first"));
            }
        }
        Ok(Fields { file: self.file, node, within })
    }

    fn text<'a>(&self, value: &'a Value<'_>, what: &str) -> Result<&'a str, ConfigError> {
        match value {
            Value::StringLit(text) => Ok(&text.value),
            _ => Err(self.wrong_type(value, what.to_owned(), "a text")),
        }
    }

    fn id<T: FromStr<Err = InvalidId>>(&self, value: &Value<'_>, key: &str) -> Result<T, ConfigError> {
        let text = self.text(value, &format!("`{key}`"))?;
        text.parse().map_err(|InvalidId { kind, text, flaw }| self.error(span(value), Problem::Id { kind, text, flaw }))
    }

    fn wrong_type(&self, value: &Value<'_>, what: String, expected: &'static str) -> ConfigError {
        let (found, hint) = match value {
            Value::StringLit(text) if matches!(&*text.value, "true" | "false") => ("a text", Some("remove the quotes")),
            Value::StringLit(_) => ("a text", None),
            Value::NumberLit(_) => ("a number", None),
            Value::BooleanLit(_) => ("`true` or `false`", None),
            Value::Object(_) => ("an object", None),
            Value::Array(_) => ("a list", None),
            Value::NullKeyword(_) => ("`null`", Some("to leave a value out, leave out its key")),
        };
        let hint = hint.filter(|_| expected != "an object" && expected != "a list").map(str::to_owned);
        self.error(span(value), Problem::WrongType { what, expected, found }).with_hint(hint)
    }

    /// Finds what keeps single pipelines from running: at most one flaw for each.
    fn flaws(&self, read: &[Read], by_id: &HashMap<PipelineId, usize>) -> Vec<Flaw> {
        let mut circles = self.circles(read, by_id);
        let mut flaws = Vec::new();
        for (index, pipeline) in read.iter().enumerate() {
            let error = self.own_flaw(pipeline, read, by_id).or_else(|| circles.remove(&index));
            flaws.extend(error.map(|error| Flaw { pipeline: pipeline.pipeline.id.clone(), error }));
        }
        flaws
    }

    fn own_flaw(&self, read: &Read, all: &[Read], by_id: &HashMap<PipelineId, usize>) -> Option<ConfigError> {
        let id = &read.pipeline.id;
        if read.pipeline.stages.is_empty() {
            return Some(
                self.error(read.stages_at.clone(), Problem::NoStages { id: id.clone() })
                    .with_hint(Some("a run of nothing would prove nothing: add a stage".to_owned())),
            );
        }
        let mut seen: HashMap<&StageId, &Range<usize>> = HashMap::new();
        for (stage, at) in read.pipeline.stages.iter().zip(&read.stage_ids_at) {
            if let Some(first) = seen.insert(&stage.id, at) {
                let problem = Problem::DuplicateStage { pipeline: id.clone(), stage: stage.id.as_str().to_owned() };
                return Some(
                    self.error(at.clone(), problem)
                        .with_label("second")
                        .with_context(first.clone(), "first")
                        .with_hint(Some("a target and a record could mean either: rename one".to_owned())),
                );
            }
        }
        let missing = read.calls.iter().find(|call| {
            !call.optional && !by_id.contains_key(&call.pipeline) && !builtin::IDS.contains(&call.pipeline.as_str())
        })?;
        let problem = Problem::UnknownPipeline { id: missing.pipeline.clone() };
        Some(self.error(missing.at.clone(), problem).with_hint(Some(pipelines_hint(&missing.pipeline, all))))
    }

    /// Finds pipelines that lead back to themselves. Of every circle at least one pipeline is found,
    /// which is enough to never follow it.
    fn circles(&self, read: &[Read], by_id: &HashMap<PipelineId, usize>) -> HashMap<usize, ConfigError> {
        #[derive(Clone, Copy, PartialEq)]
        enum State {
            New,
            Open,
            Done,
        }
        let mut state = vec![State::New; read.len()];
        let mut found = HashMap::new();
        for root in 0..read.len() {
            if state[root] != State::New {
                continue;
            }
            state[root] = State::Open;
            // A stack of our own: the file decides how deep calls go. With each pipeline, its next call.
            let mut open: Vec<(usize, usize)> = vec![(root, 0)];
            while let Some((index, next)) = open.last_mut() {
                let Some(call) = read[*index].calls.get(*next) else {
                    state[*index] = State::Done;
                    open.pop();
                    continue;
                };
                *next += 1;
                let Some(&target) = by_id.get(&call.pipeline) else { continue };
                match state[target] {
                    State::Done => {}
                    State::New => {
                        state[target] = State::Open;
                        open.push((target, 0));
                    }
                    State::Open => {
                        let start = open.iter().position(|(index, _)| *index == target).unwrap_or(0);
                        self.record_circle(&open[start..], read, &mut found);
                    }
                }
            }
        }
        found
    }

    /// Records the circle that the last of `members` closes, for those that have none yet.
    fn record_circle(&self, members: &[(usize, usize)], read: &[Read], found: &mut HashMap<usize, ConfigError>) {
        // Naming the circle once from each side is for people; a huge one is only cut.
        const NAMED: usize = 64;
        for (turn, (index, _)) in members.iter().enumerate().take(NAMED) {
            found.entry(*index).or_insert_with(|| {
                let around = members[turn..].iter().chain(&members[..turn]).chain([&members[turn]]);
                let path = around.map(|(index, _)| read[*index].pipeline.id.clone()).collect();
                // `next` already points behind the call that is open.
                let call = |(index, next): &(usize, usize)| &read[*index].calls[*next - 1];
                let mut error = self.error(call(&members[turn]).at.clone(), Problem::Cycle { path });
                for member in members[turn..].iter().chain(&members[..turn]).skip(1).take(4) {
                    error = error.with_context(call(member).at.clone(), String::new());
                }
                error.with_hint(Some("remove one of these calls".to_owned()))
            });
        }
    }
}

/// An object whose keys differ, to be read key by key.
struct Fields<'a, 't> {
    file: &'a File,
    node: &'a ast::Object<'t>,
    /// What the object is, for messages.
    within: &'static str,
}

impl<'a, 't> Fields<'a, 't> {
    fn reader(&self) -> Reader<'a> {
        Reader { file: self.file }
    }

    /// Checks that there are only known keys. `explain` may say more about one than its neighbours would.
    fn only(&self, known: &[&str], explain: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        for property in &self.node.properties {
            let key = property.name.as_str();
            if known.contains(&key) {
                continue;
            }
            let hint = explain(key).unwrap_or_else(|| match nearest(key, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known keys: {}", listing(known.iter().copied())),
            });
            let problem = Problem::UnknownKey { key: key.to_owned(), within: self.within };
            return Err(self.reader().error(name_span(property), problem).with_hint(Some(hint)));
        }
        Ok(())
    }

    fn get(&self, key: &str) -> Option<&'a Value<'t>> {
        self.node.properties.iter().find(|property| property.name.as_str() == key).map(|property| &property.value)
    }

    fn missing(&self, key: &'static str) -> ConfigError {
        let start = self.node.range.start;
        self.reader().error(start..start + 1, Problem::MissingKey { key, within: self.within })
    }

    fn required(&self, key: &'static str) -> Result<&'a Value<'t>, ConfigError> {
        self.get(key).ok_or_else(|| self.missing(key))
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        self.get(key).map(|value| self.reader().text(value, &format!("`{key}`"))).transpose()
    }

    /// Reads a text that a process is given, if the key is there.
    fn process_text(&self, key: &'static str) -> Result<Option<&'a str>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let text = self.reader().text(value, &format!("`{key}`"))?;
        if text.trim().is_empty() {
            return Err(self.reader().error(span(value), Problem::Blank { key }));
        }
        if text.contains('\0') {
            return Err(self.reader().error(span(value), Problem::Nul { what: format!("`{key}`") }));
        }
        Ok(Some(text))
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::BooleanLit(flag)) => Ok(Some(flag.value)),
            Some(value) => Err(self.reader().wrong_type(value, format!("`{key}`"), "`true` or `false`")),
        }
    }

    fn list(&self, key: &str) -> Result<&'a [Value<'t>], ConfigError> {
        match self.get(key) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(&list.elements),
            Some(value) => Err(self.reader().wrong_type(value, format!("`{key}`"), "a list")),
        }
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, ConfigError> {
        let what = format!("an entry of `{key}`");
        self.list(key)?.iter().map(|value| Ok(self.reader().text(value, &what)?.to_owned())).collect()
    }

    fn first_flag<const N: usize>(&self, keys: [&str; N]) -> Result<Option<bool>, ConfigError> {
        keys.into_iter().try_fold(None, |found: Option<bool>, key| Ok(found.or(self.flag(key)?)))
    }

    fn first_text<const N: usize>(&self, keys: [&str; N]) -> Result<Option<&'a str>, ConfigError> {
        keys.into_iter().try_fold(None, |found: Option<&str>, key| Ok(found.or(self.text(key)?)))
    }
}

fn pipelines_hint(wanted: &PipelineId, read: &[Read]) -> String {
    let ids = || read.iter().map(|read| read.pipeline.id.as_str()).chain(builtin::IDS.iter().copied());
    match nearest(wanted.as_str(), ids()) {
        Some(near) => format!("did you mean `{}`?", shown(near)),
        None => format!("pipelines here: {}", listing(ids().take(20))),
    }
}

/// Returns a number as the reference would: whole ones as written, others in their shortest form.
fn number_as_text(literal: &str) -> String {
    if literal == "-0" {
        return "0".to_owned();
    }
    if !literal.contains(['.', 'e', 'E']) {
        return literal.to_owned();
    }
    match literal.parse::<f64>() {
        Ok(0.0) => "0".to_owned(),
        Ok(number) if number.is_finite() => number.to_string(),
        _ => literal.to_owned(),
    }
}

fn span(value: &Value<'_>) -> Range<usize> {
    let range = value.range();
    range.start..range.end
}

fn name_span(property: &ast::ObjectProp<'_>) -> Range<usize> {
    let range = property.name.range();
    range.start..range.end
}
