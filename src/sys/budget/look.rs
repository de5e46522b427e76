//! A look at the budget: who holds what, and who waits.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::asking::{Locked, TICKET};
use super::check;
use super::folder;
use super::hold::{TOKEN, parts};
use super::record::Record;
use crate::sys::fs::{At, PathError};

/// Somebody who holds part of the budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub record: Record,
    /// 0 for what is the budget's own, 1 for what a stage lends to a run that was started in it, and so on.
    pub depth: u16,
    /// The numbers of the tokens.
    pub tokens: Vec<u16>,
    pub resources: Vec<String>,
}

/// All that is to be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Those who hold something, the first token first.
    pub holders: Vec<Holder>,
    /// Those who wait, in their order.
    pub waiting: Vec<Record>,
}

/// How long to wait for somebody who changes something.
const PATIENCE: Duration = Duration::from_millis(500);

/// Looks around. Writes nothing but what it takes to keep still for a moment.
pub fn look(folder: &Path) -> Result<View, PathError> {
    match check(folder) {
        // Nobody has drawn from it yet.
        Err(err) if err.source.kind() == io::ErrorKind::NotFound => return Ok(View::default()),
        checked => checked?,
    }
    // Whoever looks holds each lock for an instant, and nobody is to miss one for that.
    let changes = folder::Changes::open(folder)?;
    let _still = changes.take(PATIENCE)?;
    let mut waiting = Vec::new();
    for name in folder::names(folder, TICKET)? {
        waiting.extend(held(folder, &name)?.flatten());
    }
    Ok(View { holders: holders(folder)?, waiting })
}

/// Whether all tokens but `own` that are held are held by kin. The caller has seen to it that nothing changes hands.
pub(super) fn is_alone(folder: &Path, record: &Record, own: &Locked) -> Result<bool, PathError> {
    for name in folder::names(folder, TOKEN)? {
        if !is_among(own, &name)
            && let Some(holder) = held(folder, &name)?
            && !holder.is_some_and(|holder| holder.is_kin(record))
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns those who hold something. The caller has seen to it that nothing changes hands.
pub(super) fn holders(folder: &Path) -> Result<Vec<Holder>, PathError> {
    holders_beside(folder, &Locked::new())
}

/// Returns those who hold something but what the caller has just locked: that still says who held it last.
pub(super) fn holders_beside(folder: &Path, own: &Locked) -> Result<Vec<Holder>, PathError> {
    let mut found: Vec<Holder> = Vec::new();
    for name in folder::names(folder, "")? {
        let Some((depth, what)) = parts(&name) else { continue };
        if is_among(own, &name) {
            continue;
        }
        let Some(record) = held(folder, &name)?.flatten() else { continue };
        let at = found.iter().position(|holder| holder.record.id == record.id && holder.depth == depth);
        let at = at.unwrap_or_else(|| {
            found.push(Holder { record, depth, tokens: Vec::new(), resources: Vec::new() });
            found.len() - 1
        });
        let holder = &mut found[at];
        match what.split_once('.') {
            Some(("token", number)) => holder.tokens.extend(number.parse::<u16>()),
            Some((_, resource)) => holder.resources.push(resource.to_owned()),
            None => {}
        }
    }
    for holder in &mut found {
        holder.tokens.sort_unstable();
    }
    found.sort_by(|a, b| (a.depth, &a.tokens).cmp(&(b.depth, &b.tokens)));
    Ok(found)
}

fn is_among(own: &Locked, name: &str) -> bool {
    own.iter().any(|(it, _)| it == name)
}

/// Returns what a file says of whoever holds it, if that makes sense; nothing if nobody holds it.
pub(super) fn held(folder: &Path, name: &str) -> Result<Option<Option<Record>>, PathError> {
    let path = folder.join(name);
    let Ok(file) = File::options().read(true).open(&path) else { return Ok(None) };
    match folder::hold(&file).at(&path)? {
        true => Ok(None),
        false => Ok(Some(Record::read(&file))),
    }
}
