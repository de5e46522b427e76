//! Groups (`contract-core.md` §10.9): the stages of a pipeline as subtasks, the target first, one after
//! the other until one fails. Who asks for it is the environment.

use anyhow::Result;

use super::start::Pace;
use super::{Kind, Refusal};
use crate::pipeline::Source;
use crate::pipeline::plan::Plan;
use crate::run::exec::GroupNames;
use crate::sys::env::Env;

/// The variable that turns groups on.
pub const FEATURE: &str = "FEATURE_TFGRPO_GROUP";
const SIZE: &str = "TFGRPO_GROUP_SIZE";

/// How large a group is where nothing says it.
const DEFAULT_SIZE: i64 = 2;

/// Returns the names that the environment gives a group. What makes no sense there counts as not set:
/// it is only recorded.
pub fn names(env: &Env) -> GroupNames {
    let number = |name: &str| env.get(name)?.trim().parse().ok().filter(|number| *number > 0);
    GroupNames {
        epoch: number("TFGRPO_EPOCH"),
        group_size: number(SIZE),
        group_id: env.get("TFGRPO_GROUP_ID").map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned),
    }
}

/// Makes a group of the plan if the environment wants one and there is more than one subtask. Returns
/// what the run records about it.
///
/// # Errors
/// If the group is too small, or larger than what the pipeline can do at the same time. It is checked
/// here, where nothing is written yet.
pub fn apply(env: &Env, plan: &mut Plan, pace: Pace) -> Result<Option<GroupNames>> {
    if plan.source == Source::SetUp {
        return Ok(None);
    }
    let on = env.flag(FEATURE);
    let mut names = names(env);
    if let Some(size) = size(env, on)? {
        check(size, plan)?;
        names.group_size = size.try_into().ok();
    }
    plan.group = on && !plan.only_target && plan.subtasks().count() > 1;
    check_pace(plan, pace)?;
    Ok((names != GroupNames::default()).then_some(names))
}

/// Refuses flags that ask for what a group does not do.
pub fn check_pace(plan: &Plan, pace: Pace) -> Result<()> {
    if plan.group && (pace.jobs.is_some() || pace.keep_going) {
        let message = "a group runs one subtask after the other, until one fails";
        return Err(Refusal::new(Kind::Usage, message).hint("leave out `--jobs` and `--keep-going`").into());
    }
    Ok(())
}

fn size(env: &Env, on: bool) -> Result<Option<i64>> {
    match env.get(SIZE).map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) => match text.parse::<i64>() {
            Ok(size) => Ok(Some(size)),
            Err(_) => Err(Refusal::new(Kind::Usage, format!("`{SIZE}` is no number: `{text}`"))
                .hint(format!("set it to 2 or more, or unset it and `{FEATURE}`"))
                .into()),
        },
        None => Ok(on.then_some(DEFAULT_SIZE)),
    }
}

fn check(size: i64, plan: &Plan) -> Result<()> {
    let capacity = capacity(&plan.tags);
    let refusal = match size {
        ..2 => Refusal::new(Kind::Usage, format!("a group of {size} is none: it takes 2 or more"))
            .hint(format!("set `{SIZE}` to 2 or more, or unset it and `{FEATURE}`")),
        size if size > capacity => {
            let message = format!(
                "pipeline `{}` has room for {capacity}, which is less than a group of {size}",
                plan.pipeline
            );
            Refusal::new(Kind::Usage, message).hint(format!(
                "each tag of a pipeline is room for one, `general` for two: add tags, or unset `{SIZE}` and `{FEATURE}`"
            ))
        }
        _ => return Ok(()),
    };
    Err(refusal.into())
}

/// Returns how large a group may be: one per tag of the pipeline, two for `general`, which a pipeline
/// without tags has.
fn capacity(tags: &[String]) -> i64 {
    match tags {
        [] => 2,
        tags => tags.iter().map(|tag| if tag == "general" { 2 } else { 1 }).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_is_one_per_tag_and_two_in_general() {
        for (tags, expected) in [(&[][..], 2), (&["general"], 2), (&["a"], 1), (&["a", "b", "general"], 4)] {
            let tags: Vec<_> = tags.iter().map(|tag| (*tag).to_owned()).collect();
            assert_eq!(capacity(&tags), expected, "{tags:?}");
        }
    }
}
