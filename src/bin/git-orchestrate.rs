//! `git orchestrate`: the program; everything it does is in the library.
#![cfg_attr(all(target_os = "linux", target_env = "gnu"), no_main)]

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn main() -> std::process::ExitCode {
    git_orchestrate::cli::main()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
// SAFETY: The C library calls this one, once, and no other function has the name.
#[unsafe(no_mangle)]
extern "C" fn main() -> std::ffi::c_int {
    git_orchestrate::cli::bare::main()
}
