//! A pipeline and a target → [`Plan`]: what will run, in which order, frozen before it starts.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::budget::Budget;
use super::config_error::ConfigError;
use super::endurance::Retries;
use super::evidence::Evidence;
use super::learning::Learning;
use super::{Action, Config, Pipeline, Source, Stage, builtin, listing, nearest, shown};
use crate::id::{PipelineId, StageId};

/// How deep pipelines may call each other.
pub const MAX_DEPTH: usize = 16;

/// How many stages a plan may hold, those of called pipelines included.
pub const MAX_STAGES: usize = 2_000;

/// What will run. Called pipelines are part of it, so a stage that edits the configuration changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    pub pipeline: PipelineId,
    pub title: String,
    pub description: Option<String>,
    pub tags: Vec<String>,
    pub source: Source,
    pub guardrails_required: bool,
    /// How many commands may run at the same time, if the configuration says so. The plan of a called
    /// pipeline has what that pipeline says; those of the whole run share what its own plan has.
    pub jobs: Option<NonZeroU16>,
    /// How long the stages may take in all.
    pub timeout: Option<Duration>,
    /// Whether stages that are proven already are not run again, if the configuration says so.
    pub reuse: Option<bool>,
    /// What the run draws from the budget of the machine, and when it waits.
    pub budget: Budget,
    /// What verdicts depend on, and how long they count.
    pub evidence: Evidence,
    /// How the run is to be learned from, if it is.
    #[serde(skip)]
    pub learning: Option<Learning>,
    pub stages: Vec<PlannedStage>,
    /// The position in `stages` of the stage that a run is about. A plan that [`Plan::new`] made has one.
    pub target: Option<usize>,
    /// Whether the target alone runs, because someone asked for it.
    pub only_target: bool,
    /// Whether the stages are the subtasks of a group: the target goes first.
    pub group: bool,
}

/// One stage of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedStage {
    /// The position among the stages, from 1.
    pub index: usize,
    pub stage: Stage,
    /// The plan of a called pipeline. `None` for a command, and for an optional pipeline that does not exist.
    pub child: Option<Box<Plan>>,
}

/// A stage that someone named, to run it alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    pub named_by: NamedBy,
}

/// Where the name of a target comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy {
    Flag,
    Environment,
}

/// The variable that names a target where no flag does.
pub const TARGET_VARIABLE: &str = "CODEX_ORCHESTRATOR_TARGET_STAGE";

impl Target {
    /// Returns the target of a request: that of the flag, else that of [`TARGET_VARIABLE`] unless it is blank.
    ///
    /// A blank flag is a target too, one that no stage answers to: it is a script's variable that was not set.
    pub fn named(flag: Option<&str>, variable: Option<&str>) -> Option<Self> {
        let of = |name: &str, named_by| Self { name: name.trim().to_owned(), named_by };
        match (flag, variable) {
            (Some(name), _) => Some(of(name, NamedBy::Flag)),
            (None, Some(name)) if !name.trim().is_empty() => Some(of(name, NamedBy::Environment)),
            _ => None,
        }
    }
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// `exist` holds what there is instead.
    #[error("no pipeline named `{}`", shown(name.as_str()))]
    UnknownPipeline { name: PipelineId, exist: Vec<PipelineId> },
    /// `exist` holds the stages of the pipeline, each followed by its aliases.
    #[error("no stage named `{}` in pipeline `{}`{}", shown(name), shown(pipeline.as_str()), origin(*named_by))]
    UnknownTarget { name: String, named_by: NamedBy, pipeline: PipelineId, exist: Vec<String> },
    #[error("pipeline `{}` has no stages", shown(.0.as_str()))]
    NoStages(PipelineId),
    #[error("pipeline `{}` calls others more than {MAX_DEPTH} deep", shown(.0.as_str()))]
    TooDeep(PipelineId),
    #[error("pipeline `{}` holds more than {MAX_STAGES} stages, with those of the pipelines it calls", shown(.0.as_str()))]
    TooLong(PipelineId),
    /// What the configuration says about a pipeline that is part of the plan; it can draw a picture.
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Builtin(#[from] builtin::UnknownKind),
}

fn origin(named_by: NamedBy) -> String {
    match named_by {
        NamedBy::Flag => String::new(),
        NamedBy::Environment => format!(", which `{TARGET_VARIABLE}` asks for"),
    }
}

impl PlanError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownPipeline { name, exist } => {
                let ids = || exist.iter().map(PipelineId::as_str);
                let all = format!("pipelines here: {}", listing(ids()));
                Some(match nearest(name.as_str(), ids()) {
                    Some(near) => format!("did you mean `{}`? {all}", shown(near)),
                    None => all,
                })
            }
            Self::UnknownTarget { name, exist, .. } => {
                let names = || exist.iter().map(String::as_str);
                let all = format!("stages here: {}", listing(names()));
                let last = name.rsplit(':').next().unwrap_or(name);
                Some(match nearest(last, names()) {
                    Some(near) => format!("did you mean `{}`? {all}", shown(near)),
                    None => all,
                })
            }
            Self::NoStages(_) => Some("a run of nothing would prove nothing: add a stage".to_owned()),
            Self::TooDeep(_) | Self::TooLong(_) => None,
            Self::Config(error) => Some(error.hint().to_owned()),
            Self::Builtin(error) => Some(error.hint()),
        }
    }
}

