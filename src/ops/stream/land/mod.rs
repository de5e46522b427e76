//! `stream land`: what a stream brings goes onto a branch when it is proven for the tree that comes of it.
//!
//! Nothing is checked out for that: the merge is made in git's object store, what is missing runs in a side worktree,
//! and the branch moves if it is still where it was. If it is not, all of it begins again, and mostly there is nothing
//! to run.

pub(super) mod arrive;
mod gate;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::{Context, Kind, Refusal, cd, is_there, streams};
use crate::git::{Commit, FastForward, GitError, MergeTree, Merged, Upkeep};
use crate::guardrail::Override;
use crate::id::{StreamName, TaskId, short};
use crate::ops::hook::let_pass;
use crate::ops::hook::pre_push::{Judged, Judgement, RefStanding};
use crate::ops::hook::run::{self, RunOptions};
use crate::ops::host::SharedWatch;
use crate::ops::start::Pace;
use crate::run::manifest::Manifest;
use crate::run::shell;
use crate::runner::interrupt::Interrupt;
use crate::store::streams::{Phase, Stream};
use arrive::Arrived;
use gate::Target;

/// So often a merge is made again because the branch moved meanwhile.
const TRIES: u32 = 32;

/// What to land, and how.
#[derive(Clone, Debug)]
pub struct LandOptions {
    pub name: StreamName,
    /// The branch that it goes to; by default the one that it began on.
    pub onto: Option<String>,
    /// Whether to land what is committed although something is not.
    pub committed: bool,
    /// The task of the runs; by default that of the stream.
    pub task: Option<TaskId>,
    pub pace: Pace,
    /// Whether it may change the gate that judges it.
    pub allow_gate_change: bool,
    /// Why it may land although something speaks against it.
    pub reason: Option<Override>,
    /// What becomes of what earlier runs left in the side worktree.
    pub upkeep: Upkeep,
}

/// What became of it.
#[derive(Debug)]
pub struct Landing {
    pub stream: StreamName,
    /// The branch of the stream, without `refs/heads/`.
    pub branch: String,
    /// The branch that it goes to, without `refs/heads/`.
    pub onto: String,
    /// The commit that the branch of the stream names.
    pub tip: String,
    pub fate: Fate,
    /// What is said about the tree that comes of it, as far as somebody asked.
    pub judgement: Option<Judgement>,
    /// What was run to find out.
    pub ran: Vec<Manifest>,
    /// How often the branch moved meanwhile.
    pub moved: u32,
    pub warnings: Vec<String>,
}

/// How it ended.
#[derive(Debug)]
pub enum Fate {
    Landed(Landed),
    /// It is there already, in this way.
    Already(Merged),
    /// Nothing was ever committed on it.
    Nothing,
    /// These files cannot be merged.
    Conflicts(Vec<String>),
    /// Something speaks against it.
    Refused,
    /// A signal came.
    Interrupted(Interrupt),
}

/// A merge that is on its branch.
#[derive(Debug)]
pub struct Landed {
    pub commit: Commit,
    /// Where the branch was.
    pub from: String,
    /// Whether the branch just moved on to what was merged.
    pub fast_forward: bool,
    /// The worktrees whose files were brought along.
    pub worktrees: Vec<PathBuf>,
}

impl Landing {
    /// Whether what the stream brings is on the branch now.
    pub fn is_good(&self) -> bool {
        matches!(self.fate, Fate::Landed(_) | Fate::Already(_) | Fate::Nothing)
    }

    /// Returns how the merge stands, as far as somebody judged it.
    pub fn judged(&self) -> Option<&Judged> {
        match &self.judgement.as_ref()?.refs.first()?.standing {
            RefStanding::Judged(judged) => Some(judged),
            _ => None,
        }
    }
}

/// Lands a stream.
pub fn land(ctx: &Context, options: &LandOptions, watch: &SharedWatch) -> Result<Landing> {
    let known = streams(ctx).find(&options.name)?.filter(|known| known.name == options.name);
    let stream = known.ok_or_else(|| cd::unknown(ctx, &options.name))?;
    let mut warnings = look_at_folder(ctx, &stream, options)?;
    let (onto, branch) = (target_of(ctx, &stream, options)?, stream.branch.clone());
    let mut work = Work { ctx, options, watch, stream: &stream, onto: &onto, ran: Vec::new() };
    let mut moved = 0;
    loop {
        let tip = tip_of(ctx, &stream)?;
        let Some(target) = ctx.repo.branch(&onto)? else { return Err(no_branch(&onto).into()) };
        let (fate, judgement) = match work.attempt(&tip, &target, &mut warnings)? {
            Attempt::Over(over) => *over,
            Attempt::Again if moved < TRIES => {
                moved += 1;
                pause(moved);
                continue;
            }
            Attempt::Again => {
                let message = format!("`{onto}` moved {TRIES} times meanwhile, and nothing was landed");
                let hint = format!("git orchestrate stream land {}", stream.name);
                return Err(Refusal::new(Kind::Busy, message).hint(hint).into());
            }
        };
        let (stream, ran) = (stream.name.clone(), work.ran);
        return Ok(Landing { stream, branch, onto, tip, fate, judgement, ran, moved, warnings });
    }
}

