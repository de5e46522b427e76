//! Hooks of all repositories where git does not know such: a folder that stands in for each one's own, and calls them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::super::hook::READY;
use super::super::{Context, Kind, Refusal};
use super::install::{HooksChanged, HooksOptions};
use super::{Place, Placed, shim};
use crate::git::Scope;
use crate::pipeline::hooks::Event;
use crate::sys::fs::{self, Durability};

/// The key that says where hooks are.
const KEY: &str = "core.hooksPath";

/// Hooks that repositories may have, beside those that we answer for. Each of them goes on to be called.
const OTHERS: &[&str] = &[
    "applypatch-msg",
    "pre-applypatch",
    "post-applypatch",
    "pre-merge-commit",
    "prepare-commit-msg",
    "pre-auto-gc",
    "pre-receive",
    "update",
    "post-receive",
    "post-update",
    "sendemail-validate",
];

/// Hooks that change how git works, or are called all the time, as soon as they are there.
const NOT_CHAINED: &str = "reference-transaction, post-index-change, push-to-checkout and proc-receive";

/// Returns our folder.
pub fn folder(ctx: &Context) -> Option<PathBuf> {
    let config = ctx.env.path("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    let config =
        config.or_else(|| Some(ctx.env.path("HOME").filter(|home| home.is_absolute())?.join(".config")));
    Some(config?.join("git/orchestrate-hooks"))
}

/// Whether a folder of hooks is ours.
pub fn is_ours(ctx: &Context, path: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    folder(ctx).is_some_and(|ours| real(&ours) == real(path))
}

/// Puts hooks into the folder, and has git look there.
pub fn install(ctx: &Context, events: &[Event], program: &Path) -> Result<HooksChanged> {
    let Some(folder) = folder(ctx) else {
        return Err(Refusal::new(
            Kind::Usage,
            "there is no home folder, so nothing can be for all repositories",
        )
        .hint("set HOME")
        .into());
    };
    let mut changed = HooksChanged::default();
    fs::create_dir_all(&folder)?;
    let write = |name: &str, text: &str| -> Result<bool> {
        let path = folder.join(name);
        let there = fs::read_if_there(&path)?;
        if there.as_deref() == Some(text.as_bytes()) {
            return Ok(false);
        }
        if there.is_some_and(|there| !shim::is_any_of_ours(&there)) {
            let message = format!("`{}` is there already, and is not ours", path.display());
            return Err(Refusal::new(Kind::Unsafe, message).hint("move it out of the way").into());
        }
        let all = |file: &mut std::fs::File| std::io::Write::write_all(file, text.as_bytes());
        fs::replace(&path, Durability::Power, Some(0o755), all)?;
        Ok(true)
    };
    // Before git looks there everything is there, so that no hook is ever missed.
    for event in READY.iter().filter(|event| !events.contains(event)) {
        let path = folder.join(event.as_str());
        let is_answered = fs::read_if_there(&path)?.is_some_and(|text| shim::is_ours(&text, *event));
        if !is_answered {
            write(event.as_str(), &shim::chain(event.as_str()))?;
        }
    }
    for name in OTHERS {
        write(name, &shim::chain(name))?;
    }
    for event in events {
        let text = shim::text(*event, program, true, shim::First::InRepository);
        let is_new = write(event.as_str(), &text)?;
        let place = Place::File { path: folder.join(event.as_str()), before: None };
        changed.placed.push(Placed { event: *event, place, changed: is_new });
    }
    let value = folder.display().to_string();
    let known = ctx.repo.settings_of(KEY)?;
    let is_set = known.iter().any(|(scope, known)| scope == "global" && *known == value);
    if !is_set {
        ctx.repo.set(Scope::User, KEY, &value).context("git's configuration cannot be written")?;
        changed.warnings.push(format!(
            "`{KEY}` is set for all of your repositories now: hooks of each of them go on to be called, but for \
             {NOT_CHAINED}"
        ));
    }
    Ok(changed)
}

/// Takes hooks out of the folder, and with the last of them all that [`install`] did.
pub fn uninstall(ctx: &Context, options: &HooksOptions) -> Result<HooksChanged> {
    let mut changed = HooksChanged::default();
    let Some(folder) = folder(ctx) else { return Ok(changed) };
    let asked = if options.events.is_empty() { READY.to_vec() } else { options.events.clone() };
    let is_there = |event: &Event| -> Result<bool> {
        let text = fs::read_if_there(&folder.join(event.as_str()))?;
        Ok(text.is_some_and(|text| shim::is_ours(&text, *event)))
    };
    let mut left = false;
    let mut going = Vec::new();
    for event in READY {
        match (is_there(event)?, asked.contains(event)) {
            (true, true) => going.push(*event),
            (true, false) => left = true,
            _ => {}
        }
    }
    let placed = |event: Event| Placed {
        event,
        place: Place::File { path: folder.join(event.as_str()), before: None },
        changed: true,
    };
    if left {
        for event in going {
            let path = folder.join(event.as_str());
            let text = shim::chain(event.as_str());
            let all = |file: &mut std::fs::File| std::io::Write::write_all(file, text.as_bytes());
            fs::replace(&path, Durability::Power, Some(0o755), all)?;
            changed.placed.push(placed(event));
        }
        return Ok(changed);
    }
    // First git looks elsewhere, then nothing is there any more.
    let known = ctx.repo.settings_of(KEY)?;
    let is_ours = |value: &str| self::is_ours(ctx, Path::new(value));
    if known.iter().any(|(scope, value)| scope == "global" && is_ours(value)) {
        ctx.repo.unset(Scope::User, KEY)?;
    }
    changed.placed.extend(going.into_iter().map(placed));
    let entries = std::fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok);
    for path in entries.map(|entry| entry.path()) {
        if fs::read_if_there(&path).ok().flatten().is_some_and(|text| shim::is_any_of_ours(&text)) {
            fs::remove(&path)?;
        }
    }
    // One with something in it stays.
    let _ = std::fs::remove_dir(&folder);
    Ok(changed)
}
