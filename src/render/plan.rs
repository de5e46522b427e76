//! The answer of `plan`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::num::NonZeroU16;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::printer::Answer;
use crate::id::{ResourceId, StageId};
use crate::output::untrusted::untrusted;
use crate::pipeline::budget::Jobserver;
use crate::pipeline::endurance::{Retries, shown_bytes, shown_duration};
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
    /// How many seconds the stages may take in all.
    timeout: Option<f64>,
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
        /// How many seconds the stage may take.
        #[serde(skip_serializing_if = "Option::is_none")]
        timeout: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retries: Option<PlannedRetries>,
        /// How many bytes of memory its processes may have.
        #[serde(skip_serializing_if = "Option::is_none")]
        memory_limit: Option<u64>,
        /// Whether it mends what it finds; left out if not.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        fixes: bool,
        /// How many tokens of the machine's budget it takes; one if left out.
        #[serde(skip_serializing_if = "Option::is_none")]
        weight: Option<NonZeroU16>,
        /// What nobody else may use meanwhile.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        resources: Vec<ResourceId>,
        /// Whether it is handed a jobserver and how, if it says so.
        #[serde(skip_serializing_if = "Option::is_none")]
        jobserver: Option<Jobserver>,
        /// `required`: somebody has to approve it before it begins.
        #[serde(skip_serializing_if = "Option::is_none")]
        approval: Option<&'static str>,
    },
    Manual {
        index: usize,
        id: String,
        title: String,
        kind: &'static str,
        /// The stages that must end well before this one begins; left out if there are none.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        needs: Vec<String>,
        /// What whoever is asked should do or look at.
        instructions: Option<String>,
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
        /// How many seconds the child run may take.
        #[serde(skip_serializing_if = "Option::is_none")]
        timeout: Option<f64>,
        /// `required`: somebody has to approve it before it begins.
        #[serde(skip_serializing_if = "Option::is_none")]
        approval: Option<&'static str>,
        /// The stages of the called pipeline, frozen with the plan.
        stages: Vec<Stage>,
    },
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct PlannedRetries {
    max: u32,
    /// Seconds to wait at most before the first retry.
    delay: f64,
    /// Seconds to wait at most before any.
    max_delay: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    transient: Option<PlannedTransient>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct PlannedTransient {
    exit_codes: Vec<u8>,
    patterns: Vec<String>,
}

fn retries(Retries { max, delay, max_delay, transient }: &Retries) -> PlannedRetries {
    PlannedRetries {
        max: *max,
        delay: delay.as_secs_f64(),
        max_delay: max_delay.as_secs_f64(),
        transient: transient.as_ref().map(|transient| PlannedTransient {
            exit_codes: transient.exit_codes.clone(),
            patterns: transient.patterns.clone(),
        }),
    }
}

fn stages(plan: &Plan) -> Vec<Stage> {
    plan.stages.iter().map(stage).collect()
}

fn stage(planned: &PlannedStage) -> Stage {
    let PlannedStage { index, stage, child } = planned;
    let (index, id, title) = (*index, stage.id.to_string(), stage.title.clone());
    let needs = stage.needs.iter().map(ToString::to_string).collect();
    let approval = stage.needs_approval.then_some("required");
    match &stage.action {
        Action::Manual { instructions } => {
            Stage::Manual { index, id, title, kind: "manual", needs, instructions: instructions.clone() }
        }
        Action::Command(Command {
            command,
            cwd,
            env,
            allow_failure,
            summary_hint,
            retries: again,
            memory_limit,
            fixes,
            share,
            ..
        }) => Stage::Command {
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
            timeout: stage.timeout.as_ref().map(Duration::as_secs_f64),
            retries: again.as_ref().map(retries),
            memory_limit: *memory_limit,
            fixes: *fixes,
            weight: share.weight,
            resources: share.resources.clone(),
            jobserver: share.jobserver,
            approval,
        },
        Action::Subpipeline { pipeline, optional } => Stage::Subpipeline {
            index,
            id,
            title,
            kind: "subpipeline",
            needs,
            pipeline: pipeline.to_string(),
            optional: *optional,
            timeout: child_timeout(planned).as_ref().map(Duration::as_secs_f64),
            jobs: child.as_deref().and_then(|child| child.jobs),
            approval,
            stages: child.as_deref().map(stages).unwrap_or_default(),
        },
    }
}

/// Returns how long a child run may take: both the stage and the pipeline may say it.
fn child_timeout(PlannedStage { stage, child, .. }: &PlannedStage) -> Option<Duration> {
    stage.timeout.into_iter().chain(child.as_ref().and_then(|child| child.timeout)).min()
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
            timeout: plan.timeout.as_ref().map(Duration::as_secs_f64),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let plan = self.0;
        let source = match plan.source {
            Source::User => "user",
            Source::Default => "default",
            Source::CommandLine => "command line",
            Source::SetUp => "set-up",
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
        if let Some(timeout) = plan.timeout {
            writeln!(out, "Timeout: {}", shown_duration(timeout))?;
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
            Action::Manual { .. } => "manual",
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
        if stage.needs_approval {
            writeln!(out, "{indent}   approval: required")?;
        }
        match &stage.action {
            Action::Manual { instructions } => {
                if let Some(instructions) = instructions {
                    writeln!(out, "{indent}   instructions: {}", untrusted(instructions))?;
                }
            }
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
                if let Some(timeout) = stage.timeout {
                    writeln!(out, "{indent}   timeout: {}", shown_duration(timeout))?;
                }
                if let Some(again) = &action.retries {
                    let (delay, longest) = (shown_duration(again.delay), shown_duration(again.max_delay));
                    write!(out, "{indent}   retries: {} (delay {delay}, at most {longest})", again.max)?;
                    if let Some(transient) = &again.transient {
                        let codes = transient.exit_codes.iter().map(|code| format!("code {code}"));
                        let patterns = transient.patterns.iter().map(|pattern| format!("/{pattern}/"));
                        let listed = codes.chain(patterns).collect::<Vec<_>>().join(", ");
                        write!(out, " after {}", untrusted(&listed))?;
                    }
                    writeln!(out)?;
                }
                if let Some(limit) = action.memory_limit {
                    writeln!(out, "{indent}   memoryLimit: {}", shown_bytes(limit))?;
                }
                if action.fixes {
                    writeln!(out, "{indent}   fixes: true")?;
                }
                if let Some(weight) = action.share.weight {
                    writeln!(out, "{indent}   weight: {weight}")?;
                }
                match action.share.jobserver {
                    None | Some(Jobserver::Pipe) => {}
                    Some(Jobserver::Nothing) => writeln!(out, "{indent}   jobserver: none")?,
                    Some(Jobserver::Fifo) => writeln!(out, "{indent}   jobserver: by a path")?,
                }
                if !action.share.resources.is_empty() {
                    let names: Vec<_> = action.share.resources.iter().map(ResourceId::as_str).collect();
                    writeln!(out, "{indent}   resources: {}", untrusted(&names.join(", ")))?;
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
                if let Some(timeout) = child_timeout(planned) {
                    writeln!(out, "{indent}   timeout: {}", shown_duration(timeout))?;
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
