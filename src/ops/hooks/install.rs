//! `hooks install` and `hooks uninstall`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::super::hook::READY;
use super::super::{Context, Kind, Refusal, plan as project};
use super::{Place, Placed, foreign, global, shim};
use crate::git::{HooksFolder, Scope};
use crate::pipeline::hooks::Event;
use crate::run::shell;
use crate::sys::fs::{self, Durability};

/// Which hooks, and for whom.
#[derive(Clone, Debug, Default)]
pub struct HooksOptions {
    /// If none is named: to install, those that are asked for; to uninstall, all.
    pub events: Vec<Event>,
    /// For all repositories of the user.
    pub global: bool,
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct HooksChanged {
    pub placed: Vec<Placed>,
    pub warnings: Vec<String>,
}

impl HooksOptions {
    /// Those that are meant: if none is named, `pre-push` and what the configuration asks for.
    fn to_install(&self, ctx: &Context) -> Vec<Event> {
        if !self.events.is_empty() {
            return self.events.clone();
        }
        let asked = project::load(ctx).map(|config| config.hooks).unwrap_or_default();
        READY.iter().copied().filter(|event| *event == Event::PrePush || asked.contains_key(event)).collect()
    }

    fn to_uninstall(&self) -> Vec<Event> {
        if self.events.is_empty() { READY.to_vec() } else { self.events.clone() }
    }

