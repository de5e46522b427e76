//! What a stage holds of the budget, and what runs that are started in it may use of that.

use std::cell::Cell;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::folder;
use super::look::Holder;
use super::record::Record;
use crate::sys::fs::{At, PathError};

/// The variable that tells what a stage holds to the runs that are started in it.
pub const VARIABLE: &str = "GIT_ORCHESTRATE_BUDGET_HELD";

/// Returns the file of a token.
pub(super) fn token(number: u16) -> String {
    format!("{TOKEN}{number}")
}

/// How the files of all tokens begin that are the budget's own.
pub(super) const TOKEN: &str = "0.token.";

/// Returns the file of a resource.
pub(super) fn resource(name: &str) -> String {
    format!("0.resource.{name}")
}

/// A name of a file: how deep runs are started in stages of others, and which token or resource it is about.
pub(super) fn parts(name: &str) -> Option<(u16, &str)> {
    let (depth, what) = name.split_once('.')?;
    let known = what.starts_with("token.") || what.starts_with("resource.");
    Some((depth.parse().ok()?, what)).filter(|_| known && !what.contains('/'))
}

/// Whether a file is about a token.
fn is_token(name: &str) -> bool {
    parts(name).is_some_and(|(_, what)| what.starts_with("token."))
}

/// Returns the file that says which of the runs in a stage uses what the stage holds.
fn below(name: &str) -> Option<String> {
    let (depth, what) = parts(name)?;
    Some(format!("{}.{what}", depth.checked_add(1)?))
}

/// Part of the budget. It is given back when this is dropped, or when the process dies.
#[derive(Debug)]
pub struct Hold {
    folder: PathBuf,
    record: Record,
    files: Vec<(String, File)>,
    /// What the run may use beside that, since the stage around it holds it.
    around: Vec<String>,
    /// The first process of the stage, once there is one.
    leader: Cell<Option<u32>>,
}

impl Hold {
    pub(super) fn new(
        folder: &Path,
        record: Record,
        files: Vec<(String, File)>,
        above: Option<&Held>,
    ) -> Result<Self, PathError> {
        for (name, file) in &files {
            record.write(file).at(&folder.join(name))?;
        }
        let around = above.map(|above| above.resources_beside(&files)).unwrap_or_default();
        Ok(Self { folder: folder.to_owned(), record, files, around, leader: Cell::new(None) })
    }

    /// Returns what the stage is told about it, as the value of [`VARIABLE`].
    pub fn as_variable(&self) -> String {
        let own = self.files.iter().map(|(name, _)| name.clone());
        let held = Held {
            folder: self.folder.clone(),
            id: self.record.id.clone(),
            files: own.chain(self.around.iter().cloned()).collect(),
            within: self.record.within.clone(),
        };
        serde_json::to_string(&held).expect("what is held has string keys")
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// Says in a file who holds it.
    pub(super) fn write_down(&self, file: &File) -> std::io::Result<()> {
        self.record.write(file)?;
        self.leader.get().map_or(Ok(()), |leader| self.record.add_leader(file, leader))
    }

    /// Returns how many tokens it is worth.
    pub(super) fn tokens(&self) -> usize {
        self.files.iter().filter(|(name, _)| is_token(name)).count()
    }

    /// Says which process the stage has begun with.
    pub fn began(&self, leader: u32) {
        self.leader.set(Some(leader));
        // Only for the looks, and for what the stage uses of its memory.
        for (_, file) in &self.files {
            let _ = self.record.add_leader(file, leader);
        }
    }
}

/// What a stage holds, as runs that are started in it know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub(super) folder: PathBuf,
    pub(super) id: String,
    files: Vec<String>,
    #[serde(default)]
    pub(super) within: Vec<String>,
}

impl Held {
    /// Returns what a stage holds, as others see it.
    pub(super) fn of(folder: &Path, holder: &Holder) -> Self {
        let Holder { record, depth, tokens, resources } = holder;
        // Others may be out with its jobserver.
        let tokens = tokens.iter().take(record.tokens.into()).map(|number| format!("{depth}.token.{number}"));
        let resources = resources.iter().map(|name| format!("{depth}.resource.{name}"));
        Self {
            folder: folder.to_owned(),
            id: record.id.clone(),
            files: tokens.chain(resources).collect(),
            within: record.within.clone(),
        }
    }

    /// Whether somebody still holds it: the stage may have ended, and left us behind.
    pub(super) fn is_live(&self) -> Result<bool, PathError> {
        let Some(first) = self.files.first().filter(|name| parts(name).is_some()) else { return Ok(false) };
        let path = self.folder.join(first);
        let Ok(file) = File::options().read(true).write(true).open(&path) else { return Ok(false) };
        if folder::hold(&file).at(&path)? {
            return Ok(false);
        }
        Ok(Record::read(&file).is_some_and(|record| record.id == self.id))
    }

    /// Returns the files that stand for the tokens of the stage, for one run at a time.
    pub(super) fn lent_tokens(&self) -> Vec<String> {
        self.files.iter().filter(|name| is_token(name)).filter_map(|name| below(name)).collect()
    }

    /// Returns the file that stands for a resource of the stage, if it holds that one.
    pub(super) fn lent(&self, outermost: &str) -> Option<String> {
        let (_, wanted) = parts(outermost)?;
        let same = |name: &&String| parts(name).is_some_and(|(_, what)| what == wanted);
        self.files.iter().find(same).and_then(|name| below(name))
    }

    /// Returns the resources of the stage that are not among these files.
    fn resources_beside(&self, files: &[(String, File)]) -> Vec<String> {
        let taken =
            |what: &str| files.iter().any(|(name, _)| parts(name).is_some_and(|(_, own)| own == what));
        let resources = self.files.iter().filter(|name| {
            parts(name).is_some_and(|(_, what)| what.starts_with("resource.") && !taken(what))
        });
        resources.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_for_what_they_stand_for() {
        assert_eq!(below(&token(3)).as_deref(), Some("1.token.3"));
        assert_eq!(below("1.resource.a.b").as_deref(), Some("2.resource.a.b"));
        for odd in ["", "token.3", "x.token.3", "0.other", "0.token.../../etc", "65535.token.1"] {
            assert_eq!(below(odd), None, "{odd}");
        }
    }
}
