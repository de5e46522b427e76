//! The manifest that a run begins with.

use serde_json::json;

use super::reuse::ReuseOptions;
use super::shared::Shared;
use crate::id::RunId;
use crate::ops::instructions;
use crate::output::mask::MaskMode;
use crate::pipeline::plan::{Plan, PlannedStage};
use crate::pipeline::{Action, Source};
use crate::run::exec::GroupNames;
use crate::run::git_keys::GitKeys;
use crate::run::liveness::{HEARTBEAT_SECONDS, STALE_SECONDS};
use crate::run::manifest::{Manifest, PlanRecord, Privacy, PrivacyTotals, ProofKeys, Scheduler, StageEntry};
use crate::run::stamp::Stamp;
use crate::run::status::RunStatus;
use crate::runner::Limits;
use crate::store::layout::RunPaths;
use crate::sys::digest::sha256_hex;

#[expect(clippy::too_many_arguments, reason = "everything that a run begins with")]
pub(super) fn manifest(
    shared: &Shared,
    plan: &Plan,
    run: &RunId,
    paths: &RunPaths,
    git: GitKeys,
    proof: Option<ProofKeys>,
    parent: Option<&str>,
    depth: usize,
    limits: Limits,
    reuse: ReuseOptions,
    approval_policy: Option<String>,
    token: &str,
    at: Stamp,
) -> Manifest {
    let instructions = instructions::load(&shared.root);
    let capability = plan.tags.first().map_or("general", String::as_str);
    let entry = |planned: &PlannedStage| entry(shared, planned);
    // Nobody planned an ad hoc command: no control plane, no scheduler.
    let planned = plan.source != Source::CommandLine;
    let mode = if shared.masking.mode == MaskMode::Enforce { "enforce" } else { "shadow" };
    Manifest {
        version: 1,
        task_id: shared.task.clone(),
        task_slug: planned.then(|| shared.task_slug.clone()),
        run_id: run.clone(),
        parent_run_id: parent.map(|parent| shared.masked(parent)),
        pipeline_id: plan.pipeline.to_string(),
        pipeline_title: shared.masked(&plan.title),
        runner: "codex-cli".to_owned(),
        approval_policy: approval_policy.map(|policy| shared.masked(&policy)),
        status: RunStatus::Queued,
        status_detail: None,
        started_at: Some(at),
        completed_at: None,
        updated_at: Some(at),
        heartbeat_at: Some(at),
        heartbeat_interval_seconds: HEARTBEAT_SECONDS,
        heartbeat_stale_after_seconds: STALE_SECONDS,
        artifact_root: shared.layout.relative(&paths.dir),
        compat_path: shared.layout.relative(&shared.layout.task(&shared.task).join("mcp").join(run.as_str())),
        log_path: shared.layout.relative(&paths.journal),
        summary: None,
        metrics_recorded: false,
        resume_token: Some(sha256_hex(token.as_bytes())),
        resume_events: Vec::new(),
        approvals: Vec::new(),
        commands: plan.stages.iter().map(entry).collect(),
        child_runs: Vec::new(),
        run_summary_path: None,
        plan_target_id: plan.target_id(),
        instructions_hash: instructions.hash,
        instructions_sources: instructions.sources,
        prompt_packs: Some(Vec::new()),
        guardrails_required: Some(plan.guardrails_required),
        learning: Some(json!({
            "validation": {"mode": "per-task", "grouping": null, "status": "pending"},
            "alerts": [],
            "approvals": [],
        })),
        tfgrpo: shared.group.as_ref().filter(|_| depth == 0).map(GroupNames::section),
        control_plane: planned.then(|| {
            json!({
                "schema_id": "codex.control-plane.run-request",
                "schema_version": "2.0.0",
                "request_id": run,
                "validation": {"mode": shared.control_plane_mode, "status": "passed", "timestamp": at, "errors": []},
                "enforcement": {
                    "enabled": shared.control_plane_mode == "enforce",
                    "activated_at": (shared.control_plane_mode == "enforce").then_some(at),
                },
            })
        }),
        scheduler: planned.then(|| Scheduler::single(&shared.task, capability, at)),
        guardrail_status: None,
        handles: Some(Vec::new()),
        privacy: Some(Privacy {
            mode: mode.to_owned(),
            decisions: Vec::new(),
            totals: PrivacyTotals::default(),
            log_path: Some(shared.layout.relative(&paths.privacy)),
            other: Default::default(),
        }),
        git: Some(git),
        proof,
        plan: Some(PlanRecord {
            digest: Shared::digest(plan),
            partial: plan.only_target,
            only: plan
                .target
                .filter(|_| plan.only_target)
                .and_then(|at| Some(plan.stages.get(at)?.stage.id.to_string())),
            jobs: Some(limits.jobs).filter(|jobs| jobs.get() > 1),
            keep_going: limits.keep_going,
            reuse: reuse.reuse,
            join: reuse.join,
            leaves_note: shared.notes.filter(|_| depth == 0),
            group: plan.group,
            stages: plan.stages.iter().map(Shared::definition).collect(),
            masked: shared.masking.secrets.names().to_vec(),
            notes: instructions.notes.into_iter().chain(note_of_group(plan)).collect(),
        }),
        series: shared.series.clone(),
        attempts: None,
        guardrails: Vec::new(),
        cancellation: None,
        parked_at: None,
        fix: None,
        journal: None,
        other: Default::default(),
    }
}

fn note_of_group(plan: &Plan) -> Option<String> {
    let names = || plan.subtasks().map(|planned| planned.stage.id.as_str()).collect::<Vec<_>>().join(", ");
    plan.group.then(|| format!("Group: {}, one after the other until one fails.", names()))
}

fn entry(shared: &Shared, planned: &PlannedStage) -> StageEntry {
    let PlannedStage { index, stage, .. } = planned;
    let (kind, command) = match &stage.action {
        Action::Command(action) => ("command", Some(shared.masked(&action.command))),
        Action::Subpipeline { .. } => ("subpipeline", None),
        Action::Manual { .. } => ("manual", None),
    };
    StageEntry::pending(*index, stage.id.to_string(), shared.masked(&stage.title), kind, command)
}
