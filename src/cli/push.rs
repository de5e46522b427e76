//! `git orchestrate push`.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;

use super::failure::Failure;
use super::start::interrupted;
use super::{Format, PaceArgs, ProgressArgs, detach, override_of, plain_watch};
use crate::git::Upkeep;
use crate::id::TaskId;
use crate::ops::Context;
use crate::ops::detach::supervise;
use crate::ops::evidence::remote;
use crate::ops::hook::reason;
use crate::ops::host::SharedWatch;
use crate::ops::push::{PushOptions, PushOutcome, push};
use crate::render::printer;

#[derive(Debug, clap::Args)]
#[command(override_usage = "git orchestrate push [OPTIONS] [GIT PUSH ARGUMENTS]...")]
pub struct PushArgs {
    /// Let the push change the gate that judges it
    #[arg(long)]
    allow_gate_change: bool,
    /// Let pass what would be refused, for this reason, which is kept
    #[arg(long = "override", value_name = "REASON")]
    reason: Option<String>,
    /// Push when all that is missing has passed; what happens anyway, and what `--detach` goes with
    #[arg(long)]
    when_green: bool,
    /// Answer as soon as what is missing has begun; it goes on, and pushes, without this terminal
    #[arg(long, requires = "when_green")]
    pub detach: bool,
    /// Make the side worktree anew that it runs in, instead of keeping what is ignored there
    #[arg(long)]
    clean: bool,
    /// Task that the runs belong to
    #[arg(long, env = "MCP_RUNNER_TASK_ID", default_value = "0101", value_name = "ID")]
    task: TaskId,
    #[command(flatten)]
    pace: PaceArgs,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    progress: ProgressArgs,
    /// What `git push` takes
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "GIT PUSH ARGUMENTS")]
    args: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
pub struct SendEvidenceArgs {
    #[arg(allow_hyphen_values = true)]
    remote: String,
}

/// Moves our own flags in front of those of git, which may stand in any order.
pub fn ordered(args: Vec<OsString>) -> Vec<OsString> {
    const ALONE: [&str; 9] = [
        "--allow-gate-change",
        "--when-green",
        "--detach",
        "--keep-going",
        "--no-budget",
        "--interactive",
        "--ui",
        "--no-interactive",
        "--clean",
    ];
    const WITH_VALUE: [&str; 4] = ["--override", "--task", "--format", "--jobs"];
    if args.get(1).is_none_or(|request| request != "push") {
        return args;
    }
    let mut words = args.into_iter();
    let mut ours: Vec<OsString> = words.by_ref().take(2).collect();
    let mut theirs = Vec::new();
    while let Some(word) = words.next() {
        let text = word.to_str().unwrap_or_default();
        let has_value = |flag: &str| text.strip_prefix(flag).is_some_and(|rest| rest.starts_with('='));
        if text == "--" {
            // What follows is for git, and so is the word itself.
            theirs.push(word);
            break;
        } else if ALONE.contains(&text) || WITH_VALUE.iter().any(|flag| has_value(flag)) {
            ours.push(word);
        } else if WITH_VALUE.contains(&text) {
            ours.push(word);
            ours.extend(words.next());
        } else {
            theirs.push(word);
        }
    }
    // clap takes the first `--` for itself.
    if theirs.first().is_some_and(|word| word == "--") {
        theirs.insert(0, "--".into());
    }
    ours.into_iter().chain(theirs).chain(words).collect()
}

pub fn run(ctx: &Context, args: PushArgs) -> Result<ExitCode, Failure> {
    if args.detach {
        return supervised(ctx, args);
    }
    let (format, progress) = (args.format, args.progress);
    let watch = progress.watch(&ctx.env, format);
    let outcome = carry_out(ctx, args, watch)?;
    tell(&outcome, format)?;
    Ok(exit_code(&outcome))
}

/// Pushes as the owner of detached runs.
fn supervised(ctx: &Context, args: PushArgs) -> Result<ExitCode, Failure> {
    let outcome = supervise(plain_watch(), |watch| carry_out(ctx, args, watch).map_err(|err| err.0))?;
    tell(&outcome, Format::Text)?;
    Ok(exit_code(&outcome))
}

fn carry_out(ctx: &Context, args: PushArgs, watch: SharedWatch) -> Result<PushOutcome, Failure> {
    let said = reason::said(&ctx.env);
    let options = PushOptions {
        args: args.args,
        task: args.task,
        pace: args.pace.into(),
        allow_gate_change: args.allow_gate_change || said.allow_gate_change,
        reason: override_of(args.reason, said.reason)?,
        upkeep: if args.clean { Upkeep::Virgin } else { Upkeep::Warm },
        free_stdout: args.format == Format::Json,
    };
    Ok(push(ctx, &options, &watch)?)
}

fn tell(outcome: &PushOutcome, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => printer::answer(outcome, printer::Format::Json)?,
        Format::Text => printer::narrate(outcome)?,
    }
    Ok(())
}

fn exit_code(outcome: &PushOutcome) -> ExitCode {
    match (outcome.interrupt, outcome.git) {
        (Some(interrupt), _) => interrupted(interrupt),
        (None, Some(code)) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        (None, None) if outcome.judgements.iter().any(|it| it.is_broken()) => ExitCode::from(2),
        (None, None) => ExitCode::from(1),
    }
}

impl PushArgs {
    /// Hands the request over to a process that outlives this one. Returns nothing in that one.
    pub fn hand_over(&self) -> Result<Option<ExitCode>, Failure> {
        detach::detach("started", self.format)
    }
}

pub fn send_evidence(ctx: &Context, args: &SendEvidenceArgs) -> Result<ExitCode, Failure> {
    remote::push(ctx, Some(&args.remote)).context("the evidence was not sent")?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> String {
        let words = ordered(line.split(' ').map(OsString::from).collect());
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn our_flags_may_stand_anywhere() {
        for (given, expected) in [
            ("x push -u origin main", "x push -u origin main"),
            ("x push origin --override why main", "x push --override why origin main"),
            ("x push -f origin --format=json --detach", "x push --format=json --detach -f origin"),
            ("x push origin -- --detach", "x push origin -- --detach"),
            ("x push -- origin", "x push -- -- origin"),
            ("x start --detach", "x start --detach"),
        ] {
            assert_eq!(of(given), expected);
        }
    }
}
