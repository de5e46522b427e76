//! The text of a file for `spawn` → goals, or the first thing that is wrong with it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::time::Duration;

use super::{
    Action, Command, ConfigError, Fields, File, MAX_BYTES, Pipeline, Problem, Read, Reader, Source, Stage,
    Value, listing, nearest, shown, span,
};
use crate::id::{StageId, StreamName};
use crate::pipeline::goals::{ADAPTERS, Goal, Goals, Work};

pub(in crate::pipeline) const GOALS_KEYS: &[&str] =
    &["$schema", "title", "jobs", "timeout", "keepGoing", "adapters", "goals"];
pub(in crate::pipeline) const ADAPTER_KEYS: &[&str] = &["id", "stream", "cwd", "env", "commands"];
pub(in crate::pipeline) const GOAL_KEYS: &[&str] = &["id", "adapter", "goal", "stream", "needs"];
/// What says how a goal is reached.
pub(in crate::pipeline) const WORK_KEYS: &[&str] =
    &["title", "command", "args", "pipeline", "cwd", "env", "timeout", "parallel"];

const A_GOAL: &str = "a goal";

/// Reads the text of a file for `spawn`. `file_name` is what errors call it.
pub fn parse_goals(file_name: &str, text: &str) -> Result<Goals, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_BYTES {
        let file = File { name: file_name.into(), text: "".into() };
        return Err(ConfigError::new(&file, 0..0, Problem::TooLarge { limit: MAX_BYTES }));
    }
    let file = File { name: file_name.into(), text: text.into() };
    let reader = Reader { file: &file };
    reader.goals(&reader.json()?)
}

/// Commands that goals are about.
struct Adapter {
    id: StageId,
    stream: Option<StreamName>,
    cwd: Option<String>,
    env: BTreeMap<String, String>,
    goals: Vec<(StageId, How)>,
}

/// What is said of how a goal is reached, as far as it is said.
#[derive(Clone, Default)]
struct How {
    title: Option<String>,
    work: Option<Work>,
    cwd: Option<String>,
    env: BTreeMap<String, String>,
    timeout: Option<Duration>,
    parallel: Option<bool>,
}

/// Goals, with the places that errors about them point at.
#[derive(Default)]
struct Found {
    goals: Vec<Goal>,
    ids_at: Vec<Range<usize>>,
    needs_at: Vec<Vec<Range<usize>>>,
}

