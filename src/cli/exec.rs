//! `git orchestrate exec`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use super::failure::Failure;
use crate::id::{RunId, TaskId};
use crate::net::target::{Target, Targets};
use crate::ops::exec::{ExecOptions, exec};
use crate::ops::{Context, Kind, Refusal};
use crate::render::exec::{Mode, Show, ended};

#[derive(Debug, clap::Args)]
#[command(override_usage = "git orchestrate exec [OPTIONS] -- <COMMAND>...")]
pub struct ExecArgs {
    /// The command and its arguments
    #[arg(required = true, value_name = "COMMAND")]
    words: Vec<OsString>,
    /// Answer with one JSON document, `pretty` or `compact`
    #[arg(long, value_name = "LOOK", num_args = 0..=1, require_equals = true, default_missing_value = "pretty")]
    json: Option<Look>,
    /// Answer with a JSON object per event and line
    #[arg(long, conflicts_with = "json")]
    jsonl: bool,
    /// Print what the command prints and nothing else, wherever that goes
    #[arg(long, conflicts_with_all = ["json", "jsonl"])]
    plain: bool,
    /// Take the words for texts of a shell, as in `--shell 'make && make check'`
    #[arg(long)]
    shell: bool,
    /// Run that this run is a part of
    #[arg(long, value_name = "RUN")]
    parent_run: Option<RunId>,
    /// Post the summary to these URLs when it is on disk; instead of CODEX_ORCHESTRATOR_NOTIFY
    #[arg(long, value_name = "URL,…")]
    notify: Vec<Targets>,
    /// Send OpenTelemetry spans to this collector, instead of the one that the environment names
    #[arg(long, value_name = "URL")]
    otel_endpoint: Option<Target>,
    /// Do not wait for what other runs on this machine have of its budget; see `git orchestrate budget`
    #[arg(long)]
    no_budget: bool,
    /// Folder to run in; by default the current one
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Task the run belongs to
    #[arg(long, env = "MCP_RUNNER_TASK_ID", default_value = "0101", value_name = "ID")]
    task: TaskId,
}

/// How the JSON document looks
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Look {
    Pretty,
    Compact,
}

pub fn run(ctx: &Context, args: ExecArgs) -> Result<ExitCode, Failure> {
    let ExecArgs {
        words,
        json,
        jsonl,
        plain,
        shell,
        parent_run,
        notify,
        otel_endpoint,
        no_budget,
        cwd,
        task,
    } = args;
    let mode = match json {
        Some(look) => Mode::Json { pretty: matches!(look, Look::Pretty) },
        None if plain => Mode::Plain,
        None if jsonl => Mode::JsonLines,
        None => Mode::of_terminal(),
    };
    let words = words.into_iter().map(text).collect::<Result<_, _>>()?;
    let options =
        ExecOptions { task, no_budget, words, shell, parent_run, cwd, notify, collector: otel_endpoint };
    let outcome = exec(ctx, options, Box::new(Show(mode)))?;
    ended(mode, &outcome.summary)?;
    Ok(ExitCode::from(outcome.exit_code()))
}

fn text(word: OsString) -> Result<String, Refusal> {
    word.into_string().map_err(|word| {
        Refusal::new(Kind::Usage, format!("the argument `{}` is no UTF-8", word.display()))
            .hint("evidence is text: put such a name into a script, and run that")
    })
}

/// Joins `--json compact` into one argument. Its value may also be left out, which clap cannot tell from
/// a command that follows.
pub fn joined(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    let mut over = false;
    for arg in args {
        let is_exec = joined.get(1).is_some_and(|request| request == "exec");
        over |= arg == "--";
        let is_look = arg == "compact" || arg == "pretty";
        match joined.last_mut() {
            Some(last) if is_exec && !over && is_look && last == "--json" => {
                last.push("=");
                last.push(arg);
            }
            _ => joined.push(arg),
        }
    }
    joined
}
