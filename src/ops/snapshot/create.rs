//! A snapshot that somebody asked for.

use anyhow::{Context as _, Result};

use super::capture::{Captured, Subject, capture};
use crate::id::{RunId, TaskId};
use crate::ops::{Context, learning};
use crate::pipeline::learning::Compression;
use crate::sys::digest::random_hex;

/// Takes a snapshot with an id of its own, which has the shape of that of a run. It is packed
/// as is said here, else in the configuration.
pub fn create(ctx: &Context, task: &TaskId, compression: Option<Compression>) -> Result<Captured> {
    ctx.layout.check(task)?;
    let id = format!("{}-{}", ctx.clock.now().as_run_prefix(), random_hex::<4>().context("no randomness")?);
    let id: RunId = id.parse().expect("a stamp and hex digits are a run id");
    let mut learning = learning::settings(ctx)?;
    learning.compression = compression.unwrap_or(learning.compression);
    capture(ctx, &Subject { id: &id, task, learning: &learning })
}
