//! `stream rm`: streams go into the trash, and nothing goes that is nowhere else.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::look::{self, Newest};
use super::{Context, Kind, Refusal, above, cd, setup, streams, there};
use crate::git::{GitError, Merged, Repo};
use crate::id::StreamName;
use crate::ops::cancel::{CancelOptions, cancel};
use crate::ops::host::SharedWatch;
use crate::ops::side::end;
use crate::run::status::RunStatus;
use crate::store::catalog::Wanted;
use crate::store::stream_trash::Bin;
use crate::store::streams::{Stream, Streams};
use crate::sys::{process, room};

/// What to remove.
#[derive(Clone, Debug)]
pub struct RmOptions {
    pub names: Vec<StreamName>,
    /// Whether work that is nowhere else goes too, into the trash, and what runs is ended.
    pub force: bool,
    pub branch: OfBranch,
}

/// What becomes of the branch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OfBranch {
    /// It goes if the stream made it and it was merged.
    #[default]
    IfMerged,
    /// It stays.
    Keep,
    /// It goes, whatever is on it.
    Remove,
}

/// A stream that is in the trash.
#[derive(Debug)]
pub struct Gone {
    pub stream: Stream,
    /// How its branch was merged, if that is why it went.
    pub merged: Option<Merged>,
    /// Whether its branch is gone too.
    pub branch_removed: bool,
    pub warnings: Vec<String>,
}

/// Removes streams. Each goes as a whole or not at all.
pub fn rm(ctx: &Context, options: &RmOptions, watch: &SharedWatch) -> Vec<(StreamName, Result<Gone>)> {
    let removed = options.names.iter().map(|name| (name.clone(), remove(ctx, name, options, watch)));
    let removed = removed.collect();
    super::prune::empty_trash(ctx, watch);
    removed
}

fn remove(ctx: &Context, name: &StreamName, options: &RmOptions, watch: &SharedWatch) -> Result<Gone> {
    let streams = streams(ctx);
    let _lock = super::lock(&streams, name)?;
    let Some(stream) = streams.find(name)?.filter(|known| known.name == *name) else {
        let worktrees = ctx.repo.worktrees()?;
        if let Some(other) = worktrees.iter().find(|it| it.name.as_deref() == Some(name.as_str())) {
            let message = format!("`{name}` is a worktree that somebody else made");
            let hint =
                format!("git worktree remove {}", crate::run::shell::word(&other.path.display().to_string()));
            return Err(Refusal::new(Kind::Unsafe, message).hint(hint).into());
        }
        return Err(cd::unknown(ctx, name).into());
    };
    refuse_odd_place(ctx, &stream)?;
    let Ok(repo) = ctx.repo.worktree_at(&stream.path) else {
        // Its folder is gone, or is somebody else's by now: then it is not touched.
        return put_away(ctx, &streams, stream, None, options.branch);
    };
    let there = there(ctx, repo);
    let busy = running(ctx, &there);
    if !options.force {
        refuse_work(ctx, &there.repo, &stream, &busy)?;
    }
    for run in busy {
        end_run(&there, &run, watch)?;
    }
    let unfinished = tear_down(&there, &stream)?;
    if let Some(said) = unfinished.as_ref().filter(|_| !options.force) {
        let message = format!("stream `{name}` stays: {said}");
        let hint = format!("git orchestrate stream logs {name}; with `--force` it goes all the same");
        return Err(Refusal::new(Kind::Rejected, message).hint(hint).into());
    }
    let mut strangers = strangers(&stream.path);
    strangers.extend(unfinished);
    let mut gone = put_away(ctx, &streams, stream, Some(&there.repo), options.branch)?;
    gone.warnings.extend(strangers);
    Ok(gone)
}

