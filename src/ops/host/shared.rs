//! What a run and its children have in common: roots, environment, masking, and whoever watches.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::outpost::AS_RUN;
use super::reuse::{Lookup, ReuseOptions};
use crate::git::{Repo, is_local_variable};
use crate::id::{RunId, TaskId};
use crate::net::trace::Tracing;
use crate::ops::Context;
use crate::output::mask::{MaskMode, Masker};
use crate::output::secrets::Secrets;
use crate::pipeline::Action;
use crate::pipeline::evidence::Notes;
use crate::pipeline::plan::{Plan, PlannedStage};
use crate::run::event::Happened;
use crate::run::exec::GroupNames;
use crate::run::git_keys::GitKeys;
use crate::run::manifest::{Manifest, Series};
use crate::runner::{Question, Stream};
use crate::store::layout::{Layout, RunPaths};
use crate::store::ledger::Ledger;
use crate::sys::budget;
use crate::sys::clock::Clock;
use crate::sys::digest::{random_hex, sha256_hex};
use crate::sys::env::{Env, is_shadow, is_true};
use crate::sys::{fs, process};

/// Whoever watches runs as they go on.
pub trait Watch {
    /// An event was kept. `depth` is 0 for the run that was asked for, 1 for its children.
    fn event(&mut self, depth: usize, manifest: &Manifest, event: &Happened, index: usize);
    /// Lines of a command were kept: how it began, what it printed, how it ended.
    fn logged(&mut self, _depth: usize, _lines: &[u8]) {}
    /// A stage printed something.
    fn printed(&mut self, depth: usize, manifest: &Manifest, index: usize, stream: Stream, text: &str);
    /// Something is wrong that does not stop the run.
    fn warn(&mut self, text: &str);
    /// Whether somebody sits at our terminal who can be asked.
    fn can_prompt(&self) -> bool {
        false
    }
    /// Shows a question about a stage to whoever sits at our terminal.
    fn question(&mut self, _manifest: &Manifest, _index: usize, _question: Question) {}
    /// Whether nobody waits for the end of this process.
    fn is_detached(&self) -> bool {
        false
    }
    /// The run that was asked for is on disk, and this process owns it.
    fn owned(&mut self, _manifest: &Manifest, _paths: &RunPaths) {}
}

/// A watch that several runs tell.
pub type SharedWatch = Rc<RefCell<dyn Watch>>;

/// What a run and its children have in common.
pub struct Shared {
    pub(super) task: TaskId,
    pub(super) task_slug: String,
    pub(super) layout: Layout,
    /// Where the stages run.
    pub(super) root: PathBuf,
    pub(super) repo: Repo,
    pub(super) clock: Clock,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) lineage: String,
    /// What our run is to be called, if it is a stage of another one.
    pub(super) as_run: Option<RunId>,
    pub(super) emit_streams: bool,
    pub(super) masking: Masking,
    pub(super) control_plane_mode: &'static str,
    pub(super) watch: SharedWatch,
    /// The group that the run which was asked for belongs to.
    pub(super) group: Option<GroupNames>,
    /// Where the spans of the runs go, if anybody wants them.
    pub(super) tracing: Option<Tracing>,
    /// The runs that this one was asked for with.
    pub(super) series: Option<Series>,
    /// Who decides when something is typed on our terminal.
    pub(super) user: String,
    /// Whether the run leaves a git note, if somebody said it.
    pub(super) notes: Option<Notes>,
    /// What the environment says about the budget of the machine, if it is not to be ignored.
    pub(super) budget: Option<budget::Source>,
    /// How many runs of this process said that they run something.
    pub(super) announced: Cell<usize>,
}

