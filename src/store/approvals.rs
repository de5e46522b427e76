//! Decisions on their way from whoever decides to whoever works on the run: one file per question, and the
//! first that is there counts.

use std::path::{Path, PathBuf};

use crate::id::TaskId;
use crate::run::approval::{Decision, Ruling};
use crate::run::manifest::Manifest;
use crate::store::catalog;
use crate::store::layout::{Layout, RunPaths, stem};
use crate::sys::fs::{self, PathError};

/// No decision is longer.
const MAX_BYTES: u64 = 64 * 1024;
/// More than plans are deep.
const MAX_DEPTH: usize = 32;

/// Where the decisions about the stages of one run lie: in the folder of the outermost run, so that they are
/// still there when a child run is begun anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desk {
    dir: PathBuf,
    run: String,
    /// What the names of stages begin with.
    prefix: String,
}

/// Where the decision about one stage lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    path: PathBuf,
    /// The outermost run.
    pub run: String,
    /// The stage, with those above it.
    pub stage: String,
}

/// A decision that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RulingError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("`{}` is no decision: {reason}", path.display())]
    Corrupt { path: PathBuf, reason: String },
}

/// What came of leaving a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    First,
    /// Somebody had decided before.
    Before(Ruling),
}

impl Desk {
    /// Returns the desk of a run that is part of no other.
    pub fn of(paths: &RunPaths, run: &str) -> Self {
        Self { dir: paths.approvals(), run: run.to_owned(), prefix: String::new() }
    }

    /// Returns the desk of a run, which may be a part of others.
    pub fn find(layout: &Layout, task: &TaskId, paths: &RunPaths, manifest: &Manifest) -> Self {
        let mut above = Vec::new();
        let (mut run, mut paths) = (manifest.run_id.clone(), paths.clone());
        let mut parent = manifest.parent_run_id.clone();
        while let Some(id) =
            parent.as_deref().and_then(|id| id.parse().ok()).filter(|_| above.len() < MAX_DEPTH)
        {
            let there = layout.run(task, &id);
            let Ok(state) = catalog::read(&there) else { break };
            // Somebody may only have said that it is the parent.
            let is_ours = |child: &&str| *child == run.as_str();
            let mut stages = state.manifest.commands.iter();
            let Some(stage) = stages.find(|stage| stage.sub_run_id.as_deref().filter(is_ours).is_some())
            else {
                break;
            };
            above.push((stage.index, stage.id.clone()));
            (run, paths, parent) = (id, there, state.manifest.parent_run_id);
        }
        let top = Self::of(&paths, run.as_str());
        above.iter().rev().fold(top, |desk, (index, id)| desk.below(*index, id))
    }

    /// Returns the desk of the child run of a stage.
    pub fn below(&self, index: usize, id: &str) -> Self {
        let (dir, prefix) = (self.dir.join(stem(index, id)), format!("{}{id}/", self.prefix));
        Self { dir, prefix, run: self.run.clone() }
    }

    /// Returns where the decision about a stage lies.
    pub fn seat(&self, index: usize, id: &str) -> Seat {
        let path = self.dir.join(format!("{}.json", stem(index, id)));
        Seat { path, run: self.run.clone(), stage: format!("{}{id}", self.prefix) }
    }
}

impl Seat {
    /// Returns the decision, if there is one.
    pub fn read(&self) -> Result<Option<Ruling>, RulingError> {
        let bytes = match fs::read_regular(&self.path, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(err) if err.source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(err.into()),
        };
        let corrupt = |err: serde_json::Error| RulingError::Corrupt {
            path: self.path.clone(),
            reason: err.to_string(),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(corrupt)
    }

    /// Returns a decision that the run has not heard of, as far as its files say.
    pub fn unheard(&self) -> Result<Option<Ruling>, RulingError> {
        match self.taken().exists() {
            true => Ok(None),
            false => self.read(),
        }
    }

    /// Leaves a decision, unless there is one. It is on disk when this returns.
    pub fn leave(&self, ruling: &Ruling) -> Result<Left, RulingError> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all_durably(dir)?;
        let mut json = serde_json::to_vec_pretty(ruling).expect("a decision has string keys");
        json.push(b'\n');
        if fs::create_whole(&self.path, &json)? {
            fs::sync_dir(dir)?;
            return Ok(Left::First);
        }
        match self.read()? {
            Some(before) => Ok(Left::Before(before)),
            None => {
                Err(RulingError::Corrupt { path: self.path.clone(), reason: "it came and went".to_owned() })
            }
        }
    }

