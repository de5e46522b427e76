//! `exec`: run a command that no pipeline declares, with the evidence of a stage.

mod collect;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context as _, Result};

use super::host::{Origin, RunHost, Shared};
use super::start::{Pace, with_interrupts};
use super::{Context, Kind, Refusal, group, learning};
use crate::id::{RunId, TaskId};
use crate::net::notify;
use crate::net::target::{Target, Targets};
use crate::net::trace::Tracing;
use crate::output::tail::{ERROR_BYTES, HeadTail};
use crate::pipeline::plan::{Plan, PlannedStage};
use crate::pipeline::{Action, Command, Source, Stage};
use crate::run::event::Happened;
use crate::run::exec::{Line, Metrics, SummaryLine, Undelivered};
use crate::run::manifest::Manifest;
use crate::run::shell;
use crate::run::status::RunStatus;
use crate::runner::interrupt::Interrupt;
use crate::runner::{self, Host, Outcome, Stream};
use crate::sys::env::Env;
use crate::sys::process;
use collect::Collector;

/// The variable that names whom to tell where no flag does.
pub const NOTIFY_VARIABLE: &str = "CODEX_ORCHESTRATOR_NOTIFY";

/// What to run.
#[derive(Clone, Debug)]
pub struct ExecOptions {
    pub task: TaskId,
    /// Whether the budget of the machine is ignored.
    pub no_budget: bool,
    /// The command and its arguments.
    pub words: Vec<String>,
    /// Whether the words are texts for a shell, and not to be taken literally.
    pub shell: bool,
    /// The run that this one is a part of.
    pub parent_run: Option<RunId>,
    /// The folder to run in, relative to the current one, which is the default.
    pub cwd: Option<PathBuf>,
    /// Whom to tell; by default those that the environment names.
    pub notify: Vec<Targets>,
    /// Who collects spans; by default whom the environment names.
    pub collector: Option<Target>,
}

/// A command that ended.
#[derive(Debug)]
pub struct ExecOutcome {
    pub manifest: Manifest,
    pub summary: SummaryLine,
    /// The signal that cancelled the run.
    pub interrupt: Option<Interrupt>,
}

impl ExecOutcome {
    /// Returns the exit code of the command as a shell has it: 128 and more if a signal ended it.
    pub fn exit_code(&self) -> u8 {
        let result = &self.summary.payload.result;
        let signal = result.signal.as_deref().and_then(process::signal_number);
        match self.manifest.status {
            RunStatus::Succeeded => 0,
            RunStatus::Cancelled => self.interrupt.unwrap_or(Interrupt::Interrupt).exit_code(),
            _ => match (signal, result.exit_code) {
                (Some(number), _) => 128_u8.saturating_add(number as u8),
                (None, Some(code @ 1..=255)) => code as u8,
                _ => 1,
            },
        }
    }
}

/// Whoever follows a command as it goes on.
pub trait Follow {
    /// The command is about to start.
    fn begins(&mut self, _shell: &str) {}
    /// Something happened, in the words of `exec --jsonl`.
    fn line(&mut self, _line: &Line<serde_json::Value>) {}
    /// Whether [`Follow::line`] wants to know.
    fn wants_lines(&self) -> bool {
        false
    }
    /// The command printed something.
    fn printed(&mut self, _stream: Stream, _text: &str) {}
    /// Something is wrong that does not stop the run.
    fn warn(&mut self, text: &str);
}

