//! A clean side worktree at a commit, which stands in for the worktree of whoever asks.

pub(in crate::ops) mod carry;
mod setup;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use super::host::SharedWatch;
use super::{Context, Kind, Refusal};
use crate::git::{Commit, Objects, Repo, Slot, Upkeep, WhyEmpty};
use crate::id::{TaskId, short};
use crate::pipeline::slots::Slots;
use crate::run::manifest::Manifest;
use crate::runner::interrupt::Interrupts;
use crate::sys::{fs, process};

/// Where Node looks for what a file imports.
const MODULES: &str = "node_modules";

/// So many side worktrees are kept that nobody uses.
const IDLE: usize = 8;

/// A side worktree that is ours for now.
pub struct Side {
    slot: Slot,
    /// The root of the project as seen from the top of the worktree.
    inside: PathBuf,
    /// Whether it was said that modules of the main worktree are found here.
    warned: bool,
}

/// What became of the way to a commit.
pub enum There {
    /// What the caller's context is there.
    Ready(Box<Context>),
    /// The run that was to make it ready did not succeed.
    Failed(Box<Manifest>),
    /// A signal came in the meantime.
    Interrupted,
}

impl Side {
    /// Takes a side worktree that nobody uses.
    pub fn take(ctx: &Context, watch: &SharedWatch) -> Result<Self> {
        let inside = inside(ctx)?;
        let slot = ctx.repo.take_slot(IDLE).context("there is no side worktree to run in")?;
        Self::begin(slot, inside, watch)
    }

    /// Like [`Side::take`], also where `ctx` is in a side worktree itself.
    pub fn take_below(ctx: &Context, watch: &SharedWatch) -> Result<Self> {
        let inside = ctx.root.strip_prefix(ctx.repo.work_tree()).map(Path::to_owned);
        let inside = inside.map_err(|_| {
            let root = ctx.root.display();
            Refusal::new(Kind::Usage, format!("`{root}` is in no worktree of the repository"))
        })?;
        let slot = ctx.repo.take_slot(IDLE).context("there is no side worktree to run in")?;
        Self::begin(slot, inside, watch)
    }

    /// Returns which side worktree it is.
    pub fn number(&self) -> u32 {
        self.slot.number()
    }

    /// Returns the run that used it last, if nobody has checked out anything since.
    pub fn last_run(&self) -> Option<&str> {
        self.slot.last_run()
    }

    /// Says what becomes of what earlier commits left in it.
    pub fn keep(mut self, upkeep: Upkeep) -> Self {
        self.slot.keep(upkeep);
        self
    }

    /// Takes the side worktree that a run used, as the run left it; nothing if somebody has it, or
    /// had it since.
    pub fn of_run(ctx: &Context, manifest: &Manifest, watch: &SharedWatch) -> Result<Option<Self>> {
        let ran = manifest.git.as_ref().and_then(|git| git.worktree.slot);
        let Some(slot) = ran.map(|slot| ctx.repo.try_take_slot(slot)).transpose()?.flatten() else {
            return Ok(None);
        };
        if slot.last_run() != Some(manifest.run_id.as_str()) {
            return Ok(None);
        }
        Ok(Some(Self::begin(slot, inside(ctx)?, watch)?))
    }

    fn begin(slot: Slot, inside: PathBuf, watch: &SharedWatch) -> Result<Self> {
        if let Some(run) = slot.last_run() {
            // Its process was killed, and what it had started goes on in our folder.
            end(run, || process::members(run), watch)?;
        }
        Ok(Self { slot, inside, warned: false })
    }

    /// Checks a commit out, and returns what `ctx` is there.
    pub fn at(&mut self, ctx: &Context, commit: &Commit) -> Result<Context> {
        let repo = self.slot.reposition(commit);
        let repo = repo.with_context(|| format!("cannot check out `{}`", short(&commit.id)))?;
        Ok(self.context(ctx, repo))
    }

    /// Checks a commit out, and makes it ready for stages: what the project there says is carried into it, and what it
    /// says is to be run is run. Those runs belong to `task`.
    pub async fn ready_at(
        &mut self,
        ctx: &Context,
        commit: &Commit,
        task: &TaskId,
        watch: &SharedWatch,
        interrupts: &mut Interrupts,
    ) -> Result<There> {
        match self.at_unless_interrupted(ctx, commit, interrupts).await? {
            None => Ok(There::Interrupted),
            Some(there) => {
                let failed = self.make_ready(ctx, &there, commit, task, watch, interrupts).await?;
                Ok(failed.map_or(There::Ready(Box::new(there)), |manifest| There::Failed(Box::new(manifest))))
            }
        }
    }

    /// Makes what is checked out ready for stages. Returns the run of that if it did not succeed.
    pub async fn make_ready(
        &mut self,
        ctx: &Context,
        there: &Context,
        commit: &Commit,
        task: &TaskId,
        watch: &SharedWatch,
        interrupts: &mut Interrupts,
    ) -> Result<Option<Manifest>> {
        self.fill_submodules(watch)?;
        let slots = slots_of(there);
        self.carry(ctx, &slots)?;
        let failed = self.set_up(there, &slots, commit, task, watch, interrupts).await?;
        if !std::mem::replace(&mut self.warned, true) && !there.root.join(MODULES).is_dir() {
            warn_of_modules(ctx, &self.slot, watch);
        }
        Ok(failed)
    }

