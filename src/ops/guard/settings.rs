//! Whose settings judge: those of the commit that a change is compared with, so that no change can
//! raise its own limit.

use anyhow::Result;

use super::super::{Context, Refusal};
use super::{GuardOptions, base};
use crate::guardrail::Origin;
use crate::id::short;
use crate::pipeline::config::{FILE_NAME, parse_guardrails};
use crate::pipeline::guardrails::Guardrails;
use crate::sys::fs;

/// Whose configuration decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConfigFrom {
    /// That of the commit that the change is compared with.
    #[default]
    Base,
    /// That of the work tree, to try something out.
    WorkTree,
}

/// Settings, and where they come from.
#[derive(Clone, Debug)]
pub struct Settings {
    pub guardrails: Guardrails,
    pub origin: Origin,
    /// What a reader should know about that.
    pub note: Option<String>,
}

/// Reads the settings for a comparison with the commit `base`.
pub fn read(ctx: &Context, base: Option<&str>, from: ConfigFrom) -> Result<Settings> {
    if from == ConfigFrom::WorkTree {
        let note = "the settings are those of the work tree, for trying out: they bind nobody else";
        return Ok(Settings {
            guardrails: of_work_tree(ctx)?,
            origin: Origin::Configuration { commit: None },
            note: Some(note.to_owned()),
        });
    }
    let mut guardrails = Guardrails::default();
    if let Some(commit) = base
        && let Some(text) = ctx.repo.file_behind(commit, FILE_NAME)?
    {
        let name = format!("{FILE_NAME} of {}", short(commit));
        guardrails = parse_guardrails(&name, &String::from_utf8_lossy(&text))?;
    }
    let origin = Origin::Configuration { commit: base.map(str::to_owned) };
    Ok(Settings { guardrails, origin, note: None })
}

pub(super) fn of_work_tree(ctx: &Context) -> Result<Guardrails> {
    let path = ctx.repo.work_tree().join(FILE_NAME);
    let Some(bytes) = fs::read_if_there(&path)? else { return Ok(Guardrails::default()) };
    let text = String::from_utf8(bytes).map_err(|_| {
        Refusal::usage(format!("`{}` is no UTF-8 text", path.display())).hint("save it as UTF-8")
    })?;
    Ok(parse_guardrails(FILE_NAME, &text)?)
}

/// Which guardrails are required.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Required {
    pub diff_budget: bool,
    pub spec: bool,
    pub docs: bool,
}

/// Returns what the base requires or the work tree does: a change can add a guardrail to itself, and
/// can take none away.
pub fn required(ctx: &Context, options: &GuardOptions) -> Result<Required> {
    let found = base::find(ctx, "guard", options.base.as_deref(), &["BASE_SHA", "DIFF_BUDGET_BASE"])?;
    let of = |guardrails: &Guardrails| Required {
        diff_budget: guardrails.diff_budget.as_ref().is_some_and(|budget| budget.required),
        spec: guardrails.spec.as_ref().is_some_and(|spec| spec.required),
        docs: guardrails.docs.as_ref().is_some_and(|docs| docs.required),
    };
    let here = of(&of_work_tree(ctx)?);
    if options.config == ConfigFrom::WorkTree {
        return Ok(here);
    }
    let base = of(&read(ctx, found.start.as_deref(), ConfigFrom::Base)?.guardrails);
    Ok(Required {
        diff_budget: here.diff_budget || base.diff_budget,
        spec: here.spec || base.spec,
        docs: here.docs || base.docs,
    })
}
