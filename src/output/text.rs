//! The bytes of a stream as chunks of text, without breaking a character that two reads share.
//!
//! Bytes that are no UTF-8 are kept beside their lossy text, so nothing is ever lost.

use std::borrow::Cow;

/// A piece of a stream: always text, and the raw bytes too where the text had to be lossy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The text; U+FFFD stands where the bytes were no UTF-8.
    pub text: Cow<'a, str>,
    /// The bytes themselves, only if they are no UTF-8.
    pub raw: Option<&'a [u8]>,
    /// How many bytes of the stream this chunk stands for.
    pub bytes: usize,
}

impl Chunk<'_> {
    /// Returns the bytes of the stream, exactly as they came.
    pub fn as_bytes(&self) -> &[u8] {
        self.raw.unwrap_or(self.text.as_bytes())
    }
}

/// Turns one byte stream into [`Chunk`]s, carrying an unfinished character of at most three bytes
/// over to the next push.
#[derive(Debug, Default)]
pub struct Utf8Stitcher {
    /// The chunk of the last push, where it had to be put together.
    joined: Vec<u8>,
    carry: [u8; 3],
    carried: usize,
}

impl Utf8Stitcher {
    /// Returns a stitcher at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and returns what is text by now. The chunk may be empty, when all of
    /// `bytes` is the beginning of a character.
    pub fn push<'a>(&'a mut self, bytes: &'a [u8]) -> Chunk<'a> {
        let all = if self.carried == 0 {
            bytes
        } else {
            self.joined.clear();
            self.joined.extend_from_slice(&self.carry[..self.carried]);
            self.joined.extend_from_slice(bytes);
            &self.joined
        };
        let (whole, rest) = all.split_at(all.len() - unfinished(all));
        self.carried = rest.len();
        self.carry[..rest.len()].copy_from_slice(rest);
        chunk(whole)
    }

    /// Returns what was still waiting for its next byte, if anything was.
    pub fn finish(&mut self) -> Option<Chunk<'_>> {
        let carried = std::mem::take(&mut self.carried);
        (carried > 0).then(|| chunk(&self.carry[..carried]))
    }
}

fn chunk(bytes: &[u8]) -> Chunk<'_> {
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => Chunk { text: Cow::Borrowed(text), raw: None, bytes: bytes.len() },
        Err(_) => Chunk { text: String::from_utf8_lossy(bytes), raw: Some(bytes), bytes: bytes.len() },
    }
}

/// Returns how many bytes at the end are the beginning of a character and no more.
fn unfinished(bytes: &[u8]) -> usize {
    let last = &bytes[bytes.len().saturating_sub(3)..];
    (1..=last.len())
        .find(|back| {
            let tail = &last[last.len() - back..];
            tail[0] >= 0xc0 && std::str::from_utf8(tail).is_err_and(|err| err.error_len().is_none())
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_character_in_two_parts_stays_whole() {
        let mut stitcher = Utf8Stitcher::new();
        assert_eq!(stitcher.push(b"x\xe2\x82").text, "x");
        assert_eq!(stitcher.push(b"").text, "");
        let chunk = stitcher.push(b"\xac!");
        assert_eq!((&*chunk.text, chunk.raw, chunk.bytes), ("€!", None, 4));
        assert_eq!(stitcher.finish(), None);
    }

    #[test]
    fn what_is_no_text_is_kept_beside_it() {
        let mut stitcher = Utf8Stitcher::new();
        let chunk = stitcher.push(b"a\xff\x00b\xf0\x9f");
        assert_eq!((&*chunk.text, chunk.raw), ("a\u{fffd}\0b", Some(&b"a\xff\0b"[..])));
        let rest = stitcher.finish().unwrap();
        assert_eq!((&*rest.text, rest.raw), ("\u{fffd}", Some(&b"\xf0\x9f"[..])));
    }

    fn split(bytes: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        at.windows(2).map(|w| bytes[w[0]..w[1]].to_vec()).collect()
    }

    proptest! {
        #[test]
        fn chunks_joined_are_the_stream(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            cuts in proptest::collection::vec(any::<usize>(), 0..20),
        ) {
            let mut stitcher = Utf8Stitcher::new();
            let mut joined = Vec::new();
            for part in split(&bytes, &cuts) {
                let chunk = stitcher.push(&part);
                prop_assert_eq!(chunk.bytes, chunk.as_bytes().len());
                joined.extend_from_slice(chunk.as_bytes());
            }
            if let Some(chunk) = stitcher.finish() {
                joined.extend_from_slice(chunk.as_bytes());
            }
            prop_assert_eq!(joined, bytes);
        }

        #[test]
        fn text_stays_text_in_any_chunks(
            text in "[a-zé€𝄞\\n]{0,80}",
            cuts in proptest::collection::vec(any::<usize>(), 0..20),
        ) {
            let mut stitcher = Utf8Stitcher::new();
            let mut joined = String::new();
            for part in split(text.as_bytes(), &cuts) {
                let chunk = stitcher.push(&part);
                prop_assert!(chunk.raw.is_none());
                joined.push_str(&chunk.text);
            }
            prop_assert!(stitcher.finish().is_none());
            prop_assert_eq!(joined, text);
        }
    }
}
