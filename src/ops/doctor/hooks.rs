//! Hooks that the configuration asks for: whether they fire, in every worktree.

use super::super::Context;
use super::super::hooks::status::{Fires, hooks_of};
use super::Check;

pub fn look(ctx: &Context, checks: &mut Vec<Check>) {
    let worktrees = ctx.repo.worktrees().unwrap_or_default();
    for worktree in worktrees.into_iter().filter(|worktree| worktree.present) {
        for found in hooks_of(ctx, &worktree.path).unwrap_or_default() {
            let event = found.event;
            let place = worktree.path.display().to_string();
            let check = match &found.fires {
                _ if !found.configured && found.place.is_none() => continue,
                Fires::Yes => Check::ok("hooks", format!("`{event}` fires")),
                Fires::Through(path) => Check::ok("hooks", format!("`{event}` is named in `{path}`")),
                Fires::No { why, mend } => {
                    Check::warning("hooks", format!("`{event}` does not fire: {why}"), mend.clone())
                }
            };
            checks.push(check.about(place));
        }
    }
}
