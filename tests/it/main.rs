//! The program as its users see it, on real repositories.

#[macro_use]
mod fixture;

mod architecture;
mod files;
mod start;
