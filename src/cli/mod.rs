//! The command line: flags of each request, dispatch, failures and exit codes.

mod approve;
mod completions;
mod bisect;
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

use crate::id::RunId;
use crate::ops::Context;
use crate::ops::host::SharedWatch;
use crate::ops::start::Pace;
use crate::render::printer;
use crate::render::progress::{Mode, Progress};
use crate::store::catalog::Wanted;
use crate::sys::clock::Clock;
use crate::sys::env::{Env, is_true};
use failure::Failure;

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
    Init(init::InitArgs),
    Doctor(doctor::DoctorArgs),
    Start(start::StartArgs),
    Bisect(bisect::BisectArgs),
    Plan(plan::PlanArgs),
    Resume(resume::ResumeArgs),
    Status(status::StatusArgs),
    Stream(stream::StreamArgs),
    List(list::ListArgs),
    Logs(logs::LogsArgs),
    Docs(docs::DocsArgs),
    Evidence(evidence::EvidenceArgs),
    Exec(exec::ExecArgs),
    Explain(explain::ExplainArgs),
    Flakes(flakes::FlakesArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
    #[command(hide = true)]
    CompleteWords(completions::CompleteWordsArgs),
    Metrics(metrics::MetricsArgs),
    Migrate(migrate::MigrateArgs),
    Gc(gc::GcArgs),
    Guard(guard::GuardArgs),
    Hook(hook::HookArgs),
    Hooks(hooks::HooksArgs),
    Push(push::PushArgs),
    Snapshot(snapshot::SnapshotArgs),
    Cancel(cancel::CancelArgs),
    Approve(approve::ApproveArgs),
    Reject(approve::RejectArgs),
    #[command(hide = true)]
    Supervise(detach::SuperviseArgs),
    #[command(hide = true)]
    Sweep(detach::SweepArgs),
    #[command(hide = true)]
    SendEvidence(push::SendEvidenceArgs),
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
  5    busy: another process works on the run
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
    /// Run up to this many commands at the same time; by default the configuration's `jobs`, else 1
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZeroU16>,
    /// After a failure, go on with what does not depend on it, and with the next commit of `--each`
    #[arg(long, short)]
    keep_going: bool,
}

impl From<PaceArgs> for Pace {
    fn from(PaceArgs { jobs, keep_going }: PaceArgs) -> Self {
        Self { jobs, keep_going }
    }
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
        Request::Start(args) if args.detach => args.hand_over()?,
        Request::Resume(args) if args.detach => args.hand_over()?,
        Request::Push(args) if args.detach => args.hand_over()?,
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
        Request::Completions(args) => return completions::run(args),
        Request::CompleteWords(args) => return completions::words(env, args),
        Request::Man(args) => return man::run(&env, args),
        // What keeps us from opening the repository is what it is asked about.
        Request::Doctor(args) => return doctor::run(env, args),
        // A hook is called in repositories without a work tree too.
        Request::Hook(args) => return hook::run(env, args),
        request => request,
    };
    let ctx = match &request {
        Request::Evidence(args) if args.only_looks() => Context::open_any(env, Clock::System)?,
        _ => Context::open(env, Clock::System)?,
    };
    match request {
        Request::Init(args) => init::run(&ctx, args),
        Request::Start(args) => start::run(&ctx, args),
        Request::Bisect(args) => bisect::run(&ctx, args),
        Request::Plan(args) => plan::run(&ctx, args),
        Request::Resume(args) => resume::run(&ctx, args),
        Request::Status(args) => status::run(&ctx, args),
        Request::Stream(args) => stream::run(&ctx, args),
        Request::List(args) => list::run(&ctx, args),
        Request::Logs(args) => logs::run(&ctx, args),
        Request::Docs(args) => docs::run(&ctx, args),
        Request::Evidence(args) => evidence::run(&ctx, args),
        Request::Exec(args) => exec::run(&ctx, args),
        Request::Explain(args) => explain::run(&ctx, args),
        Request::Flakes(args) => flakes::run(&ctx, args),
        Request::Completions(_)
        | Request::CompleteWords(_)
        | Request::Man(_)
        | Request::Doctor(_)
        | Request::Hook(_) => {
            unreachable!("answered above, without a repository")
        }
        Request::Metrics(args) => metrics::run(&ctx, args),
        Request::Migrate(args) => migrate::run(&ctx, args),
        Request::Gc(args) => gc::run(&ctx, args),
        Request::Guard(args) => guard::run(&ctx, args),
        Request::Hooks(args) => hooks::run(&ctx, args),
        Request::Push(args) => push::run(&ctx, args),
        Request::Snapshot(args) => snapshot::run(&ctx, args),
        Request::Cancel(args) => cancel::run(&ctx, args),
        Request::Approve(args) => approve::approve(&ctx, args),
        Request::Reject(args) => approve::reject(&ctx, args),
        Request::Supervise(args) => detach::supervise(&ctx, args),
        Request::Sweep(args) => detach::swept(&ctx, &args),
        Request::SendEvidence(args) => push::send_evidence(&ctx, &args),
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
