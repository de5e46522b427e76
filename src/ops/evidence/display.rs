//! What git has to be told so that `git log` shows notes, and `git fetch` gets those of others.

use anyhow::Result;

use super::ours::Ours;
use crate::git::NOTES;
use crate::ops::Context;

/// Where `git fetch` puts the notes of a remote. A ref that only git fetches can be pruned and rewritten, and nothing
/// of ours is lost.
pub const FETCHED: &str = "refs/notes/remotes/";

/// Adds to the repository's configuration what it has not yet; returns what was added.
pub fn configure(ctx: &Context) -> Result<Vec<(String, String)>> {
    let mut added = Vec::new();
    let mut add = |key: &str, values: &[String]| -> Result<()> {
        let new = ctx.repo.add_settings(key, values)?;
        added.extend(new.into_iter().map(|value| (key.to_owned(), value)));
        Ok(())
    };
    let remotes = ctx.repo.remotes()?;
    if remotes.is_empty() {
        add("notes.displayRef", &[format!("{NOTES}*")])?;
        return Ok(added);
    }
    // Ours from here and those of others from there; git warns of a ref that is not there, and not of a pattern.
    let sign = super::super::plan::load(ctx)?.evidence.sign;
    let ours = format!("{}*", Ours::of(&ctx.repo, sign, ctx.clock.now())?.reference);
    add("notes.displayRef", std::slice::from_ref(&ours))?;
    for remote in remotes {
        let there = format!("{FETCHED}{remote}/orchestrate/*");
        add(&format!("remote.{remote}.fetch"), &[format!("+{NOTES}*:{there}")])?;
        add("notes.displayRef", &[there])?;
    }
    Ok(added)
}
