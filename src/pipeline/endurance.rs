//! What a stage is given: how long, how often, and how much memory; and the texts that say it.

use std::time::Duration;

use jiff::SignedDuration;
use serde::Serialize;

/// How often a command is run again after a failure, and after which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retries {
    /// How often after the first time.
    pub max: u32,
    /// How long to wait at most before the first retry; twice as long before each further one.
    pub delay: Duration,
    /// How long to wait at most before any of them.
    pub max_delay: Duration,
    /// Which failures may pass by themselves. Without it, all may that a command ended with.
    pub transient: Option<Transient>,
}

/// The failures that may pass by themselves: one of these codes, or output that one of these matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Transient {
    pub exit_codes: Vec<u8>,
    pub patterns: Vec<String>,
}

/// The longest time that a configuration can name.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

impl Retries {
    /// How long to wait before the first retry, where nothing is said.
    pub const DELAY: Duration = Duration::from_secs(1);
    /// How long to wait before any retry, where nothing is said.
    pub const MAX_DELAY: Duration = Duration::from_secs(30);

    /// Returns how long to wait before a retry, which is the first, the second and so on. `fraction`
    /// is a random number from 0 to 1: stages that failed together do not come back together.
    pub fn pause(&self, retry: u32, fraction: f64) -> Duration {
        let doubled = self.delay.saturating_mul(2_u32.saturating_pow(retry.saturating_sub(1)));
        doubled.min(self.max_delay).mul_f64(fraction.clamp(0.0, 1.0))
    }
}

/// Reads a length of time such as `90s` or `5m`.
pub fn duration(text: &str) -> Option<Duration> {
    let duration: SignedDuration = text.trim().parse().ok()?;
    Duration::try_from(duration).ok().filter(|duration| *duration <= LONGEST)
}

/// Reads a number of seconds.
pub fn seconds(number: &str) -> Option<Duration> {
    let duration = Duration::try_from_secs_f64(number.parse().ok()?).ok()?;
    (duration <= LONGEST).then_some(duration)
}

/// Reads a number of bytes such as `512MiB` or `2GB`; one MiB is the least.
pub fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    number.checked_mul(unit(&text[digits..])?).filter(|bytes| (1 << 20..=1 << 60).contains(bytes))
}

/// Returns how many bytes a unit stands for. As for git, `M` is `MiB`.
pub fn unit(text: &str) -> Option<u64> {
    Some(match text.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    })
}

/// Writes a length of time as a configuration would.
pub fn shown_duration(duration: Duration) -> String {
    // Longer ones are refused when they are read.
    let signed = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    format!("{signed:#}")
}

/// Writes a number of bytes as a configuration would.
pub fn shown_bytes(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_and_sizes_are_read_and_written() {
        let minutes = |minutes: u64| Some(Duration::from_secs(minutes * 60));
        assert_eq!(duration("90s"), Some(Duration::from_secs(90)));
        assert_eq!((duration("5m"), duration("1h 30m")), (minutes(5), minutes(90)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        for wrong in ["", "soon", "-5s", "5", "9000h", "99999999999h"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        assert_eq!(seconds("1.5"), Some(Duration::from_millis(1500)));
        assert_eq!((seconds("-1"), seconds("1e99")), (None, None));
        assert_eq!(
            duration(&shown_duration(Duration::from_millis(90_500))),
            Some(Duration::from_millis(90_500))
        );
        let sizes =
            [("2GiB", 2 << 30), ("512 MiB", 512 << 20), ("3gb", 3_000_000_000), ("1048577", (1 << 20) + 1)];
        for (text, size) in sizes {
            assert_eq!(bytes(text), Some(size), "{text}");
            assert_eq!(bytes(&shown_bytes(size)), Some(size), "{text}");
        }
        for wrong in ["", "MiB", "2 GiBs", "1023KiB", "99999999999999999999", "9999999TiB", "-1"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_pause_grows_and_has_an_end(
            delay in 0..100_000_u64, max in 0..100_000_u64, retry in 1..100_u32, fraction in 0.0..=1.0,
        ) {
            let millis = Duration::from_millis;
            let retries = Retries { max: 9, delay: millis(delay), max_delay: millis(max), transient: None };
            prop_assert!(retries.pause(retry, fraction) <= retries.max_delay);
            prop_assert!(retries.pause(retry, fraction) <= retries.pause(retry + 1, fraction));
            prop_assert_eq!(retries.pause(1, 1.0), millis(delay.min(max)));
            prop_assert_eq!(retries.pause(retry, 0.0), Duration::ZERO);
        }
    }
}
