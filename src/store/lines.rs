//! Files of lines, read one line at a time, however long somebody made one of them.

use std::io::{BufRead, BufReader, Read};

/// The longest line that is read; a run that decided about every frame has one of megabytes.
pub const LONGEST: usize = 16 << 20;

/// Tells the next line, or its beginning if it is too long. Returns its length with the newline.
pub fn next(reader: &mut BufReader<impl Read>, tell: impl FnOnce(&[u8], bool)) -> std::io::Result<u64> {
    let (mut carry, mut length) = (Vec::new(), 0);
    loop {
        let buffer = reader.fill_buf()?;
        let end = memchr::memchr(b'\n', buffer);
        let (piece, used) = match end {
            Some(end) => (&buffer[..end], end + 1),
            None => (buffer, buffer.len()),
        };
        let is_last = end.is_some() || used == 0;
        length += used as u64;
        if is_last && carry.is_empty() {
            // Most lines lie in the buffer as a whole.
            tell(piece, false);
            reader.consume(used);
            return Ok(length);
        }
        let room = (LONGEST + 1).saturating_sub(carry.len());
        carry.extend_from_slice(&piece[..piece.len().min(room)]);
        reader.consume(used);
        if is_last {
            tell(&carry, carry.len() > LONGEST);
            return Ok(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_an_end_does_not_fill_the_memory() {
        let mut reader = BufReader::with_capacity(1024, std::io::repeat(b'x').take(2 * LONGEST as u64));
        let mut told = None;
        let length = next(&mut reader, |line, long| told = Some((line.len(), long))).unwrap();
        assert_eq!(told, Some((LONGEST + 1, true)));
        assert_eq!(length, 2 * LONGEST as u64);
    }
}
