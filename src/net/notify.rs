//! Notifications: the summary of a command, posted to everybody who wants it, at the same time.

use std::sync::Arc;

use super::http;
use super::target::Target;

/// What became of each notification, in the order of the targets.
#[derive(Debug, Default)]
pub struct Sent {
    /// Targets that answered with a success, as they may be shown.
    pub delivered: Vec<String>,
    /// The others, and why.
    pub failures: Vec<(String, String)>,
}

/// Posts a JSON document to all targets.
pub fn notify(targets: &[Target], json: Vec<u8>) -> Sent {
    let json: Arc<[u8]> = json.into();
    let jobs = targets.iter().cloned().map(|target| {
        let json = Arc::clone(&json);
        move || http::post_json(&target, &json)
    });
    let mut sent = Sent::default();
    for (target, result) in targets.iter().zip(http::limited(jobs)) {
        match result {
            Some(Ok(())) => sent.delivered.push(target.shown()),
            Some(Err(why)) => sent.failures.push((target.shown(), why)),
            None => {
                let why = format!("no answer within {} s", http::LIMIT.as_secs());
                sent.failures.push((target.shown(), why));
            }
        }
    }
    sent
}
