//! Notifications and spans: what is sent, and that nothing waits for it or depends on it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fixture::{Fixture, json_of, lines_of, manifest};
use crate::listener::{Listener, nobody, silent};
use crate::witness::{audit, ended, spawn};

#[test]
fn everybody_is_told_once_and_what_goes_wrong_is_recorded() {
    let repo = Fixture::new("passing");
    let (good, bad) = (Listener::new("204 No Content"), Listener::new("500 Internal Server Error"));
    let elsewhere = Listener::new("302 Found");
    let gone = nobody();
    let lists = format!(" {0}/x?a=b=c ,{0}/x?a=b=c,{1}", good.url, bad.url);
    let mut command = repo.program();
    command.args(["exec", "--task", "t", "--json", "--notify", &lists, "--notify", &gone]);
    command.args([&format!("--notify={}", elsewhere.url), "--", "sh", "-c", "exit 5"]);
    let seen = repo.see(command.env("CODEX_ORCHESTRATOR_NOTIFY", "http://not.asked.example"));
    assert_eq!(seen.code, 5, "{seen}");

    let request = good.next();
    assert_eq!((request.line.as_str(), good.left()), ("POST /x?a=b=c HTTP/1.1", 0));
    assert!(request.headers.contains(&"content-type: application/json".to_owned()), "{:?}", request.headers);
    let (mut told, answer) = (request.json(), seen.json());
    let notifications = &answer["payload"]["notifications"];
    let target = format!("{}/x?a=b=c", good.url);
    assert_eq!(notifications["targets"], json!([target, bad.url, gone, elsewhere.url]));
    assert_eq!(notifications["delivered"], json!([target]));
    let failures = notifications["failures"].as_array().unwrap();
    assert_eq!(
        failures.iter().map(|failure| &failure["target"]).collect::<Vec<_>>(),
        [bad.url.as_str(), &gone, &elsewhere.url]
    );
    assert_eq!(failures[0]["error"], "it answered 500 Internal Server Error");
    assert_eq!(seen.stderr.matches("warning: ").count(), 3, "{seen}");
    let run = &repo.runs("t")[0];
    assert_eq!(json_of(&run.join("run-summary.json")), answer);
    // What was posted is the same but for what nobody knew yet.
    assert_eq!(told["payload"]["notifications"]["delivered"], json!([]));
    told["payload"]["notifications"] = notifications.clone();
    assert_eq!(told, answer);
    assert_eq!(manifest(run)["status"], "failed");
}

#[test]
fn the_environment_names_whom_to_tell_where_no_flag_does() {
    let repo = Fixture::new("passing");
    let listener = Listener::new("200 OK");
    let mut command = repo.program();
    command.args(["exec", "--", "true"]).env("CODEX_ORCHESTRATOR_NOTIFY", format!("{}/,", listener.url));
    assert_eq!(repo.see(&mut command).code, 0);
    assert_eq!(listener.next().json()["type"], "run:summary");
}

#[test]
fn who_never_answers_delays_by_some_seconds_and_costs_no_evidence() {
    let repo = Fixture::new("passing");
    let ((hook, notify), (collector, spans)) = (silent(), silent());
    let begun = Instant::now();
    let child = spawn(repo.program().args(["exec", "--task", "t", "--json", "--notify", &notify]).args([
        "--otel-endpoint",
        &spans,
        "--",
        "echo",
        "hi",
    ]));
    let told = [hook.accept().expect("a connection"), collector.accept().expect("a connection")];
    // Before anybody is told, all of it is there.
    let run = repo.runs("t")[0].clone();
    let made = manifest(&run);
    assert_eq!((&made["status"], &made["metrics_recorded"]), (&json!("succeeded"), &json!(true)));
    assert_eq!(json_of(&run.join("run-summary.json"))["payload"]["status"], "succeeded");
    assert_eq!(lines_of(&repo.path(".runs/t/metrics.json")).len(), 1);
    audit(&repo, "t");
    let seen = ended(child);
    drop(told);
    assert_eq!(seen.code, 0, "{seen}");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let failure = &seen.json()["payload"]["notifications"]["failures"][0];
    assert_eq!(*failure, json!({"target": notify, "error": "no answer within 3 s"}));
    assert_eq!(seen.stderr.matches("no answer within 3 s").count(), 2, "{seen}");
}