/// How to get at a pipeline we ship, such as [`builtin::find`] on the files of a repository.
///
/// It tells a pipeline we do not ship (`None`) from one that does not fit the project (an error).
pub type Builtins<'a> = &'a dyn Fn(&PipelineId) -> Option<Result<Pipeline, builtin::UnknownKind>>;

/// Returns the pipeline that a request is about: the one named, else `defaultPipeline`, else `diagnostics`.
///
/// A pipeline of the configuration goes before one of ours with the same id.
pub fn choose(
    config: &Config,
    builtin: Builtins<'_>,
    name: Option<&PipelineId>,
) -> Result<Pipeline, PlanError> {
    let diagnostics = || builtin::DIAGNOSTICS.parse().expect("a word is an id");
    let name = name.or(config.default_pipeline.as_ref()).cloned().unwrap_or_else(diagnostics);
    find(config, builtin, &name)?.ok_or_else(|| unknown(config, &name))
}

fn unknown(config: &Config, name: &PipelineId) -> PlanError {
    let declared = config.pipelines.iter().map(|pipeline| pipeline.id.clone());
    let ours =
        builtin::IDS.iter().filter_map(|id| id.parse().ok()).filter(|id| config.pipeline(id).is_none());
    PlanError::UnknownPipeline { name: name.clone(), exist: declared.chain(ours).collect() }
}

fn find(config: &Config, builtin: Builtins<'_>, id: &PipelineId) -> Result<Option<Pipeline>, PlanError> {
    if let Some(flaw) = config.flaws.iter().find(|flaw| flaw.pipeline == *id) {
        return Err(flaw.error.clone().into());
    }
    match config.pipeline(id) {
        Some(pipeline) => Ok(Some(pipeline.clone())),
        None => Ok(builtin(id).transpose()?),
    }
}

impl Plan {
    /// Returns the plan of a pipeline of which nothing but the name is known: it has no stages yet.
    pub fn empty(pipeline: PipelineId, title: String, source: Source) -> Self {
        Self {
            pipeline,
            title,
            description: None,
            tags: Vec::new(),
            source,
            guardrails_required: true,
            jobs: None,
            timeout: None,
            reuse: None,
            budget: Budget::default(),
            evidence: Evidence::default(),
            learning: None,
            stages: Vec::new(),
            target: None,
            only_target: false,
            group: false,
        }
    }

    /// Makes the plan of a pipeline that was [chosen](choose).
    ///
    /// With a `target`, that stage alone will run. Without, every stage will, and the target of the plan is only
    /// recorded: the first stage that is marked as default, else the first runnable one, else the first.
    pub fn new(
        config: &Config,
        builtin: Builtins<'_>,
        pipeline: Pipeline,
        target: Option<&Target>,
    ) -> Result<Self, PlanError> {
        let mut room = MAX_STAGES;
        let mut plan = Self::resolve(config, builtin, pipeline, MAX_DEPTH, &mut room)?;
        plan.jobs = plan.jobs.or(config.jobs);
        if let Some(target) = target {
            plan.target = Some(plan.position(target)?);
            plan.only_target = true;
        }
        Ok(plan)
    }

