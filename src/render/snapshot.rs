//! The answers of `snapshot`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::gc::{fate, size};
use super::printer::{Answer, Table, about, style};
use crate::id::short;
use crate::ops::Place;
use crate::ops::gc::Action;
use crate::ops::learning::requeue::Requeued as Once;
use crate::ops::snapshot::Captured;
use crate::ops::snapshot::again::Repeated;
use crate::ops::snapshot::gc::{Cleared, Fate};
use crate::output::untrusted::untrusted;
use crate::run::learning::Verdict;
use crate::run::snapshot::{LeftOut, Reason, Snapshot};
use crate::run::stamp::Stamp;
use crate::store::snapshots::Stored;
use crate::sys::digest::sha256_of_file;
use crate::sys::unpack::Unpacked;

/// So many of a kind are named.
const NAMED: usize = 5;

/// One snapshot.
pub struct Shown {
    snapshot: Snapshot,
    archive: PathBuf,
    document: PathBuf,
    state: State,
}

/// What became of an archive since it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Intact,
    /// Its digest is another one now.
    Changed,
    Missing,
}

/// The document of one snapshot.
#[derive(Serialize, JsonSchema)]
pub struct Document {
    #[serde(flatten)]
    snapshot: Snapshot,
    /// Where the archive is.
    archive_path: String,
    /// Where the document of the snapshot is.
    document_path: String,
    state: State,
}

impl Shown {
    /// Shows one that was taken just now.
    pub fn taken(captured: Captured) -> Self {
        let Captured { snapshot, archive, document } = captured;
        Self { snapshot, archive, document, state: State::Intact }
    }

    /// Shows one that was kept, and reads its archive for that.
    pub fn kept(stored: Stored) -> Self {
        let Stored { snapshot, archive, document } = stored;
        let state = match sha256_of_file(&archive) {
            Ok(digest) if digest == snapshot.digest => State::Intact,
            Ok(_) => State::Changed,
            Err(_) => State::Missing,
        };
        Self { snapshot, archive, document, state }
    }

    /// Whether its archive is as it was.
    pub fn is_intact(&self) -> bool {
        self.state == State::Intact
    }
}

impl Answer for Shown {
    type Document = Document;

