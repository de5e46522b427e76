//! `stream new`: a branch, a worktree and its set-up for each name; all or nothing per name.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use anyhow::{Context as _, Result};

use super::leftover::{self, Leftover};
use super::rm::{self, OfBranch};
use super::{Context, Kind, Refusal, carry, is_there, lease, setup, streams, task_of, there};
use crate::git::{GitError, Lack, Objects, Repo};
use crate::id::{PipelineId, RunId, StreamName, TaskId};
use crate::ops::plan::{PlanOptions, Project};
use crate::pipeline::{listing, streams as section};
use crate::run::status::RunStatus;
use crate::store::streams::{Phase, Stream, Streams, note};
use crate::sys::{cores, fs};

/// What to make.
#[derive(Clone, Debug)]
pub struct NewOptions {
    pub names: Vec<StreamName>,
    /// Where the branches begin; where we are by default.
    pub from: Option<String>,
    /// The task whose name begins those of the streams' tasks.
    pub task: TaskId,
    /// Whether what is not committed here goes along.
    pub carry_changes: bool,
    /// The pipeline that is to run in them.
    pub run: Option<PipelineId>,
}

/// What became of the names, in their order.
#[derive(Debug)]
pub struct NewOutcome {
    pub streams: Vec<(StreamName, Result<Made>)>,
    /// What is worth knowing about all of them.
    pub warnings: Vec<String>,
    /// The run that was started in those that are ready.
    pub run: Option<RunId>,
}

impl NewOutcome {
    /// Returns the names of those that are ready to work in.
    pub fn ready(&self) -> Vec<StreamName> {
        let made = self.streams.iter().filter_map(|(_, made)| made.as_ref().ok());
        made.filter(|made| made.stream.phase == Phase::Ready).map(|made| made.stream.name.clone()).collect()
    }

    /// Whether every stream that was made is ready to work in.
    pub fn is_ready(&self) -> bool {
        let mut made = self.streams.iter().filter_map(|(_, made)| made.as_ref().ok());
        made.all(|made| made.stream.phase == Phase::Ready)
    }
}

/// A stream that is there now.
#[derive(Debug)]
pub struct Made {
    pub stream: Stream,
    /// The commit that its branch names.
    pub commit: String,
    /// Whether what was not committed in our worktree went along.
    pub carried: bool,
    /// What is not as it could be.
    pub warnings: Vec<String>,
}

/// Where streams begin.
struct Source {
    commit: String,
    /// A branch, without `refs/heads/`.
    base: Option<String>,
    /// The tree of what is not committed.
    carried: Option<String>,
    /// Whether somebody named the place.
    is_named: bool,
}

/// Makes streams.
pub fn new(ctx: &Context, options: &NewOptions) -> Result<NewOutcome> {
    let mut warnings = Vec::new();
    for (at, name) in options.names.iter().enumerate() {
        let same = |other: &&StreamName| other.as_folder() == name.as_folder();
        if let Some(other) = options.names[..at].iter().find(same) {
            let message = format!("`{other}` and `{name}` would have the same folder");
            return Err(Refusal::usage(message).hint("leave one of them out").into());
        }
        task_of(&options.task, name)?;
    }
    let source = source(ctx, options, &mut warnings)?;
    let config = super::super::plan::load(ctx)?.streams;
    let maker =
        Maker { ctx, config, source, task: &options.task, run: options.run.as_ref(), room: Room::new() };
    let next = AtomicUsize::new(0);
    let made: Vec<_> = options.names.iter().map(|_| Mutex::new(None)).collect();
    let workers = options.names.len().min(MOST_AT_ONCE);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(name), Some(slot)) = (options.names.get(at), made.get(at)) else { break };
                    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(maker.make(name));
                }
            });
        }
    });
    let made = made.into_iter().map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
    let made = made.map(|made| made.unwrap_or_else(|| Err(anyhow::anyhow!("it was not its turn"))));
    Ok(NewOutcome { streams: options.names.iter().cloned().zip(made).collect(), warnings, run: None })
}

