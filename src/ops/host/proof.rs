//! What verdicts of a run are about: the keys of its stages, found before anything starts, and the record
//! that is kept when it is over.

use std::ffi::OsString;
use std::path::Path;

use super::{RunHost, Shared};
use crate::git::Repo;
use crate::ops::evidence::manifests::OnDisk;
use crate::ops::evidence::write::{Manner, Pending, write_finished};
use crate::pipeline::Source;
use crate::pipeline::evidence::Notes;
use crate::pipeline::plan::{Plan, PlannedStage};
use crate::proof::standing::{Entry, Origin};
use crate::proof::{Record, record};
use crate::run::git_keys::GitKeys;
use crate::run::key::{Definition, Fingerprint, Key, Subject};
use crate::run::manifest::{Keyed, Manifest, ProofKeys, StageEntry};
use crate::store::layout::RunPaths;
use crate::store::ledger::Ledger;
use crate::sys::digest::{random_hex, sha256_hex, sha256_of_file};
use crate::sys::tools::Tools;

/// The version of this program, as records name it.
pub const TOOL: &str = concat!("git-orchestrate ", env!("CARGO_PKG_VERSION"));

/// Returns what the stages of a plan look at, where they say it: each list of pathspecs once.
pub fn inputs(plan: &Plan) -> Vec<Vec<String>> {
    let mut lists: Vec<_> =
        plan.stages.iter().map(|planned| planned.stage.inputs.clone()).filter(|it| !it.is_empty()).collect();
    lists.sort();
    lists.dedup();
    lists
}

/// Returns the keys of the stages of a plan on a tree. `selected` holds the digest of each of [`inputs`].
pub fn keyed(
    plan: &Plan,
    tree: &Subject,
    selected: &[String],
    fingerprint: &Fingerprint,
    masked: &dyn Fn(&str) -> String,
) -> Vec<Keyed> {
    let lists = inputs(plan);
    let fingerprint = fingerprint.digest(sha256_hex);
    let keyed = |planned: &PlannedStage| {
        let mut definition = Definition::of(planned)?;
        let subject = match planned.stage.inputs.as_slice() {
            [] => tree.clone(),
            specs => {
                let at = lists.iter().position(|list| list == specs)?;
                Subject::selected(selected.get(at)?, tree)
            }
        };
        let definition_digest = definition.digest(sha256_hex);
        let key = Key::new(&subject, &definition_digest, &fingerprint, sha256_hex);
        definition.map_texts(masked);
        let id = masked(planned.stage.id.as_str());
        Some(Keyed { index: planned.index, id, key, subject, definition, definition_digest })
    };
    plan.stages.iter().filter_map(keyed).collect()
}

/// Returns what the stages of a plan run with, asked in the folder and environment that they get.
pub fn surroundings(
    repo: &Repo,
    root: &Path,
    env: &[(OsString, OsString)],
    plan: &Plan,
    masked: &dyn Fn(&str) -> String,
) -> Fingerprint {
    let cache = repo.common_dir().join("orchestrate/tools.json");
    let answers = Tools { root, env, cache: &cache }.ask(&plan.evidence.tools);
    let value = |name: &String| {
        let found = env.iter().rev().find(|(known, _)| known == name.as_str());
        (name.clone(), found.map(|(_, value)| sha256_hex(value.as_encoded_bytes())))
    };
    Fingerprint {
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        tools: answers.into_iter().map(|(command, answer)| (command, masked(&answer))).collect(),
        env: plan.evidence.variables.iter().map(value).collect(),
    }
}

/// Returns the subject of the whole tree of a worktree.
pub fn tree_subject(repo: &Repo, git: &GitKeys) -> Option<Subject> {
    let patterns = || {
        let path = repo.git_dir().join("info/sparse-checkout");
        sha256_hex(&crate::sys::fs::read_if_there(&path).ok().flatten().unwrap_or_default())
    };
    let sparse = git.sparse.then(patterns);
    Some(Subject::tree(git.tree.as_ref()?, sparse.as_deref()))
}

/// Returns the record of a run that is over; nothing if it says nothing about any stage. `is_current` says of which
/// stages the logs are still as they were then.
pub fn record_of(
    manifest: &Manifest,
    paths: &RunPaths,
    is_current: &dyn Fn(&StageEntry) -> bool,
) -> Option<Record> {
    let log = |entry: &StageEntry| {
        let path = paths.stage_log(entry.index, &entry.id);
        is_current(entry).then(|| sha256_of_file(&path).ok()).flatten()
    };
    record::of_run(manifest, TOOL, &log)
}

