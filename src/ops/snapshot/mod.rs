//! `snapshot`: keep the work tree as it is, and bring it back.

pub mod capture;
pub mod create;
mod known;
pub mod list;
pub mod restore;

pub use capture::{Captured, Subject, capture};