    fn scope(&self) -> Scope {
        if self.global { Scope::User } else { Scope::Repository }
    }
}

/// Installs hooks. `program` is what they call.
pub fn install(ctx: &Context, options: &HooksOptions, program: &Path) -> Result<HooksChanged> {
    let mut changed = HooksChanged::default();
    let events = options.to_install(ctx);
    if ctx.repo.reads_configured_hooks() {
        for event in events {
            changed.placed.push(configure(ctx, options, event, program)?);
            warn_of_both(ctx, options, event, &mut changed.warnings)?;
        }
        return Ok(changed);
    }
    if options.global && stands_in(ctx)? {
        return global::install(ctx, &events, program);
    }
    let folder = folder(ctx, options.global)?;
    // All or none: what keeps one of them from being installed is found before anything is written.
    let plans: Vec<_> = events.iter().map(|event| plan(ctx, &folder, *event)).collect::<Result<_>>()?;
    for plan in plans {
        changed.placed.push(plan.write(program, options.global)?);
    }
    if !options.global {
        warn_of_one_for_all(ctx, &changed.placed, &mut changed.warnings)?;
        warn_of_other_folders(ctx, &folder, &mut changed.warnings);
    }
    Ok(changed)
}

/// Whether a folder of ours is to stand in for the hooks of each repository: where git knows no others of all
/// repositories, and nobody has named a folder for that.
fn stands_in(ctx: &Context) -> Result<bool> {
    let named = ctx.repo.settings_of("core.hooksPath")?;
    let others = named.iter().filter(|(scope, _)| scope == "global" || scope == "system");
    Ok(others.filter(|(_, value)| !global::is_ours(ctx, Path::new(value))).count() == 0)
}

/// Takes hooks away that are ours, and puts back what was there before.
pub fn uninstall(ctx: &Context, options: &HooksOptions) -> Result<HooksChanged> {
    let mut changed = match options.global {
        true => global::uninstall(ctx, options)?,
        false => HooksChanged::default(),
    };
    for event in options.to_uninstall() {
        let global = options.global;
        if configured(ctx, event, options.scope())? {
            ctx.repo.remove_section(options.scope(), &shim::section(event))?;
            let place = Place::Configuration { global };
            changed.placed.push(Placed { event, place, changed: true });
        }
        let Ok(folder) = folder(ctx, global) else { continue };
        let path = folder.path.join(event.as_str());
        let Some(text) = fs::read_if_there(&path).ok().flatten().filter(|text| shim::is_ours(text, event))
        else {
            continue;
        };
        let before = shim::before(&path);
        let had = before.symlink_metadata().is_ok();
        drop(text);
        match had {
            // One step: there is never no hook at all.
            true => fs::rename(&before, &path)?,
            false => fs::remove(&path)?,
        }
        let place = Place::File { path, before: had.then_some(before) };
        changed.placed.push(Placed { event, place, changed: true });
    }
    Ok(changed)
}

fn configured(ctx: &Context, event: Event, scope: Scope) -> Result<bool> {
    let found = ctx.repo.settings_of(&format!("{}.command", shim::section(event)))?;
    let word = if scope == Scope::User { "global" } else { "local" };
    Ok(found.iter().any(|(scope, _)| scope == word))
}

fn configure(ctx: &Context, options: &HooksOptions, event: Event, program: &Path) -> Result<Placed> {
    let mut changed = false;
    for (key, value) in shim::settings(event, program, options.global) {
        let word = if options.global { "global" } else { "local" };
        let known = ctx.repo.settings_of(&key)?;
        let there: Vec<_> = known.iter().filter(|(scope, _)| scope == word).map(|(_, value)| value).collect();
        if there != [&value] {
            ctx.repo.set(options.scope(), &key, &value).context("git's configuration cannot be written")?;
            changed = true;
        }
    }
    Ok(Placed { event, place: Place::Configuration { global: options.global }, changed })
}

/// Finds the folder of hooks that is meant.
fn folder(ctx: &Context, global: bool) -> Result<HooksFolder> {
    let mut folder = ctx.repo.hooks_folder(ctx.repo.work_tree())?;
    if !global {
        folder = of_repository(ctx, folder);
    }
    let is_for_all = folder.named.as_ref().is_some_and(|(_, scope)| scope == "global" || scope == "system");
    if folder.path.exists() && !folder.path.is_dir() {
        let path = folder.path.display();
        let (message, hint) = match folder.named {
            Some(_) => (
                format!("hooks are turned off: `core.hooksPath` is `{path}`"),
                "git config --show-origin --get core.hooksPath  shows who says that",
            ),
            None => (
                format!("hooks are turned off: `{path}` is no folder"),
                "move it out of the way, then run this again",
            ),
        };
        return Err(Refusal::new(Kind::Unsafe, message).hint(hint).into());
    }
    match (global, is_for_all) {
        (true, true) | (false, false) => Ok(folder),
        (false, true) => {
            let message = format!("`{}` holds the hooks of all your repositories", folder.path.display());
            Err(Refusal::new(Kind::Unsafe, message)
                .hint(
                    "for all of them: git orchestrate hooks install --global\n\
                     for this one alone, which then has hooks of its own only: \
                     git config core.hooksPath \"$(git rev-parse --git-common-dir)/hooks\"",
                )
                .into())
        }
        (true, false) => {
            let message = format!(
                "git {} knows hooks of all repositories only as a folder that stands in for each one's own",
                ctx.repo.git_version()
            );
            Err(Refusal::new(Kind::Unsafe, message)
                .hint(
                    "this repository names a folder of its own: install in it with git orchestrate hooks install\n\
                     or for all from a folder that is in no repository with such a setting",
                )
                .into())
        }
    }
}

/// Returns where a repository has hooks of its own: behind a folder of ours for all repositories, which calls them.
fn of_repository(ctx: &Context, folder: HooksFolder) -> HooksFolder {
    let is_for_all = folder.named.as_ref().is_some_and(|(_, scope)| scope == "global" || scope == "system");
    match is_for_all && global::is_ours(ctx, &folder.path) {
        true => HooksFolder { path: ctx.repo.common_dir().join("hooks"), named: None, tracked: false },
        false => folder,
    }
}

/// What is to be done about one hook.
struct Plan {
    event: Event,
    path: PathBuf,
    before: PathBuf,
    /// Whether a hook is there that is not ours.
    keeps: bool,
    /// Whether one is kept from an earlier install.
    kept: bool,
}

fn plan(ctx: &Context, folder: &HooksFolder, event: Event) -> Result<Plan> {
    let path = folder.path.join(event.as_str());
    let before = shim::before(&path);
    let found = path.symlink_metadata().ok();
    let text = fs::read_if_there(&path).ok().flatten().unwrap_or_default();
    let ours = found.as_ref().is_some_and(|found| found.is_file()) && shim::is_ours(&text, event);
    let kept = before.symlink_metadata().is_ok();
    let unsafe_ = |message: String, hint: String| -> anyhow::Error {
        Refusal::new(Kind::Unsafe, message).hint(hint).into()
    };
    if !ours && let Some(owner) = foreign::owner(folder, event, ctx.repo.work_tree()) {
        let message = format!("`{}` belongs to {}", folder.path.display(), owner.name);
        return Err(unsafe_(message, owner.mend));
    }
    if found.as_ref().is_some_and(std::fs::Metadata::is_dir) {
        return Err(unsafe_(
            format!("`{}` is a folder", path.display()),
            "move it out of the way".to_owned(),
        ));
    }
    // Whoever was killed half-way has given it its second name already.
    let half_way = kept && fs::is_same_file(&path, &before);
    if !ours && found.is_some() && kept && !half_way {
        let message = format!("`{}` is there already, and would be overwritten", before.display());
        let hint = "somebody replaced our hook: move one of the two files out of the way".to_owned();
        return Err(unsafe_(message, hint));
    }
    Ok(Plan { event, path, before, keeps: !ours && found.is_some(), kept: kept && ours })
}

impl Plan {
    fn write(&self, program: &Path, global: bool) -> Result<Placed> {
        let Self { event, path, before, keeps, kept } = self;
        let text = shim::text(*event, program, global, shim::First::Beside);
        let place = Place::File { path: path.clone(), before: (*keeps || *kept).then(|| before.clone()) };
        if fs::read_if_there(path)?.is_some_and(|there| there == text.as_bytes()) {
            return Ok(Placed { event: *event, place, changed: false });
        }
        let folder = path.parent().expect("a hook has a folder");
        fs::create_dir_all(folder)?;
        // The hook has both names until ours takes the first: there is never no hook at all.
        if *keeps && !fs::is_same_file(path, before) {
            match fs::second_name(path, before) {
                Ok(()) => {}
                Err(err) if err.source.kind() == std::io::ErrorKind::AlreadyExists => return Err(err.into()),
                // Not every file system knows second names.
                Err(_) => fs::rename_new(path, before)?,
            }
        }
        let write = |file: &mut std::fs::File| std::io::Write::write_all(file, text.as_bytes());
        if let Err(err) = fs::replace(path, Durability::Power, Some(0o755), write) {
            if *keeps {
                match fs::is_same_file(path, before) {
                    true => fs::remove(before)?,
                    false => fs::rename(before, path)?,
                }
            }
            return Err(err.into());
        }
        Ok(Placed { event: *event, place, changed: true })
    }
}

/// Says that hooks of ours are there for all repositories too: those of the repository answer alone.
fn warn_of_one_for_all(ctx: &Context, placed: &[Placed], warnings: &mut Vec<String>) -> Result<()> {
    let folder = ctx.repo.hooks_folder(ctx.repo.work_tree())?;
    if !global::is_ours(ctx, &folder.path) {
        return Ok(());
    }
    for Placed { event, .. } in placed {
        let text = fs::read_if_there(&folder.path.join(event.as_str()))?;
        if text.is_some_and(|text| shim::is_ours(&text, *event)) {
            warnings.push(format!(
                "`{event}` is installed for all repositories too; in this one its own answers, and alone: \
                 git orchestrate hooks uninstall {event}"
            ));
        }
    }
    Ok(())
}

/// Says that two hooks of ours would fire, where git keeps them in its configuration.
fn warn_of_both(
    ctx: &Context,
    options: &HooksOptions,
    event: Event,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let (other, flag) = match options.global {
        true => (Scope::Repository, ""),
        false => (Scope::User, " --global"),
    };
    let in_file = || {
        let folder = ctx.repo.hooks_folder(ctx.repo.work_tree()).ok()?;
        let text = fs::read_if_there(&folder.path.join(event.as_str())).ok().flatten()?;
        Some(shim::is_ours(&text, event))
    };
    if configured(ctx, event, other)? || in_file() == Some(true) {
        let whose = if options.global { "of this repository" } else { "for all repositories" };
        let whose = if configured(ctx, event, other)? { whose } else { "in the folder of hooks" };
        warnings.push(format!(
            "`{event}` is installed {whose} too, and both would fire: git orchestrate hooks uninstall{flag} {event}"
        ));
    }
    Ok(())
}

/// Says which worktrees look for their hooks elsewhere.
fn warn_of_other_folders(ctx: &Context, folder: &HooksFolder, warnings: &mut Vec<String>) {
    for worktree in ctx.repo.worktrees().unwrap_or_default().into_iter().filter(|it| it.present) {
        if let Ok(other) = ctx.repo.hooks_folder(&worktree.path).map(|other| of_repository(ctx, other))
            && other.path != folder.path
        {
            let (here, there) = (worktree.path.display().to_string(), other.path.display());
            let word = shell::word(&here);
            warnings.push(format!(
                "the worktree `{here}` looks for hooks in `{there}`: git -C {word} orchestrate hooks install"
            ));
        }
    }
}
