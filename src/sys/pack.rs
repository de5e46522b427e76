//! Compression on all cores: a stream is cut into blocks of one size, each is packed by itself, and the
//! blocks are joined in their order. So the bytes depend on the stream alone, whatever the number of threads,
//! and the memory depends on the number of blocks under way, whatever the length of the stream.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use flate2::read::MultiGzDecoder;
use flate2::{Compress, Compression, FlushCompress};

use super::digest::Hasher;

/// How much of the stream one block holds.
const BLOCK: usize = 1 << 20;
/// More threads than this would cost more memory than they bring.
const MOST_THREADS: usize = 8;
/// What gzip's own default is, and what people compare the size with.
const LEVEL: u32 = 6;

/// Magic, deflate, no flags, no time, no level, no system: nothing that tells one machine from another.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// The block that ends a deflate stream and holds nothing.
const LAST_BLOCK: [u8; 2] = [0x03, 0x00];

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The SHA-256 of the packed bytes, in hex.
    pub digest: String,
    /// How many they are.
    pub bytes: u64,
}

/// Returns what unpacks a stream again, ours or that of another program.
pub fn reader(packed: impl Read) -> impl Read {
    io::BufReader::with_capacity(256 << 10, MultiGzDecoder::new(packed))
}

/// A block on its way.
struct Block {
    place: u64,
    bytes: Vec<u8>,
}

/// A block that is packed, with the room that it took before, which is used again.
struct Done {
    place: u64,
    packed: Arc<Vec<u8>>,
    crc: crc32fast::Hasher,
    length: u64,
    room: Vec<u8>,
}

