//! Manifests that go along with notes: found on disk, packed, and read back as they were.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

use super::read;
use crate::git::{Ref, Repo};
use crate::id::{RunId, TaskId};
use crate::proof::Record;
use crate::run::manifest::Manifest;
use crate::store::layout::Layout;
use crate::sys::digest::sha256_hex;
use crate::sys::{fs, gzip};

/// The folder of a tree of notes that has them.
pub const FOLDER: &str = "manifests";

/// The largest manifest that goes along, in bytes.
pub const LARGEST: u64 = 16 << 20;

/// The manifests of runs, where they are on disk.
#[derive(Clone, Debug)]
pub struct OnDisk {
    pub layouts: Vec<Layout>,
}

impl OnDisk {
    /// Returns the manifest of a run as it is on disk, or says why it cannot go along.
    pub fn find(&self, record: &Record) -> std::result::Result<Vec<u8>, String> {
        let gone = || "it is not on disk any more".to_owned();
        let task: TaskId = record.task_id.parse().map_err(|_| gone())?;
        let run: RunId = record.run_id.parse().map_err(|_| gone())?;
        let paths = self.layouts.iter().map(|layout| layout.run(&task, &run).manifest);
        let path = { paths }.find(|path| path.exists()).ok_or_else(gone)?;
        let bytes =
            fs::read_regular(&path, LARGEST).map_err(|err| format!("{:#}", anyhow::Error::from(err)))?;
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|err| err.to_string())?;
        let is_it = manifest.proof.is_some_and(|proof| proof.nonce == record.nonce)
            && manifest.completed_at == Some(record.completed_at);
        if !is_it {
            return Err("the run has gone on since".to_owned());
        }
        Ok(bytes)
    }
}

/// Returns what a record names its manifest by.
pub fn digest(manifest: &[u8]) -> String {
    format!("sha256:{}", sha256_hex(manifest))
}

/// Returns where the manifest of a run lies in a tree of notes: runs of a day stand together, so that no folder
/// becomes large.
pub fn path(run: &str) -> Option<String> {
    let run: RunId = run.parse().ok()?;
    let is_day = |day: &&str| day.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let day = run.as_str().get(..10).filter(is_day).unwrap_or("other");
    Some(format!("{FOLDER}/{day}/{run}.json.gz"))
}

/// Returns the manifests that one side of a ref has and the other has not: their paths and blobs.
pub fn missing(repo: &Repo, ours: &str, theirs: &str) -> Result<Vec<(String, String)>> {
    let known: BTreeSet<_> = repo.files_of_notes(ours, FOLDER)?.into_iter().map(|(path, _)| path).collect();
    let mut files = repo.files_of_notes(theirs, FOLDER)?;
    files.retain(|(path, _)| !known.contains(path));
    Ok(files)
}

/// What came of a manifest that a record names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Along {
    /// It came along, and is the very one that the record names.
    Whole(Vec<u8>),
    /// It is not here.
    Absent,
    /// What is in its place is not it.
    Other(String),
}

/// Reads the manifest of a run of a writer, of which the record says the digest.
pub fn read(repo: &Repo, refs: &[Ref], writer: &str, run: &str, named: &str) -> Result<Along> {
    let Some(path) = path(run) else { return Ok(Along::Absent) };
    let mut found = Along::Absent;
    for of in refs.iter().filter(|of| read::writer_of(of) == writer) {
        let packed = repo.file_of_notes(&of.tip, &path, LARGEST as usize);
        let whole = match packed.with_context(|| format!("cannot read `{path}` of `{}`", of.name))? {
            Some(packed) => gzip::unpacked(&packed, LARGEST),
            None => continue,
        };
        found = match whole {
            Ok(whole) if digest(&whole) == named => return Ok(Along::Whole(whole)),
            Ok(_) => {
                Along::Other(format!("the manifest of run `{run}` is not the one that its record names"))
            }
            Err(err) => Along::Other(format!("the manifest of run `{run}` cannot be unpacked: {err}")),
        };
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_lies_in_the_folder_of_its_day() {
        let run = "2026-11-21T18-18-41-735Z-d2a51737";
        assert_eq!(path(run).unwrap(), format!("manifests/2026-11-21/{run}.json.gz"));
        assert_eq!(path("mine").unwrap(), "manifests/other/mine.json.gz");
        assert_eq!(path("ä-twelve-bytes").unwrap(), "manifests/other/ä-twelve-bytes.json.gz");
        assert_eq!(path("../../x"), None);
    }

    #[test]
    fn what_is_gigantic_or_of_another_run_does_not_go_along() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let layout = Layout { root: at(""), runs: at(".runs"), out: at("out") };
        let time = "2026-01-01T00:00:00.000Z";
        let record: Record = serde_json::from_value(serde_json::json!({
            "version": 1, "run_id": "r", "task_id": "t", "pipeline": "p", "pipeline_digest": "sha256:0",
            "status": "succeeded", "commit": null, "tree": "aaaa", "dirty": true, "object_format": "sha1",
            "worktree": {"path": ".", "name": null, "linked": false}, "manifest": "m", "started_at": time,
            "completed_at": time, "tool": "t", "fingerprint": {"os": "linux", "arch": "x86_64"}, "stages": [],
            "nonce": "n",
        }))
        .unwrap();
        let on_disk = OnDisk { layouts: vec![layout.clone()] };
        assert_eq!(on_disk.find(&record).unwrap_err(), "it is not on disk any more");
        let path = layout.run(&"t".parse().unwrap(), &"r".parse().unwrap()).manifest;
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, vec![b' '; LARGEST as usize + 1]).unwrap();
        let why = on_disk.find(&record).unwrap_err();
        assert!(why.contains("is larger than 16777216 bytes"), "{why}");
        std::fs::write(&path, "{}").unwrap();
        assert!(on_disk.find(&record).is_err());
        let outside = Record { task_id: "../t".to_owned(), ..record };
        assert_eq!(on_disk.find(&outside).unwrap_err(), "it is not on disk any more");
    }
}
