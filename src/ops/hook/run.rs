//! What is missing, run in a clean side worktree at the pushed tree.

use anyhow::Result;

use super::super::host::{ReuseOptions, SharedWatch};
use super::super::metrics::usual;
use super::super::plan::{PlanOptions, Project, plan};
use super::super::side::{Side, There};
use super::super::start::{Asked, Pace, StartOptions, with_interrupts};
use super::super::{Context, Kind, Refusal};
use super::proof::{StageState, State};
use super::required::Wanted;
use crate::git::{Commit, Upkeep};
use crate::id::{PipelineId, TaskId};
use crate::run::manifest::Manifest;
use crate::run::status::RunStatus;
use crate::runner::interrupt::Interrupt;

/// What is to be run at one commit.
#[derive(Clone, Debug)]
pub struct Todo {
    pub commit: Commit,
    pub pipelines: Vec<TodoPipeline>,
}

/// What is to be run of one pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TodoPipeline {
    pub pipeline: PipelineId,
    /// Stages in order, by name; all of the pipeline at once if there are none here.
    pub stages: Vec<String>,
    /// All that will run, by name.
    names: Vec<String>,
}

impl TodoPipeline {
    /// Returns what has to run so that what is missing is proven: that, and what it needs. A clean worktree
    /// has nothing that other stages made before.
    pub fn of(wanted: &Wanted, states: &[StageState]) -> Option<Self> {
        let stages = &wanted.plan.stages;
        let mut needed = vec![false; stages.len()];
        for state in states.iter().filter(|state| state.pipeline == wanted.plan.pipeline) {
            if let State::Missing(why) = &state.state {
                needed[state.at] |= why.can_be_run();
            }
        }
        let mut waiting: Vec<_> = (0..stages.len()).filter(|at| needed[*at]).collect();
        while let Some(at) = waiting.pop() {
            for need in &stages[at].stage.needs {
                if let Some(other) = stages.iter().position(|planned| planned.stage.id == *need)
                    && !std::mem::replace(&mut needed[other], true)
                {
                    waiting.push(other);
                }
            }
        }
        let chosen = stages.iter().zip(&needed).filter(|(_, needed)| **needed);
        let names: Vec<_> = chosen.map(|(planned, _)| planned.stage.id.to_string()).collect();
        if names.is_empty() {
            return None;
        }
        let all = names.len() == stages.len();
        let stages = if all { Vec::new() } else { names.clone() };
        Some(Self { pipeline: wanted.plan.pipeline.clone(), stages, names })
    }
}

/// How to run it.
#[derive(Clone, Debug)]
pub struct RunOptions {
    pub task: TaskId,
    pub pace: Pace,
    /// Whether to wait for a run that runs the same right now.
    pub join: bool,
    /// What becomes of what is in the side worktree and in no commit.
    pub upkeep: Upkeep,
    /// Variables on which a verdict depends besides those that the configuration names.
    pub variables: Vec<String>,
    /// The commit whose configuration says what the stages do, if it is not the one that is checked out.
    pub configuration: Option<String>,
}

/// What was run.
#[derive(Debug, Default)]
pub struct Ran {
    pub manifests: Vec<Manifest>,
    /// The signal that ended it.
    pub interrupt: Option<Interrupt>,
}

impl Ran {
    /// Whether nothing failed.
    pub fn is_good(&self) -> bool {
        self.interrupt.is_none() && self.manifests.iter().all(|it| it.status == RunStatus::Succeeded)
    }
}

/// Returns how many seconds that usually takes, from the metrics of all worktrees; nothing if one of the stages
/// was never measured.
pub fn usual_seconds(ctx: &Context, todos: &[Todo]) -> Result<Option<f64>> {
    let wanted: Vec<_> = todos
        .iter()
        .flat_map(|todo| &todo.pipelines)
        .flat_map(|it| it.names.iter().map(|name| (it.pipeline.as_str(), name.as_str())))
        .collect();
    usual(ctx, &wanted)
}

/// Runs it, and ends with the first run that fails.
pub fn run(ctx: &Context, todos: &[Todo], options: &RunOptions, watch: &SharedWatch) -> Result<Ran> {
    ctx.layout.check(&options.task)?;
    with_interrupts(async |interrupts| {
        let mut side = Side::take(ctx, watch)?.keep(options.upkeep);
        let mut ran = Ran::default();
        for todo in todos {
            interrupts.catch_up().await;
            ran.interrupt = interrupts.first();
            if ran.interrupt.is_some() {
                return Ok(ran);
            }
            let there = match side.ready_at(ctx, &todo.commit, &options.task, watch, interrupts).await? {
                There::Ready(there) => there,
                not_ready => {
                    if let There::Failed(manifest) = not_ready {
                        ran.manifests.push(*manifest);
                    }
                    ran.interrupt = interrupts.first();
                    return Ok(ran);
                }
            };
            for (pipeline, target) in todo.pipelines.iter().flat_map(TodoPipeline::runs) {
                let start = options.start(pipeline, target);
                let planned = PlanOptions {
                    pipeline: start.pipeline.clone(),
                    target: start.target.clone(),
                    target_of_environment: false,
                };
                let mut plan = match &options.configuration {
                    Some(of) => Project::at(ctx, of)?.plan(&planned)?,
                    None => plan(&there, &planned)?,
                };
                plan.evidence.variables.extend(options.variables.iter().cloned());
                let asked = Asked { plan, options: &start, series: None };
                let execution = asked.execute(&there, watch.clone(), interrupts, |run| side.used_by(run));
                let manifest = execution.await?.manifest;
                side.used(&manifest, watch)?;
                ran.manifests.push(manifest);
                ran.interrupt = interrupts.first();
                if !ran.is_good() {
                    return Ok(ran);
                }
            }
        }
        Ok(ran)
    })
}

impl TodoPipeline {
    /// Returns the runs that this takes, with the stage that each is about alone.
    fn runs(&self) -> Vec<(&PipelineId, Option<&String>)> {
        match self.stages.as_slice() {
            [] => vec![(&self.pipeline, None)],
            stages => stages.iter().map(|stage| (&self.pipeline, Some(stage))).collect(),
        }
    }
}

impl RunOptions {
    fn start(&self, pipeline: &PipelineId, target: Option<&String>) -> StartOptions {
        StartOptions {
            task: self.task.clone(),
            pipeline: Some(pipeline.clone()),
            target: target.cloned(),
            parent_run: None,
            approval_policy: None,
            pace: self.pace,
            reuse: ReuseOptions { reuse: Some(false), join: Some(self.join) },
            notes: None,
        }
    }
}

/// Returns the task that runs belong to which nobody asked for by name.
pub fn task(ctx: &Context) -> Result<TaskId> {
    match ctx.env.get("MCP_RUNNER_TASK_ID").filter(|text| !text.is_empty()) {
        None => Ok("0101".parse().expect("digits are a task id")),
        Some(text) => Ok(text.parse::<TaskId>().map_err(|err| {
            Refusal::new(Kind::Usage, format!("MCP_RUNNER_TASK_ID: {err}"))
                .hint("unset it, or set it to an id such as 0901-issue-validation")
        })?),
    }
}