/// So many streams are made at the same time; most of that time a set-up runs, or git writes files.
const MOST_AT_ONCE: usize = 16;

fn source(ctx: &Context, options: &NewOptions, warnings: &mut Vec<String>) -> Result<Source> {
    if let Some(from) = &options.from {
        let commit = ctx.repo.commit_named(from)?.ok_or_else(|| Refusal::no_commit(from))?;
        let is_branch = from.parse::<StreamName>().is_ok() && ctx.repo.branch(from)?.is_some();
        return Ok(Source { commit, base: is_branch.then(|| from.clone()), carried: None, is_named: true });
    }
    let head = ctx.repo.head()?;
    let Some(commit) = head.commit.clone() else {
        let message = "there is no commit yet that a stream could begin at";
        return Err(Refusal::usage(message).hint("git commit --allow-empty -m begin").into());
    };
    let base =
        head.branch.as_deref().and_then(|branch| branch.strip_prefix("refs/heads/")).map(str::to_owned);
    // What we write must neither be carried nor count as a change.
    let ours = ctx.exclude_patterns();
    let mut repo = ctx.repo.clone();
    if repo.exclude(&ours).is_err() {
        repo.leave_out(ours);
    }
    let now = repo.tree_now()?;
    let mut carried = None;
    if !now.state.dirty {
    } else if options.carry_changes {
        let unmerged = ctx.repo.unmerged()?;
        if !unmerged.is_empty() {
            let names = listing(unmerged.iter().map(String::as_str));
            let message = format!("files are in conflict here, and cannot be carried along: {names}");
            return Err(Refusal::new(Kind::Unsafe, message)
                .hint("merge them and `git add` them; or leave `--carry-changes` out")
                .into());
        }
        let (tree, nested) = ctx.repo.carried_tree().context("cannot take along what is not committed")?;
        warnings.extend(
            nested.iter().map(|path| format!("`{path}` is a repository of its own and is not carried along")),
        );
        carried = Some(tree);
    } else {
        warnings.push(
            "what is not committed here stays here; with `--carry-changes` it goes along as well".to_owned(),
        );
    }
    Ok(Source { commit, base, carried, is_named: false })
}

/// How many may have git write their files at the same time: each uses two threads.
struct Room {
    free: Mutex<usize>,
    given_back: Condvar,
}

impl Room {
    fn new() -> Self {
        Self { free: Mutex::new((cores::all() / 2).max(1)), given_back: Condvar::new() }
    }

    fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self.given_back.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        drop(free);
        let done = work();
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.given_back.notify_one();
        done
    }
}

/// What all streams that are made together have in common.
struct Maker<'a> {
    ctx: &'a Context,
    config: section::Streams,
    source: Source,
    task: &'a TaskId,
    run: Option<&'a PipelineId>,
    room: Room,
}

