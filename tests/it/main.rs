//! The program as its users see it, on real repositories.

#[macro_use]
mod fixture;

mod docs;
mod start;
