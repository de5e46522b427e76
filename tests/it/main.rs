//! The program as its users see it, on real repositories.
#![allow(clippy::disallowed_methods, reason = "tests set their own stage")]

#[macro_use]
mod fixture;
mod witness;

mod concurrency;
mod crash;
mod faults;
mod output;
mod processes;
mod resume;
mod start;
