//! Goals that are started together, as a file for `spawn` declares them.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use crate::id::{PipelineId, StageId, StreamName};

/// What such a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goals {
    pub title: Option<String>,
    /// How many run at the same time, if the file says so.
    pub jobs: Option<NonZeroU16>,
    /// Whether the others go on when one fails.
    pub keep_going: bool,
    pub goals: Vec<Goal>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goal {
    pub id: StageId,
    pub title: Option<String>,
    /// The language or the part of the project that it is about.
    pub adapter: Option<StageId>,
    /// What is to be reached, such as `build`.
    pub goal: Option<StageId>,
    /// The stream that it runs in; this worktree by default.
    pub stream: Option<StreamName>,
    /// The goals that have to be reached before.
    pub needs: Vec<StageId>,
    pub timeout: Option<Duration>,
    /// Whether other goals may run beside it.
    pub parallel: bool,
    pub work: Work,
    pub env: BTreeMap<String, String>,
}

/// What is done to reach a goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    Pipeline(PipelineId),
    Command {
        /// A text for `/bin/sh -c`; with `args`, the name of a program.
        command: String,
        /// The words that the program is given, none of them for a shell to read.
        args: Option<Vec<String>>,
        /// The folder to run in, relative to the root of the worktree.
        cwd: Option<String>,
    },
}

/// A set of commands that needs no declaration.
#[derive(Clone, Copy, Debug)]
pub struct Adapter {
    pub id: &'static str,
    pub env: &'static [(&'static str, &'static str)],
    /// Each goal with its command, and whether others may run beside it.
    pub goals: &'static [(&'static str, &'static str, bool)],
}

/// Those of the reference (`contract-guardrails.md` §8.1).
pub const ADAPTERS: &[Adapter] = &[
    Adapter {
        id: "typescript-default",
        env: &[],
        goals: &[
            ("build", "npm run build", true),
            ("test", "npm run test", false),
            ("lint", "npm run lint", true),
        ],
    },
    Adapter {
        id: "python-pytest",
        env: &[("PIP_DISABLE_PIP_VERSION_CHECK", "1"), ("PIP_NO_INPUT", "1")],
        goals: &[
            ("build", "python3 -m pip install -r requirements.txt", false),
            ("test", "python3 -m pytest -q", false),
        ],
    },
    Adapter {
        id: "go-module",
        env: &[],
        goals: &[
            ("build", "go build ./...", true),
            ("test", "go test ./...", true),
            ("lint", "go vet ./...", true),
        ],
    },
];
