//! The program as its users see it, on real repositories.

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
