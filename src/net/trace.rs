//! OpenTelemetry: a run is a trace, each of its stages a span, and so are child runs and theirs. All
//! spans are made from manifests when the run is over, and sent once, as OTLP over HTTP.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, Key, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, RetryPolicy, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};

use super::http;
use super::target::Target;
use crate::run::manifest::{Attempt, Manifest, StageEntry};
use crate::run::stamp::Stamp;
use crate::run::status::{RunStatus, StageStatus};
use crate::sys::digest::sha256_hex;
use crate::sys::env::Env;

/// The variable that carries a trace into a process, and out of it.
pub const TRACEPARENT: &str = "TRACEPARENT";

/// Where the spans of a run go, and which span they are part of.
#[derive(Clone, Debug)]
pub struct Tracing {
    /// The address that takes spans.
    collector: Target,
    protocol: Protocol,
    /// The span that called this program.
    caller: Option<SpanContext>,
}

/// A run and the runs that its stages started.
pub struct RunTree {
    pub manifest: Manifest,
    pub children: Vec<RunTree>,
}

impl Tracing {
    /// Returns where spans go, if anybody asked for them: `endpoint` did, or the variables of
    /// OpenTelemetry.
    ///
    /// # Errors
    /// Why a variable that asks for spans makes no sense.
    pub fn wanted(env: &Env, endpoint: Option<&Target>) -> Result<Option<Self>, String> {
        let off = env.get("OTEL_SDK_DISABLED").is_some_and(|word| word.trim().eq_ignore_ascii_case("true"))
            || env.get("OTEL_TRACES_EXPORTER").is_some_and(|word| word.trim().eq_ignore_ascii_case("none"));
        let variable = |name: &str| env.get(name).map(str::trim).filter(|value| !value.is_empty());
        let parsed = |name: &str, text: &str| {
            text.parse::<Target>().map_err(|err| format!("no spans are sent to what `{name}` says: {err}"))
        };
        const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let collector = match (endpoint, variable(TRACES), variable(ALL)) {
            _ if off => return Ok(None),
            (Some(endpoint), ..) if endpoint.url().ends_with("/v1/traces") => endpoint.clone(),
            (Some(endpoint), ..) => endpoint.join("/v1/traces"),
            (None, Some(traces), _) => parsed(TRACES, traces)?,
            (None, None, Some(all)) => parsed(ALL, all)?.join("/v1/traces"),
            (None, None, None) => return Ok(None),
        };
        let protocol =
            variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or(variable("OTEL_EXPORTER_OTLP_PROTOCOL"));
        Ok(Some(Self {
            collector,
            protocol: match protocol {
                Some("http/protobuf") => Protocol::HttpBinary,
                _ => Protocol::HttpJson,
            },
            caller: caller(env),
        }))
    }

    /// Returns what a stage finds in [`TRACEPARENT`], so that its own spans become part of the trace.
    /// `root` is the run that was asked for, `run` the one that the stage belongs to.
    pub fn for_stage(&self, root: &str, run: &str, index: usize, attempt: u32) -> String {
        let (trace, span) = (self.trace_id(root), span_id(run, index, attempt));
        format!("00-{trace}-{span}-{:02x}", self.flags())
    }

    /// A run that was resumed goes on with its trace.
    fn trace_id(&self, root: &str) -> TraceId {
        match &self.caller {
            Some(caller) => caller.trace_id(),
            None => TraceId::from_hex(&sha256_hex(format!("trace {root}").as_bytes())[..32])
                .expect("a digest is hex digits"),
        }
    }

    fn flags(&self) -> TraceFlags {
        self.caller.as_ref().map_or(TraceFlags::SAMPLED, SpanContext::trace_flags)
    }

    /// Sends the spans of a run that ended. Takes as long as [`http::limited`] lets it.
    pub fn send(&self, tree: &RunTree) -> Result<(), String> {
        if !self.flags().is_sampled() {
            // Whoever called us looks at no spans of this trace.
            return Ok(());
        }
        let spans = self.spans(tree);
        let (collector, protocol) = (self.collector.clone(), self.protocol);
        let sent = http::limited([move || export(&collector, protocol, spans)]).pop().flatten();
        let sent = sent.unwrap_or_else(|| Err(format!("no answer within {} s", http::LIMIT.as_secs())));
        sent.map_err(|why| format!("`{}`: {why}", self.collector.shown()))
    }

