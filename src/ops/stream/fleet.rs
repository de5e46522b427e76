//! `stream run` and `stream exec`: a pipeline, a command or both in several streams at once.

use std::num::NonZeroU16;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::look::{self, State};
use super::{Context, Refusal, cd, folder_of, streams, there};
use crate::id::{PipelineId, StageId, StreamName, TaskId};
use crate::ops::fleet::{Fleet, Member, STREAMS, Work};
use crate::ops::host::SharedWatch;
use crate::ops::plan::{PlanOptions, plan};
use crate::ops::start::RunOutcome;
use crate::store::streams::Stream;
use crate::sys::cores;

/// What to run, and where.
#[derive(Clone, Debug)]
pub struct FleetOptions {
    /// A text for a shell, and then, where that succeeded, the pipeline; one of them is there.
    pub command: Option<String>,
    pub pipeline: Option<PipelineId>,
    /// All that are ready, if none is named.
    pub names: Vec<StreamName>,
    /// The task of the run above them.
    pub task: TaskId,
    /// How many run at the same time; pipelines: as many as there are processors, commands: all, by default.
    pub jobs: Option<NonZeroU16>,
}

/// Runs it. `program` is this program.
pub fn run(ctx: &Context, options: &FleetOptions, program: &Path, watch: SharedWatch) -> Result<RunOutcome> {
    let chosen = chosen(ctx, &options.names)?;
    let works = [options.command.clone().map(Work::Command), options.pipeline.clone().map(Work::Pipeline)];
    let works: Vec<_> = works.into_iter().flatten().collect();
    let mut members = Vec::new();
    for stream in &chosen {
        let mut needs = Vec::new();
        for (at, work) in works.iter().enumerate() {
            let id: StageId = match at {
                0 => stream.name.as_str().parse()?,
                _ => format!("{}: {}", stream.name, work.title()).parse()?,
            };
            let title = format!("{} in {}", work.title(), stream.name);
            let member = member(ctx, stream, work.clone())?;
            if let Work::Pipeline(pipeline) = work {
                // Before anything is recorded: it may be a slip of the pen.
                let wanted = PlanOptions { pipeline: Some(pipeline.clone()), ..PlanOptions::default() };
                let refusal = || format!("`{pipeline}` cannot run in stream `{}`", stream.name);
                plan(&member.there, &wanted).with_context(refusal)?;
            }
            let before = std::mem::replace(&mut needs, vec![id]);
            members.push(Member { id: needs[0].clone(), title, needs: before, ..member });
        }
    }
    let what: Vec<_> = works.iter().map(Work::title).collect();
    let title = format!("{} in {} streams", what.join(", then "), chosen.len());
    let usual = match &options.command {
        // What somebody else computes for a command costs nothing here, so that none has to wait for another.
        Some(_) => u16::try_from(chosen.len()).ok().and_then(NonZeroU16::new).unwrap_or(NonZeroU16::MIN),
        None => cores::at_most(chosen.len()),
    };
    let jobs = options.jobs.unwrap_or(usual);
    let task = options.task.clone();
    Fleet { pipeline: STREAMS, title, task, jobs, keep_going: true, members }.run(ctx, program, watch)
}

/// Returns what does some work in a stream.
pub(in crate::ops) fn member(ctx: &Context, stream: &Stream, work: Work) -> Result<Member> {
    let there = there(ctx, ctx.repo.worktree_at(&stream.path)?);
    Ok(Member {
        id: stream.name.as_str().parse()?,
        title: work.title(),
        needs: Vec::new(),
        timeout: None,
        alone: false,
        work,
        stream: Some(stream.name.clone()),
        cwd: there.root.clone(),
        there,
        task: stream.task.clone(),
        env: Default::default(),
    })
}

/// Returns a stream that can be worked in.
pub(in crate::ops) fn known(ctx: &Context, name: &StreamName) -> Result<Stream> {
    let known = streams(ctx).find(name)?.filter(|known| known.name == *name);
    let stream = known.ok_or_else(|| cd::unknown(ctx, name))?;
    folder_of(&stream)?;
    Ok(stream)
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
        let stream = known(ctx, name)?;
        if !chosen.iter().any(|known| known.name == stream.name) {
            chosen.push(stream);
        }
    }
    Ok(chosen)
}
