//! `hooks`: puts hooks where git finds them, takes them away, and proves that they fire.

pub mod foreign;
pub mod global;
pub mod install;
pub mod migrate;
pub mod shim;
pub mod status;

use std::path::PathBuf;

use crate::pipeline::hooks::Event;

/// A hook that was put somewhere, or taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub event: Event,
    pub place: Place,
    /// Whether something was changed; it may have been like that already.
    pub changed: bool,
}

/// Where a hook stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In git's configuration: of the repository, or of the user.
    Configuration { global: bool },
    /// In a folder of hooks.
    File {
        path: PathBuf,
        /// The hook that was there before, which runs first.
        before: Option<PathBuf>,
    },
}
