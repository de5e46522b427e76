//! `git orchestrate guard`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use super::failure::Failure;
use crate::guardrail::Verdict;
use crate::guardrail::diff_budget::limit;
use crate::ops::guard::diff_budget::{BudgetOptions, Scope};
use crate::ops::guard::{ConfigFrom, GuardOptions, all, diff_budget, docs, hand_over, spec};
use crate::ops::{Context, Refusal};
use crate::render::guard::{AcceptedSpec, Verdicts};
use crate::render::{printer, sarif};

#[derive(Debug, Args)]
#[command(after_help = "Without a name all guardrails are run that the configuration requires.")]
pub struct GuardArgs {
    #[command(subcommand)]
    which: Option<Which>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Which {
    DiffBudget(BudgetArgs),
    Spec(SpecArgs),
    Docs(DocsArgs),
}

#[derive(Debug, Args)]
struct Common {
    /// Compare with this commit or branch: with what both have in common
    #[arg(long, global = true, value_name = "REV")]
    base: Option<String>,
    /// Report what is found, and exit with 0
    #[arg(long, global = true)]
    dry_run: bool,
    /// Whose `codex.orchestrator.json` decides
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHOSE")]
    config: Config,
    /// How the answer looks
    #[arg(long, global = true, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Config {
    /// That of the commit that the change is compared with
    #[default]
    Base,
    /// That of the work tree, to try something out
    #[value(alias = "work-tree")]
    WorkingTree,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    #[default]
    Text,
    /// Exactly one JSON document on stdout
    Json,
    /// Findings for a code host
    Sarif,
}

/// Judge how many files and lines a change touches
#[derive(Debug, Args)]
#[command(after_help = "\
The base is --base, else BASE_SHA, else DIFF_BUDGET_BASE, else the branch's upstream, else the branch
of origin/HEAD, else the root commit. DIFF_BUDGET_MAX_FILES and DIFF_BUDGET_MAX_LINES stand in for the
flags. DIFF_BUDGET_OVERRIDE_REASON lets a change pass, and is recorded.")]
struct BudgetArgs {
    /// The most files that may change
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    max_files: Option<u64>,
    /// The most lines that may be added and deleted
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    max_lines: Option<u64>,
    /// Judge one commit against its first parent, and not the work tree
    #[arg(long, value_name = "REV", group = "scope")]
    commit: Option<String>,
    /// Judge each commit of A..B, and all of them together
    #[arg(long, value_name = "A..B", group = "scope")]
    range: Option<String>,
    /// Judge what the next commit would hold
    #[arg(long, group = "scope")]
    staged: bool,
}

fn parse_limit(text: &str) -> Result<u64, String> {
    limit(text).ok_or_else(|| "it is no whole number from 0 on".to_owned())
}

/// Judge whether specs keep up with the code
#[derive(Debug, Args)]
#[command(after_help = "\
The base is --base, else BASE_SHA, else the branch's upstream, else the branch of origin/HEAD, else
the root commit.")]
struct SpecArgs {
    #[command(subcommand)]
    act: Option<SpecAct>,
}

/// Find references in documents to what does not exist
#[derive(Debug, Args)]
#[command(after_help = "\
Checked are README.md, AGENTS.md and the Markdown files below .agent, .ai-dev-tasks, docs, tasks, skills
and templates, and those that `guardrails.docs.include` names. Everything is taken from the work tree, so
--base and --config say nothing here.")]
struct DocsArgs {}

#[derive(Debug, Subcommand)]
enum SpecAct {
    /// Note in a spec that it was read today, against the present commit
    Accept {
        /// The file of the spec
        path: PathBuf,
    },
}

pub fn run(ctx: &Context, args: GuardArgs) -> Result<ExitCode, Failure> {
    let GuardArgs { which, common } = args;
    let options = GuardOptions {
        // Blank is as if it were not there, as with the variables.
        base: common.base.filter(|base| !base.trim().is_empty()),
        dry_run: common.dry_run,
        config: match common.config {
            Config::Base => ConfigFrom::Base,
            Config::WorkingTree => ConfigFrom::WorkTree,
        },
    };
    let verdicts = match which {
        None => all(ctx, &options)?,
        Some(Which::DiffBudget(args)) => {
            let BudgetArgs { max_files, max_lines, commit, range, staged } = args;
            let scope = match (commit, range, staged) {
                // One commit has its own base, whatever else is named.
                (Some(commit), _, _) => Scope::Commit(commit),
                (_, Some(range), _) => Scope::Range(range),
                (_, _, true) => Scope::Staged,
                _ => Scope::WorkTree,
            };
            diff_budget::judge(ctx, &BudgetOptions { common: options, scope, max_files, max_lines })?
        }
        Some(Which::Docs(DocsArgs {})) => {
            if options.base.is_some() {
                let message = "`guard docs` compares nothing with a base";
                return Err(Refusal::usage(message).hint("leave `--base` out").into());
            }
            vec![docs::judge(ctx, options.dry_run)?]
        }
        Some(Which::Spec(SpecArgs { act: None })) => spec::judge(ctx, &options)?,
        Some(Which::Spec(SpecArgs { act: Some(SpecAct::Accept { path }) })) => {
            if options.base.is_some() {
                let message = "`guard spec accept` compares nothing with a base";
                return Err(Refusal::usage(message).hint("leave `--base` out").into());
            }
            let accepted = spec::accept(ctx, &path, options.dry_run)?;
            let format = match common.format {
                Format::Text => printer::Format::Text,
                Format::Json | Format::Sarif => printer::Format::Json,
            };
            printer::answer(&AcceptedSpec(&accepted), format)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    hand_over(ctx, &verdicts)?;
    match common.format {
        Format::Text => printer::answer(&Verdicts(&verdicts), printer::Format::Text)?,
        Format::Json => printer::answer(&Verdicts(&verdicts), printer::Format::Json)?,
        Format::Sarif => printer::document(sarif::text(&verdicts))?,
    }
    Ok(ExitCode::from(u8::from(verdicts.iter().any(Verdict::stops))))
}
