//! The answer of `budget`.

use std::io::{self, Write};
use std::num::NonZeroU16;

use schemars::JsonSchema;
use serde::Serialize;

use super::printer::{Answer, Table, span};
use crate::ops::budget::Standing;
use crate::output::untrusted::untrusted;
use crate::pipeline::endurance::shown_bytes;
use crate::run::stamp::Stamp;
use crate::sys::budget::Record;

/// The document.
#[derive(Serialize, JsonSchema)]
pub struct Document {
    /// Where the tokens lie.
    folder: String,
    /// Whether runs that are started here ignore the budget.
    ignored: bool,
    /// How many tokens there are for a run that is started here without `--jobs`.
    tokens: NonZeroU16,
    /// How many of all tokens are held.
    held: usize,
    holders: Vec<Holder>,
    /// Who waits, in their order.
    waiting: Vec<Waiting>,
    pressure: Pressure,
    memory: Option<Memory>,
}

#[derive(Serialize, JsonSchema)]
struct Holder {
    run: String,
    /// The root of the worktree that it runs in.
    repository: String,
    stage: String,
    /// The process that works on the run.
    pid: u32,
    /// The first process of the stage.
    stage_pid: Option<u32>,
    since: Stamp,
    seconds: f64,
    /// The numbers of its tokens.
    tokens: Vec<u16>,
    resources: Vec<String>,
    /// How many bytes of memory it may use.
    memory: Option<u64>,
    /// 0 for what is the budget's own, 1 for what a stage lends to a run that was started in it, and so on.
    depth: u16,
}

#[derive(Serialize, JsonSchema)]
struct Waiting {
    run: String,
    /// The root of the worktree that it is to run in.
    repository: String,
    stage: String,
    /// The process that works on the run.
    pid: u32,
    since: Stamp,
    seconds: f64,
    /// How many tokens it waits for.
    tokens: u16,
    resources: Vec<String>,
    /// How many came before.
    ahead: usize,
}

/// In how many percent of the last ten seconds something waited; null where the kernel does not say it.
#[derive(Serialize, JsonSchema)]
struct Pressure {
    cpu: Option<f32>,
    io: Option<f32>,
    memory: Option<f32>,
}

/// In bytes.
#[derive(Serialize, JsonSchema)]
struct Memory {
    total: u64,
    available: u64,
    /// How much of it stays free, if the project says it.
    floor: Option<u64>,
}

impl Standing {
    fn seconds(&self, record: &Record) -> f64 {
        self.now.seconds_since(record.since)
    }

    /// How many tokens of the budget's own are held.
    fn held(&self) -> usize {
        self.view.holders.iter().filter(|holder| holder.depth == 0).map(|holder| holder.tokens.len()).sum()
    }
}

impl Answer for Standing {
    type Document = Document;

    fn document(&self) -> Document {
        let holders = self.view.holders.iter().map(|holder| {
            let Record { run, repository, stage, pid, leader, since, memory, .. } = holder.record.clone();
            Holder {
                run,
                repository,
                stage,
                pid,
                stage_pid: leader,
                since,
                seconds: self.seconds(&holder.record),
                tokens: holder.tokens.clone(),
                resources: holder.resources.clone(),
                memory,
                depth: holder.depth,
            }
        });
        let waiting = self.view.waiting.iter().enumerate().map(|(ahead, record)| {
            let Record { run, repository, stage, pid, since, tokens, resources, .. } = record.clone();
            Waiting {
                run,
                repository,
                stage,
                pid,
                since,
                seconds: self.seconds(record),
                tokens,
                resources,
                ahead,
            }
        });
        let [cpu, io, memory] = self.pressure;
        Document {
            folder: self.folder.display().to_string(),
            ignored: self.ignored,
            tokens: self.tokens,
            held: self.held(),
            holders: holders.collect(),
            waiting: waiting.collect(),
            pressure: Pressure { cpu, io, memory },
            memory: self.memory.map(|(total, available)| Memory {
                total,
                available,
                floor: self.settings.memory_floor,
            }),
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        match self.held() {
            held if held <= usize::from(self.tokens.get()) => {
                write!(out, "Tokens: {held} of {} in use", self.tokens)?;
            }
            held => write!(
                out,
                "Tokens: {held} in use, more than the {} that runs here share: one that is alone may have more",
                self.tokens
            )?,
        }
        writeln!(out, "{}", if self.ignored { "; runs that are started here ignore that" } else { "" })?;
        let pressure =
            |at: usize| self.pressure[at].map_or("unknown".to_owned(), |now| format!("{now:.0} %"));
        writeln!(out, "Pressure: cpu {}, io {}, memory {}", pressure(0), pressure(1), pressure(2))?;
        if let Some((total, available)) = self.memory {
            let whole = |bytes: u64| shown_bytes(bytes >> 20 << 20);
            writeln!(out, "Memory: {} of {} can be had", whole(available), whole(total))?;
        }
        writeln!(out, "Folder: {}", untrusted(&self.folder.display().to_string()))?;
        if self.view.holders.is_empty() && self.view.waiting.is_empty() {
            return writeln!(out, "Nobody draws from it now.");
        }
        let mut table = Table::new("\tTAKES\tSTAGE\tRUN\tREPOSITORY\tPID\tSINCE")?;
        let mut row = |word: &str, takes: &[String], record: &Record| {
            writeln!(
                table.0,
                "{word}\t{}\t{}\t{}\t{}\t{}\t{}",
                untrusted(&takes.join(", ")),
                untrusted(&record.stage),
                untrusted(&record.run),
                untrusted(&record.repository),
                record.leader.unwrap_or(record.pid),
                span(self.seconds(record)),
            )
        };
        let tokens = |count: usize| format!("{count} token{}", if count == 1 { "" } else { "s" });
        for holder in &self.view.holders {
            let word = if holder.depth == 0 { "holds" } else { "lent" };
            let counted = (!holder.tokens.is_empty()).then(|| tokens(holder.tokens.len()));
            let takes: Vec<_> = counted.into_iter().chain(holder.resources.iter().cloned()).collect();
            row(word, &takes, &holder.record)?;
        }
        for record in &self.view.waiting {
            let takes: Vec<_> =
                [tokens(record.tokens.into())].into_iter().chain(record.resources.iter().cloned()).collect();
            row("waits", &takes, record)?;
        }
        table.print(out)
    }
}
