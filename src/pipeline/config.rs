//! The text of `codex.orchestrator.json` → pipelines, or the first thing that is wrong with it.
//!
//! The whole file must be well formed: strict JSON, only known keys, each of its type, ids that are
//! ids and differ. What keeps one pipeline from running (no stages, two stages of one id, a pipeline
//! it calls that does not exist, a circle of calls) is recorded as a [`Flaw`] of that pipeline, and
//! is an error for whoever chooses it: others in the same file stay usable.

mod budget;
mod evidence;
mod goals;
mod learning;
mod guardrails;
mod hooks;
mod slots;
mod streams;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU16;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use jsonc_parser::ast::{self, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

pub use super::config_error::{ConfigError, Problem};
pub use super::config_schema::schema;
#[cfg(test)]
pub(super) use budget::{BUDGET_KEYS, PRESSURE_KEYS};
#[cfg(test)]
pub(super) use evidence::EVIDENCE_KEYS;
pub use goals::parse_goals;
#[cfg(test)]
pub(super) use goals::{ADAPTER_KEYS, GOAL_KEYS, GOALS_KEYS, WORK_KEYS};
pub use guardrails::parse_guardrails;
#[cfg(test)]
pub(super) use guardrails::{
    DIFF_BUDGET_KEYS, DOCS_KEYS, FALLBACK_KEYS, GROUP_KEYS, GUARDRAIL_KEYS, SPEC_KEYS,
};
#[cfg(test)]
pub(super) use hooks::HOOK_KEYS;
pub use learning::parse_learning;
#[cfg(test)]
pub(super) use learning::{ALERT_KEYS, CRYSTALIZER_KEYS, LEARNING_KEYS};
#[cfg(test)]
pub(super) use slots::{SETUP_KEYS, SLOTS_KEYS};
#[cfg(test)]
pub(super) use streams::{PORT_KEYS, STREAM_KEYS};

use super::config_error::Source as File;
use super::endurance::{self, Retries, Transient};
use super::{
    Action, Command, Config, Flaw, Hints, Pipeline, Session, Source, Stage, builtin, listing, nearest, shown,
};
use crate::id::{InvalidId, PipelineId, StageId};

/// The name of the file, which lies in the root of a repository.
pub const FILE_NAME: &str = "codex.orchestrator.json";

/// The largest file that is read, in bytes.
pub const MAX_BYTES: usize = 4 << 20;

pub(super) const TOP_KEYS: &[&str] = &[
    "$schema",
    "pipelines",
    "defaultPipeline",
    "jobs",
    "budget",
    "guardrails",
    "fingerprint",
    "fingerprintEnv",
    "evidence",
    "hooks",
    "slots",
    "streams",
    "learning",
];
pub(super) const PIPELINE_KEYS: &[&str] =
    &["id", "title", "description", "tags", "guardrailsRequired", "jobs", "timeout", "reuse", "stages"];
pub(super) const STAGE_KEYS: &[&str] = &[
    "kind",
    "id",
    "title",
    "needs",
    "approval",
    "plan",
    "requiresCloud",
    "requires_cloud",
    "executionMode",
    "execution_mode",
    "mode",
];
/// Those of stages that do something by themselves.
pub(super) const RUNNING_KEYS: &[&str] = &["timeout", "inputs", "reuse"];
pub(super) const COMMAND_KEYS: &[&str] = &[
    "command",
    "cwd",
    "env",
    "allowFailure",
    "summaryHint",
    "session",
    "retries",
    "memoryLimit",
    "fixes",
    "weight",
    "resources",
    "jobserver",
];
pub(super) const RETRIES_KEYS: &[&str] = &["max", "delay", "maxDelay", "transient"];
pub(super) const TRANSIENT_KEYS: &[&str] = &["exitCodes", "patterns"];
pub(super) const SUBPIPELINE_KEYS: &[&str] = &["pipeline", "optional"];
pub(super) const MANUAL_KEYS: &[&str] = &["instructions"];
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

/// What a stage can do, and the keys that belong to it.
struct Kind {
    word: &'static str,
    within: &'static str,
    keys: &'static [&'static [&'static str]],
}

const KINDS: &[Kind] = &[
    Kind { word: "command", within: "a stage of kind `command`", keys: &[RUNNING_KEYS, COMMAND_KEYS] },
    Kind {
        word: "subpipeline",
        within: "a stage of kind `subpipeline`",
        keys: &[RUNNING_KEYS, SUBPIPELINE_KEYS],
    },
    Kind { word: "manual", within: "a stage of kind `manual`", keys: &[MANUAL_KEYS] },
];

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

/// Reads one section of a configuration: what else may be wrong there is no matter of its own.
fn of_section<T>(
    file_name: &str,
    text: &str,
    read: impl FnOnce(&Reader<'_>, &Fields<'_, '_>) -> Result<T, ConfigError>,
) -> Result<T, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let file = File { name: file_name.into(), text: text.into() };
    let reader = Reader { file: &file };
    let root = reader.json()?;
    let top = reader.object(&root, "the configuration", "the configuration")?;
    read(&reader, &top)
}

/// A pipeline with the places that errors about it point at.
struct Read {
    pipeline: Pipeline,
    id_at: Range<usize>,
    stages_at: Range<usize>,
    stage_ids_at: Vec<Range<usize>>,
    /// For each stage, where it says what it needs.
    needs_at: Vec<Vec<Range<usize>>>,
    calls: Vec<Call>,
}

/// A stage with the places that errors about it point at.
struct ReadStage {
    stage: Stage,
    id_at: Range<usize>,
    needs_at: Vec<Range<usize>>,
    call: Option<Call>,
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
            self.error(range.start..range.end, Problem::Json(said))
        })?;
        let value = parsed.value.ok_or_else(|| {
            self.error(0..0, Problem::Json("the file is empty".to_owned()))
                .with_hint("the smallest configuration is `{}`")
        })?;
        // The parser above knows where things are, and takes a little more than JSON, such as raw line
        // breaks in a text. Other programs that read the file would not.
        if let Err(err) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
            let start: usize =
                text.split_inclusive('\n').take(err.line().saturating_sub(1)).map(str::len).sum();
            let at = start + err.column().saturating_sub(1);
            // In a text it names the character before the one that is wrong.
            let at = at + usize::from(text.as_bytes().get(at + 1).is_some_and(|byte| *byte < b' '));
            let said = err.to_string();
            let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
            return Err(self.error(at..at + 1, Problem::Json(shown(said))));
        }
        Ok(value)
    }

    fn config(&self, root: &Value<'_>) -> Result<Config, ConfigError> {
        let top = self.object(root, "the configuration", "the configuration")?;
        top.only(TOP_KEYS, |_| None)?;
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
                    .with_context(first.id_at.clone(), "first"));
            }
            read.push(pipeline);
        }
        let default_pipeline = match top.get("defaultPipeline") {
            None => None,
            Some(value) => {
                let id: PipelineId = self.id(value, "defaultPipeline")?;
                if !by_id.contains_key(&id) && !builtin::IDS.contains(&id.as_str()) {
                    let hint = pipelines_hint(&id, &read);
                    return Err(self.error(span(value), Problem::UnknownDefault { id }).with_hint(hint));
                }
                Some(id)
            }
        };
        let jobs = top.count("jobs")?;
        let budget = self.budget(&top)?;
        let guardrails = self.guardrails(&top)?;
        let evidence = self.evidence(&top)?;
        let hooks = self.hooks(&top)?;
        let slots = self.slots(&top)?;
        let streams = self.streams(&top)?;
        self.learning(&top)?;
        let flaws = self.flaws(&read, &by_id);
        Ok(Config {
            pipelines: read.into_iter().map(|read| read.pipeline).collect(),
            default_pipeline,
            jobs,
            budget,
            guardrails,
            evidence,
            hooks,
            slots,
            streams,
            flaws,
        })
    }

    fn pipeline(&self, value: &Value<'_>) -> Result<Read, ConfigError> {
        let fields = self.object(value, "a pipeline", "a pipeline")?;
        fields.only(PIPELINE_KEYS, |_| None)?;
        let id_value = fields.required("id")?;
        let id: PipelineId = self.id(id_value, "id")?;
        let stages_value = fields.required("stages")?;
        let mut stages = Vec::new();
        let mut stage_ids_at = Vec::new();
        let mut needs_at = Vec::new();
        let mut calls = Vec::new();
        let title = fields.text("title")?.unwrap_or(id.as_str()).to_owned();
        let description = fields.text("description")?.map(str::to_owned);
        let tags = fields.texts("tags")?;
        let guardrails_required = fields.flag("guardrailsRequired")?.unwrap_or(true);
        let jobs = fields.count("jobs")?;
        let timeout = fields.timeout()?;
        let reuse = fields.flag("reuse")?;
        for value in fields.list("stages")? {
            let read = self.stage(value)?;
            stages.push(read.stage);
            stage_ids_at.push(read.id_at);
            needs_at.push(read.needs_at);
            calls.extend(read.call);
        }
        Ok(Read {
            id_at: span(id_value),
            stages_at: span(stages_value),
            stage_ids_at,
            needs_at,
            calls,
            pipeline: Pipeline {
                id,
                title,
                description,
                tags,
                guardrails_required,
                jobs,
                timeout,
                reuse,
                stages,
                source: Source::User,
            },
        })
    }

    fn stage(&self, value: &Value<'_>) -> Result<ReadStage, ConfigError> {
        let fields = self.object(value, "a stage", "a stage")?;
        let all = [STAGE_KEYS, RUNNING_KEYS, COMMAND_KEYS, SUBPIPELINE_KEYS, MANUAL_KEYS].concat();
        fields.only(&all, |_| None)?;
        let Some(kind_value) = fields.get("kind") else {
            let likely = if fields.get("pipeline").is_some() { "subpipeline" } else { "command" };
            return Err(fields.missing("kind").with_hint(format!("add `\"kind\": \"{likely}\"`")));
        };
        let kind = self.text(kind_value, "`kind`")?;
        let Some(own) = KINDS.iter().find(|own| own.word == kind) else {
            let error = self.error(span(kind_value), Problem::UnknownKind { kind: kind.to_owned() });
            return Err(match nearest(kind, KINDS.iter().map(|kind| kind.word)) {
                Some(near) => error.with_hint(format!("did you mean `{near}`?")),
                None => error,
            });
        };
        let fields = Fields { within: own.within, ..fields };
        fields.only(&[&[STAGE_KEYS], own.keys].concat().concat(), |key| {
            let those = KINDS.iter().filter(|kind| kind.keys.iter().any(|keys| keys.contains(&key)));
            let kinds: Vec<_> = those.map(|kind| format!("`{}`", kind.word)).collect();
            (!kinds.is_empty()).then(|| format!("`{key}` belongs to stages of kind {}", kinds.join(" or ")))
        })?;

        let id_value = fields.required("id")?;
        let id: StageId = self.id(id_value, "id")?;
        let title = fields.text("title")?.unwrap_or(id.as_str()).to_owned();
        let mut needs = Vec::new();
        let mut needs_at = Vec::new();
        for value in fields.list("needs")? {
            needs.push(self.id(value, "needs")?);
            needs_at.push(span(value));
        }
        let mut call = None;
        let action = match own.word {
            "command" => Action::Command(self.command(&fields)?),
            "manual" => Action::Manual { instructions: fields.text("instructions")?.map(str::to_owned) },
            _ => {
                let target = fields.required("pipeline")?;
                let pipeline: PipelineId = self.id(target, "pipeline")?;
                let optional = fields.flag("optional")?.unwrap_or(false);
                call = Some(Call { pipeline: pipeline.clone(), at: span(target), optional });
                Action::Subpipeline { pipeline, optional }
            }
        };
        let hints = self.hints(&fields)?;
        let timeout = fields.timeout()?;
        let needs_approval = match fields.get("approval") {
            None => false,
            Some(value) => match self.text(value, "`approval`")? {
                "required" => true,
                word => {
                    let what = "`approval`".to_owned();
                    let problem = Problem::WrongWord { what, word: word.to_owned() };
                    let hint = "write `\"required\"`, or leave it out";
                    return Err(self.error(span(value), problem).with_hint(hint));
                }
            },
        };
        let inputs = self.pathspecs(&fields, "inputs")?;
        let reuse = fields.flag("reuse")?;
        let stage =
            Stage { id, title, needs, timeout, needs_approval, inputs, reuse, alone: false, action, hints };
        Ok(ReadStage { stage, id_at: span(id_value), needs_at, call })
    }

    fn command(&self, fields: &Fields<'_, '_>) -> Result<Command, ConfigError> {
        fields.required("command")?;
        let command = fields.process_text("command")?.unwrap_or_default().to_owned();
        let cwd = fields.process_text("cwd")?.map(str::to_owned);
        let env = self.variables(fields)?;
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
        let retries = fields.get("retries").map(|value| self.retries(value)).transpose()?;
        let memory_limit =
            fields.get("memoryLimit").map(|value| self.size(value, "memoryLimit")).transpose()?;
        let fixes = fields.flag("fixes")?.unwrap_or(false);
        let share = self.share(fields)?;
        Ok(Command {
            command,
            cwd,
            env,
            allow_failure,
            summary_hint,
            session,
            retries,
            memory_limit,
            fixes,
            share,
        })
    }

    fn retries(&self, value: &Value<'_>) -> Result<Retries, ConfigError> {
        let (delay, max_delay) = (Retries::DELAY, Retries::MAX_DELAY);
        if !matches!(value, Value::Object(_)) {
            return Ok(Retries { max: self.number_of_retries(value)?, delay, max_delay, transient: None });
        }
        let fields = self.object(value, "`retries`", "`retries`")?;
        fields.only(RETRIES_KEYS, |_| None)?;
        let max = self.number_of_retries(fields.required("max")?)?;
        let transient = fields.get("transient").map(|value| self.transient(value)).transpose()?;
        let delay = fields.time("delay")?.unwrap_or(delay);
        let max_delay = fields.time("maxDelay")?.unwrap_or(max_delay.max(delay));
        Ok(Retries { max, delay, max_delay, transient })
    }

    fn number_of_retries(&self, value: &Value<'_>) -> Result<u32, ConfigError> {
        let Value::NumberLit(number) = value else {
            return Err(self.wrong_type(value, "`retries`".to_owned(), "a number or an object"));
        };
        number.value.parse().ok().filter(|max| *max <= 100).ok_or_else(|| {
            let problem = Problem::Amount { what: number.value.to_owned(), expected: "number of retries" };
            self.error(span(value), problem)
        })
    }

    fn transient(&self, value: &Value<'_>) -> Result<Transient, ConfigError> {
        let fields = self.object(value, "`transient`", "`transient`")?;
        fields.only(TRANSIENT_KEYS, |_| None)?;
        let mut exit_codes = Vec::new();
        for value in fields.list("exitCodes")? {
            let code = match value {
                Value::NumberLit(number) => number.value.parse().ok().filter(|code| *code > 0),
                _ => None,
            };
            exit_codes.push(code.ok_or_else(|| {
                let what = self.file.text[span(value)].to_owned();
                self.error(span(value), Problem::Amount { what, expected: "exit code of a failure" })
            })?);
        }
        let patterns = fields.texts("patterns")?;
        for (pattern, value) in patterns.iter().zip(fields.list("patterns")?) {
            if let Err(err) = regex::Regex::new(pattern) {
                let reason = err.to_string();
                let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
                let problem = Problem::Pattern { pattern: pattern.clone(), reason: reason.to_owned() };
                return Err(self.error(span(value), problem));
            }
        }
        Ok(Transient { exit_codes, patterns })
    }

    fn size(&self, value: &Value<'_>, key: &str) -> Result<u64, ConfigError> {
        let text = match value {
            Value::StringLit(text) => &*text.value,
            Value::NumberLit(number) => number.value,
            _ => return Err(self.wrong_type(value, format!("`{key}`"), "a text or a number")),
        };
        endurance::bytes(text).ok_or_else(|| {
            let problem = Problem::Amount { what: format!("`{text}`"), expected: "size of memory" };
            self.error(span(value), problem)
        })
    }

    /// Reads `env`, if it is there.
    fn variables(&self, fields: &Fields<'_, '_>) -> Result<BTreeMap<String, String>, ConfigError> {
        let mut env = BTreeMap::new();
        let Some(value) = fields.get("env") else { return Ok(env) };
        for property in &self.object(value, "`env`", "`env`")?.node.properties {
            let name = property.name.as_str();
            let at = name_span(property);
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(self.error(at, Problem::VariableName { name: name.to_owned() }));
            }
            env.insert(name.to_owned(), self.variable(name, &property.value)?);
        }
        Ok(env)
    }

    /// Returns the value of a variable as text.
    fn variable(&self, name: &str, value: &Value<'_>) -> Result<String, ConfigError> {
        let text = match value {
            Value::StringLit(text) => text.value.clone().into_owned(),
            Value::NumberLit(number) => number_as_text(number.value),
            Value::BooleanLit(flag) => flag.value.to_string(),
            Value::NullKeyword(_) => "null".to_owned(),
            Value::Object(_) | Value::Array(_) => {
                return Err(self.wrong_type(
                    value,
                    format!("variable `{name}`"),
                    "a text, a number, `true`, `false` or `null`",
                ));
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
        hints.execution_mode =
            execution_mode.or(own_mode).map(|mode| mode.trim().to_lowercase()).filter(|m| !m.is_empty());
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
        text.parse().map_err(|InvalidId { kind, text, flaw }| {
            self.error(span(value), Problem::Id { kind, text, flaw })
        })
    }

    fn wrong_type(&self, value: &Value<'_>, what: String, expected: &'static str) -> ConfigError {
        let scalar = expected != "an object" && expected != "a list";
        let (found, hint) = match value {
            Value::StringLit(text) if matches!(&*text.value, "true" | "false") => {
                ("a text", Some("remove the quotes"))
            }
            Value::StringLit(_) => ("a text", None),
            Value::NumberLit(_) => ("a number", None),
            Value::BooleanLit(_) => ("`true` or `false`", None),
            Value::Object(_) => ("an object", None),
            Value::Array(_) => ("a list", None),
            Value::NullKeyword(_) => ("`null`", Some("to leave a value out, leave out its key")),
        };
        let error = self.error(span(value), Problem::WrongType { what, expected, found });
        match hint {
            Some(hint) if scalar => error.with_hint(hint),
            _ => error,
        }
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
            return Some(self.error(read.stages_at.clone(), Problem::NoStages { id: id.clone() }));
        }
        let mut seen: HashMap<&StageId, &Range<usize>> = HashMap::new();
        for (stage, at) in read.pipeline.stages.iter().zip(&read.stage_ids_at) {
            if let Some(first) = seen.insert(&stage.id, at) {
                let problem =
                    Problem::DuplicateStage { pipeline: id.clone(), stage: stage.id.as_str().to_owned() };
                return Some(
                    self.error(at.clone(), problem).with_label("second").with_context(first.clone(), "first"),
                );
            }
        }
        if let Some(error) = self.needs_flaw(read) {
            return Some(error);
        }
        let missing = read.calls.iter().find(|call| {
            !call.optional
                && !by_id.contains_key(&call.pipeline)
                && !builtin::IDS.contains(&call.pipeline.as_str())
        })?;
        let problem = Problem::UnknownPipeline { id: missing.pipeline.clone() };
        Some(self.error(missing.at.clone(), problem).with_hint(pipelines_hint(&missing.pipeline, all)))
    }

    /// Finds a stage that needs one which does not exist, or stages that wait for each other.
    fn needs_flaw(&self, read: &Read) -> Option<ConfigError> {
        let Read { pipeline: Pipeline { id, stages, .. }, needs_at, .. } = read;
        let by_id: HashMap<&StageId, usize> =
            stages.iter().enumerate().map(|(at, stage)| (&stage.id, at)).collect();
        let mut waits_for: Vec<Vec<usize>> = Vec::new();
        for (stage, places) in stages.iter().zip(needs_at) {
            let mut found = Vec::new();
            for (need, at) in stage.needs.iter().zip(places) {
                let Some(&target) = by_id.get(need) else {
                    let names = || stages.iter().map(|stage| stage.id.as_str());
                    let hint = match nearest(need.as_str(), names()) {
                        Some(near) => format!("did you mean `{}`?", shown(near)),
                        None => format!("stages of this pipeline: {}", listing(names())),
                    };
                    let problem = Problem::UnknownNeed {
                        pipeline: id.clone(),
                        stage: stage.id.clone(),
                        need: need.clone(),
                    };
                    return Some(self.error(at.clone(), problem).with_hint(hint));
                };
                found.push(target);
            }
            waits_for.push(found);
        }
        let circle = needs_circle(&waits_for)?;
        let around = circle.iter().chain(circle.first());
        let path = around.map(|(stage, _)| stages[*stage].id.clone()).collect();
        let place = |(stage, need): &(usize, usize)| needs_at[*stage][*need].clone();
        let mut error = self.error(place(circle.first()?), Problem::NeedsCircle { path });
        for member in circle.iter().skip(1).take(4) {
            error = error.with_context(place(member), String::new());
        }
        Some(error)
    }

    /// Finds pipelines that lead back to themselves. Of every circle at least one pipeline is found,
    /// which is enough to never follow it.
    fn circles(&self, read: &[Read], by_id: &HashMap<PipelineId, usize>) -> HashMap<usize, ConfigError> {
        #[derive(Clone, Copy, PartialEq)]
        enum State {
            New,
            /// With its position on the stack.
            Open(usize),
            Done,
        }
        let mut state = vec![State::New; read.len()];
        let mut found = HashMap::new();
        for root in 0..read.len() {
            if state[root] != State::New {
                continue;
            }
            state[root] = State::Open(0);
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
                        state[target] = State::Open(open.len());
                        open.push((target, 0));
                    }
                    State::Open(start) => self.record_circle(&open[start..], read, &mut found),
                }
            }
        }
        found
    }

    /// Records the circle that the last of `members` closes, for those that have none yet.
    fn record_circle(
        &self,
        members: &[(usize, usize)],
        read: &[Read],
        found: &mut HashMap<usize, ConfigError>,
    ) {
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
                error
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
            return Err(self.reader().error(name_span(property), problem).with_hint(hint));
        }
        Ok(())
    }

    fn get(&self, key: &str) -> Option<&'a Value<'t>> {
        self.node
            .properties
            .iter()
            .find(|property| property.name.as_str() == key)
            .map(|property| &property.value)
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

    /// Reads a length of time, if the key is there.
    fn time(&self, key: &str) -> Result<Option<Duration>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let (text, time) = match value {
            Value::StringLit(text) => (&*text.value, endurance::duration(&text.value)),
            Value::NumberLit(number) => (number.value, endurance::seconds(number.value)),
            value => {
                return Err(self.reader().wrong_type(value, format!("`{key}`"), "a text or a number"));
            }
        };
        let problem = || Problem::Amount { what: format!("`{text}`"), expected: "length of time" };
        time.map(Some).ok_or_else(|| self.reader().error(span(value), problem()))
    }

    /// Reads `timeout`, if it is there. None at all would end everything at once.
    fn timeout(&self) -> Result<Option<Duration>, ConfigError> {
        match (self.time("timeout")?, self.get("timeout")) {
            (Some(Duration::ZERO), Some(value)) => {
                let problem =
                    Problem::Amount { what: "`0`".to_owned(), expected: "length of time to run in" };
                Err(self.reader().error(span(value), problem))
            }
            (time, _) => Ok(time),
        }
    }

    /// Reads a whole number from 1 on, if the key is there.
    fn count(&self, key: &str) -> Result<Option<NonZeroU16>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let wrong = |found| {
            let expected = "a whole number from 1 to 65535";
            self.reader().error(span(value), Problem::WrongType { what: format!("`{key}`"), expected, found })
        };
        match value {
            Value::NumberLit(number) => match number.value.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(wrong("another number")),
            },
            value => {
                Err(self.reader().wrong_type(value, format!("`{key}`"), "a whole number from 1 to 65535"))
            }
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

