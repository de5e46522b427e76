//! What a token says about its holder, and a place in the queue about who waits there.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

use crate::run::stamp::Stamp;

/// Who takes part of the budget, and for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What tells it from all others.
    pub id: String,
    pub run: String,
    /// The root of the worktree that the stage runs in.
    pub repository: String,
    pub stage: String,
    /// The process that works on the run, and when it began.
    pub pid: u32,
    pub since: Stamp,
    /// How many tokens.
    pub tokens: u16,
    /// How many tokens it sees.
    pub sees: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// How many bytes of memory it may need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// The ids of those in whose stages the run was started, the outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<String>,
    /// The first process of the stage, once there is one.
    #[serde(skip)]
    pub leader: Option<u32>,
}

impl Record {
    /// Writes it into a file that is held.
    pub fn write(&self, file: &File) -> io::Result<()> {
        let mut lines = serde_json::to_vec(self).expect("a record has string keys");
        // The second line is that of the stage's first process. Whatever follows is of others before us.
        lines.extend(b"\n\n");
        file.write_all_at(&lines, 0)
    }

    /// Reads what a file that is held says. Nothing if it says nothing that makes sense: its holder is about to
    /// write it, or it is not ours.
    pub fn read(file: &File) -> Option<Self> {
        let mut bytes = vec![0; 16 * 1024];
        let mut length = 0;
        while let Ok(read @ 1..) = file.read_at(&mut bytes[length..], length as u64) {
            length += read;
        }
        let mut lines = bytes[..length].split(|byte| *byte == b'\n');
        let (record, leader) = (lines.next()?, lines.next()?);
        let leader = std::str::from_utf8(leader).ok().and_then(|pid| pid.parse().ok());
        Some(Self { leader, ..serde_json::from_slice(record).ok()? })
    }

    /// Whether both are of one run and its child runs, or of runs in one and the same stage.
    pub fn is_kin(&self, other: &Self) -> bool {
        match (self.within.first(), other.within.first()) {
            (Some(around), Some(their)) if around == their => true,
            (Some(around), _) if *around == other.id => true,
            (_, Some(their)) if *their == self.id => true,
            _ => self.pid == other.pid && self.repository == other.repository,
        }
    }

    /// Adds the first process of the stage.
    pub fn add_leader(&self, file: &File, leader: u32) -> io::Result<()> {
        let length = serde_json::to_vec(self).expect("a record has string keys").len() + 1;
        file.write_all_at(format!("{leader}\n").as_bytes(), length as u64)
    }
}

#[cfg(test)]
pub(super) fn sample(id: &str) -> Record {
    Record {
        id: id.to_owned(),
        run: "r".to_owned(),
        repository: "/repo".to_owned(),
        stage: "test".to_owned(),
        pid: std::process::id(),
        since: "2026-01-01T00:00:00Z".parse().map(Stamp::new).unwrap(),
        tokens: 1,
        sees: 2,
        resources: Vec::new(),
        memory: None,
        within: Vec::new(),
        leader: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_half_of_it_is_nothing() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(Record::read(&file), None);
        let record = Record { resources: vec!["db".into()], memory: Some(7), ..sample("a") };
        Record { stage: "a much longer name than the next".into(), ..record.clone() }.write(&file).unwrap();
        record.write(&file).unwrap();
        assert_eq!(Record::read(&file), Some(record.clone()));
        record.add_leader(&file, 41).unwrap();
        assert_eq!(Record::read(&file), Some(Record { leader: Some(41), ..record.clone() }));
        record.write(&file).unwrap();
        assert_eq!(Record::read(&file), Some(record), "that process was of the holder before");
        file.set_len(20).unwrap();
        assert_eq!(Record::read(&file), None);
    }

    #[test]
    fn kin_are_those_of_one_process_and_those_in_one_stage() {
        let within = |id: &str, around: &[&str]| Record {
            within: around.iter().map(|id| (*id).to_owned()).collect(),
            pid: 0,
            repository: id.to_owned(),
            ..sample(id)
        };
        let (stage, in_it, beside) = (within("a", &[]), within("b", &["a"]), within("c", &["a", "b"]));
        for (one, other) in [(&stage, &in_it), (&in_it, &beside), (&beside, &stage)] {
            assert!(one.is_kin(other) && other.is_kin(one), "{} {}", one.id, other.id);
        }
        let (stranger, in_stranger) = (within("d", &[]), within("e", &["d"]));
        for (one, other) in [(&stage, &stranger), (&in_it, &stranger), (&in_it, &in_stranger)] {
            assert!(!one.is_kin(other) && !other.is_kin(one), "{} {}", one.id, other.id);
        }
        assert!(sample("f").is_kin(&sample("g")), "one process, one worktree");
    }
}
