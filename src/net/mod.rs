//! Whoever is told about a run over HTTP: notifications and traces. All of it comes after the
//! evidence is on disk, takes a few seconds at most, and fails with a warning.

pub mod http;
pub mod notify;
pub mod target;
pub mod trace;