impl Reader<'_> {
    fn goals(&self, root: &Value<'_>) -> Result<Goals, ConfigError> {
        let top = self.object(root, "a file of goals", "a file of goals")?;
        top.only(GOALS_KEYS, |_| None)?;
        top.text("$schema")?;
        let title = top.text("title")?.map(str::to_owned);
        let (jobs, timeout) = (top.count("jobs")?, top.timeout()?);
        let keep_going = top.flag("keepGoing")?.unwrap_or(true);
        let mut adapters: Vec<Adapter> = Vec::new();
        for value in top.list("adapters")? {
            let adapter = self.adapter(value)?;
            if adapters.iter().any(|known| known.id == adapter.id) {
                let what = "an entry of `adapters`".to_owned();
                let problem = Problem::WrongWord { what, word: shown(adapter.id.as_str()) };
                return Err(self.error(span(value), problem).with_hint("it stands there twice: keep one"));
            }
            adapters.push(adapter);
        }
        let mut found = Found::default();
        match top.get("goals") {
            None => {
                let at = top.get("adapters").map_or(0..0, span);
                for adapter in &adapters {
                    for (goal, how) in &adapter.goals {
                        found.add(adapter.goal(goal, how, timeout), at.clone());
                    }
                }
            }
            Some(_) => {
                for value in top.list("goals")? {
                    match value {
                        Value::StringLit(_) => self.of_each(value, &adapters, timeout, &mut found)?,
                        _ => self.goal(value, &adapters, timeout, &mut found)?,
                    }
                }
            }
        }
        if found.goals.is_empty() {
            let at = top.get("goals").map_or(span(root), span);
            let hint = "name what is to be reached, such as `\"goals\": [{ \"goal\": \"test\", \"command\": \"make test\" }]`";
            return Err(self.error(at, Problem::Blank { key: "goals" }).with_hint(hint));
        }
        match self.flaw(&found) {
            Some(flaw) => Err(flaw),
            None => Ok(Goals { title, jobs, keep_going, goals: found.goals }),
        }
    }

    /// Reads an adapter: the id of one that is known, or what it is.
    fn adapter(&self, value: &Value<'_>) -> Result<Adapter, ConfigError> {
        if let Value::StringLit(_) = value {
            let id: StageId = self.id(value, "an entry of `adapters`")?;
            return Adapter::known(&id)
                .ok_or_else(|| self.no_adapter("an entry of `adapters`", value, &id, &[]));
        }
        let fields = self.object(value, "an entry of `adapters`", "an adapter")?;
        fields.only(ADAPTER_KEYS, |_| None)?;
        let id: StageId = self.id(fields.required("id")?, "id")?;
        let mut adapter = match Adapter::known(&id) {
            Some(known) => known,
            None => {
                fields.required("commands")?;
                Adapter::unknown(id)
            }
        };
        adapter.stream = self.stream_of(&fields)?;
        adapter.cwd = fields.process_text("cwd")?.map(str::to_owned);
        adapter.env.extend(self.variables(&fields)?);
        let Some(commands) = fields.get("commands") else { return Ok(adapter) };
        for property in &self.object(commands, "`commands`", "`commands`")?.node.properties {
            let name = property.name.as_str();
            let goal: StageId = name.parse().map_err(|crate::id::InvalidId { text, flaw, .. }| {
                self.error(super::name_span(property), Problem::Id { kind: "goal", text, flaw })
            })?;
            let how = match &property.value {
                Value::StringLit(text) if text.value.trim().is_empty() => {
                    return Err(self.error(span(&property.value), Problem::Blank { key: "command" }));
                }
                Value::StringLit(text) if text.value.contains('\0') => {
                    let what = format!("the command of `{name}`");
                    return Err(self.error(span(&property.value), Problem::Nul { what }));
                }
                Value::StringLit(text) => {
                    let work =
                        Work::Command { command: text.value.clone().into_owned(), args: None, cwd: None };
                    How { work: Some(work), ..How::default() }
                }
                value => {
                    let what = format!("the command of `{name}`");
                    let fields = self.object(value, &what, "a command of an adapter")?;
                    fields.only(WORK_KEYS, |_| None)?;
                    let how = self.how(&fields)?;
                    if how.work.is_none() {
                        return Err(fields.missing("command"));
                    }
                    how
                }
            };
            adapter.goals.retain(|(known, _)| *known != goal);
            adapter.goals.push((goal, how));
        }
        Ok(adapter)
    }

    /// Reads a goal that every adapter is to reach that has it.
    fn of_each(
        &self,
        value: &Value<'_>,
        adapters: &[Adapter],
        timeout: Option<Duration>,
        found: &mut Found,
    ) -> Result<(), ConfigError> {
        let goal: StageId = self.id(value, "an entry of `goals`")?;
        let before = found.goals.len();
        for adapter in adapters {
            if let Some((goal, how)) = adapter.goals.iter().find(|(known, _)| *known == goal) {
                found.add(adapter.goal(goal, how, timeout), span(value));
            }
        }
        if found.goals.len() > before {
            return Ok(());
        }
        let what = "an entry of `goals`".to_owned();
        let error = self.error(span(value), Problem::WrongWord { what, word: shown(goal.as_str()) });
        let known: Vec<_> = adapters.iter().flat_map(|it| &it.goals).map(|(goal, _)| goal.as_str()).collect();
        Err(match nearest(goal.as_str(), known.iter().copied()) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None if adapters.is_empty() => error.with_hint("add `adapters`, or write the goal as an object"),
            None => error.with_hint(format!("the adapters have: {}", listing(known))),
        })
    }

    fn goal(
        &self,
        value: &Value<'_>,
        adapters: &[Adapter],
        timeout: Option<Duration>,
        found: &mut Found,
    ) -> Result<(), ConfigError> {
        let fields = self.object(value, "an entry of `goals`", A_GOAL)?;
        fields.only(&[GOAL_KEYS, WORK_KEYS].concat(), |_| None)?;
        let goal: Option<StageId> = fields.get("goal").map(|value| self.id(value, "goal")).transpose()?;
        let stream = self.stream_of(&fields)?;
        let how = self.how(&fields)?;
        let mut read = match fields.get("adapter") {
            Some(named) => {
                let id: StageId = self.id(named, "adapter")?;
                let listed = adapters.iter().find(|adapter| adapter.id == id);
                let known = Adapter::known(&id);
                let adapter = listed.or(known.as_ref());
                let of_goal = adapter.zip(goal.as_ref()).and_then(|(adapter, goal)| {
                    Some((adapter, &adapter.goals.iter().find(|(known, _)| known == goal)?.1))
                });
                match (of_goal, adapter) {
                    (Some((adapter, usual)), _) => {
                        let goal = goal.clone().expect("an adapter reaches a goal");
                        adapter.goal(&goal, &how.or(usual), timeout)
                    }
                    // It may be new, as long as somebody says how.
                    (None, adapter) if how.work.is_some() => {
                        let none = Adapter::unknown(id);
                        adapter.unwrap_or(&none).reached(goal.clone(), &how, timeout)
                    }
                    (None, Some(adapter)) => return Err(self.no_goal(&fields, adapter, goal.as_ref())),
                    (None, None) => return Err(self.no_adapter("`adapter`", named, &id, adapters)),
                }
            }
            None if how.work.is_none() => return Err(fields.missing("command")),
            None => how.goal(None, goal.clone(), timeout),
        };
        read.stream = stream.or(read.stream);
        let (id, at) = match fields.get("id") {
            Some(value) => (self.id(value, "id")?, span(value)),
            None => {
                let is_named =
                    goal.is_some() || read.adapter.is_some() || matches!(read.work, Work::Pipeline(_));
                if !is_named {
                    return Err(fields.missing("id"));
                }
                (read.usual_id(), span(value))
            }
        };
        read.id = id;
        let mut places = Vec::new();
        for value in fields.list("needs")? {
            read.needs.push(self.id(value, "needs")?);
            places.push(span(value));
        }
        found.goals.push(read);
        found.ids_at.push(at);
        found.needs_at.push(places);
        Ok(())
    }

    /// Reads how a goal is reached.
    fn how(&self, fields: &Fields<'_, '_>) -> Result<How, ConfigError> {
        let title = fields.text("title")?.map(str::to_owned);
        let command = fields.process_text("command")?;
        let cwd = fields.process_text("cwd")?.map(str::to_owned);
        let mut words = Vec::new();
        for value in fields.list("args")? {
            let word = self.text(value, "an entry of `args`")?;
            if word.contains('\0') {
                return Err(self.error(span(value), Problem::Nul { what: "an entry of `args`".to_owned() }));
            }
            words.push(word.to_owned());
        }
        let alien = |key: &str, within, hint: &str| {
            let at = fields.get(key).map_or(0..0, span);
            self.error(at, Problem::UnknownKey { key: key.to_owned(), within }).with_hint(hint)
        };
        let work = match (command, fields.get("pipeline")) {
            (Some(_), Some(_)) => {
                return Err(alien(
                    "pipeline",
                    "a goal with `command`",
                    "either of them reaches a goal: keep one",
                ));
            }
            (None, Some(value)) => {
                let of_commands = ["args", "cwd"].into_iter().find(|key| fields.get(key).is_some());
                if let Some(key) = of_commands {
                    let hint = format!("`{key}` belongs to a `command`");
                    return Err(alien(key, "a goal with `pipeline`", &hint));
                }
                Some(Work::Pipeline(self.id(value, "pipeline")?))
            }
            (Some(command), None) => {
                let args = fields.get("args").map(|_| words);
                Some(Work::Command { command: command.to_owned(), args, cwd: None })
            }
            (None, None) if fields.get("args").is_some() => {
                return Err(alien("args", "a goal without `command`", "`args` belongs to a `command`"));
            }
            (None, None) => None,
        };
        let (env, timeout) = (self.variables(fields)?, fields.timeout()?);
        Ok(How { title, work, cwd, env, timeout, parallel: fields.flag("parallel")? })
    }

    fn stream_of(&self, fields: &Fields<'_, '_>) -> Result<Option<StreamName>, ConfigError> {
        fields.get("stream").map(|value| self.id(value, "stream")).transpose()
    }

    fn no_adapter(&self, what: &str, value: &Value<'_>, id: &StageId, listed: &[Adapter]) -> ConfigError {
        let known = || ADAPTERS.iter().map(|known| known.id).chain(listed.iter().map(|it| it.id.as_str()));
        let problem = Problem::WrongWord { what: what.to_owned(), word: shown(id.as_str()) };
        let error = self.error(span(value), problem);
        match nearest(id.as_str(), known()) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint(format!("adapters here: {}; others have `commands`", listing(known()))),
        }
    }

    fn no_goal(&self, fields: &Fields<'_, '_>, adapter: &Adapter, goal: Option<&StageId>) -> ConfigError {
        let known = || adapter.goals.iter().map(|(goal, _)| goal.as_str());
        let Some(goal) = goal else { return fields.missing("goal") };
        let what = format!("`goal` of adapter `{}`", shown(adapter.id.as_str()));
        let problem = Problem::WrongWord { what, word: shown(goal.as_str()) };
        let error = self.error(fields.get("goal").map_or(0..0, span), problem);
        match nearest(goal.as_str(), known()) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint(format!("it has: {}", listing(known()))),
        }
    }

    /// Finds what keeps goals from being stages of one run: they are that, so that rules and words are the same.
    fn flaw(&self, found: &Found) -> Option<ConfigError> {
        let id: crate::id::PipelineId = "goals".parse().expect("a word is an id");
        let stage = |goal: &Goal| Stage {
            needs: goal.needs.clone(),
            ..Stage::plain(goal.id.clone(), String::new(), Action::Command(Command::plain(String::new())))
        };
        let pipeline = Pipeline {
            id,
            title: String::new(),
            description: None,
            tags: Vec::new(),
            guardrails_required: false,
            jobs: None,
            timeout: None,
            reuse: None,
            stages: found.goals.iter().map(stage).collect(),
            source: Source::CommandLine,
        };
        let read = Read {
            pipeline,
            id_at: 0..0,
            stages_at: 0..0,
            stage_ids_at: found.ids_at.clone(),
            needs_at: found.needs_at.clone(),
            calls: Vec::new(),
        };
        self.own_flaw(&read, &[], &HashMap::new())
    }
}

