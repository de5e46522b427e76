//! What is done with a project's documents.

pub mod check;
pub mod new;
pub mod sync;
