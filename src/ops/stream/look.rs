//! How a stream stands: its branch, its tree, its runs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Context, is_there, streams, there};
use crate::git::{Repo, WorktreeInfo};
use crate::id::StreamName;
use crate::ops::which::{self, Pulse};
use crate::run::manifest::Manifest;
use crate::run::stamp::Stamp;
use crate::run::status::RunStatus;
use crate::store::catalog::{self, Found};
use crate::store::layout::Layout;
use crate::store::streams::{Phase, Stream};
use crate::sys::fs::{self, Durability};

/// How long the size of a folder counts as known: to measure it takes as long as all else.
const DISK_SECONDS: f64 = 3600.0;

/// A stream, or a linked worktree that somebody else made.
#[derive(Debug)]
pub struct Row {
    /// The stream's name, or git's name of the worktree.
    pub name: String,
    pub path: PathBuf,
    /// What is known of it, if it is a stream.
    pub stream: Option<Stream>,
    pub state: State,
    /// Nothing if there is no folder to look at.
    pub seen: Option<Seen>,
    /// Its newest run, and whether somebody works on it.
    pub run: Option<Newest>,
    /// How the newest whole run on the tree as it is now ended.
    pub verdict: Option<Verdict>,
    /// What keeps us from saying more.
    pub problem: Option<String>,
}

/// Whether there is something to work in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Ready,
    /// Somebody is making it, or sets it up.
    Making,
    /// Nobody finished its set-up.
    SetUpInterrupted,
    SetUpFailed,
    /// Whoever made it was killed.
    Unfinished,
    /// Its folder was deleted or moved.
    Gone,
}

/// What git says of a worktree.
#[derive(Debug)]
pub struct Seen {
    /// Without `refs/heads/`; nothing if it is detached.
    pub branch: Option<String>,
    pub commit: Option<String>,
    pub dirty: bool,
    /// Commits that it has and its base has not, and the other way round.
    pub ahead: Option<(usize, usize)>,
    /// How many bytes its files take, and when somebody looked.
    pub disk: Option<Disk>,
}

/// The size of a folder.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Disk {
    pub bytes: u64,
    pub at: Stamp,
}

/// A run and the process behind it.
#[derive(Debug)]
pub struct Newest {
    pub found: Found,
    pub manifest: Manifest,
    pub pulse: Pulse,
}

/// How a run on a tree ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub status: RunStatus,
    pub run: String,
}

impl Row {
    /// Whether something goes on in it that will end by itself.
    pub fn is_busy(&self) -> bool {
        let works = |it: &Newest| {
            !it.manifest.status.is_terminal() && !it.pulse.dead && it.manifest.parked_at.is_none()
        };
        self.state == State::Making || self.run.as_ref().is_some_and(works)
    }
}

impl State {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Making => "making",
            Self::SetUpInterrupted => "set-up interrupted",
            Self::SetUpFailed => "set-up failed",
            Self::Unfinished => "unfinished",
            Self::Gone => "gone",
        }
    }
}

/// Returns whether there is something to work in.
pub fn state_of(ctx: &Context, stream: &Stream) -> State {
    let locked = |name: &StreamName| streams(ctx).is_locked(name);
    match stream.phase {
        Phase::Creating if locked(&stream.name) => State::Making,
        Phase::Creating => State::Unfinished,
        _ if !is_there(stream) => State::Gone,
        Phase::SettingUp if locked(&stream.name) => State::Making,
        Phase::SettingUp => State::SetUpInterrupted,
        Phase::SetUpFailed => State::SetUpFailed,
        Phase::Ready => State::Ready,
    }
}

/// Returns how a stream stands.
pub fn of_stream(ctx: &Context, stream: Stream) -> Row {
    let state = state_of(ctx, &stream);
    let (name, path) = (stream.name.to_string(), stream.path.clone());
    let is_to_see = !matches!(state, State::Gone | State::Unfinished) && stream.phase != Phase::Creating;
    seen(
        ctx,
        Row { name, path, stream: Some(stream), state, seen: None, run: None, verdict: None, problem: None },
        is_to_see,
    )
}

/// Returns how a worktree stands that is no stream of ours.
pub fn of_worktree(ctx: &Context, worktree: WorktreeInfo) -> Row {
    let name = worktree.name.unwrap_or_default();
    let state = if worktree.present { State::Ready } else { State::Gone };
    let row = Row {
        name,
        path: worktree.path,
        stream: None,
        state,
        seen: None,
        run: None,
        verdict: None,
        problem: None,
    };
    seen(ctx, row, worktree.present)
}

