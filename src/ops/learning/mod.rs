//! What follows a run that succeeded, where somebody wants to learn from it: a snapshot of its work tree, the
//! scenario that made it succeed, the proof that the scenario holds, and a pattern. Nothing here changes the
//! verdict of the run.

mod crystal;
mod derive;
pub mod requeue;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::host::SharedWatch;
use super::snapshot::replay::{Replay, replay};
use super::snapshot::{Captured, Subject, capture, link_or_copy, restore};
use super::{Context, Refusal};
use crate::git::Repo;
use crate::pipeline::config::{FILE_NAME, parse_learning};
use crate::pipeline::learning::{Channel, Learning};
use crate::pipeline::plan::Plan;
use crate::run::learning::{Queue, Scenario, ScenarioState, Section, SnapshotState, Validation, Verdict};
use crate::run::manifest::Manifest;
use crate::runner::interrupt::Interrupts;
use crate::store::layout::{RunPaths, pattern_below};
use crate::store::pointers::pretty;
use crate::store::snapshots::beside;
use crate::sys::fs::{self, Durability};

/// The variable that turns it on, or off, whatever the configuration says.
pub const VARIABLE: &str = "LEARNING_PIPELINE_ENABLED";
/// So often a snapshot is tried, with such pauses in between.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(1)];

/// Returns what the configuration of the work tree says about learning.
pub fn settings(ctx: &Context) -> Result<Learning> {
    let path = ctx.root.join(FILE_NAME);
    let Some(bytes) = fs::read_if_there(&path)? else { return Ok(Learning::default()) };
    let text = String::from_utf8(bytes)
        .map_err(|_| Refusal::usage(format!("`{}` is no UTF-8 text", path.display())))?;
    Ok(parse_learning(FILE_NAME, &text)?)
}

/// Returns how a run is to be learned from; nothing if it is not.
pub fn wanted(ctx: &Context) -> Result<Option<Learning>> {
    match ctx.env.get(VARIABLE).filter(|value| !value.is_empty()) {
        Some("1") => settings(ctx).map(Some),
        Some(_) => Ok(None),
        // Whoever did not ask for it need not hear what is wrong with it.
        None => Ok(settings(ctx).ok().filter(|settings| settings.enabled)),
    }
}

/// Returns what was learned from a run so far.
fn known(manifest: &Manifest) -> Section {
    let known = manifest.learning.clone();
    known.and_then(|known| serde_json::from_value(known).ok()).unwrap_or_default()
}

/// Whether another try would end the same way: a disk that is full is full in a second, too.
fn is_hopeless(err: &anyhow::Error) -> bool {
    let mut causes = err.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|err| {
        matches!(
            err.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem
        )
    })
}

/// A run that succeeded.
pub struct Lesson<'a> {
    pub ctx: &'a Context,
    pub learning: &'a Learning,
    /// What ran; nothing if that is not known any more.
    pub plan: Option<&'a Plan>,
    pub manifest: &'a Manifest,
    pub paths: &'a RunPaths,
    pub watch: &'a SharedWatch,
}

