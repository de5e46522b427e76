//! `git orchestrate hook`: what git calls, and people may.

mod around;

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::{Format, ProgressArgs};
use crate::git::{LISTING_VARIABLE, Upkeep};
use crate::ops::Context;
use crate::ops::hook::gate::Remote;
use crate::ops::hook::pre_push::{Judgement, PrePush, answer};
use crate::ops::hook::{PROBE, probed, reason, update};
use crate::ops::host::SharedWatch;
use crate::ops::push;
use crate::render::printer::{self, Answer};
use crate::sys::clock::Clock;
use crate::sys::env::Env;

#[derive(Debug, Args)]
pub struct HookArgs {
    #[command(subcommand)]
    event: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    PrePush(PrePushArgs),
    /// Say whether what would be committed is proven, and run what is missing
    ///
    /// It is about the tree of the index that git names, and never about the work tree; nothing of either is touched.
    /// Exits with 1 if it may not be committed, and with 2 if it cannot be judged; does nothing if no such hook is
    /// configured.
    PreCommit(AroundArgs),
    CommitMsg(CommitMsgArgs),
    /// Run what the configuration asks for after a commit
    PostCommit(AroundArgs),
    PostMerge(PostMergeArgs),
    PostCheckout(PostCheckoutArgs),
    PostRewrite(PostRewriteArgs),
    PreRebase(PreRebaseArgs),
}

#[derive(Debug, Args)]
struct GateArgs {
    /// Say nothing where no hook is configured
    #[arg(long, hide = true)]
    if_configured: bool,
    /// Make the side worktree anew that it runs in, instead of keeping what is ignored there
    #[arg(long)]
    clean: bool,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl GateArgs {
    fn upkeep(&self) -> Upkeep {
        if self.clean { Upkeep::Virgin } else { Upkeep::Warm }
    }

    fn watch(&self, env: &Env) -> SharedWatch {
        ProgressArgs { interactive: false, no_interactive: false }.watch(env, self.format)
    }

    /// Gives the answer, and returns the code that goes with it.
    fn answer(&self, said: &impl Answer, refused: bool, broken: bool) -> Result<ExitCode, Failure> {
        match self.format {
            Format::Json => printer::answer(said, printer::Format::Json)?,
            Format::Text => printer::narrate(said)?,
        }
        Ok(ExitCode::from(match (refused, broken) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        }))
    }
}

/// Returns what git says to the hook.
fn given() -> Result<String, Failure> {
    let mut given = Vec::new();
    std::io::stdin().lock().read_to_end(&mut given).map_err(anyhow::Error::from)?;
    Ok(String::from_utf8_lossy(&given).into_owned())
}

#[derive(Debug, Args)]
struct AroundArgs {
    #[command(flatten)]
    gate: GateArgs,
    /// The commit that it is about
    #[arg(long, hide = true)]
    at: Option<String>,
    /// Wait for what is missing, whatever the configuration says
    #[arg(long, hide = true)]
    wait: bool,
}

/// Say whether a commit with this message may be made
///
/// Stages find the message in the file that GIT_ORCHESTRATE_MESSAGE_FILE names.
#[derive(Debug, Args)]
struct CommitMsgArgs {
    #[command(flatten)]
    common: AroundArgs,
    /// The file with the message
    message: PathBuf,
}

/// Run what the configuration asks for after a merge
#[derive(Debug, Args)]
struct PostMergeArgs {
    #[command(flatten)]
    common: AroundArgs,
    /// Whether it was a squash, as git says it
    #[arg(default_value = "0")]
    squash: String,
}

/// Run what the configuration asks for after a checkout of another commit
#[derive(Debug, Args)]
struct PostCheckoutArgs {
    #[command(flatten)]
    common: AroundArgs,
    /// What `HEAD` was
    before: Option<String>,
    /// What it is
    now: Option<String>,
    /// Whether it was a checkout of a branch and not of files, as git says it
    #[arg(default_value = "1")]
    branch: String,
}

/// Carry evidence over to commits that were rewritten to the same tree, and run what the configuration asks for
///
/// Reads lines from stdin as git writes them: the old commit, a blank, the new one.
#[derive(Debug, Args)]
struct PostRewriteArgs {
    #[command(flatten)]
    common: AroundArgs,
    /// The command that rewrote them
    #[arg(default_value = "rebase")]
    command: String,
}