    fn resolve(
        config: &Config,
        builtin: Builtins<'_>,
        pipeline: Pipeline,
        depth: usize,
        room: &mut usize,
    ) -> Result<Self, PlanError> {
        let Pipeline {
            id,
            title,
            description,
            tags,
            guardrails_required,
            jobs,
            timeout,
            reuse,
            stages,
            source,
        } = pipeline;
        if stages.is_empty() {
            return Err(PlanError::NoStages(id));
        }
        *room = room.checked_sub(stages.len()).ok_or_else(|| PlanError::TooLong(id.clone()))?;
        let mut planned = Vec::new();
        for (position, stage) in stages.into_iter().enumerate() {
            let child = match &stage.action {
                Action::Command(_) | Action::Manual { .. } => None,
                Action::Subpipeline { pipeline, optional } => match find(config, builtin, pipeline) {
                    Ok(Some(child)) => {
                        let depth = depth.checked_sub(1).ok_or_else(|| PlanError::TooDeep(id.clone()))?;
                        Some(Box::new(Self::resolve(config, builtin, child, depth, room)?))
                    }
                    // Diagnostics that fit no project do not exist for it.
                    Ok(None) | Err(PlanError::Builtin(_)) if *optional => None,
                    Ok(None) => return Err(unknown(config, pipeline)),
                    Err(err) => return Err(err),
                },
            };
            planned.push(PlannedStage { index: position + 1, stage, child });
        }
        let target = planned
            .iter()
            .position(|planned| planned.stage.hints.default_target)
            .or_else(|| planned.iter().position(|planned| planned.stage.hints.runnable))
            .or(Some(0));
        Ok(Self {
            pipeline: id,
            title,
            description,
            tags,
            source,
            guardrails_required,
            jobs,
            timeout,
            reuse,
            budget: config.budget,
            evidence: config.evidence.clone(),
            learning: None,
            stages: planned,
            target,
            only_target: false,
            group: false,
        })
    }

    /// Finds a stage by the id of its item, its own id, or an alias: as written before any other case, and the
    /// whole name before the part behind its last colon.
    fn position(&self, target: &Target) -> Result<usize, PlanError> {
        let name = target.name.as_str();
        let last = name.rsplit(':').next().unwrap_or(name);
        let find =
            |test: &dyn Fn(&Stage) -> bool| self.stages.iter().position(|planned| test(&planned.stage));
        let same = |one: &str, other: &str| one.to_lowercase() == other.to_lowercase();
        let alias =
            |stage: &Stage, name: &str| stage.hints.aliases.iter().any(|alias| same(alias.trim(), name));
        let found = find(&|stage| self.item_id(stage) == name)
            .or_else(|| find(&|stage| stage.id.as_str() == name))
            .or_else(|| find(&|stage| stage.id.as_str() == last))
            .or_else(|| find(&|stage| same(stage.id.as_str(), name)))
            .or_else(|| find(&|stage| same(stage.id.as_str(), last)))
            .or_else(|| find(&|stage| alias(stage, name)))
            .or_else(|| find(&|stage| alias(stage, last)));
        // Blank ids do not exist, blank aliases may.
        found.filter(|_| !last.is_empty()).ok_or_else(|| PlanError::UnknownTarget {
            name: name.to_owned(),
            named_by: target.named_by,
            pipeline: self.pipeline.clone(),
            exist: self
                .stages
                .iter()
                .flat_map(|PlannedStage { stage, .. }| {
                    std::iter::once(stage.id.as_str().to_owned()).chain(stage.hints.aliases.iter().cloned())
                })
                .collect(),
        })
    }

    /// Returns the stages that will run, in order.
    pub fn running(&self) -> impl Iterator<Item = &PlannedStage> {
        let only = self.target.filter(|_| self.only_target);
        let first = self.target.filter(|_| self.group);
        let rest = self
            .stages
            .iter()
            .enumerate()
            .filter(move |(at, _)| only.is_none_or(|only| only == *at) && first != Some(*at))
            .map(|(_, stage)| stage);
        first.and_then(|first| self.stages.get(first)).into_iter().chain(rest)
    }

    /// Returns what a group consists of: the stages that a plan may be about, in the order in which
    /// they run.
    pub fn subtasks(&self) -> impl Iterator<Item = &PlannedStage> {
        self.running().filter(|planned| planned.stage.hints.runnable)
    }

