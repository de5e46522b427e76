//! The lines of a command, as readers of the logs know them (`contract-core.md` §7.3).

use std::io::Write;

use base64::Engine;
use serde_json::{Value, json};

use crate::output::json::push_json_string;
use crate::output::text::Chunk;
use crate::run::stamp::Stamp;
use crate::runner::Stream;

/// Makes the lines of one command. Each ends with `timestamp` and `index`.
#[derive(Clone, Debug)]
pub struct Lines {
    index: usize,
    correlation_id: String,
    attempt: u32,
}

impl Lines {
    /// Returns the lines of one attempt, from 1, to run the command of stage `index`.
    pub fn new(index: usize, correlation_id: String, attempt: u32) -> Self {
        Self { index, correlation_id, attempt }
    }

    /// `command:start`, then `exec:begin`.
    pub fn begin(
        &self,
        out: &mut Vec<u8>,
        command: &str,
        cwd: &str,
        session: &str,
        persisted: bool,
        at: Stamp,
    ) {
        self.line(out, json!({"type": "command:start", "command": command}), at);
        self.line(
            out,
            json!({
                "type": "exec:begin",
                "correlation_id": self.correlation_id,
                "attempt": self.attempt,
                "command": command,
                "args": [],
                "cwd": cwd,
                "session_id": session,
                // The word for a command that ran outside of a sandbox.
                "sandbox_state": "escalated",
                "persisted": persisted,
            }),
            at,
        );
    }

    /// `exec:chunk`. `bytes` is what the command printed, before anything was masked.
    ///
    /// Bytes that are no UTF-8 stand in `data_base64` as they came, beside the readable `data`.
    pub fn chunk(
        &self,
        out: &mut Vec<u8>,
        stream: Stream,
        sequence: u64,
        bytes: u64,
        chunk: &Chunk<'_>,
        at: Stamp,
    ) {
        let stream = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        out.reserve(chunk.text.len() + 256);
        let _ = write!(
            out,
            "{{\"type\":\"exec:chunk\",\"correlation_id\":\"{}\",\"attempt\":{},\"stream\":\"{stream}\",\
             \"sequence\":{sequence},\"bytes\":{bytes},\"data\":",
            self.correlation_id, self.attempt
        );
        push_json_string(out, &chunk.text);
        if let Some(raw) = chunk.raw {
            let _ =
                write!(out, ",\"data_base64\":\"{}\"", base64::engine::general_purpose::STANDARD.encode(raw));
        }
        self.close(out, at);
    }

    /// `command:stdout` or `command:stderr`, for those who asked for them.
    pub fn stream(&self, out: &mut Vec<u8>, stream: Stream, text: &str, at: Stamp) {
        let kind = match stream {
            Stream::Stdout => "command:stdout",
            Stream::Stderr => "command:stderr",
        };
        self.line(out, json!({"type": kind, "data": text}), at);
    }

    /// `exec:end`, then `command:end`.
    pub fn end(&self, out: &mut Vec<u8>, exit_code: i64, signal: Option<&str>, duration_ms: u64, at: Stamp) {
        let status = if exit_code == 0 { "succeeded" } else { "failed" };
        self.line(
            out,
            json!({
                "type": "exec:end",
                "correlation_id": self.correlation_id,
                "attempt": self.attempt,
                "exit_code": exit_code,
                "signal": signal,
                "duration_ms": duration_ms,
                "status": status,
            }),
            at,
        );
        let end = json!({
            "type": "command:end", "exit_code": exit_code, "signal": signal, "duration_ms": duration_ms,
        });
        self.line(out, end, at);
    }

    fn line(&self, out: &mut Vec<u8>, value: Value, at: Stamp) {
        let begin = out.len();
        serde_json::to_writer(&mut *out, &value).expect("a line has string keys and finite numbers");
        debug_assert_eq!(out[out.len() - 1], b'}', "line begun at {begin}");
        out.pop();
        self.close(out, at);
    }

    fn close(&self, out: &mut Vec<u8>, at: Stamp) {
        let _ = writeln!(out, ",\"timestamp\":\"{at}\",\"index\":{}}}", self.index);
    }
}