impl Shared {
    /// Gathers what does not depend on the run, and hides our folders from `git status`.
    pub fn new(ctx: &Context, task: TaskId, plan: &Plan, watch: SharedWatch) -> Result<Self> {
        let mut repo = ctx.repo.clone();
        let ours = ctx.exclude_patterns();
        if let Err(err) = repo.exclude(&ours) {
            watch
                .borrow_mut()
                .warn(&format!("{:#}; git will show `.runs` as untracked", anyhow::Error::from(err)));
            // What we write must not look like a tree that moves.
            repo.leave_out(ours);
        }
        let mode = |mode: &str, old: &str| ctx.env.get(mode).or_else(|| ctx.env.get(old));
        let masking = Masking::new(&ctx.env, Some(plan));
        let tracing = Tracing::wanted(&ctx.env, None).unwrap_or_else(|why| {
            watch.borrow_mut().warn(&why);
            None
        });
        Ok(Self {
            task_slug: masking.masked(&slug_of(&ctx.layout.root, &task, &watch)),
            user: masking.masked(&process::whoami(&ctx.env)),
            layout: ctx.layout.clone(),
            root: ctx.root.clone(),
            repo,
            clock: ctx.clock,
            env: stage_env(ctx, &task),
            lineage: ctx.env.get(process::LINEAGE).unwrap_or_default().to_owned(),
            as_run: ctx.env.get(AS_RUN).and_then(|run| run.parse().ok()),
            emit_streams: ctx.env.flag("CODEX_ORCHESTRATOR_EMIT_COMMAND_STREAMS"),
            masking,
            control_plane_mode: match mode("CODEX_CONTROL_PLANE_MODE", "CODEX_CONTROL_PLANE_ENFORCE") {
                Some(word) if is_true(word) => "enforce",
                _ => "shadow",
            },
            task,
            watch,
            group: None,
            tracing,
            series: None,
            notes: None,
            budget: budget::Source::of(&ctx.env),
            announced: Cell::new(0),
        })
    }

    /// Names the group that the run which was asked for belongs to.
    pub fn name_group(&mut self, names: Option<GroupNames>) {
        self.group = names;
    }

    /// Says whether the run leaves a git note, whatever the configuration says.
    pub fn leave_note(&mut self, wanted: Option<Notes>) {
        self.notes = wanted;
    }

    /// Makes the run one of several that were asked for together.
    pub fn in_series(mut self, series: Option<Series>) -> Self {
        self.series = series.map(|series| Series { range: self.masked(&series.range), ..series });
        self
    }

    /// Sends the spans of the runs somewhere, whatever the environment says about it.
    pub fn trace_to(&mut self, tracing: Option<Tracing>) {
        self.tracing = tracing;
    }

    /// Returns what looks up stages of a run.
    pub(super) fn lookup(&self, options: ReuseOptions) -> Lookup {
        Lookup::new(options, Ledger::of(self.repo.common_dir()))
    }

    /// Returns a text without its secrets.
    pub fn masked(&self, text: &str) -> String {
        self.masking.masked(text)
    }

    pub(super) fn warn(&self, what: &str, err: impl Into<anyhow::Error>) {
        let mut text = what.to_owned();
        for cause in err.into().chain().map(ToString::to_string) {
            // Most errors say themselves what caused them.
            if !text.ends_with(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
        }
        self.watch.borrow_mut().warn(&text);
    }

    /// Returns the digest of everything that decides what runs.
    pub fn digest(plan: &Plan) -> String {
        format!("sha256:{}", sha256_hex(plan.digest_input().as_bytes()))
    }

    /// Returns the digest of what one stage does.
    pub fn definition(stage: &PlannedStage) -> String {
        format!("sha256:{}", sha256_hex(stage.digest_input().as_bytes()))
    }

    /// Returns an id for a run that begins now.
    pub(super) fn new_run(&self) -> Result<RunId> {
        let at = self.clock.now();
        let id = format!("{}-{}", at.as_run_prefix(), random_hex::<4>().context("no randomness")?);
        Ok(id.parse().expect("a stamp and hex digits are a run id"))
    }

    /// Returns what git says about the worktree now.
    ///
    /// `inputs` are lists of pathspecs; for each there is the digest of what it selects of the tree.
    pub fn keys(&self, inputs: &[Vec<String>]) -> Result<(GitKeys, Vec<String>)> {
        let (mut keys, inputs) = self.repo.keys(inputs).context("cannot tell which tree this is")?;
        keys.branch = keys.branch.map(|branch| self.masked(&branch));
        let paths = keys.dirty_submodules.iter_mut().chain(&mut keys.unreadable).chain(&mut keys.hidden);
        for path in paths {
            *path = self.masked(path);
        }
        Ok((keys, inputs))
    }
}

/// What is a secret, and whether it is masked.
pub struct Masking {
    pub(super) secrets: Secrets,
    pub(super) mode: MaskMode,
}

impl Masking {
    /// Gathers the secrets of the environment, and those that the stages of a plan are given.
    pub fn new(env: &Env, plan: Option<&Plan>) -> Self {
        let named = env.vars().filter_map(|(name, value)| Some((name.to_str()?, value.as_encoded_bytes())));
        let mut variables: Vec<_> = named.collect();
        if let Some(plan) = plan {
            variables_of(plan, &mut variables);
        }
        let word = env.get("CODEX_PRIVACY_GUARD_MODE").or_else(|| env.get("CODEX_PRIVACY_GUARD_ENFORCE"));
        Self {
            secrets: Secrets::new(variables),
            // Only a word that clearly means it turns masking off.
            mode: match word {
                Some(word) if is_shadow(word) => MaskMode::Shadow,
                _ => MaskMode::Enforce,
            },
        }
    }

