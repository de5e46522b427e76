//! What a run above several streams has yet to do in one of them.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{Context, streams};
use crate::id::{StageId, StreamName};
use crate::ops::which;
use crate::run::manifest::Manifest;
use crate::run::status::StageStatus;
use crate::store::catalog::Wanted;
use crate::store::streams::{Above, Stream};

/// Notes in streams which run stands above theirs, and which of its stages are theirs.
pub(in crate::ops) fn note(
    ctx: &Context,
    above: &Manifest,
    stages: &BTreeMap<StreamName, Vec<StageId>>,
) -> Result<()> {
    let streams = streams(ctx);
    for (name, stages) in stages {
        // Whoever has the lock is about to remove it, or to change it: then the run will see what becomes of that.
        let Some(_lock) = streams.try_lock(name)? else { continue };
        let Some(known) = streams.find(name)?.filter(|known| known.name == *name) else { continue };
        let (task, run) = (above.task_id.clone(), above.run_id.clone());
        streams.save(&Stream { above: Some(Above { task, run, stages: stages.clone() }), ..known })?;
    }
    Ok(())
}

/// Returns what a run above has yet to do in a stream, in words.
pub(super) fn yet_to_come(ctx: &Context, stream: &Stream) -> Option<String> {
    let Above { task, run, stages } = stream.above.as_ref()?;
    let (found, state) = which::run(ctx, Some(task), &Wanted::Id(run.clone())).ok()?;
    if state.manifest.status.is_terminal() || which::pulse(ctx, &found, &state).dead {
        return None;
    }
    let ours = || state.manifest.commands.iter().filter(|it| stages.iter().any(|id| id.as_str() == it.id));
    // What comes after a failure does not come.
    if ours().any(|entry| entry.status == StageStatus::Failed) {
        return None;
    }
    let next = ours().find(|entry| entry.status == StageStatus::Pending)?;
    Some(format!("run `{run}` has yet to run `{}` in it", next.title))
}