    /// Returns the id of the target, as `target_id` records it.
    pub fn target_id(&self) -> Option<String> {
        self.stages.get(self.target?).map(|planned| self.item_id(&planned.stage))
    }

    /// Returns the id of a stage in records: `<pipeline>:<stage>`.
    pub fn item_id(&self, stage: &Stage) -> String {
        format!("{}:{}", self.pipeline, stage.id)
    }

    /// Returns the plan as records and answers hold it.
    pub fn items(&self) -> PlanResult {
        let item = |(index, PlannedStage { stage, .. }): (usize, &PlannedStage)| {
            let requires_cloud = stage.hints.requires_cloud;
            PlanItem {
                id: self.item_id(stage),
                description: stage.title.clone(),
                requires_cloud,
                requires_cloud_camel: requires_cloud,
                runnable: stage.hints.runnable,
                metadata: PlanItemMetadata {
                    pipeline_id: self.pipeline.clone(),
                    stage_id: stage.id.clone(),
                    stage_kind: match stage.action {
                        Action::Command(_) => StageKind::Command,
                        Action::Subpipeline { .. } => StageKind::Subpipeline,
                        Action::Manual { .. } => StageKind::Manual,
                    },
                    index,
                    aliases: stage.hints.aliases.clone(),
                    default_target: stage.hints.default_target.then_some(true),
                    execution_mode: stage.hints.execution_mode.clone(),
                    requires_cloud,
                },
                selected: self.target == Some(index),
            }
        };
        PlanResult {
            items: self.stages.iter().enumerate().map(item).collect(),
            notes: self.description.clone(),
            target_id: self.target_id(),
        }
    }

    /// Returns one stable text of everything that decides what runs, for hashing.
    ///
    /// It holds ids, kinds, commands, folders, variables, what a failure does, what a stage needs, limits and
    /// retries, what somebody has to approve and by which instructions, called pipelines in full, the order of it all, and the stage to which a target restricts the run. It leaves out what only
    /// names, explains or labels: titles, descriptions, tags, summary hints, sessions, planner hints, and who
    /// declared a pipeline; and how many commands may run at the same time, and what they take of the machine's budget,
    /// which may differ when a run goes on.
    /// What a stage does not have stands nowhere in it, so that runs of older versions can go on.
    pub fn digest_input(&self) -> String {
        serde_json::to_string(&Digest {
            format: 1,
            only: self.target.filter(|_| self.only_target),
            plan: self.digest_pipeline(),
        })
        .expect("texts, numbers and maps with text keys are JSON")
    }

    fn digest_pipeline(&self) -> DigestPipeline<'_> {
        DigestPipeline {
            id: &self.pipeline,
            timeout: self.timeout,
            stages: self.stages.iter().map(PlannedStage::digest).collect(),
        }
    }
}

impl PlannedStage {
    /// Returns one stable text of what this stage does, for hashing: as in [`Plan::digest_input`].
    pub fn digest_input(&self) -> String {
        serde_json::to_string(&self.digest()).expect("texts, numbers and maps with text keys are JSON")
    }

    fn digest(&self) -> DigestStage<'_> {
        let Self { stage, child, .. } = self;
        match &stage.action {
            Action::Command(command) => DigestStage::Command {
                id: &stage.id,
                needs: &stage.needs,
                command: &command.command,
                cwd: command.cwd.as_deref(),
                env: &command.env,
                allow_failure: command.allow_failure,
                timeout: stage.timeout,
                retries: command.retries.as_ref(),
                memory_limit: command.memory_limit,
                approval: stage.needs_approval,
                fixes: command.fixes,
            },
            Action::Manual { instructions } => {
                let instructions = instructions.as_deref();
                DigestStage::Manual { id: &stage.id, needs: &stage.needs, instructions }
            }
            Action::Subpipeline { pipeline, optional } => DigestStage::Subpipeline {
                id: &stage.id,
                needs: &stage.needs,
                pipeline,
                optional: *optional,
                timeout: stage.timeout,
                approval: stage.needs_approval,
                child: child.as_ref().map(|child| child.digest_pipeline()),
            },
        }
    }
}

#[derive(Serialize)]
struct Digest<'a> {
    format: u32,
    only: Option<usize>,
    plan: DigestPipeline<'a>,
}

