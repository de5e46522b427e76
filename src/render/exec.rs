//! The look of `exec`: a line per event, one document, or what a person wants to see.

use std::io::{self, IsTerminal, Write};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::printer::{document, narration, shown, style, tolerate_closed};
use crate::ops::exec::Follow;
use crate::output::untrusted::untrusted;
use crate::run::exec::{ExecSummary, Line, SummaryLine};
use crate::runner::Stream;

/// How the answer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What the command prints, as it prints it, and where its evidence is.
    Interactive,
    /// What the command prints, and nothing else.
    Plain,
    /// One JSON object per line: each event, then the summary.
    JsonLines,
    /// The summary as one JSON document.
    Json { pretty: bool },
}

impl Mode {
    /// Returns the mode for whoever is there, where nobody asked for one.
    pub fn of_terminal() -> Self {
        match io::stdout().is_terminal() && io::stderr().is_terminal() {
            true => Self::Interactive,
            false => Self::JsonLines,
        }
    }
}

/// The document: the line `run:summary`.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Document(Line<ExecSummary>);

/// Shows a command as it goes on.
pub struct Show(pub Mode);

impl Follow for Show {
    fn begins(&mut self, shell: &str) {
        if self.0 == Mode::Interactive {
            let mut out = anstream::AutoStream::auto(io::stdout()).lock();
            let bold = anstyle::Style::new().bold();
            // A reader that went away does not stop the command.
            let _ =
                writeln!(out, "{bold}$ {}{bold:#}", untrusted(shell).with_lines()).and_then(|()| out.flush());
        }
    }

    fn wants_lines(&self) -> bool {
        self.0 == Mode::JsonLines
    }

    fn line(&mut self, line: &Line<Value>) {
        let _ = json_line(line);
    }

    fn printed(&mut self, stream: Stream, text: &str) {
        fn show(out: &mut impl Write, text: &str) {
            let _ = write!(out, "{}", untrusted(text).with_lines().with_color()).and_then(|()| out.flush());
        }
        match (self.0, stream) {
            (Mode::Interactive | Mode::Plain, Stream::Stdout) => {
                show(&mut anstream::AutoStream::auto(io::stdout()).lock(), text)
            }
            (Mode::Interactive | Mode::Plain, Stream::Stderr) => show(&mut narration(), text),
            _ => {}
        }
    }

    fn warn(&mut self, text: &str) {
        let mut err = narration();
        let color = style("warning");
        let _ = writeln!(err, "{color}warning:{color:#} {}", untrusted(text)).and_then(|()| err.flush());
    }
}

fn json_line(line: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_string(line).expect("answers have string keys");
    document(format!("{}\n", shown(&json)))
}

/// Prints what is left to say when the command has ended.
pub fn ended(mode: Mode, summary: &SummaryLine) -> io::Result<()> {
    match mode {
        Mode::Plain => Ok(()),
        Mode::JsonLines | Mode::Json { pretty: false } => json_line(summary),
        Mode::Json { pretty: true } => {
            let json = serde_json::to_string_pretty(summary).expect("answers have string keys");
            document(format!("{}\n", shown(&json)))
        }
        Mode::Interactive => {
            let ExecSummary { status, run, logs, .. } = &summary.payload;
            let mut out = anstream::AutoStream::auto(io::stdout()).lock();
            let color = style(status.as_str());
            let void = if run.void { " (void: the tree moved while it ran)" } else { "" };
            let word = status.as_str().to_uppercase();
            let written = writeln!(out, "\n{} {color}{word}{color:#}{void}", untrusted(&run.id))
                .and_then(|()| writeln!(out, "Manifest: {}", untrusted(&run.manifest)))
                .and_then(|()| writeln!(out, "Log: {}", untrusted(&logs.runner)));
            tolerate_closed(written)
        }
    }
}
