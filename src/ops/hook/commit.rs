//! The hooks around a commit and a branch: what is about to be committed, or a commit that is there, against what
//! the configuration asks for at that event.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::super::host::SharedWatch;
use super::super::plan::Project;
use super::super::{Context, Kind, Refusal};
use super::gate::{Remote, Ruling};
use super::guards::Staged;
use super::mend::{Mended, Mending, Outcome, mend};
use super::pre_push::{Exempt, Judged, Judgement, OfRef, RefStanding};
use super::proof::states;
use super::required::required;
use super::run::{self, Ran, RunOptions};
use super::update::Update;
use super::{guards, let_pass};
use crate::git::{Commit, Pushed, Upkeep};
use crate::guardrail::Override;
use crate::pipeline::hooks::{Event, Gate, OnFix};
use crate::run::manifest::Manifest;
use crate::sys::daemon;
use crate::sys::digest::sha256_hex;
use crate::sys::env::Env;

/// The variable that holds the path of the message of a commit.
pub const MESSAGE: &str = "GIT_ORCHESTRATE_MESSAGE_FILE";
/// The variable that holds its digest: a verdict about a message is about this message only.
pub const MESSAGE_DIGEST: &str = "GIT_ORCHESTRATE_MESSAGE_DIGEST";

/// What is asked, and what the caller says about it.
#[derive(Clone, Debug)]
pub struct AroundCommit {
    pub event: Event,
    /// The index that is about to be committed.
    pub index: PathBuf,
    /// The message of the commit.
    pub message: Option<PathBuf>,
    /// What names the commit that it is about, if none is about to be made.
    pub revision: String,
    /// Whether the commit takes the place of the last one.
    pub amends: bool,
    /// Why something may pass that would be refused.
    pub reason: Option<Override>,
    /// Whether the caller waits, whatever the configuration says.
    pub wait: bool,
    pub upkeep: Upkeep,
}

/// What is said.
#[derive(Debug)]
pub struct Said {
    pub event: Event,
    /// About the one tree that it is about; about nothing if nobody asks.
    pub judgement: Judgement,
    /// What was mended, if anything was.
    pub mended: Option<Mended>,
    /// Whether somebody is to look at that before it is committed.
    pub waits: bool,
    /// Where that is said which nobody waits for.
    pub left_to: Option<PathBuf>,
}

impl AroundCommit {
    fn is_about_index(&self) -> bool {
        matches!(self.event, Event::PreCommit | Event::CommitMsg)
    }

    fn how_to_run(&self, ctx: &Context) -> Result<RunOptions> {
        Ok(RunOptions {
            task: run::task(ctx)?,
            pace: Default::default(),
            join: self.event.is_after(),
            upkeep: self.upkeep,
            variables: Vec::new(),
            configuration: None,
        })
    }

    /// What the answer calls it.
    fn name(&self) -> &'static str {
        if self.is_about_index() { "the next commit" } else { "HEAD" }
    }
}

/// Answers git: judges, runs what is missing, and keeps what was let pass.
pub fn answer(ctx: &Context, asked: &AroundCommit, watch: &SharedWatch) -> Result<Said> {
    let with_message = asked.message.as_deref().map(|path| with_message(ctx, path)).transpose()?;
    let there = with_message.as_ref().unwrap_or(ctx);
    let judgement = judge(there, asked, None)?;
    let mut said = Said { event: asked.event, judgement, mended: None, waits: false, left_to: None };
    let ran = match asked.event {
        Event::PreCommit => said.mend(there, asked, watch)?,
        _ => Vec::new(),
    };
    let mut said = answer_for(ctx, there, asked, said, watch)?;
    said.judgement.ran.splice(0..0, ran);
    Ok(said)
}

fn answer_for(
    ctx: &Context,
    there: &Context,
    asked: &AroundCommit,
    mut said: Said,
    watch: &SharedWatch,
) -> Result<Said> {
    let Some(todo) = said.todo().filter(|_| !said.is_settled()) else { return finish(ctx, asked, said) };
    if asked.event.is_after() && said.is_left_alone() && !asked.wait {
        let log = ctx.repo.common_dir().join("orchestrate").join(format!("{}.log", asked.event));
        let clean = (asked.upkeep == Upkeep::Virgin).then_some("--clean");
        let words = ["hook", asked.event.as_str(), "--wait", "--at", &todo.commit.id];
        let words = words.into_iter().chain(clean).map(OsString::from);
        daemon::leave_behind(words, &log).context("cannot start it in the background")?;
        said.left_to = Some(log);
        return Ok(said);
    }
    let variables = asked.message.iter().map(|_| MESSAGE_DIGEST.to_owned()).collect();
    let options = RunOptions { variables, ..asked.how_to_run(ctx)? };
    let Ran { manifests, interrupt } = run::run(there, &[todo], &options, watch)?;
    if let Some(interrupt) = interrupt {
        let message = format!("cancelled by {}", interrupt.name());
        return Err(Refusal::new(Kind::Cancelled(interrupt), message).into());
    }
    ensure_still_staged(ctx, asked, &said)?;
    let tree = said.mended.as_ref().map(|mended| mended.to.clone());
    said.judgement = judge(there, asked, tree.as_deref())?;
    said.judgement.ran = manifests;
    finish(ctx, asked, said)
}

