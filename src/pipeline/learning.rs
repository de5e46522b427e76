//! What a project says about learning from its runs.

use std::ffi::OsStr;
use std::time::Duration;

/// The section `learning` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learning {
    /// Whether each run that succeeds is learned from; the environment may say otherwise.
    pub enabled: bool,
    /// Files larger than this are left out of a snapshot.
    pub max_file_bytes: u64,
    /// Files that would make all of them together larger than this are left out.
    pub max_total_bytes: u64,
    /// How the archive of a snapshot is packed.
    pub compression: Compression,
    /// For how many days a snapshot is kept.
    pub retention_days: u64,
    /// How long the replay of a scenario may take.
    pub timeout: Duration,
    /// Variables that a replay is given, beside the usual ones.
    pub environment: Vec<String>,
    pub alerts: Alerts,
    pub crystalizer: Crystalizer,
}

/// Where a person looks who has to do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Slack,
    Pagerduty,
}

impl Channel {
    /// Returns the word that stands in the manifest.
    pub fn word(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Pagerduty => "pagerduty",
        }
    }
}

/// For whom alerts are. They are kept, and sent to nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alerts {
    pub slack: String,
    pub pagerduty: String,
    /// How urgent they are; with one, a scenario that somebody has to write down is an alert on both channels.
    pub severity: Option<String>,
}

impl Alerts {
    /// Returns for whom an alert on a channel is.
    pub fn target(&self, channel: Channel) -> &str {
        match channel {
            Channel::Slack => &self.slack,
            Channel::Pagerduty => &self.pagerduty,
        }
    }
}

/// How the archive of a snapshot is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    #[default]
    Gzip,
    Zstd,
}

impl Compression {
    pub const ALL: [Self; 2] = [Self::Gzip, Self::Zstd];
    /// As [`Compression::ALL`], in the words of people.
    pub const WORDS: [&str; 2] = ["gzip", "zstd"];

    /// Returns what the name of an archive ends with.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Gzip => ".tar.gz",
            Self::Zstd => ".tar.zst",
        }
    }

    /// Returns how an archive of this name is packed, and what stands before the ending; nothing if it has neither.
    pub fn of_name(name: &OsStr) -> Option<(Self, &str)> {
        let name = name.to_str()?;
        Self::ALL.into_iter().find_map(|it| Some((it, name.strip_suffix(it.ending())?)))
    }
}

/// Who makes a pattern of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crystalizer {
    /// The program; nobody if it is not said.
    pub command: Option<String>,
    /// The model that it is asked to use.
    pub model: Option<String>,
    /// What it may cost, in millionths of a dollar.
    pub budget: u64,
    /// How long it may take.
    pub timeout: Duration,
}

impl Default for Learning {
    fn default() -> Self {
        Self {
            enabled: false,
            max_file_bytes: 100 << 20,
            max_total_bytes: 2 << 30,
            compression: Compression::Gzip,
            retention_days: 30,
            timeout: Duration::from_secs(600),
            environment: Vec::new(),
            alerts: Alerts::default(),
            crystalizer: Crystalizer::default(),
        }
    }
}

impl Default for Alerts {
    fn default() -> Self {
        let (slack, pagerduty) = ("#learning-alerts".to_owned(), "learning-pipeline".to_owned());
        Self { slack, pagerduty, severity: None }
    }
}

impl Default for Crystalizer {
    fn default() -> Self {
        Self { command: None, model: None, budget: 500_000, timeout: Duration::from_secs(300) }
    }
}
