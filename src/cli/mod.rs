//! The command line: flags of each request, dispatch, failures and exit codes.

mod approve;
pub mod bare;
mod completions;
mod bisect;
mod budget;
mod docs;
mod doctor;
mod evidence;
mod exec;
mod explain;
mod flakes;
mod cancel;
mod detach;
mod failure;
mod init;
mod later;
mod gc;
mod guard;
mod hook;
mod hooks;
mod list;
mod logs;
mod man;
mod metrics;
mod migrate;
mod span;
mod spawn;
mod plan;
mod push;
mod resume;
mod snapshot;
mod start;
mod status;
mod stream;

use std::io::IsTerminal;
use std::num::NonZeroU16;
use std::process::ExitCode;
use std::rc::Rc;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::guardrail::Override;
use crate::id::RunId;
use crate::ops::host::SharedWatch;
use crate::ops::start::Pace;
use crate::ops::{Context, Refusal};
use crate::render::printer;
use crate::render::progress::{Mode, Progress};
use crate::store::catalog::Wanted;
use crate::sys::clock::Clock;
use crate::sys::env::{Env, is_true};
use failure::Failure;
use later::Later;

/// Run a project's pipelines in a git worktree and keep evidence of what ran on which tree
#[derive(Debug, Parser)]
#[command(name = called().0, bin_name = called().1, version = VERSION, propagate_version = true)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    request: Request,
}

