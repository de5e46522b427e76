//! The machine: the clock, the environment, files and processes.

pub mod ancestors;
pub mod archive;
pub mod beneath;
pub mod budget;
pub mod carry;
pub mod clock;
pub mod cores;
pub mod daemon;
pub mod digest;
pub mod env;
pub mod exchange;
pub mod fs;
pub mod gzip;
pub mod heap;
pub mod later;
pub mod memory;
pub mod pack;
pub mod ourselves;
pub mod process;
pub mod resident;
pub mod reading;
pub mod room;
pub mod shell;
pub mod tools;
pub mod unpack;
