//! Spans of time and amounts of bytes as people type them.

use jiff::{SignedDuration, Span, SpanRelativeTo};

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

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
