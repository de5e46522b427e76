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
        let mut line = serde_json::to_vec(self).expect("a record has string keys");
        line.push(b'\n');
        file.set_len(0)?;
        file.write_all_at(&line, 0)
    }

    /// Reads what a file that is held says. Nothing if it says nothing that makes sense: its holder is about to
    /// write it, or it is not ours.
    pub fn read(file: &File) -> Option<Self> {
        let mut bytes = vec![0; 16 * 1024];
        let mut length = 0;
        while let Ok(read @ 1..) = file.read_at(&mut bytes[length..], length as u64) {
            length += read;
        }
        let text = std::str::from_utf8(&bytes[..length]).ok()?;
        let (record, rest) = text.split_once('\n')?;
        let leader = rest.strip_suffix('\n').and_then(|pid| pid.parse().ok());
        Some(Self { leader, ..serde_json::from_str(record).ok()? })
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
        assert_eq!(Record::read(&file), Some(Record { leader: Some(41), ..record }));
        file.set_len(20).unwrap();
        assert_eq!(Record::read(&file), None);
    }
}