#[derive(Serialize)]
struct DigestPipeline<'a> {
    id: &'a PipelineId,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<Duration>,
    stages: Vec<DigestStage<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
enum DigestStage<'a> {
    Command {
        id: &'a StageId,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        needs: &'a [StageId],
        command: &'a str,
        cwd: Option<&'a str>,
        env: &'a BTreeMap<String, String>,
        allow_failure: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        timeout: Option<Duration>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retries: Option<&'a Retries>,
        #[serde(skip_serializing_if = "Option::is_none")]
        memory_limit: Option<u64>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        approval: bool,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        fixes: bool,
    },
    /// What somebody approves is what the instructions say.
    Manual {
        id: &'a StageId,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        needs: &'a [StageId],
        #[serde(skip_serializing_if = "Option::is_none")]
        instructions: Option<&'a str>,
    },
    Subpipeline {
        id: &'a StageId,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        needs: &'a [StageId],
        pipeline: &'a PipelineId,
        optional: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        timeout: Option<Duration>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        approval: bool,
        child: Option<DigestPipeline<'a>>,
    },
}

/// The plan in records and answers, with the names that readers of the reference know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlanResult {
    pub items: Vec<PlanItem>,
    /// The description of the pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    #[serde(rename = "targetId")]
    pub target_id: Option<String>,
}

/// One stage in a [`PlanResult`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlanItem {
    /// `<pipeline>:<stage>`.
    pub id: String,
    /// The title of the stage.
    pub description: String,
    pub requires_cloud: bool,
    #[serde(rename = "requiresCloud")]
    pub requires_cloud_camel: bool,
    pub runnable: bool,
    pub metadata: PlanItemMetadata,
    /// Whether it is the target.
    pub selected: bool,
}

/// More about one stage in a [`PlanResult`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanItemMetadata {
    pub pipeline_id: PipelineId,
    pub stage_id: StageId,
    pub stage_kind: StageKind,
    /// The position among the stages, from 0.
    pub index: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// There only if true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_target: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_mode: Option<String>,
    pub requires_cloud: bool,
}

/// What a stage does, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StageKind {
    Command,
    Subpipeline,
    Manual,
}

#[cfg(test)]
mod tests {
    use super::super::config;
    use super::*;

