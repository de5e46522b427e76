//! `git orchestrate spawn`.

use std::io::Read;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::failure::Failure;
use super::start::exit_code;
use super::{Format, ProgressArgs, detach, plain_watch};
use crate::id::TaskId;
use crate::ops::detach::supervise;
use crate::ops::spawn::{Spawn, SpawnOptions, text_of, utf8};
use crate::ops::{Context, Refusal};
use crate::render::printer;
use crate::render::spawn::{Preview, Spawned};

#[derive(Debug, clap::Args)]
pub struct SpawnArgs {
    /// The file that declares the goals; `-` for stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Show what would start, and start nothing
    #[arg(long, conflicts_with = "detach")]
    dry_run: bool,
    /// Only the goals of these adapters
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    adapters: Vec<String>,
    /// Only the goals of these names, such as `build,test`
    #[arg(long, value_name = "GOAL,…", value_delimiter = ',')]
    goals: Vec<String>,
    /// How many run at the same time; what the file says by default, else as many as there are processors
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZeroU16>,
    /// Task of the run above them, and of those in this worktree
    #[arg(long, env = "MCP_RUNNER_TASK_ID", default_value = "0101", value_name = "ID")]
    task: TaskId,
    /// Answer as soon as the run has begun; it goes on without this terminal
    #[arg(long)]
    pub detach: bool,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    progress: ProgressArgs,
}

impl SpawnArgs {
    /// Hands the request over to a process that outlives this one. Returns nothing in that one.
    pub fn hand_over(&self) -> Result<Option<ExitCode>, Failure> {
        if self.is_stdin() {
            return Err(Refusal::usage("`--detach` does not go with goals from stdin")
                .hint("put them into a file: nobody reads stdin any more when this command has answered")
                .into());
        }
        detach::detach("started", self.format)
    }

    fn is_stdin(&self) -> bool {
        self.file == Path::new("-")
    }

    fn plan(&self, ctx: &Context) -> anyhow::Result<Spawn> {
        let Self { file, task, jobs, adapters, goals, .. } = self;
        let (name, text) = match self.is_stdin() {
            true => {
                let mut bytes = Vec::new();
                let limit = crate::pipeline::config::MAX_BYTES as u64 + 1;
                std::io::stdin().take(limit).read_to_end(&mut bytes).context("cannot read stdin")?;
                ("stdin".to_owned(), utf8(bytes)?)
            }
            false => (file.display().to_string(), text_of(ctx, file)?),
        };
        let options = SpawnOptions {
            task: task.clone(),
            jobs: *jobs,
            adapters: adapters.clone(),
            goals: goals.clone(),
        };
        Spawn::plan(ctx, &name, &text, &options)
    }
}

pub fn run(ctx: &Context, args: SpawnArgs) -> Result<ExitCode, Failure> {
    let spawn = args.plan(ctx)?;
    if args.dry_run {
        printer::answer(&Preview(&spawn), args.format.into())?;
        return Ok(ExitCode::SUCCESS);
    }
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    if args.detach {
        let (_, outcome) = supervise(plain_watch(), |watch| spawn.run(ctx, &program, watch))?;
        return Ok(exit_code(&outcome));
    }
    let watch = args.progress.watch(&ctx.env, args.format);
    let (goals, outcome) = spawn.run(ctx, &program, watch)?;
    printer::answer(&Spawned { goals: &goals, manifest: &outcome.manifest }, args.format.into())?;
    Ok(exit_code(&outcome))
}