    /// Returns the spans of the newest attempt of a run, its own first.
    fn spans(&self, tree: &RunTree) -> Vec<SpanData> {
        let mut spans = Vec::new();
        let parent = self.caller.as_ref().map(|caller| (caller.span_id(), true));
        self.add(tree, self.trace_id(tree.manifest.run_id.as_str()), parent, &mut spans);
        spans
    }

    fn add(&self, tree: &RunTree, trace: TraceId, parent: Option<(SpanId, bool)>, spans: &mut Vec<SpanData>) {
        let RunTree { manifest, children } = tree;
        let Some(attempt) = manifest.attempts.as_ref().and_then(|attempts| attempts.last()) else { return };
        let run = manifest.run_id.as_str();
        let end = attempt.completed_at.or(manifest.completed_at).unwrap_or(attempt.started_at);
        let own = span_id(run, 0, attempt.number);
        let span = |id, parent: Option<(SpanId, bool)>| {
            let state =
                self.caller.as_ref().map_or_else(TraceState::default, |caller| caller.trace_state().clone());
            SpanData {
                span_context: SpanContext::new(trace, id, self.flags(), false, state),
                parent_span_id: parent.map_or(SpanId::INVALID, |(id, _)| id),
                parent_span_is_remote: parent.is_some_and(|(_, remote)| remote),
                span_kind: SpanKind::Internal,
                name: manifest.pipeline_id.clone().into(),
                start_time: time(attempt.started_at),
                end_time: time(end),
                attributes: Vec::new(),
                dropped_attributes_count: 0,
                events: Default::default(),
                links: Default::default(),
                status: Status::Unset,
                instrumentation_scope: InstrumentationScope::builder("git-orchestrate")
                    .with_version(env!("CARGO_PKG_VERSION"))
                    .build(),
            }
        };
        spans.push(SpanData {
            attributes: run_attributes(manifest, attempt),
            status: match manifest.status {
                RunStatus::Succeeded => Status::Ok,
                _ => Status::error(manifest.status_detail.clone().unwrap_or_default()),
            },
            ..span(own, parent)
        });
        for index in attempt.stages.iter().collect::<BTreeSet<_>>() {
            let Some(entry) = manifest.entry(*index) else { continue };
            let id = span_id(run, *index, attempt.number);
            let begun = entry.started_at.unwrap_or(attempt.started_at);
            spans.push(SpanData {
                name: entry.id.clone().into(),
                start_time: time(begun),
                end_time: time(entry.completed_at.unwrap_or(end).max(begun)),
                attributes: stage_attributes(entry),
                status: match entry.status {
                    StageStatus::Succeeded => Status::Ok,
                    StageStatus::Failed => Status::error(entry.summary.clone().unwrap_or_default()),
                    _ => Status::Unset,
                },
                ..span(id, Some((own, false)))
            });
            let child = children
                .iter()
                .find(|child| entry.sub_run_id.as_deref() == Some(child.manifest.run_id.as_str()));
            if let Some(child) = child {
                self.add(child, trace, Some((id, false)), spans);
            }
        }
    }
}

fn caller(env: &Env) -> Option<SpanContext> {
    let headers: HashMap<_, _> = [("traceparent", TRACEPARENT), ("tracestate", "TRACESTATE")]
        .into_iter()
        .filter_map(|(header, variable)| Some((header.to_owned(), env.get(variable)?.trim().to_owned())))
        .collect();
    let context = TraceContextPropagator::new().extract(&headers);
    let caller = context.span().span_context().clone();
    caller.is_valid().then_some(caller)
}

/// Whoever starts a stage can tell its span before there is one. The run itself has index 0.
fn span_id(run: &str, index: usize, attempt: u32) -> SpanId {
    SpanId::from_hex(&sha256_hex(format!("span {run} {index} {attempt}").as_bytes())[..16])
        .expect("a digest is hex digits")
}

fn time(stamp: Stamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(stamp.as_millis().max(0) as u64)
}

