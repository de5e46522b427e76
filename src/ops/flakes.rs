//! `flakes`: stages that passed and failed on one and the same key, and the end of a contradiction.

use std::collections::BTreeMap;

use anyhow::Result;

use super::host::Masking;
use super::{Context, Kind, Refusal};
use crate::pipeline::evidence::Evidence;
use crate::proof::Result as StageResult;
use crate::proof::standing::{Entry, Reason, Standing, standing};
use crate::run::key::{Key, Subject};
use crate::run::stamp::Stamp;
use crate::store::ledger::Ledger;

/// A key that proves nothing because its records contradict each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flake {
    pub stage: String,
    pub pipeline: String,
    pub key: Key,
    pub subject: Subject,
    pub tree: String,
    pub command: Option<String>,
    /// The newest run that passed, and the newest that failed; one run may be both.
    pub passed: Option<String>,
    pub failed: Option<String>,
    /// How often it passed at once, failed, and passed on a retry.
    pub passes: usize,
    pub failures: usize,
    pub retried: usize,
    pub last_at: Stamp,
}

/// Returns every contradiction that nobody has cleared, the newest first.
pub fn flakes(ctx: &Context) -> Result<Vec<Flake>> {
    let mut by_key: BTreeMap<Key, Vec<Entry>> = BTreeMap::new();
    Ledger::of(ctx.repo.common_dir()).each(|entry| {
        let keys: Vec<_> = match &entry {
            Entry::Run { record, .. } => record.stages.iter().map(|stage| stage.key.clone()).collect(),
            Entry::Cleared { key, .. } => vec![key.clone()],
            Entry::LetPass(_) => Vec::new(),
        };
        for key in keys {
            let entries = by_key.entry(key).or_default();
            // An entry about two subjects stands in two files.
            if entries.last() != Some(&entry) && !entries.contains(&entry) {
                entries.push(entry.clone());
            }
        }
    })?;
    let rules = super::host::rules(&Evidence::default(), ctx.clock.now());
    let mut found: Vec<_> = by_key
        .iter()
        .filter_map(|(key, entries)| match standing(entries, key, &rules) {
            Standing::Unproven { reason: Reason::Contradicted { .. } | Reason::Flaky, record, stage } => {
                Some(flake(key, entries, &record.pipeline, &record.tree, stage))
            }
            _ => None,
        })
        .collect();
    found.sort_by(|a, b| b.last_at.cmp(&a.last_at).then_with(|| a.key.cmp(&b.key)));
    Ok(found)
}

fn flake(
    key: &Key,
    entries: &[Entry],
    pipeline: &str,
    tree: &str,
    stage: &crate::proof::StageRecord,
) -> Flake {
    let cleared = entries.iter().rposition(|entry| matches!(entry, Entry::Cleared { .. }));
    let mut flake = Flake {
        stage: stage.id.clone(),
        pipeline: pipeline.to_owned(),
        key: key.clone(),
        subject: stage.subject.clone(),
        tree: tree.to_owned(),
        command: stage.definition.command.clone(),
        passed: None,
        failed: None,
        passes: 0,
        failures: 0,
        retried: 0,
        last_at: stage.completed_at,
    };
    for entry in &entries[cleared.map_or(0, |at| at + 1)..] {
        let Entry::Run { record, .. } = entry else { continue };
        for stage in record.about(key).filter(|_| record.void.is_none()) {
            match stage.result {
                StageResult::Passed => {
                    flake.passes += 1;
                    flake.passed = Some(record.run_id.clone());
                }
                StageResult::Failed | StageResult::AllowedFailure => {
                    flake.failures += 1;
                    flake.failed = Some(record.run_id.clone());
                }
                StageResult::Flaky => {
                    flake.retried += 1;
                    flake.passed = Some(record.run_id.clone());
                    flake.failed = Some(record.run_id.clone());
                }
                StageResult::Overridden | StageResult::Reused => continue,
            }
            flake.last_at = flake.last_at.max(stage.completed_at);
        }
    }
    flake
}

/// Which contradictions are looked into, by whom, and what came of it.
#[derive(Clone, Debug)]
pub struct ClearOptions {
    /// The name of a stage, or the beginning of a key.
    pub which: String,
    pub by: String,
    pub reason: Option<String>,
}

/// Lets what was recorded of contradicting keys count no more. Returns which those were.
pub fn clear(ctx: &Context, options: &ClearOptions) -> Result<Vec<Flake>> {
    let masking = Masking::new(&ctx.env, None);
    let all = flakes(ctx)?;
    let is_meant = |flake: &&Flake| {
        flake.stage == options.which
            || (options.which.len() >= 7 && flake.key.as_str().starts_with(&options.which))
    };
    let meant: Vec<_> = all.iter().filter(is_meant).cloned().collect();
    if meant.is_empty() {
        let message = format!("no flake is called `{}`", options.which.escape_debug());
        let hint = match all.is_empty() {
            true => "there are no flakes here".to_owned(),
            false => "`git orchestrate flakes` lists them: name a stage, or 7 digits of a key".to_owned(),
        };
        return Err(Refusal::new(Kind::Usage, message).hint(hint).into());
    }
    let at = ctx.clock.now();
    let entries: Vec<_> = meant
        .iter()
        .map(|flake| Entry::Cleared {
            key: flake.key.clone(),
            subject: flake.subject.clone(),
            stage: flake.stage.clone(),
            by: masking.masked(&options.by),
            reason: options.reason.as_deref().map(|reason| masking.masked(reason)),
            at,
        })
        .collect();
    let subjects: Vec<_> = meant.iter().map(|flake| [&flake.subject]).collect();
    let pairs: Vec<(&Entry, &[&Subject])> =
        entries.iter().zip(&subjects).map(|(entry, subject)| (entry, &subject[..])).collect();
    Ledger::of(ctx.repo.common_dir()).add_all(&pairs)?;
    Ok(meant)
}
