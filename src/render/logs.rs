//! The look of logs: on a terminal harmless, elsewhere as it was printed; lines stay whole where
//! several stages print at the same time.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use base64::Engine;
use memchr::memrchr;

use crate::ops::logs::{Line, Printed, Said, Stages};
use crate::output::untrusted::untrusted;

/// A line that goes on for longer is shown in pieces of about this many bytes.
const LONGEST: usize = 64 * 1024;

/// The text of a log.
#[derive(Debug)]
pub struct Text {
    terminal: bool,
    /// Whether the last thing written was no whole line.
    open: bool,
    /// The commands that run, by log and stage.
    running: BTreeSet<(usize, usize)>,
    /// Whether several ran at the same time.
    mixed: bool,
    /// Lines that are not finished, of each log, stage and stream.
    rest: BTreeMap<(usize, usize, String), Rest>,
}

/// The beginning of a line, and who prints it.
#[derive(Debug, Default)]
struct Rest {
    name: String,
    line: Vec<u8>,
}

impl Text {
    /// Returns a text of which nothing is written yet.
    pub fn new(terminal: bool) -> Self {
        Self { terminal, open: false, running: BTreeSet::new(), mixed: false, rest: BTreeMap::new() }
    }

    /// Writes what a line of the log says.
    pub fn line(&mut self, out: &mut dyn Write, line: Line<'_>) -> io::Result<()> {
        match line.said {
            None => Ok(()),
            Some(Said::Began { index, attempt }) => {
                self.running.insert((line.log, index));
                // A run that was serial may have gone on with `--jobs`.
                self.mixed |= line.mixed || self.running.len() > 1;
                // That something was tried once only is no news.
                match attempt > 1 || line.stages.retried(index) {
                    true => self.heading(out, attempt, &line.stages.name(index)),
                    false => Ok(()),
                }
            }
            Some(Said::Printed(printed)) => match self.mixed || line.mixed {
                true => self.hold(out, line.log, line.stages, &printed),
                false => self.piece(out, &printed),
            },
            Some(Said::Ended { index }) => {
                self.running.remove(&(line.log, index));
                let ended = (line.log, index, String::new())..(line.log, index + 1, String::new());
                self.rest
                    .extract_if(ended, |_, _| true)
                    .try_for_each(|(_, rest)| rest.end(out, self.terminal))
            }
        }
    }

    /// Writes what was printed by commands whose end nobody wrote down.
    pub fn end(self, out: &mut dyn Write) -> io::Result<()> {
        self.rest.into_values().try_for_each(|rest| rest.end(out, self.terminal))
    }

    fn heading(&mut self, out: &mut dyn Write, attempt: u32, name: &str) -> io::Result<()> {
        self.close(out)?;
        writeln!(out, "── {}, attempt {attempt}", untrusted(name))
    }

    /// Ends a line that the only stage left open.
    fn close(&mut self, out: &mut dyn Write) -> io::Result<()> {
        match std::mem::take(&mut self.open) {
            true => writeln!(out),
            false => Ok(()),
        }
    }

    /// Writes the lines that are finished now, and keeps what may still become one.
    fn hold(
        &mut self,
        out: &mut dyn Write,
        log: usize,
        stages: &Stages,
        printed: &Printed,
    ) -> io::Result<()> {
        self.close(out)?;
        let rest = self.rest.entry((log, printed.index, printed.stream.clone())).or_default();
        if rest.name.is_empty() {
            rest.name = untrusted(&stages.name(printed.index)).to_string();
        }
        rest.line.extend_from_slice(&bytes(printed, self.terminal));
        let whole = match memrchr(b'\n', &rest.line) {
            Some(end) => end + 1,
            None if rest.line.len() > LONGEST => rest.line.len(),
            None => 0,
        };
        rest.lines(out, whole, self.terminal)
    }

    /// Writes output of the only stage that prints.
    fn piece(&mut self, out: &mut dyn Write, printed: &Printed) -> io::Result<()> {
        let bytes = bytes(printed, self.terminal);
        if !bytes.is_empty() {
            self.open = !bytes.ends_with(b"\n");
        }
        write(out, &bytes, self.terminal)
    }
}

impl Rest {
    /// Writes so many bytes as lines, each after the name of its stage, and keeps the others.
    fn lines(&mut self, out: &mut dyn Write, whole: usize, terminal: bool) -> io::Result<()> {
        for line in self.line[..whole].split_inclusive(|byte| *byte == b'\n') {
            write!(out, "{} | ", self.name)?;
            write(out, line, terminal)?;
            if !line.ends_with(b"\n") {
                writeln!(out)?;
            }
        }
        self.line.drain(..whole);
        Ok(())
    }

    fn end(mut self, out: &mut dyn Write, terminal: bool) -> io::Result<()> {
        self.lines(out, self.line.len(), terminal)
    }
}

/// Returns what was printed: as it came, or as text for a terminal.
fn bytes(printed: &Printed, terminal: bool) -> Cow<'_, [u8]> {
    let raw = printed.data_base64.as_ref().filter(|_| !terminal);
    match raw.and_then(|raw| base64::engine::general_purpose::STANDARD.decode(raw).ok()) {
        Some(raw) => Cow::Owned(raw),
        None => Cow::Borrowed(printed.data.as_bytes()),
    }
}

fn write(out: &mut dyn Write, bytes: &[u8], terminal: bool) -> io::Result<()> {
    match terminal {
        true => write!(out, "{}", untrusted(&String::from_utf8_lossy(bytes)).with_lines().with_color()),
        false => out.write_all(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows what the stages `a` and `b` of one log say.
    fn shown(mixed: bool, said: Vec<Said>) -> String {
        let stages = Stages::of(&["a", "b"]);
        let (mut text, mut out) = (Text::new(false), Vec::new());
        for said in said {
            let line = Line { raw: b"", said: Some(said), log: 0, stages: &stages, mixed };
            text.line(&mut out, line).unwrap();
        }
        text.end(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn began(index: usize) -> Said {
        Said::Began { index, attempt: 1 }
    }

    fn printed(index: usize, stream: &str, data: &str) -> Said {
        Said::Printed(Printed { index, stream: stream.into(), data: data.into(), data_base64: None })
    }

    #[test]
    fn a_line_is_held_until_it_is_whole_or_its_command_ends() {
        let said = vec![
            began(1),
            printed(1, "stdout", "one "),
            began(2),
            printed(2, "stdout", "two"),
            printed(1, "stderr", "careful\n"),
            printed(1, "stdout", "more\nand "),
            Said::Ended { index: 2 },
            printed(1, "stdout", "more\nnever ended"),
        ];
        assert_eq!(shown(true, said), "a | careful\na | one more\nb | two\na | and more\na | never ended\n");
    }

    #[test]
    fn a_line_without_an_end_is_not_held_for_ever() {
        let long = "x".repeat(LONGEST + 1);
        let said = vec![began(1), printed(1, "stdout", &long), printed(2, "stdout", "b\n")];
        assert_eq!(shown(true, said), format!("a | {long}\nb | b\n"));
    }

    #[test]
    fn stages_are_named_as_soon_as_several_run() {
        let said = vec![
            began(1),
            printed(1, "stdout", "alone\nopen"),
            began(2),
            printed(2, "stdout", "both\n"),
            printed(1, "stdout", "\n"),
        ];
        assert_eq!(shown(false, said), "alone\nopen\nb | both\na | \n");
        let said = vec![
            began(1),
            printed(1, "stdout", "one"),
            Said::Ended { index: 1 },
            began(2),
            printed(2, "stdout", " two"),
        ];
        assert_eq!(shown(false, said), "one two");
    }
}
