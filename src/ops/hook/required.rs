//! The names that a gate requires → stages of plans.

use anyhow::Result;

use super::super::Refusal;
use super::super::plan::{PlanOptions, Project};
use crate::id::PipelineId;
use crate::pipeline::config::FILE_NAME;
use crate::pipeline::plan::{Plan, PlanError, PlannedStage};
use crate::pipeline::{Action, listing, nearest};

/// Stages of one pipeline that are required.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub plan: Plan,
    pub stages: Vec<WantedStage>,
}

/// One stage that is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedStage {
    /// Its position in the plan, from 0.
    pub at: usize,
    /// Whether its pipeline is required, which passes without it.
    pub may_fail: bool,
}

impl Wanted {
    /// All of a pipeline.
    pub fn whole(plan: Plan) -> Self {
        let stages = plan.stages.iter().enumerate();
        let stages = stages.map(|(at, planned)| WantedStage { at, may_fail: may_fail(planned) }).collect();
        Self { plan, stages }
    }

    /// Returns a stage of the plan.
    pub fn stage(&self, at: usize) -> &PlannedStage {
        &self.plan.stages[at]
    }
}

/// Finds what names stand for: a stage of the default pipeline, else a pipeline, else a stage of the one
/// pipeline that has it.
pub fn required(project: &Project<'_>, names: &[String]) -> Result<Vec<Wanted>> {
    let mut found = Found { project, wanted: Vec::new() };
    for name in names {
        found.add(name)?;
    }
    Ok(found.wanted)
}

struct Found<'a, 'b> {
    project: &'a Project<'b>,
    wanted: Vec<Wanted>,
}

impl Found<'_, '_> {
    fn add(&mut self, name: &str) -> Result<()> {
        if let Some((pipeline, stage)) = name.split_once(':')
            && let Some(plan) = self.pipeline(pipeline)?
        {
            let Some(at) = position(&plan, stage) else {
                let ids = || plan.stages.iter().map(|planned| planned.stage.id.as_str());
                let hint = format!("stages of `{pipeline}`: {}", listing(ids()));
                return Err(unknown(name).hint(hint).into());
            };
            self.want(plan, at, false);
            return Ok(());
        }
        let default = self.plan(None)?;
        if let Some(plan) = &default
            && let Some(at) = position(plan, name)
        {
            self.want(plan.clone(), at, false);
            return Ok(());
        }
        if let Some(plan) = self.pipeline(name)? {
            for (at, planned) in plan.stages.iter().enumerate() {
                self.want(plan.clone(), at, may_fail(planned));
            }
            return Ok(());
        }
        let declared = self.project.config.pipelines.iter();
        let with: Vec<_> =
            declared.filter(|it| it.stages.iter().any(|stage| stage.id.as_str() == name)).collect();
        match with.as_slice() {
            [only] => {
                if let Some(plan) = self.plan(Some(&only.id))?
                    && let Some(at) = position(&plan, name)
                {
                    self.want(plan, at, false);
                }
                Ok(())
            }
            [] => Err(unknown(name).hint(self.known(name, default.as_ref())).into()),
            several => {
                let names: Vec<_> = several.iter().map(|it| format!("`{}:{name}`", it.id)).collect();
                let message =
                    format!("`require` names `{}`, which several pipelines have", name.escape_debug());
                Err(Refusal::usage(message).hint(format!("write {}", names.join(" or "))).into())
            }
        }
    }

    fn known(&self, name: &str, default: Option<&Plan>) -> String {
        let stages = default.into_iter().flat_map(|plan| plan.stages.iter().map(|it| it.stage.id.as_str()));
        let pipelines = self.project.config.pipelines.iter().map(|pipeline| pipeline.id.as_str());
        let names: Vec<_> = stages.chain(pipelines).collect();
        match nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => format!("`{FILE_NAME}` declares no stage there"),
            None => format!("there are: {}", listing(names)),
        }
    }

    fn want(&mut self, plan: Plan, at: usize, may_fail: bool) {
        let known = self.wanted.iter_mut().find(|wanted| wanted.plan.pipeline == plan.pipeline);
        match known {
            Some(wanted) => match wanted.stages.iter_mut().find(|stage| stage.at == at) {
                // Who names a stage means that it passes.
                Some(stage) => stage.may_fail &= may_fail,
                None => {
                    wanted.stages.push(WantedStage { at, may_fail });
                    wanted.stages.sort_by_key(|stage| stage.at);
                }
            },
            None => self.wanted.push(Wanted { plan, stages: vec![WantedStage { at, may_fail }] }),
        }
    }

    fn pipeline(&self, name: &str) -> Result<Option<Plan>> {
        match name.parse::<PipelineId>() {
            Ok(id) => self.plan(Some(&id)),
            Err(_) => Ok(None),
        }
    }

    /// Returns the plan of a pipeline, if there is one of that name.
    fn plan(&self, id: Option<&PipelineId>) -> Result<Option<Plan>> {
        match self.project.plan(&PlanOptions { pipeline: id.cloned(), ..PlanOptions::default() }) {
            Ok(plan) => Ok(Some(plan)),
            Err(err) => match err.downcast_ref::<PlanError>() {
                // Our own diagnostics may fit no project.
                Some(PlanError::UnknownPipeline { .. } | PlanError::Builtin(_)) => Ok(None),
                _ => Err(err),
            },
        }
    }
}

fn position(plan: &Plan, id: &str) -> Option<usize> {
    plan.stages.iter().position(|planned| planned.stage.id.as_str() == id)
}

fn may_fail(planned: &PlannedStage) -> bool {
    match &planned.stage.action {
        Action::Command(command) => command.allow_failure,
        Action::Subpipeline { optional, .. } => *optional,
        Action::Manual { .. } => false,
    }
}

fn unknown(name: &str) -> Refusal {
    let message = format!("`require` names `{}`, which is no stage and no pipeline", name.escape_debug());
    Refusal::usage(message)
}
