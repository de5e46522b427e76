//! The answer of `plan`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::num::NonZeroU16;

use schemars::JsonSchema;
use serde::Serialize;

use super::printer::Answer;
use crate::id::StageId;
use crate::output::untrusted::untrusted;
use crate::pipeline::plan::{Plan, PlanResult, PlannedStage};
use crate::pipeline::{Action, Command, Source};

/// A plan to show.
pub struct Planned<'a>(pub &'a Plan);

/// The document (`contract-core.md` §2.5).
#[derive(Serialize, JsonSchema)]
pub struct Document {
    pipeline: Pipeline,
    stages: Vec<Stage>,
    plan: PlanResult,
    #[serde(rename = "targetId")]
    target_id: Option<String>,
    /// Whether the target alone runs.
    partial: bool,
    /// How many commands may run at the same time.
    jobs: NonZeroU16,
}

#[derive(Serialize, JsonSchema)]
struct Pipeline {
    id: String,
    title: String,
    description: Option<String>,
    source: Source,
}

#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Stage {
    #[serde(rename_all = "camelCase")]
    Command {
        index: usize,
        id: String,
        title: String,
        kind: &'static str,
        /// The stages that must end well before this one begins; left out if there are none.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        needs: Vec<String>,
        command: String,
        cwd: Option<String>,
        env: Option<BTreeMap<String, String>>,
        allow_failure: bool,
        summary_hint: Option<String>,
    },
    Subpipeline {
        index: usize,
        id: String,
        title: String,
        kind: &'static str,
        /// The stages that must end well before this one begins; left out if there are none.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        needs: Vec<String>,
        pipeline: String,
        optional: bool,
        /// How many commands of the called pipeline may run at the same time, if it says so.
        #[serde(skip_serializing_if = "Option::is_none")]
        jobs: Option<NonZeroU16>,
        /// The stages of the called pipeline, frozen with the plan.
        stages: Vec<Stage>,
    },
}

fn stages(plan: &Plan) -> Vec<Stage> {
    plan.stages.iter().map(stage).collect()
}

fn stage(planned: &PlannedStage) -> Stage {
    let PlannedStage { index, stage, child } = planned;
    let (index, id, title) = (*index, stage.id.to_string(), stage.title.clone());
    let needs = stage.needs.iter().map(ToString::to_string).collect();
    match &stage.action {
        Action::Command(Command { command, cwd, env, allow_failure, summary_hint, .. }) => Stage::Command {
            index,
            id,
            title,
            kind: "command",
            needs,
            command: command.clone(),
            cwd: cwd.clone(),
            env: (!env.is_empty()).then(|| env.clone()),
            allow_failure: *allow_failure,
            summary_hint: summary_hint.clone(),
        },
        Action::Subpipeline { pipeline, optional } => Stage::Subpipeline {
            index,
            id,
            title,
            kind: "subpipeline",
            needs,
            pipeline: pipeline.to_string(),
            optional: *optional,
            jobs: child.as_deref().and_then(|child| child.jobs),
            stages: child.as_deref().map(stages).unwrap_or_default(),
        },
    }
}

impl Answer for Planned<'_> {
    type Document = Document;

    fn document(&self) -> Document {
        let plan = self.0;
        Document {
            pipeline: Pipeline {
                id: plan.pipeline.to_string(),
                title: plan.title.clone(),
                description: plan.description.clone(),
                source: plan.source,
            },
            stages: stages(plan),
            plan: plan.items(),
            target_id: plan.target_id(),
            partial: plan.only_target,
            jobs: plan.jobs.unwrap_or(NonZeroU16::MIN),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let plan = self.0;
        let source = match plan.source {
            Source::User => "user",
            Source::Default => "default",
            Source::CommandLine => "command line",
        };
        writeln!(
            out,
            "Pipeline: {} — {} [{source}]",
            untrusted(plan.pipeline.as_str()),
            untrusted(&plan.title)
        )?;
        if let Some(description) = &plan.description {
            writeln!(out, "{}", untrusted(description).with_lines())?;
        }
        if let Some(jobs) = plan.jobs {
            writeln!(out, "Jobs: {jobs}")?;
        }
        writeln!(out, "Stages:")?;
        text(plan, out, 0)
    }
}

fn text(plan: &Plan, out: &mut dyn Write, depth: usize) -> io::Result<()> {
    let indent = "   ".repeat(depth);
    let running: Vec<_> = plan.running().map(|planned| planned.index).collect();
    for planned in &plan.stages {
        let PlannedStage { index, stage, child } = planned;
        let kind = match &stage.action {
            Action::Command(_) => "command",
            Action::Subpipeline { .. } => "subpipeline",
        };
        let left_out = if running.contains(index) { "" } else { " — left out" };
        writeln!(
            out,
            "{indent}{index}. [{kind}] {} ({}){left_out}",
            untrusted(&stage.title),
            untrusted(stage.id.as_str())
        )?;
        if !stage.needs.is_empty() {
            let needs: Vec<_> = stage.needs.iter().map(StageId::as_str).collect();
            writeln!(out, "{indent}   needs: {}", untrusted(&needs.join(", ")))?;
        }
        match &stage.action {
            Action::Command(action) => {
                writeln!(out, "{indent}   command: {}", untrusted(&action.command))?;
                if let Some(cwd) = &action.cwd {
                    writeln!(out, "{indent}   cwd: {}", untrusted(cwd))?;
                }
                if !action.env.is_empty() {
                    let env: Vec<_> =
                        action.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
                    writeln!(out, "{indent}   env: {}", untrusted(&env.join(", ")))?;
                }
                if action.allow_failure {
                    writeln!(out, "{indent}   allowFailure: true")?;
                }
                if let Some(hint) = &action.summary_hint {
                    writeln!(out, "{indent}   summaryHint: {}", untrusted(hint))?;
                }
            }
            Action::Subpipeline { pipeline, optional } => {
                writeln!(out, "{indent}   pipeline: {}", untrusted(pipeline.as_str()))?;
                if *optional {
                    writeln!(out, "{indent}   optional: true")?;
                }
                if let Some(jobs) = child.as_deref().and_then(|child| child.jobs) {
                    writeln!(out, "{indent}   jobs: {jobs}")?;
                }
                match child {
                    Some(child) => text(child, out, depth + 1)?,
                    None => writeln!(out, "{indent}   (there is no such pipeline)")?,
                }
            }
        }
    }
    Ok(())
}