fn finish(ctx: &Context, asked: &AroundCommit, said: Said) -> Result<Said> {
    if asked.event.is_after() || said.is_refused() {
        return Ok(said);
    }
    ensure_still_staged(ctx, asked, &said)?;
    let_pass::keep(ctx, &said.judgement)?;
    Ok(said)
}

/// What was judged must be what git commits: it reads the index again when its hook has ended.
fn ensure_still_staged(ctx: &Context, asked: &AroundCommit, said: &Said) -> Result<()> {
    let Some(tree) = said.tree().filter(|_| asked.is_about_index()) else { return Ok(()) };
    if ctx.repo.staged_tree(&asked.index)? == tree {
        return Ok(());
    }
    Err(Refusal::new(Kind::Unsafe, "the index changed while it was judged")
        .hint("commit again: what is staged now was not looked at")
        .into())
}

impl Said {
    /// Lets stages that mend do so first: all else is about what they leave. Returns the runs that this took.
    fn mend(&mut self, ctx: &Context, asked: &AroundCommit, watch: &SharedWatch) -> Result<Vec<Manifest>> {
        let options = asked.how_to_run(ctx)?;
        let again = |tree: &str| judge(ctx, asked, Some(tree));
        let mending = mend(ctx, &self.judgement, &asked.index, &again, &options, watch)?;
        let Mending { mended, ran } = mending;
        if !ran.is_empty() {
            let came_back = mended.as_ref().filter(|mended| mended.outcome == Outcome::CameBack);
            self.judgement = judge(ctx, asked, came_back.map(|mended| mended.to.as_str()))?;
            let refuses = self.judged().is_some_and(|judged| judged.gate.on_fix == OnFix::Refuse);
            self.waits = came_back.is_some() && refuses && asked.reason.is_none();
        }
        self.mended = mended;
        Ok(ran)
    }

    /// Whether to run anything more would be for nothing.
    fn is_settled(&self) -> bool {
        self.waits || self.mended.as_ref().is_some_and(|mended| mended.outcome != Outcome::CameBack)
    }

    fn judged(&self) -> Option<&Judged> {
        match &self.judgement.refs.first()?.standing {
            RefStanding::Judged(judged) => Some(judged),
            _ => None,
        }
    }

    fn tree(&self) -> Option<&str> {
        Some(&self.judged()?.commit.tree)
    }

    fn todo(&self) -> Option<run::Todo> {
        self.judged().filter(|judged| judged.needs_only_a_run())?.todo()
    }

    fn is_left_alone(&self) -> bool {
        self.judged().is_some_and(|judged| judged.gate.background)
    }

    /// Whether git is to stop. What is done already cannot be refused any more.
    pub fn is_refused(&self) -> bool {
        !self.event.is_after() && (self.waits || self.judgement.is_refused())
    }

    /// Returns the runs that were made to find out.
    pub fn ran(&self) -> &[Manifest] {
        &self.judgement.ran
    }
}

/// Returns a context in which stages find the message of the commit.
fn with_message(ctx: &Context, path: &Path) -> Result<Context> {
    let path = ctx.env.cwd().join(path);
    let text = crate::sys::fs::read_if_there(&path)?.ok_or_else(|| {
        Refusal::usage(format!("there is no message at `{}`", path.display()))
            .hint("git gives the file with the message: git orchestrate hook commit-msg .git/COMMIT_EDITMSG")
    })?;
    let vars = ctx.env.vars().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let ours = [(MESSAGE, path.into_os_string()), (MESSAGE_DIGEST, sha256_hex(&text).into())];
    let vars = vars.chain(ours.map(|(name, value)| (OsString::from(name), value)));
    let env = Env::new(vars, ctx.env.cwd().to_owned());
    let (repo, layout) = (ctx.repo.clone(), ctx.layout.clone());
    Ok(Context { repo, root: ctx.root.clone(), layout, env, clock: ctx.clock })
}

/// Judges, and runs nothing. `mended` is the tree that stages made of what is staged.
fn judge(ctx: &Context, asked: &AroundCommit, mended: Option<&str>) -> Result<Judgement> {
    let mut commit = None;
    let standing = standing(ctx, asked, mended, &mut commit).unwrap_or_else(|error| RefStanding::Problem {
        error,
        commit: commit.clone(),
        reason: asked.reason.clone(),
    });
    let name = asked.name().to_owned();
    let update = Update { local: name.clone(), local_id: None, remote: name, remote_id: None };
    let remote = Remote { name: String::new(), url: String::new() };
    let refs = vec![OfRef { update, standing }];
    Ok(Judgement { remote, refs, ran: Vec::new(), now: ctx.clock.now(), is_bare: ctx.repo.is_bare() })
}

