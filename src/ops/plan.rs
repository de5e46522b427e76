//! `plan`: what would run.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::Context;
use crate::id::PipelineId;
use crate::pipeline::config::{self, FILE_NAME};
use crate::pipeline::evidence::Evidence;
use crate::pipeline::plan::{self, Plan, Target};
use crate::pipeline::{Config, builtin};
use crate::sys::fs;

/// What to plan.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    pub pipeline: Option<PipelineId>,
    /// The stage that is to run alone.
    pub target: Option<String>,
    /// Whether `CODEX_ORCHESTRATOR_TARGET_STAGE` stands in for a target that is not given. A run that
    /// goes on is about what it was about when it began.
    pub target_of_environment: bool,
}

/// Returns the plan. Writes nothing.
pub fn plan(ctx: &Context, options: &PlanOptions) -> Result<Plan> {
    let variable = ctx.env.get(plan::TARGET_VARIABLE).filter(|_| options.target_of_environment);
    choose(&load(ctx)?, &|name| read(ctx, name), options, variable)
}

/// The project as a commit or tree has it, without checking it out.
pub struct Project<'a> {
    ctx: &'a Context,
    /// In hex.
    of: String,
    /// Its configuration as it stands there, if there is one.
    pub text: Option<Vec<u8>>,
    pub config: Config,
}

impl<'a> Project<'a> {
    /// Reads the configuration of a commit; errors name that.
    pub fn at(ctx: &'a Context, commit: &str) -> Result<Self> {
        Self::named(ctx, commit, &format!("{FILE_NAME} of {}", crate::id::short(commit)))
    }

    fn named(ctx: &'a Context, of: &str, name: &str) -> Result<Self> {
        let mut project = Self { ctx, of: of.to_owned(), text: None, config: Config::default() };
        project.text = project.file(FILE_NAME)?;
        if let Some(text) = &project.text {
            project.config = config::parse(name, &String::from_utf8_lossy(text))?;
        }
        Ok(project)
    }

    /// Whether there was ever a configuration at a commit or before it.
    pub fn was_ever_at(ctx: &Context, commit: &str) -> Result<bool> {
        Ok(ctx.repo.ever_had(commit, inside(ctx).join(FILE_NAME))?)
    }

    fn file(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.ctx.repo.file_behind(&self.of, inside(self.ctx).join(name))?)
    }

    /// Returns the plan that it declares.
    pub fn plan(&self, options: &PlanOptions) -> Result<Plan> {
        let read = |name: &str| Some(String::from_utf8_lossy(&self.file(name).ok().flatten()?).into_owned());
        choose(&self.config, &read, options, None)
    }
}

/// Returns where the project lies in its repository.
fn inside(ctx: &Context) -> &Path {
    ctx.layout.root.strip_prefix(ctx.repo.work_tree()).unwrap_or(Path::new(""))
}

/// Returns the plan of the project as a tree has it, without checking it out.
pub fn plan_of_tree(ctx: &Context, tree: &str, options: &PlanOptions) -> Result<Plan> {
    Project::named(ctx, tree, FILE_NAME)?.plan(options)
}

/// Returns the plan of what a configuration declares. `read` returns the text of a file of the project, and
/// `variable` is the target that the environment names.
fn choose(
    config: &Config,
    read: &dyn Fn(&str) -> Option<String>,
    options: &PlanOptions,
    variable: Option<&str>,
) -> Result<Plan> {
    let builtins = |id: &PipelineId| builtin::find(id, read);
    let pipeline = plan::choose(config, &builtins, options.pipeline.as_ref())?;
    let target = Target::named(options.target.as_deref(), variable);
    Ok(Plan::new(config, &builtins, pipeline, target.as_ref())?)
}

/// All that a commit declares.
#[derive(Clone, Debug)]
pub struct Declares {
    /// What runs by default; nothing if that cannot run.
    pub default: Option<Plan>,
    /// Every other pipeline that can run.
    pub others: Vec<Plan>,
    pub evidence: Evidence,
}

/// Returns what a commit declares, without checking it out; nothing if it declares no pipeline and none of ours fits
/// it.
pub fn declared_at(ctx: &Context, commit: &str) -> Result<Option<Declares>> {
    let inside = ctx.layout.root.strip_prefix(ctx.repo.work_tree()).unwrap_or(Path::new(""));
    let read = |name: &str| ctx.repo.file_behind(commit, inside.join(name));
    let config = match read(FILE_NAME)? {
        Some(text) => Some(config::parse(FILE_NAME, &String::from_utf8_lossy(&text))?),
        None => None,
    };
    let is_declared = config.is_some();
    let config = config.unwrap_or_default();
    let text = |name: &str| Some(String::from_utf8_lossy(&read(name).ok().flatten()?).into_owned());
    let builtins = |id: &PipelineId| builtin::find(id, &text);
    let of = |pipeline| Plan::new(&config, &builtins, pipeline, None).ok();
    let default = plan::choose(&config, &builtins, None).ok().and_then(of);
    let is_default = |id: &PipelineId| default.as_ref().is_some_and(|plan| plan.pipeline == *id);
    let others = config.pipelines.iter().filter(|pipeline| !is_default(&pipeline.id)).cloned();
    let others: Vec<_> = others.filter_map(of).collect();
    if !is_declared && default.is_none() {
        return Ok(None);
    }
    Ok(Some(Declares { default, others, evidence: config.evidence.clone() }))
}

/// Returns the text of a file of the project, by its path relative to the root, if there is one.
pub fn read(ctx: &Context, name: &str) -> Option<String> {
    let bytes = fs::read_if_there(&ctx.root.join(name)).ok().flatten()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns what the project declares; nothing if it has no configuration.
pub fn load(ctx: &Context) -> Result<Config> {
    let path = ctx.root.join(FILE_NAME);
    let Some(bytes) = fs::read_if_there(&path).context("cannot read the configuration")? else {
        return Ok(Config::default());
    };
    let text = String::from_utf8(bytes).map_err(|err| {
        super::Refusal::new(
            super::Kind::Usage,
            format!("`{}` is no UTF-8 text: {}", path.display(), err.utf8_error()),
        )
        .hint("save it as UTF-8")
    })?;
    Ok(config::parse(FILE_NAME, &text)?)
}
