//! The program as its users see it, on real repositories.

#[macro_use]
mod fixture;

mod architecture;
mod config;
mod files;
mod layouts;
mod list;
mod logs;
mod plan;
mod samples;
mod start;
mod status;
mod subpipeline;
