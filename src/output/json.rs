//! A text as a JSON string, appended to a buffer.
//!
//! `serde_json` escapes 100-byte log lines at 2 to 3 GB/s, so there is no escaper of our own.

/// Appends `text` to `out` as a JSON string, quotes included.
pub fn push_json_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a `Vec` takes every byte, and a string is always valid JSON");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn serde_reads_the_same_text_back(text in "\\PC*|(?s).*") {
            let mut out = b"x".to_vec();
            push_json_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out[1..]).unwrap(), text);
            prop_assert!(!out.iter().any(|b| *b < 0x20));
        }
    }
}