fn standing(
    ctx: &Context,
    asked: &AroundCommit,
    mended: Option<&str>,
    seen: &mut Option<Commit>,
) -> Result<RefStanding> {
    let none = || Ok(RefStanding::Exempt(Exempt::NoGate));
    if ctx.repo.is_bare() {
        // Nobody commits there, and nothing could run.
        return none();
    }
    let (commit, base) = match asked.is_about_index() {
        true => {
            let head = ctx.repo.head_commit()?.map(|(id, _)| id);
            let tree = match mended {
                Some(tree) => tree.to_owned(),
                None => ctx.repo.staged_tree(&asked.index)?,
            };
            let id = head.clone().unwrap_or_default();
            (Commit { id, tree, subject: "what is staged".to_owned() }, head)
        }
        false => match named(ctx, &asked.revision)? {
            Some(commit) => (commit.clone(), Some(commit.id)),
            None => return none(),
        },
    };
    *seen = Some(commit.clone());
    let Some(Ruled { gate, ruling, here }) = rule(ctx, asked, base.as_deref(), &commit)? else {
        return none();
    };
    let here = match here {
        Some(here) => here,
        None => Project::at(ctx, &commit.tree)?,
    };
    let mut wanted = required(&here, &gate.require)?;
    if asked.message.is_some() {
        for wanted in &mut wanted {
            wanted.plan.evidence.variables.insert(MESSAGE_DIGEST.to_owned());
        }
    }
    let mut stages = Vec::new();
    for wanted in &wanted {
        stages.extend(states(ctx, wanted, &commit, &ruling.evidence)?);
    }
    let verdicts = match gate.guardrails.is_empty() {
        true => Vec::new(),
        false => {
            let parents = parents(ctx, asked, base)?;
            let staged = Staged { tree: &commit.tree, parents: &parents };
            guards::judge_staged(ctx, &gate.guardrails, &staged, asked.reason.as_ref())?
        }
    };
    let mut judged = Judged {
        commit,
        base: None,
        gate,
        ruling,
        verdicts,
        stages,
        wanted,
        reason: None,
        usual_seconds: None,
    };
    judged.hear(asked.reason.as_ref());
    Ok(RefStanding::Judged(Box::new(judged)))
}

fn named(ctx: &Context, revision: &str) -> Result<Option<Commit>> {
    let id = match revision {
        "HEAD" => ctx.repo.head_commit()?.map(|(id, _)| id),
        other => ctx.repo.commit_named(other)?,
    };
    Ok(match id.map(|id| ctx.repo.pushed(&id)).transpose()? {
        Some(Pushed::Commit(commit)) => Some(commit),
        _ => None,
    })
}

/// Returns what the next commit will follow.
fn parents(ctx: &Context, asked: &AroundCommit, base: Option<String>) -> Result<Vec<String>> {
    match (asked.is_about_index(), asked.amends, base) {
        (_, _, None) => Ok(Vec::new()),
        (true, false, Some(head)) => Ok([vec![head], ctx.repo.being_merged()].concat()),
        (_, _, Some(commit)) => Ok(ctx.repo.parents(&commit)?),
    }
}

/// A gate, and what was read to find it.
struct Ruled<'a> {
    gate: Gate,
    ruling: Ruling,
    /// The project as it would be, if somebody had to look.
    here: Option<Project<'a>>,
}

/// Decides which gate judges: that of the commit that the next one follows, so that no change weakens its own.
fn rule<'a>(
    ctx: &'a Context,
    asked: &AroundCommit,
    base: Option<&str>,
    commit: &Commit,
) -> Result<Option<Ruled<'a>>> {
    let gate = |project: &Project<'_>| project.config.hooks.get(&asked.event).cloned();
    let ruling = |project: &Project<'_>, from: &str, note: Option<String>| {
        let evidence = project.config.evidence.clone();
        Ruling { gate: None, evidence, from: from.to_owned(), note, changes: Vec::new(), allowed: true }
    };
    let mut note = None;
    if let Some(base) = base {
        match Project::at(ctx, base) {
            Ok(there) => {
                if let Some(old) = gate(&there) {
                    let here = asked.is_about_index().then(|| Project::at(ctx, &commit.tree)).transpose()?;
                    if here.as_ref().is_some_and(|here| gate(here).as_ref() != Some(&old)) {
                        note = Some(format!(
                            "changes `hooks.{}`, which counts from the next commit on",
                            asked.event
                        ));
                    }
                    return Ok(Some(Ruled { ruling: ruling(&there, "HEAD", note), gate: old, here }));
                }
            }
            // It can only be mended by a commit.
            Err(_) if asked.is_about_index() => {
                note = Some("the configuration of HEAD is broken, and that of this commit counts".to_owned());
            }
            Err(err) => return Err(err),
        }
    }
    if !asked.is_about_index() {
        return Ok(None);
    }
    let here = Project::at(ctx, &commit.tree)?;
    let Some(new) = gate(&here) else { return Ok(None) };
    let note = note.or_else(|| Some("HEAD has no such gate yet, so that of this commit counts".to_owned()));
    Ok(Some(Ruled { ruling: ruling(&here, "this commit", note), gate: new, here: Some(here) }))
}
