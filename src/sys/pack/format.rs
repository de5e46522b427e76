//! How one block of a stream is packed, and what holds the blocks together.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use flate2::{Compress, FlushCompress};
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use crate::pipeline::learning::Compression;

/// What gzip's own default is, and what people compare the size with.
const GZIP_LEVEL: u32 = 6;
/// What zstd's own default is.
const ZSTD_LEVEL: i32 = 3;

/// Magic, deflate, no flags, no time, no level, no system: nothing that tells one machine from another.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// The block that ends a deflate stream and holds nothing.
const LAST_BLOCK: [u8; 2] = [0x03, 0x00];
/// What a zstd stream begins with.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Returns what unpacks a stream again, ours or that of another program, whatever its name is.
pub fn reader<'a>(packed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    const AT_ONCE: usize = 256 << 10;
    let mut packed = io::BufReader::with_capacity(AT_ONCE, packed);
    Ok(match packed.fill_buf()?.starts_with(&ZSTD_MAGIC) {
        true => Box::new(zstd::Decoder::with_buffer(packed)?),
        false => Box::new(io::BufReader::with_capacity(AT_ONCE, MultiGzDecoder::new(packed))),
    })
}

/// Packs blocks, each by itself.
pub(super) enum Packer {
    Gzip(Compress),
    Zstd(Compressor<'static>),
}

impl Packer {
    pub fn new(compression: Compression) -> Self {
        match compression {
            Compression::Gzip => Self::Gzip(Compress::new(flate2::Compression::new(GZIP_LEVEL), false)),
            Compression::Zstd => {
                let mut compressor = Compressor::new(ZSTD_LEVEL).expect("zstd has this level");
                let checked = compressor.set_parameter(CParameter::ChecksumFlag(true));
                checked.expect("zstd has checksums");
                Self::Zstd(compressor)
            }
        }
    }

    /// Returns a block as a part of the stream, and its checksum if the end of the stream needs it.
    pub fn pack(&mut self, bytes: &[u8]) -> (Arc<Vec<u8>>, crc32fast::Hasher) {
        let mut crc = crc32fast::Hasher::new();
        let mut packed = Vec::new();
        match self {
            Self::Gzip(compress) => {
                crc.update(bytes);
                compress.reset();
                packed.reserve(bytes.len() / 4 + 1024);
                deflate(compress, bytes, &mut packed);
            }
            Self::Zstd(compressor) => {
                packed.reserve(zstd::zstd_safe::compress_bound(bytes.len()));
                compressor.compress_to_buffer(bytes, &mut packed).expect("zstd takes any bytes");
            }
        }
        packed.shrink_to_fit();
        (Arc::new(packed), crc)
    }
}

/// Appends a part of a deflate stream that ends at a whole byte.
fn deflate(compress: &mut Compress, bytes: &[u8], packed: &mut Vec<u8>) {
    loop {
        let taken = compress.total_in() as usize;
        compress.compress_vec(&bytes[taken..], packed, FlushCompress::Sync).expect("deflate takes any bytes");
        // With room to spare, all of it is out.
        if compress.total_in() as usize == bytes.len() && packed.len() < packed.capacity() {
            return;
        }
        packed.reserve(bytes.len() / 4 + 1024);
    }
}

/// Returns what stands before the first block.
pub(super) fn head(compression: Compression) -> &'static [u8] {
    match compression {
        Compression::Gzip => &GZIP_HEADER,
        // Each block is a frame, and frames stand side by side.
        Compression::Zstd => &[],
    }
}

/// Returns what stands after the last block of a stream of `length` bytes.
pub(super) fn tail(compression: Compression, crc: crc32fast::Hasher, length: u64) -> Vec<u8> {
    match compression {
        // As the format has it: the length in 32 bits, whatever is above them.
        Compression::Gzip => {
            let (crc, length) = (crc.finalize().to_le_bytes(), (length as u32).to_le_bytes());
            [&LAST_BLOCK[..], &crc, &length].concat()
        }
        // No frame at all would be no stream.
        Compression::Zstd if length == 0 => Packer::new(compression).pack(&[]).0.to_vec(),
        Compression::Zstd => Vec::new(),
    }
}
