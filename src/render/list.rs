//! The answer of `list`.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::printer::{Answer, Table, span, style};
use super::status::series;
use crate::ops::list::Listed;
use crate::output::untrusted::untrusted;
use crate::run::approval::Waiting;
use crate::run::manifest::Series;
use crate::run::stamp::Stamp;
use crate::run::status::RunStatus;

/// Runs to show.
pub struct Runs<'a> {
    pub runs: &'a [Listed],
    pub now: Stamp,
}

/// The document.
#[derive(Serialize, JsonSchema)]
pub struct Document {
    runs: Vec<Item>,
}

#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Item {
    Run(Box<Run>),
    Unreadable { run_id: String, task_id: String, root: String, error: String },
}

#[derive(Serialize, JsonSchema)]
struct Run {
    run_id: String,
    task_id: String,
    pipeline_id: String,
    parent_run_id: Option<String>,
    status: RunStatus,
    status_detail: Option<String>,
    started_at: Option<Stamp>,
    completed_at: Option<Stamp>,
    heartbeat_age_seconds: Option<f64>,
    stale: bool,
    dead: bool,
    /// What to type so that a dead run goes on.
    next: Option<String>,
    /// What waits for a decision, in the run and in its child runs.
    waiting: Vec<Waiting>,
    /// The stages that wait for their part of the machine's budget.
    queued: Vec<String>,
    partial: bool,
    void: bool,
    commit: Option<String>,
    tree: Option<String>,
    branch: Option<String>,
    dirty: Option<bool>,
    /// The side worktree that it ran in, if it did.
    slot: Option<u32>,
    /// The runs that it was asked for with.
    series: Option<Series>,
    manifest: String,
    /// The root of the worktree that ran; `manifest` is relative to it.
    root: String,
}

impl Answer for Runs<'_> {
    type Document = Document;

    fn document(&self) -> Document {
        let item = |listed: &Listed| {
            let root = listed.found.layout.root.display().to_string();
            let (manifest, pulse) = match &listed.run {
                Ok(run) => run,
                Err(err) => {
                    return Item::Unreadable {
                        run_id: listed.found.run.to_string(),
                        task_id: listed.found.task.to_string(),
                        root,
                        error: err.to_string(),
                    };
                }
            };
            let git = manifest.git.as_ref();
            Item::Run(Box::new(Run {
                run_id: manifest.run_id.to_string(),
                task_id: manifest.task_id.to_string(),
                pipeline_id: manifest.pipeline_id.clone(),
                parent_run_id: manifest.parent_run_id.clone(),
                status: manifest.status,
                status_detail: manifest.status_detail.clone(),
                started_at: manifest.started_at,
                completed_at: manifest.completed_at,
                heartbeat_age_seconds: pulse.liveness.heartbeat_age,
                stale: pulse.liveness.stale,
                dead: pulse.dead,
                next: listed.next.clone(),
                waiting: listed.waiting.clone(),
                queued: manifest.queued().map(|entry| entry.id.clone()).collect(),
                partial: manifest.is_partial(),
                void: manifest.is_void(),
                commit: git.and_then(|git| git.commit.clone()),
                tree: git.and_then(|git| git.tree.clone()),
                branch: git.and_then(|git| git.branch.clone()),
                dirty: git.map(|git| git.dirty),
                slot: git.and_then(|git| git.worktree.slot),
                series: manifest.series.clone(),
                manifest: listed.found.layout.relative(&listed.found.paths.manifest),
                root,
            }))
        };
        Document { runs: self.runs.iter().map(item).collect() }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.runs.is_empty() {
            return writeln!(out, "No runs.");
        }
        let mut table = Table::new("RUN\tTASK\tPIPELINE\tSTATUS\tCOMMIT\tWORKTREE\tSTARTED")?;
        for Listed { found, run, waiting, next } in self.runs {
            let worktree = found.layout.root.file_name().unwrap_or_default().to_string_lossy();
            let worktree = untrusted(&worktree);
            let (manifest, pulse) = match run {
                Ok(run) => run,
                Err(_) => {
                    let color = style("failed");
                    let (run, task) = (untrusted(found.run.as_str()), untrusted(found.task.as_str()));
                    writeln!(table.0, "{run}\t{task}\t?\t{color}unreadable{color:#}\t?\t{worktree}\t?")?;
                    continue;
                }
            };
            let status = manifest.status.as_str();
            let mut words = vec![match waiting.is_empty() {
                _ if pulse.dead => "dead",
                true if manifest.is_queued() => "queued",
                true if next.is_some() => "decided",
                true => status,
                false => "waiting",
            }];
            if pulse.liveness.stale && !pulse.dead {
                words.push("stale");
            }
            if manifest.is_partial() {
                words.push("partial");
            }
            if manifest.is_void() {
                words.push("void");
            }
            let color = style(words.last().expect("the status is one"));
            let commit = match &manifest.git {
                Some(git) => {
                    let commit = git.commit.as_deref().and_then(|commit| commit.get(..10)).unwrap_or("-");
                    format!("{}{}", untrusted(commit), if git.dirty { "+" } else { "" })
                }
                None => "-".to_owned(),
            };
            let slot = manifest.git.as_ref().and_then(|git| git.worktree.slot);
            let mut worktree = worktree.to_string();
            worktree.extend(slot.map(|slot| format!(", slot {slot}")));
            worktree.extend(manifest.series.as_ref().map(|it| format!(", {}", series(it))));
            let age = manifest
                .started_at
                .map_or("?".to_owned(), |at| format!("{} ago", span(self.now.seconds_since(at))));
            writeln!(
                table.0,
                "{}\t{}\t{}\t{color}{}{color:#}\t{commit}\t{worktree}\t{age}",
                untrusted(manifest.run_id.as_str()),
                untrusted(manifest.task_id.as_str()),
                untrusted(&manifest.pipeline_id),
                words.join(", "),
            )?;
        }
        table.print(out)?;
        let mut said = std::collections::BTreeSet::new();
        for Listed { run, next, .. } in self.runs {
            let Some(next) = next else { continue };
            let is_dead = run.as_ref().is_ok_and(|(_, pulse)| pulse.dead);
            writeln!(out, "{}; go on with: {}", if is_dead { "dead" } else { "decided" }, untrusted(next))?;
        }
        for waiting in self.runs.iter().flat_map(|listed| &listed.waiting) {
            // A child run says what the run says that it is a part of.
            let (approve, reject) = (waiting.command("approve"), waiting.command("reject"));
            if said.insert(approve.clone()) {
                writeln!(out, "waiting; decide with: {}", untrusted(&approve))?;
                writeln!(out, "                  or: {}", untrusted(&reject))?;
            }
        }
        Ok(())
    }
}
