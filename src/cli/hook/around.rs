//! The hooks around a commit and a branch.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use super::super::failure::Failure;
use super::{AroundArgs, CommitMsgArgs, PostCheckoutArgs, PostMergeArgs, PostRewriteArgs};
use super::{PreRebaseArgs, Which, given};
use crate::ops::evidence::rewrite;
use crate::ops::hook::commit::{AroundCommit, answer};
use crate::ops::hook::reason;
use crate::ops::host::SharedWatch;
use crate::ops::{Context, plan};
use crate::pipeline::hooks::Event;
use crate::sys::ancestors;

impl Which {
    pub(super) fn name(&self) -> Event {
        match self {
            Self::PrePush(_) => Event::PrePush,
            Self::PreCommit(_) => Event::PreCommit,
            Self::CommitMsg(_) => Event::CommitMsg,
            Self::PostCommit(_) => Event::PostCommit,
            Self::PostMerge(_) => Event::PostMerge,
            Self::PostCheckout(_) => Event::PostCheckout,
            Self::PostRewrite(_) => Event::PostRewrite,
            Self::PreRebase(_) => Event::PreRebase,
        }
    }
}

pub(super) fn run(ctx: &Context, which: Which) -> Result<ExitCode, Failure> {
    let event = which.name();
    let mut message = None;
    let mut pairs = false;
    let mut revision = "HEAD".to_owned();
    let args = match which {
        Which::PrePush(_) => unreachable!("it has an answer of its own"),
        Which::PreCommit(common) | Which::PostCommit(common) => common,
        Which::CommitMsg(CommitMsgArgs { common, message: path }) => {
            message = Some(path);
            common
        }
        // A squash made no commit, and a checkout of files leads nowhere.
        Which::PostMerge(PostMergeArgs { squash, .. }) if squash == "1" => return Ok(ExitCode::SUCCESS),
        Which::PostCheckout(PostCheckoutArgs { branch, .. }) if branch == "0" => {
            return Ok(ExitCode::SUCCESS);
        }
        Which::PostMerge(PostMergeArgs { common, .. })
        | Which::PostCheckout(PostCheckoutArgs { common, .. }) => common,
        Which::PostRewrite(PostRewriteArgs { common, .. }) => {
            pairs = true;
            common
        }
        Which::PreRebase(PreRebaseArgs { common, branch, .. }) => {
            revision = branch.unwrap_or(revision);
            common
        }
    };
    // Where nothing is configured nothing is said anyway.
    let AroundArgs { gate, at, wait } = args;
    let watch = gate.watch(&ctx.env);
    if pairs && at.is_none() {
        rewritten(ctx, &watch)?;
    }
    let asked = AroundCommit {
        event,
        index: index(ctx),
        message,
        revision: at.unwrap_or(revision),
        amends: matches!(event, Event::PreCommit | Event::CommitMsg) && is_amended(),
        reason: reason::of_variable(&ctx.env),
        wait,
        upkeep: gate.upkeep(),
    };
    let said = answer(ctx, &asked, &watch)?;
    gate.answer(&said, said.is_refused(), said.judgement.is_broken())
}

/// Returns the index that is about to be committed: git names another one than usual for `-a` and for paths.
fn index(ctx: &Context) -> PathBuf {
    let Some(named) = ctx.env.path("GIT_INDEX_FILE") else { return ctx.repo.index_file() };
    // A hook begins at the top.
    let here = ctx.env.cwd().join(&named);
    if here.exists() { here } else { ctx.repo.work_tree().join(named) }
}

/// Whether the `git commit` that this is a hook of takes the place of the last commit: git tells no hook.
fn is_amended() -> bool {
    let words = ancestors::words_of_git("commit").unwrap_or_default();
    words.iter().take_while(|word| *word != "--").any(|word| word == "--amend")
}

/// Carries evidence over to what git says was rewritten. Nobody's rebase fails for that.
fn rewritten(ctx: &Context, watch: &SharedWatch) -> Result<(), Failure> {
    if std::io::stdin().is_terminal() {
        return Ok(());
    }
    let pairs = rewrite::pairs(&given()?)?;
    let sign = plan::load(ctx).ok().and_then(|config| config.evidence.sign);
    if let Err(err) = rewrite::rewrite(&ctx.repo, &pairs, sign, ctx.clock.now()) {
        watch.borrow_mut().warn(&format!("the evidence was not carried over: {err:#}"));
    }
    Ok(())
}
