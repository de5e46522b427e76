//! The memory that the processes of a stage may have, and how the kernel is made to see to it.

use std::ffi::OsString;

use crate::run::manifest::{LimitedBy, MemoryLimit};
use crate::sys::memory::MemoryGroup;

/// The limit of one command.
pub(super) struct Memory {
    bytes: u64,
    /// None where the kernel lets us make no group: then it limits the address space of each process.
    group: Option<MemoryGroup>,
}

/// Says why nothing ran. The code is that of a command that could not be run.
const REFUSED: &str = "{ echo 'this system cannot limit the memory of a stage' >&2; exit 126; }";

impl Memory {
    pub(super) fn limit(stage: &str, bytes: u64) -> Self {
        Self { bytes, group: MemoryGroup::create(stage, bytes) }
    }

    /// Returns what the manifest says about it.
    pub(super) fn record(&self) -> MemoryLimit {
        let by = if self.group.is_some() { LimitedBy::Cgroup } else { LimitedBy::AddressSpace };
        MemoryLimit { bytes: self.bytes, by }
    }

    /// Returns what the shell is given in place of a command: it takes the limit upon itself first.
    pub(super) fn arguments(&self, command: &str) -> Vec<OsString> {
        let (take, value) = match &self.group {
            Some(group) => ("echo 0 > \"$1\"", group.entrance().into()),
            None => ("ulimit -v \"$1\"", OsString::from((self.bytes >> 10).to_string())),
        };
        let script = format!("{take} 2> /dev/null || {REFUSED}; exec /bin/sh -c \"$2\"");
        vec!["-c".into(), script.into(), "sh".into(), value, command.into()]
    }

    /// Whether the kernel ended the command because of the limit. Of an address space it does not say so.
    pub(super) fn ran_out(&self) -> bool {
        self.group.as_ref().is_some_and(MemoryGroup::has_killed)
    }
}
