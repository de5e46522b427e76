//! The set-up of a stream: the commands that the configuration names, as a run in the stream's own worktree.

use std::num::NonZeroU16;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::git::is_local_variable;
use crate::id::{RunId, TaskId};
use crate::ops::host::SharedWatch;
use crate::ops::start::{Asked, Pace, StartOptions, with_interrupts};
use crate::ops::{Context, host::ReuseOptions};
use crate::pipeline::evidence::Notes;
use crate::pipeline::plan::{Plan, PlannedStage};
use crate::pipeline::streams::Streams;
use crate::pipeline::{Action, Command, Source, Stage};
use crate::run::manifest::Manifest;
use crate::run::status::RunStatus;
use crate::store::streams::{SetUp, Stream};
use crate::sys::ourselves;

/// The hidden request by which this program calls a copy of itself that runs a set-up.
pub const SET_UP: &str = "set-up";

/// Which commands of the configuration run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    SetUp,
    /// Before the stream is removed.
    TearDown,
}

/// What the copy says on its stdout.
#[derive(Serialize, Deserialize)]
pub struct Said {
    run_id: RunId,
    status: RunStatus,
}

/// Runs the set-up of the worktree that we are in.
pub fn run(ctx: &Context, task: TaskId, which: Which, watch: SharedWatch) -> Result<Manifest> {
    let config = crate::ops::plan::load(ctx)?.streams;
    ctx.layout.check(&task)?;
    let options = StartOptions {
        task,
        pipeline: None,
        target: None,
        parent_run: None,
        approval_policy: None,
        pace: Pace { jobs: Some(NonZeroU16::MIN), ..Pace::default() },
        reuse: ReuseOptions::default(),
        notes: Some(Notes::Nothing),
    };
    with_interrupts(async |interrupts| {
        let run = Asked { plan: plan(&config, which), options: &options, series: None };
        Ok(run.execute(ctx, watch, interrupts, |_| Ok(())).await?.manifest)
    })
}

fn plan(config: &Streams, which: Which) -> Plan {
    let (id, title, word, commands) = match which {
        Which::SetUp => ("stream-setup", "Set-up of a stream", "setup", &config.setup),
        Which::TearDown => ("stream-teardown", "End of a stream", "teardown", &config.teardown),
    };
    let id = id.parse().expect("a word is an id");
    let stages = commands.iter().enumerate().map(|(at, command)| {
        let stage = format!("{word}-{}", at + 1).parse().expect("a word is an id");
        let title = command.lines().next().unwrap_or_default().chars().take(80).collect();
        let stage = Stage::plain(stage, title, Action::Command(Command::plain(command.clone())));
        PlannedStage { index: at + 1, stage, child: None }
    });
    Plan {
        guardrails_required: false,
        timeout: Some(config.setup_timeout),
        stages: stages.collect(),
        ..Plan::empty(id, title.to_owned(), Source::CommandLine)
    }
}

/// What a copy of this program says when it ran the set-up.
pub fn said(manifest: &Manifest) -> Said {
    Said { run_id: manifest.run_id.clone(), status: manifest.status }
}

/// Lets a copy of this program run the set-up of a stream, or its opposite: those of several streams run at the same time.
/// Says why if it did not run.
pub(super) fn attend(there: &Context, stream: &Stream, which: Which) -> Result<SetUp, String> {
    let ties = |name: &std::ffi::OsStr| is_local_variable(name) || name == "CODEX_ORCHESTRATOR_ROOT";
    let mut args = vec!["stream", SET_UP, "--task", stream.task.as_str()];
    args.extend((which == Which::TearDown).then_some("--teardown"));
    let output = ourselves::attend(&there.root, &ties, args)
        .map_err(|err| format!("no process can be started for it: {err}"))?;
    match serde_json::from_slice::<Said>(&output.stdout) {
        Ok(Said { run_id, status }) => Ok(SetUp { run: run_id, status }),
        Err(_) => Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned()),
    }
}
