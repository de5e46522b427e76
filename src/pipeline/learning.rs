//! What a project says about learning snapshots.

/// How much a snapshot takes, and for how long it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learning {
    /// Files larger than this are left out.
    pub max_file_bytes: u64,
    /// Files that would make all of them together larger than this are left out.
    pub max_total_bytes: u64,
    /// For how many days a snapshot is kept.
    pub retention_days: u64,
}

impl Default for Learning {
    fn default() -> Self {
        Self { max_file_bytes: 100 << 20, max_total_bytes: 2 << 30, retention_days: 30 }
    }
}