/// Runs a command. Everybody who wants to know is told when its evidence is on disk.
pub fn exec(ctx: &Context, options: ExecOptions, follow: Box<dyn Follow>) -> Result<ExecOutcome> {
    let targets = targets(&ctx.env, options.notify)?;
    let cwd = folder(ctx, options.cwd)?;
    let shell = match options.shell {
        true => options.words.join(" "),
        false => shell::words(options.words.iter().map(String::as_str)),
    };
    let mut plan = plan(&shell, cwd);
    plan.learning = learning::wanted(ctx)?;
    ctx.layout.check(&options.task)?;
    let collector = Rc::new(RefCell::new(Collector::new(follow)));
    let mut shared = Shared::new(ctx, options.task, &plan, collector.clone())?;
    if let Some(endpoint) = &options.collector {
        shared.trace_to(Tracing::wanted(&ctx.env, Some(endpoint)).unwrap_or_default());
    }
    let shared = Rc::new(shared);
    let limits = Pace { no_budget: options.no_budget, ..Pace::default() }.limits(&plan);
    let names = group::names(&ctx.env);
    let mut ended = with_interrupts(async |interrupts| {
        let parent = options.parent_run.as_ref().map(RunId::as_str);
        let origin = Origin::asked(&shared, parent, Default::default())?;
        let mut host = RunHost::create(Rc::clone(&shared), plan.clone(), origin, limits, None)?;
        let owner = host.owner();
        host.tell(Happened::Started { owner }, 0)?;
        host.owned()?;
        collector.borrow_mut().begins(&shared.masked(&shell));
        let outcome = runner::execute(&plan, &mut host, interrupts, limits).await?;
        let mut outcome = outcome.context("a command asked for a decision")?;
        if outcome.status == RunStatus::Failed {
            outcome = Outcome { detail: Some("exec-failed".to_owned()), ..outcome };
        }
        let seen = collector.borrow().seen(host.manifest());
        let metrics =
            Metrics::of_command(&seen.outputs.stdout, seen.result.duration_ms, &seen.result.status, names);
        let tool_run = serde_json::to_value(&seen.tool_run).expect("a tool run has string keys");
        let words = options.words.iter().map(|word| bounded(&shared.masked(word))).collect();
        let shown = targets.0.iter().map(|target| shared.masked(&target.shown())).collect();
        let section = metrics.section();
        let summarize = |manifest: &Manifest| seen.summary(manifest, words, metrics, shown, ctx.clock.now());
        let ended = host.end_adhoc(outcome, interrupts, section, tool_run, summarize);
        let (manifest, summary) = ended.await?;
        Ok(ExecOutcome { manifest, summary, interrupt: interrupts.first() })
    })?;
    tell(ctx, &shared, &targets, &mut ended);
    Ok(ended)
}

/// Tells everybody. The run is over and on disk: nothing that happens here changes it.
fn tell(ctx: &Context, shared: &Shared, targets: &Targets, ended: &mut ExecOutcome) {
    std::thread::scope(|scope| {
        let body = serde_json::to_vec(&ended.summary).expect("a summary has string keys");
        let notified = (!targets.0.is_empty()).then(|| scope.spawn(|| notify::notify(&targets.0, body)));
        // While they are told, not after it.
        shared.send_spans(&ended.manifest);
        let Some(sent) = notified.and_then(|notified| notified.join().ok()) else { return };
        let notifications = &mut ended.summary.payload.notifications;
        notifications.delivered = sent.delivered.iter().map(|target| shared.masked(target)).collect();
        for (target, why) in sent.failures {
            let (target, error) = (shared.masked(&target), shared.masked(&why));
            shared.tell_warning(&format!("`{target}` was not notified: {error}"));
            notifications.failures.push(Undelivered { target, error });
        }
    });
    if !targets.0.is_empty() {
        let paths = ctx.layout.run(&ended.manifest.task_id, &ended.manifest.run_id);
        shared.keep_summary(&paths.summary, &ended.summary);
    }
}

fn targets(env: &Env, asked: Vec<Targets>) -> Result<Targets> {
    if !asked.is_empty() {
        return Ok(Targets::joined(asked));
    }
    let variable = env.get(NOTIFY_VARIABLE).unwrap_or_default();
    let targets = variable.parse::<Targets>().map_err(|err| {
        Refusal::new(Kind::Usage, format!("`{NOTIFY_VARIABLE}` names nobody who can be told: {err}"))
            .hint("it is a list of http or https URLs, separated by commas")
    })?;
    Ok(Targets::joined([targets]))
}

/// Returns the folder to run in. It is checked here, where nothing is written yet.
fn folder(ctx: &Context, asked: Option<PathBuf>) -> Result<String> {
    let cwd = asked.map_or_else(|| ctx.env.cwd().to_owned(), |asked| ctx.env.cwd().join(asked));
    if !cwd.is_dir() {
        return Err(
            Refusal::new(Kind::Usage, format!("there is no folder `{}` to run in", cwd.display())).into()
        );
    }
    cwd.into_os_string().into_string().map_err(|cwd| {
        let message = format!("the name of the folder `{}` is no UTF-8", cwd.display());
        Refusal::new(Kind::Usage, message)
            .hint("evidence is text: call it from a folder whose name is, too")
            .into()
    })
}

fn plan(shell: &str, cwd: String) -> Plan {
    let command = Command { cwd: Some(cwd), ..Command::plain(shell.to_owned()) };
    let id = "exec".parse().expect("a word is an id");
    let stage = Stage::plain(id, format!("Execute {}", bounded(shell)), Action::Command(command));
    let pipeline = "exec".parse().expect("a word is an id");
    Plan {
        guardrails_required: false,
        stages: vec![PlannedStage { index: 1, stage, child: None }],
        ..Plan::empty(pipeline, "CLI Exec Command".to_owned(), Source::CommandLine)
    }
}

/// Returns a text that is short enough to stand in several places.
fn bounded(text: &str) -> String {
    HeadTail::of(text, ERROR_BYTES).text()
}