#[derive(Debug, Subcommand)]
enum Request {
    /// Write a configuration that fits the project, never over an existing one
    Init(Later<init::InitArgs>),
    /// Name everything that would stop a run, and what to do about it
    ///
    /// Writes nothing and runs nothing of the project. Exits with 0 if nothing would stop a run, and with 1 if something
    /// would.
    Doctor(Later<doctor::DoctorArgs>),
    /// Run a pipeline and record its evidence
    Start(Later<start::StartArgs>),
    /// Find the first commit of a range on which a stage fails
    Bisect(Later<bisect::BisectArgs>),
    /// Show what would run, without running anything
    Plan(Later<plan::PlanArgs>),
    /// Go on with a run that did not finish: keep what succeeded, run the rest
    Resume(Later<resume::ResumeArgs>),
    /// Show where a run stands
    Status(Later<status::StatusArgs>),
    /// Work on several things at once: a branch and a worktree each, with runs of their own
    Stream(Later<stream::StreamArgs>),
    /// Start a set of goals from a file: commands and pipelines, here or in streams
    ///
    /// Each is a run of its own, with limits such as a time for each and how many run at once. One run above them has a stage for each, and ends as they do.
    Spawn(Later<spawn::SpawnArgs>),
    /// List the runs of all worktrees of the repository, newest first
    List(Later<list::ListArgs>),
    /// Print what the stages of a run printed
    Logs(Later<logs::LogsArgs>),
    /// Keep a task's documents in step
    Docs(Later<docs::DocsArgs>),
    /// Show, check, audit and exchange what git notes say about commits
    Evidence(Later<evidence::EvidenceArgs>),
    /// Run one command and record its evidence, as if it were a stage
    ///
    /// Exits as the command does. What it prints is JSON, unless both stdout and stderr are a terminal.
    Exec(Later<exec::ExecArgs>),
    /// Say which run proves a stage, or what differs from the nearest one
    ///
    /// It runs nothing but the commands that `fingerprint` in the configuration names.
    Explain(Later<explain::ExplainArgs>),
    /// Show who holds what of this machine's budget, and who waits
    ///
    /// All runs of a user draw tokens from one place, one for each command unless its stage has a `weight`, and more
    /// for what make and cargo do at the same time in it. There are as many as GIT_ORCHESTRATE_BUDGET_JOBS says, else
    /// `budget.jobs` in the configuration, else as cores; then a run that was asked for with more `--jobs` has as many
    /// as that while no other run is there. `--no-budget` or GIT_ORCHESTRATE_NO_BUDGET=1 make runs ignore it.
    Budget(Later<budget::BudgetArgs>),
    /// List stages that passed and failed on the same tree, or clear them
    Flakes(Later<flakes::FlakesArgs>),
    /// Print the completion script of a shell
    Completions(Later<completions::CompletionsArgs>),
    /// Print the manual page, or install all pages
    Man(Later<man::ManArgs>),
    /// Print what the word at an index can go on with, one candidate per line; completion scripts ask this
    #[command(hide = true)]
    CompleteWords(Later<completions::CompleteWordsArgs>),
    /// Show how the runs of this worktree went: rates, durations, slow and flaky stages
    Metrics(Later<metrics::MetricsArgs>),
    /// Move runs of the older layout to where runs live now
    Migrate(Later<migrate::MigrateArgs>),
    /// Remove old runs of this worktree that nothing needs any more
    ///
    /// A run goes that is beyond any of the limits; without a limit, those that ended more than 30 days ago.
    /// It stays if it ended less than an hour ago, is not finished, is being worked on, or is named by a
    /// run that stays, a file of the repository, a note or a link. What a run had added to the history and to the metrics stays.
    Gc(Later<gc::GcArgs>),
    /// Judge a change: its size, and whether specs and documents keep up with it
    Guard(Later<guard::GuardArgs>),
    /// Answer for a hook of git, or by hand
    ///
    /// What it says goes to stderr, as with all hooks; `--format json` answers on stdout.
    Hook(Later<hook::HookArgs>),
    /// Put hooks where git finds them, take them away, and prove that they fire
    Hooks(Later<hooks::HooksArgs>),
    /// Run what a push needs and is not proven yet, then push, then send the evidence
    ///
    /// What would be pushed is asked of git, with `git push --dry-run`; submodules that it would push too are not looked
    /// at. Exits as git does, or with 1 if something may not be pushed.
    Push(Later<push::PushArgs>),
    /// Keep the work tree as it is in an archive, bring it back, and replay what ran on it
    ///
    /// A snapshot holds the tracked and the untracked files, without those that git ignores, as an archive and as a
    /// commit that `refs/orchestrate/snapshots/` keeps. The index, HEAD, the stash and the branches stay as they are.
    Snapshot(Later<snapshot::SnapshotArgs>),
    /// End a run, from any terminal or worktree, and wait until it has ended
    Cancel(Later<cancel::CancelArgs>),
    /// Approve a stage that waits for a decision, from any terminal or worktree
    Approve(Later<approve::ApproveArgs>),
    /// Reject a stage that waits for a decision, from any terminal or worktree
    Reject(Later<approve::RejectArgs>),
    /// Own a detached run
    #[command(hide = true)]
    Supervise(Later<detach::SuperviseArgs>),
    /// End what a killed owner left
    #[command(hide = true)]
    Sweep(Later<detach::SweepArgs>),
    /// Send the notes to a remote, while nobody waits
    #[command(hide = true)]
    SendEvidence(Later<push::SendEvidenceArgs>),
}

/// What this program is, the commit it was built from and what it can do: `build.rs` knows.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("GIT_ORCHESTRATE_COMMIT"),
    "; ",
    env!("GIT_ORCHESTRATE_FEATURES"),
    ")"
);

/// What the codes mean; README repeats it, and a test compares.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    succeeded
  1    a stage or guardrail said no
  2    usage or configuration error; nothing ran, nothing was written
  3    refused because it would not be safe
  4    the evidence could not be stored
  5    busy: another process works on the run, or two would wait for each other
  6    the evidence is not to be believed: corrupt, edited, or a wrong token
  7    the evidence was not delivered to the remote
  128+ cancelled by a signal: 129 SIGHUP, 130 SIGINT, 143 SIGTERM";

/// How the answer looks
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    #[default]
    Text,
    /// Exactly one JSON document on stdout
    Json,
}

impl From<Format> for printer::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Json => Self::Json,
        }
    }
}

/// Which run: both spellings of older scripts work.
#[derive(Debug, Args)]
struct RunArg {
    /// Run id, a prefix that is unique, or `latest`
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// The same as a flag
    #[arg(long = "run", value_name = "RUN", conflicts_with = "run")]
    run_flag: Option<String>,
}

impl RunArg {
    fn wanted(self) -> Result<Wanted, Failure> {
        wanted(self.run.or(self.run_flag).as_deref())
    }
}

