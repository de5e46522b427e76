//! What each stream has for itself on this machine: a range of ports, and the name of a database.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::Result;

use super::{Context, Refusal};
use crate::id::StreamName;
use crate::pipeline::streams::{PortRange, Streams as Section};
use crate::store::streams::{Ports, Stream, Streams};
use crate::sys::digest::sha256_hex;

/// Leases what the configuration wants for a stream. The caller holds the list's lock, so that no two get the same; the
/// lease ends when the stream is forgotten.
pub(super) fn lease(ctx: &Context, streams: &Streams, config: &Section, stream: &mut Stream) -> Result<()> {
    if let Some(range) = config.ports {
        stream.ports = Some(ports(ctx, streams, range)?);
    }
    stream.database = database(ctx, streams, config, &stream.name);
    Ok(())
}

/// Leases again what other streams have by now of what a stream had before it was removed. Returns a word about each
/// that is another one. The caller holds the list's lock.
pub(super) fn renew(ctx: &Context, streams: &Streams, stream: &mut Stream) -> Vec<String> {
    let others = streams.all().into_iter().flatten().filter(|other| other.name != stream.name);
    let others: Vec<_> = others.collect();
    let mut warnings = Vec::new();
    let is_taken = |had: &Ports| others.iter().filter_map(|it| it.ports).any(|ports| ports.overlaps(*had));
    let taken_ports = stream.ports.filter(is_taken);
    let taken_database =
        stream.database.take_if(|had| others.iter().any(|it| it.database.as_ref() == Some(had)));
    if taken_ports.is_none() && taken_database.is_none() {
        return warnings;
    }
    let config = crate::ops::plan::load(ctx).map(|config| config.streams);
    if let Some(had) = taken_ports {
        let range = config.as_ref().ok().and_then(|config| config.ports);
        stream.ports = range.and_then(|range| ports(ctx, streams, range).ok());
        let now = match stream.ports {
            Some(ports) => format!("it has those from {} on", ports.first),
            None => "none are free for it".to_owned(),
        };
        warnings.push(format!("another stream has its ports from {} on by now; {now}", had.first));
    }
    if let Some(had) = taken_database {
        stream.database = config.ok().and_then(|config| database(ctx, streams, &config, &stream.name));
        let now = match &stream.database {
            Some(name) => format!("its own is `{name}`"),
            None => "it has none".to_owned(),
        };
        warnings.push(format!("another stream has its database `{had}` by now; {now}"));
    }
    warnings
}

fn database(ctx: &Context, streams: &Streams, config: &Section, name: &StreamName) -> Option<String> {
    let known: Vec<_> = streams.all().into_iter().flatten().filter_map(|known| known.database).collect();
    let named = |again| config.database_of(&repository(ctx), name.as_str(), again);
    (0..=known.len()).filter_map(named).find(|name| !known.contains(name))
}

fn ports(ctx: &Context, streams: &Streams, range: PortRange) -> Result<Ports> {
    let count = range.each.get();
    let blocks = (u32::from(range.to) - u32::from(range.from) + 1) / u32::from(count);
    let of = |block: u32| range.from + u16::try_from(block * u32::from(count)).unwrap_or(0);
    let leased: Vec<_> = streams.all().into_iter().flatten().filter_map(|stream| stream.ports).collect();
    let is_leased = |first: u16| leased.iter().any(|it| it.overlaps(Ports { first, count }));
    // Repositories that say the same begin at different places.
    let digest = sha256_hex(ctx.repo.common_dir().as_os_str().as_encoded_bytes());
    let begin = u32::from_str_radix(digest.get(..7).unwrap_or("0"), 16).unwrap_or(0);
    let tried = (0..blocks).map(|at| of((begin % blocks + at) % blocks));
    let free: BTreeSet<u16> = tried.clone().filter(|first| !is_leased(*first)).collect();
    let found =
        tried.filter(|first| free.contains(first)).find(|first| (0..count).all(|at| is_idle(first + at)));
    match found {
        Some(first) => Ok(Ports { first, count }),
        None => {
            let message =
                format!("no {count} ports from {} to {} are free for the stream", range.from, range.to);
            Err(Refusal::usage(message)
                .hint("make the range of `streams.ports` larger, or remove a stream")
                .into())
        }
    }
}

/// Whether nobody listens on a port of this machine.
fn is_idle(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Returns the name of the repository's main worktree.
pub(super) fn repository(ctx: &Context) -> String {
    let home = ctx.repo.home();
    let name = home.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.strip_suffix(".git").filter(|short| !short.is_empty()).map(str::to_owned).unwrap_or(name)
}