/// Say whether what is to be rebased is proven, and run what is missing
#[derive(Debug, Args)]
struct PreRebaseArgs {
    #[command(flatten)]
    common: AroundArgs,
    /// What it is rebased onto
    #[arg(allow_hyphen_values = true)]
    upstream: Option<String>,
    /// The branch, if it is not the one that is checked out
    #[arg(allow_hyphen_values = true)]
    branch: Option<String>,
}

/// Say whether what is pushed is proven, as `hooks.pre-push` of the configuration requires
///
/// Reads lines from stdin as git writes them. By hand, on a terminal, it is about what `git push` would do.
/// Exits with 1 if something may not be pushed, and with 2 if it cannot be judged.
#[derive(Debug, Args)]
#[command(after_help = "\
A reason lets something pass that would be refused, and is kept: GIT_ORCHESTRATE_OVERRIDE='why' git push,
or git push --push-option=orchestrate.override='why' where the server takes such options.
DIFF_BUDGET_OVERRIDE_REASON is about the diff budget alone.")]
struct PrePushArgs {
    /// Let the push change the gate that judges it
    #[arg(long)]
    allow_gate_change: bool,
    #[command(flatten)]
    gate: GateArgs,
    /// The remote, or its URL if it has no name
    #[arg(allow_hyphen_values = true)]
    remote: Option<String>,
    /// Its URL
    #[arg(allow_hyphen_values = true)]
    url: Option<String>,
}

impl HookArgs {
    /// Returns the answer to a question that is no real one: whether the hook is called at all.
    pub fn only_asked(&self, env: &Env) -> Option<ExitCode> {
        if env.path(PROBE).is_some() {
            eprintln!("{}", probed(self.event.name()));
            return Some(ExitCode::SUCCESS);
        }
        env.path(LISTING_VARIABLE).is_some().then_some(ExitCode::SUCCESS)
    }
}

pub fn run(env: Env, args: HookArgs) -> Result<ExitCode, Failure> {
    if let Some(code) = args.only_asked(&env) {
        return Ok(code);
    }
    let ctx = Context::open_in_hook(env, Clock::System)?;
    match args.event {
        Which::PrePush(args) => pre_push(&ctx, args),
        other => around::run(&ctx, other),
    }
}

fn pre_push(ctx: &Context, args: PrePushArgs) -> Result<ExitCode, Failure> {
    let PrePushArgs { allow_gate_change, gate, remote, url } = args;
    let said = reason::said(&ctx.env);
    let asked = |remote: Remote, updates| PrePush {
        remote,
        updates,
        allow_gate_change: allow_gate_change || said.allow_gate_change,
        reason: said.reason.clone(),
        if_configured: gate.if_configured,
        only_tried: said.only_tried,
        upkeep: gate.upkeep(),
    };
    let all = if std::io::stdin().is_terminal() {
        let words: Vec<_> = remote.into_iter().map(std::ffi::OsString::from).collect();
        let tried = push::would_push(ctx, &words)?;
        tried
            .into_iter()
            .map(|(remote, updates)| PrePush { only_tried: true, ..asked(remote, updates) })
            .collect()
    } else {
        let mut updates = update::parse(&given()?)?;
        if updates.is_empty() {
            updates = update::of_pre_commit(&ctx.env);
        }
        let name = remote.or_else(|| ctx.env.get("PRE_COMMIT_REMOTE_NAME").map(str::to_owned));
        let name = name.unwrap_or_else(|| "origin".to_owned());
        let url = url.unwrap_or_else(|| name.clone());
        vec![asked(Remote { name, url }, updates)]
    };
    let watch = gate.watch(&ctx.env);
    let mut whole = None::<Judgement>;
    for asked in &all {
        let judgement = answer(ctx, asked, &watch)?;
        match &mut whole {
            Some(whole) => whole.join(judgement),
            slot => *slot = Some(judgement),
        }
    }
    let Some(judgement) = whole else { return Ok(ExitCode::SUCCESS) };
    gate.answer(&judgement, judgement.is_refused(), judgement.is_broken())
}
