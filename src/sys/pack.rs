//! Compression on all cores: a stream is cut into blocks of one size, each is packed by itself, and the
//! blocks are joined in their order. So the bytes depend on the stream alone, whatever the number of threads,
//! and the memory depends on the number of blocks under way, whatever the length of the stream.

mod format;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

pub use format::reader;

use self::format::Packer;
use super::cores;
use super::digest::Hasher;
use crate::pipeline::learning::Compression;

/// How much of the stream one block holds.
const BLOCK: usize = 1 << 20;
/// More threads than this would cost more memory than they bring.
const MOST_THREADS: usize = 8;

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The SHA-256 of the packed bytes, in hex.
    pub digest: String,
    /// How many they are.
    pub bytes: u64,
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

/// Packs what `write` writes as one stream into `out`. `threads` are as many as there are cores, if not said.
pub fn pack<W: Write + Send>(
    out: W,
    compression: Compression,
    threads: Option<usize>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<Packed> {
    let threads = threads.unwrap_or_else(cores::for_files).clamp(1, MOST_THREADS);
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
            scope.spawn(move || pack_all(compression, blocks, &to_join, zeros));
        }
        drop(to_join);
        let joiner = scope.spawn(move || join_all(out, compression, &done, &give_back));
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
    compression: Compression,
    blocks: &Mutex<Receiver<Block>>,
    to_join: &Sender<Done>,
    zeros: &OnceLock<(Arc<Vec<u8>>, crc32fast::Hasher)>,
) {
    let mut packer = Packer::new(compression);
    loop {
        let next = blocks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Block { place, bytes }) = next else { return };
        let (packed, crc) = if bytes.len() == BLOCK && is_zero(&bytes) {
            zeros.get_or_init(|| packer.pack(&bytes)).clone()
        } else {
            packer.pack(&bytes)
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

/// Writes blocks in their order.
fn join_all<W: Write>(
    mut out: W,
    compression: Compression,
    done: &Receiver<Done>,
    give_back: &Sender<Vec<u8>>,
) -> io::Result<Packed> {
    let mut joined = Joined { digest: Hasher::default(), bytes: 0 };
    let mut result = joined.write(&mut out, format::head(compression));
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
    joined.write(&mut out, &format::tail(compression, crc, length))?;
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
    use std::io::Read;

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

    fn packed(how: Compression, bytes: &[u8], threads: usize, step: usize) -> (Vec<u8>, Packed) {
        let mut out = Vec::new();
        let write = |to: &mut dyn Write| bytes.chunks(step).try_for_each(|part| to.write_all(part));
        let packed = pack(&mut out, how, Some(threads), write);
        (out, packed.unwrap())
    }

    fn unpacked(mut reader: impl Read) -> Vec<u8> {
        let mut back = Vec::new();
        reader.read_to_end(&mut back).unwrap();
        back
    }

    #[test]
    fn the_bytes_depend_on_the_stream_alone() {
        let zeros = vec![0; 3 * BLOCK + 5];
        for bytes in [sample(0), sample(1), sample(BLOCK), sample(2 * BLOCK + 77), zeros] {
            for how in Compression::ALL {
                let (first, said) = packed(how, &bytes, 1, BLOCK);
                assert_eq!(said.bytes, first.len() as u64);
                assert_eq!(said.digest, super::super::digest::sha256_hex(&first));
                for (threads, step) in [(2, 1000), (5, BLOCK + 1), (8, 333)] {
                    assert_eq!(packed(how, &bytes, threads, step).0, first, "{how:?}, {threads} threads");
                }
                assert!(unpacked(reader(&first[..]).unwrap()) == bytes, "{how:?}, {} bytes", bytes.len());
            }
            // One member: also for readers that know of no second one.
            let (gzip, _) = packed(Compression::Gzip, &bytes, 2, BLOCK);
            assert!(unpacked(flate2::read::GzDecoder::new(&gzip[..])) == bytes, "{} bytes", bytes.len());
        }
    }

    #[test]
    fn a_byte_that_was_changed_is_noticed() {
        for how in Compression::ALL {
            let (mut bytes, _) = packed(how, &sample(2 * BLOCK), 2, BLOCK);
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            let read = reader(&bytes[..]).unwrap().read_to_end(&mut Vec::new());
            assert!(read.is_err(), "{how:?}");
            let cut = reader(&bytes[..middle - 100_000]).unwrap().read_to_end(&mut Vec::new());
            assert!(cut.is_err(), "{how:?}");
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
            let error = pack(Full(room), Compression::Zstd, Some(2), |to| to.write_all(&bytes)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{room}");
        }
    }

    #[test]
    fn whoever_writes_may_fail() {
        let error = pack(Vec::new(), Compression::Gzip, Some(2), |to| {
            to.write_all(&sample(3 * BLOCK))?;
            Err(io::Error::other("enough"))
        });
        assert_eq!(error.unwrap_err().to_string(), "enough");
    }
}