impl Found {
    fn add(&mut self, goal: Goal, at: Range<usize>) {
        self.goals.push(goal);
        self.ids_at.push(at);
        self.needs_at.push(Vec::new());
    }
}

impl Adapter {
    fn unknown(id: StageId) -> Self {
        Self { id, stream: None, cwd: None, env: BTreeMap::new(), goals: Vec::new() }
    }

    /// Returns what needs no declaration.
    fn known(id: &StageId) -> Option<Self> {
        let known = ADAPTERS.iter().find(|known| known.id == id.as_str())?;
        let goals = known.goals.iter().map(|(goal, command, parallel)| {
            let work = Work::Command { command: (*command).to_owned(), args: None, cwd: None };
            let how = How { work: Some(work), parallel: Some(*parallel), ..How::default() };
            (goal.parse().expect("a word is an id"), how)
        });
        let env = known.env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Some(Self { env, goals: goals.collect(), ..Self::unknown(id.clone()) })
    }

    fn goal(&self, goal: &StageId, how: &How, timeout: Option<Duration>) -> Goal {
        self.reached(Some(goal.clone()), how, timeout)
    }

    fn reached(&self, goal: Option<StageId>, how: &How, timeout: Option<Duration>) -> Goal {
        let mut env = self.env.clone();
        env.extend(how.env.clone());
        let how = How { env, cwd: how.cwd.clone().or_else(|| self.cwd.clone()), ..how.clone() };
        let mut goal = how.goal(Some(self.id.clone()), goal, timeout);
        goal.stream.clone_from(&self.stream);
        goal.id = goal.usual_id();
        goal
    }
}

