//! What is seen of a command while it runs, kept small however much it prints.

use serde_json::{Map, Value, json};

use super::{Follow, bounded};
use crate::ops::host::Watch;
use crate::output::tail::{TAIL_BYTES, Tail};
use crate::run::event::{Happened, StageEnd};
use crate::run::exec::{
    self, CommandResult, ExecSummary, Line, Logs, Metrics, Notifications, Outputs, SANDBOX, SummaryLine,
    TOOL, ToolRun,
};
use crate::run::manifest::Manifest;
use crate::run::stamp::Stamp;
use crate::run::status::StageStatus;
use crate::runner::Stream;

/// How many pieces of output a tool run repeats at most, and how much text in all.
const MAX_CHUNKS: usize = 32;
const MAX_TEXT: usize = 16 * 1024;

/// Watches the one command of a run.
pub(super) struct Collector {
    follow: Box<dyn Follow>,
    out: Tail,
    err: Tail,
    begin: Option<Value>,
    chunks: Vec<Value>,
    /// How much text `chunks` hold, and how many more there were.
    text: usize,
    omitted: u64,
    end: Option<Value>,
    stage: Option<StageEnd>,
}

/// What was seen of a command.
pub(super) struct Seen {
    pub result: CommandResult,
    pub outputs: Outputs,
    pub tool_run: ToolRun,
    shell: String,
    cwd: Option<String>,
    session: String,
}

impl Collector {
    pub(super) fn new(follow: Box<dyn Follow>) -> Self {
        let (out, err) = (Tail::new(TAIL_BYTES), Tail::new(TAIL_BYTES));
        let (begin, chunks, end, stage) = (None, Vec::new(), None, None);
        Self { follow, out, err, begin, chunks, text: 0, omitted: 0, end, stage }
    }

    pub(super) fn begins(&mut self, shell: &str) {
        self.follow.begins(shell);
    }

    fn outputs(&self) -> Outputs {
        Outputs { stdout: self.out.text(), stderr: self.err.text() }
    }

    /// Takes one line of the command's log.
    fn take(&mut self, line: &[u8]) {
        let is = |kind: &str| line.starts_with(format!("{{\"type\":\"exec:{kind}\"").as_bytes());
        let chunk = is("chunk");
        let room = self.chunks.len() < MAX_CHUNKS && self.text < MAX_TEXT;
        if chunk && !room {
            self.omitted += 1;
        }
        let kept = !chunk || room;
        if !(kept || self.follow.wants_lines()) || !(chunk || is("begin") || is("end") || is("retry")) {
            return;
        }
        let Ok(Value::Object(line)) = serde_json::from_slice(line) else { return };
        let mut told = camel_case(line);
        if is_end(&told) {
            let session = self.begin.as_ref().map_or(Value::Null, |begin| begin["sessionId"].clone());
            told.payload["sandboxState"] = json!(SANDBOX);
            told.payload["sessionId"] = session;
        }
        if kept {
            let mut event = json!({"type": told.kind, "timestamp": told.timestamp});
            if let (Value::Object(event), Value::Object(payload)) = (&mut event, &told.payload) {
                event.extend(payload.clone());
            }
            for key in ["command", "data"] {
                if let Value::String(text) = &mut event[key] {
                    *text = bounded(text);
                    self.text += text.len();
                } else if let Value::Object(event) = &mut event {
                    event.remove(key);
                }
            }
            match told.kind.as_str() {
                "exec:begin" => self.begin = Some(event),
                "exec:end" => self.end = Some(event),
                _ => self.chunks.push(event),
            }
        }
        if self.follow.wants_lines() {
            if is_end(&told) {
                let Outputs { stdout, stderr } = self.outputs();
                told.payload["stdout"] = json!(stdout);
                told.payload["stderr"] = json!(stderr);
            }
            self.follow.line(&told);
        }
    }

