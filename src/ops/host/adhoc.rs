//! The end of an ad hoc command: the files that follow from its verdict are fewer than those of a
//! pipeline, and its summary is another one (`contract-core.md` §7.6, §15.2).

use anyhow::Result;
use serde_json::Value;

use super::{RunHost, Shared};
use crate::pipeline::Source;
use crate::run::event::Happened;
use crate::run::exec::SummaryLine;
use crate::run::manifest::Manifest;
use crate::runner::interrupt::Interrupts;
use crate::runner::{Host as _, Outcome};
use crate::store::pointers::pretty;
use crate::sys::fs::{self, Durability};

impl RunHost {
    /// The summary of a run that is about one command is what the command has to say.
    pub(super) fn in_words_of_a_command(&self, event: Happened) -> Happened {
        match event {
            Happened::StageFinished(mut end)
                if self.plan.source == Source::CommandLine && self.outposts.is_empty() =>
            {
                end.note = end.summary.clone();
                Happened::StageFinished(end)
            }
            event => event,
        }
    }

    /// Ends the run of an ad hoc command. `tfgrpo` and `tool_run` go into the manifest, and `summarize`
    /// makes its `run-summary.json`. When this returns, everything is on disk.
    pub async fn end_adhoc(
        mut self,
        outcome: Outcome,
        interrupts: &mut Interrupts,
        tfgrpo: Value,
        tool_run: Value,
        summarize: impl FnOnce(&Manifest) -> SummaryLine,
    ) -> Result<(Manifest, SummaryLine)> {
        self.tell(Happened::Measured { tfgrpo, tool_runs: vec![tool_run] }, 0)?;
        let end = self.run_end(outcome);
        self.tell(Happened::Finished(Box::new(end)), 0)?;
        self.learn(interrupts).await?;
        let summary = summarize(self.manifest());
        let run_summary_path = self.shared.keep_summary(self.recorder.paths().summary.as_path(), &summary);
        let metrics_recorded = self.record_in_task(None, false, self.now());
        self.tell(Happened::Recorded { run_summary_path, metrics_recorded }, 0)?;
        let at = self.now();
        self.recorder.beat(at)?;
        self.recorder.save(Durability::Power)?;
        Ok((self.recorder.manifest().clone(), summary))
    }
}

impl Shared {
    /// Writes the summary of a command, again if more is known by now. Returns its path as the manifest
    /// names it.
    pub fn keep_summary(&self, path: &std::path::Path, summary: &SummaryLine) -> Option<String> {
        match fs::write_atomically(path, &pretty(summary), Durability::Process) {
            Ok(()) => Some(self.layout.relative(path)),
            Err(err) => {
                self.warn("the run summary was not written", err);
                None
            }
        }
    }

    /// Says something that is wrong to whoever watches.
    pub fn tell_warning(&self, text: &str) {
        self.watch.borrow_mut().warn(text);
    }

    /// Sends the spans of a run that is over.
    pub fn send_spans(&self, manifest: &Manifest) {
        super::traced::send(self, manifest);
    }
}
