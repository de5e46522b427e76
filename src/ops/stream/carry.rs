//! What a new stream gets a copy of: the ignored paths that `.worktreeinclude` selects.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::Context;
use crate::git::Repo;
use crate::ops::side::carry::refusal;
use crate::sys::carry::{self, Way};
use crate::sys::exchange::Place;
use crate::sys::{fs, room};

/// The file that names them, with patterns as in a `.gitignore`.
const FILE: &str = ".worktreeinclude";
/// The largest such file that is read.
const MOST_BYTES: u64 = 1 << 20;

/// Carries what the file in our worktree selects into a new one. What is there already stays. Returns how many paths
/// were carried.
pub(super) fn carry(ctx: &Context, there: &Repo) -> Result<usize> {
    let (from, to) = (ctx.repo.work_tree(), there.work_tree());
    let file = from.join(FILE);
    if ctx.repo.is_bare() || !file.is_file() {
        return Ok(0);
    }
    let text = fs::read_regular(&file, MOST_BYTES).context("cannot tell what a stream gets a copy of")?;
    let text = String::from_utf8_lossy(&text);
    let is_pattern = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
    let patterns: Vec<_> = text.lines().filter(is_pattern).map(str::to_owned).collect();
    if patterns.is_empty() {
        return Ok(0);
    }
    let mut foreign = vec![from.to_owned(), ctx.repo.common_dir().to_owned()];
    foreign.extend(ctx.repo.worktrees()?.into_iter().map(|worktree| worktree.path).filter(|path| path != to));
    let aside = aside(there);
    let way = Way { from, aside: &aside, foreign: &foreign };
    let place = Place::open(to, &aside)?;
    let mut carried = 0;
    for path in ctx.repo.ignored_and_selected(from, &patterns)? {
        let (full, target) = (from.join(&path), to.join(&path));
        // Evidence belongs to the worktree whose it is, and other worktrees are nobody's files.
        let is_ours = full.starts_with(&ctx.layout.runs) || ctx.layout.runs.starts_with(&full);
        // The stream may be made below what is selected.
        let others = foreign.iter().map(PathBuf::as_path).filter(|other| *other != from).chain([to]);
        let holds_others = { others }.any(|other| other.starts_with(&full));
        if is_ours || holds_others || target.symlink_metadata().is_ok() {
            continue;
        }
        let (whole, _) =
            carry::carry(&way, &path).map_err(|err| refusal(err, "the stream", FILE, "streams.setup"))?;
        // Where its commit has a link on the way, nothing is put to where that leads.
        carried += usize::from(place.put_whole(&path, &whole)?);
    }
    fs::remove_tree(&aside)?;
    Ok(carried)
}

/// Returns a place on the disk of a worktree that nobody else uses.
fn aside(there: &Repo) -> PathBuf {
    let of_git = there.git_dir().join("orchestrate-carrying");
    match room::is_same_disk(there.git_dir(), there.work_tree()) {
        true => of_git,
        false => there.work_tree().join(".orchestrate-carrying"),
    }
}
