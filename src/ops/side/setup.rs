//! What makes a side worktree ready before anything runs in it: commands of the project, each when its inputs changed.

use anyhow::{Context as _, Result};

use super::Side;
use crate::git::{Commit, Slot};
use crate::id::{TaskId, short};
use crate::ops::host::{ReuseOptions, SharedWatch};
use crate::ops::start::{Asked, Pace, StartOptions};
use crate::ops::{Context, Kind, Refusal};
use crate::pipeline::evidence::Notes;
use crate::pipeline::slots::Slots;
use crate::run::manifest::Manifest;
use crate::run::status::{RunStatus, StageStatus};
use crate::runner::interrupt::Interrupts;
use crate::sys::digest::sha256_hex;
use crate::sys::fs::{self, Durability};

/// What is done, one line per command that succeeded: what it did, and for what.
pub(super) struct Done {
    lines: Vec<String>,
}

impl Done {
    fn read(slot: &Slot) -> Result<Self> {
        let text = fs::read_if_there(&slot.notes().join("setup"))?.unwrap_or_default();
        let lines = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
        Ok(Self { lines })
    }

    fn write(lines: &[&str], slot: &Slot) -> Result<()> {
        fs::create_dir_all(&slot.notes())?;
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        Ok(fs::write_atomically(&slot.notes().join("setup"), text.as_bytes(), Durability::Process)?)
    }

    /// Nothing is done any more: what commands had made may be another thing by now.
    pub fn forget(slot: &Slot) -> Result<()> {
        Ok(fs::remove(&slot.notes().join("setup"))?)
    }
}

/// Returns what stands for each command at a tree.
fn lines(there: &Context, slots: &Slots, tree: &str) -> Result<Vec<String>> {
    let repo = &there.repo;
    // What a commit no longer ignores does not stay, so that other rules are another start.
    let mut specs = vec![vec![":(glob)**/.gitignore".to_owned()]];
    specs.extend(slots.setup.iter().map(|it| it.inputs.clone()).filter(|inputs| !inputs.is_empty()));
    let mut digests = repo.inputs_of_tree(tree, &specs)?.into_iter();
    let rules = digests.next().unwrap_or_default();
    let more = fs::read_if_there(&repo.common_dir().join("info/exclude"))?.unwrap_or_default();
    // Our own come with the first run.
    let ours = there.exclude_patterns();
    let is_ours = |line: &&str| line.starts_with('#') || ours.iter().any(|own| own == line);
    let more: Vec<_> =
        String::from_utf8_lossy(&more).lines().filter(|line| !is_ours(line)).map(str::to_owned).collect();
    let more = sha256_hex(more.join("\n").as_bytes());
    let line = |it: &crate::pipeline::slots::SetUp| {
        let inputs = match it.inputs.as_slice() {
            [] => tree.to_owned(),
            _ => digests.next().unwrap_or_default(),
        };
        sha256_hex([it.digest_input(), inputs, rules.clone(), more.clone()].join("\n").as_bytes())
    };
    Ok(slots.setup.iter().map(line).collect())
}

impl Side {
    /// Runs the commands of `slots` whose inputs changed since they last succeeded here, on what is there, which is the
    /// tree of `commit`. Returns their run if it did not succeed.
    pub async fn set_up(
        &mut self,
        there: &Context,
        slots: &Slots,
        commit: &Commit,
        task: &TaskId,
        watch: &SharedWatch,
        interrupts: &mut Interrupts,
    ) -> Result<Option<Manifest>> {
        let known = Done::read(&self.slot)?;
        if slots.setup.is_empty() && known.lines.is_empty() {
            return Ok(None);
        }
        let lines = lines(there, slots, &commit.tree)?;
        let is_done = |line: &String| known.lines.contains(line);
        let due: Vec<_> = (0..lines.len()).filter(|at| !is_done(&lines[*at])).collect();
        let mut done: Vec<_> = lines.iter().filter(|line| is_done(line)).map(String::as_str).collect();
        if due.is_empty() && done.len() == known.lines.len() {
            return Ok(None);
        }
        // First of all: whoever is killed from here on leaves something that nobody takes for ready.
        Done::write(&done, &self.slot)?;
        if due.is_empty() {
            return Ok(None);
        }
        let options = StartOptions {
            task: task.clone(),
            pipeline: None,
            target: None,
            parent_run: None,
            approval_policy: None,
            pace: Pace::default(),
            reuse: ReuseOptions { reuse: Some(false), join: Some(false) },
            notes: Some(Notes::Nothing),
        };
        let asked = Asked { plan: slots.plan(&due), options: &options, series: None };
        let run = asked.execute(there, watch.clone(), interrupts, |run| self.used_by(run));
        let manifest = run.await.context("cannot set the side worktree up")?.manifest;
        self.used(&manifest, watch)?;
        let succeeded = manifest.commands.iter().map(|entry| entry.status == StageStatus::Succeeded);
        done.extend(due.iter().zip(succeeded).filter(|(_, well)| *well).map(|(at, _)| lines[*at].as_str()));
        let moved = manifest.git.as_ref().is_some_and(|git| git.moved == Some(true));
        if moved {
            // What it changed does not stay, and may be what the command is about.
            Done::forget(&self.slot)?;
            let message = format!("setting the side worktree up changed what {} holds", short(&commit.id));
            return Err(Refusal::new(Kind::Rejected, message)
                .hint(format!(
                    "`slots.setup` may only write what git ignores; `git orchestrate logs {}` shows what it did",
                    manifest.run_id
                ))
                .into());
        }
        Done::write(&done, &self.slot)?;
        if manifest.status == RunStatus::Succeeded {
            return Ok(None);
        }
        let failed = manifest.commands.iter().find(|entry| entry.status != StageStatus::Succeeded);
        let summary = failed.and_then(|entry| entry.summary.clone()).unwrap_or_default();
        let text = format!(
            "the side worktree was not set up: {summary}; `git orchestrate logs {}` shows more",
            manifest.run_id
        );
        watch.borrow_mut().warn(&text);
        Ok(Some(manifest))
    }
}
