//! HTTP requests that cannot hang: each has a limit, whatever the other side does.

use std::sync::mpsc;
use std::time::Duration;

use ureq::config::AutoHeaderValue;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::target::Target;

/// How long one request may take in all, from looking up the name to the first line of the answer.
pub const LIMIT: Duration = Duration::from_secs(3);

/// How long it may take to be connected.
const CONNECT: Duration = Duration::from_secs(2);

/// What `limited` waits longer than a request may take: it only steps in where a limit does not hold,
/// such as in a resolver that hangs.
const SLACK: Duration = Duration::from_millis(250);

/// Returns a client of ours. Nobody is sent on to somewhere else.
pub fn agent() -> Agent {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    Agent::config_builder()
        .timeout_global(Some(LIMIT))
        .timeout_connect(Some(CONNECT))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(AutoHeaderValue::Provided(
            concat!("git-orchestrate/", env!("CARGO_PKG_VERSION")).to_owned().into(),
        ))
        .tls_config(tls)
        .build()
        .new_agent()
}

/// Posts a JSON document. An answer that is no success is an error.
pub fn post_json(target: &Target, json: &[u8]) -> Result<(), String> {
    let answer = agent()
        .post(target.url())
        .content_type("application/json")
        .send(json)
        .map_err(|err| explained(&err))?;
    status(&answer)
}

/// Returns what is wrong with an answer, if it is no success.
fn status(answer: &ureq::http::Response<Body>) -> Result<(), String> {
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("it answered {status}")),
    }
}

/// Returns an error in words that hold no URL.
pub fn explained(err: &ureq::Error) -> String {
    match err {
        ureq::Error::Timeout(_) => format!("no answer within {} s", LIMIT.as_secs()),
        ureq::Error::HostNotFound => "the host is not known".to_owned(),
        ureq::Error::ConnectionFailed => "cannot connect".to_owned(),
        ureq::Error::Io(err) => err.to_string(),
        ureq::Error::BadUri(_) => "it is no URL that can be called".to_owned(),
        err => err.to_string(),
    }
}

/// Does all of `jobs` at the same time, each on a thread of its own, and waits no longer than a request
/// may take. A job that is not done by then has no result, and is left to itself.
pub fn limited<T: Send + 'static>(
    jobs: impl IntoIterator<Item = impl FnOnce() -> T + Send + 'static>,
) -> Vec<Option<T>> {
    let (tell, told) = mpsc::channel();
    let mut results = Vec::new();
    for (at, job) in jobs.into_iter().enumerate() {
        results.push(None);
        let tell = tell.clone();
        // Without a thread there is no result either.
        let _ = std::thread::Builder::new().name("post".to_owned()).spawn(move || {
            let _ = tell.send((at, job()));
        });
    }
    drop(tell);
    let begun = std::time::Instant::now();
    while let Ok((at, result)) = told.recv_timeout((LIMIT + SLACK).saturating_sub(begun.elapsed())) {
        results[at] = Some(result);
    }
    results
}
