//! Where answers go: stdout, whole, and without a fuss when nobody listens.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::ops::Place;
use crate::output::json::harmless;
use crate::output::untrusted::untrusted;

/// How an answer is to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    /// Exactly one JSON document.
    Json,
}

/// An answer: text for people, a document for programs.
pub trait Answer {
    /// The document.
    type Document: Serialize;
    /// Returns the document.
    fn document(&self) -> Self::Document;
    /// Writes the text. Colours may be used: they are left out where they do not belong.
    fn text(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// Prints an answer on stdout. A reader that went away is no error.
pub fn answer(answer: &impl Answer, format: Format) -> io::Result<()> {
    // Stdout would be written to line by line.
    let mut out = io::BufWriter::with_capacity(32 << 10, anstream::AutoStream::auto(io::stdout()).lock());
    let written = match format {
        Format::Text => answer.text(&mut out),
        Format::Json => {
            let json = serde_json::to_string_pretty(&answer.document()).expect("answers have string keys");
            writeln!(out, "{}", shown(&json))
        }
    };
    tolerate_closed(written.and_then(|()| out.flush()))
}

/// Returns JSON as it is to be printed on stdout: as it is, unless somebody looks.
pub fn shown(json: &str) -> Cow<'_, str> {
    match stdout_is_terminal() {
        true => harmless(json),
        false => Cow::Borrowed(json),
    }
}

/// Prints an answer as text on stderr: the stdout of a hook belongs to git.
pub fn narrate(answer: &impl Answer) -> io::Result<()> {
    let mut err = narration();
    let written = answer.text(&mut err);
    tolerate_closed(written.and_then(|()| err.flush()))
}

/// Where the narration is written, in one piece when it is flushed: stderr itself holds nothing back, and would write
/// text that is shown letter by letter just so.
pub fn narration() -> impl Write {
    io::BufWriter::new(anstream::AutoStream::auto(io::stderr()).lock())
}

/// Prints a document in a format of its own on stdout.
pub fn document(text: impl AsRef<[u8]>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_ref());
    tolerate_closed(written.and_then(|()| out.flush()))
}

/// Whether charts may be drawn: somebody looks, and did not ask for plain text.
pub fn charts() -> bool {
    let plain = matches!(anstream::AutoStream::choice(&io::stdout()), anstream::ColorChoice::Never);
    stdout_is_terminal() && !plain
}

/// Turns the error of a reader that went away into nothing.
pub fn tolerate_closed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(err) => Err(io::Error::new(err.kind(), format!("cannot write to stdout: {err}"))),
        Ok(()) => Ok(()),
    }
}

/// Whether stdout is a terminal.
pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// How wide the terminal of the narration is.
pub fn stderr_columns() -> usize {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => 80,
    }
}

/// The style of a word that tells how something ended or stands.
pub fn style(word: &str) -> Style {
    let style = Style::new();
    let color = |color: AnsiColor| style.fg_color(Some(color.into()));
    match word {
        "ok" | "reused" | "proven" | "succeeded" => color(AnsiColor::Green),
        "FAILED" | "failed" | "void" | "dead" => color(AnsiColor::Red).bold(),
        "skipped" | "cancelled" | "stale" | "waiting" | "partial" | "warning" => color(AnsiColor::Yellow),
        "running" | "in_progress" => color(AnsiColor::Cyan),
        _ => style.dimmed(),
    }
}

/// Columns that line up, below a bold head.
pub struct Table(pub tabwriter::TabWriter<Vec<u8>>);

impl Table {
    /// Returns a table with these titles, separated by tabs.
    pub fn new(titles: &str) -> io::Result<Self> {
        let mut table = tabwriter::TabWriter::new(Vec::new()).padding(2).ansi(true);
        let head = Style::new().bold();
        writeln!(table, "{head}{titles}{head:#}")?;
        Ok(Self(table))
    }

    /// Writes it.
    pub fn print(self, out: &mut dyn Write) -> io::Result<()> {
        let table = self.0.into_inner().map_err(|err| io::Error::other(err.to_string()))?;
        out.write_all(&table)
    }
}

/// Says which worktree an answer is about, if somebody may wonder.
pub fn about(out: &mut dyn Write, place: &Place) -> io::Result<()> {
    if !place.others {
        return Ok(());
    }
    let root = place.root.display().to_string();
    writeln!(out, "Worktree: {}; others have runs of their own", untrusted(&root))
}

/// A duration as people say it: `0.3 s`, `12 s`, `3 min 5 s`, `2 h 10 min`.
pub fn span(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}
