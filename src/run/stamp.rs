//! Points in time as our files have them: UTC, milliseconds, `Z`.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A point in time, such as `2026-11-21T07:22:08.138Z`. Reads any RFC 3339 time with a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(with = "String", extend("format" = "date-time"))]
pub struct Stamp(Timestamp);

impl Stamp {
    /// Returns the stamp of a moment, cut to whole milliseconds.
    pub fn new(at: Timestamp) -> Self {
        Self(Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at))
    }

    /// Returns the time as milliseconds since 1970.
    pub fn as_millis(self) -> i64 {
        self.0.as_millisecond()
    }

    /// Returns the whole seconds and more since `earlier`, never negative.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        // Clocks jump; a duration that a reader trusts does not.
        (self.as_millis() - earlier.as_millis()).max(0) as f64 / 1000.0
    }

    /// Returns the moment that long before; nothing if there was none.
    pub fn earlier_by(self, span: SignedDuration) -> Option<Self> {
        self.0.checked_sub(span).ok().map(Self)
    }

    /// Returns the moment that long after; the last one there is if there is none.
    pub fn later_by(self, span: SignedDuration) -> Self {
        self.0.checked_add(span).map_or(Self(Timestamp::MAX), Self)
    }

    /// Returns the time in the form that begins a run id: `2026-11-21T07-20-48-705Z`.
    pub fn as_run_prefix(self) -> String {
        self.to_string().replace([':', '.'], "-")
    }

    /// Reads the time that begins a run id, with or without milliseconds.
    pub fn of_run_id(id: &str) -> Option<Self> {
        let (date, rest) = id.split_at_checked(10)?;
        let rest = rest.strip_prefix('T')?;
        let (time, _) = rest.split_once('Z')?;
        let mut parts = time.splitn(4, '-');
        let (h, m, s) = (parts.next()?, parts.next()?, parts.next()?);
        let millis = parts.next().unwrap_or("0");
        format!("{date}T{h}:{m}:{s}.{millis}Z").parse().ok().map(Self::new)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

impl Serialize for Stamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_has_three_digits_of_milliseconds() {
        let stamp: Stamp = serde_json::from_str(r#""2026-11-21T07:22:08.1Z""#).unwrap();
        assert_eq!(stamp.to_string(), "2026-11-21T07:22:08.100Z");
        assert_eq!(stamp.as_run_prefix(), "2026-11-21T07-22-08-100Z");
    }

    #[test]
    fn run_ids_tell_their_time() {
        let cases = [
            ("2026-11-21T07-20-48-705Z-192acc7c", Some("2026-11-21T07:20:48.705Z")),
            ("2025-10-16T02-28-10Z", Some("2025-10-16T02:28:10.000Z")),
            ("2025-13-16T02-28-10Z", None),
            ("alpha", None),
            ("äöü-äöü-äöü", None),
        ];
        for (id, expected) in cases {
            assert_eq!(Stamp::of_run_id(id).map(|s| s.to_string()).as_deref(), expected, "{id}");
        }
    }

    #[test]
    fn a_clock_that_jumps_back_makes_no_negative_duration() {
        let of = |text: &str| Stamp::new(text.parse().unwrap());
        assert_eq!(of("2026-01-01T00:00:00Z").seconds_since(of("2026-01-01T01:00:00Z")), 0.0);
    }
}