    /// Returns what was seen of the command, which has ended.
    pub(super) fn seen(&self, manifest: &Manifest) -> Seen {
        let entry = &manifest.commands[0];
        let nothing = Value::Null;
        let (begin, end) = (self.begin.as_ref().unwrap_or(&nothing), self.end.as_ref().unwrap_or(&nothing));
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let (stage, at) = (self.stage.as_ref(), entry.started_at.or(manifest.started_at));
        let status = match stage.map(|stage| stage.status) {
            Some(StageStatus::Succeeded) => "succeeded",
            _ => "failed",
        };
        let started_at =
            at.or(manifest.updated_at).unwrap_or_else(|| Stamp::new(jiff::Timestamp::UNIX_EPOCH));
        let shell =
            text(&begin["command"]).or_else(|| entry.command.as_deref().map(bounded)).unwrap_or_default();
        let result = CommandResult {
            exit_code: stage.and_then(|stage| stage.exit_code),
            signal: stage.and_then(|stage| stage.signal.clone()),
            duration_ms: end["durationMs"].as_u64().unwrap_or(0),
            status: status.to_owned(),
            sandbox_state: SANDBOX.to_owned(),
            correlation_id: text(&begin["correlationId"]).unwrap_or_default(),
            attempts: 1,
        };
        let (cwd, session) = (text(&begin["cwd"]), text(&begin["sessionId"]).unwrap_or_default());
        let handle = stage.and_then(|stage| Some(stage.handle.as_ref()?.handle_id.clone()));
        let executed = json!({
            "command": shell, "args": [], "cwd": cwd, "sessionId": session, "persisted": false,
            "correlationId": result.correlation_id, "handleId": handle,
            "exitCode": result.exit_code, "signal": result.signal,
        });
        let tool_run = ToolRun {
            id: format!("cli-command:{}:{}:{}", manifest.run_id, entry.id, started_at.as_millis()),
            tool: TOOL.to_owned(),
            approval_source: "not-required".to_owned(),
            retry_count: 0,
            sandbox_state: SANDBOX.to_owned(),
            status: status.to_owned(),
            started_at,
            completed_at: entry.completed_at.unwrap_or(started_at),
            attempt_count: 1,
            events: self.begin.iter().chain(&self.chunks).chain(&self.end).cloned().collect(),
            metadata: json!({
                "stageId": entry.id, "pipelineId": manifest.pipeline_id, "runId": manifest.run_id,
                "commandIndex": entry.index, "command": shell, "args": [], "cwd": cwd, "sessionId": session,
                "correlationId": result.correlation_id, "persisted": false, "handleId": handle,
                "exec": executed, "eventsOmitted": self.omitted,
            }),
        };
        Seen { result, outputs: self.outputs(), tool_run, shell, cwd, session }
    }
}

impl Seen {
    /// Returns the summary of the run, whose verdict is known.
    pub(super) fn summary(
        self,
        manifest: &Manifest,
        argv: Vec<String>,
        metrics: Metrics,
        targets: Vec<String>,
        at: Stamp,
    ) -> SummaryLine {
        let entry = &manifest.commands[0];
        let payload = ExecSummary {
            status: manifest.status,
            run: exec::Run {
                id: manifest.run_id.to_string(),
                task_id: manifest.task_id.to_string(),
                pipeline_id: manifest.pipeline_id.clone(),
                manifest: manifest.path(),
                artifact_root: manifest.artifact_root.clone(),
                summary: entry.summary.clone(),
                void: manifest.is_void(),
            },
            result: self.result,
            command: exec::Command {
                argv,
                shell: self.shell,
                cwd: self.cwd,
                session_id: self.session,
                persisted: false,
            },
            outputs: self.outputs,
            logs: Logs { runner: manifest.log_path.clone(), command: entry.log_path.clone() },
            tool_run: Some(self.tool_run),
            metrics: Some(metrics),
            notifications: Notifications { targets, ..Notifications::default() },
        };
        Line { kind: "run:summary".to_owned(), timestamp: at, payload }
    }
}

impl Watch for Collector {
    fn event(&mut self, _depth: usize, _manifest: &Manifest, event: &Happened, _index: usize) {
        match event {
            Happened::StageFinished(end) => self.stage = Some((**end).clone()),
            Happened::Interrupted { signal } => {
                self.follow.warn(&format!("{signal}: waiting for the command to end; once more to kill it"));
            }
            _ => {}
        }
    }

    fn logged(&mut self, _depth: usize, lines: &[u8]) {
        lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).for_each(|line| self.take(line));
    }

    fn printed(&mut self, _depth: usize, _manifest: &Manifest, _index: usize, stream: Stream, text: &str) {
        match stream {
            Stream::Stdout => self.out.push(text.as_bytes()),
            Stream::Stderr => self.err.push(text.as_bytes()),
        }
        self.follow.printed(stream, text);
    }

    fn warn(&mut self, text: &str) {
        self.follow.warn(text);
    }
}

fn is_end(line: &Line<Value>) -> bool {
    line.kind == "exec:end"
}

/// Returns a line of the log in the words of `exec --jsonl`.
fn camel_case(line: Map<String, Value>) -> Line<Value> {
    let mut told =
        Line { kind: String::new(), timestamp: Stamp::new(jiff::Timestamp::UNIX_EPOCH), payload: json!({}) };
    for (key, value) in line {
        let key = match key.as_str() {
            "type" => {
                told.kind = value.as_str().unwrap_or_default().to_owned();
                continue;
            }
            "timestamp" => {
                told.timestamp = serde_json::from_value(value).unwrap_or(told.timestamp);
                continue;
            }
            "index" => continue,
            "correlation_id" => "correlationId",
            "session_id" => "sessionId",
            "sandbox_state" => "sandboxState",
            "exit_code" => "exitCode",
            "duration_ms" => "durationMs",
            "delay_ms" => "delayMs",
            "data_base64" => "dataBase64",
            "error" => "errorMessage",
            key => key,
        };
        told.payload[key] = value;
    }
    told
}
