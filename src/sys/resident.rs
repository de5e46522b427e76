//! The part of the memory that a process holds only because it began.

use std::fs;

/// Lets go of the code that has run so far. What is called again comes back from the page cache, so this
/// is for a process that is about to wait for long.
pub fn let_go_of_code() {
    // Without the list nothing can be let go, and nothing is lost.
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (begin, length) in maps.lines().filter_map(code) {
        let begin = std::ptr::with_exposed_provenance_mut(begin);
        // SAFETY: The kernel lists the range as a mapping of a file that can be executed and not written to.
        // No page of it differs from the file, so each comes back with the same bytes when it is used.
        unsafe {
            libc::madvise(begin, length, libc::MADV_DONTNEED);
        }
    }
}

/// Returns begin and length of the mapping that a line is about, if it is one of code from a file.
fn code(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (range, access) = (words.next()?, words.next()?);
    let file = words.nth(3)?;
    let (begin, end) = range.split_once('-')?;
    let begin = usize::from_str_radix(begin, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    (access == "r-xp" && file.starts_with('/')).then_some((begin, end.checked_sub(begin)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_from_files_is_let_go() {
        let code = |line| super::code(line);
        assert_eq!(code("1000-3000 r-xp 00001000 fe:00 12 /usr/bin/a b"), Some((0x1000, 0x2000)));
        for other in [
            "1000-3000 r--p 00001000 fe:00 12 /usr/bin/a",
            "1000-3000 rwxp 00001000 fe:00 12 /usr/bin/a",
            "1000-3000 r-xp 00000000 00:00 0 [vdso]",
            "1000-3000 r-xp 00000000 00:00 0",
            "1000 r-xp 00000000 00:00 0 /a",
            "",
        ] {
            assert_eq!(code(other), None, "{other}");
        }
    }

    #[test]
    fn code_that_was_let_go_still_runs() {
        let of_files = || {
            let status = fs::read_to_string("/proc/self/status").expect("a status");
            let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).expect("a number");
            line.split_whitespace().next().and_then(|size| size.parse::<u64>().ok()).expect("a number")
        };
        let before = of_files();
        let_go_of_code();
        let after = of_files();
        assert!(after < before, "{before} kB before, {after} kB after");
    }
}