/// The names are those of OpenTelemetry's conventions where it has one.
fn run_attributes(manifest: &Manifest, attempt: &Attempt) -> Vec<KeyValue> {
    let result = match manifest.status {
        RunStatus::Succeeded => "success",
        RunStatus::Cancelled => "cancellation",
        _ => "failure",
    };
    let mut attributes = vec![
        KeyValue::new("cicd.pipeline.name", manifest.pipeline_id.clone()),
        KeyValue::new("cicd.pipeline.run.id", manifest.run_id.to_string()),
        KeyValue::new("cicd.pipeline.result", result),
        KeyValue::new("git_orchestrate.task.id", manifest.task_id.to_string()),
        KeyValue::new("git_orchestrate.run.status", manifest.status.as_str()),
        KeyValue::new("git_orchestrate.run.attempt", i64::from(attempt.number)),
        KeyValue::new("git_orchestrate.run.partial", manifest.is_partial()),
        KeyValue::new("git_orchestrate.run.void", manifest.is_void()),
        KeyValue::new("git_orchestrate.run.manifest", manifest.path()),
    ];
    let texts = [
        ("git_orchestrate.run.parent_id", manifest.parent_run_id.clone()),
        ("vcs.ref.head.revision", manifest.git.as_ref().and_then(|git| git.commit.clone())),
        ("vcs.ref.head.name", manifest.git.as_ref().and_then(|git| git.branch.clone())),
        ("git_orchestrate.git.tree", manifest.git.as_ref().and_then(|git| git.tree.clone())),
    ];
    attributes.extend(texts.into_iter().filter_map(|(name, text)| Some(KeyValue::new(name, text?))));
    attributes
}

fn stage_attributes(entry: &StageEntry) -> Vec<KeyValue> {
    let result = match entry.status {
        StageStatus::Succeeded => "success",
        StageStatus::Skipped => "skip",
        StageStatus::Failed => "failure",
        _ => "cancellation",
    };
    let mut attributes = vec![
        KeyValue::new("cicd.pipeline.task.name", entry.id.clone()),
        KeyValue::new("cicd.pipeline.task.run.result", result),
        KeyValue::new("git_orchestrate.stage.index", entry.index as i64),
        KeyValue::new("git_orchestrate.stage.kind", entry.kind.clone()),
        KeyValue::new("git_orchestrate.stage.status", entry.status.as_str()),
    ];
    attributes.extend(entry.exit_code.map(|code| KeyValue::new("process.exit.code", code)));
    attributes
}

fn export(collector: &Target, protocol: Protocol, spans: Vec<SpanData>) -> Result<(), String> {
    let client = Client::default();
    let why = Arc::clone(&client.why);
    let mut exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(collector.url())
        .with_protocol(protocol)
        .with_timeout(http::LIMIT)
        .with_retry_policy(RetryPolicy::disabled())
        .with_http_client(client)
        .build()
        .map_err(|err| err.to_string())?;
    let resource = Resource::builder().build();
    let named = resource.get(&Key::new("service.name"));
    exporter.set_resource(&match named {
        // What it is called where no variable says it.
        Some(name) if name.as_str().starts_with("unknown_service") => {
            Resource::builder().with_service_name("git-orchestrate").build()
        }
        _ => resource,
    });
    // The exporter says no more of a network than that it failed.
    futures_executor::block_on(exporter.export(spans)).map_err(|err| {
        let why = why.lock().ok().and_then(|mut why| why.take());
        why.unwrap_or_else(|| err.to_string())
    })
}

/// Our HTTP client in the words of OpenTelemetry.
#[derive(Debug, Default)]
struct Client {
    /// Why the request failed.
    why: Arc<Mutex<Option<String>>>,
}

impl HttpClient for Client {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let (parts, body) = request.into_parts();
        let answer = http::agent().run(Request::from_parts(parts, &body[..]));
        let answer = match answer {
            // What it answers does not matter, and might never end.
            Ok(answer) => Ok(Response::from_parts(answer.into_parts().0, Bytes::new())),
            Err(err) => {
                let said = http::explained(&err);
                if let Ok(mut why) = self.why.lock() {
                    *why = Some(said.clone());
                }
                Err(said.into())
            }
        };
        Box::pin(std::future::ready(answer))
    }
}
