//! What a project says about side worktrees: what makes them ready, and what is carried into them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Action, Command, Source, Stage};
use crate::id::{PipelineId, StageId};
use crate::pipeline::plan::{Plan, PlannedStage};

/// The pipeline that the runs of set-up commands belong to.
pub const SET_UP: &str = "slot-setup";

/// The section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// In the order in which they run.
    pub setup: Vec<SetUp>,
    /// Patterns, as in a `.gitignore` beside the configuration, of ignored paths that a side worktree gets from the
    /// worktree that it stands in for.
    pub carry: Vec<String>,
}

/// A command that makes a side worktree ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetUp {
    pub command: String,
    /// The folder to run in, relative to the repository's root.
    pub cwd: Option<String>,
    pub env: BTreeMap<String, String>,
    /// Pathspecs of git for what it depends on; everything if there are none.
    pub inputs: Vec<String>,
    pub timeout: Duration,
}

impl SetUp {
    /// How long one may take where nobody says anything else.
    pub const TIMEOUT: Duration = Duration::from_secs(30 * 60);

    /// Returns a text of what it does, for hashing.
    pub fn digest_input(&self) -> String {
        let Self { command, cwd, env, .. } = self;
        serde_json::to_string(&(command, cwd, env)).expect("texts and maps with text keys are JSON")
    }

    fn stage(&self, number: usize) -> Stage {
        let id: StageId = format!("setup-{}", number + 1).parse().expect("letters and digits are an id");
        let Self { command, cwd, env, .. } = self.clone();
        let action = Action::Command(Command { cwd, env, ..Command::plain(command) });
        let title = format!("Set-up {}", number + 1);
        Stage { timeout: Some(self.timeout), reuse: Some(false), ..Stage::plain(id, title, action) }
    }
}

impl Slots {
    /// Returns the plan of some of the set-up commands, by their positions.
    pub fn plan(&self, due: &[usize]) -> Plan {
        let id: PipelineId = SET_UP.parse().expect("letters and a dash are an id");
        let stages = due.iter().enumerate().filter_map(|(at, number)| {
            let stage = self.setup.get(*number)?.stage(*number);
            Some(PlannedStage { index: at + 1, stage, child: None })
        });
        Plan {
            guardrails_required: false,
            stages: stages.collect(),
            ..Plan::empty(id, "Set-up of a side worktree".to_owned(), Source::SetUp)
        }
    }
}
