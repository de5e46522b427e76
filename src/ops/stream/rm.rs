//! `stream rm`: streams go into the trash, and nothing goes that is nowhere else.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::look::{self, Newest};
use super::{Context, Kind, Refusal, above, cd, gone, setup, streams, there};
use crate::git::{GitError, Merged, Repo};
use crate::id::StreamName;
use crate::ops::cancel::{CancelOptions, cancel};
use crate::ops::host::SharedWatch;
use crate::ops::side::{end, end_all};
use crate::run::status::RunStatus;
use crate::store::catalog::Wanted;
use crate::store::stream_trash::Bin;
use crate::store::streams::{Stream, StreamError, Streams};
use crate::sys::{ancestors, process, room};

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
    let known = match streams.find(name) {
        Err(StreamError::Corrupt { .. }) if options.force => Some(gone::made_out(ctx, &streams, name)?),
        known => known?.filter(|known| known.name == *name),
    };
    let Some(stream) = known else {
        let worktrees = ctx.repo.worktrees()?;
        if let Some(other) = worktrees.iter().find(|it| it.name.as_deref() == Some(name.as_str())) {
            let message = format!("`{name}` is a worktree that somebody else made");
            let hint =
                format!("git worktree remove {}", crate::run::shell::word(&other.path.display().to_string()));
            return Err(Refusal::new(Kind::Unsafe, message).hint(hint).into());
        }
        return Err(cd::unknown(ctx, name).into());
    };
    refuse_odd_place(ctx, &streams, &stream)?;
    let Ok(repo) = ctx.repo.worktree_at(&stream.path) else {
        // Its folder is gone, or is somebody else's by now: then it is not touched.
        if !options.force {
            refuse(&stream, gone::work(ctx, &streams, &stream, options.branch)?)?;
        }
        let was = stream.path.display().to_string();
        let mut gone = put_away(ctx, &streams, stream, None, options.branch)?;
        gone.warnings.push(format!(
            "its folder `{was}` was gone; if it was moved, bring the stream back, and then: git worktree repair FOLDER"
        ));
        return Ok(gone);
    };
    let there = there(ctx, repo);
    let busy = running(ctx, &there);
    if !options.force {
        let mut reasons = work(&there.repo, &stream)?;
        reasons.extend(work_on_branch(ctx, &stream, options.branch)?.filter(|it| !reasons.contains(it)));
        reasons.extend(busy.iter().map(|run| {
            format!("run `{}` of pipeline `{}` is not over", run.manifest.run_id, run.manifest.pipeline_id)
        }));
        reasons.extend(strangers(&stream, &busy).into_iter().map(said));
        reasons.extend(above::yet_to_come(ctx, &stream));
        refuse(&stream, reasons)?;
    }
    for run in busy {
        end_run(&there, &run, watch)?;
    }
    if options.force {
        let what = format!("processes that have their folder in stream `{name}`");
        end_all(&what, || process::inside(&stream.path), watch)?;
    }
    let unfinished = tear_down(&there, &stream);
    if let Some(said) = unfinished.as_ref().filter(|_| !options.force) {
        let message = format!("stream `{name}` stays: {said}");
        let hint = format!("git orchestrate stream logs {name}; with `--force` it goes all the same");
        return Err(Refusal::new(Kind::Rejected, message).hint(hint).into());
    }
    // Those that its set-up had left, and what ends it did not.
    match options.force {
        true => end_all("processes that what ends the stream left", || process::inside(&stream.path), watch)?,
        false => refuse(&stream, staying_in(&stream.path).into_iter().map(said).collect())?,
    }
    let mut gone = put_away(ctx, &streams, stream, Some(&there.repo), options.branch)?;
    gone.warnings.extend(unfinished);
    Ok(gone)
}

/// Returns git's part of a stream. Where git looks for one that was moved by hand, nothing is.
pub(super) fn entry_of(ctx: &Context, streams: &Streams, stream: &Stream) -> Result<Option<PathBuf>> {
    match streams.entry_of(stream) {
        Some(entry) => Ok(Some(entry)),
        None => Ok(ctx.repo.entry_of(&stream.path)?),
    }
}

/// So many of those who called us are looked at.
const CALLERS: usize = 64;

