//! `git orchestrate completions`, and the hidden request by which a shell asks what can follow.
//!
//! The scripts hold no flag: they hand over the words typed so far. So a script of an older version
//! offers what the newer program knows, and all three shells offer the same.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, complete};

use super::failure::Failure;
use crate::ops::Context;
use crate::ops::candidates::{self, Candidate};
use crate::render::printer;
use crate::sys::clock::Clock;
use crate::sys::env::Env;

#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell that is to complete
    #[arg(value_enum)]
    shell: Shell,
}

/// A shell that we have a script for
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    /// Keep it as ~/.local/share/bash-completion/completions/git-orchestrate
    Bash,
    /// Keep it as `_git-orchestrate` in a folder of $fpath
    Zsh,
    /// Keep it as ~/.config/fish/conf.d/git-orchestrate.fish
    Fish,
}

#[derive(Debug, clap::Args)]
pub struct CompleteWordsArgs {
    /// The position of the word, from 0 for the program
    #[arg(long, value_name = "N")]
    index: usize,
    /// The words of the command line
    #[arg(last = true, value_name = "WORD")]
    words: Vec<OsString>,
}

pub fn run(args: CompletionsArgs) -> Result<ExitCode, Failure> {
    let script = match args.shell {
        Shell::Bash => include_str!("../../templates/completions/git-orchestrate.bash"),
        Shell::Zsh => include_str!("../../templates/completions/git-orchestrate.zsh"),
        Shell::Fish => include_str!("../../templates/completions/git-orchestrate.fish"),
    };
    printer::document(script.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Answers a shell. Whatever goes wrong, there is just nothing to offer: nobody reads an error between
/// two keystrokes.
pub fn words(env: Env, args: CompleteWordsArgs) -> Result<ExitCode, Failure> {
    let CompleteWordsArgs { index, mut words } = args;
    // Behind the last word there is an empty one, which not every shell hands over.
    words.resize(words.len().max(index + 1).min(MAX_WORDS), OsString::new());
    let typed_nothing = words.get(index).is_none_or(|word| word.is_empty());
    let cwd = env.cwd().to_owned();
    let mut command = super::Cli::command();
    // The flags of all requests are there from now on.
    command.build();
    let mut command = with_values(command, &env);
    let found = complete(&mut command, words, index, Some(&cwd)).unwrap_or_default();
    // Flags come when a dash is typed, or where nothing else could.
    let is_flag =
        |candidate: &CompletionCandidate| candidate.get_value().as_encoded_bytes().starts_with(b"-");
    let values_only = typed_nothing && found.iter().any(|candidate| !is_flag(candidate));
    let mut lines = Vec::new();
    for candidate in found.iter().filter(|candidate| !(values_only && is_flag(candidate))) {
        let Some(word) = candidate.get_value().to_str() else { continue };
        // A name that a repository chose must be no more than one word of one line.
        if word.is_empty() || word.chars().any(char::is_control) {
            continue;
        }
        lines.extend_from_slice(word.as_bytes());
        let about = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        let about: String = about.chars().take_while(|c| *c != '\n').filter(|c| !c.is_control()).collect();
        if !about.is_empty() {
            lines.push(b'\t');
            lines.extend_from_slice(about.as_bytes());
        }
        lines.push(b'\n');
    }
    printer::document(&lines)?;
    Ok(ExitCode::SUCCESS)
}

/// No command line of ours is longer; a script that asks for more is mistaken.
const MAX_WORDS: usize = 10_000;

/// Adds where the values of arguments come from, by the names that arguments have in all requests.
fn with_values(command: Command, env: &Env) -> Command {
    let env = env.clone();
    let names: Vec<_> = command.get_subcommands().map(|request| request.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        let env = env.clone();
        command.mut_subcommand(name, |request| {
            with_values(request, &env).mut_args(|arg| match source_of(&arg) {
                Some(source) if arg.get_possible_values().is_empty() => {
                    let env = env.clone();
                    arg.add(ArgValueCompleter::new(move |typed: &OsStr| offer(&env, source, typed)))
                }
                _ => arg,
            })
        })
    })
}

type Source = fn(&Context, &str) -> Vec<Candidate>;

fn source_of(arg: &clap::Arg) -> Option<Source> {
    let value = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
    match (arg.get_id().as_str(), value) {
        (_, "RUN") => Some(candidates::runs),
        (_, "STAGE") => Some(|ctx, _| candidates::stages(ctx)),
        (_, "STREAM") => Some(|ctx, _| candidates::streams(ctx)),
        (_, "WORKTREE") => Some(|ctx, _| candidates::worktrees(ctx)),
        ("pipeline", _) => Some(|ctx, _| candidates::pipelines(ctx)),
        ("task", _) => Some(|ctx, _| candidates::tasks(ctx)),
        _ => None,
    }
}

fn offer(env: &Env, source: Source, typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let Ok(ctx) = Context::open(env.clone(), Clock::System) else { return Vec::new() };
    let found = source(&ctx, typed).into_iter().filter(|candidate| candidate.word.starts_with(typed));
    let offered = found.map(|Candidate { word, about }| {
        CompletionCandidate::new(word).help((!about.is_empty()).then(|| about.into()))
    });
    offered.collect()
}
