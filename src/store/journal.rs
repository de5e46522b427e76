//! Reading `runner.ndjson` back: the events of a run, whatever a crash did to the last line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::run::event::{Replay, is_end, is_journal_line};
use crate::run::manifest::{Manifest, OutOfOrder};
use crate::sys::fs::{At, PathError};

/// A journal that cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("`{path}`, byte {at}: {source}")]
    OutOfOrder { path: String, at: u64, source: OutOfOrder },
}

/// Lines of events are small; a line of output is skipped without being kept.
const KEEP: usize = 64 * 1024 * 1024;

/// Calls `tell` with each line of `path` between two byte offsets that is an event, and with the
/// offset after it. A crash may have torn the last line: it is told like any other, for an event
/// that lacks nothing but its newline did happen, and half of one is no event.
pub fn events(
    path: &Path,
    from: u64,
    to: Option<u64>,
    mut tell: impl FnMut(&[u8], u64) -> Result<(), OutOfOrder>,
) -> Result<u64, JournalError> {
    let mut file = File::open(path).at(path)?;
    file.seek(SeekFrom::Start(from)).at(path)?;
    let mut reader =
        BufReader::with_capacity(128 * 1024, file.take(to.map_or(u64::MAX, |to| to.saturating_sub(from))));
    let out_of_order =
        |at| move |source| JournalError::OutOfOrder { path: path.display().to_string(), at, source };
    let mut line = Vec::new();
    let mut at = from;
    let mut skipping = false;
    loop {
        let buffer = reader.fill_buf().at(path)?;
        if buffer.is_empty() {
            if !line.is_empty() {
                tell(&line, at).map_err(out_of_order(at))?;
            }
            return Ok(at);
        }
        let (used, ended) = match memchr::memchr(b'\n', buffer) {
            Some(newline) => (newline + 1, true),
            None => (buffer.len(), false),
        };
        if !skipping {
            let wanted = line.len() >= 16 || is_event_or_short(&line, &buffer[..used]);
            if wanted && line.len() + used <= KEEP {
                line.extend_from_slice(&buffer[..used]);
            } else {
                skipping = true;
                line.clear();
            }
        }
        reader.consume(used);
        at += used as u64;
        if ended {
            if !skipping {
                let text = line.strip_suffix(b"\n").unwrap_or(&line);
                tell(text, at).map_err(out_of_order(at))?;
            }
            line.clear();
            skipping = false;
        }
    }
}

fn is_event_or_short(begun: &[u8], more: &[u8]) -> bool {
    let mut head = [0; 16];
    let mut len = 0;
    for byte in begun.iter().chain(more).take(16) {
        head[len] = *byte;
        len += 1;
    }
    len < 16 || is_journal_line(&head[..len])
}

/// Rebuilds the manifest from the journal alone, up to `to` bytes of it.
pub fn rebuild(path: &Path, to: Option<u64>) -> Result<Option<Manifest>, JournalError> {
    let mut replay = Replay::from_nothing();
    events(path, 0, to, |line, _| replay.line(line))?;
    Ok(replay.manifest())
}

/// Returns what the manifest was each time that the run was over: a run that was resumed ends more than once.
pub fn ends(path: &Path) -> Result<Vec<Manifest>, JournalError> {
    let (mut replay, mut ends) = (Replay::from_nothing(), Vec::new());
    events(path, 0, None, |line, _| {
        replay.line(line)?;
        ends.extend(replay.current().filter(|_| is_end(line)).cloned());
        Ok(())
    })?;
    Ok(ends)
}

/// Brings a manifest up to date with the events that it does not hold yet. Returns it with how far
/// it has got.
pub fn catch_up(path: &Path, manifest: Manifest) -> Result<(Manifest, u64), JournalError> {
    let from = manifest.journal.as_ref().map_or(0, |mark| mark.bytes);
    let mut replay = Replay::onto(manifest);
    let to = events(path, from, None, |line, _| replay.line(line))?;
    Ok((replay.manifest().expect("a replay onto a manifest has one"), to))
}
