//! The one place that asks what time it is.
#![expect(clippy::disallowed_methods, reason = "this is its place")]

use crate::run::stamp::Stamp;

/// Tells the time.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// The same moment always, for tests.
    Fixed(Stamp),
}

impl Clock {
    /// Returns the present moment.
    pub fn now(self) -> Stamp {
        match self {
            Self::System => Stamp::new(jiff::Timestamp::now()),
            Self::Fixed(stamp) => stamp,
        }
    }
}
