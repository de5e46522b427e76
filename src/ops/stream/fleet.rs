//! `stream run`: a pipeline in several streams at once, with one run above them all.
//!
//! Each stage of that run is a run of its own in one stream, by a copy of this program: what is known of stages holds for
//! them too, such as how they are followed, cancelled and ended with all that they started.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context as _, Result};

use super::look::{self, State};
use super::{Context, Refusal, cd, folder_of, streams, there};
use crate::id::{PipelineId, StreamName, TaskId};
use crate::ops::host::{Origin, RunHost, Shared, SharedWatch};
use crate::ops::start::{Pace, RunOutcome, with_interrupts};
use crate::pipeline::plan::{Plan, PlannedStage};
use crate::pipeline::{Action, Command, Source, Stage};
use crate::run::event::Happened;
use crate::run::shell;
use crate::runner::{self, Host};
use crate::store::streams::Stream;

/// What to run, and where.
#[derive(Clone, Debug)]
pub struct FleetOptions {
    pub pipeline: PipelineId,
    /// All that are ready, if none is named.
    pub names: Vec<StreamName>,
    /// The task of the run above them.
    pub task: TaskId,
    /// How many run at the same time; as many as there are processors by default.
    pub jobs: Option<NonZeroU16>,
}

/// What sets the place of runs; each worktree has its own.
const PLACES: [&str; 3] =
    ["CODEX_ORCHESTRATOR_ROOT", "CODEX_ORCHESTRATOR_RUNS_DIR", "CODEX_ORCHESTRATOR_OUT_DIR"];

/// Runs a pipeline in streams. `program` is this program.
pub fn run(ctx: &Context, options: &FleetOptions, program: &Path, watch: SharedWatch) -> Result<RunOutcome> {
    let chosen = chosen(ctx, &options.names)?;
    let plan = plan(ctx, options, &chosen, program)?;
    ctx.layout.check(&options.task)?;
    let jobs = plan.jobs;
    let limits = Pace { jobs, keep_going: true, no_budget: false }.limits(&plan);
    let shared = Rc::new(Shared::new(ctx, options.task.clone(), &plan, watch)?);
    with_interrupts(async |interrupts| {
        let origin = Origin::asked(&shared, None, Default::default())?;
        let mut host = RunHost::create(Rc::clone(&shared), plan.clone(), origin, limits, None)?;
        let owner = host.owner();
        host.tell(Happened::Started { owner }, 0)?;
        host.owned()?;
        let outcome = runner::execute(&plan, &mut host, interrupts, limits).await?;
        let outcome = outcome.context("a stream asked for a decision")?;
        for (at, stream) in chosen.iter().enumerate() {
            link(ctx, &mut host, at + 1, stream)?;
        }
        Ok(RunOutcome { manifest: host.end(outcome)?, interrupt: interrupts.first() })
    })
}

fn chosen(ctx: &Context, names: &[StreamName]) -> Result<Vec<Stream>> {
    if names.is_empty() {
        let all = streams(ctx).all().into_iter().flatten();
        let ready: Vec<_> = all.filter(|stream| look::state_of(ctx, stream) == State::Ready).collect();
        return match ready.is_empty() {
            true => Err(Refusal::usage("no stream is ready").hint("git orchestrate stream list").into()),
            false => Ok(ready),
        };
    }
    let mut chosen: Vec<Stream> = Vec::new();
    for name in names {
        let known = streams(ctx).find(name)?.filter(|known| known.name == *name);
        let stream = known.ok_or_else(|| cd::unknown(ctx, name))?;
        folder_of(&stream)?;
        if !chosen.iter().any(|known| known.name == stream.name) {
            chosen.push(stream);
        }
    }
    Ok(chosen)
}

fn plan(ctx: &Context, options: &FleetOptions, chosen: &[Stream], program: &Path) -> Result<Plan> {
    let mut stages = Vec::new();
    for (at, stream) in chosen.iter().enumerate() {
        let there = there(ctx, ctx.repo.worktree_at(&stream.path)?);
        let root = there.root.to_str().context("the name of a stream's folder is no UTF-8")?.to_owned();
        let id = stream.name.as_str().parse()?;
        let title = format!("{} in {}", options.pipeline, stream.name);
        let action = Action::Command(command(ctx, options, stream, program, root));
        stages.push(PlannedStage { index: at + 1, stage: Stage::plain(id, title, action), child: None });
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(chosen.len());
    let jobs = options.jobs.or_else(|| NonZeroU16::new(u16::try_from(cores).ok()?));
    let id = "streams".parse().expect("a word is an id");
    let title = format!("{} in {} streams", options.pipeline, chosen.len());
    Ok(Plan { guardrails_required: false, jobs, stages, ..Plan::empty(id, title, Source::CommandLine) })
}

fn command(ctx: &Context, options: &FleetOptions, stream: &Stream, program: &Path, root: String) -> Command {
    // Stages are told where the run above them is; here each has a place of its own, as the user would have it.
    let (kept, gone): (Vec<&str>, Vec<&str>) = PLACES.iter().partition(|name| ctx.env.path(name).is_some());
    let kept = kept.into_iter().filter(|name| *name != "CODEX_ORCHESTRATOR_ROOT");
    let env: BTreeMap<_, _> =
        kept.filter_map(|name| Some((name.to_owned(), ctx.env.get(name)?.to_owned()))).collect();
    let program = program.to_string_lossy();
    let words =
        [&*program, "start", options.pipeline.as_str(), "--task", stream.task.as_str(), "--parent-run"];
    let text = format!(
        "unset CODEX_ORCHESTRATOR_ROOT {}; exec {} \"$CODEX_ORCHESTRATOR_RUN_ID\"",
        gone.join(" "),
        shell::words(words)
    );
    Command { cwd: Some(root), env, ..Command::plain(text) }
}

/// Links the run that a stream made for the one above it.
fn link(ctx: &Context, host: &mut RunHost, index: usize, stream: &Stream) -> Result<()> {
    /// It is among the newest.
    const MOST: usize = 20;
    let parent = host.manifest().run_id.to_string();
    let layout = ctx.layout.of_worktree(&stream.path);
    let of_parent = |run: &look::Newest| run.manifest.parent_run_id.as_deref() == Some(&parent);
    let Some(run) = look::runs(ctx, &layout).take(MOST).find(of_parent) else { return Ok(()) };
    let manifest = ctx.layout.relative(&run.found.paths.manifest);
    let (run_id, pipeline_id) = (run.manifest.run_id.to_string(), run.manifest.pipeline_id.clone());
    host.tell(Happened::ChildLinked { run_id: run_id.clone(), pipeline_id, manifest }, index)?;
    let status = run.manifest.status;
    // A child that waits for a decision is not over, and is told as what it is.
    match status.is_terminal() {
        true => host.tell(Happened::ChildFinished { run_id, status, moved: false }, index),
        false => Ok(()),
    }
}
