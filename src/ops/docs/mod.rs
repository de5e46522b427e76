//! What is done with a project's documents.

pub mod sync;
