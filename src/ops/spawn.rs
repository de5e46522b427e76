//! `spawn`: goals that a file declares, each as a run of its own, under one run above them all.

use std::num::NonZeroU16;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::fleet::{self, Fleet, Member};
use super::host::SharedWatch;
use super::plan::{PlanOptions, plan};
use super::start::RunOutcome;
use super::stream::fleet::known;
use super::{Context, Refusal};
use crate::id::TaskId;
use crate::pipeline::config::parse_goals;
use crate::pipeline::goals::{Goal, Goals, Work};
use crate::pipeline::plan::MAX_STAGES;
use crate::pipeline::{listing, nearest};
use crate::run::shell;
use crate::sys::{cores, fs};

/// Which goals, and how.
#[derive(Clone, Debug)]
pub struct SpawnOptions {
    /// The task of the run above them, and of those that run in this worktree.
    pub task: TaskId,
    /// What the file says by default, else as many as there are processors.
    pub jobs: Option<NonZeroU16>,
    /// Only the goals of these adapters, if any is named.
    pub adapters: Vec<String>,
    /// Only the goals of these names, if any is named.
    pub goals: Vec<String>,
}

/// Goals that were looked at: each could begin.
pub struct Spawn {
    pub goals: Goals,
    pub jobs: NonZeroU16,
    fleet: Fleet,
}

/// Returns the text of a file of goals.
pub fn text_of(ctx: &Context, file: &Path) -> Result<String> {
    const MOST: u64 = crate::pipeline::config::MAX_BYTES as u64;
    let path = ctx.env.cwd().join(file);
    let bytes = fs::read_regular(&path, MOST).map_err(|err| {
        let message = format!("cannot read the goals: {err}");
        Refusal::usage(message).hint("git orchestrate spawn FILE.json; `-` reads them from stdin")
    })?;
    utf8(bytes)
}

/// Returns bytes as the text that a file of goals is.
pub fn utf8(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| Refusal::usage("the goals are no UTF-8").into())
}

impl Spawn {
    /// Reads goals, and looks whether each could begin. Writes nothing. `name` is what errors call the file.
    pub fn plan(ctx: &Context, name: &str, text: &str, options: &SpawnOptions) -> Result<Self> {
        let mut goals = parse_goals(name, text)?;
        choose(&mut goals.goals, &options.adapters, "adapter", |goal| Some(goal.adapter.as_ref()?.as_str()))?;
        choose(&mut goals.goals, &options.goals, "goal", |goal| Some(goal.goal.as_ref()?.as_str()))?;
        if goals.goals.is_empty() {
            return Err(Refusal::usage("no goal is of these adapters and of these names").into());
        }
        if goals.goals.len() > MAX_STAGES {
            return Err(Refusal::usage(format!("there are more than {MAX_STAGES} goals")).into());
        }
        let members =
            goals.goals.iter().map(|goal| member(ctx, goal, &options.task)).collect::<Result<Vec<_>>>()?;
        let jobs = options.jobs.or(goals.jobs).unwrap_or_else(|| cores::at_most(members.len()));
        let count = if members.len() == 1 { "1 goal".to_owned() } else { format!("{} goals", members.len()) };
        let fleet = Fleet {
            pipeline: fleet::GOALS,
            title: goals.title.clone().unwrap_or(count),
            task: options.task.clone(),
            jobs,
            keep_going: goals.keep_going,
            members,
        };
        Ok(Self { goals, jobs, fleet })
    }

    /// Runs them to their end. `program` is this program.
    pub fn run(self, ctx: &Context, program: &Path, watch: SharedWatch) -> Result<(Goals, RunOutcome)> {
        let outcome = self.fleet.run(ctx, program, watch)?;
        Ok((self.goals, outcome))
    }
}

/// Keeps the goals of some names. One that nothing has is a mistake.
fn choose(
    goals: &mut Vec<Goal>,
    wanted: &[String],
    what: &str,
    name: impl Fn(&Goal) -> Option<&str>,
) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    for word in wanted {
        if !goals.iter().any(|goal| name(goal) == Some(word)) {
            let mut known: Vec<_> = goals.iter().filter_map(&name).collect();
            known.sort_unstable();
            known.dedup();
            let hint = match nearest(word, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("{what}s here: {}", listing(known)),
            };
            let message = format!("the file has no {what} `{}`", word.escape_debug());
            return Err(Refusal::usage(message).hint(hint).into());
        }
    }
    goals.retain(|goal| wanted.iter().any(|word| name(goal) == Some(word)));
    Ok(())
}

/// Returns what reaches a goal, if it could begin.
fn member(ctx: &Context, goal: &Goal, task: &TaskId) -> Result<Member> {
    let (there, task) = match &goal.stream {
        None => (ctx.clone(), task.clone()),
        Some(name) => {
            let stream = known(ctx, name).with_context(|| refusal(goal))?;
            (super::stream::there(ctx, ctx.repo.worktree_at(&stream.path)?), stream.task)
        }
    };
    there.layout.check(&task)?;
    let (work, cwd) = match &goal.work {
        Work::Pipeline(pipeline) => {
            let options = PlanOptions { pipeline: Some(pipeline.clone()), ..PlanOptions::default() };
            plan(&there, &options).with_context(|| refusal(goal))?;
            (fleet::Work::Pipeline(pipeline.clone()), there.root.clone())
        }
        Work::Command { command, args, cwd } => {
            let cwd = cwd.as_ref().map_or_else(|| there.root.clone(), |cwd| there.root.join(cwd));
            if !cwd.is_dir() {
                let message = format!("there is no folder `{}` to run in", cwd.display());
                return Err(anyhow::Error::from(Refusal::usage(message)).context(refusal(goal)));
            }
            (fleet::Work::Command(shell_text(command, args.as_deref())), cwd)
        }
    };
    Ok(Member {
        id: goal.id.clone(),
        title: goal.title.clone().unwrap_or_else(|| work.title()),
        needs: goal.needs.clone(),
        timeout: goal.timeout,
        alone: !goal.parallel,
        work,
        stream: goal.stream.clone(),
        there,
        cwd,
        task,
        env: goal.env.clone(),
    })
}

/// Returns a command as a text for a shell.
pub fn shell_text(command: &str, args: Option<&[String]>) -> String {
    match args {
        Some(args) => shell::words(std::iter::once(command).chain(args.iter().map(String::as_str))),
        None => command.to_owned(),
    }
}

fn refusal(goal: &Goal) -> String {
    format!("goal `{}` could not begin", goal.id.as_str().escape_debug())
}
