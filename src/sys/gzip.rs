//! gzip: the same bytes for the same text, wherever and whenever it is packed.

use std::io::{self, Read, Write};

use flate2::read::MultiGzDecoder;
use flate2::{Compression, GzBuilder};

/// Says of the machine that packed what it packed for: nothing.
const UNKNOWN_SYSTEM: u8 = 255;

/// Packs bytes. Neither a name, nor a time, nor the machine is in the result.
pub fn packed(bytes: &[u8]) -> Vec<u8> {
    let builder = GzBuilder::new().mtime(0).operating_system(UNKNOWN_SYSTEM);
    let mut encoder = builder.write(Vec::new(), Compression::best());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes what it is given")
}

/// Unpacks bytes that come to no more than `limit`: a few of them can stand for as many as fit on no disk.
pub fn unpacked(bytes: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    let mut whole = Vec::new();
    MultiGzDecoder::new(bytes).take(limit + 1).read_to_end(&mut whole)?;
    match whole.len() as u64 > limit {
        true => Err(io::Error::other(format!("it unpacks to more than {limit} bytes"))),
        false => Ok(whole),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_and_always_packed_alike() {
        for text in [&b""[..], b"{}", &[7; 100_000]] {
            assert_eq!(unpacked(&packed(text), 100_000).unwrap(), text);
            assert_eq!(packed(text), packed(text));
        }
        // Magic, deflate, no flags, no time, best, no system.
        assert_eq!(packed(b"{}")[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
    }

    #[test]
    fn what_is_too_large_torn_or_no_gzip_is_refused() {
        let bomb = packed(&[0; 1_000_000]);
        assert!(bomb.len() < 2_000);
        assert_eq!(unpacked(&bomb, 999_999).unwrap_err().to_string(), "it unpacks to more than 999999 bytes");
        assert!(unpacked(&bomb[..bomb.len() - 3], 1_000_000).is_err());
        assert!(unpacked(b"{}", 10).is_err());
    }
}