fn wanted(text: Option<&str>) -> Result<Wanted, Failure> {
    match text {
        None | Some("latest") => Ok(Wanted::Latest),
        Some(text) => Ok(Wanted::Id(text.parse::<RunId>().map_err(anyhow::Error::from)?)),
    }
}

/// How much happens at the same time
#[derive(Clone, Copy, Debug, Args)]
struct PaceArgs {
    /// Run up to this many commands at the same time; by default the configuration's `jobs`, else 1. More than there are
    /// cores only while no other run draws from the budget
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZeroU16>,
    /// After a failure, go on with what does not depend on it, and with the next commit of `--each`
    #[arg(long, short)]
    keep_going: bool,
    /// Do not wait for what other runs on this machine have of its budget; see `git orchestrate budget`
    #[arg(long)]
    no_budget: bool,
}

impl From<PaceArgs> for Pace {
    fn from(PaceArgs { jobs, keep_going, no_budget }: PaceArgs) -> Self {
        Self { jobs, keep_going, no_budget }
    }
}

/// Returns the reason that `--override` gives, or else the one that was `said` elsewhere.
fn override_of(given: Option<String>, said: Option<Override>) -> Result<Option<Override>, Failure> {
    let given = given.map(|reason| Override { variable: "--override".to_owned(), reason }).or(said);
    if given.as_ref().is_some_and(|given| given.reason.trim().is_empty()) {
        return Err(Refusal::usage("`--override` needs a reason").into());
    }
    Ok(given)
}

/// The narration of a run
#[derive(Clone, Copy, Debug, Args)]
struct ProgressArgs {
    /// Show a live line per stage (the default on a terminal)
    #[arg(long, visible_alias = "ui")]
    interactive: bool,
    /// Show plain lines only
    #[arg(long, conflicts_with = "interactive")]
    no_interactive: bool,
}

impl ProgressArgs {
    fn watch(self, env: &Env, format: Format) -> SharedWatch {
        let why_not = if format == Format::Json {
            Some("the answer is JSON")
        } else if !std::io::stderr().is_terminal() {
            Some("stderr is no terminal")
        } else if env.get("TERM") == Some("dumb") {
            Some("TERM=dumb")
        } else if env.get("CI").is_some_and(is_true) {
            Some("CI")
        } else {
            None
        };
        let mode = match why_not {
            None if !self.no_interactive => Mode::Live,
            _ => Mode::Plain,
        };
        if let Some(reason) = why_not.filter(|_| self.interactive) {
            eprintln!("[HUD disabled] {reason}");
        }
        // Whoever asked for plain lines, or reads them elsewhere, decides elsewhere too.
        let can_prompt = why_not.is_none_or(|why| why == "TERM=dumb")
            && !self.no_interactive
            && crate::sys::process::owns_terminal();
        Rc::new(std::cell::RefCell::new(Progress::new(mode).prompting(can_prompt)))
    }
}

/// Returns the narration of what is no run of its own: plain lines.
fn plain_watch() -> SharedWatch {
    Rc::new(std::cell::RefCell::new(Progress::new(Mode::Plain)))
}

/// The name of the program, and what people type for it: git calls `git-orchestrate` for
/// `git orchestrate`.
fn called() -> (&'static str, &'static str) {
    let called = std::env::args_os().next().unwrap_or_default();
    match std::path::Path::new(&called).file_name().and_then(|name| name.to_str()) {
        Some("codex-orchestrator") => ("codex-orchestrator", "codex-orchestrator"),
        _ => ("git-orchestrate", "git orchestrate"),
    }
}

