//! What each stream has for itself on this machine: a range of ports, and the name of a database.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::Result;

use super::{Context, Refusal};
use crate::id::StreamName;
use crate::pipeline::streams::{PortRange, Streams as Section};
use crate::store::neighbours::Neighbours;
use crate::store::streams::{Leases, Ports, Stream, Streams};
use crate::sys::digest::sha256_hex;

/// As long as it lives, nobody else leases anything: until what is leased stands in the stream's file.
pub(super) struct Held {
    _neighbours: Option<Neighbours>,
    /// Why what other repositories have is not known.
    pub warning: Option<String>,
}

/// What others have.
struct Others {
    leases: Vec<Leases>,
    held: Held,
}

impl Others {
    /// Looks at all streams but one. The caller holds the list's lock.
    fn look(ctx: &Context, streams: &Streams, but: &StreamName) -> Result<Self> {
        let common_dir = ctx.repo.common_dir();
        let mut leases = streams.leases().into_iter().collect::<Result<Vec<_>, _>>()?;
        leases.retain(|other| other.name.as_ref() != Some(but));
        let held = match Neighbours::lock(&ctx.env, common_dir) {
            Ok(neighbours) => {
                leases.extend(neighbours.leases(common_dir));
                Held { _neighbours: Some(neighbours), warning: None }
            }
            Err(err) => {
                let warning = format!("nobody can tell what streams of other repositories have: {err}");
                Held { _neighbours: None, warning: Some(warning) }
            }
        };
        Ok(Self { leases, held })
    }

    fn have_port(&self, ports: Ports) -> bool {
        self.leases.iter().filter_map(|it| it.ports).any(|it| it.overlaps(ports))
    }

    fn have_database(&self, name: &str) -> bool {
        self.leases.iter().any(|it| it.database.as_deref() == Some(name))
    }

    fn ports(&self, ctx: &Context, range: PortRange) -> Result<Ports> {
        ports(ctx, range, &|ports| self.have_port(ports))
    }

    fn database(&self, ctx: &Context, config: &Section, name: &StreamName) -> Option<String> {
        let named = |again| config.database_of(&repository(ctx), name.as_str(), again);
        (0..=self.leases.len()).filter_map(named).find(|name| !self.have_database(name))
    }
}

/// Leases what the configuration wants for a stream, if it wants anything. The caller holds the list's lock, and what is
/// returned until the stream is saved, so that no two get the same; the lease ends when the stream is forgotten.
pub(super) fn lease(
    ctx: &Context,
    streams: &Streams,
    config: &Section,
    stream: &mut Stream,
) -> Result<Option<Held>> {
    if config.ports.is_none() && config.database.is_none() {
        return Ok(None);
    }
    let others = Others::look(ctx, streams, &stream.name)?;
    stream.ports = config.ports.map(|range| others.ports(ctx, range)).transpose()?;
    stream.database = others.database(ctx, config, &stream.name);
    Ok(Some(others.held))
}

/// Leases again what other streams have by now of what a stream had before it was removed. Returns a word about each
/// that is another one. The caller holds the list's lock, and what is returned until the stream is saved.
pub(super) fn renew(
    ctx: &Context,
    streams: &Streams,
    stream: &mut Stream,
) -> Result<(Vec<String>, Option<Held>)> {
    if stream.ports.is_none() && stream.database.is_none() {
        return Ok((Vec::new(), None));
    }
    let others = Others::look(ctx, streams, &stream.name)?;
    let mut warnings: Vec<_> = others.held.warning.iter().cloned().collect();
    let taken_ports = stream.ports.filter(|had| others.have_port(*had));
    let taken_database = stream.database.take_if(|had| others.have_database(had));
    if taken_ports.is_none() && taken_database.is_none() {
        return Ok((warnings, Some(others.held)));
    }
    let config = crate::ops::plan::load(ctx).map(|config| config.streams);
    if let Some(had) = taken_ports {
        let range = config.as_ref().ok().and_then(|config| config.ports);
        stream.ports = range.and_then(|range| others.ports(ctx, range).ok());
        let now = match stream.ports {
            Some(ports) => format!("it has those from {} on", ports.first),
            None => "none are free for it".to_owned(),
        };
        warnings.push(format!("another stream has its ports from {} on by now; {now}", had.first));
    }
    if let Some(had) = taken_database {
        stream.database = config.ok().and_then(|config| others.database(ctx, &config, &stream.name));
        let now = match &stream.database {
            Some(name) => format!("its own is `{name}`"),
            None => "it has none".to_owned(),
        };
        warnings.push(format!("another stream has its database `{had}` by now; {now}"));
    }
    Ok((warnings, Some(others.held)))
}

fn ports(ctx: &Context, range: PortRange, is_leased: &dyn Fn(Ports) -> bool) -> Result<Ports> {
    let count = range.each.get();
    let blocks = (u32::from(range.to) - u32::from(range.from) + 1) / u32::from(count);
    let of = |block: u32| range.from + u16::try_from(block * u32::from(count)).unwrap_or(0);
    // Repositories that say the same begin at different places.
    let digest = sha256_hex(ctx.repo.common_dir().as_os_str().as_encoded_bytes());
    let begin = u32::from_str_radix(digest.get(..7).unwrap_or("0"), 16).unwrap_or(0);
    let tried = (0..blocks).map(|at| of((begin % blocks + at) % blocks));
    let free: BTreeSet<u16> =
        tried.clone().filter(|first| !is_leased(Ports { first: *first, count })).collect();
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