    /// Takes note that the run has heard of the decision.
    pub fn take(&self) -> Result<(), PathError> {
        fs::create_whole(&self.taken(), b"").map(drop)
    }

    /// Returns the decision that holds when the stage comes up. A rejection ends one attempt of the run; if
    /// it has done that, somebody is asked anew. `is_known` is whether the run's own journal has it.
    pub fn standing(&self, is_known: impl Fn(&Ruling) -> bool) -> Result<Option<Ruling>, RulingError> {
        let Some(ruling) = self.read()? else { return Ok(None) };
        if ruling.decision == Decision::Rejected && (self.taken().exists() || is_known(&ruling)) {
            fs::remove(&self.taken())?;
            let earlier = (1..).map(|number| self.path.with_extension(format!("rejected-{number}.json")));
            if let Some(free) = earlier.into_iter().find(|path| !path.exists()) {
                fs::rename(&self.path, &free)?;
            }
            return Ok(None);
        }
        Ok(Some(ruling))
    }

    fn taken(&self) -> PathBuf {
        self.path.with_extension("taken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::approval::DecisionSource;
    use crate::run::stamp::Stamp;

    fn ruling(decision: Decision, actor: &str) -> Ruling {
        Ruling {
            decision,
            actor: actor.to_owned(),
            timestamp: "2026-01-01T00:00:00Z".parse().map(Stamp::new).unwrap(),
            reason: None,
            source: DecisionSource::Command,
        }
    }

    #[test]
    fn of_many_decisions_at_once_exactly_one_counts() {
        let dir = tempfile::tempdir().unwrap();
        let desk = Desk::of(&RunPaths::new(dir.path().join("r")), "r").below(2, "sub");
        let seat = desk.seat(1, "ok?");
        assert_eq!((seat.run.as_str(), seat.stage.as_str()), ("r", "sub/ok?"));
        assert_eq!(seat.read().unwrap(), None);
        let left: Vec<_> = std::thread::scope(|scope| {
            let leave = |number: usize| {
                let decision = if number.is_multiple_of(2) { Decision::Approved } else { Decision::Rejected };
                let mine = ruling(decision, &format!("p{number}"));
                seat.leave(&mine).map(|left| (mine, left)).unwrap()
            };
            let threads: Vec<_> = (0..16).map(|number| scope.spawn(move || leave(number))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let first: Vec<_> = left.iter().filter(|(_, left)| *left == Left::First).collect();
        assert_eq!(first.len(), 1, "{left:?}");
        let winner = &first[0].0;
        assert_eq!(seat.read().unwrap().as_ref(), Some(winner));
        for (mine, left) in &left {
            assert!(mine == winner || *left == Left::Before(winner.clone()), "{left:?}");
        }
    }

    #[test]
    fn a_rejection_counts_once_and_an_approval_until_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let desk = Desk::of(&RunPaths::new(dir.path().to_owned()), "r");
        let (no, yes) = (desk.seat(1, "no"), desk.seat(2, "yes"));
        for (seat, decision) in [(&no, Decision::Rejected), (&yes, Decision::Approved)] {
            seat.leave(&ruling(decision, "a")).unwrap();
            assert!(seat.standing(|_| false).unwrap().is_some(), "the run has not heard of it yet");
            assert!(seat.unheard().unwrap().is_some());
            seat.take().unwrap();
            assert_eq!(seat.unheard().unwrap(), None);
        }
        assert_eq!(no.standing(|_| false).unwrap(), None);
        assert_eq!(no.read().unwrap(), None, "somebody else can be asked");
        assert!(yes.standing(|_| true).unwrap().is_some());
        // Before the note came a crash, but not before the journal.
        no.leave(&ruling(Decision::Rejected, "b")).unwrap();
        assert_eq!(no.standing(|_| true).unwrap(), None);
    }
}
