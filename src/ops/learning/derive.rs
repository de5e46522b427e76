//! The scenario of a run, from what is known of it.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::Lesson;
use crate::ops::host::Masking;
use crate::ops::snapshot::again::leads_out;
use crate::pipeline::plan::{Plan, PlannedStage};
use crate::pipeline::{Action, Command};
use crate::run::learning::{Clues, Environment, Executed, Scenario, ScenarioSource};
use crate::run::manifest::Manifest;
use crate::run::stamp::Stamp;
use crate::run::status::StageStatus;
use crate::store::catalog;
use crate::store::layout::RunPaths;
use crate::store::pointers::pretty;
use crate::sys::fs;

/// A prompt or a diff that is longer than this is none.
const LARGEST: u64 = 1 << 20;

/// Returns what a scenario is called.
pub(super) fn id(lesson: &Lesson<'_>) -> String {
    format!("learning-{}", lesson.manifest.run_id)
}

/// Returns a scenario that somebody has to fill in.
pub(super) fn template(lesson: &Lesson<'_>) -> Scenario {
    Scenario {
        id: id(lesson),
        entrypoint: String::new(),
        commands: vec![String::new()],
        validation: Default::default(),
        context: Clues::default(),
        generated_at: None,
        cwd: None,
        environment: Environment { allow: allowed(lesson), set: BTreeMap::new() },
        timeout_seconds: Some(lesson.learning.timeout.as_secs()),
    }
}

/// Returns the names of the variables that a replay is given: those of the configuration, and all on which the verdict
/// of the run depends.
fn allowed(lesson: &Lesson<'_>) -> Vec<String> {
    let named = &lesson.learning.environment;
    let more = lesson.plan.iter().flat_map(|plan| &plan.evidence.variables);
    named.iter().chain(more.filter(|name| !named.contains(name))).cloned().collect()
}

/// Returns the scenario and what it was taken from, or what is known and why that is not enough.
pub(super) fn scenario(
    lesson: &Lesson<'_>,
    at: Stamp,
) -> Result<(Scenario, ScenarioSource), (Clues, String)> {
    let masking = Masking::new(&lesson.ctx.env, lesson.plan);
    let ran = lesson.plan.and_then(|plan| newest(plan, lesson.paths, lesson.manifest));
    let folder = lesson.folder();
    let text = |name: &str| {
        let bytes = fs::read_regular(&folder.join(name), LARGEST).ok()?;
        Some(masking.masked(&String::from_utf8_lossy(&bytes)))
    };
    let mut clues =
        Clues { prompt: text("prompt.md"), diff: text("diff.patch"), execution_history: Vec::new() };
    let (mut hidden, mut folder, mut elsewhere) = (false, None, false);
    if let Some((index, command)) = &ran {
        let shown = masking.masked(&command.command);
        // Without its secret the command is another one.
        hidden = shown != command.command;
        match cwd_of(lesson, command) {
            Ok(Some(cwd)) if masking.masked(&cwd) != cwd => hidden = true,
            Ok(cwd) => folder = cwd,
            Err(()) => elsewhere = true,
        }
        let entry = lesson.manifest.entry(*index);
        clues.execution_history.push(Executed {
            command: shown,
            exit_code: if hidden || elsewhere { -1 } else { 0 },
            cwd: folder.clone(),
            timestamp: entry.and_then(|entry| entry.completed_at),
        });
    }
    let Some((command, source)) = clues.command() else {
        let reason = match (hidden, elsewhere) {
            (true, _) => "the newest command that succeeded holds a secret, so it cannot be written down",
            (false, true) => "the newest command that succeeded ran outside of the work tree",
            (false, false) => {
                "no command of the run succeeded, and neither a prompt nor a diff says what to run"
            }
        };
        return Err((clues, reason.to_owned()));
    };
    let of_stage = ran.filter(|_| source == ScenarioSource::ExecutionHistory).map(|(_, command)| command);
    let mut environment = Environment { allow: allowed(lesson), set: BTreeMap::new() };
    for (name, value) in of_stage.iter().flat_map(|command| &command.env) {
        match masking.masked(value) == *value {
            true => drop(environment.set.insert(name.clone(), value.clone())),
            // Whoever replays it has to have it.
            false => environment.allow.push(name.clone()),
        }
    }
    let scenario = Scenario {
        entrypoint: command.clone(),
        commands: vec![command],
        context: clues,
        generated_at: Some(at),
        cwd: folder.filter(|_| of_stage.is_some()),
        environment,
        ..template(lesson)
    };
    Ok((scenario, source))
}

/// Whether anything in a scenario is a secret, its commands or what is only told along with them.
pub(super) fn holds_secret(scenario: &Scenario, masking: &Masking) -> bool {
    let is_secret = |text: &str| masking.masked(text) != text;
    let texts = [&scenario.id, &scenario.entrypoint].into_iter().chain(&scenario.commands);
    // A secret with a quote or a line end in it looks different between the quotes of JSON.
    texts
        .chain(&scenario.cwd)
        .chain(&scenario.context.prompt)
        .chain(&scenario.context.diff)
        .any(|it| is_secret(it))
        || scenario.environment.set.values().any(|it| is_secret(it))
        || scenario.context.execution_history.iter().any(|it| is_secret(&it.command))
        || is_secret(&String::from_utf8_lossy(&pretty(scenario)))
}

/// Returns the command of a run that was the last to succeed, and its stage: of several at once it need not be the
/// last of the plan.
fn newest<'p>(plan: &'p Plan, paths: &RunPaths, manifest: &Manifest) -> Option<(usize, &'p Command)> {
    let ended = |planned: &PlannedStage| {
        let entry = manifest.entry(planned.index)?;
        let succeeded =
            entry.status == StageStatus::Succeeded && entry.exit_code.is_none_or(|code| code == 0);
        succeeded.then_some((entry.completed_at, planned.index))
    };
    let mut stages: Vec<_> =
        plan.stages.iter().filter_map(|planned| Some((ended(planned)?, planned))).collect();
    stages.sort_by_key(|(ended, _)| *ended);
    stages.into_iter().rev().find_map(|(_, planned)| {
        let command = match (&planned.stage.action, &planned.child) {
            (Action::Command(command), _) => command,
            (_, Some(child)) => {
                let run = manifest.entry(planned.index)?.sub_run_id.as_deref()?;
                let paths = RunPaths::new(paths.dir.with_file_name(run));
                newest(child, &paths, &catalog::read(&paths).ok()?.manifest)?.1
            }
            _ => return None,
        };
        Some((planned.index, command))
    })
}

/// Returns the folder of a command, relative to the root, plainly written; nothing for the root. Fails for one that is
/// outside of the work tree: no snapshot has it.
fn cwd_of(lesson: &Lesson<'_>, command: &Command) -> Result<Option<String>, ()> {
    let Some(cwd) = command.cwd.as_deref().map(Path::new) else { return Ok(None) };
    let inside = match cwd.is_absolute() {
        true => cwd.strip_prefix(&lesson.ctx.root).map_err(|_| ())?,
        false => cwd,
    };
    if leads_out(lesson.ctx, inside) {
        return Err(());
    }
    let plain: PathBuf = inside.components().filter(|part| *part != Component::CurDir).collect();
    let plain = plain.to_str().ok_or(())?;
    Ok((!plain.is_empty()).then(|| plain.to_owned()))
}