impl Maker<'_> {
    fn make(&self, name: &StreamName) -> Result<Made> {
        let streams = streams(self.ctx);
        let _lock = super::lock(&streams, name)?;
        let known = self.look_at_known(&streams, name)?;
        let (path, commit, is_made) = self.place(name)?;
        if let Some(pipeline) = self.run {
            let tree = self.source.carried.as_ref().filter(|_| !is_made).unwrap_or(&commit);
            refuse_unknown(self.ctx, tree, pipeline)
                .with_context(|| format!("`{pipeline}` could not run in stream `{name}`"))?;
        }
        let task = task_of(self.task, name)?;
        let mut stream = Stream::begun(name.clone(), path, commit.clone(), task, self.ctx.clock.now());
        stream.base.clone_from(&self.source.base);
        stream.made_branch_at = (!is_made).then(|| commit.clone());
        stream.began_at = Some(commit.clone());
        if is_made {
            stream.base_commit.clone_from(&self.source.commit);
        }
        let mut warnings = Vec::new();
        if let Some(known) = known {
            // git's entry of it is in the way, and it is ours. Until here somebody may have been refused.
            let was = known.path.display().to_string();
            rm::put_away(self.ctx, &streams, known, None, OfBranch::Keep)?;
            warnings.push(format!("what git knew of its old folder `{was}`, which is gone, is in the trash"));
        }
        let there = match self.begin(&streams, &mut stream, &mut warnings) {
            Ok(there) => there,
            Err(err) => {
                return Err(match leftover::take_back(self.ctx, &streams, &stream) {
                    Ok(()) => err,
                    Err(also) => err.context(format!("something is left of `{name}`: {also:#}")),
                });
            }
        };
        if stream.phase == Phase::SettingUp {
            self.set_up(&there, &mut stream, &mut warnings);
            streams.save(&stream)?;
        }
        let carried = self.source.carried.is_some();
        Ok(Made { stream, commit, carried, warnings })
    }

    /// Looks at what is known of a stream of that name; only what nobody uses may go. Returns one whose folder is gone,
    /// which is in the way of another one.
    fn look_at_known(&self, streams: &Streams, name: &StreamName) -> Result<Option<Stream>> {
        let Some(known) = streams.find(name)? else { return Ok(None) };
        if known.name != *name {
            let message = format!("stream `{}` has the folder that `{name}` would have", known.name);
            return Err(Refusal::usage(message).hint("choose another name").into());
        }
        match known.phase {
            Phase::Creating if leftover::mend(self.ctx, streams, &known)? == Leftover::Removed => {
                return Ok(None);
            }
            _ => {}
        }
        if is_there(&known) {
            let message = format!("there is a stream `{name}` already, in `{}`", known.path.display());
            let hint = format!("cd \"$(git orchestrate stream cd {name})\"");
            return Err(Refusal::usage(message).hint(hint).into());
        }
        Ok(Some(known))
    }

    /// Returns where a stream will be, the commit that its branch names or will name, and whether there is such a branch.
    fn place(&self, name: &StreamName) -> Result<(PathBuf, String, bool)> {
        let path = path_of(self.ctx, &self.config, name)?;
        if path.symlink_metadata().is_ok() {
            let message = format!("`{}` is in the way", path.display());
            let hint = "move it away, or set `streams.path` in codex.orchestrator.json";
            return Err(Refusal::usage(message).hint(hint).into());
        }
        let Some(commit) = self.ctx.repo.branch(name.as_str())? else {
            return Ok((path, self.source.commit.clone(), false));
        };
        if self.source.is_named {
            let message = format!("there is a branch `{name}` already, so the stream cannot begin elsewhere");
            let hint = format!("leave `--from` out to go on with it: git orchestrate stream new {name}");
            return Err(Refusal::usage(message).hint(hint).into());
        }
        if self.source.carried.is_some() && commit != self.source.commit {
            let message =
                format!("there is a branch `{name}` already, and what is changed here is not about it");
            return Err(Refusal::usage(message)
                .hint("leave `--carry-changes` out, or choose another name")
                .into());
        }
        if let Some(holder) = self.ctx.repo.holder_of(name.as_str())? {
            let message = format!("branch `{name}` is checked out in `{}`", holder.display());
            return Err(Refusal::usage(message).hint("choose another name, or work there").into());
        }
        Ok((path, commit, true))
    }

    /// Makes a stream up to the point at which it can be worked in, but for its set-up.
    fn begin(&self, streams: &Streams, stream: &mut Stream, warnings: &mut Vec<String>) -> Result<Context> {
        streams.save(stream)?;
        let repo = self.link(streams, stream, warnings)?;
        self.fill(&repo, warnings)?;
        let there = there(self.ctx, repo);
        stream.phase = match super::super::plan::load(&there) {
            Ok(config) if config.streams.setup.is_empty() => Phase::Ready,
            Ok(_) => Phase::SettingUp,
            Err(err) => {
                warnings.push(format!("nobody can tell what its set-up is: {err:#}"));
                Phase::SetUpFailed
            }
        };
        streams.save(stream)?;
        Ok(there)
    }

    /// Makes the branch and the empty worktree. Everybody else who does so waits for that moment.
    fn link(&self, streams: &Streams, stream: &mut Stream, warnings: &mut Vec<String>) -> Result<Repo> {
        let folder = stream.path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder)?;
        if let Ok(inside) = stream.path.strip_prefix(self.ctx.repo.work_tree()) {
            // Else every run here would find a repository in its tree.
            let _ = self.ctx.repo.exclude(&[format!("/{}/", inside.display())]);
        }
        let _list = streams.lock_list()?;
        if let Some(commit) = stream.made_branch_at.take() {
            self.ctx.repo.make_branch(&stream.branch, &commit)?;
            stream.made_branch_at = Some(commit);
        }
        let repo = self.ctx.repo.link_worktree(&stream.path, &stream.branch)?;
        stream.worktree = repo.git_dir().file_name().map(|name| name.to_string_lossy().into_owned());
        note(repo.git_dir(), &stream.name)?;
        let held = lease::lease(self.ctx, streams, &self.config, stream)?;
        warnings.extend(held.as_ref().and_then(|held| held.warning.clone()));
        // While nobody else can lease the same.
        streams.save(stream)?;
        Ok(repo)
    }

    fn fill(&self, there: &Repo, warnings: &mut Vec<String>) -> Result<()> {
        self.room.within(|| there.fill(self.source.carried.as_deref(), self.config.lfs_later))?;
        let lacks = there.fill_submodules(Objects::Own, self.config.lfs_later)?;
        warnings.extend(lacks.iter().map(Lack::said));
        carry::carry(self.ctx, there)?;
        if let Some(commit) = there.head()?.commit
            && let Some(said) = there.after_checkout(&commit)?
        {
            warnings.push(format!("the hook `post-checkout` failed: {said}"));
        }
        Ok(())
    }

    fn set_up(&self, there: &Context, stream: &mut Stream, warnings: &mut Vec<String>) {
        stream.phase = match setup::attend(there, stream, setup::Which::SetUp) {
            Ok(done) => {
                let is_good = done.status == RunStatus::Succeeded;
                stream.setup = Some(done);
                if is_good { Phase::Ready } else { Phase::SetUpFailed }
            }
            Err(said) => {
                warnings.push(format!("the set-up did not run: {said}"));
                Phase::SetUpFailed
            }
        };
    }
}