/// Runs the program and returns its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(push::ordered(exec::joined(std::env::args_os()))) {
        Ok(cli) => cli,
        Err(err) => {
            // Help and version are answers; everything else is a usage error.
            let code = if err.use_stderr() { 2 } else { 0 };
            let _ = err.print();
            return ExitCode::from(code);
        }
    };
    match dispatch(cli.request) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn dispatch(request: Request) -> Result<ExitCode, Failure> {
    // A detached run is owned by a copy of this process, which goes on from here. It has to be made before
    // there is anything that must not be there twice.
    let answered = match &request {
        Request::Start(Later(args)) if args.detach => args.hand_over()?,
        Request::Resume(Later(args)) if args.detach => args.hand_over()?,
        Request::Push(Later(args)) if args.detach => args.hand_over()?,
        Request::Stream(Later(args)) => args.hand_over()?,
        Request::Spawn(Later(args)) if args.detach => args.hand_over()?,
        Request::Supervise(_) | Request::SendEvidence(_) => {
            crate::sys::daemon::leave_session();
            None
        }
        _ => None,
    };
    if let Some(code) = answered {
        return Ok(code);
    }
    let env = Env::read().map_err(|err| anyhow::Error::new(err).context("cannot read the current folder"))?;
    trace(&env);
    // These are about the program and about no repository.
    let request = match request {
        Request::Completions(Later(args)) => return completions::run(args),
        Request::CompleteWords(Later(args)) => return completions::words(env, args),
        Request::Man(Later(args)) => return man::run(&env, args),
        // What keeps us from opening the repository is what it is asked about.
        Request::Doctor(Later(args)) => return doctor::run(env, args),
        Request::Budget(Later(args)) => return budget::run(env, args),
        // A hook is called in repositories without a work tree too.
        Request::Hook(Later(args)) => return hook::run(env, args),
        request => request,
    };
    let ctx = match &request {
        Request::Evidence(Later(args)) if args.only_looks() => Context::open_any(env, Clock::System)?,
        // A bare repository pushes too, if what it pushes is proven.
        Request::Push(_) => Context::open_in_hook(env, Clock::System)?,
        _ => Context::open(env, Clock::System)?,
    };
    match request {
        Request::Init(Later(args)) => init::run(&ctx, args),
        Request::Start(Later(args)) => start::run(&ctx, args),
        Request::Bisect(Later(args)) => bisect::run(&ctx, args),
        Request::Plan(Later(args)) => plan::run(&ctx, args),
        Request::Resume(Later(args)) => resume::run(&ctx, args),
        Request::Status(Later(args)) => status::run(&ctx, args),
        Request::Stream(Later(args)) => stream::run(&ctx, args),
        Request::Spawn(Later(args)) => spawn::run(&ctx, args),
        Request::List(Later(args)) => list::run(&ctx, args),
        Request::Logs(Later(args)) => logs::run(&ctx, args),
        Request::Docs(Later(args)) => docs::run(&ctx, args),
        Request::Evidence(Later(args)) => evidence::run(&ctx, args),
        Request::Exec(Later(args)) => exec::run(&ctx, args),
        Request::Explain(Later(args)) => explain::run(&ctx, args),
        Request::Flakes(Later(args)) => flakes::run(&ctx, args),
        Request::Completions(_)
        | Request::CompleteWords(_)
        | Request::Man(_)
        | Request::Doctor(_)
        | Request::Budget(_)
        | Request::Hook(_) => {
            unreachable!("answered above, without a repository")
        }
        Request::Metrics(Later(args)) => metrics::run(&ctx, args),
        Request::Migrate(Later(args)) => migrate::run(&ctx, args),
        Request::Gc(Later(args)) => gc::run(&ctx, args),
        Request::Guard(Later(args)) => guard::run(&ctx, args),
        Request::Hooks(Later(args)) => hooks::run(&ctx, args),
        Request::Push(Later(args)) => push::run(&ctx, args),
        Request::Snapshot(Later(args)) => snapshot::run(&ctx, args),
        Request::Cancel(Later(args)) => cancel::run(&ctx, args),
        Request::Approve(Later(args)) => approve::approve(&ctx, args),
        Request::Reject(Later(args)) => approve::reject(&ctx, args),
        Request::Supervise(Later(args)) => detach::supervise(&ctx, args),
        Request::Sweep(Later(args)) => detach::swept(&ctx, &args),
        Request::SendEvidence(Later(args)) => push::send_evidence(&ctx, &args),
    }
}

/// Turns on our own log, for those who debug this program: `GIT_ORCHESTRATE_LOG=debug`.
fn trace(env: &Env) {
    let Some(filter) = env.get("GIT_ORCHESTRATE_LOG") else { return };
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .try_init();
}
