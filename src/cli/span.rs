//! Spans of time and amounts of bytes as people type them.

use jiff::{SignedDuration, Span, SpanRelativeTo};

use crate::pipeline::endurance;

/// Reads a span such as `90min`, `12h`, `30d` or `2w`. A day has 24 hours.
pub fn span(text: &str) -> Result<SignedDuration, String> {
    let such_as = || "no span of time such as `12h`, `30d` or `2w`".to_owned();
    let span: Span = text.trim().parse().map_err(|_| such_as())?;
    let days = SpanRelativeTo::days_are_24_hours();
    let span =
        span.to_duration(days).map_err(|_| "months and years differ in length: say days".to_owned())?;
    if span.is_negative() {
        return Err(such_as());
    }
    Ok(span)
}

/// Reads a limit of time, which is longer than none.
pub fn limit(text: &str) -> Result<SignedDuration, String> {
    match span(text)? {
        SignedDuration::ZERO => Err("no time at all: nothing could be done in it".to_owned()),
        span => Ok(span),
    }
}

/// Reads an amount of bytes such as `500M`, `2GiB` or `1048576`. As for git, `M` is `MiB`.
pub fn bytes(text: &str) -> Result<u64, String> {
    let such_as = || "no amount of bytes such as `500M` or `2GiB`".to_owned();
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| such_as())?;
    let bytes = number * endurance::unit(unit).ok_or_else(such_as)? as f64;
    if bytes < u64::MAX as f64 { Ok(bytes as u64) } else { Err(such_as()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_type_them() {
        let cases = [
            ("0", 0),
            ("17", 17),
            ("1k", 1024),
            ("2GiB", 2 << 30),
            ("1.5 KiB", 1536),
            ("3MB", 3_000_000),
            ("5b", 5),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "much", "-1", "1 potato", "1.2.3", "GiB", "99999999999999999T"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_are_read_as_people_type_them() {
        let cases = [
            ("90min", 5400),
            ("12h", 43_200),
            ("30d", 2_592_000),
            ("2w", 1_209_600),
            ("1d 2h", 93_600),
            ("0s", 0),
        ];
        for (text, seconds) in cases {
            assert_eq!(span(text).map(|span| span.as_secs()), Ok(seconds), "{text}");
        }
        for text in ["", "30", "-1d", "x", "1mo", "1y", "99999999999999d"] {
            assert!(span(text).is_err(), "{text}");
        }
        assert!(limit("0s").is_err() && limit("-1s").is_err());
        assert_eq!(limit("1s").map(|limit| limit.as_secs()), Ok(1));
    }
}