/// Refuses what nobody should rename.
fn refuse_odd_place(ctx: &Context, stream: &Stream) -> Result<()> {
    let unsafe_ = |message: String, hint: String| Err(Refusal::new(Kind::Unsafe, message).hint(hint).into());
    let (name, path) = (&stream.name, &stream.path);
    if ctx.env.cwd().starts_with(path) {
        let home = crate::run::shell::word(&ctx.repo.home().display().to_string());
        let hint = format!("cd {home} && git orchestrate stream rm {name}");
        return unsafe_(format!("you are in stream `{name}`"), hint);
    }
    if path.is_symlink() {
        return unsafe_(
            format!("`{}` is a symbolic link and no folder of a stream", path.display()),
            "put the folder itself back there".to_owned(),
        );
    }
    if let Some(mount) = room::mounted_in(path) {
        return unsafe_(
            format!("something is mounted at `{}`", mount.display()),
            "unmount it first".to_owned(),
        );
    }
    if let Some(entry) = ctx.repo.entry_of(path)?
        && entry.join("locked").exists()
    {
        return unsafe_(
            format!("the worktree of `{name}` is locked"),
            format!("git worktree unlock {}", crate::run::shell::word(&path.display().to_string())),
        );
    }
    Ok(())
}

/// Refuses to remove work that is nowhere else, and says which.
fn refuse_work(ctx: &Context, repo: &Repo, stream: &Stream, busy: &[Newest]) -> Result<()> {
    let mut reasons = work(repo, stream)?;
    reasons.extend(busy.iter().map(|run| {
        format!("run `{}` of pipeline `{}` is not over", run.manifest.run_id, run.manifest.pipeline_id)
    }));
    reasons.extend(above::yet_to_come(ctx, stream));
    if reasons.is_empty() {
        return Ok(());
    }
    let message = format!("stream `{}` stays: {}", stream.name, reasons.join("; "));
    let hint = format!(
        "with `--force` it goes, and can be had back for a day: git orchestrate stream rm --force {}",
        stream.name
    );
    Err(Refusal::new(Kind::Unsafe, message).hint(hint).into())
}

/// Returns what is in a stream and nowhere else.
pub(super) fn work(repo: &Repo, stream: &Stream) -> Result<Vec<String>> {
    let mut reasons = Vec::new();
    let now = repo.tree_now()?;
    let state = &now.state;
    if state.is_changed() {
        reasons.push("something in it is not committed".to_owned());
    }
    reasons
        .extend(state.dirty_submodules.iter().map(|path| format!("something in `{path}` is not committed")));
    reasons.extend(repo.submodule_work()?);
    reasons.extend(repo.under_way().map(|what| format!("{what} is under way in it")));
    if let Some(commit) = &now.commit {
        let only_here = repo.commits_only_here(commit, &stream.branch)?;
        if only_here > 0 && merged(repo, stream, commit)?.is_none() {
            let commits =
                if only_here == 1 { "1 commit is".to_owned() } else { format!("{only_here} commits are") };
            reasons.push(format!("{commits} on no other branch and at no remote"));
        }
    }
    Ok(reasons)
}

/// Returns how what a stream brings got to where it goes, if it did. The branch to which everything goes in the end goes
/// nowhere itself, however old it is.
pub(super) fn merged(repo: &Repo, stream: &Stream, commit: &str) -> Result<Option<Merged>> {
    let usual = repo.default_branch()?;
    let is_usual = match &usual {
        Some(usual) => usual.label.strip_prefix("origin/") == Some(&stream.branch),
        None => matches!(stream.branch.as_str(), "main" | "master"),
    };
    if is_usual {
        return Ok(None);
    }
    let mut goals = Vec::new();
    if let Some(base) = &stream.base {
        goals.extend(repo.branch(base)?);
    }
    goals.extend(usual.map(|usual| usual.commit));
    for goal in goals {
        if let Some(how) = repo.merged(commit, &goal)? {
            return Ok(Some(how));
        }
    }
    Ok(None)
}

/// Returns the runs in a stream that are not over.
pub(super) fn running(ctx: &Context, there: &Context) -> Vec<Newest> {
    /// Older ones ended long ago.
    const MOST: usize = 50;
    let is_open = |run: &Newest| !run.manifest.status.is_terminal() && !run.pulse.dead;
    look::runs(ctx, &there.layout).take(MOST).filter(is_open).collect()
}