/// Refuses what nobody should rename.
fn refuse_odd_place(ctx: &Context, streams: &Streams, stream: &Stream) -> Result<()> {
    let unsafe_ = |message: String, hint: String| Err(Refusal::new(Kind::Unsafe, message).hint(hint).into());
    let (name, path) = (&stream.name, &stream.path);
    // Whoever called us from there, also for another folder, would be ended or left without one.
    let callers = ancestors::pids(CALLERS);
    if ctx.env.cwd().starts_with(path) || process::inside(path).iter().any(|pid| callers.contains(pid)) {
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
    if let Some(entry) = entry_of(ctx, streams, stream)?
        && entry.join("locked").exists()
    {
        return unsafe_(
            format!("the worktree of `{name}` is locked"),
            format!("git worktree unlock {}", crate::run::shell::word(&path.display().to_string())),
        );
    }
    Ok(())
}

/// Refuses to remove a stream if there are reasons, and says which.
fn refuse(stream: &Stream, reasons: Vec<String>) -> Result<()> {
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
        reasons.extend(only_here(repo, stream, commit)?);
    }
    Ok(reasons)
}

/// Returns what is said of commits that are in a stream and nowhere else.
pub(super) fn only_here(repo: &Repo, stream: &Stream, commit: &str) -> Result<Option<String>> {
    let only_here = repo.commits_only_here(commit, &stream.branch)?;
    if only_here == 0 || merged(repo, stream, commit)?.is_some() {
        return Ok(None);
    }
    let commits = if only_here == 1 { "1 commit is".to_owned() } else { format!("{only_here} commits are") };
    Ok(Some(format!("{commits} on no other branch and at no remote")))
}

/// Returns what is on a stream's branch and nowhere else, if the branch goes whatever is on it. Something else may be
/// checked out in the stream.
pub(super) fn work_on_branch(ctx: &Context, stream: &Stream, branch: OfBranch) -> Result<Option<String>> {
    match ctx.repo.branch(&stream.branch)? {
        Some(tip) if branch == OfBranch::Remove => only_here(&ctx.repo, stream, &tip),
        _ => Ok(None),
    }
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
fn tear_down(there: &Context, stream: &Stream) -> Option<String> {
    let config = match crate::ops::plan::load(there) {
        Ok(config) => config.streams,
        Err(err) => return Some(format!("nobody can tell how it is ended: {err:#}")),
    };
    if config.teardown.is_empty() {
        return None;
    }
    match setup::attend(there, stream, setup::Which::TearDown) {
        Ok(done) if done.status == RunStatus::Succeeded => None,
        Ok(done) => Some(format!("what ends it failed in run `{}`", done.run)),
        Err(said) => Some(format!("what ends it did not run: {said}")),
    }
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

/// Returns the processes that have their folder in a stream, but for those of runs that are told of anyway, and for what
/// its set-up left running: what ends the stream may end that.
pub(super) fn strangers(stream: &Stream, busy: &[Newest]) -> Vec<u32> {
    let mut inside = staying_in(&stream.path);
    if !inside.is_empty() {
        let runs = busy.iter().map(|run| &run.manifest.run_id).chain(stream.setup.iter().map(|it| &it.run));
        let mut known: Vec<_> = runs.flat_map(|run| process::members(run.as_str())).collect();
        known.extend(busy.iter().filter_map(|run| run.manifest.owner()).map(|owner| owner.pid));
        inside.retain(|pid| !known.contains(pid));
    }
    inside
}

/// Returns the processes that have their folder in another one. What git does in the background after a commit is over in
/// a moment, so that is waited for.
fn staying_in(folder: &Path) -> Vec<u32> {
    const MOMENT: Duration = Duration::from_secs(3);
    let begin = Instant::now();
    loop {
        let mut inside = process::inside(folder);
        let names: Vec<_> = inside.iter().map(|pid| process::name(*pid)).collect();
        if !names.iter().any(|name| name == "git") || begin.elapsed() > MOMENT {
            inside.retain(|pid| !process::has_ended(*pid));
            return inside;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns a word about a process that has its folder in a stream.
fn said(pid: u32) -> String {
    format!("process {pid} (`{}`) has its folder there", process::name(pid))
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
        None => entry_of(ctx, streams, &stream)?.filter(|_| !stream.path.join(".git").exists()),
    };
    let common_dir = ctx.repo.common_dir();
    let settings = match &goes {
        Some(_) => ctx.repo.settings_of_branch(&stream.branch)?,
        None => Vec::new(),
    };
    let mut bin = Bin::new(common_dir, &stream, entry.as_deref(), (goes.clone(), settings), ctx.clock.now())?;
    let mut kept: Vec<_> = goes.iter().cloned().collect();
    match entry.as_deref().map(|entry| ctx.repo.kept_in(entry)).transpose() {
        Ok(known) => kept.extend(known.map(|known| known.objects).unwrap_or_default()),
        Err(err) => warnings.push(format!("git may collect what was staged in it: {err}")),
    }
    ctx.repo.keep_for(&bin.place(), &kept)?;
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
