//! What a side worktree gets a copy of: ignored paths of the worktree that it stands in for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Side;
use super::setup::Done;
use crate::ops::{Context, Kind, Refusal};
use crate::pipeline::slots::Slots;
use crate::sys::carry::{self, CarryError, Way, stamp};
use crate::sys::exchange::Place;
use crate::sys::fs::{self, Durability};

/// What was carried, by its path: how it looked where it came from.
type Stamps = BTreeMap<PathBuf, String>;

impl Side {
    /// Carries what `slots` says from the worktree of `ctx` into it, unless it is there already. What was carried before is
    /// carried again when it was made anew since, where it comes from.
    pub fn carry(&self, ctx: &Context, slots: &Slots) -> Result<()> {
        if slots.carry.is_empty() || ctx.repo.is_bare() {
            return Ok(());
        }
        let (slot, inside) = (&self.slot, &self.inside);
        let (from, to) = (ctx.repo.work_tree(), slot.as_left().work_tree().to_owned());
        let notes = slot.notes().join("carried.json");
        let mut stamps = read(&notes)?;
        let (mut missing, mut due) = (Vec::new(), Vec::new());
        for path in ctx.repo.ignored_and_selected(&from.join(inside), &slots.carry)? {
            let path = inside.join(path);
            let full = from.join(&path);
            // Evidence belongs to the worktree whose it is.
            if full.starts_with(&ctx.layout.runs) || ctx.layout.runs.starts_with(&full) {
                continue;
            }
            let Some(now) = stamp(&full) else { continue };
            if to.join(&path).symlink_metadata().is_err() {
                missing.push((path, full.symlink_metadata().is_ok_and(|it| it.is_dir())));
            } else if stamps.get(&path).is_some_and(|known| *known != now) {
                due.push(path);
            }
        }
        due.extend(slot.would_ignore(&missing)?);
        if due.is_empty() {
            return Ok(());
        }
        // What commands had made of it may be another thing by now.
        Done::forget(slot)?;
        let foreign = foreign(ctx)?;
        let way = Way { from, aside: &slot.folder().join("carrying"), foreign: &foreign };
        let place = Place::open(&to, way.aside)?;
        for path in due {
            // Before it is read: what changes meanwhile is carried again.
            let now = stamp(&from.join(&path));
            let (whole, carried) = carry::carry(&way, &path)
                .map_err(|err| refusal(err, "the side worktree", "slots.carry", "slots.setup"))?;
            // Whoever is killed in between leaves nothing there, and it is carried again.
            place.take_away(&path)?;
            stamps.extend(now.map(|now| (path.clone(), now)));
            write(&notes, &stamps)?;
            let placed = place.put_whole(&path, &whole)?;
            tracing::debug!(path = %path.display(), ?carried, placed, "carried into a side worktree");
        }
        fs::remove_tree(way.aside)?;
        Ok(())
    }
}

/// Returns the folders with files of the caller that nothing in a side worktree may lead to.
fn foreign(ctx: &Context) -> Result<Vec<PathBuf>> {
    let mut folders = vec![ctx.repo.work_tree().to_owned(), ctx.repo.common_dir().to_owned()];
    folders.extend(ctx.repo.worktrees()?.into_iter().map(|worktree| worktree.path));
    Ok(folders)
}

/// Says why nothing was carried into `place`: what is carried stands in `named_in`, and commands in `setup`.
pub(in crate::ops) fn refusal(err: CarryError, place: &str, named_in: &str, setup: &str) -> anyhow::Error {
    let message = format!("cannot carry into {place}");
    let (kind, hint) = match &err {
        CarryError::LeadsOutside { .. } => {
            (Kind::Unsafe, format!("take it out of `{named_in}`, and let a command of `{setup}` make it"))
        }
        CarryError::NoRoom { .. } => (Kind::Storage, format!("make room, or take it out of `{named_in}`")),
        CarryError::Path(_) => return anyhow::Error::from(err).context(message),
    };
    Refusal::new(kind, format!("{message}: {err}")).hint(hint).into()
}

fn read(notes: &Path) -> Result<Stamps> {
    // What is damaged is as good as nothing: what is there stays then.
    let bytes = fs::read_if_there(notes)?.unwrap_or_default();
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}

fn write(notes: &Path, stamps: &Stamps) -> Result<()> {
    let folder = notes.parent().context("notes lie in a folder")?;
    fs::create_dir_all(folder)?;
    // A name that is no UTF-8 has no place in JSON, and is carried once.
    let stamps: BTreeMap<_, _> =
        stamps.iter().filter_map(|(path, stamp)| Some((path.to_str()?, stamp))).collect();
    let text = serde_json::to_vec(&stamps).expect("texts are JSON");
    Ok(fs::write_atomically(notes, &text, Durability::Process)?)
}
