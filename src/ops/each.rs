//! `start --each`: a run per commit of a range, in one side worktree.

use anyhow::Result;

use super::host::SharedWatch;
use super::side::{Side, There};
use super::start::{Asked, StartOptions, to_learn_from, with_interrupts};
use super::{Context, Kind, Refusal};
use crate::git::{Commit, GitError};
use crate::run::manifest::{Manifest, Series, SeriesKind};
use crate::run::status::RunStatus;
use crate::runner::interrupt::Interrupt;

/// Which commits, and what to run on each.
#[derive(Clone, Debug)]
pub struct EachOptions {
    /// A range such as `main..topic`.
    pub range: String,
    /// With its `keep_going` a commit that fails does not end it.
    pub start: StartOptions,
}

/// What became of the commits.
#[derive(Debug)]
pub struct EachOutcome {
    pub range: String,
    /// All of them, oldest first.
    pub commits: Vec<CommitEnd>,
    /// The signal that ended it.
    pub interrupt: Option<Interrupt>,
}

/// What became of one commit.
#[derive(Debug)]
pub struct CommitEnd {
    pub commit: Commit,
    pub end: End,
}

/// How it ended for a commit.
#[derive(Debug)]
pub enum End {
    Ran(Box<Manifest>),
    /// Nothing could be run: its configuration is broken, or has no such pipeline.
    Refused(anyhow::Error),
    /// It was not its turn any more.
    NotRun,
}

impl End {
    /// Whether nothing speaks against the commit.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Ran(manifest) if manifest.status == RunStatus::Succeeded)
    }

    /// Whether a run on the commit was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Ran(manifest) if manifest.status == RunStatus::Cancelled)
    }
}

/// Runs a pipeline on every commit of a range, oldest first.
pub fn each(ctx: &Context, options: EachOptions, watch: SharedWatch) -> Result<EachOutcome> {
    let EachOptions { range, start } = options;
    let commits = commits(ctx, &range)?;
    ctx.layout.check(&start.task)?;
    let of = commits.len();
    let not_run = |commit| CommitEnd { commit, end: End::NotRun };
    let mut commits: Vec<_> = commits.into_iter().map(not_run).collect();
    if commits.is_empty() {
        return Ok(EachOutcome { range, commits, interrupt: None });
    }
    with_interrupts(async |interrupts| {
        let mut side = Side::take(ctx, &watch)?;
        for (at, CommitEnd { commit, end }) in commits.iter_mut().enumerate() {
            interrupts.catch_up().await;
            if interrupts.first().is_some() {
                break;
            }
            let ready = side.ready_at(ctx, commit, &start.task, &watch, interrupts).await;
            let planned = match ready {
                Ok(There::Interrupted) => break,
                Ok(There::Failed(manifest)) => Ok(Err(manifest)),
                Ok(There::Ready(there)) => to_learn_from(&there, &start).map(|plan| Ok((plan, there))),
                Err(err) => Err(err),
            };
            *end = match planned {
                Err(err) => End::Refused(err),
                Ok(Err(failed)) => End::Ran(failed),
                Ok(Ok((plan, there))) => {
                    let series =
                        Series { kind: SeriesKind::Each, range: range.clone(), number: at + 1, commits: of };
                    let run = Asked { plan, options: &start, series: Some(series) };
                    let run = run.execute(&there, watch.clone(), interrupts, |run| side.used_by(run));
                    let manifest = run.await?.manifest;
                    side.used(&manifest, &watch)?;
                    End::Ran(Box::new(manifest))
                }
            };
            if end.is_cancelled() || (!end.is_good() && !start.pace.keep_going) {
                break;
            }
        }
        Ok(EachOutcome { range, commits, interrupt: interrupts.first() })
    })
}

/// Returns the commits of a range, or says why it is none.
pub(super) fn commits(ctx: &Context, range: &str) -> Result<Vec<Commit>> {
    let usage = |message: String| Refusal::new(Kind::Usage, message);
    let shown = range.escape_debug();
    if range.contains("...") {
        let two = range.replacen("...", "..", 1);
        return Err(usage(format!("`{shown}` is two ranges and not one"))
            .hint(format!("`{two}` is what the right side has and the left side has not"))
            .into());
    }
    let commits = match ctx.repo.commits(range) {
        Ok(commits) => commits,
        Err(GitError::Program { .. }) => {
            let ends = range.split_once("..").map_or(vec![range], |(from, to)| vec![from, to]);
            let unknown = ends.into_iter().filter(|end| !end.is_empty());
            for end in unknown {
                if ctx.repo.commit_named(end)?.is_none() {
                    return Err(Refusal::no_commit(end).into());
                }
            }
            return Err(usage(format!("`{shown}` is no range of commits"))
                .hint("a range is `A..B`: what `B` has and `A` has not")
                .into());
        }
        Err(err) => return Err(err.into()),
    };
    if commits.is_empty()
        && let Some((from, to)) = range.split_once("..")
        && !ctx.repo.commits(&format!("{to}..{from}"))?.is_empty()
    {
        return Err(usage(format!("`{shown}` holds no commit: the other way round it would"))
            .hint(format!("the older end comes first: `{to}..{from}`"))
            .into());
    }
    Ok(commits)
}