    /// Returns what masks a stream.
    pub fn masker(&self) -> Masker {
        Masker::new(&self.secrets, self.mode)
    }

    /// Returns a text without its secrets.
    pub fn masked(&self, text: &str) -> String {
        match self.mode {
            MaskMode::Enforce => self.secrets.mask_text(text).into_owned(),
            MaskMode::Shadow => text.to_owned(),
        }
    }
}

/// Adds the variables that the stages of a plan set.
fn variables_of<'a>(plan: &'a Plan, variables: &mut Vec<(&'a str, &'a [u8])>) {
    for planned in &plan.stages {
        if let Action::Command(action) = &planned.stage.action {
            variables.extend(action.env.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
        }
        if let Some(child) = &planned.child {
            variables_of(child, variables);
        }
    }
}

/// Returns the task's short name from `tasks/index.json` (`contract-core.md` §8.4).
fn slug_of(root: &Path, task: &TaskId, watch: &SharedWatch) -> String {
    let path = root.join("tasks").join("index.json");
    let Ok(Some(bytes)) = fs::read_if_there(&path) else { return task.to_string() };
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(index) => index["items"]
            .as_array()
            .and_then(|items| items.iter().find(|item| item["id"] == task.as_str())?["slug"].as_str())
            .unwrap_or(task.as_str())
            .to_owned(),
        Err(err) => {
            watch
                .borrow_mut()
                .warn(&format!("`{}` is no JSON, so the task has no slug: {err}", path.display()));
            task.to_string()
        }
    }
}

const ROOT: &str = "CODEX_ORCHESTRATOR_ROOT";

/// Returns the environment of every stage, but for what depends on the run (`contract-core.md` §3).
pub(in crate::ops) fn stage_env(ctx: &Context, task: &TaskId) -> Vec<(OsString, OsString)> {
    let Context { env, layout, root, .. } = ctx;
    let ours = [
        ("MCP_RUNNER_TASK_ID", OsString::from(task.as_str())),
        ("CODEX_ORCHESTRATOR_TASK_ID", OsString::from(task.as_str())),
        ("CODEX_ORCHESTRATOR_RUNS_DIR", layout.runs.clone().into()),
        ("CODEX_ORCHESTRATOR_OUT_DIR", layout.out.clone().into()),
        ("CODEX_ORCHESTRATOR_REPO_ROOT", root.clone().into()),
        ("DESIGN_CONFIG_PATH", root.join("design.config.yaml").into()),
    ];
    let inherited = env
        .vars()
        // A stage may work in another repository; a hook's variables would lead it astray.
        .filter(|(name, _)| !is_local_variable(name))
        // The target and the name were meant for this run, not for runs that its stages start.
        .filter(|(name, _)| *name != crate::pipeline::plan::TARGET_VARIABLE && *name != AS_RUN)
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    // A stage in a side worktree must not be led back to the tree of the user.
    let led_back = (*root != layout.root && env.path(ROOT).is_some())
        .then(|| (OsString::from(ROOT), root.clone().into_os_string()));
    let ours = ours.into_iter().map(|(name, value)| (OsString::from(name), value));
    inherited.chain(ours).chain(led_back).chain(crate::ops::stream::variables::variables(ctx)).collect()
}
