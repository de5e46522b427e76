//! `evidence`: what git notes say of commits, written, read, sent and fetched.

pub mod audit;
mod chain;
pub mod compact;
pub mod display;
mod expected;
pub mod manifests;
mod ours;
pub(in crate::ops) mod parallel;
pub mod policy;
pub mod read;
pub mod rebuild;
pub mod receive;
pub mod remote;
pub mod rerun;
pub mod rewrite;
pub mod sending;
pub mod show;
pub mod signers;
pub mod verdict;
pub mod verify;
pub mod write;

use std::time::Duration;

use super::{Kind, Refusal};
use crate::git::Repo;
use crate::sys::digest::random_fraction;
use crate::sys::fs::{self, Lock};

/// How often somebody else may be faster before we give up.
const TRIES: u32 = 10;

/// Takes one of the locks that all worktrees of a repository share.
fn lock(repo: &Repo, name: &str, patience: Duration) -> anyhow::Result<Lock> {
    let folder = repo.common_dir().join("orchestrate/notes");
    fs::create_dir_all(&folder)?;
    let path = folder.join(name);
    let held =
        || Refusal::new(Kind::Busy, format!("somebody has held the lock `{}` for too long", path.display()));
    Ok(Lock::take(&path, patience)?.ok_or_else(held)?)
}

/// Waits a little before the next try: each time longer, and no two of us as long.
fn pause(attempt: u32) {
    let longest = 20.0 * f64::from(2u32.saturating_pow(attempt.min(6)));
    std::thread::sleep(Duration::from_millis((longest * random_fraction()) as u64 + 1));
}
