//! How the program begins where the C library itself calls its `main`.
//!
//! What Rust's own start does besides is a tenth of the time of a short command: it reads the memory map of the
//! process to be able to say that a stack overflowed.

use std::io::Write;
use std::panic::catch_unwind;
use std::process::ExitCode;

/// The code of a program that panicked, as Rust's own start has it.
const PANICKED: u8 = 101;

/// Answers the command line, and returns the exit code.
pub fn main() -> i32 {
    open_standard_streams();
    // Whoever writes to a reader that went away is told so by an error. Children get back what is usual.
    // SAFETY: It only says that a signal is to be ignored, before there is another thread.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let code = catch_unwind(super::main).map_or(PANICKED, number);
    // Nobody flushes it behind us.
    let _ = std::io::stdout().flush();
    code.into()
}

/// Opens those of the three standard streams that were closed: else the first file that is opened would be one.
fn open_standard_streams() {
    let stream = |fd| libc::pollfd { fd, events: 0, revents: 0 };
    let mut streams = [stream(0), stream(1), stream(2)];
    // SAFETY: It is given as many as there are.
    let told = unsafe { libc::poll(streams.as_mut_ptr(), streams.len() as libc::nfds_t, 0) };
    let closed = streams.iter().filter(|it| told > 0 && it.revents & libc::POLLNVAL != 0);
    for _ in closed {
        // SAFETY: The path ends with a zero. A file gets the lowest number that is free.
        unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
    }
}

/// Returns the number of an exit code, which does not tell it.
fn number(code: ExitCode) -> u8 {
    (0..=u8::MAX).find(|number| ExitCode::from(*number) == code).unwrap_or(PANICKED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_has_its_number() {
        for of in [0, 1, 2, 7, 143, 255] {
            assert_eq!(number(ExitCode::from(of)), of);
        }
        assert_eq!(number(ExitCode::SUCCESS), 0);
    }
}
