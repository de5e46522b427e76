//! What stages are told about the stream that they run in.

use std::ffi::OsString;

use super::{Context, streams};
use crate::store::streams::{Stream, noted};

/// Returns the variables of the stream that we are in; none elsewhere.
pub(in crate::ops) fn variables(ctx: &Context) -> Vec<(OsString, OsString)> {
    match noted(ctx.repo.git_dir()).and_then(|name| streams(ctx).find(&name).ok()?) {
        Some(stream) => of(&stream),
        None => Vec::new(),
    }
}

fn of(stream: &Stream) -> Vec<(OsString, OsString)> {
    let mut variables = vec![("CODEX_ORCHESTRATOR_STREAM".to_owned(), stream.name.to_string())];
    if let Some(ports) = stream.ports {
        variables.push(("CODEX_ORCHESTRATOR_PORT".to_owned(), ports.first.to_string()));
        variables.push(("CODEX_ORCHESTRATOR_PORT_COUNT".to_owned(), ports.count.to_string()));
        let each = (0..ports.count).map(|at| (at + 1, ports.first.saturating_add(at)));
        variables.extend(each.map(|(at, port)| (format!("CODEX_ORCHESTRATOR_PORT_{at}"), port.to_string())));
    }
    if let Some(database) = &stream.database {
        variables.push(("CODEX_ORCHESTRATOR_DATABASE".to_owned(), database.clone()));
    }
    variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}