/// Refuses a pipeline that the project as a tree has it does not declare. Where it has no configuration, that comes from
/// elsewhere, and whoever starts the pipeline will see.
fn refuse_unknown(ctx: &Context, tree: &str, pipeline: &PipelineId) -> Result<()> {
    let project = Project::at(ctx, tree)?;
    if project.text.is_some() {
        project.plan(&PlanOptions { pipeline: Some(pipeline.clone()), ..PlanOptions::default() })?;
    }
    Ok(())
}

/// Returns where the folder of a stream is.
fn path_of(ctx: &Context, config: &section::Streams, name: &StreamName) -> Result<PathBuf> {
    let home = ctx.repo.home();
    let path = home.join(config.path_of(&lease::repository(ctx), &name.as_folder()));
    // Only the folder above has to be there for its name to be known.
    let (Some(folder), Some(last)) = (path.parent(), path.file_name()) else {
        return Err(Refusal::usage(format!("`{}` is no place for a stream", path.display())).into());
    };
    let folder = fs::resolved(folder)?;
    if folder.starts_with(ctx.repo.common_dir()) {
        return Err(Refusal::new(Kind::Unsafe, format!("`{}` is git's own folder", folder.display()))
            .hint("set `streams.path` in codex.orchestrator.json to another place")
            .into());
    }
    let path = folder.join(last);
    match path.to_str() {
        Some(_) => Ok(path),
        None => Err(GitError::Io {
            path,
            source: std::io::Error::other("the name of a stream's folder has to be UTF-8"),
        }
        .into()),
    }
}
