//! `snapshot`: keep the work tree as it is, and bring it back.

pub mod again;
pub mod capture;
pub mod create;
pub mod gc;
mod known;
pub mod list;
pub mod replay;
pub mod restore;

pub use capture::{Captured, Subject, capture, link_or_copy};