    const CONFIG: &str = r#"{
      "pipelines": [
        { "id": "ok", "description": "two stages", "stages": [
          { "kind": "command", "id": "hello", "title": "say hello", "command": "echo hello" },
          { "kind": "command", "id": "env check", "command": "env", "env": { "B": 1, "A": null }, "cwd": "scripts" } ] },
        { "id": "nested", "stages": [
          { "kind": "subpipeline", "id": "child", "pipeline": "ok" },
          { "kind": "subpipeline", "id": "absent", "pipeline": "nowhere", "optional": true },
          { "kind": "subpipeline", "id": "ours", "pipeline": "diagnostics", "optional": true } ] },
        { "id": "targets", "stages": [
          { "kind": "command", "id": "build", "command": "b", "plan": { "aliases": ["compile"], "runnable": false } },
          { "kind": "command", "id": "test:unit", "command": "t", "plan": { "defaultTarget": true, "requiresCloud": true } },
          { "kind": "command", "id": "Lint", "command": "l", "executionMode": "MCP" },
          { "kind": "command", "id": "lint", "command": "l2" } ] },
        { "id": "later", "stages": [
          { "kind": "command", "id": "a", "command": "a", "plan": { "runnable": false } },
          { "kind": "command", "id": "b", "command": "b" } ] },
        { "id": "never", "stages": [
          { "kind": "command", "id": "a", "command": "a", "plan": { "runnable": false } } ] },
        { "id": "empty", "stages": [] },
        { "id": "calls empty", "stages": [ { "kind": "subpipeline", "id": "a", "pipeline": "empty", "optional": true } ] },
        { "id": "loop", "stages": [ { "kind": "subpipeline", "id": "a", "pipeline": "loop" } ] } ],
      "defaultPipeline": "ok" }"#;

    fn config() -> Config {
        config::parse("codex.orchestrator.json", CONFIG).expect("well formed")
    }

    fn go(id: &PipelineId) -> Option<Result<Pipeline, builtin::UnknownKind>> {
        builtin::find(id, &|path| (path == "go.mod").then(String::new))
    }

    fn unknown_kind(id: &PipelineId) -> Option<Result<Pipeline, builtin::UnknownKind>> {
        builtin::find(id, &|_| None)
    }

    fn id(text: &str) -> PipelineId {
        text.parse().expect("an id")
    }

    fn plan_in(config: &Config, name: &str, target: Option<&str>) -> Result<Plan, PlanError> {
        let pipeline = choose(config, &go, Some(&id(name)))?;
        Plan::new(config, &go, pipeline, Target::named(target, None).as_ref())
    }

    fn plan(name: &str, target: Option<&str>) -> Result<Plan, PlanError> {
        plan_in(&config(), name, target)
    }

    fn ids(plan: &Plan) -> Vec<&str> {
        plan.running().map(|planned| planned.stage.id.as_str()).collect()
    }

    #[test]
    fn the_pipeline_is_the_named_one_else_the_default_else_diagnostics() {
        let chosen = |config: &Config, name: Option<&str>| {
            choose(config, &go, name.map(id).as_ref()).expect("exists").id
        };
        assert_eq!(chosen(&config(), Some("nested")), id("nested"));
        assert_eq!(chosen(&config(), None), id("ok"));
        assert_eq!(chosen(&config(), Some("diagnostics")), id("diagnostics"));
        assert_eq!(chosen(&Config::default(), None), id("diagnostics"));
    }

    #[test]
    fn a_declared_pipeline_replaces_ours() {
        let text = r#"{"pipelines": [{"id": "diagnostics", "stages": [{"kind": "command", "id": "x", "command": "x"}]}]}"#;
        let config = config::parse("x", text).expect("well formed");
        assert_eq!(choose(&config, &go, None).expect("exists").source, Source::User);
        assert_eq!(choose(&Config::default(), &go, None).expect("exists").source, Source::Default);
    }

    #[test]
    fn what_does_not_exist_is_an_error_that_lists_what_does() {
        let error = plan("nestd", None).unwrap_err();
        assert_eq!(error.to_string(), "no pipeline named `nestd`");
        insta::assert_snapshot!(error.hint().expect("a hint"), @"did you mean `nested`? pipelines here: ok, nested, targets, later, never, empty, calls empty, loop, diagnostics");

        let error = plan("targets", Some("complie")).unwrap_err();
        assert_eq!(error.to_string(), "no stage named `complie` in pipeline `targets`");
        insta::assert_snapshot!(error.hint().expect("a hint"), @"did you mean `compile`? stages here: build, compile, test:unit, Lint, lint");

        let target = Target::named(None, Some("nope"));
        let error = Plan::new(&config(), &go, choose(&config(), &go, None).expect("exists"), target.as_ref())
            .unwrap_err();
        insta::assert_snapshot!(error, @"no stage named `nope` in pipeline `ok`, which `CODEX_ORCHESTRATOR_TARGET_STAGE` asks for");

        let error = choose(&Config::default(), &unknown_kind, None).unwrap_err();
        assert_eq!(error, PlanError::Builtin(builtin::UnknownKind));
        assert!(error.hint().expect("a hint").contains(builtin::MINIMAL_CONFIG));
    }

    #[test]
    fn a_flaw_ends_the_plan_of_its_pipeline_and_of_callers() {
        for (name, message) in [
            ("empty", "codex.orchestrator.json:20:36: pipeline `empty` has no stages"),
            ("calls empty", "codex.orchestrator.json:20:36: pipeline `empty` has no stages"),
            ("loop", "codex.orchestrator.json:22:85: pipelines call each other in a circle: loop → loop"),
        ] {
            assert_eq!(plan(name, None).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn called_pipelines_are_part_of_the_plan() {
        let plan = plan("nested", None).expect("a plan");
        let children: Vec<_> =
            plan.stages.iter().map(|planned| planned.child.as_ref().map(|plan| ids(plan))).collect();
        assert_eq!(children, [Some(vec!["hello", "env check"]), None, Some(vec!["build", "lint", "test"])]);
        assert_eq!(plan.stages[2].index, 3);
        assert_eq!(plan.stages[2].child.as_ref().expect("planned").source, Source::Default);
    }

    #[test]
    fn optional_diagnostics_that_fit_no_project_are_absent() {
        let nested = choose(&config(), &unknown_kind, Some(&id("nested"))).expect("exists");
        assert!(Plan::new(&config(), &unknown_kind, nested, None).expect("a plan").stages[2].child.is_none());
    }

    #[test]
    fn without_a_target_everything_runs() {
        for (name, expected) in [("ok", 0), ("targets", 1), ("later", 1), ("never", 0)] {
            let plan = plan(name, None).expect("a plan");
            assert_eq!(plan.target, Some(expected), "{name}");
            assert_eq!(plan.running().count(), plan.stages.len(), "{name}");
        }
    }

    #[test]
    fn a_target_runs_alone() {
        let cases = [
            ("targets:build", "build"),
            ("anything:build", "build"),
            ("BUILD", "build"),
            ("  build ", "build"),
            ("targets:Compile", "build"),
            ("test:unit", "test:unit"),
            ("targets:test:unit", "test:unit"),
            ("Lint", "Lint"),
            ("lint", "lint"),
            ("LINT", "Lint"),
        ];
        for (target, expected) in cases {
            let plan = plan("targets", Some(target)).unwrap_or_else(|err| panic!("{target}: {err}"));
            assert!(plan.only_target);
            assert_eq!(ids(&plan), [expected], "{target}");
        }
        for target in ["", " ", "targets:", "unit", "nope"] {
            assert!(
                matches!(plan("targets", Some(target)), Err(PlanError::UnknownTarget { .. })),
                "{target:?}"
            );
        }
    }

    #[test]
    fn a_flag_goes_before_the_variable_and_a_blank_variable_is_none() {
        let by = |flag, variable| Target::named(flag, variable).map(|target| (target.name, target.named_by));
        assert_eq!(by(Some("a"), Some("b")), Some(("a".to_owned(), NamedBy::Flag)));
        assert_eq!(by(None, Some(" b ")), Some(("b".to_owned(), NamedBy::Environment)));
        assert_eq!(by(None, Some(" ")), None);
        assert_eq!(by(Some(""), None), Some((String::new(), NamedBy::Flag)));
    }

    #[test]
    fn items_have_the_names_of_the_reference() {
        let plan = plan("targets", None).expect("a plan");
        let mut items = plan.items();
        items.items.truncate(3);
        insta::assert_snapshot!(serde_json::to_string_pretty(&items).expect("JSON"), @r#"
        {
          "items": [
            {
              "id": "targets:build",
              "description": "build",
              "requires_cloud": false,
              "requiresCloud": false,
              "runnable": false,
              "metadata": {
                "pipelineId": "targets",
                "stageId": "build",
                "stageKind": "command",
                "index": 0,
                "aliases": [
                  "compile"
                ],
                "requiresCloud": false
              },
              "selected": false
            },
            {
              "id": "targets:test:unit",
              "description": "test:unit",
              "requires_cloud": true,
              "requiresCloud": true,
              "runnable": true,
              "metadata": {
                "pipelineId": "targets",
                "stageId": "test:unit",
                "stageKind": "command",
                "index": 1,
                "defaultTarget": true,
                "requiresCloud": true
              },
              "selected": true
            },
            {
              "id": "targets:Lint",
              "description": "Lint",
              "requires_cloud": false,
              "requiresCloud": false,
              "runnable": true,
              "metadata": {
                "pipelineId": "targets",
                "stageId": "Lint",
                "stageKind": "command",
                "index": 2,
                "executionMode": "mcp",
                "requiresCloud": false
              },
              "selected": false
            }
          ],
          "targetId": "targets:test:unit"
        }
        "#);
    }

    #[test]
    fn the_digest_input_is_stable() {
        insta::assert_snapshot!(plan("nested", None).expect("a plan").digest_input(), @r#"{"format":1,"only":null,"plan":{"id":"nested","stages":[{"kind":"subpipeline","id":"child","pipeline":"ok","optional":false,"child":{"id":"ok","stages":[{"kind":"command","id":"hello","command":"echo hello","cwd":null,"env":{},"allow_failure":false},{"kind":"command","id":"env check","command":"env","cwd":"scripts","env":{"A":"null","B":"1"},"allow_failure":false}]}},{"kind":"subpipeline","id":"absent","pipeline":"nowhere","optional":true,"child":null},{"kind":"subpipeline","id":"ours","pipeline":"diagnostics","optional":true,"child":{"id":"diagnostics","stages":[{"kind":"command","id":"build","command":"go build ./...","cwd":null,"env":{},"allow_failure":false},{"kind":"command","id":"lint","command":"go vet ./...","cwd":null,"env":{},"allow_failure":false},{"kind":"command","id":"test","command":"go test ./...","cwd":null,"env":{},"allow_failure":false}]}}]}}"#);
    }

    #[test]
    fn the_digest_input_changes_with_what_runs_and_with_nothing_else() {
        let base = plan("ok", None).expect("a plan").digest_input();
        let with = |from: &str, to: &str| {
            assert!(CONFIG.contains(from), "{from}");
            let config = config::parse("x", &CONFIG.replacen(from, to, 1)).expect("well formed");
            plan_in(&config, "ok", None).expect("a plan").digest_input()
        };
        for (from, to) in [
            ("echo hello", "echo hullo"),
            ("\"id\": \"hello\"", "\"id\": \"hallo\""),
            ("\"B\": 1", "\"B\": 2"),
            ("\"cwd\": \"scripts\"", "\"cwd\": \".\""),
            ("\"command\": \"env\"", "\"command\": \"env\", \"allowFailure\": true"),
            ("\"command\": \"env\"", "\"command\": \"env\", \"needs\": [\"hello\"]"),
            ("\"command\": \"env\"", "\"command\": \"env\", \"timeout\": 5"),
            ("\"command\": \"env\"", "\"command\": \"env\", \"retries\": 2"),
            ("\"command\": \"env\"", "\"command\": \"env\", \"memoryLimit\": \"1GiB\""),
            ("\"command\": \"env\"", "\"command\": \"env\", \"fixes\": true"),
            ("\"command\": \"env\"", "\"command\": \"env\", \"approval\": \"required\""),
            (
                r#""kind": "command", "id": "hello", "title": "say hello", "command": "echo hello""#,
                r#""kind": "manual", "id": "hello", "instructions": "say hello""#,
            ),
            ("\"description\": \"two stages\"", "\"timeout\": \"1h\""),
        ] {
            assert_ne!(with(from, to), base, "{to}");
        }
        for (from, to) in [
            ("say hello", "say so"),
            ("two stages", "2 stages"),
            ("\"description\": \"two stages\"", "\"jobs\": 8"),
            ("\"command\": \"env\"", "\"command\": \"env\", \"weight\": 2, \"resources\": [\"db\"]"),
            ("\"B\": 1, \"A\": null", "\"A\": \"null\", \"B\": \"1\""),
            ("\"command\": \"env\"", "\"summaryHint\": \"x\", \"mode\": \"cloud\", \"command\": \"env\""),
        ] {
            assert_eq!(with(from, to), base, "{to}");
        }
        assert_ne!(plan("ok", Some("hello")).expect("a plan").digest_input(), base);
    }

    #[test]
    fn plans_have_an_end() {
        let pipelines = |calls: usize, depth: usize| {
            let pipeline = |n: usize| {
                let stage = |k: usize| match n {
                    0 => format!(r#"{{"kind": "command", "id": "{k}", "command": "x"}}"#),
                    n => format!(r#"{{"kind": "subpipeline", "id": "{k}", "pipeline": "p{}"}}"#, n - 1),
                };
                format!(
                    r#"{{"id": "p{n}", "stages": [{}]}}"#,
                    (0..calls).map(stage).collect::<Vec<_>>().join(",")
                )
            };
            let all: Vec<_> = (0..=depth).map(pipeline).collect();
            config::parse("x", &format!(r#"{{"pipelines": [{}]}}"#, all.join(","))).expect("well formed")
        };
        let top = |config: &Config, depth: usize| plan_in(config, &format!("p{depth}"), None);
        assert!(top(&pipelines(1, MAX_DEPTH), MAX_DEPTH).is_ok());
        let deep = MAX_DEPTH + 1;
        assert_eq!(top(&pipelines(1, deep), deep), Err(PlanError::TooDeep(id("p1"))));
        assert!(matches!(top(&pipelines(8, 12), 12), Err(PlanError::TooLong(_))));
    }
}
