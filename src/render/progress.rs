//! The narration of a run on stderr: a live line per stage on a terminal, plain lines elsewhere.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::printer::{narration, span, stderr_columns, style};
use super::status::commit;
use crate::id::RunId;
use crate::ops::host::Watch;
use crate::output::untrusted::{last_line_of, strip_escapes, untrusted};
use crate::run::approval::{DecisionSource, command};
use crate::run::event::Happened;
use crate::run::manifest::Manifest;
use crate::run::shell;
use crate::run::status::StageStatus;
use crate::runner::{Question, Stream, WAITS_FOR_RUN};

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A line that moves, and a line per stage that ended.
    Live,
    /// A line per stage that ended.
    Plain,
}

/// Tells what happens.
pub struct Progress {
    mode: Mode,
    /// The live lines, if any stage of any run has begun.
    live: Option<MultiProgress>,
    running: HashMap<(RunId, usize), Running>,
    /// The stages of which it was said that they wait for the machine.
    told_queued: HashSet<(RunId, usize)>,
    /// Whether somebody sits at our terminal who can be asked.
    can_prompt: bool,
    /// The question that stands on the terminal without an answer yet.
    asked: Option<Asked>,
    /// Whether it was said what was done about a signal: every run that goes on hears of it.
    interrupted: bool,
}

/// A question about a stage.
struct Asked {
    about: (RunId, usize),
    text: String,
}

/// A stage that has begun.
struct Running {
    begun: Instant,
    bar: Option<ProgressBar>,
    last_line_at: Option<Instant>,
}

/// The live line need not move faster than people read.
const PAUSE: Duration = Duration::from_millis(50);

fn draw_target() -> ProgressDrawTarget {
    ProgressDrawTarget::stderr_with_hz(15)
}

