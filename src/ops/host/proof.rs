//! What verdicts of a run are about: the keys of its stages, found before anything starts, and the record
//! that is kept when it is over.

use std::ffi::OsString;
use std::path::Path;

use super::{RunHost, Shared};
use crate::git::Repo;
use crate::ops::evidence::write::{Written, write_finished};
use crate::pipeline::plan::{Plan, PlannedStage};
use crate::proof::standing::{Entry, Origin};
use crate::proof::{Record, record};
use crate::run::git_keys::GitKeys;
use crate::run::key::{Definition, Fingerprint, Key, Subject};
use crate::run::manifest::{Keyed, ProofKeys, StageEntry};
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
                Subject::inputs(selected.get(at)?)
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

impl Shared {
    /// Returns what the stages of a plan run with.
    pub fn fingerprint(&self, plan: &Plan) -> Fingerprint {
        surroundings(&self.repo, &self.root, &self.env, plan, &|text| self.masked(text))
    }

    /// Returns the keys of a run that begins now.
    pub(super) fn proof_keys(&self, plan: &Plan, git: &GitKeys, selected: &[String]) -> Option<ProofKeys> {
        // What somebody typed once is no stage that anybody asks for again.
        let declared = plan.source != crate::pipeline::Source::CommandLine;
        let tree = tree_subject(&self.repo, git).filter(|_| declared)?;
        let fingerprint = self.fingerprint(plan);
        let stages = keyed(plan, &tree, selected, &fingerprint, &|text| self.masked(text));
        let nonce = random_hex::<16>().ok()?;
        Some(ProofKeys { fingerprint, stages, nonce, tools_changed: false })
    }
}

impl RunHost {
    /// Keeps what the run found out, where all worktrees of the repository find it.
    pub(super) fn record_proof(&self) {
        let log = |entry: &StageEntry| {
            let path = self.recorder.paths().stage_log(entry.index, &entry.id);
            sha256_of_file(&path).ok()
        };
        let Some(record) = record::of_run(self.manifest(), TOOL, &log) else { return };
        let record = Box::new(record);
        let entry = Entry::Run { record: record.clone(), origin: Origin::Here };
        let ledger = Ledger::of(self.shared.repo.common_dir());
        if let Err(err) = ledger.add(&entry, &record.subjects()) {
            self.shared.warn("the ledger was not written, so nobody can reuse what this run proved", err);
        }
        self.leave_note(&record);
    }

    /// Writes the run into git notes, if that is wanted.
    fn leave_note(&self, record: &Record) {
        let asked = self.manifest().plan.as_ref().and_then(|plan| plan.leaves_note);
        if self.depth > 0 || !asked.unwrap_or(self.plan.evidence.notes) {
            return;
        }
        let now = self.shared.clock.now();
        match write_finished(&self.shared.repo, record, self.plan.evidence.sign, now) {
            Ok(Some(Written { unsigned: Some(why), .. })) => {
                self.shared.watch.borrow_mut().warn(&format!("the note is not signed: {why}"));
            }
            Ok(_) => {}
            Err(err) => self.shared.warn("the run left no git note", err),
        }
    }
}