/// Packs what `write` writes as one gzip stream into `out`. `threads` are as many as there are cores, if not said.
pub fn gzip<W: Write + Send>(
    out: W,
    threads: Option<usize>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<Packed> {
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.unwrap_or_else(cores).clamp(1, MOST_THREADS);
    let (to_pack, blocks) = channel::<Block>();
    let (to_join, done) = channel::<Done>();
    let (give_back, rooms) = channel::<Vec<u8>>();
    for _ in 0..threads + 2 {
        give_back.send(Vec::new()).expect("the receiver is here");
    }
    let (blocks, zeros) = (Mutex::new(blocks), OnceLock::new());
    thread::scope(|scope| {
        let (blocks, zeros) = (&blocks, &zeros);
        for _ in 0..threads {
            let to_join = to_join.clone();
            scope.spawn(move || pack_all(blocks, &to_join, zeros));
        }
        drop(to_join);
        let joiner = scope.spawn(move || join_all(out, &done, &give_back));
        let mut cutter = Cutter { block: None, place: 0, rooms, to_pack };
        let written = write(&mut cutter).and_then(|()| cutter.send());
        // Without it the others go on waiting.
        drop(cutter);
        let joined = joiner.join().expect("joining does not panic");
        // Why the disk did not take it says more than that it did not.
        match (written, joined) {
            (_, Err(err)) | (Err(err), _) => Err(err),
            (Ok(()), Ok(packed)) => Ok(packed),
        }
    })
}

/// Cuts what is written to it.
struct Cutter {
    block: Option<Vec<u8>>,
    place: u64,
    rooms: Receiver<Vec<u8>>,
    to_pack: Sender<Block>,
}

impl Cutter {
    fn room(&mut self) -> io::Result<&mut Vec<u8>> {
        if self.block.is_none() {
            let mut room = self.rooms.recv().map_err(|_| gone())?;
            room.clear();
            room.reserve_exact(BLOCK);
            self.block = Some(room);
        }
        Ok(self.block.as_mut().expect("it was just put there"))
    }

    fn send(&mut self) -> io::Result<()> {
        let Some(bytes) = self.block.take() else { return Ok(()) };
        self.to_pack.send(Block { place: self.place, bytes }).map_err(|_| gone())?;
        self.place += 1;
        Ok(())
    }
}

fn gone() -> io::Error {
    io::Error::other("the packed bytes could not be written")
}

impl Write for Cutter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room()?;
        let taken = bytes.len().min(BLOCK - room.len());
        room.extend_from_slice(&bytes[..taken]);
        if room.len() == BLOCK {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Packs blocks as long as there are any. A block of nothing but zeros, of which a sparse file has many, is packed once.
fn pack_all(
    blocks: &Mutex<Receiver<Block>>,
    to_join: &Sender<Done>,
    zeros: &OnceLock<(Arc<Vec<u8>>, crc32fast::Hasher)>,
) {
    let mut compress = Compress::new(Compression::new(LEVEL), false);
    loop {
        let next = blocks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Block { place, bytes }) = next else { return };
        let (packed, crc) = if bytes.len() == BLOCK && is_zero(&bytes) {
            zeros.get_or_init(|| pack(&mut compress, &bytes)).clone()
        } else {
            pack(&mut compress, &bytes)
        };
        let done = Done { place, packed, crc, length: bytes.len() as u64, room: bytes };
        if to_join.send(done).is_err() {
            return;
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(64 << 10).all(|part| part.iter().fold(0, |sum, byte| sum | byte) == 0)
}

/// Returns a block as a part of a deflate stream that ends at a whole byte, and its checksum.
fn pack(compress: &mut Compress, bytes: &[u8]) -> (Arc<Vec<u8>>, crc32fast::Hasher) {
    let mut crc = crc32fast::Hasher::new();
    crc.update(bytes);
    compress.reset();
    let mut packed = Vec::with_capacity(bytes.len() / 4 + 1024);
    loop {
        let taken = compress.total_in() as usize;
        compress
            .compress_vec(&bytes[taken..], &mut packed, FlushCompress::Sync)
            .expect("deflate takes any bytes");
        // With room to spare, all of it is out.
        if compress.total_in() as usize == bytes.len() && packed.len() < packed.capacity() {
            packed.shrink_to_fit();
            return (Arc::new(packed), crc);
        }
        packed.reserve(bytes.len() / 4 + 1024);
    }
}

/// Writes blocks in their order.
fn join_all<W: Write>(mut out: W, done: &Receiver<Done>, give_back: &Sender<Vec<u8>>) -> io::Result<Packed> {
    let mut joined = Joined { digest: Hasher::default(), bytes: 0 };
    let mut result = joined.write(&mut out, &HEADER);
    let (mut crc, mut length) = (crc32fast::Hasher::new(), 0_u64);
    let (mut early, mut next) = (BTreeMap::new(), 0);
    for block in done {
        early.insert(block.place, block);
        while let Some(block) = early.remove(&next) {
            next += 1;
            if result.is_ok() {
                result = joined.write(&mut out, &block.packed);
                crc.combine(&block.crc);
                length += block.length;
            }
            // Whoever cuts gets no more room then, and ends.
            if let Err(err) = result {
                return Err(err);
            }
            let _ = give_back.send(block.room);
        }
    }
    result?;
    joined.write(&mut out, &LAST_BLOCK)?;
    joined.write(&mut out, &crc.finalize().to_le_bytes())?;
    // As the format has it: the length in 32 bits, whatever is above them.
    joined.write(&mut out, &(length as u32).to_le_bytes())?;
    out.flush()?;
    Ok(Packed { digest: joined.digest.hex(), bytes: joined.bytes })
}

struct Joined {
    digest: Hasher,
    bytes: u64,
}

impl Joined {
    fn write(&mut self, out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
        out.write_all(bytes)?;
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text that repeats itself here and there, and noise.
    fn sample(length: usize) -> Vec<u8> {
        let mut state = 7_u32;
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if state >> 30 == 0 {
                bytes.extend_from_slice(b"the same words again and again ");
            } else {
                bytes.push((state >> 24) as u8);
            }
        }
        bytes.truncate(length);
        bytes
    }

    fn packed(bytes: &[u8], threads: usize, step: usize) -> (Vec<u8>, Packed) {
        let mut out = Vec::new();
        let packed =
            gzip(&mut out, Some(threads), |to| bytes.chunks(step).try_for_each(|part| to.write_all(part)));
        (out, packed.unwrap())
    }

    #[test]
    fn the_bytes_depend_on_the_stream_alone() {
        let zeros = vec![0; 3 * BLOCK + 5];
        for bytes in [sample(0), sample(1), sample(BLOCK), sample(2 * BLOCK + 77), zeros] {
            let (first, said) = packed(&bytes, 1, BLOCK);
            assert_eq!(said.bytes, first.len() as u64);
            assert_eq!(said.digest, super::super::digest::sha256_hex(&first));
            for (threads, step) in [(2, 1000), (5, BLOCK + 1), (8, 333)] {
                assert_eq!(packed(&bytes, threads, step).0, first, "{threads} threads");
            }
            // One member: also for readers that know of no second one.
            let mut back = Vec::new();
            flate2::read::GzDecoder::new(&first[..]).read_to_end(&mut back).unwrap();
            assert!(back == bytes, "{} bytes", bytes.len());
        }
    }

    #[test]
    fn a_disk_that_is_full_ends_it() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if self.0 < bytes.len() {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                self.0 -= bytes.len();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let bytes = sample(40 * BLOCK);
        for room in [0, 10, 3 * BLOCK] {
            let error = gzip(Full(room), Some(2), |to| to.write_all(&bytes)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{room}");
        }
    }

    #[test]
    fn whoever_writes_may_fail() {
        let error = gzip(Vec::new(), Some(2), |to| {
            to.write_all(&sample(3 * BLOCK))?;
            Err(io::Error::other("enough"))
        });
        assert_eq!(error.unwrap_err().to_string(), "enough");
    }
}