/// Returns the spans of a request, as OTLP has them in JSON.
fn spans(document: &Value) -> Vec<&Value> {
    let scopes = document["resourceSpans"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|of| of["scopeSpans"].as_array().unwrap());
    scopes.flat_map(|scope| scope["spans"].as_array().unwrap()).collect()
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let found = span["attributes"].as_array().unwrap().iter().find(|attribute| attribute["key"] == key);
    found.and_then(|attribute| attribute["value"].as_object()?.values().next()).unwrap_or(&Value::Null)
}

fn nanos(span: &Value, key: &str) -> u64 {
    span[key].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_run_is_a_trace_and_each_stage_a_span_down_to_those_of_child_runs() {
    let stage = |id: &str, command: &str| json!({"kind": "command", "id": id, "command": command});
    let repo = Fixture::with_config(&json!({"pipelines": [
        {"id": "outer", "stages": [
            stage("first", "echo $TRACEPARENT > \"$HOME/first\""),
            {"kind": "subpipeline", "id": "sub", "pipeline": "inner"},
            stage("last", "exit 3"),
            stage("never", "true"),
        ]},
        {"id": "inner", "stages": [stage("deep", "echo $TRACEPARENT > \"$HOME/deep\"")]},
    ]}));
    let collector = Listener::new("200 OK");
    let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut command = repo.program();
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{}/otlp/", collector.url))
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-team=green")
        .env("TRACEPARENT", caller)
        .args(["start", "outer", "--task", "t"]);
    let seen = repo.see(&mut command);
    assert_eq!(seen.code, 1, "{seen}");
    let request = collector.next();
    assert_eq!((request.line.as_str(), collector.left()), ("POST /otlp/v1/traces HTTP/1.1", 0));
    assert!(request.headers.contains(&"x-team: green".to_owned()), "{:?}", request.headers);
    let document = request.json();
    assert!(
        document.to_string().contains(r#"{"key":"service.name","value":{"stringValue":"git-orchestrate"}}"#)
    );
    let all = spans(&document);
    let names: Vec<_> = all.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["outer", "first", "sub", "inner", "deep", "last"]);
    let [outer, first, sub, inner, deep, last] = all[..] else { panic!("{all:#?}") };
    assert!(all.iter().all(|span| span["traceId"] == "0af7651916cd43dd8448eb211c80319c"), "{all:#?}");
    assert_eq!(outer["parentSpanId"], "b7ad6b7169203331");
    for (span, parent) in [(first, outer), (sub, outer), (inner, sub), (deep, inner), (last, outer)] {
        assert_eq!(span["parentSpanId"], parent["spanId"]);
        assert!(nanos(parent, "startTimeUnixNano") <= nanos(span, "startTimeUnixNano"));
        assert!(nanos(span, "endTimeUnixNano") <= nanos(parent, "endTimeUnixNano"));
    }
    for (name, span) in [("first", first), ("deep", deep)] {
        let told = std::fs::read_to_string(repo.beside(name)).unwrap();
        let expected =
            format!("00-0af7651916cd43dd8448eb211c80319c-{}-01\n", span["spanId"].as_str().unwrap());
        assert_eq!(told, expected, "what a stage is told is its own span");
    }
    let run =
        repo.runs("t").iter().map(|run| manifest(run)).find(|made| made["pipeline_id"] == "outer").unwrap();
    assert_eq!(attribute(outer, "cicd.pipeline.run.id"), &run["run_id"]);
    assert_eq!(attribute(outer, "vcs.ref.head.revision"), &run["git"]["commit"]);
    assert_eq!(attribute(outer, "git_orchestrate.git.tree"), &run["git"]["tree"]);
    assert_eq!(attribute(outer, "git_orchestrate.task.id"), "t");
    assert_eq!(
        (&outer["status"]["code"], &outer["status"]["message"]),
        (&json!(2), &json!("stage:last:failed"))
    );
    assert_eq!(attribute(last, "cicd.pipeline.task.run.result"), "failure");
    let begun: jiff::Timestamp = run["commands"][2]["started_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(nanos(last, "startTimeUnixNano"), begun.as_nanosecond() as u64);

    // A resume goes on with the trace, and tells only what it ran.
    let mut resume = repo.program();
    resume
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("{}/mine", collector.url))
        .env("TRACEPARENT", caller);
    assert_eq!(repo.see(resume.args(["resume", run["run_id"].as_str().unwrap()])).code, 1);
    let request = collector.next();
    assert_eq!(request.line, "POST /mine HTTP/1.1");
    let document = request.json();
    let again = spans(&document);
    assert_eq!(again.iter().map(|span| &span["name"]).collect::<Vec<_>>(), ["outer", "last"]);
    assert_ne!(again[1]["spanId"], last["spanId"]);
}

#[test]
fn a_trace_of_its_own_begins_where_nobody_called() {
    let repo = Fixture::new("passing");
    let collector = Listener::new("200 OK");
    let endpoint = collector.url.as_str();
    let seen = repo.see(repo.program().args([
        "exec",
        "--json",
        "--otel-endpoint",
        endpoint,
        "--",
        "printenv",
        "TRACEPARENT",
    ]));
    assert_eq!(seen.code, 0, "{seen}");
    let request = collector.next();
    assert_eq!(request.line, "POST /v1/traces HTTP/1.1");
    let document = request.json();
    let all = spans(&document);
    assert_eq!(all.iter().map(|span| &span["name"]).collect::<Vec<_>>(), ["exec", "exec"]);
    let told = seen.json()["payload"]["outputs"]["stdout"].as_str().unwrap().to_owned();
    assert_eq!(
        told,
        format!("00-{}-{}-01\n", all[1]["traceId"].as_str().unwrap(), all[1]["spanId"].as_str().unwrap())
    );
    assert!(all[0]["parentSpanId"].as_str().is_none_or(str::is_empty), "{}", all[0]);

    let mut binary = repo.program();
    binary.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    assert_eq!(repo.see(binary.args(["exec", "--", "true"])).code, 0);
    let request = collector.next();
    assert!(
        request.headers.contains(&"content-type: application/x-protobuf".to_owned()),
        "{:?}",
        request.headers
    );
}

#[test]
fn spans_are_sent_only_where_somebody_wants_them() {
    let repo = Fixture::with_commands(&["echo \"[$TRACEPARENT]\""]);
    let collector = Listener::new("200 OK");
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str());
    let inherited = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let ignored = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    for (variables, told) in [
        (vec![], "[]"),
        (vec![("TRACEPARENT", inherited)], inherited),
        (vec![endpoint, ("OTEL_SDK_DISABLED", "TRUE")], "[]"),
        (vec![endpoint, ("OTEL_TRACES_EXPORTER", "none")], "[]"),
        // Who called us does not record this trace; our stages are told so.
        (vec![endpoint, ("TRACEPARENT", ignored)], "-00]"),
    ] {
        let seen = repo.see(repo.program().args(["start"]).envs(variables.clone()));
        assert_eq!(seen.code, 0, "{variables:?}: {seen}");
        let printed = repo.orchestrate("logs").stdout;
        assert!(printed.contains(told), "{variables:?}: {printed}");
    }
    assert_eq!(collector.left(), 0);
}

#[test]
fn a_collector_that_is_not_there_is_a_warning() {
    let repo = Fixture::with_commands(&["true"]);
    let overloaded = Listener::new("503 Service Unavailable");
    let cases = [
        (nobody(), "Connection refused"),
        (overloaded.url.clone(), "503"),
        ("nonsense".to_owned(), "`OTEL_EXPORTER_OTLP_ENDPOINT` says"),
    ];
    for (endpoint, why) in cases {
        let seen = repo.see(repo.program().arg("start").env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint));
        assert_eq!(seen.code, 0, "{seen}");
        let warning = seen.stderr.lines().find(|line| line.starts_with("warning: ")).unwrap_or_default();
        assert!(warning.contains("spans") && warning.contains(why), "{endpoint}: {seen}");
    }
    overloaded.next();
    assert_eq!(overloaded.left(), 0, "nothing is sent twice");
}
