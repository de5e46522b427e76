//! What a change is compared with: a base that somebody named, or the usual one.

use anyhow::Result;

use super::super::{Context, Kind, Refusal};
use crate::git::GitError;
use crate::guardrail::Judged;

/// What a change is compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// The name, as it was given or found.
    pub label: String,
    /// Who named it.
    pub from: String,
    /// The commit at which the change began, in hex; nothing if there is no commit at all.
    pub start: Option<String>,
}

impl Base {
    /// Returns what a verdict says about a comparison with this base.
    pub fn judged(&self, what: &str) -> Judged {
        Judged {
            what: what.to_owned(),
            label: format!("base={}", self.label),
            base: Some(self.label.clone()),
            base_from: Some(self.from.clone()),
            base_commit: self.start.clone(),
            commit: None,
        }
    }
}

/// Finds the base: the flag, then the first of the variables that is set, then the usual one. One that
/// was named and does not exist is an error, and never silently another one.
pub fn find(ctx: &Context, guard: &str, flag: Option<&str>, variables: &[&str]) -> Result<Base> {
    let named = match flag {
        Some(flag) => Some((flag.to_owned(), "--base".to_owned())),
        None => of_variables(ctx, guard, variables)?,
    };
    let head = ctx.repo.head()?.commit;
    let (label, from, tip) = match named {
        Some((name, from)) => {
            let commit = ctx.repo.commit_named(&name)?.ok_or_else(|| unknown(guard, &name, &from))?;
            (name, from, commit)
        }
        None => match ctx.repo.usual_base().map_err(|err| cut_off(guard, err))? {
            Some(usual) => (usual.label, usual.found.to_owned(), usual.commit),
            None => {
                let label = "nothing (no commit yet)".to_owned();
                return Ok(Base { label, from: "unborn branch".to_owned(), start: None });
            }
        },
    };
    let Some(head) = head else { return Ok(Base { label, from, start: Some(tip) }) };
    let start = ctx.repo.merge_base(&tip, &head)?;
    let start = start.ok_or_else(|| nothing_in_common(ctx, guard, &label, "HEAD"))?;
    Ok(Base { label, from, start: Some(start) })
}

fn of_variables(ctx: &Context, guard: &str, variables: &[&str]) -> Result<Option<(String, String)>> {
    for variable in variables {
        let Some(value) = ctx.env.path(variable) else { continue };
        let Some(value) = value.to_str() else {
            return Err(rejected(format!("{guard} failed: {variable} is no text")).into());
        };
        if !value.trim().is_empty() {
            return Ok(Some((value.trim().to_owned(), (*variable).to_owned())));
        }
    }
    Ok(None)
}

/// Returns an error that says no: who cannot judge does not let pass.
pub fn rejected(message: String) -> Refusal {
    Refusal::new(Kind::Rejected, message)
}

fn unknown(guard: &str, name: &str, from: &str) -> Refusal {
    rejected(format!("{guard} failed: the base `{}` of {from} names no commit here", name.escape_debug()))
        .hint("fetch it with `git fetch`, or name another one with `--base REV`")
}

/// Returns the error about two commits without a common one.
pub fn nothing_in_common(ctx: &Context, guard: &str, one: &str, other: &str) -> Refusal {
    let (one, other) = (one.escape_debug(), other.escape_debug());
    match ctx.repo.is_shallow() {
        true => rejected(format!(
            "{guard} failed: history is cut off (a shallow clone) before `{one}` and `{other}` meet"
        ))
        .hint("`git fetch --deepen=100`, or `git fetch --unshallow`; in CI fetch the whole history"),
        false => rejected(format!("{guard} failed: `{one}` and `{other}` have no commit in common"))
            .hint("name a base of the same history with `--base REV`"),
    }
}

/// Adds to an error about cut history what to type.
pub fn cut_off(guard: &str, err: GitError) -> anyhow::Error {
    match err {
        GitError::Shallow { .. } => rejected(format!("{guard} failed: {err}"))
            .hint("`git fetch --deepen=100` or `git fetch --unshallow`, or name a base with `--base REV`")
            .into(),
        err => err.into(),
    }
}
