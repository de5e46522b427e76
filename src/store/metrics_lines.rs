//! Every line of a task's metrics, read once, in parallel, without holding the file.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::path::Path;

use crate::id::TaskId;
use crate::run::tally::Tally;
use crate::store::layout::Layout;
use crate::store::lines::{self, LONGEST};
use crate::sys::cores;
use crate::sys::fs::{At, PathError};

/// A thread is worth it from so many bytes on.
const WORTH: u64 = 2 * 1024 * 1024;
const BUFFER: usize = 256 * 1024;

/// Counts the lines of `metrics.json`, and those that wait in `metrics.pending`.
pub fn read(layout: &Layout, task: &TaskId) -> Result<Tally, PathError> {
    // Queued lines first: one that is appended meanwhile is then seen twice, and counts once.
    let mut queued = Tally::new(task.as_str());
    for path in super::metrics::queued_files(layout, task) {
        match range(&path, 0, u64::MAX, &mut queued) {
            Err(err) if err.source.kind() == std::io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    let mut tally = in_parallel(&super::metrics::file(layout, task), task)?;
    tally.absorb(queued);
    Ok(tally)
}

fn in_parallel(path: &Path, task: &TaskId) -> Result<Tally, PathError> {
    let meta = match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => meta,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Tally::new(task.as_str())),
        Ok(_) => return Err(std::io::Error::other("no file")).at(path),
        Err(err) => return Err(err).at(path),
    };
    let parts = (meta.len() / WORTH + 1).min(cores::for_files() as u64);
    let part = meta.len().div_ceil(parts).max(1);
    let count = |number: u64| {
        let mut tally = Tally::new(task.as_str());
        let end = if number + 1 == parts { u64::MAX } else { (number + 1) * part };
        range(path, number * part, end, &mut tally)?;
        Ok(tally)
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..parts).map(|number| cores::spawn(scope, move || count(number))).collect();
        let mut tally = count(0)?;
        for other in others {
            tally.absorb(other.join().expect("counting does not panic")?);
        }
        Ok(tally)
    })
}

/// Counts the lines that begin at `begin` or later and before `end`.
fn range(path: &Path, begin: u64, end: u64, tally: &mut Tally) -> Result<(), PathError> {
    let mut file = File::open(path).at(path)?;
    let mut at = begin;
    if begin > 0 {
        // Whether a line begins here depends on the byte before.
        at -= 1;
        file.seek(SeekFrom::Start(at)).at(path)?;
    }
    let mut reader = BufReader::with_capacity(BUFFER, file);
    if begin > 0 {
        at += lines::next(&mut reader, |_, _| {}).at(path)?;
    }
    while at < end {
        let read = lines::next(&mut reader, |line, long| match long {
            false => tally.line(line),
            true => tally.skip(line, format!("the line is longer than {LONGEST} bytes")),
        });
        match read.at(path)? {
            0 => break,
            read => at += read,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::look_back::LookBack;

    #[test]
    fn every_line_is_counted_once_wherever_the_file_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.json");
        let text: String = (0..40)
            .map(|n| {
                format!("{{\"run_id\":\"{n}\",\"status\":\"succeeded\",\"pad\":\"{}\"}}\n", "x".repeat(n))
            })
            .collect();
        std::fs::write(&path, text.trim_end()).unwrap();
        for cut in 0..=text.len() as u64 {
            let (mut first, mut second) = (Tally::new("t"), Tally::new("t"));
            range(&path, 0, cut, &mut first).unwrap();
            range(&path, cut, u64::MAX, &mut second).unwrap();
            if cut == 0 {
                assert_eq!(LookBack::of(&first, None).runs, 0);
            }
            first.absorb(second);
            let report = LookBack::of(&first, None);
            assert_eq!((report.runs, report.superseded, first.unreadable), (40, 0, 0), "{cut}");
        }
    }
}