    fn document(&self) -> Document {
        Document {
            snapshot: self.snapshot.clone(),
            archive_path: text(&self.archive),
            document_path: text(&self.document),
            state: self.state,
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let it = &self.snapshot;
        writeln!(out, "Snapshot {} of task {}", untrusted(it.id.as_str()), untrusted(it.task_id.as_str()))?;
        let files = if it.files == 1 { "file" } else { "files" };
        writeln!(out, "  taken    {}: {} {files}, {}", it.created_at, it.files, size(it.content_bytes))?;
        writeln!(out, "  archive  {} ({})", untrusted(&text(&self.archive)), size(it.bytes))?;
        writeln!(out, "  sha256   {}", untrusted(&it.digest))?;
        writeln!(out, "  commit   {} as {}", untrusted(short(&it.commit)), untrusted(&it.reference))?;
        if let Some(same) = &it.same_as {
            writeln!(out, "  same as  {}: nothing had changed", untrusted(same.as_str()))?;
        }
        let bad = style("failed");
        match self.state {
            State::Intact => {}
            State::Changed => writeln!(out, "  {bad}The archive was changed since it was written.{bad:#}")?,
            State::Missing => writeln!(out, "  {bad}The archive is gone.{bad:#}")?,
        }
        for nested in &it.nested {
            let head = nested.head.as_deref().map_or("without a commit", short);
            writeln!(out, "Not in it: the repository `{}` at {}", untrusted(&nested.path), untrusted(head))?;
        }
        left_out(out, &it.left_out)?;
        if !it.changed_while_read.is_empty() {
            let files = some(it.changed_while_read.iter().map(String::as_str));
            writeln!(out, "Changed while they were read: {files}")?;
        }
        Ok(())
    }
}

/// Says what is not in a snapshot, for each reason once.
fn left_out(out: &mut dyn Write, all: &[LeftOut]) -> io::Result<()> {
    let mut by_reason: BTreeMap<Reason, Vec<&LeftOut>> = BTreeMap::new();
    for left in all {
        by_reason.entry(left.reason).or_default().push(left);
    }
    let warning = style("warning");
    for (reason, those) in by_reason {
        let files = some(those.iter().map(|left| left.path.as_str()));
        writeln!(out, "{warning}Left out{warning:#}, because it {}: {files}", reason.words())?;
    }
    Ok(())
}

/// Names the first of some paths, and counts the others.
fn some<'a>(paths: impl ExactSizeIterator<Item = &'a str>) -> String {
    let count = paths.len();
    let mut text: Vec<_> = paths.take(NAMED).map(|path| format!("`{}`", untrusted(path))).collect();
    if count > NAMED {
        text.push(format!("and {} more", count - NAMED));
    }
    text.join(", ")
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Several snapshots.
pub struct Listed {
    pub at: Stamp,
    pub place: Place,
    /// Newest first.
    pub snapshots: Vec<Stored>,
}

/// The document of several snapshots.
#[derive(Serialize, JsonSchema)]
pub struct ListDocument {
    generated_at: Stamp,
    /// The worktree that was looked at.
    root: String,
    /// Newest first.
    snapshots: Vec<Item>,
}

#[derive(Serialize, JsonSchema)]
struct Item {
    id: String,
    task_id: String,
    created_at: Stamp,
    digest: String,
    bytes: u64,
    files: u64,
    commit: String,
    /// How many files were left out.
    left_out: usize,
    /// Where the archive is.
    archive_path: String,
}

impl Answer for Listed {
    type Document = ListDocument;

    fn document(&self) -> ListDocument {
        let item = |Stored { snapshot: it, archive, .. }: &Stored| Item {
            id: it.id.to_string(),
            task_id: it.task_id.to_string(),
            created_at: it.created_at,
            digest: it.digest.clone(),
            bytes: it.bytes,
            files: it.files,
            commit: it.commit.clone(),
            left_out: it.left_out.len(),
            archive_path: text(archive),
        };
        ListDocument {
            generated_at: self.at,
            root: text(&self.place.root),
            snapshots: self.snapshots.iter().map(item).collect(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        about(out, &self.place)?;
        if self.snapshots.is_empty() {
            return writeln!(out, "No snapshots yet: `git orchestrate snapshot create` takes one.");
        }
        let mut table = Table::new("SNAPSHOT\tTASK\tDIGEST\tFILES\tSIZE\tLEFT OUT")?;
        for Stored { snapshot: it, .. } in &self.snapshots {
            writeln!(
                table.0,
                "{}\t{}\t{}\t{}\t{}\t{}",
                untrusted(it.id.as_str()),
                untrusted(it.task_id.as_str()),
                untrusted(short(&it.digest)),
                it.files,
                size(it.bytes),
                it.left_out.len()
            )?;
        }
        table.print(out)
    }
}

/// A snapshot that was unpacked.
pub struct Restored {
    pub digest: String,
    pub target: PathBuf,
    pub unpacked: Unpacked,
}

/// The document of a snapshot that was unpacked.
#[derive(Serialize, JsonSchema)]
pub struct RestoreDocument {
    digest: String,
    /// The folder that holds it now.
    folder: String,
    files: u64,
    links: u64,
    bytes: u64,
}

impl Answer for Restored {
    type Document = RestoreDocument;

    fn document(&self) -> RestoreDocument {
        let Unpacked { files, links, bytes } = self.unpacked;
        RestoreDocument { digest: self.digest.clone(), folder: text(&self.target), files, links, bytes }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Unpacked { files, links, bytes } = self.unpacked;
        let folder = text(&self.target);
        writeln!(
            out,
            "Restored {files} files and {links} links ({}) into {}",
            size(bytes),
            untrusted(&folder)
        )
    }
}

/// A scenario that was replayed.
pub struct Replayed<'a>(pub &'a Repeated);

/// The document of a scenario that was replayed.
#[derive(Serialize, JsonSchema)]
pub struct ReplayDocument {
    digest: String,
    status: Verdict,
    /// Why, unless it is validated.
    reason: Option<String>,
    commands: Vec<String>,
    /// The run that made the side worktree ready, where `slots.setup` asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    setup_run: Option<String>,
    seconds: u64,
    /// The last that the commands printed.
    output: String,
}

impl Answer for Replayed<'_> {
    type Document = ReplayDocument;

    fn document(&self) -> ReplayDocument {
        let Repeated { digest, scenario, replayed } = self.0;
        ReplayDocument {
            digest: digest.clone(),
            status: replayed.verdict,
            reason: replayed.reason.clone(),
            commands: scenario.commands.clone(),
            setup_run: replayed.setup_run.clone(),
            seconds: replayed.seconds,
            output: replayed.output.clone(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Repeated { digest, scenario, replayed } = self.0;
        for command in &scenario.commands {
            writeln!(out, "$ {}", untrusted(command))?;
        }
        if !replayed.output.is_empty() {
            write!(out, "{}", untrusted(&replayed.output).with_lines())?;
        }
        let color = style(if replayed.verdict == Verdict::Validated { "ok" } else { "failed" });
        write!(out, "{color}{}{color:#} on snapshot {}", replayed.verdict.word(), untrusted(short(digest)))?;
        match &replayed.reason {
            Some(reason) => writeln!(out, ": {}", untrusted(reason)),
            None => writeln!(out),
        }
    }
}

/// A run that was learned from once more.
pub struct Requeued<'a>(pub &'a Once);

/// The document of a run that was learned from once more.
#[derive(Serialize, JsonSchema)]
pub struct RequeueDocument {
    run_id: String,
    task_id: String,
    /// What stands under `learning.approvals` now.
    approval: ApprovalItem,
    status: Verdict,
    /// Why, unless it is validated.
    reason: Option<String>,
    /// The scenario, relative to the root.
    scenario_path: Option<String>,
    /// The SHA-256 of the archive that it was replayed on.
    digest: Option<String>,
    /// How it went, relative to the root.
    log_path: Option<String>,
    /// The run that made the side worktree ready, where `slots.setup` asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    setup_run: Option<String>,
}

/// Who said so, and about what.
#[derive(Serialize, JsonSchema)]
struct ApprovalItem {
    actor: String,
    timestamp: Stamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// `stalled_snapshot`, `needs_manual_scenario` or `requeue`.
    state: String,
}

impl Answer for Requeued<'_> {
    type Document = RequeueDocument;

    fn document(&self) -> RequeueDocument {
        let Once { manifest, approval, section } = self.0;
        let validation = section.validation.clone();
        RequeueDocument {
            run_id: manifest.run_id.to_string(),
            task_id: manifest.task_id.to_string(),
            approval: ApprovalItem {
                actor: approval.actor.clone(),
                timestamp: approval.timestamp,
                reason: approval.reason.clone(),
                state: approval.state.clone(),
            },
            status: validation.status,
            reason: validation.reason,
            scenario_path: self.0.scenario().map(str::to_owned),
            digest: section.snapshot.as_ref().map(|it| it.tarball_digest.clone()),
            log_path: validation.log_path,
            setup_run: validation.setup_run,
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Once { manifest, approval, section } = self.0;
        let because = approval.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let by = format!("{}{because}", approval.actor);
        writeln!(out, "Requeued run {} ({}) by {}", manifest.run_id, approval.state, untrusted(&by))?;
        if let Some(scenario) = self.0.scenario() {
            writeln!(out, "  scenario  {}", untrusted(scenario))?;
        }
        if let Some(log) = &section.validation.log_path {
            writeln!(out, "  log       {}", untrusted(log))?;
        }
        let verdict = section.validation.status;
        let color = style(if verdict == Verdict::Validated { "ok" } else { "failed" });
        write!(out, "{color}{}{color:#}", verdict.word())?;
        match &section.validation.reason {
            Some(reason) => writeln!(out, ": {}", untrusted(reason)),
            None => writeln!(out),
        }
    }
}

/// What became of snapshots.
pub struct Collected<'a>(pub &'a Cleared);

/// The document of what became of snapshots.
#[derive(Serialize, JsonSchema)]
pub struct GcDocument {
    generated_at: Stamp,
    /// The worktree that was looked at.
    root: String,
    dry_run: bool,
    /// Oldest first.
    snapshots: Vec<Collectible>,
    /// Documents that cannot be believed; they are kept, and all that has their name.
    damaged: Vec<String>,
    /// What crashed processes had left.
    leftovers: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Collectible {
    id: String,
    task_id: String,
    digest: String,
    bytes: u64,
    created_at: Stamp,
    action: Action,
    reason: String,
}

impl Answer for Collected<'_> {
    type Document = GcDocument;

    fn document(&self) -> GcDocument {
        let item = |fate: &Fate| Collectible {
            id: fate.stored.snapshot.id.to_string(),
            task_id: fate.stored.snapshot.task_id.to_string(),
            digest: fate.stored.snapshot.digest.clone(),
            bytes: fate.stored.snapshot.bytes,
            created_at: fate.stored.snapshot.created_at,
            action: fate.action,
            reason: fate.reason.clone(),
        };
        GcDocument {
            generated_at: self.0.at,
            root: text(&self.0.place.root),
            dry_run: self.0.dry_run,
            snapshots: self.0.snapshots.iter().map(item).collect(),
            damaged: self.0.damaged.clone(),
            leftovers: self.0.leftovers.clone(),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        about(out, &self.0.place)?;
        let mut gone = 0;
        for Fate { stored, action, reason } in &self.0.snapshots {
            let (word, color) = fate(*action);
            gone += usize::from(matches!(action, Action::WouldRemove | Action::Removed));
            if self.0.dry_run || *action != Action::Kept {
                let id = untrusted(stored.snapshot.id.as_str());
                writeln!(out, "{id}  {color}{word}{color:#}: {}", untrusted(reason))?;
            }
        }
        for damaged in &self.0.damaged {
            writeln!(out, "Kept, but damaged: {}", untrusted(damaged))?;
        }
        for leftover in &self.0.leftovers {
            writeln!(out, "Leftover of a crash: {}", untrusted(leftover))?;
        }
        let word = if self.0.dry_run { "Would remove" } else { "Removed" };
        writeln!(out, "{word} {gone} of {} snapshots.", self.0.snapshots.len())
    }
}