/// Leaves those time who are just moving the branch.
fn pause(tried: u32) {
    let spread = u64::from(std::process::id() % 7) + 1;
    std::thread::sleep(std::time::Duration::from_millis(spread * u64::from(tried.min(10))));
}

/// Refuses work that would stay behind unseen. Returns what is worth knowing.
fn look_at_folder(ctx: &Context, stream: &Stream, options: &LandOptions) -> Result<Vec<String>> {
    let name = &stream.name;
    if stream.phase == Phase::Creating {
        let message = format!("stream `{name}` was never finished");
        return Err(Refusal::usage(message).hint(format!("git orchestrate stream new {name}")).into());
    }
    if !is_there(stream) {
        return Ok(vec![format!("the folder of `{name}` is gone; its branch is landed as it is")]);
    }
    let repo = ctx.repo.worktree_at(&stream.path)?;
    let mut reasons: Vec<_> =
        repo.under_way().map(|what| format!("{what} is under way in it")).into_iter().collect();
    let now = repo.tree_now()?;
    let own = format!("refs/heads/{}", stream.branch);
    let head = repo.head()?;
    match head.branch.as_deref() {
        Some(branch) if branch == own => {}
        _ if !reasons.is_empty() => {}
        Some(branch) => {
            let branch = branch.strip_prefix("refs/heads/").unwrap_or(branch);
            reasons.push(format!("`{branch}` is checked out in it and not `{}`", stream.branch));
        }
        None => reasons.push(format!("no branch is checked out in it, and not `{}`", stream.branch)),
    }
    if now.state.dirty || !now.state.unreadable.is_empty() {
        let changed = match &now.commit {
            Some(commit) => repo.changed_since(commit)?,
            None => Vec::new(),
        };
        reasons.push(match changed.as_slice() {
            [] => "files in it are not added to any commit".to_owned(),
            some => format!("{} not committed", listed(some)),
        });
    }
    let marked = |path| format!("`{path}` is changed, and marked as `assume-unchanged` or `skip-worktree`");
    reasons.extend(now.state.hidden.iter().map(marked));
    reasons.extend(
        now.state.dirty_submodules.iter().map(|path| format!("something in `{path}` is not committed")),
    );
    if reasons.is_empty() {
        return Ok(Vec::new());
    }
    let said = reasons.join("; ");
    if options.committed {
        return Ok(vec![format!("only what is committed is landed, and in `{name}` {said}")]);
    }
    let message = format!("stream `{name}` is not landed: {said}");
    let folder = shell::word(&stream.path.display().to_string());
    let hint = format!(
        "commit it: git -C {folder} commit --all; or land what is committed: \
         git orchestrate stream land --committed {name}"
    );
    Err(Refusal::new(Kind::Unsafe, message).hint(hint).into())
}

/// Names some paths, and how many more there are.
fn listed(paths: &[String]) -> String {
    /// More are a wall of text.
    const MOST: usize = 5;
    let shown: Vec<_> = paths.iter().take(MOST).map(|path| format!("`{}`", path.escape_debug())).collect();
    let rest = paths.len().saturating_sub(MOST);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    let verb = if paths.len() == 1 { "is" } else { "are" };
    format!("{}{more} {verb}", shown.join(", "))
}

/// Returns the branch that a stream goes to.
fn target_of(ctx: &Context, stream: &Stream, options: &LandOptions) -> Result<String> {
    let named = options.onto.as_ref().map(|onto| onto.strip_prefix("refs/heads/").unwrap_or(onto).to_owned());
    let Some(onto) = named.or_else(|| stream.base.clone()) else {
        let message =
            format!("stream `{}` began on no branch, so nobody can tell where it goes", stream.name);
        let hint = format!("git orchestrate stream land {} --onto BRANCH", stream.name);
        return Err(Refusal::usage(message).hint(hint).into());
    };
    if onto == stream.branch {
        return Err(Refusal::usage(format!("`{onto}` is the stream's own branch")).into());
    }
    if onto.parse::<StreamName>().is_err() || ctx.repo.branch(&onto)?.is_none() {
        return Err(no_branch(&onto).into());
    }
    Ok(onto)
}

fn no_branch(onto: &str) -> Refusal {
    let message = format!("there is no branch `{}` here", onto.escape_debug());
    Refusal::usage(message).hint("name a branch of this repository: `git branch` shows them")
}

fn tip_of(ctx: &Context, stream: &Stream) -> Result<String> {
    ctx.repo.branch(&stream.branch)?.ok_or_else(|| {
        let message = format!("stream `{}` has no branch `{}` any more", stream.name, stream.branch);
        Refusal::usage(message).hint("git orchestrate stream list").into()
    })
}

/// What came of one attempt.
enum Attempt {
    Over(Box<(Fate, Option<Judgement>)>),
    /// The branch moved meanwhile.
    Again,
}

impl Attempt {
    fn over(fate: Fate, judgement: Option<Judgement>) -> Self {
        Self::Over(Box::new((fate, judgement)))
    }
}

