//! How a guardrail that runs in a stage hands its verdict to the run.
//!
//! The run names a folder of its own for each stage. Whoever judges there leaves one file per verdict,
//! and the run takes them when the stage has ended. A stage runs with the rights of the run, so
//! nothing here is a secret; what keeps the run safe is that it takes only whole files of limited size,
//! follows no link, and reads nothing but verdicts.

use std::fs;
use std::path::Path;

use crate::guardrail::Verdict;
use crate::sys::fs::{self as files, Durability, PathError};

/// The variable that names the folder.
pub const FOLDER: &str = "GIT_ORCHESTRATE_VERDICTS";

/// More verdicts than this are not taken from one stage.
const MAX_VERDICTS: usize = 64;
/// A larger file is no verdict of ours.
const MAX_BYTES: u64 = 1 << 20;
/// Files and findings that a verdict in a manifest names.
const MAX_LISTED: usize = 20;

/// Leaves a verdict for the run.
pub fn leave(folder: &Path, verdict: &Verdict) -> Result<(), PathError> {
    files::create_dir_all(folder)?;
    let mut json = serde_json::to_vec(&verdict.clone().shortened(MAX_LISTED))
        .expect("a verdict has string keys and whole numbers");
    json.push(b'\n');
    let name = format!("{}-{}.json", verdict.rule, uuid::Uuid::new_v4());
    files::write_atomically(&folder.join(name), &json, Durability::Process)
}

/// What was found.
#[derive(Debug, Default)]
pub struct Taken {
    pub verdicts: Vec<Verdict>,
    /// What was there and could not be taken.
    pub problems: Vec<String>,
}

/// Takes the verdicts that were left, oldest first, and removes them.
pub fn take(folder: &Path) -> Taken {
    let mut taken = Taken::default();
    // Nearly always: no guardrail ran.
    let Ok(found) = folder.symlink_metadata() else { return taken };
    if !found.is_dir() {
        taken.problems.push(format!("`{}` is no folder", folder.display()));
        return taken;
    }
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut paths: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| (path.symlink_metadata().and_then(|found| found.modified()).ok(), path))
        .collect();
    paths.sort();
    if paths.len() > MAX_VERDICTS {
        taken.problems.push(format!("{} more than {MAX_VERDICTS}", paths.len() - MAX_VERDICTS));
    }
    for (_, path) in paths.into_iter().take(MAX_VERDICTS) {
        match read(&path) {
            Ok(verdict) => taken.verdicts.push(verdict.shortened(MAX_LISTED)),
            Err(why) => taken.problems.push(format!("`{}`: {why}", path.display())),
        }
        let _ = files::remove(&path);
    }
    let _ = fs::remove_dir(folder);
    let _ = folder.parent().map(fs::remove_dir);
    taken
}

fn read(path: &Path) -> Result<Verdict, String> {
    let bytes = files::read_regular(path, MAX_BYTES).map_err(|err| err.source.to_string())?;
    serde_json::from_slice(&bytes).map_err(|err| format!("it is no verdict: {err}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guardrail::Judged;

    #[test]
    fn what_is_left_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("verdicts").join("01-1");
        assert!(take(&folder).verdicts.is_empty());
        let verdict = Verdict::new("diff-budget", Judged::default());
        leave(&folder, &verdict).unwrap();
        leave(&folder, &verdict).unwrap();
        let taken = take(&folder);
        assert_eq!((taken.verdicts.len(), taken.problems.len()), (2, 0));
        assert!(!folder.exists() && !dir.path().join("verdicts").exists());
        assert!(take(&folder).verdicts.is_empty());
    }

    #[test]
    fn only_whole_files_of_a_verdict_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("01-1");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a.json"), "{").unwrap();
        fs::write(dir.path().join("outside"), r#"{"rule":"x"}"#).unwrap();
        std::os::unix::fs::symlink(dir.path().join("outside"), folder.join("b.json")).unwrap();
        fs::write(folder.join("c.json"), vec![b' '; MAX_BYTES as usize + 1]).unwrap();
        let taken = take(&folder);
        assert_eq!((taken.verdicts.len(), taken.problems.len()), (0, 3), "{:?}", taken.problems);
    }
}