    /// Checks a commit out and removes all of it again, so that something else can be put in its place.
    pub fn emptied_at(&mut self, ctx: &Context, commit: &Commit) -> Result<Context> {
        let there = self.at(ctx, commit)?;
        self.slot.distrust();
        let top = there.repo.work_tree();
        let entries = std::fs::read_dir(top);
        for entry in entries.with_context(|| format!("cannot look into `{}`", top.display()))? {
            let entry = entry?;
            // It links the folder to its repository.
            match entry.file_type()?.is_dir() {
                _ if entry.file_name() == ".git" => {}
                true => fs::remove_tree(&entry.path())?,
                false => fs::remove(&entry.path())?,
            }
        }
        Ok(there)
    }

    /// Fills submodules with what is here of them. One that nobody ever fetched is as empty as in any other worktree;
    /// one that lacks the very commit would let stages judge something else.
    fn fill_submodules(&self, watch: &SharedWatch) -> Result<()> {
        let lacks = self.slot.as_left().fill_submodules(Objects::Shared, false);
        for lack in lacks.context("cannot fill the submodules of the side worktree")? {
            match lack.why {
                WhyEmpty::NoModule => watch.borrow_mut().warn(&lack.said()),
                _ => return Err(Refusal::new(Kind::Usage, lack.said()).into()),
            }
        }
        Ok(())
    }

    /// Like [`Side::at`]; nothing if a signal came in the meantime, which the terminal also sent to
    /// git: how that ended says nothing about the commit.
    pub async fn at_unless_interrupted(
        &mut self,
        ctx: &Context,
        commit: &Commit,
        interrupts: &mut Interrupts,
    ) -> Result<Option<Context>> {
        let there = self.at(ctx, commit);
        interrupts.catch_up().await;
        if interrupts.first().is_some() {
            self.slot.distrust();
            return Ok(None);
        }
        there.map(Some)
    }

    /// Returns what `ctx` is in the side worktree as the last run left it.
    pub fn as_left(&self, ctx: &Context) -> Context {
        self.context(ctx, self.slot.as_left())
    }

    fn context(&self, ctx: &Context, repo: Repo) -> Context {
        // Joined by its parts: an empty path would leave a slash at the end.
        let root = self.inside.iter().fold(repo.work_tree().to_owned(), |root, part| root.join(part));
        Context { repo, root, layout: ctx.layout.clone(), env: ctx.env.clone(), clock: ctx.clock }
    }

    /// Notes that a run is about to use the side worktree.
    pub fn used_by(&mut self, run: &str) -> Result<()> {
        Ok(self.slot.used_by(run)?)
    }

    /// Takes note of how a run left the side worktree, before the next commit is checked out.
    pub fn used(&mut self, manifest: &Manifest, watch: &SharedWatch) -> Result<()> {
        let still = manifest.git.as_ref().is_some_and(|git| git.moved == Some(false));
        if !still {
            self.slot.distrust();
        }
        if process::adopted(&[]).is_empty() {
            return Ok(());
        }
        // It would go on in the next commit's files.
        self.slot.distrust();
        let run = manifest.run_id.as_str();
        end(run, || [process::members(run), process::adopted(&[])].concat(), watch)
    }
}

/// Returns what makes a side worktree ready, as its own configuration says.
pub fn slots_of(there: &Context) -> Slots {
    // What is wrong with a configuration is said by whoever needs the rest of it.
    super::plan::load(there).map(|config| config.slots).unwrap_or_default()
}

/// Returns where the root is below the top of the worktree.
pub(super) fn inside(ctx: &Context) -> Result<PathBuf> {
    let inside = ctx.layout.root.strip_prefix(ctx.repo.work_tree()).map(Path::to_owned);
    inside.map_err(|_| {
        let root = ctx.layout.root.display();
        Refusal::new(
            Kind::Usage,
            format!("`{root}` is in no worktree, so there is no commit of it to check out"),
        )
        .hint("unset CODEX_ORCHESTRATOR_ROOT, or set it to a folder of the repository")
        .into()
    })
}

/// Node looks for modules in every folder above, and the side worktree is below the main one: what
/// it finds there is of another commit.
fn warn_of_modules(ctx: &Context, slot: &Slot, watch: &SharedWatch) {
    let above = ctx.repo.common_dir().ancestors().map(|folder| folder.join(MODULES));
    if let Some(modules) = { above }.find(|folder| folder.is_dir()) {
        let number = slot.number();
        let text = format!(
            "Node finds `{}` from side worktree {number} too: `slots` in codex.orchestrator.json can give it its own",
            modules.display()
        );
        watch.borrow_mut().warn(&text);
    }
}

/// Ends processes that a dead run left behind.
pub(super) fn end(run: &str, left: impl Fn() -> Vec<u32>, watch: &SharedWatch) -> Result<()> {
    end_all(&format!("processes that run `{run}` left"), left, watch)
}

/// Ends processes: first they are asked, after 2 seconds they are killed.
pub(super) fn end_all(what: &str, left: impl Fn() -> Vec<u32>, watch: &SharedWatch) -> Result<()> {
    let mut pids = left();
    if pids.is_empty() {
        return Ok(());
    }
    pids.sort_unstable();
    pids.dedup();
    let text = format!("ending {} {what}", pids.len());
    watch.borrow_mut().warn(&text);
    pids.iter().for_each(|pid| process::signal(*pid, Signal::TERM));
    let begin = Instant::now();
    while !pids.is_empty() {
        if begin.elapsed() > Duration::from_secs(10) {
            return Err(Refusal::new(Kind::Busy, format!("{what} do not end")).into());
        }
        std::thread::sleep(Duration::from_millis(20));
        pids = left();
        if begin.elapsed() > Duration::from_secs(2) {
            pids.iter().for_each(|pid| process::signal(*pid, Signal::KILL));
        }
    }
    Ok(())
}