impl How {
    /// Returns what is said here, and for the rest what is usual.
    fn or(&self, usual: &Self) -> Self {
        let mut env = usual.env.clone();
        env.extend(self.env.clone());
        Self {
            title: self.title.clone().or_else(|| usual.title.clone()),
            work: self.work.clone().or_else(|| usual.work.clone()),
            cwd: self.cwd.clone().or_else(|| usual.cwd.clone()),
            env,
            timeout: self.timeout.or(usual.timeout),
            parallel: self.parallel.or(usual.parallel),
        }
    }

    fn goal(&self, adapter: Option<StageId>, goal: Option<StageId>, timeout: Option<Duration>) -> Goal {
        let work = match self.work.clone() {
            Some(Work::Command { command, args, .. }) => {
                Work::Command { command, args, cwd: self.cwd.clone() }
            }
            Some(pipeline) => pipeline,
            None => Work::Command { command: String::new(), args: None, cwd: None },
        };
        Goal {
            // Whoever asks gives it one.
            id: "goal".parse().expect("a word is an id"),
            title: self.title.clone(),
            adapter,
            goal,
            stream: None,
            needs: Vec::new(),
            timeout: self.timeout.or(timeout),
            parallel: self.parallel.unwrap_or(true),
            work,
            env: self.env.clone(),
        }
    }
}

