//! What a word of the command line could go on with: runs, tasks, pipelines and stages there are.
//!
//! A shell asks between two keystrokes, so no run is read: names of folders are enough.

use super::Context;
use crate::pipeline::builtin;
use crate::store::catalog;
use crate::store::streams::Streams;

/// The runs that are offered at most; who looks for an older one types more of it.
const MAX_RUNS: usize = 100;

/// A word, and what to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub word: String,
    pub about: String,
}

impl Candidate {
    fn new(word: &str, about: impl Into<String>) -> Self {
        Self { word: word.to_owned(), about: about.into() }
    }
}

/// Returns the runs whose id begins with `begin`, newest first, and `latest`.
pub fn runs(ctx: &Context, begin: &str) -> Vec<Candidate> {
    let layouts = ctx.layouts();
    let runs = catalog::newest_first(&layouts, None).filter(|found| found.run.as_str().starts_with(begin));
    let runs = runs
        .take(MAX_RUNS)
        .map(|found| Candidate::new(found.run.as_str(), format!("of task {}", found.task.as_str())));
    let latest = "latest".starts_with(begin).then(|| Candidate::new("latest", "the newest run"));
    latest.into_iter().chain(runs).collect()
}

/// Returns the tasks that have runs, the one of the newest run first.
pub fn tasks(ctx: &Context) -> Vec<Candidate> {
    let mut tasks: Vec<Candidate> = Vec::new();
    for found in catalog::newest_first(&ctx.layouts(), None) {
        if !tasks.iter().any(|task| task.word == found.task.as_str()) {
            tasks.push(Candidate::new(found.task.as_str(), ""));
        }
    }
    tasks
}

/// Returns the pipelines that can be named. A configuration with a mistake has none to offer.
pub fn pipelines(ctx: &Context) -> Vec<Candidate> {
    let Ok(config) = super::plan::load(ctx) else { return Vec::new() };
    let declared =
        config.pipelines.iter().map(|pipeline| Candidate::new(pipeline.id.as_str(), &*pipeline.title));
    let mut found: Vec<_> = declared.collect();
    for id in builtin::IDS {
        if !found.iter().any(|pipeline| pipeline.word == *id) {
            found.push(Candidate::new(id, "comes with the program"));
        }
    }
    found
}

/// Returns the stages of all pipelines of the configuration; without one, those of the pipeline we ship.
pub fn stages(ctx: &Context) -> Vec<Candidate> {
    let Ok(config) = super::plan::load(ctx) else { return Vec::new() };
    let mut pipelines = config.pipelines;
    if pipelines.is_empty() {
        let read = |name: &str| super::plan::read(ctx, name);
        pipelines.extend(builtin::diagnostics(&read));
    }
    let mut found: Vec<Candidate> = Vec::new();
    for stage in pipelines.iter().flat_map(|pipeline| &pipeline.stages) {
        if !found.iter().any(|known| known.word == stage.id.as_str()) {
            found.push(Candidate::new(stage.id.as_str(), &*stage.title));
        }
    }
    found
}

/// Returns the streams.
pub fn streams(ctx: &Context) -> Vec<Candidate> {
    let streams = Streams::of(ctx.repo.common_dir()).all().into_iter().flatten();
    streams.map(|stream| Candidate::new(stream.name.as_str(), stream.path.display().to_string())).collect()
}

/// Returns git's names of the linked worktrees.
pub fn worktrees(ctx: &Context) -> Vec<Candidate> {
    let worktrees = ctx.repo.worktrees().unwrap_or_default();
    let named = worktrees.iter().filter_map(|worktree| {
        Some(Candidate::new(worktree.name.as_deref()?, worktree.path.display().to_string()))
    });
    named.collect()
}
