//! Memory for something large, had from the kernel at once instead of page by page.

/// More than this is not worth it: whoever needs as much has other worries.
const MOST: usize = 32 << 20;
/// Less than this is there anyway.
const LEAST: usize = 256 << 10;

/// Makes room for what is about to be allocated, if this platform can. Each page costs a fault otherwise, when it is
/// touched first. The room stays with the process until [`give_back`].
pub fn make_room(bytes: usize) {
    if (LEAST..=MOST).contains(&bytes) {
        populate(bytes);
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn populate(bytes: usize) {
    // SAFETY: Both only set when the heap grows and shrinks. What is allocated is given back before anybody has a
    // reference to it, and only whole pages of it are touched, which keeps what they hold.
    unsafe {
        // Else each large piece is mapped for itself, and unmapped again.
        libc::mallopt(libc::M_MMAP_THRESHOLD, i32::try_from(MOST).unwrap_or(i32::MAX));
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        let piece = libc::malloc(bytes);
        let page = rustix::param::page_size();
        let ahead = piece.align_offset(page);
        if !piece.is_null() && ahead < bytes {
            let whole = (bytes - ahead) / page * page;
            // An older kernel cannot; then it is as it always was.
            libc::madvise(piece.byte_add(ahead), whole, libc::MADV_POPULATE_WRITE);
        }
        libc::free(piece);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn populate(_: usize) {}

/// Gives back to the kernel what nobody uses.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: It touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_afterwards_is_as_ever() {
        for bytes in [0, LEAST, 4 << 20, MOST, MOST + 1, usize::MAX] {
            make_room(bytes);
            let piece = vec![7u8; 3 << 20];
            assert!(piece.iter().all(|byte| *byte == 7));
        }
        give_back();
    }
}