impl Goal {
    /// Returns the id of a goal that has none of its own: what it is about.
    fn usual_id(&self) -> StageId {
        let pipeline = match &self.work {
            Work::Pipeline(pipeline) => Some(pipeline.as_str()),
            Work::Command { .. } => None,
        };
        let goal = self.goal.as_ref().map(StageId::as_str).or(pipeline);
        let parts =
            [self.stream.as_ref().map(StreamName::as_str), self.adapter.as_ref().map(StageId::as_str), goal];
        let text = parts.into_iter().flatten().collect::<Vec<_>>().join(":");
        text.parse().unwrap_or_else(|_| "goal".parse().expect("a word is an id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Goals, String> {
        parse_goals("goals.json", text).map_err(|err| err.to_string())
    }

    /// Returns each goal in a few words.
    fn words(text: &str) -> Vec<String> {
        let goals = read(text).expect(text);
        let word = |goal: &Goal| {
            let work = match &goal.work {
                Work::Pipeline(pipeline) => format!("pipeline {pipeline}"),
                Work::Command { command, args, cwd } => {
                    let args = args.as_ref().map(|args| format!(" {args:?}")).unwrap_or_default();
                    let cwd = cwd.as_ref().map(|cwd| format!(" in {cwd}")).unwrap_or_default();
                    format!("{command}{args}{cwd}")
                }
            };
            let timeout = goal.timeout.map(|timeout| format!(" {} s", timeout.as_secs())).unwrap_or_default();
            let alone = if goal.parallel { "" } else { " alone" };
            let stream = goal.stream.as_ref().map(|stream| format!(" @{stream}")).unwrap_or_default();
            let needs: String = goal.needs.iter().map(|need| format!(" after {need}")).collect();
            let env: String = goal.env.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            format!("{}: {work}{stream}{timeout}{alone}{needs}{env}", goal.id)
        };
        goals.goals.iter().map(word).collect()
    }

    #[test]
    fn the_adapters_of_the_reference_need_only_their_names() {
        assert_eq!(
            words(
                r#"{"adapters": ["go-module", "python-pytest"], "goals": ["build", "lint"], "timeout": "2m"}"#
            ),
            [
                "go-module:build: go build ./... 120 s",
                "python-pytest:build: python3 -m pip install -r requirements.txt 120 s alone \
                 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1",
                "go-module:lint: go vet ./... 120 s",
            ]
        );
        assert_eq!(
            words(r#"{"adapters": ["typescript-default"]}"#),
            [
                "typescript-default:build: npm run build",
                "typescript-default:test: npm run test alone",
                "typescript-default:lint: npm run lint",
            ]
        );
    }

    #[test]
    fn what_is_said_last_counts() {
        let text = r#"{
            "title": "All", "jobs": 2, "keepGoing": false, "timeout": 60,
            "adapters": [
                {"id": "web", "cwd": "web", "env": {"A": 1, "B": "b"}, "stream": "ui", "commands": {
                    "build": "make", "test": {"command": "npm", "args": ["run", "a b"], "timeout": "5s", "parallel": false},
                    "checks": {"pipeline": "diagnostics"}}},
                {"id": "go-module", "commands": {"test": {"command": "go test -short ./...", "env": {"C": "c"}}}}
            ],
            "goals": [
                "test",
                {"adapter": "web", "goal": "build", "cwd": "other", "env": {"B": "x"}, "parallel": false, "stream": "new/ui"},
                {"adapter": "web", "goal": "checks", "needs": ["web-build"], "id": "last"},
                {"adapter": "rust", "goal": "build", "command": "cargo build", "id": "web-build"},
                {"pipeline": "diagnostics", "stream": "login", "timeout": 9},
                {"id": "free", "command": "echo 1; echo 2"},
                {"adapter": "go-module", "goal": "lint"}
            ]}"#;
        assert_eq!(
            words(text),
            [
                "ui:web:test: npm [\"run\", \"a b\"] in web @ui 5 s alone A=1 B=b",
                "go-module:test: go test -short ./... 60 s C=c",
                "new/ui:web:build: make in other @new/ui 60 s alone A=1 B=x",
                "last: pipeline diagnostics @ui 60 s after web-build A=1 B=b",
                "web-build: cargo build 60 s",
                "login:diagnostics: pipeline diagnostics @login 9 s",
                "free: echo 1; echo 2 60 s",
                "go-module:lint: go vet ./... 60 s",
            ]
        );
        let goals = read(text).unwrap();
        assert_eq!(
            (goals.title.as_deref(), goals.jobs.unwrap().get(), goals.keep_going),
            (Some("All"), 2, false)
        );
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, said) in [
            ("", "goals.json:1:1: invalid JSON"),
            ("[]", "1:1: a file of goals must be an object"),
            ("{}", "1:1: `goals` is empty"),
            (r#"{"goals": []}"#, "1:11: `goals` is empty"),
            (r#"{"goal": []}"#, "1:2: unknown key `goal` in a file of goals"),
            (r#"{"jobs": 0, "goals": []}"#, "`jobs` must be a whole number"),
            (r#"{"timeout": 0, "goals": []}"#, "`0` is no length of time to run in"),
            (r#"{"goals": ["build"]}"#, "1:12: an entry of `goals` cannot be `build`"),
            (r#"{"adapters": ["go"], "goals": ["build"]}"#, "1:15: an entry of `adapters` cannot be `go`"),
            (r#"{"adapters": ["go-module", "go-module"]}"#, "an entry of `adapters` cannot be `go-module`"),
            (r#"{"adapters": [{"id": "x"}]}"#, "an adapter has no `commands`"),
            (r#"{"adapters": [{"id": "x", "commands": {"build": " "}}]}"#, "`command` is empty"),
            (
                r#"{"adapters": [{"id": "x", "commands": {"build": {}}}]}"#,
                "a command of an adapter has no `command`",
            ),
            (r#"{"adapters": [{"id": "x", "commands": {"": "make"}}]}"#, "`` is no valid goal"),
            (
                r#"{"adapters": [{"id": "x", "commands": {"b": {"cmd": "x"}}}]}"#,
                "unknown key `cmd` in a command of an adapter",
            ),
            (r#"{"adapters": ["go-module"], "goals": ["deploy"]}"#, "an entry of `goals` cannot be `deploy`"),
            (r#"{"goals": [{}]}"#, "1:12: a goal has no `command`"),
            (r#"{"goals": [{"command": "x"}]}"#, "1:12: a goal has no `id`"),
            (
                r#"{"goals": [{"goal": "x", "command": "x", "pipeline": "y"}]}"#,
                "unknown key `pipeline` in a goal with `command`",
            ),
            (r#"{"goals": [{"pipeline": "y", "cwd": "z"}]}"#, "unknown key `cwd` in a goal with `pipeline`"),
            (r#"{"goals": [{"goal": "x", "args": []}]}"#, "unknown key `args` in a goal without `command`"),
            (
                r#"{"goals": [{"adapter": "go-module", "goal": "deploy"}]}"#,
                "`goal` of adapter `go-module` cannot be `deploy`",
            ),
            (r#"{"goals": [{"adapter": "go-module"}]}"#, "a goal has no `goal`"),
            (r#"{"goals": [{"adapter": "cobol", "goal": "build"}]}"#, "1:24: `adapter` cannot be `cobol`"),
            (r#"{"goals": [{"pipeline": "y", "stream": "a..b"}]}"#, "`a..b` is no valid stream name"),
            (
                r#"{"goals": [{"pipeline": "y"}, {"pipeline": "y"}]}"#,
                "1:31: two stages of pipeline `goals` have the id `y`",
            ),
            (r#"{"goals": [{"pipeline": "y", "needs": ["z"]}]}"#, "needs `z`, which is no stage of it"),
            (r#"{"goals": [{"pipeline": "y", "needs": ["y"]}]}"#, "stage `y` needs itself"),
            (r#"{"goals": [{"goal": "x", "command": "a\u0000b"}]}"#, "holds a NUL character"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
