//! Mirrors a task's checklist: `tasks/` is the source, `.agent/task/` and `docs/` have copies.
//!
//! Everything is read and checked first; what changed is written after that, all files or none.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::super::{Context, Kind, Refusal};
use crate::guardrail::docs::evidence::{self, Filled, Proof};
use crate::guardrail::docs::mirror::{self, Checklist, DOCS, INDEX, TaskName};
use crate::id::TaskId;
use crate::run::manifest::Manifest;
use crate::run::status::{RunStatus, StageStatus};
use crate::store::catalog;
use crate::sys::beneath::{Beneath, Content};
use crate::sys::fs::{self, Lock};

/// The largest file that is read.
pub(super) const LIMIT: u64 = 16 << 20;
/// How long another `docs sync` of this worktree may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was asked for.
#[derive(Clone, Debug)]
pub struct SyncOptions {
    pub task: TaskName,
    /// Whether nothing is written.
    pub dry_run: bool,
}

/// What became of the files.
#[derive(Debug)]
pub struct Synced {
    /// `docs:sync` or `docs:new`.
    pub request: &'static str,
    /// The task, with its slug.
    pub task: String,
    pub dry_run: bool,
    pub files: Vec<SyncedFile>,
    /// The source, which the lines below are of.
    pub source: String,
    pub filled: Vec<Filled>,
    /// Ticked items that ask for a manifest, and no run of the task proves them.
    pub unproven: Vec<usize>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncedFile {
    pub path: String,
    pub change: Change,
}

/// What happened to a file, or would happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Unchanged,
    Updated,
    Created,
}

/// Mirrors the checklist.
pub fn sync(ctx: &Context, options: &SyncOptions) -> Result<Synced> {
    same_worktree(ctx)?;
    // Two at once would each take the other's block out of the mirror that tasks share.
    let _lock = match options.dry_run {
        true => None,
        false => Some(lock(ctx)?),
    };
    let root = Beneath::open(&ctx.layout.root)?;
    let index = read(
        &root,
        INDEX,
        "it lists the tasks: `{ \"items\": [{ \"id\": \"0101\", \"slug\": \"search\" }] }`",
    )?;
    let key = options.task.find(&index.text)?;
    let task = key.to_string();
    let path = key.source();
    let source = read(&root, &path, "write it; it needs a line `## Checklist`")?;
    let docs = read(&root, DOCS, "make it, for example with `echo '# Tasks' > docs/TASKS.md`")?;
    let agent = root.read(Path::new(&key.agent()), LIMIT)?;

    let from = mirror::body_at(&source.text).unwrap_or(source.text.len());
    let evidence = evidence::fill(&source.text, from, &task, &proofs(ctx, &task)?);
    let list = Checklist::parse(&evidence.text, &key)?;
    let for_agents = list.for_agents(&key);
    let in_docs = list.in_docs(&key, &docs.text)?;

    let planned = [
        (path.clone(), evidence.text.clone(), Some(&source.content)),
        (key.agent(), for_agents, agent.as_ref()),
        (DOCS.to_owned(), in_docs, Some(&docs.content)),
    ];
    let change = |old: Option<&Content>, new: &str| match old {
        None => Change::Created,
        Some(old) if old.bytes == new.as_bytes() => Change::Unchanged,
        Some(_) => Change::Updated,
    };
    let files: Vec<_> = planned
        .iter()
        .map(|(path, new, old)| SyncedFile { path: path.clone(), change: change(*old, new) })
        .collect();
    if !options.dry_run {
        // An editor knows nothing of our lock.
        for (path, _, old) in &planned {
            if root.read(Path::new(path), LIMIT)?.as_ref() != *old {
                let said = format!("`{path}` was changed while it was being mirrored");
                return Err(Refusal::new(Kind::Busy, said)
                    .hint("run `git orchestrate docs sync` again")
                    .into());
            }
        }
        let changed: Vec<_> = planned
            .iter()
            .zip(&files)
            .filter(|(_, file)| file.change != Change::Unchanged)
            .map(|((path, new, old), _)| (Path::new(path.as_str()), new.as_bytes(), *old))
            .collect();
        root.replace_all(&changed)?;
    }
    Ok(Synced {
        request: "docs:sync",
        task,
        dry_run: options.dry_run,
        files,
        source: path,
        filled: evidence.filled,
        unproven: evidence.unproven,
    })
}

/// Refuses a root that is not in the worktree.
pub(super) fn same_worktree(ctx: &Context) -> Result<()> {
    if !ctx.layout.root.canonicalize().is_ok_and(|root| root.starts_with(ctx.repo.work_tree())) {
        let said = format!("`{}` is outside of the worktree", ctx.layout.root.display());
        return Err(Refusal::new(Kind::Unsafe, said).hint("unset CODEX_ORCHESTRATOR_ROOT").into());
    }
    Ok(())
}

/// A file that must be there, as text.
struct Text {
    text: String,
    content: Content,
}

fn read(root: &Beneath, path: &str, hint: &str) -> Result<Text> {
    let missing = || Refusal::new(Kind::Usage, format!("there is no `{path}`")).hint(hint);
    let content = root.read(Path::new(path), LIMIT)?.ok_or_else(missing)?;
    match std::str::from_utf8(&content.bytes) {
        Ok(text) => Ok(Text { text: text.to_owned(), content }),
        Err(err) => {
            let line = content.bytes[..err.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            Err(Refusal::new(Kind::Usage, format!("`{path}` is no UTF-8 in line {line}"))
                .hint("save it as UTF-8")
                .into())
        }
    }
}

pub(super) fn lock(ctx: &Context) -> Result<Lock> {
    let folder = ctx.repo.git_dir().join("orchestrate");
    fs::create_dir_all(&folder)?;
    let lock = Lock::take(&folder.join("docs-sync.lock"), PATIENCE)?;
    Ok(lock.ok_or_else(|| {
        Refusal::new(Kind::Busy, "another `docs sync` is at work in this worktree").hint("wait for it to end")
    })?)
}

/// Returns the runs of the task in this worktree that prove something, newest first.
fn proofs(ctx: &Context, task: &str) -> Result<Vec<Proof>> {
    let task: TaskId = task.parse()?;
    let mut proofs = Vec::new();
    for found in catalog::newest_first(std::slice::from_ref(&ctx.layout), Some(&task)) {
        // A run that cannot be read proves nothing.
        let Ok(state) = catalog::read(&found.paths) else { continue };
        let manifest = ctx.layout.relative(&found.paths.manifest);
        // Nobody else could follow a path that leaves the repository.
        if is_proof(&state.manifest) && !manifest.starts_with("../") && !manifest.starts_with('/') {
            proofs.push(proof(&state.manifest, manifest));
        }
    }
    Ok(proofs)
}

fn is_proof(manifest: &Manifest) -> bool {
    manifest.status == RunStatus::Succeeded && !manifest.is_partial() && !manifest.is_void()
}

fn proof(run: &Manifest, manifest: String) -> Proof {
    let succeeded = run.commands.iter().filter(|stage| stage.status == StageStatus::Succeeded);
    Proof {
        manifest,
        pipeline: run.pipeline_id.clone(),
        commands: succeeded.filter_map(|stage| stage.command.clone()).collect(),
    }
}
