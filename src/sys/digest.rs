//! SHA-256, in hex, and random tokens.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Returns the SHA-256 of `bytes` in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Returns the SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A SHA-256 of what comes piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the SHA-256 of all of them in lower-case hex.
    pub fn hex(self) -> String {
        hex::encode(self.0.finalize())
    }
}

/// Returns the SHA-256 of a file in lower-case hex, read piece by piece.
pub fn sha256_of_file(path: &Path) -> std::io::Result<String> {
    sha256_of_reader(&mut File::open(path)?)
}

/// Returns the SHA-256 in lower-case hex of all that is left to read.
pub fn sha256_of_reader(reader: &mut impl Read) -> std::io::Result<String> {
    let mut digest = Hasher::default();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(digest.hex()),
            read => digest.update(&buffer[..read]),
        }
    }
}

/// Returns `N` random bytes in lower-case hex.
///
/// # Errors
/// If the kernel has no randomness to give, which happens only very early in its boot.
pub fn random_hex<const N: usize>() -> std::io::Result<String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(hex::encode(bytes))
}

/// Returns a random number from 0 to 1; 1 where the kernel has no randomness to give.
pub fn random_fraction() -> f64 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}

/// Compares two texts in a time that does not tell where they differ.
pub fn equal_in_constant_time(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}