impl Lesson<'_> {
    /// Learns from the run. `keep` is told what is known so far, after each step.
    pub async fn learn(
        &self,
        interrupts: &mut Interrupts,
        keep: &mut dyn FnMut(&Section) -> Result<()>,
    ) -> Result<()> {
        let mut section = known(self.manifest);
        if let Err(err) = fs::create_dir_all(&self.folder()) {
            return self.failed(&mut section, &format!("{err}"), 1).and_then(|()| keep(&section));
        }
        let Some(captured) = self.snapshot(&mut section, keep)? else { return keep(&section) };
        let scenario = self.scenario(&mut section);
        let astray = self.astray(&captured);
        self.prove(&mut section, &captured, scenario, astray, interrupts, keep).await
    }

    /// Hands a snapshot and its scenario to learners, and proves that the scenario holds, unless the snapshot is
    /// `astray`: then that is why nobody can tell.
    async fn prove(
        &self,
        section: &mut Section,
        captured: &Captured,
        scenario: Option<Scenario>,
        astray: Option<&str>,
        interrupts: &mut Interrupts,
        keep: &mut dyn FnMut(&Section) -> Result<()>,
    ) -> Result<()> {
        if let Err(err) = self.payload(section, captured) {
            self.warn(&format!("the queue payload was not written: {err:#}"));
        }
        keep(section)?;
        let Some(scenario) = scenario else { return Ok(()) };
        let copy = beside(&captured.archive, "scenario.json");
        if let Err(err) = fs::write_atomically(&copy, &pretty(&scenario), Durability::Process) {
            self.warn(&format!("the scenario is not beside the archive: {err}"));
        }
        self.validate(section, captured, &scenario, astray, interrupts).await;
        keep(section)?;
        if section.validation.status == Verdict::Validated {
            let budget_exceeded = self.crystalize(section, &scenario, interrupts).await;
            if let Some(message) = budget_exceeded {
                self.alert(section, "budget_exceeded", &[Channel::Slack], &message);
            }
            keep(section)?;
        }
        Ok(())
    }

    fn folder(&self) -> PathBuf {
        self.paths.dir.join("learning")
    }

    fn relative(&self, path: &Path) -> String {
        self.ctx.layout.relative(path)
    }

    fn warn(&self, text: &str) {
        self.watch.borrow_mut().warn(text);
    }

    fn alert(&self, section: &mut Section, kind: &str, channels: &[Channel], message: &str) {
        section.alert(kind, channels, &self.learning.alerts, message, self.ctx.clock.now());
    }

    /// Takes the snapshot, again if it fails.
    fn snapshot(
        &self,
        section: &mut Section,
        keep: &mut dyn FnMut(&Section) -> Result<()>,
    ) -> Result<Option<Captured>> {
        let Manifest { run_id, task_id, .. } = self.manifest;
        let subject = Subject { id: run_id, task: task_id, learning: self.learning };
        let mut attempts = 1;
        let captured = loop {
            match capture(self.ctx, &subject) {
                Ok(captured) => break captured,
                Err(err) => {
                    let pause = PAUSES.get(attempts as usize - 1).filter(|_| !is_hopeless(&err));
                    let Some(pause) = pause else {
                        self.failed(section, &format!("{err:#}"), attempts)?;
                        return Ok(None);
                    };
                    std::thread::sleep(*pause);
                    attempts += 1;
                }
            }
        };
        // It is taken, whatever becomes of what the folder of the run has of it.
        let tarball_path = match link_or_copy(&captured.archive, &self.tarball()) {
            Ok(()) => self.relative(&self.tarball()),
            Err(err) => {
                self.warn(&format!("the folder of the run has no copy of the snapshot: {err:#}"));
                "unavailable".to_owned()
            }
        };
        if let Err(err) = self.list_files(&captured) {
            self.warn(&format!("the folder of the run has no list of what is in the snapshot: {err:#}"));
        }
        let snapshot = &captured.snapshot;
        section.snapshot = Some(SnapshotState {
            tag: snapshot.reference.clone(),
            commit_sha: snapshot.commit.clone(),
            tarball_path,
            tarball_digest: snapshot.digest.clone(),
            storage_path: self.relative(&captured.archive),
            retention_days: snapshot.retention_days,
            status: "captured".to_owned(),
            attempts,
            created_at: snapshot.created_at,
            last_error: None,
            left_out: snapshot.left_out.len(),
        });
        section.validation = Validation::default();
        let secrets =
            snapshot.left_out.iter().filter(|it| it.reason == crate::run::snapshot::Reason::Secret).count();
        if secrets > 0 {
            self.warn(&format!("{secrets} files look like secrets and are not in the snapshot"));
        }
        keep(section)?;
        Ok(Some(captured))
    }

    /// Returns why a snapshot is none of what ran. What the run itself has added is no reason.
    fn astray(&self, captured: &Captured) -> Option<&'static str> {
        let began = self.manifest.git.as_ref()?.tree.as_deref()?;
        if captured.snapshot.tree == began {
            return None;
        }
        let mut repo = self.ctx.repo.clone();
        let is_same = |repo: &Repo| repo.tree_now().is_ok_and(|now| now.state.tree == began);
        // What a snapshot leaves out is part of the tree all the same.
        if is_same(&repo) {
            return None;
        }
        repo.leave_out(self.added(&repo));
        (!is_same(&repo)).then_some("the work tree is not what the run began with, so nobody knows what ran")
    }

    /// Returns patterns for what git does not track and what changed last after the run began.
    fn added(&self, repo: &Repo) -> Vec<String> {
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::fs::MetadataExt;
        let Some((listing, began)) = repo.listing().ok().zip(self.manifest.started_at) else {
            return Vec::new();
        };
        let top = repo.work_tree();
        let files = listing.files.iter().filter(|it| !it.tracked).map(|it| &it.path);
        let repositories = listing.nested.iter().filter(|it| !it.tracked).map(|it| &it.path);
        let paths = files.chain(repositories).map(|path| top.join(std::ffi::OsStr::from_bytes(path)));
        let is_new = |path: &PathBuf| {
            let found = path.symlink_metadata();
            found.is_ok_and(|it| it.ctime() * 1000 + it.ctime_nsec() / 1_000_000 >= began.as_millis())
        };
        paths.filter(is_new).filter_map(|path| pattern_below(top, &path)).collect()
    }

    fn tarball(&self) -> PathBuf {
        self.folder().join(format!("{}{}", self.manifest.run_id, self.learning.compression.ending()))
    }

    fn list_files(&self, captured: &Captured) -> Result<()> {
        let names = self.ctx.repo.names_of(&captured.snapshot.tree)?;
        let path = self.folder().join("snapshot-files.txt");
        Ok(fs::write_atomically(&path, &names, Durability::Process)?)
    }

    /// Takes note of a snapshot that could not be taken.
    fn failed(&self, section: &mut Section, reason: &str, attempts: u32) -> Result<()> {
        let at = self.ctx.clock.now();
        let reason = super::host::Masking::new(&self.ctx.env, None).masked(reason);
        self.warn(&format!("no snapshot was taken: {reason}"));
        section.snapshot = Some(SnapshotState {
            tag: "unavailable".to_owned(),
            commit_sha: "unknown".to_owned(),
            tarball_path: "unavailable".to_owned(),
            tarball_digest: "unavailable".to_owned(),
            storage_path: "unavailable".to_owned(),
            retention_days: self.learning.retention_days,
            status: "snapshot_failed".to_owned(),
            attempts,
            created_at: at,
            last_error: Some(reason.clone()),
            left_out: 0,
        });
        self.alert(section, "snapshot_failed", &[Channel::Slack, Channel::Pagerduty], &reason);
        section.validation.status = Verdict::SnapshotFailed;
        section.validation.reason = Some("there is no snapshot to replay on".to_owned());
        section.validation.last_error = Some(reason);
        Ok(())
    }

    /// Finds out what made the run succeed; nothing if somebody has to say it.
    fn scenario(&self, section: &mut Section) -> Option<Scenario> {
        let at = self.ctx.clock.now();
        let derived = derive::scenario(self, at);
        let path = self.folder().join(match derived {
            Ok(_) => "scenario.json",
            Err(_) => "scenario.partial.json",
        });
        let mut state = ScenarioState {
            path: None,
            generated_at: None,
            source: crate::run::learning::ScenarioSource::Template,
            status: "needs_manual_scenario".to_owned(),
            attempts: 1,
            partial_path: None,
            manual_template: None,
            approver: None,
            reason: None,
        };
        let (written, scenario) = match derived {
            Ok((scenario, source)) => {
                state.path = Some(self.relative(&path));
                state.generated_at = Some(at);
                state.source = source;
                state.status = "synthesized".to_owned();
                (fs::write_atomically(&path, &pretty(&scenario), Durability::Process), Some(scenario))
            }
            Err((clues, reason)) => {
                let template = self.folder().join("manual-scenario-template.json");
                state.partial_path = Some(self.relative(&path));
                state.manual_template = Some(self.relative(&template));
                state.reason = Some(reason.clone());
                let urgent = self.learning.alerts.severity.is_some();
                let channels = &[Channel::Slack, Channel::Pagerduty][..if urgent { 2 } else { 1 }];
                self.alert(section, "needs_manual_scenario", channels, &reason);
                self.warn(&format!(
                    "nobody knows what to replay: {reason}; `git orchestrate snapshot requeue {} -- COMMAND` says it",
                    self.manifest.run_id
                ));
                section.validation.status = Verdict::NeedsManualScenario;
                section.validation.reason = Some(reason.clone());
                let partial = json!({
                    "id": derive::id(self),
                    "fallback_reason": reason,
                    "prompt": clues.prompt,
                    "diff": clues.diff,
                    "execution_history": clues.execution_history,
                });
                let written =
                    fs::write_atomically(&template, &pretty(&derive::template(self)), Durability::Process)
                        .and_then(|()| fs::write_atomically(&path, &pretty(&partial), Durability::Process));
                (written, None)
            }
        };
        section.scenario = Some(state);
        if let Err(err) = written {
            self.warn(&format!("the scenario was not written: {err}"));
        }
        scenario
    }

    /// Writes what a learner is handed.
    fn payload(&self, section: &mut Section, captured: &Captured) -> Result<()> {
        let folder = self.folder();
        let there = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        let text = |path: &Path| path.display().to_string();
        let (prompt, diff) = (there("prompt.md"), there("diff.patch"));
        let path = folder.join("queue-payload.json");
        let document = json!({
            "snapshot_id": captured.snapshot.reference,
            "snapshot_commit": captured.snapshot.commit,
            "diff_path": diff.as_deref().map(text),
            "prompt_path": prompt.as_deref().map(text),
            "execution_history_path": text(&self.paths.journal),
            "manifest_path": text(&self.paths.manifest),
        });
        let written = fs::write_atomically(&path, &pretty(&document), Durability::Process);
        section.queue = Some(Queue {
            snapshot_id: captured.snapshot.reference.clone(),
            diff_path: diff.map(|path| self.relative(&path)),
            prompt_path: prompt.map(|path| self.relative(&path)),
            execution_history_path: Some(text(&self.paths.journal)),
            manifest_path: self.relative(&self.paths.manifest),
            enqueued_at: self.ctx.clock.now(),
            payload_path: self.relative(&path),
            status: if written.is_ok() { "queued" } else { "failed" }.to_owned(),
        });
        Ok(written?)
    }

    /// Replays the scenario on the snapshot.
    async fn validate(
        &self,
        section: &mut Section,
        captured: &Captured,
        scenario: &Scenario,
        astray: Option<&str>,
        interrupts: &mut Interrupts,
    ) {
        let log = self.folder().join("scenario-validation.log");
        let archive = match astray {
            Some(reason) => Err(anyhow::anyhow!("{reason}")),
            None => restore::open(&captured.archive, &captured.snapshot.digest),
        };
        let replayed = match archive {
            Err(err) => Err(err),
            Ok(archive) => {
                let wanted = Replay {
                    archive,
                    snapshot: Some(&captured.snapshot),
                    task: &self.manifest.task_id,
                    scenario,
                    limit: self.learning.timeout,
                    environment: &self.learning.environment,
                    log: Some(&log),
                };
                replay(self.ctx, wanted, self.watch, interrupts).await
            }
        };
        section.validation.setup_run = None;
        let (verdict, reason, output) = match replayed {
            Ok(replayed) => {
                section.validation.setup_run = replayed.setup_run;
                (replayed.verdict, replayed.reason, replayed.output)
            }
            // It could not begin, which says nothing about the scenario.
            Err(err) => (Verdict::StalledSnapshot, Some(format!("{err:#}")), String::new()),
        };
        section.validation.status = verdict;
        section.validation.log_path = log.exists().then(|| self.relative(&log));
        section.validation.last_error = match (verdict, output.trim()) {
            (Verdict::Validated, _) => None,
            (_, "") => reason.clone(),
            (_, output) => Some(output.to_owned()),
        };
        if let Some(reason) = &reason {
            self.warn(&format!("the scenario is not validated: {reason}"));
        }
        if verdict == Verdict::StalledSnapshot {
            let message = reason.clone().unwrap_or_default();
            self.alert(section, "stalled_snapshot", &[Channel::Slack], &message);
            let (status, history) = self.ctx.repo.status_and_history();
            for (name, bytes, place) in [
                ("validation-git-status.txt", status, &mut section.validation.git_status_path),
                ("validation-git-log.txt", history, &mut section.validation.git_log_path),
            ] {
                let path = self.folder().join(name);
                if fs::write_atomically(&path, &bytes, Durability::Process).is_ok() {
                    *place = Some(self.ctx.layout.relative(&path));
                }
            }
        }
        section.validation.reason = reason;
    }
}