fn seen(ctx: &Context, mut row: Row, is_to_see: bool) -> Row {
    if !is_to_see {
        return row;
    }
    let repo = match ctx.repo.worktree_at(&row.path) {
        Ok(repo) => repo,
        Err(err) => {
            row.problem = Some(format!("{:#}", anyhow::Error::from(err)));
            return row;
        }
    };
    let there = there(ctx, repo);
    let tree = match look(ctx, &there, &row) {
        Ok((seen, tree)) => {
            row.seen = Some(seen);
            Some(tree)
        }
        Err(err) => {
            row.problem = Some(format!("{err:#}"));
            None
        }
    };
    row.run = newest(ctx, &there.layout);
    row.verdict = tree.and_then(|tree| verdict(ctx, &there.layout, &tree));
    row
}

fn look(ctx: &Context, there: &Context, row: &Row) -> anyhow::Result<(Seen, String)> {
    let head = there.repo.head()?;
    let now = there.repo.tree_now()?;
    let branch =
        head.branch.as_deref().and_then(|branch| branch.strip_prefix("refs/heads/")).map(str::to_owned);
    let ahead = match (&row.stream, &head.commit) {
        (Some(stream), Some(commit)) => Some(distance(&there.repo, stream, commit)?),
        _ => None,
    };
    let disk = row.stream.as_ref().and_then(|stream| disk(ctx, stream));
    let dirty = now.state.is_changed() || !now.state.dirty_submodules.is_empty();
    Ok((Seen { branch, commit: head.commit, dirty, ahead, disk }, now.state.tree))
}

/// Returns how far a stream and its base have come since they parted.
fn distance(repo: &Repo, stream: &Stream, commit: &str) -> anyhow::Result<(usize, usize)> {
    let tip = stream.base.as_deref().map(|base| repo.branch(base)).transpose()?.flatten();
    let base = tip.unwrap_or_else(|| stream.base_commit.clone());
    Ok(repo.ahead_and_behind(commit, &base)?)
}

fn disk(ctx: &Context, stream: &Stream) -> Option<Disk> {
    let kept = streams(ctx).disk_file(&stream.name);
    let now = ctx.clock.now();
    let known = fs::read_if_there(&kept).ok().flatten();
    let known = known.and_then(|bytes| serde_json::from_slice::<Disk>(&bytes).ok());
    if let Some(known) =
        known.filter(|known| now.seconds_since(known.at) < DISK_SECONDS && known.at >= stream.created_at)
    {
        return Some(known);
    }
    let disk = Disk { bytes: fs::tree_size(&stream.path).ok()?, at: now };
    let text = serde_json::to_vec(&disk).ok()?;
    // Without the file somebody measures again.
    let _ = kept.parent().map_or(Ok(()), fs::create_dir_all);
    let _ = fs::write_atomically(&kept, &text, Durability::Process);
    Some(disk)
}

/// Returns the newest run that is no part of another one there.
pub fn newest(ctx: &Context, layout: &Layout) -> Option<Newest> {
    runs(ctx, layout).next()
}

/// Returns the runs of a worktree that are no parts of others there, newest first.
pub fn runs<'a>(ctx: &'a Context, layout: &'a Layout) -> impl Iterator<Item = Newest> + 'a {
    let worktrees = ctx.repo.worktrees().unwrap_or_default();
    catalog::newest_first(std::slice::from_ref(layout), None)
        .filter(|found| catalog::has_begun(&found.paths))
        .filter_map(move |found| {
            let state = catalog::read(&found.paths).ok()?;
            let is_shared = layout.runs == ctx.layout.runs && layout.root != ctx.layout.root;
            if is_shared && ctx.home_of(&found.layout, &state.manifest, &worktrees).root != layout.root {
                return None;
            }
            let parent = state.manifest.parent_run_id.as_deref().and_then(|parent| parent.parse().ok());
            if parent.is_some_and(|parent| found.sibling(parent).paths.dir.is_dir()) {
                return None;
            }
            let pulse = which::pulse(ctx, &found, &state);
            Some(Newest { found, manifest: state.manifest, pulse })
        })
}

/// Returns how the newest whole run on a tree ended that is over.
fn verdict(ctx: &Context, layout: &Layout, tree: &str) -> Option<Verdict> {
    /// More are of no interest, and each is a file to read.
    const MOST: usize = 20;
    let of_tree = |run: &Newest| {
        let manifest = &run.manifest;
        let began = manifest.git.as_ref().and_then(|git| git.tree.as_deref());
        let counts = matches!(manifest.status, RunStatus::Succeeded | RunStatus::Failed);
        let declared = manifest.plan.is_some();
        began == Some(tree) && counts && declared && !manifest.is_partial() && !manifest.is_void()
    };
    let run = runs(ctx, layout).take(MOST).find(of_tree)?;
    Some(Verdict { status: run.manifest.status, run: run.manifest.run_id.to_string() })
}