/// Returns stages that wait for each other, each with the position of the need that leads to the next.
fn needs_circle(waits_for: &[Vec<usize>]) -> Option<Vec<(usize, usize)>> {
    // What is left when everything that could begin has ended cannot begin at all.
    let mut open: Vec<usize> = waits_for.iter().map(Vec::len).collect();
    let mut waiting: Vec<Vec<usize>> = vec![Vec::new(); waits_for.len()];
    for (stage, needs) in waits_for.iter().enumerate() {
        needs.iter().for_each(|need| waiting[*need].push(stage));
    }
    let mut ended: Vec<usize> = (0..open.len()).filter(|stage| open[*stage] == 0).collect();
    while let Some(stage) = ended.pop() {
        for next in &waiting[stage] {
            open[*next] -= 1;
            if open[*next] == 0 {
                ended.push(*next);
            }
        }
    }
    // Each of them waits for another of them, so following that leads back to one that was seen.
    let stuck = |stage: usize| open[stage] > 0;
    let mut at = (0..open.len()).find(|stage| stuck(*stage))?;
    let mut path: Vec<(usize, usize)> = Vec::new();
    let mut seen: HashMap<usize, usize> = HashMap::new();
    loop {
        if let Some(first) = seen.insert(at, path.len()) {
            return Some(path.split_off(first));
        }
        let need = waits_for[at].iter().position(|need| stuck(*need))?;
        path.push((at, need));
        at = waits_for[at][need];
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pipeline::budget::{Jobserver, Share};

    /// The configuration that the recorded runs of the reference used.
    const REFERENCE: &str = r#"{
  "pipelines": [
    { "id": "ok", "title": "All good", "description": "two passing stages plus guard", "tags": ["alpha","beta"],
      "stages": [
        { "kind": "command", "id": "hello", "title": "say hello", "command": "echo hello; echo warn 1>&2" },
        { "kind": "command", "id": "env check", "title": "env check", "command": "env | grep -E 'CODEX_|FOO|MCP' | sort; pwd", "env": {"FOO":"$HOME/x"}, "cwd": "scripts" },
        { "kind": "command", "id": "spec-guard", "title": "guard", "command": "bash scripts/spec-guard.sh --dry-run" }
      ] },
    { "id": "fail", "title": "Fails", "stages": [
        { "kind": "command", "id": "one", "title": "one", "command": "echo one" },
        { "kind": "command", "id": "boom", "title": "boom", "command": "echo out; echo bad thing >&2; exit 3" },
        { "kind": "command", "id": "never", "title": "never", "command": "echo never" }
      ] },
    { "id": "soft", "title": "Allow failure", "guardrailsRequired": false, "stages": [
        { "kind": "command", "id": "softfail", "title": "soft fail", "command": "echo soft >&2; exit 7", "allowFailure": true },
        { "kind": "command", "id": "hinted", "title": "hinted", "command": "echo hinted", "summaryHint": "my hint" },
        { "kind": "command", "id": "quiet", "title": "quiet", "command": "true" }
      ] },
    { "id": "nested", "title": "Nested", "stages": [
        { "kind": "command", "id": "pre", "title": "pre", "command": "echo pre" },
        { "kind": "subpipeline", "id": "child", "title": "run ok", "pipeline": "ok" },
        { "kind": "subpipeline", "id": "opt", "title": "optional fail", "pipeline": "fail", "optional": true },
        { "kind": "command", "id": "post", "title": "post", "command": "echo post" }
      ] },
    { "id": "nestfail", "title": "Nested fail", "stages": [
        { "kind": "subpipeline", "id": "child", "title": "run fail", "pipeline": "fail" },
        { "kind": "command", "id": "post", "title": "post", "command": "echo post" }
      ] },
    { "id": "nestmissing", "title": "Nested missing", "stages": [
        { "kind": "subpipeline", "id": "child", "title": "missing", "pipeline": "doesnotexist" }
      ] },
    { "id": "big", "title": "Big output", "guardrailsRequired": false, "stages": [
        { "kind": "command", "id": "tenmb", "title": "10MB", "command": "head -c 10485760 /dev/zero | tr '\\0' 'x' | fold -w 99" }
      ] },
    { "id": "bigfail", "title": "Big stderr fail", "guardrailsRequired": false, "stages": [
        { "kind": "command", "id": "bigerr", "title": "big stderr", "command": "head -c 200000 /dev/zero | tr '\\0' 'e' >&2; exit 1" }
      ] },
    { "id": "slow", "title": "Slow", "stages": [
        { "kind": "command", "id": "first", "title": "first", "command": "echo first" },
        { "kind": "command", "id": "sleepy", "title": "sleepy", "command": "echo begin; sleep 30; echo end" },
        { "kind": "command", "id": "spec-guard", "title": "guard", "command": "bash scripts/spec-guard.sh --dry-run" }
      ] },
    { "id": "sig", "title": "Signal", "guardrailsRequired": false, "stages": [
        { "kind": "command", "id": "selfkill", "title": "self kill", "command": "kill -TERM $$" }
      ] },
    { "id": "secrets", "title": "Secrets", "guardrailsRequired": false, "stages": [
        { "kind": "command", "id": "leak", "title": "leak", "command": "echo 'password=hunter2secret'; sleep 0.2; echo 'AKIAABCDEFGHIJKLMNOP'; sleep 0.2; echo '-----BEGIN RSA PRIVATE KEY-----'; sleep 0.2; echo fine" }
      ] },
    { "id": "empty", "title": "Empty", "stages": [] },
    { "id": "sess", "title": "Session", "guardrailsRequired": false, "stages": [
        { "kind": "command", "id": "s1", "title": "s1", "command": "export A=1; echo set", "session": {"id":"main","persist":true} },
        { "kind": "command", "id": "s2", "title": "s2", "command": "echo A=$A", "session": {"id":"main","reuse":true} }
      ] },
    { "id": "targets", "title": "Targets", "stages": [
        { "kind": "command", "id": "build", "title": "b", "command": "echo b", "plan": {"aliases":["compile"],"runnable":false} },
        { "kind": "command", "id": "test", "title": "t", "command": "echo t", "plan": {"defaultTarget":true,"requiresCloud":true} },
        { "kind": "command", "id": "spec-guard", "title": "g", "command": "bash scripts/spec-guard.sh", "executionMode":"cloud" }
      ] }
  ],
  "defaultPipeline": "ok"
}"#;

    /// Oddities that the reference accepted.
    const REFERENCE_ODDITIES: &str = r#"{"pipelines":[
 {"id":"badcwd","title":"P","stages":[{"kind":"command","id":"a","title":"A","command":"echo hi","cwd":"no/such/dir"},{"kind":"command","id":"spec-guard","title":"g","command":"echo spec-guard"}]},
 {"id":"badcwd-allow","title":"P","stages":[{"kind":"command","id":"a","title":"A","command":"echo hi","cwd":"no/such/dir","allowFailure":true},{"kind":"command","id":"g","title":"g","command":"echo spec-guard"}]},
 {"id":"recur","title":"R","stages":[{"kind":"subpipeline","id":"self","title":"self","pipeline":"recur"}]},
 {"id":"dupes","title":"D","stages":[{"kind":"command","id":"a","title":"A1","command":"echo 1"},{"kind":"command","id":"a","title":"A2","command":"echo 2"}]},
 {"id":"longid","title":"L","stages":[{"kind":"command","id":"this is a very long stage identifier with ünicode & symbols!!! that goes on and on and on and on past eighty characters for sure","title":"A1","command":"echo 1"},{"kind":"command","id":"!!!","title":"A2","command":"echo 2"},{"kind":"command","id":"../../etc/passwd","title":"A3","command":"echo 3"}]},
 {"id":"multi","title":"M","stages":[{"kind":"command","id":"spec-guard-a","title":"1","command":"echo spec-guard"},{"kind":"command","id":"b","title":"2","command":"echo spec-guard; false","allowFailure":true},{"kind":"command","id":"c","title":"3","command":"true # spec-guard"}]},
 {"id":"gfail","title":"M","stages":[{"kind":"command","id":"g","title":"1","command":"echo spec-guard; exit 2"}]},
 {"id":"nostdin","title":"M","stages":[{"kind":"command","id":"g","title":"1","command":"cat; echo got-eof; tty; echo COLUMNS=$COLUMNS TERM=$TERM; ls -l /proc/self/fd; echo $0; ps -o pid,ppid,pgid,sid,args -p $$"}]},
 {"id":"bashism","title":"M","stages":[{"kind":"command","id":"g","title":"1","command":"[[ 1 == 1 ]] && echo bash; echo ${BASH_VERSION:-nobash}"}]}
]}"#;

    fn error(text: &str) -> ConfigError {
        parse("c.json", text).expect_err(text)
    }

    /// A configuration of one command stage with `more` keys.
    fn with_stage_keys(more: &str) -> String {
        format!(
            r#"{{"pipelines": [{{"id": "p", "stages": [{{"kind": "command", "id": "s", "command": "c", {more}}}]}}]}}"#
        )
    }

    fn stage(text: &str) -> Stage {
        parse("c.json", text).expect(text).pipelines[0].stages[0].clone()
    }

    fn command(text: &str) -> Command {
        match stage(text).action {
            Action::Command(command) => command,
            other => panic!("no command: {other:?}"),
        }
    }

    #[test]
    fn configurations_of_the_reference_can_be_read() {
        let config = parse(FILE_NAME, REFERENCE).expect("well formed");
        assert_eq!(config.pipelines.len(), 14);
        assert_eq!(config.default_pipeline.as_ref().expect("declared").as_str(), "ok");
        let flaws: Vec<_> = config.flaws.iter().map(|flaw| flaw.error.to_string()).collect();
        insta::assert_snapshot!(flaws.join("\n"), @"
        codex.orchestrator.json:30:81: no pipeline named `doesnotexist`
        codex.orchestrator.json:49:50: pipeline `empty` has no stages
        ");

        let ok = &config.pipelines[0];
        assert_eq!((ok.title.as_str(), ok.tags.len(), ok.guardrails_required), ("All good", 2, true));
        assert_eq!(ok.stages[1].id.as_str(), "env check");
        let targets = &config.pipelines[13].stages;
        assert_eq!(targets[0].hints.aliases, ["compile"]);
        assert!(
            !targets[0].hints.runnable && targets[1].hints.default_target && targets[1].hints.requires_cloud
        );
        assert_eq!(targets[2].hints.execution_mode.as_deref(), Some("cloud"));

        let config = parse(FILE_NAME, REFERENCE_ODDITIES).expect("well formed");
        let flaws: Vec<_> = config.flaws.iter().map(|flaw| flaw.error.to_string()).collect();
        insta::assert_snapshot!(flaws.join("\n"), @"
        codex.orchestrator.json:4:98: pipelines call each other in a circle: recur → recur
        codex.orchestrator.json:5:121: two stages of pipeline `dupes` have the id `a`
        ");
    }

    #[test]
    fn every_problem_has_its_place_and_its_words() {
        let one = |stage: &str| format!(r#"{{"pipelines": [{{"id": "p", "stages": [{stage}]}}]}}"#);
        let cases = [
            // JSON
            (" \n".to_owned(), "1:1", "invalid JSON: the file is empty"),
            ("{".to_owned(), "1:1", "invalid JSON: "),
            ("{} {}".to_owned(), "1:4", "invalid JSON: "),
            ("{\n  // no\n}".to_owned(), "2:3", "invalid JSON: comments are not allowed"),
            ("{\"pipelines\": [],\n}".to_owned(), "1:17", "invalid JSON: trailing commas are not allowed"),
            ("{pipelines: []}".to_owned(), "1:2", "invalid JSON: "),
            ("{\"pipelines\": [1 2]}".to_owned(), "1:17", "invalid JSON: "),
            ("{\"$schema\": \"a\nb\"}".to_owned(), "1:15", "invalid JSON: "),
            ("{\"$schema\": 01}".to_owned(), "1:14", "invalid JSON: "),
            ("{\"$schema\": \"\\ud800\"}".to_owned(), "1:14", "invalid JSON: "),
            ("\u{feff}[]".to_owned(), "1:1", "the configuration must be an object, not a list"),
            ("null".to_owned(), "1:1", "the configuration must be an object, not `null`"),
            // The file
            ("{\"pipeline\": []}".to_owned(), "1:2", "unknown key `pipeline` in the configuration"),
            ("{\"later\": {}}".to_owned(), "1:2", "unknown key `later` in the configuration"),
            ("{\"pipelines\": {}}".to_owned(), "1:15", "`pipelines` must be a list, not an object"),
            ("{\"pipelines\": [3]}".to_owned(), "1:16", "a pipeline must be an object, not a number"),
            (
                "{\"pipelines\": [],\n \"ü\": 1, \"pipelines\": []}".to_owned(),
                "2:10",
                "key `pipelines` appears twice in the configuration",
            ),
            (
                "{\"defaultPipeline\": \"x\"}".to_owned(),
                "1:21",
                "`defaultPipeline` names `x`, which does not exist",
            ),
            // Pipelines
            ("{\"pipelines\": [ {}]}".to_owned(), "1:17", "a pipeline has no `id`"),
            (
                "{\"pipelines\": [{\"id\": \"\"}]}".to_owned(),
                "1:23",
                "`` is no valid pipeline id: it is empty",
            ),
            (
                "{\"pipelines\": [{\"id\": \"a\\u0007\"}]}".to_owned(),
                "1:23",
                "`a\\u{7}` is no valid pipeline id: it holds a control character",
            ),
            ("{\"pipelines\": [{\"id\": \"a\"}]}".to_owned(), "1:16", "a pipeline has no `stages`"),
            (
                "{\"pipelines\": [{\"id\": \"a\", \"stages\": []}, {\"id\": \"a\", \"stages\": []}]}"
                    .to_owned(),
                "1:50",
                "two pipelines have the id `a`",
            ),
            (
                "{\"pipelines\": [{\"id\": \"a\", \"tags\": [1], \"stages\": []}]}".to_owned(),
                "1:37",
                "an entry of `tags` must be a text, not a number",
            ),
            (
                "{\"pipelines\": [{\"id\": \"a\", \"description\": null, \"stages\": []}]}".to_owned(),
                "1:43",
                "`description` must be a text, not `null`",
            ),
            // Stages
            (one("{}"), "1:39", "a stage has no `kind`"),
            (one("{\"kind\": \"manual\", \"prompt\": \"?\"}"), "1:58", "unknown key `prompt` in a stage"),
            (
                one("{\"kind\": \"manual\", \"timeout\": 5}"),
                "1:58",
                "unknown key `timeout` in a stage of kind `manual`",
            ),
            (one("{\"kind\": \"comand\"}"), "1:48", "unknown kind `comand` of a stage"),
            (one("{\"kind\": \"command\", \"comand\": \"x\"}"), "1:59", "unknown key `comand` in a stage"),
            (
                one("{\"kind\": \"command\", \"pipeline\": \"x\"}"),
                "1:59",
                "unknown key `pipeline` in a stage of kind `command`",
            ),
            (
                one("{\"kind\": \"command\", \"command\": \"x\"}"),
                "1:39",
                "a stage of kind `command` has no `id`",
            ),
            (
                one("{\"kind\": \"command\", \"id\": \"x\"}"),
                "1:39",
                "a stage of kind `command` has no `command`",
            ),
            (one("{\"kind\": \"command\", \"id\": \"x\", \"command\": \" \"}"), "1:81", "`command` is empty"),
            (
                one("{\"kind\": \"subpipeline\", \"id\": \"x\"}"),
                "1:39",
                "a stage of kind `subpipeline` has no `pipeline`",
            ),
            (
                with_stage_keys("\"allowFailure\": \"true\""),
                "1:102",
                "`allowFailure` must be `true` or `false`, not a text",
            ),
            (
                with_stage_keys("\"cwd\": \"a\\u0000\""),
                "1:93",
                "`cwd` holds a NUL character, which no process can be given",
            ),
            (with_stage_keys("\"env\": {\"A=B\": 1}"), "1:94", "`A=B` is no name of a variable"),
            (
                with_stage_keys("\"env\": {\"A\": {}}"),
                "1:99",
                "variable `A` must be a text, a number, `true`, `false` or `null`, not an object",
            ),
            (with_stage_keys("\"env\": {\"A\": 1, \"A\": 2}"), "1:102", "key `A` appears twice in `env`"),
            (with_stage_keys("\"session\": {\"ids\": 1}"), "1:98", "unknown key `ids` in `session`"),
            (
                with_stage_keys("\"plan\": {\"runnable\": 1}"),
                "1:107",
                "`runnable` must be `true` or `false`, not a number",
            ),
            (with_stage_keys("\"mode\": 1"), "1:94", "`mode` must be a text, not a number"),
        ];
        let mut wrong = Vec::new();
        for (text, place, message) in cases {
            let seen = error(&text).to_string();
            let expected = format!("c.json:{place}: {message}");
            let same = if message.ends_with(": ") { seen.starts_with(&expected) } else { seen == expected };
            if !same {
                wrong.push(format!("{text}\n  expected {expected}\n       got {seen}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn flaws_belong_to_one_pipeline() {
        let text = r#"{"pipelines": [
  {"id": "fine", "stages": [{"kind": "subpipeline", "id": "s", "pipeline": "diagnostics"}]},
  {"id": "a", "stages": [{"kind": "subpipeline", "id": "s", "pipeline": "b"}]},
  {"id": "b", "stages": [{"kind": "subpipeline", "id": "s", "pipeline": "c", "optional": true}]},
  {"id": "c", "stages": [{"kind": "subpipeline", "id": "s", "pipeline": "a"}]},
  {"id": "leads there", "stages": [{"kind": "subpipeline", "id": "s", "pipeline": "a"}]},
  {"id": "typo", "stages": [{"kind": "subpipeline", "id": "s", "pipeline": "fin"}]},
  {"id": "optional", "stages": [{"kind": "subpipeline", "id": "s", "pipeline": "nowhere", "optional": true}]},
  {"id": "twice", "stages": [{"kind": "command", "id": "s", "command": "x"}, {"kind": "command", "id": "s", "command": "x"}]}
]}"#;
        let flaws = parse("c.json", text).expect("well formed").flaws;
        let seen: Vec<_> = flaws.iter().map(|flaw| format!("{}: {}", flaw.pipeline, flaw.error)).collect();
        insta::assert_snapshot!(seen.join("\n"), @"
        a: c.json:3:73: pipelines call each other in a circle: a → b → c → a
        b: c.json:4:73: pipelines call each other in a circle: b → c → a → b
        c: c.json:5:73: pipelines call each other in a circle: c → a → b → c
        typo: c.json:7:76: no pipeline named `fin`
        twice: c.json:9:104: two stages of pipeline `twice` have the id `s`
        ");
    }

    #[test]
    fn hints_say_what_to_do() {
        let cases = [
            (r#"{"pipeline": []}"#.to_owned(), "did you mean `pipelines`?"),
            (r#"{"lerning": {}}"#.to_owned(), "did you mean `learning`?"),
            (with_stage_keys(r#""allow_failure": true"#), "did you mean `allowFailure`?"),
            (with_stage_keys(r#""optional": true"#), "`optional` belongs to stages of kind `subpipeline`"),
            (with_stage_keys(r#""cwd": null"#), "to leave a value out, leave out its key"),
            (r#"{"defaultPipeline": "diagnostic"}"#.to_owned(), "did you mean `diagnostics`?"),
            (
                r#"{"pipelines": [{"id": "p", "stages": [{"pipeline": "x"}]}]}"#.to_owned(),
                "add `\"kind\": \"subpipeline\"`",
            ),
            (r#"{"pipelines": [{"id": "p"}]}"#.to_owned(), "add `\"stages\": [ … ]`"),
            (r#"{"pipelines": {}}"#.to_owned(), "write a list: `[ … ]`, also around a single entry"),
            (with_stage_keys(r#""cwd": " ""#), "leave out `cwd` to run in the root of the worktree"),
            (with_stage_keys(r#""env": {"": "x"}"#), "a name is not empty, and holds neither `=` nor NUL"),
        ];
        for (text, hint) in cases {
            assert_eq!(error(&text).hint(), hint, "{text}");
        }
    }

    #[test]
    fn values_are_read_as_the_reference_reads_them() {
        let text = with_stage_keys(
            r#""env": {"S": "$HOME", "N": 10, "F": 1.50, "E": 1e3, "Z": -0, "T": true, "O": null}"#,
        );
        let env: Vec<_> =
            command(&text).env.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(env, ["E=1000", "F=1.5", "N=10", "O=null", "S=$HOME", "T=true", "Z=0"]);

        let hints = |keys: &str| stage(&with_stage_keys(keys)).hints;
        for key in DEFAULT_TARGET {
            assert!(hints(&format!(r#""plan": {{"{key}": true}}"#)).default_target, "{key}");
        }
        for key in REQUIRES_CLOUD {
            assert!(hints(&format!(r#""{key}": true"#)).requires_cloud, "{key}");
            assert!(
                !hints(&format!(r#""plan": {{"{key}": false}}, "requiresCloud": true"#)).requires_cloud,
                "{key}"
            );
        }
        for key in EXECUTION_MODE {
            let cloud = hints(&format!(r#""{key}": "Cloud""#));
            assert_eq!(
                (cloud.execution_mode.as_deref(), cloud.requires_cloud),
                (Some("cloud"), true),
                "{key}"
            );
        }
        assert_eq!(hints(r#""executionMode": "a", "mode": "b""#).execution_mode.as_deref(), Some("a"));
        assert!(!hints(r#""mode": "cloud", "requiresCloud": false"#).requires_cloud);
        assert_eq!(
            hints(r#""mode": "mcp""#),
            Hints { execution_mode: Some("mcp".to_owned()), ..Hints::default() }
        );

        let session = command(&with_stage_keys(r#""session": {"id": "main", "reuse": true}"#)).session;
        assert_eq!(session, Some(Session { id: Some("main".to_owned()), reuse: Some(true), persist: None }));
        assert_eq!(stage(&with_stage_keys(r#""title": "T""#)).title, "T");
        assert_eq!(stage(&with_stage_keys(r#""cwd": ".""#)).title, "s");
        assert_eq!(parse("c.json", "\u{feff}{}"), Ok(Config::default()));
    }

    #[test]
    fn hostile_files_end_early() {
        for text in ["[".repeat(100_000), "{\"a\":".repeat(100_000)] {
            assert!(matches!(error(&text).problem(), Problem::Json(_)));
        }
        let huge = " ".repeat(MAX_BYTES + 1);
        assert_eq!(error(&huge).to_string(), "c.json:1:1: the file is larger than 4194304 bytes");
        assert!(error(&huge).render(false).contains("larger than"));

        // A chain of calls is as long as the file, and no stack grows with it.
        let link = |n: usize| {
            format!(r#"{{"id":"{n}","stages":[{{"kind":"subpipeline","id":"s","pipeline":"{}"}}]}}"#, n + 1)
        };
        let links: Vec<_> = (0..20_000).map(link).collect();
        let last = r#"{"id":"20000","stages":[{"kind":"subpipeline","id":"s","pipeline":"0"}]}"#;
        let flaws = parse("c.json", &format!(r#"{{"pipelines":[{},{last}]}}"#, links.join(",")))
            .expect("well formed")
            .flaws;
        assert!(!flaws.is_empty());
        assert!(flaws[0].error.to_string().len() < 1000);
        assert!(flaws[0].error.render(false).len() < 10_000);
    }

    #[test]
    fn the_schema_knows_the_keys_of_the_parser() {
        let schema = schema();
        let keys = |at: &str| {
            let object = schema.pointer(at).unwrap_or_else(|| panic!("{at} in {schema:#}"));
            assert_eq!(object["additionalProperties"], false, "{at}");
            let mut keys: Vec<_> = object["properties"].as_object().expect("keys").keys().cloned().collect();
            keys.sort();
            keys
        };
        let sorted = |lists: &[&[&str]]| {
            let mut keys: Vec<_> = lists.concat().iter().map(|key| (*key).to_owned()).collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(""), sorted(&[TOP_KEYS]));
        assert_eq!(keys("/$defs/Pipeline"), sorted(&[PIPELINE_KEYS]));
        assert_eq!(keys("/$defs/Stage/oneOf/0"), sorted(&[STAGE_KEYS, RUNNING_KEYS, COMMAND_KEYS]));
        assert_eq!(keys("/$defs/Stage/oneOf/1"), sorted(&[STAGE_KEYS, RUNNING_KEYS, SUBPIPELINE_KEYS]));
        assert_eq!(keys("/$defs/Stage/oneOf/2"), sorted(&[STAGE_KEYS, MANUAL_KEYS]));
        assert_eq!(keys("/$defs/PlanHints"), sorted(&[PLAN_KEYS]));
        assert_eq!(keys("/$defs/Retries"), sorted(&[RETRIES_KEYS]));
        assert_eq!(keys("/$defs/Transient"), sorted(&[TRANSIENT_KEYS]));
        assert_eq!(keys("/$defs/Session"), sorted(&[SESSION_KEYS]));
        assert_eq!(keys("/$defs/Guardrails"), sorted(&[GUARDRAIL_KEYS]));
        assert_eq!(keys("/$defs/DiffBudget"), sorted(&[DIFF_BUDGET_KEYS]));
        assert_eq!(keys("/$defs/Spec"), sorted(&[SPEC_KEYS]));
        assert_eq!(keys("/$defs/SpecFallback"), sorted(&[FALLBACK_KEYS]));
        assert_eq!(keys("/$defs/SpecGroup"), sorted(&[GROUP_KEYS]));
        assert_eq!(keys("/$defs/Docs"), sorted(&[DOCS_KEYS]));
        assert_eq!(keys("/$defs/Evidence"), sorted(&[EVIDENCE_KEYS]));
        assert_eq!(keys("/$defs/Hook"), sorted(&[HOOK_KEYS]));
        assert_eq!(keys("/$defs/Slots"), sorted(&[SLOTS_KEYS]));
        assert_eq!(keys("/$defs/SetUp"), sorted(&[SETUP_KEYS]));
        assert_eq!(keys("/$defs/Streams"), sorted(&[STREAM_KEYS]));
        assert_eq!(keys("/$defs/Learning"), sorted(&[LEARNING_KEYS]));
        assert_eq!(keys("/$defs/Alerts"), sorted(&[ALERT_KEYS]));
        assert_eq!(keys("/$defs/Crystalizer"), sorted(&[CRYSTALIZER_KEYS]));
        assert_eq!(keys("/$defs/Ports"), sorted(&[PORT_KEYS]));
        assert_eq!(keys("/$defs/Budget"), sorted(&[BUDGET_KEYS]));
        assert_eq!(keys("/$defs/Pressure"), sorted(&[PRESSURE_KEYS]));
        let required = |at: &str| schema.pointer(at).expect(at)["required"].clone();
        assert_eq!(required("/$defs/Pipeline"), serde_json::json!(["id", "stages"]));
        assert_eq!(required("/$defs/Stage/oneOf/0"), serde_json::json!(["kind", "id", "command"]));
        assert_eq!(required("/$defs/Stage/oneOf/1"), serde_json::json!(["kind", "id", "pipeline"]));
        assert!(!schema["properties"]["pipelines"].to_string().contains("null"));
    }

    /// Writes a configuration as a project would.
    fn written(config: &Config) -> String {
        use serde_json::{Value, json};
        let stage = |stage: &Stage| {
            let Hints { runnable, aliases, default_target, requires_cloud, execution_mode } = &stage.hints;
            let mut value = json!({
                "id": stage.id, "title": stage.title, "needs": stage.needs,
                "timeout": stage.timeout.map(|time| time.as_secs_f64()), "executionMode": execution_mode,
                "approval": stage.needs_approval.then_some("required"),
                "inputs": Some(&stage.inputs).filter(|list| !list.is_empty()), "reuse": stage.reuse,
                "plan": {
                    "runnable": runnable, "aliases": aliases, "default": default_target, "requires_cloud": requires_cloud,
                },
            });
            let more = match &stage.action {
                Action::Command(command) => json!({
                    "kind": "command", "command": command.command, "cwd": command.cwd, "env": command.env,
                    "allowFailure": command.allow_failure, "summaryHint": command.summary_hint,
                    "memoryLimit": command.memory_limit, "fixes": command.fixes, "weight": command.share.weight,
                    "jobserver": command.share.jobserver,
                    "resources": Some(&command.share.resources).filter(|list| !list.is_empty()), "retries": command.retries.as_ref().map(|retries| json!({
                        "max": retries.max, "delay": retries.delay.as_secs(),
                        "maxDelay": endurance::shown_duration(retries.max_delay),
                        "transient": retries.transient.as_ref().map_or(json!({}), |transient| json!({
                            "exitCodes": transient.exit_codes, "patterns": transient.patterns,
                        })),
                    })),
                    "session": command.session.as_ref().map(|session| json!({ "id": session.id, "reuse": session.reuse })),
                }),
                Action::Subpipeline { pipeline, optional } => {
                    json!({ "kind": "subpipeline", "pipeline": pipeline, "optional": optional })
                }
                Action::Manual { instructions } => json!({ "kind": "manual", "instructions": instructions }),
            };
            let object = value.as_object_mut().expect("an object");
            object.extend(more.as_object().expect("an object").clone());
            if let Some(Value::Object(session)) = object.get_mut("session") {
                session.retain(|_, value| !value.is_null());
            }
            object.retain(|_, value| !value.is_null());
            value
        };
        let pipeline = |pipeline: &Pipeline| {
            let mut value = json!({
                "id": pipeline.id, "title": pipeline.title, "description": pipeline.description, "tags": pipeline.tags,
                "guardrailsRequired": pipeline.guardrails_required, "jobs": pipeline.jobs,
                "timeout": pipeline.timeout.map(|time| format!("{}ms", time.as_millis())), "reuse": pipeline.reuse,
                "stages": pipeline.stages.iter().map(stage).collect::<Vec<_>>(),
            });
            value.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
            value
        };
        let mut value = json!({ "pipelines": config.pipelines.iter().map(pipeline).collect::<Vec<_>>() });
        if let Some(id) = &config.default_pipeline {
            value["defaultPipeline"] = json!(id);
        }
        if let Some(jobs) = config.jobs {
            value["jobs"] = json!(jobs);
        }
        value.to_string()
    }

    prop_compose! {
        fn stages()(
            id in "[a-z:/]{1,4}", title in "\\PC{0,4}", text in "[^\u{0}]{0,3}x", env in "[^\u{0}]{0,4}", call in 0..4_usize,
            flags in any::<[bool; 5]>(), texts in proptest::option::of("\\PC{0,5}"),
            texts_of_needs in proptest::collection::vec("[a-z:/]{1,4}", 0..2),
        ) -> Stage {
            let action = if call == 0 {
                Action::Subpipeline { pipeline: "a".parse().expect("an id"), optional: flags[0] }
            } else if call == 1 {
                Action::Manual { instructions: texts.clone() }
            } else {
                Action::Command(Command {
                    command: text.clone(),
                    cwd: flags[1].then(|| text.clone()),
                    env: [("V".to_owned(), env)].into(),
                    allow_failure: flags[0],
                    summary_hint: texts.clone(),
                    retries: flags[3].then(|| Retries {
                        max: 7, delay: Duration::from_secs(3), max_delay: Duration::from_secs(90),
                        transient: Some(Transient { exit_codes: vec![1, 255], patterns: vec!["a|b".to_owned()] }),
                    }),
                    memory_limit: flags[4].then_some(1 << 30),
                    fixes: flags[4],
                    share: Share {
                        weight: NonZeroU16::new(u16::from(flags[0]) * 2),
                        jobserver: flags[2].then_some(if flags[3] { Jobserver::Fifo } else { Jobserver::Nothing }),
                        resources: if flags[1] { vec!["db".parse().expect("an id")] } else { Vec::new() },
                            free: false,
                    },
                    session: flags[2].then(|| Session { id: texts.clone(), reuse: Some(flags[3]), persist: None }),
                })
            };
            let hints = Hints {
                runnable: flags[1], aliases: texts.into_iter().collect(), default_target: flags[2],
                requires_cloud: flags[3], execution_mode: flags[4].then(|| "mcp".to_owned()),
            };
            let needs = texts_of_needs.into_iter().map(|id| id.parse().expect("an id")).collect();
            let timeout = flags[0].then_some(Duration::from_millis(1500)).filter(|_| call != 1);
            let inputs = if flags[1] && call != 1 { vec!["src/".to_owned()] } else { Vec::new() };
            let reuse = flags[2].then_some(flags[3]).filter(|_| call != 1);
            let needs_approval = flags[3];
            Stage { id: id.parse().expect("an id"), title, needs, timeout, needs_approval, inputs, reuse, alone: false, action, hints }
        }
    }

    prop_compose! {
        fn configs()(
            pipelines in proptest::collection::btree_map("[a-c]", (proptest::collection::vec(stages(), 0..4), any::<bool>()), 0..3),
            named in any::<bool>(),
        ) -> Config {
            let pipeline = |(id, (stages, guardrails_required)): (String, (Vec<Stage>, bool))| Pipeline {
                id: id.parse().expect("an id"), title: id.clone(), description: named.then(|| id.clone()), tags: vec![id],
                guardrails_required, jobs: NonZeroU16::new(u16::from(named) * 3),
                timeout: named.then_some(Duration::from_secs(60)), reuse: named.then_some(true), stages, source: Source::User,
            };
            let pipelines: Vec<_> = pipelines.into_iter().map(pipeline).collect();
            let default_pipeline = pipelines.first().filter(|_| named).map(|pipeline| pipeline.id.clone());
            Config { pipelines, default_pipeline, jobs: NonZeroU16::new(u16::from(named) * 2), budget: Default::default(), guardrails: Default::default(), hooks: Default::default(), streams: Default::default(), slots: Default::default(), evidence: Default::default(), flaws: Vec::new() }
        }
    }

    fn check_error(error: &ConfigError, text: &str) {
        assert!(error.line() <= text.lines().count().max(1) + 1);
        let seen = [error.to_string(), error.render(false), error.hint().to_owned()].concat();
        assert!(!seen.chars().any(|c| c.is_control() && c != '\n'), "{seen:?}");
    }

    fn check(text: &str) {
        match parse("c.json", text) {
            Ok(config) => config.flaws.iter().for_each(|flaw| check_error(&flaw.error, text)),
            Err(error) => check_error(&error, text),
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(config in configs()) {
            let mut read = parse("c.json", &written(&config)).expect("well formed");
            read.flaws.clear();
            prop_assert_eq!(read, config);
        }

        #[test]
        fn any_text_is_a_configuration_or_an_error(text in any::<String>()) {
            check(&text);
        }

        #[test]
        fn any_json_like_text_is_a_configuration_or_an_error(text in r#"([\[\]{},: \r\n"\\u0-9a-eü'/*+.-]|null|true|"id"|"stages":){0,60}"#) {
            check(&text);
        }

        #[test]
        fn a_broken_configuration_is_a_configuration_or_an_error(
            at in 0..REFERENCE.len(), length in 0..20_usize, new in "\\PC{0,3}|[\u{0}-\u{a0}\u{202e}\\[\\]{}\",:]{0,3}",
        ) {
            let mut text: String = REFERENCE.to_owned();
            let boundary = |mut at: usize| { while !REFERENCE.is_char_boundary(at) { at -= 1 } at };
            text.replace_range(boundary(at)..boundary((at + length).min(REFERENCE.len())), &new);
            check(&text);
        }
    }
}