impl Progress {
    /// Returns a narration of one command of the program.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            live: None,
            running: HashMap::new(),
            told_queued: HashSet::new(),
            can_prompt: false,
            asked: None,
            interrupted: false,
        }
    }

    /// Makes it a narration for somebody who can be asked, or not.
    pub fn prompting(self, can_prompt: bool) -> Self {
        Self { can_prompt, ..self }
    }

    /// Takes a question about a stage from the terminal. Returns whether it stood there.
    fn answered(&mut self, about: (&RunId, usize)) -> bool {
        if self.asked.as_ref().is_none_or(|asked| (&asked.about.0, asked.about.1) != about) {
            return false;
        }
        self.asked = None;
        // Live lines had made way for it.
        if let Some(live) = &self.live {
            live.set_draw_target(draw_target());
        }
        true
    }

    fn line(&self, write: impl FnOnce(&mut dyn Write)) {
        let write = || {
            // In one piece: others write to stderr too.
            let mut told = Vec::new();
            match &self.asked {
                None => write(&mut told),
                // Below what is told, the question is asked again.
                Some(Asked { text, .. }) => {
                    told.push(b'\n');
                    write(&mut told);
                    told.extend_from_slice(text.as_bytes());
                }
            }
            let mut err = narration();
            let _ = err.write_all(&told).and_then(|()| err.flush());
        };
        match &self.live {
            Some(live) => live.suspend(write),
            None => write(),
        }
    }

    fn begin(&mut self, depth: usize, manifest: &Manifest, index: usize) {
        let Some(entry) = manifest.entry(index) else { return };
        let bar = (self.mode == Mode::Live).then(|| {
            let hidden = self.asked.is_some();
            let live = self.live.get_or_insert_with(|| {
                let target = if hidden { ProgressDrawTarget::hidden() } else { draw_target() };
                MultiProgress::with_draw_target(target)
            });
            let bar = live.add(ProgressBar::no_length());
            let template =
                format!("{}{{spinner}} {{prefix}}  {{elapsed}}  {{wide_msg:.dim}}", "  ".repeat(depth));
            bar.set_style(ProgressStyle::with_template(&template).expect("the template is well-formed"));
            // A name that fills the line would leave no room for what is printed.
            let room = (stderr_columns() / 2).min(40);
            bar.set_prefix(untrusted(&entry.id).with_width(room).to_string());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let running = Running { begun: Instant::now(), bar, last_line_at: None };
        self.running.insert((manifest.run_id.clone(), index), running);
    }

    /// Shows that a stage waits for the machine: a line that moves, or one that says it once.
    fn queued(&mut self, depth: usize, manifest: &Manifest, index: usize) {
        let Some(entry) = manifest.entry(index) else { return };
        let Some(queued) = &entry.queued else { return };
        let about = (manifest.run_id.clone(), index);
        let is_first = !self.told_queued.contains(&about);
        if is_first && self.mode == Mode::Live && !self.running.contains_key(&about) {
            self.begin(depth, manifest, index);
        }
        if let Some(bar) = self.running.get(&about).and_then(|running| running.bar.as_ref()) {
            bar.set_message(untrusted(&queued.to_string()).with_width(200).to_string());
        } else if is_first {
            self.line(|err| {
                let (indent, id) = ("  ".repeat(depth), untrusted(&entry.id));
                let _ = writeln!(err, "{indent}   waits  {id}  {}", untrusted(&queued.to_string()));
            });
        }
        self.told_queued.insert(about);
    }

    fn ended(&mut self, depth: usize, manifest: &Manifest, index: usize) {
        let running = self.running.remove(&(manifest.run_id.clone(), index));
        let took = running.as_ref().map_or(0.0, |running| running.begun.elapsed().as_secs_f64());
        if let Some(bar) = running.and_then(|running| running.bar) {
            bar.finish_and_clear();
        }
        let Some(entry) = manifest.entry(index) else { return };
        let word = match entry.status {
            StageStatus::Succeeded if entry.reused.is_some() => "reused",
            StageStatus::Succeeded => "ok",
            StageStatus::Failed => "FAILED",
            other => other.as_str(),
        };
        self.line(|err| {
            let color = style(word);
            let dim = anstyle::Style::new().dimmed();
            let indent = "  ".repeat(depth);
            let id = untrusted(&entry.id);
            let _ = write!(err, "{indent}{color}{word:>8}{color:#}  {id}  {dim}{}{dim:#}", span(took));
            if let Some(summary) = entry.summary.as_ref().filter(|_| word != "ok") {
                let _ = write!(err, "  {}", untrusted(summary));
            }
            let _ = writeln!(err);
            if entry.status == StageStatus::Failed && entry.kind == "command" {
                let (run, stage) = (shell::word(manifest.run_id.as_str()), shell::word(&entry.id));
                let (run, stage) = (untrusted(&run), untrusted(&stage));
                let _ = writeln!(err, "{indent}          git orchestrate logs {run} {stage}");
            }
        });
    }
}

impl Watch for Progress {
    fn event(&mut self, depth: usize, manifest: &Manifest, event: &Happened, index: usize) {
        match event {
            Happened::Started { .. } | Happened::Resumed { .. } => self.line(|err| {
                let bold = anstyle::Style::new().bold();
                let _ = write!(
                    err,
                    "{}{bold}{}{bold:#} · {}",
                    "  ".repeat(depth),
                    untrusted(&manifest.pipeline_title),
                    untrusted(manifest.run_id.as_str()),
                );
                if let Some(git) = manifest.git.as_ref().filter(|_| depth == 0) {
                    let _ = write!(err, " · {}", commit(git));
                }
                let _ = writeln!(err);
                if depth == 0 {
                    for note in manifest.plan.iter().flat_map(|plan| &plan.notes) {
                        let _ = writeln!(err, "    note  {}", untrusted(note));
                    }
                }
            }),
            Happened::StageStarted { .. } => {
                // The line of its wait makes room.
                if let Some(bar) =
                    self.running.remove(&(manifest.run_id.clone(), index)).and_then(|waited| waited.bar)
                {
                    bar.finish_and_clear();
                }
                self.begin(depth, manifest, index);
            }
            Happened::StageQueued { .. } => self.queued(depth, manifest, index),
            Happened::StageRetried { attempt, pause_ms, end } => {
                let Some(entry) = manifest.entry(index) else { return };
                self.line(|err| {
                    let dim = anstyle::Style::new().dimmed();
                    let (indent, id) = ("  ".repeat(depth), untrusted(&entry.id));
                    let summary = end.summary.as_deref().unwrap_or_default();
                    let pause = span(*pause_ms as f64 / 1000.0);
                    let _ = writeln!(
                        err,
                        "{indent}   retry  {id}  {dim}in {pause}{dim:#}  attempt {attempt}: {}",
                        untrusted(summary)
                    );
                });
            }
            Happened::StageWaiting { run, stage, instructions } => {
                self.line(|err| {
                    let (indent, color) = ("  ".repeat(depth), style("waiting"));
                    let _ = write!(err, "{indent}{color}{:>8}{color:#}  {}", "waits", untrusted(stage));
                    if let Some(instructions) = instructions {
                        let _ = write!(err, "  {}", untrusted(instructions));
                    }
                    let _ = writeln!(err);
                    for verb in ["approve", "reject"] {
                        let _ = writeln!(err, "{indent}          {}", untrusted(&command(verb, run, stage)));
                    }
                });
            }
            Happened::StageDecided { approval } => {
                let Some(ruling) = approval.ruling() else { return };
                let was_asked = self.answered((&manifest.run_id, index));
                let open = was_asked && ruling.source != DecisionSource::Prompt;
                self.line(|err| {
                    if open {
                        let _ = writeln!(err);
                    }
                    let (indent, word) = ("  ".repeat(depth), ruling.decision.as_str());
                    let stage = approval.stage.as_deref().unwrap_or_default();
                    let _ =
                        writeln!(err, "{indent}{word}  {}  by {}", untrusted(stage), untrusted(&ruling.by()));
                });
            }
            Happened::StageHeld { reason } if reason.starts_with(WAITS_FOR_RUN) => {
                let Some(entry) = manifest.entry(index) else { return };
                let (id, reason) = (untrusted(&entry.id), untrusted(reason));
                self.line(|err| {
                    let _ = writeln!(err, "{}   waits  {id}  {reason}", "  ".repeat(depth));
                });
            }
            Happened::StageHeld { .. } if self.answered((&manifest.run_id, index)) => {
                self.line(|err| drop(writeln!(err)));
            }
            Happened::StageFinished(_) | Happened::StageReused { .. } => self.ended(depth, manifest, index),
            Happened::Interrupted { signal } if !self.interrupted => {
                self.interrupted = true;
                let several = self.running.len() > depth + 1;
                self.line(|err| {
                    let (stages, them) = if several { ("stages", "them") } else { ("stage", "it") };
                    let _ =
                        writeln!(err, "{signal}: waiting for the {stages} to end; once more to kill {them}");
                });
            }
            Happened::Finished(end) if depth == 0 => {
                let guarded = end.guardrail_status.as_ref().is_some_and(|status| status.counts.total > 0);
                self.line(|err| {
                    // That nobody asked for a guard and there is none is no news.
                    for note in end.notes.iter().filter(|note| guarded || !note.starts_with("Guardrails: ")) {
                        let _ = writeln!(err, "    note  {}", untrusted(note));
                    }
                });
            }
            _ => {}
        }
    }

    fn printed(&mut self, _depth: usize, manifest: &Manifest, index: usize, _stream: Stream, text: &str) {
        if self.mode == Mode::Plain {
            return;
        }
        let running = self.running.get_mut(&(manifest.run_id.clone(), index));
        let Some(Running { bar: Some(bar), last_line_at, .. }) = running else { return };
        if last_line_at.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        let tail = &text[text.ceil_char_boundary(text.len().saturating_sub(1024))..];
        let line = strip_escapes(last_line_of(tail));
        if !line.trim().is_empty() {
            bar.set_message(untrusted(&line).with_width(200).to_string());
            *last_line_at = Some(Instant::now());
        }
    }

    fn can_prompt(&self) -> bool {
        self.can_prompt
    }

    fn question(&mut self, manifest: &Manifest, index: usize, question: Question) {
        let Some(entry) = manifest.entry(index) else { return };
        // Lines that move would write over what is typed.
        if let Some(live) = &self.live {
            live.set_draw_target(ProgressDrawTarget::hidden());
        }
        let bold = anstyle::Style::new().bold();
        let text = match question {
            Question::Decision => format!("{bold}Approve {}?{bold:#} [y/n] ", untrusted(&entry.title)),
            Question::Reason => "Why (may be left empty): ".to_owned(),
        };
        let mut err = narration();
        let _ = write!(err, "{text}").and_then(|()| err.flush());
        self.asked = Some(Asked { about: (manifest.run_id.clone(), index), text });
    }

    fn warn(&mut self, text: &str) {
        self.line(|err| {
            let color = style("warning");
            let _ = writeln!(err, "{color}warning:{color:#} {}", untrusted(text));
        });
    }
}
