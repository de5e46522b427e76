//! Several runs at once, with one run above them that has a stage for each.
//!
//! Each of those stages is a run of its own, by a copy of this program, in this worktree or in another: what is known of
//! stages holds for them too, such as how they are followed, cancelled and ended with all that they started.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Context;
use super::host::{Origin, Outpost, RunHost, Shared, SharedWatch};
use super::start::{Pace, RunOutcome, with_interrupts};
use super::stream::above;
use crate::id::{PipelineId, StageId, StreamName, TaskId};
use crate::pipeline::budget::Share;
use crate::pipeline::plan::{Plan, PlannedStage};
use crate::pipeline::{Action, Command, Source, Stage};
use crate::run::event::Happened;
use crate::run::manifest::Manifest;
use crate::run::shell;
use crate::runner::{self, Host};

/// The pipeline that a run in several streams is recorded as.
pub const STREAMS: &str = "streams";
/// The pipeline that a set of goals is recorded as.
pub const GOALS: &str = "goals";

/// Runs that are asked for together.
pub struct Fleet {
    /// What the run above them is recorded as.
    pub pipeline: &'static str,
    pub title: String,
    /// The task of the run above them.
    pub task: TaskId,
    /// How many run at the same time.
    pub jobs: NonZeroU16,
    /// Whether the others go on when one fails.
    pub keep_going: bool,
    pub members: Vec<Member>,
}

/// One of them.
pub struct Member {
    pub id: StageId,
    pub title: String,
    /// Those that have to end well before.
    pub needs: Vec<StageId>,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// Whether nothing else runs beside it.
    pub alone: bool,
    pub work: Work,
    /// The stream that it runs in, if it is one.
    pub stream: Option<StreamName>,
    /// Its worktree, and the folder to run in.
    pub there: Context,
    pub cwd: PathBuf,
    /// The task of its run.
    pub task: TaskId,
    pub env: BTreeMap<String, String>,
}

/// What one of them does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    Pipeline(PipelineId),
    /// A text for `/bin/sh -c`.
    Command(String),
}

/// What sets the place of runs; each worktree has its own.
const PLACES: [&str; 3] =
    ["CODEX_ORCHESTRATOR_ROOT", "CODEX_ORCHESTRATOR_RUNS_DIR", "CODEX_ORCHESTRATOR_OUT_DIR"];

/// Whether a run stands above others that it asked copies of this program for.
pub fn is_above(manifest: &Manifest) -> bool {
    // A pipeline of the project may have the same name, but not without a control plane.
    let is_ours = manifest.control_plane.is_none() && manifest.journal.is_some();
    is_ours && [STREAMS, GOALS].contains(&manifest.pipeline_id.as_str())
}

impl Work {
    /// Returns what the run is recorded as.
    pub fn pipeline(&self) -> PipelineId {
        match self {
            Self::Pipeline(pipeline) => pipeline.clone(),
            Self::Command(_) => "exec".parse().expect("a word is an id"),
        }
    }

    /// Returns it in a few words.
    pub fn title(&self) -> String {
        match self {
            Self::Pipeline(pipeline) => pipeline.to_string(),
            Self::Command(command) => command.lines().next().unwrap_or_default().chars().take(80).collect(),
        }
    }
}

impl Fleet {
    /// Runs them all. `program` is this program.
    pub fn run(self, ctx: &Context, program: &Path, watch: SharedWatch) -> Result<RunOutcome> {
        let plan = self.plan(ctx, program)?;
        ctx.layout.check(&self.task)?;
        let pace = Pace { jobs: Some(self.jobs), keep_going: self.keep_going, no_budget: false };
        let limits = pace.limits(&plan);
        let shared = Rc::new(Shared::new(ctx, self.task, &plan, watch)?);
        let mut of_streams: BTreeMap<StreamName, Vec<StageId>> = BTreeMap::new();
        for member in &self.members {
            if let Some(stream) = &member.stream {
                of_streams.entry(stream.clone()).or_default().push(member.id.clone());
            }
        }
        let outposts: Vec<_> = (1..)
            .zip(self.members)
            .map(|(index, Member { there, task, work, .. })| {
                (index, Outpost::new(there, task, work.pipeline()))
            })
            .collect();
        with_interrupts(async |interrupts| {
            let origin = Origin::asked(&shared, None, Default::default())?;
            let mut host = RunHost::create(Rc::clone(&shared), plan.clone(), origin, limits, None)?;
            host.keep_outposts(outposts);
            let owner = host.owner();
            host.tell(Happened::Started { owner }, 0)?;
            above::note(ctx, host.manifest(), &of_streams)?;
            host.owned()?;
            let outcome = runner::execute(&plan, &mut host, interrupts, limits).await?;
            let outcome = outcome.context("one of several runs asked for a decision")?;
            Ok(RunOutcome { manifest: host.end(outcome)?, interrupt: interrupts.first() })
        })
    }

    fn plan(&self, ctx: &Context, program: &Path) -> Result<Plan> {
        let stages = (1..).zip(&self.members).map(|(index, member)| {
            let action = Action::Command(member.command(ctx, program)?);
            let stage = Stage {
                needs: member.needs.clone(),
                timeout: member.timeout,
                alone: member.alone,
                ..Stage::plain(member.id.clone(), member.title.clone(), action)
            };
            Ok(PlannedStage { index, stage, child: None })
        });
        let stages = stages.collect::<Result<_>>()?;
        let id = self.pipeline.parse().expect("a word is an id");
        let empty = Plan::empty(id, self.title.clone(), Source::CommandLine);
        Ok(Plan { guardrails_required: false, jobs: Some(self.jobs), stages, ..empty })
    }
}

impl Member {
    /// Returns the command that makes its run.
    fn command(&self, ctx: &Context, program: &Path) -> Result<Command> {
        // Stages are told where the run above them is; here each has a place of its own, as the user would have it.
        let (kept, gone): (Vec<&str>, Vec<&str>) =
            PLACES.iter().partition(|name| ctx.env.path(name).is_some());
        let kept = kept.into_iter().filter(|name| *name != "CODEX_ORCHESTRATOR_ROOT");
        let mut env: BTreeMap<_, _> =
            kept.filter_map(|name| Some((name.to_owned(), ctx.env.get(name)?.to_owned()))).collect();
        env.extend(self.env.clone());
        let (program, task) = (program.to_string_lossy(), self.task.as_str());
        let (words, rest) = match &self.work {
            Work::Pipeline(pipeline) => (vec!["start", "--task", task], vec!["--", pipeline.as_str()]),
            Work::Command(command) => (
                vec!["exec", "--plain", "--shell", "--no-budget", "--task", task],
                vec!["--", command.as_str()],
            ),
        };
        let text = format!(
            "unset CODEX_ORCHESTRATOR_ROOT {}; exec {} --parent-run \"$CODEX_ORCHESTRATOR_RUN_ID\" {}",
            gone.join(" "),
            shell::words(std::iter::once(&*program).chain(words)),
            shell::words(rest)
        );
        let cwd = self.cwd.to_str().context("the name of the folder to run in is no UTF-8")?.to_owned();
        // An agent waits for others most of the time and for as long as it likes; the runs that it starts draw from the
        // machine's budget.
        let share = Share { free: matches!(self.work, Work::Command(_)), ..Share::default() };
        Ok(Command { cwd: Some(cwd), env, share, ..Command::plain(text) })
    }
}