impl Shared {
    /// Returns what the stages of a plan run with.
    pub fn fingerprint(&self, plan: &Plan) -> Fingerprint {
        surroundings(&self.repo, &self.root, &self.env, plan, &|text| self.masked(text))
    }

    /// Returns the keys of a run that begins now.
    pub(super) fn proof_keys(&self, plan: &Plan, git: &GitKeys, selected: &[String]) -> Option<ProofKeys> {
        // What somebody typed once is no stage that anybody asks for again, and neither is what makes a folder ready.
        let declared = matches!(plan.source, Source::User | Source::Default);
        let tree = tree_subject(&self.repo, git).filter(|_| declared)?;
        let fingerprint = self.fingerprint(plan);
        let stages = keyed(plan, &tree, selected, &fingerprint, &|text| self.masked(text));
        let nonce = random_hex::<16>().ok()?;
        Some(ProofKeys { fingerprint, stages, nonce, tools_changed: false })
    }
}

impl RunHost {
    /// Keeps what the run found out, where all worktrees of the repository find it. Returns the record if it is
    /// to become a note when the manifest, which goes along, is whole.
    pub(super) fn record_proof(&self) -> Option<Record> {
        let record = record_of(self.manifest(), self.recorder.paths(), &|_| true)?;
        let record = Box::new(record);
        let entry = Entry::Run { record: record.clone(), origin: Origin::Here };
        let ledger = Ledger::of(self.shared.repo.common_dir());
        if let Err(err) = ledger.add(&entry, &record.subjects()) {
            self.shared.warn("the ledger was not written, so nobody can reuse what this run proved", err);
        }
        match self.notes() {
            Notes::Nothing => None,
            Notes::Records => {
                self.leave_note(Some(&record), None);
                None
            }
            // Should we die before it is, `evidence write` finds the record in the ledger.
            Notes::Full => Some(*record),
        }
    }

    /// Writes the run into git notes together with its manifest, which does not change any more.
    pub(super) fn leave_full_note(&self, record: &Record) {
        self.leave_note(Some(record), Some(&self.on_disk()));
    }

    /// Writes what waited for the commit that is checked out, by a run in which nothing ran.
    pub(super) fn leave_notes_of_others(&self) {
        let is_waiting = |tree: &String| Pending::of(&self.shared.repo).is_for(tree);
        let tree = self.manifest().git.as_ref().filter(|git| !git.dirty).and_then(|git| git.tree.as_ref());
        match self.notes() {
            Notes::Nothing => {}
            _ if !tree.is_some_and(is_waiting) => {}
            Notes::Records => self.leave_note(None, None),
            Notes::Full => self.leave_note(None, Some(&self.on_disk())),
        }
    }

    fn on_disk(&self) -> OnDisk {
        let shared = &self.shared;
        let mut layouts = vec![shared.layout.clone()];
        let worktrees = shared.repo.worktrees().unwrap_or_default();
        layouts.extend(worktrees.iter().map(|worktree| shared.layout.of_worktree(&worktree.path)));
        OnDisk { layouts }
    }

    /// What the run leaves in git notes.
    fn notes(&self) -> Notes {
        let asked = self.manifest().plan.as_ref().and_then(|plan| plan.leaves_note);
        match self.depth {
            0 => asked.unwrap_or(self.plan.evidence.notes),
            // A child is told of by the run that it is a part of.
            _ => Notes::Nothing,
        }
    }

    fn leave_note(&self, record: Option<&Record>, manifests: Option<&OnDisk>) {
        let now = self.shared.clock.now();
        let manner = Manner { sign: self.plan.evidence.sign, manifests };
        let written = match write_finished(&self.shared.repo, record, manner, now) {
            Ok(written) => written.unwrap_or_default(),
            Err(err) => return self.shared.warn("the run left no git note", err),
        };
        let mut watch = self.shared.watch.borrow_mut();
        if let Some(why) = &written.unsigned {
            watch.warn(&format!("the note is not signed: {why}"));
        }
        for (run, why) in &written.without_manifest {
            watch.warn(&format!("the manifest of {run} did not go along with its note: {why}"));
        }
    }
}
