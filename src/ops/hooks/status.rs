//! `hooks status`: whether each hook fires, in each worktree, for a program without a terminal.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::super::Context;
use super::super::hook::{PROBE, READY, probed};
use super::{foreign, shim};
use crate::git::HooksFolder;
use crate::pipeline::config::{self, FILE_NAME};
use crate::pipeline::hooks::{Event, Hooks};
use crate::run::shell;
use crate::sys::{fs, room};

/// How hooks stand.
#[derive(Clone, Debug)]
pub struct HooksStatus {
    pub worktrees: Vec<OfWorktree>,
    /// The version of git.
    pub git: String,
}

/// How hooks stand in one worktree.
#[derive(Clone, Debug)]
pub struct OfWorktree {
    pub path: PathBuf,
    pub hooks: Vec<OfHook>,
}

/// How one hook stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfHook {
    pub event: Event,
    pub fires: Fires,
    /// Whether the configuration asks for something where it would fire.
    pub configured: bool,
    /// What would run, if anything.
    pub place: Option<String>,
}

/// Whether a hook fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fires {
    /// It was tried.
    Yes,
    /// Another tool's hook names us. What else that does, so that it was not tried.
    Through(String),
    /// It is not there, or something else is.
    No { why: String, mend: String },
}

impl HooksStatus {
    /// Whether every hook fires that somebody asked for.
    pub fn is_good(&self) -> bool {
        let wanted = |hook: &&OfHook| hook.configured || hook.place.is_some();
        let mut hooks = self.worktrees.iter().flat_map(|of| &of.hooks).filter(wanted);
        hooks.all(|hook| !matches!(hook.fires, Fires::No { .. }))
    }
}

/// Tries the hooks of every worktree.
pub fn status(ctx: &Context) -> Result<HooksStatus> {
    let mut worktrees = Vec::new();
    for worktree in ctx.repo.worktrees()?.into_iter().filter(|worktree| worktree.present) {
        let mut hooks = hooks_of(ctx, &worktree.path)?;
        // Nobody misses what nobody asked for.
        hooks.retain(|hook| hook.event == Event::PrePush || hook.configured || hook.place.is_some());
        worktrees.push(OfWorktree { path: worktree.path, hooks });
    }
    Ok(HooksStatus { worktrees, git: ctx.repo.git_version().to_owned() })
}

/// What all hooks of a worktree have in common.
struct Around<'a> {
    worktree: &'a Path,
    folder: HooksFolder,
    /// What its own configuration asks for.
    asked: Hooks,
    /// The hooks that stand in git's configuration, by name.
    in_git: Vec<String>,
}

/// Tries the hooks of one worktree.
pub fn hooks_of(ctx: &Context, worktree: &Path) -> Result<Vec<OfHook>> {
    let inside = ctx.layout.root.strip_prefix(ctx.repo.work_tree()).unwrap_or(Path::new(""));
    let text = fs::read_if_there(&worktree.join(inside).join(FILE_NAME)).ok().flatten();
    let config = text.and_then(|text| config::parse(FILE_NAME, &String::from_utf8_lossy(&text)).ok());
    let around = Around {
        worktree,
        folder: ctx.repo.hooks_folder(worktree)?,
        asked: config.map(|config| config.hooks).unwrap_or_default(),
        in_git: ctx.repo.configured_hooks()?,
    };
    READY.iter().map(|event| hook(ctx, &around, *event)).collect()
}

/// Tries one hook.
fn hook(ctx: &Context, around: &Around<'_>, event: Event) -> Result<OfHook> {
    let Around { worktree, folder, asked, in_git } = around;
    let configured = asked.contains_key(&event);
    let path = folder.path.join(event.as_str());
    let ours = format!("orchestrate-{event}");
    let in_git_too = ctx.repo.reads_configured_hooks() && in_git.contains(&ours);
    let text = fs::read_if_there(&path).ok().flatten();
    let is_ours = text.as_ref().is_some_and(|text| shim::is_ours(text, event));
    let owner = foreign::owner(folder, event, worktree);
    let mend = |what: &str| match &owner {
        Some(owner) => owner.mend.clone(),
        None => format!("git -C {} orchestrate hooks {what}", shell::word(&worktree.display().to_string())),
    };
    let of = |fires, place| Ok(OfHook { event, fires, configured, place });
    if !in_git_too && !is_ours {
        let calls = format!("orchestrate hook {event}");
        let is_there = room::is_program(&path);
        let named = match &owner {
            Some(owner) => owner.caller(event).map(Path::to_owned),
            None => text
                .as_ref()
                .is_some_and(|text| memchr::memmem::find(text, calls.as_bytes()).is_some())
                .then(|| path.clone()),
        };
        if let Some(named) = named.filter(|_| is_there) {
            let named = named.display().to_string();
            return of(Fires::Through(named.clone()), Some(named));
        }
        let is_no_folder = folder.path.exists() && !folder.path.is_dir();
        let why = match (&text, &owner) {
            _ if is_no_folder => format!("`{}` is no folder", folder.path.display()),
            (_, Some(owner)) => format!("`{}` belongs to {}", folder.path.display(), owner.name),
            (Some(_), None) => format!("`{}` is another hook", path.display()),
            (None, None) => format!("there is no `{}`", path.display()),
        };
        return of(Fires::No { why, mend: mend(&format!("install {event}")) }, None);
    }
    // Nobody else's hooks are run only to be tried.
    let mut settings: Vec<_> = in_git
        .iter()
        .filter(|name| !name.starts_with("orchestrate-"))
        .map(|name| format!("hook.{name}.enabled=false"))
        .collect();
    if !is_ours {
        settings.push("core.hooksPath=/dev/null".to_owned());
    }
    let (code, said) = ctx.repo.try_hook(worktree, event.as_str(), PROBE, &settings)?;
    let place = if in_git_too { "git's configuration".to_owned() } else { path.display().to_string() };
    if code == Some(0) && said.contains(&probed(event)) {
        return of(Fires::Yes, Some(place));
    }
    let why = match said.trim() {
        _ if is_ours && !room::is_program(&path) => format!("`{}` may not be run", path.display()),
        "" => "git does not call it".to_owned(),
        said => said.lines().next().unwrap_or_default().to_owned(),
    };
    let again = format!("install {event}");
    of(Fires::No { why, mend: mend(&again) }, Some(place))
}