struct Work<'a> {
    ctx: &'a Context,
    options: &'a LandOptions,
    watch: &'a SharedWatch,
    stream: &'a Stream,
    onto: &'a str,
    ran: Vec<Manifest>,
}

impl Work<'_> {
    fn attempt(&mut self, tip: &str, target: &str, warnings: &mut Vec<String>) -> Result<Attempt> {
        let over = |fate| Ok(Attempt::over(fate, None));
        let tree = match self.ctx.repo.merge_tree(target, tip) {
            Ok(MergeTree::Clean(tree)) => tree,
            Ok(MergeTree::Conflicts(paths)) => return over(Fate::Conflicts(paths)),
            Err(GitError::Program { stderr, .. }) if stderr.contains("unrelated histories") => {
                let message =
                    format!("`{}` and `{}` have no commit in common", self.stream.branch, self.onto);
                return Err(Refusal::new(Kind::Rejected, message).into());
            }
            Err(err) => return Err(anyhow::Error::from(err).context("git cannot merge without a checkout")),
        };
        match self.ctx.repo.merge_base(target, tip)? {
            Some(base) if base == tip => {
                let is_new = tip == self.stream.base_commit;
                over(if is_new { Fate::Nothing } else { Fate::Already(Merged::Ancestor) })
            }
            _ if self.ctx.repo.commit(target)?.is_some_and(|there| there.tree == tree) => {
                over(Fate::Already(Merged::Tree))
            }
            base => self.merge(tip, target, tree, base.as_deref() == Some(target), warnings),
        }
    }

    /// Brings a merge onto the branch, if nothing speaks against it.
    fn merge(
        &mut self,
        tip: &str,
        target: &str,
        tree: String,
        follows: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Attempt> {
        // Before anything runs: what stands in the way then still does when it is over.
        arrive::refuse_in_use(self.ctx, self.onto, target, &tree)?;
        let how = self.ctx.repo.fast_forward()?;
        let fast_forward = follows && how != FastForward::Never;
        if how == FastForward::Only && !follows {
            let message =
                format!("`{}` does not follow `{}`, and `merge.ff` is `only`", self.stream.branch, self.onto);
            let folder = shell::word(&self.stream.path.display().to_string());
            let hint = format!("git -C {folder} rebase {}", shell::word(self.onto));
            return Err(Refusal::new(Kind::Rejected, message).hint(hint).into());
        }
        let id = match fast_forward {
            true => tip.to_owned(),
            false => {
                let merge =
                    self.ctx.repo.merge_commit(&tree, (&self.stream.branch, tip), (self.onto, target));
                merge.context("cannot make the commit of the merge")?.map_err(|said| {
                    Refusal::new(Kind::Rejected, "the hook `commit-msg` refused the merge").hint(said)
                })?
            }
        };
        let commit = self.ctx.repo.commit(&id)?.context("the merge that was just made is gone")?;
        let to = Target { name: self.onto, commit: target };
        let mut judgement = gate::judge(self.ctx, &to, &self.stream.branch, &commit, self.options)?;
        if let Some(todos) = judgement.todos().filter(|todos| !todos.is_empty()) {
            let how = self.how_to_run(&judgement)?;
            let ran = run::run(self.ctx, &todos, &how, self.watch)?;
            self.ran.extend(ran.manifests);
            if let Some(interrupt) = ran.interrupt {
                return Ok(Attempt::over(Fate::Interrupted(interrupt), Some(judgement)));
            }
            judgement = gate::judge(self.ctx, &to, &self.stream.branch, &commit, self.options)?;
        }
        if judgement.is_refused() {
            return Ok(Attempt::over(Fate::Refused, Some(judgement)));
        }
        // What lets it pass is known before it has passed.
        let_pass::keep(self.ctx, &judgement).map_err(|err| {
            let hint = "nothing has moved; see to the folder of the ledger, then land it again";
            Refusal::new(Kind::Storage, format!("{err:#}")).hint(hint)
        })?;
        let why = match fast_forward {
            true => format!("merge {}: Fast-forward", self.stream.branch),
            false => format!("merge {}: by git orchestrate stream land", self.stream.branch),
        };
        match arrive::arrive(self.ctx, self.onto, (target, &commit), &why)? {
            Arrived::Again => Ok(Attempt::Again),
            Arrived::There { worktrees, said } => {
                warnings.extend(said);
                warnings.extend(gate::leave_evidence(self.ctx, &to, tip, &commit));
                let landed = Landed { commit, from: target.to_owned(), fast_forward, worktrees };
                tracing::debug!(onto = self.onto, commit = short(&landed.commit.id), "landed");
                Ok(Attempt::over(Fate::Landed(landed), Some(judgement)))
            }
        }
    }

    fn how_to_run(&self, judgement: &Judgement) -> Result<RunOptions> {
        let task = self.options.task.clone().unwrap_or_else(|| self.stream.task.clone());
        Ok(RunOptions {
            task,
            pace: self.options.pace,
            join: true,
            upkeep: self.options.upkeep,
            variables: Vec::new(),
            configuration: gate::configuration(judgement),
        })
    }
}