/// Runs the commands that end a stream. Returns what went wrong.
fn tear_down(there: &Context, stream: &Stream) -> Result<Option<String>> {
    let config = match crate::ops::plan::load(there) {
        Ok(config) => config.streams,
        Err(err) => return Ok(Some(format!("nobody can tell how it is ended: {err:#}"))),
    };
    if config.teardown.is_empty() {
        return Ok(None);
    }
    Ok(match setup::attend(there, stream, setup::Which::TearDown)? {
        Ok(done) if done.status == RunStatus::Succeeded => None,
        Ok(done) => Some(format!("what ends it failed in run `{}`", done.run)),
        Err(said) => Some(format!("what ends it did not run: {said}")),
    })
}

fn end_run(there: &Context, run: &Newest, watch: &SharedWatch) -> Result<()> {
    let id = run.manifest.run_id.clone();
    let options = CancelOptions {
        task: Some(run.found.task.clone()),
        run: Wanted::Id(id.clone()),
        actor: process::whoami(&there.env),
        reason: Some("its stream is removed".to_owned()),
    };
    // It may have ended by itself meanwhile.
    if let Err(err) = cancel(there, &options, watch)
        && !err.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.kind == Kind::Usage)
    {
        return Err(err.context(format!("run `{id}` does not end")));
    }
    end(id.as_str(), || process::members(id.as_str()), watch)
}

/// Returns a word about each process that nobody knows and that has its folder in a stream.
fn strangers(folder: &Path) -> Vec<String> {
    let inside = process::inside(folder);
    inside.into_iter().map(|pid| format!("process {pid} still has its folder there")).collect()
}

/// Moves a stream into the trash, as far as it is there. The caller holds its lock.
pub(super) fn put_away(
    ctx: &Context,
    streams: &Streams,
    stream: Stream,
    repo: Option<&Repo>,
    branch: OfBranch,
) -> Result<Gone> {
    let mut warnings = Vec::new();
    let tip = ctx.repo.branch(&stream.branch)?;
    let how = match (&tip, branch) {
        // One that was there before the stream is not for it to remove.
        (Some(tip), OfBranch::IfMerged) if stream.made_branch_at.is_some() => {
            merged(&ctx.repo, &stream, tip)?
        }
        _ => None,
    };
    // What somebody checked out in it since is not its own branch, and that may be in use elsewhere.
    let holder = ctx.repo.holder_of(&stream.branch)?.filter(|holder| *holder != stream.path);
    let goes = tip.filter(|_| holder.is_none() && (how.is_some() || branch == OfBranch::Remove));
    let entry = match repo {
        Some(repo) => Some(repo.git_dir().to_owned()),
        None => ctx.repo.entry_of(&stream.path)?.filter(|_| !stream.path.join(".git").exists()),
    };
    let common_dir = ctx.repo.common_dir();
    let settings = match &goes {
        Some(_) => ctx.repo.settings_of_branch(&stream.branch)?,
        None => Vec::new(),
    };
    let mut bin = Bin::new(common_dir, &stream, entry.as_deref(), (goes.clone(), settings), ctx.clock.now())?;
    {
        let _list = streams.lock_list()?;
        match repo {
            Some(_) => bin.take(entry.as_deref()).context("the folder cannot be moved away")?,
            None => bin.take_entry(entry.as_deref())?,
        }
    }
    let mut branch_removed = false;
    if let Some(commit) = goes {
        match ctx.repo.remove_branch(&stream.branch, &commit) {
            Ok(true) => {
                ctx.repo.forget_branch(&stream.branch)?;
                branch_removed = true;
            }
            Ok(false) => warnings.push(format!("branch `{}` has moved and stays", stream.branch)),
            Err(err @ GitError::Program { .. }) => {
                warnings.push(format!("branch `{}` stays: {err}", stream.branch))
            }
            Err(err) => return Err(err.into()),
        }
    }
    // The branch that somebody removed who was killed is as gone as one of ours.
    if !branch_removed && ctx.repo.branch(&stream.branch)?.is_some() {
        bin.kept_branch()?;
    }
    streams.forget(&stream.name)?;
    Ok(Gone { stream, merged: how.filter(|_| branch_removed), branch_removed, warnings })
}
